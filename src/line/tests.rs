//! Stories of single parcels, told to the front as the field would.

use std::sync::Arc;

use super::actions::Actions;
use super::event::{
    Ask, Asked, Command, EncoderPoll, Event, Heard, Hold, Order, OrderBatch, PlcAttached, Started,
};
use super::outcome::{Outcome, Reason};
use super::record::{Body, Dropped, Entry, Fact, Target};
use super::*;
use crate::identify::{CarrierRules, Reading};
use crate::site::{
    Belt, Chute, PanelSettings, PlcDevice, Reader, ReaderKind, Site, SortPlan, StoreSettings, UplinkSettings,
};
use crate::wire::plc::{
    CommandResult, CommandSlot, Discharge, PlcEvent, PlcEventKind, PlcFlags, RegisterMap, next_seq,
};

pub(super) const EXCEPTION: ChuteNo = ChuteNo(9);

/// A belt of 20 m at 2 m/s with one pulse a millimetre, two scanners at 1 m, chutes 1–3 at 6, 8 and 10 m,
/// the exception chute at 20 m. Destination A goes to 1 and 2, B to 3.
pub(super) fn site(recirculation: bool) -> Arc<Site> {
    let chute = |number: u16, position_mm: u32| Chute {
        number: ChuteNo(number),
        name: format!("C{number}"),
        position_mm,
        decision_mm: position_mm - 500,
        capacity: 2,
    };
    let reader = |name: &str| Reader {
        name: name.to_owned(),
        kind: ReaderKind::Barcode,
        field_start_mm: 1000,
        field_end_mm: 1050,
        delay_ms: (5, 25),
    };
    let plan = [("A", vec![ChuteNo(1), ChuteNo(2)]), ("B", vec![ChuteNo(3)])];
    Arc::new(Site {
        name: "test".to_owned(),
        line_name: "l1".to_owned(),
        domain: "sort.example.com".to_owned(),
        time_zone: "Asia/Shanghai".to_owned(),
        belt: Belt {
            speed_mm_s: 2000,
            pulses_per_metre: 1000,
            length_mm: 20_000,
            recirculation_mm: recirculation.then_some(10_000),
            recirculation_limit: 1,
            longest_parcel_mm: 800,
            least_gap_mm: 200,
            window_mm: 50,
            window_permille: 15,
            reserve_ms: 100,
            confirm_failures: 2,
            near_full_percent: 85,
        },
        chutes: vec![chute(1, 6000), chute(2, 8000), chute(3, 10_000), chute(9, 20_000)],
        exception_chute: EXCEPTION,
        readers: vec![reader("top"), reader("side")],
        plc: PlcDevice {
            name: "plc".to_owned(),
            address: "127.0.0.1:502".to_owned(),
            unit: 1,
            poll_ms: 20,
            timeout_ms: 500,
            heartbeat_ms: 500,
            map: RegisterMap::default(),
        },
        scanners: Vec::new(),
        gates: Vec::new(),
        cameras: Vec::new(),
        carriers: CarrierRules::default(),
        carrier_table: crate::site::Carriers::default(),
        plan: SortPlan::by_destination(
            "0123456789abcdef",
            plan.into_iter().map(|(name, chutes)| (name.to_owned(), chutes)).collect(),
        ),
        uplink: UplinkSettings {
            brokers: Vec::new(),
            tls: None,
            client_id: "test".to_owned(),
            login: None,
            window: 10,
            backlog_per_s: 5_000,
            silence_ms: 10_000,
            packet_limit: 1 << 20,
            health_ms: 10_000,
            echo_check: false,
        },
        store: StoreSettings {
            directory: "store".into(),
            cache_mib: 8,
            keep_days: 1,
            signing_key: None,
            space: Default::default(),
        },
        panel: PanelSettings { socket: "socket".into(), http: None },
    })
}

/// A line with a field around it that keeps time, belt and ring sequence.
pub(super) struct Rig {
    pub(super) line: Line,
    pub(super) now: Tick,
    pub(super) epoch: u16,
    pub(super) running: bool,
    /// Register 102.
    pub(super) taken: u16,
    pub(super) pulses: u32,
    pub(super) seq: u16,
    pub(super) facts: Vec<Fact>,
    pub(super) entries: Vec<Entry>,
    pub(super) commands: Vec<Command>,
}

