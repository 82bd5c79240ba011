//! What both sides show each other all the time: the PLC's status block and chute bitmaps, the PC's own block.
//!
//! ```text
//! PLC → PC   100        101    102    103   104   105   106 107  108    109    110 111
//!           ┌──────────┬──────┬──────┬─────┬─────┬─────┬────────┬──────┬──────┬────────┐
//!           │ heartbeat│ bits │ taken│ echo│ head│ lost│ encoder│ speed│ epoch│ indctd │
//!           └──────────┴──────┴──────┴─────┴─────┴─────┴────────┴──────┴──────┴────────┘
//! PC → PLC   0          1        2             3
//!           ┌──────────┬────────┬─────────────┬────────┐
//!           │ heartbeat│ request│ acknowledged│ resync │
//!           └──────────┴────────┴─────────────┴────────┘
//! bitmaps    bit n % 16 of word n / 16 is chute number n
//! ```

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::map::{Image, RegisterMap};

/// Register 101.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "they are the bits of one register")]
pub struct PlcFlags {
    /// Bit 0.
    pub running: bool,
    /// Bit 1: emergency stop is active.
    pub e_stop: bool,
    /// Bit 2.
    pub jam: bool,
    /// Bit 3: the PLC finds our heartbeat stale.
    pub comm_lost: bool,
    /// Bit 4: manual mode.
    pub manual: bool,
    /// Bit 5.
    pub drive_fault: bool,
    /// Bit 6: the PLC asks for a resync.
    pub resync_wanted: bool,
}

impl PlcFlags {
    /// Bits that mean something.
    pub const KNOWN: u16 = 0x007F;

    /// From the register. Bits beyond [`PlcFlags::KNOWN`] are left to the caller to report.
    pub fn decode(word: u16) -> PlcFlags {
        let bit = |n: u16| word & (1 << n) != 0;
        PlcFlags {
            running: bit(0),
            e_stop: bit(1),
            jam: bit(2),
            comm_lost: bit(3),
            manual: bit(4),
            drive_fault: bit(5),
            resync_wanted: bit(6),
        }
    }

    /// To the register.
    pub fn encode(self) -> u16 {
        bits([
            (0, self.running),
            (1, self.e_stop),
            (2, self.jam),
            (3, self.comm_lost),
            (4, self.manual),
            (5, self.drive_fault),
            (6, self.resync_wanted),
        ])
    }
}

/// Register 1: what the PC asks. The PLC grants it under its own local conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "they are the bits of one register")]
pub struct RequestBits {
    /// Bit 0.
    pub stop: bool,
    /// Bit 1.
    pub run: bool,
    /// Bit 2.
    pub purge: bool,
    /// Bit 8.
    pub induction_permitted: bool,
}

impl RequestBits {
    /// From the register; other bits are the PLC's to ignore.
    pub fn decode(word: u16) -> RequestBits {
        let bit = |n: u16| word & (1 << n) != 0;
        RequestBits { stop: bit(0), run: bit(1), purge: bit(2), induction_permitted: bit(8) }
    }

    /// To the register.
    pub fn encode(self) -> u16 {
        bits([(0, self.stop), (1, self.run), (2, self.purge), (8, self.induction_permitted)])
    }
}

fn bits<const N: usize>(bits: [(u16, bool); N]) -> u16 {
    bits.into_iter().fold(0, |word, (n, set)| if set { word | 1 << n } else { word })
}

/// Why a block could not be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StatusError {
    /// A register of the block was not among those read.
    #[error("register {address} ({name}): expected in the answer, was not there")]
    Missing {
        /// Register.
        address: u16,
        /// Key of the map.
        name: &'static str,
    },
}

/// The PLC's status block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlcStatus {
    /// Register 100.
    pub heartbeat: u16,
    /// Register 101.
    pub flags: PlcFlags,
    /// Bits of register 101 that mean nothing to us.
    pub unknown_flags: u16,
    /// Register 102: highest command sequence taken.
    pub taken: u16,
    /// Register 103.
    pub resync_echo: u16,
    /// Register 104: sequence of the newest ring record, 0 where there is none.
    pub head: u16,
    /// Register 105: events lost, ever; wraps.
    pub events_lost: u16,
    /// Registers 106–107, in pulses (scaled), wrapping at 32 bits.
    pub encoder: u32,
    /// Register 108.
    pub speed_mm_s: u16,
    /// Register 109.
    pub epoch: u16,
    /// Registers 110–111.
    pub inducted: u32,
}

