//! Why a connection to the broker could not be opened, or was given up: in words, with a remedy each.

use std::io::ErrorKind;
use std::path::PathBuf;

use rumqttc::mqttbytes::Error as PacketError;
use rumqttc::{ConnectReturnCode, ConnectionError, StateError, TlsError};

use super::tls::{TlsFault, Wrapping};

/// Why no connection could be opened, or why it was given up.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("the password file {} could not be read: {why}", file.display())]
    Password { file: PathBuf, why: std::io::Error },
    #[error("{0}")]
    Tls(#[from] TlsFault),
    #[error("{broker} cannot be reached: {why}")]
    Unreachable { broker: String, why: std::io::Error },
    #[error("{broker} did not answer within {seconds} s")]
    NoAnswer { broker: String, seconds: u64 },
    #[error("{broker} refused the connection: {why}")]
    Refused { broker: String, why: Refusal },
    #[error("{broker} closed the connection before it answered to CONNECT")]
    HungUp { broker: String },
    #[error("{broker} does not speak MQTT on this port: {why}")]
    NotMqtt { broker: String, why: String },
    #[error("{broker} sent what is no MQTT: {why}")]
    Garbage { broker: String, why: PacketError },
    #[error("{broker} acknowledged packet {packet}, which is not in flight")]
    Unsolicited { broker: String, packet: u16 },
    #[error("{broker} takes no more bytes")]
    Jammed { broker: String },
    #[error("the connection to {broker} broke: {why}")]
    Broke { broker: String, why: std::io::Error },
    #[error("{broker} did not answer to the last ping")]
    NoPong { broker: String },
    #[error("{broker} acknowledges what is published to {topic}, and does not pass it on")]
    NotPassedOn { broker: String, topic: String },
    #[error("{broker} refused the subscription to {topic}, so that nothing proves that it passes events on")]
    NotProvable { broker: String, topic: String },
    #[error("{0}")]
    Connection(Box<ConnectionError>),
    #[error("nothing heard from the broker for {0} ms")]
    Silence(u128),
    #[error("the broker acknowledged nothing for {0} ms")]
    NoAck(u128),
    #[error("the broker did not acknowledge event {seq} of epoch {epoch} within {ms} ms")]
    EventNotAcked { epoch: u64, seq: u64, ms: u128 },
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

/// What a broker says to CONNECT instead of yes (MQTT 3.1.1, table 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("it does not speak MQTT 3.1.1 (return code 1)")]
    Version,
    #[error("it does not accept this client id (return code 2)")]
    ClientId,
    #[error("its service is unavailable (return code 3)")]
    Unavailable,
    #[error("user name or password is wrong (return code 4)")]
    Login,
    #[error("this client is not authorised (return code 5)")]
    NotAuthorised,
    #[error("return code {0}, which MQTT 3.1.1 does not know")]
    Unknown(u8),
}

impl Refusal {
    fn remedy(self) -> &'static str {
        match self {
            Refusal::Version => "Switch MQTT 3.1.1 on at the broker.",
            Refusal::ClientId => "Permit `client-id` at the broker, and the same with `-down` behind it.",
            Refusal::Unavailable => {
                "Look at the broker, e.g. whether its cluster has a quorum; it is tried again by itself."
            }
            Refusal::Login => "Correct `user` or the first line of `password-file`.",
            Refusal::NotAuthorised => {
                "Give this client's user or certificate access at the broker, or configure `user` and `password-file`."
            }
            Refusal::Unknown(_) => "Compare what the broker's log says at this time.",
        }
    }
}

impl Lost {
    /// The broker took the connection and still was of no use; the next CONNACK says nothing new.
    pub fn is_hollow(&self) -> bool {
        matches!(
            self,
            Lost::NoAck(_) | Lost::EventNotAcked { .. } | Lost::NotPassedOn { .. } | Lost::NotProvable { .. }
        )
    }

