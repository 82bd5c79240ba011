//! From readings to a verdict, from a verdict to a chute, from a chute to a command.

use std::sync::Arc;

use super::actions::Actions;
use super::core::{Core, fact_of};
use super::event::{Hold, Order};
use super::outcome::Reason;
use super::record::{Candidate, Dropped, Fact, Target};
use super::state::{Identity, Phase};
use super::{ChuteNo, PassKey, Tick};
use crate::identify::{Identification, Key, Reading, Verdict, identify, verdict};
use crate::site::{Route, SortPlan};

/// What became of the search for a chute.
pub(super) struct Choice {
    pub(super) to: Target,
    pub(super) alternate: Option<ChuteNo>,
    pub(super) candidates: Vec<Candidate>,
}

impl Core {
    /// A reader has answered for this pass: close its reads if nobody is left to answer, or look again at
    /// what was decided without this answer.
    pub(super) fn answered(&mut self, now: Tick, key: PassKey, out: &mut Actions) {
        let Some(pass) = self.state.passes.get(&key) else { return };
        match pass.phase {
            Phase::Reading => {
                if self.all_answer != 0 && pass.answered & self.all_answer == self.all_answer {
                    self.close_reads(now, key, out);
                }
            }
            Phase::AwaitingOrder | Phase::Bound(_) => self.contradicted(now, key, out),
            Phase::OffCourse { .. } => {}
        }
    }

    /// No reader will report this parcel any more: what do all readings together say?
    pub(super) fn close_reads(&mut self, now: Tick, key: PassKey, out: &mut Actions) {
        let Some(pass) = self.state.passes.get(&key) else { return };
        if let Some(reason) = pass.blemish {
            self.identify_pass(now, key, out);
            self.send_to_exception(now, key, reason, out);
            return;
        }
        if !self.state.orders_loaded && self.unbound_code(key) {
            // An order that is not back yet may claim it.
            self.await_order(now, key, out);
            return;
        }
        match self.verdict_of(key) {
            Verdict::Identity { .. } => {
                self.identify_pass(now, key, out);
                if self.twice_on_belt(now, key, out) {
                    self.send_to_exception(now, key, Reason::AmbiguousCode, out);
                } else {
                    self.route(now, key, out);
                }
            }
            Verdict::NoRead => self.send_to_exception(now, key, Reason::NoRead, out),
            Verdict::MultiRead(keys) if keys.iter().all(|code| self.orders.slot_of(code).is_none()) => {
                // An order to come may say which of them it is; nobody's codes alone are no multi-read.
                self.await_order(now, key, out);
            }
            Verdict::MultiRead(_) => self.send_to_exception(now, key, Reason::MultiRead, out),
            Verdict::Ambiguous(..) => self.send_to_exception(now, key, Reason::AmbiguousCode, out),
        }
    }

    /// It shows a code that no order known so far is bound to.
    fn unbound_code(&self, key: PassKey) -> bool {
        self.state
            .passes
            .get(&key)
            .is_some_and(|pass| pass.keys().any(|code| self.orders.slot_of(code).is_none()))
    }

    /// Another parcel on the belt has the same identity: a label printed twice, or a read that was tied to
    /// the wrong one. Nobody knows which is the real one, so the other is sent to the exception chute too.
    fn twice_on_belt(&mut self, now: Tick, key: PassKey, out: &mut Actions) -> bool {
        let Some(identity) = self.state.passes.get(&key).and_then(|pass| pass.identity.as_ref()) else {
            return false;
        };
        let order = self.orders.slot_of(&identity.key);
        let same =
            |other: &Key| *other == identity.key || order.is_some() && self.orders.slot_of(other) == order;
        let others: Vec<(PassKey, bool)> = self
            .state
            .passes
            .iter()
            .filter(|(other, pass)| {
                **other != key && pass.identity.as_ref().is_some_and(|identity| same(&identity.key))
            })
            .map(|(other, pass)| (*other, pass.may_be_sorted()))
            .collect();
        for (other, may_be_sorted) in &others {
            self.count("identity_twice_on_belt");
            if *may_be_sorted {
                self.redirect(now, *other, Reason::AmbiguousCode, out);
            }
        }
        !others.is_empty()
    }

