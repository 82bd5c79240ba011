//! The real `sortd` binary, and its uplink, against simulated hardware and programs from elsewhere.
//!
//! What the tests share: an uplink over a made-up journal ([`outbox`]), brokers to be broken ([`mosquitto`],
//! [`nats`], [`nasty`]), certificates good and bad ([`certificates`]), and a cloud that checks what it receives
//! ([`witness`]).

pub mod certificates;
pub mod mosquitto;
pub mod nasty;
pub mod nats;
pub mod outbox;
pub mod witness;

use std::path::PathBuf;
use std::time::Duration;

/// Longest wait for anything; reached only where something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program, if it is installed. Where it is not, says so; where everything must be there, fails.
///
/// # Panics
/// With `SORTD_TEST_ALL` set and no such program.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian puts servers where only root's path looks.
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        assert!(
            std::env::var_os("SORTD_TEST_ALL").is_none(),
            "SORTD_TEST_ALL is set, but there is no {name}"
        );
        println!("skipped: {name} is not installed (Debian: apt-get install {name})");
    }
    found
}

/// A loopback port nobody listens on.
///
/// # Panics
/// Where there is none.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("it is bound").port()
}

/// Waits until something listens on a loopback port.
///
/// # Panics
/// After [`PATIENCE`].
pub async fn listening(port: u16) {
    let up = async {
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, up).await.expect("it listens");
}
