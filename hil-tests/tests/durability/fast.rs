//! A line fast enough to be hard on the records, and the books at its end.
//!
//! No single line carries 100 parcels/s. This one does because its millimetre is not ours: it runs at 5,000 of
//! them a second, a parcel is ten long and the next may come fifty behind. So a read belongs to a parcel within a
//! few milliseconds, and a machine that is late by more ties it to none: an exception, diverted and told like any
//! other. What counts here is that each is told, and that none lies in a wrong chute.

use std::collections::BTreeSet;
use std::path::Path;

use simulators::rig::{BrokerKind, RigOptions};
use simulators::world::{FaultRates, Scenario};

use crate::stand::{Line, PATIENCE};

/// A parcel's length.
const LENGTH_MM: u16 = 10;
/// Of the gap behind it, what the site demands.
const LEAST_GAP_MM: u32 = 20;

/// How fast.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    /// Parcels a second that come.
    pub parcels_per_s: f64,
    /// What induction keeps free behind each, in millimetres of this line.
    pub gap_mm: u32,
    /// How late a scanner may speak; the gap is longer than the belt's way in it.
    pub heard_within_ms: u32,
    /// How long before its parcel an order is pushed.
    pub order_lead_s: f64,
}

/// The line, running. `prepare` is called on its directory before the daemon starts there.
pub fn fast_line(flow: Flow, seed: u64, prepare: impl FnOnce(&Path)) -> Line {
    fast_line_of(flow, seed, |_| (), prepare)
}

/// The same; `shape` is called on the configuration before hardware is made of it.
pub fn fast_line_of(flow: Flow, seed: u64, shape: impl FnOnce(&Path), prepare: impl FnOnce(&Path)) -> Line {
    let config = tempfile::tempdir().expect("a temporary directory");
    fast_config(config.path(), flow.heard_within_ms);
    shape(config.path());
    let scenario = Scenario {
        parcels_per_hour: flow.parcels_per_s * 3_600.0,
        peak_share: 0.0,
        length_mm: (LENGTH_MM, LENGTH_MM),
        gap_margin_mm: flow.gap_mm - LEAST_GAP_MM,
        order_lead_s: flow.order_lead_s,
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
        seed,
        broker: BrokerKind::Embedded,
        events_file: None,
    };
    Line::start_on(options, |directory| {
        prepare(directory);
    })
}

/// The demonstration's line, made fast: no bag fills, nothing goes round, the gate is gone.
fn fast_config(directory: &Path, heard_within_ms: u32) {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/demo");
    for entry in std::fs::read_dir(demo).expect("the demonstration's configuration") {
        let path = entry.expect("it can be listed").path();
        if path.is_file() {
            std::fs::copy(&path, directory.join(path.file_name().expect("a name")))
                .expect("it can be copied");
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
            .replace("delay-ms = [2, 30]", &format!("delay-ms = [0, {heard_within_ms}]"))
    });
    edit(&directory.join("chutes.csv"), |text| text.replace(",40\n", ",9000\n").replace(",200\n", ",9000\n"));
}

/// Changes a file of a configuration.
pub fn edit(path: &Path, change: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(path).expect("it can be read");
    std::fs::write(path, change(text)).expect("it can be written");
}

/// Puts the store of a configuration on another disk, with these limits of free space.
pub fn store_in(config: &Path, disk: &Path, keep_free_mib: u32, reserve_mib: u32) {
    edit(&config.join("sortd.toml"), |text| {
        let mut table: String = text;
        let store = disk.join("store");
        for (key, value) in [
            ("directory", format!("{:?}", store.display().to_string())),
            ("keep-free-mib", keep_free_mib.to_string()),
            ("reserve-mib", reserve_mib.to_string()),
        ] {
            let of_key = |line: &str| line.split('=').next().is_some_and(|name| name.trim() == key);
            let lines = table
                .lines()
                .map(|line| if of_key(line) { format!("{key} = {value}") } else { line.to_owned() });
            table = lines.collect::<Vec<String>>().join("\n") + "\n";
        }
        assert!(table.contains(&store.display().to_string()), "the configuration names its store");
        table
    });
}

/// Runs the line empty and holds the books of PLC, `sortd` and cloud against each other, pass by pass: none is
/// forgotten, none is diverted without an event. Gives the passes.
pub fn assert_all_told(line: &mut Line) -> u64 {
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
        (truth.missorts != 0, "a parcel lies in a wrong chute"),
        (line.rig.devices.with_world(|world| world.plc().ring().lost()) != 0, "the PLC's ring ran over"),
    ];
    for (wrong, text) in faults {
        if wrong {
            line.fail(text);
        }
    }
    truth.tracks
}
