//! Nonsense from every side: counted, shown in the status, answered where it came from there; the line goes on.

use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use serde_json::{Value, json};

use crate::stand::{Line, PATIENCE, faults, uplink_count};

/// Above the contract's limit of a message (512 KiB), below the packets the brokers take.
const TOO_LARGE: usize = 600 * 1024;

/// Packets of the test's own client.
const PACKET: usize = 2 * 1024 * 1024;

/// Garbage, a telegram without an end, text that is none, and a code without its AIM identifier.
pub fn from_the_scanners(line: &mut Line) {
    let kinds = ["bad_frame", "oversized", "not_utf8", "bad_aim"];
    let count = |status: &_| kinds.map(|kind| faults(status, "top", kind));
    let before = count(&line.status());
    let telegram = |inside: &[u8]| [b"\x02", inside, b"\x03"].concat();
    // Neither of the two control characters that begin and end a telegram.
    let garbage: Vec<u8> = (0x80..=0xff).chain(0x20..0x7f).collect();
    for bytes in [
        garbage,
        telegram(&[b'A'; 400]),
        telegram(b"]C1\xff\xfe12345"),
        telegram(b"KEX12345678901"),
        telegram(b"]C1KEX\x0012345678901"),
    ] {
        line.rig.devices.noise("top", bytes).expect("there is a scanner top");
    }
    let status = line.until("every kind of nonsense counted", |status| {
        count(status).iter().zip(before).all(|(now, before)| *now > before)
    });
    println!("{:>7} ms  nonsense from a scanner: {kinds:?} {before:?} → {:?}", line.now_ms(), count(&status));
    line.flow("after nonsense from a scanner", 3);
    line.books("nonsense from a scanner");
}

/// A record of a type that is none, a field out of range, a track that never was, an encoder value that cannot be,
/// bits that mean nothing.
pub fn from_the_plc(line: &mut Line) {
    let before = line.status();
    let encoder = line.rig.devices.with_world(|world| world.pulses());
    // Half a million metres ahead: the belt must not follow it.
    let wild = split(encoder.wrapping_add(500_000_000));
    let here = split(encoder);
    let never = split(0x7fff_fff0);
    let placed = line.rig.devices.with_world(|world| {
        world.set_stray_flags(0x4000);
        let mut records = [
            [777, 0, 0, 0, 0, here[0], here[1], 0, 0],
            // Discharged in a manner that does not exist.
            [4, never[0], never[1], 3, 99, here[0], here[1], 0, 0],
            // A divert that failed, of a track that never was.
            [5, never[0], never[1], 3, 0, here[0], here[1], 0, 0],
            [3, 0, 0, 1, 0, wild[0], wild[1], 0, 0],
        ]
        .into_iter();
        records.all(|words| world.record_raw(words))
    });
    assert!(placed, "the ring has room");
    line.spoilt += 2;
    let counted = ["encoder_ahead", "unknown_track", "unexpected_at_eye"];
    let status = line.until("what the PLC said wrongly counted", |status| {
        let more = |name: &str| counter(status, name) > counter(&before, name);
        faults(status, "plc", "bad_event") >= faults(&before, "plc", "bad_event") + 2
            && faults(status, "plc", "unknown_flags") > faults(&before, "plc", "unknown_flags")
            && counted.into_iter().all(more)
    });
    line.alarm("plc-events-missed");
    line.rig.devices.with_world(|world| world.set_stray_flags(0));
    println!(
        "{:>7} ms  nonsense from the PLC: faults {:?}, {}",
        line.now_ms(),
        status.devices["plc"].faults,
        counted.map(|name| format!("{name} {}", counter(&status, name))).join(", ")
    );
    line.flow("after nonsense from the PLC", 3);
    line.books("nonsense from the PLC");
}

/// High word first, as the demonstration's PLC has it.
fn split(value: u32) -> [u16; 2] {
    let bytes = value.to_be_bytes();
    [u16::from_be_bytes([bytes[0], bytes[1]]), u16::from_be_bytes([bytes[2], bytes[3]])]
}

fn counter(status: &sortd::panel::StatusDocument, name: &str) -> u64 {
    status.line.counters.get(name).copied().unwrap_or(0)
}

