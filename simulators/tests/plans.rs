//! Sort plans that come and go while parcels are sorted: every record names the plan that decided it, the plan in
//! the store has that hash, no bag is two plans', and the whole comes out of the core again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use simulators::couple::virtual_time::{Table, WALL_AT_ZERO_US};
use simulators::day::{Swaps, load_site, simulate_recorded};
use simulators::day_store::DayStore;
use simulators::world::Scenario;
use sortd::journal::{Archive, Recording, read_config};
use sortd::line::event::Event;
use sortd::line::record::{Body, Fact, Input};
use sortd::replay::{Period, prove};
use sortd::site::{load_from_sources, plan_of};

const HOURS: f64 = 0.4;
const SWAPS: u32 = 200;

/// The demonstration's plan with its destinations moved on by so many rows: most chutes get another destination.
fn moved(table: &str, by: usize, directory: &Path) -> Table {
    let (head, rows): (Vec<&str>, Vec<&str>) =
        table.lines().partition(|line| line.starts_with('#') || line.starts_with("destination"));
    let mut names: Vec<&str> = Vec::new();
    for row in &rows {
        let name = row.split(',').next().expect("a destination");
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut text = head.join("\n") + "\n";
    for row in &rows {
        let (name, rest) = row.split_once(',').expect("cells");
        let at = names.iter().position(|other| *other == name).expect("it is one of them");
        text += &format!("{},{rest}\n", names[(at + by) % names.len()]);
    }
    let path = directory.join(format!("plan-{by}.csv"));
    std::fs::write(&path, &text).expect("it can be written");
    Table { plan: Arc::new(plan_of(&path).expect("it is sound")), bytes: text.into_bytes() }
}

#[test]
fn plans_swapped_under_load_leave_every_record_its_plan_and_every_bag_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/demo");
    let (site, ranking) = load_site(&config).expect("the demonstration line");
    let own = site.plan.version.clone();
    let table = std::fs::read_to_string(config.join("sort-plan.csv")).expect("its plan");
    let tables: Vec<Table> = [3, 7, 0].into_iter().map(|by| moved(&table, by, directory.path())).collect();
    assert_eq!(tables[2].plan.version, own, "moved by nothing it is the line's own");
    let sources = sortd::site::load_with_sources(&config).expect("it is good").sources;
    let path = directory.path().join("store");
    let store = DayStore::create(&path, &sources, WALL_AT_ZERO_US).expect("a new store");
    let scenario = Scenario { ranking, ..Scenario::default() };
    let swaps = Some(Swaps { tables, count: SWAPS });
    let result = simulate_recorded(site, scenario, 5, HOURS, Some(store), swaps).expect("the sums agree");
    println!("{}", result.table());
    assert!(result.is_good(), "{}", result.table());
    assert!(result.figures.sorted > 500, "{}", result.table());

    let archive = Archive::open(&path).expect("the store opens");
    let (mut in_force, mut decided_by) = (own, BTreeMap::new());
    let (mut changes, mut next, mut kept_an_older) = (0, 1, 0);
    loop {
        let records = Recording::records(archive.reader(), next, 4_096).expect("they can be read");
        let Some(last) = records.last() else { break };
        next = last.seq + 1;
        for record in records {
            match record.body {
                Body::Input(Input::Event(Event::PlanInForce(change))) => {
                    let files = read_config(&path, &change.configuration).expect("it is in the store");
                    let plan = load_from_sources(&files).expect("it is sound").site.plan;
                    assert_eq!(plan.version, change.version, "record {}", record.seq);
                    in_force = change.version;
                    changes += 1;
                }
                Body::Fact(Fact::Decided(decided)) => {
                    assert_eq!(decided.plan, in_force, "record {}", record.seq);
                    decided_by.insert(decided.pass, decided.plan);
                }
                Body::Fact(Fact::Ended { pass, plan, .. }) => {
                    let by = decided_by.remove(&pass).unwrap_or_else(|| in_force.clone());
                    assert_eq!(plan, by, "record {}", record.seq);
                    kept_an_older += u32::from(plan != in_force);
                }
                _ => {}
            }
        }
    }
    assert_eq!(changes, SWAPS);
    assert!(kept_an_older > 50, "{kept_an_older} parcels were on their way when their plan went");

    let mut found = Vec::new();
    let proof = prove(archive.reader(), Period::default(), None, &mut |finding| found.push(finding));
    let proof = proof.expect("it is fed again");
    assert_eq!(found, []);
    assert!(proof.holds() && proof.walked.warnings.is_empty(), "{proof:?}");
}
