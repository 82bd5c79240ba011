//! The line as it was: from the in-flight log at once, or from the store once it is open.

use std::sync::Arc;

use crate::journal::{Numbered, Opened, Reader, Resume};
use crate::line::record::Entry;
use crate::line::{Line, PlanOf, Tick};
use crate::site::Site;

/// A line taken up again.
#[derive(Debug)]
pub struct TakenUp {
    /// The line.
    pub line: Line,
    /// Number of its next record.
    pub next_seq: u64,
    /// Time of its last record; the clock goes on after it.
    pub last_tick: Tick,
    /// Recorded entries taken up again.
    pub entries: usize,
    /// What the last of them led to and a kill kept from being recorded: the first to be recorded now.
    pub unrecorded: Vec<Entry>,
}

/// Takes up the in-flight log; `None` where its snapshot is not one of this version, so that the store must
/// be waited for.
pub fn from_log(site: &Arc<Site>, resume: &Resume, plans: PlanOf<'_>) -> Option<TakenUp> {
    let mut line = match Line::from_snapshot(Arc::clone(site), &resume.snapshot) {
        Ok(line) => line,
        Err(error) => {
            tracing::warn!(%error, "the in-flight snapshot is not taken up; the store is waited for");
            return None;
        }
    };
    let entries = resume.tail.iter().map(|numbered: &Numbered| numbered.entry.clone());
    let (entries, unrecorded) = take_again(&mut line, entries, plans);
    let last_tick = resume.last_tick().unwrap_or_default().max(line.last_tick());
    Some(TakenUp { line, next_seq: resume.last_seq + 1, last_tick, entries, unrecorded })
}

/// Takes up what the store holds; an empty line where it holds nothing that makes a whole state. Records are
/// read a few at a time: there may be millions of them.
pub fn from_store(site: &Arc<Site>, opened: &Opened, reader: &Reader, plans: PlanOf<'_>) -> TakenUp {
    let next_seq = opened.last_seq + 1;
    let mut line = Line::new(Arc::clone(site));
    let (mut taken, mut unrecorded) = (0, Vec::new());
    if let Some(recovery) = &opened.recovery {
        let snapshot = recovery.snapshot.as_ref().map(|(_, bytes)| bytes);
        match snapshot.map(|bytes| Line::from_snapshot(Arc::clone(site), bytes)) {
            Some(Ok(restored)) => line = restored,
            Some(Err(error)) => tracing::warn!(%error, "the stored snapshot is not taken up"),
            None => {}
        }
        let mut failed = None;
        if recovery.complete {
            let records = recovery.read(reader).map_while(|record| match record {
                Ok(record) => Some(Entry { at: record.at, body: record.body }),
                Err(error) => {
                    failed = Some(error);
                    None
                }
            });
            (taken, unrecorded) = take_again(&mut line, records, plans);
        }
        if let Some(error) = &failed {
            tracing::error!(%error, "records of the line's state cannot be read any more");
            line = Line::new(Arc::clone(site));
            (taken, unrecorded) = (0, Vec::new());
        }
        if failed.is_some() || !recovery.complete {
            tracing::error!(
                remedy = "count what is on the belt by hand: the sums begin anew",
                "the store does not hold the whole state of the line"
            );
        }
    }
    TakenUp { line, next_seq, last_tick: opened.last_tick, entries: taken, unrecorded }
}

/// How many entries were taken, and what is still to be recorded of what they led to.
fn take_again(
    line: &mut Line,
    entries: impl Iterator<Item = Entry>,
    plans: PlanOf<'_>,
) -> (usize, Vec<Entry>) {
    let mut taken = 0;
    let differences = line.take_all_again(entries.inspect(|_| taken += 1), plans);
    if differences.count > 0 {
        tracing::error!(
            differences = differences.count,
            compared = differences.compared,
            first = ?differences.first,
            remedy = "keep the store and send it to the maker",
            "taking up the recorded entries again came to other facts"
        );
    }
    (taken, differences.unrecorded)
}
