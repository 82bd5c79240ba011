//! The status as Prometheus text (exposition format 0.0.4).

use std::fmt::{Display, Write};

use super::status::StatusDocument;
use crate::line::record::Severity;
use crate::watch::Ne107;

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (place, (label, text)) in labels.iter().enumerate() {
            self.0.push(if place == 0 { '{' } else { ',' });
            let _ = write!(self.0, "{label}=\"{}\"", escaped(text));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }
}

/// A label's value: backslash, quote and line feed are escaped.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The states a chute can be in, as `LineStatus` names them.
const CHUTE_STATES: [&str; 8] =
    ["open", "near_full", "full", "closing", "changing", "locked", "faulted", "disabled"];

const NE107: [(Ne107, &str); 5] = [
    (Ne107::Good, "good"),
    (Ne107::Check, "check"),
    (Ne107::OutOfSpecification, "out_of_specification"),
    (Ne107::Maintenance, "maintenance"),
    (Ne107::Failure, "failure"),
];

/// The whole exposition.
pub fn text(document: &StatusDocument) -> String {
    let mut out = Text(String::new());
    let about = &document.about;
    out.family("sortd_info", "gauge", "What this installation is.");
    out.sample(
        "sortd_info",
        &[
            ("site", &about.site),
            ("line", &about.line),
            ("version", &about.version),
            ("plan", &document.line.plan),
        ],
        1,
    );
    out.one("sortd_boot", "gauge", "Starts of this installation.", about.boot);
    out.one(
        "sortd_line_age_seconds",
        "gauge",
        "Since the core last showed itself.",
        document.line_age_ms as f64 / 1e3,
    );
    line(&mut out, document);
    chutes(&mut out, document);
    devices(&mut out, document);
    numbers(&mut out, "sortd_journal", "Journal.", &document.journal);
    numbers(&mut out, "sortd_uplink", "Uplink.", &document.uplink);
    out.0
}

fn line(out: &mut Text, document: &StatusDocument) {
    let line = &document.line;
    let sums = &line.sums;
    out.family("sortd_line_state", "gauge", "1 for the state the line is in.");
    out.sample("sortd_line_state", &[("state", &line.state)], 1);
    out.one("sortd_belt_speed_mm_per_second", "gauge", "Belt speed.", line.speed_mm_s);
    out.one("sortd_inducted_total", "counter", "Passes begun since the store began.", sums.inducted);
    out.one("sortd_sorted_total", "counter", "Passes sorted.", sums.sorted);
    out.family("sortd_exceptions_total", "counter", "Passes that ended as an exception, by reason.");
    for (reason, count) in &sums.exceptions {
        out.sample("sortd_exceptions_total", &[("reason", reason)], count);
    }
    out.one("sortd_lost_total", "counter", "Passes lost.", sums.lost);
    out.one("sortd_in_flight", "gauge", "Passes on the belt.", sums.in_flight);
    out.one("sortd_recirculated_total", "counter", "Laps beyond the first.", sums.recirculated);
    out.one(
        "sortd_manual_ratio",
        "gauge",
        "Distinct parcels that need a person / inducted.",
        sums.manual_ratio,
    );
    out.one("sortd_orders", "gauge", "Active orders known.", line.orders);
    out.one("sortd_holds", "gauge", "Holds in force, apart from those of orders.", line.holds);
    for (name, help, values) in [
        ("sortd_decision_ms", "Induction to decision.", line.decision_ms),
        ("sortd_reaction_ms", "Last needed fact heard to command.", line.reaction_ms),
    ] {
        out.family(name, "gauge", help);
        for (quantile, value) in ["0.5", "0.99", "1"].into_iter().zip(values) {
            out.sample(name, &[("quantile", quantile)], value);
        }
    }
    out.family("sortd_slack_ms", "gauge", "Time left to the point of no return when the PLC took a command.");
    for (quantile, value) in ["0", "0.01", "0.5"].into_iter().zip(line.slack_ms) {
        out.sample("sortd_slack_ms", &[("quantile", quantile)], value);
    }
    out.family("sortd_unused_total", "counter", "What came and could not be used, by kind.");
    for (kind, count) in &line.counters {
        out.sample("sortd_unused_total", &[("kind", kind)], count);
    }
    out.family("sortd_alarms", "gauge", "Alarms that stand, by severity.");
    for (severity, name) in [(Severity::Warning, "warning"), (Severity::Critical, "critical")] {
        let count = document.alarms.iter().filter(|alarm| alarm.severity == severity).count();
        out.sample("sortd_alarms", &[("severity", name)], count);
    }
}

fn chutes(out: &mut Text, document: &StatusDocument) {
    type Of = fn(&crate::line::status::ChuteStatus) -> u16;
    let counts: [(&str, &str, Of); 3] = [
        ("sortd_chute_filled", "Parcels in the chute.", |chute| chute.filled),
        ("sortd_chute_reserved", "Parcels on their way to the chute.", |chute| chute.reserved),
        ("sortd_chute_capacity", "Places in the chute.", |chute| chute.capacity),
    ];
    for (name, help, of) in counts {
        out.family(name, "gauge", help);
        for chute in &document.line.chutes {
            out.sample(name, &[("chute", &chute.number.to_string()), ("name", &chute.name)], of(chute));
        }
    }
    out.family("sortd_chutes", "gauge", "Chutes by state.");
    for state in CHUTE_STATES {
        let count = document.line.chutes.iter().filter(|chute| chute.state == state).count();
        out.sample("sortd_chutes", &[("state", state)], count);
    }
}

fn devices(out: &mut Text, document: &StatusDocument) {
    out.family("sortd_device_state", "gauge", "NAMUR NE 107: 1 for the state the device is in.");
    for (device, health) in &document.devices {
        for (state, name) in NE107 {
            let value = u8::from(health.state == state);
            out.sample("sortd_device_state", &[("device", device), ("state", name)], value);
        }
    }
    out.family("sortd_device_good_total", "counter", "Good frames or polls.");
    for (device, health) in &document.devices {
        out.sample("sortd_device_good_total", &[("device", device)], health.good);
    }
    out.family("sortd_device_faults_total", "counter", "Faults by kind.");
    for (device, health) in &document.devices {
        for (kind, count) in &health.faults {
            out.sample("sortd_device_faults_total", &[("device", device), ("kind", kind)], count);
        }
    }
}

/// The numbers and truths of a JSON object, one gauge each; an object in it puts its name before its own.
fn numbers(out: &mut Text, prefix: &str, help: &str, value: &serde_json::Value) {
    let Some(object) = value.as_object() else { return };
    for (key, value) in object {
        let key: String = key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let name = format!("{prefix}_{key}");
        match value {
            serde_json::Value::Number(number) => out.one(&name, "gauge", help, number),
            serde_json::Value::Bool(truth) => out.one(&name, "gauge", help, u8::from(*truth)),
            serde_json::Value::Object(_) => numbers(out, &name, help, value),
            serde_json::Value::Null | serde_json::Value::String(_) | serde_json::Value::Array(_) => {}
        }
    }
}