    /// A word for the counter of faults.
    pub fn kind(&self) -> &'static str {
        match self {
            Lost::Tls(fault) => fault.kind(),
            Lost::Refused { .. } => "connect_refused",
            Lost::NotPassedOn { .. } | Lost::NotProvable { .. } => "not_passed_on",
            Lost::Password { .. }
            | Lost::Unreachable { .. }
            | Lost::NoAnswer { .. }
            | Lost::HungUp { .. }
            | Lost::NotMqtt { .. }
            | Lost::Garbage { .. }
            | Lost::Unsolicited { .. }
            | Lost::Jammed { .. }
            | Lost::Broke { .. }
            | Lost::NoPong { .. }
            | Lost::Connection(_)
            | Lost::Silence(_)
            | Lost::NoAck(_)
            | Lost::EventNotAcked { .. }
            | Lost::Collision(_)
            | Lost::Closed
            | Lost::SubscriptionRefused(_)
            | Lost::Overrun
            | Lost::Stuck(_) => "connection_lost",
        }
    }

    /// What a person should do, where there is more to say than to look at network and broker.
    pub fn remedy(&self) -> Option<&'static str> {
        Some(match self {
            Lost::Password { .. } => "Correct the path and the file's owner and mode.",
            Lost::Tls(fault) => fault.remedy(),
            Lost::Refused { why, .. } => why.remedy(),
            Lost::HungUp { .. } => {
                "Look at the broker's log: another client with this id, no access, or a port that expects TLS (`mqtts://`)."
            }
            Lost::NotMqtt { .. } => "Correct the port in `broker`; where it is a TLS port, write `mqtts://`.",
            Lost::SubscriptionRefused(_) => "Let this client subscribe to that topic at the broker.",
            Lost::NotPassedOn { .. } | Lost::NotProvable { .. } => {
                "Let this client write and read its `events` and `health` topics at the broker, with messages up to `packet-limit-kib`; where it may not read, switch `echo-check` off. Events are kept."
            }
            Lost::NoAck(_) | Lost::EventNotAcked { .. } => {
                "Look at the broker: storage full, or its cluster without a quorum. Events are kept and sent again."
            }
            Lost::Unreachable { .. }
            | Lost::NoAnswer { .. }
            | Lost::Garbage { .. }
            | Lost::Unsolicited { .. }
            | Lost::Jammed { .. }
            | Lost::Broke { .. }
            | Lost::NoPong { .. }
            | Lost::Connection(_)
            | Lost::Silence(_)
            | Lost::Collision(_)
            | Lost::Closed
            | Lost::Overrun
            | Lost::Stuck(_) => return None,
        })
    }
}

/// Where an error came up.
pub(super) struct Place<'a> {
    /// `mqtts://host:port`.
    pub broker: &'a str,
    pub wrapping: Option<&'a Wrapping>,
    /// The broker had said yes to CONNECT.
    pub connected: bool,
    /// Bound of a connection attempt and of a flush.
    pub timeout_s: u64,
}

