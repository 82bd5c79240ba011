//! What each moment says, and the frozen bytes.

use serde_json::{Value, json};

use super::spelling::zone_offset;
use super::*;
use crate::line::outcome::Reason;
use crate::uplink::tests::journal::{milestone, run};

fn event_of(fact: Fact) -> Value {
    let bytes = document(&milestone(7, fact), &run(), 5).expect("a milestone");
    let mut document: Value = serde_json::from_slice(&bytes).unwrap();
    let ids = hash::event_ids(&document).unwrap();
    let event = document["epcisBody"]["eventList"][0].take();
    assert_eq!(event["eventID"], ids[0]);
    event
}

const PASS: PassKey = PassKey { epoch: 3, track: 42 };

fn ended(outcome: Outcome) -> Fact {
    Fact::Ended {
        pass: PASS,
        key: Some(Key("wb:KERRY/1".to_owned())),
        uri: None,
        outcome,
        plan: "feed".to_owned(),
        slack_ms: Some(-20),
        destination: Some("TH-BKK".to_owned()),
    }
}

/// The published form, frozen: receivers compare bytes, and the hash was checked with the reference
/// generator 1.9.3. A change here is a new version of the namespace.
#[test]
fn the_bytes_of_an_event_are_frozen() {
    let bytes = document(&milestone(7, Fact::Inducted { pass: PASS, length_mm: 400 }), &run(), 5).unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), FROZEN);
}

const FROZEN: &str = concat!(
    r#""#,
    r#"{"@context":["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld",{"sortd":"https://sort.example.com/ns/sortd/v1/"}],"#,
    r#""creationDate":"2026-09-21T14:13:20.130Z","#,
    r#""epcisBody":{"eventList":[{"action":"OBSERVE","#,
    r#""bizLocation":{"id":"https://sort.example.com/loc/dg-l1"},"#,
    r#""bizStep":"https://sort.example.com/ns/sortd/v1/BizStep-inducting","#,
    r#""disposition":"in_progress","epcList":["https://sort.example.com/obj/dg-l1-3-42"],"#,
    r#""eventID":"ni:///sha-256;cd6a244baf0952ee197e6255c2b567f0954c3c6bb4fb7c1c1d7f8c6239eadb63?ver=CBV2.0","#,
    r#""eventTime":"2026-09-21T14:13:20.130Z","eventTimeZoneOffset":"+08:00","#,
    r#""readPoint":{"id":"https://sort.example.com/loc/dg-l1-induction"},"#,
    r#""sortd:boot":1,"sortd:clock":"unknown","#,
    r#""sortd:epoch":5,"sortd:length_mm":400,"sortd:parcel":"3-42","#,
    r#""sortd:plan":"sha256:0123456789abcdef","sortd:seq":7,"type":"ObjectEvent"}]},"#,
    r#""schemaVersion":"2.0","type":"EPCISDocument"}"#,
);

#[test]
fn a_tag_read_carries_the_tag_and_its_strength() {
    let read = |rssi_dbm| {
        event_of(Fact::Tied {
            pass: PASS,
            reader: ReaderId(1),
            reading: Reading::Tag { epc: vec![0x30, 0x0A] },
            rssi_dbm,
        })
    };
    let event = read(Some(-58));
    assert_eq!(event["sortd:tag"], "urn:epc:raw:16.x300A");
    assert_eq!(event["readPoint"]["id"], "https://sort.example.com/loc/dg-l1-gate-1");
    let report = &event["sensorElementList"][0]["sensorReport"][0];
    assert_eq!((&report["value"], &report["uom"]), (&json!(-58), &json!("DBM")));
    assert_eq!(read(None).get("sensorElementList"), None, "no strength is not zero strength");
}

#[test]
fn the_event_that_brings_the_identity_names_both() {
    let identified = |uri: Option<&str>| {
        event_of(Fact::Identified {
            pass: PASS,
            key: Key("sscc:340123450000000012".to_owned()),
            uri: uri.map(str::to_owned),
            order: Some("SO/1".to_owned()),
            carrier: None,
        })
    };
    let event = identified(Some("urn:epc:id:sscc:4012345.3000000001"));
    assert_eq!(
        event["epcList"],
        json!(["https://sort.example.com/obj/dg-l1-3-42", "urn:epc:id:sscc:4012345.3000000001"])
    );
    assert_eq!(
        event["bizTransactionList"],
        json!([{ "bizTransaction": "https://sort.example.com/order/SO%2F1", "type": "po" }])
    );
    assert_eq!(identified(None)["epcList"][1], "https://sort.example.com/obj/340123450000000012");
}

#[test]
fn every_end_has_its_words() {
    let sorted = event_of(ended(Outcome::Sorted { chute: ChuteNo(12) }));
    assert_eq!(sorted["bizStep"], "https://sort.example.com/ns/sortd/v1/BizStep-sorting");
    assert_eq!(
        sorted["destinationList"],
        json!([{ "destination": "https://sort.example.com/loc/dg-l1-chute-TH-01", "type": "location" }])
    );
    assert_eq!(sorted["epcList"], json!(["https://sort.example.com/obj/KERRY%2F1"]));
    assert_eq!(sorted["sortd:plan"], "sha256:feed", "the plan that decided, not the one in force");
    assert_eq!(sorted["sortd:slack_ms"], -20);
    assert_eq!(sorted.get("sortd:reason"), None);

    for reason in Reason::ALL {
        let event = event_of(ended(Outcome::Exception { reason, chute: None }));
        assert_eq!((&event["bizStep"], &event["sortd:reason"]), (&json!("holding"), &json!(reason.name())));
        assert_eq!(event.get("destinationList"), None);
    }
    let lost = event_of(ended(Outcome::Lost));
    assert_eq!(lost["disposition"], "https://sort.example.com/ns/sortd/v1/Disp-lost");
}

#[test]
fn an_operator_is_never_named() {
    for what in [Report::Found, Report::Removed, Report::Damaged] {
        let event = event_of(Fact::Reported {
            pass: None,
            code: "A 1".to_owned(),
            uri: None,
            what,
            by: "Li Wei".to_owned(),
        });
        assert!(!event.to_string().contains("Wei"));
        assert_eq!(event["epcList"], json!(["https://sort.example.com/obj/A%201"]));
    }
}

#[test]
fn only_milestones_with_a_sequence_have_a_document() {
    let mut record = milestone(7, Fact::Inducted { pass: PASS, length_mm: 400 });
    record.event_seq = None;
    assert_eq!(document(&record, &run(), 5), None);
    let barcode = Fact::Tied {
        pass: PASS,
        reader: ReaderId(0),
        reading: Reading::Barcode { aim: None, text: "A".to_owned() },
        rssi_dbm: None,
    };
    assert_eq!(document(&milestone(7, barcode), &run(), 5), None);
}

#[test]
fn times_are_never_later_than_they_were() {
    assert_eq!(event_time(1_790_000_000_123_999), "2026-09-21T14:13:20.123Z");
    assert_eq!(event_time(-1), "1969-12-31T23:59:59.999Z");
    assert_eq!(event_time(i64::MAX), "1970-01-01T00:00:00.000Z");
}

#[test]
fn offsets_are_the_sites_own() {
    let summer = 1_784_000_000_000_000;
    assert_eq!(zone_offset(summer, "Asia/Shanghai"), "+08:00");
    assert_eq!(zone_offset(summer, "America/New_York"), "-04:00");
    assert_eq!(zone_offset(summer, "Asia/Kolkata"), "+05:30");
    assert_eq!(zone_offset(summer, "Nowhere/Here"), "+00:00");
}
