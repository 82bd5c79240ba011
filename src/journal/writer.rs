//! The journal thread.
//!
//! ```text
//!             records                    store open
//! queue ──► taken ──► in-flight log ──► pending ──► batch: apply, flush, sync ──► orders ──► durable
//!                                          ▲                  │ disk or sled fails
//!                                          └── stalled ◄──────┘ kept, Db reopened, tried again
//! ```
//! A batch that failed is kept and given again whole, to the same day opened anew: applying it twice
//! changes nothing. If the day that comes back is damaged it is put into quarantine, a new epoch begins,
//! and the batch goes there. While the disk stalls, records wait in `pending`, then in the queue, then the
//! line stops taking events; nothing is dropped.
//!
//! After a failed sync the kernel may have dropped pages it reports as written. Giving the batch again
//! writes it anew, so what is acknowledged afterwards is on the disk; older pages that failed with it are
//! found missing, if they are, when the day is next read through.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::chain::{Link, Tip};
use super::day::{self, Begin, Day, DayError};
use super::farewell::Farewell;
use super::inflight::{Log, SNAPSHOT_LIMIT};
use super::lasting::Lasting;
use super::notary::{Notary, Standing};
use super::opening::{self, Checkpoint, Ground, Opened};
use super::orders::Orders;
use super::record;
use super::retention::{day_name, day_number};
use super::shelf::Shelf;
use super::slip::SlipError;
use super::space::{Space, Watch};
use super::status::{JournalState, StatusCell};
use super::{BATCH_LIMIT, DEVICE, DurableListener, JournalSettings, Numbered, Record};
use crate::line::Tick;
use crate::line::event::Event;
use crate::line::record::{Alarm, Body, Entry, Input, Severity};
use crate::watch::clock::Clock;

/// Records taken from the queue and not durable yet, at most; beyond it they wait in the queue.
const PENDING_LIMIT: usize = 16_384;
/// The thread looks up at least this often: checkpoint, closing, the store opening.
const IDLE: Duration = Duration::from_millis(100);
/// While the store opens, or stalls, records are still taken; this often.
const BUSY: Duration = Duration::from_millis(20);
/// The checkpoint is written at most this often: it costs two syncs.
const CHECKPOINT_EVERY_MS: u64 = 1_000;
/// A snapshot of the core is put into the store this often, and first thing in each day: replay and the
/// slow path begin there.
const SNAPSHOT_EVERY_MS: u64 = 600_000;
/// A stalled disk is tried again after this, doubled each time …
const BACKOFF_FIRST_MS: u64 = 100;
/// … up to this.
const BACKOFF_LAST_MS: u64 = 5_000;
/// How long closing waits for a disk that does not take records.
const CLOSE_PATIENCE_MS: u64 = 5_000;
/// A wall clock that steps back less than this stays in its day: it was midnight just now.
const STEP_BACK_US: i64 = 3_600_000_000;

/// What the queue carries.
#[derive(Debug)]
pub(super) enum Item {
    Record(Numbered),
    Snapshot {
        seq: u64,
        bytes: Vec<u8>,
    },
    /// Nothing; look up.
    Wake,
}

/// A batch on its way to the disk.
#[derive(Debug, Default)]
pub(super) struct Flight {
    pub records: Vec<Record>,
    pub bytes: Vec<Vec<u8>>,
    /// The last record's; where there is none, nothing is known of it.
    pub link: Option<Link>,
}

/// The open store, but for the days, which are on the shelf.
#[derive(Debug)]
pub(super) struct Store {
    pub epoch: u64,
    pub last_seq: u64,
    pub last_event: u64,
    /// Where the chain goes on.
    pub tip: Tip,
    pub orders: Orders,
    /// Start of the run in force: number and bytes.
    pub run: Option<(u64, Vec<u8>)>,
    /// The day that is written, if one is open.
    pub day: Option<Written>,
    /// As it was last stored, and when.
    pub checkpoint: Checkpoint,
    pub checkpoint_at: Option<Tick>,
    /// When a snapshot was last put into this day.
    pub snapshot_at: Option<Tick>,
}

/// The day that is written.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub name: String,
    /// Days since 1970.
    pub number: i64,
    pub first_seq: u64,
}

