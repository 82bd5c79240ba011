//! Taking recorded entries again: after a restart, and to prove a recorded shift.
//!
//! Inputs are fed again at their own time; the facts that stand behind each must come out again, in order
//! and alike. The table of orders may not be back yet when a restarted line does this, so the orders a
//! decision was made with are recorded with it and known again just before the input that led to it; and an
//! order that was refused then is refused again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Tick;
use super::actions::Actions;
use super::event::{Event, Order};
use super::front::{Line, RestartError};
use super::record::{Body, Entry, Fact, Input};
use crate::site::SortPlan;

/// The plan of a configuration, by its name in the store's archive.
pub type PlanOf<'a> = &'a dyn Fn(&str) -> Option<Arc<SortPlan>>;

/// What came out differently.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Differences {
    /// How many facts.
    pub count: u64,
    /// Facts compared.
    pub compared: u64,
    /// The first: recorded and concluded.
    pub first: Option<(Option<Fact>, Option<Fact>)>,
    /// Facts that follow from the last entries and were not recorded any more: a kill came between an input and
    /// what it led to. They are no difference; whoever goes on records them first, or nobody is ever told.
    pub unrecorded: Vec<Entry>,
}

/// Recorded facts of one moment that are held together at most: every pass in flight, and everything that
/// can be said about each, twice over.
const GROUP_MOST: usize = 65_536;

/// One fact, recorded and concluded, where they are not the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference<N> {
    /// The entry it stands at: the recorded fact's, or that of what it should have followed from.
    pub number: N,
    /// When, in the core's time.
    pub at: Tick,
    /// As recorded; `None`: there was no such fact.
    pub recorded: Option<Fact>,
    /// As concluded now; `None`: nothing was.
    pub concluded: Option<Fact>,
}

/// Who watches entries being taken again.
pub trait Watch<N> {
    /// A fact is not the same.
    fn differs(&mut self, difference: Difference<N>);

    /// An input and everything recorded behind it have been taken, or what time alone had brought about.
    fn taken(&mut self, line: &Line, moment: &[Entry], numbers: &[N]) {
        let _ = (line, moment, numbers);
    }
}

impl<N, F: FnMut(Difference<N>)> Watch<N> for F {
    fn differs(&mut self, difference: Difference<N>) {
        self(difference);
    }
}

/// A line that takes recorded entries again, one after the other, however they come. What follows from an
/// input is compared only once the next moment has begun, so that no chunk cuts it.
#[derive(Debug)]
pub struct Retake<N> {
    line: Line,
    /// An input and the facts behind it, or facts that time alone brought about.
    group: Vec<Entry>,
    numbers: Vec<N>,
    compared: u64,
}

impl<N: Copy> Retake<N> {
    /// Goes on from this state of the line.
    pub fn from(line: Line) -> Retake<N> {
        Retake { line, group: Vec::new(), numbers: Vec::new(), compared: 0 }
    }

    /// Takes the next entry; what differs is told.
    pub fn take(&mut self, number: N, entry: Entry, watch: &mut dyn Watch<N>) {
        if !self.belongs(&entry) || self.group.len() >= GROUP_MOST {
            self.settle(watch);
        }
        self.group.push(entry);
        self.numbers.push(number);
    }

    /// Compares what is still held, because nothing that belongs to it follows.
    pub fn settle(&mut self, watch: &mut dyn Watch<N>) {
        self.compare(watch, false);
    }

    /// Compares what is still held at the end of everything recorded. Facts that follow from the last input
    /// and were not recorded any more are given back and are no difference: a kill came between the two.
    pub fn finish(&mut self, watch: &mut dyn Watch<N>) -> Vec<Entry> {
        self.compare(watch, true)
    }

    fn compare(&mut self, watch: &mut dyn Watch<N>, at_the_end: bool) -> Vec<Entry> {
        let Some((first, at)) = self.numbers.first().copied().zip(self.group.first().map(|first| first.at))
        else {
            return Vec::new();
        };
        let offset = self.group.iter().take_while(|entry| fact_of(entry).is_none()).count();
        let mut concluded = self.line.conclude(&self.group).entries;
        concluded.retain(|entry| fact_of(entry).is_some());
        let unrecorded = if at_the_end { cut_off(&self.group, &mut concluded) } else { Vec::new() };
        let mut concluded = concluded.iter().filter_map(fact_of);
        let mut recorded = self.group.iter().filter_map(fact_of);
        for place in offset.. {
            let (recorded, concluded) = (recorded.next(), concluded.next());
            if recorded.is_none() && concluded.is_none() {
                break;
            }
            self.compared += 1;
            if recorded != concluded {
                let number = self.numbers.get(place).copied().unwrap_or(first);
                let (recorded, concluded) = (recorded.cloned(), concluded.cloned());
                watch.differs(Difference { number, at, recorded, concluded });
            }
        }
        watch.taken(&self.line, &self.group, &self.numbers);
        self.group.clear();
        self.numbers.clear();
        unrecorded
    }

    /// Facts compared so far.
    pub fn compared(&self) -> u64 {
        self.compared
    }

