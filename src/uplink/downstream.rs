//! What comes down: messages taken over a session the broker keeps, released after durability.
//!
//! The story of one message:
//! 1. The broker delivers it under QoS 1 and keeps it until it is released by PUBACK. This client has a fixed
//!    id and a persistent session, so what is published while it is away waits at the broker.
//! 2. It is read and split into parts ([`super::orders`], [`super::holds`]); what is not well-formed is refused
//!    right away.
//! 3. The parts are offered to the core, one message after the other, as soon as they come: what a parcel is
//!    decided by waits for the disk as little as the decision does. The core's channel may be full: the part is
//!    held and offered again.
//! 4. The core applies them, the journal makes them durable, and the daemon says so ([`Notice`]). Many messages are
//!    in this step at once (`in_process`), so that a slow disk holds up answers and nothing else.
//! 5. The answer goes out on `acks`, and when the broker has acknowledged *that*, the message is released.
//!
//! A connection may be lost at any step: the broker delivers the message again, under a new packet id. While
//! steps 3 and 4 are still running for it, the repetition only renews the packet id; later it runs through
//! all steps again, which changes nothing, since an order of a known revision changes nothing. So it is after a
//! kill between steps 3 and 4: a decision may have used an order that no record holds; the order was never
//! released, comes again, and the decision's own record, where there is one, carries the orders it was made with.
//!
//! A message that is too large is read, refused by its id and its digest, and released like any other; nothing of it
//! but the answer is kept. Only a packet larger than `INCOMING_LIMIT` cannot be read at all. The session is kept
//! then, an alarm says what stands in it, and the connection is tried again now and then.
//!
//! Plans and questions ([`super::questions`]) go another way in steps 3 and 4: to a task of the daemon that has
//! a bounded time for each. They wait in a queue of their own, so that a slow answer never holds up an order or
//! a hold; only the releases keep the order of the deliveries, as the protocol demands.

mod oversized;

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::{Event, Outgoing, Packet, Publish, QoS, SubscribeFilter, SubscribeReasonCode};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::broker::{self, Dialler, Lost, Topics};
use super::down::{Down, Durable, Errand, Notice, Part, Progress};
use super::holds;
use super::in_process::{DURABLE_WITHIN, InProcess};
use super::orders::{self, Ack, MESSAGE_BYTES, MessageError, Refusal};
use super::outlet::Outlet;
use super::publisher::{is_stopped, stopped};
use super::questions::{self, AskMessage};
use super::status::{DownstreamStatus, UplinkStatus};
use crate::site::UplinkSettings;
use crate::watch::{Board, Ne107};

/// Name on the board; its alarm is `uplink-down-offline`.
const DEVICE: &str = "uplink-down";
const REMEDY: &str =
    "Check that the broker lets this client subscribe to its topics orders, holds, plans and ask.";
/// Messages that may wait for a place. A broker may deliver far more before it wants a PUBACK (mosquitto 2.0.11
/// was seen to after a reconnect). What does not fit is left alone, unreleased; when all before it is answered,
/// the connection is rebuilt, once, and the broker delivers the rest again.
const WAITING: usize = 256;
/// Bytes that may wait: as many of the largest messages as mosquitto delivers at once, several times over.
const WAITING_BYTES: usize = 64 * 1024 * 1024;
/// Answers on their way before another message or notice is taken, and releases before another is sent, so that
/// they never overflow the request channel, however many messages become durable at once.
const ANSWERS: usize = 64;
const RELEASES: u64 = 256;
/// Largest packet that is read: more than a hundred times the contract's limit, and far above what brokers other than
/// mosquitto let through by default. It is in memory for as long as it takes to refuse it. MQTT itself goes to
/// 256 MiB, which would be too much beside a line.
const INCOMING_LIMIT: usize = 64 * 1024 * 1024;
/// A connection that has lasted so long since it subscribed has met nothing that breaks it: what waits at the broker
/// comes at once.
const SETTLED: Duration = Duration::from_secs(10);
/// Packet ids for answers, and places in the request channel for answers, releases and the subscription.
const INFLIGHT: u16 = 1024;
/// Pause before a part is offered again to a full channel.
const OFFER_AGAIN: Duration = Duration::from_millis(5);
/// How often time-outs are looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Failed attempts in a row, while the publisher is connected, after which someone must look.
const ALARM_AFTER: u32 = 3;