    fn verdict_of(&self, key: PassKey) -> Verdict {
        let Some(pass) = self.state.passes.get(&key) else { return Verdict::NoRead };
        let readings: Vec<Identification> =
            pass.readings.iter().filter_map(|tied| tied.taken_for.clone()).collect();
        verdict(&readings, |key| self.orders.slot_of(key))
    }

    /// Gives the pass its identity, if its readings name one, and says so once.
    fn identify_pass(&mut self, now: Tick, key: PassKey, out: &mut Actions) {
        let Verdict::Identity { key: identity, uri, carrier } = self.verdict_of(key) else { return };
        let order = self.orders.bound(&identity).map(|order| order.order);
        let Some(pass) = self.state.passes.get_mut(&key) else { return };
        let found = Identity { key: identity, uri, carrier };
        if pass.identity.as_ref() == Some(&found) {
            return;
        }
        pass.identity = Some(found.clone());
        let fact =
            Fact::Identified { pass: key, key: found.key, uri: found.uri, order, carrier: found.carrier };
        fact_of(now, fact, out);
    }

    /// A reading came after the decision: if it now names two parcels, the decision no longer stands.
    fn contradicted(&mut self, now: Tick, key: PassKey, out: &mut Actions) {
        let reason = match self.verdict_of(key) {
            Verdict::MultiRead(_) => Reason::MultiRead,
            Verdict::Ambiguous(..) => Reason::AmbiguousCode,
            Verdict::Identity { key: identity, .. } => {
                let known = self.state.passes.get(&key).and_then(|pass| pass.identity.as_ref());
                if known.is_none_or(|known| known.key == identity) {
                    return;
                }
                Reason::MultiRead
            }
            Verdict::NoRead => return,
        };
        self.redirect(now, key, reason, out);
    }

    /// The identity is known: sends the parcel to a chute, or lets it wait for its order.
    fn route(&mut self, now: Tick, key: PassKey, out: &mut Actions) {
        let order = self
            .state
            .passes
            .get(&key)
            .and_then(|pass| pass.identity.as_ref())
            .and_then(|identity| self.orders.bound(&identity.key));
        match order {
            Some(order) => self.decide(now, key, &order, out),
            None => self.await_order(now, key, out),
        }
    }

    fn await_order(&mut self, now: Tick, key: PassKey, out: &mut Actions) {
        let nearest = self.nearest_deadline_mm(None);
        let Some(pass) = self.state.passes.get_mut(&key) else { return };
        pass.phase = Phase::AwaitingOrder;
        let due = pass.origin + self.pulses(nearest);
        if due <= self.state.belt {
            self.give_up_waiting(now, key, out);
        } else {
            self.reschedule(key, due);
        }
    }

    /// The deadline has come and no order is known.
    pub(super) fn give_up_waiting(&mut self, now: Tick, key: PassKey, out: &mut Actions) {
        let reason = self.held_unknown(key).unwrap_or(if self.state.orders_loaded {
            Reason::UnknownParcel
        } else {
            Reason::Restart
        });
        self.send_to_exception(now, key, reason, out);
    }

    /// The register of orders is back: whoever waits may go on.
    pub(super) fn look_again_at_waiting(&mut self, now: Tick, out: &mut Actions) {
        let waiting: Vec<PassKey> = self
            .state
            .passes
            .iter()
            .filter(|(_, pass)| pass.phase == Phase::AwaitingOrder)
            .map(|(key, _)| *key)
            .collect();
        for key in waiting {
            self.close_reads(now, key, out);
        }
    }

    /// The order of a pass came, or has a new revision.
    pub(super) fn order_revised(&mut self, now: Tick, key: PassKey, out: &mut Actions) {
        let Some(pass) = self.state.passes.get(&key) else { return };
        match pass.phase {
            Phase::AwaitingOrder => self.close_reads(now, key, out),
            Phase::Bound(bound) => self.bound_revised(now, key, bound.to, out),
            Phase::Reading | Phase::OffCourse { .. } => {}
        }
    }

    /// The same for a pass that is decided: every code on it is weighed again.
    fn bound_revised(&mut self, now: Tick, key: PassKey, to: Target, out: &mut Actions) {
        let exception = match self.verdict_of(key) {
            Verdict::Identity { key: identity, .. } => match self.orders.bound(&identity) {
                Some(order) => match self.held_back(key, &order) {
                    Some(reason) => reason,
                    None => {
                        if self.may_still_change(key) && self.bound_elsewhere(key, to, &order) {
                            self.close_reads(now, key, out);
                        }
                        return;
                    }
                },
                None => Reason::UnknownParcel,
            },
            Verdict::NoRead => Reason::UnknownParcel,
            Verdict::MultiRead(_) => Reason::MultiRead,
            Verdict::Ambiguous(..) => Reason::AmbiguousCode,
        };
        match to {
            Target::Chute(_) | Target::Recirculate(_) => self.redirect(now, key, exception, out),
            Target::Exception(..) => {}
        }
    }

