//! What the client for messages from upstream and the rest of the program say to each other.

use super::orders::{Ack, PlanAck, Refusal};
use crate::line::event::{HoldBatch, OrderBatch};

/// A topic that comes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Down {
    /// Upserts of orders.
    Orders,
    /// Holds and releases.
    Holds,
    /// Plans.
    Plans,
    /// Questions.
    Ask,
}

impl Down {
    /// Every one.
    pub const ALL: [Down; 4] = [Down::Orders, Down::Holds, Down::Plans, Down::Ask];

    /// The topic's last level.
    pub fn name(self) -> &'static str {
        match self {
            Down::Orders => "orders",
            Down::Holds => "holds",
            Down::Plans => "plans",
            Down::Ask => "ask",
        }
    }

    /// Worked on beside the line, so that it never holds up what is for the core.
    pub(super) fn is_beside(self) -> bool {
        matches!(self, Down::Plans | Down::Ask)
    }
}

/// A part of a message for the core.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Orders.
    Orders(OrderBatch),
    /// Holds and releases.
    Holds(HoldBatch),
}

impl Part {
    /// The topic it came by.
    pub fn down(&self) -> Down {
        match self {
            Part::Orders(_) => Down::Orders,
            Part::Holds(_) => Down::Holds,
        }
    }

    /// `id` of its message.
    pub fn message(&self) -> &str {
        match self {
            Part::Orders(batch) => &batch.message,
            Part::Holds(batch) => &batch.message,
        }
    }
}

/// A message that is worked on beside the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Errand {
    /// A plan to be checked and staged.
    Plan(super::questions::PlanMessage),
    /// What is known of a parcel.
    Evidence {
        /// `id` of the message.
        id: String,
        /// Code of the parcel.
        code: String,
    },
}

/// How far the store is: what answers wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Durable up to this record.
    pub durable: u64,
    /// Records wait to become durable.
    pub waits: bool,
}

/// What the rest of the program says to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Everything a message brought is durable.
    Durable(Durable),
    /// The answer to a message that brought nothing to keep.
    Done {
        /// The topic it came by.
        down: Down,
        /// `id` of the message.
        message: String,
        /// The answer.
        ack: Ack,
    },
}

/// All parts of a message are durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durable {
    /// The topic it came by.
    pub down: Down,
    /// `id` of the message.
    pub message: String,
    /// Orders or holds taken, or known already.
    pub accepted: u64,
    /// Those the core refused.
    pub refused: Vec<Refusal>,
    /// The plan, if it brought one.
    pub plan: Option<PlanAck>,
}
