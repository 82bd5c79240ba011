//! The sorter PLC: one task that owns its Modbus connection.
//!
//! It carries events from the PLC's ring to the core, commands from the core to the PLC's table, and the journal's
//! word of what is durable to the PLC's register 2. It decides nothing.
//!
//! # Words of the field
//!
//! *Attached*: connected, state read, and the core has been told. *Numbering*: the sequences between two resyncs of
//! one PLC epoch. *Held*: an event that must reach the core and found its channel full.
//!
//! # Invariants
//!
//! 1. A modbus call is never cancelled but by its own time-out, and no call follows a failed one on the same
//!    connection ([`Bus`]).
//! 2. Ring records reach the core in the order of their sequences, each once in the life of this task. Records
//!    that were overwritten are counted and told (`PlcEventsMissed`), never passed over in silence.
//! 3. Nothing is read from the ring while an event is held: the ring is the buffer, and what is not read is not
//!    acknowledged.
//! 4. Register 2 never says more than the journal has said is durable (`ledger.rs`).
//! 5. Between `PlcAttached` and `PlcDetached` the core's commands are carried out; outside they are dropped and
//!    counted, because the core decides again from what the next `PlcAttached` tells it.
//! 6. After `PlcAttached` command sequences go on from the furthest of `taken` and the table; in a new epoch or
//!    after a resync both are 0 and the first command is 1.
//!
//! # A connection
//!
//! ```text
//!            ┌────────── back-off with jitter ◄─────────────────┐ any bus error, heartbeat stands still
//!            ▼                                                  │
//!  connect ──► status, registers 0–3, command table ──► attached ──► poll, commands, ring, registers 0–3
//!                   │ the numberings disagree              ▲ │ PLC wants it, or the core
//!                   ▼                                      │ ▼
//!               handshake ◄───────────────────────────── quiet: read no further, let the journal finish
//! ```
//!
//! # Resync: the rule
//!
//! A resync begins a new numbering, so that everything that is unacknowledged comes again under new sequences.
//!
//! 1. *Quiet.* No further record is read until the journal has made durable what was handed on, and register 2 says
//!    so; at most [`QUIET_MOST_MS`]. In the ordinary case nothing is unacknowledged then but what was never read,
//!    so nothing can be delivered twice and no acknowledgement of the old numbering is still to come.
//! 2. *Handshake.* The core is told `PlcDetached`. Register 2 = 0 and register 3 = echo + 1 go out in one write.
//!    The PLC echoes when it has numbered anew. Then the table is read and the core is told `PlcAttached`.
//! 3. *If the journal did not finish in time*, records stay in the ledger under their old names. When the PLC
//!    offers them again they are recognised by their contents and not handed on again; the journal's words for
//!    them still come in old names and mean the front-most record of that name.
//! 4. A connection that breaks in the middle: the next one compares register 3 with its echo, and the echo with
//!    the one it knew. Different from register 3: not finished, asked for anew. Different from the one known: a
//!    new numbering, as in 3.
//!
//! # A restart of this program
//!
//! The ring is read from register 2 on. What the journal had made durable beyond it is left out if `acks` says so
//! at that time and register 2 is not 0 (0 may mean a new numbering, in which the journal's last word is void).

mod attach;
mod commands;
mod ledger;
mod poll;
mod ring;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, watch};

use super::bus::{Bus, BusError};
use super::sink::{EventSink, Refused};
use super::{pause, reopen, stopped};
use crate::line::Tick;
use crate::line::event::{Command, EncoderPoll, Event};
use crate::site::PlcDevice;
use crate::watch::clock::Clock;
use crate::watch::{Board, Ne107};
use crate::wire::plc::{ChuteBits, PcBlock, PlcFlags, RequestBits, StatusError};
use commands::Commands;
use ledger::Ledger;
use ring::Ring;

/// Longest wait for the journal before a resync. A journal stall of five seconds is the longest that is planned
/// for, and a PLC that wants a resync stops induction meanwhile.
pub const QUIET_MOST_MS: u64 = 5_000;
/// Longest wait for the echo of a resync; a PLC scan is a few milliseconds.
const ECHO_MOST_MS: u64 = 2_000;
/// Least time between two resyncs: a PLC that keeps wanting them is faulty, and must not keep the line detached.
const RESYNC_GAP_MS: u64 = 5_000;
/// Wait before held events are offered again.
const HELD_RETRY_MS: u64 = 1;
/// Records read and not acknowledged; beyond it the ring is left alone. Far more than a ring holds, far less than
/// half the circle of sequences.
const UNACKNOWLEDGED_MOST: usize = 16_384;

