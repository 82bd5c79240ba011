//! The sorter PLC's register map: what `sortd` and the PLC say to each other over Modbus.
//!
//! Both directions of every block are here, since the PLC of the simulation speaks through the same codec:
//! what one side encodes the other decodes, and a test that drives both cannot agree with itself by accident
//! because the layouts are frozen by vectors.
//!
//! | file | block |
//! |---|---|
//! | `map` | addresses, word order, scale; which registers are read and written together |
//! | `event` | one record of the event ring, 10 registers |
//! | `command` | the command table, 6 registers a slot |
//! | `status` | heartbeat, state bits, counters, encoder; chute bitmaps; the PC's own block |
//!
//! # Words of the field
//!
//! *Sequence*: 1…65535, wrapping to 1; 0 is "none yet" and is used only before the first record and in a
//! resync. *Ring slot* of a sequence: `sequence % slots`; *command slot*: the same. *Head*: the sequence of the
//! newest record in the ring.
//!
//! # What the PLC promises
//!
//! 1. It writes a slot's sequence last, and moves the head after it.
//! 2. Register 2 = 0 acknowledges nothing.
//! 3. It takes commands in the order of their sequences; one that is newer than the last one taken is taken
//!    even if sequences between them never came.
//! 4. A resync is asked for by a counter in register 3 that differs from its echo in 103, register 2 being 0
//!    then: the PLC drops what it had seen acknowledged, numbers the records it still holds from 1, records
//!    type 10, clears its command table and register 102, and only then echoes the counter.
//! 5. A restart of the PLC is a new epoch; registers 2, 3 and the command table are 0 then.

mod command;
mod event;
mod map;
mod status;

pub use command::{CommandError, CommandSlot, decode_commands, encode_commands};
pub use event::{CommandResult, Discharge, EventError, PlcEvent, PlcEventKind, ring_seq};
pub use map::{
    COMMAND_WORDS, EVENT_WORDS, Image, MapError, READ_WORDS_MOST, RING_SLOTS_A_READ, RegisterMap, Span,
    WRITE_WORDS_MOST, WordOrder,
};
pub use status::{
    ChuteBits, PcBlock, PlcFlags, PlcStatus, RequestBits, StatusError, chute_bit, set_chute_bit,
};

/// The sequence after `seq`: 1…65535, wrapping to 1.
pub fn next_seq(seq: u16) -> u16 {
    if seq == u16::MAX { 1 } else { seq + 1 }
}

/// Steps from `from` to `to` on the 1…65535 circle, 0 counted as "before 1".
pub fn seq_distance(from: u16, to: u16) -> u16 {
    if from == 0 {
        // 0 and 65535 both stand before 1, but from 0 the whole circle lies ahead.
        return to;
    }
    let (from, to) = (u32::from(from), u32::from(to));
    u16::try_from((to + 65_535 - from) % 65_535).unwrap_or(0)
}

/// Whether `seq` is `reference` or lies behind it: less than half the circle back.
pub fn seq_reached(seq: u16, reference: u16) -> bool {
    seq_distance(seq, reference) < HALF_CIRCLE
}

/// Two sequences further apart than this cannot be put in order; it is far more than any ring holds.
pub const HALF_CIRCLE: u16 = 32_768;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_past_zero() {
        assert_eq!(next_seq(0), 1);
        assert_eq!(next_seq(65_535), 1);
        assert_eq!(seq_distance(65_535, 1), 1);
        assert_eq!(seq_distance(0, 1), 1);
        assert_eq!(seq_distance(0, 65_535), 65_535);
        assert_eq!(seq_distance(65_000, 465), 1_000);
        assert_eq!(seq_distance(7, 7), 0);
        assert_eq!(seq_distance(7, 6), 65_534);
    }

    #[test]
    fn order_is_known_across_the_wrap() {
        assert!(seq_reached(65_530, 3));
        assert!(!seq_reached(3, 65_530));
        assert!(seq_reached(4, 4));
    }

    proptest::proptest! {
        #[test]
        fn distance_counts_steps(from in 0_u16.., steps in 0_u16..2_000) {
            let mut to = from;
            for _ in 0..steps {
                to = next_seq(to);
            }
            proptest::prop_assert_eq!(seq_distance(from, to), steps);
        }
    }
}
