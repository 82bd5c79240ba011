//! The outbox against the stub: nothing missing, nothing different, whatever the broker does.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::journal::FakeJournal;
use super::stub::Stub;
use super::{PATIENCE, listen_beside, publish, settings, topics};
use crate::uplink::hash;
use crate::uplink::health::Health;
use crate::uplink::milestones::Cursor;
use crate::watch::{Board, Ne107};

/// Every event once by its sequence; asserts that repetitions are byte-identical.
pub fn by_seq(documents: impl IntoIterator<Item = Vec<u8>>) -> (BTreeMap<u64, Vec<u8>>, u64) {
    let mut events = BTreeMap::new();
    let mut repeated = 0;
    for document in documents {
        let value: Value = serde_json::from_slice(&document).unwrap();
        let seq = value["epcisBody"]["eventList"][0]["sortd:seq"].as_u64().unwrap();
        if let Some(before) = events.insert(seq, document.clone()) {
            assert!(before == document, "event {seq} came twice and differs");
            repeated += 1;
        }
    }
    (events, repeated)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_events_survive_three_broker_deaths() {
    const EVENTS: u64 = 20_000;
    let mut stub = Stub::start().await;
    let journal = FakeJournal::new(5, EVENTS);
    let mut running = publish(settings(stub.port), &journal);
    for death in 1..=3 {
        stub.received(death * 5_000).await;
        stub.kill().await;
        running.until("the loss is noticed", |status| !status.connected).await;
        let alarm = async {
            while !running.alarms().contains(&"uplink-offline".to_owned()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, alarm).await.expect("an alarm says that the broker is away");
        stub.revive().await;
        running.until("it comes back", |status| status.connected).await;
    }
    running.until("all is acknowledged", |status| status.cursor == EVENTS && status.backlog == 0).await;
    assert!(running.alarms().is_empty(), "{:?}", running.alarms());
    let status = running.status.borrow().clone();
    assert!(status.reconnects >= 3, "{status:?}");
    assert_eq!((status.published, status.missing), (EVENTS, 0));
    running.end().await;

    let (events, repeated) = by_seq(stub.on_topic(&topics().events()));
    assert!(events.keys().copied().eq(1..=EVENTS), "a gap");
    assert!(repeated <= 3 * 100, "at most a window is repeated for each death, not {repeated}");
    let cursors = journal.cursors.lock().unwrap().clone();
    assert!(cursors.is_sorted_by_key(|cursor| cursor.seq), "{cursors:?}");
    assert_eq!(cursors.last(), Some(&Cursor { epoch: 5, seq: EVENTS }));

    let sample: Value = serde_json::from_slice(&events[&777]).unwrap();
    let id = &sample["epcisBody"]["eventList"][0]["eventID"];
    assert_eq!(hash::event_ids(&sample).unwrap(), [id.as_str().unwrap()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_never_acknowledges_is_left_and_tried_again() {
    let stub = Stub::start().await;
    stub.mute(true);
    let journal = FakeJournal::new(1, 500);
    let mut running =
        publish(crate::site::UplinkSettings { silence_ms: 300, ..settings(stub.port) }, &journal);
    running.until("two connections are given up", |status| status.reconnects >= 2).await;
    assert!(running.status.borrow().last_error.as_ref().unwrap().contains("did not acknowledge event 1 "));
    assert_eq!(running.status.borrow().cursor, 0, "nothing was acknowledged");
    assert!(stub.connections() >= 2);
    stub.mute(false);
    running.until("all is acknowledged", |status| status.cursor == 500).await;
    running.end().await;
    let (events, _) = by_seq(stub.on_topic(&topics().events()));
    assert!(events.keys().copied().eq(1..=500));
}

/// What is logged, as text.
#[derive(Clone, Default)]
struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// On one thread, so that what the publisher logs comes here.
#[tokio::test]
async fn while_the_broker_is_away_the_log_says_once_where_the_uplink_stands() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    let _logged = tracing::subscriber::set_default(subscriber);
    // A port where nobody listens any more.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut running = publish(settings(port), &FakeJournal::new(5, 10));
    running.until("five attempts", |status| status.reconnects >= 5).await;
    running.end().await;
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text.matches("uplink goes on after this event").count(), 1, "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_goes_on_after_the_stored_cursor_and_a_new_epoch_begins_anew() {
    let stub = Stub::start().await;
    let journal = FakeJournal::new(1, 300);
    let mut running = publish(settings(stub.port), &journal);
    running.until("the first run", |status| status.cursor == 300).await;
    running.end().await;
    assert_eq!(journal.cursor(), Some(Cursor { epoch: 1, seq: 300 }));

    journal.grow(400);
    let mut running = publish(settings(stub.port), &journal);
    running.until("the second run", |status| status.cursor == 400).await;
    let (events, repeated) = by_seq(stub.on_topic(&topics().events()));
    assert_eq!((events.len(), repeated), (400, 0), "nothing is sent again after a clean stop");

    // The store is quarantined and a fresh one begins while the publisher is connected.
    let before = stub.on_topic(&topics().events()).len();
    journal.open(2, 50);
    running.until("the new epoch", |status| status.epoch == 2 && status.cursor == 50).await;
    running.end().await;
    let new = stub.on_topic(&topics().events()).split_off(before);
    let (events, _) = by_seq(new);
    assert!(events.keys().copied().eq(1..=50));
    let sample: Value = serde_json::from_slice(&events[&1]).unwrap();
    assert_eq!(sample["epcisBody"]["eventList"][0]["sortd:epoch"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_healthy_before_the_store_is_open_and_says_offline_when_it_leaves() {
    let stub = Stub::start().await;
    let journal = FakeJournal::new(0, 0);
    let mut running = publish(settings(stub.port), &journal);
    stub.received(1).await;
    journal.open(1, 10);
    running.until("events follow", |status| status.cursor == 10).await;
    running.end().await;
    let health = stub.on_topic(&topics().health());
    let read = |bytes: &[u8]| serde_json::from_slice::<Health>(bytes).unwrap();
    assert_eq!(read(&health[0]).state, "running");
    assert_eq!(read(health.last().unwrap()), Health::offline());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_alarm_is_told_long_before_health_is_due() {
    let stub = Stub::start().await;
    let running = publish(settings(stub.port), &FakeJournal::new(1, 0));
    stub.received(1).await;
    running.board.fault("gate-1", "timeout", &"counted, and no news by itself");
    running.board.device("gate-1", Ne107::Failure, "no answer", "Look at its cable.");
    stub.received(2).await;
    let health: Vec<Health> = stub
        .on_topic(&topics().health())
        .iter()
        .map(|bytes| serde_json::from_slice(bytes).unwrap())
        .collect();
    assert_eq!((health[0].alarms.len(), health[1].alarms[0].id.as_str()), (0, "gate-1-offline"));
    assert_eq!((health[1].devices["gate-1"].state, health[1].devices["gate-1"].faults), (Ne107::Failure, 1));
    running.end().await;
}

/// The stub knows no subscriptions and hangs up. While the publisher is away too, one alarm is enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_alone_cannot_subscribe_raises_an_alarm() {
    let stub = Stub::start().await;
    for connected in [false, true] {
        let board = Board::default();
        let mut down = listen_beside(settings(stub.port), board.clone(), connected);
        down.until("five attempts", |status| status.reconnects >= 5).await;
        // The sixth attempt begins after the alarm of the fifth.
        down.until("one more", |status| status.reconnects >= 6).await;
        let alarms: Vec<String> = board.snapshot().1.into_iter().map(|alarm| alarm.id).collect();
        assert_eq!(alarms, if connected { vec!["uplink-down-offline"] } else { vec![] });
        down.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_retention_took_are_counted_and_said() {
    let stub = Stub::start().await;
    let journal = FakeJournal::new(1, 100);
    journal.forget_before(31);
    let mut running = publish(settings(stub.port), &journal);
    running.until("the rest arrives", |status| status.cursor == 100).await;
    assert_eq!(running.status.borrow().missing, 30);
    assert_eq!(running.alarms(), ["uplink-events-missing"]);
    running.end().await;
}
