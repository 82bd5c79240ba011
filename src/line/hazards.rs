//! Stories in which a parcel could have gone astray, been forgotten or been counted twice: one a defect.

use super::event::{Ask, Asked, Command, EncoderPoll, Event, Hold, Order, PlcAttached};
use super::outcome::{Outcome, Reason};
use super::record::{Fact, Target, Untied};
use super::tests::{CODE, EXCEPTION, OTHER, Rig, exception, site};
use super::*;
use crate::wire::plc::{CommandResult, CommandSlot, Discharge, PlcEventKind, PlcFlags};

fn bound(number: &str, code: &str, destination: &str) -> Order {
    Order {
        order: number.to_owned(),
        revision: 1,
        codes: vec![code.to_owned()],
        destination: destination.to_owned(),
        carrier: None,
        cancelled: false,
        hold: None,
        details: None,
    }
}

fn ask(rig: &mut Rig, what: Asked) {
    rig.event(Event::Ask(Ask { by: "wang".to_owned(), what }));
}

fn sent_to(rig: &Rig) -> Target {
    rig.decisions().last().expect("something was decided").0
}

fn counted(rig: &Rig, what: &str) -> u64 {
    rig.line.status(rig.now).counters.get(what).copied().unwrap_or(0)
}

fn diverts(rig: &Rig) -> Vec<CommandSlot> {
    let slot = |command: &Command| match command {
        Command::Divert(slot) => Some(*slot),
        Command::Request(_) | Command::Resync => None,
    };
    rig.commands.iter().filter_map(slot).collect()
}

#[test]
fn records_the_plc_dropped_without_a_number_hide_none_of_those_that_follow() {
    let mut rig = Rig::new(false);
    rig.event(Event::PlcEventsMissed(3));
    rig.induct(1, 300);
    assert_eq!(rig.line.sums(), (1, 0, 1));
    assert_eq!(counted(&rig, "plc_events_missed"), 3);
}

#[test]
fn records_that_were_overwritten_are_counted_once() {
    let mut rig = Rig::new(false);
    rig.skip(5);
    rig.event(Event::PlcEventsMissed(5));
    rig.induct(1, 300);
    assert_eq!(counted(&rig, "plc_events_missed"), 5);
    rig.skip(2);
    rig.induct(2, 300);
    assert_eq!((counted(&rig, "plc_events_missed"), rig.line.sums().0), (7, 2));
}

#[test]
fn a_ring_half_a_circle_ahead_of_a_new_numbering_is_read_on() {
    let mut rig = Rig::new(false);
    rig.skip(40_000);
    rig.event(Event::PlcEventsMissed(40_000));
    rig.induct(1, 300);
    assert_eq!(rig.line.sums(), (1, 0, 1));
}

#[test]
fn a_read_that_waited_unheard_is_not_the_next_parcels() {
    // 300 mm of parcel, 300 mm of gap, the field between them 50 mm: one of them is in it, then the other.
    let second_in_field = |late_ms| {
        let mut rig = Rig::new(false);
        rig.order("o1", CODE, "A");
        rig.induct(1, 300);
        rig.run(600);
        rig.induct(2, 300);
        rig.run(760);
        rig.hear_late(0, &[CODE], late_ms);
        rig.run(6000);
        rig
    };
    let prompt = second_in_field(5);
    assert!(prompt.facts.iter().any(|fact| matches!(fact, Fact::Tied { pass, .. } if pass.track == 2)));
    let late = second_in_field(300);
    assert_eq!(counted(&late, "untied_two_parcels"), 1);
    assert!(!late.facts.iter().any(|fact| matches!(fact, Fact::Tied { .. })));
    // So late that parcels of that time may have left the line.
    assert_eq!(counted(&second_in_field(600), "untied_no_encoder"), 1);
}

#[test]
fn a_parcels_code_that_no_order_binds_beside_a_bound_one_is_a_multi_read() {
    let mut rig = Rig::new(false);
    rig.order("o1", CODE, "A");
    rig.read_parcel(1, &[CODE, OTHER]);
    assert_eq!(sent_to(&rig), Target::Exception(EXCEPTION, Reason::MultiRead));
}

