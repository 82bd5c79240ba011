//! What is not there: records before the first kept one and between the days, and anchors that were made; held against
//! what the store's books say.

use super::{At, Bad, Examiner, Kind};
use crate::journal::DaySpan;
use crate::journal::record;
use crate::journal::verify::books::{self, Books};
use crate::line::event::{DayDeleted, DeletedFor, Event};
use crate::line::record::{Body, Input};

impl Examiner {
    /// What the store says of what is gone.
    pub fn knows(&mut self, books: Books) {
        for what in &books.damage {
            self.finding(format!("The books of what is gone are damaged: {what}."));
        }
        self.told = vec![false; books.holes.len()];
        self.books = Some(books);
    }

    /// Looks whether a record says that a day was deleted; only where days are gone, since few records are.
    pub(super) fn look_for_deletion(&mut self, bytes: &[u8]) {
        if self.report.first_seq.is_none_or(|first| first <= 1) || !self.deletion.is_of(bytes) {
            return;
        }
        let decoded = record::decode(bytes).map(|record| record.body);
        if let Ok(Body::Input(Input::Event(Event::DayDeleted(day)))) = decoded {
            self.recorded_to = self.recorded_to.max(day.records.1);
        }
    }

    /// The list of what retention deleted, against what the chain says of it.
    pub(super) fn unrecorded_deletions(&mut self) {
        let Some(first) = self.report.first_seq else { return };
        let to = self.books.as_ref().map_or(0, |books| books.deleted_to(first));
        if self.recorded_to < to {
            let behind = match self.recorded_to {
                0 => String::new(),
                recorded => format!(" of those behind {recorded}"),
            };
            self.finding(format!(
                "The list `deleted` says that retention took the records up to {to}, and no record of the chain says \
                 so{behind}, as it does before sortd deletes a day: an earlier version deleted them, or somebody else \
                 did and wrote the list."
            ));
        }
    }

    /// The store begins with this day, behind other records.
    pub(super) fn front(&mut self, day: &DaySpan) {
        let Some(books) = self.books.take() else {
            return self.note(format!(
                "The store begins with record {}: days before {} are deleted, as far as it knows.",
                day.first_seq, day.name
            ));
        };
        let to = books.deleted_to(day.first_seq);
        let before = |range: (u64, u64)| range.0 <= to;
        for deleted in books.deleted.iter().filter(|deleted| before(deleted.records)) {
            let (first, last) = (deleted.records.0, deleted.records.1.min(to));
            let (from, until) = &deleted.days;
            let days = if from == until { format!("day {from}") } else { format!("days {from} to {until}") };
            self.note(format!(
                "Records {first} to {last}, {days}, were deleted by retention, {}.",
                books::reason(deleted)
            ));
        }
        // What retention has deleted a day behind is history.
        for (index, hole) in books.holes.iter().enumerate() {
            if let Some((first, last)) = hole.missing.filter(|missing| missing.1 <= to) {
                self.told[index] = true;
                self.note(format!("Records {first} to {last} were lost before that: {}.", hole.why));
            }
        }
        let entered = books.deleted.iter().map(|deleted| deleted.records);
        let entered: Vec<_> = entered.chain(books.holes.iter().filter_map(|hole| hole.missing)).collect();
        self.books = Some(books);
        if to > 0 {
            for part in books::without((1, to), entered.into_iter()) {
                self.hole(part, &day.name);
            }
        }
        if to + 1 < day.first_seq {
            self.hole((to + 1, day.first_seq - 1), &day.name);
        }
    }

    /// Records that are not there; `day` follows them.
    pub(super) fn hole(&mut self, (first, last): (u64, u64), day: &str) {
        let Some(books) = self.books.take() else {
            return self.altered(first, day, format!("records {first} to {last} are not there"));
        };
        let mut parts = Vec::new();
        for (index, hole) in books.holes.iter().enumerate() {
            let Some((from, to)) = hole.missing else { continue };
            let (from, to) = (from.max(first), to.min(last));
            if from <= to {
                self.told[index] = true;
                parts.push(((from, to), format!("{}; {}", hole.why, books::place(&hole.moved_to))));
            }
        }
        let booked = books.holes.iter().filter_map(|hole| hole.missing);
        for part in books::without((first, last), booked) {
            parts.push((part, "neither retention nor quarantine took them".to_owned()));
        }
        parts.sort();
        for ((from, to), why) in parts {
            self.altered(from, day, format!("records {from} to {to} are not there: {why}"));
        }
        self.books = Some(books);
    }

