//! Days that are about to go: each is told to the line's thread, which records it; when that record is durable the day
//! may go.
//!
//! Where nobody takes what is told (a store that is written without a line, see
//! [`JournalSettings::deletions_recorded`](super::JournalSettings)), days go at once.

use std::collections::{BTreeMap, BTreeSet};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::Record;
use crate::line::Tick;
use crate::line::event::{DayDeleted, Event};
use crate::line::record::{Body, Input};

/// Days told and not taken yet, at most; the others are told at the next run.
const TOLD_MOST: usize = 64;
/// A day that was told and not recorded is told again after this.
const AGAIN_MS: u64 = 60_000;

/// What was told, and what is recorded.
#[derive(Debug)]
pub(super) struct Farewell {
    tell: Sender<DayDeleted>,
    /// Somebody takes what is told.
    recording: bool,
    told: BTreeMap<String, Tick>,
    recorded: BTreeSet<String>,
}

pub(super) fn channel(recording: bool) -> (Farewell, Receiver<DayDeleted>) {
    let (tell, days) = bounded(TOLD_MOST);
    (Farewell { tell, recording, told: BTreeMap::new(), recorded: BTreeSet::new() }, days)
}

impl Farewell {
    /// Whether the day may go; if not, it is told, and asked about again later.
    pub fn may_go(&mut self, day: &DayDeleted, now: Tick) -> bool {
        if !self.recording || self.recorded.contains(&day.day) {
            self.told.remove(&day.day);
            return true;
        }
        let lately = self.told.get(&day.day).is_some_and(|at| now.ms_since(*at) < AGAIN_MS);
        if !lately && self.tell.try_send(day.clone()).is_ok() {
            self.told.insert(day.day.clone(), now);
        }
        false
    }

    /// These records are durable. `true`: a day among them may go now.
    pub fn durable(&mut self, records: &[Record]) -> bool {
        let mut any = false;
        for record in records {
            if let Body::Input(Input::Event(Event::DayDeleted(day))) = &record.body {
                any = true;
                self.recorded.insert(day.day.clone());
            }
        }
        any
    }

    /// The days that are kept: what is known of others is forgotten.
    pub fn kept(&mut self, days: &[super::day::Span]) {
        let kept = |name: &String| days.iter().any(|span| span.name == *name);
        self.told.retain(|name, _| kept(name));
        self.recorded.retain(kept);
    }
}
