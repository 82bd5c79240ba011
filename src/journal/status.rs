//! What the journal shows of itself.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::notary::AnchorStatus;
use super::quarantine::Quarantined;
use super::space::Space;

/// State of the journal thread.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalState {
    /// The store opens; records go to the in-flight log.
    #[default]
    Opening,
    /// Records become durable.
    Running,
    /// The disk does not take records: why. They are kept and tried again.
    Stalled(String),
    /// Shut down.
    Closed,
}

/// The journal as it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalStatus {
    /// State.
    pub state: JournalState,
    /// Durable up to this record.
    pub durable: u64,
    /// Store epoch; 0 while it opens.
    pub epoch: u64,
    /// Last durable milestone of the epoch.
    pub last_event: u64,
    /// Day that is written, by its directory's name.
    pub day: String,
    /// Records taken from the queue and not on their way to the disk yet.
    pub pending: u64,
    /// Records on their way to the disk and not durable yet.
    pub under_way: u64,
    /// Durable cycles done.
    pub cycles: u64,
    /// Cycles that failed and were tried again.
    pub retries: u64,
    /// Records whose contents no limit allowed; a stand-in took their numbers.
    pub refused: u64,
    /// Records offered with a number that was taken already; they were dropped.
    pub repeated: u64,
    /// Orders in the register, with their revisions; fewer after packing.
    pub orders: u64,
    /// Days deleted because of their age or the store's size.
    pub days_deleted: u64,
    /// Milestones in them that upstream had not acknowledged: the hard limit forced it.
    pub unacknowledged_deleted: u64,
    /// Quarantined days and registers deleted because of their size.
    pub quarantine_deleted: u64,
    /// Room on the disk.
    pub space: Space,
    /// Free space on the store's disk, MiB.
    pub free_mib: u64,
    /// What the store takes of it, MiB, measured twice a minute.
    pub store_mib: u64,
    /// Snapshots, copies and bundles that were not stored because room was low.
    pub extras_left_out: u64,
    /// The last anchor, once there is one.
    pub anchor: Option<AnchorStatus>,
    /// Anchors that could not be made since this start.
    pub anchors_failed: u64,
    /// What was put into quarantine since this start.
    pub quarantined: Vec<Quarantined>,
}

/// The status, shared between the journal thread, which writes it once a cycle, and whoever asks.
#[derive(Debug, Default)]
pub(super) struct StatusCell {
    status: Mutex<JournalStatus>,
    /// [`Space`], for the line's thread, which takes no lock.
    space: AtomicU8,
}

impl StatusCell {
    pub fn change(&self, change: impl FnOnce(&mut JournalStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub fn space(&self) -> Space {
        Space::of(self.space.load(Ordering::Acquire))
    }

    pub fn set_space(&self, space: Space) {
        self.space.store(space.code(), Ordering::Release);
    }

    pub fn get(&self) -> JournalStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