#[test]
fn codes_of_two_parcels_that_no_order_binds_wait_for_one_until_the_deadline() {
    let mut rig = Rig::new(false);
    rig.read_parcel(1, &[CODE, OTHER]);
    assert_eq!(rig.decisions(), [], "an order may still come");
    rig.run(6000);
    assert_eq!(rig.decisions(), [(Target::Exception(EXCEPTION, Reason::UnknownParcel), None)]);
    // Where one comes, they are codes of two parcels, and nobody guesses which.
    rig.read_parcel(2, &["00340123450000000031", "00340123450000000048"]);
    rig.order("o1", "00340123450000000031", "A");
    assert_eq!(sent_to(&rig), Target::Exception(EXCEPTION, Reason::MultiRead));
    // And where both are codes of one order, it is sorted.
    rig.read_parcel(3, &["00340123450000000055", "00340123450000000062"]);
    let codes = vec!["00340123450000000055".to_owned(), "00340123450000000062".to_owned()];
    rig.push(Order { codes, ..bound("o2", "", "B") });
    assert_eq!(sent_to(&rig), Target::Chute(ChuteNo(3)));
}

#[test]
fn an_order_that_comes_late_is_weighed_against_every_code_on_the_parcel() {
    let mut rig = Rig::new(false);
    rig.read_parcel(1, &[CODE, "T1"]);
    assert_eq!(rig.decisions(), []);
    rig.order("o2", "T1", "B");
    rig.order("o1", CODE, "A");
    assert_eq!(sent_to(&rig), Target::Exception(EXCEPTION, Reason::MultiRead));
}

#[test]
fn an_order_that_gives_its_code_up_no_longer_sorts_the_parcel() {
    let mut rig = Rig::new(false);
    let order = rig.order("o1", CODE, "A");
    rig.read_parcel(1, &[CODE]);
    rig.push(Order { revision: 2, codes: vec![OTHER.to_owned()], ..order });
    assert_eq!(sent_to(&rig), Target::Exception(EXCEPTION, Reason::UnknownParcel));
    // Another order takes the code over while the parcel can still turn.
    rig.order("o2", CODE, "B");
    assert_eq!(sent_to(&rig), Target::Chute(ChuteNo(3)));
}

#[test]
fn what_is_read_while_the_orders_come_back_is_decided_with_all_of_them() {
    let mut rig = Rig::new(false);
    rig.start();
    rig.attach(7);
    rig.line.load_orders(&[bound("o1", "T1", "A")]);
    rig.run(40);
    rig.read_parcel(1, &["T1", "T2"]);
    rig.run(400);
    rig.read_parcel(2, &["T3"]);
    rig.run(400);
    rig.read_parcel(3, &["T1"]);
    // Only the third has nothing on it that an order to come could claim.
    assert_eq!(rig.decisions().len(), 1);
    rig.line.load_orders(&[bound("o2", "T2", "B"), bound("o3", "T3", "B")]);
    rig.event(Event::OrdersLoaded(3));
    let to: Vec<Target> = rig.decisions().into_iter().map(|(to, _)| to).collect();
    assert_eq!(to[1..], [Target::Exception(EXCEPTION, Reason::MultiRead), Target::Chute(ChuteNo(3))]);
}

#[test]
fn without_the_orders_a_parcel_that_shows_a_code_ends_as_restart_and_not_as_no_read() {
    let mut rig = Rig::new(false);
    rig.start();
    rig.attach(7);
    rig.run(40);
    rig.read_parcel(1, &["T1"]);
    rig.run(6000);
    assert_eq!(sent_to(&rig), Target::Exception(EXCEPTION, Reason::Restart));
}

#[test]
fn a_chute_that_closes_is_no_longer_an_alternate() {
    let mut rig = Rig::new(false);
    rig.order("o1", CODE, "A");
    rig.read_parcel(1, &[CODE]);
    assert_eq!(rig.last_slot().alternate, 2);
    ask(&mut rig, Asked::ChuteLock(ChuteNo(2)));
    assert_eq!((rig.last_slot().chute, rig.last_slot().alternate), (1, 0));
    assert_eq!(rig.line.status(rig.now).chutes[1].reserved, 0);
}

