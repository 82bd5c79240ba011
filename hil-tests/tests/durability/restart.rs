//! Kills of a running line at random microseconds between scan and confirmation, over a store of 100,000 records:
//! no pass is forgotten, none is diverted without an event, and the first divert after a start comes soon.

use std::path::Path;
use std::time::Duration;

use rand::Rng;
use sortd::journal::{Numbered, Record};
use sortd::line::record::{Body, Entry, Fact, Input};
use sortd::line::{Line as Core, PassKey, ReaderId, Tick};
use sortd::watch::Board;
use sortd::watch::clock::Clock;

use crate::fast::{Flow, assert_all_told, fast_line};
use crate::store::{append, start, wait_durable};
use crate::{one_line, random, rounds};

/// Records of the store before the first start.
const RECORDS: u64 = 100_000;

/// One parcel is always about to be decided, so that the first divert shows the start and not the flow.
const FLOW: Flow = Flow { parcels_per_s: 12.0, gap_mm: 300, heard_within_ms: 50, order_lead_s: 2.0 };

/// Longest time between a parcel's induction and the kill: some are scanned then, some commanded, some confirmed.
const LATER_US: u64 = 1_500_000;

/// From the start of the process to the first divert, for the middle one of all starts.
const FIRST_DIVERT_MS: u64 = 500;

/// No start may take longer, on a machine that does other things beside.
const FIRST_DIVERT_MOST_MS: u64 = 3_000;

#[test]
fn kills_between_scan_and_confirmation_forget_no_pass() {
    let _alone = one_line();
    let mut random = random(5);
    let kills = rounds(10, 100);
    let mut line = fast_line(FLOW, 6, prefill);
    println!("{:>7} ms  the line runs", line.now_ms());
    let mut first_diverts = Vec::new();
    for _ in 0..kills {
        let before = line.rig.devices.truth().tracks;
        line.until_all("a parcel inducted", crate::stand::PATIENCE, |rig, status| {
            rig.devices.truth().tracks > before && status.line.sums.in_flight > 0
        });
        std::thread::sleep(Duration::from_micros(random.random_range(0..LATER_US)));
        line.kill();
        first_diverts.push(line.start_timed().commanded_ms);
    }
    println!("{:>7} ms  {kills} kills", line.now_ms());
    first_diverts.sort_unstable();
    let (median, worst) = (first_diverts[kills / 2], first_diverts[kills - 1]);
    let passes = assert_all_told(&mut line);
    println!(
        "{kills} kills over {RECORDS} records, {passes} passes: first divert {median} ms after the start (median), \
         {worst} ms (worst)"
    );
    if median > FIRST_DIVERT_MS || worst > FIRST_DIVERT_MOST_MS {
        line.fail(&format!("the first divert came late: {first_diverts:?} ms"));
    }
    line.terminate();
}

/// A store of today with 100,000 records that go nowhere: no milestone, so that upstream has nothing to ask for.
fn prefill(directory: &Path) {
    let store = directory.join("store");
    let (journal, handle, _) = start(&store, Board::default(), None, |_: &[Record]| ());
    let wall_us = Clock::default().wall_us();
    for seq in 1..=RECORDS {
        let pass = PassKey { epoch: 0, track: u32::try_from(seq / 4).unwrap_or(u32::MAX) };
        let body = match seq % 4 {
            0 => Body::Input(Input::Belt { pulses: 0, speed_mm_s: 0 }),
            1 => Body::Fact(Fact::Blank { pass, reader: ReaderId(0) }),
            2 => Body::Fact(Fact::Blank { pass, reader: ReaderId(1) }),
            _ => Body::Fact(Fact::Acknowledged { pass, command: 7, slack_ms: 900 }),
        };
        append(&handle, Numbered { seq, wall_us, entry: Entry { at: Tick(seq), body } });
    }
    // The line that goes on from here is empty.
    let (site, _) = sortd::site::load(directory).expect("the line's configuration is sound");
    let state = Core::new(std::sync::Arc::new(site)).snapshot().expect("an empty line can be stored");
    wait_durable(&handle, RECORDS);
    assert!(handle.snapshot(RECORDS, state), "the queue has room");
    journal.finish();
}
