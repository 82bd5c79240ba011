//! The outbox: durable milestones → MQTT, released by PUBACK.
//!
//! Invariants:
//! - There is no queue of its own to lose. What is published is read from the journal, after the cursor, and
//!   only what is durable; the cursor moves over the contiguous prefix that the broker has acknowledged.
//! - After an outage that left more than a little there are two cursors ([`super::ranges`]): live events go first
//!   and at once, the backlog at the configured rate beside them, until it meets them. Both are stored in one slip.
//! - Earlier epochs of the store are sent whole, before later ones, each event under its own epoch.
//! - One task owns the client and its event loop. On *any* error, and on silence, both are dropped and built
//!   anew, and everything after the cursor is sent again, byte for byte the same. The client library's own
//!   idea of a session is never relied upon: on reconnect it forgets what it had taken.
//! - What counts as progress of events is the acknowledgement of the oldest event in flight, and nothing else. What
//!   is published beside them and never acknowledged is said, and holds them up no longer than a reconnect takes.
//! - Publishing never waits: `try_publish`, only while connected, only while less than `window` is in flight.
//! - A poll of the event loop is never abandoned half-way: it is polled to its end while other things are
//!   looked at beside it.
//! - What the journal no longer has (retention) is counted and said by an alarm, never skipped silently.

mod drip;
mod lane;
mod link;
mod standing;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{Event, Outgoing, Packet};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::lane::{Batch, Lane};
use self::link::Link;
use super::anchors::{self, Anchors, Outbox};
use super::broker::{self, Dialler, Events, Lost, Topics};
use super::flight::Kind;
use super::health::{self, Health};
use super::milestones::{Cursor, Milestones, MilestonesError};
use super::outlet::Outlet;
use super::ranges::{self, Ranges};
use super::status::UplinkStatus;
use crate::site::UplinkSettings;
use crate::watch::{Board, Ne107};

/// Name on the board; its alarm is `uplink-offline`.
const DEVICE: &str = "uplink";
const REMEDY: &str = "Check the network and the broker; events are kept and sent when it is back.";
/// Places for health messages beside the window.
const HEALTH_PLACES: u16 = 8;
/// How often time-outs, cursor, status and health are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Least time between two stores of the cursor, so that its sync does not compete with the journal's. What it
/// lags is sent twice after a crash, and the receiver knows it by its name.
const STORE_EVERY: Duration = Duration::from_millis(250);
/// How often a changed state is looked for.
const HEALTH_LOOK: Duration = Duration::from_secs(1);
/// The rate shown is the mean over this time.
const PACE_OVER: Duration = Duration::from_secs(1);
/// Pause after the journal or the cursor could not be read.
const JOURNAL_PAUSE: Duration = Duration::from_secs(1);
/// Time to say goodbye to the broker on shutdown.
const GOODBYE: Duration = Duration::from_secs(2);

/// The task's state across connections.
pub struct Publisher<M> {
    settings: UplinkSettings,
    dialler: Dialler,
    topics: Topics,
    milestones: Arc<M>,
    board: Board,
    line: health::Line,
    status: watch::Sender<UplinkStatus>,
    stop: watch::Receiver<bool>,
    /// Newest durable event; known once the store is open.
    head: Option<Cursor>,
    /// Every epoch with the last event it is known to have had.
    epochs: BTreeMap<u64, u64>,
    /// Known once the store is open.
    ranges: Option<Ranges>,
    stored: Option<Ranges>,
    storing: Option<JoinHandle<Result<Ranges, MilestonesError>>>,
    stored_at: Instant,
    pace: Pace,
    attempt: u32,
    anchors: Option<Outbox>,
    /// The last connection was taken and of no use: the alarm stands until something is acknowledged.
    hollow: bool,
    /// What the broker does not acknowledge although it does events.
    unacknowledged: BTreeSet<Kind>,
    /// When a connection was last renewed for that.
    renewed: Option<Instant>,
    /// The place that was last logged.
    told: Option<Told>,
}

/// What of a place is worth a line of the log: all of it but how far behind it is, which grows by itself while the
/// broker is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    epoch: u64,
    seq: u64,
    split: bool,
}

/// How fast the backlog goes out.
#[derive(Debug, Clone, Copy)]
struct Pace {
    since: Instant,
    events: u64,
    per_s: u64,
}

/// Why a connection ended.
enum End {
    /// `sortd` is shutting down.
    Stop,
    /// The store opened or began a new epoch: read the cursor and connect again at once.
    Store,
    /// Events are fine, but something else is never acknowledged: connect again at once.
    Renew,
    /// Given up.
    Lost(Lost),
}

