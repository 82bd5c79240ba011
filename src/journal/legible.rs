//! A damaged day of layout 2, as far as it is legible: for whoever examines a copy.
//!
//! A page that is gone takes a stretch of records with it, and sled still finds the way to the pages beside it.
//! What is legible is told by trying: each record in turn, and far into a stretch that is not, in strides.

use std::sync::Arc;

use super::block::Block;
use super::chain::Link;
use super::day::{Begin, DayError, Tally};
use super::guard::guarded;
use super::index::Index;
use super::layout2::{Blocks, TAIL_KEY};
use super::record::{self, number};
use crate::line::Tick;

/// Records of a stretch that are tried one after the other: some hundred pages.
const TRIED_EACH: u64 = 65_536;
/// Beyond, one in so many is tried: a block of fewer records that stands alone in a stretch of this length may be
/// missed.
const STRIDE: u64 = 16;

impl Blocks {
    /// Where it ends, by whatever of its last block and its tail can be read; without either, where it begins.
    pub fn found(&self, begin: Begin, before: Link) -> Tally {
        if let Ok(tally) = self.glance(begin, before) {
            return tally;
        }
        let last = guarded(self.name(), || self.blocks().last()).ok().flatten();
        let last = last.and_then(|(key, first)| self.whole(number(&key), &first).ok());
        let last = last.unwrap_or_else(|| Block::begin(begin.first_seq, begin.first_event));
        let tail = guarded(self.name(), || self.tail_tree().get(TAIL_KEY)).ok().flatten();
        let tail = tail.and_then(|bytes| Block::decode(&bytes).ok());
        // A tail that is part of the last block is stale.
        let tail = tail.filter(|tail| tail.next_seq() > last.next_seq());
        let tail = tail.unwrap_or_else(|| last.following());
        let newest = tail.frames().next_back().or_else(|| last.frames().next_back());
        let last_tick = newest.and_then(|(_, frame)| record::decode(frame).ok());
        let tally = Tally {
            last_seq: tail.next_seq() - 1,
            last_event: tail.next_event() - 1,
            last_tick: last_tick.map_or(Tick(0), |record| record.at),
            last_link: newest.map_or(Some(before), |(_, frame)| record::link(frame)),
        };
        self.state(|state| (state.tail, state.index) = (Arc::new(tail), None));
        tally
    }

    /// The first record from `from` to `last` that can be read.
    pub fn legible_from(&self, from: u64, last: u64) -> Option<u64> {
        let mut seq = from;
        while seq <= last {
            if self.is_legible(seq) {
                while seq > from && self.is_legible(seq - 1) {
                    seq -= 1;
                }
                return Some(seq);
            }
            seq += if seq - from < TRIED_EACH { 1 } else { STRIDE };
        }
        None
    }

    fn is_legible(&self, seq: u64) -> bool {
        self.block_with(seq).is_ok_and(|block| block.frame(seq).is_some())
    }

    /// Goes through the day up to `last` for what is mentioned where, past what cannot be read, which is noted.
    pub fn index_legible(&self, begin: Begin, last: u64) -> Result<(), DayError> {
        let (mut seq, mut mentions, mut unread) = (begin.first_seq, Vec::new(), Vec::new());
        while seq <= last {
            if let Ok(block) = self.block_with(seq)
                && block.frame(seq).is_some()
            {
                mentions.extend(self.offsets(&block, begin)?);
                seq = block.next_seq();
                continue;
            }
            let next = self.legible_from(seq, last);
            unread.push((seq, next.map_or(last, |next| next - 1)));
            let Some(next) = next else { break };
            seq = next;
        }
        self.state(|state| (state.index, state.unread) = (Some(Index::of(mentions)), Some(unread)));
        Ok(())
    }

    /// What [`Blocks::index_legible`] could not read; `None` before it.
    pub fn unread(&self) -> Option<Vec<(u64, u64)>> {
        self.state(|state| state.unread.clone())
    }
}
