//! The records of a parcel as frames, and where they stand in the signed chain.
//!
//! A *segment* leads from one of the parcel's records over all that follow it to an anchor: the parcel's own
//! are frames, of the others only *outlines* are shown: the pass a record is of, and a digest. A segment begins with
//! the link before its first record: nobody can find other records that lead from any link to the anchor's. One that
//! holds a pass from its induction on proves with its outlines that no record of the pass was left out.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::parcel::{Dated, hex};
use super::source::Source;
use crate::journal::about::{About, RunStart, outlined};
use crate::journal::anchor::{Anchor, Document};
use crate::journal::chain::{Digest, HASH_BYTES, Link};
use crate::journal::signing::PublicKey;
use crate::journal::verify::{Place, Step, chain_of, check_anchor, check_signature};
use crate::journal::{DaySpan, Frame, ReadError};
use crate::line::PassKey;
use crate::line::event::Event;
use crate::line::record::{Body, Input};

/// Records of one segment: anchors are made each thousand records or each minute. One that is farther away is as good
/// as none.
pub const SEGMENT_MOST: u64 = 120_000;

/// Outlines of one bundle, all segments together: 32 MB of JSON. What is beyond is not proven, and that is said.
pub const DIGESTS_MOST: u64 = 360_000;

/// Frames read at once.
const FRAMES_AT_ONCE: usize = 4_096;

/// `proof/chain.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// Segments, in the order of their records.
    pub segments: Vec<Segment>,
}

/// A stretch of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// Store epoch.
    pub epoch: u64,
    /// First record.
    pub first: u64,
    /// Link before it, hexadecimal; `None`: written before there was a chain, or its day is not kept any more.
    pub before: Option<String>,
    /// One entry a record: empty where its frame is in `proof/records/`; otherwise its outline, `ABOUT:DIGEST`: what
    /// its frame says that it is about and the digest of its canonical form, hexadecimal; or the bare digest of a
    /// record that was written before frames said that.
    pub digests: Vec<String>,
    /// Number of the anchor that speaks of the last record; `None`: there is none yet.
    pub anchor: Option<u64>,
}

/// What is proven by what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proof {
    /// Frames by record number.
    pub frames: BTreeMap<u64, Vec<u8>>,
    /// Where they stand.
    pub chain: Chain,
    /// Anchors, in order.
    pub anchors: Vec<Document>,
}

/// What of a proof does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofFault {
    /// A file that says something impossible.
    #[error("{what}")]
    Shape {
        /// What.
        what: String,
    },
    /// A record that is not what was written.
    #[error("record {seq}: {what}")]
    Record {
        /// Record.
        seq: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The chain breaks.
    #[error("records {first} to {last}: {what}")]
    Chain {
        /// First record of the segment.
        first: u64,
        /// Last record.
        last: u64,
        /// Where and why.
        what: String,
    },
    /// An anchor does not hold.
    #[error("{what}")]
    Anchor {
        /// Which and why.
        what: String,
    },
}

/// What a proof shows once nothing is wrong with it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shown {
    /// Records, in order, with the epoch their segment names.
    pub records: Vec<Dated>,
    /// Those that a signed anchor covers.
    pub anchored: BTreeSet<u64>,
    /// Those that no chain knows: written before there was one, or its day is gone.
    pub unchained: BTreeSet<u64>,
    /// What the frames of records say that they are about, where they say it.
    pub about: BTreeMap<u64, About>,
    /// Digest of each start of a run.
    pub starts: BTreeMap<u64, Digest>,
    /// Segments that lead to an anchor.
    pub stretches: Vec<Stretch>,
}

/// A segment that leads to an anchor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stretch {
    /// First record.
    pub first: u64,
    /// Last record, of which the anchor speaks.
    pub last: u64,
    /// When the anchor was signed, Unix microseconds.
    pub signed_us: i64,
    /// First record of each pass that an outline names.
    pub others: BTreeMap<(u16, u32), u64>,
    /// Last record of which only a bare digest is shown: it may be anything.
    pub bare: Option<u64>,
}

