//! A milestone of the journal → one EPCIS 2.0 JSON-LD document with one event.
//!
//! Invariants:
//! - The bytes follow from the record, the run it belongs to and the store epoch alone. The same milestone
//!   sent again after an outage or a restart is byte-identical, so a receiver may compare instead of merge.
//! - `eventID` is the CBV 2.0 event hash over everything else ([`super::hash`]).
//! - Own fields live under `https://{domain}/ns/sortd/v1/` (prefix `sortd`) and are texts or integers. A text
//!   never looks like a number (the event hash would rewrite it), which is why the plan carries `sha256:` and
//!   a tag is written as its raw EPC URI.
//! - No operator's name and nothing about a person leaves the site.
//!
//! Words: a *read point* is the place of the event, a *business step* what was going on, a *disposition* the
//! object's state afterwards. CBV has no word for induction, sorting, recirculation and loss: own URIs.
//!
//! | moment | business step | disposition | own fields besides the common ones |
//! |---|---|---|---|
//! | inducted | own `BizStep-inducting` | in_progress | `length_mm` |
//! | gate read (+ RSSI as sensor report) | entering_exiting | in_progress | `tag` |
//! | received: anonymous object and identity | receiving | in_progress | `carrier`; the order is a `po` |
//! | recirculated | own `BizStep-recirculating` | in_progress | `lap` |
//! | sorted, destination = chute | own `BizStep-sorting` | in_progress | `chute`, `slack_ms`, `destination` |
//! | exception | holding | own `Disp-exception` | `reason`, `chute`, `slack_ms`, `destination` |
//! | lost | own `BizStep-sorting` | own `Disp-lost` | `destination` |
//! | damaged | inspecting | damaged | |
//! | removed, found by an operator | own `BizStep-removing`, `BizStep-finding` | in_progress | |

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::hash;
use crate::identify::{Key, Reading};
use crate::journal::Record;
use crate::line::event::Started;
use crate::line::outcome::Outcome;
use crate::line::record::{Body, Fact, Report};
use crate::line::{ChuteNo, PassKey, ReaderId};

/// The standard's own JSON-LD context.
pub const EPCIS_CONTEXT: &str = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld";
/// UN/ECE Recommendation 20 code of the unit of signal strength, decibel-milliwatts.
const DBM: &str = "DBM";
/// What is said of the wall clock while nobody has asked it.
const CLOCK_UNKNOWN: &str = "unknown";

/// The document of a milestone as published, or `None` where upstream is not told of the record.
/// `run` is the start that opened the record's run, `epoch` the store's.
pub fn document(record: &Record, run: &Started, epoch: u64) -> Option<Vec<u8>> {
    let names = Names { run };
    let time = event_time(record.wall_us);
    let mut event = event(record, &names, epoch, &time)?;
    let context = json!([EPCIS_CONTEXT, { "sortd": names.namespace() }]);
    let id = hash::event_id(&Value::Object(event.clone()), &context)
        .expect("an event built here is an object and has a type");
    event.insert("eventID".to_owned(), Value::String(id));
    let document = json!({
        "@context": context,
        "type": "EPCISDocument",
        "schemaVersion": "2.0",
        "creationDate": time,
        "epcisBody": { "eventList": [event] },
    });
    Some(document.to_string().into_bytes())
}

