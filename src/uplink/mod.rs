//! Upstream: a journal cursor → EPCIS 2.0 → MQTT, released by PUBACK; orders the other way.
//!
//! # The story of a milestone
//!
//! 1. The core concludes a fact; the journal makes it durable and, since upstream is to be told of it, gives it
//!    the next event sequence. Only then does the uplink see it ([`milestones`]).
//! 2. A batch of such records is read after the cursor, where blocking is allowed, and each becomes one
//!    document ([`epcis`]): the same record, the same bytes, for ever. Its name is its hash ([`hash`]).
//! 3. The publisher hands documents to the MQTT client while it is connected and less than a window is in
//!    flight, and remembers which packet carries which event ([`publisher`]).
//! 4. The broker acknowledges. The cursor moves over what is acknowledged without a gap, and is stored.
//! 5. If anything goes wrong on the way — an error, silence, a restart — the connection is thrown away and the
//!    story goes on at step 2 after the cursor. Some events then arrive twice, none is missing, and a receiver
//!    knows a repetition by its name.
//!
//! What comes down is told in [`downstream`], what is said of the line itself in [`health`].
//!
//! # Words
//!
//! *Cursor*: every event up to it is acknowledged. *Window*: publishes in flight at most. *Backlog*: durable
//! and not yet acknowledged. *Live range*: what is sent ahead of a large backlog, with a cursor of its own
//! ([`ranges`]). *Epoch*: one life of the store; its event sequence begins at 1.
//!
//! # Invariants
//!
//! - Nothing is published that is not durable, nothing is released that is not acknowledged.
//! - No queue of its own holds what cannot be read again from the journal or delivered again by the broker.
//! - The broker being away never touches the line: the backlog grows in the journal, an alarm says so.

pub mod anchors;
mod broker;
mod digital_link;
pub mod down;
pub mod downstream;
pub mod epcis;
mod flight;
pub mod hash;
pub mod health;
pub mod holds;
mod in_process;
mod json;
mod lost;
pub mod milestones;
pub mod orders;
mod outlet;
mod proof;
pub mod publisher;
pub mod questions;
pub mod ranges;
pub mod schema;
pub mod status;
mod tls;

#[cfg(test)]
mod tests;

pub use broker::Topics;
pub use schema::schema;
