//! The world under a dispatcher that knows the truth: what goes wrong then is the world's own doing.

use super::*;
use crate::testsite::testsite;
use parcel::Fault;
use scenario::FaultRates;
use sortd::wire::plc::{CommandResult, Discharge, PlcEventKind, next_seq};
use truth::Judgement;

/// Polls the world like a PC and sends each track where its parcel truly belongs, asking the world itself.
struct Dispatcher {
    world: World,
    t_us: u64,
    poll_us: u64,
    beat: u16,
    read: u16,
    command: u16,
    commanding: bool,
    beating: bool,
    backlog: VecDeque<CommandSlot>,
    events: Vec<sortd::wire::plc::PlcEvent>,
    reads: u64,
    no_reads: u64,
    tags: u64,
    orders: u64,
}

impl Dispatcher {
    fn new(scenario: Scenario, seed: u64) -> Dispatcher {
        let site = testsite();
        let mut world = World::new(&site, scenario, seed);
        world.beat(1);
        world.request(Request { run: true, induction_permitted: true, ..Request::default() });
        Dispatcher {
            world,
            t_us: 0,
            poll_us: 20_000,
            beat: 1,
            read: 0,
            command: 0,
            commanding: true,
            beating: true,
            backlog: VecDeque::new(),
            events: Vec::new(),
            reads: 0,
            no_reads: 0,
            tags: 0,
            orders: 0,
        }
    }

    fn poll(&mut self) {
        self.t_us += self.poll_us;
        self.world.advance_to(self.t_us);
        for happening in self.world.take_happenings() {
            assert!(happening.at_us <= self.t_us);
            match happening.what {
                Sensed::Order(_) => self.orders += 1,
                Sensed::Read { rssi_dbm: Some(_), .. } => self.tags += 1,
                Sensed::Read { readings, .. } if readings.is_empty() => self.no_reads += 1,
                Sensed::Read { .. } => self.reads += 1,
            }
        }
        if self.beating {
            self.beat = self.beat.wrapping_add(1);
            self.world.beat(self.beat);
        }
        for event in self.world.plc().events_after(self.read, 1_024) {
            assert_eq!(event.seq, next_seq(self.read), "the ring has no gap");
            self.read = event.seq;
            let begins = matches!(event.kind, PlcEventKind::Inducted | PlcEventKind::EyePassed { .. });
            if begins && self.commanding {
                self.decide(event.track);
            }
            self.events.push(event);
        }
        self.world.acknowledge(self.read);
        while let Some(slot) = self.backlog.front() {
            if !self.world.plc().slot_free(slot.seq) {
                break;
            }
            let slot = *slot;
            self.backlog.pop_front();
            self.world.command(slot);
        }
        assert!(self.world.truth().adds_up());
    }

    fn decide(&mut self, track: u32) {
        let plc = self.world.plc();
        let Some(state) = plc.tracks().get(&track) else { return };
        let alone = state.parcels.len() == 1;
        let parcel = state.parcels.first().and_then(|(id, _)| self.world.parcel(*id));
        let routes = &self.world.site().plan.routes;
        let exception = self.world.site().exception_chute;
        let chutes = parcel
            .filter(|parcel| alone && parcel.sortable && !parcel.has(Fault::NoRead))
            .and_then(|parcel| routes.get(&parcel.destination));
        let open = |chute: &&sortd::site::ChuteNo| {
            let to = |t: &plc::Track| {
                t.held.is_some_and(|held| held.chute == chute.0)
                    || t.locked.is_some_and(|(c, _)| c == chute.0)
            };
            let reserved = plc.tracks().values().filter(|track| to(track)).count()
                + self.backlog.iter().filter(|slot| slot.chute == chute.0).count();
            let filled = self.world.chutes().get(chute.0).map_or(usize::MAX, |c| usize::from(c.content));
            filled.saturating_add(reserved) < 40
        };
        self.command = next_seq(self.command);
        let mut slot = CommandSlot { seq: self.command, track, ..CommandSlot::default() };
        match chutes {
            None => slot.chute = exception.0,
            Some(chutes) => match chutes.iter().find(open) {
                Some(chute) => slot.chute = chute.0,
                None => slot.recirculate = true,
            },
        }
        self.backlog.push_back(slot);
    }

