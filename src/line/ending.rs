//! How passes end, and what operators and chutes change.

use super::actions::Actions;
use super::core::{Core, fact_of};
use super::event::{Ask, Asked};
use super::outcome::{Outcome, Reason};
use super::record::{Fact, Report, Target};
use super::state::{ENDED_KEPT, LAST_SHOWN, Mode, Phase, RUN_STANDS_MS};
use super::status::EndedStatus;
use super::{ChuteNo, PassKey, Tick};

impl Core {
    /// Ends a pass: the one place where that happens.
    pub(super) fn end(&mut self, now: Tick, key: PassKey, outcome: Outcome, out: &mut Actions) {
        self.release(key);
        self.reschedule(key, i64::MAX);
        self.forget_commands(key);
        let Some(pass) = self.state.passes.remove(&key) else { return };
        match outcome {
            Outcome::Sorted { .. } => self.state.tally.sorted += 1,
            Outcome::Exception { reason, .. } => *self.state.tally.exceptions.entry(reason).or_default() += 1,
            Outcome::Lost => self.state.tally.lost += 1,
        }
        let order = pass.identity.as_ref().and_then(|identity| self.orders.bound(&identity.key));
        let plan = self.plan_of_ended(key);
        // The routes of a plan that is no longer in force are not at hand.
        let by_route = plan == self.state.plan;
        let destination =
            order.map(|order| if by_route { self.bound_for(&order) } else { order.destination });
        if let (Outcome::Sorted { .. }, Some(identity)) = (outcome, &pass.identity) {
            self.orders.sorted(&identity.key, now);
        }
        let slack_ms = match pass.phase {
            Phase::Bound(bound) => bound.slack_ms,
            Phase::Reading | Phase::AwaitingOrder | Phase::OffCourse { .. } => None,
        };
        let fact = Fact::Ended {
            pass: key,
            key: pass.identity.as_ref().map(|identity| identity.key.clone()),
            uri: pass.identity.as_ref().and_then(|identity| identity.uri.clone()),
            outcome,
            plan,
            slack_ms,
            destination,
        };
        fact_of(now, fact, out);
        self.remember(key, outcome, pass.identity.map(|identity| identity.key.0));
        if self.state.mode == Mode::Purging && self.state.passes.is_empty() {
            self.state.mode = Mode::Stopped;
            self.ask_plc(out);
        }
    }

    fn remember(&mut self, key: PassKey, outcome: Outcome, identity: Option<String>) {
        if self.state.ended.len() == ENDED_KEPT
            && let Some(oldest) = self.state.ended.pop_front()
        {
            self.state.ended_set.remove(&oldest);
        }
        self.state.ended.push_back(key);
        self.state.ended_set.insert(key, outcome);
        let (name, reason, chute) = match outcome {
            Outcome::Sorted { chute } => ("sorted", None, Some(chute)),
            Outcome::Exception { reason, chute } => ("exception", Some(reason.name().to_owned()), chute),
            Outcome::Lost => ("lost", None, None),
        };
        self.state.last.truncate(LAST_SHOWN - 1);
        self.state.last.push_front(EndedStatus {
            pass: format!("{}-{}", key.epoch, key.track),
            key: identity,
            outcome: name.to_owned(),
            reason,
            chute: chute.map(|chute| self.chute_name(chute)),
        });
    }

    pub(super) fn chute_name(&self, number: ChuteNo) -> String {
        self.chute_at(number).map_or_else(|| number.0.to_string(), |at| self.site.chutes[at].name.clone())
    }

    /// It has not arrived by one and a half times its way. What was commanded for it is taken back, so that
    /// whatever turns up under its track id goes to the exception chute.
    pub(super) fn lost(&mut self, now: Tick, key: PassKey, out: &mut Actions) {
        self.cancel(key, out);
        self.end(now, key, Outcome::Lost, out);
    }

    /// Full sensors and chutes disabled at the PLC.
    pub(super) fn chute_bits(&mut self, now: Tick, full: &[u16], disabled: &[u16], out: &mut Actions) {
        let mut closed = Vec::new();
        for chute in &mut self.state.chutes {
            let (full, disabled) = (bit(full, chute.number), bit(disabled, chute.number));
            if (full && !chute.full_sensor) || (disabled && !chute.disabled) {
                closed.push(ChuteNo(chute.number));
            }
            chute.full_sensor = full;
            chute.disabled = disabled;
        }
        for chute in closed {
            self.chute_closed(now, chute, out);
        }
    }

