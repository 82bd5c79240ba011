//! One parcel's story: what the journal holds about it, told in order.
//!
//! A [`Story`] is the raw material, as the journal gives it: the passes of one parcel, the oldest first, each with its
//! records and the names that were in force. A [`Telling`] is made from it alone, so that the same records give the
//! same words on every machine: each record becomes a [`Moment`] with its time since induction, a word for the eye to
//! find, a sentence, and the record's own facts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::words;
use crate::identify::Reading;
use crate::journal::Record;
use crate::line::event::{Ask, Asked, Event, HoldOn, Order, Started};
use crate::line::outcome::Outcome;
use crate::line::record::{Body, Candidate, Decided, Fact, Input, Target};
use crate::line::{ChuteNo, PassKey, ReaderId, Tick};

/// The passes of one parcel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Story {
    /// Code it was asked for by.
    pub code: String,
    /// Passes, the oldest first.
    pub passes: Vec<PassStory>,
}

/// One pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PassStory {
    /// Names and versions that were in force.
    pub names: Started,
    /// Its records in order; records that only name its code (untied reads, orders, reports) may be among them.
    pub records: Vec<Record>,
}

/// Why there is no story.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoryError {
    /// The journal does not know the code.
    #[error(
        "no parcel with the code \"{}\" is in the journal{}",
        words::plain(code),
        from.as_ref().map(|day| format!(", which reaches back to {day}")).unwrap_or_default()
    )]
    NotFound {
        /// Code asked for.
        code: String,
        /// Oldest day kept.
        from: Option<String>,
    },
    /// The store is still opening after a start.
    #[error("the journal is still opening after the start; ask again in a few seconds")]
    NotOpen,
    /// The store failed.
    #[error("the journal could not be read: {0}")]
    Store(String),
}

/// A story in words and facts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Telling {
    /// Code it was asked for by.
    pub code: String,
    /// Passes, the oldest first.
    pub passes: Vec<PassTelling>,
}

/// One pass in words and facts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PassTelling {
    /// PLC epoch and track id; `None` where the code was only seen, never tied to a pass.
    pub pass: Option<PassKey>,
    /// Wall clock of the first record, Unix microseconds.
    pub began_us: i64,
    /// Time zone of the site, IANA name.
    pub time_zone: String,
    /// Identity.
    pub identity: Option<String>,
    /// Order.
    pub order: Option<String>,
    /// Destination.
    pub destination: Option<String>,
    /// Plan version that decided it.
    pub plan: Option<String>,
    /// How it ended; `None` while it is on the belt.
    pub end: Option<End>,
    /// What happened, in order.
    pub moments: Vec<Moment>,
}

/// How a pass ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct End {
    /// `sorted`, `exception`, `lost`.
    pub outcome: &'static str,
    /// Chute number.
    pub chute: Option<u16>,
    /// Chute name.
    pub chute_name: Option<String>,
    /// Reason name.
    pub reason: Option<&'static str>,
    /// What the reason means.
    pub meaning: Option<&'static str>,
    /// What a person should do.
    pub remedy: Option<&'static str>,
    /// Slack of the command that brought it there.
    pub slack_ms: Option<i32>,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Moment {
    /// Record number.
    pub seq: u64,
    /// Wall clock, Unix microseconds.
    pub wall_us: i64,
    /// Milliseconds since the pass began; negative before it.
    pub since_ms: i64,
    /// One word.
    pub word: &'static str,
    /// One sentence.
    pub text: String,
    /// Further lines: candidates, each with the rule that dropped it.
    pub details: Vec<String>,
    /// The record's own facts.
    pub body: Body,
}

impl Story {
    /// The story in words.
    pub fn tell(&self) -> Telling {
        Telling {
            code: self.code.clone(),
            passes: self.passes.iter().map(|pass| pass.tell(&self.code)).collect(),
        }
    }
}

