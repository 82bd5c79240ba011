//! What can still be gathered from a day's log that sled cannot open, or opens short: for an examination only.
//!
//! Records stand in blocks (`super::block`), each one value of sled's, whole and in one piece somewhere in the file,
//! and each knows its records' numbers and its own checksum. So they are found without knowing anything of sled's
//! format: wherever a block's header fits, its checksum agrees and its frames fill it exactly. A block that grew was
//! written several times; the longest is the last. The blocks found make a new Db, which is then read like any
//! other: whether the records in it are those that were written, the chain and the anchors say.
//!
//! Not gathered: a record longer than a block, which continues elsewhere, and snapshots of the core.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::block::{self, Block};
use super::day::{DayError, SpanSlip, add_run, disk, encode_head};
use super::guard::{guarded, open_sled};
use super::keys;
use super::layout2::BLOCKS;
use super::reader::started;
use super::record::{self, VALUE_LIMIT};

/// Bytes of the file looked at together.
const WINDOW: usize = 4 * 1024 * 1024;
/// Blocks of one batch of sled's.
const BATCH: usize = 64;

/// Where a block stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    offset: u64,
    len: usize,
    next_seq: u64,
}

/// Finds the blocks of records from `first` on, by their first record.
fn find(file: &File, first: u64) -> std::io::Result<BTreeMap<u64, Place>> {
    let mut found: BTreeMap<u64, Place> = BTreeMap::new();
    let (mut window, mut at) = (vec![0; WINDOW + VALUE_LIMIT], 0);
    loop {
        let mut filled = 0;
        while filled < window.len() {
            match file.read_at(&mut window[filled..], at + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        let bytes = &window[..filled];
        let mut place = 0;
        while place < filled.min(WINDOW) {
            let Some(block) = block_at(&bytes[place..], first) else {
                place += 1;
                continue;
            };
            let (block, len) = block;
            let here = Place { offset: at + place as u64, len, next_seq: block.next_seq() };
            let known = found.entry(block.first_seq).or_insert(here);
            if known.next_seq < here.next_seq {
                *known = here;
            }
            place += len;
        }
        if filled <= WINDOW {
            return Ok(found);
        }
        at += WINDOW as u64;
    }
}

/// The block that begins with these bytes, and its length.
fn block_at(bytes: &[u8], first: u64) -> Option<(Block, usize)> {
    let head = bytes.first_chunk::<3>()?;
    // Nearly every place is told by its first bytes: the version, then a number that is never so large.
    if head[0] != 1 || head[1] != 0 || head[2] != 0 {
        return None;
    }
    let len = block::total_len(bytes).ok().filter(|len| *len <= VALUE_LIMIT)?;
    let block = Block::decode(bytes.get(..len)?).ok()?;
    (block.first_seq >= first && !block.is_empty()).then_some((block, len))
}

/// Makes a new Db of the day `name` in `days` from what the log `file` still holds; `false`: nothing.
pub(super) fn gather(
    file: &File,
    days: &Path,
    name: &str,
    cache: u64,
    span: &SpanSlip,
) -> Result<bool, DayError> {
    let failed = |error: std::io::Error| disk(name, &error);
    let places = find(file, span.begin.first_seq).map_err(failed)?;
    if places.is_empty() || span.before.is_none() {
        return Ok(false);
    }
    let path = days.join(name);
    std::fs::create_dir_all(&path).map_err(failed)?;
    span.write(&path).map_err(|error| disk(name, &error))?;
    let db = open_sled(&path, cache, name)?;
    guarded(name, || db.insert(keys::HEAD, encode_head(span.begin, span.before)))?;
    let blocks = guarded(name, || db.open_tree(BLOCKS))?;
    let (mut batch, mut runs, mut waiting) = (sled::Batch::default(), sled::Batch::default(), 0);
    let mut expected = span.begin.first_seq;
    for (first_seq, place) in places.into_iter().filter(|(first_seq, _)| *first_seq > 0) {
        if first_seq < expected {
            // Part of the one before it.
            continue;
        }
        expected = place.next_seq;
        let mut bytes = vec![0; place.len];
        file.read_exact_at(&mut bytes, place.offset).map_err(failed)?;
        for (seq, frame) in Block::decode(&bytes).iter().flat_map(Block::frames) {
            if let Ok(record) = record::decode(frame)
                && started(record.body).is_some()
            {
                add_run(&mut runs, seq, frame);
            }
        }
        batch.insert(&first_seq.to_be_bytes(), bytes);
        waiting += 1;
        if waiting == BATCH {
            guarded(name, || blocks.apply_batch(std::mem::take(&mut batch)))?;
            waiting = 0;
        }
    }
    guarded(name, || blocks.apply_batch(batch))?;
    guarded(name, || db.apply_batch(runs))?;
    guarded(name, || db.flush())?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::chain::Link;

    fn block(first_seq: u64, frames: u64) -> Vec<u8> {
        let mut block = Block::begin(first_seq, 1);
        for seq in (first_seq..).take(usize::try_from(frames).unwrap()) {
            let mut frame = Vec::new();
            record::frame_v2(&mut frame, seq, None, &[9; 40], Link::UNKNOWN);
            block.push(&frame, false, &[7]);
        }
        block.encode()
    }

    #[test]
    fn blocks_are_found_wherever_they_stand_and_the_longest_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        // One lies across the border of two windows, one is a shorter one of before, one is not right any more.
        let mut bytes = vec![1; 100];
        bytes.extend(block(1, 3));
        bytes.extend([0; 50]);
        bytes.extend(block(1, 8));
        bytes.resize(WINDOW - 40, 0);
        bytes.extend(block(9, 4));
        let mut bad = block(13, 4);
        bad[2] ^= 1;
        bytes.extend(bad);
        std::fs::write(&path, &bytes).unwrap();
        let found = find(&File::open(&path).unwrap(), 1).unwrap();
        let told: Vec<(u64, u64)> = found.iter().map(|(first, place)| (*first, place.next_seq)).collect();
        assert_eq!(told, [(1, 9), (9, 13)]);
        assert_eq!(found[&9].offset, (WINDOW - 40) as u64);
        assert!(
            find(&File::open(&path).unwrap(), 2).unwrap().keys().eq([&9]),
            "earlier ones are another day's"
        );
    }
}
