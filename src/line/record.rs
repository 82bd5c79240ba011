//! What the core hands to the journal: every input it used and everything it concluded, in order.
//!
//! These types are the stored format `RecordV1`: a change of shape is a new version, never an edit
//! (`journal`'s frozen-bytes tests hold it).

use serde::{Deserialize, Serialize};

use super::event::{Event, Hold, HoldOn, Order, Photo};
use super::outcome::{Outcome, Reason};
use super::{ChuteNo, PassKey, ReaderId, Tick};
use crate::identify::{Key, Reading};

/// One line of the journal before the journal numbers and stamps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When, in the core's time.
    pub at: Tick,
    /// What.
    pub body: Body,
}

/// An input the core used, or a fact it concluded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Body {
    /// Fed to the core; replay feeds it again.
    Input(Input),
    /// Concluded by the core; replay must conclude the same.
    Fact(Fact),
}

/// An input as the core used it: reads carry the belt interval they were tied by, encoder polls appear
/// only where one triggered something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Input {
    /// As it came.
    Event(Event),
    /// A read with the belt positions at which it may have happened.
    Read {
        /// Which reader.
        reader: ReaderId,
        /// First byte.
        heard: Tick,
        /// What it saw; empty: it looked and read nothing.
        readings: Vec<Reading>,
        /// Signal strength, tags only.
        rssi_dbm: Option<i16>,
        /// Extended encoder pulses, least and most, at the moment of reading; `None` where the encoder
        /// was not heard around it, so the read can be tied to nothing.
        belt: Option<(i64, i64)>,
        /// Orders that these readings were bound to at that moment.
        orders: Vec<Order>,
    },
    /// The belt reached this extended position.
    Belt {
        /// Extended pulses.
        pulses: i64,
        /// Speed.
        speed_mm_s: u16,
    },
    /// A camera's photo, and the pass that lay in its field when it was taken. It changes nothing on the line.
    Photo {
        /// Photo.
        photo: Photo,
        /// The one pass it shows, or why none is named.
        shows: Result<PassKey, Untied>,
    },
}

