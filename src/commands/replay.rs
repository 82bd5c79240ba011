//! `sortd replay`: recorded events through the same core; every difference is printed, and none is expected.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use serde::Serialize;

use super::recorded::{Which, fallback};
use super::{Exit, Format, client, complain, print, print_json, refused};
use crate::replay::{Finding, Proof, Walked, prove, zone};

/// Findings listed in a JSON document; all are counted.
const LISTED_MOST: usize = 10_000;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Document {
    #[serde(flatten)]
    proof: Proof,
    /// The first findings.
    findings: Vec<Finding>,
}

/// Replays and prints.
pub fn command(config: &Path, which: &Which, format: Format) -> Exit {
    let open = match which.open(client(config)) {
        Ok(open) => open,
        Err(error) => return could_not(&error, format),
    };
    let damaged = open.complain_of_damage();
    let zone = match zone(open.recording()) {
        Ok(zone) => zone,
        Err(error) => return could_not(&error, format),
    };
    let mut findings = Vec::new();
    let mut out = io::stdout().lock();
    let mut tell = |finding: Finding| {
        if format.json {
            if findings.len() < LISTED_MOST {
                findings.push(finding);
            }
        } else {
            // A reader that has gone away has read all it wanted; the exit code still counts.
            let _ = out.write_all(shown(&finding, &zone).as_bytes());
        }
    };
    let proof = prove(open.recording(), which.period(), fallback(config), &mut tell);
    drop(out);
    let proof = match proof {
        Ok(proof) => proof,
        Err(error) => return could_not(&error, format),
    };
    let holds = proof.holds();
    let printed = if format.json {
        print_json(&Document { proof, findings })
    } else {
        complain_all(&proof.walked);
        print(&summary(&proof, &zone))
    };
    match printed {
        Exit::Done if !holds => Exit::Finding,
        // What could not be read was not proven.
        Exit::Done if damaged => Exit::Failed,
        other => other,
    }
}

/// Says why nothing was replayed.
pub fn could_not(error: &dyn std::fmt::Display, format: Format) -> Exit {
    refused(error, Exit::Failed, format)
}

/// Says what the reader must know about what was walked through.
pub fn complain_all(walked: &Walked) {
    for warning in &walked.warnings {
        complain(&format!("sortd: warning: {warning}\n"));
    }
}

/// A wall time as `--from` takes it: the site's own, with its offset.
pub fn local(utc: &str, zone: &str) -> String {
    let at = utc.parse::<jiff::Timestamp>();
    at.map_or_else(|_| utc.to_owned(), |at| crate::replay::local(at.as_microsecond(), zone))
}

/// What was walked through, for people; times in this zone.
pub fn walked(walked: &Walked, zone: &str) -> String {
    let mut text = String::new();
    let Walked { first, last, from, to, records, inputs, facts, starts, snapshots, left_out, .. } = walked;
    let _ =
        writeln!(text, "records {first} to {last}, {} to {} ({zone})", local(from, zone), local(to, zone));
    let _ = writeln!(
        text,
        "{records} records fed ({inputs} inputs, {starts} starts), {facts} facts and {snapshots} snapshots compared"
    );
    if *left_out > 0 {
        let _ = writeln!(text, "{left_out} records left out: no state to feed them to");
    }
    text
}

fn summary(proof: &Proof, zone: &str) -> String {
    let mut text = walked(&proof.walked, zone);
    let Proof { differences, state_differences, .. } = proof;
    let _ =
        writeln!(text, "{differences} differences in facts, {state_differences} in the state at snapshots");
    text
}

fn shown(finding: &Finding, zone: &str) -> String {
    let fact = |fact: &Option<crate::line::record::Fact>| match fact {
        Some(fact) => serde_json::to_string(fact).unwrap_or_else(|_| format!("{fact:?}")),
        None => "nothing".to_owned(),
    };
    match finding {
        Finding::Fact(different) => {
            let pass = different.pass.as_ref().map_or_else(String::new, |pass| format!("  pass {pass}"));
            format!(
                "record {}  {}{pass}\n  recorded   {}\n  concluded  {}\n",
                different.record,
                local(&different.time, zone),
                fact(&different.recorded),
                fact(&different.concluded)
            )
        }
        Finding::State { record, time, parts } => {
            let time = local(time, zone);
            format!("after record {record}  {time}\n  the stored state differs in: {}\n", parts.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_they_are_asked_for() {
        let walked = Walked {
            first: 1,
            last: 9,
            from: "2026-11-22T00:00:00.5Z".to_owned(),
            to: "2026-11-22T01:00:00Z".to_owned(),
            ..Walked::default()
        };
        let text = super::walked(&walked, "Asia/Shanghai");
        let expected = "2026-11-22 08:00:00.500 +08:00 to 2026-11-22 09:00:00.000 +08:00 (Asia/Shanghai)";
        assert!(text.contains(expected), "{text}");
    }
}
