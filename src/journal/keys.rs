//! Keys of a day's default tree, and what a record mentions. Numbers are big-endian, so that the order of
//! keys is the order of numbers.
//!
//! ```text
//! h                                  head of the day: epoch, first numbers, link
//! x seq part                         continuation of a long record or of its block
//! u seq                           -> record  start of a run; the run in force is carried into each new day
//! k seq                           -> record  name of the configuration of the run that record seq began, in
//!                                            days that it was carried into
//! s seq part                      -> chunk   snapshot of the core
//!
//! in days of layout 1 only:
//! r seq                              record, its first VALUE_LIMIT bytes
//! e event_seq                     -> seq     milestones
//! p epoch track seq               -> ()      records of a pass
//! c len code seq                  -> pass    records that name a code, with their pass if they have one
//! ```

use sha2::{Digest, Sha256};

use crate::identify::{Key, Reading};
use crate::line::PassKey;
use crate::line::event::HoldOn;
use crate::line::record::{Body, Fact};

pub(super) const HEAD: &[u8] = b"h";

/// Longer codes are told apart by their beginning and a digest, so that a key's length has a bound.
const CODE_LIMIT: usize = 128;
const CODE_START: usize = 96;

fn numbered(prefix: u8, number: u64) -> [u8; 9] {
    let mut key = [prefix; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

pub(super) fn record(seq: u64) -> [u8; 9] {
    numbered(b'r', seq)
}

pub(super) fn event(event_seq: u64) -> [u8; 9] {
    numbered(b'e', event_seq)
}

pub(super) fn run(seq: u64) -> [u8; 9] {
    numbered(b'u', seq)
}

pub(super) fn configured(run: u64) -> [u8; 9] {
    numbered(b'k', run)
}

pub(super) fn continuation(seq: u64, part: u8) -> [u8; 10] {
    let mut key = [part; 10];
    key[..9].copy_from_slice(&numbered(b'x', seq));
    key
}

pub(super) fn snapshot(seq: u64, part: u16) -> [u8; 11] {
    let mut key = [0; 11];
    key[..9].copy_from_slice(&numbered(b's', seq));
    key[9..].copy_from_slice(&part.to_be_bytes());
    key
}

fn pass_bytes(pass: PassKey) -> [u8; 6] {
    let mut bytes = [0; 6];
    bytes[..2].copy_from_slice(&pass.epoch.to_be_bytes());
    bytes[2..].copy_from_slice(&pass.track.to_be_bytes());
    bytes
}

/// Under what a pass is looked up. Two things may have the same: whoever looks reads the record.
pub(super) fn hash_pass(pass: PassKey) -> u32 {
    hash_pass_bytes(&pass_bytes(pass))
}

pub(super) fn hash_pass_bytes(bytes: &[u8]) -> u32 {
    hash(b"p", bytes)
}

/// Under what a code, as given back by [`fold`], is looked up.
pub(super) fn hash_code(code: &[u8]) -> u32 {
    hash(b"c", code)
}

fn hash(kind: &[u8], bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(kind);
    crc.update(bytes);
    crc.finalize()
}

/// Adds everything a record is found under to `mentions`.
pub(super) fn add_mentions(mentions: &mut Vec<u32>, body: &Body) {
    mentions.extend(body.pass().map(hash_pass));
    mentions.extend(codes(body).iter().map(|code| hash_code(code)));
}

/// A code as it is looked up: without blanks around it, upper case, at most [`CODE_LIMIT`] bytes.
pub(super) fn fold(code: &str) -> Vec<u8> {
    let code = code.trim();
    // Nearly every code is; and every record that names one comes this way.
    let upper = if code.is_ascii() { code.to_ascii_uppercase() } else { code.to_uppercase() };
    let mut bytes = upper.into_bytes();
    if bytes.len() > CODE_LIMIT {
        let digest = Sha256::digest(&bytes);
        bytes.truncate(CODE_START);
        bytes.extend_from_slice(&digest);
    }
    bytes
}

/// Codes under which a record is found, folded, each once.
pub(super) fn codes(body: &Body) -> Vec<Vec<u8>> {
    let mut codes = Vec::new();
    let Body::Fact(fact) = body else { return codes };
    match fact {
        Fact::Tied { reading, .. } | Fact::Untied { reading, .. } => push_reading(&mut codes, reading),
        Fact::Identified { key, order, .. } => {
            push_key(&mut codes, key);
            if let Some(order) = order {
                push(&mut codes, order);
            }
        }
        Fact::Ended { key, .. } => {
            if let Some(key) = key {
                push_key(&mut codes, key);
            }
        }
        Fact::OrderRefused { order, .. } => push(&mut codes, order),
        Fact::Held { on, .. } | Fact::HoldRefused { on, .. } => match on {
            HoldOn::Order(order) => push(&mut codes, order),
            HoldOn::Code(code) => push_key(&mut codes, &Key(code.clone())),
        },
        Fact::Reported { code, .. } => push(&mut codes, code),
        Fact::Inducted { .. }
        | Fact::Blank { .. }
        | Fact::Decided(_)
        | Fact::Acknowledged { .. }
        | Fact::Refused { .. }
        | Fact::Recirculated { .. }
        | Fact::ChuteEmptied { .. }
        | Fact::OrdersApplied { .. }
        | Fact::HoldsApplied { .. }
        | Fact::OrdersGone { .. }
        | Fact::AlarmRaised(_)
        | Fact::AlarmCleared { .. } => {}
    }
    codes
}

fn push(codes: &mut Vec<Vec<u8>>, code: &str) {
    let folded = fold(code);
    if !folded.is_empty() && !codes.contains(&folded) {
        codes.push(folded);
    }
}

fn push_key(codes: &mut Vec<Vec<u8>>, key: &Key) {
    push(codes, &key.0);
    if let Some((_, bare)) = key.0.split_once(':') {
        push(codes, bare);
    }
}

fn push_reading(codes: &mut Vec<Vec<u8>>, reading: &Reading) {
    match reading {
        Reading::Barcode { text, .. } => push(codes, text),
        Reading::Tag { epc } => {
            let hex: String = epc.iter().map(|byte| format!("{byte:02X}")).collect();
            push(codes, &hex);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_code_is_not_taken_for_another_with_the_same_beginning() {
        let (a, b) = (format!("{}a", "x".repeat(200)), format!("{}b", "x".repeat(200)));
        assert_eq!(fold(&a).len(), CODE_LIMIT);
        assert_ne!(fold(&a), fold(&b));
        assert_eq!(fold(" ab12 "), b"AB12");
    }

    #[test]
    fn keys_sort_like_their_numbers() {
        assert!(record(255) < record(256));
        assert!(event(u64::MAX - 1) < event(u64::MAX));
        assert!(snapshot(1, 256) < snapshot(2, 0));
    }

    /// Worked out with another program (Python's `zlib.crc32`); never to be changed: files hold them.
    #[test]
    fn frozen_hashes() {
        assert_eq!(hash_pass(PassKey { epoch: 3, track: 70_000 }), 0x34ba_4d9e);
        assert_eq!(hash_code(&fold(" sf123 ")), 0x8967_d46d);
    }
}
