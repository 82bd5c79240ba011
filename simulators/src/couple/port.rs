//! A scanner's serial port: a pty whose name stands behind a link at the configured path.
//!
//! A thread owns the master. Bytes go out at the pace of the baud rate. A port that nobody has open hears
//! nothing, as with a cable that ends nowhere. When whoever had it open leaves, the pty is made anew under
//! the same link: a killed reader leaves its exclusive mark on the old one.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use sortd::identify::Reading;
use sortd::line::Tick;
use sortd::site::ScannerDevice;
use sortd::watch::clock::Clock;
use sortd::wire::scanner::{Telegram, encode};

/// The port is looked at this often while nothing is sent.
const LOOK: Duration = Duration::from_millis(10);

/// Telegrams that may wait for a slow line; more are lost, as in a scanner's own buffer.
const TELEGRAMS_WAITING: usize = 64;

/// Heartbeat telegrams in the time after which the PC takes the scanner for dead.
const BEATS_IN_SILENCE: u32 = 3;

/// What a port has done.
#[derive(Debug, Default)]
pub struct PortCounts {
    /// Telegrams sent to someone.
    pub sent: AtomicU64,
    /// Telegrams that nobody could hear.
    pub unheard: AtomicU64,
    /// Telegrams kept back because it was too late for them.
    pub late: AtomicU64,
    /// Ptys made.
    pub made: AtomicU64,
}

enum Order {
    Say { readings: Vec<Reading>, by: Tick },
    Noise(Vec<u8>),
    Close(Duration),
    End,
}

/// A running port.
#[derive(Debug)]
pub struct Port {
    name: String,
    orders: SyncSender<Order>,
    counts: Arc<PortCounts>,
    thread: Option<JoinHandle<()>>,
}

impl Port {
    /// Makes the pty and its link.
    pub fn start(scanner: &ScannerDevice) -> std::io::Result<Port> {
        let counts = Arc::new(PortCounts::default());
        let (orders, received) = sync_channel(TELEGRAMS_WAITING);
        let mut line = Line {
            scanner: scanner.clone(),
            master: None,
            was_open: false,
            counts: Arc::clone(&counts),
            quiet: Duration::ZERO,
            clock: Clock::default(),
        };
        line.make()?;
        let thread = std::thread::Builder::new().name(format!("port-{}", scanner.name)).spawn(move || {
            line.run(&received);
        })?;
        Ok(Port { name: scanner.name.clone(), orders, counts, thread: Some(thread) })
    }

    /// Name of the scanner.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it has done.
    pub fn counts(&self) -> &PortCounts {
        &self.counts
    }

