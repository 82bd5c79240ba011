//! What both clients share: topics, how a connection is opened, to which node, and after which pause.

use std::time::Duration;

use jiff::Timestamp;
use rand::Rng;
use rumqttc::{AsyncClient, Event, EventLoop, LastWill, MqttOptions, NetworkOptions, Packet, Transport};
use tokio::time::Instant;

use super::down::Down;
pub(super) use super::lost::Lost;
use super::lost::{self, Place};
use super::outlet::{Handed, Outlet};
pub(super) use super::proof::Own;
use super::proof::{Proof, Step};
use super::tls::Wrapping;
use crate::line::record::{Alarm, Severity};
use crate::site::credentials::{EXPIRY_WARNING_DAYS, Validity};
use crate::site::{BrokerAddress, Site, TlsSettings, UplinkSettings};
use crate::watch::Board;
use crate::watch::clock::Clock;

/// First pause after a lost connection; doubled with every further one.
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
/// Longest pause: a broker that returns is found again within this.
const BACKOFF_LONGEST: Duration = Duration::from_secs(10);

/// Packet ids that take turns, at least. Far more than are ever in flight, so that an acknowledgement that comes twice
/// or late finds its id retired, and is never taken for that of another publish.
pub(super) const PACKET_IDS: u16 = 8_192;
/// Alarm for an own certificate that ends soon.
const CERTIFICATE: &str = "uplink-certificate";

/// Topics of one line: `sortd/v1/{site}/{line}/…`.
#[derive(Debug, Clone)]
pub struct Topics {
    prefix: String,
}

impl Topics {
    /// Topics of a site's line.
    pub fn of(site: &Site) -> Topics {
        Topics::new(&site.name, &site.line_name)
    }

    /// Topics by name. Names are made safe for a topic: `/`, `+`, `#` and control characters become `_`.
    pub fn new(site: &str, line: &str) -> Topics {
        let safe = |name: &str| -> String {
            name.chars()
                .map(|c| if matches!(c, '/' | '+' | '#') || c.is_control() { '_' } else { c })
                .collect()
        };
        Topics { prefix: format!("sortd/v1/{}/{}", safe(site), safe(line)) }
    }

    /// EPCIS events, up.
    pub fn events(&self) -> String {
        self.topic("events")
    }
    /// Signed checkpoints of the record, up.
    pub fn anchors(&self) -> String {
        self.topic("anchors")
    }
    /// Retained health, up.
    pub fn health(&self) -> String {
        self.topic("health")
    }
    /// What comes down.
    pub fn down(&self, down: Down) -> String {
        self.topic(down.name())
    }
    /// Answers to what came down, up.
    pub fn acks(&self) -> String {
        self.topic("acks")
    }

    /// What the publisher publishes, and must prove to be passed on, where that is asked.
    pub(super) fn own(&self, echo_check: bool) -> Vec<Own> {
        let held = [(self.events(), true), (self.health(), false), (self.anchors(), false)];
        held.into_iter().filter(|_| echo_check).map(|(topic, held)| Own { topic, held }).collect()
    }

    fn topic(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }
}

/// What differs between the two clients.
pub(super) struct Options {
    /// MQTT client id.
    pub client_id: String,
    /// Forget the session on connect.
    pub clean_session: bool,
    /// PUBACK by hand, after durability.
    pub manual_acks: bool,
    /// Largest packet taken.
    pub incoming_limit: usize,
    /// Packet ids in use at once, and places in the request channel.
    pub inflight: u16,
    /// Published by the broker when the client vanishes.
    pub last_will: Option<LastWill>,
    /// Topics it publishes to, where it is to be proven that they are passed on; otherwise empty.
    pub own: Vec<Own>,
}

/// Opens connections for one client: to the configured broker, or to the nodes of its cluster in turn.
///
/// A node that works is kept. After any loss the next one is tried, so that a node which takes connections and
/// acknowledges nothing, as one of a cluster without a leader does, is left like one that is down.
pub(super) struct Dialler {
    settings: UplinkSettings,
    board: Board,
    /// The node tried next, or held.
    node: usize,
}

impl Dialler {
    /// Nothing is opened yet.
    pub fn new(settings: &UplinkSettings, board: Board) -> Dialler {
        Dialler { settings: settings.clone(), board, node: 0 }
    }

    /// `mqtt://host:port` of the node that is tried next, or held.
    pub fn broker(&self) -> String {
        let scheme = if self.settings.tls.is_some() { "mqtts" } else { "mqtt" };
        match self.settings.brokers.get(self.node) {
            Some(BrokerAddress { host, port }) if host.contains(':') => format!("{scheme}://[{host}]:{port}"),
            Some(BrokerAddress { host, port }) => format!("{scheme}://{host}:{port}"),
            None => "no broker".to_owned(),
        }
    }

    /// The connection is lost, or did not come about: it is the next node's turn.
    pub fn lost(&mut self) {
        self.node = (self.node + 1) % self.settings.brokers.len().max(1);
    }

