//! The commands as processes: what they print and how they exit, as promised to those who call them in scripts.

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

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").join(name)
}

fn sortd(config: &Path, arguments: &[&str]) -> Output {
    Command::new(program()).arg("--config").arg(config).args(arguments).output().expect("sortd can be run")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("what is printed is text")
}

/// A copy of the shipped line to break.
fn copy(name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a directory");
    for entry in std::fs::read_dir(shipped(name)).expect("it is shipped") {
        let path = entry.expect("it can be read").path();
        std::fs::copy(&path, copy.path().join(path.file_name().expect("a file"))).expect("a copy");
    }
    copy
}

/// Eight mistakes people make: file, what stands there, what they typed, and a word the error must hold.
const MISTAKES: [(&str, &str, &str, &str); 8] = [
    ("sortd.toml", "keep-days = 7", "keep-dayz = 7", "keep-days"),
    ("sortd.toml", "time-zone = \"Asia/Shanghai\"", "time-zone = \"Asia/Dongguan\"", "Asia/Dongguan"),
    ("line.toml", "speed-mm-s = 2500", "speed-mm-s = \"fast\"", "speed-mm-s"),
    ("line.toml", "chute = 25", "chute = 99", "99"),
    ("devices.toml", "address = \"127.0.0.1:1502\"", "address = \"127.0.0.1\"", "127.0.0.1"),
    ("devices.toml", "framing = \"cr-lf\"", "framing = \"crlf\"", "cr-lf"),
    ("carriers.toml", "regex = 'KEX[0-9]{11}'", "regex = 'KEX[0-9{11}'", "KEX[0-9{11}"),
    ("sort-plan.csv", "TH-KERRY-COD,4,4", "TH-KERRY-COD,404,4", "404"),
];

#[test]
fn eight_mistakes_are_eight_errors_each_with_its_place_and_a_remedy() {
    let config = copy("demo");
    assert_eq!(
        sortd(config.path(), &["check"]).status.code(),
        Some(0),
        "the copy is good before it is broken"
    );
    let mut places = Vec::new();
    for (file, from, to, _) in MISTAKES {
        let path = config.path().join(file);
        let before = std::fs::read_to_string(&path).expect("it was copied");
        let at = before.find(from).unwrap_or_else(|| panic!("{file} has no {from:?}"));
        places.push(before[..at].matches('\n').count() + 1);
        std::fs::write(&path, before.replacen(from, to, 1)).expect("it can be written");
    }
    let checked = sortd(config.path(), &["check"]);
    let printed = text(&checked.stdout);
    println!("{printed}");
    assert_eq!(checked.status.code(), Some(1), "{printed}");
    let lines: Vec<&str> = printed.lines().collect();
    let errors: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].contains(": error: ")).collect();
    assert_eq!(errors.len(), MISTAKES.len(), "{printed}");
    assert!(printed.contains("8 errors"), "{printed}");
    for ((file, _, _, word), place) in MISTAKES.into_iter().zip(places) {
        let path = config.path().join(file);
        let begin = format!("{}:{place}:", path.display());
        let at = errors.iter().find(|at| lines[**at].starts_with(&begin));
        let at = *at.unwrap_or_else(|| panic!("no error begins with {begin}\n{printed}"));
        let column = lines[at][begin.len()..].split(':').next().and_then(|column| column.parse::<u32>().ok());
        assert!(column.is_some_and(|column| column > 0), "a column in {}", lines[at]);
        let said = lines[at..].iter().take(3).copied().collect::<Vec<&str>>().join("\n");
        assert!(said.contains(word), "{word} in\n{said}");
        let advised = |name: &str| {
            let line = lines[at + 1..].iter().take(2).find_map(|line| line.trim_start().strip_prefix(name));
            line.is_some_and(|rest| !rest.trim().is_empty())
        };
        assert!(advised("expected:") && advised("remedy:"), "{said}");
    }

    let json = sortd(config.path(), &["check", "--json"]);
    assert_eq!(json.status.code(), Some(1));
    let findings: Vec<Value> = serde_json::from_slice(&json.stdout).expect("a list of findings");
    assert_eq!(findings.iter().filter(|finding| finding["severity"] == "error").count(), MISTAKES.len());
    let refused = sortd(config.path(), &["run"]);
    assert_eq!(refused.status.code(), Some(1), "the daemon refuses the same: {}", text(&refused.stderr));
}

