//! Bundles from real stores: what they say, and that nobody can change it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::bundle::MANIFEST;
use super::collect::{Setting, collect};
use super::document::PhotoState;
use super::source::Store;
use super::verify::{Verdict, verify};
use super::*;
use crate::identify::{Aim, Key, Reading};
use crate::journal::signing::{PublicKey, SigningKey};
use crate::journal::{AnchorSettings, Archive, Journal, JournalSettings, Numbered, Record};
use crate::line::event::{Event, Order, Photo, Started};
use crate::line::outcome::{Outcome, Reason};
use crate::line::record::{Body, Candidate, Decided, Dropped, Entry, Fact, Input, Target, Untied};
use crate::line::{ChuteNo, PassKey, ReaderId, Tick};
use crate::watch::Board;

/// 2026-11-22 02:00 UTC.
const BEGAN_US: i64 = 1_795_312_800_000_000;
const DAY_US: i64 = 86_400_000_000;
pub(super) const CODE: &str = "KEX<img src=x onerror=alert(1)>&\"'1";
const OTHER: &str = "KEX00000000099";
const JPEG: &[u8] = b"\xff\xd8\xff the first photo";

/// A store with two passes of one parcel among those of others, and a camera's spool directory.
pub(super) struct Stand {
    directory: tempfile::TempDir,
    seq: u64,
}

fn started(boot: u64) -> Started {
    Started {
        boot,
        version: "0.1.0".into(),
        site: "dongguan".into(),
        line: "l1".into(),
        domain: "sort.example.com".into(),
        time_zone: "Asia/Shanghai".into(),
        plan: "a1b2c3d4e5f60718".into(),
        readers: vec!["top".into(), "gate".into()],
        chutes: vec![(7, "TH Bangkok".into()), (8, "TH <b>Bangkok</b> 2".into()), (99, "exceptions".into())],
        wall_us: BEGAN_US,
    }
}

fn order() -> Order {
    Order {
        order: "SO-1".into(),
        revision: 2,
        codes: vec![CODE.into()],
        destination: "TH-BKK".into(),
        carrier: Some("KERRY".into()),
        cancelled: false,
        hold: None,
        details: None,
    }
}

pub(super) fn photo(name: &str, contents: &[u8], track: u32) -> Body {
    let photo = Photo {
        camera: "cam-top".into(),
        reader: ReaderId(0),
        name: name.into(),
        bytes: contents.len() as u64,
        sha256: Sha256::digest(contents).into(),
        taken_us: BEGAN_US + 1_400_000,
        between: (Tick(1), Tick(2)),
    };
    Body::Input(Input::Photo { photo, shows: Ok(PassKey { epoch: 3, track }) })
}

/// A parcel from induction to its chute, or to the exception chute.
pub(super) fn pass(track: u32, code: &str, sorted: bool) -> Vec<Body> {
    let pass = PassKey { epoch: 3, track };
    let key = Key(format!("wb:{code}"));
    let reading = Reading::Barcode { aim: Some(Aim(b'C', b'0')), text: code.into() };
    let looked =
        |chute, dropped| Candidate { chute: ChuteNo(chute), filled: 3, reserved: 1, capacity: 40, dropped };
    let (to, candidates, outcome) = if sorted {
        (
            Target::Chute(ChuteNo(7)),
            vec![looked(7, None), looked(8, Some(Dropped::LessRoom))],
            Outcome::Sorted { chute: ChuteNo(7) },
        )
    } else {
        (
            Target::Exception(ChuteNo(99), Reason::ChutesFull),
            vec![looked(7, Some(Dropped::NoRoom)), looked(8, Some(Dropped::Locked))],
            Outcome::Exception { reason: Reason::ChutesFull, chute: Some(ChuteNo(99)) },
        )
    };
    let decided = Decided {
        pass,
        to,
        destination: Some("TH-BKK".into()),
        orders: vec![order()],
        candidates,
        alternate: None,
        plan: "a1b2c3d4e5f60718".into(),
        command: 76,
        deadline_pulses: 9_000,
        at_pulses: 5_880,
        latency_ms: 401,
    };
    let untied = Reading::Barcode { aim: None, text: code.into() };
    [
        Fact::Inducted { pass, length_mm: 312 },
        Fact::Blank { pass, reader: ReaderId(1) },
        Fact::Tied { pass, reader: ReaderId(0), reading, rssi_dbm: None },
        Fact::Untied { reader: ReaderId(1), reading: untied, why: Untied::TwoParcels },
        Fact::Identified {
            pass,
            key: key.clone(),
            uri: None,
            order: Some("SO-1".into()),
            carrier: Some("KERRY".into()),
        },
        Fact::Decided(decided),
        Fact::Acknowledged { pass, command: 76, slack_ms: 812 },
        Fact::Ended {
            pass,
            key: Some(key),
            uri: None,
            outcome,
            plan: "a1b2c3d4e5f60718".into(),
            slack_ms: Some(812),
            destination: Some("TH-BKK".into()),
        },
    ]
    .into_iter()
    .map(Body::Fact)
    .collect()
}