/// The journal thread's state.
pub(super) struct Writer {
    pub(super) settings: JournalSettings,
    pub(super) items: Receiver<Item>,
    pub(super) shelf: Arc<Shelf>,
    pub(super) status: Arc<StatusCell>,
    pub(super) durable: Arc<AtomicU64>,
    pub(super) closing: Arc<AtomicBool>,
    pub(super) listener: Box<dyn DurableListener>,
    pub(super) clock: Clock,
    pub(super) resume_last: Option<u64>,
    pub(super) log: Option<Log>,
    pub(super) opened: Option<Sender<Opened>>,
    /// Taken from the queue, not in the in-flight log yet.
    pub(super) taken: VecDeque<Item>,
    /// In the in-flight log, not in the store yet.
    pub(super) pending: VecDeque<Numbered>,
    /// Their bodies as bytes, by number, ascending; not of all of them.
    pub(super) bodies: VecDeque<(u64, Vec<u8>)>,
    pub(super) flight: Flight,
    pub(super) store: Option<Store>,
    /// Last snapshot of the core, until it is in the store.
    pub(super) snapshot: Option<(u64, Vec<u8>)>,
    pub(super) retry_at: Option<Tick>,
    /// The in-flight log failed and is tried again then.
    pub(super) log_retry_at: Option<Tick>,
    pub(super) backoff_ms: u64,
    /// A Db failed: both are opened anew before the next try.
    pub(super) reopen: bool,
    pub(super) closing_since: Option<Tick>,
    /// Room on the disk.
    pub(super) watch: Watch,
    /// Days that are about to go.
    pub(super) farewell: Farewell,
    /// Alarms that outlive the process.
    pub(super) lasting: Lasting,
    /// Signs anchors of what is durable.
    pub(super) notary: Notary,
}

impl Writer {
    #[allow(clippy::too_many_arguments, reason = "each is an end of something the handle keeps")]
    pub fn new(
        settings: JournalSettings,
        items: Receiver<Item>,
        shelf: Arc<Shelf>,
        status: Arc<StatusCell>,
        durable: Arc<AtomicU64>,
        closing: Arc<AtomicBool>,
        listener: Box<dyn DurableListener>,
        resume_last: Option<u64>,
        log: Option<Log>,
        opened: Sender<Opened>,
        heard: Arc<AtomicU64>,
        farewell: Farewell,
    ) -> Writer {
        Writer {
            notary: Notary::new(&settings, Arc::clone(&status), heard),
            settings,
            items,
            shelf,
            status,
            durable,
            closing,
            listener,
            clock: Clock::default(),
            resume_last,
            log,
            opened: Some(opened),
            taken: VecDeque::new(),
            pending: VecDeque::new(),
            bodies: VecDeque::new(),
            flight: Flight::default(),
            store: None,
            snapshot: None,
            retry_at: None,
            log_retry_at: None,
            backoff_ms: BACKOFF_FIRST_MS,
            reopen: false,
            closing_since: None,
            watch: Watch::default(),
            farewell,
            lasting: Lasting::default(),
        }
    }

    pub fn run(mut self) {
        let mut ground = self.open_behind();
        loop {
            let more = self.take();
            self.watch_space();
            if self.log_retry_at.is_none_or(|at| self.clock.now() >= at) {
                self.log_retry_at = None;
                if let Err(error) = self.write_log() {
                    self.stall(&error);
                    self.log_retry_at = self.retry_at;
                }
            }
            if self.store.is_none()
                && let Some(result) = ground.as_ref().and_then(|ground| ground.try_recv().ok())
            {
                match result.and_then(|opened| self.settle(opened)) {
                    Ok(()) => {
                        ground = None;
                        self.recovered();
                    }
                    Err(error) => {
                        self.stall(&error);
                        ground = self.open_behind();
                    }
                }
            }
            if self.store.is_some() && self.may_try() {
                match self.cycle().and_then(|()| self.keep_house()) {
                    Ok(()) if self.log_retry_at.is_none() => self.recovered(),
                    Ok(()) => {}
                    Err(error) => {
                        self.reopen = true;
                        self.status.change(|status| status.retries += 1);
                        self.stall(&error);
                    }
                }
            }
            if self.is_over(more) {
                break;
            }
        }
        self.leave();
    }

