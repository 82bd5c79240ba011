//! Records as a line writes them: the whole story of one parcel after the other.
//!
//! Orders are not among them: their register is a store of its own with its own measurements.

use sortd::identify::{Aim, Key, Reading};
use sortd::journal::Numbered;
use sortd::line::event::{Event, Order};
use sortd::line::outcome::Outcome;
use sortd::line::record::{Body, Candidate, Decided, Dropped, Entry, Fact, Input, Target};
use sortd::line::{ChuteNo, PassKey, ReaderId, Tick};
use sortd::wire::plc::{Discharge, PlcEvent, PlcEventKind};

/// Records of one parcel.
pub const PARCEL: u64 = 12;

/// 2026-11-22 00:00 UTC.
pub const MIDNIGHT_US: i64 = 1_795_305_600_000_000;

/// Microseconds of a day.
pub const DAY_US: i64 = 86_400_000_000;

/// Parcels follow each other this far apart: 9,000 an hour.
const APART_US: u64 = 400_000;

/// Pulses the belt moves from one parcel to the next.
const APART_PULSES: u64 = 800;

/// The code on a parcel.
pub fn code(parcel: u64) -> String {
    format!("SF{:012}", parcel * 7_919 % 1_000_000_000_000)
}

fn order(parcel: u64) -> Order {
    Order {
        order: format!("ORD-{parcel:010}"),
        revision: 1,
        codes: vec![code(parcel), format!("{:020}", parcel * 104_729)],
        destination: format!("CN-{:03}", parcel % 240),
        carrier: Some("sf".to_owned()),
        cancelled: false,
        hold: None,
        details: None,
    }
}

fn plc(parcel: u64, kind: PlcEventKind, step: u64) -> Body {
    let event = PlcEvent {
        seq: u16::try_from((parcel * 2 + step) % 65_535 + 1).unwrap_or(1),
        kind,
        track: track(parcel),
        encoder: u32::try_from((parcel + step) * APART_PULSES % u64::from(u32::MAX)).unwrap_or(0),
        carrier: 0,
        length_mm: 350,
    };
    Body::Input(Input::Event(Event::Plc(event)))
}

fn track(parcel: u64) -> u32 {
    u32::try_from(parcel % u64::from(u32::MAX)).unwrap_or(0)
}

fn body(parcel: u64, step: u64) -> Body {
    let pass = PassKey { epoch: 1, track: track(parcel) };
    let chute = ChuteNo(u16::try_from(parcel % 240 + 1).unwrap_or(1));
    let pulses = i64::try_from(parcel * APART_PULSES).unwrap_or(0);
    let reading = Reading::Barcode { aim: Some(Aim(b'C', 0)), text: code(parcel) };
    let read = |reader: u16, readings: Vec<Reading>, orders: Vec<Order>| {
        let (reader, belt) = (ReaderId(reader), Some((pulses + 310, pulses + 340)));
        Body::Input(Input::Read { reader, heard: Tick(parcel), readings, rssi_dbm: None, belt, orders })
    };
    let key = Key(format!("wb:{}", code(parcel)));
    match step {
        0 => plc(parcel, PlcEventKind::Inducted, 0),
        1 => Body::Fact(Fact::Inducted { pass, length_mm: 350 }),
        2 => read(0, vec![reading], vec![order(parcel)]),
        3 => Body::Fact(Fact::Tied { pass, reader: ReaderId(0), reading, rssi_dbm: None }),
        4 => Body::Fact(Fact::Identified {
            pass,
            key,
            uri: None,
            order: Some(order(parcel).order),
            carrier: Some("sf".to_owned()),
        }),
        5 => read(1, Vec::new(), Vec::new()),
        6 => Body::Fact(Fact::Blank { pass, reader: ReaderId(1) }),
        7 => Body::Fact(Fact::Decided(decided(parcel, pass, chute, pulses))),
        8 => Body::Input(Input::Event(Event::CommandsTaken(command(parcel)))),
        9 => Body::Fact(Fact::Acknowledged { pass, command: command(parcel), slack_ms: 1_840 }),
        10 => plc(parcel, PlcEventKind::Discharged { chute: chute.0, how: Discharge::Confirmed }, 1),
        _ => Body::Fact(Fact::Ended {
            pass,
            key: Some(key),
            uri: None,
            outcome: Outcome::Sorted { chute },
            plan: "0123456789abcdef".to_owned(),
            slack_ms: Some(1_840),
            destination: Some(order(parcel).destination),
        }),
    }
}

fn command(parcel: u64) -> u16 {
    u16::try_from(parcel % 65_535 + 1).unwrap_or(1)
}

fn decided(parcel: u64, pass: PassKey, chute: ChuteNo, pulses: i64) -> Decided {
    let candidate =
        |n: u16, dropped| Candidate { chute: ChuteNo(n), filled: 17, reserved: 2, capacity: 60, dropped };
    Decided {
        pass,
        to: Target::Chute(chute),
        destination: Some(order(parcel).destination),
        orders: vec![order(parcel)],
        candidates: vec![
            candidate(chute.0 + 240, Some(Dropped::FullSensor)),
            candidate(chute.0, None),
            candidate(chute.0 + 480, None),
        ],
        alternate: Some(ChuteNo(chute.0 + 480)),
        plan: "0123456789abcdef".to_owned(),
        command: command(parcel),
        deadline_pulses: pulses + 4_000,
        at_pulses: pulses + 1_950,
        latency_ms: 975,
    }
}

/// Record `seq` of a store in which record `first` is the first of the first parcel; always the same, but for
/// the wall stamp, which is within the day that begins at `midnight_us`.
pub fn record(seq: u64, first: u64, midnight_us: i64) -> Numbered {
    let (parcel, step) = ((seq - first) / PARCEL, (seq - first) % PARCEL);
    let us = parcel * APART_US % 80_000_000_000 + step * 30_000;
    let wall_us = midnight_us + i64::try_from(us).unwrap_or(0);
    let at = Tick(parcel * APART_US + step * 30_000);
    Numbered { seq, wall_us, entry: Entry { at, body: body(parcel, step) } }
}
