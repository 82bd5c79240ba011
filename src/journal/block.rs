//! A block: many frames in one value of sled, with what they mention.
//!
//! ```text
//!  0     1           9             17      19         21           25      29
//!  +-----+-----------+-------------+-------+----------+------------+-------+--------+------------------+
//!  | ver | first seq | first event | count | mentions | frames len | crc32 | frames | mentions: 6 each |
//!  +-----+-----------+-------------+-------+----------+------------+-------+--------+------------------+
//! a mention: hash(4) place(2), the record's place in the block, counted from 0
//! ```
//! Numbers are big-endian. *First event* is the number of the next milestone when the block begins, whether
//! or not it holds one. The CRC covers the header before it and the mentions; each frame has its own.
//!
//! sled writes one key for dozens of records this way, and one page holds them. A record longer than a block
//! has one of its own, which continues under further keys.

use super::record::{self, DecodeError, number};

const VERSION: u8 = 1;
const HEADER: usize = 29;
const MENTION: usize = 6;

/// A block is finished before it would become larger. It is rewritten with each commit until then, and a
/// page of sled holds up to seventeen of them, as [`record::VALUE_LIMIT`] says.
pub(super) const BLOCK_LIMIT: usize = 7_000;

/// Why bytes are no block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BlockError {
    #[error("a block of at least {expected} bytes expected, {came} came")]
    Length { expected: usize, came: usize },
    #[error("block version {0} is not known here (1 is)")]
    Version(u8),
    #[error("block CRC32 {expected:08x} expected, {came:08x} came")]
    Crc { expected: u32, came: u32 },
    #[error("record {seq}: {error}")]
    Frame { seq: u64, error: DecodeError },
}

/// Frames that follow each other, and what they mention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub first_seq: u64,
    pub first_event: u64,
    next_event: u64,
    frames: Vec<u8>,
    /// Where each frame ends.
    ends: Vec<u32>,
    mentions: Vec<(u32, u16)>,
}

impl Block {
    /// An empty one.
    pub fn begin(first_seq: u64, first_event: u64) -> Block {
        Block {
            first_seq,
            first_event,
            next_event: first_event,
            frames: Vec::new(),
            ends: Vec::new(),
            mentions: Vec::new(),
        }
    }

    /// An empty one behind this.
    pub fn following(&self) -> Block {
        let mut next = Block::begin(self.next_seq(), self.next_event);
        // It becomes as large as they all do: growing by and by would copy it several times.
        next.frames.reserve(BLOCK_LIMIT);
        next.ends.reserve(self.ends.len());
        next.mentions.reserve(self.mentions.len());
        next
    }

    /// The same one to add to.
    pub fn unfinished(&self) -> Block {
        let mut same = Block::begin(self.first_seq, self.first_event);
        same.next_event = self.next_event;
        same.frames.reserve(BLOCK_LIMIT);
        same.frames.extend_from_slice(&self.frames);
        same.ends.clone_from(&self.ends);
        same.mentions.clone_from(&self.mentions);
        same
    }

    pub fn next_seq(&self) -> u64 {
        self.first_seq + self.ends.len() as u64
    }

    pub fn next_event(&self) -> u64 {
        self.next_event
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether a frame with so many mentions still goes in.
    pub fn takes(&self, frame: usize, mentions: usize) -> bool {
        let len = HEADER + self.frames.len() + frame + (self.mentions.len() + mentions) * MENTION;
        len <= BLOCK_LIMIT && self.ends.len() < usize::from(u16::MAX)
    }

    /// Adds the next record's frame.
    pub fn push(&mut self, frame: &[u8], milestone: bool, mentions: &[u32]) {
        let place = u16::try_from(self.ends.len()).unwrap_or(u16::MAX);
        self.frames.extend_from_slice(frame);
        self.ends.push(u32::try_from(self.frames.len()).unwrap_or(u32::MAX));
        self.mentions.extend(mentions.iter().map(|hash| (*hash, place)));
        self.next_event += u64::from(milestone);
    }

    /// Lets go of the records from `seq` on.
    pub fn truncate(&mut self, seq: u64) {
        let keep = usize::try_from(seq.saturating_sub(self.first_seq)).unwrap_or(usize::MAX);
        let milestones = (keep..self.ends.len()).filter_map(|place| record::event_of(self.at(place))).count();
        self.next_event -= milestones as u64;
        self.ends.truncate(keep);
        self.frames.truncate(self.ends.last().map_or(0, |end| *end as usize));
        self.mentions.retain(|(_, place)| usize::from(*place) < keep);
    }

    fn at(&self, place: usize) -> &[u8] {
        let from = place.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.frames[from..self.ends[place] as usize]
    }

    /// The frame of a record that is in it, as it was found.
    pub fn frame(&self, seq: u64) -> Option<&[u8]> {
        let place = usize::try_from(seq.checked_sub(self.first_seq)?).ok()?;
        (place < self.ends.len()).then(|| self.at(place))
    }

    /// Every frame, with the number it must have.
    pub fn frames(&self) -> impl DoubleEndedIterator<Item = (u64, &[u8])> {
        (0..self.ends.len()).map(|place| (self.first_seq + place as u64, self.at(place)))
    }

    /// What is mentioned, and by which record.
    pub fn mentions(&self) -> impl Iterator<Item = (u32, u64)> {
        self.mentions.iter().map(|(hash, place)| (*hash, self.first_seq + u64::from(*place)))
    }

    #[cfg(test)]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode_into(&mut bytes);
        bytes
    }

