//! The line as the shell sees it: events as they come from the field.
//!
//! The front keeps the belt's position over time and holds a reader's frame until the poll after it has
//! come; what it hands to the core is what the journal records, so that a replay needs no polls. An encoder
//! poll reaches the core only where it makes something due, or before an input that may lead to a decision.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::actions::Actions;
use super::core::Core;
use super::encoder::{EncoderTrack, extend};
use super::event::{EncoderPoll, Event, Heard, HoldOrder, Order, RetiredOrder};
use super::holds::{HoldTable, InForce, Released};
use super::orders::KnownOrders;
use super::plans::Plans;
use super::plc::AHEAD_MOST_MS;
use super::record::{Input, Target};
use super::state::{
    SNAPSHOT_HOLDS, SNAPSHOT_OLDEST, SNAPSHOT_PLANS, SNAPSHOT_RELEASES, SNAPSHOT_VERSION, State,
};
use super::status::LineStatus;
use super::trail::Trail;
use super::{ChuteNo, PassKey, Tick};
use crate::site::{Site, SortPlan};

/// A frame waits this long for the encoder poll after it; longer, and the encoder is not to be heard.
const POLL_WAIT_MS: u64 = 500;

/// Frames that wait at most; with more, the encoder is not to be heard either.
const WAITING_MOST: usize = 256;

/// A frame that may have waited unheard for longer than this has no place: parcels that were in the reader's
/// field at its time may have left the line. 0.5 s at 2.5 m/s are 1.25 m; no reader stands so near the last chute.
const UNHEARD_MOST_MS: u64 = 500;

/// The belt must have moved this far before a position is handed on for its own sake, mm.
const STEP_MM: i64 = 20;

/// Polls that lie wildly ahead before the counter counts as set anew: half a second of polls every 10 ms, as
/// long as a PLC may be silent.
const WILD_MOST: u32 = 50;

/// Largest snapshot taken up: far above what 2,000 passes in flight need.
const SNAPSHOT_LARGEST: usize = 64 << 20;

/// The line: one value, one writer.
#[derive(Debug)]
pub struct Line {
    track: EncoderTrack,
    waiting: VecDeque<Heard>,
    /// Polls left out one after the other because of where they lie.
    wild: u32,
    trail: Trail,
    core: Core,
}

/// Why a snapshot is not taken up.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Empty.
    #[error("expected a snapshot, got no bytes")]
    Empty,
    /// Another version.
    #[error("expected a snapshot of version {SNAPSHOT_OLDEST} to {SNAPSHOT_VERSION}, got version {0}")]
    Version(u8),
    /// Not decodable.
    #[error("the snapshot's contents cannot be read: {0}")]
    Contents(#[from] bincode::error::DecodeError),
    /// Something behind it.
    #[error("the snapshot has {0} bytes behind its end")]
    Longer(usize),
}