#[test]
fn a_chute_that_fills_looks_for_its_parcels_where_the_belt_is_now() {
    let mut rig = Rig::new(false);
    rig.order("o1", CODE, "A");
    rig.event(Event::ChuteBits { full: vec![1 << 1], disabled: vec![0] });
    rig.read_parcel(1, &[CODE]);
    assert_eq!(sent_to(&rig), Target::Chute(ChuteNo(2)));
    rig.run(5200);
    // It is past chute 1 by now, although nothing has been said of the belt since.
    rig.event(Event::ChuteBits { full: vec![1 << 2], disabled: vec![0] });
    assert_eq!(sent_to(&rig), Target::Exception(EXCEPTION, Reason::ChutesFull));
}

#[test]
fn a_refusal_of_the_plc_does_not_close_a_chute_for_ever() {
    let mut rig = Rig::new(false);
    rig.order("o1", CODE, "B");
    rig.read_parcel(1, &[CODE]);
    let seq = rig.newest_command();
    rig.plc(PlcEventKind::CommandResult { chute: 3, result: CommandResult::ChuteFull }, 1, seq, 0, 0);
    assert_eq!(sent_to(&rig), Target::Exception(EXCEPTION, Reason::ChutesFull));
    // Its full sensor was covered for a moment between two readings of the bitmaps.
    rig.run(8000);
    rig.order("o2", OTHER, "B");
    rig.read_parcel(2, &[OTHER]);
    assert_eq!(sent_to(&rig), Target::Chute(ChuteNo(3)));
}

#[test]
fn a_lost_parcel_that_turns_up_in_a_chute_takes_a_place_there_once() {
    let mut rig = Rig::new(false);
    rig.order("o1", CODE, "A");
    rig.read_parcel(1, &[CODE]);
    rig.run(30_000);
    assert_eq!(rig.ends(), [Outcome::Lost]);
    rig.discharge(1, 1, Discharge::Confirmed);
    assert_eq!(rig.line.status(rig.now).chutes[0].filled, 1);
    rig.discharge(1, 1, Discharge::Confirmed);
    rig.discharge(77, 1, Discharge::Confirmed);
    assert_eq!(rig.line.status(rig.now).chutes[0].filled, 2);
}

#[test]
fn a_parcel_on_its_next_lap_keeps_its_gap_too() {
    let mut rig = Rig::new(true);
    for (track, code) in [(1, "AA1"), (2, "AA2"), (3, "AA3")] {
        rig.order(&format!("o{track}"), code, "B");
        rig.read_parcel(track, &[code]);
        rig.run(400);
    }
    assert_eq!(sent_to(&rig), Target::Recirculate(Reason::ChutesFull));
    rig.run(20_000);
    rig.discharge(1, 3, Discharge::Confirmed);
    rig.discharge(2, 3, Discharge::Confirmed);
    rig.plc(PlcEventKind::ChuteChanged { chute: 3 }, 0, 0, 0, 0);
    rig.plc(PlcEventKind::EyePassed { eye: 0 }, 3, 0, 0, 0);
    // 300 mm of it, 40 mm of belt, then the next front.
    rig.run(640);
    rig.induct(4, 300);
    rig.run(2000);
    let gap = Target::Exception(EXCEPTION, Reason::Gap);
    let last: Vec<Target> = rig.decisions().iter().rev().take(2).map(|(to, _)| *to).collect();
    assert_eq!(last, [gap, gap]);
}

#[test]
fn one_label_on_two_parcels_sorts_neither() {
    let mut rig = Rig::new(false);
    rig.order("o1", CODE, "A");
    rig.read_parcel(1, &[CODE]);
    rig.run(400);
    rig.read_parcel(2, &[CODE]);
    let ambiguous = Target::Exception(EXCEPTION, Reason::AmbiguousCode);
    let last: Vec<Target> = rig.decisions().iter().skip(1).map(|(to, _)| *to).collect();
    assert_eq!(last, [ambiguous, ambiguous]);
}

