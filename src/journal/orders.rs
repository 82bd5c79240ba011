//! The register of active orders and holds: what the line must know again after a start.
//!
//! ```text
//! orders/files       which of the files below count, oldest first (a small file, written whole or not at all)
//! orders/<n>.reg     frames of entries (`frame`); the last one is written, the others are packed one day
//! ```
//! It only grows at its end: a commit is one write and one sync, whatever it changes, and nothing of it has
//! to be in memory. When as much was added as a packed register has, the files are *packed* behind the
//! journal thread's back (`pack`): only what stands is written anew. A register of the first layout, a sled
//! Db, is brought into this one when it is opened (`first`).
//!
//! Entries come from durable records: orders of a part once its `OrdersApplied` has come, without those that
//! an `OrderRefused` in between names; holds and retirements alike. That a parcel reached its chute is
//! written with the next commit, or when [`MARKS_MOST`] are waiting; until then the journal is where it
//! stands, and [`Orders::resume_after`] says from where to read it again. Whoever reads the register applies
//! the entries in their order and lets revisions decide, so that an entry that is there twice changes nothing.
//!
//! A file that ends within a frame was torn off in a commit that nothing was acknowledged after: it is cut
//! there. A register that is shorter than the checkpoint says, or broken anywhere else, is damaged.

mod first;
mod frame;
mod pack;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::ErrorKind::{DirectoryNotEmpty, NotFound};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::{Receiver, TryRecvError, bounded};
use serde::{Deserialize, Serialize};

pub use self::frame::{Entry, EntryRef, HoldEntry, Register, RegisterError, RegisterPart};
use self::frame::{Frames, Next, Walk};
use super::day::{DayError, damaged, disk};
use super::record::number;
use super::{Record, slip};
use crate::line::event::{Event, HoldOn, HoldOrder, Order, RetiredOrder};
use crate::line::outcome::Outcome;
use crate::line::record::{Body, Fact, Input};
use crate::line::{PassKey, Tick};

const NAME: &str = "orders";
const LIST: &str = "files";
const SCRATCH: &str = "packing";
/// Added bytes before packing is worth it, at least: some hundred thousand orders.
const PACK_LEAST: u64 = 32 * 1024 * 1024;
/// Sorted parcels that wait for the next commit.
const MARKS_MOST: usize = 256;
/// Passes that an order is remembered for until they end; a belt holds some hundreds.
const PASSES_MOST: usize = 8_192;
/// A pass that has not ended so many records after it was identified is no longer waited for.
const PASS_RECORDS_MOST: u64 = 50_000;

/// The register.
#[derive(Debug)]
pub(super) struct Orders {
    directory: PathBuf,
    /// `None` between closing files that failed and opening them anew.
    open: Option<Files>,
    /// What it held when it was opened, until someone takes it.
    loaded: Option<Register>,
    applied: u64,
    orders: u64,
    part: Option<Part>,
    /// Parcels sorted and not written yet, with the record that says so.
    marks: Vec<(u64, Entry)>,
    /// Orders of parcels on the belt, with the record that says so.
    on_belt: BTreeMap<PassKey, (u64, String)>,
    packing: Option<Receiver<Result<u64, DayError>>>,
}

/// The files that count.
#[derive(Debug)]
struct Files {
    list: FileList,
    /// Files that are not written any more, and their lengths.
    sealed: Vec<(Arc<File>, u64)>,
    /// The one that is written.
    last: Arc<File>,
    len: u64,
}

/// The small file beside them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FileList {
    /// Numbers, oldest first; the last one is written.
    files: Vec<u64>,
    /// The first is packed: bytes it has. 0 where nothing was packed yet.
    packed: u64,
}

/// A part of a message whose last fact has not come yet.
#[derive(Debug, Clone)]
struct Part {
    seq: u64,
    message: String,
    what: Told,
}

#[derive(Debug, Clone)]
enum Told {
    Orders(Vec<Order>, BTreeSet<String>),
    Holds(Vec<HoldOrder>, BTreeSet<HoldOn>),
    Retired(Vec<RetiredOrder>),
}

/// What a commit brings.
#[derive(Debug, Default)]
struct Changes {
    orders: Vec<Entry>,
    holds: Vec<HoldEntry>,
}

