//! Watches the loops, tells systemd, waits for the end.
//!
//! The watchdog asks whether the *line* lives: its thread, the tasks, the PLC's polls. It does not ask whether the disk
//! is quick. A restart mends no disk: it would take a line that still sorts, and put one in its place that waits for
//! its store. A disk that stands is an alarm, and one that stands until the queue is half full holds induction.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::line_thread::is_behind;
use super::plan_desk::{Came, PlanDesk, PlanError};
use super::{RunError, system};
use crate::journal::{DEVICE, JournalHandle, JournalState, OpeningError};
use crate::line::record::{Alarm, Severity};
use crate::panel::PanelError;
use crate::watch::beat::Beats;
use crate::watch::{Board, Ne107, systemd};

/// Period of the look at the loops where systemd asks for nothing.
pub const PERIOD: Duration = Duration::from_secs(1);

/// A commit over so long is slow, when it should be milliseconds.
const SLOW: Duration = Duration::from_secs(2);

/// The alarm of a slow disk.
const SLOW_ALARM: &str = "journal-slow";

/// The alarm of a disk that is so slow that no more parcels are asked for.
const BEHIND_ALARM: &str = "journal-behind";

/// Findings of a reload that are logged; `sortd check` prints all.
const FINDINGS_LOGGED: usize = 20;

/// systemd is told this many times within the time it grants.
const TELL_WITHIN: u32 = 3;

/// Feeds the watchdog from the loops' own progress.
pub struct Supervisor {
    beats: Beats,
    board: Board,
    handle: JournalHandle,
    plc: String,
    directory: PathBuf,
    plans: Arc<PlanDesk>,
    disk: Disk,
    polls: u64,
}

impl Supervisor {
    /// Over these loops; `plc` is the PLC's name, `directory` the configuration's.
    pub fn new(
        beats: Beats,
        board: Board,
        handle: JournalHandle,
        plc: String,
        directory: PathBuf,
        plans: Arc<PlanDesk>,
    ) -> Supervisor {
        Supervisor { beats, board, handle, plc, directory, plans, disk: Disk::default(), polls: 0 }
    }

    /// Until SIGTERM or SIGINT, or until something the line cannot run without has ended.
    pub async fn run(
        mut self,
        mut opened: JoinHandle<Result<(), OpeningError>>,
        mut panel: JoinHandle<Result<(), PanelError>>,
        mut panel_stands: oneshot::Receiver<Option<SocketAddr>>,
    ) -> Result<(), RunError> {
        let signals = "signals cannot be received";
        let mut terminate = signal(SignalKind::terminate()).map_err(system(signals))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system(signals))?;
        let mut hang_up = signal(SignalKind::hangup()).map_err(system(signals))?;
        let period = systemd::watchdog_period().map_or(PERIOD, |granted| (granted / TELL_WITHIN).min(PERIOD));
        let mut turn = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first turn is at once, when no loop can have come round yet.
        turn.tick().await;
        let (mut store_open, mut panel_open, mut told) = (false, false, false);
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                _ = hang_up.recv() => reload(self.directory.clone(), Arc::clone(&self.plans)).await,
                result = &mut opened, if !store_open => match result {
                    Ok(Ok(())) => store_open = true,
                    Ok(Err(error)) => return Err(error.into()),
                    Err(error) => return Err(system("the store's opening")(std::io::Error::other(error))),
                },
                address = &mut panel_stands, if !panel_open => {
                    panel_open = address.is_ok();
                    if !panel_open {
                        return panel_ended(panel.await);
                    }
                }
                result = &mut panel => return panel_ended(result),
                _ = turn.tick() => self.look(),
            }
            if store_open && panel_open && !told {
                told = true;
                systemd::ready("sorting");
                tracing::info!("ready");
            }
        }
    }

    /// Feeds the watchdog if every loop of the line has moved on.
    fn look(&mut self) {
        let mut silent: Vec<String> = self.beats.silent().into_iter().map(ToOwned::to_owned).collect();
        self.watch_disk();
        // What is polled moves on: good polls, or faults while it is sought.
        if let Some(health) = self.board.snapshot().0.get(&self.plc) {
            let polls = health.good + health.faults.values().sum::<u64>();
            if health.state == Ne107::Good && polls == self.polls {
                silent.push(self.plc.clone());
            }
            self.polls = polls;
        }
        if silent.is_empty() {
            systemd::watchdog();
        } else {
            tracing::warn!(loops = ?silent, "a loop has not come round; the watchdog is not fed");
        }
    }
}

impl Supervisor {
    /// A disk that takes seconds for a commit fails nothing, so nobody else says it. The line goes on: its records
    /// wait in the queue, and nothing is acknowledged. When the queue is half full the line's thread asks for no
    /// more parcels, and that is said, too.
    fn watch_disk(&mut self) {
        let (status, waiting, room) = (self.handle.status(), self.handle.waiting(), self.handle.room());
        let waits = status.state == JournalState::Running
            && (waiting > 0 || status.pending > 0 || status.under_way > 0);
        match self.disk.look(waits, status.cycles, tokio::time::Instant::now()) {
            Pace::Good => self.board.clear(SLOW_ALARM),
            Pace::Waiting => {}
            Pace::Slow { first } => {
                if first {
                    self.board.fault(DEVICE, "slow", &format_args!("{waiting} records wait"));
                }
                self.board.raise(slow_alarm(waiting));
            }
        }
        // A store that opens, or fails, has its own alarms; records wait here all the same.
        if is_behind(room) {
            self.board.raise(behind_alarm(waiting));
        } else {
            self.board.clear(BEHIND_ALARM);
        }
    }
}

