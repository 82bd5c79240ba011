//! Codes and tags → one identity, no-read, or conflict.
//!
//! Pure: no I/O, no clock, nothing global but the constant table of GS1 application identifiers, parsed on
//! first use. A *reading* is what a reader saw; an *identification* is what one reading is taken for; a
//! *verdict* is what all readings of one parcel together say. A *key* names a parcel.
//!
//! Invariants:
//! - What is scanned and what is ordered meet: [`key_of_order_code`] gives the key that [`identify`] gives
//!   for the same number in any other form (tag bytes, EPC URI, element string, bare number).
//! - A code stands alone only if it is valid and names one parcel. Everything else counts only where an
//!   order binds its text, and never otherwise.
//! - The verdict does not depend on the order of the readings.
//!
//! One file a family: [`epc`], [`gs1`], `s10`, [`carrier`]; `family` chooses among them, `verdict` weighs
//! what they say.

pub mod carrier;
pub mod check;
pub mod epc;
mod family;
pub mod gs1;
mod s10;
#[cfg(test)]
mod tests;
mod text;
mod verdict;

pub use s10::countries;

use serde::{Deserialize, Serialize};

/// AIM symbology identifier without its leading `]`: code character and modifier, e.g. `C1` for GS1-128
/// (ISO/IEC 15424).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Aim(pub u8, pub u8);

/// What a reader saw, before anything is concluded from it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reading {
    /// A decoded barcode symbol, the AIM identifier split off; FNC1 separators are kept as 0x1D.
    Barcode {
        /// Symbology, where the scanner says it.
        aim: Option<Aim>,
        /// Decoded contents.
        text: String,
    },
    /// The EPC memory bank's EPC field of a UHF tag, 12 bytes for the 96-bit schemes.
    Tag {
        /// EPC, most significant byte first.
        epc: Vec<u8>,
    },
}

/// The canonical name of one physical parcel or its label: two readings with equal keys mean the same
/// thing. `sscc:<18 digits>`, `sgtin:<14 digits>.<serial>`, `s10:<13 characters>`, `wb:<waybill>` for a
/// carrier's or an order's own number, upper case without blanks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(pub String);

/// Which family a code belongs to, as `sortd identify` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An EPC from a tag.
    Epc,
    /// GS1 element string, or a bare SSCC / GTIN.
    Gs1,
    /// UPU S10 postal item.
    S10,
    /// A configured carrier's own number.
    Carrier,
    /// None of these.
    Unknown,
}

/// Configured carriers: pattern, check rule, priority. Built by `site` from `carriers.toml`.
#[derive(Debug, Clone, Default)]
pub struct CarrierRules {
    /// In file order.
    pub carriers: Vec<Carrier>,
}

/// One carrier.
#[derive(Debug, Clone)]
pub struct Carrier {
    /// Short code, e.g. `KERRY-TH`.
    pub code: String,
    /// Name.
    pub name: String,
    /// Countries it delivers to, ISO 3166-1 alpha-2.
    pub countries: Vec<String>,
    /// Shapes of its numbers.
    pub patterns: Vec<Pattern>,
}

/// A number shape.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// Anchored at both ends by the loader. A group named `number` (see [`carrier::NUMBER_GROUP`]) holds the
    /// waybill where routing stands around it, one named `checked` (see [`carrier::CHECKED_GROUP`]) what the
    /// check digit covers where that is not the waybill.
    pub regex: regex::Regex,
    /// Check digit.
    pub check: CheckRule,
    /// Published by the carrier, or assumed from samples.
    pub published: bool,
}

/// Check digit rules of carriers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckRule {
    /// None published.
    None,
    /// UPU S10 weights.
    S10,
    /// GS1 mod 10, weights 3-1 from the right.
    Mod10,
    /// UPS 1Z.
    Ups,
    /// FedEx 12 digits.
    Fedex12,
    /// DHL Express, and parcel services of Japan: serial mod 7.
    Mod7,
    /// Deutsche Post Identcode: weights 4 and 9.
    Identcode,
    /// ISO/IEC 7064 MOD 37,36: DPD.
    Mod37x36,
}

