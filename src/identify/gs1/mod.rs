//! GS1 element strings (GS1 General Specifications, sections 3 and 7.8): application identifiers (AI) and
//! their values, as GS1-128, GS1 DataMatrix, GS1 QR and GS1 DataBar carry them.
//!
//! An *element* is an AI and its value. A value of pre-defined length ends by itself, any other at the
//! next separator (FNC1, 0x1D here) or at the end. The same string with its AIs in parentheses is what
//! stands under a bar code for people.
//!
//! What an element string names: an SSCC (AI 00) before anything else, for it is the logistic unit; a
//! serialised GTIN (01 + 21); a GTIN alone names a kind of goods, not a parcel. AIs 91 to 99 are a
//! company's own and may hold a carrier's number (USPS).

mod dictionary;

use dictionary::{Component, Entry, Set};

use super::check;

/// FNC1 as scanners send it.
pub(super) const FNC1: char = '\u{1D}';
/// Host of canonical GS1 Digital Link URIs.
const DIGITAL_LINK: &str = "https://id.gs1.org";
/// Length of an SSCC.
pub(super) const SSCC_DIGITS: usize = 18;
/// Length of a GTIN in AI 01.
const GTIN_DIGITS: usize = 14;
/// Lengths a GTIN may have outside an element string: GTIN-8, -12, -13, -14.
const GTIN_LENGTHS: [usize; 4] = [8, 12, 13, GTIN_DIGITS];

/// An application identifier and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    /// Identifier, two to four digits.
    pub ai: &'a str,
    /// Value.
    pub value: &'a str,
}

/// Why a text is no element string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElementError {
    /// Nothing there.
    #[error("element string is empty")]
    Empty,
    /// No AI of the dictionary begins here.
    #[error("no application identifier at character {at}: `{came}`")]
    UnknownAi {
        /// Character, from 1.
        at: usize,
        /// What stands there.
        came: String,
    },
    /// Value too short or too long.
    #[error("AI ({ai}) takes {least} to {most} characters, has {came}")]
    Length {
        /// Identifier.
        ai: String,
        /// Least.
        least: usize,
        /// Most.
        most: usize,
        /// Came.
        came: usize,
    },
    /// A character that is not allowed in the value.
    #[error("AI ({ai}) does not allow `{}`", .came.escape_default())]
    Character {
        /// Identifier.
        ai: String,
        /// The character.
        came: char,
    },
    /// Check digit.
    #[error("check digit of AI ({ai}) should be {expected}, is {came}")]
    Check {
        /// Identifier.
        ai: String,
        /// Right digit.
        expected: u8,
        /// Digit there.
        came: char,
    },
    /// An AI that names the object stands there twice, with different values.
    #[error("AI ({0}) stands there twice with different values")]
    Contradiction(&'static str),
}

/// What an element string names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named<'a> {
    /// A logistic unit.
    Sscc(&'a str),
    /// One instance of a trade item.
    Sgtin { gtin: &'a str, serial: &'a str },
    /// A kind of trade item.
    Gtin,
    /// Neither.
    Nothing,
}

/// The elements of a text as a symbol carries it.
pub fn elements(text: &str) -> Result<Vec<Element<'_>>, ElementError> {
    let mut found = Vec::with_capacity(4);
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(FNC1);
        if rest.is_empty() {
            break;
        }
        let Some((ai, entry)) = dictionary::find(rest) else {
            return Err(unknown_ai(text, rest));
        };
        let behind = &rest[ai.len()..];
        let length = if entry.predefined {
            // Shorter at the end of the text: `judge` says so. Not at a character's start: likewise.
            (0..=entry.length().min(behind.len())).rev().find(|at| behind.is_char_boundary(*at)).unwrap_or(0)
        } else {
            behind.find(FNC1).unwrap_or(behind.len())
        };
        let (value, after) = behind.split_at(length);
        judge(ai, entry, value)?;
        found.push(Element { ai, value });
        rest = after;
    }
    if found.is_empty() { Err(ElementError::Empty) } else { Ok(found) }
}

