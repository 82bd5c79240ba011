//! One day of records: a sled Db in a directory of its own.
//!
//! Everything sled does here is called under `catch_unwind`: on a damaged file it panics, answers an error,
//! or opens *silently short*. So a day that is to be written is read once when it opens: numbers without
//! gap, each CRC, each milestone. `span`, a small file beside sled's own, repeats outside of sled where the
//! day begins, and once it is sealed where it ends.
//!
//! ```text
//! default tree    h -> head of the day: epoch, first numbers, link
//!                 u seq -> record     start of a run; the run in force is carried into each new day
//!                 k seq -> record     name of a carried run's configuration
//!                 s seq part -> chunk snapshot of the core
//! records         by layout: [`super::layout2`], or in old days [`super::layout1`]
//! ```

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::batch::Batch;
use super::chain::{HASH_BYTES, Link};
use super::frame::Frame;
use super::guard::catch;
pub(super) use super::guard::{guarded, open_file, open_sled};
use super::index::{self, IndexError, Mention};
use super::layout2::Blocks;
use super::record::{self, VALUE_LIMIT, number};
use super::slip::{self, SlipError};
use super::{Record, keys, layout1, shortcut, space};
use crate::line::Tick;
use crate::line::event::Event;
use crate::line::record::{Body, Input};

/// Chunks of a core snapshot put into one batch: half a megabyte.
const SNAPSHOT_CHUNKS_A_BATCH: usize = 64;
const SNAPSHOT_HEADER: usize = 8;
/// The record that names the configuration of a run stands this close behind its start.
pub(super) const CONFIGURED_WITHIN: usize = 256;

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
    chained: Option<Chained>,
    /// Opened for an examination: what cannot be read is passed over.
    examined: bool,
}

/// What a day of layout 2 has.
#[derive(Debug)]
struct Chained {
    blocks: Blocks,
    links: Mutex<Links>,
}

/// How much of a day is read when it opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// Every frame: what is written again must be whole.
    All,
    /// Where it begins and ends, which `span` must confirm once it is sealed. Each record is checked when
    /// it is read, and whether all of them are is a question for `sortd verify`.
    Ends,
    /// Whatever is found, from where it begins to where it ends or to where it should end: for an examination.
    Found,
}

/// What reading through a day found.
pub(super) struct Tally {
    pub last_seq: u64,
    pub last_event: u64,
    pub last_tick: Tick,
    pub last_link: Option<Link>,
}