pub(super) fn path(directory: &Path) -> PathBuf {
    directory.join(NAME)
}

fn name_of(number: u64) -> String {
    format!("{number}.reg")
}

fn seconds(at: Tick) -> u32 {
    u32::try_from(at.0 / 1_000_000).unwrap_or(u32::MAX)
}

impl Orders {
    /// Opens the register, or begins one, and reads through it. `cache` is for a register of the first layout;
    /// `applied_at_least` is how far the checkpoint says it had come; 0 where that is not known.
    pub fn open(directory: &Path, cache: u64, applied_at_least: u64) -> Result<Orders, DayError> {
        let path = path(directory);
        std::fs::create_dir_all(&path).map_err(|error| disk(NAME, &error))?;
        slip::sync_directory(directory).map_err(|error| disk(NAME, &error))?;
        let list = match slip::read::<FileList>(&path.join(LIST)) {
            Ok(Some(list)) => list,
            Ok(None) => begin(&path, cache)?,
            Err(slip::SlipError::Damaged { what, .. }) => {
                return Err(damaged(NAME, format!("its list of files: {what}")));
            }
            Err(error @ slip::SlipError::Io { .. }) => return Err(disk(NAME, &error)),
        };
        forget_others(&path, &list)?;
        let mut orders = Orders {
            directory: path,
            open: None,
            loaded: None,
            applied: 0,
            orders: 0,
            part: None,
            marks: Vec::new(),
            on_belt: BTreeMap::new(),
            packing: None,
        };
        orders.read_through(list)?;
        if orders.applied < applied_at_least {
            let applied = orders.applied;
            let what = format!("orders up to record {applied_at_least} expected, up to {applied} came");
            return Err(damaged(NAME, what));
        }
        Ok(orders)
    }

    /// Reads every file once: whether it is whole, how far it goes, and the holds.
    fn read_through(&mut self, list: FileList) -> Result<(), DayError> {
        let mut holds = BTreeMap::new();
        let mut files = Vec::new();
        for (at, number) in list.files.iter().enumerate() {
            let is_last = at + 1 == list.files.len();
            let (file, mut end) = open(&self.directory.join(name_of(*number)))?;
            let walk = Walk::begin(Arc::clone(&file), end)?;
            let mut walk = walk.ok_or_else(|| damaged(NAME, format!("file {number} begins otherwise")))?;
            loop {
                match walk.next()? {
                    Next::Frame(frame) => {
                        self.applied = self.applied.max(frame.applied);
                        for hold in frame.holds()? {
                            pack::take_hold(&mut holds, hold);
                        }
                        self.orders += u64::from(frame.orders);
                    }
                    Next::End => break,
                    Next::Broken(_) if is_last && !walk.goes_on()? => {
                        end = walk.at;
                        file.set_len(end).and_then(|()| file.sync_all()).map_err(|e| disk(NAME, &e))?;
                        break;
                    }
                    Next::Broken(what) => {
                        return Err(damaged(NAME, format!("file {number} at byte {}: {what}", walk.at)));
                    }
                }
            }
            files.push((file, end));
        }
        let Some((last, len)) = files.last().cloned() else {
            return Err(damaged(NAME, "its list names no file".to_owned()));
        };
        let mut holds: Vec<HoldEntry> = holds.into_values().collect();
        holds.sort_by_key(|hold| hold.at_s);
        self.loaded = Some(Register { files: files.clone(), holds, count: self.orders });
        files.pop();
        self.open = Some(Files { list, sealed: files, last, len });
        Ok(())
    }

    /// What it held when it was opened and what was added since, once.
    pub fn take_loaded(&mut self) -> Register {
        let nothing = Register { files: Vec::new(), holds: Vec::new(), count: 0 };
        let mut loaded = self.loaded.take().unwrap_or(nothing);
        loaded.count = self.orders;
        if let Some(open) = &self.open {
            loaded.files = open.sealed.clone();
            loaded.files.push((Arc::clone(&open.last), open.len));
        }
        loaded
    }

