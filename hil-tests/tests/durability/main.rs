//! Nothing that was acknowledged is lost: by a loss of power, by kill -9, by damaged files, by a full disk, by a
//! slow one, by an outage upstream with a kill in it.
//!
//! Each rig has a short form, which every run of the tests takes, and the whole one with `SORTD_LONG=1`: 100
//! losses of power, 100 kills of the writer, 1,000 damages, 100 kills of a line. `SORTD_TEST_SEED` begins the
//! random numbers elsewhere. What a machine cannot give skips the test with a line that says what was missing; with
//! `SORTD_TEST_ALL=1` it fails where root or a program is missing, and is still skipped where loop devices are: a
//! container has none, whoever asks.
//!
//! - *cut*: the moment after which nothing reaches the disk any more.
//! - *told*: what the writer's listener was told is durable; whoever is told may acknowledge.

mod brim;
mod damage;
mod disk;
mod fast;
mod full;
mod gateway;
mod kill;
mod power;
mod records;
mod restart;
mod slow;
#[path = "../line/stand.rs"]
#[allow(dead_code, reason = "the stand serves the stories of a line, too")]
mod stand;
mod store;
mod writer;

use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::SeedableRng;
use rand::rngs::StdRng;

/// Whether the whole of it was asked for.
pub fn long() -> bool {
    std::env::var_os("SORTD_LONG").is_some_and(|value| value == "1")
}

/// Rounds of a rig.
pub fn rounds(short: usize, whole: usize) -> usize {
    if long() { whole } else { short }
}

/// Random numbers that come again with the same seed, and differ from rig to rig.
pub fn random(rig: u64) -> StdRng {
    let seed = std::env::var("SORTD_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(7);
    println!("seed {seed}");
    StdRng::seed_from_u64(u64::wrapping_add(seed, rig << 32))
}

/// Lines measure and load the machine: one at a time.
pub fn one_line() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writers wait for the disk more than for the processor; one of them may go beside a line.
pub fn one_writer() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}
