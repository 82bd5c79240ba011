//! Which anchor was the last, written beside the anchors and not among them: anchors that are taken away, or cut off
//! at their end, are missed.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::anchor::Anchor;
use super::slip::{self, SlipError};

/// The last anchor that is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// Its number.
    pub number: u64,
    /// Epoch of the record it speaks of.
    pub epoch: u64,
    /// That record.
    pub seq: u64,
}

impl Signed {
    pub(super) fn of(anchor: &Anchor) -> Signed {
        Signed { number: anchor.claim.number, epoch: anchor.claim.epoch, seq: anchor.claim.seq }
    }

    /// `None` where no anchor was signed yet.
    pub(super) fn read(directory: &Path) -> Result<Option<Signed>, SlipError> {
        slip::read(&directory.join("signed"))
    }

    pub(super) fn write(&self, directory: &Path) -> Result<(), SlipError> {
        slip::write(&directory.join("signed"), self)
    }
}
