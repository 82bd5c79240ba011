//! The days that are known, and the at most two that are open: the one that is written, and one more for
//! whoever reads. A third is open only while a read that began before a roll-over ends.
//!
//! The journal thread takes the lock of the shelf only when a day begins or ends; readers only to take a
//! reference. Opening a day happens under a lock that the journal thread never takes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use super::day::{self, Day, DayError, Read, Span};
use super::facsimile;
use super::frame::DaySpan;
use super::gone;
use super::quarantine::{self, Quarantined};
use super::status::StatusCell;
use crate::watch::Board;

/// Days of the store.
#[derive(Debug)]
pub(super) struct Shelf {
    directory: PathBuf,
    cache: u64,
    /// What is damaged stays where it is: this is a copy that someone looks into.
    archive: bool,
    board: Board,
    status: Arc<StatusCell>,
    days: RwLock<Days>,
    /// Days opened for reading, as long as anyone holds them: sled opens a Db once only.
    lent: Mutex<Vec<(String, Weak<Day>)>>,
    suspect: AtomicBool,
    /// Records of an archive that could not be read, though they may be what was asked for: first and last.
    unread: Mutex<BTreeSet<(u64, u64)>>,
    /// Days of an archive that had to be gathered from what is left of them, and why.
    gathered: Mutex<BTreeMap<String, String>>,
}

#[derive(Debug, Default)]
struct Days {
    ready: bool,
    sealed: Vec<Span>,
    current: Option<Arc<Day>>,
    other: Option<Arc<Day>>,
    /// The last day of an archive, which has no index and so is asked each time: opened once.
    pinned: Option<Arc<Day>>,
}

impl Shelf {
    pub fn new(directory: PathBuf, cache: u64, board: Board, status: Arc<StatusCell>) -> Shelf {
        Shelf {
            directory,
            cache,
            archive: false,
            board,
            status,
            days: RwLock::default(),
            lent: Mutex::default(),
            suspect: AtomicBool::new(false),
            unread: Mutex::default(),
            gathered: Mutex::default(),
        }
    }

    /// The days of a copy, none of which is ever written or moved.
    pub fn of_archive(directory: PathBuf, cache: u64, spans: Vec<Span>, open: Option<Day>) -> Shelf {
        let mut shelf = Shelf::new(directory, cache, Board::default(), Arc::default());
        shelf.archive = true;
        shelf.ready(spans, None);
        shelf.change(|days| days.pinned = open.map(Arc::new));
        shelf
    }

    /// The store's directory.
    pub fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    /// The store is open.
    pub fn ready(&self, sealed: Vec<Span>, current: Option<Day>) {
        let current = current.map(Arc::new);
        self.change(|days| *days = Days { ready: true, sealed, current, ..Days::default() });
    }

    /// The store is closed, or to be opened again: every Db is let go.
    pub fn close(&self) {
        drop(self.change(std::mem::take));
    }

    /// The current day is sealed, and no other begins yet.
    pub fn retire_current(&self) {
        let closed = self.change(|days| {
            let before = days.current.take();
            days.sealed.extend(before.iter().filter(|day| !day.is_empty()).map(|day| day.span()));
            std::mem::replace(&mut days.other, before)
        });
        drop(closed);
    }

    pub fn is_ready(&self) -> bool {
        self.look(|days| days.ready)
    }

    pub fn current(&self) -> Option<Arc<Day>> {
        self.look(|days| days.current.clone())
    }

    /// Every day, oldest first.
    pub fn spans(&self) -> Vec<Span> {
        self.look(|days| {
            let current = days.current.iter().filter(|day| !day.is_empty()).map(|day| day.span());
            days.sealed.iter().cloned().chain(current).collect()
        })
    }

    /// Every day with its links, oldest first. Those of a sealed day are read from its `span`; where that is
    /// damaged the day is opened, which repeats what it said.
    pub fn day_spans(&self) -> Result<Vec<DaySpan>, DayError> {
        let (sealed, current) = self.look(|days| (days.sealed.clone(), days.current.clone()));
        let mut found = Vec::new();
        let last = sealed.len();
        for (n, span) in (1..).zip(sealed) {
            let slip = day::read_span(&self.directory.join("days").join(&span.name)).ok().flatten();
            let (links, sealed) = match slip {
                Some(slip) if slip.sealed.is_some() => (slip.links(), true),
                // The last day of a copy, or a damaged slip.
                Some(_) | None => (self.day(&span.name)?.links(), !self.archive || n < last),
            };
            found.push(DaySpan::new(span, links, sealed));
        }
        let current = current.filter(|day| !day.is_empty());
        found.extend(current.map(|day| DaySpan::new(day.span(), day.links(), false)));
        Ok(found)
    }

    /// `day` is written from now on; the one before is sealed already, and stays open.
    pub fn roll(&self, day: Day) {
        let day = Arc::new(day);
        let closed = self.change(|days| {
            let before = days.current.replace(day);
            days.sealed.extend(before.iter().filter(|day| !day.is_empty()).map(|day| day.span()));
            std::mem::replace(&mut days.other, before)
        });
        // Closing a Db writes; nobody shall wait for it at the shelf.
        drop(closed);
    }

    /// Takes the current day off, so that it can be opened anew or put aside.
    pub fn take_current(&self) -> Option<Arc<Day>> {
        self.change(|days| days.current.take())
    }

    /// Puts it back.
    pub fn put_current(&self, day: Day) {
        let day = Arc::new(day);
        self.change(|days| days.current = Some(day));
    }