/// The last ring record the journal has made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlcAck {
    /// PLC epoch.
    pub epoch: u16,
    /// Its sequence, as it was delivered.
    pub seq: u16,
}

/// Runs the PLC until told to stop, or until the core has ended.
pub async fn run(
    settings: PlcDevice,
    sink: EventSink,
    commands: mpsc::Receiver<Command>,
    acks: watch::Receiver<Option<PlcAck>>,
    board: Board,
    clock: Clock,
    mut stop: watch::Receiver<bool>,
) {
    let mut sorter = Sorter::new(settings, sink, commands, acks, board, clock);
    let mut backoff = reopen();
    loop {
        let end = sorter.session(&mut stop).await;
        let attached_once = std::mem::take(&mut sorter.attached_once);
        if let End::Stop = end {
            break sorter.leave().await;
        }
        sorter.detach();
        match end {
            End::Stop | End::CoreGone => break,
            End::NewEpoch => continue,
            end => {
                sorter.bus.close();
                sorter.report(&end);
            }
        }
        if attached_once {
            backoff.reset();
        }
        let wait = backoff.next(&mut rand::rng());
        if sorter.wait(&mut stop, wait).await {
            break;
        }
    }
}

/// Why a session ended.
#[derive(Debug, Error)]
enum End {
    #[error("told to stop")]
    Stop,
    #[error("the core has ended")]
    CoreGone,
    #[error("the PLC has restarted")]
    NewEpoch,
    #[error("the PLC's heartbeat stands still for {ms} ms")]
    Stale { ms: u64 },
    #[error("the PLC has not echoed the resync for {ms} ms")]
    NoEcho { ms: u64 },
    #[error("after a resync the head is {head}, expected at most {most}")]
    BadResync { head: u16, most: u16 },
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Status(#[from] StatusError),
}

impl End {
    fn kind(&self) -> &'static str {
        match self {
            End::Stop | End::CoreGone => "stopped",
            End::NewEpoch => "new_epoch",
            End::Stale { .. } => "heartbeat_stale",
            End::NoEcho { .. } | End::BadResync { .. } => "resync_failed",
            End::Bus(error) => error.kind(),
            End::Status(_) => "bad_status",
        }
    }
}

impl From<CoreGone> for End {
    fn from(CoreGone: CoreGone) -> End {
        End::CoreGone
    }
}

/// The core has ended.
#[derive(Debug, Clone, Copy)]
struct CoreGone;

/// Where a resync stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resync {
    /// None.
    None,
    /// The journal finishes what it has.
    Quiet { until: Tick },
    /// Register 3 has been written.
    Asked { counter: u16, until: Tick },
}

/// What this task knows of the PLC beyond one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    epoch: u16,
    /// Register 103: names the numbering.
    echo: u16,
}

/// What was told the core last, so that only changes are told.
#[derive(Debug, Default)]
struct Told {
    flags: PlcFlags,
    taken: u16,
    bits: Option<ChuteBits>,
}

/// Records that will never come. A PLC whose ring is full either overwrites its oldest record, which the reader
/// sees in the ring, or drops the newest, which only register 105 says; one that does both says the same loss twice.
#[derive(Debug, Default)]
struct Missing {
    by_ring: u64,
    by_register: u64,
    told: u64,
}

impl Missing {
    /// Those the core does not know of; it is taken to be told.
    fn untold(&mut self) -> u32 {
        let missing = self.by_ring.max(self.by_register);
        let untold = missing.saturating_sub(self.told);
        self.told += untold;
        u32::try_from(untold).unwrap_or(u32::MAX)
    }
}

struct Sorter {
    settings: PlcDevice,
    name: String,
    sink: EventSink,
    inbox: mpsc::Receiver<Command>,
    inbox_open: bool,
    acks: watch::Receiver<Option<PlcAck>>,
    board: Board,
    clock: Clock,
    bus: Bus,
    known: Option<Known>,
    ring: Ring,
    ledger: Ledger,
    /// Head at the end of the last resync: records up to it may have been handed on before.
    again_until: Option<u16>,
    commands: Commands,
    held: VecDeque<Event>,
    told: Told,
    attached: bool,
    attached_once: bool,
    resync: Resync,
    resync_asked: bool,
    resync_last: Option<Tick>,
    block: PcBlock,
    request: Option<RequestBits>,
    block_written: Option<(Tick, PcBlock)>,
    heartbeat: Option<(u16, Tick)>,
    /// The last session ended because the heartbeat stood still at this value.
    stale_at: Option<u16>,
    unknown_flags: u16,
    events_lost: Option<u16>,
    missing: Missing,
    polls: u64,
}

