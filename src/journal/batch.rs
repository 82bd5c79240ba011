//! A batch: records that become durable together, with all the bytes the store writes of them.
//!
//! It is made while the disk is at the batch before it, and a batch that still waits for the disk takes further
//! records. So it lies in a few buffers that grow, not in one allocation for each record.

use super::Record;
use super::chain::Link;
use super::keys;
use super::outliner::Outliner;
use crate::line::event::Event;
use crate::line::record::{Body, Input};

/// A batch that is done with keeps its buffers for the next one, up to so many bytes of frames; 256 records are
/// about 30 KB.
const KEPT_BYTES: usize = 256 * 1024;

/// Records that follow each other, and what is written of them.
#[derive(Debug)]
pub(super) struct Batch {
    records: Vec<Record>,
    /// Their frames, one behind the other.
    frames: Vec<u8>,
    /// What they mention, one after the other.
    mentions: Vec<u32>,
    /// For each record, where its part of `frames` and of `mentions` ends.
    ends: Vec<(usize, usize)>,
    /// Starts of runs: number and frame.
    runs: Vec<(u64, Vec<u8>)>,
    /// Of the last record; before the first one, of what is before it.
    link: Link,
    /// Makes the next frame.
    outliner: Outliner,
    last_event: Option<u64>,
}

impl Batch {
    /// An empty one behind the record with this link, in the buffers of one that is not needed any more.
    pub fn behind(link: Link, outliner: Outliner, used: Option<Batch>) -> Batch {
        let Some(mut used) = used.filter(|used| used.frames.capacity() <= KEPT_BYTES) else {
            let (records, frames, mentions) = (Vec::new(), Vec::new(), Vec::new());
            let (ends, runs, last_event) = (Vec::new(), Vec::new(), None);
            return Batch { records, frames, mentions, ends, runs, link, outliner, last_event };
        };
        used.records.clear();
        used.frames.clear();
        used.mentions.clear();
        used.ends.clear();
        used.runs.clear();
        (used.link, used.outliner, used.last_event) = (link, outliner, None);
        used
    }

    /// Adds a record whose body is these bytes.
    pub fn push(&mut self, record: Record, body: &[u8]) {
        let from = self.frames.len();
        let Record { seq, event_seq, body: said, .. } = &record;
        self.link = self.outliner.frame(&mut self.frames, *seq, *event_seq, said, body, self.link);
        keys::add_mentions(&mut self.mentions, &record.body);
        self.ends.push((self.frames.len(), self.mentions.len()));
        if matches!(&record.body, Body::Input(Input::Event(Event::Started(_)))) {
            self.runs.push((record.seq, self.frames[from..].to_vec()));
        }
        self.last_event = record.event_seq.or(self.last_event);
        self.records.push(record);
    }

    /// Carries the start of the run in force into a day that begins with this batch.
    pub fn carry(&mut self, run: (u64, Vec<u8>)) {
        self.runs.insert(0, run);
    }

    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The records as they were before they were numbered among the milestones.
    pub fn into_records(self) -> Vec<Record> {
        self.records
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Link of the last record.
    pub fn link(&self) -> Link {
        self.link
    }

    /// Goes on behind the last record.
    pub fn outliner(&self) -> Outliner {
        self.outliner
    }

    /// Number of the last milestone.
    pub fn last_event(&self) -> Option<u64> {
        self.last_event
    }

    /// Starts of runs, in it or carried from the day before, ascending.
    pub fn runs(&self) -> &[(u64, Vec<u8>)] {
        &self.runs
    }

    /// Each record with its frame and with what it mentions.
    pub fn frames(&self) -> impl Iterator<Item = (&Record, &[u8], &[u32])> {
        let mut from = (0, 0);
        self.records.iter().zip(&self.ends).map(move |(record, end)| {
            let (frame, mentions) = (&self.frames[from.0..end.0], &self.mentions[from.1..end.1]);
            from = *end;
            (record, frame, mentions)
        })
    }
}
