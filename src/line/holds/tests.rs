use proptest::prelude::*;

use super::*;
use crate::line::event::{Event, HoldBatch, HoldOrder, RetiredOrder};
use crate::line::outcome::Outcome;
use crate::line::record::Target;
use crate::line::tests::{CODE, EXCEPTION, OTHER, Rig, site};
use crate::line::{ChuteNo, Line};
use crate::wire::plc::Discharge;

fn on_order(order: &str, revision: Option<u32>, hold: Option<Hold>) -> HoldOrder {
    HoldOrder { on: HoldOn::Order(order.to_owned()), revision, hold, reason: None, by: None }
}

fn on_code(code: &str, hold: Option<Hold>) -> HoldOrder {
    HoldOrder { on: HoldOn::Code(code.to_owned()), ..on_order("", None, hold) }
}

fn send(rig: &mut Rig, hold: HoldOrder) {
    rig.event(Event::Holds(HoldBatch { message: "h".to_owned(), last: true, holds: vec![hold] }));
}

fn sent_to(rig: &Rig) -> Target {
    rig.decisions().last().expect("something was decided").0
}

const CUSTOMS: Option<Hold> = Some(Hold::CustomsHold);
const HELD: Target = Target::Exception(EXCEPTION, Reason::CustomsHold);

#[test]
fn a_hold_that_comes_before_its_order_waits_for_it_and_says_why() {
    let mut rig = Rig::new(false);
    let hold = HoldOrder {
        reason: Some("papers".to_owned()),
        by: Some("broker".to_owned()),
        ..on_order("o1", Some(4), CUSTOMS)
    };
    send(&mut rig, hold);
    rig.order("o1", CODE, "A");
    rig.read_parcel(1, &[CODE]);
    assert_eq!(rig.decisions(), [(HELD, None)]);
    let said = rig.facts.iter().find(|fact| matches!(fact, Fact::Held { .. })).expect("it says so");
    let Fact::Held { on, revision, hold, why, by, .. } = said else { return };
    assert_eq!((on, *revision, *hold), (&HoldOn::Order("o1".to_owned()), Some(4), Hold::CustomsHold));
    assert_eq!((why.as_deref(), by.as_deref()), (Some("papers"), Some("broker")));
    // Released while it can still turn, it is sorted after all.
    send(&mut rig, on_order("o1", Some(5), None));
    assert_eq!(sent_to(&rig), Target::Chute(ChuteNo(1)));
    assert_eq!(rig.line.status(rig.now).holds, 0);
    rig.discharge(1, 1, Discharge::Confirmed);
    assert_eq!(rig.ends(), [Outcome::Sorted { chute: ChuteNo(1) }]);
}

#[test]
fn a_hold_on_a_code_counts_in_whatever_form_it_is_read_and_for_a_parcel_on_its_way() {
    let mut rig = Rig::new(false);
    rig.order("o1", CODE, "A");
    rig.read_parcel(1, &[CODE]);
    assert_eq!(sent_to(&rig), Target::Chute(ChuteNo(1)));
    send(&mut rig, on_code(&format!("(00){}", &CODE[2..]), CUSTOMS));
    assert_eq!(sent_to(&rig), HELD, "its point of no return is still ahead");
    // A parcel that no order names ends with the hold's reason, not as unknown.
    send(&mut rig, on_code(OTHER, CUSTOMS));
    rig.read_parcel(2, &[OTHER]);
    rig.run(6000);
    assert_eq!(sent_to(&rig), HELD);
    assert_eq!(rig.line.status(rig.now).holds, 2);
}

#[test]
fn a_hold_that_comes_late_changes_nothing_and_older_ones_neither() {
    let mut rig = Rig::new(false);
    rig.order("o1", CODE, "A");
    rig.read_parcel(1, &[CODE]);
    rig.run(4600);
    send(&mut rig, on_order("o1", Some(2), CUSTOMS));
    assert_eq!(sent_to(&rig), Target::Chute(ChuteNo(1)), "it is past its point of no return");
    send(&mut rig, on_order("o1", Some(3), None));
    send(&mut rig, on_order("o1", Some(2), CUSTOMS));
    assert_eq!(rig.line.status(rig.now).holds, 0, "an older hold, repeated");
    let applied = rig.facts.iter().rev().find_map(|fact| match fact {
        Fact::HoldsApplied { accepted, refused, .. } => Some((*accepted, *refused)),
        _ => None,
    });
    assert_eq!(applied, Some((1, 0)), "repeated is accepted");
    // The order's own hold stands beside them.
    rig.run(2000);
    rig.push(Order { hold: Some(Hold::Repack), ..rig_order("o2") });
    rig.read_parcel(2, &[OTHER]);
    send(&mut rig, on_order("o2", Some(1), None));
    assert_eq!(sent_to(&rig), Target::Exception(EXCEPTION, Reason::Repack));
}

fn rig_order(number: &str) -> Order {
    Order {
        order: number.to_owned(),
        revision: 1,
        codes: vec![OTHER.to_owned()],
        destination: "B".to_owned(),
        carrier: None,
        cancelled: false,
        hold: None,
        details: None,
    }
}

