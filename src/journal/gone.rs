//! The book of what is gone: which records the store is known not to have any more.
//!
//! A day that retention deleted, a day in quarantine and a day that somebody removed by hand look the same
//! afterwards: a hole in the record numbers. The first two are entered here when they happen. Any other hole is
//! found at the next opening, said with an alarm, and entered too, so that it is said once.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::day::Span;
use super::quarantine::Quarantined;
use super::slip::{self, SlipError};
use super::{DEVICE, JournalSettings, space};
use crate::watch::Board;

/// Holes the book tells apart. Retention joins them from the front, so only damage makes more than one.
const RANGES_MOST: usize = 128;

/// Readers enter what they find damaged, the journal thread what it deletes: one at a time. What a full disk did
/// not take waits here, with its store, until there is room.
static WAITING: Mutex<Vec<(PathBuf, (u64, u64))>> = Mutex::new(Vec::new());

/// First and last record of each hole: ascending, neither overlapping nor touching.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Book(Vec<(u64, u64)>);

impl Book {
    fn enter(&mut self, (first, last): (u64, u64)) {
        self.0.push((first, last));
        self.0.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::with_capacity(self.0.len());
        for (first, last) in self.0.drain(..) {
            match joined.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                Some(_) | None => joined.push((first, last)),
            }
        }
        if joined.len() > RANGES_MOST {
            // The oldest are told apart no longer: what lies between them is the first that retention deletes.
            joined[1].0 = joined[0].0;
            joined.remove(0);
        }
        self.0 = joined;
    }

    /// The parts of a hole that are not in the book.
    fn unknown(&self, (first, last): (u64, u64)) -> Vec<(u64, u64)> {
        let (mut from, mut parts) = (first, Vec::new());
        for (known_first, known_last) in &self.0 {
            if *known_first > last || *known_last < from {
                continue;
            }
            if from < *known_first {
                parts.push((from, known_first - 1));
            }
            from = known_last.saturating_add(1);
        }
        if from <= last {
            parts.push((from, last));
        }
        parts
    }
}

fn read(directory: &Path) -> Result<Option<Book>, SlipError> {
    slip::read(&directory.join("gone"))
}

/// Enters records that are gone and were said to be. A full disk gets the ballast's room for it; where even that
/// does not help the entry waits for [`enter_waiting`], and should the process end before, the hole is found and
/// said again at the next start.
pub(super) fn enter(directory: &Path, board: &Board, records: (u64, u64)) {
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.push((directory.to_owned(), records));
    write_waiting(&mut waiting, directory, board);
}

/// Enters what a full disk did not take.
pub(super) fn enter_waiting(directory: &Path, board: &Board) {
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    if waiting.iter().any(|(store, _)| store == directory) {
        write_waiting(&mut waiting, directory, board);
    }
}

fn write_waiting(waiting: &mut Vec<(PathBuf, (u64, u64))>, directory: &Path, board: &Board) {
    let mut book = match read(directory) {
        Ok(book) => book.unwrap_or_default(),
        Err(SlipError::Damaged { .. }) => Book::default(),
        Err(error @ SlipError::Io { .. }) => return board.fault(DEVICE, "book-of-holes", &error),
    };
    waiting.iter().filter(|(store, _)| store == directory).for_each(|(_, records)| book.enter(*records));
    match write(directory, &book) {
        Ok(()) => waiting.retain(|(store, _)| store != directory),
        Err(error) => board.fault(DEVICE, "book-of-holes", &error),
    }
}

/// Writes the book; where the disk is full, with the room of the ballast.
fn write(directory: &Path, book: &Book) -> Result<(), SlipError> {
    let path = directory.join("gone");
    slip::write(&path, book).or_else(|error| {
        if !error.is_full() {
            return Err(error);
        }
        space::release_ballast(directory);
        slip::write(&path, book)
    })
}

