//! What a run comes to, under the names that `--json` promises; `sim demo` and `sim day` share them.

use std::collections::BTreeMap;

use serde::Serialize;
use sortd::line::status::LineStatus;

/// The figures of a run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figures {
    /// Passes begun.
    pub inducted: u64,
    /// Passes sorted.
    pub sorted: u64,
    /// Passes that ended as an exception, by reason.
    pub exceptions: BTreeMap<String, u64>,
    /// Passes lost.
    pub lost: u64,
    /// Passes on the belt at the end.
    pub in_flight: u64,
    /// Parcels in a chute they must not be in, by the world's truth.
    pub missorts: u64,
    /// Distinct parcels that need a person ÷ inducted.
    pub manual_ratio: f64,
    /// From the moment the last fact a decision needs stood in the field to the command leaving the core.
    pub decision_p99_ms: f64,
    /// Least time left to a point of no return when the PLC took a command.
    pub slack_min_ms: i64,
    /// Milestones made durable; in virtual time, handed to the journal.
    pub events_published: u64,
    /// Distinct events the cloud has; in virtual time, milestones that fit the story so far.
    pub events_received: u64,
    /// Events the cloud lacks; in virtual time, happenings that no milestone tells of.
    pub events_missing: u64,
    /// Events that contradict: other contents under one name, wrong hashes, a pass that ends twice.
    pub events_conflicting: u64,
}

impl Figures {
    /// What the line says; events and the truth are the caller's to fill in.
    pub fn of(status: &LineStatus) -> Figures {
        let sums = &status.sums;
        Figures {
            inducted: sums.inducted,
            sorted: sums.sorted,
            exceptions: sums.exceptions.clone(),
            lost: sums.lost,
            in_flight: sums.in_flight,
            manual_ratio: sums.manual_ratio,
            decision_p99_ms: status.reaction_ms[1],
            slack_min_ms: status.slack_ms[0],
            ..Figures::default()
        }
    }

    /// inducted = sorted + exception + lost + in flight.
    pub fn adds_up(&self) -> bool {
        let ended = self.sorted + self.exceptions.values().sum::<u64>() + self.lost;
        self.inducted == ended + self.in_flight
    }

    /// Lines of the table for people: name and value.
    pub fn lines(&self) -> Vec<(String, String)> {
        let mut lines = Vec::new();
        let mut line = |name: &str, value: String| lines.push((name.to_owned(), value));
        line("inducted", self.inducted.to_string());
        line("sorted", self.sorted.to_string());
        line("exceptions", self.exceptions.values().sum::<u64>().to_string());
        for (reason, count) in &self.exceptions {
            line(&format!("  {reason}"), count.to_string());
        }
        line("lost", self.lost.to_string());
        line("in flight", self.in_flight.to_string());
        line("in a wrong chute", self.missorts.to_string());
        line("manual", format!("{:.2} %", self.manual_ratio * 100.0));
        line("decision latency, p99", format!("{:.1} ms", self.decision_p99_ms));
        line("slack, least", format!("{} ms", self.slack_min_ms));
        line("events published", self.events_published.to_string());
        line("events received and checked", self.events_received.to_string());
        line("events missing", self.events_missing.to_string());
        line("events conflicting", self.events_conflicting.to_string());
        lines
    }
}

/// Name and value on each line.
pub fn table(lines: &[(String, String)]) -> String {
    lines.iter().map(|(name, value)| format!("  {name:<30}{value:>12}\n")).collect()
}
