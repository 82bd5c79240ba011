//! The in-flight log: what a restarted daemon goes on with before the store is open.
//!
//! A *generation* is named by the record its snapshot stands after: `<seq>.snapshot` holds the core's
//! state, `<seq>.tail` the records after it, in the store's own record format. The generation before is
//! kept until the next, so that a snapshot that cannot be read is replaced by the older one and both tails.
//!
//! ```text
//! tail:      magic(8) version(1) boot_id(36) base(8) crc32(4), then frames: len(4) !len(4) record(len)
//! snapshot:  magic(8) version(1) boot_id(36) seq(8) len(8) crc32(4) bytes
//! ```
//!
//! Nothing here is synced: the page cache outlives the process. Whether it survived is known by the
//! kernel's boot id: after a reboot nothing here is gone on with, and only records that continue the
//! store's own are added to it.
//!
//! The complement of a frame's length tells a frame that was cut by the kill, which ends the log, from a
//! flipped bit, after which nothing of the log is believed.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::opening::Checkpoint;
use super::record::{self, EncodeError, number};
use super::slip::SlipError;
use super::{Numbered, Record};
use crate::line::Tick;

const TAIL_MAGIC: &[u8; 8] = b"SORTTAIL";
const SNAPSHOT_MAGIC: &[u8; 8] = b"SORTSNAP";
const VERSION: u8 = 1;
const BOOT_ID: usize = 36;
const TAIL_HEADER: usize = 57;
const SNAPSHOT_HEADER: usize = 65;
const FRAME_HEADER: usize = 8;
/// A buffer that a long record has made larger than this is not kept; 256 records are about 30 KB.
const SPARE_BYTES: usize = 256 * 1024;
/// Bytes of a tail read at a time.
const READ: usize = 256 * 1024;
/// The line needs its place back in milliseconds; a state of this size is not one line's.
pub(super) const SNAPSHOT_LIMIT: usize = 256 * 1024 * 1024;

/// What the line goes on with.
#[derive(Debug, Clone, PartialEq)]
pub struct Resume {
    /// State of the core.
    pub snapshot: Vec<u8>,
    /// Record it stands after.
    pub snapshot_seq: u64,
    /// Every record after it, without gap.
    pub tail: Vec<Numbered>,
    /// Last record; the next one is one more.
    pub last_seq: u64,
    /// Where the newest tail file continues: its base and its valid length, if there is one.
    log: Option<(u64, u64)>,
}

impl Resume {
    /// Core time of the last record after the snapshot.
    pub fn last_tick(&self) -> Option<Tick> {
        self.tail.last().map(|numbered| numbered.entry.at)
    }
}

/// Stands for a boot whose name could not be read, e.g. where `/proc/sys` is hidden.
const UNKNOWN_BOOT: [u8; BOOT_ID] = [b'?'; BOOT_ID];

/// The kernel's name of this boot of the machine.
pub(super) fn boot_id() -> [u8; BOOT_ID] {
    let mut id = UNKNOWN_BOOT;
    if let Ok(text) = fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        for (place, byte) in id.iter_mut().zip(text.trim().bytes()) {
            *place = byte;
        }
    }
    id
}

fn inflight(directory: &Path) -> PathBuf {
    directory.join("inflight")
}

fn tail_path(directory: &Path, base: u64) -> PathBuf {
    inflight(directory).join(format!("{base:020}.tail"))
}

fn snapshot_path(directory: &Path, seq: u64) -> PathBuf {
    inflight(directory).join(format!("{seq:020}.snapshot"))
}

/// What the line can go on with at once: `None` where there is nothing, where the machine was booted
/// since, or where anything between the snapshot and the end does not agree. The store is then the only
/// truth, and the line waits for it.
pub fn read(directory: &Path) -> Option<Resume> {
    let boot = boot_id();
    if boot == UNKNOWN_BOOT {
        // Nobody can tell whether the page cache survived, so the log proves nothing.
        return None;
    }
    let bases = generations(directory);
    // The newest snapshot first, and the one before it with both tails.
    let snapshots = bases.iter().rev().filter(|base| snapshot_path(directory, **base).exists());
    let resume = snapshots.take(2).find_map(|base| read_from(directory, *base, &bases, &boot))?;
    // Every record is in the log before it is in the store: a log that is shorter has lost its end, and a line
    // that went on with it would give numbers a second time.
    let stored = match Checkpoint::read(directory) {
        Ok(checkpoint) => checkpoint.unwrap_or_default().last_seq,
        Err(_) => 0,
    };
    (resume.last_seq >= stored).then_some(resume)
}

