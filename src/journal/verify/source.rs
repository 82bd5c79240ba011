//! Where what is examined comes from: a copy of a store, or a running daemon.

use super::books::Books;
use super::examine::{Examiner, Witness};
use super::report::Report;
use crate::journal::anchor::Anchor;
use crate::journal::signing::PublicKey;
use crate::journal::{Archive, DaySpan, Frame, ReadError, SlipError, anchor_reader, cursor, opening, slip};

/// Frames asked for at a time.
const BATCH: usize = 4_096;

/// Why something cannot be examined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// What was asked for is not as it was written: a finding.
    #[error("{0}")]
    Damaged(String),
    /// The examination could not be done.
    #[error("{0}")]
    Failed(String),
}

impl From<ReadError> for SourceError {
    fn from(error: ReadError) -> SourceError {
        match error {
            // Whoever examines a day knows which one it is.
            ReadError::Damaged { what, .. } => SourceError::Damaged(what),
            ReadError::NotOpenYet | ReadError::Disk { .. } => SourceError::Failed(error.to_string()),
        }
    }
}

/// What an examination needs.
pub trait Source {
    /// Every day that is kept and can be opened, oldest first.
    fn days(&self) -> Result<Vec<DaySpan>, SourceError>;
    /// Days that cannot be opened, by name, and why.
    fn damaged_days(&self) -> Vec<(String, String)>;
    /// Records from number `from` on, as they stand in the store, at most `max`, up to the first that cannot be read;
    /// where that is the first one, an error.
    fn frames(&self, from: u64, max: usize) -> Result<Vec<Frame>, SourceError>;
    /// The first record from `from` on, on the same day, that can be read, where it is worth looking for: a running
    /// journal puts a damaged day aside.
    fn legible_from(&self, _from: u64) -> Result<Option<u64>, SourceError> {
        Ok(None)
    }
    /// The anchors in order, and what of their files is damaged.
    fn anchors(&self) -> Result<(Vec<Anchor>, Vec<String>), SourceError>;
    /// Days whose records had to be gathered from what is left of their files, and why; asked for when all of them
    /// have been read.
    fn gathered(&self) -> Vec<(String, String)> {
        Vec::new()
    }
    /// What else knows how far the records went.
    fn witnesses(&self) -> Result<Vec<Witness>, SourceError>;
    /// Other files that are not as they were written, and what was put aside: findings and notes.
    fn others(&self) -> Result<(Vec<String>, Vec<String>), SourceError>;
    /// What the store says of records that are gone; `None` where it keeps no books, and nothing is held against
    /// them then.
    fn books(&self) -> Result<Option<Books>, SourceError> {
        Ok(None)
    }
}

/// Examines a store from its first record to its last. `trusted`: keys that may have signed its anchors;
/// any, where there are none.
pub fn examine(source: &dyn Source, trusted: Vec<PublicKey>) -> Result<Report, SourceError> {
    // Anchors and witnesses first: a live store goes on, and they must not speak of what is read no more.
    let signed = source.books()?.and_then(|books| books.signed);
    let (anchors, damage) = source.anchors()?;
    let witnesses = source.witnesses()?;
    let days = source.days()?;
    let mut examiner = Examiner::new(anchors, trusted);
    // The books behind the days, so that what is deleted meanwhile stands in them.
    if let Some(books) = source.books()? {
        examiner.knows(Books { signed, ..books });
    }
    for what in damage {
        examiner.finding(format!("Anchors are damaged: {what}."));
    }
    let (findings, notes) = source.others()?;
    findings.into_iter().for_each(|what| examiner.finding(what));
    notes.into_iter().for_each(|what| examiner.note(what));
    // Names of days are in the order of time.
    let mut damaged = source.damaged_days();
    damaged.sort();
    let mut damaged = damaged.into_iter().peekable();
    for day in &days {
        while let Some((name, what)) = damaged.next_if(|(name, _)| *name < day.name) {
            examiner.unreadable(&name, named(&what), what);
        }
        examiner.day(day);
        examine_day(source, day, &mut examiner)?;
    }
    for (name, what) in damaged {
        examiner.unreadable_end(name, what);
    }
    for (name, why) in source.gathered() {
        examiner.finding(format!(
            "Files of day {name} are damaged ({why}): its records were gathered from what is left of them."
        ));
    }
    Ok(examiner.finish(&witnesses))
}

