//! A milestone of the journal → one EPCIS 2.0 JSON-LD document with one event.
//!
//! Invariants:
//! - The bytes follow from the record, the run it belongs to and the store epoch alone. The same milestone
//!   sent again after an outage or a restart is byte-identical, so a receiver may compare instead of merge.
//! - `eventID` is the CBV 2.0 event hash over everything else ([`super::hash`]).
//! - Own fields live under `https://{domain}/ns/sortd/v1/` (prefix `sortd`) and are texts or integers. A text
//!   never looks like a number (the event hash would rewrite it), which is why the plan carries `sha256:` and
//!   a tag is written as its raw EPC URI.
//! - No operator's name and nothing about a person leaves the site.
//! - The document and the hash's canonical string are written directly, side by side; nothing is built only to be
//!   taken apart again. Names that stand in every event of a run are prepared once ([`Pen`]).
//!
//! Words: a *read point* is the place of the event, a *business step* what was going on, a *disposition* the
//! object's state afterwards. CBV has no word for induction, sorting, recirculation and loss: own URIs.
//!
//! | moment | business step | disposition | own fields besides the common ones |
//! |---|---|---|---|
//! | inducted | own `BizStep-inducting` | in_progress | `length_mm` |
//! | gate read (+ RSSI as sensor report) | entering_exiting | in_progress | `tag` |
//! | received: anonymous object and identity | receiving | in_progress | `carrier`; the order is a `po` |
//! | recirculated | own `BizStep-recirculating` | in_progress | `lap` |
//! | sorted, destination = chute | own `BizStep-sorting` | in_progress | `chute`, `slack_ms`, `destination` |
//! | exception | holding | own `Disp-exception` | `reason`, `chute`, `slack_ms`, `destination` |
//! | lost | own `BizStep-sorting` | own `Disp-lost` | `destination` |
//! | damaged | inspecting | damaged | |
//! | removed, found by an operator | own `BizStep-removing`, `BizStep-finding` | in_progress | |

#[cfg(test)]
mod reference;
mod spelling;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

use self::spelling::{
    Spelt, encode, event_time, offset_of, push_all, push_hex, push_number, push_parcel, quoted, raw_epc,
    spell, uri,
};
use super::hash::{self, Prefixes, Stem};
use crate::identify::{Key, Reading};
use crate::journal::Record;
use crate::line::event::Started;
use crate::line::outcome::Outcome;
use crate::line::record::{Body, Fact, Report};
use crate::line::{ChuteNo, PassKey, ReaderId};

/// The standard's own JSON-LD context.
pub const EPCIS_CONTEXT: &str = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld";
/// UN/ECE Recommendation 20 code of the unit of signal strength, decibel-milliwatts.
const DBM: &str = "DBM";
/// What is said of the wall clock while nobody has asked it.
const CLOCK_UNKNOWN: &str = "unknown";
/// Room for a document or a canonical string: most are a little under a kilobyte.
pub const ROOM: usize = 1_280;

/// The document of a milestone as published, or `None` where upstream is not told of the record.
/// `run` is the start that opened the record's run, `epoch` the store's. Whoever encodes many keeps a [`Pen`].
pub fn document(record: &Record, run: &Started, epoch: u64) -> Option<Vec<u8>> {
    Pen::new(Arc::new(run.clone())).document(record, epoch)
}

/// Room for canonical strings, used again and again.
pub type Scratch = String;

/// The encoder of one run: what stands in many of its events is spelt out once.
#[derive(Debug)]
pub struct Pen {
    run: Arc<Started>,
    prefixes: Prefixes,
    zone: TimeZone,
    /// The document up to its date.
    opening: String,
    /// Own namespace as the event hash writes it before a name.
    braced: String,
    /// The domain is one: letters, digits, `.` and `-` only. Then an own URI, its name percent-encoded, needs no
    /// escape in JSON and no rule of the event hash changes it.
    plain_domain: bool,
    /// Site and line as they begin the name of an object that nobody knows yet.
    unknown: String,
    line: Spelt,
    induction: Spelt,
    readers: Vec<Spelt>,
    chutes: HashMap<u16, Spelt>,
    steps: Steps,
    dispositions: Dispositions,
    rssi: Spelt,
    /// The plan in force when the run began.
    plan: Spelt,
}

