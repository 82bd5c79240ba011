//! Bundles as somebody would forge them who has this program, and a genuine bundle to begin with: every file follows
//! from what is left, container and manifest are right.

use std::collections::{BTreeMap, BTreeSet};

use super::collect::{derived, missing, parcel_of};
use super::complete;
use super::document::PhotoState;
use super::parcel::hex;
use super::proof::{Chain, Proof};
use super::tests::{CODE, Stand, pass, photo};
use super::verify::{Verdict, verify};
use super::{Evidence, Files};
use crate::journal::Frame;
use crate::journal::about::About;
use crate::journal::anchor::Document;
use crate::line::PassKey;
use crate::line::record::{Body, Input};

/// A genuine bundle in parts.
struct Genuine {
    evidence: Evidence,
    proof: Proof,
    photos: BTreeMap<String, Vec<u8>>,
}

impl Genuine {
    fn of(stand: &Stand, code: &str) -> Genuine {
        let (evidence, files) = stand.collect(code).unwrap();
        let verdict = verify(&files.pack().unwrap(), &[stand.key()]);
        assert!(verdict.is_proven(), "{verdict:#?}");
        let chain: Chain = serde_json::from_slice(&files.0["proof/chain.json"]).unwrap();
        let anchors: Vec<Document> = serde_json::from_slice(&files.0["proof/anchors.json"]).unwrap();
        let (mut frames, mut photos) = (BTreeMap::new(), BTreeMap::new());
        for (name, bytes) in files.0 {
            if let Some(number) = name.strip_prefix("proof/records/") {
                frames.insert(number.strip_suffix(".frame").unwrap().parse().unwrap(), bytes);
            } else if name.starts_with("photos/") {
                photos.insert(name, bytes);
            }
        }
        Genuine { evidence, proof: Proof { frames, chain, anchors }, photos }
    }

    /// Puts this in the place of a record's frame.
    fn leave_out(&mut self, seq: u64, entry: String) {
        self.proof.frames.remove(&seq).unwrap();
        let holds = |first: u64, length: usize| (first..first + length as u64).contains(&seq);
        let segments = &mut self.proof.chain.segments;
        let segment = segments.iter_mut().find(|one| holds(one.first, one.digests.len())).unwrap();
        let at = usize::try_from(seq - segment.first).unwrap();
        segment.digests[at] = entry;
    }

    fn frame(&self, seq: u64) -> Frame {
        Frame { seq, bytes: self.proof.frames[&seq].clone() }
    }

    /// Everything that follows from what is left, made anew.
    fn tell_what_is_left(&mut self) {
        let shown = self.proof.check(&[]).unwrap();
        let evidence = &mut self.evidence;
        evidence.parcel = parcel_of(&evidence.code, &shown).unwrap();
        let passes = &evidence.parcel.passes;
        let photos: BTreeSet<u64> =
            passes.iter().flat_map(|pass| &pass.photos).map(|one| one.record).collect();
        let events: BTreeSet<u64> =
            passes.iter().flat_map(|pass| &pass.events).map(|one| one.record).collect();
        evidence.photos.retain(|photo| photos.contains(&photo.record));
        evidence.upstream.retain(|event| events.contains(&event.record));
        let named: Vec<&String> = evidence.photos.iter().filter_map(|photo| photo.file.as_ref()).collect();
        self.photos.retain(|name, _| named.contains(&name));
        evidence.proof.records = shown.records.len() as u64;
        evidence.proof.anchored = shown.anchored.len() as u64;
        evidence.proof.anchors = self.proof.anchors.len() as u64;
        evidence.proof.complete = complete::passes(&evidence.parcel, &shown).into_iter().flatten().collect();
        evidence.missing.retain(super::collect::is_stated);
        let derived = missing(evidence, &shown);
        self.evidence.missing.extend(derived);
    }

    fn files(&self) -> Files {
        let mut files = derived(&self.evidence, &self.proof);
        files.0.extend(self.photos.clone());
        files
    }

    fn verdict(&self) -> Verdict {
        verify(&self.files().pack().unwrap(), &[])
    }
}

/// The bare digest of a frame, as the version before showed others' records.
fn bare(frame: &Frame) -> String {
    hex(&frame.digest().unwrap().0)
}

/// What a bundle shows of others' records.
fn outline(frame: &Frame, about: &About) -> String {
    format!("{}:{}", hex(&about.bytes()), hex(&frame.canonical().unwrap().0))
}

