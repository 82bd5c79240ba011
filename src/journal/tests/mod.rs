//! The whole journal against real files: what it promises, after kills and damage too.

mod chain;
mod copies;
mod crash;
mod damage;
mod doubt;
mod flow;
mod frozen;
mod lost;
mod retention;
mod stall;
mod verify;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::identify::{Key, Reading};
use crate::line::event::{Event, Order, OrderBatch, Started};
use crate::line::outcome::Outcome;
use crate::line::record::{Fact, Input};
use crate::line::{ChuteNo, PassKey, ReaderId};

/// 2026-11-22 00:00 UTC.
const MIDNIGHT_US: i64 = 1_795_305_600_000_000;
/// Records of one parcel in [`entry`].
const PARCEL: u64 = 8;

fn settings(directory: &Path) -> JournalSettings {
    JournalSettings { cache_mib: 8, ..JournalSettings::in_directory(directory, Board::default()) }
}

/// Everything the listener was told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Record>>>);

impl DurableListener for Told {
    fn durable(&mut self, records: &[Record]) {
        self.0.lock().unwrap().extend_from_slice(records);
    }
}

fn order(track: u64) -> Order {
    Order {
        order: format!("O{track}"),
        revision: 1,
        codes: vec![format!("PX{track}")],
        destination: "TH".to_owned(),
        carrier: None,
        cancelled: false,
        hold: None,
        details: None,
    }
}

/// The line's record with this number, always the same: eight make a parcel.
fn body(seq: u64) -> Body {
    let track = seq / PARCEL;
    let pass = PassKey { epoch: 1, track: u32::try_from(track).unwrap() };
    let key = Key(format!("wb:PX{track}"));
    match seq % PARCEL {
        0 => Body::Fact(Fact::Inducted { pass, length_mm: 400 }),
        1 => Body::Fact(Fact::Tied {
            pass,
            reader: ReaderId(0),
            reading: Reading::Barcode { aim: None, text: format!("px{track} ") },
            rssi_dbm: None,
        }),
        2 => Body::Fact(Fact::Identified {
            pass,
            key,
            uri: None,
            order: Some(format!("O{track}")),
            carrier: None,
        }),
        3 => Body::Input(Input::Belt { pulses: i64::try_from(seq).unwrap(), speed_mm_s: 2_000 }),
        4 => Body::Fact(Fact::Acknowledged { pass, command: 7, slack_ms: 900 }),
        5 => {
            let orders = vec![order(track)];
            let batch = OrderBatch { message: format!("m{track}"), last: true, orders };
            Body::Input(Input::Event(Event::Orders(batch)))
        }
        6 => {
            let message = format!("m{track}");
            Body::Fact(Fact::OrdersApplied { message, last: true, accepted: 1, refused: 0 })
        }
        _ => Body::Fact(Fact::Ended {
            pass,
            key: Some(key),
            uri: None,
            outcome: Outcome::Sorted { chute: ChuteNo(3) },
            plan: "0123456789abcdef".to_owned(),
            slack_ms: Some(900),
            destination: Some("TH".to_owned()),
        }),
    }
}

fn numbered(seq: u64) -> Numbered {
    stamped(seq, MIDNIGHT_US + i64::try_from(seq).unwrap())
}

fn stamped(seq: u64, wall_us: i64) -> Numbered {
    Numbered { seq, wall_us, entry: Entry { at: Tick(seq * 10), body: body(seq) } }
}

/// Milestones among records 1 to `seq`.
fn milestones_to(seq: u64) -> u64 {
    (1..=seq).filter(|seq| body(*seq).is_milestone()).count() as u64
}

fn run_named(boot: u64) -> Started {
    Started {
        boot,
        version: "0".to_owned(),
        site: "dg".to_owned(),
        line: "1".to_owned(),
        domain: "example.com".to_owned(),
        time_zone: "Asia/Shanghai".to_owned(),
        plan: String::new(),
        readers: vec!["top".to_owned()],
        chutes: (0..800).map(|n| (n, format!("chute-{n}-on-the-left"))).collect(),
        wall_us: 0,
    }
}

fn append(handle: &JournalHandle, mut numbered: Numbered) {
    loop {
        match handle.append(numbered) {
            Ok(()) => return,
            Err(AppendError::Full(back)) => numbered = *back,
            Err(AppendError::Closed(back)) => panic!("closed at record {}", back.seq),
        }
        std::thread::yield_now();
    }
}

/// Waits for a state, not for a time; the limit only ends a test that would hang.
fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
    for _ in 0..12_000 {
        if reached() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("not reached within a minute: {what}");
}

fn wait_durable(handle: &JournalHandle, seq: u64) {
    wait_for(&format!("record {seq} durable"), || handle.durable() >= seq);
}

fn start(directory: &Path) -> (Journal, JournalHandle, Opened, Told) {
    let told = Told::default();
    let (journal, handle, opening) =
        Journal::start(settings(directory), None, Box::new(told.clone())).unwrap();
    (journal, handle, opening.wait().unwrap(), told)
}

/// A store with records 1 to `last`, closed.
fn store_to(directory: &Path, last: u64) {
    let (journal, handle, opened, _) = start(directory);
    for seq in opened.last_seq + 1..=last {
        append(&handle, numbered(seq));
    }
    wait_durable(&handle, last);
    assert_eq!(journal.finish().state, JournalState::Closed);
}

/// Records as they must be read back; milestones numbered from the first.
fn assert_records(records: &[Record], first: u64) {
    let mut events = milestones_to(first - 1);
    for (seq, record) in (first..).zip(records) {
        let expected = numbered(seq);
        assert_eq!((record.seq, record.wall_us, record.at), (seq, expected.wall_us, expected.entry.at));
        assert_eq!(record.body, expected.entry.body);
        let milestone = record.body.is_milestone();
        events += u64::from(milestone);
        assert_eq!(record.event_seq, milestone.then_some(events), "record {seq}");
    }
}

/// Seed and rounds of a random test; a longer search sets both by environment.
fn seed_and_rounds(rounds: u64) -> (u64, u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    (number("SORTD_TEST_SEED").unwrap_or(7), number("SORTD_TEST_ROUNDS").unwrap_or(rounds))
}

fn blobs(directory: &Path) -> usize {
    let mut found = 0;
    for day in std::fs::read_dir(directory.join("days")).unwrap() {
        found += std::fs::read_dir(day.unwrap().path().join("blobs")).map_or(0, Iterator::count);
    }
    found + std::fs::read_dir(directory.join("orders/blobs")).map_or(0, Iterator::count)
}
