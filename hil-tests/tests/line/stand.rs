//! The stand a line is tested on: hardware, broker, cloud, and the daemon that is started, killed and asked.
//!
//! Whoever waits here waits for a state or a count, with a bound that only a defect reaches; where it is reached,
//! the status, the cloud's findings and the end of the log are printed and everything is kept.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use simulators::process::Daemon;
use simulators::rig::{BrokerKind, Rig, RigOptions, build};
use simulators::world::Scenario;
use sortd::line::event::Asked;
use sortd::line::status::Sums;
use sortd::panel::StatusDocument;
use sortd::panel::client::Client;
use sortd::watch::Ne107;
use sortd::watch::clock::Clock;
use tokio::runtime::Runtime;

/// Longest wait for anything; reached only where something is wrong, or never comes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A belt with parcels that go round three times more needs this long to run empty, and then some.
const EMPTY_PATIENCE: Duration = Duration::from_secs(240);

/// Orders come this long before their parcels.
const ORDER_LEAD_S: f64 = 2.0;

/// How often things are looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Looks at the PLC's registers while a start is timed.
const CLOSE_LOOK: Duration = Duration::from_millis(2);

/// Lines of the daemon's log that are shown where a test fails.
const LOG_SHOWN: usize = 60;

/// The daemon's program, built once.
pub fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build().expect("the workspace builds")).clone()
}

/// How long a start took until the PLC saw it, from the process's beginning.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// The PLC is beaten for again: attached.
    pub attached_ms: u64,
    /// The PLC has taken the first command.
    pub commanded_ms: u64,
}

/// A line with its daemon.
pub struct Line {
    daemon: Option<Daemon>,
    /// Hardware, broker and cloud.
    pub rig: Rig,
    runtime: Runtime,
    clock: Clock,
    begun_us: u64,
    /// Ring records that a story has spoilt: the line misses those and no others.
    pub spoilt: u64,
}

impl Line {
    /// A line at 9,000 parcels an hour with the realistic faults, running.
    pub fn start(broker: BrokerKind, seed: u64) -> Line {
        let options = RigOptions {
            config: "config/demo".into(),
            scenario: Scenario { order_lead_s: ORDER_LEAD_S, ..Scenario::default() },
            seed,
            broker,
            events_file: None,
        };
        Line::start_on(options, |_| ())
    }

    /// Any line, running; `prepare` is called on its directory before the daemon starts there.
    pub fn start_on(options: RigOptions, prepare: impl FnOnce(&Path)) -> Line {
        let program = program();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let broker = options.broker;
        let rig = runtime.block_on(Rig::start(options, program)).expect("the rig stands");
        prepare(rig.directory.path());
        let clock = Clock::default();
        let mut line = Line { daemon: None, rig, runtime, clock, begun_us: clock.now().0, spoilt: 0 };
        println!("line with {broker:?} broker in {}", line.rig.directory.path().display());
        line.start_daemon();
        line.until("every device is good", |status| {
            status.devices.values().all(|device| device.state == Ne107::Good)
        });
        line.ask(Asked::LineStart).expect("the line may start");
        line.flow("the first parcels", 5);
        line
    }

    /// Starts the daemon; nothing is waited for.
    pub fn start_daemon(&mut self) {
        assert!(self.daemon.is_none(), "one daemon at a time");
        self.daemon = Some(self.rig.daemon().expect("sortd starts"));
    }

    /// The same; what it would tell systemd goes to the datagram socket `notify`.
    #[allow(dead_code, reason = "the durability rigs share this stand, and only they watch the watchdog")]
    pub fn start_daemon_notifying(&mut self, notify: &Path) {
        assert!(self.daemon.is_none(), "one daemon at a time");
        self.daemon = Some(self.rig.daemon_notifying(notify).expect("sortd starts"));
    }

    /// Starts the daemon on a line that has run, and times it by what the PLC sees.
    pub fn start_timed(&mut self) -> Start {
        let beats = self.rig.devices.site().plc.map.pc_heartbeat;
        let look = |line: &Line| {
            line.rig.devices.with_world(|world| {
                let known = world.plc().table().iter().map(|slot| slot.seq).collect::<Vec<u16>>();
                (world.read_registers(beats, 1), world.plc().taken(), known)
            })
        };
        let (beat, taken, known) = look(self);
        let begun = self.clock.now();
        self.start_daemon();
        let mut attached = None;
        loop {
            let (beat_now, taken_now, _) = look(self);
            let ms = self.clock.now().ms_since(begun);
            if attached.is_none() && beat_now != beat {
                attached = Some(ms);
            }
            if let Some(attached_ms) = attached
                && taken_now != taken
                && !known.contains(&taken_now)
            {
                return Start { attached_ms, commanded_ms: ms };
            }
            if let Some(status) = self.daemon().ended() {
                self.fail(&format!("sortd ended by itself after its start: {status}"));
            }
            if Duration::from_millis(ms) > PATIENCE {
                self.fail("the PLC never saw a command after the start");
            }
            std::thread::sleep(CLOSE_LOOK);
        }
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.daemon.take().expect("a daemon runs").kill();
    }

