//! SGTIN-96 and SSCC-96 from and to the 96 bits of a tag (TDS, section 14).
//!
//! ```text
//!  bits     8        3        3         20–40            4–24            38
//! SGTIN  | 0x30 | filter | partition | company | indicator + item | serial  |
//!                                       20–40           18–38           24
//! SSCC   | 0x31 | filter | partition | company | extension + ref  | 0 … 0   |
//! ```
//!
//! *Partition* p: the company prefix has 12 − p digits, and the number behind it as many as are left.

use super::super::check;
use super::{COMPANY_DIGITS_MOST, Epc, Numbered, SGTIN_NUMBER_DIGITS, SGTIN_SERIAL_BITS, SSCC_NUMBER_DIGITS};

/// Bytes of a 96-bit EPC.
pub const EPC96_BYTES: usize = 12;
/// Header of SGTIN-96.
const SGTIN_96: u8 = 0x30;
/// Header of SSCC-96.
const SSCC_96: u8 = 0x31;
/// Bits of the company prefix by partition.
const COMPANY_BITS: [u32; 7] = [40, 37, 34, 30, 27, 24, 20];
/// Bits of company and item together, SGTIN-96.
const SGTIN_NUMBER_BITS: u32 = 44;
/// Bits of company and serial reference together, SSCC-96.
const SSCC_NUMBER_BITS: u32 = 58;
/// Reserved bits at the end of SSCC-96, all zero.
const SSCC_RESERVED_BITS: u32 = 24;
/// Bits behind header, filter and partition.
const BODY_BITS: u32 = 82;
/// Schemes whose headers are told apart but which are not decoded here (TDS 2, table of headers).
const OTHER_SCHEMES: [(u8, &str); 12] = [
    (0x2C, "GDTI-96"),
    (0x2D, "GSRN-96"),
    (0x2F, "USDOD-96"),
    (0x32, "SGLN-96"),
    (0x33, "GRAI-96"),
    (0x34, "GIAI-96"),
    (0x35, "GID-96"),
    (0x36, "SGTIN-198"),
    (0x37, "GRAI-170"),
    (0x38, "GIAI-202"),
    (0xF7, "SGTIN+"),
    (0xF9, "SSCC+"),
];

/// Why bytes are no EPC that names one object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Nothing was read, or a tag that was never written.
    #[error("the tag is not programmed: every byte is zero")]
    Blank,
    /// The bytes do not match the scheme.
    #[error("{scheme} has {EPC96_BYTES} bytes, the tag gave {came}")]
    Length {
        /// Scheme by its header.
        scheme: &'static str,
        /// Bytes that came.
        came: usize,
    },
    /// A scheme of the standard that is not decoded here.
    #[error("{0} is not decoded, so that it names no parcel by itself")]
    OtherScheme(&'static str),
    /// No scheme of the standard.
    #[error("EPC header 0x{0:02X} is of no known scheme")]
    Header(u8),
    /// Partition value 7.
    #[error("EPC partition should be 0 to 6, is {0}")]
    Partition(u8),
    /// A field holds a number with more digits than its partition allows.
    #[error("EPC {field} should have at most {digits} digits, is {value}")]
    Digits {
        /// Which field.
        field: &'static str,
        /// Digits the partition allows.
        digits: usize,
        /// What came.
        value: u64,
    },
    /// SSCC-96 ends in 24 zero bits.
    #[error("SSCC-96 should end in 24 zero bits, ends in 0x{0:06X}")]
    Reserved(u32),
}

/// Why a key cannot be written into 96 bits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Filter over 7.
    #[error("EPC filter should be 0 to 7, is {0}")]
    Filter(u8),
    /// The key is not all digits, of another length, or its check digit disagrees.
    #[error("{key} should have {digits} digits with a right check digit, is `{came}`")]
    Key {
        /// `GTIN` or `SSCC`.
        key: &'static str,
        /// Digits it has.
        digits: usize,
        /// What came.
        came: String,
    },
    /// Company prefix not 6–12 digits long.
    #[error("company prefix should have 6 to 12 digits, has {0}")]
    CompanyDigits(usize),
    /// Serial does not fit.
    #[error("serial of SGTIN-96 should be below 2^38, is {0}")]
    Serial(u64),
}

