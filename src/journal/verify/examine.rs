//! The examination: days and frames in order, then the verdict.

mod gaps;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::gaps::Deletion;
use super::books::Books;
use super::frame::Frame;
use super::proof::{AnchorFault, check_signature};
use super::report::{Bad, Report, Verdict};
use crate::journal::DaySpan;
use crate::journal::anchor::Anchor;
use crate::journal::chain::Link;
use crate::journal::signing::PublicKey;

/// Findings and notes kept, each; more of them say nothing new.
const SAID_LIMIT: usize = 50;

/// Something beside the records that knows how far they went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// What it is, for people.
    pub what: String,
    /// Epoch it speaks of.
    pub epoch: u64,
    /// Last record, where it counts records.
    pub seq: Option<u64>,
    /// Last milestone, where it counts milestones.
    pub event_seq: Option<u64>,
}

/// A fault at a record.
#[derive(Debug, Clone)]
struct Fault {
    bad: Bad,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    /// The record itself, or a hole.
    Altered(String),
    /// Its link does not follow; whether anything behind it does is seen later.
    Unlinked(String),
    /// An anchor says otherwise.
    Anchor { number: u64, seq: u64, what: String },
}

/// Where the examination stands.
#[derive(Debug, Clone, Copy)]
struct At {
    epoch: u64,
    seq: u64,
    event_seq: u64,
    /// The chain there; `None` where it has not begun, or where a record could not be read.
    link: Option<Link>,
    /// What comes next cannot be held against this.
    lost: bool,
    /// How many milestones there were up to here is not known.
    events_lost: bool,
}

/// Examines a store, day after day, frame after frame.
#[derive(Debug)]
pub struct Examiner {
    trusted: Vec<PublicKey>,
    anchors: Vec<Anchor>,
    /// Anchors that can prove something, by epoch and record.
    places: BTreeMap<(u64, u64), Vec<usize>>,
    day: Option<DaySpan>,
    at: Option<At>,
    /// Last frame that was right, for its wall clock.
    right: Vec<u8>,
    right_seq: u64,
    first_fault: Option<Fault>,
    /// The first anchor whose signature does not fit, where no record has a fault.
    forged: Option<Fault>,
    /// Last record that an anchor speaks of, whatever it says.
    spoken_to: u64,
    /// Last day that was begun.
    last_day: Option<String>,
    /// First of the records that do not follow, if none follows from one of them.
    tail: Option<u64>,
    /// Days behind the last one that could be read, and why they cannot be.
    lost_days: Vec<(String, String)>,
    /// Why the rest of this day cannot be read.
    cut: Option<String>,
    /// First of the records that follow from each other up to here: an anchor that agrees speaks of each of them.
    follows_from: u64,
    /// Such stretches behind a fault, with the last record that an anchor agrees with.
    behind: Vec<(u64, u64)>,
    /// Epochs in order with their last record and milestone.
    ends: Vec<(u64, u64, u64)>,
    /// Where an epoch begins behind a gap: first and last number without a record.
    gaps: Vec<(u64, u64)>,
    /// What the store says of what is gone, and which of its holes were met.
    books: Option<Books>,
    told: Vec<bool>,
    /// How a record begins that says that a day was deleted, and the last record that one of them names.
    deletion: Deletion,
    recorded_to: u64,
    report: Report,
}

impl Examiner {
    /// Begins with the anchors of the store, in order. `trusted`: keys that may have signed them; any,
    /// where there are none.
    pub fn new(anchors: Vec<Anchor>, trusted: Vec<PublicKey>) -> Examiner {
        let report = Report {
            verdict: Verdict::Intact,
            bad: None,
            findings: Vec::new(),
            notes: Vec::new(),
            records: 0,
            first_seq: None,
            last_seq: None,
            chained_from: None,
            days: 0,
            anchors: anchors.len() as u64,
            anchors_agree: 0,
            proven_to: None,
            keys: Vec::new(),
        };
        let mut examiner = Examiner {
            trusted,
            anchors,
            places: BTreeMap::new(),
            day: None,
            at: None,
            right: Vec::new(),
            right_seq: 0,
            first_fault: None,
            forged: None,
            spoken_to: 0,
            last_day: None,
            tail: None,
            lost_days: Vec::new(),
            cut: None,
            follows_from: 0,
            behind: Vec::new(),
            ends: Vec::new(),
            gaps: Vec::new(),
            books: None,
            told: Vec::new(),
            deletion: Deletion::new(),
            recorded_to: 0,
            report,
        };
        examiner.look_at_anchors();
        examiner
    }