    /// The bag or cage of a chute was exchanged: the only thing that empties it.
    pub(super) fn chute_changed(&mut self, now: Tick, chute: ChuteNo, out: &mut Actions) {
        let Some(at) = self.chute_at(chute) else {
            self.count("unknown_chute");
            return;
        };
        let state = &mut self.state.chutes[at];
        let parcels = std::mem::take(&mut state.filled);
        state.closing_by = None;
        state.failures = 0;
        self.let_go_of_plans();
        fact_of(now, Fact::ChuteEmptied { chute, parcels }, out);
        self.clear_alarm(now, &format!("chute-{}-faulted", chute.0), out);
        self.clear_alarm(now, &format!("wrong-chute-{}", chute.0), out);
    }

    /// No more parcels until its bag or cage is exchanged.
    pub(super) fn close_chute(&mut self, now: Tick, chute: ChuteNo, by: &str, out: &mut Actions) {
        let Some(at) = self.chute_at(chute) else {
            self.count("unknown_chute");
            return;
        };
        self.state.chutes[at].closing_by = Some(by.to_owned());
        self.chute_closed(now, chute, out);
    }

    /// What an operator asked.
    pub(super) fn asked(&mut self, now: Tick, ask: &Ask, out: &mut Actions) {
        let by = || format!("operator:{}", ask.by);
        match &ask.what {
            Asked::LineStart => {
                if self.state.plc.flags.e_stop {
                    self.count("start_refused");
                    return;
                }
                self.state.mode = Mode::Normal;
                self.state.request.run = true;
                self.state.run_until = Some(now.plus_ms(RUN_STANDS_MS));
                self.ask_plc(out);
                out.commands.push(super::event::Command::Request(self.state.request));
                self.clear_alarm(now, "plc-events-missed", out);
            }
            Asked::LineStop => {
                self.state.mode = Mode::Stopped;
                self.ask_plc(out);
            }
            Asked::LinePurge => {
                self.state.mode = if self.state.passes.is_empty() { Mode::Stopped } else { Mode::Purging };
                self.ask_plc(out);
            }
            Asked::ChuteLock(chute) => {
                let Some(at) = self.chute_at(*chute) else {
                    self.count("unknown_chute");
                    return;
                };
                self.state.chutes[at].locked_by = Some(by());
                self.chute_closed(now, *chute, out);
            }
            Asked::ChuteUnlock(chute) => {
                let Some(at) = self.chute_at(*chute) else {
                    self.count("unknown_chute");
                    return;
                };
                self.state.chutes[at].locked_by = None;
                self.state.chutes[at].failures = 0;
                self.clear_alarm(now, &format!("chute-{}-faulted", chute.0), out);
            }
            Asked::ChuteClose(chute) => self.close_chute(now, *chute, &by(), out),
            Asked::ChuteChanged(chute) => self.chute_changed(now, *chute, out),
            Asked::ParcelFound(code) => self.reported(now, code, Report::Found, &ask.by, out),
            Asked::ParcelRemoved(code) => self.reported(now, code, Report::Removed, &ask.by, out),
            Asked::ParcelDamaged(code) => self.reported(now, code, Report::Damaged, &ask.by, out),
        }
    }

    /// A person tells about a parcel. One on the belt that was removed ends here; one that is damaged goes
    /// to the exception chute while it still can.
    fn reported(&mut self, now: Tick, code: &str, what: Report, by: &str, out: &mut Actions) {
        let wanted = crate::identify::key_of_order_code(&self.site.carriers, code).ok();
        let found = self
            .state
            .passes
            .iter()
            .find(|(_, pass)| {
                pass.identity.as_ref().is_some_and(|identity| {
                    Some(&identity.key) == wanted.as_ref() || identity.key.0 == code.trim()
                })
            })
            .map(|(key, pass)| (*key, pass.identity.as_ref().and_then(|identity| identity.uri.clone())));
        let (pass, uri) = found.map_or((None, None), |(key, uri)| (Some(key), uri));
        fact_of(now, Fact::Reported { pass, code: code.to_owned(), uri, what, by: by.to_owned() }, out);
        let Some(key) = pass else { return };
        match what {
            Report::Found => {}
            Report::Removed => {
                let reason = Reason::TrackingLost;
                self.end(now, key, Outcome::Exception { reason, chute: None }, out);
            }
            Report::Damaged => {
                let bound_to_chute = self.state.passes.get(&key).is_some_and(|pass| match pass.phase {
                    Phase::Bound(bound) => matches!(bound.to, Target::Chute(_) | Target::Recirculate(_)),
                    Phase::Reading | Phase::AwaitingOrder => true,
                    Phase::OffCourse { .. } => false,
                });
                self.blemish(key, Reason::Damaged);
                if bound_to_chute {
                    self.redirect(now, key, Reason::Damaged, out);
                }
            }
        }
    }
}

/// Bit `number` of a bitmap of 16-bit words.
fn bit(words: &[u16], number: u16) -> bool {
    words.get(usize::from(number / 16)).is_some_and(|word| word >> (number % 16) & 1 == 1)
}
