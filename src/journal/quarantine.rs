//! What is damaged is put aside, whole, and said: nothing is deleted, nothing is repaired by guessing.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{DEVICE, holes, lasting, slip};
use crate::line::record::{Alarm, Severity};
use crate::watch::Board;
use crate::watch::clock::Clock;

/// Something that was put aside, or that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Day, or `orders`.
    pub what: String,
    /// Where it is now; `None` where there was nothing left to move.
    pub moved_to: Option<PathBuf>,
    /// Why.
    pub why: String,
    /// Records that are missing from the store because of it, as far as is known: first and last.
    pub missing: Option<(u64, u64)>,
}

impl Quarantined {
    /// Books it, and tells the board and everyone who reads the log; the alarm outlives this process.
    pub(super) fn report(&self, directory: &Path, board: &Board) {
        // What cannot be written now is written with the next look at the lasting alarms.
        holes::enter(directory, board, self);
        let missing = match self.missing {
            Some((first, last)) => format!("records {first} to {last} are missing"),
            None => "how many records are missing is not known".to_owned(),
        };
        let place = match &self.moved_to {
            Some(path) => format!("it was moved to {}", path.display()),
            None => "nothing was left of it".to_owned(),
        };
        board.fault(DEVICE, "quarantine", &format_args!("{}: {}", self.what, self.why));
        let alarm = Alarm {
            id: format!("journal-quarantine-{}", self.what),
            severity: Severity::Critical,
            text: format!("Store, {}: {}; {place}; {missing}. The line goes on.", self.what, self.why),
            remedy: "Copy the quarantine directory away, check the disk, and tell upstream which \
                     records are missing."
                .to_owned(),
        };
        lasting::raise(directory, board, alarm);
    }
}

/// Moves `path` into `quarantine/` of the store and writes `why` beside it.
pub(super) fn put_aside(
    directory: &Path,
    path: &Path,
    what: &str,
    why: &str,
) -> Result<Option<PathBuf>, slip::SlipError> {
    if !path.exists() {
        return Ok(None);
    }
    let quarantine = directory.join("quarantine");
    let at = |source| slip::SlipError::at(&quarantine, source);
    std::fs::create_dir_all(&quarantine).map_err(at)?;
    let stem = format!("{what}-{}", Clock::default().wall_us() / 1_000_000);
    let target = (0..)
        .map(|n: u32| quarantine.join(if n == 0 { stem.clone() } else { format!("{stem}.{n}") }))
        .find(|candidate| !candidate.exists())
        .unwrap_or_else(|| quarantine.join(&stem));
    std::fs::rename(path, &target).map_err(at)?;
    // What it was put aside for is a help to people; the alarm says it too.
    let _ = std::fs::write(target.join("why"), format!("{why}\n"));
    slip::sync_directory(&quarantine)?;
    if let Some(parent) = path.parent() {
        slip::sync_directory(parent)?;
    }
    Ok(Some(target))
}
