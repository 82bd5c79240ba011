//! Reading durable records while the journal thread writes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cursor::Cursor;
use super::day::{DayError, Span};
use super::frame::{DaySpan, Frame};
use super::shelf::Shelf;
use super::{Called, Record, keys};
use crate::line::PassKey;
use crate::line::event::{Event, Started};
use crate::line::record::{Body, Input};

/// Records naming a code that are looked at in each day, newest first.
const STORY_MENTIONS: usize = 256;
/// Passes a story tells, the latest ones.
const STORY_PASSES: usize = 16;
/// Records of one pass in each day.
const STORY_PASS_RECORDS: usize = 512;

/// Why nothing could be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The store is being opened.
    #[error("the store is not open yet")]
    NotOpenYet,
    /// Records are not what was written. The day is put into quarantine and an alarm raised; the next call
    /// answers from what is left.
    #[error("day {day} is damaged: {what}")]
    Damaged {
        /// Day.
        day: String,
        /// What was expected and what came.
        what: String,
    },
    /// The disk said no.
    #[error("day {day}: {what}")]
    Disk {
        /// Day.
        day: String,
        /// What it said.
        what: String,
    },
}

/// Milestones of one epoch, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Milestones {
    /// Their epoch.
    pub epoch: u64,
    /// Records, each with its `event_seq`; empty where there is nothing new.
    pub records: Vec<Record>,
}

/// Reads what is durable. Cheap to clone; never in the journal thread's way.
#[derive(Debug, Clone)]
pub struct Reader {
    shelf: Arc<Shelf>,
}

impl From<DayError> for ReadError {
    fn from(error: DayError) -> ReadError {
        match error {
            DayError::Damaged { day, what } => ReadError::Damaged { day, what },
            DayError::Disk { day, what } => ReadError::Disk { day, what },
        }
    }
}

impl Reader {
    pub(super) fn new(shelf: Arc<Shelf>) -> Reader {
        Reader { shelf }
    }

    pub(super) fn directory(&self) -> &std::path::Path {
        self.shelf.directory()
    }

    /// Asks one day.
    pub(super) fn on_day<T>(
        &self,
        name: &str,
        ask: impl FnOnce(&super::day::Day) -> Result<T, DayError>,
    ) -> Result<T, ReadError> {
        let day = self.checked(self.shelf.day(name))?;
        self.checked(ask(&day))
    }

    /// Every epoch that is kept, ascending, with its last milestone; looks at no record.
    pub fn epochs(&self) -> Result<BTreeMap<u64, u64>, ReadError> {
        let mut epochs = BTreeMap::new();
        for span in self.spans()? {
            let last = epochs.entry(span.begin.epoch).or_insert(0);
            *last = span.last_event.max(*last);
        }
        Ok(epochs)
    }

    /// The first milestones after the cursor, at most `max`, all of one epoch. Where the cursor's epoch has
    /// no more, they are the first of the next epoch.
    pub fn milestones_after(&self, cursor: Cursor, max: usize) -> Result<Milestones, ReadError> {
        let mut found = Milestones { epoch: cursor.epoch, records: Vec::new() };
        let mut after = cursor.acked;
        for span in self.spans()?.iter().filter(|span| span.begin.epoch >= cursor.epoch) {
            if span.begin.epoch != found.epoch {
                if !found.records.is_empty() {
                    break;
                }
                found.epoch = span.begin.epoch;
                after = 0;
            }
            let room = max - found.records.len();
            if room == 0 {
                break;
            }
            if span.last_event > after && span.last_event >= span.begin.first_event {
                let day = self.day(span)?;
                found.records.extend(self.checked(day.milestones(after, room))?);
            }
        }
        Ok(found)
    }

    /// Durable records from number `from` on, in order, at most `max`.
    pub fn records(&self, from: u64, max: usize) -> Result<Vec<Record>, ReadError> {
        let (mut found, mut next) = (Vec::new(), from);
        for span in &self.spans()? {
            // A day that holds again what one before it holds was copied: it gives what it has more.
            if found.len() < max && span.last_seq >= next {
                let day = self.day(span)?;
                found.extend(self.checked(day.records(next, max - found.len()))?);
                next = span.last_seq + 1;
            }
        }
        Ok(found)
    }

