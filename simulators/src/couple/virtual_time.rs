//! Virtual time: the world and `sortd`'s core in one thread, with the delays of the field but without its
//! hardware. Same site, scenario and seed give the same steps.
//!
//! What the shell would do is modelled by its delays: the PLC is polled, an answer takes half a round trip,
//! a telegram takes its bytes on the wire, a command takes its way, and the PLC's events are acknowledged
//! once a journal would have made them durable.
//!
//! Invariants, checked after every step: passes begun = passes ended + passes open, by the core's own sums
//! and by its facts; each pass begins once and ends once; the core has begun exactly the passes whose
//! induction it was told of; *sorted* is said only of a track that the PLC has confirmed in that chute.
//! Once a second the whole status is held against the world's truth.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;

use sortd::identify::Reading;
use sortd::line::event::{
    Ask, Asked, Command, EncoderPoll, Event, Heard, OrderBatch, PlanInForce, PlcAttached, Started,
};
use sortd::line::outcome::Outcome;
use sortd::line::record::{Body, Entry, Fact};
use sortd::line::status::LineStatus;
use sortd::line::{Line, PassKey, ReaderId, Tick};
use sortd::site::{Site, SortPlan};
use sortd::wire::plc::{CommandSlot, Discharge, PlcEvent, PlcEventKind, PlcFlags};

use crate::day_store::{DayStore, DayStoreError};
use crate::world::{Happening, Scenario, Sensed, World};

/// The run begins at this tick, so that a reader's delay never reaches back before time.
const FIRST_TICK_US: u64 = 10_000_000;

/// Wall clock at the first tick: 2026-01-01 00:00 UTC. Stamped only.
const WALL_US: i64 = 1_767_225_600_000_000;

/// Wall clock at tick 0.
#[expect(clippy::cast_possible_wrap, reason = "ten seconds")]
pub const WALL_AT_ZERO_US: i64 = WALL_US - FIRST_TICK_US as i64;

/// Orders in one batch at most.
const BATCH_ORDERS: usize = 64;

/// Ring records read in one poll at most: four requests of twelve.
const EVENTS_A_POLL: usize = 48;

/// Chute bitmaps are read with every so many polls.
const BITMAPS_EVERY: u64 = 5;

/// The heartbeat counts up once in this time.
const BEAT_US: u64 = 250_000;

/// The status is held against the truth once in this time.
const CHECK_US: u64 = 1_000_000;

/// Delays of the field.
#[derive(Debug, Clone)]
pub struct Delays {
    /// Poll period of the PLC.
    pub poll_us: u64,
    /// Round trip of one request.
    pub round_trip_us: u64,
    /// From the core's decision to the registers of the PLC.
    pub command_us: u64,
    /// From an event to its durable record.
    pub durable_us: u64,
    /// From a telegram's last byte to the core.
    pub handling_us: u64,
}

impl Default for Delays {
    fn default() -> Self {
        Delays {
            poll_us: 20_000,
            round_trip_us: 2_000,
            command_us: 3_000,
            durable_us: 10_000,
            handling_us: 200,
        }
    }
}

/// A sum that does not agree: the run is worthless from here on.
#[derive(Debug, thiserror::Error)]
#[error("at {at_s:.3} s of the run: {what}")]
pub struct Disagreement {
    /// When.
    pub at_s: f64,
    /// What, with both sides.
    pub what: String,
}

#[derive(Debug)]
enum Due {
    Poll,
    Hand(Vec<Event>),
    Write(Command),
    Durable(u16),
    Check,
    /// The sort plan at this place of the list comes into force.
    Plan(usize),
}

/// A sort plan that may come into force, and the table it was read from.
#[derive(Debug, Clone)]
pub struct Table {
    /// Plan.
    pub plan: Arc<SortPlan>,
    /// `sort-plan.csv`.
    pub bytes: Vec<u8>,
}

#[derive(Debug)]
struct Entered {
    at_us: u64,
    serial: u64,
    what: Due,
}

impl PartialEq for Entered {
    fn eq(&self, other: &Self) -> bool {
        (self.at_us, self.serial) == (other.at_us, other.serial)
    }
}
impl Eq for Entered {}
impl PartialOrd for Entered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_us, self.serial).cmp(&(other.at_us, other.serial))
    }
}

/// What the coupling itself has counted out of the core's records.
#[derive(Debug, Clone, Default)]
pub struct Counted {
    /// Calls of `step`.
    pub steps: u64,
    /// Records handed to the journal.
    pub records: u64,
    /// Records that upstream is told of.
    pub milestones: u64,
    /// Of those, the ones that fit the story so far.
    pub fitting: u64,
    /// Inductions the core was told of.
    pub told: u64,
    /// Passes begun, by facts.
    pub begun: u64,
    /// Passes ended, by facts.
    pub ended: u64,
    /// Passes sorted, by facts.
    pub sorted: u64,
}

