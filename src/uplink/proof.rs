//! Proof that a broker passes on what it acknowledges.
//!
//! MQTT 3.1.1 has no way to say no to a publish. A broker whose access rules forbid it, or that finds a message too
//! large, acknowledges it and throws it away (mosquitto 2.0 was seen to do both). An acknowledgement alone would then
//! release events that nobody ever gets. So, at the beginning of a connection and from time to time, a client
//! subscribes to its own topics and looks for what it publishes to come back; then it unsubscribes again, so that the
//! traffic is not doubled.
//!
//! - A publish is known by its topic and its bytes. Only what left after the subscription to its own topic can come
//!   back, so only that is looked for. What others publish there, and what was retained, proves nothing.
//! - A topic is proven when the oldest publish that is looked for has come back. One that is acknowledged and does
//!   not come back while later ones do is not forgotten for them.
//! - Nothing is owed where nothing was acknowledged: silence is no sign.
//! - For events acknowledgements are held back until then. The publisher stops by itself at its window, its cursor
//!   stands still; where an acknowledged event does not come back in time, the connection is given up with a name
//!   for it, and everything after the cursor is sent again on the next one.
//! - For every other topic it is only said ([`Step::Doubtful`]): nothing waits for them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::{Event, Outgoing, Packet, SubscribeReasonCode};
use tokio::time::Instant;

use super::outlet::Handed;

/// Time between the end of a proof of events and the beginning of the next, while something is acknowledged.
const AGAIN: Duration = Duration::from_secs(10);
/// The same of every other topic: what is missing there is only said.
const AGAIN_OTHERS: Duration = Duration::from_secs(60);
/// Publishes of one topic that are looked for at once. Of events there are no more than a window, which is at most
/// 1,000, since their acknowledgements are held; of others a sample will do.
const LOOKED_FOR_MOST: usize = 1_024;

/// A topic of this client's own.
#[derive(Debug, Clone)]
pub(super) struct Own {
    /// The topic.
    pub topic: String,
    /// Its acknowledgements are held back until it is proven.
    pub held: bool,
}

/// What is proven, and by what.
#[derive(Debug)]
pub(super) struct Proof {
    topics: Vec<Watched>,
    handed: Arc<Handed>,
    /// Longest time that something acknowledged may take to come back.
    patience: Duration,
    /// Own subscriptions on their way, by packet id.
    asked: Vec<(u16, Vec<usize>)>,
    /// Acknowledgements that are not believed yet.
    held: VecDeque<Event>,
    /// What may be believed.
    believed: VecDeque<Event>,
    steps: VecDeque<Step>,
}

#[derive(Debug)]
struct Watched {
    own: Own,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing is asked of the broker before this time.
    Rest { again: Instant },
    /// To be subscribed at the next chance.
    Due,
    /// The subscription was handed over and has not left.
    Asked,
    /// What left since, oldest first, and did not come back, or not before an older one.
    Subscribed { left: VecDeque<Left> },
}

/// A publish that is looked for.
#[derive(Debug)]
struct Left {
    packet: u16,
    payload: Bytes,
    acked: Option<Instant>,
    came_back: bool,
}

/// What the owner of the connection has to do. Topics are named by their places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Subscribe to these, and say so by [`Proof::asked`].
    Subscribe(Vec<usize>),
    /// This one is not needed any more.
    Unsubscribe(usize),
    /// This one is proven.
    Proven(usize),
    /// What is published to this one is acknowledged and does not come back.
    Doubtful(usize),
    /// The broker refuses the subscription to this one.
    Refused(usize),
}

impl Proof {
    /// To begin with the connection.
    pub fn new(topics: Vec<Own>, handed: Arc<Handed>, patience: Duration) -> Proof {
        let topics = topics.into_iter().map(|own| Watched { own, state: State::Due }).collect();
        Proof {
            topics,
            handed,
            patience,
            asked: Vec::new(),
            held: VecDeque::new(),
            believed: VecDeque::new(),
            steps: VecDeque::new(),
        }
    }

    /// An own topic.
    pub fn topic(&self, place: usize) -> Option<&Own> {
        self.topics.get(place).map(|watched| &watched.own)
    }

