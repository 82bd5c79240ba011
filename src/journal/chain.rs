//! The chain over records: what makes a change of any of them show in all that follow.
//!
//! ```text
//! digest(n) = SHA-256(canonical record n)          canonical: ver | seq | event seq | len | body
//!             of version 3: with what it says in public around it, see [`super::about`]
//! link(n)   = SHA-256(link(n-1) | digest(n))       link before the first record: a genesis
//! genesis   = SHA-256("sortd chain genesis" | epoch | first seq | last link known before)
//! ```
//! Numbers are big-endian. Two steps, so that a claim bundle proves a few records with no more than the
//! digests of those between them: what the others said stays at home.
//!
//! A chain begins with a genesis at each new epoch, and where the first day of layout 2 follows records
//! that were written before there was a chain. It names the last link known before it, or zeroes, so that
//! what went before cannot be exchanged either. From day to day within an epoch the chain goes on.
//!
//! Nothing here reads a file or a clock.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// Bytes of a digest and of a link.
pub const HASH_BYTES: usize = 32;

/// Keeps a genesis from ever being taken for a link.
const GENESIS: &[u8] = b"sortd chain genesis";

/// SHA-256 over a canonical record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Digest(pub [u8; HASH_BYTES]);

/// The chain up to and with one record, or a genesis.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Link(pub [u8; HASH_BYTES]);

impl Digest {
    /// Of a record given in parts that follow each other.
    pub fn of(parts: &[&[u8]]) -> Digest {
        Digest(hash(parts))
    }
}

impl Link {
    /// Where nothing is known before.
    pub const UNKNOWN: Link = Link([0; HASH_BYTES]);

    /// The link before record `first_seq`, the first one of `epoch` that is chained. `before` is the last
    /// link of what went before, [`Link::UNKNOWN`] where there is none.
    pub fn genesis(epoch: u64, first_seq: u64, before: Link) -> Link {
        Link(hash(&[GENESIS, &epoch.to_be_bytes(), &first_seq.to_be_bytes(), &before.0]))
    }

    /// The link of the record that follows.
    pub fn next(&self, digest: &Digest) -> Link {
        Link(hash(&[&self.0, &digest.0]))
    }
}

/// Where the next record goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tip {
    /// Behind the last record.
    After(Link),
    /// A chain begins; this is the last link known before.
    Severed(Link),
}

impl Tip {
    /// The link before record `first_seq` of `epoch`, which is the next one.
    pub fn before(self, epoch: u64, first_seq: u64) -> Link {
        match self {
            Tip::After(link) => link,
            Tip::Severed(before) => Link::genesis(epoch, first_seq, before),
        }
    }

    /// A new epoch begins.
    pub fn severed(self) -> Tip {
        let (Tip::After(link) | Tip::Severed(link)) = self;
        Tip::Severed(link)
    }
}

fn hash(parts: &[&[u8]]) -> [u8; HASH_BYTES] {
    use sha2::Digest as _;
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked out with another program (Python's `hashlib`) from the formulas above; never to be changed.
    #[test]
    fn frozen_links() {
        let genesis = Link::genesis(1_795_305_600, 258, Link::UNKNOWN);
        assert_eq!(genesis.to_string(), "ad8043a0a95bda79fa46a643269fd4343ef9a38cdeea107f247ab8e0db301a75");
        let digest = Digest::of(&[b"rec", b"ord"]);
        assert_eq!(digest.to_string(), "70ce871f8a3d3fb449bc3c3ace6547cef02dfc74ffe48d912532a724bfdbe5b9");
        assert_eq!(
            genesis.next(&digest).to_string(),
            "04beedd4866f87ffed2a193b01139c68d8c83560cd4ccf787732caf7dfe77580"
        );
    }

    #[test]
    fn what_went_before_shows_in_every_link() {
        let digests: Vec<Digest> = (0..5_u8).map(|n| Digest::of(&[&[n]])).collect();
        let chain =
            |first: Link, digests: &[Digest]| digests.iter().fold(first, |link, digest| link.next(digest));
        let first = Link::genesis(1, 1, Link::UNKNOWN);
        let last = chain(first, &digests);
        for n in 0..digests.len() {
            let mut other = digests.clone();
            other[n] = Digest::of(&[b"other"]);
            assert_ne!(chain(first, &other), last, "record {n} altered");
            other.remove(n);
            assert_ne!(chain(first, &other), last, "record {n} left out");
        }
        let mut swapped = digests.clone();
        swapped.swap(1, 2);
        assert_ne!(chain(first, &swapped), last);
        for other in [
            Link::genesis(2, 1, Link::UNKNOWN),
            Link::genesis(1, 2, Link::UNKNOWN),
            Link::genesis(1, 1, last),
        ] {
            assert_ne!(chain(other, &digests), last);
        }
    }
}