fn examine_day(source: &dyn Source, day: &DaySpan, examiner: &mut Examiner) -> Result<(), SourceError> {
    let mut seq = day.first_seq;
    while seq <= day.last_seq {
        match source.frames(seq, BATCH) {
            Ok(frames) => {
                let before = seq;
                for frame in frames {
                    if frame.seq != seq || seq > day.last_seq {
                        break;
                    }
                    examiner.frame(&frame.bytes);
                    seq += 1;
                }
                if seq == before {
                    return gone(source, day, seq, examiner);
                }
            }
            Err(SourceError::Damaged(what)) => {
                match source.legible_from(seq)?.filter(|next| (seq + 1..=day.last_seq).contains(next)) {
                    Some(next) => {
                        examiner.illegible(next - 1, what);
                        seq = next;
                    }
                    None => {
                        examiner.illegible_to_the_end(what);
                        return Ok(());
                    }
                }
            }
            Err(error @ SourceError::Failed(_)) => return Err(error),
        }
    }
    Ok(())
}

/// A day ends before its last record: it was deleted while it was examined, or records of it are missing.
fn gone(source: &dyn Source, day: &DaySpan, seq: u64, examiner: &mut Examiner) -> Result<(), SourceError> {
    if source.days()?.iter().all(|kept| kept.first_seq > day.last_seq) {
        let what = format!("day {} was deleted while it was examined: run it again", day.name);
        return Err(SourceError::Failed(what));
    }
    examiner.illegible_to_the_end(format!("record {seq} is not there any more"));
    Ok(())
}

/// The record that a day's damage names: opening it says `record N …` where it came upon one.
fn named(what: &str) -> Option<u64> {
    let digits = what.strip_prefix("record ")?;
    digits.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

impl Source for Archive {
    fn days(&self) -> Result<Vec<DaySpan>, SourceError> {
        Ok(self.reader().days()?)
    }

    fn damaged_days(&self) -> Vec<(String, String)> {
        self.damaged().to_vec()
    }

    fn frames(&self, from: u64, max: usize) -> Result<Vec<Frame>, SourceError> {
        Ok(self.reader().frames(from, max)?)
    }

    fn legible_from(&self, from: u64) -> Result<Option<u64>, SourceError> {
        Ok(self.reader().legible_from(from)?)
    }

    fn anchors(&self) -> Result<(Vec<Anchor>, Vec<String>), SourceError> {
        anchor_reader::all(self.directory()).map_err(|error| SourceError::Failed(error.to_string()))
    }

    fn gathered(&self) -> Vec<(String, String)> {
        Archive::gathered(self)
    }

    fn witnesses(&self) -> Result<Vec<Witness>, SourceError> {
        let checkpoint = opening::Checkpoint::read(self.directory()).ok().flatten();
        let cursor = cursor::read_newest(self.directory()).ok().flatten();
        let checkpoint = checkpoint.map(|checkpoint| Witness {
            what: "the checkpoint was written".to_owned(),
            epoch: checkpoint.epoch,
            seq: Some(checkpoint.last_seq),
            event_seq: Some(checkpoint.last_event),
        });
        let cursor = cursor.map(|cursor| Witness {
            what: format!("upstream had acknowledged event {}", cursor.acked),
            epoch: cursor.epoch,
            seq: None,
            event_seq: Some(cursor.acked),
        });
        Ok(checkpoint.into_iter().chain(cursor).collect())
    }

    fn others(&self) -> Result<(Vec<String>, Vec<String>), SourceError> {
        let (mut findings, mut notes) = (Vec::new(), Vec::new());
        let mut check = |path: &std::path::Path| {
            if let Err(SlipError::Damaged { path, what }) = slip::load(path) {
                findings.push(format!("{} is damaged: {what}.", path.display()));
            }
        };
        let directory = self.directory();
        ["checkpoint", "cursor", "cursors", "boots", "gone", "anchors/cursor"]
            .iter()
            .for_each(|name| check(&directory.join(name)));
        for day in std::fs::read_dir(directory.join("days")).into_iter().flatten().flatten() {
            check(&day.path().join("span"));
        }
        for aside in std::fs::read_dir(directory.join("quarantine")).into_iter().flatten().flatten() {
            notes.push(format!("Put aside as damaged: {}.", aside.path().display()));
        }
        Ok((findings, notes))
    }

    fn books(&self) -> Result<Option<Books>, SourceError> {
        Ok(Some(Books::read(self.directory())))
    }
}
