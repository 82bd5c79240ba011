//! The real-time core: what happens to each parcel between the induction eye and its chute.
//!
//! `step(now, Event) -> Actions`, `next_deadline()`. No clock, no file, no socket, no randomness.

pub mod actions;
mod attach;
mod bind;
pub mod borrowed;
mod core;
mod decide;
pub mod encoder;
mod ending;
pub mod event;
mod front;
#[cfg(test)]
mod hazards;
mod holds;
mod measures;
mod order;
mod orders;
pub mod outcome;
mod plans;
mod plc;
#[cfg(test)]
mod properties;
pub mod record;
mod replay;
mod show;
mod state;
pub mod status;
#[cfg(test)]
mod tests;
mod tie;
mod trail;

pub use front::{Line, RestartError, SnapshotError};
pub use holds::HOLDS_MOST;
pub use orders::{KnownOrders, ORDERS_MOST, OrderRefusal};
pub use replay::{Difference, Differences, PlanOf, Retake, Watch};

use serde::{Deserialize, Serialize};

/// Monotonic time in microseconds. Survives a restart of the process (the machine's monotonic clock);
/// after a reboot the shell continues from the last recorded tick, so ticks never go back in one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tick(pub u64);

impl Tick {
    /// This tick and `ms` milliseconds more.
    pub fn plus_ms(self, ms: u64) -> Tick {
        Tick(self.0.saturating_add(ms.saturating_mul(1000)))
    }
    /// Milliseconds from `earlier` to this tick, zero where `earlier` is later.
    pub fn ms_since(self, earlier: Tick) -> u64 {
        self.0.saturating_sub(earlier.0) / 1000
    }
}

/// One pass: a parcel from induction to discharge or loss. The PLC chooses the track id; it may reuse
/// it after its own restart, so the PLC's epoch is part of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PassKey {
    /// PLC epoch, register 109.
    pub epoch: u16,
    /// Track id chosen by the PLC.
    pub track: u32,
}

pub use crate::site::{ChuteNo, ReaderId};
