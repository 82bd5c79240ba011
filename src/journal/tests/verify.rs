//! `verify` against real stores, really altered.

use super::super::anchor::Anchor;
use super::super::chain::Link;
use super::super::signing::PublicKey;
use super::super::verify::{Report, Source, SourceError, Verdict, Witness, examine};
use super::*;

const DAY_US: i64 = 86_400_000_000;
/// Records of the store: one day of forty, and one of twenty.
const FIRST_DAY: u64 = 40;
const LAST: u64 = 60;

fn anchored(directory: &Path) -> JournalSettings {
    let anchors = AnchorSettings { site: "dg".to_owned(), line: "l1".to_owned(), signing_key: None };
    JournalSettings { anchors: Some(anchors), ..settings(directory) }
}

/// Records `from` to `to` in a store with anchors, which is closed in order. Small ones, so that a few of
/// them fit a block.
fn write(directory: &Path, from: u64, to: u64) {
    let (journal, handle, opening) =
        Journal::start(anchored(directory), None, Box::new(Told::default())).unwrap();
    opening.wait().unwrap();
    for seq in from..=to {
        append(&handle, stamped(seq, MIDNIGHT_US + if seq > FIRST_DAY { DAY_US } else { 0 }));
    }
    wait_durable(&handle, to);
    assert_eq!(journal.finish().state, JournalState::Closed);
}

/// Two days, and anchors after records 20, 40 (the seal) and 60.
fn store() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), 1, 20);
    write(directory.path(), 21, LAST);
    directory
}

fn report(directory: &Path) -> Report {
    let key = PublicKey::parse(&std::fs::read(directory.join("signing-key.pub")).unwrap()).unwrap();
    examine(&Archive::open(directory).unwrap(), vec![key]).unwrap()
}

fn frame_of(directory: &Path, seq: u64) -> Vec<u8> {
    Archive::open(directory).unwrap().reader().frames(seq, 1).unwrap().remove(0).bytes
}

/// Puts other bytes of the same length in the place of some wherever they stand in a day's Db, as someone
/// who knows the format would.
fn exchange(directory: &Path, day: &str, old: &[u8], new: &[u8]) {
    assert_eq!(old.len(), new.len());
    let db = sled::open(directory.join("days").join(day)).unwrap();
    let mut found = 0;
    for name in db.tree_names() {
        let tree = db.open_tree(name).unwrap();
        for item in &tree {
            let (key, value) = item.unwrap();
            if let Some(at) = value.windows(old.len()).position(|window| window == old) {
                let mut value = value.to_vec();
                value[at..at + old.len()].copy_from_slice(new);
                tree.insert(key, value).unwrap();
                found += 1;
            }
        }
    }
    assert!(found > 0, "the bytes stand nowhere in {day}");
    db.flush().unwrap();
}

fn day_of(seq: u64) -> &'static str {
    if seq <= FIRST_DAY { "2026-11-22" } else { "2026-11-23" }
}

/// A frame of version 2 with another link and a right CRC.
fn relinked(frame: &[u8], link: Link) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[25..57].copy_from_slice(&link.0);
    let crc = crc32fast::hash(&[&frame[..21], &frame[25..]].concat());
    frame[21..25].copy_from_slice(&crc.to_be_bytes());
    frame
}

#[test]
fn a_store_as_it_was_written_is_intact_and_signed_to_its_end() {
    let directory = store();
    let report = report(directory.path());
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!((report.records, report.days, report.proven_to), (LAST, 2, Some(LAST)));
    assert_eq!((report.anchors, report.anchors_agree), (3, 3));
    // A second look finds the same: looking changes nothing.
    assert!(super::verify::report(directory.path()).is_clean());
}

/// What a store holds, read once; one byte of it is altered on its way to the examination.
struct Altered<'a> {
    store: &'a Archive,
    days: Vec<DaySpan>,
    frames: Vec<Frame>,
    seq: u64,
    place: usize,
}

impl Source for Altered<'_> {
    fn days(&self) -> Result<Vec<DaySpan>, SourceError> {
        Ok(self.days.clone())
    }
    fn damaged_days(&self) -> Vec<(String, String)> {
        Vec::new()
    }
    fn frames(&self, from: u64, max: usize) -> Result<Vec<Frame>, SourceError> {
        let from = usize::try_from(from - 1).unwrap();
        let mut frames: Vec<Frame> = self.frames.iter().skip(from).take(max).cloned().collect();
        for frame in frames.iter_mut().filter(|frame| frame.seq == self.seq) {
            frame.bytes[self.place] ^= 1 << (self.place % 8);
        }
        Ok(frames)
    }
    fn anchors(&self) -> Result<(Vec<Anchor>, Vec<String>), SourceError> {
        self.store.anchors()
    }
    fn witnesses(&self) -> Result<Vec<Witness>, SourceError> {
        self.store.witnesses()
    }
    fn others(&self) -> Result<(Vec<String>, Vec<String>), SourceError> {
        self.store.others()
    }
}

