//! Opening the store: which days there are, whether they are what was written, and where to go on.
//!
//! Five witnesses must agree on how far the store had come: the last day itself, the checkpoint, the
//! cursor, the register of orders and, where the daemon goes on with it, the in-flight log. A last day that
//! is shorter than any of them says is put into quarantine, and a new epoch begins.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use serde::{Deserialize, Serialize};

use super::chain::{Link, Tip};
use super::cursor::{self, Cursor};
use super::day::{self, Day, DayError, Links, Read, Sealed, Span, disk};
use super::gone;
use super::inflight;
use super::orders::{self, Orders, Register};
use super::quarantine::{Quarantined, put_aside};
use super::reader::{ReadError, Reader};
use super::shelf::Shelf;
use super::slip::{self, SlipError};
use super::{BATCH_LIMIT, DEVICE, JournalSettings, Numbered, Record};
use crate::line::Tick;
use crate::line::event::Started;
use crate::watch::clock::Clock;

/// Records a recovery reads back at most: ten minutes at 200 parcels/s would be a million.
const RECOVERY_LIMIT: u64 = 2_000_000;

/// Where the store had come to, kept outside of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    pub epoch: u64,
    pub last_seq: u64,
    pub last_event: u64,
    /// The register of orders held those up to this record.
    pub orders_applied: u64,
    /// Records after this one may hold orders it lacks.
    pub orders_after: u64,
}

impl Checkpoint {
    pub fn read(directory: &Path) -> Result<Option<Checkpoint>, SlipError> {
        slip::read(&directory.join("checkpoint"))
    }

    pub fn write(&self, directory: &Path) -> Result<(), SlipError> {
        slip::write(&directory.join("checkpoint"), self)
    }
}

/// The store, once it is open.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Last durable record. On the slow path the line numbers on from here; where it went on with the in-flight
    /// log, records appended since may be counted in already.
    pub last_seq: u64,
    /// Core time of the last record: ticks go on after it.
    pub last_tick: Tick,
    /// Store epoch.
    pub epoch: u64,
    /// Last milestone of the epoch.
    pub last_event: u64,
    /// Active orders and holds, those in records up to `last_seq` included.
    pub orders: Register,
    /// Start of the run that the last record belongs to.
    pub last_started: Option<Started>,
    /// What had to be put into quarantine.
    pub quarantined: Vec<Quarantined>,
    /// The line's state out of the store; `None` where it went on with the in-flight log, and where the
    /// last day is in quarantine.
    pub recovery: Option<StoreRecovery>,
}

/// The line's state out of the store.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreRecovery {
    /// Record the snapshot stands after, and the snapshot.
    pub snapshot: Option<(u64, Vec<u8>)>,
    /// Numbers of every record after it; from the store's first where there is no snapshot.
    pub records: Range<u64>,
    /// `false`: there were more than can be read back, or some are gone with days that were deleted or put
    /// aside. There are no records then, and the line's state is not known.
    pub complete: bool,
}

impl StoreRecovery {
    /// The records, of which a few are in memory at a time. Each was read when the store was opened, so an
    /// error, after which nothing more comes, is one of the disk.
    pub fn read(&self, reader: &Reader) -> impl Iterator<Item = Result<Record, ReadError>> {
        let (mut next, end) = (self.records.start, self.records.end);
        let portions = std::iter::from_fn(move || {
            if next >= end {
                return None;
            }
            let read = reader.records(next, portion(next, end)).and_then(|records| match records.last() {
                Some(last) => {
                    next = last.seq + 1;
                    Ok(records)
                }
                None => {
                    let what = format!("record {next} is not there any more");
                    Err(ReadError::Damaged { day: "days".to_owned(), what })
                }
            });
            if read.is_err() {
                next = end;
            }
            Some(read)
        });
        portions.flat_map(|read| match read {
            Ok(records) => records.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        })
    }
}

/// Records read at a time, of those from `next` on.
fn portion(next: u64, end: u64) -> usize {
    usize::try_from(end - next).unwrap_or(usize::MAX).min(BATCH_LIMIT)
}

