//! One range of the uplink on one connection: what is read ahead of it, encoded, and not yet published.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::LOOK;
use crate::journal::Record;
use crate::line::event::Started;
use crate::uplink::epcis::{self, Pen, Scratch};
use crate::uplink::milestones::{Cursor, Milestones, MilestonesError};

/// Records read and encoded at a time: a few milliseconds of work, a few hundred kilobytes.
pub(super) const BATCH: usize = 256;

/// Pens kept: the run in force and the one an old backlog belongs to.
const PENS: usize = 2;

/// What a lane has to do next, in order.
#[derive(Debug)]
pub(super) enum Ready {
    /// Publish this.
    Event(Cursor, Bytes),
    /// Nothing lies between the last event and here.
    Passed(Cursor),
}

/// What was read.
#[derive(Debug)]
pub(super) struct Batch {
    /// In order.
    pub ready: Vec<Ready>,
    /// Events that the journal had once and has no more, among and behind these.
    pub missing: u64,
    /// Where the next read begins.
    pub read: Cursor,
}

/// What is wanted of the journal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Read so far.
    pub after: Cursor,
    /// The open epoch.
    pub open: u64,
    /// Last event wanted of the open epoch.
    pub until: u64,
    /// Last event the epoch of `after` is known to have had; 0 where that is not known.
    pub last: u64,
}

/// Encoders of the runs in use, shared by the lanes.
pub(super) type Pens = Arc<Mutex<Vec<Arc<Pen>>>>;

/// A range's outlet.
#[derive(Debug)]
pub(super) struct Lane {
    /// Newest event read from the journal, or passed over.
    pub read: Cursor,
    pub ready: VecDeque<Ready>,
    pub reading: Option<JoinHandle<Result<Batch, MilestonesError>>>,
    pub not_before: Instant,
}

impl Lane {
    pub fn at(read: Cursor, now: Instant) -> Lane {
        Lane { read, ready: VecDeque::new(), reading: None, not_before: now }
    }

    /// Whether it has enough, or is being served.
    pub fn is_fed(&self) -> bool {
        self.reading.is_some() || self.ready.len() >= BATCH
    }

    /// Whether the next batch should be read now.
    pub fn is_hungry(&self, now: Instant) -> bool {
        !self.is_fed() && now >= self.not_before
    }

    pub fn start<M: Milestones>(&mut self, milestones: &Arc<M>, pens: &Pens, wanted: Wanted) {
        let (milestones, pens) = (Arc::clone(milestones), Arc::clone(pens));
        self.reading = Some(tokio::task::spawn_blocking(move || fetch(&*milestones, &pens, wanted)));
    }

    /// Queues what was read; gives back how many events are missing.
    pub fn take(&mut self, batch: Batch) -> u64 {
        if batch.ready.is_empty() {
            // Nothing although more is said to be durable; not asked again at once.
            self.not_before = Instant::now() + LOOK;
        }
        self.read = batch.read;
        self.ready.extend(batch.ready);
        batch.missing
    }

    /// Waits for a running read; for ever if there is none.
    pub async fn finished(&mut self) -> Result<Batch, MilestonesError> {
        let Some(handle) = self.reading.as_mut() else { return std::future::pending().await };
        let result = handle.await;
        self.reading = None;
        let after = self.read.seq;
        result.unwrap_or_else(|why| Err(MilestonesError::Read { after, why: why.to_string() }))
    }
}

