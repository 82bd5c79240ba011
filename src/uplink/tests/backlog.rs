//! Two ranges: what was missed beside what happens now, over outages, restarts, epochs and holes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::journal::FakeJournal;
use super::outbox::by_seq;
use super::stub::Stub;
use super::{Running, publish, settings, topics};
use crate::site::UplinkSettings;
use crate::uplink::health::Health;
use crate::uplink::milestones::Cursor;
use crate::uplink::ranges::{Live, Ranges, SPLIT_ABOVE};

/// Slow enough that a backlog of thousands outlasts what a test does beside it.
const SLOW: u32 = 1_000;

fn slowly(port: u16) -> UplinkSettings {
    UplinkSettings { backlog_per_s: SLOW, ..settings(port) }
}

fn events(stub: &Stub) -> Vec<Vec<u8>> {
    stub.on_topic(&topics().events())
}

fn places(documents: &[Vec<u8>]) -> Vec<(u64, u64)> {
    let place = |bytes: &Vec<u8>| {
        let value: Value = serde_json::from_slice(bytes).unwrap();
        let event = &value["epcisBody"]["eventList"][0];
        (event["sortd:epoch"].as_u64().unwrap(), event["sortd:seq"].as_u64().unwrap())
    };
    documents.iter().map(place).collect()
}

