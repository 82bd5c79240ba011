//! The sort plan in force, and what a change of it leaves behind.
//!
//! A plan is swapped between two events. What is decided stays decided: a pass keeps the plan that decided it,
//! and the chutes that were right by it. A chute that holds parcels, or has some on their way to it, goes on
//! with the destinations it had: its bag would be two plans' otherwise. It takes the new ones once it is empty
//! and nothing of the old plan is on its way to it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::core::Core;
use super::event::PlanInForce;
use super::state::Phase;
use super::{ChuteNo, PassKey};
use crate::site::SortPlan;

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
        for chute in self.chutes_in_use() {
            let (old, new) = (destinations_of(&before, chute), destinations_of(&self.plan, chute));
            if old != new {
                // Where it holds on to a still earlier plan's, it goes on with those.
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

    /// Whether the bag of this chute is an earlier plan's, which did not have this destination there.
    pub(super) fn is_kept_from(&self, chute: ChuteNo, destination: &str) -> bool {
        self.plans.kept.get(&chute).is_some_and(|names| !names.contains(destination))
    }

    /// Whether parcels for this destination belong into the chute as it stands.
    pub(super) fn takes(&self, chute: ChuteNo, destination: &str) -> bool {
        match self.plans.kept.get(&chute) {
            Some(names) => names.contains(destination),
            None => self.plan.routes.get(destination).is_some_and(|chutes| chutes.contains(&chute)),
        }
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

fn destinations_of(plan: &SortPlan, chute: ChuteNo) -> BTreeSet<String> {
    let fed = plan.routes.iter().filter(|(_, chutes)| chutes.contains(&chute));
    fed.map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::super::event::Event;
    use super::super::record::{Dropped, Fact, Target};
    use super::super::tests::{CODE, OTHER, Rig};
    use super::*;
    use crate::line::Line;
    use crate::wire::plc::Discharge;

    pub(in crate::line) fn plan(version: &str, routes: &[(&str, &[u16])]) -> Arc<SortPlan> {
        let routes = routes.iter().map(|(name, chutes)| {
            ((*name).to_owned(), chutes.iter().map(|number| ChuteNo(*number)).collect())
        });
        Arc::new(SortPlan { version: version.to_owned(), routes: routes.collect() })
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