#[derive(Debug)]
struct Steps {
    inducting: Spelt,
    entering: Spelt,
    receiving: Spelt,
    recirculating: Spelt,
    sorting: Spelt,
    holding: Spelt,
    inspecting: Spelt,
    removing: Spelt,
    finding: Spelt,
}

#[derive(Debug)]
struct Dispositions {
    in_progress: Spelt,
    exception: Spelt,
    lost: Spelt,
    damaged: Spelt,
}

/// What a milestone says, before the fields that every event has.
struct Moment<'a> {
    pass: Option<PassKey>,
    /// The object, and where this event brings the identity, that too.
    object: Spelt,
    identity: Option<Spelt>,
    step: &'a Spelt,
    disposition: &'a Spelt,
    read_point: Place<'a>,
    order: Option<Spelt>,
    /// Destination of the parcel.
    chute_place: Option<Place<'a>>,
    /// Gate and strength of a tag's signal.
    signal: Option<(Place<'a>, i16)>,
    /// The plan that decided, where the fact knows it.
    plan: Option<Spelt>,
    carrier: Option<Spelt>,
    chute: Option<u16>,
    destination: Option<Spelt>,
    lap: Option<u64>,
    length_mm: Option<u64>,
    reason: Option<&'static str>,
    slack_ms: Option<i64>,
    tag: Option<Spelt>,
}

type Place<'a> = std::borrow::Cow<'a, Spelt>;

impl Pen {
    /// For events of this run.
    pub fn new(run: Arc<Started>) -> Pen {
        let namespace = format!("https://{}/ns/sortd/v1/", run.domain);
        let mut prefixes = Prefixes::default();
        prefixes.add("sortd", &namespace);
        let place = |what: String| spell(&uri(&run, "loc", &what), &prefixes, Stem::None);
        let at_line = |what: &str| place(format!("{}-{}-{what}", run.site, run.line));
        let own = |word: &str, stem| spell(&format!("{namespace}{word}"), &prefixes, stem);
        let step = |word: &str| spell(word, &prefixes, Stem::BizStep);
        let own_step = |word: &str| own(word, Stem::BizStep);
        let mut chutes = HashMap::with_capacity(run.chutes.len());
        for (number, name) in &run.chutes {
            // The first name of a number counts.
            chutes.entry(*number).or_insert_with(|| at_line(&format!("chute-{name}")));
        }
        Pen {
            zone: TimeZone::get(&run.time_zone).unwrap_or(TimeZone::UTC),
            opening: format!(
                r#"{{"@context":["{EPCIS_CONTEXT}",{{"sortd":{}}}],"creationDate":"#,
                quoted(&namespace)
            ),
            braced: format!("{{{namespace}}}"),
            plain_domain: run
                .domain
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')),
            unknown: {
                let mut out = String::new();
                encode(&mut out, &format!("{}-{}-", run.site, run.line));
                out
            },
            line: place(format!("{}-{}", run.site, run.line)),
            induction: at_line("induction"),
            readers: run.readers.iter().map(|name| at_line(name)).collect(),
            chutes,
            steps: Steps {
                inducting: own_step("BizStep-inducting"),
                entering: step("entering_exiting"),
                receiving: step("receiving"),
                recirculating: own_step("BizStep-recirculating"),
                sorting: own_step("BizStep-sorting"),
                holding: step("holding"),
                inspecting: step("inspecting"),
                removing: own_step("BizStep-removing"),
                finding: own_step("BizStep-finding"),
            },
            dispositions: Dispositions {
                in_progress: spell("in_progress", &prefixes, Stem::Disposition),
                exception: own("Disp-exception", Stem::Disposition),
                lost: own("Disp-lost", Stem::Disposition),
                damaged: spell("damaged", &prefixes, Stem::Disposition),
            },
            rssi: own("rssi", Stem::Gs1),
            plan: spell(&format!("sha256:{}", run.plan), &prefixes, Stem::None),
            prefixes,
            run,
        }
    }

