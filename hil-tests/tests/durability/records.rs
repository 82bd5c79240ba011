//! What a line records, made up so that a record is known from its number alone: whoever reads number N back
//! knows what must stand there.

use sortd::identify::{Key, Reading};
use sortd::journal::{Numbered, Record};
use sortd::line::event::{Event, Order, OrderBatch};
use sortd::line::outcome::Outcome;
use sortd::line::record::{Body, Candidate, Decided, Dropped, Entry, Fact, Input, Target};
use sortd::line::{ChuteNo, PassKey, ReaderId, Tick};

/// Records of a parcel.
pub const PARCEL: u64 = 10;

/// Records of a day: a roll-over every 1.5 s at 200 parcels/s.
pub const DAY: u64 = 3_000;

/// 2026-11-22 00:00 UTC.
const MIDNIGHT_US: i64 = 1_795_305_600_000_000;

/// Microseconds of a day.
const DAY_US: u64 = 86_400_000_000;

/// Record `seq`, as the line's thread hands it over.
pub fn numbered(seq: u64) -> Numbered {
    let since = i64::try_from(seq * (DAY_US / DAY)).expect("the tests write no more than centuries");
    Numbered { seq, wall_us: MIDNIGHT_US + since, entry: Entry { at: Tick(seq * 500), body: body(seq) } }
}

/// Why this is not what was written, if it is not. The milestone's number is the caller's to check.
pub fn wrong(record: &Record) -> Option<String> {
    let expected = numbered(record.seq);
    let came = (record.wall_us, record.at, &record.body);
    let same = came == (expected.wall_us, expected.entry.at, &expected.entry.body)
        && record.event_seq.is_some() == expected.entry.body.is_milestone();
    (!same).then(|| format!("record {}: {expected:?} was written, {record:?} is read", record.seq))
}

/// Milestones among records 1 to `seq`.
pub fn milestones(seq: u64) -> u64 {
    let a_parcel = (0..PARCEL).filter(|seq| body(*seq).is_milestone()).count() as u64;
    let rest = (seq / PARCEL * PARCEL..=seq).filter(|seq| body(*seq).is_milestone()).count() as u64;
    // Number 0 would be a milestone, and is never given.
    seq / PARCEL * a_parcel + rest - 1
}

/// Orders whose message is applied by records 1 to `seq`.
/// The order of a parcel.
pub fn orders(seq: u64) -> u64 {
    (seq + PARCEL - 2) / PARCEL
}

/// The order of a parcel.
pub fn order(track: u64) -> Order {
    Order {
        order: format!("ORDER-{track:09}"),
        revision: 1,
        codes: vec![format!("PX{track:010}"), format!("sscc:{track:018}")],
        destination: "TH-BKK".to_owned(),
        carrier: Some("KERRY".to_owned()),
        cancelled: false,
        hold: None,
        details: None,
    }
}

fn body(seq: u64) -> Body {
    let track = seq / PARCEL;
    let pass = PassKey { epoch: 1, track: u32::try_from(track).unwrap_or(u32::MAX) };
    let key = Key(format!("wb:PX{track:010}"));
    let fact = match seq % PARCEL {
        0 => Fact::Inducted { pass, length_mm: 150 + u16::try_from(track % 450).unwrap_or(0) },
        1 => {
            let batch = OrderBatch { message: format!("m{track}"), last: true, orders: vec![order(track)] };
            return Body::Input(Input::Event(Event::Orders(batch)));
        }
        2 => Fact::OrdersApplied { message: format!("m{track}"), last: true, accepted: 1, refused: 0 },
        3 => {
            return Body::Input(Input::Read {
                reader: ReaderId(0),
                heard: Tick(seq * 500 - 1),
                readings: vec![Reading::Barcode { aim: None, text: format!("PX{track:010}") }],
                rssi_dbm: None,
                belt: Some((seq as i64 * 7, seq as i64 * 7 + 40)),
                orders: vec![order(track)],
            });
        }
        4 => Fact::Tied {
            pass,
            reader: ReaderId(1),
            reading: Reading::Barcode { aim: None, text: format!("PX{track:010}") },
            rssi_dbm: None,
        },
        5 => Fact::Identified {
            pass,
            key,
            uri: None,
            order: Some(format!("ORDER-{track:09}")),
            carrier: Some("KERRY".to_owned()),
        },
        6 => Fact::Decided(Decided {
            pass,
            to: Target::Chute(ChuteNo(3)),
            destination: Some("TH-BKK".to_owned()),
            orders: vec![order(track)],
            // Once in a while hundreds of chutes are looked at: a record of some kilobytes.
            candidates: candidates(if track.is_multiple_of(50) { 400 } else { 3 }),
            alternate: Some(ChuteNo(9)),
            plan: "0123456789abcdef".to_owned(),
            command: u16::try_from(track % 65_535).unwrap_or(1),
            deadline_pulses: seq as i64 * 7 + 900,
            at_pulses: seq as i64 * 7 + 60,
            latency_ms: 140,
        }),
        7 => return Body::Input(Input::Belt { pulses: seq as i64 * 7, speed_mm_s: 2_500 }),
        8 => Fact::Acknowledged { pass, command: 7, slack_ms: 900 },
        _ => Fact::Ended {
            pass,
            key: Some(key),
            uri: None,
            outcome: Outcome::Sorted { chute: ChuteNo(3) },
            plan: "0123456789abcdef".to_owned(),
            slack_ms: Some(900),
            destination: Some("TH-BKK".to_owned()),
        },
    };
    Body::Fact(fact)
}

fn candidates(count: u16) -> Vec<Candidate> {
    let candidate = |n| Candidate {
        chute: ChuteNo(n),
        filled: n % 40,
        reserved: n % 5,
        capacity: 40,
        dropped: (n != 3).then_some(Dropped::LessRoom),
    };
    (1..=count).map(candidate).collect()
}

#[test]
fn milestones_and_orders_are_counted_as_they_are_made() {
    let (mut milestone, mut applied) = (0, 0);
    for seq in 1..=3 * PARCEL {
        let body = body(seq);
        milestone += u64::from(body.is_milestone());
        applied += u64::from(matches!(body, Body::Fact(Fact::OrdersApplied { .. })));
        assert_eq!((milestones(seq), orders(seq)), (milestone, applied), "record {seq}");
    }
}
