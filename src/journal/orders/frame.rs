//! The register's files: frames of entries, one commit after the other.
//!
//! ```text
//! file   magic(8) "SORTREG2" | frame | frame | …
//! frame  len(4) | crc32(4) | kind(1) | applied(8) | orders(4) | entries (bincode, one behind the other)
//! ```
//! Numbers big-endian; `len` counts from `kind` on, the CRC is over `len` and everything behind it.
//! `applied`: every record up to it has its entries in this frame or before it. A commit whose last frame is
//! torn off does not name its records applied, so they come again out of the journal.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::day::{DayError, damaged, disk};
use super::NAME;
use crate::line::borrowed::OrderRef;
use crate::line::event::{HoldOrder, Order, RetiredOrder};

pub(super) const MAGIC: &[u8; 8] = b"SORTREG2";
/// Length and CRC.
const HEAD: usize = 8;
/// Kind, applied and how many orders.
const INNER: usize = 13;
/// Largest frame: what a commit holds is cut into frames of [`FRAME_FULL`] bytes and one entry more.
pub(super) const FRAME_LIMIT: usize = 1 << 20;
/// A frame takes entries up to here.
const FRAME_FULL: usize = 64 * 1024;
/// Bytes read at a time.
const READ: usize = 1 << 20;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Orders = 0,
    Holds = 1,
}

/// An entry of the register; stored as it stands, so a change of shape is a new magic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// An order, or a revision of one.
    Order {
        /// The order.
        order: Order,
        /// When upstream last named it or a reader its parcel, core time in seconds.
        touched_s: u32,
        /// Its parcel has reached its chute.
        sorted: bool,
    },
    /// An order's parcel has reached its chute.
    Sorted {
        /// Order number.
        order: String,
        /// Core time in seconds.
        at_s: u32,
    },
    /// An order has left the table.
    Retired(RetiredOrder),
}

/// A hold of the register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldEntry {
    /// As upstream told it.
    pub hold: HoldOrder,
    /// When, core time in seconds.
    pub at_s: u32,
}

/// An [`Entry`] whose texts stand in the frame it was read from.
#[expect(clippy::large_enum_variant, reason = "it lives for one step of a walk; almost all are orders")]
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub enum EntryRef<'a> {
    /// An order, or a revision of one.
    Order {
        /// The order.
        #[serde(borrow)]
        order: OrderRef<'a>,
        /// When it was last named, core time in seconds.
        touched_s: u32,
        /// Its parcel has reached its chute.
        sorted: bool,
    },
    /// An order's parcel has reached its chute.
    Sorted {
        /// Order number.
        order: &'a str,
        /// Core time in seconds.
        at_s: u32,
    },
    /// An order has left the table.
    Retired(RetiredOrder),
}

impl Entry {
    /// Number of the order it is about.
    pub(super) fn order(&self) -> &str {
        match self {
            Entry::Order { order, .. } => &order.order,
            Entry::Sorted { order, .. } => order,
            Entry::Retired(retired) => &retired.order,
        }
    }
}

/// Frames being made.
#[derive(Debug, Default)]
pub(super) struct Frames {
    pub bytes: Vec<u8>,
    /// Where the frame that is being made begins.
    begun: Option<(usize, Kind)>,
    /// Orders and revisions in it.
    orders: u32,
}

impl Frames {
    /// Adds an entry about an order. Until the last frame is ended nothing more than `before` counts as applied.
    pub fn add_order(&mut self, entry: &Entry, before: u64) -> Result<(), bincode::error::EncodeError> {
        self.add(Kind::Orders, entry, before)?;
        self.orders += u32::from(matches!(entry, Entry::Order { .. }));
        Ok(())
    }

    /// Adds a hold.
    pub fn add_hold(&mut self, entry: &HoldEntry, before: u64) -> Result<(), bincode::error::EncodeError> {
        self.add(Kind::Holds, entry, before)
    }

    fn add<T: Serialize>(
        &mut self,
        kind: Kind,
        entry: &T,
        before: u64,
    ) -> Result<(), bincode::error::EncodeError> {
        if let Some((begin, open)) = self.begun
            && (open != kind || self.bytes.len() - begin > FRAME_FULL)
        {
            self.end(before);
        }
        if self.begun.is_none() {
            self.begin(kind);
        }
        bincode::serde::encode_into_std_write(entry, &mut self.bytes, bincode::config::standard())?;
        Ok(())
    }

    fn begin(&mut self, kind: Kind) {
        self.begun = Some((self.bytes.len(), kind));
        self.bytes.extend_from_slice(&[0; HEAD]);
        self.bytes.push(kind as u8);
        self.bytes.extend_from_slice(&[0; INNER - 1]);
    }

