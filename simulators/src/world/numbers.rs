//! Waybill numbers, SSCCs and EPCs with right check digits, each given out once a run.
//!
//! Written from the published rules and not with `sortd`'s own codecs: what the simulator prints on a label
//! is an independent second opinion on what `sortd` reads from it.

use std::collections::BTreeMap;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use sortd::identify::{Carrier, CarrierRules, CheckRule, Pattern};

use super::shape;

/// Tries for a number that was not given out before, or that fits.
const TRIES: usize = 64;

/// Numbers remembered so that none is given twice; beyond this the oldest are forgotten (a day at 20,000
/// parcels an hour).
const REMEMBERED: usize = 500_000;

/// Own GS1 company prefix of the simulated exporters, 7 digits (GS1's range for examples, 952).
const COMPANY_PREFIX: u64 = 9_521_234;

/// TDS filter value: a single shipping item.
const FILTER_PARCEL: u8 = 3;

/// Gives numbers out.
#[derive(Debug)]
pub struct Numbers {
    rng: ChaCha8Rng,
    rules: CarrierRules,
    given: BTreeMap<String, u64>,
    order: std::collections::VecDeque<String>,
    serial: u64,
}

impl Numbers {
    /// Numbers of these carriers' shapes.
    pub fn new(rules: &CarrierRules, rng: ChaCha8Rng) -> Numbers {
        Numbers {
            rng,
            rules: rules.clone(),
            given: BTreeMap::new(),
            order: std::collections::VecDeque::new(),
            serial: 0,
        }
    }

    /// A waybill of this carrier, by preference one that fits no other carrier; a house number where the
    /// carrier has no shape that can be sampled.
    pub fn waybill(&mut self, carrier: Option<usize>) -> String {
        let mut fallback = None;
        for _ in 0..TRIES {
            let Some(text) = carrier.and_then(|index| self.sample(index)) else { break };
            if self.given.contains_key(&text) {
                continue;
            }
            if self.fits(&text) == 1 {
                return self.give(text);
            }
            fallback = Some(text);
        }
        let text = fallback.unwrap_or_else(|| format!("DG{:010}W", self.next_serial()));
        self.give(text)
    }

    /// A number that fits more than one carrier, if the carriers' shapes overlap at all.
    pub fn ambiguous(&mut self) -> Option<String> {
        for index in 0..self.rules.carriers.len() {
            for _ in 0..TRIES {
                let Some(text) = self.sample(index) else { break };
                if self.fits(&text) > 1 && !self.given.contains_key(&text) {
                    return Some(self.give(text));
                }
            }
        }
        None
    }

    /// An SSCC, 18 digits with its check digit.
    pub fn sscc(&mut self) -> String {
        let serial = self.next_serial() % 1_000_000_000;
        let body = format!("0{COMPANY_PREFIX:07}{serial:09}");
        let check = gs1_check(&body);
        format!("{body}{check}")
    }

    /// A SGTIN-96 tag: its 12 bytes and its pure identity URI.
    pub fn sgtin96(&mut self) -> (Vec<u8>, String) {
        let item = self.rng.random_range(0..100_000u64);
        let serial = self.next_serial();
        (
            sgtin96(FILTER_PARCEL, COMPANY_PREFIX, item, serial),
            format!("urn:epc:id:sgtin:{COMPANY_PREFIX}.0{item:05}.{serial}"),
        )
    }

    /// The SSCC-96 tag of an SSCC this gave out.
    pub fn sscc96(sscc: &str) -> Option<(Vec<u8>, String)> {
        let extension = sscc.get(..1)?;
        let prefix: u64 = sscc.get(1..8)?.parse().ok()?;
        let reference: u64 = format!("{extension}{}", sscc.get(8..17)?).parse().ok()?;
        Some((
            sscc96(FILTER_PARCEL, prefix, reference),
            format!("urn:epc:id:sscc:{prefix:07}.{reference:010}"),
        ))
    }

    /// A dice roll from the numbers' own stream.
    pub fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn give(&mut self, text: String) -> String {
        self.given.insert(text.clone(), self.serial);
        self.order.push_back(text.clone());
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.given.remove(&oldest);
        }
        text
    }

    fn fits(&self, text: &str) -> usize {
        self.rules.carriers.iter().filter(|carrier| carrier_fits(carrier, text)).count()
    }

    fn sample(&mut self, carrier: usize) -> Option<String> {
        let patterns = &self.rules.carriers.get(carrier)?.patterns;
        if patterns.is_empty() {
            return None;
        }
        let pattern = &patterns[self.rng.random_range(0..patterns.len())];
        let text = shape::sample(pattern.regex.as_str(), &mut self.rng)?;
        let text = checked(pattern, &text)?;
        pattern.regex.is_match(&text).then_some(text)
    }
}

