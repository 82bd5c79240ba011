//! Order messages: JSON in, parts for the core and the answer for `acks` out. Pure: no clock, no network.
//!
//! ```json
//! {"id": "m-1", "orders": [{"order": "SO-1", "revision": 3, "codes": ["KERRY0001"],
//!   "destination": "TH-BKK", "carrier": "KERRY-TH", "cancelled": false, "hold": null,
//!   "country": "TH", "postcode": "10110", "service": "STD", "customer": "acme", "goods": "ceramics",
//!   "weight_g": 740, "size_mm": [200, 150, 90], "pack": "FOAM-2", "cod": {"minor": 129900, "currency": "THB"},
//!   "fragile": true, "dangerous_goods": false, "return_of": null}]}
//! ```
//!
//! Unknown members are tolerated. An order that is not well-formed is refused by itself, with why; the others
//! are taken. A message that cannot be taken at all is answered with `error`. Nothing is repaired by guessing.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::json;
use crate::line::event::{Order, OrderBatch};

/// Most orders in a message (contract with upstream).
pub const ORDERS_MOST: usize = 10_000;
/// Largest message (contract with upstream).
pub const MESSAGE_BYTES: usize = 512 * 1024;
/// Most orders in one part: a part is one record of the journal.
pub const PART_ORDERS: usize = 64;
/// Largest part: a record stays well under the 7,400 bytes a stored value may have.
pub const PART_BYTES: usize = 6 * 1024;
/// Longest text in an order, and longest message id.
pub const TEXT_BYTES: usize = 128;
/// Most codes of one order.
pub const CODES_MOST: usize = 16;
/// Bytes of refusals listed in one answer; the rest is only counted, so that the answer always fits into a
/// packet of 64 KiB.
pub const REFUSALS_BYTES: usize = 32 * 1024;
/// Bytes an order takes in a record besides its texts: lengths, revision, flags.
const ORDER_FRAME: usize = 32;
/// And its details, where it has any.
const DETAILS_FRAME: usize = 64;
/// Most that an amount of money may be: what every reader of JSON can hold.
const MINOR_MOST: u64 = (1 << 53) - 1;
/// How far into an unreadable message its id is looked for.
const ID_SEARCH: usize = 4 * 1024;

/// A message, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderMessage {
    /// Upstream's name for it.
    pub id: String,
    /// Parts for the core; the last one is marked. Empty if no order is well-formed.
    pub parts: Vec<OrderBatch>,
    /// Orders that are not well-formed.
    pub refused: Vec<Refusal>,
}

/// An order, a hold or a row of a plan that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Its order number, if it has one.
    pub order: Option<String>,
    /// The code that a hold was to be on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<String>,
    /// Why.
    pub reason: String,
}

/// The answer on `acks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// `id` of the message, `null` if it could not be found.
    pub id: Option<String>,
    /// Orders or holds that are durable now, or known already with this revision or a newer one, which changes
    /// nothing; 1 for a plan.
    pub accepted: u64,
    /// Orders that were not taken, as many as fit into [`REFUSALS_BYTES`].
    pub refused: Vec<Refusal>,
    /// How many were not taken.
    pub refused_count: u64,
    /// Why the whole message was refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// `sha256:<hex>` of the message as it came, where it was refused whole.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub digest: Option<String>,
    /// What became of a plan.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub plan: Option<PlanAck>,
    /// The answer to a question.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub answer: Option<Value>,
}

/// What became of a plan that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanAck {
    /// Version: what events and `status` call it once it is in force.
    pub version: String,
    /// `staged`: checked and durable, not in force; `in_force`: it is what the line sorts by already.
    pub state: String,
    /// How it comes into force.
    pub comes_into_force: String,
}

impl Ack {
    /// The answer to a message that was taken.
    pub fn taken(id: String, accepted: u64, mut refused: Vec<Refusal>) -> Ack {
        refused.iter_mut().for_each(|refusal| refusal.reason = shorten(&refusal.reason));
        Ack::told(id, accepted, refused, REFUSALS_BYTES)
    }

    /// An answer with as many refusals as fit into so many bytes.
    pub fn told(id: String, accepted: u64, mut refused: Vec<Refusal>, mut room: usize) -> Ack {
        let refused_count = refused.len() as u64;
        refused.retain(|refusal| {
            let needs = serde_json::to_vec(refusal).map_or(room, |bytes| bytes.len() + 1);
            room = room.saturating_sub(needs);
            room > 0
        });
        Ack { id: Some(id), accepted, refused, refused_count, ..Ack::default() }
    }