/// The journal thread ended before the store was open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal thread ended before the store was open")]
pub struct OpeningError;

/// Yields the store once it is open.
#[derive(Debug)]
pub struct Opening {
    pub(super) opened: Receiver<Opened>,
}

impl Opening {
    /// Waits for it. A disk that does not answer is tried for as long as it takes.
    pub fn wait(self) -> Result<Opened, OpeningError> {
        self.opened.recv().map_err(|_| OpeningError)
    }

    /// Waits for it for so long; `None`: it is not open yet.
    pub fn wait_for(&self, patience: Duration) -> Result<Option<Opened>, OpeningError> {
        match self.opened.recv_timeout(patience) {
            Ok(opened) => Ok(Some(opened)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(OpeningError),
        }
    }

    /// Takes it if it is there; then, and only then, `Some`, once.
    pub fn try_take(&self) -> Option<Opened> {
        self.opened.try_recv().ok()
    }
}

/// What the journal thread goes on from.
#[derive(Debug)]
pub(super) struct Ground {
    pub sealed: Vec<Span>,
    pub current: Option<Day>,
    pub orders: Orders,
    /// Records after this one may hold orders that the register lacks.
    pub orders_after: u64,
    pub epoch: u64,
    pub last_seq: u64,
    pub last_event: u64,
    pub last_tick: Tick,
    /// Where the chain goes on.
    pub tip: Tip,
    /// Start of the run in force, as a record's bytes, for the next day.
    pub run: Option<(Record, Vec<u8>)>,
    pub quarantined: Vec<Quarantined>,
    /// Records that only the in-flight log has, from `last_seq + 1`, without gap.
    pub missing: Vec<Numbered>,
    /// Records are lost, and a new epoch begins: nothing of the store is the line's state.
    pub fresh: bool,
}

/// An epoch later than any known: Unix seconds, unless the clock is behind.
pub(super) fn epoch_after(known: u64) -> u64 {
    let now = u64::try_from(Clock::default().wall_us() / 1_000_000).unwrap_or(0);
    now.max(known + 1)
}

/// Opens everything. `resume_last`: last record of the in-flight log the line has gone on with.
pub(super) fn open(settings: &JournalSettings, resume_last: Option<u64>) -> Result<Ground, DayError> {
    let directory = &settings.directory;
    let days = directory.join("days");
    std::fs::create_dir_all(&days).map_err(|error| disk("days", &error))?;
    let checkpoint = tolerate(settings, Checkpoint::read(directory))?;
    let cursor = tolerate(settings, cursor::read_newest(directory))?;

    let mut quarantined = Vec::new();
    let (mut sealed, unsealed) = list(settings, &days)?;
    let mut open = Vec::new();
    let mut damaged = None;
    for name in unsealed {
        match Day::open(&days, &name, settings.cache_bytes(), Read::All) {
            Ok(Some(day)) if !day.is_empty() => open.push(day),
            // It never got a record; whether it should have is seen below.
            Ok(empty) => {
                drop(empty);
                std::fs::remove_dir_all(days.join(&name)).map_err(|error| disk(&name, &error))?;
            }
            Err(DayError::Damaged { day, what }) => damaged = Some((day, what)),
            Err(error @ DayError::Disk { .. }) => return Err(error),
        }
        if let Some((day, why)) = damaged.clone().filter(|(day, _)| *day == name) {
            let moved_to = put_aside(directory, &days.join(&day), &day, &why);
            let moved_to = moved_to.map_err(|error| disk(&day, &error))?;
            quarantined.push(Quarantined { what: day, moved_to, why, missing: None });
        }
    }
    open.sort_by_key(|day| day.span().begin.first_seq);
    let mut current = open.pop();
    for day in open {
        // A roll-over was cut off between beginning the new day and sealing this one.
        day.seal()?;
        sealed.push(day.span());
    }
    sealed.sort_by_key(|span| span.begin.first_seq);

    let (orders, lost_orders) = open_orders(settings, checkpoint.unwrap_or_default())?;
    quarantined.extend(lost_orders);

    let witness = Witness { checkpoint, cursor, orders_applied: orders.applied(), resume_last };
    let last = current.as_ref().map(Day::span).or_else(|| sealed.last().cloned());
    if damaged.is_none()
        && let Some(why) = witness.contradicts(last.as_ref())
    {
        let name = current.as_ref().map_or_else(|| "days".to_owned(), |day| day.name().to_owned());
        let moved_to = match current.take() {
            Some(day) => {
                drop(day);
                put_aside(directory, &days.join(&name), &name, &why).map_err(|error| disk(&name, &error))?
            }
            None => None,
        };
        damaged = Some((name.clone(), why.clone()));
        quarantined.push(Quarantined { what: name, moved_to, why, missing: None });
    }

    let known_epoch = [
        checkpoint.map(|checkpoint| checkpoint.epoch),
        cursor.map(|cursor| cursor.epoch),
        last.as_ref().map(|span| span.begin.epoch),
        sealed.iter().map(|span| span.begin.epoch).max(),
    ];
    let known_epoch = known_epoch.into_iter().flatten().max().unwrap_or(0);
    let kept_last = current.as_ref().map(Day::span).or_else(|| sealed.last().cloned());
    let known_last = [
        checkpoint.map_or(0, |checkpoint| checkpoint.last_seq),
        last.as_ref().map_or(0, |span| span.last_seq),
        kept_last.as_ref().map_or(0, |span| span.last_seq),
        orders.applied(),
        resume_last.unwrap_or(0),
    ];
    let known_last = known_last.into_iter().max().unwrap_or(0);

    let mut fresh = damaged.is_some();
    let kept_to = kept_last.as_ref().map_or(0, |span| span.last_seq);
    let missing = missing(inflight::salvage(directory, kept_to), resume_last, kept_to, damaged.is_some());
    // Records between the last one kept and the first one the in-flight log still has.
    let goes_on_at = missing.first().map_or(known_last + 1, |numbered| numbered.seq);
    let lost = (kept_to + 1 < goes_on_at).then_some((kept_to + 1, goes_on_at - 1));
    match &damaged {
        Some((day, _)) => {
            for found in quarantined.iter_mut().filter(|found| found.what == *day) {
                found.missing = lost;
            }
        }
        None if lost.is_some() => {
            fresh = true;
            if let Some(day) = current.take() {
                day.seal()?;
                sealed.push(day.span());
            }
            let why = "records are in neither the store nor the in-flight log".to_owned();
            quarantined.push(Quarantined {
                what: "in-flight".to_owned(),
                moved_to: None,
                why,
                missing: lost,
            });
        }
        None => {}
    }
    let present: Vec<Span> = sealed.iter().cloned().chain(current.as_ref().map(Day::span)).collect();
    quarantined.extend(gone::unexplained(settings, &present, goes_on_at, &quarantined));
    for found in &quarantined {
        found.report(directory, &settings.board);
    }
    let run = newest_run(&days, settings, current.as_ref(), &sealed);
    let last_tick = current.as_ref().map_or(Tick(0), Day::last_tick);
    let links = match (&current, sealed.last()) {
        (Some(day), _) => day.links(),
        (None, Some(span)) => sealed_links(settings, &days, &span.name)?,
        (None, None) => None,
    };
    let tip = match links.map_or(Link::UNKNOWN, |links| links.last) {
        link if links.is_some() && !fresh => Tip::After(link),
        link => Tip::Severed(link),
    };
    if let Some(day) = current.take_if(|day| day.links().is_none()) {
        // Written before there was a chain: it stays as it is, and a new day begins with the next record.
        day.seal()?;
        sealed.push(day.span());
    }
    let (epoch, last_event) = match kept_last {
        Some(span) if !fresh => (span.begin.epoch, span.last_event),
        Some(_) | None => (epoch_after(known_epoch), 0),
    };
    let orders_after = checkpoint.map_or(orders.applied(), |checkpoint| checkpoint.orders_after);
    Ok(Ground {
        sealed,
        current,
        orders,
        orders_after,
        epoch,
        last_seq: goes_on_at - 1,
        last_event,
        last_tick,
        tip,
        run,
        quarantined,
        missing,
        fresh,
    })
}

/// Records of the in-flight log that continue the store after `kept_to`, out of those of it that are `newer`. Where the line has gone on with the
/// log, they are those up to where it went on, as far back as they reach; otherwise those that follow the
/// store's last without gap, and none behind a damaged one.
fn missing(
    mut newer: BTreeMap<u64, Numbered>,
    resume_last: Option<u64>,
    kept_to: u64,
    damaged: bool,
) -> Vec<Numbered> {
    let mut found = VecDeque::new();
    match resume_last {
        Some(resumed) => {
            let mut seq = resumed;
            while let Some(numbered) = newer.remove(&seq) {
                found.push_front(numbered);
                seq -= 1;
            }
        }
        None if damaged => {}
        None => {
            let mut seq = kept_to + 1;
            while let Some(numbered) = newer.remove(&seq) {
                found.push_back(numbered);
                seq += 1;
            }
        }
    }
    found.into()
}

/// A damaged small file is a witness less, not a store less.
fn tolerate<T>(
    settings: &JournalSettings,
    read: Result<Option<T>, SlipError>,
) -> Result<Option<T>, DayError> {
    match read {
        Ok(content) => Ok(content),
        Err(error @ SlipError::Damaged { .. }) => {
            settings.board.fault(DEVICE, "small-file-damaged", &error);
            Ok(None)
        }
        Err(error @ SlipError::Io { .. }) => Err(disk("store", &error)),
    }
}

/// Sealed days, and names of those that are not.
fn list(settings: &JournalSettings, days: &Path) -> Result<(Vec<Span>, Vec<String>), DayError> {
    let (mut sealed, mut unsealed) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(days).map_err(|error| disk("days", &error))? {
        let entry = entry.map_err(|error| disk("days", &error))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if super::retention::parse_day(&name).is_none() {
            settings.board.fault(DEVICE, "not-a-day", &format_args!("days/{name} is left alone"));
            continue;
        }
        let slip = tolerate(settings, day::read_span(&entry.path()))?;
        match slip.and_then(|slip| slip.sealed.map(|last| (slip.begin, last))) {
            Some((begin, Sealed { last_seq, last_event, .. })) => {
                sealed.push(Span { name, begin, last_seq, last_event });
            }
            None => unsealed.push(name),
        }
    }
    unsealed.sort();
    Ok((sealed, unsealed))
}

fn sealed_links(settings: &JournalSettings, days: &Path, name: &str) -> Result<Option<Links>, DayError> {
    Ok(tolerate(settings, day::read_span(&days.join(name)))?.and_then(|slip| slip.links()))
}

fn open_orders(
    settings: &JournalSettings,
    checkpoint: Checkpoint,
) -> Result<(Orders, Option<Quarantined>), DayError> {
    let directory = &settings.directory;
    match Orders::open(directory, settings.cache_bytes(), checkpoint.orders_applied) {
        Ok(orders) => Ok((orders, None)),
        Err(DayError::Damaged { day, what }) => {
            let moved_to = put_aside(directory, &orders::path(directory), &day, &what);
            let moved_to = moved_to.map_err(|error| disk(&day, &error))?;
            let why = format!("{what}; upstream must send the active orders again");
            let found = Quarantined { what: day, moved_to, why, missing: None };
            Ok((Orders::open(directory, settings.cache_bytes(), 0)?, Some(found)))
        }
        Err(error @ DayError::Disk { .. }) => Err(error),
    }
}

/// What else is known of how far the store had come.
struct Witness {
    checkpoint: Option<Checkpoint>,
    cursor: Option<Cursor>,
    orders_applied: u64,
    resume_last: Option<u64>,
}

impl Witness {
    /// Why the store cannot be all that was written.
    fn contradicts(&self, last: Option<&Span>) -> Option<String> {
        let (epoch, last_seq, last_event) =
            last.map_or((0, 0, 0), |span| (span.begin.epoch, span.last_seq, span.last_event));
        let ends = |what: &str, by: u64| Some(format!("it ends at {what}, but {by} was durable"));
        if let Some(checkpoint) = self.checkpoint
            && (checkpoint.epoch > epoch || checkpoint.last_seq > last_seq)
        {
            return ends(&format!("record {last_seq} of epoch {epoch}"), checkpoint.last_seq);
        }
        if let Some(cursor) = self.cursor
            && (cursor.epoch > epoch || (cursor.epoch == epoch && cursor.acked > last_event))
        {
            return ends(&format!("milestone {last_event} of epoch {epoch}"), cursor.acked);
        }
        if self.orders_applied > last_seq {
            return ends(&format!("record {last_seq}"), self.orders_applied);
        }
        match self.resume_last {
            Some(resumed) if resumed < last_seq => Some(format!(
                "it ends at record {last_seq}, but the line has gone on from {resumed}: the in-flight log is short"
            )),
            Some(_) | None => None,
        }
    }
}

/// The start of a run in force at the end of the store.
fn newest_run(
    days: &Path,
    settings: &JournalSettings,
    current: Option<&Day>,
    sealed: &[Span],
) -> Option<(Record, Vec<u8>)> {
    let run = match (current, sealed.last()) {
        (Some(day), _) => day.run_before(u64::MAX),
        (None, Some(span)) => Day::open(days, &span.name, settings.cache_bytes(), Read::Ends)
            .and_then(|day| day.map_or(Ok(None), |day| day.run_before(u64::MAX))),
        (None, None) => Ok(None),
    };
    // Without it names of the next day are missing until the next start, which every start brings.
    run.unwrap_or_else(|error| {
        settings.board.fault(DEVICE, "run-unreadable", &error);
        None
    })
}

/// The line's state out of the open store.
pub(super) fn recover(shelf: &Shelf, epoch: u64) -> Result<StoreRecovery, DayError> {
    let spans = shelf.spans();
    let mut snapshot = None;
    for span in spans.iter().rev().filter(|span| span.begin.epoch == epoch).take(2) {
        let day: Arc<Day> = shelf.day(&span.name)?;
        snapshot = day.latest_snapshot(u64::MAX)?;
        if snapshot.is_some() {
            break;
        }
    }
    let first = spans.iter().find(|span| span.begin.epoch == epoch);
    // Without a snapshot the state is made from the epoch's first record, if that is still there.
    let whole = snapshot.is_some() || first.is_none_or(|span| span.begin.first_event == 1);
    let from = match &snapshot {
        Some((seq, _)) => seq + 1,
        None => first.map_or(1, |span| span.begin.first_seq),
    };
    let last = spans.last().map_or(0, |span| span.last_seq);
    let wanted = (last + 1).saturating_sub(from);
    let mut readable = 0;
    if whole && wanted <= RECOVERY_LIMIT {
        for span in spans.iter().filter(|span| span.begin.epoch == epoch && span.last_seq >= from) {
            readable +=
                read_through(&*shelf.day(&span.name)?, from.max(span.begin.first_seq), span.last_seq)?;
        }
    }
    // A day between others may be in quarantine; a part of the records is no state.
    let complete = whole && readable == wanted;
    let records = if complete { from..last + 1 } else { from..from };
    Ok(StoreRecovery { snapshot, records, complete })
}

/// How many records of a day from `from` to `last` there are: whoever takes them up must not find in the middle
/// that one cannot be understood.
fn read_through(day: &Day, from: u64, last: u64) -> Result<u64, DayError> {
    let mut next = from;
    while next <= last {
        let Some(read) = day.records(next, portion(next, last + 1))?.last().map(|record| record.seq) else {
            break;
        };
        next = read + 1;
    }
    Ok(next - from)
}
