//! A portion of the register, made ready for the table outside of the core's thread.
//!
//! All that takes time is done here: keys are found, texts packed and hashed. Names are numbered within the
//! portion, because only the core's thread knows the table's own numbers; it looks up each name once
//! ([`Renaming`]) and not once an order.

use super::index::hash;
use super::names::Names;
use super::packed::Packed;
use super::{CODES_MOST, OrderRefusal, keys_of};
use crate::identify::OrderKeys;
use crate::line::Tick;
use crate::line::borrowed::OrderRef;
use crate::line::event::RetiredOrder;

/// Entries of one portion: the core takes them in well under a millisecond.
const ENTRIES_MOST: usize = 500;

/// A portion of the register.
#[derive(Debug, Default)]
pub struct KnownOrders {
    names: Names,
    entries: Vec<Known>,
    /// Used again from order to order.
    scratch: Vec<u8>,
}

/// An entry of the register, made ready.
#[derive(Debug)]
pub(super) enum Known {
    /// An order or a revision of it, with names of the portion.
    Order { packed: Packed, hashes: Hashes },
    /// Its parcel has reached its chute.
    Sorted { order: String, at: Tick },
    /// It has left the table.
    Retired(RetiredOrder),
}

/// Hashes of an order's number and of its keys, each key once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hashes {
    pub number: u32,
    keys: [u32; CODES_MOST],
    count: u8,
}

impl Hashes {
    pub fn keys(&self) -> &[u32] {
        &self.keys[..usize::from(self.count)]
    }
}

impl KnownOrders {
    /// Adds an order: when it was last named, and whether its parcel has reached its chute.
    pub fn add(
        &mut self,
        order: &OrderRef<'_>,
        touched: Tick,
        sorted: bool,
        rules: &OrderKeys<'_>,
    ) -> Result<(), OrderRefusal> {
        let keys = keys_of(order, rules)?;
        let packed = Packed::new(order, &keys, touched, sorted, &mut self.names, &mut self.scratch);
        let packed = packed.ok_or(OrderRefusal::TooManyNames)?;
        let mut hashes = Hashes { number: hash(packed.number()), keys: [0; CODES_MOST], count: 0 };
        for (nth, key) in keys.iter().enumerate().filter(|(nth, key)| !keys[..*nth].contains(key)) {
            debug_assert!(nth < CODES_MOST, "an order with more codes was refused");
            hashes.keys[usize::from(hashes.count)] = hash(key.0.as_bytes());
            hashes.count += 1;
        }
        self.entries.push(Known::Order { packed, hashes });
        Ok(())
    }

    /// Adds that an order's parcel has reached its chute.
    pub fn add_sorted(&mut self, order: &str, at: Tick) {
        self.entries.push(Known::Sorted { order: order.to_owned(), at });
    }

    /// Adds that an order has left the table.
    pub fn add_retired(&mut self, order: RetiredOrder) {
        self.entries.push(Known::Retired(order));
    }

    /// It holds nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// It holds as much as the core should be given at once.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= ENTRIES_MOST
    }

    /// The one order of a portion that holds no more.
    pub(super) fn take_only(&mut self) -> Option<(Packed, Hashes)> {
        match self.entries.pop()? {
            Known::Order { packed, hashes } => Some((packed, hashes)),
            Known::Sorted { .. } | Known::Retired(_) => None,
        }
    }

    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    pub(super) fn into_parts(self) -> (Names, Vec<Known>) {
        (self.names, self.entries)
    }
}

/// From a portion's numbers of names to the table's.
#[derive(Debug)]
pub(super) struct Renaming<'a> {
    from: &'a Names,
    /// By the portion's number, once it was asked for: names of orders that are not taken stay unknown.
    found: Vec<Option<u16>>,
}

impl<'a> Renaming<'a> {
    pub fn of(from: &'a Names) -> Renaming<'a> {
        Renaming { from, found: vec![None; from.len()] }
    }

    /// The number in `to`; `None` where that holds too many names.
    pub fn number(&mut self, name: u16, to: &mut Names) -> Option<u16> {
        let found = self.found.get_mut(usize::from(name))?;
        if found.is_none() {
            *found = to.number(self.from.name(name)?);
        }
        *found
    }
}
