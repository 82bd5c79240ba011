//! A large backlog is drained against a mosquitto that is killed five times while parcels keep coming: none missing,
//! repetitions only byte for byte the same.
//!
//! The store is filled through the real journal, the publisher is the real one; mosquitto is killed with SIGKILL and
//! comes back on its port with what it had stored. 20,000 events; with `SORTD_LONG=1` 1,000,000.
//!
//! # Why the witness misses nothing that the broker acknowledged
//!
//! A killed broker takes with it what waits in its memory for a subscriber, acknowledged or not; that would be the
//! broker's loss and not the line's. So the witness subscribes in a way that lets nothing wait: a session that outlives
//! the broker, quality of service 0 (mosquitto writes such a message to the subscriber's socket before it acknowledges
//! it to the publisher), queued where the witness is away, and it reads faster than anyone publishes. It says nothing
//! to the broker, so a kill leaves no unread byte that would reset the connection: it reads to the end.

#![expect(clippy::unwrap_used, reason = "the helpers are tests too: what fails in them fails the test")]

use std::collections::HashMap;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use simulators::bench::uplink::seq_of;
use simulators::outbox::{EVENTS_A_PARCEL, Outbox};
use sortd::site::UplinkSettings;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Parcels a second beside the backlog.
const PARCELS_PER_S: u64 = 30;
/// Times the broker is killed.
const KILLS: u64 = 5;
/// Longest wait for anything; reached only where something is wrong.
const PATIENCE: Duration = Duration::from_secs(300);
/// One of so many documents is checked in full: JSON, and its name against its contents.
const CHECKED: u64 = 100;

/// Events of the backlog and their rate, so that the kills fall into the drain.
fn size() -> (u64, u32) {
    if std::env::var_os("SORTD_LONG").is_some_and(|long| long == "1") {
        (1_000_000, 10_000)
    } else {
        (20_000, 4_000)
    }
}

fn mosquitto() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian installs it where only root's path looks.
    let found = std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|directory| directory.join("mosquitto"))
        .find(|file| file.is_file());
    if found.is_none() {
        assert!(
            std::env::var_os("SORTD_TEST_ALL").is_none(),
            "SORTD_TEST_ALL is set, but there is no mosquitto"
        );
        println!("skipped: mosquitto is not installed");
    }
    found
}

/// A mosquitto that is killed and comes back.
struct Mosquitto {
    program: PathBuf,
    configuration: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Mosquitto {
    async fn start(program: PathBuf, directory: &Path) -> Mosquitto {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let configuration = directory.join("mosquitto.conf");
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\npersistence true\n\
             persistence_location {}/\nautosave_interval 1\nmax_queued_messages 0\nqueue_qos0_messages true\n",
            directory.display()
        );
        std::fs::write(&configuration, text).unwrap();
        let mut broker = Mosquitto { program, configuration, port, child: None };
        broker.revive().await;
        broker
    }

    async fn revive(&mut self) {
        let child = Command::new(&self.program)
            .arg("-c")
            .arg(&self.configuration)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let up = async {
            while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, up).await.expect("the broker listens");
    }

    /// SIGKILL, by its process id.
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the witness has found.
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    distinct: u64,
    repeated: u64,
    different: u64,
    checked: u64,
    wrong: u64,
    connections: u64,
}

/// Hears every event and keeps a digest of each.
struct Witness {
    /// A digest of each event by its sequence.
    known: Arc<Mutex<HashMap<u64, u64>>>,
    found: watch::Receiver<Found>,
    task: JoinHandle<()>,
}

