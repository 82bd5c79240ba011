//! The upstream that checks: it receives a line's events and finds what is wrong with them, and pushes orders down.
//!
//! The cloud holds a persistent session of its own, acknowledges an event after it is in the books, and pushes orders
//! until the line has answered each message. Any error ends client and connection both; they are built anew.
//!
//! Against a broker that forgets its sessions when it restarts, events that the line publishes before the cloud is back
//! are gone for the cloud although the broker acknowledged them: outages that must not lose anything use a broker with
//! memory.

pub mod ledger;
pub mod orders;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, NetworkOptions, Packet, Publish, QoS};
use serde::Serialize;
use serde_json::Value;
use sortd::line::event::Order;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use ledger::{EventReport, HashOf, Ledger, Taken};
use orders::{OrderReport, Orders, TooManyOrders};

/// Largest packet: twice the largest message of the contract.
const PACKET_LIMIT: usize = 1024 * 1024;

/// Requests to the client that may wait: acknowledgements and order messages.
const CLIENT_QUEUE: usize = 256;

/// Pause after a lost connection; brokers on loopback are back at once or not at all.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// How often orders that are due are looked for, and the events' file is flushed.
const PERIOD: Duration = Duration::from_millis(50);

/// How the cloud is set up.
#[derive(Debug, Clone)]
pub struct CloudSettings {
    /// Host of the broker.
    pub host: String,
    /// Port of the broker.
    pub port: u16,
    /// `sortd/v1/{site}/{line}`.
    pub topics: String,
    /// MQTT client id; order messages carry it too, so it is one run's own.
    pub client_id: String,
    /// Computes a document's `eventID`s.
    pub hash_of: HashOf,
    /// Demand each epoch from seq 1; off for a cloud that joins a line that has run before.
    pub from_the_first: bool,
    /// Every distinct event, one document a line.
    pub events_file: Option<PathBuf>,
}

/// What the cloud has found so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CloudReport {
    /// Events.
    #[serde(flatten)]
    pub events: EventReport,
    /// Orders.
    pub orders: OrderReport,
    /// Connections made to the broker.
    pub connections: u64,
    /// Newest `health` message.
    pub health: Option<Value>,
    /// Why the events' file is not complete.
    pub file_fault: Option<String>,
}

/// Why the cloud could not start.
#[derive(Debug, thiserror::Error)]
#[error("the file for events, {}, could not be made: {source}", path.display())]
pub struct EventsFileError {
    path: PathBuf,
    source: std::io::Error,
}

/// A running cloud; it ends when dropped.
#[derive(Debug)]
pub struct Cloud {
    books: Arc<Mutex<Books>>,
    changed: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Books {
    ledger: Ledger,
    orders: Orders,
    connections: u64,
    health: Option<Value>,
    file: Option<BufWriter<File>>,
    file_fault: Option<String>,
}

impl Cloud {
    /// Starts on the current tokio runtime; it connects as soon as the broker is there.
    ///
    /// # Errors
    /// [`EventsFileError`].
    pub fn start(settings: CloudSettings) -> Result<Cloud, EventsFileError> {
        let file = match &settings.events_file {
            None => None,
            Some(path) => match File::create(path) {
                Ok(file) => Some(BufWriter::new(file)),
                Err(source) => return Err(EventsFileError { path: path.clone(), source }),
            },
        };
        let books = Arc::new(Mutex::new(Books {
            ledger: Ledger::new(settings.hash_of, settings.from_the_first),
            orders: Orders::new(&settings.client_id),
            connections: 0,
            health: None,
            file,
            file_fault: None,
        }));
        let (tell, changed) = watch::channel(0);
        let task = tokio::spawn(run(settings, Arc::clone(&books), tell));
        Ok(Cloud { books, changed, task })
    }

    /// Pushes orders ahead of their parcels.
    ///
    /// # Errors
    /// [`TooManyOrders`]; none of these is taken then.
    pub fn push_orders(&self, orders: &[Order]) -> Result<(), TooManyOrders> {
        lock(&self.books).orders.push(orders)
    }

    /// The report of this moment; the events' file is complete up to it.
    pub fn report(&self) -> CloudReport {
        let mut books = lock(&self.books);
        books.flush();
        CloudReport {
            events: books.ledger.report(),
            orders: books.orders.report(),
            connections: books.connections,
            health: books.health.clone(),
            file_fault: books.file_fault.clone(),
        }
    }

