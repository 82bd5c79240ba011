//! The register of active orders: what the line must know again after a start, a sled Db of its own.
//!
//! ```text
//! m          -> version(1) applied(8) count(8) crc32(4)    up to which record, and how many orders
//! o number   -> version(1) crc32(4) order (bincode)
//! ```
//! Orders reach it from durable records: those of a part are taken once its `OrdersApplied` has come,
//! without those that an `OrderRefused` in between names. Count and record number are written in the same
//! batch as the orders, so a register that opens short is noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use super::day::{DayError, damaged, disk, guarded, open_file, open_sled};
use super::record::{VALUE_LIMIT, number};
use super::{BATCH_LIMIT, Record, slip};
use crate::line::event::Order;
use crate::line::record::{Body, Fact};

/// Active orders kept: a month of a line at 1,400 parcels/h around the clock; about 200 MB.
pub const ORDER_LIMIT: u64 = 1_000_000;

const NAME: &str = "orders";
const META: &[u8] = b"m";
const VERSION: u8 = 1;
const HEADER: usize = 5;
/// An order number is a key, and keys are held in memory.
const NUMBER_LIMIT: usize = 256;

/// The register.
#[derive(Debug)]
pub(super) struct Orders {
    /// `None` between closing a Db that failed and opening it anew.
    open: Option<(sled::Db, File)>,
    /// All of it, until someone takes it after opening.
    loaded: Option<BTreeMap<String, Order>>,
    applied: u64,
    count: u64,
    refused: u64,
    part: Option<Part>,
    limit: u64,
}

/// A part of an order message whose `OrdersApplied` has not come yet.
#[derive(Debug, Clone)]
struct Part {
    seq: u64,
    message: String,
    orders: Vec<Order>,
    refused: BTreeSet<String>,
}

pub(super) fn path(directory: &Path) -> PathBuf {
    directory.join(NAME)
}

impl Orders {
    /// Opens the register, or begins one, and reads all of it. `applied_at_least` is how far the checkpoint
    /// says it had come; 0 where that is not known.
    pub fn open(directory: &Path, cache: u64, applied_at_least: u64) -> Result<Orders, DayError> {
        let path = path(directory);
        let db = open_sled(&path, cache, NAME)?;
        slip::sync_directory(directory).map_err(|error| disk(NAME, &error))?;
        let file = open_file(&path, NAME)?;
        let meta = guarded(NAME, || db.get(META))?;
        let (applied, count) = match meta {
            Some(bytes) => decode_meta(&bytes).ok_or_else(|| unreadable("its head"))?,
            None if guarded(NAME, || db.first())?.is_none() => (0, 0),
            None => return Err(unreadable("its head, which is missing,")),
        };
        if applied < applied_at_least {
            let what = format!("orders up to record {applied_at_least} expected, up to {applied} came");
            return Err(damaged(NAME, what));
        }
        let pairs: Vec<_> = guarded(NAME, || db.scan_prefix(b"o").collect())?;
        if pairs.len() as u64 != count {
            return Err(damaged(NAME, format!("{count} orders expected, {} came", pairs.len())));
        }
        let mut loaded = BTreeMap::new();
        for (key, value) in pairs {
            let order = decode(&value).filter(|order| order.order.as_bytes() == &key[1..]);
            let order = order.ok_or_else(|| unreadable("an order"))?;
            loaded.insert(order.order.clone(), order);
        }
        Ok(Orders {
            open: Some((db, file)),
            loaded: Some(loaded),
            applied,
            count,
            refused: 0,
            part: None,
            limit: ORDER_LIMIT,
        })
    }

    /// Every order, once after opening.
    pub fn take_loaded(&mut self) -> Vec<Order> {
        self.loaded.take().map(|orders| orders.into_values().collect()).unwrap_or_default()
    }

    /// Opens the Db anew after it failed. A part that has begun goes on.
    pub fn reopen(&mut self, directory: &Path, cache: u64) -> Result<(), DayError> {
        self.open = None;
        // A register that was put aside begins anew; only an existing one must be as far as this one was.
        let expected = if path(directory).exists() { self.applied } else { 0 };
        let anew = Orders::open(directory, cache, expected)?;
        (self.open, self.count) = (anew.open, anew.count);
        self.applied = self.applied.max(anew.applied);
        Ok(())
    }

