//! The task on a real pseudo-terminal.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crossbeam_channel::Receiver;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tokio::task::JoinHandle;

use super::*;
use crate::device::testing::until;
use crate::identify::Reading;
use crate::site::ReaderId;
use crate::wire::scanner::Framing;

/// A pseudo-terminal whose name is a link, as `/dev/serial/by-id` is.
struct Pty {
    master: File,
    link: PathBuf,
}

impl Pty {
    fn at(directory: &Path) -> Pty {
        let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let link = directory.join("scanner");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(name, &link).unwrap();
        Pty { master: File::from(master), link }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.master.write_all(bytes).unwrap();
    }
}

struct Rig {
    events: Receiver<Event>,
    board: Board,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

fn settings(port: PathBuf) -> ScannerDevice {
    ScannerDevice {
        name: "tunnel-1".to_owned(),
        reader: ReaderId(3),
        port,
        baud: 9_600,
        framing: Framing {
            header: vec![2],
            terminator: vec![3],
            separator: None,
            no_read: Some("NoRead".to_owned()),
            heartbeat: Some("HB".to_owned()),
            aim: false,
            longest: 64,
        },
        silence_ms: 0,
    }
}

impl Rig {
    fn start(settings: ScannerDevice, capacity: usize) -> Rig {
        let (sender, events) = crossbeam_channel::bounded(capacity);
        let (stop, stopped) = watch::channel(false);
        let board = Board::default();
        let task =
            tokio::spawn(run(settings, EventSink::new(sender), board.clone(), Clock::default(), stopped));
        Rig { events, board, stop, task }
    }

    async fn next(&self) -> Event {
        let mut came = None;
        until("an event", || {
            came = self.events.try_recv().ok();
            came.is_some()
        })
        .await;
        came.unwrap()
    }

    async fn heard(&self) -> Heard {
        match self.next().await {
            Event::Heard(heard) => heard,
            other => panic!("expected a read, came {other:?}"),
        }
    }

    fn faults(&self, kind: &str) -> u64 {
        let devices = self.board.snapshot().0;
        devices.get("tunnel-1").and_then(|health| health.faults.get(kind)).copied().unwrap_or(0)
    }

    async fn end(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
    }
}

fn state(up: bool) -> Event {
    Event::DeviceState { device: "tunnel-1".to_owned(), up }
}

fn code(text: &str) -> Vec<Reading> {
    vec![Reading::Barcode { aim: None, text: text.to_owned() }]
}

#[tokio::test]
async fn it_reads_and_stamps_the_first_byte() {
    let directory = tempfile::tempdir().unwrap();
    let mut pty = Pty::at(directory.path());
    let rig = Rig::start(settings(pty.link.clone()), 16);
    assert_eq!(rig.next().await, state(true));
    let clock = Clock::default();
    tokio::time::sleep(Duration::from_millis(60)).await;
    let before = clock.now();
    pty.send(b"\x02TH0123456789012345\x03");
    let heard = rig.heard().await;
    let after = clock.now();
    assert_eq!((heard.reader, heard.readings), (ReaderId(3), code("TH0123456789012345")));
    // 20 bytes at 9,600 baud were 20.8 ms on the wire before the read that brought them.
    let on_the_wire = 20 * 10 * 1_000_000 / 9_600;
    assert!(heard.at.0 + on_the_wire >= before.0 && heard.at.0 + on_the_wire <= after.0);
    pty.send(b"\x02NoRead\x03\x02HB\x03");
    assert_eq!(rig.heard().await.readings, []);
    until("the heartbeat", || rig.board.snapshot().0["tunnel-1"].good == 3).await;
    assert!(rig.events.is_empty());
    rig.end().await;
}

#[tokio::test]
async fn a_machine_that_stands_still_says_how_late_it_may_be() {
    let directory = tempfile::tempdir().unwrap();
    let mut pty = Pty::at(directory.path());
    let rig = Rig::start(settings(pty.link.clone()), 16);
    assert_eq!(rig.next().await, state(true));
    let clock = Clock::default();
    let sent = clock.now();
    pty.send(b"\x02FIRST\x03");
    // The runtime has this one thread: nobody reads the port.
    std::thread::sleep(Duration::from_millis(200));
    let heard = rig.heard().await;
    assert!(heard.since <= sent && heard.at.ms_since(sent) >= 190, "{heard:?}, sent {sent:?}");
    rig.end().await;
}

#[test]
fn a_stamp_reaches_from_the_last_look_at_an_empty_port_to_the_read() {
    let stamp = |bytes, empty_at, heard_at| {
        let Stamp { since, at } = Stamp::of(bytes, 9_600, Tick(empty_at), Tick(heard_at), Tick(1_000_000));
        (since.0, at.0)
    };
    assert_eq!(stamp(1, 998_000, 0), (998_000 - 1_041, 1_000_000 - 1_041));
    assert_eq!(stamp(20, 998_000, 0), (998_000 - 20_833, 1_000_000 - 20_833));
    // Not before the read that did not bring it.
    assert_eq!(stamp(20, 996_000, 995_000).1, 995_000 - 1_041);
    // A process that stood still for 300 ms.
    assert_eq!(stamp(1, 700_000, 600_000), (700_000 - 1_041, 1_000_000 - 1_041));
}

#[tokio::test]
async fn noise_is_counted_by_kind_and_the_next_code_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let mut pty = Pty::at(directory.path());
    let rig = Rig::start(settings(pty.link.clone()), 16);
    assert_eq!(rig.next().await, state(true));
    pty.send(b"xyz\x02\xff\xfe\x03\x02");
    pty.send(&[b'9'; 100]);
    pty.send(b"\x03\x02GOOD\x03");
    assert_eq!(rig.heard().await.readings, code("GOOD"));
    assert_eq!(rig.faults("bad_frame"), 1);
    assert_eq!(rig.faults("not_utf8"), 1);
    assert_eq!(rig.faults("oversized"), 1);
    rig.end().await;
}

