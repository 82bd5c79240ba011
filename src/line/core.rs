//! The core proper: inputs in, facts and commands out.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::actions::Actions;
use super::event::{Command, Event, Order, RetiredOrder, Started};
use super::holds::HoldTable;
use super::orders::{KnownOrders, OrderTable, Upserted};
use super::outcome::Reason;
use super::plans::Plans;
use super::record::{Alarm, Body, Entry, Fact, Input, Severity};
use super::state::{ChuteState, Mode, Pass, Phase, State};
use super::{ChuteNo, PassKey, Tick};
use crate::identify::Key;
use crate::line::measures::Measures;
use crate::site::{Site, SortPlan};

/// A parcel is lost when it has not arrived by this part of its way, in tenths.
const LOST_AFTER_TENTHS: i64 = 15;

/// Part of the way kept as a reserve before the point of no return, in tenths.
const RESERVE_TENTHS: i64 = 1;

/// The core proper.
#[derive(Debug)]
pub struct Core {
    pub(super) site: Arc<Site>,
    pub(super) state: State,
    pub(super) orders: OrderTable,
    pub(super) holds: HoldTable,
    /// The sort plan in force.
    pub(super) plan: Arc<SortPlan>,
    /// Those that were made ready to come into force, in the order in which they will.
    pub(super) offered: Vec<Arc<SortPlan>>,
    pub(super) plans: Plans,
    pub(super) measures: Measures,
    /// Bits of the readers that always answer: the scanners, where there is no gate to wait for.
    pub(super) all_answer: u64,
    /// Moment at which the fact that is being acted on stood in the field, for the reaction time.
    pub(super) stamped: Tick,
    /// When the belt was where the next [`Input::Belt`] says, if the front knows.
    pub(super) polled: Option<Tick>,
    /// While a record is taken again: what was refused then, by order number, is refused now, also where the
    /// order that stood against it is not back yet.
    pub(super) refused_then: BTreeMap<String, String>,
}

impl Core {
    /// A core that knows nothing yet.
    pub fn new(site: Arc<Site>) -> Core {
        let mut state = State { plan: site.plan.version.clone(), ..State::default() };
        state.commands.next = 1;
        let mut core = Core {
            all_answer: all_answer(&site),
            plan: Arc::new(site.plan.clone()),
            offered: Vec::new(),
            plans: Plans::default(),
            site,
            state,
            orders: OrderTable::default(),
            holds: HoldTable::default(),
            measures: Measures::default(),
            stamped: Tick(0),
            polled: None,
            refused_then: BTreeMap::new(),
        };
        core.match_chutes();
        core
    }

    /// Takes up a stored state.
    pub fn with_state(site: Arc<Site>, state: State) -> Core {
        let mut core = Core::new(site);
        core.state = state;
        core.match_chutes();
        for pass in core.state.passes.values_mut() {
            for tied in &mut pass.readings {
                tied.taken_for = Some(crate::identify::identify(&core.site.carriers, &tied.reading));
            }
        }
        core
    }

    /// Chutes of the state in the order of the configuration, by number; new ones are empty.
    fn match_chutes(&mut self) {
        let mut known = std::mem::take(&mut self.state.chutes);
        for chute in &self.site.chutes {
            let number = chute.number.0;
            let found = known.iter().position(|state| state.number == number);
            let state = found
                .map_or_else(|| ChuteState { number, ..ChuteState::default() }, |at| known.swap_remove(at));
            self.state.chutes.push(state);
        }
    }

    /// Records the input, then draws the conclusions.
    pub fn apply(&mut self, now: Tick, input: Input, out: &mut Actions) {
        self.stamped = now;
        self.state.now = now;
        out.entries.push(Entry { at: now, body: Body::Input(input.clone()) });
        match input {
            Input::Belt { pulses, speed_mm_s } => {
                self.state.speed_mm_s = speed_mm_s;
                self.belt_reached(now, pulses, out);
                self.polled = None;
            }
            Input::Read { reader, heard, readings, rssi_dbm, belt, orders: _ } => {
                self.stamped = heard;
                self.read(now, reader, readings, rssi_dbm, belt, out);
            }
            Input::Event(event) => self.take(now, event, out),
            Input::Photo { .. } => {}
        }
        self.assert_sums(now, out);
    }

    /// Runs what time alone makes due.
    pub fn tick(&mut self, now: Tick, out: &mut Actions) {
        self.give_up_loose(now, out);
        if self.state.run_until.is_some_and(|until| until <= now) {
            self.state.run_out();
            out.commands.push(Command::Request(self.state.request));
        }
    }

