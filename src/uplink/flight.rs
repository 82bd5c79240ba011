//! Publishes in flight: which record stands behind which MQTT packet id, and how far all are acknowledged.
//!
//! The client library numbers packets itself and reports each number only when the packet leaves
//! (`Outgoing::Publish`). Numbers are reported in the order of publishing, so a queue joins the two. The
//! cursors move over the acknowledged prefix only: an acknowledgement out of order waits for those before it,
//! also across the two lanes of events.
//!
//! Events, anchors and health have a queue each, so that a message of one kind that is never acknowledged holds up
//! nothing of another. How long the oldest of each kind has stood there says whether the broker still works for
//! that kind: what it acknowledges of another kind proves nothing.

use std::collections::VecDeque;

use tokio::time::Instant;

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

/// What waits together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Events of both lanes, and the places passed between them.
    Events,
    /// Anchors.
    Anchors,
    /// Health.
    Health,
}

impl Sent {
    fn kind(self) -> Kind {
        match self {
            Sent::Event(..) | Sent::Passed(..) => Kind::Events,
            Sent::Anchor(_) => Kind::Anchors,
            Sent::Health => Kind::Health,
        }
    }
}

#[derive(Debug)]
struct Entry {
    sent: Sent,
    packet: Option<u16>,
    acked: bool,
    /// How many publishes were handed over before it.
    before: u64,
}

/// The oldest unacknowledged publish of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// What it is.
    pub sent: Sent,
    /// Since when it is the oldest.
    pub since: Instant,
    /// Publishes handed over after it, of every kind.
    pub behind: u64,
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

/// Publishes of one kind.
#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Entry>,
    /// Entries at the front that have their packet id, or need none.
    numbered: usize,
    /// How many have left it: with it the oldest is known again.
    released: u64,
    /// How many had left it when its oldest was first seen, and when that was.
    seen: Option<(u64, Instant)>,
}

impl Queue {
    /// The oldest unnumbered publish left under this packet id.
    fn left(&mut self, packet: u16) {
        while let Some(entry) = self.entries.get_mut(self.numbered) {
            self.numbered += 1;
            if !matches!(entry.sent, Sent::Passed(..)) {
                entry.packet = Some(packet);
                return;
            }
        }
    }

    fn acked(&mut self, packet: u16) -> bool {
        let entry = self.entries.iter_mut().find(|entry| entry.packet == Some(packet) && !entry.acked);
        entry.map(|entry| entry.acked = true).is_some()
    }

    fn release(&mut self, released: &mut Released) {
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.acked) {
            self.numbered = self.numbered.saturating_sub(1);
            self.released += 1;
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
    }

    fn look(&mut self, handed: u64, now: Instant) -> Option<Standing> {
        let Some(oldest) = self.entries.front() else {
            self.seen = None;
            return None;
        };
        let since = match self.seen {
            Some((released, since)) if released == self.released => since,
            _ => now,
        };
        self.seen = Some((self.released, since));
        Some(Standing { sent: oldest.sent, since, behind: handed.saturating_sub(oldest.before + 1) })
    }
}

/// The queues.
#[derive(Debug, Default)]
pub(super) struct Flight {
    events: Queue,
    anchors: Queue,
    health: Queue,
    /// Handed over and not yet numbered, in order.
    leaving: VecDeque<Kind>,
    handed: u64,
}

impl Flight {
    /// Places taken, of all kinds.
    pub fn len(&self) -> usize {
        self.events.entries.len() + self.anchors.entries.len() + self.health.entries.len()
    }

    /// Places taken by one kind: everything from its oldest unacknowledged publish on. Bounding this for events, and
    /// not only what is unacknowledged, keeps a packet id from coming round while its first use is still open.
    pub fn of(&self, kind: Kind) -> usize {
        match kind {
            Kind::Events => self.events.entries.len(),
            Kind::Anchors => self.anchors.entries.len(),
            Kind::Health => self.health.entries.len(),
        }
    }

    /// Handed to the client.
    pub fn published(&mut self, sent: Sent) {
        let (kind, before) = (sent.kind(), self.handed);
        self.handed += 1;
        self.queue(kind).entries.push_back(Entry { sent, packet: None, acked: false, before });
        self.leaving.push_back(kind);
    }

