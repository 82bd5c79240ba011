//! Copies of a store, whole and damaged, as an examination finds them: as far as they can be read, and unchanged.

use std::collections::BTreeMap;
use std::fs;

use super::damage::copy;
use super::*;
use crate::journal::verify::{Report, Verdict, examine};

const LAST: u64 = 4_000;
/// Records of a parcel that its story tells: those that name it or belong to its pass.
const STORY: usize = 5;
const DB: &str = "days/2026-11-22/db";

/// A store that was opened a second time, so that sled has a shortcut into it.
fn original() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    store_to(directory.path(), LAST - 1);
    store_to(directory.path(), LAST);
    directory
}

fn contents(directory: &Path, found: &mut BTreeMap<std::path::PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.insert(path.clone(), Vec::new());
            contents(&path, found);
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
}

fn report(store: &Path) -> Report {
    examine(&Archive::open(store).unwrap(), Vec::new()).unwrap()
}

#[test]
fn a_copy_is_not_changed_by_looking_into_it() {
    let store = original();
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    contents(store.path(), &mut before);
    let archive = Archive::open(store.path()).unwrap();
    assert!(examine(&archive, Vec::new()).unwrap().is_clean());
    assert_eq!(archive.reader().story("PX20").unwrap().len(), STORY);
    // Whoever looks beside us is not in the way; a daemon would be.
    assert!(report(store.path()).is_clean());
    assert!(matches!(
        Journal::start(settings(store.path()), None, Box::new(|_: &[Record]| {})),
        Err(StartError::InUse { .. })
    ));
    drop(archive);
    contents(store.path(), &mut after);
    assert!(before == after, "files were made or changed: {:?}", after.keys());
    // And while a daemon writes there, nobody looks.
    let (journal, ..) = start(store.path());
    assert!(matches!(Archive::open(store.path()), Err(ArchiveError::InUse { .. })));
    fs::remove_file(store.path().join("lock")).unwrap();
    let held = Archive::open(store.path()).unwrap_err();
    assert!(held.to_string().contains("running sortd"), "sled's own lock tells, too: {held}");
    journal.finish();
}

#[test]
fn around_a_page_that_is_gone_everything_is_read() {
    let original = original();
    let bytes = fs::read(original.path().join(DB)).unwrap();
    let mut seen = 0;
    for page in (16..bytes.len() / 4_096).step_by(5) {
        let store = tempfile::tempdir().unwrap();
        copy(original.path(), store.path());
        let mut bytes = bytes.clone();
        bytes[page * 4_096..][..4_096].fill(0);
        fs::write(store.path().join(DB), bytes).unwrap();
        let archive = Archive::open(store.path()).unwrap();
        let report = examine(&archive, Vec::new()).unwrap();
        let Verdict::AlteredAt { seq, what } = &report.verdict else { continue };
        let Some(last) = what.split(' ').nth(3).and_then(|last| last.parse::<u64>().ok()) else { continue };
        // Of the last block sled finds nothing at all: that is a log that was cut, the next test's.
        if report.findings.iter().any(|finding| finding.contains("were gathered from what is left")) {
            continue;
        }
        seen += 1;
        assert!(what.starts_with(&format!("records {seq} to {last} are not there")), "page {page}: {what}");
        // One stretch, told once; what stands behind it is read and counted.
        assert_eq!((report.first_seq, report.last_seq), (Some(1), Some(LAST)), "page {page}");
        assert_eq!(report.records, LAST - (last + 1 - seq), "page {page}: {:?}", report.findings);
        assert!(report.findings.is_empty(), "page {page}: {:?}", report.findings);
        // A parcel beside it has its whole story, and it is said what may be missing from it.
        let parcel = if *seq > 2 * PARCEL { 1 } else { LAST / PARCEL - 2 };
        let story = archive.reader().story(&format!("PX{parcel}")).unwrap();
        assert_eq!(story.len(), STORY, "page {page}");
        assert_eq!(archive.reader().unread(), [(*seq, last)], "page {page}");
    }
    assert!(seen > 2, "{seen} pages held records");
}

#[test]
fn of_a_cut_log_whatever_is_left_is_read() {
    let original = original();
    let whole = fs::metadata(original.path().join(DB)).unwrap().len();
    let mut most = 0;
    for eighths in 1..8 {
        let store = tempfile::tempdir().unwrap();
        copy(original.path(), store.path());
        let db = fs::File::options().write(true).open(store.path().join(DB)).unwrap();
        db.set_len(whole * eighths / 8).unwrap();
        let archive = Archive::open(store.path()).unwrap();
        let report = examine(&archive, Vec::new()).unwrap();
        let said = format!("{eighths}/8: {:?} {:?}", report.verdict, report.findings);
        most = most.max(report.records);
        assert!(!report.is_clean() && report.records < LAST || report.records == LAST, "{said}");
        match &report.verdict {
            // Read to the end although a part of the file is gone: then that part held nothing any more.
            Verdict::Intact => assert_eq!((report.records, report.last_seq), (LAST, Some(LAST)), "{said}"),
            Verdict::Truncated { last, expected, .. } => {
                assert_eq!((report.records, *expected), (*last, LAST), "{said}");
            }
            Verdict::AlteredAt { seq, .. } => {
                assert!(report.last_seq > Some(*seq), "{said}");
                let frames = if *seq > 1 { archive.reader().frames(1, usize::MAX).unwrap().len() } else { 0 };
                assert_eq!(frames as u64, seq - 1, "{said}");
            }
            other => panic!("{eighths}/8: {other:?}"),
        }
    }
    assert!(most > LAST / 2, "at most {most} records were found");
}

#[test]
fn an_emptied_log_is_truncated_before_its_first_record() {
    let original = original();
    fs::write(original.path().join(DB), b"").unwrap();
    let report = report(original.path());
    assert!(
        matches!(report.verdict, Verdict::Truncated { last: 0, expected: LAST, .. }),
        "{:?}",
        report.verdict
    );
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    // Nothing else knows of records: then they are missing all the same.
    fs::remove_file(original.path().join("checkpoint")).unwrap();
    let alone = self::report(original.path());
    assert!(matches!(alone.verdict, Verdict::AlteredAt { seq: 1, .. }), "{:?}", alone.verdict);
}