fn read_from(directory: &Path, seq: u64, bases: &[u64], boot: &[u8; BOOT_ID]) -> Option<Resume> {
    let snapshot = read_snapshot(&snapshot_path(directory, seq), seq, boot)?;
    let mut resume = Resume { snapshot, snapshot_seq: seq, tail: Vec::new(), last_seq: seq, log: None };
    for base in bases.iter().filter(|base| **base >= seq) {
        // The tail is begun before its snapshot is there: one that is missing was taken away, with its records.
        let tail = read_tail(&tail_path(directory, *base), *base, 0)?;
        if !tail.sound || tail.boot != *boot || *base != resume.last_seq {
            return None;
        }
        for record in tail.records {
            if record.seq != resume.last_seq + 1 {
                return None;
            }
            resume.last_seq = record.seq;
            resume.tail.push(record.into());
        }
        resume.log = Some((*base, tail.len));
    }
    Some(resume)
}

/// Records after `kept_to` of every tail that are whole, by number, whatever the boot: the store decides which
/// continue it.
pub(super) fn salvage(directory: &Path, kept_to: u64) -> BTreeMap<u64, Numbered> {
    let mut found = BTreeMap::new();
    for base in generations(directory) {
        if let Some(tail) = read_tail(&tail_path(directory, base), base, kept_to) {
            found.extend(tail.records.into_iter().map(|record| (record.seq, Numbered::from(record))));
        }
    }
    found
}

/// The record the oldest tail begins after.
pub(super) fn oldest(directory: &Path) -> Option<u64> {
    generations(directory).first().copied()
}

/// Numbers of the generations present, ascending.
fn generations(directory: &Path) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(inflight(directory)) else { return Vec::new() };
    let number = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let stem = name.strip_suffix(".tail").or_else(|| name.strip_suffix(".snapshot"))?;
        stem.parse().ok()
    };
    let mut bases: Vec<u64> = entries.flatten().filter_map(number).collect();
    bases.sort_unstable();
    bases.dedup();
    bases
}

struct Tail {
    boot: [u8; BOOT_ID],
    records: Vec<Record>,
    /// Bytes up to the end of the last whole frame.
    len: u64,
    /// Nothing but a frame cut at the end was wrong.
    sound: bool,
}

/// Reads a tail, frame by frame; records up to number `skip` are looked at and not kept. `None` where there is
/// no tail with this base.
fn read_tail(path: &Path, base: u64, skip: u64) -> Option<Tail> {
    let file = File::open(path).ok()?;
    let mut rest = file.metadata().ok()?.len().checked_sub(TAIL_HEADER as u64)?;
    let mut read = BufReader::with_capacity(READ, file);
    let mut header = [0; TAIL_HEADER];
    read.read_exact(&mut header).ok()?;
    let boot = header[9..9 + BOOT_ID].try_into().ok()?;
    if header != tail_header(base, boot) {
        return None;
    }
    let mut tail = Tail { boot, records: Vec::new(), len: TAIL_HEADER as u64, sound: true };
    let mut frame = Vec::new();
    while rest >= FRAME_HEADER as u64 {
        let mut head = [0; FRAME_HEADER];
        read.read_exact(&mut head).ok()?;
        rest -= FRAME_HEADER as u64;
        let (len, complement) = (number_u32(&head[..4]), number_u32(&head[4..]));
        if len != !complement {
            tail.sound = false;
            break;
        }
        let Some(behind) = rest.checked_sub(u64::from(len)) else { break };
        rest = behind;
        frame.resize(len as usize, 0);
        read.read_exact(&mut frame).ok()?;
        let skipped = record::check(&frame).is_ok_and(|head| head.seq <= skip);
        if !skipped {
            let Ok(record) = record::decode(&frame) else {
                tail.sound = false;
                break;
            };
            tail.records.push(record);
        }
        tail.len += (FRAME_HEADER + frame.len()) as u64;
    }
    Some(tail)
}

fn tail_header(base: u64, boot: [u8; BOOT_ID]) -> [u8; TAIL_HEADER] {
    let mut header = [VERSION; TAIL_HEADER];
    header[..8].copy_from_slice(TAIL_MAGIC);
    header[9..9 + BOOT_ID].copy_from_slice(&boot);
    header[45..53].copy_from_slice(&base.to_be_bytes());
    let crc = crc32fast::hash(&header[..53]);
    header[53..].copy_from_slice(&crc.to_be_bytes());
    header
}

