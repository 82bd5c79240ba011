//! Anchors against the stub: each arrives, in order, the same at every repetition, and the cursor stays behind
//! what is acknowledged.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::journal::FakeJournal;
use super::stub::Stub;
use super::{PATIENCE, settings, topics};
use crate::journal::anchor::{Anchor, Claim, Document};
use crate::journal::chain::Link;
use crate::journal::signing::{KeyId, SigningKey};
use crate::site::UplinkSettings;
use crate::uplink::anchors::Anchors;
use crate::uplink::health::LineBrief;
use crate::uplink::publisher::Publisher;
use crate::uplink::status::UplinkStatus;
use crate::watch::Board;

fn key() -> SigningKey {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("seed");
    std::fs::write(&path, [5; 32]).unwrap();
    SigningKey::read(&path).unwrap()
}

/// Anchor of record `seq`, numbered like it.
pub fn anchor(seq: u64, previous_key: Option<KeyId>) -> Anchor {
    let key = key();
    let claim = Claim {
        number: seq,
        epoch: 5,
        seq,
        event_seq: seq / 2,
        link: Link([7; 32]),
        wall_us: 1_795_312_984_000_000,
        public_key: key.public(),
        previous_key,
        site: "dg".to_owned(),
        line: "l1".to_owned(),
    };
    claim.sign(&key).unwrap()
}

/// So many anchors, and a cursor.
pub struct Made {
    pub newest: AtomicU64,
    stored: watch::Sender<u64>,
    cursors: Mutex<Vec<u64>>,
}

impl Made {
    pub fn new(newest: u64, stored: u64) -> Arc<Made> {
        let (stored, cursors) = (watch::channel(stored).0, Mutex::default());
        Arc::new(Made { newest: AtomicU64::new(newest), stored, cursors })
    }

    async fn stored_to(&self, number: u64) {
        let mut stored = self.stored.subscribe();
        let reached = tokio::time::timeout(PATIENCE, stored.wait_for(|stored| *stored >= number)).await;
        assert!(reached.is_ok(), "the cursor stands at {}", *self.stored.borrow());
    }
}

impl Anchors for Made {
    fn newest(&self) -> u64 {
        self.newest.load(Ordering::SeqCst)
    }
    fn after(&self, number: u64, max: usize) -> Result<Vec<Anchor>, String> {
        Ok((number + 1..=self.newest()).take(max).map(|seq| anchor(seq, None)).collect())
    }
    fn acknowledged(&self) -> Result<u64, String> {
        Ok(*self.stored.borrow())
    }
    fn acknowledge(&self, number: u64) -> Result<(), String> {
        self.cursors.lock().unwrap().push(number);
        self.stored.send_replace(number);
        Ok(())
    }
}

struct Running {
    status: watch::Receiver<UplinkStatus>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

fn publish(port: u16, anchors: Arc<Made>) -> Running {
    publish_with(settings(port), 10, anchors)
}

/// Beside so many events.
fn publish_with(settings: UplinkSettings, events: u64, anchors: Arc<Made>) -> Running {
    let (stop, stopped) = watch::channel(false);
    let line = Box::new(LineBrief::default);
    let journal = FakeJournal::new(5, events);
    let (publisher, status) = Publisher::new(settings, topics(), journal, Board::default(), line, stopped);
    Running { status, stop, task: tokio::spawn(publisher.with_anchors(anchors).run()) }
}

impl Running {
    async fn acked(&mut self, number: u64) {
        let wanted = |status: &UplinkStatus| status.anchor.as_ref().is_some_and(|last| last.number >= number);
        let reached = tokio::time::timeout(PATIENCE, self.status.wait_for(wanted)).await.is_ok();
        assert!(reached, "anchor {number}: {:?}", self.status.borrow());
    }

    async fn end(self) {
        self.stop.send(true).unwrap();
        tokio::time::timeout(PATIENCE, self.task).await.expect("it stops").unwrap();
    }
}

/// Numbers in the order of arrival; each message must be the anchor, byte for byte.
fn numbers(stub: &Stub) -> Vec<u64> {
    let number = |message: &Vec<u8>| {
        let document: Document = serde_json::from_slice(message).unwrap();
        let came = Anchor::try_from(&document).unwrap();
        assert!(came.is_genuine());
        assert_eq!(serde_json::to_vec(&anchor(document.number, None).document()).unwrap(), *message);
        document.number
    };
    stub.on_topic(&topics().anchors()).iter().map(number).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anchors_go_out_once_and_in_order_behind_the_stored_cursor() {
    let stub = Stub::start().await;
    let made = Made::new(100, 90);
    let mut running = publish(stub.port, Arc::clone(&made));
    running.acked(100).await;
    made.newest.store(103, Ordering::SeqCst);
    running.acked(103).await;
    made.stored_to(103).await;
    assert!(made.cursors.lock().unwrap().is_sorted());
    running.end().await;
    assert!(numbers(&stub).into_iter().eq(91..=103), "{:?}", numbers(&stub));
}

/// A line that has just started has signed its first record, and no parcel has moved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_anchor_before_the_first_event_is_no_event_that_the_broker_threw_away() {
    let stub = Stub::start().await;
    stub.pass_on(vec![topics().events(), topics().health(), topics().anchors()]);
    let settings = UplinkSettings { echo_check: true, silence_ms: 1_000, ..settings(stub.port) };
    let mut running = publish_with(settings, 0, Made::new(2, 0));
    // Acknowledgements are held back as long as something is owed: this one is believed at once.
    running.acked(2).await;
    assert_eq!(running.status.borrow().last_error, None);
    running.end().await;
    assert_eq!(stub.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_acknowledged_goes_out_again_after_a_reconnect() {
    let mut stub = Stub::start().await;
    stub.mute(true);
    let made = Made::new(3, 0);
    let mut running = publish(stub.port, Arc::clone(&made));
    // Ten events, health, three anchors: all taken, none acknowledged.
    stub.received(14).await;
    assert_eq!(numbers(&stub), [1, 2, 3]);
    stub.kill().await;
    stub.mute(false);
    stub.revive().await;
    running.acked(3).await;
    made.stored_to(3).await;
    assert_eq!(*made.cursors.lock().unwrap(), [3], "nothing was stored before it was acknowledged");
    running.end().await;
    assert_eq!(numbers(&stub), [1, 2, 3, 1, 2, 3]);
}