    /// Opens the store on a thread of its own, after the pause a stall asks for.
    fn open_behind(&self) -> Option<Receiver<Result<Ground, DayError>>> {
        let (send, receive) = bounded(1);
        let (settings, resume_last) = (self.settings.clone(), self.resume_last);
        let pause = self.retry_at.map_or(0, |at| at.ms_since(self.clock.now()));
        let open = move || {
            std::thread::sleep(Duration::from_millis(pause));
            // The receiver is gone only when the daemon is closing.
            let _ = send.send(opening::open(&settings, resume_last));
        };
        match std::thread::Builder::new().name("journal-open".to_owned()).spawn(open) {
            Ok(_) => Some(receive),
            Err(error) => {
                self.settings.board.fault(DEVICE, "open", &error);
                None
            }
        }
    }

    /// Takes what is in the queue, waiting for the first a little. `false`: nobody can send any more.
    fn take(&mut self) -> bool {
        let busy = self.store.is_none() || self.retry_at.is_some();
        if busy && self.pending.len() + self.taken.len() >= PENDING_LIMIT {
            std::thread::sleep(BUSY);
            return true;
        }
        let work = !busy && (!self.pending.is_empty() || !self.taken.is_empty());
        let wait = if work {
            Duration::ZERO
        } else if busy {
            BUSY
        } else {
            IDLE
        };
        let mut more = true;
        match self.items.recv_timeout(wait) {
            Ok(item) => self.taken.push_back(item),
            Err(error) => more = error.is_timeout(),
        }
        let room = BATCH_LIMIT.saturating_sub(self.pending.len() + self.taken.len());
        let room = if busy { BATCH_LIMIT } else { room };
        self.taken.extend(self.items.try_iter().take(room));
        more
    }

    /// Brings what was taken into the in-flight log. What an error leaves is tried again.
    fn write_log(&mut self) -> Result<(), SlipError> {
        // Without a log the store is not open, and the line waits for it.
        let Some(log) = &mut self.log else { return Ok(()) };
        while let Some(item) = self.taken.front() {
            match item {
                Item::Wake => {
                    self.taken.pop_front();
                }
                Item::Snapshot { seq, .. } if *seq != log.last_seq() => {
                    let what = format!("after record {seq}, but the last one is {}", log.last_seq());
                    self.settings.board.fault(DEVICE, "snapshot-out-of-place", &what);
                    self.taken.pop_front();
                }
                Item::Snapshot { bytes, .. } if bytes.len() > SNAPSHOT_LIMIT => {
                    let what = format!("{} bytes, at most {SNAPSHOT_LIMIT} are kept", bytes.len());
                    self.settings.board.fault(DEVICE, "snapshot-too-large", &what);
                    self.taken.pop_front();
                }
                Item::Snapshot { seq, bytes } => {
                    log.snapshot(bytes, self.durable.load(Ordering::Acquire))?;
                    let seq = *seq;
                    if let Some(Item::Snapshot { bytes, .. }) = self.taken.pop_front() {
                        self.snapshot = Some((seq, bytes));
                    }
                }
                Item::Record(_) => {
                    let group = leading_records(&mut self.taken);
                    let (repeated, group): (Vec<_>, Vec<_>) =
                        group.into_iter().partition(|numbered| numbered.seq <= log.last_seq());
                    if !repeated.is_empty() {
                        self.status.change(|status| status.repeated += repeated.len() as u64);
                        let what = format!("record {} again", repeated[0].seq);
                        self.settings.board.fault(DEVICE, "number-repeated", &what);
                    }
                    match log.append(&group) {
                        Ok(bodies) => self.bodies.extend(bodies),
                        Err(error) => {
                            for numbered in group.into_iter().rev() {
                                self.taken.push_front(Item::Record(numbered));
                            }
                            return Err(error);
                        }
                    }
                    self.pending.extend(group);
                }
            }
        }
        Ok(())
    }

