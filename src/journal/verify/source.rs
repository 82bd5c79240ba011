//! Where what is examined comes from: a copy of a store, or a running daemon.

use super::books::Books;
use super::examine::{Examiner, Witness};
use super::report::Report;
use crate::journal::anchor::Anchor;
use crate::journal::signing::PublicKey;
use crate::journal::{Archive, DaySpan, Frame, ReadError, SlipError, anchor_reader, cursor, opening, slip};

/// Frames asked for at a time.
const BATCH: usize = 4_096;
/// Records of a day that cannot be read one after the other; the rest of it is given up then.
const UNREADABLE_LIMIT: u32 = 64;

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
            ReadError::Damaged { .. } => SourceError::Damaged(error.to_string()),
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
    /// Records from number `from` on, as they stand in the store, at most `max`.
    fn frames(&self, from: u64, max: usize) -> Result<Vec<Frame>, SourceError>;
    /// The anchors in order, and what of their files is damaged.
    fn anchors(&self) -> Result<(Vec<Anchor>, Vec<String>), SourceError>;
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
        examiner.unreadable(&name, named(&what), what);
    }
    Ok(examiner.finish(&witnesses))
}

fn examine_day(source: &dyn Source, day: &DaySpan, examiner: &mut Examiner) -> Result<(), SourceError> {
    let (mut seq, mut max, mut unreadable) = (day.first_seq, BATCH, 0);
    let mut damage = None;
    while seq <= day.last_seq {
        match source.frames(seq, max) {
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
                    return gone(source, day, seq, damage, examiner);
                }
                (max, unreadable, damage) = (BATCH, 0, None);
            }
            Err(SourceError::Damaged(what)) if max > 1 => (max, damage) = (1, Some(what)),
            Err(SourceError::Damaged(what)) if unreadable < UNREADABLE_LIMIT => {
                examiner.missing(what);
                seq += 1;
                unreadable += 1;
            }
            Err(SourceError::Damaged(what)) => {
                examiner.unreadable(&day.name, Some(seq), what);
                return Ok(());
            }
            Err(error @ SourceError::Failed(_)) => return Err(error),
        }
    }
    Ok(())
}

/// A day ends before its last record: it was put aside because of `damage`, or deleted while it was examined,
/// or records of it are missing.
fn gone(
    source: &dyn Source,
    day: &DaySpan,
    seq: u64,
    damage: Option<String>,
    examiner: &mut Examiner,
) -> Result<(), SourceError> {
    let deleted = damage.is_none() && source.days()?.iter().all(|kept| kept.first_seq > day.last_seq);
    if deleted {
        let what = format!("day {} was deleted while it was examined: run it again", day.name);
        return Err(SourceError::Failed(what));
    }
    let what = damage.unwrap_or_else(|| format!("record {seq} is not there any more"));
    examiner.unreadable(&day.name, Some(seq), what);
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

    fn anchors(&self) -> Result<(Vec<Anchor>, Vec<String>), SourceError> {
        anchor_reader::all(self.directory()).map_err(|error| SourceError::Failed(error.to_string()))
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
