//! Three NATS nodes: first a follower of the messages' stream is killed, then its leader, and both come back.

use std::time::Duration;

use hil_tests::nats::{Cluster, NODES};
use hil_tests::outbox::{Journal, Outbox, settings, topics};
use hil_tests::witness::Witness;
use sortd::site::UplinkSettings;
use sortd::watch::clock::Clock;

/// Events in all.
const EVENTS: u64 = 15_000;
/// Events that are published while a node is down. With a follower down some publishers get no more than 60/s.
const WHILE_DOWN: u64 = 100;
/// The whole, from the first event to the last at the witness.
const AT_MOST: Duration = Duration::from_secs(80);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nats_cluster_that_loses_a_follower_and_then_its_leader_has_every_event() {
    let _alone = crate::ONE_AT_A_TIME.lock().await;
    let Some(mut cluster) = Cluster::start().await else { return };
    let clock = Clock::default();
    let begun = clock.now();
    let say = |what: &str| println!("{:>6} ms  {what}", clock.now().ms_since(begun));

    // The first client makes the streams; only then is it known who leads.
    let probe = Witness::start(cluster.mqtt(0), "probe", "nothing/at/all".to_owned()).await;
    let stream = cluster.messages(|stream| stream.current.len() == NODES - 1).await;
    drop(probe);
    let (follower, other) = (stream.current[0], stream.current[1]);
    say(&format!("settled: {stream:?}; the witness listens at {other}"));
    let mut witness = Witness::start(cluster.mqtt(other), "cloud", topics().events()).await;

    // The uplink begins at the node that is killed first, and finds the others by itself.
    let nodes = [cluster.mqtt(follower), cluster.mqtt(stream.leader), cluster.mqtt(other)];
    let journal = Journal::new(EVENTS / 3);
    let settings = UplinkSettings { silence_ms: 5_000, echo_check: true, ..settings(&nodes) };
    let mut outbox = Outbox::start(settings, &journal);
    outbox.until("a thousand events", |status| status.cursor >= 1_000).await;

    cluster.kill(follower);
    say("the follower is killed");
    // There is something to publish however fast the first events went.
    journal.grow(2 * EVENTS / 3);
    let lost = outbox.until("the loss", |status| status.reconnects > 0).await;
    outbox.alarm("mqtt://127.0.0.1").await;
    let here = lost.cursor;
    let held = outbox
        .until("another node takes events", |status| status.connected && status.cursor >= here + WHILE_DOWN)
        .await;
    say(&format!("goes on at {}: {:?}", held.broker, lost.last_error));
    assert!(held.broker.ends_with(&nodes[1].to_string()) || held.broker.ends_with(&nodes[2].to_string()));
    cluster.revive(follower);
    cluster.ready(follower).await;
    let stream = cluster.messages(|stream| stream.current.len() == NODES - 1).await;
    say(&format!("the follower is back: {stream:?}"));
    let before = outbox.until("a third", |status| status.cursor >= EVENTS / 3).await;

    cluster.kill(stream.leader);
    say(&format!("the leader is killed, the uplink is at {}", before.broker));
    let here = outbox.status.borrow().cursor;
    journal.grow(EVENTS);
    let held = outbox
        .until("the others take events", |status| status.connected && status.cursor >= here + WHILE_DOWN)
        .await;
    say(&format!("goes on at {}: {:?}", held.broker, held.last_error));
    cluster.revive(stream.leader);
    cluster.ready(stream.leader).await;
    let stream = cluster.messages(|stream| stream.current.len() == NODES - 1).await;
    say(&format!("the leader is back: {stream:?}"));

    outbox.until("all is acknowledged", |status| status.cursor == EVENTS && status.backlog == 0).await;
    say("all is acknowledged");
    outbox.no_alarm().await;
    let status = outbox.status.borrow().clone();
    outbox.end().await;
    let ledger = witness.heard(EVENTS).await;
    let took = Duration::from_millis(clock.now().ms_since(begun));
    say(&format!("the witness has all, {} repeated, {} reconnects", ledger.repeated, status.reconnects));
    ledger.check(EVENTS);
    assert!(took < AT_MOST, "{took:?}");
}