/// Holes between the days that are there, before record `next`, that neither the book nor `said` explains. They
/// are in the book when this returns. `spans` oldest first.
pub(super) fn unexplained(
    settings: &JournalSettings,
    spans: &[Span],
    next: u64,
    said: &[Quarantined],
) -> Vec<Quarantined> {
    let (directory, board) = (&settings.directory, &settings.board);
    let mut holes = Vec::new();
    let mut expected = 1;
    for span in spans {
        if expected < span.begin.first_seq {
            holes.push((expected, span.begin.first_seq - 1));
        }
        expected = expected.max(span.last_seq + 1);
    }
    if expected < next {
        holes.push((expected, next - 1));
    }
    let mut book = match read(directory) {
        Ok(Some(book)) => book,
        Ok(None) | Err(SlipError::Damaged { .. }) => {
            // A store of a program that kept no book: what is missing at its front, retention has deleted.
            let mut book = Book::default();
            if let Some(first) = spans.first().map(|span| span.begin.first_seq).filter(|first| *first > 1) {
                book.enter((1, first - 1));
            }
            book
        }
        Err(error @ SlipError::Io { .. }) => {
            board.fault(DEVICE, "book-of-holes", &error);
            return Vec::new();
        }
    };
    for missing in said.iter().filter_map(|found| found.missing) {
        book.enter(missing);
    }
    let found: Vec<(u64, u64)> = holes.into_iter().flat_map(|hole| book.unknown(hole)).collect();
    for missing in &found {
        book.enter(*missing);
    }
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(error) = write(directory, &book) {
        board.fault(DEVICE, "book-of-holes", &error);
        // The whole book: nothing of it is on the disk.
        waiting.extend(book.0.iter().map(|hole| (directory.clone(), *hole)));
    }
    let say = |(first, last): (u64, u64)| Quarantined {
        what: format!("records-{first}-{last}"),
        moved_to: None,
        why: "no day of the store holds them, and neither retention nor quarantine took them".to_owned(),
        missing: Some((first, last)),
    };
    found.into_iter().map(say).collect()
}

#[cfg(test)]
mod tests {
    use super::super::day::Begin;
    use super::*;

    fn settings(directory: &Path) -> JournalSettings {
        JournalSettings::in_directory(directory, Board::default())
    }

    fn span(first_seq: u64, last_seq: u64) -> Span {
        let begin = Begin { epoch: 1, first_seq, first_event: first_seq };
        Span { name: format!("day{first_seq}"), begin, last_seq, last_event: last_seq }
    }

    #[test]
    fn ranges_are_joined_and_a_hole_is_known_in_parts() {
        let mut book = Book::default();
        for range in [(10, 19), (40, 49), (20, 29), (1, 5)] {
            book.enter(range);
        }
        assert_eq!(book.0, [(1, 5), (10, 29), (40, 49)]);
        assert_eq!(book.unknown((3, 44)), [(6, 9), (30, 39)]);
        assert!(book.unknown((12, 20)).is_empty());
        assert_eq!(book.unknown((100, 101)), [(100, 101)]);
        for n in 0..1_000 {
            book.enter((1_000 + n * 10, 1_001 + n * 10));
        }
        assert!(book.0.len() <= RANGES_MOST);
        assert!(bincode::serde::encode_to_vec(&book, bincode::config::standard()).unwrap().len() < 4_000);
    }

    #[test]
    fn a_hole_is_said_once_and_what_retention_took_never() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path());
        let days = [span(1, 10), span(11, 20), span(21, 30), span(31, 40)];
        assert!(unexplained(&settings, &days, 41, &[]).is_empty());
        enter(directory.path(), &settings.board, (1, 10));
        assert!(unexplained(&settings, &days[1..], 41, &[]).is_empty());
        let holed = [days[1].clone(), days[3].clone()];
        let found = unexplained(&settings, &holed, 46, &[]);
        let missing: Vec<_> = found.iter().map(|found| found.missing).collect();
        assert_eq!(missing, [Some((21, 30)), Some((41, 45))]);
        assert!(unexplained(&settings, &holed, 46, &[]).is_empty(), "it is said once");
        assert_eq!(unexplained(&settings, &holed[1..], 46, &[])[0].missing, Some((11, 20)), "the front too");
    }

    #[test]
    fn a_store_without_a_book_lacks_its_front_rightly() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path());
        let found = unexplained(&settings, &[span(11, 20), span(31, 40)], 41, &[]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].missing, Some((21, 30)));
    }
}
