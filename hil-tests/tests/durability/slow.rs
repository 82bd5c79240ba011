//! A commit that takes five seconds, or a minute: the file system of the store is frozen under the real `sortd`.
//! Commands do not wait for the disk, and neither does what they are decided by, so not one divert is late for it.
//! Acknowledgements do wait, so what a kill cuts off meanwhile is offered again. And nobody takes a slow disk for a
//! dead line.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sortd::journal::QUEUE_CAPACITY;
use sortd::line::Tick;
use sortd::panel::StatusDocument;
use sortd::watch::clock::Clock;

use crate::disk::{Mount, freeze, make_image, skipped, thaw};
use crate::fast::{Flow, assert_all_told, edit, fast_line_of, store_in};
use crate::stand::{Line, uplink_count};
use crate::{long, one_line};

/// How long the disk takes nothing.
const FROZEN_MS: u64 = 5_000;

/// Wide enough apart that every read finds its parcel: what is late is late for the disk. An order comes two seconds
/// before its parcel; the cloud sends the next message without an answer to the one before.
const FLOW: Flow = Flow { parcels_per_s: 12.0, gap_mm: 300, heard_within_ms: 50, order_lead_s: 2.0 };

/// The same, slower: four events a parcel stay within the PLC's ring for a minute and more.
const SLOW_FLOW: Flow = Flow { parcels_per_s: 4.0, ..FLOW };

/// Size of the store's disk.
const DISK_MIB: u64 = 256;

/// `WatchdogSec` of `systemd/sortd.service`.
const WATCHDOG_MS: u64 = 10_000;

/// How long the disk stands under the watchdog: more than it grants, or a minute.
const STANDS_MS: u64 = 15_000;
const STANDS_LONG_MS: u64 = 60_000;

/// The small ring: half of it is kept for the sixty parcels that are on the belt when induction stops.
const RING: &str = "ring-slots = 512";

/// An answer that does not wait for the disk takes less than this on a busy machine.
const ANSWER_MS: u64 = 2_000;

/// A line whose store is on a disk of its own, in full flow.
struct Stand {
    line: Line,
    disk: Mount,
    _directory: tempfile::TempDir,
}

impl Stand {
    fn new(flow: Flow, seed: u64) -> Stand {
        Stand::shaped(flow, seed, |_| ())
    }

    fn shaped(flow: Flow, seed: u64, shape: impl FnOnce(&Path)) -> Stand {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
        let image = make_image(&directory.path().join("image"), DISK_MIB).expect("an image");
        let disk = Mount::new(&image, &directory.path().join("disk")).expect("it is mounted");
        let mut line = fast_line_of(flow, seed, shape, |config| store_in(config, &disk.at, 0, 0));
        // The first orders were told to nobody, and are repeated too late for their parcels; those have left the belt.
        line.until("the first sixty parcels at their end", |status| {
            status.line.sums.inducted >= status.line.sums.in_flight + 60
        });
        Stand { line, disk, _directory: directory }
    }
}

fn exceptions(status: &StatusDocument, reason: &str) -> u64 {
    status.line.sums.exceptions.get(reason).copied().unwrap_or(0)
}

fn durable(status: &StatusDocument) -> u64 {
    status.journal["durable"].as_u64().unwrap_or(0)
}

/// Records in the journal's queue.
fn waiting(status: &StatusDocument) -> u64 {
    QUEUE_CAPACITY as u64 - status.journal["room"].as_u64().unwrap_or(0)
}

