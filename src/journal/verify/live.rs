//! The store of this process, as an examination sees it.

use super::books::Books;
use super::examine::Witness;
use super::source::{Source, SourceError};
use crate::journal::anchor::Anchor;
use crate::journal::{AnchorReader, DaySpan, Frame, JournalHandle, Reader, SlipError};

/// Reads the open store beside the journal thread.
#[derive(Debug, Clone)]
pub struct Live {
    handle: JournalHandle,
    reader: Reader,
    anchors: AnchorReader,
}

impl Live {
    /// Of this journal.
    pub fn new(handle: &JournalHandle) -> Live {
        Live { handle: handle.clone(), reader: handle.reader(), anchors: handle.anchors() }
    }

    /// Number of the newest anchor; 0 before the first.
    pub fn newest_anchor(&self) -> u64 {
        self.anchors.newest()
    }

    /// Anchors after number `after`, at most `max`.
    pub fn anchors_after(&self, after: u64, max: usize) -> Result<Vec<Anchor>, SlipError> {
        self.anchors.after(after, max)
    }
}

impl Source for Live {
    fn days(&self) -> Result<Vec<DaySpan>, SourceError> {
        Ok(self.reader.days()?)
    }

    fn damaged_days(&self) -> Vec<(String, String)> {
        // A running journal has put them aside.
        Vec::new()
    }

    fn frames(&self, from: u64, max: usize) -> Result<Vec<Frame>, SourceError> {
        Ok(self.reader.frames(from, max)?)
    }

    fn anchors(&self) -> Result<(Vec<Anchor>, Vec<String>), SourceError> {
        let all = self.anchors_after(0, usize::MAX);
        Ok((all.map_err(|error| SourceError::Failed(error.to_string()))?, Vec::new()))
    }

    fn witnesses(&self) -> Result<Vec<Witness>, SourceError> {
        let status = self.handle.status();
        Ok(vec![Witness {
            what: "the journal had made more durable".to_owned(),
            epoch: status.epoch,
            seq: Some(status.durable),
            event_seq: Some(status.last_event),
        }])
    }

    fn others(&self) -> Result<(Vec<String>, Vec<String>), SourceError> {
        let aside = self.handle.status().quarantined;
        let notes =
            aside.iter().map(|found| format!("Put aside since the start: {}: {}.", found.what, found.why));
        Ok((Vec::new(), notes.collect()))
    }

    fn books(&self) -> Result<Option<Books>, SourceError> {
        Ok(Some(Books::read(self.reader.directory())))
    }
}