impl Stand {
    pub(super) fn new() -> Stand {
        let mut stand = Stand::empty();
        stand.keep("a.jpg", JPEG);
        let mut first = pass(1, CODE, false);
        let others = (10..40).flat_map(|track| pass(track, OTHER, true));
        first.splice(3..3, others);
        first.push(photo("a.jpg", JPEG, 1));
        stand.run(1, first);
        stand.run(2, pass(2, CODE, true));
        stand
    }

    fn spool(&self) -> PathBuf {
        self.directory.path().join("spool")
    }

    pub(super) fn keep(&self, name: &str, contents: &[u8]) {
        std::fs::write(self.spool().join(name), contents).unwrap();
    }

    pub(super) fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    /// A run of the journal with these records; it ends with an anchor.
    pub(super) fn run(&mut self, boot: u64, bodies: Vec<Body>) {
        self.run_as(boot, bodies, true);
    }

    pub(super) fn empty() -> Stand {
        let stand = Stand { directory: tempfile::tempdir().unwrap(), seq: 0 };
        std::fs::create_dir(stand.spool()).unwrap();
        stand
    }

    fn run_as(&mut self, boot: u64, bodies: Vec<Body>, anchored: bool) {
        let start = Body::Input(Input::Event(Event::Started(started(boot))));
        self.append(std::iter::once(start).chain(bodies).map(|body| (0, body)).collect(), anchored);
    }

    /// Records, each with the day after the first that it is of.
    fn append(&mut self, bodies: Vec<(i64, Body)>, anchored: bool) {
        let anchors = AnchorSettings { site: "dongguan".into(), line: "l1".into(), signing_key: None };
        let settings = JournalSettings {
            cache_mib: 8,
            anchors: anchored.then_some(anchors),
            ..JournalSettings::in_directory(&self.store(), Board::default())
        };
        let (journal, handle, opening) = Journal::start(settings, None, Box::new(|_: &[Record]| {})).unwrap();
        self.seq = opening.wait().unwrap().last_seq;
        for (day, body) in bodies {
            self.seq += 1;
            let us = i64::try_from(self.seq).unwrap() * 100_000 + day * DAY_US;
            let at = Tick(self.seq * 100_000);
            let numbered = Numbered { seq: self.seq, wall_us: BEGAN_US + us, entry: Entry { at, body } };
            handle.append(numbered).unwrap();
        }
        drop(handle);
        journal.finish();
    }

    /// One run over as many days; the days end with an anchor.
    pub(super) fn run_days(&mut self, boot: u64, days: Vec<Vec<Body>>) {
        let start = Body::Input(Input::Event(Event::Started(started(boot))));
        let mut bodies = vec![(0, start)];
        for (day, records) in (0..).zip(days) {
            bodies.extend(records.into_iter().map(|body| (day, body)));
        }
        self.append(bodies, true);
    }

    fn setting(&self) -> Setting {
        Setting { cameras: BTreeMap::from([("cam-top".to_owned(), self.spool())]) }
    }

    pub(super) fn collect(&self, code: &str) -> Result<(Evidence, Files), EvidenceError> {
        let archive = Archive::open(&self.store()).unwrap();
        collect(&Store::new(archive.reader().clone(), archive.directory()), code, &self.setting())
    }

    pub(super) fn key(&self) -> PublicKey {
        SigningKey::open(&self.store(), None).unwrap().public()
    }
}

fn proven(verdict: &Verdict) {
    assert!(verdict.is_proven(), "{verdict:#?}");
}

/// The verdict over files that somebody changed with care: manifest and container are right.
fn verdict_of(files: &Files) -> Verdict {
    verify(&files.pack().unwrap(), &[])
}

