//! One world: a belt, parcels, sensors, chutes, people and a PLC program. It moves, it senses, it breaks;
//! it decides nothing about sorting.
//!
//! Deterministic: everything follows from the site, the scenario, the seed and the commands it is given
//! and when. It has no clock of its own; [`World::advance_to`] tells it what time it is. What its sensors
//! notice comes out of [`World::take_happenings`] with exact times; what the PLC noticed stands in the
//! PLC's event ring. What really happened is [`World::truth`].
//!
//! Invariants: a parcel is in one place; parcels that ride do not overlap; a parcel lands once; the sums
//! of the truth agree after every step ([`Truth::adds_up`], asserted in debug builds).

pub mod agenda;
pub mod belt;
pub mod chutes;
mod faults;
mod induction;
mod labels;
pub mod numbers;
pub mod orders;
pub mod parcel;
pub mod plc;
pub mod readers;
pub mod scenario;
mod shape;
mod travel;
pub mod truth;
pub mod workload;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use sortd::identify::Reading;
use sortd::line::ReaderId;
use sortd::line::event::{Order, Request};
use sortd::site::{Site, SortPlan};
use sortd::wire::plc::{CommandSlot, PlcFlags};

use agenda::{Agenda, Crossing, Glance, Timer};
use belt::{Belt, NM_PER_MM};
use chutes::Chutes;
use labels::Labels;
use parcel::{Parcel, ParcelId};
use plc::{Floor, Plc};
pub use scenario::{FaultRates, Scenario};
pub use truth::Truth;
use workload::{Workload, stream};

/// The belt's speed wanders once in this time.
const SPEED_VARIES_US: u64 = 1_000_000;

/// While nothing is fed, the workload looks again after this.
const FEED_AGAIN_US: u64 = 1_000_000;

/// The encoder starts somewhere in the last part of its range, so that runs of an hour see it wrap.
const ENCODER_START: std::ops::RangeInclusive<u32> = 4_290_000_000..=4_294_900_000;

/// Something a sensor noticed, or upstream said.
#[derive(Debug, Clone)]
pub struct Happening {
    /// When, µs of the run.
    pub at_us: u64,
    /// What.
    pub what: Sensed,
}

/// What came.
#[derive(Debug, Clone)]
pub enum Sensed {
    /// A reader begins to send, or a gate has it in its buffer.
    Read {
        /// Which reader.
        reader: ReaderId,
        /// What it saw; empty for "looked and read nothing".
        readings: Vec<Reading>,
        /// Tags only.
        rssi_dbm: Option<i16>,
        /// Said later than this, it is later than a reader of its kind can be, µs of the run.
        by_us: u64,
    },
    /// Upstream pushes an order.
    Order(Order),
}

/// The world.
#[derive(Debug)]
pub struct World {
    site: Arc<Site>,
    scenario: Scenario,
    now_us: u64,
    belt: Belt,
    agenda: Agenda,
    parcels: BTreeMap<ParcelId, Parcel>,
    /// On the belt, so that a look around does not meet those that wait.
    riding: Vec<ParcelId>,
    queue: VecDeque<ParcelId>,
    returning: Vec<ParcelId>,
    feeding: bool,
    last_arrival_us: u64,
    last_fed: Option<ParcelId>,
    last_rear_nm: i64,
    planned_feed_nm: Option<i64>,
    eye: induction::Eye,
    loop_nm: Option<i64>,
    plc: Plc,
    chutes: Chutes,
    labels: Labels,
    workload: Workload,
    readers_rng: ChaCha8Rng,
    readers_speak_early: bool,
    floor_rng: ChaCha8Rng,
    truth: Truth,
    happenings: Vec<Happening>,
}

impl World {
    /// A line that stands still, empty, at time 0.
    pub fn new(site: &Arc<Site>, scenario: Scenario, seed: u64) -> World {
        let mut floor_rng = stream(seed, 4);
        let start = floor_rng.random_range(ENCODER_START);
        let belt_of = &site.belt;
        let map = &site.plc.map;
        let belt = Belt::new(belt_of.speed_mm_s, belt_of.pulses_per_metre, map.encoder_scale, start);
        let mut agenda = Agenda::default();
        agenda.at(0, Timer::Announce);
        agenda.at(SPEED_VARIES_US, Timer::SpeedVaries);
        agenda.at(u64::from(scenario.pc_stale_ms) * 1000, Timer::HeartbeatWatch);
        World {
            now_us: 0,
            belt,
            agenda,
            parcels: BTreeMap::new(),
            riding: Vec::new(),
            queue: VecDeque::new(),
            returning: Vec::new(),
            feeding: true,
            last_arrival_us: 0,
            last_fed: None,
            last_rear_nm: i64::MIN / 2,
            planned_feed_nm: None,
            eye: induction::Eye::default(),
            loop_nm: belt_of
                .recirculation_mm
                .map(|back| (i64::from(belt_of.length_mm) + i64::from(back)) * NM_PER_MM),
            plc: Plc::new(map, scenario.plc_scan_ms, scenario.pc_stale_ms),
            chutes: Chutes::new(site, scenario.changers, scenario.change_at_percent),
            labels: Labels::new(site.plan.clone()),
            workload: Workload::new(site, &scenario, seed),
            readers_rng: stream(seed, 5),
            readers_speak_early: false,
            floor_rng,
            truth: Truth::default(),
            happenings: Vec::new(),
            site: Arc::clone(site),
            scenario,
        }
    }

