//! Acknowledgements and echoes that do not come, while others do.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;

use super::anchors_up::Made;
use super::journal::FakeJournal;
use super::outbox::by_seq;
use super::stub::Stub;
use super::{PATIENCE, Running, publish, settings, topics};
use crate::line::record::Alarm;
use crate::site::UplinkSettings;
use crate::uplink::health::LineBrief;
use crate::uplink::publisher::Publisher;
use crate::watch::Board;

/// Health is acknowledged far more often than silence is looked for.
fn chatty(port: u16) -> UplinkSettings {
    UplinkSettings { silence_ms: 2_000, health_ms: 300, ..settings(port) }
}

fn publish_with_anchors(settings: UplinkSettings, journal: &Arc<FakeJournal>, anchors: Arc<Made>) -> Running {
    let board = Board::default();
    let (stop, stopped) = watch::channel(false);
    let line = || LineBrief { state: "running".to_owned(), plan: "p1".to_owned(), alarms: Vec::new() };
    let (publisher, status) =
        Publisher::new(settings, topics(), Arc::clone(journal), board.clone(), Box::new(line), stopped);
    Running { status, board, stop, task: tokio::spawn(publisher.with_anchors(anchors).run()) }
}

impl Running {
    async fn alarm(&self, id: &str, stands: bool) -> Option<Alarm> {
        let find = || self.board.snapshot().1.into_iter().find(|alarm| alarm.id == id);
        let said = async {
            while find().is_some() != stands {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            find()
        };
        let said = tokio::time::timeout(PATIENCE, said).await;
        said.unwrap_or_else(|_| panic!("{id}: {stands} is expected, {:?}", self.alarms()))
    }
}

/// Three acknowledgements get lost, once; the broker is well again at once, and health goes on all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_whose_acknowledgement_got_lost_are_sent_again_while_health_is_acknowledged() {
    let stub = Stub::start().await;
    let journal = FakeJournal::new(1, 10);
    let mut running = publish(chatty(stub.port), &journal);
    running.until("the first ten", |status| status.cursor == 10).await;
    stub.withhold(topics().events(), 3);
    journal.grow(500);
    running.until("the connection is given up", |status| status.reconnects == 1).await;
    let why = running.status.borrow().last_error.clone().unwrap();
    assert!(why.contains("event 11 of epoch 1"), "{why}");
    running.until("all is acknowledged", |status| status.cursor == 500).await;
    running.alarm("uplink-offline", false).await;
    running.end().await;
    let (events, repeated) = by_seq(stub.on_topic(&topics().events()));
    assert!(events.keys().copied().eq(1..=500), "a gap");
    assert!((3..=100).contains(&repeated), "{repeated}");
}

/// It acknowledges health, and never an event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_acknowledges_health_and_no_event_is_named_until_it_does() {
    let stub = Stub::start().await;
    stub.withhold(topics().events(), u64::MAX);
    let mut running = publish(chatty(stub.port), &FakeJournal::new(1, 10));
    running.until("two connections are given up", |status| status.reconnects >= 2).await;
    let alarm = running.alarm("uplink-offline", true).await.unwrap();
    assert!(alarm.text.contains("event 1 of epoch 1"), "{alarm:?}");
    // The next connection is taken, and health acknowledged on it: that is no reason to call it good.
    let health = stub.on_topic(&topics().health()).len();
    running.until("it is connected again", |status| status.connected).await;
    while stub.on_topic(&topics().health()).len() < health + 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(running.alarms(), ["uplink-offline"]);
    }
    stub.withhold(topics().events(), 0);
    running.until("all is acknowledged", |status| status.cursor == 10).await;
    running.alarm("uplink-offline", false).await;
    running.end().await;
}

/// Neither health nor anchors are acknowledged: it is said, events go on, and nothing is sent twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_acknowledged_beside_events_is_told_and_holds_up_none() {
    let stub = Stub::start().await;
    for topic in [topics().health(), topics().anchors()] {
        stub.withhold(topic, u64::MAX);
    }
    let journal = FakeJournal::new(1, 10);
    let made = Made::new(3, 0);
    let mut running = publish_with_anchors(
        UplinkSettings { silence_ms: 500, ..chatty(stub.port) },
        &journal,
        Arc::clone(&made),
    );
    let mut newest = 10;
    let both = |alarm: Alarm| alarm.id == "uplink-unacknowledged" && alarm.text.contains("/anchors and ");
    while running.status.borrow().reconnects == 0 || !running.board.snapshot().1.into_iter().any(both) {
        newest += 10;
        journal.grow(newest);
        running.until("events go on", |status| status.cursor == newest).await;
    }
    // Far more than there are packet ids: those of what is not acknowledged would come round.
    newest += 20_000;
    journal.grow(newest);
    running.until("a shift's events", |status| status.cursor == newest).await;
    assert!(!running.alarms().contains(&"uplink-offline".to_owned()), "{:?}", running.alarms());
    assert_eq!(running.status.borrow().last_error, None);
    for topic in [topics().health(), topics().anchors()] {
        stub.withhold(topic, 0);
    }
    made.newest.store(4, Ordering::SeqCst);
    journal.grow(newest + 9_000);
    running.until("and more", |status| status.cursor == newest + 9_000).await;
    running.alarm("uplink-unacknowledged", false).await;
    running
        .until("anchors follow", |status| status.anchor.as_ref().is_some_and(|last| last.number == 4))
        .await;
    running.end().await;
    let (events, repeated) = by_seq(stub.on_topic(&topics().events()));
    assert!(events.keys().copied().eq(1..=newest + 9_000), "a gap");
    assert_eq!(repeated, 0, "a connection is renewed between two events");
}

/// A line at rest with a healthy broker: anchors and health are acknowledged, no event is published.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_at_rest_is_no_reason_to_doubt_its_broker() {
    let stub = Stub::start().await;
    stub.pass_on(vec![topics().events(), topics().health(), topics().anchors()]);
    let made = Made::new(1, 0);
    let proving =
        UplinkSettings { echo_check: true, silence_ms: 1_000, health_ms: 700, ..settings(stub.port) };
    let journal = FakeJournal::new(1, 0);
    let mut running = publish_with_anchors(proving, &journal, Arc::clone(&made));
    // Ten times the patience of the check.
    for number in 2..=10 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        made.newest.store(number, Ordering::SeqCst);
        assert_eq!((running.alarms(), running.status.borrow().reconnects), (vec![], 0));
    }
    running.until("anchors", |status| status.anchor.as_ref().is_some_and(|last| last.number == 10)).await;
    journal.grow(300);
    running.until("events", |status| status.cursor == 300).await;
    assert_eq!((running.alarms(), running.status.borrow().reconnects), (vec![], 0));
    running.end().await;
}

/// The line may write events and neither anchors nor health.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_not_passed_on_is_told_while_events_go_on() {
    let stub = Stub::start().await;
    stub.pass_on(vec![topics().events()]);
    let proving = UplinkSettings { echo_check: true, silence_ms: 1_000, ..chatty(stub.port) };
    let journal = FakeJournal::new(1, 300);
    let mut running = publish_with_anchors(proving, &journal, Made::new(1, 0));
    for topic in ["anchors", "health"] {
        let alarm = running.alarm(&format!("uplink-{topic}-unproven"), true).await.unwrap();
        assert!(alarm.text.contains(&format!("/{topic}, and does not pass it on")), "{alarm:?}");
    }
    running.until("events go on", |status| status.cursor == 300 && status.reconnects == 0).await;
    assert_eq!(running.alarms(), ["uplink-anchors-unproven", "uplink-health-unproven"]);
    running.end().await;
}