impl Rig {
    pub(super) fn new(recirculation: bool) -> Rig {
        let mut rig = Rig {
            line: Line::new(site(recirculation)),
            now: Tick(1_000_000),
            running: true,
            taken: 0,
            pulses: 100_000,
            seq: 0,
            epoch: 7,
            facts: Vec::new(),
            entries: Vec::new(),
            commands: Vec::new(),
        };
        rig.start();
        rig.event(Event::OrdersLoaded(0));
        rig.attach(7);
        rig.poll();
        rig
    }

    /// A start of the process.
    pub(super) fn start(&mut self) {
        self.event(Event::Started(Started {
            boot: 1,
            version: "test".to_owned(),
            site: "test".to_owned(),
            line: "l1".to_owned(),
            domain: "sort.example.com".to_owned(),
            time_zone: "Asia/Shanghai".to_owned(),
            plan: "0123456789abcdef".to_owned(),
            readers: vec!["top".to_owned(), "side".to_owned()],
            chutes: Vec::new(),
            wall_us: 0,
        }));
    }

    /// The same with so many records in the ring that are still to be read.
    pub(super) fn attach_behind(&mut self, backlog: u32) {
        let (acknowledged, head) = (self.seq, (0..backlog).fold(self.seq, |seq, _| next_seq(seq)));
        self.attach_at(self.epoch, acknowledged, head);
    }

    /// The PLC's connection stands; another epoch is a PLC that has restarted.
    pub(super) fn attach(&mut self, epoch: u16) {
        if epoch != self.epoch {
            self.epoch = epoch;
            self.seq = 0;
        }
        self.attach_at(epoch, self.seq, self.seq);
    }

    fn attach_at(&mut self, epoch: u16, acknowledged: u16, head: u16) {
        let encoder = EncoderPoll { at: self.now, pulses: self.pulses, speed_mm_s: 2000, round_trip_us: 200 };
        self.event(Event::PlcAttached(PlcAttached {
            epoch,
            resync: 0,
            inducted: 0,
            acknowledged,
            head,
            taken: self.taken,
            table: Vec::new(),
            flags: PlcFlags { running: self.running, ..PlcFlags::default() },
            encoder,
        }));
    }

    pub(super) fn event(&mut self, event: Event) {
        let actions = self.line.step(self.now, event);
        self.keep(actions);
    }

    fn keep(&mut self, actions: Actions) {
        let (inducted, ended, in_flight) = self.line.sums();
        assert_eq!(inducted, ended + in_flight);
        self.commands.extend(actions.commands);
        for entry in actions.entries {
            if let Body::Fact(fact) = &entry.body {
                self.facts.push(fact.clone());
            }
            self.entries.push(entry);
        }
    }

    /// The sequence of the last command given, 0 before the first.
    pub(super) fn newest_command(&self) -> u16 {
        self.commands
            .iter()
            .rev()
            .find_map(|command| match command {
                Command::Divert(slot) => Some(slot.seq),
                Command::Request(_) | Command::Resync => None,
            })
            .unwrap_or(0)
    }

    /// Ring records that nobody reads.
    pub(super) fn skip(&mut self, missed: u32) {
        for _ in 0..missed {
            self.seq = next_seq(self.seq);
        }
    }

    pub(super) fn poll(&mut self) {
        let poll = EncoderPoll { at: self.now, pulses: self.pulses, speed_mm_s: 2000, round_trip_us: 200 };
        self.event(Event::Encoder(poll));
    }

    /// Runs the belt on by `mm` with a poll every 20 ms (40 mm).
    pub(super) fn run(&mut self, mm: u32) {
        for _ in 0..mm / 40 {
            self.now = self.now.plus_ms(20);
            self.pulses = self.pulses.wrapping_add(40);
            self.poll();
        }
    }

    pub(super) fn plc(
        &mut self,
        kind: PlcEventKind,
        track: u32,
        carrier: u16,
        length_mm: u16,
        behind_mm: u32,
    ) {
        self.seq = next_seq(self.seq);
        let encoder = self.pulses.wrapping_sub(behind_mm);
        self.event(Event::Plc(PlcEvent { seq: self.seq, kind, track, encoder, carrier, length_mm }));
    }

