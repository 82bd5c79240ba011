//! Check digits of numbers: what the last digit should be, given the ones before it.
//!
//! Every function takes the *body* (the number without its check digit, ASCII) and returns the digit 0–9
//! that should follow ([`mod37_36`]: the character), or `None` where the body holds a character the rule has
//! no value for. A check digit finds misreads, it does not prove a family: one random number in ten agrees.

/// UPU S10, the weights of the eight serial digits.
const S10_WEIGHTS: [u32; 8] = [8, 6, 4, 2, 3, 5, 9, 7];
/// FedEx, from the right: the cycle of weights before the check digit.
const FEDEX_WEIGHTS: [u32; 3] = [1, 3, 7];

fn digit(byte: u8) -> Option<u32> {
    char::from(byte).to_digit(10)
}

fn to_digit(value: u32) -> u8 {
    // Every caller reduces modulo 10 or 7 first.
    u8::try_from(value % 10).unwrap_or(0)
}

/// Is every byte an ASCII digit?
pub(super) fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// GS1 mod 10: weights 3-1-3… from the right (GS1 General Specifications, section 7.9). Finds every
/// error in one digit.
pub fn mod10(body: &[u8]) -> Option<u8> {
    let mut sum = 0;
    for (place, byte) in body.iter().rev().enumerate() {
        sum += digit(*byte)? * if place % 2 == 0 { 3 } else { 1 };
    }
    Some(to_digit((10 - sum % 10) % 10))
}

/// UPU S10 over eight digits: 11 − (sum mod 11), 10 → 0, 11 → 5. The sums 0 and 6 (mod 11) share the
/// check digit 5, so that one single-digit error in about a hundred goes unnoticed: the standard's, not ours.
pub fn s10(serial: &[u8]) -> Option<u8> {
    if serial.len() != S10_WEIGHTS.len() {
        return None;
    }
    let mut sum = 0;
    for (byte, weight) in serial.iter().zip(S10_WEIGHTS) {
        sum += digit(*byte)? * weight;
    }
    Some(match 11 - sum % 11 {
        10 => 0,
        11 => 5,
        check => to_digit(check),
    })
}

/// UPS: mod 10, letters as (code − 3) mod 10, every second character doubled. For `1Z` numbers the body
/// is the 15 characters behind the `1Z`.
pub fn ups(body: &[u8]) -> Option<u8> {
    let mut sum = 0;
    for (place, byte) in body.iter().enumerate() {
        let value = match byte {
            b'0'..=b'9' => u32::from(byte - b'0'),
            b'A'..=b'Z' => (u32::from(*byte) - 3) % 10,
            _ => return None,
        };
        sum += value * if place % 2 == 0 { 1 } else { 2 };
    }
    Some(to_digit((10 - sum % 10) % 10))
}

/// FedEx Express: weights 1, 3, 7 cyclic from the right, sum mod 11 mod 10.
pub fn fedex(body: &[u8]) -> Option<u8> {
    let mut sum = 0;
    for (byte, weight) in body.iter().rev().zip(FEDEX_WEIGHTS.into_iter().cycle()) {
        sum += digit(*byte)? * weight;
    }
    Some(to_digit(sum % 11))
}

/// DHL Express, and the parcel services of Japan (Japan Post, Yamato, Sagawa: "7DR"): the number before the
/// check digit, mod 7.
pub fn mod7(body: &[u8]) -> Option<u8> {
    let mut rest = 0;
    for byte in body {
        rest = (rest * 10 + digit(*byte)?) % 7;
    }
    Some(to_digit(rest))
}

/// Deutsche Post Identcode and Leitcode: weights 4-9-4… from the left, mod 10.
pub fn identcode(body: &[u8]) -> Option<u8> {
    let mut sum = 0;
    for (place, byte) in body.iter().enumerate() {
        sum += digit(*byte)? * if place % 2 == 0 { 4 } else { 9 };
    }
    Some(to_digit((10 - sum % 10) % 10))
}

/// ISO/IEC 7064 MOD 37,36, the hybrid system over digits and capital letters, as DPD prints it behind its
/// barcode. The check character is itself a digit or a capital letter. Finds every error in one character.
pub fn mod37_36(body: &[u8]) -> Option<u8> {
    const MODULUS: u32 = 36;
    let mut product = MODULUS;
    for byte in body {
        let mut sum = product + alphanumeric(*byte)?;
        if sum > MODULUS {
            sum -= MODULUS;
        }
        // `sum` is 1 to 36, so the remainder is never 0 (37 is prime).
        product = 2 * sum % (MODULUS + 1);
    }
    let check = u8::try_from((MODULUS + 1 - product) % MODULUS).ok()?;
    Some(if check < 10 { b'0' + check } else { b'A' + check - 10 })
}

/// Value of a character of ISO/IEC 7064: 0 to 9, A to Z as 10 to 35.
fn alphanumeric(byte: u8) -> Option<u32> {
    match byte {
        b'0'..=b'9' => Some(u32::from(byte - b'0')),
        b'A'..=b'Z' => Some(u32::from(byte - b'A') + 10),
        _ => None,
    }
}

