//! The journal's public face: starting it, handing records to it, ending it.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::anchor_reader::AnchorReader;
use super::commit::Commits;
use super::farewell;
use super::inflight::{Log, Resume};
use super::opening::Opening;
use super::reader::Reader;
use super::shelf::Shelf;
use super::slip::SlipError;
use super::space::{self, Space};
use super::status::{JournalState, JournalStatus, StatusCell};
use super::writer::{Item, Writer};
use super::{DurableListener, JournalSettings, Numbered, QUEUE_CAPACITY};
use crate::line::event::DayDeleted;

/// The lock of a process that was killed is held until the kernel has taken it apart, and a child between fork and
/// exec holds what its parent did: a quarter of a second of patience tells them from a second daemon.
const LOCK_TRIES: u32 = 25;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Why the journal does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process writes to this store.
    #[error("{path} is held by another process: a store has one writer")]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// Somebody put a link in the place of the lock.
    #[error("{path} is a symbolic link, which sortd never makes and does not follow: remove it")]
    LockIsLink {
        /// The lock file.
        path: PathBuf,
    },
    /// The directory cannot be used.
    #[error("{0}; {remedy}", remedy = .0.remedy())]
    Directory(#[from] SlipError),
    /// No thread could be started.
    #[error("the journal thread cannot be started: {0}")]
    Thread(std::io::Error),
}

/// Why a record was not taken. It is given back: nothing is dropped here.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AppendError {
    /// The queue is full.
    #[error("the queue of {QUEUE_CAPACITY} records is full at record {}", .0.seq)]
    Full(Box<Numbered>),
    /// The journal thread has ended.
    #[error("the journal is closed at record {}", .0.seq)]
    Closed(Box<Numbered>),
}

/// The running journal; [`Journal::finish`] ends it.
#[derive(Debug)]
pub struct Journal {
    thread: JoinHandle<()>,
    closing: Arc<AtomicBool>,
    handle: JournalHandle,
}

/// Hands records to the journal thread and shows how far it has come. Cheap to clone.
#[derive(Debug, Clone)]
pub struct JournalHandle {
    queue: Sender<Item>,
    durable: Arc<AtomicU64>,
    status: Arc<StatusCell>,
    shelf: Arc<Shelf>,
    anchors: AnchorReader,
    deletions: Receiver<DayDeleted>,
}

impl Journal {
    /// Starts the journal thread; the store opens behind it. With `resume`, what [`super::inflight_resume`]
    /// gave and the line has gone on with, records may be appended at once, from `resume.last_seq + 1`.
    /// Without, the line waits for [`Opening::wait`] and numbers on from there.
    pub fn start(
        settings: JournalSettings,
        resume: Option<&Resume>,
        listener: Box<dyn DurableListener>,
    ) -> Result<(Journal, JournalHandle, Opening), StartError> {
        let directory = settings.directory.clone();
        std::fs::create_dir_all(&directory).map_err(|source| SlipError::at(&directory, source))?;
        let lock = lock(&directory)?;
        space::make_way(&settings);
        let log = resume.map(|resume| Log::go_on(&directory, resume)).transpose()?;

        let (queue, items) = bounded(QUEUE_CAPACITY);
        let (opened, opening) = bounded(1);
        let status = Arc::new(StatusCell::default());
        let board = settings.board.clone();
        let shelf = Arc::new(Shelf::new(directory, settings.cache_bytes(), board, Arc::clone(&status)));
        let durable = Arc::new(AtomicU64::new(0));
        let closing = Arc::new(AtomicBool::new(false));
        let heard = Arc::new(AtomicU64::new(0));
        let anchors = AnchorReader::new(settings.directory.clone(), Arc::clone(&heard));
        let (farewell, deletions) = farewell::channel(settings.deletions_recorded);
        let handle = JournalHandle { queue, durable, status, shelf, anchors, deletions };
        let commits = Commits::start().map_err(StartError::Thread)?;
        let writer = Writer::new(
            settings,
            items,
            commits,
            Arc::clone(&handle.shelf),
            Arc::clone(&handle.status),
            Arc::clone(&handle.durable),
            Arc::clone(&closing),
            listener,
            resume.map(|resume| resume.last_seq),
            log,
            opened,
            heard,
            farewell,
        );
        let run = move || {
            // Held as long as the thread lives.
            let _lock = lock;
            writer.run();
        };
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(run);
        let thread = thread.map_err(StartError::Thread)?;
        Ok((Journal { thread, closing, handle: handle.clone() }, handle, Opening { opened: opening }))
    }

