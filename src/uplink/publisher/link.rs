//! One connection of the publisher: what is read ahead, what is in flight, what was heard when.

use tokio::time::Instant;

use super::drip::Drip;
use super::lane::{Batch, Lane, Pens, Ready, Wanted};
use super::{DEVICE, HEALTH_PLACES, Publisher};
use crate::line::record::{Alarm, Severity};
use crate::uplink::broker::Topics;
use crate::uplink::flight::{Flight, Kind, Released, Sent};
use crate::uplink::health::Health;
use crate::uplink::milestones::{Cursor, Milestones};
use crate::uplink::outlet::{Outlet, Unsent};
use crate::uplink::ranges::{self, Ranges};

/// Alarm for events that the journal no longer had when their turn came.
const MISSING: &str = "uplink-events-missing";

/// One of so many places of the window is kept free of backlog while live events go beside it.
const LIVE_SHARE: usize = 8;

/// State of one connection; dropped with it.
pub(super) struct Link {
    pub outlet: Outlet,
    pub connected: bool,
    /// Something came, and an acknowledgement came, since this was last looked at.
    pub came: (bool, bool),
    pub flight: Flight,
    pub backlog: Lane,
    pub live: Lane,
    pub pens: Pens,
    drip: Drip,
    pub heard: Instant,
    /// Last acknowledgement of anything.
    pub acked: Instant,
    /// An event was acknowledged.
    pub useful: bool,
    /// Nothing more goes out until what is in flight of events is acknowledged; then the connection is renewed.
    pub renewing: bool,
    pub health: Option<Health>,
    pub health_at: Option<Instant>,
    pub health_looked: Instant,
    pub published: u64,
    pub published_before: u64,
    pub missing: u64,
    pub missing_before: u64,
    /// A publish went astray: nothing more on this connection.
    pub broken: bool,
    pub leaving: bool,
    pub leave_by: Instant,
    pub goodbye: bool,
    pub events_topic: String,
    window: usize,
}

impl Link {
    pub fn new<M>(publisher: &Publisher<M>, outlet: Outlet) -> Link {
        let now = Instant::now();
        let status = publisher.status.borrow();
        let ranges = publisher.ranges.unwrap_or_default();
        let live = ranges.live.map_or(ranges.backlog, |live| Cursor { epoch: live.epoch, seq: live.acked });
        Link {
            outlet,
            connected: false,
            came: (false, false),
            flight: Flight::default(),
            backlog: Lane::at(ranges.backlog, now),
            live: Lane::at(live, now),
            pens: Pens::default(),
            drip: Drip::new(publisher.settings.backlog_per_s, now),
            heard: now,
            acked: now,
            useful: false,
            renewing: false,
            health: None,
            health_at: None,
            health_looked: now,
            published: 0,
            published_before: status.published,
            missing: 0,
            missing_before: status.missing,
            broken: false,
            leaving: false,
            leave_by: now,
            goodbye: false,
            events_topic: publisher.topics.events(),
            window: usize::from(publisher.settings.window.max(1)),
        }
    }

    /// Has the next records read and encoded where blocking is allowed, one batch a lane at a time.
    pub fn read_ahead<M: Milestones>(&mut self, publisher: &Publisher<M>) {
        let (Some(ranges), Some(head)) = (publisher.ranges, publisher.head) else { return };
        if self.leaving {
            return;
        }
        // Called for every packet: most of the time both have enough, and nobody needs to ask for the time.
        if self.backlog.is_fed() && (ranges.live.is_none_or(|_| self.live.is_fed() || self.live.read >= head))
        {
            return;
        }
        let now = Instant::now();
        let end = ranges.live.map_or(head.seq, |live| live.from);
        if self.backlog.read < (Cursor { epoch: head.epoch, seq: end }) && self.backlog.is_hungry(now) {
            let after = self.backlog.read;
            let last = publisher.epochs.get(&after.epoch).copied().unwrap_or(0);
            let until = ranges.live.map_or(u64::MAX, |live| live.from);
            let wanted = Wanted { after, open: head.epoch, until, last };
            self.backlog.start(&publisher.milestones, &self.pens, wanted);
        }
        if ranges.live.is_some() && self.live.read.seq < head.seq && self.live.is_hungry(now) {
            let wanted = Wanted { after: self.live.read, open: head.epoch, until: u64::MAX, last: 0 };
            self.live.start(&publisher.milestones, &self.pens, wanted);
        }
    }

