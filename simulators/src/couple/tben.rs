//! An RFID gate as a Turck TBEN channel: a FIFO of tags behind the process image and its handshake.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use sortd::wire::tben::{
    CONTINUOUS, GET_DATA, INPUT_WORDS, Input, OUTPUT_WORDS, Output, encode_blocks, input_address,
    output_address,
};

use super::station::Registers;

/// Tags the head keeps; the oldest goes first, as in the device.
const FIFO_TAGS: usize = 128;

/// One channel.
#[derive(Debug)]
pub struct Gate {
    channel: u8,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    image: Input,
    written: Vec<u16>,
    fifo: VecDeque<Vec<u8>>,
    answer: Vec<Vec<u8>>,
    continuous: bool,
    handed: u64,
    dropped: u64,
}

impl Gate {
    /// A channel that is not yet told to read.
    pub fn new(channel: u8) -> Gate {
        let written = vec![0; usize::from(OUTPUT_WORDS)];
        Gate { channel, inner: Mutex::new(Inner { written, ..Inner::default() }) }
    }

    /// A tag was read.
    pub fn tag(&self, epc: Vec<u8>) {
        let mut inner = self.lock();
        if !inner.continuous {
            // A head that was not told to read has not read.
            inner.dropped += 1;
            return;
        }
        if inner.fifo.len() == FIFO_TAGS {
            inner.fifo.pop_front();
            inner.dropped += 1;
        }
        inner.fifo.push_back(epc);
    }

    /// Tags handed to a client, and tags lost.
    pub fn counts(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.handed, inner.dropped)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn obey(&mut self, output: Output) {
        self.image.response = output.command;
        match output.command {
            CONTINUOUS => self.continuous = true,
            GET_DATA => {
                if output.loop_counter != self.image.loop_counter {
                    let tags: Vec<Vec<u8>> = self.fifo.drain(..).collect();
                    self.handed += u64::try_from(tags.len()).unwrap_or(0);
                    self.answer = encode_blocks(&tags);
                    self.image.loop_counter = output.loop_counter;
                    let length: usize = self.answer.iter().map(Vec::len).sum();
                    self.image.length = u16::try_from(length).unwrap_or(u16::MAX);
                }
                self.image.read_fragment = output.read_fragment;
                self.image.data =
                    self.answer.get(usize::from(output.read_fragment)).cloned().unwrap_or_default();
            }
            _ => self.continuous = false,
        }
    }

    fn show(&mut self) -> [u16; INPUT_WORDS as usize] {
        let waiting: usize = self.fifo.iter().map(|epc| epc.len() + 2).sum();
        self.image.bytes_waiting = u16::try_from(waiting).unwrap_or(u16::MAX);
        self.image.tag_present = !self.fifo.is_empty();
        self.image.encode()
    }
}

impl Registers for Gate {
    fn read(&self, address: u16, count: u16) -> Option<Vec<u16>> {
        let mut inner = self.lock();
        let input = (input_address(self.channel), inner.show().to_vec());
        let output = (output_address(self.channel), inner.written.clone());
        for (first, words) in [input, output] {
            if let Some(from) = address.checked_sub(first).map(usize::from)
                && let Some(part) = words.get(from..from + usize::from(count))
            {
                return Some(part.to_vec());
            }
        }
        None
    }

    fn write(&self, address: u16, words: &[u16]) -> bool {
        let mut inner = self.lock();
        let Some(from) = address.checked_sub(output_address(self.channel)).map(usize::from) else {
            return false;
        };
        let Some(part) = inner.written.get_mut(from..from + words.len()) else { return false };
        part.copy_from_slice(words);
        let Ok(output) = Output::decode(&inner.written) else { return false };
        inner.obey(output);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sortd::wire::tben::{GROUP_EPCS, parse_blocks};

    #[test]
    fn tags_wait_in_the_fifo_until_they_are_fetched_once() {
        let gate = Gate::new(2);
        let epc = vec![0x30, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
        gate.tag(epc.clone());
        let write = |output: Output| assert!(gate.write(output_address(2), &output.encode()));
        let image = || Input::decode(&gate.read(input_address(2), INPUT_WORDS).unwrap()).unwrap();
        write(Output { command: CONTINUOUS, start: GROUP_EPCS, ..Output::default() });
        assert_eq!(image().bytes_waiting, 0, "nothing is read before it is told to");
        gate.tag(epc.clone());
        assert_eq!(image().bytes_waiting, 14);
        let get = Output { command: GET_DATA, loop_counter: 1, ..Output::default() };
        write(get);
        let answer = image();
        assert!(answer.answers(GET_DATA, 1));
        assert_eq!(parse_blocks(&answer.data[..usize::from(answer.length)]).epcs, [epc]);
        write(get);
        assert_eq!(image().length, 14, "the same loop counter shows the same answer");
        write(Output { loop_counter: 2, ..get });
        assert_eq!((image().length, gate.counts()), (0, (1, 1)));
        assert_eq!(gate.read(0, 1), None, "the other channel is not there");
    }
}
