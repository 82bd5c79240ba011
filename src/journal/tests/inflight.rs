use super::*;
use crate::line::record::{Body, Input};

fn numbered(seq: u64) -> Numbered {
    let body = Body::Input(Input::Belt { pulses: i64::try_from(seq).unwrap() * 3, speed_mm_s: 2_000 });
    let entry = crate::line::record::Entry { at: Tick(seq * 1_000), body };
    Numbered { seq, wall_us: 5, entry }
}

fn some(range: std::ops::RangeInclusive<u64>) -> Vec<Numbered> {
    range.map(numbered).collect()
}

/// Snapshot after 10, records to 15, snapshot after 15, records to 20.
fn two_generations(directory: &Path) {
    let mut log = Log::afresh(directory, 0).unwrap();
    log.append(&some(1..=10), None).unwrap();
    log.snapshot(b"ten", 10).unwrap();
    log.append(&some(11..=15), None).unwrap();
    log.snapshot(b"fifteen", 15).unwrap();
    log.append(&some(16..=18), None).unwrap();
    log.append(&some(19..=20), None).unwrap();
}

#[test]
fn the_line_goes_on_with_the_newest_snapshot_and_the_records_after_it() {
    let directory = tempfile::tempdir().unwrap();
    assert!(read(directory.path()).is_none());
    two_generations(directory.path());
    let resume = read(directory.path()).unwrap();
    assert_eq!((resume.snapshot.as_slice(), resume.snapshot_seq, resume.last_seq), (&b"fifteen"[..], 15, 20));
    assert_eq!(resume.tail, some(16..=20));
    assert_eq!(resume.last_tick(), Some(Tick(20_000)));

    let mut log = Log::go_on(directory.path(), &resume).unwrap();
    log.append(&some(21..=22), None).unwrap();
    assert_eq!(read(directory.path()).unwrap().tail, some(16..=22));
}

#[test]
fn a_damaged_snapshot_is_replaced_by_the_one_before() {
    let directory = tempfile::tempdir().unwrap();
    two_generations(directory.path());
    fs::write(snapshot_path(directory.path(), 15), b"nonsense").unwrap();
    let resume = read(directory.path()).unwrap();
    assert_eq!((resume.snapshot.as_slice(), resume.snapshot_seq), (&b"ten"[..], 10));
    assert_eq!(resume.tail, some(11..=20));
    let mut log = Log::go_on(directory.path(), &resume).unwrap();
    log.append(&some(21..=21), None).unwrap();
    assert_eq!(read(directory.path()).unwrap().tail, some(11..=21));
}

#[test]
fn a_cut_frame_ends_the_log_and_is_written_over() {
    let directory = tempfile::tempdir().unwrap();
    two_generations(directory.path());
    let path = tail_path(directory.path(), 15);
    let whole = fs::read(&path).unwrap();
    let mut lasts = std::collections::BTreeSet::new();
    for len in TAIL_HEADER..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        let resume = read(directory.path()).unwrap();
        assert_eq!(resume.tail, some(16..=resume.last_seq), "cut to {len}");
        lasts.insert(resume.last_seq);
        let mut log = Log::go_on(directory.path(), &resume).unwrap();
        log.append(&some(resume.last_seq + 1..=25), None).unwrap();
        assert_eq!(read(directory.path()).unwrap().tail, some(16..=25), "cut to {len}");
    }
    assert_eq!(lasts.into_iter().collect::<Vec<_>>(), [15, 16, 17, 18, 19]);
}

#[test]
fn after_a_flipped_bit_nothing_is_gone_on_with() {
    let directory = tempfile::tempdir().unwrap();
    two_generations(directory.path());
    let path = tail_path(directory.path(), 15);
    let whole = fs::read(&path).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut bad = whole.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bad).unwrap();
        assert!(read(directory.path()).is_none(), "bit {bit}");
    }
}

#[test]
fn after_a_reboot_only_the_store_is_believed_and_whole_records_are_kept_for_it() {
    let directory = tempfile::tempdir().unwrap();
    two_generations(directory.path());
    let path = tail_path(directory.path(), 15);
    let mut other = fs::read(&path).unwrap();
    other[..TAIL_HEADER].copy_from_slice(&tail_header(15, [b'0'; BOOT_ID]));
    fs::write(&path, other).unwrap();
    assert!(read(directory.path()).is_none());
    assert_eq!(salvage(directory.path(), 0).into_values().collect::<Vec<_>>(), some(11..=20));
}

/// With the store stalled, records before the newest snapshot are nowhere else.
#[test]
fn tails_that_are_not_durable_yet_stay() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = Log::afresh(directory.path(), 0).unwrap();
    for group in 0..6_u64 {
        log.append(&some(group * 10 + 1..=group * 10 + 10), None).unwrap();
        log.snapshot(b"state", 15).unwrap();
    }
    let kept: Vec<u64> = salvage(directory.path(), 0).into_keys().collect();
    assert_eq!(kept, (11..=60).collect::<Vec<u64>>());
    log.append(&some(61..=70), None).unwrap();
    log.snapshot(b"state", 70).unwrap();
    assert_eq!(generations(directory.path()), [60, 70], "the snapshot before is kept, older ones are not");
}

/// Worked out by hand from the layout; never to be changed.
#[test]
fn frozen_bytes_of_the_headers() {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let boot = *b"f131dfa2-c6c6-48f2-87ee-ab382132d342";
    let tail = "534f52545441494c0166313331646661322d633663362d343866322d383765652d61623338323133326433343200000000000001024786d681";
    assert_eq!(hex(&tail_header(258, boot)), tail);
    let snapshot = "534f5254534e41500166313331646661322d633663362d343866322d383765652d6162333832313332643334320000000000000102000000000000000511e249ff";
    assert_eq!(hex(&snapshot_header(258, boot, b"state")), snapshot);
}