    /// When `tick` has something to do.
    pub fn next_deadline(&self) -> Option<Tick> {
        let loose = self.state.loose.front().map(|loose| loose.until);
        loose.into_iter().chain(self.state.run_until).min()
    }

    /// Belt position at which a pass must be looked at, if any.
    pub fn next_belt_deadline(&self) -> Option<i64> {
        self.state.due.first().map(|(pulses, _)| *pulses)
    }

    fn take(&mut self, now: Tick, event: Event, out: &mut Actions) {
        match event {
            Event::Tick
            | Event::Encoder(_)
            | Event::Heard(_)
            | Event::PlanStaged(_)
            | Event::DayDeleted(_)
            | Event::Photo(_) => {}
            Event::Configured { hash } => self.plans.configuration = Some(hash),
            Event::Started(started) => self.started(now, &started, out),
            Event::PlcAttached(attached) => self.plc_attached(now, &attached, out),
            Event::PlcDetached => self.plc_detached(now, out),
            Event::Plc(event) => self.plc_event(now, &event, out),
            Event::PlcEventsMissed(missed) => self.plc_events_missed(now, missed, out),
            Event::PlcFlags(flags) => self.plc_flags(now, flags, out),
            Event::CommandsTaken(taken) => self.commands_taken(taken),
            Event::ChuteBits { full, disabled } => self.chute_bits(now, &full, &disabled, out),
            Event::InductionHold { held, why } => {
                if held {
                    self.state.holds.insert(why);
                } else {
                    self.state.holds.remove(&why);
                }
                self.ask_plc(out);
            }
            Event::DeviceState { up, .. } => {
                if !up {
                    self.count("device_down");
                }
            }
            Event::Orders(batch) => self.orders_came(now, &batch, out),
            Event::OrdersLoaded(_) => {
                self.state.orders_loaded = true;
                self.look_again_at_waiting(now, out);
            }
            Event::Ask(ask) => self.asked(now, &ask, out),
            Event::Holds(batch) => self.holds_came(now, &batch, out),
            Event::OrdersRetired(orders) => self.retire(now, &orders, out),
            Event::PlanInForce(change) => self.plan_in_force(&change),
        }
    }

    fn started(&mut self, now: Tick, started: &Started, out: &mut Actions) {
        self.state.boot = started.boot;
        self.state.plan.clone_from(&started.plan);
        self.plan = Arc::new(self.site.plan.clone());
        self.plans.configuration = None;
        self.state.plc.attached = false;
        self.state.orders_loaded = false;
        self.state.holds.clear();
        // The configuration may number its readers otherwise than before.
        self.give_up_all_loose(now, out);
        for pass in self.state.passes.values_mut() {
            pass.answered = 0;
        }
        if !self.state.plc.flags.e_stop {
            self.clear_alarm(now, "sums-disagree", out);
        }
    }

    /// The belt has come to `pulses`: every pass that is due by then is looked at, in belt order.
    pub(super) fn belt_reached(&mut self, now: Tick, pulses: i64, out: &mut Actions) {
        self.state.belt = self.state.belt.max(pulses);
        while let Some(&(at, key)) = self.state.due.first() {
            if at > self.state.belt {
                break;
            }
            self.stamped = self.reached_at(now, at);
            self.due(now, key, out);
            // A pass that is looked at always moves its deadline on or ends; otherwise this would not end.
            if self.state.due.first() == Some(&(at, key)) {
                self.reschedule(key, i64::MAX);
            }
        }
    }

    /// When the belt came to `pulses`, as far as the last poll tells.
    fn reached_at(&self, now: Tick, pulses: i64) -> Tick {
        let polled = self.polled.unwrap_or(now);
        let beyond_us = self.mm(self.state.belt - pulses) * 1_000_000 / self.speed();
        Tick(polled.0.saturating_sub(u64::try_from(beyond_us).unwrap_or(0)))
    }

    fn due(&mut self, now: Tick, key: PassKey, out: &mut Actions) {
        let Some(pass) = self.state.passes.get(&key) else {
            self.state.due.retain(|(_, other)| *other != key);
            return;
        };
        match pass.phase {
            Phase::Reading => self.close_reads(now, key, out),
            Phase::AwaitingOrder => self.give_up_waiting(now, key, out),
            Phase::Bound(_) | Phase::OffCourse { .. } => {
                if self.state.plc.catching_up_to.is_some() {
                    // What the ring still holds may tell where it is; look again a metre later.
                    let later = self.state.belt + i64::from(self.site.belt.pulses_per_metre);
                    self.reschedule(key, later);
                } else {
                    self.lost(now, key, out);
                }
            }
        }
    }

