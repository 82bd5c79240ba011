//! `sortd explain CODE`: why this parcel went where it went, for somebody who stands beside the line at night.
//!
//! The answer first (where it is and why), then each pass, moment by moment.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Exit, Format, failed_as, print, print_json};
use crate::panel::client::Client;
use crate::panel::story::{End, Moment, PassTelling, Telling};
use crate::panel::words;

/// Width of the word column; the longest word is `recirculated`.
const WORD_WIDTH: usize = 12;

/// Asks the line for the story and prints it.
pub fn command(client: &Client, code: &str, format: Format) -> Exit {
    match client.explain(code) {
        Ok(story) if format.json => print_json(&story.tell()),
        Ok(story) => print(&text(&story.tell())),
        Err(error) => failed_as(&error, format),
    }
}

/// The story as text.
pub fn text(telling: &Telling) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "Parcel {}", words::plain(&telling.code));
    let Some(last) = telling.passes.last() else {
        out.push_str("  The journal holds no pass of it.\n");
        return out;
    };
    let _ = writeln!(out, "  {}", answer(last));
    if let Some(remedy) = last.end.as_ref().and_then(|end| end.remedy) {
        let _ = writeln!(out, "  What to do: {remedy}");
    }
    if telling.passes.len() > 1 {
        let _ = writeln!(out, "  It came through {} times; the last is at the end.", telling.passes.len());
    }
    for (place, pass) in telling.passes.iter().enumerate() {
        heading(&mut out, place + 1, pass);
        for moment in &pass.moments {
            line(&mut out, moment);
        }
        if pass.end.is_none() && pass.pass.is_some() {
            let _ = writeln!(out, "  {:>9}  {:WORD_WIDTH$}  it is still on the belt", "", "now");
        }
    }
    out
}

/// Where it is and why: one sentence.
fn answer(pass: &PassTelling) -> String {
    let place = |end: &End| match (end.chute, &end.chute_name) {
        (Some(number), Some(name)) => format!("chute {number} \"{name}\""),
        (Some(number), None) => format!("chute {number}"),
        (None, _) => "a place no sensor confirmed".to_owned(),
    };
    match &pass.end {
        Some(end) if end.outcome == "sorted" => {
            let destination = pass.destination.as_deref().unwrap_or("its order's destination");
            format!("Sorted: it is in {}, a chute of its destination {destination}.", place(end))
        }
        Some(end) if end.outcome == "lost" => {
            "Lost: it did not arrive where it was due. Look beside and under the belt.".to_owned()
        }
        Some(end) => format!(
            "Exception ({}): {}; it is in {}.",
            end.reason.unwrap_or("no reason"),
            end.meaning.unwrap_or("no reason was recorded"),
            place(end)
        ),
        None if pass.pass.is_none() => {
            "Its code is known, but no parcel on the belt was ever tied to it.".to_owned()
        }
        None => "It is on the belt now.".to_owned(),
    }
}

fn heading(out: &mut String, number: usize, pass: &PassTelling) {
    let _ = write!(out, "\nPass {number}");
    if let Some(key) = pass.pass {
        let _ = write!(out, " · track {} of PLC epoch {}", key.track, key.epoch);
    }
    let _ = writeln!(out, " · {}", local_time(pass.began_us, &pass.time_zone));
    let facts: Vec<String> = [
        ("identity", &pass.identity),
        ("order", &pass.order),
        ("destination", &pass.destination),
        ("sort plan", &pass.plan),
    ]
    .into_iter()
    .filter_map(|(name, fact)| fact.as_ref().map(|fact| format!("{name} {fact}")))
    .collect();
    if !facts.is_empty() {
        let _ = writeln!(out, "  {}", facts.join(" · "));
    }
}

fn line(out: &mut String, moment: &Moment) {
    let sign = if moment.since_ms < 0 { '-' } else { '+' };
    let ms = moment.since_ms.unsigned_abs();
    let since = if ms < 1_000_000 {
        format!("{sign}{}.{:03} s", ms / 1000, ms % 1000)
    } else {
        format!("{sign}{} min", ms / 60_000)
    };
    let _ = writeln!(out, "  {since:>9}  {:WORD_WIDTH$}  {}", moment.word, moment.text);
    for detail in &moment.details {
        let _ = writeln!(out, "  {:>9}  {:WORD_WIDTH$}    {detail}", "", "");
    }
}

/// The site's own time with its offset; UTC where the zone is not known to this machine.
pub fn local_time(wall_us: i64, zone: &str) -> String {
    let Ok(at) = Timestamp::from_microsecond(wall_us) else { return format!("{wall_us} µs") };
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    at.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S.%3f %:z").to_string()
}

