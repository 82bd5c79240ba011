//! The ride: slips, diverts, laps, the end of the line, and the landing in a chute.

use rand::Rng;
use sortd::wire::plc::{Discharge, PlcEventKind};

use super::World;
use super::agenda::{Crossing, Landing, Timer};
use super::belt::NM_PER_MM;
use super::parcel::{Fault, ParcelId, Place};

/// Reason field of *removed*: did not arrive at an eye.
const DID_NOT_ARRIVE: u16 = 1;

impl World {
    /// The live track of a parcel, and whether the parcel is the first of its body.
    pub(super) fn track_of(&self, id: ParcelId) -> Option<(u32, bool)> {
        let (epoch, track) = self.parcels.get(&id)?.track?;
        if epoch != self.plc.epoch() {
            return None;
        }
        let state = self.plc.tracks().get(&track)?;
        let first = state.parcels.first().is_some_and(|(first, _)| *first == id);
        state.parcels.iter().any(|(other, _)| *other == id).then_some((track, first))
    }

    fn encoder_now(&self) -> u32 {
        self.belt.pulses(self.belt.position_nm(self.now_us))
    }

    /// A parcel slips backwards, at most until it touches the one behind.
    pub(super) fn slip(&mut self, id: ParcelId, state: u32, by_mm: u32) {
        let Some(parcel) = self.parcels.get(&id).filter(|p| p.state == state && p.place == Place::Belt)
        else {
            return;
        };
        let (front_nm, rear_nm) = (parcel.front_nm, parcel.rear_nm());
        let behind = self
            .riding
            .iter()
            .filter_map(|other| self.parcels.get(other))
            .filter(|other| other.id != id && other.front_nm > front_nm)
            .min_by_key(|other| other.front_nm)
            .map(|other| (other.id, other.front_nm));
        let mut by_nm = i64::from(by_mm) * NM_PER_MM;
        if let Some((other, other_front_nm)) = behind {
            by_nm = by_nm.min(other_front_nm - rear_nm - NM_PER_MM).max(0);
            let least_nm = i64::from(self.site.belt.least_gap_mm) * NM_PER_MM;
            if other_front_nm - rear_nm - by_nm < least_nm
                && let Some(other) = self.parcels.get_mut(&other)
            {
                other.hurt = true;
            }
        }
        if let Some(parcel) = self.parcels.get_mut(&id) {
            parcel.front_nm += by_nm;
            parcel.state += 1;
        }
        self.plan_end(id);
    }

    /// Someone takes a parcel off the belt and tells nobody.
    pub(super) fn take_off(&mut self, id: ParcelId, state: u32) {
        if self.parcels.get(&id).is_some_and(|p| p.state == state && p.place == Place::Belt)
            && let Some(parcel) = self.parcels.remove(&id)
        {
            self.riding.retain(|other| *other != id);
            self.returning.retain(|other| *other != id);
            self.truth.remove(&parcel);
        }
    }

    /// The PLC fires the divert of a track, if its own eye at the divert finds what it expects.
    pub(super) fn fire(&mut self, id: u32, command_no: u32) {
        let Some((track, chute, how)) = self.plc.firing(id, command_no) else { return };
        let exception = self.site.exception_chute.0;
        let Some(state) = self.chutes.get(chute) else { return };
        let window_nm = self.window_nm(state.position_mm);
        let (front_nm, rear_nm) = (track.front_nm, track.front_nm + i64::from(track.length_mm) * NM_PER_MM);
        let own: Vec<ParcelId> = track.parcels.iter().map(|(parcel, _)| *parcel).collect();
        let present: Vec<ParcelId> = track
            .parcels
            .iter()
            .filter(|(parcel, offset_nm)| {
                self.parcels.get(parcel).is_some_and(|p| {
                    p.place == Place::Belt && (p.front_nm - front_nm - offset_nm).abs() <= window_nm
                })
            })
            .map(|(parcel, _)| *parcel)
            .collect();
        let encoder = self.encoder_now();
        if present.is_empty() {
            self.plc.end_track(id, PlcEventKind::Removed { reason: DID_NOT_ARRIVE }, encoder);
            return;
        }
        let intruder =
            self.riding.iter().filter_map(|other| self.parcels.get(other)).any(|other| {
                !own.contains(&other.id) && other.front_nm < rear_nm && other.rear_nm() > front_nm
            });
        let with = |fault| present.iter().any(|p| self.parcels.get(p).is_some_and(|p| p.has(fault)));
        let (stuck, unseen) = (with(Fault::DivertFailure), with(Fault::Unconfirmed));
        if chute != exception && (intruder || stuck) {
            self.plc.divert_failed(id, chute, encoder);
            return;
        }
        let how = if unseen && how == Discharge::Confirmed { Discharge::Unconfirmed } else { how };
        self.plc.slid(id);
        self.slide(Some(id), chute, how, present);
    }