fn file_named(verdict: &Verdict) -> &str {
    assert_eq!(verdict.verdict, "altered", "{verdict:#?}");
    &verdict.findings[0].file
}

#[test]
fn a_bundle_is_proven_elsewhere_and_says_what_happened() {
    let stand = Stand::new();
    let (evidence, files) = stand.collect(CODE).unwrap();
    let packed = files.pack().unwrap();
    let verdict = verify(&packed, &[stand.key()]);
    proven(&verdict);
    // Two starts, eight records and eight of the passes, of which one is a read that was tied to none, and a photo.
    assert_eq!((verdict.records, verdict.anchored, verdict.photos), (19, 19, 1));
    assert!(verdict.key_pinned);

    let [first, second] = &evidence.parcel.passes[..] else { panic!("{:#?}", evidence.parcel) };
    let end = first.end.as_ref().unwrap();
    assert_eq!(
        (end.outcome.as_str(), end.reason.as_ref().unwrap().name.as_str()),
        ("exception", "chutes_full")
    );
    assert_eq!(second.end.as_ref().unwrap().chute.as_ref().unwrap().number, 7);
    let decision = &first.decisions[0];
    assert_eq!((decision.slack_ms, decision.orders.len(), decision.command), (Some(812), 1, 76));
    assert_eq!(decision.candidates[1].dropped.as_ref().unwrap().zh, "被人工锁定");
    assert_eq!((first.run.boot, second.run.boot), (1, 2));
    assert_eq!(first.began.local, "2026-11-22 10:00:00.200 +08:00");
    assert_eq!(first.began.utc, "2026-11-22T02:00:00.200000Z");
    let tied: Vec<bool> =
        first.reads.iter().flat_map(|reader| &reader.reads).map(|read| read.not_tied.is_none()).collect();
    assert_eq!(tied, [true, false, true], "nothing read, two parcels; and the code");
    assert!(first.events.iter().all(|event| event.event_id.as_ref().unwrap().starts_with("ni:///sha-256;")));
    assert_eq!(evidence.upstream.iter().filter(|event| event.acknowledged == Some(false)).count(), 6);
    assert_eq!(evidence.photos[0].state, PhotoState::Present);
    let missing: Vec<&str> = evidence.missing.iter().map(|missing| missing.what.as_str()).collect();
    assert_eq!(missing, ["clock"]);
    // What the others' records say stays at home.
    let everything = files.0.values().flatten().copied().collect::<Vec<u8>>();
    assert!(!String::from_utf8_lossy(&everything).contains(OTHER));
}

#[test]
fn the_same_store_gives_the_same_bytes() {
    let stand = Stand::new();
    let pack = || stand.collect(CODE).unwrap().1.pack().unwrap();
    assert_eq!(pack(), pack());
}

#[test]
fn each_way_of_naming_a_parcel_finds_it_and_an_unknown_one_is_said() {
    let stand = Stand::new();
    for name in ["SO-1", "3-2", &format!("wb:{CODE}")] {
        let (evidence, files) = stand.collect(name).unwrap();
        assert!(!evidence.parcel.passes.is_empty(), "{name}");
        proven(&verdict_of(&files));
    }
    let error = stand.collect("NOBODY").unwrap_err();
    assert!(
        matches!(&error, EvidenceError::NotFound { from: Some(day), .. } if day == "2026-11-22"),
        "{error}"
    );
}

#[test]
fn an_altered_byte_anywhere_is_a_finding() {
    let stand = Stand::new();
    let packed = stand.collect(CODE).unwrap().1.pack().unwrap();
    proven(&verify(&packed, &[]));
    // Every byte in turn is the work of `bundle`'s own test; here some of each file, through everything.
    for at in (0..packed.len()).step_by(packed.len() / 300) {
        let mut altered = packed.clone();
        altered[at] ^= 0x10;
        let verdict = verify(&altered, &[]);
        assert!(!verdict.is_proven() && !verdict.findings.is_empty(), "byte {at}");
    }
}

