//! Whether a bundle proves what it says, from its bytes alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::PHOTO_BYTES_MOST;
use super::bundle::{BundleFault, Files};
use super::collect::{derived, is_stated, missing, parcel_of};
use super::complete::{self, Complete, Incomplete};
use super::document::{Evidence, FORMAT, FORMAT_BEFORE, PhotoFile, PhotoState, ProofSummary, STATED};
use super::parcel::{Dated, Parcel, PhotoRecord, hex};
use super::photos::finds_room;
use super::proof::{Chain, Proof, ProofFault, Shown};
use crate::journal::Called;
use crate::journal::anchor::Document;
use crate::journal::signing::PublicKey;
use crate::line::PassKey;
use crate::line::event::Event;
use crate::line::record::{Body, Input};
use crate::panel::words;

/// What no bundle proves, whatever the verdict: in English, one sentence each.
pub const NOT_PROVEN: [&str; 3] = [
    "that the code had no other pass, and that nothing else named it without belonging to a pass (a read that was tied \
     to no parcel, an order's refusal): what is shown of that is genuine, more may have been left out",
    "what was recorded about a pass behind the record up to which it is complete",
    "what the document states: whether upstream had acknowledged an event, what became of a photo that is not here, \
     what the store did not hold any more",
];

/// What comes out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// `proven`, `altered` or `not_proven`.
    pub verdict: &'static str,
    /// Code the bundle is about.
    pub code: Option<String>,
    /// Records of the parcel.
    pub records: u64,
    /// Of them: covered by a signed anchor.
    pub anchored: u64,
    /// Photos in it.
    pub photos: u64,
    /// Passes of which every record is here, and up to where.
    pub complete: Vec<Complete>,
    /// Keys that signed the anchors.
    pub keys: Vec<String>,
    /// Whether the key was given, and is the one.
    pub key_pinned: bool,
    /// What is wrong; empty where it is proven.
    pub findings: Vec<Finding>,
    /// What else should be known.
    pub notes: Vec<String>,
    /// What the document states and no record proves.
    pub stated: Vec<String>,
    /// What no bundle proves: [`NOT_PROVEN`].
    pub not_proven: Vec<&'static str>,
}

/// Something wrong with a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// File of the bundle, or `container`.
    pub file: String,
    /// Record, where it is about one.
    pub record: Option<u64>,
    /// One sentence.
    pub what: String,
}

impl Finding {
    fn of(file: &str, what: impl ToString) -> Finding {
        Finding { file: file.to_owned(), record: None, what: what.to_string() }
    }
}

impl From<BundleFault> for Finding {
    fn from(fault: BundleFault) -> Finding {
        let file = match &fault {
            BundleFault::Missing(name)
            | BundleFault::Extra(name)
            | BundleFault::Altered(name)
            | BundleFault::Twice(name)
            | BundleFault::Kind(name)
            | BundleFault::File { name, .. } => name.clone(),
            BundleFault::Manifest { .. } => super::bundle::MANIFEST.to_owned(),
            BundleFault::Container(_)
            | BundleFault::Large { .. }
            | BundleFault::Name(_)
            | BundleFault::Between { .. } => "container".to_owned(),
        };
        Finding::of(&file, fault)
    }
}

impl From<ProofFault> for Finding {
    fn from(fault: ProofFault) -> Finding {
        let (file, record) = match &fault {
            ProofFault::Record { seq, .. } => (super::collect::frame_file(*seq), Some(*seq)),
            ProofFault::Shape { .. } | ProofFault::Chain { .. } => ("proof/chain.json".to_owned(), None),
            ProofFault::Anchor { .. } => ("proof/anchors.json".to_owned(), None),
        };
        Finding { file, record, what: fault.to_string() }
    }
}

impl Verdict {
    /// Nothing is wrong and everything is covered.
    pub fn is_proven(&self) -> bool {
        self.verdict == "proven"
    }
}

/// Verifies a bundle; `trusted` are the line's public keys, from elsewhere than from the bundle. Without one, any
/// that the anchors name is believed.
pub fn verify(bytes: &[u8], trusted: &[PublicKey]) -> Verdict {
    let mut verdict = Verdict {
        verdict: "altered",
        code: None,
        records: 0,
        anchored: 0,
        photos: 0,
        complete: Vec::new(),
        keys: Vec::new(),
        key_pinned: false,
        findings: Vec::new(),
        notes: Vec::new(),
        stated: Vec::new(),
        not_proven: NOT_PROVEN.to_vec(),
    };
    let files = match Files::unpack(bytes) {
        Ok(files) => files,
        Err(faults) => {
            verdict.findings = faults.into_iter().map(Finding::from).collect();
            return verdict;
        }
    };
    match judge(&files, trusted, &mut verdict) {
        Err(finding) => verdict.findings.push(finding),
        Ok(()) if !verdict.findings.is_empty() => {}
        Ok(()) if verdict.anchored < verdict.records || verdict.records == 0 => {
            verdict.verdict = "not_proven";
            let what = format!(
                "{} of {} records are covered by no signed anchor",
                verdict.records - verdict.anchored,
                verdict.records
            );
            verdict.findings.push(Finding::of("proof/anchors.json", what));
        }
        Ok(()) => verdict.verdict = "proven",
    }
    verdict
}

