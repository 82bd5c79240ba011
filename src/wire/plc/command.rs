//! The command table: where the PC tells the PLC which parcel goes to which chute.
//!
//! ```text
//!  +0  +1     +2      +3          +4      +5
//! ┌─────────┬───────┬───────────┬───────┬──────────┐
//! │ track id│ chute │ alternate │ flags │ sequence │  6 registers, × command_slots
//! └─────────┴───────┴───────────┴───────┴──────────┘
//!   32 bit                        │       written last
//!                                 └ bit 0 cancel, bit 1 recirculate
//! ```
//!
//! The command with sequence `s` stands in slot `s % slots`; the whole table goes out in one FC16, so that the
//! PLC never sees half a command. A slot is free again once register 102 has reached its sequence.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::map::{COMMAND_WORDS, RegisterMap};

const CANCEL: u16 = 1 << 0;
const RECIRCULATE: u16 = 1 << 1;

/// One slot of the command table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CommandSlot {
    /// Command sequence 1…65535, written last; 0 is an empty slot.
    pub seq: u16,
    /// Track id.
    pub track: u32,
    /// Chute.
    pub chute: u16,
    /// Alternate of the same destination; 0 none.
    pub alternate: u16,
    /// Flags bit 0: cancel the command for this track id.
    pub cancel: bool,
    /// Flags bit 1: let it go round.
    pub recirculate: bool,
}

/// Why a command table could not be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CommandError {
    /// Not a whole table.
    #[error("command table: expected {expected} registers, came {came}")]
    Length {
        /// Slots × 6.
        expected: usize,
        /// Registers that came.
        came: usize,
    },
    /// Bits that mean nothing.
    #[error("command slot {slot}, register +4 (flags): expected bits 0…1, came {came:#06x}")]
    UnknownFlags {
        /// Slot, from 0.
        slot: usize,
        /// Value.
        came: u16,
    },
    /// A sequence in a slot where it cannot stand.
    #[error("command slot {slot}, register +5 (sequence): {came} belongs to slot {belongs}")]
    WrongSlot {
        /// Slot, from 0.
        slot: usize,
        /// Value.
        came: u16,
        /// Slot of that sequence.
        belongs: u16,
    },
}

impl CommandSlot {
    fn encode(&self, map: &RegisterMap) -> [u16; COMMAND_WORDS as usize] {
        let track = map.split(self.track);
        let flags = if self.cancel { CANCEL } else { 0 } | if self.recirculate { RECIRCULATE } else { 0 };
        [track[0], track[1], self.chute, self.alternate, flags, self.seq]
    }

    fn decode(slot: usize, words: &[u16], map: &RegisterMap) -> Result<CommandSlot, CommandError> {
        let (flags, seq) = (words[4], words[5]);
        if seq == 0 {
            return Ok(CommandSlot::default());
        }
        if flags & !(CANCEL | RECIRCULATE) != 0 {
            return Err(CommandError::UnknownFlags { slot, came: flags });
        }
        let belongs = map.command_slot(seq);
        if usize::from(belongs) != slot {
            return Err(CommandError::WrongSlot { slot, came: seq, belongs });
        }
        Ok(CommandSlot {
            seq,
            track: map.join(words[0], words[1]),
            chute: words[2],
            alternate: words[3],
            cancel: flags & CANCEL != 0,
            recirculate: flags & RECIRCULATE != 0,
        })
    }
}

/// The whole table as the words of one FC16. `table` is indexed by slot; slots that are missing are empty.
pub fn encode_commands(table: &[CommandSlot], map: &RegisterMap) -> Vec<u16> {
    let empty = CommandSlot::default();
    (0..usize::from(map.command_slots))
        .flat_map(|slot| table.get(slot).unwrap_or(&empty).encode(map))
        .collect()
}

/// The table indexed by slot; empty slots (sequence 0) decode to the default, whatever else they hold.
pub fn decode_commands(words: &[u16], map: &RegisterMap) -> Result<Vec<CommandSlot>, CommandError> {
    let expected = usize::from(map.command_slots) * usize::from(COMMAND_WORDS);
    if words.len() != expected {
        return Err(CommandError::Length { expected, came: words.len() });
    }
    words
        .chunks_exact(usize::from(COMMAND_WORDS))
        .enumerate()
        .map(|(slot, words)| CommandSlot::decode(slot, words, map))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frozen_table() {
        let map = RegisterMap { command_slots: 3, ..RegisterMap::default() };
        let table = [
            CommandSlot::default(),
            CommandSlot {
                seq: 4,
                track: 0x0012_3456,
                chute: 7,
                alternate: 8,
                cancel: false,
                recirculate: true,
            },
            CommandSlot { seq: 2, track: 9, chute: 0, alternate: 0, cancel: true, recirculate: false },
        ];
        let words = [0, 0, 0, 0, 0, 0, 0x0012, 0x3456, 7, 8, 2, 4, 0, 9, 0, 0, 1, 2];
        assert_eq!(encode_commands(&table, &map), words);
        assert_eq!(decode_commands(&words, &map).unwrap(), table);
    }

    #[test]
    fn errors_name_slot_register_and_value() {
        let map = RegisterMap { command_slots: 2, ..RegisterMap::default() };
        let error = decode_commands(&[0; 11], &map).unwrap_err();
        assert_eq!(error.to_string(), "command table: expected 12 registers, came 11");
        let error = decode_commands(&[0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 8, 1], &map).unwrap_err();
        assert_eq!(error.to_string(), "command slot 1, register +4 (flags): expected bits 0…1, came 0x0008");
        let error = decode_commands(&[0, 1, 2, 0, 0, 1, 0, 0, 0, 0, 0, 0], &map).unwrap_err();
        assert_eq!(error.to_string(), "command slot 0, register +5 (sequence): 1 belongs to slot 1");
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(
            seqs in prop::collection::vec(1_u16.., 0..16), track: u32, chute: u16, cancel: bool
        ) {
            let map = RegisterMap::default();
            let mut table = vec![CommandSlot::default(); 16];
            for seq in seqs {
                table[usize::from(map.command_slot(seq))] =
                    CommandSlot { seq, track, chute, alternate: 1, cancel, recirculate: !cancel };
            }
            prop_assert_eq!(decode_commands(&encode_commands(&table, &map), &map).unwrap(), table);
        }

        #[test]
        fn any_words_decode_or_are_refused(words in prop::collection::vec(any::<u16>(), 96)) {
            let _ = decode_commands(&words, &RegisterMap::default());
        }
    }
}
