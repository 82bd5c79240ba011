//! The five cases over a store in memory, altered in every way an attacker or a disk might.

use super::*;
use crate::journal::Frame as Stored;
use crate::journal::anchor::Claim;
use crate::journal::chain::Digest;
use crate::journal::signing::SigningKey;
use crate::journal::verify::frame::testing;
use crate::journal::verify::source::{Source, SourceError, examine};

const EPOCH: u64 = 1_795_305_600;
/// Records of each of the three days.
const DAY: u64 = 20;

fn key(seed: u8) -> SigningKey {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("seed");
    std::fs::write(&path, [seed; 32]).unwrap();
    SigningKey::read(&path).unwrap()
}

/// A store in memory.
#[derive(Clone)]
struct Made {
    days: Vec<DaySpan>,
    frames: Vec<Vec<u8>>,
    anchors: Vec<Anchor>,
    witnesses: Vec<Witness>,
}

impl Source for Made {
    fn days(&self) -> Result<Vec<DaySpan>, SourceError> {
        Ok(self.days.clone())
    }
    fn damaged_days(&self) -> Vec<(String, String)> {
        Vec::new()
    }
    fn frames(&self, from: u64, max: usize) -> Result<Vec<Stored>, SourceError> {
        let first = self.days[0].first_seq;
        let from_index = usize::try_from(from - first).unwrap();
        let frames = self.frames.iter().skip(from_index).take(max).zip(from..);
        Ok(frames.map(|(bytes, seq)| Stored { seq, bytes: bytes.clone() }).collect())
    }
    fn anchors(&self) -> Result<(Vec<Anchor>, Vec<String>), SourceError> {
        Ok((self.anchors.clone(), Vec::new()))
    }
    fn witnesses(&self) -> Result<Vec<Witness>, SourceError> {
        Ok(self.witnesses.clone())
    }
    fn others(&self) -> Result<(Vec<String>, Vec<String>), SourceError> {
        Ok((Vec::new(), Vec::new()))
    }
}

fn anchor(key: &SigningKey, number: u64, epoch: u64, seq: u64, link: Link) -> Anchor {
    let claim = Claim {
        number,
        epoch,
        seq,
        event_seq: 0,
        link,
        wall_us: 0,
        public_key: key.public(),
        previous_key: None,
        site: "s".to_owned(),
        line: "l".to_owned(),
    };
    claim.sign(key).unwrap()
}

/// A frame of version 1.
fn old_frame(seq: u64, event_seq: u64, body: &[u8]) -> Vec<u8> {
    let (new, _) = testing::frame(seq, event_seq, Link::UNKNOWN, body);
    let prefix = [&[1], &new[1..21]].concat();
    testing::seal(&prefix, &[], body)
}

/// Three days of one epoch, an anchor after every ten records; every second record is a milestone.
fn store() -> Made {
    let key = key(1);
    let mut link = Link::genesis(EPOCH, 1, Link::UNKNOWN);
    let mut made = Made { days: Vec::new(), frames: Vec::new(), anchors: Vec::new(), witnesses: Vec::new() };
    for day in 0..3 {
        let before = link;
        for seq in day * DAY + 1..=(day + 1) * DAY {
            let event = if seq % 2 == 0 { seq / 2 } else { 0 };
            let (bytes, next) = testing::frame(seq, event, link, format!("record {seq}").as_bytes());
            link = next;
            made.frames.push(bytes);
            if seq % 10 == 0 {
                made.anchors.push(anchor(&key, seq / 10, EPOCH, seq, link));
            }
        }
        made.days.push(DaySpan {
            name: format!("2026-11-2{}", day + 1),
            epoch: EPOCH,
            first_seq: day * DAY + 1,
            last_seq: (day + 1) * DAY,
            first_event: day * DAY / 2 + 1,
            last_event: (day + 1) * DAY / 2,
            before: Some(before),
            last: Some(link),
            sealed: day < 2,
        });
    }
    made
}

fn verdict(store: &Made) -> Verdict {
    examine(store, Vec::new()).unwrap().verdict
}

/// Exchanges the body of a record, with a right CRC; `link` says what to do with its link.
fn exchange(frame: &[u8], link: Option<Link>, body: &[u8]) -> Vec<u8> {
    let mut prefix = frame[..21].to_vec();
    prefix[17..21].copy_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
    let link = link.map_or_else(|| frame[25..57].to_vec(), |link| link.0.to_vec());
    testing::seal(&prefix, &link, body)
}