/// The elements of a text as printed for people, `(01)…(21)…`; without blanks.
pub fn printed(text: &str) -> Result<Vec<Element<'_>>, ElementError> {
    let mut found = Vec::with_capacity(4);
    let mut rest = text;
    while !rest.is_empty() {
        let Some((ai, entry, behind)) = printed_ai(rest) else {
            return Err(unknown_ai(text, rest));
        };
        // A value may hold parentheses itself: it ends where an identifier of the dictionary stands in them.
        let end = behind
            .match_indices('(')
            .map(|(at, _)| at)
            .find(|at| printed_ai(&behind[*at..]).is_some())
            .unwrap_or(behind.len());
        let (value, after) = behind.split_at(end);
        judge(ai, entry, value)?;
        found.push(Element { ai, value });
        rest = after;
    }
    if found.is_empty() { Err(ElementError::Empty) } else { Ok(found) }
}

/// `(AI)` at the start of a text, and what stands behind it.
fn printed_ai(text: &str) -> Option<(&str, &'static Entry, &str)> {
    let (ai, entry) = dictionary::find(text.strip_prefix('(')?)?;
    let behind = text.get(1 + ai.len()..)?.strip_prefix(')')?;
    Some((ai, entry, behind))
}

fn unknown_ai(text: &str, rest: &str) -> ElementError {
    let before = &text[..text.len() - rest.len()];
    ElementError::UnknownAi { at: before.chars().count() + 1, came: rest.chars().take(4).collect() }
}

/// Does a value suit its identifier?
fn judge(ai: &str, entry: &Entry, value: &str) -> Result<(), ElementError> {
    let bytes = value.as_bytes();
    let least = entry.components.iter().filter(|c| !c.optional).map(|c| c.least).sum();
    let most = entry.length();
    let wrong_length = || ElementError::Length { ai: ai.to_owned(), least, most, came: bytes.len() };
    let mut at = 0;
    for component in &entry.components {
        let left = bytes.len() - at;
        if left == 0 && component.optional {
            break;
        }
        if left < component.least {
            return Err(wrong_length());
        }
        let length = left.min(component.most);
        let part = &bytes[at..at + length];
        if let Some(wrong) = part.iter().position(|byte| !component.set.holds(*byte)) {
            let came = value.get(at + wrong..).and_then(|rest| rest.chars().next());
            return Err(ElementError::Character {
                ai: ai.to_owned(),
                came: came.unwrap_or(char::REPLACEMENT_CHARACTER),
            });
        }
        judge_check(ai, *component, part)?;
        at += length;
    }
    if at == bytes.len() { Ok(()) } else { Err(wrong_length()) }
}

/// Does the check digit agree, where the component has one?
fn judge_check(ai: &str, component: Component, part: &[u8]) -> Result<(), ElementError> {
    if !component.check {
        return Ok(());
    }
    let Some((last, body)) = part.split_last() else { return Ok(()) };
    match check::mod10(body) {
        Some(expected) if b'0' + expected != *last => {
            Err(ElementError::Check { ai: ai.to_owned(), expected, came: char::from(*last) })
        }
        Some(_) | None => Ok(()),
    }
}

/// What elements name.
pub(super) fn named<'a>(elements: &[Element<'a>]) -> Result<Named<'a>, ElementError> {
    let one = |ai: &'static str| {
        let mut values = elements.iter().filter(|element| element.ai == ai).map(|element| element.value);
        let first = values.next();
        match first {
            Some(value) if values.any(|other| other != value) => Err(ElementError::Contradiction(ai)),
            Some(_) | None => Ok(first),
        }
    };
    Ok(match (one("00")?, one("01")?, one("21")?) {
        (Some(sscc), _, _) => Named::Sscc(sscc),
        (None, Some(gtin), Some(serial)) => Named::Sgtin { gtin, serial },
        (None, Some(_), None) => Named::Gtin,
        (None, None, _) => Named::Nothing,
    })
}

