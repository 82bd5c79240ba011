//! Records a second that the journal makes durable, by the size of a batch, and the same bytes appended to a
//! plain file that is synced as often.
//!
//! Everything of the running journal takes part: the in-flight log, the chain, the indices, checkpoints and
//! snapshots of the core. The producer stays at most two batches ahead, so that a batch is as large as the
//! row says and the time from handing a record over to its being durable is what a busy line sees. Journal
//! and floor take turns, since the disk of a shared machine is not the same from one second to the next.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use serde::Serialize;
use sortd::journal::{AppendError, Journal, JournalHandle, JournalSettings, Record};
use sortd::watch::Board;

use super::{BenchError, now, quantile, story};

/// Batches that are measured.
const BATCHES: [usize; 3] = [1, 16, 256];

/// Each row is measured in this many turns.
const TURNS: u64 = 4;

/// A snapshot of a line with a few hundred parcels on it goes with the records this often …
const SNAPSHOT_EVERY: u64 = 6_000;

/// … and has this size.
const SNAPSHOT_BYTES: usize = 50_000;

/// Cache of a day's store, as the configuration has it unless told otherwise.
const CACHE_MIB: u32 = 16;

/// Options of `sim bench journal`.
#[derive(Debug, Clone, clap::Args)]
pub struct JournalOptions {
    /// Commits measured in each row; large batches make fewer.
    #[arg(long, default_value_t = 6_000)]
    pub commits: u64,
    /// Only this size of a batch.
    #[arg(long)]
    pub batch: Option<usize>,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct JournalFigures {
    /// By size of a batch.
    pub rows: Vec<Row>,
    /// Bytes of a record with its frame, on average.
    pub record_bytes: f64,
    /// Bytes on the disk for each byte of a record, the in-flight log left out.
    pub space_ratio: f64,
}

/// One size of a batch.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Records of one commit.
    pub batch: usize,
    /// Made durable by the journal.
    pub records_per_s: f64,
    /// From handing a record over to its being durable.
    pub p99_ms: f64,
    /// Made durable by appending the same bytes to a file and syncing it.
    pub floor_records_per_s: f64,
    /// The one over the other.
    pub ratio: f64,
}

impl JournalFigures {
    /// As a table.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:>6} {:>14} {:>9} {:>16} {:>6}\n",
            "batch", "records/s", "p99 ms", "floor records/s", "ratio"
        );
        for row in &self.rows {
            text += &format!(
                "{:>6} {:>14.0} {:>9.2} {:>16.0} {:>6.2}\n",
                row.batch, row.records_per_s, row.p99_ms, row.floor_records_per_s, row.ratio
            );
        }
        text + &format!(
            "a record: {:.0} bytes; on the disk: {:.2} times that\n",
            self.record_bytes, self.space_ratio
        )
    }
}

/// Measures in `directory`.
pub fn run(options: &JournalOptions, directory: &Path) -> Result<JournalFigures, BenchError> {
    let mut rows = Vec::new();
    let (mut bytes, mut records, mut on_disk) = (0, 0, 0);
    for batch in BATCHES.into_iter().filter(|batch| options.batch.is_none_or(|only| only == *batch)) {
        let mut side = Side::start(&directory.join(format!("batch-{batch}")), batch)?;
        let path = directory.join(format!("floor-{batch}"));
        let mut floor = File::create(&path).map_err(BenchError::file(&path))?;
        let commits = (options.commits / (1 + batch as u64 / 64)).div_ceil(TURNS).max(1);
        // The first commits make files and pages; they are not measured on either side.
        side.turn(commits.div_ceil(10))?;
        let (mut journal_s, mut floor_s, mut floor_records) = (0.0, 0.0, 0);
        side.latencies.clear();
        let first = side.last;
        for _ in 0..TURNS {
            let before = side.last;
            journal_s += side.turn(commits)?;
            let frames = side.frames(before)?;
            bytes += frames.iter().map(Vec::len).sum::<usize>();
            floor_records += frames.len() as u64;
            floor_s += append(&mut floor, &frames, batch).map_err(BenchError::file(&path))?;
        }
        let done = side.last - first;
        records += done;
        side.latencies.sort_by(f64::total_cmp);
        let records_per_s = done as f64 / journal_s;
        let floor_records_per_s = floor_records as f64 / floor_s;
        rows.push(Row {
            batch,
            records_per_s,
            p99_ms: quantile(&side.latencies, 0.99),
            floor_records_per_s,
            ratio: records_per_s / floor_records_per_s,
        });
        let all = side.last as f64;
        let store = side.end()?;
        on_disk += (store as f64 * done as f64 / all) as u64;
    }
    Ok(JournalFigures {
        rows,
        record_bytes: bytes as f64 / records as f64,
        space_ratio: on_disk as f64 / bytes as f64,
    })
}

