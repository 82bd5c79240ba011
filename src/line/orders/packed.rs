//! One order in as few bytes as it needs, in one allocation.
//!
//! ```text
//!  0        4         8     9     11      13
//!  +--------+---------+-----+-----+-------+--------+-------+- - - - - - - - - - +- - - - -
//!  | revis. | touched | flg | to  | carr. | number | codes | per code: code, key| details
//!  +--------+---------+-----+-----+-------+--------+-------+- - - - - - - - - - +- - - - -
//! ```
//! Numbers little-endian; texts with two bytes of length before them. Places and carriers are few and are
//! numbers of [`Names`]. A key that is the code itself behind the prefix of waybills has no bytes of its own.
//! An order without details has no bytes for them.
//! This lives in memory only: nothing stores or publishes it.

use std::collections::BTreeMap;

use crate::identify::Key;
use crate::line::Tick;
use crate::line::event::{Cod, Details, Hold, Order};

/// Where the texts begin.
const TEXTS: usize = 13;
const CANCELLED: u8 = 1;
const SORTED: u8 = 2;
/// The hold stands in the bits above.
const HOLD_SHIFT: u8 = 2;
/// An order without a carrier.
const NO_CARRIER: u16 = u16::MAX;
/// The key is this and the code.
const WAYBILL: &str = "wb:";
/// Length of a key that needs no bytes of its own.
const SAME: u16 = u16::MAX;
/// Longest text of an order.
pub(super) const TEXT_LONGEST: usize = 1_024;
/// Names of places and carriers at most: far above any plan's, so that nonsense cannot fill the memory.
pub(super) const NAMES_MOST: usize = 60_000;

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

/// Names that many orders share.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: Vec<Box<str>>,
    numbers: BTreeMap<Box<str>, u16>,
}

impl Names {
    /// The number of a name; `None` where there are too many.
    fn number(&mut self, name: &str) -> Option<u16> {
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        let number =
            u16::try_from(self.names.len()).ok().filter(|number| usize::from(*number) < NAMES_MOST)?;
        self.names.push(name.into());
        self.numbers.insert(name.into(), number);
        Some(number)
    }

    fn name(&self, number: u16) -> Option<&str> {
        self.names.get(usize::from(number)).map(|name| &**name)
    }
}

/// An order, packed.
#[derive(Debug)]
pub(super) struct Packed(Box<[u8]>);

impl Packed {
    /// Packs an order with the keys of its codes, in their order; `None` where there are too many names.
    /// Texts are at most [`TEXT_LONGEST`] bytes long.
    pub fn new(
        order: &Order,
        keys: &[Key],
        touched: Tick,
        sorted: bool,
        names: &mut Names,
    ) -> Option<Packed> {
        let to = names.number(&order.destination)?;
        let carrier = match &order.carrier {
            Some(carrier) => names.number(carrier)?,
            None => NO_CARRIER,
        };
        let hold = order.hold.and_then(|hold| HOLDS.iter().position(|other| *other == hold));
        let hold = hold.and_then(|at| u8::try_from(at + 1).ok()).unwrap_or(0);
        let flags = if order.cancelled { CANCELLED } else { 0 } | if sorted { SORTED } else { 0 };
        let mut bytes = Vec::with_capacity(TEXTS + 2 + order.order.len() + order.codes.len() * 32);
        bytes.extend_from_slice(&order.revision.to_le_bytes());
        bytes.extend_from_slice(&seconds(touched).to_le_bytes());
        bytes.push(flags | hold << HOLD_SHIFT);
        bytes.extend_from_slice(&to.to_le_bytes());
        bytes.extend_from_slice(&carrier.to_le_bytes());
        text(&mut bytes, &order.order);
        bytes.push(u8::try_from(order.codes.len()).unwrap_or(u8::MAX));
        for (code, key) in order.codes.iter().zip(keys) {
            text(&mut bytes, code);
            if key.0.strip_prefix(WAYBILL) == Some(code) {
                bytes.extend_from_slice(&SAME.to_le_bytes());
            } else {
                text(&mut bytes, &key.0);
            }
        }
        if let Some(details) = &order.details {
            bytes.extend(pack_details(details, names)?);
        }
        Some(Packed(bytes.into_boxed_slice()))
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
            self.0[8] |= SORTED;
        }
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
    pub fn has(&self, key: &Key) -> bool {
        self.codes().any(|(code, own, _)| match own {
            Some(own) => own == key.0.as_bytes(),
            None => key.0.strip_prefix(WAYBILL).is_some_and(|rest| rest.as_bytes() == code),
        })
    }