    /// The answer to a message that was refused whole.
    pub fn refused(payload: &[u8], why: &MessageError) -> Ack {
        Ack {
            id: find_id(payload),
            error: Some(why.to_string()),
            digest: Some(format!("sha256:{:x}", Sha256::digest(payload))),
            ..Ack::default()
        }
    }

    /// The bytes on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers always make JSON")
    }
}

/// Why a message was refused whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Too large.
    #[error("a message has at most {most} bytes, this one {came}")]
    TooLarge {
        /// Most.
        most: usize,
        /// This one.
        came: usize,
    },
    /// Not UTF-8.
    #[error("a message is UTF-8, this one is not at byte {0}")]
    NotUtf8(usize),
    /// Not JSON.
    #[error("a message is JSON whose members come once: {0}")]
    NotJson(String),
    /// No usable `id`.
    #[error("a message has an `id`, a text of 1 to {TEXT_BYTES} bytes: {0}")]
    Id(&'static str),
    /// No list of what the topic is about.
    #[error("a message has `{name}`, a list: {why}")]
    List {
        /// The list.
        name: &'static str,
        /// Why it is none.
        why: &'static str,
    },
    /// Too many of them.
    #[error("a message has at most {most} {name}, this one {came}")]
    TooMany {
        /// The list.
        name: &'static str,
        /// Most.
        most: usize,
        /// This one.
        came: usize,
    },
    /// No plan.
    #[error("a message has a `plan` with its table: {0}")]
    Plan(&'static str),
    /// No question.
    #[error("a message has a question `ask` and its `code`: {0}")]
    Ask(&'static str),
    /// The order that answers a question is no order.
    #[error("`order`: {0}")]
    Order(String),
    /// Another message of this name is still being worked on.
    #[error("another message with this id and other contents is still in process")]
    IdInUse,
}

/// What every message that comes down has: at most [`MESSAGE_BYTES`] of JSON, and an `id`.
pub(super) fn envelope(payload: &[u8]) -> Result<(String, Value), MessageError> {
    if payload.len() > MESSAGE_BYTES {
        return Err(MessageError::TooLarge { most: MESSAGE_BYTES, came: payload.len() });
    }
    let text = std::str::from_utf8(payload).map_err(|why| MessageError::NotUtf8(why.valid_up_to()))?;
    let message = json::read(text).map_err(|why| MessageError::NotJson(why.to_string()))?;
    let id = match message.get("id") {
        Some(Value::String(id)) if id.is_empty() => return Err(MessageError::Id("it is empty")),
        Some(Value::String(id)) if id.len() > TEXT_BYTES => return Err(MessageError::Id("it is longer")),
        Some(Value::String(id)) => id.clone(),
        Some(_) => return Err(MessageError::Id("it is no text")),
        None => return Err(MessageError::Id("it is missing")),
    };
    Ok((id, message))
}

/// A message's list, of at most so many elements.
pub(super) fn list<'a>(
    message: &'a Value,
    name: &'static str,
    most: usize,
) -> Result<&'a [Value], MessageError> {
    match message.get(name) {
        Some(Value::Array(list)) if list.len() > most => {
            Err(MessageError::TooMany { name, most, came: list.len() })
        }
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(MessageError::List { name, why: "it is something else" }),
        None => Err(MessageError::List { name, why: "it is missing" }),
    }
}

/// Reads a message and splits it into parts.
pub fn read(payload: &[u8]) -> Result<OrderMessage, MessageError> {
    let (id, message) = envelope(payload)?;
    let orders = list(&message, "orders", ORDERS_MOST)?;
    let mut good = Vec::with_capacity(orders.len());
    let mut refused = Vec::new();
    for order in orders {
        match read_order(order) {
            Ok(order) => good.push(order),
            Err(reason) => {
                let number = order.get("order").and_then(Value::as_str);
                refused.push(Refusal { order: number.map(shorten), code: None, reason });
            }
        }
    }
    let parts = split(&id, good);
    Ok(OrderMessage { id, parts, refused })
}

/// A text of 1 to [`TEXT_BYTES`] bytes without control characters.
pub(super) fn check_text(name: &str, text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err(format!("`{name}` is empty"));
    }
    if text.len() > TEXT_BYTES {
        return Err(format!("`{name}` has at most {TEXT_BYTES} bytes, this one {}", text.len()));
    }
    // A group separator is part of GS1 element strings; no other control character belongs in a name.
    if text.chars().any(|c| c.is_control() && c != '\u{1d}') {
        return Err(format!("`{name}` holds a control character"));
    }
    Ok(())
}

