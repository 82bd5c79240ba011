//! A recorded shift through the same core again: to prove it, and to try another plan on it.
//!
//! - [`prove`] feeds every recorded input and compares every fact that follows with the recorded one; at each
//!   stored snapshot it compares the whole state, too. None differs, or each is told.
//! - [`trial`] decides each recorded decision again under another sort plan.
//!
//! # Where it begins, and what a restart does
//!
//! The records of one *epoch* that stand without a gap are a *stretch*. A stretch is entered at the last
//! snapshot before the wanted time, or with an empty line at the store's very first record. Where a stretch
//! begins otherwise (the days before are deleted, or were put into quarantine), the state it began with is
//! nowhere: it is entered at its first snapshot, and the records before that are counted as left out.
//!
//! A restarted daemon takes up a snapshot and the records after it, with the configuration of that start. So
//! at each [`Started`] the line is put into a snapshot and taken out of it again, with the configuration that
//! this run names ([`Configured`]), out of the store's archive. Orders that the restarted line still had to
//! read back are known again when a record says that they were known.
//!
//! Records are read in chunks of [`CHUNK`]; nothing else grows with the length of a shift.
//!
//! [`Started`]: crate::line::event::Event::Started
//! [`Configured`]: crate::line::event::Event::Configured

mod configuration;
mod kpi;
mod period;
mod prove;
mod trial;
mod walk;

pub use kpi::{Kpis, PARCELS_MOST};
pub use period::{BadTime, Moment, Period};
pub use prove::{Different, Finding, Proof, prove};
pub use trial::{Changed, Trial, TrialError, trial};
pub use walk::{Walked, zone};

use crate::journal::RecordingError;
use crate::line::RestartError;

/// Records read at once.
pub const CHUNK: usize = 4_096;

/// Why a recording could not be fed again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// Nothing was recorded in that time.
    #[error("there are no records in the wanted time; the store holds {first} to {last}")]
    NothingThere {
        /// First record's wall time.
        first: String,
        /// Last record's.
        last: String,
    },
    /// There are records, but no state to begin with.
    #[error(
        "records {first} to {last} have no snapshot to begin with: the days before them are gone, and the first \
         snapshot is yet to come"
    )]
    NoState {
        /// First record.
        first: u64,
        /// Last record.
        last: u64,
    },
    /// A record is missing between others.
    #[error("expected record {expected}, the store gives {came}")]
    Gap {
        /// Number expected.
        expected: u64,
        /// Number that came; 0 where there are no more.
        came: u64,
    },
    /// The configuration a run had is not known.
    #[error(
        "the configuration of the run that record {run} began is not in the store's archive ({why}); give its \
         directory with --config"
    )]
    NoConfiguration {
        /// Record of the start; 0 where even that is gone.
        run: u64,
        /// What was looked for.
        why: String,
    },
    /// An archived configuration is refused by this program.
    #[error("the archived configuration {hash} is refused by this version: {why}")]
    Refused {
        /// Its name.
        hash: String,
        /// The first error.
        why: String,
    },
    /// A state cannot be taken over.
    #[error("after record {seq}: {source}")]
    State {
        /// Record.
        seq: u64,
        /// Why.
        source: RestartError,
    },
}

/// Where a record stands: its number and its wall stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Number.
    pub seq: u64,
    /// Unix microseconds.
    pub wall_us: i64,
}

/// A wall stamp as people and programs read it: RFC 3339, UTC, with microseconds.
pub fn utc(wall_us: i64) -> String {
    jiff::Timestamp::from_microsecond(wall_us).map_or_else(|_| format!("{wall_us} µs"), |at| at.to_string())
}

/// A wall stamp as the clock on the wall of the site showed it, with its offset; UTC where there is no such zone.
pub fn local(wall_us: i64, zone: &str) -> String {
    let Ok(at) = jiff::Timestamp::from_microsecond(wall_us) else { return format!("{wall_us} µs") };
    let zone = jiff::tz::TimeZone::get(zone).unwrap_or(jiff::tz::TimeZone::UTC);
    at.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S.%3f %:z").to_string()
}
