//! Taking recorded entries again: after a restart, and to prove a recorded shift.
//!
//! Inputs are fed again at their own time; the facts that stand behind each must come out again, in order
//! and alike. The table of orders may not be back yet when a restarted line does this, so the orders a
//! decision was made with are recorded with it and known again just before the input that led to it; and an
//! order that was refused then is refused again.

use std::collections::BTreeMap;

use super::event::Order;
use super::front::Line;
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
    /// Facts that follow from the last entries and were not recorded any more: a kill came between an input and
    /// what it led to. They are no difference; whoever goes on records them first, or nobody is ever told.
    pub unrecorded: Vec<Entry>,
}

impl Line {
    /// Takes recorded entries again, oldest first.
    pub fn take_again(&mut self, entries: &[Entry]) -> Differences {
        let mut differences = Differences::default();
        let mut rest = entries;
        while let Some(entry) = rest.first() {
            let facts = facts_behind(rest);
            let concluded = match &entry.body {
                Body::Input(input) => {
                    if let Input::Read { orders, .. } = input {
                        self.load_orders(orders);
                    }
                    self.know_orders(entry.body.orders(), facts);
                    self.replay(entry.at, input.clone(), refusals(facts))
                }
                Body::Fact(_) => self.replay_until(entry.at),
            };
            // Facts that time alone brought about stand before the input; what was due comes out first.
            let (recorded, used) = match &entry.body {
                Body::Input(_) => (facts, facts.len() + 1),
                Body::Fact(_) => (same_moment(rest), same_moment(rest).len()),
            };
            let mut concluded = concluded.entries;
            concluded.retain(|entry| fact_of(entry).is_some());
            if used == rest.len() {
                differences.unrecorded = cut_off(recorded, &mut concluded);
            }
            differences.compare(recorded, &concluded);
            rest = &rest[used..];
        }
        differences
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

impl Differences {
    fn compare(&mut self, recorded: &[Entry], concluded: &[Entry]) {
        let mut concluded = concluded.iter().filter_map(fact_of);
        let mut recorded = recorded.iter().filter_map(fact_of);
        loop {
            let pair = (recorded.next(), concluded.next());
            match pair {
                (None, None) => break,
                (recorded, concluded) if recorded == concluded => self.compared += 1,
                (recorded, concluded) => {
                    self.compared += 1;
                    self.count += 1;
                    self.first.get_or_insert_with(|| (recorded.cloned(), concluded.cloned()));
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

/// The facts directly behind the first entry, of its own time.
fn facts_behind(entries: &[Entry]) -> &[Entry] {
    let Some((first, behind)) = entries.split_first() else { return &[] };
    let end = behind.iter().take_while(|entry| fact_of(entry).is_some() && entry.at == first.at).count();
    &behind[..end]
}

/// The facts at the front that share one moment.
fn same_moment(entries: &[Entry]) -> &[Entry] {
    let Some(first) = entries.first() else { return &[] };
    let end = entries.iter().take_while(|entry| fact_of(entry).is_some() && entry.at == first.at).count();
    &entries[..end]
}

fn fact_of(entry: &Entry) -> Option<&Fact> {
    match &entry.body {
        Body::Fact(fact) => Some(fact),
        Body::Input(_) => None,
    }
}
