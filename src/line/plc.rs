//! What the PLC says: ring events, state bits.
//!
//! The PLC owns position and divert; the core owns the tie between codes and track ids and the decision.
//! Ring events come in sequence. One that was used already comes again after a reconnect and is passed
//! over; a pass that the core has never heard of is adopted and ends with reason `restart`.

use super::actions::Actions;
use super::attach::{HALF_CIRCLE, is_after};
use super::core::{Core, fact_of};
use super::encoder::extend;
use super::outcome::{Outcome, Reason};
use super::record::{Alarm, Fact, Refusal, Severity, Target};
use super::state::{Bound, Mode, PASSES_MOST, Pass, Phase};
use super::{ChuteNo, PassKey, Tick};
use crate::wire::plc::{CommandResult, Discharge, PlcEvent, PlcEventKind, PlcFlags, seq_distance};

/// The bitmaps are read every few polls: a refusal that they do not bear out by then was for a moment only.
const REFUSAL_HOLDS_MS: u64 = 2_000;

/// Speed below which slack is not turned into time any more, mm/s.
const STANDING_MM_S: i64 = 50;

/// A record or a poll may be this far ahead of the last poll, in time at the nominal speed: the PLC counts as gone when
/// it has not answered for less.
pub(super) const AHEAD_MOST_MS: i64 = 2_000;

impl Core {
    /// The device says that records will never come. Whether they had sequences shows only in the ring: those
    /// that a full PLC dropped have none, those that were overwritten leave a gap that is still to come.
    pub(super) fn plc_events_missed(&mut self, now: Tick, missed: u32, out: &mut Actions) {
        self.state.plc.missing_told = self.state.plc.missing_told.saturating_add(missed);
        self.missed(now, missed, out);
    }

    /// A gap in the sequences; what was told of it before is not counted twice.
    fn gap_in_ring(&mut self, now: Tick, gap: u16, out: &mut Actions) {
        let told = self.state.plc.missing_told.min(u32::from(gap));
        self.state.plc.missing_told -= told;
        if u32::from(gap) > told {
            self.missed(now, u32::from(gap) - told, out);
        }
    }

    fn missed(&mut self, now: Tick, missed: u32, out: &mut Actions) {
        self.count_all("plc_events_missed", u64::from(missed));
        let alarm = Alarm {
            id: "plc-events-missed".to_owned(),
            severity: Severity::Critical,
            text: format!(
                "{missed} events of the PLC are missing: overwritten before they were read, or not to be \
                 understood"
            ),
            remedy:
                "look for the parcels that end as lost now; `sortd status` counts at the PLC which it was: \
                     after events_missed find out why sortd or the network stood still, after bad_event what \
                     the PLC's program wrote"
                    .to_owned(),
        };
        self.raise(now, alarm, out);
    }

    /// State bits.
    pub(super) fn plc_flags(&mut self, now: Tick, flags: PlcFlags, out: &mut Actions) {
        let before = std::mem::replace(&mut self.state.plc.flags, flags);
        if flags.e_stop && !before.e_stop {
            // After the reset the line stands until someone starts it on purpose.
            self.state.mode = Mode::Stopped;
        }
        let alarms = [
            (flags.e_stop, "e-stop", Severity::Critical, "emergency stop is active", E_STOP_REMEDY),
            (flags.jam, "jam", Severity::Critical, "the PLC reports a jam", JAM_REMEDY),
            (
                flags.drive_fault,
                "drive-fault",
                Severity::Critical,
                "the PLC reports a drive fault",
                DRIVE_REMEDY,
            ),
            (flags.manual, "manual-mode", Severity::Warning, "the PLC is in manual mode", MANUAL_REMEDY),
        ];
        for (on, id, severity, text, remedy) in alarms {
            if on {
                let alarm =
                    Alarm { id: id.to_owned(), severity, text: text.to_owned(), remedy: remedy.to_owned() };
                self.raise(now, alarm, out);
            } else {
                self.clear_alarm(now, id, out);
            }
        }
        self.ask_plc(out);
    }