    /// What was put aside and was not met as a hole.
    pub(super) fn untold_holes(&mut self, last: u64) {
        let Some(books) = self.books.take() else { return };
        for (hole, told) in books.holes.iter().zip(self.told.clone()) {
            let place = books::place(&hole.moved_to);
            match hole.missing {
                Some(_) if told => {}
                Some((from, to)) if from > last => self.finding(format!(
                    "Records {from} to {to}, behind the last one, are not there: {}; {place}.",
                    hole.why
                )),
                Some((from, to)) => self.note(format!(
                    "Records {from} to {to} were missing once ({}), and are there again.",
                    hole.why
                )),
                None => self.note(format!("{}: {}; {place}.", hole.what, hole.why)),
            }
        }
        self.books = Some(books);
    }

    /// Anchors that were made and are not there.
    pub(super) fn missing_anchors(&mut self) {
        let Some(books) = &self.books else { return };
        let newest = self.anchors.last().map_or(0, |anchor| anchor.claim.number);
        let mut findings = Vec::new();
        if let Some(signed) = books.signed.filter(|signed| signed.number > newest) {
            findings.push(format!(
                "Anchors {} to {} are missing: the store knows that it signed them, the last of record {} of \
                 epoch {}. Compare with those that upstream holds.",
                newest + 1,
                signed.number,
                signed.seq,
                signed.epoch
            ));
        }
        let first_kept = self.report.first_seq.unwrap_or(u64::MAX);
        if let Some(oldest) = self.anchors.first().map(|anchor| &anchor.claim)
            && oldest.number > 1
            && oldest.seq >= first_kept
        {
            // Files of anchors go with their days, but for the last of them.
            findings.push(format!(
                "Anchors 1 to {} are missing: the first one that is there speaks of record {}, and records are kept \
                 from {first_kept} on.",
                oldest.number - 1,
                oldest.seq
            ));
        }
        findings.into_iter().for_each(|finding| self.finding(finding));
    }

    /// Anchors of epochs of which nothing is there, for records that are there in another epoch: of another store.
    /// `current`: the last epoch; `at`: where its records end.
    pub(super) fn foreign_anchors(&mut self, current: u64, at: Option<At>) {
        let Some(at) = at else { return };
        let first = self.report.first_seq.unwrap_or(u64::MAX);
        let foreign = |(epoch, seq): &(u64, u64)| {
            let kept = *epoch == current || self.ends.iter().any(|(known, ..)| known == epoch);
            // A later epoch's records stand behind those of all before it.
            let held = if *epoch > current { *seq <= at.seq } else { (first..=at.seq).contains(seq) };
            let gap = self.gaps.iter().any(|(from, to)| (from..=to).contains(&seq));
            !kept && held && !gap && !at.lost
        };
        let places: Vec<(u64, u64)> = self.places.keys().filter(|place| foreign(place)).copied().collect();
        let mut numbers = Vec::new();
        for place in &places {
            numbers.extend(self.places.remove(place).unwrap_or_default());
        }
        numbers.sort_unstable();
        let (Some(one), Some(last)) = (numbers.first(), numbers.last()) else { return };
        let (claim, last) = (self.anchors[*one].claim.clone(), &self.anchors[*last].claim);
        let what = format!(
            "{} anchors, {} to {}, speak of epoch {} of site {}, line {}, of which nothing is here; the records they \
             speak of, {} to {}, are of another epoch here. They are of another store, or this store was put in the \
             place of the one they were made for",
            numbers.len(),
            claim.number,
            last.number,
            claim.epoch,
            claim.site,
            claim.line,
            claim.seq,
            last.seq
        );
        let kind = Kind::Anchor { number: claim.number, seq: claim.seq, what };
        let seq = self.report.proven_to.map_or(first, |proven| proven + 1);
        self.fault(Bad { seq, day: None, wall_us: None }, kind);
    }
}

/// How the body of a record begins that says that a day is deleted, behind its two times.
#[derive(Debug)]
pub(super) struct Deletion(Vec<u8>);

impl Deletion {
    pub fn new() -> Deletion {
        let day = DayDeleted {
            day: String::new(),
            epoch: 0,
            records: (0, 0),
            events: (0, 0),
            why: DeletedFor::Age,
            unacknowledged: 0,
        };
        let body = Body::Input(Input::Event(Event::DayDeleted(day)));
        let mut bytes = bincode::serde::encode_to_vec(body, bincode::config::standard()).unwrap_or_default();
        // Which input, which event: one byte each.
        bytes.truncate(3);
        Deletion(bytes)
    }

    fn is_of(&self, frame: &[u8]) -> bool {
        let Ok(header) = record::header_len(frame) else { return false };
        let body = frame.get(header..).and_then(behind_number).and_then(behind_number);
        body.is_some_and(|body| body.starts_with(&self.0))
    }
}

/// What follows a number as bincode writes it: in one byte, or behind one that says in how many.
fn behind_number(bytes: &[u8]) -> Option<&[u8]> {
    let length = match bytes.first()? {
        0..=250 => 1,
        251 => 3,
        252 => 5,
        253 => 9,
        254 | 255 => 17,
    };
    bytes.get(length..)
}
