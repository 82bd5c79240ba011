//! The PLC program: it owns position and divert, and the PC owns the decision.
//!
//! It tracks each body from the induction eye to its chute, takes commands in the order of their sequence
//! once a scan, and writes down what happened in a ring that it never overwrites before the PC has
//! acknowledged it. What it does without being told: a track without a command goes to the exception
//! chute; with the PC's heartbeat stale or the ring nearly full it stops induction and goes on recording;
//! after an emergency stop it waits for a local reset and then for a `run`.
//!
//! Words: a *track* is a body on the belt as the PLC sees it (merged parcels are one); its *decision
//! point* for a chute is the last place where a command for that chute is taken; a track is *locked* to a
//! chute once it is past that point.

pub mod image;
mod ring;
mod tracks;

use std::collections::BTreeMap;

use sortd::line::event::Request;
use sortd::wire::plc::{
    CommandResult, CommandSlot, EVENT_WORDS, PlcEvent, PlcEventKind, PlcFlags, RegisterMap, next_seq,
    seq_distance, seq_reached,
};

use super::agenda::{Agenda, Timer};
use super::belt::Belt;
use super::chutes::Chutes;
pub use ring::Ring;
pub use tracks::{Held, Track};

/// Ring places kept for the parcels that are already on the belt when induction stops: a hundred parcels,
/// four events each.
const RING_RESERVE: u16 = 400;

/// The PLC's own heartbeat counts up once in this time.
const HEARTBEAT_US: u64 = 100_000;

/// What the program works with while it runs.
pub struct Floor<'a> {
    /// Time.
    pub now_us: u64,
    /// The belt it drives.
    pub belt: &'a mut Belt,
    /// Chutes it looks at.
    pub chutes: &'a Chutes,
    /// What will happen.
    pub agenda: &'a mut Agenda,
    /// The exception chute.
    pub exception: u16,
    /// Something can recirculate.
    pub recirculates: bool,
}

impl Floor<'_> {
    fn pulses_now(&self) -> u32 {
        self.belt.pulses(self.belt.position_nm(self.now_us))
    }
}

/// State of the program.
#[derive(Debug)]
pub struct Plc {
    map: RegisterMap,
    scan_us: u64,
    stale_us: u64,
    /// Raw image of what the PC wrote.
    memory: image::Memory,
    epoch: u16,
    next_track: u32,
    inducted: u32,
    ring: Ring,
    taken: u16,
    table: Vec<CommandSlot>,
    request: Request,
    asked: Request,
    clear_jam: u16,
    /// Register 2 as it was written last; 0 lets a resync happen.
    ack_written: u16,
    resync_counter: u16,
    resync_echo: u16,
    resync_wanted: bool,
    e_stop: bool,
    jam_present: bool,
    jam: bool,
    purging: bool,
    comm_lost: bool,
    heartbeat: u16,
    heard_us: u64,
    scan_armed: bool,
    /// Bits of the flags register that mean nothing.
    stray_flags: u16,
    disabled: Vec<u16>,
    tracks: BTreeMap<u32, Track>,
}

impl Plc {
    /// A program that has just started, in its first epoch.
    pub fn new(map: &RegisterMap, scan_ms: u32, stale_ms: u32) -> Plc {
        Plc {
            scan_us: u64::from(scan_ms) * 1000,
            stale_us: u64::from(stale_ms) * 1000,
            memory: image::Memory::new(map),
            epoch: 1,
            next_track: 1,
            inducted: 0,
            ring: Ring::new(map.ring_slots),
            taken: 0,
            table: vec![CommandSlot::default(); usize::from(map.command_slots.max(1))],
            request: Request::default(),
            asked: Request::default(),
            clear_jam: 0,
            ack_written: 0,
            resync_counter: 0,
            resync_echo: 0,
            resync_wanted: false,
            e_stop: false,
            jam_present: false,
            jam: false,
            purging: false,
            comm_lost: true,
            heartbeat: 0,
            heard_us: 0,
            scan_armed: false,
            stray_flags: 0,
            disabled: vec![0; usize::from(map.bitmap_words)],
            tracks: BTreeMap::new(),
            map: map.clone(),
        }
    }

    /// Epoch, register 109.
    pub fn epoch(&self) -> u16 {
        self.epoch
    }

    /// Tracks begun in this epoch, registers 110 and 111.
    pub fn inducted(&self) -> u32 {
        self.inducted
    }

    /// Highest command sequence taken, register 102.
    pub fn taken(&self) -> u16 {
        self.taken
    }

