//! What the core shows of itself: built a few times a second, read by `status`, the page and `health`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::record::Alarm;

/// The line as it stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LineStatus {
    /// PackML-like state: `starting`, `stopped`, `running`, `purging`, `aborted` (e-stop), `offline`.
    pub state: String,
    /// Version of the sort plan.
    pub plan: String,
    /// Belt speed.
    pub speed_mm_s: u16,
    /// Sums since the store began; inducted = sorted + Σ exceptions + lost + in_flight.
    pub sums: Sums,
    /// In flight, in belt order, at most 500.
    pub passes: Vec<PassStatus>,
    /// Every chute, by number.
    pub chutes: Vec<ChuteStatus>,
    /// Last outcomes, newest first, at most 20.
    pub last: Vec<EndedStatus>,
    /// Alarms of the core.
    pub alarms: Vec<Alarm>,
    /// Latency induction → decision in ms: p50, p99, max.
    pub decision_ms: [f64; 3],
    /// From the moment the last needed fact was heard to the command leaving the core, ms: p50, p99, max.
    pub reaction_ms: [f64; 3],
    /// Slack per divert over all chutes, ms: min, p1, p50.
    pub slack_ms: [i64; 3],
    /// Orders known: the active ones, and those sorted or cancelled of late.
    pub orders: u64,
    /// Holds in force, apart from those of orders.
    #[serde(default)]
    pub holds: u64,
    /// What could not be used, by name: untied reads, refused orders, unknown track ids, …
    pub counters: BTreeMap<String, u64>,
}

/// Conservation sums; they agree at all times.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    /// Passes begun.
    pub inducted: u64,
    /// Passes sorted.
    pub sorted: u64,
    /// Passes that ended as an exception, by reason name.
    pub exceptions: BTreeMap<String, u64>,
    /// Passes lost.
    pub lost: u64,
    /// Passes on the belt.
    pub in_flight: u64,
    /// Laps beyond the first.
    pub recirculated: u64,
    /// Distinct parcels that need a person ÷ inducted.
    pub manual_ratio: f64,
}

/// A pass in flight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PassStatus {
    /// `epoch-track`.
    pub pass: String,
    /// Front of the parcel, from the induction eye.
    pub position_mm: i64,
    /// Length.
    pub length_mm: u16,
    /// Identity key, if known.
    pub key: Option<String>,
    /// Chute it is going to, by name.
    pub to: Option<String>,
    /// Exception reason, if it goes to the exception chute.
    pub reason: Option<String>,
}

/// A chute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChuteStatus {
    /// Number at the PLC.
    pub number: u16,
    /// Name.
    pub name: String,
    /// From the induction eye.
    pub position_mm: u32,
    /// `open`, `near_full`, `full`, `closing`, `changing`, `locked`, `faulted`, `disabled`.
    pub state: String,
    /// Who set it: `sensor`, `count`, `plc`, `operator:<name>`, `confirm failures`.
    pub set_by: Option<String>,
    /// Parcels in it.
    pub filled: u16,
    /// Parcels on their way.
    pub reserved: u16,
    /// Places.
    pub capacity: u16,
    /// Takes exceptions.
    pub exception: bool,
}

/// A pass that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndedStatus {
    /// `epoch-track`.
    pub pass: String,
    /// Identity key.
    pub key: Option<String>,
    /// `sorted`, `exception`, `lost`.
    pub outcome: String,
    /// Reason name for exceptions.
    pub reason: Option<String>,
    /// Chute name.
    pub chute: Option<String>,
}
