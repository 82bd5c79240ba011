//! Starts and joins the threads and tasks; the order in which they end.
//!
//! # Start
//!
//! 1. The configuration is checked; an error ends here.
//! 2. The in-flight log is read (milliseconds). If it is whole, the line goes on with it at once and the
//!    store opens behind it; otherwise the store is waited for.
//! 3. The line's thread, the device tasks, the uplink and the panel start. The PLC's command table and its
//!    unacknowledged events come in with the attach.
//! 4. The register of active orders comes back, in parts, between events.
//! 5. READY once the store is open and the socket stands.
//!
//! # End
//!
//! Parcels are no longer asked for; the request reaches the PLC; the devices close; the line's thread hands
//! over its last entries and a snapshot; the journal makes them durable; the uplink says *offline*.

mod acknowledge;
mod anchored;
mod errands;
pub mod known_orders;
mod line_thread;
mod log;
mod plan_desk;
mod recovery;
mod shown;
mod supervise;
pub mod upstream;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use self::acknowledge::Acknowledge;
use self::anchored::Anchored;
use self::errands::Errands;
use self::line_thread::{Control, Ends, LineThread};
use self::plan_desk::{Begun, PlanDesk};
use self::recovery::TakenUp;
use self::shown::Shown;
use self::supervise::Supervisor;
use self::upstream::Upstream;
use crate::device::sink::EventSink;
use crate::device::{camera, gate, scanner, sorter};
use crate::journal::{
    ConfigFile, Journal, JournalHandle, JournalSettings, JournalState, Opened, Opening, OpeningError,
};
use crate::line::Tick;
use crate::line::event::{Command, Event, Started};
use crate::line::record::{Alarm, Severity};
use crate::line::status::LineStatus;
use crate::panel;
use crate::site::{Finding, Site, SortPlan};
use crate::uplink::Topics;
use crate::uplink::down::{Notice, Part, Progress};
use crate::uplink::downstream::{self, Downstream, ERRANDS, PARTS_MOST};
use crate::uplink::health::LineBrief;
use crate::uplink::publisher::Publisher;
use crate::uplink::status::{DownstreamStatus, UplinkStatus};
use crate::watch::beat::Beats;
use crate::watch::clock::Clock;
use crate::watch::{Board, systemd};

/// Events from the field that may wait for the core: a second of everything at 200 parcels/s.
const EVENTS_WAITING: usize = 4_096;

/// Commands that may wait for the PLC task; the PLC's table holds 16, the core keeps what is not taken.
const COMMANDS_WAITING: usize = 1_024;

/// Answers to messages that may wait for the downstream client: a disk that stood makes everything in process
/// durable at once, and what a broken connection brought twice once more.
const ANSWERS_WAITING: usize = 2 * PARTS_MOST;

/// Time the PLC task is given to write that no more parcels are wanted: some polls.
const LEAVE_GRACE: Duration = Duration::from_millis(300);

/// While the store is not open, whoever started the daemon is told why it is not ready this often.
const STORE_LOOK: Duration = Duration::from_secs(5);

/// Time the tasks are given to end by themselves.
const JOIN_GRACE: Duration = Duration::from_secs(5);

