//! A day of layout 2: records in blocks.
//!
//! ```text
//! tree `blocks`   first seq       -> block, its first VALUE_LIMIT bytes
//! tree `tail`     t               -> the block that still grows
//! default tree    x first seq part -> continuation of a long block
//! ```
//! Each commit writes the blocks it fills and rewrites the one it leaves unfinished; the trees are apart so
//! that a page of finished blocks is not written again with it. sled recovers what it wrote in that order
//! up to one point, so that after a kill the tail is one of these: behind the last block; part of it, which
//! makes it stale; or not yet begun. Anything else is damage.

use std::sync::{Arc, Mutex, PoisonError};

use super::Record;
use super::batch::Batch;
use super::block::{self, Block, BlockError};
use super::chain::Link;
use super::day::{Begin, DayError, Tally, broken, damaged};
use super::guard::{catch, guarded, sled_error};
use super::index::{Index, Mention};
use super::keys;
use super::record::{self, VALUE_LIMIT, number};
use crate::line::Tick;

pub(super) const BLOCKS: &[u8] = b"blocks";
const TAIL: &[u8] = b"tail";
pub(super) const TAIL_KEY: &[u8] = b"t";

/// Blocks of one batch of sled's: half a megabyte at most.
const BLOCKS_A_BATCH: usize = 64;

/// Further looks at each page of a day that is read through: some twenty megabytes of it are in memory then, and
/// not a hundred and more.
const LOOKS_A_PAGE: usize = 6;

/// The blocks of a day.
#[derive(Debug)]
pub(super) struct Blocks {
    name: String,
    db: sled::Db,
    blocks: sled::Tree,
    tail_tree: sled::Tree,
    /// Held only for as long as it takes to look or to change; never while something is read.
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub tail: Arc<Block>,
    /// What is mentioned; `None` in a day that was opened for reading, which has a file for it.
    pub index: Option<Index>,
    /// Milestone that was read last, and its record: the next one is behind it.
    milestone: Option<(u64, u64)>,
    /// In a day that is examined, once it was gone through: records that cannot be read, first and last of each
    /// stretch.
    pub unread: Option<Vec<(u64, u64)>>,
}

/// What a commit brings into the state once it is durable.
#[derive(Debug)]
pub(super) struct Staged {
    tail: Block,
    mentions: Vec<Mention>,
}