    /// The parcel has just cleared the eye: its front is its length past it.
    pub(super) fn induct(&mut self, track: u32, length_mm: u16) {
        self.plc(PlcEventKind::Inducted, track, 0, length_mm, u32::from(length_mm));
    }

    pub(super) fn hear(&mut self, reader: u16, codes: &[&str]) {
        self.hear_late(reader, codes, 0);
    }

    /// Hears a frame that may have waited for so long.
    pub(super) fn hear_late(&mut self, reader: u16, codes: &[&str], by_ms: u64) {
        let readings =
            codes.iter().map(|code| Reading::Barcode { aim: None, text: (*code).to_owned() }).collect();
        let (at, since) = (self.now, Tick(self.now.0 - by_ms * 1000));
        self.event(Event::Heard(Heard { reader: ReaderId(reader), at, since, readings, rssi_dbm: None }));
    }

    pub(super) fn order(&mut self, number: &str, code: &str, destination: &str) -> Order {
        let order = Order {
            order: number.to_owned(),
            revision: 1,
            codes: vec![code.to_owned()],
            destination: destination.to_owned(),
            carrier: None,
            cancelled: false,
            hold: None,
            details: None,
        };
        self.push(order.clone());
        order
    }

    pub(super) fn push(&mut self, order: Order) {
        let batch = OrderBatch { message: "m".to_owned(), last: true, orders: vec![order] };
        self.event(Event::Orders(batch));
    }

    /// Inducts a parcel of 300 mm and lets both scanners read these codes in the field.
    pub(super) fn read_parcel(&mut self, track: u32, codes: &[&str]) {
        self.induct(track, 300);
        self.run(800);
        self.hear(0, codes);
        self.hear(1, codes);
        self.run(40);
    }

    pub(super) fn decisions(&self) -> Vec<(Target, Option<ChuteNo>)> {
        self.facts
            .iter()
            .filter_map(|fact| match fact {
                Fact::Decided(decided) => Some((decided.to, decided.alternate)),
                _ => None,
            })
            .collect()
    }

    pub(super) fn ends(&self) -> Vec<Outcome> {
        self.facts
            .iter()
            .filter_map(|fact| match fact {
                Fact::Ended { outcome, .. } => Some(*outcome),
                _ => None,
            })
            .collect()
    }

    pub(super) fn last_slot(&self) -> CommandSlot {
        self.commands
            .iter()
            .rev()
            .find_map(|command| match command {
                Command::Divert(slot) => Some(*slot),
                Command::Request(_) | Command::Resync => None,
            })
            .expect("a divert command was given")
    }

    pub(super) fn discharge(&mut self, track: u32, chute: u16, how: Discharge) {
        self.plc(PlcEventKind::Discharged { chute, how }, track, 0, 0, 0);
    }
}

pub(super) const CODE: &str = "00340123450000000017";
pub(super) const OTHER: &str = "00340123450000000024";

pub(super) fn exception(reason: Reason) -> Outcome {
    Outcome::Exception { reason, chute: Some(EXCEPTION) }
}

#[test]
fn a_parcel_is_read_decided_commanded_and_confirmed() {
    let mut rig = Rig::new(false);
    rig.order("o1", CODE, "A");
    rig.read_parcel(1, &[CODE]);
    assert_eq!(rig.decisions(), [(Target::Chute(ChuteNo(1)), Some(ChuteNo(2)))]);
    let slot = rig.last_slot();
    assert_eq!((slot.track, slot.chute, slot.alternate), (1, 1, 2));
    rig.plc(PlcEventKind::CommandResult { chute: 1, result: CommandResult::Taken }, 1, slot.seq, 0, 0);
    rig.discharge(1, 1, Discharge::Confirmed);
    assert_eq!(rig.ends(), [Outcome::Sorted { chute: ChuteNo(1) }]);
    let slack = rig.facts.iter().find_map(|fact| match fact {
        Fact::Acknowledged { slack_ms, .. } => Some(*slack_ms),
        _ => None,
    });
    // Front 1,140 mm past the eye, decision point at 5,500 mm, 2 m/s.
    assert_eq!(slack, Some((5500 - 1140) / 2));
    let status = rig.line.status(rig.now);
    assert_eq!((status.chutes[0].filled, status.chutes[0].reserved, status.chutes[1].reserved), (1, 0, 0));
}