    /// Something else that is not as it should be.
    pub fn finding(&mut self, what: String) {
        say(&mut self.report.findings, what);
    }

    /// Something worth knowing.
    pub fn note(&mut self, what: String) {
        say(&mut self.report.notes, what);
    }

    /// Signatures, keys and numbers of the anchors themselves.
    fn look_at_anchors(&mut self) {
        let anchors = std::mem::take(&mut self.anchors);
        let mut before: Option<&Anchor> = None;
        for (index, anchor) in anchors.iter().enumerate() {
            let claim = &anchor.claim;
            let key = anchor.key_id().to_string();
            let new_key = !self.report.keys.contains(&key);
            if let Some(before) = before.map(|before| &before.claim) {
                if claim.number != before.number + 1 {
                    let (from, to) = (before.number + 1, claim.number);
                    self.finding(format!(
                        "Anchor {from} is expected after {}, but {to} comes: anchors are missing.",
                        before.number
                    ));
                }
                if (&claim.site, &claim.line) != (&before.site, &before.line) {
                    self.note(format!(
                        "From anchor {} on they speak of site {}, line {}; before of {}, {}.",
                        claim.number, claim.site, claim.line, before.site, before.line
                    ));
                }
                let named = claim.previous_key == Some(before.public_key.id());
                if claim.public_key != before.public_key && named {
                    self.note(format!(
                        "From anchor {} on they are signed by key {key}, which names {}, the key before it.",
                        claim.number,
                        before.public_key.id()
                    ));
                }
                if claim.public_key != before.public_key && !named {
                    self.finding(format!(
                        "Anchor {} is signed by key {key}, which does not name {}, the key before it.",
                        claim.number,
                        before.public_key.id()
                    ));
                }
            }
            let after = before.map_or(0, |before| before.claim.seq);
            before = Some(anchor);
            if new_key {
                self.report.keys.push(key.clone());
            }
            let trusted = self.trusted.is_empty() || self.trusted.contains(&claim.public_key);
            match check_signature(anchor, None) {
                Err(fault) => {
                    let kind = Kind::Anchor { number: claim.number, seq: claim.seq, what: sentence(&fault) };
                    let bad = Bad { seq: after + 1, day: None, wall_us: None };
                    self.forged.get_or_insert(Fault { bad, kind });
                }
                Ok(()) if !trusted && new_key => {
                    self.finding(format!(
                        "Anchors from number {} on are signed by key {key}, which is not the key given: they \
                         prove nothing here.",
                        claim.number
                    ));
                }
                Ok(()) if !trusted => {}
                Ok(()) => self.places.entry((claim.epoch, claim.seq)).or_default().push(index),
            }
        }
        self.anchors = anchors;
    }

    /// A day begins; the one before ends.
    pub fn day(&mut self, day: &DaySpan) {
        self.end_day(false);
        self.report.days += 1;
        self.report.first_seq.get_or_insert(day.first_seq);
        let before = Link::genesis(day.epoch, day.first_seq, Link::UNKNOWN);
        match self.at {
            None => {
                if day.first_seq > 1 {
                    self.front(day);
                }
                if let Some(link) = day.before {
                    self.anchor_at(day.epoch, day.first_seq - 1, link, day);
                }
            }
            Some(at) if at.lost => self.begin_epoch(at, day),
            Some(at) if at.epoch == day.epoch => {
                let right = day.before.is_none() || day.before == Some(at.link.unwrap_or(before));
                if day.first_seq <= at.seq {
                    let what = format!("day {} begins with it, but the day before holds it", day.name);
                    self.altered(day.first_seq, &day.name, what);
                } else if day.first_seq != at.seq + 1 {
                    self.hole((at.seq + 1, day.first_seq - 1), &day.name);
                } else if !right {
                    let what = format!("day {} does not go on with the chain of the day before it", day.name);
                    self.unlinked(day.first_seq, &day.name, what);
                }
            }
            Some(at) => {
                self.begin_epoch(at, day);
                let known = [Link::UNKNOWN, at.link.unwrap_or(Link::UNKNOWN)];
                let goes_on = known.map(|link| Link::genesis(day.epoch, day.first_seq, link));
                if day.first_seq == at.seq + 1 && day.before.is_some_and(|link| !goes_on.contains(&link)) {
                    let what = format!("epoch {} does not begin behind the chain before it", day.epoch);
                    self.unlinked(day.first_seq, &day.name, what);
                }
                if day.first_event != 1 {
                    let what =
                        format!("epoch {} begins with milestone {}, not 1", day.epoch, day.first_event);
                    self.altered(day.first_seq, &day.name, what);
                }
            }
        }
        if day.before.is_some() {
            self.report.chained_from.get_or_insert(day.first_seq);
        }
        if self.at.is_none_or(|at| at.link.is_none() || at.link != day.before) {
            self.follows_from = day.first_seq;
        }
        self.at = Some(At {
            epoch: day.epoch,
            seq: day.first_seq.saturating_sub(1),
            event_seq: day.first_event.saturating_sub(1),
            link: day.before,
            lost: false,
            events_lost: false,
        });
        self.last_day = Some(day.name.clone());
        self.day = Some(day.clone());
    }

