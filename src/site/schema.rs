//! JSON Schemas of the TOML files, for editors that complete and underline (Taplo, Even Better TOML).
//!
//! Written from the same key tables that the walk checks by, so that they agree by construction; the files in
//! `config/schema/` are this module's output, and a test holds them to it.

use serde_json::{Map, Value, json};

use super::keys;
use super::shape::{Key, Kind, Need, Preset, TableShape, TextRule};
use super::walk::register_defaults;

/// Names that [`schema`] knows.
pub const SCHEMAS: [&str; 4] = ["sortd", "line", "devices", "carriers"];

/// JSON Schema (draft-07, which editors' TOML tools read) of a configuration file: `sortd` for `sortd.toml`
/// and so on. `None` for a name that is not in [`SCHEMAS`].
pub fn schema(name: &str) -> Option<Value> {
    let shape = match name {
        "sortd" => &keys::SORTD,
        "line" => &keys::LINE,
        "devices" => &keys::DEVICES,
        "carriers" => &keys::CARRIERS,
        _ => return None,
    };
    let mut schema = table(shape);
    schema.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
    schema.insert("title".to_owned(), json!(format!("{name}.toml")));
    Some(Value::Object(schema))
}

fn table(shape: &TableShape) -> Map<String, Value> {
    let properties: Map<String, Value> =
        shape.keys.iter().map(|key| (key.name.to_owned(), Value::Object(property(key)))).collect();
    let required: Vec<&str> =
        shape.keys.iter().filter(|key| matches!(key.need, Need::Required)).map(|key| key.name).collect();
    let mut schema = object(json!({
        "type": "object",
        "description": shape.doc,
        "additionalProperties": false,
        "properties": properties,
    }));
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    schema
}

fn property(key: &Key) -> Map<String, Value> {
    let mut property = match &key.kind {
        Kind::Integer { least, most, .. } => {
            object(json!({ "type": "integer", "minimum": least, "maximum": most }))
        }
        Kind::Pair { least, most, .. } => object(json!({
            "type": "array", "minItems": 2, "maxItems": 2,
            "items": { "type": "integer", "minimum": least, "maximum": most },
        })),
        Kind::Bool => object(json!({ "type": "boolean" })),
        Kind::Choice(words) => object(json!({ "type": "string", "enum": words })),
        Kind::Text(rule) => text(rule),
        Kind::Texts(rule) => object(json!({ "type": "array", "minItems": 1, "items": text(rule) })),
        Kind::OneOrMore(rule) => object(json!({
            "anyOf": [text(rule), { "type": "array", "minItems": 1, "items": text(rule) }],
        })),
        Kind::Table(shape) => table(shape),
        Kind::Tables(shape) => object(json!({ "type": "array", "items": table(shape) })),
    };
    property.insert("description".to_owned(), json!(key.doc));
    let default = match &key.need {
        Need::Required | Need::Optional | Need::Default(Preset::Table) => None,
        Need::Default(Preset::Integer(number)) => Some(json!(number)),
        Need::Default(Preset::Bool(yes)) => Some(json!(yes)),
        Need::Default(Preset::Text(text)) => Some(json!(text)),
        Need::RegisterDefault => register_defaults().remove(key.name),
    };
    if let Some(default) = default {
        property.insert("default".to_owned(), default);
    }
    property
}

fn text(rule: &TextRule) -> Map<String, Value> {
    let mut schema = object(json!({ "type": "string" }));
    if let Some(pattern) = rule.pattern {
        schema.insert("pattern".to_owned(), json!(pattern));
    }
    schema
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