/// What a milestone says, before the fields that every event has.
struct Moment {
    objects: Vec<String>,
    step: String,
    disposition: String,
    read_point: String,
    /// More standard fields.
    standard: Map<String, Value>,
    /// Own fields, without the prefix.
    own: Vec<(&'static str, Value)>,
}

fn event(record: &Record, names: &Names<'_>, epoch: u64, time: &str) -> Option<Map<String, Value>> {
    let seq = record.event_seq?;
    let Body::Fact(fact) = &record.body else { return None };
    let (pass, plan, moment) = moment(fact, names)?;
    let mut event = moment.standard;
    event.insert("type".to_owned(), json!("ObjectEvent"));
    event.insert("action".to_owned(), json!("OBSERVE"));
    event.insert("eventTime".to_owned(), json!(time));
    event.insert("eventTimeZoneOffset".to_owned(), json!(zone_offset(record.wall_us, &names.run.time_zone)));
    event.insert("epcList".to_owned(), json!(moment.objects));
    event.insert("bizStep".to_owned(), json!(moment.step));
    event.insert("disposition".to_owned(), json!(moment.disposition));
    event.insert("readPoint".to_owned(), json!({ "id": moment.read_point }));
    event.insert("bizLocation".to_owned(), json!({ "id": names.line_place() }));
    let mut own = |name: &str, value: Value| event.insert(format!("sortd:{name}"), value);
    own("seq", json!(seq));
    own("epoch", json!(epoch));
    own("boot", json!(names.run.boot));
    own("plan", json!(format!("sha256:{}", plan.unwrap_or(&names.run.plan))));
    own("clock", json!(clock(names.run)));
    if let Some(pass) = pass {
        own("parcel", json!(format!("{}-{}", pass.epoch, pass.track)));
    }
    for (name, value) in moment.own {
        own(name, value);
    }
    Some(event)
}

/// The pass, the plan that decided it where the fact knows it, and what is said.
fn moment<'a>(fact: &'a Fact, names: &Names<'_>) -> Option<(Option<PassKey>, Option<&'a str>, Moment)> {
    const IN_PROGRESS: &str = "in_progress";
    let standard = Map::new();
    Some(match fact {
        Fact::Inducted { pass, length_mm } => (
            Some(*pass),
            None,
            Moment {
                objects: vec![names.anonymous(*pass)],
                step: names.own_term("BizStep-inducting"),
                disposition: IN_PROGRESS.to_owned(),
                read_point: names.place("induction"),
                standard,
                own: vec![("length_mm", json!(length_mm))],
            },
        ),
        Fact::Tied { pass, reader, reading: Reading::Tag { epc }, rssi_dbm } => {
            let mut standard = standard;
            if let Some(dbm) = rssi_dbm {
                standard.insert("sensorElementList".to_owned(), names.signal_strength(*reader, *dbm));
            }
            (
                Some(*pass),
                None,
                Moment {
                    objects: vec![names.anonymous(*pass)],
                    step: "entering_exiting".to_owned(),
                    disposition: IN_PROGRESS.to_owned(),
                    read_point: names.reader_place(*reader),
                    standard,
                    own: vec![("tag", json!(raw_epc(epc)))],
                },
            )
        }
        Fact::Identified { pass, key, uri, order, carrier } => {
            let mut standard = standard;
            if let Some(order) = order {
                standard.insert(
                    "bizTransactionList".to_owned(),
                    json!([{ "bizTransaction": names.uri("order", order), "type": "po" }]),
                );
            }
            let own = carrier.iter().map(|carrier| ("carrier", json!(names.uri("carrier", carrier))));
            (
                Some(*pass),
                None,
                Moment {
                    objects: vec![names.anonymous(*pass), names.identity(key, uri.as_deref())],
                    step: "receiving".to_owned(),
                    disposition: IN_PROGRESS.to_owned(),
                    read_point: names.line_place(),
                    standard,
                    own: own.collect(),
                },
            )
        }
        Fact::Recirculated { pass, lap } => (
            Some(*pass),
            None,
            Moment {
                objects: vec![names.anonymous(*pass)],
                step: names.own_term("BizStep-recirculating"),
                disposition: IN_PROGRESS.to_owned(),
                read_point: names.line_place(),
                standard,
                own: vec![("lap", json!(lap))],
            },
        ),
        Fact::Ended { pass, key, uri, outcome, plan, slack_ms, destination } => {
            let object = match key {
                Some(key) => names.identity(key, uri.as_deref()),
                None => names.anonymous(*pass),
            };
            let (step, disposition, chute, reason) = match outcome {
                Outcome::Sorted { chute } => {
                    (names.own_term("BizStep-sorting"), IN_PROGRESS.to_owned(), Some(*chute), None)
                }
                Outcome::Exception { reason, chute } => {
                    ("holding".to_owned(), names.own_term("Disp-exception"), *chute, Some(reason.name()))
                }
                Outcome::Lost => (names.own_term("BizStep-sorting"), names.own_term("Disp-lost"), None, None),
            };
            let mut standard = standard;
            let mut own = Vec::new();
            if let Some(chute) = chute {
                standard.insert(
                    "destinationList".to_owned(),
                    json!([{ "destination": names.chute_place(chute), "type": "location" }]),
                );
                own.push(("chute", json!(chute.0)));
            }
            own.extend(reason.map(|reason| ("reason", json!(reason))));
            own.extend(slack_ms.map(|slack| ("slack_ms", json!(slack))));
            own.extend(destination.iter().map(|name| ("destination", json!(names.uri("dest", name)))));
            let read_point = chute.map_or_else(|| names.line_place(), |chute| names.chute_place(chute));
            (
                Some(*pass),
                Some(plan.as_str()),
                Moment { objects: vec![object], step, disposition, read_point, standard, own },
            )
        }
        Fact::Reported { pass, code, uri, what, by: _ } => {
            let object = match (uri, pass) {
                (Some(uri), _) => uri.clone(),
                (None, Some(pass)) => names.anonymous(*pass),
                (None, None) => names.uri("obj", code),
            };
            let (step, disposition) = match what {
                Report::Damaged => ("inspecting".to_owned(), "damaged"),
                Report::Removed => (names.own_term("BizStep-removing"), IN_PROGRESS),
                Report::Found => (names.own_term("BizStep-finding"), IN_PROGRESS),
            };
            (
                *pass,
                None,
                Moment {
                    objects: vec![object],
                    step,
                    disposition: disposition.to_owned(),
                    read_point: names.line_place(),
                    standard,
                    own: Vec::new(),
                },
            )
        }
        Fact::Tied { reading: Reading::Barcode { .. }, .. }
        | Fact::Blank { .. }
        | Fact::Untied { .. }
        | Fact::Decided(_)
        | Fact::Acknowledged { .. }
        | Fact::Refused { .. }
        | Fact::ChuteEmptied { .. }
        | Fact::OrderRefused { .. }
        | Fact::OrdersApplied { .. }
        | Fact::Held { .. }
        | Fact::HoldRefused { .. }
        | Fact::HoldsApplied { .. }
        | Fact::OrdersGone { .. }
        | Fact::AlarmRaised(_)
        | Fact::AlarmCleared { .. } => return None,
    })
}

