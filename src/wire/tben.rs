//! Turck TBEN-S2-2RFID: the process image of one RFID channel, and the blocks its FIFO hands out.
//!
//! Source: TBEN-RFID manual, pp. 49, 97–105, 113, 124. Channel 2 lies 0x4C registers above channel 1.
//!
//! ```text
//! in, from 0x0000                          out, from 0x0800
//! +0x00 response; 14 ERROR, 15 BUSY        +0x00 command
//! +0x01 loop counter                       +0x01 low: loop counter, high: memory area
//! +0x02 0 tag present, 4 detuned,          +0x02 start address, 32 bit, low word first
//!       5 parameter unsupported,           +0x04 length
//!       6 head error, 7 head missing       +0x06 time-out
//! +0x03 length                             +0x07 low: read, high: write fragment
//! +0x04 error code                         +0x0A antenna
//! +0x05 tag counter                        +0x0C … data
//! +0x06 bytes waiting in the FIFO
//! +0x07 low: read, high: write fragment
//! +0x0C … 0x4B data, 128 bytes, byte 0 in the low byte
//! ```
//!
//! A FIFO fragment is a row of blocks, none of them split over two fragments:
//!
//! ```text
//! ┌────────┬────────┬───────────────┬────────┬────────┬─────┐
//! │ size u8│ type u8│ size bytes    │ size u8│ type u8│  …  │  size 0: nothing follows
//! └────────┴────────┴───────────────┴────────┴────────┴─────┘
//! ```
//!
//! # Words of the field
//!
//! *Fast form*: a command + 0x2000, which runs again whenever its *loop counter* changes; the answer carries the
//! same counter, and counts only then.

use thiserror::Error;

/// Registers of one channel's image.
pub const INPUT_WORDS: u16 = 0x4C;
/// Registers of the part of the output that commands use.
pub const OUTPUT_WORDS: u16 = 0x0C;
/// Registers of the input before its data: all that a poll needs.
pub const INPUT_HEAD_WORDS: u16 = 0x0C;
/// Bytes of data in one fragment.
pub const FRAGMENT_BYTES: usize = 128;
/// Continuous mode: tags are collected in the FIFO without being asked for.
pub const CONTINUOUS: u16 = 0x0010;
/// Fast form of "get data from the buffer".
pub const GET_DATA: u16 = 0x2011;
/// Idle: what is written before a command that must run anew.
pub const IDLE: u16 = 0x0000;
/// Start address that makes continuous mode group equal EPCs.
pub const GROUP_EPCS: u32 = 1;
/// Block type of an EPC.
pub const EPC_BLOCK: u8 = 1;
/// Longest EPC: the length field in a tag's protocol control word has 5 bits of 16-bit words (TDS).
pub const EPC_BYTES_MOST: usize = 62;

const ERROR: u16 = 1 << 14;
const BUSY: u16 = 1 << 15;
const DATA: usize = 0x0C;

/// First input register of channel 1 or 2.
pub fn input_address(channel: u8) -> u16 {
    if channel == 2 { INPUT_WORDS } else { 0 }
}

/// First output register of channel 1 or 2.
pub fn output_address(channel: u8) -> u16 {
    0x0800 + input_address(channel)
}

/// Why an image or a block could not be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TbenError {
    /// Too few registers.
    #[error("process image: expected at least {expected} registers, came {came}")]
    Length {
        /// Registers of the block.
        expected: u16,
        /// Registers that came.
        came: usize,
    },
    /// The FIFO's answer says more than it carries.
    #[error("fragment: its length says {said} bytes, it holds {held}")]
    DataLength {
        /// By the length register.
        said: usize,
        /// By the image.
        held: usize,
    },
    /// A block that is no EPC.
    #[error("block at byte {at}: expected type 1 (EPC), came {came}")]
    UnknownType {
        /// Byte of the fragment.
        at: usize,
        /// Value.
        came: u8,
    },
    /// A block that runs past its fragment.
    #[error("block at byte {at}: its size says {size} bytes, {left} are left")]
    Short {
        /// Byte of the fragment.
        at: usize,
        /// Value.
        size: u8,
        /// Bytes left.
        left: usize,
    },
    /// An EPC no tag can hold.
    #[error("block at byte {at}: expected an EPC of 2…62 bytes in pairs, came {size}")]
    EpcLength {
        /// Byte of the fragment.
        at: usize,
        /// Value.
        size: u8,
    },
}

