//! A record as bytes: `RecordV1`.
//!
//! ```text
//!  0     1       9           17      21      25
//!  +-----+-------+-----------+-------+-------+----------------------------+
//!  | ver | seq   | event seq | len   | crc32 | body: RecordV1 in bincode  |
//!  +-----+-------+-----------+-------+-------+----------------------------+
//! ```
//! Numbers of the header are big-endian; event seq 0 means *no milestone*. The CRC covers the header before
//! it and the body. bincode has no schema and would decode most flipped bits to a wrong value, so nothing
//! is decoded before the CRC agrees, and all of the body must be used.
//!
//! A change of shape is a `RecordV2` beside this one with the next version byte, never an edit.

use serde::{Deserialize, Serialize};

use super::{Numbered, Record};
use crate::line::Tick;
use crate::line::record::{Alarm, Body, Entry, Fact, Severity};

/// Version byte of the shape below.
const VERSION: u8 = 1;

/// Bytes before the body.
pub(super) const HEADER: usize = 25;

/// Largest value given to sled: a page of more than a quarter of a 512 KiB segment becomes a file under
/// `blobs/`, which sled never syncs. Longer records continue under further keys.
pub const VALUE_LIMIT: usize = 7_900;

/// Largest body of a record. An order part is at most 6 KB, the start of a run with a thousand chutes
/// about 25 KB.
pub const RECORD_LIMIT: usize = 65_536;

/// Body of version 1.
#[derive(Deserialize)]
struct RecordV1 {
    at: Tick,
    wall_us: i64,
    body: Body,
}

/// The same shape, borrowed, for writing.
#[derive(Serialize)]
struct RecordV1Ref<'a> {
    at: Tick,
    wall_us: i64,
    body: &'a Body,
}

/// Why a record cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// It is larger than any record may be.
    #[error("record {seq}: {bytes} bytes, at most {RECORD_LIMIT} are stored")]
    TooLarge {
        /// Record number.
        seq: u64,
        /// Size of its body.
        bytes: usize,
    },
    /// It cannot be said in this format.
    #[error("record {seq}: {what}")]
    Shape {
        /// Record number.
        seq: u64,
        /// What the encoder said.
        what: String,
    },
}

/// Why bytes are no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than a header, or more or fewer than the header says.
    #[error("{expected} bytes expected, {came} came")]
    Length {
        /// As the header says, or the header's own length.
        expected: usize,
        /// Bytes at hand.
        came: usize,
    },
    /// Written by a newer program, or damaged.
    #[error("version {0} is not known here (1 is)")]
    Version(u8),
    /// The checksum does not agree.
    #[error("CRC32 {expected:08x} expected, {came:08x} came")]
    Crc {
        /// In the header.
        expected: u32,
        /// Over the bytes.
        came: u32,
    },
    /// The body does not decode, or not to its end.
    #[error("body: {0}")]
    Body(String),
}

/// What a header says, once its CRC has agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub seq: u64,
    pub event_seq: Option<u64>,
}

pub(super) fn encode(
    seq: u64,
    event_seq: Option<u64>,
    wall_us: i64,
    at: Tick,
    body: &Body,
) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::with_capacity(256);
    bytes.push(VERSION);
    bytes.extend_from_slice(&seq.to_be_bytes());
    bytes.extend_from_slice(&event_seq.unwrap_or(0).to_be_bytes());
    bytes.extend_from_slice(&[0; 8]);
    let shape = RecordV1Ref { at, wall_us, body };
    bincode::serde::encode_into_std_write(&shape, &mut bytes, bincode::config::standard())
        .map_err(|error| EncodeError::Shape { seq, what: error.to_string() })?;
    let len = bytes.len() - HEADER;
    let len_u32 = u32::try_from(len).ok().filter(|_| len <= RECORD_LIMIT);
    let len_u32 = len_u32.ok_or(EncodeError::TooLarge { seq, bytes: len })?;
    bytes[17..21].copy_from_slice(&len_u32.to_be_bytes());
    let crc = checksum(&bytes);
    bytes[21..25].copy_from_slice(&crc.to_be_bytes());
    Ok(bytes)
}

/// A record that no format limit allows is replaced by one that says so: the number stays taken, nothing
/// vanishes silently.
pub(super) fn stand_in(seq: u64, at: Tick, why: &EncodeError) -> Entry {
    let body = Body::Fact(Fact::AlarmRaised(Alarm {
        id: "journal-record-refused".to_owned(),
        severity: Severity::Warning,
        text: format!("The contents of record {seq} could not be stored: {why}."),
        remedy: "Report this to the maker with the record number.".to_owned(),
    }));
    Entry { at, body }
}

/// Length of the whole record that begins with these bytes; only as right as the bytes are.
pub(super) fn total_len(first: &[u8]) -> Result<usize, DecodeError> {
    if first.len() < HEADER {
        return Err(DecodeError::Length { expected: HEADER, came: first.len() });
    }
    let len = u32::from_be_bytes([first[17], first[18], first[19], first[20]]) as usize;
    if len > RECORD_LIMIT {
        return Err(DecodeError::Length { expected: RECORD_LIMIT, came: len });
    }
    Ok(HEADER + len)
}

/// Checks everything but the body's shape.
pub(super) fn check(bytes: &[u8]) -> Result<Head, DecodeError> {
    if bytes.len() < HEADER {
        return Err(DecodeError::Length { expected: HEADER, came: bytes.len() });
    }
    if bytes[0] != VERSION {
        return Err(DecodeError::Version(bytes[0]));
    }
    let expected = total_len(bytes)?;
    if expected != bytes.len() {
        return Err(DecodeError::Length { expected, came: bytes.len() });
    }
    let expected = u32::from_be_bytes([bytes[21], bytes[22], bytes[23], bytes[24]]);
    let came = checksum(bytes);
    if expected != came {
        return Err(DecodeError::Crc { expected, came });
    }
    let event_seq = number(&bytes[9..17]);
    Ok(Head { seq: number(&bytes[1..9]), event_seq: (event_seq != 0).then_some(event_seq) })
}

pub(super) fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    let head = check(bytes)?;
    let body = &bytes[HEADER..];
    let config = bincode::config::standard().with_limit::<RECORD_LIMIT>();
    let (shape, consumed): (RecordV1, usize) = bincode::serde::decode_from_slice(body, config)
        .map_err(|error| DecodeError::Body(error.to_string()))?;
    if consumed != body.len() {
        return Err(DecodeError::Body(format!("{consumed} of {} bytes used", body.len())));
    }
    Ok(Record {
        seq: head.seq,
        at: shape.at,
        wall_us: shape.wall_us,
        event_seq: head.event_seq,
        body: shape.body,
    })
}

impl From<Record> for Numbered {
    fn from(record: Record) -> Numbered {
        Numbered {
            seq: record.seq,
            wall_us: record.wall_us,
            entry: Entry { at: record.at, body: record.body },
        }
    }
}

/// Eight big-endian bytes as a number.
pub(super) fn number(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..21]);
    crc.update(&bytes[HEADER..]);
    crc.finalize()
}

#[cfg(test)]
#[path = "tests/record.rs"]
mod tests;
