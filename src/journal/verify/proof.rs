//! The two questions a proof is made of, answered without any store: does the chain lead from here to there,
//! and does an anchor say the same?
//!
//! A claim bundle shows the records of one parcel as whole frames and the digests of those between; the
//! chain is walked over both, from the link before the first to the link of a signed anchor.

use super::frame::{Frame, FrameFault};
use crate::journal::anchor::Anchor;
use crate::journal::chain::{Digest, Link};
use crate::journal::signing::{KeyId, PublicKey};

/// A place in the chain: after record `seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Record number; one less than the first record's, before it.
    pub seq: u64,
    /// The chain up to and with that record.
    pub link: Link,
}

/// A record as it is shown for a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// All of it: the bytes of its frame, version 2.
    Frame(&'a [u8]),
    /// Only what the chain is made of.
    Digest(Digest),
}

/// Where and why a chain breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// Bytes that are no frame, at the place of this record.
    #[error("record {seq}: {fault}")]
    Frame {
        /// The record expected there.
        seq: u64,
        /// What is wrong.
        fault: FrameFault,
    },
    /// Another record.
    #[error("record {expected} expected, {came} came")]
    Number {
        /// The record expected there.
        expected: u64,
        /// The record that came.
        came: u64,
    },
    /// The link in the frame is not the one that follows.
    #[error("record {seq}: the chain up to it is {expected}, but it says {came}")]
    Link {
        /// Record.
        seq: u64,
        /// As it follows from the link before and from the record itself.
        expected: Link,
        /// In the frame.
        came: Link,
    },
    /// A frame without a link, written before there was a chain.
    #[error("record {seq} was written before there was a chain")]
    Unchained {
        /// Record.
        seq: u64,
    },
}

impl ChainFault {
    /// The first record that is not right.
    pub fn seq(&self) -> u64 {
        match self {
            ChainFault::Number { expected, .. } => *expected,
            ChainFault::Frame { seq, .. } | ChainFault::Link { seq, .. } | ChainFault::Unchained { seq } => {
                *seq
            }
        }
    }
}

/// Walks the chain from a place over the records that follow it, without gap, and gives where it arrives.
pub fn chain_of<'a>(from: Place, steps: impl IntoIterator<Item = Step<'a>>) -> Result<Place, ChainFault> {
    steps.into_iter().try_fold(from, |place, step| {
        let seq = place.seq + 1;
        let link = match step {
            Step::Digest(digest) => place.link.next(&digest),
            Step::Frame(bytes) => {
                let frame = Frame::parse(bytes).map_err(|fault| ChainFault::Frame { seq, fault })?;
                follow(place, &frame)?
            }
        };
        Ok(Place { seq, link })
    })
}

/// The link after `frame`, which must be the record after `place` and say that link itself.
pub(super) fn follow(place: Place, frame: &Frame<'_>) -> Result<Link, ChainFault> {
    let seq = place.seq + 1;
    if frame.seq != seq {
        return Err(ChainFault::Number { expected: seq, came: frame.seq });
    }
    let came = frame.link.ok_or(ChainFault::Unchained { seq })?;
    let expected = place.link.next(&frame.digest());
    if came == expected { Ok(came) } else { Err(ChainFault::Link { seq, expected, came }) }
}

/// Why an anchor proves nothing here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnchorFault {
    /// The signature is not over what it says.
    #[error("anchor {number} at record {seq}: its signature does not fit what it says")]
    Forged {
        /// Number of the anchor.
        number: u64,
        /// Record it speaks of.
        seq: u64,
    },
    /// Signed by another key than the one that is trusted.
    #[error("anchor {number} at record {seq} is signed by key {came}, not by {expected}")]
    Key {
        /// Number of the anchor.
        number: u64,
        /// Record it speaks of.
        seq: u64,
        /// The trusted key.
        expected: KeyId,
        /// The key of the anchor.
        came: KeyId,
    },
    /// It speaks of another record.
    #[error("anchor {number} speaks of record {seq}, the chain arrives at {arrived}")]
    Place {
        /// Number of the anchor.
        number: u64,
        /// Record it speaks of.
        seq: u64,
        /// Where the chain arrives.
        arrived: u64,
    },
    /// The records are not those that were there when it was made.
    #[error("anchor {number} at record {seq}: the chain was {expected} when it was signed, now it is {came}")]
    Mismatch {
        /// Number of the anchor.
        number: u64,
        /// Record it speaks of.
        seq: u64,
        /// The anchor's link.
        expected: Link,
        /// The chain's.
        came: Link,
    },
}