/// Order messages that are none, too large, of the wrong shape, and sent twice: each is answered.
pub fn from_upstream(line: &mut Line) {
    let before = line.status();
    let order = |number: &str, codes: &[&str]| json!({"order": number, "revision": 1, "codes": codes, "destination": "TH-KERRY-COD", "carrier": null});
    let twice = json!({"id": "twice", "orders": [order("T-1", &["KEX99999999901"])]}).to_string();
    let mixed = json!({"id": "mixed", "orders": [
        order("M-1", &["KEX99999999902"]),
        order("M-2", &[]),
        {"order": "M-3", "revision": -1},
        order("M-4", &["A\u{7}B"]),
    ]});
    let messages: Vec<Vec<u8>> = vec![
        b"this is no JSON".to_vec(),
        b"{\"id\": \"not-utf8\", \"orders\": \"\xff\xfe\"}".to_vec(),
        json!({"orders": []}).to_string().into_bytes(),
        json!({"id": "no-list", "orders": 5}).to_string().into_bytes(),
        json!({"id": "too-large", "orders": [], "more": "x".repeat(TOO_LARGE)}).to_string().into_bytes(),
        mixed.to_string().into_bytes(),
        twice.clone().into_bytes(),
    ];
    let site = line.rig.devices.site();
    let topics = format!("sortd/v1/{}/{}", site.name, site.line_name);
    let port = line.rig.broker.port;
    let expected = messages.len() + 1;
    let acks = line.block_on(async {
        let work = exchange(port, &topics, messages, twice.into_bytes());
        tokio::time::timeout(PATIENCE, work).await
    });
    let Ok(acks) = acks else { line.fail("not every order message was answered") };
    assert_eq!(acks.len(), expected);
    let of = |id: &str| acks.iter().filter(|ack| ack["id"] == id).collect::<Vec<&Value>>();
    let refused_whole = acks.iter().filter(|ack| ack["error"].is_string()).count();
    assert_eq!(refused_whole, 5, "five messages are refused whole, with why: {acks:?}");
    assert!(of("too-large")[0]["error"].as_str().is_some_and(|why| why.contains("524288")), "{acks:?}");
    let mixed = of("mixed")[0];
    assert_eq!((&mixed["accepted"], &mixed["refused_count"]), (&json!(1), &json!(3)), "{mixed}");
    assert_eq!(of("twice").len(), 2, "{acks:?}");
    assert!(of("twice").iter().all(|ack| ack["accepted"] == 1 && ack["refused_count"] == 0), "{acks:?}");
    let status = line.until("refused messages in the status", |status| {
        uplink_count(status, "order_messages_refused") >= uplink_count(&before, "order_messages_refused") + 5
            && uplink_count(status, "orders_refused") >= uplink_count(&before, "orders_refused") + 3
    });
    println!(
        "{:>7} ms  nonsense from upstream: {expected} messages answered, {} refused whole, {} orders refused",
        line.now_ms(),
        uplink_count(&status, "order_messages_refused"),
        uplink_count(&status, "orders_refused"),
    );
    line.flow("after nonsense from upstream", 3);
    line.books("nonsense from upstream");
}

/// An answer to one of the messages above: the cloud's own go over the same topic.
fn ours(ack: &Value) -> bool {
    let known = ["not-utf8", "no-list", "too-large", "mixed", "twice"];
    ack["id"].is_null() || known.iter().any(|id| ack["id"] == *id)
}

/// Publishes messages as upstream, and the one called `twice` again when it has been answered; gives the answers.
async fn exchange(port: u16, topics: &str, messages: Vec<Vec<u8>>, twice: Vec<u8>) -> Vec<Value> {
    let mut options = MqttOptions::new("somebody", "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(5)).set_max_packet_size(PACKET, PACKET);
    let (client, mut events): (AsyncClient, EventLoop) = AsyncClient::new(options, 64);
    client.subscribe(format!("{topics}/acks"), QoS::AtLeastOnce).await.expect("the queue has room");
    let orders = format!("{topics}/orders");
    let expected = messages.len() + 1;
    let (mut messages, mut twice) = (Some(messages), Some(twice));
    let mut acks = Vec::new();
    while acks.len() < expected {
        let mut publish = Vec::new();
        match events.poll().await.expect("the broker is there") {
            Event::Incoming(Packet::SubAck(_)) => publish.extend(messages.take().into_iter().flatten()),
            Event::Incoming(Packet::Publish(answer)) => {
                let ack: Value = serde_json::from_slice(&answer.payload).expect("an answer is JSON");
                if ack["id"] == "twice" {
                    publish.extend(twice.take());
                }
                if ours(&ack) {
                    acks.push(ack);
                }
            }
            Event::Incoming(_) | Event::Outgoing(_) => {}
        }
        for message in publish {
            client.publish(&orders, QoS::AtLeastOnce, false, message).await.expect("the queue has room");
        }
    }
    acks
}
