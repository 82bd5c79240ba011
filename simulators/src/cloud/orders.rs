//! Orders on their way down: batches with ids, repeated until the line says what became of them. The next never waits
//! for the answer to the one before, which waits for the line's disk; it gathers more. Pure: `now` is given.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sortd::line::event::Order;

/// Orders of a message: far below the 10,000 of the contract, so that one refused message costs little.
const BATCH_ORDERS: usize = 500;

/// Bytes of a message's orders: half of the contract's 512 KiB.
const BATCH_BYTES: usize = 256 * 1024;

/// Messages on their way at once. A message is acknowledged when it is durable, so a sender that waits for few of
/// them waits for the line's disk. The embedded broker stops serving a client with a hundred of them unacknowledged.
const WINDOW: usize = 80;

/// For each message that is not answered yet the next gathers orders for so long, unless it is full: a line whose disk
/// stands gets fewer and larger messages, sixteen in the first five seconds and 65 in a minute.
const GATHER_EACH: Duration = Duration::from_millis(25);

/// Bytes on their way at once: four of the largest messages sent here, as far as brokers have room for.
const WINDOW_BYTES: usize = 4 * BATCH_BYTES;

/// Without an answer for this long, the message is sent again.
pub const REPEAT_AFTER: Duration = Duration::from_secs(5);

/// Orders waiting; more are refused to whoever pushes them.
pub const MOST_WAITING: usize = 1_000_000;

/// Refusals kept in words.
const REFUSALS_KEPT: usize = 20;

/// Too many orders wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{waiting} orders wait already, at most {MOST_WAITING} may")]
pub struct TooManyOrders {
    /// How many.
    pub waiting: usize,
}

/// What became of the orders.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct OrderReport {
    /// Orders given to push.
    pub pushed: u64,
    /// Messages sent for the first time.
    pub messages: u64,
    /// Messages sent again for want of an answer.
    pub repeats: u64,
    /// Messages answered.
    pub acked: u64,
    /// Orders the line says are durable.
    pub accepted: u64,
    /// Orders the line refused.
    pub refused: u64,
    /// Messages the line refused whole.
    pub messages_refused: u64,
    /// Answers to nothing that is on its way: repetitions, or other senders' messages.
    pub strange_acks: u64,
    /// Answers that are not JSON as promised.
    pub bad_acks: u64,
    /// Orders not answered yet.
    pub waiting: u64,
    /// The first refusals in words.
    pub refusals: Vec<String>,
}

#[derive(Debug)]
struct Batch {
    payload: Vec<u8>,
    orders: usize,
    /// On the present connection.
    sent: Option<Duration>,
}

/// The orders on their way. `now` is time since any fixed moment.
#[derive(Debug)]
pub struct Orders {
    prefix: String,
    next: u64,
    waiting: VecDeque<Order>,
    /// When the last new message was sent.
    begun: Option<Duration>,
    under_way: BTreeMap<String, Batch>,
    waiting_orders: usize,
    report: OrderReport,
}

#[derive(Serialize)]
struct Message<'a> {
    id: &'a str,
    orders: &'a [Order],
}

/// The answer, as far as it is used here.
#[derive(Deserialize)]
struct Ack {
    id: Option<String>,
    #[serde(default)]
    accepted: u64,
    #[serde(default)]
    refused: Vec<Refusal>,
    #[serde(default)]
    refused_count: u64,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    order: Option<String>,
    reason: String,
}

impl Orders {
    /// Nothing to do; ids begin with `prefix`, which is this sender's own.
    pub fn new(prefix: &str) -> Orders {
        Orders {
            prefix: prefix.to_owned(),
            next: 0,
            waiting: VecDeque::new(),
            begun: None,
            under_way: BTreeMap::new(),
            waiting_orders: 0,
            report: OrderReport::default(),
        }
    }

    /// Orders to push, in batches.
    ///
    /// # Errors
    /// [`TooManyOrders`]; none of these is taken then.
    pub fn push(&mut self, orders: &[Order]) -> Result<(), TooManyOrders> {
        if self.waiting_orders + orders.len() > MOST_WAITING {
            return Err(TooManyOrders { waiting: self.waiting_orders });
        }
        self.report.pushed += orders.len() as u64;
        self.waiting_orders += orders.len();
        self.waiting.extend(orders.iter().cloned());
        Ok(())
    }

    /// The next message to send, if one is due.
    pub fn due(&mut self, now: Duration) -> Option<Vec<u8>> {
        for batch in self.under_way.values_mut() {
            let late = batch.sent.is_none_or(|sent| now.saturating_sub(sent) >= REPEAT_AFTER);
            if late {
                self.report.repeats += 1;
                batch.sent = Some(now);
                return Some(batch.payload.clone());
            }
        }
        let bytes: usize = self.under_way.values().map(|batch| batch.payload.len()).sum();
        if self.waiting.is_empty() || self.under_way.len() >= WINDOW || bytes >= WINDOW_BYTES {
            return None;
        }
        let length = batch_length(self.waiting.make_contiguous());
        let full = length == BATCH_ORDERS || length < self.waiting.len();
        let unanswered = u32::try_from(self.under_way.len()).unwrap_or(u32::MAX);
        let gathered = self.begun.is_none_or(|begun| now.saturating_sub(begun) >= GATHER_EACH * unanswered);
        (full || gathered).then(|| self.begin(length, now))
    }

