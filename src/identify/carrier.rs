//! Configured carriers: which of them a number fits, and which part of the text is the number.
//!
//! A pattern covers the whole text. Where it has a group named `number`, only that part is the waybill;
//! what stands around it is routing (USPS: `420` and the ZIP before it), so that a label with and a message
//! without it mean the same parcel. The check digit is that of the number, unless a group named `checked` says
//! which part of the text it covers (DPD: all of the label's line; Colissimo: the digits behind the product
//! code).

use super::{CarrierRules, CheckRule, check, s10};

/// Name of the group that holds the number.
pub const NUMBER_GROUP: &str = "number";

/// Name of the group that holds what the check digit covers, itself included, where that is not the number.
pub const CHECKED_GROUP: &str = "checked";

/// Least length of a number under the FedEx rule: eleven digits and the check digit.
const FEDEX_LEAST: usize = 12;

/// What the configured carriers say about a text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Fits<'a> {
    /// Codes of the carriers whose shape and check digit it has, in file order, each once.
    pub carriers: Vec<&'a str>,
    /// The number, the shortest where carriers disagree; of a carrier it only looks like where none fits.
    pub number: Option<&'a str>,
    /// Whether a check digit stood behind one of the fits.
    pub checked: bool,
    /// The first carrier whose shape it has while the check digit disagrees.
    pub failed: Option<&'a str>,
}

/// Which carriers a text fits (upper case, no blanks).
pub(super) fn fits<'a>(rules: &'a CarrierRules, text: &'a str) -> Fits<'a> {
    let mut found = Fits::default();
    let mut almost = None;
    for carrier in &rules.carriers {
        for pattern in &carrier.patterns {
            let Some((number, checked)) = number_in(&pattern.regex, text) else { continue };
            let agrees = pattern.check.agrees(checked);
            if agrees == Some(false) {
                found.failed.get_or_insert(carrier.code.as_str());
                almost.get_or_insert(number);
                continue;
            }
            found.checked |= agrees == Some(true);
            if found.carriers.last() != Some(&carrier.code.as_str()) {
                found.carriers.push(&carrier.code);
            }
            if found.number.is_none_or(|shortest| number.len() < shortest.len()) {
                found.number = Some(number);
            }
        }
    }
    if found.carriers.is_empty() {
        found.number = almost;
    } else {
        found.failed = None;
    }
    found
}

/// The number in a text that has the shape, and the part that its check digit covers.
fn number_in<'a>(regex: &regex::Regex, text: &'a str) -> Option<(&'a str, &'a str)> {
    if !regex.is_match(text) {
        return None;
    }
    // Groups are searched for only where the shape is right and there is more than the whole match.
    if regex.captures_len() == 1 {
        return Some((text, text));
    }
    let groups = regex.captures(text)?;
    let number = groups.name(NUMBER_GROUP).map_or(text, |group| group.as_str());
    let checked = groups.name(CHECKED_GROUP).map_or(number, |group| group.as_str());
    (!number.is_empty()).then_some((number, checked))
}

impl CheckRule {
    /// Whether `number` agrees: `None` where the rule asks for nothing. A number too short or of the
    /// wrong shape for the rule does not agree.
    pub fn agrees(self, number: &str) -> Option<bool> {
        let bytes = number.as_bytes();
        let agreed = match self {
            CheckRule::None => return None,
            CheckRule::S10 => s10::parse(number).is_some_and(|item| item.check_agrees()),
            CheckRule::Mod10 => check::mod10_agrees(number),
            CheckRule::Ups => ups_agrees(bytes),
            CheckRule::Fedex12 => {
                bytes.len() >= FEDEX_LEAST
                    && check::split_check(bytes).is_some_and(|(body, last)| check::fedex(body) == Some(last))
            }
            CheckRule::Mod7 => {
                check::split_check(bytes).is_some_and(|(body, last)| check::mod7(body) == Some(last))
            }
            CheckRule::Identcode => {
                check::split_check(bytes).is_some_and(|(body, last)| check::identcode(body) == Some(last))
            }
            CheckRule::Mod37x36 => bytes
                .split_last()
                .is_some_and(|(last, body)| !body.is_empty() && check::mod37_36(body) == Some(*last)),
        };
        Some(agreed)
    }
}

