//! Proof that a broker passes on what it acknowledges.
//!
//! MQTT 3.1.1 has no way to say no to a publish. A broker whose access rules forbid it, or that finds a message too
//! large, acknowledges it and throws it away (mosquitto 2.0 was seen to do both). An acknowledgement alone would then
//! release events that nobody ever gets. So, at the beginning of a connection and from time to time, the publisher
//! subscribes to its own topics and believes acknowledgements only when it has heard an event come back; then it
//! unsubscribes again, so that the traffic is not doubled.
//!
//! While it proves:
//! - acknowledgements are held back as long as more publishes are acknowledged than have come back. The publisher then
//!   stops by itself at its window, and its cursor stands still.
//! - the first event that comes back ends the proof; what was held is given out.
//! - where something acknowledged does not come back in time, the connection is given up with a name for it, and
//!   everything after the cursor is sent again on the next one.
//!
//! Only publishes that left after the subscription can come back, so only they are counted. Health is subscribed to and
//! counted too, and proves nothing about events. An anchor is on a topic of its own that nobody here has subscribed to:
//! it cannot come back, and the publisher, who knows which packet it is, excuses it. (Without that the first anchor of
//! a line on which nothing moved yet was taken for an event that the broker had thrown away.)

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use rumqttc::{Event, Outgoing, Packet, SubscribeReasonCode};
use tokio::time::Instant;

/// Time between the end of a proof and the beginning of the next, while events go out.
const AGAIN: Duration = Duration::from_secs(10);

/// What is proven, and by what.
#[derive(Debug)]
pub(super) struct Proof {
    events: String,
    /// Longest time that something acknowledged may take to come back.
    patience: Duration,
    state: State,
    /// Acknowledgements that are not believed yet, and what came after them.
    held: VecDeque<Event>,
}

#[derive(Debug)]
enum State {
    /// Nothing is asked of the broker before this time.
    Proven { again: Instant },
    /// To be subscribed at the next chance.
    Due,
    /// Asked for, or subscribed.
    Proving {
        /// The subscription has left.
        left: bool,
        /// Publishes that left after it and are not yet acknowledged.
        after: HashSet<u16>,
        acknowledged: u64,
        came_back: u64,
        /// Since when more is acknowledged than came back.
        owing: Option<Instant>,
    },
}

/// What the owner of the connection has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    Subscribe,
    Unsubscribe,
    /// The broker refuses the subscription.
    Refused,
}

impl Proof {
    /// To begin with the connection.
    pub fn new(events: String, patience: Duration) -> Proof {
        Proof { events, patience, state: State::Due, held: VecDeque::new() }
    }

    /// Takes an event of the connection; [`Proof::next`] gives it back when it may be believed.
    pub fn take(&mut self, event: Event, now: Instant) -> Step {
        let mut step = Step::Nothing;
        match (&mut self.state, &event) {
            (State::Due, Event::Incoming(Packet::ConnAck(_) | Packet::PubAck(_))) => step = Step::Subscribe,
            (State::Proven { again }, Event::Incoming(Packet::PubAck(_))) if now >= *again => {
                self.state = State::Due;
                step = Step::Subscribe;
            }
            (State::Proving { left, .. }, Event::Outgoing(Outgoing::Subscribe(_))) => *left = true,
            (State::Proving { left: true, after, .. }, Event::Outgoing(Outgoing::Publish(packet))) => {
                after.insert(*packet);
            }
            (State::Proving { after, acknowledged, .. }, Event::Incoming(Packet::PubAck(ack))) => {
                *acknowledged += u64::from(after.remove(&ack.pkid));
            }
            // What was retained is an old message: it comes with the subscription.
            (State::Proving { came_back, .. }, Event::Incoming(Packet::Publish(publish)))
                if !publish.retain =>
            {
                *came_back += 1;
                if publish.topic == self.events {
                    self.state = State::Proven { again: now + AGAIN };
                    step = Step::Unsubscribe;
                }
            }
            (State::Proving { .. }, Event::Incoming(Packet::SubAck(ack)))
                if ack.return_codes.contains(&SubscribeReasonCode::Failure) =>
            {
                step = Step::Refused;
            }
            _ => {}
        }
        if let State::Proving { acknowledged, came_back, owing, .. } = &mut self.state {
            if acknowledged > came_back {
                owing.get_or_insert(now);
            } else {
                *owing = None;
            }
        }
        self.held.push_back(event);
        step
    }

    /// The subscription was handed to the client.
    pub fn asked(&mut self) {
        self.state =
            State::Proving { left: false, after: HashSet::new(), acknowledged: 0, came_back: 0, owing: None };
    }

    /// This publish, just told as having left, is of a topic that is not subscribed to: it is not waited for.
    pub fn excuse(&mut self, packet: u16) {
        if let State::Proving { after, .. } = &mut self.state {
            after.remove(&packet);
        }
    }

