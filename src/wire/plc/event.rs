//! One record of the event ring.
//!
//! ```text
//!  +0    +1  +2      +3     +4      +5  +6     +7       +8         +9
//! ┌──────┬─────────┬───────┬───────┬─────────┬─────────┬──────────┬──────────┐
//! │ type │ track id│ chute │ reason│ encoder │ carrier │ length mm│ sequence │  10 registers
//! └──────┴─────────┴───────┴───────┴─────────┴─────────┴──────────┴──────────┘
//!          32 bit                    32 bit                         written last
//! ```
//!
//! `chute` is the eye's number in types 2 and 3; `carrier` is the command's sequence in type 9.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::map::{EVENT_WORDS, RegisterMap};

const TYPE: usize = 0;
const TRACK: usize = 1;
const CHUTE: usize = 3;
const REASON: usize = 4;
const ENCODER: usize = 5;
const CARRIER: usize = 7;
const LENGTH: usize = 8;
const SEQUENCE: usize = 9;

/// One record of the event ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlcEvent {
    /// Ring sequence 1…65535.
    pub seq: u16,
    /// What happened.
    pub kind: PlcEventKind,
    /// Track id; 0 where none belongs to it.
    pub track: u32,
    /// Encoder pulses at the moment it happened (front edge for eyes), wrapping.
    pub encoder: u32,
    /// Carrier (cross-belt cell) number, 0 on a plain belt; for command results the command's sequence.
    pub carrier: u16,
    /// Parcel length for inductions, otherwise 0.
    pub length_mm: u16,
}

/// What a ring record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlcEventKind {
    /// Type 1: a parcel has cleared the induction eye.
    Inducted,
    /// Type 2: a tracked parcel passed an eye; eye 0 is the induction eye (a recirculated parcel's new lap).
    EyePassed {
        /// Eye number, in the chute field.
        eye: u16,
    },
    /// Type 3: an eye fired with no parcel due.
    Unexpected {
        /// Eye number.
        eye: u16,
    },
    /// Type 4: it left the belt into a chute.
    Discharged {
        /// Chute.
        chute: u16,
        /// How.
        how: Discharge,
    },
    /// Type 5: the divert did not happen; the parcel is still on the belt, on its way to the end.
    DivertFailed {
        /// Chute it was meant for.
        chute: u16,
    },
    /// Type 6: taken off the belt, or its track was dropped.
    Removed {
        /// 0 by hand, 1 did not arrive at an eye, 2 purge.
        reason: u16,
    },
    /// Type 7: bag or cage exchanged.
    ChuteChanged {
        /// Chute.
        chute: u16,
    },
    /// Type 8: a button at a chute.
    Button {
        /// Chute.
        chute: u16,
    },
    /// Type 9: what became of a command; `carrier` is its sequence.
    CommandResult {
        /// Chute of the command.
        chute: u16,
        /// Result.
        result: CommandResult,
    },
    /// Type 10: resync done.
    Resynced,
}

/// How a parcel left the belt: the reason field of type 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Discharge {
    /// 0: by command, the confirm sensor saw it.
    Confirmed,
    /// 1: no command by the decision point; to the PLC's exception chute, confirmed there.
    NoCommand,
    /// 2: by command, but the confirm sensor did not see it.
    Unconfirmed,
    /// 3: purged to the exception chute.
    Purged,
}

/// Result of a command: the reason field of type 9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandResult {
    /// 0.
    Taken,
    /// 1.
    UnknownId,
    /// 2.
    TooLate,
    /// 3.
    ChuteFull,
    /// 4.
    ChuteDisabled,
}

/// Why a ring slot could not be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EventError {
    /// Not the registers of one slot.
    #[error("ring slot: expected {EVENT_WORDS} registers, came {came}")]
    Length {
        /// Registers that came.
        came: usize,
    },
    /// A slot nobody has written.
    #[error("ring slot register +9 (sequence): expected 1…65535, came 0")]
    Empty,
    /// No such event type.
    #[error("ring record {seq}, register +0 (type): expected 1…10, came {came}")]
    UnknownType {
        /// Record.
        seq: u16,
        /// Value.
        came: u16,
    },
    /// The type is known, its reason is not.
    #[error("ring record {seq} of type {kind}, register +4 (reason): expected 0…{most}, came {came}")]
    UnknownReason {
        /// Record.
        seq: u16,
        /// Event type.
        kind: u16,
        /// Highest reason the type knows.
        most: u16,
        /// Value.
        came: u16,
    },
}