/// An EPC out of the bytes of a tag. Zero bytes behind the twelfth are padding of the memory bank.
pub fn decode(bytes: &[u8]) -> Result<Epc, DecodeError> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Err(DecodeError::Blank);
    }
    let header = bytes[0];
    let scheme = match header {
        SGTIN_96 => "SGTIN-96",
        SSCC_96 => "SSCC-96",
        other => {
            let named = OTHER_SCHEMES.iter().find(|(header, _)| *header == other);
            return Err(named.map_or(DecodeError::Header(other), |(_, name)| DecodeError::OtherScheme(name)));
        }
    };
    let (epc, padding) = bytes
        .split_first_chunk::<EPC96_BYTES>()
        .filter(|(_, padding)| padding.iter().all(|byte| *byte == 0))
        .ok_or(DecodeError::Length { scheme, came: bytes.len() })?;
    debug_assert!(padding.iter().all(|byte| *byte == 0));

    let mut bits = Bits::of(epc);
    bits.take(8);
    let filter = small(bits.take(3));
    let partition = small(bits.take(3));
    let company_bits = *COMPANY_BITS.get(usize::from(partition)).ok_or(DecodeError::Partition(partition))?;
    let company_digits = COMPANY_DIGITS_MOST - usize::from(partition);
    let company = field("company prefix", bits.take(company_bits), company_digits)?;

    let what = if header == SGTIN_96 {
        let item = bits.take(SGTIN_NUMBER_BITS - company_bits);
        let item = field("item reference", item, SGTIN_NUMBER_DIGITS - company_digits)?;
        Numbered::Sgtin { item, serial: bits.take(SGTIN_SERIAL_BITS).to_string() }
    } else {
        let reference = bits.take(SSCC_NUMBER_BITS - company_bits);
        let reference = field("serial reference", reference, SSCC_NUMBER_DIGITS - company_digits)?;
        match bits.take(SSCC_RESERVED_BITS) {
            0 => Numbered::Sscc { reference },
            rest => return Err(DecodeError::Reserved(u32::try_from(rest).unwrap_or(u32::MAX))),
        }
    };
    Ok(Epc { filter: Some(filter), company, what })
}

/// Bits of an EPC, taken from the front.
struct Bits {
    value: u128,
    left: u32,
}

impl Bits {
    fn of(epc: &[u8; EPC96_BYTES]) -> Bits {
        let value = epc.iter().fold(0u128, |value, byte| value << 8 | u128::from(*byte));
        Bits { value, left: 96 }
    }

    /// The next `count` bits, at most 40.
    fn take(&mut self, count: u32) -> u64 {
        self.left -= count;
        let mask = (1u128 << count) - 1;
        u64::try_from(self.value >> self.left & mask).unwrap_or(u64::MAX)
    }
}

/// A field of three bits.
fn small(value: u64) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}

/// A field as so many digits, with its leading zeros.
fn field(field: &'static str, value: u64, digits: usize) -> Result<String, DecodeError> {
    let text = format!("{value:0digits$}");
    if text.len() > digits {
        return Err(DecodeError::Digits { field, digits, value });
    }
    Ok(text)
}

/// 24 hexadecimal digits as the bytes of a 96-bit EPC; `None` for any other text.
pub fn bytes_of_hex(text: &str) -> Option<[u8; EPC96_BYTES]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * EPC96_BYTES {
        return None;
    }
    let mut bytes = [0; EPC96_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(bytes)
}

/// The bytes of a tag for one instance of a trade item. `company_digits`: how many digits of the GTIN,
/// behind its first, are the company prefix; the key alone does not say.
pub fn encode_sgtin96(
    filter: u8,
    gtin: &str,
    company_digits: usize,
    serial: u64,
) -> Result<[u8; EPC96_BYTES], EncodeError> {
    if serial >> SGTIN_SERIAL_BITS != 0 {
        return Err(EncodeError::Serial(serial));
    }
    let key = Plan { key: "GTIN", digits: SGTIN_NUMBER_DIGITS, bits: SGTIN_NUMBER_BITS, header: SGTIN_96 };
    let front = key.front(filter, gtin, company_digits)?;
    Ok(last_bytes(front << SGTIN_SERIAL_BITS | u128::from(serial)))
}

/// The bytes of a tag for a logistic unit. `company_digits` as in [`encode_sgtin96`].
pub fn encode_sscc96(
    filter: u8,
    sscc: &str,
    company_digits: usize,
) -> Result<[u8; EPC96_BYTES], EncodeError> {
    let key = Plan { key: "SSCC", digits: SSCC_NUMBER_DIGITS, bits: SSCC_NUMBER_BITS, header: SSCC_96 };
    Ok(last_bytes(key.front(filter, sscc, company_digits)? << SSCC_RESERVED_BITS))
}

