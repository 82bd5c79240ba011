//! The way through a recording: stretch by stretch, run by run, chunk by chunk.

use std::sync::Arc;

use super::configuration::Configurations;
use super::period::{Period, bounds};
use super::{CHUNK, ReplayError, Stamp, utc};
use crate::journal::{Record, RecordedDay, Recording};
use crate::line::event::Event;
use crate::line::record::{Body, Entry, Input};
use crate::line::{Line, RestartError, Retake, SnapshotError, Watch};
use crate::site::Site;

/// What was walked through.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Walked {
    /// First record fed.
    pub first: u64,
    /// Last record fed.
    pub last: u64,
    /// Wall time of the first.
    pub from: String,
    /// Wall time of the last.
    pub to: String,
    /// Records fed.
    pub records: u64,
    /// Of those, inputs.
    pub inputs: u64,
    /// Facts compared.
    pub facts: u64,
    /// Starts of the daemon on the way.
    pub starts: u64,
    /// Unbroken stretches of records.
    pub stretches: u64,
    /// Records of the wanted time that had no state to be fed to.
    pub left_out: u64,
    /// Stored snapshots the state was compared with.
    pub snapshots: u64,
    /// What the reader must know.
    pub warnings: Vec<String>,
}

/// Who watches a walk.
pub(super) trait Witness: Watch<Stamp> {
    /// The state is not that of the snapshot stored after this record: these parts of it.
    fn state_differs(&mut self, after: Stamp, parts: Vec<&'static str>);
}

/// Records of one epoch without a gap.
struct Stretch {
    days: Vec<RecordedDay>,
    /// It begins with the first record of an installation: with an empty line.
    from_nothing: bool,
}

impl Stretch {
    fn first(&self) -> u64 {
        self.days.first().map_or(0, |day| day.first_seq)
    }

    fn last(&self) -> u64 {
        self.days.last().map_or(0, |day| day.last_seq)
    }
}

/// Time zone of the newest run, IANA name: in which times are meant that say none.
///
/// # Errors
///
/// The recording cannot be read.
pub fn zone(recording: &dyn Recording) -> Result<String, ReplayError> {
    let last = recording.days()?.last().map_or(0, |day| day.last_seq);
    Configurations::new(recording, None).zone(last)
}

/// Feeds the wanted time again.
pub(super) fn walk(
    recording: &dyn Recording,
    period: Period,
    fallback: Option<Arc<Site>>,
    witness: &mut dyn Witness,
) -> Result<Walked, ReplayError> {
    let mut walked = Walked::default();
    let days = once(recording.days()?, &mut walked.warnings);
    let mut configurations = Configurations::new(recording, fallback);
    let zone = configurations.zone(days.last().map_or(0, |day| day.last_seq))?;
    let (from, to) = bounds(recording, &days, period, &zone)?;
    for stretch in stretches(days) {
        // The part of it that is wanted.
        let (first, last) = (stretch.first().max(from), stretch.last().min(to));
        if first > last {
            continue;
        }
        let entrance = entrance(recording, &stretch, from)?.filter(|entrance| entrance.after < last);
        let fed_from = entrance.as_ref().map_or(last, |entrance| entrance.after) + 1;
        if fed_from > first {
            walked.left_out += fed_from - first;
            walked.warnings.push(format!(
                "records {first} to {} are left out: the line's state before them is not in the store",
                fed_from - 1
            ));
        }
        let Some(Entrance { after, snapshot }) = entrance else { continue };
        let mut line = match &snapshot {
            Some(bytes) => {
                let site = configurations.before(after)?;
                Line::from_snapshot(site, bytes)
                    .map_err(|source| ReplayError::State { seq: after, source: source.into() })?
            }
            None => Line::new(configurations.before(stretch.first())?),
        };
        dress(&mut line, &mut configurations);
        let mut way = Way { recording, configurations: &mut configurations, witness, walked: &mut walked };
        way.along(&stretch, line, after, last)?;
    }
    if walked.records == 0 {
        return Err(ReplayError::NoState { first: from, last: to });
    }
    walked.warnings.append(&mut configurations.warnings);
    Ok(walked)
}

/// Gives a line out of a snapshot the plan that was in force then.
fn dress(line: &mut Line, configurations: &mut Configurations<'_>) {
    if let Some(hash) = line.wants_plan().map(str::to_owned)
        && let Some(plan) = configurations.plan(&hash)
    {
        line.offer_plan(plan);
    }
}

/// Days that hold records which a day before them holds are left out, and named: a day was copied into the store.
fn once(days: Vec<RecordedDay>, warnings: &mut Vec<String>) -> Vec<RecordedDay> {
    let mut kept: Vec<RecordedDay> = Vec::new();
    for day in days {
        match kept.last().filter(|before| day.first_seq <= before.last_seq) {
            None => kept.push(day),
            Some(before) => warnings.push(format!(
                "day {} is left out: its records {} to {} begin with what day {} holds; it was copied into the store, \
                 and `sortd verify` says more",
                day.name, day.first_seq, day.last_seq, before.name
            )),
        }
    }
    kept
}

fn stretches(days: Vec<RecordedDay>) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for day in days {
        match stretches.last_mut() {
            Some(stretch)
                if stretch.last() + 1 == day.first_seq
                    && stretch.days.last().is_some_and(|last| last.epoch == day.epoch) =>
            {
                stretch.days.push(day);
            }
            Some(_) | None => {
                let from_nothing = day.first_seq == 1;
                stretches.push(Stretch { days: vec![day], from_nothing });
            }
        }
    }
    stretches
}