#[test]
fn what_is_altered_with_care_is_found_by_the_records_and_the_chain() {
    let stand = Stand::new();
    let (evidence, files) = stand.collect(CODE).unwrap();
    let replaced = |name: &str, from: &str, to: &str| {
        let mut files = files.clone();
        let bytes = files.0.get_mut(name).unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.contains(from), "{name} has no {from}");
        *bytes = text.replacen(from, to, 1).into_bytes();
        verdict_of(&files)
    };
    // A document that says otherwise than the records.
    let verdict = replaced("evidence.json", "\"slack_ms\": 812", "\"slack_ms\": 12");
    assert_eq!(file_named(&verdict), "evidence.json");
    let verdict = replaced("evidence.json", "chutes_full", "no_read");
    assert_eq!(file_named(&verdict), "evidence.json");
    assert_eq!(
        file_named(&replaced("evidence.json", "\"anchored\": 19", "\"anchored\": 18")),
        "evidence.json"
    );
    assert_eq!(file_named(&replaced("evidence.html", "Exception", "Sorted")), "evidence.html");
    assert_eq!(file_named(&replaced("README.txt", "CLAIM", "CLEAR")), "README.txt");
    // Anchors and chain.
    assert_eq!(file_named(&replaced("proof/anchors.json", "dongguan", "shenzhen")), "proof/anchors.json");
    assert_eq!(file_named(&replaced("proof/anchors.json", "\"seq\": ", "\"seq\": 1")), "proof/anchors.json");
    let digest = serde_json::from_slice::<Value>(&files.0["proof/chain.json"]).unwrap();
    let digests = digest["segments"][0]["digests"].as_array().unwrap();
    let one = digests.iter().filter_map(Value::as_str).find(|text| !text.is_empty()).unwrap();
    let other = "0".repeat(64);
    assert_eq!(file_named(&replaced("proof/chain.json", one, &other)), "proof/chain.json");

    // A record, with a checksum that fits.
    let ended = evidence.parcel.passes[0].end.as_ref().unwrap().record;
    let name = super::collect::frame_file(ended);
    let mut forged = files.clone();
    let frame = forged.0.get_mut(&name).unwrap();
    *frame.last_mut().unwrap() ^= 1;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&frame[..21]);
    crc.update(&frame[25..]);
    let crc = crc.finalize().to_be_bytes();
    frame[21..25].copy_from_slice(&crc);
    let verdict = verdict_of(&forged);
    assert_ne!(verdict.verdict, "proven");
    assert!(verdict.findings[0].what.contains(&ended.to_string()), "{verdict:#?}");
    // Without the checksum, by its name.
    let mut torn = files.clone();
    torn.0.get_mut(&name).unwrap()[70] ^= 1;
    let verdict = verdict_of(&torn);
    assert_eq!((file_named(&verdict), verdict.findings[0].record), (name.as_str(), Some(ended)));

    // A photo that is exchanged, left out, or put in.
    let mut exchanged = files.clone();
    *exchanged.0.get_mut("photos/001.jpg").unwrap() = b"another".to_vec();
    assert_eq!(file_named(&verdict_of(&exchanged)), "photos/001.jpg");
    let mut without = files.clone();
    without.0.remove("photos/001.jpg");
    assert_eq!(file_named(&verdict_of(&without)), "photos/001.jpg");
    let mut more = files.clone();
    more.0.insert("photos/002.jpg".to_owned(), b"another".to_vec());
    assert_eq!(file_named(&verdict_of(&more)), "photos/002.jpg");
    let mut stranger = files.clone();
    stranger.0.insert("evidence-new.html".to_owned(), b"see here".to_vec());
    assert_eq!(file_named(&verdict_of(&stranger)), "evidence-new.html");
    let mut keyless = files.clone();
    keyless.0.remove("proof/public-key.pem");
    assert_eq!(file_named(&verdict_of(&keyless)), "proof/public-key.pem");
    let mut left_out = files;
    left_out.0.remove(&name);
    assert_eq!(file_named(&verdict_of(&left_out)), name);
}

#[test]
fn whatever_is_altered_in_whatever_file_is_never_proven_and_never_a_panic() {
    use rand::{Rng, SeedableRng};
    let rounds =
        std::env::var("SORTD_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(200_u32);
    let stand = Stand::new();
    let files = stand.collect(CODE).unwrap().1;
    let names: Vec<&String> = files.0.keys().collect();
    let mut random = rand::rngs::StdRng::seed_from_u64(7);
    for round in 0..rounds {
        let mut altered = files.clone();
        let name = names[random.random_range(0..names.len())];
        let bytes = altered.0.get_mut(name).unwrap();
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..4) {
            // A number becomes another, so that the document stays one.
            0 if bytes[at].is_ascii_digit() => bytes[at] = b'0' + (bytes[at] - b'0' + 1) % 10,
            0 | 1 => bytes[at] ^= 1 << random.random_range(0..8),
            2 => bytes.truncate(at),
            _ => bytes.insert(at, b'9'),
        }
        if altered != files {
            let verdict = verdict_of(&altered);
            assert!(!verdict.is_proven() && !verdict.findings.is_empty(), "round {round}: {name} at {at}");
        }
    }
}

