//! Disks that can be cut off: ext4 on a loop device over an image file.
//!
//! The cut is ext4's own (`EXT4_IOC_SHUTDOWN` without a flush of its journal): from that moment nothing leaves the
//! file system, whatever anybody calls, and every call fails. So the image behind it is what had reached the disk
//! at one point in time, even in the middle of a sync, and can be copied at leisure while the writer still runs
//! against a dead disk. A copy of an image that goes on changing would show states that no disk ever had.
//!
//! ```text
//!  obedient disk              disk with a cache of its own
//!
//!  store                      store
//!  ext4 ◄── cut here          ext4
//!  loop                       loop    (its flush is a sync of the file below)
//!  image                      image in ext4 ◄── cut here: what was not flushed is lost
//!                             loop
//!                             image
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// `_IOR('X', 125, u32)`: xfs's "go down", which ext4 took over.
const SHUTDOWN: &str = "0x8004587d";
/// Without bringing the file system's journal to the disk first.
const NO_LOG_FLUSH: u32 = 2;

/// A store of some rounds, and ext4's own tables.
const INNER_MIB: u64 = 96;
/// The inner image and the outer file system's tables.
const OUTER_MIB: u64 = 144;

/// What stands below the store's file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What was written to the device is kept.
    Obedient,
    /// Only what was flushed is kept.
    Caching,
}

/// Why a machine has no disk that can be cut off.
enum Lacking {
    /// Somebody can change that: root, or a program.
    Amendable(String),
    /// Nobody can from here: a container has no loop devices, whoever asks.
    Given(String),
}

fn lacking() -> Option<Lacking> {
    if !rustix::process::geteuid().is_root() {
        return Some(Lacking::Amendable("not root: loop devices and mounts need it".to_owned()));
    }
    for program in ["losetup", "mkfs.ext4", "mount", "umount", "fsfreeze", "perl"] {
        if run("sh", &["-c", &format!("command -v {program}")]).is_err() {
            return Some(Lacking::Amendable(format!("{program} is not installed")));
        }
    }
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let image = make_image(&directory.path().join("probe"), 16);
    let mounted = image.and_then(|image| Mount::new(&image, &directory.path().join("mounted")).map(drop));
    mounted.err().map(|why| Lacking::Given(format!("no loop device can be mounted here: {why}")))
}