/// The last byte as a digit, and everything before it.
pub(super) fn split_check(number: &[u8]) -> Option<(&[u8], u8)> {
    let (last, body) = number.split_last()?;
    if body.is_empty() {
        return None;
    }
    Some((body, to_digit(digit(*last)?)))
}

/// Does a number agree with GS1 mod 10?
pub(super) fn mod10_agrees(number: &str) -> bool {
    split_check(number.as_bytes()).is_some_and(|(body, check)| mod10(body) == Some(check))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_numbers_have_their_check_digits() {
        assert_eq!(mod10(b"10614141234567890"), Some(8));
        assert_eq!(mod10(b"8061414112345"), Some(8));
        assert_eq!(s10(b"47312482"), Some(9));
        assert_eq!(s10(b"12345678"), Some(5));
        assert_eq!(ups(b"5R8939035756712"), Some(7));
        assert_eq!(fedex(b"98657878885"), Some(5));
        assert_eq!(mod7(b"331881002"), Some(5));
        assert_eq!(mod7(b"12345678901"), Some(3), "the example Yamato's customers explain the rule with");
        assert_eq!(identcode(b"56310243031"), Some(3), "Deutsche Post's own example, 56.310 243.031 3");
        assert_eq!(identcode(b"2134807501640"), Some(1), "Leitcode 21348.075.016.40 1");
        // Colissimo: GS1's rule over the ten digits of the parcel's number.
        for (number, check) in [("2052475203", 2), ("4139207826", 0), ("4139212825", 5), ("0123456789", 5)] {
            assert_eq!(mod10(number.as_bytes()), Some(check), "{number}");
        }
        assert_eq!(mod10(b"007393800054929"), Some(7), "Canada Post 0073938000549297");
    }

    #[test]
    fn mod37_36_agrees_with_the_standard_and_with_printed_labels() {
        assert_eq!(
            mod37_36(b"A12425GABC1234002"),
            Some(b'M'),
            "an example of the hybrid system, ISO/IEC 7064"
        );
        assert_eq!(mod37_36(b"008182709980000020033350276"), Some(b'C'));
        assert_eq!(mod37_36(b"008182709980000020045327276"), Some(b'N'));
        assert_eq!(mod37_36(b"0081 82"), None);
        assert_eq!(mod37_36(b""), Some(b'1'), "the empty product");
    }

    #[test]
    fn a_body_with_a_strange_character_has_none() {
        for rule in [mod10, ups, fedex, mod7, identcode] {
            assert_eq!(rule(b"12-45"), None);
        }
        assert_eq!(s10(b"1234567"), None, "too short");
        assert_eq!(s10(b"1234567X"), None);
    }

    #[test]
    fn s10_maps_ten_to_zero_and_eleven_to_five() {
        // Sum 8 · 7 = 56 = 1 (mod 11): 11 − 1 = 10 → 0. Sum 0: 11 → 5.
        assert_eq!(s10(b"70000000"), Some(0));
        assert_eq!(s10(b"00000000"), Some(5));
    }

    fn digits(length: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(b'0'..=b'9', length)
    }

    /// The S10 sum mod 11, written a second way.
    fn s10_rest(serial: &[u8]) -> u32 {
        [8, 6, 4, 2, 3, 5, 9, 7].iter().zip(serial).map(|(w, d)| w * u32::from(d - b'0')).sum::<u32>() % 11
    }

    proptest! {
        #[test]
        fn mod10_finds_every_error_in_one_digit(
            body in digits(1..40), place in any::<prop::sample::Index>(), by in 1..10u8,
        ) {
            let mut number = body.clone();
            number.push(b'0' + mod10(&body).unwrap());
            prop_assert!(mod10_agrees(std::str::from_utf8(&number).unwrap()));
            let at = place.index(number.len());
            number[at] = b'0' + (number[at] - b'0' + by) % 10;
            prop_assert!(!mod10_agrees(std::str::from_utf8(&number).unwrap()));
        }

        #[test]
        fn mod37_36_finds_every_error_in_one_character(
            body in "[0-9A-Z]{1,40}", place in any::<prop::sample::Index>(), by in 1..36usize,
        ) {
            const ALPHABET: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
            let mut wrong = body.clone().into_bytes();
            let at = place.index(wrong.len());
            let value = ALPHABET.iter().position(|known| *known == wrong[at]).unwrap();
            wrong[at] = ALPHABET[(value + by) % ALPHABET.len()];
            prop_assert!(mod37_36(&wrong) != mod37_36(body.as_bytes()));
        }

        #[test]
        fn s10_finds_every_error_in_one_digit_but_between_sums_0_and_6(
            serial in digits(8), place in 0..8usize, by in 1..10u8,
        ) {
            let mut wrong = serial.clone();
            wrong[place] = b'0' + (wrong[place] - b'0' + by) % 10;
            let found = s10(&serial) != s10(&wrong);
            let mut rests = [s10_rest(&serial), s10_rest(&wrong)];
            rests.sort_unstable();
            prop_assert_eq!(found, rests != [0, 6]);
        }
    }
}