/// A fact the core concluded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Fact {
    /// A parcel passed the induction eye: the pass begins. Milestone.
    Inducted {
        /// Pass.
        pass: PassKey,
        /// Length over the eye.
        length_mm: u16,
    },
    /// A reading was tied to a pass. Tags: milestone *gate read*.
    Tied {
        /// Pass.
        pass: PassKey,
        /// Reader.
        reader: ReaderId,
        /// Reading.
        reading: Reading,
        /// Signal strength, tags only.
        rssi_dbm: Option<i16>,
    },
    /// A reader looked at this pass and read nothing (its own no-read telegram).
    Blank {
        /// Pass.
        pass: PassKey,
        /// Reader.
        reader: ReaderId,
    },
    /// A reading could be tied to no pass, or to more than one.
    Untied {
        /// Reader.
        reader: ReaderId,
        /// Reading.
        reading: Reading,
        /// Why.
        why: Untied,
    },
    /// The pass has an identity. Milestone *received*; names the anonymous object and the identity.
    Identified {
        /// Pass.
        pass: PassKey,
        /// Canonical key.
        key: Key,
        /// URI for events, where the key has one of its own (EPC, GS1); otherwise built from the waybill.
        uri: Option<String>,
        /// Order bound to it.
        order: Option<String>,
        /// Carrier.
        carrier: Option<String>,
    },
    /// Where it shall go and why.
    Decided(Decided),
    /// The PLC took the command.
    Acknowledged {
        /// Pass.
        pass: PassKey,
        /// Command sequence.
        command: u16,
        /// Time left to the point of no return when the PLC took it.
        slack_ms: i32,
    },
    /// The PLC refused the command.
    Refused {
        /// Pass.
        pass: PassKey,
        /// Command sequence.
        command: u16,
        /// PLC's reason.
        why: Refusal,
    },
    /// It goes round once more; not an end. Milestone.
    Recirculated {
        /// Pass.
        pass: PassKey,
        /// Laps so far.
        lap: u8,
    },
    /// The pass has ended. Milestone *sorted*, *exception* or *lost*.
    Ended {
        /// Pass.
        pass: PassKey,
        /// Identity, if one was found.
        key: Option<Key>,
        /// URI of the identity, as in [`Fact::Identified`].
        uri: Option<String>,
        /// How it ended.
        outcome: Outcome,
        /// Plan version that decided it.
        plan: String,
        /// Slack of the command that brought it there.
        slack_ms: Option<i32>,
        /// Destination it was bound for.
        destination: Option<String>,
    },
    /// A chute's bag or cage was exchanged.
    ChuteEmptied {
        /// Chute.
        chute: ChuteNo,
        /// Parcels it held.
        parcels: u16,
    },
    /// An order was refused: too old a revision, or a code bound to another order.
    OrderRefused {
        /// `id` of the message.
        message: String,
        /// Order number.
        order: String,
        /// Why, for the `acks` topic.
        why: String,
    },
    /// One part of an order message has been applied; with `last` the message may be acknowledged once
    /// this is durable, with the [`Fact::OrderRefused`] of the same message as its exceptions.
    OrdersApplied {
        /// `id` of the message.
        message: String,
        /// The message's last part.
        last: bool,
        /// Orders taken, or known already with the same revision.
        accepted: u32,
        /// Orders refused.
        refused: u32,
    },
    /// An operator's report about a parcel: milestone *damaged*, *removed* or *found*.
    Reported {
        /// Pass it was matched to.
        pass: Option<PassKey>,
        /// Code as given.
        code: String,
        /// URI of the identity, if known.
        uri: Option<String>,
        /// What.
        what: Report,
        /// By whom.
        by: String,
    },
    /// An alarm rose.
    AlarmRaised(Alarm),
    /// An alarm is over.
    AlarmCleared {
        /// Its id.
        id: String,
    },
    /// A hold of upstream, apart from the order's own, is why the pass is decided as it is.
    Held {
        /// Pass.
        pass: PassKey,
        /// What it is on; a code as its key.
        on: HoldOn,
        /// Its revision.
        revision: Option<u32>,
        /// Why.
        hold: Hold,
        /// What upstream says to people about it.
        why: Option<String>,
        /// Who asked for it.
        by: Option<String>,
    },
    /// A hold or a release was refused.
    HoldRefused {
        /// `id` of the message.
        message: String,
        /// What it was to be on.
        on: HoldOn,
        /// Why, for the `acks` topic.
        why: String,
    },
    /// One part of a message of holds has been applied, as [`Fact::OrdersApplied`] says it of orders.
    HoldsApplied {
        /// `id` of the message.
        message: String,
        /// The message's last part.
        last: bool,
        /// Holds and releases in force, or known already.
        accepted: u32,
        /// Refused.
        refused: u32,
    },
    /// Finished orders have left the table, but for these: their parcels are on the belt again.
    OrdersGone {
        /// Order numbers that stay.
        kept: Vec<String>,
    },
}

/// Why a reading has no pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Untied {
    /// No body was in the reader's field.
    NoParcel,
    /// Two bodies were.
    TwoParcels,
    /// The encoder was not heard around the read.
    NoEncoder,
}

/// What an operator reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// Turned up.
    Found,
    /// Taken off the belt.
    Removed,
    /// Broken.
    Damaged,
}

/// Why the PLC did not take a command (event type 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// It does not know the track id.
    UnknownId,
    /// The parcel is past the decision point.
    TooLate,
    /// Chute full.
    ChuteFull,
    /// Chute disabled.
    ChuteDisabled,
}

/// A decision with everything needed to explain it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// Pass.
    pub pass: PassKey,
    /// Target.
    pub to: Target,
    /// Destination of the order.
    pub destination: Option<String>,
    /// Every order that a code on the parcel is bound to, as it was known when this was decided.
    pub orders: Vec<Order>,
    /// Each chute that was looked at, in order, and the rule that dropped it (`None`: chosen or held as
    /// alternate).
    pub candidates: Vec<Candidate>,
    /// Alternate of the same destination, reserved too.
    pub alternate: Option<ChuteNo>,
    /// Sort plan that decided.
    pub plan: String,
    /// Sequence of the command.
    pub command: u16,
    /// Deadline of the decision and the belt position when it fell, extended pulses.
    pub deadline_pulses: i64,
    /// Belt position when it fell.
    pub at_pulses: i64,
    /// From induction to decision.
    pub latency_ms: u32,
}

