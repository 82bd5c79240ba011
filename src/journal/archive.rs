//! A copy of a store, looked into without a daemon.
//!
//! Nothing is written to it, moved or put aside, whatever is damaged: each day is opened as a [`facsimile`], so that
//! the copy may lie on a read-only medium or belong to somebody else. Where the store's lock can be opened it is
//! shared with others who look: a live store has one writer, its daemon, which answers the same questions through
//! its socket.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::day::{self, Day, DayError, Sealed, Span};
use super::facsimile;
use super::opening::Checkpoint;
use super::reader::Reader;
use super::shelf::Shelf;
use super::slip::SlipError;

/// Cache of each of the at most two Dbs that are open.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// Why a copy cannot be looked into.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// There is no store.
    #[error("{path} is no store: it has no directory `days`")]
    NoStore {
        /// As given.
        path: PathBuf,
    },
    /// A daemon writes to it.
    #[error(
        "{path} is held by a running sortd: ask it through its socket (without --store), or copy the store"
    )]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// The file system said no.
    #[error(transparent)]
    Directory(#[from] SlipError),
    /// The file system said no while a day was opened.
    #[error("day {day}: {what}")]
    Disk {
        /// Day.
        day: String,
        /// What it said.
        what: String,
    },
}

/// A store's copy, open for reading. [`Archive::reader`] reads everything a running journal gives.
#[derive(Debug)]
pub struct Archive {
    directory: PathBuf,
    reader: Reader,
    damaged: Vec<(String, String)>,
    /// Held as long as anyone looks.
    _lock: Option<File>,
}

impl Archive {
    /// Opens the copy in `directory`. Days that cannot be opened are left out and named in
    /// [`Archive::damaged`].
    pub fn open(directory: &Path) -> Result<Archive, ArchiveError> {
        let days = directory.join("days");
        if !days.is_dir() {
            return Err(ArchiveError::NoStore { path: directory.to_owned() });
        }
        let lock = share_lock(directory)?;
        let failed = |source| ArchiveError::Directory(SlipError::at(&days, source));
        let (mut spans, mut damaged, mut open, mut gathered) = (Vec::new(), Vec::new(), None, Vec::new());
        let checkpoint = Checkpoint::read(directory).ok().flatten();
        for entry in std::fs::read_dir(&days).map_err(failed)? {
            let Ok(name) = entry.map_err(failed)?.file_name().into_string() else { continue };
            match look(&days, &name, checkpoint) {
                Ok(Looked::Nothing) => {}
                Ok(Looked::Sealed(span)) => spans.push(span),
                Ok(Looked::Open(day, why)) => {
                    gathered.extend(why.map(|why| (name, why)));
                    spans.push(day.span());
                    open = Some(*day);
                }
                Err(DayError::Damaged { day, what }) => damaged.push((day, what)),
                Err(DayError::Disk { day, what }) => return Err(ArchiveError::Disk { day, what }),
            }
        }
        spans.sort_by_key(|span| span.begin.first_seq);
        damaged.sort();
        let shelf = Shelf::of_archive(directory.to_owned(), CACHE_BYTES, spans, open);
        gathered.into_iter().for_each(|(name, why)| shelf.was_gathered(&name, why));
        Ok(Archive {
            directory: directory.to_owned(),
            reader: Reader::new(Arc::new(shelf)),
            damaged,
            _lock: lock,
        })
    }

    /// Reads records, frames, milestones, stories and snapshots.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Days that cannot be opened, and why.
    pub fn damaged(&self) -> &[(String, String)] {
        &self.damaged
    }

    /// Days that sled could not open as they are, or not to their end, and why: their records were gathered from what
    /// is left of their files. Complete once everything has been read.
    pub fn gathered(&self) -> Vec<(String, String)> {
        self.reader.gathered().into_iter().collect()
    }

    /// Where the copy is: beside the days, `anchors/` and `configs/` are in it.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Takes the lock of a store together with others who look, and against its daemon. Where there is none, or none that
/// this user may open, there is nothing to take: sled's own lock on a day's Db tells a running daemon as well.
fn share_lock(directory: &Path) -> Result<Option<File>, ArchiveError> {
    let path = directory.join("lock");
    let Ok(file) = facsimile::plain_file(&path) else { return Ok(None) };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => Err(ArchiveError::InUse { path }),
        Ok(()) | Err(_) => Ok(Some(file)),
    }
}

/// What stands under a name.
enum Looked {
    /// No day, or one that never got a record.
    Nothing,
    /// Its `span` says everything.
    Sealed(Span),
    /// It had to be opened; gathered, and why, where it is not what it was.
    Open(Box<Day>, Option<String>),
}

fn look(days: &Path, name: &str, checkpoint: Option<Checkpoint>) -> Result<Looked, DayError> {
    if super::retention::parse_day(name).is_none() {
        return Ok(Looked::Nothing);
    }
    let slip = day::read_span(&days.join(name)).ok().flatten();
    if let Some((begin, sealed)) = slip.and_then(|slip| Some((slip.begin, slip.sealed?))) {
        let Sealed { last_seq, last_event, .. } = sealed;
        return Ok(Looked::Sealed(Span { name: name.to_owned(), begin, last_seq, last_event }));
    }
    // The day that was written last; its first record may lie behind the checkpoint, which is a second old.
    let begin = slip.map(|slip| slip.begin);
    let known_to = checkpoint.zip(begin).filter(|(checkpoint, begin)| checkpoint.epoch == begin.epoch);
    let known_to = known_to.map_or(0, |(checkpoint, _)| checkpoint.last_seq);
    let found = facsimile::open(days, name, CACHE_BYTES, known_to)?;
    let day = found.day.filter(|day| !day.is_empty());
    Ok(day.map_or(Looked::Nothing, |day| Looked::Open(Box::new(day), found.gathered)))
}