/// The journal, being measured.
struct Side {
    directory: std::path::PathBuf,
    journal: Journal,
    handle: JournalHandle,
    durable: Receiver<u64>,
    batch: usize,
    last: u64,
    /// Milliseconds, of each record.
    latencies: Vec<f64>,
}

impl Side {
    fn start(directory: &Path, batch: usize) -> Result<Side, BenchError> {
        let settings = JournalSettings {
            cache_mib: CACHE_MIB,
            batch_limit: batch,
            ..JournalSettings::in_directory(directory, Board::default())
        };
        let (tell, durable): (Sender<u64>, _) = channel();
        let listener = move |records: &[Record]| {
            if let Some(last) = records.last() {
                // Nobody listens any more once it is measured.
                let _ = tell.send(last.seq);
            }
        };
        let (journal, handle, opening) = Journal::start(settings, None, Box::new(listener))?;
        opening.wait()?;
        Ok(Side {
            directory: directory.to_owned(),
            journal,
            handle,
            durable,
            batch,
            last: 0,
            latencies: Vec::new(),
        })
    }

    /// So many commits; returns the seconds they took.
    fn turn(&mut self, commits: u64) -> Result<f64, BenchError> {
        let target = self.last + commits * self.batch as u64;
        // Made beforehand: the line thread's work is not the journal's.
        let mut records: std::collections::VecDeque<_> =
            (self.last + 1..=target).map(|seq| story::record(seq, 1, story::MIDNIGHT_US)).collect();
        let mut sent: std::collections::VecDeque<(u64, Instant)> = std::collections::VecDeque::new();
        let begun = now();
        let mut durable = self.last;
        while durable < target {
            while records.front().is_some_and(|next| next.seq <= durable + 2 * self.batch as u64)
                && let Some(mut numbered) = records.pop_front()
            {
                let seq = numbered.seq;
                sent.push_back((seq, now()));
                while let Err(error) = self.handle.append(numbered) {
                    match error {
                        AppendError::Full(back) => numbered = *back,
                        closed @ AppendError::Closed(_) => return Err(closed.into()),
                    }
                    std::thread::yield_now();
                }
                if seq % SNAPSHOT_EVERY == 0 {
                    self.handle.snapshot(seq, vec![7; SNAPSHOT_BYTES]);
                }
            }
            durable =
                self.durable.recv().map_err(|_| BenchError::Broken("the journal thread ended".to_owned()))?;
            let at = now();
            while sent.front().is_some_and(|(seq, _)| *seq <= durable)
                && let Some((_, from)) = sent.pop_front()
            {
                self.latencies.push((at - from).as_secs_f64() * 1_000.0);
            }
        }
        self.last = target;
        Ok(begun.elapsed().as_secs_f64())
    }

    /// The bytes of the records after `seq`.
    fn frames(&self, seq: u64) -> Result<Vec<Vec<u8>>, BenchError> {
        let frames = self.handle.reader().frames(seq + 1, usize::MAX);
        let frames = frames.map_err(|error| BenchError::Broken(error.to_string()))?;
        Ok(frames.into_iter().map(|frame| frame.bytes).collect())
    }

    /// Ends the journal; returns the bytes of its days on the disk.
    fn end(self) -> Result<u64, BenchError> {
        self.journal.finish();
        let days = self.directory.join("days");
        let mut bytes = 0;
        for day in std::fs::read_dir(&days).map_err(BenchError::file(&days))?.flatten() {
            bytes += size(&day.path()).map_err(BenchError::file(&days))?;
            let blobs = std::fs::read_dir(day.path().join("blobs")).map_or(0, Iterator::count);
            if blobs > 0 {
                return Err(BenchError::Broken(format!(
                    "{blobs} files under blobs/, which sled never syncs"
                )));
            }
        }
        Ok(bytes)
    }
}

/// Appends the frames in batches, each synced; returns the seconds it took.
fn append(file: &mut File, frames: &[Vec<u8>], batch: usize) -> std::io::Result<f64> {
    let begun = now();
    for frames in frames.chunks(batch) {
        file.write_all(&frames.concat())?;
        file.sync_data()?;
    }
    Ok(begun.elapsed().as_secs_f64())
}

/// Bytes of all files below a directory.
fn size(directory: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() { size(&entry.path())? } else { about.len() };
    }
    Ok(bytes)
}
