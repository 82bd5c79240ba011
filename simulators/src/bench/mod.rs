//! `sim bench NAME`: measures a thing and its floor in the same run, and prints both with their ratio.
//!
//! It measures; whether the thing keeps its promises is tested elsewhere. A floor is what the same machine
//! does at the same time with the bare means, so that rows of different machines can be compared by ratio.

pub mod find;
pub mod journal;
pub mod start;
pub mod story;
pub mod uplink;

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

/// Options of `sim bench`.
#[derive(Debug, Clone, clap::Args)]
pub struct BenchOptions {
    /// What is measured.
    #[command(subcommand)]
    pub bench: Bench,
    /// Writes the result as JSON.
    #[arg(long, value_name = "FILE", global = true)]
    pub json: Option<PathBuf>,
    /// Directory in which files are written; a disk, not memory.
    #[arg(long, value_name = "DIR", global = true)]
    pub directory: Option<PathBuf>,
}

/// What can be measured.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Bench {
    /// Records made durable, against a plain file that is appended to and synced.
    Journal(journal::JournalOptions),
    /// One parcel's story out of a store of many days.
    Story(find::FindOptions),
    /// From kill -9 of a daemon with a store to the same one being ready again.
    Start(start::StartOptions),
    /// The publisher against a bare client loop, and how live events stay live while a backlog is drained.
    Uplink(uplink::UplinkBench),
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A file.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The journal.
    #[error("the journal does not start: {0}")]
    Journal(#[from] sortd::journal::StartError),
    /// The store.
    #[error(transparent)]
    Opening(#[from] sortd::journal::OpeningError),
    /// A record was not taken.
    #[error(transparent)]
    Append(#[from] sortd::journal::AppendError),
    /// The line around the daemon.
    #[error(transparent)]
    Rig(#[from] crate::rig::RigError),
    /// The daemon.
    #[error(transparent)]
    Process(#[from] crate::process::ProcessError),
    /// The uplink.
    #[error(transparent)]
    Uplink(#[from] uplink::UplinkBenchError),
    /// Something that must hold while it is measured does not.
    #[error("{0}")]
    Broken(String),
}

impl BenchError {
    fn file(path: &Path) -> impl FnOnce(std::io::Error) -> BenchError {
        let path = path.to_owned();
        move |source| BenchError::File { path, source }
    }
}

/// Measures, prints a table, and writes the JSON.
pub async fn run(options: BenchOptions) -> Result<(), BenchError> {
    let directory = match &options.directory {
        Some(directory) => directory.clone(),
        // Beside the program, which is on a disk; a temporary directory may be in memory.
        None => std::env::current_exe()
            .ok()
            .and_then(|path| path.parent().map(Path::to_owned))
            .unwrap_or_else(std::env::temp_dir),
    };
    let directory = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(&directory)
        .map_err(BenchError::file(&directory))?;
    match options.bench {
        Bench::Journal(bench) => {
            let figures = journal::run(&bench, directory.path())?;
            print!("{}", figures.table());
            write(options.json.as_deref(), &figures)
        }
        Bench::Uplink(bench) => {
            let figures = uplink::run(&bench, directory.path()).await?;
            print!("{figures}");
            write(options.json.as_deref(), &figures)
        }
        Bench::Story(bench) => {
            let figures = find::run(&bench, directory.path())?;
            print!("{}", figures.table());
            write(options.json.as_deref(), &figures)
        }
        Bench::Start(bench) => {
            let figures = start::run(&bench, directory.path()).await?;
            print!("{}", figures.table());
            write(options.json.as_deref(), &figures)
        }
    }
}

fn write(path: Option<&Path>, figures: &impl Serialize) -> Result<(), BenchError> {
    let Some(path) = path else { return Ok(()) };
    let text =
        serde_json::to_string_pretty(figures).map_err(|error| BenchError::Broken(error.to_string()))?;
    std::fs::write(path, text + "\n").map_err(BenchError::file(path))
}

#[expect(clippy::disallowed_methods, reason = "it measures real time")]
fn now() -> Instant {
    Instant::now()
}

/// The value below which this part of the sorted values lies.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let at = (last as f64 * part).round() as usize;
    sorted.get(at).copied().unwrap_or(0.0)
}
