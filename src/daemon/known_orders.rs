//! The register of active orders, made ready for the line's thread.
//!
//! Reading, finding keys and packing take a few microseconds an order and are done by whoever calls this; the
//! line's thread takes each portion between two events. What is measured is measured with this very way.

use crate::identify::{CarrierRules, OrderKeys};
use crate::journal::{Register, RegisterEntryRef, RegisterError};
use crate::line::{KnownOrders, Tick};

/// What became of reading a register.
#[derive(Debug)]
pub struct Given {
    /// Entries read.
    pub entries: u64,
    /// Why it ended early, where it did: the register was whole when it was opened and is not any more.
    pub error: Option<RegisterError>,
}

/// Reads all of it and gives it away in portions, in their order, until `give` says no. `now` stands for
/// times that the register never noted. An order of whose codes the present carriers' rules make no parcel
/// is left out with a warning.
pub fn read(
    register: &Register,
    rules: &CarrierRules,
    now: Tick,
    mut give: impl FnMut(KnownOrders) -> bool,
) -> Given {
    let mut given = Given { entries: 0, error: None };
    let (rules, mut portion) = (OrderKeys::of(rules), KnownOrders::default());
    for part in register.parts() {
        let read = part.and_then(|part| {
            for entry in part.entries() {
                add(&mut portion, entry?, &rules, now);
                given.entries += 1;
                if portion.is_full() && !give(std::mem::take(&mut portion)) {
                    return Ok(false);
                }
            }
            Ok(true)
        });
        match read {
            Ok(true) => {}
            Ok(false) => return given,
            Err(error) => {
                given.error = Some(error);
                break;
            }
        }
    }
    if !portion.is_empty() {
        give(portion);
    }
    given
}

fn add(portion: &mut KnownOrders, entry: RegisterEntryRef<'_>, rules: &OrderKeys<'_>, now: Tick) {
    match entry {
        RegisterEntryRef::Order { order, touched_s, sorted } => {
            if let Err(why) = portion.add(&order, tick_of(touched_s, now), sorted, rules) {
                tracing::warn!(order = %order.order, %why, "an order of the register is no order any more");
            }
        }
        RegisterEntryRef::Sorted { order, at_s } => portion.add_sorted(order, tick_of(at_s, now)),
        RegisterEntryRef::Retired(retired) => portion.add_retired(retired),
    }
}

/// Core time of the register; one that it never noted is now.
pub fn tick_of(seconds: u32, now: Tick) -> Tick {
    if seconds == 0 { now } else { Tick(u64::from(seconds) * 1_000_000) }
}