    /// Opens the files anew after one failed. A part that has begun goes on.
    pub fn reopen(&mut self, directory: &Path, cache: u64) -> Result<(), DayError> {
        self.open = None;
        self.packing = None;
        // A register that was put aside begins anew; only an existing one must be as far as this one was.
        let expected = if path(directory).exists() { self.applied } else { 0 };
        let anew = Orders::open(directory, cache, expected)?;
        (self.open, self.orders) = (anew.open, anew.orders);
        self.applied = self.applied.max(anew.applied);
        Ok(())
    }

    /// Last record whose entries are in the register.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Record after which the journal must be read again to bring the register up to record `seq`.
    pub fn resume_after(&self, seq: u64) -> u64 {
        let part = self.part.as_ref().map(|part| part.seq);
        let mark = self.marks.first().map(|(seq, _)| *seq);
        let belt = self.on_belt.values().map(|(seq, _)| *seq).min();
        part.into_iter().chain(mark).chain(belt).min().map_or(seq, |first| (first - 1).min(seq))
    }

    /// Orders and their revisions; fewer after packing.
    pub fn count(&self) -> u64 {
        self.orders
    }

    /// Brings what these records say into the register, durably. After an error it may be given the same
    /// records again.
    pub fn apply(&mut self, records: &[Record]) -> Result<(), DayError> {
        // Marks and parcels on the belt stay as they are: the same record again changes nothing in them.
        let part = self.part.clone();
        let mut changes = Changes::default();
        let mut applied = self.applied;
        for record in records {
            self.follow(record);
            if record.seq > self.applied && self.take(record, &mut changes) {
                applied = record.seq;
            }
        }
        if applied == self.applied && self.marks.len() > MARKS_MOST && self.part.is_none() {
            applied = self.marks.last().map_or(applied, |(seq, _)| *seq);
        }
        if applied > self.applied
            && let Err(error) = self.write(&changes, applied)
        {
            // The same records come again.
            self.part = part;
            return Err(error);
        }
        self.keep_packed();
        Ok(())
    }

    /// Whose order is on the belt, and whether it was sorted.
    fn follow(&mut self, record: &Record) {
        let Body::Fact(fact) = &record.body else { return };
        match fact {
            Fact::Identified { pass, order: Some(order), .. } if self.on_belt.len() < PASSES_MOST => {
                self.on_belt.insert(*pass, (record.seq, order.clone()));
            }
            Fact::Ended { pass, outcome, .. } => {
                let on_belt = self.on_belt.remove(pass);
                if let (Some((_, order)), Outcome::Sorted { .. }) = (on_belt, outcome)
                    && record.seq > self.applied
                {
                    self.marks.push((record.seq, Entry::Sorted { order, at_s: seconds(record.at) }));
                }
                if self.on_belt.values().any(|(seq, _)| seq + PASS_RECORDS_MOST < record.seq) {
                    self.on_belt.retain(|_, (seq, _)| *seq + PASS_RECORDS_MOST >= record.seq);
                }
            }
            _ => {}
        }
    }

    /// Takes orders, holds and retirements; `true` where a part is complete with this record.
    fn take(&mut self, record: &Record, changes: &mut Changes) -> bool {
        let begun = |message: &str, what| Some(Part { seq: record.seq, message: message.to_owned(), what });
        match &record.body {
            Body::Input(Input::Event(Event::Orders(batch))) => {
                self.part = begun(&batch.message, Told::Orders(batch.orders.clone(), BTreeSet::new()));
            }
            Body::Input(Input::Event(Event::Holds(batch))) => {
                self.part = begun(&batch.message, Told::Holds(batch.holds.clone(), BTreeSet::new()));
            }
            Body::Input(Input::Event(Event::OrdersRetired(orders))) => {
                self.part = begun("", Told::Retired(orders.clone()));
            }
            Body::Fact(Fact::OrderRefused { message, order, .. }) => {
                if let Some(Part { message: of, what: Told::Orders(_, refused), .. }) = &mut self.part
                    && of == message
                {
                    refused.insert(order.clone());
                }
            }
            Body::Fact(Fact::HoldRefused { message, on, .. }) => {
                if let Some(Part { message: of, what: Told::Holds(_, refused), .. }) = &mut self.part
                    && of == message
                {
                    refused.insert(on.clone());
                }
            }
            Body::Fact(Fact::OrdersApplied { message, .. } | Fact::HoldsApplied { message, .. }) => {
                let Some(part) = self.part.take_if(|part| part.message == *message) else { return false };
                changes.take(part.what, &[], record.at);
                return true;
            }
            Body::Fact(Fact::OrdersGone { kept }) => {
                let retired = |part: &mut Part| matches!(part.what, Told::Retired(_));
                let Some(part) = self.part.take_if(retired) else { return false };
                changes.take(part.what, kept, record.at);
                return true;
            }
            Body::Fact(_) | Body::Input(_) => {}
        }
        false
    }