fn carrier_fits(carrier: &Carrier, text: &str) -> bool {
    carrier.patterns.iter().any(|pattern| {
        pattern.regex.is_match(text)
            && (pattern.check == CheckRule::None || checked(pattern, text).as_deref() == Some(text))
    })
}

/// The text with the check digit put right in the part that the shape says it covers.
fn checked(pattern: &Pattern, text: &str) -> Option<String> {
    let groups = pattern.regex.captures(text)?;
    let Some(part) = groups.name("checked").or_else(|| groups.name("number")) else {
        return with_check(pattern.check, text);
    };
    let inner = with_check(pattern.check, part.as_str())?;
    Some(format!("{}{inner}{}", &text[..part.start()], &text[part.end()..]))
}

/// The text with its check digit put right; `None` where the rule does not apply to such a text.
fn with_check(rule: CheckRule, text: &str) -> Option<String> {
    let (at, digit) = match rule {
        CheckRule::None => return Some(text.to_owned()),
        CheckRule::S10 => (10, s10_check(text.get(2..10)?)?),
        CheckRule::Mod10 => {
            // USPS IMpb: the routing part `420` + ZIP is no part of the number the digit is made over.
            let start = if text.len() > 26 && text.starts_with("420") { text.len() - 22 } else { 0 };
            let at = text.len().checked_sub(1)?;
            let body = text.get(start..at)?;
            if body.is_empty() || !body.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            (at, gs1_check(body))
        }
        CheckRule::Ups => (17, ups_check(text.get(2..17)?)?),
        CheckRule::Fedex12 => {
            let at = text.len().checked_sub(1)?;
            (at, fedex_check(text.get(..at)?)?)
        }
        CheckRule::Mod7 => {
            let at = text.len().checked_sub(1)?;
            let serial: u64 = text.get(..at)?.parse().ok()?;
            (at, u32::try_from(serial % 7).ok()?)
        }
        CheckRule::Identcode => {
            let at = text.len().checked_sub(1)?;
            (at, identcode_check(text.get(..at)?)?)
        }
        CheckRule::Mod37x36 => {
            let at = text.len().checked_sub(1)?;
            let mut out = text.get(..at)?.to_owned();
            out.push(iso_check(&out)?);
            return Some(out);
        }
    };
    if text.len() <= at {
        return None;
    }
    let mut out = text.to_owned();
    out.replace_range(at..=at, &digit.to_string());
    Some(out)
}

/// UPU S10: weights 8 6 4 2 3 5 9 7, 11 − (sum mod 11), 10 → 0, 11 → 5.
fn s10_check(serial: &str) -> Option<u32> {
    const WEIGHTS: [u32; 8] = [8, 6, 4, 2, 3, 5, 9, 7];
    let mut sum = 0;
    for (c, weight) in serial.chars().zip(WEIGHTS) {
        sum += c.to_digit(10)? * weight;
    }
    Some(match 11 - sum % 11 {
        10 => 0,
        11 => 5,
        other => other,
    })
}

/// GS1: weights 3 and 1 from the right.
fn gs1_check(body: &str) -> u32 {
    let sum: u32 = body
        .bytes()
        .rev()
        .enumerate()
        .map(|(i, b)| u32::from(b - b'0') * if i % 2 == 0 { 3 } else { 1 })
        .sum();
    (10 - sum % 10) % 10
}

/// UPS 1Z: letters as (code − 3) mod 10, every second doubled, mod 10.
fn ups_check(body: &str) -> Option<u32> {
    let mut sum = 0;
    for (i, b) in body.bytes().enumerate() {
        let value = if b.is_ascii_digit() { u32::from(b - b'0') } else { (u32::from(b) - 3) % 10 };
        sum += if i % 2 == 1 { value * 2 } else { value };
    }
    Some((10 - sum % 10) % 10)
}

/// FedEx: weights 1 3 7 1 3 7 … from the digit before the check digit leftwards, mod 11 mod 10.
fn fedex_check(body: &str) -> Option<u32> {
    const WEIGHTS: [u32; 3] = [1, 3, 7];
    let mut sum = 0;
    for (c, weight) in body.chars().rev().zip(WEIGHTS.into_iter().cycle()) {
        sum += c.to_digit(10)? * weight;
    }
    Some(sum % 11 % 10)
}

