//! Orders and events over real brokers, with cables pulled and brokers restarted.

use std::collections::BTreeSet;

use rumqttc::QoS;
use serde_json::json;
use sha2::Digest;

use super::journal::FakeJournal;
use super::outbox::by_seq;
use super::real::{Cable, Cloud, Mosquitto, embedded, publish_blanks};
use super::{Notice, Part, Topic, listen, listen_beside, publish, settings, topics};
use crate::site::UplinkSettings;
use crate::uplink::down::Errand;
use crate::uplink::health::Health;
use crate::uplink::orders::{Ack, Refusal};
use crate::watch::Board;

fn message(id: &str, orders: usize) -> Vec<u8> {
    let orders: Vec<_> = (0..orders)
        .map(|n| json!({"order": format!("{id}-{n}"), "revision": 1, "codes": [format!("C{n}")], "destination": "TH"}))
        .collect();
    json!({"id": id, "orders": orders}).to_string().into_bytes()
}

fn acks(heard: &[Vec<u8>]) -> Vec<Ack> {
    heard.iter().map(|bytes| serde_json::from_slice(bytes).unwrap()).collect()
}

fn answered(heard: &[Vec<u8>]) -> BTreeSet<String> {
    acks(heard).into_iter().filter_map(|ack| ack.id).collect()
}

async fn send(cloud: &Cloud, payload: Vec<u8>) {
    cloud.client.publish(topics().down(Topic::Orders), QoS::AtLeastOnce, false, payload).await.unwrap();
}

/// Orders: answered after durability, kept while the line is away, delivered again if the line goes away
/// before they are durable, refused with why.
async fn orders_come_down(port: u16) {
    let mut cable = Cable::to(port).await;
    let mut cloud = Cloud::listening(port, "cloud-orders", topics().acks()).await;
    let mut down = listen(settings(cable.port));
    down.until("it subscribes", |status| status.connected).await;

    // Larger than the channel to the core: parts are held and offered again; answered once, when durable.
    send(&cloud, message("m-1", 700)).await;
    let first = down.part().await;
    assert_eq!((first.message.as_str(), first.last, first.orders.len()), ("m-1", false, 64));
    assert_eq!(down.apply_until("m-1").await, ["m-1"]);
    let heard = cloud.until("m-1 is answered", |heard| heard.len() == 1).await;
    assert_eq!(acks(&heard)[0], Ack::taken("m-1".to_owned(), 700 - 64, Vec::new()));

    // Published while the cable is pulled: the broker keeps them.
    cable.pull().await;
    down.until("the loss is noticed", |status| !status.connected).await;
    for n in 2..=6 {
        send(&cloud, message(&format!("m-{n}"), 2)).await;
    }
    cable.plug().await;
    let mut applied = down.apply_until("m-6").await;
    applied.retain(|id| id != "m-1");
    assert_eq!(applied, ["m-2", "m-3", "m-4", "m-5", "m-6"], "in the order of publishing");
    cloud.until("all are answered", |heard| answered(heard).len() == 6).await;

    // The cable is pulled between the offer and durability: delivered again, and answered.
    let before = down.status.borrow().messages;
    send(&cloud, message("m-7", 1)).await;
    assert_eq!(down.part().await.message, "m-7");
    cable.pull().await;
    down.until("the loss is noticed", |status| !status.connected).await;
    cable.plug().await;
    down.until("it is delivered again", |status| status.connected && status.messages >= before + 2).await;
    let (order, reason) = (Some("m-7-0".to_owned()), "an older revision".to_owned());
    down.durable(Topic::Orders, "m-7", 0, vec![Refusal { order, code: None, reason }]).await;
    let heard = cloud.until("m-7 is answered", |heard| answered(heard).contains("m-7")).await;
    let all = acks(&heard);
    let ack = all.iter().find(|ack| ack.id.as_deref() == Some("m-7")).unwrap();
    assert_eq!((ack.accepted, ack.refused_count), (0, 1));
    assert_eq!(ack.refused[0].order.as_deref(), Some("m-7-0"));
    assert_eq!(ack.refused[0].reason, "an older revision");

    // What cannot be taken is answered and released, and what comes after it is not held up.
    send(&cloud, b"{\"id\": \"m-8\", \"orders\": [".to_vec()).await;
    send(&cloud, b"\xff\xfe".to_vec()).await;
    send(&cloud, json!({"id": "m-9", "orders": [{"order": "A", "revision": "x"}]}).to_string().into_bytes())
        .await;
    send(&cloud, vec![b'['; 600 * 1024]).await;
    send(&cloud, message("m-10", 1)).await;
    assert_eq!(down.apply_until("m-10").await.last().unwrap(), "m-10");
    let heard = cloud.until("m-10 is answered", |heard| answered(heard).contains("m-10")).await;
    let all = acks(&heard);
    let of = |id: &str| all.iter().find(|ack| ack.id.as_deref() == Some(id)).unwrap();
    assert!(of("m-8").error.as_ref().unwrap().contains("is JSON"));
    assert_eq!((of("m-9").error.as_ref(), of("m-9").refused_count), (None, 1));
    let nameless: Vec<_> = all.iter().filter(|ack| ack.id.is_none()).collect();
    assert_eq!(nameless.len(), 2);
    assert!(nameless.iter().all(|ack| ack.error.is_some() && ack.digest.is_some()));
    down.until("all are released", |status| status.answered >= 11 && status.in_process == 0).await;
    down.end().await;
}

