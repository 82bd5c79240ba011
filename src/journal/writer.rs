//! The journal thread.
//!
//! ```text
//!             records                    store open       commit thread
//! queue ──► taken ──► in-flight log ──► pending ──► batch ──► apply, flush, sync ──► orders ──► durable
//!                                          ▲                  │ disk or sled fails
//!                                          └── stalled ◄──────┘ kept, Db reopened, tried again
//! ```
//! Batches are prepared while the disk is at the one before (`flight`, `commit`). One that failed is kept, with
//! those prepared behind it, and all of it is given again to the same day opened anew: applying it twice
//! changes nothing. If the day that comes back is damaged it is put into quarantine, a new epoch begins,
//! and the records go there. While the disk stalls, records wait in `pending`, then in the queue, then the
//! line stops taking events; nothing is dropped.
//!
//! After a failed sync the kernel may have dropped pages it reports as written. Giving the batch again
//! writes it anew, so what is acknowledged afterwards is on the disk; older pages that failed with it are
//! found missing, if they are, when the day is next read through.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Select, Sender, bounded};

use super::batch::Batch;
use super::chain::Tip;
use super::commit::Commits;
use super::day::{self, DayError};
use super::farewell::Farewell;
use super::flight::Front;
use super::inflight::{Bodies, Log, SNAPSHOT_LIMIT};
use super::lasting::Lasting;
use super::notary::{Notary, Standing};
use super::opening::{self, Checkpoint, Ground, Opened};
use super::orders::Orders;
use super::outliner::Outliner;
use super::shelf::Shelf;
use super::slip::SlipError;
use super::space::{Space, Watch};
use super::status::{JournalState, StatusCell};
use super::{BATCH_LIMIT, DEVICE, DurableListener, JournalSettings, Numbered};
use crate::line::Tick;
use crate::line::record::{Alarm, Severity};
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
    /// In the in-flight log, not on their way to the store yet.
    pub(super) pending: VecDeque<Numbered>,
    /// Their bodies as bytes, ascending; not of all of them.
    pub(super) bodies: VecDeque<Bodies>,
    /// Some that were all used, for their buffers.
    pub(super) spare_bodies: Option<Bodies>,
    /// For a body that is not among them.
    pub(super) scratch: Vec<u8>,
    /// Brings batches to the disk.
    pub(super) commits: Commits,
    /// Behind the last record that was given to it, unless all has landed.
    pub(super) front: Option<Front>,
    /// A batch that has landed, for its buffers.
    pub(super) spare: Option<Batch>,
    /// What is pending waits until a batch has landed.
    pub(super) held: bool,
    /// No batch is given until all have landed: the journal thread has to write to the day itself.
    pub(super) draining: bool,
    /// Nobody can send any more.
    ended: bool,
    pub(super) store: Option<Store>,
    /// Makes frames behind what is durable.
    pub(super) outliner: Outliner,
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
        commits: Commits,
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
            spare_bodies: None,
            scratch: Vec::new(),
            commits,
            front: None,
            spare: None,
            held: false,
            draining: false,
            ended: false,
            store: None,
            outliner: Outliner::default(),
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
            self.take();
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
            if self.is_over() {
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

    /// Takes what is in the queue. Where there is nothing to do, waits a little for something in it, or for a
    /// batch to land.
    fn take(&mut self) {
        let busy = self.store.is_none() || self.retry_at.is_some();
        let held = self.pending.len() + self.taken.len();
        if busy && held >= PENDING_LIMIT {
            std::thread::sleep(BUSY);
            return;
        }
        let room = if busy { BATCH_LIMIT } else { BATCH_LIMIT.saturating_sub(held) };
        let work = !busy && held > 0 && !self.held;
        if !work && (room == 0 || self.items.is_empty()) {
            let mut events = Select::new();
            if room > 0 && !self.ended {
                events.recv(&self.items);
            }
            if !busy {
                events.recv(self.commits.landing());
            }
            // What it was is seen below and in `cycle`.
            let _ = events.ready_timeout(if busy { BUSY } else { IDLE });
        }
        for _ in 0..room {
            match self.items.try_recv() {
                Ok(item) => self.taken.push_back(item),
                Err(error) => {
                    self.ended = error.is_disconnected();
                    break;
                }
            }
        }
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
                Item::Record(numbered) if numbered.seq <= log.last_seq() => {
                    let what = format!("record {} again", numbered.seq);
                    self.settings.board.fault(DEVICE, "number-repeated", &what);
                    self.status.change(|status| status.repeated += 1);
                    self.taken.pop_front();
                }
                Item::Record(_) => {
                    let group = || leading_records(&self.taken, log.last_seq());
                    let count = group().count();
                    let bodies = log.append(group(), self.spare_bodies.take())?;
                    self.bodies.push_back(bodies);
                    let records = self.taken.drain(..count).filter_map(|item| match item {
                        Item::Record(numbered) => Some(numbered),
                        Item::Snapshot { .. } | Item::Wake => None,
                    });
                    self.pending.extend(records);
                }
            }
        }
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
        self.draining = store.snapshot_at.is_none_or(|at| recorded.ms_since(at) >= SNAPSHOT_EVERY_MS)
            && self.snapshot.as_ref().is_some_and(|(seq, _)| *seq <= store.last_seq);
        if self.draining && self.commits.is_idle() {
            self.store_snapshot()?;
            self.draining = false;
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
        let pending = (self.pending.len() + self.taken.len()) as u64;
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

    fn is_over(&mut self) -> bool {
        if !self.ended && !self.closing.load(Ordering::Acquire) {
            return false;
        }
        let now = self.clock.now();
        let since = *self.closing_since.get_or_insert(now);
        let settled = self.store.is_some() && self.commits.is_idle() && !self.reopen;
        let empty = self.items.is_empty() && self.taken.is_empty() && self.pending.is_empty();
        (settled && empty) || now.ms_since(since) >= CLOSE_PATIENCE_MS
    }

    /// The last snapshot and the checkpoint, then the Dbs are closed.
    fn leave(mut self) {
        let waiting = self.commits.withdraw();
        let landed = self.commits.wait().map_or(Ok(()), |landed| self.land(landed));
        drop(waiting);
        let stored = landed.and_then(|()| self.store_snapshot()).and_then(|()| match &mut self.store {
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

/// The records that come before anything else, each with a greater number than the one before.
fn leading_records(items: &VecDeque<Item>, mut last_seq: u64) -> impl Iterator<Item = &Numbered> {
    items.iter().map_while(move |item| match item {
        Item::Record(numbered) if numbered.seq > last_seq => {
            last_seq = numbered.seq;
            Some(numbered)
        }
        Item::Record(_) | Item::Snapshot { .. } | Item::Wake => None,
    })
}