pub(super) fn read_order(value: &Value) -> Result<Order, String> {
    let order = Order::deserialize(value).map_err(|why| shorten(&why.to_string()))?;
    let texts = [("order", Some(&order.order)), ("destination", Some(&order.destination))]
        .into_iter()
        .chain([("carrier", order.carrier.as_ref())])
        .chain(order.codes.iter().map(|code| ("codes", Some(code))))
        .chain(order.details().texts().map(|(name, text)| (name, Some(text))));
    for (name, text) in texts {
        let Some(text) = text else { continue };
        check_text(name, text)?;
    }
    if order.codes.len() > CODES_MOST {
        return Err(format!("an order has at most {CODES_MOST} codes, this one {}", order.codes.len()));
    }
    if order.codes.is_empty() && !order.cancelled {
        return Err("`codes` is empty: no parcel could ever be told to be this order's".to_owned());
    }
    let details = order.details();
    if details.country.as_ref().is_some_and(|country| !is_capitals(country, 2)) {
        return Err("`country` is two capital letters (ISO 3166-1 alpha-2), e.g. TH".to_owned());
    }
    if details.cod.as_ref().is_some_and(|cod| !is_capitals(&cod.currency, 3)) {
        return Err("`cod.currency` is three capital letters (ISO 4217), e.g. THB".to_owned());
    }
    if details.cod.as_ref().is_some_and(|cod| cod.minor > MINOR_MOST) {
        return Err(format!("`cod.minor` is at most {MINOR_MOST}"));
    }
    Ok(order)
}

