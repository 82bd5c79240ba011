//! The way into the core: a bounded channel that a device never waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Sender, TrySendError};

use crate::line::event::Event;

/// Offers events to the core. Cheap to clone; all clones share one count of what did not fit.
#[derive(Debug, Clone)]
pub struct EventSink {
    events: Sender<Event>,
    refused: Arc<AtomicU64>,
}

/// An event the core did not take. The caller decides: hold it, spool it, or let it go and count it.
#[derive(Debug, Clone, PartialEq)]
pub enum Refused {
    /// The channel is full; here is the event back.
    Full(Box<Event>),
    /// The core has ended; nothing will ever be taken again.
    Closed,
}

impl EventSink {
    /// A sink into this channel.
    pub fn new(events: Sender<Event>) -> EventSink {
        EventSink { events, refused: Arc::new(AtomicU64::new(0)) }
    }

    /// Offers one event without waiting.
    pub fn offer(&self, event: Event) -> Result<(), Refused> {
        match self.events.try_send(event) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(event)) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Err(Refused::Full(Box::new(event)))
            }
            Err(TrySendError::Disconnected(_)) => Err(Refused::Closed),
        }
    }

    /// How often an event did not fit; one that was offered again counts again.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_comes_back_and_is_counted() {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let sink = EventSink::new(sender);
        assert_eq!(sink.offer(Event::Tick), Ok(()));
        assert_eq!(sink.clone().offer(Event::PlcDetached), Err(Refused::Full(Box::new(Event::PlcDetached))));
        assert_eq!(sink.refused(), 1);
        drop(receiver);
        assert_eq!(sink.offer(Event::Tick), Err(Refused::Closed));
        assert_eq!(sink.refused(), 1);
    }
}
