//! What the records say about a parcel, as a document: derived from the records alone, so that whoever has the
//! records derives the same.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::chinese;
use crate::identify::Reading;
use crate::journal::Record;
use crate::line::event::{Event, Order, Started};
use crate::line::outcome::{Outcome, Reason};
use crate::line::record::{Body, Candidate, Decided, Fact, Input, Target};
use crate::line::{ChuteNo, PassKey, ReaderId, Tick};
use crate::panel::story::{Moment, PassStory, Story};
use crate::panel::words;
use crate::uplink::epcis;

/// A parcel, as its records tell it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parcel {
    /// Each identity that a pass of it has.
    pub identities: Vec<String>,
    /// Each order that a decision about it knew, in its newest revision.
    pub orders: Vec<Order>,
    /// Passes, the oldest first.
    pub passes: Vec<Pass>,
}

/// One pass: from induction to discharge or loss. Without `pass`: the code was seen, and tied to none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pass {
    /// `epoch-track`, as the PLC numbers it.
    pub pass: Option<String>,
    /// Names and versions in force.
    pub run: Run,
    /// When it began.
    pub began: Stamp,
    /// Identity.
    pub identity: Option<String>,
    /// Its URI in events, where the identity has one of its own.
    pub uri: Option<String>,
    /// Carrier.
    pub carrier: Option<String>,
    /// Order it was bound to.
    pub order: Option<String>,
    /// Destination.
    pub destination: Option<String>,
    /// What each reader read.
    pub reads: Vec<ReaderReads>,
    /// Decisions, in order; the last one counts.
    pub decisions: Vec<Decision>,
    /// How it ended; `None` while it is on the belt.
    pub end: Option<End>,
    /// Photos that show it, as they were recorded.
    pub photos: Vec<PhotoRecord>,
    /// Events that upstream is told of it.
    pub events: Vec<PublishedEvent>,
    /// Every record, in order.
    pub records: Vec<Told>,
}

/// What was in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Site.
    pub site: String,
    /// Line.
    pub line: String,
    /// IANA name of its zone.
    pub time_zone: String,
    /// Version of the program.
    pub program: String,
    /// Number of the start.
    pub boot: u64,
    /// Record of that start; `None` where it is not kept any more: numbers then stand for names.
    pub record: Option<u64>,
    /// What is known of the wall clock, as events carry it.
    pub clock: String,
}

/// A moment, three times the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    /// Unix microseconds.
    pub unix_us: i64,
    /// UTC, RFC 3339.
    pub utc: String,
    /// The site's time with its offset.
    pub local: String,
}

/// What one reader read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReaderReads {
    /// Reader.
    pub reader: String,
    /// Its reads, in order.
    pub reads: Vec<Read>,
}

/// One read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// Record.
    pub record: u64,
    /// When.
    pub at: Stamp,
    /// Code as read, control characters written out; `None`: it looked and read nothing.
    pub code: Option<String>,
    /// Symbology or `EPC`, where known.
    pub kind: Option<String>,
    /// Signal strength of a tag.
    pub rssi_dbm: Option<i16>,
    /// Why it was tied to no parcel; `None`: it was tied to this one.
    pub not_tied: Option<String>,
}

/// A decision and what came of its command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Record.
    pub record: u64,
    /// When.
    pub at: Stamp,
    /// `chute`, `exception` or `recirculate`.
    pub to: String,
    /// Chute, unless it goes round.
    pub chute: Option<Chute>,
    /// Why it is no chute of its destination.
    pub reason: Option<Meaning>,
    /// Alternate of the same destination.
    pub alternate: Option<Chute>,
    /// Destination of the order.
    pub destination: Option<String>,
    /// Orders on the parcel's codes, as known then.
    pub orders: Vec<Order>,
    /// Each chute that was looked at, and the rule that dropped it.
    pub candidates: Vec<Looked>,
    /// Sort plan that decided, SHA-256 prefix.
    pub plan: String,
    /// Command to the PLC; 0: none was needed.
    pub command: u16,
    /// From induction to decision.
    pub latency_ms: u32,
    /// Belt left to the deadline, encoder pulses; negative: after it.
    pub margin_pulses: i64,
    /// When the PLC took the command.
    pub taken: Option<Stamp>,
    /// How long before the point of no return it did; negative: after it.
    pub slack_ms: Option<i32>,
    /// Why the PLC refused the command.
    pub refused: Option<Meaning>,
}

/// A chute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chute {
    /// Number at the PLC.
    pub number: u16,
    /// Name, where the configuration of that time had one.
    pub name: Option<String>,
}

