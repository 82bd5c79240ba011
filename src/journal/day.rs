//! One day of records: a sled Db in a directory of its own.
//!
//! Everything sled does here is called under `catch_unwind`: on a damaged file it panics, answers an error,
//! or opens *silently short*. So the whole day is read once when it opens: numbers without gap, each CRC,
//! each milestone in its index. `span`, a small file beside sled's own, repeats outside of sled where the
//! day begins, and once it is sealed where it ends.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::chain::{HASH_BYTES, Link};
use super::frame::Frame;
use super::record::{self, VALUE_LIMIT, number};
use super::slip::{self, SlipError};
use super::{Record, keys};
use crate::line::{PassKey, Tick};

/// sled's background flusher is also the only place that collects its garbage; our own flush after each
/// batch is what makes records durable.
const FLUSH_EVERY_MS: u64 = 500;

/// A Db that was just closed in this process gives its lock up when the last thread that held it lets go.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Chunks of a core snapshot put into one batch: half a megabyte.
const SNAPSHOT_CHUNKS_A_BATCH: usize = 64;
const SNAPSHOT_HEADER: usize = 8;

/// Why a day could not be used.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum DayError {
    /// What is on the disk is not what was written.
    #[error("day {day} is damaged: {what}")]
    Damaged {
        /// Its directory's name.
        day: String,
        /// What was expected and what came.
        what: String,
    },
    /// The disk or the file system said no; nothing is known to be wrong with the records.
    #[error("day {day}: {what}")]
    Disk {
        /// Its directory's name.
        day: String,
        /// What it said.
        what: String,
    },
}

/// Numbers a day holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    /// Name of its directory.
    pub name: String,
    pub begin: Begin,
    /// One less than the first where it holds none.
    pub last_seq: u64,
    pub last_event: u64,
}

/// Where a day begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begin {
    pub epoch: u64,
    pub first_seq: u64,
    pub first_event: u64,
}

/// Where the chain stands in a day of layout 2; a day of layout 1 has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Links {
    /// Before the day's first record.
    pub before: Link,
    /// Of its last record; `before` where it holds none.
    pub last: Link,
}

/// Content of the file `span`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SpanSlip {
    pub begin: Begin,
    /// Link before the first record; `None` in a day of layout 1.
    pub before: Option<Link>,
    /// What it ends with, once the day is sealed.
    pub sealed: Option<Sealed>,
}

/// The end of a sealed day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sealed {
    pub last_seq: u64,
    pub last_event: u64,
    /// `None` in a day of layout 1.
    pub link: Option<Link>,
}

/// The slip of a day of layout 1.
#[derive(Debug, Serialize, Deserialize)]
struct SpanV1 {
    begin: Begin,
    sealed: Option<(u64, u64)>,
}

/// The slip of a day of layout 2.
#[derive(Debug, Serialize, Deserialize)]
struct SpanV2 {
    begin: Begin,
    before: Link,
    sealed: Option<(u64, u64, Link)>,
}

impl SpanSlip {
    pub fn links(&self) -> Option<Links> {
        Some(Links { before: self.before?, last: self.sealed?.link? })
    }

    pub fn write(&self, path: &Path) -> Result<(), SlipError> {
        let (path, begin) = (path.join("span"), self.begin);
        let Some(before) = self.before else {
            let sealed = self.sealed.map(|sealed| (sealed.last_seq, sealed.last_event));
            return slip::write_version(&path, 1, &SpanV1 { begin, sealed });
        };
        let sealed =
            self.sealed.map(|sealed| (sealed.last_seq, sealed.last_event, sealed.link.unwrap_or(before)));
        slip::write_version(&path, 2, &SpanV2 { begin, before, sealed })
    }
}

