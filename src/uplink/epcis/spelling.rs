//! Texts of an event: how a name, a time and a number are spelt, in JSON and in the event hash.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use crate::line::PassKey;
use crate::line::event::Started;
use crate::uplink::hash::{self, Prefixes, Stem};

/// A text in both spellings.
#[derive(Debug, Clone)]
pub struct Spelt {
    /// As JSON, quotes included.
    pub json: String,
    /// As the event hash has it; `None` where that is what stands between the quotes.
    pub other: Option<String>,
}

impl Spelt {
    /// As the event hash has it.
    pub fn hash(&self) -> &str {
        self.other.as_deref().unwrap_or_else(|| &self.json[1..self.json.len() - 1])
    }
}

pub fn spell(text: &str, prefixes: &Prefixes, stem: Stem) -> Spelt {
    let json = quoted(text);
    let hash = hash::spelling(text, prefixes, stem);
    let other = (json[1..json.len() - 1] != hash).then_some(hash);
    Spelt { json, other }
}

pub fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is always JSON")
}

pub fn uri(run: &Started, family: &str, name: &str) -> String {
    let mut out = String::with_capacity(96);
    push_all(&mut out, &["https://", &run.domain, "/", family, "/"]);
    encode(&mut out, name);
    out
}

pub fn push_all(out: &mut String, parts: &[&str]) {
    for part in parts {
        out.push_str(part);
    }
}

pub fn push_number(out: &mut String, number: impl std::fmt::Display) {
    write!(out, "{number}").expect("a String takes every write");
}

pub fn push_parcel(out: &mut String, pass: PassKey) {
    write!(out, "{}-{}", pass.epoch, pass.track).expect("a String takes every write");
}

pub fn push_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// Milliseconds, UTC, rounded down: an event is never dated later than it was.
pub fn event_time(wall_us: i64) -> String {
    let stamp = Timestamp::from_millisecond(wall_us.div_euclid(1000)).unwrap_or(Timestamp::UNIX_EPOCH);
    let at = Offset::UTC.to_datetime(stamp);
    if !(0..=9_999).contains(&at.year()) {
        return stamp.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
    }
    let mut out = String::with_capacity(24);
    write!(
        out,
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        at.year(),
        at.month(),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.millisecond()
    )
    .expect("a String takes every write");
    out
}

/// The site's offset at that moment, `+08:00`. An unknown zone is UTC: the time itself is in UTC anyway.
#[cfg(test)]
pub fn zone_offset(wall_us: i64, zone: &str) -> String {
    offset_of(wall_us, &TimeZone::get(zone).unwrap_or(TimeZone::UTC))
}

pub fn offset_of(wall_us: i64, zone: &TimeZone) -> String {
    let stamp = Timestamp::from_microsecond(wall_us).unwrap_or(Timestamp::UNIX_EPOCH);
    let seconds = zone.to_offset(stamp).seconds();
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.unsigned_abs() / 60;
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

/// A tag's EPC as it was read, not interpreted: `urn:epc:raw:96.x3074…` (EPC Tag Data Standard 2.0 section 12).
pub fn raw_epc(epc: &[u8]) -> String {
    let mut out = format!("urn:epc:raw:{}.x", epc.len() * 8);
    for byte in epc {
        write!(out, "{byte:02X}").expect("a String takes every write");
    }
    out
}

/// Percent-encodes all but the unreserved characters of RFC 3986 section 2.3.
pub fn encode(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes every write");
        }
    }
}