/// A candidate chute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Looked {
    /// Chute.
    pub chute: Chute,
    /// Parcels in it.
    pub filled: u16,
    /// Parcels on their way to it.
    pub reserved: u16,
    /// Places.
    pub capacity: u16,
    /// `chosen`, `alternate`, `possible` or `dropped`.
    pub verdict: String,
    /// Rule that dropped it.
    pub dropped: Option<Meaning>,
}

/// A word of a closed set, and what it means in both languages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meaning {
    /// The word.
    pub name: String,
    /// English.
    pub en: String,
    /// Chinese.
    pub zh: String,
}

/// How a pass ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// Record.
    pub record: u64,
    /// When.
    pub at: Stamp,
    /// `sorted`, `exception` or `lost`.
    pub outcome: String,
    /// Where a sensor confirmed it.
    pub chute: Option<Chute>,
    /// Reason of an exception.
    pub reason: Option<Meaning>,
    /// Sort plan in force.
    pub plan: String,
    /// Slack of the command that brought it there.
    pub slack_ms: Option<i32>,
}

/// A photo as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhotoRecord {
    /// Record.
    pub record: u64,
    /// Camera.
    pub camera: String,
    /// Reader whose field it sees.
    pub reader: String,
    /// Name of the file at the camera.
    pub name: String,
    /// When it was taken, by the camera.
    pub taken: Stamp,
    /// Size.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// An event that upstream is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedEvent {
    /// Record.
    pub record: u64,
    /// Store epoch.
    pub epoch: u64,
    /// Number of the event in it.
    pub event_seq: u64,
    /// Its `eventID`, the CBV 2.0 hash; `None` where the run's names are not kept any more.
    pub event_id: Option<String>,
}

/// A record in words and as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// Record number.
    pub record: u64,
    /// When.
    pub at: Stamp,
    /// Milliseconds since the pass began.
    pub since_ms: i64,
    /// One word; empty for a record that says nothing to people.
    pub word: String,
    /// One sentence.
    pub text: String,
    /// The same in Chinese.
    pub text_zh: String,
    /// Further lines.
    pub details: Vec<String>,
    /// The record's own contents.
    pub body: Value,
}

/// A record and the store epoch it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct Dated {
    /// Store epoch.
    pub epoch: u64,
    /// Record.
    pub record: Record,
}

/// What these records say of the parcel with this code; starts of runs among them give the names. `None` where none
/// of them is about a parcel.
pub fn parcel(code: &str, records: &[Dated]) -> Option<Parcel> {
    let mut runs: BTreeMap<u64, &Started> = BTreeMap::new();
    let mut epochs: BTreeMap<u64, u64> = BTreeMap::new();
    let mut about = Vec::new();
    for Dated { epoch, record } in records {
        match &record.body {
            Body::Input(Input::Event(Event::Started(started))) => {
                runs.insert(record.seq, started);
            }
            Body::Input(_) | Body::Fact(_) => {
                epochs.insert(record.seq, *epoch);
                about.push(record.clone());
            }
        }
    }
    let run_of = |seq: u64| runs.range(..=seq).next_back().map(|(record, started)| (*record, *started));
    let story = Story::of(code, about, |seq| run_of(seq).map(|(_, started)| started.clone()))?;
    let telling = story.tell();
    let mut passes = Vec::new();
    for (told, pass) in telling.passes.into_iter().zip(&story.passes) {
        let run = pass.records.iter().find(|record| record.body.pass().is_some()).or(pass.records.first());
        let run = run.and_then(|record| run_of(record.seq)).map(|(record, _)| record);
        let names = Names { run: &pass.names };
        passes.push(names.pass(pass, told.moments, told.began_us, run, &epochs));
    }
    let identities: BTreeSet<String> = passes.iter().filter_map(|pass| pass.identity.clone()).collect();
    Some(Parcel { identities: identities.into_iter().collect(), orders: orders(&passes), passes })
}

/// Each order once, in the newest revision that a decision knew.
fn orders(passes: &[Pass]) -> Vec<Order> {
    let mut newest: BTreeMap<&str, &Order> = BTreeMap::new();
    for order in passes.iter().flat_map(|pass| &pass.decisions).flat_map(|decision| &decision.orders) {
        let known = newest.entry(&order.order).or_insert(order);
        if order.revision >= known.revision {
            *known = order;
        }
    }
    newest.into_values().cloned().collect()
}