/// The company's own elements (AI 91 to 99), identifier and value together: where a carrier's number is.
pub(super) fn own_numbers(elements: &[Element<'_>]) -> impl Iterator<Item = String> {
    elements
        .iter()
        .filter(|element| element.ai.len() == 2 && element.ai.starts_with('9') && element.ai != "90")
        .map(|element| format!("{}{}", element.ai, element.value))
}

/// 18 digits with a right check digit?
pub(super) fn is_sscc(text: &str) -> bool {
    text.len() == SSCC_DIGITS && check::all_digits(text) && check::mod10_agrees(text)
}

/// The check digit that 18 digits should end in; `None` for any other text.
pub(super) fn sscc_check(text: &str) -> Option<u8> {
    let body = text.as_bytes().get(..SSCC_DIGITS - 1)?;
    if text.len() == SSCC_DIGITS { check::mod10(body) } else { None }
}

/// As many digits as a GTIN has?
pub(super) fn has_gtin_length(text: &str) -> bool {
    GTIN_LENGTHS.contains(&text.len()) && check::all_digits(text)
}

/// A GTIN of any length, with a right check digit?
pub(super) fn is_gtin(text: &str) -> bool {
    has_gtin_length(text) && check::mod10_agrees(text)
}

/// A serial as AI 21 allows it?
pub(super) fn is_serial(text: &str) -> bool {
    (1..=super::text::SERIAL_MOST).contains(&text.len()) && text.bytes().all(|byte| Set::Set82.holds(byte))
}

/// `https://id.gs1.org/00/…` of an SSCC.
pub(super) fn sscc_link(sscc: &str) -> String {
    format!("{DIGITAL_LINK}/00/{sscc}")
}

/// `https://id.gs1.org/01/…/21/…` of a serialised GTIN, the serial percent-encoded.
pub(super) fn sgtin_link(gtin: &str, serial: &str) -> String {
    use std::fmt::Write as _;
    let mut link = format!("{DIGITAL_LINK}/01/{gtin}/21/");
    for byte in serial.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            link.push(char::from(byte));
        } else {
            // Writing into a String does not fail.
            let _ = write!(link, "%{byte:02X}");
        }
    }
    link
}