#[tokio::test]
async fn half_a_telegram_and_a_pause_is_no_beginning_of_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let mut pty = Pty::at(directory.path());
    let mut settings = settings(pty.link.clone());
    settings.framing.header = Vec::new();
    settings.framing.terminator = b"\r\n".to_vec();
    let rig = Rig::start(settings, 16);
    assert_eq!(rig.next().await, state(true));
    pty.send(b"1234");
    until("the pause is noticed", || rig.faults("bad_frame") == 1).await;
    pty.send(b"5678\r\n");
    assert_eq!(rig.heard().await.readings, code("5678"));
    rig.end().await;
}

#[tokio::test]
async fn what_the_port_held_before_is_thrown_away() {
    let directory = tempfile::tempdir().unwrap();
    let mut pty = Pty::at(directory.path());
    // Somebody must hold the other end open for bytes to wait in it, unchanged (raw).
    let other = File::options().read(true).write(true).open(&pty.link).unwrap();
    let mut mode = rustix::termios::tcgetattr(&other).unwrap();
    mode.make_raw();
    rustix::termios::tcsetattr(&other, rustix::termios::OptionalActions::Now, &mode).unwrap();
    pty.send(b"\x02OLD1\x03\x02OL");
    until("bytes wait", || rustix::io::ioctl_fionread(&other).unwrap() == 9).await;
    let rig = Rig::start(settings(pty.link.clone()), 16);
    assert_eq!(rig.next().await, state(true));
    pty.send(b"D2\x03\x02NEW\x03");
    assert_eq!(rig.heard().await.readings, code("NEW"));
    assert_eq!(rig.faults("stale_bytes"), 1);
    rig.end().await;
}

#[tokio::test]
async fn a_port_that_hangs_up_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let pty = Pty::at(directory.path());
    let rig = Rig::start(settings(pty.link.clone()), 16);
    assert_eq!(rig.next().await, state(true));
    drop(pty);
    assert_eq!(rig.next().await, state(false));
    until("an alarm", || !rig.board.snapshot().1.is_empty()).await;
    assert_eq!(rig.faults("disconnected"), 1);
    let mut pty = Pty::at(directory.path());
    assert_eq!(rig.next().await, state(true));
    pty.send(b"\x02AGAIN\x03");
    assert_eq!(rig.heard().await.readings, code("AGAIN"));
    assert!(rig.board.snapshot().1.is_empty(), "the alarm is over");
    rig.end().await;
}

#[tokio::test]
async fn a_silent_scanner_is_down_until_it_speaks() {
    let directory = tempfile::tempdir().unwrap();
    let mut pty = Pty::at(directory.path());
    let rig = Rig::start(ScannerDevice { silence_ms: 100, ..settings(pty.link.clone()) }, 16);
    until("silence is noticed", || rig.faults("silent") > 0).await;
    assert!(rig.events.is_empty(), "it has never been up");
    let speaking = std::thread::spawn(move || {
        for _ in 0..100 {
            pty.send(b"\x02HB\x03");
            std::thread::sleep(Duration::from_millis(20));
        }
        pty
    });
    assert_eq!(rig.next().await, state(true));
    let pty = speaking.join().unwrap();
    assert_eq!(rig.next().await, state(false));
    drop(pty);
    rig.end().await;
}

#[tokio::test]
async fn a_full_channel_is_spooled_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let mut pty = Pty::at(directory.path());
    let rig = Rig::start(settings(pty.link.clone()), 1);
    until("the port is open", || {
        rig.board.snapshot().0.get("tunnel-1").is_some_and(|health| health.state == Ne107::Good)
    })
    .await;
    for number in 0..40 {
        pty.send(format!("\x02C{number}\x03").as_bytes());
        let good = number + 1;
        until("it is heard", || {
            rig.board.snapshot().0.get("tunnel-1").is_some_and(|health| health.good == good)
        })
        .await;
    }
    assert_eq!(rig.next().await, state(true));
    for number in 0..40 {
        assert_eq!(rig.heard().await.readings, code(&format!("C{number}")));
    }
    rig.end().await;
}

#[tokio::test]
async fn the_port_is_held_alone() {
    let directory = tempfile::tempdir().unwrap();
    let pty = Pty::at(directory.path());
    let rig = Rig::start(settings(pty.link.clone()), 16);
    assert_eq!(rig.next().await, state(true));
    let second = Rig::start(settings(pty.link.clone()), 16);
    until("the second is refused", || second.faults("open") > 0).await;
    assert!(second.events.is_empty());
    second.end().await;
    rig.end().await;
    drop(pty);
}