    /// Takes an event of the connection; [`Proof::next`] gives it back when it may be believed, [`Proof::step`] says
    /// what is to be done.
    pub fn take(&mut self, event: Event, now: Instant) {
        self.doubt(now);
        match &event {
            Event::Incoming(Packet::ConnAck(_)) => self.subscribe(),
            Event::Outgoing(Outgoing::Subscribe(packet)) => {
                if let Some(places) = self.handed.subscribed() {
                    for place in &places {
                        self.topics[*place].state = State::Subscribed { left: VecDeque::new() };
                    }
                    self.asked.push((*packet, places));
                }
            }
            Event::Outgoing(Outgoing::Publish(packet)) => {
                if let Some((place, payload)) = self.handed.published()
                    && let State::Subscribed { left } = &mut self.topics[place].state
                    && left.len() < LOOKED_FOR_MOST
                {
                    left.push_back(Left { packet: *packet, payload, acked: None, came_back: false });
                }
            }
            Event::Incoming(Packet::PubAck(ack)) => {
                let is_held = self.acked(ack.pkid, now);
                for watched in &mut self.topics {
                    if matches!(watched.state, State::Rest { again } if now >= again) {
                        watched.state = State::Due;
                    }
                }
                self.subscribe();
                if is_held {
                    self.held.push_back(event);
                    return;
                }
            }
            Event::Incoming(Packet::Publish(publish)) => {
                if let Some(place) = self.topics.iter().position(|own| own.own.topic == publish.topic) {
                    // What was retained is an old message: it comes with the subscription.
                    if !publish.retain {
                        self.came_back(place, &publish.payload, now);
                    }
                    return;
                }
            }
            Event::Incoming(Packet::SubAck(ack)) => {
                if let Some(at) = self.asked.iter().position(|(packet, _)| *packet == ack.pkid) {
                    let (_, places) = self.asked.swap_remove(at);
                    for (place, code) in places.into_iter().zip(&ack.return_codes) {
                        if *code == SubscribeReasonCode::Failure {
                            self.topics[place].state = State::Rest { again: now + AGAIN_OTHERS };
                            self.steps.push_back(Step::Refused(place));
                        }
                    }
                    return;
                }
            }
            _ => {}
        }
        self.believed.push_back(event);
    }

    /// What is to be done now.
    pub fn step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// The subscription was handed to the client. One that was not is due again with the next acknowledgement.
    pub fn asked(&mut self, places: &[usize]) {
        for place in places {
            self.topics[*place].state = State::Asked;
        }
    }

    /// The next event that may be believed.
    pub fn next(&mut self) -> Option<Event> {
        self.believed.pop_front()
    }

    /// When the broker is given up, unless something comes back.
    pub fn deadline(&self) -> Option<Instant> {
        let held = self.topics.iter().filter(|watched| watched.own.held);
        held.filter_map(Watched::owed).min().map(|since| since + self.patience)
    }

    /// The topic that [`Proof::deadline`] is about.
    pub fn owing(&self) -> Option<&str> {
        let held = self.topics.iter().filter(|watched| watched.own.held);
        held.filter(|watched| watched.owed().is_some()).map(|watched| &*watched.own.topic).next()
    }

    fn subscribe(&mut self) {
        let due = |watched: &Watched| matches!(watched.state, State::Due);
        let places: Vec<usize> =
            self.topics.iter().enumerate().filter(|(_, own)| due(own)).map(|(at, _)| at).collect();
        if !places.is_empty() {
            self.steps.push_back(Step::Subscribe(places));
        }
    }

    /// Marks what is acknowledged; `true` if that is not believed yet.
    fn acked(&mut self, packet: u16, now: Instant) -> bool {
        for watched in &mut self.topics {
            let State::Subscribed { left } = &mut watched.state else { continue };
            let found = left.iter_mut().find(|left| left.packet == packet && left.acked.is_none());
            if let Some(found) = found {
                found.acked = Some(now);
                return watched.own.held;
            }
        }
        false
    }

    fn came_back(&mut self, place: usize, payload: &Bytes, now: Instant) {
        let Watched { own, state } = &mut self.topics[place];
        let State::Subscribed { left } = state else { return };
        let Some(found) = left.iter_mut().find(|left| !left.came_back && left.payload == *payload) else {
            return;
        };
        found.came_back = true;
        if !left.front().is_some_and(|oldest| oldest.came_back) {
            return;
        }
        let pause = if own.held { AGAIN } else { AGAIN_OTHERS };
        *state = State::Rest { again: now + pause };
        self.steps.extend([Step::Unsubscribe(place), Step::Proven(place)]);
        if own.held {
            self.believed.append(&mut self.held);
        }
    }