impl PlcStatus {
    /// From the registers that [`RegisterMap::status_reads`] asks for.
    pub fn decode(image: &Image, map: &RegisterMap) -> Result<PlcStatus, StatusError> {
        let word = |address, name| image.word(address).ok_or(StatusError::Missing { address, name });
        let long = |address, name| {
            let words = image.words(address, 2).ok_or(StatusError::Missing { address, name })?;
            Ok(map.join(words[0], words[1]))
        };
        let flags = word(map.flags, "flags")?;
        Ok(PlcStatus {
            heartbeat: word(map.plc_heartbeat, "plc-heartbeat")?,
            flags: PlcFlags::decode(flags),
            unknown_flags: flags & !PlcFlags::KNOWN,
            taken: word(map.taken, "taken")?,
            resync_echo: word(map.resync_echo, "resync-echo")?,
            head: word(map.head, "head")?,
            events_lost: word(map.events_lost, "events-lost")?,
            encoder: map.pulses(long(map.encoder, "encoder")?),
            speed_mm_s: word(map.speed, "speed")?,
            epoch: word(map.epoch, "epoch")?,
            inducted: long(map.inducted, "inducted")?,
        })
    }

    /// To registers: what is to be written where.
    pub fn encode(&self, map: &RegisterMap) -> Vec<(u16, Vec<u16>)> {
        vec![
            (map.plc_heartbeat, vec![self.heartbeat]),
            (map.flags, vec![self.flags.encode() | self.unknown_flags]),
            (map.taken, vec![self.taken]),
            (map.resync_echo, vec![self.resync_echo]),
            (map.head, vec![self.head]),
            (map.events_lost, vec![self.events_lost]),
            (map.encoder, map.split(map.raw(self.encoder)).to_vec()),
            (map.speed, vec![self.speed_mm_s]),
            (map.epoch, vec![self.epoch]),
            (map.inducted, map.split(self.inducted).to_vec()),
        ]
    }
}

/// What the PC writes once a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PcBlock {
    /// Register 0.
    pub heartbeat: u16,
    /// Register 1.
    pub request: RequestBits,
    /// Register 2: last ring record that is durable; 0 acknowledges nothing.
    pub acknowledged: u16,
    /// Register 3: resync counter.
    pub resync: u16,
}

impl PcBlock {
    /// The writes that carry it: one where the four registers lie side by side, the one with the resync counter
    /// last, because register 2 must be 0 before the PLC sees a new counter.
    pub fn writes(&self, map: &RegisterMap) -> Vec<(u16, Vec<u16>)> {
        let mut fields = [
            (map.pc_heartbeat, self.heartbeat),
            (map.request, self.request.encode()),
            (map.acknowledged, self.acknowledged),
            (map.resync, self.resync),
        ];
        fields.sort_unstable();
        let mut writes: Vec<(u16, Vec<u16>)> = Vec::new();
        for (address, word) in fields {
            match writes.last_mut() {
                Some((first, words)) if usize::from(address - *first) == words.len() => words.push(word),
                _ => writes.push((address, vec![word])),
            }
        }
        let carries_resync = |write: &(u16, Vec<u16>)| {
            map.resync.checked_sub(write.0).is_some_and(|offset| usize::from(offset) < write.1.len())
        };
        writes.sort_by_key(carries_resync);
        writes
    }

    /// From the registers that [`RegisterMap::pc_reads`] asks for.
    pub fn decode(image: &Image, map: &RegisterMap) -> Result<PcBlock, StatusError> {
        let word = |address, name| image.word(address).ok_or(StatusError::Missing { address, name });
        Ok(PcBlock {
            heartbeat: word(map.pc_heartbeat, "pc-heartbeat")?,
            request: RequestBits::decode(word(map.request, "request")?),
            acknowledged: word(map.acknowledged, "acknowledged")?,
            resync: word(map.resync, "resync")?,
        })
    }
}

/// Both chute bitmaps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChuteBits {
    /// Full sensors.
    pub full: Vec<u16>,
    /// Disabled at the PLC.
    pub disabled: Vec<u16>,
}

impl ChuteBits {
    /// From the registers that [`RegisterMap::bitmap_reads`] asks for.
    pub fn decode(image: &Image, map: &RegisterMap) -> Result<ChuteBits, StatusError> {
        let words = |address, name| {
            image
                .words(address, map.bitmap_words)
                .map(<[u16]>::to_vec)
                .ok_or(StatusError::Missing { address, name })
        };
        Ok(ChuteBits {
            full: words(map.chute_full, "chute-full")?,
            disabled: words(map.chute_disabled, "chute-disabled")?,
        })
    }
}

