//! `health`: one retained message that says how the line is, and a last will that says it is gone.
//!
//! Published when something in it that matters changes (state, alarms, a device's NE 107 signal, versions),
//! and every `health_ms` otherwise; counters alone do not make it change.

use std::collections::BTreeMap;

use rumqttc::{LastWill, QoS};
use serde::{Deserialize, Serialize};

use super::anchors::AnchorBrief;
use super::status::UplinkStatus;
use crate::line::record::Alarm;
use crate::watch::{Board, DeviceHealth, Ne107};

/// What the core says of the line, asked when a health message is due.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LineBrief {
    /// State of the line, as in [`crate::line::status::LineStatus`].
    pub state: String,
    /// Version of the sort plan.
    pub plan: String,
    /// Alarms of the core.
    pub alarms: Vec<Alarm>,
}

/// Asks for the line's state.
pub type Line = Box<dyn Fn() -> LineBrief + Send + Sync>;

/// State published when the client is not there: by the broker as last will, by the client when it leaves.
pub const OFFLINE: &str = "offline";

/// The message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// State of the line; [`OFFLINE`] when `sortd` is not there.
    pub state: String,
    /// Alarms of the core and of the shell, by id.
    pub alarms: Vec<Alarm>,
    /// Health of each device.
    pub devices: BTreeMap<String, Device>,
    /// Events durable and not yet acknowledged; `null` when offline.
    pub backlog: Option<u64>,
    /// While a backlog is drained: the newest live event that is acknowledged, ahead of it; otherwise `null`.
    #[serde(default)]
    pub live: Option<u64>,
    /// Events acknowledged a second while a backlog is drained; 0 where there is none.
    #[serde(default)]
    pub draining_per_s: u64,
    /// Events that the journal no longer had when their turn came, since the start.
    #[serde(default)]
    pub missing: u64,
    /// The last anchor that was published since the start; `null` before the first.
    pub anchor: Option<AnchorBrief>,
    /// Versions; `null` when offline.
    pub versions: Option<Versions>,
}

/// One device in NAMUR NE 107 terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Status signal.
    pub state: Ne107,
    /// Why.
    pub reason: String,
    /// Faults since the start, all kinds together.
    pub faults: u64,
}

/// What runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// `sortd`.
    pub sortd: String,
    /// Sort plan in force.
    pub plan: String,
}

impl Health {
    /// The line, the board and the uplink as they stand.
    pub fn now(line: LineBrief, board: &Board, uplink: &UplinkStatus) -> Health {
        let (devices, mut alarms) = board.snapshot();
        alarms.extend(line.alarms);
        alarms.sort_by(|a, b| a.id.cmp(&b.id));
        Health {
            state: line.state,
            alarms,
            devices: devices.into_iter().map(|(name, device)| (name, device.into())).collect(),
            backlog: Some(uplink.backlog),
            live: uplink.live,
            draining_per_s: uplink.draining_per_s,
            missing: uplink.missing,
            anchor: uplink.anchor.clone(),
            versions: Some(Versions { sortd: env!("CARGO_PKG_VERSION").to_owned(), plan: line.plan }),
        }
    }

    /// Nobody is there.
    pub fn offline() -> Health {
        Health {
            state: OFFLINE.to_owned(),
            alarms: Vec::new(),
            devices: BTreeMap::new(),
            backlog: None,
            live: None,
            draining_per_s: 0,
            missing: 0,
            anchor: None,
            versions: None,
        }
    }

    /// The bytes on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text keys and plain values always make JSON")
    }

    /// Whether `other` says something else that someone should hear of at once.
    pub fn differs(&self, other: &Health) -> bool {
        let signals = |health: &Health| -> Vec<(String, Ne107, String)> {
            health.devices.iter().map(|(name, d)| (name.clone(), d.state, d.reason.clone())).collect()
        };
        self.state != other.state
            || self.alarms != other.alarms
            || self.versions != other.versions
            || signals(self) != signals(other)
    }
}

impl From<DeviceHealth> for Device {
    fn from(device: DeviceHealth) -> Device {
        Device { state: device.state, reason: device.reason, faults: device.faults.values().sum() }
    }
}

/// The last will on `topic`.
pub fn last_will(topic: String) -> LastWill {
    LastWill::new(topic, Health::offline().bytes(), QoS::AtLeastOnce, true)
}