impl PassStory {
    fn tell(&self, code: &str) -> PassTelling {
        let names = Names::of(&self.names);
        let start = self
            .records
            .iter()
            .find(|record| matches!(record.body, Body::Fact(Fact::Inducted { .. })))
            .or(self.records.first());
        let began = start.map_or(Tick(0), |record| record.at);
        let mut telling = PassTelling {
            pass: self.records.iter().find_map(|record| record.body.pass()),
            began_us: start.map_or(0, |record| record.wall_us),
            time_zone: self.names.time_zone.clone(),
            identity: None,
            order: None,
            destination: None,
            plan: None,
            end: None,
            moments: Vec::new(),
        };
        for record in &self.records {
            telling.note(&record.body, &names);
            if let Some((word, text, details)) = names.words(&record.body, code) {
                telling.moments.push(Moment {
                    seq: record.seq,
                    wall_us: record.wall_us,
                    since_ms: since_ms(began, record.at),
                    word,
                    text,
                    details,
                    body: record.body.clone(),
                });
            }
        }
        telling
    }
}

impl PassTelling {
    /// Keeps what the heading of the pass says.
    fn note(&mut self, body: &Body, names: &Names<'_>) {
        let Body::Fact(fact) = body else { return };
        match fact {
            Fact::Identified { key, order, .. } => {
                self.identity = Some(words::plain(&key.0));
                self.order = order.as_deref().map(words::plain);
            }
            Fact::Decided(decided) => {
                self.plan = Some(decided.plan.clone());
                if let Some(destination) = &decided.destination {
                    self.destination = Some(words::plain(destination));
                }
            }
            Fact::Ended { outcome, slack_ms, destination, plan, .. } => {
                if let Some(destination) = destination {
                    self.destination = Some(words::plain(destination));
                }
                if !plan.is_empty() {
                    self.plan = Some(plan.clone());
                }
                let (name, chute, reason) = match *outcome {
                    Outcome::Sorted { chute } => ("sorted", Some(chute), None),
                    Outcome::Exception { reason, chute } => ("exception", chute, Some(reason)),
                    Outcome::Lost => ("lost", None, None),
                };
                self.end = Some(End {
                    outcome: name,
                    chute: chute.map(|chute| chute.0),
                    chute_name: chute.and_then(|chute| names.chute_name(chute)),
                    reason: reason.map(crate::line::outcome::Reason::name),
                    meaning: reason.map(|reason| words::reason(reason).0),
                    remedy: reason.map(|reason| words::reason(reason).1),
                    slack_ms: *slack_ms,
                });
            }
            Fact::Inducted { .. }
            | Fact::Blank { .. }
            | Fact::Tied { .. }
            | Fact::Untied { .. }
            | Fact::Acknowledged { .. }
            | Fact::Refused { .. }
            | Fact::Recirculated { .. }
            | Fact::ChuteEmptied { .. }
            | Fact::OrderRefused { .. }
            | Fact::OrdersApplied { .. }
            | Fact::Held { .. }
            | Fact::HoldRefused { .. }
            | Fact::HoldsApplied { .. }
            | Fact::OrdersGone { .. }
            | Fact::Reported { .. }
            | Fact::AlarmRaised(_)
            | Fact::AlarmCleared { .. } => {}
        }
    }
}

fn since_ms(began: Tick, at: Tick) -> i64 {
    let (a, b) = (i128::from(at.0), i128::from(began.0));
    i64::try_from((a - b) / 1000).unwrap_or(i64::MAX)
}

fn held_on(on: &HoldOn) -> String {
    match on {
        HoldOn::Order(order) => format!("order {}", words::plain(order)),
        HoldOn::Code(code) => format!("code {}", words::plain(code)),
    }
}

/// A word, a sentence, further lines.
type Words = (&'static str, String, Vec<String>);

struct Names<'a> {
    started: &'a Started,
    chutes: BTreeMap<u16, &'a str>,
}

