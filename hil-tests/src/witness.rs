//! A cloud with a session that the broker keeps: what it has heard is what upstream has.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rumqttc::{AsyncClient, Event, MqttOptions, NetworkOptions, Packet, QoS};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::PATIENCE;
use crate::outbox::Ledger;

/// Pause before a lost connection is opened again.
const AGAIN: Duration = Duration::from_millis(100);

/// Subscribes to one topic and keeps a ledger; reconnects to the same broker for ever; ends when dropped.
pub struct Witness {
    ledger: Arc<Mutex<Ledger>>,
    subscribed: watch::Receiver<u64>,
    distinct: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Witness {
    /// Connects, and waits until the subscription stands.
    ///
    /// # Panics
    /// Where it does not within [`PATIENCE`].
    pub async fn start(port: u16, id: &str, topic: String) -> Witness {
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let (stands, subscribed) = watch::channel(0);
        let (counted, distinct) = watch::channel(0);
        let (kept, id) = (Arc::clone(&ledger), id.to_owned());
        let task = tokio::spawn(async move {
            let take = |payload: &[u8]| {
                let mut ledger = kept.lock().unwrap_or_else(PoisonError::into_inner);
                ledger.take(payload);
                counted.send_replace(ledger.events.len() as u64);
            };
            loop {
                // Built anew after each loss: the library's memory of the old connection helps nobody here.
                let mut options = MqttOptions::new(&id, "127.0.0.1", port);
                options.set_clean_session(false).set_keep_alive(Duration::from_secs(5));
                options.set_max_packet_size(1 << 20, 1 << 20);
                let (client, mut events) = AsyncClient::new(options, 1_000);
                let mut network = NetworkOptions::new();
                network.set_tcp_nodelay(true);
                events.set_network_options(network);
                loop {
                    match events.poll().await {
                        Ok(Event::Incoming(Packet::ConnAck(_))) => {
                            if client.try_subscribe(&topic, QoS::AtLeastOnce).is_err() {
                                break;
                            }
                        }
                        Ok(Event::Incoming(Packet::SubAck(_))) => stands.send_modify(|count| *count += 1),
                        Ok(Event::Incoming(Packet::Publish(publish))) => take(&publish.payload),
                        Ok(_) => {}
                        Err(_) => break,
                    }
                }
                // The library has acknowledged what came before the end, whether it was given out or not.
                for event in std::mem::take(&mut events.state.events) {
                    if let Event::Incoming(Packet::Publish(publish)) = event {
                        take(&publish.payload);
                    }
                }
                tokio::time::sleep(AGAIN).await;
            }
        });
        let mut witness = Witness { ledger, subscribed, distinct, task };
        let stands = tokio::time::timeout(PATIENCE, witness.subscribed.wait_for(|count| *count > 0));
        let stands = matches!(stands.await, Ok(Ok(_)));
        assert!(stands, "the witness subscribes");
        witness
    }

    /// Waits for so many different events, and gives the ledger.
    ///
    /// # Panics
    /// After [`PATIENCE`].
    pub async fn heard(&mut self, events: u64) -> Ledger {
        let reached = tokio::time::timeout(PATIENCE, self.distinct.wait_for(|got| *got >= events)).await;
        let reached = matches!(reached, Ok(Ok(_)));
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let missing: Vec<u64> = (1..=events).filter(|seq| !ledger.events.contains_key(seq)).collect();
        assert!(
            reached,
            "{events} events expected, {} came, {} missing: {:?}…",
            ledger.events.len(),
            missing.len(),
            &missing[..missing.len().min(10)]
        );
        ledger
    }

    /// Different events heard so far.
    pub fn count(&self) -> u64 {
        *self.distinct.borrow()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}
