//! Which family a reading belongs to, and what it names there.
//!
//! Two texts for one parcel must end in one [`Key`], however the scanner was set up: so the symbology
//! decides whether a code is *valid*, but a bare text has the same key under every symbology that carries
//! free text. The order of judgement for such a text:
//!
//! 1. an EPC URI, a GS1 Digital Link, or 24 hexadecimal digits that decode as SGTIN-96 or SSCC-96;
//! 2. an element string that shows itself by parentheses or FNC1, or that begins `00` or `01` and parses
//!    to its end into a parcel (GS1-128 from a scanner that sends no AIM identifier);
//! 3. 18 digits with a right check digit: an SSCC;
//! 4. S10 with its check digit and country;
//! 5. a configured carrier;
//! 6. a number as long as a GTIN with a right check digit, where the symbology allows one;
//! 7. nothing: its text may still be what an order binds.

use std::fmt::Write as _;

use super::carrier::{self, Fits};
use super::epc::{self, DecodeError};
use super::gs1::{self, Element, ElementError, Named};
use super::text::{self, Contents};
use super::{CarrierRules, Identification, Key, Kind, Reading, s10};

/// Why a plain text stands for nothing.
const NOT_KNOWN: &str = "no GS1, S10 or EPC code, and fits no configured carrier; only an order can bind it";
/// Why a GTIN stands for nothing.
const GOODS: &str = "a GTIN without a serial names a kind of goods, not a parcel";
/// Why a GS1 symbol without a parcel's key stands for nothing.
const NO_PARCEL: &str = "element string without SSCC (00) or GTIN and serial (01, 21) names no parcel";

/// What a reading is taken for.
pub(super) fn of(rules: &CarrierRules, reading: &Reading) -> Identification {
    let (aim, whole) = match reading {
        Reading::Tag { epc } => return of_tag(epc),
        Reading::Barcode { aim, text } => (*aim, text),
    };
    let text = text::cut(whole);
    if text.len() < whole.len() {
        let reason = format!("longer than {} bytes, no label of a parcel", text::TEXT_MOST);
        return Identification { reason: Some(reason), ..nothing(text, Kind::Unknown) };
    }
    match Contents::of(aim) {
        Contents::Gs1 => of_symbol(rules, text),
        Contents::Gtin => of_gtin(text),
        Contents::Any => of_free_text(rules, text, true),
        Contents::NoGtin => of_free_text(rules, text, false),
    }
}

/// The key of a text that is nothing but letters, digits and hyphens, as most codes of orders are: what [`of`]
/// says of it, without looking for anything but its key. `None` where that has to be asked.
pub(super) fn key_of_plain(parting: &[&regex::Regex], text: &str) -> Option<Key> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    // Element strings may begin so, and tags may be written with so many digits.
    let perhaps_written_form =
        text.starts_with("00") || text.starts_with("01") || text.len() == 2 * epc::EPC96_BYTES;
    if text.is_empty() || text.len() > text::WAYBILL_MOST || perhaps_written_form {
        return None;
    }
    if !text.bytes().all(is_plain) {
        return None;
    }
    let number = text.to_ascii_uppercase();
    // Whichever carrier's number it is, it is called by the whole text; but for those whose pattern finds the
    // number within it.
    (!parting.iter().any(|regex| regex.is_match(&number))).then(|| Key::of_number(&number))
}

/// Nothing yet.
fn nothing(input: &str, kind: Kind) -> Identification {
    Identification {
        input: input.to_owned(),
        kind,
        valid: false,
        stands_alone: false,
        key: None,
        carriers: Vec::new(),
        check: None,
        country: None,
        uri: None,
        reason: None,
    }
}

/// A code that names its parcel by itself.
fn parcel(input: &str, kind: Kind, key: Key) -> Identification {
    Identification { valid: true, stands_alone: true, key: Some(key), ..nothing(input, kind) }
}

fn of_tag(bytes: &[u8]) -> Identification {
    let mut input = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing into a String does not fail.
        let _ = write!(input, "{byte:02X}");
    }
    match epc::decode(bytes) {
        Ok(epc) => of_epc(&input, &epc),
        Err(fault) => {
            // A site may number its own tags: an order can bind what stands in one, but not a blank one.
            let key = match fault {
                DecodeError::Blank => None,
                DecodeError::Length { .. }
                | DecodeError::OtherScheme(_)
                | DecodeError::Header(_)
                | DecodeError::Partition(_)
                | DecodeError::Digits { .. }
                | DecodeError::Reserved(_) => text::waybill(&input).map(|hex| Key::waybill(&hex)),
            };
            Identification { key, reason: Some(fault.to_string()), ..nothing(&input, Kind::Epc) }
        }
    }
}