#[test]
fn a_bundle_of_another_version_is_not_said_to_be_proven() {
    let stand = Stand::new();
    let mut files = stand.collect(CODE).unwrap().1;
    let document = files.0.get_mut("evidence.json").unwrap();
    let version = format!("\"program\": \"{}\"", env!("CARGO_PKG_VERSION"));
    let text = String::from_utf8(document.clone()).unwrap();
    *document = text.replacen(&version, "\"program\": \"9.9.9\"", 1).into_bytes();
    let verdict = verdict_of(&files);
    assert_eq!((verdict.verdict, verdict.findings.len()), ("not_proven", 1), "{verdict:#?}");
    assert!(verdict.findings[0].what.contains("9.9.9"));
}

#[test]
fn numbers_that_no_store_has_are_findings() {
    let stand = Stand::new();
    let files = stand.collect(CODE).unwrap().1;
    let chain: Value = serde_json::from_slice(&files.0["proof/chain.json"]).unwrap();
    for odd in [0, 1, u64::MAX, u64::MAX - 1] {
        let mut chain = chain.clone();
        chain["segments"][0]["first"] = odd.into();
        let mut files = files.clone();
        files.0.insert("proof/chain.json".to_owned(), serde_json::to_vec(&chain).unwrap());
        assert!(!verdict_of(&files).is_proven() || odd == 1, "{odd}");
    }
}

#[test]
fn the_key_of_another_line_proves_nothing() {
    let (stand, other) = (Stand::new(), Stand::new());
    let packed = stand.collect(CODE).unwrap().1.pack().unwrap();
    let verdict = verify(&packed, &[other.key()]);
    assert_eq!(file_named(&verdict), "proof/anchors.json");
}

#[test]
fn a_photo_that_is_gone_or_changed_is_said() {
    let mut stand = Stand::new();
    stand
        .run(3, vec![photo("b.jpg", b"second", 2), photo("c.jpg", b"third", 2), photo("c.jpg", b"third", 2)]);
    stand.keep("c.jpg", b"other");
    let (evidence, files) = stand.collect(CODE).unwrap();
    let states: Vec<PhotoState> = evidence.photos.iter().map(|photo| photo.state).collect();
    assert_eq!(states, [PhotoState::Present, PhotoState::Missing, PhotoState::Changed]);
    let said: Vec<&str> = evidence.missing.iter().map(|missing| missing.what.as_str()).collect();
    assert_eq!(said, ["clock", "photo_missing", "photo_changed"]);
    assert!(evidence.photos[2].found_sha256.is_some());
    proven(&verdict_of(&files));
    let page = String::from_utf8(files.0["evidence.html"].clone()).unwrap();
    assert!(page.contains("文件与记录不符") && page.contains("Not at hand"));
}

#[test]
fn a_link_in_the_spool_directory_is_not_followed() {
    let stand = Stand::new();
    let secret = stand.directory.path().join("secret");
    std::fs::write(&secret, JPEG).unwrap();
    std::fs::remove_file(stand.spool().join("a.jpg")).unwrap();
    std::os::unix::fs::symlink(&secret, stand.spool().join("a.jpg")).unwrap();
    let (evidence, _) = stand.collect(CODE).unwrap();
    assert_eq!(evidence.photos[0].state, PhotoState::Missing);
}

#[test]
fn records_behind_the_last_anchor_are_chained_and_not_proven() {
    let mut stand = Stand::empty();
    stand.run_as(1, pass(1, CODE, true), false);
    let (evidence, files) = stand.collect(CODE).unwrap();
    assert!(evidence.missing.iter().any(|missing| missing.what == "not_anchored"), "{:#?}", evidence.missing);
    let verdict = verdict_of(&files);
    assert_eq!((verdict.verdict, verdict.anchored), ("not_proven", 0));
}

