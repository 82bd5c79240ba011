//! What a reader heard while the core's channel was full.
//!
//! Bounded; when it overflows the oldest read goes, because on a moving belt it is the first that nobody can use
//! any more. Changes of the device's state are never dropped: there is at most one more of them than of losses.

use std::collections::VecDeque;

use super::sink::{EventSink, Refused};
use crate::line::event::Event;
use crate::watch::Board;

/// Reads held a port: over a minute of a busy tunnel.
pub(super) const SPOOL_MOST: usize = 1_024;

/// A reader's events on their way into the core, in order.
#[derive(Debug)]
pub(super) struct Spool {
    device: String,
    sink: EventSink,
    board: Board,
    waiting: VecDeque<Event>,
    most: usize,
    told_up: bool,
}

/// The core has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CoreGone;

impl Spool {
    pub(super) fn new(device: &str, sink: EventSink, board: Board, most: usize) -> Spool {
        let waiting = VecDeque::new();
        Spool { device: device.to_owned(), sink, board, waiting, most, told_up: false }
    }

    /// Hands an event on, at once or as soon as there is room.
    pub(super) fn push(&mut self, event: Event) -> Result<(), CoreGone> {
        self.waiting.push_back(event);
        self.flush()?;
        if self.waiting.len() > self.most {
            let oldest_read = self.waiting.iter().position(|event| matches!(event, Event::Heard(_)));
            if let Some(place) = oldest_read {
                self.waiting.remove(place);
                let detail =
                    format!("more than {} reads wait for the core; the oldest is dropped", self.most);
                self.board.fault(&self.device, "spool_full", &detail);
            } else {
                // Only changes of state wait: two of them that undo each other say nothing.
                self.waiting.drain(..2.min(self.waiting.len()));
            }
        }
        Ok(())
    }

    /// Tells the core that the device came or went, if it did.
    pub(super) fn state(&mut self, up: bool) -> Result<(), CoreGone> {
        if self.told_up == up {
            return Ok(());
        }
        self.told_up = up;
        self.push(Event::DeviceState { device: self.device.clone(), up })
    }

    /// What the core was told last, or will be.
    pub(super) fn told_up(&self) -> bool {
        self.told_up
    }

    /// Offers what waits.
    pub(super) fn flush(&mut self) -> Result<(), CoreGone> {
        while let Some(event) = self.waiting.pop_front() {
            match self.sink.offer(event) {
                Ok(()) => {}
                Err(Refused::Full(event)) => {
                    self.waiting.push_front(*event);
                    break;
                }
                Err(Refused::Closed) => return Err(CoreGone),
            }
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::Tick;
    use crate::line::event::Heard;
    use crate::site::ReaderId;

    fn heard(at: u64) -> Event {
        Event::Heard(Heard {
            reader: ReaderId(0),
            at: Tick(at),
            since: Tick(at),
            readings: Vec::new(),
            rssi_dbm: None,
        })
    }

    #[test]
    fn the_oldest_read_goes_and_states_stay() {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let board = Board::default();
        let mut spool = Spool::new("s1", EventSink::new(sender), board.clone(), 3);
        spool.push(heard(0)).unwrap();
        spool.state(true).unwrap();
        spool.state(true).unwrap();
        for at in 1..=4 {
            spool.push(heard(at)).unwrap();
        }
        let mut came = Vec::new();
        while let Ok(event) = receiver.try_recv() {
            came.push(event);
            spool.flush().unwrap();
        }
        let up = Event::DeviceState { device: "s1".to_owned(), up: true };
        assert_eq!(came, [heard(0), up, heard(3), heard(4)]);
        assert_eq!(board.snapshot().0["s1"].faults["spool_full"], 2);
        drop(receiver);
        assert_eq!(spool.push(heard(9)), Err(CoreGone));
    }
}
