//! The command table as it stands in the PLC, and the commands that wait for a free slot.
//!
//! A command goes into slot `sequence % slots`. The slot is free when the PLC has taken what stood in it. Commands
//! leave in the order they came: one that finds its slot occupied holds those behind it, since the PLC's register
//! 102 is cumulative.

use std::collections::VecDeque;

use thiserror::Error;

use crate::wire::plc::{CommandSlot, RegisterMap, next_seq, seq_distance, seq_reached};

/// Commands that may wait for a slot; more stay in the channel, which holds the sender back.
pub(super) const PENDING_MOST: usize = 256;
/// After a new numbering, commands decided under the old one may still be on their way. They are told by their
/// sequence, which is not the one due; so many are turned away before a sequence is taken as it comes, because a
/// line that obeys nothing would be worse.
const STRANGERS_MOST: u8 = 16;

/// Why a command was not taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum CommandRefused {
    /// No sequence.
    #[error("command for track {track}: expected a sequence of 1…65535, came 0")]
    NoSequence {
        /// Its parcel.
        track: u32,
    },
    /// It was decided under a numbering that is over.
    #[error("command {came} for track {track}: expected {due} first after the PLC's new numbering")]
    OldNumbering {
        /// Its sequence.
        came: u16,
        /// Its parcel.
        track: u32,
        /// Sequence due.
        due: u16,
    },
    /// Its sequence has been used for something else.
    #[error("command {came} for track {track}: the PLC has taken {taken} already")]
    Used {
        /// Its sequence.
        came: u16,
        /// Its parcel.
        track: u32,
        /// Register 102.
        taken: u16,
    },
}

/// The table and its queue.
#[derive(Debug, Default)]
pub(super) struct Commands {
    slots: Vec<CommandSlot>,
    taken: u16,
    pending: VecDeque<CommandSlot>,
    dirty: bool,
    /// The first sequence of a new numbering, until it has come.
    due: Option<u16>,
    strangers: u8,
}

impl Commands {
    /// Drops what waits for a slot, and says how many that were: the core decides again from what it is told with
    /// the next attachment.
    pub(super) fn drop_waiting(&mut self) -> usize {
        let dropped = self.pending.len();
        self.pending.clear();
        dropped
    }

    /// Takes the table over as the PLC holds it.
    pub(super) fn adopt(&mut self, slots: Vec<CommandSlot>, taken: u16, new_numbering: bool) {
        self.pending.clear();
        self.slots = slots;
        self.taken = taken;
        self.dirty = false;
        self.strangers = 0;
        self.due = new_numbering.then(|| next_seq(self.last()));
    }

    /// The table as it stands, or shall stand, in the PLC.
    pub(super) fn table(&self) -> &[CommandSlot] {
        &self.slots
    }

    /// There is room for one more.
    pub(super) fn has_room(&self) -> bool {
        self.pending.len() < PENDING_MOST
    }

    /// Commands without a slot.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// The table has to be written.
    pub(super) fn dirty(&self) -> bool {
        self.dirty
    }

    /// It has been.
    pub(super) fn written(&mut self) {
        self.dirty = false;
    }

    /// Takes a command up: into its slot, or into the queue.
    pub(super) fn push(&mut self, command: CommandSlot, map: &RegisterMap) -> Result<(), CommandRefused> {
        let CommandSlot { seq: came, track, .. } = command;
        if came == 0 {
            return Err(CommandRefused::NoSequence { track });
        }
        if let Some(due) = self.due {
            if came != due && self.strangers < STRANGERS_MOST {
                self.strangers += 1;
                return Err(CommandRefused::OldNumbering { came, track, due });
            }
            self.due = None;
        }
        if self.slots.contains(&command) {
            // Told twice: it stands in the table already.
            return Ok(());
        }
        if self.taken != 0 && seq_reached(came, self.taken) {
            return Err(CommandRefused::Used { came, track, taken: self.taken });
        }
        self.pending.push_back(command);
        self.place(map);
        Ok(())
    }

    /// Register 102 has moved.
    pub(super) fn taken(&mut self, taken: u16, map: &RegisterMap) {
        self.taken = taken;
        self.place(map);
    }

