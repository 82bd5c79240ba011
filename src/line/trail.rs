//! Which parcel a photo shows: where each parcel lay some time ago.
//!
//! A camera's file comes late: it is written, sent and picked up seconds after the parcel has passed, often after
//! its pass has ended. So the front keeps a *trail*: the belt's position over the last two minutes, and each
//! body that was on it. A photo shows the one body that may have lain in its reader's field at the moment it was
//! taken. None, or more than one, and it is tied to nothing: never a guess.
//!
//! The trail is no state of the core: what it concludes is part of the recorded input, so a replay needs none. A
//! line without cameras keeps none. After a start it begins empty, and photos from before are tied to nothing.

use std::collections::VecDeque;

use super::core::Core;
use super::event::Photo;
use super::record::{Body, Entry, Fact, Untied};
use super::{PassKey, Tick};
use crate::site::Site;

/// How far back the trail reaches. A camera's upload takes seconds; what comes later than this is recorded, tied to
/// nothing.
const KEPT_MS: u64 = 120_000;

/// Time between two marks of the belt's position; between them it is interpolated.
const MARK_MS: u64 = 20;

/// Two marks farther apart do not tell where the belt was between them; as for reads.
const WIDEST_GAP_MS: u64 = 200;

/// Bodies kept: two minutes at 60 parcels/s. The oldest goes first.
const BODIES_MOST: usize = 8_192;

/// A body on the belt, from one passage of the induction eye on.
#[derive(Debug, Clone, Copy)]
struct Laid {
    pass: PassKey,
    at: Tick,
    origin: i64,
    length_mm: u16,
}

/// Where bodies were.
#[derive(Debug, Default)]
pub struct Trail {
    wanted: bool,
    marks: VecDeque<(Tick, i64)>,
    bodies: VecDeque<Laid>,
}

impl Trail {
    /// An empty trail; kept only where the line has cameras.
    pub fn new(site: &Site) -> Trail {
        Trail { wanted: !site.cameras.is_empty(), ..Trail::default() }
    }

    /// The belt was here.
    pub fn belt_at(&mut self, at: Tick, pulses: i64) {
        if !self.wanted {
            return;
        }
        match self.marks.back() {
            Some((last, _)) if at.ms_since(*last) < MARK_MS => return,
            Some(_) | None => {}
        }
        while self.marks.front().is_some_and(|(first, _)| at.ms_since(*first) > KEPT_MS) {
            self.marks.pop_front();
        }
        self.marks.push_back((at, pulses));
    }

    /// The counter may begin anew: positions from before mean nothing any more.
    pub fn lift(&mut self) {
        self.marks.clear();
        self.bodies.clear();
    }

    /// Takes up what has come onto the belt, by what the core has just concluded.
    pub fn follow(&mut self, now: Tick, concluded: &[Entry], core: &Core) {
        if !self.wanted {
            return;
        }
        for entry in concluded {
            let (Body::Fact(Fact::Inducted { pass, .. }) | Body::Fact(Fact::Recirculated { pass, .. })) =
                &entry.body
            else {
                continue;
            };
            let Some(body) = core.state.passes.get(pass) else { continue };
            if self.bodies.len() == BODIES_MOST {
                self.bodies.pop_front();
            }
            self.bodies.push_back(Laid {
                pass: *pass,
                at: now,
                origin: body.origin,
                length_mm: body.length_mm,
            });
        }
        while self.bodies.front().is_some_and(|laid| {
            now.ms_since(laid.at) > KEPT_MS && !core.state.passes.contains_key(&laid.pass)
        }) {
            self.bodies.pop_front();
        }
    }

    /// The one pass a photo shows.
    pub fn shown(&self, photo: &Photo, core: &Core) -> Result<PassKey, Untied> {
        let (from, to) = photo.between;
        let (Some(least), Some(most)) = (self.belt_then(from), self.belt_then(to)) else {
            return Err(Untied::NoEncoder);
        };
        let field = core.site.readers.get(usize::from(photo.reader.0)).ok_or(Untied::NoParcel)?;
        let (start, end) = (i64::from(field.field_start_mm), i64::from(field.field_end_mm));
        let mut found: Option<PassKey> = None;
        for laid in &self.bodies {
            let front_at_most = core.mm(most.max(least) - laid.origin);
            let tail_at_least = core.mm(least.min(most) - laid.origin) - i64::from(laid.length_mm);
            // The same pass one lap later lies elsewhere; where it does not, it is still the same parcel.
            if front_at_most >= start && tail_at_least <= end && found != Some(laid.pass) {
                if found.is_some() {
                    return Err(Untied::TwoParcels);
                }
                found = Some(laid.pass);
            }
        }
        found.ok_or(Untied::NoParcel)
    }

