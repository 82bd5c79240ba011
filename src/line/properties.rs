//! Rules that hold for every order of events, however odd.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::event::{Ask, Asked, Command, Event, Hold, HoldBatch, HoldOn, HoldOrder, Order};
use super::order::Details;
use super::outcome::Outcome;
use super::plans::tests as plans;
use super::record::{Body, Decided, Dropped, Entry, Fact, Input, Target};
use super::tests::{EXCEPTION, Rig, site};
use super::*;
use crate::site::{Conditions, SortPlan};
use crate::wire::plc::{CommandResult, Discharge, PlcEventKind, PlcFlags};

/// Something that happens on the line.
#[derive(Debug, Clone)]
enum Happening {
    Run(u32),
    Induct {
        track: u32,
        length_mm: u16,
    },
    Hear {
        reader: u16,
        codes: Vec<usize>,
    },
    /// What a revision says is fixed: upstream never gives one revision two meanings.
    Order {
        number: usize,
        revision: u32,
    },
    Discharge {
        track: u32,
        chute: u16,
        how: usize,
    },
    DivertFailed {
        track: u32,
        chute: u16,
    },
    Result {
        track: u32,
        chute: u16,
        result: usize,
        back: u16,
    },
    Removed {
        track: u32,
        reason: u16,
    },
    Lap {
        track: u32,
    },
    Changed {
        chute: u16,
    },
    Bits {
        full: u16,
        disabled: u16,
    },
    Flags {
        e_stop: bool,
        running: bool,
    },
    Asked {
        what: usize,
        chute: u16,
    },
    /// By order or by code; a release where nothing holds.
    Hold {
        target: usize,
        revision: Option<u32>,
        held: bool,
    },
    Missed(u32),
    Reattach,
    NewEpoch(u16),
    /// One of three plans comes into force.
    Plan(usize),
}

fn happening() -> impl Strategy<Value = Happening> {
    let track = || 1..6u32;
    let chute = || prop_oneof![1..5u16, Just(EXCEPTION.0)];
    prop_oneof![
        6 => (40..3000u32).prop_map(Happening::Run),
        6 => (track(), 100..900u16).prop_map(|(track, length_mm)| Happening::Induct { track, length_mm }),
        6 => (0..2u16, prop::collection::vec(0..5usize, 0..3))
            .prop_map(|(reader, codes)| Happening::Hear { reader, codes }),
        4 => (0..5usize, 0..9u32).prop_map(|(number, revision)| Happening::Order { number, revision }),
        4 => (track(), chute(), 0..4usize)
            .prop_map(|(track, chute, how)| Happening::Discharge { track, chute, how }),
        1 => (track(), chute()).prop_map(|(track, chute)| Happening::DivertFailed { track, chute }),
        3 => (track(), chute(), 0..5usize, 0..3u16)
            .prop_map(|(track, chute, result, back)| Happening::Result { track, chute, result, back }),
        1 => (track(), 0..3u16).prop_map(|(track, reason)| Happening::Removed { track, reason }),
        1 => track().prop_map(|track| Happening::Lap { track }),
        2 => chute().prop_map(|chute| Happening::Changed { chute }),
        1 => (0..1024u16, 0..16u16).prop_map(|(full, disabled)| Happening::Bits { full, disabled }),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(e_stop, running)| Happening::Flags { e_stop, running }),
        1 => (0..8usize, chute()).prop_map(|(what, chute)| Happening::Asked { what, chute }),
        3 => (0..10usize, prop::option::of(0..5u32), any::<bool>())
            .prop_map(|(target, revision, held)| Happening::Hold { target, revision, held }),
        1 => (1..100u32).prop_map(Happening::Missed),
        1 => Just(Happening::Reattach),
        1 => (1..4u16).prop_map(Happening::NewEpoch),
        1 => (0..PLANS).prop_map(Happening::Plan),
    ]
}