impl<M: Milestones> Publisher<M> {
    /// A publisher; nothing happens before [`Publisher::run`]. `stop` becoming true ends it.
    pub fn new(
        settings: UplinkSettings,
        topics: Topics,
        milestones: Arc<M>,
        board: Board,
        line: health::Line,
        stop: watch::Receiver<bool>,
    ) -> (Publisher<M>, watch::Receiver<UplinkStatus>) {
        let dialler = Dialler::new(&settings, board.clone());
        let (status, watched) =
            watch::channel(UplinkStatus { broker: dialler.broker(), ..UplinkStatus::default() });
        let publisher = Publisher {
            settings,
            dialler,
            topics,
            milestones,
            board,
            line,
            status,
            stop,
            head: None,
            epochs: BTreeMap::new(),
            ranges: None,
            stored: None,
            storing: None,
            stored_at: Instant::now(),
            pace: Pace { since: Instant::now(), events: 0, per_s: 0 },
            attempt: 0,
            anchors: None,
            hollow: false,
            told: None,
            unacknowledged: BTreeSet::new(),
            renewed: None,
        };
        (publisher, watched)
    }

    /// Publishes these anchors, too.
    #[must_use]
    pub fn with_anchors(self, anchors: Arc<dyn Anchors>) -> Publisher<M> {
        let outbox = Outbox::new(anchors, self.topics.anchors());
        Publisher { anchors: Some(outbox), ..self }
    }

    /// Publishes until `stop`, through every failure of the broker.
    pub async fn run(mut self) {
        self.board.device(DEVICE, Ne107::Check, "connecting", REMEDY);
        loop {
            self.place().await;
            let end = if is_stopped(&self.stop) { End::Stop } else { self.connection().await };
            self.status.send_modify(|status| {
                status.connected = false;
                status.in_flight = 0;
            });
            // On the way to the next connection, and to health over it, no disk is waited for.
            match end {
                End::Stop => {
                    self.store_cursor_now().await;
                    break;
                }
                End::Store => self.store_cursor_soon(Instant::now()),
                End::Renew => {
                    self.store_cursor_soon(Instant::now());
                    self.dialler.lost();
                    self.status.send_modify(|status| status.reconnects += 1);
                }
                End::Lost(why) => {
                    self.store_cursor_soon(Instant::now());
                    self.board.fault(DEVICE, why.kind(), &why);
                    let remedy = why.remedy().unwrap_or(REMEDY);
                    self.board.device(DEVICE, Ne107::Failure, &why.to_string(), remedy);
                    self.dialler.lost();
                    self.hollow = why.is_hollow();
                    self.status.send_modify(|status| {
                        status.reconnects += 1;
                        status.last_error = Some(why.to_string());
                    });
                    self.rest(self.dialler.pause(self.attempt)).await;
                    self.attempt = self.attempt.saturating_add(1);
                }
            }
        }
        tracing::info!("uplink stopped");
    }