    fn write(&mut self, changes: &Changes, applied: u64) -> Result<(), DayError> {
        let Some(files) = &mut self.open else { return Err(disk(NAME, &"it is not open")) };
        let mut frames = Frames::default();
        let before = self.applied;
        let wrong = |error| disk(NAME, &error);
        for hold in &changes.holds {
            frames.add_hold(hold, before).map_err(wrong)?;
        }
        let marks = self.marks.iter().map(|(_, mark)| mark);
        for entry in changes.orders.iter().chain(marks) {
            frames.add_order(entry, before).map_err(wrong)?;
        }
        frames.end(applied);
        let put = (&*files.last).write_all(&frames.bytes).and_then(|()| files.last.sync_data());
        put.map_err(|error| disk(NAME, &error))?;
        files.len += frames.bytes.len() as u64;
        let orders = changes.orders.iter().filter(|entry| matches!(entry, Entry::Order { .. }));
        self.orders += orders.count() as u64;
        self.marks.clear();
        self.applied = applied;
        if let Some(loaded) = &mut self.loaded {
            loaded.holds.extend(changes.holds.iter().cloned());
        }
        Ok(())
    }

    /// Begins packing when it is worth it, and takes what was packed. A packing that fails costs only room.
    fn keep_packed(&mut self) {
        match self.packing.as_ref().map(Receiver::try_recv) {
            Some(Ok(Ok(number))) => {
                self.packing = None;
                if let Err(error) = self.take_packed(number) {
                    tracing::warn!(%error, "the packed register of orders is not taken");
                }
            }
            Some(Ok(Err(error))) => {
                self.packing = None;
                tracing::warn!(%error, "the register of orders could not be packed");
            }
            Some(Err(TryRecvError::Disconnected)) => self.packing = None,
            // It is read back until someone has taken it; deleted files stay readable, but need not be.
            Some(Err(TryRecvError::Empty)) => {}
            None if self.loaded.is_none() => {
                if let Err(error) = self.begin_packing() {
                    tracing::warn!(%error, "packing the register of orders could not begin");
                }
            }
            None => {}
        }
    }

    fn begin_packing(&mut self) -> Result<(), DayError> {
        let Some(files) = &mut self.open else { return Ok(()) };
        let total = files.sealed.iter().map(|(_, len)| len).sum::<u64>() + files.len;
        if total.saturating_sub(files.list.packed) < files.list.packed.max(pack_least()) {
            return Ok(());
        }
        let next = files.list.files.iter().max().copied().unwrap_or(0) + 1;
        let last = Arc::new(frame::create(&self.directory.join(name_of(next)))?);
        let mut list = files.list.clone();
        list.files.push(next);
        write_list(&self.directory, &list)?;
        let sealed = std::mem::replace(&mut files.last, last);
        files.sealed.push((sealed, files.len));
        (files.len, files.list) = (frame::MAGIC.len() as u64, list);
        let (sources, number, directory) = (files.sealed.clone(), next + 1, self.directory.clone());
        let (done, packing) = bounded(1);
        let pack = move || {
            let packed = pack::pack(&sources, &directory.join(name_of(number)), &directory.join(SCRATCH));
            // Nobody waits for it only if the daemon is closing.
            let _ = done.send(packed.map(|_| number));
        };
        let thread = std::thread::Builder::new().name("register-pack".to_owned()).spawn(pack);
        thread.map_err(|error| disk(NAME, &error))?;
        self.packing = Some(packing);
        Ok(())
    }

    /// The packed file takes the place of those it was made of.
    fn take_packed(&mut self, number: u64) -> Result<(), DayError> {
        let Some(files) = &mut self.open else { return Ok(()) };
        let (file, len) = open(&self.directory.join(name_of(number)))?;
        let written = files.list.files.last().copied().unwrap_or(number);
        let list = FileList { files: vec![number, written], packed: len };
        write_list(&self.directory, &list)?;
        (files.list, files.sealed) = (list, vec![(file, len)]);
        tracing::info!(bytes = len, "the register of orders is packed");
        forget_others(&self.directory, &files.list)
    }
}

