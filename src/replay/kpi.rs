//! The measures of a shift, as `sortd` defines them everywhere, out of how each pass ended.
//!
//! Passes are counted for sums, parcels for ratios: a parcel is its passes joined by identity; a pass without
//! one is a parcel of its own. Records do not say which parcels carried a fault, so the first-pass ratio is
//! taken over the parcels whose first pass was the plan's to decide: those that were sorted, and those that
//! had no route, no room, or were decided too late.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;

use crate::line::outcome::Reason;

/// Parcels told apart at most: a month of a busy line; each takes some 40 bytes.
pub const PARCELS_MOST: usize = 4_000_000;

/// How a pass ended, or would.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Fate {
    /// In a chute of its destination.
    Sorted {
        /// Which.
        chute: u16,
    },
    /// As an exception.
    Exception {
        /// Why.
        reason: Reason,
    },
    /// Lost.
    Lost,
    /// It would go round once more; what becomes of it then was not recorded.
    Round,
}

impl std::fmt::Display for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fate::Sorted { chute } => write!(f, "chute {chute}"),
            Fate::Exception { reason } => write!(f, "exception {}", reason.name()),
            Fate::Lost => f.write_str("lost"),
            Fate::Round => f.write_str("once more round"),
        }
    }
}

impl Fate {
    /// Someone has to touch it.
    fn touched(self) -> bool {
        match self {
            Fate::Exception { .. } | Fate::Lost => true,
            Fate::Sorted { .. } | Fate::Round => false,
        }
    }

    /// The plan had a say in it.
    fn of_the_plan(self) -> bool {
        match self {
            Fate::Sorted { .. } | Fate::Round => true,
            Fate::Exception { reason } => is_of_the_plan(reason),
            Fate::Lost => false,
        }
    }
}

/// Whether a plan, or the room it leaves, brings this reason about.
pub(super) fn is_of_the_plan(reason: Reason) -> bool {
    matches!(reason, Reason::NoRoute | Reason::ChutesFull | Reason::RecirculationLimit | Reason::LateDecision)
}

/// The measures of a shift.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Kpis {
    /// Passes that began and ended in this time.
    pub passes: u64,
    /// Parcels: passes joined by identity.
    pub parcels: u64,
    /// Passes sorted.
    pub sorted: u64,
    /// Passes that ended as exceptions, by reason.
    pub exceptions: BTreeMap<&'static str, u64>,
    /// Passes lost.
    pub lost: u64,
    /// Passes of which only is known that they would go round once more.
    pub round: u64,
    /// Laps beyond the first.
    pub recirculated: u64,
    /// Passes by chute of their destination.
    pub chutes: BTreeMap<u16, u64>,
    /// Parcels beyond what a chute holds, had its bag been changed when it was.
    pub beyond_capacity: BTreeMap<u16, u64>,
    /// Parcels sorted on their first pass without recirculation ÷ parcels the plan could decide.
    pub first_pass_ratio: Option<f64>,
    /// Distinct parcels touched ÷ parcels.
    pub manual_ratio: Option<f64>,
}

/// What is remembered of a parcel, one bit each.
#[derive(Debug, Clone, Copy, Default)]
struct Parcel(u8);

const TOUCHED: u8 = 1;
const COUNTS_FOR_FIRST: u8 = 2;
const FIRST_PASS: u8 = 4;

/// Counts passes as they end.
#[derive(Debug, Default)]
pub(super) struct Counting {
    kpis: Kpis,
    parcels: HashMap<u64, Parcel>,
    /// Parcels without an identity: all, touched.
    nameless: (u64, u64),
    in_bag: BTreeMap<u16, u64>,
}

