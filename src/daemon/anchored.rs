//! The journal's anchors as the uplink sees them.

use crate::journal::AnchorReader;
use crate::journal::anchor::Anchor;
use crate::uplink::anchors::Anchors;

/// Reads them out of the journal and keeps the cursor beside them.
#[derive(Debug)]
pub struct Anchored(pub AnchorReader);

impl Anchors for Anchored {
    fn newest(&self) -> u64 {
        self.0.newest()
    }

    fn after(&self, number: u64, max: usize) -> Result<Vec<Anchor>, String> {
        self.0.after(number, max).map_err(|error| error.to_string())
    }

    fn acknowledged(&self) -> Result<u64, String> {
        self.0.acknowledged().map_err(|error| error.to_string())
    }

    fn acknowledge(&self, number: u64) -> Result<(), String> {
        self.0.acknowledge(number).map_err(|error| error.to_string())
    }
}
