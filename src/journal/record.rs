//! A record as bytes: a frame, of version 1, 2 or 3 around the same body.
//!
//! ```text
//!  0     1       9           17      21      25
//!  +-----+-------+-----------+-------+-------+----------------------------+
//!  | 1   | seq   | event seq | len   | crc32 | body: RecordV1 in bincode  |
//!  +-----+-------+-----------+-------+-------+----------------------------+
//!
//!  0     1       9           17      21      25            57
//!  +-----+-------+-----------+-------+-------+-------------+----------------------------+
//!  | 2   | seq   | event seq | len   | crc32 | link (32)   | body: RecordV1 in bincode  |
//!  +-----+-------+-----------+-------+-------+-------------+----------------------------+
//!
//!  0     1       9           17      21      25            57     58          58 + n
//!  +-----+-------+-----------+-------+-------+-------------+------+-----------+----------------------------+
//!  | 3   | seq   | event seq | len   | crc32 | link (32)   | n    | about (n) | body: RecordV1 in bincode  |
//!  +-----+-------+-----------+-------+-------+-------------+------+-----------+----------------------------+
//! ```
//! Numbers of the header are big-endian; event seq 0 means *no milestone*; the link is the chain's up to
//! and with this record ([`super::chain`]). The CRC covers everything but itself. bincode has no schema and
//! would decode most flipped bits to a wrong value, so nothing is decoded before the CRC agrees, and all of
//! the body must be used.
//!
//! The store writes version 3, whose *about* ([`super::about`]) is what a claim bundle shows of records that
//! are not the parcel's; days before it hold version 2. Version 1 is what days before those hold, and what the
//! in-flight log writes: records there are not numbered among the milestones yet, and so cannot be chained.
//!
//! A change of the body's shape is a `RecordV2` beside the one here with the next version byte, never an edit.

use serde::{Deserialize, Serialize};

use super::about::{About, outlined};
use super::chain::{Digest, HASH_BYTES, Link};
use super::{Numbered, Record};
use crate::line::record::{Alarm, Body, Entry, Fact, Severity};
use crate::line::{PassKey, Tick};

/// Version byte of an unchained frame.
const UNCHAINED: u8 = 1;
/// Version byte of a chained frame.
const CHAINED: u8 = 2;
/// Version byte of a chained frame that says what it is about.
const OUTLINED: u8 = 3;

/// What both versions begin with: all that a length can be read from.
pub(super) const COMMON_HEADER: usize = 25;
/// Version, numbers and length: what a canonical record begins with.
const CANONICAL_HEADER: usize = 21;
/// Bytes before the body of a chained frame.
pub(super) const CHAINED_HEADER: usize = COMMON_HEADER + HASH_BYTES;
/// Bytes before what a frame says that it is about; the last one is its length.
const ABOUT_FROM: usize = CHAINED_HEADER + 1;

/// Largest value given to sled: a page of more than a quarter of a 512 KiB segment becomes a file under
/// `blobs/`, which sled never syncs, and a page holds up to seventeen values before it is split. Longer
/// records continue under further keys.
pub const VALUE_LIMIT: usize = 7_400;

/// Largest body of a record. An order part is at most 6 KB, the start of a run with a thousand chutes
/// about 25 KB.
pub const RECORD_LIMIT: usize = 65_536;

/// Body of either version.
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
    #[error("version {0} is not known here (1 to 3 are)")]
    Version(u8),
    /// The checksum does not agree.
    #[error("CRC32 {expected:08x} expected, {came:08x} came")]
    Crc {
        /// In the header.
        expected: u32,
        /// Over the bytes.
        came: u32,
    },
    /// It is another record.
    #[error("record {expected} expected, {came} came")]
    Number {
        /// Under this number it was found.
        expected: u64,
        /// This number it has.
        came: u64,
    },
    /// The body does not decode, or not to its end.
    #[error("body: {0}")]
    Body(String),
    /// What it says in public is not what its body says.
    #[error("it says that it is of pass {said:?}, its body is of pass {body:?}")]
    About {
        /// In the header.
        said: Option<PassKey>,
        /// In the body.
        body: Option<PassKey>,
    },
}

