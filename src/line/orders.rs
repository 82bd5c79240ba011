//! The table of active orders: which order a code is bound to.
//!
//! A million orders in about 150 bytes each: every order is packed into one allocation (`packed`), and two
//! tables of eight bytes an entry lead from order numbers and keys to slots (`index`).
//!
//! # How an order ends
//!
//! An order that is *finished* — cancelled, or its parcel confirmed in its chute — and that neither upstream
//! nor a reader has named for [`RETIRE_AFTER_S`] is *retired*: the shell asks for such orders
//! ([`OrderTable::finished`]) and brings them back as an event, so that the journal and the register know,
//! and a replay does the same. Orders whose parcel is still expected stay until upstream cancels them.
//!
//! # How orders come back after a start
//!
//! Whoever reads the register packs its orders outside of the core's thread ([`KnownOrders`]), with names
//! numbered anew in each portion; the core only renames them and puts them into its tables. An order from
//! upstream takes the same way in a portion of its own.
//!
//! Nothing depends on the order of the tables; they are only looked up.

mod details;
mod index;
mod known;
mod names;
mod packed;

use self::index::{Index, hash};
pub use self::known::KnownOrders;
use self::known::{Hashes, Known, Renaming};
use self::names::{NAMES_MOST, Names};
use self::packed::{KeyParts, Packed, TEXT_LONGEST};
use super::Tick;
use super::borrowed::OrderRef;
use super::event::{Order, RetiredOrder};
use crate::identify::{CarrierRules, Key, NoParcel, OrderKeys};

/// Active orders the table holds at most; one more is refused and told upstream.
pub const ORDERS_MOST: usize = 1_000_000;

/// Codes one order may carry.
pub const CODES_MOST: usize = 16;

/// A finished order is kept this long after anyone last named it: a parcel that falls out of its bag, or is
/// brought back from the van, is still known for two weeks.
pub const RETIRE_AFTER_S: u64 = 14 * 24 * 3600;

/// Slots looked at in one turn for orders to retire, so that the core is back in well under a millisecond.
const SLOTS_A_TURN: usize = 4_096;

/// Orders retired in one event: a record of the journal has room for them.
const RETIRED_A_TURN: usize = 32;

/// Orders by number and by code.
#[derive(Debug)]
pub struct OrderTable {
    /// Orders held at most.
    most: usize,
    slots: Vec<Option<Packed>>,
    /// Slots that hold nothing, to be used again.
    free: Vec<u32>,
    by_number: Index,
    by_key: Index,
    names: Names,
    /// Where the search for orders to retire goes on.
    searched: usize,
}

impl Default for OrderTable {
    fn default() -> OrderTable {
        OrderTable {
            most: ORDERS_MOST,
            slots: Vec::new(),
            free: Vec::new(),
            by_number: Index::default(),
            by_key: Index::default(),
            names: Names::default(),
            searched: 0,
        }
    }
}

/// What became of an upsert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upserted {
    /// New, or a newer revision, with the keys that it binds or bound until now.
    Taken(Vec<Key>),
    /// Known already with this revision or a newer one: nothing changed.
    Known,
}

/// Why an order was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderRefusal {
    /// No number.
    #[error("expected an order number, got an empty one")]
    NoNumber,
    /// A text that belongs into no order.
    #[error("expected texts of at most {TEXT_LONGEST} bytes, got one of {0}")]
    TooLong(usize),
    /// Too many codes.
    #[error("expected at most {CODES_MOST} codes on one order, got {0}")]
    TooManyCodes(usize),
    /// A code names no parcel.
    #[error("{0}")]
    NoParcel(#[from] NoParcel),
    /// A code is bound to another order.
    #[error("code {code} is bound to order {other} already; cancel or revise that order first")]
    CodeTaken {
        /// The code.
        code: String,
        /// The other order.
        other: String,
    },
    /// Too many different destinations and carriers.
    #[error("the table knows {NAMES_MOST} names of destinations and carriers; these are no plan's any more")]
    TooManyNames,
    /// Full.
    #[error("the table holds its {ORDERS_MOST} active orders; close finished orders first")]
    Full,
}

