//! `sortd identify CODE…`: what a barcode or an EPC is taken for.

use std::io::{self, Write};

use serde::Serialize;

use crate::identify::{CarrierRules, Identification, Reading, identify};

/// A line of `--json`; these keys are a promise.
#[derive(Serialize)]
struct Line<'a> {
    /// As it was typed.
    input: &'a str,
    kind: &'static str,
    valid: bool,
    /// Key of the parcel, where the code names one by itself.
    identity: Option<&'a str>,
    /// Carrier, where the code fits exactly one.
    carrier: Option<&'a str>,
    /// Check digit: agrees, disagrees, or (null) the family has none.
    check: Option<bool>,
    country: Option<&'a str>,
    uri: Option<&'a str>,
    reason: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn of(input: &'a str, found: &'a Identification) -> Line<'a> {
        Line {
            input,
            kind: found.kind.name(),
            valid: found.valid,
            identity: found.key.as_ref().filter(|_| found.stands_alone).map(|key| key.0.as_str()),
            carrier: match found.carriers.as_slice() {
                [only] => Some(only),
                _ => None,
            },
            check: found.check,
            country: found.country.as_deref(),
            uri: found.uri.as_deref(),
            reason: found.reason.as_deref(),
        }
    }

    /// `input  valid s10  s10:…  check agrees  country GB  …`, in one line whatever the code holds.
    fn for_people(&self, out: &mut dyn Write) -> io::Result<()> {
        let judged = if self.valid { "valid" } else { "invalid" };
        write!(out, "{}  {judged} {}", self.input.escape_debug(), self.kind)?;
        let check = self.check.map(|agrees| if agrees { "agrees" } else { "disagrees" });
        let parts = [
            ("parcel", self.identity),
            ("carrier", self.carrier),
            ("check digit", check),
            ("country", self.country),
            ("uri", self.uri),
            ("note", self.reason),
        ];
        for (name, value) in parts {
            if let Some(value) = value {
                write!(out, "  {name}: {}", value.escape_debug())?;
            }
        }
        writeln!(out)
    }
}

/// Prints one line a code, JSON or for people. True if every code is valid.
pub fn run(codes: &[String], rules: &CarrierRules, json: bool, out: &mut dyn Write) -> io::Result<bool> {
    let mut all_valid = true;
    for code in codes {
        let found = identify(rules, &Reading::from_text(code));
        all_valid &= found.valid;
        let line = Line::of(code, &found);
        if json {
            serde_json::to_writer(&mut *out, &line)?;
            writeln!(out)?;
        } else {
            line.for_people(out)?;
        }
    }
    Ok(all_valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(codes: &[&str], json: bool) -> (bool, Vec<String>) {
        let codes: Vec<String> = codes.iter().map(|code| (*code).to_owned()).collect();
        let mut out = Vec::new();
        let valid = run(&codes, &CarrierRules::default(), json, &mut out).unwrap();
        (valid, String::from_utf8(out).unwrap().lines().map(str::to_owned).collect())
    }

    #[test]
    fn json_has_exactly_the_promised_keys_in_one_line_a_code() {
        let (valid, lines) =
            printed(&["3074257bf7194e4000001a85", "]C1(00)106141412345678908", "HELLO"], true);
        assert!(!valid);
        assert_eq!(
            lines[0],
            r#"{"input":"3074257bf7194e4000001a85","kind":"epc","valid":true,"identity":"sgtin:80614141123458.6789","carrier":null,"check":null,"country":null,"uri":"urn:epc:id:sgtin:0614141.812345.6789","reason":null}"#
        );
        assert_eq!(
            lines[1],
            r#"{"input":"]C1(00)106141412345678908","kind":"gs1","valid":true,"identity":"sscc:106141412345678908","carrier":null,"check":true,"country":null,"uri":"https://id.gs1.org/00/106141412345678908","reason":null}"#
        );
        let unknown: serde_json::Value = serde_json::from_str(&lines[2]).unwrap();
        assert_eq!(unknown["identity"], serde_json::Value::Null);
        assert!(unknown["reason"].as_str().unwrap().contains("only an order"));
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn people_get_one_line_a_code_too() {
        let (valid, lines) = printed(&["RB123456785GB", "018061414112345821A\u{1D}10B\nC"], false);
        assert!(!valid);
        assert_eq!(
            lines[0],
            "RB123456785GB  valid s10  parcel: s10:RB123456785GB  check digit: agrees  country: GB"
        );
        assert!(lines[1].starts_with(r"018061414112345821A\u{1d}10B\nC  invalid unknown  note: "));
        assert_eq!(lines.len(), 2);
    }

    #[derive(serde::Deserialize)]
    struct Vector {
        carriers: Vec<String>,
        right: String,
        wrong: Option<String>,
    }

    /// What the shipped carriers publish: each shape has a number that is taken for its carrier, and one with a
    /// wrong check digit that is refused.
    #[test]
    fn every_published_shape_takes_its_right_number_and_refuses_a_wrong_one() {
        let config = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/line");
        let rules = crate::site::load(&config).unwrap().0.carriers;
        let vectors: Vec<Vector> =
            serde_json::from_str(include_str!("../identify/testdata/carriers.json")).unwrap();
        let shown = |code: &str| -> serde_json::Value {
            let mut out = Vec::new();
            run(&[code.to_owned()], &rules, true, &mut out).unwrap();
            serde_json::from_slice(&out).unwrap()
        };
        for Vector { carriers, right, wrong } in &vectors {
            let line = shown(right);
            assert_eq!(line["valid"], true, "{line}");
            if let [carrier] = carriers.as_slice() {
                assert_eq!(line["carrier"], *carrier, "{line}");
            } else {
                assert_eq!(line["carrier"], serde_json::Value::Null, "{line}");
                let reason = line["reason"].as_str().unwrap();
                assert!(reason.contains(&carriers.join(" and ")), "{line}");
            }
            let Some(wrong) = wrong else { continue };
            assert_eq!(line["check"], true, "{line}");
            let line = shown(wrong);
            assert_eq!(
                (&line["valid"], &line["carrier"]),
                (&false.into(), &serde_json::Value::Null),
                "{line}"
            );
            assert_eq!(line["check"], false, "{line}");
        }
        for carrier in &rules.carriers {
            for pattern in carrier.patterns.iter().filter(|pattern| pattern.published) {
                let checked = pattern.check != crate::identify::CheckRule::None;
                let tried = vectors.iter().any(|vector| {
                    vector.carriers.contains(&carrier.code)
                        && pattern.regex.is_match(&vector.right)
                        && (!checked
                            || vector.wrong.as_ref().is_some_and(|wrong| pattern.regex.is_match(wrong)))
                });
                assert!(
                    tried,
                    "{}: carriers.json has no number of the shape {}",
                    carrier.code, pattern.regex
                );
            }
        }
    }

    #[test]
    fn no_codes_and_only_valid_codes_are_no_finding() {
        assert_eq!(printed(&[], true), (true, Vec::new()));
        assert!(printed(&["RB123456785GB"], true).0);
    }
}