/// World and core, coupled.
#[derive(Debug)]
pub struct VirtualLine {
    world: World,
    line: Line,
    site: Arc<Site>,
    delays: Delays,
    due: BinaryHeap<Reverse<Entered>>,
    serial: u64,
    polls: u64,
    beat: u16,
    flags: PlcFlags,
    taken: u16,
    bits: (Vec<u16>, Vec<u16>),
    read: u16,
    waiting_commands: VecDeque<CommandSlot>,
    orders: Vec<sortd::line::event::Order>,
    messages: u64,
    open: BTreeMap<PassKey, Option<u16>>,
    counted: Counted,
    wrong: Option<String>,
    store: Option<DayStore>,
    tables: Vec<Table>,
    plan_every_us: u64,
    /// Changes of the plan still to come.
    swaps_left: u32,
}

impl VirtualLine {
    /// A line that has just been started, with `LineStart` asked for.
    pub fn new(site: Arc<Site>, scenario: Scenario, seed: u64, delays: Delays) -> VirtualLine {
        VirtualLine::recorded(site, scenario, seed, delays, None)
    }

    /// The same, with everything recorded in a store.
    pub fn recorded(
        site: Arc<Site>,
        scenario: Scenario,
        seed: u64,
        delays: Delays,
        store: Option<DayStore>,
    ) -> VirtualLine {
        let world = World::new(&site, scenario, seed);
        let line = Line::new(Arc::clone(&site));
        let mut coupled = VirtualLine {
            flags: world.flags(),
            world,
            line,
            delays,
            due: BinaryHeap::new(),
            serial: 0,
            polls: 0,
            beat: 1,
            taken: 0,
            bits: (Vec::new(), Vec::new()),
            read: 0,
            waiting_commands: VecDeque::new(),
            orders: Vec::new(),
            messages: 0,
            open: BTreeMap::new(),
            counted: Counted::default(),
            wrong: None,
            store,
            tables: Vec::new(),
            plan_every_us: 0,
            swaps_left: 0,
            site,
        };
        coupled.world.beat(coupled.beat);
        coupled.start();
        coupled
    }

    fn start(&mut self) {
        let site = Arc::clone(&self.site);
        let boot = self.store.as_ref().map_or(1, DayStore::boot);
        let started = Started::of(&site, boot, WALL_US);
        let plc = self.world.plc();
        let attached = PlcAttached {
            epoch: plc.epoch(),
            resync: 0,
            inducted: plc.inducted(),
            acknowledged: plc.ring().acknowledged(),
            head: plc.ring().head(),
            taken: plc.taken(),
            table: plc.table().to_vec(),
            flags: self.flags,
            encoder: self.encoder(),
        };
        let mut events = vec![Event::Started(started)];
        if let Some(store) = &self.store {
            events.push(Event::Configured { hash: store.configuration().to_owned() });
        }
        events.push(Event::OrdersLoaded(0));
        let devices = site.scanners.iter().map(|s| &s.name).chain(site.gates.iter().map(|g| &g.name));
        events.extend(devices.map(|name| Event::DeviceState { device: name.clone(), up: true }));
        events.push(Event::PlcAttached(attached));
        events.push(Event::Ask(Ask { by: "sim".to_owned(), what: Asked::LineStart }));
        self.enter(0, Due::Hand(events));
        self.enter(self.delays.poll_us, Due::Poll);
        self.enter(CHECK_US, Due::Check);
    }

    /// These sort plans come into force in turn, one every so often, so many times in all.
    pub fn swap_plans(&mut self, tables: Vec<Table>, every_us: u64, times: u32) {
        if !tables.is_empty() && every_us > 0 && times > 0 {
            (self.tables, self.plan_every_us, self.swaps_left) = (tables, every_us, times);
            self.enter(every_us, Due::Plan(0));
        }
    }

    fn plan(&mut self, at: usize) {
        let Table { plan, bytes } = self.tables[at].clone();
        let configuration = match self.store.as_ref().map(|store| store.archive_plan(&bytes)) {
            None => plan.version.clone(),
            Some(Ok(hash)) => hash,
            Some(Err(error)) => {
                self.wrong.get_or_insert(error.to_string());
                return;
            }
        };
        self.world.plan_comes(Arc::clone(&plan));
        let version = plan.version.clone();
        self.line.offer_plan(plan);
        let by = "sim".to_owned();
        self.step(Event::PlanInForce(PlanInForce { version, configuration, by, name: None, message: None }));
        self.swaps_left -= 1;
        if self.swaps_left > 0 {
            let next = (at + 1) % self.tables.len();
            self.enter(self.world.now_us() + self.plan_every_us, Due::Plan(next));
        }
    }

