//! The sort plan in force, and what a change of it leaves behind.
//!
//! A plan is swapped between two events. What is decided stays decided: a pass keeps the plan that decided it,
//! and the chutes that were right by it. A chute that holds parcels, or has some on their way to it, goes on
//! with the destinations it had: its bag would be two plans' otherwise. It takes the new ones once it is empty
//! and nothing of the old plan is on its way to it.
//!
//! A chute's destinations are the names of its routes. A parcel is of one of them where its route has that name, or
//! where its order names it: so a destination stays what it was when the new plan finds it by other conditions.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::core::Core;
use super::event::{Order, PlanInForce};
use super::state::Phase;
use super::{ChuteNo, PassKey};
use crate::site::{Route, SortPlan};

/// What is remembered of plans; a part of every snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plans {
    /// Version of the plan that decided each pass in flight.
    decided: BTreeMap<PassKey, String>,
    /// Destinations of chutes that hold on to an earlier plan's.
    kept: BTreeMap<ChuteNo, BTreeSet<String>>,
    /// The configuration with the plan in force, in the store's archive.
    pub(super) configuration: Option<String>,
}

impl Core {
    /// The plan that was offered comes into force.
    pub(super) fn plan_in_force(&mut self, change: &PlanInForce) {
        let Some(at) = self.offered.iter().position(|plan| plan.version == change.version) else {
            self.count("plan_not_at_hand");
            return;
        };
        let plan = self.offered.remove(at);
        self.plans.configuration = Some(change.configuration.clone());
        let before = std::mem::replace(&mut self.plan, plan);
        self.state.plan.clone_from(&self.plan.version);
        let used = self.chutes_in_use();
        let (mut old, new) = (destinations_of(&before, &used), destinations_of(&self.plan, &used));
        for chute in used {
            let old = old.remove(&chute).unwrap_or_default();
            if new.get(&chute).map_or(!old.is_empty(), |new| old != *new) {
                // Where it holds on to a still earlier plan's, it goes on with those.
                let old = old.into_iter().cloned().collect();
                self.plans.kept.entry(chute).or_insert(old);
            }
        }
        self.let_go_of_plans();
    }

    /// What is decided now is decided by the plan in force.
    pub(super) fn decided_now(&mut self, key: PassKey) {
        self.plans.decided.insert(key, self.state.plan.clone());
    }

    /// The plan that decided a pass, which has ended; the one in force where nothing was decided.
    pub(super) fn plan_of_ended(&mut self, key: PassKey) -> String {
        let version = self.plans.decided.remove(&key).unwrap_or_else(|| self.state.plan.clone());
        self.let_go_of_plans();
        version
    }

    /// Whether the bag of this chute is an earlier plan's, which did not have this parcel there.
    pub(super) fn is_kept_from(&self, chute: ChuteNo, route: Route<'_>, order: &Order) -> bool {
        let kept = self.plans.kept.get(&chute);
        kept.is_some_and(|names| !names.contains(route.name) && !names.contains(&order.destination))
    }

    /// Whether parcels of this order belong into the chute as it stands.
    pub(super) fn takes(&self, chute: ChuteNo, order: &Order) -> bool {
        let route = self.plan.route_of(&order.traits());
        match self.plans.kept.get(&chute) {
            Some(names) => {
                names.contains(&order.destination) || route.is_some_and(|route| names.contains(route.name))
            }
            None => route.is_some_and(|route| route.chutes.contains(&chute)),
        }
    }

    /// What an order's parcel is said to be bound for: its route, or the destination that no row takes.
    pub(super) fn bound_for(&self, order: &Order) -> String {
        let route = self.plan.route_of(&order.traits());
        route.map_or(&*order.destination, |route| route.name).to_owned()
    }

    /// Chutes that are empty now, and have nothing on its way to them, take the plan in force.
    pub(super) fn let_go_of_plans(&mut self) {
        if !self.plans.kept.is_empty() {
            let used = self.chutes_in_use();
            self.plans.kept.retain(|chute, _| used.contains(chute));
        }
    }

