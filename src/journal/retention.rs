//! Days are deleted whole: by age, by size, and always said.
//!
//! A day goes only from the front, so that what is left has no hole; it is sealed, and nobody reads it.
//!
//! - *By age*: upstream has acknowledged every milestone in it, its name is more than the kept days before today's,
//!   and at least as many newer days exist as are kept (so that a wall clock that jumps far ahead deletes nothing).
//! - *By size*: upstream has acknowledged every milestone in it, and the store takes more than `max-size-mib`.
//! - *By force*: upstream has not acknowledged it, and the store takes more than `hard-size-mib`. What went is said
//!   exactly: an alarm, a log line, and a line in the file `deleted`.
//!
//! A day goes only after a record in the chain says that it will ([`super::farewell`]): a list that somebody else wrote
//! is told by that.
//!
//! Without a cursor nothing is acknowledged: then nothing goes but by force. The quarantine may take a quarter of
//! `max-size-mib`; beyond it the oldest of it goes, and is said.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::cursor::{self, Cursor};
use super::day::Span;
use super::shelf::Shelf;
use super::{DEVICE, gone, lasting, ledger, space};
use crate::line::event::DayDeleted;
pub use crate::line::event::DeletedFor as Why;
use crate::line::record::{Alarm, Severity};
use crate::site::SpaceSettings;
use crate::watch::Board;
use crate::watch::clock::Clock;

const MIB: u64 = 1024 * 1024;
/// Part of the store's size that the quarantine may take.
const QUARANTINE_PART: u64 = 4;

/// What is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub keep_days: u16,
    pub space: SpaceSettings,
}

/// What one run deleted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Deleted {
    pub days: u64,
    /// Milestones that upstream had not acknowledged.
    pub unacknowledged: u64,
    pub quarantined: u64,
    pub bytes: u64,
}

/// A line of the file `deleted`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    wall_us: i64,
    /// Name of the day, or of a directory of the quarantine.
    pub what: String,
    pub why: Why,
    pub epoch: u64,
    pub records: Option<(u64, u64)>,
    events: Option<(u64, u64)>,
    pub unacknowledged: u64,
}

/// Everything that was deleted, oldest first, and what of the list cannot be read.
pub(super) fn list(directory: &Path) -> (Vec<Line>, Vec<String>) {
    ledger::read(&directory.join("deleted"))
}

/// UTC day of a wall stamp, as a number of days since 1970.
pub(super) fn day_number(wall_us: i64) -> i64 {
    wall_us.div_euclid(86_400_000_000)
}

/// Name of a day's directory.
pub(super) fn day_name(number: i64) -> String {
    let date = i32::try_from(number).ok().and_then(|days| {
        jiff::civil::date(1970, 1, 1).checked_add(jiff::Span::new().try_days(days).ok()?).ok()
    });
    // A clock outside of years 1 to 9999 is broken; its day still needs a name.
    date.map_or_else(|| format!("day{number}"), |date| date.to_string())
}

/// The day number of a directory's name, without the suffix of a second store of one day.
pub(super) fn parse_day(name: &str) -> Option<i64> {
    if let Some(number) = name.strip_prefix("day") {
        return number.split('.').next()?.parse().ok();
    }
    let date: jiff::civil::Date = name.split('.').next()?.parse().ok()?;
    Some(i64::from(jiff::civil::date(1970, 1, 1).until(date).ok()?.get_days()))
}

/// Milestones of a day that upstream has not acknowledged.
fn unacknowledged(span: &Span, cursor: Cursor) -> u64 {
    let all = (span.last_event + 1).saturating_sub(span.begin.first_event);
    match span.begin.epoch.cmp(&cursor.epoch) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => span.last_event.saturating_sub(cursor.acked).min(all),
        std::cmp::Ordering::Greater => all,
    }
}