/// Every record of a pass: the photo, the decision, the end.
#[test]
fn no_record_of_a_pass_can_be_left_out() {
    let stand = Stand::new();
    let whole = Genuine::of(&stand, CODE);
    let of_a_pass: Vec<u64> = whole
        .proof
        .frames
        .keys()
        .copied()
        .filter(|seq| whole.frame(*seq).record().unwrap().body.pass().is_some())
        .collect();
    assert_eq!(of_a_pass.len(), 15);
    let mut photos = 0;
    for seq in of_a_pass {
        let frame = whole.frame(seq);
        let own = frame.about().unwrap();
        photos += u32::from(matches!(frame.record().unwrap().body, Body::Input(Input::Photo { .. })));
        for entry in [bare(&frame), outline(&frame, &own)] {
            let mut forged = Genuine::of(&stand, CODE);
            forged.leave_out(seq, entry);
            forged.tell_what_is_left();
            let verdict = forged.verdict();
            assert_eq!(verdict.verdict, "not_proven", "record {seq}: {verdict:#?}");
            assert!(verdict.findings.iter().all(|finding| finding.what.contains("left out")), "{verdict:#?}");
        }
        // As if it were another parcel's, or nobody's.
        for pass in [None, Some(PassKey { epoch: 3, track: 10 })] {
            let mut forged = Genuine::of(&stand, CODE);
            forged.leave_out(seq, outline(&frame, &About { pass, ..own }));
            let verdict = forged.verdict();
            assert_eq!(verdict.verdict, "altered", "record {seq}: {verdict:#?}");
            assert!(verdict.findings[0].file.starts_with("proof/"), "{verdict:#?}");
        }
    }
    assert_eq!(photos, 1);
}

/// A photo that comes when its pass has long ended: a bundle of the time before says up to where it speaks.
#[test]
fn what_is_complete_says_up_to_where() {
    let mut stand = Stand::empty();
    stand.run(1, pass(1, CODE, true));
    let before = Genuine::of(&stand, CODE);
    stand.keep("late.jpg", b"late");
    stand.run(2, vec![photo("late.jpg", b"late", 1)]);
    let after = Genuine::of(&stand, CODE);
    assert_eq!(after.evidence.photos[0].state, PhotoState::Present);
    let (earlier, later) = (&before.evidence.proof.complete[0], &after.evidence.proof.complete[0]);
    assert!(earlier.to < after.evidence.photos[0].record && later.to >= after.evidence.photos[0].record);
    assert_eq!((earlier.from, &earlier.pass), (later.from, &later.pass));
    let page = String::from_utf8(before.files().0["evidence.html"].clone()).unwrap();
    assert!(page.contains(&format!("between records {} and {}", earlier.from, earlier.to)));
    let verdict = before.verdict();
    assert_eq!(verdict.complete, before.evidence.proof.complete);
    assert!(verdict.not_proven.iter().any(|limit| limit.contains("behind the record")));
}

#[test]
fn another_start_gives_no_other_names() {
    let stand = Stand::new();
    let mut forged = Genuine::of(&stand, CODE);
    let second = forged.evidence.parcel.passes[1].run.record.unwrap();
    let frame = forged.frame(second);
    forged.leave_out(second, outline(&frame, &About::default()));
    forged.tell_what_is_left();
    assert_eq!(forged.evidence.parcel.passes[1].run.boot, 1, "told in the names of the run before");
    let verdict = forged.verdict();
    assert_eq!(verdict.verdict, "not_proven", "{verdict:#?}");
    assert!(verdict.findings[0].what.contains("names"), "{verdict:#?}");
}

#[test]
fn another_code_is_not_that_of_these_records() {
    let stand = Stand::new();
    let mut forged = Genuine::of(&stand, CODE);
    forged.evidence.code = "KEX00000000098".to_owned();
    forged.tell_what_is_left();
    let verdict = forged.verdict();
    assert_eq!(verdict.verdict, "altered", "{verdict:#?}");
    assert!(verdict.findings[0].what.contains("KEX00000000098"), "{verdict:#?}");
}

/// Written before frames said which pass they are of.
#[test]
fn records_that_do_not_say_what_they_are_about_prove_no_completeness() {
    let stand = Stand::new();
    let genuine = Genuine::of(&stand, CODE);
    let mut shown = genuine.proof.check(&[]).unwrap();
    assert!(complete::passes(&genuine.evidence.parcel, &shown).iter().all(Result::is_ok));
    shown.about.clear();
    let looked = complete::passes(&genuine.evidence.parcel, &shown);
    assert_eq!(looked.len(), 2);
    assert!(
        looked.iter().all(|pass| pass.as_ref().is_err_and(|why| why.en.contains("written by a version")))
    );
}

