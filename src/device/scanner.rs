//! A barcode scanner on a serial port.
//!
//! # Invariants
//!
//! 1. The port is opened exclusively and closed *before* the wait for the next attempt: an adapter that comes back
//!    while its old name is still held open comes back under another name.
//! 2. A read of 0 bytes is a port that is gone; it would be for ever.
//! 3. What the port held before it was opened was read from parcels that have passed: it is counted and thrown
//!    away, and so is the rest of a telegram it began with.
//! 4. A frame is stamped at its first byte, see below.
//! 5. Nothing waits for the core: reads go into a bounded spool (`device/spool.rs`).
//!
//! # The stamp
//!
//! The line is asynchronous at `baud`, ten bits a byte (start, eight data, stop). When a read returns n bytes at
//! `now`, the last of them had just ended, so the first bit of the i-th of them (from 0) was sent (n − i) bytes
//! earlier: `now − (n − i) × 10 / baud`. That is an estimate from above: an adapter that collects bytes before it
//! hands them on makes the stamp late by as much; the reader's configured
//! delay, least to most, has to cover what an adapter collects. A byte is never stamped before the read that did not
//! bring it.
//!
//! How late the machine was is measured, not configured: the port is looked at every few milliseconds, and a byte
//! that was not there at one look has come after it. So a frame carries two stamps, the second from the last look
//! that found the port empty; a process that stood still gives wide intervals, and a read that may belong to two
//! parcels is nobody's.

mod port;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio_serial::SerialStream;

use super::sink::EventSink;
use super::spool::{CoreGone, SPOOL_MOST, Spool};
use super::{pause, reopen, stopped};
use crate::line::Tick;
use crate::line::event::{Event, Heard};
use crate::site::ScannerDevice;
use crate::watch::clock::Clock;
use crate::watch::{Board, Ne107};
use crate::wire::scanner::{Decoder, Frame, ScannerFault, Telegram};
use port::PortError;

/// Bits on the wire a byte: start, eight data, stop.
const BITS_A_BYTE: u64 = 10;
/// A pause in the middle of a telegram after which the rest belongs to another. Ten times what a USB adapter
/// collects (16 ms), and far less than the time between two parcels' telegrams.
const PAUSE_MOST_MS: u64 = 160;
/// Wait before spooled reads are offered again, where the port is closed.
const SPOOL_RETRY_MS: u64 = 5;
/// Bytes a read.
const CHUNK: usize = 512;
/// Between two looks at a silent port: at 2.5 m/s the belt goes 12 mm, a tenth of the least gap.
const LOOK_MS: u64 = 5;

/// Runs one scanner until told to stop, or until the core has ended.
pub async fn run(
    settings: ScannerDevice,
    sink: EventSink,
    board: Board,
    clock: Clock,
    stop: watch::Receiver<bool>,
) {
    let spool = Spool::new(&settings.name, sink, board.clone(), SPOOL_MOST);
    let mut scanner = Scanner { settings, spool, board, clock, stop };
    // The only other end is the order to stop.
    let _: Result<(), CoreGone> = scanner.run().await;
}

struct Scanner {
    settings: ScannerDevice,
    spool: Spool,
    board: Board,
    clock: Clock,
    stop: watch::Receiver<bool>,
}

/// When a byte's first bit was sent: between these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    since: Tick,
    at: Tick,
}

impl Stamp {
    /// Of a byte that a read brought at `now`, when so many (itself included) had been sent since: the port was
    /// last seen empty at `empty_at`, and the read before had returned at `heard_at`.
    fn of(bytes: usize, baud: u32, empty_at: Tick, heard_at: Tick, now: Tick) -> Stamp {
        let on_the_wire = |bytes: usize| {
            let bits = u64::try_from(bytes).unwrap_or(u64::MAX / 1_000_000_000) * BITS_A_BYTE;
            bits * 1_000_000 / u64::from(baud.max(1))
        };
        let before = |end: Tick, bytes| end.0.saturating_sub(on_the_wire(bytes));
        let since = before(empty_at, bytes);
        // One may have been on its way already when the last read returned.
        let at = before(now, bytes).max(before(heard_at, 1)).max(since);
        Stamp { since: Tick(since), at: Tick(at) }
    }
}

/// Why a port is closed.
enum Closed {
    Stop,
    Port(PortError),
}

impl Scanner {
    async fn run(&mut self) -> Result<(), CoreGone> {
        let mut backoff = reopen();
        loop {
            let error = match port::open(&self.settings) {
                Ok(port) => {
                    // The session owns the port: it is closed when this returns.
                    match self.session(port, &mut backoff).await? {
                        Closed::Stop => return Ok(()),
                        Closed::Port(error) => error,
                    }
                }
                Err(error) => error,
            };
            self.down(&error)?;
            let until = self.clock.now().0 + micros(backoff.next(&mut rand::rng()));
            loop {
                let left = until.saturating_sub(self.clock.now().0);
                if left == 0 {
                    break;
                }
                let step = if self.spool.is_empty() { left } else { left.min(SPOOL_RETRY_MS * 1_000) };
                if pause(&mut self.stop, Duration::from_micros(step)).await {
                    return Ok(());
                }
                self.spool.flush()?;
            }
        }
    }

