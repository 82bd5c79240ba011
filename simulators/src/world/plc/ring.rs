//! The PLC's event ring: what happened, kept until the PC has made it durable.
//!
//! Invariants: an event that is not acknowledged is never overwritten; one that finds no place is counted
//! as lost and was never numbered; sequences run 1…65535 without a gap.

use std::collections::BTreeMap;

use sortd::wire::plc::{EVENT_WORDS, PlcEvent, PlcEventKind, next_seq, seq_distance};

/// The ring.
#[derive(Debug, Clone)]
pub struct Ring {
    slots: Vec<Option<PlcEvent>>,
    /// Slots whose registers show something else than the record: a PLC program with a mistake in it.
    raw: BTreeMap<usize, [u16; EVENT_WORDS as usize]>,
    head: u16,
    acknowledged: u16,
    pending: u16,
    lost: u16,
    strange_acks: u64,
}

impl Ring {
    /// An empty ring.
    pub fn new(slots: u16) -> Ring {
        Ring {
            slots: vec![None; usize::from(slots.max(2))],
            raw: BTreeMap::new(),
            head: 0,
            acknowledged: 0,
            pending: 0,
            lost: 0,
            strange_acks: 0,
        }
    }

    /// Sequence of the newest record; 0 before the first.
    pub fn head(&self) -> u16 {
        self.head
    }

    /// Last record the PC has made durable.
    pub fn acknowledged(&self) -> u16 {
        self.acknowledged
    }

    /// Events that found no place, ever.
    pub fn lost(&self) -> u16 {
        self.lost
    }

    /// Acknowledgements of something that is not waiting for one.
    pub fn strange_acks(&self) -> u64 {
        self.strange_acks
    }

    /// Records waiting for their acknowledgement.
    pub fn pending(&self) -> u16 {
        self.pending
    }

    /// Places left. One slot stays free: 65535 is no multiple of the slots, so that at the wrap a record
    /// falls one slot nearer to the oldest.
    pub fn room(&self) -> u16 {
        u16::try_from(self.slots.len() - 1).unwrap_or(u16::MAX).saturating_sub(self.pending)
    }

    /// Adds a record, or counts it as lost. Gives the slot it took.
    pub fn push(
        &mut self,
        kind: PlcEventKind,
        track: u32,
        encoder: u32,
        carrier: u16,
        length_mm: u16,
    ) -> Option<PlcEvent> {
        if self.room() == 0 {
            self.lost = self.lost.saturating_add(1);
            return None;
        }
        let seq = next_seq(self.head);
        let event = PlcEvent { seq, kind, track, encoder, carrier, length_mm };
        let slot = usize::from(seq) % self.slots.len();
        self.slots[slot] = Some(event);
        self.raw.remove(&slot);
        self.head = seq;
        self.pending += 1;
        Some(event)
    }

    /// Adds a record whose registers are these, whatever they mean; only the sequence behind them is right.
    /// False where it finds no place.
    pub fn push_raw(&mut self, words: [u16; EVENT_WORDS as usize - 1]) -> bool {
        let Some(event) = self.push(PlcEventKind::Button { chute: 0 }, 0, 0, 0, 0) else { return false };
        let slot = usize::from(event.seq) % self.slots.len();
        let mut registers = [event.seq; EVENT_WORDS as usize];
        registers[..words.len()].copy_from_slice(&words);
        self.raw.insert(slot, registers);
        true
    }

    /// Registers of a slot that shows something else than its record.
    pub fn raw(&self, slot: usize) -> Option<[u16; EVENT_WORDS as usize]> {
        self.raw.get(&slot).copied()
    }

    /// The record of this sequence, while it is in the ring.
    pub fn get(&self, seq: u16) -> Option<PlcEvent> {
        self.slots[usize::from(seq) % self.slots.len()].filter(|event| event.seq == seq)
    }

    /// What lies in a slot.
    pub fn slot(&self, slot: usize) -> Option<PlcEvent> {
        self.slots.get(slot).copied().flatten()
    }