impl Changes {
    fn take(&mut self, what: Told, kept: &[String], at: Tick) {
        match what {
            Told::Orders(orders, refused) => {
                let taken = orders.into_iter().filter(|order| !refused.contains(&order.order));
                self.orders.extend(taken.map(|order| Entry::Order {
                    order,
                    touched_s: seconds(at),
                    sorted: false,
                }));
            }
            Told::Holds(holds, refused) => {
                let taken = holds.into_iter().filter(|hold| !refused.contains(&hold.on));
                self.holds.extend(taken.map(|hold| HoldEntry { hold, at_s: seconds(at) }));
            }
            Told::Retired(orders) => {
                let gone = orders.into_iter().filter(|order| !kept.contains(&order.order));
                self.orders.extend(gone.map(Entry::Retired));
            }
        }
    }
}

/// Added bytes before packing is worth it.
fn pack_least() -> u64 {
    if cfg!(test) { 16 * 1024 } else { PACK_LEAST }
}

fn open(path: &Path) -> Result<(Arc<File>, u64), DayError> {
    match File::options().read(true).append(true).open(path) {
        Ok(file) => {
            let len = file.metadata().map_err(|error| disk(NAME, &error))?.len();
            Ok((Arc::new(file), len))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(damaged(NAME, format!("{} is missing", path.display())))
        }
        Err(error) => Err(disk(NAME, &error)),
    }
}

fn write_list(path: &Path, list: &FileList) -> Result<(), DayError> {
    slip::write(&path.join(LIST), list).map_err(|error| disk(NAME, &error))
}

/// Begins a register, with the orders of one of the first layout if there is one.
fn begin(path: &Path, cache: u64) -> Result<FileList, DayError> {
    let file = frame::create(&path.join(name_of(1)))?;
    if path.join("db").exists() {
        let mut frames = Frames::default();
        let wrong = |error| disk(NAME, &error);
        let put = |frames: &mut Frames| {
            (&file).write_all(&frames.bytes).map_err(wrong)?;
            frames.bytes.clear();
            Ok(())
        };
        let mut count = 0_u64;
        let applied = first::read(path, cache, |order| {
            count += 1;
            let entry = Entry::Order { order, touched_s: 0, sorted: false };
            frames.add_order(&entry, 0).map_err(|error| disk(NAME, &error))?;
            if frames.bytes.len() > frame::FRAME_LIMIT {
                frames.end(0);
                put(&mut frames)?;
            }
            Ok(())
        })?;
        frames.end(applied);
        put(&mut frames)?;
        file.sync_all().map_err(wrong)?;
        tracing::info!(orders = count, "the register of orders is brought into its present layout");
    }
    let list = FileList { files: vec![1], packed: 0 };
    write_list(path, &list)?;
    Ok(list)
}

/// Deletes what does not count: files packed away or half packed, and a register of the first layout.
fn forget_others(path: &Path, list: &FileList) -> Result<(), DayError> {
    let wrong = |error| disk(NAME, &error);
    for entry in std::fs::read_dir(path).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == LIST || list.files.iter().any(|number| name == name_of(*number)) {
            continue;
        }
        let is_directory = entry.file_type().map_err(wrong)?.is_dir();
        // The packing thread of a daemon that is closing may still be at it.
        let gone = if is_directory {
            std::fs::remove_dir_all(entry.path())
        } else if name.ends_with(".reg") || is_first_layouts(&name) {
            std::fs::remove_file(entry.path())
        } else {
            continue;
        };
        match gone {
            Ok(()) => {}
            // Gone already; or a Db that was just closed still writes there: then it goes at the next start.
            Err(error) if matches!(error.kind(), NotFound | DirectoryNotEmpty) => {}
            Err(error) => return Err(wrong(error)),
        }
    }
    Ok(())
}

fn is_first_layouts(name: &str) -> bool {
    name == "db" || name == "conf" || name.starts_with("snap.")
}

#[cfg(test)]
#[path = "tests/orders.rs"]
mod tests;