/// How a GS1 key lies in a 96-bit EPC.
struct Plan {
    key: &'static str,
    /// Without the check digit.
    digits: usize,
    /// Of company and the number behind it.
    bits: u32,
    header: u8,
}

impl Plan {
    /// Everything before the serial or the reserved bits.
    fn front(&self, filter: u8, key: &str, company_digits: usize) -> Result<u128, EncodeError> {
        if filter > 7 {
            return Err(EncodeError::Filter(filter));
        }
        if !check::all_digits(key) || key.len() != self.digits + 1 || !check::mod10_agrees(key) {
            return Err(EncodeError::Key { key: self.key, digits: self.digits + 1, came: key.to_owned() });
        }
        let partition = COMPANY_DIGITS_MOST
            .checked_sub(company_digits)
            .filter(|partition| *partition < COMPANY_BITS.len())
            .ok_or(EncodeError::CompanyDigits(company_digits))?;
        let (company, rest) = key[1..self.digits].split_at(company_digits);
        let number =
            digits_value(&key[..1]) * 10u128.pow(u32::try_from(rest.len()).unwrap_or(0)) + digits_value(rest);
        let number_bits = self.bits - COMPANY_BITS[partition];

        let mut front = u128::from(self.header);
        front = front << 3 | u128::from(filter);
        front = front << 3 | partition as u128;
        front = front << COMPANY_BITS[partition] | digits_value(company);
        Ok(front << number_bits | number)
    }
}

/// Digits as a number; the caller has made sure that there is nothing else.
fn digits_value(digits: &str) -> u128 {
    digits.bytes().fold(0, |value, digit| value * 10 + u128::from(digit - b'0'))
}

