//! What a frame of version 3 says in public: so much about its record that a claim bundle, which shows of others'
//! records nothing else, can still prove that none of them belongs to the parcel.
//!
//! ```text
//! about = parts, in this order, each at most once; numbers are big-endian
//!   'p' epoch(2) track(4)      the pass the record is of
//!   'r' seq(8) digest(32)      the start of the run in force, its number and the digest of its frame: in the
//!                              record that begins a pass. It says which names the pass was told in, and proves
//!                              them when the day of the start is not kept any more
//! digest(n) = SHA-256( 3 | length of about (1) | about | SHA-256(canonical record n) )
//! ```
//! A pass is two numbers of the PLC: no code, no order, no name.

use super::chain::{Digest, HASH_BYTES};
use crate::line::PassKey;

/// What the digest of an outlined record begins with: no digest of version 2 does.
const OUTLINED: u8 = 3;

const PASS: u8 = b'p';
const PASS_BYTES: usize = 6;
const RUN: u8 = b'r';
const RUN_BYTES: usize = 8 + HASH_BYTES;

/// Bytes of all parts together, at most.
const ABOUT_MOST: usize = 2 + PASS_BYTES + RUN_BYTES;

/// What a record is about, for whoever may not see the record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct About {
    /// The pass it is of.
    pub pass: Option<PassKey>,
    /// The start of the run in force.
    pub run: Option<RunStart>,
}

/// Names the start of a run by its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunStart {
    /// Its record.
    pub seq: u64,
    /// Digest of its frame.
    pub digest: Digest,
}

impl About {
    /// As it stands in a frame.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ABOUT_MOST);
        if let Some(PassKey { epoch, track }) = self.pass {
            bytes.push(PASS);
            bytes.extend_from_slice(&epoch.to_be_bytes());
            bytes.extend_from_slice(&track.to_be_bytes());
        }
        if let Some(RunStart { seq, digest }) = self.run {
            bytes.push(RUN);
            bytes.extend_from_slice(&seq.to_be_bytes());
            bytes.extend_from_slice(&digest.0);
        }
        bytes
    }

    /// Reads all of it; `None`: there is something that is not known here.
    pub fn read(bytes: &[u8]) -> Option<About> {
        let mut about = About::default();
        let mut rest = bytes;
        if let Some((pass, behind)) = part(rest, PASS, PASS_BYTES) {
            let (epoch, track) = pass.split_first_chunk::<2>()?;
            let track = u32::from_be_bytes(track.try_into().ok()?);
            about.pass = Some(PassKey { epoch: u16::from_be_bytes(*epoch), track });
            rest = behind;
        }
        if let Some((run, behind)) = part(rest, RUN, RUN_BYTES) {
            let (seq, digest) = run.split_first_chunk::<8>()?;
            let digest = Digest(digest.try_into().ok()?);
            about.run = Some(RunStart { seq: u64::from_be_bytes(*seq), digest });
            rest = behind;
        }
        rest.is_empty().then_some(about)
    }
}

fn part(bytes: &[u8], kind: u8, len: usize) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if *first == kind { rest.split_at_checked(len) } else { None }
}

/// Digest of a record of which only this much is shown: what it is about, and the digest of its canonical form.
pub fn outlined(about: &[u8], canonical: &Digest) -> Digest {
    // `ABOUT_MOST` is far below.
    let length = u8::try_from(about.len()).unwrap_or(u8::MAX);
    Digest::of(&[&[OUTLINED, length], about, &canonical.0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read_and_nothing_else() {
        let pass = Some(PassKey { epoch: 3, track: 70_000 });
        let run = Some(RunStart { seq: 258, digest: Digest([0xaa; HASH_BYTES]) });
        for about in
            [About::default(), About { pass, run: None }, About { pass: None, run }, About { pass, run }]
        {
            let bytes = about.bytes();
            assert_eq!(About::read(&bytes), Some(about));
            for cut in 1..bytes.len() {
                let read = About::read(&bytes[..cut]);
                assert_ne!(read, Some(about), "cut to {cut}");
            }
            assert_eq!(About::read(&[&bytes[..], b"x"].concat()), None);
            assert_eq!(
                About::read(&[&bytes[..], &About { pass, run: None }.bytes()].concat()).is_some(),
                bytes.is_empty()
            );
        }
    }

    /// Worked out with another program (Python's `hashlib`) from the formula above; never to be changed.
    #[test]
    fn frozen_digest_of_an_outlined_record() {
        let about = About { pass: Some(PassKey { epoch: 1, track: 70_000 }), run: None };
        assert_eq!(about.bytes(), [b'p', 0, 1, 0, 1, 0x11, 0x70]);
        let digest = outlined(&about.bytes(), &Digest([0xbb; HASH_BYTES]));
        assert_eq!(digest.to_string(), "a1985b8c7bf49db93a3ead335dd190a19151e9249da0d7023106f58394e0ac6d");
        assert_ne!(outlined(&[], &Digest([0xbb; HASH_BYTES])), digest);
    }
}