#[test]
fn revisions_during_an_outage_leave_one_command_a_parcel() {
    let mut rig = Rig::new(false);
    let order = rig.order("o1", CODE, "A");
    rig.read_parcel(1, &[CODE]);
    rig.event(Event::PlcDetached);
    for revision in 2..200 {
        let destination = if revision % 2 == 0 { "B" } else { "A" };
        rig.push(Order { revision, destination: destination.to_owned(), ..order.clone() });
    }
    rig.commands.clear();
    rig.attach(7);
    let given = diverts(&rig);
    assert_eq!(given.iter().map(|slot| slot.chute).collect::<Vec<_>>(), [1]);
    rig.discharge(1, 1, Discharge::Confirmed);
    rig.event(Event::PlcDetached);
    rig.commands.clear();
    rig.attach(7);
    assert_eq!(diverts(&rig), [], "the parcel is gone");
}

#[test]
fn a_counter_that_ran_past_half_its_range_while_away_has_not_gone_back() {
    let mut rig = Rig::new(false);
    rig.read_parcel(1, &[CODE]);
    rig.event(Event::PlcDetached);
    rig.now = rig.now.plus_ms(100_000_000);
    rig.pulses = rig.pulses.wrapping_add(3_000_000_000);
    rig.attach(7);
    rig.run(40);
    assert_eq!(rig.ends(), [Outcome::Lost]);
    rig.order("o2", OTHER, "A");
    rig.read_parcel(2, &[OTHER]);
    assert_eq!(sent_to(&rig), Target::Chute(ChuteNo(1)));
}

#[test]
fn a_belt_that_ran_back_a_little_while_away_is_where_it_is() {
    let mut rig = Rig::new(false);
    rig.order("o1", CODE, "A");
    rig.read_parcel(1, &[CODE]);
    rig.event(Event::PlcDetached);
    rig.pulses = rig.pulses.wrapping_sub(200);
    rig.attach(7);
    rig.run(400);
    assert_eq!(rig.line.sums(), (1, 0, 1));
    assert_eq!(rig.ends(), []);
}

#[test]
fn a_plc_that_stands_when_it_comes_back_is_not_started_by_an_old_request() {
    let mut rig = Rig::new(false);
    ask(&mut rig, Asked::LineStart);
    rig.event(Event::PlcDetached);
    rig.running = false;
    rig.attach(8);
    let run = rig.commands.iter().rev().find_map(|command| match command {
        Command::Request(request) => Some(request.run),
        Command::Divert(_) | Command::Resync => None,
    });
    assert_eq!(run, Some(false));
}

#[test]
fn a_plc_that_uses_an_epoch_again_has_its_parcels_taken_in() {
    let mut rig = Rig::new(false);
    rig.induct(1, 300);
    rig.discharge(1, EXCEPTION.0, Discharge::NoCommand);
    rig.attach(8);
    rig.attach(7);
    rig.induct(1, 300);
    assert_eq!(rig.line.sums(), (2, 1, 1));
}

#[test]
fn an_order_refused_once_stays_refused_when_the_record_is_taken_again() {
    let mut rig = Rig::new(false);
    let holder = bound("o1", CODE, "A");
    rig.line.load_orders(std::slice::from_ref(&holder));
    let snapshot = rig.line.snapshot().expect("the state encodes");
    let from = rig.entries.len();
    rig.push(bound("o9", CODE, "B"));
    let mut again = Line::from_snapshot(site(false), &snapshot).expect("the snapshot is taken up");
    let differences = again.take_again(&rig.entries[from..]);
    assert_eq!((differences.count, differences.first), (0, None));
    again.load_orders(&[holder]);
    rig.line = again;
    rig.run(40);
    rig.read_parcel(1, &[CODE]);
    assert_eq!(sent_to(&rig), Target::Chute(ChuteNo(1)));
}

#[test]
fn frames_without_a_parcel_do_not_outlive_a_start() {
    let mut rig = Rig::new(false);
    rig.run(400);
    rig.hear(0, &["STRAY"]);
    rig.run(40);
    rig.start();
    let untied = |fact: &Fact| matches!(fact, Fact::Untied { why: Untied::NoParcel, .. });
    assert!(rig.facts.iter().any(untied), "the readers of another configuration have other numbers");
}