/// The 96 bits at the low end.
fn last_bytes(value: u128) -> [u8; EPC96_BYTES] {
    debug_assert_eq!(value >> 96, 0);
    debug_assert_eq!(8 + 3 + 3 + BODY_BITS, 96);
    let bytes = value.to_be_bytes();
    let mut epc = [0; EPC96_BYTES];
    epc.copy_from_slice(&bytes[bytes.len() - EPC96_BYTES..]);
    epc
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::Key;
    use super::super::uri::{UriError, parse_uri};
    use super::*;

    #[derive(serde::Deserialize)]
    struct Vector {
        hex: String,
        tag_uri: String,
        gs1_key: Option<String>,
    }

    fn vectors() -> Vec<Vector> {
        serde_json::from_str(include_str!("../testdata/epc_vectors.json")).unwrap()
    }

    #[test]
    fn the_published_vectors_decode_and_encode_again() {
        let mut decoded = 0;
        for Vector { hex, tag_uri, gs1_key } in vectors() {
            let bytes = bytes_of_hex(&hex).unwrap();
            let named_here = tag_uri.contains(":sgtin-96:") || tag_uri.contains(":sscc-96:");
            if !named_here {
                assert!(matches!(decode(&bytes), Err(DecodeError::OtherScheme(_))), "{tag_uri}");
                assert!(matches!(parse_uri(&tag_uri), Err(UriError::Scheme(_))), "{tag_uri}");
                continue;
            }
            let epc = decode(&bytes).unwrap();
            assert_eq!(epc.tag_uri().as_ref(), Some(&tag_uri));
            assert_eq!(parse_uri(&tag_uri).as_ref(), Ok(&epc));
            if let Some(key) = gs1_key {
                assert_eq!(epc.gs1_key(), key);
            }
            let filter = epc.filter.unwrap();
            let again = match &epc.what {
                Numbered::Sgtin { serial, .. } => {
                    encode_sgtin96(filter, &epc.gs1_key(), epc.company.len(), serial.parse().unwrap())
                }
                Numbered::Sscc { .. } => encode_sscc96(filter, &epc.gs1_key(), epc.company.len()),
            };
            assert_eq!(again, Ok(bytes), "{tag_uri}");
            decoded += 1;
        }
        assert_eq!(decoded, 5);
    }

    #[test]
    fn each_fault_of_a_tag_is_named() {
        let good = bytes_of_hex("3174257BF4499602D2000000").unwrap();
        assert_eq!(decode(&[]), Err(DecodeError::Blank));
        assert_eq!(decode(&[0; 12]), Err(DecodeError::Blank));
        assert_eq!(decode(&good[..11]), Err(DecodeError::Length { scheme: "SSCC-96", came: 11 }));
        let mut long = good.to_vec();
        long.extend([0, 0]);
        assert_eq!(decode(&long), decode(&good), "padding of the memory bank");
        long.push(1);
        assert_eq!(decode(&long), Err(DecodeError::Length { scheme: "SSCC-96", came: 15 }));
        let mut bad = good;
        bad[11] = 1;
        assert_eq!(decode(&bad), Err(DecodeError::Reserved(1)));
        bad = good;
        bad[1] = 0b0111_1100;
        assert_eq!(decode(&bad), Err(DecodeError::Partition(7)));
        bad = good;
        bad[0] = 0xE2;
        assert_eq!(decode(&bad), Err(DecodeError::Header(0xE2)));
        bad = [0xFF; 12];
        bad[0] = 0x30;
        bad[1] = 0b0001_1011;
        assert!(matches!(decode(&bad), Err(DecodeError::Digits { field: "company prefix", digits: 6, .. })));
    }

    #[test]
    fn what_does_not_fit_is_not_encoded() {
        assert_eq!(encode_sgtin96(8, "80614141123458", 7, 1), Err(EncodeError::Filter(8)));
        assert_eq!(encode_sgtin96(0, "80614141123458", 7, 1 << 38), Err(EncodeError::Serial(1 << 38)));
        assert!(matches!(encode_sgtin96(0, "80614141123459", 7, 1), Err(EncodeError::Key { .. })));
        assert!(matches!(encode_sscc96(0, "10614141234567890", 7), Err(EncodeError::Key { .. })));
        for digits in [5, 13] {
            assert_eq!(
                encode_sscc96(0, "106141412345678908", digits),
                Err(EncodeError::CompanyDigits(digits))
            );
        }
    }

    fn with_check(body: &str) -> String {
        format!("{body}{}", check::mod10(body.as_bytes()).unwrap())
    }

    proptest! {
        #[test]
        fn sgtin_round_trip(
            filter in 0..8u8, body in "[0-9]{13}", company in 6..=12usize, serial in 0..1u64 << 38,
        ) {
            let gtin = with_check(&body);
            let epc = decode(&encode_sgtin96(filter, &gtin, company, serial).unwrap()).unwrap();
            prop_assert_eq!(epc.filter, Some(filter));
            prop_assert_eq!(epc.company.as_str(), &gtin[1..=company]);
            prop_assert_eq!(epc.key(), Key::sgtin(&gtin, &serial.to_string()));
            prop_assert_eq!(parse_uri(&epc.tag_uri().unwrap()), Ok(epc.clone()));
            prop_assert_eq!(parse_uri(&epc.pure_identity()).unwrap().key(), epc.key());
        }

        #[test]
        fn sscc_round_trip(filter in 0..8u8, body in "[0-9]{17}", company in 6..=12usize) {
            let sscc = with_check(&body);
            let epc = decode(&encode_sscc96(filter, &sscc, company).unwrap()).unwrap();
            prop_assert_eq!(epc.gs1_key(), sscc);
            prop_assert_eq!(parse_uri(&epc.tag_uri().unwrap()), Ok(epc.clone()));
            prop_assert_eq!(parse_uri(&epc.pure_identity()).unwrap().key(), epc.key());
        }

        #[test]
        fn what_decodes_encodes_to_the_same_bytes(
            header in 0x30..=0x31u8, rest in proptest::array::uniform11(any::<u8>()),
        ) {
            let mut bytes = vec![header];
            bytes.extend(rest);
            if header == SSCC_96 {
                bytes[9..].fill(0);
            }
            if let Ok(epc) = decode(&bytes) {
                let filter = epc.filter.unwrap();
                let again = match &epc.what {
                    Numbered::Sgtin { serial, .. } => {
                        encode_sgtin96(filter, &epc.gs1_key(), epc.company.len(), serial.parse().unwrap())
                    }
                    Numbered::Sscc { .. } => encode_sscc96(filter, &epc.gs1_key(), epc.company.len()),
                };
                prop_assert_eq!(again.unwrap().to_vec(), bytes);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..64), text in "\\PC{0,80}",
        ) {
            let _ = decode(&bytes);
            let _ = bytes_of_hex(&text);
        }
    }
}
