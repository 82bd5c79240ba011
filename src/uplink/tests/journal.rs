//! A journal of made-up milestones, one record each.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::journal::Record;
use crate::line::event::Started;
use crate::line::record::{Body, Fact};
use crate::line::{PassKey, Tick};
use crate::uplink::milestones::{Cursor, Milestones, MilestonesError};
use crate::uplink::ranges::Ranges;

pub struct FakeJournal {
    epoch: AtomicU64,
    durable: watch::Sender<u64>,
    /// Oldest event still kept.
    oldest: AtomicU64,
    /// Acknowledged prefixes as they were stored.
    pub cursors: Mutex<Vec<Cursor>>,
    /// Both ranges as they were stored.
    pub stored: Mutex<Vec<Ranges>>,
    /// Earlier epochs with their last events.
    earlier: Mutex<BTreeMap<u64, u64>>,
    /// Events that cannot be read any more.
    gone: Mutex<Range<u64>>,
}

impl FakeJournal {
    /// A store of `epoch` (0: not open yet) with `durable` events.
    pub fn new(epoch: u64, durable: u64) -> Arc<FakeJournal> {
        Arc::new(FakeJournal {
            epoch: AtomicU64::new(epoch),
            durable: watch::channel(durable).0,
            oldest: AtomicU64::new(1),
            cursors: Mutex::default(),
            stored: Mutex::default(),
            earlier: Mutex::default(),
            gone: Mutex::new(0..0),
        })
    }

    pub fn grow(&self, durable: u64) {
        self.durable.send_replace(durable);
    }

    pub fn open(&self, epoch: u64, durable: u64) {
        let before = self.head();
        self.earlier.lock().unwrap().extend(before.map(|head| (head.epoch, head.seq)));
        self.epoch.store(epoch, Ordering::SeqCst);
        self.durable.send_replace(durable);
    }

    pub fn forget_before(&self, oldest: u64) {
        self.oldest.store(oldest, Ordering::SeqCst);
    }

    /// A day that was put into quarantine.
    pub fn lose(&self, events: Range<u64>) {
        *self.gone.lock().unwrap() = events;
    }

    /// An earlier epoch whose last event was this.
    pub fn earlier(&self, epoch: u64, last: u64) {
        self.earlier.lock().unwrap().insert(epoch, last);
    }

    /// What an earlier life of the publisher stored.
    pub fn stored(&self, ranges: Ranges) {
        self.stored.lock().unwrap().push(ranges);
    }

    pub fn load_last(&self) -> Ranges {
        self.stored.lock().unwrap().last().copied().unwrap()
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
    fn head(&self) -> Option<Cursor> {
        let epoch = self.epoch.load(Ordering::SeqCst);
        (epoch > 0).then(|| Cursor { epoch, seq: *self.durable.borrow() })
    }
    fn durable(&self) -> watch::Receiver<u64> {
        self.durable.subscribe()
    }
    fn epochs(&self) -> Result<BTreeMap<u64, u64>, MilestonesError> {
        let mut epochs = self.earlier.lock().unwrap().clone();
        epochs.extend(self.head().map(|head| (head.epoch, head.seq)));
        Ok(epochs)
    }
    fn after(&self, after: Cursor, max: usize) -> Result<Vec<Record>, MilestonesError> {
        let Some(last) = self.epochs()?.get(&after.epoch).copied() else { return Ok(Vec::new()) };
        let open = self.epoch.load(Ordering::SeqCst) == after.epoch;
        let oldest = if open { self.oldest.load(Ordering::SeqCst) } else { 1 };
        let first = (after.seq + 1).max(oldest);
        let gone = self.gone.lock().unwrap().clone();
        let inducted = |seq: u64| Fact::Inducted {
            pass: PassKey { epoch: 3, track: u32::try_from(seq).unwrap() },
            length_mm: 300,
        };
        let kept = (first..=last).filter(|seq| !gone.contains(seq));
        Ok(kept.take(max).map(|seq| milestone(seq, inducted(seq))).collect())
    }
    fn run_of(&self, _record: u64) -> Option<Arc<Started>> {
        Some(Arc::new(run()))
    }
    fn load(&self) -> Result<Option<Ranges>, MilestonesError> {
        Ok(self.stored.lock().unwrap().last().copied())
    }
    fn store(&self, ranges: Ranges) -> Result<(), MilestonesError> {
        self.stored.lock().unwrap().push(ranges);
        self.cursors.lock().unwrap().push(ranges.backlog);
        Ok(())
    }
}
