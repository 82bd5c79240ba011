//! Waves and cut-offs: when a carrier takes parcels, and until when.
//!
//! A *wave* is one collection of a carrier: it opens, parcels are sorted into its bags, and at its *cut-off* the
//! bags close; what comes later goes to the next wave. Waves are told in local time and weekdays, in the time
//! zone of whoever collects, and repeat each week.
//!
//! Invariants:
//! - Nothing here reads a clock: the time is given, in microseconds of UTC since 1970.
//! - The waves of one service never overlap, so a parcel belongs to at most one open wave; the loader sees to it.
//! - At the cut-off the wave is over: a parcel of that very microsecond belongs to the next one.
//! - Where the clocks are put forward or back, a wave opens at the later and closes at the earlier of what its
//!   local time could mean: bags closed early are dispatched, bags closed late are not.

use jiff::Timestamp;
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;

use jiff::ToSpan as _;

/// Minutes of a day and of a week.
const DAY_MIN: u32 = 24 * 60;
const WEEK_MIN: u32 = 7 * DAY_MIN;

/// Days looked at, from the day before `now`: that day's wave may go past midnight, and each weekday must be met
/// once behind now, also where a wave of today is over and the same weekday comes again in a week.
const DAYS_LOOKED_AT: i64 = 10;

/// Words for the days of a week, Monday first (ISO 8601).
pub(super) const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// One wave of a carrier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wave {
    /// Name, unique within the carrier.
    pub name: String,
    /// Days of the week on which it opens, Monday first.
    pub days: [bool; 7],
    /// Local time at which it opens.
    pub opens: Time,
    /// Local time at which it closes; not later than `opens` means on the next day.
    pub cut_off: Time,
    /// Services it takes; empty: all of the carrier's.
    pub services: Vec<String>,
}

/// The waves of a carrier, and the zone of their times.
#[derive(Debug, Clone, PartialEq)]
pub struct Waves {
    zone: TimeZone,
    waves: Vec<Wave>,
}

/// The wave that a parcel of now belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutOff<'a> {
    /// The wave.
    pub wave: &'a Wave,
    /// Local date on which it opens: with the name, what tells this wave from last week's.
    pub date: Date,
    /// When it opens, µs of UTC since 1970; not after now if it is open.
    pub opens_us: i64,
    /// When it closes, µs of UTC since 1970; always after now.
    pub cut_off_us: i64,
}

impl CutOff<'_> {
    /// Is it open at this time?
    pub fn is_open(&self, now_utc_us: i64) -> bool {
        (self.opens_us..self.cut_off_us).contains(&now_utc_us)
    }
}

impl Wave {
    /// Does it take this service? A service that is not told is taken by waves for all services only.
    pub fn takes(&self, service: Option<&str>) -> bool {
        self.services.is_empty()
            || service.is_some_and(|service| self.services.iter().any(|taken| taken == service))
    }

    /// Could one parcel be meant for this wave and for another?
    fn shares_service(&self, other: &Wave) -> bool {
        self.services.is_empty()
            || other.services.is_empty()
            || self.services.iter().any(|service| other.services.contains(service))
    }

    /// From opening to cut-off in minutes, by the clock on the wall.
    fn minutes(&self) -> u32 {
        match (minute(self.opens), minute(self.cut_off)) {
            (opens, cut_off) if cut_off > opens => cut_off - opens,
            (opens, cut_off) => DAY_MIN + cut_off - opens,
        }
    }

    /// Where in the week it opens, in minutes from Monday 00:00.
    fn openings(&self) -> impl Iterator<Item = u32> {
        let opens = minute(self.opens);
        (0..).zip(self.days).filter(|(_, on)| *on).map(move |(day, _)| day * DAY_MIN + opens)
    }

    /// Where in the week both are open for one service: a weekday and the minute of it, if anywhere.
    pub(super) fn overlap(&self, other: &Wave) -> Option<(&'static str, Time)> {
        if !self.shares_service(other) {
            return None;
        }
        for own in self.openings() {
            for its in other.openings() {
                // One of two intervals on a circle begins within the other, if they meet at all.
                let met = if (its + WEEK_MIN - own) % WEEK_MIN < self.minutes() {
                    its
                } else if (own + WEEK_MIN - its) % WEEK_MIN < other.minutes() {
                    own
                } else {
                    continue;
                };
                let (day, minute) = ((met / DAY_MIN) as usize % DAYS.len(), met % DAY_MIN);
                let time = Time::new((minute / 60) as i8, (minute % 60) as i8, 0, 0).ok()?;
                return Some((DAYS[day], time));
            }
        }
        None
    }
}

fn minute(time: Time) -> u32 {
    u32::from(time.hour().unsigned_abs()) * 60 + u32::from(time.minute().unsigned_abs())
}

impl Waves {
    /// Waves in a time zone. `None` where they overlap.
    pub fn new(zone: TimeZone, waves: Vec<Wave>) -> Option<Waves> {
        let apart =
            waves.iter().enumerate().all(|(at, wave)| waves[..at].iter().all(|b| wave.overlap(b).is_none()));
        apart.then_some(Waves { zone, waves })
    }

