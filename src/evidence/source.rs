//! What evidence is made from: a store, live or a copy.

use std::path::{Path, PathBuf};

use crate::journal::anchor::Anchor;
use crate::journal::{CursorStore, Cursors, DaySpan, Frame, ReadError, Reader, Record, anchor_over};

/// A store that can be asked about a parcel. Every call may block on the disk.
pub trait Source {
    /// Everything recorded about a parcel; see [`Reader::story`].
    fn story(&self, code: &str) -> Result<Vec<Record>, ReadError>;

    /// The start of the run that a record belongs to, as it stands in the store.
    fn run_before(&self, seq: u64) -> Result<Option<Frame>, ReadError>;

    /// Records from number `from` on as they stand in the store, at most `max`.
    fn frames(&self, from: u64, max: usize) -> Result<Vec<Frame>, ReadError>;

    /// Records of a copy that cannot be read and might have told of the parcel: first and last of each stretch.
    fn unread(&self) -> Vec<(u64, u64)> {
        Vec::new()
    }

    /// Every day that is kept, oldest first.
    fn days(&self) -> Result<Vec<DaySpan>, ReadError>;

    /// The first anchor of this epoch that speaks of record `seq` or of a later one.
    fn anchor_over(&self, epoch: u64, seq: u64) -> Result<Option<Anchor>, ReadError>;

    /// Whether upstream has acknowledged an event; `None` where that is not known.
    fn acknowledged(&self, epoch: u64, event_seq: u64) -> Option<bool>;
}

/// A store in a directory: of a running daemon, or a copy.
#[derive(Debug, Clone)]
pub struct Store {
    reader: Reader,
    directory: PathBuf,
    cursors: Option<Cursors>,
}

impl Store {
    /// The store that `reader` reads, in this directory; upstream's cursors are read now.
    pub fn new(reader: Reader, directory: &Path) -> Store {
        let cursors = CursorStore::open(directory).ok().map(|store| store.cursors());
        Store { reader, directory: directory.to_owned(), cursors }
    }
}

impl Source for Store {
    fn story(&self, code: &str) -> Result<Vec<Record>, ReadError> {
        self.reader.story(code)
    }

    fn run_before(&self, seq: u64) -> Result<Option<Frame>, ReadError> {
        self.reader.run_before(seq)
    }

    fn frames(&self, from: u64, max: usize) -> Result<Vec<Frame>, ReadError> {
        self.reader.frames(from, max)
    }

    fn unread(&self) -> Vec<(u64, u64)> {
        self.reader.unread()
    }

    fn days(&self) -> Result<Vec<DaySpan>, ReadError> {
        self.reader.days()
    }

    fn anchor_over(&self, epoch: u64, seq: u64) -> Result<Option<Anchor>, ReadError> {
        let found = anchor_over(&self.directory, seq);
        let anchor =
            found.map_err(|error| ReadError::Disk { day: "anchors".to_owned(), what: error.to_string() })?;
        Ok(anchor.filter(|anchor| anchor.claim.epoch == epoch))
    }

    fn acknowledged(&self, epoch: u64, event_seq: u64) -> Option<bool> {
        let Cursors { prefix, live } = self.cursors?;
        let before = (epoch, event_seq) <= (prefix.epoch, prefix.acked);
        // After an outage the live events run ahead of the backlog.
        let ahead =
            live.is_some_and(|live| live.epoch == epoch && live.from < event_seq && event_seq <= live.acked);
        Some(before || ahead)
    }
}
