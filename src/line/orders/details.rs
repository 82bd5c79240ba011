//! The details of an order in as few bytes as they need.
//!
//! ```text
//! 0      2
//! +------+- - - - - - - - - - - - - - -+- - - - - - - - - - - - - - - - - - - - - - - - - - - - +
//! | what | names, two bytes each       | postcode, return of | weight | size (6) | money at door |
//! +------+- - - - - - - - - - - - - - -+- - - - - - - - - - - - - - - - - - - - - - - - - - - - +
//! ```
//! `what` says which of them there are, in the order of its bits; those that are not told have no bytes.
//! Country, service, customer, class of goods, packaging and currency are few and are numbers of `Names`.

use super::names::Names;
use super::packed::{put_text, text_at};
use crate::line::borrowed::DetailsRef;
use crate::line::event::{Cod, Details};

const COUNTRY: u16 = 1;
const SERVICE: u16 = 1 << 1;
const CUSTOMER: u16 = 1 << 2;
const GOODS: u16 = 1 << 3;
const PACK: u16 = 1 << 4;
/// There is money at the door; its currency stands among the names.
const COD: u16 = 1 << 5;
/// What has a name among the above.
const NAMED: u16 = COUNTRY | SERVICE | CUSTOMER | GOODS | PACK | COD;
const POSTCODE: u16 = 1 << 6;
const RETURN_OF: u16 = 1 << 7;
const WEIGHT: u16 = 1 << 8;
const SIZE: u16 = 1 << 9;
const FRAGILE_TOLD: u16 = 1 << 10;
const FRAGILE: u16 = 1 << 11;
const DANGEROUS_TOLD: u16 = 1 << 12;
const DANGEROUS: u16 = 1 << 13;

/// Adds details behind `bytes`; `None` where there are too many names.
pub(super) fn pack(bytes: &mut Vec<u8>, details: &DetailsRef<'_>, names: &mut Names) -> Option<()> {
    let flag = |told: bool, flag: u16| if told { flag } else { 0 };
    let named = [
        (COUNTRY, details.country),
        (SERVICE, details.service),
        (CUSTOMER, details.customer),
        (GOODS, details.goods),
        (PACK, details.pack),
        (COD, details.cod.as_ref().map(|cod| cod.currency)),
    ];
    let texts = [(POSTCODE, details.postcode), (RETURN_OF, details.return_of)];
    let told = named.iter().chain(&texts).filter(|(_, text)| text.is_some());
    let what = told.fold(0, |what, (flag, _)| what | flag)
        | flag(details.weight_g.is_some(), WEIGHT)
        | flag(details.size_mm.is_some(), SIZE)
        | flag(details.fragile.is_some(), FRAGILE_TOLD)
        | flag(details.fragile == Some(true), FRAGILE)
        | flag(details.dangerous_goods.is_some(), DANGEROUS_TOLD)
        | flag(details.dangerous_goods == Some(true), DANGEROUS);
    bytes.extend_from_slice(&what.to_le_bytes());
    for name in named.into_iter().filter_map(|(_, name)| name) {
        bytes.extend_from_slice(&names.number(name)?.to_le_bytes());
    }
    for text in texts.into_iter().filter_map(|(_, text)| text) {
        put_text(bytes, text.as_bytes());
    }
    if let Some(weight_g) = details.weight_g {
        put_number(bytes, u64::from(weight_g));
    }
    for side in details.size_mm.into_iter().flatten() {
        bytes.extend_from_slice(&side.to_le_bytes());
    }
    if let Some(cod) = &details.cod {
        put_number(bytes, cod.minor);
    }
    Some(())
}

/// Where the numbers of names stand in packed details.
pub(super) fn names_in(bytes: &[u8]) -> impl Iterator<Item = usize> + use<> {
    let count = if bytes.is_empty() { 0 } else { (short(bytes, 0) & NAMED).count_ones() as usize };
    (0..count).map(|nth| 2 + 2 * nth)
}

/// What was packed; `None` where nothing stands there.
pub(super) fn unpack(bytes: &[u8], names: &Names) -> Option<Details> {
    if bytes.is_empty() {
        return None;
    }
    let what = short(bytes, 0);
    let mut rest = Rest { bytes, at: 2, what };
    // In the order in which they stand.
    let country = rest.name(COUNTRY, names);
    let service = rest.name(SERVICE, names);
    let customer = rest.name(CUSTOMER, names);
    let goods = rest.name(GOODS, names);
    let pack = rest.name(PACK, names);
    let currency = rest.name(COD, names);
    let postcode = rest.text(POSTCODE);
    let return_of = rest.text(RETURN_OF);
    let weight_g = rest.has(WEIGHT).then(|| u32::try_from(rest.number()).unwrap_or(u32::MAX));
    let size_mm = rest.has(SIZE).then(|| [rest.short(), rest.short(), rest.short()]);
    let cod = currency.map(|currency| Cod { minor: rest.number(), currency });
    Some(Details {
        country,
        postcode,
        service,
        customer,
        goods,
        weight_g,
        size_mm,
        pack,
        cod,
        fragile: (what & FRAGILE_TOLD != 0).then_some(what & FRAGILE != 0),
        dangerous_goods: (what & DANGEROUS_TOLD != 0).then_some(what & DANGEROUS != 0),
        return_of,
    })
}

/// What has not been read yet.
struct Rest<'a> {
    bytes: &'a [u8],
    at: usize,
    what: u16,
}

impl Rest<'_> {
    fn has(&self, flag: u16) -> bool {
        self.what & flag != 0
    }

    fn short(&mut self) -> u16 {
        self.at += 2;
        short(self.bytes, self.at - 2)
    }

    fn name(&mut self, flag: u16, names: &Names) -> Option<String> {
        if !self.has(flag) {
            return None;
        }
        names.name(self.short()).map(str::to_owned)
    }

    fn text(&mut self, flag: u16) -> Option<String> {
        if !self.has(flag) {
            return None;
        }
        let (text, behind) = text_at(self.bytes, self.at);
        self.at = behind;
        Some(super::packed::string(text))
    }

    fn number(&mut self) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.bytes[self.at];
            self.at += 1;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return number;
            }
            shift += 7;
        }
    }
}

fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or(0);
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}
