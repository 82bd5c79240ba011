//! Anchors in order, for whoever publishes, shows or checks them; and how far they are published.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::anchor::Anchor;
use super::anchor_log::{self, Segment, Tail};
use super::slip::{self, SlipError};

/// How far anchors are acknowledged upstream: a slip with a number.
fn cursor(store: &Path) -> PathBuf {
    anchor_log::directory(store).join("cursor")
}

/// Last anchor that upstream has acknowledged; 0 before the first. A damaged slip says nothing: anchors are
/// then published again, and receivers know them by their numbers.
pub(super) fn acknowledged(store: &Path) -> Result<u64, SlipError> {
    match slip::read(&cursor(store)) {
        Ok(number) => Ok(number.unwrap_or(0)),
        Err(SlipError::Damaged { .. }) => Ok(0),
        Err(error @ SlipError::Io { .. }) => Err(error),
    }
}

/// Reads the anchors of the store that is being written.
#[derive(Debug, Clone)]
pub struct AnchorReader {
    store: PathBuf,
    heard: Arc<AtomicU64>,
    /// Where the last read ended: file, byte, and the number that stands there.
    place: Arc<Mutex<Option<(Segment, u64, u64)>>>,
}

impl AnchorReader {
    pub(super) fn new(store: PathBuf, heard: Arc<AtomicU64>) -> AnchorReader {
        AnchorReader { store, heard, place: Arc::default() }
    }

    /// Number of the newest anchor that is on the disk; 0 before the first.
    pub fn newest(&self) -> u64 {
        self.heard.load(Ordering::Acquire)
    }

    /// Anchors after number `after`, at most `max`; from the oldest that is kept. A file that is damaged ends
    /// them: `sortd verify` says so.
    pub fn after(&self, after: u64, max: usize) -> Result<Vec<Anchor>, SlipError> {
        let newest = self.newest();
        let mut found: Vec<Anchor> = Vec::new();
        if newest <= after {
            return Ok(found);
        }
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let segments = anchor_log::segments(&self.store)?;
        let first = segments.iter().rposition(|segment| segment.first <= after + 1).unwrap_or(0);
        for segment in &segments[first..] {
            let (from, number) = match &*place {
                Some((at, from, number)) if at == segment && *number <= after + 1 => (*from, *number),
                Some(_) | None => (0, segment.first),
            };
            let content = self.read(segment, from, number)?;
            let wanted = |anchor: &Anchor| anchor.claim.number > after && anchor.claim.number <= newest;
            let end = number + content.anchors.len() as u64;
            found.extend(content.anchors.into_iter().filter(wanted));
            if found.len() > max {
                // The next read begins where this one did: it has not been given all of it.
                found.truncate(max);
                *place = Some((segment.clone(), from, number));
                break;
            }
            *place = Some((segment.clone(), content.good, end));
        }
        Ok(found)
    }

    fn read(&self, segment: &Segment, from: u64, number: u64) -> Result<anchor_log::Content, SlipError> {
        let path = anchor_log::directory(&self.store).join(segment.name());
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|mut file| {
            file.seek(SeekFrom::Start(from))?;
            file.read_to_end(&mut bytes)
        });
        read.map_err(|source| SlipError::at(&path, source))?;
        Ok(anchor_log::scan(&bytes, from, number))
    }

    /// Last anchor that upstream has acknowledged; 0 before the first.
    pub fn acknowledged(&self) -> Result<u64, SlipError> {
        acknowledged(&self.store)
    }

    /// Upstream has acknowledged every anchor up to this one.
    pub fn acknowledge(&self, number: u64) -> Result<(), SlipError> {
        slip::write(&cursor(&self.store), &number)
    }
}

/// Every anchor of a store, and what of its files is not as it was written, one sentence each.
pub(super) fn all(store: &Path) -> Result<(Vec<Anchor>, Vec<String>), SlipError> {
    let (mut anchors, mut damage): (Vec<Anchor>, Vec<String>) = (Vec::new(), Vec::new());
    let segments = anchor_log::segments(store)?;
    for (place, segment) in segments.iter().enumerate() {
        let content = anchor_log::read(store, segment)?;
        let name = format!("anchors/{}", segment.name());
        match content.tail {
            Tail::None => {}
            Tail::Torn if place + 1 == segments.len() => {}
            Tail::Torn => damage.push(format!("{name}: it ends in the middle of an anchor")),
            Tail::Damaged(what) => damage.push(format!("{name}: {what}")),
        }
        anchors.extend(content.anchors);
    }
    Ok((anchors, damage))
}
