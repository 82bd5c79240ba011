//! The belt's position over time, from encoder polls.
//!
//! *Extended pulses* are the PLC's 32-bit counter carried on past its wrap as a signed 64-bit value, so
//! that a position on the belt is a plain number. A read is stamped in time; the belt's position at that
//! time is interpolated between the polls around it, widened by what is uncertain about each.

use std::collections::VecDeque;

use super::Tick;
use super::event::EncoderPoll;

/// Polls kept: more than two seconds at a poll every 10 ms, longer than any reader's delay.
const KEPT: usize = 256;

/// Two polls farther apart than this do not tell where the belt was between them: it may have stopped and
/// started again. 200 ms at 2.5 m/s is half a metre, the length of a parcel.
const WIDEST_GAP_US: u64 = 200_000;

/// Carries a 32-bit counter value on from `near`: the value congruent to `pulses` that is closest to it.
pub fn extend(near: i64, pulses: u32) -> i64 {
    let step = pulses.wrapping_sub(low_word(near)).cast_signed();
    near + i64::from(step)
}

fn low_word(value: i64) -> u32 {
    u32::try_from(value & i64::from(u32::MAX)).unwrap_or(0)
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Tick,
    pulses: i64,
    speed_mm_s: u16,
    half_trip_us: u64,
}

/// The last polls of the encoder.
#[derive(Debug, Default)]
pub struct EncoderTrack {
    samples: VecDeque<Sample>,
}

impl EncoderTrack {
    /// Forgets everything: the counter may have jumped.
    pub fn clear(&mut self) {
        self.samples.clear();
    }

    /// Takes a poll; `near` anchors the first one. Returns its extended pulses.
    pub fn take(&mut self, poll: &EncoderPoll, near: i64) -> i64 {
        let pulses = extend(self.samples.back().map_or(near, |last| last.pulses), poll.pulses);
        if self.samples.back().is_some_and(|last| last.at >= poll.at) {
            return pulses;
        }
        if self.samples.len() == KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample {
            at: poll.at,
            pulses,
            speed_mm_s: poll.speed_mm_s,
            half_trip_us: u64::from(poll.round_trip_us).div_ceil(2),
        });
        pulses
    }

    /// Latest position and speed.
    pub fn latest(&self) -> Option<(Tick, i64, u16)> {
        self.samples.back().map(|last| (last.at, last.pulses, last.speed_mm_s))
    }

    /// Least and most position of the belt during `from..=to`; `None` where no two polls close enough to
    /// each other stand around it.
    pub fn span(&self, from: Tick, to: Tick, pulses_per_metre: u32) -> Option<(i64, i64)> {
        let (least, _) = self.at(from, pulses_per_metre)?;
        let (_, most) = self.at(to, pulses_per_metre)?;
        Some((least.min(most), most.max(least)))
    }

    /// Least and most position of the belt at one moment.
    fn at(&self, when: Tick, pulses_per_metre: u32) -> Option<(i64, i64)> {
        let after = self.samples.partition_point(|sample| sample.at < when);
        let next = self.samples.get(after)?;
        if next.at == when {
            return Some(widen(next.pulses, next.pulses, next, pulses_per_metre));
        }
        let last = self.samples.get(after.checked_sub(1)?)?;
        let gap = next.at.0 - last.at.0;
        if gap > WIDEST_GAP_US {
            return None;
        }
        let travelled = i128::from(next.pulses - last.pulses);
        let part = travelled * i128::from(when.0 - last.at.0) / i128::from(gap);
        let place = last.pulses + i64::try_from(part).ok()?;
        let wider = if last.half_trip_us > next.half_trip_us { last } else { next };
        Some(widen(place, place, wider, pulses_per_metre))
    }
}

/// A poll's moment is known to half its round trip; one pulse more for rounding.
fn widen(least: i64, most: i64, sample: &Sample, pulses_per_metre: u32) -> (i64, i64) {
    let slack = i64::try_from(
        u128::from(sample.half_trip_us) * u128::from(sample.speed_mm_s) * u128::from(pulses_per_metre)
            / 1_000_000_000,
    )
    .unwrap_or(i64::MAX / 4)
        + 1;
    (least - slack, most + slack)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(at_ms: u64, pulses: u32) -> EncoderPoll {
        EncoderPoll { at: Tick(at_ms * 1000), pulses, speed_mm_s: 2500, round_trip_us: 0 }
    }

    #[test]
    fn a_counter_that_wraps_goes_on() {
        assert_eq!(extend(0xFFFF_FFF0, 0x10), 0x1_0000_0010);
        assert_eq!(extend(0x1_0000_0010, 0xFFFF_FFF0), 0xFFFF_FFF0);
        assert_eq!(extend(5, 5), 5);
    }

    #[test]
    fn a_read_between_two_polls_is_interpolated() {
        let mut track = EncoderTrack::default();
        track.take(&poll(0, 1000), 1000);
        track.take(&poll(20, 1050), 0);
        assert_eq!(track.span(Tick(10_000), Tick(10_000), 1000), Some((1024, 1026)));
        assert_eq!(track.span(Tick(0), Tick(20_000), 1000), Some((999, 1051)));
    }

    #[test]
    fn a_read_after_the_last_poll_or_in_a_wide_gap_has_no_place() {
        let mut track = EncoderTrack::default();
        track.take(&poll(0, 1000), 1000);
        track.take(&poll(20, 1050), 0);
        track.take(&poll(500, 2000), 0);
        assert_eq!(track.span(Tick(501_000), Tick(501_000), 1000), None);
        assert_eq!(track.span(Tick(100_000), Tick(100_000), 1000), None);
    }
}