/// Makes links and CRCs anew from record `from` on, as an attacker with everything but the key would.
fn rechain(store: &mut Made, from: u64, upto: u64) {
    let first = store.days[0].first_seq;
    let index = |seq: u64| usize::try_from(seq - first).unwrap();
    let mut link = match from {
        1 => Link::genesis(EPOCH, 1, Link::UNKNOWN),
        _ => Frame::parse(&store.frames[index(from - 1)]).unwrap().link.unwrap(),
    };
    for seq in from..=upto {
        let bytes = store.frames[index(seq)].clone();
        let body = bytes[57..].to_vec();
        link = link.next(&Digest::of(&[&bytes[..21], &body]));
        store.frames[index(seq)] = exchange(&bytes, Some(link), &body);
        for day in &mut store.days {
            if day.first_seq == seq + 1 {
                day.before = Some(link);
            }
        }
    }
}

#[test]
fn a_store_as_it_was_written_is_intact() {
    let store = store();
    let report = examine(&store, vec![key(1).public()]).unwrap();
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!((report.records, report.first_seq, report.last_seq), (60, Some(1), Some(60)));
    assert_eq!((report.anchors, report.anchors_agree, report.proven_to), (6, 6, Some(60)));
    assert_eq!(report.notes, [""; 0]);
}

#[test]
fn days_deleted_by_retention_leave_an_intact_store() {
    let mut store = store();
    store.days.remove(0);
    store.frames.drain(..20);
    let report = examine(&store, Vec::new()).unwrap();
    assert!(report.is_clean(), "{report:#?}");
    // The anchor of the last deleted record proves the link that the first kept day begins with.
    assert_eq!((report.first_seq, report.anchors_agree), (Some(21), 5));
    store.days[0].before = Some(Link([1; 32]));
    assert!(matches!(verdict(&store), Verdict::AnchorMismatch { seq: 20, .. }));
}

#[test]
fn one_altered_byte_in_any_record_is_named() {
    let good = store();
    for (index, seq) in (1..=60).enumerate() {
        for place in 0..good.frames[index].len() {
            let mut bad = good.clone();
            bad.frames[index][place] ^= 0x10;
            let report = examine(&bad, Vec::new()).unwrap();
            assert!(matches!(report.verdict, Verdict::AlteredAt { seq: at, .. } if at == seq), "{report:#?}");
            let bad = report.bad.unwrap();
            assert_eq!((bad.seq, bad.day), (seq, Some(good.days[index / 20].name.clone())));
        }
    }
}

#[test]
fn a_record_exchanged_with_a_right_crc_is_named() {
    for seq in 1..=60 {
        let mut bad = store();
        let frame = &mut bad.frames[usize::try_from(seq - 1).unwrap()];
        *frame = exchange(frame, None, b"forged");
        let Verdict::AlteredAt { seq: at, .. } = verdict(&bad) else { panic!("{seq}") };
        assert_eq!(at, seq);
    }
}

#[test]
fn a_record_exchanged_with_its_link_breaks_at_the_next() {
    for seq in 1..=59 {
        let mut bad = store();
        let index = usize::try_from(seq - 1).unwrap();
        bad.frames[index] = exchange(&bad.frames[index], None, b"forged");
        rechain(&mut bad, seq, seq);
        let found = verdict(&bad);
        // Where an anchor speaks of this very record, it says so first.
        match seq % 10 {
            0 => assert!(matches!(found, Verdict::AnchorMismatch { seq: at, .. } if at == seq), "{found:?}"),
            _ => assert!(matches!(found, Verdict::AlteredAt { seq: at, .. } if at == seq + 1), "{found:?}"),
        }
    }
}

#[test]
fn everything_made_anew_is_found_by_the_anchors() {
    for seq in 1..=60 {
        let mut bad = store();
        let index = usize::try_from(seq - 1).unwrap();
        bad.frames[index] = exchange(&bad.frames[index], None, b"forged");
        rechain(&mut bad, seq, 60);
        let (signed, after) = (seq.div_ceil(10) * 10, (seq - 1) / 10 * 10);
        let report = examine(&bad, Vec::new()).unwrap();
        let Verdict::AnchorMismatch { number, seq: at, after: proven, .. } = report.verdict else {
            panic!("{report:#?}")
        };
        assert_eq!((number, at, proven), (signed / 10, signed, after));
        assert_eq!(report.bad.unwrap().seq, after + 1);
    }
}