fn judge(files: &Files, trusted: &[PublicKey], verdict: &mut Verdict) -> Result<(), Finding> {
    let proof = proof(files)?;
    let shown = proof.check(trusted)?;
    verdict.records = shown.records.len() as u64;
    verdict.anchored = shown.anchored.len() as u64;
    if json::<Outside>(files, "evidence.json")?.format == FORMAT_BEFORE {
        let what = format!(
            "it is of the format {FORMAT_BEFORE:?}, which could not prove that no record was left out: its {} records \
             are genuine, and page and document must be verified with the version that made them; ask the line for \
             the evidence again",
            verdict.records
        );
        verdict.verdict = "not_proven";
        verdict.findings.push(Finding::of("evidence.json", what));
        return Ok(());
    }
    let evidence: Evidence = json(files, "evidence.json")?;
    verdict.code = Some(evidence.code.clone());
    if evidence.format != FORMAT {
        let what = format!("its format is {:?}, {FORMAT:?} is known here", evidence.format);
        return Err(Finding::of("evidence.json", what));
    }
    let looked = complete::passes(&evidence.parcel, &shown);
    verdict.complete = looked.iter().flatten().cloned().collect();
    let summary = summary(&proof, &shown, &verdict.complete);
    verdict.keys.clone_from(&summary.keys);
    verdict.key_pinned = !trusted.is_empty();
    if trusted.is_empty() {
        verdict.notes.push(
            "no --key was given: the anchors are signed by whoever holds the key above; compare it with the line's"
                .to_owned(),
        );
    }
    if evidence.program != env!("CARGO_PKG_VERSION") {
        // Another version may have other words for the same records; then nobody here can tell a page of its own
        // from a forged one.
        let what = format!(
            "it was made by sortd {}, and this is {}: records, chain and anchors hold, but page and document must be \
             verified with the version that made them",
            evidence.program,
            env!("CARGO_PKG_VERSION")
        );
        verdict.verdict = "not_proven";
        verdict.findings.push(Finding::of("evidence.json", what));
        return Ok(());
    }

    let derived_parcel = parcel_of(&evidence.code, &shown);
    if derived_parcel.as_ref() != Some(&evidence.parcel) {
        let (place, record) = first_difference(derived_parcel.as_ref(), &evidence.parcel);
        let what = format!("it does not say what the records say: {place}");
        return Err(Finding { file: "evidence.json".to_owned(), record, what });
    }
    check_code(&evidence.code, &shown)?;
    if summary != evidence.proof {
        return Err(Finding::of("evidence.json", "what it says of the proof is not so"));
    }
    check_photos(files, &evidence, verdict)?;
    check_stated(&evidence, &shown, verdict)?;
    check_sites(&proof, &evidence.parcel)?;
    // Nothing may stand in a bundle that does not follow from its records, and nothing may be left out.
    let derived = derived(&evidence, &proof).0;
    let photo = |name: &String| evidence.photos.iter().any(|photo| photo.file.as_ref() == Some(name));
    for (name, bytes) in &files.0 {
        match derived.get(name) {
            Some(expected) if expected == bytes => {}
            Some(_) => verdict.findings.push(Finding::of(name, "it is not what follows from the records")),
            None if photo(name) => {}
            None => verdict.findings.push(Finding::of(name, "no bundle of these records has such a file")),
        }
    }
    let left_out = derived.keys().filter(|name| !files.0.contains_key(*name));
    verdict.findings.extend(left_out.map(|name| Finding::of(name, "it is not here")));
    for missing in &evidence.missing {
        let told = if missing.stated { &mut verdict.stated } else { &mut verdict.notes };
        told.push(missing.en.clone());
    }
    if verdict.findings.is_empty() {
        check_complete(looked, verdict);
    }
    Ok(())
}

/// The format alone, of whatever shape the rest is.
#[derive(Deserialize)]
struct Outside {
    format: String,
}