impl Sorter {
    fn new(
        settings: PlcDevice,
        sink: EventSink,
        inbox: mpsc::Receiver<Command>,
        acks: watch::Receiver<Option<PlcAck>>,
        board: Board,
        clock: Clock,
    ) -> Sorter {
        let bus = Bus::new(settings.address.clone(), settings.unit, settings.timeout_ms);
        let name = settings.name.clone();
        Sorter {
            settings,
            name,
            sink,
            inbox,
            inbox_open: true,
            acks,
            board,
            clock,
            bus,
            known: None,
            ring: Ring::default(),
            ledger: Ledger::default(),
            again_until: None,
            commands: Commands::default(),
            held: VecDeque::new(),
            told: Told::default(),
            attached: false,
            attached_once: false,
            resync: Resync::None,
            resync_asked: false,
            resync_last: None,
            block: PcBlock::default(),
            request: None,
            block_written: None,
            heartbeat: None,
            stale_at: None,
            unknown_flags: 0,
            events_lost: None,
            missing: Missing::default(),
            polls: 0,
        }
    }

    /// One connection, from opening to its end.
    async fn session(&mut self, stop: &mut watch::Receiver<bool>) -> End {
        match self.session_inner(stop).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn session_inner(
        &mut self,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<std::convert::Infallible, End> {
        // A core that does not listen is not told of ever more attachments.
        loop {
            self.flush()?;
            if *stop.borrow() {
                return Err(End::Stop);
            }
            if self.held.is_empty() {
                break;
            }
            pause(stop, Duration::from_millis(HELD_RETRY_MS)).await;
        }
        self.bus.connect().await?;
        self.attach().await?;
        let period_us = u64::from(self.settings.poll_ms.max(1)) * 1_000;
        let mut next_poll = self.clock.now();
        loop {
            self.flush()?;
            self.wait_for_work(stop, next_poll).await;
            if *stop.borrow() {
                return Err(End::Stop);
            }
            self.take_commands();
            self.write_commands().await?;
            let now = self.clock.now();
            if now >= next_poll {
                let more = self.poll().await?;
                // Where the ring holds more than one poll may read, the next poll follows at once.
                next_poll = if more { now } else { Tick((next_poll.0 + period_us).max(now.0)) };
            }
            self.write_block(false).await?;
        }
    }

    /// Sleeps until the next poll, a command, or the order to stop. Only waiting is cancelled here, never a call.
    async fn wait_for_work(&mut self, stop: &mut watch::Receiver<bool>, next_poll: Tick) {
        let mut until = next_poll.0.saturating_sub(self.clock.now().0);
        if !self.held.is_empty() {
            until = until.min(HELD_RETRY_MS * 1_000);
        }
        if until == 0 {
            return;
        }
        let commands_welcome = self.inbox_open && self.commands.has_room();
        tokio::select! {
            biased;
            () = stopped(stop) => {}
            command = self.inbox.recv(), if commands_welcome => match command {
                Some(command) => self.take(command),
                None => self.inbox_open = false,
            },
            () = tokio::time::sleep(Duration::from_micros(until)) => {}
        }
    }

    /// Takes up every command that has come, as far as there is room.
    fn take_commands(&mut self) {
        while self.commands.has_room() {
            let Ok(command) = self.inbox.try_recv() else { break };
            self.take(command);
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Divert(slot) if self.attached => {
                if let Err(refused) = self.commands.push(slot, &self.settings.map) {
                    self.fault("command_refused", &refused);
                }
            }
            Command::Divert(slot) => {
                let detail = format!("command {} for track {}: not attached", slot.seq, slot.track);
                self.fault("command_while_detached", &detail);
            }
            Command::Request(request) => {
                self.request = Some(RequestBits {
                    stop: request.stop,
                    run: request.run,
                    purge: request.purge,
                    induction_permitted: request.induction_permitted,
                });
            }
            Command::Resync => self.resync_asked = true,
        }
    }

    async fn write_commands(&mut self) -> Result<(), End> {
        if self.attached && self.commands.dirty() && !matches!(self.resync, Resync::Asked { .. }) {
            let map = &self.settings.map;
            let words = crate::wire::plc::encode_commands(self.commands.table(), map);
            self.bus.write(map.commands, &words).await?;
            self.commands.written();
        }
        Ok(())
    }

    /// Writes registers 0–3 when the heartbeat is due or something in them changed.
    async fn write_block(&mut self, now_at_once: bool) -> Result<(), End> {
        let now = self.clock.now();
        let due = match self.block_written {
            Some((at, _)) => now.ms_since(at) >= u64::from(self.settings.heartbeat_ms),
            None => true,
        };
        if due {
            self.block.heartbeat = self.block.heartbeat.wrapping_add(1);
        }
        if let Some(request) = self.request {
            self.block.request = request;
        }
        self.block.acknowledged = match self.resync {
            Resync::Asked { .. } => 0,
            Resync::None | Resync::Quiet { .. } => self.ledger.acknowledged(),
        };
        if let Resync::Asked { counter, .. } = self.resync {
            self.block.resync = counter;
        }
        let changed = self.block_written.is_none_or(|(_, written)| written != self.block);
        if due || changed || now_at_once {
            for (address, words) in self.block.writes(&self.settings.map) {
                self.bus.write(address, &words).await?;
            }
            let at = if due { now } else { self.block_written.map_or(now, |(at, _)| at) };
            self.block_written = Some((at, self.block));
        }
        Ok(())
    }

    /// Hands an event on; what does not fit is held, and everything after it.
    fn tell(&mut self, event: Event) {
        self.held.push_back(event);
    }

    /// Offers what is held.
    fn flush(&mut self) -> Result<(), CoreGone> {
        while let Some(event) = self.held.pop_front() {
            match self.sink.offer(event) {
                Ok(()) => {}
                Err(Refused::Full(event)) => {
                    self.held.push_front(*event);
                    break;
                }
                Err(Refused::Closed) => return Err(CoreGone),
            }
        }
        Ok(())
    }

    /// Offers an encoder poll; one that does not fit is let go, the next comes within a poll.
    fn tell_encoder(&mut self, poll: EncoderPoll) -> Result<(), CoreGone> {
        if self.held.is_empty() {
            match self.sink.offer(Event::Encoder(poll)) {
                Ok(()) => return Ok(()),
                Err(Refused::Full(_)) => {}
                Err(Refused::Closed) => return Err(CoreGone),
            }
        }
        self.fault("encoder_dropped", &"the core's channel is full");
        Ok(())
    }

    /// The core's commands no longer reach the PLC, and it is told so.
    fn unattach(&mut self) {
        if std::mem::take(&mut self.attached) {
            self.tell(Event::PlcDetached);
        }
        for _ in 0..self.commands.drop_waiting() {
            self.fault("command_while_detached", &"it still waited for a slot");
        }
    }

    fn detach(&mut self) {
        self.unattach();
        self.block_written = None;
        self.heartbeat = None;
        if let Resync::Quiet { .. } = self.resync {
            self.resync_asked = true;
        }
        self.resync = Resync::None;
    }

    /// Waits between two connections; held events still find their way, commands are answered for.
    async fn wait(&mut self, stop: &mut watch::Receiver<bool>, wait: Duration) -> bool {
        let until = self.clock.now().0 + u64::try_from(wait.as_micros()).unwrap_or(u64::MAX / 2);
        loop {
            if self.flush().is_err() {
                return true;
            }
            self.take_commands();
            let left = until.saturating_sub(self.clock.now().0);
            if left == 0 {
                return false;
            }
            let step = left.min(WAIT_STEP_US);
            if pause(stop, Duration::from_micros(step)).await {
                return true;
            }
        }
    }

    /// Told to stop: asks for no more parcels, says what is durable, and goes.
    async fn leave(&mut self) {
        if self.attached {
            self.take_commands();
            self.take_acks();
            let mut request = self.request.unwrap_or(self.block.request);
            request.induction_permitted = false;
            self.request = Some(request);
            let last = async {
                self.write_commands().await?;
                self.write_block(true).await
            };
            if let Err(end) = last.await {
                self.fault(end.kind(), &end);
            }
        }
        self.bus.close();
        self.unattach();
        let _ = self.flush();
    }

    fn report(&self, end: &End) {
        self.fault(end.kind(), end);
        let remedy = "Check the PLC's power, its network cable and its run state; parcels go to the \
                      exception chute until it is back.";
        self.board.device(&self.name, Ne107::Failure, &end.to_string(), remedy);
    }

    fn fault(&self, kind: &str, detail: &dyn std::fmt::Display) {
        self.board.fault(&self.name, kind, detail);
    }
}

/// While waiting for the next connection, commands and held events are looked after this often.
const WAIT_STEP_US: u64 = 20_000;