/// The keys of an order's codes, in their order.
fn keys_of(order: &OrderRef<'_>, rules: &OrderKeys<'_>) -> Result<Vec<Key>, OrderRefusal> {
    if order.order.is_empty() {
        return Err(OrderRefusal::NoNumber);
    }
    if order.codes.len() > CODES_MOST {
        return Err(OrderRefusal::TooManyCodes(order.codes.len()));
    }
    if let Some(longest) = order.texts().map(str::len).max().filter(|longest| *longest > TEXT_LONGEST) {
        return Err(OrderRefusal::TooLong(longest));
    }
    let keys = order.codes.iter().map(|code| rules.key(code));
    Ok(keys.collect::<Result<Vec<Key>, NoParcel>>()?)
}

impl OrderTable {
    /// Orders held.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Makes room for so many orders with two codes each, so that taking them moves nothing: moving the
    /// entries of a million orders would stop the line for some ten milliseconds.
    pub fn reserve(&mut self, orders: u64) {
        let orders = usize::try_from(orders).unwrap_or(usize::MAX).min(self.most);
        self.slots.reserve(orders.saturating_sub(self.slots.len()));
        self.by_number.reserve(orders);
        self.by_key.reserve(2 * orders);
    }

    /// Inserts or revises an order; older revisions change nothing.
    pub fn upsert(
        &mut self,
        order: &Order,
        rules: &CarrierRules,
        now: Tick,
    ) -> Result<Upserted, OrderRefusal> {
        let known = self.slot_named(&order.order);
        if self.is_as_new(known, order.revision) {
            return Ok(Upserted::Known);
        }
        let mut one = KnownOrders::default();
        one.add(&OrderRef::from(order), now, false, &OrderKeys::of(rules))?;
        let Some((packed, hashes)) = one.take_only() else { return Ok(Upserted::Known) };
        let mut touched = packed.keys();
        let before = self.insert(known, packed, &hashes, &mut Renaming::of(one.names()))?;
        touched.extend(before.iter().flat_map(Packed::keys));
        Ok(Upserted::Taken(touched))
    }

    /// Takes what was made ready of the register; how many orders were refused.
    pub fn load(&mut self, known: KnownOrders) -> u64 {
        let (names, entries) = known.into_parts();
        let mut renaming = Renaming::of(&names);
        let mut refused = 0;
        for entry in entries {
            match entry {
                Known::Order { packed, hashes } => {
                    let known = self.by_number.find(hashes.number, |slot| {
                        self.at(slot).is_some_and(|known| known.number() == packed.number())
                    });
                    if !self.is_as_new(known, packed.revision()) {
                        refused += u64::from(self.insert(known, packed, &hashes, &mut renaming).is_err());
                    }
                }
                Known::Sorted { order, at } => self.sorted_order(&order, at),
                Known::Retired(order) => {
                    self.retire(&order);
                }
            }
        }
        refused
    }

    /// Whether the order known is of this revision or a newer one.
    fn is_as_new(&self, known: Option<u32>, revision: u32) -> bool {
        known.and_then(|slot| self.at(slot)).is_some_and(|known| known.revision() >= revision)
    }

    /// Puts an order in the place of the one known of its number, which is given back.
    fn insert(
        &mut self,
        known: Option<u32>,
        mut packed: Packed,
        hashes: &Hashes,
        renaming: &mut Renaming<'_>,
    ) -> Result<Option<Packed>, OrderRefusal> {
        for (hash, (code, key)) in hashes.keys().iter().zip(packed.distinct_keys()) {
            if let Some(holder) = self.slot_of_parts(*hash, key)
                && Some(holder) != known
            {
                let other = self.at(holder).map(Packed::number).unwrap_or_default();
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                return Err(OrderRefusal::CodeTaken { code: text(code), other: text(other) });
            }
        }
        if known.is_none() && self.len() >= self.most {
            return Err(OrderRefusal::Full);
        }
        let renamed = packed.rename(|name| renaming.number(name, &mut self.names));
        renamed.ok_or(OrderRefusal::TooManyNames)?;
        let (slot, before) = match known {
            Some(slot) => {
                self.unbind(slot);
                (slot, self.slots[slot as usize].take())
            }
            None => {
                let slot = match self.free.pop() {
                    Some(slot) => slot,
                    None => {
                        self.slots.push(None);
                        u32::try_from(self.slots.len() - 1).map_err(|_| OrderRefusal::Full)?
                    }
                };
                self.by_number.insert(hashes.number, slot);
                (slot, None)
            }
        };
        // A parcel in its chute stays there, whatever else upstream has to say of its order.
        if before.as_ref().is_some_and(Packed::is_sorted) {
            packed.set_sorted();
        }
        self.slots[slot as usize] = Some(packed);
        for hash in hashes.keys() {
            self.by_key.insert(*hash, slot);
        }
        Ok(before)
    }