fn happens(rig: &mut Rig, happening: Happening) {
    const CODES: [&str; 5] = ["AA1", "AA2", "00340123450000000017", "00340123450000000024", "???"];
    match happening {
        Happening::Run(mm) => rig.run(mm),
        Happening::Induct { track, length_mm } => rig.induct(track, length_mm),
        Happening::Hear { reader, codes } => {
            let codes: Vec<&str> = codes.into_iter().map(|at| CODES[at]).collect();
            rig.hear(reader, &codes);
        }
        Happening::Order { number, revision } => rig.push(Order {
            order: format!("o{number}"),
            revision,
            codes: vec![CODES[number].to_owned()],
            destination: ["A", "B", "A", "nowhere", "B"][(number + revision as usize) % 5].to_owned(),
            carrier: None,
            cancelled: revision == 7,
            hold: (revision == 3).then_some(Hold::CodHold),
            details: None,
        }),
        Happening::Discharge { track, chute, how } => {
            let how =
                [Discharge::Confirmed, Discharge::NoCommand, Discharge::Unconfirmed, Discharge::Purged][how];
            rig.discharge(track, chute, how);
        }
        Happening::DivertFailed { track, chute } => {
            rig.plc(PlcEventKind::DivertFailed { chute }, track, 0, 0, 0);
        }
        Happening::Result { track, chute, result, back } => {
            let result = [
                CommandResult::Taken,
                CommandResult::UnknownId,
                CommandResult::TooLate,
                CommandResult::ChuteFull,
                CommandResult::ChuteDisabled,
            ][result];
            let newest = rig.newest_command();
            rig.plc(PlcEventKind::CommandResult { chute, result }, track, newest.saturating_sub(back), 0, 0);
        }
        Happening::Removed { track, reason } => {
            rig.plc(PlcEventKind::Removed { reason }, track, 0, 0, 0);
        }
        Happening::Lap { track } => rig.plc(PlcEventKind::EyePassed { eye: 0 }, track, 0, 0, 0),
        Happening::Changed { chute } => rig.plc(PlcEventKind::ChuteChanged { chute }, 0, 0, 0, 0),
        Happening::Bits { full, disabled } => {
            rig.event(Event::ChuteBits { full: vec![full], disabled: vec![disabled] });
        }
        Happening::Flags { e_stop, running } => {
            rig.event(Event::PlcFlags(PlcFlags { e_stop, running, ..PlcFlags::default() }));
        }
        Happening::Asked { what, chute } => {
            let chute = ChuteNo(chute);
            let what = match what {
                0 => Asked::LineStart,
                1 => Asked::LineStop,
                2 => Asked::LinePurge,
                3 => Asked::ChuteLock(chute),
                4 => Asked::ChuteUnlock(chute),
                5 => Asked::ChuteClose(chute),
                6 => Asked::ParcelDamaged("AA1".to_owned()),
                _ => Asked::ParcelRemoved("AA2".to_owned()),
            };
            rig.event(Event::Ask(Ask { by: "wang".to_owned(), what }));
        }
        Happening::Hold { target, revision, held } => {
            let on = match target {
                0..5 => HoldOn::Order(format!("o{target}")),
                _ => HoldOn::Code(CODES[target - 5].to_owned()),
            };
            let hold = held.then_some(Hold::CustomsHold);
            let hold = HoldOrder { on, revision, hold, reason: None, by: None };
            rig.event(Event::Holds(HoldBatch { message: "h".to_owned(), last: true, holds: vec![hold] }));
        }
        Happening::Missed(missed) => {
            rig.skip(missed);
            rig.event(Event::PlcEventsMissed(missed));
        }
        Happening::Reattach => {
            rig.event(Event::PlcDetached);
            rig.attach(rig.epoch);
        }
        Happening::NewEpoch(epoch) => {
            rig.event(Event::PlcDetached);
            rig.attach(epoch);
        }
        Happening::Plan(which) => plans::swap(rig, plan(which)),
    }
}

/// One of as many plans.
const PLANS: usize = 5;

/// Three by destinations; two by countries, which say the same of the orders that have one.
fn plan(which: usize) -> Arc<SortPlan> {
    let routes: [&[(&str, &[u16])]; PLANS] = [
        &[("A", &[1, 2]), ("B", &[3])],
        &[("A", &[3]), ("B", &[1, 2])],
        &[("B", &[2, 3])],
        &[("A", &[1, 2]), ("MY", &[3])],
        &[("TH", &[3]), ("MY", &[1, 2])],
    ];
    let rows = routes[which].iter().map(|(name, chutes)| {
        let conditions = match COUNTRIES.iter().any(|(_, country)| country == name) {
            true => Conditions { country: Some((*name).to_owned()), ..Conditions::default() },
            false => Conditions::of_destination(name),
        };
        (conditions, chutes.iter().map(|chute| ChuteNo(*chute)).collect())
    });
    let mut plan = SortPlan::new(rows);
    plan.version = format!("plan {which}");
    Arc::new(plan)
}