    /// Last record whose orders are in the register.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Record after which the journal must be read again to bring the register up to record `seq`.
    pub fn resume_after(&self, seq: u64) -> u64 {
        self.part.as_ref().map_or(seq, |part| part.seq - 1)
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// Orders that did not fit: beyond [`ORDER_LIMIT`], or too large.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    #[cfg(test)]
    pub fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Brings the orders in these records into the register, durably. After an error it may be given the
    /// same records again.
    pub fn apply(&mut self, records: &[Record]) -> Result<(), DayError> {
        let mut part = self.part.clone();
        let mut changes: BTreeMap<String, Order> = BTreeMap::new();
        let mut applied = self.applied;
        for record in records.iter().filter(|record| record.seq > self.applied) {
            let orders = record.body.orders();
            if let Body::Input(crate::line::record::Input::Event(crate::line::event::Event::Orders(batch))) =
                &record.body
            {
                part = Some(Part {
                    seq: record.seq,
                    message: batch.message.clone(),
                    orders: orders.to_vec(),
                    refused: BTreeSet::new(),
                });
            }
            match &record.body {
                Body::Fact(Fact::OrderRefused { message, order, .. }) => {
                    if let Some(part) = part.as_mut().filter(|part| part.message == *message) {
                        part.refused.insert(order.clone());
                    }
                }
                Body::Fact(Fact::OrdersApplied { message, .. }) => {
                    if let Some(done) = part.take_if(|part| part.message == *message) {
                        let taken = done.orders.into_iter();
                        let taken = taken.filter(|order| !done.refused.contains(&order.order));
                        changes.extend(taken.map(|order| (order.order.clone(), order)));
                        applied = record.seq;
                    }
                }
                Body::Fact(_) | Body::Input(_) => {}
            }
        }
        if applied > self.applied {
            self.write(changes, applied)?;
        }
        self.part = part;
        Ok(())
    }

    fn write(&mut self, changes: BTreeMap<String, Order>, applied: u64) -> Result<(), DayError> {
        let Some((db, file)) = &self.open else { return Err(disk(NAME, &"it is not open")) };
        let mut batch = sled::Batch::default();
        let (mut count, mut refused) = (self.count, self.refused);
        // Parts are small and a cycle holds few of them; a large batch would escape sled's cache limit.
        debug_assert!(changes.len() <= BATCH_LIMIT * 64);
        let mut taken = Vec::new();
        for (name, order) in changes {
            let key = [b"o", name.as_bytes()].concat();
            let known = guarded(NAME, || db.get(&key))?;
            if let Some(known) = &known {
                let known = decode(known).ok_or_else(|| unreadable("an order"))?;
                if known.revision > order.revision {
                    continue;
                }
            }
            let value = encode(&order);
            let fits = name.len() <= NUMBER_LIMIT && value.as_ref().is_some_and(|v| v.len() <= VALUE_LIMIT);
            match value.filter(|_| fits && (known.is_some() || count < self.limit)) {
                Some(value) => {
                    count += u64::from(known.is_none());
                    batch.insert(key, value);
                    taken.push((name, order));
                }
                None => refused += 1,
            }
        }
        batch.insert(META, &encode_meta(applied, count));
        guarded(NAME, || db.apply_batch(batch))?;
        guarded(NAME, || db.flush())?;
        file.sync_data().map_err(|error| disk(NAME, &error))?;
        (self.applied, self.count, self.refused) = (applied, count, refused);
        if let Some(loaded) = &mut self.loaded {
            loaded.extend(taken);
        }
        Ok(())
    }
}

fn unreadable(what: &str) -> DayError {
    damaged(NAME, format!("{what} is not what was written"))
}

fn encode_meta(applied: u64, count: u64) -> [u8; 21] {
    let mut bytes = [VERSION; 21];
    bytes[1..9].copy_from_slice(&applied.to_be_bytes());
    bytes[9..17].copy_from_slice(&count.to_be_bytes());
    let crc = crc32fast::hash(&bytes[..17]);
    bytes[17..].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn decode_meta(bytes: &[u8]) -> Option<(u64, u64)> {
    let (applied, count) = (number(bytes.get(1..9)?), number(bytes.get(9..17)?));
    (encode_meta(applied, count) == bytes).then_some((applied, count))
}

fn encode(order: &Order) -> Option<Vec<u8>> {
    let body = bincode::serde::encode_to_vec(order, bincode::config::standard()).ok()?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[VERSION]);
    crc.update(&body);
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&crc.finalize().to_be_bytes());
    bytes.extend_from_slice(&body);
    Some(bytes)
}

fn decode(bytes: &[u8]) -> Option<Order> {
    let body = bytes.get(HEADER..)?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..1]);
    crc.update(body);
    if bytes[0] != VERSION || bytes[1..HEADER] != crc.finalize().to_be_bytes() {
        return None;
    }
    let config = bincode::config::standard().with_limit::<VALUE_LIMIT>();
    let (order, consumed) = bincode::serde::decode_from_slice(body, config).ok()?;
    (consumed == body.len()).then_some(order)
}

#[cfg(test)]
#[path = "tests/orders.rs"]
mod tests;
