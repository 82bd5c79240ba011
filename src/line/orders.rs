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
//! Nothing depends on the order of the tables; they are only looked up.

mod index;
mod packed;

use self::index::{Index, hash};
use self::packed::{NAMES_MOST, Names, Packed, TEXT_LONGEST};
use super::Tick;
use super::event::{Order, RetiredOrder};
use crate::identify::{CarrierRules, Key, NoParcel, key_of_order_code};

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

/// An order of the register with the keys of its codes, made ready outside of the core's thread.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownOrder {
    order: Order,
    keys: Vec<Key>,
    touched: Tick,
    sorted: bool,
}

impl KnownOrder {
    /// Makes an order of the register ready for `OrderTable::load`: when it was last named, and whether its
    /// parcel has reached its chute.
    pub fn new(
        order: Order,
        touched: Tick,
        sorted: bool,
        rules: &CarrierRules,
    ) -> Result<KnownOrder, OrderRefusal> {
        let keys = keys_of(&order, rules)?;
        Ok(KnownOrder { order, keys, touched, sorted })
    }
}

/// The keys of an order's codes, in their order.
fn keys_of(order: &Order, rules: &CarrierRules) -> Result<Vec<Key>, OrderRefusal> {
    if order.order.is_empty() {
        return Err(OrderRefusal::NoNumber);
    }
    if order.codes.len() > CODES_MOST {
        return Err(OrderRefusal::TooManyCodes(order.codes.len()));
    }
    let texts = [&order.order, &order.destination].into_iter().chain(&order.carrier).chain(&order.codes);
    let texts = texts.chain(order.details().texts().map(|(_, text)| text));
    if let Some(longest) = texts.map(String::len).max().filter(|longest| *longest > TEXT_LONGEST) {
        return Err(OrderRefusal::TooLong(longest));
    }
    let keys = order.codes.iter().map(|code| key_of_order_code(rules, code));
    Ok(keys.collect::<Result<Vec<Key>, NoParcel>>()?)
}

impl OrderTable {
    /// Orders held.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Inserts or revises an order; older revisions change nothing.
    pub fn upsert(
        &mut self,
        order: &Order,
        rules: &CarrierRules,
        now: Tick,
    ) -> Result<Upserted, OrderRefusal> {
        if self.is_known(order) {
            return Ok(Upserted::Known);
        }
        let keys = keys_of(order, rules)?;
        self.insert(order, &keys, now, false)
    }

    /// Takes an order of the register.
    pub fn load(&mut self, known: &KnownOrder) -> Result<Upserted, OrderRefusal> {
        if self.is_known(&known.order) {
            return Ok(Upserted::Known);
        }
        self.insert(&known.order, &known.keys, known.touched, known.sorted)
    }

    fn is_known(&self, order: &Order) -> bool {
        self.slot_named(&order.order)
            .and_then(|slot| self.at(slot))
            .is_some_and(|known| known.revision() >= order.revision)
    }

    fn insert(
        &mut self,
        order: &Order,
        keys: &[Key],
        touched: Tick,
        sorted: bool,
    ) -> Result<Upserted, OrderRefusal> {
        let known = self.slot_named(&order.order);
        for (key, code) in keys.iter().zip(&order.codes) {
            if let Some(holder) = self.slot_with(key)
                && Some(holder) != known
            {
                let other = self.at(holder).map(Packed::number).unwrap_or_default();
                let other = String::from_utf8_lossy(other).into_owned();
                return Err(OrderRefusal::CodeTaken { code: code.clone(), other });
            }
        }
        if known.is_none() && self.len() >= self.most {
            return Err(OrderRefusal::Full);
        }
        // A parcel in its chute stays there, whatever else upstream has to say of its order.
        let sorted = sorted || known.and_then(|slot| self.at(slot)).is_some_and(Packed::is_sorted);
        let packed = Packed::new(order, keys, touched, sorted, &mut self.names);
        let packed = packed.ok_or(OrderRefusal::TooManyNames)?;
        let mut touched = packed.keys();
        let binds = touched.len();
        let slot = match known {
            Some(slot) => {
                touched.extend(self.unbind(slot));
                self.slots[slot as usize] = Some(packed);
                slot
            }
            None => {
                let slot = match self.free.pop() {
                    Some(slot) => slot,
                    None => {
                        self.slots.push(None);
                        u32::try_from(self.slots.len() - 1).map_err(|_| OrderRefusal::Full)?
                    }
                };
                self.slots[slot as usize] = Some(packed);
                self.by_number.insert(hash(order.order.as_bytes()), slot);
                slot
            }
        };
        for key in &touched[..binds] {
            self.by_key.insert(hash(key.0.as_bytes()), slot);
        }
        Ok(Upserted::Taken(touched))
    }

    /// Gives an order's codes free; the keys they had.
    fn unbind(&mut self, slot: u32) -> Vec<Key> {
        let keys = self.at(slot).map(Packed::keys).unwrap_or_default();
        for key in &keys {
            self.by_key.remove(hash(key.0.as_bytes()), slot);
        }
        keys
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
        self.by_key.find(hash(key.0.as_bytes()), |slot| self.at(slot).is_some_and(|packed| packed.has(key)))
    }
}

#[cfg(test)]
mod tests;