/// What one reading is taken for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identification {
    /// The reading as text (EPC: upper-case hex).
    pub input: String,
    /// Family.
    pub kind: Kind,
    /// Well-formed, and its check digit agrees where it has one.
    pub valid: bool,
    /// It names its parcel by itself: valid, and of a family that names single parcels. Where it does not,
    /// `key` counts only if an order is bound to it.
    pub stands_alone: bool,
    /// What it is called if it is a parcel. An unknown text, a number whose check digit disagrees and a
    /// GTIN-like number without symbology have `wb:TEXT`, for an order to bind; `None` where the code can
    /// name no single parcel (a GTIN without a serial, an empty tag, a text no label carries).
    pub key: Option<Key>,
    /// Carriers it fits; more than one is ambiguous unless an order binds the number.
    pub carriers: Vec<String>,
    /// Check digit: `None` where the family has none, otherwise whether it agrees.
    pub check: Option<bool>,
    /// Destination or origin country the code itself names (S10: origin).
    pub country: Option<String>,
    /// EPC pure identity URI (tags and EPC URIs) or GS1 Digital Link (labels), where the family has one.
    pub uri: Option<String>,
    /// Why it is invalid, or why it names no parcel.
    pub reason: Option<String>,
}

/// What all readings of one parcel together say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// One parcel.
    Identity {
        /// Its key.
        key: Key,
        /// URI, where the family has one.
        uri: Option<String>,
        /// Carrier the code names, if exactly one.
        carrier: Option<String>,
    },
    /// Nothing usable was read.
    NoRead,
    /// Codes of two parcels.
    MultiRead(Vec<Key>),
    /// One code that fits two carriers, and no order binds it.
    Ambiguous(Key, Vec<String>),
}

/// Is it a country by ISO 3166-1 alpha-2, or `XK`, which posts and carriers use for Kosovo?
pub fn is_country(code: &str) -> bool {
    s10::is_country(code)
}

impl Key {
    /// A logistic unit, by its 18 digits.
    pub fn sscc(digits: &str) -> Key {
        Key(format!("{SSCC}{digits}"))
    }

    /// One instance of a trade item: GTIN of 14 digits, and its serial, whose case matters.
    pub fn sgtin(gtin: &str, serial: &str) -> Key {
        Key(format!("{SGTIN}{gtin}.{serial}"))
    }

    /// A postal item, by its 13 characters in upper case.
    pub fn s10(item: &str) -> Key {
        Key(format!("{S10}{item}"))
    }

    /// It names an instance of a trade item, which may be a parcel or may lie in one.
    fn names_goods(&self) -> bool {
        self.0.starts_with(SGTIN)
    }

    /// A carrier's or an order's own number, upper case and without blanks.
    fn waybill(number: &str) -> Key {
        Key(format!("{WAYBILL}{number}"))
    }

    /// The key of a number that stands for a parcel (upper case, no blanks): SSCC and S10 by their own
    /// rules, whoever uses them.
    fn of_number(number: &str) -> Key {
        if gs1::is_sscc(number) {
            Key::sscc(number)
        } else if s10::parse(number).is_some_and(|item| item.fault().is_none()) {
            Key::s10(number)
        } else {
            Key::waybill(number)
        }
    }

    /// Canonical GS1 Digital Link URI of an SSCC or a serialised GTIN: one URI a key, whichever way it was
    /// read. `None` for every other key.
    pub fn digital_link(&self) -> Option<String> {
        if let Some(sscc) = self.0.strip_prefix(SSCC) {
            return Some(gs1::sscc_link(sscc));
        }
        let (gtin, serial) = self.0.strip_prefix(SGTIN)?.split_once('.')?;
        Some(gs1::sgtin_link(gtin, serial))
    }

