//! One order in as few bytes as it needs, in one allocation.
//!
//! ```text
//!  0        4         8     9     11      13
//!  +--------+---------+-----+-----+-------+--------+-------+- - - - - - - - - - - - - - +- - - - -
//!  | revis. | touched | flg | to  | carr. | number | codes | per code: code, of, (rest) | details
//!  +--------+---------+-----+-----+-------+--------+-------+- - - - - - - - - - - - - - +- - - - -
//! ```
//! Numbers little-endian; texts with one byte of length before them, or two. Places and carriers are few and
//! are numbers of [`Names`]. `of` says how a code's key begins, and whether the code itself is what follows:
//! only where it is not has the key a text of its own. An order without details has no bytes for them.
//! This lives in memory only: nothing stores or publishes it.

use super::details;
use super::names::Names;
use crate::identify::Key;
use crate::line::Tick;
use crate::line::borrowed::OrderRef;
use crate::line::event::{Details, Hold, Order};

/// Where the place and the carrier stand.
const TO: usize = 9;
const CARRIER: usize = 11;
/// Where the texts begin.
const TEXTS: usize = 13;
const CANCELLED: u8 = 1;
const SORTED: u8 = 2;
/// The hold stands in the bits above.
const HOLD_SHIFT: u8 = 2;
/// An order without a carrier.
const NO_CARRIER: u16 = u16::MAX;
/// How keys begin that most orders have; `of` counts them from one, and is 0 for all others.
const BEGINNINGS: [&str; 3] = ["wb:", "sscc:", "s10:"];
/// In `of`: what follows the beginning is the code itself.
const CODE_ITSELF: u8 = 0x80;
/// Longest text of an order.
pub(super) const TEXT_LONGEST: usize = 1_024;

const HOLDS: [Hold; 9] = [
    Hold::CodHold,
    Hold::CodMismatch,
    Hold::CustomsHold,
    Hold::DangerousGoods,
    Hold::ReturnToSender,
    Hold::Repack,
    Hold::WeightMismatch,
    Hold::Oversize,
    Hold::Overweight,
];

/// A key, parted so that equal keys have equal parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyParts<'a> {
    /// Which of the beginnings, from one; 0: none of them.
    of: u8,
    rest: &'a [u8],
}

impl<'a> KeyParts<'a> {
    /// The parts of a key.
    pub fn of(key: &'a Key) -> KeyParts<'a> {
        let key = key.0.as_bytes();
        let begun = (1..).zip(BEGINNINGS);
        let mut begun = begun.filter_map(|(of, begin)| Some((of, key.strip_prefix(begin.as_bytes())?)));
        begun.next().map_or(KeyParts { of: 0, rest: key }, |(of, rest)| KeyParts { of, rest })
    }

    /// The key.
    pub fn whole(self) -> Key {
        let begin = usize::from(self.of).checked_sub(1).and_then(|at| BEGINNINGS.get(at));
        Key(format!("{}{}", begin.copied().unwrap_or_default(), string(self.rest)))
    }
}

/// An order, packed.
#[derive(Debug)]
pub(super) struct Packed(Box<[u8]>);

impl Packed {
    /// Packs an order with the keys of its codes, in their order; `None` where there are too many names.
    /// Texts are at most [`TEXT_LONGEST`] bytes long. `scratch` is only there to be used again.
    pub fn new(
        order: &OrderRef<'_>,
        keys: &[Key],
        touched: Tick,
        sorted: bool,
        names: &mut Names,
        scratch: &mut Vec<u8>,
    ) -> Option<Packed> {
        let to = names.number(order.destination)?;
        let carrier = match order.carrier {
            Some(carrier) => names.number(carrier)?,
            None => NO_CARRIER,
        };
        let hold = order.hold.and_then(|hold| HOLDS.iter().position(|other| *other == hold));
        let hold = hold.and_then(|at| u8::try_from(at + 1).ok()).unwrap_or(0);
        let flags = if order.cancelled { CANCELLED } else { 0 } | if sorted { SORTED } else { 0 };
        let bytes = scratch;
        bytes.clear();
        bytes.extend_from_slice(&order.revision.to_le_bytes());
        bytes.extend_from_slice(&seconds(touched).to_le_bytes());
        bytes.push(flags | hold << HOLD_SHIFT);
        bytes.extend_from_slice(&to.to_le_bytes());
        bytes.extend_from_slice(&carrier.to_le_bytes());
        put_text(bytes, order.order.as_bytes());
        bytes.push(u8::try_from(order.codes.len()).unwrap_or(u8::MAX));
        for (code, key) in order.codes.iter().zip(keys) {
            put_text(bytes, code.as_bytes());
            let KeyParts { of, rest } = KeyParts::of(key);
            if rest == code.as_bytes() {
                bytes.push(of | CODE_ITSELF);
            } else {
                bytes.push(of);
                put_text(bytes, rest);
            }
        }
        if let Some(told) = &order.details {
            details::pack(bytes, told, names)?;
        }
        Some(Packed(Box::from(&bytes[..])))
    }

