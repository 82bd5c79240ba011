//! The journal as the uplink sees it.
//!
//! A quarantined store begins a new epoch, but the days before it may hold milestones that upstream has
//! not acknowledged. They are published first, under their own epoch; only when the last of them is
//! acknowledged does the uplink go on with the next epoch. Nothing is passed over.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::journal::{CursorStore, JournalHandle, Reader, Record, SlipError};
use crate::line::event::Started;
use crate::uplink::milestones::{Cursor, Milestones, MilestonesError};
use crate::watch::clock::Clock;

/// Reads milestones of the journal and keeps the uplink's cursor beside it.
#[derive(Debug)]
pub struct Upstream {
    reader: Reader,
    handle: JournalHandle,
    /// Epoch that is being published; 0 until the store is open.
    publishing: AtomicU64,
    /// Newest durable milestone of that epoch.
    newest: watch::Sender<u64>,
    /// Newest durable milestone of the open epoch.
    open_newest: watch::Receiver<u64>,
    /// Held while the two above change together.
    switching: Mutex<()>,
    cursor: Mutex<CursorStore>,
    run: Mutex<Option<Arc<Started>>>,
    clock: Clock,
}

impl Upstream {
    /// Over the journal in `directory`; `durable` is the newest milestone of the open epoch.
    pub fn new(
        handle: &JournalHandle,
        directory: &Path,
        mut durable: watch::Receiver<u64>,
    ) -> Result<Arc<Upstream>, SlipError> {
        let upstream = Arc::new(Upstream {
            reader: handle.reader(),
            handle: handle.clone(),
            publishing: AtomicU64::new(0),
            newest: watch::channel(0).0,
            open_newest: durable.clone(),
            switching: Mutex::new(()),
            cursor: Mutex::new(CursorStore::open(directory)?),
            run: Mutex::new(None),
            clock: Clock::default(),
        });
        let follower = Arc::downgrade(&upstream);
        tokio::spawn(async move {
            while durable.changed().await.is_ok() {
                durable.mark_unchanged();
                let Some(upstream) = follower.upgrade() else { return };
                let open = upstream.handle.status().epoch;
                let _switching = upstream.switching.lock().unwrap_or_else(PoisonError::into_inner);
                if upstream.publishing.load(Ordering::Acquire) == open {
                    upstream.newest.send_replace(*upstream.open_newest.borrow());
                }
            }
        });
        Ok(upstream)
    }

    /// Goes on with the first epoch, from that of `at` on, that has something `at` does not cover; with the
    /// open one where there is none.
    fn choose(&self, at: Cursor, open: u64) {
        let epochs = self.reader.epochs().unwrap_or_default();
        let (epoch, newest) = next_epoch(&epochs, at, open);
        let _switching = self.switching.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = if epoch == open { newest.max(*self.open_newest.borrow()) } else { newest };
        self.newest.send_replace(newest);
        self.publishing.store(epoch, Ordering::Release);
    }
}

fn next_epoch(epochs: &BTreeMap<u64, u64>, at: Cursor, open: u64) -> (u64, u64) {
    let unfinished = epochs
        .range(at.epoch.max(1)..open)
        .find(|(epoch, last)| **last > if **epoch == at.epoch { at.seq } else { 0 });
    let newest = epochs.get(&open).copied().unwrap_or(0);
    unfinished.map_or((open, newest), |(epoch, last)| (*epoch, *last))
}

impl Milestones for Upstream {
    fn epoch(&self) -> Option<u64> {
        let status = self.handle.status();
        if status.epoch == 0 {
            return None;
        }
        if self.publishing.load(Ordering::Acquire) == 0 {
            let stored = self.cursor.lock().unwrap_or_else(PoisonError::into_inner).cursor();
            // Without a cursor nothing was ever published, and every epoch that is kept is unfinished.
            self.choose(Cursor { epoch: stored.epoch, seq: stored.acked }, status.epoch);
        }
        Some(self.publishing.load(Ordering::Acquire))
    }

    fn durable(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    fn after(&self, event_seq: u64, max: usize) -> Result<Vec<Record>, MilestonesError> {
        let epoch = self.publishing.load(Ordering::Acquire);
        let read = self.reader.milestones_after(crate::journal::Cursor { epoch, acked: event_seq }, max);
        let milestones =
            read.map_err(|error| MilestonesError::Read { after: event_seq, why: error.to_string() })?;
        // The next epoch's turn comes when this one's last milestone is acknowledged.
        Ok(if milestones.epoch == epoch { milestones.records } else { Vec::new() })
    }

    fn run_of(&self, record: u64) -> Option<Arc<Started>> {
        let started = self.reader.started_before(record).ok().flatten()?;
        let mut known = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|run| **run != started) {
            *known = Some(Arc::new(started));
        }
        known.clone()
    }

    fn load_cursor(&self) -> Result<Option<Cursor>, MilestonesError> {
        let stored = self.cursor.lock().unwrap_or_else(PoisonError::into_inner).cursor();
        Ok((stored.epoch != 0).then_some(Cursor { epoch: stored.epoch, seq: stored.acked }))
    }

    fn store_cursor(&self, cursor: Cursor) -> Result<(), MilestonesError> {
        {
            let mut store = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
            let to = crate::journal::Cursor { epoch: cursor.epoch, acked: cursor.seq };
            let stored = store.advance(to, self.clock.now()).and_then(|()| store.store());
            stored.map_err(|error| MilestonesError::Cursor { what: "stored", why: error.to_string() })?;
        }
        let open = self.handle.status().epoch;
        if cursor.epoch != open && cursor.epoch == self.publishing.load(Ordering::Acquire) {
            self.choose(cursor, open);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_epoch_is_finished_before_the_next_one_begins() {
        let epochs = BTreeMap::from([(10, 500), (20, 30), (30, 7)]);
        let at = |epoch, seq| next_epoch(&epochs, Cursor { epoch, seq }, 30);
        assert_eq!(at(10, 499), (10, 500));
        assert_eq!(at(10, 500), (20, 30));
        assert_eq!(at(20, 30), (30, 7));
        assert_eq!(at(0, 0), (10, 500));
        assert_eq!(at(30, 2), (30, 7));
        assert_eq!(next_epoch(&BTreeMap::new(), Cursor::default(), 30), (30, 0));
    }
}