    async fn session(
        &mut self,
        mut port: SerialStream,
        backoff: &mut super::backoff::Backoff,
    ) -> Result<Closed, CoreGone> {
        let mut decoder: Decoder<Stamp> = Decoder::new(self.settings.framing.clone());
        if let Err(error) = self.drain(&mut port, &mut decoder) {
            return Ok(Closed::Port(error));
        }
        let watched = self.settings.framing.heartbeat.is_some() && self.settings.silence_ms > 0;
        if !watched {
            // Nothing but the port itself can be asked whether the scanner is there.
            self.up()?;
            backoff.reset();
        }
        let mut heard_at = self.clock.now();
        let mut empty_at = heard_at;
        let mut buffer = [0_u8; CHUNK];
        let mut frames = Vec::new();
        loop {
            if *self.stop.borrow() {
                return Ok(Closed::Stop);
            }
            let asked = self.clock.now();
            match port::waiting(&port) {
                Ok(0) => empty_at = asked,
                Ok(_) => {}
                Err(error) => return Ok(Closed::Port(error)),
            }
            let read = tokio::select! {
                biased;
                read = port.read(&mut buffer) => Some(read),
                () = stopped(&mut self.stop) => None,
                () = tokio::time::sleep(Duration::from_millis(LOOK_MS)) => None,
            };
            // Not how long nothing was read, but how long nothing was there.
            let silent = empty_at.ms_since(heard_at);
            if silent > PAUSE_MOST_MS
                && let Some(fault) = decoder.abandon()
            {
                self.fault(&fault);
            }
            match read {
                Some(Ok(0)) => return Ok(Closed::Port(PortError::Gone)),
                Some(Err(source)) => return Ok(Closed::Port(PortError::Read(source))),
                Some(Ok(count)) => {
                    let now = self.clock.now();
                    for (place, byte) in buffer[..count].iter().enumerate() {
                        let stamp = Stamp::of(count - place, self.settings.baud, empty_at, heard_at, now);
                        decoder.byte(*byte, stamp, &mut frames);
                    }
                    heard_at = now;
                    self.up()?;
                    backoff.reset();
                    for frame in frames.drain(..) {
                        self.frame(frame)?;
                    }
                }
                None => {
                    if watched && silent >= u64::from(self.settings.silence_ms) {
                        return Ok(Closed::Port(PortError::Silent { ms: silent }));
                    }
                }
            }
            self.spool.flush()?;
        }
    }

    /// Throws away what waited in the port.
    fn drain(&self, port: &mut SerialStream, decoder: &mut Decoder<Stamp>) -> Result<(), PortError> {
        let stale = port::stale_bytes(port)?;
        if !stale.is_empty() {
            let now = self.clock.now();
            decoder.push(&stale, Stamp { since: now, at: now });
            decoder.distrust();
            let detail = format!("{} bytes from before the port was opened are thrown away", stale.len());
            self.board.fault(&self.settings.name, "stale_bytes", &detail);
        }
        Ok(())
    }

    fn frame(&mut self, frame: Frame<Stamp>) -> Result<(), CoreGone> {
        let readings = match frame.what {
            Ok(Telegram::Heartbeat) => {
                self.board.good(&self.settings.name);
                return Ok(());
            }
            Ok(Telegram::NoRead) => Vec::new(),
            Ok(Telegram::Codes(readings)) => readings,
            Err(fault) => {
                self.fault(&fault);
                return Ok(());
            }
        };
        self.board.good(&self.settings.name);
        let (reader, Stamp { since, at }) = (self.settings.reader, frame.first);
        self.spool.push(Event::Heard(Heard { reader, at, since, readings, rssi_dbm: None }))
    }

    fn fault(&self, fault: &ScannerFault) {
        self.board.fault(&self.settings.name, fault.kind(), fault);
    }

    fn up(&mut self) -> Result<(), CoreGone> {
        if self.spool.told_up() {
            return Ok(());
        }
        self.board.device(&self.settings.name, Ne107::Good, "open", "");
        self.spool.state(true)
    }

    fn down(&mut self, error: &PortError) -> Result<(), CoreGone> {
        let name = &self.settings.name;
        self.board.fault(name, error.kind(), error);
        let remedy = "Check the scanner's power, its cable and the port name in devices.toml; its parcels end \
                      no_read until it is back.";
        self.board.device(name, Ne107::Failure, &error.to_string(), remedy);
        self.spool.state(false)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 2)
}
