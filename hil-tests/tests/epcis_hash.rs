//! Our event hash against the public reference generator (`pip install epcis-event-hash-generator`, checked
//! with 1.9.3): every kind of event the uplink publishes, with plain and with nasty names.
//!
//! Skipped with a line where `python3` cannot import it; fails instead with `SORTD_TEST_ALL=1`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use sortd::identify::{Key, Reading};
use sortd::journal::Record;
use sortd::line::event::Started;
use sortd::line::outcome::{Outcome, Reason};
use sortd::line::record::{Body, Fact, Report};
use sortd::line::{ChuteNo, PassKey, ReaderId, Tick};
use sortd::uplink::{epcis, hash};

/// Reads one document a line, prints the hash of its event (or why it has none), one a line.
const REFERENCE: &str = r"
import sys, json
from epcis_event_hash_generator import hash_generator, json_to_py
for line in sys.stdin:
    events = json_to_py.event_list_from_epcis_document_json(json.loads(line))
    hashes = hash_generator.epcis_hashes_from_events(events)
    print(hashes[0] if len(hashes) == 1 else 'the reference made %d hashes' % len(hashes), flush=True)
";

#[test]
fn the_reference_generator_gives_every_event_the_same_name() {
    let importable = Command::new("python3")
        .args(["-c", "import epcis_event_hash_generator"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !importable {
        assert!(
            std::env::var_os("SORTD_TEST_ALL").is_none(),
            "SORTD_TEST_ALL is set, but python3 cannot import epcis_event_hash_generator"
        );
        println!("skipped: python3 cannot import epcis_event_hash_generator (pip install it)");
        return;
    }
    let documents = documents();
    let mut reference = Command::new("python3")
        .args(["-c", REFERENCE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 was just run");
    let mut stdin = reference.stdin.take().expect("stdin is piped");
    let lines = documents.iter().fold(Vec::new(), |mut lines, document| {
        lines.extend_from_slice(document);
        lines.push(b'\n');
        lines
    });
    let writer = std::thread::spawn(move || stdin.write_all(&lines));
    let output = reference.wait_with_output().expect("python3 ends");
    writer.join().expect("the writer does not panic").expect("python3 reads all");
    let text = String::from_utf8(output.stdout).expect("hashes are text");
    let theirs: Vec<&str> = text.lines().collect();
    assert_eq!(theirs.len(), documents.len(), "one hash a document");
    for (document, theirs) in documents.iter().zip(theirs) {
        let value: serde_json::Value = serde_json::from_slice(document).expect("documents are JSON");
        let event = &value["epcisBody"]["eventList"][0];
        assert_eq!(
            event["eventID"],
            theirs,
            "{event:#}\nour pre-hash string: {}",
            hash::pre_hash(event, &value["@context"]).expect("it is an event")
        );
    }
}

/// Every kind of milestone, in runs with plain and with nasty names.
fn documents() -> Vec<Vec<u8>> {
    let plain = Started {
        boot: 7,
        version: "0.1.0".to_owned(),
        site: "dongguan".to_owned(),
        line: "l1".to_owned(),
        domain: "sort.example.com".to_owned(),
        time_zone: "Asia/Shanghai".to_owned(),
        plan: "0123456789abcdef".to_owned(),
        readers: vec!["tunnel-top".to_owned(), "gate-1".to_owned()],
        chutes: vec![(12, "TH-01".to_owned())],
        wall_us: 0,
    };
    // A plan that reads as an infinite number, names with blanks, slashes and Chinese, a half-hour zone.
    let nasty = Started {
        site: "东莞 1".to_owned(),
        line: "l/1?".to_owned(),
        time_zone: "Asia/Kolkata".to_owned(),
        plan: "12345678901e9999".to_owned(),
        readers: vec!["1".to_owned(), "00".to_owned()],
        chutes: vec![(12, "12e5".to_owned())],
        ..plain.clone()
    };
    let mut documents = Vec::new();
    for run in [&plain, &nasty] {
        for (number, fact) in (1..).zip(facts()) {
            let record = Record {
                seq: number * 10,
                at: Tick(number * 1_000),
                wall_us: 1_790_000_000_123_456 + i64::try_from(number).expect("few") * 777_777,
                event_seq: Some(number),
                body: Body::Fact(fact),
            };
            assert!(record.body.is_milestone(), "{record:?}");
            documents.push(epcis::document(&record, run, 3).expect("milestones have a document"));
        }
    }
    documents
}

fn facts() -> Vec<Fact> {
    let pass = PassKey { epoch: 3, track: 42 };
    let mut facts = vec![Fact::Inducted { pass, length_mm: 400 }];
    for rssi_dbm in [None, Some(-58), Some(0)] {
        facts.push(Fact::Tied {
            pass,
            reader: ReaderId(1),
            reading: Reading::Tag {
                epc: vec![0x30, 0x74, 0x25, 0x7B, 0xF7, 0x19, 0x4E, 0x40, 0x00, 0x00, 0x1A, 0x85],
            },
            rssi_dbm,
        });
    }
    let identities = [
        ("sscc:340123450000000012", Some("urn:epc:id:sscc:4012345.3000000001")),
        ("sgtin:04012345111118.9876", Some("urn:epc:id:sgtin:4012345.011111.9876")),
        ("sgtin:04012345111118.A(1)", Some("https://id.gs1.org/01/04012345111118/21/A%281%29")),
        ("s10:RR123456785TH", None),
        ("wb:123456789012345678901234567890", None),
        ("wb:00/34012345", None),
        ("wb:1E999", None),
        ("wb:NAN", None),
    ];
    for (key, uri) in identities {
        for order in [None, Some("SO-1"), Some("0001e5"), Some("包裹/1")] {
            facts.push(Fact::Identified {
                pass,
                key: Key(key.to_owned()),
                uri: uri.map(str::to_owned),
                order: order.map(str::to_owned),
                carrier: order.map(|_| "1E5".to_owned()),
            });
        }
    }
    facts.push(Fact::Recirculated { pass, lap: 2 });
    let outcomes = Reason::ALL
        .into_iter()
        .map(|reason| Outcome::Exception { reason, chute: Some(ChuteNo(90)) })
        .chain([
            Outcome::Sorted { chute: ChuteNo(12) },
            Outcome::Lost,
            Outcome::Exception { reason: Reason::Unconfirmed, chute: None },
        ]);
    for outcome in outcomes {
        for (key, slack_ms, destination) in [
            (None, None, None),
            (Some("wb:KERRY1"), Some(-20), Some("damaged")),
            (None, Some(850), Some("77")),
        ] {
            facts.push(Fact::Ended {
                pass,
                key: key.map(|key: &str| Key(key.to_owned())),
                uri: None,
                outcome,
                plan: "99999999999e9999".to_owned(),
                slack_ms,
                destination: destination.map(str::to_owned),
            });
        }
    }
    for what in [Report::Found, Report::Removed, Report::Damaged] {
        for (pass, uri) in
            [(Some(pass), None), (None, Some("urn:epc:id:sscc:4012345.3000000001")), (None, None)]
        {
            facts.push(Fact::Reported {
                pass,
                code: "4711".to_owned(),
                uri: uri.map(str::to_owned),
                what,
                by: "somebody".to_owned(),
            });
        }
    }
    facts
}
