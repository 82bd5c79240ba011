//! The way onto the belt: announcement, waiting, release with a gap, and the induction eye.

use sortd::wire::plc::PlcEventKind;

use super::agenda::{Crossing, Timer};
use super::belt::NM_PER_MM;
use super::parcel::{Fault, ParcelId, Place};
use super::{FEED_AGAIN_US, Sensed, World, readers};

/// The eye takes two bodies with less clear belt between them for one. In millimetres, so that a stopped
/// or slow belt changes nothing.
const EYE_DEBOUNCE_NM: i64 = 15 * NM_PER_MM;

/// Where the faults of the belt happen, in hundredths of the way from the scan tunnel to the first chute.
const FAULT_PLACE_PERCENT: i64 = 50;

/// A slip that loses a parcel goes beyond the tracking window by this.
const SLIP_BEYOND_WINDOW_MM: u32 = 150;

/// The induction eye.
#[derive(Debug, Default)]
pub struct Eye {
    body: Option<Body>,
    blocked: u32,
    clearings: u64,
}

#[derive(Debug)]
struct Body {
    front_nm: i64,
    rear_nm: i64,
    parcels: Vec<(ParcelId, i64)>,
}

impl World {
    /// Starts or stops the stream of parcels; what waits goes on being inducted.
    pub fn set_feeding(&mut self, feeding: bool) {
        self.feeding = feeding;
    }

    /// Parcels come.
    pub fn is_feeding(&self) -> bool {
        self.feeding
    }

