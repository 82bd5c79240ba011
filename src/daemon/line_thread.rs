//! The one thread that owns the line: waits, feeds, and carries out.
//!
//! Commands leave first, then the entries go to the journal; nothing here waits for either. No file, no
//! lock, no log call. When the journal has little room left, parcels are no longer asked for; when it has
//! almost none, events stay where they are (the PLC's ring, the ports' spools) until it has.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use tokio::sync::{mpsc, watch};

use crate::journal::{AppendError, JournalHandle, Numbered, Space};
use crate::line::actions::Actions;
use crate::line::event::{Command, DayDeleted, Event, HoldOrder, PlanInForce};
use crate::line::record::Entry;
use crate::line::status::LineStatus;
use crate::line::{KnownOrders, Line, Tick};
use crate::site::SortPlan;
use crate::watch::beat::Beat;
use crate::watch::clock::Clock;

/// Period of the status for people.
const STATUS_MS: u64 = 200;

/// Time between two snapshots for a fast restart; the in-flight log between them stays short.
const SNAPSHOT_MS: u64 = 5_000;

/// Room of the journal under which parcels are no longer asked for.
const ROOM_TO_INDUCT: usize = crate::journal::QUEUE_CAPACITY / 2;

/// Whether the journal is so far behind that no more parcels are asked for.
pub fn is_behind(room: usize) -> bool {
    room < ROOM_TO_INDUCT
}

/// Room under which events stay outside: the entries of one event always fit.
const ROOM_TO_TAKE: usize = 1_024;

/// Pause while the journal has no room: short against the ring's 23 s.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(2);

/// A round over the table for finished orders begins this often …
const RETIRE_EVERY_MS: u64 = 3_600_000;

/// … and takes its next few slots this often: a million in a minute or so.
const RETIRE_STEP_MS: u64 = 200;

/// Why the shell holds induction while the journal is behind.
const JOURNAL_BEHIND: &str = "journal-behind";

/// Why the shell holds induction while the store's disk is full.
const STORE_FULL: &str = "store-full";

/// Why the shell holds induction while it leaves.
const LEAVING: &str = "leaving";

/// What the shell says to the thread besides events.
#[derive(Debug)]
pub enum Control {
    /// Holds of the register, and when they were applied; before its orders.
    Holds(Vec<(HoldOrder, Tick)>),
    /// At most so many orders of the register will follow.
    OrdersExpected(u64),
    /// A portion of the register's orders; portions come in their order.
    Orders(KnownOrders),
    /// All orders of the register have been given.
    OrdersLoaded(u64),
    /// Another sort plan comes into force.
    Plan(Arc<SortPlan>, PlanInForce),
    /// Ask for no more parcels.
    Leave,
    /// End the thread, with a last snapshot.
    Stop,
}

/// Ends of the channels the thread works on.
#[derive(Debug)]
pub struct Ends {
    /// From the field, the operator and upstream.
    pub events: Receiver<Event>,
    /// From the shell.
    pub control: Receiver<Control>,
    /// To the PLC task.
    pub commands: mpsc::Sender<Command>,
    /// To the journal thread.
    pub journal: JournalHandle,
    /// To whoever shows it.
    pub status: watch::Sender<Arc<LineStatus>>,
    /// To the supervisor.
    pub beat: Beat,
}

/// The thread's own state.
#[derive(Debug)]
pub struct LineThread {
    line: Line,
    ends: Ends,
    clock: Clock,
    next_seq: u64,
    unsent_commands: VecDeque<Command>,
    unsent_entries: VecDeque<Numbered>,
    behind: bool,
    full: bool,
    next_status: Tick,
    next_snapshot: Tick,
    /// When finished orders are looked for; not before all orders are back.
    next_retirement: Option<Tick>,
    snapshot_seq: u64,
    /// Days that go when this thread has recorded it.
    deletions: Receiver<DayDeleted>,
}

impl LineThread {
    /// A thread over `line` whose next record has number `next_seq`.
    pub fn new(line: Line, next_seq: u64, clock: Clock, ends: Ends) -> LineThread {
        LineThread {
            deletions: ends.journal.deletions(),
            line,
            ends,
            clock,
            next_seq,
            unsent_commands: VecDeque::new(),
            unsent_entries: VecDeque::new(),
            behind: false,
            full: false,
            next_status: Tick(0),
            next_snapshot: clock.now().plus_ms(SNAPSHOT_MS),
            next_retirement: None,
            snapshot_seq: 0,
        }
    }

