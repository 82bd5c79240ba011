//! Whether a bundle proves what it says, from its bytes alone.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::bundle::{BundleFault, Files};
use super::collect::{derived, parcel_of};
use super::document::{Evidence, FORMAT, PhotoState, ProofSummary};
use super::parcel::{Parcel, hex};
use super::proof::{Chain, Proof, ProofFault, Shown};
use crate::journal::anchor::Document;
use crate::journal::signing::PublicKey;

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
    /// Keys that signed the anchors.
    pub keys: Vec<String>,
    /// Whether the key was given, and is the one.
    pub key_pinned: bool,
    /// What is wrong; empty where it is proven.
    pub findings: Vec<Finding>,
    /// What else should be known.
    pub notes: Vec<String>,
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
        keys: Vec::new(),
        key_pinned: false,
        findings: Vec::new(),
        notes: Vec::new(),
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
    let evidence: Evidence = json(files, "evidence.json")?;
    verdict.code = Some(evidence.code.clone());
    if evidence.format != FORMAT {
        let what = format!("its format is {:?}, {FORMAT:?} is known here", evidence.format);
        return Err(Finding::of("evidence.json", what));
    }
    let proof = proof(files)?;
    let shown = proof.check(trusted)?;
    verdict.records = shown.records.len() as u64;
    verdict.anchored = shown.anchored.len() as u64;
    let summary = summary(&proof, &shown);
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
    if summary != evidence.proof {
        return Err(Finding::of("evidence.json", "what it says of the proof is not so"));
    }
    check_photos(files, &evidence, verdict)?;
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
        verdict.notes.push(missing.en.clone());
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

fn summary(proof: &Proof, shown: &Shown) -> ProofSummary {
    let keys: std::collections::BTreeSet<&String> =
        proof.anchors.iter().map(|anchor| &anchor.key_id).collect();
    ProofSummary {
        records: shown.records.len() as u64,
        anchored: shown.anchored.len() as u64,
        anchors: proof.anchors.len() as u64,
        keys: keys.into_iter().cloned().collect(),
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
    for (record, photo) in records.iter().zip(&evidence.photos) {
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
        verdict.photos += 1;
        named.push(name);
    }
    let known = |name: &String| !name.starts_with("photos/") || named.contains(&name);
    match files.0.keys().find(|name| !known(name)) {
        Some(name) => Err(Finding::of(name, "no record names this photo")),
        None => Ok(()),
    }
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