    /// The PC has made everything up to `seq` durable.
    pub fn acknowledge(&mut self, seq: u16) {
        // 0 is what the PC writes before it asks for a resync.
        if seq == self.acknowledged || seq == 0 {
            return;
        }
        let steps = seq_distance(self.acknowledged, seq);
        if steps == 0 || steps > self.pending {
            self.strange_acks += 1;
            return;
        }
        self.acknowledged = seq;
        self.pending -= steps;
    }

    /// Both sides go to 0; what is not acknowledged comes again under new sequences from 1 on, and
    /// a record behind it says so.
    pub fn resync(&mut self, encoder: u32) {
        let mut again = Vec::with_capacity(usize::from(self.pending));
        let mut seq = self.acknowledged;
        for _ in 0..self.pending {
            seq = next_seq(seq);
            again.extend(self.get(seq));
        }
        let (lost, strange_acks) = (self.lost, self.strange_acks);
        *self = Ring::new(u16::try_from(self.slots.len()).unwrap_or(u16::MAX));
        self.lost = lost;
        self.strange_acks = strange_acks;
        for event in again {
            self.push(event.kind, event.track, event.encoder, event.carrier, event.length_mm);
        }
        self.push(PlcEventKind::Resynced, 0, encoder, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn push(ring: &mut Ring, track: u32) -> bool {
        ring.push(PlcEventKind::Inducted, track, 0, 0, 0).is_some()
    }

    #[test]
    fn the_unacknowledged_are_kept_and_the_rest_counted_as_lost() {
        let mut ring = Ring::new(8);
        let taken = (0..10).filter(|n| push(&mut ring, *n)).count();
        assert_eq!((taken, ring.lost(), ring.head()), (7, 3, 7));
        assert_eq!(ring.get(1).unwrap().track, 0);
        ring.acknowledge(3);
        assert_eq!(ring.room(), 3);
        ring.acknowledge(3);
        ring.acknowledge(9);
        ring.acknowledge(2);
        assert_eq!((ring.acknowledged(), ring.strange_acks()), (3, 2));
    }

    #[test]
    fn a_record_with_wrong_registers_shows_them_until_its_slot_is_used_again() {
        let mut ring = Ring::new(4);
        assert!(ring.push_raw([77; 9]));
        assert_eq!(ring.raw(1), Some([77, 77, 77, 77, 77, 77, 77, 77, 77, 1]));
        for track in 0..4 {
            ring.acknowledge(ring.head());
            assert!(push(&mut ring, track));
        }
        assert_eq!(ring.raw(1), None);
    }

    #[test]
    fn a_resync_offers_the_unacknowledged_again() {
        let mut ring = Ring::new(8);
        for n in 0..5 {
            push(&mut ring, n);
        }
        ring.acknowledge(2);
        ring.resync(77);
        assert_eq!((ring.head(), ring.acknowledged(), ring.pending()), (4, 0, 4));
        assert_eq!(ring.get(4).unwrap().kind, PlcEventKind::Resynced);
        let tracks: Vec<u32> = (1..=3).map(|seq| ring.get(seq).unwrap().track).collect();
        assert_eq!(tracks, [2, 3, 4]);
    }

    proptest! {
        #[test]
        fn every_pending_record_can_be_read_also_around_the_wrap(
            steps in proptest::collection::vec((1u16..600, 1u16..600), 150..260)
        ) {
            let mut ring = Ring::new(1024);
            let mut next = 0u32;
            let mut acked = 0u32;
            for (add, ack) in steps {
                for _ in 0..add {
                    if push(&mut ring, next) {
                        next += 1;
                    }
                }
                let mut seq = ring.acknowledged();
                for n in 0..ring.pending() {
                    seq = next_seq(seq);
                    prop_assert_eq!(ring.get(seq).map(|e| e.track), Some(acked + u32::from(n)));
                }
                let mut seq = ring.acknowledged();
                let ack = ack.min(ring.pending());
                for _ in 0..ack {
                    seq = next_seq(seq);
                }
                ring.acknowledge(seq);
                acked += u32::from(ack);
            }
            prop_assert_eq!(ring.strange_acks(), 0);
        }
    }
}
