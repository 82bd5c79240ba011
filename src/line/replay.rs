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
use super::event::Order;
use super::front::{Line, RestartError};
use super::record::{Body, Entry, Fact, Input};

/// What came out differently.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Differences {
    /// How many facts.
    pub count: u64,
    /// Facts compared.
    pub compared: u64,
    /// The first: recorded and concluded.
    pub first: Option<(Option<Fact>, Option<Fact>)>,
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
        let Some((first, at)) = self.numbers.first().copied().zip(self.group.first().map(|first| first.at))
        else {
            return;
        };
        let offset = self.group.iter().take_while(|entry| fact_of(entry).is_none()).count();
        let concluded = self.line.conclude(&self.group);
        let mut concluded = concluded.entries.iter().filter_map(fact_of);
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
    }

    /// Facts compared so far.
    pub fn compared(&self) -> u64 {
        self.compared
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
        let mut differences = Differences::default();
        let site = Arc::clone(self.site());
        let mut retake = Retake::from(std::mem::replace(self, Line::new(site)));
        let mut differs = |difference: Difference<()>| {
            differences.count += 1;
            differences.first.get_or_insert((difference.recorded, difference.concluded));
        };
        for entry in entries {
            retake.take((), entry.clone(), &mut differs);
        }
        retake.settle(&mut differs);
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