/// Deutsche Post: every second digit from the first times 4, the others times 9, up to the next ten.
fn identcode_check(body: &str) -> Option<u32> {
    let mut sum = 0;
    for (i, c) in body.chars().enumerate() {
        sum += c.to_digit(10)? * if i % 2 == 0 { 4 } else { 9 };
    }
    Some(sum.next_multiple_of(10) - sum)
}

/// ISO/IEC 7064 MOD 37,36, by the definition: the character that brings the last sum to 1.
fn iso_check(body: &str) -> Option<char> {
    let mut carried = 36;
    for c in body.chars() {
        let sum = match (carried + c.to_digit(36)?) % 36 {
            0 => 36,
            other => other,
        };
        carried = sum * 2 % 37;
    }
    let check = (0..36).find(|candidate| (carried + candidate) % 36 == 1)?;
    char::from_digit(check, 36).map(|c| c.to_ascii_uppercase())
}

/// TDS 14.5.1 with a 7-digit company prefix: header 30h, filter, partition 5, 24 + 20 + 38 bits. The
/// indicator digit is 0 and leads the item reference.
fn sgtin96(filter: u8, prefix: u64, item: u64, serial: u64) -> Vec<u8> {
    let bits = (0x30u128 << 88)
        | (u128::from(filter) << 85)
        | (5u128 << 82)
        | (u128::from(prefix) << 58)
        | (u128::from(item) << 38)
        | u128::from(serial);
    bits.to_be_bytes()[4..].to_vec()
}

/// TDS 14.5.2 with a 7-digit company prefix: header 31h, filter, partition 5, 24 + 34 bits, 24 zero bits.
fn sscc96(filter: u8, prefix: u64, reference: u64) -> Vec<u8> {
    let bits = (0x31u128 << 88)
        | (u128::from(filter) << 85)
        | (5u128 << 82)
        | (u128::from(prefix) << 58)
        | (u128::from(reference) << 24);
    bits.to_be_bytes()[4..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_digits_agree_with_published_examples() {
        assert_eq!(s10_check("47312482"), Some(9));
        assert_eq!(with_check(CheckRule::Ups, "1Z5R89390357567120").as_deref(), Some("1Z5R89390357567127"));
        assert_eq!(with_check(CheckRule::Fedex12, "986578788850").as_deref(), Some("986578788855"));
        assert_eq!(with_check(CheckRule::Mod7, "3318810020").as_deref(), Some("3318810025"));
        assert_eq!(with_check(CheckRule::Identcode, "563102430310").as_deref(), Some("563102430313"));
        let label = with_check(CheckRule::Mod37x36, "0081827099800000200333502760");
        assert_eq!(label.as_deref(), Some("008182709980000020033350276C"));
        assert_eq!(gs1_check("00614141123456789"), 0);
    }

    /// Two programs written apart agree on every shape and check rule that is shipped.
    #[test]
    fn sortd_takes_every_number_made_of_a_shipped_shape() {
        use rand::SeedableRng;
        use sortd::identify::{Reading, identify};

        let config = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/line");
        let rules = sortd::site::load(&config).unwrap().0.carriers;
        let mut numbers = Numbers::new(&rules, ChaCha8Rng::seed_from_u64(4));
        for (index, carrier) in rules.carriers.iter().enumerate() {
            for _ in 0..50 {
                let text =
                    numbers.sample(index).unwrap_or_else(|| panic!("{} cannot be sampled", carrier.code));
                let found = identify(&rules, &Reading::from_text(&text));
                assert!(found.valid && found.carriers.contains(&carrier.code), "{text}: {found:?}");
            }
        }
    }

    #[test]
    fn tags_agree_with_the_tag_data_standard() {
        let hex = |epc: Vec<u8>| epc.iter().map(|b| format!("{b:02X}")).collect::<String>();
        assert_eq!(hex(sgtin96(3, 614_141, 812_345, 6_789)), "3074257BF7194E4000001A85");
        assert_eq!(hex(sscc96(3, 614_141, 1_234_567_890)), "3174257BF4499602D2000000");
        assert_eq!(hex(sscc96(2, 6_901_234, 1_000_000_001)), "3155A537C83B9ACA01000000");
    }
}