    /// Runs until told to stop, beginning with `first`. `unrecorded` is what the line has concluded already and a kill
    /// kept out of the records.
    pub fn run(mut self, unrecorded: Vec<Entry>, first: Vec<Event>) {
        self.number(unrecorded);
        for event in first {
            self.step(event);
        }
        loop {
            self.ends.beat.beat();
            if !self.controlled() {
                break;
            }
            self.send();
            self.watch_room();
            if self.unsent_entries.is_empty() && self.ends.journal.room() >= ROOM_TO_TAKE {
                if let Ok(day) = self.deletions.try_recv() {
                    self.step(Event::DayDeleted(day));
                }
                match self.ends.events.recv_timeout(self.wait()) {
                    Ok(event) => self.step(event),
                    Err(RecvTimeoutError::Timeout) => self.step(Event::Tick),
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            } else {
                std::thread::sleep(NO_ROOM_PAUSE);
            }
            self.show();
        }
        self.leave();
    }

    /// What the shell says; false is the end.
    fn controlled(&mut self) -> bool {
        match self.ends.control.try_recv() {
            Ok(Control::Holds(holds)) => {
                for (hold, at) in &holds {
                    self.line.load_hold(hold, *at);
                }
            }
            Ok(Control::OrdersExpected(count)) => self.line.expect_orders(count),
            Ok(Control::Orders(orders)) => self.line.load_known(orders),
            Ok(Control::OrdersLoaded(count)) => {
                self.step(Event::OrdersLoaded(count));
                self.next_retirement = Some(self.clock.now().plus_ms(RETIRE_EVERY_MS));
            }
            Ok(Control::Plan(plan, change)) => {
                self.line.offer_plan(plan);
                self.step(Event::PlanInForce(change));
            }
            Ok(Control::Leave) => self.hold(true, LEAVING),
            Ok(Control::Stop) | Err(TryRecvError::Disconnected) => return false,
            Err(TryRecvError::Empty) => {}
        }
        true
    }

    /// Until the next deadline, at most a quarter of the status period so that the shell is heard.
    fn wait(&self) -> Duration {
        if !self.ends.control.is_empty() {
            return Duration::ZERO;
        }
        let longest = STATUS_MS * 1000 / 4;
        let now = self.clock.now();
        let until = self.line.next_deadline().map_or(longest, |due| due.0.saturating_sub(now.0));
        Duration::from_micros(until.min(longest))
    }

    fn step(&mut self, event: Event) {
        let now = self.clock.now();
        let actions = self.line.step(now, event);
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Actions) {
        self.unsent_commands.extend(actions.commands);
        self.send();
        self.number(actions.entries);
    }

    /// Gives entries their numbers and hands them on.
    fn number(&mut self, entries: Vec<Entry>) {
        if entries.is_empty() {
            return;
        }
        let offset = self.clock.wall_us() - i64::try_from(self.clock.now().0).unwrap_or(0);
        for entry in entries {
            let wall_us = offset + i64::try_from(entry.at.0).unwrap_or(0);
            self.unsent_entries.push_back(Numbered { seq: self.next_seq, wall_us, entry });
            self.next_seq += 1;
        }
        self.send();
    }

    /// Hands on what is waiting, as far as the other side has room; order is kept.
    fn send(&mut self) {
        while let Some(command) = self.unsent_commands.front() {
            if self.ends.commands.try_send(*command).is_err() {
                break;
            }
            self.unsent_commands.pop_front();
        }
        while let Some(numbered) = self.unsent_entries.pop_front() {
            let (AppendError::Full(back) | AppendError::Closed(back)) =
                match self.ends.journal.append(numbered) {
                    Ok(()) => continue,
                    Err(refused) => refused,
                };
            self.unsent_entries.push_front(*back);
            break;
        }
    }

    /// Parcels are asked for only while the journal keeps up.
    fn watch_room(&mut self) {
        let behind = is_behind(self.ends.journal.room());
        if behind != self.behind {
            self.behind = behind;
            self.hold(behind, JOURNAL_BEHIND);
        }
        let full = self.ends.journal.space() == Space::Out;
        if full != self.full {
            self.full = full;
            self.hold(full, STORE_FULL);
        }
    }

    fn hold(&mut self, held: bool, why: &str) {
        self.step(Event::InductionHold { held, why: why.to_owned() });
    }

    fn show(&mut self) {
        let now = self.clock.now();
        if now < self.next_status {
            return;
        }
        self.next_status = now.plus_ms(STATUS_MS);
        self.retire(now);
        self.ends.status.send_replace(Arc::new(self.line.status(now)));
        if now >= self.next_snapshot {
            self.next_snapshot = now.plus_ms(SNAPSHOT_MS);
            self.snapshot();
        }
    }

    /// Finished orders leave the table, a few at a time, by an event like any other.
    fn retire(&mut self, now: Tick) {
        if self.next_retirement.is_none_or(|due| now < due) {
            return;
        }
        let (finished, around) = self.line.finished_orders(now);
        let pause = if around { RETIRE_EVERY_MS } else { RETIRE_STEP_MS };
        self.next_retirement = Some(now.plus_ms(pause));
        if !finished.is_empty() {
            self.step(Event::OrdersRetired(finished));
        }
    }

    /// The state after the last numbered record, for a fast restart.
    fn snapshot(&mut self) {
        let seq = self.next_seq - 1;
        if seq == self.snapshot_seq || !self.unsent_entries.is_empty() {
            return;
        }
        if let Ok(bytes) = self.line.snapshot()
            && self.ends.journal.snapshot(seq, bytes)
        {
            self.snapshot_seq = seq;
        }
    }

    /// The last entries and the last snapshot; the journal's queue empties once the thread's end is gone.
    fn leave(&mut self) {
        for _ in 0..500 {
            self.send();
            if self.unsent_entries.is_empty() {
                break;
            }
            std::thread::sleep(NO_ROOM_PAUSE);
        }
        self.snapshot();
        let now = self.clock.now();
        self.ends.status.send_replace(Arc::new(self.line.status(now)));
    }
}