    /// A plan for the change that comes next; see [`Line::offer_plan`]. What was held must have been settled.
    pub fn offer_plan(&mut self, plan: Arc<SortPlan>) {
        self.line.offer_plan(plan);
    }

    /// The line as it stands after everything settled.
    pub fn line(&self) -> &Line {
        &self.line
    }

    /// The parts of its state that are not as a stored snapshot has them; see [`Line::agrees_with`]. What was
    /// held must have been settled.
    pub fn agrees_with(&mut self, snapshot: &[u8]) -> Result<Vec<&'static str>, RestartError> {
        self.line.agrees_with(snapshot)
    }

    /// Puts another line in its place: after a restart, or one that is known to be right. What was held must
    /// have been settled.
    pub fn replace(&mut self, line: Line) {
        debug_assert!(self.group.is_empty(), "facts are compared with the line they came from");
        self.line = line;
    }

    /// The line, for whoever goes on with it.
    pub fn into_line(self) -> Line {
        self.line
    }

    fn belongs(&self, entry: &Entry) -> bool {
        self.group.first().is_none_or(|first| fact_of(entry).is_some() && entry.at == first.at)
    }
}

impl Line {
    /// Takes recorded entries again, oldest first.
    pub fn take_again(&mut self, entries: &[Entry]) -> Differences {
        self.take_all_again(entries.iter().cloned(), &|_| None)
    }

    /// The same with entries that are not all in memory at once, and with the plans that came into force among them.
    pub fn take_all_again(&mut self, entries: impl Iterator<Item = Entry>, plans: PlanOf<'_>) -> Differences {
        let mut differences = Differences::default();
        let site = Arc::clone(self.site());
        let mut line = std::mem::replace(self, Line::new(site));
        if let Some(plan) = line.wants_plan().and_then(plans) {
            line.offer_plan(plan);
        }
        let mut retake = Retake::from(line);
        let mut differs = |difference: Difference<()>| {
            differences.count += 1;
            differences.first.get_or_insert((difference.recorded, difference.concluded));
        };
        for entry in entries {
            if let Body::Input(Input::Event(Event::PlanInForce(change))) = &entry.body
                && let Some(plan) = plans(&change.configuration)
            {
                retake.settle(&mut differs);
                retake.offer_plan(plan);
            }
            retake.take((), entry, &mut differs);
        }
        differences.unrecorded = retake.finish(&mut differs);
        differences.compared = retake.compared();
        *self = retake.into_line();
        differences
    }

    /// Takes an input again, with the recorded facts behind it, or what time alone had brought about.
    fn conclude(&mut self, group: &[Entry]) -> Actions {
        let Some((first, facts)) = group.split_first() else { return Actions::default() };
        match &first.body {
            Body::Input(input) => {
                if let Input::Read { orders, .. } = input {
                    self.load_orders(orders);
                }
                self.know_orders(first.body.orders(), facts);
                self.replay(first.at, input.clone(), refusals(facts))
            }
            Body::Fact(_) => self.replay_until(first.at),
        }
    }
}

impl Line {
    /// Makes the orders known that the decisions behind an input were made with, but for those that the
    /// input itself brings.
    fn know_orders(&mut self, brought: &[Order], facts: &[Entry]) {
        for fact in facts {
            if let Some(Fact::Decided(decided)) = fact_of(fact) {
                for order in &decided.orders {
                    if !brought.iter().any(|other| other.order == order.order) {
                        self.load_orders(std::slice::from_ref(order));
                    }
                }
            }
        }
    }
}

/// Takes away what was concluded beyond the recorded facts, if those are how it begins.
fn cut_off(recorded: &[Entry], concluded: &mut Vec<Entry>) -> Vec<Entry> {
    let recorded: Vec<&Fact> = recorded.iter().filter_map(fact_of).collect();
    if concluded.iter().filter_map(fact_of).take(recorded.len()).eq(recorded.iter().copied()) {
        concluded.split_off(recorded.len())
    } else {
        Vec::new()
    }
}

/// The orders that were refused then, and why.
fn refusals(facts: &[Entry]) -> BTreeMap<String, String> {
    let refusal = |fact: &Fact| match fact {
        Fact::OrderRefused { order, why, .. } => Some((order.clone(), why.clone())),
        _ => None,
    };
    facts.iter().filter_map(|entry| refusal(fact_of(entry)?)).collect()
}