#[test]
fn what_names_no_parcel_is_refused_and_the_snapshot_keeps_the_rest() {
    let mut rig = Rig::new(false);
    send(&mut rig, on_order("o1", Some(1), CUSTOMS));
    send(&mut rig, on_code("01095011015300031", CUSTOMS));
    let refused = rig.facts.iter().filter(|fact| matches!(fact, Fact::HoldRefused { .. })).count();
    let bad = on_code("", CUSTOMS);
    send(&mut rig, bad);
    let again = rig.facts.iter().filter(|fact| matches!(fact, Fact::HoldRefused { .. })).count();
    assert_eq!(again, refused + 1, "an empty code names no parcel");
    let in_force = rig.line.status(rig.now).holds;
    let snapshot = rig.line.snapshot().expect("the state encodes");
    let again = Line::from_snapshot(site(false), &snapshot).expect("it is taken up");
    assert_eq!(again.status(rig.now).holds, in_force);
    // One of the layout before, without holds.
    let none = Rig::new(false).line.snapshot().expect("the state encodes");
    let mut old = none.clone();
    // Behind it stands what is remembered of plans: two empty tables and no name.
    old.truncate(old.len() - 3);
    assert_eq!(old.pop(), Some(0), "an empty table is one byte");
    old[0] = 3;
    let old = Line::from_snapshot(site(false), &old).expect("the layout before is taken up");
    assert_eq!(old.snapshot().expect("the state encodes"), none);
}

#[test]
fn a_full_table_forgets_the_oldest_release_first_and_then_refuses() {
    let (mut table, rules) = (HoldTable::default(), CarrierRules::default());
    let name = |n: usize| format!("o{n:06}");
    for n in 0..HOLDS_MOST {
        let hold = if n < 2 { None } else { CUSTOMS };
        table.apply(&on_order(&name(n), Some(1), hold), &rules, Tick(n as u64)).expect("there is room");
    }
    for n in 0..2 {
        table
            .apply(&on_order(&name(HOLDS_MOST + n), None, CUSTOMS), &rules, Tick(0))
            .expect("a release goes");
        assert!(!table.0.contains_key(&HoldOn::Order(name(n))));
    }
    let more = table.apply(&on_order("more", None, CUSTOMS), &rules, Tick(0));
    assert_eq!(more, Err(HoldRefusal::Full));
    assert_eq!(table.in_force(), HOLDS_MOST as u64);
    // Those it knows still change.
    table.apply(&on_order(&name(5), Some(2), None), &rules, Tick(9)).expect("it is known");
    assert_eq!(table.in_force(), HOLDS_MOST as u64 - 1);
}

#[test]
fn an_order_whose_parcel_is_on_the_belt_is_not_retired() {
    let mut rig = Rig::new(false);
    rig.order("o1", CODE, "A");
    rig.order("o2", OTHER, "B");
    rig.read_parcel(1, &[CODE]);
    let all = ["o1", "o2"].map(|order| RetiredOrder { order: order.to_owned(), revision: 1 });
    rig.event(Event::OrdersRetired(all.to_vec()));
    assert_eq!(rig.facts.last(), Some(&Fact::OrdersGone { kept: vec!["o1".to_owned()] }));
    assert_eq!(rig.line.status(rig.now).orders, 1);
    rig.discharge(1, 1, Discharge::Confirmed);
    rig.event(Event::OrdersRetired(all.to_vec()));
    assert_eq!(rig.line.status(rig.now).orders, 0);
}

proptest! {
    /// Holds with revisions, repeated and in any order: the newest of each decides.
    #[test]
    fn repetition_and_order_of_holds_do_not_matter(
        holds in prop::collection::vec((0..4u8, 0..6u32), 1..30),
        shuffled in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
    ) {
        let rules = CarrierRules::default();
        // One thing and revision is one content, as upstream promises.
        let content = |&(target, revision): &(u8, u32)| {
            let hold = (revision % 3 != 0).then_some(if revision % 2 == 0 { Hold::Repack } else { Hold::CodHold });
            match target {
                0 | 1 => on_order(&format!("o{target}"), Some(revision), hold),
                _ => HoldOrder { revision: Some(revision), ..on_code(&format!("KEX{target}"), hold) },
            }
        };
        let holds: Vec<HoldOrder> = holds.iter().map(content).collect();
        let mut sorted = holds.clone();
        sorted.sort_by_key(|hold| hold.revision);
        let (mut expected, mut table) = (HoldTable::default(), HoldTable::default());
        for hold in &sorted {
            expected.apply(hold, &rules, Tick(0)).unwrap();
        }
        for at in &shuffled {
            table.apply(at.get(&holds), &rules, Tick(0)).unwrap();
        }
        for hold in holds.iter().rev() {
            table.apply(hold, &rules, Tick(0)).unwrap();
        }
        prop_assert_eq!(table, expected);
    }
}