#[test]
fn a_parcel_in_a_chute_of_its_destination_is_sorted_although_a_later_command_came_too_late() {
    let mut rig = Rig::new(false);
    rig.order("o1", CODE, "A");
    rig.read_parcel(1, &[CODE]);
    ask(&mut rig, Asked::ChuteLock(ChuteNo(1)));
    let seq = rig.newest_command();
    rig.plc(PlcEventKind::CommandResult { chute: 2, result: CommandResult::TooLate }, 1, seq, 0, 0);
    rig.discharge(1, 1, Discharge::Confirmed);
    assert_eq!(rig.ends(), [Outcome::Sorted { chute: ChuteNo(1) }]);
    assert_eq!(rig.line.status(rig.now).alarms, []);
}

#[test]
fn a_cancelled_parcel_in_a_chute_is_an_alarm() {
    let mut rig = Rig::new(false);
    let order = rig.order("o1", CODE, "A");
    rig.read_parcel(1, &[CODE]);
    rig.push(Order { revision: 2, cancelled: true, ..order });
    let seq = rig.newest_command();
    rig.plc(PlcEventKind::CommandResult { chute: 9, result: CommandResult::TooLate }, 1, seq, 0, 0);
    rig.discharge(1, 1, Discharge::Confirmed);
    assert_eq!(rig.ends(), [Outcome::Exception { reason: Reason::DivertFailed, chute: Some(ChuteNo(1)) }]);
    assert!(rig.line.status(rig.now).alarms.iter().any(|alarm| alarm.id == "wrong-chute-1"));
}

#[test]
fn a_faulted_chute_waits_for_a_person() {
    let mut rig = Rig::new(false);
    for (track, code) in [(1, "AA1"), (2, "AA2")] {
        rig.order(&format!("o{track}"), code, "B");
        rig.read_parcel(track, &[code]);
        rig.run(400);
    }
    for _ in 0..2 {
        rig.plc(PlcEventKind::DivertFailed { chute: 3 }, 1, 0, 0, 0);
    }
    rig.discharge(2, 3, Discharge::Confirmed);
    assert_eq!(rig.line.status(rig.now).chutes[2].state, "faulted");
    ask(&mut rig, Asked::ChuteUnlock(ChuteNo(3)));
    assert_eq!(rig.line.status(rig.now).chutes[2].state, "near_full");
}

#[test]
fn a_parcel_whose_divert_failed_is_not_sent_anywhere_any_more() {
    let mut rig = Rig::new(false);
    rig.order("o1", CODE, "A");
    rig.read_parcel(1, &[CODE]);
    let before = diverts(&rig).len();
    for _ in 0..2 {
        rig.plc(PlcEventKind::DivertFailed { chute: 1 }, 1, 0, 0, 0);
    }
    assert_eq!(diverts(&rig).len(), before);
    rig.discharge(1, EXCEPTION.0, Discharge::NoCommand);
    assert_eq!(rig.ends(), [exception(Reason::DivertFailed)]);
}

#[test]
fn a_command_that_stands_in_the_plc_before_its_parcel_is_known_is_taken_over_with_it() {
    let mut rig = Rig::new(false);
    rig.run(2000);
    let standing = CommandSlot { seq: 1, track: 5, chute: 3, ..CommandSlot::default() };
    let encoder = EncoderPoll { at: rig.now, pulses: rig.pulses, speed_mm_s: 2000, round_trip_us: 200 };
    rig.event(Event::PlcDetached);
    rig.event(Event::PlcAttached(PlcAttached {
        epoch: 7,
        resync: 0,
        inducted: 1,
        acknowledged: 0,
        head: rig.seq + 1,
        taken: 1,
        table: vec![standing],
        flags: PlcFlags { running: true, ..PlcFlags::default() },
        encoder,
    }));
    rig.plc(PlcEventKind::Inducted, 5, 0, 300, 1700);
    assert_eq!(rig.decisions(), [(Target::Chute(ChuteNo(3)), None)]);
    rig.discharge(5, 3, Discharge::Confirmed);
    assert_eq!(rig.ends(), [Outcome::Sorted { chute: ChuteNo(3) }]);
}

