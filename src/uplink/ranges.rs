//! Which events are acknowledged: one range, or two while a backlog is drained.
//!
//! ```text
//!            backlog                    from      acked    head
//!  ── acknowledged ──┤ · · to be sent · · ├── live ──┤ · · · │
//! ```
//! *Backlog* is the acknowledged prefix and the only thing that counts as acknowledged for the journal. After an
//! outage that left more than a little, a second range begins at the head: what happens from then on is sent
//! first and at once, the gap behind it at a limited rate. When the backlog meets the start of the live range
//! the two are one again.
//!
//! # Invariants
//!
//! - There are never more than two ranges. If an outage leaves a second gap, behind the live range, that is
//!   itself more than a little, the live range is given up: the backlog goes on from where it is, up to the new
//!   head, and what the live range had delivered is delivered once more. A small gap there is closed by the live
//!   range itself, in order.
//! - The live range lies in the open epoch. A new epoch ends it the same way: earlier epochs are sent whole, and
//!   before later ones.
//! - The backlog never moves back, and never over an event that is neither acknowledged nor known to be gone.

use std::collections::BTreeMap;

use super::milestones::Cursor;

/// More than this behind the head is a backlog: a second or two of what any broker takes, half a minute of a
/// busy line.
pub const SPLIT_ABOVE: u64 = 1_000;

/// The second range: events of `epoch` after `from` up to `acked`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Live {
    /// The open store epoch.
    pub epoch: u64,
    /// The range begins behind this event; the backlog ends with it.
    pub from: u64,
    /// Last event of the range that is acknowledged; `from` if none is.
    pub acked: u64,
}

/// What is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ranges {
    /// The prefix.
    pub backlog: Cursor,
    /// Ahead of it.
    pub live: Option<Live>,
}

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// The prefix grows.
    Backlog,
    /// The live range grows.
    Live,
}

impl Ranges {
    /// How they stand when a connection begins: `self` as stored, `epochs` as kept, `head` the newest durable.
    #[must_use]
    pub fn resumed(mut self, epochs: &BTreeMap<u64, u64>, head: Cursor) -> Ranges {
        self.live.take_if(|live| {
            live.epoch != head.epoch || live.acked > head.seq || head.seq - live.acked > SPLIT_ABOVE
        });
        if self.live.is_none() && self.behind(epochs, head) > SPLIT_ABOVE {
            self.split(head);
        }
        self
    }

    /// Begins the live range at the head.
    pub fn split(&mut self, head: Cursor) {
        self.live = Some(Live { epoch: head.epoch, from: head.seq, acked: head.seq });
    }

    /// Events not acknowledged yet, as far as `epochs` are kept.
    pub fn behind(&self, epochs: &BTreeMap<u64, u64>, head: Cursor) -> u64 {
        let acked = |epoch: u64| match epoch.cmp(&self.backlog.epoch) {
            std::cmp::Ordering::Less => u64::MAX,
            std::cmp::Ordering::Equal => self.backlog.seq,
            std::cmp::Ordering::Greater => 0,
        };
        let earlier: u64 =
            epochs.range(..head.epoch).map(|(epoch, last)| last.saturating_sub(acked(*epoch))).sum();
        let live = self.live.map_or(0, |live| live.acked - live.from);
        earlier + head.seq.saturating_sub(acked(head.epoch)).saturating_sub(live)
    }

    /// An acknowledged prefix of a lane: everything that was sent on it up to `at`. `true` if the ranges became
    /// one by it.
    pub fn acknowledged(&mut self, lane: Lane, at: Cursor) -> bool {
        match (lane, self.live.as_mut()) {
            (Lane::Live, Some(live)) => live.acked = live.acked.max(at.seq),
            // What was still on its way when the ranges became one.
            (Lane::Backlog, _) | (Lane::Live, None) => self.backlog = self.backlog.max(at),
        }
        self.join()
    }

    /// Makes one range of two that meet.
    pub fn join(&mut self) -> bool {
        let met = self.live.filter(|live| self.backlog >= Cursor { epoch: live.epoch, seq: live.from });
        if let Some(live) = met {
            self.backlog = self.backlog.max(Cursor { epoch: live.epoch, seq: live.acked });
            self.live = None;
        }
        met.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: u64 = 30;

    fn at(epoch: u64, seq: u64) -> Cursor {
        Cursor { epoch, seq }
    }

    fn live(from: u64, acked: u64) -> Option<Live> {
        Some(Live { epoch: OPEN, from, acked })
    }

    #[test]
    fn a_large_backlog_splits_at_the_head_and_a_small_one_does_not() {
        let epochs = BTreeMap::from([(OPEN, 5_000)]);
        let stored = |seq| Ranges { backlog: at(OPEN, seq), live: None };
        assert_eq!(stored(4_000).resumed(&epochs, at(OPEN, 5_000)), stored(4_000));
        let split = stored(3_999).resumed(&epochs, at(OPEN, 5_000));
        assert_eq!(split, Ranges { backlog: at(OPEN, 3_999), live: live(5_000, 5_000) });
        assert_eq!(split.behind(&epochs, at(OPEN, 5_100)), 1_101);
    }

    #[test]
    fn unsent_ends_of_earlier_epochs_count() {
        let epochs = BTreeMap::from([(10, 500), (20, 900), (OPEN, 7)]);
        let stored = Ranges { backlog: at(10, 300), live: None };
        assert_eq!(stored.behind(&epochs, at(OPEN, 7)), 200 + 900 + 7);
        assert_eq!(stored.resumed(&epochs, at(OPEN, 7)).live, live(7, 7));
        // Nothing was ever published.
        assert_eq!(Ranges::default().behind(&epochs, at(OPEN, 7)), 500 + 900 + 7);
    }

    #[test]
    fn a_second_gap_is_closed_by_the_live_range_if_small_and_ends_it_if_not() {
        let epochs = BTreeMap::from([(OPEN, 100_000)]);
        let stored = Ranges { backlog: at(OPEN, 2_000), live: live(50_000, 60_000) };
        assert_eq!(stored.resumed(&epochs, at(OPEN, 61_000)), stored);
        let again = stored.resumed(&epochs, at(OPEN, 61_001));
        assert_eq!(again, Ranges { backlog: at(OPEN, 2_000), live: live(61_001, 61_001) });
        let next = Ranges { live: stored.live, ..stored }.resumed(&epochs, at(OPEN + 1, 3));
        assert_eq!(next.live, Some(Live { epoch: OPEN + 1, from: 3, acked: 3 }));
        assert_eq!(next.backlog, stored.backlog);
    }

    #[test]
    fn they_become_one_where_they_meet() {
        let mut ranges = Ranges { backlog: at(20, 2_000), live: live(50, 60) };
        assert!(!ranges.acknowledged(Lane::Backlog, at(OPEN, 49)));
        assert!(!ranges.acknowledged(Lane::Live, at(OPEN, 61)));
        assert!(ranges.acknowledged(Lane::Backlog, at(OPEN, 50)));
        assert_eq!(ranges, Ranges { backlog: at(OPEN, 61), live: None });
        assert!(!ranges.acknowledged(Lane::Live, at(OPEN, 62)), "it was on its way");
        assert_eq!(ranges.backlog, at(OPEN, 62));
        assert!(!ranges.acknowledged(Lane::Backlog, at(OPEN, 7)), "never back");
        assert_eq!(ranges.backlog, at(OPEN, 62));
    }
}