    /// The command table as it stands.
    pub fn table(&self) -> &[CommandSlot] {
        &self.table
    }

    /// The event ring.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Tracks on the belt.
    pub fn tracks(&self) -> &BTreeMap<u32, Track> {
        &self.tracks
    }

    /// Register 101.
    pub fn flags(&self, belt: &Belt) -> PlcFlags {
        PlcFlags {
            running: belt.runs(),
            e_stop: self.e_stop,
            jam: self.jam,
            comm_lost: self.comm_lost,
            manual: false,
            drive_fault: false,
            resync_wanted: self.resync_wanted,
        }
    }

    /// Chutes disabled at the PLC, as a bitmap.
    pub fn disabled_bits(&self) -> &[u16] {
        &self.disabled
    }

    /// Disables or enables a chute at the PLC, as a key switch would.
    pub fn set_disabled(&mut self, chute: u16, disabled: bool) {
        if let Some(word) = self.disabled.get_mut(usize::from(chute / 16)) {
            let bit = 1 << (chute % 16);
            *word = if disabled { *word | bit } else { *word & !bit };
        }
    }

    fn is_disabled(&self, chute: u16) -> bool {
        self.disabled.get(usize::from(chute / 16)).is_some_and(|word| word & (1 << (chute % 16)) != 0)
    }

    /// Whether a parcel may be fed now.
    pub fn may_induct(&self, belt: &Belt) -> bool {
        belt.runs()
            && self.request.induction_permitted
            && !self.comm_lost
            && !self.purging
            && !self.resync_wanted
            && self.ring.room() > RING_RESERVE.min(self.map.ring_slots / 2)
    }

    /// Writes down what happened, with the encoder at a belt position.
    pub fn record(&mut self, kind: PlcEventKind, track: u32, encoder: u32, carrier: u16, length_mm: u16) {
        self.ring.push(kind, track, encoder, carrier, length_mm);
    }

    /// A mistake in the PLC's program: a record whose registers are these, whatever they mean. False where the
    /// ring has no place for it.
    pub fn record_raw(&mut self, words: [u16; EVENT_WORDS as usize - 1]) -> bool {
        self.ring.push_raw(words)
    }

    /// A mistake in the PLC's program: these bits are set in the flags register, too.
    pub fn set_stray_flags(&mut self, bits: u16) {
        self.stray_flags = bits;
    }

    /// The next records after `seq`, at most `most`.
    pub fn events_after(&self, seq: u16, most: usize) -> Vec<PlcEvent> {
        let mut events = Vec::new();
        let mut seq = seq;
        while seq != self.ring.head() && events.len() < most {
            seq = next_seq(seq);
            match self.ring.get(seq) {
                Some(event) => events.push(event),
                None => break,
            }
        }
        events
    }

    /// The PC's heartbeat register is written.
    pub fn beat(&mut self, value: u16, now_us: u64) {
        if value != self.heartbeat {
            self.heartbeat = value;
            self.heard_us = now_us;
            self.comm_lost = false;
        }
    }

    /// The PC's request register is written.
    pub fn ask(&mut self, request: Request, floor_now_us: u64, agenda: &mut Agenda) {
        self.asked = request;
        self.arm_scan(floor_now_us, agenda);
    }

    /// A slot of the command table is written.
    pub fn put_command(&mut self, slot: CommandSlot, now_us: u64, agenda: &mut Agenda) {
        let index = usize::from(slot.seq) % self.table.len();
        self.table[index] = slot;
        self.arm_scan(now_us, agenda);
    }

    /// Whether the slot that a command sequence belongs to may be overwritten.
    pub fn slot_free(&self, seq: u16) -> bool {
        let slot = self.table[usize::from(seq) % self.table.len()];
        slot.seq == 0 || !self.is_newer(slot.seq)
    }

    /// Not taken yet; 0 in register 102 is "none yet", so that everything is newer.
    fn is_newer(&self, seq: u16) -> bool {
        self.taken == 0 || !seq_reached(seq, self.taken)
    }

    /// The PC has made every event up to `seq` durable.
    pub fn acknowledge(&mut self, seq: u16) {
        self.ack_written = seq;
        self.ring.acknowledge(seq);
    }

    /// The PC asks for a resync: register 2 goes to 0, register 3 counts up.
    pub fn ask_resync(&mut self, now_us: u64, agenda: &mut Agenda) {
        self.ack_written = 0;
        self.resync_counter = self.resync_counter.wrapping_add(1);
        self.arm_scan(now_us, agenda);
    }

