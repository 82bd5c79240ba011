//! The claim desk asks: a parcel on a real line, its photo from a camera's spool directory, the bundle, and its proof
//! with nothing else at hand.

#[path = "line/stand.rs"]
#[allow(dead_code, reason = "the stand serves the stories of a line, too")]
mod stand;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use simulators::rig::{BrokerKind, RigOptions};
use simulators::world::Scenario;
use sortd::line::ReaderId;
use sortd::line::record::{Body, Fact, Input};
use sortd::panel::{StatusDocument, Story};
use sortd::watch::clock::Clock;

use stand::{Line, program};

const CAMERA: &str = "
[[camera]]
name = \"cam-top\"
reader = \"top\"
directory = \"photos\"
pattern = \"*_{unix-ms}.jpg\"
delay-ms = [0, 40]
window-ms = 10
poll-ms = 100
";

/// The picture itself; what counts is its digest.
const PHOTO: &[u8] = b"\xff\xd8\xff\xe0 a parcel, from above";

/// Altered bytes that are tried, spread over the whole bundle; each is a process of its own.
const ALTERED: usize = 80;

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stdout)))
}

/// The program where there is no configuration, no store and no line.
fn elsewhere(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(program())
        .current_dir(directory)
        .args(["--config", "/nonexistent"])
        .args(arguments)
        .output()
        .expect("sortd can be run")
}

/// A sorted parcel that the scanner `top` has read, and when it did.
fn sorted(line: &mut Line) -> (String, i64) {
    let client = line.client();
    let mut found = None;
    let read_at = |story: &Story| {
        story.passes.iter().flat_map(|pass| &pass.records).find_map(|record| match &record.body {
            Body::Fact(Fact::Tied { reader: ReaderId(0), .. }) => Some(record.wall_us),
            _ => None,
        })
    };
    let codes = |status: &StatusDocument| {
        let last = status.line.last.iter().filter(|ended| ended.outcome == "sorted");
        last.filter_map(|ended| Some(ended.key.as_ref()?.split_once(':')?.1.to_owned()))
            .collect::<Vec<String>>()
    };
    let status = line.until("a parcel that is sorted and was read from above", |status| {
        codes(status).iter().any(|code| client.explain(code).is_ok_and(|story| read_at(&story).is_some()))
    });
    for code in codes(&status) {
        if let Some(at) = client.explain(&code).ok().and_then(|story| read_at(&story)) {
            found = Some((code, at));
        }
    }
    found.expect("there was one")
}

