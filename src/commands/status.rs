//! `sortd status`: the line as it stands, what wants a person first.

use std::fmt::Write;

use super::explain::local_time;
use super::{Exit, Format, failed, print, print_json};
use crate::line::record::Severity;
use crate::panel::StatusDocument;
use crate::panel::client::Client;
use crate::panel::words::{ne107, plain};
use crate::watch::Ne107;

/// Last outcomes shown.
const LAST_SHOWN: usize = 5;

/// Asks the line and prints its status.
pub fn command(client: &Client, format: Format) -> Exit {
    match client.status() {
        Ok(document) if format.json => print_json(&document),
        Ok(document) => print(&text(&document)),
        Err(error) => failed(&error),
    }
}

/// The status as text.
pub fn text(document: &StatusDocument) -> String {
    let mut out = String::new();
    heading(&mut out, document);
    alarms(&mut out, document);
    sums(&mut out, document);
    chutes(&mut out, document);
    devices(&mut out, document);
    out.push('\n');
    facts(&mut out, "Uplink", &document.uplink);
    facts(&mut out, "Journal", &document.journal);
    last(&mut out, document);
    out
}

fn heading(out: &mut String, document: &StatusDocument) {
    let (about, line) = (&document.about, &document.line);
    let belt = if line.state == "offline" {
        "belt speed not known".to_owned()
    } else {
        format!("belt {} mm/s", line.speed_mm_s)
    };
    let _ = writeln!(
        out,
        "{} / {} · {} · {belt} · sort plan {}",
        plain(&about.site),
        plain(&about.line),
        line.state.to_uppercase(),
        line.plan
    );
    let _ = writeln!(
        out,
        "sortd {} · boot {} · up since {}",
        about.version,
        about.boot,
        local_time(about.started_us, &about.time_zone)
    );
    if !document.line_is_fresh() {
        let _ = writeln!(
            out,
            "!! The core has not shown itself for {} s: these numbers are old. See journalctl -u sortd -e",
            document.line_age_ms / 1000
        );
    }
}

fn alarms(out: &mut String, document: &StatusDocument) {
    if document.alarms.is_empty() {
        out.push_str("\nNo alarm.\n");
        return;
    }
    let _ = writeln!(out, "\nAlarms ({})", document.alarms.len());
    for alarm in &document.alarms {
        let severity = match alarm.severity {
            Severity::Critical => "CRITICAL",
            Severity::Warning => "warning ",
        };
        let _ = writeln!(out, "  {severity}  {}  [{}]", plain(&alarm.text), plain(&alarm.id));
        let _ = writeln!(out, "            → {}", plain(&alarm.remedy));
    }
}

fn sums(out: &mut String, document: &StatusDocument) {
    let (line, sums) = (&document.line, &document.line.sums);
    let exceptions: u64 = sums.exceptions.values().sum();
    let _ = writeln!(
        out,
        "\nPasses   {} inducted = {} sorted + {exceptions} exceptions + {} lost + {} on the belt",
        sums.inducted, sums.sorted, sums.lost, sums.in_flight
    );
    if !sums.exceptions.is_empty() {
        let mut reasons: Vec<_> = sums.exceptions.iter().collect();
        reasons.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        let reasons: Vec<String> =
            reasons.into_iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        let _ = writeln!(out, "         exceptions: {}", reasons.join(", "));
    }
    let _ = writeln!(
        out,
        "         manual {:.2} %, extra laps {}, orders known {}, holds {}",
        sums.manual_ratio * 100.0,
        sums.recirculated,
        line.orders,
        line.holds
    );
    let [p50, p99, max] = line.decision_ms;
    let [reaction_p50, reaction_p99, reaction_max] = line.reaction_ms;
    let [least, p1, median] = line.slack_ms;
    let _ = writeln!(out, "Timing   decision p50 {p50:.0}, p99 {p99:.0}, max {max:.0} ms after induction");
    let _ = writeln!(
        out,
        "         reaction p50 {reaction_p50:.2}, p99 {reaction_p99:.2}, max {reaction_max:.2} ms"
    );
    let _ = writeln!(out, "         slack least {least}, p1 {p1}, p50 {median} ms");
    let unused: Vec<String> = line
        .counters
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| format!("{} {count}", plain(name)))
        .collect();
    if !unused.is_empty() {
        let _ = writeln!(out, "Counted  {}", unused.join(", "));
    }
}

fn chutes(out: &mut String, document: &StatusDocument) {
    if document.line.chutes.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "\n{:>5}  {:<18} {:<10} {:>11}  {:>7}  set by",
        "Chute", "name", "state", "in it", "coming"
    );
    for chute in &document.line.chutes {
        let fill = format!("{} of {}", chute.filled, chute.capacity);
        let name =
            if chute.exception { format!("{} (exc.)", plain(&chute.name)) } else { plain(&chute.name) };
        let row = format!(
            "{:>5}  {:<18} {:<10} {:>11}  {:>7}  {}",
            chute.number,
            name,
            chute.state,
            fill,
            chute.reserved,
            chute.set_by.as_deref().map(plain).unwrap_or_default()
        );
        let _ = writeln!(out, "{}", row.trim_end());
    }
}

fn devices(out: &mut String, document: &StatusDocument) {
    if document.devices.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{:<18} {:<20} {:>12}  faults", "Device", "state", "good");
    for (name, health) in &document.devices {
        let faults: Vec<String> =
            health.faults.iter().map(|(kind, count)| format!("{} {count}", plain(kind))).collect();
        let row = format!(
            "{:<18} {:<20} {:>12}  {}",
            plain(name),
            ne107(health.state),
            health.good,
            faults.join(", ")
        );
        let _ = writeln!(out, "{}", row.trim_end());
        if health.state != Ne107::Good && !health.reason.is_empty() {
            let _ = writeln!(out, "{:<18} {}", "", plain(&health.reason));
        }
    }
}

/// A JSON object on one line, an object in it on a line of its own; keys as the room that made them calls them.
fn facts(out: &mut String, name: &str, value: &serde_json::Value) {
    let Some(object) = value.as_object().filter(|object| !object.is_empty()) else { return };
    let parts: Vec<String> = object
        .iter()
        .filter(|(_, value)| !(value.is_null() || value.is_object() || *value == &serde_json::json!([])))
        .map(|(key, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{} {}", plain(&key.replace('_', " ")), plain(&text))
        })
        .collect();
    let _ = writeln!(out, "{name:<10} {}", parts.join(" · "));
    for (key, value) in object {
        facts(out, &format!("  {}", plain(&key.replace('_', " "))), value);
    }
}

fn last(out: &mut String, document: &StatusDocument) {
    if document.line.last.is_empty() {
        return;
    }
    out.push_str("\nLast outcomes\n");
    for ended in document.line.last.iter().take(LAST_SHOWN) {
        let key = ended.key.as_deref().map_or_else(|| "(no identity)".to_owned(), plain);
        let chute = ended.chute.as_deref().map(|chute| format!(" → {}", plain(chute))).unwrap_or_default();
        let reason =
            ended.reason.as_deref().map(|reason| format!(" ({})", plain(reason))).unwrap_or_default();
        let _ = writeln!(out, "  {:<12} {key}  {}{reason}{chute}", ended.pass, ended.outcome);
    }
}
