//! A parcel: its body, what stands on it, where it really belongs, and what is wrong with it.

use sortd::identify::Reading;

/// A parcel of this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParcelId(pub u64);

/// A side of a parcel that can carry a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Seen from above.
    Top,
    /// Left in the direction of travel.
    Left,
    /// Right in the direction of travel.
    Right,
}

/// A label.
#[derive(Debug, Clone)]
pub struct Label {
    /// Where it sticks.
    pub side: Side,
    /// How far behind the front its middle is, in thousandths of the length.
    pub place_permille: u32,
    /// What a scanner reads from it.
    pub reading: Reading,
}

/// A fault that was injected. Closed set; each is a knob of the scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Label and tag unreadable.
    NoRead,
    /// Two labels of two orders.
    MultiRead,
    /// No order.
    Unknown,
    /// Code fits two carriers, no order.
    Ambiguous,
    /// Order cancelled.
    Cancelled,
    /// Upstream holds it.
    Held,
    /// Too close behind the parcel in front, or touching it.
    Gap,
    /// Slips out of its tracking window.
    TrackingLoss,
    /// Taken off the belt.
    Removed,
    /// The divert does not move.
    DivertFailure,
    /// The confirm sensor misses it.
    Unconfirmed,
}

/// Where a parcel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Announced, or waiting at induction.
    Waiting,
    /// On the belt.
    Belt,
    /// On its way from the belt into a chute.
    Sliding,
}

/// A parcel.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// Which.
    pub id: ParcelId,
    /// Length in the direction of travel.
    pub length_mm: u16,
    /// Labels.
    pub labels: Vec<Label>,
    /// EPC of its tag.
    pub tag: Option<Vec<u8>>,
    /// Where it really belongs: a destination of the sort plan.
    pub destination: String,
    /// May be sorted at all: false for held, cancelled and unknown ones.
    pub sortable: bool,
    /// What is wrong with it.
    pub faults: Vec<Fault>,
    /// A neighbour's fault hurts it.
    pub hurt: bool,
    /// Gap to the parcel in front where the feeding goes wrong, millimetres.
    pub forced_gap_mm: Option<u32>,
    /// Where it is.
    pub place: Place,
    /// Belt travel at which its front is at the induction eye; the truth, not the PLC's idea.
    pub front_nm: i64,
    /// Counts its physical changes, so that older plans for it fall away.
    pub state: u32,
    /// Laps beyond the first.
    pub lap: u8,
    /// PLC epoch and track id it rides under, once the eye has seen it.
    pub track: Option<(u16, u32)>,
}

impl Parcel {
    /// Carries the fault.
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// Belt travel at which its rear is at the induction eye.
    pub fn rear_nm(&self) -> i64 {
        self.front_nm + i64::from(self.length_mm) * super::belt::NM_PER_MM
    }
}