    /// Ends the frame that is being made; with the last one of a commit its records are applied.
    pub fn end(&mut self, applied: u64) {
        if self.begun.is_none() {
            self.begin(Kind::Orders);
        }
        let Some((begin, _)) = self.begun.take() else { return };
        let frame = &mut self.bytes[begin..];
        let len = u32::try_from(frame.len() - HEAD).unwrap_or(u32::MAX);
        frame[..4].copy_from_slice(&len.to_be_bytes());
        frame[HEAD + 1..HEAD + 9].copy_from_slice(&applied.to_be_bytes());
        frame[HEAD + 9..HEAD + INNER].copy_from_slice(&std::mem::take(&mut self.orders).to_be_bytes());
        let crc = checksum(&frame[..4], &frame[HEAD..]);
        frame[4..HEAD].copy_from_slice(&crc.to_be_bytes());
    }
}

/// A frame, read and checked.
#[derive(Debug)]
pub(super) struct Frame {
    pub kind: Kind,
    pub applied: u64,
    /// Orders and revisions it holds.
    pub orders: u32,
    entries: Vec<u8>,
}

impl Frame {
    /// Its orders; none where it holds something else.
    pub fn entries(&self) -> Result<Vec<Entry>, DayError> {
        if self.kind == Kind::Orders { self.decode() } else { Ok(Vec::new()) }
    }

    /// Its holds; none where it holds something else.
    pub fn holds(&self) -> Result<Vec<HoldEntry>, DayError> {
        if self.kind == Kind::Holds { self.decode() } else { Ok(Vec::new()) }
    }

    fn decode<T: serde::de::DeserializeOwned>(&self) -> Result<Vec<T>, DayError> {
        self.each().collect()
    }

    /// Its entries one after the other; nothing more after one that cannot be read.
    fn each<'a, T: Deserialize<'a>>(&'a self) -> impl Iterator<Item = Result<T, DayError>> {
        let config = bincode::config::standard().with_limit::<FRAME_LIMIT>();
        let mut rest = &self.entries[..];
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            Some(match bincode::serde::borrow_decode_from_slice(rest, config) {
                Ok((entry, used)) => {
                    rest = &rest[used..];
                    Ok(entry)
                }
                Err(error) => {
                    rest = &[];
                    Err(damaged(NAME, format!("an entry cannot be read: {error}")))
                }
            })
        })
    }
}

/// A part of the register: some hundred entries, oldest first.
#[derive(Debug)]
pub struct RegisterPart(Frame);

impl RegisterPart {
    /// What it says about orders.
    pub fn entries(&self) -> impl Iterator<Item = Result<EntryRef<'_>, RegisterError>> {
        let is_of_orders = self.0.kind == Kind::Orders;
        let entries = is_of_orders.then(|| self.0.each().map(|entry| entry.map_err(RegisterError::from)));
        entries.into_iter().flatten()
    }
}

/// A file's frames, one after the other, up to a given length.
#[derive(Debug)]
pub(super) struct Walk {
    file: Arc<File>,
    end: u64,
    /// Where the next frame begins.
    pub at: u64,
    buffer: Vec<u8>,
    /// Where the buffer's unread part begins.
    from: usize,
}

/// What stands where a frame should.
pub(super) enum Next {
    Frame(Frame),
    End,
    /// No whole frame; what is wrong with it.
    Broken(String),
}

impl Walk {
    /// Begins at the first frame; `None` where the file does not begin as one of the register.
    pub fn begin(file: Arc<File>, end: u64) -> Result<Option<Walk>, DayError> {
        let mut magic = [0; MAGIC.len()];
        if end < magic.len() as u64 {
            return Ok(None);
        }
        file.read_exact_at(&mut magic, 0).map_err(|error| disk(NAME, &error))?;
        let walk = Walk { file, end, at: magic.len() as u64, buffer: Vec::new(), from: 0 };
        Ok((&magic == MAGIC).then_some(walk))
    }

    pub fn next(&mut self) -> Result<Next, DayError> {
        let rest = self.end - self.at;
        if rest == 0 {
            return Ok(Next::End);
        }
        if rest < (HEAD + INNER) as u64 {
            return Ok(Next::Broken(format!("{rest} bytes are no frame")));
        }
        self.fill(HEAD + INNER)?;
        let head = &self.buffer[self.from..self.from + HEAD];
        let len = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let crc = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        if !(INNER..=FRAME_LIMIT).contains(&len) || (HEAD + len) as u64 > rest {
            return Ok(Next::Broken(format!("a frame of {len} bytes with {rest} left")));
        }
        self.fill(HEAD + len)?;
        let frame = &self.buffer[self.from..self.from + HEAD + len];
        if checksum(&frame[..4], &frame[HEAD..]) != crc {
            return Ok(Next::Broken("CRC32 does not agree".to_owned()));
        }
        let kind = match frame[HEAD] {
            0 => Kind::Orders,
            1 => Kind::Holds,
            other => return Ok(Next::Broken(format!("a frame of kind {other}"))),
        };
        let applied = super::number(&frame[HEAD + 1..HEAD + 9]);
        let orders = &frame[HEAD + 9..HEAD + INNER];
        let orders = u32::from_be_bytes([orders[0], orders[1], orders[2], orders[3]]);
        let entries = frame[HEAD + INNER..].to_vec();
        self.from += HEAD + len;
        self.at += (HEAD + len) as u64;
        Ok(Next::Frame(Frame { kind, applied, orders, entries }))
    }