/// Hands a part to the core; gives it back where the channel is full.
pub type Offer = Box<dyn FnMut(Part) -> Result<(), Part> + Send>;

/// Says how far the store is.
pub type HowFar = Box<dyn Fn() -> Progress + Send>;

pub use super::in_process::{ERRANDS, PARTS_MOST};

/// The client's ways into the rest of the program.
pub struct Ends {
    /// To the core.
    pub offer: Offer,
    /// To the task for plans and questions.
    pub errands: mpsc::Sender<Errand>,
    /// What that task and the journal's listener have to say.
    pub notices: mpsc::Receiver<Notice>,
    /// How far the store is.
    pub how_far: HowFar,
}

/// The task's state across connections.
pub struct Downstream {
    settings: UplinkSettings,
    dialler: Dialler,
    topics: Topics,
    offer: Offer,
    errands: mpsc::Sender<Errand>,
    notices: mpsc::Receiver<Notice>,
    how_far: HowFar,
    board: Board,
    uplink: watch::Receiver<UplinkStatus>,
    status: watch::Sender<DownstreamStatus>,
    stop: watch::Receiver<bool>,
    /// Messages in steps 3 and 4.
    in_process: InProcess,
    /// Parts not yet taken by the core, in order.
    offering: VecDeque<Part>,
    attempt: u32,
}

/// A message that was read.
struct Begun {
    down: Down,
    id: String,
    work: Work,
    refused: Vec<Refusal>,
}

/// What is to be done for it.
enum Work {
    Parts(Vec<Part>),
    Errand(Errand),
}

/// State of one connection.
struct Link {
    outlet: Outlet,
    /// Delivered, for the core, and waiting for a place in process.
    waiting: VecDeque<Waiting>,
    /// The same of plans and questions.
    asking: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// Delivered and not kept.
    left_out: u64,
    /// Every delivery kept and not yet released, in order, without its payload, and whether it is done with.
    deliveries: VecDeque<(Publish, bool)>,
    /// Releases handed to the client and not yet sent.
    releasing: u64,
    /// Answers handed to the client: packet id once it left, and that of the delivery that its PUBACK releases.
    answers: VecDeque<(Option<u16>, Option<u16>)>,
    heard: Instant,
    /// Since when.
    subscribed: Option<Instant>,
}

/// A delivery that waits.
struct Waiting {
    publish: Publish,
    /// It was too large; its answer is all that is left of it.
    refusal: Option<(MessageError, Ack)>,
}

impl Downstream {
    /// The client; nothing happens before [`Downstream::run`]. `uplink` is the publisher's status, `stop` becoming
    /// true ends it.
    pub fn new(
        settings: UplinkSettings,
        topics: Topics,
        ends: Ends,
        board: Board,
        uplink: watch::Receiver<UplinkStatus>,
        stop: watch::Receiver<bool>,
    ) -> (Downstream, watch::Receiver<DownstreamStatus>) {
        let Ends { offer, errands, notices, how_far } = ends;
        let (status, watched) = watch::channel(DownstreamStatus::default());
        let downstream = Downstream {
            dialler: Dialler::new(&settings, board.clone()),
            settings,
            topics,
            offer,
            errands,
            notices,
            how_far,
            board,
            uplink,
            status,
            stop,
            in_process: InProcess::default(),
            offering: VecDeque::new(),
            attempt: 0,
        };
        (downstream, watched)
    }

    /// Shows a plan that was staged before this start.
    pub fn show_staged(&self, version: Option<String>) {
        self.status.send_modify(|status| status.plan_staged = version);
    }

