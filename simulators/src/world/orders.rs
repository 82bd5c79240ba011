//! Orders as upstream would push them: ahead of the parcel, sometimes changed before it comes.

use sortd::line::event::{Hold, Order};

use super::parcel::Fault;

/// What upstream does about a parcel.
#[derive(Debug, Clone, Default)]
pub struct Paper {
    /// Pushed when the parcel is announced.
    pub first: Vec<Order>,
    /// A later revision, pushed between the announcement and the arrival.
    pub revision: Option<Order>,
}

/// The hold of a fault that upstream tells as one, by the scenario's rates; `roll` is uniform in 0..1.
pub fn hold(rates: &super::scenario::FaultRates, roll: f64) -> Option<Hold> {
    let mut left = roll;
    for (rate, hold) in [
        (rates.cod_hold, Hold::CodHold),
        (rates.customs_hold, Hold::CustomsHold),
        (rates.cod_mismatch, Hold::CodMismatch),
        (rates.dangerous_goods, Hold::DangerousGoods),
        (rates.weight_mismatch, Hold::WeightMismatch),
        (rates.oversize, Hold::Oversize),
    ] {
        if left < rate {
            return Some(hold);
        }
        left -= rate;
    }
    None
}

/// The order of one parcel and, for half of the withheld ones (`late`), the revision that withholds it.
pub fn paper(
    number: u64,
    codes: Vec<String>,
    destination: &str,
    carrier: Option<String>,
    withheld: Option<(Fault, Option<Hold>)>,
    late: bool,
) -> Paper {
    let plain = Order {
        order: format!("SO{number:09}"),
        revision: 1,
        codes,
        destination: destination.to_owned(),
        carrier,
        cancelled: false,
        hold: None,
        details: None,
    };
    let Some((fault, hold)) = withheld else {
        return Paper { first: vec![plain], revision: None };
    };
    let mut changed = plain.clone();
    changed.cancelled = fault == Fault::Cancelled;
    changed.hold = hold;
    if late {
        changed.revision = 2;
        Paper { first: vec![plain], revision: Some(changed) }
    } else {
        Paper { first: vec![changed], revision: None }
    }
}