    /// Forgets a sealed day; `false` where somebody reads it, or may be about to, and it stays. Waits for nobody:
    /// the journal thread asks.
    pub fn forget(&self, name: &str) -> bool {
        let Ok(lent) = self.lent.try_lock() else { return false };
        // Open and read by nobody is no reason to stay: without another reader it would be so for ever.
        let idle = |day: &mut Arc<Day>| day.name() == name && Arc::strong_count(day) == 1;
        drop(self.change(|days| days.other.take_if(idle)));
        let held = lent.iter().any(|(lent, day)| lent == name && day.strong_count() > 0);
        !held
            && self.change(|days| {
                let open = days.other.as_ref().is_some_and(|day| day.name() == name);
                if !open {
                    days.sealed.retain(|span| span.name != name);
                }
                !open
            })
    }

    /// A day to read from, opened if need be.
    pub fn day(&self, name: &str) -> Result<Arc<Day>, DayError> {
        if let Some(day) = self.open_day(name) {
            return Ok(day);
        }
        let mut lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(day) = self.open_day(name) {
            return Ok(day);
        }
        lent.retain(|(_, day)| day.strong_count() > 0);
        let held = lent.iter().find(|(held, _)| held == name).and_then(|(_, day)| day.upgrade());
        let day = match held {
            Some(day) => day,
            None => {
                // The slot is emptied first, so that there are never more than two.
                drop(self.change(|days| days.other.take()));
                let days = self.directory.join("days");
                let day = if self.archive {
                    self.facsimile(&days, name)?
                } else {
                    Day::open(&days, name, self.cache, Read::Ends)?
                };
                Arc::new(day.ok_or_else(|| super::day::damaged(name, "it opens empty".to_owned()))?)
            }
        };
        lent.push((name.to_owned(), Arc::downgrade(&day)));
        drop(self.change(|days| days.other.replace(Arc::clone(&day))));
        Ok(day)
    }

    /// Numbers of the durable records of a day that mention this, newest first, at most `max`; the day's Db
    /// is opened only where its index file cannot be used.
    pub fn find(&self, span: &Span, hash: u32, max: usize) -> Result<Vec<u64>, DayError> {
        if self.current().is_none_or(|day| day.name() != span.name) {
            let path = self.directory.join("days").join(&span.name);
            if let Ok(found) = day::find_sealed(&path, span, hash, max) {
                return Ok(found);
            }
        }
        let day = self.day(&span.name)?;
        let found = day.find(hash, max)?;
        day.unread().into_iter().for_each(|stretch| self.passed_over(stretch));
        Ok(found)
    }

    fn facsimile(&self, days: &std::path::Path, name: &str) -> Result<Option<Day>, DayError> {
        let span = self.look(|days| days.sealed.iter().find(|span| span.name == name).cloned());
        let found = facsimile::open(days, name, self.cache, span.map_or(0, |span| span.last_seq))?;
        found.gathered.into_iter().for_each(|why| self.was_gathered(name, why));
        Ok(found.day)
    }

    /// Notes that the records of a day were gathered from what is left of it.
    pub fn was_gathered(&self, name: &str, why: String) {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), why);
    }

    /// Days of a copy whose records had to be gathered so far, and why.
    pub fn gathered(&self) -> BTreeMap<String, String> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether these are the days of a copy, of which what can be read is read.
    pub fn is_archive(&self) -> bool {
        self.archive
    }

    /// Notes records that could not be read.
    pub fn passed_over(&self, stretch: (u64, u64)) {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).insert(stretch);
    }

    /// Records that could not be read so far, though they may be what was asked for.
    pub fn unread(&self) -> Vec<(u64, u64)> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    fn open_day(&self, name: &str) -> Option<Arc<Day>> {
        self.look(|days| {
            let open = days.current.iter().chain(&days.other).chain(&days.pinned);
            open.into_iter().find(|day| day.name() == name).cloned()
        })
    }

    /// A reader found `name` damaged. The current day is the journal thread's to look at; a sealed one is
    /// put aside here.
    pub fn report_damage(&self, name: &str, why: &str) {
        if self.archive {
            return;
        }
        let span = self.look(|days| days.sealed.iter().find(|span| span.name == name).cloned());
        let Some(span) = span else {
            self.suspect.store(true, Ordering::Release);
            return;
        };
        let _lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = self.change(|days| {
            days.sealed.retain(|span| span.name != name);
            days.other.take_if(|day| day.name() == name)
        });
        drop(closed);
        let path = self.directory.join("days").join(name);
        let moved_to = quarantine::put_aside(&self.directory, &path, name, why).unwrap_or_else(|error| {
            self.board.fault(super::DEVICE, "quarantine-failed", &error);
            None
        });
        let missing = Some((span.begin.first_seq, span.last_seq));
        let found = Quarantined { what: name.to_owned(), moved_to, why: why.to_owned(), missing };
        found.report(&self.directory, &self.board);
        gone::enter(&self.directory, &self.board, (span.begin.first_seq, span.last_seq));
        self.status.change(|status| status.quarantined.push(found));
    }

    /// Whether a reader found the current day damaged since this was last asked.
    pub fn take_suspicion(&self) -> bool {
        self.suspect.swap(false, Ordering::AcqRel)
    }

    fn look<T>(&self, look: impl FnOnce(&Days) -> T) -> T {
        look(&self.days.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Days) -> T) -> T {
        change(&mut self.days.write().unwrap_or_else(PoisonError::into_inner))
    }
}