/// Why the daemon could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration has errors.
    #[error("the configuration has {} errors", .0.len())]
    Configuration(Vec<Finding>),
    /// The journal does not start.
    #[error(transparent)]
    Journal(#[from] crate::journal::StartError),
    /// A small file of the store.
    #[error("{0}; {remedy}", remedy = .0.remedy())]
    Store(#[from] crate::journal::SlipError),
    /// The store never opened.
    #[error(transparent)]
    Opening(#[from] crate::journal::OpeningError),
    /// Threads, signals or the runtime.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The local API.
    #[error(transparent)]
    Panel(#[from] panel::PanelError),
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |source| RunError::System { what, source }
}

/// Runs the daemon with the configuration in `directory` until it is told to end.
pub fn run(directory: &Path) -> Result<(), RunError> {
    log::begin();
    let loaded = crate::site::load_with_sources(directory).map_err(RunError::Configuration)?;
    for warning in &loaded.warnings {
        tracing::warn!(place = %warning, remedy = %warning.remedy, "configuration");
    }
    let board = Board::default();
    let begun = plan_desk::begin(loaded, &board);
    let (control, control_in) = crossbeam_channel::bounded(4);
    let plans = Arc::new(PlanDesk::new(&begun, control.clone()));
    let Begun { site, sources, .. } = begun;
    let site = Arc::new(site);
    let store = &site.store.directory;
    let resume = crate::journal::inflight_resume(store);
    let archived = store.clone();
    let plan_of = move |hash: &str| archived_plan(&archived, hash);
    let taken_up = resume.as_ref().and_then(|resume| recovery::from_log(&site, resume, &plan_of));
    let resume = taken_up.as_ref().and(resume.as_ref());

    let (plc_acks, acks) = watch::channel(None);
    let (durable_events, events_durable) = watch::channel(0);
    let (answers, notices) = mpsc::channel(ANSWERS_WAITING);
    let listener = Box::new(Acknowledge::new(plc_acks, durable_events, answers.clone()));
    let settings = JournalSettings::new(&site.store, board.clone()).anchored(&site);
    // The line's thread does, as soon as there is one.
    let settings = JournalSettings { deletions_recorded: true, ..settings };
    let (journal, handle, opening) = Journal::start(settings, resume, listener)?;
    // The store is ours from here on: a second sortd beside a running one is no boot.
    let boot = crate::journal::next_boot(&site.store.directory)?;
    let configuration = archive(&site.store.directory, &sources);
    if let Some(taken_up) = taken_up.as_ref().filter(|taken_up| taken_up.entries > 0) {
        tracing::info!(entries = taken_up.entries, "the line goes on from its in-flight records");
    }

    let (taken_up, store) = match taken_up {
        Some(taken_up) => (taken_up, Store::Opening(opening)),
        None => {
            let opened = wait_for_store(&opening, &handle)?;
            (recovery::from_store(&site, &opened, &handle.reader(), &plan_of), Store::Open(Box::new(opened)))
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("sortd")
        .build()
        .map_err(system("the runtime cannot be started"))?;
    let running = Running {
        directory: directory.to_owned(),
        clock: Clock::after(taken_up.last_tick),
        site,
        board,
        boot,
        configuration,
        handle,
        acks,
        events_durable,
        notices: (answers, Some(notices)),
        plans,
        control: (control, control_in),
        orders_back: Arc::default(),
    };
    let result = runtime.block_on(running.run(taken_up, store));
    runtime.shutdown_timeout(JOIN_GRACE);
    let end = journal.finish();
    tracing::info!(durable = end.durable, state = ?end.state, "journal closed");
    result
}

/// Keeps the configuration with the records that will be made under it. A disk that does not take it stops
/// no line: the records name it all the same, and a replay then has to be given its directory.
fn archive(store: &Path, sources: &[ConfigFile]) -> String {
    crate::journal::archive_config(store, sources).unwrap_or_else(|error| {
        tracing::error!(
            %error,
            remedy = "make room in the store and keep a copy of the configuration; a replay needs it",
            "the configuration is not archived in the store"
        );
        crate::journal::config_hash(sources)
    })
}

/// The plan of a configuration that the line has run with.
fn archived_plan(store: &Path, hash: &str) -> Option<Arc<SortPlan>> {
    let files = crate::journal::read_config(store, hash).inspect_err(
        |error| tracing::error!(%error, "a plan that was in force is not in the store's archive"),
    );
    let loaded = crate::site::load_from_sources(&files.ok()?).ok()?;
    Some(Arc::new(loaded.site.plan))
}

/// Waits for the store, however long its disk takes: leaving would not make room on it, and a service manager gives
/// up on who leaves too often. Until the store is open the line does not know where it was, so no parcel is asked
/// for.
fn wait_for_store(opening: &Opening, handle: &JournalHandle) -> Result<Opened, RunError> {
    let mut said = None;
    loop {
        if let Some(opened) = opening.wait_for(STORE_LOOK)? {
            return Ok(opened);
        }
        let status = handle.status();
        let why = match status.state {
            JournalState::Stalled(why) => why,
            JournalState::Opening | JournalState::Running | JournalState::Closed => String::new(),
        };
        if why.is_empty() {
            systemd::waiting("the store is being opened", STORE_LOOK * 6);
            continue;
        }
        systemd::waiting(&format!("the store cannot be opened: {why}"), STORE_LOOK * 6);
        if said.as_ref() != Some(&why) {
            tracing::error!(
                why,
                free_mib = status.free_mib,
                remedy = "make room on the disk of [store] directory, or repair it; sortd waits and goes on by itself",
                "the store cannot be opened, and the line does not start without it"
            );
            said = Some(why);
        }
    }
}

/// The store, open or on its way.
enum Store {
    Open(Box<Opened>),
    Opening(Opening),
}

/// What the asynchronous part works with.
struct Running {
    directory: PathBuf,
    site: Arc<Site>,
    board: Board,
    clock: Clock,
    boot: u64,
    /// Name of the configuration in the store's archive.
    configuration: String,
    handle: JournalHandle,
    acks: watch::Receiver<Option<sorter::PlcAck>>,
    events_durable: watch::Receiver<u64>,
    /// What the client that answers upstream is told, and the end to tell it by.
    notices: (mpsc::Sender<Notice>, Option<mpsc::Receiver<Notice>>),
    /// Knows and changes the plan in force.
    plans: Arc<PlanDesk>,
    /// What the shell says to the line's thread.
    control: (Sender<Control>, Receiver<Control>),
    /// The register's orders have been given to the core: what upstream sends comes behind them.
    orders_back: Arc<AtomicBool>,
}

impl Running {
    async fn run(mut self, taken_up: TakenUp, store: Store) -> Result<(), RunError> {
        let mut beats = Beats::default();
        let (events, events_in) = crossbeam_channel::bounded(EVENTS_WAITING);
        let (control, control_in) = self.control.clone();
        let (commands, commands_in) = mpsc::channel(COMMANDS_WAITING);
        let (status, status_seen) = watch::channel(Arc::new(LineStatus {
            state: "starting".to_owned(),
            plan: self.site.plan.version.clone(),
            ..LineStatus::default()
        }));
        let (stop, stopped) = watch::channel(false);
        let ends = Ends {
            events: events_in,
            control: control_in,
            commands,
            journal: self.handle.clone(),
            status,
            beat: beats.watch("line"),
        };
        let thread = LineThread::new(taken_up.line, taken_up.next_seq, self.clock, ends);
        let unrecorded = taken_up.unrecorded;
        let started = Event::Started(Started::of(&self.site, self.boot, self.clock.wall_us()));
        let first = vec![started, Event::Configured { hash: self.configuration.clone() }];
        let line = std::thread::Builder::new()
            .name("line".to_owned())
            .spawn(move || thread.run(unrecorded, first))
            .map_err(system("the line's thread cannot be started"))?;

        let mut devices = JoinSet::new();
        self.open_devices(&mut devices, &events, commands_in, &stopped);
        let mut upstream = JoinSet::new();
        let uplink = self.open_uplink(&mut upstream, &events, &status_seen, &stopped)?;
        let (panel_ready, panel_stands) = oneshot::channel();
        let shown = Shown {
            site: Arc::clone(&self.site),
            board: self.board.clone(),
            boot: self.boot,
            handle: self.handle.clone(),
            events: events.clone(),
            line: status_seen,
            uplink,
        };
        let serving = panel::serve(
            shown.views(self.clock.wall_us()),
            self.site.panel.clone(),
            stopped.clone(),
            panel_ready,
        );
        let panel = tokio::spawn(serving);
        let beat = beats.watch("tasks");
        let beating = tokio::spawn(async move {
            let mut turn = tokio::time::interval(supervise::PERIOD / 4);
            loop {
                turn.tick().await;
                beat.beat();
            }
        });

        let opened = tokio::task::spawn_blocking({
            let (control, back) = (control.clone(), Arc::clone(&self.orders_back));
            let (site, board, now) = (Arc::clone(&self.site), self.board.clone(), self.clock.now());
            move || give_orders(store, &site, now, &board, &control, &back)
        });
        let supervisor = Supervisor::new(
            beats,
            self.board.clone(),
            self.handle.clone(),
            self.site.plc.name.clone(),
            self.directory.clone(),
            Arc::clone(&self.plans),
        );
        let ended = supervisor.run(opened, panel, panel_stands).await;

        systemd::stopping("asking for no more parcels");
        tracing::info!("leaving: no more parcels are asked for");
        let _ = control.send(Control::Leave);
        tokio::time::sleep(LEAVE_GRACE).await;
        stop.send_replace(true);
        join(devices, "a device task").await;
        let _ = control.send(Control::Stop);
        let _ = tokio::task::spawn_blocking(move || line.join()).await;
        join(upstream, "an uplink task").await;
        beating.abort();
        ended
    }

    fn open_devices(
        &mut self,
        tasks: &mut JoinSet<()>,
        events: &Sender<Event>,
        commands: mpsc::Receiver<Command>,
        stopped: &watch::Receiver<bool>,
    ) {
        let (board, clock) = (&self.board, self.clock);
        let sink = || EventSink::new(events.clone());
        let (plc, acks) = (self.site.plc.clone(), self.acks.clone());
        tasks.spawn(sorter::run(plc, sink(), commands, acks, board.clone(), clock, stopped.clone()));
        for settings in &self.site.scanners {
            tasks.spawn(scanner::run(settings.clone(), sink(), board.clone(), clock, stopped.clone()));
        }
        for settings in &self.site.gates {
            tasks.spawn(gate::run(settings.clone(), sink(), board.clone(), clock, stopped.clone()));
        }
        for settings in &self.site.cameras {
            tasks.spawn(camera::run(settings.clone(), sink(), board.clone(), clock, stopped.clone()));
        }
    }

    fn open_uplink(
        &mut self,
        tasks: &mut JoinSet<()>,
        events: &Sender<Event>,
        status: &watch::Receiver<Arc<LineStatus>>,
        stopped: &watch::Receiver<bool>,
    ) -> Result<(watch::Receiver<UplinkStatus>, watch::Receiver<DownstreamStatus>), RunError> {
        let (settings, topics) = (&self.site.uplink, Topics::of(&self.site));
        let upstream = Upstream::new(&self.handle, &self.site.store.directory, self.events_durable.clone())?;
        let line = status.clone();
        let brief = Box::new(move || {
            let status = line.borrow();
            LineBrief {
                state: status.state.clone(),
                plan: status.plan.clone(),
                alarms: status.alarms.clone(),
            }
        });
        let (publisher, published) = Publisher::new(
            settings.clone(),
            topics.clone(),
            upstream,
            self.board.clone(),
            brief,
            stopped.clone(),
        );
        let publisher = publisher.with_anchors(Arc::new(Anchored(self.handle.anchors())));
        tasks.spawn(publisher.run());
        let offered = events.clone();
        let back = Arc::clone(&self.orders_back);
        // An order that comes before the register is back could claim a code of one that is not.
        let offer = Box::new(move |part| {
            if !back.load(Ordering::Acquire) {
                return Err(part);
            }
            let event = match part {
                Part::Orders(batch) => Event::Orders(batch),
                Part::Holds(batch) => Event::Holds(batch),
            };
            match offered.try_send(event) {
                Err(TrySendError::Full(Event::Orders(batch))) => Err(Part::Orders(batch)),
                Err(TrySendError::Full(Event::Holds(batch))) => Err(Part::Holds(batch)),
                // A core that has ended takes nothing more; the message is not answered and comes again.
                Ok(()) | Err(_) => Ok(()),
            }
        });
        let handle = self.handle.clone();
        let how_far = Box::new(move || Progress {
            durable: handle.durable(),
            waits: handle.waiting() > 0 || handle.status().pending > 0,
        });
        let (errands, errands_come) = mpsc::channel(ERRANDS);
        let notices = self.notices.1.take().unwrap_or_else(|| mpsc::channel(1).1);
        let (downstream, taken) = Downstream::new(
            settings.clone(),
            topics,
            downstream::Ends { offer, errands, notices, how_far },
            self.board.clone(),
            published.clone(),
            stopped.clone(),
        );
        let newest = crate::journal::staged_plans(&self.site.store.directory).pop();
        let version = newest.map(|plan| plan.version).filter(|version| *version != self.site.plan.version);
        downstream.show_staged(version);
        let (reader, site) = (self.handle.reader(), Arc::clone(&self.site));
        let work = Errands {
            plans: Arc::clone(&self.plans),
            store: self.site.store.directory.clone(),
            evidence: Arc::new(move |code| shown::answer(&reader, &site, code)),
            events: events.clone(),
            notices: self.notices.0.clone(),
        };
        // It ends with the client, which holds the other end.
        tasks.spawn(work.run(errands_come));
        tasks.spawn(downstream.run());
        Ok((published, taken))
    }
}

/// Hands the register of active orders to the line's thread, in parts, once the store is open.
fn give_orders(
    store: Store,
    site: &Site,
    now: Tick,
    board: &Board,
    control: &Sender<Control>,
    back: &AtomicBool,
) -> Result<(), OpeningError> {
    let opened = match store {
        Store::Open(opened) => opened,
        Store::Opening(opening) => Box::new(opening.wait()?),
    };
    for found in &opened.quarantined {
        tracing::error!(what = %found.what, why = %found.why, missing = ?found.missing, "quarantined");
    }
    let holds = opened.orders.holds().iter();
    let holds = holds.map(|entry| (entry.hold.clone(), known_orders::tick_of(entry.at_s, now))).collect();
    if control.send(Control::Holds(holds)).is_err() {
        return Ok(());
    }
    if control.send(Control::OrdersExpected(opened.orders.count())).is_err() {
        return Ok(());
    }
    let mut is_there = true;
    let given = known_orders::read(&opened.orders, &site.carriers, now, |portion| {
        is_there = control.send(Control::Orders(portion)).is_ok();
        is_there
    });
    if !is_there {
        return Ok(());
    }
    if let Some(error) = given.error {
        board.raise(Alarm {
            id: "orders-unreadable".to_owned(),
            severity: Severity::Critical,
            text: format!("Not every active order is known again: {error}."),
            remedy: "Check the disk, and have upstream send the active orders again.".to_owned(),
        });
    }
    let count = given.entries;
    // The thread has ended; so has the daemon.
    let _ = control.send(Control::OrdersLoaded(count));
    back.store(true, Ordering::Release);
    tracing::info!(epoch = opened.epoch, record = opened.last_seq, orders = count, "store open");
    Ok(())
}

/// Waits for tasks that have been told to stop, for a while.
async fn join(mut tasks: JoinSet<()>, what: &'static str) {
    let all = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(JOIN_GRACE, all).await.is_err() {
        tracing::warn!(task = what, "did not end in time and is cut off");
        tasks.abort_all();
    }
}
