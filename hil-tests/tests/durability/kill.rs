//! The writer is killed at random microseconds while 200 parcels/s are recorded.

use std::time::Duration;

use rand::Rng;
use sortd::journal::inflight_resume;
use sortd::watch::clock::Clock;

use crate::records::{PARCEL, numbered};
use crate::store::{assert_whole, copy};
use crate::writer::{PARCELS_PER_S, Role, Writing};
use crate::{one_writer, random, rounds};

/// Kills that one store lives through.
const LIVES: usize = 10;

/// Longest time between the first record told durable in a life and the kill.
const LIFE_US: u64 = 900_000;

#[test]
fn nothing_told_durable_is_lost_by_kill_9() {
    let _alone = one_writer();
    let mut random = random(3);
    let rounds = rounds(10, 100);
    let clock = Clock::default();
    let (mut told_in_all, mut recorded_ms, mut resumed) = (0, 0, 0);
    let mut directory = temporary();
    let mut before = 0;
    for round in 0..rounds {
        if round % LIVES == 0 {
            (directory, before) = (temporary(), 0);
        }
        let store = directory.path().join("store");
        let role = if round % 3 == 2 { Role::Booted } else { Role::Resuming };
        let mut writer = Writing::start(&store, role);
        writer.wait_told(before);
        let begun = clock.now();
        std::thread::sleep(Duration::from_micros(random.random_range(0..LIFE_US)));
        recorded_ms += clock.now().ms_since(begun);
        let told = writer.kill();

        // The store is looked at in a copy: the next life must find what the kill left, not what an orderly end
        // made of it.
        let what = format!("round {round}, {role:?}");
        let looked_at = directory.path().join("copy");
        copy(&store, &looked_at);
        let resume = inflight_resume(&looked_at);
        if let Some(resume) = &resume {
            resumed += 1;
            assert!(
                resume.last_seq >= told,
                "{what}: the line goes on at {}, {told} was told",
                resume.last_seq
            );
            let tail = (resume.snapshot_seq + 1..=resume.last_seq).map(numbered);
            assert!(tail.eq(resume.tail.iter().cloned()), "{what}: the in-flight log has another record");
        }
        let resume = resume.filter(|_| round % 2 == 0);
        let last = assert_whole(&looked_at, resume.as_ref(), told, &what);
        println!("{what}: {} told durable, {} read back", told - before, last - 1 - before);
        told_in_all += told - before;
        // Records that were written but not told may be found again, or not: the store's own end counts.
        before = told;
        std::fs::remove_dir_all(&looked_at).expect("the copy can be removed");
    }
    let per_s = told_in_all * 1_000 / recorded_ms.max(1);
    println!(
        "{rounds} of {rounds} kills without loss: {told_in_all} records told durable, about {per_s}/s ({} parcels/s \
         were fed), {resumed} times the line could go on at once",
        PARCELS_PER_S
    );
    assert!(
        told_in_all > rounds as u64 * 100,
        "only {told_in_all} records in {rounds} rounds: what was killed?"
    );
    assert!(resumed > 0, "no round could be gone on with: records a parcel {PARCEL}");
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory")
}
