//! The one place where the monotonic and the wall clock are read for the line.

use rustix::time::{ClockId, clock_gettime};

use crate::line::Tick;

/// The line's clock: the machine's monotonic clock plus an offset that makes ticks go on after a reboot.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    offset_us: u64,
}

impl Clock {
    /// A clock that never shows less than `last`, the last tick recorded before this start.
    pub fn after(last: Tick) -> Clock {
        let now = Clock::default().now();
        Clock { offset_us: (last.0 + 1).saturating_sub(now.0) }
    }

    /// Now.
    pub fn now(&self) -> Tick {
        Tick(micros(clock_gettime(ClockId::Monotonic)) + self.offset_us)
    }

    /// The wall clock, Unix microseconds.
    pub fn wall_us(&self) -> i64 {
        i64::try_from(micros(clock_gettime(ClockId::Realtime))).unwrap_or(i64::MAX)
    }
}

fn micros(time: rustix::time::Timespec) -> u64 {
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000
}