    /// What does not come back where nothing is held for it.
    fn doubt(&mut self, now: Instant) {
        for (place, watched) in self.topics.iter_mut().enumerate() {
            let is_late = |since: Instant| now >= since + self.patience;
            if !watched.own.held && watched.owed().is_some_and(is_late) {
                watched.state = State::Rest { again: now + AGAIN_OTHERS };
                self.steps.extend([Step::Unsubscribe(place), Step::Doubtful(place)]);
            }
        }
    }
}

impl Watched {
    /// Since when something is acknowledged that did not come back.
    fn owed(&self) -> Option<Instant> {
        match &self.state {
            State::Subscribed { left } => {
                left.iter().filter(|left| !left.came_back).filter_map(|left| left.acked).min()
            }
            State::Rest { .. } | State::Due | State::Asked => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::{ConnAck, ConnectReturnCode, PubAck, Publish, QoS, SubAck};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);
    const EVENTS: usize = 0;
    const HEALTH: usize = 1;

    fn connected() -> Event {
        Event::Incoming(Packet::ConnAck(ConnAck { session_present: false, code: ConnectReturnCode::Success }))
    }
    fn acked(packet: u16) -> Event {
        Event::Incoming(Packet::PubAck(PubAck { pkid: packet }))
    }
    fn back(topic: &str, payload: &str) -> Event {
        Event::Incoming(Packet::Publish(Publish::new(topic, QoS::AtMostOnce, payload)))
    }

    struct Rig {
        proof: Proof,
        now: Instant,
    }

    impl Rig {
        /// Connected and subscribed to `events` and `health`; `anchors` is nobody's.
        fn new() -> Rig {
            let names = ["events", "health"].map(str::to_owned);
            let owns = names.clone().map(|topic| Own { held: topic == "events", topic });
            let handed = Handed::new(names.to_vec());
            let mut rig = Rig { proof: Proof::new(owns.to_vec(), handed, PATIENCE), now: Instant::now() };
            assert_eq!(rig.take(connected()), [Step::Subscribe(vec![EVENTS, HEALTH])]);
            assert_eq!(rig.believed(), [connected()]);
            rig.subscribe(1, vec![EVENTS, HEALTH]);
            rig
        }

        fn take(&mut self, event: Event) -> Vec<Step> {
            self.proof.take(event, self.now);
            std::iter::from_fn(|| self.proof.step()).collect()
        }

        fn believed(&mut self) -> Vec<Event> {
            std::iter::from_fn(|| self.proof.next()).collect()
        }

        fn subscribe(&mut self, packet: u16, places: Vec<usize>) {
            self.proof.asked(&places);
            self.proof.handed.subscribe_for_test(places);
            self.take(Event::Outgoing(Outgoing::Subscribe(packet)));
            self.believed();
        }

        fn left(&mut self, packet: u16, topic: &str, payload: &'static str) {
            self.proof.handed.publish(topic, Bytes::from_static(payload.as_bytes()));
            let event = Event::Outgoing(Outgoing::Publish(packet));
            assert_eq!(self.take(event.clone()), []);
            assert_eq!(self.believed(), [event], "packet ids are joined with it at once");
        }

        fn wait(&mut self, time: Duration) {
            self.now += time;
        }
    }

    #[test]
    fn an_acknowledgement_is_believed_when_the_event_came_back() {
        let mut rig = Rig::new();
        rig.left(2, "events", "a");
        assert_eq!(rig.proof.deadline(), None, "nothing is owed before it is acknowledged");
        rig.take(acked(2));
        assert_eq!((rig.believed(), rig.proof.deadline()), (vec![], Some(rig.now + PATIENCE)));
        rig.wait(PATIENCE / 2);
        rig.left(3, "events", "b");
        assert_eq!(rig.take(back("events", "a")), [Step::Unsubscribe(EVENTS), Step::Proven(EVENTS)]);
        assert_eq!((rig.believed(), rig.proof.deadline()), (vec![acked(2)], None));
        rig.take(acked(3));
        assert_eq!(rig.believed(), [acked(3)]);
        // The next proof begins with traffic, and not before its time; one that did not fit, with the next.
        rig.wait(AGAIN - PATIENCE);
        assert_eq!(rig.take(acked(4)), []);
        rig.wait(PATIENCE);
        assert_eq!(rig.take(acked(5)), [Step::Subscribe(vec![EVENTS])]);
        assert_eq!(rig.take(acked(6)), [Step::Subscribe(vec![EVENTS])]);
    }

    /// Health that nobody hears of, anchors that nobody listens to, echoes of others: a line at rest with a healthy
    /// broker was given up every minute for those.
    #[test]
    fn nothing_is_owed_but_what_is_acknowledged_and_listened_to() {
        let mut rig = Rig::new();
        for (packet, topic) in [(2, "anchors"), (3, "health"), (4, "anchors")] {
            rig.left(packet, topic, topic);
            rig.take(acked(packet));
            assert_eq!(rig.believed(), [acked(packet)]);
        }
        assert_eq!(rig.take(back("health", "health")), [Step::Unsubscribe(HEALTH), Step::Proven(HEALTH)]);
        rig.wait(PATIENCE * 100);
        assert_eq!(rig.proof.deadline(), None);
        let steps = rig.take(acked(5));
        assert_eq!(steps, [Step::Subscribe(vec![HEALTH])]);
        rig.subscribe(6, vec![HEALTH]);
        rig.left(7, "events", "e");
        rig.take(acked(7));
        assert_eq!(rig.take(back("events", "another's")), []);
        assert_eq!(rig.proof.deadline(), Some(rig.now + PATIENCE), "what others say there is no proof");
        assert_eq!(rig.proof.owing(), Some("events"));
    }

    #[test]
    fn one_that_is_dropped_is_not_forgotten_for_those_that_come_back() {
        let mut rig = Rig::new();
        rig.left(2, "events", "too large");
        rig.left(3, "events", "small");
        rig.take(acked(2));
        rig.take(acked(3));
        assert_eq!(rig.take(back("events", "small")), []);
        assert_eq!((rig.believed(), rig.proof.deadline()), (vec![], Some(rig.now + PATIENCE)));
        assert_eq!(rig.take(back("events", "too large")).len(), 2, "it was late");
        assert_eq!(rig.believed(), [acked(2), acked(3)]);
    }

    #[test]
    fn another_topic_is_doubted_and_holds_nothing_up() {
        let mut rig = Rig::new();
        rig.left(2, "health", "h");
        let mut retained = Publish::new("health", QoS::AtMostOnce, "h");
        retained.retain = true;
        assert_eq!(rig.take(Event::Incoming(Packet::Publish(retained))), [], "what was retained is old");
        rig.take(acked(2));
        assert_eq!((rig.believed(), rig.proof.deadline()), (vec![acked(2)], None));
        rig.wait(PATIENCE);
        let ping = Event::Incoming(Packet::PingResp);
        assert_eq!(rig.take(ping), [Step::Unsubscribe(HEALTH), Step::Doubtful(HEALTH)]);
        rig.wait(AGAIN_OTHERS);
        assert_eq!(rig.take(acked(3)), [Step::Subscribe(vec![HEALTH])]);
        rig.subscribe(4, vec![HEALTH]);
        rig.left(5, "health", "h");
        assert_eq!(rig.take(back("health", "h")), [Step::Unsubscribe(HEALTH), Step::Proven(HEALTH)]);
    }

    #[test]
    fn what_left_before_the_subscription_need_not_come_back() {
        let names = ["events".to_owned()];
        let own = Own { topic: names[0].clone(), held: true };
        let proof = Proof::new(vec![own], Handed::new(names.to_vec()), PATIENCE);
        let mut rig = Rig { proof, now: Instant::now() };
        rig.take(connected());
        rig.believed();
        rig.left(1, "events", "a");
        rig.subscribe(2, vec![EVENTS]);
        rig.take(acked(1));
        assert_eq!((rig.believed(), rig.proof.deadline()), (vec![acked(1)], None));
        let other = SubAck { pkid: 9, return_codes: vec![SubscribeReasonCode::Failure] };
        assert_eq!(rig.take(Event::Incoming(Packet::SubAck(other))), [], "somebody else's");
        let refused = SubAck { pkid: 2, return_codes: vec![SubscribeReasonCode::Failure] };
        assert_eq!(rig.take(Event::Incoming(Packet::SubAck(refused))), [Step::Refused(EVENTS)]);
    }
}
