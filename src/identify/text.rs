//! Codes as people and messages write them → readings; and the one spelling of a waybill.

use super::{Aim, Reading};

/// Longest waybill that becomes a key. The longest number of a carrier seen is 41 characters; the EPC
/// field of the longest scheme is 52 hexadecimal digits.
pub(super) const WAYBILL_MOST: usize = 64;
/// Longest text that is looked at: more than any GS1 symbol holds in practice. Beyond it is an advertisement.
pub(super) const TEXT_MOST: usize = 1024;

/// Longest serial of a GTIN, AI 21.
pub(super) const SERIAL_MOST: usize = 20;

/// How people write FNC1 where they cannot type 0x1D.
const FNC1_SPELLINGS: [&str; 7] = ["<FNC1>", "{FNC1}", "<GS>", "{GS}", "\\x1D", "\\x1d", "\u{241D}"];

impl Reading {
    /// A code as an operator types it or an order carries it: with or without an AIM identifier (`]C1…`),
    /// FNC1 as 0x1D or spelt (`<GS>`, `<FNC1>`, `{GS}`, `{FNC1}`, `\x1D`, ␝). EPCs may come as 24
    /// hexadecimal digits or as URI: [`super::identify`] recognises both.
    pub fn from_text(code: &str) -> Reading {
        let (aim, text) = split_aim(code.trim_matches([' ', '\t', '\r', '\n']));
        let mut text = text.to_owned();
        for spelling in FNC1_SPELLINGS {
            if text.contains(spelling) {
                text = text.replace(spelling, "\u{1D}");
            }
        }
        Reading::Barcode { aim, text }
    }
}

/// The AIM identifier at the start of a text, if there is one, and the rest.
fn split_aim(text: &str) -> (Option<Aim>, &str) {
    match text.as_bytes() {
        [b']', code, modifier, ..] if code.is_ascii_alphabetic() && modifier.is_ascii_alphanumeric() => {
            (Some(Aim(*code, *modifier)), &text[3..])
        }
        _ => (None, text),
    }
}

/// What an AIM identifier says about the contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contents {
    /// A GS1 element string and nothing else.
    Gs1,
    /// A GTIN and nothing else (EAN/UPC).
    Gtin,
    /// Anything; a number may be a GTIN (unknown symbology, or Interleaved 2 of 5).
    Any,
    /// Anything but a GTIN.
    NoGtin,
}

impl Contents {
    /// ISO/IEC 15424: GS1-128 `C1`, GS1 DataMatrix `d2`, GS1 QR `Q3`, GS1 DotCode `J1`, GS1 DataBar `e…`;
    /// EAN/UPC `E…`.
    pub fn of(aim: Option<Aim>) -> Contents {
        match aim {
            None | Some(Aim(b'I', _)) => Contents::Any,
            Some(Aim(b'C', b'1') | Aim(b'd', b'2') | Aim(b'Q', b'3') | Aim(b'J', b'1') | Aim(b'e', _)) => {
                Contents::Gs1
            }
            Some(Aim(b'E', _)) => Contents::Gtin,
            Some(Aim(_, _)) => Contents::NoGtin,
        }
    }
}

/// The one spelling of a waybill: upper case, no blanks. `None` where nothing is left, or where it is too
/// long or holds anything but printable ASCII: a line break inside it is two codes, not one.
pub(super) fn waybill(text: &str) -> Option<String> {
    let mut number = String::with_capacity(text.len().min(WAYBILL_MOST));
    for character in text.trim().chars() {
        if character == ' ' {
            continue;
        }
        if !character.is_ascii_graphic() || number.len() == WAYBILL_MOST {
            return None;
        }
        number.push(character.to_ascii_uppercase());
    }
    (!number.is_empty()).then_some(number)
}

/// `%XX` undone; `None` where an escape is broken or the text is too long to be a serial.
pub(super) fn unescape(written: &str) -> Option<String> {
    if written.len() > 3 * SERIAL_MOST {
        return None;
    }
    let mut plain = Vec::with_capacity(written.len());
    let mut bytes = written.bytes();
    while let Some(byte) = bytes.next() {
        plain.push(if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            u8::try_from(high << 4 | low).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(plain).ok()
}

/// A text cut to [`TEXT_MOST`] bytes, at a character's end.
pub(super) fn cut(text: &str) -> &str {
    let end = (0..=TEXT_MOST.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_aim_identifier_is_split_off() {
        let barcode = |aim: Option<(u8, u8)>, text: &str| Reading::Barcode {
            aim: aim.map(|(code, modifier)| Aim(code, modifier)),
            text: text.to_owned(),
        };
        assert_eq!(Reading::from_text("]C100123\r\n"), barcode(Some((b'C', b'1')), "00123"));
        assert_eq!(Reading::from_text("]C1"), barcode(Some((b'C', b'1')), ""));
        assert_eq!(Reading::from_text("]C"), barcode(None, "]C"));
        assert_eq!(Reading::from_text("]Ää"), barcode(None, "]Ää"));
        assert_eq!(Reading::from_text("10A<GS>21B"), barcode(None, "10A\u{1D}21B"));
        assert_eq!(Reading::from_text("10A{FNC1}21B\\x1d30C"), barcode(None, "10A\u{1D}21B\u{1D}30C"));
    }

    #[test]
    fn a_waybill_has_one_spelling() {
        assert_eq!(waybill(" y t 2229 521272164446\r\n").as_deref(), Some("YT2229521272164446"));
        assert_eq!(waybill("").as_deref(), None);
        assert_eq!(waybill(" \t").as_deref(), None);
        assert_eq!(waybill("运单1").as_deref(), None);
        assert_eq!(waybill("AB1\r\nAB2").as_deref(), None);
        assert_eq!(waybill("A\u{0}B").as_deref(), None);
        assert!(waybill(&"9".repeat(WAYBILL_MOST)).is_some());
        assert!(waybill(&"9".repeat(WAYBILL_MOST + 1)).is_none());
    }

    #[test]
    fn symbologies_narrow_the_choice() {
        let of = |code, modifier| Contents::of(Some(Aim(code, modifier)));
        for (code, modifier) in [(b'C', b'1'), (b'd', b'2'), (b'Q', b'3'), (b'e', b'0')] {
            assert_eq!(of(code, modifier), Contents::Gs1);
        }
        assert_eq!(of(b'E', b'0'), Contents::Gtin);
        assert_eq!(of(b'C', b'0'), Contents::NoGtin);
        assert_eq!(of(b'd', b'1'), Contents::NoGtin);
        assert_eq!(of(b'I', b'1'), Contents::Any);
        assert_eq!(Contents::of(None), Contents::Any);
    }

    proptest! {
        #[test]
        fn spelling_twice_changes_nothing(text in "\\PC{0,80}") {
            if let Some(once) = waybill(&text) {
                prop_assert_eq!(waybill(&once), Some(once));
            }
            let _ = Reading::from_text(&text);
            prop_assert!(cut(&text.repeat(20)).len() <= TEXT_MOST);
        }
    }
}
