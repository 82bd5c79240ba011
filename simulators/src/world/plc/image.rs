//! The program's state as holding registers, through the same codecs the PC uses.
//!
//! What the PC writes is kept as it was written; what the PLC says is made up at each read. A write into
//! the PLC's own registers is refused as an address that cannot be written.

use sortd::line::event::Request;
use sortd::wire::plc::{
    COMMAND_WORDS, CommandSlot, EVENT_WORDS, PlcStatus, RegisterMap, RequestBits, decode_commands,
};

use super::Plc;
use crate::world::agenda::Agenda;
use crate::world::belt::Belt;
use crate::world::chutes::Chutes;

/// What the PC wrote, as it wrote it.
#[derive(Debug, Clone)]
pub struct Memory {
    words: Vec<u16>,
}

impl Memory {
    /// All zero, from address 0 to the end of the map.
    pub fn new(map: &RegisterMap) -> Memory {
        let ends = [
            u32::from(map.ring) + u32::from(map.ring_slots) * u32::from(EVENT_WORDS),
            u32::from(map.commands) + u32::from(map.command_slots) * u32::from(COMMAND_WORDS),
            u32::from(map.chute_disabled) + u32::from(map.bitmap_words),
            u32::from(map.chute_full) + u32::from(map.bitmap_words),
            u32::from(map.inducted) + 2,
            u32::from(map.encoder) + 2,
            u32::from(map.clear_jam) + 1,
            200,
        ];
        let end = ends.into_iter().max().unwrap_or(0).min(65_536);
        Memory { words: vec![0; usize::try_from(end).unwrap_or(0)] }
    }

    fn range(&self, address: u16, count: usize) -> Option<std::ops::Range<usize>> {
        let from = usize::from(address);
        let to = from + count;
        (count > 0 && to <= self.words.len()).then_some(from..to)
    }
}

impl Plc {
    /// Reads holding registers; `None` outside the map.
    pub fn read(
        &self,
        address: u16,
        count: u16,
        now_us: u64,
        belt: &Belt,
        chutes: &Chutes,
    ) -> Option<Vec<u16>> {
        let range = self.memory.range(address, usize::from(count))?;
        let mut words = self.memory.words[range.clone()].to_vec();
        let mut lay = |at: usize, block: &[u16]| {
            for (i, word) in block.iter().enumerate() {
                if range.contains(&(at + i)) {
                    words[at + i - range.start] = *word;
                }
            }
        };
        let status = PlcStatus {
            heartbeat: Plc::own_heartbeat(now_us),
            flags: self.flags(belt),
            unknown_flags: self.stray_flags,
            taken: self.taken,
            resync_echo: self.resync_echo,
            head: self.ring.head(),
            events_lost: self.ring.lost(),
            encoder: belt.pulses(belt.position_nm(now_us)),
            speed_mm_s: u16::try_from(belt.speed_mm_s()).unwrap_or(u16::MAX),
            epoch: self.epoch,
            inducted: self.inducted,
        };
        for (at, block) in status.encode(&self.map) {
            lay(usize::from(at), &block);
        }
        lay(usize::from(self.map.chute_full), &chutes.full_bits(self.map.bitmap_words));
        lay(usize::from(self.map.chute_disabled), &self.disabled);
        let (ring, width) = (usize::from(self.map.ring), usize::from(EVENT_WORDS));
        let slots = usize::from(self.map.ring_slots);
        let first = range.start.saturating_sub(ring) / width;
        let last = range.end.saturating_sub(ring).div_ceil(width).min(slots);
        for slot in first..last {
            let record = self.ring.slot(slot).map(|event| event.encode(&self.map));
            lay(ring + slot * width, &self.ring.raw(slot).or(record).unwrap_or_default());
        }
        Some(words)
    }

    /// Writes holding registers; false where the PC has nothing to write.
    pub fn write(&mut self, address: u16, words: &[u16], now_us: u64, agenda: &mut Agenda) -> bool {
        let Some(range) = self.memory.range(address, words.len()) else { return false };
        if self.own_blocks().iter().any(|own| own.start < range.end && range.start < own.end) {
            return false;
        }
        self.memory.words[range.clone()].copy_from_slice(words);
        let written = |at: u16| range.contains(&usize::from(at)).then(|| words[usize::from(at - address)]);
        if let Some(value) = written(self.map.acknowledged) {
            self.acknowledge(value);
        }
        if let Some(value) = written(self.map.request) {
            let bits = RequestBits::decode(value);
            let request = Request {
                stop: bits.stop,
                run: bits.run,
                purge: bits.purge,
                induction_permitted: bits.induction_permitted,
            };
            self.ask(request, now_us, agenda);
        }
        if let Some(value) = written(self.map.clear_jam) {
            self.ask_clear_jam(value);
        }
        if let Some(value) = written(self.map.resync) {
            self.resync_counter = value;
            self.arm_scan(now_us, agenda);
        }
        if let Some(value) = written(self.map.pc_heartbeat) {
            self.beat(value, now_us);
        }
        let table = self.command_block();
        if table.start < range.end && range.start < table.end {
            // A table with bits that mean nothing is not taken at all: the PC finds its commands not taken.
            if let Ok(slots) = decode_commands(&self.memory.words[table], &self.map) {
                self.table = slots;
                self.arm_scan(now_us, agenda);
            }
        }
        true
    }

    /// Empties the command table, also as the PC reads it back.
    pub(super) fn clear_commands(&mut self) {
        self.table.fill(CommandSlot::default());
        let block = self.command_block();
        self.memory.words[block].fill(0);
    }

    fn command_block(&self) -> std::ops::Range<usize> {
        let from = usize::from(self.map.commands);
        from..from + usize::from(self.map.command_slots) * usize::from(COMMAND_WORDS)
    }

    fn own_blocks(&self) -> Vec<std::ops::Range<usize>> {
        let map = &self.map;
        let block = |at: u16, count: usize| usize::from(at)..usize::from(at) + count;
        vec![
            block(map.plc_heartbeat, 1),
            block(map.flags, 1),
            block(map.taken, 1),
            block(map.resync_echo, 1),
            block(map.head, 1),
            block(map.events_lost, 1),
            block(map.encoder, 2),
            block(map.speed, 1),
            block(map.epoch, 1),
            block(map.inducted, 2),
            block(map.chute_full, usize::from(map.bitmap_words)),
            block(map.chute_disabled, usize::from(map.bitmap_words)),
            block(map.ring, usize::from(map.ring_slots) * usize::from(EVENT_WORDS)),
        ]
    }
}
