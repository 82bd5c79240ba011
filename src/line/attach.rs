//! The PLC comes and goes: what its connection brings, a restart of it, a new numbering, commands that stand.

use super::actions::Actions;
use super::core::{Core, fact_of};
use super::encoder::extend;
use super::event::{Command, PlcAttached};
use super::outcome::{Outcome, Reason};
use super::record::{Decided, Fact, Target};
use super::state::{Bound, Phase};
use super::{ChuteNo, PassKey, Tick};
use crate::wire::plc::{CommandSlot, next_seq, seq_distance};

/// A sequence farther ahead than this is one from before, come again.
pub(super) const HALF_CIRCLE: u16 = 32_768;

/// What a 32-bit counter counts before it is where it was.
const COUNTER_CIRCLE: i64 = 1 << 32;

/// A belt that was let go or pushed back by hand moves less than this.
const RUNS_BACK_MOST_MM: i64 = 10_000;

impl Core {
    /// The PLC's connection stands.
    pub(super) fn plc_attached(&mut self, now: Tick, attached: &PlcAttached, out: &mut Actions) {
        let new_epoch = self.state.plc.epoch != Some(attached.epoch);
        if new_epoch {
            self.new_epoch(now, attached, out);
        } else if attached.resync != self.state.plc.resync {
            self.renumbered(attached);
        }
        self.state.plc.resync = attached.resync;
        let pulses = if new_epoch {
            i64::from(attached.encoder.pulses)
        } else {
            let pulses = extend(self.state.belt, attached.encoder.pulses);
            // A belt runs back by a little at most. One that seems to be far back has run on for more than
            // half of what the counter holds.
            let back_mm = self.mm(self.state.belt.saturating_sub(pulses));
            if back_mm > RUNS_BACK_MOST_MM { pulses + COUNTER_CIRCLE } else { pulses }
        };
        self.state.plc.attached = true;
        self.state.plc.catching_up_to =
            (attached.head != self.state.plc.last_seq).then_some(attached.head).filter(|head| *head != 0);
        self.commands_taken(attached.taken);
        if !new_epoch {
            self.adopt_commands(now, attached, out);
        }
        if self.state.commands.next == 0 {
            self.state.commands.next = 1;
        }
        self.state.belt = if new_epoch { pulses } else { self.state.belt.max(pulses) };
        self.state.speed_mm_s = attached.encoder.speed_mm_s;
        if !attached.flags.running {
            // What has come to stand unseen is started again on purpose only.
            self.state.request.run = false;
        }
        self.plc_flags(now, attached.flags, out);
        self.ask_plc(out);
        out.commands.push(Command::Request(self.state.request));
        out.commands.extend(self.close_up(attached).into_iter().map(Command::Divert));
    }

    /// What stands neither taken nor in the PLC's table never reached it: it is given now. Commands that have
    /// become void meanwhile are gone from between them, and the PLC takes commands without a gap, so they
    /// close up behind the newest one it has. Nothing that it may have is ever given a new sequence.
    fn close_up(&mut self, attached: &PlcAttached) -> Vec<CommandSlot> {
        let newest = newest_command(attached);
        let reached = self.state.commands.outstanding.iter().take_while(|slot| !is_after(slot.seq, newest));
        let reached = reached.count();
        self.number_from(reached, next_seq(newest), attached.epoch);
        self.state.commands.outstanding.iter().skip(reached).copied().collect()
    }

    /// Gives the outstanding commands from place `from` on new sequences without a gap, `next` first.
    fn number_from(&mut self, from: usize, mut next: u16, epoch: u16) {
        for slot in self.state.commands.outstanding.iter_mut().skip(from) {
            let key = PassKey { epoch, track: slot.track };
            if let Some(Phase::Bound(bound)) = self.state.passes.get_mut(&key).map(|pass| &mut pass.phase)
                && bound.command == slot.seq
            {
                bound.command = next;
            }
            slot.seq = next;
            next = next_seq(next);
        }
        self.state.commands.next = next;
    }

    /// The PLC has restarted, or is seen for the first time: it knows none of the passes of before.
    fn new_epoch(&mut self, now: Tick, attached: &PlcAttached, out: &mut Actions) {
        let old: Vec<PassKey> = self.state.passes.keys().copied().collect();
        for key in old {
            self.end(now, key, Outcome::Exception { reason: Reason::Restart, chute: None }, out);
        }
        self.state.plc.epoch = Some(attached.epoch);
        self.state.plc.last_seq = attached.acknowledged;
        self.state.last_inducted = None;
        self.state.loose.clear();
        // An epoch may come again after a PLC has lost its memory; then its track ids do, too.
        self.state.ended.clear();
        self.state.ended_set.clear();
        self.state.plc.missing_told = 0;
        self.state.commands.outstanding.clear();
        self.state.commands.standing.clear();
        self.state.commands.next = next_seq(newest_command(attached));
        for chute in &mut self.state.chutes {
            chute.reserved = 0;
        }
    }

