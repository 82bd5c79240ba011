//! The core's state as people see it.

use super::core::Core;
use super::record::Target;
use super::state::{ChuteState, Mode, Pass, Phase};
use super::status::{ChuteStatus, LineStatus, PassStatus, Sums};
use super::{ChuteNo, PassKey};
use crate::site::Chute;

/// Passes shown at most.
const PASSES_SHOWN: usize = 500;

impl Core {
    /// Builds the status with the belt at `belt` extended pulses.
    pub fn show(&self, belt: i64, speed_mm_s: u16) -> LineStatus {
        let state = &self.state;
        let mut passes: Vec<(&PassKey, &Pass)> = state.passes.iter().collect();
        passes.sort_by_key(|(key, pass)| (pass.origin, **key));
        LineStatus {
            state: self.state_name().to_owned(),
            plan: state.plan.clone(),
            speed_mm_s,
            sums: self.show_sums(),
            passes: passes
                .into_iter()
                .rev()
                .take(PASSES_SHOWN)
                .map(|(key, pass)| self.show_pass(*key, pass, belt))
                .collect(),
            chutes: self
                .site
                .chutes
                .iter()
                .zip(&state.chutes)
                .map(|(chute, state)| self.show_chute(chute, state))
                .collect(),
            last: state.last.iter().cloned().collect(),
            alarms: state.alarms.values().cloned().collect(),
            decision_ms: self.measures.decision_ms(),
            reaction_ms: self.measures.reaction_ms(),
            slack_ms: self.measures.slack_ms(),
            orders: self.orders.len() as u64,
            holds: self.holds.in_force(),
            counters: state.counters.clone(),
        }
    }

    fn state_name(&self) -> &'static str {
        let plc = &self.state.plc;
        if !plc.attached {
            return if plc.epoch.is_none() { "starting" } else { "offline" };
        }
        if plc.flags.e_stop {
            return "aborted";
        }
        match self.state.mode {
            Mode::Purging => "purging",
            Mode::Stopped => "stopped",
            Mode::Normal if plc.flags.running => "running",
            Mode::Normal => "stopped",
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "a ratio for people; counts stay far below 2^52")]
    fn show_sums(&self) -> Sums {
        let tally = &self.state.tally;
        let manual = tally.exceptions.values().sum::<u64>() + tally.lost;
        Sums {
            inducted: tally.inducted,
            sorted: tally.sorted,
            exceptions: tally
                .exceptions
                .iter()
                .map(|(reason, count)| (reason.name().to_owned(), *count))
                .collect(),
            lost: tally.lost,
            in_flight: self.state.passes.len() as u64,
            recirculated: tally.recirculated,
            manual_ratio: if tally.inducted == 0 { 0.0 } else { manual as f64 / tally.inducted as f64 },
        }
    }

    fn show_pass(&self, key: PassKey, pass: &Pass, belt: i64) -> PassStatus {
        let (to, reason) = match pass.phase {
            Phase::Reading | Phase::AwaitingOrder => (None, None),
            Phase::OffCourse { reason, .. } => {
                (Some(self.chute_name(self.site.exception_chute)), Some(reason.name().to_owned()))
            }
            Phase::Bound(bound) => match bound.to {
                Target::Chute(chute) => (Some(self.chute_name(chute)), None),
                Target::Exception(chute, reason) => {
                    (Some(self.chute_name(chute)), Some(reason.name().to_owned()))
                }
                Target::Recirculate(reason) => (None, Some(reason.name().to_owned())),
            },
        };
        PassStatus {
            pass: format!("{}-{}", key.epoch, key.track),
            position_mm: self.mm(belt - pass.origin),
            length_mm: pass.length_mm,
            key: pass.identity.as_ref().map(|identity| identity.key.0.clone()),
            to,
            reason,
        }
    }

    fn show_chute(&self, chute: &Chute, state: &ChuteState) -> ChuteStatus {
        let near_full = u32::from(chute.capacity) * u32::from(self.site.belt.near_full_percent) / 100;
        let (name, set_by) = if let Some(by) = &state.locked_by {
            ("locked", Some(by.clone()))
        } else if state.failures >= self.site.belt.confirm_failures {
            ("faulted", Some("confirm failures".to_owned()))
        } else if state.disabled {
            ("disabled", Some("plc".to_owned()))
        } else if let Some(by) = &state.closing_by {
            ("closing", Some(by.clone()))
        } else if state.full_sensor {
            ("full", Some("sensor".to_owned()))
        } else if state.filled >= chute.capacity {
            ("full", Some("count".to_owned()))
        } else if u32::from(state.filled) + u32::from(state.reserved) >= near_full {
            ("near_full", Some("count".to_owned()))
        } else {
            ("open", None)
        };
        ChuteStatus {
            number: chute.number.0,
            name: chute.name.clone(),
            position_mm: chute.position_mm,
            state: name.to_owned(),
            set_by,
            filled: state.filled,
            reserved: state.reserved,
            capacity: chute.capacity,
            exception: self.is_exception(chute.number),
        }
    }

    fn is_exception(&self, number: ChuteNo) -> bool {
        number == self.site.exception_chute
    }
}