/// Why a line's state cannot be taken over into another.
#[derive(Debug, thiserror::Error)]
pub enum RestartError {
    /// It cannot be stored.
    #[error("the state cannot be stored: {0}")]
    Store(#[from] bincode::error::EncodeError),
    /// It is not taken up.
    #[error(transparent)]
    TakeUp(#[from] SnapshotError),
}

impl Line {
    /// An empty line.
    pub fn new(site: Arc<Site>) -> Line {
        Line::over(Core::new(site))
    }

    fn over(core: Core) -> Line {
        let trail = Trail::new(&core.site);
        Line { track: EncoderTrack::default(), waiting: VecDeque::new(), wild: 0, trail, core }
    }

    /// Takes up a snapshot.
    pub fn from_snapshot(site: Arc<Site>, bytes: &[u8]) -> Result<Line, SnapshotError> {
        let (version, contents) = bytes.split_first().ok_or(SnapshotError::Empty)?;
        if !(SNAPSHOT_OLDEST..=SNAPSHOT_VERSION).contains(version) {
            return Err(SnapshotError::Version(*version));
        }
        let config = bincode::config::standard().with_limit::<SNAPSHOT_LARGEST>();
        let ((state, orders), mut used): ((State, Vec<Order>), usize) =
            bincode::serde::decode_from_slice(contents, config)?;
        let (mut holds, mut released) = (InForce::default(), Released::default());
        if *version >= SNAPSHOT_HOLDS {
            let more;
            (holds, more) = bincode::serde::decode_from_slice(&contents[used..], config)?;
            used += more;
        }
        if *version >= SNAPSHOT_RELEASES {
            let more;
            (released, more) = bincode::serde::decode_from_slice(&contents[used..], config)?;
            used += more;
        }
        let mut plans = Plans::default();
        if *version >= SNAPSHOT_PLANS {
            let more;
            (plans, more) = bincode::serde::decode_from_slice(&contents[used..], config)?;
            used += more;
        }
        if used != contents.len() {
            return Err(SnapshotError::Longer(contents.len() - used));
        }
        let mut core = Core::with_state(site, state);
        core.load_orders(&orders);
        core.holds = HoldTable::new(holds, released);
        core.plans = plans;
        Ok(Line::over(core))
    }

    /// Whether a snapshot is of the layout that this version takes up.
    pub fn takes_up(snapshot: &[u8]) -> bool {
        snapshot.first() == Some(&SNAPSHOT_VERSION)
    }

    /// The state as bytes, version first, with the orders of the parcels on the belt.
    pub fn snapshot(&self) -> Result<Vec<u8>, bincode::error::EncodeError> {
        let mut bytes = vec![SNAPSHOT_VERSION];
        let config = bincode::config::standard();
        let orders: Vec<Order> =
            self.core.state.passes.keys().flat_map(|key| self.core.orders_on(*key)).collect();
        bincode::serde::encode_into_std_write(
            (&self.core.state, orders, self.core.holds.parts(), &self.core.plans),
            &mut bytes,
            config,
        )?;
        Ok(bytes)
    }

    /// The line as it is after a restart with this configuration: what a snapshot holds, and no more.
    pub fn restarted(&self, site: Arc<Site>) -> Result<Line, RestartError> {
        Ok(Line::from_snapshot(site, &self.snapshot()?)?)
    }

    /// Where a pass in flight would be sent under another plan, with everything else as it stands. `None` where
    /// no plan is asked: it has no identity, or no order is known. `moved` says how many parcels more than it
    /// really does a chute would hold under that plan: chutes are weighed by that, and one that is full only
    /// because of parcels that would not be in it is open; but none is closed by it, since its bag would have
    /// been changed in time.
    pub fn would_decide(
        &self,
        pass: PassKey,
        plan: &SortPlan,
        moved: &dyn Fn(ChuteNo) -> i32,
    ) -> Option<Target> {
        self.core.would_decide(pass, plan, moved)
    }

    /// The configuration it works with.
    pub fn site(&self) -> &Arc<Site> {
        &self.core.site
    }

    /// The parts of the state that are not as a snapshot has them. Counters are left out: some count what is
    /// no recorded input. What time alone did before the snapshot was made, without a record, is done first.
    pub fn agrees_with(&mut self, snapshot: &[u8]) -> Result<Vec<&'static str>, RestartError> {
        let other = Line::from_snapshot(Arc::clone(&self.core.site), snapshot)?;
        if other.core.state.run_until.is_none() {
            self.core.state.run_out();
        }
        let mut parts = self.core.state.differs_from(&other.core.state)?;
        if self.core.plans != other.core.plans {
            parts.push("plans");
        }
        Ok(parts)
    }

    /// Takes a recorded input again.
    pub(super) fn replay(
        &mut self,
        at: Tick,
        input: Input,
        refused_then: BTreeMap<String, String>,
    ) -> Actions {
        let mut out = Actions::default();
        self.core.tick(at, &mut out);
        self.core.refused_then = refused_then;
        self.core.apply(at, input, &mut out);
        self.core.refused_then.clear();
        out
    }

    /// Runs what is due by `at`, as recorded facts without an input of their own demand it.
    pub(super) fn replay_until(&mut self, at: Tick) -> Actions {
        let mut out = Actions::default();
        self.core.tick(at, &mut out);
        out
    }

    /// Runs every deadline up to `now`, each at its own time, then takes the event.
    pub fn step(&mut self, now: Tick, event: Event) -> Actions {
        let mut out = Actions::default();
        self.run_due(now, &mut out);
        match event {
            Event::Tick => {}
            Event::Encoder(poll) => self.encoder(now, &poll, &mut out),
            Event::Heard(heard) => self.heard(now, heard, &mut out),
            Event::PlcAttached(attached) => {
                // The counter may have jumped, and nothing is known of the time between.
                self.track.clear();
                self.trail.lift();
                self.core.apply(now, Input::Event(Event::PlcAttached(attached)), &mut out);
            }
            Event::PlcDetached => {
                self.track.clear();
                self.core.apply(now, Input::Event(Event::PlcDetached), &mut out);
            }
            Event::Plc(record) => {
                // The belt may have run on while nothing asked for it; the core judges the record by it.
                if self.core.is_ahead(&record) {
                    self.hand_on_belt(now, STEP_MM, &mut out);
                }
                self.core.apply(now, Input::Event(Event::Plc(record)), &mut out);
            }
            Event::Orders(_)
            | Event::OrdersLoaded(_)
            | Event::Ask(_)
            | Event::ChuteBits { .. }
            | Event::Holds(_) => {
                self.hand_on_belt(now, STEP_MM, &mut out);
                self.core.apply(now, Input::Event(event), &mut out);
            }
            Event::Started(_)
            | Event::Configured { .. }
            | Event::PlcEventsMissed(_)
            | Event::PlcFlags(_)
            | Event::CommandsTaken(_)
            | Event::InductionHold { .. }
            | Event::DeviceState { .. }
            | Event::OrdersRetired(_)
            | Event::PlanStaged(_)
            | Event::DayDeleted(_)
            | Event::PlanInForce(_) => self.core.apply(now, Input::Event(event), &mut out),
            Event::Photo(photo) => {
                let shows = self.trail.shown(&photo, &self.core);
                self.core.apply(now, Input::Photo { photo, shows }, &mut out);
            }
        }
        self.trail.follow(now, &out.entries, &self.core);
        out
    }

    /// When `step` must be called again at the latest, even if nothing happens.
    pub fn next_deadline(&self) -> Option<Tick> {
        let waiting = self.waiting.front().map(|heard| heard.at.plus_ms(POLL_WAIT_MS));
        waiting.into_iter().chain(self.core.next_deadline()).min()
    }

    /// Orders known from before this run, from the register; before [`Event::OrdersLoaded`].
    pub fn load_orders(&mut self, orders: &[Order]) {
        self.core.load_orders(orders);
    }

    /// So many orders of the register will come, at most: room is made for them at once.
    pub fn expect_orders(&mut self, orders: u64) {
        self.core.orders.reserve(orders);
    }

    /// A portion of the register, made ready outside of this thread; before [`Event::OrdersLoaded`].
    pub fn load_known(&mut self, orders: KnownOrders) {
        self.core.load_known(orders);
    }

    /// A plan made ready outside of this thread; before its [`Event::PlanInForce`], or where a snapshot
    /// [wants](Line::wants_plan) it.
    pub fn offer_plan(&mut self, plan: Arc<SortPlan>) {
        if self.wants_plan().is_some() && plan.version == self.core.state.plan {
            self.core.plan = plan;
        } else {
            self.core.offered.push(plan);
        }
    }

    /// The configuration, in the store's archive, with the plan that was in force when the snapshot was made; where
    /// that is not the plan of the configuration it was taken up with.
    pub fn wants_plan(&self) -> Option<&str> {
        let other = self.core.plan.version != self.core.state.plan;
        self.core.plans.configuration.as_deref().filter(|_| other)
    }

    /// The sort plan in force.
    pub fn plan(&self) -> &Arc<SortPlan> {
        &self.core.plan
    }

    /// A hold of the register; before the orders, so that none is decided without its hold.
    pub fn load_hold(&mut self, hold: &HoldOrder, at: Tick) {
        self.core.load_hold(hold, at);
    }

    /// Finished orders among the next few that nobody has named for long, to be retired by
    /// [`Event::OrdersRetired`]; and whether all have been looked at.
    pub fn finished_orders(&mut self, now: Tick) -> (Vec<RetiredOrder>, bool) {
        let found = self.core.orders.finished(now);
        (found, self.core.orders.is_searched())
    }

    /// Passes begun, ended and on the belt, for a cheap check of the sums.
    pub fn sums(&self) -> (u64, u64, u64) {
        let tally = &self.core.state.tally;
        (tally.inducted, tally.ended(), self.core.state.passes.len() as u64)
    }

    /// Reservations are exactly those of the passes in flight.
    #[cfg(test)]
    pub fn assert_reservations(&self) {
        self.core.assert_reservations();
    }

    /// Ring sequence last used and the PLC's epoch: what may be acknowledged once it is durable.
    pub fn plc_position(&self) -> Option<(u16, u16)> {
        self.core.state.plc.epoch.map(|epoch| (epoch, self.core.state.plc.last_seq))
    }

    /// Time of the last input; the clock goes on after it.
    pub fn last_tick(&self) -> Tick {
        self.core.state.now
    }

    /// What `status` and the page show.
    pub fn status(&self, now: Tick) -> LineStatus {
        let (at, belt, speed) =
            self.track.latest().unwrap_or((now, self.core.state.belt, self.core.state.speed_mm_s));
        let since_us = i64::try_from(now.0.saturating_sub(at.0)).unwrap_or(0).min(1_000_000);
        let travelled = since_us * i64::from(speed) * i64::from(self.core.site.belt.pulses_per_metre);
        self.core.show(belt + travelled / 1_000_000_000, speed)
    }

    fn run_due(&mut self, now: Tick, out: &mut Actions) {
        while let Some(due) = self.next_deadline().filter(|due| *due <= now) {
            let unheard = self.waiting.pop_front_if(|heard| heard.at.plus_ms(POLL_WAIT_MS) <= due);
            if let Some(heard) = unheard {
                self.hand_on(due, heard, None, out);
            }
            self.core.tick(due, out);
        }
    }

    /// Whether a poll lies farther ahead of the one before it than the belt can have come. One wrong value must
    /// not carry the belt away; one that stays is a counter that was set anew.
    fn is_wild(&mut self, poll: &EncoderPoll) -> bool {
        let Some((at, pulses, _)) = self.track.latest() else { return false };
        let since_ms = i64::try_from(poll.at.ms_since(at)).unwrap_or(i64::MAX / 1_000_000);
        let ahead_mm = self.core.mm(extend(pulses, poll.pulses) - pulses);
        let most_mm = i64::from(self.core.site.belt.speed_mm_s) * (AHEAD_MOST_MS + 2 * since_ms) / 1000;
        let wild = ahead_mm > most_mm && self.wild < WILD_MOST;
        self.wild = if wild { self.wild + 1 } else { 0 };
        wild
    }

    fn encoder(&mut self, now: Tick, poll: &EncoderPoll, out: &mut Actions) {
        if self.is_wild(poll) {
            self.core.count("encoder_ahead");
            return;
        }
        let pulses = self.track.take(poll, self.core.state.belt);
        self.trail.belt_at(poll.at, pulses);
        while let Some(heard) = self.waiting.pop_front_if(|heard| heard.at <= poll.at) {
            let belt = self.span_of(&heard);
            self.hand_on_belt(now, STEP_MM, out);
            self.hand_on(now, heard, belt, out);
        }
        let stopped_or_started = (poll.speed_mm_s == 0) != (self.core.state.speed_mm_s == 0);
        if stopped_or_started || self.core.next_belt_deadline().is_some_and(|due| due <= pulses) {
            self.core.polled = Some(poll.at);
            self.core.apply(now, Input::Belt { pulses, speed_mm_s: poll.speed_mm_s }, out);
        }
    }

    fn heard(&mut self, now: Tick, heard: Heard, out: &mut Actions) {
        if self.waiting.len() >= WAITING_MOST
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.hand_on(now, oldest, None, out);
        }
        // Frames of several readers may arrive out of the order of their first bytes.
        let place = self.waiting.partition_point(|other| other.at <= heard.at);
        self.waiting.insert(place, heard);
        while let Some(heard) =
            self.waiting.pop_front_if(|heard| self.track.latest().is_some_and(|(at, ..)| at >= heard.at))
        {
            let belt = self.span_of(&heard);
            self.hand_on_belt(now, STEP_MM, out);
            self.hand_on(now, heard, belt, out);
        }
    }