    /// Takes messages until `stop`, through every failure of the broker.
    pub async fn run(mut self) {
        self.board.device(DEVICE, Ne107::Check, "connecting", REMEDY);
        while !is_stopped(&self.stop) {
            let Err(why) = self.connection().await else { break };
            // Deliveries of the old connection cannot be released on a new one.
            self.in_process.disconnected();
            self.status.send_modify(|status| {
                status.connected = false;
                status.reconnects += 1;
                status.last_error = Some(why.to_string());
            });
            if let Some(bytes) = oversized::bytes(&why) {
                oversized::say(&self.board, &self.settings.client_id, bytes);
                self.attempt = self.attempt.max(oversized::ATTEMPT);
            }
            self.board.fault(DEVICE, why.kind(), &why);
            self.dialler.lost();
            // Where the publisher is away too its alarm says so; this one is for what concerns only this client.
            let alone = self.attempt >= ALARM_AFTER && self.uplink.borrow().connected;
            let state = if alone { Ne107::Failure } else { Ne107::Check };
            self.board.device(DEVICE, state, &why.to_string(), why.remedy().unwrap_or(REMEDY));
            let pause = tokio::time::sleep(self.dialler.pause(self.attempt));
            self.attempt = self.attempt.saturating_add(1);
            tokio::select! {
                () = pause => {}
                () = stopped(&mut self.stop) => {}
            }
        }
        self.status.send_modify(|status| status.connected = false);
        tracing::info!("downstream stopped");
    }

