use std::path::Path;

use super::super::Record;
use super::super::chain::Link;
use super::super::day::Begin;
use super::super::outliner::Outliner;
use super::super::record;
use super::*;
use crate::line::Tick;
use crate::line::record::{Body, Input};

const CACHE: u64 = 8 * 1024 * 1024;

fn day(directory: &Path) -> Arc<Day> {
    let begin = Begin { epoch: 1, first_seq: 1, first_event: 1 };
    Arc::new(Day::create(directory, "2026-11-22", begin, Link::UNKNOWN, CACHE).unwrap())
}

fn push(batch: &mut Batch, seq: u64) {
    let body = Body::Input(Input::Belt { pulses: 3, speed_mm_s: 2_000 });
    let bytes = record::encode_body(seq, 5, Tick(seq), &body).unwrap();
    batch.push(Record { seq, at: Tick(seq), wall_us: 5, event_seq: None, body }, &bytes);
}

fn batch(numbers: impl IntoIterator<Item = u64>, link: Link) -> Batch {
    let mut batch = Batch::behind(link, Outliner::default(), None);
    numbers.into_iter().for_each(|seq| push(&mut batch, seq));
    batch
}

/// Waits until another batch may be given: the one before is under way, or has landed.
fn another(commits: &mut Commits) {
    while !matches!(commits.room(0), Room::Another) {
        std::thread::yield_now();
    }
}

fn numbers(batch: &Batch) -> Vec<u64> {
    batch.records().iter().map(|record| record.seq).collect()
}

#[test]
fn batches_land_in_their_order_and_are_in_the_day_then() {
    let directory = tempfile::tempdir().unwrap();
    let day = day(directory.path());
    let mut commits = Commits::start().unwrap();
    let (mut link, mut landed) = (Link::UNKNOWN, 0);
    let mut land = |landing: Landed, day: &Day| {
        landing.result.unwrap();
        assert_eq!(numbers(&landing.batch), [landed + 1, landed + 2]);
        landed += 2;
        assert!(day.span().last_seq >= landed);
    };
    for first in (1..100).step_by(2) {
        while let Room::Nothing = commits.room(2) {
            land(commits.wait().unwrap(), &day);
        }
        let next = batch(first..first + 2, link);
        link = next.link();
        commits.give(Arc::clone(&day), next);
    }
    while let Some(landing) = commits.wait() {
        land(landing, &day);
    }
    assert_eq!((landed, day.span().last_seq, commits.is_idle()), (100, 100, true));
    assert_eq!(day.links().unwrap().last, link);
}

#[test]
fn none_is_begun_behind_one_that_failed_until_the_store_was_opened_anew() {
    let directory = tempfile::tempdir().unwrap();
    let day = day(directory.path());
    let mut commits = Commits::start().unwrap();
    // A record before the day's first one cannot be written to it.
    commits.give(Arc::clone(&day), batch([0], Link::UNKNOWN));
    another(&mut commits);
    commits.give(Arc::clone(&day), batch([1, 2], Link::UNKNOWN));
    let failed = commits.wait().unwrap();
    assert!(failed.result.is_err() && numbers(&failed.batch) == [0]);
    assert!(!commits.is_idle() && commits.landed().is_none());
    let behind = commits.withdraw().unwrap();
    assert!(commits.is_idle() && commits.wait().is_none() && day.is_empty());

    // Nor one that is given only now.
    commits.give(Arc::clone(&day), behind);
    let behind = commits.withdraw().unwrap();
    commits.resume();
    commits.give(Arc::clone(&day), behind);
    commits.wait().unwrap().result.unwrap();
    assert_eq!(day.span().last_seq, 2);
}

#[test]
fn a_batch_that_waits_takes_more_records() {
    let directory = tempfile::tempdir().unwrap();
    let day = day(directory.path());
    let mut commits = Commits::start().unwrap();
    commits.give(Arc::clone(&day), batch([0], Link::UNKNOWN));
    another(&mut commits);
    commits.give(Arc::clone(&day), batch([1], Link::UNKNOWN));
    // What failed keeps it where it waits.
    assert!(commits.wait().unwrap().result.is_err());
    assert!(matches!(commits.room(1), Room::Nothing), "it is full");
    let Room::More(mut waiting) = commits.room(3) else { panic!("it takes two more") };
    push(&mut waiting, 2);
    push(&mut waiting, 3);
    commits.give(Arc::clone(&day), waiting);
    commits.resume();
    let landed = commits.wait().unwrap();
    landed.result.unwrap();
    assert_eq!((numbers(&landed.batch), day.span().last_seq), (vec![1, 2, 3], 3));
}
