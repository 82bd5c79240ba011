//! From a text's hash to the slot of the order that holds it: eight bytes an entry, no text of its own.
//!
//! Open addressing with linear probing. An entry keeps 32 bits of its hash, so that growing and removing
//! need not look at the orders; equality is always asked of the slot, so two texts of one hash are still
//! two. Removing closes the gap behind it, so there are no tombstones to fill the table for ever.

use std::hash::{DefaultHasher, Hasher};

/// An entry that holds nothing.
const EMPTY: u32 = u32::MAX;

/// Entries of the smallest table.
const LEAST: usize = 64;

/// Where an entry may stand and what it leads to.
#[derive(Debug, Clone, Copy)]
struct Cell {
    hash: u32,
    slot: u32,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Index {
    cells: Vec<Cell>,
    len: usize,
}

/// The hash of a text: the same in every run, for nothing may depend on a random number.
pub(super) fn hash(text: &[u8]) -> u32 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text);
    let wide = hasher.finish();
    #[allow(clippy::cast_possible_truncation, reason = "the upper half is folded into the lower")]
    {
        (wide ^ (wide >> 32)) as u32
    }
}

impl Index {
    /// The slot among those of this hash of which `is` is true.
    pub fn find(&self, hash: u32, is: impl Fn(u32) -> bool) -> Option<u32> {
        if self.cells.is_empty() {
            return None;
        }
        let mut at = self.home(hash);
        loop {
            let cell = self.cells[at];
            if cell.slot == EMPTY {
                return None;
            }
            if cell.hash == hash && is(cell.slot) {
                return Some(cell.slot);
            }
            at = self.next(at);
        }
    }

    /// Adds an entry. The caller has seen that there is none for this text.
    pub fn insert(&mut self, hash: u32, slot: u32) {
        // At four fifths probing is still a matter of one or two cache lines.
        if (self.len + 1) * 5 > self.cells.len() * 4 {
            self.grow();
        }
        self.place(Cell { hash, slot });
        self.len += 1;
    }

    /// Removes the entry of this hash that leads to `slot`, if there is one.
    pub fn remove(&mut self, hash: u32, slot: u32) {
        if self.cells.is_empty() {
            return;
        }
        let mut gap = self.home(hash);
        loop {
            let cell = self.cells[gap];
            if cell.slot == EMPTY {
                return;
            }
            if cell.hash == hash && cell.slot == slot {
                break;
            }
            gap = self.next(gap);
        }
        self.len -= 1;
        let mut at = gap;
        loop {
            at = self.next(at);
            let cell = self.cells[at];
            if cell.slot == EMPTY {
                break;
            }
            // An entry may move into the gap unless its home lies behind it.
            let mask = self.cells.len() - 1;
            let from_home = at.wrapping_sub(self.home(cell.hash)) & mask;
            let from_gap = at.wrapping_sub(gap) & mask;
            if from_home >= from_gap {
                self.cells[gap] = cell;
                gap = at;
            }
        }
        self.cells[gap].slot = EMPTY;
    }

    /// Memory it takes.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.cells.capacity() * size_of::<Cell>()
    }

    fn grow(&mut self) {
        let size = (self.cells.len() * 2).max(LEAST);
        let old = std::mem::replace(&mut self.cells, vec![Cell { hash: 0, slot: EMPTY }; size]);
        for cell in old.into_iter().filter(|cell| cell.slot != EMPTY) {
            self.place(cell);
        }
    }

    fn place(&mut self, cell: Cell) {
        let mut at = self.home(cell.hash);
        while self.cells[at].slot != EMPTY {
            at = self.next(at);
        }
        self.cells[at] = cell;
    }

    fn home(&self, hash: u32) -> usize {
        hash as usize & (self.cells.len() - 1)
    }

    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.cells.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Hashes of few values, so that entries crowd, wrap around and share a hash.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((any::<bool>(), 0u32..12, 0u32..40), 0..400)) {
            let (mut index, mut model) = (Index::default(), BTreeMap::new());
            for (add, hash, slot) in steps {
                let hash = if hash < 6 { u32::MAX - hash } else { hash };
                if add {
                    if model.insert((hash, slot), ()).is_none() {
                        index.insert(hash, slot);
                    }
                } else {
                    model.remove(&(hash, slot));
                    index.remove(hash, slot);
                }
                prop_assert_eq!(index.len, model.len());
                for slot in 0..40 {
                    let known = model.contains_key(&(hash, slot));
                    prop_assert_eq!(index.find(hash, |other| other == slot).is_some(), known);
                }
            }
            for (hash, slot) in model.into_keys() {
                prop_assert_eq!(index.find(hash, |other| other == slot), Some(slot));
            }
        }
    }
}
