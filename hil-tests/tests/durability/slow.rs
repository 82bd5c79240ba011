//! A commit that takes five seconds: the file system of the store is frozen under the real `sortd`. Commands do not
//! wait for the disk, so not one divert is late for it.

use sortd::panel::StatusDocument;
use sortd::watch::clock::Clock;

use crate::disk::{Mount, freeze, make_image, skipped, thaw};
use crate::fast::{Flow, assert_all_told, fast_line, store_in};
use crate::one_line;

/// How long the disk takes nothing.
const FROZEN_MS: u64 = 5_000;

/// Wide enough apart that every read finds its parcel: what is late is late for the disk. Orders come early, as they
/// do in life: each message of them is acknowledged after the disk, and a broker sends only so many ahead of that, so
/// a cloud that tells of a parcel two seconds before it comes would be late by itself.
const FLOW: Flow = Flow { parcels_per_s: 12.0, gap_mm: 300, heard_within_ms: 50, order_lead_s: 12.0 };

/// Size of the store's disk.
const DISK_MIB: u64 = 256;

#[test]
fn not_one_divert_is_late_for_a_disk_that_stands_for_five_seconds() {
    let _alone = one_line();
    if skipped("slow disk") {
        return;
    }
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let image = make_image(&directory.path().join("image"), DISK_MIB).expect("an image");
    let disk = Mount::new(&image, &directory.path().join("disk")).expect("it is mounted");
    let mut line = fast_line(FLOW, 9, |config| store_in(config, &disk.at, 0, 0));
    line.flow("before the freeze", 60);

    let clock = Clock::default();
    let before = line.status();
    freeze(&disk.at);
    let begun = clock.now();
    let slow = line.alarm("journal-slow");
    let meanwhile = line.until("five seconds of frozen disk", |_| clock.now().ms_since(begun) >= FROZEN_MS);
    let durable = |status: &StatusDocument| status.journal["durable"].as_u64().unwrap_or(0);
    let frozen_ms = clock.now().ms_since(begun);
    thaw(&disk.at);
    line.no_alarm("journal-slow");
    let after = line.flow("after the freeze", 60);
    println!(
        "{frozen_ms} ms frozen at record {}: {} parcels inducted and {} sorted meanwhile; slack in ms (min, p1, median) before {:?}, \
         after {:?}",
        durable(&slow),
        meanwhile.line.sums.inducted - before.line.sums.inducted,
        meanwhile.line.sums.sorted - before.line.sums.sorted,
        before.line.slack_ms,
        after.line.slack_ms,
    );
    let late =
        |status: &StatusDocument| status.line.sums.exceptions.get("late_decision").copied().unwrap_or(0);
    let faults = [
        (durable(&meanwhile) != durable(&slow), "the disk was not frozen: records became durable"),
        (meanwhile.line.sums.inducted <= before.line.sums.inducted + 30, "the line stood while the disk did"),
        (meanwhile.line.sums.sorted <= before.line.sums.sorted, "nothing was sorted while the disk stood"),
        (late(&after) != late(&before), "a divert came late for the disk"),
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
