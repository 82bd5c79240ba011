//! Holds that upstream sets and releases apart from orders: by order number, or by a code on the parcel.
//!
//! A hold is in force from the moment it is applied: for every parcel that is not decided, and for those on
//! their way whose point of no return is still ahead. It need not know its order: a hold that comes before
//! the order waits for it. What was released is remembered ([`Released`]), so that a repeated older message
//! does not hold it again.
//!
//! The table is a part of every snapshot of the core, whole: a decision that is taken again must meet the
//! same holds, and they are few (some in a thousand parcels).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod released;

pub use self::released::{RELEASES_MOST, Released, YOUNG_MS};
use super::PassKey;
use super::Tick;
use super::actions::Actions;
use super::core::{Core, fact_of};
use super::decide::held;
use super::event::{Hold, HoldBatch, HoldOn, HoldOrder, Order};
use super::outcome::Reason;
use super::record::Fact;
use super::state::{Pass, Phase};
use crate::identify::{CarrierRules, Key, NoParcel, key_of_order_code};

/// Holds in force at most. A million active orders have some thousands of them; each snapshot carries them all.
pub const HOLDS_MOST: usize = 10_000;

/// Holds in force, by what they are on. The code is a key, so that it is met in whatever form it is read.
pub type InForce = BTreeMap<HoldOn, Held>;

/// Holds in force, and what was released. A snapshot has the two one after the other; until layout 4 the releases
/// stood among the holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HoldTable {
    in_force: InForce,
    released: Released,
}

/// What is known of a hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Newest revision that was told.
    pub revision: Option<u32>,
    /// Why it is held. `None`, released, stands only in snapshots up to layout 4.
    pub hold: Option<Hold>,
    /// What upstream says to people about it.
    pub reason: Option<String>,
    /// Who asked for it.
    pub by: Option<String>,
    /// When this was applied.
    pub at: Tick,
}

/// Why a hold was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HoldRefusal {
    /// The code names no parcel.
    #[error("{0}")]
    NoParcel(#[from] NoParcel),
    /// Full of holds that are in force.
    #[error("{HOLDS_MOST} holds are in force already; release some first")]
    Full,
    /// Too many were released of late.
    #[error(
        "{RELEASES_MOST} releases are remembered, none of them older than {} days; what is held stays held",
        YOUNG_MS / 86_400_000
    )]
    ManyReleases,
}

impl HoldTable {
    /// As a snapshot has it.
    pub fn new(mut in_force: InForce, mut released: Released) -> HoldTable {
        for (on, held) in in_force.extract_if(.., |_, held| held.hold.is_none()) {
            if let Some(revision) = held.revision {
                released.remember(&on, revision, held.at);
            }
        }
        HoldTable { in_force, released }
    }

    /// For a snapshot.
    pub fn parts(&self) -> (&InForce, &Released) {
        (&self.in_force, &self.released)
    }

    /// Applies a hold or a release; `Some` with what it is on, as a key, where that changed anything.
    pub fn apply(
        &mut self,
        hold: &HoldOrder,
        rules: &CarrierRules,
        now: Tick,
    ) -> Result<Option<HoldOn>, HoldRefusal> {
        let on = match &hold.on {
            HoldOn::Order(order) => HoldOn::Order(order.clone()),
            HoldOn::Code(code) => HoldOn::Code(key_of_order_code(rules, code)?.0),
        };
        let known = self.in_force.get(&on);
        let known_revision = match known {
            Some(known) => known.revision,
            None => self.released.revision(&on),
        };
        if hold.revision.is_some() && hold.revision <= known_revision {
            return Ok(None);
        }
        let revision = hold.revision.or(known_revision);
        if hold.hold.is_none() {
            let is_news = known.is_some() || revision > known_revision;
            if let Some(revision) = revision
                && !self.released.remember(&on, revision, now)
            {
                return Err(HoldRefusal::ManyReleases);
            }
            self.in_force.remove(&on);
            return Ok(is_news.then_some(on));
        }
        let told =
            Held { revision, hold: hold.hold, reason: hold.reason.clone(), by: hold.by.clone(), at: now };
        if known.is_some_and(|known| Held { at: now, ..known.clone() } == told) {
            return Ok(None);
        }
        if known.is_none() && self.in_force.len() >= HOLDS_MOST {
            return Err(HoldRefusal::Full);
        }
        self.released.forget(&on);
        self.in_force.insert(on.clone(), told);
        Ok(Some(on))
    }

    /// Takes a hold of the register, unless something is known of it already: what the core knows is as new.
    pub fn load(&mut self, hold: &HoldOrder, rules: &CarrierRules, at: Tick) -> Result<(), HoldRefusal> {
        let on = match &hold.on {
            HoldOn::Order(_) => hold.on.clone(),
            HoldOn::Code(code) => HoldOn::Code(key_of_order_code(rules, code)?.0),
        };
        let is_known = self.in_force.contains_key(&on) || self.released.revision(&on).is_some();
        if is_known { Ok(()) } else { self.apply(hold, rules, at).map(|_| ()) }
    }

