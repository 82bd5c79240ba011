//! The case that today's gateways fail: ten seconds without a broker at 100 parcels/s, and seven seconds into them
//! the program is killed. Every parcel that was diverted has its event in the end.

use std::time::Duration;

use simulators::broker::Memory;
use sortd::line::Tick;
use sortd::watch::clock::Clock;

use crate::fast::{Flow, assert_all_told, fast_line};
use crate::one_line;

/// The rate of the case. Ten milliseconds lie between two parcels, so a busy machine hears some reads too late to
/// know whose they are; what is tied to nobody is an exception.
const FLOW: Flow = Flow { parcels_per_s: 100.0, gap_mm: 40, heard_within_ms: 4, order_lead_s: 2.0 };

/// How long the broker is away, and when in it the kill comes.
const AWAY_MS: u64 = 10_000;
const KILL_AT_MS: u64 = 7_000;

#[test]
fn an_outage_with_a_kill_in_it_costs_no_event_at_100_parcels_a_second() {
    let _alone = one_line();
    let mut line = fast_line(FLOW, 5, |_| ());
    line.until("a line in full flow", |status| {
        status.line.sums.inducted > 300 && status.line.sums.sorted > 0
    });

    let clock = Clock::default();
    let begun = clock.now();
    let before = line.rig.devices.truth();
    line.rig.broker.stop();
    wait_until(clock, begun, KILL_AT_MS);
    line.kill();
    line.start_daemon();
    wait_until(clock, begun, AWAY_MS);
    let meanwhile = line.rig.devices.truth();
    line.rig.broker.start_again(Memory::Kept).expect("the broker starts again");
    let ms = clock.now().ms_since(begun);
    let fed = meanwhile.tracks - before.tracks;
    println!(
        "{ms} ms without a broker: {fed} parcels inducted ({}/s), {} diverted",
        fed * 1_000 / ms,
        meanwhile.landings.0.len() - before.landings.0.len()
    );
    if fed * 1_000 / ms < 50 {
        line.fail("fewer than 50 parcels a second: this proves nothing");
    }
    line.no_alarm("uplink-offline");
    assert_all_told(&mut line);
    line.terminate();
}

fn wait_until(clock: Clock, begun: Tick, ms: u64) {
    while clock.now().ms_since(begun) < ms {
        std::thread::sleep(Duration::from_millis(5));
    }
}
