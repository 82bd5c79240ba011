//! What evidence is made from: a store, live or a copy.

use crate::journal::anchor::Anchor;
use crate::journal::{DaySpan, Frame, ReadError, Record};

/// A store that can be asked about a parcel. Every call may block on the disk.
pub trait Source {
    /// Everything recorded about a parcel; see [`crate::journal::Reader::story`].
    fn story(&self, code: &str) -> Result<Vec<Record>, ReadError>;

    /// The start of the run that a record belongs to, as it stands in the store.
    fn run_before(&self, seq: u64) -> Result<Option<Frame>, ReadError>;

    /// Records from number `from` on as they stand in the store, at most `max`.
    fn frames(&self, from: u64, max: usize) -> Result<Vec<Frame>, ReadError>;

    /// Every day that is kept, oldest first.
    fn days(&self) -> Result<Vec<DaySpan>, ReadError>;

    /// The first anchor of this epoch that speaks of record `seq` or of a later one.
    fn anchor_over(&self, epoch: u64, seq: u64) -> Result<Option<Anchor>, ReadError>;

    /// Whether upstream has acknowledged an event; `None` where that is not known.
    fn acknowledged(&self, epoch: u64, event_seq: u64) -> Option<bool>;
}