    /// Where the belt was.
    fn belt_then(&self, when: Tick) -> Option<i64> {
        let after = self.marks.partition_point(|(at, _)| *at < when);
        let (next_at, next) = *self.marks.get(after)?;
        if next_at == when {
            return Some(next);
        }
        let (last_at, last) = *self.marks.get(after.checked_sub(1)?)?;
        if next_at.ms_since(last_at) > WIDEST_GAP_MS {
            return None;
        }
        let part =
            i128::from(next - last) * i128::from(when.0 - last_at.0) / i128::from(next_at.0 - last_at.0);
        Some(last + i64::try_from(part).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::record::Input;
    use super::super::tests::{CODE, OTHER, Rig, site};
    use super::super::{Line, ReaderId, event::Event};
    use super::*;
    use crate::site::CameraDevice;
    use crate::wire::photo::PhotoName;

    fn rig() -> Rig {
        let mut watched = Site::clone(&site(false));
        watched.cameras.push(CameraDevice {
            name: "cam".to_owned(),
            reader: ReaderId(0),
            directory: "spool".into(),
            pattern: PhotoName::new("*.jpg").unwrap(),
            time_zone: "UTC".to_owned(),
            delay_ms: (0, 0),
            window_ms: 0,
            largest_bytes: 1,
            poll_ms: 100,
        });
        let mut rig = Rig::new(false);
        rig.line = Line::new(Arc::new(watched));
        rig.start();
        rig.event(Event::OrdersLoaded(0));
        rig.attach(7);
        rig.poll();
        rig
    }

    fn photo(from: Tick, to: Tick) -> Photo {
        Photo {
            camera: "cam".to_owned(),
            reader: ReaderId(0),
            name: "a.jpg".to_owned(),
            bytes: 1,
            sha256: [7; 32],
            taken_us: 0,
            between: (from, to),
        }
    }

    fn shown(rig: &mut Rig, from: Tick, to: Tick) -> Result<PassKey, Untied> {
        rig.event(Event::Photo(photo(from, to)));
        match &rig.entries.last().unwrap().body {
            Body::Input(Input::Photo { shows, .. }) => *shows,
            other => panic!("a photo is recorded last, not {other:?}"),
        }
    }

    #[test]
    fn a_photo_is_tied_long_after_its_parcel_has_gone() {
        let mut rig = rig();
        rig.order("o1", CODE, "A");
        rig.run(4_000);
        rig.read_parcel(1, &[CODE]);
        let seen = rig.now;
        let slot = rig.last_slot();
        rig.run(20_000);
        rig.discharge(1, slot.chute, crate::wire::plc::Discharge::Confirmed);
        rig.run(4_000);
        let pass = PassKey { epoch: 7, track: 1 };
        assert_eq!(shown(&mut rig, seen, seen), Ok(pass));
        // A second before, at 2 m/s, the parcel had not come to the reader.
        let before = Tick(seen.0 - 1_000_000);
        assert_eq!(shown(&mut rig, before, before), Err(Untied::NoParcel));
        // From before the trail began, and from a moment that is still to come.
        assert_eq!(shown(&mut rig, Tick(0), Tick(1)), Err(Untied::NoEncoder));
        let later = rig.now.plus_ms(1_000);
        assert_eq!(shown(&mut rig, seen, later), Err(Untied::NoEncoder));
    }

    #[test]
    fn a_photo_that_may_show_two_parcels_shows_none() {
        let mut rig = rig();
        rig.read_parcel(1, &[CODE]);
        let first = rig.now;
        rig.run(400);
        rig.read_parcel(2, &[OTHER]);
        let second = rig.now;
        rig.run(400);
        assert_eq!(shown(&mut rig, first, first), Ok(PassKey { epoch: 7, track: 1 }));
        assert_eq!(shown(&mut rig, second, second), Ok(PassKey { epoch: 7, track: 2 }));
        assert_eq!(shown(&mut rig, first, second), Err(Untied::TwoParcels));
    }

    #[test]
    fn a_photo_changes_nothing_on_the_line_and_needs_no_trail_in_a_replay() {
        let mut rig = rig();
        rig.order("o1", CODE, "A");
        rig.read_parcel(1, &[CODE]);
        let seen = rig.now;
        rig.run(1_000);
        let state = rig.line.snapshot().unwrap();
        assert!(shown(&mut rig, seen, seen).is_ok());
        let after = rig.line.snapshot().unwrap();
        assert_eq!(state.len(), after.len());
        let mut again = Line::new(site(false));
        let differences = again.take_again(&rig.entries);
        assert_eq!((differences.count, differences.first), (0, None));
    }

    /// Written bytes of the input as they were when it came to be; never to be changed.
    #[test]
    fn frozen_bytes_of_a_recorded_photo() {
        let shows = Ok(PassKey { epoch: 7, track: 300 });
        let body = Body::Input(Input::Photo { photo: photo(Tick(1), Tick(2)), shows });
        let bytes = bincode::serde::encode_to_vec(&body, bincode::config::standard()).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, format!("00030363616d0005612e6a706701{}0001020007fb2c01", "07".repeat(32)));
    }
}
