//! The journal as the uplink sees it. Public for the benches, which drive the real one.
//!
//! A quarantined store begins a new epoch, but the days before it may hold milestones that upstream has
//! not acknowledged: the uplink asks for each epoch by its number and drains the older ones first.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::journal::{self, CursorStore, Cursors, JournalHandle, LiveRange, Reader, Record, SlipError};
use crate::line::event::Started;
use crate::uplink::milestones::{Cursor, Milestones, MilestonesError};
use crate::uplink::ranges::{Live, Ranges};

/// Runs kept in memory: the one in force, and those that an old backlog and a reader behind it are in.
const RUNS: usize = 4;

/// Reads milestones of the journal and keeps the uplink's cursors beside it.
#[derive(Debug)]
pub struct Upstream {
    reader: Reader,
    handle: JournalHandle,
    /// Moves when more is durable.
    durable: watch::Receiver<u64>,
    cursors: Mutex<CursorStore>,
    runs: Mutex<Vec<KnownRun>>,
}

/// A run and records that are known to belong to it: a run is unbroken, so all between two of them do.
#[derive(Debug)]
struct KnownRun {
    first: u64,
    last: u64,
    started: Arc<Started>,
}

impl Upstream {
    /// Over the journal in `directory`; `durable` moves when more is durable.
    pub fn new(
        handle: &JournalHandle,
        directory: &Path,
        durable: watch::Receiver<u64>,
    ) -> Result<Arc<Upstream>, SlipError> {
        Ok(Arc::new(Upstream {
            reader: handle.reader(),
            handle: handle.clone(),
            durable,
            cursors: Mutex::new(CursorStore::open(directory)?),
            runs: Mutex::default(),
        }))
    }

    fn cursors(&self) -> MutexGuard<'_, CursorStore> {
        self.cursors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Milestones for Upstream {
    fn head(&self) -> Option<Cursor> {
        // Both numbers of one moment: an event's sequence means nothing under another epoch.
        let status = self.handle.status();
        (status.epoch != 0).then_some(Cursor { epoch: status.epoch, seq: status.last_event })
    }

    fn durable(&self) -> watch::Receiver<u64> {
        self.durable.clone()
    }

    fn epochs(&self) -> Result<BTreeMap<u64, u64>, MilestonesError> {
        self.reader.epochs().map_err(|error| MilestonesError::Read { after: 0, why: error.to_string() })
    }

    fn after(&self, after: Cursor, max: usize) -> Result<Vec<Record>, MilestonesError> {
        let cursor = journal::Cursor { epoch: after.epoch, acked: after.seq };
        let read = self.reader.milestones_after(cursor, max);
        let found =
            read.map_err(|error| MilestonesError::Read { after: after.seq, why: error.to_string() })?;
        Ok(if found.epoch == after.epoch { found.records } else { Vec::new() })
    }

    fn run_of(&self, record: u64) -> Option<Arc<Started>> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(run) = runs.iter().find(|run| (run.first..=run.last).contains(&record)) {
            return Some(Arc::clone(&run.started));
        }
        let started = self.reader.started_before(record).ok().flatten()?;
        if let Some(run) = runs.iter_mut().find(|run| *run.started == started) {
            (run.first, run.last) = (run.first.min(record), run.last.max(record));
            return Some(Arc::clone(&run.started));
        }
        let started = Arc::new(started);
        runs.insert(0, KnownRun { first: record, last: record, started: Arc::clone(&started) });
        runs.truncate(RUNS);
        Some(started)
    }

    fn load(&self) -> Result<Option<Ranges>, MilestonesError> {
        let stored = self.cursors().cursors();
        Ok((stored.prefix.epoch != 0).then_some(Ranges {
            backlog: Cursor { epoch: stored.prefix.epoch, seq: stored.prefix.acked },
            live: stored.live.map(|LiveRange { epoch, from, acked }| Live { epoch, from, acked }),
        }))
    }

    fn store(&self, ranges: Ranges) -> Result<(), MilestonesError> {
        let prefix = journal::Cursor { epoch: ranges.backlog.epoch, acked: ranges.backlog.seq };
        let live = ranges.live.map(|Live { epoch, from, acked }| LiveRange { epoch, from, acked });
        let put = self.cursors().put(Cursors { prefix, live });
        put.map_err(|error| MilestonesError::Cursor { what: "stored", why: error.to_string() })
    }
}
