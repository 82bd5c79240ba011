//! How far upstream has acknowledged milestones: the uplink's cursors, stored beside the records.
//!
//! There are two once an outage has left a backlog: the *acknowledged prefix*, which grows from the oldest end,
//! and a *live range* ahead of it, so that what happens now need not wait for what happened last night. Between
//! the two lies what is still to be sent. Both stand in one slip: neither is ever newer than the other.
//!
//! Only the prefix counts as acknowledged: retention deletes nothing above it, although some of that has arrived.
//! The other way round, *any* acknowledged milestone is evidence that the store once held it, so a store that
//! opens shorter than the live range is damaged ([`read_newest`]).
//!
//! ```text
//! cursors   version 2: version byte, prefix, live range where there is one
//! cursor    version 1: the prefix alone; read where there is no `cursors`, never written any more
//! ```
//! The old file is left: a program that knows only it sends again what it does not know to be acknowledged.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::slip::{self, SlipError};
use crate::line::Tick;

/// The cursors are written at most this often. What is published again after a crash is at most what was
/// acknowledged in this time; receivers know repeated events by their id.
const WRITE_EVERY_MS: u64 = 200;

/// First byte of the slip's body.
const VERSION: u8 = 2;

/// All milestones up to and including `acked` of `epoch`, and all of earlier epochs, are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// Store epoch; 0 before the first.
    pub epoch: u64,
    /// Event sequence; 0 before the first.
    pub acked: u64,
}

/// Milestones above the prefix that are acknowledged already: those after `from` up to and including `acked`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveRange {
    /// Store epoch.
    pub epoch: u64,
    /// The range begins behind this milestone.
    pub from: u64,
    /// Last acknowledged milestone of the range; `from` where there is none yet.
    pub acked: u64,
}

/// The acknowledged prefix and, while a backlog is drained, the live range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cursors {
    /// The prefix.
    pub prefix: Cursor,
    /// Ahead of it.
    pub live: Option<LiveRange>,
}

/// Body of version 2.
#[derive(Serialize, Deserialize)]
struct CursorsV2 {
    version: u8,
    prefix: Cursor,
    live: Option<LiveRange>,
}

impl From<Cursor> for Cursors {
    fn from(prefix: Cursor) -> Cursors {
        Cursors { prefix, live: None }
    }
}

/// Keeps the cursors on disk.
#[derive(Debug)]
pub struct CursorStore {
    path: PathBuf,
    current: Cursors,
    stored: Cursors,
    stored_at: Option<Tick>,
}

impl CursorStore {
    /// The cursors of the store in `directory`; the beginning, where none were stored. A damaged slip is no
    /// reason to stop a line: what it acknowledged is sent again, byte for byte the same.
    pub fn open(directory: &Path) -> Result<CursorStore, SlipError> {
        std::fs::create_dir_all(directory).map_err(|source| SlipError::at(directory, source))?;
        let stored = match read_both(directory) {
            Ok(stored) => stored.unwrap_or_default(),
            Err(error @ SlipError::Damaged { .. }) => {
                tracing::warn!(%error, "how far upstream has acknowledged is not known; events are sent again");
                read_old(directory).unwrap_or_default().unwrap_or_default()
            }
            Err(error @ SlipError::Io { .. }) => return Err(error),
        };
        Ok(CursorStore { path: path(directory), current: stored, stored, stored_at: None })
    }

    /// Where the prefix stands, stored or not yet.
    pub fn cursor(&self) -> Cursor {
        self.current.prefix
    }

    /// Where both stand, stored or not yet.
    pub fn cursors(&self) -> Cursors {
        self.current
    }

    /// Moves the prefix forward, never back, and stores it unless that was done a moment ago; call
    /// [`Self::store`] when acknowledgements pause.
    pub fn advance(&mut self, to: Cursor, now: Tick) -> Result<(), SlipError> {
        self.current.prefix = self.current.prefix.max(to);
        match self.stored_at {
            Some(at) if now.ms_since(at) < WRITE_EVERY_MS => Ok(()),
            _ => {
                self.stored_at = Some(now);
                self.store()
            }
        }
    }

    /// Both as the uplink has them, stored at once. The prefix never moves back; the live range is what it is
    /// given, since it may be given up and begun anew.
    pub fn put(&mut self, cursors: Cursors) -> Result<(), SlipError> {
        self.current = Cursors { prefix: self.current.prefix.max(cursors.prefix), live: cursors.live };
        self.store()
    }

    /// Stores them now if they have moved.
    pub fn store(&mut self) -> Result<(), SlipError> {
        if self.current != self.stored {
            let Cursors { prefix, live } = self.current;
            slip::write(&self.path, &CursorsV2 { version: VERSION, prefix, live })?;
            self.stored = self.current;
        }
        Ok(())
    }
}

fn path(directory: &Path) -> PathBuf {
    directory.join("cursors")
}

