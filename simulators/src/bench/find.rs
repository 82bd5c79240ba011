//! How long it takes to tell one parcel's story out of a store of many days, each time from a journal that
//! was opened anew.

use std::path::Path;

use serde::Serialize;
use sortd::journal::{AppendError, Archive, Journal, JournalSettings, Record};
use sortd::watch::Board;

use super::{BenchError, now, story};

/// Parcels asked for, spread over the days.
const ASKED: u64 = 9;

/// Options of `sim bench story`.
#[derive(Debug, Clone, clap::Args)]
pub struct FindOptions {
    /// Parcels in the store.
    #[arg(long, default_value_t = 1_000_000)]
    pub parcels: u64,
    /// Days they are spread over.
    #[arg(long, default_value_t = 30)]
    pub days: u64,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct FindFigures {
    /// Records in the store.
    pub records: u64,
    /// The slowest first question to a copy that was just opened, opening it included.
    pub cold_ms: f64,
    /// The slowest question after that, each to another day.
    pub warm_ms: f64,
}

impl FindFigures {
    /// As text.
    pub fn table(&self) -> String {
        format!(
            "one of {} records' parcels told in {:.0} ms, in {:.0} ms with opening the copy\n",
            self.records, self.warm_ms, self.cold_ms
        )
    }
}

/// Fills a store in `directory` and asks.
pub fn run(options: &FindOptions, directory: &Path) -> Result<FindFigures, BenchError> {
    let settings = JournalSettings::in_directory(directory, Board::default());
    let (journal, handle, opening) = Journal::start(settings, None, Box::new(|_: &[Record]| ()))?;
    opening.wait()?;
    let a_day = options.parcels.div_ceil(options.days.max(1)).max(1) * story::PARCEL;
    let records = options.parcels * story::PARCEL;
    for seq in 1..=records {
        let day = i64::try_from((seq - 1) / a_day).unwrap_or(0);
        let mut numbered = story::record(seq, 1, story::MIDNIGHT_US);
        let in_day = numbered.wall_us.rem_euclid(story::DAY_US);
        numbered.wall_us = story::MIDNIGHT_US + day * story::DAY_US + in_day;
        while let Err(error) = handle.append(numbered) {
            match error {
                AppendError::Full(back) => numbered = *back,
                closed @ AppendError::Closed(_) => return Err(closed.into()),
            }
            std::thread::yield_now();
        }
        if seq % 1_000 == 0 {
            handle.snapshot(seq, vec![7; 1_000]);
        }
    }
    journal.finish();

    let (mut cold_ms, mut warm_ms) = (0.0_f64, 0.0_f64);
    for n in 0..ASKED {
        let begun = now();
        let archive = Archive::open(directory).map_err(|error| BenchError::Broken(error.to_string()))?;
        let parcel = options.parcels * n / ASKED;
        ask(&archive, parcel)?;
        cold_ms = cold_ms.max(begun.elapsed().as_secs_f64() * 1_000.0);
        let begun = now();
        ask(&archive, (parcel + options.parcels / 2) % options.parcels)?;
        warm_ms = warm_ms.max(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(FindFigures { records, cold_ms, warm_ms })
}

/// The records of the pass must come, and no others: inputs name no pass.
fn ask(archive: &Archive, parcel: u64) -> Result<(), BenchError> {
    let found = archive.reader().story(&story::code(parcel));
    let found = found.map_err(|error| BenchError::Broken(error.to_string()))?;
    let first = parcel * story::PARCEL + 1;
    let own = |record: &Record| (first..first + story::PARCEL).contains(&record.seq);
    if found.len() >= 6 && found.iter().all(own) {
        return Ok(());
    }
    Err(BenchError::Broken(format!("{} records of parcel {parcel} came, or others'", found.len())))
}