/// What a header says, once its CRC has agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub seq: u64,
    pub event_seq: Option<u64>,
}

/// The body of a record: the same bytes in each version of a frame.
pub(super) fn encode_body(seq: u64, wall_us: i64, at: Tick, body: &Body) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::with_capacity(192);
    encode_body_into(&mut bytes, seq, wall_us, at, body)?;
    Ok(bytes)
}

/// The same in a buffer that is used again; what was in it is gone.
pub(super) fn encode_body_into(
    bytes: &mut Vec<u8>,
    seq: u64,
    wall_us: i64,
    at: Tick,
    body: &Body,
) -> Result<(), EncodeError> {
    bytes.clear();
    let shape = RecordV1Ref { at, wall_us, body };
    bincode::serde::encode_into_std_write(&shape, bytes, bincode::config::standard())
        .map_err(|error| EncodeError::Shape { seq, what: error.to_string() })?;
    if bytes.len() > RECORD_LIMIT {
        return Err(EncodeError::TooLarge { seq, bytes: bytes.len() });
    }
    Ok(())
}

/// An unchained frame around a body, behind what `frame` holds already.
pub(super) fn frame_v1(frame: &mut Vec<u8>, seq: u64, event_seq: Option<u64>, body: &[u8]) {
    let from = frame.len();
    push_header(frame, UNCHAINED, seq, event_seq, body);
    frame.extend_from_slice(body);
    seal(&mut frame[from..]);
}

/// A chained frame that says what it is about, behind what `frame` holds already; returns its link.
pub(super) fn frame_v3(
    frame: &mut Vec<u8>,
    seq: u64,
    event_seq: Option<u64>,
    about: &About,
    body: &[u8],
    before: Link,
) -> Link {
    let (from, about) = (frame.len(), about.bytes());
    push_header(frame, OUTLINED, seq, event_seq, body);
    let canonical = Digest::of(&[&frame[from..from + CANONICAL_HEADER], body]);
    let link = before.next(&outlined(&about, &canonical));
    frame.extend_from_slice(&link.0);
    // No longer than `ABOUT_MOST`.
    frame.push(u8::try_from(about.len()).unwrap_or(u8::MAX));
    frame.extend_from_slice(&about);
    frame.extend_from_slice(body);
    seal(&mut frame[from..]);
    link
}

/// A chained frame as the version before wrote it, behind what `frame` holds already; returns its link.
#[cfg(test)]
pub(super) fn frame_v2(
    frame: &mut Vec<u8>,
    seq: u64,
    event_seq: Option<u64>,
    body: &[u8],
    before: Link,
) -> Link {
    let from = frame.len();
    push_header(frame, CHAINED, seq, event_seq, body);
    let link = before.next(&Digest::of(&[&frame[from..from + CANONICAL_HEADER], body]));
    frame.extend_from_slice(&link.0);
    frame.extend_from_slice(body);
    seal(&mut frame[from..]);
    link
}

fn push_header(frame: &mut Vec<u8>, version: u8, seq: u64, event_seq: Option<u64>, body: &[u8]) {
    frame.push(version);
    frame.extend_from_slice(&seq.to_be_bytes());
    frame.extend_from_slice(&event_seq.unwrap_or(0).to_be_bytes());
    // `encode_body` gives no more than its limit.
    frame.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(&[0; COMMON_HEADER - CANONICAL_HEADER]);
}

fn seal(frame: &mut [u8]) {
    let crc = checksum(frame);
    frame[CANONICAL_HEADER..COMMON_HEADER].copy_from_slice(&crc.to_be_bytes());
}

