//! Power is lost while 200 parcels/s are recorded, again and again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use rand::Rng;

use crate::disk::{Disk, Kind, skipped};
use crate::store::assert_whole;
use crate::writer::{Role, Writing};
use crate::{one_writer, random, rounds};

/// Losses of power that one store lives through: it has days behind it then, and what was cut off before.
const LIVES: usize = 5;

/// Longest time between the first record told durable in a life and the cut.
const LIFE_MS: u64 = 900;

#[test]
fn nothing_told_durable_is_lost_with_the_power() {
    let _alone = one_writer();
    if skipped("loss of power") {
        return;
    }
    let mut random = random(1);
    let rounds = rounds(10, 100);
    let (mut told_in_all, mut beyond) = (0, 0);
    let mut at = None;
    let mut directory = temporary();
    for round in 0..rounds {
        let kind = if (round / LIVES).is_multiple_of(2) { Kind::Obedient } else { Kind::Caching };
        if round % LIVES == 0 {
            at = None;
            directory = temporary();
        }
        let (mut disk, before) = at.take().unwrap_or_else(|| (Disk::new(kind, directory.path()), 0));
        let mut writer = Writing::start(&disk.store(), Role::Booted);
        writer.wait_told(before);
        // Moments are what is looked for; nothing waits for this time.
        std::thread::sleep(Duration::from_micros(random.random_range(0..LIFE_MS * 1_000)));
        disk.cut();
        let told = writer.kill();
        disk.power_on();
        let what = format!("round {round}, {kind:?}");
        let last = assert_whole(&disk.store(), None, told, &what);
        println!("{what}: {} told durable, {} read back", told - before, last - 1 - before);
        told_in_all += told - before;
        beyond += last - 1 - told;
        at = Some((disk, last));
    }
    println!(
        "{rounds} of {rounds} losses of power without loss: {told_in_all} records told durable, {beyond} more found"
    );
    assert!(
        told_in_all > rounds as u64 * 100,
        "only {told_in_all} records in {rounds} rounds: what was cut?"
    );
}

/// The same rig, the same disk, sled's own `flush` instead of the journal's sync: it must find the loss.
#[test]
fn the_rig_finds_what_a_plain_flush_of_sled_loses() {
    let _alone = one_writer();
    if skipped("loss of power, plain sled") {
        return;
    }
    let mut random = random(2);
    let rounds = rounds(2, 10);
    let mut lost = 0;
    for round in 0..rounds {
        let directory = temporary();
        let kind = if round % 2 == 0 { Kind::Obedient } else { Kind::Caching };
        let mut disk = Disk::new(kind, directory.path());
        let mut writer = Writing::start(&disk.store(), Role::PlainSled);
        writer.wait_told(100);
        std::thread::sleep(Duration::from_micros(random.random_range(0..300_000)));
        disk.cut();
        let told = writer.kill();
        disk.power_on();
        let found = plain_records(&disk.store());
        println!("round {round}, {kind:?}: {told} told durable, {found:?} read back");
        lost += usize::from(found.is_none_or(|found| found < told));
    }
    assert!(lost > 0, "the rig loses nothing that was never synced: it cuts nothing");
}

/// Records of a plain sled, if it opens.
fn plain_records(store: &Path) -> Option<u64> {
    let count =
        || sled::Config::new().path(store).open().ok().map(|db| db.iter().keys().flatten().count() as u64);
    catch_unwind(AssertUnwindSafe(count)).ok().flatten()
}

/// On the disk the build is on; a temporary directory may be in memory.
fn temporary() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory")
}