impl Blocks {
    /// Opens the trees, empty or not.
    pub fn open(db: &sled::Db, begin: Begin, name: &str) -> Result<Blocks, DayError> {
        let tree = |which: &[u8]| guarded(name, || db.open_tree(which));
        let tail = Arc::new(Block::begin(begin.first_seq, begin.first_event));
        Ok(Blocks {
            name: name.to_owned(),
            db: db.clone(),
            blocks: tree(BLOCKS)?,
            tail_tree: tree(TAIL)?,
            state: Mutex::new(State { tail, index: Some(Index::default()), milestone: None, unread: None }),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn blocks(&self) -> &sled::Tree {
        &self.blocks
    }

    pub(super) fn tail_tree(&self) -> &sled::Tree {
        &self.tail_tree
    }

    pub(super) fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn tail(&self) -> Arc<Block> {
        self.state(|state| Arc::clone(&state.tail))
    }

    /// Reads all of it: blocks and numbers without gap, each CRC, milestones, and the chain from block to
    /// block.
    pub fn verify(&self, begin: Begin, before: Link) -> Result<Tally, DayError> {
        catch(&self.name, || self.verify_blocks(begin, before))?
    }

    fn verify_blocks(&self, begin: Begin, before: Link) -> Result<Tally, DayError> {
        let mut walk = Walk { seq: begin.first_seq, event: begin.first_event, link: before, last: None };
        let mut mentions = Vec::new();
        for item in &self.blocks {
            let (key, first) = item.map_err(|error| sled_error(&self.name, &error))?;
            let block = self.whole(number(&key), &first)?;
            self.walk(&mut walk, &block)?;
            mentions.extend(self.offsets(&block, begin)?);
            self.let_go(&key)?;
        }
        let tail = self.stored_tail(walk.seq, walk.event)?;
        self.walk(&mut walk, &tail)?;
        mentions.extend(self.offsets(&tail, begin)?);
        let index = Index::of(mentions);
        self.state(|state| (state.tail, state.index) = (Arc::new(tail), Some(index)));
        let last_tick = match &walk.last {
            Some(frame) => {
                record::decode(frame).map_err(|error| broken(&self.name, walk.seq - 1, &error))?.at
            }
            None => Tick(0),
        };
        let (last_seq, last_event) = (walk.seq - 1, walk.event - 1);
        Ok(Tally { last_seq, last_event, last_tick, last_link: Some(walk.link) })
    }

    /// Looks at a block's page a few times more while a whole day is read through. sled looks at what its cache
    /// should let go of only when one of the 256 parts of its pages
    /// was looked at 64 times: a day read through once would stay in memory, whatever the cache's size.
    fn let_go(&self, key: &[u8]) -> Result<(), DayError> {
        for _ in 0..LOOKS_A_PAGE {
            guarded(&self.name, || self.blocks.contains_key(key))?;
        }
        Ok(())
    }

    fn walk(&self, walk: &mut Walk, block: &Block) -> Result<(), DayError> {
        if (block.first_seq, block.first_event) != (walk.seq, walk.event) {
            let (seq, event) = (walk.seq, walk.event);
            let came = (block.first_seq, block.first_event);
            let what = format!("record {seq} and milestone {event} expected, {came:?} came");
            return Err(damaged(&self.name, what));
        }
        for (seq, frame) in block.frames() {
            let head = record::check(frame).map_err(|error| broken(&self.name, seq, &error))?;
            let right = head.seq == seq && head.event_seq.is_none_or(|event| event == walk.event);
            let Some(link) = record::link(frame).filter(|_| right) else {
                let what = format!("record {seq} is record {}, milestone {:?}", head.seq, head.event_seq);
                return Err(damaged(&self.name, what));
            };
            if seq == block.first_seq {
                let digest = record::digest(frame).map_err(|error| broken(&self.name, seq, &error))?;
                if walk.link.next(&digest) != link {
                    return Err(damaged(&self.name, format!("record {seq} does not continue the chain")));
                }
            }
            walk.event += u64::from(head.event_seq.is_some());
            walk.link = link;
        }
        walk.last = block.frames().next_back().map(|(_, frame)| frame.to_vec()).or(walk.last.take());
        walk.seq = block.next_seq();
        Ok(())
    }

    /// Where it ends, by its last block and its tail.
    pub fn glance(&self, begin: Begin, before: Link) -> Result<Tally, DayError> {
        let last = match guarded(&self.name, || self.blocks.last())? {
            Some((key, first)) => self.whole(number(&key), &first)?,
            None => Block::begin(begin.first_seq, begin.first_event),
        };
        let tail = self.stored_tail(last.next_seq(), last.next_event())?;
        let newest = tail.frames().next_back().or_else(|| last.frames().next_back());
        let (last_tick, last_link) = match newest {
            Some((seq, frame)) => {
                let record = record::decode(frame).map_err(|error| broken(&self.name, seq, &error))?;
                (record.at, record::link(frame))
            }
            None => (Tick(0), Some(before)),
        };
        let tally =
            Tally { last_seq: tail.next_seq() - 1, last_event: tail.next_event() - 1, last_tick, last_link };
        self.state(|state| (state.tail, state.index) = (Arc::new(tail), None));
        Ok(tally)
    }

    /// The tail behind a last block that ends before `next_seq`.
    fn stored_tail(&self, next_seq: u64, next_event: u64) -> Result<Block, DayError> {
        let empty = Block::begin(next_seq, next_event);
        let Some(bytes) = guarded(&self.name, || self.tail_tree.get(TAIL_KEY))? else { return Ok(empty) };
        let tail = Block::decode(&bytes).map_err(|error| self.unreadable(next_seq, &error))?;
        if tail.first_seq == next_seq {
            return Ok(tail);
        }
        if tail.next_seq() <= next_seq {
            return Ok(empty);
        }
        let (first, last) = (tail.first_seq, tail.next_seq() - 1);
        Err(damaged(&self.name, format!("record {next_seq} expected, a block of {first} to {last} came")))
    }

    /// Forgets records after `durable`, so that they are written once more; returns what it ends with then:
    /// its last milestone and its last link, if it still has a record.
    pub fn rewind(&self, durable: u64) -> Result<(u64, Option<Link>), DayError> {
        let mut tail = (*self.tail()).clone();
        if tail.first_seq > durable + 1 {
            tail = self.block_of(durable + 1)?;
        }
        tail.truncate(durable + 1);
        let last_event = tail.next_event() - 1;
        let link = match tail.frames().next_back() {
            Some((_, frame)) => record::link(frame),
            None => self.block_of(durable).ok().and_then(|block| record::link(block.frame(durable)?)),
        };
        self.state(|state| (state.tail, state.milestone) = (Arc::new(tail), None));
        Ok((last_event, link))
    }

    /// Hands the records to sled; nothing is durable yet, and nobody sees them.
    pub fn write(&self, begin: Begin, batch: &Batch) -> Result<Staged, DayError> {
        let mut tail = self.tail().unfinished();
        let (mut full, mut mentions) = (Vec::new(), Vec::new());
        for (record, frame, hashes) in batch.frames() {
            if !tail.is_empty() && !tail.takes(frame.len(), hashes.len()) {
                let next = tail.following();
                full.push(std::mem::replace(&mut tail, next));
            }
            let fits = tail.takes(frame.len(), hashes.len());
            tail.push(frame, record.event_seq.is_some(), hashes);
            let offset = offset(record.seq, begin).ok_or_else(|| self.too_many(record.seq))?;
            mentions.extend(hashes.iter().map(|hash| (*hash, offset)));
            if !fits {
                // Longer than a block may be: it has one of its own.
                let next = tail.following();
                full.push(std::mem::replace(&mut tail, next));
            }
        }
        let mut bytes = Vec::new();
        for group in full.chunks(BLOCKS_A_BATCH) {
            self.write_blocks(group, &mut bytes)?;
        }
        if !tail.is_empty() {
            tail.encode_into(&mut bytes);
            guarded(&self.name, || self.tail_tree.insert(TAIL_KEY, &bytes[..]))?;
        }
        Ok(Staged { tail, mentions })
    }

    fn write_blocks(&self, group: &[Block], bytes: &mut Vec<u8>) -> Result<(), DayError> {
        let (mut blocks, mut long) = (sled::Batch::default(), sled::Batch::default());
        let mut any_long = false;
        for block in group {
            block.encode_into(bytes);
            let mut parts = bytes.chunks(VALUE_LIMIT);
            blocks.insert(&block.first_seq.to_be_bytes(), parts.next().unwrap_or_default());
            for (part, chunk) in (0..).zip(parts) {
                long.insert(&keys::continuation(block.first_seq, part), chunk);
                any_long = true;
            }
        }
        if any_long {
            guarded(&self.name, || self.db.apply_batch(long))?;
        }
        guarded(&self.name, || self.blocks.apply_batch(blocks))
    }

    /// What was written is durable.
    pub fn publish(&self, staged: Staged) {
        self.state(|state| {
            state.tail = Arc::new(staged.tail);
            if let Some(index) = &mut state.index {
                staged.mentions.into_iter().for_each(|mention| index.add(mention));
            }
        });
    }

    /// Hands the frames of records `from` to `to` to `take`, as they are found, until it says no.
    pub fn frames(
        &self,
        from: u64,
        to: u64,
        mut take: impl FnMut(u64, &[u8]) -> Result<bool, DayError>,
    ) -> Result<(), DayError> {
        let mut seq = from;
        while seq <= to {
            let block = self.block_with(seq)?;
            if block.frame(seq).is_none() {
                return Err(self.missing(seq));
            }
            for (at, frame) in block.frames().filter(|(at, _)| (seq..=to).contains(at)) {
                if !take(at, frame)? {
                    return Ok(());
                }
            }
            seq = block.next_seq();
        }
        Ok(())
    }

    /// Milestones from number `from` to `last`, at most `max`.
    pub fn milestones(
        &self,
        begin: Begin,
        from: u64,
        last: u64,
        to: u64,
        max: usize,
    ) -> Result<Vec<Record>, DayError> {
        let (mut found, mut expected) = (Vec::new(), from);
        if from > last || max == 0 {
            return Ok(found);
        }
        let start = self.milestone_at(begin, from, to)?;
        self.frames(start, to, |seq, frame| {
            let Some(event) = record::event_of(frame).filter(|event| *event >= from) else { return Ok(true) };
            let record = record::decode(frame).map_err(|error| broken(&self.name, seq, &error))?;
            if (record.seq, event) != (seq, expected) {
                let came = (record.seq, event);
                let what = format!("milestone {expected} expected behind record {seq}, {came:?} came");
                return Err(damaged(&self.name, what));
            }
            expected += 1;
            found.push(record);
            Ok(found.len() < max && event < last)
        })?;
        if expected <= last && found.len() < max {
            return Err(damaged(&self.name, format!("milestone {expected} is missing")));
        }
        if let Some(newest) = found.last() {
            self.state(|state| state.milestone = Some((expected - 1, newest.seq)));
        }
        Ok(found)
    }

    /// A record at or before milestone `event`, in its block or behind the milestone that was read before it.
    fn milestone_at(&self, begin: Begin, event: u64, to: u64) -> Result<u64, DayError> {
        if let Some((_, seq)) = self.state(|state| state.milestone).filter(|(last, _)| last + 1 == event) {
            return Ok((seq + 1).min(to));
        }
        // Blocks know their first milestone and the next one's.
        let (mut low, mut high) = (begin.first_seq, to);
        while low <= high {
            let block = self.block_with(low + (high - low) / 2)?;
            if block.next_event() <= event {
                low = block.next_seq().max(low + 1);
            } else if block.first_event > event {
                high = block.first_seq.saturating_sub(1);
            } else {
                return Ok(block.first_seq);
            }
        }
        Err(damaged(&self.name, format!("milestone {event} is missing")))
    }

    /// Offsets of the records that mention this, newest first; `None` where the day's index is a file.
    pub fn find(&self, hash: u32, max: usize) -> Option<Vec<u32>> {
        self.state(|state| state.index.as_ref().map(|index| index.find(hash, max)))
    }

    /// Everything that is mentioned, out of the blocks.
    pub fn mentions(&self, begin: Begin) -> Result<Vec<Mention>, DayError> {
        catch(&self.name, || {
            let mut found = Vec::new();
            for item in &self.blocks {
                let (key, first) = item.map_err(|error| sled_error(&self.name, &error))?;
                found.extend(self.offsets(&self.whole(number(&key), &first)?, begin)?);
            }
            found.extend(self.offsets(&self.tail(), begin)?);
            Ok(found)
        })?
    }

    pub(super) fn offsets(&self, block: &Block, begin: Begin) -> Result<Vec<Mention>, DayError> {
        let mention = |(hash, seq)| Ok((hash, offset(seq, begin).ok_or_else(|| self.too_many(seq))?));
        block.mentions().map(mention).collect()
    }

    pub(super) fn block_with(&self, seq: u64) -> Result<Arc<Block>, DayError> {
        let tail = self.tail();
        if seq >= tail.first_seq { Ok(tail) } else { self.block_of(seq).map(Arc::new) }
    }

    /// The finished block a record is in.
    fn block_of(&self, seq: u64) -> Result<Block, DayError> {
        let found = guarded(&self.name, || self.blocks.get_lt(seq.saturating_add(1).to_be_bytes()))?;
        let (key, first) = found.ok_or_else(|| self.missing(seq))?;
        self.whole(number(&key), &first)
    }

    pub(super) fn whole(&self, seq: u64, first: &sled::IVec) -> Result<Block, DayError> {
        let unreadable = |error| self.unreadable(seq, &error);
        let total = block::total_len(first).map_err(unreadable)?;
        let block = if total <= first.len() {
            Block::decode(first).map_err(unreadable)?
        } else {
            let mut bytes = first.to_vec();
            for part in 0_u8.. {
                if bytes.len() >= total {
                    break;
                }
                let next = guarded(&self.name, || self.db.get(keys::continuation(seq, part)))?;
                let missing = || damaged(&self.name, format!("part {part} of record {seq} is missing"));
                bytes.extend_from_slice(&next.ok_or_else(missing)?);
            }
            Block::decode(&bytes).map_err(unreadable)?
        };
        if block.first_seq == seq {
            Ok(block)
        } else {
            let came = block.first_seq;
            Err(damaged(&self.name, format!("the block of record {seq} expected, that of {came} came")))
        }
    }

    fn missing(&self, seq: u64) -> DayError {
        damaged(&self.name, format!("record {seq} is missing"))
    }

    fn unreadable(&self, seq: u64, error: &BlockError) -> DayError {
        damaged(&self.name, format!("record {seq} or the block it begins: {error}"))
    }

    fn too_many(&self, seq: u64) -> DayError {
        super::day::disk(&self.name, &format!("record {seq} is more than a day can number"))
    }

    /// Damages the day as a lost page would.
    #[cfg(test)]
    pub fn lose(&self, seq: u64) {
        let mut tail = (*self.tail()).clone();
        if seq >= tail.first_seq {
            tail.truncate(seq);
            self.state(|state| state.tail = Arc::new(tail));
        } else {
            let block = self.block_of(seq).unwrap();
            self.blocks.remove(block.first_seq.to_be_bytes()).unwrap();
        }
        self.tail_tree.remove(TAIL_KEY).unwrap();
    }
}

/// Where reading through a day has come to.
struct Walk {
    seq: u64,
    event: u64,
    link: Link,
    last: Option<Vec<u8>>,
}

fn offset(seq: u64, begin: Begin) -> Option<u32> {
    // The filler of an index file is no record's offset.
    u32::try_from(seq.checked_sub(begin.first_seq)?).ok().filter(|offset| *offset < u32::MAX)
}