/// Whether an anchor is signed, and, where a key is trusted, by that key. Without a trusted key this says
/// only that the anchor was not changed since whoever holds the named key signed it.
pub fn check_signature(anchor: &Anchor, trusted: Option<&PublicKey>) -> Result<(), AnchorFault> {
    let (number, seq) = (anchor.claim.number, anchor.claim.seq);
    if !anchor.is_genuine() {
        return Err(AnchorFault::Forged { number, seq });
    }
    match trusted {
        Some(key) if *key != anchor.claim.public_key => {
            Err(AnchorFault::Key { number, seq, expected: key.id(), came: anchor.key_id() })
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether an anchor speaks of `place` and says the same of it. Check its signature, too.
pub fn check_anchor(anchor: &Anchor, place: &Place) -> Result<(), AnchorFault> {
    let (number, seq) = (anchor.claim.number, anchor.claim.seq);
    if seq != place.seq {
        return Err(AnchorFault::Place { number, seq, arrived: place.seq });
    }
    if anchor.claim.link != place.link {
        return Err(AnchorFault::Mismatch { number, seq, expected: anchor.claim.link, came: place.link });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::frame::testing::frame;
    use super::*;

    /// Frames of records 10 to 19 after `start`, and the place behind the last.
    fn frames(start: Place) -> (Vec<Vec<u8>>, Place) {
        let mut link = start.link;
        let frames = (1..=10).map(|n| {
            let (bytes, next) = frame(start.seq + n, 0, link, format!("record {n}").as_bytes());
            link = next;
            bytes
        });
        let frames: Vec<_> = frames.collect();
        (frames, Place { seq: start.seq + 10, link })
    }

    #[test]
    fn a_chain_of_frames_and_bare_digests_arrives_at_the_same_place() {
        let start = Place { seq: 9, link: Link::genesis(1, 1, Link::UNKNOWN) };
        let (frames, end) = frames(start);
        let digest = |bytes: &Vec<u8>| Step::Digest(Frame::parse(bytes).unwrap().digest());
        assert_eq!(chain_of(start, frames.iter().map(|bytes| Step::Frame(bytes))), Ok(end));
        assert_eq!(chain_of(start, frames.iter().map(digest)), Ok(end));
        let some = frames.iter().enumerate().map(|(n, bytes)| match n {
            2 | 7 => Step::Frame(bytes),
            _ => digest(bytes),
        });
        assert_eq!(chain_of(start, some), Ok(end));
    }

    #[test]
    fn what_is_shown_otherwise_than_it_was_breaks_at_its_place() {
        let start = Place { seq: 9, link: Link::genesis(1, 1, Link::UNKNOWN) };
        let (good, end) = frames(start);
        let steps = |frames: &[Vec<u8>]| chain_of(start, frames.iter().map(|bytes| Step::Frame(bytes)));
        for n in 0..good.len() {
            let seq = 10 + n as u64;
            let mut bad = good.clone();
            *bad[n].last_mut().unwrap() ^= 1;
            assert_eq!(steps(&bad).unwrap_err().seq(), seq, "altered");
            let mut bad = good.clone();
            bad.remove(n);
            if n + 1 < good.len() {
                assert_eq!(steps(&bad), Err(ChainFault::Number { expected: seq, came: seq + 1 }));
            }
            // Another record with a right CRC and a link of its own making.
            let mut bad = good.clone();
            bad[n] = frame(seq, 0, Link([9; 32]), b"another").0;
            assert_eq!(steps(&bad).unwrap_err().seq(), seq, "exchanged");
        }
        let wrong = good.iter().map(|_| Step::Digest(Digest::of(&[b"x"])));
        assert_ne!(chain_of(start, wrong), Ok(end));
    }
}