    /// The next event that may be believed.
    pub fn next(&mut self) -> Option<Event> {
        if self.deadline().is_some() {
            // What left is told at once: packet ids are joined with it. Only what came in is held.
            let at = self.held.iter().position(|event| matches!(event, Event::Outgoing(_)))?;
            return self.held.remove(at);
        }
        self.held.pop_front()
    }

    /// When the broker is given up, unless something comes back.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Proving { owing, .. } => owing.map(|since| since + self.patience),
            State::Proven { .. } | State::Due => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::{ConnAck, ConnectReturnCode, PubAck, Publish, QoS, SubAck};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn connected() -> Event {
        Event::Incoming(Packet::ConnAck(ConnAck { session_present: false, code: ConnectReturnCode::Success }))
    }
    fn left(packet: u16) -> Event {
        Event::Outgoing(Outgoing::Publish(packet))
    }
    fn acked(packet: u16) -> Event {
        Event::Incoming(Packet::PubAck(PubAck { pkid: packet }))
    }
    fn back(topic: &str) -> Event {
        Event::Incoming(Packet::Publish(Publish::new(topic, QoS::AtMostOnce, "x")))
    }
    fn proving(now: Instant) -> Proof {
        let mut proof = Proof::new("events".to_owned(), PATIENCE);
        assert_eq!(proof.take(connected(), now), Step::Subscribe);
        proof.asked();
        proof.take(Event::Outgoing(Outgoing::Subscribe(1)), now);
        assert_eq!(proof.next(), Some(connected()));
        proof.next();
        proof
    }

    #[test]
    fn an_acknowledgement_is_believed_when_the_event_came_back() {
        let now = Instant::now();
        let mut proof = proving(now);
        proof.take(left(2), now);
        proof.take(acked(2), now);
        assert_eq!((proof.next(), proof.next()), (Some(left(2)), None), "the acknowledgement is held");
        assert_eq!(proof.deadline(), Some(now + PATIENCE));
        proof.take(left(3), now + PATIENCE / 2);
        assert_eq!((proof.next(), proof.next()), (Some(left(3)), None));
        assert_eq!(proof.take(back("events"), now), Step::Unsubscribe);
        assert_eq!((proof.next(), proof.deadline()), (Some(acked(2)), None));
        proof.take(acked(3), now);
        assert_eq!((proof.next(), proof.next()), (Some(back("events")), Some(acked(3))));
        // The next proof begins with traffic, and not before its time.
        assert_eq!(proof.take(acked(4), now + AGAIN - PATIENCE), Step::Nothing);
        assert_eq!(proof.take(acked(5), now + AGAIN), Step::Subscribe);
        // The subscription did not fit: again at the next.
        assert_eq!(proof.take(acked(6), now + AGAIN), Step::Subscribe);
    }

    #[test]
    fn health_that_comes_back_proves_nothing_of_events() {
        let now = Instant::now();
        let mut proof = proving(now);
        let mut retained = Publish::new("health", QoS::AtMostOnce, "x");
        retained.retain = true;
        proof.take(Event::Incoming(Packet::Publish(retained)), now);
        proof.take(left(2), now);
        proof.take(back("health"), now);
        proof.take(acked(2), now);
        assert_eq!(proof.deadline(), None, "nothing is owed");
        while proof.next().is_some() {}
        proof.take(left(3), now);
        proof.take(acked(3), now);
        assert_eq!(proof.deadline(), Some(now + PATIENCE), "an event was acknowledged and did not come back");
    }

    #[test]
    fn an_anchor_need_not_come_back_and_an_event_beside_it_must() {
        let now = Instant::now();
        let mut proof = proving(now);
        proof.take(left(2), now);
        assert_eq!(proof.next(), Some(left(2)), "told before its acknowledgement can be read");
        proof.excuse(2);
        proof.take(acked(2), now);
        assert_eq!((proof.deadline(), proof.next()), (None, Some(acked(2))));
        proof.take(left(3), now);
        proof.take(acked(3), now);
        assert_eq!(proof.deadline(), Some(now + PATIENCE));
    }

    #[test]
    fn what_left_before_the_subscription_need_not_come_back() {
        let now = Instant::now();
        let mut proof = Proof::new("events".to_owned(), PATIENCE);
        proof.take(connected(), now);
        proof.asked();
        proof.take(left(1), now);
        proof.take(Event::Outgoing(Outgoing::Subscribe(2)), now);
        proof.take(acked(1), now);
        assert_eq!(proof.deadline(), None);
        let refused = SubAck { pkid: 2, return_codes: vec![SubscribeReasonCode::Failure] };
        assert_eq!(proof.take(Event::Incoming(Packet::SubAck(refused)), now), Step::Refused);
    }
}
