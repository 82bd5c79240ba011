//! The uplink as `sortd` runs it, over a journal of made-up milestones.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use sortd::journal::Record;
use sortd::line::event::Started;
use sortd::line::record::{Alarm, Body, Fact};
use sortd::line::{PassKey, Tick};
use sortd::site::{BrokerAddress, UplinkSettings};
use sortd::uplink::Topics;
use sortd::uplink::down::Progress;
use sortd::uplink::downstream::{Downstream, Ends};
use sortd::uplink::epcis;
use sortd::uplink::health::LineBrief;
use sortd::uplink::milestones::{Cursor, Milestones, MilestonesError};
use sortd::uplink::publisher::Publisher;
use sortd::uplink::ranges::Ranges;
use sortd::uplink::status::UplinkStatus;
use sortd::watch::Board;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::PATIENCE;

/// The line's name in topics.
const LINE: (&str, &str) = ("dg", "l1");
/// Epoch of the made-up store.
const EPOCH: u64 = 5;

/// Topics of the line.
pub fn topics() -> Topics {
    Topics::new(LINE.0, LINE.1)
}

/// Plain settings for brokers on loopback ports.
pub fn settings(ports: &[u16]) -> UplinkSettings {
    UplinkSettings {
        brokers: ports
            .iter()
            .map(|port| BrokerAddress { host: "127.0.0.1".to_owned(), port: *port })
            .collect(),
        tls: None,
        client_id: "sortd-dg-l1".to_owned(),
        login: None,
        window: 100,
        backlog_per_s: 1_000_000,
        silence_ms: 3_000,
        packet_limit: 1 << 20,
        health_ms: 60_000,
        echo_check: false,
    }
}

/// A journal of inductions, one event each.
pub struct Journal {
    durable: watch::Sender<u64>,
    stored: Mutex<Option<Ranges>>,
    stores: AtomicU64,
}

impl Journal {
    /// With this many durable events.
    pub fn new(durable: u64) -> Arc<Journal> {
        let durable = watch::channel(durable).0;
        Arc::new(Journal { durable, stored: Mutex::default(), stores: AtomicU64::new(0) })
    }

    /// More events become durable.
    pub fn grow(&self, durable: u64) {
        self.durable.send_replace(durable);
    }

    fn record(seq: u64) -> Record {
        let track = u32::try_from(seq).unwrap_or(u32::MAX);
        Record {
            seq,
            at: Tick(seq * 1_000),
            wall_us: 1_790_000_000_123_456 + i64::try_from(seq).unwrap_or(0) * 1_000,
            event_seq: Some(seq),
            body: Body::Fact(Fact::Inducted { pass: PassKey { epoch: 3, track }, length_mm: 300 }),
        }
    }

    fn run() -> Started {
        Started {
            boot: 1,
            version: "0.1.0".to_owned(),
            site: LINE.0.to_owned(),
            line: LINE.1.to_owned(),
            domain: "sort.example.com".to_owned(),
            time_zone: "Asia/Shanghai".to_owned(),
            plan: "0123456789abcdef".to_owned(),
            readers: vec!["tunnel".to_owned()],
            chutes: vec![(12, "TH-01".to_owned())],
            wall_us: 0,
        }
    }

    /// The event of this number, byte for byte as it must arrive.
    pub fn event(seq: u64) -> Vec<u8> {
        epcis::document(&Journal::record(seq), &Journal::run(), EPOCH).expect("an induction is told upstream")
    }
}

impl Milestones for Journal {
    fn head(&self) -> Option<Cursor> {
        Some(Cursor { epoch: EPOCH, seq: *self.durable.borrow() })
    }
    fn durable(&self) -> watch::Receiver<u64> {
        self.durable.subscribe()
    }
    fn epochs(&self) -> Result<BTreeMap<u64, u64>, MilestonesError> {
        Ok(BTreeMap::from([(EPOCH, *self.durable.borrow())]))
    }
    fn after(&self, after: Cursor, max: usize) -> Result<Vec<Record>, MilestonesError> {
        if after.epoch != EPOCH {
            return Ok(Vec::new());
        }
        let newest = *self.durable.borrow();
        Ok((after.seq + 1..=newest).take(max).map(Journal::record).collect())
    }
    fn run_of(&self, _record: u64) -> Option<Arc<Started>> {
        Some(Arc::new(Journal::run()))
    }
    fn load(&self) -> Result<Option<Ranges>, MilestonesError> {
        Ok(*self.stored.lock().expect("nobody panics with it"))
    }
    fn store(&self, ranges: Ranges) -> Result<(), MilestonesError> {
        self.stores.fetch_add(1, Ordering::Relaxed);
        *self.stored.lock().expect("nobody panics with it") = Some(ranges);
        Ok(())
    }
}