    /// Every day that is kept, oldest first, with where the chain stands in it.
    pub fn days(&self) -> Result<Vec<DaySpan>, ReadError> {
        if self.shelf.is_ready() { self.checked(self.shelf.day_spans()) } else { Err(ReadError::NotOpenYet) }
    }

    /// Durable records from number `from` on as they stand in the store, byte for byte, at most `max`.
    ///
    /// Up to the first that cannot be read: where it is the first one asked for, it is an error.
    pub fn frames(&self, from: u64, max: usize) -> Result<Vec<Frame>, ReadError> {
        let (mut found, mut next) = (Vec::new(), from);
        for span in &self.spans()? {
            if span.last_seq < next {
                // Before it, or a copy of a day that was read already.
                continue;
            }
            let room = max - found.len();
            if room == 0 {
                break;
            }
            match self.day(span).and_then(|day| self.checked(day.frames(next, room))) {
                Ok(frames) => {
                    // Behind a part of a day nothing follows yet.
                    let ends = frames.last().map_or(next, |frame| frame.seq);
                    found.extend(frames);
                    if ends < span.last_seq {
                        break;
                    }
                    next = span.last_seq + 1;
                }
                Err(error) if found.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(found)
    }

    /// The first record of a copy from `from` on, on the day that record stands on, that can be read; `None`: there
    /// is none, or this is a running store, which puts a damaged day aside.
    pub fn legible_from(&self, from: u64) -> Result<Option<u64>, ReadError> {
        let spans = self.spans()?;
        let Some(span) = spans.iter().find(|span| span.last_seq >= from) else { return Ok(None) };
        if self.shelf.is_archive() { Ok(self.day(span)?.legible_from(from)) } else { Ok(None) }
    }

    pub(super) fn gathered(&self) -> std::collections::BTreeMap<String, String> {
        self.shelf.gathered()
    }

    /// Records of a copy that [`Self::story`] could not read, though they may tell of what was asked for: first and
    /// last of each stretch.
    pub fn unread(&self) -> Vec<(u64, u64)> {
        self.shelf.unread()
    }

    /// Records after which a snapshot of the core is stored, ascending.
    pub fn snapshots(&self) -> Result<Vec<u64>, ReadError> {
        let mut found = Vec::new();
        for span in self.spans()? {
            let day = self.day(&span)?;
            found.extend(self.checked(day.snapshots())?);
        }
        Ok(found)
    }

    /// The newest snapshot of the core that stands after record `seq` or an earlier one, with the number
    /// of that record.
    pub fn latest_snapshot_before(&self, seq: u64) -> Result<Option<(u64, Vec<u8>)>, ReadError> {
        for span in self.spans()?.iter().rev().filter(|span| span.begin.first_seq <= seq) {
            let day = self.day(span)?;
            if let Some(found) = self.checked(day.latest_snapshot(seq))? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The run a record belongs to: the names its numbers stand for.
    pub fn started_before(&self, seq: u64) -> Result<Option<Started>, ReadError> {
        let Some(span) = self.span_of_run(seq)? else { return Ok(None) };
        let day = self.day(&span)?;
        let run = self.checked(day.run_before(seq))?;
        Ok(run.and_then(|(record, _)| started(record.body)))
    }

    /// The start of the run a record belongs to, as it stands in the store; it may be of a day that is not
    /// kept any more, since each day carries the one in force.
    pub fn run_before(&self, seq: u64) -> Result<Option<Frame>, ReadError> {
        let Some(span) = self.span_of_run(seq)? else { return Ok(None) };
        let day = self.day(&span)?;
        let run = self.checked(day.run_before(seq))?;
        Ok(run.map(|(record, bytes)| Frame { seq: record.seq, bytes }))
    }

    /// Everything recorded about a parcel: the passes of a barcode's text, an identity key with or without
    /// its prefix or in another spelling ([`Called`]), an order number, a tag's EPC in hex, or one pass as
    /// `epoch-track`. Records of a pass stand
    /// together, the latest passes last; at most the latest sixteen. Records that name the code but belong
    /// to no pass stand among them. All days that are kept are looked through, by their indices; of each no
    /// more than the latest 256 mentions of the code, and 512 records of each pass.
    pub fn story(&self, code_or_pass: &str) -> Result<Vec<Record>, ReadError> {
        let spans = self.spans()?;
        let called = Called::of(code_or_pass);
        let mut passes: Vec<PassKey> = called.pass().into_iter().collect();
        let mut told: BTreeMap<u64, Record> = BTreeMap::new();
        let mut groups: Vec<Vec<u64>> = Vec::new();
        // Newest day first, newest mention first: the limits keep the latest.
        for span in spans.iter().rev() {
            let mut naming = Vec::new();
            for code in called.codes() {
                naming.extend(self.mentioning(span, keys::hash_code(code), STORY_MENTIONS)?);
            }
            naming.sort_by_key(|record| std::cmp::Reverse(record.seq));
            for record in naming {
                if !called.is_code_of(&record.body) {
                    continue;
                }
                match record.body.pass() {
                    Some(pass) if passes.contains(&pass) || passes.len() >= STORY_PASSES => {}
                    Some(pass) => passes.push(pass),
                    // Found under each of its codes.
                    None if told.contains_key(&record.seq) => {}
                    None => {
                        groups.push(vec![record.seq]);
                        told.insert(record.seq, record);
                    }
                }
            }
        }
        for pass in passes {
            let mut group = Vec::new();
            for span in &spans {
                for record in self.mentioning(span, keys::hash_pass(pass), STORY_PASS_RECORDS)? {
                    if record.body.pass() == Some(pass) {
                        group.push(record.seq);
                        told.insert(record.seq, record);
                    }
                }
            }
            group.sort_unstable();
            groups.push(group);
        }
        groups.sort();
        // A record is told once, with the first group it belongs to.
        Ok(groups.into_iter().flatten().filter_map(|seq| told.remove(&seq)).collect())
    }

    /// The day that tells which run record `seq` belongs to: its own, or the oldest, which carries the run that was
    /// in force when it began.
    pub(super) fn span_of_run(&self, seq: u64) -> Result<Option<Span>, ReadError> {
        let mut spans = self.spans()?;
        let own = spans.iter().rposition(|span| span.begin.first_seq <= seq).unwrap_or(0);
        Ok((own < spans.len()).then(|| spans.swap_remove(own)))
    }

    /// Records of a day that may mention this, newest first.
    fn mentioning(&self, span: &Span, hash: u32, max: usize) -> Result<Vec<Record>, ReadError> {
        let found = self.checked(self.shelf.find(span, hash, max))?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let day = self.day(span)?;
        let mut records = Vec::new();
        for seq in found {
            match day.record(seq) {
                Err(DayError::Damaged { .. }) if self.shelf.is_archive() => {
                    self.shelf.passed_over((seq, seq))
                }
                read => records.push(self.checked(read)?),
            }
        }
        Ok(records)
    }

    pub(super) fn spans(&self) -> Result<Vec<Span>, ReadError> {
        if self.shelf.is_ready() { Ok(self.shelf.spans()) } else { Err(ReadError::NotOpenYet) }
    }

    fn day(&self, span: &Span) -> Result<Arc<super::day::Day>, ReadError> {
        self.checked(self.shelf.day(&span.name))
    }

    fn checked<T>(&self, result: Result<T, DayError>) -> Result<T, ReadError> {
        result.map_err(|error| {
            if let DayError::Damaged { day, what } = &error {
                self.shelf.report_damage(day, what);
            }
            error.into()
        })
    }
}

/// The start of a run, where the record is one.
pub(super) fn started(body: Body) -> Option<Started> {
    match body {
        Body::Input(Input::Event(Event::Started(started))) => Some(started),
        Body::Input(_) | Body::Fact(_) => None,
    }
}