/// The sequence of a slot, without looking at the rest; `None` where the words are not one slot.
pub fn ring_seq(words: &[u16]) -> Option<u16> {
    (words.len() == usize::from(EVENT_WORDS)).then(|| words[SEQUENCE])
}

impl PlcEvent {
    /// Decodes one slot. Fields that the type does not use are not looked at.
    pub fn decode(words: &[u16], map: &RegisterMap) -> Result<PlcEvent, EventError> {
        let seq = ring_seq(words).ok_or(EventError::Length { came: words.len() })?;
        if seq == 0 {
            return Err(EventError::Empty);
        }
        let (kind, chute, reason) = (words[TYPE], words[CHUTE], words[REASON]);
        let unknown = |most| EventError::UnknownReason { seq, kind, most, came: reason };
        let kind = match kind {
            1 => PlcEventKind::Inducted,
            2 => PlcEventKind::EyePassed { eye: chute },
            3 => PlcEventKind::Unexpected { eye: chute },
            4 => {
                let how = match reason {
                    0 => Discharge::Confirmed,
                    1 => Discharge::NoCommand,
                    2 => Discharge::Unconfirmed,
                    3 => Discharge::Purged,
                    _ => return Err(unknown(3)),
                };
                PlcEventKind::Discharged { chute, how }
            }
            5 => PlcEventKind::DivertFailed { chute },
            6 if reason > REMOVED_REASON_MOST => return Err(unknown(REMOVED_REASON_MOST)),
            6 => PlcEventKind::Removed { reason },
            7 => PlcEventKind::ChuteChanged { chute },
            8 => PlcEventKind::Button { chute },
            9 => {
                let result = match reason {
                    0 => CommandResult::Taken,
                    1 => CommandResult::UnknownId,
                    2 => CommandResult::TooLate,
                    3 => CommandResult::ChuteFull,
                    4 => CommandResult::ChuteDisabled,
                    _ => return Err(unknown(4)),
                };
                PlcEventKind::CommandResult { chute, result }
            }
            10 => PlcEventKind::Resynced,
            came => return Err(EventError::UnknownType { seq, came }),
        };
        Ok(PlcEvent {
            seq,
            kind,
            track: map.join(words[TRACK], words[TRACK + 1]),
            encoder: map.pulses(map.join(words[ENCODER], words[ENCODER + 1])),
            carrier: words[CARRIER],
            length_mm: words[LENGTH],
        })
    }

    /// Encodes one slot; the PLC writes its last register last.
    pub fn encode(&self, map: &RegisterMap) -> [u16; EVENT_WORDS as usize] {
        let (kind, chute, reason) = match self.kind {
            PlcEventKind::Inducted => (1, 0, 0),
            PlcEventKind::EyePassed { eye } => (2, eye, 0),
            PlcEventKind::Unexpected { eye } => (3, eye, 0),
            PlcEventKind::Discharged { chute, how } => (4, chute, how as u16),
            PlcEventKind::DivertFailed { chute } => (5, chute, 0),
            PlcEventKind::Removed { reason } => (6, 0, reason),
            PlcEventKind::ChuteChanged { chute } => (7, chute, 0),
            PlcEventKind::Button { chute } => (8, chute, 0),
            PlcEventKind::CommandResult { chute, result } => (9, chute, result as u16),
            PlcEventKind::Resynced => (10, 0, 0),
        };
        let track = map.split(self.track);
        let encoder = map.split(map.raw(self.encoder));
        [
            kind,
            track[0],
            track[1],
            chute,
            reason,
            encoder[0],
            encoder[1],
            self.carrier,
            self.length_mm,
            self.seq,
        ]
    }
}

