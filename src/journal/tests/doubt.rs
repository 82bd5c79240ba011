//! What is no damage: what sled keeps beside a day's log, and a disk with no room for a note.

use std::fs;

use super::damage::copy;
use super::*;
use crate::journal::{gone, shortcut, slip};

const LAST: u64 = 2_000;
const DAY: &str = "days/2026-11-22";

fn only_snap(store: &Path) -> std::path::PathBuf {
    let mut snaps = shortcut::snaps(&store.join(DAY));
    assert_eq!(snaps.len(), 1, "{snaps:?}");
    snaps.remove(0)
}

#[test]
fn a_shortcut_in_doubt_is_no_damage() {
    let original = tempfile::tempdir().unwrap();
    store_to(original.path(), LAST / 2);
    store_to(original.path(), LAST);
    // Opened once more, with nothing behind it: its shortcut speaks of the whole log.
    store_to(original.path(), LAST);
    let shorter = tempfile::tempdir().unwrap();
    copy(original.path(), shorter.path());
    store_to(original.path(), LAST * 4);
    store_to(original.path(), LAST * 4);
    let of_longer = fs::read(only_snap(original.path())).unwrap();

    type Doubt<'a> = (&'a str, Box<dyn Fn(&Path) + 'a>);
    let snap = |day: &Path| only_snap(day.parent().unwrap().parent().unwrap());
    let unfinished = |day: &Path| day.join("snap.00000000FFFFFFFF.generating");
    let doubts: [Doubt<'_>; 6] = [
        ("nothing", Box::new(|_| {})),
        ("an empty unfinished one", Box::new(|day| fs::write(unfinished(day), b"").unwrap())),
        ("a part of one", Box::new(|day| fs::write(unfinished(day), [7; 200]).unwrap())),
        ("an emptied one", Box::new(|day| fs::write(snap(day), b"").unwrap())),
        (
            "a cut one",
            Box::new(|day| fs::File::options().write(true).open(snap(day)).unwrap().set_len(99).unwrap()),
        ),
        ("one of a longer log", Box::new(|day| fs::write(snap(day), &of_longer).unwrap())),
    ];
    for (what, doubt) in doubts {
        let directory = tempfile::tempdir().unwrap();
        copy(shorter.path(), directory.path());
        fs::remove_dir_all(directory.path().join("inflight")).unwrap();
        doubt(&directory.path().join(DAY));
        // A copy that is examined, and the journal's own store.
        let archive = Archive::open(directory.path()).unwrap();
        assert!(archive.damaged().is_empty(), "{what}: {:?}", archive.damaged());
        assert_eq!(archive.reader().records(1, usize::MAX).unwrap().len() as u64, LAST, "{what}");
        assert!(archive.gathered().is_empty(), "{what}: {:?}", archive.gathered());
        drop(archive);
        let (journal, handle, opened, _) = start(directory.path());
        assert!(opened.quarantined.is_empty(), "{what}: {:?}", opened.quarantined);
        assert_eq!(opened.last_seq, LAST, "{what}");
        assert_records(&handle.reader().records(1, usize::MAX).unwrap(), 1);
        append(&handle, numbered(LAST + 1));
        wait_durable(&handle, LAST + 1);
        assert_eq!(journal.finish().state, JournalState::Closed);
    }
}

#[test]
fn a_link_in_place_of_the_lock_is_neither_followed_nor_emptied() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    store_to(&store, 100);
    let victim = directory.path().join("victim");
    fs::write(&victim, "somebody else's").unwrap();
    fs::remove_file(store.join("lock")).unwrap();
    std::os::unix::fs::symlink(&victim, store.join("lock")).unwrap();
    let archive = Archive::open(&store).unwrap();
    assert_eq!(archive.reader().records(1, usize::MAX).unwrap().len(), 100);
    drop(archive);
    let refused = Journal::start(settings(&store), None, Box::new(|_: &[Record]| {})).unwrap_err();
    assert!(matches!(refused, StartError::LockIsLink { .. }), "{refused}");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "somebody else's");
    // A lock that holds something is taken as it is.
    fs::remove_file(store.join("lock")).unwrap();
    fs::write(store.join("lock"), "a note").unwrap();
    store_to(&store, 101);
    assert_eq!(fs::read_to_string(store.join("lock")).unwrap(), "a note");
}

#[test]
fn a_hole_that_could_not_be_booked_is_booked_later() {
    let directory = tempfile::tempdir().unwrap();
    let board = Board::default();
    // The book is written beside the old one first: something else in that place is as good as a full disk.
    fs::create_dir(directory.path().join("gone.new")).unwrap();
    gone::enter(directory.path(), &board, (10, 19));
    gone::enter(directory.path(), &board, (30, 39));
    assert!(!directory.path().join("gone").exists());
    fs::remove_dir(directory.path().join("gone.new")).unwrap();
    gone::enter_waiting(directory.path(), &board);
    let (version, body) = slip::load(&directory.path().join("gone")).unwrap().unwrap();
    assert_eq!((version, body.decode::<Vec<(u64, u64)>>().unwrap()), (1, vec![(10, 19), (30, 39)]));
    fs::remove_file(directory.path().join("gone")).unwrap();
    gone::enter_waiting(directory.path(), &board);
    assert!(!directory.path().join("gone").exists(), "nothing waits any more");
}

#[test]
fn a_slip_is_written_over_where_there_is_no_room_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("boots");
    assert!(slip::write_in_place(&path, &7_u64).is_err(), "there must be one");
    slip::write(&path, &u64::MAX).unwrap();
    slip::write_in_place(&path, &8_u64).unwrap();
    assert_eq!(slip::read::<u64>(&path).unwrap(), Some(8), "a shorter one leaves nothing behind it");
    assert_eq!(next_boot(directory.path()).unwrap(), 9);
}