    /// Sleeps, but not through a shutdown.
    async fn rest(&mut self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopped(&mut self.stop) => {}
        }
    }

    /// Finds the place to go on from, once the store is open: where the ranges stand, and whether what is not yet
    /// sent is enough to split at the head.
    async fn place(&mut self) {
        while let Some(head) = self.milestones.head()
            && !is_stopped(&self.stop)
        {
            let milestones = Arc::clone(&self.milestones);
            let known = self.ranges;
            let read = blocking("read", move || {
                let stored = known.map_or_else(|| milestones.load(), |ranges| Ok(Some(ranges)))?;
                Ok((stored, milestones.epochs()?))
            });
            match read.await {
                Ok((stored, epochs)) => {
                    // A day that went into quarantine shortens its epoch; what it had is still missing upstream.
                    for (epoch, last) in
                        epochs.into_iter().chain(self.head.map(|head| (head.epoch, head.seq)))
                    {
                        let known = self.epochs.entry(epoch).or_insert(0);
                        *known = last.max(*known);
                    }
                    if self.ranges.is_none() {
                        self.stored = stored;
                    }
                    let ranges = stored.unwrap_or_default().resumed(&self.epochs, head);
                    if ranges.backlog.epoch == head.epoch && ranges.backlog.seq > head.seq {
                        // A store that lost its tail begins a new epoch; this one did not.
                        let Cursor { seq, .. } = ranges.backlog;
                        let text = format!("acknowledged up to {seq}, but the store ends at {}", head.seq);
                        self.board.fault(DEVICE, "cursor_ahead", &text);
                    }
                    let behind = ranges.behind(&self.epochs, head);
                    let Cursor { epoch, seq } = ranges.backlog;
                    let place = Told { epoch, seq, split: ranges.live.is_some() };
                    if self.told.replace(place) == Some(place) {
                        // Once for each attempt to connect.
                        tracing::debug!(epoch, seq, behind, "uplink still goes on after this event");
                    } else {
                        tracing::info!(
                            epoch,
                            seq,
                            behind,
                            split = place.split,
                            "uplink goes on after this event"
                        );
                    }
                    (self.head, self.ranges) = (Some(head), Some(ranges));
                    return;
                }
                Err(why) => {
                    self.board.fault(DEVICE, "cursor", &why);
                    self.rest(JOURNAL_PAUSE).await;
                }
            }
        }
    }

    /// One connection, from connect to its end.
    async fn connection(&mut self) -> End {
        let options = broker::Options {
            client_id: self.settings.client_id.clone(),
            clean_session: true,
            manual_acks: false,
            incoming_limit: self.settings.packet_limit,
            inflight: self.settings.window.max(1).saturating_add(HEALTH_PLACES + anchors::PLACES),
            last_will: Some(health::last_will(self.topics.health())),
            own: self.topics.own(self.settings.echo_check),
        };
        self.status.send_modify(|status| status.broker = self.dialler.broker());
        let (outlet, mut events) = match self.dialler.open(options).await {
            Ok(opened) => opened,
            Err(why) => return End::Lost(why),
        };
        let mut link = Link::new(self, outlet);
        self.anchors.iter_mut().for_each(Outbox::begin);
        let mut durable = self.milestones.durable();
        // Events made durable while nobody looked are not lost to `changed`.
        durable.mark_changed();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut drips = tokio::time::interval(drip::PERIOD);
        drips.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut held_back = false;
        let end = 'connection: loop {
            let event = {
                let mut poll = pin!(events.poll());
                loop {
                    tokio::select! {
                        // While packets come one after the other nothing else is looked at, but they soon do not:
                        // what is read ahead lasts for a few milliseconds, and only the second branch brings more.
                        biased;
                        event = &mut poll => break event,
                        (lane, batch) = link::finished(&mut link.backlog, &mut link.live) => {
                            self.take_batch(&mut link, lane, batch);
                        }
                        // A journal that is gone makes no event durable any more.
                        Ok(()) = durable.changed() => self.see_head(),
                        _ = look.tick() => {
                            if let Some(end) = self.look(&mut link) {
                                break 'connection end;
                            }
                        }
                        _ = drips.tick(), if held_back => {}
                    }
                    held_back = self.go_on(&mut link);
                }
            };
            let end = match event {
                Err(why) => Some(if link.leaving { End::Stop } else { End::Lost(why) }),
                Ok(event) => self.take(event, &mut link),
            };
            if let Some(end) = end {
                break end;
            }
            held_back = self.go_on(&mut link);
        };
        self.show(&link);
        if matches!(end, End::Store | End::Renew) && link.connected {
            say_goodbye(&link.outlet, &mut events).await;
        }
        end
    }

    /// Reads and publishes what may be; `true` if the backlog only waits for its rate.
    fn go_on(&mut self, link: &mut Link) -> bool {
        if !link.connected {
            return false;
        }
        link.read_ahead(self);
        link.publish(self.ranges.as_mut())
    }

    /// Looks how far the store is durable.
    fn see_head(&mut self) {
        if let Some(head) = self.milestones.head()
            && self.head.is_some_and(|known| known.epoch == head.epoch)
        {
            self.head = Some(head);
        }
    }

    fn take_batch(&mut self, link: &mut Link, lane: ranges::Lane, batch: Result<Batch, MilestonesError>) {
        let of = match lane {
            ranges::Lane::Backlog => &mut link.backlog,
            ranges::Lane::Live => &mut link.live,
        };
        match batch {
            Ok(batch) => {
                let (missing, before) = (batch.missing, batch.read);
                of.take(batch);
                link.lost(self, missing, before);
            }
            Err(why) => {
                of.not_before = Instant::now() + JOURNAL_PAUSE;
                self.board.fault(DEVICE, "journal", &why);
            }
        }
    }

    /// An event of the client library.
    fn take(&mut self, event: Event, link: &mut Link) -> Option<End> {
        match event {
            Event::Incoming(Packet::ConnAck(_)) => {
                tracing::info!(broker = %self.status.borrow().broker, "uplink connected");
                if !self.hollow {
                    self.board.device(DEVICE, Ne107::Good, "connected", REMEDY);
                }
                link.connected = true;
                link.heard = Instant::now();
                self.status.send_modify(|status| status.connected = true);
            }
            Event::Incoming(Packet::PubAck(ack)) => {
                link.came = (true, true);
                let (kind, released) = link.flight.acked(ack.pkid);
                self.heed_ack(kind, link);
                if let (Some(outbox), Some(number)) = (&mut self.anchors, released.anchor) {
                    outbox.acked(number);
                }
                if let Some(ranges) = self.ranges.as_mut() {
                    link.release(ranges, released);
                }
            }
            Event::Incoming(Packet::Disconnect) => return Some(End::Lost(Lost::Closed)),
            Event::Incoming(_) => link.came.0 = true,
            Event::Outgoing(Outgoing::Publish(packet)) => link.flight.left(packet),
            Event::Outgoing(Outgoing::AwaitAck(packet)) => return Some(End::Lost(Lost::Collision(packet))),
            Event::Outgoing(Outgoing::Disconnect) if link.leaving => return Some(End::Stop),
            Event::Outgoing(_) => {}
        }
        None
    }

    /// What is looked at now and then: shutdown, epoch, silence, cursor, status, health.
    fn look(&mut self, link: &mut Link) -> Option<End> {
        let now = Instant::now();
        if is_stopped(&self.stop) {
            return self.leave(link, now);
        }
        let epoch = self.milestones.head().map(|head| head.epoch);
        if epoch.is_some() && epoch != self.head.map(|head| head.epoch) {
            return Some(End::Store);
        }
        self.see_head();
        self.split_if_behind(link);
        // Stamped here and not with every packet: a look is short against any silence.
        let (heard, acked) = std::mem::take(&mut link.came);
        if heard {
            link.heard = now;
        }
        if acked {
            link.acked = now;
        }
        if link.broken {
            return Some(End::Lost(Lost::Closed));
        }
        if link.connected {
            let idle = broker::idle_silence(&self.settings);
            if now.duration_since(link.heard) > idle {
                return Some(End::Lost(Lost::Silence(idle.as_millis())));
            }
            if let Some(end) = self.look_at_standing(link, now) {
                return Some(end);
            }
            self.publish_health(link, now);
            self.publish_anchors(link);
        }
        self.store_cursor(now);
        self.measure(link, now);
        self.show(link);
        None
    }

    /// A broker that takes less than the line makes leaves a backlog without any outage.
    fn split_if_behind(&mut self, link: &mut Link) {
        if let (Some(head), Some(ranges)) = (self.head, self.ranges.as_mut())
            && ranges.live.is_none()
            && link.connected
            && ranges.behind(&self.epochs, head) > ranges::SPLIT_ABOVE
            && link.backlog.read < head
        {
            tracing::info!(
                epoch = head.epoch,
                seq = head.seq,
                "the uplink is behind; live events go first from here on"
            );
            ranges.split(head);
            // What is being read may reach beyond the split; it is read again up to there.
            link.backlog.reading = None;
            link.live = Lane::at(head, Instant::now());
        }
    }

    fn measure(&mut self, link: &Link, now: Instant) {
        let took = now.duration_since(self.pace.since);
        if took >= PACE_OVER {
            let events = link.published_before + link.published;
            let per_s = events.saturating_sub(self.pace.events) as f64 / took.as_secs_f64();
            // Rates are far below 2^53.
            self.pace = Pace { since: now, events, per_s: per_s.round() as u64 };
        }
    }

    /// Shutdown: nothing new goes out, what is in flight is waited for, health says `offline`.
    fn leave(&mut self, link: &mut Link, now: Instant) -> Option<End> {
        if !link.connected {
            return Some(End::Stop);
        }
        if !link.leaving {
            link.leaving = true;
            link.leave_by = now + GOODBYE;
            link.send_health(&self.topics, &Health::offline());
        }
        if link.flight.len() == 0 && !link.goodbye {
            link.goodbye = link.outlet.client().try_disconnect().is_ok();
        }
        (now >= link.leave_by).then_some(End::Stop)
    }

    fn publish_anchors(&mut self, link: &mut Link) {
        let Some(outbox) = &mut self.anchors else { return };
        outbox.look(&link.outlet, &mut link.flight, &self.board);
        let last = outbox.last();
        self.status.send_if_modified(|status| {
            let news = status.anchor.as_ref() != last;
            status.anchor = last.cloned();
            news
        });
    }

    fn publish_health(&mut self, link: &mut Link, now: Instant) {
        let every = Duration::from_millis(u64::from(self.settings.health_ms.max(1)));
        let due = link.health_at.is_none_or(|at| now.duration_since(at) >= every);
        if !due && now.duration_since(link.health_looked) < HEALTH_LOOK {
            return;
        }
        link.health_looked = now;
        let health = Health::now((self.line)(), &self.board, &self.status.borrow());
        let news = link.health.as_ref().is_none_or(|last| health.differs(last));
        if (due || news) && link.send_health(&self.topics, &health) {
            link.health_at = Some(now);
            link.health = Some(health);
        }
    }

    /// Starts storing the cursor if it has moved and the last store is long enough ago.
    fn store_cursor(&mut self, now: Instant) {
        if now.duration_since(self.stored_at) >= STORE_EVERY {
            self.store_cursor_soon(now);
        }
    }

    /// Starts storing the cursor if it has moved, and looks what became of the last store.
    fn store_cursor_soon(&mut self, now: Instant) {
        // A finished task gives its result without waiting.
        if let Some(storing) = self.storing.take_if(|storing| storing.is_finished())
            && let Some(result) = futures_util::FutureExt::now_or_never(storing)
        {
            self.cursor_stored(flatten("stored", result));
        }
        if self.storing.is_none() && self.ranges != self.stored {
            self.stored_at = now;
            self.storing = self.ranges.map(|ranges| self.start_store(ranges));
        }
    }

    fn start_store(&self, ranges: Ranges) -> JoinHandle<Result<Ranges, MilestonesError>> {
        let milestones = Arc::clone(&self.milestones);
        tokio::task::spawn_blocking(move || milestones.store(ranges).map(|()| ranges))
    }

    fn cursor_stored(&mut self, result: Result<Ranges, MilestonesError>) {
        match result {
            Ok(ranges) => self.stored = Some(ranges),
            Err(why) => self.board.fault(DEVICE, "cursor", &why),
        }
    }

    /// The last store, at shutdown.
    async fn store_cursor_now(&mut self) {
        if let Some(storing) = self.storing.take() {
            let result = storing.await;
            self.cursor_stored(flatten("stored", result));
        }
        if let Some(ranges) = self.ranges.filter(|ranges| Some(*ranges) != self.stored) {
            let result = self.start_store(ranges).await;
            self.cursor_stored(flatten("stored", result));
        }
    }

    fn show(&self, link: &Link) {
        let ranges = self.ranges.unwrap_or_default();
        let head = self.head.unwrap_or_default();
        let published = link.published_before + link.published;
        let missing = link.missing_before + link.missing;
        self.status.send_if_modified(|status| {
            let before = status.clone();
            status.epoch = ranges.backlog.epoch;
            status.cursor = ranges.backlog.seq;
            status.newest = head.seq;
            status.live = ranges.live.map(|live| live.acked);
            status.live_epoch = head.epoch;
            status.draining_per_s = if ranges.live.is_some() && link.connected { self.pace.per_s } else { 0 };
            status.backlog = ranges.behind(&self.epochs, head);
            status.in_flight = link.flight.len() as u64;
            status.published = published;
            status.missing = missing;
            *status != before
        });
    }
}

/// Leaves the broker in order, so that it does not publish the last will.
async fn say_goodbye(outlet: &Outlet, events: &mut Events) {
    if outlet.client().try_disconnect().is_err() {
        return;
    }
    let gone =
        async { while !matches!(events.poll().await, Ok(Event::Outgoing(Outgoing::Disconnect)) | Err(_)) {} };
    // A broker that does not take it in time publishes the last will, and soon after the next health.
    let _ = tokio::time::timeout(GOODBYE, gone).await;
}

/// Shutdown was asked for, or nobody can ask any more.
pub(super) fn is_stopped(stop: &watch::Receiver<bool>) -> bool {
    *stop.borrow() || stop.has_changed().is_err()
}

/// Waits until shutdown is asked for, or nobody can ask any more.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone: the daemon has ended.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T, MilestonesError> + Send + 'static,
) -> Result<T, MilestonesError> {
    flatten(what, tokio::task::spawn_blocking(work).await)
}

fn flatten<T>(
    what: &'static str,
    result: Result<Result<T, MilestonesError>, tokio::task::JoinError>,
) -> Result<T, MilestonesError> {
    result.unwrap_or_else(|why| Err(MilestonesError::Cursor { what, why: why.to_string() }))
}
