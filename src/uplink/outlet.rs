//! The way out of a connection.
//!
//! The client library says only that a packet left, and under which id. What it was is known to who handed it over;
//! since packets leave in the order in which they are handed over, a queue joins the two. Everything that is
//! published or subscribed goes through here, so that the proof ([`super::proof`]) knows each publish by itself.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use rumqttc::{AsyncClient, QoS, SubscribeFilter};

/// Why something was not handed over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsent {
    /// For the moment.
    #[error("the request channel is full")]
    Full,
    /// For ever, on this connection.
    #[error("{0}")]
    Never(String),
}

/// A client that remembers what it was given.
#[derive(Clone)]
pub(super) struct Outlet {
    client: AsyncClient,
    handed: Option<Arc<Handed>>,
}

/// What was handed over and has not left.
#[derive(Debug, Default)]
pub(super) struct Handed {
    /// Own topics, whose publishes are remembered.
    topics: Vec<String>,
    queues: Mutex<Queues>,
}

#[derive(Debug, Default)]
struct Queues {
    /// Own topic by its place, and payload; `None` for any other topic.
    publishes: VecDeque<Option<(usize, Bytes)>>,
    /// Own topics of a subscription by their places; `None` where somebody else subscribes.
    subscriptions: VecDeque<Option<Vec<usize>>>,
}

impl Outlet {
    /// `handed` is given what goes out, where anybody wants to know.
    pub fn new(client: AsyncClient, handed: Option<Arc<Handed>>) -> Outlet {
        Outlet { client, handed }
    }

    /// The client, for what is neither a publish nor a subscription.
    pub fn client(&self) -> &AsyncClient {
        &self.client
    }

    /// Hands over a QoS 1 publish, at once or not at all.
    pub fn publish(&self, topic: &str, retain: bool, payload: Bytes) -> Result<(), Unsent> {
        let kept = self.handed.as_ref().map(|handed| (handed, payload.clone()));
        match self.client.publish_bytes(topic, QoS::AtLeastOnce, retain, payload).now_or_never() {
            Some(Ok(())) => {}
            // What was not taken at once is not taken at all.
            None => return Err(Unsent::Full),
            Some(Err(why)) => return Err(Unsent::Never(why.to_string())),
        }
        if let Some((handed, payload)) = kept {
            handed.publish(topic, payload);
        }
        Ok(())
    }

    /// Hands over a subscription of somebody else than the proof.
    pub fn subscribe(&self, filters: impl IntoIterator<Item = SubscribeFilter>) -> Result<(), Unsent> {
        self.client.try_subscribe_many(filters).map_err(|why| Unsent::Never(why.to_string()))?;
        if let Some(handed) = &self.handed {
            handed.lock().subscriptions.push_back(None);
        }
        Ok(())
    }

    /// Hands over the proof's subscription to own topics.
    pub fn subscribe_own(&self, places: Vec<usize>) -> Result<(), Unsent> {
        let Some(handed) = &self.handed else { return Ok(()) };
        let topics = places.iter().filter_map(|place| handed.topics.get(*place));
        let filters = topics.map(|topic| SubscribeFilter::new(topic.clone(), QoS::AtMostOnce));
        self.client
            .try_subscribe_many(filters.collect::<Vec<_>>())
            .map_err(|why| Unsent::Never(why.to_string()))?;
        handed.lock().subscriptions.push_back(Some(places));
        Ok(())
    }
}

impl Handed {
    /// Of these topics.
    pub fn new(topics: Vec<String>) -> Arc<Handed> {
        Arc::new(Handed { topics, queues: Mutex::default() })
    }

    /// One was handed over.
    pub fn publish(&self, topic: &str, payload: Bytes) {
        let place = self.topics.iter().position(|own| own == topic);
        self.lock().publishes.push_back(place.map(|place| (place, payload)));
    }

    /// The oldest left.
    pub fn published(&self) -> Option<(usize, Bytes)> {
        self.lock().publishes.pop_front().flatten()
    }

    /// The oldest subscription left; `None` where it is somebody else's.
    pub fn subscribed(&self) -> Option<Vec<usize>> {
        self.lock().subscriptions.pop_front().flatten()
    }

    /// One of the proof was handed over.
    #[cfg(test)]
    pub fn subscribe_for_test(&self, places: Vec<usize>) {
        self.lock().subscriptions.push_back(Some(places));
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