/// Where a stretch is entered.
struct Entrance {
    /// The record after which the state is known.
    after: u64,
    /// That state; `None` is the empty line.
    snapshot: Option<Vec<u8>>,
}

/// Where to begin; `None` where no state is known anywhere.
fn entrance(
    recording: &dyn Recording,
    stretch: &Stretch,
    from: u64,
) -> Result<Option<Entrance>, ReplayError> {
    for day in stretch.days.iter().rev().filter(|day| day.first_seq < from) {
        for seq in recording.snapshots(day)?.into_iter().rev().filter(|seq| *seq < from) {
            if let Some(bytes) = recording.snapshot(day, seq)?.filter(|bytes| Line::takes_up(bytes)) {
                return Ok(Some(Entrance { after: seq, snapshot: Some(bytes) }));
            }
        }
    }
    if stretch.from_nothing {
        return Ok(Some(Entrance { after: stretch.first() - 1, snapshot: None }));
    }
    for day in &stretch.days {
        for seq in recording.snapshots(day)? {
            // A day may begin with a snapshot that stands after a record of the day before.
            let usable = |bytes: &Vec<u8>| seq + 1 >= stretch.first() && Line::takes_up(bytes);
            if let Some(bytes) = recording.snapshot(day, seq)?.filter(usable) {
                return Ok(Some(Entrance { after: seq, snapshot: Some(bytes) }));
            }
        }
    }
    Ok(None)
}

/// One stretch on its way.
struct Way<'w, 'r> {
    recording: &'r dyn Recording,
    configurations: &'w mut Configurations<'r>,
    witness: &'w mut dyn Witness,
    walked: &'w mut Walked,
}

impl Way<'_, '_> {
    /// Feeds records after `after` up to `to`.
    fn along(&mut self, stretch: &Stretch, line: Line, after: u64, to: u64) -> Result<(), ReplayError> {
        let mut retake: Retake<Stamp> = Retake::from(line);
        let mut snapshots = self.snapshots(stretch, after, to)?.into_iter().peekable();
        let (mut next, mut last) = (after + 1, None::<Stamp>);
        while next <= to {
            let wanted = usize::try_from(to + 1 - next).unwrap_or(CHUNK).min(CHUNK);
            let records = self.recording.records(next, wanted)?;
            if records.is_empty() {
                return Err(ReplayError::Gap { expected: next, came: 0 });
            }
            for record in records {
                if record.seq != next {
                    return Err(ReplayError::Gap { expected: next, came: record.seq });
                }
                next += 1;
                let stamp = Stamp { seq: record.seq, wall_us: record.wall_us };
                self.feed(&mut retake, record)?;
                last = Some(stamp);
                while let Some((_, day)) = snapshots.next_if(|(seq, _)| *seq == stamp.seq) {
                    self.compare(&mut retake, stamp, &day)?;
                }
            }
        }
        // What the last input led to may not be recorded yet, or a kill came between.
        retake.finish(&mut Forward(self.witness));
        if let Some(last) = last {
            (self.walked.last, self.walked.to) = (last.seq, utc(last.wall_us));
        }
        self.walked.facts += retake.compared();
        self.walked.stretches += 1;
        Ok(())
    }

