//! A packet that is too large to be read at all. The client library refuses it by the length in its head, before its
//! id: it can neither be answered nor released, and the broker delivers it first on every connection.

use rumqttc::mqttbytes::Error as PacketError;
use rumqttc::{ConnectionError, StateError};

use super::{DEVICE, INCOMING_LIMIT};
use crate::line::record::{Alarm, Severity};
use crate::uplink::broker::Lost;
use crate::watch::Board;

/// The alarm.
pub(super) const ALARM: &str = "uplink-down-oversized";

/// The pause after one is that of so many failed attempts: trying again in haste only moves megabytes.
pub(super) const ATTEMPT: u32 = 6;

/// How large it was, if that is why the connection is lost.
pub(super) fn bytes(why: &Lost) -> Option<usize> {
    let Lost::Connection(why) = why else { return None };
    match &**why {
        ConnectionError::MqttState(StateError::Deserialization(PacketError::PayloadSizeLimitExceeded(
            bytes,
        ))) => Some(*bytes),
        _ => None,
    }
}

/// Somebody has to take it out of the session: what stands behind it cannot be reached.
pub(super) fn say(board: &Board, client_id: &str, bytes: usize) {
    let text = format!(
        "a message of {bytes} bytes waits at the broker for this line, more than the {INCOMING_LIMIT} that can be \
         read; it stays there, with all that the broker delivers together with it and behind it"
    );
    board.fault(DEVICE, "oversized_packet", &text);
    board.raise(Alarm {
        id: ALARM.to_owned(),
        severity: Severity::Critical,
        text,
        remedy: format!(
            "Limit messages at the broker (`message_size_limit` of mosquitto), so that none comes again; then have \
             this one removed there, or the session of `{client_id}-down`, and all that is unanswered sent again."
        ),
    });
}
