//! Tying what a reader heard to the parcel that was in its field.
//!
//! A read belongs to the only parcel whose body overlaps the reader's field while the belt moved through
//! the interval in which the read can have happened. Two such bodies: it is nobody's.

use super::actions::Actions;
use super::core::{Core, fact_of};
use super::record::{Fact, Untied};
use super::state::{LOOSE_KEPT_MS, LOOSE_MOST, Loose, READINGS_MOST, TiedReading};
use super::{PassKey, ReaderId, Tick};
use crate::identify::{Reading, identify};

impl Core {
    /// A frame of a reader, with the belt interval of its reading.
    #[allow(clippy::too_many_arguments, reason = "the fields of one input, taken apart once")]
    pub(super) fn read(
        &mut self,
        now: Tick,
        reader: ReaderId,
        readings: Vec<Reading>,
        rssi_dbm: Option<i16>,
        belt: Option<(i64, i64)>,
        out: &mut Actions,
    ) {
        let Some(belt) = belt else {
            self.untie(now, reader, readings, Untied::NoEncoder, out);
            return;
        };
        match self.body_in_field(reader, belt) {
            Ok(key) => self.tie(now, key, reader, readings, rssi_dbm, out),
            Err(why) => {
                if self.state.loose.len() == LOOSE_MOST
                    && let Some(oldest) = self.state.loose.pop_front()
                {
                    self.count("loose_full");
                    self.untie(now, oldest.reader, oldest.readings, oldest.why, out);
                }
                let until = now.plus_ms(LOOSE_KEPT_MS);
                self.state.loose.push_back(Loose { until, reader, readings, rssi_dbm, belt, why });
            }
        }
    }

    /// A parcel has just been inducted: a frame that found none may have been its own.
    pub(super) fn tie_loose(&mut self, now: Tick, out: &mut Actions) {
        let mut at = 0;
        while at < self.state.loose.len() {
            let (reader, belt) = (self.state.loose[at].reader, self.state.loose[at].belt);
            match self.body_in_field(reader, belt) {
                Ok(key) => {
                    if let Some(loose) = self.state.loose.remove(at) {
                        self.tie(now, key, reader, loose.readings, loose.rssi_dbm, out);
                    }
                }
                Err(why) => {
                    self.state.loose[at].why = why;
                    at += 1;
                }
            }
        }
    }

    /// Frames that found no parcel in time.
    pub(super) fn give_up_loose(&mut self, now: Tick, out: &mut Actions) {
        while self.state.loose.front().is_some_and(|loose| loose.until <= now) {
            if let Some(loose) = self.state.loose.pop_front() {
                self.untie(now, loose.reader, loose.readings, loose.why, out);
            }
        }
    }

    /// Frames that wait for a parcel across a start.
    pub(super) fn give_up_all_loose(&mut self, now: Tick, out: &mut Actions) {
        for loose in std::mem::take(&mut self.state.loose) {
            self.untie(now, loose.reader, loose.readings, loose.why, out);
        }
    }

    /// The only pass whose body was in the reader's field during the interval.
    fn body_in_field(&self, reader: ReaderId, (least, most): (i64, i64)) -> Result<PassKey, Untied> {
        let Some(field) = self.site.readers.get(usize::from(reader.0)) else { return Err(Untied::NoParcel) };
        let (start, end) = (i64::from(field.field_start_mm), i64::from(field.field_end_mm));
        let mut found = None;
        for (key, pass) in &self.state.passes {
            let front_at_most = self.mm(most - pass.origin);
            let tail_at_least = self.mm(least - pass.origin) - i64::from(pass.length_mm);
            if front_at_most >= start && tail_at_least <= end {
                if found.is_some() {
                    return Err(Untied::TwoParcels);
                }
                found = Some(*key);
            }
        }
        found.ok_or(Untied::NoParcel)
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one input, taken apart once")]
    fn tie(
        &mut self,
        now: Tick,
        key: PassKey,
        reader: ReaderId,
        readings: Vec<Reading>,
        rssi_dbm: Option<i16>,
        out: &mut Actions,
    ) {
        if readings.is_empty() {
            fact_of(now, Fact::Blank { pass: key, reader }, out);
        }
        let mut dropped = 0;
        if let Some(pass) = self.state.passes.get_mut(&key) {
            pass.answered |= 1u64.checked_shl(u32::from(reader.0)).unwrap_or(0);
            for reading in readings {
                if pass.readings.len() == READINGS_MOST {
                    dropped += 1;
                    continue;
                }
                let taken_for = Some(identify(&self.site.carriers, &reading));
                let fact = Fact::Tied { pass: key, reader, reading: reading.clone(), rssi_dbm };
                fact_of(now, fact, out);
                pass.readings.push(TiedReading { reader, reading, taken_for });
            }
        }
        for _ in 0..dropped {
            self.count("readings_over_limit");
        }
        self.answered(now, key, out);
    }

    fn untie(&mut self, now: Tick, reader: ReaderId, readings: Vec<Reading>, why: Untied, out: &mut Actions) {
        self.count(match why {
            Untied::NoParcel => "untied_no_parcel",
            Untied::TwoParcels => "untied_two_parcels",
            Untied::NoEncoder => "untied_no_encoder",
        });
        for reading in readings {
            fact_of(now, Fact::Untied { reader, reading, why }, out);
        }
    }
}