    /// Pause before the next attempt. A round of all nodes counts as one attempt.
    pub fn pause(&self, attempt: u32) -> Duration {
        let nodes = u32::try_from(self.settings.brokers.len()).unwrap_or(u32::MAX).max(1);
        pause(attempt / nodes)
    }

    /// A client and its events; nothing is sent before they are polled.
    pub async fn open(&mut self, options: Options) -> Result<(Outlet, Events), Lost> {
        let settings = &self.settings;
        let (host, port) = match settings.brokers.get(self.node) {
            Some(BrokerAddress { host, port }) => (host.clone(), *port),
            None => (String::new(), 0),
        };
        let mut mqtt = MqttOptions::new(options.client_id, host, port);
        mqtt.set_clean_session(options.clean_session)
            .set_manual_acks(options.manual_acks)
            .set_inflight(options.inflight.max(PACKET_IDS))
            .set_max_packet_size(options.incoming_limit, settings.packet_limit)
            .set_keep_alive(keep_alive(settings));
        if let Some(will) = options.last_will {
            mqtt.set_last_will(will);
        }
        if let Some((user, file)) = &settings.login {
            let password = tokio::fs::read_to_string(file)
                .await
                .map_err(|why| Lost::Password { file: file.clone(), why })?;
            // The first line; what follows it is somebody's remark.
            mqtt.set_credentials(user.clone(), password.lines().next().unwrap_or_default());
        }
        let wrapping = match settings.tls.clone() {
            Some(tls) => Some(self.wrap(tls).await?),
            None => None,
        };
        if let Some(wrapping) = &wrapping {
            mqtt.set_transport(Transport::tls_with_config(wrapping.transport()));
        }
        let timeout_s = silence(settings).as_secs().max(1);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(timeout_s);
        let (client, mut events) = AsyncClient::new(mqtt, usize::from(options.inflight.max(1)));
        events.set_network_options(network);
        let patience = silence(settings) / 2;
        let mut outlet = Outlet::new(client.clone(), None);
        let mut proof = None;
        if !options.own.is_empty() {
            let handed = Handed::new(options.own.iter().map(|own| own.topic.clone()).collect());
            outlet = Outlet::new(client, Some(handed.clone()));
            proof = Some(Proof::new(options.own, handed, patience));
        }
        let events = Events {
            inner: events,
            outlet: outlet.clone(),
            board: self.board.clone(),
            broker: self.broker(),
            wrapping,
            timeout_s,
            connected: false,
            proof,
            failed: None,
        };
        Ok((outlet, events))
    }

    /// Prepares TLS, and warns of an own certificate that ends soon.
    async fn wrap(&self, tls: TlsSettings) -> Result<Wrapping, Lost> {
        let file = tls.client.as_ref().map(|(certificate, _)| certificate.display().to_string());
        let read = tokio::task::spawn_blocking(move || Wrapping::new(&tls)).await;
        // The task ends with a panic or with the runtime only.
        let wrapping = read.map_err(|_| Lost::Closed)??;
        let ending = wrapping.validity.and_then(|validity| {
            let now = Timestamp::from_microsecond(Clock::default().wall_us()).ok()?;
            Some((validity.days_left(now), validity)).filter(|(left, _)| *left < EXPIRY_WARNING_DAYS)
        });
        match ending {
            Some((left, Validity { not_after, .. })) => self.board.raise(Alarm {
                id: CERTIFICATE.to_owned(),
                severity: Severity::Warning,
                text: format!(
                    "the client certificate in {} ends on {not_after}, {}",
                    file.unwrap_or_default(),
                    if left < 0 { "which is past".to_owned() } else { format!("in {left} days") }
                ),
                remedy: "Have it renewed and put in this place; no restart is needed.".to_owned(),
            }),
            None => self.board.clear(CERTIFICATE),
        }
        Ok(wrapping)
    }
}

/// What comes of one connection.
pub(super) struct Events {
    inner: EventLoop,
    /// To subscribe for the proof.
    outlet: Outlet,
    board: Board,
    broker: String,
    wrapping: Option<Wrapping>,
    timeout_s: u64,
    connected: bool,
    /// What is acknowledged is passed on; `None` where that is not asked.
    proof: Option<Proof>,
    /// The error that ended it, once what came before it is given out.
    failed: Option<Lost>,
}

impl Events {
    /// The next event, or why there will be none. An error ends the connection; what the library had read before it
    /// still comes first. Without that, a broker that acknowledges everything twice would be sent the same event for
    /// ever: the first acknowledgement is good, the second breaks the connection.
    pub async fn poll(&mut self) -> Result<Event, Lost> {
        loop {
            if let Some(event) = self.proof.as_mut().and_then(Proof::next) {
                return Ok(event);
            }
            let event = self.polled().await?;
            let Some(proof) = &mut self.proof else { return Ok(event) };
            proof.take(event, Instant::now());
            while let Some(step) = self.proof.as_mut().and_then(Proof::step) {
                self.carry_out(step)?;
            }
        }
    }

