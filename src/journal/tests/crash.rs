//! kill -9 in mid-write, again and again.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rand::{Rng, SeedableRng};

use super::*;

const CHILD: &str = "SORTD_JOURNAL_CHILD";

/// The core's state after a record, as good as a real one: it depends on each record before.
fn state(seq: u64) -> Vec<u8> {
    (1..=seq).fold(0_u64, |state, seq| state.rotate_left(5) ^ seq.wrapping_mul(31)).to_be_bytes().to_vec()
}

/// Not a test of its own: the process that is killed. Appends for ever and prints what is durable.
#[test]
fn child_that_is_killed() {
    let Ok(directory) = std::env::var(CHILD) else { return };
    let directory = Path::new(&directory);
    let tell = |records: &[Record]| {
        if let Some(last) = records.last() {
            println!("\ndurable {}", last.seq);
        }
    };
    let resume = inflight_resume(directory);
    let (_journal, handle, opening) =
        Journal::start(settings(directory), resume.as_ref(), Box::new(tell)).unwrap();
    let last = match &resume {
        Some(resume) => resume.last_seq,
        None => opening.wait().unwrap().last_seq,
    };
    for seq in last + 1.. {
        append(&handle, numbered(seq));
        if seq % 500 == 0 {
            handle.snapshot(seq, state(seq));
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9_and_no_number_is_skipped() {
    let directory = tempfile::tempdir().unwrap();
    let (seed, rounds) = seed_and_rounds(8);
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let (mut durable, mut resumed) = (0, 0);
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["journal::tests::crash::child_that_is_killed", "--exact", "--nocapture"])
            .env(CHILD, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let enough = durable + random.random_range(1..4_000);
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some(seq) = line.strip_prefix("durable ") {
                durable = durable.max(seq.parse().unwrap());
            }
            if durable >= enough {
                // SIGKILL, by its id; what it still says is read to the end.
                child.kill().unwrap();
            }
        }
        let ended = child.wait().unwrap();
        assert!(!ended.success(), "round {round}: the child ended by itself");

        if let Some(resume) = inflight_resume(directory.path()) {
            resumed += 1;
            assert!(
                resume.last_seq >= durable,
                "seed {seed}, round {round}: {} < {durable}",
                resume.last_seq
            );
            assert_eq!(resume.snapshot, state(resume.snapshot_seq));
            assert_eq!(
                resume.tail,
                (resume.snapshot_seq + 1..=resume.last_seq).map(numbered).collect::<Vec<_>>()
            );
        }
        if round % 3 == 2 {
            // The next one takes the slow path.
            std::fs::remove_dir_all(directory.path().join("inflight")).unwrap();
        }
    }
    assert!(resumed > 0, "no round could be gone on with");
    let (journal, handle, opened, _) = start(directory.path());
    assert!(opened.quarantined.is_empty(), "{:?}", opened.quarantined);
    assert!(opened.last_seq >= durable);
    let records = handle.reader().records(1, usize::MAX).unwrap();
    assert_eq!(records.len() as u64, opened.last_seq);
    assert_records(&records, 1);
    let orders = (1..=opened.last_seq).filter(|seq| seq % PARCEL == 6).count();
    assert_eq!(opened.orders.standing().len(), orders);
    assert_eq!(blobs(directory.path()), 0);
    journal.finish();
}
