use super::*;
use crate::journal::anchor::Claim;
use crate::journal::chain::Link;
use crate::journal::signing::SigningKey;

const DAY: &str = "2026-11-22";

fn anchor(key: &SigningKey, number: u64) -> Anchor {
    let claim = Claim {
        number,
        epoch: 1,
        seq: number * 100,
        event_seq: number,
        link: Link([7; 32]),
        wall_us: 0,
        public_key: key.public(),
        previous_key: None,
        site: "s".to_owned(),
        line: "l".to_owned(),
    };
    claim.sign(key).unwrap()
}

/// A store with so many anchors in one file.
fn store(count: u64) -> (tempfile::TempDir, SigningKey, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let key = SigningKey::open(directory.path(), None).unwrap();
    let (mut log, damage) = AnchorLog::open(directory.path(), 0).unwrap();
    assert_eq!(damage, []);
    for number in 1..=count {
        assert_eq!(log.next(), number);
        log.append(DAY, anchor(&key, number)).unwrap();
    }
    let path = super::directory(directory.path()).join(Segment { first: 1, day: DAY.to_owned() }.name());
    (directory, key, path)
}

fn numbers(content: &Content) -> Vec<u64> {
    content.anchors.iter().map(|anchor| anchor.claim.number).collect()
}

#[test]
fn a_torn_end_is_cut_and_the_next_anchor_takes_its_number() {
    let (directory, key, path) = store(3);
    let whole = fs::read(&path).unwrap();
    let second = scan(&whole, 0, 1).good - encode_frame(&anchor(&key, 3).encode().unwrap()).len() as u64;
    for cut in usize::try_from(second).unwrap()..whole.len() {
        for zeroes in [0, 50] {
            // What the file system had made longer already is nothing yet.
            if zeroes > 0 && cut as u64 != second {
                continue;
            }
            fs::write(&path, [&whole[..cut], &vec![0; zeroes]].concat()).unwrap();
            let (mut log, damage) = AnchorLog::open(directory.path(), 2).unwrap();
            assert_eq!((log.next(), damage.len()), (3, 0), "cut to {cut}");
            log.append(DAY, anchor(&key, 3)).unwrap();
            let content = scan(&fs::read(&path).unwrap(), 0, 1);
            assert_eq!((numbers(&content), content.tail), (vec![1, 2, 3], Tail::None));
        }
    }
}

#[test]
fn a_file_cut_in_its_header_begins_anew() {
    let (directory, key, path) = store(0);
    for length in 0..HEADER {
        fs::write(&path, &[&MAGIC[..], &[VERSION]].concat()[..length]).unwrap();
        let (mut log, damage) = AnchorLog::open(directory.path(), 0).unwrap();
        assert_eq!(damage, []);
        log.append(DAY, anchor(&key, 1)).unwrap();
        assert_eq!(numbers(&scan(&fs::read(&path).unwrap(), 0, 1)), [1]);
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn every_altered_byte_is_noticed_or_cuts_off_what_nobody_had_heard_of() {
    let (directory, key, path) = store(4);
    let good = fs::read(&path).unwrap();
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 0x40;
        let content = scan(&bad, 0, 1);
        assert!(content.anchors.len() < 4, "byte {place}");
        // All four were published: whatever it looks like, it is damage.
        fs::write(&path, &bad).unwrap();
        let (mut log, damage) = AnchorLog::open(directory.path(), 4).unwrap();
        assert_eq!(damage.len(), 1, "byte {place}");
        assert_eq!(log.next(), 5);
        log.append(DAY, anchor(&key, 5)).unwrap();
        // What could be read stands in its place, and the new anchor in a file of its own.
        let segments = segments(directory.path()).unwrap();
        let kept: Vec<u64> =
            segments.iter().flat_map(|segment| numbers(&read(directory.path(), segment).unwrap())).collect();
        assert_eq!(kept.last(), Some(&5));
        assert!(kept.iter().copied().take(kept.len() - 1).eq(1..kept.len() as u64), "{kept:?}");
        fs::remove_dir_all(super::directory(directory.path())).unwrap();
        fs::create_dir(super::directory(directory.path())).unwrap();
    }
    let aside = fs::read_dir(directory.path().join("quarantine")).unwrap().count();
    assert_eq!(aside, good.len(), "nothing is deleted");
}

#[test]
fn a_day_has_a_file_and_old_files_go_but_for_the_newest() {
    let (directory, key, _) = store(2);
    let (mut log, _) = AnchorLog::open(directory.path(), 2).unwrap();
    for (number, day) in [(3, "2026-11-23"), (4, "2026-11-24"), (5, "2026-11-24.2"), (6, "2026-11-25")] {
        log.append(day, anchor(&key, number)).unwrap();
    }
    let days = || -> Vec<String> {
        segments(directory.path()).unwrap().into_iter().map(|segment| segment.day).collect()
    };
    assert_eq!(days(), [DAY, "2026-11-23", "2026-11-24", "2026-11-24.2", "2026-11-25"]);
    log.prune("2026-11-22").unwrap();
    assert_eq!(days().len(), 5);
    log.prune("2026-11-24").unwrap();
    assert_eq!(days(), ["2026-11-23", "2026-11-24", "2026-11-24.2", "2026-11-25"]);
}

#[test]
fn names_that_are_none_are_left_alone() {
    for name in ["cursor", "cursor.new", "1-2026-11-22", "00000000000000000001-x", "0000000000000000000é"] {
        assert_eq!(Segment::parse(name), None, "{name}");
    }
}

/// The layout in the module's text; never to be changed.
#[test]
fn frozen_file() {
    let directory = tempfile::tempdir().unwrap();
    let seed = directory.path().join("seed");
    fs::write(&seed, [7; 32]).unwrap();
    let key = SigningKey::read(&seed).unwrap();
    let (mut log, _) = AnchorLog::open(directory.path(), 0).unwrap();
    log.append(DAY, anchor(&key, 1)).unwrap();
    let bytes = fs::read(super::directory(directory.path()).join("00000000000000000001-2026-11-22")).unwrap();
    assert_eq!(&bytes[..13], b"SORTANCH\x01\x00\x00\x00\xc4");
    assert_eq!(bytes[13..17], crc32fast::hash(&[&bytes[9..13], &bytes[17..]].concat()).to_be_bytes());
    assert_eq!(bytes[17..], anchor(&key, 1).encode().unwrap());
}
