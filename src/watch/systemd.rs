//! What systemd is told: READY, RELOADING, STOPPING, WATCHDOG, a status line.

use std::time::Duration;

use sd_notify::NotifyState;

/// The service is up.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Not ready yet, for this reason, and not stuck: the next word comes within `patience`.
pub fn waiting(status: &str, patience: Duration) {
    let patience_us = u32::try_from(patience.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Status(status), NotifyState::ExtendTimeoutUsec(patience_us)]);
}

/// The configuration is being read again.
pub fn reloading() {
    let states = match NotifyState::monotonic_usec_now() {
        Ok(now) => vec![NotifyState::Reloading, now],
        Err(_) => vec![NotifyState::Reloading],
    };
    tell(&states);
}

/// The service is leaving.
pub fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Every loop has made progress.
pub fn watchdog() {
    tell(&[NotifyState::Watchdog]);
}

/// How often systemd wants to hear from us, if it does at all.
pub fn watchdog_period() -> Option<Duration> {
    let mut usec = 0;
    sd_notify::watchdog_enabled(false, &mut usec).then(|| Duration::from_micros(usec))
}

/// Outside systemd there is nobody to tell, and that is no fault.
fn tell(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::debug!(%error, "systemd could not be told");
    }
}
