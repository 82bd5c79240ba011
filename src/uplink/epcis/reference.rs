//! The encoder as it was first written: a tree of JSON values, hashed by the general routine that hashes anybody's
//! event. Slow and plain; the property test below holds the direct writer against it, byte for byte.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::spelling::{encode, event_time, raw_epc, zone_offset};
use super::{CLOCK_UNKNOWN, DBM, EPCIS_CONTEXT};
use crate::identify::{Key, Reading};
use crate::journal::Record;
use crate::line::event::Started;
use crate::line::outcome::{Outcome, Reason};
use crate::line::record::{Body, Fact, Report};
use crate::line::{ChuteNo, PassKey, ReaderId};
use crate::uplink::hash;
use crate::uplink::tests::journal::{milestone, run};

/// The document of a milestone as published, or `None` where upstream is not told of the record.
/// `run` is the start that opened the record's run, `epoch` the store's.
pub(super) fn document(record: &Record, run: &Started, epoch: u64) -> Option<Vec<u8>> {
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
    own("clock", json!(CLOCK_UNKNOWN));
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
        {
            let mut out = format!("https://{}/{family}/", self.run.domain);
            encode(&mut out, name);
            out
        }
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

/// Texts that a hash or a JSON writer might treat in its own way.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just(" ".to_owned()),
        Just("1.50".to_owned()),
        Just("sortd:seq".to_owned()),
        Just("cbv:x".to_owned()),
        Just("urn:epc:id:sscc:4012345.3000000001".to_owned()),
        Just("https://id.gs1.org/01/04012345999990/21/XY".to_owned()),
        Just("urn:epcglobal:cbv:disp:active".to_owned()),
        "[A-Za-z0-9./ -]{1,24}",
        ".{0,12}",
    ]
}

fn optional() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(text())
}

fn fact() -> impl Strategy<Value = Fact> {
    let pass = || (any::<u16>(), any::<u32>()).prop_map(|(epoch, track)| PassKey { epoch, track });
    let chute = || (0_u16..20).prop_map(ChuteNo);
    let outcome = prop_oneof![
        chute().prop_map(|chute| Outcome::Sorted { chute }),
        (proptest::sample::select(Reason::ALL.to_vec()), proptest::option::of(chute()))
            .prop_map(|(reason, chute)| Outcome::Exception { reason, chute }),
        Just(Outcome::Lost),
    ];
    let report = prop_oneof![Just(Report::Damaged), Just(Report::Removed), Just(Report::Found)];
    prop_oneof![
        (pass(), any::<u16>()).prop_map(|(pass, length_mm)| Fact::Inducted { pass, length_mm }),
        (pass(), 0_u16..4, proptest::collection::vec(any::<u8>(), 0..20), proptest::option::of(any::<i16>()))
            .prop_map(|(pass, reader, epc, rssi_dbm)| Fact::Tied {
                pass,
                reader: ReaderId(reader),
                reading: Reading::Tag { epc },
                rssi_dbm,
            }),
        (pass(), text(), optional(), optional(), optional()).prop_map(|(pass, key, uri, order, carrier)| {
            Fact::Identified { pass, key: Key(key), uri, order, carrier }
        }),
        (pass(), any::<u8>()).prop_map(|(pass, lap)| Fact::Recirculated { pass, lap }),
        (pass(), optional(), optional(), outcome, text(), proptest::option::of(any::<i32>()), optional())
            .prop_map(|(pass, key, uri, outcome, plan, slack_ms, destination)| Fact::Ended {
                pass,
                key: key.map(Key),
                uri,
                outcome,
                plan,
                slack_ms,
                destination,
            }),
        (proptest::option::of(pass()), text(), optional(), report).prop_map(|(pass, code, uri, what)| {
            Fact::Reported { pass, code, uri, what, by: "Li Wei".to_owned() }
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn the_direct_writer_writes_what_the_general_one_does(
        fact in fact(),
        seq in 1..=u64::MAX,
        epoch in any::<u64>(),
        wall_us in prop_oneof![any::<i64>(), 0..4_000_000_000_000_000_i64],
        names in (text(), text(), text(), text()),
        domain in prop_oneof![Just("sort.example.com".to_owned()), text()],
        boot in any::<u64>(),
    ) {
        let run = Started {
            boot,
            domain,
            plan: names.0.clone(),
            site: names.1.clone(),
            line: names.2.clone(),
            readers: vec!["tunnel".to_owned(), names.3.clone()],
            chutes: vec![(12, "TH-01".to_owned()), (3, names.3.clone()), (3, names.0.clone())],
            ..run()
        };
        let record = Record { event_seq: Some(seq), wall_us, ..milestone(1, fact) };
        let slow = document(&record, &run, epoch).map(|bytes| String::from_utf8(bytes).unwrap());
        let fast = super::document(&record, &run, epoch).map(|bytes| String::from_utf8(bytes).unwrap());
        prop_assert_eq!(fast, slow);
    }
}