    /// Runs on to `until_us` of the run.
    pub fn run_to(&mut self, until_us: u64) -> Result<(), Disagreement> {
        loop {
            let deadline = self.line.next_deadline().map(|tick| tick.0.saturating_sub(FIRST_TICK_US));
            let entered = self.due.peek().map(|Reverse(entered)| entered.at_us);
            let limit = deadline.into_iter().chain(entered).min().unwrap_or(until_us).min(until_us);
            let limit = limit.max(self.world.now_us());
            self.world.advance_to_happening(limit);
            let happenings = self.world.take_happenings();
            if !happenings.is_empty() {
                for happening in happenings {
                    self.sensed(happening);
                }
                continue;
            }
            if entered.is_some_and(|at_us| at_us <= limit) {
                if let Some(Reverse(entered)) = self.due.pop() {
                    self.handle(entered.what);
                }
            } else if deadline.is_some_and(|at_us| at_us <= limit) {
                self.step(Event::Tick);
            } else {
                return Ok(());
            }
            if let Some(what) = self.wrong.take() {
                #[expect(clippy::cast_precision_loss, reason = "a run's µs are far below 2^52")]
                let at_s = self.world.now_us() as f64 / 1e6;
                return Err(Disagreement { at_s, what });
            }
        }
    }

    fn enter(&mut self, at_us: u64, what: Due) {
        self.serial += 1;
        self.due.push(Reverse(Entered { at_us, serial: self.serial, what }));
    }

    fn now(&self) -> Tick {
        Tick(self.world.now_us() + FIRST_TICK_US)
    }

    fn encoder(&self) -> EncoderPoll {
        EncoderPoll {
            at: self.now(),
            pulses: self.world.pulses(),
            speed_mm_s: self.world.speed_mm_s(),
            round_trip_us: u32::try_from(self.delays.round_trip_us).unwrap_or(u32::MAX),
        }
    }

    /// A sensor's happening becomes an event with its way to the core.
    fn sensed(&mut self, happening: Happening) {
        match happening.what {
            Sensed::Order(order) => self.orders.push(order),
            Sensed::Read { reader, readings, rssi_dbm, .. } => {
                let (heard_us, handed_us, readings) =
                    if let Some(gate) = self.site.gates.iter().find(|gate| gate.reader == reader) {
                        let period_us = (u64::from(gate.poll_ms) * 1000).max(1);
                        let polled_us = (happening.at_us / period_us + 1) * period_us;
                        (polled_us, polled_us + self.delays.round_trip_us / 2, readings)
                    } else if let Some((bytes_us, readings)) = self.telegram(reader, readings) {
                        (happening.at_us, happening.at_us + bytes_us + self.delays.handling_us, readings)
                    } else {
                        return;
                    };
                let at = Tick(heard_us + FIRST_TICK_US);
                let heard = Heard { reader, at, since: at, readings, rssi_dbm };
                self.enter(handed_us, Due::Hand(vec![Event::Heard(heard)]));
            }
        }
    }

    /// What the scanner's telegram carries, and its time on the wire. `None` where it says nothing when it
    /// has read nothing.
    fn telegram(&self, reader: ReaderId, mut readings: Vec<Reading>) -> Option<(u64, Vec<Reading>)> {
        let scanner = self.site.scanners.iter().find(|scanner| scanner.reader == reader)?;
        let framing = &scanner.framing;
        if readings.is_empty() && framing.no_read.is_none() {
            return None;
        }
        if framing.separator.is_none() {
            readings.truncate(1);
        }
        let mut bytes = framing.header.len() + framing.terminator.len();
        for reading in &mut readings {
            if let Reading::Barcode { aim, text } = reading {
                bytes += text.len() + 3;
                if !framing.aim {
                    *aim = None;
                }
            }
        }
        if readings.is_empty() {
            bytes += framing.no_read.as_ref().map_or(0, String::len);
        }
        // Eight data bits, a start and a stop bit.
        let bits = u64::try_from(bytes).unwrap_or(0) * 10;
        Some((bits * 1_000_000 / u64::from(scanner.baud.max(1)), readings))
    }