fn snapshot_header(seq: u64, boot: [u8; BOOT_ID], bytes: &[u8]) -> [u8; SNAPSHOT_HEADER] {
    let mut header = [VERSION; SNAPSHOT_HEADER];
    header[..8].copy_from_slice(SNAPSHOT_MAGIC);
    header[9..9 + BOOT_ID].copy_from_slice(&boot);
    header[45..53].copy_from_slice(&seq.to_be_bytes());
    header[53..61].copy_from_slice(&(bytes.len() as u64).to_be_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&header[..61]);
    crc.update(bytes);
    header[61..].copy_from_slice(&crc.finalize().to_be_bytes());
    header
}

fn read_snapshot(path: &Path, seq: u64, boot: &[u8; BOOT_ID]) -> Option<Vec<u8>> {
    if fs::metadata(path).ok()?.len() > (SNAPSHOT_LIMIT + SNAPSHOT_HEADER) as u64 {
        return None;
    }
    let mut bytes = fs::read(path).ok()?;
    if bytes.len() < SNAPSHOT_HEADER {
        return None;
    }
    let body = bytes.split_off(SNAPSHOT_HEADER);
    // The header is a function of what it is about: number, boot and contents.
    (bytes == snapshot_header(seq, *boot, &body)).then_some(body)
}

fn number_u32(bytes: &[u8]) -> u32 {
    u32::try_from(number(bytes)).unwrap_or(u32::MAX)
}

/// The bodies of records that were appended together, without those that had to be replaced.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    /// As they stand in the log.
    bytes: Vec<u8>,
    /// Number and place, ascending.
    places: VecDeque<(u64, Range<usize>)>,
}

impl Bodies {
    /// Lets go of those before record `seq`; `true` where none is left.
    pub fn let_go(&mut self, seq: u64) -> bool {
        while self.places.front().is_some_and(|(at, _)| *at < seq) {
            self.places.pop_front();
        }
        self.places.is_empty()
    }

    /// Whether its buffers are small enough to be kept.
    pub fn is_spare(&self) -> bool {
        self.bytes.capacity() <= SPARE_BYTES
    }

    /// The body of record `seq`, if it is the first that is left.
    pub fn of(&self, seq: u64) -> Option<&[u8]> {
        let (_, place) = self.places.front().filter(|(at, _)| *at == seq)?;
        self.bytes.get(place.clone())
    }
}

/// The log as the journal thread writes it.
#[derive(Debug)]
pub(super) struct Log {
    directory: PathBuf,
    file: File,
    path: PathBuf,
    /// Bytes that are whole frames; what is behind them was cut and is written over.
    len: u64,
    last_seq: u64,
    /// A write failed: the file may end in a part of a frame.
    torn: bool,
}

impl Log {
    /// Goes on after `resume`.
    pub fn go_on(directory: &Path, resume: &Resume) -> Result<Log, SlipError> {
        let Some((base, len)) = resume.log else {
            return Log::begin(directory, resume.last_seq);
        };
        let path = tail_path(directory, base);
        let open = || {
            let file = OpenOptions::new().write(true).open(&path)?;
            file.set_len(len)?;
            Ok(file)
        };
        let file = open().map_err(|source| SlipError::at(&path, source))?;
        let mut log =
            Log { directory: directory.to_owned(), file, path, len, last_seq: resume.last_seq, torn: true };
        log.mend()?;
        Ok(log)
    }

    /// A new log after record `last_seq`, with no snapshot. What was there before is gone: the store holds
    /// it.
    pub fn afresh(directory: &Path, last_seq: u64) -> Result<Log, SlipError> {
        let inflight = inflight(directory);
        fs::create_dir_all(&inflight).map_err(|source| SlipError::at(&inflight, source))?;
        remove_before(directory, u64::MAX)?;
        Log::begin(directory, last_seq)
    }

