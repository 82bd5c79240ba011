//! From `pending` to durable: batches are prepared, given to the commit thread, and told of when they have landed.
//!
//! While the disk is at one batch the next one is prepared behind it, as if it had landed already: numbered,
//! linked, framed. Where anything fails, everything that has not landed is taken back in front of `pending`
//! ([`Writer::recall`]) and prepared again behind what is durable then; so nothing that was prepared on a
//! guess outlives the guess. What changes where batches go (a new day, an epoch, a snapshot put into the day)
//! waits until nothing is out.

use std::sync::atomic::Ordering;

use super::batch::Batch;
use super::chain::{Link, Tip};
use super::commit::{Landed, Room};
use super::day::{self, Begin, Day, DayError};
use super::inflight::Bodies;
use super::outliner::Outliner;
use super::record;
use super::retention::{day_name, day_number};
use super::writer::{Writer, Written};
use super::{BATCH_LIMIT, DEVICE, Numbered, Record};
use crate::line::record::Entry;

/// A wall clock that steps back less than this stays in its day: it was midnight just now.
const STEP_BACK_US: i64 = 3_600_000_000;

/// Where the last prepared record stands, which the next one is prepared behind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Front {
    seq: u64,
    last_event: u64,
    link: Link,
    outliner: Outliner,
}

impl Writer {
    /// Tells of what has landed and gives the next batch to the disk, if there is one.
    pub(super) fn cycle(&mut self) -> Result<(), DayError> {
        while let Some(landed) = self.commits.landed() {
            self.land(landed)?;
        }
        if self.reopen {
            self.recall(None);
            self.reopen_store()?;
            self.reopen = false;
        }
        self.load()
    }

    /// A batch is on the disk, or is not: after an error it is kept, with all that were given behind it.
    pub(super) fn land(&mut self, landed: Landed) -> Result<(), DayError> {
        let Landed { batch, result } = landed;
        let applied = result.and_then(|()| match &mut self.store {
            Some(store) => store.orders.apply(batch.records()),
            None => Ok(()),
        });
        if let Err(error) = applied {
            self.recall(Some(batch));
            return Err(error);
        }
        if self.commits.is_idle() {
            self.front = None;
        }
        let (Some(store), Some(last)) = (&mut self.store, batch.records().last()) else { return Ok(()) };
        store.last_seq = last.seq;
        store.last_event = batch.last_event().unwrap_or(store.last_event);
        store.tip = Tip::After(batch.link());
        if let Some(run) = batch.runs().last() {
            store.run = Some(run.clone());
        }
        self.durable.store(last.seq, Ordering::Release);
        let (store, pending) = (&*store, self.pending.len() as u64);
        let under_way = self.front.map_or(0, |front| front.seq - last.seq);
        self.status.change(|status| {
            (status.durable, status.epoch, status.last_event) =
                (store.last_seq, store.epoch, store.last_event);
            status.orders = store.orders.count();
            (status.pending, status.under_way) = (pending, under_way);
            status.cycles += 1;
        });
        self.listener.durable(batch.records());
        if self.farewell.durable(batch.records()) {
            self.watch.measure_soon();
        }
        self.spare = Some(batch);
        Ok(())
    }

    /// Takes back all that has not landed, in front of what is pending; `failed` was before all of it. Waits for
    /// the batch under way: what became of it does not count, it is given again.
    pub(super) fn recall(&mut self, failed: Option<Batch>) {
        let waiting = self.commits.withdraw();
        let mut back: Vec<Batch> = failed.into_iter().collect();
        while let Some(landed) = self.commits.wait() {
            back.push(landed.batch);
        }
        back.extend(waiting);
        for batch in back.into_iter().rev() {
            for record in batch.into_records().into_iter().rev() {
                self.pending.push_front(record.into());
            }
        }
        self.front = None;
        self.commits.resume();
        let pending = self.pending.len() as u64;
        self.status.change(|status| (status.pending, status.under_way) = (pending, 0));
    }

    /// Prepares what is pending, at most a batch of one day, and gives it to the disk.
    fn load(&mut self) -> Result<(), DayError> {
        self.held = false;
        self.outliner.go_on(self.store.as_ref().and_then(|store| store.run.as_ref()));
        let (Some(front), Some(store)) = (self.front(), &self.store) else { return Ok(()) };
        let expected = front.seq + 1;
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
        let rolls = store.day.as_ref().is_none_or(|day| leaves(day.number, wall_us));
        if !self.commits.is_idle() && (seq != expected || rolls || self.draining) {
            self.held = true;
            return Ok(());
        }
        if seq != expected {
            self.begin_after_gap(expected, seq)?;
        }
        let day = self.store.as_ref().and_then(|store| store.day.as_ref());
        if day.is_none_or(|day| leaves(day.number, wall_us)) {
            self.roll(day_number(wall_us), seq)?;
        }
        self.prepare()
    }

