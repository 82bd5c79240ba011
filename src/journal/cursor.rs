//! How far upstream has acknowledged milestones: the uplink's cursor, stored beside the records.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::slip::{self, SlipError};
use crate::line::Tick;

/// The cursor is written at most this often. What is published again after a crash is at most what was
/// acknowledged in this time; receivers know repeated events by their id.
const WRITE_EVERY_MS: u64 = 200;

/// All milestones up to and including `acked` of `epoch`, and all of earlier epochs, are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// Store epoch; 0 before the first.
    pub epoch: u64,
    /// Event sequence; 0 before the first.
    pub acked: u64,
}

/// Keeps the cursor on disk.
#[derive(Debug)]
pub struct CursorStore {
    path: PathBuf,
    current: Cursor,
    stored: Cursor,
    stored_at: Option<Tick>,
}

impl CursorStore {
    /// The cursor of the store in `directory`; the beginning, where none was stored.
    pub fn open(directory: &Path) -> Result<CursorStore, SlipError> {
        std::fs::create_dir_all(directory).map_err(|source| SlipError::at(directory, source))?;
        let stored = read(directory)?.unwrap_or_default();
        Ok(CursorStore { path: path(directory), current: stored, stored, stored_at: None })
    }

    /// Where it stands, stored or not yet.
    pub fn cursor(&self) -> Cursor {
        self.current
    }

    /// Moves forward, never back, and stores it unless that was done a moment ago; call [`Self::store`] when
    /// acknowledgements pause.
    pub fn advance(&mut self, to: Cursor, now: Tick) -> Result<(), SlipError> {
        self.current = self.current.max(to);
        match self.stored_at {
            Some(at) if now.ms_since(at) < WRITE_EVERY_MS => Ok(()),
            _ => {
                self.stored_at = Some(now);
                self.store()
            }
        }
    }

    /// Stores it now if it has moved.
    pub fn store(&mut self) -> Result<(), SlipError> {
        if self.current != self.stored {
            slip::write(&self.path, &self.current)?;
            self.stored = self.current;
        }
        Ok(())
    }
}

fn path(directory: &Path) -> PathBuf {
    directory.join("cursor")
}

pub(super) fn read(directory: &Path) -> Result<Option<Cursor>, SlipError> {
    slip::read(&path(directory))
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
}
