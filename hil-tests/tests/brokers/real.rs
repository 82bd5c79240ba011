//! A real mosquitto that is killed, forgets, refuses and is full.

use hil_tests::mosquitto::Mosquitto;
use hil_tests::outbox::{Journal, Outbox, settings, topics};
use hil_tests::witness::Witness;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explore() {
    let _alone = crate::ONE_AT_A_TIME.lock().await;
    for (name, global, acl) in [
        ("acl", "", Some("topic readwrite sortd/v1/dg/l1/health\ntopic read #\n")),
        ("message_size_limit", "message_size_limit 500\n", None),
        ("max_packet_size", "max_packet_size 500\n", None),
        ("memory_limit", "memory_limit 2000000\n", None),
        ("max_queued", "max_queued_messages 50\nmax_inflight_messages 10\n", None),
        ("max_queued_bytes", "max_queued_bytes 20000\n", None),
    ] {
        let Some(mut broker) = Mosquitto::new() else { return };
        let mut global = global.to_owned();
        if let Some(acl) = acl {
            let file = broker.directory().join("acl");
            std::fs::write(&file, acl).unwrap();
            global += &format!("acl_file {}\n", file.display());
        }
        broker.run(&global, "").await;
        let mut witness = Witness::start(broker.cloud, "cloud", topics().events()).await;
        let outbox = Outbox::start(
            sortd::site::UplinkSettings { silence_ms: 1_000, ..settings(&[broker.port]) },
            &Journal::new(5_000),
        );
        tokio::time::sleep(std::time::Duration::from_secs(4)).await;
        println!(
            "== {name}: witness {} status {:?}\nalarms {:?}",
            witness.count(),
            *outbox.status.borrow(),
            outbox.board.snapshot().1
        );
        let log = broker.log();
        let lines: Vec<&str> =
            log.lines().filter(|l| !l.contains("Sending PUB") && !l.contains("Received PUB")).collect();
        println!("{}", lines[lines.len().saturating_sub(8)..].join("\n"));
        println!("denied {} ", log.matches("Denied").count());
        drop(witness);
        outbox.end().await;
    }
}
