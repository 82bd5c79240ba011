//! Whatever happens to the files: it is noticed, or it is harmless, and no wrong record is ever given out.

use std::fs;
use std::path::PathBuf;

use rand::{Rng, SeedableRng};

use super::*;

const LAST: u64 = 4_000;

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Opens the damaged store and looks at everything it gives; returns whether the damage was noticed.
fn examine(directory: &Path, what: &str) -> bool {
    let (journal, handle, opened, _) = start(directory);
    // Numbers go on after everything that was ever known, so none is given twice.
    let records = handle.reader().records(1, usize::MAX).unwrap();
    let noticed = !opened.quarantined.is_empty();
    if opened.quarantined.iter().any(|found| found.what != "orders") {
        assert!(opened.last_seq >= LAST, "{what}: numbers would be given twice from {}", opened.last_seq);
        assert!(records.is_empty(), "{what}: a quarantined day is read");
        assert!(opened.recovery.is_none());
    } else {
        assert_eq!(
            (records.len() as u64, opened.last_seq),
            (LAST, LAST),
            "{what}: records are silently missing"
        );
        assert_records(&records, 1);
        let found = handle.reader().milestones_after(Cursor::default(), usize::MAX).unwrap();
        assert_eq!(found.records.len() as u64, milestones_to(LAST), "{what}");
    }
    if opened.quarantined.iter().all(|found| found.what != "orders") {
        let orders = opened.orders.standing();
        assert_eq!(orders.len() as u64, LAST / PARCEL, "{what}: orders are silently missing");
    }
    // The line goes on in any case.
    append(&handle, numbered(opened.last_seq + 1));
    wait_durable(&handle, opened.last_seq + 1);
    let status = journal.finish();
    assert_eq!(status.state, JournalState::Closed);
    noticed
}

/// A closed store, its last day's Db file and its directory.
fn original() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    store_to(directory.path(), LAST);
    (directory, PathBuf::from("days/2026-11-22"))
}

