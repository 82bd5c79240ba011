//! The outbox: durable milestones → MQTT, released by PUBACK.
//!
//! Invariants:
//! - There is no queue of its own to lose. What is published is read from the journal, after the cursor, and
//!   only what is durable; the cursor moves over the contiguous prefix that the broker has acknowledged.
//! - One task owns the client and its event loop. On *any* error, and on silence, both are dropped and built
//!   anew, and everything after the cursor is sent again, byte for byte the same. The client library's own
//!   idea of a session is never relied upon: on reconnect it forgets what it had taken.
//! - Publishing never waits: `try_publish`, only while connected, only while less than `window` is in flight.
//! - A poll of the event loop is never abandoned half-way: it is polled to its end while other things are
//!   looked at beside it.
//! - What the journal no longer has (retention) is counted and said by an alarm, never skipped silently.

mod link;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, Outgoing, Packet};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::link::{Link, finished};
use super::broker::{self, Dialler, Events, Lost, Topics};
use super::health::{self, Health};
use super::milestones::{Cursor, Milestones, MilestonesError};
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
    /// Known once the store is open.
    cursor: Option<Cursor>,
    stored: Option<Cursor>,
    storing: Option<JoinHandle<Result<Cursor, MilestonesError>>>,
    stored_at: Instant,
    attempt: u32,
}

