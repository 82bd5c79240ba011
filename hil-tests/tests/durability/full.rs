//! A disk that others fill: the line sorts what it has, asks for no more, and goes on by itself when there is room.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use sortd::panel::StatusDocument;

use crate::disk::{Mount, make_image, skipped};
use crate::fast::{Flow, assert_all_told, fast_line, store_in};
use crate::one_line;

/// Size of the store's disk, and the limits on it.
const DISK_MIB: u64 = 256;
const KEEP_FREE_MIB: u32 = 96;
const RESERVE_MIB: u32 = 24;

/// Twelve parcels a second: a belt full of them when the disk is.
const FLOW: Flow = Flow { parcels_per_s: 12.0, gap_mm: 300, heard_within_ms: 50, order_lead_s: 2.0 };

#[test]
fn a_full_disk_stops_induction_and_loses_nothing() {
    let _alone = one_line();
    if skipped("full disk") {
        return;
    }
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let image = make_image(&directory.path().join("image"), DISK_MIB).expect("an image");
    let disk = Mount::new(&image, &directory.path().join("disk")).expect("it is mounted");
    let mut line = fast_line(FLOW, 10, |config| store_in(config, &disk.at, KEEP_FREE_MIB, RESERVE_MIB));
    line.until("the ballast", |_| disk.at.join("store/ballast").exists());

    let filler = disk.at.join("of somebody else");
    fill(&filler, |left| left < 64 << 20, &disk.at);
    let low = line.alarm("store-space-low");
    println!("{:>7} ms  low: {} MiB free; the line goes on", line.now_ms(), low.journal["free_mib"]);
    line.flow("with little room", 20);

    // To the last byte.
    fill(&filler, |left| left == 0, &disk.at);
    line.alarm("store-full");
    assert!(!disk.at.join("store/ballast").exists(), "the ballast is given back");
    let held = line.until_all(
        "an empty belt, and no more parcels",
        std::time::Duration::from_secs(120),
        |_, status| status.line.sums.in_flight == 0,
    );
    let inducted = held.line.sums.inducted;
    let durable = |status: &StatusDocument| status.journal["durable"].as_u64().unwrap_or(0);
    println!(
        "{:>7} ms  full: {} MiB free, {} sorted and recorded to {}; journal {}",
        line.now_ms(),
        held.journal["free_mib"],
        held.line.sums.sorted,
        durable(&held),
        held.journal["state"]
    );
    // What was on the belt when the room was gone is recorded: the ballast was there for it.
    let status = line.agreed("with a full disk");
    if status.line.sums.inducted != inducted || status.line.sums.in_flight != 0 {
        line.fail("a parcel was inducted while the store was full");
    }

    std::fs::remove_file(&filler).expect("it was there");
    line.no_alarm("store-full");
    line.no_alarm("store-space-low");
    line.flow("with room again", 20);
    line.until("the ballast again", |_| disk.at.join("store/ballast").exists());
    assert_all_told(&mut line);
    line.terminate();
}

/// Makes a file longer until so little room is left.
fn fill(path: &Path, enough: impl Fn(u64) -> bool, disk: &Path) {
    let mut file = File::options().create(true).append(true).open(path).expect("a file can be made");
    let block = vec![1_u8; 1 << 18];
    loop {
        let about = rustix::fs::statvfs(disk).expect("a mounted disk");
        if enough(about.f_bavail * about.f_frsize) {
            break;
        }
        // The last block does not fit whole.
        if file.write_all(&block).is_err() && file.write_all(&block[..4_096]).is_err() {
            break;
        }
    }
    // Allocated, not only promised.
    let _ = file.sync_all();
}
