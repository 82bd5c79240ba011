//! The uplink against brokers: a stub that can be told to misbehave, the embedded one, and mosquitto.

pub mod anchors_up;
mod backlog;
pub mod journal;
mod orders_down;
mod outbox;
mod real;
mod standing;
mod stub;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use self::journal::FakeJournal;
use super::Topics;
use super::down::{Down as Topic, Durable, Errand, Notice, Part, Progress};
use super::downstream::{Downstream, ERRANDS, Ends};
use super::health::LineBrief;
use super::orders::Refusal;
use super::publisher::Publisher;
use super::status::{DownstreamStatus, UplinkStatus};
use crate::line::event::OrderBatch;
use crate::site::{BrokerAddress, UplinkSettings};
use crate::watch::Board;

/// Longer than anything here takes; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

fn settings(port: u16) -> UplinkSettings {
    UplinkSettings {
        brokers: vec![BrokerAddress { host: "127.0.0.1".to_owned(), port }],
        tls: None,
        client_id: "sortd-test".to_owned(),
        login: None,
        window: 100,
        backlog_per_s: 1_000_000,
        silence_ms: 5_000,
        packet_limit: 1 << 20,
        health_ms: 60_000,
        echo_check: false,
    }
}

fn topics() -> Topics {
    Topics::new("dg", "l1")
}

/// A publisher at work.
struct Running {
    status: watch::Receiver<UplinkStatus>,
    board: Board,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

fn publish(settings: UplinkSettings, journal: &Arc<FakeJournal>) -> Running {
    let board = Board::default();
    let (stop, stopped) = watch::channel(false);
    let line = || LineBrief { state: "running".to_owned(), plan: "p1".to_owned(), alarms: Vec::new() };
    let (publisher, status) =
        Publisher::new(settings, topics(), Arc::clone(journal), board.clone(), Box::new(line), stopped);
    Running { status, board, stop, task: tokio::spawn(publisher.run()) }
}

impl Running {
    /// Waits until the status says so.
    async fn until(&mut self, what: &str, wanted: impl FnMut(&UplinkStatus) -> bool) {
        let reached = tokio::time::timeout(PATIENCE, self.status.wait_for(wanted)).await.is_ok();
        assert!(reached, "{what}: {:?}", self.status.borrow());
    }

    fn alarms(&self) -> Vec<String> {
        self.board.snapshot().1.into_iter().map(|alarm| alarm.id).collect()
    }

    async fn end(self) {
        self.stop.send(true).unwrap();
        tokio::time::timeout(PATIENCE, self.task).await.expect("it stops").unwrap();
    }
}

/// A downstream client at work, with a core that takes parts into a small channel.
struct Down {
    status: watch::Receiver<DownstreamStatus>,
    parts: crossbeam_channel::Receiver<Part>,
    errands: mpsc::Receiver<Errand>,
    notices: mpsc::Sender<Notice>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

fn listen(settings: UplinkSettings) -> Down {
    listen_beside(settings, Board::default(), false)
}

/// The same beside a publisher that is connected, or not.
fn listen_beside(settings: UplinkSettings, board: Board, connected: bool) -> Down {
    // Two places, so that larger messages meet a full channel.
    let (offer, parts) = crossbeam_channel::bounded(2);
    let (told, notices) = mpsc::channel(16);
    let (errand, errands) = mpsc::channel(ERRANDS);
    let (stop, stopped) = watch::channel(false);
    let (_, uplink) = watch::channel(UplinkStatus { connected, ..UplinkStatus::default() });
    let (downstream, status) = Downstream::new(
        settings,
        topics(),
        Ends {
            offer: Box::new(move |part| {
                offer.try_send(part).map_err(crossbeam_channel::TrySendError::into_inner)
            }),
            errands: errand,
            notices,
            how_far: Box::new(|| Progress { durable: 0, waits: false }),
        },
        board,
        uplink,
        stopped,
    );
    Down { status, parts, errands, notices: told, stop, task: tokio::spawn(downstream.run()) }
}

impl Down {
    async fn until(&mut self, what: &str, wanted: impl FnMut(&DownstreamStatus) -> bool) {
        let reached = tokio::time::timeout(PATIENCE, self.status.wait_for(wanted)).await.is_ok();
        assert!(reached, "{what}: {:?}", self.status.borrow());
    }

    /// The next part the core is given.
    async fn any_part(&self) -> Part {
        let parts = self.parts.clone();
        tokio::task::spawn_blocking(move || parts.recv_timeout(PATIENCE).expect("a part comes"))
            .await
            .unwrap()
    }

    async fn part(&self) -> OrderBatch {
        match self.any_part().await {
            Part::Orders(batch) => batch,
            other => panic!("{other:?}"),
        }
    }

    /// Plays the journal: everything of a message is durable.
    async fn durable(&self, down: Topic, message: &str, accepted: u64, refused: Vec<Refusal>) {
        let message = message.to_owned();
        let durable = Durable { down, message, accepted, refused, plan: None };
        self.notices.send(Notice::Durable(durable)).await.unwrap();
    }

    /// Plays core and journal: takes parts and makes messages durable, up to and including message `id`; gives
    /// back the messages in order. A release the broker did not hear before a cable was pulled is a repetition
    /// here, which is applied and answered again.
    async fn apply_until(&self, id: &str) -> Vec<String> {
        let (mut applied, mut accepted) = (Vec::new(), 0);
        loop {
            let part = self.part().await;
            accepted += part.orders.len() as u64;
            if part.last {
                self.durable(Topic::Orders, &part.message, accepted, Vec::new()).await;
                accepted = 0;
                applied.push(part.message);
                if applied.last().is_some_and(|last| last == id) {
                    return applied;
                }
            }
        }
    }

    async fn end(self) {
        self.stop.send(true).unwrap();
        tokio::time::timeout(PATIENCE, self.task).await.expect("it stops").unwrap();
    }
}