#[test]
fn a_claim_is_answered_with_a_proof() {
    let options = RigOptions {
        config: "config/demo".into(),
        scenario: Scenario { order_lead_s: 2.0, ..Scenario::default() },
        seed: 5,
        broker: BrokerKind::Embedded,
        events_file: None,
    };
    let mut line = Line::start_on(options, |directory| {
        std::fs::create_dir(directory.join("photos")).expect("a spool directory");
        let devices = directory.join("devices.toml");
        let text = std::fs::read_to_string(&devices).expect("it was copied");
        std::fs::write(devices, text + CAMERA).expect("a camera more");
    });
    let (code, read_us) = sorted(&mut line);
    let directory = line.rig.directory.path().to_owned();
    // The record is stamped a poll or two after the reading.
    let name = format!("IMG_{}.jpg", read_us / 1000);
    std::fs::write(directory.join("photos").join(&name), PHOTO).expect("the camera writes");
    let client = line.client();
    line.until("the photo to be tied to its parcel", |_| {
        client.explain(&code).is_ok_and(|story| {
            story.passes.iter().flat_map(|pass| &pass.records).any(|record| {
                matches!(&record.body, Body::Input(Input::Photo { photo, shows: Ok(_) }) if photo.name == name)
            })
        })
    });
    // The end of a run is anchored; so is what came before it.
    line.terminate();
    line.start_daemon();
    line.until("the store is open", |status| status.journal["state"] == "running");

    let work = tempfile::tempdir().expect("a directory");
    let bundle = work.path().join("claim.zip");
    let out = bundle.display().to_string();
    let clock = Clock::default();
    let begun = clock.now();
    let made = line.command(&["evidence", &code, "--out", &out, "--json"]);
    println!("evidence of {code} in {} ms", clock.now().ms_since(begun));
    assert_eq!(made.status.code(), Some(0), "{}", String::from_utf8_lossy(&made.stderr));
    let made = json(&made);
    assert_eq!((&made["photos"], &made["records"]), (&Value::from(1), &made["anchored"]), "{made}");
    let unknown =
        line.command(&["evidence", "NOBODY", "--out", &work.path().join("no.zip").display().to_string()]);
    assert_eq!(unknown.status.code(), Some(1), "{}", String::from_utf8_lossy(&unknown.stderr));
    assert!(!work.path().join("no.zip").exists());

    // On another machine, with the key and nothing else.
    let key = work.path().join("line.pub");
    std::fs::copy(directory.join("store/signing-key.pub"), &key).expect("the public half");
    let verified =
        elsewhere(work.path(), &["verify", "--bundle", "claim.zip", "--key", "line.pub", "--json"]);
    let verdict = json(&verified);
    assert_eq!(verified.status.code(), Some(0), "{verdict}");
    assert_eq!(
        (verdict["verdict"].as_str(), verdict["code"].as_str()),
        (Some("proven"), Some(code.as_str()))
    );
    others_can_read(&bundle, work.path());

    let packed = std::fs::read(&bundle).expect("it was written");
    for at in (0..packed.len()).step_by(packed.len() / ALTERED) {
        let mut altered = packed.clone();
        altered[at] ^= 1;
        std::fs::write(work.path().join("altered.zip"), altered).expect("it can be written");
        let verified = elsewhere(work.path(), &["verify", "--bundle", "altered.zip", "--json"]);
        assert_eq!(verified.status.code(), Some(1), "byte {at}");
        assert!(json(&verified)["findings"][0]["file"].is_string(), "byte {at}");
    }

    // A copy of the store gives the same.
    line.terminate();
    let copied =
        Command::new("cp").arg("-r").arg(directory.join("store")).arg(work.path().join("copy")).status();
    assert!(copied.is_ok_and(|status| status.success()));
    let store = work.path().join("copy").display().to_string();
    let again = work.path().join("again.zip");
    let made = line.command(&["evidence", &code, "--store", &store, "--out", &again.display().to_string()]);
    assert_eq!(made.status.code(), Some(0), "{}", String::from_utf8_lossy(&made.stderr));
    let verified = elsewhere(work.path(), &["verify", "--bundle", "again.zip", "--key", "line.pub"]);
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stdout));
    if std::env::var_os("SORTD_TEST_KEEP").is_some() {
        println!("kept in {}", work.keep().display());
    }
}

/// What the bundle promises to those without `sortd`: any unzip, any sha256sum.
fn others_can_read(bundle: &Path, directory: &Path) {
    let unzipped = directory.join("unzipped");
    std::fs::create_dir(&unzipped).expect("a directory");
    let unzip = Command::new("unzip").arg("-q").arg(bundle).arg("-d").arg(&unzipped).output();
    let Ok(unzip) = unzip else {
        assert!(
            std::env::var_os("SORTD_TEST_ALL").is_none(),
            "SORTD_TEST_ALL is set, but unzip is not installed"
        );
        println!("skipped: unzip is not installed (Debian: apt-get install unzip)");
        return;
    };
    assert!(unzip.status.success(), "{}", String::from_utf8_lossy(&unzip.stderr));
    let mut sums = Command::new("sha256sum");
    sums.args(["--check", "--strict", "--quiet", "MANIFEST"]).current_dir(&unzipped);
    let sums = sums.output().expect("coreutils are there");
    assert!(sums.status.success(), "{}", String::from_utf8_lossy(&sums.stdout));
    assert_eq!(std::fs::read(unzipped.join("photos/001.jpg")).expect("the photo"), PHOTO);
}
