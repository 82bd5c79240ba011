//! A disk that others fill to the last byte, the room of the ballast too: nothing is called damaged for it, a daemon
//! that is killed starts on it, and everything resumes when there is room.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use simulators::process::{Daemon, build};
use sortd::line::event::Asked;
use sortd::panel::StatusDocument;

use crate::disk::{Mount, make_image, skipped};
use crate::fast::store_in;
use crate::one_writer;

/// Longest wait for anything; reached only where something is wrong.
const PATIENCE: Duration = Duration::from_secs(90);

const DISK_MIB: u64 = 128;
const KEEP_FREE_MIB: u32 = 32;
const RESERVE_MIB: u32 = 8;

/// The demonstration's configuration, with nothing at the other end of any of its addresses.
fn lonely_line(config: &Path, disk: &Path) {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/demo");
    for entry in std::fs::read_dir(shipped).expect("it is shipped") {
        let path = entry.expect("it can be read").path();
        let mut text = std::fs::read_to_string(&path).expect("it is text");
        for port in ["1502", "1503", "1504", "1883"] {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|door| door.local_addr()).expect("a port");
            text = text.replace(&format!("127.0.0.1:{port}"), &free.to_string());
        }
        std::fs::write(config.join(path.file_name().expect("a file")), text).expect("a copy");
    }
    store_in(config, disk, KEEP_FREE_MIB, RESERVE_MIB);
}

/// Somebody else on this disk, who takes whatever becomes free.
struct Filler {
    path: PathBuf,
    file: File,
}

impl Filler {
    fn on(disk: &Path) -> Filler {
        let path = disk.join("of somebody else");
        Filler { file: File::create(&path).expect("a file can be made"), path }
    }

    /// Takes it all, to the last byte.
    fn fill(&mut self) {
        for block in [1 << 18, 4_096, 1] {
            while self.file.write_all(&vec![1; block]).is_ok() {}
        }
        let _ = self.file.sync_all();
    }

    fn go(self) {
        std::fs::remove_file(&self.path).expect("it was there");
    }
}

fn durable(status: &StatusDocument) -> u64 {
    status.journal["durable"].as_u64().unwrap_or(0)
}

fn is_stalled(status: &StatusDocument) -> bool {
    status.journal["state"].to_string().contains("stalled")
}

struct Stand {
    program: PathBuf,
    config: tempfile::TempDir,
    daemon: Option<Daemon>,
}

impl Stand {
    fn start(&mut self) {
        let config = self.config.path();
        let daemon =
            Daemon::start(&self.program, config, &config.join("sortd.sock"), &config.join("sortd.log"));
        self.daemon = Some(daemon.expect("sortd starts"));
    }

    fn until(&mut self, what: &str, wanted: impl Fn(&StatusDocument) -> bool) -> StatusDocument {
        let daemon = self.daemon.as_mut().expect("it was started");
        let reached = daemon.wait_for(PATIENCE, wanted).unwrap_or_else(|why| panic!("{what}: {why}"));
        let last = daemon.status().map(|status| status.journal.to_string());
        let log = self.log();
        reached.unwrap_or_else(|| panic!("not reached: {what}; last {last:?}; {log}"))
    }

    fn reports(&self, from: u64, to: u64) {
        let daemon = self.daemon.as_ref().expect("it was started");
        for number in from..to {
            daemon.ask(Asked::ParcelFound(format!("KEX{number:011}"))).expect("it is taken");
        }
    }

    fn kill(&mut self) {
        self.daemon.take().expect("it was started").kill();
    }

    fn end(&mut self) {
        let daemon = self.daemon.take().expect("it was started");
        assert!(daemon.terminate().is_some_and(|status| status.success()), "{}", self.log());
    }

    fn log(&self) -> String {
        let mut text = String::new();
        let log = File::open(self.config.path().join("sortd.log"));
        let _ = log.and_then(|mut log| log.read_to_string(&mut text));
        text
    }
}

#[test]
fn a_disk_without_a_byte_is_no_damage_and_no_end() {
    let _alone = one_writer();
    if skipped("a disk full to the brim") {
        return;
    }
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let image = make_image(&directory.path().join("image"), DISK_MIB).expect("an image");
    let disk = Mount::new(&image, &directory.path().join("disk")).expect("it is mounted");
    let config = tempfile::tempdir().expect("a directory");
    lonely_line(config.path(), &disk.at);
    let store = disk.at.join("store");
    let mut stand = Stand { program: build().expect("the workspace builds"), config, daemon: None };
    stand.start();
    stand.until("the store is open", |status| durable(status) > 0);
    // Closed in order once: there is a snapshot to go on from, and a day that is opened again.
    stand.reports(0, 100);
    stand.end();
    stand.start();
    stand.until("the store is open again", |status| durable(status) >= 100);
    stand.reports(100, 200);
    let before = stand.until("records are durable", |status| durable(status) >= 200);
    stand.until("the ballast", |_| store.join("ballast").exists());

    // Records come until not even the ballast's room is left for them.
    let mut filler = Filler::on(&disk.at);
    let mut number = 200;
    loop {
        filler.fill();
        stand.reports(number, number + 50);
        number += 50;
        let status = stand.until("an answer", |_| true);
        if is_stalled(&status) && !store.join("ballast").exists() {
            break;
        }
        assert!(number < 100_000, "the store takes records without room");
    }
    // Killed, it comes up on the full disk from its in-flight log, holds induction, and says so.
    stand.kill();
    filler.fill();
    stand.start();
    let full = stand.until("it is up on a full disk", |status| {
        status.alarms.iter().any(|alarm| alarm.id == "store-full")
    });
    // The store behind it is opened again and again, in vain; sled leaves a part of its shortcut each time.
    stand.until("it cannot open the store", is_stalled);
    println!("up with {} MiB free; journal {}", full.journal["free_mib"], full.journal["state"]);

    // As after a restart of the machine: without that log it waits for the store, and names the cause.
    stand.kill();
    std::fs::remove_dir_all(store.join("inflight")).expect("it was there");
    filler.fill();
    stand.start();
    let mut left = PATIENCE;
    while !stand.log().contains("make room") && stand.until_answer().is_none() {
        assert!(!left.is_zero(), "{}", stand.log());
        std::thread::sleep(Duration::from_millis(100));
        left = left.saturating_sub(Duration::from_millis(100));
    }
    assert!(stand.daemon.as_mut().expect("it was started").ended().is_none(), "{}", stand.log());

    filler.go();
    let after = stand.until("records are durable again", |status| {
        durable(status) > durable(&before) && !is_stalled(status)
    });
    assert_eq!(after.journal["quarantined"], serde_json::json!(0), "{}", after.journal);
    assert_eq!(after.journal["epoch"], before.journal["epoch"], "nothing began anew");
    assert!(!store.join("quarantine").exists());
    assert!(!stand.log().contains("user that runs sortd must be able"), "a wrong remedy: {}", stand.log());
    stand.end();
    let key = store.join("signing-key.pub");
    let mut verify = Command::new(&stand.program);
    verify
        .arg("--config")
        .arg(stand.config.path())
        .arg("verify")
        .arg("--store")
        .arg(&store)
        .arg("--key")
        .arg(key);
    let output = verify.output().expect("sortd can be run");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.starts_with("INTACT\n"), "{said}");
}

impl Stand {
    fn until_answer(&self) -> Option<StatusDocument> {
        self.daemon.as_ref().and_then(|daemon| daemon.status().ok())
    }
}