impl Day {
    /// A new day in a new directory, which goes on with the chain behind `before`.
    pub fn create(days: &Path, name: &str, begin: Begin, before: Link, cache: u64) -> Result<Day, DayError> {
        let path = days.join(name);
        let day = || {
            let db = open_sled(&path, cache, name)?;
            let head = encode_head(begin, Some(before));
            guarded(name, || db.insert(keys::HEAD, head))?;
            let blocks = Blocks::open(&db, begin, name)?;
            Ok((db, blocks, open_file(&path, name)?))
        };
        let (db, blocks, file) = day()?;
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
            chained: Some(Chained { blocks, links: Mutex::new(Links { before, last: before }) }),
            examined: false,
        })
    }

    /// Opens a day and reads as much of it as told. `None`: it never got a first record. A day is called damaged
    /// only for what its log holds: sled's shortcut into it is dropped first, where it is in doubt.
    pub fn open(days: &Path, name: &str, cache: u64, read: Read) -> Result<Option<Day>, DayError> {
        let path = days.join(name);
        shortcut::sweep(&path);
        match Day::open_as_is(days, name, cache, read) {
            Err(DayError::Damaged { what, .. }) if shortcut::set_aside(&path) => {
                tracing::info!(day = name, why = what, "the day is opened again, from its log alone");
                match Day::open_as_is(days, name, cache, read)? {
                    // There is no shortcut into a log that never held anything.
                    None => Err(damaged(name, what)),
                    again => {
                        shortcut::drop_aside(&path);
                        Ok(again)
                    }
                }
            }
            // Opening writes a new shortcut, for which a full disk may have no room.
            Err(DayError::Disk { .. }) if space::is_full(&path) && shortcut::give_up(&path) => {
                Day::open_as_is(days, name, cache, read)
            }
            opened => opened,
        }
    }

    /// Opens a day with whatever stands beside its log.
    pub fn open_as_is(days: &Path, name: &str, cache: u64, read: Read) -> Result<Option<Day>, DayError> {
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
            let empty = guarded(name, || db.first())?.is_none() && is_bare(&db, name)?;
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
        let (tally, chained) = match before {
            Some(before) => {
                let blocks = Blocks::open(&db, begin, name)?;
                let tally = match read {
                    Read::All => blocks.verify(begin, before)?,
                    Read::Ends => blocks.glance(begin, before)?,
                    Read::Found => blocks.found(begin, before),
                };
                let last = tally.last_link.unwrap_or(before);
                (tally, Some(Chained { blocks, links: Mutex::new(Links { before, last }) }))
            }
            None if read == Read::All => (catch(name, || layout1::verify(&db, begin, name))??, None),
            None => (catch(name, || layout1::glance(&db, begin, name))??, None),
        };
        let whole = read != Read::Found;
        if whole && span.is_some_and(|span| span.sealed.is_none()) && tally.last_seq < begin.first_seq {
            return Err(damaged(name, "it opens without records, but some were written".to_owned()));
        }
        let ends = Sealed { last_seq: tally.last_seq, last_event: tally.last_event, link: tally.last_link };
        if let Some(sealed) = span.and_then(|span| span.sealed)
            && sealed != ends
            && whole
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
            chained,
            examined: read == Read::Found,
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
        let chained = self.chained.as_ref()?;
        Some(*chained.links.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn last_tick(&self) -> Tick {
        Tick(self.last_tick.load(Ordering::Acquire))
    }

    pub fn is_empty(&self) -> bool {
        self.last_seq.load(Ordering::Acquire) < self.begin.first_seq
    }

    /// Makes a batch durable. Doing it again with the same records changes nothing, however they are divided
    /// into batches, so what became of one that is unknown is simply given again.
    pub fn commit(&self, batch: &Batch) -> Result<(), DayError> {
        let Some(chained) = &self.chained else {
            return Err(disk(&self.name, &"nothing is written to a day of layout 1"));
        };
        if !batch.runs().is_empty() {
            let mut runs = sled::Batch::default();
            batch.runs().iter().for_each(|(seq, bytes)| add_run(&mut runs, *seq, bytes));
            guarded(&self.name, || self.db.apply_batch(runs))?;
        }
        let staged = chained.blocks.write(self.begin, batch)?;
        self.sync()?;
        chained.blocks.publish(staged);
        let first = self.is_empty();
        if let Some(event) = batch.last_event() {
            self.last_event.fetch_max(event, Ordering::Release);
        }
        if let Some(last) = batch.records().last() {
            self.last_tick.store(last.at.0, Ordering::Release);
            chained.links.lock().unwrap_or_else(PoisonError::into_inner).last = batch.link();
            self.last_seq.fetch_max(last.seq, Ordering::Release);
        }
        if first {
            self.write_span(false)?;
        }
        Ok(())
    }

    /// Forgets what was written behind record `durable`: whether it is on the disk is not known, so it is
    /// written once more.
    pub fn rewind(&self, durable: u64) -> Result<(), DayError> {
        let Some(chained) = &self.chained else { return Ok(()) };
        let last = self.last_seq.load(Ordering::Acquire);
        if durable < last {
            let (last_event, link) = chained.blocks.rewind(durable)?;
            self.last_event.store(last_event, Ordering::Release);
            self.last_seq.store(durable.max(self.begin.first_seq - 1), Ordering::Release);
            let mut links = chained.links.lock().unwrap_or_else(PoisonError::into_inner);
            links.last = link.unwrap_or(links.before);
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
        self.write_span(true)?;
        // A day without it is only slower to look into; the first who does makes it.
        if let Err(error) = self.write_index() {
            tracing::debug!(day = %self.name, %error, "index not written");
        }
        Ok(())
    }

    /// Writes the file that says where codes and passes are mentioned, out of the records. What is mentioned is
    /// known, too, where the file cannot be written.
    pub fn write_index(&self) -> Result<Vec<Mention>, DayError> {
        let mentions = match &self.chained {
            Some(chained) => chained.blocks.mentions(self.begin)?,
            None => catch(&self.name, || layout1::mentions(&self.db, self.begin, &self.name))??,
        };
        let span = self.span();
        // A day without it is only slower to look into; the next one who does makes it.
        if !self.examined
            && let Err(error) =
                index::write(&index_path(&self.path), span.begin.first_seq, span.last_seq, &mentions)
        {
            tracing::debug!(day = %self.name, %error, "index not written");
        }
        Ok(mentions)
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
            let chunks = self.prefixed(&keys::snapshot(seq, 0)[..9], usize::from(u16::MAX))?;
            if let Some(bytes) = whole_snapshot(&chunks) {
                return Ok(Some((seq, bytes)));
            }
            before = keys::snapshot(seq, 0);
        }
    }

    /// The snapshot after record `seq`, if it is whole.
    pub fn snapshot(&self, seq: u64) -> Result<Option<Vec<u8>>, DayError> {
        let chunks = self.prefixed(&keys::snapshot(seq, 0)[..9], usize::from(u16::MAX))?;
        Ok(whole_snapshot(&chunks))
    }

    /// Durable records from `from` on, at most `max`.
    pub fn records(&self, from: u64, max: usize) -> Result<Vec<Record>, DayError> {
        let mut found = Vec::new();
        self.walk(from, max, |seq, frame| {
            let record = record::decode(frame).map_err(|error| broken(&self.name, seq, &error))?;
            if record.seq != seq {
                return Err(damaged(&self.name, format!("record {} under number {seq}", record.seq)));
            }
            found.push(record);
            Ok(())
        })?;
        Ok(found)
    }

    /// One record that must be there.
    pub fn record(&self, seq: u64) -> Result<Record, DayError> {
        let missing = || damaged(&self.name, format!("record {seq} is missing"));
        self.records(seq, 1)?.pop().filter(|record| record.seq == seq).ok_or_else(missing)
    }

    /// Durable frames from `from` on, at most `max`, as they are found, up to the first that cannot be read: where
    /// it is that one, it is an error.
    pub fn frames(&self, from: u64, max: usize) -> Result<Vec<Frame>, DayError> {
        let mut found = Vec::new();
        let walked = self.walk(from, max, |seq, frame| {
            found.push(Frame { seq, bytes: frame.to_vec() });
            Ok(())
        });
        match walked {
            Err(error) if found.is_empty() => Err(error),
            Ok(()) | Err(_) => Ok(found),
        }
    }

    /// The first record from `from` on that can be read.
    pub fn legible_from(&self, from: u64) -> Option<u64> {
        let span = self.span();
        let from = from.max(span.begin.first_seq);
        match &self.chained {
            Some(chained) => chained.blocks.legible_from(from, span.last_seq),
            None => (from..=span.last_seq).find(|seq| layout1::frame(&self.db, *seq, &self.name).is_ok()),
        }
    }

    /// Records that were passed over when the day was looked through for what it mentions: first and last of each
    /// stretch.
    pub fn unread(&self) -> Vec<(u64, u64)> {
        self.chained.as_ref().and_then(|chained| chained.blocks.unread()).unwrap_or_default()
    }

    fn walk(
        &self,
        from: u64,
        max: usize,
        mut take: impl FnMut(u64, &[u8]) -> Result<(), DayError>,
    ) -> Result<(), DayError> {
        let span = self.span();
        let first = from.max(span.begin.first_seq);
        let last = span.last_seq.min(first.saturating_add(max as u64).saturating_sub(1));
        if max == 0 || first > last {
            return Ok(());
        }
        match &self.chained {
            Some(chained) => chained.blocks.frames(first, last, |seq, frame| take(seq, frame).map(|()| true)),
            None => (first..=last).try_for_each(|seq| take(seq, &layout1::frame(&self.db, seq, &self.name)?)),
        }
    }

    /// Durable milestones after `after`, at most `max`.
    pub fn milestones(&self, after: u64, max: usize) -> Result<Vec<Record>, DayError> {
        let span = self.span();
        let first = span.begin.first_event.max(after + 1);
        match &self.chained {
            Some(chained) => {
                chained.blocks.milestones(self.begin, first, span.last_event, span.last_seq, max)
            }
            None => layout1::milestones(&self.db, first, span.last_event, max, &self.name),
        }
    }

    /// Numbers of the durable records that mention this, newest first, at most `max`. Some may mention
    /// something else with the same hash.
    pub fn find(&self, hash: u32, max: usize) -> Result<Vec<u64>, DayError> {
        let span = self.span();
        if let Some(chained) = self.chained.as_ref().filter(|_| self.examined)
            && chained.blocks.unread().is_none()
        {
            chained.blocks.index_legible(self.begin, span.last_seq)?;
        }
        let found = match self.chained.as_ref().and_then(|chained| chained.blocks.find(hash, max)) {
            Some(found) => found,
            None => match find_sealed(&self.path, &span, hash, max) {
                Ok(found) => return Ok(found),
                Err(IndexError::Io(_) | IndexError::Damaged(_)) => {
                    let mentions = self.write_index()?;
                    let here = mentions.into_iter().filter(|mention| mention.0 == hash);
                    let mut found: Vec<u32> = here.map(|mention| mention.1).collect();
                    found.sort_unstable_by(|a, b| b.cmp(a));
                    found.dedup();
                    found.truncate(max);
                    found
                }
            },
        };
        let numbers = found.into_iter().map(|offset| span.begin.first_seq + u64::from(offset));
        Ok(numbers.filter(|seq| *seq <= span.last_seq).collect())
    }

    /// The start of the run a record belongs to.
    pub fn run_before(&self, seq: u64) -> Result<Option<(Record, Vec<u8>)>, DayError> {
        let range = keys::run(0)..=keys::run(seq);
        let found = guarded(&self.name, || self.db.range(range.clone()).next_back().transpose())?;
        // The key found may be a further part of a long one.
        let Some((key, _)) = found else { return Ok(None) };
        let at = number(&key[1..]);
        let parts = self.prefixed(&keys::run(at), usize::from(u8::MAX))?;
        let bytes: Vec<u8> = parts.iter().flat_map(|(_, part)| part.iter().copied()).collect();
        let record = record::decode(&bytes).map_err(|error| broken(&self.name, at, &error))?;
        Ok(Some((record, bytes)))
    }

    /// The record that names the configuration of the run in force at the end, with the number of its start.
    /// `None`: none names it, or it cannot be read, and replay looks for one that is alike.
    pub fn configured_at_end(&self) -> Option<(u64, Vec<u8>)> {
        let (run, _) = self.run_before(u64::MAX).ok().flatten()?;
        let found = if run.seq < self.begin.first_seq {
            guarded(&self.name, || self.db.get(keys::configured(run.seq))).ok()?.map(|bytes| bytes.to_vec())
        } else {
            let behind = self.frames(run.seq + 1, CONFIGURED_WITHIN).ok()?;
            let named = |frame: &Frame| frame.record().is_ok_and(|record| configured(&record).is_some());
            behind.into_iter().find(named).map(|frame| frame.bytes)
        };
        Some((run.seq, found?))
    }

    /// Carries such a record into this day; durable with its first records.
    pub fn carry_configured(&self, run: u64, frame: &[u8]) -> Result<(), DayError> {
        guarded(&self.name, || self.db.insert(keys::configured(run), frame)).map(|_| ())
    }

    /// Name of the configuration of the run that record `run` began, if the day carries it.
    pub fn configured(&self, run: u64) -> Result<Option<String>, DayError> {
        let found = guarded(&self.name, || self.db.get(keys::configured(run)))?;
        let Some(bytes) = found else { return Ok(None) };
        let record = record::decode(&bytes).map_err(|error| broken(&self.name, run, &error))?;
        Ok(configured(&record).map(str::to_owned))
    }

    /// Damages the day as a lost page would.
    #[cfg(test)]
    pub fn lose_record(&self, seq: u64) {
        self.chained.as_ref().unwrap().blocks.lose(seq);
    }

    fn prefixed(&self, prefix: &[u8], max: usize) -> Result<Vec<Pair>, DayError> {
        guarded(&self.name, || self.db.scan_prefix(prefix).take(max).collect())
    }
}

/// The configuration that a record names.
fn configured(record: &Record) -> Option<&str> {
    match &record.body {
        Body::Input(Input::Event(Event::Configured { hash })) => Some(hash),
        Body::Input(_) | Body::Fact(_) => None,
    }
}

/// Numbers of the records of a sealed day that mention this, newest first, out of its index file.
pub(super) fn find_sealed(path: &Path, span: &Span, hash: u32, max: usize) -> Result<Vec<u64>, IndexError> {
    let first = span.begin.first_seq;
    let found = index::find(&index_path(path), first, span.last_seq, hash, max)?;
    let numbers = found.into_iter().map(|offset| first + u64::from(offset));
    Ok(numbers.filter(|seq| *seq <= span.last_seq).collect())
}

fn index_path(path: &Path) -> PathBuf {
    path.join("index")
}

type Pair = (sled::IVec, sled::IVec);

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

pub(super) fn broken(name: &str, seq: u64, error: &record::DecodeError) -> DayError {
    damaged(name, format!("record {seq}: {error}"))
}

pub(super) fn damaged(day: &str, what: String) -> DayError {
    DayError::Damaged { day: day.to_owned(), what }
}

pub(super) fn disk(day: &str, what: &dyn std::fmt::Display) -> DayError {
    DayError::Disk { day: day.to_owned(), what: what.to_string() }
}

/// Whether no tree of the day was ever begun.
fn is_bare(db: &sled::Db, name: &str) -> Result<bool, DayError> {
    catch(name, || db.tree_names().len() == 1)
}