    /// Holds in force.
    pub fn in_force(&self) -> u64 {
        self.in_force.len() as u64
    }

    fn on_order(&self, order: &str) -> Option<(&HoldOn, &Held)> {
        if self.in_force.is_empty() {
            return None;
        }
        self.in_force.get_key_value(&HoldOn::Order(order.to_owned()))
    }

    fn on_key(&self, key: &Key) -> Option<(&HoldOn, &Held)> {
        if self.in_force.is_empty() {
            return None;
        }
        self.in_force.get_key_value(&HoldOn::Code(key.0.clone()))
    }

    /// The hold that is in force for a parcel of this order, or that shows one of these keys.
    pub fn for_parcel<'a>(
        &self,
        order: Option<&str>,
        mut keys: impl Iterator<Item = &'a Key>,
    ) -> Option<(&HoldOn, &Held)> {
        order.and_then(|order| self.on_order(order)).or_else(|| keys.find_map(|key| self.on_key(key)))
    }
}

impl Core {
    pub(super) fn holds_came(&mut self, now: Tick, batch: &HoldBatch, out: &mut Actions) {
        let (mut accepted, mut refused) = (0, 0);
        for hold in &batch.holds {
            match self.holds.apply(hold, &self.site.carriers, now) {
                Ok(changed) => {
                    accepted += 1;
                    if let Some(on) = changed {
                        self.hold_changed(now, &on, out);
                    }
                }
                Err(why) => {
                    refused += 1;
                    self.count("hold_refused");
                    let (message, on, why) = (batch.message.clone(), hold.on.clone(), why.to_string());
                    fact_of(now, Fact::HoldRefused { message, on, why }, out);
                }
            }
        }
        let fact = Fact::HoldsApplied { message: batch.message.clone(), last: batch.last, accepted, refused };
        fact_of(now, fact, out);
    }

    /// Every parcel that it is on and that can still go elsewhere is weighed again.
    fn hold_changed(&mut self, now: Tick, on: &HoldOn, out: &mut Actions) {
        let is_on = |pass: &Pass| match on {
            HoldOn::Order(number) => pass.keys().any(|key| self.orders.is_of(key, number)),
            HoldOn::Code(code) => pass.keys().any(|key| key.0 == *code),
        };
        let touched: Vec<PassKey> = self
            .state
            .passes
            .iter()
            .filter(|(_, pass)| matches!(pass.phase, Phase::AwaitingOrder | Phase::Bound(_)) && is_on(pass))
            .map(|(key, _)| *key)
            .collect();
        for key in touched {
            self.order_revised(now, key, out);
        }
    }

    /// Holds known from before this run.
    pub fn load_hold(&mut self, hold: &HoldOrder, at: Tick) {
        if self.holds.load(hold, &self.site.carriers, at).is_err() {
            self.count("hold_refused");
        }
    }

    /// Why a parcel of this order must not be sorted: its order says so, or a hold that is on it.
    pub(super) fn held_back(&self, key: PassKey, order: &Order) -> Option<Reason> {
        held(order).or_else(|| {
            let pass = self.state.passes.get(&key)?;
            let (_, found) = self.holds.for_parcel(Some(&order.order), pass.keys())?;
            found.hold.map(Hold::reason)
        })
    }

    /// Why a parcel must not be sorted that no order names.
    pub(super) fn held_unknown(&self, key: PassKey) -> Option<Reason> {
        let pass = self.state.passes.get(&key)?;
        let (_, found) = self.holds.for_parcel(None, pass.keys())?;
        found.hold.map(Hold::reason)
    }

    /// Says which hold the decision that follows obeys.
    pub(super) fn say_held(&self, now: Tick, key: PassKey, reason: Reason, out: &mut Actions) {
        let Some(pass) = self.state.passes.get(&key) else { return };
        let order = pass.identity.as_ref().and_then(|identity| self.orders.bound(&identity.key));
        if order.as_ref().is_some_and(|order| held(order).is_some()) {
            // The order itself says so, and stands in the decision.
            return;
        }
        let order = order.as_ref().map(|order| order.order.as_str());
        let Some((on, held)) = self.holds.for_parcel(order, pass.keys()) else { return };
        let Some(hold) = held.hold.filter(|hold| hold.reason() == reason) else { return };
        let (on, revision) = (on.clone(), held.revision);
        let (why, by) = (held.reason.clone(), held.by.clone());
        fact_of(now, Fact::Held { pass: key, on, revision, hold, why, by }, out);
    }
}

#[cfg(test)]
mod tests;
