//! A whole line in one directory: hardware, broker, cloud, and the real `sortd` beside them.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::broker::{Broker, BrokerError};
use crate::cloud::EventsFileError;
use crate::couple::real_time::{Devices, DevicesError};
use crate::day::{DayError, load_site};
use crate::process::{self, Daemon, ProcessError};
use crate::upstream::Upstream;
use crate::world::{Scenario, World};

/// Which broker stands between the line and the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum BrokerKind {
    /// In this process; needs nothing installed.
    Embedded,
    /// A real mosquitto.
    Mosquitto,
}

/// Why the line cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum RigError {
    /// A file.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A configuration file of the line to be copied.
    #[error("{path}: {fault}", path = path.display())]
    Configuration {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        fault: String,
    },
    /// The configuration.
    #[error(transparent)]
    Site(#[from] DayError),
    /// The hardware.
    #[error(transparent)]
    Devices(#[from] DevicesError),
    /// The broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The cloud.
    #[error(transparent)]
    Cloud(#[from] EventsFileError),
    /// The daemon.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// What the line is made of.
#[derive(Debug, Clone)]
pub struct RigOptions {
    /// Configuration that is copied.
    pub config: PathBuf,
    /// Workload.
    pub scenario: Scenario,
    /// Seed of the world.
    pub seed: u64,
    /// Broker.
    pub broker: BrokerKind,
    /// Every event, one document a line.
    pub events_file: Option<PathBuf>,
}

/// The line around `sortd`.
pub struct Rig {
    /// Everything is in here; goes away with the rig unless kept.
    pub directory: tempfile::TempDir,
    /// Hardware.
    pub devices: Devices,
    /// Broker.
    pub broker: Broker,
    /// Upstream.
    pub upstream: Upstream,
    /// Address of the status page.
    pub page: String,
    program: PathBuf,
}

impl Rig {
    /// Sets everything up but the daemon. Must run inside a multi-threaded tokio runtime.
    pub async fn start(options: RigOptions, program: PathBuf) -> Result<Rig, RigError> {
        let directory = tempfile::Builder::new()
            .prefix("sortd-")
            .tempdir()
            .map_err(|source| RigError::File { path: std::env::temp_dir(), source })?;
        copy(&options.config, directory.path())?;
        let broker = match options.broker {
            BrokerKind::Embedded => Broker::start()?,
            BrokerKind::Mosquitto => Broker::mosquitto()?,
        };
        let (site, ranking) = load_site(directory.path())?;
        let mut scenario = options.scenario;
        if scenario.ranking.is_empty() {
            scenario.ranking = ranking;
        }
        let mut free = (*site).clone();
        free.plc.address = "127.0.0.1:0".to_owned();
        for gate in &mut free.gates {
            gate.address = "127.0.0.1:0".to_owned();
        }
        let world = World::new(&Arc::new(free), scenario, options.seed);
        let mut devices = Devices::start(world).await?;
        let page = format!("127.0.0.1:{}", free_port(directory.path())?);
        configure(directory.path(), &devices, broker.port, &page)?;
        let orders = devices.take_orders();
        let upstream = Upstream::start(&site, broker.port, orders, options.events_file)?;
        Ok(Rig { directory, devices, broker, upstream, page, program })
    }

    /// Starts the daemon.
    pub fn daemon(&self) -> Result<Daemon, RigError> {
        let directory = self.directory.path();
        let (socket, log) = (directory.join("sortd.sock"), directory.join("sortd.log"));
        Ok(Daemon::start(&self.program, directory, &socket, &log)?)
    }

    /// Starts the daemon; what it would tell systemd goes to the datagram socket `notify`.
    pub fn daemon_notifying(&self, notify: &Path) -> Result<Daemon, RigError> {
        let directory = self.directory.path();
        let (socket, log) = (directory.join("sortd.sock"), directory.join("sortd.log"));
        Ok(Daemon::start_notifying(&self.program, directory, &socket, &log, Some(notify))?)
    }
}

/// Builds the daemon as this program was built.
pub fn build() -> Result<PathBuf, RigError> {
    Ok(process::build()?)
}

fn copy(from: &Path, to: &Path) -> Result<(), RigError> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(from);
    let from = if !from.exists() && beside.exists() { &beside } else { from };
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| RigError::File { path, source }
    };
    for entry in std::fs::read_dir(from).map_err(failed(from))? {
        let entry = entry.map_err(failed(from))?;
        let path = entry.path();
        if path.is_file() {
            std::fs::copy(&path, to.join(entry.file_name())).map_err(failed(&path))?;
        }
    }
    Ok(())
}

/// Puts the addresses that are really listened on into the copy.
fn configure(directory: &Path, devices: &Devices, broker: u16, page: &str) -> Result<(), RigError> {
    edit(&directory.join("sortd.toml"), |table| {
        set(table, &["uplink", "broker"], format!("mqtt://127.0.0.1:{broker}"));
        set(table, &["panel", "http"], page.to_owned());
    })?;
    edit(&directory.join("devices.toml"), |table| {
        set(table, &["plc", "address"], devices.site().plc.address.clone());
        if let Some(toml::Value::Array(gates)) = table.get_mut("gate") {
            for (gate, real) in gates.iter_mut().zip(&devices.site().gates) {
                if let toml::Value::Table(gate) = gate {
                    gate.insert("address".to_owned(), real.address.clone().into());
                }
            }
        }
    })
}

fn edit(path: &Path, change: impl FnOnce(&mut toml::Table)) -> Result<(), RigError> {
    let file = |source| RigError::File { path: path.to_owned(), source };
    let fault = |fault: String| RigError::Configuration { path: path.to_owned(), fault };
    let text = std::fs::read_to_string(path).map_err(file)?;
    let mut table: toml::Table = text.parse().map_err(|error: toml::de::Error| fault(error.to_string()))?;
    change(&mut table);
    let text = toml::to_string(&table).map_err(|error| fault(error.to_string()))?;
    std::fs::write(path, text).map_err(file)
}

fn set(table: &mut toml::Table, path: &[&str; 2], value: String) {
    let section = table.entry(path[0]).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    if let toml::Value::Table(section) = section {
        section.insert(path[1].to_owned(), value.into());
    }
}

/// A port nobody listens on now; the page is printed before the daemon that serves it stands.
fn free_port(path: &Path) -> Result<u16, RigError> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.map(|address| address.port()).map_err(|source| RigError::File { path: path.to_owned(), source })
}
