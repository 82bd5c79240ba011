//! Opening a store that something was done to, and holding what it gives against what was written.

use std::collections::BTreeMap;
use std::path::Path;

use sortd::journal::{
    AppendError, Cursor, DurableListener, Journal, JournalHandle, JournalSettings, Numbered, Opened,
    ReadError, Record, Register, RegisterEntry, Resume,
};
use sortd::line::event::Order;
use sortd::watch::Board;

use crate::records::{self, numbered, wrong};

/// Records read at once.
const PAGE: usize = 4_096;

/// Settings of every store here. No day is old enough to be deleted.
pub fn settings(directory: &Path, board: Board) -> JournalSettings {
    JournalSettings { cache_mib: 8, keep_days: 3_650, ..JournalSettings::in_directory(directory, board) }
}

/// Starts a journal; with `resume`, the line goes on at once, as the daemon's does.
pub fn start(
    directory: &Path,
    board: Board,
    resume: Option<&Resume>,
    listener: impl DurableListener + 'static,
) -> (Journal, JournalHandle, Opened) {
    let started = Journal::start(settings(directory, board), resume, Box::new(listener));
    let (journal, handle, opening) = started.expect("the journal starts whatever was done to its files");
    let opened = opening.wait().expect("the store opens, or a new one begins");
    (journal, handle, opened)
}

/// Hands a record over; waits while the queue is full, as the line does.
pub fn append(handle: &JournalHandle, mut numbered: Numbered) {
    loop {
        match handle.append(numbered) {
            Ok(()) => return,
            Err(AppendError::Full(back)) => numbered = *back,
            Err(AppendError::Closed(back)) => panic!("the journal is closed at record {}", back.seq),
        }
        std::thread::yield_now();
    }
}

/// Waits until a record is durable; the limit only ends a test that would hang.
pub fn wait_durable(handle: &JournalHandle, seq: u64) {
    for _ in 0..60_000 {
        if handle.durable() >= seq {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("record {seq} is not durable after a minute: {:?}", handle.status());
}

/// Every record the store gives. A day that is found damaged is put aside by the journal and the rest read
/// again, as any reader would.
pub fn all_records(handle: &JournalHandle) -> Vec<Record> {
    let reader = handle.reader();
    for _ in 0..64 {
        match read_all(|from| reader.records(from, PAGE)) {
            Ok(records) => return records,
            Err(ReadError::Damaged { .. }) => {}
            // The journal thread is opening the current day anew.
            Err(ReadError::NotOpenYet | ReadError::Disk { .. }) => {}
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("the store is found damaged for ever: {:?}", handle.status());
}

fn read_all(page: impl Fn(u64) -> Result<Vec<Record>, ReadError>) -> Result<Vec<Record>, ReadError> {
    let mut found: Vec<Record> = Vec::new();
    loop {
        let records = page(found.last().map_or(1, |last| last.seq + 1))?;
        if records.is_empty() {
            return Ok(found);
        }
        found.extend(records);
    }
}

/// Every milestone, over all epochs, as the uplink reads them.
pub fn all_milestones(handle: &JournalHandle) -> Vec<(u64, Record)> {
    let (reader, mut cursor, mut found) = (handle.reader(), Cursor::default(), Vec::new());
    loop {
        let milestones = reader.milestones_after(cursor, PAGE).expect("what was read through can be read");
        let Some(last) = milestones.records.last().and_then(|record| record.event_seq) else { return found };
        let epoch = milestones.epoch;
        cursor = Cursor { epoch, acked: last };
        found.extend(milestones.records.into_iter().map(|record| (epoch, record)));
    }
}

/// Records that are not what was written: none is ever right.
pub fn wrong_records(records: &[Record]) -> Vec<String> {
    records.iter().filter_map(wrong).collect()
}

/// Orders that the register holds active.
pub fn active_orders(register: &Register) -> BTreeMap<String, Order> {
    let mut active = BTreeMap::new();
    for entries in register.orders() {
        for entry in entries.expect("what was opened can be read") {
            match entry {
                RegisterEntry::Order { order, .. } => {
                    active.insert(order.order.clone(), order);
                }
                RegisterEntry::Sorted { .. } => {}
                RegisterEntry::Retired(retired) => {
                    active.remove(&retired.order);
                }
            }
        }
    }
    active
}

/// A store to which nothing was done but to be cut off: everything told is there, nothing is wrong, and the line
/// goes on with the next number. Gives the last record.
pub fn assert_whole(directory: &Path, resume: Option<&Resume>, told: u64, what: &str) -> u64 {
    let board = Board::default();
    let (journal, handle, opened) = start(directory, board, resume, |_: &[Record]| ());
    assert!(opened.quarantined.is_empty(), "{what}: {:?}", opened.quarantined);
    assert!(
        opened.last_seq >= told,
        "{what}: record {told} was told durable, the store ends at {}",
        opened.last_seq
    );
    let orders = active_orders(&opened.orders).len() as u64;
    append(&handle, numbered(opened.last_seq + 1));
    wait_durable(&handle, opened.last_seq + 1);
    let last = opened.last_seq + 1;
    let records = all_records(&handle);
    assert!(records.iter().map(|record| record.seq).eq(1..=last), "{what}: record numbers have a gap");
    assert_eq!(wrong_records(&records), Vec::<String>::new(), "{what}");
    let milestones = all_milestones(&handle);
    assert_eq!(milestones.len() as u64, records::milestones(last), "{what}: milestones");
    let one_epoch = milestones.iter().all(|(epoch, _)| *epoch == opened.epoch);
    let gap_free = (1..).zip(&milestones).all(|(event, (_, record))| record.event_seq == Some(event));
    assert!(one_epoch && gap_free, "{what}: the numbering of milestones has a gap");
    assert_eq!(orders, records::orders(opened.last_seq), "{what}: active orders");
    assert_eq!(blobs(directory), 0, "{what}: sled wrote files that it does not sync");
    let end = journal.finish();
    assert!(end.quarantined.is_empty(), "{what}: {:?}", end.quarantined);
    last
}

fn blobs(directory: &Path) -> usize {
    let files = |path: std::path::PathBuf| std::fs::read_dir(path).map_or(0, Iterator::count);
    let days = std::fs::read_dir(directory.join("days")).expect("a store has days");
    let days = days.map(|day| files(day.expect("the days can be listed").path().join("blobs")));
    days.sum::<usize>() + files(directory.join("orders/blobs"))
}

/// A copy of a directory that nobody writes to.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory for the copy");
    for entry in std::fs::read_dir(from).expect("the original can be listed") {
        let entry = entry.expect("the original can be listed");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a kind of file").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a file can be copied");
        }
    }
}
