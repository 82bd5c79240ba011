use super::*;

#[test]
fn records_become_durable_in_order_are_told_once_and_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, handle, opened, told) = start(directory.path());
    assert_eq!((opened.last_seq, opened.last_event, opened.orders.standing().len()), (0, 0, 0));
    assert!(opened.epoch > 1_700_000_000 && opened.quarantined.is_empty());
    let last = 3_000;
    for seq in 1..=last {
        append(&handle, numbered(seq));
    }
    wait_durable(&handle, last);
    let reader = handle.reader();
    assert_records(&reader.records(1, 10_000).unwrap(), 1);
    assert_eq!(reader.records(2_990, 5).unwrap().len(), 5);

    let mut cursor = Cursor { epoch: 0, acked: 0 };
    let mut seen = 0;
    loop {
        let found = reader.milestones_after(cursor, 100).unwrap();
        assert_eq!(found.epoch, opened.epoch);
        let Some(newest) = found.records.last() else { break };
        for record in &found.records {
            seen += 1;
            assert_eq!(record.event_seq, Some(seen));
        }
        cursor = Cursor { epoch: found.epoch, acked: newest.event_seq.unwrap() };
    }
    assert_eq!(seen, milestones_to(last));

    let by_text: Vec<u64> = reader.story("PX17").unwrap().iter().map(|record| record.seq).collect();
    assert_eq!(by_text, [136, 137, 138, 140, 143]);
    for name in ["wb:PX17", " px17", "O17", "1-17"] {
        let story: Vec<u64> = reader.story(name).unwrap().iter().map(|record| record.seq).collect();
        assert_eq!(story, by_text, "{name}");
    }
    assert!(reader.story("PX1700").unwrap().is_empty());

    let status = journal.finish();
    assert_eq!((status.durable, status.orders, status.refused), (last, last / PARCEL, 0));
    assert_records(&told.0.lock().unwrap(), 1);
    assert_eq!(told.0.lock().unwrap().len() as u64, last);
    assert_eq!(blobs(directory.path()), 0);
    assert_eq!(reader.records(1, 1), Err(ReadError::NotOpenYet));

    let (journal, _, again, _) = start(directory.path());
    assert_eq!((again.last_seq, again.epoch), (last, opened.epoch));
    assert_eq!((again.last_event, again.last_tick), (milestones_to(last), Tick(last * 10)));
    assert_eq!(again.orders.standing().len() as u64, last / PARCEL);
    journal.finish();
}

#[test]
fn a_store_has_one_writer() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _, _, _) = start(directory.path());
    let second = Journal::start(settings(directory.path()), None, Box::new(Told::default()));
    assert!(matches!(second, Err(StartError::InUse { .. })));
    journal.finish();
}

#[test]
fn long_records_are_split_too_long_ones_replaced_and_their_run_is_carried_into_the_next_day() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, handle, _, _) = start(directory.path());
    let body_of = |body| Entry { at: Tick(1), body };
    let run = Body::Input(Input::Event(Event::Started(run_named(1))));
    append(&handle, Numbered { seq: 1, wall_us: MIDNIGHT_US, entry: body_of(run.clone()) });
    let huge = Body::Fact(Fact::AlarmCleared { id: "x".repeat(RECORD_LIMIT + 1) });
    append(&handle, Numbered { seq: 2, wall_us: MIDNIGHT_US, entry: body_of(huge) });
    append(&handle, stamped(3, MIDNIGHT_US + 86_400_000_000));
    wait_durable(&handle, 3);
    let reader = handle.reader();
    let records = reader.records(1, 10).unwrap();
    assert_eq!(records[0].body, run);
    assert!(
        matches!(&records[1].body, Body::Fact(Fact::AlarmRaised(alarm)) if alarm.text.contains("record 2"))
    );
    for seq in 1..=3 {
        assert_eq!(reader.started_before(seq).unwrap(), Some(run_named(1)), "record {seq}");
    }
    assert_eq!(journal.finish().refused, 1);
    assert_eq!(blobs(directory.path()), 0);
    std::fs::remove_dir_all(directory.path().join("days/2026-11-22")).unwrap();
    let (journal, handle, opened, _) = start(directory.path());
    assert_eq!((opened.last_started, opened.last_seq), (Some(run_named(1)), 3));
    assert_eq!(handle.reader().started_before(3).unwrap(), Some(run_named(1)));
    journal.finish();
}