    /// Moves a pass's belt deadline.
    pub(super) fn reschedule(&mut self, key: PassKey, pulses: i64) {
        if let Some(pass) = self.state.passes.get_mut(&key) {
            self.state.due.remove(&(pass.due, key));
            pass.due = pulses;
            if pulses < i64::MAX {
                self.state.due.insert((pulses, key));
            }
        }
    }

    fn orders_came(&mut self, now: Tick, batch: &super::event::OrderBatch, out: &mut Actions) {
        let (mut accepted, mut refused) = (0, 0);
        for order in &batch.orders {
            let upserted = match self.refused_then.get(&order.order) {
                Some(why) => Err(why.clone()),
                None => {
                    let upserted = self.orders.upsert(order, &self.site.carriers, now);
                    upserted.map_err(|refusal| refusal.to_string())
                }
            };
            match upserted {
                Ok(Upserted::Taken(keys)) => {
                    accepted += 1;
                    self.order_changed(now, &keys, out);
                }
                Ok(Upserted::Known) => accepted += 1,
                Err(why) => {
                    refused += 1;
                    self.count("order_refused");
                    let (message, order) = (batch.message.clone(), order.order.clone());
                    fact_of(now, Fact::OrderRefused { message, order, why }, out);
                }
            }
        }
        let fact =
            Fact::OrdersApplied { message: batch.message.clone(), last: batch.last, accepted, refused };
        fact_of(now, fact, out);
    }

    /// A new revision counts for every parcel that has not reached its point of no return and shows one of
    /// the codes that the order names, or named until now.
    fn order_changed(&mut self, now: Tick, keys: &[Key], out: &mut Actions) {
        let touched: Vec<PassKey> = self
            .state
            .passes
            .iter()
            .filter(|(_, pass)| {
                matches!(pass.phase, Phase::AwaitingOrder | Phase::Bound(_))
                    && pass.keys().any(|key| keys.contains(key))
            })
            .map(|(key, _)| *key)
            .collect();
        for key in touched {
            self.order_revised(now, key, out);
        }
    }

    /// Orders known from before this run.
    pub fn load_orders(&mut self, orders: &[Order]) {
        for order in orders {
            if self.orders.upsert(order, &self.site.carriers, self.state.now).is_err() {
                self.count("order_refused");
            }
        }
    }

    /// Orders of the register, made ready by the shell.
    pub fn load_known(&mut self, orders: KnownOrders) {
        let refused = self.orders.load(orders);
        if refused > 0 {
            self.count_all("order_refused", refused);
        }
    }

    /// Finished orders leave the table, but for those whose parcels are on the belt again.
    fn retire(&mut self, now: Tick, orders: &[RetiredOrder], out: &mut Actions) {
        let mut kept = Vec::new();
        for order in orders {
            let on_belt = |pass: &Pass| pass.keys().any(|key| self.orders.is_of(key, &order.order));
            if self.state.passes.values().any(on_belt) {
                kept.push(order.order.clone());
            } else {
                self.orders.retire(order);
            }
        }
        fact_of(now, Fact::OrdersGone { kept }, out);
    }

    /// Counts something that could not be used.
    pub(super) fn count(&mut self, what: &str) {
        self.count_all(what, 1);
    }

    /// Counts several at once.
    pub(super) fn count_all(&mut self, what: &str, more: u64) {
        if let Some(count) = self.state.counters.get_mut(what) {
            *count += more;
        } else {
            self.state.counters.insert(what.to_owned(), more);
        }
    }

    pub(super) fn raise(&mut self, now: Tick, alarm: Alarm, out: &mut Actions) {
        if self.state.alarms.insert(alarm.id.clone(), alarm.clone()).is_none() {
            fact_of(now, Fact::AlarmRaised(alarm), out);
        }
    }

    pub(super) fn clear_alarm(&mut self, now: Tick, id: &str, out: &mut Actions) {
        if self.state.alarms.remove(id).is_some() {
            fact_of(now, Fact::AlarmCleared { id: id.to_owned() }, out);
        }
    }

    /// inducted = sorted + exception + lost + in flight, after every input.
    fn assert_sums(&mut self, now: Tick, out: &mut Actions) {
        let tally = &self.state.tally;
        if tally.inducted == tally.ended() + self.state.passes.len() as u64 {
            return;
        }
        debug_assert!(false, "sums disagree: {tally:?}, {} in flight", self.state.passes.len());
        let alarm = Alarm {
            id: "sums-disagree".to_owned(),
            severity: Severity::Critical,
            text: "inducted is not sorted + exception + lost + in flight".to_owned(),
            remedy: "keep the store and send it to the maker; count the parcels of this shift by hand"
                .to_owned(),
        };
        self.raise(now, alarm, out);
    }