    /// What the proof wants done.
    fn carry_out(&mut self, step: Step) -> Result<(), Lost> {
        let Some(proof) = &mut self.proof else { return Ok(()) };
        let (place, is_refused) = match step {
            Step::Subscribe(places) => {
                // One that does not fit is tried again with the next acknowledgement.
                if self.outlet.subscribe_own(places.clone()).is_ok() {
                    proof.asked(&places);
                }
                return Ok(());
            }
            Step::Unsubscribe(place) => {
                if let Some(own) = proof.topic(place) {
                    // Left subscribed it costs traffic, and nothing else.
                    let _ = self.outlet.client().try_unsubscribe(own.topic.clone());
                }
                return Ok(());
            }
            Step::Proven(place) => {
                if let Some(own) = proof.topic(place) {
                    self.board.clear(&unproven(&own.topic));
                }
                return Ok(());
            }
            Step::Refused(place) => (place, true),
            Step::Doubtful(place) => (place, false),
        };
        let Some(own) = proof.topic(place) else { return Ok(()) };
        let (broker, topic) = (self.broker.clone(), own.topic.clone());
        if own.held && is_refused {
            return Err(Lost::NotProvable { broker, topic });
        }
        let id = unproven(&topic);
        self.board.fault("uplink", "not_passed_on", &topic);
        let text = if is_refused {
            format!(
                "{broker} refuses the subscription to {topic}, so that nothing proves that it passes it on"
            )
        } else {
            format!("{broker} acknowledges what is published to {topic}, and does not pass it on")
        };
        let remedy = "Let this client write and read this topic at the broker; until then upstream may hear nothing \
                      by it. Where it may not read, switch `echo-check` off.";
        self.board.raise(Alarm { id, severity: Severity::Warning, text, remedy: remedy.to_owned() });
        Ok(())
    }

    /// The library's next event, or the end of patience.
    async fn polled(&mut self) -> Result<Event, Lost> {
        if self.failed.is_none() {
            let owed = self
                .proof
                .as_ref()
                .and_then(|proof| Some((proof.deadline()?, proof.owing().unwrap_or_default().to_owned())));
            let polled = match owed {
                None => self.inner.poll().await,
                // An abandoned poll harms nothing here: its connection is given up.
                Some((deadline, topic)) => match tokio::time::timeout_at(deadline, self.inner.poll()).await {
                    Ok(polled) => polled,
                    Err(_) => return Err(Lost::NotPassedOn { broker: self.broker.clone(), topic }),
                },
            };
            match polled {
                Ok(event) => {
                    self.connected |= matches!(event, Event::Incoming(Packet::ConnAck(_)));
                    return Ok(event);
                }
                Err(why) => {
                    let place = Place {
                        broker: &self.broker,
                        wrapping: self.wrapping.as_ref(),
                        connected: self.connected,
                        timeout_s: self.timeout_s,
                    };
                    self.failed = Some(lost::name(why, &place));
                }
            }
        }
        match self.inner.state.events.pop_front() {
            Some(event) => Ok(event),
            None => Err(self.failed.take().unwrap_or(Lost::Closed)),
        }
    }
}

/// Alarm for a topic of which nothing proves that it is passed on: `uplink-acks-unproven`.
fn unproven(topic: &str) -> String {
    format!("uplink-{}-unproven", topic.rsplit('/').next().unwrap_or_default())
}

/// Silence after which a connection is rebuilt: no acknowledgement although something is in flight.
pub(super) fn silence(settings: &UplinkSettings) -> Duration {
    Duration::from_millis(u64::from(settings.silence_ms.max(1)))
}

/// Silence after which an idle connection is rebuilt: long enough to hear it twice.
pub(super) fn idle_silence(settings: &UplinkSettings) -> Duration {
    silence(settings).max(3 * keep_alive(settings))
}

/// Period of pings: half of the silence. The answer to a ping waits behind whatever the broker was sent before it, and
/// must come before the next one; with a full window of 100 and the usual 10 s, a broker that takes 20 events a second
/// is still kept. The client library takes whole seconds from one on.
fn keep_alive(settings: &UplinkSettings) -> Duration {
    Duration::from_secs((silence(settings).as_secs() / 2).clamp(1, 60))
}

/// Full jitter: anything from nothing to a bound that doubles with every attempt, so that the lines of a
/// site do not return to their broker in step.
fn pause(attempt: u32) -> Duration {
    let bound = BACKOFF_FIRST.saturating_mul(1 << attempt.min(16)).min(BACKOFF_LONGEST);
    rand::rng().random_range(Duration::ZERO..=bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_no_further() {
        let longest = |attempt| (0..200).map(|_| pause(attempt)).max().unwrap();
        assert!(longest(0) <= BACKOFF_FIRST);
        assert!(longest(40) > BACKOFF_FIRST * 4, "later pauses are longer");
        assert!(longest(40) <= BACKOFF_LONGEST);
    }

    #[test]
    fn a_name_cannot_leave_its_topic() {
        assert_eq!(Topics::new("a/b", "l+#1").events(), "sortd/v1/a_b/l__1/events");
    }
}