impl Proof {
    /// The proof of these records, and of the starts of the runs that those in `begins` belong to. `spans` are
    /// first and last record of each pass: a pass is shown without gap, where that is not too far.
    pub fn of(
        source: &impl Source,
        records: &BTreeSet<u64>,
        begins: &BTreeSet<u64>,
        spans: &[(u64, u64)],
    ) -> Result<Proof, ReadError> {
        let days = source.days()?;
        let mut proof = Proof::default();
        let mut wanted = records.clone();
        let mut runs = BTreeMap::new();
        for seq in begins {
            if let Some(run) = source.run_before(*seq)? {
                wanted.insert(run.seq);
                runs.insert(run.seq, run);
            }
        }
        let mut anchors: BTreeMap<u64, Anchor> = BTreeMap::new();
        let mut budget = DIGESTS_MOST;
        let mut rest = wanted.iter().copied().peekable();
        while let Some(first) = rest.next() {
            let Some(day) = day_of(&days, first) else {
                // Its day is gone. Each day carries the start of the run in force, and the records that begin
                // passes name it by its digest.
                if let Some(run) = runs.remove(&first) {
                    proof.alone(0, run);
                }
                continue;
            };
            let before = link_before(source, &days, day, first)?;
            let reach = SEGMENT_MOST.min(budget);
            let anchor = match before {
                Some(_) => anchor_behind(source, &wanted, spans, day.epoch, first, reach)?,
                None => None,
            };
            let last = match (&anchor, before) {
                (Some(anchor), _) => anchor.claim.seq,
                // Without an anchor the chain leads as far as the parcel's own records stand close together.
                (None, Some(_)) => close_together(&wanted, first, &days, day.epoch),
                (None, None) => first,
            };
            let segment = proof.segment(source, &wanted, day.epoch, before, first..=last)?;
            if segment.digests.is_empty() {
                if let Some(run) = runs.remove(&first) {
                    proof.alone(0, run);
                }
                continue;
            }
            budget = budget.saturating_sub(segment.digests.len() as u64);
            let reached = first + (segment.digests.len() as u64 - 1);
            // An anchor behind a gap proves nothing of what stands before it.
            let (anchor, last) = (anchor.filter(|_| reached == last), reached);
            while rest.next_if(|seq| *seq <= last).is_some() {}
            let number = anchor.map(|anchor| {
                let number = anchor.claim.number;
                anchors.insert(number, anchor);
                number
            });
            proof.chain.segments.push(Segment { anchor: number, ..segment });
        }
        proof.anchors = anchors.values().map(Anchor::document).collect();
        Ok(proof)
    }

    fn alone(&mut self, epoch: u64, frame: Frame) {
        let first = frame.seq;
        self.frames.insert(first, frame.bytes);
        self.chain.segments.push(Segment {
            epoch,
            first,
            before: None,
            digests: vec![String::new()],
            anchor: None,
        });
    }

