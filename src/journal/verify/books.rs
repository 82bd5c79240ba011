//! What the store's own books say of records that are not there any more, and of anchors that were made.
//!
//! Retention enters each day it deletes in `deleted`, and deletes from the front only; what was put aside or found
//! missing stands in `holes`. Records that are gone and stand in neither were taken by something else.
//!
//! The books are plain files, and whoever can write to the disk can write a line in them. Against that the chain says
//! of each day, before retention deletes it, that it will: a list that says more is a finding. Nothing of the kind
//! stands behind `holes`: what it explains is a fault in any case.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::journal::retention::{self, Why};
use crate::journal::signed::Signed;
use crate::journal::{Hole, day, holes};

/// Days in a row that retention deleted for the same reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// First and last day.
    pub days: (String, String),
    /// First and last record.
    pub records: (u64, u64),
    /// Why they went.
    pub why: Why,
    /// Milestones among them that upstream had not acknowledged.
    pub unacknowledged: u64,
}

/// The books.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books {
    /// What retention deleted, oldest first.
    pub deleted: Vec<Deleted>,
    /// What was put aside or found missing, oldest first.
    pub holes: Vec<Hole>,
    /// The last anchor that was signed.
    pub signed: Option<Signed>,
    /// What of the books is not as it was written, a sentence each.
    pub damage: Vec<String>,
}

impl Books {
    /// Of the store in `directory`.
    pub(in crate::journal) fn read(directory: &Path) -> Books {
        let (lines, mut damage) = retention::list(directory);
        let (mut holes, torn) = holes::read(directory);
        damage.extend(torn);
        holes.extend(put_aside(directory, &holes));
        let signed = Signed::read(directory).unwrap_or_else(|error| {
            damage.push(error.to_string());
            None
        });
        let mut deleted: Vec<Deleted> = Vec::new();
        for line in lines {
            let Some(records) = line.records else { continue };
            match deleted.last_mut() {
                Some(last) if last.why == line.why && last.records.1.checked_add(1) == Some(records.0) => {
                    (last.days.1, last.records.1) = (line.what, records.1);
                    last.unacknowledged = last.unacknowledged.saturating_add(line.unacknowledged);
                }
                Some(_) | None => deleted.push(Deleted {
                    days: (line.what.clone(), line.what),
                    records,
                    why: line.why,
                    unacknowledged: line.unacknowledged,
                }),
            }
        }
        Books { deleted, holes, signed, damage }
    }

    /// Last record that retention deleted before `first`; 0 where it deleted none.
    pub(super) fn deleted_to(&self, first: u64) -> u64 {
        // A live store may have deleted more since its days were listed.
        let before = self.deleted.iter().filter(|deleted| deleted.records.0 < first);
        before.map(|deleted| deleted.records.1.min(first - 1)).max().unwrap_or(0)
    }
}

/// Days in the quarantine that no line of the book speaks of: it could not be written, or somebody moved them.
fn put_aside(directory: &Path, booked: &[Hole]) -> Vec<Hole> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(directory.join("quarantine")).into_iter().flatten().flatten();
    for place in entries.map(|entry| entry.path()) {
        // A copy of a store has moved, its book has not.
        let known = booked
            .iter()
            .any(|hole| hole.moved_to.as_deref().is_some_and(|moved| moved.file_name() == place.file_name()));
        let Some(slip) = day::read_span(&place).ok().flatten().filter(|_| !known) else { continue };
        let why = std::fs::read_to_string(place.join("why")).unwrap_or_default();
        let sealed = slip.sealed.map(|sealed| (slip.begin.first_seq, sealed.last_seq));
        found.push(Hole {
            wall_us: 0,
            what: name(&place),
            why: why.lines().next().unwrap_or("nobody wrote why").to_owned(),
            moved_to: Some(place),
            missing: sealed,
        });
    }
    found.sort_by(|a, b| a.what.cmp(&b.what));
    found
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Where something was moved to, as people look for it in a store or in a copy of one.
pub(super) fn place(moved_to: &Option<PathBuf>) -> String {
    match moved_to {
        Some(path) => format!("it was put aside as damaged, in quarantine/{}", name(path)),
        None => "nothing was left to put aside".to_owned(),
    }
}

/// Why days went, for people.
pub(super) fn reason(deleted: &Deleted) -> String {
    match deleted.why {
        Why::Age => "by age (`keep-days`)".to_owned(),
        Why::Size => "by size (`max-size-mib`)".to_owned(),
        Why::Force => format!(
            "by force (`hard-size-mib`), with {} events that upstream had not acknowledged",
            deleted.unacknowledged
        ),
    }
}

/// The parts of `range` that none of `others` covers, ascending.
pub(super) fn without(range: (u64, u64), others: impl Iterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
    let mut others: Vec<(u64, u64)> = others.collect();
    others.sort_unstable();
    let (mut from, mut parts) = (range.0, Vec::new());
    for (first, last) in others {
        if first > range.1 || last < from {
            continue;
        }
        if from < first {
            parts.push((from, first - 1));
        }
        from = from.max(last.saturating_add(1));
    }
    if from <= range.1 {
        parts.push((from, range.1));
    }
    parts
}
