//! Device health, alarms of the shell, counters; systemd notify and watchdog.
//!
//! One event = one counter + one log line. A fault is counted always and logged at most once in
//! [`QUIET_MS`] a place and kind ([`QUIET_FAILED_MS`] while the device's alarm stands), with the number that was
//! kept quiet meanwhile. The cores never touch this
//! room: they report through their own status and facts.

pub mod beat;
pub mod clock;
pub mod systemd;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use self::clock::Clock;
use crate::line::Tick;
use crate::line::record::{Alarm, Severity};

/// Time between two log lines of the same fault at the same place.
pub const QUIET_MS: u64 = 10_000;

/// The same for a device whose alarm stands already: the alarm says it, a line now and then that it still does.
pub const QUIET_FAILED_MS: u64 = 600_000;

/// Fault kinds kept apart for one device; more are counted together under `other`.
const KINDS_MOST: usize = 64;

/// The board everything outside the cores reports to. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Board {
    inner: Arc<Mutex<Inner>>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Inner {
    devices: BTreeMap<String, DeviceHealth>,
    quiet: BTreeMap<(String, String), Quiet>,
    alarms: BTreeMap<String, Alarm>,
}

#[derive(Debug)]
struct Quiet {
    since: Tick,
    kept: u64,
}

/// Health of one device in NAMUR NE 107 terms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceHealth {
    /// NE 107 status signal.
    pub state: Ne107,
    /// Why.
    pub reason: String,
    /// Frames or polls that were good.
    pub good: u64,
    /// Faults by kind, e.g. `bad_frame`, `timeout`, `oversized`.
    pub faults: BTreeMap<String, u64>,
}

/// NAMUR NE 107 status signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ne107 {
    /// Works.
    Good,
    /// Being worked on, or starting.
    Check,
    /// Works, but outside its limits.
    OutOfSpecification,
    /// Works, wants care.
    Maintenance,
    /// Does not work.
    Failure,
}

impl Ne107 {
    /// Its name as in JSON and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Ne107::Good => "good",
            Ne107::Check => "check",
            Ne107::OutOfSpecification => "out_of_specification",
            Ne107::Maintenance => "maintenance",
            Ne107::Failure => "failure",
        }
    }
}

impl Board {
    /// A good frame or poll.
    pub fn good(&self, device: &str) {
        with(&mut self.lock(), device, |health| health.good += 1);
    }

    /// A fault that was survived: counted, and logged with a rate limit.
    pub fn fault(&self, device: &str, kind: &str, detail: &dyn std::fmt::Display) {
        let now = self.clock.now();
        let kept = {
            let mut inner = self.lock();
            let mut quiet_ms = QUIET_MS;
            with(&mut inner, device, |health| {
                let known = health.faults.len() < KINDS_MOST || health.faults.contains_key(kind);
                let kind = if known { kind } else { "other" };
                *health.faults.entry(kind.to_owned()).or_default() += 1;
                if health.state == Ne107::Failure {
                    quiet_ms = QUIET_FAILED_MS;
                }
            });
            inner.speak_up(device, kind, now, quiet_ms)
        };
        if let Some(kept) = kept {
            tracing::warn!(device, kind, %detail, kept_quiet = kept, "fault");
        }
    }

    /// A device came up or went down; `remedy` is what a person should do while it is down. Logged when
    /// the state changes.
    pub fn device(&self, device: &str, state: Ne107, reason: &str, remedy: &str) {
        let before = {
            let mut inner = self.lock();
            let mut before = Ne107::Check;
            with(&mut inner, device, |health| {
                before = std::mem::replace(&mut health.state, state);
                reason.clone_into(&mut health.reason);
            });
            before
        };
        let id = format!("{device}-offline");
        if state == Ne107::Failure {
            self.raise(Alarm {
                id,
                severity: Severity::Critical,
                text: format!("{device}: {reason}"),
                remedy: remedy.to_owned(),
            });
        } else {
            let cleared = self.lock().alarms.remove(&id).is_some();
            if cleared {
                tracing::info!(alarm = %id, device, state = state.name(), reason, "alarm cleared");
            } else if before != state {
                tracing::info!(device, state = state.name(), reason, "device");
            }
        }
    }