    /// Makes the next batch durable, if there is one.
    pub(super) fn cycle(&mut self) -> Result<(), DayError> {
        if self.reopen {
            self.reopen_store()?;
            self.reopen = false;
        }
        if self.flight.records.is_empty() {
            self.load_flight()?;
        }
        let (Some(store), Some(day)) = (&mut self.store, self.shelf.current()) else { return Ok(()) };
        let Flight { records, bytes, link } = &self.flight;
        let (Some(last), Some(link)) = (records.last(), *link) else { return Ok(()) };

        let carried = store.run.as_ref().filter(|_| day.is_empty());
        let mut runs: Vec<(u64, &[u8])> = carried.iter().map(|(seq, run)| (*seq, &run[..])).collect();
        let mut run = None;
        for (record, bytes) in records.iter().zip(bytes) {
            if matches!(&record.body, Body::Input(Input::Event(Event::Started(_)))) {
                runs.push((record.seq, bytes));
                run = Some((record.seq, bytes.clone()));
            }
        }
        day.commit(records, bytes, &runs, link)?;
        store.orders.apply(records)?;

        store.last_seq = last.seq;
        store.last_event =
            records.iter().rev().find_map(|record| record.event_seq).unwrap_or(store.last_event);
        store.tip = Tip::After(link);
        store.run = run.or(store.run.take());
        self.durable.store(last.seq, Ordering::Release);
        let (store, pending) = (&*store, self.pending.len() as u64);
        self.status.change(|status| {
            (status.durable, status.epoch, status.last_event) =
                (store.last_seq, store.epoch, store.last_event);
            status.orders = store.orders.count();
            status.pending = pending;
            status.cycles += 1;
        });
        self.listener.durable(records);
        if self.farewell.durable(records) {
            self.watch.measure_soon();
        }
        self.flight = Flight::default();
        Ok(())
    }

    /// Takes the next batch out of `pending`: at most a batch of one day.
    fn load_flight(&mut self) -> Result<(), DayError> {
        let Some(store) = &self.store else { return Ok(()) };
        let expected = store.last_seq + 1;
        let before = self.pending.len();
        while self.pending.front().is_some_and(|next| next.seq < expected) {
            self.pending.pop_front();
        }
        let repeated = (before - self.pending.len()) as u64;
        if repeated > 0 {
            self.status.change(|status| status.repeated += repeated);
            self.settings.board.fault(
                DEVICE,
                "number-repeated",
                &format_args!("{repeated} before {expected}"),
            );
        }
        let Some(next) = self.pending.front() else { return Ok(()) };
        let (seq, wall_us) = (next.seq, next.wall_us);
        if seq != expected {
            self.begin_after_gap(expected, seq)?;
        }
        let (Some(store), number) = (&self.store, day_number(wall_us)) else { return Ok(()) };
        if store.day.as_ref().is_none_or(|day| leaves(day.number, wall_us)) {
            self.roll(number, seq)?;
        }
        let Some(store) = &self.store else { return Ok(()) };
        let number = store.day.as_ref().map_or(number, |day| day.number);
        let (mut last_seq, mut last_event) = (seq - 1, store.last_event);
        let mut link = store.tip.before(store.epoch, seq);
        while self.flight.records.len() < self.settings.batch_limit.clamp(1, BATCH_LIMIT)
            && let Some(next) = self.pending.front()
            && next.seq == last_seq + 1
            && !leaves(number, next.wall_us)
            && let Some(next) = self.pending.pop_front()
        {
            let (record, bytes) = self.number(next, last_event, &mut link)?;
            last_seq = record.seq;
            last_event = record.event_seq.unwrap_or(last_event);
            self.flight.records.push(record);
            self.flight.bytes.push(bytes);
            self.flight.link = Some(link);
        }
        Ok(())
    }