    /// Prepares the records that follow for the day that is written, and gives them to the disk.
    fn prepare(&mut self) -> Result<(), DayError> {
        let limit = self.settings.batch_limit.clamp(1, BATCH_LIMIT);
        let (Some(mut front), Some(store), Some(day)) = (self.front(), &self.store, self.shelf.current())
        else {
            return Ok(());
        };
        let Some(number) = store.day.as_ref().map(|day| day.number) else { return Ok(()) };
        let durable = store.last_seq;
        let carried = store.run.as_ref().filter(|_| day.is_empty() && self.commits.is_idle());
        let mut batch = match self.commits.room(limit) {
            Room::Another => {
                let mut batch = Batch::behind(front.link, front.outliner, self.spare.take());
                carried.into_iter().for_each(|run| batch.carry(run.clone()));
                batch
            }
            Room::More(batch) => batch,
            Room::Nothing => {
                self.held = true;
                return Ok(());
            }
        };
        let mut result = Ok(());
        while batch.len() < limit
            && self
                .pending
                .front()
                .is_some_and(|next| next.seq == front.seq + 1 && !leaves(number, next.wall_us))
        {
            result = self.push_next(&mut batch, front.last_event);
            if result.is_err() {
                break;
            }
            front.seq += 1;
            front.last_event = batch.last_event().unwrap_or(front.last_event);
        }
        (front.link, front.outliner) = (batch.link(), batch.outliner());
        if batch.len() > 0 {
            self.commits.give(day, batch);
            self.front = Some(front);
            let pending = self.pending.len() as u64;
            self.status.change(|status| (status.pending, status.under_way) = (pending, front.seq - durable));
        }
        result
    }

    /// Where the next record goes on.
    fn front(&self) -> Option<Front> {
        let store = self.store.as_ref()?;
        Some(self.front.unwrap_or_else(|| Front {
            seq: store.last_seq,
            last_event: store.last_event,
            link: store.tip.before(store.epoch, store.last_seq + 1),
            outliner: self.outliner,
        }))
    }

    /// Moves the next record from `pending` into the batch; gives it its number if it is a milestone. After an
    /// error it is still there.
    fn push_next(&mut self, batch: &mut Batch, last_event: u64) -> Result<(), DayError> {
        let Some(next) = self.pending.front_mut() else { return Ok(()) };
        let (seq, wall_us) = (next.seq, next.wall_us);
        while self.bodies.front_mut().is_some_and(|bodies| bodies.let_go(seq)) {
            self.spare_bodies = self.bodies.pop_front().filter(Bodies::is_spare);
        }
        let body = match self.bodies.front().and_then(|bodies| bodies.of(seq)) {
            Some(made) => made,
            None => {
                let encode = |entry: &Entry, into: &mut Vec<u8>| {
                    record::encode_body_into(into, seq, wall_us, entry.at, &entry.body)
                };
                if let Err(why) = encode(&next.entry, &mut self.scratch) {
                    self.settings.board.fault(DEVICE, "record-refused", &why);
                    self.status.change(|status| status.refused += 1);
                    next.entry = record::stand_in(seq, next.entry.at, &why);
                    // A stand-in is a few hundred bytes of text: no limit is near.
                    encode(&next.entry, &mut self.scratch).map_err(|why| day::disk("record", &why))?;
                }
                &self.scratch
            }
        };
        let Some(Numbered { entry, .. }) = self.pending.pop_front() else { return Ok(()) };
        let event_seq = entry.body.is_milestone().then_some(last_event + 1);
        batch.push(Record { seq, at: entry.at, wall_us, event_seq, body: entry.body }, body);
        Ok(())
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
        // The start of the run in force comes with the first records; replay needs its configuration, too.
        if let Some((run, configured)) = self.shelf.current().and_then(|before| before.configured_at_end()) {
            day.carry_configured(run, &configured)?;
        }
        tracing::info!(day = %name, first_seq, epoch = store.epoch, "day begun");
        self.shelf.roll(day);
        self.status.change(|status| status.day.clone_from(&name));
        store.day = Some(Written { name, number, first_seq });
        store.snapshot_at = None;
        self.retain();
        Ok(())
    }
}

/// Whether a record with this wall stamp begins a new day: its date is later, or the clock was set back by
/// more than a step about midnight.
fn leaves(day: i64, wall_us: i64) -> bool {
    day_number(wall_us) > day || day_number(wall_us.saturating_add(STEP_BACK_US)) < day
}