    /// Whether a whole frame stands anywhere behind a broken one: then that is no torn tail.
    pub fn goes_on(&mut self) -> Result<bool, DayError> {
        let broken = self.at;
        let rest = usize::try_from(self.end - broken).unwrap_or(usize::MAX).min(4 * FRAME_LIMIT);
        let mut bytes = vec![0; rest];
        self.file.read_exact_at(&mut bytes, broken).map_err(|error| disk(NAME, &error))?;
        Ok((1..bytes.len()).any(|at| {
            let rest = &bytes[at..];
            let Some(head) = rest.get(..HEAD) else { return false };
            let len = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let crc = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
            (INNER..=FRAME_LIMIT).contains(&len)
                && rest.get(HEAD..HEAD + len).is_some_and(|inner| checksum(&head[..4], inner) == crc)
        }))
    }

    /// Makes at least `wanted` bytes from here on stand in the buffer; the caller has seen that they exist.
    fn fill(&mut self, wanted: usize) -> Result<(), DayError> {
        if self.buffer.len() - self.from >= wanted {
            return Ok(());
        }
        self.buffer.drain(..self.from);
        self.from = 0;
        let have = self.buffer.len();
        let rest = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let size = rest.min(wanted.max(READ));
        self.buffer.resize(size.max(have), 0);
        self.file
            .read_exact_at(&mut self.buffer[have..], self.at + have as u64)
            .map_err(|error| disk(NAME, &error))
    }
}

fn checksum(len: &[u8], rest: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(len);
    crc.update(rest);
    crc.finalize()
}

/// The register as it stood when it was opened, to be read back in parts.
#[derive(Debug, Clone)]
pub struct Register {
    pub(super) files: Vec<(Arc<File>, u64)>,
    pub(super) holds: Vec<HoldEntry>,
    pub(super) count: u64,
}

impl Register {
    /// The holds, oldest first, at most one for each thing that is held.
    pub fn holds(&self) -> &[HoldEntry] {
        &self.holds
    }

    /// Orders and revisions of orders that it holds: at most so many are told in its parts.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Everything about orders, oldest first, in parts of which one is in memory at a time. What comes later
    /// about an order supersedes what came before.
    pub fn parts(&self) -> impl Iterator<Item = Result<RegisterPart, RegisterError>> {
        self.files.iter().flat_map(|(file, end)| {
            let mut walk = Walk::begin(Arc::clone(file), *end).map(|walk| walk.map(Box::new));
            std::iter::from_fn(move || match &mut walk {
                Ok(Some(open)) => match open.next() {
                    Ok(Next::Frame(frame)) => Some(Ok(RegisterPart(frame))),
                    Ok(Next::End) => None,
                    Ok(Next::Broken(what)) => {
                        walk = Ok(None);
                        Some(Err(RegisterError { what }))
                    }
                    Err(error) => {
                        let error = RegisterError::from(error);
                        walk = Ok(None);
                        Some(Err(error))
                    }
                },
                Ok(None) => None,
                Err(error) => {
                    let error = RegisterError::from(error.clone());
                    walk = Ok(None);
                    Some(Err(error))
                }
            })
        })
    }

    /// The same with texts of their own, for whoever keeps them.
    pub fn orders(&self) -> impl Iterator<Item = Result<Vec<Entry>, RegisterError>> {
        self.parts().map(|part| Ok(part?.0.entries()?))
    }

    /// Every order as it stands, for tests: the line's table does this for itself.
    #[cfg(test)]
    pub fn standing(&self) -> Vec<Order> {
        let mut standing = std::collections::BTreeMap::new();
        for entry in self.orders().flat_map(|entries| entries.expect("it was read before")) {
            match entry {
                Entry::Order { order, .. } => {
                    let known = standing.get(&order.order).map(|known: &Order| known.revision);
                    if known.is_none_or(|known| known < order.revision) {
                        standing.insert(order.order.clone(), order);
                    }
                }
                Entry::Sorted { .. } => {}
                Entry::Retired(retired) => {
                    if standing.get(&retired.order).is_some_and(|known| known.revision <= retired.revision) {
                        standing.remove(&retired.order);
                    }
                }
            }
        }
        standing.into_values().collect()
    }
}

/// The register was whole when it was opened and is not any more.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the register of orders cannot be read back: {what}")]
pub struct RegisterError {
    what: String,
}

impl From<DayError> for RegisterError {
    fn from(error: DayError) -> RegisterError {
        RegisterError { what: error.to_string() }
    }
}

/// Creates an empty file of the register.
pub(super) fn create(path: &Path) -> Result<File, DayError> {
    let file = File::options().read(true).append(true).create(true).open(path);
    let file = file.map_err(|error| disk(NAME, &error))?;
    let begun = file.set_len(0).and_then(|()| std::io::Write::write_all(&mut &file, MAGIC));
    begun.and_then(|()| file.sync_all()).map_err(|error| disk(NAME, &error))?;
    Ok(file)
}