/// A publisher that is split, has delivered live events up to `live`, and still drains.
async fn split(stub: &Stub, journal: &std::sync::Arc<FakeJournal>, live: u64) -> Running {
    let mut running = publish(slowly(stub.port), journal);
    running.until("it splits", |status| status.connected && status.live.is_some()).await;
    journal.grow(live);
    running.until("live events arrive", |status| status.live == Some(live)).await;
    let status = running.status.borrow().clone();
    assert!(status.cursor + SPLIT_ABOVE < live && status.backlog > 0, "still draining: {status:?}");
    running
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_events_do_not_wait_for_a_backlog_and_both_cursors_survive_a_restart() {
    let stub = Stub::start().await;
    let journal = FakeJournal::new(5, 20_000);
    let running = split(&stub, &journal, 20_300).await;
    running.end().await;
    let stored = journal.load_last();
    assert_eq!(stored.live, Some(Live { epoch: 5, from: 20_000, acked: 20_300 }));
    assert!(stored.backlog.seq < 20_000);
    let before = places(&events(&stub));
    let first_live = before.iter().position(|(_, seq)| *seq > 20_000).unwrap();
    assert!(first_live < 19_000, "live events came after {first_live} others");

    journal.grow(20_350);
    let mut running = publish(settings(stub.port), &journal);
    running.until("all is acknowledged", |status| status.backlog == 0 && status.cursor == 20_350).await;
    assert_eq!(running.status.borrow().live, None, "the ranges have become one");
    running.end().await;
    let (by_seq, repeated) = by_seq(events(&stub));
    assert!(by_seq.keys().copied().eq(1..=20_350), "a gap");
    assert_eq!(repeated, 0, "nothing is sent again after an orderly stop");
    assert_eq!(journal.load_last(), Ranges { backlog: Cursor { epoch: 5, seq: 20_350 }, live: None });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_outage_while_two_ranges_are_open_keeps_both() {
    let mut stub = Stub::start().await;
    let journal = FakeJournal::new(5, 8_000);
    let mut running = split(&stub, &journal, 8_200).await;
    for round in 1..=3 {
        stub.kill().await;
        running.until("the loss is noticed", |status| !status.connected).await;
        journal.grow(8_200 + round * 300);
        stub.revive().await;
        running.until("live again", |status| status.live == Some(8_200 + round * 300)).await;
    }
    running.until("all is acknowledged", |status| status.backlog == 0).await;
    running.end().await;
    let (by_seq, repeated) = by_seq(events(&stub));
    assert!(by_seq.keys().copied().eq(1..=9_100), "a gap");
    assert!(repeated <= 3 * 100, "at most a window for each outage, not {repeated}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_outage_while_two_ranges_are_open_gives_the_live_one_up_without_a_hole() {
    let mut stub = Stub::start().await;
    let journal = FakeJournal::new(5, 6_000);
    let mut running = split(&stub, &journal, 6_400).await;
    stub.kill().await;
    running.until("the loss is noticed", |status| !status.connected).await;
    let backlog = running.status.borrow().cursor;
    journal.grow(6_400 + SPLIT_ABOVE + 1);
    stub.revive().await;
    let head = 6_400 + SPLIT_ABOVE + 1;
    running.until("it splits at the new head", |status| status.connected && status.live == Some(head)).await;
    assert!(running.status.borrow().cursor >= backlog, "the acknowledged prefix stays");
    journal.grow(head + 10);
    running.until("live events arrive", |status| status.live == Some(head + 10)).await;
    assert!(running.status.borrow().cursor < 6_400, "long before the backlog is through");
    running.until("all is acknowledged", |status| status.backlog == 0).await;
    running.end().await;
    let (by_seq, repeated) = by_seq(events(&stub));
    assert!(by_seq.keys().copied().eq(1..=head + 10), "a gap");
    assert!((400..=600).contains(&repeated), "the live range once more, and a window: {repeated}");
    let stored = journal.stored.lock().unwrap().clone();
    assert!(stored.is_sorted_by_key(|ranges| ranges.backlog), "the prefix never moves back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn earlier_epochs_are_sent_whole_before_later_ones_while_the_open_one_stays_live() {
    let stub = Stub::start().await;
    let journal = FakeJournal::new(7, 50);
    journal.earlier(5, 30);
    journal.earlier(6, 3_000);
    journal.stored(Ranges { backlog: Cursor { epoch: 5, seq: 10 }, live: None });
    let mut running = publish(slowly(stub.port), &journal);
    running.until("it splits in the open epoch", |status| status.live == Some(50)).await;
    assert_eq!(running.status.borrow().live_epoch, 7);
    journal.grow(60);
    running.until("live events arrive", |status| status.live == Some(60)).await;
    assert!(running.status.borrow().epoch < 7, "{:?}", *running.status.borrow());
    running.until("all is acknowledged", |status| status.backlog == 0).await;
    assert!(running.alarms().is_empty(), "{:?}", running.alarms());
    running.end().await;
    let came = places(&events(&stub));
    let wanted: BTreeSet<(u64, u64)> = (11..=30)
        .map(|seq| (5, seq))
        .chain((1..=3_000).map(|seq| (6, seq)))
        .chain((1..=60).map(|seq| (7, seq)))
        .collect();
    assert_eq!(came.len(), wanted.len(), "each once");
    assert_eq!(came.iter().copied().collect::<BTreeSet<_>>(), wanted);
    let backlog: Vec<_> = came.iter().copied().filter(|place| *place < (7, 51)).collect();
    assert!(backlog.is_sorted(), "in order");
    assert_eq!(journal.load_last(), Ranges { backlog: Cursor { epoch: 7, seq: 60 }, live: None });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_epoch_while_two_ranges_are_open_leaves_no_hole_in_the_old_one() {
    let stub = Stub::start().await;
    let journal = FakeJournal::new(1, 4_000);
    let mut running = split(&stub, &journal, 4_100).await;
    // The last durable events of the old epoch and the first of the new one come in one moment.
    journal.grow(4_150);
    journal.open(2, 20);
    running.until("the new epoch is live", |status| status.live_epoch == 2 && status.live == Some(20)).await;
    running.until("all is acknowledged", |status| status.backlog == 0 && status.epoch == 2).await;
    running.end().await;
    let came: BTreeSet<_> = places(&events(&stub)).into_iter().collect();
    let wanted: BTreeSet<_> = (1..=4_150).map(|seq| (1, seq)).chain((1..=20).map(|seq| (2, seq))).collect();
    assert_eq!(came, wanted);
    let mut first: BTreeMap<(u64, u64), Vec<u8>> = BTreeMap::new();
    for (place, document) in places(&events(&stub)).into_iter().zip(events(&stub)) {
        assert!(first.entry(place).or_insert_with(|| document.clone()) == &document, "{place:?} differs");
    }
}

fn last_health(stub: &Stub) -> Vec<Health> {
    let all = stub.on_topic(&topics().health());
    all.iter().map(|bytes| serde_json::from_slice(bytes).unwrap()).collect()
}

/// A day was put into quarantine, once in the middle of the backlog and once just before the split, where only a
/// live event proves that nothing more is to come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_is_counted_and_said_and_does_not_stop_the_rest() {
    for (gone, missing) in [(500..700, 200), (1_990..2_001, 11)] {
        let stub = Stub::start().await;
        let journal = FakeJournal::new(1, 2_000);
        journal.lose(gone.clone());
        let mut running = publish(settings(stub.port), &journal);
        running.until("it is there", |status| status.connected).await;
        journal.grow(2_001);
        running.until("all but the hole", |status| status.backlog == 0 && status.cursor == 2_001).await;
        assert_eq!(running.status.borrow().missing, missing);
        assert_eq!(running.alarms(), ["uplink-events-missing"]);
        let said = async {
            while !last_health(&stub).iter().any(|health| health.missing == missing) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(super::PATIENCE, said).await.expect("health says how many");
        running.end().await;
        let (by_seq, _) = by_seq(events(&stub));
        assert!(by_seq.keys().copied().eq((1..=2_001).filter(|seq| !gone.contains(seq))));
    }
}

/// The end of an epoch that this process has seen is lost with its last day.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lost_end_of_an_epoch_is_said_when_the_next_one_begins() {
    let stub = Stub::start().await;
    stub.mute(true);
    let journal = FakeJournal::new(1, 900);
    let mut running = publish(UplinkSettings { silence_ms: 300, ..settings(stub.port) }, &journal);
    running.until("the old epoch is seen", |status| status.newest == 900).await;
    journal.open(2, 5);
    journal.earlier(1, 650);
    stub.mute(false);
    running.until("all is acknowledged", |status| status.epoch == 2 && status.cursor == 5).await;
    assert_eq!(running.status.borrow().missing, 250);
    assert_eq!(running.alarms(), ["uplink-events-missing"]);
    running.end().await;
}