/// What one channel shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "they are the bits of two registers")]
pub struct Input {
    /// Command that is answered.
    pub response: u16,
    /// The command failed; `error_code` says why.
    pub error: bool,
    /// The command is still running.
    pub busy: bool,
    /// Loop counter of the answer.
    pub loop_counter: u8,
    /// A tag is in the field.
    pub tag_present: bool,
    /// Something metallic stands before the antenna.
    pub detuned: bool,
    /// The head does not know a parameter.
    pub parameter_unsupported: bool,
    /// The head reports a fault.
    pub head_error: bool,
    /// No head answers.
    pub head_missing: bool,
    /// Bytes of the answer.
    pub length: u16,
    /// Turck's code.
    pub error_code: u16,
    /// Tags seen, wrapping.
    pub tag_counter: u16,
    /// Bytes waiting in the FIFO.
    pub bytes_waiting: u16,
    /// Fragment shown in `data`.
    pub read_fragment: u8,
    /// Fragment taken from the output.
    pub write_fragment: u8,
    /// Data; empty where only the head of the image was read.
    pub data: Vec<u8>,
}

impl Input {
    /// From the registers of one channel: its first 12, or all 76.
    pub fn decode(words: &[u16]) -> Result<Input, TbenError> {
        if words.len() < usize::from(INPUT_HEAD_WORDS) {
            return Err(TbenError::Length { expected: INPUT_HEAD_WORDS, came: words.len() });
        }
        let bit = |n: u16| words[2] & (1 << n) != 0;
        let [read_fragment, write_fragment] = words[7].to_le_bytes();
        Ok(Input {
            response: words[0] & !(ERROR | BUSY),
            error: words[0] & ERROR != 0,
            busy: words[0] & BUSY != 0,
            loop_counter: words[1].to_le_bytes()[0],
            tag_present: bit(0),
            detuned: bit(4),
            parameter_unsupported: bit(5),
            head_error: bit(6),
            head_missing: bit(7),
            length: words[3],
            error_code: words[4],
            tag_counter: words[5],
            bytes_waiting: words[6],
            read_fragment,
            write_fragment,
            data: words[DATA..].iter().take(FRAGMENT_BYTES / 2).flat_map(|word| word.to_le_bytes()).collect(),
        })
    }

    /// To the 76 registers of one channel.
    pub fn encode(&self) -> [u16; INPUT_WORDS as usize] {
        let mut words = [0_u16; INPUT_WORDS as usize];
        let flag = |bit: u16, set: bool| if set { bit } else { 0 };
        words[0] = self.response & !(ERROR | BUSY) | flag(ERROR, self.error) | flag(BUSY, self.busy);
        words[1] = self.loop_counter.into();
        words[2] = flag(1, self.tag_present)
            | flag(1 << 4, self.detuned)
            | flag(1 << 5, self.parameter_unsupported)
            | flag(1 << 6, self.head_error)
            | flag(1 << 7, self.head_missing);
        words[3] = self.length;
        words[4] = self.error_code;
        words[5] = self.tag_counter;
        words[6] = self.bytes_waiting;
        words[7] = u16::from_le_bytes([self.read_fragment, self.write_fragment]);
        for (word, pair) in words[DATA..].iter_mut().zip(self.data.chunks(2)) {
            *word = u16::from_le_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        }
        words
    }

    /// Whether this answers `command` with this loop counter.
    pub fn answers(&self, command: u16, loop_counter: u8) -> bool {
        self.response == command && self.loop_counter == loop_counter && !self.busy
    }
}

/// What the PC asks of one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Output {
    /// Command.
    pub command: u16,
    /// Makes a fast command run again.
    pub loop_counter: u8,
    /// Memory area.
    pub memory_area: u8,
    /// Start address; with [`CONTINUOUS`], [`GROUP_EPCS`].
    pub start: u32,
    /// Bytes wanted.
    pub length: u16,
    /// Time-out of the command, 0 for none.
    pub timeout: u16,
    /// Fragment to be shown.
    pub read_fragment: u8,
    /// Fragment that is written.
    pub write_fragment: u8,
    /// Antenna, 0 for the head's own choice.
    pub antenna: u16,
}