fn is_capitals(text: &str, count: usize) -> bool {
    text.len() == count && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// Parts of at most [`PART_ORDERS`] orders and [`PART_BYTES`] bytes, the last one marked.
fn split(id: &str, orders: Vec<Order>) -> Vec<OrderBatch> {
    let mut parts: Vec<OrderBatch> = Vec::new();
    let mut size = 0;
    for order in orders {
        let texts = order.order.len()
            + order.destination.len()
            + order.carrier.as_ref().map_or(0, String::len)
            + order.codes.iter().map(|code| code.len() + 4).sum::<usize>()
            + order.details().texts().map(|(_, text)| text.len()).sum::<usize>();
        let needs = texts + ORDER_FRAME + order.details.as_ref().map_or(0, |_| DETAILS_FRAME);
        match parts.last_mut() {
            Some(part) if part.orders.len() < PART_ORDERS && size + needs <= PART_BYTES => {
                part.orders.push(order);
                size += needs;
            }
            _ => {
                size = id.len() + ORDER_FRAME + needs;
                parts.push(OrderBatch { message: id.to_owned(), last: false, orders: vec![order] });
            }
        }
    }
    if let Some(last) = parts.last_mut() {
        last.last = true;
    }
    parts
}

/// The id of a message that cannot be read as a whole: the first `"id": "…"` near its beginning.
fn find_id(payload: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(payload.get(..ID_SEARCH).unwrap_or(payload)).into_owned();
    let (_, rest) = head.split_once("\"id\"")?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    let (id, _) = rest.split_once('"')?;
    let usable = !id.is_empty() && id.len() <= TEXT_BYTES && !id.contains(['\\', '\u{fffd}']);
    (usable && !id.chars().any(char::is_control)).then(|| id.to_owned())
}

/// At most [`TEXT_BYTES`] bytes of a text that came from outside.
pub(super) fn shorten(text: &str) -> String {
    let end = (0..=TEXT_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn order(number: usize, codes: usize) -> Value {
        json!({"order": format!("SO-{number}"), "revision": 1, "destination": "TH",
            "codes": (0..codes).map(|code| format!("{number:0>20}-{code}")).collect::<Vec<_>>(), "new": {"x": 1}})
    }

    fn message(orders: &[Value]) -> Vec<u8> {
        json!({"id": "m-1", "orders": orders, "unknown": true}).to_string().into_bytes()
    }

    #[test]
    fn good_and_bad_orders_are_told_apart() {
        let bad = [
            json!({"order": "SO-9", "revision": "three", "codes": ["A"], "destination": "TH"}),
            json!({"order": "SO-10", "revision": 1, "codes": [], "destination": "TH"}),
            json!({"order": "SO-11", "revision": -1, "codes": ["A"], "destination": "TH"}),
            json!({"order": "SO-12", "revision": 1, "codes": ["A"], "destination": "TH", "hold": "mood"}),
            json!({"order": "SO-13", "revision": 1, "codes": ["A\n"], "destination": "TH"}),
            json!({"order": " ", "revision": 1, "codes": ["A"], "destination": "TH"}),
            json!({"order": "SO-15", "revision": 1, "codes": ["A".repeat(129)], "destination": "TH"}),
            json!({"order": "SO-16", "revision": 1, "codes": vec!["A"; 17], "destination": "TH"}),
            json!("SO-17"),
            json!(null),
        ];
        let mut all = vec![
            order(1, 1),
            json!({"order": "SO-2", "revision": 2, "codes": [], "destination": "X",
            "cancelled": true, "hold": "cod_hold", "carrier": null}),
        ];
        all.extend_from_slice(&bad);
        let read = read(&message(&all)).unwrap();
        assert_eq!(read.id, "m-1");
        assert_eq!(read.parts.len(), 1);
        assert!(read.parts[0].last);
        let taken: Vec<&str> = read.parts[0].orders.iter().map(|order| order.order.as_str()).collect();
        assert_eq!(taken, ["SO-1", "SO-2"]);
        assert_eq!(read.refused.len(), bad.len(), "{:?}", read.refused);
        assert_eq!(read.refused[0].order.as_deref(), Some("SO-9"));
        assert!(read.refused[0].reason.contains("invalid type"), "{:?}", read.refused[0]);
        assert_eq!(read.refused[8].order, None);
    }

    #[test]
    fn a_message_that_cannot_be_taken_says_why_and_keeps_its_id() {
        let cases: Vec<(Vec<u8>, &str, Option<&str>)> = vec![
            (b"{\"id\": \"m-2\", \"orders\": [".to_vec(), "is JSON", Some("m-2")),
            (b"{\"id\":\"m-3\",\"orders\":[\"\xff\"]}".to_vec(), "UTF-8", Some("m-3")),
            (b"\xff\xfe".to_vec(), "not at byte 0", None),
            (b"".to_vec(), "JSON", None),
            (b"[]".to_vec(), "it is missing", None),
            (br#"{"id": 7, "orders": []}"#.to_vec(), "no text", None),
            (br#"{"id": "", "orders": []}"#.to_vec(), "empty", None),
            (br#"{"id": "m-4"}"#.to_vec(), "`orders`", Some("m-4")),
            (br#"{"id": "m-5", "orders": {}}"#.to_vec(), "something else", Some("m-5")),
            (message(&vec![json!(1); ORDERS_MOST + 1]), "at most 10000", Some("m-1")),
            (
                [&b"{\"id\": \"m-6\", \"x\": \""[..], &vec![b'a'; MESSAGE_BYTES], b"\"}"].concat(),
                "at most 524288 bytes",
                Some("m-6"),
            ),
        ];
        for (payload, why, id) in cases {
            let error = read(&payload).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
            let ack = Ack::refused(&payload, &error);
            assert_eq!(ack.id.as_deref(), id, "{error}");
            assert!(ack.digest.unwrap().starts_with("sha256:"));
        }
    }

    proptest! {
        #[test]
        fn parts_hold_every_order_once_within_their_bounds(counts in prop::collection::vec(1usize..16, 0..400)) {
            let orders: Vec<Value> = counts.iter().enumerate().map(|(n, codes)| order(n, *codes)).collect();
            let read = read(&message(&orders)).unwrap();
            let flat: Vec<String> =
                read.parts.iter().flat_map(|part| part.orders.iter().map(|order| order.order.clone())).collect();
            prop_assert_eq!(flat, (0..counts.len()).map(|n| format!("SO-{n}")).collect::<Vec<_>>());
            prop_assert_eq!(read.parts.iter().filter(|part| part.last).count(), usize::from(!counts.is_empty()));
            for part in &read.parts {
                prop_assert!(part.orders.len() <= PART_ORDERS);
                let stored = bincode::serde::encode_to_vec(part, bincode::config::standard()).unwrap();
                prop_assert!(stored.len() <= PART_BYTES, "{}", stored.len());
            }
        }

        #[test]
        fn no_payload_makes_it_panic(payload in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Err(error) = read(&payload) {
                Ack::refused(&payload, &error).bytes();
            }
        }
    }
}
