//! A store and a code → evidence and the files of its bundle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::bundle::{BundleFault, Files};
use super::complete::{self, Incomplete};
use super::document::{Acknowledged, Evidence, FORMAT, Missing, PhotoState, ProofSummary, STATED};
use super::parcel::{Parcel, hex, parcel};
use super::photos::photos;
use super::proof::{Proof, ProofFault, Shown};
use super::source::Source;
use super::{html, readme};
use crate::journal::signing::PublicKey;
use crate::journal::{ReadError, Record};
use crate::line::PassKey;
use crate::panel::words;
use crate::site::Site;

/// Passes that a story tells at most; more are said to be missing.
const PASSES_TOLD: usize = 16;

/// Where the photos are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Setting {
    /// Spool directory by camera.
    pub cameras: BTreeMap<String, PathBuf>,
}

impl Setting {
    /// As configured.
    pub fn of(site: &Site) -> Setting {
        let cameras = site.cameras.iter().map(|camera| (camera.name.clone(), camera.directory.clone()));
        Setting { cameras: cameras.collect() }
    }
}

/// Why there is no bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// The journal does not know the code.
    #[error(
        "no parcel with the code \"{}\" is in the journal{}",
        words::plain(code),
        from.as_ref().map(|day| format!(", which reaches back to {day}")).unwrap_or_default()
    )]
    NotFound {
        /// Code asked for.
        code: String,
        /// Oldest day kept.
        from: Option<String>,
    },
    /// The store could not be read.
    #[error("the journal could not be read: {0}")]
    Store(#[from] ReadError),
    /// The store's own records do not hold.
    #[error("the records do not fit their chain: {0}; run `sortd verify`")]
    Broken(#[from] ProofFault),
    /// The container could not be made.
    #[error("the bundle could not be packed: {0}")]
    Pack(#[from] BundleFault),
}

/// Everything about a parcel, and the files that show and prove it.
pub fn collect(
    source: &impl Source,
    code: &str,
    setting: &Setting,
) -> Result<(Evidence, Files), EvidenceError> {
    let days = source.days()?;
    let story = source.story(code)?;
    let not_found =
        || EvidenceError::NotFound { code: code.to_owned(), from: days.first().map(|day| day.name.clone()) };
    if story.is_empty() {
        return Err(not_found());
    }
    let wanted: BTreeSet<u64> = story.iter().map(|record| record.seq).collect();
    let proof = Proof::of(source, &wanted, &begins(&story), &spans(&story))?;
    // What is told is what a verifier can derive: from the frames, not from what was read beside them.
    let shown = proof.check(&[])?;
    let parcel = parcel(code, &shown.records).ok_or_else(not_found)?;

    let mut files = Files::default();
    let photos = photos(&parcel, setting, &mut files);
    let events = parcel.passes.iter().flat_map(|pass| &pass.events);
    let upstream: Vec<Acknowledged> = events
        .map(|event| Acknowledged {
            record: event.record,
            acknowledged: source.acknowledged(event.epoch, event.event_seq),
        })
        .collect();
    let keys: BTreeSet<String> = proof.anchors.iter().map(|anchor| anchor.key_id.clone()).collect();
    let mut evidence = Evidence {
        format: FORMAT.to_owned(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        code: code.to_owned(),
        parcel,
        photos,
        upstream,
        proof: ProofSummary {
            records: shown.records.len() as u64,
            anchored: shown.anchored.len() as u64,
            anchors: proof.anchors.len() as u64,
            keys: keys.into_iter().collect(),
            complete: Vec::new(),
        },
        missing: Vec::new(),
        stated: STATED.iter().map(|what| (*what).to_owned()).collect(),
    };
    evidence.proof.complete = complete::passes(&evidence.parcel, &shown).into_iter().flatten().collect();
    let holes: Vec<(u64, u64)> = days
        .windows(2)
        .filter(|pair| pair[0].last_seq + 1 < pair[1].first_seq)
        .map(|pair| (pair[0].last_seq + 1, pair[1].first_seq - 1))
        .collect();
    let kept_from = days.first().filter(|day| day.first_seq > 1).map(|day| day.name.as_str());
    evidence.missing = stated_missing(&shown, &wanted, kept_from);
    evidence.missing.extend(holes.into_iter().chain(source.unread()).map(|(first, last)| hole(first, last)));
    evidence.missing.extend(missing(&evidence, &shown));
    add_files(&evidence, &proof, &mut files);
    Ok((evidence, files))
}

/// The first record of each pass: the names that were in force then are told. Without a pass, the very first.
fn begins(story: &[Record]) -> BTreeSet<u64> {
    let mut passes: BTreeMap<PassKey, u64> = BTreeMap::new();
    for record in story {
        if let Some(pass) = record.body.pass() {
            let first = passes.entry(pass).or_insert(record.seq);
            *first = record.seq.min(*first);
        }
    }
    if passes.is_empty() {
        return story.iter().map(|record| record.seq).min().into_iter().collect();
    }
    passes.into_values().collect()
}

/// The bundle, packed.
pub fn bundle(
    source: &impl Source,
    code: &str,
    setting: &Setting,
) -> Result<(Evidence, Vec<u8>), EvidenceError> {
    let (evidence, files) = collect(source, code, setting)?;
    let packed = files.pack()?;
    Ok((evidence, packed))
}

/// Everything but the photos.
fn add_files(evidence: &Evidence, proof: &Proof, files: &mut Files) {
    let mut add = |name: &str, bytes: Vec<u8>| files.0.insert(name.to_owned(), bytes);
    add("README.txt", readme::TEXT.as_bytes().to_vec());
    add("evidence.json", evidence.bytes());
    add("evidence.html", html::page(evidence).into_bytes());
    for (seq, bytes) in &proof.frames {
        add(&frame_file(*seq), bytes.clone());
    }
    add("proof/chain.json", json(&proof.chain));
    add("proof/anchors.json", json(&proof.anchors));
    let keys: BTreeMap<&str, &str> =
        proof.anchors.iter().map(|anchor| (anchor.key_id.as_str(), anchor.public_key.as_str())).collect();
    for (at, key) in keys.values().enumerate() {
        // Without a rotation there is one key.
        let name = if at == 0 {
            "proof/public-key.pem".to_owned()
        } else {
            format!("proof/public-key-{}.pem", at + 1)
        };
        if let Ok(key) = PublicKey::parse(key.as_bytes()) {
            add(&name, key.pem().into_bytes());
        }
    }
}

/// Where the frame of a record stands in a bundle.
pub fn frame_file(seq: u64) -> String {
    format!("proof/records/{seq:012}.frame")
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("texts, numbers and lists");
    bytes.push(b'\n');
    bytes
}

/// First and last record of each pass.
fn spans(story: &[Record]) -> Vec<(u64, u64)> {
    let mut spans: BTreeMap<PassKey, (u64, u64)> = BTreeMap::new();
    for record in story {
        if let Some(pass) = record.body.pass() {
            let span = spans.entry(pass).or_insert((record.seq, record.seq));
            *span = (span.0.min(record.seq), span.1.max(record.seq));
        }
    }
    spans.into_values().collect()
}

/// What the store does not hold: this only who has the store can say.
fn stated_missing(shown: &Shown, wanted: &BTreeSet<u64>, kept_from: Option<&str>) -> Vec<Missing> {
    let mut missing: Vec<Missing> = kept_from.map(retention).into_iter().collect();
    let told: BTreeSet<u64> = shown.records.iter().map(|dated| dated.record.seq).collect();
    let gone: Vec<u64> = wanted.difference(&told).copied().collect();
    if !gone.is_empty() {
        missing.push(unread(&list(&gone)));
    }
    missing
}

fn retention(day: &str) -> Missing {
    Missing {
        what: "retention".to_owned(),
        stated: true,
        en: format!("Records from before {day} are not kept any more; passes from before are not here."),
        zh: format!("{day} 之前的记录已按保存期限删除；此前的经过不在此处。"),
    }
}

fn unread(which: &str) -> Missing {
    Missing {
        what: "records".to_owned(),
        stated: true,
        en: format!("Records {which} could not be read."),
        zh: format!("记录 {which} 无法读取。"),
    }
}

/// Whether this is something that only who has the store can say, in the words for it.
pub fn is_stated(missing: &Missing) -> bool {
    let between = |from: &str, to: &str| missing.en.strip_prefix(from)?.strip_suffix(to);
    let number = |text: &str| text.parse::<u64>().ok().filter(|number| number.to_string() == text);
    let same = match missing.what.as_str() {
        "retention" => {
            let day =
                between("Records from before ", " are not kept any more; passes from before are not here.");
            let of_a_day = |letter: char| letter.is_ascii_digit() || matches!(letter, '-' | '.');
            day.filter(|day| !day.is_empty() && day.chars().all(of_a_day)).map(retention)
        }
        "records" => {
            let which = between("Records ", " could not be read.");
            let of_a_list = |letter: char| {
                letter.is_ascii_digit() || matches!(letter, '–' | ',' | ' ' | '…' | '(' | '+' | ')')
            };
            which.filter(|which| !which.is_empty() && which.chars().all(of_a_list)).map(unread)
        }
        "hole" => {
            let numbers =
                between("Records ", " of the store are gone; some may have been about this parcel.");
            let numbers = numbers.and_then(|numbers| numbers.split_once(" to "));
            numbers.and_then(|(first, last)| Some(hole(number(first)?, number(last)?)))
        }
        _ => None,
    };
    same.as_ref() == Some(missing)
}

/// What is not here, or not sure, as far as it follows from what is here.
pub fn missing(evidence: &Evidence, shown: &Shown) -> Vec<Missing> {
    let mut missing = Vec::new();
    // What became of a photo that is not here is what the machine says.
    let mut say = |what: &str, en: String, zh: String| {
        missing.push(Missing { what: what.to_owned(), stated: what.starts_with("photo_"), en, zh });
    };
    if evidence.parcel.passes.len() >= PASSES_TOLD {
        say(
            "passes",
            format!("Only the latest {PASSES_TOLD} passes are told."),
            format!("只包含最近 {PASSES_TOLD} 次经过。"),
        );
    }
    let told: BTreeSet<u64> = shown.records.iter().map(|dated| dated.record.seq).collect();
    if !shown.unchained.is_empty() {
        let which = list(&shown.unchained.iter().copied().collect::<Vec<u64>>());
        say(
            "unchained",
            format!(
                "Records {which} are not in the chain: written before there was one, or their day is not kept any more."
            ),
            format!("记录 {which} 不在哈希链中：写入时还没有哈希链，或其所在日已删除。"),
        );
    }
    let loose: Vec<u64> = told
        .iter()
        .filter(|seq| !shown.anchored.contains(seq) && !shown.unchained.contains(seq))
        .copied()
        .collect();
    if !loose.is_empty() {
        say(
            "not_anchored",
            format!(
                "Records {} are in the chain, but no signed anchor covers them yet; ask again in a minute.",
                list(&loose)
            ),
            format!("记录 {} 在哈希链中，但还没有签名锚点覆盖；一分钟后再取即可。", list(&loose)),
        );
    }
    for pass in complete::passes(&evidence.parcel, shown) {
        if let Err(Incomplete { pass, en, zh, .. }) = pass {
            say(
                "not_complete",
                format!("That no record of pass {pass} was left out is not proven: {en}."),
                format!("无法证实经过 {pass} 没有遗漏记录：{zh}。"),
            );
        }
    }
    for pass in &evidence.parcel.passes {
        let name = pass.pass.as_deref();
        match name {
            None => say(
                "no_pass",
                "The code was seen or named, but no parcel on the belt was tied to it.".to_owned(),
                "该条码出现过，但没有与皮带上的任何包裹对应。".to_owned(),
            ),
            Some(name) if pass.end.is_none() => say(
                "not_ended",
                format!("Pass {name} has not ended: the parcel is on the belt."),
                format!("经过 {name} 尚未结束：包裹仍在皮带上。"),
            ),
            Some(_) => {}
        }
        if pass.run.record.is_none() {
            let name = name.unwrap_or("?");
            say(
                "names",
                format!("The start that pass {name} belongs to is not kept: numbers stand for names."),
                format!("经过 {name} 所属的启动记录已不存在：名称以编号代替。"),
            );
        }
    }
    if evidence.parcel.passes.iter().any(|pass| pass.run.clock == "unknown") {
        say(
            "clock",
            "How good the wall clock was is not known: nobody asked whether it was synchronised. Intervals are exact, they come from a monotonic clock."
                .to_owned(),
            "系统时钟的准确度未知：没有检查它是否已同步。时间间隔来自单调时钟，是准确的。".to_owned(),
        );
    }
    for photo in &evidence.photos {
        let (camera, name) = (&photo.camera, &photo.name);
        match photo.state {
            PhotoState::Present => {}
            PhotoState::Missing => say(
                "photo_missing",
                format!("Photo {name} of {camera} is recorded, but no file of that name is there any more."),
                format!("{camera} 的照片 {name} 有记录，但文件已不存在。"),
            ),
            PhotoState::Changed => say(
                "photo_changed",
                format!(
                    "Photo {name} of {camera} is NOT what was recorded: the file has been changed or replaced. It is not included."
                ),
                format!("{camera} 的照片 {name} 与记录不符：文件已被更改或替换，未收入。"),
            ),
            PhotoState::LeftOut => say(
                "photo_left_out",
                format!("Photo {name} of {camera} found no room in the bundle."),
                format!("{camera} 的照片 {name} 超出证据包的容量，未收入。"),
            ),
        }
    }
    missing
}

/// Records that are gone from between those that are kept: a day in quarantine, or one that somebody took away.
fn hole(first: u64, last: u64) -> Missing {
    Missing {
        what: "hole".to_owned(),
        stated: true,
        en: format!("Records {first} to {last} of the store are gone; some may have been about this parcel."),
        zh: format!("存储中的记录 {first} 至 {last} 已丢失，其中可能有关于此包裹的记录。"),
    }
}

/// `3–5, 9`, at most a few.
fn list(numbers: &[u64]) -> String {
    const RANGES_TOLD: usize = 8;
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            Some(_) | None => ranges.push((*number, *number)),
        }
    }
    let more = ranges.len().saturating_sub(RANGES_TOLD);
    let mut told: Vec<String> = ranges
        .iter()
        .take(RANGES_TOLD)
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}–{last}") })
        .collect();
    if more > 0 {
        told.push(format!("… (+{more})"));
    }
    told.join(", ")
}

/// SHA-256 of a whole bundle, hexadecimal.
pub fn digest(packed: &[u8]) -> String {
    use sha2::Digest as _;
    hex(&sha2::Sha256::digest(packed))
}

/// Every file but the photos that this program makes of evidence and proof; for a verifier of the same version.
pub fn derived(evidence: &Evidence, proof: &Proof) -> Files {
    let mut files = Files::default();
    add_files(evidence, proof, &mut files);
    files
}

/// The parcel that these records tell of, for comparison with what a bundle says.
pub fn parcel_of(code: &str, shown: &Shown) -> Option<Parcel> {
    parcel(code, &shown.records)
}
