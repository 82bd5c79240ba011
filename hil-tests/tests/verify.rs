//! `sortd verify` as a process: a running daemon through its socket, and copies of its store, whole and altered.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use simulators::process::{Daemon, build};
use sortd::line::event::Asked;

/// Longest wait for anything; reached only where something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reports that make records.
const REPORTS: u64 = 40;

/// The demonstration's configuration, with nothing at the other end of any of its addresses.
fn lonely_line() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/demo");
    for entry in std::fs::read_dir(shipped).expect("it is shipped") {
        let path = entry.expect("it can be read").path();
        let mut text = std::fs::read_to_string(&path).expect("it is text");
        for port in ["1502", "1503", "1504", "1883"] {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|door| door.local_addr()).expect("a port");
            text = text.replace(&format!("127.0.0.1:{port}"), &free.to_string());
        }
        let target = directory.path().join(path.file_name().expect("a file"));
        std::fs::write(target, text).expect("a copy");
    }
    directory
}

struct Answer {
    code: Option<i32>,
    report: Value,
    said: String,
}

fn verify(program: &Path, config: &Path, arguments: &[&str]) -> Answer {
    let mut command = Command::new(program);
    command.arg("--config").arg(config).arg("verify").args(arguments);
    let output = command.output().expect("sortd can be run");
    let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    Answer { code: output.status.code(), report, said }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("it can be read") {
        let path = entry.expect("it can be read").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("a copy");
        }
    }
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("it can be read") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn a_running_line_and_copies_of_its_store_are_examined() {
    let program = build().expect("the workspace builds");
    let config = lonely_line();
    let (socket, log) = (config.path().join("sortd.sock"), config.path().join("sortd.log"));
    let mut daemon = Daemon::start(&program, config.path(), &socket, &log).expect("sortd starts");
    let durable = |document: &sortd::panel::StatusDocument| document.journal["durable"].as_u64().unwrap_or(0);
    daemon.wait_for(PATIENCE, |document| durable(document) > 0).expect("it runs").expect("the store is open");
    for number in 0..REPORTS {
        daemon.ask(Asked::ParcelFound(format!("KEX{number:011}"))).expect("it is taken");
    }
    let wanted = |document: &sortd::panel::StatusDocument| {
        durable(document) >= REPORTS && document.journal["anchor"]["number"].as_u64().is_some()
    };
    daemon.wait_for(PATIENCE, wanted).expect("it runs").expect("records are durable, an anchor is made");

    // Alive, through the socket, with the key it says it has.
    let store = config.path().join("store");
    let key = store.join("signing-key.pub");
    let key = key.to_str().expect("a name of plain letters");
    let live = verify(&program, config.path(), &["--key", key, "--json"]);
    assert_eq!((live.code, &live.report["verdict"]), (Some(0), &"intact".into()), "{}", live.said);
    assert!(live.report["records"].as_u64() >= Some(REPORTS), "{}", live.said);
    assert!(live.report["proven_to"].is_u64(), "{}", live.said);
    let said = verify(&program, config.path(), &[]).said;
    assert!(said.starts_with("INTACT\n"), "{said}");
    let refused = verify(&program, config.path(), &["--store", store.to_str().expect("a name")]);
    assert_eq!(refused.code, Some(3), "{}", refused.said);
    assert!(refused.said.contains("through its socket"), "{}", refused.said);

    // Closed in order: the last record is signed.
    assert!(daemon.terminate().expect("it ends").success());
    let whole = tempfile::tempdir().expect("a directory");
    copy(&store, whole.path());
    let path = |directory: &Path| directory.to_str().expect("a name of plain letters").to_owned();
    let closed = verify(&program, config.path(), &["--store", &path(whole.path()), "--key", key, "--json"]);
    assert_eq!((closed.code, &closed.report["verdict"]), (Some(0), &"intact".into()), "{}", closed.said);
    assert_eq!(closed.report["proven_to"], closed.report["last_seq"], "{}", closed.said);

    // Another line's key, no key at all, no store at all.
    let other = config.path().join("other.pub");
    std::fs::write(&other, [7; 32]).expect("it can be written");
    let foreign = verify(&program, config.path(), &["--store", &path(whole.path()), "--key", &path(&other)]);
    assert_eq!(foreign.code, Some(1), "{}", foreign.said);
    std::fs::write(&other, "no key").expect("it can be written");
    let keyless = verify(&program, config.path(), &["--store", &path(whole.path()), "--key", &path(&other)]);
    assert_eq!(keyless.code, Some(3), "{}", keyless.said);
    assert_eq!(verify(&program, config.path(), &["--store", "/nowhere"]).code, Some(3));

    altered_files(&program, config.path(), whole.path());
    cut_file(&program, config.path(), whole.path());
    read_only(&program, config.path(), whole.path());
}