impl Output {
    /// To registers, without data.
    pub fn encode(&self) -> [u16; OUTPUT_WORDS as usize] {
        let mut words = [0_u16; OUTPUT_WORDS as usize];
        words[0] = self.command;
        words[1] = u16::from_le_bytes([self.loop_counter, self.memory_area]);
        words[2] = (self.start & 0xFFFF) as u16;
        words[3] = (self.start >> 16) as u16;
        words[4] = self.length;
        words[6] = self.timeout;
        words[7] = u16::from_le_bytes([self.read_fragment, self.write_fragment]);
        words[0x0A] = self.antenna;
        words
    }

    /// From registers.
    pub fn decode(words: &[u16]) -> Result<Output, TbenError> {
        if words.len() < usize::from(OUTPUT_WORDS) {
            return Err(TbenError::Length { expected: OUTPUT_WORDS, came: words.len() });
        }
        let [loop_counter, memory_area] = words[1].to_le_bytes();
        let [read_fragment, write_fragment] = words[7].to_le_bytes();
        Ok(Output {
            command: words[0],
            loop_counter,
            memory_area,
            start: u32::from(words[3]) << 16 | u32::from(words[2]),
            length: words[4],
            timeout: words[6],
            read_fragment,
            write_fragment,
            antenna: words[0x0A],
        })
    }
}

/// The EPCs of one fragment, in order, and the fault that ended them: a block is whole in itself, so what stood
/// before a bad one is good.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Blocks {
    /// EPCs, most significant byte first.
    pub epcs: Vec<Vec<u8>>,
    /// Bytes of whole blocks.
    pub consumed: usize,
    /// Why the rest was not read.
    pub fault: Option<TbenError>,
}

/// Takes a fragment apart. A size of 0 ends it.
pub fn parse_blocks(fragment: &[u8]) -> Blocks {
    let mut blocks = Blocks::default();
    let mut at = 0;
    while let Some(&size) = fragment.get(at) {
        if size == 0 {
            break;
        }
        match block(fragment, at, size) {
            Ok(epc) => blocks.epcs.push(epc.to_vec()),
            Err(fault) => {
                blocks.fault = Some(fault);
                break;
            }
        }
        at += BLOCK_HEAD + usize::from(size);
        blocks.consumed = at;
    }
    blocks
}

fn block(fragment: &[u8], at: usize, size: u8) -> Result<&[u8], TbenError> {
    let kind = *fragment.get(at + 1).ok_or(TbenError::Short { at, size, left: 0 })?;
    if kind != EPC_BLOCK {
        return Err(TbenError::UnknownType { at, came: kind });
    }
    let length = usize::from(size);
    if length > EPC_BYTES_MOST || !length.is_multiple_of(2) {
        return Err(TbenError::EpcLength { at, size });
    }
    let from = at + BLOCK_HEAD;
    fragment.get(from..from + length).ok_or(TbenError::Short { at, size, left: fragment.len() - from })
}

/// Size and type.
const BLOCK_HEAD: usize = 2;

