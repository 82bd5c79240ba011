//! Where every register is, and which are read and written together.
//!
//! No two lines have the same PLC programme, so each address, width, word order and scale is configured. What is
//! contiguous is read in one request; what is not, in several.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Registers one FC03 may ask for (Modbus application protocol 1.1b3, 6.3).
pub const READ_WORDS_MOST: u16 = 125;
/// Registers one FC16 may carry (Modbus application protocol 1.1b3, 6.12).
pub const WRITE_WORDS_MOST: u16 = 123;
/// Registers of one slot of the event ring.
pub const EVENT_WORDS: u16 = 10;
/// Registers of one slot of the command table.
pub const COMMAND_WORDS: u16 = 6;
/// Ring slots that fit into one read.
pub const RING_SLOTS_A_READ: u16 = READ_WORDS_MOST / EVENT_WORDS;
/// A hole of unused registers up to this long is read through rather than costing a request of its own.
const HOLE_MOST: u16 = 8;
/// The ring must be far shorter than half the circle of sequences, or old and new could not be told apart.
const RING_SLOTS_LIMIT: u16 = 6_000;

/// Addresses of the map; the defaults are those of the PLC programme `sortd` defines, each can be configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RegisterMap {
    /// PC → PLC: heartbeat.
    pub pc_heartbeat: u16,
    /// PC → PLC: request word.
    pub request: u16,
    /// PC → PLC: last durable event.
    pub acknowledged: u16,
    /// PC → PLC: resync counter.
    pub resync: u16,
    /// PC → PLC: clear-jam mask.
    pub clear_jam: u16,
    /// PC → PLC: first register of the command table.
    pub commands: u16,
    /// Slots of the command table.
    pub command_slots: u16,
    /// PLC → PC: heartbeat.
    pub plc_heartbeat: u16,
    /// PLC → PC: state bits.
    pub flags: u16,
    /// PLC → PC: highest command taken.
    pub taken: u16,
    /// PLC → PC: resync echo.
    pub resync_echo: u16,
    /// PLC → PC: head of the event ring.
    pub head: u16,
    /// PLC → PC: events lost, ever.
    pub events_lost: u16,
    /// PLC → PC: encoder, 2 registers.
    pub encoder: u16,
    /// PLC → PC: speed in mm/s.
    pub speed: u16,
    /// PLC → PC: epoch.
    pub epoch: u16,
    /// PLC → PC: parcels inducted in this epoch, 2 registers.
    pub inducted: u16,
    /// PLC → PC: first word of the chute-full bitmap.
    pub chute_full: u16,
    /// PLC → PC: first word of the chute-disabled bitmap.
    pub chute_disabled: u16,
    /// Words of each bitmap.
    pub bitmap_words: u16,
    /// PLC → PC: first register of the event ring.
    pub ring: u16,
    /// Slots of the event ring.
    pub ring_slots: u16,
    /// Order of the two words of a 32-bit value.
    pub word_order: WordOrder,
    /// Encoder value × this = pulses (scale of the PLC's encoder register).
    pub encoder_scale: u32,
}

/// Order of the two registers of a 32-bit value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WordOrder {
    /// High word at the lower address.
    #[default]
    HighFirst,
    /// Low word at the lower address.
    LowFirst,
}

impl Default for RegisterMap {
    fn default() -> Self {
        RegisterMap {
            pc_heartbeat: 0,
            request: 1,
            acknowledged: 2,
            resync: 3,
            clear_jam: 9,
            // 16 slots × 6 registers from 20 on, as the first draft of the map had it, would run into the status
            // block at 100: both are holding registers of one unit.
            commands: 300,
            command_slots: 16,
            plc_heartbeat: 100,
            flags: 101,
            taken: 102,
            resync_echo: 103,
            head: 104,
            events_lost: 105,
            encoder: 106,
            speed: 108,
            epoch: 109,
            inducted: 110,
            chute_full: 200,
            chute_disabled: 216,
            bitmap_words: 16,
            ring: 1000,
            ring_slots: 1024,
            word_order: WordOrder::HighFirst,
            encoder_scale: 1,
        }
    }
}