/// Whether a chute's bit is set; a chute beyond the bitmap has none.
pub fn chute_bit(words: &[u16], chute: u16) -> bool {
    words.get(usize::from(chute / 16)).is_some_and(|word| word & (1 << (chute % 16)) != 0)
}

/// Sets or clears a chute's bit; a chute beyond the bitmap is left out.
pub fn set_chute_bit(words: &mut [u16], chute: u16, set: bool) {
    if let Some(word) = words.get_mut(usize::from(chute / 16)) {
        let bit = 1 << (chute % 16);
        *word = if set { *word | bit } else { *word & !bit };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::plc::WordOrder;

    fn image(writes: Vec<(u16, Vec<u16>)>, reads: &[crate::wire::plc::Span]) -> Image {
        let mut registers = vec![0_u16; 65_536];
        for (address, words) in writes {
            registers[usize::from(address)..][..words.len()].copy_from_slice(&words);
        }
        let mut image = Image::default();
        for span in reads {
            let words = registers[usize::from(span.address)..][..usize::from(span.count)].to_vec();
            image.put(span.address, words);
        }
        image
    }

    #[test]
    fn frozen_status() {
        let map = RegisterMap::default();
        let mut read = Image::default();
        read.put(100, vec![7, 0b0100_0101, 300, 2, 65_535, 4, 0x0001, 0x0002, 2_500, 9, 0, 1_000]);
        let status = PlcStatus::decode(&read, &map).unwrap();
        let flags = PlcFlags { running: true, jam: true, resync_wanted: true, ..PlcFlags::default() };
        assert_eq!(
            status,
            PlcStatus {
                heartbeat: 7,
                flags,
                unknown_flags: 0,
                taken: 300,
                resync_echo: 2,
                head: 65_535,
                events_lost: 4,
                encoder: 0x0001_0002,
                speed_mm_s: 2_500,
                epoch: 9,
                inducted: 1_000,
            }
        );
        assert_eq!(image(status.encode(&map), &map.status_reads()), read);
    }

    #[test]
    fn a_short_answer_names_the_register() {
        let map = RegisterMap::default();
        let mut read = Image::default();
        read.put(100, vec![0; 11]);
        let error = PlcStatus::decode(&read, &map).unwrap_err();
        assert_eq!(error.to_string(), "register 110 (inducted): expected in the answer, was not there");
    }

    #[test]
    fn the_pc_block_is_one_write_and_the_counter_is_last() {
        let block = PcBlock {
            heartbeat: 5,
            request: RequestBits { run: true, induction_permitted: true, ..RequestBits::default() },
            acknowledged: 77,
            resync: 3,
        };
        assert_eq!(block.writes(&RegisterMap::default()), [(0, vec![5, 0x0102, 77, 3])]);
        let scattered = RegisterMap { resync: 10, acknowledged: 11, request: 50, ..RegisterMap::default() };
        assert_eq!(block.writes(&scattered), [(0, vec![5]), (50, vec![0x0102]), (10, vec![3, 77])]);
    }

    #[test]
    fn chute_bits_are_counted_from_the_low_bit() {
        let mut words = [0_u16; 2];
        set_chute_bit(&mut words, 17, true);
        assert_eq!(words, [0, 2]);
        assert!(chute_bit(&words, 17) && !chute_bit(&words, 16) && !chute_bit(&words, 999));
        set_chute_bit(&mut words, 17, false);
        set_chute_bit(&mut words, 999, true);
        assert_eq!(words, [0, 0]);
    }

    proptest! {
        #[test]
        fn status_survives_any_map(
            encoder: u32, inducted: u32, flags in 0_u16..128, head: u16, base in 2_000_u16..60_000, low: bool
        ) {
            let word_order = if low { WordOrder::LowFirst } else { WordOrder::HighFirst };
            let map = RegisterMap { encoder: base, head: base + 700, word_order, ..RegisterMap::default() };
            let flags = PlcFlags::decode(flags);
            let status = PlcStatus { encoder, inducted, flags, head, ..PlcStatus::default() };
            let read = image(status.encode(&map), &map.status_reads());
            prop_assert_eq!(PlcStatus::decode(&read, &map).unwrap(), status);
        }

        #[test]
        fn request_and_pc_block_survive(heartbeat: u16, word: u16, acknowledged: u16, resync: u16) {
            let request = RequestBits::decode(word);
            prop_assert_eq!(RequestBits::decode(request.encode()), request);
            let block = PcBlock { heartbeat, request, acknowledged, resync };
            let map = RegisterMap::default();
            let read = image(block.writes(&map), &map.pc_reads());
            prop_assert_eq!(PcBlock::decode(&read, &map).unwrap(), block);
        }
    }
}
