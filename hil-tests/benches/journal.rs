//! How many records a second the journal makes durable on this disk, and how long it opens after them:
//! `cargo bench -p hil-tests --bench journal`. It measures; whether the journal keeps its promises is tested
//! beside it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use sortd::identify::Key;
use sortd::journal::{AppendError, Journal, JournalHandle, JournalSettings, Numbered, Record};
use sortd::line::outcome::Outcome;
use sortd::line::record::{Body, Entry, Fact};
use sortd::line::{ChuteNo, PassKey, Tick};
use sortd::watch::Board;

/// Records written: a little more than two hours at 9,000 parcels/h and eight records a parcel.
const RECORDS: u32 = 150_000;
/// Every so many records a snapshot of the core goes with them.
const SNAPSHOT_EVERY: u64 = 2_000;
/// Size of such a snapshot: a line with a few hundred parcels on it.
const SNAPSHOT_BYTES: usize = 50_000;
/// 2026-11-22 00:00 UTC.
const MIDNIGHT_US: i64 = 1_795_305_600_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Beside the build, which is on a disk; a temporary directory may be in memory.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let settings = || JournalSettings {
        directory: directory.path().join("state"),
        cache_mib: 64,
        keep_days: 180,
        board: Board::default(),
        anchors: None,
    };
    let last = u64::from(RECORDS);

    let (journal, handle, opening) = Journal::start(settings(), None, Box::new(|_: &[Record]| ()))?;
    opening.wait()?;
    let from = now();
    for seq in 1..=last {
        append(&handle, numbered(seq))?;
        if seq % SNAPSHOT_EVERY == 0 {
            handle.snapshot(seq, vec![7; SNAPSHOT_BYTES]);
        }
    }
    while handle.durable() < last {
        std::thread::sleep(Duration::from_millis(1));
    }
    let seconds = from.elapsed().as_secs_f64();
    println!("{RECORDS} records durable in {seconds:.2} s: {:.0} records/s", f64::from(RECORDS) / seconds);
    journal.finish();

    let from = now();
    let (journal, _, opening) = Journal::start(settings(), None, Box::new(|_: &[Record]| ()))?;
    let opened = opening.wait()?;
    println!("opened at record {} in {:.2} s", opened.last_seq, from.elapsed().as_secs_f64());
    journal.finish();
    let size: u64 = files(directory.path().to_owned())?;
    println!("{:.0} bytes a record on the disk", size as f64 / f64::from(RECORDS));
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "it measures real time")]
fn now() -> Instant {
    Instant::now()
}

/// One record of a parcel's story; every eighth is an outcome, which goes upstream.
fn numbered(seq: u64) -> Numbered {
    let pass = PassKey { epoch: 1, track: u32::try_from(seq / 8).unwrap_or(u32::MAX) };
    let fact = match seq % 8 {
        7 => Fact::Ended {
            pass,
            key: Some(Key(format!("wb:PX{}", pass.track))),
            uri: None,
            outcome: Outcome::Sorted { chute: ChuteNo(3) },
            plan: "0123456789abcdef".to_owned(),
            slack_ms: Some(900),
            destination: Some("TH".to_owned()),
        },
        _ => Fact::Acknowledged { pass, command: 7, slack_ms: 900 },
    };
    let wall_us = MIDNIGHT_US + i64::try_from(seq).unwrap_or(0);
    Numbered { seq, wall_us, entry: Entry { at: Tick(seq * 10), body: Body::Fact(fact) } }
}

/// Waits while the queue is full, as the shell does.
fn append(handle: &JournalHandle, mut numbered: Numbered) -> Result<(), AppendError> {
    loop {
        match handle.append(numbered) {
            Err(AppendError::Full(back)) => numbered = *back,
            ended => return ended,
        }
        std::thread::yield_now();
    }
}

/// Bytes of all files below a directory.
fn files(directory: PathBuf) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() { files(entry.path())? } else { about.len() };
    }
    Ok(bytes)
}
