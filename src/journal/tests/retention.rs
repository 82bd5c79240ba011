//! Days that go by size, over the real files: acknowledged ones first, the others only by force, and said.

use super::*;
use crate::line::Tick;

/// Days of [`five_days`].
const DAYS: u64 = 5;
/// Records of each.
const A_DAY: u64 = 4_000;

/// Writes five days under these limits; upstream has acknowledged the milestones of records up to `acked`.
fn five_days(directory: &Path, space: SpaceSettings, acked: u64) -> (Journal, JournalHandle, Board) {
    let board = Board::default();
    let settings = JournalSettings { space, board: board.clone(), ..settings(directory) };
    let (journal, handle, opening) = Journal::start(settings, None, Box::new(Told::default())).unwrap();
    let epoch = opening.wait().unwrap().epoch;
    let mut cursor = CursorStore::open(directory).unwrap();
    for seq in 1..=DAYS * A_DAY {
        let day = i64::try_from((seq - 1) / A_DAY).unwrap();
        append(&handle, stamped(seq, MIDNIGHT_US + day * 86_400_000_000));
        if seq == A_DAY / 2 && acked > 0 {
            // Ahead of what is published, so that the first roll-over finds it.
            cursor.advance(Cursor { epoch, acked: milestones_to(acked) }, Tick(0)).unwrap();
        }
    }
    wait_durable(&handle, DAYS * A_DAY);
    (journal, handle, board)
}

fn days(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory.join("days")).unwrap();
    let mut names: Vec<String> = entries.map(|day| day.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_store_over_its_size_lets_acknowledged_days_go_and_keeps_what_upstream_lacks() {
    let directory = tempfile::tempdir().unwrap();
    let space = SpaceSettings { max_size_mib: Some(1), ..SpaceSettings::default() };
    let (journal, handle, board) = five_days(directory.path(), space, 2 * A_DAY);
    assert_eq!(days(directory.path()), ["2026-11-24", "2026-11-25", "2026-11-26"]);
    let status = handle.status();
    assert_eq!((status.days_deleted, status.unacknowledged_deleted), (2, 0));
    assert!(board.snapshot().1.iter().all(|alarm| !alarm.id.starts_with("store-deleted")));
    let first = handle.reader().records(1, 1).unwrap();
    assert_eq!(first[0].seq, 2 * A_DAY + 1);
    journal.finish();

    // What retention took is no hole that anybody must be told of.
    let (journal, _, again, _) = start(directory.path());
    assert!(again.quarantined.is_empty(), "{:?}", again.quarantined);
    assert_eq!(again.last_seq, DAYS * A_DAY);
    journal.finish();
}

#[test]
fn without_a_cursor_nothing_is_acknowledged_and_nothing_goes() {
    let directory = tempfile::tempdir().unwrap();
    let space = SpaceSettings { max_size_mib: Some(1), ..SpaceSettings::default() };
    let (journal, handle, _) = five_days(directory.path(), space, 0);
    assert_eq!((days(directory.path()).len(), handle.status().days_deleted), (5, 0));
    journal.finish();
}

#[test]
fn the_hard_limit_takes_what_upstream_lacks_and_says_exactly_what() {
    let directory = tempfile::tempdir().unwrap();
    let space = SpaceSettings { max_size_mib: Some(1), hard_size_mib: Some(1), ..SpaceSettings::default() };
    let (journal, handle, board) = five_days(directory.path(), space, A_DAY / 2);
    let status = handle.status();
    assert!(status.days_deleted >= 2, "{:?}", days(directory.path()));
    let gone_to = status.days_deleted * A_DAY;
    assert_eq!(status.unacknowledged_deleted, milestones_to(gone_to) - milestones_to(A_DAY / 2));
    let (_, alarms) = board.snapshot();
    let first = alarms.iter().find(|alarm| alarm.id == "store-deleted-2026-11-22").expect("it is said");
    let lacking = milestones_to(A_DAY) - milestones_to(A_DAY / 2);
    for exact in [
        format!("records 1 to {A_DAY}"),
        format!("events 1 to {}", milestones_to(A_DAY)),
        format!("{lacking} of them"),
    ] {
        assert!(first.text.contains(&exact), "{exact}: {}", first.text);
    }
    let noted = std::fs::read_to_string(directory.path().join("deleted")).unwrap();
    assert_eq!(noted.lines().count() as u64, status.days_deleted);
    let line: serde_json::Value = serde_json::from_str(noted.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&line["what"], &line["why"], &line["unacknowledged"]),
        (&"2026-11-22".into(), &"force".into(), &lacking.into())
    );
    journal.finish();
}
