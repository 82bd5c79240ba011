//! Frames of records as the verifier reads them: from the bytes alone, sharing nothing with the code that
//! wrote them, so that a fault there is found here and not repeated.
//!
//! ```text
//! version 1:  1 | seq u64 | event seq u64 | len u32 | crc32 u32 |             body
//! version 2:  2 | seq u64 | event seq u64 | len u32 | crc32 u32 | link [32] | body
//! version 3:  3 | seq u64 | event seq u64 | len u32 | crc32 u32 | link [32] | n u8 | about [n] | body
//! ```
//! Numbers are big-endian. The CRC is over everything but itself. The *canonical record*, of which the chain
//! is made, is everything but CRC, link and about; of version 3 the chain takes the digest of 3, n, about and the
//! canonical record's digest.

use crate::journal::chain::{Digest, Link};

/// Version, numbers and length.
const PREFIX: usize = 21;
const CRC: usize = 4;
const LINK: usize = 32;

/// A frame, its CRC checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Record number.
    pub seq: u64,
    /// Number among milestones; 0 for everything else.
    pub event_seq: u64,
    /// The chain up to and with this record as the frame says; `None` in version 1.
    pub link: Option<Link>,
    prefix: &'a [u8],
    /// With its length before it; empty before version 3.
    about: &'a [u8],
    body: &'a [u8],
}

/// Why bytes are no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// More or fewer bytes than it says.
    #[error("a frame of {expected} bytes expected, {came} came")]
    Length {
        /// As the header says, or a header's own length.
        expected: usize,
        /// Bytes at hand.
        came: usize,
    },
    /// No version known here.
    #[error("frame version {0} is not known here (1 to 3 are)")]
    Version(u8),
    /// The checksum does not agree.
    #[error("its CRC32 is {expected:08x}, but its bytes make {came:08x}")]
    Crc {
        /// In the header.
        expected: u32,
        /// Over the bytes.
        came: u32,
    },
}

impl<'a> Frame<'a> {
    /// Reads exactly one frame.
    pub fn parse(bytes: &'a [u8]) -> Result<Frame<'a>, FrameFault> {
        let came = bytes.len();
        let short = |expected| FrameFault::Length { expected, came };
        let (prefix, rest) = bytes.split_at_checked(PREFIX).ok_or_else(|| short(PREFIX + CRC))?;
        let (crc, rest) = rest.split_at_checked(CRC).ok_or_else(|| short(PREFIX + CRC))?;
        let linked = || rest.split_at_checked(LINK).ok_or_else(|| short(PREFIX + CRC + LINK));
        let (link, rest) = match prefix[0] {
            1 => (&rest[..0], rest),
            2 | 3 => linked()?,
            version => return Err(FrameFault::Version(version)),
        };
        let (about, body) = match (prefix[0], rest.first()) {
            (3, Some(n)) => {
                let length = 1 + usize::from(*n);
                rest.split_at_checked(length).ok_or_else(|| short(PREFIX + CRC + LINK + length))?
            }
            (3, None) => return Err(short(PREFIX + CRC + LINK + 1)),
            (_, _) => (&rest[..0], rest),
        };
        let expected = number(&prefix[17..]);
        if expected != body.len() as u64 {
            let expected = usize::try_from(expected).unwrap_or(usize::MAX);
            return Err(short(expected.saturating_add(PREFIX + CRC + link.len() + about.len())));
        }
        let mut hasher = crc32fast::Hasher::new();
        for part in [prefix, link, about, body] {
            hasher.update(part);
        }
        let (crc, came) = (u32::from_be_bytes([crc[0], crc[1], crc[2], crc[3]]), hasher.finalize());
        if crc != came {
            return Err(FrameFault::Crc { expected: crc, came });
        }
        let link = <[u8; LINK]>::try_from(link).ok().map(Link);
        Ok(Frame { seq: number(&prefix[1..9]), event_seq: number(&prefix[9..17]), link, prefix, about, body })
    }

    /// The digest that the chain is made of.
    pub fn digest(&self) -> Digest {
        let canonical = Digest::of(&[self.prefix, self.body]);
        if self.about.is_empty() { canonical } else { Digest::of(&[&[3], self.about, &canonical.0]) }
    }

    /// Time and contents, in bincode.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }
}

/// Big-endian bytes, at most eight, as a number.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// Makes frames for tests.
#[cfg(test)]
pub(in crate::journal) mod testing {
    use super::*;

    /// A frame of version 2, with the link that follows `before`.
    pub fn frame(seq: u64, event_seq: u64, before: Link, body: &[u8]) -> (Vec<u8>, Link) {
        let mut prefix = vec![2];
        prefix.extend_from_slice(&seq.to_be_bytes());
        prefix.extend_from_slice(&event_seq.to_be_bytes());
        prefix.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
        let link = before.next(&Digest::of(&[&prefix, body]));
        (seal(&prefix, &link.0, body), link)
    }

    /// Puts a right CRC into a frame of these parts.
    pub fn seal(prefix: &[u8], link: &[u8], body: &[u8]) -> Vec<u8> {
        let crc = crc32fast::hash(&[prefix, link, body].concat());
        [prefix, &crc.to_be_bytes(), link, body].concat()
    }

    /// A frame of version 3, with the link that follows `before`.
    pub fn frame_about(seq: u64, before: Link, about: &[u8], body: &[u8]) -> (Vec<u8>, Link) {
        let mut prefix = vec![3];
        prefix.extend_from_slice(&seq.to_be_bytes());
        prefix.extend_from_slice(&0_u64.to_be_bytes());
        prefix.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
        let about = [&[u8::try_from(about.len()).unwrap()], about].concat();
        let canonical = Digest::of(&[&prefix, body]);
        let link = before.next(&Digest::of(&[&[3], &about, &canonical.0]));
        (seal(&prefix, &[&link.0[..], &about].concat(), body), link)
    }

    #[test]
    fn every_changed_byte_of_a_frame_of_version_3_shows() {
        for about in [&b"p123456"[..], &[]] {
            let (frame, link) = frame_about(7, Link([1; 32]), about, b"body");
            let read = Frame::parse(&frame).unwrap();
            assert_eq!((read.seq, read.link, read.body()), (7, Some(link), &b"body"[..]));
            assert_eq!(Link([1; 32]).next(&read.digest()), link);
            for place in 0..frame.len() {
                let mut other = frame.clone();
                other[place] ^= 1;
                assert!(Frame::parse(&other).is_err(), "byte {place}");
                assert!(Frame::parse(&frame[..place]).is_err(), "cut to {place}");
            }
        }
    }

    #[test]
    fn every_changed_byte_of_a_frame_shows() {
        let (frame, link) = frame(7, 3, Link([1; 32]), b"body");
        let read = Frame::parse(&frame).unwrap();
        assert_eq!((read.seq, read.event_seq, read.link, read.body()), (7, 3, Some(link), &b"body"[..]));
        for place in 0..frame.len() {
            let mut other = frame.clone();
            other[place] ^= 1;
            assert!(Frame::parse(&other).is_err(), "byte {place}");
            assert!(Frame::parse(&frame[..place]).is_err(), "cut to {place}");
        }
    }
}