    /// One ring record.
    pub(super) fn plc_event(&mut self, now: Tick, event: &PlcEvent, out: &mut Actions) {
        let ahead = seq_distance(self.state.plc.last_seq, event.seq);
        // Nothing of a numbering that begins can come again.
        let begins = self.state.plc.last_seq == 0;
        if ahead == 0 || (ahead >= HALF_CIRCLE && !begins) {
            self.count("plc_event_again");
            return;
        }
        if ahead > 1 {
            self.gap_in_ring(now, ahead - 1, out);
        }
        self.state.plc.last_seq = event.seq;
        match self.place_of(event) {
            Some(place) => self.state.belt = self.state.belt.max(place),
            None => self.count("encoder_ahead"),
        }
        self.caught_up();
        let Some(epoch) = self.state.plc.epoch else { return };
        let key = PassKey { epoch, track: event.track };
        match event.kind {
            PlcEventKind::Inducted => self.inducted(now, key, event, out),
            PlcEventKind::EyePassed { eye } => self.eye_passed(now, key, eye, event, out),
            PlcEventKind::Unexpected { .. } => self.count("unexpected_at_eye"),
            PlcEventKind::Discharged { chute, how } => self.discharged(now, key, ChuteNo(chute), how, out),
            PlcEventKind::DivertFailed { chute } => self.divert_failed(now, key, ChuteNo(chute), out),
            PlcEventKind::Removed { reason } => self.removed(now, key, reason, out),
            PlcEventKind::ChuteChanged { chute } => self.chute_changed(now, ChuteNo(chute), out),
            PlcEventKind::Button { chute } => {
                self.close_chute(now, ChuteNo(chute), "button at the chute", out)
            }
            PlcEventKind::CommandResult { chute, result } => {
                self.command_result(now, key, ChuteNo(chute), result, event, out);
            }
            // What it means was done at the attach that came before it.
            PlcEventKind::Resynced => self.count("resynced"),
        }
    }

    /// Whether a record lies farther ahead of the belt, as far as it is known here, than the belt can be.
    pub(super) fn is_ahead(&self, event: &PlcEvent) -> bool {
        let ahead_mm = self.mm(extend(self.state.belt, event.encoder) - self.state.belt);
        ahead_mm > i64::from(self.site.belt.speed_mm_s) * AHEAD_MOST_MS / 1000
    }

    /// Where the belt was when a record was written; `None` where it cannot have been there yet. One wrong
    /// encoder value must not carry the belt away: every parcel on it would count as lost.
    fn place_of(&self, event: &PlcEvent) -> Option<i64> {
        (!self.is_ahead(event)).then(|| extend(self.state.belt, event.encoder))
    }

    /// Everything that stood in the ring at the attach has been used: places are up to date again.
    fn caught_up(&mut self) {
        let last = self.state.plc.last_seq;
        if self.state.plc.catching_up_to.is_some_and(|head| !is_after(head, last)) {
            self.state.plc.catching_up_to = None;
        }
    }

    fn inducted(&mut self, now: Tick, key: PassKey, event: &PlcEvent, out: &mut Actions) {
        let place = self.place_of(event);
        let origin = place.unwrap_or(self.state.belt);
        if self.state.ended_set.contains_key(&key) {
            // Ids are not reused within an epoch: this is a record from before a resync, come again.
            self.count("late_event");
            return;
        }
        if let Some(known) = self.state.passes.get(&key) {
            if known.origin == origin && known.length_mm == event.length_mm {
                self.count("plc_event_again");
                return;
            }
            // The PLC has given the id away while its parcel was still expected: that one is gone.
            self.count("track_id_reused");
            self.end(now, key, Outcome::Lost, out);
        }
        self.begin(now, key, origin, event.length_mm, out);
        self.adopt_standing(now, key, out);
        if event.length_mm > self.site.belt.longest_parcel_mm {
            self.blemish(key, Reason::TooLong);
        }
        if place.is_none() {
            self.blemish(key, Reason::TrackingLost);
        }
        self.keep_gap(now, key, origin, out);
        self.tie_loose(now, out);
        self.belt_reached(now, self.state.belt, out);
    }

    /// A parcel has come to the eye, on its first lap or a later one: is the one in front far enough away?
    fn keep_gap(&mut self, now: Tick, key: PassKey, origin: i64, out: &mut Actions) {
        let before = self.state.last_inducted.replace(key).filter(|before| *before != key);
        let gap_mm = before.and_then(|before| {
            let pass = self.state.passes.get(&before)?;
            Some(self.mm(origin - pass.origin) - i64::from(pass.length_mm))
        });
        if let Some(before) = before
            && gap_mm.is_some_and(|gap| gap < i64::from(self.site.belt.least_gap_mm))
        {
            self.blemish(key, Reason::Gap);
            self.blemish(before, Reason::Gap);
            self.too_close(now, before, out);
            self.too_close(now, key, out);
        }
    }