/// Whether the test must be left out, said in a line. With `SORTD_TEST_ALL=1` only for what no installation mends.
pub fn skipped(test: &str) -> bool {
    match lacking() {
        None => false,
        Some(Lacking::Amendable(why)) => {
            assert!(std::env::var_os("SORTD_TEST_ALL").is_none(), "SORTD_TEST_ALL is set, but {why}");
            println!("skipped: {test}: {why}");
            true
        }
        Some(Lacking::Given(why)) => {
            println!("skipped: {test}: {why}");
            true
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).env("PATH", path).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary directories have plain names")
}

/// Nothing is written to this file system from now on; whoever tries waits.
pub fn freeze(at: &Path) {
    run("fsfreeze", &["--freeze", text(at)]).unwrap_or_else(|why| panic!("{why}"));
}

/// And on it goes.
pub fn thaw(at: &Path) {
    run("fsfreeze", &["--unfreeze", text(at)]).unwrap_or_else(|why| panic!("{why}"));
}

/// A file of a size with an empty ext4 in it.
pub fn make_image(path: &Path, mib: u64) -> Result<PathBuf, String> {
    let file = std::fs::File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
    file.set_len(mib << 20).map_err(|error| format!("{}: {error}", path.display()))?;
    // Tables written at once: a lazy initialisation would go on beside the test.
    let lazy = "lazy_itable_init=0,lazy_journal_init=0";
    run("mkfs.ext4", &["-q", "-F", "-J", "size=4", "-E", lazy, text(path)])?;
    Ok(path.to_owned())
}

/// A mounted image; unmounted and its device given back when dropped.
#[derive(Debug)]
pub struct Mount {
    /// Where it is mounted.
    pub at: PathBuf,
    device: String,
}

impl Mount {
    /// Mounts an image.
    pub fn new(image: &Path, at: &Path) -> Result<Mount, String> {
        std::fs::create_dir_all(at).map_err(|error| format!("{}: {error}", at.display()))?;
        let device = run("losetup", &["--find", "--show", text(image)])?;
        if let Err(why) = run("mount", &["-t", "ext4", &device, text(at)]) {
            let _ = run("losetup", &["--detach", &device]);
            return Err(why);
        }
        Ok(Mount { at: at.to_owned(), device })
    }

    /// From now on nothing reaches the disk.
    fn cut(&self) {
        let program =
            "open my $f, '<', $ARGV[0] or die $!; ioctl($f, hex($ARGV[1]), pack('L', $ARGV[2])) or die $!;";
        run("perl", &["-e", program, text(&self.at), SHUTDOWN, &NO_LOG_FLUSH.to_string()])
            .expect("ext4 can be shut down");
    }

    /// Waits until the device has nothing under way.
    fn wait_quiet(&self) {
        let name = self.device.trim_start_matches("/dev/");
        let path = format!("/sys/block/{name}/inflight");
        let mut quiet = 0;
        while quiet < 5 {
            let inflight = std::fs::read_to_string(&path).expect("the kernel counts what is under way");
            quiet = if inflight.split_whitespace().all(|count| count == "0") { quiet + 1 } else { 0 };
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A test that failed in between left it frozen.
        let _ = run("fsfreeze", &["--unfreeze", text(&self.at)]);
        // sled's threads let go of its files a moment after the Db is dropped.
        for _ in 0..200 {
            if run("umount", &[text(&self.at)]).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if let Err(why) = run("losetup", &["--detach", &self.device]) {
            println!("{why}");
        }
    }
}

/// A disk with a file system for a store, in a directory of its own.
#[derive(Debug)]
pub struct Disk {
    kind: Kind,
    image: PathBuf,
    directory: PathBuf,
    // The order in which they are dropped.
    inner: Option<Mount>,
    outer: Option<Mount>,
}

impl Disk {
    /// An empty one.
    pub fn new(kind: Kind, directory: &Path) -> Disk {
        let make = || {
            let mib = if kind == Kind::Obedient { INNER_MIB } else { OUTER_MIB };
            let image = make_image(&directory.join("image"), mib)?;
            if kind == Kind::Caching {
                let outer = Mount::new(&image, &directory.join("outer"))?;
                let inner = outer.at.join("image");
                // Written, not only given a length: writing to it changes nothing of the outer file system then.
                let zeros = vec![0; usize::try_from(INNER_MIB << 20).expect("it fits in memory")];
                std::fs::write(&inner, zeros).map_err(|error| error.to_string())?;
                make_image_in_place(&inner)?;
                run("sync", &["--file-system", text(&inner)])?;
            }
            Ok(image)
        };
        let image = make().unwrap_or_else(|why: String| panic!("{why}"));
        let mut disk = Disk { kind, image, directory: directory.to_owned(), inner: None, outer: None };
        disk.mount();
        disk
    }

    fn mount(&mut self) {
        let mounted = |image: &Path, at: &str| {
            Mount::new(image, &self.directory.join(at)).unwrap_or_else(|why| panic!("{why}"))
        };
        match self.kind {
            Kind::Obedient => self.inner = Some(mounted(&self.image, "disk")),
            Kind::Caching => {
                let outer = mounted(&self.image, "outer");
                self.inner = Some(mounted(&outer.at.join("image"), "disk"));
                self.outer = Some(outer);
            }
        }
    }

    /// Where a store may be.
    pub fn store(&self) -> PathBuf {
        self.directory.join("disk/store")
    }

    /// Power is lost: what had reached the disk is copied, and the copy is the disk from now on, once
    /// [`Self::power_on`] is called. Whoever writes goes on against a dead disk until then.
    pub fn cut(&mut self) {
        let (inner, outer) = (self.inner.as_ref().expect("it is mounted"), self.outer.as_ref());
        outer.unwrap_or(inner).cut();
        for mount in outer.into_iter().chain([inner]) {
            mount.wait_quiet();
        }
        let copied = self.directory.join("copy");
        run("cp", &["--sparse=always", text(&self.image), text(&copied)])
            .unwrap_or_else(|why| panic!("{why}"));
    }

    /// The copy is mounted: ext4 plays its journal back.
    pub fn power_on(&mut self) {
        self.inner = None;
        self.outer = None;
        std::fs::rename(self.directory.join("copy"), &self.image).expect("the copy takes the image's place");
        self.mount();
    }
}

fn make_image_in_place(path: &Path) -> Result<(), String> {
    let lazy = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
    run("mkfs.ext4", &["-q", "-F", "-J", "size=4", "-E", lazy, text(path)]).map(|_| ())
}