#[test]
fn what_a_label_says_is_text_on_the_page() {
    let stand = Stand::new();
    let (_, files) = stand.collect(CODE).unwrap();
    let page = String::from_utf8(files.0["evidence.html"].clone()).unwrap();
    assert!(!page.contains("<img src=x") && !page.contains("<b>Bangkok"), "{page}");
    assert!(page.contains("KEX&lt;img src=x onerror=alert(1)&gt;&amp;&quot;&#39;1"));
    assert!(!page.contains("<script") && !page.contains("http://") && !page.contains("https://"), "{page}");
    assert!(page.contains("<html lang=\"en\">") && page.contains("lang=\"zh-Hans\""));
    assert_eq!(page.matches("<img ").count(), page.matches(" alt=\"").count());
}

#[test]
fn the_document_fits_its_schema() {
    let mut stand = Stand::new();
    stand.run(3, vec![photo("b.jpg", b"second", 2)]);
    let schema: Value = serde_json::from_str(document::SCHEMA).unwrap();
    for code in [CODE, "3-2", OTHER] {
        let (evidence, _) = stand.collect(code).unwrap();
        let value = serde_json::to_value(&evidence).unwrap();
        let found = misfits(&schema, &schema, &value, "");
        assert!(found.is_empty(), "{found:#?}");
    }
    let mut odd = serde_json::to_value(stand.collect(CODE).unwrap().0).unwrap();
    odd["photos"][0]["state"] = "odd".into();
    odd["parcel"]["passes"][0]["more"] = 1.into();
    assert_eq!(misfits(&schema, &schema, &odd, "").len(), 2);
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/schema/evidence.json");
    assert_eq!(std::fs::read_to_string(shipped).unwrap(), document::SCHEMA);
}

/// The part of JSON Schema that the schema uses.
fn misfits(root: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.strip_prefix("#/$defs/").unwrap();
        return misfits(root, &root["$defs"][name], value, at);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if let Some(any) = schema["anyOf"].as_array() {
        let each: Vec<Vec<String>> = any.iter().map(|one| misfits(root, one, value, at)).collect();
        let fits = each.iter().any(Vec::is_empty);
        return if fits { Vec::new() } else { each.into_iter().max_by_key(Vec::len).unwrap_or_default() };
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !kinds.is_empty() && !kinds.contains(&kind) {
        return vec![format!("{at}: {kind}, expected {kinds:?}")];
    }
    let mut found = Vec::new();
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        found.push(format!("{at}: {value} is none of {words:?}"));
    }
    if let (Some(properties), Some(members)) = (schema["properties"].as_object(), value.as_object()) {
        for (name, member) in members {
            match properties.get(name) {
                Some(property) => found.extend(misfits(root, property, member, &format!("{at}/{name}"))),
                None => found.push(format!("{at}/{name} is not known")),
            }
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !members.contains_key(name) {
                found.push(format!("{at}/{name} is not here"));
            }
        }
    }
    for (n, element) in value.as_array().into_iter().flatten().enumerate() {
        if !schema["items"].is_null() {
            found.extend(misfits(root, &schema["items"], element, &format!("{at}[{n}]")));
        }
    }
    found
}

#[test]
fn the_answer_to_upstream_is_a_file_in_the_store_and_its_digest() {
    let stand = Stand::new();
    let archive = Archive::open(&stand.store()).unwrap();
    let source = Store::new(archive.reader().clone(), archive.directory());
    let answer = |code| answer::answer(&source, code, &stand.setting(), &stand.store());
    let first = answer(CODE).unwrap();
    let packed = std::fs::read(&first.bundle).unwrap();
    assert_eq!((first.bytes, &first.sha256), (packed.len() as u64, &super::collect::digest(&packed)));
    assert_eq!(first.evidence.as_ref().unwrap()["code"], CODE);
    proven(&verify(&packed, &[]));
    assert_eq!(answer(CODE).unwrap(), first);
    let kept = || std::fs::read_dir(stand.store().join("evidence")).unwrap().count();
    assert_eq!(kept(), 1, "the same evidence is one file");
    assert!(matches!(answer("NOBODY"), Err(answer::AnswerError::Evidence(EvidenceError::NotFound { .. }))));
    for n in 0..answer::BUNDLES_MOST {
        std::fs::write(stand.store().join(format!("evidence/{n}.zip")), "x").unwrap();
    }
    answer("3-2").unwrap();
    assert_eq!(kept(), answer::BUNDLES_MOST);
}

