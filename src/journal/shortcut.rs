//! sled's own shortcut into a day: the files `snap.*` beside its log.
//!
//! A *snap* says what the log held when the Db was last opened, so that the next opening need not read the log
//! from its beginning. It is made from the log alone: without one, sled reads everything and comes to the same
//! state, as it does at the second opening of each day. So a snap may be dropped whenever it is in doubt, and must
//! never be a reason to call records damaged.
//!
//! sled 0.34.7 writes `snap.<place>.generating`, syncs it and renames it. What a full disk or a loss of power leaves
//! of it may be empty or cut; the next opening takes it all the same, since its name is the last in order, and gives
//! up ("corrupted data"). And it opens the file without cutting it: a longer one of before shows behind the new
//! content. Both are kept from it by [`sweep`]. A snap that is whole can still speak of a log that a loss of power
//! has made shorter: that is seen when the Db is opened, and [`set_aside`] is for the second try.

use std::fs;
use std::path::{Path, PathBuf};

/// Names sled looks at.
const PREFIX: &str = "snap.";
/// Names it does not look at any more.
const ASIDE: &str = "aside.";
/// A snap in the making: nobody has relied on it yet.
const UNFINISHED: &str = ".generating";
/// Behind the content: its length (8) and its CRC32 (4), little-endian.
const FOOTER: usize = 12;

/// Snaps of a Db, unfinished ones too.
pub(super) fn snaps(day: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(day) else { return Vec::new() };
    let named = |entry: fs::DirEntry| {
        entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)).then(|| entry.path())
    };
    entries.flatten().filter_map(named).collect()
}

/// Whether a snap was finished, and holds what was written.
pub(super) fn is_whole(snap: &Path) -> bool {
    if snap.to_str().is_none_or(|name| name.ends_with(UNFINISHED)) {
        return false;
    }
    let Ok(bytes) = fs::read(snap) else { return false };
    let Some((content, footer)) = bytes.len().checked_sub(FOOTER).map(|end| bytes.split_at(end)) else {
        return false;
    };
    // An empty content is none: sled writes no snap of an empty log.
    !content.is_empty() && footer[8..] == crc32fast::hash(content).to_le_bytes()
}

/// Removes what sled would stumble over: snaps that were never finished, or are not whole. What cannot be removed
/// is seen when the Db is opened.
pub(super) fn sweep(day: &Path) {
    for snap in snaps(day).into_iter().filter(|snap| !is_whole(snap)) {
        tracing::info!(snap = %snap.display(), "an unfinished shortcut into the day is dropped");
        let _ = fs::remove_file(snap);
    }
}

/// Takes every snap out of sled's sight; `false`: there was none, so that a second try would be like the first.
pub(super) fn set_aside(day: &Path) -> bool {
    let mut any = false;
    for snap in snaps(day) {
        let Some(name) = snap.file_name().and_then(|name| name.to_str()) else { continue };
        any |= fs::rename(&snap, day.join(format!("{ASIDE}{name}"))).is_ok();
    }
    any
}

/// The second try went well: what was set aside was wrong, and nobody needs it.
pub(super) fn drop_aside(day: &Path) {
    let Ok(entries) = fs::read_dir(day) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name
            .to_str()
            .and_then(|name| name.strip_prefix(ASIDE))
            .is_some_and(|name| name.starts_with(PREFIX))
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Gives the room of every snap back to a full disk, for the one that the next opening writes; `false`: there was
/// none.
pub(super) fn give_up(day: &Path) -> bool {
    snaps(day).into_iter().filter(|snap| fs::remove_file(snap).is_ok()).count() > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Db that was opened a second time, and so has a snap.
    fn opened_twice() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        for n in 0_u32..2 {
            let db = sled::open(directory.path()).unwrap();
            db.insert(n.to_be_bytes(), vec![7; 100]).unwrap();
            db.flush().unwrap();
        }
        let snap = snaps(directory.path()).pop().unwrap();
        (directory, snap)
    }

    #[test]
    fn a_snap_of_sleds_is_whole_and_a_cut_one_is_not() {
        let (directory, snap) = opened_twice();
        assert!(is_whole(&snap));
        let good = fs::read(&snap).unwrap();
        for bad in [&good[..0], &good[..FOOTER], &good[..good.len() - 1], &good[1..]] {
            fs::write(&snap, bad).unwrap();
            assert!(!is_whole(&snap), "{} of {} bytes", bad.len(), good.len());
        }
        fs::write(&snap, &good).unwrap();
        let unfinished = directory.path().join("snap.00000000FFFFFFFF.generating");
        fs::write(&unfinished, &good).unwrap();
        sweep(directory.path());
        assert!(snap.exists() && !unfinished.exists());
    }

    #[test]
    fn without_its_snaps_a_db_holds_the_same() {
        let (directory, snap) = opened_twice();
        assert!(set_aside(directory.path()) && !snap.exists());
        assert!(!set_aside(directory.path()), "a second time there is nothing to set aside");
        let db = sled::open(directory.path()).unwrap();
        assert_eq!(db.len(), 2);
        drop(db);
        drop_aside(directory.path());
        let left = fs::read_dir(directory.path()).unwrap().flatten();
        assert!(!left.into_iter().any(|entry| entry.file_name().to_str().unwrap().starts_with(ASIDE)));
        assert!(give_up(directory.path()) && snaps(directory.path()).is_empty());
    }
}