    /// Sets register 1 to what the state demands, if that changed.
    pub(super) fn ask_plc(&mut self, out: &mut Actions) {
        let mode = self.state.mode;
        let mut request = self.state.request;
        request.induction_permitted = mode == Mode::Normal
            && self.state.holds.is_empty()
            && self.state.plc.attached
            && !self.state.plc.flags.e_stop;
        request.stop = mode == Mode::Stopped;
        request.purge = mode == Mode::Purging;
        if self.state.plc.flags.e_stop || mode == Mode::Stopped {
            request.run = false;
        }
        if request != self.state.request {
            self.state.request = request;
            out.commands.push(Command::Request(request));
        }
    }

    /// Millimetres of belt for extended pulses.
    pub(super) fn mm(&self, pulses: i64) -> i64 {
        pulses * 1000 / i64::from(self.site.belt.pulses_per_metre)
    }

    /// Extended pulses for millimetres of belt.
    pub(super) fn pulses(&self, mm: i64) -> i64 {
        mm * i64::from(self.site.belt.pulses_per_metre) / 1000
    }

    /// Speed for turning way into time: as heard, or nominal while the belt stands.
    pub(super) fn speed(&self) -> i64 {
        match self.state.speed_mm_s {
            0 => i64::from(self.site.belt.speed_mm_s),
            speed => i64::from(speed),
        }
    }

    /// Position of a pass's front from the induction eye, mm.
    pub(super) fn position_mm(&self, pass: &Pass) -> i64 {
        self.mm(self.state.belt - pass.origin)
    }

    /// Way that is kept before a chute's point of no return for polls and round trips, mm.
    pub(super) fn reserve_mm(&self) -> i64 {
        self.speed() * i64::from(self.site.belt.reserve_ms) / 1000
    }

    /// Deadline of a decision for a chute: its decision point minus the larger of a tenth of the way from
    /// the last reader and the reserve.
    pub(super) fn deadline_mm(&self, chute: usize) -> i64 {
        let decision = i64::from(self.site.chutes[chute].decision_mm);
        let way = decision - self.reads_closed_mm(0);
        decision - (way * RESERVE_TENTHS / 10).max(self.reserve_mm())
    }

    /// Place of a parcel's front at which no reader can report it any more.
    pub(super) fn reads_closed_mm(&self, length_mm: u16) -> i64 {
        // A belt that is only starting will be at its speed before the parcel is there.
        let speed = self.speed().max(i64::from(self.site.belt.speed_mm_s));
        let end = |reader: &crate::site::Reader| {
            i64::from(reader.field_end_mm) + i64::from(reader.delay_ms.1) * speed / 1000
        };
        self.site.readers.iter().map(end).max().unwrap_or(0) + i64::from(length_mm)
    }

    /// Belt position at which a pass bound for `target_mm` is lost.
    pub(super) fn lost_at(&self, pass: &Pass, target_mm: i64) -> i64 {
        pass.origin + self.pulses(target_mm * LOST_AFTER_TENTHS / 10)
    }

    /// Place of a chute in the tables.
    pub(super) fn chute_at(&self, number: ChuteNo) -> Option<usize> {
        self.site.chutes.iter().position(|chute| chute.number == number)
    }

    /// Marks what is wrong with a pass; the first blemish stays.
    pub(super) fn blemish(&mut self, key: PassKey, reason: Reason) {
        if let Some(pass) = self.state.passes.get_mut(&key) {
            pass.blemish.get_or_insert(reason);
        }
    }
}

/// A conclusion.
pub(super) fn fact_of(now: Tick, fact: Fact, out: &mut Actions) {
    out.entries.push(Entry { at: now, body: Body::Fact(fact) });
}

/// Scanners answer for every parcel, with a no-read telegram if need be; a gate says nothing when there is
/// no tag, so a line with a gate waits for the belt.
fn all_answer(site: &Site) -> u64 {
    let mut bits = 0;
    for (at, reader) in site.readers.iter().enumerate() {
        match reader.kind {
            crate::site::ReaderKind::Barcode if at < 64 => bits |= 1 << at,
            crate::site::ReaderKind::Barcode | crate::site::ReaderKind::Tag => return 0,
        }
    }
    bits
}