    fn slide(&mut self, track: Option<u32>, chute: u16, how: Discharge, parcels: Vec<ParcelId>) {
        for parcel in &parcels {
            if let Some(parcel) = self.parcels.get_mut(parcel) {
                parcel.place = Place::Sliding;
                parcel.state += 1;
            }
        }
        self.riding.retain(|other| !parcels.contains(other));
        let (least, most) = self.scenario.slide_ms;
        let slide_us = self.floor_rng.random_range(u64::from(least) * 1000..=u64::from(most) * 1000);
        let landing = Landing { track, epoch: self.plc.epoch(), chute, parcels, how };
        self.agenda.at(self.now_us + slide_us, Timer::Land(Box::new(landing)));
    }

    /// Parcels reach the confirm sensor of a chute and lie in it.
    pub(super) fn land(&mut self, landing: Landing) {
        let Landing { track, epoch, chute, parcels, how } = landing;
        let exception = self.site.exception_chute.0;
        for id in parcels {
            let Some(parcel) = self.parcels.remove(&id) else { continue };
            let serves =
                chute != exception && parcel.sortable && self.labels.takes(chute, &parcel.destination);
            self.truth.land(&parcel, chute, exception, serves, self.now_us);
            if let Some(begins) = self.chutes.take(chute) {
                self.begin_bag_change(begins);
            }
        }
        if let Some(track) = track.filter(|_| epoch == self.plc.epoch()) {
            let encoder = self.encoder_now();
            self.plc.end_track(track, PlcEventKind::Discharged { chute, how }, encoder);
        }
        self.feed();
    }

    fn begin_bag_change(&mut self, chute: u16) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a scenario's seconds, ≥ 0"
        )]
        let takes_us = (self.scenario.bag_change_s * 1e6) as u64;
        self.agenda.at(self.now_us + takes_us, Timer::BagChanged(chute));
    }

    pub(super) fn bag_changed(&mut self, chute: u16) {
        self.labels.changed(chute);
        if let Some(next) = self.chutes.change_done(chute) {
            self.begin_bag_change(next);
        }
        let encoder = self.encoder_now();
        self.plc.record(PlcEventKind::ChuteChanged { chute }, 0, encoder, 0, 0);
    }

    /// A track at the end of the line that has to go round once more.
    pub(super) fn turn(&mut self, track: u32, lap: u8) {
        let Some(loop_nm) = self.loop_nm else { return };
        let Some(parcels) = self.plc.turn(track, lap, loop_nm) else { return };
        for id in parcels {
            let Some(parcel) = self.parcels.get_mut(&id) else { continue };
            parcel.front_nm += loop_nm;
            parcel.lap = parcel.lap.saturating_add(1);
            parcel.state += 1;
            self.truth.laps += 1;
            self.returning.push(id);
            self.agenda.cross(parcel.front_nm, Crossing::EyeFront(id));
        }
    }

    /// What nobody diverted falls into the exception chute at the end of the line.
    pub(super) fn end_of_line(&mut self, id: ParcelId, state: u32) {
        if self.parcels.get(&id).is_none_or(|p| p.state != state || p.place != Place::Belt) {
            return;
        }
        let exception = self.site.exception_chute.0;
        let tracked = self
            .track_of(id)
            .filter(|(track, _)| self.plc.tracks().get(track).is_some_and(|track| !track.sliding));
        if let Some((track, _)) = tracked {
            let with: Vec<ParcelId> = self.plc.tracks()[&track]
                .parcels
                .iter()
                .map(|(parcel, _)| *parcel)
                .filter(|parcel| self.parcels.get(parcel).is_some_and(|p| p.place == Place::Belt))
                .collect();
            let how = if self.plc.tracks()[&track].purged { Discharge::Purged } else { Discharge::NoCommand };
            self.plc.slid(track);
            self.slide(Some(track), exception, how, with);
        } else {
            let encoder = self.encoder_now();
            self.plc.record(PlcEventKind::Unexpected { eye: exception }, 0, encoder, 0, 0);
            self.slide(None, exception, Discharge::NoCommand, vec![id]);
        }
    }
}