#[test]
fn one_wrong_encoder_value_neither_loses_the_parcels_nor_places_one() {
    let mut rig = Rig::new(false);
    rig.order("o1", CODE, "A");
    rig.read_parcel(1, &[CODE]);
    let half_a_million_metres_ahead = 0_u32.wrapping_sub(500_000_000);
    rig.plc(PlcEventKind::Unexpected { eye: 1 }, 0, 0, 0, half_a_million_metres_ahead);
    rig.plc(PlcEventKind::Inducted, 2, 0, 300, half_a_million_metres_ahead);
    let pulses = rig.pulses.wrapping_sub(half_a_million_metres_ahead);
    let at = rig.now.plus_ms(10);
    rig.event(Event::Encoder(EncoderPoll { at, pulses, speed_mm_s: 2000, round_trip_us: 200 }));
    rig.run(2000);
    assert_eq!(rig.ends(), []);
    rig.discharge(1, 1, Discharge::Confirmed);
    rig.discharge(2, EXCEPTION.0, Discharge::Confirmed);
    assert_eq!(rig.ends(), [Outcome::Sorted { chute: ChuteNo(1) }, exception(Reason::TrackingLost)]);
    assert_eq!(rig.line.status(rig.now).counters["encoder_ahead"], 3);
    // A belt that ran on while nothing asked for it is no wrong value.
    rig.run(100_000);
    rig.read_parcel(3, &[CODE]);
    assert_eq!(rig.decisions().last(), Some(&(Target::Chute(ChuteNo(2)), None)));
    assert_eq!(rig.line.status(rig.now).counters["encoder_ahead"], 3);
}

#[test]
fn nothing_read_is_a_no_read_as_soon_as_both_scanners_have_said_so() {
    let mut rig = Rig::new(false);
    rig.read_parcel(1, &[]);
    assert_eq!(rig.decisions(), [(Target::Exception(EXCEPTION, Reason::NoRead), None)]);
    rig.discharge(1, EXCEPTION.0, Discharge::Confirmed);
    assert_eq!(rig.ends(), [exception(Reason::NoRead)]);
}

#[test]
fn a_silent_scanner_is_waited_for_until_the_field_is_passed() {
    let mut rig = Rig::new(false);
    rig.order("o1", CODE, "A");
    rig.induct(1, 300);
    rig.run(800);
    rig.hear(0, &[CODE]);
    rig.run(200);
    assert_eq!(rig.decisions(), []);
    // Field end 1,050 + 25 ms at 2 m/s + 300 mm of parcel = 1,400 mm.
    rig.run(160);
    assert_eq!(rig.decisions(), [(Target::Chute(ChuteNo(1)), Some(ChuteNo(2)))]);
}

#[test]
fn an_order_that_comes_on_the_belt_still_counts_and_one_that_does_not_is_unknown() {
    let mut rig = Rig::new(false);
    rig.read_parcel(1, &[CODE]);
    assert_eq!(rig.decisions(), []);
    rig.order("o1", CODE, "B");
    assert_eq!(rig.decisions(), [(Target::Chute(ChuteNo(3)), None)]);
    rig.read_parcel(2, &[OTHER]);
    rig.run(5000);
    assert_eq!(rig.decisions()[1], (Target::Exception(EXCEPTION, Reason::UnknownParcel), None));
}

#[test]
fn codes_of_two_orders_are_a_multi_read_and_never_guessed() {
    let mut rig = Rig::new(false);
    rig.order("o1", CODE, "A");
    rig.order("o2", OTHER, "B");
    rig.read_parcel(1, &[CODE, OTHER]);
    assert_eq!(rig.decisions(), [(Target::Exception(EXCEPTION, Reason::MultiRead), None)]);
}

