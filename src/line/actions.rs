//! What a step gives back: what the shell must do.

use super::event::Command;
use super::record::Entry;

/// What the shell must do, in this order: commands first, then the journal.
#[derive(Debug, Default)]
pub struct Actions {
    /// For the PLC task. A command never waits for the disk.
    pub commands: Vec<Command>,
    /// For the journal, in order; nothing is acknowledged before they are durable.
    pub entries: Vec<Entry>,
}