    /// The site it stands on.
    pub fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// Another sort plan comes into force: bags that are begun from now on may be its.
    pub fn plan_comes(&mut self, plan: Arc<SortPlan>) {
        self.labels.plan(plan);
    }

    /// From now on readers use only the first half of their delay: the rest is for the machine this runs on.
    pub fn leave_time_to_speak(&mut self) {
        self.readers_speak_early = true;
    }

    /// Time of the run, µs.
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// When something happens next; `None` where nothing will (the belt stands and nothing is due).
    pub fn next_at(&self) -> Option<u64> {
        let crossing = self.agenda.next_crossing().and_then(|at| self.belt.time_at(at, self.now_us));
        match (crossing, self.agenda.next_timer()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Lets everything happen up to `t_us`.
    pub fn advance_to(&mut self, t_us: u64) {
        while self.step(t_us) {}
        self.now_us = self.now_us.max(t_us);
    }

    /// Lets everything happen up to `t_us`, but stops where a sensor has noticed something.
    pub fn advance_to_happening(&mut self, t_us: u64) {
        while self.happenings.is_empty() {
            if !self.step(t_us) {
                self.now_us = self.now_us.max(t_us);
                return;
            }
        }
    }

    /// What was noticed since the last call, in order of time.
    pub fn take_happenings(&mut self) -> Vec<Happening> {
        std::mem::take(&mut self.happenings)
    }

    /// The next thing up to `t_us`; false where there is none.
    fn step(&mut self, t_us: u64) -> bool {
        let crossing = self.agenda.next_crossing().and_then(|at| self.belt.time_at(at, self.now_us));
        let timer = self.agenda.next_timer();
        let crossing_first = match (crossing, timer) {
            (Some(crossing), Some(timer)) => crossing <= timer,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let Some(at_us) = (if crossing_first { crossing } else { timer }) else { return false };
        if at_us > t_us {
            return false;
        }
        self.now_us = self.now_us.max(at_us);
        if crossing_first {
            if let Some((at_nm, what)) = self.agenda.pop_crossing() {
                self.cross(at_nm, what);
            }
        } else if let Some(what) = self.agenda.pop_timer() {
            self.ring_timer(what);
        }
        debug_assert!(self.truth.adds_up(), "the world's own sums disagree: {:?}", self.truth);
        true
    }

    fn cross(&mut self, at_nm: i64, what: Crossing) {
        match what {
            Crossing::EyeFront(id) => self.eye_front(id),
            Crossing::EyeRear(id) => self.eye_rear(id, at_nm),
            Crossing::EyeSettled(clearing) => self.eye_settled(clearing),
            Crossing::InductionFree => {
                self.planned_feed_nm = None;
                self.feed();
            }
            Crossing::Glance(id, state, glance) => {
                if self.parcels.get(&id).is_some_and(|parcel| parcel.state == state) {
                    self.glance(glance);
                }
            }
            Crossing::Slip(id, state, by_mm) => self.slip(id, state, by_mm),
            Crossing::Removal(id, state) => self.take_off(id, state),
            Crossing::Decision(track, number) => {
                self.with_plc(|plc, floor| plc.decision_point(track, number, floor));
            }
            Crossing::LastDecision(track, lap) => {
                self.with_plc(|plc, floor| plc.last_decision(track, lap, floor));
            }
            Crossing::Fire(track, number) => self.fire(track, number),
            Crossing::LapTurn(track, lap) => self.turn(track, lap),
            Crossing::End(id, state) => self.end_of_line(id, state),
        }
    }

    fn ring_timer(&mut self, what: Timer) {
        match what {
            Timer::Announce => self.announce(),
            Timer::Arrive(id) => {
                self.truth.arrived += 1;
                self.truth.waiting += 1;
                self.queue.push_back(id);
                self.feed();
            }
            Timer::Revise(order) => self.happen(Sensed::Order(*order)),
            Timer::SpeedVaries => {
                let most = i32::try_from(self.scenario.speed_variation_permille).unwrap_or(0);
                let by = self.floor_rng.random_range(-most..=most);
                if self.belt.runs() {
                    self.belt.run(self.now_us, by);
                }
                self.agenda.at(self.now_us + SPEED_VARIES_US, Timer::SpeedVaries);
            }
            Timer::PlcScan => {
                self.with_plc(Plc::scan);
                self.feed();
            }
            Timer::HeartbeatWatch => {
                let again = self.plc.watch_heartbeat(self.now_us).max(self.now_us + 1);
                self.agenda.at(again, Timer::HeartbeatWatch);
            }
            Timer::Speak(glance) => self.happen(Sensed::Read {
                reader: glance.reader,
                readings: glance.readings,
                rssi_dbm: glance.rssi_dbm,
                by_us: glance.by_us,
            }),
            Timer::Land(landing) => self.land(*landing),
            Timer::BagChanged(chute) => self.bag_changed(chute),
        }
    }

    fn glance(&mut self, mut glance: Box<Glance>) {
        let (least, most) = self.site.readers[usize::from(glance.reader.0)].delay_ms;
        let least_us = u64::from(least) * 1000;
        glance.by_us = self.now_us + u64::from(most.max(least)) * 1000;
        if self.readers_speak_early {
            glance.delay_us = u64::midpoint(least_us, glance.delay_us);
        }
        self.agenda.at(self.now_us + glance.delay_us, Timer::Speak(glance));
    }

    fn happen(&mut self, what: Sensed) {
        self.happenings.push(Happening { at_us: self.now_us, what });
    }

    fn with_plc<T>(&mut self, work: impl FnOnce(&mut Plc, &mut Floor<'_>) -> T) -> T {
        let mut floor = Floor {
            now_us: self.now_us,
            belt: &mut self.belt,
            chutes: &self.chutes,
            agenda: &mut self.agenda,
            exception: self.site.exception_chute.0,
            recirculates: self.loop_nm.is_some(),
        };
        work(&mut self.plc, &mut floor)
    }

    /// The PLC program, to look at.
    pub fn plc(&self) -> &Plc {
        &self.plc
    }

    /// The chutes, to look at.
    pub fn chutes(&self) -> &Chutes {
        &self.chutes
    }

    /// What really happened so far.
    pub fn truth(&self) -> &Truth {
        &self.truth
    }

    /// A parcel that has not landed yet.
    pub fn parcel(&self, id: ParcelId) -> Option<&Parcel> {
        self.parcels.get(&id)
    }

    /// The encoder now, in pulses as the PC sees them.
    pub fn pulses(&self) -> u32 {
        self.belt.pulses(self.belt.position_nm(self.now_us))
    }

    /// Belt speed now.
    pub fn speed_mm_s(&self) -> u16 {
        u16::try_from(self.belt.speed_mm_s()).unwrap_or(u16::MAX)
    }

    /// The PLC's state bits.
    pub fn flags(&self) -> PlcFlags {
        self.plc.flags(&self.belt)
    }

    /// The PC writes a command into the table.
    pub fn command(&mut self, slot: CommandSlot) {
        self.plc.put_command(slot, self.now_us, &mut self.agenda);
    }

    /// The PC writes its request word.
    pub fn request(&mut self, request: Request) {
        self.plc.ask(request, self.now_us, &mut self.agenda);
    }

    /// The PC counts its heartbeat up.
    pub fn beat(&mut self, value: u16) {
        self.plc.beat(value, self.now_us);
        self.feed();
    }

    /// The PC has made events durable.
    pub fn acknowledge(&mut self, seq: u16) {
        self.plc.acknowledge(seq);
        self.feed();
    }

    /// The PC asks for a resync.
    pub fn resync(&mut self) {
        self.plc.ask_resync(self.now_us, &mut self.agenda);
    }

    /// Reads holding registers; `None` outside the map.
    pub fn read_registers(&self, address: u16, count: u16) -> Option<Vec<u16>> {
        self.plc.read(address, count, self.now_us, &self.belt, &self.chutes)
    }

    /// Writes holding registers; false outside what the PC may write.
    pub fn write_registers(&mut self, address: u16, words: &[u16]) -> bool {
        let written = self.plc.write(address, words, self.now_us, &mut self.agenda);
        self.feed();
        written
    }
}