#[test]
fn a_read_with_two_parcels_in_the_field_is_nobodys() {
    let mut rig = Rig::new(false);
    rig.order("o1", CODE, "A");
    rig.induct(1, 300);
    rig.run(520);
    rig.induct(2, 300);
    rig.run(200);
    // Front parcel 1,020 … 720 mm, the one behind 500 … 200 mm: only the first is in the field.
    rig.hear(0, &[CODE]);
    rig.run(40);
    assert!(rig.facts.iter().any(|fact| matches!(fact, Fact::Tied { pass, .. } if pass.track == 1)));
    rig.run(320);
    // Front parcel 1,380 … 1,080 mm, out of the field; in the read's interval of 50 mm it may have been in.
    rig.hear(1, &[OTHER]);
    rig.run(40);
    assert!(!rig.facts.iter().any(|fact| matches!(fact, Fact::Tied { pass, .. } if pass.track == 2)));
}

#[test]
fn parcels_too_close_both_go_to_the_exception_chute() {
    let mut rig = Rig::new(false);
    rig.order("o1", CODE, "A");
    rig.induct(1, 300);
    rig.run(400);
    rig.induct(2, 300);
    rig.run(2000);
    let gap = (Target::Exception(EXCEPTION, Reason::Gap), None);
    assert_eq!(rig.decisions(), [gap, gap]);
}

#[test]
fn a_parcel_longer_than_any_parcel_is_two_of_them() {
    let mut rig = Rig::new(false);
    rig.induct(1, 900);
    rig.run(2400);
    assert_eq!(rig.decisions(), [(Target::Exception(EXCEPTION, Reason::TooLong), None)]);
}

#[test]
fn parcels_on_their_way_count_as_if_they_were_in_the_chute() {
    let mut rig = Rig::new(false);
    for (track, code) in [(1, "AA1"), (2, "AA2"), (3, "AA3")] {
        rig.order(&format!("o{track}"), code, "B");
        rig.read_parcel(track, &[code]);
        rig.run(400);
    }
    // Chute 3 holds two; nothing has arrived yet, and the third finds no room.
    assert_eq!(rig.decisions()[2], (Target::Exception(EXCEPTION, Reason::ChutesFull), None));
    let decided = rig.facts.iter().rev().find_map(|fact| match fact {
        Fact::Decided(decided) => Some(decided.candidates[0].dropped),
        _ => None,
    });
    assert_eq!(decided, Some(Some(Dropped::NoRoom)));
}

#[test]
fn a_full_line_recirculates_to_the_limit() {
    let mut rig = Rig::new(true);
    for (track, code) in [(1, "AA1"), (2, "AA2"), (3, "AA3")] {
        rig.order(&format!("o{track}"), code, "B");
        rig.read_parcel(track, &[code]);
        rig.run(400);
    }
    assert_eq!(rig.decisions()[2].0, Target::Recirculate(Reason::ChutesFull));
    assert!(rig.last_slot().recirculate);
    rig.plc(PlcEventKind::EyePassed { eye: 0 }, 3, 0, 0, 0);
    assert_eq!(rig.decisions()[3].0, Target::Exception(EXCEPTION, Reason::RecirculationLimit));
}

#[test]
fn a_chute_locked_by_hand_gets_nothing_more_and_gives_back_what_still_can_turn() {
    let mut rig = Rig::new(false);
    rig.order("o1", CODE, "A");
    rig.read_parcel(1, &[CODE]);
    rig.event(Event::Ask(Ask { by: "wang".to_owned(), what: Asked::ChuteLock(ChuteNo(1)) }));
    assert_eq!(rig.decisions()[1], (Target::Chute(ChuteNo(2)), None));
    let status = rig.line.status(rig.now);
    assert_eq!((status.chutes[0].state.as_str(), status.chutes[0].reserved), ("locked", 0));
    assert_eq!(status.chutes[0].set_by.as_deref(), Some("operator:wang"));
}

#[test]
fn a_hold_that_comes_in_time_counts_and_one_that_comes_late_does_not() {
    let mut rig = Rig::new(false);
    let order = rig.order("o1", CODE, "A");
    rig.read_parcel(1, &[CODE]);
    let held = Order { revision: 2, hold: Some(Hold::CodHold), ..order.clone() };
    rig.push(held.clone());
    assert_eq!(rig.decisions()[1].0, Target::Exception(EXCEPTION, Reason::CodHold));
    rig.push(Order { revision: 3, hold: None, ..order.clone() });
    assert_eq!(rig.decisions()[2].0, Target::Chute(ChuteNo(1)));
    rig.run(4400);
    rig.push(Order { revision: 4, ..held });
    assert_eq!(rig.decisions().len(), 3);
}