    /// The scanner has read this; nothing means it looked and read nothing. It begins to say so by then, or not
    /// at all.
    pub fn say(&self, readings: Vec<Reading>, by: Tick) {
        if self.orders.try_send(Order::Say { readings, by }).is_err() {
            self.counts.unheard.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// These bytes come down the line, whatever they are.
    pub fn noise(&self, bytes: Vec<u8>) {
        // A full queue means the thread is busy; it takes the order as soon as there is room.
        let _ = self.orders.send(Order::Noise(bytes));
    }

    /// The port hangs up, is gone for a while, and comes back under another name behind the same link.
    pub fn close(&self, pause: Duration) {
        // A full queue means the thread is busy; it takes the order as soon as there is room.
        let _ = self.orders.send(Order::Close(pause));
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Line {
    scanner: ScannerDevice,
    master: Option<File>,
    was_open: bool,
    counts: Arc<PortCounts>,
    quiet: Duration,
    clock: Clock,
}

impl Line {
    fn run(&mut self, orders: &Receiver<Order>) {
        loop {
            match orders.recv_timeout(LOOK) {
                Ok(Order::Say { by, .. }) if self.clock.now() > by => {
                    self.counts.late.fetch_add(1, Ordering::Relaxed);
                }
                Ok(Order::Say { readings, .. }) => self.say(readings),
                Ok(Order::Noise(bytes)) => {
                    self.transmit(&bytes);
                }
                Ok(Order::Close(pause)) => {
                    if !self.stay_away(pause, orders) {
                        break;
                    }
                }
                Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    self.look();
                    self.beat();
                }
            }
        }
        self.master = None;
        let _ = std::fs::remove_file(&self.scanner.port);
    }

    /// Hangs up for a while; what the scanner says meanwhile is lost. False where the port has to end.
    fn stay_away(&mut self, pause: Duration, orders: &Receiver<Order>) -> bool {
        self.master = None;
        let _ = std::fs::remove_file(&self.scanner.port);
        let mut left = pause;
        while !left.is_zero() {
            std::thread::sleep(left.min(LOOK));
            left = left.saturating_sub(LOOK);
            for order in orders.try_iter() {
                match order {
                    Order::Say { .. } | Order::Noise(_) => {
                        self.counts.unheard.fetch_add(1, Ordering::Relaxed);
                    }
                    Order::Close(longer) => left = left.max(longer),
                    Order::End => return false,
                }
            }
        }
        self.make_again();
        true
    }

    /// A pty that was open and is not any more is replaced.
    fn look(&mut self) {
        let open = self.is_open();
        if !open && self.was_open {
            self.make_again();
        } else {
            self.was_open = open;
        }
    }

    fn beat(&mut self) {
        let silence = Duration::from_millis(u64::from(self.scanner.silence_ms));
        self.quiet += LOOK;
        if self.scanner.framing.heartbeat.is_some()
            && !silence.is_zero()
            && self.quiet >= silence / BEATS_IN_SILENCE
        {
            self.quiet = Duration::ZERO;
            self.send(&Telegram::Heartbeat);
        }
    }

    fn say(&mut self, mut readings: Vec<Reading>) {
        if readings.is_empty() {
            if self.scanner.framing.no_read.is_some() {
                self.send(&Telegram::NoRead);
            }
        } else if self.scanner.framing.separator.is_some() {
            self.send(&Telegram::Codes(readings));
        } else {
            for reading in readings.drain(..) {
                self.send(&Telegram::Codes(vec![reading]));
            }
        }
    }

    fn send(&mut self, telegram: &Telegram) {
        let bytes = match encode(&self.scanner.framing, telegram) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::warn!(scanner = %self.scanner.name, %error, "a telegram cannot be sent");
                return;
            }
        };
        if self.transmit(&bytes) {
            self.counts.sent.fetch_add(1, Ordering::Relaxed);
        } else {
            self.counts.unheard.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sends bytes at the pace of the line; false where nobody hears them.
    fn transmit(&mut self, bytes: &[u8]) -> bool {
        if !self.is_open() {
            return false;
        }
        // Ten bits a byte; what fits into a millisecond goes out together.
        let a_ms = usize::try_from(self.scanner.baud / 10_000).unwrap_or(1).max(1);
        let byte_us = 10_000_000 / u64::from(self.scanner.baud.max(1));
        let Some(master) = self.master.as_mut() else { return false };
        for chunk in bytes.chunks(a_ms) {
            if master.write_all(chunk).is_err() {
                return false;
            }
            std::thread::sleep(Duration::from_micros(byte_us * u64::try_from(chunk.len()).unwrap_or(1)));
        }
        true
    }

    /// Someone has the other side open: a pty that nobody has open shows a hang-up.
    fn is_open(&self) -> bool {
        let Some(master) = &self.master else { return false };
        let mut asked = [PollFd::new(master, PollFlags::OUT)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut asked, Some(&at_once)).is_ok() && !asked[0].revents().contains(PollFlags::HUP)
    }

    fn make_again(&mut self) {
        self.was_open = false;
        self.master = None;
        if let Err(error) = self.make() {
            tracing::error!(scanner = %self.scanner.name, %error, "no pty; the port stays away");
        }
    }

    fn make(&mut self) -> std::io::Result<()> {
        let (master, name) = pty()?;
        link(&name, &self.scanner.port)?;
        self.master = Some(File::from(master));
        self.counts.made.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// A raw pty: its master, which does not block, and the other side's path.
fn pty() -> std::io::Result<(OwnedFd, PathBuf)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let name = PathBuf::from(name.to_string_lossy().into_owned());
    // Opened and closed once, so that the master shows a hang-up until someone opens it.
    let other = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    let mut settings = tcgetattr(&other)?;
    settings.make_raw();
    tcsetattr(other.as_fd(), OptionalActions::Now, &settings)?;
    drop(other);
    fcntl_setfl(&master, OFlags::NONBLOCK)?;
    Ok((master, name))
}

/// Puts the link in place in one step, so that nobody finds half of it.
fn link(name: &Path, at: &Path) -> std::io::Result<()> {
    if let Some(directory) = at.parent() {
        std::fs::create_dir_all(directory)?;
    }
    if std::fs::symlink_metadata(at).is_ok_and(|found| !found.is_symlink()) {
        return Err(std::io::Error::new(
            std::io::ErrorKind::AlreadyExists,
            format!("{}: expected no file or an old link, found something else", at.display()),
        ));
    }
    let mut new = at.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let _ = std::fs::remove_file(&new);
    std::os::unix::fs::symlink(name, &new)?;
    std::fs::rename(&new, at)
}