fn fact_of(entry: &Entry) -> Option<&Fact> {
    match &entry.body {
        Body::Fact(fact) => Some(fact),
        Body::Input(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{CODE, OTHER, Rig, site};
    use super::*;
    use crate::line::ChuteNo;
    use crate::line::record::Report;
    use crate::wire::plc::Discharge;

    fn story() -> Rig {
        let mut rig = Rig::new(true);
        rig.order("o1", CODE, "A");
        rig.read_parcel(1, &[CODE]);
        rig.run(400);
        rig.order("o2", OTHER, "B");
        rig.read_parcel(2, &[OTHER]);
        rig.hear(0, &["STRAY"]);
        rig.run(8000);
        rig.discharge(1, 1, Discharge::Confirmed);
        rig.discharge(2, 3, Discharge::Confirmed);
        rig
    }

    fn retaken(entries: impl IntoIterator<Item = Entry>) -> (u64, Vec<Difference<usize>>) {
        let mut retake = Retake::from(Line::new(site(true)));
        let mut found = Vec::new();
        let mut tell = |difference: Difference<usize>| found.push(difference);
        for (number, entry) in entries.into_iter().enumerate() {
            retake.take(number, entry, &mut tell);
        }
        retake.settle(&mut tell);
        (retake.compared(), found)
    }

    /// Another fact than the one recorded, whatever that is.
    fn altered(fact: &Fact) -> Fact {
        match fact {
            Fact::Reported { .. } => Fact::AlarmCleared { id: "another".to_owned() },
            _ => Fact::Reported {
                pass: None,
                code: "X".to_owned(),
                uri: None,
                what: Report::Found,
                by: "nobody".to_owned(),
            },
        }
    }

    #[test]
    fn every_recorded_fact_that_is_altered_is_told_with_its_number_and_no_other_is() {
        let entries = story().entries;
        let (compared, found) = retaken(entries.clone());
        assert_eq!(found, []);
        let facts: Vec<usize> = (0..entries.len()).filter(|at| fact_of(&entries[*at]).is_some()).collect();
        assert_eq!(compared, facts.len() as u64);
        assert!(facts.len() > 10, "{}", facts.len());
        for at in facts {
            let mut tampered = entries.clone();
            let fact = altered(fact_of(&tampered[at]).expect("it is a fact"));
            tampered[at].body = Body::Fact(fact.clone());
            let (_, found) = retaken(tampered);
            assert_eq!(found.len(), 1, "fact {at}: {found:?}");
            assert_eq!((found[0].number, found[0].recorded.as_ref()), (at, Some(&fact)));
            assert_eq!(found[0].concluded.as_ref(), fact_of(&entries[at]));
        }
    }

    #[test]
    fn a_recorded_fact_that_is_missing_or_too_much_is_told() {
        let entries = story().entries;
        let end = entries.iter().position(|entry| matches!(fact_of(entry), Some(Fact::Ended { .. })));
        let end = end.expect("a parcel ends");
        let mut missing = entries.clone();
        missing.remove(end);
        let (_, found) = retaken(missing);
        assert!(found.iter().any(|found| matches!(found.concluded, Some(Fact::Ended { .. }))), "{found:?}");
        let mut twice = entries.clone();
        twice.insert(end, entries[end].clone());
        let (_, found) = retaken(twice);
        assert!(!found.is_empty() && found.iter().all(|found| found.number >= end), "{found:?}");
    }

    #[test]
    fn an_altered_input_is_told_by_what_follows_from_it() {
        let mut entries = story().entries;
        let event = entries.iter_mut().rev().find_map(|entry| match &mut entry.body {
            Body::Input(Input::Event(super::super::event::Event::Plc(event))) => Some(event),
            Body::Input(_) | Body::Fact(_) => None,
        });
        let event = event.expect("the PLC said something");
        let how = Discharge::Confirmed;
        event.kind = crate::wire::plc::PlcEventKind::Discharged { chute: 1, how };
        let (_, found) = retaken(entries);
        assert!(!found.is_empty());
    }

    /// A restart in the middle: what the daemon does to the core is what [`Line::restarted`] does.
    #[test]
    fn a_restarted_line_goes_on_as_its_snapshot_would() {
        let mut rig = story();
        rig.order("o3", "AA3", "A");
        rig.read_parcel(3, &["AA3"]);
        let from = rig.entries.len();
        let bytes = rig.line.snapshot().expect("the state encodes");
        let mut again = Retake::from(rig.line.restarted(site(true)).expect("it is taken up"));
        rig.line = Line::from_snapshot(site(true), &bytes).expect("the snapshot is taken up");
        rig.start();
        rig.attach(rig.epoch);
        rig.run(7000);
        rig.discharge(3, 1, Discharge::Confirmed);
        let mut found = Vec::new();
        let mut tell = |difference: Difference<()>| found.push(difference);
        for entry in &rig.entries[from..] {
            again.take((), entry.clone(), &mut tell);
        }
        again.settle(&mut tell);
        assert_eq!(found, []);
        let stored = rig.line.snapshot().expect("the state encodes");
        assert_eq!(again.agrees_with(&stored).expect("it can be compared"), Vec::<&str>::new());
    }

    #[test]
    fn a_state_that_differs_names_its_parts() {
        let rig = story();
        let mut other = story();
        other.event(super::super::event::Event::Ask(super::super::event::Ask {
            by: "wang".to_owned(),
            what: super::super::event::Asked::ChuteLock(ChuteNo(2)),
        }));
        let stored = other.line.snapshot().expect("the state encodes");
        let mut retake: Retake<()> = Retake::from(rig.line);
        assert_eq!(retake.agrees_with(&stored).expect("it can be compared"), ["chutes"]);
    }
}