pub(super) fn read_span(path: &Path) -> Result<Option<SpanSlip>, SlipError> {
    let Some((version, body)) = slip::load(&path.join("span"))? else { return Ok(None) };
    let slip = match version {
        1 => {
            let SpanV1 { begin, sealed } = body.decode()?;
            let sealed = sealed.map(|(last_seq, last_event)| Sealed { last_seq, last_event, link: None });
            SpanSlip { begin, before: None, sealed }
        }
        2 => {
            let SpanV2 { begin, before, sealed } = body.decode()?;
            let sealed =
                sealed.map(|(last_seq, last_event, link)| Sealed { last_seq, last_event, link: Some(link) });
            SpanSlip { begin, before: Some(before), sealed }
        }
        other => return Err(body.unknown(other)),
    };
    Ok(Some(slip))
}

/// An open day.
#[derive(Debug)]
pub(super) struct Day {
    name: String,
    path: PathBuf,
    db: sled::Db,
    file: File,
    begin: Begin,
    last_seq: AtomicU64,
    last_event: AtomicU64,
    last_tick: AtomicU64,
    /// `None` in a day of layout 1.
    links: Option<Mutex<Links>>,
}

/// How much of a day is read when it opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// Every frame: what is written again must be whole.
    All,
    /// Where it begins and ends, which `span` must confirm once it is sealed. Each record is checked when
    /// it is read, and whether all of them are is a question for `sortd verify`.
    Ends,
}

/// What reading through a day found.
struct Tally {
    last_seq: u64,
    last_event: u64,
    last_tick: Tick,
    last_link: Option<Link>,
}

impl Day {
    /// A new day in a new directory, which goes on with the chain behind `before`.
    pub fn create(days: &Path, name: &str, begin: Begin, before: Link, cache: u64) -> Result<Day, DayError> {
        let path = days.join(name);
        let day = || {
            let db = open_sled(&path, cache, name)?;
            let head = encode_head(begin, Some(before));
            guarded(name, || db.insert(keys::HEAD, head.to_vec()))?;
            Ok((db, open_file(&path, name)?))
        };
        let (db, file) = day()?;
        // sled writes its parameters once and never syncs them, nor the directory entries.
        let synced = File::open(path.join("conf")).and_then(|conf| conf.sync_all());
        synced.map_err(|error| disk(name, &error))?;
        for directory in [&path, days] {
            slip::sync_directory(directory).map_err(|error| disk(name, &error))?;
        }
        Ok(Day {
            name: name.to_owned(),
            path,
            db,
            file,
            begin,
            last_seq: AtomicU64::new(begin.first_seq - 1),
            last_event: AtomicU64::new(begin.first_event - 1),
            last_tick: AtomicU64::new(0),
            links: Some(Mutex::new(Links { before, last: before })),
        })
    }

