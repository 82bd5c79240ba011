//! A real mosquitto whose configuration is the test's, line by line.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::{free_port, listening, program};

/// The broker; ends when dropped.
pub struct Mosquitto {
    /// Port of the listener that is tested.
    pub port: u16,
    /// Port of a plain listener for the cloud, on which nothing is ever wrong.
    pub cloud: u16,
    program: PathBuf,
    directory: tempfile::TempDir,
    child: Option<Child>,
}

impl Mosquitto {
    /// Not yet running. `None` where it is not installed.
    ///
    /// # Panics
    /// Without a directory for it.
    pub fn new() -> Option<Mosquitto> {
        let program = program("mosquitto")?;
        let directory = tempfile::Builder::new().prefix("mosquitto-").tempdir().expect("a directory");
        Some(Mosquitto { port: free_port(), cloud: free_port(), program, directory, child: None })
    }

    /// Where its files are; the test's own may lie there too.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Ends it in order and starts it again. `global` stands before the listeners, `listener` under the tested one.
    ///
    /// # Panics
    /// Where it does not listen.
    pub async fn run(&mut self, global: &str, listener: &str) {
        self.stop();
        // Started by root it would become another user, who may not write here.
        let user = if rustix::process::geteuid().is_root() { "user root\n" } else { "" };
        // Not 0, no limit: with that mosquitto 2.0.11 hangs up on a publish that its rules forbid, which hides what
        // is to be seen here.
        let text = format!(
            "{user}per_listener_settings false\nallow_anonymous true\npersistence true\npersistence_location {place}/\n\
             max_queued_messages 100000\nlog_dest file {place}/log\nlog_type all\n{global}\nlistener {cloud} 127.0.0.1\nlistener {port} 127.0.0.1\n\
             {listener}\n",
            place = self.directory.path().display(),
            cloud = self.cloud,
            port = self.port
        );
        std::fs::write(self.directory.path().join("conf"), text).expect("it can be written");
        self.start().await;
    }

    /// Starts it as it was last configured.
    ///
    /// # Panics
    /// Where it does not listen.
    pub async fn start(&mut self) {
        let child = Command::new(&self.program)
            .arg("-c")
            .arg(self.directory.path().join("conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto can be started");
        self.child = Some(child);
        listening(self.cloud).await;
        listening(self.port).await;
    }

    /// SIGTERM: it stores its sessions.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // One that has ended already needs no signal.
            let _ = kill_process(Pid::from_child(&child), Signal::TERM);
            let _ = child.wait();
        }
    }

    /// kill -9, and its store with it.
    ///
    /// # Panics
    /// Where the store cannot be removed.
    pub fn kill_and_forget(&mut self) {
        if let Some(mut child) = self.child.take() {
            // One that has ended already needs no signal.
            let _ = child.kill();
            let _ = child.wait();
        }
        match std::fs::remove_file(self.directory.path().join("mosquitto.db")) {
            Err(why) if why.kind() != std::io::ErrorKind::NotFound => panic!("the store stays: {why}"),
            Ok(()) | Err(_) => {}
        }
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.stop();
    }
}