    /// Whether a decision no longer fits its order: another destination, or an order that came, or was released
    /// from a hold, while a chute of its destination still lies ahead. Behind the last one it is too late for the
    /// order, not for the decision: that was made in time, and its reason stays the true one.
    fn bound_elsewhere(&mut self, key: PassKey, to: Target, order: &Order) -> bool {
        match to {
            Target::Chute(chute) => !self.takes(chute, order),
            Target::Recirculate(_) => false,
            Target::Exception(_, reason) if is_hold(reason) => {
                let routes = self.plan.routes.get(&order.destination);
                let ahead =
                    routes.is_none_or(|routes| routes.iter().any(|&chute| self.lies_ahead(key, chute)));
                if !ahead {
                    self.count("order_too_late");
                }
                ahead
            }
            Target::Exception(..) => false,
        }
    }

    /// A command for this chute could still come in time.
    fn lies_ahead(&self, key: PassKey, chute: ChuteNo) -> bool {
        let (Some(at), Some(pass)) = (self.chute_at(chute), self.state.passes.get(&key)) else {
            return false;
        };
        self.position_mm(pass) <= i64::from(self.site.chutes[at].decision_mm) - self.reserve_mm()
    }

    /// The rule of six steps, as far as this line has them: hard filters, most room, recirculate, exception.
    fn decide(&mut self, now: Tick, key: PassKey, order: &Order, out: &mut Actions) {
        if let Some(reason) = self.held_back(key, order) {
            self.send_to_exception_of(now, key, reason, Some(self.bound_for(order)), out);
            return;
        }
        let plan = Arc::clone(&self.plan);
        let Some(route) = plan.route_of(&order.traits()) else {
            self.send_to_exception_of(now, key, Reason::NoRoute, Some(order.destination.clone()), out);
            return;
        };
        let choice = self.choose(key, order, route, &|_| 0);
        self.bind(now, key, choice, Some(route.name.to_owned()), out);
    }

    /// See [`super::Line::would_decide`].
    pub(super) fn would_decide(
        &self,
        key: PassKey,
        plan: &SortPlan,
        moved: &dyn Fn(ChuteNo) -> i32,
    ) -> Option<Target> {
        let identity = self.state.passes.get(&key)?.identity.as_ref()?;
        let order = self.orders.bound(&identity.key)?;
        let exception = |reason| Target::Exception(self.site.exception_chute, reason);
        if let Some(reason) = self.held_back(key, &order) {
            return Some(exception(reason));
        }
        let Some(route) = plan.route_of(&order.traits()) else {
            return Some(exception(Reason::NoRoute));
        };
        Some(self.choose(key, &order, route, moved).to)
    }

    /// Among the route's chutes the open one with most room; the next best becomes its alternate. `moved`
    /// says how many parcels more a chute is taken to hold than it does: none, but in a trial.
    fn choose(
        &self,
        key: PassKey,
        order: &Order,
        route: Route<'_>,
        moved: &dyn Fn(ChuteNo) -> i32,
    ) -> Choice {
        let mut candidates: Vec<Candidate> =
            route.chutes.iter().filter_map(|&number| self.candidate(key, number, moved(number))).collect();
        for candidate in &mut candidates {
            if candidate.dropped.is_none() && self.is_kept_from(candidate.chute, route, order) {
                candidate.dropped = Some(Dropped::OtherBag);
            }
        }
        let room = |candidate: &Candidate| {
            i32::from(candidate.capacity)
                - i32::from(candidate.filled)
                - i32::from(candidate.reserved)
                - moved(candidate.chute)
        };
        // Among equals the plan's own order wins: `max_by_key` keeps the last, so the search runs backwards.
        let best = (0..candidates.len())
            .rev()
            .filter(|&at| candidates[at].dropped.is_none())
            .max_by_key(|&at| room(&candidates[at]));
        let Some(best) = best else {
            let to = self.nowhere(key, &candidates);
            return Choice { to, alternate: None, candidates };
        };
        let chosen = candidates[best].chute;
        let chosen_mm = self.chute_at(chosen).map_or(0, |at| self.site.chutes[at].decision_mm);
        let alternate = (0..candidates.len())
            .rev()
            .filter(|&at| at != best && candidates[at].dropped.is_none())
            // The PLC falls back at the first chute, so the alternate must still lie ahead of it.
            .filter(|&at| {
                self.chute_at(candidates[at].chute)
                    .is_some_and(|at| self.site.chutes[at].decision_mm >= chosen_mm)
            })
            .max_by_key(|&at| room(&candidates[at]));
        for (at, candidate) in candidates.iter_mut().enumerate() {
            if candidate.dropped.is_none() && at != best && Some(at) != alternate {
                candidate.dropped = Some(Dropped::LessRoom);
            }
        }
        let alternate = alternate.map(|at| candidates[at].chute);
        Choice { to: Target::Chute(chosen), alternate, candidates }
    }