    fn run_s(&mut self, seconds: u64) {
        let until = self.t_us + seconds * 1_000_000;
        while self.t_us < until {
            self.poll();
        }
    }

    fn drain(&mut self) {
        self.world.set_feeding(false);
        for _ in 0..400 {
            self.run_s(1);
            let truth = self.world.truth();
            if truth.on_line == 0 && truth.waiting == 0 && truth.announced == truth.arrived {
                return;
            }
        }
        panic!("the line does not run empty: {:?}", self.world.truth());
    }

    fn count(&self, wanted: impl Fn(&PlcEventKind) -> bool) -> u64 {
        self.events.iter().filter(|event| wanted(&event.kind)).count() as u64
    }
}

fn faultless() -> Scenario {
    Scenario { faults: FaultRates::none(), ..Scenario::default() }
}

#[test]
fn without_faults_every_parcel_lands_right() {
    let mut line = Dispatcher::new(faultless(), 1);
    line.run_s(1_200);
    line.drain();
    let truth = line.world.truth();
    assert!(truth.fed > 2_500, "{truth:?}");
    assert_eq!((truth.right, truth.missorts, truth.exceptions), (truth.fed, 0, 0), "{truth:?}");
    assert_eq!(truth.tracks, truth.fed);
    assert!(truth.first_pass_ratio() > 0.97, "{truth:?}");
    assert!(line.reads > truth.fed && line.tags > truth.fed / 5);
    assert_eq!(line.orders, truth.announced);
    assert_eq!(line.world.plc().ring().lost(), 0);
    assert_eq!(line.count(|kind| matches!(kind, PlcEventKind::Unexpected { .. })), 0);
}

