//! `sim demo`: a whole line for a minute, over real protocols, with the real `sortd`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;
use sortd::line::event::Asked;
use sortd::panel::StatusDocument;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cloud::CloudReport;
use crate::figures::{Figures, table};
use crate::process::{Daemon, ProcessError};
use crate::rig::{BrokerKind, Rig, RigError, RigOptions, build};
use crate::world::Scenario;
use crate::world::Truth;
use crate::world::scenario::ScenarioError;

/// Time the daemon is given to stand and to hear the PLC.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// Time the belt is given to run empty once no more parcels come. Parcels that found no room may still be
/// on their rounds then; they are in flight, and counted as that.
const DRAIN_PATIENCE: Duration = Duration::from_secs(20);

/// Time the last events are given to reach the cloud.
const EVENTS_PATIENCE: Duration = Duration::from_secs(20);

/// Orders come this long before their parcels: a minute is too short to wait longer for the first.
const ORDER_LEAD_S: f64 = 2.0;

/// Options of `sim demo`.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoOptions {
    /// How long parcels come: 60s, 10m, 2h.
    #[arg(long = "for", value_name = "TIME", default_value = "60s", conflicts_with = "forever")]
    pub length: Length,
    /// Until it is interrupted.
    #[arg(long)]
    pub forever: bool,
    /// Writes the result as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Writes every event the cloud received, one JSON document a line.
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// Configuration that is copied and run.
    #[arg(long, value_name = "DIR", default_value = "config/demo")]
    pub config: PathBuf,
    /// Scenario file, TOML; without it the realistic workload.
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
    /// Everything that is drawn by lot follows from this.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Broker between the line and the cloud.
    #[arg(long, value_enum, default_value = "embedded")]
    pub broker: BrokerKind,
    /// Keeps the directory with configuration, store and log.
    #[arg(long)]
    pub keep: bool,
}

/// A time span on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length(pub Duration);

impl FromStr for Length {
    type Err = String;

    fn from_str(text: &str) -> Result<Length, String> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let seconds = match &text[digits.len()..] {
            "" | "s" => 1,
            "m" => 60,
            "h" => 3600,
            unit => return Err(format!("expected s, m or h behind the number, got {unit}")),
        };
        let number: u64 = digits.parse().map_err(|_| "expected a time like 60s, 10m or 2h".to_owned())?;
        if number == 0 {
            return Err("expected more than 0".to_owned());
        }
        Ok(Length(Duration::from_secs(number.saturating_mul(seconds))))
    }
}