/// The country of each destination.
const COUNTRIES: [(&str, &str); 2] = [("A", "TH"), ("B", "MY")];

fn with_country(destination: &str) -> Option<Box<Details>> {
    let country = COUNTRIES.iter().find(|(of, _)| *of == destination);
    let country = country.map(|(_, country)| (*country).to_owned());
    Some(Box::new(Details { country, ..Details::default() }))
}

/// The destination that a route is of, by either name.
fn destination_of(route: &str) -> &str {
    let by_country = COUNTRIES.iter().find(|(_, country)| route.strip_suffix("/*") == Some(country));
    by_country.map_or(route, |(destination, _)| destination)
}

/// What one story must never show.
fn check(rig: &Rig) -> Result<(), TestCaseError> {
    let mut in_flight = BTreeSet::new();
    for fact in &rig.facts {
        match fact {
            Fact::Inducted { pass, .. } => prop_assert!(in_flight.insert(*pass), "{pass:?} begun twice"),
            Fact::Ended { pass, outcome, .. } => {
                prop_assert!(in_flight.remove(pass), "{pass:?} ended without having begun");
                prop_assert!(*outcome != Outcome::Sorted { chute: EXCEPTION }, "sorted into exceptions");
            }
            Fact::Decided(decided) => {
                prop_assert!(in_flight.contains(&decided.pass), "decided after its end");
                if let Target::Chute(chute) = decided.to {
                    let chosen = decided.candidates.iter().find(|candidate| candidate.chute == chute);
                    // A command taken over from the PLC after a crash has no candidates of its own.
                    if let Some(chosen) = chosen {
                        prop_assert_eq!(chosen.dropped, None::<Dropped>);
                        prop_assert!(chosen.filled + chosen.reserved < chosen.capacity, "over capacity");
                    }
                }
            }
            _ => {}
        }
    }
    let status = rig.line.status(rig.now);
    prop_assert_eq!(status.sums.in_flight, in_flight.len() as u64);
    let exceptions: u64 = status.sums.exceptions.values().sum();
    prop_assert_eq!(
        status.sums.inducted,
        status.sums.sorted + exceptions + status.sums.lost + status.sums.in_flight
    );
    rig.line.assert_reservations();
    commands_are_sound(rig)
}

/// Configurations that plans came into force with.
fn configurations(entries: &[Entry]) -> Vec<String> {
    let changes = entries.iter().filter_map(|entry| match &entry.body {
        Body::Input(Input::Event(Event::PlanInForce(change))) => Some(change.configuration.clone()),
        _ => None,
    });
    changes.collect()
}

fn plan_of(configuration: &str) -> Result<Arc<SortPlan>, TestCaseError> {
    let which = configuration.rsplit(' ').next().and_then(|which| which.parse().ok());
    which.map(plan).ok_or_else(|| TestCaseError::fail(format!("no plan in {configuration}")))
}

/// No bag holds sorted parcels of two destinations, whichever plans came and went; each was decided by a plan that
/// had this chute for it.
fn bags_are_pure(rig: &Rig) -> Result<(), TestCaseError> {
    let mut bags: BTreeMap<ChuteNo, String> = BTreeMap::new();
    for fact in &rig.facts {
        match fact {
            Fact::ChuteEmptied { chute, .. } => {
                bags.remove(chute);
            }
            Fact::Ended { outcome: Outcome::Sorted { chute }, destination, plan, .. } => {
                let destination = destination_of(destination.as_deref().unwrap_or_default()).to_owned();
                let bag = bags.entry(*chute).or_insert_with(|| destination.clone());
                prop_assert_eq!(&*bag, &destination, "the bag of {:?} under {}", chute, plan);
            }
            _ => {}
        }
    }
    Ok(())
}

