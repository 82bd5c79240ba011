//! The chain through a store's life, and a store that was written before there was one.

use super::super::chain::Link;
use super::*;

const DAY_US: i64 = 86_400_000_000;

/// Follows the chain through every frame, day by day; returns the number of chained frames.
fn follow(reader: &Reader) -> usize {
    let mut chained = 0;
    for day in reader.days().unwrap() {
        let Some(mut link) = day.before else { continue };
        for frame in
            reader.frames(day.first_seq, usize::try_from(day.last_seq - day.first_seq + 1).unwrap()).unwrap()
        {
            frame.check().unwrap();
            link = link.next(&frame.digest().unwrap());
            assert_eq!(frame.link(), Some(link), "record {}", frame.seq);
            chained += 1;
        }
        assert_eq!(day.last, Some(link), "{}", day.name);
    }
    chained
}

#[test]
fn the_chain_goes_on_over_days_and_restarts_and_begins_anew_with_an_epoch() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, handle, first, _) = start(directory.path());
    for seq in 1..=150 {
        append(&handle, stamped(seq, MIDNIGHT_US + if seq > 100 { DAY_US } else { 0 }));
    }
    wait_durable(&handle, 150);
    let days = handle.reader().days().unwrap();
    assert_eq!(days[0].before, Some(Link::genesis(first.epoch, 1, Link::UNKNOWN)));
    assert_eq!((days[1].before, days[0].sealed, days[1].sealed), (days[0].last, true, false));
    assert_eq!(follow(&handle.reader()), 150);
    journal.finish();

    let (journal, handle, _, _) = start(directory.path());
    append(&handle, stamped(151, MIDNIGHT_US + DAY_US));
    append(&handle, stamped(160, MIDNIGHT_US + DAY_US));
    wait_durable(&handle, 160);
    let days = handle.reader().days().unwrap();
    assert_eq!(days.len(), 3, "an epoch begins after a gap, in a day of its own");
    let genesis = Link::genesis(days[2].epoch, 160, days[1].last.unwrap());
    assert_eq!((days[2].first_seq, days[2].before), (160, Some(genesis)));
    assert_eq!(follow(&handle.reader()), 152);
    journal.finish();
}

/// Written by the program before layout 2: a run, parcels over two days, the second not sealed, snapshots
/// after records 60 and 130, a cursor at milestone 20.
fn unpack_v1(directory: &Path) {
    let packed = include_bytes!("store-v1.zip");
    zip::ZipArchive::new(std::io::Cursor::new(packed)).unwrap().extract(directory).unwrap();
}

#[test]
fn a_store_of_layout_1_opens_is_read_and_goes_on_with_a_chain() {
    let directory = tempfile::tempdir().unwrap();
    unpack_v1(directory.path());
    let (journal, handle, opened, _) = start(directory.path());
    assert!(opened.quarantined.is_empty(), "{:?}", opened.quarantined);
    assert_eq!((opened.last_seq, opened.last_started), (160, Some(run_named(1))));
    let recovery = opened.recovery.unwrap();
    assert_eq!(recovery.snapshot, Some((130, 130_u64.to_be_bytes().to_vec())));
    assert_eq!((recovery.complete, recovery.records), (true, 131..161));
    // The run took the place of the first record's usual body.
    let applied = (2..=160).filter(|seq| seq % PARCEL == 6).count();
    assert_eq!(opened.orders.standing().len(), applied);

    for seq in 161..=200 {
        append(&handle, stamped(seq, MIDNIGHT_US + DAY_US));
    }
    wait_durable(&handle, 200);
    let check = |reader: &Reader| {
        let records = reader.records(1, 1_000).unwrap();
        assert_eq!(records.len(), 200);
        let mut events = 0;
        for (seq, record) in (1..).zip(&records) {
            assert_eq!(record.seq, seq);
            if seq > 1 {
                assert_eq!(record.body, body(seq));
            }
            events += u64::from(record.body.is_milestone());
            assert_eq!(record.event_seq, record.body.is_milestone().then_some(events));
        }
        let found = reader.milestones_after(Cursor { epoch: opened.epoch, acked: 20 }, 1_000).unwrap();
        assert!(found.records.iter().filter_map(|record| record.event_seq).eq(21..=events));
        let story = |code: &str| -> Vec<u64> {
            reader.story(code).unwrap().iter().map(|record| record.seq).collect()
        };
        assert_eq!(story("px15"), [120, 121, 122, 124, 127]);
        // A parcel of both days.
        assert_eq!(story("O12"), [96, 97, 98, 100, 103]);
        assert_eq!(story("px3"), [24, 25, 26, 28, 31]);
        assert_eq!(story("1-24"), [192, 193, 194, 196, 199]);
        assert_eq!(reader.started_before(150).unwrap(), Some(run_named(1)));
        assert_eq!(reader.started_before(200).unwrap(), Some(run_named(1)));
        let days = reader.days().unwrap();
        let names: Vec<&str> = days.iter().map(|day| day.name.as_str()).collect();
        assert_eq!(names, ["2026-11-22", "2026-11-23", "2026-11-23.2"]);
        assert_eq!((days[0].before, days[1].before, days[1].sealed), (None, None, true));
        assert_eq!(days[2].before, Some(Link::genesis(opened.epoch, 161, Link::UNKNOWN)));
        assert!(reader.frames(1, 160).unwrap().iter().all(|frame| frame.link().is_none()));
        assert_eq!(follow(reader), 40);
    };
    check(&handle.reader());
    journal.finish();
    let (journal, handle, again, _) = start(directory.path());
    assert_eq!((again.last_seq, again.epoch, again.quarantined.len()), (200, opened.epoch, 0));
    check(&handle.reader());
    journal.finish();
}

