//! Something is done to the files of a store that has days behind it, at random; then it is opened.
//!
//! Whatever was done: the journal opens, no record that it gives is another than the one that was written, every
//! record that it does not give is among those it says are missing, with an alarm, no number is given twice, and the
//! next record becomes durable.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rand::Rng;
use rand::rngs::StdRng;
use sortd::journal::{Cursor, CursorStore, Record, inflight_resume};
use sortd::line::Tick;
use sortd::watch::Board;

use crate::records::{self, DAY, numbered};
use crate::store::{
    active_orders, all_milestones, all_records, append, copy, start, wait_durable, wrong_records,
};
use crate::{random, rounds};

/// Records of the store: two days behind it, half a day written.
const LAST: u64 = 2 * DAY + DAY / 2;

/// The core's snapshots, in the store and in the in-flight log.
const SNAPSHOTS: [u64; 4] = [1_000, DAY + 500, 2 * DAY + 200, LAST - 100];

/// A page of the disk.
const PAGE: usize = 4_096;

/// A store as an orderly end leaves it, and as kill -9 does.
struct Originals {
    ended: tempfile::TempDir,
    killed: tempfile::TempDir,
    epoch: u64,
}

fn originals() -> &'static Originals {
    static ORIGINALS: OnceLock<Originals> = OnceLock::new();
    ORIGINALS.get_or_init(|| {
        let ended = tempfile::tempdir().expect("a temporary directory");
        let killed = tempfile::tempdir().expect("a temporary directory");
        let (journal, handle, opened) = start(ended.path(), Board::default(), None, |_: &[Record]| ());
        for seq in 1..=LAST {
            append(&handle, numbered(seq));
            if SNAPSHOTS.contains(&seq) {
                wait_durable(&handle, seq);
                assert!(handle.snapshot(seq, state(seq)), "the queue has room");
            }
        }
        wait_durable(&handle, LAST);
        let mut cursor = CursorStore::open(ended.path()).expect("a cursor");
        let acked = records::milestones(LAST) / 2;
        cursor.advance(Cursor { epoch: opened.epoch, acked }, Tick(0)).expect("the cursor is stored");
        copy(ended.path(), killed.path());
        journal.finish();
        // Killed a second later, when the checkpoint had come up: what was recorded since the last one is known to
        // nobody but the Db that holds it.
        fs::copy(ended.path().join("checkpoint"), killed.path().join("checkpoint")).expect("both are there");
        Originals { ended, killed, epoch: opened.epoch }
    })
}

/// The core's state after a record: larger than a page, so that a part of it can be lost.
fn state(seq: u64) -> Vec<u8> {
    (0..20_000_u64).map(|place| (place * seq % 251) as u8).collect()
}

/// What became of a damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Effect {
    /// Something was put aside, and an alarm says so.
    Noticed,
    /// Every record is there.
    None,
}

#[test]
fn a_damaged_store_is_noticed_and_never_read_wrong() {
    let originals = originals();
    quiet_sled();
    let mut random = random(4);
    let rounds = rounds(64, 1_000);
    let mut effects: BTreeMap<(&str, Effect), usize> = BTreeMap::new();
    for round in 0..rounds {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let original = if round % 2 == 0 { &originals.ended } else { &originals.killed };
        copy(original.path(), directory.path());
        if (round / 2) % 2 == 0 {
            // The machine was off: nothing of the in-flight log is gone on with.
            fs::remove_dir_all(directory.path().join("inflight")).expect("it was there");
        }
        let (kind, damage) = DAMAGES[round % DAMAGES.len()];
        let what = format!("round {round}: {}", damage(directory.path(), &mut random));
        let effect = examine(directory.path(), &what);
        *effects.entry((kind, effect)).or_default() += 1;
    }
    println!("wrong records read after {rounds} damages: 0; what became of them:");
    for ((kind, effect), count) in &effects {
        println!("{count:>5} {effect:?} after {kind}");
    }
    let noticed: usize =
        effects.iter().filter(|((_, effect), _)| *effect == Effect::Noticed).map(|(_, n)| n).sum();
    assert!(noticed * 4 > rounds, "{noticed} of {rounds} were noticed: does the damage reach the store?");
}

/// sled panics on most of what it finds here, and the journal catches it: nobody wants to read that.
fn quiet_sled() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.location().is_none_or(|location| !location.file().contains("/sled-")) {
            usual(panic);
        }
    }));
}

