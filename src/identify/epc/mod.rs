//! EPCs of UHF tags (GS1 Tag Data Standard, TDS): what they name, as bits of a tag ([`tag96`]) and as URI
//! ([`uri`]).
//!
//! *Company prefix*: the digits GS1 gave a company; the key alone does not say how many they are, an EPC
//! does. *Filter*: what the tag stands on (item, case, pallet); it names nothing. The same object has one
//! *pure identity* URI, however it is tagged.

pub mod tag96;
pub mod uri;

pub use tag96::{DecodeError, EPC96_BYTES, EncodeError, bytes_of_hex, decode, encode_sgtin96, encode_sscc96};
pub(super) use uri::is_uri;
pub use uri::{UriError, parse_uri};

use super::{Key, check};
use uri::{escape, fits_96};

/// Digits of the longest company prefix; partition p has p fewer.
const COMPANY_DIGITS_MOST: usize = 12;
/// Digits of the shortest.
const COMPANY_DIGITS_LEAST: usize = 6;
/// Digits of company, indicator and item together: a GTIN-14 without its check digit.
const SGTIN_NUMBER_DIGITS: usize = 13;
/// Digits of company, extension and serial reference together: an SSCC without its check digit.
const SSCC_NUMBER_DIGITS: usize = 17;
/// Bits of the serial, SGTIN-96.
const SGTIN_SERIAL_BITS: u32 = 38;

/// An EPC that names one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epc {
    /// Filter value 0–7; `None` where it comes from a pure identity URI, which has none.
    pub filter: Option<u8>,
    /// Company prefix, 6–12 digits.
    pub company: String,
    /// What the company numbers.
    pub what: Numbered,
}

/// What the number behind the company prefix counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Numbered {
    /// One instance of a trade item.
    Sgtin {
        /// Indicator digit and item reference.
        item: String,
        /// AI 21; case matters.
        serial: String,
    },
    /// One logistic unit.
    Sscc {
        /// Extension digit and serial reference.
        reference: String,
    },
}

impl Epc {
    /// Indicator or extension digit, company prefix, the rest, check digit: the key as barcodes carry it.
    pub fn gs1_key(&self) -> String {
        let number = match &self.what {
            Numbered::Sgtin { item, .. } => item,
            Numbered::Sscc { reference } => reference,
        };
        // Both constructors make sure of at least one digit, ASCII.
        let (first, rest) = number.split_at(number.len().min(1));
        let mut key = format!("{first}{}{rest}", self.company);
        if let Some(check) = check::mod10(key.as_bytes()) {
            key.push(char::from(b'0' + check));
        }
        key
    }

    /// The parcel it names.
    pub fn key(&self) -> Key {
        match &self.what {
            Numbered::Sgtin { serial, .. } => Key::sgtin(&self.gs1_key(), serial),
            Numbered::Sscc { .. } => Key::sscc(&self.gs1_key()),
        }
    }

    /// `urn:epc:id:…`: the same for a tag, a label and a message.
    pub fn pure_identity(&self) -> String {
        let company = &self.company;
        match &self.what {
            Numbered::Sgtin { item, serial } => {
                format!("urn:epc:id:sgtin:{company}.{item}.{}", escape(serial))
            }
            Numbered::Sscc { reference } => format!("urn:epc:id:sscc:{company}.{reference}"),
        }
    }

    /// `urn:epc:tag:…-96:…`; `None` where there is no filter value or the serial needs a longer tag.
    pub fn tag_uri(&self) -> Option<String> {
        let (filter, company) = (self.filter?, &self.company);
        match &self.what {
            Numbered::Sgtin { item, serial } => {
                fits_96(serial).then(|| format!("urn:epc:tag:sgtin-96:{filter}.{company}.{item}.{serial}"))
            }
            Numbered::Sscc { reference } => {
                Some(format!("urn:epc:tag:sscc-96:{filter}.{company}.{reference}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pure_identity_leaves_the_filter_out() {
        let epc = parse_uri("urn:epc:tag:sgtin-96:3.0614141.812345.6789").unwrap();
        assert_eq!(epc.pure_identity(), "urn:epc:id:sgtin:0614141.812345.6789");
        assert_eq!(epc.key(), Key("sgtin:80614141123458.6789".to_owned()));
        let epc = parse_uri("urn:epc:tag:sscc-96:3.0614141.1234567890").unwrap();
        assert_eq!(epc.pure_identity(), "urn:epc:id:sscc:0614141.1234567890");
        assert_eq!(epc.key(), Key("sscc:106141412345678908".to_owned()));
    }

    #[test]
    fn a_serial_keeps_its_case_and_its_escapes() {
        let text = "urn:epc:id:sgtin:0614141.812345.a%2Fb.C%25";
        let epc = parse_uri(text).unwrap();
        assert_eq!(epc.key().0, "sgtin:80614141123458.a/b.C%");
        assert_eq!(epc.pure_identity(), text);
        assert_eq!(epc.tag_uri(), None);
        assert_eq!(parse_uri("URN:EPC:ID:SGTIN:0614141.812345.a%2fb.C%25"), Ok(epc));
    }
}
