//! Anchors on the disk: append-only plain files under `anchors/` of the store.
//!
//! ```text
//! anchors/00000000000000000001-2026-11-22   number of its first anchor, day of its records
//!
//!  0        8     9
//!  +--------+-----+-----+-------+------------------+-----+-------+--- …
//!  | magic  | ver | len | crc32 | anchor, as stored | len | crc32 |
//!  +--------+-----+-----+-------+------------------+-----+-------+--- …
//! ```
//! Numbers are big-endian; the CRC is over length and anchor.
//!
//! Invariants:
//!
//! - An anchor is synced before anyone hears of it.
//! - Numbers have no gap from file to file, as far back as files are kept.
//! - The last file may end in the middle of an anchor that was being written when the power went: the torn
//!   end is cut off, nobody had heard of it. Anything else that is not as it was written is damage: the file
//!   is put aside whole, an alarm says so, and what can be read of it goes on in a file of its own.
//! - A file goes when no day it speaks of is kept any more; the newest of those stays, since it ends with the
//!   anchor of the link that the oldest kept day begins with.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::anchor::{ANCHOR_LIMIT, Anchor};
use super::retention::parse_day;
use super::slip::{self, SlipError};

const MAGIC: &[u8; 8] = b"SORTANCH";
const VERSION: u8 = 1;
pub(super) const HEADER: usize = 9;
pub(super) const FRAME_HEADER: usize = 8;
/// Anchors of one file: 20 MB. One a second, the most there are, makes a file in 18 hours.
const FILE_LIMIT: u64 = 65_536;

/// Directory of the anchors.
pub(super) fn directory(store: &Path) -> PathBuf {
    store.join("anchors")
}

/// A file of anchors by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    /// Number of its first anchor.
    pub first: u64,
    /// Name of the day whose records it speaks of.
    pub day: String,
}

impl Segment {
    fn parse(name: &str) -> Option<Segment> {
        let (first, day) = name.split_at_checked(20)?;
        let day = day.strip_prefix('-').filter(|day| parse_day(day).is_some())?;
        let segment = Segment { first: first.parse().ok()?, day: day.to_owned() };
        (segment.name() == name).then_some(segment)
    }

    pub fn name(&self) -> String {
        format!("{:020}-{}", self.first, self.day)
    }
}

/// What is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damage {
    pub segment: Segment,
    /// What was expected and what came, and where.
    pub what: String,
}

/// What a file holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// Anchors from its beginning, as far as they are whole.
    pub anchors: Vec<Anchor>,
    /// Bytes they take with the header.
    pub good: u64,
    /// What follows them.
    pub tail: Tail,
}

/// What follows the last whole anchor of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing.
    #[default]
    None,
    /// An anchor that was not written to its end, as a loss of power leaves it.
    Torn,
    /// Something else: what.
    Damaged(String),
}

/// Reads what stands from byte `from` on, where an anchor or the header begins; `first` is the number that
/// the next anchor must have.
pub(super) fn scan(bytes: &[u8], from: u64, first: u64) -> Content {
    let mut content = Content { good: from, ..Content::default() };
    let mut rest = bytes;
    if from == 0 {
        let header = [&MAGIC[..], &[VERSION]].concat();
        match rest.strip_prefix(&*header) {
            Some(behind) => rest = behind,
            None if header.starts_with(rest) => {
                content.tail = if rest.is_empty() { Tail::None } else { Tail::Torn };
                return content;
            }
            None => {
                content.tail = Tail::Damaged(format!("it does not begin as version {VERSION} does"));
                return content;
            }
        }
        content.good = HEADER as u64;
    }
    let mut number = first;
    while !rest.is_empty() {
        match frame(rest, number) {
            Ok((anchor, length)) => {
                content.anchors.push(anchor);
                content.good += length as u64;
                number += 1;
                rest = &rest[length..];
            }
            Err(None) => {
                content.tail = Tail::Torn;
                break;
            }
            Err(Some(what)) => {
                let what = format!("anchor {number} at byte {}: {what}", content.good);
                content.tail = Tail::Damaged(what);
                break;
            }
        }
    }
    content
}

