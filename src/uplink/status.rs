//! What the uplink shows of itself, for `status`, the page and `health`.

use serde::{Deserialize, Serialize};

use super::anchors::AnchorBrief;

/// The publisher as it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkStatus {
    /// The broker has answered and is being heard.
    pub connected: bool,
    /// The broker that is held or tried, `mqtts://host:port`.
    pub broker: String,
    /// Store epoch of `cursor`; 0 until the store is open. Below `live_epoch` while an earlier one is sent.
    pub epoch: u64,
    /// Every event of `epoch` up to here is acknowledged by the broker.
    pub cursor: u64,
    /// Newest durable event of the open epoch.
    pub newest: u64,
    /// The open store epoch; 0 until the store is open.
    pub live_epoch: u64,
    /// While a backlog is drained: live events are acknowledged up to here, ahead of `cursor`.
    pub live: Option<u64>,
    /// Events acknowledged a second, over the last second, while a backlog is drained; otherwise 0.
    pub draining_per_s: u64,
    /// Events durable and not yet acknowledged.
    pub backlog: u64,
    /// Published and not yet acknowledged, the places of a gap included.
    pub in_flight: u64,
    /// Acknowledged by the broker since this start.
    pub published: u64,
    /// Events the journal no longer had when their turn came.
    pub missing: u64,
    /// The last anchor the broker has acknowledged since this start.
    pub anchor: Option<AnchorBrief>,
    /// Connections lost or failed since this start.
    pub reconnects: u64,
    /// Why the connection was last rebuilt.
    pub last_error: Option<String>,
}

/// The client for what comes down, as it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownstreamStatus {
    /// Subscribed.
    pub connected: bool,
    /// Messages taken from the broker, repetitions included.
    pub messages: u64,
    /// Messages answered on `acks` and released.
    pub answered: u64,
    /// Messages refused whole.
    pub refused_messages: u64,
    /// Orders and holds accepted.
    pub accepted: u64,
    /// Orders and holds refused.
    pub refused: u64,
    /// Messages between arrival and release.
    pub in_process: u64,
    /// Version of the plan staged last, not in force.
    pub plan_staged: Option<String>,
    /// Connections lost or failed since this start.
    pub reconnects: u64,
    /// Why the connection was last rebuilt.
    pub last_error: Option<String>,
}
