//! One connection of the publisher: what is read ahead, what is in flight, what was heard when.

use std::collections::VecDeque;
use std::sync::Arc;

use rumqttc::{AsyncClient, ClientError, QoS, Request};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{DEVICE, LOOK, Publisher};
use crate::line::record::{Alarm, Severity};
use crate::uplink::broker::Topics;
use crate::uplink::epcis;
use crate::uplink::flight::{Flight, Sent};
use crate::uplink::health::Health;
use crate::uplink::milestones::{Cursor, Milestones, MilestonesError};

/// Alarm for events that retention took before they were published.
const MISSING: &str = "uplink-events-missing";
/// Records read and encoded at a time: a few milliseconds of work, a few hundred kilobytes.
const BATCH: usize = 256;

/// Sequence and bytes of events, or why they could not be read.
pub(super) type Batch = Result<Vec<(u64, Vec<u8>)>, MilestonesError>;

/// State of one connection; dropped with it.
pub(super) struct Link {
    pub client: AsyncClient,
    pub connected: bool,
    pub flight: Flight,
    /// Encoded and not yet published.
    pub ready: VecDeque<(u64, Vec<u8>)>,
    /// Newest event read from the journal.
    pub read: u64,
    pub reading: Option<JoinHandle<Batch>>,
    pub read_not_before: Instant,
    pub heard: Instant,
    /// Last acknowledgement, or the first publish after none was in flight.
    pub progress: Instant,
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
}

impl Link {
    pub fn new<M>(publisher: &Publisher<M>, client: AsyncClient) -> Link {
        let now = Instant::now();
        let status = publisher.status.borrow();
        Link {
            client,
            connected: false,
            flight: Flight::default(),
            ready: VecDeque::with_capacity(2 * BATCH),
            read: publisher.cursor.unwrap_or_default().seq,
            reading: None,
            read_not_before: now,
            heard: now,
            progress: now,
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
        }
    }

    /// Has the next records read and encoded where blocking is allowed, one batch at a time.
    pub fn read_ahead<M: Milestones>(&mut self, publisher: &Publisher<M>, durable: &watch::Receiver<u64>) {
        let Some(Cursor { epoch, .. }) = publisher.cursor else { return };
        let wanted = self.reading.is_none() && self.ready.len() < BATCH && !self.leaving;
        if !wanted || *durable.borrow() <= self.read || Instant::now() < self.read_not_before {
            return;
        }
        let milestones = Arc::clone(&publisher.milestones);
        let after = self.read;
        self.reading = Some(tokio::task::spawn_blocking(move || encode(&*milestones, epoch, after)));
    }

    /// Queues a batch; a hole in it is what the journal no longer has.
    pub fn take_batch<M>(&mut self, publisher: &Publisher<M>, batch: Batch) -> Result<(), MilestonesError> {
        let batch = batch?;
        if batch.is_empty() {
            // Nothing although more is said to be durable; not asked again at once.
            self.read_not_before = Instant::now() + LOOK;
        }
        for (seq, document) in batch {
            let hole = seq.saturating_sub(self.read + 1);
            if hole > 0 {
                self.missing += hole;
                let text = format!("{hole} events before {seq} are no longer in the journal");
                publisher.board.fault(DEVICE, "events_missing", &text);
                publisher.board.raise(Alarm {
                    id: MISSING.to_owned(),
                    severity: Severity::Warning,
                    text,
                    remedy: "Tell upstream; keep more days or repair the connection sooner.".to_owned(),
                });
            }
            self.read = seq;
            self.ready.push_back((seq, document));
        }
        Ok(())
    }

    /// Hands over what fits: window and request channel permitting.
    pub fn publish<M>(&mut self, publisher: &Publisher<M>) {
        let window = usize::from(publisher.settings.window.max(1));
        while self.flight.len() < window && !self.leaving && !self.broken {
            let Some((seq, document)) = self.ready.pop_front() else { return };
            if self.flight.len() == 0 {
                self.progress = Instant::now();
            }
            match self.client.try_publish(&*self.events_topic, QoS::AtLeastOnce, false, document) {
                Ok(()) => self.flight.published(Sent::Event(seq)),
                // The channel has as many places as may be in flight, so it is full only for a moment.
                Err(ClientError::TryRequest(Request::Publish(kept))) => {
                    self.ready.push_front((seq, kept.payload.to_vec()));
                    return;
                }
                // Cannot happen, and must not leave a hole behind the cursor if it does.
                Err(why) => {
                    tracing::error!(seq, error = %why, "an event could not be handed to the client");
                    self.broken = true;
                    return;
                }
            }
        }
    }

    pub fn send_health(&mut self, topics: &Topics, health: &Health) -> bool {
        if self.flight.len() == 0 {
            self.progress = Instant::now();
        }
        let sent = self.client.try_publish(topics.health(), QoS::AtLeastOnce, true, health.bytes()).is_ok();
        if sent {
            self.flight.published(Sent::Health);
        }
        sent
    }
}

/// Reads and encodes one batch.
fn encode<M: Milestones>(milestones: &M, epoch: u64, after: u64) -> Batch {
    let records = milestones.after(after, BATCH)?;
    let mut batch = Vec::with_capacity(records.len());
    for record in records {
        let Some(run) = milestones.run_of(record.seq) else {
            if batch.is_empty() {
                return Err(MilestonesError::NoRun { record: record.seq });
            }
            // What stands before it goes out; the next read begins with it and says so.
            break;
        };
        let document = record.event_seq.zip(epcis::document(&record, &run, epoch));
        batch.extend(document.filter(|(seq, _)| *seq > after));
    }
    if milestones.epoch() != Some(epoch) {
        // The store was replaced meanwhile: these may be the new store's records under the old one's epoch.
        batch.clear();
    }
    Ok(batch)
}

/// Waits for a running read; for ever if there is none.
pub(super) async fn finished(reading: &mut Option<JoinHandle<Batch>>) -> Batch {
    let Some(handle) = reading.as_mut() else { return std::future::pending().await };
    let result = handle.await;
    *reading = None;
    result.unwrap_or_else(|why| Err(MilestonesError::Read { after: 0, why: why.to_string() }))
}
