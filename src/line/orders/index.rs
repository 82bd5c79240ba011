//! From a text's hash to the slot of the order that holds it: eight bytes an entry, no text of its own.
//!
//! Open addressing with linear probing. An entry keeps 32 bits of its hash, so that growing and removing
//! need not look at the orders; equality is always asked of the slot, so two texts of one hash are still
//! two. Removing closes the gap behind it, so there are no tombstones to fill the table for ever.

use std::hash::{DefaultHasher, Hasher};

/// Entries of the smallest table.
const LEAST: usize = 64;

/// Where an entry may stand and what it leads to: the hash above, the slot and one more below. One that holds
/// nothing is zero, so that a large table costs no memory before something is put into it.
#[derive(Debug, Clone, Copy)]
struct Cell {
    hash: u32,
    slot: u32,
}

impl Cell {
    fn bits(self) -> u64 {
        u64::from(self.hash) << 32 | (u64::from(self.slot) + 1)
    }

    #[allow(clippy::cast_possible_truncation, reason = "each half has 32 bits")]
    fn of(bits: u64) -> Option<Cell> {
        let slot = (bits as u32).checked_sub(1)?;
        Some(Cell { hash: (bits >> 32) as u32, slot })
    }
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Index {
    cells: Vec<u64>,
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
        while let Some(cell) = Cell::of(self.cells[at]) {
            if cell.hash == hash && is(cell.slot) {
                return Some(cell.slot);
            }
            at = self.next(at);
        }
        None
    }

    /// Adds an entry. The caller has seen that there is none for this text.
    pub fn insert(&mut self, hash: u32, slot: u32) {
        if !has_room(self.cells.len(), self.len + 1) {
            self.grow((self.cells.len() * 2).max(LEAST));
        }
        self.place(Cell { hash, slot });
        self.len += 1;
    }

    /// Makes room for so many entries altogether: putting them in moves no other then.
    pub fn reserve(&mut self, entries: usize) {
        let mut size = self.cells.len().max(LEAST);
        while !has_room(size, entries) {
            size *= 2;
        }
        if size > self.cells.len() {
            self.grow(size);
        }
    }

    /// Removes the entry of this hash that leads to `slot`, if there is one.
    pub fn remove(&mut self, hash: u32, slot: u32) {
        if self.cells.is_empty() {
            return;
        }
        let mut gap = self.home(hash);
        loop {
            let Some(cell) = Cell::of(self.cells[gap]) else { return };
            if cell.hash == hash && cell.slot == slot {
                break;
            }
            gap = self.next(gap);
        }
        self.len -= 1;
        let mut at = self.next(gap);
        while let Some(cell) = Cell::of(self.cells[at]) {
            // An entry may move into the gap unless its home lies behind it.
            let mask = self.cells.len() - 1;
            let from_home = at.wrapping_sub(self.home(cell.hash)) & mask;
            let from_gap = at.wrapping_sub(gap) & mask;
            if from_home >= from_gap {
                self.cells[gap] = cell.bits();
                gap = at;
            }
            at = self.next(at);
        }
        self.cells[gap] = 0;
    }

    /// Memory it takes.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.cells.capacity() * size_of::<u64>()
    }

    fn grow(&mut self, size: usize) {
        let old = std::mem::replace(&mut self.cells, vec![0; size]);
        for cell in old.into_iter().filter_map(Cell::of) {
            self.place(cell);
        }
    }

    fn place(&mut self, cell: Cell) {
        let mut at = self.home(cell.hash);
        while self.cells[at] != 0 {
            at = self.next(at);
        }
        self.cells[at] = cell.bits();
    }

    fn home(&self, hash: u32) -> usize {
        hash as usize & (self.cells.len() - 1)
    }

    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.cells.len() - 1)
    }
}

/// At four fifths probing is still a matter of one or two cache lines.
fn has_room(cells: usize, entries: usize) -> bool {
    entries * 5 <= cells * 4
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Hashes of few values, so that entries crowd, wrap around and share a hash.
        #[test]
        fn it_is_a_map(
            reserved in 0..300usize,
            steps in prop::collection::vec((any::<bool>(), 0u32..12, 0u32..40), 0..400),
        ) {
            let (mut index, mut model) = (Index::default(), BTreeMap::new());
            if reserved > 100 {
                index.reserve(reserved);
            }
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
