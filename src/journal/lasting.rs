//! Alarms that outlive the process: records were lost, put aside or deleted, and a restart is no answer to that.
//!
//! Each is a file in `alarms/` of the store, named by the alarm. It is raised at every start as long as the file is
//! there, and goes when a person removes the file: that is how somebody says that they have seen to it. The books
//! (`holes`, `deleted`) are not touched by that.
//!
//! A file that could not be written (the disk is full just when something is lost) is tried again with each look.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::quarantine::Quarantined;
use super::{DEVICE, holes, slip};
use crate::line::record::{Alarm, Severity};
use crate::watch::Board;

/// Alarms kept, at most; what comes then is said by one more, which names the books.
const MOST: usize = 64;
/// That one.
const MORE: &str = "store-more-lost";
/// Beginnings of the names of alarms that are kept.
const KEPT: [&str; 4] = ["journal-quarantine-", "store-deleted-", "journal-anchors-key", MORE];
/// Alarms of one name that say different things, at most.
const OF_ONE_NAME: u32 = 9;
/// An alarm is a few hundred bytes.
const FILE_LIMIT: u64 = 16_384;

fn place(directory: &Path) -> PathBuf {
    directory.join("alarms")
}

fn read(directory: &Path, id: &str) -> Option<Alarm> {
    let path = place(directory).join(id);
    std::fs::metadata(&path).ok().filter(|about| about.len() <= FILE_LIMIT)?;
    let alarm: Alarm = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
    (alarm.id == id).then_some(alarm)
}

fn write(directory: &Path, board: &Board, alarm: &Alarm) {
    let place = place(directory);
    let put = || {
        std::fs::create_dir_all(&place).map_err(|source| slip::SlipError::at(&place, source))?;
        slip::write_plain(&place.join(&alarm.id), &serde_json::to_vec_pretty(alarm).unwrap_or_default())
    };
    if let Err(error) = put() {
        board.fault(DEVICE, "alarm-not-kept", &error);
    }
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(place(directory)).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    // What a write that was cut off has left.
    names.filter(|name| !name.ends_with(".new")).collect()
}

/// Raises an alarm that stays until somebody removes its file; its remedy says so.
pub(super) fn raise(directory: &Path, board: &Board, alarm: Alarm) {
    let known = names(directory);
    let mut id = alarm.id.clone();
    for n in 2..=OF_ONE_NAME {
        // The second loss of a day is another one.
        if !known.contains(&id) || read(directory, &id).is_some_and(|before| before.text == alarm.text) {
            break;
        }
        id = format!("{}.{n}", alarm.id);
    }
    let full = known.len() >= MOST && !known.contains(&id);
    let (id, text, remedy) = if full {
        let text = "More records were lost or deleted than alarms are kept for.".to_owned();
        (
            MORE.to_owned(),
            text,
            "Read the files `holes` and `deleted` in the store: they name all.".to_owned(),
        )
    } else {
        (id, alarm.text, alarm.remedy)
    };
    let file = place(directory).join(&id);
    let remedy = format!("{remedy} When that is done, remove {}: the alarm goes with it.", file.display());
    let severity = if full { Severity::Critical } else { alarm.severity };
    let alarm = Alarm { id, severity, text, remedy };
    write(directory, board, &alarm);
    board.raise(alarm);
}

/// Keeps the board and the files the same.
#[derive(Debug, Default)]
pub(super) struct Lasting {
    /// Alarms that have a file.
    seen: BTreeSet<String>,
    /// Of what was put aside since the start, so many stand in the book of holes.
    booked: usize,
}

