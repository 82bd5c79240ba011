//! Tracks: commands, decision points and diverts.

use sortd::wire::plc::{CommandResult, CommandSlot, Discharge, PlcEventKind};

use super::{Floor, Plc};
use crate::world::agenda::Crossing;
use crate::world::belt::NM_PER_MM;
use crate::world::parcel::ParcelId;

/// A command the PLC holds for a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Its sequence.
    pub seq: u16,
    /// Chute.
    pub chute: u16,
    /// Alternate; 0 none.
    pub alternate: u16,
    /// Another lap instead.
    pub recirculate: bool,
}

/// A body on the belt as the PLC sees it.
#[derive(Debug, Clone)]
pub struct Track {
    /// Belt travel at which its front was at the eye, as the PLC measured it.
    pub front_nm: i64,
    /// Length over the eye.
    pub length_mm: u16,
    /// The parcels it really is, with their distance behind the front.
    pub parcels: Vec<(ParcelId, i64)>,
    /// Command it holds.
    pub held: Option<Held>,
    /// Counts commands, so that an older one's plans fall away.
    pub command_no: u32,
    /// Past the decision point: goes there, and says so.
    pub locked: Option<(u16, Discharge)>,
    /// Being purged.
    pub purged: bool,
    /// Laps beyond the first.
    pub lap: u8,
    /// Has left the belt and is sliding.
    pub sliding: bool,
}

impl Plc {
    /// A body has cleared the induction eye: a track begins.
    pub fn begin_track(
        &mut self,
        front_nm: i64,
        rear_nm: i64,
        parcels: Vec<(ParcelId, i64)>,
        floor: &mut Floor<'_>,
    ) -> u32 {
        let id = self.next_track;
        self.next_track = self.next_track.checked_add(1).unwrap_or(1);
        self.inducted = self.inducted.wrapping_add(1);
        let length_mm = u16::try_from((rear_nm - front_nm) / NM_PER_MM).unwrap_or(u16::MAX);
        let track = Track {
            front_nm,
            length_mm,
            parcels,
            held: None,
            command_no: 0,
            locked: None,
            purged: false,
            lap: 0,
            sliding: false,
        };
        self.tracks.insert(id, track);
        let encoder = floor.belt.pulses(front_nm);
        self.record(PlcEventKind::Inducted, id, encoder, 0, length_mm);
        self.plan_last_decision(id, floor);
        id
    }

    /// Notes when the exception chute takes the track if nothing else does.
    pub fn plan_last_decision(&self, id: u32, floor: &mut Floor<'_>) {
        let (Some(track), Some(chute)) = (self.tracks.get(&id), floor.chutes.get(floor.exception)) else {
            return;
        };
        let at = track.front_nm + i64::from(chute.decision_mm) * NM_PER_MM;
        floor.agenda.cross(at, Crossing::LastDecision(id, track.lap));
    }

    /// One command out of the table.
    pub fn take_command(&mut self, slot: &CommandSlot, floor: &mut Floor<'_>) -> CommandResult {
        let Some(track) = self.tracks.get(&slot.track) else { return CommandResult::UnknownId };
        if track.locked.is_some() || track.sliding {
            return CommandResult::TooLate;
        }
        if track.purged {
            return CommandResult::ChuteDisabled;
        }
        let mut held = Held {
            seq: slot.seq,
            chute: slot.chute,
            alternate: slot.alternate,
            recirculate: slot.recirculate,
        };
        let front_nm = track.front_nm;
        let decision_mm = if slot.cancel {
            None
        } else if slot.recirculate {
            if !floor.recirculates {
                return CommandResult::ChuteDisabled;
            }
            None
        } else {
            match self.usable(slot.chute, front_nm, floor) {
                Ok(decision_mm) => Some(decision_mm),
                Err(why) => match self.usable(slot.alternate, front_nm, floor) {
                    Ok(decision_mm) if slot.alternate != 0 => {
                        (held.chute, held.alternate) = (slot.alternate, 0);
                        Some(decision_mm)
                    }
                    Ok(_) | Err(_) => return why,
                },
            }
        };
        let Some(track) = self.tracks.get_mut(&slot.track) else { return CommandResult::UnknownId };
        track.command_no += 1;
        track.held = (!slot.cancel).then_some(held);
        if let Some(decision_mm) = decision_mm {
            let at = front_nm + i64::from(decision_mm) * NM_PER_MM;
            floor.agenda.cross(at, Crossing::Decision(slot.track, track.command_no));
        }
        CommandResult::Taken
    }

    /// The chute's decision point, if it can take a track whose front was at the eye at `front_nm`.
    fn usable(&self, number: u16, front_nm: i64, floor: &Floor<'_>) -> Result<u32, CommandResult> {
        let Some(chute) = floor.chutes.get(number) else { return Err(CommandResult::ChuteDisabled) };
        let travelled = floor.belt.position_nm(floor.now_us) - front_nm;
        if travelled > i64::from(chute.decision_mm) * NM_PER_MM {
            return Err(CommandResult::TooLate);
        }
        self.open(number, floor)?;
        Ok(chute.decision_mm)
    }