    /// The parcel in front has a neighbour too close behind it: if it is decided, that no longer stands.
    fn too_close(&mut self, now: Tick, key: PassKey, out: &mut Actions) {
        let decided = self.state.passes.get(&key).is_some_and(|pass| match pass.phase {
            Phase::AwaitingOrder => true,
            Phase::Bound(bound) => matches!(bound.to, Target::Chute(_) | Target::Recirculate(_)),
            Phase::Reading | Phase::OffCourse { .. } => false,
        });
        if decided {
            self.redirect(now, key, Reason::Gap, out);
        }
    }

    /// A pass begins.
    pub(super) fn begin(&mut self, now: Tick, key: PassKey, origin: i64, length_mm: u16, out: &mut Actions) {
        let pass = Pass {
            inducted_at: now,
            origin,
            length_mm,
            lap: 0,
            blemish: None,
            readings: Vec::new(),
            answered: 0,
            identity: None,
            phase: Phase::Reading,
            due: i64::MAX,
        };
        if self.state.passes.len() >= PASSES_MOST
            && let Some(oldest) = self.state.passes.keys().next().copied()
        {
            self.count("passes_over_limit");
            self.lost(now, oldest, out);
        }
        self.state.passes.insert(key, pass);
        self.state.tally.inducted += 1;
        fact_of(now, Fact::Inducted { pass: key, length_mm }, out);
        let closed = origin + self.pulses(self.reads_closed_mm(length_mm));
        self.reschedule(key, closed);
    }

    fn eye_passed(&mut self, now: Tick, key: PassKey, eye: u16, event: &PlcEvent, out: &mut Actions) {
        if eye != 0 {
            return;
        }
        if !self.state.passes.contains_key(&key) {
            self.unknown_pass(now, key, None, out);
            return;
        }
        self.release(key);
        let place = self.place_of(event);
        let origin = place.unwrap_or(self.state.belt);
        if place.is_none() {
            self.blemish(key, Reason::TrackingLost);
        }
        let Some(pass) = self.state.passes.get_mut(&key) else { return };
        pass.lap = pass.lap.saturating_add(1);
        pass.origin = origin;
        pass.phase = Phase::Reading;
        pass.answered = 0;
        let (lap, length_mm, identified) = (pass.lap, pass.length_mm, pass.identity.is_some());
        self.state.tally.recirculated += 1;
        fact_of(now, Fact::Recirculated { pass: key, lap }, out);
        self.keep_gap(now, key, origin, out);
        if identified {
            self.close_reads(now, key, out);
        } else {
            let closed = origin + self.pulses(self.reads_closed_mm(length_mm));
            self.reschedule(key, closed);
        }
    }

    fn discharged(&mut self, now: Tick, key: PassKey, chute: ChuteNo, how: Discharge, out: &mut Actions) {
        if !self.state.passes.contains_key(&key) {
            // One that was given up as lost, or never heard of, takes its place all the same.
            if matches!(self.state.ended_set.get(&key), None | Some(Outcome::Lost)) {
                self.fill(chute);
            }
            if let Some(outcome) = self.state.ended_set.get_mut(&key) {
                // It has been seen now: the same record come again is not another parcel.
                *outcome = Outcome::Exception { reason: Reason::TrackingLost, chute: Some(chute) };
            }
            self.unknown_pass(now, key, Some(chute), out);
            return;
        }
        let Some(phase) = self.state.passes.get(&key).map(|pass| pass.phase) else { return };
        let (intended, fallback) = match phase {
            Phase::Bound(Bound { to: Target::Chute(_), .. }) => (None, Reason::LateDecision),
            Phase::Bound(Bound { to: Target::Exception(_, reason), .. })
            | Phase::Bound(Bound { to: Target::Recirculate(reason), .. })
            | Phase::OffCourse { reason, .. } => (Some(reason), reason),
            Phase::Reading | Phase::AwaitingOrder => (None, Reason::LateDecision),
        };
        let outcome = match how {
            Discharge::Confirmed => self.confirmed(now, key, phase, chute, intended, out),
            Discharge::NoCommand => Outcome::Exception { reason: fallback, chute: Some(chute) },
            Discharge::Unconfirmed => Outcome::Exception { reason: Reason::Unconfirmed, chute: None },
            Discharge::Purged => Outcome::Exception { reason: Reason::Purge, chute: Some(chute) },
        };
        self.fill(chute);
        self.end(now, key, outcome, out);
        if how == Discharge::Unconfirmed {
            self.confirm_failed(now, chute, out);
        }
    }

    /// One more parcel lies in a chute.
    fn fill(&mut self, chute: ChuteNo) {
        if let Some(at) = self.chute_at(chute) {
            self.state.chutes[at].filled = self.state.chutes[at].filled.saturating_add(1);
        }
    }

