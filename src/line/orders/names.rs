//! Names that many orders share, and their numbers.

use super::index::{Index, hash};

/// Names of places, carriers, customers and the like at most: far above any plan's, so that nonsense cannot
/// fill the memory.
pub(super) const NAMES_MOST: usize = 60_000;

/// The names.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: Vec<Box<str>>,
    numbers: Index,
}

impl Names {
    /// The number of a name, which is known from now on; `None` where there are too many.
    pub fn number(&mut self, name: &str) -> Option<u16> {
        let hash = hash(name.as_bytes());
        let is = |at: u32| self.names.get(at as usize).is_some_and(|known| **known == *name);
        if let Some(number) = self.numbers.find(hash, is) {
            return u16::try_from(number).ok();
        }
        let number = u16::try_from(self.names.len()).ok().filter(|at| usize::from(*at) < NAMES_MOST)?;
        self.names.push(name.into());
        self.numbers.insert(hash, u32::from(number));
        Some(number)
    }

    pub fn name(&self, number: u16) -> Option<&str> {
        self.names.get(usize::from(number)).map(|name| &**name)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.names.len()
    }
}