    /// Place among the keys of one parcel: what people, carriers and claims call it comes first, because it
    /// stands on every label, also where a tag was not read.
    fn rank(&self) -> u8 {
        let prefixes = [S10, WAYBILL, SSCC, SGTIN];
        prefixes
            .iter()
            .zip(0..)
            .find(|(prefix, _)| self.0.starts_with(**prefix))
            .map_or(u8::MAX, |(_, rank)| rank)
    }
}

/// Prefix of an SSCC's key.
const SSCC: &str = "sscc:";
/// Prefix of a serialised GTIN's key.
const SGTIN: &str = "sgtin:";
/// Prefix of a postal item's key.
const S10: &str = "s10:";
/// Prefix of any other number's key.
const WAYBILL: &str = "wb:";

impl Kind {
    /// The name used in every published place.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Epc => "epc",
            Kind::Gs1 => "gs1",
            Kind::S10 => "s10",
            Kind::Carrier => "carrier",
            Kind::Unknown => "unknown",
        }
    }
}

/// What a reading is taken for. Never fails: what is wrong with a code is said in its `reason`.
pub fn identify(rules: &CarrierRules, reading: &Reading) -> Identification {
    family::of(rules, reading)
}

/// A code of an order that can name no parcel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{code}` names no parcel: {reason}")]
pub struct NoParcel {
    /// The code as it came.
    pub code: String,
    /// Why.
    pub reason: String,
}

/// The key that a code of an order binds: the same that a reading of it has, in whatever form either of
/// them comes. A text of no known family gives `wb:TEXT`, which counts only because an order holds it.
pub fn key_of_order_code(rules: &CarrierRules, code: &str) -> Result<Key, NoParcel> {
    OrderKeys::of(rules).key(code)
}

/// [`key_of_order_code`] for many codes: what of the rules matters for keys is looked for once.
#[derive(Debug, Clone)]
pub struct OrderKeys<'a> {
    rules: &'a CarrierRules,
    /// Patterns that find the number within a text. All others call a parcel by the whole of it.
    parting: Vec<&'a regex::Regex>,
}

impl<'a> OrderKeys<'a> {
    /// By these rules.
    pub fn of(rules: &'a CarrierRules) -> OrderKeys<'a> {
        let patterns = rules.carriers.iter().flat_map(|carrier| &carrier.patterns);
        let parting = patterns.map(|pattern| &pattern.regex).filter(|regex| regex.captures_len() > 1);
        OrderKeys { rules, parting: parting.collect() }
    }

    /// The key that a code binds.
    pub fn key(&self, code: &str) -> Result<Key, NoParcel> {
        if let Some(key) = family::key_of_plain(&self.parting, code) {
            return Ok(key);
        }
        let found = identify(self.rules, &Reading::from_text(code));
        found.key.ok_or_else(|| NoParcel { code: found.input, reason: found.reason.unwrap_or_default() })
    }
}

/// The verdict over all readings of one parcel. `order_of` tells which order a key is bound to.
///
/// 1. Readings of one key are one.
/// 2. A key bound to an order wins over texts bound to none, also where its code alone would be invalid or
///    ambiguous: the order holds that very text. Keys of one order are one parcel, named by the first of
///    them in the order S10, waybill, SSCC, serialised GTIN (then by text). Keys of two orders are a
///    multi-read, and so is a bound key beside one of another parcel that no order binds: a code that stands
///    alone and is no serialised GTIN (goods in a parcel may carry tags of their maker).
/// 3. Where no key is bound, only codes that stand alone count (see [`Identification::stands_alone`]): none
///    is a no-read, two different keys are a multi-read, one that fits two carriers is ambiguous.
///
/// The keys and carriers in a verdict are sorted.
pub fn verdict(readings: &[Identification], order_of: impl Fn(&Key) -> Option<u64>) -> Verdict {
    verdict::over(readings, order_of)
}