/// Registers that lie side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First register.
    pub address: u16,
    /// How many.
    pub count: u16,
}

/// Registers as they were read, a few spans of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    parts: Vec<(u16, Vec<u16>)>,
}

impl Image {
    /// Adds what was read from `address`.
    pub fn put(&mut self, address: u16, words: Vec<u16>) {
        self.parts.push((address, words));
    }

    /// One register, if it was read.
    pub fn word(&self, address: u16) -> Option<u16> {
        self.words(address, 1).map(|words| words[0])
    }

    /// Registers side by side, if one read brought them all.
    pub fn words(&self, address: u16, count: u16) -> Option<&[u16]> {
        self.parts.iter().find_map(|(first, words)| {
            let from = usize::from(address.checked_sub(*first)?);
            words.get(from..from + usize::from(count))
        })
    }
}

/// Why a map cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MapError {
    /// A number of slots or words outside its limits.
    #[error("{name}: expected {least}…{most}, came {came}")]
    Limit {
        /// Key.
        name: &'static str,
        /// Least.
        least: u32,
        /// Most.
        most: u32,
        /// Value.
        came: u32,
    },
    /// A block that runs past the last register.
    #[error("{name}: {count} registers from {address} run past register 65535")]
    PastEnd {
        /// Key.
        name: &'static str,
        /// First register.
        address: u16,
        /// Registers.
        count: u32,
    },
    /// Two blocks share a register.
    #[error("{first} and {second} share register {address}")]
    Overlap {
        /// Key.
        first: &'static str,
        /// Key.
        second: &'static str,
        /// A register both claim.
        address: u16,
    },
}

impl RegisterMap {
    /// Two registers, as they lie, to a 32-bit value.
    pub fn join(&self, first: u16, second: u16) -> u32 {
        let (high, low) = match self.word_order {
            WordOrder::HighFirst => (first, second),
            WordOrder::LowFirst => (second, first),
        };
        u32::from(high) << 16 | u32::from(low)
    }

    /// A 32-bit value to two registers, as they lie.
    pub fn split(&self, value: u32) -> [u16; 2] {
        let (high, low) = ((value >> 16) as u16, (value & 0xFFFF) as u16);
        match self.word_order {
            WordOrder::HighFirst => [high, low],
            WordOrder::LowFirst => [low, high],
        }
    }

    /// The encoder register's value in pulses; both wrap at 32 bits, so the product stays in step.
    pub fn pulses(&self, raw: u32) -> u32 {
        raw.wrapping_mul(self.encoder_scale)
    }

    /// Pulses as the encoder register shows them: what is less than one step of the register is cut off.
    pub fn raw(&self, pulses: u32) -> u32 {
        pulses / self.encoder_scale.max(1)
    }

    /// Slot of the ring in which this sequence stands.
    pub fn ring_slot(&self, seq: u16) -> u16 {
        seq % self.ring_slots.max(1)
    }

    /// First register of the ring slot of this sequence.
    pub fn ring_address(&self, seq: u16) -> u16 {
        self.ring.saturating_add(self.ring_slot(seq).saturating_mul(EVENT_WORDS))
    }

    /// The registers of up to `count` records from `first` on that one read can fetch: it ends at the ring's
    /// last slot, at sequence 65535 (slot 0 follows only by chance) and at [`RING_SLOTS_A_READ`].
    pub fn ring_read(&self, first: u16, count: u16) -> Span {
        let to_end = self.ring_slots.max(1) - self.ring_slot(first);
        let to_wrap = u16::MAX - first;
        let slots = count.min(RING_SLOTS_A_READ).min(to_end).min(to_wrap.saturating_add(1));
        Span { address: self.ring_address(first), count: slots.max(1) * EVENT_WORDS }
    }

    /// Slot of the command table in which this sequence stands.
    pub fn command_slot(&self, seq: u16) -> u16 {
        seq % self.command_slots.max(1)
    }

