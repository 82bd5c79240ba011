//! What the uplink needs from the journal: its durable milestones, and a place for the cursor.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::journal::Record;
use crate::line::event::Started;

/// How far a store's events are acknowledged: every event of `epoch` up to `seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
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
    /// The cursor could not be read or written.
    #[error("the uplink's cursor could not be {what}: {why}")]
    Cursor {
        /// `read` or `stored`.
        what: &'static str,
        /// What the file system says.
        why: String,
    },
}

/// The journal as the uplink sees it. All but [`Milestones::epoch`] and [`Milestones::durable`] may block on
/// the disk; the uplink calls them where blocking is allowed.
pub trait Milestones: Send + Sync + 'static {
    /// Epoch of the open store, `None` until it is open.
    fn epoch(&self) -> Option<u64>;
    /// Newest durable event sequence of the open store; moves when more is durable and when the store opens.
    fn durable(&self) -> watch::Receiver<u64>;
    /// Durable milestones with an event sequence above `event_seq`, ascending, at most `max`.
    fn after(&self, event_seq: u64, max: usize) -> Result<Vec<Record>, MilestonesError>;
    /// The start that opened the run of record number `record`.
    fn run_of(&self, record: u64) -> Option<Arc<Started>>;
    /// The stored cursor, `None` if none was ever stored.
    fn load_cursor(&self) -> Result<Option<Cursor>, MilestonesError>;
    /// Stores the cursor, durably.
    fn store_cursor(&self, cursor: Cursor) -> Result<(), MilestonesError>;
}