    pub(super) fn announce(&mut self) {
        let held_back = self.truth.announced - self.truth.arrived + self.truth.waiting;
        let limit = u64::try_from(self.scenario.waiting_limit).unwrap_or(u64::MAX);
        let standing = self.truth.waiting >= limit && held_back >= limit;
        let coming = if self.feeding && !standing {
            self.workload.next(self.now_us, &self.scenario, self.site.belt.least_gap_mm)
        } else {
            None
        };
        let Some(coming) = coming else {
            self.agenda.at(self.now_us + FEED_AGAIN_US, Timer::Announce);
            return;
        };
        let id = coming.parcel.id;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be 0 to a day"
        )]
        let lead_us = (self.scenario.order_lead_s * 1e6) as u64;
        let due_us = self.now_us + lead_us;
        let arrives_us = if coming.parcel.forced_gap_mm.is_some() {
            // Fed together with the one in front; needs the order's lead to be known in time.
            (self.last_arrival_us + 1).max(self.now_us)
        } else {
            due_us.max(self.last_arrival_us + 1)
        };
        self.last_arrival_us = self.last_arrival_us.max(arrives_us);
        for order in coming.paper.first {
            self.happen(Sensed::Order(order));
        }
        if let Some(revision) = coming.paper.revision {
            self.agenda.at(self.now_us + lead_us / 2, Timer::Revise(Box::new(revision)));
        }
        self.parcels.insert(id, coming.parcel);
        self.truth.announced += 1;
        self.agenda.at(arrives_us, Timer::Arrive(id));
        self.agenda.at(self.now_us + coming.pause_us, Timer::Announce);
    }

    /// Releases the next parcel if the belt is free for it, or notes where it will be.
    pub(super) fn feed(&mut self) {
        while let Some(id) = self.queue.front().copied() {
            if !self.plc.may_induct(&self.belt) {
                return;
            }
            let position_nm = self.belt.position_nm(self.now_us);
            let earliest_nm = self.earliest_nm(id, position_nm);
            if earliest_nm > position_nm {
                if self.planned_feed_nm != Some(earliest_nm) {
                    self.planned_feed_nm = Some(earliest_nm);
                    self.agenda.cross(earliest_nm, Crossing::InductionFree);
                }
                return;
            }
            self.queue.pop_front();
            self.release(id, position_nm);
        }
    }

    fn least_gap_nm(&self) -> i64 {
        (i64::from(self.site.belt.least_gap_mm) + i64::from(self.scenario.gap_margin_mm)) * NM_PER_MM
    }

    fn earliest_nm(&self, id: ParcelId, position_nm: i64) -> i64 {
        let Some(parcel) = self.parcels.get(&id) else { return position_nm };
        let gap_nm = self.least_gap_nm();
        let behind_nm = parcel.forced_gap_mm.map_or(gap_nm, |mm| i64::from(mm) * NM_PER_MM);
        let mut earliest_nm = position_nm.max(self.last_rear_nm + behind_nm);
        let length_nm = i64::from(parcel.length_mm) * NM_PER_MM;
        // Parcels that come round again keep their place; sorted, so that one pass is enough.
        let mut taken: Vec<(i64, i64)> = self
            .returning
            .iter()
            .filter_map(|other| self.parcels.get(other))
            .map(|other| (other.front_nm - gap_nm, other.rear_nm() + gap_nm))
            .collect();
        taken.sort_unstable();
        for (from_nm, to_nm) in taken {
            if earliest_nm < to_nm && earliest_nm + length_nm > from_nm {
                earliest_nm = to_nm;
            }
        }
        earliest_nm
    }

    fn release(&mut self, id: ParcelId, position_nm: i64) {
        let least_gap_nm = i64::from(self.site.belt.least_gap_mm) * NM_PER_MM;
        let too_close = position_nm - self.last_rear_nm < least_gap_nm;
        if too_close && let Some(front) = self.last_fed.and_then(|front| self.parcels.get_mut(&front)) {
            front.hurt = true;
        }
        let Some(parcel) = self.parcels.get_mut(&id) else { return };
        parcel.place = Place::Belt;
        parcel.front_nm = position_nm;
        let rear_nm = parcel.rear_nm();
        self.last_rear_nm = rear_nm;
        self.last_fed = Some(id);
        self.truth.waiting -= 1;
        self.truth.fed += 1;
        self.truth.on_line += 1;
        self.riding.push(id);
        self.agenda.cross(position_nm, Crossing::EyeFront(id));
        self.agenda.cross(rear_nm, Crossing::EyeRear(id));
    }

    pub(super) fn eye_front(&mut self, id: ParcelId) {
        let Some(parcel) = self.parcels.get(&id) else { return };
        let (lap, front_nm) = (parcel.lap, parcel.front_nm);
        if lap > 0 {
            self.eye_front_again(id);
        } else {
            self.eye.blocked += 1;
            self.eye.clearings += 1;
            let body = self.eye.body.get_or_insert(Body { front_nm, rear_nm: front_nm, parcels: Vec::new() });
            let offset_nm = front_nm - body.front_nm;
            body.parcels.push((id, offset_nm));
            self.plan_belt_faults(id);
        }
        self.plan_ride(id);
    }

    /// A parcel that comes round: the PLC knows it, or finds it unexpected.
    fn eye_front_again(&mut self, id: ParcelId) {
        let Some(parcel) = self.parcels.get(&id) else { return };
        self.last_rear_nm = self.last_rear_nm.max(parcel.rear_nm());
        self.last_fed = Some(id);
        let encoder = self.belt.pulses(parcel.front_nm);
        let known = self.track_of(id);
        self.returning.retain(|other| *other != id);
        match known {
            Some((track, true)) => {
                self.plc.record(PlcEventKind::EyePassed { eye: 0 }, track, encoder, 0, 0);
                self.with_plc(|plc, floor| plc.plan_last_decision(track, floor));
                self.plan_turn(track);
            }
            Some((_, false)) => {}
            None => self.plc.record(PlcEventKind::Unexpected { eye: 0 }, 0, encoder, 0, 0),
        }
    }

    pub(super) fn eye_rear(&mut self, id: ParcelId, at_nm: i64) {
        self.eye.blocked = self.eye.blocked.saturating_sub(1);
        if self.eye.blocked == 0
            && let Some(body) = self.eye.body.as_mut()
        {
            body.rear_nm = at_nm;
            self.eye.clearings += 1;
            self.agenda.cross(at_nm + EYE_DEBOUNCE_NM, Crossing::EyeSettled(self.eye.clearings));
        }
        debug_assert!(
            self.parcels.contains_key(&id) || self.truth.removed > 0,
            "a parcel left inside the eye"
        );
        self.feed();
    }

    pub(super) fn eye_settled(&mut self, clearing: u64) {
        if clearing != self.eye.clearings || self.eye.blocked > 0 {
            return;
        }
        let Some(body) = self.eye.body.take() else { return };
        let ids: Vec<ParcelId> = body.parcels.iter().map(|(id, _)| *id).collect();
        let track = self.with_plc(|plc, floor| {
            let track = plc.begin_track(body.front_nm, body.rear_nm, body.parcels, floor);
            plc.purge_latecomer(track);
            track
        });
        self.truth.tracks += 1;
        let epoch = self.plc.epoch();
        for id in ids {
            if let Some(parcel) = self.parcels.get_mut(&id) {
                parcel.track = Some((epoch, track));
            }
        }
        self.plan_turn(track);
    }

    /// A body in the eye is forgotten when the PLC restarts.
    pub(super) fn forget_eye(&mut self) {
        self.eye.body = None;
    }

    /// What every reader will see of it, and where its ride ends if nobody diverts it.
    fn plan_ride(&mut self, id: ParcelId) {
        let Some(parcel) = self.parcels.get(&id) else { return };
        let glances = readers::glances(&self.site, self.scenario.scanner_read, parcel, &mut self.readers_rng);
        for (at_nm, glance) in glances {
            self.agenda.cross(parcel.front_nm + at_nm, Crossing::Glance(id, parcel.state, Box::new(glance)));
        }
        self.plan_end(id);
    }

    pub(super) fn plan_end(&mut self, id: ParcelId) {
        let Some(parcel) = self.parcels.get(&id) else { return };
        let end_mm = self.site.belt.length_mm;
        let at_nm = i64::from(end_mm) * NM_PER_MM + self.window_nm(end_mm) + 1;
        self.agenda.cross(parcel.front_nm + at_nm, Crossing::End(id, parcel.state));
    }

    fn plan_turn(&mut self, track: u32) {
        if self.loop_nm.is_some()
            && let Some(state) = self.plc.tracks().get(&track)
        {
            let at_nm = state.front_nm + i64::from(self.site.belt.length_mm) * NM_PER_MM;
            self.agenda.cross(at_nm, Crossing::LapTurn(track, state.lap));
        }
    }

    /// Slip and removal happen between the tunnel and the first chute, on the first lap.
    fn plan_belt_faults(&mut self, id: ParcelId) {
        let tunnel_mm = self.site.readers.iter().map(|reader| reader.field_end_mm).max().unwrap_or(0);
        let first_mm = self.site.chutes.iter().map(|chute| chute.decision_mm).min().unwrap_or(tunnel_mm);
        let window_mm = u32::try_from(self.window_nm(self.site.belt.length_mm) / NM_PER_MM).unwrap_or(0);
        let Some(parcel) = self.parcels.get(&id) else { return };
        let clear_mm = i64::from(tunnel_mm) + i64::from(parcel.length_mm);
        let place_mm = clear_mm + (i64::from(first_mm) - clear_mm).max(0) * FAULT_PLACE_PERCENT / 100;
        let at_nm = parcel.front_nm + place_mm * NM_PER_MM;
        if parcel.has(Fault::TrackingLoss) {
            let by_mm = window_mm + SLIP_BEYOND_WINDOW_MM;
            self.agenda.cross(at_nm, Crossing::Slip(id, parcel.state, by_mm));
        }
        if parcel.has(Fault::Removed) {
            self.agenda.cross(at_nm, Crossing::Removal(id, parcel.state));
        }
    }

    /// Half the tracking window after so much travel.
    pub(super) fn window_nm(&self, travel_mm: u32) -> i64 {
        let belt = &self.site.belt;
        let part_mm = u64::from(travel_mm) * u64::from(belt.window_permille) / 1000;
        i64::try_from(part_mm.max(u64::from(belt.window_mm))).unwrap_or(i64::MAX / NM_PER_MM) * NM_PER_MM
    }
}