    /// The registers of the command table.
    pub fn command_span(&self) -> Span {
        Span { address: self.commands, count: self.command_slots.saturating_mul(COMMAND_WORDS) }
    }

    /// The reads that fetch the status block (registers 100–111 by default): one, where it lies together.
    pub fn status_reads(&self) -> Vec<Span> {
        gather(vec![
            (self.plc_heartbeat, 1),
            (self.flags, 1),
            (self.taken, 1),
            (self.resync_echo, 1),
            (self.head, 1),
            (self.events_lost, 1),
            (self.encoder, 2),
            (self.speed, 1),
            (self.epoch, 1),
            (self.inducted, 2),
        ])
    }

    /// The reads that fetch both chute bitmaps.
    pub fn bitmap_reads(&self) -> Vec<Span> {
        gather(vec![(self.chute_full, self.bitmap_words), (self.chute_disabled, self.bitmap_words)])
    }

    /// The reads that fetch what the PC itself wrote (registers 0–3 by default).
    pub fn pc_reads(&self) -> Vec<Span> {
        gather(vec![(self.pc_heartbeat, 1), (self.request, 1), (self.acknowledged, 1), (self.resync, 1)])
    }

    /// Everything that makes this map unusable; empty where it can be used.
    pub fn faults(&self) -> Vec<MapError> {
        let mut faults = Vec::new();
        let mut limit = |name, least: u32, most: u16, came: u32| {
            if came < least || came > u32::from(most) {
                faults.push(MapError::Limit { name, least, most: most.into(), came });
            }
        };
        limit("command-slots", 1, WRITE_WORDS_MOST / COMMAND_WORDS, self.command_slots.into());
        limit("bitmap-words", 1, READ_WORDS_MOST, self.bitmap_words.into());
        limit("ring-slots", u32::from(RING_SLOTS_A_READ), RING_SLOTS_LIMIT, self.ring_slots.into());
        limit("encoder-scale", 1, u16::MAX, self.encoder_scale);
        let mut blocks = self.blocks();
        for &(name, address, count) in &blocks {
            if u32::from(address) + count > 65_536 {
                faults.push(MapError::PastEnd { name, address, count });
            }
        }
        blocks.sort_by_key(|&(_, address, _)| address);
        for (place, &(first, address, count)) in blocks.iter().enumerate() {
            let end = u32::from(address) + count;
            for &(second, start, _) in &blocks[place + 1..] {
                if u32::from(start) < end {
                    faults.push(MapError::Overlap { first, second, address: start });
                }
            }
        }
        faults
    }

    fn blocks(&self) -> Vec<(&'static str, u16, u32)> {
        vec![
            ("pc-heartbeat", self.pc_heartbeat, 1),
            ("request", self.request, 1),
            ("acknowledged", self.acknowledged, 1),
            ("resync", self.resync, 1),
            ("clear-jam", self.clear_jam, 1),
            ("commands", self.commands, u32::from(self.command_slots) * u32::from(COMMAND_WORDS)),
            ("plc-heartbeat", self.plc_heartbeat, 1),
            ("flags", self.flags, 1),
            ("taken", self.taken, 1),
            ("resync-echo", self.resync_echo, 1),
            ("head", self.head, 1),
            ("events-lost", self.events_lost, 1),
            ("encoder", self.encoder, 2),
            ("speed", self.speed, 1),
            ("epoch", self.epoch, 1),
            ("inducted", self.inducted, 2),
            ("chute-full", self.chute_full, self.bitmap_words.into()),
            ("chute-disabled", self.chute_disabled, self.bitmap_words.into()),
            ("ring", self.ring, u32::from(self.ring_slots) * u32::from(EVENT_WORDS)),
        ]
    }
}