/// What an error of the client library means at this place.
pub(super) fn name(why: ConnectionError, at: &Place<'_>) -> Lost {
    let broker = at.broker.to_owned();
    match why {
        ConnectionError::Tls(TlsError::Io(why)) => handshake(why, at),
        ConnectionError::Tls(TlsError::TLS(why)) => match at.wrapping {
            Some(wrapping) => wrapping.named(at.broker, &why).into(),
            None => TlsFault::Other { broker, why: why.to_string() }.into(),
        },
        ConnectionError::Tls(TlsError::DNSName(_)) => {
            let expected = at.broker.to_owned();
            TlsFault::WrongName { broker, expected, presented: " and cannot be for such a host".to_owned() }
                .into()
        }
        ConnectionError::Io(why) if at.connected => Lost::Broke { broker, why },
        ConnectionError::Io(why) => Lost::Unreachable { broker, why },
        ConnectionError::NetworkTimeout => Lost::NoAnswer { broker, seconds: at.timeout_s },
        ConnectionError::FlushTimeout => Lost::Jammed { broker },
        ConnectionError::ConnectionRefused(code) => Lost::Refused { broker, why: refusal(code) },
        ConnectionError::NotConnAck(packet) => {
            // Named by its kind only: it may be long.
            let why = format!("{packet:?}");
            let kind = why.split(['(', ' ']).next().unwrap_or_default();
            Lost::NotMqtt { broker, why: format!("it answers to CONNECT with {kind}") }
        }
        ConnectionError::MqttState(why) => match why {
            StateError::Deserialization(PacketError::InvalidConnectReturnCode(code)) if !at.connected => {
                Lost::Refused { broker, why: Refusal::Unknown(code) }
            }
            StateError::Deserialization(PacketError::Io(why)) | StateError::Io(why) => stream(why, at),
            StateError::Deserialization(why) if !at.connected => {
                Lost::NotMqtt { broker, why: why.to_string() }
            }
            // Told apart by whoever takes messages: it may be a message that is too large.
            why @ StateError::Deserialization(PacketError::PayloadSizeLimitExceeded(_)) => {
                Lost::Connection(Box::new(ConnectionError::MqttState(why)))
            }
            StateError::Deserialization(why) => Lost::Garbage { broker, why },
            StateError::Unsolicited(packet) => Lost::Unsolicited { broker, packet },
            StateError::ConnectionAborted if !at.connected => hung_up(at),
            StateError::ConnectionAborted => Lost::Closed,
            StateError::AwaitPingResp => Lost::NoPong { broker },
            other => Lost::Connection(Box::new(ConnectionError::MqttState(other))),
        },
        other => Lost::Connection(Box::new(other)),
    }
}

fn refusal(code: ConnectReturnCode) -> Refusal {
    match code {
        ConnectReturnCode::Success => Refusal::Unknown(0),
        ConnectReturnCode::RefusedProtocolVersion => Refusal::Version,
        ConnectReturnCode::BadClientId => Refusal::ClientId,
        ConnectReturnCode::ServiceUnavailable => Refusal::Unavailable,
        ConnectReturnCode::BadUserNamePassword => Refusal::Login,
        ConnectReturnCode::NotAuthorized => Refusal::NotAuthorised,
    }
}

/// TLS did not come about.
fn handshake(why: std::io::Error, at: &Place<'_>) -> Lost {
    let Some(wrapping) = at.wrapping else {
        return Lost::Unreachable { broker: at.broker.to_owned(), why };
    };
    if let Some(fault) = wrapping.fault(at.broker, &why) {
        return fault.into();
    }
    let closed = matches!(why.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset);
    match wrapping.hung_up(at.broker, true).filter(|_| closed) {
        Some(fault) => fault.into(),
        None => Lost::Unreachable { broker: at.broker.to_owned(), why },
    }
}

/// The stream broke, encrypted or not.
fn stream(why: std::io::Error, at: &Place<'_>) -> Lost {
    // Under TLS 1.3 a broker refuses a client's certificate only now. Later than its answer, it has accepted it.
    let fault = at.wrapping.filter(|_| !at.connected).and_then(|wrapping| wrapping.fault(at.broker, &why));
    if let Some(fault) = fault {
        return fault.into();
    }
    if !at.connected && matches!(why.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) {
        return hung_up(at);
    }
    if !at.connected && why.kind() == ErrorKind::Other {
        // The stream ended within what would be a packet.
        return Lost::NotMqtt { broker: at.broker.to_owned(), why: why.to_string() };
    }
    Lost::Broke { broker: at.broker.to_owned(), why }
}

fn hung_up(at: &Place<'_>) -> Lost {
    match at.wrapping.and_then(|wrapping| wrapping.hung_up(at.broker, false)) {
        Some(fault) => fault.into(),
        None => Lost::HungUp { broker: at.broker.to_owned() },
    }
}
