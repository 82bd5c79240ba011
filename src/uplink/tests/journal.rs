//! A journal of made-up milestones, one record each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::journal::Record;
use crate::line::event::Started;
use crate::line::record::{Body, Fact};
use crate::line::{PassKey, Tick};
use crate::uplink::milestones::{Cursor, Milestones, MilestonesError};

pub struct FakeJournal {
    epoch: AtomicU64,
    durable: watch::Sender<u64>,
    /// Oldest event still kept.
    oldest: AtomicU64,
    pub cursors: Mutex<Vec<Cursor>>,
}

impl FakeJournal {
    /// A store of `epoch` (0: not open yet) with `durable` events.
    pub fn new(epoch: u64, durable: u64) -> Arc<FakeJournal> {
        Arc::new(FakeJournal {
            epoch: AtomicU64::new(epoch),
            durable: watch::channel(durable).0,
            oldest: AtomicU64::new(1),
            cursors: Mutex::default(),
        })
    }

    pub fn grow(&self, durable: u64) {
        self.durable.send_replace(durable);
    }

    pub fn open(&self, epoch: u64, durable: u64) {
        self.epoch.store(epoch, Ordering::SeqCst);
        self.durable.send_replace(durable);
    }

    pub fn forget_before(&self, oldest: u64) {
        self.oldest.store(oldest, Ordering::SeqCst);
    }

    pub fn cursor(&self) -> Option<Cursor> {
        self.cursors.lock().unwrap().last().copied()
    }
}

pub fn run() -> Started {
    Started {
        boot: 1,
        version: "0.1.0".to_owned(),
        site: "dg".to_owned(),
        line: "l1".to_owned(),
        domain: "sort.example.com".to_owned(),
        time_zone: "Asia/Shanghai".to_owned(),
        plan: "0123456789abcdef".to_owned(),
        readers: vec!["tunnel".to_owned(), "gate-1".to_owned()],
        chutes: vec![(12, "TH-01".to_owned())],
        wall_us: 0,
    }
}

pub fn milestone(seq: u64, fact: Fact) -> Record {
    Record {
        seq,
        at: Tick(seq * 1_000),
        wall_us: 1_790_000_000_123_456 + i64::try_from(seq).unwrap() * 1_000,
        event_seq: Some(seq),
        body: Body::Fact(fact),
    }
}

impl Milestones for FakeJournal {
    fn epoch(&self) -> Option<u64> {
        Some(self.epoch.load(Ordering::SeqCst)).filter(|epoch| *epoch > 0)
    }
    fn durable(&self) -> watch::Receiver<u64> {
        self.durable.subscribe()
    }
    fn after(&self, event_seq: u64, max: usize) -> Result<Vec<Record>, MilestonesError> {
        let newest = *self.durable.borrow();
        let first = (event_seq + 1).max(self.oldest.load(Ordering::SeqCst));
        let inducted = |seq: u64| Fact::Inducted {
            pass: PassKey { epoch: 3, track: u32::try_from(seq).unwrap() },
            length_mm: 300,
        };
        Ok((first..=newest).take(max).map(|seq| milestone(seq, inducted(seq))).collect())
    }
    fn run_of(&self, _record: u64) -> Option<Arc<Started>> {
        Some(Arc::new(run()))
    }
    fn load_cursor(&self) -> Result<Option<Cursor>, MilestonesError> {
        Ok(self.cursor())
    }
    fn store_cursor(&self, cursor: Cursor) -> Result<(), MilestonesError> {
        self.cursors.lock().unwrap().push(cursor);
        Ok(())
    }
}
