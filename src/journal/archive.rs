//! A copy of a store, looked into without a daemon.
//!
//! Nothing is written by us, moved or put aside, whatever is damaged; sled writes its own housekeeping into
//! the copy, so the copy must be writable. The lock of the store is held meanwhile: a live store has one
//! writer, its daemon, which answers the same questions through its socket.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::day::{self, Day, DayError, Read, Span};
use super::handle::{StartError, lock};
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
    _lock: File,
}

impl Archive {
    /// Opens the copy in `directory`. Days that cannot be opened are left out and named in
    /// [`Archive::damaged`].
    pub fn open(directory: &Path) -> Result<Archive, ArchiveError> {
        let days = directory.join("days");
        if !days.is_dir() {
            return Err(ArchiveError::NoStore { path: directory.to_owned() });
        }
        let lock = lock(directory).map_err(|error| match error {
            StartError::InUse { path } => ArchiveError::InUse { path },
            StartError::Directory(error) => ArchiveError::Directory(error),
            StartError::Thread(source) => ArchiveError::Directory(SlipError::at(directory, source)),
        })?;
        let failed = |source| ArchiveError::Directory(SlipError::at(&days, source));
        let (mut spans, mut damaged) = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(&days).map_err(failed)? {
            let Ok(name) = entry.map_err(failed)?.file_name().into_string() else { continue };
            match span(&days, &name) {
                Ok(span) => spans.extend(span),
                Err(DayError::Damaged { day, what }) => damaged.push((day, what)),
                Err(DayError::Disk { day, what }) => return Err(ArchiveError::Disk { day, what }),
            }
        }
        spans.sort_by_key(|span| span.begin.first_seq);
        damaged.sort();
        let shelf = Shelf::of_archive(directory.to_owned(), CACHE_BYTES, spans);
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

    /// Where the copy is: beside the days, `anchors/` and `configs/` are in it.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// What a day holds; `None` where it never got a record, or is no day.
fn span(days: &Path, name: &str) -> Result<Option<Span>, DayError> {
    if super::retention::parse_day(name).is_none() {
        return Ok(None);
    }
    let slip = day::read_span(&days.join(name)).ok().flatten();
    match slip.and_then(|slip| Some((slip.begin, slip.sealed?))) {
        Some((begin, sealed)) => Ok(Some(Span {
            name: name.to_owned(),
            begin,
            last_seq: sealed.last_seq,
            last_event: sealed.last_event,
        })),
        None => {
            let day = Day::open(days, name, CACHE_BYTES, Read::Ends)?;
            Ok(day.filter(|day| !day.is_empty()).map(|day| day.span()))
        }
    }
}
