//! Records and anchors that are gone: `verify` says so for ever, and an alarm until a person has seen to it.

use super::super::verify::{Live, Report, Verdict, examine};
use super::*;
use crate::line::event::{DayDeleted, DeletedFor};
use crate::line::record::Severity;

const DAY_US: i64 = 86_400_000_000;
/// Records of each of three days.
const A_DAY: u64 = 20;

fn anchored(directory: &Path) -> JournalSettings {
    let anchors = AnchorSettings { site: "s".to_owned(), line: "l".to_owned(), signing_key: None };
    JournalSettings { anchors: Some(anchors), ..settings(directory) }
}

fn begin(directory: &Path) -> (Journal, JournalHandle, Opened, Board) {
    let settings = anchored(directory);
    let board = settings.board.clone();
    let (journal, handle, opening) = Journal::start(settings, None, Box::new(Told::default())).unwrap();
    (journal, handle, opening.wait().unwrap(), board)
}

/// The record that a day goes.
fn deleted(seq: u64, day: &str, records: (u64, u64)) -> Numbered {
    let about = DayDeleted {
        day: day.to_owned(),
        epoch: 1,
        records,
        events: (1, 9),
        why: DeletedFor::Age,
        unacknowledged: 0,
    };
    recorded(seq, about)
}

fn recorded(seq: u64, about: DayDeleted) -> Numbered {
    let body = Body::Input(Input::Event(Event::DayDeleted(about)));
    Numbered { seq, wall_us: MIDNIGHT_US + 2 * DAY_US + 100, entry: Entry { at: Tick(seq * 10), body } }
}

/// Adds days from number `first` to `last`, each with an anchor at its end, and closes the store.
fn write_days(directory: &Path, first: u64, last: u64) {
    let (journal, handle, _, _) = begin(directory);
    for seq in (first - 1) * A_DAY + 1..=last * A_DAY {
        let day = i64::try_from((seq - 1) / A_DAY).unwrap();
        append(&handle, stamped(seq, MIDNIGHT_US + day * DAY_US));
    }
    wait_durable(&handle, last * A_DAY);
    journal.finish();
}

fn three_days() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    write_days(directory.path(), 1, 3);
    directory
}

fn copied(directory: &Path) -> Report {
    examine(&Archive::open(directory).unwrap(), Vec::new()).unwrap()
}

fn altered(report: &Report) -> (u64, &str) {
    match &report.verdict {
        Verdict::AlteredAt { seq, what } => (*seq, what),
        other => panic!("{other:?}, {:?}", report.findings),
    }
}

fn alarms(board: &Board) -> Vec<String> {
    board.snapshot().1.into_iter().map(|alarm| alarm.id).collect()
}

#[test]
fn a_day_that_somebody_removed_is_found_by_the_copy_and_by_the_running_store() {
    let directory = three_days();
    std::fs::remove_dir_all(directory.path().join("days/2026-11-22")).unwrap();
    let report = copied(directory.path());
    let (seq, what) = altered(&report);
    assert_eq!((seq, what), (1, "records 1 to 20 are not there: neither retention nor quarantine took them"));

    let (journal, handle, opened, board) = begin(directory.path());
    assert_eq!(opened.quarantined[0].missing, Some((1, 20)));
    let report = examine(&Live::new(&handle), Vec::new()).unwrap();
    let (seq, what) = altered(&report);
    assert!(seq == 1 && what.contains("records 1 to 20") && what.contains("neither"), "{what}");
    assert_eq!(alarms(&board), ["journal-quarantine-records-1-20"]);
    journal.finish();
    // The daemon has taken note; that makes no record come back.
    assert_eq!(altered(&copied(directory.path())).0, 1);

    // A restart is no answer to the alarm, and a person is.
    let (journal, handle, opened, board) = begin(directory.path());
    assert!(opened.quarantined.is_empty(), "said once: {:?}", opened.quarantined);
    assert_eq!(alarms(&board), ["journal-quarantine-records-1-20"]);
    let alarm = board.snapshot().1.remove(0);
    assert_eq!(alarm.severity, Severity::Critical);
    let file = directory.path().join("alarms/journal-quarantine-records-1-20");
    assert!(alarm.remedy.contains(&file.display().to_string()), "{}", alarm.remedy);
    std::fs::remove_file(file).unwrap();
    wait_for("the alarm is gone", || alarms(&board).is_empty());
    let report = examine(&Live::new(&handle), Vec::new()).unwrap();
    assert_eq!(altered(&report).0, 1, "the hole is not");
    journal.finish();
}