/// A sequence is the next one or one given before: the same command again, or a PLC that begins anew. No chute
/// is commanded, as alternate neither, that the decision itself had found passed, closed or full.
fn commands_are_sound(rig: &Rig) -> Result<(), TestCaseError> {
    let mut newest = 0;
    for command in &rig.commands {
        if let Command::Divert(slot) = command {
            prop_assert!(slot.seq != 0 && slot.seq <= newest + 1, "{} after {newest}", slot.seq);
            newest = newest.max(slot.seq);
        }
    }
    for fact in &rig.facts {
        let Fact::Decided(Decided { to, alternate, candidates, .. }) = fact else { continue };
        let to = match to {
            Target::Chute(chute) => Some(chute),
            Target::Exception(..) | Target::Recirculate(_) => None,
        };
        for chute in alternate.iter().chain(to) {
            if let Some(candidate) = candidates.iter().find(|candidate| candidate.chute == *chute) {
                prop_assert_eq!(candidate.dropped, None::<Dropped>);
            }
        }
    }
    Ok(())
}

/// One parcel's way through a PLC that does what it is told, for as long as it is told in time.
#[derive(Debug, Clone, Default)]
struct Travelling {
    front_mm: i64,
    length_mm: u16,
    code: usize,
    /// Chute and alternate of the last command taken; `None` goes to the exception chute.
    command: Option<(u16, u16)>,
    recirculate: bool,
}

/// A field whose PLC obeys: parcels travel, are read, commanded and discharged as on a real belt.
struct Field {
    rig: Rig,
    belt: BTreeMap<u32, Travelling>,
    next_track: u32,
    /// Commands of the rig looked at so far.
    looked: usize,
    attached: bool,
    /// What happens while nobody is connected, told in order afterwards.
    ring: Vec<(PlcEventKind, u32, u16, u16, i64)>,
    travelled_mm: i64,
    landed: BTreeMap<u16, u32>,
}

/// Destination of each code, as the orders say.
const DESTINATIONS: [&str; 6] = ["A", "B", "A", "B", "A", "B"];

impl Field {
    fn new() -> Field {
        let mut rig = Rig::new(true);
        for (number, destination) in DESTINATIONS.iter().enumerate() {
            let order = rig.order(&format!("o{number}"), &format!("P{number}"), destination);
            rig.push(Order { revision: 2, details: with_country(destination), ..order });
        }
        Field {
            rig,
            belt: BTreeMap::new(),
            next_track: 1,
            looked: 0,
            attached: true,
            ring: Vec::new(),
            travelled_mm: 0,
            landed: BTreeMap::new(),
        }
    }

    fn tell(&mut self, kind: PlcEventKind, track: u32, carrier: u16, length_mm: u16, at_mm: i64) {
        self.ring.push((kind, track, carrier, length_mm, at_mm));
        self.flush();
    }

    fn flush(&mut self) {
        if self.attached {
            for (kind, track, carrier, length_mm, at_mm) in std::mem::take(&mut self.ring) {
                let behind = u32::try_from(self.travelled_mm - at_mm).unwrap_or(0);
                self.rig.plc(kind, track, carrier, length_mm, behind);
            }
        }
    }

    /// Commands that have come: taken in time, refused where the parcel is past the decision point.
    fn obey(&mut self) {
        while let Some(command) = self.rig.commands.get(self.looked).copied() {
            self.looked += 1;
            let Command::Divert(slot) = command else { continue };
            if !self.attached {
                continue;
            }
            let decision = |chute: u16| match chute {
                1 => 5500,
                2 => 7500,
                3 => 9500,
                _ => 19_500,
            };
            let result = match self.belt.get_mut(&slot.track) {
                None => CommandResult::UnknownId,
                Some(parcel)
                    if parcel.front_mm > decision(slot.chute)
                        || parcel.command.is_some_and(|(chute, _)| parcel.front_mm > decision(chute)) =>
                {
                    CommandResult::TooLate
                }
                Some(parcel) => {
                    parcel.command = Some((slot.chute, slot.alternate));
                    parcel.recirculate = slot.recirculate;
                    CommandResult::Taken
                }
            };
            let at = self.travelled_mm;
            self.rig.taken = slot.seq;
            self.tell(PlcEventKind::CommandResult { chute: slot.chute, result }, slot.track, slot.seq, 0, at);
        }
    }

