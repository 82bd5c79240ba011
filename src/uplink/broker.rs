//! What both clients share: topics, connection options, back-off.

use std::time::Duration;

use rand::Rng;
use rumqttc::{AsyncClient, ConnectionError, EventLoop, LastWill, MqttOptions, NetworkOptions};

use super::down::Down;
use crate::site::{Site, UplinkSettings};

/// First pause after a lost connection; doubled with every further one.
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
/// Longest pause: a broker that returns is found again within this.
const BACKOFF_LONGEST: Duration = Duration::from_secs(10);

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

    fn topic(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }
}

/// Why no connection could be opened, or why it was given up.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("the password file {file} could not be read: {why}")]
    Password { file: String, why: std::io::Error },
    #[error("{0}")]
    Connection(Box<ConnectionError>),
    #[error("nothing heard from the broker for {0} ms")]
    Silence(u128),
    #[error("the broker acknowledged nothing for {0} ms")]
    NoAck(u128),
    #[error("packet id {0} came round while still in flight")]
    Collision(u16),
    #[error("the broker closed the connection")]
    Closed,
    #[error("the broker refused the subscription to {0}")]
    SubscriptionRefused(String),
    #[error("more messages came down than may wait")]
    Overrun,
    #[error("an order message was not durable within {0} s")]
    Stuck(u64),
}

impl From<ConnectionError> for Lost {
    fn from(why: ConnectionError) -> Lost {
        Lost::Connection(Box::new(why))
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
}

/// A client and its event loop; nothing is sent before the loop is polled.
pub(super) async fn open(
    settings: &UplinkSettings,
    options: Options,
) -> Result<(AsyncClient, EventLoop), Lost> {
    let mut mqtt = MqttOptions::new(options.client_id, settings.host.clone(), settings.port);
    mqtt.set_clean_session(options.clean_session)
        .set_manual_acks(options.manual_acks)
        .set_inflight(options.inflight.max(1))
        .set_max_packet_size(options.incoming_limit, settings.packet_limit)
        .set_keep_alive(keep_alive(settings));
    if let Some(will) = options.last_will {
        mqtt.set_last_will(will);
    }
    if let Some((user, file)) = &settings.login {
        let password = tokio::fs::read_to_string(file)
            .await
            .map_err(|why| Lost::Password { file: file.display().to_string(), why })?;
        mqtt.set_credentials(user.clone(), password.trim_end_matches(['\r', '\n']));
    }
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(silence(settings).as_secs().max(1));
    let (client, mut events) = AsyncClient::new(mqtt, usize::from(options.inflight.max(1)));
    events.set_network_options(network);
    Ok((client, events))
}

/// Silence after which a connection is rebuilt: no acknowledgement although something is in flight.
pub(super) fn silence(settings: &UplinkSettings) -> Duration {
    Duration::from_millis(u64::from(settings.silence_ms.max(1)))
}

/// Silence after which an idle connection is rebuilt: long enough to hear it twice.
pub(super) fn idle_silence(settings: &UplinkSettings) -> Duration {
    silence(settings).max(3 * keep_alive(settings))
}

/// Period of pings: a third of the silence. The client library takes whole seconds from one on.
fn keep_alive(settings: &UplinkSettings) -> Duration {
    Duration::from_secs((silence(settings).as_secs() / 3).clamp(1, 60))
}

/// Full jitter: anything from nothing to a bound that doubles with every attempt, so that the lines of a
/// site do not return to their broker in step.
pub(super) fn pause(attempt: u32) -> Duration {
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
