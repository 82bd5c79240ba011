//! TLS with a real mosquitto: what is right works both ways, and each thing that is wrong has its name.
//!
//! One `sortd` lives through all of it. The broker is given a bad certificate, `sortd` says what is wrong and goes on
//! sorting; the broker is given a good one, and everything flows again by itself.

use hil_tests::PATIENCE;
use hil_tests::certificates::{Authority, Pair, Validity};
use hil_tests::mosquitto::Mosquitto;
use serde_json::Value;
use simulators::process::Daemon;
use simulators::rig::{BrokerKind, Rig, RigOptions};
use simulators::upstream::Upstream;
use simulators::world::Scenario;
use sortd::line::event::{Asked, Order};
use sortd::panel::StatusDocument;
use sortd::watch::Ne107;

/// What a bad broker is bad at.
struct Case {
    what: &'static str,
    /// What status and alarm must say.
    says: &'static str,
    /// Configuration of the listener.
    listener: String,
}

/// `cafile`, `certfile`, … of a listener that wants client certificates of an authority.
fn listener(server: &Pair, clients: Option<&std::path::Path>) -> String {
    let tls = format!("certfile {}\nkeyfile {}\n", server.certificate.display(), server.key.display());
    match clients {
        Some(authority) => tls + &format!("cafile {}\nrequire_certificate true\n", authority.display()),
        None => tls,
    }
}

fn last_error(status: &StatusDocument) -> &str {
    status.uplink.get("last_error").and_then(Value::as_str).unwrap_or_default()
}

fn count(status: &StatusDocument, name: &str) -> u64 {
    status.uplink.get(name).and_then(Value::as_u64).unwrap_or(0)
}

/// Waits, without holding up the runtime that hardware and cloud live in.
fn wait(daemon: &mut Daemon, what: &str, wanted: impl Fn(&StatusDocument) -> bool) -> StatusDocument {
    let found = tokio::task::block_in_place(|| daemon.wait_for(PATIENCE, wanted));
    match found {
        Ok(Some(status)) => status,
        Ok(None) => {
            let status = tokio::task::block_in_place(|| daemon.status());
            panic!("never came: {what}; {:?}", status.map(|status| (status.uplink, status.alarms)));
        }
        Err(why) => panic!("waiting for {what}: {why}"),
    }
}