#[test]
fn one_altered_byte_in_any_record_is_found_and_named() {
    let directory = store();
    let store = Archive::open(directory.path()).unwrap();
    let (days, frames) = (store.days().unwrap(), store.frames(1, 1_000).unwrap());
    let mut source = Altered { store: &store, days, frames, seq: 0, place: 0 };
    assert!(examine(&source, Vec::new()).unwrap().is_clean());
    let mut altered = 0;
    for seq in 1..=LAST {
        source.seq = seq;
        for place in 0..source.frames[usize::try_from(seq - 1).unwrap()].bytes.len() {
            source.place = place;
            let report = examine(&source, Vec::new()).unwrap();
            let named = matches!(report.verdict, Verdict::AlteredAt { seq: at, .. } if at == seq);
            assert!(named && !report.is_clean(), "record {seq}, byte {place}: {report:#?}");
            let bad = report.bad.unwrap();
            assert_eq!((bad.seq, bad.day.as_deref()), (seq, Some(day_of(seq))));
            altered += 1;
        }
    }
    assert!(altered > 4_000, "{altered}");
}

#[test]
fn a_byte_altered_in_the_store_itself_is_found_and_named() {
    for (seq, place) in [(1, 70), (7, 30), (20, 60), (39, 22), (41, 58), (48, 5), (59, 74)] {
        let directory = store();
        let good = frame_of(directory.path(), seq);
        let mut bad = good.clone();
        bad[place] ^= 1;
        exchange(directory.path(), day_of(seq), &good, &bad);
        let report = report(directory.path());
        let named = matches!(report.verdict, Verdict::AlteredAt { seq: at, .. } if at == seq);
        assert!(named, "record {seq}, byte {place}: {report:#?}");
        let wall_us = report.bad.unwrap().wall_us;
        assert_eq!(wall_us.is_some(), seq > 1, "of the last record before it");
    }
}

#[test]
fn a_record_with_a_right_crc_is_found_by_its_link() {
    let directory = store();
    let good = frame_of(directory.path(), 25);
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    let link = Link(bad[25..57].try_into().unwrap());
    exchange(directory.path(), day_of(25), &good, &relinked(&bad, link));
    let Verdict::AlteredAt { seq, what } = report(directory.path()).verdict else { panic!() };
    assert!(seq == 25 && what.contains("the chain up to it"), "{seq}: {what}");
}

/// Exchanges a record and makes every CRC and link of its day anew.
fn make_anew(directory: &Path, seq: u64, to: u64) {
    let mut link = Link(frame_of(directory, seq - 1)[25..57].try_into().unwrap());
    for at in seq..=to {
        let good = frame_of(directory, at);
        let mut bad = good.clone();
        if at == seq {
            *bad.last_mut().unwrap() ^= 1;
        }
        link = link.next(&Frame { seq: at, bytes: bad.clone() }.digest().unwrap());
        exchange(directory, day_of(at), &good, &relinked(&bad, link));
    }
}

#[test]
fn who_makes_everything_anew_is_found_by_the_anchors() {
    // Up to the record before the last of the day, which `span` repeats outside of the Db.
    let directory = store();
    make_anew(directory.path(), 15, 39);
    let report = report(directory.path());
    let Verdict::AnchorMismatch { number, seq, after, .. } = report.verdict else { panic!("{report:#?}") };
    assert_eq!((number, seq, after), (1, 20, 0));
    assert_eq!(report.bad.unwrap().seq, 1, "no earlier anchor proves anything");
}

#[test]
fn a_store_that_was_cut_off_is_truncated() {
    let directory = store();
    let whole = tempfile::tempdir().unwrap();
    copy(directory.path(), whole.path());
    std::fs::remove_dir_all(directory.path().join("days/2026-11-23")).unwrap();
    let found = report(directory.path());
    let Verdict::Truncated { last, expected, .. } = found.verdict else { panic!("{found:#?}") };
    assert_eq!((last, expected, found.bad.unwrap().seq), (FIRST_DAY, LAST, FIRST_DAY + 1));
    // The anchors went with the day: the checkpoint still knows.
    std::fs::remove_dir_all(directory.path().join("anchors")).unwrap();
    let found = examine(&Archive::open(directory.path()).unwrap(), Vec::new()).unwrap();
    assert!(
        matches!(found.verdict, Verdict::Truncated { last: FIRST_DAY, expected: LAST, .. }),
        "{found:#?}"
    );
}