    fn place(&mut self, map: &RegisterMap) {
        while let Some(command) = self.pending.front() {
            let place = usize::from(map.command_slot(command.seq));
            let Some(slot) = self.slots.get_mut(place) else { break };
            let free = slot.seq == 0 || self.taken != 0 && seq_reached(slot.seq, self.taken);
            if !free {
                break;
            }
            *slot = *command;
            self.pending.pop_front();
            self.dirty = true;
        }
    }

    /// The furthest sequence of table and register 102.
    fn last(&self) -> u16 {
        self.slots.iter().filter(|slot| slot.seq != 0).fold(self.taken, |last, slot| {
            if last == 0 || seq_distance(last, slot.seq) < u16::MAX / 2 { slot.seq } else { last }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(seq: u16) -> CommandSlot {
        CommandSlot { seq, track: seq.into(), chute: 3, ..CommandSlot::default() }
    }

    fn fresh(map: &RegisterMap) -> Commands {
        let mut commands = Commands::default();
        commands.adopt(vec![CommandSlot::default(); map.command_slots.into()], 0, false);
        commands
    }

    #[test]
    fn a_slot_is_used_again_only_when_it_was_taken() {
        let map = RegisterMap::default();
        let mut commands = fresh(&map);
        for seq in 1..=20 {
            commands.push(command(seq), &map).unwrap();
        }
        // 16 slots: 17 waits for 1, and holds 18…20.
        assert_eq!(commands.waiting(), 4);
        commands.written();
        commands.taken(2, &map);
        assert!(commands.dirty());
        assert_eq!(commands.waiting(), 2);
        assert_eq!((commands.table()[1].seq, commands.table()[2].seq, commands.table()[3].seq), (17, 18, 3));
        commands.taken(20, &map);
        assert_eq!(commands.waiting(), 0);
    }

    #[test]
    fn sequences_go_on_past_the_wrap() {
        let map = RegisterMap::default();
        let mut commands = fresh(&map);
        commands.adopt(vec![CommandSlot::default(); 16], 65_533, false);
        for seq in [65_534, 65_535, 1, 2] {
            commands.push(command(seq), &map).unwrap();
        }
        assert_eq!(commands.waiting(), 0);
        assert_eq!(commands.last(), 2);
        assert_eq!(
            commands.push(command(65_533), &map),
            Err(CommandRefused::Used { came: 65_533, track: 65_533, taken: 65_533 })
        );
    }

    #[test]
    fn commands_of_an_old_numbering_are_turned_away() {
        let map = RegisterMap::default();
        let mut commands = fresh(&map);
        commands.push(command(1), &map).unwrap();
        commands.adopt(vec![CommandSlot::default(); 16], 0, true);
        assert!(matches!(
            commands.push(command(57), &map),
            Err(CommandRefused::OldNumbering { came: 57, due: 1, .. })
        ));
        commands.push(command(1), &map).unwrap();
        commands.push(command(2), &map).unwrap();
        assert_eq!(commands.table()[1].seq, 1);
    }

    #[test]
    fn a_numbering_that_never_comes_is_given_up_for() {
        let map = RegisterMap::default();
        let mut commands = fresh(&map);
        commands.adopt(vec![CommandSlot::default(); 16], 0, true);
        for _ in 0..STRANGERS_MOST {
            assert!(commands.push(command(100), &map).is_err());
        }
        assert_eq!(commands.push(command(100), &map), Ok(()));
        assert!(commands.dirty());
    }

    #[test]
    fn what_waited_is_dropped_and_counted_at_an_attachment() {
        let map = RegisterMap { command_slots: 1, ..RegisterMap::default() };
        let mut commands = fresh(&map);
        for seq in 1..=4 {
            commands.push(command(seq), &map).unwrap();
        }
        assert_eq!(commands.drop_waiting(), 3);
        commands.adopt(vec![command(1)], 0, false);
        // The same command once more changes nothing.
        commands.push(command(1), &map).unwrap();
        assert!(!commands.dirty());
        assert_eq!(commands.push(CommandSlot::default(), &map), Err(CommandRefused::NoSequence { track: 0 }));
    }
}