    /// The confirm sensor of `chute` saw it: was that where it was meant to go?
    fn confirmed(
        &mut self,
        now: Tick,
        key: PassKey,
        phase: Phase,
        chute: ChuteNo,
        intended: Option<Reason>,
        out: &mut Actions,
    ) -> Outcome {
        // A fault that was said waits for a person.
        if let Some(at) = self.chute_at(chute)
            && self.state.chutes[at].failures < self.site.belt.confirm_failures
        {
            self.state.chutes[at].failures = 0;
        }
        let exception = match phase {
            Phase::Bound(Bound { to: Target::Exception(chute, _), .. }) => chute,
            Phase::Bound(_) | Phase::Reading | Phase::AwaitingOrder | Phase::OffCourse { .. } => {
                self.site.exception_chute
            }
        };
        match (phase, intended) {
            (Phase::Bound(Bound { to: Target::Chute(to), alternate, .. }), _)
                if to == chute || alternate == Some(chute) =>
            {
                Outcome::Sorted { chute }
            }
            // The newer command was not in time, and the chute of the older one is as good.
            (Phase::Bound(Bound { earlier, .. }) | Phase::OffCourse { earlier, .. }, _)
                if earlier == Some(chute) && self.serves(key, chute) =>
            {
                Outcome::Sorted { chute }
            }
            (_, Some(reason)) if chute == exception => Outcome::Exception { reason, chute: Some(chute) },
            (_, None) if chute == exception => {
                Outcome::Exception { reason: Reason::DivertFailed, chute: Some(chute) }
            }
            _ => {
                self.state.tally.misdirected += 1;
                let alarm = Alarm {
                    // Numbers that are none of this line's share one alarm.
                    id: self
                        .chute_at(chute)
                        .map_or("wrong-chute".to_owned(), |_| format!("wrong-chute-{}", chute.0)),
                    severity: Severity::Critical,
                    text: format!("parcel {}-{} is in chute {} by mistake", key.epoch, key.track, chute.0),
                    remedy: "take it out of the bag before the bag is closed; check the divert's timing"
                        .to_owned(),
                };
                self.raise(now, alarm, out);
                Outcome::Exception { reason: Reason::DivertFailed, chute: Some(chute) }
            }
        }
    }

    /// The chute is one of its order's destination, and nothing holds the order.
    fn serves(&self, key: PassKey, chute: ChuteNo) -> bool {
        self.state
            .passes
            .get(&key)
            .and_then(|pass| self.orders.bound(&pass.identity.as_ref()?.key))
            .filter(|order| self.held_back(key, order).is_none())
            .is_some_and(|order| self.takes(chute, &order))
    }

    fn divert_failed(&mut self, now: Tick, key: PassKey, chute: ChuteNo, out: &mut Actions) {
        if !self.state.passes.contains_key(&key) {
            self.unknown_event(key);
            return;
        }
        self.off_course(key, Reason::DivertFailed, None);
        self.confirm_failed(now, chute, out);
    }

    fn confirm_failed(&mut self, now: Tick, chute: ChuteNo, out: &mut Actions) {
        let Some(at) = self.chute_at(chute) else { return };
        let failures = self.state.chutes[at].failures.saturating_add(1);
        self.state.chutes[at].failures = failures;
        if failures == self.site.belt.confirm_failures {
            let name = &self.site.chutes[at].name;
            let alarm = Alarm {
                id: format!("chute-{}-faulted", chute.0),
                severity: Severity::Critical,
                text: format!("chute {name}: {failures} diverts in a row were not confirmed"),
                remedy: format!(
                    "look for a jam and a dirty confirm sensor at {name}, then `sortd chute {} unlock`",
                    chute.0
                ),
            };
            self.raise(now, alarm, out);
            self.chute_closed(now, chute, out);
        }
    }

    /// It will go to the PLC's exception chute by itself.
    fn off_course(&mut self, key: PassKey, reason: Reason, earlier: Option<ChuteNo>) {
        self.release(key);
        // An earlier command may send it round.
        let way = i64::from(self.site.belt.length_mm)
            + i64::from(self.site.belt.recirculation_mm.unwrap_or_default());
        let Some(pass) = self.state.passes.get(&key) else { return };
        let lost_at = self.lost_at(pass, way);
        if let Some(pass) = self.state.passes.get_mut(&key) {
            pass.phase = Phase::OffCourse { reason, earlier };
        }
        self.reschedule(key, lost_at);
    }

