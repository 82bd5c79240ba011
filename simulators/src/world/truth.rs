//! What really happened, as nobody on the line can know it: the yardstick for what `sortd` says.

use std::collections::VecDeque;

use serde::Serialize;

use super::parcel::Parcel;

/// Landings remembered one by one; the counts go on beyond it.
const LANDINGS_KEPT: usize = 500_000;

/// How a landing is to be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// In a chute of its true destination, and it may be there.
    Right,
    /// In another destination's chute.
    WrongChute,
    /// In a destination chute, but held, cancelled or unknown.
    MustNotBeSorted,
    /// In the exception chute.
    Exception,
}

/// One parcel that left the belt into a chute.
#[derive(Debug, Clone, Serialize)]
pub struct Landed {
    /// Parcel of the run.
    pub parcel: u64,
    /// PLC epoch and track id, if it had one.
    pub track: Option<(u16, u32)>,
    /// Chute.
    pub chute: u16,
    /// Judgement.
    pub judgement: Judgement,
    /// Carried an injected fault.
    pub faulty: bool,
    /// Hurt by a neighbour's fault.
    pub hurt: bool,
    /// Laps beyond the first.
    pub laps: u8,
    /// When, µs of the run.
    pub at_us: u64,
}

/// The latest landings, oldest first.
#[derive(Clone, Default)]
pub struct Landings(pub VecDeque<Landed>);

impl std::fmt::Debug for Landings {
    /// Only how many: they are far too many to read.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} kept", self.0.len())
    }
}

/// Counts and landings.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Truth {
    /// Parcels announced (with or without an order).
    pub announced: u64,
    /// Parcels that have come to induction.
    pub arrived: u64,
    /// Parcels waiting there.
    pub waiting: u64,
    /// Parcels put on the belt.
    pub fed: u64,
    /// Tracks the PLC began: merged parcels are one.
    pub tracks: u64,
    /// On the belt, or sliding into a chute.
    pub on_line: u64,
    /// Landed in a chute of their true destination.
    pub right: u64,
    /// Mis-sorts: in a wrong chute, or in a destination chute when they must not be sorted.
    pub missorts: u64,
    /// Landed in the exception chute.
    pub exceptions: u64,
    /// Taken off the belt by hand.
    pub removed: u64,
    /// Distinct parcels a person had to touch: exceptions and those taken off.
    pub touched: u64,
    /// Finished parcels without an injected fault and not hurt by one.
    pub clean: u64,
    /// Of those, landed right on their first lap.
    pub clean_first_pass: u64,
    /// Finished parcels with an injected fault.
    pub faulty: u64,
    /// Finished parcels without one, but hurt by a neighbour's.
    pub hurt: u64,
    /// Laps beyond the first.
    pub laps: u64,
    /// The latest landings.
    #[serde(skip)]
    pub landings: Landings,
}

impl Truth {
    /// A parcel has landed.
    pub fn land(&mut self, parcel: &Parcel, chute: u16, exception_chute: u16, serves: bool, at_us: u64) {
        let judgement = if chute == exception_chute {
            Judgement::Exception
        } else if !parcel.sortable {
            Judgement::MustNotBeSorted
        } else if serves {
            Judgement::Right
        } else {
            Judgement::WrongChute
        };
        self.on_line -= 1;
        match judgement {
            Judgement::Right => self.right += 1,
            Judgement::WrongChute | Judgement::MustNotBeSorted => self.missorts += 1,
            Judgement::Exception => {
                self.exceptions += 1;
                self.touched += 1;
            }
        }
        self.finish(parcel, judgement == Judgement::Right && parcel.lap == 0);
        if self.landings.0.len() == LANDINGS_KEPT {
            self.landings.0.pop_front();
        }
        self.landings.0.push_back(Landed {
            parcel: parcel.id.0,
            track: parcel.track,
            chute,
            judgement,
            faulty: !parcel.faults.is_empty(),
            hurt: parcel.hurt,
            laps: parcel.lap,
            at_us,
        });
    }

    /// A parcel was taken off the belt by hand.
    pub fn remove(&mut self, parcel: &Parcel) {
        self.on_line -= 1;
        self.removed += 1;
        self.touched += 1;
        self.finish(parcel, false);
    }

    fn finish(&mut self, parcel: &Parcel, first_pass: bool) {
        if !parcel.faults.is_empty() {
            self.faulty += 1;
        } else if parcel.hurt {
            self.hurt += 1;
        } else {
            self.clean += 1;
            self.clean_first_pass += u64::from(first_pass);
        }
    }

    /// Parcels sorted on their first pass ÷ parcels without fault or hurt; 1 where there was none.
    pub fn first_pass_ratio(&self) -> f64 {
        ratio(self.clean_first_pass, self.clean, 1.0)
    }

    /// Distinct parcels touched ÷ parcels put on the belt.
    pub fn manual_ratio(&self) -> f64 {
        ratio(self.touched, self.fed, 0.0)
    }

    /// Every parcel is somewhere, and only once.
    pub fn adds_up(&self) -> bool {
        self.fed == self.on_line + self.right + self.missorts + self.exceptions + self.removed
            && self.arrived == self.waiting + self.fed
            && self.clean + self.faulty + self.hurt + self.on_line == self.fed
    }
}

fn ratio(part: u64, whole: u64, empty: f64) -> f64 {
    if whole == 0 {
        return empty;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
    let ratio = part as f64 / whole as f64;
    ratio
}
