//! The belt: how far it has moved, how fast it moves, what its encoder shows.
//!
//! Positions are nanometres of belt travel since the run began, so that a speed in mm/s times a time in µs
//! is exact in integers and a day of travel fits an `i64` ten thousand times over. Parcels do not move on
//! the belt: a parcel whose front was at the induction eye when the belt stood at `front_nm` is now at
//! `position − front_nm`.

/// Nanometres in a millimetre.
pub const NM_PER_MM: i64 = 1_000_000;

/// A belt that runs or stands; speed changes are steps.
#[derive(Debug, Clone)]
pub struct Belt {
    nominal_mm_s: u32,
    pulses_per_metre: u32,
    encoder_start: u32,
    encoder_scale: u32,
    speed_mm_s: u32,
    since_us: u64,
    since_nm: i64,
}

impl Belt {
    /// A belt that stands. `encoder_start` is what its 32-bit counter shows at position 0, in PLC units.
    pub fn new(nominal_mm_s: u32, pulses_per_metre: u32, encoder_scale: u32, encoder_start: u32) -> Belt {
        Belt {
            nominal_mm_s,
            pulses_per_metre,
            encoder_start,
            encoder_scale: encoder_scale.max(1),
            speed_mm_s: 0,
            since_us: 0,
            since_nm: 0,
        }
    }

    /// Belt travel at `t_us`, which is not before the last change of speed.
    pub fn position_nm(&self, t_us: u64) -> i64 {
        let elapsed = i64::try_from(t_us.saturating_sub(self.since_us)).unwrap_or(i64::MAX);
        self.since_nm.saturating_add(elapsed.saturating_mul(i64::from(self.speed_mm_s)))
    }

    /// When the belt will have travelled to `position_nm`; `None` while it stands.
    pub fn time_at(&self, position_nm: i64, now_us: u64) -> Option<u64> {
        let left = position_nm - self.position_nm(now_us);
        if left <= 0 {
            return Some(now_us);
        }
        if self.speed_mm_s == 0 {
            return None;
        }
        let left = u64::try_from(left).unwrap_or(0);
        Some(now_us + left.div_ceil(u64::from(self.speed_mm_s)))
    }

    /// Speed now.
    pub fn speed_mm_s(&self) -> u32 {
        self.speed_mm_s
    }

    /// Moves.
    pub fn runs(&self) -> bool {
        self.speed_mm_s > 0
    }

    /// From `now_us` on the belt moves at nominal speed plus `variation_permille` of it.
    pub fn run(&mut self, now_us: u64, variation_permille: i32) {
        let nominal = i64::from(self.nominal_mm_s);
        let speed = nominal + nominal * i64::from(variation_permille) / 1000;
        self.set(now_us, u32::try_from(speed.max(1)).unwrap_or(1));
    }

    /// From `now_us` on the belt stands.
    pub fn stop(&mut self, now_us: u64) {
        self.set(now_us, 0);
    }

    fn set(&mut self, now_us: u64, speed_mm_s: u32) {
        self.since_nm = self.position_nm(now_us);
        self.since_us = now_us;
        self.speed_mm_s = speed_mm_s;
    }

    /// The PLC's encoder at a belt position, in pulses as the PC sees them: 32 bits, wrapping, in steps of
    /// the configured scale.
    pub fn pulses(&self, position_nm: i64) -> u32 {
        let pulses = i128::from(position_nm) * i128::from(self.pulses_per_metre) / 1_000_000_000;
        let low = u32::try_from(pulses.rem_euclid(1 << 32)).unwrap_or(0);
        let shown = low.wrapping_add(self.encoder_start);
        shown - shown % self.encoder_scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn travel_is_exact_and_a_stop_freezes_it() {
        let mut belt = Belt::new(2_000, 1_000, 1, 0);
        assert_eq!(belt.time_at(1, 0), None);
        belt.run(0, 0);
        assert_eq!(belt.position_nm(1_000_000), 2_000 * NM_PER_MM);
        assert_eq!(belt.time_at(2_000 * NM_PER_MM, 0), Some(1_000_000));
        belt.stop(1_000_000);
        assert_eq!(belt.position_nm(9_000_000), 2_000 * NM_PER_MM);
        belt.run(9_000_000, 10);
        assert_eq!(belt.position_nm(10_000_000), 4_020 * NM_PER_MM);
    }

    #[test]
    fn the_encoder_wraps_at_32_bits() {
        let belt = Belt::new(1_000, 1_000, 1, u32::MAX);
        assert_eq!(belt.pulses(0), u32::MAX);
        assert_eq!(belt.pulses(NM_PER_MM), 0);
        assert_eq!(belt.pulses(11 * NM_PER_MM), 10);
    }

    #[test]
    fn a_scaled_encoder_moves_in_steps() {
        let belt = Belt::new(1_000, 4_000, 4, 0);
        assert_eq!(belt.pulses(NM_PER_MM), 4);
        assert_eq!(belt.pulses(NM_PER_MM * 5 / 4), 4);
        assert_eq!(belt.pulses(NM_PER_MM * 2), 8);
    }
}
