//! Publishes in flight: which record stands behind which MQTT packet id, and how far all are acknowledged.
//!
//! The client library numbers packets itself and reports each number only when the packet leaves
//! (`Outgoing::Publish`). Numbers are reported in the order of publishing, so a queue joins the two. The
//! cursors move over the acknowledged prefix only: an acknowledgement out of order waits for those before it,
//! also across the two lanes.

use std::collections::VecDeque;

use super::milestones::Cursor;
use super::ranges::Lane;

/// What was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// This event.
    Event(Lane, Cursor),
    /// No event: the lane has nothing more up to here. It needs no acknowledgement of its own.
    Passed(Lane, Cursor),
    /// The anchor with this number.
    Anchor(u64),
    /// A health message.
    Health,
}

#[derive(Debug)]
struct Entry {
    sent: Sent,
    packet: Option<u16>,
    acked: bool,
}

/// How far a lane has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Progress {
    /// Newest event or passed place, where anything became contiguous.
    pub newest: Option<Cursor>,
    /// How many events.
    pub events: u64,
}

/// What became contiguous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Released {
    pub backlog: Progress,
    pub live: Progress,
    /// Newest anchor.
    pub anchor: Option<u64>,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Flight {
    entries: VecDeque<Entry>,
    /// Entries at the front that have their packet id, or need none.
    numbered: usize,
}

impl Flight {
    /// Places taken: everything from the oldest unacknowledged publish on. Bounding this, and not only what is
    /// unacknowledged, keeps a packet id from coming round while its first use is still open.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Handed to the client.
    pub fn published(&mut self, sent: Sent) {
        self.entries.push_back(Entry { sent, packet: None, acked: false });
    }

    /// The lane has come to `at` without a publish; counts when all before it is acknowledged.
    pub fn passed(&mut self, lane: Lane, at: Cursor) -> Released {
        self.entries.push_back(Entry { sent: Sent::Passed(lane, at), packet: None, acked: true });
        self.release()
    }

    /// The oldest unnumbered publish left under this packet id. Gives back what it was.
    pub fn left(&mut self, packet: u16) -> Option<Sent> {
        while let Some(entry) = self.entries.get_mut(self.numbered) {
            self.numbered += 1;
            if !matches!(entry.sent, Sent::Passed(..)) {
                entry.packet = Some(packet);
                return Some(entry.sent);
            }
        }
        None
    }

    /// Acknowledged by the broker. Gives back what became contiguous.
    pub fn acked(&mut self, packet: u16) -> Released {
        if let Some(entry) =
            self.entries.iter_mut().find(|entry| entry.packet == Some(packet) && !entry.acked)
        {
            entry.acked = true;
        }
        self.release()
    }

    fn release(&mut self) -> Released {
        let mut released = Released::default();
        while self.entries.front().is_some_and(|entry| entry.acked) {
            let Some(entry) = self.entries.pop_front() else { break };
            self.numbered = self.numbered.saturating_sub(1);
            let (lane, at, events) = match entry.sent {
                Sent::Event(lane, at) => (lane, at, 1),
                Sent::Passed(lane, at) => (lane, at, 0),
                Sent::Anchor(number) => {
                    released.anchor = Some(number);
                    continue;
                }
                Sent::Health => continue,
            };
            let progress = match lane {
                Lane::Backlog => &mut released.backlog,
                Lane::Live => &mut released.live,
            };
            progress.newest = Some(at);
            progress.events += events;
        }
        released
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64) -> Sent {
        Sent::Event(Lane::Backlog, at(seq))
    }

    fn at(seq: u64) -> Cursor {
        Cursor { epoch: 1, seq }
    }

    /// Newest event of the backlog, and how many events.
    fn acked(flight: &mut Flight, packet: u16) -> (Option<u64>, u64) {
        let released = flight.acked(packet);
        assert_eq!(released.live, Progress::default());
        (released.backlog.newest.map(|at| at.seq), released.backlog.events)
    }

    #[test]
    fn the_cursor_moves_over_the_contiguous_prefix_only() {
        let mut flight = Flight::default();
        for seq in 1..=3 {
            flight.published(event(seq));
            flight.left(u16::try_from(seq).unwrap() + 9);
        }
        assert_eq!(acked(&mut flight, 12), (None, 0));
        assert_eq!(acked(&mut flight, 12), (None, 0), "a second acknowledgement changes nothing");
        assert_eq!(flight.len(), 3);
        assert_eq!(acked(&mut flight, 10), (Some(1), 1));
        assert_eq!(acked(&mut flight, 11), (Some(3), 2));
        assert_eq!(flight.len(), 0);
    }

    #[test]
    fn health_takes_a_place_but_moves_no_cursor() {
        let mut flight = Flight::default();
        flight.published(event(1));
        flight.published(Sent::Health);
        flight.published(event(2));
        flight.left(1);
        flight.left(2);
        assert_eq!(acked(&mut flight, 2), (None, 0));
        assert_eq!(acked(&mut flight, 1), (Some(1), 1));
        flight.left(1);
        assert_eq!(acked(&mut flight, 1), (Some(2), 1), "a packet id may be used again");
    }

    #[test]
    fn lanes_move_apart_and_a_passed_place_waits_for_what_is_before_it() {
        let mut flight = Flight::default();
        flight.published(event(1));
        flight.published(Sent::Event(Lane::Live, at(90)));
        assert_eq!(flight.passed(Lane::Backlog, at(40)), Released::default());
        flight.published(Sent::Event(Lane::Live, at(91)));
        flight.left(1);
        flight.left(2);
        flight.left(3);
        assert_eq!(acked(&mut flight, 1), (Some(1), 1));
        let released = flight.acked(2);
        assert_eq!(released.live, Progress { newest: Some(at(90)), events: 1 });
        assert_eq!(released.backlog, Progress { newest: Some(at(40)), events: 0 });
        assert_eq!(flight.acked(3).live.newest, Some(at(91)));
        let alone = flight.passed(Lane::Backlog, at(50));
        assert_eq!(alone.backlog.newest, Some(at(50)), "with nothing before it, at once");
        flight.published(event(51));
        flight.left(4);
        assert_eq!(acked(&mut flight, 4), (Some(51), 1));
    }
}