    fn begin(directory: &Path, base: u64) -> Result<Log, SlipError> {
        let path = tail_path(directory, base);
        let begin = || {
            let mut file = File::create(&path)?;
            file.write_all(&tail_header(base, boot_id()))?;
            Ok(file)
        };
        let file = begin().map_err(|source| SlipError::at(&path, source))?;
        Ok(Log {
            directory: directory.to_owned(),
            file,
            path,
            len: TAIL_HEADER as u64,
            last_seq: base,
            torn: false,
        })
    }

    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Adds records in one write. After an error none of them is in the log. Returns the records' bodies, so
    /// that the store need not make them again.
    /// They lie in the buffers of `used`, which is not needed any more.
    pub fn append<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a Numbered>,
        used: Option<Bodies>,
    ) -> Result<Bodies, SlipError> {
        self.mend()?;
        let Bodies { mut bytes, mut places } = used.unwrap_or_default();
        bytes.clear();
        places.clear();
        let (mut body, mut last_seq) = (Vec::new(), self.last_seq);
        for numbered in records {
            let Numbered { seq, wall_us, entry } = numbered;
            let encoded = record::encode_body_into(&mut body, *seq, *wall_us, entry.at, &entry.body);
            let from = bytes.len();
            last_seq = *seq;
            bytes.extend_from_slice(&[0; FRAME_HEADER]);
            match encoded {
                Ok(()) => {
                    record::frame_v1(&mut bytes, *seq, None, &body);
                    places.push_back((*seq, bytes.len() - body.len()..bytes.len()));
                }
                // A record that cannot be said is the store's to replace; the log needs the same stand-in.
                Err(why) => {
                    let entry = record::stand_in(*seq, entry.at, &why);
                    let body = record::encode_body(*seq, *wall_us, entry.at, &entry.body);
                    let body = body.map_err(|why: EncodeError| SlipError::Damaged {
                        path: self.path.clone(),
                        what: why.to_string(),
                    })?;
                    record::frame_v1(&mut bytes, *seq, None, &body);
                }
            }
            let len = u32::try_from(bytes.len() - from - FRAME_HEADER).unwrap_or(u32::MAX);
            bytes[from..from + 4].copy_from_slice(&len.to_be_bytes());
            bytes[from + 4..from + FRAME_HEADER].copy_from_slice(&(!len).to_be_bytes());
        }
        if let Err(source) = self.file.write_all(&bytes) {
            self.torn = true;
            return Err(SlipError::at(&self.path, source));
        }
        self.len += bytes.len() as u64;
        self.last_seq = last_seq;
        Ok(Bodies { bytes, places })
    }

    /// Stores the core's state after the last record and begins the next tail behind it. Tails with records
    /// after `durable` stay: the store will want them.
    pub fn snapshot(&mut self, bytes: &[u8], durable: u64) -> Result<(), SlipError> {
        let seq = self.last_seq;
        let path = snapshot_path(&self.directory, seq);
        let beside = path.with_extension("snapshot-new");
        let put = || {
            let mut file = File::create(&beside)?;
            file.write_all(&snapshot_header(seq, boot_id(), bytes))?;
            file.write_all(bytes)?;
            fs::rename(&beside, &path)
        };
        let before = previous_snapshot(&self.directory, seq);
        // First the tail: a snapshot without one has lost it.
        if tail_path(&self.directory, seq) != self.path {
            *self = Log::begin(&self.directory, seq)?;
        }
        put().map_err(|source| SlipError::at(&path, source))?;
        let holds_durable = generations(&self.directory).into_iter().rev().find(|base| *base <= durable);
        remove_before(&self.directory, before.unwrap_or(seq).min(holds_durable.unwrap_or(0)))
    }

    /// Cuts what a failed write left behind.
    fn mend(&mut self) -> Result<(), SlipError> {
        if self.torn {
            let mend = |file: &mut File| {
                file.set_len(self.len)?;
                file.seek(SeekFrom::Start(self.len))
            };
            mend(&mut self.file).map_err(|source| SlipError::at(&self.path, source))?;
            self.torn = false;
        }
        Ok(())
    }
}

fn previous_snapshot(directory: &Path, seq: u64) -> Option<u64> {
    let mut earlier = generations(directory);
    earlier.retain(|base| *base < seq && snapshot_path(directory, *base).exists());
    earlier.pop()
}

/// Removes the generations before `keep`.
fn remove_before(directory: &Path, keep: u64) -> Result<(), SlipError> {
    for base in generations(directory).into_iter().filter(|base| *base < keep) {
        for path in [tail_path(directory, base), snapshot_path(directory, base)] {
            match fs::remove_file(&path) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(SlipError::at(&path, source));
                }
                Ok(()) | Err(_) => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "tests/inflight.rs"]
mod tests;