    /// Whether this is the pen of that run.
    pub fn is_of(&self, run: &Arc<Started>) -> bool {
        Arc::ptr_eq(&self.run, run) || self.run == *run
    }

    /// The document of a milestone of this run, or `None` where upstream is not told of the record.
    pub fn document(&self, record: &Record, epoch: u64) -> Option<Vec<u8>> {
        let mut out = String::with_capacity(ROOM);
        self.write(&mut out, &mut Scratch::with_capacity(ROOM), record, epoch).then(|| out.into_bytes())
    }

    /// Writes the document behind `out`; `false`, and nothing, where upstream is not told of the record.
    pub fn write(&self, out: &mut String, scratch: &mut Scratch, record: &Record, epoch: u64) -> bool {
        let Some(seq) = record.event_seq else { return false };
        let Body::Fact(fact) = &record.body else { return false };
        let Some(moment) = self.moment(fact) else { return false };
        let time = event_time(record.wall_us);
        let offset = offset_of(record.wall_us, &self.zone);
        scratch.clear();
        self.canonical(scratch, &moment, seq, epoch, &time, &offset);
        let digest = Sha256::digest(scratch.as_bytes());
        self.json(out, &moment, seq, epoch, &time, &offset, &digest);
        true
    }

    fn spell(&self, text: &str) -> Spelt {
        spell(text, &self.prefixes, Stem::None)
    }

    fn uri(&self, family: &str, name: &str) -> Spelt {
        if !self.plain_domain {
            return self.spell(&uri(&self.run, family, name));
        }
        let mut json = self.own_uri(family, name.len());
        encode(&mut json, name);
        json.push('"');
        Spelt { json, other: None }
    }

    /// An own URI in quotes, up to its name.
    fn own_uri(&self, family: &str, room: usize) -> String {
        let mut json = String::with_capacity(self.run.domain.len() + family.len() + room + 16);
        push_all(&mut json, &["\"https://", &self.run.domain, "/", family, "/"]);
        json
    }

    /// The object before anybody knows what it is. The PLC's epoch is part of it, since the PLC may use a
    /// track id again after its own restart.
    fn anonymous(&self, pass: PassKey) -> Spelt {
        if self.plain_domain {
            let mut json = self.own_uri("obj", self.unknown.len() + 17);
            json.push_str(&self.unknown);
            push_parcel(&mut json, pass);
            json.push('"');
            return Spelt { json, other: None };
        }
        let Started { site, line, .. } = &*self.run;
        self.uri("obj", &format!("{site}-{line}-{}-{}", pass.epoch, pass.track))
    }

    /// The object once it is known: its GS1 URI, or the waybill under the own domain.
    fn identity(&self, key: &Key, uri: Option<&str>) -> Spelt {
        match uri {
            Some(uri) => self.spell(uri),
            None => self.uri("obj", key.0.split_once(':').map_or(key.0.as_str(), |(_, code)| code)),
        }
    }

