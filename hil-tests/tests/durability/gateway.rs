//! The case that today's gateways fail: ten seconds without a broker at 100 parcels/s, and seven seconds into them
//! the program is killed. Every parcel that was diverted has its event in the end.
//!
//! No single line carries 100 parcels/s. This one does because its millimetre is not ours: it runs at 5,000 of
//! them a second, a parcel is ten long and the next comes fifty behind. So a read belongs to a parcel within a few
//! milliseconds, and a machine that is late by more ties it to none, or finds two codes on one parcel: an
//! exception, diverted and told like any other. What counts here is that each is told.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use simulators::broker::Memory;
use simulators::rig::{BrokerKind, RigOptions};
use simulators::world::{FaultRates, Scenario};
use sortd::line::Tick;
use sortd::watch::clock::Clock;

use crate::alone;
use crate::stand::{Line, PATIENCE};

/// Parcels a second that are fed.
const PARCELS_PER_S: f64 = 100.0;

/// How long the broker is away, and when in it the kill comes.
const AWAY_MS: u64 = 10_000;
const KILL_AT_MS: u64 = 7_000;

/// A parcel's length and what is kept free behind it.
const LENGTH_MM: u16 = 10;
const GAP_MM: u32 = 40;

/// The demonstration's line, made fast: no bag fills, nothing goes round, the gate is gone.
pub fn fast_config(directory: &Path) {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/demo");
    for entry in std::fs::read_dir(demo).expect("the demonstration's configuration") {
        let path = entry.expect("it can be listed").path();
        if path.is_file() {
            std::fs::copy(&path, directory.join(path.file_name().expect("a name"))).expect("it can be copied");
        }
    }
    edit(&directory.join("line.toml"), |text| {
        let (before, after) = text.split_once("[recirculation]").expect("the demonstration's line is a loop");
        let after = after.split_once("[decision]").expect("a table follows").1;
        format!("{before}[decision]{after}")
            .replace("speed-mm-s = 2500", "speed-mm-s = 5000")
            .replace("longest-parcel-mm = 800", "longest-parcel-mm = 50")
            .replace("least-gap-mm = 150", "least-gap-mm = 20")
            .replace("window-mm = 50", "window-mm = 10")
            .replace("window-permille = 15", "window-permille = 0")
    });
    edit(&directory.join("devices.toml"), |text| {
        let text = text.split_once("[[gate]]").expect("the demonstration has a gate").0;
        text.replace("# ring-slots = 1024", "ring-slots = 4096")
            .replace("poll-ms = 10", "poll-ms = 4")
            .replace("field-mm = [2300, 2400]", "field-mm = [2300, 2302]")
            .replace("field-mm = [2600, 2700]", "field-mm = [2600, 2602]")
            // The scanners speak at once; how late they are heard is this machine's affair.
            .replace("delay-ms = [2, 30]", "delay-ms = [0, 0]")
    });
    edit(&directory.join("chutes.csv"), |text| text.replace(",40\n", ",9000\n").replace(",200\n", ",9000\n"));
}

/// Changes a file of a configuration.
pub fn edit(path: &Path, change: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(path).expect("it can be read");
    std::fs::write(path, change(text)).expect("it can be written");
}

#[test]
fn an_outage_with_a_kill_in_it_costs_no_event_at_100_parcels_a_second() {
    let _alone = alone();
    let config = tempfile::tempdir().expect("a temporary directory");
    fast_config(config.path());
    let scenario = Scenario {
        parcels_per_hour: PARCELS_PER_S * 3_600.0,
        peak_share: 0.0,
        length_mm: (LENGTH_MM, LENGTH_MM),
        gap_margin_mm: GAP_MM - 20,
        order_lead_s: 2.0,
        tag_share: 0.0,
        scanner_read: 1.0,
        plc_scan_ms: 1,
        speed_variation_permille: 0,
        faults: FaultRates::none(),
        ..Scenario::default()
    };
    let options = RigOptions {
        config: config.path().to_owned(),
        scenario,
        seed: 5,
        broker: BrokerKind::Embedded,
        events_file: None,
    };
    let mut line = Line::start_on(options, |directory| {
        edit(&directory.join("devices.toml"), |text| text.replace("delay-ms = [0, 0]", "delay-ms = [0, 6]"));
    });
    line.until("a line in full flow", |status| status.line.sums.inducted > 300 && status.line.sums.sorted > 0);

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
    let seconds = clock.now().ms_since(begun) as f64 / 1_000.0;
    let fed = meanwhile.tracks - before.tracks;
    println!(
        "{:.1} s without a broker: {fed} parcels inducted ({:.0}/s), {} diverted",
        seconds,
        fed as f64 / seconds,
        meanwhile.landings.0.len() - before.landings.0.len()
    );
    line.no_alarm("uplink-offline");

    line.rig.devices.set_feeding(false);
    line.until_all("an empty belt", PATIENCE, |_, status| status.line.sums.in_flight == 0);
    let status = line.agreed("an empty belt");
    let (truth, cloud) = (line.rig.devices.truth(), line.rig.upstream.cloud.report().events);
    let diverted: BTreeSet<_> = truth.landings.0.iter().filter_map(|landed| landed.track).collect();
    let sums = &status.line.sums;
    let of = |kind: &str| cloud.by_kind.get(kind).copied().unwrap_or(0);
    println!(
        "PLC: {} tracks, {} of them diverted, {} mis-sorts; sortd: sorted {}, exceptions {:?}, lost {}; cloud: {} events, \
         {} repeated, sorted {}, exceptions {:?}, lost {}",
        truth.tracks,
        diverted.len(),
        truth.missorts,
        sums.sorted,
        sums.exceptions,
        sums.lost,
        cloud.distinct,
        cloud.duplicates,
        of("sorted"),
        cloud.exceptions,
        of("lost"),
    );
    let told = of("sorted") + cloud.exceptions.values().sum::<u64>();
    let faults = [
        (!cloud.is_sound(), "the cloud found faults"),
        (cloud.epochs.len() != 1, "the cloud saw another store epoch"),
        (of("inducted") != truth.tracks, "an induction has no event"),
        (cloud.open != 0, "a pass has no end"),
        (told + of("lost") != truth.tracks, "a pass has no event of its end"),
        (told < diverted.len() as u64, "a diverted parcel has no event"),
        (line.rig.devices.with_world(|world| world.plc().ring().lost()) != 0, "the PLC's ring ran over"),
        (fed < 500, "fewer than 50 parcels a second: this proves nothing"),
    ];
    for (wrong, text) in faults {
        if wrong {
            line.fail(text);
        }
    }
    line.terminate();
}

fn wait_until(clock: Clock, begun: Tick, ms: u64) {
    while clock.now().ms_since(begun) < ms {
        std::thread::sleep(Duration::from_millis(5));
    }
}
