//! `sim bench NAME`: a thing and its floor, measured in the same run.

use std::path::PathBuf;

use clap::Subcommand;

pub mod uplink;

/// What is measured.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// The publisher against a bare client loop, and how live events stay live while a backlog is drained.
    Uplink(uplink::UplinkBench),
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The uplink's.
    #[error(transparent)]
    Uplink(#[from] uplink::UplinkBenchError),
    /// The result could not be written.
    #[error("{path}: {source}")]
    File {
        /// Where to.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// Measures, prints, and writes the result where it is wanted.
///
/// # Errors
/// [`BenchError`].
pub async fn run(bench: Bench) -> Result<(), BenchError> {
    match bench {
        Bench::Uplink(options) => {
            let json = options.json.clone();
            let figures = uplink::run(options).await?;
            println!("{figures}");
            write_json(json, &figures)
        }
    }
}

fn write_json(path: Option<PathBuf>, figures: &impl serde::Serialize) -> Result<(), BenchError> {
    let Some(path) = path else { return Ok(()) };
    let text = serde_json::to_string_pretty(figures).expect("figures are numbers under text keys");
    std::fs::write(&path, text + "\n").map_err(|source| BenchError::File { path, source })
}