impl Witness {
    async fn listen(port: u16, topic: String) -> Witness {
        let (tell, mut found) = watch::channel(Found::default());
        let known: Arc<Mutex<HashMap<u64, u64>>> = Arc::default();
        let heard = Arc::clone(&known);
        let task = tokio::spawn(async move {
            let take = |payload: &[u8]| {
                let seq = seq_of(payload).expect("every event has a seq");
                let digest = digest(payload);
                let before = heard.lock().unwrap().insert(seq, digest);
                let is_right = seq.is_multiple_of(CHECKED).then(|| is_right(payload));
                tell.send_modify(|found| {
                    match before {
                        None => found.distinct += 1,
                        Some(before) if before == digest => found.repeated += 1,
                        Some(_) => found.different += 1,
                    }
                    found.checked += u64::from(is_right.is_some());
                    found.wrong += u64::from(is_right == Some(false));
                });
            };
            loop {
                let mut options = MqttOptions::new("witness", "127.0.0.1", port);
                // Silent for as long as the test lasts: see above.
                options.set_clean_session(false).set_keep_alive(Duration::from_secs(3_600));
                options.set_max_packet_size(1 << 20, 1 << 20);
                let (client, mut events) = AsyncClient::new(options, 10);
                loop {
                    match events.poll().await {
                        Ok(Event::Incoming(Packet::ConnAck(_))) => {
                            client.try_subscribe(&*topic, QoS::AtMostOnce).unwrap();
                        }
                        Ok(Event::Incoming(Packet::SubAck(_))) => {
                            tell.send_modify(|found| found.connections += 1);
                        }
                        Ok(Event::Incoming(Packet::Publish(publish))) => take(&publish.payload),
                        Ok(_) => {}
                        Err(_) => break,
                    }
                }
                // What came before the end and was not given out yet would be lost with the client.
                for event in std::mem::take(&mut events.state.events) {
                    if let Event::Incoming(Packet::Publish(publish)) = event {
                        take(&publish.payload);
                    }
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        found.wait_for(|found| found.connections == 1).await.unwrap();
        Witness { known, found, task }
    }

    async fn until(&mut self, what: &str, wanted: impl FnMut(&Found) -> bool) -> Found {
        let reached = tokio::time::timeout(PATIENCE, self.found.wait_for(wanted)).await.is_ok();
        let found = *self.found.borrow();
        if !reached {
            let known = self.known.lock().unwrap();
            let last = known.keys().max().copied().unwrap_or(0);
            let missing: Vec<u64> = (1..=last).filter(|seq| !known.contains_key(seq)).collect();
            println!("{} missing: {missing:?}", missing.len());
        }
        assert!(reached, "{what}: {found:?}");
        found
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn digest(bytes: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

fn is_right(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(bytes).is_ok_and(|document| {
        let ids = sortd::uplink::hash::event_ids(&document).unwrap_or_default();
        ids.len() == 1 && document["epcisBody"]["eventList"][0]["eventID"] == ids[0]
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_backlog_is_drained_through_five_broker_deaths_while_parcels_keep_coming() {
    let Some(program) = mosquitto() else { return };
    let (backlog, backlog_per_s) = size();
    // Beside the build, which is on a disk; a temporary directory may be in memory.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = directory.path().join("line");
    let (mut outbox, filling) = tokio::task::block_in_place(|| {
        let begun = now();
        let mut outbox = Outbox::open(&store).unwrap();
        outbox.fill(backlog).unwrap();
        (outbox, begun.elapsed())
    });
    println!("{backlog} events stored in {:.1} s", filling.as_secs_f64());

    let mut broker = Mosquitto::start(program, directory.path()).await;
    let mut witness = Witness::listen(broker.port, outbox.topics().events()).await;
    // The session is on the disk before the first kill.
    let database = directory.path().join("mosquitto.db");
    while !database.exists() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let begun = now();
    let settings = UplinkSettings { backlog_per_s, silence_ms: 3_000, ..outbox.settings(broker.port) };
    let mut publishing = outbox.publish(settings).unwrap();
    let (stop, mut stopped) = watch::channel(false);
    let parcels = tokio::spawn(async move {
        let period = Duration::from_secs(1) / u32::try_from(PARCELS_PER_S * EVENTS_A_PARCEL).unwrap();
        let mut beat = tokio::time::interval(period);
        while !*stopped.borrow_and_update() {
            beat.tick().await;
            outbox.tell().unwrap();
        }
        outbox
    });

    for kill in 1..=KILLS {
        let at = kill * backlog / (KILLS + 1);
        witness.until("the drain goes on", |found| found.distinct >= at).await;
        broker.kill();
        assert!(publishing.until(PATIENCE, |status| !status.connected).await, "the loss is noticed");
        let connections = witness.found.borrow().connections;
        broker.revive().await;
        witness.until("the witness is back", |found| found.connections > connections).await;
        let status = publishing.status.borrow().clone();
        println!(
            "kill {kill}: {} distinct, {} repeated; cursor {}, live {:?}",
            witness.found.borrow().distinct,
            witness.found.borrow().repeated,
            status.cursor,
            status.live
        );
    }
    assert!(
        publishing.until(PATIENCE, |status| status.connected && status.live.is_none()).await,
        "it is drained"
    );
    let drained = begun.elapsed();
    stop.send(true).unwrap();
    let outbox = parcels.await.unwrap();
    let events = outbox.events();
    let all = publishing.until(PATIENCE, |status| status.backlog == 0 && status.cursor == events).await;
    assert!(all, "all is acknowledged: {:?}", *publishing.status.borrow());
    let found = witness.until("all have come", |found| found.distinct == events).await;
    let status = publishing.status.borrow().clone();
    publishing.end().await;
    tokio::task::block_in_place(|| outbox.close());

    println!(
        "{backlog} events of backlog and {} live ones in {:.1} s ({:.0} events/s), {KILLS} kills: {} repeated, {} \
         checked in full, {} reconnects",
        events - backlog,
        drained.as_secs_f64(),
        events as f64 / drained.as_secs_f64(),
        found.repeated,
        found.checked,
        status.reconnects
    );
    assert!(events > backlog, "parcels kept coming");
    assert_eq!((found.different, found.wrong, status.missing), (0, 0, 0), "{found:?} {status:?}");
    assert!(found.checked >= events / CHECKED);
    assert!(status.reconnects >= KILLS, "{status:?}");
}

#[expect(clippy::disallowed_methods, reason = "it measures real time")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