    /// The belt moves on by 40 mm, and everything on it.
    fn step(&mut self) {
        self.travelled_mm += 40;
        self.rig.now = self.rig.now.plus_ms(20);
        self.rig.pulses = self.rig.pulses.wrapping_add(40);
        if self.attached {
            self.rig.poll();
        }
        self.obey();
        let places = [(1, 6000), (2, 8000), (3, 10_000), (EXCEPTION.0, 20_000)];
        let tracks: Vec<u32> = self.belt.keys().copied().collect();
        for track in tracks {
            let Some(parcel) = self.belt.get_mut(&track) else { continue };
            let before = parcel.front_mm;
            parcel.front_mm += 40;
            let (front, at) = (parcel.front_mm, self.travelled_mm);
            let cleared = |front: i64| front - i64::from(parcel.length_mm);
            let here = parcel.clone();
            if cleared(before) < 0 && cleared(front) >= 0 {
                let kind = PlcEventKind::Inducted;
                self.tell(kind, track, 0, here.length_mm, at - front);
            }
            if before < 1025 && front >= 1025 {
                let code = format!("P{}", here.code);
                for reader in 0..2 {
                    self.rig.hear(reader, &[&code]);
                }
            }
            for (chute, place) in places {
                if before < place && front >= place {
                    let how = match here.command {
                        Some((to, _)) if to == chute => Discharge::Confirmed,
                        _ if chute == EXCEPTION.0 && !here.recirculate => Discharge::NoCommand,
                        _ => continue,
                    };
                    self.belt.remove(&track);
                    *self.landed.entry(chute).or_default() += 1;
                    self.tell(PlcEventKind::Discharged { chute, how }, track, 0, 0, at);
                    break;
                }
            }
            if here.recirculate && before < 30_000 && front >= 30_000 {
                if let Some(parcel) = self.belt.get_mut(&track) {
                    *parcel = Travelling { front_mm: 0, command: None, recirculate: false, ..here };
                }
                self.tell(PlcEventKind::EyePassed { eye: 0 }, track, 0, 0, at);
            }
        }
        self.obey();
    }

    fn induct(&mut self, length_mm: u16, code: usize) {
        let clear = |parcel: &Travelling| {
            let tail = parcel.front_mm - i64::from(parcel.length_mm);
            // Room in front, and none coming round behind.
            tail >= 400 && parcel.front_mm < 28_000
        };
        if self.belt.values().all(clear) && self.belt.values().all(|parcel| parcel.code != code) {
            let parcel = Travelling { front_mm: 0, length_mm, code, ..Travelling::default() };
            self.belt.insert(self.next_track, parcel);
            self.next_track += 1;
        }
    }

    fn connect(&mut self, on: bool) {
        if on == self.attached {
            return;
        }
        self.attached = on;
        if on {
            let backlog = u32::try_from(self.ring.len()).unwrap_or(0);
            self.rig.attach_behind(backlog);
            self.rig.poll();
            self.flush();
        } else {
            self.rig.event(Event::PlcDetached);
        }
    }
}

/// What happens to a field that obeys.
#[derive(Debug, Clone)]
enum Turn {
    Run(u32),
    Induct(u16, usize),
    Connect(bool),
    Lock(u16, bool),
    Changed(u16),
    Full(u16),
    Revise(usize, u32),
    Plan(usize),
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        8 => (1..120u32).prop_map(Turn::Run),
        8 => (100..600u16, 0..6usize).prop_map(|(length_mm, code)| Turn::Induct(length_mm, code)),
        1 => any::<bool>().prop_map(Turn::Connect),
        1 => (1..4u16, any::<bool>()).prop_map(|(chute, on)| Turn::Lock(chute, on)),
        1 => (1..4u16).prop_map(Turn::Changed),
        1 => (0..16u16).prop_map(Turn::Full),
        1 => (0..6usize, 2..9u32).prop_map(|(number, revision)| Turn::Revise(number, revision)),
        1 => (0..PLANS).prop_map(Turn::Plan),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_each_pass_ends_once_and_the_sums_agree(
        recirculation in any::<bool>(),
        story in prop::collection::vec(happening(), 0..60),
    ) {
        let mut rig = Rig::new(recirculation);
        for happening in story {
            happens(&mut rig, happening);
            check(&rig)?;
        }
    }