/// Opens the damaged store as the daemon would, and holds everything it gives against what was written.
fn examine(directory: &Path, what: &str) -> Effect {
    let board = Board::default();
    let resume = inflight_resume(directory);
    if let Some(resume) = &resume {
        let tail = (resume.snapshot_seq + 1..=resume.last_seq).map(numbered);
        assert!(tail.eq(resume.tail.iter().cloned()), "{what}: the in-flight log gives another record");
        assert!(
            resume.snapshot == state(resume.snapshot_seq),
            "{what}: the in-flight log gives another state"
        );
    }
    let (journal, handle, opened) = start(directory, board.clone(), resume.as_ref(), |_: &[Record]| ());
    let last = opened.last_seq.max(resume.as_ref().map_or(0, |resume| resume.last_seq));
    append(&handle, numbered(last + 1));
    wait_durable(&handle, last + 1);

    let records = all_records(&handle);
    assert_eq!(wrong_records(&records), Vec::<String>::new(), "{what}");
    if let Some(recovery) = &opened.recovery {
        let read: Vec<Record> = recovery.read(&handle.reader()).map_while(Result::ok).collect();
        assert_eq!(wrong_records(&read), Vec::<String>::new(), "{what}: recovery");
        if let Some((seq, bytes)) = &recovery.snapshot {
            assert!(*bytes == state(*seq), "{what}: the store gives another state of the core");
        }
    }
    let milestones = all_milestones(&handle);
    let mut expected = BTreeMap::<u64, u64>::new();
    for (epoch, record) in &milestones {
        let event = record.event_seq.expect("a milestone has a number");
        if *epoch == originals().epoch {
            let expected = records::milestones(record.seq);
            assert_eq!(event, expected, "{what}: milestone of record {}", record.seq);
        } else {
            let next = expected.entry(*epoch).or_insert(1);
            assert_eq!(event, *next, "{what}: milestones of epoch {epoch}");
            *next += 1;
        }
    }
    let given: BTreeSet<u64> = records.iter().map(|record| record.seq).collect();
    let told = milestones.iter().filter(|(_, record)| given.contains(&record.seq)).count();
    let milestone = |record: &&Record| record.event_seq.is_some();
    assert_eq!(
        told,
        records.iter().filter(milestone).count(),
        "{what}: a milestone is not found by its number"
    );

    let quarantined = handle.status().quarantined;
    let (_, alarms) = board.snapshot();
    for found in &quarantined {
        let alarm = format!("journal-quarantine-{}", found.what);
        assert!(alarms.iter().any(|raised| raised.id == alarm), "{what}: no alarm for {found:?}");
    }
    let said = |seq: u64| {
        let among = |missing: (u64, u64)| (missing.0..=missing.1).contains(&seq);
        quarantined.iter().filter_map(|found| found.missing).any(among)
    };
    let silent: Vec<u64> = (1..=LAST).filter(|seq| !given.contains(seq) && !said(*seq)).collect();
    assert!(
        silent.is_empty(),
        "{what}: records {:?} to {:?} are gone and nobody says so; {quarantined:?}",
        silent.first(),
        silent.last()
    );
    assert!(last >= LAST, "{what}: the line goes on from {last}: numbers would be given twice");
    let orders = records::orders(LAST);
    let active = active_orders(&opened.orders);
    let orders_lost = quarantined.iter().any(|found| found.what == "orders");
    assert!(orders_lost || active.len() as u64 >= orders, "{what}: orders are gone and nobody says so");
    for order in active.values() {
        let track = order.order.strip_prefix("ORDER-").and_then(|track| track.parse::<u64>().ok());
        assert!(track.is_some_and(|track| *order == records::order(track)), "{what}: {order:?}");
    }
    journal.finish();

    // What was noticed once is not met again.
    let (journal, _, again) = start(directory, Board::default(), None, |_: &[Record]| ());
    assert!(again.last_seq > last, "{what}: the second start goes on from {}", again.last_seq);
    assert!(
        again.quarantined.is_empty(),
        "{what}: put aside again at the next start: {:?}",
        again.quarantined
    );
    journal.finish();
    if quarantined.is_empty() { Effect::None } else { Effect::Noticed }
}

type Damage = fn(&Path, &mut StdRng) -> String;