    /// Puts each number of a name in another's place; `None` where there is none for it. What was changed
    /// until then stays changed.
    pub fn rename(&mut self, mut number_of: impl FnMut(u16) -> Option<u16>) -> Option<()> {
        let end = self.details_at();
        let named = details::names_in(&self.0[end..]).map(|at| end + at);
        let carrier = (self.short(CARRIER) != NO_CARRIER).then_some(CARRIER);
        for at in [TO].into_iter().chain(carrier).chain(named) {
            let number = number_of(self.short(at))?;
            self.0[at..at + 2].copy_from_slice(&number.to_le_bytes());
        }
        Some(())
    }

    /// Its bytes.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn revision(&self) -> u32 {
        self.long(0)
    }

    /// When it was last heard of.
    pub fn touched(&self) -> Tick {
        Tick(u64::from(self.long(4)) * 1_000_000)
    }

    /// It was heard of once more; `sorted`: its parcel has reached its chute.
    pub fn touch(&mut self, at: Tick, sorted: bool) {
        self.0[4..8].copy_from_slice(&seconds(at).to_le_bytes());
        if sorted {
            self.set_sorted();
        }
    }

    /// Its parcel has reached its chute.
    pub fn set_sorted(&mut self) {
        self.0[8] |= SORTED;
    }

    pub fn is_sorted(&self) -> bool {
        self.0[8] & SORTED != 0
    }

    /// Nothing more is expected of it: cancelled, or its parcel is in its chute.
    pub fn is_finished(&self) -> bool {
        self.0[8] & (SORTED | CANCELLED) != 0
    }

    pub fn number(&self) -> &[u8] {
        self.text(TEXTS).0
    }

    /// Whether one of its codes has this key.
    pub fn has(&self, key: KeyParts<'_>) -> bool {
        self.codes().any(|(_, own, _)| own == key)
    }

    /// The keys of its codes, each once.
    pub fn keys(&self) -> Vec<Key> {
        self.distinct_keys().map(|(_, key)| key.whole()).collect()
    }

    /// The keys of its codes, each once, with the first code that has it.
    pub fn distinct_keys(&self) -> impl Iterator<Item = (&[u8], KeyParts<'_>)> {
        self.codes().enumerate().filter_map(|(nth, (code, key, _))| {
            self.codes().take(nth).all(|(_, before, _)| before != key).then_some((code, key))
        })
    }

    /// The order as it came.
    pub fn unpack(&self, names: &Names) -> Order {
        let hold = usize::from(self.0[8] >> HOLD_SHIFT);
        Order {
            order: string(self.number()),
            revision: self.revision(),
            codes: self.codes().map(|(code, ..)| string(code)).collect(),
            destination: names.name(self.short(TO)).unwrap_or_default().to_owned(),
            carrier: names.name(self.short(CARRIER)).map(str::to_owned),
            cancelled: self.0[8] & CANCELLED != 0,
            hold: hold.checked_sub(1).and_then(|at| HOLDS.get(at)).copied(),
            details: self.details(names),
        }
    }

    fn details(&self, names: &Names) -> Option<Box<Details>> {
        details::unpack(&self.0[self.details_at()..], names).map(Box::new)
    }

    fn details_at(&self) -> usize {
        self.codes().last().map_or_else(|| self.text(TEXTS).1 + 1, |(_, _, end)| end)
    }

    /// Codes, their keys, and the place behind them.
    fn codes(&self) -> impl Iterator<Item = (&[u8], KeyParts<'_>, usize)> {
        let (_, mut at) = self.text(TEXTS);
        let count = self.0[at];
        at += 1;
        (0..count).map(move |_| {
            let (code, behind) = self.text(at);
            let of = self.0[behind];
            at = behind + 1;
            let mut rest = code;
            if of & CODE_ITSELF == 0 {
                (rest, at) = self.text(at);
            }
            (code, KeyParts { of: of & !CODE_ITSELF, rest }, at)
        })
    }

    fn short(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.0[at], self.0[at + 1]])
    }

    fn long(&self, at: usize) -> u32 {
        u32::from_le_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    fn text(&self, at: usize) -> (&[u8], usize) {
        text_at(&self.0, at)
    }
}

fn seconds(at: Tick) -> u32 {
    u32::try_from(at.0 / 1_000_000).unwrap_or(u32::MAX)
}

/// Adds a text; what is longer than [`TEXT_LONGEST`] was refused before it came here. A length of 128 and
/// more has its upper bits in a byte before, which has its highest bit set.
pub(super) fn put_text(bytes: &mut Vec<u8>, text: &[u8]) {
    let len = u16::try_from(text.len()).ok().filter(|len| *len < 0x8000).unwrap_or(0);
    let [high, low] = len.to_be_bytes();
    if len >= 0x80 {
        bytes.push(high | 0x80);
    }
    bytes.push(low);
    bytes.extend_from_slice(&text[..usize::from(len)]);
}

/// The text at a place, and the place behind it.
pub(super) fn text_at(bytes: &[u8], mut at: usize) -> (&[u8], usize) {
    let mut len = usize::from(bytes[at]);
    if len >= 0x80 {
        at += 1;
        len = (len & 0x7f) << 8 | usize::from(bytes[at]);
    }
    at += 1;
    (&bytes[at..at + len], at + len)
}

/// Only whole texts were packed, so nothing is ever replaced here.
pub(super) fn string(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
