//! Packing: of all that the register's files say of an order only what stands is written anew.
//!
//! It runs on a thread of its own over files that nobody writes any more. Entries are first spread over
//! [`PARTS`] files by a hash of their order, so that only one part at a time has to be in memory: a million
//! orders take some ten megabytes instead of a hundred and fifty.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;

use super::super::day::{DayError, damaged, disk};
use super::NAME;
use super::frame::{Entry, Frames, HoldEntry, Next, Walk, create};
use crate::line::event::{HoldOn, Order};

/// Parts, and so files open at once.
const PARTS: usize = 16;
/// Bytes of frames written at a time.
const WRITTEN_AT_A_TIME: usize = 1 << 20;

/// What stands of an order.
struct Standing {
    order: Order,
    touched_s: u32,
    sorted: bool,
}

/// Writes what stands of `sources`, oldest first, to `target`; applied up to the last of them. The parts lie
/// in `scratch`, which is deleted before and after.
pub(super) fn pack(sources: &[(Arc<File>, u64)], target: &Path, scratch: &Path) -> Result<u64, DayError> {
    let no_scratch = || match std::fs::remove_dir_all(scratch) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(disk(NAME, &error)),
        Ok(()) | Err(_) => Ok(()),
    };
    no_scratch()?;
    std::fs::create_dir_all(scratch).map_err(|error| disk(NAME, &error))?;
    let (applied, holds) = spread(sources, scratch)?;
    let file = create(target)?;
    let mut frames = Frames::default();
    let wrong = |error| disk(NAME, &error);
    for hold in holds.values() {
        frames.add_hold(hold, 0).map_err(|error| disk(NAME, &error))?;
    }
    for part in 0..PARTS {
        for standing in gather(&scratch.join(part.to_string()))?.into_values() {
            let Standing { order, touched_s, sorted } = standing;
            let entry = Entry::Order { order, touched_s, sorted };
            frames.add_order(&entry, 0).map_err(|error| disk(NAME, &error))?;
            if frames.bytes.len() > WRITTEN_AT_A_TIME {
                frames.end(0);
                (&file).write_all(&frames.bytes).map_err(wrong)?;
                frames.bytes.clear();
            }
        }
    }
    frames.end(applied);
    (&file).write_all(&frames.bytes).and_then(|()| file.sync_all()).map_err(wrong)?;
    no_scratch()?;
    Ok(applied)
}

type Holds = BTreeMap<HoldOn, HoldEntry>;

/// Spreads the entries over the parts; holds are few and are kept.
fn spread(sources: &[(Arc<File>, u64)], scratch: &Path) -> Result<(u64, Holds), DayError> {
    let wrong = |error| disk(NAME, &error);
    let part = |part: usize| File::create(scratch.join(part.to_string())).map(BufWriter::new);
    let mut parts = (0..PARTS).map(part).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    let (mut applied, mut holds) = (0, Holds::new());
    let mut bytes = Vec::new();
    for (file, end) in sources {
        let walk = Walk::begin(Arc::clone(file), *end)?;
        let mut walk = walk.ok_or_else(|| damaged(NAME, "a file of it begins otherwise".to_owned()))?;
        loop {
            let frame = match walk.next()? {
                Next::Frame(frame) => frame,
                Next::End => break,
                Next::Broken(what) => return Err(damaged(NAME, what)),
            };
            applied = applied.max(frame.applied);
            for hold in frame.holds()? {
                take_hold(&mut holds, hold);
            }
            for entry in frame.entries()? {
                let mut hasher = DefaultHasher::new();
                hasher.write(entry.order().as_bytes());
                let part = usize::try_from(hasher.finish() % PARTS as u64).unwrap_or(0);
                bytes.clear();
                bytes.extend_from_slice(&[0; 4]);
                bincode::serde::encode_into_std_write(&entry, &mut bytes, bincode::config::standard())
                    .map_err(|error| disk(NAME, &error))?;
                let len = u32::try_from(bytes.len() - 4).unwrap_or(u32::MAX);
                bytes[..4].copy_from_slice(&len.to_be_bytes());
                parts[part].write_all(&bytes).map_err(wrong)?;
            }
        }
    }
    for part in parts {
        part.into_inner().map_err(|error| disk(NAME, &error))?;
    }
    Ok((applied, holds))
}

/// What comes later supersedes what came before; a revision, once told, stays known.
pub(super) fn take_hold(holds: &mut Holds, mut entry: HoldEntry) {
    if let Some(known) = holds.get(&entry.hold.on) {
        if entry.hold.revision.is_some() && entry.hold.revision <= known.hold.revision {
            return;
        }
        entry.hold.revision = entry.hold.revision.or(known.hold.revision);
    }
    holds.insert(entry.hold.on.clone(), entry);
}

/// What stands of one part.
fn gather(path: &Path) -> Result<BTreeMap<String, Standing>, DayError> {
    let wrong = |error| disk(NAME, &error);
    let file = File::open(path).map_err(wrong)?;
    let mut rest = file.metadata().map_err(wrong)?.len();
    let mut read = BufReader::new(file);
    let (mut standing, mut bytes) = (BTreeMap::<String, Standing>::new(), Vec::new());
    while rest > 0 {
        let mut len = [0; 4];
        read.read_exact(&mut len).map_err(wrong)?;
        bytes.resize(u32::from_be_bytes(len) as usize, 0);
        read.read_exact(&mut bytes).map_err(wrong)?;
        rest -= 4 + bytes.len() as u64;
        let (entry, _) = bincode::serde::decode_from_slice(&bytes, bincode::config::standard())
            .map_err(|error| damaged(NAME, format!("an entry cannot be read: {error}")))?;
        match entry {
            Entry::Order { order, touched_s, sorted } => {
                let known = standing.get(&order.order);
                if known.is_some_and(|known| known.order.revision >= order.revision) {
                    continue;
                }
                let sorted = sorted || known.is_some_and(|known| known.sorted);
                standing.insert(order.order.clone(), Standing { order, touched_s, sorted });
            }
            Entry::Sorted { order, at_s } => {
                if let Some(known) = standing.get_mut(&order) {
                    (known.sorted, known.touched_s) = (true, known.touched_s.max(at_s));
                }
            }
            Entry::Retired(retired) => {
                if standing.get(&retired.order).is_some_and(|known| known.order.revision <= retired.revision)
                {
                    standing.remove(&retired.order);
                }
            }
        }
    }
    Ok(standing)
}