    fn arm_scan(&mut self, now_us: u64, agenda: &mut Agenda) {
        if !self.scan_armed {
            self.scan_armed = true;
            agenda.at((now_us / self.scan_us + 1) * self.scan_us, Timer::PlcScan);
        }
    }

    /// One cycle of the program over what was written since the last.
    pub fn scan(&mut self, floor: &mut Floor<'_>) {
        self.scan_armed = false;
        self.take_requests(floor);
        if self.resync_counter != self.resync_echo && self.ack_written == 0 {
            self.resync_echo = self.resync_counter;
            self.resync_wanted = false;
            self.taken = 0;
            self.clear_commands();
            self.ring.resync(floor.pulses_now());
        }
        let taken = self.taken;
        let mut newer: Vec<CommandSlot> =
            self.table.iter().filter(|slot| slot.seq != 0 && self.is_newer(slot.seq)).copied().collect();
        newer.sort_unstable_by_key(|slot| seq_distance(taken, slot.seq));
        for slot in newer {
            let result = self.take_command(&slot, floor);
            self.taken = slot.seq;
            let encoder = floor.pulses_now();
            let kind = PlcEventKind::CommandResult { chute: slot.chute, result };
            self.record(kind, slot.track, encoder, slot.seq, 0);
        }
    }

    /// Requests act on their edges; what is asked is granted only under the program's own conditions.
    fn take_requests(&mut self, floor: &mut Floor<'_>) {
        let (old, new) = (self.request, self.asked);
        self.request = new;
        let now_us = floor.now_us;
        if new.stop && !old.stop {
            floor.belt.stop(now_us);
        }
        let may_move = !self.e_stop && !self.jam;
        if new.run && !old.run && !new.stop && may_move {
            floor.belt.run(now_us, 0);
        }
        if new.purge && !old.purge && may_move {
            self.begin_purge();
            floor.belt.run(now_us, 0);
        }
    }

    /// The heartbeat is looked at; gives when to look again.
    pub fn watch_heartbeat(&mut self, now_us: u64) -> u64 {
        let due = self.heard_us + self.stale_us;
        if now_us >= due {
            self.comm_lost = true;
            return now_us + self.stale_us;
        }
        due
    }

    /// The red button.
    pub fn press_e_stop(&mut self, floor: &mut Floor<'_>) {
        self.e_stop = true;
        floor.belt.stop(floor.now_us);
    }

    /// The local reset after an emergency stop. The belt stands until `run` is asked anew.
    pub fn reset_e_stop(&mut self) {
        self.e_stop = false;
    }

    /// Something jams the belt, or was taken out again; the latched bit goes by an acknowledgement at
    /// the cabinet or a clear-jam request.
    pub fn set_jam(&mut self, present: bool, floor: &mut Floor<'_>) {
        self.jam_present = present;
        if present {
            self.jam = true;
            floor.belt.stop(floor.now_us);
        }
    }

    /// Someone acknowledges the jam at the cabinet; acts once it is taken out.
    pub fn acknowledge_jam(&mut self) {
        self.jam &= self.jam_present;
    }

    /// The PC's clear-jam mask is written; acts on 0→1.
    pub fn ask_clear_jam(&mut self, mask: u16) {
        if mask & !self.clear_jam != 0 && !self.jam_present {
            self.jam = false;
        }
        self.clear_jam = mask;
    }

    /// The PLC itself restarts: a new epoch, every track forgotten, the belt stands.
    pub fn restart(&mut self, floor: &mut Floor<'_>) {
        floor.belt.stop(floor.now_us);
        let fresh = Plc::new(
            &self.map,
            u32::try_from(self.scan_us / 1000).unwrap_or(1),
            u32::try_from(self.stale_us / 1000).unwrap_or(1000),
        );
        let epoch = if self.epoch == u16::MAX { 1 } else { self.epoch + 1 };
        let scan_armed = self.scan_armed;
        let e_stop = self.e_stop;
        *self = fresh;
        self.epoch = epoch;
        self.scan_armed = scan_armed;
        self.e_stop = e_stop;
        self.resync_wanted = true;
        self.heard_us = floor.now_us;
    }

    /// The PLC's own heartbeat, register 100.
    pub fn own_heartbeat(now_us: u64) -> u16 {
        u16::try_from((now_us / HEARTBEAT_US) % 65_536).unwrap_or(0)
    }

    /// A refusal that came after the command was taken.
    fn refuse(&mut self, track: u32, held: &Held, result: CommandResult, encoder: u32) {
        self.record(PlcEventKind::CommandResult { chute: held.chute, result }, track, encoder, held.seq, 0);
    }
}
