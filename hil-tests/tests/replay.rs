//! `sortd replay` and `sortd plan` as processes, over the store of a simulated shift: what they print and how they
//! exit. That a line which is killed, cut off and restarted comes out again is shown in `line`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use simulators::day::{self, DayOptions};

fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| simulators::process::build().expect("the workspace builds"))
}

fn sortd(arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).output().expect("sortd can be run")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("what is printed is text")
}

fn json(output: &Output) -> Value {
    let printed = text(&output.stdout);
    serde_json::from_str(&printed)
        .unwrap_or_else(|error| panic!("{error}: {printed}{}", text(&output.stderr)))
}

fn count(document: &Value, key: &str) -> u64 {
    document.get(key).and_then(Value::as_u64).unwrap_or_else(|| panic!("{key} in {document}"))
}

fn shift(store: &Path) {
    let options = DayOptions {
        scenario: None,
        seed: 5,
        hours: 0.25,
        json: None,
        config: "config/demo".into(),
        store: Some(store.to_owned()),
        plans: Vec::new(),
        swaps: None,
        wall: false,
    };
    let result = day::run(&options, || Duration::ZERO).expect("the shift is run");
    assert!(result.is_good(), "{}", result.table());
    let again = day::run(&options, || Duration::ZERO);
    assert!(matches!(again, Err(day::DayError::Store(_))), "a store is never written over");
}

/// The shipped plan without its first destination, in a file of its own.
fn shorter_plan(directory: &Path) -> PathBuf {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/demo/sort-plan.csv");
    let plan = std::fs::read_to_string(shipped).expect("it is shipped");
    let path = directory.join("new-plan.csv");
    let kept: Vec<&str> = plan.lines().filter(|line| !line.starts_with("TH-KERRY-COD,")).collect();
    assert!(kept.len() < plan.lines().count());
    std::fs::write(&path, kept.join("\n") + "\n").expect("it can be written");
    path
}

#[test]
fn a_shift_is_replayed_and_tried_under_another_plan() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = directory.path().join("store");
    shift(&store);
    let store = store.display().to_string();

    let replayed = sortd(&["replay", "--store", &store, "--json"]);
    let proof = json(&replayed);
    assert_eq!(replayed.status.code(), Some(0), "{proof}");
    assert_eq!((count(&proof, "differences"), count(&proof, "state_differences")), (0, 0));
    assert_eq!(count(&proof, "left_out"), 0);
    assert!(count(&proof, "facts") > 10_000, "{proof}");
    assert!(count(&proof, "snapshots") >= 2, "{proof}");

    // The site is in Shanghai; the run begins at midnight UTC.
    let part =
        sortd(&["replay", "--store", &store, "--from", "2026-01-01T08:12", "--to", "2026-01-01T08:13"]);
    assert_eq!(part.status.code(), Some(0), "{}", text(&part.stderr));
    assert!(text(&part.stdout).contains("0 differences in facts"), "{}", text(&part.stdout));
    let nothing = sortd(&["replay", "--store", &store, "--from", "2026-01-02"]);
    assert_eq!(nothing.status.code(), Some(3));
    assert!(text(&nothing.stderr).contains("no records in the wanted time"), "{}", text(&nothing.stderr));

    let plan = shorter_plan(directory.path());
    let new = plan.display().to_string();
    let tried = json(&sortd(&["plan", "try", &new, "--store", &store, "--json"]));
    let of = |side: &str, key: &str| {
        let kpis = &tried[side];
        kpis.get(key).or_else(|| kpis["exceptions"].get(key)).and_then(Value::as_u64).unwrap_or(0)
    };
    assert_eq!(of("recorded", "no_route"), 0, "{tried}");
    assert!(of("tried", "no_route") > 200, "{tried}");
    assert_eq!(of("recorded", "passes"), of("tried", "passes"));
    let parcels = tried["parcels"].as_array().expect("a list");
    assert_eq!(parcels.len() as u64, count(&tried, "changed"));
    let busiest =
        parcels.iter().find(|parcel| parcel["destination"] == "TH-KERRY-COD").expect("a parcel of it");
    assert_eq!(busiest["tried"]["reason"], "no_route", "{busiest}");
    let table = text(&sortd(&["plan", "try", &new, "--store", &store]).stdout);
    assert!(table.contains("exception no_route") && table.contains("first pass"), "{table}");

    // Without its configurations the store needs one, and another one leads elsewhere.
    std::fs::remove_dir_all(Path::new(&store).join("configs")).expect("they were there");
    let bare = sortd(&["--config", "/nowhere", "replay", "--store", &store]);
    assert_eq!(bare.status.code(), Some(3));
    assert!(text(&bare.stderr).contains("--config"), "{}", text(&bare.stderr));
    let other = directory.path().join("other");
    std::fs::create_dir(&other).expect("a directory");
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/demo"))
        .expect("it is shipped")
    {
        let path = entry.expect("it can be read").path();
        std::fs::copy(&path, other.join(path.file_name().expect("a file"))).expect("a copy");
    }
    std::fs::copy(&plan, other.join("sort-plan.csv")).expect("a copy");
    let elsewhere = sortd(&["--config", &other.display().to_string(), "replay", "--store", &store]);
    assert_eq!(elsewhere.status.code(), Some(1), "{}", text(&elsewhere.stderr));
    assert!(text(&elsewhere.stderr).contains("DOES NOT HAVE"), "{}", text(&elsewhere.stderr));
    let printed = text(&elsewhere.stdout);
    assert!(printed.contains("  recorded   ") && printed.contains("  concluded  "), "{printed}");
}

#[test]
fn plans_are_compared_and_bad_ones_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let plan = shorter_plan(directory.path());
    let (new, demo) = (plan.display().to_string(), format!("{}/../config/demo", env!("CARGO_MANIFEST_DIR")));
    let output = sortd(&["plan", "diff", &demo, &new, "--json"]);
    let difference = json(&output);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(difference["removed"]["TH-KERRY-COD"], serde_json::json!([1, 2, 3, 4]), "{difference}");
    let printed = text(&sortd(&["plan", "diff", &demo, &demo]).stdout);
    assert!(printed.contains("0 routes removed, 0 added, 0 changed"), "{printed}");

    std::fs::write(&plan, "destination,chute,priority\nTH-KERRY-COD,four,1\n").expect("it can be written");
    let refused = sortd(&["plan", "diff", &demo, &new]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains(&format!("{new}:2:14: error: ")), "{said}");
    assert_eq!(sortd(&["replay", "--from", "yesterday"]).status.code(), Some(2));
    let nowhere = sortd(&["replay", "--store", &directory.path().display().to_string()]);
    assert_eq!(nowhere.status.code(), Some(3));
}
