//! One supervised task a bus: serial port, RFID gate, sorter PLC.
//!
//! A device is opened, read, and closed by exactly one task; when it fails the task closes it, says so on the
//! [board](crate::watch::Board) and to the core, waits with jitter and opens it again, for ever. Tasks share
//! nothing but the channel into the core, so a dead bus never delays another.
//!
//! # What happens when the core's channel is full
//!
//! | device | policy |
//! |---|---|
//! | PLC | reads no further; its ring keeps the events, which are not acknowledged |
//! | scanner, gate | a bounded spool per port, oldest read dropped and counted (`spool_full`) |
//! | encoder polls | dropped and counted (`encoder_dropped`) |
//! | camera | looks no further; the files stay where they are |

pub mod backoff;
pub mod bus;
pub mod camera;
pub mod gate;
pub mod scanner;
pub mod sink;
pub mod sorter;
mod spool;
#[cfg(test)]
mod testing;

use std::time::Duration;

use tokio::sync::watch;

use backoff::Backoff;

/// Shortest wait before a failed device is tried again.
const REOPEN_LEAST: Duration = Duration::from_millis(50);
/// Longest wait: a device that comes back is in use again within this.
const REOPEN_MOST: Duration = Duration::from_secs(2);

fn reopen() -> Backoff {
    Backoff::new(REOPEN_LEAST, REOPEN_MOST)
}

/// Waits, but not beyond the order to stop; says whether that order has come.
async fn pause(stop: &mut watch::Receiver<bool>, wait: Duration) -> bool {
    if !*stop.borrow() {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stopped(stop) => {}
        }
    }
    *stop.borrow()
}

/// Resolves once the order to stop is given; a dropped sender is one.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    while !*stop.borrow_and_update() {
        if stop.changed().await.is_err() {
            return;
        }
    }
}
