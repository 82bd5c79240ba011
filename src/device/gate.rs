//! An RFID gate: one channel of a Turck TBEN-S2-2RFID over Modbus TCP.
//!
//! The head collects tags by itself (continuous mode) in a FIFO; this task empties it.
//!
//! ```text
//!  connect ──► idle ──► continuous mode ──► poll the head of the image ──┐
//!                                            ▲      │ bytes waiting      │ nothing: next poll
//!                                            │      ▼                    │
//!                                            │   0x2011, loop counter + 1
//!                                            │      │ same counter, not BUSY
//!                                            │      ▼
//!                                            └── fragment 0, 1, … until the length is read
//! ```
//!
//! # Invariants
//!
//! 1. An answer counts only with the loop counter of its question; an old one is never read twice.
//! 2. A tag is stamped at the midpoint of the poll that showed its bytes waiting, and came after the last poll
//!    whose bytes were all taken.
//! 3. The same tag is one arrival while it stays: it is reported again only after it was away for `same_tag_ms`
//!    (`gate/seen.rs`).
//! 4. After any time-out or error the connection is dropped and continuous mode started anew ([`Bus`]).
//! 5. Nothing waits for the core: reads go into a bounded spool (`device/spool.rs`).

mod seen;
#[cfg(test)]
mod tests;

use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;

use super::bus::{Bus, BusError};
use super::sink::EventSink;
use super::spool::{CoreGone, SPOOL_MOST, Spool};
use super::{pause, reopen};
use crate::identify::Reading;
use crate::line::Tick;
use crate::line::event::{Event, Heard};
use crate::site::GateDevice;
use crate::watch::clock::Clock;
use crate::watch::{Board, Ne107};
use crate::wire::plc::Span;
use crate::wire::tben::{
    CONTINUOUS, FRAGMENT_BYTES, GET_DATA, GROUP_EPCS, IDLE, INPUT_HEAD_WORDS, INPUT_WORDS, Input, Output,
    TbenError, input_address, output_address, parse_blocks,
};
use seen::Seen;

/// Looks for an answer at most; a head answers within a few polls.
const ANSWER_LOOKS: u32 = 50;
/// Fragments of one answer at most: 2 KiB, over a hundred tags.
const FRAGMENTS_MOST: u8 = 16;

/// Runs one gate until told to stop, or until the core has ended.
pub async fn run(
    settings: GateDevice,
    sink: EventSink,
    board: Board,
    clock: Clock,
    stop: watch::Receiver<bool>,
) {
    let spool = Spool::new(&settings.name, sink, board.clone(), SPOOL_MOST);
    let seen = Seen::new(settings.same_tag_ms);
    let bus = Bus::new(settings.address.clone(), settings.unit, settings.timeout_ms);
    let health = Health::Unknown;
    let mut gate = Gate { settings, bus, spool, seen, health, board, clock, stop, loop_counter: 0 };
    gate.run().await;
}

/// Why a session ended.
#[derive(Debug, Error)]
enum End {
    #[error("told to stop")]
    Stop,
    #[error("the core has ended")]
    CoreGone,
    #[error("no answer to loop counter {counter} within {looks} looks")]
    NoAnswer { counter: u8, looks: u32 },
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Image(#[from] TbenError),
}

impl End {
    fn kind(&self) -> &'static str {
        match self {
            End::Stop | End::CoreGone => "stopped",
            End::NoAnswer { .. } => "no_answer",
            End::Bus(error) => error.kind(),
            End::Image(_) => "bad_image",
        }
    }
}

impl From<CoreGone> for End {
    fn from(CoreGone: CoreGone) -> End {
        End::CoreGone
    }
}

/// What the head says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Unknown,
    Good,
    Detuned,
    Parameter,
    HeadError,
    HeadMissing,
}

impl Health {
    fn of(input: &Input) -> Health {
        if input.head_missing {
            Health::HeadMissing
        } else if input.head_error {
            Health::HeadError
        } else if input.parameter_unsupported {
            Health::Parameter
        } else if input.detuned {
            Health::Detuned
        } else {
            Health::Good
        }
    }

    /// State, reason, remedy, and whether it still reads tags.
    fn words(self) -> (Ne107, &'static str, &'static str, bool) {
        match self {
            Health::Unknown => (Ne107::Check, "starting", "", false),
            Health::Good => (Ne107::Good, "reading", "", true),
            Health::Detuned => (Ne107::OutOfSpecification, "the antenna is detuned", "", true),
            Health::Parameter => {
                (Ne107::OutOfSpecification, "the head does not support a parameter", "", true)
            }
            Health::HeadError => {
                (Ne107::Failure, "the head reports a fault", "Power the read/write head off and on.", false)
            }
            Health::HeadMissing => {
                (Ne107::Failure, "no head answers", "Check the cable of the read/write head.", false)
            }
        }
    }
}

struct Gate {
    settings: GateDevice,
    bus: Bus,
    spool: Spool,
    seen: Seen,
    health: Health,
    board: Board,
    clock: Clock,
    stop: watch::Receiver<bool>,
    loop_counter: u8,
}

impl Gate {
    async fn run(&mut self) {
        let mut backoff = reopen();
        loop {
            let polled = self.clock.now();
            let end = match self.session().await {
                Ok(never) => match never {},
                Err(End::Stop | End::CoreGone) => return,
                Err(end) => end,
            };
            self.bus.close();
            self.health = Health::Unknown;
            self.board.fault(&self.settings.name, end.kind(), &end);
            let remedy = "Check the gate's power and network cable; its tags are not read until it is back.";
            self.board.device(&self.settings.name, Ne107::Failure, &end.to_string(), remedy);
            if self.spool.state(false).is_err() {
                return;
            }
            if self.clock.now().ms_since(polled) > STEADY_MS {
                backoff.reset();
            }
            let wait = backoff.next(&mut rand::rng());
            if pause(&mut self.stop, wait).await || self.spool.flush().is_err() {
                return;
            }
        }
    }

