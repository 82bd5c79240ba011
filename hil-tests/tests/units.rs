//! What stands in `systemd/` against systemd itself: the unit is understood to the last key, closed enough, and
//! its user and directories come into being. Everything happens below a root of its own; nothing is installed.
//!
//! Skipped with a line where systemd's programs are missing; fails instead with `SORTD_TEST_ALL=1`.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Highest exposure allowed, in tenths: 0.0 is closed altogether, 10.0 open. systemd calls up to 2.0 "OK".
const EXPOSURE_MOST: &str = "--threshold=20";

/// The unit's place below the root.
const UNIT: &str = "usr/lib/systemd/system/sortd.service";

/// A root directory with what the package installs, and as much of a system as the unit refers to.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Root {
        let root = Root(tempfile::tempdir().expect("a temporary directory"));
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd");
        root.put(&ours.join("sortd.service"), UNIT);
        root.put(&ours.join("sysusers.d/sortd.conf"), "usr/lib/sysusers.d/sortd.conf");
        root.put(&ours.join("tmpfiles.d/sortd.conf"), "usr/lib/tmpfiles.d/sortd.conf");
        // `root`, `dialout` and the like, which ours refer to.
        root.put(Path::new("/usr/lib/sysusers.d/basic.conf"), "usr/lib/sysusers.d/basic.conf");
        // Only that they can be executed is looked at.
        root.put(Path::new("/bin/true"), "usr/bin/sortd");
        root.put(Path::new("/bin/kill"), "bin/kill");
        let system = Path::new("/usr/lib/systemd/system");
        for entry in std::fs::read_dir(system).expect("systemd is installed").flatten() {
            let name = PathBuf::from(entry.file_name());
            if name.extension().is_some_and(|extension| extension == "target") {
                root.put(&entry.path(), Path::new("usr/lib/systemd/system").join(name));
            }
        }
        std::fs::create_dir(root.0.path().join("etc")).expect("the root is ours");
        root
    }

    /// Copies a file, with its permissions.
    fn put(&self, from: &Path, to: impl AsRef<Path>) {
        let to = self.at(to);
        std::fs::create_dir_all(to.parent().expect("below the root")).expect("the root is ours");
        std::fs::copy(from, &to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    }

    fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(path)
    }

    /// A program of systemd's, working below this root.
    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let root = format!("--root={}", self.0.path().display());
        let output = Command::new(program).arg(root).args(arguments).output();
        output.unwrap_or_else(|error| panic!("{program}: {error}"))
    }

    /// What `systemd-analyze verify` has to say: nothing about a good unit. Its exit code says too little, it is 0
    /// for a misspelt key as well.
    fn complaints(&self) -> String {
        let output = self.run("systemd-analyze", &["verify", "--man=no", "sortd.service"]);
        let mut text = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            text += &format!("({})", output.status);
        }
        text
    }
}

/// Is the program there? Says so where it is not, and fails where nothing may be skipped.
fn have(program: &str) -> bool {
    let works = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !works {
        assert!(
            std::env::var_os("SORTD_TEST_ALL").is_none(),
            "SORTD_TEST_ALL is set, but {program} is missing"
        );
        println!("skipped: {program} is missing");
    }
    works
}

fn spoken(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn systemd_understands_every_line_of_the_unit() {
    if !have("systemd-analyze") {
        return;
    }
    let root = Root::new();
    assert_eq!(root.complaints(), "");
}

#[test]
fn a_misspelt_key_or_a_missing_program_would_be_noticed() {
    if !have("systemd-analyze") {
        return;
    }
    let root = Root::new();
    let unit = std::fs::read_to_string(root.at(UNIT)).expect("it was just copied");
    let misspelt = unit.replace("WatchdogSec=", "WatchdogSecs=");
    assert_ne!(misspelt, unit);
    std::fs::write(root.at(UNIT), misspelt).expect("the root is ours");
    assert!(root.complaints().contains("WatchdogSecs"), "{}", root.complaints());

    std::fs::write(root.at(UNIT), unit).expect("the root is ours");
    std::fs::remove_file(root.at("usr/bin/sortd")).expect("it was just copied");
    assert!(root.complaints().contains("/usr/bin/sortd"), "{}", root.complaints());
}

#[test]
fn the_unit_is_closed_enough() {
    if !have("systemd-analyze") {
        return;
    }
    let root = Root::new();
    let arguments = ["security", "--offline=true", "--no-pager", EXPOSURE_MOST, "sortd.service"];
    let output = root.run("systemd-analyze", &arguments);
    assert!(output.status.success(), "{}", spoken(&output));

    // And it measures: without the hardening the same unit does not pass.
    let unit = std::fs::read_to_string(root.at(UNIT)).expect("it was just copied");
    let (open, hardening) = unit.split_once("# Hardening.").expect("the unit has such a chapter");
    assert!(hardening.contains("NoNewPrivileges"));
    std::fs::write(root.at(UNIT), open).expect("the root is ours");
    let output = root.run("systemd-analyze", &arguments);
    assert!(!output.status.success(), "{}", spoken(&output));
}

#[test]
fn the_user_and_the_directories_come_into_being() {
    if !have("systemd-sysusers") || !have("systemd-tmpfiles") {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: giving files to another user takes root");
        return;
    }
    let root = Root::new();
    let output = root.run("systemd-sysusers", &[]);
    assert!(output.status.success(), "{}", spoken(&output));
    let users = std::fs::read_to_string(root.at("etc/passwd")).expect("sysusers wrote it");
    let user = users.lines().find(|line| line.starts_with("sortd:")).expect("the user is there");
    let fields: Vec<&str> = user.split(':').collect();
    assert_eq!(fields.get(5..), Some(&["/var/lib/sortd", "/usr/sbin/nologin"][..]), "{user}");
    let uid: u32 = fields[2].parse().expect("a number");
    assert_ne!(uid, 0);
    let groups = std::fs::read_to_string(root.at("etc/group")).expect("sysusers wrote it");
    let dialout = groups.lines().find(|line| line.starts_with("dialout:")).expect("basic.conf has it");
    assert!(dialout.ends_with(":sortd"), "the scanners' ports belong to it: {dialout}");

    let output = root.run("systemd-tmpfiles", &["--create"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", spoken(&output));
    for (directory, mode, owner) in
        [("etc/sortd", 0o750, 0), ("etc/sortd/credentials", 0o700, 0), ("var/lib/sortd/evidence", 0o750, uid)]
    {
        let found = std::fs::metadata(root.at(directory)).unwrap_or_else(|e| panic!("{directory}: {e}"));
        let held = (found.is_dir(), found.permissions().mode() & 0o7777, found.uid());
        assert_eq!(held, (true, mode, owner), "{directory}");
    }
}
