//! The tags that are, or just were, in the field: one arrival each.

use crate::line::Tick;

/// Tags remembered; more than a head can hold in its field.
const TAGS_MOST: usize = 256;

/// Tells a tag that has come from one that is still there.
#[derive(Debug)]
pub(super) struct Seen {
    same_tag_ms: u64,
    /// EPC and last sighting; a handful, so a search through all is the quickest.
    tags: Vec<(Vec<u8>, Tick)>,
    evicted: u64,
}

impl Seen {
    pub(super) fn new(same_tag_ms: u32) -> Seen {
        Seen { same_tag_ms: same_tag_ms.into(), tags: Vec::new(), evicted: 0 }
    }

    /// Whether this sighting is an arrival: the tag was not seen for `same_tag_ms`.
    pub(super) fn arrives(&mut self, epc: &[u8], at: Tick) -> bool {
        self.tags.retain(|(_, last)| at.ms_since(*last) < self.same_tag_ms);
        if let Some((_, last)) = self.tags.iter_mut().find(|(tag, _)| tag == epc) {
            *last = at;
            return false;
        }
        if self.tags.len() >= TAGS_MOST {
            let oldest = self.tags.iter().enumerate().min_by_key(|(_, (_, last))| *last);
            if let Some((place, _)) = oldest {
                self.tags.swap_remove(place);
                self.evicted += 1;
            }
        }
        self.tags.push((epc.to_vec(), at));
        true
    }

    /// Tags forgotten for want of room since the last call.
    pub(super) fn take_evicted(&mut self) -> u64 {
        std::mem::take(&mut self.evicted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_that_stays_arrives_once() {
        let mut seen = Seen::new(1_000);
        let at = |ms: u64| Tick(ms * 1_000);
        assert!(seen.arrives(&[1], at(0)));
        assert!(!seen.arrives(&[1], at(900)));
        assert!(!seen.arrives(&[1], at(1_800)), "each sighting extends its stay");
        assert!(seen.arrives(&[2], at(1_900)));
        assert!(seen.arrives(&[1], at(2_800)), "it was away for a second");
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest() {
        let mut seen = Seen::new(60_000);
        for number in 0..300_u64 {
            assert!(seen.arrives(&number.to_be_bytes(), Tick(number)));
        }
        assert_eq!((seen.tags.len(), seen.take_evicted(), seen.take_evicted()), (TAGS_MOST, 44, 0));
        assert!(!seen.arrives(&299_u64.to_be_bytes(), Tick(301)));
        assert!(seen.arrives(&0_u64.to_be_bytes(), Tick(302)));
    }
}
