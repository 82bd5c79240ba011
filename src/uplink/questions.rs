//! Messages that are worked on beside the line: plans, and questions. JSON in. Pure: no clock, no network.
//!
//! ```json
//! {"id": "p-1", "plan": {"sort-plan.csv": "destination,chute,priority\n…", "name": "winter"}, "activate": false}
//! {"id": "a-1", "ask": "evidence", "code": "KERRY0001"}
//! {"id": "a-2", "ask": "unknown_parcel", "code": "KERRY0001", "order": {"order": "SO-1", …}}
//! ```
//!
//! The third is the answer to a parcel that ended as `unknown_parcel`: an order as in an order message, which
//! must carry the code it answers for.

use serde_json::Value;

use super::orders::{self, MessageError};
use crate::line::event::{Order, OrderBatch};

/// Largest question: an order with all its codes, several times over.
pub const ASK_BYTES: usize = 64 * 1024;
/// The table a plan brings.
const TABLE: &str = "sort-plan.csv";

/// A plan to be checked and staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanMessage {
    /// Upstream's name for the message.
    pub id: String,
    /// `sort-plan.csv` as text.
    pub table: String,
    /// What people call it.
    pub name: Option<String>,
    /// It is wanted in force.
    pub activate: bool,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskMessage {
    /// What is known of the parcel with this code?
    Evidence {
        /// Upstream's name for the message.
        id: String,
        /// Code of the parcel.
        code: String,
    },
    /// The order of a parcel that was unknown.
    UnknownParcel(OrderBatch),
}

/// Reads a plan.
pub fn read_plan(payload: &[u8]) -> Result<PlanMessage, MessageError> {
    let (id, message) = orders::envelope(payload)?;
    let plan = message.get("plan").and_then(Value::as_object);
    let plan = plan.ok_or(MessageError::Plan("`plan` is missing or no object"))?;
    let table = plan.get(TABLE).and_then(Value::as_str);
    let table = table.ok_or(MessageError::Plan("`plan` has no text `sort-plan.csv`"))?.to_owned();
    let name = match plan.get("name") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) if orders::check_text("name", name).is_ok() => Some(name.clone()),
        Some(_) => return Err(MessageError::Plan("`name` is no text of 1 to 128 bytes")),
    };
    let activate = match message.get("activate") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(activate)) => *activate,
        Some(_) => return Err(MessageError::Plan("`activate` is neither true nor false")),
    };
    Ok(PlanMessage { id, table, name, activate })
}

/// Reads a question.
pub fn read_ask(payload: &[u8]) -> Result<AskMessage, MessageError> {
    if payload.len() > ASK_BYTES {
        return Err(MessageError::TooLarge { most: ASK_BYTES, came: payload.len() });
    }
    let (id, message) = orders::envelope(payload)?;
    let code = message.get("code").and_then(Value::as_str);
    let code = code.filter(|code| orders::check_text("code", code).is_ok());
    let code = code.ok_or(MessageError::Ask("`code` is no text of 1 to 128 bytes"))?.to_owned();
    match message.get("ask").and_then(Value::as_str) {
        Some("evidence") => Ok(AskMessage::Evidence { id, code }),
        Some("unknown_parcel") => {
            let order = message.get("order").ok_or(MessageError::Ask("`order` is missing"))?;
            let order: Order = orders::read_order(order).map_err(MessageError::Order)?;
            if !order.codes.contains(&code) {
                return Err(MessageError::Ask("`order` does not carry the `code` it answers for"));
            }
            Ok(AskMessage::UnknownParcel(OrderBatch { message: id, last: true, orders: vec![order] }))
        }
        _ => Err(MessageError::Ask("`ask` is neither `evidence` nor `unknown_parcel`")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plans_are_read_or_refused_with_why() {
        let plan = json!({"id": "p-1", "plan": {"sort-plan.csv": "destination,chute,priority\n", "name": "winter",
            "new": 1}, "activate": true});
        let read = read_plan(plan.to_string().as_bytes()).unwrap();
        assert_eq!((read.id.as_str(), read.name.as_deref(), read.activate), ("p-1", Some("winter"), true));
        for (name, value, why) in [
            ("plan", json!("x"), "no object"),
            ("plan", json!({}), "no text `sort-plan.csv`"),
            ("plan", json!({"sort-plan.csv": "x", "name": ""}), "`name`"),
            ("activate", json!("yes"), "`activate`"),
            ("id", json!(null), "`id`"),
        ] {
            let mut plan = plan.clone();
            plan[name] = value;
            let error = read_plan(plan.to_string().as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn questions_are_read_or_refused_with_why() {
        let ask = |ask: Value| read_ask(ask.to_string().as_bytes()).map_err(|error| error.to_string());
        let order = json!({"order": "SO-1", "revision": 1, "codes": ["K1"], "destination": "TH"});
        let evidence = AskMessage::Evidence { id: "a".to_owned(), code: "K1".to_owned() };
        assert_eq!(ask(json!({"id": "a", "ask": "evidence", "code": "K1"})), Ok(evidence));
        let answer = ask(json!({"id": "a", "ask": "unknown_parcel", "code": "K1", "order": order})).unwrap();
        assert!(
            matches!(answer, AskMessage::UnknownParcel(batch) if batch.orders[0].order == "SO-1" && batch.last)
        );
        for (question, why) in [
            (json!({"id": "a", "ask": "evidence"}), "`code`"),
            (json!({"id": "a", "ask": "evidence", "code": "x".repeat(129)}), "`code`"),
            (json!({"id": "a", "ask": "weather", "code": "K1"}), "neither `evidence`"),
            (json!({"id": "a", "code": "K1"}), "neither `evidence`"),
            (json!({"id": "a", "ask": "unknown_parcel", "code": "K1"}), "`order` is missing"),
            (json!({"id": "a", "ask": "unknown_parcel", "code": "K2", "order": order}), "does not carry"),
            (
                json!({"id": "a", "ask": "unknown_parcel", "code": "K1", "order": {"order": "x"}}),
                "missing field",
            ),
            (json!({"id": "a", "ask": "evidence", "code": "K", "x": "y".repeat(ASK_BYTES)}), "at most 65536"),
        ] {
            let error = ask(question).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
