//! The process that writes and is cut off: sortd's own journal, 200 parcels/s, days that roll over, snapshots,
//! checkpoints. It says on its standard output how far it was told durable.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use sortd::journal::{Record, inflight_resume};
use sortd::watch::Board;
use sortd::watch::clock::Clock;

use crate::records::{PARCEL, numbered};
use crate::store::{append, start};

/// Names the store of the child.
const STORE: &str = "SORTD_RIG_STORE";
/// What the child does.
const ROLE: &str = "SORTD_RIG_ROLE";

/// Parcels a second.
pub const PARCELS_PER_S: u64 = 200;

/// Records between two snapshots of the core: a second.
const SNAPSHOT_EVERY: u64 = 2_000;

/// What writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// sortd's journal, which goes on with its in-flight log where the machine was not cut off.
    Resuming,
    /// sortd's journal after a loss of power: the kernel's boot id, by which the in-flight log would be
    /// believed, is in truth a new one then.
    Booted,
    /// sled with nothing but its own `flush`: what the rig must find to lose.
    PlainSled,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Role::Resuming => "resuming",
            Role::Booted => "booted",
            Role::PlainSled => "plain",
        }
    }
}

/// Not a test of its own: the process that is cut off.
#[test]
fn child_that_is_cut_off() {
    let (Some(store), Ok(role)) = (std::env::var_os(STORE), std::env::var(ROLE)) else { return };
    match role.as_str() {
        "plain" => write_plainly(Path::new(&store)),
        role => write(Path::new(&store), role == "resuming"),
    }
}

fn say(durable: u64) {
    // The parent may be gone; then this process is about to be.
    let _ = writeln!(std::io::stdout().lock(), "\ndurable {durable}");
}

/// Holds a loop to 200 parcels a second, in whole milliseconds.
struct Pace {
    clock: Clock,
    begun: sortd::line::Tick,
    first: u64,
}

impl Pace {
    fn from(first: u64) -> Pace {
        let clock = Clock::default();
        Pace { clock, begun: clock.now(), first }
    }

    fn wait_for(&self, seq: u64) {
        while (seq - self.first) * 1_000 > self.clock.now().ms_since(self.begun) * PARCELS_PER_S * PARCEL {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn write(directory: &Path, resuming: bool) {
    let resume = if resuming { inflight_resume(directory) } else { None };
    let tell = |records: &[Record]| {
        if let Some(last) = records.last() {
            say(last.seq);
        }
    };
    let (_journal, handle, opened) = start(directory, Board::default(), resume.as_ref(), tell);
    let last = resume.as_ref().map_or(opened.last_seq, |resume| resume.last_seq);
    let pace = Pace::from(last + 1);
    for seq in last + 1.. {
        pace.wait_for(seq);
        append(&handle, numbered(seq));
        if seq % SNAPSHOT_EVERY == 0 {
            handle.snapshot(seq, seq.to_be_bytes().repeat(4_000));
        }
    }
}

fn write_plainly(directory: &Path) {
    let db = sled::Config::new().path(directory).open().expect("sled opens");
    let pace = Pace::from(1);
    for seq in 1_u64.. {
        pace.wait_for(seq);
        db.insert(seq.to_be_bytes(), seq.to_be_bytes().repeat(25)).expect("sled inserts");
        if db.flush().is_ok() {
            say(seq);
        }
    }
}

/// The child, seen from outside.
#[derive(Debug)]
pub struct Writing {
    child: Child,
    told: Arc<AtomicU64>,
    listening: Option<JoinHandle<()>>,
}

impl Writing {
    /// Starts it over this store.
    pub fn start(directory: &Path, role: Role) -> Writing {
        let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
            .args(["writer::child_that_is_cut_off", "--exact", "--nocapture"])
            .env(STORE, directory)
            .env(ROLE, role.word())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("this program can be run");
        let output = child.stdout.take().expect("the output was asked for");
        let told = Arc::new(AtomicU64::new(0));
        let heard = Arc::clone(&told);
        let listen = move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(seq) = line.strip_prefix("durable ").and_then(|seq| seq.parse().ok()) {
                    heard.fetch_max(seq, Ordering::AcqRel);
                }
            }
        };
        Writing { child, told, listening: Some(std::thread::spawn(listen)) }
    }

    /// Waits until more than `before` was told durable.
    pub fn wait_told(&mut self, before: u64) {
        for _ in 0..60_000 {
            if self.told.load(Ordering::Acquire) > before {
                return;
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the writer ended by itself: {status}");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("the writer told nothing durable for a minute after {before}");
    }

    /// kill -9, by its id. What it said before is heard to the end: the last record told durable.
    pub fn kill(mut self) -> u64 {
        self.end();
        self.told.load(Ordering::Acquire)
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.end();
    }
}
