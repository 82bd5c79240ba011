//! What was recorded, as whoever looks back reads it: a copy of a store, or the live one.
//!
//! Replay, trials of a plan and evidence work over [`Recording`] and know nothing of where the records are.

use serde::{Deserialize, Serialize};

use super::configs::{ConfigError, ConfigFile};
use super::{ReadError, Reader, Record, read_config};

/// A day of records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedDay {
    /// Name of its directory.
    pub name: String,
    /// One unbroken numbering of milestones; another one begins where records were lost.
    pub epoch: u64,
    /// First record.
    pub first_seq: u64,
    /// Last durable record.
    pub last_seq: u64,
}

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The copy cannot be opened.
    #[error(transparent)]
    Archive(#[from] super::ArchiveError),
    /// Records cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A configuration cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Whoever was asked did not answer.
    #[error("{0}")]
    Ask(String),
}

/// A recording: days of numbered records, snapshots of the core between them, and the configurations they
/// were made under.
pub trait Recording {
    /// Days, oldest first.
    fn days(&self) -> Result<Vec<RecordedDay>, RecordingError>;

    /// Records from number `from` on, in order, at most `max`. Where records are missing between days, the
    /// numbers jump.
    fn records(&self, from: u64, max: usize) -> Result<Vec<Record>, RecordingError>;

    /// Numbers of the records that a snapshot of the core stands after, within this day, ascending.
    fn snapshots(&self, day: &RecordedDay) -> Result<Vec<u64>, RecordingError>;

    /// The snapshot of this day after record `seq`; `None` where it is not whole.
    fn snapshot(&self, day: &RecordedDay, seq: u64) -> Result<Option<Vec<u8>>, RecordingError>;

    /// The record that began the run which record `seq` belongs to.
    fn run_before(&self, seq: u64) -> Result<Option<Record>, RecordingError>;

    /// Name of the configuration of the run that record `seq` belongs to, where its day has it from the day before:
    /// the number of the start, and the hash. Who knows of none is believed: the archive is searched then.
    fn configured_before(&self, _seq: u64) -> Result<Option<(u64, String)>, RecordingError> {
        Ok(None)
    }

    /// Hashes of the configurations that are kept.
    fn configs(&self) -> Result<Vec<String>, RecordingError>;

    /// The files of a configuration.
    fn config(&self, hash: &str) -> Result<Vec<ConfigFile>, RecordingError>;
}

impl Recording for Reader {
    fn days(&self) -> Result<Vec<RecordedDay>, RecordingError> {
        Ok(self.spans()?.into_iter().map(recorded).collect())
    }

    fn records(&self, from: u64, max: usize) -> Result<Vec<Record>, RecordingError> {
        Ok(Reader::records(self, from, max)?)
    }

    fn snapshots(&self, day: &RecordedDay) -> Result<Vec<u64>, RecordingError> {
        Ok(self.on_day(&day.name, super::day::Day::snapshots)?)
    }

    fn snapshot(&self, day: &RecordedDay, seq: u64) -> Result<Option<Vec<u8>>, RecordingError> {
        Ok(self.on_day(&day.name, |day| day.snapshot(seq))?)
    }

    fn run_before(&self, seq: u64) -> Result<Option<Record>, RecordingError> {
        let Some(span) = self.span_of_run(seq)? else { return Ok(None) };
        Ok(self.on_day(&span.name, |day| day.run_before(seq))?.map(|(record, _)| record))
    }

    fn configured_before(&self, seq: u64) -> Result<Option<(u64, String)>, RecordingError> {
        let Some(span) = self.span_of_run(seq)? else { return Ok(None) };
        let found = self.on_day(&span.name, |day| {
            let Some((run, _)) = day.run_before(seq)? else { return Ok(None) };
            Ok(day.configured(run.seq)?.map(|hash| (run.seq, hash)))
        });
        Ok(found?)
    }

    fn configs(&self) -> Result<Vec<String>, RecordingError> {
        Ok(super::configs::stored(self.directory())?)
    }

    fn config(&self, hash: &str) -> Result<Vec<ConfigFile>, RecordingError> {
        Ok(read_config(self.directory(), hash)?)
    }
}

fn recorded(span: super::day::Span) -> RecordedDay {
    let super::day::Span { name, begin, last_seq, .. } = span;
    RecordedDay { name, epoch: begin.epoch, first_seq: begin.first_seq, last_seq }
}