/// Which days go and why; `spans` oldest first with their sizes, the last one is being written. `size`: all of the
/// store.
fn going(spans: &[(Span, u64)], limits: Limits, cursor: Cursor, size: u64) -> Vec<(Span, u64, Why)> {
    let keep = usize::from(limits.keep_days.max(1));
    let Some((current, sealed)) = spans.split_last() else { return Vec::new() };
    let Some(today) = parse_day(&current.0.name) else { return Vec::new() };
    let over = |limit: Option<u32>, size: u64| limit.is_some_and(|limit| size > u64::from(limit) * MIB);
    let (mut size, mut found) = (size, Vec::new());
    // From the front only: what is left has no hole.
    for (at, (span, bytes)) in sealed.iter().enumerate() {
        let aged = parse_day(&span.name).is_some_and(|day| today - day >= i64::from(limits.keep_days.max(1)))
            && at + keep < spans.len();
        let acknowledged = unacknowledged(span, cursor) == 0;
        let why = if acknowledged && aged {
            Why::Age
        } else if acknowledged && over(limits.space.max_size_mib, size) {
            Why::Size
        } else if !acknowledged && over(limits.space.hard_size_mib, size) {
            Why::Force
        } else {
            break;
        };
        size = size.saturating_sub(*bytes);
        found.push((span.clone(), *bytes, why));
    }
    found
}

/// Deletes what may go, or must. `size`: bytes of the store. `may_go`: whether it is recorded that this day goes; it is
/// asked again at the next run.
pub(super) fn run(
    directory: &Path,
    shelf: &Shelf,
    limits: Limits,
    size: u64,
    board: &Board,
    may_go: &mut dyn FnMut(&DayDeleted) -> bool,
) -> std::io::Result<Deleted> {
    // A cursor that cannot be read acknowledges nothing.
    let cursor = cursor::read(directory).ok().flatten().unwrap_or_default();
    let mut deleted = Deleted::default();
    forget_quarantine(directory, limits, board, &mut deleted)?;
    let days = directory.join("days");
    let spans = shelf.spans();
    let sized: Vec<(Span, u64)> = spans
        .into_iter()
        .map(|span| (space::size(&days.join(&span.name)), span))
        .map(|(n, span)| (span, n))
        .collect();
    let mut waits = false;
    for (span, bytes, why) in going(&sized, limits, cursor, size.saturating_sub(deleted.bytes)) {
        let about = DayDeleted {
            day: span.name.clone(),
            epoch: span.begin.epoch,
            records: (span.begin.first_seq, span.last_seq),
            events: (span.begin.first_event, span.last_event),
            why,
            unacknowledged: unacknowledged(&span, cursor),
        };
        // Those behind one that waits are told at the same time, and wait, too.
        waits |= !may_go(&about);
        if waits {
            continue;
        }
        if !shelf.forget(&span.name) {
            break;
        }
        let lost = unacknowledged(&span, cursor);
        let line = say(directory, board, &span, why, lost);
        let noted = note(directory, board, &line);
        gone::enter(directory, board, (span.begin.first_seq, span.last_seq));
        std::fs::remove_dir_all(days.join(&span.name))?;
        if !noted {
            // There is room now, if that was what it lacked.
            note(directory, board, &line);
            gone::enter(directory, board, (span.begin.first_seq, span.last_seq));
        }
        deleted.days += 1;
        deleted.unacknowledged += lost;
        deleted.bytes += bytes;
    }
    Ok(deleted)
}

/// Says what goes, before it goes.
fn say(directory: &Path, board: &Board, span: &Span, why: Why, unacknowledged: u64) -> Line {
    let (day, epoch) = (&span.name, span.begin.epoch);
    let (records, events) =
        ((span.begin.first_seq, span.last_seq), (span.begin.first_event, span.last_event));
    tracing::info!(%day, ?why, epoch, ?records, ?events, unacknowledged, "day deleted");
    if unacknowledged > 0 {
        board.fault(DEVICE, "unacknowledged-deleted", &format_args!("day {day}, {unacknowledged} events"));
        let alarm = Alarm {
            id: format!("store-deleted-{day}"),
            severity: Severity::Critical,
            text: format!(
                "Day {day} was deleted because the store is over `hard-size-mib`: records {} to {}, of epoch {epoch} \
                 the events {} to {}, {unacknowledged} of them not acknowledged by upstream.",
                records.0, records.1, events.0, events.1
            ),
            remedy: "Tell upstream which events it will never get, find out why it does not acknowledge, and raise \
                     `hard-size-mib` if the disk has room."
                .to_owned(),
        };
        lasting::raise(directory, board, alarm);
    }
    Line {
        wall_us: Clock::default().wall_us(),
        what: day.clone(),
        why,
        epoch,
        records: Some(records),
        events: Some(events),
        unacknowledged,
    }
}

