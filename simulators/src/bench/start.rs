//! From kill -9 of a daemon with a full day in its store to the same one being ready again.
//!
//! The real `sortd` makes the store and leaves it; the records of a busy day are put into it by the journal
//! itself; the daemon goes on with it, is killed while it runs, and is started again. *Ready* is what it
//! tells systemd: the store is open and the socket stands.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use sortd::journal::{AppendError, Journal, JournalSettings, Record};
use sortd::watch::Board;
use sortd::watch::clock::Clock;

use super::{BenchError, now, story};
use crate::process::Daemon;
use crate::rig::{BrokerKind, Rig, RigOptions, build};
use crate::world::Scenario;

/// Time a daemon is given to be ready.
const PATIENCE: Duration = Duration::from_secs(120);

/// Every so many records the core's snapshot goes with them: the daemon takes one each five seconds, in
/// which a line with 60,000 parcels an hour writes about this many.
const SNAPSHOT_EVERY: u64 = 1_000;

/// Options of `sim bench start`.
#[derive(Debug, Clone, clap::Args)]
pub struct StartOptions {
    /// Records in the day's store.
    #[arg(long, default_value_t = 1_000_000)]
    pub records: u64,
    /// Without the in-flight log, as after a reboot: the line's state comes out of the store.
    #[arg(long)]
    pub rebooted: bool,
    /// Configuration that is copied and run.
    #[arg(long, value_name = "DIR", default_value = "config/demo")]
    pub config: std::path::PathBuf,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct StartFigures {
    /// From starting the process to its being ready.
    pub ready_s: f64,
    /// Memory it holds then.
    pub rss_mb: f64,
    /// The most it held until then.
    pub peak_mb: f64,
    /// Records in the store.
    pub records: u64,
}

impl StartFigures {
    /// As text.
    pub fn table(&self) -> String {
        format!(
            "ready {:.2} s after the start, with {} records; {:.0} MB held, {:.0} MB at most\n",
            self.ready_s, self.records, self.rss_mb, self.peak_mb
        )
    }
}

/// Measures with a line in a directory of its own.
pub async fn run(options: &StartOptions, directory: &Path) -> Result<StartFigures, BenchError> {
    let scenario = Scenario::default();
    let rig = RigOptions {
        config: options.config.clone(),
        scenario,
        seed: 1,
        broker: BrokerKind::Embedded,
        events_file: None,
    };
    let rig = Rig::start(rig, build()?).await?;
    let notify = directory.join("notify");
    let socket = UnixDatagram::bind(&notify).map_err(BenchError::file(&notify))?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(BenchError::file(&notify))?;
    let start = || -> Result<Daemon, BenchError> {
        let daemon = rig.daemon_notifying(&notify)?;
        wait_ready(&socket, &notify)?;
        Ok(daemon)
    };
    tokio::task::block_in_place(|| {
        start()?.terminate();
        let store = rig.directory.path().join("store");
        let records = fill(&store, options.records)?;
        let daemon = start()?;
        daemon.kill();
        if options.rebooted {
            let inflight = store.join("inflight");
            std::fs::remove_dir_all(&inflight).map_err(BenchError::file(&inflight))?;
        }
        let begun = now();
        let daemon = start()?;
        let ready_s = begun.elapsed().as_secs_f64();
        let (rss_mb, peak_mb) = memory(daemon.id())?;
        daemon.terminate();
        Ok(StartFigures { ready_s, rss_mb, peak_mb, records })
    })
}

/// Waits until the daemon says that it is ready.
fn wait_ready(socket: &UnixDatagram, path: &Path) -> Result<(), BenchError> {
    let mut message = [0; 1_024];
    loop {
        let len = socket.recv(&mut message).map_err(BenchError::file(path))?;
        if message[..len].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
            return Ok(());
        }
    }
}

/// Adds so many records to a store that a daemon has left; returns its last record.
fn fill(store: &Path, records: u64) -> Result<u64, BenchError> {
    let settings = JournalSettings::in_directory(store, Board::default());
    let (journal, handle, opening) = Journal::start(settings, None, Box::new(|_: &[Record]| ()))?;
    let opened = opening.wait()?;
    let state = opened.recovery.and_then(|recovery| recovery.snapshot).map(|(_, bytes)| bytes);
    let state =
        state.ok_or_else(|| BenchError::Broken("the daemon left no snapshot of its core".to_owned()))?;
    let midnight_us = Clock::default().wall_us().div_euclid(story::DAY_US) * story::DAY_US;
    let first = opened.last_seq + 1;
    let last = opened.last_seq + records;
    for seq in first..=last {
        let mut numbered = story::record(seq, first, midnight_us);
        numbered.entry.at.0 += opened.last_tick.0;
        while let Err(error) = handle.append(numbered) {
            match error {
                AppendError::Full(back) => numbered = *back,
                closed @ AppendError::Closed(_) => return Err(closed.into()),
            }
            std::thread::yield_now();
        }
        if seq % SNAPSHOT_EVERY == 0 || seq == last {
            while !handle.snapshot(seq, state.clone()) {
                std::thread::yield_now();
            }
        }
    }
    journal.finish();
    Ok(last)
}

/// Megabytes a process holds, and held at most.
fn memory(id: u32) -> Result<(f64, f64), BenchError> {
    let path = Path::new("/proc").join(id.to_string()).join("status");
    let text = std::fs::read_to_string(&path).map_err(BenchError::file(&path))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').split_whitespace().next()?.parse::<f64>().ok()
    };
    match (field("VmRSS"), field("VmHWM")) {
        (Some(now), Some(most)) => Ok((now / 1_024.0, most / 1_024.0)),
        _ => Err(BenchError::Broken(format!("{} says nothing of memory", path.display()))),
    }
}