    /// Gives an order's codes free.
    fn unbind(&mut self, slot: u32) {
        for key in self.at(slot).map(Packed::keys).unwrap_or_default() {
            self.by_key.remove(hash(key.0.as_bytes()), slot);
        }
    }

    /// The parcel of the order that this key is bound to is in its chute.
    pub fn sorted(&mut self, key: &Key, now: Tick) {
        if let Some(slot) = self.slot_with(key)
            && let Some(packed) = self.slots.get_mut(slot as usize).and_then(Option::as_mut)
        {
            packed.touch(now, true);
        }
    }

    /// The same for an order of the register, by its number.
    pub fn sorted_order(&mut self, number: &str, at: Tick) {
        if let Some(slot) = self.slot_named(number)
            && let Some(packed) = self.slots.get_mut(slot as usize).and_then(Option::as_mut)
        {
            packed.touch(at.max(packed.touched()), true);
        }
    }

    /// Takes an order out; a newer revision than was asked for stays. Whether it was there.
    pub fn retire(&mut self, order: &RetiredOrder) -> bool {
        let Some(slot) = self.slot_named(&order.order) else { return false };
        if self.at(slot).is_none_or(|packed| packed.revision() > order.revision) {
            return false;
        }
        self.unbind(slot);
        self.by_number.remove(hash(order.order.as_bytes()), slot);
        self.slots[slot as usize] = None;
        self.free.push(slot);
        true
    }

    /// Looks at the next few slots for orders to retire at `now`. Around again at the end.
    pub fn finished(&mut self, now: Tick) -> Vec<RetiredOrder> {
        let before = Tick(now.0.saturating_sub(RETIRE_AFTER_S * 1_000_000));
        let mut found = Vec::new();
        let end = (self.searched + SLOTS_A_TURN).min(self.slots.len());
        while self.searched < end && found.len() < RETIRED_A_TURN {
            if let Some(packed) = &self.slots[self.searched]
                && packed.is_finished()
                && packed.touched() < before
            {
                let order = String::from_utf8_lossy(packed.number()).into_owned();
                found.push(RetiredOrder { order, revision: packed.revision() });
            }
            self.searched += 1;
        }
        if self.searched >= self.slots.len() {
            self.searched = 0;
        }
        found
    }

    /// The search for orders to retire stands at its beginning: all were looked at.
    pub fn is_searched(&self) -> bool {
        self.searched == 0
    }

    /// Slot of the order a key is bound to.
    pub fn slot_of(&self, key: &Key) -> Option<u64> {
        self.slot_with(key).map(u64::from)
    }

    /// The order a key is bound to.
    pub fn bound(&self, key: &Key) -> Option<Order> {
        self.at(self.slot_with(key)?).map(|packed| packed.unpack(&self.names))
    }

    /// Whether the order a key is bound to has this number.
    pub fn is_of(&self, key: &Key, number: &str) -> bool {
        self.slot_with(key)
            .and_then(|slot| self.at(slot))
            .is_some_and(|packed| packed.number() == number.as_bytes())
    }

    fn at(&self, slot: u32) -> Option<&Packed> {
        self.slots.get(slot as usize)?.as_ref()
    }

    fn slot_named(&self, number: &str) -> Option<u32> {
        self.by_number.find(hash(number.as_bytes()), |slot| {
            self.at(slot).is_some_and(|packed| packed.number() == number.as_bytes())
        })
    }

    fn slot_with(&self, key: &Key) -> Option<u32> {
        self.slot_of_parts(hash(key.0.as_bytes()), KeyParts::of(key))
    }

    fn slot_of_parts(&self, hash: u32, key: KeyParts<'_>) -> Option<u32> {
        self.by_key.find(hash, |slot| self.at(slot).is_some_and(|packed| packed.has(key)))
    }
}

#[cfg(test)]
mod tests;