    /// Chutes in which parcels lie, or to which some are on their way.
    fn chutes_in_use(&self) -> BTreeSet<ChuteNo> {
        let chutes = self.site.chutes.iter().zip(&self.state.chutes);
        let held = chutes.filter(|(_, state)| state.filled > 0 || state.reserved > 0);
        let on_the_way = self.state.passes.values().filter_map(|pass| match pass.phase {
            Phase::Bound(bound) => bound.earlier,
            Phase::OffCourse { earlier, .. } => earlier,
            Phase::Reading | Phase::AwaitingOrder => None,
        });
        held.map(|(chute, _)| chute.number).chain(on_the_way).collect()
    }
}

/// The routes of each of these chutes.
fn destinations_of<'a>(
    plan: &'a SortPlan,
    used: &BTreeSet<ChuteNo>,
) -> BTreeMap<ChuteNo, BTreeSet<&'a String>> {
    let mut fed: BTreeMap<ChuteNo, BTreeSet<&String>> = BTreeMap::new();
    for (name, chutes) in &plan.routes {
        for chute in chutes.iter().filter(|chute| used.contains(chute)) {
            fed.entry(*chute).or_default().insert(name);
        }
    }
    fed
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::super::event::Event;
    use super::super::order::Details;
    use super::super::outcome::Reason;
    use super::super::record::{Dropped, Fact, Target};
    use super::super::tests::{CODE, OTHER, Rig};
    use super::*;
    use crate::line::Line;
    use crate::site::Conditions;
    use crate::wire::plc::Discharge;

    pub(in crate::line) fn plan(version: &str, routes: &[(&str, &[u16])]) -> Arc<SortPlan> {
        let routes = routes.iter().map(|(name, chutes)| {
            ((*name).to_owned(), chutes.iter().map(|number| ChuteNo(*number)).collect())
        });
        Arc::new(SortPlan::by_destination(version, routes.collect()))
    }

    pub(in crate::line) fn swap(rig: &mut Rig, plan: Arc<SortPlan>) {
        let change = PlanInForce {
            version: plan.version.clone(),
            configuration: format!("configuration with {}", plan.version),
            by: "reload".to_owned(),
            name: None,
            message: None,
        };
        rig.line.offer_plan(plan);
        rig.event(Event::PlanInForce(change));
    }

    fn ended_under(rig: &Rig) -> Vec<String> {
        let plans = rig.facts.iter().filter_map(|fact| match fact {
            Fact::Ended { plan, .. } => Some(plan.clone()),
            _ => None,
        });
        plans.collect()
    }

    fn last_decision(rig: &Rig) -> (Target, String, Vec<Option<Dropped>>) {
        let decided = rig.facts.iter().rev().find_map(|fact| match fact {
            Fact::Decided(decided) => Some(decided.clone()),
            _ => None,
        });
        let decided = decided.expect("something was decided");
        let dropped = decided.candidates.iter().map(|candidate| candidate.dropped).collect();
        (decided.to, decided.plan, dropped)
    }

    const FIRST: &str = "0123456789abcdef";

    #[test]
    fn a_parcel_keeps_the_plan_that_decided_it_and_the_next_one_has_the_new() {
        let mut rig = Rig::new(false);
        rig.order("o1", CODE, "B");
        rig.order("o2", OTHER, "B");
        rig.read_parcel(1, &[CODE]);
        swap(&mut rig, plan("second", &[("A", &[3]), ("B", &[1])]));
        rig.read_parcel(2, &[OTHER]);
        assert_eq!(last_decision(&rig).1, "second");
        assert_eq!(last_decision(&rig).0, Target::Chute(ChuteNo(1)));
        rig.discharge(1, 3, Discharge::Confirmed);
        rig.discharge(2, 1, Discharge::Confirmed);
        assert_eq!(ended_under(&rig), [FIRST, "second"]);
        assert!(rig.ends().iter().all(|end| matches!(end, super::super::outcome::Outcome::Sorted { .. })));
    }

    #[test]
    fn a_chute_remapped_while_a_parcel_is_on_its_way_to_it_takes_no_other_until_it_is_changed() {
        let mut rig = Rig::new(false);
        rig.order("o1", CODE, "B");
        rig.order("o2", OTHER, "A");
        rig.read_parcel(1, &[CODE]);
        swap(&mut rig, plan("second", &[("A", &[3])]));
        // Its bag will hold B's parcel.
        rig.read_parcel(2, &[OTHER]);
        let (to, _, dropped) = last_decision(&rig);
        assert!(matches!(to, Target::Exception(..)), "{to:?}");
        assert_eq!(dropped, [Some(Dropped::OtherBag)]);
        rig.discharge(1, 3, Discharge::Confirmed);
        assert_eq!(ended_under(&rig), [FIRST]);
        rig.order("o3", "THIRD", "A");
        rig.read_parcel(3, &["THIRD"]);
        assert_eq!(last_decision(&rig).2, [Some(Dropped::OtherBag)]);
        // The bag goes; the chute is A's.
        rig.plc(crate::wire::plc::PlcEventKind::ChuteChanged { chute: 3 }, 0, 0, 0, 0);
        rig.order("o4", "FOURTH", "A");
        rig.read_parcel(4, &["FOURTH"]);
        assert_eq!(last_decision(&rig).0, Target::Chute(ChuteNo(3)));
    }

    #[test]
    fn a_bag_changed_under_a_parcel_of_the_old_plan_stays_that_plans() {
        let mut rig = Rig::new(false);
        rig.order("o1", CODE, "B");
        rig.read_parcel(1, &[CODE]);
        swap(&mut rig, plan("second", &[("A", &[3])]));
        rig.plc(crate::wire::plc::PlcEventKind::ChuteChanged { chute: 3 }, 0, 0, 0, 0);
        rig.order("o2", OTHER, "A");
        rig.read_parcel(2, &[OTHER]);
        assert_eq!(last_decision(&rig).2, [Some(Dropped::OtherBag)]);
    }

    fn by_conditions(version: &str, rows: &[(Conditions, u16)]) -> Arc<SortPlan> {
        let rows = rows.iter().map(|(conditions, chute)| (conditions.clone(), vec![ChuteNo(*chute)]));
        let mut plan = SortPlan::new(rows);
        version.clone_into(&mut plan.version);
        Arc::new(plan)
    }

    fn thai(postcode: Option<&str>) -> Conditions {
        let postcode = postcode.map(str::to_owned);
        Conditions { country: Some("TH".to_owned()), postcode, ..Conditions::default() }
    }

    fn order(number: &str, code: &str, revision: u32, postcode: &str) -> Order {
        let details = Details {
            country: Some("TH".to_owned()),
            postcode: Some(postcode.to_owned()),
            ..Details::default()
        };
        Order {
            order: number.to_owned(),
            revision,
            codes: vec![code.to_owned()],
            destination: "TH-BKK".to_owned(),
            details: Some(Box::new(details)),
            ..Order::default()
        }
    }

    fn last_destination(rig: &Rig) -> Option<String> {
        let last = rig.facts.iter().rev().find_map(|fact| match fact {
            Fact::Decided(decided) => Some(decided.destination.clone()),
            _ => None,
        });
        last.expect("something was decided")
    }

    #[test]
    fn a_destination_that_no_row_has_goes_by_the_other_conditions() {
        let mut rig = Rig::new(false);
        let rows = [(thai(None), 1), (thai(Some("10")), 3)];
        swap(&mut rig, by_conditions("second", &rows));
        rig.push(order("o1", CODE, 1, "10110"));
        rig.read_parcel(1, &[CODE]);
        assert_eq!(last_decision(&rig).0, Target::Chute(ChuteNo(3)));
        assert_eq!(last_destination(&rig).as_deref(), Some("TH/10*"));
        // A new postcode on the way is another route.
        rig.push(order("o1", CODE, 2, "20110"));
        assert_eq!(last_decision(&rig).0, Target::Chute(ChuteNo(1)));
        rig.discharge(1, 1, Discharge::Confirmed);
        let ended = rig.facts.iter().find_map(|fact| match fact {
            Fact::Ended { destination, .. } => destination.clone(),
            _ => None,
        });
        assert_eq!(ended.as_deref(), Some("TH/*"));
        // One that fits nothing has no route, and says what it was for.
        rig.push(Order { details: None, ..order("o2", OTHER, 1, "") });
        rig.read_parcel(2, &[OTHER]);
        assert!(matches!(last_decision(&rig).0, Target::Exception(_, Reason::NoRoute)));
        assert_eq!(last_destination(&rig).as_deref(), Some("TH-BKK"));
    }

    #[test]
    fn a_begun_bag_goes_on_with_its_destination_when_the_new_plan_finds_it_by_other_conditions() {
        let mut rig = Rig::new(false);
        swap(&mut rig, plan("first", &[("TH-BKK", &[3])]));
        rig.push(order("o1", CODE, 1, "10110"));
        rig.read_parcel(1, &[CODE]);
        swap(&mut rig, by_conditions("second", &[(thai(None), 3)]));
        // Another destination of the same route is not of that bag.
        rig.push(Order { destination: "TH-CNX".to_owned(), ..order("o2", OTHER, 1, "50000") });
        rig.read_parcel(2, &[OTHER]);
        assert_eq!(last_decision(&rig).2, [Some(Dropped::OtherBag)]);
        rig.push(order("o3", "THIRD", 1, "10110"));
        rig.read_parcel(3, &["THIRD"]);
        assert_eq!(last_decision(&rig).0, Target::Chute(ChuteNo(3)));
    }

    #[test]
    fn a_trial_asks_the_other_plan_s_conditions() {
        let mut rig = Rig::new(false);
        rig.push(order("o1", CODE, 1, "10110"));
        rig.read_parcel(1, &[CODE]);
        let pass = rig.facts.iter().find_map(|fact| match fact {
            Fact::Inducted { pass, .. } => Some(*pass),
            _ => None,
        });
        let pass = pass.expect("it was inducted");
        let try_with = |plan: &SortPlan| rig.line.would_decide(pass, plan, &|_| 0);
        let other = by_conditions("other", &[(thai(None), 1), (thai(Some("101")), 2)]);
        assert_eq!(try_with(&other), Some(Target::Chute(ChuteNo(2))));
        assert!(matches!(try_with(&plan("none", &[])), Some(Target::Exception(_, Reason::NoRoute))));
    }

    #[test]
    fn a_plan_that_nobody_made_ready_changes_nothing() {
        let mut rig = Rig::new(false);
        let change = PlanInForce {
            version: "second".to_owned(),
            configuration: String::new(),
            by: "reload".to_owned(),
            name: None,
            message: None,
        };
        rig.event(Event::PlanInForce(change));
        assert_eq!(rig.line.plan().version, FIRST);
        assert_eq!(rig.line.status(rig.now).counters.get("plan_not_at_hand"), Some(&1));
    }

    #[test]
    fn a_snapshot_says_which_plan_it_wants_and_goes_on_with_it() {
        let mut rig = Rig::new(false);
        rig.order("o1", CODE, "B");
        rig.read_parcel(1, &[CODE]);
        let second = plan("second", &[("A", &[3])]);
        swap(&mut rig, Arc::clone(&second));
        let bytes = rig.line.snapshot().expect("it is stored");
        let mut again = Line::from_snapshot(Arc::clone(rig.line.site()), &bytes).expect("it is taken up");
        assert_eq!(again.wants_plan(), Some("configuration with second"));
        again.offer_plan(second);
        assert_eq!((again.wants_plan(), again.plan().version.as_str()), (None, "second"));
        assert!(again.agrees_with(&bytes).expect("it is taken up").is_empty());
        rig.line = again;
        rig.order("o2", OTHER, "A");
        rig.read_parcel(2, &[OTHER]);
        assert_eq!(last_decision(&rig).2, [Some(Dropped::OtherBag)]);
    }
}
