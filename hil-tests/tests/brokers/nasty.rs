//! A broker that breaks every promise a broker makes, one after the other.

use std::time::Duration;

use hil_tests::nasty::{Manner, Nasty};
use hil_tests::outbox::{Journal, Outbox, listen, settings, topics};
use sortd::site::UplinkSettings;

/// Silence after which a connection is given up; the whole seconds of the client library from one on.
const SILENCE_MS: u32 = 1_000;

fn impatient(port: u16) -> UplinkSettings {
    UplinkSettings { silence_ms: SILENCE_MS, ..settings(&[port]) }
}

/// Good for 300 events, then like this until the uplink says so in status and alarm, then good again.
async fn survives(manner: Manner, says: &str) {
    let broker = Nasty::start(topics().events(), Manner::Good).await;
    let journal = Journal::new(300);
    let mut outbox = Outbox::start(impatient(broker.port), &journal);
    outbox.until("the first events", |status| status.cursor == 300).await;
    broker.behave(manner);
    journal.grow(2_000);
    outbox
        .until(&format!("{manner:?} is said: {says}"), |status| {
            status.last_error.as_ref().is_some_and(|error| error.contains(says))
        })
        .await;
    let alarm = outbox.alarm(says).await;
    assert!(alarm.id == "uplink-offline" && !alarm.remedy.is_empty(), "{alarm:?}");
    broker.behave(Manner::Good);
    outbox.until("the rest", |status| status.cursor == 2_000 && status.backlog == 0).await;
    outbox.no_alarm().await;
    outbox.end().await;
    let ledger = broker.ledger();
    println!("{manner:?}: {} repeated, {} connections", ledger.repeated, broker.connections());
    ledger.check(2_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_never_acknowledges() {
    survives(Manner::Mute, "did not acknowledge event 30").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_stops_reading() {
    survives(Manner::Deaf, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_cuts_a_publish_in_the_middle() {
    survives(Manner::CutPublish(50), "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_cuts_its_own_acknowledgement_in_the_middle() {
    survives(Manner::CutAck(50), "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_sends_garbage() {
    survives(Manner::Garbage(50), "sent what is no MQTT").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_acknowledges_what_was_never_sent() {
    survives(Manner::Stray(50), "which is not in flight").await;
}

/// Each fault at CONNECT has its name. They differ only in that, so one uplink meets them all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_does_not_let_anybody_in() {
    let manners = [
        (Manner::Refuse(1), "does not speak MQTT 3.1.1 (return code 1)"),
        (Manner::Refuse(2), "does not accept this client id (return code 2)"),
        (Manner::Refuse(3), "service is unavailable (return code 3)"),
        (Manner::Refuse(4), "user name or password is wrong (return code 4)"),
        (Manner::Refuse(5), "is not authorised (return code 5)"),
        (Manner::Refuse(77), "return code 77, which MQTT 3.1.1 does not know"),
        (Manner::HangUp, "closed the connection before it answered"),
        (Manner::WebServer, "does not speak MQTT on this port"),
        (Manner::WrongAnswer, "answers to CONNECT with PingResp"),
        (Manner::Silent, "did not answer within 1 s"),
    ];
    for (manner, says) in manners {
        let broker = Nasty::start(topics().events(), manner).await;
        let mut outbox = Outbox::start(impatient(broker.port), &Journal::new(200));
        outbox
            .until(says, |status| status.last_error.as_ref().is_some_and(|error| error.contains(says)))
            .await;
        let alarm = outbox.alarm(says).await;
        assert!(
            alarm.text.contains(&format!("mqtt://127.0.0.1:{}", broker.port)),
            "it names its broker: {alarm:?}"
        );
        broker.behave(Manner::Good);
        outbox.until("it recovers", |status| status.cursor == 200).await;
        outbox.no_alarm().await;
        outbox.end().await;
        broker.ledger().check(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_acknowledges_out_of_order_is_followed_without_a_reconnect() {
    let broker = Nasty::start(topics().events(), Manner::Backwards(20)).await;
    // With the first health message a multiple of 20 publishes, so that none stays held.
    let mut outbox = Outbox::start(settings(&[broker.port]), &Journal::new(1_999));
    let status = outbox.until("all", |status| status.cursor == 1_999).await;
    assert_eq!((status.reconnects, broker.others()), (0, 1));
    outbox.no_alarm().await;
    broker.behave(Manner::Good);
    outbox.end().await;
    let ledger = broker.ledger();
    assert_eq!(ledger.repeated, 0);
    ledger.check(1_999);
}

/// Each connection ends at the first second acknowledgement. What was acknowledged before counts, so that it goes on,
/// if slowly: the first may be that of a health message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_acknowledges_everything_twice_is_named_and_loses_nothing() {
    let broker = Nasty::start(topics().events(), Manner::Twice).await;
    let mut outbox = Outbox::start(settings(&[broker.port]), &Journal::new(300));
    outbox.alarm("which is not in flight").await;
    outbox.until("one event", |status| status.cursor >= 1).await;
    broker.behave(Manner::Good);
    outbox.until("all", |status| status.cursor == 300).await;
    outbox.no_alarm().await;
    outbox.end().await;
    broker.ledger().check(300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_slow_is_waited_for() {
    // 100 in flight, 8 ms each: the answer to a ping comes behind them, after most of a second.
    let broker = Nasty::start(topics().events(), Manner::Slow(Duration::from_millis(8))).await;
    let patient = UplinkSettings { silence_ms: 8_000, ..settings(&[broker.port]) };
    let mut outbox = Outbox::start(patient, &Journal::new(400));
    let status = outbox.until("all", |status| status.cursor == 400).await;
    assert_eq!(status.reconnects, 0, "{status:?}");
    outbox.no_alarm().await;
    outbox.end().await;
    let ledger = broker.ledger();
    assert_eq!(ledger.repeated, 0);
    ledger.check(400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_refuses_the_subscription_is_said_while_events_go_on() {
    let broker = Nasty::start(topics().events(), Manner::NoSubscriptions).await;
    let mut outbox = Outbox::start(settings(&[broker.port]), &Journal::new(200));
    let listening = listen(settings(&[broker.port]), &outbox.board);
    outbox.until("events go up", |status| status.cursor == 200).await;
    let alarm = outbox.alarm("refused the subscription to sortd/v1/dg/l1/").await;
    assert_eq!(alarm.id, "uplink-down-offline");
    broker.behave(Manner::Good);
    outbox.no_alarm().await;
    drop(listening);
    outbox.end().await;
    broker.ledger().check(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_lets_nothing_be_proven_is_not_believed() {
    let broker = Nasty::start(topics().events(), Manner::NoSubscriptions).await;
    let proving = UplinkSettings { echo_check: true, ..impatient(broker.port) };
    let mut outbox = Outbox::start(proving, &Journal::new(200));
    outbox.until("three attempts", |status| status.reconnects >= 3).await;
    outbox.alarm("refused the subscription to sortd/v1/dg/l1/events").await;
    assert_eq!(outbox.status.borrow().cursor, 0);
    outbox.end().await;
    // It grants the subscription, and yet nothing comes back.
    let broker = Nasty::start(topics().events(), Manner::Good).await;
    let mut outbox =
        Outbox::start(UplinkSettings { echo_check: true, ..impatient(broker.port) }, &Journal::new(200));
    outbox.until("three attempts", |status| status.reconnects >= 3).await;
    let alarm = outbox.alarm("acknowledges what is published to sortd/v1/dg/l1/events").await;
    assert!(alarm.remedy.contains("echo-check"), "{alarm:?}");
    assert_eq!(outbox.status.borrow().cursor, 0);
    outbox.end().await;
    // A window of 100, in which health and what is kept free for live events may have places, and the same again at
    // each attempt.
    let sent = broker.ledger();
    assert!((85..=100).contains(&sent.events.len()), "{} events sent", sent.events.len());
    sent.check(sent.events.len() as u64);
}

/// One node of two takes connections and acknowledges nothing: the other is found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_that_never_acknowledges_is_left_for_the_other() {
    let mute = Nasty::start(topics().events(), Manner::Mute).await;
    let good = Nasty::start(topics().events(), Manner::Good).await;
    let two = UplinkSettings { silence_ms: SILENCE_MS, ..settings(&[mute.port, good.port]) };
    let mut outbox = Outbox::start(two, &Journal::new(1_000));
    let status = outbox.until("all", |status| status.cursor == 1_000).await;
    assert!(status.broker.ends_with(&good.port.to_string()) && status.reconnects == 1, "{status:?}");
    outbox.no_alarm().await;
    outbox.end().await;
    good.ledger().check(1_000);
}