    /// Says what the journal no longer has.
    pub fn lost<M>(&mut self, publisher: &Publisher<M>, missing: u64, before: Cursor) {
        if missing == 0 {
            return;
        }
        self.missing += missing;
        let all = self.missing_before + self.missing;
        let Cursor { epoch, seq } = before;
        let text = format!(
            "{all} events are no longer in the journal and were never published, the last of them before event \
             {seq} of epoch {epoch}"
        );
        publisher.board.fault(DEVICE, "events_missing", &text);
        publisher.board.raise(Alarm {
            id: MISSING.to_owned(),
            severity: Severity::Critical,
            text,
            remedy: "Tell upstream; see the alarms of the journal for which day was damaged or deleted."
                .to_owned(),
        });
    }

    /// Whether events may go out.
    fn is_open(&self) -> bool {
        !self.leaving && !self.renewing && !self.broken
    }

    /// Hands over what fits: window, rate and request channel permitting; live events first. `true` if the
    /// backlog only waits for its rate.
    pub fn publish(&mut self, ranges: Option<&mut Ranges>) -> bool {
        let Some(ranges) = ranges else { return false };
        while self.is_open() && ranges.live.is_some() && self.flight.of(Kind::Events) < self.window {
            let Some(ready) = self.live.ready.pop_front() else { break };
            if let Some(back) = self.hand_over(ranges, ranges::Lane::Live, ready) {
                self.live.ready.push_front(back);
                return false;
            }
        }
        // The live lane may have become the backlog's by a passed place; then the rate no longer holds.
        let limited = ranges.live.is_some();
        let window = if limited { self.window - self.window / LIVE_SHARE } else { self.window };
        if limited && !self.drip.is_open() {
            self.drip.refill(Instant::now());
        }
        while self.is_open() && self.flight.of(Kind::Events) < window {
            let Some(front) = self.backlog.ready.front() else { return false };
            if limited && matches!(front, Ready::Event(..)) && !self.drip.take() {
                return true;
            }
            let Some(ready) = self.backlog.ready.pop_front() else { return false };
            if let Some(back) = self.hand_over(ranges, ranges::Lane::Backlog, ready) {
                self.backlog.ready.push_front(back);
                return false;
            }
        }
        false
    }

    /// Gives back what the client had no room for.
    fn hand_over(&mut self, ranges: &mut Ranges, lane: ranges::Lane, ready: Ready) -> Option<Ready> {
        let (at, document) = match ready {
            Ready::Event(at, document) => (at, document),
            Ready::Passed(at) => {
                let released = self.flight.passed(lane, at);
                self.release(ranges, released);
                return None;
            }
        };
        match self.outlet.publish(&self.events_topic, false, document.clone()) {
            Ok(()) => self.flight.published(Sent::Event(lane, at)),
            // The channel has as many places as may be in flight, so it is full only for a moment.
            Err(Unsent::Full) => return Some(Ready::Event(at, document)),
            // Cannot happen, and must not leave a hole behind the cursor if it does.
            Err(why @ Unsent::Never(_)) => {
                tracing::error!(seq = at.seq, error = %why, "an event could not be handed to the client");
                self.broken = true;
            }
        }
        None
    }

    /// Moves the ranges over what became contiguous; where they meet, the live lane goes on as the only one.
    pub fn release(&mut self, ranges: &mut Ranges, released: Released) {
        self.published += released.backlog.events + released.live.events;
        for (lane, progress) in
            [(ranges::Lane::Live, released.live), (ranges::Lane::Backlog, released.backlog)]
        {
            let Some(at) = progress.newest else { continue };
            if ranges.acknowledged(lane, at) {
                tracing::info!(
                    epoch = ranges.backlog.epoch,
                    seq = ranges.backlog.seq,
                    "the backlog is drained"
                );
                let spent = Lane::at(ranges.backlog, Instant::now());
                self.backlog = std::mem::replace(&mut self.live, spent);
            }
        }
    }

    pub fn send_health(&mut self, topics: &Topics, health: &Health) -> bool {
        if self.flight.of(Kind::Health) >= usize::from(HEALTH_PLACES) {
            return false;
        }
        let sent = self.outlet.publish(&topics.health(), true, health.bytes().into()).is_ok();
        if sent {
            self.flight.published(Sent::Health);
        }
        sent
    }
}

/// Waits for a running read of either lane; for ever if there is none.
pub(super) async fn finished(
    backlog: &mut Lane,
    live: &mut Lane,
) -> (ranges::Lane, Result<Batch, crate::uplink::milestones::MilestonesError>) {
    tokio::select! {
        batch = live.finished() => (ranges::Lane::Live, batch),
        batch = backlog.finished() => (ranges::Lane::Backlog, batch),
    }
}
