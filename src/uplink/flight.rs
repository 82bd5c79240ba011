//! Publishes in flight: which record stands behind which MQTT packet id, and how far all are acknowledged.
//!
//! The client library numbers packets itself and reports each number only when the packet leaves
//! (`Outgoing::Publish`). Numbers are reported in the order of publishing, so a queue joins the two. The
//! cursor moves over the acknowledged prefix only: an acknowledgement out of order waits for those before it.

use std::collections::VecDeque;

/// What was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// The event with this sequence.
    Event(u64),
    /// A health message.
    Health,
}

#[derive(Debug)]
struct Entry {
    sent: Sent,
    packet: Option<u16>,
    acked: bool,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Flight {
    entries: VecDeque<Entry>,
    /// Entries at the front that have their packet id.
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

    /// The oldest unnumbered publish left under this packet id.
    pub fn left(&mut self, packet: u16) {
        if let Some(entry) = self.entries.get_mut(self.numbered) {
            entry.packet = Some(packet);
            self.numbered += 1;
        }
    }

    /// Acknowledged by the broker. Gives back what became contiguous: (newest event, how many events).
    pub fn acked(&mut self, packet: u16) -> (Option<u64>, u64) {
        if let Some(entry) =
            self.entries.iter_mut().find(|entry| entry.packet == Some(packet) && !entry.acked)
        {
            entry.acked = true;
        }
        let (mut newest, mut count) = (None, 0);
        while self.entries.front().is_some_and(|entry| entry.acked) {
            let Some(entry) = self.entries.pop_front() else { break };
            self.numbered -= 1;
            if let Sent::Event(seq) = entry.sent {
                newest = Some(seq);
                count += 1;
            }
        }
        (newest, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_out_of_order_waits() {
        let mut flight = Flight::default();
        for seq in 1..=3 {
            flight.published(Sent::Event(seq));
        }
        for packet in 11..=13 {
            flight.left(packet);
        }
        assert_eq!(flight.acked(12), (None, 0));
        assert_eq!(flight.acked(12), (None, 0), "a second acknowledgement changes nothing");
        assert_eq!(flight.len(), 3);
        assert_eq!(flight.acked(11), (Some(2), 2));
        assert_eq!(flight.acked(13), (Some(3), 1));
        assert_eq!(flight.len(), 0);
    }

    #[test]
    fn health_takes_a_place_but_moves_no_cursor() {
        let mut flight = Flight::default();
        flight.published(Sent::Event(1));
        flight.published(Sent::Health);
        flight.published(Sent::Event(2));
        flight.left(1);
        flight.left(2);
        assert_eq!(flight.acked(2), (None, 0));
        assert_eq!(flight.acked(1), (Some(1), 1));
        flight.left(1);
        assert_eq!(flight.acked(1), (Some(2), 1), "a packet id may be used again");
    }
}
