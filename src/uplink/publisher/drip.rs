//! The rate at which a backlog may go out while live events go beside it.
//!
//! A bucket of a few milliseconds' worth: large enough that a wake-up sends more than one event, small enough that
//! a live event never stands behind more than these.

use std::time::Duration;

use tokio::time::Instant;

/// Between two wake-ups for the backlog.
pub(super) const PERIOD: Duration = Duration::from_millis(4);

/// The bucket holds what flows in this time, and at least one event.
const BUCKET: Duration = Duration::from_millis(8);

/// A leaky bucket of events.
#[derive(Debug)]
pub(super) struct Drip {
    per_s: f64,
    most: f64,
    level: f64,
    at: Instant,
}

impl Drip {
    pub fn new(per_s: u32, now: Instant) -> Drip {
        let per_s = f64::from(per_s.max(1));
        let most = (per_s * BUCKET.as_secs_f64()).max(1.0);
        Drip { per_s, most, level: most, at: now }
    }

    /// Fills it up to `now`.
    pub fn refill(&mut self, now: Instant) {
        let flowed = now.saturating_duration_since(self.at).as_secs_f64() * self.per_s;
        self.level = (self.level + flowed).min(self.most);
        self.at = now;
    }

    /// Whether an event may go; takes it if so.
    pub fn take(&mut self) -> bool {
        let may = self.level >= 1.0;
        if may {
            self.level -= 1.0;
        }
        may
    }

    /// Whether an event may go.
    pub fn is_open(&self) -> bool {
        self.level >= 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(drip: &mut Drip, begun: Instant, millis: std::ops::Range<u64>) -> u32 {
        let mut passed = 0;
        for milli in millis {
            drip.refill(begun + Duration::from_millis(milli));
            while drip.take() {
                passed += 1;
            }
        }
        passed
    }

    #[test]
    fn no_more_goes_than_the_rate_and_a_bucket() {
        let begun = Instant::now();
        for (rate, least, most) in [(10, 10, 11), (5_000, 4_990, 5_040), (1_000_000, 990_000, 1_008_000)] {
            let mut drip = Drip::new(rate, begun);
            let came = passed(&mut drip, begun, 0..1_001);
            assert!((least..=most).contains(&came), "{came} at {rate}/s");
            // A pause is not made up for.
            drip.refill(begun + Duration::from_secs(3_600));
            assert!(f64::from(passed(&mut drip, begun, 0..1)) <= (f64::from(rate) * 0.008).max(1.0));
        }
    }
}