#[test]
fn codes_are_identified_one_line_a_code_with_the_promised_keys() {
    const KEYS: [&str; 9] =
        ["input", "kind", "valid", "identity", "carrier", "check", "country", "uri", "reason"];
    let config = shipped("demo");
    let lines = |output: &Output| -> Vec<Value> {
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let good = ["3074257bf7194e4000001a85", "]C100106141412345678908", "RB123456785GB", "KEX12345678901"];
    let identified = sortd(&config, &[&["identify", "--json"], &good[..]].concat());
    assert_eq!(identified.status.code(), Some(0), "{}", text(&identified.stdout));
    let found = lines(&identified);
    let kinds: Vec<&str> = found.iter().filter_map(|line| line["kind"].as_str()).collect();
    assert_eq!(kinds, ["epc", "gs1", "s10", "carrier"]);
    for (line, input) in found.iter().zip(good) {
        let mut keys: Vec<&str> = line.as_object().expect("an object").keys().map(String::as_str).collect();
        keys.sort_unstable();
        let mut promised = KEYS;
        promised.sort_unstable();
        assert_eq!(keys, promised);
        assert_eq!((&line["input"], &line["valid"]), (&Value::from(input), &Value::from(true)));
        assert!(line["identity"].is_string(), "{line}");
    }
    assert_eq!((found[2]["country"].as_str(), found[2]["check"].as_bool()), (Some("GB"), Some(true)));
    assert_eq!(found[3]["carrier"], "KERRY");

    let mixed = sortd(&config, &["identify", "--json", "RB123456785GB", "RB123456786GB", "hello"]);
    assert_eq!(mixed.status.code(), Some(1), "one invalid code is a finding");
    let found = lines(&mixed);
    let valid: Vec<Option<bool>> = found.iter().map(|line| line["valid"].as_bool()).collect();
    assert_eq!(valid, [Some(true), Some(false), Some(false)]);
    assert!(found[1..].iter().all(|line| line["reason"].is_string()), "{found:?}");
    assert_eq!(found[2]["kind"], "unknown");
    assert_eq!(sortd(&config, &["identify", "--jsno", "x"]).status.code(), Some(2), "wrong usage");
}

#[test]
fn without_a_daemon_the_commands_that_ask_it_say_what_to_do() {
    let config = copy("demo");
    for arguments in [&["status"][..], &["explain", "KEX12345678901"], &["line", "start", "--by", "anna"]] {
        let asked = sortd(config.path(), arguments);
        let said = text(&asked.stderr);
        assert_eq!(asked.status.code(), Some(3), "{arguments:?}: {said}");
        assert!(said.contains("sortd is not running") && said.contains("start it:"), "{arguments:?}: {said}");
        assert!(asked.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_simulated_hour_gives_the_same_bytes_twice() {
    let directory = tempfile::tempdir().expect("a directory");
    let run = |name: &str| {
        let options = DayOptions {
            scenario: None,
            seed: 7,
            hours: 1.0,
            json: Some(directory.path().join(name)),
            config: "config/demo".into(),
            store: None,
            plans: Vec::new(),
            swaps: None,
            wall: false,
        };
        let result = day::run(&options, || Duration::ZERO).expect("the hour is run");
        assert!(result.is_good(), "{}", result.table());
        let json = std::fs::read(directory.path().join(name)).expect("it was written");
        (result, json)
    };
    let ((first, first_json), (second, second_json)) = (run("a.json"), run("b.json"));
    println!("{}", first.table());
    assert!(first.figures.inducted > 8_000, "an hour at 9,000 parcels an hour: {}", first.figures.inducted);
    assert!(!first_json.is_empty() && first_json == second_json);
    assert_eq!(first.table(), second.table());
}
