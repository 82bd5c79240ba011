//! What stands in flight for too long, and what is done about it.
//!
//! - The oldest *event* in flight is not acknowledged within `silence-ms`: the connection is given up, whatever else
//!   the broker acknowledges meanwhile, and the alarm names the event.
//! - Nothing at all is acknowledged, and no event is in flight to tell more: given up as well.
//! - Only health or an anchor is not acknowledged: a warning says so, events go on. Now and then the connection is
//!   renewed for it, in order and between two events, so that nothing is repeated: that heals a single
//!   acknowledgement that got lost, and gives back the packet ids that such publishes hold.

use std::time::Duration;

use tokio::time::Instant;

use super::link::Link;
use super::{End, Publisher, REMEDY};
use crate::line::record::{Alarm, Severity};
use crate::uplink::broker::{self, Lost};
use crate::uplink::flight::{Kind, Sent, Standing};
use crate::uplink::milestones::{Cursor, Milestones};
use crate::watch::Ne107;

/// Alarm for what is published beside events and not acknowledged.
const UNACKNOWLEDGED: &str = "uplink-unacknowledged";

/// Least time between two renewals, unless packet ids run out.
const RENEW_EVERY: Duration = Duration::from_secs(60);

/// A publish that so many others have overtaken is not acknowledged any more, and its packet id comes round soon.
const OVERTAKEN: u64 = broker::PACKET_IDS as u64 / 2;

impl<M: Milestones> Publisher<M> {
    /// Something of this kind was acknowledged.
    pub(super) fn heed_ack(&mut self, kind: Option<Kind>, link: &mut Link) {
        let is_event = kind == Some(Kind::Events);
        link.useful |= is_event;
        // A broker that acknowledges health and no event is of no use, as long as there are events.
        if is_event || self.status.borrow().backlog == 0 {
            self.attempt = 0;
            if std::mem::take(&mut self.hollow) {
                self.board.device(super::DEVICE, Ne107::Good, "connected", REMEDY);
            }
        }
        if kind.is_some_and(|kind| self.unacknowledged.remove(&kind)) {
            self.say_unacknowledged();
        }
    }

    /// Looks how long the oldest of each kind has been waiting.
    pub(super) fn look_at_standing(&mut self, link: &mut Link, now: Instant) -> Option<End> {
        let silence = broker::silence(&self.settings);
        let waits = |since| now.duration_since(since) > silence;
        if let Some(Standing { sent: Sent::Event(_, at), since, .. }) = link.flight.look(Kind::Events, now)
            && waits(since)
        {
            let Cursor { epoch, seq } = at;
            return Some(End::Lost(Lost::EventNotAcked { epoch, seq, ms: silence.as_millis() }));
        }
        let no_event = link.flight.of(Kind::Events) == 0;
        if link.renewing && no_event {
            return Some(End::Renew);
        }
        for kind in [Kind::Anchors, Kind::Health] {
            let Some(standing) = link.flight.look(kind, now) else { continue };
            let overtaken = standing.behind >= OVERTAKEN;
            if !waits(standing.since) && !overtaken {
                continue;
            }
            if no_event && !link.useful && waits(link.acked) {
                return Some(End::Lost(Lost::NoAck(silence.as_millis())));
            }
            if self.unacknowledged.insert(kind) {
                self.say_unacknowledged();
            }
            let due = self.renewed.is_none_or(|at| now.duration_since(at) >= RENEW_EVERY);
            if (due || overtaken) && !link.renewing && !link.leaving {
                self.renewed = Some(now);
                link.renewing = true;
            }
        }
        None
    }

    fn say_unacknowledged(&self) {
        let topics: Vec<String> = self
            .unacknowledged
            .iter()
            .map(|kind| match kind {
                Kind::Events => self.topics.events(),
                Kind::Anchors => self.topics.anchors(),
                Kind::Health => self.topics.health(),
            })
            .collect();
        if topics.is_empty() {
            self.board.clear(UNACKNOWLEDGED);
            return;
        }
        let silence = broker::silence(&self.settings).as_millis();
        let text = format!(
            "the broker did not acknowledge what is published to {} within {silence} ms",
            topics.join(" and ")
        );
        self.board.fault(super::DEVICE, "unacknowledged", &text);
        self.board.raise(Alarm {
            id: UNACKNOWLEDGED.to_owned(),
            severity: Severity::Warning,
            text,
            remedy: "Look at the broker's rules and storage for this topic. Events go on; it is sent again."
                .to_owned(),
        });
    }
}
