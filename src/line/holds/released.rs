//! What was released, and with which revision, so that an older hold that comes once more does not hold it again.
//!
//! Apart from the holds in force, and far more of them: a release is remembered for [`KEPT_MS`], the youngest
//! [`RELEASES_MOST`] of them. Room is made by forgetting the oldest, but none that is younger than [`YOUNG_MS`]: rather
//! is one more release refused, with that reason, than a parcel held again that somebody has released.
//!
//! Each is a digest of what it is on, a revision and a time: 28 bytes in a snapshot.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::line::Tick;
use crate::line::event::HoldOn;

/// Most that are remembered: of some holds in a thousand parcels, those of weeks.
pub const RELEASES_MOST: usize = 100_000;

/// How long one is remembered: 30 days. No broker and no upstream repeats a message for longer.
pub const KEPT_MS: u64 = 30 * DAY_MS;

/// None is forgotten for others before this: 7 days.
pub const YOUNG_MS: u64 = 7 * DAY_MS;

const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// 128 bits of SHA-256 of what is released. Two of a hundred thousand that are alike by chance are not to be expected
/// in the life of all lines.
type Name = [u8; 16];

/// A release in a snapshot: name, revision, time.
const STORED: usize = size_of::<Name>() + size_of::<u32>() + size_of::<u64>();

/// The releases.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Released {
    revisions: BTreeMap<Name, (u32, Tick)>,
    by_time: BTreeSet<(Tick, Name)>,
}

fn name_of(on: &HoldOn) -> Name {
    let (kind, text) = match on {
        HoldOn::Order(order) => (b"o", order),
        HoldOn::Code(code) => (b"c", code),
    };
    let digest: [u8; 32] = Sha256::new().chain_update(kind).chain_update(text).finalize().into();
    let mut name = Name::default();
    name.copy_from_slice(&digest[..size_of::<Name>()]);
    name
}

impl Released {
    /// The revision it was released with.
    pub fn revision(&self, on: &HoldOn) -> Option<u32> {
        if self.revisions.is_empty() {
            return None;
        }
        self.revisions.get(&name_of(on)).map(|(revision, _)| *revision)
    }

    /// Remembers a release; `false` if there is no room, because all of them are young.
    pub fn remember(&mut self, on: &HoldOn, revision: u32, now: Tick) -> bool {
        let name = name_of(on);
        let forget_before = |age_ms: u64| Tick(now.0.saturating_sub(age_ms * 1_000));
        let is_known = self.revisions.contains_key(&name);
        while let Some((at, oldest)) = self.by_time.first().copied() {
            let is_full = !is_known && self.revisions.len() >= RELEASES_MOST;
            if at >= forget_before(KEPT_MS) && !(is_full && at < forget_before(YOUNG_MS)) {
                break;
            }
            self.by_time.pop_first();
            self.revisions.remove(&oldest);
        }
        if !is_known && self.revisions.len() >= RELEASES_MOST {
            return false;
        }
        self.insert(name, revision, now);
        true
    }

    /// It is held again: its revision is known by the hold.
    pub fn forget(&mut self, on: &HoldOn) {
        if self.revisions.is_empty() {
            return;
        }
        let name = name_of(on);
        if let Some((_, at)) = self.revisions.remove(&name) {
            self.by_time.remove(&(at, name));
        }
    }

    fn insert(&mut self, name: Name, revision: u32, at: Tick) {
        if let Some((_, before)) = self.revisions.insert(name, (revision, at)) {
            self.by_time.remove(&(before, name));
        }
        self.by_time.insert((at, name));
    }
}

impl Serialize for Released {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(self.revisions.len() * STORED);
        for (name, (revision, at)) in &self.revisions {
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(&revision.to_be_bytes());
            bytes.extend_from_slice(&at.0.to_be_bytes());
        }
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for Released {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Released, D::Error> {
        // Bytes and a list of bytes are stored alike.
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        if bytes.len() % STORED != 0 || bytes.len() / STORED > RELEASES_MOST {
            return Err(D::Error::invalid_length(bytes.len(), &"releases of 28 bytes each, at most 100,000"));
        }
        let mut released = Released::default();
        for one in bytes.chunks_exact(STORED) {
            let (name, rest) = one.split_at(size_of::<Name>());
            let (revision, at) = rest.split_at(size_of::<u32>());
            let wrong = |_| D::Error::custom("a release is 28 bytes long");
            let revision = u32::from_be_bytes(revision.try_into().map_err(wrong)?);
            let at = u64::from_be_bytes(at.try_into().map_err(wrong)?);
            released.insert(name.try_into().map_err(wrong)?, revision, Tick(at));
        }
        Ok(released)
    }
}