/// A disk that takes nothing: every message is with the core all the same, and none is answered or released before
/// it is durable. Those of a line that is killed then come again.
async fn orders_reach_the_core_past_a_disk_that_stands(port: u16, messages: usize) {
    let mut cable = Cable::to(port).await;
    let mut cloud = Cloud::listening(port, "cloud-slow", topics().acks()).await;
    let mut down = listen(settings(cable.port));
    down.until("it subscribes", |status| status.connected).await;
    for n in 0..messages {
        send(&cloud, message(&format!("m-{n}"), 1)).await;
    }
    for n in 0..messages {
        assert_eq!(down.part().await.message, format!("m-{n}"), "at the core, and nothing is durable");
    }
    let status = down.status.borrow().clone();
    assert_eq!((status.answered, status.in_process), (0, messages as u64));

    // Nothing was released, so all of it comes again over a new connection, and changes nothing while it runs.
    cable.pull().await;
    down.until("the loss is noticed", |status| !status.connected).await;
    cable.plug().await;
    down.until("all come again", |status| status.messages >= 2 * messages as u64).await;
    for n in 0..messages {
        down.durable(Topic::Orders, &format!("m-{n}"), 1, Vec::new()).await;
    }
    let heard = cloud.until("all are answered", |heard| answered(heard).len() == messages).await;
    assert_eq!(heard.len(), messages, "once each");
    down.until("all are released", |status| {
        status.answered == messages as u64 && status.in_process == 0 && status.reconnects == 1
    })
    .await;
    down.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_reach_the_core_past_a_disk_that_stands_over_the_embedded_broker() {
    orders_reach_the_core_past_a_disk_that_stands(embedded().await, 60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_reach_the_core_past_a_disk_that_stands_over_mosquitto() {
    let Some(broker) = Mosquitto::start_with(0).await else { return };
    orders_reach_the_core_past_a_disk_that_stands(broker.port, 700).await;
}

/// A night's messages, good and bad, arrive at once when the line comes back.
async fn a_night_of_orders(port: u16, each: usize) {
    let mut cable = Cable::to(port).await;
    let mut cloud = Cloud::listening(port, "cloud-night", topics().acks()).await;
    let mut down = listen(settings(cable.port));
    down.until("it subscribes", |status| status.connected).await;
    cable.pull().await;
    down.until("the loss is noticed", |status| !status.connected).await;
    for n in 0..each {
        send(&cloud, message(&format!("good-{n}"), 1)).await;
        send(&cloud, format!("{{\"id\": \"bad-{n}\", ").into_bytes()).await;
    }
    cable.plug().await;
    // A release may be cut off by the rebuilding between two portions; then a message is applied twice.
    let mut applied = down.apply_until(&format!("good-{}", each - 1)).await;
    let mut seen = BTreeSet::new();
    applied.retain(|id| seen.insert(id.clone()));
    assert_eq!(applied, (0..each).map(|n| format!("good-{n}")).collect::<Vec<_>>());
    let heard = cloud.until("all are answered", |heard| answered(heard).len() == 2 * each).await;
    assert!(acks(&heard).iter().filter(|ack| ack.error.is_some()).count() >= each);
    assert!(down.status.borrow().reconnects <= 6, "{:?}", *down.status.borrow());
    down.end().await;
}

/// Holds, plans and questions: each answered by its id, and none of them holds up an order.
async fn the_other_topics_come_down(port: u16) {
    let cable = Cable::to(port).await;
    let mut cloud = Cloud::listening(port, "cloud-others", topics().acks()).await;
    let mut down = listen(settings(cable.port));
    down.until("it subscribes", |status| status.connected).await;
    let say = async |cloud: &Cloud, topic: Topic, message: serde_json::Value| {
        let payload = message.to_string().into_bytes();
        cloud.client.publish(topics().down(topic), QoS::AtLeastOnce, false, payload).await.unwrap();
    };

    // Questions nobody answers yet, more than are worked on at once …
    for n in 0..6 {
        say(&cloud, Topic::Ask, json!({"id": format!("a-{n}"), "ask": "evidence", "code": "K1"})).await;
    }
    // … hold up neither an order nor a hold, also of the same name.
    say(&cloud, Topic::Orders, serde_json::from_slice(&message("x", 1)).unwrap()).await;
    say(&cloud, Topic::Holds, json!({"id": "x", "holds": [{"order": "x-0", "hold": "repack"}, 7]})).await;
    assert_eq!(down.part().await.message, "x");
    let Part::Holds(part) = down.any_part().await else { panic!("a hold comes") };
    assert_eq!((part.message.as_str(), part.last, part.holds.len()), ("x", true, 1));
    down.durable(Topic::Holds, "x", 1, Vec::new()).await;
    let heard = cloud.until("the hold is answered", |heard| answered(heard).contains("x")).await;
    let ack = acks(&heard).pop().unwrap();
    assert_eq!((ack.accepted, ack.refused_count), (1, 1), "of the hold, not of the order");
    down.durable(Topic::Orders, "x", 1, Vec::new()).await;
    cloud.until("the order is answered", |heard| heard.len() == 2).await;

    for n in 0..6 {
        let errand = tokio::time::timeout(super::PATIENCE, down.errands.recv()).await.unwrap().unwrap();
        let id = format!("a-{n}");
        assert_eq!(errand, Errand::Evidence { id: id.clone(), code: "K1".to_owned() });
        let ack = Ack { answer: Some(json!({"n": n})), ..Ack::taken(id.clone(), 0, Vec::new()) };
        down.notices.send(Notice::Done { down: Topic::Ask, message: id, ack }).await.unwrap();
    }
    let heard = cloud.until("all are answered", |heard| heard.len() == 8).await;
    assert_eq!(acks(&heard).pop().unwrap().answer, Some(json!({"n": 5})));

    // An answer to an unknown parcel is an order like any other.
    let order = json!({"order": "SO-1", "revision": 1, "codes": ["K9"], "destination": "TH"});
    say(&cloud, Topic::Ask, json!({"id": "u", "ask": "unknown_parcel", "code": "K9", "order": order})).await;
    assert_eq!(down.part().await.orders[0].order, "SO-1");
    down.durable(Topic::Orders, "u", 1, Vec::new()).await;
    say(&cloud, Topic::Plans, json!({"id": "p", "plan": {}})).await;
    let heard = cloud.until("all are answered", |heard| heard.len() == 10).await;
    let all = acks(&heard);
    assert_eq!(all.iter().find(|ack| ack.id.as_deref() == Some("u")).unwrap().accepted, 1);
    let plan = all.iter().find(|ack| ack.id.as_deref() == Some("p")).unwrap();
    assert!(plan.error.as_ref().unwrap().contains("sort-plan.csv"));
    down.until("all are released", |status| status.answered >= 10 && status.in_process == 0).await;
    down.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_topics_come_down_over_the_embedded_broker() {
    the_other_topics_come_down(embedded().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_topics_come_down_over_mosquitto() {
    let Some(broker) = Mosquitto::start().await else { return };
    the_other_topics_come_down(broker.port).await;
}

/// Events arrive, all of them, through a cable that is pulled three times; the last will says so.
async fn events_go_up(port: u16) {
    const EVENTS: u64 = 20_000;
    let mut cable = Cable::to(port).await;
    let mut cloud = Cloud::listening(port, "cloud-events", topics().events()).await;
    let mut watcher = Cloud::listening(port, "cloud-health", topics().health()).await;
    let journal = FakeJournal::new(1, EVENTS);
    let mut running = publish(settings(cable.port), &journal);
    for pull in 1..=3 {
        cloud.until("a quarter", |heard| heard.len() as u64 >= pull * EVENTS / 4).await;
        cable.pull().await;
        running.until("the loss is noticed", |status| !status.connected).await;
        cable.plug().await;
    }
    running.until("all is acknowledged", |status| status.backlog == 0).await;
    let mut newest = 0;
    let mut seen = 0;
    let heard = cloud
        .until("the newest", |heard| {
            newest = by_seq(heard[seen..].iter().cloned()).0.last_key_value().map_or(newest, |last| *last.0);
            seen = heard.len();
            newest == EVENTS
        })
        .await;
    let (events, _) = by_seq(heard);
    assert!(events.keys().copied().eq(1..=EVENTS), "a gap");

    let states = |heard: &[Vec<u8>]| -> Vec<String> {
        heard.iter().map(|bytes| serde_json::from_slice::<Health>(bytes).unwrap().state).collect()
    };
    watcher.until("the last will came", |heard| states(heard).contains(&"offline".to_owned())).await;
    // The line is there when it is there: whoever comes later is told so by the retained message.
    watcher
        .until("and it came back", |heard| states(heard).last().is_some_and(|last| last == "running"))
        .await;
    let mut late = Cloud::listening(port, "cloud-late", topics().health()).await;
    let heard = late.until("health is retained", |heard| !heard.is_empty()).await;
    assert_eq!(states(&heard), ["running"]);
    // Gone without a word: whoever comes now is told that too.
    cable.pull().await;
    let offline = |heard: &[Vec<u8>]| states(heard).last().is_some_and(|last| last == "offline");
    late.until("the last will came", offline).await;
    let mut later = Cloud::listening(port, "cloud-later", topics().health()).await;
    later.until("the last will is retained", offline).await;
    cable.plug().await;
    let running_again = |heard: &[Vec<u8>]| states(heard).last().is_some_and(|last| last == "running");
    late.until("back once more", running_again).await;
    running.end().await;
    late.until("goodbye", offline).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_up_over_the_embedded_broker() {
    events_go_up(embedded().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_come_down_over_the_embedded_broker() {
    orders_come_down(embedded().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_night_of_orders_over_the_embedded_broker() {
    // With a hundred unreleased deliveries the embedded broker (rumqttd 0.20) stops acknowledging what it is
    // sent, pings included; mosquitto does not.
    a_night_of_orders(embedded().await, 40).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_night_of_orders_over_mosquitto() {
    let Some(broker) = Mosquitto::start().await else { return };
    a_night_of_orders(broker.port, 300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_up_over_mosquitto() {
    let Some(broker) = Mosquitto::start().await else { return };
    events_go_up(broker.port).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_come_down_over_mosquitto() {
    let Some(broker) = Mosquitto::start().await else { return };
    orders_come_down(broker.port).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_events_survive_three_mosquitto_restarts() {
    const EVENTS: u64 = 20_000;
    let Some(mut broker) = Mosquitto::start().await else { return };
    let mut cloud = Cloud::listening(broker.port, "cloud", topics().events()).await;
    let journal = FakeJournal::new(1, EVENTS);
    // A health message a second or so keeps other traffic between the events.
    let mut running = publish(UplinkSettings { health_ms: 1_000, ..settings(broker.port) }, &journal);
    for restart in 1..=3 {
        cloud.until("a quarter", |heard| heard.len() as u64 >= restart * EVENTS / 4).await;
        broker.end();
        running.until("the loss is noticed", |status| !status.connected).await;
        broker.revive().await;
    }
    running.until("all is acknowledged", |status| status.backlog == 0).await;
    let heard = cloud
        .until("the newest", |heard| {
            heard.last().is_some_and(|last| by_seq([last.clone()]).0.contains_key(&EVENTS))
        })
        .await;
    let (events, _) = by_seq(heard);
    let missing: Vec<u64> = (1..=EVENTS).filter(|seq| !events.contains_key(seq)).collect();
    assert!(missing.is_empty(), "{} missing: {:?} …", missing.len(), &missing[..missing.len().min(10)]);
    assert!(running.alarms().is_empty());
    running.end().await;
}

/// A message far over the limit waits among others while the line is away: it is refused by its digest and released,
/// and all the others are answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monstrous_message_is_refused_and_silences_no_other() {
    let Some(broker) = Mosquitto::start().await else { return };
    let mut cable = Cable::to(broker.port).await;
    let mut cloud = Cloud::listening(broker.port, "cloud", topics().acks()).await;
    let board = Board::default();
    let mut down = listen_beside(settings(cable.port), board.clone(), false);
    down.until("it subscribes", |status| status.connected).await;
    cable.pull().await;
    down.until("the loss is noticed", |status| !status.connected).await;
    let monster = [&br#"{"id": "monster", "orders": ["#[..], &vec![b' '; 20 << 20]].concat();
    for n in 0..5 {
        send(&cloud, message(&format!("a-{n}"), 1)).await;
    }
    send(&cloud, monster.clone()).await;
    for n in 0..5 {
        send(&cloud, message(&format!("b-{n}"), 1)).await;
    }
    cable.plug().await;
    down.apply_until("b-4").await;
    let heard = cloud.until("all are answered", |heard| answered(heard).len() == 11).await;
    let all = acks(&heard);
    let ack = all.iter().find(|ack| ack.id.as_deref() == Some("monster")).unwrap();
    let error = ack.error.as_deref().unwrap();
    assert!(error.contains(&format!("at most 524288 bytes, this one {}", monster.len())), "{error}");
    assert_eq!(ack.digest, Some(format!("sha256:{:x}", sha2::Sha256::digest(&monster))));
    down.until("all are released", |status| status.answered >= 11 && status.in_process == 0).await;
    assert!(board.snapshot().1.is_empty(), "{:?}", board.snapshot().1);
    down.end().await;
}

/// One that cannot be read at all: the session is kept, and an alarm says what to do about it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packet_that_cannot_be_read_is_told_and_the_session_is_kept() {
    let Some(mut broker) = Mosquitto::start().await else { return };
    let board = Board::default();
    let mut down = listen_beside(settings(broker.port), board.clone(), false);
    down.until("it subscribes", |status| status.connected).await;
    publish_blanks(broker.port, &topics().down(Topic::Orders), 65 << 20).await;
    down.until("the packet breaks two connections", |status| status.reconnects >= 2).await;
    let alarms = board.snapshot().1;
    let alarm = alarms.iter().find(|alarm| alarm.id == "uplink-down-oversized").unwrap();
    let bytes = (65 << 20) + topics().down(Topic::Orders).len() + 4;
    assert!(alarm.text.contains(&format!("{bytes} bytes")), "{alarm:?}");
    assert!(
        alarm.remedy.contains("message_size_limit") && alarm.remedy.contains("sortd-test-down"),
        "{alarm:?}"
    );
    // Somebody takes it away, here by taking the broker's memory.
    broker.forget().await;
    let mut cloud = Cloud::listening(broker.port, "cloud", topics().acks()).await;
    down.until("it subscribes again", |status| status.connected).await;
    send(&cloud, message("m-1", 1)).await;
    assert_eq!(down.apply_until("m-1").await, ["m-1"]);
    cloud.until("m-1 is answered", |heard| answered(heard).contains("m-1")).await;
    let quiet = async {
        while !board.snapshot().1.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(super::PATIENCE, quiet).await.expect("the alarm is gone");
    down.end().await;
}

/// The line may read its orders and not write its answers: it is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_not_passed_on_are_told() {
    let Some(mut broker) = Mosquitto::start().await else { return };
    broker.rules("topic readwrite sortd/v1/dg/l1/orders\ntopic read sortd/v1/dg/l1/#\n").await;
    let cloud = Cloud::listening(broker.port, "cloud", topics().acks()).await;
    let board = Board::default();
    let proving = UplinkSettings { echo_check: true, silence_ms: 1_000, ..settings(broker.port) };
    let mut down = listen_beside(proving, board.clone(), false);
    down.until("it subscribes", |status| status.connected).await;
    send(&cloud, message("m-1", 1)).await;
    assert_eq!(down.apply_until("m-1").await, ["m-1"]);
    let find = || board.snapshot().1.into_iter().find(|alarm| alarm.id == "uplink-acks-unproven");
    let told = async {
        while find().is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(super::PATIENCE, told).await.expect("it is told");
    assert!(find().unwrap().text.contains("sortd/v1/dg/l1/acks, and does not pass it on"));
    broker.rules("topic readwrite #\n").await;
    let mut cloud = Cloud::listening(broker.port, "cloud", topics().acks()).await;
    down.until("it subscribes again", |status| status.connected).await;
    send(&cloud, message("m-2", 1)).await;
    down.apply_until("m-2").await;
    cloud.until("m-2 is answered", |heard| answered(heard).contains("m-2")).await;
    let quiet = async {
        while find().is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(super::PATIENCE, quiet).await.expect("the alarm is gone");
    down.end().await;
}
