//! A store that no daemon writes to: a copy, or one whose daemon has been stopped.
//!
//! The days are read as the journal left them; what only the in-flight log holds was never acknowledged and
//! is not read. A day that is not what was written is an error here and stays where it is: whoever looks at
//! a copy must not change the evidence.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::day::{self, Begin, Day, DayError, Span};
use super::recording::RecordingError;
use super::shelf::Shelf;
use super::status::StatusCell;
use super::{ReadError, Reader};
use crate::watch::Board;

/// Cache of one day: it is read through once, in order.
const CACHE_BYTES: u64 = 16 << 20;

/// An open copy; its [`Reader`] is a [`super::Recording`].
#[derive(Debug)]
pub struct StoreCopy {
    reader: Reader,
    /// No daemon may begin to write here meanwhile.
    _lock: Option<File>,
}

impl StoreCopy {
    /// Opens the store in `directory`.
    ///
    /// # Errors
    ///
    /// A daemon writes to it, there are no days in it, or they are damaged.
    pub fn open(directory: &Path) -> Result<StoreCopy, RecordingError> {
        let days = directory.join("days");
        if !days.is_dir() {
            return Err(RecordingError::NoStore(directory.to_owned()));
        }
        let lock = lock(directory)?;
        let mut spans = Vec::new();
        for name in names(&days)? {
            let sealed = day::read_span(&days.join(&name)).ok().flatten();
            let sealed = sealed.and_then(|slip| slip.sealed.map(|last| (slip.begin, last)));
            match sealed {
                Some((begin, (last_seq, last_event))) => spans.push(span(&name, begin, last_seq, last_event)),
                None => {
                    // Only reading it tells how far it goes; the daemon reads it so, too.
                    let day = Day::open(&days, &name, CACHE_BYTES).map_err(unreadable)?;
                    spans.extend(day.filter(|day| !day.is_empty()).map(|day| day.span()));
                }
            }
        }
        spans.sort_by_key(|span| span.begin.first_seq);
        if spans.is_empty() {
            return Err(RecordingError::NoStore(directory.to_owned()));
        }
        let (board, status) = (Board::default(), Arc::new(StatusCell::default()));
        let shelf = Shelf::new(directory.to_owned(), CACHE_BYTES, board, status);
        shelf.ready(spans, None);
        Ok(StoreCopy { reader: Reader::of_copy(Arc::new(shelf)), _lock: lock })
    }

    /// Reads it.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }
}

fn span(name: &str, begin: Begin, last_seq: u64, last_event: u64) -> Span {
    Span { name: name.to_owned(), begin, last_seq, last_event }
}

fn lock(directory: &Path) -> Result<Option<File>, RecordingError> {
    // A copy need not have it, and one on a medium that cannot be written has no writer.
    let Ok(file) = File::open(directory.join("lock")) else { return Ok(None) };
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(RecordingError::InUse(directory.to_owned())),
        Err(_) => Ok(None),
    }
}

fn names(days: &Path) -> Result<Vec<String>, RecordingError> {
    let failed = |error: std::io::Error| unreadable(day::disk("days", &error));
    let mut names = Vec::new();
    for entry in std::fs::read_dir(days).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().into_string();
        names.extend(name.ok().filter(|name| super::retention::parse_day(name).is_some()));
    }
    names.sort();
    Ok(names)
}

fn unreadable(error: DayError) -> RecordingError {
    RecordingError::Read(ReadError::from(error))
}