/// Why a connection ended.
enum End {
    /// `sortd` is shutting down.
    Stop,
    /// The store opened or began a new epoch: read the cursor and connect again at once.
    Store,
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
            cursor: None,
            stored: None,
            storing: None,
            stored_at: Instant::now(),
            attempt: 0,
        };
        (publisher, watched)
    }

    /// Publishes until `stop`, through every failure of the broker.
    pub async fn run(mut self) {
        self.board.device(DEVICE, Ne107::Check, "connecting", REMEDY);
        loop {
            self.place_cursor().await;
            let end = if is_stopped(&self.stop) { End::Stop } else { self.connection().await };
            self.status.send_modify(|status| {
                status.connected = false;
                status.in_flight = 0;
            });
            self.store_cursor_now().await;
            match end {
                End::Stop => break,
                End::Store => {}
                End::Lost(why) => {
                    self.board.fault(DEVICE, why.kind(), &why);
                    let remedy = why.remedy().unwrap_or(REMEDY);
                    self.board.device(DEVICE, Ne107::Failure, &why.to_string(), remedy);
                    self.dialler.lost();
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

    /// Finds the place to go on from, once the store is open; a new epoch begins at its first event.
    async fn place_cursor(&mut self) {
        while let Some(epoch) = self.milestones.epoch()
            && self.cursor.is_none_or(|cursor| cursor.epoch != epoch)
            && !is_stopped(&self.stop)
        {
            let milestones = Arc::clone(&self.milestones);
            match blocking("read", move || milestones.load_cursor()).await {
                Ok(stored) => {
                    let cursor =
                        stored.filter(|cursor| cursor.epoch == epoch).unwrap_or(Cursor { epoch, seq: 0 });
                    tracing::info!(epoch, seq = cursor.seq, "uplink goes on after this event");
                    let newest = *self.milestones.durable().borrow();
                    if cursor.seq > newest {
                        // A store that lost its tail begins a new epoch; this one did not.
                        let text =
                            format!("acknowledged up to {}, but the store ends at {newest}", cursor.seq);
                        self.board.fault(DEVICE, "cursor_ahead", &text);
                    }
                    self.cursor = Some(cursor);
                    self.stored = stored;
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
            inflight: self.settings.window.max(1).saturating_add(HEALTH_PLACES),
            last_will: Some(health::last_will(self.topics.health())),
        };
        self.status.send_modify(|status| status.broker = self.dialler.broker());
        let (client, mut events) = match self.dialler.open(options).await {
            Ok(opened) => opened,
            Err(why) => return End::Lost(why),
        };
        let mut link = Link::new(self, client);
        let mut durable = self.milestones.durable();
        // Events made durable while nobody looked are not lost to `changed`.
        durable.mark_changed();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let end = 'connection: loop {
            let event = {
                let mut poll = pin!(events.poll());
                loop {
                    tokio::select! {
                        event = &mut poll => break event,
                        batch = finished(&mut link.reading) => {
                            if let Err(why) = link.take_batch(self, batch) {
                                self.board.fault(DEVICE, "journal", &why);
                                link.read_not_before = Instant::now() + JOURNAL_PAUSE;
                            }
                        }
                        // A journal that is gone makes no event durable any more.
                        Ok(()) = durable.changed() => {}
                        _ = look.tick() => {
                            if let Some(end) = self.look(&mut link) {
                                break 'connection end;
                            }
                        }
                    }
                    if link.connected {
                        link.read_ahead(self, &durable);
                        link.publish(self);
                    }
                }
            };
            let end = match event {
                Err(why) => Some(if link.leaving { End::Stop } else { End::Lost(why) }),
                Ok(event) => self.take(event, &mut link),
            };
            if let Some(end) = end {
                break end;
            }
            if link.connected {
                link.read_ahead(self, &durable);
                link.publish(self);
            }
        };
        self.show(&link, *durable.borrow());
        if matches!(end, End::Store) && link.connected {
            say_goodbye(&link.client, &mut events).await;
        }
        end
    }

    /// An event of the client library.
    fn take(&mut self, event: Event, link: &mut Link) -> Option<End> {
        match event {
            Event::Incoming(Packet::ConnAck(_)) => {
                tracing::info!(broker = %self.status.borrow().broker, "uplink connected");
                self.board.device(DEVICE, Ne107::Good, "connected", REMEDY);
                link.connected = true;
                link.heard = Instant::now();
                self.status.send_modify(|status| status.connected = true);
            }
            Event::Incoming(Packet::PubAck(ack)) => {
                link.heard = Instant::now();
                link.progress = link.heard;
                self.attempt = 0;
                let (newest, count) = link.flight.acked(ack.pkid);
                if let (Some(seq), Some(cursor)) = (newest, self.cursor.as_mut()) {
                    cursor.seq = seq;
                    link.published += count;
                }
            }
            Event::Incoming(Packet::Disconnect) => return Some(End::Lost(Lost::Closed)),
            Event::Incoming(_) => link.heard = Instant::now(),
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
        let epoch = self.milestones.epoch();
        if epoch.is_some() && epoch != self.cursor.map(|cursor| cursor.epoch) {
            return Some(End::Store);
        }
        let silence = broker::silence(&self.settings);
        if link.broken {
            return Some(End::Lost(Lost::Closed));
        }
        if link.connected {
            let idle = broker::idle_silence(&self.settings);
            if now.duration_since(link.heard) > idle {
                return Some(End::Lost(Lost::Silence(idle.as_millis())));
            }
            if link.flight.len() > 0 && now.duration_since(link.progress) > silence {
                return Some(End::Lost(Lost::NoAck(silence.as_millis())));
            }
            self.publish_health(link, now);
        }
        self.store_cursor(now);
        self.show(link, *self.milestones.durable().borrow());
        None
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
            link.goodbye = link.client.try_disconnect().is_ok();
        }
        (now >= link.leave_by).then_some(End::Stop)
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
        if let Some(storing) = self.storing.take_if(|storing| storing.is_finished()) {
            // A finished task gives its result without waiting.
            if let Some(result) = futures_util::FutureExt::now_or_never(storing) {
                self.cursor_stored(flatten("stored", result));
            }
        }
        let due = now.duration_since(self.stored_at) >= STORE_EVERY;
        if due && self.storing.is_none() && self.cursor != self.stored {
            self.stored_at = now;
            self.storing = self.cursor.map(|cursor| self.start_store(cursor));
        }
    }

    fn start_store(&self, cursor: Cursor) -> JoinHandle<Result<Cursor, MilestonesError>> {
        let milestones = Arc::clone(&self.milestones);
        tokio::task::spawn_blocking(move || milestones.store_cursor(cursor).map(|()| cursor))
    }

    fn cursor_stored(&mut self, result: Result<Cursor, MilestonesError>) {
        match result {
            Ok(cursor) => self.stored = Some(cursor),
            Err(why) => self.board.fault(DEVICE, "cursor", &why),
        }
    }

    /// The last store, at shutdown.
    async fn store_cursor_now(&mut self) {
        if let Some(storing) = self.storing.take() {
            let result = storing.await;
            self.cursor_stored(flatten("stored", result));
        }
        if let Some(cursor) = self.cursor.filter(|cursor| Some(*cursor) != self.stored) {
            let result = self.start_store(cursor).await;
            self.cursor_stored(flatten("stored", result));
        }
    }

    fn show(&self, link: &Link, newest: u64) {
        let cursor = self.cursor.unwrap_or_default();
        let published = link.published_before + link.published;
        let missing = link.missing_before + link.missing;
        self.status.send_if_modified(|status| {
            let before = status.clone();
            status.epoch = cursor.epoch;
            status.cursor = cursor.seq;
            status.newest = newest.max(cursor.seq);
            status.backlog = status.newest - cursor.seq;
            status.in_flight = link.flight.len() as u64;
            status.published = published;
            status.missing = missing;
            *status != before
        });
    }
}

/// Leaves the broker in order, so that it does not publish the last will.
async fn say_goodbye(client: &AsyncClient, events: &mut Events) {
    if client.try_disconnect().is_err() {
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