impl Counting {
    /// A pass has ended after `laps` beyond the first. `false`: there are too many parcels to tell apart.
    pub fn ended(&mut self, identity: Option<&str>, fate: Fate, laps: u64, capacity: Option<u16>) -> bool {
        let kpis = &mut self.kpis;
        kpis.passes += 1;
        kpis.recirculated += laps;
        match fate {
            Fate::Sorted { chute } => {
                kpis.sorted += 1;
                *kpis.chutes.entry(chute).or_default() += 1;
                let in_bag = self.in_bag.entry(chute).or_default();
                *in_bag += 1;
                if capacity.is_some_and(|capacity| *in_bag > u64::from(capacity)) {
                    *kpis.beyond_capacity.entry(chute).or_default() += 1;
                }
            }
            Fate::Exception { reason } => *kpis.exceptions.entry(reason.name()).or_default() += 1,
            Fate::Lost => kpis.lost += 1,
            Fate::Round => kpis.round += 1,
        }
        let Some(identity) = identity else {
            self.nameless.0 += 1;
            self.nameless.1 += u64::from(fate.touched());
            return true;
        };
        let room = self.parcels.len() < PARCELS_MOST;
        let known = self.parcels.len();
        let name = name_of(identity);
        if !room && !self.parcels.contains_key(&name) {
            return false;
        }
        let parcel = self.parcels.entry(name).or_default();
        if fate.touched() {
            parcel.0 |= TOUCHED;
        }
        // Only its first pass counts here.
        if self.parcels.len() > known && fate.of_the_plan() {
            let first = matches!(fate, Fate::Sorted { .. }) && laps == 0;
            let bits = COUNTS_FOR_FIRST | if first { FIRST_PASS } else { 0 };
            self.parcels.entry(name).or_default().0 |= bits;
        }
        true
    }

    /// An operator had to do with a parcel.
    pub fn touched(&mut self, identity: &str) {
        if let Some(parcel) = self.parcels.get_mut(&name_of(identity)) {
            parcel.0 |= TOUCHED;
        }
    }

    /// The bag or cage of a chute was changed.
    pub fn emptied(&mut self, chute: u16) {
        self.in_bag.remove(&chute);
    }

    pub fn kpis(self) -> Kpis {
        let count = |bit: u8| self.parcels.values().filter(|parcel| parcel.0 & bit != 0).count() as u64;
        let parcels = self.parcels.len() as u64 + self.nameless.0;
        let first_pass_ratio = ratio(count(FIRST_PASS), count(COUNTS_FOR_FIRST));
        let manual_ratio = ratio(count(TOUCHED) + self.nameless.1, parcels);
        Kpis { parcels, first_pass_ratio, manual_ratio, ..self.kpis }
    }
}

fn name_of(identity: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    identity.hash(&mut hasher);
    hasher.finish()
}

#[expect(clippy::cast_precision_loss, reason = "parcels are far below 2^52")]
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parcels_are_joined_and_only_their_first_pass_counts_for_the_first_pass_ratio() {
        let mut counting = Counting::default();
        let repack = Fate::Exception { reason: Reason::Repack };
        let full = Fate::Exception { reason: Reason::ChutesFull };
        let sorted = Fate::Sorted { chute: 3 };
        // Repacked, then sorted: one parcel, touched, and no plan's doing.
        assert!(counting.ended(Some("wb:A"), repack, 0, Some(1)));
        assert!(counting.ended(Some("wb:A"), sorted, 0, Some(1)));
        assert!(counting.ended(Some("wb:B"), sorted, 0, Some(1)));
        assert!(counting.ended(Some("wb:C"), sorted, 1, Some(1)));
        assert!(counting.ended(Some("wb:D"), full, 3, None));
        assert!(counting.ended(None, Fate::Exception { reason: Reason::NoRead }, 0, None));
        counting.touched("wb:B");
        let kpis = counting.kpis();
        assert_eq!((kpis.passes, kpis.parcels, kpis.sorted, kpis.recirculated), (6, 5, 3, 4));
        assert_eq!(kpis.chutes, BTreeMap::from([(3, 3)]));
        assert_eq!(kpis.beyond_capacity, BTreeMap::from([(3, 2)]));
        assert_eq!(kpis.exceptions, BTreeMap::from([("chutes_full", 1), ("no_read", 1), ("repack", 1)]));
        assert_eq!(kpis.first_pass_ratio, Some(1.0 / 3.0), "B of B, C and D");
        assert_eq!(kpis.manual_ratio, Some(4.0 / 5.0), "all but C");
    }
}