    #[test]
    fn where_the_plc_obeys_no_parcel_comes_to_a_wrong_chute_and_none_is_forgotten(
        turns in prop::collection::vec(turn(), 0..80),
    ) {
        let mut field = Field::new();
        for turn in turns {
            match turn {
                Turn::Run(steps) => (0..steps).for_each(|_| field.step()),
                Turn::Induct(length_mm, code) => field.induct(length_mm, code),
                Turn::Connect(on) => field.connect(on),
                Turn::Lock(chute, on) => {
                    let chute = ChuteNo(chute);
                    let what = if on { Asked::ChuteLock(chute) } else { Asked::ChuteUnlock(chute) };
                    field.rig.event(Event::Ask(Ask { by: "wang".to_owned(), what }));
                }
                Turn::Plan(which) => plans::swap(&mut field.rig, plan(which)),
                Turn::Changed(chute) => {
                    let at = field.travelled_mm;
                    field.tell(PlcEventKind::ChuteChanged { chute }, 0, 0, 0, at);
                }
                Turn::Full(bits) => {
                    field.rig.event(Event::ChuteBits { full: vec![bits & 14], disabled: vec![0] });
                }
                Turn::Revise(number, revision) => field.rig.push(Order {
                    order: format!("o{number}"),
                    revision,
                    codes: vec![format!("P{number}")],
                    destination: DESTINATIONS[number].to_owned(),
                    carrier: None,
                    cancelled: false,
                    hold: (revision % 3 == 0).then_some(Hold::CodHold),
                    details: with_country(DESTINATIONS[number]).filter(|_| revision % 2 == 0),
                }),
            }
            field.obey();
            check(&field.rig)?;
        }
        field.connect(true);
        (0..1800).for_each(|_| field.step());
        check(&field.rig)?;
        bags_are_pure(&field.rig)?;
        let status = field.rig.line.status(field.rig.now);
        prop_assert_eq!(status.sums.inducted, u64::from(field.next_track - 1));
        prop_assert_eq!((status.sums.in_flight, status.sums.lost), (0, 0));
        // A hold may come when the parcel is past all commands: then it is told where it lies.
        let told = field.rig.facts.iter().filter(|fact| match fact {
            Fact::Ended { outcome: Outcome::Sorted { .. }, .. } => true,
            Fact::Ended { outcome: Outcome::Exception { chute, .. }, .. } => {
                chute.is_some_and(|chute| chute != EXCEPTION)
            }
            _ => false,
        });
        let landed = field.landed.iter().filter(|(chute, _)| **chute != EXCEPTION.0).map(|(_, count)| *count);
        prop_assert_eq!(told.count(), landed.sum::<u32>() as usize);
    }

    #[test]
    fn whatever_happens_a_replay_from_any_snapshot_concludes_the_same(
        story in prop::collection::vec(happening(), 1..40),
        cut in 0..40usize,
    ) {
        let mut rig = Rig::new(true);
        let cut = cut.min(story.len() - 1);
        let mut kept = None;
        for (at, happening) in story.into_iter().enumerate() {
            if at == cut {
                let snapshot = rig.line.snapshot().map_err(|error| TestCaseError::fail(error.to_string()))?;
                kept = Some((snapshot, rig.entries.len()));
            }
            happens(&mut rig, happening);
        }
        let (snapshot, from) = kept.ok_or_else(|| TestCaseError::fail("no snapshot"))?;
        let mut again = Line::from_snapshot(site(true), &snapshot)
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
        for hash in again.wants_plan().map(str::to_owned).into_iter().chain(configurations(&rig.entries[from..])) {
            again.offer_plan(plan_of(&hash)?);
        }
        let differences = again.take_again(&rig.entries[from..]);
        prop_assert_eq!((differences.count, differences.first), (0, None));
        // Time that passed without a fact leaves no record.
        again.replay_until(rig.now);
        // The register of active orders comes back behind the line.
        for entry in &rig.entries {
            again.load_orders(entry.body.orders());
        }
        prop_assert_eq!(
            again.snapshot().map_err(|error| TestCaseError::fail(error.to_string()))?,
            rig.line.snapshot().map_err(|error| TestCaseError::fail(error.to_string()))?
        );
    }
}