    fn span_of(&self, heard: &Heard) -> Option<(i64, i64)> {
        let reader = self.core.site.readers.get(usize::from(heard.reader.0))?;
        let (least, most) = reader.delay_ms;
        if heard.at.ms_since(heard.since) > UNHEARD_MOST_MS {
            return None;
        }
        let back = |from: Tick, ms: u32| Tick(from.0.saturating_sub(u64::from(ms) * 1000));
        let (from, to) = (back(heard.since, most), back(heard.at, least));
        self.track.span(from, to, self.core.site.belt.pulses_per_metre)
    }

    fn hand_on(&mut self, now: Tick, heard: Heard, belt: Option<(i64, i64)>, out: &mut Actions) {
        let Heard { reader, at, readings, rssi_dbm, .. } = heard;
        let orders = self.core.orders_for(&readings);
        self.core.apply(now, Input::Read { reader, heard: at, readings, rssi_dbm, belt, orders }, out);
    }

    /// Tells the core where the belt is, if it has moved on by `step_mm` since it was told.
    fn hand_on_belt(&mut self, now: Tick, step_mm: i64, out: &mut Actions) {
        if let Some((at, pulses, speed_mm_s)) = self.track.latest()
            && self.core.mm(pulses - self.core.state.belt) >= step_mm
        {
            self.core.polled = Some(at);
            self.core.apply(now, Input::Belt { pulses, speed_mm_s }, out);
        }
    }
}