    fn reader_place(&self, reader: ReaderId) -> Place<'_> {
        match self.readers.get(usize::from(reader.0)) {
            Some(place) => Place::Borrowed(place),
            None => Place::Owned(self.unnamed_place("reader", reader.0)),
        }
    }

    fn chute_place(&self, chute: ChuteNo) -> Place<'_> {
        match self.chutes.get(&chute.0) {
            Some(place) => Place::Borrowed(place),
            None => Place::Owned(self.unnamed_place("chute", chute.0)),
        }
    }

    fn unnamed_place(&self, what: &str, number: u16) -> Spelt {
        self.uri("loc", &format!("{}-{}-{what}-{number}", self.run.site, self.run.line))
    }

    /// A moment on the line with nothing but its object.
    fn plain<'a>(&'a self, pass: Option<PassKey>, object: Spelt, step: &'a Spelt) -> Moment<'a> {
        Moment {
            pass,
            object,
            identity: None,
            step,
            disposition: &self.dispositions.in_progress,
            read_point: Place::Borrowed(&self.line),
            order: None,
            chute_place: None,
            signal: None,
            plan: None,
            carrier: None,
            chute: None,
            destination: None,
            lap: None,
            length_mm: None,
            reason: None,
            slack_ms: None,
            tag: None,
        }
    }

    fn moment<'a>(&'a self, fact: &Fact) -> Option<Moment<'a>> {
        let steps = &self.steps;
        Some(match fact {
            Fact::Inducted { pass, length_mm } => Moment {
                read_point: Place::Borrowed(&self.induction),
                length_mm: Some(u64::from(*length_mm)),
                ..self.plain(Some(*pass), self.anonymous(*pass), &steps.inducting)
            },
            Fact::Tied { pass, reader, reading: Reading::Tag { epc }, rssi_dbm } => Moment {
                read_point: self.reader_place(*reader),
                signal: rssi_dbm.map(|dbm| (self.reader_place(*reader), dbm)),
                tag: Some(self.spell(&raw_epc(epc))),
                ..self.plain(Some(*pass), self.anonymous(*pass), &steps.entering)
            },
            Fact::Identified { pass, key, uri, order, carrier } => Moment {
                identity: Some(self.identity(key, uri.as_deref())),
                order: order.as_ref().map(|order| self.uri("order", order)),
                carrier: carrier.as_ref().map(|carrier| self.uri("carrier", carrier)),
                ..self.plain(Some(*pass), self.anonymous(*pass), &steps.receiving)
            },
            Fact::Recirculated { pass, lap } => Moment {
                lap: Some(u64::from(*lap)),
                ..self.plain(Some(*pass), self.anonymous(*pass), &steps.recirculating)
            },
            Fact::Ended { pass, key, uri, outcome, plan, slack_ms, destination } => {
                let object = match key {
                    Some(key) => self.identity(key, uri.as_deref()),
                    None => self.anonymous(*pass),
                };
                let (step, disposition, chute, reason) = match outcome {
                    Outcome::Sorted { chute } => {
                        (&steps.sorting, &self.dispositions.in_progress, Some(*chute), None)
                    }
                    Outcome::Exception { reason, chute } => {
                        (&steps.holding, &self.dispositions.exception, *chute, Some(reason.name()))
                    }
                    Outcome::Lost => (&steps.sorting, &self.dispositions.lost, None, None),
                };
                let place = chute.map(|chute| self.chute_place(chute));
                Moment {
                    disposition,
                    read_point: place.clone().unwrap_or(Place::Borrowed(&self.line)),
                    chute_place: place,
                    chute: chute.map(|chute| chute.0),
                    reason,
                    slack_ms: slack_ms.map(i64::from),
                    destination: destination.as_ref().map(|name| self.uri("dest", name)),
                    plan: (*plan != self.run.plan).then(|| self.spell(&format!("sha256:{plan}"))),
                    ..self.plain(Some(*pass), object, step)
                }
            }
            Fact::Reported { pass, code, uri, what, by: _ } => {
                let object = match (uri, pass) {
                    (Some(uri), _) => self.spell(uri),
                    (None, Some(pass)) => self.anonymous(*pass),
                    (None, None) => self.uri("obj", code),
                };
                let in_progress = &self.dispositions.in_progress;
                let (step, disposition) = match what {
                    Report::Damaged => (&steps.inspecting, &self.dispositions.damaged),
                    Report::Removed => (&steps.removing, in_progress),
                    Report::Found => (&steps.finding, in_progress),
                };
                Moment { disposition, ..self.plain(*pass, object, step) }
            }
            Fact::Tied { reading: Reading::Barcode { .. }, .. }
            | Fact::Blank { .. }
            | Fact::Untied { .. }
            | Fact::Decided(_)
            | Fact::Acknowledged { .. }
            | Fact::Refused { .. }
            | Fact::ChuteEmptied { .. }
            | Fact::OrderRefused { .. }
            | Fact::OrdersApplied { .. }
            | Fact::Held { .. }
            | Fact::HoldRefused { .. }
            | Fact::HoldsApplied { .. }
            | Fact::OrdersGone { .. }
            | Fact::AlarmRaised(_)
            | Fact::AlarmCleared { .. } => return None,
        })
    }

    /// The document; members of each object in the order of their names.
    #[expect(clippy::too_many_arguments, reason = "each is a part of the event, used in both forms")]
    fn json(
        &self,
        out: &mut String,
        m: &Moment<'_>,
        seq: u64,
        epoch: u64,
        time: &str,
        offset: &str,
        digest: &[u8],
    ) {
        out.push_str(&self.opening);
        push_all(out, &["\"", time, "\""]);
        out.push_str(r#","epcisBody":{"eventList":[{"action":"OBSERVE","bizLocation":{"id":"#);
        push_all(out, &[&self.line.json, r#"},"bizStep":"#, &m.step.json]);
        if let Some(order) = &m.order {
            push_all(
                out,
                &[r#","bizTransactionList":[{"bizTransaction":"#, &order.json, r#","type":"po"}]"#],
            );
        }
        if let Some(place) = &m.chute_place {
            push_all(
                out,
                &[r#","destinationList":[{"destination":"#, &place.json, r#","type":"location"}]"#],
            );
        }
        push_all(out, &[r#","disposition":"#, &m.disposition.json, r#","epcList":["#, &m.object.json]);
        if let Some(identity) = &m.identity {
            push_all(out, &[",", &identity.json]);
        }
        out.push_str(r#"],"eventID":"ni:///sha-256;"#);
        push_hex(out, digest);
        push_all(out, &[r#"?ver=CBV2.0","eventTime":""#, time, r#"","eventTimeZoneOffset":""#, offset]);
        push_all(out, &[r#"","readPoint":{"id":"#, &m.read_point.json, "}"]);
        if let Some((place, dbm)) = &m.signal {
            push_all(out, &[r#","sensorElementList":[{"sensorMetadata":{"deviceID":"#, &place.json]);
            push_all(out, &[r#"},"sensorReport":[{"type":"#, &self.rssi.json, r#","uom":""#, DBM]);
            out.push_str(r#"","value":"#);
            push_number(out, i64::from(*dbm));
            out.push_str("}]}]");
        }
        self.each_own(m, seq, epoch, |name, value| {
            push_all(out, &[",\"sortd:", name, "\":"]);
            match value {
                Own::Text(text) => out.push_str(&text.json),
                Own::Word(word) => push_all(out, &["\"", word, "\""]),
                Own::Parcel(pass) => {
                    push_all(out, &["\""]);
                    push_parcel(out, pass);
                    out.push('"');
                }
                Own::Whole(number) => push_number(out, number),
                Own::Signed(number) => push_number(out, number),
            }
        });
        out.push_str(r#","type":"ObjectEvent"}]},"schemaVersion":"2.0","type":"EPCISDocument"}"#);
    }

    /// The string the event hash is taken over: CBV 2.0 section 8.9, see [`hash`].
    fn canonical(&self, out: &mut String, m: &Moment<'_>, seq: u64, epoch: u64, time: &str, offset: &str) {
        out.push_str("eventType=ObjectEventeventTime=");
        // Years of four digits are written here as there.
        if time.len() == "2026-11-22T00:00:00.000Z".len() && !time.starts_with('-') {
            out.push_str(time);
        } else {
            out.push_str(&hash::time(time));
        }
        push_all(out, &["eventTimeZoneOffset=", offset]);
        let mut objects = [Some(&m.object), m.identity.as_ref()];
        objects.sort_unstable_by(|a, b| a.map(Spelt::hash).cmp(&b.map(Spelt::hash)));
        let mut named = objects.into_iter().flatten().filter(|object| !object.hash().is_empty()).peekable();
        if named.peek().is_some() {
            out.push_str("epcList");
        }
        named.for_each(|object| push_all(out, &["epc=", object.hash()]));
        push_all(out, &["action=OBSERVEbizStep=", m.step.hash(), "disposition=", m.disposition.hash()]);
        push_all(out, &["readPointid=", m.read_point.hash(), "bizLocationid=", self.line.hash()]);
        if let Some(order) = &m.order {
            push_all(out, &["bizTransactionListbizTransaction=", order.hash()]);
            out.push_str("type=https://ref.gs1.org/cbv/BTT-po");
        }
        if let Some(place) = &m.chute_place {
            push_all(out, &["destinationListdestination=", place.hash()]);
            out.push_str("type=https://ref.gs1.org/cbv/SDT-location");
        }
        if let Some((place, dbm)) = &m.signal {
            push_all(out, &["sensorElementListsensorElementsensorMetadatadeviceID=", place.hash()]);
            push_all(out, &["sensorReporttype=", self.rssi.hash(), "value="]);
            push_number(out, i64::from(*dbm));
            push_all(out, &["uom=", DBM]);
        }
        self.each_own(m, seq, epoch, |name, value| {
            push_all(out, &[&self.braced, name, "="]);
            match value {
                Own::Text(text) => out.push_str(text.hash()),
                Own::Word(word) => out.push_str(word),
                Own::Parcel(pass) => push_parcel(out, pass),
                Own::Whole(number) if number <= EXACT => push_number(out, number),
                // The hash takes every number for a double.
                Own::Whole(number) => out.push_str(&hash::canonical(&number.to_string())),
                Own::Signed(number) => push_number(out, number),
            }
        });
    }

    /// Own fields in the order of their names, which is the order of both forms.
    fn each_own(&self, m: &Moment<'_>, seq: u64, epoch: u64, mut write: impl FnMut(&str, Own<'_>)) {
        write("boot", Own::Whole(self.run.boot));
        let text = |spelt| Some(Own::Text(spelt));
        let fields = [
            ("carrier", m.carrier.as_ref().and_then(text)),
            ("chute", m.chute.map(|chute| Own::Whole(u64::from(chute)))),
            ("clock", Some(Own::Word(clock(&self.run)))),
            ("destination", m.destination.as_ref().and_then(text)),
            ("epoch", Some(Own::Whole(epoch))),
            ("lap", m.lap.map(Own::Whole)),
            ("length_mm", m.length_mm.map(Own::Whole)),
            ("parcel", m.pass.map(Own::Parcel)),
            ("plan", text(m.plan.as_ref().unwrap_or(&self.plan))),
            ("reason", m.reason.map(Own::Word)),
            ("seq", Some(Own::Whole(seq))),
            ("slack_ms", m.slack_ms.map(Own::Signed)),
            ("tag", m.tag.as_ref().and_then(text)),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                write(name, value);
            }
        }
    }
}

/// Whole numbers up to here are the same as doubles.
const EXACT: u64 = 1 << 53;

/// Value of an own field.
enum Own<'a> {
    Text(&'a Spelt),
    /// A word of this program: letters and `_`, nothing to escape, nothing to canonicalise.
    Word(&'a str),
    Parcel(PassKey),
    Whole(u64),
    /// At most 32 bits.
    Signed(i64),
}

/// How good the wall clock is. Nobody has asked the operating system yet, and nothing is claimed.
pub fn clock(_run: &Started) -> &'static str {
    CLOCK_UNKNOWN
}