    /// Gives a milestone its number, and a record its link and its bytes.
    fn number(
        &mut self,
        numbered: Numbered,
        last_event: u64,
        link: &mut Link,
    ) -> Result<(Record, Vec<u8>), DayError> {
        let Numbered { seq, wall_us, mut entry } = numbered;
        let encode = |entry: &Entry| record::encode_body(seq, wall_us, entry.at, &entry.body);
        while self.bodies.front().is_some_and(|(made, _)| *made < seq) {
            self.bodies.pop_front();
        }
        let made = self.bodies.pop_front_if(|(made, _)| *made == seq).map(|(_, body)| body);
        let encoded = made.map_or_else(|| encode(&entry), Ok).or_else(|why| {
            self.settings.board.fault(DEVICE, "record-refused", &why);
            self.status.change(|status| status.refused += 1);
            entry = record::stand_in(seq, entry.at, &why);
            encode(&entry)
        });
        // A stand-in is a few hundred bytes of text: no limit is near.
        let body = encoded.map_err(|why| day::disk("record", &why))?;
        let event_seq = entry.body.is_milestone().then_some(last_event + 1);
        let mut bytes = Vec::with_capacity(record::CHAINED_HEADER + body.len());
        *link = record::frame_v2(&mut bytes, seq, event_seq, &body, *link);
        Ok((Record { seq, at: entry.at, wall_us, event_seq, body: entry.body }, bytes))
    }

    /// Begins a new day with record `first_seq` and seals the one before.
    fn roll(&mut self, number: i64, first_seq: u64) -> Result<(), DayError> {
        self.attest();
        let days = self.settings.directory.join("days");
        let Some(store) = &mut self.store else { return Ok(()) };
        let date = day_name(number);
        let name = (1..)
            .map(|n: u32| if n == 1 { date.clone() } else { format!("{date}.{n}") })
            .find(|name| !days.join(name).exists())
            .unwrap_or(date);
        if let Some(before) = self.shelf.current() {
            before.seal()?;
        }
        let begin = Begin { epoch: store.epoch, first_seq, first_event: store.last_event + 1 };
        let before = store.tip.before(store.epoch, first_seq);
        let cache = self.settings.cache_bytes();
        let day = Day::create(&days, &name, begin, before, cache).inspect_err(|_| {
            // A half-made day would only be in the way of the next try; it holds nothing.
            let _ = std::fs::remove_dir_all(days.join(&name));
        })?;
        store.tip = Tip::After(before);
        tracing::info!(day = %name, first_seq, epoch = store.epoch, "day begun");
        self.shelf.roll(day);
        self.status.change(|status| status.day.clone_from(&name));
        store.day = Some(Written { name, number, first_seq });
        store.snapshot_at = None;
        self.retain();
        Ok(())
    }

    /// Checkpoint and snapshot, when they are due.
    fn keep_house(&mut self) -> Result<(), DayError> {
        let now = self.clock.now();
        if self.shelf.take_suspicion() {
            // Opening reads all of it.
            self.reopen = true;
        }
        let due = |at: Option<Tick>, every: u64| at.is_none_or(|at| now.ms_since(at) >= every);
        let Some(store) = &mut self.store else { return Ok(()) };
        // By the time of the records: a day that is simulated in a minute gets as many as a real one.
        let recorded = self.shelf.current().map_or(now, |day| day.last_tick());
        if store.snapshot_at.is_none_or(|at| recorded.ms_since(at) >= SNAPSHOT_EVERY_MS) {
            self.store_snapshot()?;
        }
        let Some(store) = &mut self.store else { return Ok(()) };
        if due(store.checkpoint_at, CHECKPOINT_EVERY_MS) {
            store.write_checkpoint(&self.settings, now)?;
        }
        if let Some(standing) = standing(self.store.as_ref()) {
            self.notary.look(standing, now, self.clock.wall_us());
        }
        Ok(())
    }

    /// Has an anchor made of everything that is durable: no record follows soon, or none in this day.
    pub(super) fn attest(&mut self) {
        if let Some(standing) = standing(self.store.as_ref()) {
            self.notary.attest(standing, self.clock.now(), self.clock.wall_us());
        }
    }

    /// Puts the core's last snapshot into the day, unless that was done.
    fn store_snapshot(&mut self) -> Result<(), DayError> {
        let (Some(store), Some(day)) = (&mut self.store, self.shelf.current()) else { return Ok(()) };
        if self.watch.space() != Space::Plenty {
            // The in-flight log has one of its own; this one is for replay.
            store.snapshot_at = Some(self.clock.now());
            self.status.change(|status| status.extras_left_out += 1);
            return Ok(());
        }
        if let Some((seq, bytes)) = self.snapshot.take_if(|(seq, _)| *seq <= store.last_seq) {
            if let Err(error) = day.put_snapshot(seq, &bytes) {
                self.snapshot = Some((seq, bytes));
                return Err(error);
            }
            store.snapshot_at = Some(day.last_tick());
        }
        Ok(())
    }

