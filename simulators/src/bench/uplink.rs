//! `sim bench uplink`: how fast a backlog goes out, and what live events notice of it.
//!
//! *Throughput*: a journal full of milestones is drained through the real publisher without a rate limit. The floor is
//! a bare rumqttc loop with the same window, broker and payloads, encoded beforehand and in memory; nothing is read, kept
//! or released. Both are run in turn, several times; the medians count. Nobody subscribes: that would be the
//! broker's work, not the uplink's.
//!
//! *Latency*: 30 parcels/s are recorded and published; from the moment a milestone is handed to the journal to the
//! moment a subscriber has it. Once with nothing else to do (*idle*), once while a backlog is drained beside it at the
//! default rate (*draining*).

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, NetworkOptions, Packet, QoS};
use serde::Serialize;
use sortd::site::UplinkSettings;
use sortd::uplink::epcis::Pen;
use sortd::uplink::milestones::{Cursor, Milestones};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::broker::{Broker, BrokerError};
use crate::outbox::{EVENTS_A_PARCEL, Outbox, OutboxError};

/// No rate limit that anything here reaches.
const UNLIMITED: u32 = 1_000_000;

/// Parcels a second while latency is measured.
const PARCELS_PER_S: u64 = 30;

/// Longest wait for a drain; reached only where something is wrong.
const PATIENCE: Duration = Duration::from_secs(600);

/// Largest packet of the bare loops.
const PACKET_LIMIT: usize = 1 << 20;

/// Options.
#[derive(Debug, Clone, Args)]
pub struct UplinkBench {
    /// Events of the backlog.
    #[arg(long, default_value_t = 200_000)]
    pub events: u64,
    /// Publishes in flight, for both.
    #[arg(long, default_value_t = 100)]
    pub window: u16,
    /// Rounds of throughput; the medians count.
    #[arg(long, default_value_t = 3)]
    pub rounds: u16,
    /// Seconds of live events, idle and draining each.
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
    /// The embedded broker even where mosquitto is installed.
    #[arg(long)]
    pub embedded: bool,
}

/// The figures, under the names that are promised.
#[derive(Debug, Clone, Serialize)]
pub struct UplinkFigures {
    /// Events acknowledged a second.
    pub events_per_s: f64,
    /// The same through the bare loop.
    pub floor_events_per_s: f64,
    /// Of the two.
    pub ratio: f64,
    /// Journal to subscriber, with nothing else to do.
    pub live_p99_ms_idle: f64,
    /// Journal to subscriber, beside a backlog.
    pub live_p99_ms_draining: f64,
    /// Which broker.
    #[serde(skip)]
    pub broker: &'static str,
    /// p50 of both, for the reader.
    #[serde(skip)]
    pub p50_ms: (f64, f64),
    /// How many live events were measured, idle and draining.
    #[serde(skip)]
    pub live: (usize, usize),
}