#[test]
fn what_does_not_arrive_is_lost_and_said_late_is_only_counted() {
    let mut rig = Rig::new(false);
    rig.order("o1", CODE, "A");
    rig.read_parcel(1, &[CODE]);
    rig.run(30_000);
    assert_eq!(rig.ends(), [Outcome::Lost]);
    rig.discharge(1, 1, Discharge::Confirmed);
    assert_eq!(rig.ends().len(), 1);
    assert_eq!(rig.line.status(rig.now).counters["late_event"], 1);
}

#[test]
fn a_plc_that_restarts_ends_every_pass_of_its_old_epoch() {
    let mut rig = Rig::new(false);
    rig.read_parcel(1, &[CODE]);
    rig.seq = 0;
    rig.pulses = 5;
    rig.attach(8);
    assert_eq!(rig.ends(), [Outcome::Exception { reason: Reason::Restart, chute: None }]);
    rig.order("o1", CODE, "A");
    rig.now = rig.now.plus_ms(20);
    rig.poll();
    rig.read_parcel(1, &[CODE]);
    assert_eq!(rig.decisions().last(), Some(&(Target::Chute(ChuteNo(1)), Some(ChuteNo(2)))));
}

#[test]
fn a_pass_never_heard_of_is_taken_in_with_reason_restart() {
    let mut rig = Rig::new(false);
    rig.discharge(77, EXCEPTION.0, Discharge::NoCommand);
    assert_eq!(rig.ends(), [exception(Reason::Restart)]);
}

#[test]
fn ring_events_that_come_again_change_nothing() {
    let mut rig = Rig::new(false);
    rig.induct(1, 300);
    rig.seq -= 1;
    rig.induct(1, 300);
    assert_eq!(rig.line.sums(), (1, 0, 1));
}

#[test]
fn confirm_failures_in_a_row_fault_the_chute() {
    let mut rig = Rig::new(false);
    for track in 1..=2 {
        let code = format!("AA{track}");
        rig.order(&format!("o{track}"), &code, "B");
        rig.read_parcel(track, &[&code]);
        rig.plc(PlcEventKind::DivertFailed { chute: 3 }, track, 0, 0, 0);
        rig.discharge(track, EXCEPTION.0, Discharge::NoCommand);
    }
    assert_eq!(rig.ends(), [exception(Reason::DivertFailed), exception(Reason::DivertFailed)]);
    let status = rig.line.status(rig.now);
    assert_eq!(status.chutes[2].state, "faulted");
    assert!(status.alarms.iter().any(|alarm| alarm.id == "chute-3-faulted"));
}

#[test]
fn an_emergency_stop_waits_for_a_deliberate_start() {
    let mut rig = Rig::new(false);
    rig.event(Event::PlcFlags(PlcFlags { e_stop: true, ..PlcFlags::default() }));
    assert_eq!(rig.line.status(rig.now).state, "aborted");
    rig.event(Event::PlcFlags(PlcFlags::default()));
    assert_eq!(rig.line.status(rig.now).state, "stopped");
    let permitted = |rig: &Rig| {
        rig.commands.iter().rev().find_map(|command| match command {
            Command::Request(request) => Some((request.induction_permitted, request.run)),
            Command::Divert(_) | Command::Resync => None,
        })
    };
    assert_eq!(permitted(&rig), Some((false, false)));
    rig.event(Event::Ask(Ask { by: "wang".to_owned(), what: Asked::LineStart }));
    assert_eq!(permitted(&rig), Some((true, true)));
}

#[test]
fn a_replay_of_the_recorded_inputs_concludes_the_same_facts_and_the_snapshot_goes_on() {
    let mut rig = Rig::new(true);
    rig.order("o1", CODE, "A");
    rig.read_parcel(1, &[CODE]);
    rig.run(400);
    let snapshot = rig.line.snapshot().expect("the state encodes");
    let from = rig.entries.len();
    rig.order("o2", OTHER, "B");
    rig.read_parcel(2, &[OTHER]);
    rig.hear(0, &["STRAY"]);
    rig.run(8000);
    rig.discharge(1, 1, Discharge::Confirmed);
    rig.discharge(2, EXCEPTION.0, Discharge::NoCommand);

    let mut again = Line::from_snapshot(site(true), &snapshot).expect("the snapshot is taken up");
    let differences = again.take_again(&rig.entries[from..]);
    assert_eq!((differences.count, differences.first), (0, None));
    assert!(differences.compared > 5);
    assert_eq!(again.snapshot().expect("encodes"), rig.line.snapshot().expect("encodes"));
}

