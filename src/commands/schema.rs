//! `sortd schema NAME`: the JSON Schema of a configuration file, of a message, or of `evidence.json`.

use super::{Exit, complain, print};
use crate::evidence::document::SCHEMA;
use crate::{site, uplink};

/// Name of the evidence document.
const EVIDENCE: &str = "evidence";

/// Prints one schema, or the names of all.
pub fn command(name: Option<&str>) -> Exit {
    let names = || site::SCHEMAS.into_iter().chain(uplink::schema::names()).chain([EVIDENCE]);
    let Some(name) = name else {
        return print(&names().map(|name| format!("{name}\n")).collect::<String>());
    };
    if let Some(schema) = site::schema(name) {
        return super::print_json(&schema);
    }
    match uplink::schema::schema(name).or((name == EVIDENCE).then_some(SCHEMA)) {
        Some(schema) => print(schema),
        None => {
            let known: Vec<&str> = names().collect();
            complain(&format!("sortd: there is no schema {name:?}; there are {}\n", known.join(", ")));
            Exit::Usage
        }
    }
}
