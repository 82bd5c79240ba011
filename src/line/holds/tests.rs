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
    // Of the layouts before: without releases of their own, and without holds.
    let none = Rig::new(false).line.snapshot().expect("the state encodes");
    let mut old = none.clone();
    // Behind it stands what is remembered of plans: two empty tables and no name.
    old.truncate(old.len() - 3);
    for layout in [4, 3] {
        assert_eq!(old.pop(), Some(0), "an empty table is one byte");
        old[0] = layout;
        let old = Line::from_snapshot(site(false), &old).expect("the layout before is taken up");
        assert_eq!(old.snapshot().expect("the state encodes"), none);
    }
}

/// In layout 4 a release stood among the holds; it is as well remembered as before.
#[test]
fn a_release_of_the_layout_before_is_taken_up() {
    let mut rig = Rig::new(false);
    send(&mut rig, on_order("held", Some(1), CUSTOMS));
    let mut snapshot = rig.line.snapshot().expect("the state encodes");
    let rules = CarrierRules::default();
    let mut table = HoldTable::default();
    table.apply(&on_order("held", Some(1), CUSTOMS), &rules, rig.now).unwrap();
    let config = bincode::config::standard();
    let tail = bincode::serde::encode_to_vec(table.parts(), config).unwrap();
    // Behind it stands what is remembered of plans: two empty tables and no name.
    snapshot.truncate(snapshot.len() - tail.len() - 3);
    let mut before = table.in_force.clone();
    let released = Held { revision: Some(7), hold: None, reason: None, by: None, at: rig.now };
    before.insert(HoldOn::Order("gone".to_owned()), released);
    snapshot.extend(bincode::serde::encode_to_vec(&before, config).unwrap());
    snapshot[0] = 4;
    let line = Line::from_snapshot(site(false), &snapshot).expect("the layout before is taken up");
    assert_eq!(line.status(rig.now).holds, 1);
    let again = Line::from_snapshot(site(false), &line.snapshot().unwrap()).expect("and the new one");
    rig.line = again;
    send(&mut rig, on_order("gone", Some(7), CUSTOMS));
    assert_eq!(rig.line.status(rig.now).holds, 1, "it was released with this revision");
    send(&mut rig, on_order("gone", Some(8), CUSTOMS));
    assert_eq!(rig.line.status(rig.now).holds, 2);
}

#[test]
fn a_release_is_remembered_however_many_follow() {
    let (mut table, rules) = (HoldTable::default(), CarrierRules::default());
    let mut apply =
        |order: &str, revision, hold, at| table.apply(&on_order(order, revision, hold), &rules, at);
    assert!(apply("o", Some(1), CUSTOMS, Tick(0)).unwrap().is_some());
    assert!(apply("o", Some(2), None, Tick(1)).unwrap().is_some());
    for n in 0..20_000 {
        apply(&format!("other{n}"), Some(1), None, Tick(2)).unwrap();
    }
    assert_eq!(apply("o", Some(1), CUSTOMS, Tick(3)), Ok(None));
    assert_eq!(apply("o", Some(2), None, Tick(3)), Ok(None));
    assert_eq!(table.in_force(), 0);
}

#[test]
fn a_full_memory_of_releases_refuses_rather_than_forget_a_young_one() {
    let (mut table, rules) = (HoldTable::default(), CarrierRules::default());
    let release = |n: usize| on_order(&format!("o{n:06}"), Some(2), None);
    let days = |days: u64| Tick(days * 24 * 3_600 * 1_000_000);
    table.apply(&on_order("held", Some(1), CUSTOMS), &rules, days(0)).unwrap();
    for n in 0..RELEASES_MOST {
        table.apply(&release(n), &rules, days((n as u64 * 4) / RELEASES_MOST as u64)).unwrap();
    }
    let more = table.apply(&on_order("held", Some(2), None), &rules, days(6));
    assert_eq!(more, Err(HoldRefusal::ManyReleases));
    assert!(more.unwrap_err().to_string().contains("none of them older than 7 days"));
    assert_eq!(table.in_force(), 1, "what is held stays held");
    assert_eq!(table.apply(&HoldOrder { hold: CUSTOMS, ..release(5) }, &rules, days(6)), Ok(None));
    // The oldest are a week old.
    table.apply(&on_order("held", Some(2), None), &rules, days(8)).unwrap();
    assert_eq!((table.in_force(), table.released.revision(&release(RELEASES_MOST - 1).on)), (0, Some(2)));
    let snapshot = bincode::serde::encode_to_vec(&table.released, bincode::config::standard()).unwrap();
    assert!(snapshot.len() <= RELEASES_MOST * 28 + 5, "{}", snapshot.len());
    let (read, _): (Released, usize) =
        bincode::serde::decode_from_slice(&snapshot, bincode::config::standard()).unwrap();
    assert_eq!(read, table.released);
    // A month later the first release of somebody clears the memory.
    table.apply(&release(RELEASES_MOST + 1), &rules, days(45)).unwrap();
    assert_eq!(table.released.revision(&release(9).on), None);
}

#[test]
fn a_table_full_of_holds_refuses_one_more() {
    let (mut table, rules) = (HoldTable::default(), CarrierRules::default());
    let name = |n: usize| format!("o{n:06}");
    for n in 0..HOLDS_MOST {
        table.apply(&on_order(&name(n), Some(1), CUSTOMS), &rules, Tick(n as u64)).expect("there is room");
    }
    let more = table.apply(&on_order("more", None, CUSTOMS), &rules, Tick(0));
    assert_eq!(more, Err(HoldRefusal::Full));
    assert_eq!(table.in_force(), HOLDS_MOST as u64);
    // Those it knows still change, and make room.
    table.apply(&on_order(&name(5), Some(2), None), &rules, Tick(9)).expect("it is known");
    table.apply(&on_order("more", None, CUSTOMS), &rules, Tick(9)).expect("there is room");
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