/// Every pass is here whole; otherwise the bundle is genuine, and not proven.
fn check_complete(looked: Vec<Result<Complete, Incomplete>>, verdict: &mut Verdict) {
    if looked.is_empty() {
        let what = "the code stands in these records; that no parcel had it is not proven";
        verdict.findings.push(Finding::of("proof/chain.json", what));
    }
    for incomplete in looked.into_iter().filter_map(Result::err) {
        let Incomplete { pass, record, en, .. } = incomplete;
        let what =
            format!("these records are genuine; that none of pass {pass} was left out is not proven: {en}");
        verdict.findings.push(Finding { record, ..Finding::of("proof/chain.json", what) });
    }
    if !verdict.findings.is_empty() {
        verdict.verdict = "not_proven";
    }
}

/// Every pass, and every record that belongs to none, names the code that the bundle is about.
fn check_code(code: &str, shown: &Shown) -> Result<(), Finding> {
    let called = Called::of(code);
    let mut named: BTreeMap<Option<PassKey>, (u64, bool)> = BTreeMap::new();
    for Dated { record, .. } in &shown.records {
        let names = called.is_named_by(&record.body);
        match record.body.pass() {
            Some(pass) => named.entry(Some(pass)).or_insert((record.seq, false)).1 |= names,
            None if names || matches!(record.body, Body::Input(Input::Event(Event::Started(_)))) => {}
            None => drop(named.insert(None, (record.seq, false))),
        }
    }
    let stranger = named.iter().find(|(_, (_, names))| !names);
    let Some((pass, (seq, _))) = stranger else { return Ok(()) };
    let whose = pass.map_or_else(
        || format!("record {seq} does"),
        |PassKey { epoch, track }| format!("the records of pass {epoch}-{track} do"),
    );
    let what = format!("it is about the code \"{}\", which {whose} not name", words::plain(code));
    Err(Finding { record: Some(*seq), ..Finding::of("evidence.json", what) })
}

/// What follows from no record is only what may be stated, is marked, and is told.
fn check_stated(evidence: &Evidence, shown: &Shown, verdict: &mut Verdict) -> Result<(), Finding> {
    let wrong = |what: &str| Err(Finding::of("evidence.json", what));
    if evidence.stated != STATED {
        return wrong("it does not mark what is stated and not proven");
    }
    let events = evidence.parcel.passes.iter().flat_map(|pass| &pass.events).map(|event| event.record);
    if !events.eq(evidence.upstream.iter().map(|known| known.record)) {
        return wrong("`upstream` is not about the events of the records");
    }
    let follows = evidence.missing.iter().filter(|missing| !is_stated(missing));
    if !follows.eq(&missing(evidence, shown)) {
        return wrong("what it says is missing is not what is missing");
    }
    let acknowledged = |state| evidence.upstream.iter().filter(|known| known.acknowledged == state).count();
    if !evidence.upstream.is_empty() {
        verdict.stated.push(format!(
            "Upstream had acknowledged {} of {} events, {} not yet; of {} it was not known.",
            acknowledged(Some(true)),
            evidence.upstream.len(),
            acknowledged(Some(false)),
            acknowledged(None),
        ));
    }
    Ok(())
}

fn json<T: serde::de::DeserializeOwned>(files: &Files, name: &str) -> Result<T, Finding> {
    let bytes = files.0.get(name).ok_or_else(|| Finding::of(name, "it is not here"))?;
    serde_json::from_slice(bytes).map_err(|error| Finding::of(name, error))
}

fn proof(files: &Files) -> Result<Proof, Finding> {
    let chain: Chain = json(files, "proof/chain.json")?;
    let anchors: Vec<Document> = json(files, "proof/anchors.json")?;
    let mut frames = BTreeMap::new();
    for (name, bytes) in files.0.range("proof/records/".to_owned()..) {
        let Some(number) = name.strip_prefix("proof/records/") else { break };
        let seq = number.strip_suffix(".frame").and_then(|number| number.parse().ok());
        let seq: u64 = seq.ok_or_else(|| Finding::of(name, "its name is no record's number"))?;
        if super::collect::frame_file(seq) != *name {
            return Err(Finding::of(name, "its name is no record's number"));
        }
        frames.insert(seq, bytes.clone());
    }
    Ok(Proof { frames, chain, anchors })
}

fn summary(proof: &Proof, shown: &Shown, complete: &[Complete]) -> ProofSummary {
    let keys: std::collections::BTreeSet<&String> =
        proof.anchors.iter().map(|anchor| &anchor.key_id).collect();
    ProofSummary {
        records: shown.records.len() as u64,
        anchored: shown.anchored.len() as u64,
        anchors: proof.anchors.len() as u64,
        keys: keys.into_iter().cloned().collect(),
        complete: complete.to_vec(),
    }
}