/// Adds a line to the file `deleted`; it outlives the alarm. `false`: it could not be written.
fn note(directory: &Path, board: &Board, line: &Line) -> bool {
    let added = ledger::add(&directory.join("deleted"), line);
    if let Err(error) = &added {
        board.fault(DEVICE, "deleted-not-noted", error);
    }
    added.is_ok()
}

/// Keeps the quarantine to its part of the store's size, the newest of it.
fn forget_quarantine(
    directory: &Path,
    limits: Limits,
    board: &Board,
    deleted: &mut Deleted,
) -> std::io::Result<()> {
    let Some(limit) = limits.space.max_size_mib.map(|mib| u64::from(mib) * MIB / QUARANTINE_PART) else {
        return Ok(());
    };
    let mut kept = Vec::new();
    for entry in std::fs::read_dir(directory.join("quarantine")).into_iter().flatten() {
        let path = entry?.path();
        // The name ends in the Unix seconds of the moment, and perhaps in a number behind a full stop.
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let since = name.rsplit('-').next().and_then(|end| end.split('.').next()?.parse::<u64>().ok());
        kept.push((since.unwrap_or(0), name, space::size(&path), path));
    }
    kept.sort();
    let mut size: u64 = kept.iter().map(|(_, _, size, _)| size).sum();
    for (_, name, bytes, path) in kept {
        if size <= limit {
            break;
        }
        tracing::warn!(quarantine = %name, bytes, "quarantine deleted, it takes more than its part");
        let (why, wall_us) = (Why::Size, Clock::default().wall_us());
        let what = name.clone();
        let line = Line { wall_us, what, why, epoch: 0, records: None, events: None, unacknowledged: 0 };
        note(directory, board, &line);
        board.fault(DEVICE, "quarantine-deleted", &name);
        board.raise(Alarm {
            id: "store-quarantine-deleted".to_owned(),
            severity: Severity::Warning,
            text: format!(
                "The quarantine takes more than a quarter of `max-size-mib`: {name} was deleted from it."
            ),
            remedy: "Copy what is left in the quarantine directory away, and check the disk.".to_owned(),
        });
        std::fs::remove_dir_all(&path)?;
        size = size.saturating_sub(bytes);
        deleted.quarantined += 1;
        deleted.bytes += bytes;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::day::Begin;
    use super::*;

    fn span(name: &str, epoch: u64, events: (u64, u64)) -> Span {
        let begin = Begin { epoch, first_seq: events.0, first_event: events.0 };
        Span { name: name.to_owned(), begin, last_seq: events.1, last_event: events.1 }
    }

    fn limits(keep_days: u16, max: Option<u32>, hard: Option<u32>) -> Limits {
        let space = SpaceSettings { max_size_mib: max, hard_size_mib: hard, ..SpaceSettings::default() };
        Limits { keep_days, space }
    }

    /// Names and reasons, each day 10 MiB.
    fn gone(days: &[Span], limits: Limits, cursor: Cursor) -> Vec<(String, Why)> {
        let sized: Vec<_> = days.iter().map(|span| (span.clone(), 10 * MIB)).collect();
        let size = 10 * MIB * days.len() as u64;
        going(&sized, limits, cursor, size).into_iter().map(|(span, _, why)| (span.name, why)).collect()
    }

    fn four() -> [Span; 4] {
        [
            span("2026-11-18", 7, (1, 10)),
            span("2026-11-19", 7, (11, 20)),
            span("2026-11-20", 7, (21, 30)),
            span("2026-11-21", 7, (31, 40)),
        ]
    }

    fn names(gone: &[(String, Why)], why: Why) -> Vec<&str> {
        assert!(gone.iter().all(|(_, came)| *came == why), "{gone:?}");
        gone.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn names_and_numbers_of_days_agree() {
        for wall_us in [0, 1_795_305_600_000_000, -1, i64::MAX, i64::MIN] {
            let number = day_number(wall_us);
            assert_eq!(parse_day(&day_name(number)), Some(number), "{wall_us}");
        }
        assert_eq!(day_name(day_number(1_795_305_600_000_000)), "2026-11-22");
        assert_eq!(parse_day("2026-11-22.2"), parse_day("2026-11-22"));
    }

    #[test]
    fn only_old_acknowledged_days_go_and_a_jump_of_the_clock_deletes_nothing() {
        let days = four();
        let by_age = |keep, cursor| gone(&days, limits(keep, None, None), cursor);
        let all = Cursor { epoch: 7, acked: 40 };
        assert_eq!(names(&by_age(2, all), Why::Age), ["2026-11-18", "2026-11-19"]);
        assert_eq!(names(&by_age(2, Cursor { epoch: 7, acked: 15 }), Why::Age), ["2026-11-18"]);
        assert!(by_age(2, Cursor { epoch: 6, acked: 99 }).is_empty());
        assert!(by_age(2, Cursor::default()).is_empty(), "without a cursor nothing is acknowledged");
        assert_eq!(names(&by_age(2, Cursor { epoch: 8, acked: 0 }), Why::Age), ["2026-11-18", "2026-11-19"]);
        assert!(by_age(180, all).is_empty());
        let jumped = [days[2].clone(), days[3].clone(), span("2099-01-01", 7, (41, 50))];
        assert!(gone(&jumped, limits(3, None, None), Cursor { epoch: 7, acked: 50 }).is_empty());
    }

    #[test]
    fn by_size_acknowledged_days_go_until_the_rest_fits() {
        let days = four();
        let all = Cursor { epoch: 7, acked: 40 };
        let by_size = |max, cursor| gone(&days, limits(180, Some(max), None), cursor);
        assert!(by_size(40, all).is_empty());
        assert_eq!(names(&by_size(39, all), Why::Size), ["2026-11-18"]);
        assert_eq!(names(&by_size(25, all), Why::Size), ["2026-11-18", "2026-11-19"]);
        assert_eq!(by_size(1, all).len(), 3, "the day that is written stays");
        assert_eq!(names(&by_size(1, Cursor { epoch: 7, acked: 19 }), Why::Size), ["2026-11-18"]);
        assert!(by_size(1, Cursor::default()).is_empty());
    }

    #[test]
    fn only_the_hard_limit_takes_what_upstream_lacks() {
        let days = four();
        let cursor = Cursor { epoch: 7, acked: 15 };
        let found = gone(&days, limits(180, Some(20), Some(25)), cursor);
        assert_eq!(found, [("2026-11-18".to_owned(), Why::Size), ("2026-11-19".to_owned(), Why::Force)]);
        assert_eq!(unacknowledged(&days[1], cursor), 5);
        assert_eq!(unacknowledged(&days[2], Cursor { epoch: 6, acked: 99 }), 10);
        assert_eq!(unacknowledged(&days[2], Cursor { epoch: 8, acked: 0 }), 0);
    }

    #[test]
    fn the_oldest_of_the_quarantine_goes_first_and_is_said() {
        let directory = tempfile::tempdir().unwrap();
        for (name, kib) in [("2026-11-20-100", 700), ("orders-90.1", 700), ("2026-11-19-200", 700)] {
            let path = directory.path().join("quarantine").join(name);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("db"), vec![1_u8; kib * 1024]).unwrap();
        }
        let (board, mut deleted) = (Board::default(), Deleted::default());
        forget_quarantine(directory.path(), limits(180, Some(6), None), &board, &mut deleted).unwrap();
        assert_eq!(deleted.quarantined, 1);
        assert!(!directory.path().join("quarantine/orders-90.1").exists());
        assert!(board.snapshot().1.iter().any(|alarm| alarm.text.contains("orders-90.1")));
        let noted = std::fs::read_to_string(directory.path().join("deleted")).unwrap();
        assert!(noted.contains("orders-90.1") && noted.ends_with('\n'), "{noted}");
        forget_quarantine(directory.path(), limits(180, None, None), &board, &mut deleted).unwrap();
        assert_eq!(deleted.quarantined, 1, "without a size nothing goes");
    }
}