    /// The keys of its codes, each once.
    pub fn keys(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = Vec::new();
        for (code, own, _) in self.codes() {
            let key = match own {
                Some(own) => Key(string(own)),
                None => Key(format!("{WAYBILL}{}", string(code))),
            };
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    /// The order as it came.
    pub fn unpack(&self, names: &Names) -> Order {
        let short = |at: usize| u16::from_le_bytes([self.0[at], self.0[at + 1]]);
        let hold = usize::from(self.0[8] >> HOLD_SHIFT);
        Order {
            order: string(self.number()),
            revision: self.revision(),
            codes: self.codes().map(|(code, ..)| string(code)).collect(),
            destination: names.name(short(9)).unwrap_or_default().to_owned(),
            carrier: names.name(short(11)).map(str::to_owned),
            cancelled: self.0[8] & CANCELLED != 0,
            hold: hold.checked_sub(1).and_then(|at| HOLDS.get(at)).copied(),
            details: self.details(names),
        }
    }

    fn details(&self, names: &Names) -> Option<Box<Details>> {
        let end = self.codes().last().map_or_else(|| self.text(TEXTS).1 + 1, |(_, _, end)| end);
        unpack_details(&self.0[end..], names).map(Box::new)
    }

    /// Codes, their keys where those are not the codes themselves, and the place behind them.
    fn codes(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>, usize)> {
        let (_, mut at) = self.text(TEXTS);
        let count = self.0[at];
        at += 1;
        (0..count).map(move |_| {
            let (code, behind) = self.text(at);
            if self.0[behind..behind + 2] == SAME.to_le_bytes() {
                at = behind + 2;
                return (code, None, at);
            }
            let (key, behind) = self.text(behind);
            at = behind;
            (code, Some(key), at)
        })
    }

    fn long(&self, at: usize) -> u32 {
        u32::from_le_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    /// The text at a place, and the place behind it.
    fn text(&self, at: usize) -> (&[u8], usize) {
        let len = usize::from(u16::from_le_bytes([self.0[at], self.0[at + 1]]));
        (&self.0[at + 2..at + 2 + len], at + 2 + len)
    }
}

/// Details with numbers for the names that many orders share.
type Short = (
    (Option<u16>, Option<String>, Option<u16>, Option<u16>, Option<u16>),
    (Option<u32>, Option<[u16; 3]>, Option<u16>),
    Option<(u64, u16)>,
    (Option<bool>, Option<bool>, Option<String>),
);

fn pack_details(details: &Details, names: &mut Names) -> Option<Vec<u8>> {
    let mut number = |name: &Option<String>| match name {
        Some(name) => names.number(name).map(Some),
        None => Some(None),
    };
    let cod = match &details.cod {
        Some(cod) => Some((cod.minor, number(&Some(cod.currency.clone()))??)),
        None => None,
    };
    let short: Short = (
        (
            number(&details.country)?,
            details.postcode.clone(),
            number(&details.service)?,
            number(&details.customer)?,
            number(&details.goods)?,
        ),
        (details.weight_g, details.size_mm, number(&details.pack)?),
        cod,
        (details.fragile, details.dangerous_goods, details.return_of.clone()),
    );
    // Numbers and short texts in memory: nothing of this can fail.
    bincode::serde::encode_to_vec(short, bincode::config::standard()).ok()
}

fn unpack_details(bytes: &[u8], names: &Names) -> Option<Details> {
    // Nothing stands there where the order has none.
    let (short, _): (Short, usize) =
        bincode::serde::decode_from_slice(bytes, bincode::config::standard()).ok()?;
    let ((country, postcode, service, customer, goods), (weight_g, size_mm, pack), cod, rest) = short;
    let (fragile, dangerous_goods, return_of) = rest;
    let name = |number: Option<u16>| names.name(number?).map(str::to_owned);
    Some(Details {
        country: name(country),
        postcode,
        service: name(service),
        customer: name(customer),
        goods: name(goods),
        weight_g,
        size_mm,
        pack: name(pack),
        cod: cod.and_then(|(minor, currency)| Some(Cod { minor, currency: name(Some(currency))? })),
        fragile,
        dangerous_goods,
        return_of,
    })
}

fn seconds(at: Tick) -> u32 {
    u32::try_from(at.0 / 1_000_000).unwrap_or(u32::MAX)
}

/// Adds a text; what is longer than [`TEXT_LONGEST`] was refused before it came here.
fn text(bytes: &mut Vec<u8>, text: &str) {
    let len = u16::try_from(text.len()).unwrap_or(0);
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(&text.as_bytes()[..usize::from(len)]);
}

/// Only whole texts were packed, so nothing is ever replaced here.
fn string(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