    fn begin_epoch(&mut self, at: At, day: &DaySpan) {
        if at.epoch != day.epoch && at.epoch != 0 {
            self.ends.push((at.epoch, at.seq, at.event_seq));
            let (from, to) = (at.seq + 1, day.first_seq.saturating_sub(1));
            if from <= to && !at.lost {
                self.gaps.push((from, to));
                if self.books.is_some() {
                    self.hole((from, to), &day.name);
                }
            }
            let gap =
                if from <= to { format!("; numbers {from} to {to} stand nowhere") } else { String::new() };
            self.note(format!(
                "Epoch {} begins with record {} on day {}{gap}.",
                day.epoch, day.first_seq, day.name
            ));
        }
    }

    /// The next record as it stands in the store.
    pub fn frame(&mut self, bytes: &[u8]) {
        if let (Some(at), Some(day)) = (self.at, self.day.take()) {
            self.report.records += 1;
            self.at = Some(self.read(At { seq: at.seq + 1, ..at }, &day, bytes));
            self.day = Some(day);
        }
    }

    /// The next records, up to `last`, cannot be read; those behind can.
    pub fn illegible(&mut self, last: u64, what: String) {
        if let (Some(at), Some(day)) = (self.at, self.day.take()) {
            let first = at.seq + 1;
            self.altered(first, &day.name, stretch(first, last, what));
            self.at = Some(At { seq: last, link: None, events_lost: true, ..at });
            self.day = Some(day);
        }
    }

    /// The next records, up to the end of this day, cannot be read. Whether anything stands behind them is seen when
    /// the next day begins.
    pub fn illegible_to_the_end(&mut self, what: String) {
        if let (Some(at), Some(day)) = (self.at, &self.day) {
            self.cut = Some(stretch(at.seq + 1, day.last_seq, what));
        }
    }

    /// Reads record `at.seq`; `at.link` is the chain before it. Gives where the examination stands then.
    fn read(&mut self, mut at: At, day: &DaySpan, bytes: &[u8]) -> At {
        let seq = at.seq;
        let frame = match Frame::parse(bytes) {
            Ok(frame) if frame.seq == seq => frame,
            Ok(frame) => {
                self.altered(seq, &day.name, format!("record {} stands in its place", frame.seq));
                return At { link: frame.link, ..at };
            }
            Err(fault) => {
                self.altered(seq, &day.name, fault.to_string());
                return At { link: None, ..at };
            }
        };
        self.look_for_deletion(bytes);
        let right_so_far = self.first_fault.is_none();
        if frame.event_seq != 0 {
            at.event_seq += 1;
            if at.events_lost {
                (at.event_seq, at.events_lost) = (frame.event_seq, false);
            }
            if frame.event_seq != at.event_seq {
                let what = format!("milestone {} expected, {} came", at.event_seq, frame.event_seq);
                self.altered(seq, &day.name, what);
                at.event_seq = frame.event_seq;
            }
        }
        match (frame.link, day.before) {
            (Some(came), Some(_)) => {
                match at.link.map(|link| link.next(&frame.digest())) {
                    Some(expected) if expected != came => {
                        let what = format!("the chain up to it is {expected}, but it says {came}");
                        self.unlinked_frame(seq, &day.name, what, bytes);
                        self.follows_from = seq + 1;
                    }
                    // Something follows from what did not: it is no tail.
                    Some(_) => self.tail = None,
                    None => self.follows_from = seq + 1,
                }
                at.link = Some(came);
                self.anchor_at(day.epoch, seq, came, day);
            }
            (None, None) if self.report.chained_from.is_none() => {}
            (None, None) => {
                let what = "it carries no link, but the chain has begun".to_owned();
                self.unlinked_frame(seq, &day.name, what, bytes);
            }
            (link, _) => {
                let version = if link.is_some() { 2 } else { 1 };
                self.altered(seq, &day.name, format!("its frame is of version {version}, its day is not"));
                at.link = link;
            }
        }
        if right_so_far && self.first_fault.is_none() {
            self.right.clear();
            self.right.extend_from_slice(bytes);
            self.right_seq = seq;
        }
        at
    }