#[test]
fn damage_done_on_purpose_is_noticed() {
    let (original, day) = original();
    type Damage = (&'static str, bool, fn(&Path, &Path));
    let damages: [Damage; 9] = [
        ("nothing", false, |_, _| {}),
        ("an emptied Db", true, |_, day| fs::write(day.join("db"), b"").unwrap()),
        ("a deleted Db", true, |_, day| fs::remove_file(day.join("db")).unwrap()),
        ("a deleted day", true, |_, day| fs::remove_dir_all(day).unwrap()),
        ("a halved Db", true, |_, day| {
            change(&day.join("db"), |bytes| bytes.truncate(bytes.len() / 2));
        }),
        ("a deleted checkpoint", false, |root, _| fs::remove_file(root.join("checkpoint")).unwrap()),
        ("a damaged checkpoint", false, |root, _| change(&root.join("checkpoint"), |bytes| bytes[20] ^= 1)),
        ("a damaged span", false, |_, day| change(&day.join("span"), |bytes| bytes[20] ^= 1)),
        ("a deleted register", true, |root, _| fs::remove_dir_all(root.join("orders")).unwrap()),
    ];
    for (what, noticed, damage) in damages {
        let directory = tempfile::tempdir().unwrap();
        copy(original.path(), directory.path());
        fs::remove_dir_all(directory.path().join("inflight")).unwrap();
        damage(directory.path(), &directory.path().join(&day));
        assert_eq!(examine(directory.path(), what), noticed, "{what}");
    }
}

/// Flips a bit, cuts, or zeroes a page of a Db file, and says what it did.
fn break_something(path: &Path, round: u64, random: &mut rand::rngs::StdRng) -> String {
    let mut what = String::new();
    change(path, |bytes| {
        // The file is allocated in halves of a megabyte; damage goes where something stands.
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let at = random.random_range(0..used);
        match round % 3 {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes.truncate(at),
            _ => {
                let page = at / 4_096 * 4_096;
                let end = (page + 4_096).min(bytes.len());
                bytes[page..end].fill(0);
            }
        }
        what = format!("round {round}: {} at {at} of {used}", path.display());
    });
    what
}

/// The same damage behind a line that has gone on with the in-flight log.
#[test]
fn random_damage_does_not_stop_a_line_that_has_gone_on() {
    let original = tempfile::tempdir().unwrap();
    let (journal, handle, before, _) = start(original.path());
    for seq in 1..=LAST {
        append(&handle, numbered(seq));
        if seq == 2_000 || seq == 3_900 {
            wait_durable(&handle, seq);
            assert!(handle.snapshot(seq, seq.to_be_bytes().to_vec()));
        }
    }
    wait_durable(&handle, LAST);
    journal.finish();
    let (seed, rounds) = seed_and_rounds(18);
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    for round in 0..rounds {
        let directory = tempfile::tempdir().unwrap();
        copy(original.path(), directory.path());
        let what = break_something(&directory.path().join("days/2026-11-22/db"), round, &mut random);
        let resume = inflight_resume(directory.path()).unwrap();
        assert_eq!((resume.snapshot_seq, resume.last_seq), (3_900, LAST));
        let (journal, handle, opening) =
            Journal::start(settings(directory.path()), Some(&resume), Box::new(Told::default())).unwrap();
        for seq in LAST + 1..=LAST + 100 {
            append(&handle, numbered(seq));
        }
        let opened = opening.wait().unwrap();
        wait_durable(&handle, LAST + 100);
        let records = handle.reader().records(1, usize::MAX).unwrap();
        let first = records[0].seq;
        for (seq, record) in (first..).zip(&records) {
            assert_eq!((record.seq, &record.body), (seq, &body(seq)), "{what}");
        }
        assert_eq!(records.last().unwrap().seq, LAST + 100, "{what}");
        if opened.quarantined.is_empty() {
            assert_eq!((first, opened.epoch), (1, before.epoch), "{what}");
        } else {
            assert!(opened.epoch > before.epoch, "{what}");
            // The log keeps the generation before the newest snapshot, too.
            assert_eq!((first, opened.quarantined[0].missing), (2_001, Some((1, 2_000))), "{what}");
        }
        // Those of records appended since may be among them.
        assert!(opened.orders.standing().len() as u64 >= LAST / PARCEL, "{what}");
        journal.finish();
    }
}

#[test]
fn random_damage_is_noticed_or_harmless() {
    let (original, day) = original();
    let (seed, rounds) = seed_and_rounds(30);
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let mut noticed = 0;
    for round in 0..rounds {
        let directory = tempfile::tempdir().unwrap();
        copy(original.path(), directory.path());
        fs::remove_dir_all(directory.path().join("inflight")).unwrap();
        let db = if round % 5 == 4 { "orders/1.reg".into() } else { day.join("db") };
        let path = directory.path().join(db);
        let what = format!("seed {seed}, {}", break_something(&path, round, &mut random));
        noticed += u64::from(examine(directory.path(), &what));
    }
    assert!(noticed * 4 > rounds, "{noticed} of {rounds} were noticed: does the damage reach the store?");
}

/// The in-flight log says more than a store that was emptied: the line goes on with the log.
#[test]
fn a_lost_store_does_not_stop_a_line_that_has_gone_on() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, handle, first, _) = start(directory.path());
    for seq in 1..=1_000 {
        append(&handle, numbered(seq));
        if seq == 500 || seq == 900 {
            // Of what is durable the log keeps no more than it needs.
            wait_durable(&handle, seq);
            assert!(handle.snapshot(seq, b"state".to_vec()));
        }
    }
    wait_durable(&handle, 1_000);
    journal.finish();
    fs::remove_dir_all(directory.path().join("days")).unwrap();

    let resume = inflight_resume(directory.path()).unwrap();
    let (journal, handle, opening) =
        Journal::start(settings(directory.path()), Some(&resume), Box::new(Told::default())).unwrap();
    append(&handle, numbered(1_001));
    let opened = opening.wait().unwrap();
    wait_durable(&handle, 1_001);
    assert!(opened.epoch > first.epoch);
    assert_eq!(opened.quarantined.len(), 1);
    let records = handle.reader().records(1, 10_000).unwrap();
    let numbers: Vec<u64> = records.iter().map(|record| record.seq).collect();
    assert_eq!(numbers, (501..=1_001).collect::<Vec<u64>>(), "what the log had is in the new store");
    assert_eq!(opened.quarantined[0].missing, Some((1, 500)));
    let events = records.iter().filter_map(|record| record.event_seq);
    assert!(events.eq(1..=records.iter().filter(|record| record.body.is_milestone()).count() as u64));
    journal.finish();
}

