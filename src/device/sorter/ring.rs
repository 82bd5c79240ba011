//! Reading the event ring: what to ask for next, and what an answer is worth.
//!
//! ```text
//!                slot is the one due
//!   ┌───────────────────────────────────────────┐
//!   ▼                                           │
//!  due ──read──► look at the slot's sequence ───┘
//!   ▲                 │ another one
//!   │                 ▼
//!   │            read again, up to SLOT_TRIES times
//!   │                 │ still another one
//!   │                 ▼
//!   └── the oldest record still there; those between are missed, and counted
//! ```

use crate::wire::plc::{EVENT_WORDS, HALF_CIRCLE, RegisterMap, Span, next_seq, ring_seq, seq_distance};

/// Reads of a slot that does not hold the record due. The PLC writes a slot in one scan (a few milliseconds), so a
/// slot that is wrong three times a scan apart was overwritten, not being written.
pub(super) const SLOT_TRIES: u8 = 3;

/// Where the reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ring {
    /// Last record read, 0 before the first.
    last: u16,
    tries: u8,
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Everything up to the head has been read.
    Nothing,
    /// These registers.
    Read(Span),
    /// So many records are gone; the reader has moved on, to behind the last of them.
    Missed {
        /// How many.
        count: u16,
        /// Sequence of the last of them.
        last: u16,
    },
    /// The head lies behind what was read: the numberings do not agree.
    Disagree,
}

/// What one slot of an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// The record due; the reader has moved on.
    Due,
    /// Another one: the rest of the answer is void.
    Wrong {
        /// What was due.
        due: u16,
        /// What stood there.
        came: u16,
    },
}

impl Ring {
    pub(super) fn at(last: u16) -> Ring {
        Ring { last, tries: 0 }
    }

    pub(super) fn last(&self) -> u16 {
        self.last
    }

    /// A slot was found wrong and shall be looked at again.
    pub(super) fn retrying(&self) -> bool {
        self.tries > 0
    }

    /// What to do, given the head.
    pub(super) fn next(&mut self, head: u16, map: &RegisterMap) -> Next {
        let behind = seq_distance(self.last, head);
        if behind == 0 {
            return Next::Nothing;
        }
        if behind >= HALF_CIRCLE && self.last != 0 {
            return Next::Disagree;
        }
        let gone = behind.saturating_sub(map.ring_slots);
        let given_up = self.tries >= SLOT_TRIES;
        if gone > 0 || given_up {
            // A slot that stays wrong although the ring reaches that far is one lost record.
            return self.skip(gone.max(1));
        }
        Next::Read(map.ring_read(next_seq(self.last), behind))
    }

    /// Looks at one slot of an answer.
    pub(super) fn slot(&mut self, words: &[u16]) -> Slot {
        let due = next_seq(self.last);
        match ring_seq(words) {
            Some(came) if came == due => {
                *self = Ring::at(due);
                Slot::Due
            }
            came => {
                self.tries = self.tries.saturating_add(1);
                Slot::Wrong { due, came: came.unwrap_or(0) }
            }
        }
    }

    fn skip(&mut self, count: u16) -> Next {
        let mut last = self.last;
        for _ in 0..count {
            last = next_seq(last);
        }
        *self = Ring::at(last);
        Next::Missed { count, last }
    }
}

/// The slots of an answer.
pub(super) fn slots(words: &[u16]) -> impl Iterator<Item = &[u16]> {
    words.chunks(usize::from(EVENT_WORDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(seq: u16) -> [u16; 10] {
        let mut words = [1; 10];
        words[9] = seq;
        words
    }

    #[test]
    fn it_reads_up_to_the_head_and_no_further() {
        let map = RegisterMap::default();
        let mut ring = Ring::at(65_534);
        assert_eq!(ring.next(65_534, &map), Next::Nothing);
        assert_eq!(ring.next(2, &map), Next::Read(Span { address: 1_000 + 10_230, count: 10 }));
        assert_eq!(ring.slot(&slot(65_535)), Slot::Due);
        assert_eq!(ring.next(2, &map), Next::Read(Span { address: 1_010, count: 20 }));
        assert_eq!(ring.slot(&slot(1)), Slot::Due);
        assert_eq!(ring.slot(&slot(2)), Slot::Due);
        assert_eq!(ring.next(2, &map), Next::Nothing);
    }

    #[test]
    fn a_wrong_slot_is_looked_at_again_and_then_given_up() {
        let map = RegisterMap::default();
        let mut ring = Ring::at(10);
        for _ in 0..SLOT_TRIES {
            assert!(matches!(ring.next(12, &map), Next::Read(_)));
            assert_eq!(ring.slot(&slot(1_035)), Slot::Wrong { due: 11, came: 1_035 });
        }
        assert_eq!(ring.next(12, &map), Next::Missed { count: 1, last: 11 });
        assert!(!ring.retrying());
        ring.next(12, &map);
        assert_eq!(ring.slot(&slot(12)), Slot::Due);
    }

    #[test]
    fn a_slot_that_comes_right_costs_nothing() {
        let map = RegisterMap::default();
        let mut ring = Ring::at(10);
        ring.next(11, &map);
        assert!(matches!(ring.slot(&slot(0)), Slot::Wrong { due: 11, came: 0 }));
        assert!(ring.retrying());
        ring.next(11, &map);
        assert_eq!(ring.slot(&slot(11)), Slot::Due);
        assert_eq!(ring.last(), 11);
    }

    #[test]
    fn an_overtaken_reader_goes_on_with_the_oldest_record() {
        let map = RegisterMap::default();
        let mut ring = Ring::at(100);
        // 2,000 records came, 1,024 are there.
        assert_eq!(ring.next(2_100, &map), Next::Missed { count: 976, last: 1_076 });
        assert!(matches!(ring.next(2_100, &map), Next::Read(_)));
        let mut ring = Ring::at(0);
        assert_eq!(ring.next(65_535, &map), Next::Missed { count: 64_511, last: 64_511 });
    }

    #[test]
    fn a_head_behind_the_reader_is_no_outage() {
        let mut ring = Ring::at(5_000);
        assert_eq!(ring.next(12, &RegisterMap::default()), Next::Disagree);
        assert_eq!(ring.last(), 5_000);
    }
}