fn of_epc(input: &str, epc: &epc::Epc) -> Identification {
    Identification { uri: Some(epc.pure_identity()), ..parcel(input, Kind::Epc, epc.key()) }
}

/// A GS1 symbol: an element string, or a fault.
fn of_symbol(rules: &CarrierRules, input: &str) -> Identification {
    match element_string(rules, input) {
        Ok(identification) => identification,
        Err(fault) => {
            let check = matches!(fault, ElementError::Check { .. }).then_some(false);
            let key = text::waybill(&input.replace(gs1::FNC1, "")).map(|text| Key::waybill(&text));
            Identification { key, check, reason: Some(fault.to_string()), ..nothing(input, Kind::Gs1) }
        }
    }
}

/// An element string as in a symbol or as printed, and what it names.
fn element_string(rules: &CarrierRules, input: &str) -> Result<Identification, ElementError> {
    if input.starts_with('(') {
        let text: String = input.chars().filter(|character| *character != ' ').collect();
        let elements = gs1::printed(&text)?;
        Ok(of_elements(rules, input, &elements, gs1::named(&elements)?))
    } else {
        let elements = gs1::elements(input)?;
        Ok(of_elements(rules, input, &elements, gs1::named(&elements)?))
    }
}

fn of_elements(
    rules: &CarrierRules,
    input: &str,
    elements: &[Element<'_>],
    named: Named<'_>,
) -> Identification {
    let key = match named {
        Named::Sscc(sscc) => Key::sscc(sscc),
        Named::Sgtin { gtin, serial } => Key::sgtin(gtin, serial),
        Named::Gtin => {
            let reason = Some(GOODS.to_owned());
            return Identification { valid: true, check: Some(true), reason, ..nothing(input, Kind::Gs1) };
        }
        Named::Nothing => return of_own_numbers(rules, input, elements),
    };
    let uri = key.digital_link();
    Identification { check: Some(true), uri, ..parcel(input, Kind::Gs1, key) }
}

/// Element strings without a GS1 key may carry a carrier's number in a company's own AI (USPS: 92 to 95).
fn of_own_numbers(rules: &CarrierRules, input: &str, elements: &[Element<'_>]) -> Identification {
    let mut numbers: Vec<String> =
        gs1::own_numbers(elements).filter_map(|number| text::waybill(&number)).collect();
    for number in &numbers {
        let fits = carrier::fits(rules, number);
        if !fits.carriers.is_empty() {
            return of_carrier(input, number, &fits);
        }
    }
    // One number is what an order may mean; of several, nobody knows which.
    let key = if numbers.len() == 1 { numbers.pop().map(|number| Key::of_number(&number)) } else { None };
    Identification { valid: true, key, reason: Some(NO_PARCEL.to_owned()), ..nothing(input, Kind::Gs1) }
}

/// A code that fits a carrier. Carriers more than one are said in the reason.
fn of_carrier(input: &str, number: &str, fits: &Fits<'_>) -> Identification {
    Identification {
        check: fits.checked.then_some(true),
        ..with_carriers(parcel(input, Kind::Carrier, Key::of_number(fits.number.unwrap_or(number))), fits)
    }
}

fn with_carriers(found: Identification, fits: &Fits<'_>) -> Identification {
    let reason = (fits.carriers.len() > 1)
        .then(|| format!("fits {}: ambiguous unless an order binds it", fits.carriers.join(" and ")));
    Identification {
        carriers: fits.carriers.iter().map(|code| (*code).to_owned()).collect(),
        reason,
        ..found
    }
}

/// An EAN/UPC symbol.
fn of_gtin(input: &str) -> Identification {
    let found = nothing(input, Kind::Gs1);
    if gs1::is_gtin(input) {
        Identification { valid: true, check: Some(true), reason: Some(GOODS.to_owned()), ..found }
    } else if gs1::has_gtin_length(input) {
        Identification { check: Some(false), reason: Some("GTIN check digit disagrees".to_owned()), ..found }
    } else {
        let reason =
            format!("a GTIN has 8, 12, 13 or 14 digits, this has {} characters", input.chars().count());
        Identification { reason: Some(reason), ..found }
    }
}

/// A text of which the symbology says nothing.
fn of_free_text(rules: &CarrierRules, input: &str, gtin_allowed: bool) -> Identification {
    if let Some(found) = of_written_form(rules, input) {
        return found;
    }
    let Some(number) = text::waybill(input) else {
        let reason = if input.trim().is_empty() {
            "empty".to_owned()
        } else {
            format!("not 1 to {} printable ASCII characters, no number of a parcel", text::WAYBILL_MOST)
        };
        return Identification { reason: Some(reason), ..nothing(input, Kind::Unknown) };
    };
    let tag = epc::bytes_of_hex(&number).map(|bytes| epc::decode(&bytes));
    let fits = carrier::fits(rules, &number);
    if let Some(Ok(epc)) = &tag {
        return with_carriers(of_epc(input, epc), &fits);
    }
    if gs1::is_sscc(&number) {
        return of_bare_sscc(input, &number, &fits);
    }
    let item = s10::parse(&number);
    if let Some(item) = item
        && item.fault().is_none()
    {
        let found = parcel(input, Kind::S10, Key::s10(&number));
        let country = Some(item.country.to_owned());
        return with_carriers(Identification { check: Some(true), country, ..found }, &fits);
    }
    if !fits.carriers.is_empty() {
        return of_carrier(input, &number, &fits);
    }
    if gtin_allowed && gs1::is_gtin(&number) {
        // Without a symbology this may as well be a carrier's number that happens to have this check
        // digit (one in ten does), so an order can bind it; by itself it names nothing.
        let key = Some(Key::waybill(&number));
        let reason = Some(GOODS.to_owned());
        return Identification { valid: true, key, check: Some(true), reason, ..nothing(input, Kind::Gs1) };
    }
    of_nothing_known(input, &number, item, &fits, tag.and_then(Result::err))
}

/// EPC URIs, Digital Links and element strings in a free text; `None` where it is none of them.
fn of_written_form(rules: &CarrierRules, input: &str) -> Option<Identification> {
    let text = input.trim();
    if epc::is_uri(text) {
        return Some(match epc::parse_uri(text) {
            Ok(epc) => of_epc(input, &epc),
            Err(fault) => Identification { reason: Some(fault.to_string()), ..nothing(input, Kind::Epc) },
        });
    }
    if let Some(key) = gs1::of_link(text) {
        let uri = key.digital_link();
        return Some(Identification { check: Some(true), uri, ..parcel(input, Kind::Gs1, key) });
    }
    let printed = matches!(text.as_bytes(), [b'(', first, second, ..]
        if first.is_ascii_digit() && second.is_ascii_digit());
    if printed || text.starts_with(gs1::FNC1) {
        return Some(Identification { input: input.to_owned(), ..of_symbol(rules, text) });
    }
    if text.starts_with("00") || text.starts_with("01") {
        // No value of an element holds a blank, so blanks are only how people group digits.
        let text: String = text.chars().filter(|character| *character != ' ').collect();
        let found = element_string(rules, &text).ok().filter(|found| found.stands_alone)?;
        return Some(Identification { input: input.to_owned(), ..found });
    }
    None
}

/// 18 digits that agree with mod 10. Where a carrier's own pattern fits, it may be that carrier's number
/// and no SSCC: then no GS1 URI is claimed. The key is the same, for an order may say either.
fn of_bare_sscc(input: &str, number: &str, fits: &Fits<'_>) -> Identification {
    let key = Key::sscc(number);
    if fits.carriers.is_empty() {
        let uri = key.digital_link();
        Identification { check: Some(true), uri, ..parcel(input, Kind::Gs1, key) }
    } else {
        Identification { check: Some(true), ..with_carriers(parcel(input, Kind::Carrier, key), fits) }
    }
}

/// A text that is nothing by itself: the most telling reason, and the key that an order may bind.
fn of_nothing_known(
    input: &str,
    number: &str,
    item: Option<s10::Item<'_>>,
    fits: &Fits<'_>,
    tag: Option<DecodeError>,
) -> Identification {
    let key = Some(Key::waybill(number));
    if let Some(item) = item {
        let check = Some(item.check_agrees());
        return Identification { key, check, reason: item.fault(), ..nothing(input, Kind::S10) };
    }
    if let Some(code) = fits.failed {
        let key = fits.number.map(Key::of_number).or(key);
        let reason = Some(format!("has the shape of {code}, but its check digit disagrees"));
        return Identification { key, check: Some(false), reason, ..nothing(input, Kind::Carrier) };
    }
    if let Some(expected) = gs1::sscc_check(number) {
        let reason = Some(format!("18 digits like an SSCC, whose check digit should be {expected}"));
        return Identification { key, check: Some(false), reason, ..nothing(input, Kind::Gs1) };
    }
    match tag {
        None | Some(DecodeError::Blank | DecodeError::Header(_)) => {}
        Some(fault) => {
            return Identification { key, reason: Some(fault.to_string()), ..nothing(input, Kind::Epc) };
        }
    }
    Identification { key, reason: Some(NOT_KNOWN.to_owned()), ..nothing(input, Kind::Unknown) }
}