impl<'a> Names<'a> {
    fn of(started: &'a Started) -> Names<'a> {
        let chutes = started.chutes.iter().map(|(number, name)| (*number, name.as_str())).collect();
        Names { started, chutes }
    }

    fn chute_name(&self, chute: ChuteNo) -> Option<String> {
        self.chutes.get(&chute.0).map(|name| words::plain(name))
    }

    fn chute(&self, chute: ChuteNo) -> String {
        match self.chute_name(chute) {
            Some(name) => format!("chute {} \"{name}\"", chute.0),
            None => format!("chute {}", chute.0),
        }
    }

    fn reader(&self, reader: ReaderId) -> String {
        match self.started.readers.get(usize::from(reader.0)) {
            Some(name) => words::plain(name),
            None => format!("reader {}", reader.0),
        }
    }

    fn read(&self, reader: ReaderId, reading: &Reading, rssi_dbm: Option<i16>) -> String {
        let (text, kind) = words::reading(reading);
        let mut out = format!("{} read {text}", self.reader(reader));
        if let Some(kind) = kind {
            out.push_str(&format!(" ({kind})"));
        }
        if let Some(rssi) = rssi_dbm {
            out.push_str(&format!(", {rssi} dBm"));
        }
        out
    }

    /// `None` for records that say nothing about one parcel.
    fn words(&self, body: &Body, code: &str) -> Option<Words> {
        match body {
            Body::Fact(fact) => self.fact(fact),
            Body::Input(Input::Event(event)) => self.event(event, code),
            Body::Input(Input::Photo { photo, shows }) => {
                let mut text = format!("{} took {}", words::plain(&photo.camera), words::plain(&photo.name));
                if let Err(why) = shows {
                    text.push_str(&format!(": {}, so it shows none", words::untied(*why)));
                }
                Some(("photo", text, Vec::new()))
            }
            // The tie, or why there is none, is told by the fact that follows it.
            Body::Input(Input::Read { .. } | Input::Belt { .. }) => None,
        }
    }

    fn event(&self, event: &Event, code: &str) -> Option<Words> {
        match event {
            Event::Orders(batch) => {
                let order = batch.orders.iter().find(|order| order.codes.iter().any(|c| c == code))?;
                Some((
                    "order",
                    format!("{} (message {})", order_words(order), words::plain(&batch.message)),
                    vec![],
                ))
            }
            Event::Ask(Ask { by, what }) => {
                let by = words::plain(by);
                let asked = match what {
                    Asked::ParcelFound(_) => "found",
                    Asked::ParcelRemoved(_) => "removed",
                    Asked::ParcelDamaged(_) => "damaged",
                    Asked::LineStart => "line start",
                    Asked::LineStop => "line stop",
                    Asked::LinePurge => "line purge",
                    Asked::ChuteLock(chute) => {
                        return Some(("operator", format!("{by} locked {}", self.chute(*chute)), vec![]));
                    }
                    Asked::ChuteUnlock(chute) => {
                        return Some(("operator", format!("{by} unlocked {}", self.chute(*chute)), vec![]));
                    }
                    Asked::ChuteClose(chute) => {
                        return Some((
                            "operator",
                            format!("{by} began closing {}", self.chute(*chute)),
                            vec![],
                        ));
                    }
                    Asked::ChuteChanged(chute) => {
                        return Some(("operator", format!("{by} changed {}", self.chute(*chute)), vec![]));
                    }
                };
                Some(("operator", format!("{by} said: {asked}"), vec![]))
            }
            Event::PlcDetached => Some(("PLC", "the connection to the PLC was lost".to_owned(), vec![])),
            Event::PlcAttached(attached) => {
                Some(("PLC", format!("the connection to the PLC stands, epoch {}", attached.epoch), vec![]))
            }
            Event::Started(started) => {
                Some(("start", format!("sortd {} started (boot {})", started.version, started.boot), vec![]))
            }
            Event::Tick
            | Event::Plc(_)
            | Event::PlcEventsMissed(_)
            | Event::PlcFlags(_)
            | Event::CommandsTaken(_)
            | Event::ChuteBits { .. }
            | Event::Encoder(_)
            | Event::Heard(_)
            | Event::DeviceState { .. }
            | Event::InductionHold { .. }
            | Event::OrdersLoaded(_)
            | Event::Configured { .. }
            | Event::Photo(_)
            | Event::Holds(_)
            | Event::OrdersRetired(_)
            | Event::PlanStaged(_)
            | Event::DayDeleted(_)
            | Event::PlanInForce(_) => None,
        }
    }

    fn fact(&self, fact: &Fact) -> Option<Words> {
        let simple = |word: &'static str, text: String| Some((word, text, Vec::new()));
        match fact {
            Fact::Inducted { length_mm, .. } => {
                simple("inducted", format!("it cleared the induction eye, {length_mm} mm long"))
            }
            Fact::Blank { reader, .. } => {
                simple("no read", format!("{} looked and read nothing", self.reader(*reader)))
            }
            Fact::Tied { reader, reading, rssi_dbm, .. } => {
                simple("read", format!("{}: tied to this parcel", self.read(*reader, reading, *rssi_dbm)))
            }
            Fact::Untied { reader, reading, why } => simple(
                "not tied",
                format!(
                    "{}: {}, so it counts for none",
                    self.read(*reader, reading, None),
                    words::untied(*why)
                ),
            ),
            Fact::Identified { key, order, carrier, .. } => {
                let mut text = format!("it is {}", words::plain(&key.0));
                match order {
                    Some(order) => text.push_str(&format!(", bound to order {}", words::plain(order))),
                    None => text.push_str(", no order names it"),
                }
                if let Some(carrier) = carrier {
                    text.push_str(&format!(", carrier {}", words::plain(carrier)));
                }
                simple("identified", text)
            }
            Fact::Decided(decided) => Some(self.decided(decided)),
            Fact::Acknowledged { command, slack_ms, .. } => simple(
                "taken",
                match u32::try_from(*slack_ms) {
                    Ok(slack) => {
                        format!("the PLC took command {command}, {slack} ms before the point of no return")
                    }
                    Err(_) => format!(
                        "the PLC took command {command}, {} ms AFTER the point of no return",
                        slack_ms.unsigned_abs()
                    ),
                },
            ),
            Fact::Refused { command, why, .. } => {
                simple("refused", format!("the PLC refused command {command}: {}", words::refusal(*why)))
            }
            Fact::Recirculated { lap, .. } => {
                simple("recirculated", format!("it goes round again, lap {lap}"))
            }
            Fact::Ended { outcome, .. } => Some(self.ended(*outcome)),
            Fact::Reported { what, by, code, .. } => simple(
                "reported",
                format!("{} reported {} {}", words::plain(by), words::plain(code), words::report(*what)),
            ),
            Fact::ChuteEmptied { chute, parcels } => {
                simple("chute", format!("{} was changed, it held {parcels} parcels", self.chute(*chute)))
            }
            Fact::OrderRefused { order, why, .. } => {
                simple("order", format!("order {} was refused: {}", words::plain(order), words::plain(why)))
            }
            Fact::AlarmRaised(alarm) => simple("alarm", words::plain(&alarm.text)),
            Fact::AlarmCleared { id } => simple("alarm", format!("{} is over", words::plain(id))),
            Fact::Held { on, revision, hold, why, by, .. } => {
                let mut text = format!("upstream holds {}: {}", held_on(on), words::reason(hold.reason()).0);
                if let Some(why) = why {
                    text.push_str(&format!(" ({})", words::plain(why)));
                }
                if let Some(by) = by {
                    text.push_str(&format!(", by {}", words::plain(by)));
                }
                if let Some(revision) = revision {
                    text.push_str(&format!(", revision {revision}"));
                }
                simple("held", text)
            }
            Fact::HoldRefused { on, why, .. } => {
                simple("hold", format!("a hold on {} was refused: {}", held_on(on), words::plain(why)))
            }
            Fact::OrdersApplied { .. } | Fact::HoldsApplied { .. } | Fact::OrdersGone { .. } => None,
        }
    }

    fn decided(&self, decided: &Decided) -> Words {
        let mut text = match decided.to {
            Target::Chute(chute) => format!("to {}", self.chute(chute)),
            Target::Exception(chute, reason) => {
                format!("to the exception {}, because {}", self.chute(chute), words::reason(reason).0)
            }
            Target::Recirculate(reason) => format!("another lap, because {}", words::reason(reason).0),
        };
        if let Some(destination) = &decided.destination {
            text.push_str(&format!("; destination {}", words::plain(destination)));
        }
        let margin = decided.deadline_pulses.saturating_sub(decided.at_pulses);
        let timing = if margin >= 0 {
            format!("{margin} pulses before its deadline")
        } else {
            format!("{} pulses AFTER its deadline", margin.unsigned_abs())
        };
        let command = match decided.command {
            0 => "no command was needed".to_owned(),
            number => format!("command {number}"),
        };
        let mut details = vec![format!(
            "{command}; sort plan {}; decided {} ms after induction, {timing}",
            decided.plan, decided.latency_ms
        )];
        details.extend(decided.candidates.iter().map(|candidate| self.candidate(candidate, decided)));
        if decided.candidates.is_empty() && matches!(decided.to, Target::Chute(_)) {
            details.push("no other chute was looked at".to_owned());
        }
        ("decided", text, details)
    }

    fn candidate(&self, candidate: &Candidate, decided: &Decided) -> String {
        let verdict = match candidate.dropped {
            Some(rule) if decided.alternate == Some(candidate.chute) => {
                format!("kept as alternate; {}", words::dropped(rule))
            }
            Some(rule) => format!("dropped: {}", words::dropped(rule)),
            None if decided.to == Target::Chute(candidate.chute) => "chosen".to_owned(),
            None if decided.alternate == Some(candidate.chute) => "kept as alternate".to_owned(),
            None => "possible, not needed".to_owned(),
        };
        format!(
            "{}: {} in it and {} on the way, of {} — {verdict}",
            self.chute(candidate.chute),
            candidate.filled,
            candidate.reserved,
            candidate.capacity
        )
    }

    fn ended(&self, outcome: Outcome) -> Words {
        match outcome {
            Outcome::Sorted { chute } => {
                ("sorted", format!("its arrival in {} was confirmed", self.chute(chute)), vec![])
            }
            Outcome::Exception { reason, chute } => {
                let (meaning, remedy) = words::reason(reason);
                let place = match chute {
                    Some(chute) => format!("it is in {}", self.chute(chute)),
                    None => "no sensor confirmed where it is".to_owned(),
                };
                let details = vec![format!("What to do: {remedy}")];
                ("exception", format!("{}: {meaning}; {place}", reason.name()), details)
            }
            Outcome::Lost => (
                "lost",
                "it did not arrive where it was due, and nobody knows where it is".to_owned(),
                vec![
                    "What to do: Look beside and under the belt; then `sortd parcel CODE found`.".to_owned(),
                ],
            ),
        }
    }
}

fn order_words(order: &Order) -> String {
    let mut text = format!(
        "upstream sent order {} revision {}, destination {}",
        words::plain(&order.order),
        order.revision,
        words::plain(&order.destination)
    );
    if let Some(carrier) = &order.carrier {
        text.push_str(&format!(", carrier {}", words::plain(carrier)));
    }
    if order.cancelled {
        text.push_str(", CANCELLED");
    }
    if let Some(hold) = order.hold {
        text.push_str(&format!(", held ({hold:?})"));
    }
    text
}