#[test]
fn a_copy_is_looked_into_and_a_live_store_is_not() {
    let directory = tempfile::tempdir().unwrap();
    unpack_v1(directory.path());
    let (journal, handle, opened, _) = start(directory.path());
    for seq in 161..=300 {
        append(&handle, stamped(seq, MIDNIGHT_US + DAY_US * if seq > 250 { 2 } else { 1 }));
        if seq == 200 {
            assert!(handle.snapshot(200, b"state".to_vec()));
        }
    }
    wait_durable(&handle, 300);
    let refused = Archive::open(directory.path()).unwrap_err();
    assert!(matches!(refused, ArchiveError::InUse { .. }), "{refused}");
    let live = handle.reader();
    let copy = tempfile::tempdir().unwrap();
    super::damage::copy(directory.path(), copy.path());
    for sealed in [false, true] {
        let archive = Archive::open(copy.path()).unwrap();
        assert!(archive.damaged().is_empty(), "{:?}", archive.damaged());
        let reader = archive.reader();
        assert_eq!(reader.days().unwrap(), live.days().unwrap());
        assert_eq!(reader.frames(1, 1_000).unwrap(), live.frames(1, 1_000).unwrap());
        assert_eq!(reader.records(1, 1_000).unwrap(), live.records(1, 1_000).unwrap());
        assert_eq!(reader.story("px30").unwrap(), live.story("px30").unwrap());
        assert_eq!(reader.epochs().unwrap(), live.epochs().unwrap());
        assert_eq!(reader.snapshots().unwrap(), [60, 130, 200]);
        assert_eq!(
            reader.latest_snapshot_before(199).unwrap().unwrap(),
            (130, 130_u64.to_be_bytes().to_vec())
        );
        assert_eq!(reader.latest_snapshot_before(u64::MAX).unwrap().unwrap(), (200, b"state".to_vec()));
        assert_eq!(reader.latest_snapshot_before(59).unwrap(), None);
        assert_eq!(follow(reader), 140);
        let cursor = Cursor { epoch: opened.epoch, acked: 20 };
        assert_eq!(reader.milestones_after(cursor, 9).unwrap(), live.milestones_after(cursor, 9).unwrap());
        if !sealed {
            // Without its slip a day says itself where it ends.
            drop(archive);
            std::fs::remove_file(copy.path().join("days/2026-11-23/span")).unwrap();
        }
    }
    // A damaged day stays where it is and is named.
    std::fs::write(copy.path().join("days/2026-11-24/db"), b"").unwrap();
    let archive = Archive::open(copy.path()).unwrap();
    assert_eq!(archive.damaged()[0].0, "2026-11-24");
    assert!(copy.path().join("days/2026-11-24/db").exists());
    journal.finish();
    assert!(matches!(Archive::open(&copy.path().join("days/2026-11-22")), Err(ArchiveError::NoStore { .. })));
}