#[test]
fn records_in_quarantine_are_named_with_reason_and_place() {
    let directory = three_days();
    // The last day is damaged while nobody looks.
    let db = directory.path().join("days/2026-11-24/db");
    let mut bytes = std::fs::read(&db).unwrap();
    bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
    std::fs::write(&db, bytes).unwrap();
    // The in-flight log would bring the records back.
    std::fs::remove_dir_all(directory.path().join("inflight")).unwrap();
    let (journal, handle, opened, board) = begin(directory.path());
    assert_eq!(opened.quarantined[0].missing, Some((41, 60)), "{:?}", opened.quarantined);
    for seq in 61..=65 {
        append(&handle, stamped(seq, MIDNIGHT_US + 3 * DAY_US));
    }
    wait_durable(&handle, 65);
    let live = examine(&Live::new(&handle), Vec::new()).unwrap();
    assert_eq!(alarms(&board), ["journal-quarantine-2026-11-24"]);
    journal.finish();
    for report in [live, copied(directory.path())] {
        let (seq, what) = altered(&report);
        assert_eq!(seq, 41, "{report:#?}");
        for part in ["records 41 to 60 are not there", "in quarantine/2026-11-24-"] {
            assert!(what.contains(part), "{part}: {what}");
        }
    }
    let (journal, _, _, board) = begin(directory.path());
    assert_eq!(alarms(&board), ["journal-quarantine-2026-11-24"], "after a restart, too");
    journal.finish();

    // The book is lost: the quarantine still says what it holds, but for its records' numbers.
    std::fs::remove_file(directory.path().join("holes")).unwrap();
    let report = copied(directory.path());
    assert_eq!(altered(&report).0, 41);
    assert!(report.notes.iter().any(|note| note.contains("quarantine/2026-11-24-")), "{report:#?}");
}

#[test]
fn what_retention_deleted_a_day_behind_is_history() {
    let directory = three_days();
    let found = Quarantined {
        what: "2026-11-22".to_owned(),
        moved_to: Some(directory.path().join("quarantine/2026-11-22-1")),
        why: "torn".to_owned(),
        missing: Some((1, 20)),
    };
    found.report(directory.path(), &Board::default());
    let (journal, handle, _, _) = begin(directory.path());
    append(&handle, deleted(61, "2026-11-23", (21, 40)));
    wait_durable(&handle, 61);
    journal.finish();
    std::fs::remove_dir_all(directory.path().join("days/2026-11-22")).unwrap();
    assert_eq!(altered(&copied(directory.path())).0, 1);
    std::fs::remove_dir_all(directory.path().join("days/2026-11-23")).unwrap();
    let line = r#"{"wall_us":1,"what":"2026-11-23","why":"force","epoch":1,"records":[21,40],"events":[1,9],"unacknowledged":7}"#;
    std::fs::write(directory.path().join("deleted"), format!("{line}\n")).unwrap();
    let report = copied(directory.path());
    assert!(report.is_clean(), "{report:#?}");
    assert!(report.notes[0].contains("by force") && report.notes[0].contains("7 events"), "{report:#?}");
    assert!(report.notes[1].contains("Records 1 to 20 were lost before that: torn"), "{report:#?}");
    // A list that has a day too few does not cover the rest.
    let other = line.replace("[21,40]", "[31,40]");
    std::fs::write(directory.path().join("deleted"), format!("{other}\n")).unwrap();
    assert_eq!(altered(&copied(directory.path())).0, 21);
}