/// Reasons of type 6 are 0 by hand, 1 did not arrive, 2 purge.
const REMOVED_REASON_MOST: u16 = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::plc::WordOrder;

    fn kinds() -> impl Strategy<Value = PlcEventKind> {
        prop_oneof![
            Just(PlcEventKind::Inducted),
            any::<u16>().prop_map(|eye| PlcEventKind::EyePassed { eye }),
            any::<u16>().prop_map(|eye| PlcEventKind::Unexpected { eye }),
            (any::<u16>(), 0_usize..4).prop_map(|(chute, how)| PlcEventKind::Discharged {
                chute,
                how: [Discharge::Confirmed, Discharge::NoCommand, Discharge::Unconfirmed, Discharge::Purged]
                    [how],
            }),
            any::<u16>().prop_map(|chute| PlcEventKind::DivertFailed { chute }),
            (0_u16..=2).prop_map(|reason| PlcEventKind::Removed { reason }),
            any::<u16>().prop_map(|chute| PlcEventKind::ChuteChanged { chute }),
            any::<u16>().prop_map(|chute| PlcEventKind::Button { chute }),
            (any::<u16>(), 0_usize..5).prop_map(|(chute, result)| PlcEventKind::CommandResult {
                chute,
                result: [
                    CommandResult::Taken,
                    CommandResult::UnknownId,
                    CommandResult::TooLate,
                    CommandResult::ChuteFull,
                    CommandResult::ChuteDisabled,
                ][result],
            }),
            Just(PlcEventKind::Resynced),
        ]
    }

    #[test]
    fn frozen_discharge() {
        let event = PlcEvent {
            seq: 0xBEEF,
            kind: PlcEventKind::Discharged { chute: 37, how: Discharge::Unconfirmed },
            track: 0x0001_86A0,
            encoder: 0xDEAD_0042,
            carrier: 12,
            length_mm: 0,
        };
        let words = [4, 0x0001, 0x86A0, 37, 2, 0xDEAD, 0x0042, 12, 0, 0xBEEF];
        assert_eq!(event.encode(&RegisterMap::default()), words);
        assert_eq!(PlcEvent::decode(&words, &RegisterMap::default()), Ok(event));
        let low = RegisterMap { word_order: WordOrder::LowFirst, ..RegisterMap::default() };
        assert_eq!(event.encode(&low), [4, 0x86A0, 0x0001, 37, 2, 0x0042, 0xDEAD, 12, 0, 0xBEEF]);
    }

    #[test]
    fn frozen_command_result() {
        let words = [9, 0, 77, 3, 2, 0, 5, 1_234, 0, 9];
        let event = PlcEvent::decode(&words, &RegisterMap::default()).unwrap();
        assert_eq!(event.kind, PlcEventKind::CommandResult { chute: 3, result: CommandResult::TooLate });
        assert_eq!((event.carrier, event.track, event.seq), (1_234, 77, 9));
    }

    #[test]
    fn errors_name_register_and_value() {
        let map = RegisterMap::default();
        let error = PlcEvent::decode(&[11, 0, 0, 0, 0, 0, 0, 0, 0, 5], &map).unwrap_err();
        assert_eq!(error.to_string(), "ring record 5, register +0 (type): expected 1…10, came 11");
        let error = PlcEvent::decode(&[4, 0, 0, 0, 9, 0, 0, 0, 0, 5], &map).unwrap_err();
        assert_eq!(error.to_string(), "ring record 5 of type 4, register +4 (reason): expected 0…3, came 9");
        assert_eq!(PlcEvent::decode(&[1; 9], &map), Err(EventError::Length { came: 9 }));
        assert_eq!(PlcEvent::decode(&[0; 10], &map), Err(EventError::Empty));
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(
            seq in 1_u16.., kind in kinds(), track: u32, encoder: u32, carrier: u16, length_mm: u16, low: bool
        ) {
            let word_order = if low { WordOrder::LowFirst } else { WordOrder::HighFirst };
            let map = RegisterMap { word_order, ..RegisterMap::default() };
            let event = PlcEvent { seq, kind, track, encoder, carrier, length_mm };
            prop_assert_eq!(PlcEvent::decode(&event.encode(&map), &map), Ok(event));
        }

        #[test]
        fn any_words_decode_or_are_refused(words in prop::collection::vec(any::<u16>(), 0..12)) {
            let map = RegisterMap::default();
            if let Ok(event) = PlcEvent::decode(&words, &map) {
                prop_assert_eq!(PlcEvent::decode(&event.encode(&map), &map), Ok(event));
            }
        }
    }
}
