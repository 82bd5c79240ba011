//! The commit thread: it brings one batch after the other to the disk, and nothing else.
//!
//! ```text
//! journal thread:  take, in-flight log, prepare ──► waits ──► under way: apply, flush, sync ──► landed ──► told
//!                                          add to ◄──┘            commit thread
//! ```
//! - One batch is under way at most and one waits for it, so that the disk goes from one to the next without
//!   a pause. While it waits it can be withdrawn and given more records.
//! - Batches land in the order in which they were given.
//! - After one that failed no other is begun, until the journal thread has withdrawn what waits, has opened the
//!   store anew and says so ([`Commits::resume`]): after a failed sync a later one that succeeds says nothing
//!   about what the first one lost.
//! - The day is written by this thread while a batch is under way, and by the journal thread (snapshots,
//!   sealing) only when nothing is: the system tells an error of the disk once for each open file, and it must
//!   be told to whom it concerns.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::batch::Batch;
use super::day::{Day, DayError};
use super::guard::catch;

/// Batches given and not landed, at most: one under way, one that waits.
const OUT_MOST: usize = 2;

/// A batch that was under way, and what became of it.
#[derive(Debug)]
pub(super) struct Landed {
    pub batch: Batch,
    pub result: Result<(), DayError>,
}

/// What may be given to the disk next.
#[expect(clippy::large_enum_variant, reason = "it lives for one look, once a batch")]
#[derive(Debug)]
pub(super) enum Room {
    /// A new batch.
    Another,
    /// This one, which waited, with more records in it.
    More(Batch),
    /// Nothing before one has landed.
    Nothing,
}

/// The journal thread's end.
#[derive(Debug)]
pub(super) struct Commits {
    desk: Arc<Desk>,
    landed: Receiver<Landed>,
    /// Given, neither withdrawn nor landed.
    out: usize,
    thread: Option<JoinHandle<()>>,
}

/// What both threads share.
#[derive(Debug, Default)]
struct Desk {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Option<Job>,
    halted: bool,
    closed: bool,
}

#[derive(Debug)]
struct Job {
    day: Arc<Day>,
    batch: Batch,
}

impl Commits {
    pub fn start() -> std::io::Result<Commits> {
        let desk = Arc::new(Desk::default());
        let (tell, landed) = bounded(OUT_MOST);
        let shared = Arc::clone(&desk);
        let run = move || shared.run(&tell);
        let thread = std::thread::Builder::new().name("journal-commit".to_owned()).spawn(run)?;
        Ok(Commits { desk, landed, out: 0, thread: Some(thread) })
    }

    /// Nothing is under way, waits, or has landed without being received.
    pub fn is_idle(&self) -> bool {
        self.out == 0
    }

    /// Where batches land, to wait at.
    pub fn landing(&self) -> &Receiver<Landed> {
        &self.landed
    }

    /// The next one that has landed.
    pub fn landed(&mut self) -> Option<Landed> {
        let landed = self.landed.try_recv().ok()?;
        self.out -= 1;
        Some(landed)
    }

    /// Waits for the next one that lands; `None` where none is under way.
    pub fn wait(&mut self) -> Option<Landed> {
        if self.is_idle() {
            return None;
        }
        // The thread ends only when this is dropped.
        let landed = self.landed.recv().ok()?;
        self.out -= 1;
        Some(landed)
    }

    /// What may be given next. A batch that waits with fewer than `limit` records is withdrawn for it.
    pub fn room(&mut self, limit: usize) -> Room {
        let waiting = self.desk.lock().waiting.take_if(|job| job.batch.len() < limit);
        match waiting {
            Some(job) => {
                self.out -= 1;
                Room::More(job.batch)
            }
            None if self.out < OUT_MOST && self.desk.lock().waiting.is_none() => Room::Another,
            None => Room::Nothing,
        }
    }

    /// Takes back the batch that waits.
    pub fn withdraw(&mut self) -> Option<Batch> {
        let job = self.desk.lock().waiting.take()?;
        self.out -= 1;
        Some(job.batch)
    }

    /// Gives a batch of that day to the disk, once [`Commits::room`] has said that it may be given.
    pub fn give(&mut self, day: Arc<Day>, batch: Batch) {
        self.desk.lock().waiting = Some(Job { day, batch });
        self.desk.changed.notify_one();
        self.out += 1;
    }

    /// The store was opened anew; batches may be under way again.
    pub fn resume(&self) {
        self.desk.lock().halted = false;
        self.desk.changed.notify_one();
    }
}

impl Drop for Commits {
    fn drop(&mut self) {
        self.desk.lock().closed = true;
        self.desk.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // It catches what sled does; there is nothing of it left to lose.
            let _ = thread.join();
        }
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, tell: &Sender<Landed>) {
        let mut next = None;
        while let Some(Job { day, batch }) = next.take().or_else(|| self.next()) {
            let result = catch(day.name(), || day.commit(&batch)).and_then(|result| result);
            // Whoever hears of it may want to close the Db.
            drop(day);
            {
                let mut state = self.lock();
                state.halted |= result.is_err();
                // Before it is told, so that whoever hears of it finds room for another.
                next = if state.halted { None } else { state.waiting.take() };
            }
            if tell.send(Landed { batch, result }).is_err() {
                return;
            }
        }
    }

    /// Waits for a batch; `None` once the journal thread has closed the desk.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if !state.halted
                && let Some(job) = state.waiting.take()
            {
                return Some(job);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
#[path = "tests/commit.rs"]
mod tests;
