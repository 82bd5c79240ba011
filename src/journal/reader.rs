//! Reading durable records while the journal thread writes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cursor::Cursor;
use super::day::{DayError, Span};
use super::frame::{DaySpan, Frame};
use super::shelf::Shelf;
use super::{Record, keys};
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
    pub fn frames(&self, from: u64, max: usize) -> Result<Vec<Frame>, ReadError> {
        let (mut found, mut next) = (Vec::new(), from);
        for span in &self.spans()? {
            if found.len() < max && span.last_seq >= next {
                let day = self.day(span)?;
                found.extend(self.checked(day.frames(next, max - found.len()))?);
                next = span.last_seq + 1;
            }
        }
        Ok(found)
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
        let spans = self.spans()?;
        let Some(span) = spans.iter().rev().find(|span| span.begin.first_seq <= seq) else {
            return Ok(None);
        };
        let day = self.day(span)?;
        let run = self.checked(day.run_before(seq))?;
        Ok(run.and_then(|(record, _)| started(record.body)))
    }

    /// The start of the run a record belongs to, as it stands in the store; it may be of a day that is not
    /// kept any more, since each day carries the one in force.
    pub fn run_before(&self, seq: u64) -> Result<Option<Frame>, ReadError> {
        let spans = self.spans()?;
        let Some(span) = spans.iter().rev().find(|span| span.begin.first_seq <= seq) else {
            return Ok(None);
        };
        let day = self.day(span)?;
        let run = self.checked(day.run_before(seq))?;
        Ok(run.map(|(record, bytes)| Frame { seq: record.seq, bytes }))
    }

    /// Everything recorded about a parcel: the passes of a barcode's text, an identity key with or without
    /// its prefix, an order number, a tag's EPC in hex, or one pass as `epoch-track`. Records of a pass stand
    /// together, the latest passes last; at most the latest sixteen. Records that name the code but belong
    /// to no pass stand among them. All days that are kept are looked through, by their indices; of each no
    /// more than the latest 256 mentions of the code, and 512 records of each pass.
    pub fn story(&self, code_or_pass: &str) -> Result<Vec<Record>, ReadError> {
        let spans = self.spans()?;
        let code = keys::fold(code_or_pass);
        let mut passes: Vec<PassKey> = parse_pass(code_or_pass).into_iter().collect();
        let mut told: BTreeMap<u64, Record> = BTreeMap::new();
        let mut groups: Vec<Vec<u64>> = Vec::new();
        // Newest day first, newest mention first: the limits keep the latest.
        for span in spans.iter().rev() {
            for record in self.mentioning(span, keys::hash_code(&code), STORY_MENTIONS)? {
                if !keys::codes(&record.body).contains(&code) {
                    continue;
                }
                match record.body.pass() {
                    Some(pass) if passes.contains(&pass) || passes.len() >= STORY_PASSES => {}
                    Some(pass) => passes.push(pass),
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

    /// Records of a day that may mention this, newest first.
    fn mentioning(&self, span: &Span, hash: u32, max: usize) -> Result<Vec<Record>, ReadError> {
        let found = self.checked(self.shelf.find(span, hash, max))?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let day = self.day(span)?;
        found.into_iter().map(|seq| self.checked(day.record(seq))).collect()
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

/// `epoch-track`, as the status names a pass.
fn parse_pass(text: &str) -> Option<PassKey> {
    let (epoch, track) = text.trim().split_once('-')?;
    Some(PassKey { epoch: epoch.parse().ok()?, track: track.parse().ok()? })
}