#[test]
fn a_record_that_is_lost_while_running_puts_its_day_aside_and_an_epoch_begins() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, handle, opened, told) = start(directory.path());
    for seq in 1..=100 {
        append(&handle, numbered(seq));
    }
    wait_durable(&handle, 100);
    handle.shelf().current().unwrap().lose_record(50);
    let reader = handle.reader();
    assert!(matches!(reader.records(1, 100), Err(ReadError::Damaged { .. })));
    wait_for("quarantine", || !handle.status().quarantined.is_empty());
    for seq in 101..=200 {
        append(&handle, numbered(seq));
    }
    wait_durable(&handle, 200);
    let status = handle.status();
    assert!(status.epoch > opened.epoch);
    assert_eq!((status.quarantined.len(), status.quarantined[0].missing), (1, Some((1, 100))));
    assert!(status.quarantined[0].moved_to.as_ref().unwrap().join("why").exists());
    let numbers: Vec<u64> = reader.records(1, 1_000).unwrap().iter().map(|record| record.seq).collect();
    assert_eq!(numbers, (101..=200).collect::<Vec<u64>>());
    // Upstream had the first twenty milestones; the rest is gone with its day, and the next epoch follows.
    let found = reader.milestones_after(Cursor { epoch: opened.epoch, acked: 20 }, 1_000).unwrap();
    assert_eq!((found.epoch, found.records[0].event_seq), (status.epoch, Some(1)));
    journal.finish();
    assert_eq!(told.0.lock().unwrap().len(), 200);
    let (journal, _, again, _) = start(directory.path());
    assert_eq!((again.last_seq, again.epoch, again.quarantined.len()), (200, status.epoch, 0));
    journal.finish();
}

/// A store of four days, the second of which is damaged, with or without a snapshot after all of them.
fn four_days(directory: &Path, snapshot: bool) -> Opened {
    let (journal, handle, opened, _) = start(directory);
    let wall = |seq: u64| MIDNIGHT_US + i64::try_from(seq / 100).unwrap() * 86_400_000_000;
    for seq in 1..=399 {
        append(&handle, stamped(seq, wall(seq)));
    }
    wait_durable(&handle, 399);
    if snapshot {
        assert!(handle.snapshot(399, b"state".to_vec()));
    }
    journal.finish();
    fs::write(directory.join("days/2026-11-23/db"), b"").unwrap();
    opened
}

fn assert_second_day_is_missing(handle: &JournalHandle) {
    let records = handle.reader().records(1, 1_000).unwrap();
    let numbers: Vec<u64> = records.iter().map(|record| record.seq).collect();
    assert_eq!(numbers, (1..=99).chain(200..=399).collect::<Vec<u64>>());
    let quarantined = handle.status().quarantined;
    assert_eq!((quarantined.len(), quarantined[0].missing), (1, Some((100, 199))));
    assert!(quarantined[0].moved_to.as_ref().unwrap().join("why").exists());
}

#[test]
fn a_sealed_day_that_is_damaged_is_put_aside_by_its_reader_and_the_rest_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let before = four_days(directory.path(), true);
    let (journal, handle, opened, _) = start(directory.path());
    assert_eq!(
        (opened.epoch, opened.last_seq),
        (before.epoch, 399),
        "the last day is sound, the epoch goes on"
    );
    assert!(opened.quarantined.is_empty() && opened.recovery.unwrap().complete);
    assert!(matches!(handle.reader().records(1, 1_000), Err(ReadError::Damaged { .. })));
    assert_second_day_is_missing(&handle);
    journal.finish();
}

/// Found by this test: the store was opened for ever.
#[test]
fn a_sealed_day_that_recovery_needs_and_that_is_damaged_is_put_aside() {
    let directory = tempfile::tempdir().unwrap();
    let before = four_days(directory.path(), false);
    let (journal, handle, opened, _) = start(directory.path());
    assert_eq!((opened.epoch, opened.last_seq), (before.epoch, 399));
    assert_eq!(opened.quarantined.len(), 1);
    let recovery = opened.recovery.unwrap();
    assert!(!recovery.complete && recovery.records.is_empty(), "a part of the records is no state");
    assert_second_day_is_missing(&handle);
    append(&handle, stamped(400, MIDNIGHT_US + 4 * 86_400_000_000));
    wait_durable(&handle, 400);
    journal.finish();
}
