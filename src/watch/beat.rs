//! Heartbeats of the loops: each loop beats once a turn, the supervisor looks whether all have.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One loop's heartbeat; the loop keeps it, the [`Beats`] hold a copy.
#[derive(Debug, Clone, Default)]
pub struct Beat(Arc<AtomicU64>);

impl Beat {
    /// The loop has come round.
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All loops that must be alive for the watchdog to be fed.
#[derive(Debug, Default)]
pub struct Beats {
    loops: Vec<(&'static str, Beat, u64)>,
}

impl Beats {
    /// Adds a loop and gives it its heartbeat.
    pub fn watch(&mut self, name: &'static str) -> Beat {
        let beat = Beat::default();
        self.loops.push((name, beat.clone(), 0));
        beat
    }

    /// Loops that have not beaten since the last call.
    pub fn silent(&mut self) -> Vec<&'static str> {
        let mut silent = Vec::new();
        for (name, beat, seen) in &mut self.loops {
            let count = beat.count();
            if count == *seen {
                silent.push(*name);
            }
            *seen = count;
        }
        silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stands_still_is_named() {
        let mut beats = Beats::default();
        let (line, journal) = (beats.watch("line"), beats.watch("journal"));
        line.beat();
        journal.beat();
        assert!(beats.silent().is_empty());
        line.beat();
        assert_eq!(beats.silent(), ["journal"]);
    }
}