    /// Its bytes in a buffer that is used again; what was in it is gone.
    pub fn encode_into(&self, bytes: &mut Vec<u8>) {
        bytes.clear();
        bytes.reserve(HEADER + self.frames.len() + self.mentions.len() * MENTION);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.first_seq.to_be_bytes());
        bytes.extend_from_slice(&self.first_event.to_be_bytes());
        // `takes` keeps all three within their bounds: a frame mentions a handful of codes.
        let small = |len: usize| u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
        bytes.extend_from_slice(&small(self.ends.len()));
        bytes.extend_from_slice(&small(self.mentions.len()));
        bytes.extend_from_slice(&u32::try_from(self.frames.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.frames);
        for (hash, place) in &self.mentions {
            bytes.extend_from_slice(&hash.to_be_bytes());
            bytes.extend_from_slice(&place.to_be_bytes());
        }
        let crc = checksum(bytes, HEADER + self.frames.len());
        bytes[25..HEADER].copy_from_slice(&crc.to_be_bytes());
    }

    /// Takes a block apart; frames are told from each other, and not looked at further.
    pub fn decode(bytes: &[u8]) -> Result<Block, BlockError> {
        let expected = total_len(bytes)?;
        if expected != bytes.len() {
            return Err(BlockError::Length { expected, came: bytes.len() });
        }
        let count = usize::from(u16::from_be_bytes([bytes[17], bytes[18]]));
        let frames_end = HEADER + u32::from_be_bytes([bytes[21], bytes[22], bytes[23], bytes[24]]) as usize;
        let expected = u32::from_be_bytes([bytes[25], bytes[26], bytes[27], bytes[28]]);
        let came = checksum(bytes, frames_end);
        if expected != came {
            return Err(BlockError::Crc { expected, came });
        }
        let mut block = Block::begin(number(&bytes[1..9]), number(&bytes[9..17]));
        block.frames = bytes[HEADER..frames_end].to_vec();
        let mut at = 0;
        for seq in (block.first_seq..).take(count) {
            let failed = |error| BlockError::Frame { seq, error };
            let rest = &block.frames[at..];
            let len = record::total_len(rest).map_err(failed)?;
            if len > rest.len() {
                return Err(failed(DecodeError::Length { expected: len, came: rest.len() }));
            }
            block.next_event += u64::from(record::event_of(rest).is_some());
            at += len;
            block.ends.push(u32::try_from(at).unwrap_or(u32::MAX));
        }
        if at != block.frames.len() {
            return Err(BlockError::Length { expected: at, came: block.frames.len() });
        }
        let mention = |bytes: &[u8]| {
            (
                u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
                u16::from_be_bytes([bytes[4], bytes[5]]),
            )
        };
        block.mentions = bytes[frames_end..].chunks_exact(MENTION).map(mention).collect();
        Ok(block)
    }
}

/// Length of the whole block that begins with these bytes; only as right as the bytes are.
pub(super) fn total_len(first: &[u8]) -> Result<usize, BlockError> {
    if first.len() < HEADER {
        return Err(BlockError::Length { expected: HEADER, came: first.len() });
    }
    if first[0] != VERSION {
        return Err(BlockError::Version(first[0]));
    }
    let mentions = usize::from(u16::from_be_bytes([first[19], first[20]]));
    let frames = u32::from_be_bytes([first[21], first[22], first[23], first[24]]) as usize;
    Ok(HEADER + frames + mentions * MENTION)
}

fn checksum(bytes: &[u8], frames_end: usize) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..25]);
    crc.update(bytes.get(frames_end..).unwrap_or_default());
    crc.finalize()
}

#[cfg(test)]
#[path = "tests/block.rs"]
mod tests;