/// The fewest reads for these fields: neighbours share one, small holes are read through, a field is never
/// torn over two reads.
fn gather(mut fields: Vec<(u16, u16)>) -> Vec<Span> {
    fields.sort_unstable();
    let mut spans: Vec<Span> = Vec::new();
    for (address, count) in fields {
        if let Some(last) = spans.last_mut() {
            let end = u32::from(last.address) + u32::from(last.count);
            let hole = u32::from(address).saturating_sub(end);
            let whole = (u32::from(address) + u32::from(count)).max(end) - u32::from(last.address);
            if hole <= u32::from(HOLE_MOST) && whole <= u32::from(READ_WORDS_MOST) {
                last.count = u16::try_from(whole).unwrap_or(READ_WORDS_MOST);
                continue;
            }
        }
        spans.push(Span { address, count });
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_map_reads_in_few_requests() {
        let map = RegisterMap::default();
        assert_eq!(map.faults(), []);
        assert_eq!(map.status_reads(), [Span { address: 100, count: 12 }]);
        assert_eq!(map.bitmap_reads(), [Span { address: 200, count: 32 }]);
        assert_eq!(map.pc_reads(), [Span { address: 0, count: 4 }]);
        assert_eq!(map.command_span(), Span { address: 300, count: 96 });
    }

    #[test]
    fn sixteen_slots_do_not_fit_before_the_status_block() {
        let map = RegisterMap { commands: 20, ..RegisterMap::default() };
        assert!(map.faults().contains(&MapError::Overlap {
            first: "commands",
            second: "plc-heartbeat",
            address: 100
        }));
    }

    #[test]
    fn scattered_registers_are_read_apart() {
        let map = RegisterMap { encoder: 5_000, head: 65_535, ..RegisterMap::default() };
        assert_eq!(
            map.status_reads(),
            [
                Span { address: 100, count: 12 },
                Span { address: 5_000, count: 2 },
                Span { address: 65_535, count: 1 }
            ]
        );
    }

    #[test]
    fn ring_reads_stop_at_the_ends() {
        let map = RegisterMap::default();
        assert_eq!(map.ring_read(1, 500), Span { address: 1_010, count: 120 });
        assert_eq!(map.ring_read(1_020, 500), Span { address: 1_000 + 10_200, count: 40 });
        assert_eq!(map.ring_read(65_535, 500), Span { address: 1_000 + 10_230, count: 10 });
        let odd = RegisterMap { ring_slots: 1_000, ..RegisterMap::default() };
        // 65530 stands in slot 530; after 65535 comes 1 in slot 1, not in slot 536.
        assert_eq!(odd.ring_read(65_530, 12), Span { address: 1_000 + 5_300, count: 60 });
    }

    #[test]
    fn a_bad_map_says_everything_at_once() {
        let map = RegisterMap {
            command_slots: 21,
            ring: 60_000,
            request: 100,
            encoder_scale: 0,
            ..RegisterMap::default()
        };
        let faults = map.faults();
        assert!(faults.contains(&MapError::Limit { name: "command-slots", least: 1, most: 20, came: 21 }));
        assert!(faults.contains(&MapError::PastEnd { name: "ring", address: 60_000, count: 10_240 }));
        assert!(faults.iter().any(|fault| matches!(fault, MapError::Overlap { address: 100, .. })));
        assert!(faults.iter().any(|fault| matches!(fault, MapError::Limit { name: "encoder-scale", .. })));
    }

    proptest::proptest! {
        #[test]
        fn words_join_and_split(value: u32, low: bool) {
            let word_order = if low { WordOrder::LowFirst } else { WordOrder::HighFirst };
            let map = RegisterMap { word_order, ..RegisterMap::default() };
            let [first, second] = map.split(value);
            proptest::prop_assert_eq!(map.join(first, second), value);
        }

        #[test]
        fn every_field_is_in_one_span(addresses in proptest::collection::vec((0_u16..60_000, 1_u16..3), 1..20)) {
            let spans = gather(addresses.clone());
            for (address, count) in addresses {
                let whole = spans.iter().any(|span| {
                    span.address <= address
                        && u32::from(address) + u32::from(count)
                            <= u32::from(span.address) + u32::from(span.count)
                });
                proptest::prop_assert!(whole);
            }
            for span in spans {
                proptest::prop_assert!(span.count <= READ_WORDS_MOST);
            }
        }
    }
}