    /// Waits until the report is as wanted; the newest report in any case, `Err` where time ran out.
    ///
    /// # Errors
    /// The report as it was when `patience` ended.
    pub async fn until(
        &self,
        patience: Duration,
        mut wanted: impl FnMut(&CloudReport) -> bool,
    ) -> Result<CloudReport, Box<CloudReport>> {
        let mut changed = self.changed.clone();
        let waiting = async {
            loop {
                changed.mark_unchanged();
                let report = self.report();
                if wanted(&report) {
                    return report;
                }
                if changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::time::timeout(patience, waiting).await.map_err(|_| Box::new(self.report()))
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.task.abort();
        lock(&self.books).flush();
    }
}

fn lock(books: &Mutex<Books>) -> MutexGuard<'_, Books> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Books {
    fn event(&mut self, payload: &[u8]) {
        let taken = self.ledger.take(payload);
        if !matches!(taken, Taken::New | Taken::Conflicting) {
            return;
        }
        let Some(file) = &mut self.file else { return };
        // A document is on one line already unless somebody formatted it.
        let one_line = !payload.contains(&b'\n');
        let written = if one_line {
            file.write_all(payload).and_then(|()| file.write_all(b"\n"))
        } else {
            serde_json::from_slice::<Value>(payload)
                .map_err(std::io::Error::from)
                .and_then(|document| writeln!(file, "{document}"))
        };
        if let Err(error) = written {
            self.file_failed(&error);
        }
    }

    fn flush(&mut self) {
        if let Some(Err(error)) = self.file.as_mut().map(Write::flush) {
            self.file_failed(&error);
        }
    }

    fn file_failed(&mut self, error: &std::io::Error) {
        self.file_fault = Some(error.to_string());
        self.file = None;
    }
}

async fn run(settings: CloudSettings, books: Arc<Mutex<Books>>, tell: watch::Sender<u64>) {
    loop {
        let error = connection(&settings, &books, &tell).await;
        tracing::debug!(%error, "cloud connection ended");
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

/// One connection, from its opening to the error that ends it.
async fn connection(settings: &CloudSettings, books: &Mutex<Books>, tell: &watch::Sender<u64>) -> String {
    let (client, mut events) = open(settings);
    let begun = tokio::time::Instant::now();
    let mut period = tokio::time::interval(PERIOD);
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut subscribed = false;
    loop {
        tokio::select! {
            polled = events.poll() => match polled {
                Err(error) => return error.to_string(),
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    lock(books).connections += 1;
                    for topic in ["events", "acks", "health"] {
                        let topic = format!("{}/{topic}", settings.topics);
                        if let Err(error) = client.try_subscribe(topic, QoS::AtLeastOnce) {
                            return error.to_string();
                        }
                    }
                }
                Ok(Event::Incoming(Packet::SubAck(_))) if !subscribed => {
                    subscribed = true;
                    lock(books).orders.reconnected();
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    take(settings, books, &publish);
                    // A full queue would keep the acknowledgement back for ever: begin again instead.
                    if let Err(error) = client.try_ack(&publish) {
                        return error.to_string();
                    }
                }
                Ok(Event::Incoming(_) | Event::Outgoing(_)) => continue,
            },
            _ = period.tick() => {
                let mut books = lock(books);
                books.flush();
                while subscribed && let Some(payload) = books.orders.due(begun.elapsed()) {
                    let topic = format!("{}/orders", settings.topics);
                    if let Err(error) = client.try_publish(topic, QoS::AtLeastOnce, false, payload) {
                        return error.to_string();
                    }
                }
            }
        }
        tell.send_modify(|count| *count += 1);
    }
}

fn open(settings: &CloudSettings) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    options.set_clean_session(false).set_manual_acks(true).set_keep_alive(Duration::from_secs(5));
    options.set_max_packet_size(PACKET_LIMIT, PACKET_LIMIT);
    let (client, mut events) = AsyncClient::new(options, CLIENT_QUEUE);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    events.set_network_options(network);
    (client, events)
}

fn take(settings: &CloudSettings, books: &Mutex<Books>, publish: &Publish) {
    let topic = publish.topic.strip_prefix(&settings.topics).and_then(|rest| rest.strip_prefix('/'));
    let mut books = lock(books);
    match topic {
        Some("events") => books.event(&publish.payload),
        Some("acks") => books.orders.acked(&publish.payload),
        Some("health") => books.health = serde_json::from_slice(&publish.payload).ok(),
        Some(_) | None => tracing::debug!(topic = publish.topic, "not a topic of this line"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::ledger::tests::{INDUCTING, SORTING, document, invented_hash};
    use super::orders::tests::order;
    use super::*;
    use crate::broker::{Broker, Memory};

    /// Longest wait; reached only where something is wrong.
    const PATIENCE: Duration = Duration::from_secs(30);
    const TOPICS: &str = "sortd/v1/dongguan/l1";

    fn settings(port: u16) -> CloudSettings {
        CloudSettings {
            host: "127.0.0.1".to_owned(),
            port,
            topics: TOPICS.to_owned(),
            client_id: "cloud".to_owned(),
            hash_of: invented_hash,
            from_the_first: true,
            events_file: None,
        }
    }

    /// A line as the cloud sees it: publishes what it is given, acks every order message.
    struct Line {
        client: AsyncClient,
        task: JoinHandle<()>,
    }

    impl Line {
        fn start(port: u16) -> Line {
            let mut options = MqttOptions::new("line", "127.0.0.1", port);
            options.set_clean_session(false).set_max_packet_size(PACKET_LIMIT, PACKET_LIMIT);
            let (client, mut events) = AsyncClient::new(options, 1000);
            let answering = client.clone();
            let task = tokio::spawn(async move {
                loop {
                    match events.poll().await {
                        Ok(Event::Incoming(Packet::ConnAck(_))) => {
                            answering.try_subscribe(format!("{TOPICS}/orders"), QoS::AtLeastOnce).unwrap();
                        }
                        Ok(Event::Incoming(Packet::Publish(publish))) => {
                            let message: Value = serde_json::from_slice(&publish.payload).unwrap();
                            let count = message["orders"].as_array().unwrap().len();
                            let ack = json!({"id": message["id"], "accepted": count, "refused": [], "refused_count": 0});
                            let topic = format!("{TOPICS}/acks");
                            answering.try_publish(topic, QoS::AtLeastOnce, false, ack.to_string()).unwrap();
                        }
                        Ok(_) => {}
                        Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                    }
                }
            });
            Line { client, task }
        }

        async fn publish(&self, document: &Value) {
            let topic = format!("{TOPICS}/events");
            self.client.publish(topic, QoS::AtLeastOnce, false, document.to_string()).await.unwrap();
        }
    }

    impl Drop for Line {
        fn drop(&mut self) {
            self.task.abort();
        }
    }

    async fn events_and_orders_survive_an_outage(mut broker: Broker) {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("events.jsonl");
        let cloud =
            Cloud::start(CloudSettings { events_file: Some(file.clone()), ..settings(broker.port) }).unwrap();
        cloud.until(PATIENCE, |report| report.connections == 1).await.unwrap();
        let orders: Vec<Order> = (0..1200).map(order).collect();
        cloud.push_orders(&orders).unwrap();
        let line = Line::start(broker.port);
        cloud.until(PATIENCE, |report| report.orders.accepted == 1200).await.unwrap();

        for seq in (1..=200).step_by(2) {
            line.publish(&document(seq, &format!("3-{seq}"), INDUCTING, &[])).await;
            line.publish(&document(seq + 1, &format!("3-{seq}"), SORTING, &[])).await;
        }
        cloud.until(PATIENCE, |report| report.events.distinct == 200).await.unwrap();
        broker.stop();
        cloud.push_orders(&orders[..10]).unwrap();
        broker.start_again(Memory::Kept).unwrap();
        line.publish(&document(201, "3-201", INDUCTING, &[])).await;
        let report = cloud
            .until(PATIENCE, |report| report.events.distinct == 201 && report.orders.waiting == 0)
            .await
            .unwrap();
        assert!(report.events.is_sound(), "{:?}", report.events);
        assert_eq!((report.events.open, report.connections), (1, 2));
        assert_eq!((report.orders.pushed, report.orders.accepted), (1210, 1210));
        let written = std::fs::read_to_string(&file).unwrap();
        assert_eq!(written.lines().count(), 201);
        for line in written.lines() {
            let document: Value = serde_json::from_str(line).unwrap();
            assert_eq!(document["type"], "EPCISDocument");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_embedded_broker_may_go_and_come() {
        events_and_orders_survive_an_outage(Broker::start().unwrap()).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn mosquitto_may_go_and_come() {
        if Broker::has_mosquitto() {
            events_and_orders_survive_an_outage(Broker::mosquitto().unwrap()).await;
        } else {
            assert!(std::env::var_os("SORTD_TEST_ALL").is_none(), "mosquitto is not installed");
            eprintln!("skipped: mosquitto is not installed");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_wrong_is_found_over_the_wire() {
        let broker = Broker::start().unwrap();
        let cloud = Cloud::start(settings(broker.port)).unwrap();
        cloud.until(PATIENCE, |report| report.connections == 1).await.unwrap();
        // The subscription stands once an answer to it has come: orders go out only then.
        let line = Line::start(broker.port);
        cloud.push_orders(&[order(1)]).unwrap();
        cloud.until(PATIENCE, |report| report.orders.acked == 1).await.unwrap();
        line.publish(&document(1, "3-1", INDUCTING, &[])).await;
        line.publish(&document(1, "3-1", INDUCTING, &[])).await;
        line.publish(&document(1, "3-2", INDUCTING, &[])).await;
        line.publish(&document(3, "3-3", SORTING, &[])).await;
        line.publish(&json!({"not": "epcis"})).await;
        let report = cloud.until(PATIENCE, |report| report.events.received == 5).await.unwrap().events;
        assert!(!report.is_sound());
        assert_eq!((report.distinct, report.duplicates, report.conflicting), (2, 1, 1));
        assert_eq!((report.missing, report.malformed, report.never_inducted), (1, 1, 1));
    }
}
