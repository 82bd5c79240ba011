//! Questions about what is recorded, for the commands that look back at a live store.
//!
//! The daemon holds the store's lock, so a replay or a trial of a plan reads through it, chunk by chunk, and
//! does its own work in its own process: the line never notices.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Records one answer holds at most: a few megabytes.
pub const RECORDS_MOST: usize = 4_096;

/// A question about what is recorded. Each is answered with one JSON document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "what", deny_unknown_fields)]
pub enum RecordedQuestion {
    /// Days, oldest first.
    Days,
    /// Records from a number on.
    Records {
        /// First.
        from: u64,
        /// At most, and never more than [`RECORDS_MOST`].
        max: usize,
    },
    /// Numbers of the records that a snapshot of this day stands after.
    Snapshots {
        /// Name of the day.
        day: String,
    },
    /// A snapshot.
    Snapshot {
        /// Name of the day.
        day: String,
        /// Record it stands after.
        seq: u64,
    },
    /// The record that began a run.
    Run {
        /// A record of that run.
        seq: u64,
    },
    /// The configuration of a run, where its name was carried from day to day.
    Configured {
        /// A record of that run.
        seq: u64,
    },
    /// Hashes of the configurations that are kept.
    Configs,
    /// The files of one.
    Config {
        /// Its hash.
        hash: String,
    },
}

/// Answers a question; may block, so it is called on a thread for blocking work.
pub type RecordedOf = Arc<dyn Fn(RecordedQuestion) -> Result<serde_json::Value, String> + Send + Sync>;
