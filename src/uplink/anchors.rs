//! `anchors`: signed checkpoints of the record, upstream.
//!
//! They go out beside the events on the publisher's connection, a few at a time, in the order of their
//! numbers, and have a cursor of their own: it moves over what the broker has acknowledged without a gap and
//! is stored. On a new connection everything after it is sent again, byte for byte the same; a receiver knows
//! a repetition by its number. What is published here is what `sortd schema anchors` describes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::flight::{Flight, Sent};
use super::outlet::Outlet;
use crate::journal::anchor::Anchor;
use crate::watch::Board;

/// Anchors on their way at once; the client has places for them beside the window of the events.
pub(super) const PLACES: u16 = 4;
/// Anchors read at a time.
const BATCH: usize = 64;
/// Least time between two stores of the cursor: what it lags is sent twice after a crash.
const STORE_EVERY: Duration = Duration::from_secs(1);
/// Pause after the journal could not be read or the cursor not stored.
const PAUSE: Duration = Duration::from_secs(5);
/// Name on the board.
const DEVICE: &str = "uplink";

/// The journal's anchors as the uplink sees them. All but [`Anchors::newest`] may block on the disk.
pub trait Anchors: Send + Sync + 'static {
    /// Number of the newest anchor that is on the disk; 0 before the first.
    fn newest(&self) -> u64;
    /// Anchors after this number, ascending, at most `max`.
    fn after(&self, number: u64, max: usize) -> Result<Vec<Anchor>, String>;
    /// The stored cursor: last acknowledged anchor; 0 before the first.
    fn acknowledged(&self) -> Result<u64, String>;
    /// Stores the cursor, durably.
    fn acknowledge(&self, number: u64) -> Result<(), String>;
}

/// The last anchor that upstream has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorBrief {
    /// Its number.
    pub number: u64,
    /// Record it speaks of.
    pub seq: u64,
    /// When it was made, RFC 3339.
    pub time: String,
    /// Short name of the key that signed it.
    pub key_id: String,
}

/// An anchor on its way.
#[derive(Debug, Clone)]
struct Waiting {
    brief: AnchorBrief,
    message: Bytes,
}

type Reading = JoinHandle<Result<(u64, Vec<Anchor>), String>>;

/// Publishes anchors; a part of the publisher.
pub(super) struct Outbox {
    anchors: Arc<dyn Anchors>,
    topic: String,
    /// Last acknowledged; `None` until the cursor is read.
    acked: Option<u64>,
    stored: u64,
    /// Last one that was read for this connection.
    read: u64,
    ready: VecDeque<Waiting>,
    in_flight: VecDeque<AnchorBrief>,
    /// The cursor as it stood when the reading began, and anchors behind what was read.
    reading: Option<Reading>,
    storing: Option<JoinHandle<Result<u64, String>>>,
    stored_at: Instant,
    not_before: Instant,
    last: Option<AnchorBrief>,
}

impl Outbox {
    pub fn new(anchors: Arc<dyn Anchors>, topic: String) -> Outbox {
        let now = Instant::now();
        Outbox {
            anchors,
            topic,
            acked: None,
            stored: 0,
            read: 0,
            ready: VecDeque::new(),
            in_flight: VecDeque::new(),
            reading: None,
            storing: None,
            stored_at: now,
            not_before: now,
            last: None,
        }
    }

    /// A new connection: what was not acknowledged goes out again.
    pub fn begin(&mut self) {
        self.ready.clear();
        self.in_flight.clear();
        self.reading = None;
        self.read = self.acked.unwrap_or(0);
    }

    /// Reads and publishes what may be, and stores the cursor; called now and then while connected.
    pub fn look(&mut self, outlet: &Outlet, flight: &mut Flight, board: &Board) {
        let now = Instant::now();
        self.take_read(board, now);
        self.take_stored(board, now);
        let fresh = self.acked.is_none() || self.anchors.newest() > self.read;
        if fresh && self.reading.is_none() && self.ready.is_empty() && now >= self.not_before {
            self.reading = Some(self.start_reading());
        }
        while self.in_flight.len() < usize::from(PLACES)
            && let Some(next) = self.ready.front()
        {
            if outlet.publish(&self.topic, false, next.message.clone()).is_err() {
                break;
            }
            flight.published(Sent::Anchor(next.brief.number));
            self.in_flight.extend(self.ready.pop_front().map(|next| next.brief));
        }
    }

    /// The broker has acknowledged every anchor up to this one.
    pub fn acked(&mut self, number: u64) {
        while let Some(brief) = self.in_flight.pop_front_if(|brief| brief.number <= number) {
            self.acked = Some(brief.number);
            self.last = Some(brief);
        }
    }

    /// The last acknowledged anchor, since this start.
    pub fn last(&self) -> Option<&AnchorBrief> {
        self.last.as_ref()
    }

    fn start_reading(&self) -> Reading {
        let (anchors, read, known) = (Arc::clone(&self.anchors), self.read, self.acked);
        tokio::task::spawn_blocking(move || {
            let from = match known {
                Some(_) => read,
                None => anchors.acknowledged()?,
            };
            Ok((from, anchors.after(from, BATCH)?))
        })
    }

    fn take_read(&mut self, board: &Board, now: Instant) {
        let Some(reading) = self.reading.take_if(|reading| reading.is_finished()) else { return };
        let Some(result) = reading.now_or_never() else { return };
        match result.unwrap_or_else(|why| Err(why.to_string())) {
            Ok((from, anchors)) => {
                if self.acked.is_none() {
                    (self.acked, self.stored, self.read) = (Some(from), from, from);
                }
                if anchors.is_empty() && self.anchors.newest() > self.read {
                    // Said to be there, and cannot be read: `sortd verify` says more.
                    self.not_before = now + PAUSE;
                }
                for anchor in anchors {
                    self.read = anchor.claim.number;
                    let document = anchor.document();
                    let message =
                        serde_json::to_vec(&document).expect("strings and integers always make JSON");
                    let brief = AnchorBrief {
                        number: document.number,
                        seq: document.seq,
                        time: document.time,
                        key_id: document.key_id,
                    };
                    self.ready.push_back(Waiting { brief, message: message.into() });
                }
            }
            Err(why) => {
                board.fault(DEVICE, "anchors", &why);
                self.not_before = now + PAUSE;
            }
        }
    }

    fn take_stored(&mut self, board: &Board, now: Instant) {
        if let Some(storing) = self.storing.take_if(|storing| storing.is_finished())
            && let Some(result) = storing.now_or_never()
        {
            match result.unwrap_or_else(|why| Err(why.to_string())) {
                Ok(number) => self.stored = number,
                Err(why) => board.fault(DEVICE, "anchor_cursor", &why),
            }
        }
        if let Some(acked) = self.acked.filter(|acked| *acked > self.stored)
            && self.storing.is_none()
            && now.duration_since(self.stored_at) >= STORE_EVERY
        {
            self.stored_at = now;
            let anchors = Arc::clone(&self.anchors);
            self.storing =
                Some(tokio::task::spawn_blocking(move || anchors.acknowledge(acked).map(|()| acked)));
        }
    }
}