#[test]
fn not_one_divert_is_late_for_a_disk_that_stands_for_five_seconds() {
    let _alone = one_line();
    if skipped("slow disk") {
        return;
    }
    // In this order, so that the daemon ends before its disk goes.
    let Stand { _directory, disk, mut line } = Stand::new(FLOW, 9);

    let clock = Clock::default();
    let before = line.status();
    freeze(&disk.at);
    let begun = clock.now();
    let slow = line.alarm("journal-slow");
    let meanwhile = line.until("five seconds of frozen disk", |_| clock.now().ms_since(begun) >= FROZEN_MS);
    let frozen_ms = clock.now().ms_since(begun);
    thaw(&disk.at);
    line.no_alarm("journal-slow");
    line.flow("after the freeze", 60);
    line.rig.devices.set_feeding(false);
    let after = line.until("an empty belt", |status| status.line.sums.in_flight == 0);
    println!(
        "{frozen_ms} ms frozen at record {}: {} parcels inducted and {} sorted meanwhile, {} records wait; exceptions before {:?}, \
         after {:?}; slack in ms (min, p1, median) before {:?}, after {:?}; decision in ms (p50, p99, max) before {:?}, \
         after {:?}",
        durable(&slow),
        meanwhile.line.sums.inducted - before.line.sums.inducted,
        meanwhile.line.sums.sorted - before.line.sums.sorted,
        waiting(&meanwhile),
        before.line.sums.exceptions,
        after.line.sums.exceptions,
        before.line.slack_ms,
        after.line.slack_ms,
        before.line.decision_ms,
        after.line.decision_ms,
    );
    let more = |reason: &str| exceptions(&after, reason) > exceptions(&before, reason);
    let answered = |status: &StatusDocument| uplink_count(status, "orders_answered");
    let faults = [
        (durable(&meanwhile) != durable(&slow), "the disk was not frozen: records became durable"),
        (answered(&meanwhile) != answered(&slow), "orders were answered before they were durable"),
        (meanwhile.line.sums.inducted <= before.line.sums.inducted + 30, "the line stood while the disk did"),
        (meanwhile.line.sums.sorted <= before.line.sums.sorted, "nothing was sorted while the disk stood"),
        (more("late_decision"), "a divert came late for the disk"),
        (more("unknown_parcel"), "an order came late for the disk"),
        (after.line.slack_ms[0] <= 0, "a command had no slack left"),
    ];
    for (wrong, text) in faults {
        if wrong {
            line.fail(text);
        }
    }
    assert_all_told(&mut line);
    line.terminate();
}

#[test]
fn a_kill_between_the_use_of_an_order_and_its_durability_loses_neither() {
    let _alone = one_line();
    if skipped("slow disk with a kill in it") {
        return;
    }
    // In this order, so that the daemon ends before its disk goes.
    let Stand { _directory, disk, mut line } = Stand::new(FLOW, 10);

    let before = line.status();
    freeze(&disk.at);
    line.alarm("journal-slow");
    let used = line.until("parcels sorted by orders that are not durable", |status| {
        status.line.sums.inducted >= before.line.sums.inducted + 40
    });
    // Whoever waits for a frozen disk dies when it goes on: what the kill finds in the queue is lost with it.
    let at = disk.at.clone();
    let thawing = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        thaw(&at);
    });
    line.kill();
    thawing.join().expect("it goes on");
    line.start_daemon();
    let back = line.until("its store open", |status| durable(status) > 0);
    line.flow("after the kill", 60);
    println!(
        "killed with {} parcels inducted and {} orders answered, {} durable records known; back with {} durable",
        used.line.sums.inducted,
        uplink_count(&used, "orders_answered"),
        durable(&used),
        durable(&back),
    );
    assert_all_told(&mut line);
    let orders = line.rig.upstream.cloud.report().orders;
    if orders.waiting != 0 || orders.refused != 0 || orders.accepted < orders.pushed {
        line.fail("an order was never acknowledged, or refused");
    }
    line.replay(&[]);
    line.terminate();
}