/// A moment in all three forms; UTC where the zone is not known here.
pub fn stamp(unix_us: i64, zone: &str) -> Stamp {
    let Ok(at) = Timestamp::from_microsecond(unix_us) else {
        return Stamp { unix_us, utc: String::new(), local: String::new() };
    };
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    Stamp {
        unix_us,
        utc: at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
        local: at.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S.%3f %:z").to_string(),
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Names<'a> {
    run: &'a Started,
}

impl Names<'_> {
    fn stamp(&self, unix_us: i64) -> Stamp {
        stamp(unix_us, &self.run.time_zone)
    }

    fn chute(&self, chute: ChuteNo) -> Chute {
        let name = self.run.chutes.iter().find(|(number, _)| *number == chute.0);
        Chute { number: chute.0, name: name.map(|(_, name)| words::plain(name)) }
    }

    fn reader(&self, reader: ReaderId) -> String {
        let name = self.run.readers.get(usize::from(reader.0));
        name.map_or_else(|| format!("reader {}", reader.0), |name| words::plain(name))
    }

    fn pass(
        &self,
        pass: &PassStory,
        moments: Vec<Moment>,
        began_us: i64,
        run: Option<u64>,
        epochs: &BTreeMap<u64, u64>,
    ) -> Pass {
        let key = pass.records.iter().find_map(|record| record.body.pass());
        let inducted = |record: &&Record| matches!(record.body, Body::Fact(Fact::Inducted { .. }));
        let start = pass.records.iter().find(inducted).or(pass.records.first());
        let began_at = start.map_or(Tick(0), |record| record.at);
        let mut told = Pass {
            pass: key.map(|PassKey { epoch, track }| format!("{epoch}-{track}")),
            run: Run {
                site: words::plain(&self.run.site),
                line: words::plain(&self.run.line),
                time_zone: self.run.time_zone.clone(),
                program: self.run.version.clone(),
                boot: self.run.boot,
                record: run,
                clock: epcis::clock(self.run).to_owned(),
            },
            began: self.stamp(began_us),
            identity: None,
            uri: None,
            carrier: None,
            order: None,
            destination: None,
            reads: Vec::new(),
            decisions: Vec::new(),
            end: None,
            photos: Vec::new(),
            events: Vec::new(),
            records: Vec::new(),
        };
        let mut moments: BTreeMap<u64, Moment> =
            moments.into_iter().map(|moment| (moment.seq, moment)).collect();
        for record in &pass.records {
            self.note(&mut told, record);
            if let Some(event_seq) = record.event_seq {
                let epoch = epochs.get(&record.seq).copied().unwrap_or(0);
                let known = run.and_then(|_| epcis::document(record, self.run, epoch));
                let event_id = known.and_then(|document| event_id(&document));
                told.events.push(PublishedEvent { record: record.seq, epoch, event_seq, event_id });
            }
            let moment = moments.remove(&record.seq);
            // The line's own time: a wall clock that was set in between changes no interval.
            let (at, began) = (i128::from(record.at.0), i128::from(began_at.0));
            let (word, text, details) = moment.map_or_else(Default::default, |moment| {
                (moment.word.to_owned(), moment.text, moment.details)
            });
            told.records.push(Told {
                record: record.seq,
                at: self.stamp(record.wall_us),
                since_ms: i64::try_from((at - began) / 1000).unwrap_or(i64::MAX),
                word,
                text_zh: chinese::sentence(&record.body, self.run).unwrap_or_else(|| text.clone()),
                text,
                details,
                // Every body is of types that JSON can say; the frame is what counts.
                body: serde_json::to_value(&record.body).unwrap_or(Value::Null),
            });
        }
        told
    }

    fn note(&self, told: &mut Pass, record: &Record) {
        let at = self.stamp(record.wall_us);
        let plain = |text: &Option<String>| text.as_deref().map(words::plain);
        match &record.body {
            Body::Input(Input::Photo { photo, .. }) => {
                let sha256 = hex(&photo.sha256);
                let again = |known: &PhotoRecord| (&known.camera, &known.sha256) == (&photo.camera, &sha256);
                if !told.photos.iter().any(again) {
                    told.photos.push(PhotoRecord {
                        record: record.seq,
                        camera: words::plain(&photo.camera),
                        reader: self.reader(photo.reader),
                        name: words::plain(&photo.name),
                        taken: self.stamp(photo.taken_us),
                        bytes: photo.bytes,
                        sha256,
                    });
                }
            }
            Body::Fact(Fact::Tied { reader, reading, rssi_dbm, .. }) => {
                self.read(told, *reader, read(record, at, Some(reading), *rssi_dbm, None));
            }
            Body::Fact(Fact::Blank { reader, .. }) => {
                self.read(told, *reader, read(record, at, None, None, None));
            }
            Body::Fact(Fact::Untied { reader, reading, why }) => {
                self.read(told, *reader, read(record, at, Some(reading), None, Some(words::untied(*why))));
            }
            Body::Fact(Fact::Identified { key, uri, order, carrier, .. }) => {
                told.identity = Some(words::plain(&key.0));
                told.uri = plain(uri);
                told.order = plain(order);
                told.carrier = plain(carrier);
            }
            Body::Fact(Fact::Decided(decided)) => {
                told.destination = plain(&decided.destination).or_else(|| told.destination.take());
                told.decisions.push(self.decision(record, at, decided));
            }
            Body::Fact(Fact::Acknowledged { command, slack_ms, .. }) => {
                if let Some(decision) = decision_of(told, *command) {
                    decision.taken = Some(at);
                    decision.slack_ms = Some(*slack_ms);
                }
            }
            Body::Fact(Fact::Refused { command, why, .. }) => {
                if let Some(decision) = decision_of(told, *command) {
                    let name = word(why);
                    decision.refused = Some(Meaning {
                        name,
                        en: words::refusal(*why).to_owned(),
                        zh: chinese::refusal(*why).to_owned(),
                    });
                }
            }
            Body::Fact(Fact::Ended { outcome, plan, slack_ms, destination, .. }) => {
                told.destination = plain(destination).or_else(|| told.destination.take());
                let (outcome, chute, reason) = match *outcome {
                    Outcome::Sorted { chute } => ("sorted", Some(chute), None),
                    Outcome::Exception { reason, chute } => ("exception", chute, Some(reason)),
                    Outcome::Lost => ("lost", None, None),
                };
                told.end = Some(End {
                    record: record.seq,
                    at,
                    outcome: outcome.to_owned(),
                    chute: chute.map(|chute| self.chute(chute)),
                    reason: reason.map(meaning),
                    plan: plan.clone(),
                    slack_ms: *slack_ms,
                });
            }
            Body::Input(_) | Body::Fact(_) => {}
        }
    }

    fn read(&self, told: &mut Pass, reader: ReaderId, read: Read) {
        let reader = self.reader(reader);
        match told.reads.iter_mut().find(|known| known.reader == reader) {
            Some(known) => known.reads.push(read),
            None => told.reads.push(ReaderReads { reader, reads: vec![read] }),
        }
    }

    fn decision(&self, record: &Record, at: Stamp, decided: &Decided) -> Decision {
        let (to, chute, reason) = match decided.to {
            Target::Chute(chute) => ("chute", Some(chute), None),
            Target::Exception(chute, reason) => ("exception", Some(chute), Some(reason)),
            Target::Recirculate(reason) => ("recirculate", None, Some(reason)),
        };
        Decision {
            record: record.seq,
            at,
            to: to.to_owned(),
            chute: chute.map(|chute| self.chute(chute)),
            reason: reason.map(meaning),
            alternate: decided.alternate.map(|chute| self.chute(chute)),
            destination: decided.destination.as_deref().map(words::plain),
            orders: decided.orders.clone(),
            candidates: decided.candidates.iter().map(|looked| self.looked(looked, decided)).collect(),
            plan: decided.plan.clone(),
            command: decided.command,
            latency_ms: decided.latency_ms,
            margin_pulses: decided.deadline_pulses.saturating_sub(decided.at_pulses),
            taken: None,
            slack_ms: None,
            refused: None,
        }
    }

    fn looked(&self, candidate: &Candidate, decided: &Decided) -> Looked {
        let verdict = if decided.to == Target::Chute(candidate.chute) {
            "chosen"
        } else if decided.alternate == Some(candidate.chute) {
            "alternate"
        } else if candidate.dropped.is_some() {
            "dropped"
        } else {
            "possible"
        };
        Looked {
            chute: self.chute(candidate.chute),
            filled: candidate.filled,
            reserved: candidate.reserved,
            capacity: candidate.capacity,
            verdict: verdict.to_owned(),
            dropped: candidate.dropped.map(|rule| Meaning {
                name: word(&rule),
                en: words::dropped(rule).to_owned(),
                zh: chinese::dropped(rule).to_owned(),
            }),
        }
    }
}

fn decision_of(told: &mut Pass, command: u16) -> Option<&mut Decision> {
    told.decisions.iter_mut().rev().find(|decision| decision.command == command)
}

fn read(
    record: &Record,
    at: Stamp,
    reading: Option<&Reading>,
    rssi_dbm: Option<i16>,
    not_tied: Option<&str>,
) -> Read {
    let (code, kind) = reading.map(words::reading).map_or((None, None), |(code, kind)| (Some(code), kind));
    Read { record: record.seq, at, code, kind, rssi_dbm, not_tied: not_tied.map(str::to_owned) }
}

fn meaning(reason: Reason) -> Meaning {
    Meaning {
        name: reason.name().to_owned(),
        en: words::reason(reason).0.to_owned(),
        zh: chinese::reason(reason).to_owned(),
    }
}

/// The name that a closed set's word has in JSON.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        Ok(_) | Err(_) => String::new(),
    }
}

fn event_id(document: &[u8]) -> Option<String> {
    let document: Value = serde_json::from_slice(document).ok()?;
    Some(document["epcisBody"]["eventList"][0]["eventID"].as_str()?.to_owned())
}