    /// The lane has come to `at` without a publish; counts when all before it is acknowledged.
    pub fn passed(&mut self, lane: Lane, at: Cursor) -> Released {
        let sent = Sent::Passed(lane, at);
        self.events.entries.push_back(Entry { sent, packet: None, acked: true, before: self.handed });
        let mut released = Released::default();
        self.events.release(&mut released);
        released
    }

    /// The oldest unnumbered publish left under this packet id.
    pub fn left(&mut self, packet: u16) {
        if let Some(kind) = self.leaving.pop_front() {
            self.queue(kind).left(packet);
        }
    }

    /// Acknowledged by the broker. Gives back what kind it was of, and what became contiguous.
    pub fn acked(&mut self, packet: u16) -> (Option<Kind>, Released) {
        let mut released = Released::default();
        let kinds = [Kind::Events, Kind::Anchors, Kind::Health];
        let kind = kinds.into_iter().find(|kind| self.queue(*kind).acked(packet));
        if let Some(kind) = kind {
            self.queue(kind).release(&mut released);
        }
        (kind, released)
    }

    /// The oldest unacknowledged publish of a kind; to be asked now and then, since it is stamped when it is first
    /// seen to be the oldest.
    pub fn look(&mut self, kind: Kind, now: Instant) -> Option<Standing> {
        let handed = self.handed;
        self.queue(kind).look(handed, now)
    }

    fn queue(&mut self, kind: Kind) -> &mut Queue {
        match kind {
            Kind::Events => &mut self.events,
            Kind::Anchors => &mut self.anchors,
            Kind::Health => &mut self.health,
        }
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
        let (_, released) = flight.acked(packet);
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
    fn neither_health_nor_an_anchor_moves_a_cursor_or_holds_one_up() {
        let mut flight = Flight::default();
        for sent in [Sent::Anchor(7), Sent::Health, event(1), Sent::Health, event(2)] {
            flight.published(sent);
        }
        for packet in 1..=4 {
            flight.left(packet);
        }
        assert_eq!((flight.len(), flight.of(Kind::Events)), (5, 2));
        assert_eq!(acked(&mut flight, 4), (None, 0));
        assert_eq!(acked(&mut flight, 3), (Some(1), 1), "the anchor and health before it still wait");
        flight.left(3);
        assert_eq!(acked(&mut flight, 3), (Some(2), 1), "a packet id may be used again");
        assert_eq!((flight.len(), flight.of(Kind::Events)), (3, 0));
        let (kind, released) = flight.acked(1);
        assert_eq!((kind, released.anchor), (Some(Kind::Anchors), Some(7)));
    }

    #[test]
    fn the_oldest_of_a_kind_is_known_by_how_long_it_has_been_the_oldest() {
        let start = Instant::now();
        let after = |seconds| start + std::time::Duration::from_secs(seconds);
        let mut flight = Flight::default();
        assert_eq!(flight.look(Kind::Events, start), None);
        flight.published(event(1));
        flight.published(event(2));
        flight.published(Sent::Health);
        (1..=3).for_each(|packet| flight.left(packet));
        let standing = |sent, since, behind| Some(Standing { sent, since: after(since), behind });
        assert_eq!(flight.look(Kind::Events, after(1)), standing(event(1), 1, 2));
        flight.acked(2);
        flight.acked(3);
        flight.published(Sent::Health);
        assert_eq!(
            flight.look(Kind::Events, after(5)),
            standing(event(1), 1, 3),
            "none of these is progress"
        );
        flight.acked(1);
        assert_eq!(flight.look(Kind::Events, after(6)), None);
        flight.published(event(3));
        assert_eq!(flight.look(Kind::Events, after(7)), standing(event(3), 7, 0));
        assert_eq!(flight.look(Kind::Health, after(7)), standing(Sent::Health, 7, 1));
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
        let (_, released) = flight.acked(2);
        assert_eq!(released.live, Progress { newest: Some(at(90)), events: 1 });
        assert_eq!(released.backlog, Progress { newest: Some(at(40)), events: 0 });
        assert_eq!(flight.acked(3).1.live.newest, Some(at(91)));
        let alone = flight.passed(Lane::Backlog, at(50));
        assert_eq!(alone.backlog.newest, Some(at(50)), "with nothing before it, at once");
        flight.published(event(51));
        flight.left(4);
        assert_eq!(acked(&mut flight, 4), (Some(51), 1));
    }
}