    /// The waves, in file order.
    pub fn iter(&self) -> impl Iterator<Item = &Wave> {
        self.waves.iter()
    }

    /// The zone of their times.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The wave that a parcel of this service belongs to now: the open one, or the next to open. `None` where no
    /// wave takes the service, or where the time is beyond the calendar.
    ///
    /// The answer holds until its cut-off, so a caller asks again only then.
    pub fn next_cut_off(&self, now_utc_us: i64, service: Option<&str>) -> Option<CutOff<'_>> {
        let now = Timestamp::from_microsecond(now_utc_us).ok()?;
        let today = self.zone.to_datetime(now).date();
        let mut next: Option<CutOff<'_>> = None;
        for ahead in -1..DAYS_LOOKED_AT {
            let Ok(date) = today.checked_add(ahead.days()) else { continue };
            let closed =
                self.waves.iter().filter(|wave| wave.takes(service) && wave.opens_on(date.weekday()));
            for wave in closed {
                let Some(found) = self.on(wave, date) else { continue };
                if found.cut_off_us > now_utc_us && next.is_none_or(|next| found.cut_off_us < next.cut_off_us)
                {
                    next = Some(found);
                }
            }
            // Waves of one service do not overlap: a later day's closes later.
            if next.is_some() && ahead > 0 {
                break;
            }
        }
        next
    }

    /// A wave on the day on which it opens.
    fn on<'a>(&self, wave: &'a Wave, date: Date) -> Option<CutOff<'a>> {
        let closes_on = if wave.cut_off > wave.opens { date } else { date.tomorrow().ok()? };
        let at = |date: Date, time: Time| self.zone.to_ambiguous_timestamp(date.to_datetime(time));
        let opens = at(date, wave.opens).later().ok()?;
        let cut_off = at(closes_on, wave.cut_off).earlier().ok()?;
        // A wave that lies in the hour that the clocks leave out is none.
        (cut_off > opens).then_some(CutOff {
            wave,
            date,
            opens_us: opens.as_microsecond(),
            cut_off_us: cut_off.as_microsecond(),
        })
    }
}