/// A day whose file ends in the middle: an answer, and no word of a crash.
fn cut_file(program: &Path, config: &Path, whole: &Path) {
    let cut = tempfile::tempdir().expect("a directory");
    copy(whole, cut.path());
    let mut found = Vec::new();
    files(&cut.path().join("days"), &mut found);
    let db = found.iter().find(|path| path.ends_with("db")).expect("the day's file");
    let length = std::fs::metadata(db).expect("it is there").len();
    for part in [0, 1, 2] {
        let file = std::fs::File::options().write(true).open(db).expect("it can be written");
        file.set_len(length * (2 - part) / 4).expect("it can be cut");
        let store = cut.path().to_str().expect("a name of plain letters");
        for arguments in [&["verify"][..], &["evidence", "KEX00000000001", "--out", "claim.zip"], &["replay"]]
        {
            let mut command = Command::new(program);
            command
                .current_dir(cut.path())
                .arg("--config")
                .arg(config)
                .args(arguments)
                .args(["--store", store]);
            let output = command.output().expect("sortd can be run");
            let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
            assert!(!said.contains("panicked"), "{arguments:?}: {said}");
            if arguments[0] == "verify" {
                assert_eq!(output.status.code(), Some(1), "{said}");
                assert!(said.starts_with("ALTERED AT") || said.starts_with("TRUNCATED BEHIND"), "{said}");
            }
        }
    }
}

/// On a medium that cannot be written to, and with no room for a private copy.
fn read_only(program: &Path, config: &Path, whole: &Path) {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path().to_str().expect("a name of plain letters");
    let mount = |arguments: &[&str]| {
        let done = Command::new("mount").args(arguments).arg(at).status();
        done.is_ok_and(|status| status.success())
    };
    if !rustix::process::geteuid().is_root() || !mount(&["-t", "tmpfs", "-o", "size=256m", "tmpfs"]) {
        assert!(
            std::env::var_os("SORTD_TEST_ALL").is_none(),
            "SORTD_TEST_ALL is set, but nothing can be mounted"
        );
        println!("skipped: a read-only copy: not root, or nothing can be mounted here");
        return;
    }
    let store = directory.path().join("store");
    copy(whole, &store);
    std::fs::create_dir(directory.path().join("tmp")).expect("a directory");
    let remounted = mount(&["-o", "remount,ro"]);
    let store = store.to_str().expect("a name of plain letters").to_owned();
    let run = |temporary: Option<&Path>, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.envs(temporary.map(|path| ("TMPDIR", path)));
        command.arg("--config").arg(config).args(arguments).args(["--store", &store]);
        let output = command.output().expect("sortd can be run");
        let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
        (output.status.code(), said)
    };
    let claim = config.join("claim.zip");
    let claim = claim.to_str().expect("a name of plain letters");
    let verified = run(None, &["verify"]);
    let found = run(None, &["evidence", "KEX00000000001", "--out", claim]);
    let replayed = run(None, &["replay"]);
    let roomless = run(Some(&directory.path().join("tmp")), &["verify"]);
    let unmounted = Command::new("umount").arg(at).status().is_ok_and(|status| status.success());
    assert!(remounted && unmounted);
    assert!(verified.0 == Some(0) && verified.1.starts_with("INTACT\n"), "{}", verified.1);
    assert_eq!(found.0, Some(0), "{}", found.1);
    assert_eq!(replayed.0, Some(0), "{}", replayed.1);
    assert_eq!(roomless.0, Some(3), "{}", roomless.1);
    assert!(roomless.1.contains("set TMPDIR"), "{}", roomless.1);
}

/// One altered byte in any file of a store: a finding, or without effect; never an examination that cannot be done.
fn altered_files(program: &Path, config: &Path, whole: &Path) {
    /// Places looked at in each file.
    const PLACES: usize = 2;
    let mut found = Vec::new();
    for part in ["days", "anchors"] {
        files(&whole.join(part), &mut found);
    }
    found.push(whole.join("checkpoint"));
    let mut noticed = 0;
    for file in &found {
        let length = std::fs::metadata(file).expect("it is there").len();
        let name = file.strip_prefix(whole).expect("it is in there");
        for place in 1..=PLACES as u64 {
            let altered = tempfile::tempdir().expect("a directory");
            copy(whole, altered.path());
            let target = altered.path().join(name);
            let mut bytes = std::fs::read(&target).expect("it was copied");
            let Some(byte) = bytes.get_mut(usize::try_from(length * place / 3).expect("a small file")) else {
                continue;
            };
            *byte ^= 0x20;
            std::fs::write(&target, bytes).expect("it can be written");
            let store = altered.path().to_str().expect("a name of plain letters");
            let answer = verify(program, config, &["--store", store, "--json"]);
            println!(
                "{} at {place}/3: {:?} {} {}",
                name.display(),
                answer.code,
                answer.report["verdict"],
                answer.report["findings"]
            );
            assert!(matches!(answer.code, Some(0 | 1)), "{}: {}", name.display(), answer.said);
            noticed += u32::from(answer.code == Some(1));
        }
    }
    assert!(noticed > 0, "not one of {} files mattered", found.len());
}
