//! `sim devices`: the hardware of a line only, for a `sortd` started by hand.
//!
//! It prints where everything is, and takes lines on standard input that break and mend things:
//!
//! ```text
//! cut plc 10s              drop the PLC's connections and refuse new ones for a while
//! cut gate NAME 5s         the same for an RFID gate
//! close scanner NAME 5s    a scanner's port hangs up and comes back
//! slow plc 200ms           each answer of the PLC waits (0ms switches it off)
//! restart plc              new epoch, tracks forgotten
//! belt stop | belt start   at the cabinet
//! e-stop | reset           the red button and its reset
//! jam on | jam off         something jams the belt, or is taken out and acknowledged
//! bag N                    the bag of chute N is exchanged
//! feed on | feed off       parcels come, or stop coming
//! truth | counts           what really happened; what the devices have done
//! broker off 60s           with --cloud: the broker is away for a while
//! cloud                    with --cloud: what the cloud has received and found
//! quit
//! ```

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sortd::site::{ChuteNo, Site};
use tokio::signal::unix::{SignalKind, signal};

use crate::broker::{Broker, BrokerError, Memory};
use crate::cloud::EventsFileError;
use crate::couple::real_time::{Devices, DevicesError};
use crate::day::{DayError, load_site};
use crate::upstream::{Upstream, broker_unless_there};
use crate::world::scenario::ScenarioError;
use crate::world::{Scenario, World};

/// What `sim devices` is asked.
#[derive(Debug, Clone, clap::Args)]
pub struct DevicesOptions {
    /// Configuration directory of the line.
    #[arg(long, value_name = "DIR", default_value = "config/demo")]
    pub config: PathBuf,
    /// Scenario file, TOML; without it the realistic workload.
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
    /// Everything that is drawn by lot follows from this.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Listens on free ports instead of the configured ones and prints them.
    #[arg(long)]
    pub free_ports: bool,
    /// Also the other side of the uplink: a broker at the configured port, unless one answers there, and a
    /// cloud that pushes the orders of the coming parcels and checks every event.
    #[arg(long)]
    pub cloud: bool,
}

/// Why the devices do not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration.
    #[error(transparent)]
    Site(#[from] DayError),
    /// The scenario.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The hardware.
    #[error(transparent)]
    Devices(#[from] DevicesError),
    /// The broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The cloud.
    #[error(transparent)]
    Cloud(#[from] EventsFileError),
    /// The end could not be waited for.
    #[error("no signals: {0}")]
    Signal(std::io::Error),
}

/// One line of standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Cut the PLC.
    CutPlc(Duration),
    /// Cut a gate.
    CutGate(String, Duration),
    /// Close a scanner's port.
    CloseScanner(String, Duration),
    /// Slow the PLC down.
    SlowPlc(Duration),
    /// Restart the PLC.
    RestartPlc,
    /// Run or stop the belt.
    Belt(bool),
    /// Press the emergency stop.
    EStop,
    /// Reset it.
    Reset,
    /// Jam the belt, or free it.
    Jam(bool),
    /// Exchange a bag.
    Bag(u16),
    /// Let parcels come, or not.
    Feed(bool),
    /// Print the truth.
    Truth,
    /// Print the counts.
    Counts,
    /// Take the broker away.
    BrokerOff(Duration),
    /// Print what the cloud found.
    Cloud,
    /// End.
    Quit,
}

/// A line that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}`: expected {known}", known = NotAControl::KNOWN)]
pub struct NotAControl(pub String);

impl NotAControl {
    /// What would have been understood.
    pub const KNOWN: &str = "cut plc 10s | cut gate NAME 5s | close scanner NAME 5s | slow plc 200ms | \
         restart plc | belt stop|start | e-stop | reset | jam on|off | bag N | feed on|off | truth | counts | \
         broker off 60s | cloud | quit";
}

impl FromStr for Control {
    type Err = NotAControl;

    fn from_str(line: &str) -> Result<Control, NotAControl> {
        let wrong = || NotAControl(line.trim().to_owned());
        let words: Vec<&str> = line.split_whitespace().collect();
        Ok(match words.as_slice() {
            ["cut", "plc", time] => Control::CutPlc(duration(time).ok_or_else(wrong)?),
            ["cut", "gate", name, time] => {
                Control::CutGate((*name).to_owned(), duration(time).ok_or_else(wrong)?)
            }
            ["close", "scanner", name, time] => {
                Control::CloseScanner((*name).to_owned(), duration(time).ok_or_else(wrong)?)
            }
            ["slow", "plc", time] => Control::SlowPlc(duration(time).ok_or_else(wrong)?),
            ["restart", "plc"] => Control::RestartPlc,
            ["belt", "stop"] => Control::Belt(false),
            ["belt", "start"] => Control::Belt(true),
            ["e-stop"] => Control::EStop,
            ["reset"] => Control::Reset,
            ["jam", "on"] => Control::Jam(true),
            ["jam", "off"] => Control::Jam(false),
            ["bag", chute] => Control::Bag(chute.parse().map_err(|_| wrong())?),
            ["feed", "on"] => Control::Feed(true),
            ["feed", "off"] => Control::Feed(false),
            ["truth"] => Control::Truth,
            ["counts"] => Control::Counts,
            ["broker", "off", time] => Control::BrokerOff(duration(time).ok_or_else(wrong)?),
            ["cloud"] => Control::Cloud,
            ["quit"] => Control::Quit,
            _ => return Err(wrong()),
        })
    }
}

/// `10s`, `500ms` or `2m`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u32 = number.parse().ok()?;
    let one = match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        _ => return None,
    };
    Some(one * number)
}

