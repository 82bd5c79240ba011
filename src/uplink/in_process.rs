//! Messages between the core and the disk: the core has them, and they wait to be durable.
//!
//! Commands do not wait for the disk, so neither does what they are decided by: a message's parts go to the core as
//! soon as they come, and only its answer and its release wait. A disk that stands therefore fills this table, and
//! the table is sized for one that stands for a minute and more: at eleven messages a second [`PARTS_MOST`] parts
//! last three minutes.
//!
//! A message whose end is never heard of is given up, and the broker delivers it again. Time in which the store
//! makes nothing durable although records wait does not count: it would only bring the same messages once more,
//! and more records with them.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::down::{Down, Progress};
use super::orders::Refusal;

/// Parts between offer and durability after which no further message is begun. Each becomes two records or so: a
/// quarter of the journal's queue, which holds induction when half of it is taken.
pub const PARTS_MOST: usize = 2_048;

/// Plans and questions that are worked on at once.
pub const ERRANDS: usize = 4;

/// A message that is not durable after this is given up and delivered again by the broker.
pub(super) const DURABLE_WITHIN: Duration = Duration::from_secs(60);

/// A message on its way to durability.
#[derive(Debug)]
pub(super) struct Message {
    /// Of its payload: another message of the same name is none.
    pub digest: [u8; 32],
    /// What of it was refused before the core saw it.
    pub refused: Vec<Refusal>,
    /// Packet id of its delivery on the present connection, if there is one.
    pub delivery: Option<u16>,
    parts: usize,
    /// When it was begun, and how long the store had stood before.
    since: Instant,
    stood: Duration,
}

/// All of them, by topic and id.
#[derive(Debug, Default)]
pub(super) struct InProcess {
    messages: HashMap<(Down, String), Message>,
    parts: usize,
    errands: usize,
    /// How long the store has stood, over all.
    stood: Duration,
    seen: Option<(Progress, Instant)>,
}

impl InProcess {
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Another message for the core may be begun.
    pub fn has_room(&self) -> bool {
        self.parts < PARTS_MOST
    }

    /// Another plan or question may be.
    pub fn has_errand_room(&self) -> bool {
        self.errands < ERRANDS
    }

    /// A message that is begun now.
    pub fn message(&self, delivery: u16, digest: [u8; 32], refused: Vec<Refusal>, now: Instant) -> Message {
        Message { digest, refused, delivery: Some(delivery), parts: 0, since: now, stood: self.stood }
    }

    /// The core is given so many parts of it.
    pub fn begin(&mut self, down: Down, id: String, parts: usize, message: Message) {
        let message = Message { parts, ..message };
        self.parts += parts;
        self.errands += usize::from(down.is_beside());
        if let Some(before) = self.messages.insert((down, id), message) {
            self.leave(down, &before);
        }
    }

    pub fn get_mut(&mut self, down: Down, id: &str) -> Option<&mut Message> {
        self.messages.get_mut(&(down, id.to_owned()))
    }

    /// It is durable, or answered.
    pub fn done(&mut self, down: Down, id: &str) -> Option<Message> {
        let message = self.messages.remove(&(down, id.to_owned()))?;
        self.leave(down, &message);
        Some(message)
    }

    fn leave(&mut self, down: Down, message: &Message) {
        self.parts -= message.parts;
        self.errands -= usize::from(down.is_beside());
    }

    /// Deliveries of a connection that is lost cannot be released on another.
    pub fn disconnected(&mut self) {
        self.messages.values_mut().for_each(|message| message.delivery = None);
    }

    /// Looks how far the store is, and gives up what should long have been durable.
    pub fn give_up(&mut self, progress: Progress, now: Instant) -> Vec<(Down, String)> {
        if let Some((before, at)) = self.seen.replace((progress, now))
            && progress.waits
            && progress.durable == before.durable
        {
            self.stood += now.duration_since(at);
        }
        let stood = self.stood;
        let stuck = |message: &Message| {
            now.duration_since(message.since).saturating_sub(stood.saturating_sub(message.stood))
                > DURABLE_WITHIN
        };
        let given_up: Vec<(Down, String)> =
            self.messages.iter().filter(|(_, message)| stuck(message)).map(|(id, _)| id.clone()).collect();
        for (down, id) in &given_up {
            self.done(*down, id);
        }
        given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(messages: &mut InProcess, down: Down, id: &str, parts: usize) -> Instant {
        let now = Instant::now();
        let message = messages.message(7, [0; 32], Vec::new(), now);
        messages.begin(down, id.to_owned(), parts, message);
        now
    }

    #[test]
    fn a_disk_that_stands_gives_up_no_message_and_one_that_goes_on_does() {
        let mut messages = InProcess::default();
        let begun = begin(&mut messages, Down::Orders, "m-1", 1);
        let mut look = |seconds: std::ops::Range<u64>, durable, waits| {
            let at = |second| begun + Duration::from_secs(second);
            let given_up = seconds.map(|second| messages.give_up(Progress { durable, waits }, at(second)));
            given_up.flatten().collect::<Vec<_>>()
        };
        assert_eq!(look(0..600, 5, true), [], "the store stands");
        assert_eq!(look(600..601, 6, true), []);
        assert_eq!(look(601..659, 6, false), [], "nothing waits, and nobody has heard of it yet");
        assert_eq!(look(659..662, 6, false), [(Down::Orders, "m-1".to_owned())]);
        assert_eq!((messages.len(), messages.parts), (0, 0));
    }

    #[test]
    fn what_is_in_process_is_bounded_by_parts_and_errands_by_their_number() {
        let mut messages = InProcess::default();
        begin(&mut messages, Down::Orders, "m-1", PARTS_MOST - 1);
        assert!(messages.has_room());
        begin(&mut messages, Down::Orders, "m-2", 157);
        assert!(!messages.has_room(), "the last one may be larger than what was left");
        for n in 0..ERRANDS {
            assert!(messages.has_errand_room());
            begin(&mut messages, Down::Ask, &format!("a-{n}"), 0);
        }
        assert!(!messages.has_errand_room());
        assert!(messages.done(Down::Ask, "a-0").is_some() && messages.done(Down::Ask, "a-0").is_none());
        assert!(messages.done(Down::Orders, "m-1").is_some());
        assert!(messages.has_room() && messages.has_errand_room());
    }
}