    /// Opens a day and reads as much of it as told. `None`: it never got a first record.
    pub fn open(days: &Path, name: &str, cache: u64, read: Read) -> Result<Option<Day>, DayError> {
        let path = days.join(name);
        // The Db repeats what a damaged span said.
        let span = match read_span(&path) {
            Ok(span) => span,
            Err(SlipError::Damaged { .. }) => None,
            Err(error @ SlipError::Io { .. }) => return Err(disk(name, &error)),
        };
        if !path.join("db").exists() {
            return match span {
                Some(_) => Err(damaged(name, "its Db file is missing".to_owned())),
                None => Ok(None),
            };
        }
        let db = open_sled(&path, cache, name)?;
        let head = guarded(name, || db.get(keys::HEAD))?;
        let Some(head) = head else {
            let empty = guarded(name, || db.first())?.is_none();
            return if empty && span.is_none() {
                Ok(None)
            } else {
                Err(damaged(name, "it opens empty or without its head, but records were written".to_owned()))
            };
        };
        let head = decode_head(&head).ok_or_else(|| damaged(name, "its head is unreadable".to_owned()))?;
        let (begin, before) = head;
        if let Some(span) = span
            && (span.begin, span.before) != head
        {
            let said = (span.begin, span.before);
            return Err(damaged(name, format!("it begins {head:?}, but span says {said:?}")));
        }
        let tally = match read {
            Read::All => catch(name, || verify(&db, begin, before, name))??,
            Read::Ends => catch(name, || glance(&db, begin, before, name))??,
        };
        if span.is_some_and(|span| span.sealed.is_none()) && tally.last_seq < begin.first_seq {
            return Err(damaged(name, "it opens without records, but some were written".to_owned()));
        }
        let ends = Sealed { last_seq: tally.last_seq, last_event: tally.last_event, link: tally.last_link };
        if let Some(sealed) = span.and_then(|span| span.sealed)
            && sealed != ends
        {
            return Err(damaged(name, format!("it was sealed at {sealed:?}, but ends at {ends:?}")));
        }
        Ok(Some(Day {
            file: open_file(&path, name)?,
            name: name.to_owned(),
            path,
            db,
            begin,
            last_seq: AtomicU64::new(tally.last_seq),
            last_event: AtomicU64::new(tally.last_event),
            last_tick: AtomicU64::new(tally.last_tick.0),
            links: before.zip(tally.last_link).map(|(before, last)| Mutex::new(Links { before, last })),
        }))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn span(&self) -> Span {
        Span {
            name: self.name.clone(),
            begin: self.begin,
            last_seq: self.last_seq.load(Ordering::Acquire),
            last_event: self.last_event.load(Ordering::Acquire),
        }
    }

    /// Where the chain stands; `None` in a day of layout 1, which gets no further record.
    pub fn links(&self) -> Option<Links> {
        let links = self.links.as_ref()?;
        Some(*links.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn last_tick(&self) -> Tick {
        Tick(self.last_tick.load(Ordering::Acquire))
    }

    pub fn is_empty(&self) -> bool {
        self.last_seq.load(Ordering::Acquire) < self.begin.first_seq
    }

    /// Makes `records` durable, with `batch` made from them; the last one's link is `link`. Doing it again
    /// with the same records changes nothing, so a batch whose fate is unknown is simply given again.
    pub fn commit(&self, batch: sled::Batch, records: &[Record], link: Link) -> Result<(), DayError> {
        guarded(&self.name, || self.db.apply_batch(batch))?;
        self.sync()?;
        let first = self.is_empty();
        if let Some(event) = records.iter().rev().find_map(|record| record.event_seq) {
            self.last_event.fetch_max(event, Ordering::Release);
        }
        if let Some(last) = records.last() {
            self.last_tick.store(last.at.0, Ordering::Release);
            if let Some(links) = &self.links {
                links.lock().unwrap_or_else(PoisonError::into_inner).last = link;
            }
            self.last_seq.fetch_max(last.seq, Ordering::Release);
        }
        if first {
            self.write_span(false)?;
        }
        Ok(())
    }

    /// Brings everything written so far to the disk.
    pub fn sync(&self) -> Result<(), DayError> {
        guarded(&self.name, || self.db.flush())?;
        self.file.sync_data().map_err(|error| disk(&self.name, &error))
    }

    /// No record will follow.
    pub fn seal(&self) -> Result<(), DayError> {
        self.sync()?;
        self.write_span(true)
    }

    fn write_span(&self, sealed: bool) -> Result<(), DayError> {
        let (span, links) = (self.span(), self.links());
        let sealed = sealed.then(|| Sealed {
            last_seq: span.last_seq,
            last_event: span.last_event,
            link: links.map(|links| links.last),
        });
        let slip = SpanSlip { begin: self.begin, before: links.map(|links| links.before), sealed };
        slip.write(&self.path).map_err(|error| disk(&self.name, &error))
    }

    /// Stores the core's state after record `seq` in chunks; the first, which makes it whole, last.
    pub fn put_snapshot(&self, seq: u64, bytes: &[u8]) -> Result<(), DayError> {
        let mut framed = Vec::with_capacity(SNAPSHOT_HEADER + bytes.len());
        framed.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        framed.extend_from_slice(&crc32fast::hash(bytes).to_be_bytes());
        framed.extend_from_slice(bytes);
        let chunks: Vec<&[u8]> = framed.chunks(VALUE_LIMIT).collect();
        if u16::try_from(chunks.len()).is_err() {
            return Err(disk(&self.name, &format!("a snapshot of {} bytes is too large", bytes.len())));
        }
        let numbered: Vec<(u16, &[u8])> = (0..).zip(chunks).collect();
        for group in numbered[1..].chunks(SNAPSHOT_CHUNKS_A_BATCH).chain([&numbered[..1]]) {
            let mut batch = sled::Batch::default();
            for (part, chunk) in group {
                batch.insert(&keys::snapshot(seq, *part), *chunk);
            }
            guarded(&self.name, || self.db.apply_batch(batch))?;
        }
        self.sync()
    }

    /// Records after which a snapshot stands, ascending.
    pub fn snapshots(&self) -> Result<Vec<u64>, DayError> {
        let mut found = Vec::new();
        let mut from = keys::snapshot(0, 0);
        // From one to the next, past the chunks in between.
        while let Some((key, _)) = guarded(&self.name, || {
            self.db.range(from..=keys::snapshot(u64::MAX, u16::MAX)).next().transpose()
        })? {
            let seq = number(&key[1..9]);
            found.push(seq);
            from = keys::snapshot(seq.saturating_add(1), 0);
        }
        Ok(found)
    }

    /// The newest snapshot that is whole and stands after record `seq` or an earlier one.
    pub fn latest_snapshot(&self, seq: u64) -> Result<Option<(u64, Vec<u8>)>, DayError> {
        let mut before = keys::snapshot(seq.saturating_add(1), 0);
        loop {
            let range = keys::snapshot(0, 0)..before;
            let newest = guarded(&self.name, || self.db.range(range.clone()).next_back().transpose())?;
            let Some((key, _)) = newest else { return Ok(None) };
            let seq = number(&key[1..9]);
            let chunks = self.prefixed(&keys::snapshot(seq, 0)[..9], usize::from(u16::MAX), false)?;
            if let Some(bytes) = whole_snapshot(&chunks) {
                return Ok(Some((seq, bytes)));
            }
            before = keys::snapshot(seq, 0);
        }
    }

    /// Durable records from `from` on, at most `max`.
    pub fn records(&self, from: u64, max: usize) -> Result<Vec<Record>, DayError> {
        let span = self.span();
        let first = from.max(span.begin.first_seq);
        (first..=span.last_seq).take(max).map(|seq| self.record(seq)).collect()
    }

    /// Durable milestones after `after`, at most `max`.
    pub fn milestones(&self, after: u64, max: usize) -> Result<Vec<Record>, DayError> {
        let span = self.span();
        let first = span.begin.first_event.max(after + 1);
        let milestone = |event: u64| {
            let seq = guarded(&self.name, || self.db.get(keys::event(event)))?;
            let seq = seq.ok_or_else(|| damaged(&self.name, format!("milestone {event} is missing")))?;
            let record = self.record(number(&seq))?;
            if record.event_seq == Some(event) {
                Ok(record)
            } else {
                let what = format!("record {} is milestone {:?}, not {event}", record.seq, record.event_seq);
                Err(damaged(&self.name, what))
            }
        };
        (first..=span.last_event).take(max).map(milestone).collect()
    }

    /// Durable frames from `from` on, at most `max`, as they are found.
    pub fn frames(&self, from: u64, max: usize) -> Result<Vec<Frame>, DayError> {
        let span = self.span();
        let first = from.max(span.begin.first_seq);
        let frame = |seq| Ok(Frame { seq, bytes: self.frame(seq)?.to_vec() });
        (first..=span.last_seq).take(max).map(frame).collect()
    }

    fn frame(&self, seq: u64) -> Result<sled::IVec, DayError> {
        let missing = || damaged(&self.name, format!("record {seq} is missing"));
        let first = guarded(&self.name, || self.db.get(keys::record(seq)))?.ok_or_else(missing)?;
        catch(&self.name, || whole_record(&self.db, seq, &first, &self.name))?
    }

    /// One record that must be there.
    pub fn record(&self, seq: u64) -> Result<Record, DayError> {
        let bytes = self.frame(seq)?;
        let record = record::decode(&bytes).map_err(|error| broken(&self.name, seq, &error))?;
        if record.seq == seq {
            Ok(record)
        } else {
            Err(damaged(&self.name, format!("record {} under number {seq}", record.seq)))
        }
    }

    /// Numbers of the records of a pass, oldest first, at most `max`.
    pub fn of_pass(&self, pass: PassKey, max: usize) -> Result<Vec<u64>, DayError> {
        let durable = self.last_seq.load(Ordering::Acquire);
        let found = self.prefixed(&keys::pass_prefix(pass), max, false)?;
        Ok(found.iter().map(|(key, _)| number(&key[7..])).filter(|seq| *seq <= durable).collect())
    }

    /// Records that name a code (folded), newest first, at most `max`, with their passes.
    pub fn of_code(&self, code: &[u8], max: usize) -> Result<Vec<(u64, Option<PassKey>)>, DayError> {
        let durable = self.last_seq.load(Ordering::Acquire);
        let prefix = keys::code_prefix(code);
        let found = self.prefixed(&prefix, max, true)?;
        let named = found.iter().map(|(key, pass)| (number(&key[prefix.len()..]), keys::pass_of(pass)));
        Ok(named.filter(|(seq, _)| *seq <= durable).collect())
    }

    /// The start of the run a record belongs to.
    pub fn run_before(&self, seq: u64) -> Result<Option<(Record, Vec<u8>)>, DayError> {
        let range = keys::run(0)..=keys::run(seq);
        let found = guarded(&self.name, || self.db.range(range.clone()).next_back().transpose())?;
        // The key found may be a further part of a long one.
        let Some((key, _)) = found else { return Ok(None) };
        let at = number(&key[1..]);
        let parts = self.prefixed(&keys::run(at), usize::from(u8::MAX), false)?;
        let bytes: Vec<u8> = parts.iter().flat_map(|(_, part)| part.iter().copied()).collect();
        let record = record::decode(&bytes).map_err(|error| broken(&self.name, at, &error))?;
        Ok(Some((record, bytes)))
    }

    /// Damages the day as a lost page would.
    #[cfg(test)]
    pub fn lose_record(&self, seq: u64) {
        self.db.remove(keys::record(seq)).unwrap();
    }

    fn prefixed(&self, prefix: &[u8], max: usize, newest: bool) -> Result<Vec<Pair>, DayError> {
        guarded(&self.name, || {
            let found = self.db.scan_prefix(prefix);
            if newest { found.rev().take(max).collect() } else { found.take(max).collect() }
        })
    }
}

type Pair = (sled::IVec, sled::IVec);

/// Adds a record and its index keys to a batch.
pub(super) fn add(batch: &mut sled::Batch, record: &Record, bytes: &[u8]) {
    let (seq, mut parts) = (record.seq, bytes.chunks(VALUE_LIMIT));
    batch.insert(&keys::record(seq), parts.next().unwrap_or_default());
    for (part, chunk) in (0..).zip(parts) {
        batch.insert(&keys::continuation(seq, part), chunk);
    }
    if let Some(event) = record.event_seq {
        batch.insert(&keys::event(event), &seq.to_be_bytes());
    }
    let pass = record.body.pass();
    if let Some(pass) = pass {
        batch.insert(&keys::pass(pass, seq), &[]);
    }
    for code in keys::codes(&record.body) {
        let pass = pass.map(keys::pass_bytes);
        batch.insert(keys::code(&code, seq), pass.as_ref().map_or(&[][..], |pass| &pass[..]));
    }
}

/// Adds the start of a run, in this day or carried from the one before. Parts beyond the first stand under
/// the key with `+` and the part behind it.
pub(super) fn add_run(batch: &mut sled::Batch, seq: u64, bytes: &[u8]) {
    let key = keys::run(seq);
    let mut parts = bytes.chunks(VALUE_LIMIT);
    batch.insert(&key, parts.next().unwrap_or_default());
    for (part, chunk) in (0_u8..).zip(parts) {
        batch.insert([&key[..], &[b'+', part]].concat(), chunk);
    }
}

fn verify(db: &sled::Db, begin: Begin, before: Option<Link>, name: &str) -> Result<Tally, DayError> {
    let failed = |error: sled::Error| sled_error(name, &error);
    let mut events = db.scan_prefix(b"e");
    let (mut seq, mut event) = (begin.first_seq, begin.first_event);
    let mut last = None;
    for item in db.scan_prefix(b"r") {
        let (key, first) = item.map_err(failed)?;
        if *key != keys::record(seq) {
            let what = format!("record {seq} expected, {} came", number(&key[1..]));
            return Err(damaged(name, what));
        }
        let bytes = whole_record(db, seq, &first, name)?;
        let head = record::check(&bytes).map_err(|error| broken(name, seq, &error))?;
        if head.seq != seq {
            return Err(damaged(name, format!("record {} under number {seq}", head.seq)));
        }
        if let Some(came) = head.event_seq {
            let indexed = events.next().transpose().map_err(failed)?;
            let right = came == event
                && indexed.is_some_and(|(key, at)| *key == keys::event(event) && *at == seq.to_be_bytes());
            if !right {
                let what = format!("record {seq}: milestone {event} expected, {came} or its index is wrong");
                return Err(damaged(name, what));
            }
            event += 1;
        }
        if record::link(&bytes).is_some() != before.is_some() {
            return Err(damaged(name, format!("record {seq} is of another layout than its day")));
        }
        seq += 1;
        last = Some(bytes);
    }
    if let Some(extra) = events.next().transpose().map_err(failed)? {
        let what = format!("milestone {} belongs to no record", number(&extra.0[1..]));
        return Err(damaged(name, what));
    }
    let (last_tick, last_link) = match last {
        Some(bytes) => {
            let record = record::decode(&bytes).map_err(|error| broken(name, seq - 1, &error))?;
            (record.at, record::link(&bytes))
        }
        None => (Tick(0), before),
    };
    Ok(Tally { last_seq: seq - 1, last_event: event - 1, last_tick, last_link })
}

/// Where a day ends, by its last keys.
fn glance(db: &sled::Db, begin: Begin, before: Option<Link>, name: &str) -> Result<Tally, DayError> {
    let failed = |error: sled::Error| sled_error(name, &error);
    let last = |prefix: &[u8]| db.scan_prefix(prefix).next_back().transpose().map_err(failed);
    let last_event = last(b"e")?.map_or(begin.first_event - 1, |(key, _)| number(&key[1..]));
    let Some((key, first)) = last(b"r")? else {
        return Ok(Tally {
            last_seq: begin.first_seq - 1,
            last_event,
            last_tick: Tick(0),
            last_link: before,
        });
    };
    let seq = number(&key[1..]);
    let bytes = whole_record(db, seq, &first, name)?;
    let record = record::decode(&bytes).map_err(|error| broken(name, seq, &error))?;
    if record.seq != seq || seq < begin.first_seq {
        return Err(damaged(name, format!("record {} under number {seq}", record.seq)));
    }
    Ok(Tally { last_seq: seq, last_event, last_tick: record.at, last_link: record::link(&bytes) })
}

/// The first value and its continuations.
fn whole_record(db: &sled::Db, seq: u64, first: &sled::IVec, name: &str) -> Result<sled::IVec, DayError> {
    let total = record::total_len(first).map_err(|error| broken(name, seq, &error))?;
    if total <= first.len() {
        return Ok(first.clone());
    }
    let mut bytes = first.to_vec();
    for part in 0_u8.. {
        if bytes.len() >= total {
            break;
        }
        let next = db.get(keys::continuation(seq, part)).map_err(|error| sled_error(name, &error))?;
        let next = next.ok_or_else(|| damaged(name, format!("part {part} of record {seq} is missing")))?;
        bytes.extend_from_slice(&next);
    }
    Ok(bytes.into())
}

fn whole_snapshot(chunks: &[Pair]) -> Option<Vec<u8>> {
    let bytes: Vec<u8> = chunks.iter().flat_map(|(_, chunk)| chunk.iter().copied()).collect();
    let (header, body) = bytes.split_at_checked(SNAPSHOT_HEADER)?;
    let len = u32::from_be_bytes(header[..4].try_into().ok()?);
    let crc = u32::from_be_bytes(header[4..].try_into().ok()?);
    (len as usize == body.len() && crc == crc32fast::hash(body)).then(|| body.to_vec())
}

/// Head of a day: version 2 with the link before its first record, version 1 without.
pub(super) fn encode_head(begin: Begin, before: Option<Link>) -> Vec<u8> {
    let mut bytes = vec![if before.is_some() { 2 } else { 1 }];
    for number in [begin.epoch, begin.first_seq, begin.first_event] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes.extend_from_slice(before.as_ref().map_or(&[], |link| &link.0[..]));
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

fn decode_head(bytes: &[u8]) -> Option<(Begin, Option<Link>)> {
    let begin = Begin {
        epoch: number(bytes.get(1..9)?),
        first_seq: number(bytes.get(9..17)?),
        first_event: number(bytes.get(17..25)?),
    };
    let before = match bytes[0] {
        2 => Some(Link(bytes.get(25..25 + HASH_BYTES)?.try_into().ok()?)),
        _ => None,
    };
    let right = encode_head(begin, before) == bytes && begin.first_seq > 0 && begin.first_event > 0;
    right.then_some((begin, before))
}

/// Opens a sled Db as this room opens each of them.
pub(super) fn open_sled(path: &Path, cache: u64, name: &str) -> Result<sled::Db, DayError> {
    let config = sled::Config::new().path(path).cache_capacity(cache).flush_every_ms(Some(FLUSH_EVERY_MS));
    let mut tries = 0;
    loop {
        match catch(name, || config.open())? {
            Ok(db) => return Ok(db),
            Err(error) if error.to_string().contains("could not acquire lock") && tries < LOCK_TRIES => {
                tries += 1;
                std::thread::sleep(LOCK_PAUSE);
            }
            Err(error) => return Err(sled_error(name, &error)),
        }
    }
}

/// The file sled keeps everything in, for syncing it.
pub(super) fn open_file(path: &Path, name: &str) -> Result<File, DayError> {
    File::open(path.join("db")).map_err(|error| disk(name, &error))
}

/// Runs something of sled's that may panic.
fn catch<T>(name: &str, work: impl FnOnce() -> T) -> Result<T, DayError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
        damaged(name, format!("sled panicked: {text}"))
    })
}

/// Runs something of sled's that may panic or fail.
pub(super) fn guarded<T>(name: &str, work: impl FnOnce() -> sled::Result<T>) -> Result<T, DayError> {
    catch(name, work)?.map_err(|error| sled_error(name, &error))
}

fn sled_error(name: &str, error: &sled::Error) -> DayError {
    match error {
        // Only an error of the operating system speaks of the disk; sled reports what it cannot make
        // sense of as I/O errors, too.
        sled::Error::Io(io) if io.raw_os_error().is_some() || is_space(io) => disk(name, error),
        sled::Error::Io(_)
        | sled::Error::CollectionNotFound(_)
        | sled::Error::Unsupported(_)
        | sled::Error::ReportableBug(_)
        | sled::Error::Corruption { .. } => damaged(name, error.to_string()),
    }
}

/// sled clones its errors by kind and text, which drops the operating system's number.
fn is_space(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull, WriteZero};
    matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem | PermissionDenied | WriteZero)
        || error.to_string().contains("Os { code")
}

fn broken(name: &str, seq: u64, error: &record::DecodeError) -> DayError {
    damaged(name, format!("record {seq}: {error}"))
}

pub(super) fn damaged(day: &str, what: String) -> DayError {
    DayError::Damaged { day: day.to_owned(), what }
}

pub(super) fn disk(day: &str, what: &dyn std::fmt::Display) -> DayError {
    DayError::Disk { day: day.to_owned(), what: what.to_string() }
}
