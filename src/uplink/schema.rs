//! JSON Schemas of the messages, for `sortd schema` and for `config/asyncapi.yaml`.

/// Names of the messages and their schemas; the name is the topic's last level.
const SCHEMAS: [(&str, &str); 8] = [
    ("events", include_str!("schema/events.json")),
    ("anchors", include_str!("schema/anchors.json")),
    ("health", include_str!("schema/health.json")),
    ("orders", include_str!("schema/orders.json")),
    ("holds", include_str!("schema/holds.json")),
    ("plans", include_str!("schema/plans.json")),
    ("ask", include_str!("schema/ask.json")),
    ("acks", include_str!("schema/acks.json")),
];

/// Messages that have a schema.
pub fn names() -> impl Iterator<Item = &'static str> {
    SCHEMAS.iter().map(|(name, _)| *name)
}

/// The JSON Schema of a message, as text.
pub fn schema(name: &str) -> Option<&'static str> {
    SCHEMAS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::identify::{Key, Reading};
    use crate::journal::signing::KeyId;
    use crate::line::outcome::{Outcome, Reason};
    use crate::line::record::{Alarm, Fact, Report, Severity};
    use crate::line::{ChuteNo, PassKey, ReaderId};
    use crate::uplink::anchors::AnchorBrief;
    use crate::uplink::down::Down;
    use crate::uplink::health::{Health, LineBrief};
    use crate::uplink::orders::{self, Ack, Refusal};
    use crate::uplink::status::UplinkStatus;
    use crate::uplink::tests::anchors_up::anchor;
    use crate::uplink::tests::journal::{milestone, run};
    use crate::uplink::{Topics, epcis, holds, questions};
    use crate::watch::{Board, Ne107};

    /// The part of JSON Schema that the schemas here use; a keyword it does not know is an error.
    fn violations(schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut fail = |what: &str| found.push(format!("{at}: {what}, not {value}"));
        let kinds: Vec<&str> = match &schema["type"] {
            Value::String(kind) => vec![kind],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        if !kinds.is_empty() && !kinds.contains(&kind) {
            fail(&format!("must be {kinds:?}"));
            return found;
        }
        let mut inner = Vec::new();
        for (keyword, rule) in schema.as_object().expect("a schema is an object") {
            match keyword.as_str() {
                "$schema" | "title" | "description" | "type" => {}
                "enum" if !rule.as_array().unwrap().contains(value) => fail("must be of the enum"),
                "pattern" if value.is_string() => {
                    let pattern = regex::Regex::new(rule.as_str().unwrap()).unwrap();
                    if !pattern.is_match(value.as_str().unwrap()) {
                        fail("must match the pattern");
                    }
                }
                "minimum" if value.is_number() && value.as_i64() < rule.as_i64() => fail("is too small"),
                "maximum" if value.is_number() && value.as_i64() > rule.as_i64() => fail("is too large"),
                "minLength" | "maxLength" | "minItems" | "maxItems" => {
                    let length = value.as_array().map(Vec::len).or(value.as_str().map(str::len));
                    let bound = usize::try_from(rule.as_u64().unwrap()).unwrap();
                    if length.is_some_and(|length| {
                        if keyword.starts_with("min") { length < bound } else { length > bound }
                    }) {
                        fail(keyword);
                    }
                }
                "required" if value.is_object() => {
                    for name in rule.as_array().unwrap() {
                        if value.get(name.as_str().unwrap()).is_none() {
                            fail(&format!("must have {name}"));
                        }
                    }
                }
                "properties" => {
                    for (name, rule) in rule.as_object().unwrap() {
                        if let Some(member) = value.get(name) {
                            inner.extend(violations(rule, member, &format!("{at}/{name}")));
                        }
                    }
                }
                "additionalProperties" => {
                    for (name, member) in value.as_object().into_iter().flatten() {
                        if schema["properties"].get(name).is_some() {
                            continue;
                        }
                        match rule {
                            Value::Bool(false) => fail(&format!("must not have {name}")),
                            rule => inner.extend(violations(rule, member, &format!("{at}/{name}"))),
                        }
                    }
                }
                "items" => {
                    for element in value.as_array().into_iter().flatten() {
                        inner.extend(violations(rule, element, &format!("{at}[]")));
                    }
                }
                "enum" | "pattern" | "minimum" | "maximum" | "required" => {}
                unknown => panic!("{unknown} is not checked here"),
            }
        }
        found.extend(inner);
        found
    }

    fn check(name: &str, bytes: &[u8]) -> Vec<String> {
        let schema: Value = serde_json::from_str(schema(name).unwrap()).unwrap();
        violations(&schema, &serde_json::from_slice(bytes).unwrap(), name)
    }

    #[test]
    fn every_event_fits_its_schema() {
        let pass = PassKey { epoch: 3, track: 42 };
        let ended = |outcome| Fact::Ended {
            pass,
            key: None,
            uri: None,
            outcome,
            plan: "feed".to_owned(),
            slack_ms: Some(1),
            destination: Some("TH".to_owned()),
        };
        let tag = Reading::Tag { epc: vec![1, 2] };
        let facts = [
            Fact::Inducted { pass, length_mm: 1 },
            Fact::Tied { pass, reader: ReaderId(1), reading: tag, rssi_dbm: Some(-50) },
            Fact::Identified {
                pass,
                key: Key("wb:A".to_owned()),
                uri: None,
                order: Some("O".to_owned()),
                carrier: Some("C".to_owned()),
            },
            Fact::Recirculated { pass, lap: 1 },
            ended(Outcome::Sorted { chute: ChuteNo(12) }),
            ended(Outcome::Exception { reason: Reason::NoRead, chute: Some(ChuteNo(1)) }),
            ended(Outcome::Lost),
            Fact::Reported {
                pass: None,
                code: "A".to_owned(),
                uri: None,
                what: Report::Found,
                by: "x".to_owned(),
            },
        ];
        for fact in facts {
            let bytes = epcis::document(&milestone(1, fact.clone()), &run(), 1).unwrap();
            assert_eq!(check("events", &bytes), Vec::<String>::new(), "{fact:?}");
        }
    }

    #[test]
    fn health_and_answers_fit_their_schemas() {
        let board = Board::default();
        for (name, state) in [
            ("a", Ne107::Good),
            ("b", Ne107::Check),
            ("c", Ne107::OutOfSpecification),
            ("d", Ne107::Maintenance),
            ("e", Ne107::Failure),
        ] {
            board.device(name, state, "reason", "remedy");
        }
        let alarm = Alarm {
            id: "x".to_owned(),
            severity: Severity::Warning,
            text: "t".to_owned(),
            remedy: "r".to_owned(),
        };
        let line = LineBrief { state: "running".to_owned(), plan: "p".to_owned(), alarms: vec![alarm] };
        let anchor = AnchorBrief {
            number: 1,
            seq: 2,
            time: "2026-11-22T00:00:00Z".to_owned(),
            key_id: "0".repeat(16),
        };
        let status = UplinkStatus { anchor: Some(anchor), ..UplinkStatus::default() };
        let health = Health::now(line, &board, &status);
        assert_eq!(health.alarms.len(), 2);
        assert_eq!(check("health", &health.bytes()), Vec::<String>::new());
        assert_eq!(check("health", &Health::offline().bytes()), Vec::<String>::new());

        let refusal = |code| Refusal { order: None, code, reason: "r".to_owned() };
        let refused = vec![refusal(None), refusal(Some("c".to_owned()))];
        assert_eq!(check("acks", &Ack::taken("m".to_owned(), 1, refused).bytes()), Vec::<String>::new());
        let why = orders::read(b"?").unwrap_err();
        assert_eq!(check("acks", &Ack::refused(b"?", &why).bytes()), Vec::<String>::new());
    }

    #[test]
    fn anchors_fit_their_schema() {
        for seq in [1, 70_000] {
            for previous in [None, Some(KeyId([0xab; 8]))] {
                let document = anchor(seq, previous).document();
                let bytes = serde_json::to_vec(&document).unwrap();
                assert_eq!(check("anchors", &bytes), Vec::<String>::new());
            }
        }
    }

    /// What the schema of orders allows is taken, what it forbids is refused.
    #[test]
    fn orders_are_judged_as_their_schema_says() {
        let good = json!({"order": "O", "revision": 1, "codes": ["A"], "destination": "TH", "carrier": null,
            "cancelled": false, "hold": "repack", "unknown": 1});
        let with = |name: &str, value: Value| {
            let mut order = good.clone();
            order[name] = value;
            order
        };
        let schema: Value = serde_json::from_str(schema("orders").unwrap()).unwrap();
        let mut cases = vec![
            (good.clone(), true),
            (with("order", json!("")), false),
            (with("order", json!("x".repeat(129))), false),
            (with("revision", json!(-1)), false),
            (with("revision", json!(4_294_967_296_u64)), false),
            (with("codes", json!(vec!["A"; 17])), false),
            (with("codes", json!([1])), false),
            (with("destination", json!(null)), false),
            (with("hold", json!("mood")), false),
            (with("hold", json!(null)), true),
            (with("cancelled", json!("yes")), false),
            (with("country", json!("TH")), true),
            (with("country", json!("Thailand")), false),
            (with("postcode", json!("10110")), true),
            (with("postcode", json!("")), false),
            (with("weight_g", json!(-1)), false),
            (with("size_mm", json!([300, 200, 100])), true),
            (with("size_mm", json!([300, 200])), false),
            (with("size_mm", json!([300, 200, 70_000])), false),
            (with("cod", json!({"minor": 129_900, "currency": "THB"})), true),
            (with("cod", json!({"minor": 129_900, "currency": "baht"})), false),
            (with("cod", json!({"minor": 9_007_199_254_740_992_u64, "currency": "VND"})), false),
            (with("cod", json!({"currency": "THB"})), false),
            (with("fragile", json!(true)), true),
            (with("dangerous_goods", json!("no")), false),
            (with("customer", json!("x".repeat(129))), false),
            (with("goods", json!(null)), true),
        ];
        for hold in schema["properties"]["orders"]["items"]["properties"]["hold"]["enum"].as_array().unwrap()
        {
            cases.push((with("hold", hold.clone()), true));
        }
        for (order, fits) in cases {
            let message = json!({"id": "m", "orders": [order]});
            assert_eq!(violations(&schema, &message, "orders").is_empty(), fits, "{message}");
            let read = orders::read(message.to_string().as_bytes()).unwrap();
            assert_eq!(read.refused.is_empty(), fits, "{message} {:?}", read.refused);
        }
    }

    /// What the schema of holds allows is taken, what it forbids is refused.
    #[test]
    fn holds_are_judged_as_their_schema_says() {
        let good =
            json!({"order": "O", "revision": 1, "hold": "repack", "reason": "r", "by": "b", "unknown": 1});
        let schema: Value = serde_json::from_str(schema("holds").unwrap()).unwrap();
        let mut cases = vec![(good.clone(), true), (json!({"order": "O"}), false)];
        let members = [
            ("order", json!(""), false),
            ("order", json!("x".repeat(129)), false),
            ("revision", json!(-1), false),
            ("revision", json!(4_294_967_296_u64), false),
            ("revision", json!(null), true),
            ("hold", json!("mood"), false),
            ("reason", json!(1), false),
            ("reason", json!(null), true),
            ("by", json!(""), false),
        ];
        let holds = schema["properties"]["holds"]["items"]["properties"]["hold"]["enum"].as_array().unwrap();
        let every = holds.iter().map(|hold| ("hold", hold.clone(), true));
        for (name, value, fits) in members.into_iter().chain(every) {
            let mut hold = good.clone();
            hold[name] = value;
            cases.push((hold, fits));
        }
        for (hold, fits) in cases {
            let message = json!({"id": "h", "holds": [hold]});
            assert_eq!(violations(&schema, &message, "holds").is_empty(), fits, "{message}");
            let read = holds::read(message.to_string().as_bytes()).unwrap();
            assert_eq!(read.refused.is_empty(), fits, "{message} {:?}", read.refused);
        }
    }

    /// The same of plans and questions.
    #[test]
    fn plans_and_questions_are_judged_as_their_schemas_say() {
        let plan = json!({"id": "p", "plan": {"sort-plan.csv": "x", "name": null}, "activate": false});
        let ask = json!({"id": "a", "ask": "evidence", "code": "K"});
        let cases = [
            ("plans", &plan, "id", json!(""), false),
            ("plans", &plan, "activate", json!(1), false),
            ("plans", &plan, "activate", json!(null), true),
            ("plans", &plan, "plan", json!({"name": "x"}), false),
            ("plans", &plan, "plan", json!({"sort-plan.csv": "x", "name": ""}), false),
            ("plans", &plan, "plan", json!({"sort-plan.csv": "x", "name": "winter"}), true),
            ("ask", &ask, "id", json!(1), false),
            ("ask", &ask, "ask", json!("weather"), false),
            ("ask", &ask, "code", json!(""), false),
            ("ask", &ask, "code", json!("x".repeat(129)), false),
            ("ask", &ask, "unknown", json!(1), true),
        ];
        for (name, good, member, value, fits) in cases {
            let mut message = good.clone();
            message[member] = value;
            let bytes = message.to_string().into_bytes();
            assert_eq!(check(name, &bytes).is_empty(), fits, "{message}");
            let taken = match name {
                "plans" => questions::read_plan(&bytes).is_ok(),
                _ => questions::read_ask(&bytes).is_ok(),
            };
            assert_eq!(taken, fits, "{message}");
        }
    }

    #[test]
    fn the_description_for_others_names_every_topic_and_schema() {
        let text = include_str!("../../config/asyncapi.yaml");
        let topics = Topics::new("{site}", "{line}");
        for (name, topic) in [
            ("events", topics.events()),
            ("anchors", topics.anchors()),
            ("health", topics.health()),
            ("orders", topics.down(Down::Orders)),
            ("holds", topics.down(Down::Holds)),
            ("plans", topics.down(Down::Plans)),
            ("ask", topics.down(Down::Ask)),
            ("acks", topics.acks()),
        ] {
            assert!(text.contains(&format!("address: {topic}\n")), "{topic}");
            assert!(text.contains(&format!("$ref: '../src/uplink/schema/{name}.json'")), "{name}");
            assert!(text.contains(&format!("$ref: '#/channels/{name}'")), "{name} has no operation");
        }
        assert_eq!(text.matches("/schema/").count(), names().count());
        assert_eq!(schema("nothing"), None);
    }
}
