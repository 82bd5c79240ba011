//! What the closed sets mean in words for the people on the floor, and what to do about them.

use crate::identify::{Aim, Reading};
use crate::line::event::Asked;
use crate::line::outcome::Reason;
use crate::line::record::{Dropped, Refusal, Report, Untied};
use crate::watch::Ne107;

/// What a reason means, and what a person should do with the parcel.
pub fn reason(reason: Reason) -> (&'static str, &'static str) {
    match reason {
        Reason::NoRead => (
            "no reader gave a usable code for it",
            "Look at the label; if it is readable, look at the readers' state, then induct it again.",
        ),
        Reason::MultiRead => (
            "codes of two different parcels were read on it",
            "Remove or cover the old label, then induct it again.",
        ),
        Reason::UnknownParcel => (
            "its code is valid but no order names it",
            "Ask upstream for the order; induct it again when the order is there.",
        ),
        Reason::AmbiguousCode => (
            "its code fits more than one carrier and no order says which",
            "Ask upstream to bind the code to an order, then induct it again.",
        ),
        Reason::OrderCancelled => ("its order was cancelled", "Put it to the cancelled parcels."),
        Reason::CodHold => {
            ("upstream holds it: the money at the door is in question", "Keep it until upstream releases it.")
        }
        Reason::CodMismatch => {
            ("label and order disagree about money at the door", "Relabel it, then induct it again.")
        }
        Reason::CustomsHold => ("upstream holds it for customs", "Keep it until upstream releases it."),
        Reason::Repack => ("it must be repacked first", "Repack it, then induct it again."),
        Reason::Overweight => ("its order says that it is too heavy for the sorter", "Sort it by hand."),
        Reason::Oversize => ("its order says that it is too large for the sorter", "Sort it by hand."),
        Reason::WeightMismatch => {
            ("the scale says otherwise than the order", "Check its contents, then induct it again.")
        }
        Reason::DangerousGoods => {
            ("dangerous goods not declared or not permitted", "Keep it apart and ask the supervisor.")
        }
        Reason::NoRoute => (
            "the sort plan has no chute for its destination",
            "Add the destination to sort-plan.csv, reload, induct it again.",
        ),
        Reason::CarrierCutoff => ("it came after its carrier's cut-off", "Keep it for the next wave."),
        Reason::ChutesFull => (
            "every chute of its destination was full or closed",
            "Change the full chutes, then induct it again.",
        ),
        Reason::RecirculationLimit => (
            "it went round as often as allowed and still found no chute",
            "Change the full chutes, then induct it again.",
        ),
        Reason::LateDecision => (
            "the decision fell after the point of no return",
            "Look at the decision latency in `sortd status`; induct it again.",
        ),
        Reason::DivertFailed => {
            ("the divert did not happen", "Look at the diverter of that chute; induct it again.")
        }
        Reason::Unconfirmed => (
            "it was diverted but the chute's sensor did not see it",
            "Look whether it lies in that chute; check the confirm sensor.",
        ),
        Reason::Gap => (
            "the gap to its neighbour was too small to divert it safely",
            "Induct it again with more distance.",
        ),
        Reason::TooLong => (
            "it measured longer than any parcel may be: probably two, merged",
            "Separate them, then induct each again.",
        ),
        Reason::TrackingLost => (
            "its place on the belt was no longer certain",
            "Induct it again; look at the eyes and the belt's slip.",
        ),
        Reason::Restart => ("it was on the belt when sortd or the PLC restarted", "Induct it again."),
        Reason::Purge => ("the belt was purged", "Induct it again."),
        Reason::Damaged => ("it was reported damaged", "Put it to the damaged parcels and photograph it."),
        Reason::ReturnToSender => ("it goes back to its sender", "Put it to the returns."),
        Reason::HostOfflinePolicy => (
            "upstream was away and the rule is not to sort without it",
            "Induct it again when upstream is back.",
        ),
    }
}

/// Why a chute was not taken.
pub fn dropped(rule: Dropped) -> &'static str {
    match rule {
        Dropped::Locked => "locked by hand",
        Dropped::Disabled => "disabled at the PLC",
        Dropped::Faulted => "faulted (jam, or several diverts were not confirmed)",
        Dropped::FullSensor => "its full sensor said full",
        Dropped::NoRoom => "no room: parcels in it and on the way reach its capacity",
        Dropped::Closing => "its bag or cage was being closed or changed",
        Dropped::Passed => "the parcel was past its decision point already",
        Dropped::LessRoom => "another chute of the destination had more room",
        Dropped::OtherBag => "its bag was begun under an earlier plan, for other destinations",
    }
}