#[test]
fn days_roll_over_while_running_and_milestones_cross_them() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, handle, opened, _) = start(directory.path());
    let day_us = 86_400_000_000;
    let wall = |seq: u64| MIDNIGHT_US + i64::try_from(seq / 200).unwrap() * day_us;
    for seq in 1..=799 {
        // A step back over midnight changes nothing.
        let step_back = if seq % 200 < 5 { -1_000_000 } else { 0 };
        let wall_us = wall(seq) + if seq > 200 && seq % 200 > 0 { step_back } else { 0 };
        append(&handle, stamped(seq, wall_us));
    }
    wait_durable(&handle, 799);
    let names = |directory: &Path| {
        let mut names: Vec<String> = std::fs::read_dir(directory.join("days"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let expected = ["2026-11-22", "2026-11-23", "2026-11-24", "2026-11-25"];
    assert_eq!(names(directory.path()), expected);
    let reader = handle.reader();
    let all = |reader: &Reader| {
        let numbers: Vec<u64> = reader.records(1, 10_000).unwrap().iter().map(|record| record.seq).collect();
        assert_eq!(numbers, (1..=799).collect::<Vec<u64>>());
        let found = reader.milestones_after(Cursor { epoch: opened.epoch, acked: 10 }, 10_000).unwrap();
        let events: Vec<u64> = found.records.iter().filter_map(|record| record.event_seq).collect();
        assert_eq!(events, (11..=milestones_to(799)).collect::<Vec<u64>>());
    };
    all(&reader);
    journal.finish();
    let (journal, handle, _, _) = start(directory.path());
    all(&handle.reader());
    journal.finish();

    // Two days kept: the older two go once their milestones are acknowledged, the first alone before.
    let mut cursor = CursorStore::open(directory.path()).unwrap();
    let first_day = milestones_to(199);
    for (acked, left) in [(first_day, &expected[1..]), (milestones_to(799), &expected[2..])] {
        cursor.advance(Cursor { epoch: opened.epoch, acked }, Tick(acked * 1_000_000)).unwrap();
        let settings = JournalSettings { keep_days: 2, ..settings(directory.path()) };
        let (journal, _, opening) = Journal::start(settings, None, Box::new(Told::default())).unwrap();
        opening.wait().unwrap();
        assert_eq!(journal.finish().days_deleted, 1);
        assert_eq!(names(directory.path()), left);
    }
}

#[test]
fn the_line_goes_on_before_the_store_is_open_and_nothing_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, handle, _, _) = start(directory.path());
    for seq in 1..=1_000 {
        append(&handle, numbered(seq));
        if seq % 300 == 0 {
            assert!(handle.snapshot(seq, seq.to_be_bytes().to_vec()));
        }
    }
    wait_durable(&handle, 1_000);
    journal.finish();

    let resume = inflight_resume(directory.path()).unwrap();
    assert_eq!((resume.snapshot_seq, resume.last_seq, resume.tail.len()), (900, 1_000, 100));
    assert_eq!(resume.tail, (901..=1_000).map(numbered).collect::<Vec<_>>());
    let told = Told::default();
    let (journal, handle, opening) =
        Journal::start(settings(directory.path()), Some(&resume), Box::new(told.clone())).unwrap();
    for seq in 1_001..=1_500 {
        append(&handle, numbered(seq));
    }
    let opened = opening.wait().unwrap();
    assert!(opened.recovery.is_none() && opened.quarantined.is_empty() && opened.last_seq >= 1_000);
    wait_durable(&handle, 1_500);
    assert_records(&handle.reader().records(1, 10_000).unwrap(), 1);
    journal.finish();
    // Records of the log are told again: their acknowledgement was perhaps never sent.
    let told = told.0.lock().unwrap();
    assert!(told[0].seq <= 901);
    assert_records(&told, told[0].seq);
    assert_eq!(told.last().unwrap().seq, 1_500);
}

#[test]
fn the_slow_path_begins_at_the_stored_snapshot() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, handle, _, _) = start(directory.path());
    for seq in 1..=600 {
        append(&handle, numbered(seq));
    }
    let state: Vec<u8> = (0..100_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    assert!(handle.snapshot(600, state.clone()));
    for seq in 601..=700 {
        append(&handle, numbered(seq));
    }
    wait_durable(&handle, 700);
    journal.finish();
    assert_eq!(blobs(directory.path()), 0);
    std::fs::remove_dir_all(directory.path().join("inflight")).unwrap();
    assert!(inflight_resume(directory.path()).is_none());
    let (journal, handle, opened, _) = start(directory.path());
    let recovery = opened.recovery.unwrap();
    assert!(recovery.complete);
    assert_eq!(recovery.snapshot, Some((600, state)));
    let records: Vec<Record> = recovery.read(&handle.reader()).map(Result::unwrap).collect();
    assert_records(&records, 601);
    assert_eq!((recovery.records, records.len(), opened.last_seq), (601..701, 100, 700));
    journal.finish();
}

/// Found by `sim bench journal`: seventeen values of 7,900 bytes were more than a page may hold.
#[test]
fn large_snapshots_and_many_long_records_make_no_blobs() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, handle, _, _) = start(directory.path());
    for seq in 1..=60 {
        let id = "x".repeat(if seq % 2 == 0 { 30_000 } else { 6_900 });
        let body = Body::Fact(Fact::AlarmCleared { id });
        append(&handle, Numbered { seq, wall_us: MIDNIGHT_US, entry: Entry { at: Tick(seq), body } });
    }
    let state: Vec<u8> = (0..2_000_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    assert!(handle.snapshot(60, state.clone()));
    wait_durable(&handle, 60);
    journal.finish();
    assert_eq!(blobs(directory.path()), 0);
    let (journal, handle, opened, _) = start(directory.path());
    assert_eq!(opened.recovery.unwrap().snapshot, Some((60, state)));
    assert_eq!(handle.reader().records(1, 100).unwrap().len(), 60);
    journal.finish();
}

#[test]
fn skipped_numbers_begin_an_epoch_and_repeated_ones_are_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, handle, opened, _) = start(directory.path());
    for seq in [1, 2, 3, 3, 2, 4, 10, 11] {
        append(&handle, numbered(seq));
    }
    wait_durable(&handle, 11);
    let records = handle.reader().records(1, 100).unwrap();
    let numbers: Vec<u64> = records.iter().map(|record| record.seq).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 10, 11]);
    let status = journal.finish();
    assert!(status.epoch > opened.epoch);
    assert_eq!(status.repeated, 2);
    let (journal, _, again, _) = start(directory.path());
    assert_eq!((again.last_seq, again.epoch), (11, status.epoch));
    assert!(again.quarantined.is_empty());
    journal.finish();
}
