//! The recording a command looks at: a copy of a store, or the live daemon's.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::complain;
use crate::journal::{Archive, ConfigFile, Record, RecordedDay, Recording, RecordingError};
use crate::panel::client::Client;
use crate::panel::recorded::{RECORDS_MOST, RecordedQuestion};
use crate::replay::{Moment, Period};
use crate::site::Site;

/// Which records.
#[derive(Debug, Clone, Args)]
pub struct Which {
    /// A copy of a store, or the store of a stopped sortd; without it the running sortd is asked.
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// From when: 2026-11-22T08:00 in the site's time zone, 2026-11-22, or with an offset.
    #[arg(long, value_name = "T")]
    pub from: Option<Moment>,
    /// Until before when.
    #[arg(long, value_name = "T")]
    pub to: Option<Moment>,
}

impl Which {
    /// The time asked for.
    pub fn period(&self) -> Period {
        Period { from: self.from, to: self.to }
    }

    /// Opens the recording; `client` asks the running daemon where no copy is named.
    ///
    /// # Errors
    ///
    /// The copy cannot be opened.
    pub fn open(&self, client: Client) -> Result<Open, RecordingError> {
        match &self.store {
            Some(directory) => Ok(Open::Copy(Box::new(Archive::open(directory)?))),
            None => Ok(Open::Live(Live(client))),
        }
    }
}

/// A recording, open.
#[derive(Debug)]
pub enum Open {
    /// A copy.
    Copy(Box<Archive>),
    /// The running daemon's.
    Live(Live),
}

impl Open {
    /// To read from.
    pub fn recording(&self) -> &dyn Recording {
        match self {
            Open::Copy(archive) => archive.reader(),
            Open::Live(live) => live,
        }
    }

    /// Days that are there and cannot be opened, each with the reason.
    pub fn damaged(&self) -> &[(String, String)] {
        match self {
            Open::Copy(archive) => archive.damaged(),
            Open::Live(_) => &[],
        }
    }

    /// Says which days cannot be opened; whether there are any.
    pub fn complain_of_damage(&self) -> bool {
        for (day, what) in self.damaged() {
            complain(&format!("sortd: day {day} cannot be read and is left out: {what}\n"));
        }
        !self.damaged().is_empty()
    }
}

/// The configuration for runs whose own is not in the archive, where `--config` names a usable one.
pub fn fallback(config: &std::path::Path) -> Option<Arc<Site>> {
    crate::site::load(config).ok().map(|(site, _)| Arc::new(site))
}

/// The running daemon's recording, asked through its socket.
#[derive(Debug)]
pub struct Live(Client);

impl Live {
    fn ask<T: serde::de::DeserializeOwned>(&self, question: &RecordedQuestion) -> Result<T, RecordingError> {
        self.0.recorded(question).map_err(|error| RecordingError::Ask(error.to_string()))
    }
}

impl Recording for Live {
    fn days(&self) -> Result<Vec<RecordedDay>, RecordingError> {
        self.ask(&RecordedQuestion::Days)
    }

    fn records(&self, from: u64, max: usize) -> Result<Vec<Record>, RecordingError> {
        self.ask(&RecordedQuestion::Records { from, max: max.min(RECORDS_MOST) })
    }

    fn snapshots(&self, day: &RecordedDay) -> Result<Vec<u64>, RecordingError> {
        self.ask(&RecordedQuestion::Snapshots { day: day.name.clone() })
    }

    fn snapshot(&self, day: &RecordedDay, seq: u64) -> Result<Option<Vec<u8>>, RecordingError> {
        self.ask(&RecordedQuestion::Snapshot { day: day.name.clone(), seq })
    }

    fn run_before(&self, seq: u64) -> Result<Option<Record>, RecordingError> {
        self.ask(&RecordedQuestion::Run { seq })
    }

    fn configured_before(&self, seq: u64) -> Result<Option<(u64, String)>, RecordingError> {
        self.ask(&RecordedQuestion::Configured { seq })
    }

    fn configs(&self) -> Result<Vec<String>, RecordingError> {
        self.ask(&RecordedQuestion::Configs)
    }

    fn config(&self, hash: &str) -> Result<Vec<ConfigFile>, RecordingError> {
        self.ask(&RecordedQuestion::Config { hash: hash.to_owned() })
    }
}