/// The anchor that `bytes` begin with, and the length of its frame. `Err(None)`: it was not written to its
/// end, and nothing follows.
fn frame(bytes: &[u8], number: u64) -> Result<(Anchor, usize), Option<String>> {
    let Some((header, rest)) = bytes.split_at_checked(FRAME_HEADER) else { return Err(None) };
    let (len, crc) = header.split_at(4);
    let length = u32::from_be_bytes([len[0], len[1], len[2], len[3]]) as usize;
    let crc = u32::from_be_bytes([crc[0], crc[1], crc[2], crc[3]]);
    // A file system may have made the file longer before the bytes were there.
    let torn = || bytes.iter().all(|byte| *byte == 0);
    if length > ANCHOR_LIMIT || length == 0 {
        let what = format!("{length} bytes, at most {ANCHOR_LIMIT} are possible");
        return Err((!torn()).then_some(what));
    }
    let Some(body) = rest.get(..length) else { return Err(None) };
    let ends_here = rest.len() == length;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(len);
    hasher.update(body);
    let came = hasher.finalize();
    if came != crc {
        // Written in part: some pages of the last anchor came to the disk and some did not.
        let partly = ends_here && body.ends_with(&[0; 8]);
        return Err((!partly).then(|| format!("its CRC32 is {crc:08x}, but its bytes make {came:08x}")));
    }
    let anchor = Anchor::decode(body).map_err(|error| Some(error.to_string()))?;
    if anchor.claim.number != number {
        return Err(Some(format!("number {} came", anchor.claim.number)));
    }
    Ok((anchor, FRAME_HEADER + length))
}

/// Files of anchors of a store, oldest first.
pub(super) fn segments(store: &Path) -> Result<Vec<Segment>, SlipError> {
    let path = directory(store);
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(SlipError::at(&path, source)),
    };
    let mut segments = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| SlipError::at(&path, source))?;
        segments.extend(entry.file_name().to_str().and_then(Segment::parse));
    }
    segments.sort();
    Ok(segments)
}

/// What a file holds, whole.
pub(super) fn read(store: &Path, segment: &Segment) -> Result<Content, SlipError> {
    let path = directory(store).join(segment.name());
    let bytes = fs::read(&path).map_err(|source| SlipError::at(&path, source))?;
    Ok(scan(&bytes, 0, segment.first))
}

/// Writes anchors.
#[derive(Debug)]
pub(super) struct AnchorLog {
    store: PathBuf,
    current: Option<Current>,
    last: Option<Anchor>,
    /// Number of the next anchor.
    next: u64,
}

#[derive(Debug)]
struct Current {
    segment: Segment,
    file: File,
    /// Where the next anchor goes: what a failed write left behind it is cut off first.
    end: u64,
}

impl AnchorLog {
    /// Opens the anchors of a store. `heard` is the last number that anyone has heard of: what ends before
    /// it is damaged. Damage is put aside.
    pub fn open(store: &Path, heard: u64) -> Result<(AnchorLog, Vec<Damage>), SlipError> {
        let path = directory(store);
        fs::create_dir_all(&path).map_err(|source| SlipError::at(&path, source))?;
        slip::sync_directory(store)?;
        let mut damage = Vec::new();
        let segments = segments(store)?;
        let mut log = AnchorLog { store: store.to_owned(), current: None, last: None, next: heard + 1 };
        // Earlier files are looked at by whoever reads them; only the last is gone on with.
        if let Some(segment) = segments.last() {
            let content = read(store, segment)?;
            let last = content.anchors.last().map_or(segment.first - 1, |anchor| anchor.claim.number);
            let what = match &content.tail {
                Tail::Damaged(what) => Some(what.clone()),
                Tail::None | Tail::Torn if last < heard => {
                    Some(format!("it ends at anchor {last}, but {heard} was signed"))
                }
                Tail::None | Tail::Torn => None,
            };
            log.last = content.anchors.last().cloned();
            log.next = last.max(heard) + 1;
            match what {
                Some(what) => {
                    put_aside(store, segment, &content, &what)?;
                    damage.push(Damage { segment: segment.clone(), what });
                }
                None => log.go_on(segment, content.good)?,
            }
        }
        Ok((log, damage))
    }

