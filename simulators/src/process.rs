//! The real `sortd` as a process of its own: built, started, killed, asked.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sortd::line::event::{Ask, Asked};
use sortd::panel::StatusDocument;
use sortd::panel::client::{Client, ClientError};

/// Time a daemon that was told to end is given before it is killed.
const END_PATIENCE: Duration = Duration::from_secs(20);

/// How often an end or a start is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// Why there is no process.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// Cargo could not be run.
    #[error("{cargo}: cannot be run to build sortd: {source}")]
    Cargo {
        /// Program.
        cargo: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It did not build.
    #[error("sortd did not build:\n{0}")]
    Build(String),
    /// It could not be started.
    #[error("{path}: cannot be started: {source}", path = path.display())]
    Start {
        /// Program.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It ended by itself.
    #[error("sortd ended by itself with {0}; its log says why")]
    Ended(ExitStatus),
}

/// Builds `sortd` with the profile of this program, and says where it is. Cargo's own build of the
/// workspace is used, so that nothing is compiled twice.
pub fn build() -> Result<PathBuf, ProcessError> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(&cargo);
    command.args(["build", "--quiet", "--message-format=json", "--bin", "sortd"]);
    // The same selection of packages as this program's own build, so that features agree.
    command.args(["--package", "sortd", "--package", "simulators"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).stdin(Stdio::null());
    // What cargo tells a test about its own package is not for this build: build scripts that look at it would run
    // again, here and in the next build outside, and half the workspace be compiled each time.
    for (name, _) in std::env::vars_os() {
        let of_a_package = name.to_str().is_some_and(|name| {
            ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
        });
        if of_a_package {
            command.env_remove(name);
        }
    }
    let output = command.output().map_err(|source| ProcessError::Cargo { cargo, source })?;
    let messages = String::from_utf8_lossy(&output.stdout);
    let built = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .next_back();
    match built {
        Some(path) if output.status.success() => Ok(path),
        _ => Err(ProcessError::Build(String::from_utf8_lossy(&output.stderr).into_owned())),
    }
}

/// A running daemon; ended when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    client: Client,
}

impl Daemon {
    /// Starts it with this configuration; its log goes to `log`, behind what stands there.
    pub fn start(program: &Path, config: &Path, socket: &Path, log: &Path) -> Result<Daemon, ProcessError> {
        Daemon::start_notifying(program, config, socket, log, None)
    }

    /// The same; what it would tell systemd goes to the datagram socket `notify`.
    pub fn start_notifying(
        program: &Path,
        config: &Path,
        socket: &Path,
        log: &Path,
        notify: Option<&Path>,
    ) -> Result<Daemon, ProcessError> {
        let failed = |source| ProcessError::Start { path: program.to_owned(), source };
        let log = std::fs::File::options().create(true).append(true).open(log).map_err(failed)?;
        let child = Command::new(program)
            .envs(notify.map(|notify| ("NOTIFY_SOCKET", notify)))
            .arg("--config")
            .arg(config)
            .arg("run")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // A group of its own: an interrupt from the terminal is for the caller, who ends it in good order.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        Ok(Daemon { child, client: Client::new(socket) })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its status. Blocks; not from within an asynchronous task.
    pub fn status(&self) -> Result<StatusDocument, ClientError> {
        self.client.status()
    }

    /// Asks as an operator.
    pub fn ask(&self, what: Asked) -> Result<String, ClientError> {
        let ask = Ask { by: "demo".to_owned(), what };
        self.client.ask(&ask).map(|receipt| receipt.said)
    }

    /// Waits until its status is as wanted, and gives that.
    pub fn wait_for(
        &mut self,
        patience: Duration,
        wanted: impl Fn(&StatusDocument) -> bool,
    ) -> Result<Option<StatusDocument>, ProcessError> {
        let mut left = patience;
        loop {
            if let Some(status) = self.ended() {
                return Err(ProcessError::Ended(status));
            }
            if let Ok(status) = self.status()
                && wanted(&status)
            {
                return Ok(Some(status));
            }
            if left.is_zero() {
                return Ok(None);
            }
            std::thread::sleep(LOOK);
            left = left.saturating_sub(LOOK);
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// kill -9, at once.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::HUP);
        }
    }

    /// SIGTERM, and its exit status; killed if it does not end in time.
    pub fn terminate(mut self) -> Option<ExitStatus> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)?;
        let _ = kill_process(pid, Signal::TERM);
        let mut left = END_PATIENCE;
        while !left.is_zero() {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            std::thread::sleep(LOOK);
            left = left.saturating_sub(LOOK);
        }
        None
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