    /// SIGHUP: the configuration is read again.
    #[allow(dead_code, reason = "not every rig reloads")]
    pub fn reload(&mut self) {
        self.daemon().hang_up();
    }

    /// SIGTERM, and waits for a good end.
    pub fn terminate(&mut self) {
        let ended = self.daemon.take().expect("a daemon runs").terminate();
        if ended.and_then(|status| status.code()) != Some(0) {
            self.fail(&format!("expected exit code 0 after SIGTERM, came {ended:?}"));
        }
    }

    fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().expect("a daemon runs")
    }

    /// The socket's other commands.
    pub fn client(&self) -> Client {
        Client::new(&self.rig.directory.path().join("sortd.sock"))
    }

    /// `sortd --config … ARGUMENTS`.
    pub fn command(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(program());
        command.arg("--config").arg(self.rig.directory.path()).args(arguments);
        command.output().expect("sortd can be run")
    }

    /// Asks as an operator; the refusal in words.
    pub fn ask(&mut self, what: Asked) -> Result<String, String> {
        self.daemon().ask(what).map_err(|error| error.to_string())
    }

    /// The status, as soon as the daemon answers.
    pub fn status(&mut self) -> StatusDocument {
        self.until("an answer", |_| true)
    }

    /// Waits until the status is as wanted.
    pub fn until(&mut self, what: &str, wanted: impl Fn(&StatusDocument) -> bool) -> StatusDocument {
        self.until_all(what, PATIENCE, |_, status| wanted(status))
    }

    /// Waits until everything is as wanted.
    pub fn until_all(
        &mut self,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&Rig, &StatusDocument) -> bool,
    ) -> StatusDocument {
        let begun = self.clock.now();
        loop {
            if let Some(ended) = self.daemon().ended() {
                self.fail(&format!("waiting for {what}: sortd ended by itself with {ended}"));
            }
            if let Ok(status) = self.daemon().status()
                && wanted(&self.rig, &status)
            {
                return status;
            }
            if Duration::from_millis(self.clock.now().ms_since(begun)) > patience {
                self.fail(&format!("never came: {what}"));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until so many parcels more are inducted and one more is sorted: the line lives.
    pub fn flow(&mut self, what: &str, parcels: u64) -> StatusDocument {
        let before = self.status().line.sums;
        self.until(&format!("{what}: {parcels} parcels more"), |status| {
            status.line.sums.inducted >= before.inducted + parcels && status.line.sums.sorted > before.sorted
        })
    }

    /// Waits until an alarm stands.
    pub fn alarm(&mut self, id: &str) -> StatusDocument {
        self.until(&format!("alarm {id}"), |status| status.alarms.iter().any(|alarm| alarm.id == id))
    }

    /// Waits until an alarm is gone.
    pub fn no_alarm(&mut self, id: &str) -> StatusDocument {
        self.until(&format!("alarm {id} cleared"), |status| status.alarms.iter().all(|alarm| alarm.id != id))
    }

    /// Milliseconds of this line.
    pub fn now_ms(&self) -> u64 {
        self.clock.now().0.saturating_sub(self.begun_us) / 1_000
    }

    /// Runs what needs the runtime around it.
    pub fn within<T>(&self, work: impl FnOnce(&Rig) -> T) -> T {
        let _inside = self.runtime.enter();
        work(&self.rig)
    }

    /// Waits for something asynchronous.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Everything recorded so far comes out of the same core again: asked of the daemon, or read from its store.
    pub fn replay(&mut self, source: &[&str]) {
        let output = self.command(&[&["replay", "--json"], source].concat());
        let printed = String::from_utf8_lossy(&output.stdout);
        let count = |key: &str| {
            let document: serde_json::Value = serde_json::from_str(&printed).unwrap_or_default();
            document.get(key).and_then(serde_json::Value::as_u64)
        };
        println!(
            "{:>7} ms  replay {source:?}: {:?} records, {:?} facts, {:?} starts, {:?} snapshots, {:?} left out, {:?} \
             differences, {:?} in the state",
            self.now_ms(),
            count("records"),
            count("facts"),
            count("starts"),
            count("snapshots"),
            count("left_out"),
            count("differences"),
            count("state_differences")
        );
        let whole = output.status.code() == Some(0) && count("left_out") == Some(0);
        if !whole || count("facts").is_none_or(|facts| facts < 300) {
            let said = String::from_utf8_lossy(&output.stderr);
            let start: String = printed.chars().take(10_000).collect();
            self.fail(&format!(
                "a replay found differences, or not enough: {:?}\n{start}\n{said}",
                output.status
            ));
        }
    }

    /// Stops the stream of parcels, waits until PLC, `sortd` and cloud have heard the same, compares their books,
    /// and lets the stream flow again.
    pub fn books(&mut self, story: &str) {
        self.rig.devices.set_feeding(false);
        let status = self.agreed(story);
        self.compare(story, &status);
        self.rig.devices.set_feeding(true);
    }

    /// Waits until nothing is on the belt any more, and compares everything.
    pub fn run_empty(mut self) {
        self.rig.devices.set_feeding(false);
        self.until_all("an empty belt", EMPTY_PATIENCE, |_, status| status.line.sums.in_flight == 0);
        let status = self.agreed("an empty belt");
        self.compare("an empty belt", &status);
        let (sums, cloud) = (&status.line.sums, self.rig.upstream.cloud.report().events);
        let of = |kind: &str| cloud.by_kind.get(kind).copied().unwrap_or(0);
        let told = [
            ("inducted", of("inducted"), sums.inducted),
            ("sorted", of("sorted"), sums.sorted),
            ("lost", of("lost"), sums.lost),
            ("open", cloud.open, 0),
        ];
        for (what, cloud, line) in told {
            if cloud != line {
                self.fail(&format!("{what}: the cloud says {cloud}, the line {line}"));
            }
        }
        if cloud.exceptions != sums.exceptions {
            self.fail(&format!(
                "exceptions: the cloud says {:?}, the line {:?}",
                cloud.exceptions, sums.exceptions
            ));
        }
        self.replay(&[]);
        self.terminate();
        self.replay(&["--store", &self.rig.directory.path().join("store").display().to_string()]);
        println!(
            "{:>7} ms  the belt is empty, the cloud has every pass from its induction to its one end",
            self.now_ms()
        );
    }

    /// Waits until PLC, `sortd` and cloud have heard the same.
    pub fn agreed(&mut self, story: &str) -> StatusDocument {
        self.until_all(
            &format!("{story}: the books of PLC, sortd and cloud agree"),
            PATIENCE,
            |rig, status| {
                status.line.sums.inducted == rig.devices.truth().tracks
                    && last_event(status) == rig.upstream.cloud.report().events.distinct
            },
        )
    }

    fn compare(&mut self, story: &str, status: &StatusDocument) {
        let (truth, cloud) = (self.rig.devices.truth(), self.rig.upstream.cloud.report());
        let sums = &status.line.sums;
        let ended = ended(sums);
        println!(
            "{:>7} ms  {story}: inducted {} = sorted {} + exceptions {} + lost {} + in flight {}; PLC {}, mis-sorts {}; \
             events {} durable, {} at the cloud (+ {} repeated)",
            self.now_ms(),
            sums.inducted,
            sums.sorted,
            ended - sums.sorted - sums.lost,
            sums.lost,
            sums.in_flight,
            truth.tracks,
            truth.missorts,
            last_event(status),
            cloud.events.distinct,
            cloud.events.duplicates,
        );
        let missed = status.line.counters.get("plc_events_missed").copied().unwrap_or(0);
        let faults = [
            (
                sums.inducted != ended + sums.in_flight,
                "inducted is not sorted + exceptions + lost + in flight",
            ),
            (truth.missorts != 0, "a parcel lies in a wrong chute"),
            (sums.sorted > truth.right, "sortd says more sorted than lie in their chutes"),
            (!cloud.events.is_sound(), "the cloud found faults"),
            (cloud.events.epochs.len() != 1, "the cloud saw another store epoch"),
            (missed != self.spoilt, "events of the PLC were overwritten before they were read"),
            (self.rig.devices.with_world(|world| world.plc().ring().lost()) != 0, "the PLC's ring ran over"),
        ];
        for (wrong, text) in faults {
            if wrong {
                self.fail(&format!("{story}: {text}"));
            }
        }
    }

    /// Prints what there is to know, keeps the directory, and fails.
    pub fn fail(&mut self, why: &str) -> ! {
        let directory = self.rig.directory.path().to_owned();
        self.rig.directory.disable_cleanup(true);
        if let Some(Ok(status)) = self.daemon.as_ref().map(Daemon::status) {
            println!(
                "state {} speed {} sums {:?}\nalarms {:?}\ndevices {:?}\njournal {}\nuplink {}\ncounters {:?}",
                status.line.state,
                status.line.speed_mm_s,
                status.line.sums,
                status.alarms,
                status.devices,
                status.journal,
                status.uplink,
                status.line.counters
            );
            println!("in flight {:?}", status.line.passes);
        }
        println!("truth {:?}", self.rig.devices.truth());
        println!("cloud {:?}", self.rig.upstream.cloud.report());
        let log = std::fs::read_to_string(directory.join("sortd.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        for line in &lines[lines.len().saturating_sub(LOG_SHOWN)..] {
            println!("sortd: {line}");
        }
        panic!("{why}; everything is kept in {}", directory.display());
    }
}

/// Passes that have ended.
fn ended(sums: &Sums) -> u64 {
    sums.sorted + sums.exceptions.values().sum::<u64>() + sums.lost
}

/// Newest durable event.
fn last_event(status: &StatusDocument) -> u64 {
    status.journal.get("last_event").and_then(serde_json::Value::as_u64).unwrap_or(0)
}

/// A count of the uplink's status.
pub fn uplink_count(status: &StatusDocument, name: &str) -> u64 {
    status.uplink.get(name).and_then(serde_json::Value::as_u64).unwrap_or(0)
}

/// A count of a device's faults.
pub fn faults(status: &StatusDocument, device: &str, kind: &str) -> u64 {
    status.devices.get(device).and_then(|health| health.faults.get(kind)).copied().unwrap_or(0)
}