#[test]
fn who_makes_the_anchors_anew_too_lacks_the_key() {
    let mut bad = store();
    bad.frames[30] = exchange(&bad.frames[30], None, b"forged");
    rechain(&mut bad, 31, 60);
    let other = key(2);
    for (index, seq) in [(3, 40), (4, 50), (5, 60)] {
        let link = Frame::parse(&bad.frames[seq - 1]).unwrap().link.unwrap();
        bad.anchors[index] = anchor(&other, index as u64 + 1, EPOCH, seq as u64, link);
    }
    let report = examine(&bad, Vec::new()).unwrap();
    assert!(!report.is_clean() && report.findings[0].contains("does not name"), "{report:#?}");
    let report = examine(&bad, vec![key(1).public()]).unwrap();
    assert!(!report.is_clean() && report.findings.iter().any(|text| text.contains("not the key given")));
    assert_eq!(report.proven_to, Some(30));
    // Keeping the old key's name does not help: the signature is missing.
    bad.anchors[3].claim.public_key = key(1).public();
    assert!(matches!(verdict(&bad), Verdict::AnchorMismatch { number: 4, seq: 40, after: 30, .. }));
}

#[test]
fn a_key_that_was_changed_in_order_is_no_fault() {
    let mut store = store();
    let other = key(2);
    for anchor in &mut store.anchors[3..] {
        let mut claim = anchor.claim.clone();
        claim.public_key = other.public();
        claim.previous_key = (claim.number == 4).then(|| key(1).public().id());
        *anchor = claim.sign(&other).unwrap();
    }
    assert!(examine(&store, Vec::new()).unwrap().is_clean());
    assert!(examine(&store, vec![key(1).public(), other.public()]).unwrap().is_clean());
    let report = examine(&store, vec![other.public()]).unwrap();
    assert_eq!(report.findings.len(), 1, "the first key is not trusted: {report:#?}");
}

#[test]
fn what_was_cut_off_is_known_by_whoever_counted() {
    let cut = |to: u64| {
        let mut store = store();
        store.frames.truncate(usize::try_from(to).unwrap());
        store.days.retain(|day| day.first_seq <= to);
        let day = store.days.last_mut().unwrap();
        (day.last_seq, day.last_event, day.sealed) = (to, to / 2, false);
        store
    };
    for to in 1..60 {
        let Verdict::Truncated { last, expected, .. } = verdict(&cut(to)) else { panic!("{to}") };
        assert_eq!((last, expected), (to, 60), "by the last anchor");
    }
    let mut unsigned = cut(55);
    unsigned.anchors.truncate(5);
    assert_eq!(verdict(&unsigned), Verdict::Intact, "nobody can know");
    let witness = Witness { what: "someone".to_owned(), epoch: EPOCH, seq: None, event_seq: None };
    unsigned.witnesses = vec![Witness { seq: Some(56), ..witness.clone() }];
    assert!(matches!(verdict(&unsigned), Verdict::Truncated { last: 55, expected: 56, .. }));
    unsigned.witnesses = vec![Witness { event_seq: Some(28), ..witness.clone() }];
    assert!(matches!(verdict(&unsigned), Verdict::Truncated { last: 55, expected: 56, .. }));
    unsigned.witnesses = vec![Witness { seq: Some(55), event_seq: Some(27), ..witness }];
    assert_eq!(verdict(&unsigned), Verdict::Intact);
    // Nothing is left at all.
    let empty = Made { days: Vec::new(), frames: Vec::new(), ..store() };
    assert!(matches!(verdict(&empty), Verdict::Truncated { last: 0, expected: 60, .. }));
}

#[test]
fn a_tail_that_hangs_on_nothing_is_told_from_an_altered_record() {
    let mut bad = store();
    bad.anchors.truncate(5);
    for index in 52..60 {
        let body = bad.frames[index][57..].to_vec();
        bad.frames[index] = exchange(&bad.frames[index], Some(Link([0; 32])), &body);
    }
    assert_eq!(verdict(&bad), Verdict::UnchainedTail { from: 53 });
    // An anchor behind it: records were there, and these are not they.
    let anchored = Made { anchors: store().anchors, ..bad };
    assert!(matches!(verdict(&anchored), Verdict::AlteredAt { seq: 53, .. }));
    // A day that was written by a program that knows no chain.
    let mut bad = store();
    bad.anchors.truncate(4);
    bad.days[2].before = None;
    bad.days[2].last = None;
    for (index, seq) in (40..60).zip(41..) {
        let event = if seq % 2 == 0 { seq / 2 } else { 0 };
        bad.frames[index] = old_frame(seq, event, b"old");
    }
    assert_eq!(verdict(&bad), Verdict::UnchainedTail { from: 41 });
}