/// Writes the TLS keys of `[uplink]` into the line's configuration.
fn configure(rig: &Rig, broker: &str, keys: &[(&str, &std::path::Path)]) {
    let path = rig.directory.path().join("sortd.toml");
    let text = std::fs::read_to_string(&path).expect("the rig has written it");
    let mut tls = String::from("[uplink]\n");
    for (key, file) in keys {
        tls += &format!("{key} = {:?}\n", file.display().to_string());
    }
    let mut out = String::new();
    let mut in_uplink = false;
    for line in text.lines() {
        if line.starts_with('[') {
            in_uplink = line == "[uplink]";
        }
        let replaced = in_uplink
            && ["ca-file", "client-", "broker", "silence-ms", "[uplink]"]
                .iter()
                .any(|key| line.starts_with(key));
        if line == "[uplink]" {
            out += &tls;
            // Shorter than in earnest, so that each fault is tried again soon.
            out += &format!("broker = \"{broker}\"\nsilence-ms = 2000\n");
        } else if !replaced {
            out += line;
            out += "\n";
        }
    }
    std::fs::write(&path, out).expect("it can be written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_tls_fault_has_its_name_and_passes_by_itself() {
    let _alone = crate::ONE_AT_A_TIME.lock().await;
    let Some(mut broker) = Mosquitto::new() else { return };
    let place = broker.directory().to_owned();
    let (ours, strangers) = (Authority::new("our authority"), Authority::new("a stranger"));
    let ca = ours.write(&place, "ca.crt");
    let strange_ca = strangers.write(&place, "strange.crt");
    let server = |file: &str, host: &str, validity| ours.issue(&place, file, host, validity);
    let good = server("good", "127.0.0.1", Validity::Good);
    let expired = server("expired", "127.0.0.1", Validity::Expired);
    let future = server("future", "127.0.0.1", Validity::Future);
    let elsewhere = server("elsewhere", "elsewhere.example.com", Validity::Good);
    let unknown = strangers.issue(&place, "unknown", "127.0.0.1", Validity::Good);
    let line = ours.issue(&place, "line", "line-1", Validity::Good);

    let program = tokio::task::block_in_place(|| simulators::process::build().expect("the workspace builds"));
    let options = RigOptions {
        config: "config/demo".into(),
        scenario: Scenario::default(),
        seed: 5,
        // The rig's own broker and cloud stay idle; this line talks to the one that is tested.
        broker: BrokerKind::Embedded,
        events_file: None,
    };
    let rig = Rig::start(options, program).await.expect("the rig stands");
    let right = listener(&good, Some(&ca));
    broker.run("", &right).await;
    let own = [("ca-file", &*ca), ("client-cert-file", &*line.certificate), ("client-key-file", &*line.key)];
    let url = format!("mqtts://127.0.0.1:{}", broker.port);
    configure(&rig, &url, &own);
    let site = rig.devices.site();
    let upstream = Upstream::start(site, broker.cloud, None, None).expect("a cloud");
    let cloud = &upstream.cloud;
    let mut daemon = rig.daemon().expect("sortd starts");
    wait(&mut daemon, "every device is good", |status| {
        status.devices.values().all(|device| device.state == Ne107::Good)
    });
    let started = tokio::task::block_in_place(|| daemon.ask(Asked::LineStart));
    started.expect("the line may start");

    // Right: events go up, orders come down and are answered.
    let status = wait(&mut daemon, "events over TLS", |status| count(status, "published") >= 10);
    assert_eq!(status.uplink["broker"], Value::from(url.clone()));
    cloud.until(PATIENCE, |report| report.events.distinct >= 10).await.expect("the cloud has them");
    let orders: Vec<Order> = (0..20).map(order).collect();
    cloud.push_orders(&orders).expect("they may be pushed");
    cloud.until(PATIENCE, |report| report.orders.acked > 0).await.expect("orders are answered");
    println!("right: {:?}", cloud.report().orders);

    let cases = [
        Case {
            what: "expired",
            says: "its certificate expired on 2021-01-01",
            listener: listener(&expired, Some(&ca)),
        },
        Case {
            what: "not yet valid",
            says: "its certificate is not yet valid before 2090",
            listener: listener(&future, Some(&ca)),
        },
        Case {
            what: "another host's",
            says: "wrong host name: its certificate is not for 127.0.0.1, but for elsewhere.example.com",
            listener: listener(&elsewhere, Some(&ca)),
        },
        Case { what: "of a stranger", says: "unknown authority", listener: listener(&unknown, Some(&ca)) },
        Case {
            what: "refusing ours",
            says: "it refused the client certificate in",
            listener: listener(&good, Some(&strange_ca)),
        },
        Case { what: "without TLS", says: "it does not speak TLS on this port", listener: String::new() },
    ];
    for case in &cases {
        broker.run("", &case.listener).await;
        fault(&mut daemon, case.what, case.says);
        let events = broker_is_good(&mut daemon, &mut broker, &right).await;
        cloud
            .until(PATIENCE, |report| report.events.distinct >= events)
            .await
            .expect("the cloud has them all");
    }

    // The files on this side are read at each connection: one that vanishes and returns needs no restart either.
    let aside = place.join("aside");
    std::fs::rename(&line.key, &aside).expect("it can be moved");
    broker.run("", &right).await;
    fault(&mut daemon, "the key file is gone", "the private key file");
    std::fs::rename(&aside, &line.key).expect("it can be moved back");
    broker_is_good(&mut daemon, &mut broker, &right).await;
    // One that is over is warned of, beside the broker's own word.
    let over = ours.issue(&place, "over", "line-1", Validity::Expired);
    std::fs::copy(&over.certificate, &line.certificate).expect("a copy");
    std::fs::copy(&over.key, &line.key).expect("a copy");
    broker.run("", &right).await;
    let status = fault(&mut daemon, "our certificate is over", "it refused the client certificate in");
    assert!(status.alarms.iter().any(|alarm| alarm.id == "uplink-certificate"), "{:?}", status.alarms);
    assert_ne!(daemon_ends(daemon), None);

    // No client certificate at all, and then one.
    configure(&rig, &url, &own[..1]);
    let mut daemon = rig.daemon().expect("sortd starts");
    fault(&mut daemon, "no client certificate", "it asks for a client certificate, and none is configured");
    broker_is_good(&mut daemon, &mut broker, &listener(&good, None)).await;
    // Plain MQTT to a TLS port is named too.
    assert_ne!(daemon_ends(daemon), None);
    configure(&rig, &url.replace("mqtts", "mqtt"), &[]);
    let mut daemon = rig.daemon().expect("sortd starts");
    wait(&mut daemon, "plain to TLS", |status| {
        let said = last_error(status);
        said.contains("closed the connection before it answered") || said.contains("does not speak MQTT")
    });
    let status = broker_is_good(&mut daemon, &mut broker, "").await;
    let report = cloud.until(PATIENCE, |report| report.events.distinct >= status).await.expect("all of them");
    assert!(report.events.is_sound() && report.events.epochs.len() == 1, "{:?}", report.events);
    assert_ne!(daemon_ends(daemon), None);
    println!("{} events, {} repeated", report.events.distinct, report.events.duplicates);
}

fn daemon_ends(daemon: Daemon) -> Option<std::process::ExitStatus> {
    tokio::task::block_in_place(|| daemon.terminate())
}

fn order(number: u64) -> Order {
    serde_json::from_value(serde_json::json!({
        "order": format!("O-{number}"), "revision": 1, "codes": [format!("KEX{number:011}")],
        "destination": "TH-KERRY-STD", "carrier": "KERRY"
    }))
    .expect("an order")
}

/// Waits until status and alarm name the fault, and the line sorts on.
fn fault(daemon: &mut Daemon, what: &str, says: &str) -> StatusDocument {
    let status = wait(daemon, &format!("{what}: {says}"), |status| {
        last_error(status).contains(says)
            && status.alarms.iter().any(|alarm| {
                alarm.id == "uplink-offline" && alarm.text.contains(says) && !alarm.remedy.is_empty()
            })
    });
    println!("{what}: {}", last_error(&status));
    let before = status.line.sums.inducted;
    wait(daemon, &format!("{what}: the line goes on"), |status| status.line.sums.inducted > before)
}

/// The broker gets what is right; everything durable by now goes up, and no alarm of the uplink stands.
async fn broker_is_good(daemon: &mut Daemon, broker: &mut Mosquitto, right: &str) -> u64 {
    broker.run("", right).await;
    let newest = count(&wait(daemon, "an answer", |_| true), "newest");
    let status = wait(daemon, "everything is up, and no alarm stands", |status| {
        count(status, "cursor") >= newest && status.alarms.iter().all(|alarm| !alarm.id.starts_with("uplink"))
    });
    // Both clients.
    wait(daemon, "orders are heard again", |status| status.uplink["orders_connected"] == true);
    count(&status, "cursor")
}
