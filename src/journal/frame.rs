//! A record as it stands in the store, byte for byte, for whoever proves something with it, and the days
//! such records are kept in.

use serde::{Deserialize, Serialize};

use super::Record;
use super::about::About;
use super::chain::{Digest, Link};
use super::day::{Links, Span};
use super::record::{self, DecodeError};

/// A whole frame: the bytes that were made durable. They are as they were found; [`Frame::record`] and
/// [`Frame::check`] say whether they are what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Number under which it was found.
    pub seq: u64,
    /// The frame: version, numbers, length, CRC32, link where it has one, body.
    pub bytes: Vec<u8>,
}

impl Frame {
    /// Length, CRC32 and number agree; says nothing about the chain.
    pub fn check(&self) -> Result<(), DecodeError> {
        let head = record::check(&self.bytes)?;
        if head.seq == self.seq {
            Ok(())
        } else {
            Err(DecodeError::Number { expected: self.seq, came: head.seq })
        }
    }

    /// The record, once [`Frame::check`] and the body's shape agree.
    pub fn record(&self) -> Result<Record, DecodeError> {
        self.check()?;
        record::decode(&self.bytes)
    }

    /// SHA-256 of the canonical record: the frame without its CRC32, its link and what it says that it is about.
    pub fn canonical(&self) -> Result<Digest, DecodeError> {
        record::canonical(&self.bytes)
    }

    /// What it says in public, as it stands in the frame; `None` before version 3.
    pub fn about_bytes(&self) -> Option<&[u8]> {
        record::about(&self.bytes)
    }

    /// What it says in public; `None` before version 3.
    pub fn about(&self) -> Option<About> {
        About::read(record::about(&self.bytes)?)
    }

    /// The digest that the chain is made of. Looks at the frame's version and at no checksum, so that an altered
    /// frame has the digest of what it was altered to.
    pub fn digest(&self) -> Result<Digest, DecodeError> {
        record::digest(&self.bytes)
    }

    /// The link the frame carries; `None` in a frame of version 1, which no chain knows.
    pub fn link(&self) -> Option<Link> {
        record::link(&self.bytes)
    }

    /// Milestone number in the header; only as right as the bytes are.
    pub fn event_seq(&self) -> Option<u64> {
        record::event_of(&self.bytes)
    }
}

/// A day that is kept: what numbers it holds and where the chain stands in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaySpan {
    /// Name of its directory: the UTC day, with a suffix where a day was begun more than once.
    pub name: String,
    /// Store epoch.
    pub epoch: u64,
    /// First record.
    pub first_seq: u64,
    /// Last record.
    pub last_seq: u64,
    /// First milestone; one more than `last_event` where it holds none.
    pub first_event: u64,
    /// Last milestone.
    pub last_event: u64,
    /// Link before the first record; `None` in a day written before there was a chain.
    pub before: Option<Link>,
    /// Link of the last record.
    pub last: Option<Link>,
    /// No record will follow in it.
    pub sealed: bool,
}

impl DaySpan {
    pub(super) fn new(span: Span, links: Option<Links>, sealed: bool) -> DaySpan {
        DaySpan {
            name: span.name,
            epoch: span.begin.epoch,
            first_seq: span.begin.first_seq,
            last_seq: span.last_seq,
            first_event: span.begin.first_event,
            last_event: span.last_event,
            before: links.map(|links| links.before),
            last: links.map(|links| links.last),
            sealed,
        }
    }
}