    fn snapshots(
        &self,
        stretch: &Stretch,
        after: u64,
        to: u64,
    ) -> Result<Vec<(u64, RecordedDay)>, ReplayError> {
        let mut found = Vec::new();
        for day in stretch.days.iter().filter(|day| day.last_seq > after && day.first_seq <= to) {
            let within = self.recording.snapshots(day)?.into_iter().filter(|seq| *seq > after && *seq <= to);
            found.extend(within.map(|seq| (seq, day.clone())));
        }
        found.sort_by_key(|(seq, _)| *seq);
        Ok(found)
    }

    fn feed(&mut self, retake: &mut Retake<Stamp>, record: Record) -> Result<(), ReplayError> {
        if matches!(record.body, Body::Input(Input::Event(Event::Started(_)))) {
            self.walked.starts += 1;
            // A line that begins from nothing has its configuration already.
            if record.seq != 1 {
                retake.settle(&mut Forward(self.witness));
                let site = self.configurations.of_run(&record)?;
                let line = retake.line().restarted(site);
                retake.replace(line.map_err(|source| ReplayError::State { seq: record.seq, source })?);
            }
        }
        if let Body::Input(Input::Event(Event::PlanInForce(change))) = &record.body
            && let Some(plan) = self.configurations.plan(&change.configuration)
        {
            retake.settle(&mut Forward(self.witness));
            retake.offer_plan(plan);
        }
        let stamp = Stamp { seq: record.seq, wall_us: record.wall_us };
        let walked = &mut *self.walked;
        if walked.records == 0 {
            (walked.first, walked.from) = (stamp.seq, utc(stamp.wall_us));
        }
        walked.records += 1;
        walked.inputs += u64::from(matches!(record.body, Body::Input(_)));
        retake.take(stamp, Entry { at: record.at, body: record.body }, &mut Forward(self.witness));
        Ok(())
    }

    /// Holds the state against the one the daemon stored at this place. Where they differ it goes on with the
    /// stored one, so that one difference is not told as thousands.
    fn compare(
        &mut self,
        retake: &mut Retake<Stamp>,
        after: Stamp,
        day: &RecordedDay,
    ) -> Result<(), ReplayError> {
        let Some(bytes) = self.recording.snapshot(day, after.seq)? else { return Ok(()) };
        retake.settle(&mut Forward(self.witness));
        let failed = |source: RestartError| ReplayError::State { seq: after.seq, source };
        let parts = match retake.agrees_with(&bytes) {
            Ok(parts) => parts,
            // Stored by a version with another layout: nothing to compare with.
            Err(RestartError::TakeUp(SnapshotError::Version(_))) => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        self.walked.snapshots += 1;
        if !parts.is_empty() {
            self.witness.state_differs(after, parts);
            let site = Arc::clone(retake.line().site());
            let mut line = Line::from_snapshot(site, &bytes).map_err(|source| failed(source.into()))?;
            dress(&mut line, self.configurations);
            retake.replace(line);
        }
        Ok(())
    }
}

/// A witness as the watch that it is.
struct Forward<'a>(&'a mut dyn Witness);

impl Watch<Stamp> for Forward<'_> {
    fn differs(&mut self, difference: crate::line::Difference<Stamp>) {
        self.0.differs(difference);
    }

    fn taken(&mut self, line: &Line, moment: &[Entry], numbers: &[Stamp]) {
        self.0.taken(line, moment, numbers);
    }
}