    /// One connection; `Ok` means shutdown.
    async fn connection(&mut self) -> Result<(), Lost> {
        let options = broker::Options {
            client_id: format!("{}-down", self.settings.client_id),
            clean_session: false,
            manual_acks: true,
            incoming_limit: INCOMING_LIMIT.max(self.settings.packet_limit),
            inflight: INFLIGHT,
            last_will: None,
            own: self
                .settings
                .echo_check
                .then(|| broker::Own { topic: self.topics.acks(), held: false })
                .into_iter()
                .collect(),
        };
        let (outlet, mut events) = self.dialler.open(options).await?;
        let mut link = Link {
            outlet,
            waiting: VecDeque::new(),
            asking: VecDeque::new(),
            waiting_bytes: 0,
            left_out: 0,
            deliveries: VecDeque::new(),
            releasing: 0,
            answers: VecDeque::new(),
            heard: Instant::now(),
            subscribed: None,
        };
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let event = {
                let mut poll = pin!(events.poll());
                loop {
                    // A part for the core is offered again while one is held.
                    let again = async {
                        if self.offering.is_empty() {
                            std::future::pending::<()>().await;
                        }
                        tokio::time::sleep(OFFER_AGAIN).await;
                    };
                    tokio::select! {
                        event = &mut poll => break event?,
                        Some(notice) = self.notices.recv(), if link.answers.len() < ANSWERS => {
                            self.heed(notice, &mut link);
                        }
                        () = again => {}
                        _ = look.tick() => self.look(&link)?,
                        () = stopped(&mut self.stop) => return Ok(()),
                    }
                    self.work(&mut link)?;
                }
            };
            self.take(event, &mut link)?;
            self.work(&mut link)?;
        }
    }

    fn take(&mut self, event: Event, link: &mut Link) -> Result<(), Lost> {
        match event {
            Event::Incoming(packet) => {
                link.heard = Instant::now();
                match packet {
                    Packet::ConnAck(_) => {
                        // Subscribed each time: the broker may have lost the session.
                        let filters = Down::ALL
                            .map(|down| SubscribeFilter::new(self.topics.down(down), QoS::AtLeastOnce));
                        link.outlet.subscribe(filters).map_err(|_| Lost::Closed)?;
                    }
                    Packet::SubAck(ack) => {
                        let refused = SubscribeReasonCode::Failure;
                        if let Some(at) = ack.return_codes.iter().position(|code| *code == refused) {
                            let down = Down::ALL.get(at).copied().unwrap_or(Down::Orders);
                            return Err(Lost::SubscriptionRefused(self.topics.down(down)));
                        }
                        tracing::info!(topic = %self.topics.down(Down::Orders), "subscribed");
                        link.subscribed = Some(Instant::now());
                        if self.attempt <= ALARM_AFTER {
                            self.board.device(DEVICE, Ne107::Good, "subscribed", REMEDY);
                        }
                        self.status.send_modify(|status| status.connected = true);
                    }
                    Packet::Publish(publish) => return self.take_publish(publish, link),
                    Packet::PubAck(ack) => {
                        let at = link.answers.iter().position(|(packet, _)| *packet == Some(ack.pkid));
                        if let Some((_, delivery)) = at.and_then(|at| link.answers.remove(at)) {
                            link.done_with(delivery);
                        }
                    }
                    _ => {}
                }
            }
            Event::Outgoing(Outgoing::Publish(packet)) => {
                if let Some((id, _)) = link.answers.iter_mut().find(|(id, _)| id.is_none()) {
                    *id = Some(packet);
                }
            }
            Event::Outgoing(Outgoing::PubAck(_)) => {
                link.releasing = link.releasing.saturating_sub(1);
                self.settle();
                self.status.send_modify(|status| status.answered += 1);
            }
            Event::Outgoing(Outgoing::AwaitAck(packet)) => return Err(Lost::Collision(packet)),
            Event::Outgoing(_) => {}
        }
        Ok(())
    }

    fn take_publish(&mut self, mut publish: Publish, link: &mut Link) -> Result<(), Lost> {
        let Some(down) = self.down_of(&publish) else {
            // Left over from another version's subscription.
            self.board.fault(DEVICE, "unexpected_topic", &publish.topic);
            // What stays subscribed costs traffic, and nothing else.
            let _ = link.outlet.client().try_unsubscribe(publish.topic.clone());
            link.kept(&publish);
            link.done_with(Some(publish.pkid));
            return Ok(());
        };
        self.status.send_modify(|status| status.messages += 1);
        let refusal = (publish.payload.len() > MESSAGE_BYTES).then(|| {
            let why = MessageError::TooLarge { most: MESSAGE_BYTES, came: publish.payload.len() };
            let ack = Ack::refused(&publish.payload, &why);
            publish.payload = Bytes::new();
            (why, ack)
        });
        // Once one is left out, all after it are, so that the order of delivery stays.
        let full = link.waiting.len() + link.asking.len() >= WAITING
            || link.waiting_bytes + publish.payload.len() > WAITING_BYTES
            || link.left_out > 0;
        if full {
            link.left_out += 1;
            return Ok(());
        }
        link.waiting_bytes += publish.payload.len();
        link.kept(&publish);
        let waiting = Waiting { publish, refusal };
        if down.is_beside() {
            link.asking.push_back(waiting);
        } else {
            link.waiting.push_back(waiting);
        }
        Ok(())
    }

    fn down_of(&self, publish: &Publish) -> Option<Down> {
        Down::ALL.into_iter().find(|down| publish.topic == self.topics.down(*down))
    }

    /// Takes waiting messages while there is room, and offers parts while the core takes them.
    fn work(&mut self, link: &mut Link) -> Result<(), Lost> {
        while self.in_process.has_room()
            && link.answers.len() < ANSWERS
            && let Some(waiting) = link.waiting.pop_front()
        {
            self.begin_or_refuse(waiting, link)?;
        }
        while self.in_process.has_errand_room()
            && self.errands.capacity() > 0
            && link.answers.len() < ANSWERS
            && let Some(waiting) = link.asking.pop_front()
        {
            self.begin_or_refuse(waiting, link)?;
        }
        while let Some(part) = self.offering.pop_front() {
            if let Err(part) = (self.offer)(part) {
                self.offering.push_front(part);
                break;
            }
        }
        link.let_go()?;
        let idle = link.waiting.is_empty()
            && link.asking.is_empty()
            && link.answers.is_empty()
            && link.releasing == 0;
        if link.left_out > 0 && idle && self.in_process.len() == 0 {
            return Err(Lost::Overrun);
        }
        let in_process = (self.in_process.len() + link.waiting.len() + link.asking.len()) as u64;
        self.status
            .send_if_modified(|status| std::mem::replace(&mut status.in_process, in_process) != in_process);
        Ok(())
    }

    fn begin_or_refuse(&mut self, waiting: Waiting, link: &mut Link) -> Result<(), Lost> {
        let Waiting { publish, refusal } = waiting;
        link.waiting_bytes -= publish.payload.len();
        match refusal {
            Some((why, ack)) => self.refuse_with(publish, &why, ack, link),
            None => self.begin(publish, link),
        }
    }

    /// Steps 2 and 3 of a message.
    fn begin(&mut self, publish: Publish, link: &mut Link) -> Result<(), Lost> {
        let read = match self.down_of(&publish).unwrap_or(Down::Orders) {
            Down::Orders => orders::read(&publish.payload).map(|message| {
                let parts = message.parts.into_iter().map(Part::Orders).collect();
                Begun {
                    down: Down::Orders,
                    id: message.id,
                    work: Work::Parts(parts),
                    refused: message.refused,
                }
            }),
            Down::Holds => holds::read(&publish.payload).map(|message| {
                let parts = message.parts.into_iter().map(Part::Holds).collect();
                Begun {
                    down: Down::Holds,
                    id: message.id,
                    work: Work::Parts(parts),
                    refused: message.refused,
                }
            }),
            Down::Plans => questions::read_plan(&publish.payload).map(|plan| Begun {
                down: Down::Plans,
                id: plan.id.clone(),
                work: Work::Errand(Errand::Plan(plan)),
                refused: Vec::new(),
            }),
            Down::Ask => questions::read_ask(&publish.payload).map(|ask| match ask {
                AskMessage::Evidence { id, code } => Begun {
                    down: Down::Ask,
                    id: id.clone(),
                    work: Work::Errand(Errand::Evidence { id, code }),
                    refused: Vec::new(),
                },
                // From here on it is an order like any other.
                AskMessage::UnknownParcel(batch) => Begun {
                    down: Down::Orders,
                    id: batch.message.clone(),
                    work: Work::Parts(vec![Part::Orders(batch)]),
                    refused: Vec::new(),
                },
            }),
        };
        let Begun { down, id, work, refused } = match read {
            Ok(begun) => begun,
            Err(why) => return self.refuse(publish, &why, link),
        };
        let digest: [u8; 32] = Sha256::digest(&publish.payload).into();
        if let Some(running) = self.in_process.get_mut(down, &id) {
            if running.digest != digest {
                return self.refuse(publish, &MessageError::IdInUse, link);
            }
            // The same once more: after a reconnect it brings the packet id to release it by. Sent twice by
            // upstream, the older delivery is answered by the same answer and released here.
            link.done_with(running.delivery.replace(publish.pkid));
            return Ok(());
        }
        for Refusal { order, code, reason } in &refused {
            tracing::debug!(message = %id, ?order, ?code, why = %reason, "refused");
        }
        let running = self.in_process.message(publish.pkid, digest, refused, Instant::now());
        match work {
            Work::Parts(parts) if parts.is_empty() => {
                return self.answer(Ack::taken(id, 0, running.refused), Some(publish.pkid), link);
            }
            Work::Parts(parts) => {
                self.in_process.begin(down, id, parts.len(), running);
                self.offering.extend(parts);
            }
            Work::Errand(errand) => {
                self.in_process.begin(down, id, 0, running);
                // There was room when this was begun, and nobody else sends. A daemon that is closing takes no
                // more; then the message is not answered and comes again.
                drop(self.errands.try_send(errand));
            }
        }
        Ok(())
    }

    fn refuse(&mut self, publish: Publish, why: &MessageError, link: &mut Link) -> Result<(), Lost> {
        let ack = Ack::refused(&publish.payload, why);
        self.refuse_with(publish, why, ack, link)
    }

    fn refuse_with(
        &mut self,
        publish: Publish,
        why: &MessageError,
        ack: Ack,
        link: &mut Link,
    ) -> Result<(), Lost> {
        self.board.fault(DEVICE, "malformed_message", why);
        self.status.send_modify(|status| status.refused_messages += 1);
        self.answer(ack, Some(publish.pkid), link)
    }

    /// Step 5 of a message that is durable now, or needs not be.
    fn heed(&mut self, notice: Notice, link: &mut Link) {
        let (down, message) = match &notice {
            Notice::Durable(Durable { down, message, .. }) | Notice::Done { down, message, .. } => {
                (*down, message.clone())
            }
        };
        let Some(running) = self.in_process.done(down, &message) else {
            // Given up meanwhile, or recorded before a restart; the broker delivers it again.
            tracing::debug!(message, "done, but nobody waits for it");
            return;
        };
        let ack = match notice {
            Notice::Durable(durable) => {
                let mut refused = running.refused;
                refused.extend(durable.refused);
                if let Some(plan) = &durable.plan {
                    self.status.send_modify(|status| status.plan_staged = Some(plan.version.clone()));
                }
                Ack { plan: durable.plan, ..Ack::taken(message, durable.accepted, refused) }
            }
            Notice::Done { ack, .. } => ack,
        };
        if let Err(why) = self.answer(ack, running.delivery, link) {
            // Not answered and not released, so the broker delivers it again.
            self.board.fault(DEVICE, "answer", &why);
        }
    }

    fn answer(&mut self, ack: Ack, delivery: Option<u16>, link: &mut Link) -> Result<(), Lost> {
        self.status.send_modify(|status| {
            status.accepted += ack.accepted;
            status.refused += ack.refused_count;
        });
        let sent = link.outlet.publish(&self.topics.acks(), false, ack.bytes().into());
        sent.map_err(|_| Lost::Overrun)?;
        link.answers.push_back((None, delivery));
        Ok(())
    }

    /// This connection works: a message was answered and released on it, or it has lasted. Not before that: a broker
    /// that hangs up at the first answer grants each subscription.
    fn settle(&mut self) {
        if std::mem::take(&mut self.attempt) > ALARM_AFTER {
            self.board.device(DEVICE, Ne107::Good, "subscribed", REMEDY);
        }
    }

    fn look(&mut self, link: &Link) -> Result<(), Lost> {
        if link.subscribed.is_some_and(|since| since.elapsed() > SETTLED) {
            self.board.clear(oversized::ALARM);
            self.settle();
        }
        let silence = broker::idle_silence(&self.settings);
        if link.heard.elapsed() > silence {
            return Err(Lost::Silence(silence.as_millis()));
        }
        let given_up = self.in_process.give_up((self.how_far)(), Instant::now());
        if given_up.is_empty() {
            return Ok(());
        }
        self.offering
            .retain(|part| !given_up.iter().any(|(down, id)| *down == part.down() && id == part.message()));
        Err(Lost::Stuck(DURABLE_WITHIN.as_secs()))
    }
}