/// Does what a line says; gives what is to be printed. `None` ends it.
pub fn control(devices: &Devices, control: &Control) -> Option<String> {
    let done = "ok".to_owned();
    let said =
        |result: Result<(), DevicesError>| result.map_or_else(|error| error.to_string(), |()| "ok".into());
    Some(match control {
        Control::CutPlc(pause) => {
            devices.cut_plc(*pause);
            done
        }
        Control::CutGate(name, pause) => said(devices.cut_gate(name, *pause)),
        Control::CloseScanner(name, pause) => said(devices.close_scanner(name, *pause)),
        Control::SlowPlc(by) => {
            devices.slow_plc(*by);
            done
        }
        Control::RestartPlc => {
            devices.restart_plc();
            done
        }
        Control::Belt(run) => {
            if *run {
                devices.start_belt();
            } else {
                devices.stop_belt();
            }
            done
        }
        Control::EStop => {
            devices.press_e_stop();
            done
        }
        Control::Reset => {
            devices.reset_e_stop();
            done
        }
        Control::Jam(present) => {
            devices.set_jam(*present);
            if !*present {
                devices.acknowledge_jam();
            }
            done
        }
        Control::Bag(chute) => {
            devices.change_bag(ChuteNo(*chute));
            done
        }
        Control::Feed(on) => {
            devices.set_feeding(*on);
            done
        }
        Control::Truth => json(&devices.truth()),
        Control::Counts => json(&devices.counts()),
        Control::BrokerOff(_) | Control::Cloud => "there is no cloud here; start with --cloud".to_owned(),
        Control::Quit => return None,
    })
}

/// Sets the hardware up as configured.
pub async fn start(options: &DevicesOptions) -> Result<Devices, RunError> {
    let (site, ranking) = load_site(&options.config)?;
    let mut scenario = match &options.scenario {
        Some(path) => Scenario::read(path)?,
        None => Scenario::default(),
    };
    if scenario.ranking.is_empty() {
        scenario.ranking = ranking;
    }
    let site = if options.free_ports { on_free_ports(&site) } else { site };
    Ok(Devices::start(World::new(&site, scenario, options.seed)).await?)
}