/// EPCs as the FIFO hands them out: fragments of at most 128 bytes, no block split. EPCs longer than
/// [`EPC_BYTES_MOST`] are left out, since no tag holds them.
pub fn encode_blocks(epcs: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut fragments: Vec<Vec<u8>> = Vec::new();
    for epc in epcs {
        let Some(size) = u8::try_from(epc.len()).ok().filter(|size| usize::from(*size) <= EPC_BYTES_MOST)
        else {
            continue;
        };
        let needed = BLOCK_HEAD + epc.len();
        if fragments.last().is_none_or(|last| last.len() + needed > FRAGMENT_BYTES) {
            fragments.push(Vec::with_capacity(FRAGMENT_BYTES));
        }
        if let Some(fragment) = fragments.last_mut() {
            fragment.extend_from_slice(&[size, EPC_BLOCK]);
            fragment.extend_from_slice(epc);
        }
    }
    fragments
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn channel_two_lies_above_channel_one() {
        assert_eq!((input_address(1), output_address(1)), (0x0000, 0x0800));
        assert_eq!((input_address(2), output_address(2)), (0x004C, 0x084C));
    }

    #[test]
    fn frozen_input() {
        let mut words = [0_u16; 76];
        words[0] = 0xA011;
        words[1] = 0x0005;
        words[2] = 0b1101_0001;
        words[3] = 14;
        words[4] = 0xF001;
        words[5] = 9;
        words[6] = 28;
        words[7] = 0x0201;
        words[12] = 0x010C;
        words[13] = 0xE230;
        let input = Input::decode(&words).unwrap();
        assert_eq!((input.response, input.busy, input.error), (GET_DATA, true, false));
        assert!(input.tag_present && input.detuned && input.head_error && input.head_missing);
        assert!(!input.parameter_unsupported);
        assert_eq!((input.length, input.error_code, input.bytes_waiting), (14, 0xF001, 28));
        assert_eq!((input.loop_counter, input.read_fragment, input.write_fragment), (5, 1, 2));
        // Byte 0 is the low byte of the first register.
        assert_eq!(input.data[..4], [0x0C, 0x01, 0x30, 0xE2]);
        assert_eq!(input.encode(), words);
        assert!(!input.answers(GET_DATA, 5));
        assert_eq!(
            Input::decode(&words[..11]).unwrap_err().to_string(),
            "process image: expected at least 12 registers, came 11"
        );
    }

    #[test]
    fn frozen_output() {
        let output = Output {
            command: GET_DATA,
            loop_counter: 7,
            memory_area: 3,
            start: GROUP_EPCS,
            length: 28,
            timeout: 200,
            read_fragment: 1,
            write_fragment: 0,
            antenna: 2,
        };
        let words = [0x2011, 0x0307, 1, 0, 28, 0, 200, 1, 0, 0, 2, 0];
        assert_eq!(output.encode(), words);
        assert_eq!(Output::decode(&words).unwrap(), output);
    }

    #[test]
    fn a_bad_block_ends_its_fragment_and_is_named() {
        let mut fragment = vec![2, 1, 0xAA, 0xBB, 4, 9, 1, 2, 3, 4];
        let blocks = parse_blocks(&fragment);
        assert_eq!(blocks.epcs, [vec![0xAA, 0xBB]]);
        assert_eq!(blocks.fault.unwrap().to_string(), "block at byte 4: expected type 1 (EPC), came 9");
        fragment.truncate(3);
        assert_eq!(parse_blocks(&fragment).fault, Some(TbenError::Short { at: 0, size: 2, left: 1 }));
        assert_eq!(parse_blocks(&[3, 1, 0, 0, 0]).fault, Some(TbenError::EpcLength { at: 0, size: 3 }));
        assert_eq!(parse_blocks(&[5]).fault, Some(TbenError::Short { at: 0, size: 5, left: 0 }));
        assert_eq!(parse_blocks(&[0, 1, 2]), Blocks::default());
    }

    proptest! {
        #[test]
        fn blocks_survive_their_fragments(
            epcs in prop::collection::vec(prop::collection::vec(any::<[u8; 2]>(), 1..31), 0..40)
        ) {
            let epcs: Vec<Vec<u8>> = epcs.into_iter().map(|epc| epc.concat()).collect();
            let mut back = Vec::new();
            for fragment in encode_blocks(&epcs) {
                prop_assert!(fragment.len() <= FRAGMENT_BYTES);
                let blocks = parse_blocks(&fragment);
                prop_assert_eq!(blocks.fault, None);
                prop_assert_eq!(blocks.consumed, fragment.len());
                back.extend(blocks.epcs);
            }
            prop_assert_eq!(back, epcs);
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let blocks = parse_blocks(&bytes);
            prop_assert!(blocks.epcs.iter().all(|epc| epc.len() <= EPC_BYTES_MOST));
        }

        #[test]
        fn any_image_decodes_and_encodes_back(words in prop::collection::vec(any::<u16>(), 76)) {
            let input = Input::decode(&words).unwrap();
            prop_assert_eq!(Input::decode(&input.encode()).unwrap(), input);
        }
    }
}