impl Lasting {
    /// Raises what a file says, clears what somebody has removed, and writes what could not be written.
    /// `found`: what was put aside since the start.
    pub fn look(&mut self, directory: &Path, board: &Board, found: &[Quarantined]) {
        let now = names(directory);
        for gone in self.seen.difference(&now) {
            tracing::info!(alarm = %gone, "somebody has seen to it");
            board.clear(gone);
        }
        for id in now.difference(&self.seen) {
            match read(directory, id) {
                Some(alarm) => board.raise(alarm),
                None => board.fault(DEVICE, "alarm-unreadable", &format_args!("alarms/{id}")),
            }
        }
        let raised = board.snapshot().1;
        let kept = |id: &str| KEPT.iter().any(|beginning| id.starts_with(beginning));
        for alarm in raised.iter().filter(|alarm| kept(&alarm.id) && !now.contains(&alarm.id)) {
            if !self.seen.contains(&alarm.id) && now.len() <= MOST {
                write(directory, board, alarm);
            }
        }
        self.seen = now;
        while let Some(found) = found.get(self.booked)
            && holes::enter(directory, board, found)
        {
            self.booked += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm(id: &str, text: &str) -> Alarm {
        let (id, text, remedy) = (id.to_owned(), text.to_owned(), "Do it.".to_owned());
        Alarm { id, severity: Severity::Critical, text, remedy }
    }

    fn ids(board: &Board) -> Vec<String> {
        board.snapshot().1.into_iter().map(|alarm| alarm.id).collect()
    }

    #[test]
    fn an_alarm_stands_after_a_restart_until_somebody_removes_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let board = Board::default();
        raise(directory.path(), &board, alarm("store-deleted-x", "a"));
        raise(directory.path(), &board, alarm("store-deleted-x", "a"));
        raise(directory.path(), &board, alarm("store-deleted-x", "b"));
        assert_eq!(ids(&board), ["store-deleted-x", "store-deleted-x.2"]);
        // Another process.
        let (board, mut lasting) = (Board::default(), Lasting::default());
        lasting.look(directory.path(), &board, &[]);
        assert_eq!(ids(&board), ["store-deleted-x", "store-deleted-x.2"]);
        let remedy = board.snapshot().1[0].remedy.clone();
        let file = directory.path().join("alarms/store-deleted-x");
        assert!(remedy.contains(&format!("remove {}:", file.display())), "{remedy}");
        std::fs::remove_file(file).unwrap();
        lasting.look(directory.path(), &board, &[]);
        assert_eq!(ids(&board), ["store-deleted-x.2"]);
        lasting.look(directory.path(), &board, &[]);
        assert_eq!(ids(&board), ["store-deleted-x.2"], "and does not come back by itself");
    }

    #[test]
    fn what_could_not_be_written_is_written_later() {
        let directory = tempfile::tempdir().unwrap();
        let (board, mut lasting) = (Board::default(), Lasting::default());
        std::fs::write(directory.path().join("alarms"), b"in the way").unwrap();
        std::fs::create_dir(directory.path().join("holes")).unwrap();
        let found = Quarantined {
            what: "2026-11-22".to_owned(),
            moved_to: None,
            why: "torn".to_owned(),
            missing: Some((1, 7)),
        };
        found.report(directory.path(), &board);
        lasting.look(directory.path(), &board, std::slice::from_ref(&found));
        std::fs::remove_file(directory.path().join("alarms")).unwrap();
        std::fs::remove_dir(directory.path().join("holes")).unwrap();
        lasting.look(directory.path(), &board, std::slice::from_ref(&found));
        lasting.look(directory.path(), &board, std::slice::from_ref(&found));
        assert_eq!(
            names(directory.path()).into_iter().collect::<Vec<_>>(),
            ["journal-quarantine-2026-11-22"]
        );
        let (holes, _) = holes::read(directory.path());
        assert!(holes.len() == 1 && holes[0].missing == Some((1, 7)), "{holes:?}");
    }

    #[test]
    fn there_are_never_more_than_so_many() {
        let directory = tempfile::tempdir().unwrap();
        let board = Board::default();
        for n in 0..2 * MOST {
            raise(directory.path(), &board, alarm(&format!("store-deleted-{n}"), "a"));
        }
        let alarms = board.snapshot().1;
        assert_eq!(alarms.len(), MOST + 1);
        assert!(alarms.iter().any(|alarm| alarm.id == MORE && alarm.remedy.contains("`deleted`")));
        assert_eq!(names(directory.path()).len(), MOST + 1);
    }
}