/// A whole unchained frame.
#[cfg(test)]
pub(super) fn encode(
    seq: u64,
    event_seq: Option<u64>,
    wall_us: i64,
    at: Tick,
    body: &Body,
) -> Result<Vec<u8>, EncodeError> {
    let body = encode_body(seq, wall_us, at, body)?;
    let mut frame = Vec::with_capacity(COMMON_HEADER + body.len());
    frame_v1(&mut frame, seq, event_seq, &body);
    Ok(frame)
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

/// Bytes before the body of the frame that begins with these bytes.
pub(super) fn header_len(first: &[u8]) -> Result<usize, DecodeError> {
    if first.len() < COMMON_HEADER {
        return Err(DecodeError::Length { expected: COMMON_HEADER, came: first.len() });
    }
    match first[0] {
        UNCHAINED => Ok(COMMON_HEADER),
        CHAINED => Ok(CHAINED_HEADER),
        OUTLINED => {
            let short = DecodeError::Length { expected: ABOUT_FROM, came: first.len() };
            Ok(ABOUT_FROM + usize::from(*first.get(CHAINED_HEADER).ok_or(short)?))
        }
        other => Err(DecodeError::Version(other)),
    }
}

/// Length of the whole frame that begins with these bytes; only as right as the bytes are.
pub(super) fn total_len(first: &[u8]) -> Result<usize, DecodeError> {
    let header = header_len(first)?;
    let len = u32::from_be_bytes([first[17], first[18], first[19], first[20]]) as usize;
    if len > RECORD_LIMIT {
        return Err(DecodeError::Length { expected: RECORD_LIMIT, came: len });
    }
    Ok(header + len)
}

/// Checks everything but the body's shape.
pub(super) fn check(bytes: &[u8]) -> Result<Head, DecodeError> {
    let expected = total_len(bytes)?;
    if expected != bytes.len() {
        return Err(DecodeError::Length { expected, came: bytes.len() });
    }
    let expected = u32::from_be_bytes([bytes[21], bytes[22], bytes[23], bytes[24]]);
    let came = checksum(bytes);
    if expected != came {
        return Err(DecodeError::Crc { expected, came });
    }
    Ok(Head { seq: number(&bytes[1..9]), event_seq: event_of(bytes) })
}

/// The milestone number in a frame's header.
pub(super) fn event_of(bytes: &[u8]) -> Option<u64> {
    let event_seq = number(bytes.get(9..17)?);
    (event_seq != 0).then_some(event_seq)
}

/// Digest of the canonical record in a whole frame of any version.
pub(super) fn canonical(bytes: &[u8]) -> Result<Digest, DecodeError> {
    let header = header_len(bytes)?;
    let body = bytes.get(header..).ok_or(DecodeError::Length { expected: header, came: bytes.len() })?;
    Ok(Digest::of(&[&bytes[..CANONICAL_HEADER], body]))
}

/// Digest of the record in a whole frame of any version: what the chain is made of.
pub(super) fn digest(bytes: &[u8]) -> Result<Digest, DecodeError> {
    let canonical = canonical(bytes)?;
    Ok(about(bytes).map_or(canonical, |about| outlined(about, &canonical)))
}

/// What a frame says that it is about; `None` in one of a version that does not say.
pub(super) fn about(bytes: &[u8]) -> Option<&[u8]> {
    let outlined = bytes.first() == Some(&OUTLINED);
    let length = usize::from(*bytes.get(CHAINED_HEADER)?);
    bytes.get(ABOUT_FROM..ABOUT_FROM + length).filter(|_| outlined)
}

/// The link a chained frame carries.
pub(super) fn link(bytes: &[u8]) -> Option<Link> {
    let chained = matches!(bytes.first(), Some(&(CHAINED | OUTLINED)));
    let link = bytes.get(COMMON_HEADER..CHAINED_HEADER)?.try_into().ok()?;
    chained.then_some(Link(link))
}

pub(super) fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    let head = check(bytes)?;
    let body = &bytes[header_len(bytes)?..];
    let config = bincode::config::standard().with_limit::<RECORD_LIMIT>();
    let (shape, consumed): (RecordV1, usize) = bincode::serde::decode_from_slice(body, config)
        .map_err(|error| DecodeError::Body(error.to_string()))?;
    if consumed != body.len() {
        return Err(DecodeError::Body(format!("{consumed} of {} bytes used", body.len())));
    }
    if let Some(about) = about(bytes) {
        let (said, body) = (About::read(about).and_then(|about| about.pass), shape.body.pass());
        if said != body {
            return Err(DecodeError::About { said, body });
        }
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
    crc.update(&bytes[..CANONICAL_HEADER]);
    crc.update(&bytes[COMMON_HEADER..]);
    crc.finalize()
}

#[cfg(test)]
#[path = "tests/record.rs"]
mod tests;
