//! Which anchor covers a record, found without reading them all.
//!
//! Anchors stand in the order of the records they speak of, and those of one file have one length, since the names of
//! site and line are the same in each. So a file is looked into at its middle, and so on; where that fails (the names
//! were changed in mid-day, or the file is damaged), it is read from its beginning.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::anchor::{ANCHOR_LIMIT, Anchor};
use super::anchor_log::{self, FRAME_HEADER, HEADER, Segment};
use super::slip::SlipError;

/// The first anchor in the store's directory that speaks of record `seq` or of a later one. It may be of a later
/// epoch: then nothing covers the record. Of a running store, at most those that were synced when it was asked.
pub fn anchor_over(store: &Path, seq: u64) -> Result<Option<Anchor>, SlipError> {
    let segments = anchor_log::segments(store)?;
    let (mut from, mut to) = (0, segments.len());
    // The last file that begins at or before the record.
    while from < to {
        let middle = usize::midpoint(from, to);
        match first(store, &segments[middle])? {
            Some(anchor) if anchor.claim.seq <= seq => from = middle + 1,
            Some(_) | None => to = middle,
        }
    }
    for segment in &segments[from.saturating_sub(1)..] {
        if let Some(anchor) = in_file(store, segment, seq)? {
            return Ok(Some(anchor));
        }
    }
    Ok(None)
}

fn first(store: &Path, segment: &Segment) -> Result<Option<Anchor>, SlipError> {
    Ok(Anchors::open(store, segment)?.at(0).map(|(anchor, _)| anchor))
}

fn in_file(store: &Path, segment: &Segment, seq: u64) -> Result<Option<Anchor>, SlipError> {
    if let Some(found) = Anchors::open(store, segment)?.find(seq) {
        return Ok(found);
    }
    let anchors = anchor_log::read(store, segment)?.anchors;
    Ok(anchors.into_iter().find(|anchor| anchor.claim.seq >= seq))
}

/// A file of anchors, looked into at places.
struct Anchors {
    file: File,
    bytes: u64,
    first: u64,
    /// Of one frame.
    length: u64,
}

impl Anchors {
    fn open(store: &Path, segment: &Segment) -> Result<Anchors, SlipError> {
        let path = anchor_log::directory(store).join(segment.name());
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (bytes, file) = opened.map_err(|source| SlipError::at(&path, source))?;
        let mut anchors = Anchors { file, bytes, first: segment.first, length: 0 };
        anchors.length = anchors.at(0).map_or(0, |(_, length)| length);
        Ok(anchors)
    }

    /// The anchor at a place in the file and the length of its frame; `None` where no whole one stands there.
    /// The first place has the same offset whatever the length is.
    fn at(&self, place: u64) -> Option<(Anchor, u64)> {
        let offset = HEADER as u64 + place * self.length;
        let room = usize::try_from(self.bytes.checked_sub(offset)?).ok()?.min(FRAME_HEADER + ANCHOR_LIMIT);
        let mut bytes = vec![0; room];
        self.file.read_exact_at(&mut bytes, offset).ok()?;
        let stated = u32::from_be_bytes(bytes.first_chunk::<4>().copied()?) as usize;
        let frame = bytes.get(..FRAME_HEADER + stated)?;
        let content = anchor_log::scan(frame, offset, self.first + place);
        let length = frame.len() as u64;
        content.anchors.into_iter().next().map(|anchor| (anchor, length))
    }

    /// The first anchor over a record, `Some(None)` where there is none; `None` where the file cannot be looked into
    /// like this.
    fn find(&self, seq: u64) -> Option<Option<Anchor>> {
        if self.length == 0 || !(self.bytes - HEADER as u64).is_multiple_of(self.length) {
            return None;
        }
        let count = (self.bytes - HEADER as u64) / self.length;
        let (mut from, mut to, mut found) = (0, count, None);
        while from < to {
            let middle = u64::midpoint(from, to);
            let (anchor, _) = self.at(middle)?;
            if anchor.claim.seq < seq {
                from = middle + 1;
            } else {
                to = middle;
                found = Some(anchor);
            }
        }
        Some(found)
    }
}