#[test]
fn the_fault_mix_does_what_it_says_and_makes_no_missort_by_itself() {
    let mut line = Dispatcher::new(Scenario::default(), 7);
    line.run_s(3_600);
    line.drain();
    let truth = line.world.truth().clone();
    assert!((8_300..9_800).contains(&truth.fed), "{truth:?}");
    assert_eq!(truth.missorts, 0, "{truth:?}");
    assert!(truth.tracks < truth.fed, "some parcels merge: {truth:?}");
    let manual = truth.manual_ratio();
    assert!((0.02..0.07).contains(&manual), "manual {manual}");
    assert!(truth.first_pass_ratio() > 0.97, "{} {truth:?}", truth.first_pass_ratio());
    assert!(line.count(|kind| matches!(kind, PlcEventKind::DivertFailed { .. })) > 0);
    assert!(line.count(|kind| matches!(kind, PlcEventKind::ChuteChanged { .. })) > 100);
    // Every track ends once: discharged or removed.
    let ended = line.count(|k| matches!(k, PlcEventKind::Discharged { .. } | PlcEventKind::Removed { .. }));
    assert_eq!(ended, truth.tracks);
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_gives_another() {
    let run = |seed| {
        let mut line = Dispatcher::new(Scenario::default(), seed);
        line.run_s(600);
        (line.events, format!("{:?}", line.world.truth()))
    };
    let (first, again, other) = (run(3), run(3), run(4));
    assert_eq!(first, again);
    assert_ne!(first.1, other.1);
}

#[test]
fn induction_keeps_the_least_gap() {
    let mut line = Dispatcher::new(Scenario { parcels_per_hour: 30_000.0, ..faultless() }, 5);
    line.run_s(300);
    let ppm = i64::from(line.world.site().belt.pulses_per_metre);
    let least = i64::from(line.world.site().belt.least_gap_mm);
    let mut rear: Option<u32> = None;
    for event in line.events.iter().filter(|event| event.kind == PlcEventKind::Inducted) {
        if let Some(rear) = rear {
            let gap_mm = i64::from(event.encoder.wrapping_sub(rear).cast_signed()) * 1000 / ppm;
            assert!(gap_mm >= least, "gap {gap_mm} mm");
        }
        rear = Some(event.encoder.wrapping_add(u32::from(event.length_mm)));
    }
}

#[test]
fn a_track_without_a_command_goes_to_the_exception_chute_and_says_so() {
    let mut line = Dispatcher::new(faultless(), 2);
    line.commanding = false;
    line.run_s(60);
    line.drain();
    let truth = line.world.truth();
    assert!(truth.fed > 30);
    assert_eq!(truth.exceptions, truth.fed);
    let said = line.count(|k| matches!(k, PlcEventKind::Discharged { how: Discharge::NoCommand, .. }));
    assert_eq!(said, truth.fed);
}

#[test]
fn a_stale_heartbeat_stops_induction_and_keeps_recording() {
    let mut line = Dispatcher::new(faultless(), 2);
    line.run_s(30);
    let before = line.world.truth().fed;
    (line.beating, line.commanding) = (false, false);
    line.run_s(2);
    assert!(line.world.flags().comm_lost);
    let stopped = line.world.truth().fed;
    line.run_s(60);
    assert_eq!(line.world.truth().fed, stopped, "nothing is fed while nobody listens");
    assert_eq!(line.world.truth().on_line, 0, "the belt runs empty");
    assert!(stopped >= before);
    (line.beating, line.commanding) = (true, true);
    line.run_s(30);
    assert!(!line.world.flags().comm_lost);
    assert!(line.world.truth().fed > stopped, "induction goes on");
}

#[test]
fn an_emergency_stop_needs_a_reset_and_then_a_new_run() {
    let mut line = Dispatcher::new(faultless(), 2);
    let run = Request { run: true, induction_permitted: true, ..Request::default() };
    line.run_s(30);
    line.world.press_e_stop();
    let (pulses, on_line) = (line.world.pulses(), line.world.truth().on_line);
    assert!(on_line > 0);
    line.world.request(Request { run: false, ..run });
    line.run_s(1);
    line.world.request(run);
    line.run_s(5);
    assert_eq!((line.world.pulses(), line.world.speed_mm_s()), (pulses, 0), "a run is not granted");
    line.world.reset_e_stop();
    line.run_s(5);
    assert_eq!(line.world.speed_mm_s(), 0, "a reset starts nothing");
    line.world.request(Request { run: false, ..run });
    line.run_s(1);
    line.world.request(run);
    line.run_s(20);
    assert!(line.world.flags().running);
    line.drain();
    assert_eq!(line.world.truth().right, line.world.truth().fed);
}

#[test]
fn a_full_ring_stops_induction_and_loses_nothing() {
    let mut line = Dispatcher::new(faultless(), 2);
    // Nothing is acknowledged: the dispatcher is bypassed.
    for _ in 0..600 {
        line.t_us += 1_000_000;
        line.beat += 1;
        line.world.beat(line.beat);
        line.world.advance_to(line.t_us - 500_000);
        line.beat += 1;
        line.world.beat(line.beat);
        line.world.advance_to(line.t_us);
    }
    let ring = line.world.plc().ring();
    assert_eq!(ring.lost(), 0);
    assert!(ring.pending() > 500);
    let fed = line.world.truth().fed;
    line.run_s(30);
    assert!(line.world.truth().fed > fed, "acknowledging lets it go on");
}

#[test]
fn a_restart_of_the_plc_forgets_its_tracks_and_the_parcels_run_to_the_end() {
    let mut line = Dispatcher::new(faultless(), 2);
    line.run_s(40);
    let on_belt = line.world.truth().on_line;
    assert!(on_belt > 10);
    let before = line.world.truth().clone();
    line.world.restart_plc();
    assert_eq!(line.world.plc().epoch(), 2);
    assert!(line.world.flags().resync_wanted && line.world.plc().tracks().is_empty());
    (line.read, line.command) = (0, 0);
    line.backlog.clear();
    line.world.resync();
    line.world.request(Request { run: true, induction_permitted: true, ..Request::default() });
    line.run_s(60);
    line.drain();
    let truth = line.world.truth();
    assert!(truth.exceptions - before.exceptions > on_belt / 2, "{truth:?}");
    assert_eq!(truth.missorts, 0);
    assert!(truth.right > before.right, "the new epoch sorts");
    assert!(line.count(|k| matches!(k, PlcEventKind::Unexpected { .. })) > 0);
}

#[test]
fn a_purge_empties_the_belt_and_then_ends() {
    let mut line = Dispatcher::new(faultless(), 2);
    line.run_s(40);
    let before = line.world.truth().clone();
    line.world.request(Request { run: true, purge: true, induction_permitted: true, ..Request::default() });
    line.run_s(40);
    line.world.request(Request { run: true, induction_permitted: true, ..Request::default() });
    let purged = line.count(|k| matches!(k, PlcEventKind::Discharged { how: Discharge::Purged, .. }));
    assert!(purged > 5 && purged <= before.on_line + 1, "{purged} of {}", before.on_line);
    line.run_s(30);
    assert!(line.world.truth().fed > before.fed, "induction goes on after it");
}

#[test]
fn commands_are_answered_for_what_they_are() {
    let mut line = Dispatcher::new(faultless(), 2);
    line.commanding = false;
    line.run_s(30);
    let exception = line.world.site().exception_chute.0;
    let (oldest, newest) = {
        let tracks = line.world.plc().tracks();
        let riding: Vec<u32> = tracks.iter().filter(|(_, t)| !t.sliding).map(|(id, _)| *id).collect();
        (*riding.first().unwrap(), *riding.last().unwrap())
    };
    let site = Arc::clone(line.world.site());
    let first_chute = site.chutes.iter().min_by_key(|chute| chute.position_mm).unwrap().number.0;
    line.world.set_chute_disabled(sortd::site::ChuteNo(first_chute), true);
    let slot = |seq, track, chute| CommandSlot { seq, track, chute, ..CommandSlot::default() };
    line.world.command(slot(2, newest, first_chute));
    line.world.command(slot(1, 999_999, exception));
    line.world.command(slot(3, oldest, first_chute));
    line.world.command(CommandSlot { alternate: exception, ..slot(4, newest, first_chute) });
    line.world.command(CommandSlot { cancel: true, ..slot(5, newest, 0) });
    line.run_s(1);
    let results: Vec<(u16, CommandResult)> = line
        .events
        .iter()
        .filter_map(|event| match event.kind {
            PlcEventKind::CommandResult { result, .. } => Some((event.carrier, result)),
            _ => None,
        })
        .collect();
    assert_eq!(
        results,
        [
            (1, CommandResult::UnknownId),
            (2, CommandResult::ChuteDisabled),
            (3, CommandResult::TooLate),
            (4, CommandResult::Taken),
            (5, CommandResult::Taken),
        ]
    );
    assert_eq!(line.world.plc().taken(), 5);
}

#[test]
fn held_and_unknown_parcels_in_a_destination_chute_are_missorts() {
    let mut truth = Truth { fed: 1, arrived: 1, announced: 1, on_line: 1, ..Truth::default() };
    let site = testsite();
    let mut workload = Workload::new(&site, &Scenario::default(), 1);
    let mut parcel = workload.next(0, &faultless(), 150).unwrap().parcel;
    parcel.sortable = false;
    truth.land(&parcel, 1, 99, true, 0);
    assert_eq!(truth.landings.0[0].judgement, Judgement::MustNotBeSorted);
    assert_eq!(truth.missorts, 1);
}

#[test]
fn the_register_image_says_what_the_program_knows() {
    use sortd::wire::plc::{Image, PlcEvent, PlcStatus, encode_commands};
    let mut line = Dispatcher::new(faultless(), 2);
    line.commanding = false;
    line.run_s(30);
    let map = line.world.site().plc.map.clone();
    let mut image = Image::default();
    for span in map.status_reads() {
        image.put(span.address, line.world.read_registers(span.address, span.count).unwrap());
    }
    let status = PlcStatus::decode(&image, &map).unwrap();
    assert_eq!(status.head, line.world.plc().ring().head());
    assert_eq!(status.encoder, line.world.pulses());
    assert_eq!(status.inducted, line.world.plc().inducted());
    assert!(status.flags.running && status.inducted > 5);
    for seq in 1..=status.head {
        let words = line.world.read_registers(map.ring_address(seq), 10).unwrap();
        assert_eq!(PlcEvent::decode(&words, &map).ok(), line.world.plc().ring().get(seq));
    }
    let track = *line.world.plc().tracks().keys().last().unwrap();
    let mut table = vec![CommandSlot::default(); 16];
    let exception = line.world.site().exception_chute.0;
    table[1] = CommandSlot { seq: 1, track, chute: exception, ..CommandSlot::default() };
    let words = encode_commands(&table, &map);
    assert!(line.world.write_registers(map.commands, &words));
    line.run_s(1);
    assert_eq!(line.world.plc().taken(), 1);
    assert_eq!(line.world.read_registers(map.commands, 96).unwrap(), words, "read back as written");
    assert!(!line.world.write_registers(map.flags, &[0]), "the PLC's own registers are not written");
    assert_eq!(line.world.read_registers(map.ring + 10_239, 2), None);
}

#[test]
fn belt_faults_end_where_they_must_and_never_in_a_wrong_chute() {
    let faults = FaultRates {
        tracking_loss: 0.02,
        removed: 0.02,
        divert_failure: 0.03,
        unconfirmed: 0.02,
        gap: 0.05,
        merged_share: 0.5,
        ..FaultRates::none()
    };
    let mut line = Dispatcher::new(Scenario { faults, ..Scenario::default() }, 11);
    line.run_s(900);
    line.drain();
    let truth = line.world.truth().clone();
    assert_eq!(truth.missorts, 0, "{truth:?}");
    assert!(truth.removed > 10 && truth.hurt > 10 && truth.tracks < truth.fed, "{truth:?}");
    let did_not_arrive = line.count(|k| matches!(k, PlcEventKind::Removed { reason: 1 }));
    assert!(did_not_arrive > truth.removed, "the slipped ones do not arrive either");
    assert!(line.count(|k| matches!(k, PlcEventKind::Unexpected { .. })) > 10);
    assert!(line.count(|k| matches!(k, PlcEventKind::DivertFailed { .. })) > 10);
    let unseen = |k: &PlcEventKind| matches!(k, PlcEventKind::Discharged { how: Discharge::Unconfirmed, .. });
    assert!(line.count(unseen) > 10);
    let ended = line.count(|k| matches!(k, PlcEventKind::Discharged { .. } | PlcEventKind::Removed { .. }));
    assert_eq!(ended, truth.tracks, "every track ends once");
}

#[test]
fn a_jam_stays_until_it_is_taken_out_and_asked_to_be_cleared() {
    let mut line = Dispatcher::new(faultless(), 2);
    let run = Request { run: true, induction_permitted: true, ..Request::default() };
    line.run_s(20);
    line.world.set_jam(true);
    let map = line.world.site().plc.map.clone();
    assert!(line.world.write_registers(map.clear_jam, &[1]));
    assert!(line.world.flags().jam, "it is still there");
    line.world.set_jam(false);
    assert!(line.world.flags().jam, "nobody has asked");
    assert!(
        line.world.write_registers(map.clear_jam, &[0]) && line.world.write_registers(map.clear_jam, &[1])
    );
    assert!(!line.world.flags().jam);
    assert!(!line.world.flags().running, "the belt waits for a run");
    line.world.request(Request { run: false, ..run });
    line.run_s(1);
    line.world.request(run);
    line.run_s(1);
    assert!(line.world.flags().running);
}

#[test]
fn a_parcel_goes_round_when_told_and_keeps_its_track() {
    let mut line = Dispatcher::new(Scenario { parcels_per_hour: 600.0, ..faultless() }, 2);
    line.commanding = false;
    while line.count(|k| matches!(k, PlcEventKind::Inducted)) == 0 {
        line.poll();
    }
    let track = line.events[0].track;
    line.world.command(CommandSlot { seq: 1, track, recirculate: true, ..CommandSlot::default() });
    line.run_s(120);
    let again = line.events.iter().find(|e| e.kind == PlcEventKind::EyePassed { eye: 0 }).unwrap();
    assert_eq!(again.track, track);
    let site = line.world.site();
    let lap = site.belt.length_mm + site.belt.recirculation_mm.unwrap();
    let pulses = again.encoder.wrapping_sub(line.events[0].encoder);
    assert!(pulses.abs_diff(lap) <= 1, "{pulses} pulses, a lap is {lap} mm");
    let truth = line.world.truth();
    assert_eq!((truth.laps, truth.landings.0.iter().filter(|l| l.laps == 1).count()), (1, 1));
}
