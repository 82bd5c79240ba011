//! Messages of holds and releases: JSON in, parts for the core out. Pure: no clock, no network.
//!
//! ```json
//! {"id": "h-1", "holds": [
//!   {"order": "SO-1", "revision": 2, "hold": "cod_hold", "reason": "card bounced", "by": "finance"},
//!   {"code": "KERRY0001", "hold": null}]}
//! ```
//!
//! `hold` names why a parcel is held, `null` releases it; which of the two is meant is never guessed, so the
//! member must be there. With a `revision` older ones and the same once more change nothing; without one the
//! order of arrival counts. A hold on an order or a code that is not known yet waits for it.

use serde::Deserialize;
use serde_json::Value;

use super::orders::{self, MessageError, PART_BYTES, PART_ORDERS, Refusal, TEXT_BYTES};
use crate::line::event::{Hold, HoldBatch, HoldOn, HoldOrder};

/// Most holds in a message (contract with upstream).
pub const HOLDS_MOST: usize = orders::ORDERS_MOST;
/// Bytes a hold takes in a record besides its texts.
const HOLD_FRAME: usize = 32;

/// A message, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldMessage {
    /// Upstream's name for it.
    pub id: String,
    /// Parts for the core; the last one is marked. Empty if no hold is well-formed.
    pub parts: Vec<HoldBatch>,
    /// Holds that are not well-formed.
    pub refused: Vec<Refusal>,
}

/// As it stands in a message.
#[derive(Deserialize)]
struct Written {
    order: Option<String>,
    code: Option<String>,
    revision: Option<u32>,
    #[serde(deserialize_with = "Option::deserialize")]
    hold: Option<Hold>,
    reason: Option<String>,
    by: Option<String>,
}

/// Reads a message and splits it into parts.
pub fn read(payload: &[u8]) -> Result<HoldMessage, MessageError> {
    let (id, message) = orders::envelope(payload)?;
    let holds = orders::list(&message, "holds", HOLDS_MOST)?;
    let (mut good, mut refused) = (Vec::with_capacity(holds.len()), Vec::new());
    for hold in holds {
        match read_hold(hold) {
            Ok(hold) => good.push(hold),
            Err(reason) => {
                let text = |name| hold.get(name).and_then(Value::as_str).map(orders::shorten);
                refused.push(Refusal { order: text("order"), code: text("code"), reason });
            }
        }
    }
    let parts = split(&id, good);
    Ok(HoldMessage { id, parts, refused })
}

fn read_hold(value: &Value) -> Result<HoldOrder, String> {
    let written = Written::deserialize(value).map_err(|why| orders::shorten(&why.to_string()))?;
    let texts = [
        ("order", &written.order),
        ("code", &written.code),
        ("reason", &written.reason),
        ("by", &written.by),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            orders::check_text(name, text)?;
        }
    }
    let on = match (written.order, written.code) {
        (Some(order), None) => HoldOn::Order(order),
        (None, Some(code)) => HoldOn::Code(code),
        (Some(_), Some(_)) => return Err("a hold is on an `order` or on a `code`, not on both".to_owned()),
        (None, None) => return Err("a hold is on an `order` or on a `code`; both are missing".to_owned()),
    };
    let Written { revision, hold, reason, by, .. } = written;
    Ok(HoldOrder { on, revision, hold, reason, by })
}

/// Parts that fit into a record each, the last one marked.
fn split(id: &str, holds: Vec<HoldOrder>) -> Vec<HoldBatch> {
    let mut parts: Vec<HoldBatch> = Vec::new();
    let mut size = 0;
    for hold in holds {
        let (HoldOn::Order(on) | HoldOn::Code(on)) = &hold.on;
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let needs = on.len() + text(&hold.reason) + text(&hold.by) + HOLD_FRAME;
        match parts.last_mut() {
            Some(part) if part.holds.len() < PART_ORDERS && size + needs <= PART_BYTES => {
                part.holds.push(hold);
                size += needs;
            }
            _ => {
                size = id.len().min(TEXT_BYTES) + HOLD_FRAME + needs;
                parts.push(HoldBatch { message: id.to_owned(), last: false, holds: vec![hold] });
            }
        }
    }
    if let Some(last) = parts.last_mut() {
        last.last = true;
    }
    parts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn holds_and_releases_are_told_apart_and_nothing_is_guessed() {
        let holds = json!([
            {"order": "SO-1", "revision": 2, "hold": "cod_hold", "reason": "card bounced", "by": "finance"},
            {"code": "KERRY0001", "hold": null, "unknown": 1},
            {"order": "SO-2"},
            {"order": "SO-3", "code": "X", "hold": null},
            {"hold": "repack"},
            {"order": " ", "hold": "repack"},
            {"code": "X", "hold": "mood"},
            {"code": "X", "hold": null, "revision": -1},
            {"code": "X", "hold": null, "by": "x".repeat(129)},
            7,
        ]);
        let message = read(json!({"id": "h-1", "holds": holds}).to_string().as_bytes()).unwrap();
        let held = HoldOrder {
            on: HoldOn::Order("SO-1".to_owned()),
            revision: Some(2),
            hold: Some(Hold::CodHold),
            reason: Some("card bounced".to_owned()),
            by: Some("finance".to_owned()),
        };
        let released = HoldOrder {
            on: HoldOn::Code("KERRY0001".to_owned()),
            revision: None,
            hold: None,
            reason: None,
            by: None,
        };
        assert_eq!(
            message.parts,
            [HoldBatch { message: "h-1".to_owned(), last: true, holds: vec![held, released] }]
        );
        assert_eq!(message.refused.len(), 8, "{:?}", message.refused);
        assert!(message.refused[0].reason.contains("missing field `hold`"), "{:?}", message.refused[0]);
        assert_eq!(message.refused[5].code.as_deref(), Some("X"));
        for (message, why) in [
            (json!({"id": "h"}), "`holds`"),
            (json!({"id": "h", "holds": {}}), "something else"),
            (json!({"id": "h", "holds": vec![1; HOLDS_MOST + 1]}), "at most 10000"),
            (json!({"holds": []}), "`id`"),
        ] {
            let error = read(message.to_string().as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_part_fits_into_a_record() {
        let hold = |n: usize| {
            json!({"code": format!("{n:0>128}"), "hold": "cod_hold", "revision": u32::MAX,
            "reason": "r".repeat(128), "by": "b".repeat(128)})
        };
        let holds: Vec<Value> = (0..1_000).map(hold).collect();
        let message = read(json!({"id": "i".repeat(128), "holds": holds}).to_string().as_bytes()).unwrap();
        assert_eq!(message.parts.iter().map(|part| part.holds.len()).sum::<usize>(), 1_000);
        assert_eq!(message.parts.iter().filter(|part| part.last).count(), 1);
        for part in &message.parts {
            let stored = bincode::serde::encode_to_vec(part, bincode::config::standard()).unwrap();
            assert!(stored.len() <= PART_BYTES, "{}", stored.len());
        }
    }
}
