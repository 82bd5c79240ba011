//! Whose bag hangs in a chute, when sort plans come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sortd::site::{ChuteNo, SortPlan};

/// The plans that were in force so far, and the destinations of what lies in each bag.
#[derive(Debug)]
pub struct Labels {
    plans: Vec<Arc<SortPlan>>,
    bags: BTreeMap<u16, BTreeSet<String>>,
}

impl Labels {
    /// Empty bags under a first plan.
    pub fn new(plan: SortPlan) -> Labels {
        Labels { plans: vec![Arc::new(plan)], bags: BTreeMap::new() }
    }

    /// A plan comes into force.
    pub fn plan(&mut self, plan: Arc<SortPlan>) {
        if !self.plans.iter().any(|known| known.version == plan.version) {
            self.plans.push(plan);
        }
    }

    /// A parcel falls into a bag: whether it is right there. It is where one plan, of those that were in force, has
    /// everything in the bag in this chute, the parcel included.
    pub fn takes(&mut self, chute: u16, destination: &str) -> bool {
        let bag = self.bags.entry(chute).or_default();
        let has = |plan: &SortPlan, name: &str| {
            plan.routes.get(name).is_some_and(|chutes| chutes.contains(&ChuteNo(chute)))
        };
        let is_one_plans =
            |plan: &Arc<SortPlan>| has(plan, destination) && bag.iter().all(|name| has(plan, name));
        let right = self.plans.iter().any(is_one_plans);
        if right && !bag.contains(destination) {
            bag.insert(destination.to_owned());
        }
        right
    }

    /// A new bag.
    pub fn changed(&mut self, chute: u16) {
        self.bags.remove(&chute);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(version: &str, routes: &[(&str, &[u16])]) -> SortPlan {
        let routes = routes
            .iter()
            .map(|(name, chutes)| ((*name).to_owned(), chutes.iter().map(|at| ChuteNo(*at)).collect()));
        SortPlan::by_destination(version, routes.collect())
    }

    #[test]
    fn a_bag_is_one_plans() {
        let mut labels = Labels::new(plan("1", &[("A", &[1]), ("B", &[1]), ("C", &[2])]));
        assert!(labels.takes(1, "A") && labels.takes(1, "B"));
        assert!(!labels.takes(1, "C"));
        labels.plan(Arc::new(plan("2", &[("C", &[1]), ("A", &[1])])));
        // B lies in it, which the second plan has not there.
        assert!(!labels.takes(1, "C"));
        labels.changed(1);
        assert!(labels.takes(1, "A") && labels.takes(1, "C") && !labels.takes(1, "B"));
    }
}