#[test]
fn records_from_before_the_chain_are_no_fault() {
    let mut store = store();
    for (index, seq) in (0..20).zip(1..) {
        let event = if seq % 2 == 0 { seq / 2 } else { 0 };
        store.frames[index] = old_frame(seq, event, b"old");
    }
    (store.days[0].before, store.days[0].last) = (None, None);
    store.anchors.drain(..2);
    let genesis = Link::genesis(EPOCH, 21, Link::UNKNOWN);
    store.days[1].before = Some(genesis);
    // The chain begins with the second day.
    let mut link = genesis;
    for index in 20..60 {
        let body = store.frames[index][57..].to_vec();
        link = link.next(&Digest::of(&[&store.frames[index][..21], &body]));
        store.frames[index] = exchange(&store.frames[index], Some(link), &body);
        if index == 39 {
            store.days[2].before = Some(link);
        }
        if index % 10 == 9 {
            let number = (index as u64 + 1) / 10;
            store.anchors[usize::try_from(number - 3).unwrap()] =
                anchor(&key(1), number, EPOCH, number * 10, link);
        }
    }
    let report = examine(&store, Vec::new()).unwrap();
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.chained_from, Some(21));
    assert!(report.notes[0].contains("before there was a chain"), "{:?}", report.notes);
    for index in 0..20 {
        let mut bad = store.clone();
        *bad.frames[index].last_mut().unwrap() ^= 1;
        assert!(matches!(verdict(&bad), Verdict::AlteredAt { seq, .. } if seq == index as u64 + 1));
    }
}

#[test]
fn a_day_that_was_taken_out_is_missed() {
    let mut bad = store();
    bad.days.remove(1);
    let frames = bad.frames.clone();
    // The source is asked by number; what it has not, it cannot give.
    bad.frames = frames;
    let report = examine(&bad, Vec::new()).unwrap();
    let Verdict::AlteredAt { seq, what } = report.verdict else { panic!("{:#?}", report.verdict) };
    assert_eq!((seq, what.as_str()), (21, "records 21 to 40 are not there"));
}

#[test]
fn an_epoch_behind_a_gap_is_a_note_unless_something_was_signed_there() {
    // Epoch 2 begins with record 71: 61 to 70 were never stored.
    let later = EPOCH + 100;
    let mut store = store();
    let mut link = Link::genesis(later, 71, store.days[2].last.unwrap());
    let before = link;
    store.frames.extend(std::iter::repeat_n(Vec::new(), 10));
    for seq in 71..=75 {
        let (bytes, next) = testing::frame(seq, seq - 70, link, b"new");
        link = next;
        store.frames.push(bytes);
    }
    store.days.push(DaySpan {
        name: "2026-11-24".to_owned(),
        epoch: later,
        first_seq: 71,
        last_seq: 75,
        first_event: 1,
        last_event: 5,
        before: Some(before),
        last: Some(link),
        sealed: false,
    });
    store.anchors.push(anchor(&key(1), 7, later, 75, link));
    let report = examine(&store, Vec::new()).unwrap();
    assert!(report.is_clean(), "{report:#?}");
    assert!(report.notes.iter().any(|note| note.contains("numbers 61 to 70 stand nowhere")));
    // Something of the gap was signed: it was there, and is gone.
    let mut bad = store.clone();
    bad.anchors[6].claim.number = 8;
    bad.anchors[6] = bad.anchors[6].claim.clone().sign(&key(1)).unwrap();
    bad.anchors.insert(6, anchor(&key(1), 7, EPOCH, 66, Link([3; 32])));
    assert!(matches!(verdict(&bad), Verdict::AlteredAt { seq: 61, .. }));
}

#[test]
fn an_anchor_that_is_missing_is_missed() {
    let mut store = store();
    store.anchors.remove(2);
    let report = examine(&store, Vec::new()).unwrap();
    assert_eq!(report.verdict, Verdict::Intact);
    assert!(report.findings.len() == 1 && report.findings[0].contains("anchors are missing"));
}