/// Reads and encodes one batch. Goes on with the next epoch where an earlier one has no more, and says what was
/// passed over: a hole is believed only where something behind it is there, or where the epoch is over.
fn fetch<M: Milestones>(milestones: &M, pens: &Pens, wanted: Wanted) -> Result<Batch, MilestonesError> {
    let mut batch = Batch { ready: Vec::new(), missing: 0, read: wanted.after };
    let mut last = wanted.last;
    loop {
        let at = batch.read;
        let is_open = at.epoch == wanted.open;
        let records = milestones.after(at, BATCH)?;
        if milestones.head().is_none_or(|head| head.epoch != wanted.open) {
            // The store was replaced meanwhile; the connection is placed anew.
            return Ok(Batch { ready: Vec::new(), missing: 0, read: wanted.after });
        }
        let found = records.len();
        let until = if is_open { wanted.until } else { u64::MAX };
        let pen = common_run(milestones, records.first().map(|r| r.seq), records.last().map(|r| r.seq));
        let pen = pen.map(|run| pen_of(pens, &run));
        let mut sheaf = Sheaf::default();
        for record in &records {
            let Some(seq) = record.event_seq.filter(|seq| *seq > batch.read.seq) else { continue };
            let place = Cursor { epoch: at.epoch, seq: seq.min(until) };
            let hole = place.seq - batch.read.seq - u64::from(seq <= until);
            if seq > until {
                if place > batch.read {
                    sheaf.passed(place);
                }
                (batch.read, batch.missing) = (place, batch.missing + hole);
                break;
            }
            let of_run = || milestones.run_of(record.seq).map(|run| pen_of(pens, &run));
            let Some(pen) = pen.clone().or_else(of_run) else {
                if batch.ready.is_empty() && sheaf.is_empty() {
                    return Err(MilestonesError::NoRun { record: record.seq });
                }
                // What stands before it goes out; the next read begins with it and says so.
                sheaf.bind(&mut batch.ready);
                return Ok(batch);
            };
            (batch.read, batch.missing) = (place, batch.missing + hole);
            sheaf.write(place, &pen, record);
            if sheaf.is_full() {
                sheaf.bind(&mut batch.ready);
            }
        }
        sheaf.bind(&mut batch.ready);
        if found > 0 || is_open {
            return Ok(batch);
        }
        // This epoch is over and has no more. What it once had behind the last one read is gone.
        batch.missing += last.saturating_sub(at.seq);
        let next = milestones.epochs()?.range(at.epoch + 1..wanted.open).next().map(|(e, l)| (*e, *l));
        let epoch = next.map_or(wanted.open, |(epoch, _)| epoch);
        last = next.map_or(0, |(_, last)| last);
        batch.read = Cursor { epoch, seq: 0 };
        batch.ready.push(Ready::Passed(batch.read));
    }
}

/// Documents that share a buffer: one allocation and no copy for many events.
#[derive(Default)]
struct Sheaf {
    text: String,
    scratch: Scratch,
    /// Where each ends, `None` for a passed place.
    ends: Vec<(Cursor, Option<usize>)>,
}

impl Sheaf {
    /// Documents in one buffer: its memory is held until the last of them is acknowledged.
    const MOST: usize = 32;

    fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn is_full(&self) -> bool {
        self.ends.len() >= Sheaf::MOST
    }

    fn passed(&mut self, place: Cursor) {
        self.ends.push((place, None));
    }

    fn write(&mut self, place: Cursor, pen: &Pen, record: &Record) {
        if self.text.capacity() == 0 {
            self.text.reserve(Sheaf::MOST * epcis::ROOM);
        }
        // A milestone that upstream is not told of has no document; it is passed, not missing.
        let written = pen.write(&mut self.text, &mut self.scratch, record, place.epoch);
        self.ends.push((place, written.then_some(self.text.len())));
    }

    fn bind(&mut self, ready: &mut Vec<Ready>) {
        let bytes = Bytes::from(std::mem::take(&mut self.text));
        let mut from = 0;
        ready.extend(self.ends.drain(..).map(|(place, end)| match end {
            Some(end) => Ready::Event(place, bytes.slice(std::mem::replace(&mut from, end)..end)),
            None => Ready::Passed(place),
        }));
    }
}

/// The run of all records from `first` to `last`, where it is one.
fn common_run<M: Milestones>(milestones: &M, first: Option<u64>, last: Option<u64>) -> Option<Arc<Started>> {
    let last = milestones.run_of(last?)?;
    let first = milestones.run_of(first?)?;
    (Arc::ptr_eq(&first, &last) || first == last).then_some(first)
}

fn pen_of(pens: &Pens, run: &Arc<Started>) -> Arc<Pen> {
    let mut pens = pens.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pen) = pens.iter().find(|pen| pen.is_of(run)) {
        return Arc::clone(pen);
    }
    let pen = Arc::new(Pen::new(Arc::clone(run)));
    pens.insert(0, Arc::clone(&pen));
    pens.truncate(PENS);
    pen
}