    /// The rest of this day, or a whole day between the last one and the next, cannot be read.
    /// `seq`: the record at which that was noticed, where it is known.
    pub fn unreadable(&mut self, day: &str, seq: Option<u64>, what: String) {
        let next = self.at.map_or(1, |at| at.seq + 1);
        self.altered(seq.unwrap_or(next).max(next), day, what);
        let at = self.at.get_or_insert(At {
            epoch: 0,
            seq: 0,
            event_seq: 0,
            link: None,
            lost: true,
            events_lost: true,
        });
        (at.link, at.lost) = (None, true);
    }

    /// A whole day behind the last one that could be read cannot be: the records end before it, as far as something
    /// else knows that there were any.
    pub fn unreadable_end(&mut self, day: String, what: String) {
        self.end_day(false);
        self.last_day = Some(day.clone());
        self.lost_days.push((day, what));
    }

    fn end_day(&mut self, last: bool) {
        let (Some(day), Some(at)) = (self.day.take(), self.at) else { return };
        if at.lost || at.seq >= day.last_seq {
            return;
        }
        let cut = self.cut.take();
        if last {
            // Nothing stands behind them: the records end before, and the verdict says where they should.
            cut.into_iter().for_each(|what| self.finding(format!("{}.", capital(&what))));
        } else {
            let what = cut.unwrap_or_else(|| stretch(at.seq + 1, day.last_seq, String::new()));
            self.altered(at.seq + 1, &day.name, what);
        }
        self.at = Some(At { seq: day.last_seq, event_seq: day.last_event, link: None, ..at });
    }

    /// Compares what was signed of a record with the chain there.
    fn anchor_at(&mut self, epoch: u64, seq: u64, link: Link, day: &DaySpan) {
        for index in self.places.remove(&(epoch, seq)).unwrap_or_default() {
            let claim = &self.anchors[index].claim;
            self.spoken_to = self.spoken_to.max(seq);
            if claim.link == link {
                self.report.anchors_agree += 1;
                // Behind a fault the chain is followed by what the frames say of themselves: it goes on, and
                // proves nothing of what stands before.
                if self.first_fault.is_none() {
                    self.report.proven_to = Some(seq);
                } else if self.follows_from <= seq {
                    match self.behind.last_mut().filter(|(first, _)| *first == self.follows_from) {
                        Some((_, last)) => *last = seq,
                        None => self.behind.push((self.follows_from, seq)),
                    }
                }
                continue;
            }
            let fault = AnchorFault::Mismatch { number: claim.number, seq, expected: claim.link, came: link };
            let kind = Kind::Anchor { number: claim.number, seq, what: sentence(&fault) };
            let first = self.report.first_seq.unwrap_or(1);
            let after = self.report.proven_to.map_or(first, |proven| proven + 1);
            let day = (after >= day.first_seq).then(|| day.name.clone());
            self.fault(Bad { seq: after, day, wall_us: None }, kind);
        }
    }

    fn altered(&mut self, seq: u64, day: &str, what: String) {
        let wall_us = self.wall_before(seq);
        self.fault(Bad { seq, day: Some(day.to_owned()), wall_us }, Kind::Altered(what));
    }

    fn unlinked(&mut self, seq: u64, day: &str, what: String) {
        let wall_us = self.wall_before(seq);
        self.fault(Bad { seq, day: Some(day.to_owned()), wall_us }, Kind::Unlinked(what));
    }

