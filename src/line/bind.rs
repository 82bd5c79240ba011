//! A choice comes into force: places in chutes are reserved, the decision is recorded, the command goes out.

use super::actions::Actions;
use super::core::{Core, fact_of};
use super::decide::Choice;
use super::event::Command;
use super::outcome::Reason;
use super::record::{Decided, Fact, Target};
use super::state::{Bound, Phase};
use super::{ChuteNo, PassKey, Tick};
use crate::wire::plc::{CommandSlot, next_seq};

impl Core {
    /// Puts a choice into force: reservations, record, command.
    pub(super) fn bind(
        &mut self,
        now: Tick,
        key: PassKey,
        choice: Choice,
        destination: Option<String>,
        out: &mut Actions,
    ) {
        self.release(key);
        // What was given for it before need never be given again.
        self.forget_commands(key);
        let seq = self.state.commands.next;
        let Some(pass) = self.state.passes.get(&key) else { return };
        let earlier = match choice.to {
            Target::Chute(_)
            | Target::Recirculate(_)
            | Target::Exception(_, Reason::ChutesFull | Reason::RecirculationLimit | Reason::LateDecision) => {
                pass.chute_in_force()
            }
            // What speaks against the parcel itself speaks against every chute.
            Target::Exception(..) => None,
        };
        let deadline_mm = match choice.to {
            Target::Chute(chute) => self.chute_at(chute).map_or(0, |at| self.deadline_mm(at)),
            Target::Exception(..) | Target::Recirculate(_) => self.nearest_deadline_mm(None),
        };
        let since_induction_us = now.0.saturating_sub(pass.inducted_at.0);
        let reaction_us = now.0.saturating_sub(self.stamped.0);
        let decided = Decided {
            pass: key,
            to: choice.to,
            destination,
            orders: self.orders_on(key),
            candidates: choice.candidates,
            alternate: choice.alternate,
            plan: self.state.plan.clone(),
            command: seq,
            deadline_pulses: pass.origin + self.pulses(deadline_mm),
            at_pulses: self.state.belt,
            latency_ms: u32::try_from(since_induction_us / 1000).unwrap_or(u32::MAX),
        };
        let target_mm = match choice.to {
            Target::Chute(chute) | Target::Exception(chute, _) => {
                self.chute_at(chute).map_or(i64::from(self.site.belt.length_mm), |at| {
                    i64::from(self.site.chutes[at].position_mm)
                })
            }
            Target::Recirculate(_) => {
                i64::from(self.site.belt.length_mm)
                    + i64::from(self.site.belt.recirculation_mm.unwrap_or_default())
            }
        };
        // The alternate and the PLC's own exception chute may lie behind the target; and one that was sent round
        // goes round if this command comes too late.
        let goes_round = matches!(pass.phase, Phase::Bound(Bound { to: Target::Recirculate(_), .. }));
        let round_mm = self.site.belt.recirculation_mm.filter(|_| goes_round).unwrap_or_default();
        let farthest_mm = target_mm.max(i64::from(self.site.belt.length_mm) + i64::from(round_mm));
        let lost_at = self.lost_at(pass, farthest_mm);
        let slot = CommandSlot {
            seq,
            track: key.track,
            chute: match choice.to {
                Target::Chute(chute) | Target::Exception(chute, _) => chute.0,
                Target::Recirculate(_) => 0,
            },
            alternate: choice.alternate.map_or(0, |chute| chute.0),
            cancel: false,
            recirculate: matches!(choice.to, Target::Recirculate(_)),
        };
        // What is decided again, because of what came later, says nothing of how fast decisions are.
        let first = matches!(pass.phase, Phase::Reading | Phase::AwaitingOrder) && pass.lap == 0;
        self.measures.decided(first.then_some(since_induction_us), reaction_us);
        fact_of(now, Fact::Decided(decided), out);
        self.decided_now(key);
        self.reserve(choice.to, choice.alternate);
        if let Some(pass) = self.state.passes.get_mut(&key) {
            pass.phase = Phase::Bound(Bound {
                to: choice.to,
                alternate: choice.alternate,
                earlier,
                command: seq,
                slack_ms: None,
            });
        }
        self.reschedule(key, lost_at);
        self.command(slot, out);
    }

    /// Gives the next command; its sequence is the one that is due.
    fn command(&mut self, slot: CommandSlot, out: &mut Actions) {
        self.state.commands.next = next_seq(slot.seq);
        self.state.commands.outstanding.push_back(slot);
        out.commands.push(Command::Divert(slot));
    }

    /// Takes back what was commanded for a pass of the PLC's present epoch.
    pub(super) fn cancel(&mut self, key: PassKey, out: &mut Actions) {
        let bound = self.state.passes.get(&key).is_some_and(|pass| matches!(pass.phase, Phase::Bound(_)));
        if bound && self.state.plc.attached && self.state.plc.epoch == Some(key.epoch) {
            let seq = self.state.commands.next;
            let slot = CommandSlot { seq, track: key.track, cancel: true, ..CommandSlot::default() };
            self.command(slot, out);
        }
    }

    /// Commands for a pass that are not to be given again after a disconnection. Those behind them close up
    /// when the PLC is attached again.
    pub(super) fn forget_commands(&mut self, key: PassKey) {
        if self.state.plc.epoch == Some(key.epoch) {
            self.state.commands.outstanding.retain(|slot| slot.track != key.track);
        }
    }

    pub(super) fn reserve(&mut self, to: Target, alternate: Option<ChuteNo>) {
        let chute = match to {
            Target::Chute(chute) => Some(chute),
            Target::Exception(..) | Target::Recirculate(_) => None,
        };
        for chute in [chute, alternate].into_iter().flatten() {
            if let Some(at) = self.chute_at(chute) {
                self.state.chutes[at].reserved += 1;
            }
        }
    }

    /// Gives back what a pass has reserved.
    pub(super) fn release(&mut self, key: PassKey) {
        let Some(Phase::Bound(bound)) = self.state.passes.get(&key).map(|pass| pass.phase) else { return };
        let chute = match bound.to {
            Target::Chute(chute) => Some(chute),
            Target::Exception(..) | Target::Recirculate(_) => None,
        };
        for chute in [chute, bound.alternate].into_iter().flatten() {
            if let Some(at) = self.chute_at(chute) {
                let reserved = &mut self.state.chutes[at].reserved;
                *reserved = reserved.saturating_sub(1);
            }
        }
    }

    #[cfg(test)]
    pub fn assert_reservations(&self) {
        for (chute, state) in self.site.chutes.iter().zip(&self.state.chutes) {
            let reserved = self
                .state
                .passes
                .values()
                .filter(|pass| match pass.phase {
                    Phase::Bound(bound) => {
                        bound.to == Target::Chute(chute.number) || bound.alternate == Some(chute.number)
                    }
                    Phase::Reading | Phase::AwaitingOrder | Phase::OffCourse { .. } => false,
                })
                .count();
            assert_eq!(usize::from(state.reserved), reserved, "reservations of {}", chute.name);
        }
    }
}