/// Each photo of the records stands in the list, those that are present have the digest of their record, and there
/// are no others.
fn check_photos(files: &Files, evidence: &Evidence, verdict: &mut Verdict) -> Result<(), Finding> {
    let records: Vec<_> = evidence.parcel.passes.iter().flat_map(|pass| &pass.photos).collect();
    let same = records.len() == evidence.photos.len()
        && records.iter().zip(&evidence.photos).all(|(record, photo)| {
            (record.record, &record.camera, &record.name) == (photo.record, &photo.camera, &photo.name)
        });
    if !same {
        return Err(Finding::of("evidence.json", "its list of photos is not that of the records"));
    }
    let mut named = Vec::new();
    let mut room = PHOTO_BYTES_MOST;
    for (told, (record, photo)) in records.iter().zip(&evidence.photos).enumerate() {
        check_state(record, photo, finds_room(told, record, room))?;
        if (photo.state == PhotoState::Present) != photo.file.is_some() {
            return Err(Finding::of(
                "evidence.json",
                format!("photo {}: it is there or it is not", photo.name),
            ));
        }
        let Some(name) = &photo.file else { continue };
        let of_record = |what: &str| Finding { record: Some(record.record), ..Finding::of(name, what) };
        let bytes = files.0.get(name).ok_or_else(|| of_record("it is not here"))?;
        if hex(&Sha256::digest(bytes)) != record.sha256 {
            return Err(of_record("it is not the photo that was recorded"));
        }
        room = room.saturating_sub(record.bytes);
        verdict.photos += 1;
        named.push(name);
    }
    let known = |name: &String| !name.starts_with("photos/") || named.contains(&name);
    match files.0.keys().find(|name| !known(name)) {
        Some(name) => Err(Finding::of(name, "no record names this photo")),
        None => Ok(()),
    }
}

/// What is said of a photo can be: it is left out only where there is no room, and there is a digest of what was found
/// instead only where something else was found.
fn check_state(record: &PhotoRecord, photo: &PhotoFile, finds_room: bool) -> Result<(), Finding> {
    let wrong = |what: &str| {
        let what = format!("photo {}: {what}", photo.name);
        Err(Finding { record: Some(record.record), ..Finding::of("evidence.json", what) })
    };
    if (photo.state == PhotoState::LeftOut) == finds_room {
        return wrong("it is left out where there is room for it, or the other way round");
    }
    let Some(found) = &photo.found_sha256 else { return Ok(()) };
    let is_digest =
        found.len() == 64 && found.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    if photo.state != PhotoState::Changed || !is_digest || *found == record.sha256 {
        return wrong("`found_sha256` is no digest of a file that was found in its place");
    }
    Ok(())
}

/// The anchors are those of the line that the records speak of.
fn check_sites(proof: &Proof, parcel: &Parcel) -> Result<(), Finding> {
    for run in parcel.passes.iter().map(|pass| &pass.run).filter(|run| run.record.is_some()) {
        let other =
            proof.anchors.iter().find(|anchor| (&anchor.site, &anchor.line) != (&run.site, &run.line));
        if let Some(anchor) = other {
            let what = format!(
                "anchor {} is of {}/{}, the records are of {}/{}",
                anchor.number, anchor.site, anchor.line, run.site, run.line
            );
            return Err(Finding::of("proof/anchors.json", what));
        }
    }
    Ok(())
}

/// Where two parcels first differ, as a path, and the record it is about.
fn first_difference(derived: Option<&Parcel>, said: &Parcel) -> (String, Option<u64>) {
    let Some(derived) = derived else { return ("they tell of no parcel".to_owned(), None) };
    for (at, (a, b)) in derived.passes.iter().zip(&said.passes).enumerate() {
        for (a, b) in a.records.iter().zip(&b.records) {
            if a != b {
                return (format!("passes[{at}], record {}", a.record), Some(a.record));
            }
        }
    }
    let paths = serde_json::to_value(derived).and_then(|a| Ok((a, serde_json::to_value(said)?)));
    match paths {
        Ok((a, b)) => (difference(&a, &b, "parcel".to_owned()).unwrap_or_default(), None),
        Err(error) => (error.to_string(), None),
    }
}

fn difference(a: &serde_json::Value, b: &serde_json::Value, at: String) -> Option<String> {
    use serde_json::Value::{Array, Object};
    match (a, b) {
        (Object(x), Object(y)) => x.iter().find_map(|(key, x)| match y.get(key) {
            Some(y) => difference(x, y, format!("{at}.{key}")),
            None => Some(format!("{at}.{key}")),
        }),
        (Array(x), Array(y)) if x.len() == y.len() => {
            x.iter().zip(y).enumerate().find_map(|(n, (x, y))| difference(x, y, format!("{at}[{n}]")))
        }
        (a, b) => (a != b).then_some(at),
    }
}