    fn unlinked_frame(&mut self, seq: u64, day: &str, what: String, bytes: &[u8]) {
        if self.tail.is_some() {
            return;
        }
        self.tail = Some(seq);
        let wall_us = wall_of(seq, bytes);
        self.fault(Bad { seq, day: Some(day.to_owned()), wall_us }, Kind::Unlinked(what));
    }

    /// The first fault makes the verdict, later ones are findings.
    fn fault(&mut self, bad: Bad, kind: Kind) {
        match &self.first_fault {
            None => self.first_fault = Some(Fault { bad, kind }),
            Some(_) => {
                let (Kind::Altered(what) | Kind::Unlinked(what) | Kind::Anchor { what, .. }) = &kind;
                let text = match &kind {
                    Kind::Altered(_) | Kind::Unlinked(_) => format!("Record {}: {what}.", bad.seq),
                    Kind::Anchor { .. } => format!("{what}."),
                };
                self.finding(text);
            }
        }
    }

    fn wall_before(&self, seq: u64) -> Option<i64> {
        if self.right_seq < seq { wall_of(self.right_seq, &self.right) } else { None }
    }

    /// The verdict. `witnesses`: what else knows how far the records went.
    pub fn finish(mut self, witnesses: &[Witness]) -> Report {
        // The last day says itself where it ends.
        let sealed = self.day.as_ref().map(|day| Witness {
            what: format!("day {} says that it ends", day.name),
            epoch: day.epoch,
            seq: Some(day.last_seq),
            event_seq: Some(day.last_event),
        });
        let end = self.at;
        self.end_day(true);
        let (epoch, last, last_event) = end.map_or((0, 0, 0), |at| (at.epoch, at.seq, at.event_seq));
        self.report.last_seq = end.map(|at| at.seq);
        self.foreign_anchors(epoch, end);
        self.look_for_lost_epochs(epoch);
        self.unrecorded_deletions();
        self.untold_holes(last);
        self.missing_anchors();
        let signed = self.signed_beyond(epoch, last);
        let all = witnesses.iter().cloned().chain(sealed).chain(signed.clone());
        let lost = end.is_some_and(|at| at.lost);
        let events_lost = end.is_some_and(|at| at.events_lost);
        let short = all.filter(|witness| {
            let same = witness.epoch == epoch;
            let events = witness.event_seq.filter(|_| !events_lost);
            let beyond = witness.seq.is_some_and(|seq| seq > last)
                || events.is_some_and(|event_seq| event_seq > last_event);
            !lost && ((same && beyond) || witness.epoch > epoch)
        });
        let short = short.max_by_key(|witness| (witness.seq.is_some(), witness.seq));
        for (day, what) in std::mem::take(&mut self.lost_days) {
            if short.is_some() {
                self.finding(format!("Day {day} cannot be read: {what}."));
            } else {
                self.altered(last + 1, &day, what);
            }
        }
        let tail = self.tail.filter(|from| signed.is_none() && self.spoken_to < *from);
        if let Some(forged) = self.forged.take() {
            self.fault(forged.bad, forged.kind);
        }
        (self.report.verdict, self.report.bad) = match (self.first_fault.take(), short) {
            (None, None) => (Verdict::Intact, None),
            (None, Some(witness)) => {
                let expected = witness.seq.unwrap_or(last + 1);
                let bad =
                    Bad { seq: last + 1, day: self.last_day.clone(), wall_us: self.wall_before(last + 1) };
                (Verdict::Truncated { last, expected, witness: witness.what }, Some(bad))
            }
            (Some(fault), short) => {
                if let Some(witness) = short {
                    let upto =
                        witness.seq.map_or_else(String::new, |seq| format!(" at record {seq} at least"));
                    self.finding(format!("The records end at {last}, but {}{upto}.", witness.what));
                }
                let Fault { bad, kind } = fault;
                let seq = bad.seq;
                let verdict = match kind {
                    Kind::Unlinked(_) if tail == Some(seq) => Verdict::UnchainedTail { from: seq },
                    Kind::Altered(what) | Kind::Unlinked(what) => Verdict::AlteredAt { seq, what },
                    Kind::Anchor { number, seq: signed, what } => {
                        Verdict::AnchorMismatch { number, seq: signed, after: seq - 1, what }
                    }
                };
                (verdict, Some(bad))
            }
        };
        self.conclude(last);
        self.report
    }