/// Why a reading has no parcel.
pub fn untied(why: Untied) -> &'static str {
    match why {
        Untied::NoParcel => "no parcel was in the reader's field",
        Untied::TwoParcels => "two parcels were in the reader's field",
        Untied::NoEncoder => "the encoder was not heard around the read",
    }
}

/// Why the PLC did not take a command.
pub fn refusal(why: Refusal) -> &'static str {
    match why {
        Refusal::UnknownId => "it does not know the track id",
        Refusal::TooLate => "the parcel was past the decision point",
        Refusal::ChuteFull => "it held the chute for full",
        Refusal::ChuteDisabled => "it had the chute disabled",
    }
}

/// What an operator reported.
pub fn report(what: Report) -> &'static str {
    match what {
        Report::Found => "found",
        Report::Removed => "taken off the belt by hand",
        Report::Damaged => "damaged",
    }
}

/// What an operator asked, as the command that asks it.
pub fn asked(what: &Asked) -> String {
    match what {
        Asked::LineStart => "line start".to_owned(),
        Asked::LineStop => "line stop".to_owned(),
        Asked::LinePurge => "line purge".to_owned(),
        Asked::ChuteLock(chute) => format!("chute {} lock", chute.0),
        Asked::ChuteUnlock(chute) => format!("chute {} unlock", chute.0),
        Asked::ChuteClose(chute) => format!("chute {} close", chute.0),
        Asked::ChuteChanged(chute) => format!("chute {} changed", chute.0),
        Asked::ParcelFound(code) => format!("parcel {} found", plain(code)),
        Asked::ParcelRemoved(code) => format!("parcel {} removed", plain(code)),
        Asked::ParcelDamaged(code) => format!("parcel {} damaged", plain(code)),
    }
}

/// NE 107 in words.
pub fn ne107(state: Ne107) -> &'static str {
    match state {
        Ne107::Good => "good",
        Ne107::Check => "check",
        Ne107::OutOfSpecification => "out of specification",
        Ne107::Maintenance => "maintenance",
        Ne107::Failure => "FAILURE",
    }
}

/// A reading as text, and the symbology where it is known.
pub fn reading(reading: &Reading) -> (String, Option<String>) {
    match reading {
        Reading::Barcode { aim, text } => (plain(text), aim.map(symbology)),
        Reading::Tag { epc } => {
            let hex: String = epc.iter().map(|byte| format!("{byte:02X}")).collect();
            (hex, Some("EPC".to_owned()))
        }
    }
}

fn symbology(aim: Aim) -> String {
    let name = match (aim.0, aim.1) {
        (b'C', b'1') => "GS1-128",
        (b'C', _) => "Code 128",
        (b'd', b'2') => "GS1 DataMatrix",
        (b'd', _) => "DataMatrix",
        (b'Q', b'3') => "GS1 QR",
        (b'Q', _) => "QR",
        (b'E', _) => "EAN",
        (b'I', _) => "ITF",
        (b'A', _) => "Code 39",
        (b'e', _) => "GS1 DataBar",
        (code, modifier) => {
            return plain(&format!("]{}{}", char::from(code), char::from(modifier)));
        }
    };
    name.to_owned()
}

/// Text from outside, safe for a terminal: FNC1 is written `<FNC1>`, other control and direction characters as their
/// code points, so that a label can neither move the cursor nor reorder a line.
pub fn plain(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{1d}' => safe.push_str("<FNC1>"),
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
                safe.extend(c.escape_unicode());
            }
            c if c.is_control() => safe.extend(c.escape_unicode()),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2J\u{1d}b\u{202e}c"), "a\\u{1b}[2J<FNC1>b\\u{202e}c");
        assert_eq!(plain("曼谷 กรุงเทพ"), "曼谷 กรุงเทพ");
    }

    #[test]
    fn every_reason_says_what_and_what_to_do() {
        for each in Reason::ALL {
            let (what, remedy) = reason(each);
            assert!(!what.is_empty() && remedy.ends_with('.'), "{}", each.name());
        }
    }
}