    fn segment(
        &mut self,
        source: &impl Source,
        wanted: &BTreeSet<u64>,
        epoch: u64,
        before: Option<Link>,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<Segment, ReadError> {
        let (first, last) = (*range.start(), *range.end());
        let mut digests = Vec::new();
        let mut next = first;
        while next <= last {
            let most = usize::try_from(last - next + 1).unwrap_or(usize::MAX).min(FRAMES_AT_ONCE);
            let frames = match source.frames(next, most) {
                // A damaged stretch of a copy: the chain cannot be followed past it, but leads up to it.
                Err(ReadError::Damaged { .. }) => Vec::new(),
                read => read?,
            };
            if frames.is_empty() {
                break;
            }
            for frame in frames {
                // A gap is a quarantined day: the chain ends here, and the verdict says so.
                if frame.seq != next {
                    return Ok(Segment {
                        epoch,
                        first,
                        before: before.map(|link| hex(&link.0)),
                        digests,
                        anchor: None,
                    });
                }
                next += 1;
                if wanted.contains(&frame.seq) {
                    digests.push(String::new());
                    self.frames.insert(frame.seq, frame.bytes);
                } else {
                    let unreadable = |error| ReadError::Damaged {
                        day: String::new(),
                        what: format!("record {}: {error}", frame.seq),
                    };
                    let canonical = hex(&frame.canonical().map_err(unreadable)?.0);
                    digests.push(match frame.about_bytes() {
                        Some(about) => format!("{}:{canonical}", hex(about)),
                        None => canonical,
                    });
                }
            }
        }
        Ok(Segment { epoch, first, before: before.map(|link| hex(&link.0)), digests, anchor: None })
    }

    /// Checks all of it; `trusted` are the keys that anchors may be signed with; without one, any.
    pub fn check(&self, trusted: &[PublicKey]) -> Result<Shown, ProofFault> {
        let mut shown = Shown::default();
        let mut anchors = BTreeMap::new();
        for document in &self.anchors {
            let fault =
                |what: String| ProofFault::Anchor { what: format!("anchor {}: {what}", document.number) };
            let anchor = Anchor::try_from(document).map_err(|error| fault(error.to_string()))?;
            let own = trusted.iter().find(|key| **key == anchor.claim.public_key);
            check_signature(&anchor, own.or(trusted.first()))
                .map_err(|error| ProofFault::Anchor { what: error.to_string() })?;
            if anchors.insert(document.number, anchor).is_some() {
                return Err(fault("stands twice".to_owned()));
            }
        }
        let mut used = BTreeSet::new();
        let mut next = 0;
        for segment in &self.chain.segments {
            // Records count from 1.
            let end = segment.first.checked_add(segment.digests.len() as u64);
            let in_order = segment.first >= next.max(1) && !segment.digests.is_empty();
            next = end.filter(|_| in_order).ok_or_else(|| ProofFault::Shape {
                what: format!("the segment at record {} is out of order or empty", segment.first),
            })?;
            let anchor = match segment.anchor {
                Some(number) => {
                    used.insert(number);
                    let missing = || ProofFault::Anchor { what: format!("anchor {number} is not here") };
                    Some(anchors.get(&number).ok_or_else(missing)?)
                }
                None => None,
            };
            self.check_segment(segment, anchor, &mut shown)?;
        }
        shown.admit_named_starts();
        if let Some(seq) =
            self.frames.keys().find(|seq| !shown.records.iter().any(|dated| dated.record.seq == **seq))
        {
            return Err(ProofFault::Record {
                seq: *seq,
                what: "no segment of the chain names it".to_owned(),
            });
        }
        if let Some(number) = anchors.keys().find(|number| !used.contains(number)) {
            return Err(ProofFault::Anchor { what: format!("anchor {number} belongs to no segment") });
        }
        Ok(shown)
    }

    fn check_segment(
        &self,
        segment: &Segment,
        anchor: Option<&Anchor>,
        shown: &mut Shown,
    ) -> Result<(), ProofFault> {
        let last = segment.first + (segment.digests.len() as u64 - 1);
        let broken = |what: String| ProofFault::Chain { first: segment.first, last, what };
        let mut steps = Vec::with_capacity(segment.digests.len());
        let mut own = Vec::new();
        let mut stretch = Stretch { first: segment.first, last, ..Stretch::default() };
        for (seq, text) in (segment.first..).zip(&segment.digests) {
            if !text.is_empty() {
                let (digest, about) =
                    outline(text).ok_or_else(|| broken(format!("the digest of record {seq} is none")))?;
                match about {
                    Some(About { pass: Some(PassKey { epoch, track }), .. }) => {
                        stretch.others.entry((epoch, track)).or_insert(seq);
                    }
                    Some(About { pass: None, .. }) => {}
                    None => stretch.bare = Some(seq),
                }
                steps.push(Step::Digest(digest));
                continue;
            }
            let record = |what: String| ProofFault::Record { seq, what };
            let bytes = self.frames.get(&seq).ok_or_else(|| record("its frame is not here".to_owned()))?;
            let frame = Frame { seq, bytes: bytes.clone() };
            let found = frame.record().map_err(|error| record(error.to_string()))?;
            if let Some(about) = frame.about() {
                shown.about.insert(seq, about);
            }
            if matches!(found.body, Body::Input(Input::Event(Event::Started(_)))) {
                let digest = frame.digest().map_err(|error| record(error.to_string()))?;
                shown.starts.insert(seq, digest);
            }
            shown.records.push(Dated { epoch: segment.epoch, record: found });
            steps.push(Step::Frame(bytes));
            own.push(seq);
        }
        let Some(before) = &segment.before else {
            if anchor.is_some() || steps.iter().any(|step| matches!(step, Step::Digest(_))) {
                return Err(broken("it has no link to begin with".to_owned()));
            }
            shown.unchained.extend(own);
            return Ok(());
        };
        let before = unhex(before).ok_or_else(|| broken("the link it begins with is none".to_owned()))?;
        let from = Place { seq: segment.first - 1, link: Link(before) };
        let arrived = chain_of(from, steps).map_err(|fault| broken(fault.to_string()))?;
        if let Some(anchor) = anchor {
            check_anchor(anchor, &arrived).map_err(|fault| ProofFault::Anchor { what: fault.to_string() })?;
            if anchor.claim.epoch != segment.epoch {
                let what = format!(
                    "anchor {} speaks of epoch {}, the segment of epoch {}",
                    anchor.claim.number, anchor.claim.epoch, segment.epoch
                );
                return Err(ProofFault::Anchor { what });
            }
            shown.anchored.extend(own);
            stretch.signed_us = anchor.claim.wall_us;
            shown.stretches.push(stretch);
        }
        Ok(())
    }
}

impl Shown {
    /// A start whose own day is gone is proven by an anchored record that names it by its digest.
    fn admit_named_starts(&mut self) {
        let named = |seq: &u64| {
            let digest = self.starts.get(seq)?;
            let names = |about: &About| about.run == Some(RunStart { seq: *seq, digest: *digest });
            self.about.iter().find(|(by, about)| self.anchored.contains(by) && names(about))
        };
        let found: Vec<u64> = self.unchained.iter().copied().filter(|seq| named(seq).is_some()).collect();
        for seq in found {
            self.unchained.remove(&seq);
            self.anchored.insert(seq);
        }
    }
}

/// The anchor that a segment from `first` on leads to: the next one, or a later one where a pass goes on beyond it.
fn anchor_behind(
    source: &impl Source,
    wanted: &BTreeSet<u64>,
    spans: &[(u64, u64)],
    epoch: u64,
    first: u64,
    reach: u64,
) -> Result<Option<Anchor>, ReadError> {
    let (mut best, mut over) = (None, first);
    while let Some(anchor) =
        source.anchor_over(epoch, over)?.filter(|anchor| anchor.claim.seq - first < reach)
    {
        let last = anchor.claim.seq;
        best = Some(anchor);
        let goes_on = spans.iter().any(|(from, to)| *from <= last && last < *to);
        match wanted.range(last + 1..).next() {
            Some(next) if goes_on => over = *next,
            Some(_) | None => break,
        }
    }
    Ok(best)
}

fn day_of(days: &[DaySpan], seq: u64) -> Option<&DaySpan> {
    days.iter().find(|day| day.first_seq <= seq && seq <= day.last_seq)
}

/// The link before a record, where its day is chained.
fn link_before(
    source: &impl Source,
    days: &[DaySpan],
    day: &DaySpan,
    seq: u64,
) -> Result<Option<Link>, ReadError> {
    if day.before.is_none() || seq == day.first_seq {
        return Ok(day.before);
    }
    debug_assert!(day_of(days, seq - 1).is_some(), "the day begins before the record");
    let frames = match source.frames(seq - 1, 1) {
        // The last one of a damaged stretch: what follows it hangs on nothing that can be shown.
        Err(ReadError::Damaged { .. }) => Vec::new(),
        read => read?,
    };
    Ok(frames.first().filter(|frame| frame.seq == seq - 1).and_then(Frame::link))
}

/// Last of the wanted records behind `first` that are each near the one before and of the same epoch.
fn close_together(wanted: &BTreeSet<u64>, first: u64, days: &[DaySpan], epoch: u64) -> u64 {
    let mut last = first;
    for seq in wanted.range(first..) {
        let near = seq - last <= 1_000
            && day_of(days, *seq).is_some_and(|day| day.epoch == epoch && day.before.is_some());
        if !near {
            break;
        }
        last = *seq;
    }
    last
}

/// The digest that an entry of a segment stands for, and what its record is about, where that is said.
fn outline(text: &str) -> Option<(Digest, Option<About>)> {
    let Some((about, canonical)) = text.split_once(':') else {
        return Some((Digest(unhex(text)?), None));
    };
    let (about, canonical) = (bytes_of(about)?, Digest(unhex(canonical)?));
    Some((outlined(&about, &canonical), Some(About::read(&about)?)))
}

fn unhex(text: &str) -> Option<[u8; HASH_BYTES]> {
    bytes_of(text)?.try_into().ok()
}

/// Bytes in lower-case hexadecimal.
fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2)
        || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    {
        return None;
    }
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