    async fn session(&mut self) -> Result<std::convert::Infallible, End> {
        self.stop_if_told()?;
        self.bus.connect().await?;
        let (first, ..) = self.look(INPUT_HEAD_WORDS).await?;
        self.loop_counter = first.loop_counter;
        // Continuous mode starts when the command changes to it.
        self.command(Output { command: IDLE, ..Output::default() }).await?;
        let mut taken_at = self.clock.now();
        self.command(Output { command: CONTINUOUS, start: GROUP_EPCS, ..Output::default() }).await?;
        let mut told_error = false;
        loop {
            self.stop_if_told()?;
            let (input, asked, at) = self.look(INPUT_HEAD_WORDS).await?;
            self.board.good(&self.settings.name);
            self.tell_health(&input)?;
            if input.error && !told_error {
                self.device_error(&input);
            }
            told_error = input.error;
            if input.bytes_waiting > 0 {
                let (epcs, all) = self.fetch(input.bytes_waiting).await?;
                self.report(epcs, taken_at, at)?;
                if all {
                    taken_at = asked;
                }
            } else {
                taken_at = asked;
            }
            self.spool.flush()?;
            pause(&mut self.stop, Duration::from_millis(self.settings.poll_ms.max(1).into())).await;
        }
    }

    fn stop_if_told(&self) -> Result<(), End> {
        if *self.stop.borrow() { Err(End::Stop) } else { Ok(()) }
    }

    /// Reads the channel's image, or its head only, with the beginning and the midpoint of the request.
    async fn look(&mut self, count: u16) -> Result<(Input, Tick, Tick), End> {
        let asked = self.clock.now();
        let address = input_address(self.settings.channel);
        let words = self.bus.read(Span { address, count }).await?;
        let round_trip = self.clock.now().0.saturating_sub(asked.0);
        Ok((Input::decode(&words)?, asked, Tick(asked.0 + round_trip / 2)))
    }

    async fn command(&mut self, output: Output) -> Result<(), End> {
        Ok(self.bus.write(output_address(self.settings.channel), &output.encode()).await?)
    }

    /// Takes what waits in the FIFO, and says whether that was all.
    async fn fetch(&mut self, waiting: u16) -> Result<(Vec<Vec<u8>>, bool), End> {
        self.loop_counter = self.loop_counter.wrapping_add(1);
        let mut question = Output {
            command: GET_DATA,
            loop_counter: self.loop_counter,
            start: GROUP_EPCS,
            length: waiting,
            ..Output::default()
        };
        let mut epcs = Vec::new();
        let (mut read, mut all) = (0, false);
        for fragment in 0..FRAGMENTS_MOST {
            question.read_fragment = fragment;
            self.command(question).await?;
            let input = self.answer(&question).await?;
            if input.error {
                self.device_error(&input);
                break;
            }
            let said = usize::from(input.length);
            let left = said.saturating_sub(read).min(FRAGMENT_BYTES);
            let data =
                input.data.get(..left).ok_or(TbenError::DataLength { said: left, held: input.data.len() })?;
            let blocks = parse_blocks(data);
            epcs.extend(blocks.epcs);
            if let Some(fault) = blocks.fault {
                self.board.fault(&self.settings.name, "bad_block", &fault);
                break;
            }
            read += blocks.consumed;
            all = read >= said;
            if blocks.consumed == 0 || all {
                break;
            }
        }
        Ok((epcs, all))
    }

    async fn answer(&mut self, question: &Output) -> Result<Input, End> {
        for _ in 0..ANSWER_LOOKS {
            let (input, ..) = self.look(INPUT_WORDS).await?;
            if input.answers(question.command, question.loop_counter)
                && input.read_fragment == question.read_fragment
            {
                return Ok(input);
            }
            self.stop_if_told()?;
            tokio::time::sleep(Duration::from_millis(ANSWER_PAUSE_MS)).await;
        }
        Err(End::NoAnswer { counter: question.loop_counter, looks: ANSWER_LOOKS })
    }

    fn report(&mut self, epcs: Vec<Vec<u8>>, since: Tick, at: Tick) -> Result<(), CoreGone> {
        let mut readings = Vec::new();
        for epc in epcs {
            if self.seen.arrives(&epc, at) {
                readings.push(Reading::Tag { epc });
            }
        }
        for _ in 0..self.seen.take_evicted() {
            self.board.fault(&self.settings.name, "tag_table_full", &"the tag seen longest ago is forgotten");
        }
        if readings.is_empty() {
            return Ok(());
        }
        let reader = self.settings.reader;
        self.spool.push(Event::Heard(Heard { reader, at, since, readings, rssi_dbm: None }))
    }

    fn device_error(&self, input: &Input) {
        let detail = format!("command {:#06x}: error code {:#06x}", input.response, input.error_code);
        self.board.fault(&self.settings.name, "device_error", &detail);
    }

    fn tell_health(&mut self, input: &Input) -> Result<(), CoreGone> {
        let health = Health::of(input);
        if health == self.health {
            return Ok(());
        }
        self.health = health;
        let (state, reason, remedy, reads) = health.words();
        if health != Health::Good {
            self.board.fault(&self.settings.name, "head", &reason);
        }
        self.board.device(&self.settings.name, state, reason, remedy);
        self.spool.state(reads)
    }
}

/// A session that lasted so long was a good one: the next wait is a first one again.
const STEADY_MS: u64 = 5_000;
/// Between two looks for an answer.
const ANSWER_PAUSE_MS: u64 = 2;