/// Found by kills: the PLC's induction was recorded, the fact that follows from it was not, and no event ever told of
/// the parcel.
#[test]
fn what_a_kill_cut_off_behind_an_input_is_concluded_again_and_given_out() {
    let mut rig = Rig::new(true);
    rig.order("o1", CODE, "A");
    let snapshot = rig.line.snapshot().expect("the state encodes");
    let from = rig.entries.len();
    rig.read_parcel(1, &[CODE]);
    rig.run(8000);
    rig.discharge(1, 1, Discharge::Confirmed);
    let mut given_out = 0;
    for cut in from + 1..=rig.entries.len() {
        let mut again = Line::from_snapshot(site(true), &snapshot).expect("the snapshot is taken up");
        for entry in &rig.entries[..from] {
            again.load_orders(entry.body.orders());
        }
        let differences = again.take_again(&rig.entries[from..cut]);
        assert_eq!((differences.count, differences.first), (0, None), "cut at {cut}");
        let at = rig.entries[cut - 1].at;
        let behind = rig.entries[cut..].iter();
        let expected: Vec<Entry> = behind
            .take_while(|entry| entry.at == at && matches!(entry.body, Body::Fact(_)))
            .cloned()
            .collect();
        assert_eq!(differences.unrecorded, expected, "cut at {cut}");
        given_out += expected.len();
    }
    assert!(given_out > 3, "every step was one record: nothing could be cut");
}

#[test]
fn commands_not_taken_are_given_again_under_the_same_sequence_and_unknown_ones_are_taken_over() {
    let mut rig = Rig::new(false);
    rig.order("o1", CODE, "A");
    rig.read_parcel(1, &[CODE]);
    rig.order("o2", OTHER, "B");
    rig.read_parcel(2, &[OTHER]);
    let first = rig
        .commands
        .iter()
        .find_map(|command| match command {
            Command::Divert(slot) => Some(*slot),
            Command::Request(_) | Command::Resync => None,
        })
        .expect("a divert was commanded");
    rig.induct(3, 300);
    rig.commands.clear();
    // The PLC has taken the first; the second never reached it, or it stands there with a third that a crash
    // made this state forget.
    let second = CommandSlot { seq: first.seq + 1, track: 2, chute: 3, ..CommandSlot::default() };
    let forgotten = CommandSlot { seq: first.seq + 2, track: 3, chute: 2, ..CommandSlot::default() };
    let encoder = EncoderPoll { at: rig.now, pulses: rig.pulses, speed_mm_s: 2000, round_trip_us: 200 };
    let attach = |rig: &mut Rig, table: Vec<CommandSlot>| {
        rig.commands.clear();
        rig.event(Event::PlcDetached);
        rig.event(Event::PlcAttached(PlcAttached {
            epoch: 7,
            resync: 0,
            inducted: 3,
            acknowledged: 0,
            head: rig.seq,
            taken: first.seq,
            table,
            flags: PlcFlags { running: true, ..PlcFlags::default() },
            encoder,
        }));
        let given = |command: &Command| match command {
            Command::Divert(slot) => Some(slot.seq),
            Command::Request(_) | Command::Resync => None,
        };
        rig.commands.iter().filter_map(given).collect::<Vec<u16>>()
    };
    assert_eq!(attach(&mut rig, vec![first]), [second.seq]);
    assert_eq!(attach(&mut rig, vec![first, second, forgotten]), Vec::<u16>::new());
    assert_eq!(rig.decisions().last(), Some(&(Target::Chute(ChuteNo(2)), None)));
    rig.order("o4", "AA4", "B");
    rig.run(1000);
    rig.read_parcel(4, &["AA4"]);
    assert_eq!(rig.last_slot().seq, forgotten.seq + 1);
}