/// Where a parcel is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A chute of its destination.
    Chute(ChuteNo),
    /// The exception chute, with the reason.
    Exception(ChuteNo, Reason),
    /// Another lap, because of this.
    Recirculate(Reason),
}

/// A chute that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Chute.
    pub chute: ChuteNo,
    /// Parcels in it.
    pub filled: u16,
    /// Parcels on their way to it.
    pub reserved: u16,
    /// Places.
    pub capacity: u16,
    /// Rule that dropped it.
    pub dropped: Option<Dropped>,
}

/// The rule that dropped a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dropped {
    /// Locked by hand.
    Locked,
    /// Disabled at the PLC.
    Disabled,
    /// Faulted: jam or repeated confirm failures.
    Faulted,
    /// Its full sensor.
    FullSensor,
    /// Filled and reserved reach its capacity.
    NoRoom,
    /// Bag being closed or changed.
    Closing,
    /// The parcel is past its decision point.
    Passed,
    /// Another candidate has more room.
    LessRoom,
    /// Its bag was begun under an earlier plan, for other destinations.
    OtherBag,
}

/// An alarm: something someone must do (ISA-18.2), otherwise it would be an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// Stable id, e.g. `plc-offline`, `chute-12-faulted`.
    pub id: String,
    /// How bad.
    pub severity: Severity,
    /// What is wrong, one sentence.
    pub text: String,
    /// What to do about it, one sentence.
    pub remedy: String,
}

/// How bad an alarm is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The line degrades.
    Warning,
    /// Parcels suffer now.
    Critical,
}

impl Body {
    /// The pass this record belongs to, for the index.
    pub fn pass(&self) -> Option<PassKey> {
        let fact = match self {
            Body::Fact(fact) => fact,
            Body::Input(Input::Photo { shows, .. }) => return shows.ok(),
            Body::Input(Input::Event(_) | Input::Read { .. } | Input::Belt { .. }) => return None,
        };
        match fact {
            Fact::Inducted { pass, .. }
            | Fact::Tied { pass, .. }
            | Fact::Blank { pass, .. }
            | Fact::Identified { pass, .. }
            | Fact::Acknowledged { pass, .. }
            | Fact::Refused { pass, .. }
            | Fact::Recirculated { pass, .. }
            | Fact::Held { pass, .. }
            | Fact::Ended { pass, .. } => Some(*pass),
            Fact::Decided(decided) => Some(decided.pass),
            Fact::Reported { pass, .. } => *pass,
            Fact::Untied { .. }
            | Fact::ChuteEmptied { .. }
            | Fact::OrderRefused { .. }
            | Fact::OrdersApplied { .. }
            | Fact::HoldRefused { .. }
            | Fact::HoldsApplied { .. }
            | Fact::OrdersGone { .. }
            | Fact::AlarmRaised(_)
            | Fact::AlarmCleared { .. } => None,
        }
    }

    /// Whether upstream is told of it: it then gets an event sequence.
    pub fn is_milestone(&self) -> bool {
        let Body::Fact(fact) = self else { return false };
        match fact {
            Fact::Inducted { .. }
            | Fact::Identified { .. }
            | Fact::Recirculated { .. }
            | Fact::Ended { .. }
            | Fact::Reported { .. } => true,
            Fact::Tied { reading, .. } => matches!(reading, Reading::Tag { .. }),
            Fact::Untied { .. }
            | Fact::Blank { .. }
            | Fact::Decided(_)
            | Fact::Acknowledged { .. }
            | Fact::Refused { .. }
            | Fact::ChuteEmptied { .. }
            | Fact::OrderRefused { .. }
            | Fact::OrdersApplied { .. }
            | Fact::Held { .. }
            | Fact::HoldRefused { .. }
            | Fact::HoldsApplied { .. }
            | Fact::OrdersGone { .. }
            | Fact::AlarmRaised(_)
            | Fact::AlarmCleared { .. } => false,
        }
    }

    /// Orders in this record, for the register of active orders.
    pub fn orders(&self) -> &[Order] {
        match self {
            Body::Input(Input::Event(Event::Orders(batch))) => &batch.orders,
            Body::Input(_) | Body::Fact(_) => &[],
        }
    }
}