/// The site with every Modbus device on a free loopback port.
pub fn on_free_ports(site: &Arc<Site>) -> Arc<Site> {
    let mut site = (**site).clone();
    "127.0.0.1:0".clone_into(&mut site.plc.address);
    for gate in &mut site.gates {
        "127.0.0.1:0".clone_into(&mut gate.address);
    }
    Arc::new(site)
}

/// Runs until `quit`, an interrupt or a termination; the end of standard input ends nothing.
pub async fn run(options: &DevicesOptions) -> Result<(), RunError> {
    let mut devices = start(options).await?;
    let mut other_side = None;
    if options.cloud {
        let port = devices.site().uplink.brokers[0].port;
        let broker = broker_unless_there(port)?;
        println!("broker 127.0.0.1:{port} {}", if broker.is_some() { "started" } else { "found" });
        let orders = devices.take_orders();
        let upstream = Upstream::start(devices.site(), port, orders, None)?;
        other_side = Some((Arc::new(Mutex::new(broker)), upstream));
    }
    println!("plc {}", devices.site().plc.address);
    for gate in &devices.site().gates {
        println!("gate {} {}", gate.name, gate.address);
    }
    for scanner in &devices.site().scanners {
        println!("scanner {} {}", scanner.name, scanner.port.display());
    }
    println!(
        "ready; parcels come while the belt runs. In another terminal: sortd --config {} run",
        options.config.display()
    );
    println!("here: {}", NotAControl::KNOWN);
    let mut lines = stdin_lines();
    let mut open = true;
    let mut terminated = signal(SignalKind::terminate()).map_err(RunError::Signal)?;
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            _ = terminated.recv() => return Ok(()),
            line = lines.recv(), if open => match line {
                Some(line) if line.trim().is_empty() => {}
                Some(line) => match (line.parse::<Control>(), &other_side) {
                    (Ok(Control::BrokerOff(pause)), Some((broker, _))) => println!("{}", take_away(broker, pause)),
                    (Ok(Control::Cloud), Some((_, upstream))) => println!("{}", json(&upstream.cloud.report())),
                    (Ok(order), _) => match control(&devices, &order) {
                        Some(said) => println!("{said}"),
                        None => return Ok(()),
                    },
                    (Err(error), _) => println!("{error}"),
                },
                None => open = false,
            },
        }
    }
}

/// Stops the broker for a while; one that was found here is not ours to stop.
fn take_away(broker: &Arc<Mutex<Option<Broker>>>, pause: Duration) -> String {
    let broker = Arc::clone(broker);
    if broker.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
        return "the broker was found here, not started; stop it yourself".to_owned();
    }
    std::thread::spawn(move || {
        let mut broker = broker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(broker) = broker.as_mut() {
            broker.stop();
            std::thread::sleep(pause);
            match broker.start_again(Memory::Kept) {
                Ok(()) => println!("broker is back"),
                Err(error) => println!("broker: {error}"),
            }
        }
    });
    format!("broker is away for {pause:?}")
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| error.to_string())
}

/// Lines of standard input, from a thread of their own: a read of it cannot be taken back, and must not hold
/// the end of the program up.
fn stdin_lines() -> tokio::sync::mpsc::Receiver<String> {
    let (sender, lines) = tokio::sync::mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood_or_answered_with_what_there_is() {
        assert_eq!("cut plc 10s".parse(), Ok(Control::CutPlc(Duration::from_secs(10))));
        assert_eq!(
            " close  scanner top 500ms ".parse(),
            Ok(Control::CloseScanner("top".to_owned(), Duration::from_millis(500)))
        );
        assert_eq!("bag 7".parse(), Ok(Control::Bag(7)));
        for wrong in ["", "cut plc", "cut plc ten", "bag x", "cut plc 99999999999s"] {
            let error = wrong.parse::<Control>().unwrap_err().to_string();
            assert!(error.contains("expected cut plc 10s"), "{error}");
        }
    }
}