#[test]
fn a_day_goes_only_when_a_record_says_so_and_a_list_that_says_more_is_told() {
    let directory = three_days();
    let days = || std::fs::read_dir(directory.path().join("days")).unwrap().count();
    let epoch = Archive::open(directory.path()).unwrap().reader().spans().unwrap()[0].begin.epoch;
    let mut cursor = CursorStore::open(directory.path()).unwrap();
    cursor.advance(Cursor { epoch, acked: milestones_to(60) }, Tick(0)).unwrap();
    drop(cursor);
    let settings = JournalSettings { keep_days: 1, deletions_recorded: true, ..anchored(directory.path()) };
    let (journal, handle, opening) =
        Journal::start(settings, None, Box::new(super::Told::default())).unwrap();
    opening.wait().unwrap();
    let deletions = handle.deletions();
    let told: Vec<DayDeleted> =
        (0..2).map(|_| deletions.recv_timeout(Duration::from_secs(60)).expect("it is told")).collect();
    assert_eq!([told[0].records, told[1].records], [(1, 20), (21, 40)]);
    assert_eq!((told[1].why, told[1].unacknowledged), (DeletedFor::Age, 0));
    assert_eq!((days(), handle.status().days_deleted), (3, 0), "not before it is recorded");
    for (seq, about) in (61..).zip(told) {
        append(&handle, recorded(seq, about));
    }
    wait_for("both are deleted", || handle.status().days_deleted == 2);
    assert_eq!(days(), 1);
    let live = examine(&Live::new(&handle), Vec::new()).unwrap();
    journal.finish();
    for report in [live, copied(directory.path())] {
        assert!(report.is_clean(), "{report:#?}");
        assert!(
            report.notes[0]
                .contains("1 to 40, days 2026-11-22 to 2026-11-23, were deleted by retention, by age"),
            "{report:#?}"
        );
    }
}

#[test]
fn anchors_that_are_gone_are_missed_without_a_key() {
    let directory = three_days();
    let anchors = directory.path().join("anchors");
    let kept = tempfile::tempdir().unwrap();
    let files = || -> Vec<std::path::PathBuf> {
        let mut files: Vec<_> =
            std::fs::read_dir(&anchors).unwrap().map(|file| file.unwrap().path()).collect();
        files.retain(|file| !file.ends_with("cursor"));
        files.sort();
        files
    };
    for file in files() {
        std::fs::copy(&file, kept.path().join(file.file_name().unwrap())).unwrap();
    }
    assert!(copied(directory.path()).is_clean());
    let missed = |expected: &str| {
        let report = copied(directory.path());
        assert!(report.findings.iter().any(|found| found.contains(expected)), "{expected}: {report:#?}");
    };
    let last = files().pop().unwrap();
    let whole = std::fs::read(&last).unwrap();
    std::fs::write(&last, &whole[..whole.len() - 100]).unwrap();
    missed("Anchors 3 to 3 are missing: the store knows that it signed them, the last of record 60");
    std::fs::write(&last, whole).unwrap();
    assert!(copied(directory.path()).is_clean());
    std::fs::remove_file(&files()[0]).unwrap();
    missed("Anchors 1 to 1 are missing: the first one that is there speaks of record 40");
    std::fs::remove_dir_all(&anchors).unwrap();
    missed("Anchors 1 to 3 are missing");
}

#[test]
fn anchors_of_another_store_are_told_as_such() {
    let (store, mut other) = (three_days(), tempfile::tempdir().unwrap());
    let epoch = |path: &Path| Archive::open(path).unwrap().reader().spans().unwrap()[0].begin.epoch;
    // A shorter store that began later, by a second of the clock at least.
    write_days(other.path(), 1, 1);
    while epoch(other.path()) == epoch(store.path()) {
        other = tempfile::tempdir().unwrap();
        write_days(other.path(), 1, 1);
    }
    let exchange = |from: &Path, to: &Path| {
        std::fs::remove_dir_all(to.join("anchors")).unwrap();
        std::fs::create_dir(to.join("anchors")).unwrap();
        for file in std::fs::read_dir(from.join("anchors")).unwrap() {
            let file = file.unwrap().path();
            std::fs::copy(&file, to.join("anchors").join(file.file_name().unwrap())).unwrap();
        }
    };
    exchange(other.path(), store.path());
    let report = copied(store.path());
    let Verdict::AnchorMismatch { what, .. } = &report.verdict else { panic!("{report:#?}") };
    assert!(
        what.contains(&format!("epoch {}", epoch(other.path()))) && what.contains("another store"),
        "{what}"
    );
}