    fn candidate(&self, key: PassKey, number: ChuteNo, moved: i32) -> Option<Candidate> {
        let at = self.chute_at(number)?;
        let pass = self.state.passes.get(&key)?;
        let (chute, state) = (&self.site.chutes[at], &self.state.chutes[at]);
        let (mut filled, mut reserved) = (state.filled, state.reserved);
        // A pass that is decided again does not stand in its own way.
        if let Phase::Bound(bound) = pass.phase
            && (bound.to == Target::Chute(number) || bound.alternate == Some(number))
        {
            reserved = reserved.saturating_sub(1);
        }
        filled = filled.min(chute.capacity);
        let dropped = if state.locked_by.is_some() {
            Some(Dropped::Locked)
        } else if state.disabled {
            Some(Dropped::Disabled)
        } else if state.failures >= self.site.belt.confirm_failures {
            Some(Dropped::Faulted)
        } else if state.closing_by.is_some() {
            Some(Dropped::Closing)
        } else if state.full_sensor || state.refused_until > self.state.now {
            Some(Dropped::FullSensor)
        } else if i32::from(filled) + i32::from(reserved) + moved.min(0) >= i32::from(chute.capacity) {
            Some(Dropped::NoRoom)
        } else if !self.lies_ahead(key, number) {
            Some(Dropped::Passed)
        } else {
            None
        };
        Some(Candidate { chute: number, filled, reserved, capacity: chute.capacity, dropped })
    }

    /// No chute is left: once more round, or an exception.
    fn nowhere(&self, key: PassKey, candidates: &[Candidate]) -> Target {
        let exception = self.site.exception_chute;
        let Some(pass) = self.state.passes.get(&key) else {
            return Target::Exception(exception, Reason::ChutesFull);
        };
        if !candidates.is_empty()
            && candidates.iter().all(|candidate| candidate.dropped == Some(Dropped::Passed))
        {
            return Target::Exception(exception, Reason::LateDecision);
        }
        if self.site.belt.recirculation_mm.is_none() {
            return Target::Exception(exception, Reason::ChutesFull);
        }
        if pass.lap >= self.site.belt.recirculation_limit {
            return Target::Exception(exception, Reason::RecirculationLimit);
        }
        Target::Recirculate(Reason::ChutesFull)
    }

    /// To the exception chute, with the reason.
    pub(super) fn send_to_exception(&mut self, now: Tick, key: PassKey, reason: Reason, out: &mut Actions) {
        let destination = self
            .state
            .passes
            .get(&key)
            .and_then(|pass| pass.identity.as_ref())
            .and_then(|identity| self.orders.bound(&identity.key))
            .map(|order| self.bound_for(&order));
        self.send_to_exception_of(now, key, reason, destination, out);
    }

    fn send_to_exception_of(
        &mut self,
        now: Tick,
        key: PassKey,
        reason: Reason,
        destination: Option<String>,
        out: &mut Actions,
    ) {
        self.say_held(now, key, reason, out);
        let to = Target::Exception(self.site.exception_chute, reason);
        let choice = Choice { to, alternate: None, candidates: Vec::new() };
        self.bind(now, key, choice, destination, out);
    }

    /// Another reason has come up for a pass that is decided already: to the exception chute if its point
    /// of no return is still ahead.
    pub(super) fn redirect(&mut self, now: Tick, key: PassKey, reason: Reason, out: &mut Actions) {
        if self.may_still_change(key) {
            self.send_to_exception(now, key, reason, out);
        } else {
            self.count("too_late_to_redirect");
        }
    }

