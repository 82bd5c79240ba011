//! What the uplink needs from the journal: its durable milestones, and a place for the cursors.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::journal::Record;
use crate::line::event::Started;

/// A milestone's place: its store epoch and its sequence there. As a cursor: every event of `epoch` up to
/// `seq`, and every event of earlier epochs, is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// Store epoch.
    pub epoch: u64,
    /// Event sequence; 0 before the first.
    pub seq: u64,
}

/// Why the journal could not serve the uplink.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MilestonesError {
    /// Reading records failed.
    #[error("the journal could not read the events after {after}: {why}")]
    Read {
        /// Event sequence asked for.
        after: u64,
        /// What the journal says.
        why: String,
    },
    /// A record's run is unknown, so its names cannot be resolved.
    #[error("the journal knows no start of the run that record {record} belongs to")]
    NoRun {
        /// Record number.
        record: u64,
    },
    /// The cursors could not be read or written.
    #[error("the uplink's cursor could not be {what}: {why}")]
    Cursor {
        /// `read` or `stored`.
        what: &'static str,
        /// What the file system says.
        why: String,
    },
}

/// The journal as the uplink sees it. All but [`Milestones::head`] and [`Milestones::durable`] may block on
/// the disk; the uplink calls them where blocking is allowed.
pub trait Milestones: Send + Sync + 'static {
    /// Newest durable milestone of the open store, `None` until it is open. A new epoch there is a new store.
    fn head(&self) -> Option<Cursor>;
    /// Moves when more is durable; what it moves to means nothing.
    fn durable(&self) -> watch::Receiver<u64>;
    /// Every epoch of which something is kept, with its last milestone.
    fn epochs(&self) -> Result<BTreeMap<u64, u64>, MilestonesError>;
    /// Durable milestones behind `after`, all of its epoch, ascending, at most `max`.
    fn after(&self, after: Cursor, max: usize) -> Result<Vec<Record>, MilestonesError>;
    /// The start that opened the run of record number `record`. A run is unbroken: what two records have in
    /// common, all between them have.
    fn run_of(&self, record: u64) -> Option<Arc<Started>>;
    /// The stored cursors, `None` if none were ever stored.
    fn load(&self) -> Result<Option<super::ranges::Ranges>, MilestonesError>;
    /// Stores the cursors, durably.
    fn store(&self, ranges: super::ranges::Ranges) -> Result<(), MilestonesError>;
}