    fn may_try(&self) -> bool {
        self.retry_at.is_none_or(|at| self.clock.now() >= at)
    }

    fn stall(&mut self, error: &dyn std::fmt::Display) {
        self.retry_at = Some(self.clock.now().plus_ms(self.backoff_ms));
        self.backoff_ms = (self.backoff_ms * 2).min(BACKOFF_LAST_MS);
        let pending = (self.pending.len() + self.taken.len() + self.flight.records.len()) as u64;
        self.status.change(|status| {
            status.state = JournalState::Stalled(error.to_string());
            status.pending = pending;
        });
        self.settings.board.fault(DEVICE, "stalled", error);
        self.settings.board.raise(Alarm {
            id: "journal-stalled".to_owned(),
            severity: Severity::Critical,
            text: format!("The store does not take records: {error}."),
            remedy:
                "Make room on the disk or repair it; records are kept and tried again, and the line stops \
                     taking parcels when it can keep no more."
                    .to_owned(),
        });
    }

    fn recovered(&mut self) {
        if self.retry_at.take().is_some() {
            self.backoff_ms = BACKOFF_FIRST_MS;
            self.status.change(|status| status.state = JournalState::Running);
            self.settings.board.clear("journal-stalled");
        }
    }

    fn is_over(&mut self, more: bool) -> bool {
        if more && !self.closing.load(Ordering::Acquire) {
            return false;
        }
        let now = self.clock.now();
        let since = *self.closing_since.get_or_insert(now);
        let settled = self.store.is_some() && self.flight.records.is_empty() && !self.reopen;
        let empty = self.items.is_empty() && self.taken.is_empty() && self.pending.is_empty();
        (settled && empty) || now.ms_since(since) >= CLOSE_PATIENCE_MS
    }

    /// The last snapshot and the checkpoint, then the Dbs are closed.
    fn leave(mut self) {
        let stored = self.store_snapshot().and_then(|()| match &mut self.store {
            Some(store) => store.write_checkpoint(&self.settings, self.clock.now()),
            None => Ok(()),
        });
        if let Err(error) = stored {
            self.settings.board.fault(DEVICE, "closing", &error);
        }
        self.attest();
        self.shelf.close();
        self.store = None;
        self.status.change(|status| status.state = JournalState::Closed);
    }
}

impl Store {
    fn write_checkpoint(&mut self, settings: &JournalSettings, now: Tick) -> Result<(), DayError> {
        let checkpoint = Checkpoint {
            epoch: self.epoch,
            last_seq: self.last_seq,
            last_event: self.last_event,
            orders_applied: self.orders.applied(),
            orders_after: self.orders.resume_after(self.last_seq),
        };
        if checkpoint != self.checkpoint && self.day.is_some() {
            checkpoint.write(&settings.directory).map_err(|error| day::disk("checkpoint", &error))?;
            self.checkpoint = checkpoint;
            self.checkpoint_at = Some(now);
        }
        Ok(())
    }
}

/// Where the open store stands, once the day that is written has a record.
fn standing(store: Option<&Store>) -> Option<Standing<'_>> {
    let store = store?;
    let day = store.day.as_ref().filter(|day| store.last_seq >= day.first_seq)?;
    let Tip::After(link) = store.tip else { return None };
    let (epoch, seq, event_seq) = (store.epoch, store.last_seq, store.last_event);
    Some(Standing { day: &day.name, epoch, seq, event_seq, link })
}

/// Whether a record with this wall stamp begins a new day: its date is later, or the clock was set back by
/// more than a step about midnight.
fn leaves(day: i64, wall_us: i64) -> bool {
    day_number(wall_us) > day || day_number(wall_us.saturating_add(STEP_BACK_US)) < day
}

fn leading_records(items: &mut VecDeque<Item>) -> Vec<Numbered> {
    let mut records = Vec::new();
    while let Some(item) = items.pop_front() {
        match item {
            Item::Record(numbered) => records.push(numbered),
            other @ (Item::Snapshot { .. } | Item::Wake) => {
                items.push_front(other);
                break;
            }
        }
    }
    records
}