impl Wave {
    fn opens_on(&self, day: Weekday) -> bool {
        let at = usize::try_from(day.to_monday_zero_offset()).unwrap_or_default();
        self.days.get(at).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(text: &str) -> Time {
        text.parse().unwrap()
    }

    fn wave(name: &str, days: &str, opens: &str, cut_off: &str) -> Wave {
        Wave {
            name: name.to_owned(),
            days: DAYS.map(|day| days.contains(day) || days == "daily"),
            opens: time(opens),
            cut_off: time(cut_off),
            services: Vec::new(),
        }
    }

    fn waves(zone: &str, waves: Vec<Wave>) -> Waves {
        Waves::new(TimeZone::get(zone).unwrap(), waves).expect("they do not overlap")
    }

    fn us(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_microsecond()
    }

    /// Name and cut-off in UTC.
    fn next(waves: &Waves, now: &str) -> (String, String, bool) {
        let found = waves.next_cut_off(us(now), None).unwrap();
        let cut_off = Timestamp::from_microsecond(found.cut_off_us).unwrap().to_string();
        (found.wave.name.clone(), cut_off, found.is_open(us(now)))
    }

    #[test]
    fn a_friday_evening_belongs_to_the_night_and_saturday_night_to_monday() {
        let line = waves(
            "Asia/Shanghai",
            vec![
                wave("day", "mon tue wed thu fri", "06:00", "17:30"),
                wave("night", "mon tue wed thu fri", "18:00", "02:00"),
            ],
        );
        // 2026-11-20 is a Friday; Shanghai is UTC+8.
        let day = |open| ("day".to_owned(), "2026-11-20T09:30:00Z".to_owned(), open);
        assert_eq!(next(&line, "2026-11-20T04:00:00Z"), day(true));
        assert_eq!(next(&line, "2026-11-20T09:29:59.999999Z"), day(true));
        let night = |open| ("night".to_owned(), "2026-11-20T18:00:00Z".to_owned(), open);
        assert_eq!(next(&line, "2026-11-20T09:30:00Z"), night(false), "at the cut-off the wave is over");
        assert_eq!(next(&line, "2026-11-20T10:00:00Z"), night(true));
        assert_eq!(
            next(&line, "2026-11-20T17:59:59Z"),
            night(true),
            "past midnight it is Friday's wave still"
        );
        let monday = ("day".to_owned(), "2026-11-23T09:30:00Z".to_owned(), false);
        assert_eq!(next(&line, "2026-11-20T18:00:00Z"), monday);
    }

    #[test]
    fn a_wave_a_week_comes_again_in_a_week() {
        let line = waves("Asia/Bangkok", vec![wave("sunday", "sun", "08:00", "12:00")]);
        // 2026-11-22 is a Sunday; Bangkok is UTC+7.
        assert_eq!(next(&line, "2026-11-22T04:59:00Z").1, "2026-11-22T05:00:00Z");
        assert_eq!(next(&line, "2026-11-22T05:00:00Z").1, "2026-11-29T05:00:00Z");
    }

    #[test]
    fn where_clocks_change_a_wave_closes_at_the_earlier_meaning() {
        let line = waves("Europe/Berlin", vec![wave("night", "daily", "20:00", "02:30")]);
        // 2026-10-25: 02:30 comes twice, first as 00:30 UTC. 2026-03-29: 02:30 does not come.
        assert_eq!(next(&line, "2026-10-24T21:00:00Z").1, "2026-10-25T00:30:00Z");
        assert_eq!(next(&line, "2026-03-28T21:00:00Z").1, "2026-03-29T00:30:00Z");
        // A wave within the hour left out is none that day.
        let line = waves("Europe/Berlin", vec![wave("short", "daily", "02:10", "02:40")]);
        assert_eq!(next(&line, "2026-03-28T12:00:00Z").1, "2026-03-30T00:40:00Z");
    }

    #[test]
    fn services_choose_their_waves() {
        let express = Wave { services: vec!["EXP".to_owned()], ..wave("express", "daily", "06:00", "20:00") };
        let standard =
            Wave { services: vec!["STD".to_owned()], ..wave("standard", "daily", "06:00", "16:00") };
        let line = waves("UTC", vec![express, standard]);
        let name =
            |service| line.next_cut_off(us("2026-11-20T17:00:00Z"), service).map(|c| c.wave.name.as_str());
        assert_eq!(name(Some("EXP")), Some("express"));
        assert_eq!(name(Some("STD")), Some("standard"));
        assert_eq!(name(Some("COD")), None);
        assert_eq!(name(None), None, "which wave a parcel without a service belongs to is not guessed");
        assert_eq!(line.next_cut_off(i64::MAX, Some("EXP")), None);
        assert_eq!(line.next_cut_off(i64::MIN, Some("EXP")), None);
    }

    #[test]
    fn overlaps_are_found_across_midnight_and_across_the_week() {
        let meets = |a: &Wave, b: &Wave| {
            assert_eq!(a.overlap(b), b.overlap(a), "{} {}", a.name, b.name);
            a.overlap(b)
        };
        let day = wave("day", "daily", "06:00", "18:00");
        assert_eq!(meets(&day, &wave("b", "daily", "18:00", "06:00")), None, "they touch and do not overlap");
        assert_eq!(meets(&day, &wave("b", "tue", "17:30", "20:00")), Some(("tue", time("17:30"))));
        let night = wave("night", "sun", "22:00", "04:00");
        assert_eq!(meets(&night, &wave("b", "mon", "03:59", "05:00")), Some(("mon", time("03:59"))));
        assert_eq!(meets(&night, &wave("b", "sun", "03:59", "05:00")), None);
        let whole = wave("whole", "mon", "12:00", "12:00");
        assert_eq!(meets(&whole, &wave("b", "tue", "11:00", "11:30")), Some(("tue", time("11:00"))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Against a second way: every minute of two weeks asked, for which waves it is open.
        #[test]
        fn the_wave_of_each_minute_is_the_open_one(
            first in (0u32..1440, 1u32..1440, 1u8..128), second in (0u32..1440, 1u32..1440, 1u8..128),
            start in 0i64..2_000_000,
        ) {
            let make = |name: &str, (opens, long, days): (u32, u32, u8)| {
                let at = |minute: u32| Time::new((minute / 60) as i8, (minute % 60) as i8, 0, 0).unwrap();
                Wave {
                    name: name.to_owned(),
                    days: std::array::from_fn(|day| days >> day & 1 == 1),
                    opens: at(opens),
                    cut_off: at((opens + long) % 1440),
                    services: Vec::new(),
                }
            };
            let both = vec![make("a", first), make("b", second)];
            prop_assume!(both[0].overlap(&both[1]).is_none());
            let waves = Waves::new(TimeZone::UTC, both.clone()).unwrap();
            let is_open = |wave: &Wave, minute: i64| {
                // 1970-01-01 was a Thursday.
                let week = u32::try_from((minute + 3 * 1440).rem_euclid(7 * 1440)).unwrap();
                wave.openings().any(|opens| (week + WEEK_MIN - opens) % WEEK_MIN < wave.minutes())
            };
            for minute in (start..start + 3 * 1440).step_by(97) {
                let found = waves.next_cut_off(minute * 60_000_000, None).unwrap();
                let open: Vec<&str> = both.iter().filter(|w| is_open(w, minute)).map(|w| w.name.as_str()).collect();
                prop_assert!(open.len() <= 1);
                prop_assert_eq!(found.is_open(minute * 60_000_000), !open.is_empty());
                if let [name] = open[..] {
                    prop_assert_eq!(&found.wave.name, name);
                } else {
                    // Until it opens, nothing is open.
                    let opens = found.opens_us / 60_000_000;
                    prop_assert!((minute..opens).step_by(11).all(|m| both.iter().all(|w| !is_open(w, m))));
                    prop_assert!(is_open(found.wave, opens));
                }
            }
        }
    }
}