    fn open(&self, number: u16, floor: &Floor<'_>) -> Result<(), CommandResult> {
        if self.is_disabled(number) {
            Err(CommandResult::ChuteDisabled)
        } else if floor.chutes.is_full(number) {
            Err(CommandResult::ChuteFull)
        } else {
            Ok(())
        }
    }

    /// A track reaches the decision point of the chute it holds a command for.
    pub fn decision_point(&mut self, id: u32, command_no: u32, floor: &mut Floor<'_>) {
        let Some(track) = self.tracks.get(&id) else { return };
        if track.command_no != command_no || track.locked.is_some() || track.sliding {
            return;
        }
        let (Some(held), front_nm) = (track.held, track.front_nm) else { return };
        if let Err(why) = self.open(held.chute, floor) {
            let other = (held.alternate != 0).then(|| self.usable(held.alternate, front_nm, floor));
            let Some(track) = self.tracks.get_mut(&id) else { return };
            track.command_no += 1;
            if let Some(Ok(decision_mm)) = other {
                track.held = Some(Held { chute: held.alternate, alternate: 0, ..held });
                let at = front_nm + i64::from(decision_mm) * NM_PER_MM;
                floor.agenda.cross(at, Crossing::Decision(id, track.command_no));
            } else {
                track.held = None;
                let encoder = floor.pulses_now();
                self.refuse(id, &held, why, encoder);
            }
            return;
        }
        self.lock(id, held.chute, Discharge::Confirmed, floor);
    }

    /// A track reaches the exception chute's decision point.
    pub fn last_decision(&mut self, id: u32, lap: u8, floor: &mut Floor<'_>) {
        let Some(track) = self.tracks.get(&id) else { return };
        if track.lap != lap || track.locked.is_some() || track.sliding {
            return;
        }
        let how = match track.held {
            _ if track.purged => Discharge::Purged,
            None => Discharge::NoCommand,
            Some(held) if held.recirculate => return,
            Some(held) if held.chute == floor.exception => Discharge::Confirmed,
            // A chute further on has its own decision point.
            Some(_) => return,
        };
        self.lock(id, floor.exception, how, floor);
    }

    fn lock(&mut self, id: u32, chute: u16, how: Discharge, floor: &mut Floor<'_>) {
        let (Some(track), Some(state)) = (self.tracks.get_mut(&id), floor.chutes.get(chute)) else { return };
        track.locked = Some((chute, how));
        track.command_no += 1;
        let at = track.front_nm + i64::from(state.position_mm) * NM_PER_MM;
        floor.agenda.cross(at, Crossing::Fire(id, track.command_no));
    }

    /// The divert of a track fires now: where to, and what it is.
    pub fn firing(&self, id: u32, command_no: u32) -> Option<(&Track, u16, Discharge)> {
        let track = self.tracks.get(&id).filter(|track| track.command_no == command_no && !track.sliding)?;
        let (chute, how) = track.locked?;
        Some((track, chute, how))
    }

    /// The track has left the belt.
    pub fn slid(&mut self, id: u32) {
        if let Some(track) = self.tracks.get_mut(&id) {
            track.sliding = true;
        }
    }

    /// The divert did not happen: the track stays on the belt without a command.
    pub fn divert_failed(&mut self, id: u32, chute: u16, encoder: u32) {
        if let Some(track) = self.tracks.get_mut(&id) {
            track.locked = None;
            track.held = None;
            track.command_no += 1;
            self.record(PlcEventKind::DivertFailed { chute }, id, encoder, 0, 0);
        }
    }

    /// The track has ended with this record.
    pub fn end_track(&mut self, id: u32, kind: PlcEventKind, encoder: u32) {
        if self.tracks.remove(&id).is_some() {
            self.record(kind, id, encoder, 0, 0);
            self.end_purge_when_empty();
        }
    }

    /// The track goes round: `loop_nm` is one lap of the belt.
    pub fn turn(&mut self, id: u32, lap: u8, loop_nm: i64) -> Option<Vec<ParcelId>> {
        let track = self.tracks.get_mut(&id)?;
        let goes = track.lap == lap
            && !track.sliding
            && track.locked.is_none()
            && track.held.is_some_and(|held| held.recirculate);
        if !goes {
            return None;
        }
        track.front_nm += loop_nm;
        track.lap = track.lap.saturating_add(1);
        track.held = None;
        track.command_no += 1;
        Some(track.parcels.iter().map(|(parcel, _)| *parcel).collect())
    }

    /// Everything on the belt goes to the exception chute; induction waits until it is empty.
    pub(super) fn begin_purge(&mut self) {
        self.purging = true;
        for track in self.tracks.values_mut().filter(|track| track.locked.is_none() && !track.sliding) {
            track.purged = true;
            track.held = None;
            track.command_no += 1;
        }
        self.end_purge_when_empty();
    }

    fn end_purge_when_empty(&mut self) {
        if self.purging && self.tracks.is_empty() {
            self.purging = false;
        }
    }

    /// Parcels of a track that was begun under a purge go the same way.
    pub fn purge_latecomer(&mut self, id: u32) {
        if self.purging
            && let Some(track) = self.tracks.get_mut(&id)
        {
            track.purged = true;
        }
    }
}
