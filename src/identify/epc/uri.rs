//! SGTIN and SSCC as EPC URIs (TDS, sections 6 and 12): `urn:epc:id:…` names the object, `urn:epc:tag:…`
//! its tag.

use super::super::text::unescape;
use super::super::{check, gs1};
use super::{
    COMPANY_DIGITS_LEAST, COMPANY_DIGITS_MOST, Epc, Numbered, SGTIN_NUMBER_DIGITS, SGTIN_SERIAL_BITS,
    SSCC_NUMBER_DIGITS,
};

/// Where every EPC URI begins.
const URN: &str = "urn:epc:";

/// Why a text is no EPC URI that names one object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Neither `urn:epc:id:` nor `urn:epc:tag:` with a scheme this program knows.
    #[error("EPC URI should be of scheme sgtin or sscc, begins `{0}`")]
    Scheme(String),
    /// Wrong number of fields.
    #[error("EPC URI should have {expected} fields behind its scheme, has {came}")]
    Fields {
        /// As many as the scheme has.
        expected: usize,
        /// As many as came.
        came: usize,
    },
    /// Filter not 0–7.
    #[error("EPC filter should be 0 to 7, is `{0}`")]
    Filter(String),
    /// Company prefix not 6–12 digits.
    #[error("company prefix should have 6 to 12 digits, is `{0}`")]
    Company(String),
    /// The number behind it does not fill the key.
    #[error("number behind the company prefix should have {expected} digits, is `{came}`")]
    Number {
        /// Digits expected.
        expected: usize,
        /// What came.
        came: String,
    },
    /// Serial empty, too long, or with characters that GS1 does not allow there.
    #[error("serial should be 1 to 20 characters of the GS1 set (96-bit tag: a number below 2^38), is `{0}`")]
    Serial(String),
}

/// Does a text claim to be an EPC URI?
pub fn is_uri(text: &str) -> bool {
    text.get(..URN.len()).is_some_and(|start| start.eq_ignore_ascii_case(URN))
}

/// An EPC out of `urn:epc:id:sgtin:…`, `urn:epc:id:sscc:…`, `urn:epc:tag:sgtin-96:…`,
/// `urn:epc:tag:sgtin-198:…` or `urn:epc:tag:sscc-96:…`. Only the serial is case-sensitive.
pub fn parse_uri(text: &str) -> Result<Epc, UriError> {
    let mut parts = text.splitn(5, ':');
    let head: Vec<String> = parts.by_ref().take(4).map(str::to_ascii_lowercase).collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let (tagged, sgtin, numeric) = match head.as_slice() {
        ["urn", "epc", "id", "sgtin"] => (false, true, false),
        ["urn", "epc", "id", "sscc"] => (false, false, false),
        ["urn", "epc", "tag", "sgtin-96"] => (true, true, true),
        ["urn", "epc", "tag", "sgtin-198"] => (true, true, false),
        ["urn", "epc", "tag", "sscc-96"] => (true, false, true),
        _ => return Err(UriError::Scheme(head.join(":"))),
    };
    let fields: Vec<&str> = parts.next().unwrap_or("").split('.').collect();
    let expected = 2 + usize::from(tagged) + usize::from(sgtin);
    // A full stop is allowed inside a serial, which is the last field.
    if fields.len() < expected || (fields.len() > expected && !sgtin) {
        return Err(UriError::Fields { expected, came: fields.len() });
    }
    let (filter, fields) = if tagged {
        let filter = match fields[0].as_bytes() {
            [digit @ b'0'..=b'7'] => digit - b'0',
            _ => return Err(UriError::Filter(fields[0].to_owned())),
        };
        (Some(filter), &fields[1..])
    } else {
        (None, &fields[..])
    };
    let company = fields[0];
    if !check::all_digits(company) || !(COMPANY_DIGITS_LEAST..=COMPANY_DIGITS_MOST).contains(&company.len()) {
        return Err(UriError::Company(company.to_owned()));
    }
    let total = if sgtin { SGTIN_NUMBER_DIGITS } else { SSCC_NUMBER_DIGITS };
    let number = fields[1];
    if !check::all_digits(number) || company.len() + number.len() != total {
        return Err(UriError::Number { expected: total - company.len(), came: number.to_owned() });
    }
    let what = if sgtin {
        let written = fields[2..].join(".");
        let serial = unescape(&written)
            .filter(|serial| gs1::is_serial(serial) && (!numeric || fits_96(serial)))
            .ok_or(UriError::Serial(written))?;
        Numbered::Sgtin { item: number.to_owned(), serial }
    } else {
        Numbered::Sscc { reference: number.to_owned() }
    };
    Ok(Epc { filter, company: company.to_owned(), what })
}

/// A serial that SGTIN-96 can hold: a number without leading zeros below 2^38.
pub(super) fn fits_96(serial: &str) -> bool {
    let canonical = serial == "0" || (check::all_digits(serial) && !serial.starts_with('0'));
    canonical && serial.parse::<u64>().is_ok_and(|number| number >> SGTIN_SERIAL_BITS == 0)
}

/// A serial as EPC URIs write it: the characters that have a meaning in a URN as `%XX` (TDS, section 5).
pub(super) fn escape(serial: &str) -> String {
    use std::fmt::Write as _;
    let mut written = String::with_capacity(serial.len());
    for character in serial.chars() {
        if matches!(character, '"' | '%' | '&' | '/' | '<' | '>' | '?') {
            // Writing into a String does not fail.
            let _ = write!(written, "%{:02X}", u32::from(character));
        } else {
            written.push(character);
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_fault_of_a_uri_is_named() {
        let fault = |text: &str| parse_uri(text).unwrap_err();
        assert!(matches!(fault("urn:epc:id:giai:0614141.1"), UriError::Scheme(_)));
        assert!(matches!(fault("urn:epc:"), UriError::Scheme(_)));
        assert!(matches!(fault("urn:epc:id:sscc:0614141"), UriError::Fields { expected: 2, came: 1 }));
        assert!(matches!(fault("urn:epc:id:sscc:0614141.1.2"), UriError::Fields { .. }));
        assert!(matches!(fault("urn:epc:tag:sscc-96:8.0614141.1234567890"), UriError::Filter(_)));
        assert!(matches!(fault("urn:epc:id:sscc:06141.123456789012"), UriError::Company(_)));
        assert!(matches!(fault("urn:epc:id:sscc:0614141.123"), UriError::Number { expected: 10, .. }));
        for serial in ["", "%2", "%ZZ", "a b", "123456789012345678901", "%00"] {
            let text = format!("urn:epc:id:sgtin:0614141.812345.{serial}");
            assert!(matches!(fault(&text), UriError::Serial(_)), "{text}");
        }
        for serial in ["01", "A", "274877906944"] {
            let text = format!("urn:epc:tag:sgtin-96:3.0614141.812345.{serial}");
            assert!(matches!(fault(&text), UriError::Serial(_)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_texts_never_panic(text in "\\PC{0,80}") {
            let _ = parse_uri(&text);
            let _ = parse_uri(&format!("urn:epc:tag:sgtin-96:{text}"));
            let _ = parse_uri(&format!("urn:epc:id:sgtin:0614141.812345.{text}"));
        }
    }
}