/// Why the demo could not run.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The line.
    #[error(transparent)]
    Rig(#[from] RigError),
    /// The daemon.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The scenario.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// It did not come up.
    #[error("sortd did not hear the PLC within {} s; its log:\n{log}", START_PATIENCE.as_secs())]
    NoStart {
        /// Its log.
        log: String,
    },
    /// It could not be asked.
    #[error("sortd could not be asked: {0}")]
    Ask(#[from] sortd::panel::client::ClientError),
    /// The end could not be waited for.
    #[error("no signals: {0}")]
    Signal(std::io::Error),
    /// The result could not be written.
    #[error("{path}: cannot be written: {source}", path = path.display())]
    Write {
        /// File.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The result.
#[derive(Debug, Clone, Serialize)]
pub struct DemoResult {
    /// Figures.
    #[serde(flatten)]
    pub figures: Figures,
    /// What does not agree; empty is a good demo.
    #[serde(skip)]
    pub faults: Vec<String>,
}

impl DemoResult {
    fn of(status: &StatusDocument, truth: &Truth, cloud: &CloudReport) -> DemoResult {
        let events = &cloud.events;
        let published = status.journal.get("last_event").and_then(serde_json::Value::as_u64).unwrap_or(0);
        let conflicting = events.conflicting
            + events.bad_hash
            + events.malformed
            + events.never_inducted
            + events.ended_twice
            + events.ended_before_induction;
        let figures = Figures {
            missorts: truth.missorts,
            events_published: published,
            events_received: events.distinct,
            events_missing: published.saturating_sub(events.distinct),
            events_conflicting: conflicting,
            ..Figures::of(&status.line)
        };
        let checks = [
            (!figures.adds_up(), "inducted is not sorted + exception + lost + in flight".to_owned()),
            (
                figures.inducted != truth.tracks,
                format!("the PLC inducted {} parcels, sortd says {}", truth.tracks, figures.inducted),
            ),
            (figures.inducted == 0, "no parcel was inducted".to_owned()),
            (figures.missorts > 0, format!("{} parcels are in a wrong chute", figures.missorts)),
            (
                figures.sorted > truth.right,
                format!("sortd says {} sorted, {} lie in their chute", figures.sorted, truth.right),
            ),
            (figures.events_missing > 0, format!("the cloud lacks {} events", figures.events_missing)),
            (figures.events_conflicting > 0, "the cloud has events that contradict".to_owned()),
        ];
        let failed = checks.into_iter().filter(|(wrong, _)| *wrong).map(|(_, text)| text);
        DemoResult { faults: events.faults.iter().cloned().chain(failed).collect(), figures }
    }

    /// Everything agrees.
    pub fn is_good(&self) -> bool {
        self.faults.is_empty()
    }

    /// The table for people.
    pub fn table(&self) -> String {
        table(&self.figures.lines())
    }
}

/// Runs the demo; progress goes to standard output.
pub async fn run(options: DemoOptions) -> Result<DemoResult, DemoError> {
    let scenario = match &options.scenario {
        Some(path) => Scenario::read(path)?,
        None => Scenario { order_lead_s: ORDER_LEAD_S, ..Scenario::default() },
    };
    if let Some(path) = &options.json {
        // A result that cannot be kept is said before the run, not after it.
        std::fs::write(path, "").map_err(|source| DemoError::Write { path: path.clone(), source })?;
    }
    // From here on an interrupt ends the demo in good order.
    let mut ended = Ended::listen().map_err(DemoError::Signal)?;
    println!("building sortd …");
    let program = tokio::task::spawn_blocking(build).await.unwrap_or_else(panic_of)?;
    let asked = program.clone();
    let rig = RigOptions {
        config: options.config.clone(),
        scenario,
        seed: options.seed,
        broker: options.broker,
        events_file: options.events.clone(),
    };
    let mut rig = Rig::start(rig, program).await?;
    if options.keep {
        rig.directory.disable_cleanup(true);
    }
    println!("directory  {}", rig.directory.path().display());
    println!("page       http://{}/", rig.page);
    println!("ask it     {} --config {} status", asked.display(), rig.directory.path().display());
    let length = (!options.forever).then_some(options.length.0);
    let daemon = rig.daemon()?;
    let (rig, result) = drive(rig, daemon, length, &mut ended).await?;
    drop(rig);
    if let Some(path) = &options.json {
        let write = |source| DemoError::Write { path: path.clone(), source };
        let text = serde_json::to_string_pretty(&result).map_err(|error| write(error.into()))?;
        std::fs::write(path, text + "\n").map_err(write)?;
    }
    Ok(result)
}

/// An interrupt or a termination.
struct Ended {
    interrupt: Signal,
    terminate: Signal,
}

impl Ended {
    fn listen() -> std::io::Result<Ended> {
        Ok(Ended { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Starts the line, watches it for its time, lets it run empty, and adds up.
async fn drive(
    rig: Rig,
    mut daemon: Daemon,
    length: Option<Duration>,
    ended: &mut Ended,
) -> Result<(Rig, DemoResult), DemoError> {
    let log = rig.directory.path().join("sortd.log");
    let (back, started) = blocking(move || {
        let started = daemon.wait_for(START_PATIENCE, |status| {
            status.devices.values().all(|device| device.state == sortd::watch::Ne107::Good)
        });
        (daemon, started)
    })
    .await;
    if started?.is_none() {
        return Err(DemoError::NoStart { log: std::fs::read_to_string(&log).unwrap_or_default() });
    }
    let (mut daemon, asked) = blocking(move || {
        let asked = back.ask(Asked::LineStart);
        (back, asked)
    })
    .await;
    println!("line start {}", asked?);
    println!();
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let end = async {
        match length {
            Some(length) => tokio::time::sleep(length).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(end);
    let mut passed = 0_u64;
    loop {
        tokio::select! {
            () = &mut end => break,
            () = ended.wait() => break,
            _ = second.tick() => {}
        }
        let (back, status) = blocking(move || {
            let status = daemon.status();
            (daemon, status)
        })
        .await;
        daemon = back;
        if let Some(status) = daemon.ended() {
            return Err(ProcessError::Ended(status).into());
        }
        if let Ok(status) = status {
            println!("{}", progress(passed, &status, &rig.upstream.cloud.report()));
        }
        passed += 1;
    }
    println!("no more parcels; the belt runs empty …");
    rig.devices.set_feeding(false);
    let (back, empty) = blocking(move || {
        let empty = daemon.wait_for(DRAIN_PATIENCE, |status| status.line.sums.in_flight == 0);
        (daemon, empty)
    })
    .await;
    empty?;
    // What still goes round stands still from here on, so that the books can be compared.
    let (daemon, stopped) = blocking(move || {
        let stopped = back.ask(Asked::LineStop);
        (back, stopped)
    })
    .await;
    stopped?;
    let (daemon, status) = settle(&rig, daemon).await?;
    let (truth, cloud) = (rig.devices.truth(), rig.upstream.cloud.report());
    let mut result = DemoResult::of(&status, &truth, &cloud);
    let left = blocking(move || daemon.terminate()).await;
    if left.is_none_or(|status| !status.success()) {
        result.faults.push(format!("sortd did not end well: {left:?}"));
    }
    Ok((rig, result))
}

/// Waits until the belt stands and the cloud has what the line has made durable.
async fn settle(rig: &Rig, mut daemon: Daemon) -> Result<(Daemon, StatusDocument), DemoError> {
    let mut left = EVENTS_PATIENCE;
    let look = Duration::from_millis(200);
    loop {
        let (back, status) = blocking(move || {
            let status = daemon.status();
            (daemon, status)
        })
        .await;
        daemon = back;
        let status = status?;
        let events = rig.upstream.cloud.report().events;
        let durable = status.journal.get("last_event").and_then(serde_json::Value::as_u64);
        let counted = status.line.sums.inducted == rig.devices.truth().tracks;
        let still = status.line.speed_mm_s == 0 && counted;
        if (still && durable == Some(events.distinct)) || left.is_zero() {
            return Ok((daemon, status));
        }
        tokio::time::sleep(look).await;
        left = left.saturating_sub(look);
    }
}

fn progress(second: u64, status: &StatusDocument, cloud: &CloudReport) -> String {
    let sums = &status.line.sums;
    let alarms = if status.alarms.is_empty() {
        String::new()
    } else {
        let ids: Vec<&str> = status.alarms.iter().map(|alarm| alarm.id.as_str()).collect();
        format!("  ALARM {}", ids.join(" "))
    };
    format!(
        "{second:>5} s  inducted {:>5}  sorted {:>5}  exceptions {:>4}  lost {:>2}  in flight {:>3}  \
         events checked {:>6}{alarms}",
        sums.inducted,
        sums.sorted,
        sums.exceptions.values().sum::<u64>(),
        sums.lost,
        sums.in_flight,
        cloud.events.distinct,
    )
}

/// Runs what blocks where blocking is allowed.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| panic_of(error))
}

fn panic_of<T>(error: tokio::task::JoinError) -> T {
    std::panic::resume_unwind(error.into_panic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans_are_read() {
        assert_eq!("10m".parse(), Ok(Length(Duration::from_secs(600))));
        assert_eq!("90".parse(), Ok(Length(Duration::from_secs(90))));
        assert_eq!("2h".parse(), Ok(Length(Duration::from_secs(7200))));
        for wrong in ["", "0s", "m", "5d", "-1s"] {
            assert!(wrong.parse::<Length>().is_err(), "{wrong}");
        }
    }
}