/// Twenty ask for the same at once, and others for something else: each is answered with a whole bundle.
#[test]
fn questions_at_the_same_time_do_not_meet_in_a_file() {
    let stand = Stand::new();
    let archive = Archive::open(&stand.store()).unwrap();
    let source = Store::new(archive.reader().clone(), archive.directory());
    let setting = stand.setting();
    std::thread::scope(|scope| {
        for asker in 0..20 {
            let (source, setting, store) = (&source, &setting, stand.store());
            scope.spawn(move || {
                let code = if asker % 4 == 0 { "3-2" } else { CODE };
                for _ in 0..5 {
                    let answer = answer::answer(source, code, setting, &store).unwrap();
                    let packed = std::fs::read(&answer.bundle).unwrap();
                    assert_eq!(answer.sha256, super::collect::digest(&packed));
                }
            });
        }
    });
    let kept: Vec<_> = std::fs::read_dir(stand.store().join("evidence")).unwrap().collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    let path = stand.directory.path().join("whole");
    std::thread::scope(|scope| {
        for byte in 0..8 {
            let path = &path;
            scope.spawn(move || {
                (0..20).for_each(|_| super::target::write_whole(path, &[byte; 9_000]).unwrap())
            });
        }
    });
    let written = std::fs::read(&path).unwrap();
    assert!(written.len() == 9_000 && written.iter().all(|byte| *byte == written[0]));
}

#[test]
fn a_manifest_is_what_sha256sum_reads() {
    let files = Files(BTreeMap::from([("a.txt".to_owned(), b"abc".to_vec())]));
    let line = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a.txt\n";
    assert_eq!(files.manifest(), line.as_bytes());
    assert_eq!(MANIFEST, "MANIFEST");
}

/// In a real browser: the photos are shown, nothing runs, nothing is as wide as to be cut off. With
/// `SORTD_TEST_PICTURE=FILE.b64` what it looks like is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_itself_in_a_browser() {
    let Some(browser) = crate::panel::browser::Browser::start().await else { return };
    let mut stand = Stand::new();
    let png = png();
    stand.keep("d.png", &png);
    stand.run(3, vec![photo("d.png", &png, 2), photo("gone.jpg", b"gone", 2)]);
    let (_, files) = stand.collect(CODE).unwrap();
    let unzipped = stand.directory.path().join("unzipped");
    for (name, bytes) in &files.0 {
        let path = unzipped.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    browser.open(&format!("file://{}", unzipped.join("evidence.html").display())).await;
    let shown = browser.script("return document.querySelector('h1').textContent").await;
    assert_eq!(shown, CODE);
    assert_eq!(browser.script("return document.scripts.length").await, 0);
    let widths = "return [...document.images].map(i => i.naturalWidth)";
    let widths = browser.script(widths).await;
    assert_eq!(widths, serde_json::json!([0, 8]), "the first photo is none, the second has 8 pixels");
    let overflow = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth";
    assert_eq!(browser.script(overflow).await, true);
    let sections = browser.script("return document.querySelectorAll('section.pass').length").await;
    assert_eq!(sections, 2);
    if let Some(path) = std::env::var_os("SORTD_TEST_PICTURE") {
        std::fs::write(path, browser.picture().await).unwrap();
    }
    browser.close().await;
}

/// A PNG of 8 × 4 grey pixels, without compression.
fn png() -> Vec<u8> {
    let chunk = |kind: &[u8], data: &[u8]| {
        let body = [kind, data].concat();
        let length = u32::try_from(data.len()).unwrap().to_be_bytes();
        [&length[..], &body, &crc32fast::hash(&body).to_be_bytes()].concat()
    };
    let rows: Vec<u8> =
        (0..4_u8).flat_map(|row| [0].into_iter().chain((0..8).map(move |n| 40 * row + 10 * n))).collect();
    let length = u16::try_from(rows.len()).unwrap();
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in &rows {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    let stored = [
        &[0x78, 1, 1][..],
        &length.to_le_bytes(),
        &(!length).to_le_bytes(),
        &rows,
        &((b << 16) | a).to_be_bytes(),
    ];
    let head = [&8_u32.to_be_bytes()[..], &4_u32.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    [
        &b"\x89PNG\r\n\x1a\n"[..],
        &chunk(b"IHDR", &head),
        &chunk(b"IDAT", &stored.concat()),
        &chunk(b"IEND", b""),
    ]
    .concat()
}