/// `1Z` + 15 characters + check, or a UPS waybill: a service letter + 9 digits + check.
fn ups_agrees(number: &[u8]) -> bool {
    let prefix = match (number.len(), number) {
        (18, [b'1', b'Z', ..]) => 2,
        (11, [b'A'..=b'Z', ..]) => 1,
        _ => return false,
    };
    check::split_check(&number[prefix..]).is_some_and(|(body, last)| check::ups(body) == Some(last))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::{Carrier, CheckRule, Pattern};
    use super::*;

    /// A carrier as the loader builds it.
    pub fn carrier(code: &str, patterns: &[(&str, CheckRule)]) -> Carrier {
        Carrier {
            code: code.to_owned(),
            name: code.to_owned(),
            countries: Vec::new(),
            patterns: patterns
                .iter()
                .map(|(shape, check)| Pattern {
                    regex: regex::Regex::new(&format!("^(?:{shape})$")).unwrap(),
                    check: *check,
                    published: *check != CheckRule::None,
                })
                .collect(),
        }
    }

    #[derive(serde::Deserialize)]
    struct Sample {
        name: String,
        pattern: String,
        check: String,
        valid: Vec<String>,
        invalid: Vec<String>,
    }

    #[test]
    fn the_published_samples_fit_and_their_misprints_do_not() {
        let samples: Vec<Sample> = serde_json::from_str(include_str!("testdata/tracking.json")).unwrap();
        assert!(samples.len() >= 18);
        for sample in samples {
            let check = match sample.check.as_str() {
                "none" => CheckRule::None,
                "s10" => CheckRule::S10,
                "mod10" => CheckRule::Mod10,
                "ups" => CheckRule::Ups,
                "fedex12" => CheckRule::Fedex12,
                "mod7" => CheckRule::Mod7,
                other => panic!("unknown check rule {other}"),
            };
            let rules = CarrierRules { carriers: vec![carrier("X", &[(&sample.pattern, check)])] };
            let fit = |text: &str| {
                let text = super::super::text::waybill(text).unwrap();
                fits(&rules, &text).carriers.len()
            };
            for text in &sample.valid {
                assert_eq!(fit(text), 1, "{}: {text}", sample.name);
            }
            for text in &sample.invalid {
                assert_eq!(fit(text), 0, "{}: {text}", sample.name);
            }
        }
    }

    #[test]
    fn the_number_group_leaves_routing_out() {
        let shape = "(?:420[0-9]{5}(?:[0-9]{4})?)?(?<number>9[1-5][0-9]{20})";
        let rules = CarrierRules { carriers: vec![carrier("USPS", &[(shape, CheckRule::Mod10)])] };
        for text in ["420902459261290336128704042634", "9261290336128704042634"] {
            let found = fits(&rules, text);
            assert_eq!((found.carriers, found.number), (vec!["USPS"], Some("9261290336128704042634")));
        }
        let wrong = fits(&rules, "9261290336128704042635");
        assert_eq!((wrong.carriers.len(), wrong.failed), (0, Some("USPS")));
        assert_eq!(wrong.number, Some("9261290336128704042635"));
    }

    #[test]
    fn the_check_digit_may_cover_another_part_than_the_number() {
        let label = "(?<checked>[0-9A-Z]{7}(?<number>[0-9A-Z]{2}[0-9]{12})[0-9]{6}[0-9A-Z])";
        let parcel = "[0-9][A-Z](?<checked>[0-9]{11})";
        let rules = CarrierRules {
            carriers: vec![
                carrier("DPD", &[(label, CheckRule::Mod37x36)]),
                carrier("LAPOSTE", &[(parcel, CheckRule::Mod10)]),
            ],
        };
        let found = fits(&rules, "008182709980000020033350276C");
        assert_eq!((found.carriers, found.number), (vec!["DPD"], Some("09980000020033")));
        assert_eq!(fits(&rules, "008182709980000020033350276A").failed, Some("DPD"));
        let found = fits(&rules, "8L01234567895");
        assert_eq!((found.carriers, found.number), (vec!["LAPOSTE"], Some("8L01234567895")));
        assert_eq!(fits(&rules, "8L01234567896").failed, Some("LAPOSTE"));
    }

    #[test]
    fn a_carrier_counts_once_and_two_carriers_count_both() {
        let rules = CarrierRules {
            carriers: vec![
                carrier("A", &[("[0-9]{12}", CheckRule::None), ("98[0-9]{10}", CheckRule::None)]),
                carrier("FEDEX", &[("[0-9]{12}", CheckRule::Fedex12)]),
            ],
        };
        assert_eq!(fits(&rules, "986578788855").carriers, ["A", "FEDEX"]);
        assert_eq!(fits(&rules, "996578788855").carriers, ["A"]);
        assert_eq!(fits(&rules, "996578788855").failed, None, "it fits one, so nothing failed");
    }

    proptest! {
        #[test]
        fn fedex_and_mod7_check_digits_are_found_wrong(
            body in proptest::collection::vec(b'0'..=b'9', 11), by in 1..10u8,
        ) {
            let rules =
                [(check::fedex(&body), CheckRule::Fedex12), (check::mod7(&body), CheckRule::Mod7)];
            for (last, rule) in rules {
                let last = last.unwrap();
                let mut number = body.clone();
                number.push(b'0' + last);
                prop_assert_eq!(rule.agrees(std::str::from_utf8(&number).unwrap()), Some(true));
                number[11] = b'0' + (last + by) % 10;
                prop_assert_eq!(rule.agrees(std::str::from_utf8(&number).unwrap()), Some(false));
            }
        }

        #[test]
        fn no_rule_panics(text in "\\PC{0,40}") {
            for rule in [
                CheckRule::None, CheckRule::S10, CheckRule::Mod10, CheckRule::Ups, CheckRule::Fedex12,
                CheckRule::Mod7, CheckRule::Identcode, CheckRule::Mod37x36,
            ] {
                let _ = rule.agrees(&text);
            }
        }
    }
}