#[test]
fn a_disk_that_stands_longer_than_the_watchdog_grants_ends_nothing() {
    let _alone = one_line();
    if skipped("slow disk under the watchdog") {
        return;
    }
    // In this order, so that the daemon ends before its disk goes.
    let Stand { _directory, disk, mut line } = Stand::new(SLOW_FLOW, 11);
    line.terminate();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let systemd = Systemd::new(directory.path().join("notify"));
    line.start_daemon_notifying(&systemd.path);
    line.flow("under the watchdog", 10);

    let clock = Clock::default();
    let stands_ms = if long() { STANDS_LONG_MS } else { STANDS_MS };
    let before = line.status();
    freeze(&disk.at);
    let begun = clock.now();
    let (mut slowest_ms, mut seen) = (0, before.clone());
    let mut silence = systemd.listen(clock);
    while clock.now().ms_since(begun) < stands_ms {
        let asked = clock.now();
        seen = line.status();
        slowest_ms = slowest_ms.max(clock.now().ms_since(asked));
        silence.hear();
        std::thread::sleep(Duration::from_millis(50));
    }
    thaw(&disk.at);
    line.no_alarm("journal-slow");
    let inducted = seen.line.sums.inducted - before.line.sums.inducted;
    println!(
        "{stands_ms} ms of frozen disk: {inducted} parcels inducted, {} sorted, {} records wait; watchdog fed at least \
         every {} ms, slowest status {slowest_ms} ms",
        seen.line.sums.sorted - before.line.sums.sorted,
        waiting(&seen),
        silence.longest_ms,
    );
    let alarm = seen.alarms.iter().find(|alarm| alarm.id == "journal-slow");
    let faults = [
        (silence.longest_ms >= WATCHDOG_MS / 2, "the watchdog would have ended a line that lives"),
        (
            alarm.is_none_or(|alarm| !alarm.text.contains("sorted as before")),
            "nobody says that the disk stands",
        ),
        (slowest_ms > ANSWER_MS, "the status waited for the disk"),
        (inducted * 1_000 < 2 * stands_ms, "the line stood while the disk did"),
        (seen.line.sums.sorted <= before.line.sums.sorted, "nothing was sorted while the disk stood"),
    ];
    for (wrong, text) in faults {
        if wrong {
            line.fail(text);
        }
    }
    assert_all_told(&mut line);
    let after = line.status();
    let more = |reason: &str| exceptions(&after, reason) > exceptions(&before, reason);
    if more("late_decision") || more("unknown_parcel") {
        line.fail("an order or a divert came late for the disk");
    }
    line.terminate();
}

/// At 11 parcels/s and four events each, a ring of 1,024 is full after 23 s; at more than 50 parcels/s after five. Here a
/// small one stands for it: the PLC stops induction by itself, nothing is overwritten, and it goes on by itself.
#[test]
fn a_ring_full_of_what_is_not_durable_stops_induction_and_loses_nothing() {
    let _alone = one_line();
    if skipped("slow disk and a small ring") {
        return;
    }
    let small = |config: &Path| {
        edit(&config.join("devices.toml"), |text| text.replace("ring-slots = 4096", RING));
    };
    // In this order, so that the daemon ends before its disk goes.
    let Stand { _directory, disk, mut line } = Stand::shaped(FLOW, 12, small);

    let before = line.status();
    freeze(&disk.at);
    line.alarm("journal-slow");
    let still = line.until("an empty belt on a frozen disk", |status| status.line.sums.in_flight == 0);
    thaw(&disk.at);
    let after = line.flow("after the freeze", 30);
    let inducted = still.line.sums.inducted - before.line.sums.inducted;
    println!(
        "{inducted} parcels inducted until the ring was full, exceptions before {:?}, on the empty belt {:?}, after {:?}",
        before.line.sums.exceptions, still.line.sums.exceptions, after.line.sums.exceptions,
    );
    if still.line.sums.sorted <= before.line.sums.sorted {
        line.fail("nothing was sorted while the disk stood");
    }
    assert_all_told(&mut line);
    line.terminate();
}

/// The socket on which systemd listens.
struct Systemd {
    socket: UnixDatagram,
    path: PathBuf,
}

/// How long nobody fed the watchdog.
struct Silence<'a> {
    systemd: &'a Systemd,
    clock: Clock,
    fed: Tick,
    longest_ms: u64,
}

impl Systemd {
    fn new(path: PathBuf) -> Systemd {
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_nonblocking(true).expect("it need not block");
        Systemd { socket, path }
    }

    fn listen(&self, clock: Clock) -> Silence<'_> {
        while self.next().is_some() {}
        Silence { systemd: self, clock, fed: clock.now(), longest_ms: 0 }
    }

    fn next(&self) -> Option<String> {
        let mut bytes = [0; 1024];
        let length = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }
}

impl Silence<'_> {
    fn hear(&mut self) {
        let now = self.clock.now();
        self.longest_ms = self.longest_ms.max(now.ms_since(self.fed));
        while let Some(said) = self.systemd.next() {
            if said.lines().any(|line| line == "WATCHDOG=1") {
                self.fed = now;
            }
        }
    }
}