    /// Decides a bound pass anew, if its point of no return is still ahead.
    pub(super) fn decide_again(&mut self, now: Tick, key: PassKey, out: &mut Actions) {
        if self.may_still_change(key) {
            self.route(now, key, out);
        } else {
            self.count("too_late_to_redirect");
        }
    }

    fn may_still_change(&self, key: PassKey) -> bool {
        let Some(pass) = self.state.passes.get(&key) else { return false };
        match pass.phase {
            Phase::Reading | Phase::AwaitingOrder => true,
            Phase::OffCourse { .. } => false,
            Phase::Bound(bound) => {
                let at = match bound.to {
                    Target::Chute(chute) | Target::Exception(chute, _) => self.chute_at(chute),
                    Target::Recirculate(_) => None,
                };
                let last = at.map_or(i64::from(self.site.belt.length_mm), |at| {
                    i64::from(self.site.chutes[at].decision_mm)
                });
                self.position_mm(pass) <= last - self.reserve_mm()
            }
        }
    }

    /// A chute no longer takes parcels: those on their way to it are decided again.
    pub(super) fn chute_closed(&mut self, now: Tick, chute: ChuteNo, out: &mut Actions) {
        let bound: Vec<PassKey> = self
            .state
            .passes
            .iter()
            .filter(|(_, pass)| match pass.phase {
                // The PLC may know nothing of a lock, and would fall back to a closed alternate.
                Phase::Bound(bound) => bound.to == Target::Chute(chute) || bound.alternate == Some(chute),
                Phase::Reading | Phase::AwaitingOrder | Phase::OffCourse { .. } => false,
            })
            .map(|(key, _)| *key)
            .collect();
        for key in bound {
            self.decide_again(now, key, out);
        }
    }

    /// Every order that a code on the parcel is bound to.
    pub(super) fn orders_on(&self, key: PassKey) -> Vec<Order> {
        let readings = self.state.passes.get(&key).map_or(&[][..], |pass| &pass.readings);
        self.orders_bound(readings.iter().filter_map(|tied| tied.taken_for.as_ref()))
    }

    /// Every order that one of these readings is bound to.
    pub(super) fn orders_for(&self, readings: &[Reading]) -> Vec<Order> {
        let taken_for: Vec<Identification> =
            readings.iter().map(|reading| identify(&self.site.carriers, reading)).collect();
        self.orders_bound(taken_for.iter())
    }

    fn orders_bound<'a>(&self, taken_for: impl Iterator<Item = &'a Identification>) -> Vec<Order> {
        let mut orders: Vec<Order> = Vec::new();
        for order in taken_for.filter_map(|taken_for| self.orders.bound(taken_for.key.as_ref()?)) {
            if !orders.iter().any(|known| known.order == order.order) {
                orders.push(order);
            }
        }
        orders
    }

    /// Deadline of the nearest of these chutes, or of all destination chutes.
    pub(super) fn nearest_deadline_mm(&self, routes: Option<&[ChuteNo]>) -> i64 {
        (0..self.site.chutes.len())
            .filter(|&at| {
                let number = self.site.chutes[at].number;
                routes.map_or(number != self.site.exception_chute, |routes| routes.contains(&number))
            })
            .map(|at| self.deadline_mm(at))
            .min()
            .unwrap_or(i64::from(self.site.belt.length_mm))
    }
}

/// Whether an order must not be sorted, and why.
pub(super) fn held(order: &Order) -> Option<Reason> {
    if order.cancelled {
        return Some(Reason::OrderCancelled);
    }
    order.hold.map(Hold::reason)
}

/// Reasons that come from the order, so that a new revision of it may lift them.
fn is_hold(reason: Reason) -> bool {
    use Reason::{
        CodHold, CodMismatch, CustomsHold, DangerousGoods, NoRoute, OrderCancelled, Oversize, Overweight,
        Repack, ReturnToSender, UnknownParcel, WeightMismatch,
    };
    matches!(
        reason,
        OrderCancelled
            | CodHold
            | CodMismatch
            | CustomsHold
            | DangerousGoods
            | NoRoute
            | Oversize
            | Overweight
            | Repack
            | ReturnToSender
            | UnknownParcel
            | WeightMismatch
    )
}
