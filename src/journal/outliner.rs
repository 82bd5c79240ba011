//! Frames as the journal thread writes them: each says what it is about.

use super::about::{About, RunStart};
use super::chain::Link;
use super::record;
use crate::line::event::Event;
use crate::line::record::{Body, Fact, Input};

/// Makes frames one after the other, and knows the run that the next one belongs to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Outliner {
    run: Option<RunStart>,
}

impl Outliner {
    /// Goes on in this run: number and frame of its start.
    pub fn go_on(&mut self, run: Option<&(u64, Vec<u8>)>) {
        if run.map(|(seq, _)| *seq) != self.run.map(|run| run.seq) {
            self.run = run.and_then(|(seq, frame)| start(*seq, frame));
        }
    }

    /// Adds the frame of a record, whose body is `encoded` as bytes, and gives its link.
    pub fn frame(
        &mut self,
        into: &mut Vec<u8>,
        seq: u64,
        event_seq: Option<u64>,
        body: &Body,
        encoded: &[u8],
        before: Link,
    ) -> Link {
        let begins = matches!(body, Body::Fact(Fact::Inducted { .. }));
        let about = About { pass: body.pass(), run: self.run.filter(|_| begins) };
        let from = into.len();
        let link = record::frame_v3(into, seq, event_seq, &about, encoded, before);
        if matches!(body, Body::Input(Input::Event(Event::Started(_)))) {
            self.run = start(seq, &into[from..]);
        }
        link
    }
}

fn start(seq: u64, frame: &[u8]) -> Option<RunStart> {
    Some(RunStart { seq, digest: record::digest(frame).ok()? })
}