    /// Makes everything handed over durable, writes the checkpoint and the last snapshot, and ends the
    /// thread. A disk that does not take them is given five seconds; what is not durable then was never
    /// acknowledged. Nothing may be appended while this runs.
    pub fn finish(self) -> JournalStatus {
        self.closing.store(true, Ordering::Release);
        // Wakes the thread if it sleeps; if the queue is full it is awake.
        let _ = self.handle.queue.try_send(Item::Wake);
        if self.thread.join().is_err() {
            self.handle.status.change(|status| {
                status.state = JournalState::Stalled("the journal thread panicked".to_owned());
            });
        }
        self.handle.status()
    }
}

impl JournalHandle {
    /// Hands over the next record; never waits.
    pub fn append(&self, numbered: Numbered) -> Result<(), AppendError> {
        self.queue.try_send(Item::Record(numbered)).map_err(|error| match error {
            TrySendError::Full(Item::Record(numbered)) => AppendError::Full(Box::new(numbered)),
            TrySendError::Disconnected(Item::Record(numbered)) => AppendError::Closed(Box::new(numbered)),
            TrySendError::Full(_) | TrySendError::Disconnected(_) => {
                unreachable!("the channel gives back the record that was sent")
            }
        })
    }

    /// Hands over the core's state after record `seq`, which must be the last one appended. `false`: the
    /// queue is full, offer a later one.
    pub fn snapshot(&self, seq: u64, bytes: Vec<u8>) -> bool {
        self.queue.try_send(Item::Snapshot { seq, bytes }).is_ok()
    }

    /// Records the queue still takes. When it runs low the line stops taking events from the PLC.
    pub fn room(&self) -> usize {
        QUEUE_CAPACITY.saturating_sub(self.queue.len())
    }

    /// Records that wait for the journal thread.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Room on the disk. Without it, no more parcels are asked for.
    pub fn space(&self) -> Space {
        self.status.space()
    }

    /// Whether something may be stored that no promise hangs on: a copy of a photo, a bundle. Where it may not, that
    /// is counted as left out.
    pub fn may_store_extra(&self) -> bool {
        let may = self.space() == Space::Plenty;
        if !may {
            self.status.change(|status| status.extras_left_out += 1);
        }
        may
    }

    /// Durable up to this record; 0 while the store opens.
    pub fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// State and counters.
    pub fn status(&self) -> JournalStatus {
        self.status.get()
    }

    #[cfg(test)]
    pub(super) fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// Days that retention is about to delete. Whoever takes them has each recorded by the core
    /// ([`Event::DayDeleted`]); with [`JournalSettings::deletions_recorded`] a day goes only when that is durable.
    ///
    /// [`Event::DayDeleted`]: crate::line::event::Event::DayDeleted
    pub fn deletions(&self) -> Receiver<DayDeleted> {
        self.deletions.clone()
    }

    /// Reads the signed anchors.
    pub fn anchors(&self) -> AnchorReader {
        self.anchors.clone()
    }

    /// Reads what is durable.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shelf))
    }
}

/// Takes the lock of a store for its one writer. Whatever stands there is only locked: nothing is cut, and a link
/// that someone put in its place is not followed.
fn lock(directory: &Path) -> Result<File, StartError> {
    let path = directory.join("lock");
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let open = File::options().write(true).create(true).truncate(false).custom_flags(flags).open(&path);
    let file = open.map_err(|source| match source.raw_os_error() {
        Some(errno) if errno == Errno::LOOP.raw_os_error() => StartError::LockIsLink { path: path.clone() },
        Some(_) | None => SlipError::at(&path, source).into(),
    })?;
    for _ in 0..LOCK_TRIES {
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
            Err(error) => return Err(SlipError::at(&path, error.into()).into()),
        }
    }
    Err(StartError::InUse { path })
}