    /// The next so many orders go out in a message.
    fn begin(&mut self, length: usize, now: Duration) -> Vec<u8> {
        let orders: Vec<Order> = self.waiting.drain(..length).collect();
        let id = format!("{}-{}", self.prefix, self.next);
        let payload = serde_json::to_vec(&Message { id: &id, orders: &orders })
            .expect("an order is texts, numbers and lists of texts");
        (self.next, self.begun) = (self.next + 1, Some(now));
        self.report.messages += 1;
        let batch = Batch { payload: payload.clone(), orders: length, sent: Some(now) };
        self.under_way.insert(id, batch);
        payload
    }

    /// The connection is new: what is under way may never have arrived.
    pub fn reconnected(&mut self) {
        for batch in self.under_way.values_mut() {
            batch.sent = None;
        }
    }

    /// An answer has come.
    pub fn acked(&mut self, payload: &[u8]) {
        let Ok(ack) = serde_json::from_slice::<Ack>(payload) else {
            self.report.bad_acks += 1;
            return;
        };
        let Some(batch) = ack.id.as_ref().and_then(|id| self.under_way.remove(id)) else {
            self.report.strange_acks += 1;
            return;
        };
        self.waiting_orders -= batch.orders;
        self.report.acked += 1;
        self.report.accepted += ack.accepted;
        self.report.refused += ack.refused_count.max(ack.refused.len() as u64);
        let mut words: Vec<String> = ack
            .refused
            .into_iter()
            .map(|refusal| format!("order {}: {}", refusal.order.as_deref().unwrap_or("?"), refusal.reason))
            .collect();
        if let Some(error) = ack.error {
            self.report.messages_refused += 1;
            words.push(format!("message {}: {error}", ack.id.as_deref().unwrap_or("?")));
        }
        let room = REFUSALS_KEPT.saturating_sub(self.report.refusals.len());
        self.report.refusals.extend(words.into_iter().take(room));
    }

    /// The report of this moment.
    pub fn report(&self) -> OrderReport {
        OrderReport { waiting: self.waiting_orders as u64, ..self.report.clone() }
    }
}

/// How many of the first orders fit into one message.
fn batch_length(orders: &[Order]) -> usize {
    let mut bytes = 0;
    for (place, order) in orders.iter().take(BATCH_ORDERS).enumerate() {
        // Texts, and names and punctuation of one order; escaping may add a little, and half the limit is free.
        bytes += 160 + order.order.len() + order.destination.len();
        bytes += order.codes.iter().map(|code| code.len() + 3).sum::<usize>();
        bytes += order.carrier.as_ref().map_or(0, String::len);
        if bytes > BATCH_BYTES && place > 0 {
            return place;
        }
    }
    orders.len().min(BATCH_ORDERS)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn order(number: usize) -> Order {
        Order {
            order: format!("SO-{number}"),
            revision: 1,
            codes: vec![format!("TH{number:010}")],
            destination: "TH-BKK".to_owned(),
            carrier: None,
            cancelled: false,
            hold: None,
            details: None,
        }
    }

    fn id(payload: &[u8]) -> String {
        serde_json::from_slice::<serde_json::Value>(payload).unwrap()["id"].as_str().unwrap().to_owned()
    }

    const NOW: Duration = Duration::from_secs(100);

    #[test]
    fn a_message_is_repeated_until_it_is_acked() {
        let mut orders = Orders::new("run");
        orders.push(&[order(1), order(2)]).unwrap();
        let first = orders.due(NOW).unwrap();
        assert_eq!(orders.due(NOW), None);
        assert_eq!(orders.due(NOW + REPEAT_AFTER), Some(first.clone()), "the same bytes again");
        orders.reconnected();
        assert_eq!(orders.due(NOW + REPEAT_AFTER), Some(first.clone()));
        let ack = serde_json::json!({"id": id(&first), "accepted": 1, "refused_count": 1,
            "refused": [{"order": "SO-2", "reason": "code bound to SO-9"}]});
        orders.acked(ack.to_string().as_bytes());
        orders.acked(ack.to_string().as_bytes());
        orders.acked(b"{");
        assert_eq!(orders.due(NOW + REPEAT_AFTER * 9), None);
        let report = orders.report();
        assert_eq!((report.messages, report.repeats, report.acked), (1, 2, 1));
        assert_eq!((report.accepted, report.refused, report.waiting), (1, 1, 0));
        assert_eq!((report.strange_acks, report.bad_acks), (1, 1));
        assert_eq!(report.refusals, ["order SO-2: code bound to SO-9"]);
    }

    #[test]
    fn many_orders_go_in_small_messages_and_few_at_once() {
        let mut orders = Orders::new("run");
        let all: Vec<Order> = (0..BATCH_ORDERS * WINDOW).map(order).collect();
        orders.push(&all).unwrap();
        let mut sent = Vec::new();
        while let Some(payload) = orders.due(NOW) {
            assert!(payload.len() <= 512 * 1024);
            sent.push(payload);
        }
        let bytes: usize = sent.iter().map(Vec::len).sum();
        assert!((WINDOW_BYTES..WINDOW_BYTES + BATCH_BYTES).contains(&bytes), "{bytes} bytes on their way");
        orders
            .acked(serde_json::json!({"id": id(&sent[0]), "accepted": BATCH_ORDERS}).to_string().as_bytes());
        assert!(orders.due(NOW).is_some());
        assert!(orders.push(&vec![order(1); MOST_WAITING]).is_err(), "what waits is bounded");

        // One by one, ten a second, to a line that answers nothing for five seconds.
        let (mut singly, mut sent) = (Orders::new("run"), 0);
        for tenth in 0..50 {
            singly.push(&[order(tenth)]).unwrap();
            let now = NOW + Duration::from_millis(100) * u32::try_from(tenth).unwrap();
            sent += usize::from(singly.due(now).is_some());
        }
        assert!((12..20).contains(&sent), "{sent} messages: fewer than a broker's window of 20");
    }
}
