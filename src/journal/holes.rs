//! The book of what was lost: a line in the file `holes` for each thing that was put aside or found missing, with the
//! records, the reason and the place. It is never shortened because somebody has taken note: a hole in the record
//! stays one, and `sortd verify` says so.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::quarantine::Quarantined;
use super::{DEVICE, ledger};
use crate::watch::Board;
use crate::watch::clock::Clock;

/// Something that was put aside, or that was found missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hole {
    /// When it was noticed, Unix microseconds.
    pub wall_us: i64,
    /// Day, `orders`, or the records by their numbers.
    pub what: String,
    /// Why.
    pub why: String,
    /// Where it was moved to; `None` where there was nothing left to move.
    pub moved_to: Option<PathBuf>,
    /// First and last record that are missing because of it, where that is known.
    pub missing: Option<(u64, u64)>,
}

fn path(directory: &Path) -> PathBuf {
    directory.join("holes")
}

/// Books what was found, unless it stands there. `false`: it could not be written.
pub(super) fn enter(directory: &Path, board: &Board, found: &Quarantined) -> bool {
    let (known, _) = read(directory);
    let same = |hole: &Hole| {
        (&hole.what, &hole.why, &hole.moved_to, hole.missing)
            == (&found.what, &found.why, &found.moved_to, found.missing)
    };
    if known.iter().any(same) {
        return true;
    }
    let hole = Hole {
        wall_us: Clock::default().wall_us(),
        what: found.what.clone(),
        why: found.why.clone(),
        moved_to: found.moved_to.clone(),
        missing: found.missing,
    };
    let added = ledger::add(&path(directory), &hole);
    if let Err(error) = &added {
        board.fault(DEVICE, "hole-not-booked", error);
    }
    added.is_ok()
}

/// Everything that was booked, oldest first, and what of the book cannot be read.
pub(super) fn read(directory: &Path) -> (Vec<Hole>, Vec<String>) {
    ledger::read(&path(directory))
}
