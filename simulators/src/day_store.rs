//! The store of a simulated day: a real journal, written as the daemon writes it.
//!
//! Entries are numbered, stamped with the run's own wall clock, and made durable; the core's state goes in
//! every ten minutes of the run and at its end; the configuration lies in the archive. So whatever looks back
//! at a line's store (`sortd replay`, `verify`, `evidence`) looks at this one alike.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sortd::journal::{
    AppendError, ConfigError, ConfigFile, Journal, JournalHandle, JournalSettings, JournalState, Numbered,
    OpeningError, Recording, SlipError, StartError, archive_config, next_boot,
};
use sortd::line::Line;
use sortd::line::record::Entry;
use sortd::watch::Board;

/// The file of the sort plan in a configuration.
pub const PLAN_FILE: &str = "sort-plan.csv";

/// Time of the run between two snapshots of the core: a second more than the journal waits between those it keeps,
/// so that it keeps each.
const SNAPSHOT_US: u64 = 601_000_000;

/// Cache of the store.
const CACHE_MIB: u32 = 16;

/// Days kept: all.
const KEEP_DAYS: u16 = u16::MAX;

/// A disk that takes nothing for as many pauses is given up: a minute.
const PAUSES_MOST: u32 = 60_000;
const PAUSE: Duration = Duration::from_millis(1);

/// Pauses in which a snapshot is kept, or is left out: two seconds.
const KEPT_PAUSES: u32 = 2_000;

/// Why the store cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum DayStoreError {
    /// There is one already.
    #[error("{}: expected a directory without a store, there are days in it", .0.display())]
    Exists(PathBuf),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The journal does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A small file.
    #[error(transparent)]
    Slip(#[from] SlipError),
    /// The journal does not open.
    #[error(transparent)]
    Opening(#[from] OpeningError),
    /// The state of the core.
    #[error("the core's state after record {seq} is not stored: {why}")]
    Snapshot {
        /// Record.
        seq: u64,
        /// Why.
        why: String,
    },
    /// The journal has ended, or its disk takes nothing.
    #[error("the store takes nothing after record {seq}: {state:?}")]
    Stuck {
        /// Last record made durable.
        seq: u64,
        /// What the journal says.
        state: JournalState,
    },
}

/// The store, open.
#[derive(Debug)]
pub struct DayStore {
    journal: Journal,
    handle: JournalHandle,
    directory: PathBuf,
    sources: Vec<ConfigFile>,
    configuration: String,
    boot: u64,
    /// Wall clock at tick 0.
    wall_us: i64,
    next_seq: u64,
    snapshot_us: u64,
}

impl DayStore {
    /// A new store in `directory` for a run under this configuration; `wall_us` is the wall clock at tick 0.
    pub fn create(directory: &Path, sources: &[ConfigFile], wall_us: i64) -> Result<DayStore, DayStoreError> {
        if directory.join("days").exists() {
            return Err(DayStoreError::Exists(directory.to_owned()));
        }
        let settings = JournalSettings {
            cache_mib: CACHE_MIB,
            keep_days: KEEP_DAYS,
            ..JournalSettings::in_directory(directory, Board::default())
        };
        let (journal, handle, opening) = Journal::start(settings, None, Box::new(|_: &[_]| {}))?;
        let opened = opening.wait()?;
        let boot = next_boot(directory)?;
        let configuration = archive_config(directory, sources)?;
        let next_seq = opened.last_seq + 1;
        Ok(DayStore {
            journal,
            handle,
            directory: directory.to_owned(),
            sources: sources.to_vec(),
            configuration,
            boot,
            wall_us,
            next_seq,
            snapshot_us: SNAPSHOT_US,
        })
    }

    /// Number of the run's start.
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// Name of the configuration in the archive.
    pub fn configuration(&self) -> &str {
        &self.configuration
    }

    /// Archives the configuration with another sort plan in it.
    pub fn archive_plan(&self, table: &[u8]) -> Result<String, DayStoreError> {
        let mut files = self.sources.clone();
        files.retain(|(name, _)| name != PLAN_FILE);
        files.push((PLAN_FILE.to_owned(), table.to_vec()));
        Ok(archive_config(&self.directory, &files)?)
    }

    /// Takes what a step of `line` gave; `run_us` is how far the run has come.
    pub fn take(&mut self, run_us: u64, entries: Vec<Entry>, line: &Line) -> Result<(), DayStoreError> {
        for entry in entries {
            let wall_us = self.wall_us + i64::try_from(entry.at.0).unwrap_or(0);
            self.append(Numbered { seq: self.next_seq, wall_us, entry })?;
            self.next_seq += 1;
        }
        if run_us >= self.snapshot_us {
            self.snapshot_us = run_us + SNAPSHOT_US;
            self.snapshot(line)?;
            self.wait_kept();
        }
        Ok(())
    }

    /// The last snapshot, and the end.
    pub fn finish(self, line: &Line) -> Result<u64, DayStoreError> {
        self.snapshot(line)?;
        let (last, end) = (self.next_seq - 1, self.journal.finish());
        match end.state {
            JournalState::Closed if end.durable == last => Ok(last),
            state => Err(DayStoreError::Stuck { seq: end.durable, state }),
        }
    }

    fn append(&self, mut numbered: Numbered) -> Result<(), DayStoreError> {
        for _ in 0..PAUSES_MOST {
            match self.handle.append(numbered) {
                Ok(()) => return Ok(()),
                Err(AppendError::Full(back)) => numbered = *back,
                Err(AppendError::Closed(_)) => break,
            }
            std::thread::sleep(PAUSE);
        }
        Err(self.stuck())
    }

    /// The daemon offers its state every five seconds and the journal takes one up when it is due; here the
    /// records run ahead of the disk, so the state waits for them.
    fn snapshot(&self, line: &Line) -> Result<(), DayStoreError> {
        let seq = self.next_seq - 1;
        for _ in 0..PAUSES_MOST {
            if self.handle.durable() >= seq {
                let failed = |why: String| DayStoreError::Snapshot { seq, why };
                let bytes = line.snapshot().map_err(|error| failed(error.to_string()))?;
                let taken = self.handle.snapshot(seq, bytes);
                return if taken { Ok(()) } else { Err(failed("the queue is full".to_owned())) };
            }
            std::thread::sleep(PAUSE);
        }
        Err(self.stuck())
    }

    /// Ten minutes of the run pass in less time than the journal thread may need to come to a snapshot; so the run
    /// waits for it. Not for long: where there is little room on the disk, snapshots are left out.
    fn wait_kept(&self) {
        let (seq, reader) = (self.next_seq - 1, self.handle.reader());
        let is_kept = || {
            let days = Recording::days(&reader).ok()?;
            Some(Recording::snapshots(&reader, days.last()?).ok()?.contains(&seq))
        };
        for _ in 0..KEPT_PAUSES {
            if is_kept() == Some(true) {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn stuck(&self) -> DayStoreError {
        DayStoreError::Stuck { seq: self.handle.durable(), state: self.handle.status().state }
    }
}