/// A publisher at work.
pub struct Outbox {
    /// As `sortd status` shows it.
    pub status: watch::Receiver<UplinkStatus>,
    /// Alarms.
    pub board: Board,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Outbox {
    /// Publishes the journal.
    pub fn start(settings: UplinkSettings, journal: &Arc<Journal>) -> Outbox {
        let board = Board::default();
        let (stop, stopped) = watch::channel(false);
        let line = || LineBrief { state: "running".to_owned(), plan: "p1".to_owned(), alarms: Vec::new() };
        let (publisher, status) =
            Publisher::new(settings, topics(), Arc::clone(journal), board.clone(), Box::new(line), stopped);
        Outbox { status, board, stop, task: tokio::spawn(publisher.run()) }
    }

    /// Waits until the status is as wanted, and gives that.
    ///
    /// # Panics
    /// After [`PATIENCE`].
    pub async fn until(&mut self, what: &str, wanted: impl FnMut(&UplinkStatus) -> bool) -> UplinkStatus {
        let reached = tokio::time::timeout(PATIENCE, self.status.wait_for(wanted)).await;
        let reached = reached.map(|status| status.map(|status| status.clone()));
        match reached {
            Ok(Ok(status)) => status,
            Ok(Err(_)) | Err(_) => panic!("{what} never came: {:?}", *self.status.borrow()),
        }
    }

    /// Waits until the alarm of a broker that is away says this.
    ///
    /// # Panics
    /// After [`PATIENCE`].
    pub async fn alarm(&self, says: &str) -> Alarm {
        let found = async {
            loop {
                let alarms = self.board.snapshot().1;
                if let Some(alarm) = alarms.into_iter().find(|alarm| alarm.text.contains(says)) {
                    return alarm;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(alarm) => alarm,
            Err(_) => panic!("no alarm says \"{says}\": {:?}", self.board.snapshot().1),
        }
    }

    /// Waits until no alarm stands.
    ///
    /// # Panics
    /// After [`PATIENCE`].
    pub async fn no_alarm(&self) {
        let none = async {
            while !self.board.snapshot().1.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let cleared = tokio::time::timeout(PATIENCE, none).await.is_ok();
        assert!(cleared, "an alarm stands: {:?}", self.board.snapshot().1);
    }

    /// Shuts down.
    ///
    /// # Panics
    /// Where it does not end in time.
    pub async fn end(self) {
        // An error means that it has ended already.
        let _ = self.stop.send(true);
        let ended = tokio::time::timeout(PATIENCE, self.task).await;
        assert!(matches!(ended, Ok(Ok(()))), "the publisher ends: {ended:?}");
    }
}

/// The client for what comes down, with a core that takes everything; ends with the returned guard.
pub fn listen(settings: UplinkSettings, board: &Board) -> watch::Sender<bool> {
    let (stop, stopped) = watch::channel(false);
    let (_, uplink) = watch::channel(UplinkStatus { connected: true, ..UplinkStatus::default() });
    let (_never, notices) = mpsc::channel(1);
    let (errands, _nobody) = mpsc::channel(1);
    let how_far = Box::new(|| Progress { durable: 0, waits: false });
    let ends = Ends { offer: Box::new(|_| Ok(())), errands, notices, how_far };
    let (downstream, _) = Downstream::new(settings, topics(), ends, board.clone(), uplink, stopped);
    tokio::spawn(downstream.run());
    stop
}

/// What a broker or a cloud has received of the events.
#[derive(Debug, Default, Clone)]
pub struct Ledger {
    /// First bytes of each event by its number.
    pub events: BTreeMap<u64, Vec<u8>>,
    /// Events that came again.
    pub repeated: u64,
    /// What was no event of this line, or came again with other bytes.
    pub faults: Vec<String>,
}

impl Ledger {
    /// Takes one message.
    pub fn take(&mut self, payload: &[u8]) {
        let parsed: Option<Value> = serde_json::from_slice(payload).ok();
        let seq = parsed.and_then(|document| document["epcisBody"]["eventList"][0]["sortd:seq"].as_u64());
        let Some(seq) = seq else {
            self.faults.push(format!("no event: {} bytes", payload.len()));
            return;
        };
        match self.events.get(&seq) {
            Some(before) if before == payload => self.repeated += 1,
            Some(_) => self.faults.push(format!("event {seq} came again and differs")),
            None => {
                self.events.insert(seq, payload.to_vec());
            }
        }
    }

    /// Every event from 1 to `last` is here once, byte for byte as the journal has it, and nothing else.
    ///
    /// # Panics
    /// Where not.
    pub fn check(&self, last: u64) {
        assert!(self.faults.is_empty(), "{} faults, the first: {}", self.faults.len(), self.faults[0]);
        let missing: Vec<u64> = (1..=last).filter(|seq| !self.events.contains_key(seq)).collect();
        assert!(missing.is_empty(), "{} events missing, the first: {:?}", missing.len(), missing.first());
        assert_eq!(self.events.len() as u64, last, "events that were never recorded");
        for (seq, bytes) in &self.events {
            assert!(*bytes == Journal::event(*seq), "event {seq} is not as it was recorded");
        }
    }
}
