//! From when to when: wall times as typed, and the records that stand for them.

use std::str::FromStr;

use super::ReplayError;
use crate::journal::{RecordedDay, Recording, RecordingError};

/// A moment as someone types it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// With an offset: `2026-11-22T08:00:00+08:00`, `2026-11-22T00:00Z`.
    Absolute(jiff::Timestamp),
    /// As the clock on the wall showed it there: `2026-11-22T08:00`, or a day's beginning `2026-11-22`.
    Local(jiff::civil::DateTime),
}

/// What is typed is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a time like 2026-11-22T08:00 (in the site's time zone), 2026-11-22, or 2026-11-22T08:00:00+08:00, \
     got {0:?}"
)]
pub struct BadTime(String);

impl FromStr for Moment {
    type Err = BadTime;

    fn from_str(text: &str) -> Result<Moment, BadTime> {
        let text = text.trim();
        if let Ok(at) = text.parse::<jiff::Timestamp>() {
            return Ok(Moment::Absolute(at));
        }
        text.parse::<jiff::civil::DateTime>().map(Moment::Local).map_err(|_| BadTime(text.to_owned()))
    }
}

impl Moment {
    /// Unix microseconds, in the time zone of this name; UTC where there is no such zone.
    fn wall_us(self, zone: &str) -> i64 {
        match self {
            Moment::Absolute(at) => at.as_microsecond(),
            Moment::Local(at) => {
                let zone = jiff::tz::TimeZone::get(zone).unwrap_or(jiff::tz::TimeZone::UTC);
                at.to_zoned(zone).map_or(i64::MIN, |at| at.timestamp().as_microsecond())
            }
        }
    }
}

/// From when to when; open ends mean everything there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Period {
    /// The first record is the first of this moment or later.
    pub from: Option<Moment>,
    /// The last record is the last before this moment.
    pub to: Option<Moment>,
}

/// Numbers of the first and the last record wanted.
pub(super) fn bounds(
    recording: &dyn Recording,
    days: &[RecordedDay],
    period: Period,
    zone: &str,
) -> Result<(u64, u64), ReplayError> {
    let (Some(first), Some(last)) = (days.first(), days.last()) else {
        return Err(ReplayError::Gap { expected: 1, came: 0 });
    };
    let from = match period.from {
        Some(moment) => first_at(recording, days, moment.wall_us(zone))?,
        None => first.first_seq,
    };
    let to = match period.to {
        Some(moment) => first_at(recording, days, moment.wall_us(zone))?.saturating_sub(1),
        None => last.last_seq,
    };
    if from > to || from > last.last_seq {
        let wall = |seq| {
            let at = wall_of(recording, seq)?;
            Ok::<_, RecordingError>(at.map_or_else(String::new, |at| super::local(at, zone)))
        };
        return Err(ReplayError::NothingThere { first: wall(first.first_seq)?, last: wall(last.last_seq)? });
    }
    Ok((from, to))
}

/// The first record stamped at or after a wall time; one more than the last where there is none. A wall
/// clock that was set back makes this a matter of opinion; the answer is then one of the possible ones.
fn first_at(recording: &dyn Recording, days: &[RecordedDay], wall_us: i64) -> Result<u64, RecordingError> {
    let last = days.last().map_or(0, |day| day.last_seq);
    for day in days {
        if wall_of(recording, day.last_seq)?.is_none_or(|last| last < wall_us) {
            continue;
        }
        let (mut low, mut high) = (day.first_seq, day.last_seq);
        while low < high {
            let middle = low + (high - low) / 2;
            if wall_of(recording, middle)?.is_none_or(|at| at < wall_us) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        return Ok(low);
    }
    Ok(last + 1)
}

fn wall_of(recording: &dyn Recording, seq: u64) -> Result<Option<i64>, RecordingError> {
    Ok(recording.records(seq, 1)?.first().map(|record| record.wall_us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let shanghai = |text: &str| text.parse::<Moment>().unwrap().wall_us("Asia/Shanghai");
        let eight = 1_795_305_600_000_000;
        for text in
            ["2026-11-22T08:00", "2026-11-22 08:00:00", "2026-11-22T08:00:00+08:00", "2026-11-22T00:00:00Z"]
        {
            assert_eq!(shanghai(text), eight, "{text}");
        }
        assert_eq!(shanghai("2026-11-22"), eight - 8 * 3_600_000_000);
        assert_eq!("2026-11-22T00:00".parse::<Moment>().unwrap().wall_us("nowhere"), eight);
        for text in ["", "yesterday", "08:00", "2026-13-01"] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
    }
}