impl Link {
    /// A delivery that is to be released some time. Its payload goes its own way.
    fn kept(&mut self, publish: &Publish) {
        let Publish { dup, qos, retain, pkid, .. } = *publish;
        let (topic, payload) = (String::new(), Default::default());
        self.deliveries.push_back((Publish { dup, qos, retain, topic, pkid, payload }, false));
    }

    /// Its answer has arrived, or it needs none.
    fn done_with(&mut self, delivery: Option<u16>) {
        let of = |kept: &Publish| Some(kept.pkid) == delivery;
        // Deliveries under QoS 0, which nobody releases, all have packet id 0.
        if let Some((_, done)) = self.deliveries.iter_mut().find(|(kept, done)| !*done && of(kept)) {
            *done = true;
        }
    }

    /// PUBACKs go out in the order of the deliveries (MQTT 3.1.1, 4.6.0-2); the embedded broker insists.
    fn let_go(&mut self) -> Result<(), Lost> {
        while self.releasing < RELEASES && self.deliveries.front().is_some_and(|(_, done)| *done) {
            let Some((first, _)) = self.deliveries.pop_front() else { break };
            self.outlet.client().try_ack(&first).map_err(|_| Lost::Overrun)?;
            self.releasing += u64::from(first.qos == QoS::AtLeastOnce);
        }
        Ok(())
    }
}