    /// Records that were signed and stand nowhere, though later epochs do.
    fn look_for_lost_epochs(&mut self, current: u64) {
        // Days are deleted from the front only: what was signed behind the first kept record must be there,
        // and not an epoch that began again with its numbers.
        let first = self.report.first_seq.unwrap_or(u64::MAX);
        let kept = |epoch: u64| epoch >= current || self.ends.iter().any(|(known, ..)| *known == epoch);
        let gone = self.places.keys().filter(|(epoch, seq)| *seq >= first && !kept(*epoch));
        if let Some((epoch, seq)) = gone.min_by_key(|(_, seq)| *seq).copied() {
            let what =
                format!("record {seq} of epoch {epoch} was signed, and nothing of that epoch is there");
            self.fault(Bad { seq, day: None, wall_us: None }, Kind::Altered(what));
        }
        for (epoch, last, _) in std::mem::take(&mut self.ends) {
            let beyond = self.places.range((epoch, last + 1)..=(epoch, u64::MAX)).next_back();
            if let Some(((_, seq), _)) = beyond {
                let what =
                    format!("records {} to {seq} of epoch {epoch} were signed and are not there", last + 1);
                let wall_us = self.wall_before(last + 1);
                self.fault(Bad { seq: last + 1, day: None, wall_us }, Kind::Altered(what));
            }
        }
        for (from, to) in std::mem::take(&mut self.gaps) {
            let signed = self.places.keys().find(|(_, seq)| (from..=to).contains(seq));
            if let Some((epoch, seq)) = signed.copied() {
                let what = format!("record {seq} of epoch {epoch} was signed and is not there");
                self.altered(from, "", what);
            }
        }
    }

    /// An anchor beyond the last record of the last epoch.
    fn signed_beyond(&self, epoch: u64, last: u64) -> Option<Witness> {
        let beyond = self.places.range((epoch, last + 1)..).filter(|((_, seq), _)| *seq > last);
        let ((of, seq), _) = beyond.max_by_key(|((of, seq), _)| (*seq, *of))?;
        let what = if *of == epoch {
            "an anchor was signed".to_owned()
        } else {
            format!("an anchor of epoch {of}, of which nothing is there, was signed")
        };
        Some(Witness { what, epoch: *of, seq: Some(*seq), event_seq: None })
    }

    fn conclude(&mut self, last: u64) {
        let mut spoken_to = self.report.proven_to;
        if let Some(from) = self.report.chained_from
            && let Some(first) = self.report.first_seq.filter(|first| *first < from)
        {
            self.note(format!(
                "Records {first} to {} were written before there was a chain: only their checksums speak for them.",
                from - 1
            ));
        }
        for (first, to) in std::mem::take(&mut self.behind) {
            self.note(format!(
                "Behind what is not right, records {first} to {to} follow from each other up to what an anchor signed."
            ));
            spoken_to = spoken_to.max(Some(to));
        }
        match spoken_to {
            // Where one does, and the records do not lead to it, the verdict says so.
            Some(spoken) if spoken < last && self.anchors.iter().all(|anchor| anchor.claim.seq <= spoken) => {
                self.note(format!("No anchor speaks of records {} to {last} yet.", spoken + 1));
            }
            Some(_) => {}
            None if !self.trusted.is_empty() && last > 0 => {
                self.finding("No anchor signed by the key given speaks of these records.".to_owned());
            }
            None if last > 0 => {
                self.note("No anchor speaks of these records: the chain proves their order, not when they were written.".to_owned());
            }
            None => {}
        }
    }
}

fn say(list: &mut Vec<String>, what: String) {
    match list.len() {
        n if n < SAID_LIMIT => list.push(what),
        SAID_LIMIT => list.push("There is more of this kind.".to_owned()),
        _ => {}
    }
}

/// Records that cannot be read, and why.
fn stretch(first: u64, last: u64, why: String) -> String {
    let why = if why.is_empty() { why } else { format!(" ({why})") };
    if first == last {
        format!("record {first} is not there or cannot be read{why}")
    } else {
        format!("records {first} to {last} are not there or cannot be read{why}")
    }
}

fn sentence(fault: &AnchorFault) -> String {
    capital(&fault.to_string())
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn wall_of(seq: u64, bytes: &[u8]) -> Option<i64> {
    let frame = crate::journal::Frame { seq, bytes: bytes.to_vec() };
    frame.record().ok().map(|record| record.wall_us)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
