//! A real mosquitto that throws away what it acknowledges, or does not take it at all.
//!
//! mosquitto 2.0 acknowledges a QoS 1 publish that its access rules forbid, and one over `message_size_limit`: MQTT
//! 3.1.1 has no other answer. Only the check that events come back notices.

use std::path::Path;

use hil_tests::mosquitto::Mosquitto;
use hil_tests::outbox::{Journal, Outbox, settings, topics};
use hil_tests::witness::Witness;
use simulators::broker::Broker;
use sortd::site::UplinkSettings;

/// Events of each case.
const EVENTS: u64 = 2_000;

fn proving(port: u16) -> UplinkSettings {
    UplinkSettings { silence_ms: 2_000, echo_check: true, ..settings(&[port]) }
}

/// Anybody may read; this line may write `health` and not `events`.
fn no_events(directory: &Path) -> String {
    let file = directory.join("acl");
    std::fs::write(&file, "topic read #\ntopic readwrite sortd/v1/dg/l1/health\n")
        .expect("it can be written");
    format!("acl_file {}\n", file.display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mosquitto_that_forbids_events_or_finds_them_too_large_releases_nothing() {
    let _alone = crate::ONE_AT_A_TIME.lock().await;
    let says = "acknowledges what is published to sortd/v1/dg/l1/events, and does not pass it on";
    let cases = [
        ("forbidden", says, ""),
        ("too large", says, "message_size_limit 500\n"),
        // This one hangs up, and says nothing of why.
        ("too large to be read", "", "max_packet_size 500\n"),
    ];
    for (what, says, global) in cases {
        let Some(mut broker) = Mosquitto::new() else { return };
        let global = if global.is_empty() { no_events(broker.directory()) } else { global.to_owned() };
        broker.run(&global, "").await;
        let mut witness = Witness::start(broker.cloud, "cloud", topics().events()).await;
        let mut outbox = Outbox::start(proving(broker.port), &Journal::new(EVENTS));
        outbox.until(what, |status| status.reconnects >= 2).await;
        let alarm = outbox.alarm(says).await;
        let status = outbox.status.borrow().clone();
        println!("{what}: {}; {}", alarm.text, alarm.remedy);
        assert_eq!((status.cursor, witness.count()), (0, 0), "{what}: {status:?}");

        broker.run("", "").await;
        outbox.until("all is acknowledged", |status| status.cursor == EVENTS).await;
        outbox.no_alarm().await;
        outbox.end().await;
        witness.heard(EVENTS).await.check(EVENTS);
    }
}

/// `cargo demo` runs with the check and this broker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_broker_passes_on_what_it_acknowledges() {
    let broker = Broker::start().expect("it needs nothing installed");
    let mut witness = Witness::start(broker.port, "cloud", topics().events()).await;
    let mut outbox = Outbox::start(proving(broker.port), &Journal::new(EVENTS));
    let status = outbox.until("all is acknowledged", |status| status.cursor == EVENTS).await;
    assert_eq!(status.reconnects, 0, "{status:?}");
    // Three times as long as anything acknowledged may take to come back: health is passed on as well.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    outbox.no_alarm().await;
    assert_eq!(outbox.status.borrow().reconnects, 0);
    outbox.end().await;
    witness.heard(EVENTS).await.check(EVENTS);
}