    fn handle(&mut self, what: Due) {
        match what {
            Due::Poll => self.poll(),
            Due::Plan(at) => self.plan(at),
            Due::Hand(events) => {
                for event in events {
                    self.step(event);
                }
            }
            Due::Write(command) => self.write(command),
            Due::Durable(seq) => self.world.acknowledge(seq),
            Due::Check => {
                self.check_all();
                self.enter(self.world.now_us() + CHECK_US, Due::Check);
            }
        }
    }

    fn poll(&mut self) {
        let now_us = self.world.now_us();
        self.enter(now_us + self.delays.poll_us, Due::Poll);
        self.polls += 1;
        if self.polls.is_multiple_of((BEAT_US / self.delays.poll_us).max(1)) {
            self.beat = self.beat.wrapping_add(1);
            self.world.beat(self.beat);
        }
        self.write_waiting();

        let mut events = vec![Event::Encoder(self.encoder())];
        let flags = self.world.flags();
        if flags != self.flags {
            self.flags = flags;
            events.push(Event::PlcFlags(flags));
        }
        let taken = self.world.plc().taken();
        if taken != self.taken {
            self.taken = taken;
            events.push(Event::CommandsTaken(taken));
        }
        if self.polls.is_multiple_of(BITMAPS_EVERY) {
            let words = self.site.plc.map.bitmap_words;
            let bits = (self.world.chutes().full_bits(words), self.world.plc().disabled_bits().to_vec());
            if bits != self.bits {
                self.bits.clone_from(&bits);
                events.push(Event::ChuteBits { full: bits.0, disabled: bits.1 });
            }
        }
        let ring = self.world.plc().events_after(self.read, EVENTS_A_POLL);
        if let Some(last) = ring.last() {
            self.read = last.seq;
            self.enter(now_us + self.delays.round_trip_us + self.delays.durable_us, Due::Durable(last.seq));
        }
        events.extend(ring.into_iter().map(Event::Plc));
        while !self.orders.is_empty() {
            let rest = self.orders.split_off(self.orders.len().min(BATCH_ORDERS));
            let orders = std::mem::replace(&mut self.orders, rest);
            self.messages += 1;
            let message = format!("m{}", self.messages);
            events.push(Event::Orders(OrderBatch { message, last: true, orders }));
        }
        self.enter(now_us + self.delays.round_trip_us / 2, Due::Hand(events));
    }

    fn write(&mut self, command: Command) {
        match command {
            Command::Divert(slot) => {
                self.waiting_commands.push_back(slot);
                self.write_waiting();
            }
            Command::Request(request) => self.world.request(request),
            Command::Resync => {
                self.read = 0;
                self.taken = 0;
                self.world.resync();
            }
        }
    }

    /// Commands whose slot of the table still holds one that is not taken wait for it.
    fn write_waiting(&mut self) {
        while let Some(slot) = self.waiting_commands.front().copied() {
            if !self.world.plc().slot_free(slot.seq) {
                return;
            }
            self.waiting_commands.pop_front();
            self.world.command(slot);
        }
    }

    fn step(&mut self, event: Event) {
        if let Event::Plc(event) = &event {
            self.told(event);
        }
        let actions = self.line.step(self.now(), event);
        self.counted.steps += 1;
        for entry in &actions.entries {
            self.count(entry);
        }
        self.check_step();
        if let Some(store) = &mut self.store
            && let Err(error) = store.take(self.world.now_us(), actions.entries, &self.line)
        {
            self.wrong.get_or_insert(error.to_string());
        }
        let written_us = self.world.now_us() + self.delays.command_us;
        for command in actions.commands {
            self.enter(written_us, Due::Write(command));
        }
    }

    fn told(&mut self, event: &PlcEvent) {
        let key = PassKey { epoch: self.world.plc().epoch(), track: event.track };
        match event.kind {
            PlcEventKind::Inducted => self.counted.told += 1,
            PlcEventKind::Discharged { chute, how: Discharge::Confirmed } => {
                if let Some(confirmed) = self.open.get_mut(&key) {
                    *confirmed = Some(chute);
                }
            }
            _ => {}
        }
    }

    fn count(&mut self, entry: &Entry) {
        self.counted.records += 1;
        let Body::Fact(fact) = &entry.body else { return };
        let fits = match fact {
            Fact::Inducted { pass, .. } => {
                self.counted.begun += 1;
                self.open.insert(*pass, None).is_none()
            }
            Fact::Ended { pass, outcome, .. } => {
                self.counted.ended += 1;
                let open = self.open.remove(pass);
                if let Outcome::Sorted { chute } = outcome {
                    self.counted.sorted += 1;
                    open == Some(Some(chute.0))
                } else {
                    open.is_some()
                }
            }
            Fact::Identified { pass, .. } | Fact::Recirculated { pass, .. } => self.open.contains_key(pass),
            _ => true,
        };
        if entry.body.is_milestone() {
            self.counted.milestones += 1;
            self.counted.fitting += u64::from(fits);
        }
        if !fits {
            self.wrong.get_or_insert_with(|| format!("this fact does not fit the story so far: {fact:?}"));
        }
    }