impl fmt::Display for UplinkFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "uplink against {}", self.broker)?;
        writeln!(f, "  drained            {:>10.0} events/s", self.events_per_s)?;
        writeln!(f, "  bare loop          {:>10.0} events/s", self.floor_events_per_s)?;
        writeln!(f, "  ratio              {:>10.2}", self.ratio)?;
        let (idle, draining) = (self.live_p99_ms_idle, self.live_p99_ms_draining);
        writeln!(
            f,
            "  live, idle         {:>10.2} ms p99, {:.2} ms p50, {} events",
            idle, self.p50_ms.0, self.live.0
        )?;
        write!(
            f,
            "  live, draining     {:>10.2} ms p99, {:.2} ms p50, {} events",
            draining, self.p50_ms.1, self.live.1
        )
    }
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum UplinkBenchError {
    /// No broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// No journal.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The disk.
    #[error("the store's directory: {0}")]
    Directory(#[from] std::io::Error),
    /// The events could not be read back.
    #[error(transparent)]
    Milestones(#[from] sortd::uplink::milestones::MilestonesError),
    /// The bare client.
    #[error("the bare client: {0}")]
    Client(String),
    /// It took too long.
    #[error("{0} took longer than {PATIENCE:?}")]
    Patience(&'static str),
    /// The backlog was drained before the live events were over.
    #[error("the backlog of {events} events was drained before {seconds} s were over: give more --events")]
    Drained {
        /// As asked.
        events: u64,
        /// As asked.
        seconds: u64,
    },
}

/// Measures.
///
/// # Errors
/// [`UplinkBenchError`].
pub async fn run(options: &UplinkBench, directory: &Path) -> Result<UplinkFigures, UplinkBenchError> {
    let mosquitto = Broker::has_mosquitto() && !options.embedded;
    let broker = if mosquitto { Broker::mosquitto()? } else { Broker::start()? };
    let name = if mosquitto {
        "mosquitto"
    } else {
        "the embedded broker (mosquitto is not installed or not wanted)"
    };
    println!("filling the store with {} events …", options.events);
    let mut outbox = tokio::task::block_in_place(|| Outbox::open(directory))?;
    tokio::task::block_in_place(|| outbox.fill(options.events))?;

    let settings = UplinkSettings { window: options.window, ..outbox.settings(broker.port) };
    let topic = outbox.topics().events();
    let (mut ours, mut floors) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds.max(1) {
        let payloads = tokio::task::block_in_place(|| encoded(&outbox))?;
        let floor = bare_loop(broker.port, options.window, topic.clone(), payloads);
        floors.push(tokio::spawn(floor).await.map_err(|why| UplinkBenchError::Client(why.to_string()))??);
        outbox.forget_cursors()?;
        ours.push(drained(&outbox, UplinkSettings { backlog_per_s: UNLIMITED, ..settings.clone() }).await?);
        let (floor, our) = (floors[floors.len() - 1], ours[ours.len() - 1]);
        println!("round {round}: bare loop {floor:.0} events/s, drained {our:.0} events/s");
    }
    let (events_per_s, floor_events_per_s) = (median(ours), median(floors));

    println!("{} parcels/s for {} s, idle, then draining …", PARCELS_PER_S, options.seconds);
    let idle = live(&mut outbox, settings.clone(), options.seconds, &topic).await?;
    outbox.forget_cursors()?;
    let draining = live(&mut outbox, settings, options.seconds, &topic).await?;
    if !draining.still_behind {
        return Err(UplinkBenchError::Drained { events: options.events, seconds: options.seconds });
    }
    tokio::task::block_in_place(|| outbox.close());
    Ok(UplinkFigures {
        events_per_s,
        floor_events_per_s,
        ratio: events_per_s / floor_events_per_s,
        live_p99_ms_idle: idle.quantile(0.99),
        live_p99_ms_draining: draining.quantile(0.99),
        broker: name,
        p50_ms: (idle.quantile(0.5), draining.quantile(0.5)),
        live: (idle.millis.len(), draining.millis.len()),
    })
}

#[expect(clippy::disallowed_methods, reason = "it measures real time")]
fn now() -> Instant {
    Instant::now()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Every document as the publisher would send it.
fn encoded(outbox: &Outbox) -> Result<Vec<Vec<u8>>, UplinkBenchError> {
    let upstream = outbox.upstream()?;
    let mut at = Cursor { epoch: upstream.head().unwrap_or_default().epoch, seq: 0 };
    let mut payloads = Vec::new();
    let mut pen: Option<Pen> = None;
    let (mut reading, mut encoding) = (Duration::ZERO, Duration::ZERO);
    loop {
        let begun = now();
        let records = upstream.after(at, 256)?;
        let read = now();
        reading += read.duration_since(begun);
        for record in &records {
            if pen.is_none() {
                pen = upstream.run_of(record.seq).map(Pen::new);
            }
            payloads.extend(pen.as_ref().and_then(|pen| pen.document(record, at.epoch)));
            at.seq = record.event_seq.unwrap_or(at.seq);
        }
        encoding += read.elapsed();
        if records.is_empty() {
            let each = |took: Duration| took.as_secs_f64() * 1e6 / payloads.len().max(1) as f64;
            println!("reading {:.1} µs, encoding {:.1} µs an event", each(reading), each(encoding));
            return Ok(payloads);
        }
    }
}

fn client(port: u16, id: &str, window: u16) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(id, "127.0.0.1", port);
    options.set_clean_session(true).set_inflight(window).set_max_packet_size(PACKET_LIMIT, PACKET_LIMIT);
    let (client, mut events) = AsyncClient::new(options, usize::from(window));
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    events.set_network_options(network);
    (client, events)
}

/// The floor: publishes, counts acknowledgements, does nothing else.
async fn bare_loop(
    port: u16,
    window: u16,
    topic: String,
    payloads: Vec<Vec<u8>>,
) -> Result<f64, UplinkBenchError> {
    let client_error = |why: &dyn fmt::Display| UplinkBenchError::Client(why.to_string());
    let (client, mut events) = client(port, "bench-floor", window);
    while !matches!(
        events.poll().await.map_err(|why| client_error(&why))?,
        Event::Incoming(Packet::ConnAck(_))
    ) {}
    let total = payloads.len();
    let mut payloads = payloads.into_iter();
    let (mut in_flight, mut acknowledged) = (0, 0);
    let begun = now();
    while acknowledged < total {
        while in_flight < window
            && let Some(payload) = payloads.next()
        {
            client
                .try_publish(&*topic, QoS::AtLeastOnce, false, payload)
                .map_err(|why| client_error(&why))?;
            in_flight += 1;
        }
        if let Event::Incoming(Packet::PubAck(_)) = events.poll().await.map_err(|why| client_error(&why))? {
            acknowledged += 1;
            in_flight -= 1;
        }
    }
    Ok(total as f64 / begun.elapsed().as_secs_f64())
}

/// The publisher, from its connection to the last acknowledgement.
async fn drained(outbox: &Outbox, settings: UplinkSettings) -> Result<f64, UplinkBenchError> {
    let mut publishing = outbox.publish(settings)?;
    if !publishing.until(PATIENCE, |status| status.connected).await {
        return Err(UplinkBenchError::Patience("connecting"));
    }
    let begun = now();
    let events = outbox.events();
    if !publishing.until(PATIENCE, |status| status.cursor == events && status.backlog == 0).await {
        return Err(UplinkBenchError::Patience("draining"));
    }
    let took = begun.elapsed();
    publishing.end().await;
    Ok(events as f64 / took.as_secs_f64())
}

/// Live events measured.
struct Live {
    millis: Vec<f64>,
    still_behind: bool,
}

impl Live {
    fn quantile(&self, q: f64) -> f64 {
        let rank = (self.millis.len() as f64 * q).ceil() as usize;
        self.millis.get(rank.clamp(1, self.millis.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
    }
}

/// When each event was handed to the journal, until it is heard.
type Handed = Arc<Mutex<BTreeMap<u64, Instant>>>;

async fn live(
    outbox: &mut Outbox,
    settings: UplinkSettings,
    seconds: u64,
    topic: &str,
) -> Result<Live, UplinkBenchError> {
    let handed: Handed = Arc::default();
    let (subscribed, ready) = oneshot::channel();
    let (stop, stopped) = oneshot::channel();
    let subscriber: JoinHandle<Vec<f64>> = tokio::spawn(listen(
        settings.brokers[0].port,
        topic.to_owned(),
        Arc::clone(&handed),
        subscribed,
        stopped,
    ));
    if ready.await.is_err() {
        return Err(UplinkBenchError::Client("the subscriber did not come up".to_owned()));
    }
    let mut publishing = outbox.publish(settings)?;
    if !publishing.until(PATIENCE, |status| status.connected && status.live_epoch > 0).await {
        return Err(UplinkBenchError::Patience("connecting"));
    }
    let mut beat = tokio::time::interval(Duration::from_secs(1) / (PARCELS_PER_S * EVENTS_A_PARCEL) as u32);
    let count = seconds * PARCELS_PER_S * EVENTS_A_PARCEL;
    for _ in 0..count {
        beat.tick().await;
        handed.lock().unwrap_or_else(PoisonError::into_inner).insert(outbox.events() + 1, now());
        outbox.tell()?;
    }
    let still_behind = publishing.status.borrow().live.is_some();
    let heard = async {
        while !handed.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, heard).await.is_err() {
        return Err(UplinkBenchError::Patience("hearing the live events"));
    }
    publishing.end().await;
    // A subscriber that has ended gives what it has.
    let _ = stop.send(());
    let mut millis = subscriber.await.map_err(|why| UplinkBenchError::Client(why.to_string()))?;
    millis.sort_by(f64::total_cmp);
    Ok(Live { millis, still_behind })
}

/// Hears events until told to stop; milliseconds of each that was handed over.
async fn listen(
    port: u16,
    topic: String,
    handed: Handed,
    subscribed: oneshot::Sender<()>,
    mut stop: oneshot::Receiver<()>,
) -> Vec<f64> {
    let (client, mut events) = client(port, "bench-witness", 100);
    let (mut subscribed, mut millis) = (Some(subscribed), Vec::new());
    loop {
        let polled = tokio::select! {
            polled = events.poll() => polled,
            _ = &mut stop => return millis,
        };
        match polled {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                // The channel has room for one.
                let _ = client.try_subscribe(&*topic, QoS::AtMostOnce);
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => {
                if let Some(subscribed) = subscribed.take() {
                    let _ = subscribed.send(());
                }
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let at = now();
                let mut handed = handed.lock().unwrap_or_else(PoisonError::into_inner);
                let sent = seq_of(&publish.payload).and_then(|seq| handed.remove(&seq));
                if let Some(sent) = sent {
                    millis.push(at.duration_since(sent).as_secs_f64() * 1_000.0);
                }
            }
            Ok(_) => {}
            Err(_) => return millis,
        }
    }
}

/// The event's sequence, found without reading the document.
pub fn seq_of(payload: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"\"sortd:seq\":";
    let at = payload.windows(NAME.len()).rposition(|window| window == NAME)? + NAME.len();
    let digits = payload[at..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}