/// A run that outlives its first day: once that is deleted, the records that begin passes prove its names.
#[test]
fn the_start_of_a_deleted_day_is_proven_by_who_names_it() {
    let mut stand = Stand::empty();
    stand.run_days(1, vec![pass(7, "OTHER", true), pass(1, CODE, true)]);
    let days = stand.store().join("days");
    assert_eq!(std::fs::read_dir(&days).unwrap().count(), 2);
    std::fs::remove_dir_all(days.join("2026-11-22")).unwrap();
    let mut genuine = Genuine::of(&stand, CODE);
    assert_eq!(genuine.evidence.parcel.passes[0].run.record, Some(1));
    let said: Vec<&str> = genuine.evidence.missing.iter().map(|missing| missing.what.as_str()).collect();
    assert_eq!(said, ["retention", "clock"]);
    assert!(genuine.evidence.missing[0].stated);
    // One of the store's own making, alike but for a name.
    let frame = genuine.proof.frames.get_mut(&1).unwrap();
    let at = frame.windows(7).position(|text| text == b"Bangkok").unwrap();
    frame[at] = b'X';
    let crc = crc32fast::hash(&[&frame[..21], &frame[25..]].concat()).to_be_bytes();
    frame[21..25].copy_from_slice(&crc);
    genuine.tell_what_is_left();
    let verdict = genuine.verdict();
    assert_eq!(verdict.verdict, "not_proven", "{verdict:#?}");
}

#[test]
fn what_is_stated_is_marked_and_only_what_may_be_is_stated() {
    let mut stand = Stand::new();
    stand.run(3, vec![photo("b.jpg", b"second", 2)]);
    stand.keep("b.jpg", b"other!");
    let genuine = || Genuine::of(&stand, CODE);
    let verdict = genuine().verdict();
    assert!(
        verdict.stated.iter().any(|said| said.contains("acknowledged 0 of 6 events, 6 not yet")),
        "{verdict:#?}"
    );
    assert!(verdict.stated.iter().any(|said| said.contains("b.jpg")), "{verdict:#?}");
    let page = String::from_utf8(genuine().files().0["evidence.html"].clone()).unwrap();
    assert!(page.contains("Acknowledged (stated, not proven)") && page.contains("(stated, not proven"));

    let altered = |change: &dyn Fn(&mut Evidence)| {
        let mut forged = genuine();
        change(&mut forged.evidence);
        let verdict = forged.verdict();
        assert_eq!(
            (verdict.verdict, &*verdict.findings[0].file),
            ("altered", "evidence.json"),
            "{verdict:#?}"
        );
    };
    // Nothing proves it; so a verifier says what was stated, and that it was.
    let mut flipped = genuine();
    flipped.evidence.upstream[0].acknowledged = Some(true);
    let verdict = flipped.verdict();
    assert!(verdict.stated.iter().any(|said| said.contains("acknowledged 1 of 6")), "{verdict:#?}");

    altered(&|evidence| evidence.stated.truncate(1));
    altered(&|evidence| evidence.upstream[0].record += 1);
    altered(&|evidence| evidence.upstream.truncate(1));
    altered(&|evidence| evidence.missing[0].what.clear());
    altered(&|evidence| evidence.missing[0].en = "Nothing.".to_owned());
    altered(&|evidence| evidence.missing.truncate(1));
    altered(&|evidence| evidence.photos[0].found_sha256 = Some("x".to_owned()));
    altered(&|evidence| evidence.photos[1].found_sha256 = Some("x".to_owned()));
    altered(&|evidence| evidence.photos[0].found_sha256 = Some("0".repeat(64)));
    altered(&|evidence| evidence.photos[1].state = PhotoState::LeftOut);
    altered(&|evidence| {
        let more = super::document::Missing { what: "retention".to_owned(), ..evidence.missing[0].clone() };
        evidence.missing.insert(0, more);
    });
}

#[test]
fn a_photo_that_has_grown_has_no_digest_of_its_beginning() {
    let mut stand = Stand::new();
    stand.run(3, vec![photo("b.jpg", b"second", 2)]);
    stand.keep("b.jpg", b"second and more");
    let (evidence, _) = stand.collect(CODE).unwrap();
    assert_eq!((evidence.photos[1].state, &evidence.photos[1].found_sha256), (PhotoState::Changed, &None));
}
