//! Plans from upstream that lie in the store, checked, and which of them is in force.
//!
//! ```text
//! plans/<version>/sort-plan.csv   the table as it came
//! plans/<version>/about           what upstream calls it and when it came (a small file)
//! plans/in-force                  the one that is, if it is not the file's (a small file)
//! ```
//! The directory appears whole or not at all: it is written under another name, synced and renamed.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::slip::{self, SlipError};

/// Plans kept; with more the one staged longest ago goes.
pub const PLANS_MOST: usize = 32;
const TABLE: &str = "sort-plan.csv";
const ABOUT: &str = "about";
const IN_FORCE: &str = "in-force";

/// A plan from upstream that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// Its version.
    pub version: String,
    /// The configuration with it, in the archive.
    pub configuration: String,
    /// Version of the file's plan that it took the place of.
    pub over: String,
}

/// Notes which plan from upstream is in force, durably; `None`: the file's.
pub fn put_in_force(store: &Path, in_force: Option<&InForce>) -> Result<(), SlipError> {
    let plans = store.join("plans");
    let path = plans.join(IN_FORCE);
    let at = |source| SlipError::Io { path: path.clone(), source };
    match in_force {
        Some(in_force) => {
            fs::create_dir_all(&plans).map_err(at)?;
            slip::write(&path, in_force)?;
        }
        None if path.exists() => fs::remove_file(&path).map_err(at)?,
        None => return Ok(()),
    }
    slip::sync_directory(&plans)?;
    slip::sync_directory(store)
}

/// The plan from upstream that is in force, if one is; a note that is damaged is none, and said in the log.
pub fn plan_in_force(store: &Path) -> Option<InForce> {
    let read = slip::read(&store.join("plans").join(IN_FORCE));
    read.inspect_err(|error| tracing::error!(%error, "which plan was in force is not known; the file's is"))
        .ok()?
}

/// A plan that lies in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanAbout {
    /// Its version.
    pub version: String,
    /// What upstream calls it.
    pub name: Option<String>,
    /// When it was staged, Unix microseconds.
    pub staged_us: i64,
}

/// Stages a plan, durably; one of this version that is there already stays, under the newer name.
pub fn stage_plan(store: &Path, about: &PlanAbout, table: &str) -> Result<(), SlipError> {
    let plans = store.join("plans");
    let (whole, part) = (plans.join(&about.version), plans.join(format!("{}.part", about.version)));
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| SlipError::Io { path, source }
    };
    fs::create_dir_all(&part).map_err(at(&part))?;
    let mut file = File::create(part.join(TABLE)).map_err(at(&part))?;
    file.write_all(table.as_bytes()).and_then(|()| file.sync_all()).map_err(at(&part))?;
    slip::write(&part.join(ABOUT), about)?;
    if whole.exists() {
        fs::remove_dir_all(&whole).map_err(at(&whole))?;
    }
    fs::rename(&part, &whole).map_err(at(&whole))?;
    slip::sync_directory(&plans)?;
    slip::sync_directory(store)?;
    let staged = staged_plans(store);
    for old in staged.iter().rev().skip(PLANS_MOST) {
        let path = plans.join(&old.version);
        fs::remove_dir_all(&path).map_err(at(&path))?;
    }
    Ok(())
}

/// The plans that lie in the store, the one staged last behind the others. What is half written or damaged is
/// no plan.
pub fn staged_plans(store: &Path) -> Vec<PlanAbout> {
    let entries = fs::read_dir(store.join("plans")).into_iter().flatten().flatten();
    let about = entries.filter_map(|entry| {
        let about: PlanAbout = slip::read(&entry.path().join(ABOUT)).ok().flatten()?;
        (entry.file_name().to_str() == Some(&about.version)).then_some(about)
    });
    let mut plans: Vec<PlanAbout> = about.collect();
    plans.sort_by(|a, b| (a.staged_us, &a.version).cmp(&(b.staged_us, &b.version)));
    plans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_staged_whole_and_the_oldest_go() {
        let store = tempfile::tempdir().unwrap();
        assert_eq!(staged_plans(store.path()), []);
        let about = |n: i64| PlanAbout { version: format!("{n:016x}"), name: None, staged_us: n };
        for n in 0..40 {
            stage_plan(store.path(), &about(n), "destination,chute,priority\n").unwrap();
        }
        let kept = staged_plans(store.path());
        assert_eq!((kept.len(), kept[0].staged_us), (PLANS_MOST, 8));
        // Once more, under a name: it is the newest now.
        let again = PlanAbout { name: Some("winter".to_owned()), staged_us: 99, ..about(20) };
        stage_plan(store.path(), &again, "x\n").unwrap();
        assert_eq!(staged_plans(store.path()).last(), Some(&again));
        let table = store.path().join("plans").join(&again.version).join(TABLE);
        assert_eq!(fs::read_to_string(table).unwrap(), "x\n");
        // Cut off while it was written.
        fs::create_dir(store.path().join("plans/0123.part")).unwrap();
        fs::write(store.path().join("plans").join(&again.version).join(ABOUT), b"?").unwrap();
        assert_eq!(staged_plans(store.path()).len(), PLANS_MOST - 1);
    }

    /// Worked out by hand from the layout; never to be changed.
    #[test]
    fn frozen_bytes_of_what_a_plan_is_called() {
        let store = tempfile::tempdir().unwrap();
        let about = PlanAbout { version: "ab".to_owned(), name: Some("w".to_owned()), staged_us: 1 };
        stage_plan(store.path(), &about, "").unwrap();
        let bytes = fs::read(store.path().join("plans/ab/about")).unwrap();
        assert_eq!(&bytes[17..], [2, b'a', b'b', 1, 1, b'w', 2]);
        assert_eq!(&bytes[..9], b"SORTSLIP\x01");
    }
}