fn read_both(directory: &Path) -> Result<Option<Cursors>, SlipError> {
    let path = path(directory);
    match slip::read::<CursorsV2>(&path)? {
        Some(body) if body.version == VERSION => Ok(Some(Cursors { prefix: body.prefix, live: body.live })),
        Some(body) => {
            let what = format!("version {} is not known here ({VERSION} is)", body.version);
            Err(SlipError::Damaged { path, what })
        }
        None => read_old(directory),
    }
}

fn read_old(directory: &Path) -> Result<Option<Cursors>, SlipError> {
    Ok(slip::read::<Cursor>(&directory.join("cursor"))?.map(Cursors::from))
}

/// The acknowledged prefix, for retention.
pub(super) fn read(directory: &Path) -> Result<Option<Cursor>, SlipError> {
    Ok(read_both(directory)?.map(|cursors| cursors.prefix))
}

/// The newest milestone that was ever acknowledged, for whoever asks whether the store has lost its end.
pub(super) fn read_newest(directory: &Path) -> Result<Option<Cursor>, SlipError> {
    let newest = |Cursors { prefix, live }: Cursors| {
        let live = live.map(|live| Cursor { epoch: live.epoch, acked: live.acked });
        live.map_or(prefix, |live| prefix.max(live))
    };
    Ok(read_both(directory)?.map(newest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_moves_forward_only_and_survives() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = CursorStore::open(directory.path()).unwrap();
        assert_eq!(store.cursor(), Cursor::default());
        store.advance(Cursor { epoch: 5, acked: 10 }, Tick(0)).unwrap();
        store.advance(Cursor { epoch: 5, acked: 12 }, Tick(100_000)).unwrap();
        assert_eq!(read(directory.path()).unwrap(), Some(Cursor { epoch: 5, acked: 10 }), "not each 100 ms");
        store.advance(Cursor { epoch: 5, acked: 11 }, Tick(300_000)).unwrap();
        assert_eq!(CursorStore::open(directory.path()).unwrap().cursor(), Cursor { epoch: 5, acked: 12 });
        store.advance(Cursor { epoch: 6, acked: 0 }, Tick(310_000)).unwrap();
        store.store().unwrap();
        assert_eq!(CursorStore::open(directory.path()).unwrap().cursor(), Cursor { epoch: 6, acked: 0 });
    }

    const BOTH: Cursors = Cursors {
        prefix: Cursor { epoch: 1_795_305_600, acked: 70_000 },
        live: Some(LiveRange { epoch: 1_795_305_600, from: 90_000, acked: 90_300 }),
    };

    #[test]
    fn both_ranges_survive_and_only_the_prefix_counts_as_acknowledged() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = CursorStore::open(directory.path()).unwrap();
        store.put(BOTH).unwrap();
        assert_eq!(CursorStore::open(directory.path()).unwrap().cursors(), BOTH);
        assert_eq!(read(directory.path()).unwrap(), Some(BOTH.prefix));
        let newest = Cursor { epoch: BOTH.prefix.epoch, acked: 90_300 };
        assert_eq!(read_newest(directory.path()).unwrap(), Some(newest));
        let back = Cursors { prefix: Cursor { epoch: 3, acked: 1 }, live: None };
        store.put(back).unwrap();
        assert_eq!(store.cursors(), Cursors { live: None, ..BOTH }, "the prefix stays, the live range goes");
    }

    /// What is on the disk, for ever.
    #[test]
    fn the_bytes_of_both_versions_are_frozen() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = CursorStore::open(directory.path()).unwrap();
        store.put(BOTH).unwrap();
        let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
        let bytes = std::fs::read(directory.path().join("cursors")).unwrap();
        assert_eq!(hex(&bytes), FROZEN_V2);

        let old = tempfile::tempdir().unwrap();
        slip::write(&old.path().join("cursor"), &BOTH.prefix).unwrap();
        assert_eq!(hex(&std::fs::read(old.path().join("cursor")).unwrap()), FROZEN_V1);
        let mut store = CursorStore::open(old.path()).unwrap();
        assert_eq!(store.cursors(), Cursors::from(BOTH.prefix), "a store of the previous version opens");
        store.put(BOTH).unwrap();
        assert_eq!(
            CursorStore::open(old.path()).unwrap().cursors(),
            BOTH,
            "the new file counts from then on"
        );
    }

    const FROZEN_V1: &str = "534f5254534c4950010000000adceec11bfc8030026bfc70110100";
    const FROZEN_V2: &str =
        "534f5254534c4950010000001b9483df1402fc8030026bfc7011010001fc8030026bfc905f0100fcbc600100";

    #[test]
    fn what_cannot_be_read_acknowledges_nothing_and_stops_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let body = CursorsV2 { version: 3, prefix: BOTH.prefix, live: None };
        slip::write(&path(directory.path()), &body).unwrap();
        assert!(matches!(read(directory.path()), Err(SlipError::Damaged { .. })), "not guessed at");
        assert_eq!(CursorStore::open(directory.path()).unwrap().cursors(), Cursors::default());
        let older = Cursor { epoch: 7, acked: 5 };
        slip::write(&directory.path().join("cursor"), &older).unwrap();
        assert_eq!(CursorStore::open(directory.path()).unwrap().cursor(), older, "better than nothing");
    }
}
