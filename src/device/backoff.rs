//! How long to wait before a device is tried again.
//!
//! Exponential with full jitter: the n-th wait is drawn from the whole interval up to `least × 2ⁿ`, so that
//! devices that failed together (a switch, a power strip) do not come back together.

use std::time::Duration;

use rand::Rng;

/// No wait is shorter: a device that refuses at once must not become a busy loop.
const FLOOR: Duration = Duration::from_millis(10);
/// Doublings after which the interval surely has reached its most.
const DOUBLINGS_MOST: u32 = 20;

/// The waits between attempts.
#[derive(Debug, Clone)]
pub struct Backoff {
    least: Duration,
    most: Duration,
    attempts: u32,
}

impl Backoff {
    /// The first wait is at most `least`, none is longer than `most`.
    pub fn new(least: Duration, most: Duration) -> Backoff {
        Backoff { least: least.max(FLOOR), most: most.max(FLOOR), attempts: 0 }
    }

    /// The next wait; randomness is the caller's.
    pub fn next(&mut self, random: &mut impl Rng) -> Duration {
        let doubled = self.least.saturating_mul(1 << self.attempts.min(DOUBLINGS_MOST));
        self.attempts = self.attempts.saturating_add(1);
        let ceiling = doubled.min(self.most);
        if ceiling <= FLOOR { FLOOR } else { random.random_range(FLOOR..=ceiling) }
    }

    /// It worked: the next wait is a first one again.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn waits_grow_stay_bounded_and_begin_anew() {
        let (least, most) = (Duration::from_millis(40), Duration::from_secs(1));
        let mut random = StdRng::seed_from_u64(3);
        let mut backoff = Backoff::new(least, most);
        let mut longest = Duration::ZERO;
        for attempt in 0..200_u32 {
            let wait = backoff.next(&mut random);
            assert!(wait >= FLOOR && wait <= most);
            assert!(wait <= least * 2_u32.pow(attempt.min(10)));
            longest = longest.max(wait);
        }
        assert!(longest > most / 2, "jitter uses the whole interval");
        backoff.reset();
        assert!(backoff.next(&mut random) <= least);
    }

    #[test]
    fn two_devices_do_not_come_back_together() {
        let waits = |seed| {
            let mut random = StdRng::seed_from_u64(seed);
            let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
            (0..5).map(|_| backoff.next(&mut random)).collect::<Vec<_>>()
        };
        assert_ne!(waits(1), waits(2));
        assert_eq!(waits(1), waits(1));
    }
}