const DAMAGES: [(&str, Damage); 12] = [
    ("a flipped bit", |store, random| {
        in_a_file(store, random, "flipped bit", |bytes, random| {
            let at = random.random_range(0..used(bytes));
            bytes[at] ^= 1 << random.random_range(0..8);
        })
    }),
    ("a flipped bit in a Db", |store, random| {
        in_a_db(store, random, "flipped bit", |bytes, random| {
            let at = random.random_range(0..used(bytes));
            bytes[at] ^= 1 << random.random_range(0..8);
        })
    }),
    ("a truncated file", |store, random| {
        in_a_file(store, random, "truncated", |bytes, random| {
            bytes.truncate(random.random_range(0..used(bytes)));
        })
    }),
    ("a truncated Db", |store, random| {
        in_a_db(store, random, "truncated", |bytes, random| {
            bytes.truncate(random.random_range(0..used(bytes)));
        })
    }),
    ("a zeroed page", |store, random| {
        in_a_db(store, random, "zeroed page", |bytes, random| {
            let page = random.random_range(0..used(bytes)) / PAGE * PAGE;
            let end = (page + PAGE).min(bytes.len());
            bytes[page..end].fill(0);
        })
    }),
    ("a page of another place", |store, random| {
        in_a_db(store, random, "misplaced page", |bytes, random| {
            let pages = used(bytes) / PAGE;
            if pages > 1 {
                let (from, to) = (random.random_range(0..pages) * PAGE, random.random_range(0..pages) * PAGE);
                bytes.copy_within(from..from + PAGE, to);
            }
        })
    }),
    ("an empty file", |store, random| in_a_file(store, random, "emptied", |bytes, _| bytes.clear())),
    ("a deleted file", |store, random| {
        let path = choose(&files(store), random);
        fs::remove_file(&path).expect("it was there");
        format!("deleted {}", path.display())
    }),
    ("a deleted day", |store, random| {
        let path = choose(&days(store), random);
        fs::remove_dir_all(&path).expect("it was there");
        format!("deleted {}", path.display())
    }),
    ("a half-written day", |store, random| {
        let path = choose(&days(store), random);
        let _ = fs::remove_file(path.join("span"));
        change(&path.join("db"), |bytes| bytes.truncate(used(bytes) / 2));
        format!("half of {} without its span", path.display())
    }),
    ("swapped days", |store, random| {
        let days = days(store);
        let one = random.random_range(0..days.len());
        let other = (one + 1 + random.random_range(0..days.len() - 1)) % days.len();
        let between = store.join("between");
        for (from, to) in [(&days[one], &between), (&days[other], &days[one]), (&between, &days[other])] {
            fs::rename(from, to).expect("a directory can be renamed");
        }
        format!("swapped {} and {}", days[one].display(), days[other].display())
    }),
    ("swapped Dbs", |store, random| {
        let days = days(store);
        let one = random.random_range(0..days.len());
        let (one, other) = (days[one].join("db"), days[(one + 1) % days.len()].join("db"));
        let between = store.join("between");
        for (from, to) in [(&one, &between), (&other, &one), (&between, &other)] {
            fs::rename(from, to).expect("a file can be renamed");
        }
        format!("swapped {} and {}", one.display(), other.display())
    }),
];

/// Changes one of the store's files.
fn in_a_file(store: &Path, random: &mut StdRng, how: &str, damage: fn(&mut Vec<u8>, &mut StdRng)) -> String {
    let files: Vec<PathBuf> = files(store)
        .into_iter()
        .filter(|path| fs::metadata(path).is_ok_and(|about| about.len() > 0))
        .collect();
    let path = choose(&files, random);
    change(&path, |bytes| damage(bytes, random));
    format!("{how}: {}", path.display())
}

/// Changes the file of one day's Db: that is where the records are.
fn in_a_db(store: &Path, random: &mut StdRng, how: &str, damage: fn(&mut Vec<u8>, &mut StdRng)) -> String {
    let path = choose(&days(store), random).join("db");
    change(&path, |bytes| damage(bytes, random));
    format!("{how}: {}", path.display())
}

fn choose(paths: &[PathBuf], random: &mut StdRng) -> PathBuf {
    paths[random.random_range(0..paths.len())].clone()
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("it can be read");
    change(&mut bytes);
    fs::write(path, bytes).expect("it can be written");
}

/// Bytes up to the last that is not zero: sled's file is allocated in halves of a megabyte.
fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1)
}

fn days(store: &Path) -> Vec<PathBuf> {
    let days = fs::read_dir(store.join("days")).expect("a store has days");
    let mut days: Vec<PathBuf> = days.map(|day| day.expect("days can be listed").path()).collect();
    days.sort();
    days
}

/// Every file below a directory, in order; not the lock, which holds nothing.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("it can be listed") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.file_name().is_none_or(|name| name != "lock") {
            found.push(path);
        }
    }
    found.sort();
    found
}