fn slow_alarm(waiting: usize) -> Alarm {
    Alarm {
        id: SLOW_ALARM.to_owned(),
        severity: Severity::Warning,
        text: format!(
            "The store's disk has taken no record for seconds: {waiting} wait. PLC events, orders and holds are used \
             at once and acknowledged late; parcels are sorted as before."
        ),
        remedy: "Find out what keeps the disk busy, and check it.".to_owned(),
    }
}

fn behind_alarm(waiting: usize) -> Alarm {
    Alarm {
        id: BEHIND_ALARM.to_owned(),
        severity: Severity::Critical,
        text: format!(
            "{waiting} records wait for the store's disk, half of what may: no more parcels are asked for. What is on \
             the belt is sorted, and induction resumes by itself."
        ),
        remedy: "Find out what keeps the disk busy, and check it; a restart would wait for the same disk."
            .to_owned(),
    }
}

/// How the disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Nothing waits, or something became durable since the last look.
    Good,
    /// Records wait, not for long.
    Waiting,
    /// For seconds.
    Slow {
        /// It was not yet at the last look.
        first: bool,
    },
}

/// Watches whether records become durable.
#[derive(Debug, Default)]
struct Disk {
    cycles: u64,
    /// Since when records have waited and none has become durable.
    since: Option<tokio::time::Instant>,
    slow: bool,
}

impl Disk {
    fn look(&mut self, waits: bool, cycles: u64, now: tokio::time::Instant) -> Pace {
        let moved = std::mem::replace(&mut self.cycles, cycles) != cycles;
        if !waits || moved {
            *self = Disk { cycles, since: None, slow: false };
            return Pace::Good;
        }
        if now.duration_since(*self.since.get_or_insert(now)) < SLOW {
            return Pace::Waiting;
        }
        Pace::Slow { first: !std::mem::replace(&mut self.slow, true) }
    }
}

/// Checks a changed configuration and says what becomes of it. A sort plan that was changed comes into force at
/// once; the other files take effect at the next start: said, never silently ignored. Errors leave everything as
/// it is.
async fn reload(directory: PathBuf, plans: Arc<PlanDesk>) {
    systemd::reloading();
    let work = tokio::task::spawn_blocking(move || {
        let loaded = crate::site::load_with_sources(&directory).map_err(PlanError::Refused)?;
        for warning in loaded.warnings.iter().take(FINDINGS_LOGGED) {
            tracing::warn!(place = %warning, remedy = %warning.remedy, "configuration");
        }
        Ok((plans.reload(&loaded)?, plans.version()))
    });
    match work.await {
        Ok(Ok(((came, others), version))) => {
            match came {
                Some(Came::Next(version)) => {
                    tracing::info!(plan = %version, "SIGHUP: the sort plan is in force")
                }
                Some(Came::Already(version)) => {
                    tracing::info!(plan = %version, "SIGHUP: the sort plan was in force already");
                }
                None => {
                    tracing::info!(plan = %version, "SIGHUP: sort-plan.csv is as it was; the plan in force stays")
                }
            }
            if !others.is_empty() {
                tracing::warn!(
                    changed = ?others,
                    remedy = "restart sortd to take them; what is on the belt goes on",
                    "SIGHUP: other files were changed: they are valid, and take effect at the next start"
                );
            }
        }
        Ok(Err(PlanError::Refused(findings))) => {
            for finding in findings.iter().take(FINDINGS_LOGGED) {
                tracing::error!(place = %finding, remedy = %finding.remedy, "configuration");
            }
            tracing::error!(errors = findings.len(), "SIGHUP: the running configuration stays as it is");
        }
        Ok(Err(error)) => tracing::error!(%error, "SIGHUP: the running configuration stays as it is"),
        Err(error) => tracing::error!(%error, "SIGHUP: the configuration could not be checked"),
    }
    systemd::ready("sorting");
}

fn panel_ended(result: Result<Result<(), PanelError>, tokio::task::JoinError>) -> Result<(), RunError> {
    match result {
        Ok(Ok(())) => Err(system("the local API ended")(std::io::ErrorKind::BrokenPipe.into())),
        Ok(Err(error)) => Err(error.into()),
        Err(error) => Err(system("the local API")(std::io::Error::other(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_slow_once_nothing_has_become_durable_for_seconds() {
        let begun = tokio::time::Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut disk = Disk::default();
        assert_eq!(disk.look(true, 4, at(0)), Pace::Good, "a cycle was done");
        assert_eq!(disk.look(true, 4, at(300)), Pace::Waiting);
        assert_eq!(disk.look(true, 4, at(2_200)), Pace::Waiting);
        assert_eq!(disk.look(true, 4, at(2_300)), Pace::Slow { first: true });
        assert_eq!(disk.look(true, 4, at(60_000)), Pace::Slow { first: false });
        assert_eq!(disk.look(true, 5, at(60_300)), Pace::Good);
        assert_eq!(disk.look(true, 5, at(60_600)), Pace::Waiting);
        assert_eq!(disk.look(false, 5, at(70_000)), Pace::Good, "nothing waits");
        assert_eq!(disk.look(true, 5, at(70_300)), Pace::Waiting, "it begins anew");
    }
}