    /// Commands that stand in the PLC and that this state does not know: they were given just before a
    /// crash. They are in force, so they are taken over, never given again.
    fn adopt_commands(&mut self, now: Tick, attached: &PlcAttached, out: &mut Actions) {
        let last_known = before(self.state.commands.next);
        let mut unknown: Vec<CommandSlot> = attached
            .table
            .iter()
            .copied()
            .filter(|slot| slot.seq != 0 && is_after(slot.seq, last_known))
            .collect();
        unknown.sort_by_key(|slot| seq_distance(last_known, slot.seq));
        self.state.commands.standing.clear();
        for slot in unknown {
            self.state.commands.next = next_seq(slot.seq);
            if is_after(slot.seq, attached.taken) {
                self.state.commands.outstanding.push_back(slot);
            }
            let key = PassKey { epoch: attached.epoch, track: slot.track };
            if self.state.passes.contains_key(&key) {
                self.adopt_command(now, key, slot, out);
            } else {
                self.state.commands.standing.push(slot);
            }
        }
    }

    /// A command that stood in the PLC before this parcel's induction was read.
    pub(super) fn adopt_standing(&mut self, now: Tick, key: PassKey, out: &mut Actions) {
        let standing = &mut self.state.commands.standing;
        // The last one is the one in force.
        if let Some(at) = standing.iter().rposition(|slot| slot.track == key.track) {
            let slot = standing.remove(at);
            self.adopt_command(now, key, slot, out);
        }
    }

    fn adopt_command(&mut self, now: Tick, key: PassKey, slot: CommandSlot, out: &mut Actions) {
        let to = if slot.recirculate {
            Target::Recirculate(Reason::ChutesFull)
        } else if slot.chute == self.site.exception_chute.0 {
            Target::Exception(ChuteNo(slot.chute), Reason::Restart)
        } else {
            Target::Chute(ChuteNo(slot.chute))
        };
        let alternate = (slot.alternate != 0).then_some(ChuteNo(slot.alternate));
        self.release(key);
        let Some(pass) = self.state.passes.get(&key) else { return };
        let decided = Decided {
            pass: key,
            to,
            destination: None,
            orders: self.orders_on(key),
            candidates: Vec::new(),
            alternate,
            plan: self.state.plan.clone(),
            command: slot.seq,
            deadline_pulses: self.state.belt,
            at_pulses: self.state.belt,
            latency_ms: u32::try_from(now.ms_since(pass.inducted_at)).unwrap_or(u32::MAX),
        };
        let way = i64::from(self.site.belt.length_mm)
            + i64::from(self.site.belt.recirculation_mm.unwrap_or_default());
        let lost_at = self.lost_at(pass, way);
        fact_of(now, Fact::Decided(decided), out);
        self.decided_now(key);
        self.reserve(to, alternate);
        if let Some(pass) = self.state.passes.get_mut(&key) {
            pass.phase =
                Phase::Bound(Bound { to, alternate, earlier: None, command: slot.seq, slack_ms: None });
        }
        self.reschedule(key, lost_at);
    }

    /// The PLC's connection is gone: nothing more is asked of it until it is back.
    pub(super) fn plc_detached(&mut self, _now: Tick, out: &mut Actions) {
        self.state.plc.attached = false;
        self.count("plc_detached");
        self.ask_plc(out);
    }

    /// Register 102.
    pub(super) fn commands_taken(&mut self, taken: u16) {
        while let Some(first) = self.state.commands.outstanding.front() {
            if is_after(first.seq, taken) {
                break;
            }
            self.state.commands.outstanding.pop_front();
        }
    }

    /// Both sides have gone back to 0: sequences begin anew, and so do the commands that are not resolved.
    fn renumbered(&mut self, attached: &PlcAttached) {
        self.state.plc.last_seq = attached.acknowledged;
        self.state.plc.missing_told = 0;
        self.number_from(0, next_seq(newest_command(attached)), attached.epoch);
    }
}

/// Newest command sequence the PLC knows: taken, or standing in its table.
fn newest_command(attached: &PlcAttached) -> u16 {
    let standing = attached.table.iter().map(|slot| slot.seq).filter(|seq| *seq != 0);
    standing.fold(attached.taken, |newest, seq| if is_after(seq, newest) { seq } else { newest })
}

/// Whether `seq` comes after `than` on the circle of sequences.
pub(super) fn is_after(seq: u16, than: u16) -> bool {
    let ahead = seq_distance(than, seq);
    ahead != 0 && ahead < HALF_CIRCLE
}

/// The sequence before `seq`.
fn before(seq: u16) -> u16 {
    if seq <= 1 { u16::MAX } else { seq - 1 }
}
