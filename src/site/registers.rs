//! The PLC's register map as blocks: nothing may overlap, nothing may pass the last register.

use std::ops::Range;

use super::finding::Notes;
use super::walk::Table;
use crate::wire::plc::{COMMAND_WORDS, EVENT_WORDS, RegisterMap};

/// Modbus addresses end here.
const REGISTERS: u32 = 65_536;

struct Block {
    /// Key of its first register.
    key: &'static str,
    /// Key of its length, where that is configured.
    length_key: Option<&'static str>,
    registers: Range<u32>,
}

fn blocks(map: &RegisterMap) -> Vec<Block> {
    let block = |key, first: u16, length_key, length: u32| Block {
        key,
        length_key,
        registers: u32::from(first)..u32::from(first) + length,
    };
    let word = |key, first| block(key, first, None, 1);
    let words = u32::from(map.bitmap_words);
    vec![
        word("pc-heartbeat", map.pc_heartbeat),
        word("request", map.request),
        word("acknowledged", map.acknowledged),
        word("resync", map.resync),
        word("clear-jam", map.clear_jam),
        block(
            "commands",
            map.commands,
            Some("command-slots"),
            u32::from(map.command_slots) * u32::from(COMMAND_WORDS),
        ),
        word("plc-heartbeat", map.plc_heartbeat),
        word("flags", map.flags),
        word("taken", map.taken),
        word("resync-echo", map.resync_echo),
        word("head", map.head),
        word("events-lost", map.events_lost),
        block("encoder", map.encoder, None, 2),
        word("speed", map.speed),
        word("epoch", map.epoch),
        block("inducted", map.inducted, None, 2),
        block("chute-full", map.chute_full, Some("bitmap-words"), words),
        block("chute-disabled", map.chute_disabled, Some("bitmap-words"), words),
        block("ring", map.ring, Some("ring-slots"), u32::from(map.ring_slots) * u32::from(EVENT_WORDS)),
    ]
}

impl Block {
    /// The written key that put the block where it is.
    fn written<'a>(&self, table: &'a Table) -> Option<(&'static str, &'a super::finding::Spot)> {
        [Some(self.key), self.length_key]
            .into_iter()
            .flatten()
            .find(|key| table.is_written(key))
            .map(|key| (key, table.spot_of(key)))
    }

    fn shown(&self) -> String {
        let Range { start, end } = self.registers;
        if end - start == 1 {
            format!("`{}` ({start})", self.key)
        } else {
            format!("`{}` ({start} to {})", self.key, end - 1)
        }
    }
}

/// Checks the map of `[plc.map]`: one finding a block that is in the way of others, at the key that put it there.
pub(super) fn check(notes: &mut Notes, table: &Table) {
    let map = table.register_map();
    let all = blocks(&map);
    let mut reported = vec![false; all.len() * all.len()];
    for (at, block) in all.iter().enumerate() {
        let Some((key, spot)) = block.written(table) else { continue };
        if block.registers.end > REGISTERS {
            notes.error(
                spot,
                format!("{} passes the last register, 65535", block.shown()),
                format!(
                    "at most {} for `{}`",
                    REGISTERS - (block.registers.end - block.registers.start),
                    block.key
                ),
                "move it down or make it shorter",
            );
        }
        let mut in_the_way = Vec::new();
        for (other_at, other) in all.iter().enumerate() {
            let apart =
                block.registers.end <= other.registers.start || other.registers.end <= block.registers.start;
            if other_at != at && !apart && !reported[at * all.len() + other_at] {
                reported[other_at * all.len() + at] = true;
                in_the_way.push(other.shown());
            }
        }
        if !in_the_way.is_empty() {
            notes.error(
                spot,
                format!("{} overlaps {}", block.shown(), in_the_way.join(", ")),
                "every block of the register map has registers of its own",
                format!("change `{key}`, or move what it overlaps, to the addresses of the PLC's program"),
            );
        }
    }
}