/// The key in a GS1 Digital Link: any host, `/00/SSCC` or `/01/GTIN…/21/SERIAL` in its path.
pub(super) fn of_link(text: &str) -> Option<super::Key> {
    let (scheme, rest) = text.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
        return None;
    }
    let path = rest.split(['?', '#']).next()?;
    let mut segments = path.split('/').skip(1);
    while let Some(segment) = segments.next() {
        match segment {
            "00" => return segments.next().filter(|sscc| is_sscc(sscc)).map(super::Key::sscc),
            "01" => {
                // GS1 allows the shorter GTINs here too; a key has fourteen digits.
                let gtin = segments.next().filter(|gtin| is_gtin(gtin))?;
                while let (Some(ai), Some(value)) = (segments.next(), segments.next()) {
                    if ai == "21" {
                        let serial = super::text::unescape(value).filter(|serial| is_serial(serial))?;
                        return Some(super::Key::sgtin(&format!("{gtin:0>GTIN_DIGITS$}"), &serial));
                    }
                }
                return None;
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs<'a>(found: &[Element<'a>]) -> Vec<(&'a str, &'a str)> {
        found.iter().map(|element| (element.ai, element.value)).collect()
    }

    #[test]
    fn fixed_values_follow_each_other_and_others_end_at_fnc1() {
        let text = "0180614141123458172501013103001250\u{1D}10LOT-7\u{1D}216789";
        let expected =
            [("01", "80614141123458"), ("17", "250101"), ("3103", "001250"), ("10", "LOT-7"), ("21", "6789")];
        assert_eq!(pairs(&elements(text).unwrap()), expected);
        let text = "(01)80614141123458(17)250101(3103)001250(10)LOT-7(21)6789";
        assert_eq!(pairs(&printed(text).unwrap()), expected);
    }

    #[test]
    fn separators_in_excess_are_no_error() {
        let found = elements("\u{1D}00106141412345678908\u{1D}\u{1D}42012345\u{1D}").unwrap();
        assert_eq!(pairs(&found), [("00", "106141412345678908"), ("420", "12345")]);
    }

    #[test]
    fn printed_values_may_hold_parentheses() {
        let found = printed("(01)80614141123458(21)A(B)(05)").unwrap();
        assert_eq!(pairs(&found), [("01", "80614141123458"), ("21", "A(B)(05)")]);
    }

    #[test]
    fn each_fault_is_named() {
        let fault = |text: &str| elements(text).unwrap_err();
        assert_eq!(fault(""), ElementError::Empty);
        assert_eq!(fault("\u{1D}"), ElementError::Empty);
        assert_eq!(fault("JT01"), ElementError::UnknownAi { at: 1, came: "JT01".to_owned() });
        let behind = fault("00106141412345678908XY");
        assert_eq!(behind, ElementError::UnknownAi { at: 21, came: "XY".to_owned() });
        assert!(matches!(fault("0010614141234567890"), ElementError::Length { came: 17, .. }));
        assert!(matches!(fault("21123456789012345678901"), ElementError::Length { most: 20, came: 21, .. }));
        assert!(matches!(fault("21"), ElementError::Length { came: 0, .. }));
        assert!(matches!(fault("0010614141234567890A"), ElementError::Character { came: 'A', .. }));
        assert!(matches!(fault("21Ä"), ElementError::Character { came: 'Ä', .. }));
        assert!(matches!(fault("00106141412345678909"), ElementError::Check { expected: 8, came: '9', .. }));
        assert!(matches!(printed("(00)"), Err(ElementError::Length { .. })));
        assert!(matches!(printed("(0)1"), Err(ElementError::UnknownAi { at: 1, .. })));
        assert!(matches!(printed(""), Err(ElementError::Empty)));
    }

    #[test]
    fn the_logistic_unit_comes_first() {
        let named_in = |text| named(&elements(text).unwrap());
        let both = "00106141412345678908018061414112345821A";
        assert_eq!(named_in(both), Ok(Named::Sscc("106141412345678908")));
        let serial = named_in("018061414112345821A");
        assert_eq!(serial, Ok(Named::Sgtin { gtin: "80614141123458", serial: "A" }));
        assert_eq!(named_in("018061414112345810LOT"), Ok(Named::Gtin));
        assert_eq!(named_in("10LOT\u{1D}21A"), Ok(Named::Nothing));
        let twice = "0010614141234567890800564103519136629878";
        assert_eq!(named_in(twice), Err(ElementError::Contradiction("00")));
        let same = "0010614141234567890800106141412345678908";
        assert_eq!(named_in(same), Ok(Named::Sscc("106141412345678908")));
    }

    #[test]
    fn digital_links_give_the_keys_they_are_made_of() {
        let key = super::super::Key::sgtin("80614141123458", "a/b?%");
        assert_eq!(of_link(&sgtin_link("80614141123458", "a/b?%")), Some(key));
        let key = super::super::Key::sscc("106141412345678908");
        assert_eq!(of_link(&sscc_link("106141412345678908")), Some(key.clone()));
        assert_eq!(of_link("HTTPS://example.com/some/where/00/106141412345678908?x=1#y"), Some(key));
        let short = of_link("https://example.com/01/614141123452/10/L/21/7");
        assert_eq!(short, Some(super::super::Key::sgtin("00614141123452", "7")));
        for none in [
            "https://id.gs1.org/00/106141412345678909",
            "https://id.gs1.org/01/80614141123458",
            "https://id.gs1.org/01/80614141123458/21/%FF",
            "https://example.com/",
            "ftp://id.gs1.org/00/106141412345678908",
            "id.gs1.org/00/106141412345678908",
        ] {
            assert_eq!(of_link(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[0-9()\u{1D}A-Zäß/:%]{0,60}") {
            let _ = elements(&text).map(|found| named(&found).is_ok());
            let _ = printed(&text);
            let _ = of_link(&text);
            let _ = of_link(&format!("https://x/01/80614141123458/21/{text}"));
        }

        #[test]
        fn any_serial_comes_back(serial in "[!-\"%-?A-Z_a-z]{1,20}", lot in "[A-Z0-9]{1,20}") {
            let text = format!("018061414112345810{lot}\u{1D}21{serial}");
            let found = elements(&text).unwrap();
            prop_assert_eq!(named(&found), Ok(Named::Sgtin { gtin: "80614141123458", serial: &serial }));
        }
    }
}
