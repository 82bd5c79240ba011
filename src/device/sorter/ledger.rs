//! Which ring records the core has and the journal has made durable: what register 2 may say.
//!
//! # The rule
//!
//! Records are kept in the order in which they were handed to the core, each with two names: the sequence under
//! which the core and the journal know it, and the sequence the PLC gives it now. They differ only after a resync,
//! when the PLC numbers anew.
//!
//! 1. An acknowledgement of the journal names a record by the *core's* sequence. It means the front-most record of
//!    that name that is not durable yet, and all before it. A name that is not in the ledger is ignored: it belongs
//!    to a numbering that is over. So an acknowledgement can come too late, never too early.
//! 2. Register 2 is the *PLC's* sequence of the last record of the durable front part.
//! 3. A record nobody can use (undecodable, overwritten) counts as durable from the beginning, so that it cannot
//!    wedge the ring; it is acknowledged when all before it are.
//! 4. After a resync each record that is still here has lost its PLC sequence. When the PLC offers a record again
//!    it is recognised by its contents, in order, gets its new sequence, and is not handed on a second time. What
//!    was not offered again up to the head the resync ended with had been acknowledged or overwritten; it leaves.

use std::collections::VecDeque;

use crate::wire::plc::PlcEvent;

#[derive(Debug, Clone, Copy)]
struct Item {
    /// The PLC's present sequence; `None` after a resync, until it is offered again.
    plc: Option<u16>,
    /// As it was handed to the core, under the core's sequence; `None` where it was of no use.
    event: Option<PlcEvent>,
    durable: bool,
}

/// Records handed on and not acknowledged yet.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    items: VecDeque<Item>,
    acknowledged: u16,
}

impl Ledger {
    /// Begins with an empty ledger at what the PLC holds acknowledged.
    pub(super) fn begin(&mut self, acknowledged: u16) {
        self.items.clear();
        self.acknowledged = acknowledged;
    }

    /// What register 2 may say.
    pub(super) fn acknowledged(&self) -> u16 {
        self.acknowledged
    }

    /// Records not acknowledged.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Handed to the core under the sequence it has now.
    pub(super) fn handed_on(&mut self, event: PlcEvent) {
        self.items.push_back(Item { plc: Some(event.seq), event: Some(event), durable: false });
    }

    /// Of no use to the core.
    pub(super) fn of_no_use(&mut self, seq: u16) {
        self.items.push_back(Item { plc: Some(seq), event: None, durable: true });
        self.settle();
    }

    /// The journal has made the record with this sequence durable, and all before it.
    pub(super) fn durable(&mut self, seq: u16) {
        let named = |item: &Item| !item.durable && item.event.is_some_and(|event| event.seq == seq);
        if let Some(place) = self.items.iter().position(named) {
            for item in self.items.range_mut(..=place) {
                item.durable = true;
            }
            self.settle();
        }
    }

    /// The PLC has numbered anew and takes 0 for what is acknowledged.
    pub(super) fn renumbered(&mut self) {
        self.acknowledged = 0;
        self.items.retain(|item| item.event.is_some());
        for item in &mut self.items {
            item.plc = None;
        }
    }

    /// Whether this record, offered after a resync, has been handed on before it.
    pub(super) fn had(&mut self, event: &PlcEvent) -> bool {
        let same = |item: &&mut Item| {
            item.plc.is_none() && item.event.is_some_and(|old| PlcEvent { seq: event.seq, ..old } == *event)
        };
        let Some(item) = self.items.iter_mut().find(same) else { return false };
        item.plc = Some(event.seq);
        self.settle();
        true
    }

    /// Everything that was to be offered again has been.
    pub(super) fn offered_again(&mut self) {
        self.items.retain(|item| item.plc.is_some());
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(Item { plc: Some(seq), durable: true, .. }) = self.items.front() {
            self.acknowledged = *seq;
            self.items.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::plc::PlcEventKind;

    fn event(seq: u16, track: u32) -> PlcEvent {
        PlcEvent { seq, kind: PlcEventKind::Inducted, track, encoder: track * 10, carrier: 0, length_mm: 300 }
    }

    fn ledger(acknowledged: u16, tracks: std::ops::RangeInclusive<u16>) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.begin(acknowledged);
        for seq in tracks {
            ledger.handed_on(event(seq, seq.into()));
        }
        ledger
    }

    #[test]
    fn only_what_is_durable_is_acknowledged() {
        let mut ledger = ledger(100, 101..=105);
        assert_eq!(ledger.acknowledged(), 100);
        ledger.durable(103);
        assert_eq!((ledger.acknowledged(), ledger.len()), (103, 2));
        ledger.durable(103);
        ledger.durable(99);
        assert_eq!(ledger.acknowledged(), 103);
        ledger.durable(105);
        assert_eq!((ledger.acknowledged(), ledger.len()), (105, 0));
    }

    #[test]
    fn a_record_of_no_use_waits_for_those_before_it_and_wedges_nothing() {
        let mut ledger = ledger(0, 1..=1);
        ledger.of_no_use(2);
        assert_eq!(ledger.acknowledged(), 0);
        ledger.durable(1);
        assert_eq!(ledger.acknowledged(), 2);
        ledger.of_no_use(3);
        assert_eq!((ledger.acknowledged(), ledger.len()), (3, 0));
    }

    #[test]
    fn after_a_resync_old_records_are_recognised_once() {
        let mut ledger = ledger(5_000, 5_001..=5_003);
        ledger.durable(5_001);
        ledger.renumbered();
        assert_eq!(ledger.acknowledged(), 0);
        assert!(ledger.had(&event(1, 5_002)));
        assert!(ledger.had(&event(2, 5_003)));
        // The same contents once more is another record.
        assert!(!ledger.had(&event(3, 5_003)));
        ledger.handed_on(event(3, 5_003));
        ledger.offered_again();
        // The journal goes on in the old names for what it had under them.
        ledger.durable(5_003);
        assert_eq!(ledger.acknowledged(), 2);
        ledger.durable(3);
        assert_eq!(ledger.acknowledged(), 3);
    }

    #[test]
    fn an_acknowledgement_that_overtakes_the_offer_is_kept() {
        let mut ledger = ledger(10, 11..=12);
        ledger.renumbered();
        ledger.durable(12);
        assert_eq!(ledger.acknowledged(), 0, "the PLC has no name for them yet");
        assert!(ledger.had(&event(1, 11)) && ledger.had(&event(2, 12)));
        assert_eq!((ledger.acknowledged(), ledger.len()), (2, 0));
    }

    #[test]
    fn names_of_an_old_numbering_never_acknowledge_too_early() {
        // 3 is the old name of a record that is not durable and the new name of a later one.
        let mut ledger = ledger(2, 3..=3);
        ledger.renumbered();
        assert!(ledger.had(&event(1, 3)));
        ledger.handed_on(event(2, 70));
        ledger.handed_on(event(3, 71));
        ledger.durable(3);
        assert_eq!(ledger.acknowledged(), 1);
        ledger.durable(3);
        assert_eq!(ledger.acknowledged(), 3);
    }

    #[test]
    fn what_the_plc_no_longer_has_leaves() {
        let mut ledger = ledger(10, 11..=13);
        ledger.renumbered();
        assert!(ledger.had(&event(1, 12)) && ledger.had(&event(2, 13)));
        ledger.offered_again();
        assert_eq!(ledger.len(), 2);
        ledger.durable(13);
        assert_eq!((ledger.acknowledged(), ledger.len()), (2, 0));
    }
}