#[cfg(test)]
mod tests {
    use crate::identify::{Aim, Key, Reading};
    use crate::journal::Record;
    use crate::line::event::Started;
    use crate::line::outcome::{Outcome, Reason};
    use crate::line::record::{Body, Candidate, Decided, Dropped, Fact, Refusal, Target, Untied};
    use crate::line::{ChuteNo, PassKey, ReaderId, Tick};
    use crate::panel::story::{PassStory, Story};

    use super::*;

    const INDUCTED_US: u64 = 50_000_000;
    /// 2026-11-22 02:03:04 UTC.
    const WALL_US: i64 = 1_795_312_984_000_000;

    fn names() -> Started {
        Started {
            boot: 4,
            version: "0.1.0".into(),
            site: "dongguan".into(),
            line: "l1".into(),
            domain: "sort.example.com".into(),
            time_zone: "UTC".into(),
            plan: "a1b2c3d4e5f60718".into(),
            readers: vec!["top".into(), "gate".into()],
            chutes: vec![(7, "TH Bangkok".into()), (8, "TH Bangkok 2".into()), (99, "exceptions".into())],
            wall_us: WALL_US - 60_000_000,
        }
    }

    fn record(seq: u64, after_ms: i64, fact: Fact) -> Record {
        let us = after_ms * 1000;
        Record {
            seq,
            at: Tick(INDUCTED_US.checked_add_signed(us).unwrap()),
            wall_us: WALL_US + us,
            event_seq: None,
            body: Body::Fact(fact),
        }
    }

    fn barcode(text: &str) -> Reading {
        Reading::Barcode { aim: Some(Aim(b'C', b'0')), text: text.into() }
    }

    fn candidate(chute: u16, filled: u16, dropped: Option<Dropped>) -> Candidate {
        Candidate { chute: ChuteNo(chute), filled, reserved: 1, capacity: 40, dropped }
    }

    /// A parcel that first finds no chute, is inducted again, and is sorted.
    fn story() -> Story {
        let first = PassKey { epoch: 3, track: 4711 };
        let second = PassKey { epoch: 3, track: 4802 };
        let decided = |pass, to, candidates, command| {
            Fact::Decided(Decided {
                pass,
                to,
                destination: Some("TH-BKK".into()),
                orders: Vec::new(),
                candidates,
                alternate: None,
                plan: "a1b2c3d4e5f60718".into(),
                command,
                deadline_pulses: 9_000,
                at_pulses: 5_880,
                latency_ms: 401,
            })
        };
        let identified = |pass| Fact::Identified {
            pass,
            key: Key("wb:TH0123456789".into()),
            uri: None,
            order: Some("SO-1".into()),
            carrier: Some("KERRY-TH".into()),
        };
        let ended = |pass, outcome| Fact::Ended {
            pass,
            key: Some(Key("wb:TH0123456789".into())),
            uri: None,
            outcome,
            plan: "a1b2c3d4e5f60718".into(),
            slack_ms: Some(812),
            destination: Some("TH-BKK".into()),
        };
        let full = vec![candidate(7, 39, Some(Dropped::NoRoom)), candidate(8, 3, Some(Dropped::Locked))];
        let free = vec![candidate(7, 0, None), candidate(8, 3, Some(Dropped::Locked))];
        Story {
            code: "TH0123456789".into(),
            passes: vec![
                PassStory {
                    names: names(),
                    records: vec![
                        record(101, 0, Fact::Inducted { pass: first, length_mm: 312 }),
                        record(
                            102,
                            380,
                            Fact::Tied {
                                pass: first,
                                reader: ReaderId(0),
                                reading: barcode("TH0123456789"),
                                rssi_dbm: None,
                            },
                        ),
                        record(
                            103,
                            385,
                            Fact::Untied {
                                reader: ReaderId(1),
                                reading: Reading::Tag { epc: vec![0x30, 0x14, 0xf4] },
                                why: Untied::TwoParcels,
                            },
                        ),
                        record(104, 400, identified(first)),
                        record(
                            105,
                            401,
                            decided(first, Target::Exception(ChuteNo(99), Reason::ChutesFull), full, 76),
                        ),
                        record(106, 412, Fact::Refused { pass: first, command: 76, why: Refusal::TooLate }),
                        record(
                            107,
                            9_120,
                            ended(
                                first,
                                Outcome::Exception { reason: Reason::ChutesFull, chute: Some(ChuteNo(99)) },
                            ),
                        ),
                    ],
                },
                PassStory {
                    names: names(),
                    records: vec![
                        record(201, 60_000, Fact::Inducted { pass: second, length_mm: 310 }),
                        record(
                            202,
                            60_377,
                            Fact::Tied {
                                pass: second,
                                reader: ReaderId(1),
                                reading: Reading::Tag { epc: vec![0x30, 0x14, 0xf4] },
                                rssi_dbm: Some(-54),
                            },
                        ),
                        record(203, 60_400, identified(second)),
                        record(204, 60_401, decided(second, Target::Chute(ChuteNo(7)), free, 77)),
                        record(205, 60_415, Fact::Acknowledged { pass: second, command: 77, slack_ms: 812 }),
                        record(206, 62_730, ended(second, Outcome::Sorted { chute: ChuteNo(7) })),
                    ],
                },
            ],
        }
    }

