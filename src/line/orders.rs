//! The table of active orders: which order a code is bound to.

use std::collections::HashMap;

use super::event::Order;
use crate::identify::{CarrierRules, Key, NoParcel, key_of_order_code};

/// Active orders the table holds at most; one more is refused and told upstream.
pub const ORDERS_MOST: usize = 1_000_000;

/// Codes one order may carry.
pub const CODES_MOST: usize = 16;

/// Orders by number and by code. Only looked up, never iterated, so its order cannot matter.
#[derive(Debug, Default)]
pub struct OrderTable {
    slots: Vec<Order>,
    by_number: HashMap<String, u32>,
    by_key: HashMap<Key, u32>,
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
    /// Full.
    #[error("the table holds its {ORDERS_MOST} active orders; close finished orders first")]
    Full,
}

impl OrderTable {
    /// Orders held.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Inserts or revises an order; older revisions change nothing.
    pub fn upsert(&mut self, order: &Order, rules: &CarrierRules) -> Result<Upserted, OrderRefusal> {
        if order.order.is_empty() {
            return Err(OrderRefusal::NoNumber);
        }
        if order.codes.len() > CODES_MOST {
            return Err(OrderRefusal::TooManyCodes(order.codes.len()));
        }
        let known = self.by_number.get(&order.order).copied();
        if known.is_some_and(|slot| self.slots[slot as usize].revision >= order.revision) {
            return Ok(Upserted::Known);
        }
        let keys = order
            .codes
            .iter()
            .map(|code| key_of_order_code(rules, code))
            .collect::<Result<Vec<Key>, NoParcel>>()?;
        for (key, code) in keys.iter().zip(&order.codes) {
            if let Some(&holder) = self.by_key.get(key)
                && Some(holder) != known
            {
                let other = self.slots[holder as usize].order.clone();
                return Err(OrderRefusal::CodeTaken { code: code.clone(), other });
            }
        }
        let mut touched = keys.clone();
        let slot = match known {
            Some(slot) => {
                for code in std::mem::take(&mut self.slots[slot as usize].codes) {
                    if let Ok(key) = key_of_order_code(rules, &code) {
                        self.by_key.remove(&key);
                        touched.push(key);
                    }
                }
                self.slots[slot as usize] = order.clone();
                slot
            }
            None => {
                if self.slots.len() >= ORDERS_MOST {
                    return Err(OrderRefusal::Full);
                }
                let slot = u32::try_from(self.slots.len()).map_err(|_| OrderRefusal::Full)?;
                self.slots.push(order.clone());
                self.by_number.insert(order.order.clone(), slot);
                slot
            }
        };
        for key in keys {
            self.by_key.insert(key, slot);
        }
        Ok(Upserted::Taken(touched))
    }

    /// Slot of the order a key is bound to.
    pub fn slot_of(&self, key: &Key) -> Option<u64> {
        self.by_key.get(key).copied().map(u64::from)
    }

    /// The order a key is bound to.
    pub fn bound(&self, key: &Key) -> Option<&Order> {
        self.by_key.get(key).and_then(|&slot| self.slots.get(slot as usize))
    }
}