    /// Goes on behind the last whole anchor of a file.
    fn go_on(&mut self, segment: &Segment, end: u64) -> Result<(), SlipError> {
        let path = directory(&self.store).join(segment.name());
        let open = || {
            let file = OpenOptions::new().append(true).open(&path)?;
            if file.metadata()?.len() > end {
                tracing::warn!(path = %path.display(), at = end, "torn end of the anchors cut off");
                file.set_len(end)?;
                file.sync_data()?;
            }
            Ok(file)
        };
        let file = open().map_err(|source| SlipError::at(&path, source))?;
        if end >= HEADER as u64 {
            self.current = Some(Current { segment: segment.clone(), file, end });
        } else {
            // Not even its header was whole.
            fs::remove_file(&path).map_err(|source| SlipError::at(&path, source))?;
        }
        Ok(())
    }

    /// Number of the next anchor.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The last anchor that was made.
    pub fn last(&self) -> Option<&Anchor> {
        self.last.as_ref()
    }

    /// Appends an anchor that speaks of a record of `day`, and syncs it.
    pub fn append(&mut self, day: &str, anchor: Anchor) -> Result<(), SlipError> {
        let name = |log: &AnchorLog| {
            directory(&log.store).join(Segment { first: log.next, day: day.to_owned() }.name())
        };
        let body = anchor
            .encode()
            .map_err(|error| SlipError::Damaged { path: name(self), what: error.to_string() })?;
        let fits = self.current.as_ref().is_some_and(|current| {
            current.segment.day == day && self.next - current.segment.first < FILE_LIMIT
        });
        if !fits {
            self.begin(Segment { first: self.next, day: day.to_owned() })?;
        }
        let Some(current) = &mut self.current else { return Ok(()) };
        let frame = encode_frame(&body);
        let mut put = || {
            // What an attempt that failed has left is no anchor.
            if current.file.metadata()?.len() != current.end {
                current.file.set_len(current.end)?;
            }
            current.file.write_all(&frame)?;
            current.file.sync_data()
        };
        let path = || directory(&self.store).join(current.segment.name());
        if let Err(source) = put() {
            let error = SlipError::at(&path(), source);
            // After a failed sync nobody knows what is on the disk: opened anew before the next try.
            self.current = None;
            return Err(error);
        }
        current.end += frame.len() as u64;
        self.next = anchor.claim.number + 1;
        self.last = Some(anchor);
        Ok(())
    }

    /// Begins a file.
    fn begin(&mut self, segment: Segment) -> Result<(), SlipError> {
        let path = directory(&self.store).join(segment.name());
        let header = [&MAGIC[..], &[VERSION]].concat();
        slip::write_plain(&path, &header)?;
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.map_err(|source| SlipError::at(&path, source))?;
        self.current = Some(Current { segment, file, end: HEADER as u64 });
        Ok(())
    }

    /// Deletes files that speak only of days before the oldest kept one, but for the newest of them.
    pub fn prune(&self, oldest_kept: &str) -> Result<(), SlipError> {
        let Some(oldest) = parse_day(oldest_kept) else { return Ok(()) };
        let segments = segments(&self.store)?;
        let gone =
            segments.iter().take_while(|segment| parse_day(&segment.day).is_some_and(|day| day < oldest));
        let gone = gone.count().saturating_sub(1);
        for segment in &segments[..gone] {
            let path = directory(&self.store).join(segment.name());
            fs::remove_file(&path).map_err(|source| SlipError::at(&path, source))?;
        }
        Ok(())
    }
}

fn encode_frame(body: &[u8]) -> Vec<u8> {
    // An anchor is at most `ANCHOR_LIMIT` bytes long.
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&len);
    hasher.update(body);
    [&len[..], &hasher.finalize().to_be_bytes(), body].concat()
}

/// Puts a file into quarantine; what could be read of it stands in its place.
fn put_aside(store: &Path, segment: &Segment, content: &Content, why: &str) -> Result<(), SlipError> {
    let path = directory(store).join(segment.name());
    super::quarantine::put_aside(store, &path, &format!("anchors-{}", segment.name()), why)?;
    if content.anchors.is_empty() {
        return Ok(());
    }
    let mut bytes = [&MAGIC[..], &[VERSION]].concat();
    for anchor in &content.anchors {
        // It was read from this form.
        bytes.extend(anchor.encode().map(|body| encode_frame(&body)).unwrap_or_default());
    }
    slip::write_plain(&path, &bytes)
}

#[cfg(test)]
#[path = "tests/anchor_log.rs"]
mod tests;