    const TOLD: &str = r#"Parcel TH0123456789
  Sorted: it is in chute 7 "TH Bangkok", a chute of its destination TH-BKK.
  It came through 2 times; the last is at the end.

Pass 1 · track 4711 of PLC epoch 3 · 2026-11-22 02:03:04.000 +00:00
  identity wb:TH0123456789 · order SO-1 · destination TH-BKK · sort plan a1b2c3d4e5f60718
   +0.000 s  inducted      it cleared the induction eye, 312 mm long
   +0.380 s  read          top read TH0123456789 (Code 128): tied to this parcel
   +0.385 s  not tied      gate read 3014F4 (EPC): two parcels were in the reader's field, so it counts for none
   +0.400 s  identified    it is wb:TH0123456789, bound to order SO-1, carrier KERRY-TH
   +0.401 s  decided       to the exception chute 99 "exceptions", because every chute of its destination was full or closed; destination TH-BKK
                             command 76; sort plan a1b2c3d4e5f60718; decided 401 ms after induction, 3120 pulses before its deadline
                             chute 7 "TH Bangkok": 39 in it and 1 on the way, of 40 — dropped: no room: parcels in it and on the way reach its capacity
                             chute 8 "TH Bangkok 2": 3 in it and 1 on the way, of 40 — dropped: locked by hand
   +0.412 s  refused       the PLC refused command 76: the parcel was past the decision point
   +9.120 s  exception     chutes_full: every chute of its destination was full or closed; it is in chute 99 "exceptions"
                             What to do: Change the full chutes, then induct it again.

Pass 2 · track 4802 of PLC epoch 3 · 2026-11-22 02:04:04.000 +00:00
  identity wb:TH0123456789 · order SO-1 · destination TH-BKK · sort plan a1b2c3d4e5f60718
   +0.000 s  inducted      it cleared the induction eye, 310 mm long
   +0.377 s  read          gate read 3014F4 (EPC), -54 dBm: tied to this parcel
   +0.400 s  identified    it is wb:TH0123456789, bound to order SO-1, carrier KERRY-TH
   +0.401 s  decided       to chute 7 "TH Bangkok"; destination TH-BKK
                             command 77; sort plan a1b2c3d4e5f60718; decided 401 ms after induction, 3120 pulses before its deadline
                             chute 7 "TH Bangkok": 0 in it and 1 on the way, of 40 — chosen
                             chute 8 "TH Bangkok 2": 3 in it and 1 on the way, of 40 — dropped: locked by hand
   +0.415 s  taken         the PLC took command 77, 812 ms before the point of no return
   +2.730 s  sorted        its arrival in chute 7 "TH Bangkok" was confirmed
"#;

    #[test]
    fn two_passes_are_told_in_order_with_every_rule() {
        let told = text(&story().tell());
        assert!(told == TOLD, "told:\n{told}\nexpected:\n{TOLD}");
    }

    #[test]
    fn a_parcel_on_the_belt_is_said_to_be_there() {
        let mut story = story();
        story.passes.truncate(1);
        story.passes[0].records.truncate(4);
        let told = text(&story.tell());
        assert!(told.contains("It is on the belt now."), "{told}");
        assert!(told.trim_end().ends_with("it is still on the belt"), "{told}");
    }

    #[test]
    fn the_json_carries_words_and_facts() {
        let value = serde_json::to_value(story().tell()).unwrap();
        let last = &value["passes"][1];
        assert_eq!(last["end"]["outcome"], "sorted");
        assert_eq!(last["end"]["chute"], 7);
        assert_eq!(last["moments"][3]["body"]["Fact"]["Decided"]["command"], 77);
        assert_eq!(value["passes"][0]["end"]["reason"], "chutes_full");
    }

    #[test]
    fn a_story_survives_the_socket() {
        let story = story();
        let sent = serde_json::to_string(&story).unwrap();
        assert_eq!(serde_json::from_str::<Story>(&sent).unwrap(), story);
    }
}
