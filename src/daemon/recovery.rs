//! The line as it was: from the in-flight log at once, or from the store once it is open.

use std::sync::Arc;

use crate::journal::{Numbered, Opened, Resume};
use crate::line::event::Event;
use crate::line::record::{Body, Entry, Input};
use crate::line::{Line, Tick};
use crate::site::{Site, SortPlan};

/// The plan of a configuration in the store's archive.
pub type PlanOf<'a> = &'a dyn Fn(&str) -> Option<Arc<SortPlan>>;

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
    let (entries, unrecorded) =
        take_again(&mut line, resume.tail.iter().map(|numbered: &Numbered| &numbered.entry), plans);
    let last_tick = resume.last_tick().unwrap_or_default().max(line.last_tick());
    Some(TakenUp { line, next_seq: resume.last_seq + 1, last_tick, entries, unrecorded })
}

/// Takes up what the store holds; an empty line where it holds nothing that makes a whole state.
pub fn from_store(site: &Arc<Site>, opened: &Opened, plans: PlanOf<'_>) -> TakenUp {
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
        if recovery.complete {
            let entries: Vec<Entry> = recovery
                .records
                .iter()
                .map(|record| Entry { at: record.at, body: record.body.clone() })
                .collect();
            (taken, unrecorded) = take_again(&mut line, entries.iter(), plans);
        } else {
            tracing::error!(
                remedy = "count what is on the belt by hand: the sums begin anew",
                "the store does not hold the whole state of the line"
            );
        }
    }
    TakenUp { line, next_seq, last_tick: opened.last_tick, entries: taken, unrecorded }
}

/// How many entries were taken, and what is still to be recorded of what they led to.
fn take_again<'a>(
    line: &mut Line,
    entries: impl Iterator<Item = &'a Entry>,
    plans: PlanOf<'_>,
) -> (usize, Vec<Entry>) {
    let entries: Vec<Entry> = entries.cloned().collect();
    let wanted = line.wants_plan().map(str::to_owned);
    let changes = entries.iter().filter_map(|entry| match &entry.body {
        Body::Input(Input::Event(Event::PlanInForce(change))) => Some(change.configuration.clone()),
        Body::Input(_) | Body::Fact(_) => None,
    });
    for plan in wanted.into_iter().chain(changes).filter_map(|hash| plans(&hash)) {
        line.offer_plan(plan);
    }
    let differences = line.take_again(&entries);
    if differences.count > 0 {
        tracing::error!(
            differences = differences.count,
            compared = differences.compared,
            first = ?differences.first,
            remedy = "keep the store and send it to the maker",
            "taking up the recorded entries again came to other facts"
        );
    }
    (entries.len(), differences.unrecorded)
}