#[test]
fn a_plc_that_only_ever_inducts_fills_no_memory() {
    let mut rig = Rig::new(false);
    let most = u32::try_from(super::state::PASSES_MOST).expect("a small number");
    for track in 1..=most + 5 {
        rig.induct(track, 100);
    }
    assert_eq!(rig.line.sums(), (u64::from(most) + 5, 5, u64::from(most)));
}

#[test]
fn chutes_nobody_knows_raise_one_alarm_and_not_one_each() {
    let mut rig = Rig::new(false);
    rig.order("o1", CODE, "A");
    for track in 1..4 {
        rig.read_parcel(track, &[]);
        rig.discharge(track, 100 + u16::try_from(track).expect("small"), Discharge::Confirmed);
    }
    assert_eq!(rig.line.status(rig.now).alarms.len(), 1);
}

#[test]
fn a_parcel_on_its_way_round_is_not_lost_because_it_was_called_back_too_late() {
    let mut rig = Rig::new(true);
    for (track, code) in [(1, "AA1"), (2, "AA2"), (3, "AA3")] {
        rig.order(&format!("o{track}"), code, "B");
        rig.read_parcel(track, &[code]);
        rig.run(400);
    }
    assert_eq!(sent_to(&rig), Target::Recirculate(Reason::ChutesFull));
    rig.run(17_000);
    rig.push(Order { revision: 2, cancelled: true, ..bound("o3", "AA3", "B") });
    let seq = rig.newest_command();
    rig.plc(PlcEventKind::CommandResult { chute: 9, result: CommandResult::TooLate }, 3, seq, 0, 0);
    rig.run(11_600);
    rig.plc(PlcEventKind::EyePassed { eye: 0 }, 3, 0, 0, 0);
    rig.run(2000);
    rig.discharge(3, EXCEPTION.0, Discharge::Confirmed);
    assert_eq!(rig.ends().last(), Some(&exception(Reason::OrderCancelled)));
}

#[test]
fn an_order_too_late_for_every_chute_leaves_an_unknown_parcel_its_true_reason() {
    let mut rig = Rig::new(false);
    rig.read_parcel(1, &[CODE]);
    rig.run(4_400);
    let unknown = Target::Exception(EXCEPTION, Reason::UnknownParcel);
    assert_eq!(rig.decisions(), [(unknown, None)], "it is past the first chute of all");
    let [_, _, longest_ms] = rig.line.status(rig.now).decision_ms;
    // Chute 2 of destination A still lies ahead.
    rig.order("o1", CODE, "A");
    assert_eq!(sent_to(&rig), Target::Chute(ChuteNo(2)));
    rig.run(3_000);
    rig.discharge(1, 2, Discharge::Confirmed);

    rig.read_parcel(2, &[OTHER]);
    rig.run(8_400);
    let decided = rig.decisions().len();
    assert_eq!(sent_to(&rig), unknown);
    rig.order("o2", OTHER, "A");
    rig.push(Order { revision: 2, ..bound("o2", OTHER, "A") });
    assert_eq!(rig.decisions().len(), decided, "both chutes of A are behind it");
    assert_eq!(counted(&rig, "order_too_late"), 2);
    rig.run(9_600);
    rig.discharge(2, EXCEPTION.0, Discharge::Confirmed);
    assert_eq!(rig.ends().last(), Some(&exception(Reason::UnknownParcel)));
    let [_, _, latest_ms] = rig.line.status(rig.now).decision_ms;
    assert!(
        (latest_ms - longest_ms).abs() < 50.0,
        "{latest_ms} ms: an order that came later is no slow decision"
    );
}

#[test]
fn a_hold_released_behind_the_last_chute_stays_the_reason() {
    let mut rig = Rig::new(false);
    rig.push(Order { hold: Some(Hold::CodHold), ..bound("o1", CODE, "B") });
    rig.read_parcel(1, &[CODE]);
    rig.run(9_000);
    let held = Target::Exception(EXCEPTION, Reason::CodHold);
    assert_eq!(rig.decisions(), [(held, None)]);
    rig.push(Order { revision: 2, ..bound("o1", CODE, "B") });
    assert_eq!(rig.decisions(), [(held, None)]);
}