/// URIs of one run: `https://{domain}/…`, every part percent-encoded.
struct Names<'a> {
    run: &'a Started,
}

impl Names<'_> {
    fn namespace(&self) -> String {
        format!("https://{}/ns/sortd/v1/", self.run.domain)
    }

    /// An own word of a vocabulary.
    fn own_term(&self, word: &str) -> String {
        format!("{}{word}", self.namespace())
    }

    fn uri(&self, family: &str, name: &str) -> String {
        format!("https://{}/{family}/{}", self.run.domain, encode(name))
    }

    /// The object before anybody knows what it is. The PLC's epoch is part of it, since the PLC may use a
    /// track id again after its own restart.
    fn anonymous(&self, pass: PassKey) -> String {
        let Started { site, line, .. } = self.run;
        self.uri("obj", &format!("{site}-{line}-{}-{}", pass.epoch, pass.track))
    }

    /// The object once it is known: its GS1 URI, or the waybill under the own domain.
    fn identity(&self, key: &Key, uri: Option<&str>) -> String {
        match uri {
            Some(uri) => uri.to_owned(),
            None => self.uri("obj", key.0.split_once(':').map_or(key.0.as_str(), |(_, code)| code)),
        }
    }

    fn line_place(&self) -> String {
        self.uri("loc", &format!("{}-{}", self.run.site, self.run.line))
    }

    fn place(&self, what: &str) -> String {
        self.uri("loc", &format!("{}-{}-{what}", self.run.site, self.run.line))
    }

    fn reader_place(&self, reader: ReaderId) -> String {
        match self.run.readers.get(usize::from(reader.0)) {
            Some(name) => self.place(name),
            None => self.place(&format!("reader-{}", reader.0)),
        }
    }

    fn chute_place(&self, chute: ChuteNo) -> String {
        match self.run.chutes.iter().find(|(number, _)| *number == chute.0) {
            Some((_, name)) => self.place(&format!("chute-{name}")),
            None => self.place(&format!("chute-{}", chute.0)),
        }
    }

    /// The strength a tag was heard with, as a sensor report of the gate.
    fn signal_strength(&self, reader: ReaderId, dbm: i16) -> Value {
        json!([{
            "sensorMetadata": { "deviceID": self.reader_place(reader) },
            "sensorReport": [{ "type": self.own_term("rssi"), "value": dbm, "uom": DBM }],
        }])
    }
}

/// How good the wall clock is. Nobody has asked the operating system yet, and nothing is claimed.
fn clock(_run: &Started) -> &'static str {
    CLOCK_UNKNOWN
}

/// Milliseconds, UTC, rounded down: an event is never dated later than it was.
fn event_time(wall_us: i64) -> String {
    let stamp = Timestamp::from_millisecond(wall_us.div_euclid(1000)).unwrap_or(Timestamp::UNIX_EPOCH);
    stamp.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// The site's offset at that moment, `+08:00`. An unknown zone is UTC: the time itself is in UTC anyway.
fn zone_offset(wall_us: i64, zone: &str) -> String {
    let stamp = Timestamp::from_microsecond(wall_us).unwrap_or(Timestamp::UNIX_EPOCH);
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    let seconds = zone.to_offset(stamp).seconds();
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.unsigned_abs() / 60;
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

/// A tag's EPC as it was read, not interpreted: `urn:epc:raw:96.x3074…` (EPC Tag Data Standard 2.0 section 12).
fn raw_epc(epc: &[u8]) -> String {
    let mut out = format!("urn:epc:raw:{}.x", epc.len() * 8);
    for byte in epc {
        write!(out, "{byte:02X}").expect("a String takes every write");
    }
    out
}

/// Percent-encodes all but the unreserved characters of RFC 3986 section 2.3.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes every write");
        }
    }
    out
}

#[cfg(test)]
mod tests {
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
        let bytes =
            document(&milestone(7, Fact::Inducted { pass: PASS, length_mm: 400 }), &run(), 5).unwrap();
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
            assert_eq!(
                (&event["bizStep"], &event["sortd:reason"]),
                (&json!("holding"), &json!(reason.name()))
            );
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
}