    fn removed(&mut self, now: Tick, key: PassKey, reason: u16, out: &mut Actions) {
        if !self.state.passes.contains_key(&key) {
            self.unknown_pass(now, key, None, out);
            return;
        }
        let outcome = match reason {
            1 => Outcome::Lost,
            2 => Outcome::Exception { reason: Reason::Purge, chute: None },
            _ => Outcome::Exception { reason: Reason::TrackingLost, chute: None },
        };
        self.end(now, key, outcome, out);
    }

    fn command_result(
        &mut self,
        now: Tick,
        key: PassKey,
        chute: ChuteNo,
        result: CommandResult,
        event: &PlcEvent,
        out: &mut Actions,
    ) {
        let command = event.carrier;
        // A result of a numbering that is over comes again under the old number.
        if self.state.commands.outstanding.iter().any(|slot| slot.seq == command && slot.track == key.track) {
            self.commands_taken(command);
        }
        let Some(pass) = self.state.passes.get(&key) else {
            self.unknown_event(key);
            return;
        };
        let Phase::Bound(bound) = pass.phase else { return };
        if bound.command != command {
            // An older command of this pass, overtaken by a newer one.
            return;
        }
        let refusal = match result {
            CommandResult::Taken => {
                let decision_mm = self.chute_at(chute).map_or(i64::from(self.site.belt.length_mm), |at| {
                    i64::from(self.site.chutes[at].decision_mm)
                });
                let place = self.place_of(event).unwrap_or(self.state.belt);
                let left_mm = decision_mm - self.mm(place - pass.origin);
                let slack_ms =
                    i32::try_from(left_mm * 1000 / self.speed().max(STANDING_MM_S)).unwrap_or(i32::MAX);
                self.measures.slack(slack_ms);
                fact_of(now, Fact::Acknowledged { pass: key, command, slack_ms }, out);
                if let Some(Phase::Bound(bound)) = self.state.passes.get_mut(&key).map(|pass| &mut pass.phase)
                {
                    bound.slack_ms = Some(slack_ms);
                    bound.earlier = None;
                }
                return;
            }
            CommandResult::UnknownId => Refusal::UnknownId,
            CommandResult::TooLate => Refusal::TooLate,
            CommandResult::ChuteFull => Refusal::ChuteFull,
            CommandResult::ChuteDisabled => Refusal::ChuteDisabled,
        };
        self.count("command_refused");
        fact_of(now, Fact::Refused { pass: key, command, why: refusal }, out);
        match refusal {
            Refusal::UnknownId => self.off_course(key, Reason::TrackingLost, None),
            Refusal::TooLate => {
                let reason = match bound.to {
                    Target::Exception(_, reason) => reason,
                    Target::Chute(_) | Target::Recirculate(_) => Reason::LateDecision,
                };
                self.off_course(key, reason, bound.earlier);
            }
            Refusal::ChuteFull | Refusal::ChuteDisabled => self.chute_refused(now, key, bound, out),
        }
    }

    /// The PLC's own sensors close the chute; the bitmaps will say the same in a moment.
    fn chute_refused(&mut self, now: Tick, key: PassKey, bound: Bound, out: &mut Actions) {
        match bound.to {
            Target::Chute(chute) => {
                if let Some(at) = self.chute_at(chute) {
                    self.state.chutes[at].refused_until = now.plus_ms(REFUSAL_HOLDS_MS);
                }
                self.decide_again(now, key, out);
            }
            Target::Exception(_, reason) | Target::Recirculate(reason) => self.off_course(key, reason, None),
        }
    }

    /// An event about a pass that is not in flight.
    fn unknown_event(&mut self, key: PassKey) {
        if self.state.ended_set.contains_key(&key) {
            self.count("late_event");
        } else {
            self.count("unknown_track");
        }
    }

    /// A place is told for a pass that is not in flight: one that has ended is counted, one never heard of
    /// is taken in, so that nothing on the belt is forgotten.
    fn unknown_pass(&mut self, now: Tick, key: PassKey, chute: Option<ChuteNo>, out: &mut Actions) {
        self.unknown_event(key);
        if self.state.ended_set.contains_key(&key) {
            return;
        }
        self.begin(now, key, self.state.belt, 0, out);
        self.end(now, key, Outcome::Exception { reason: Reason::Restart, chute }, out);
    }
}

const E_STOP_REMEDY: &str =
    "make the place safe, reset the emergency stop at the line, then start it with `sortd line start`";
const JAM_REMEDY: &str = "clear the jam at the line and acknowledge it at the PLC";
const DRIVE_REMEDY: &str = "call maintenance for the drive; the PLC's panel names it";
const MANUAL_REMEDY: &str = "finish the work at the line and switch the PLC back to automatic";