    /// Raises an alarm; raising it again changes its text only.
    pub fn raise(&self, alarm: Alarm) {
        if self.lock().alarms.insert(alarm.id.clone(), alarm.clone()).is_none() {
            match alarm.severity {
                Severity::Critical => {
                    tracing::error!(alarm = %alarm.id, remedy = %alarm.remedy, "{}", alarm.text);
                }
                Severity::Warning => {
                    tracing::warn!(alarm = %alarm.id, remedy = %alarm.remedy, "{}", alarm.text);
                }
            }
        }
    }

    /// Clears an alarm.
    pub fn clear(&self, id: &str) {
        if self.lock().alarms.remove(id).is_some() {
            tracing::info!(alarm = %id, "alarm cleared");
        }
    }

    /// Devices and alarms as they stand.
    pub fn snapshot(&self) -> (BTreeMap<String, DeviceHealth>, Vec<Alarm>) {
        let inner = self.lock();
        (inner.devices.clone(), inner.alarms.values().cloned().collect())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Inner {
    /// Whether this fault is logged now, and how many like it were kept quiet before.
    fn speak_up(&mut self, device: &str, kind: &str, now: Tick, quiet_ms: u64) -> Option<u64> {
        if self.quiet.len() >= KINDS_MOST * KINDS_MOST {
            self.quiet.clear();
        }
        let key = (device.to_owned(), kind.to_owned());
        let Some(quiet) = self.quiet.get_mut(&key) else {
            self.quiet.insert(key, Quiet { since: now, kept: 0 });
            return Some(0);
        };
        if now.ms_since(quiet.since) < quiet_ms {
            quiet.kept += 1;
            return None;
        }
        quiet.since = now;
        Some(std::mem::take(&mut quiet.kept))
    }
}

fn with(inner: &mut Inner, device: &str, change: impl FnOnce(&mut DeviceHealth)) {
    if let Some(health) = inner.devices.get_mut(device) {
        change(health);
        return;
    }
    let mut health =
        DeviceHealth { state: Ne107::Check, reason: "starting".to_owned(), good: 0, faults: BTreeMap::new() };
    change(&mut health);
    inner.devices.insert(device.to_owned(), health);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_counted_always_and_logged_once_in_ten_seconds() {
        let mut inner = Inner::default();
        assert_eq!(inner.speak_up("s1", "bad_frame", Tick(0), QUIET_MS), Some(0));
        assert_eq!(inner.speak_up("s1", "bad_frame", Tick(1), QUIET_MS), None);
        assert_eq!(inner.speak_up("s1", "bad_frame", Tick(2), QUIET_MS), None);
        assert_eq!(inner.speak_up("s1", "oversized", Tick(2), QUIET_MS), Some(0));
        let later = Tick(QUIET_MS * 1000);
        assert_eq!(inner.speak_up("s1", "bad_frame", later, QUIET_FAILED_MS), None, "its alarm says it");
        assert_eq!(inner.speak_up("s1", "bad_frame", later, QUIET_MS), Some(3));
        let board = Board::default();
        for _ in 0..5 {
            board.fault("s1", "bad_frame", &"garbage");
        }
        assert_eq!(board.snapshot().0["s1"].faults["bad_frame"], 5);
    }

    #[test]
    fn a_failed_device_is_an_alarm_until_it_is_back() {
        let board = Board::default();
        board.device("plc", Ne107::Failure, "no answer", "check the cable");
        assert_eq!(board.snapshot().1[0].id, "plc-offline");
        board.device("plc", Ne107::Good, "polls answered", "");
        assert!(board.snapshot().1.is_empty());
    }
}