    /// The cheap check after each step.
    fn check_step(&mut self) {
        let (begun, ended, in_flight) = self.line.sums();
        let open = u64::try_from(self.open.len()).unwrap_or(u64::MAX);
        let c = &self.counted;
        let agree = begun == ended + in_flight
            && (begun, ended, in_flight) == (c.begun, c.ended, open)
            && begun == c.told;
        if !agree {
            let what = format!(
                "the core says {begun} begun, {ended} ended, {in_flight} in flight; its facts say {} begun, {} \
                 ended, {open} open; it was told of {} inductions",
                c.begun, c.ended, c.told
            );
            self.wrong.get_or_insert(what);
        }
    }

    /// The whole status against the truth.
    fn check_all(&mut self) {
        let sums = self.line.status(self.now()).sums;
        let truth = self.world.truth();
        let exceptions: u64 = sums.exceptions.values().sum();
        let ended = sums.sorted + exceptions + sums.lost;
        let what = if sums.inducted != ended + sums.in_flight {
            format!("inducted ≠ sorted + exceptions + lost + in flight: {sums:?}")
        } else if !truth.adds_up() {
            format!("the world's own sums disagree: {truth:?}")
        } else if sums.inducted > truth.tracks {
            format!("{} passes begun of {} tracks", sums.inducted, truth.tracks)
        } else if sums.sorted > truth.right + truth.missorts || sums.sorted != self.counted.sorted {
            format!(
                "{} passes sorted, by facts {}, but {} parcels lie in destination chutes",
                sums.sorted,
                self.counted.sorted,
                truth.right + truth.missorts
            )
        } else {
            return;
        };
        self.wrong.get_or_insert(what);
    }

    /// Ends the store, if there is one, and gives the number of its last record.
    pub fn close_store(&mut self) -> Result<Option<u64>, DayStoreError> {
        self.store.take().map(|store| store.finish(&self.line)).transpose()
    }

    /// The world.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The world, to break something.
    pub fn world_mut(&mut self) -> &mut World {
        &mut self.world
    }

    /// What the core shows of itself.
    pub fn status(&self) -> LineStatus {
        self.line.status(self.now())
    }

    /// What the coupling has counted.
    pub fn counted(&self) -> &Counted {
        &self.counted
    }

    /// An operator asks something.
    pub fn ask(&mut self, what: Asked) {
        let ask = Event::Ask(Ask { by: "sim".to_owned(), what });
        self.enter(self.world.now_us(), Due::Hand(vec![ask]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testsite::testsite;
    use crate::world::scenario::FaultRates;

    fn run(scenario: Scenario, seed: u64, seconds: u64) -> VirtualLine {
        let mut line = VirtualLine::new(testsite(), scenario, seed, Delays::default());
        line.run_to(seconds * 1_000_000).unwrap();
        line
    }

    #[test]
    fn without_faults_the_core_sorts_what_comes() {
        let scenario = Scenario { faults: FaultRates::none(), ..Scenario::default() };
        let line = run(scenario, 1, 900);
        let (sums, truth) = (line.status().sums, line.world().truth());
        assert!(truth.fed > 1_800, "{truth:?}");
        assert_eq!(truth.missorts, 0, "{truth:?} {sums:?}");
        assert!(truth.first_pass_ratio() > 0.99, "{truth:?} {sums:?}");
    }

    #[test]
    fn with_the_fault_mix_nothing_is_missorted_and_every_sum_agrees() {
        let line = run(Scenario::default(), 7, 1_800);
        let (sums, truth) = (line.status().sums, line.world().truth());
        assert_eq!(truth.missorts, 0, "{truth:?} {sums:?}");
        assert!(sums.exceptions.len() >= 5, "the faults show: {sums:?}");
        assert_eq!(line.counted().milestones, line.counted().fitting);
    }

    #[test]
    fn the_same_seed_takes_the_same_steps() {
        let outcome = |seed| {
            let line = run(Scenario::default(), seed, 300);
            (line.counted().steps, line.counted().records, format!("{:?}", line.status()))
        };
        let first = outcome(3);
        assert_eq!(first, outcome(3));
        assert_ne!(first, outcome(4));
    }
}