#[test]
fn another_store_in_the_place_of_this_one_does_not_pass() {
    // An older copy: everything in it agrees, but for the anchors that were kept elsewhere.
    let (newer, older) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(newer.path(), 1, 30);
    copy(newer.path(), older.path());
    write(newer.path(), 31, LAST);
    copy(&newer.path().join("anchors"), &older.path().join("anchors"));
    let found = report(older.path());
    assert!(matches!(found.verdict, Verdict::Truncated { last: 30, expected: LAST, .. }), "{found:#?}");
    // One that began again from the first record, as of another epoch.
    let mut again = examine_with(newer.path(), 1);
    assert!(
        matches!(&again.verdict, Verdict::AnchorMismatch { number: 1, seq: 30, what, .. } if what.contains("another store")),
        "{again:#?}"
    );
    again = examine_with(newer.path(), 0);
    assert!(again.is_clean(), "{again:#?}");
}

/// Examines a store as if its days were of an epoch so much later.
fn examine_with(directory: &Path, later: u64) -> Report {
    struct Later(Archive, u64);
    impl Source for Later {
        fn days(&self) -> Result<Vec<DaySpan>, SourceError> {
            let mut days = self.0.days()?;
            days.iter_mut().for_each(|day| day.epoch += self.1);
            Ok(days)
        }
        fn damaged_days(&self) -> Vec<(String, String)> {
            Vec::new()
        }
        fn frames(&self, from: u64, max: usize) -> Result<Vec<Frame>, SourceError> {
            self.0.frames(from, max)
        }
        fn anchors(&self) -> Result<(Vec<Anchor>, Vec<String>), SourceError> {
            self.0.anchors()
        }
        fn witnesses(&self) -> Result<Vec<Witness>, SourceError> {
            Ok(Vec::new())
        }
        fn others(&self) -> Result<(Vec<String>, Vec<String>), SourceError> {
            self.0.others()
        }
    }
    examine(&Later(Archive::open(directory).unwrap(), later), Vec::new()).unwrap()
}

#[test]
fn a_day_that_was_taken_out_is_missed_and_one_that_retention_took_is_not() {
    let directory = store();
    write(directory.path(), LAST + 1, LAST + 5);
    std::fs::remove_dir_all(directory.path().join("days/2026-11-22")).unwrap();
    let found = report(directory.path());
    assert!(
        matches!(&found.verdict, Verdict::AlteredAt { seq: 1, what } if what.contains("1 to 40") && what.contains("neither retention")),
        "{found:#?}"
    );
    let line = r#"{"wall_us":1,"what":"2026-11-22","why":"age","epoch":1,"records":[1,40],"events":[1,20],"unacknowledged":0}"#;
    std::fs::write(directory.path().join("deleted"), format!("{line}\n")).unwrap();
    let found = report(directory.path());
    assert_eq!(found.verdict, Verdict::Intact);
    assert!(
        found.findings.len() == 1 && found.findings[0].contains("no record of the chain says so"),
        "anybody can write a list: {found:#?}"
    );
    assert_eq!(
        (found.first_seq, found.anchors_agree),
        (Some(41), 3),
        "the seal's anchor proves where it begins"
    );
    assert!(
        found.notes[0].contains("1 to 40, day 2026-11-22, were deleted by retention, by age"),
        "{found:#?}"
    );
}

#[test]
fn damaged_anchors_and_small_files_are_findings() {
    let directory = store();
    let anchors: Vec<_> = std::fs::read_dir(directory.path().join("anchors")).unwrap().flatten().collect();
    let first = anchors.iter().map(std::fs::DirEntry::path).min().unwrap();
    let good = std::fs::read(&first).unwrap();
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 1;
        std::fs::write(&first, &bad).unwrap();
        let found = report(directory.path());
        assert!(!found.is_clean() && found.verdict == Verdict::Intact, "byte {place}: {found:#?}");
    }
    std::fs::write(&first, good).unwrap();
    assert!(report(directory.path()).is_clean());
    for name in ["checkpoint", "days/2026-11-22/span"] {
        let path = directory.path().join(name);
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[12] ^= 1;
        std::fs::write(&path, bad).unwrap();
        let found = report(directory.path());
        assert!(found.findings.iter().any(|text| text.contains(name)), "{name}: {found:#?}");
        std::fs::write(&path, good).unwrap();
    }
}

#[test]
fn what_another_key_signed_proves_nothing_here() {
    let (directory, other) = (store(), store());
    let key = std::fs::read(other.path().join("signing-key.pub")).unwrap();
    let key = PublicKey::parse(&key).unwrap();
    let found = examine(&Archive::open(directory.path()).unwrap(), vec![key]).unwrap();
    assert_eq!((found.anchors, found.anchors_agree), (3, 0));
    assert!(found.findings.iter().any(|text| text.contains("not the key given")), "{found:#?}");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
