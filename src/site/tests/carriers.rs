//! The shipped table of carriers, and every mistake one can make in such a table.

use std::collections::{BTreeMap, BTreeSet};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::*;
use crate::identify::{CheckRule, Pattern, Reading, carrier, identify};

fn line() -> Site {
    load(&shipped("line")).unwrap().0
}

/// Carriers whose numbers may be each other's, on purpose: the shapes are the carriers' own, and nothing but an
/// order tells such a number's carrier. A number of such a shape is ambiguous without an order.
const SHARED: [[&str; 2]; 7] = [
    // Assumed of both.
    ["4PX", "CAINIAO"],
    // Twelve digits under four rules: one number in seven or ten agrees with another's rule as well.
    ["DHLPARCEL", "FEDEX"],
    ["DHLPARCEL", "JPPOST"],
    ["DHLPARCEL", "YAMATO"],
    ["FEDEX", "JPPOST"],
    ["FEDEX", "YAMATO"],
    // Twelve digits under the same rule.
    ["JPPOST", "YAMATO"],
];

/// Numbers of a shape with right check digits.
fn samples(pattern: &Pattern, count: usize, runner: &mut TestRunner) -> Vec<String> {
    let shape = pattern.regex.as_str().trim_start_matches('^').trim_end_matches('$').to_owned();
    let texts = proptest::string::string_regex(&shape).unwrap();
    let made = std::iter::repeat_with(|| texts.new_tree(runner).unwrap().current());
    made.take(count).map(|text| with_check(pattern, text)).collect()
}

/// The text with the check digit put right by trying.
fn with_check(pattern: &Pattern, text: String) -> String {
    if pattern.check == CheckRule::None {
        return text;
    }
    let part = {
        let groups = pattern.regex.captures(&text).unwrap();
        let part = groups.name(carrier::CHECKED_GROUP).or_else(|| groups.name(carrier::NUMBER_GROUP));
        part.map_or(0..text.len(), |part| part.range())
    };
    // S10 has its check digit before the country.
    let at = if pattern.check == CheckRule::S10 { part.end - 3 } else { part.end - 1 };
    let tried = ('0'..='9').chain('A'..='Z').find_map(|digit| {
        let mut text = text.clone();
        text.replace_range(at..=at, &digit.to_string());
        (pattern.check.agrees(&text[part.clone()]) == Some(true)).then_some(text)
    });
    tried.unwrap_or_else(|| panic!("no check digit makes {text} right for {}", pattern.regex))
}

#[test]
fn no_number_has_two_carriers_but_where_that_is_intended() {
    let rules = line().carriers;
    let mut runner = TestRunner::deterministic();
    let mut met = BTreeSet::new();
    for carrier in &rules.carriers {
        for pattern in &carrier.patterns {
            for text in samples(pattern, 300, &mut runner) {
                let found = identify(&rules, &Reading::from_text(&text));
                assert!(found.valid, "{}: {text} of {}: {found:?}", carrier.code, pattern.regex);
                assert!(found.carriers.contains(&carrier.code), "{}: {text}: {found:?}", carrier.code);
                for (at, one) in found.carriers.iter().enumerate() {
                    for other in &found.carriers[..at] {
                        let mut pair = [one.as_str(), other.as_str()];
                        pair.sort_unstable();
                        assert!(SHARED.contains(&pair), "{text} is of {pair:?}, which nobody intended");
                        met.insert(pair.map(str::to_owned));
                    }
                }
            }
        }
    }
    let met: Vec<[&str; 2]> = met.iter().map(|pair| [pair[0].as_str(), pair[1].as_str()]).collect();
    assert_eq!(met, SHARED, "what is listed as shared is shared");
}

#[test]
fn a_wrong_check_digit_is_nobody_s_number_of_that_shape() {
    let rules = line().carriers;
    let mut runner = TestRunner::deterministic();
    let mut tried = 0;
    for carrier in &rules.carriers {
        for pattern in carrier.patterns.iter().filter(|pattern| pattern.check != CheckRule::None) {
            for text in samples(pattern, 20, &mut runner) {
                // Every digit of the number moved by one, in turn; S10 lets one slip in a hundred pass.
                let end = text.len() - 1;
                let last = text.rfind(|c: char| c.is_ascii_digit()).unwrap_or(end);
                let digit = text.as_bytes()[last];
                let moved = char::from(b'0' + (digit - b'0' + 1) % 10).to_string();
                let mut wrong = text.clone();
                wrong.replace_range(last..=last, &moved);
                let found = identify(&rules, &Reading::from_text(&wrong));
                assert!(!found.carriers.contains(&carrier.code), "{}: {wrong} {found:?}", carrier.code);
                tried += 1;
            }
        }
    }
    assert!(tried > 500, "{tried}");
}

#[test]
fn the_table_has_the_carriers_of_the_trade_and_the_demo_has_the_same() {
    let site = line();
    let wanted = [
        "KERRY",
        "JT",
        "FLASH",
        "NINJA",
        "THPOST",
        "VNPOST",
        "POSLAJU",
        "LIONPARCEL",
        "JPPOST",
        "USPS",
        "UPS",
        "FEDEX",
        "DHL",
        "DHLEC",
        "DHLPARCEL",
        "DPD",
        "RMAIL",
        "DEPOST",
        "LAPOSTE",
        "CORREOS",
        "POSTEIT",
        "YUN",
        "4PX",
    ];
    for code in wanted {
        let carrier = site.carrier_table.get(code).unwrap_or_else(|| panic!("{code} is missing"));
        assert!(carrier.limits.weight_g.is_some() && carrier.bag.is_some(), "{code}");
        for service in &carrier.services {
            assert!(carrier.next_cut_off(0, Some(service)).is_some(), "{code} {service}");
        }
        assert_ne!(carrier.dangerous_goods, Some(true), "{code}: a permission is for a contract to give");
    }
    let countries: BTreeSet<&str> =
        site.carrier_table.iter().flat_map(|carrier| carrier.countries.iter().map(String::as_str)).collect();
    assert!(countries.len() >= 20, "{countries:?}");
    let text = |name| std::fs::read_to_string(shipped(name).join("carriers.toml")).unwrap();
    assert_eq!(text("demo"), text("line"));
}

#[test]
fn every_destination_of_the_shipped_plans_is_one_that_its_carrier_serves() {
    for name in ["demo", "line"] {
        let site = load(&shipped(name)).unwrap().0;
        for destination in site.plan.routes.keys() {
            let parts: Vec<&str> = destination.split('-').collect();
            let carrier = site.carrier_table.get(parts[1]).unwrap_or_else(|| panic!("{destination}"));
            let facts = Facts { country: Some(parts[0]), service: Some(parts[2]), ..Facts::default() };
            let refused = carrier.permits(&facts).expect_err("dangerous goods are not declared");
            assert_eq!(refused.missing(), Some(Fact::DangerousGoods), "{destination}: {refused}");
            assert!(parts[2] != "COD" || !carrier.cod.is_empty(), "{destination}");
        }
    }
}

#[test]
fn a_carrier_arrives_as_it_is_written() {
    let site = line();
    let flash = site.carrier_table.get("FLASH").unwrap();
    assert_eq!(flash.limits.weight_g, Some((1, 50_000)));
    assert_eq!(
        (flash.limits.longest_mm, flash.limits.sum_mm, flash.limits.girth_mm),
        (Some(1_500), Some(2_800), None)
    );
    assert_eq!(
        flash.cod[0],
        CodRange { currency: "THB".to_owned(), least_minor: 100, most_minor: 5_000_000 }
    );
    let bag = Bag { parcels: Some(40), weight_g: Some(50_000), receptacle: Receptacle::Sscc };
    assert_eq!((flash.bag, flash.dangerous_goods), (Some(bag), Some(false)));
    assert_eq!(site.carrier_table.get("UPS").unwrap().dangerous_goods, None);
    assert_eq!(site.carrier_table.get("THPOST").unwrap().bag.unwrap().receptacle, Receptacle::UpuS9);
    // Friday 2026-11-20, 17:30 in Shanghai, is the cut-off of the day; the night's is 01:30 on Saturday.
    let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_microsecond();
    let cut_off = flash.next_cut_off(at("2026-11-20T09:29:59Z"), Some("COD")).unwrap();
    assert_eq!((cut_off.wave.name.as_str(), cut_off.cut_off_us), ("day", at("2026-11-20T09:30:00Z")));
    let cut_off = flash.next_cut_off(at("2026-11-20T09:30:00Z"), Some("COD")).unwrap();
    assert_eq!((cut_off.wave.name.as_str(), cut_off.cut_off_us), ("night", at("2026-11-20T17:30:00Z")));
}

/// A carrier to break: appended to the demo's, so that nothing else changes.
const ONE: &str = r#"
[[carrier]]
code = "ONE"
name = "One"
countries = ["TH"]
services = ["STD", "EXP"]
dangerous-goods = false
time-zone = "Asia/Shanghai"

[[carrier.pattern]]
regex = 'ONE[0-9]{8}'
check = "none"
published = false

[carrier.limits]
weight-g = [100, 20000]
longest-mm = 1000
second-mm = 800
sum-mm = 2000
girth-mm = 3000
least-mm = [105, 148]

[[carrier.cod]]
currency = "THB"
minor = [100, 5000000]

[carrier.bag]
parcels = 40
weight-g = 25000
receptacle = "sscc"

[[carrier.wave]]
name = "day"
days = ["mon", "tue"]
opens = "06:00"
cut-off = "17:30"

[[carrier.wave]]
name = "night"
days = ["mon", "tue"]
opens = "17:30"
cut-off = "02:00"
"#;

/// The demo with the carrier changed so.
fn changed(from: &str, to: &str) -> Copy {
    assert!(ONE.contains(from), "the carrier has no {from:?}");
    let copy = Copy::new();
    copy.write("carriers.toml", format!("{}{}", copy.text("carriers.toml"), ONE.replacen(from, to, 1)));
    copy
}

#[test]
fn every_mistake_has_its_error_at_its_place() {
    let copy = changed("", "");
    assert_eq!(copy.warnings(), []);
    const ZONE: &str = "time-zone = \"Asia/Shanghai\"\n";
    const DAYS: &str = "days = [\"mon\", \"tue\"]";
    const MINOR: &str = "minor = [100, 5000000]\n";
    const TWICE: &str = "minor = [1, 9]\n\n[[carrier.cod]]\ncurrency = \"THB\"\nminor = [1, 2]\n";
    // What is written, what instead; the line that the error is to name, by what it begins with (the last such),
    // and its column; what it says.
    let cases: &[(&str, &str, &str, u32, &str)] = &[
        (ZONE, "", "[[carrier.wave]]\nname = \"day\"", 1, "the carrier no time zone"),
        (ZONE, "time-zone = \"Asia/Shangai\"\n", "time-zone", 13, "no known time zone"),
        (
            "opens = \"17:30\"",
            "opens = \"17:29\"",
            "opens",
            9,
            "overlaps \"day\": both are open on mon at 17:29",
        ),
        ("\"02:00\"", "\"06:01\"", "opens", 9, "\"night\" overlaps \"day\": both are open on tue at 06:00"),
        ("\"02:00\"", "\"26:00\"", "cut-off", 11, "no time of day"),
        ("opens = \"17:30\"\n", "", "[[carrier.wave]]", 1, "the key `opens` is missing"),
        ("cut-off = \"02:00\"\n", "", "[[carrier.wave]]", 1, "the key `cut-off` is missing"),
        ("\"night\"", "\"day\"", "name", 8, "the wave \"day\" stands twice"),
        (DAYS, "days = [\"mon\", \"mon\"]", "days = [\"mon\", \"mon\"]", 16, "the day mon stands twice"),
        (DAYS, "days = []", "days = []", 8, "`days` is empty"),
        (DAYS, "days = [\"monday\"]", "days = [\"monday\"]", 9, "\"monday\" is no day"),
        ("\"02:00\"", "\"02:00\"\nservices = [\"EXPR\"]", "services", 13, "no service EXPR"),
        ("[\"STD\", \"EXP\"]", "[\"STD\", \"STD\"]", "services", 20, "the service STD stands twice"),
        ("[\"STD\", \"EXP\"]", "[\"std\"]", "services", 13, "small letters"),
        ("[\"TH\"]", "[\"TX\"]", "countries", 14, "assigned to no country"),
        ("\"THB\"", "\"THX\"", "currency", 12, "no currency in use"),
        (MINOR, "minor = [5000000, 100]\n", "minor", 9, "before it begins"),
        (MINOR, "minor = [0, 5000000]\n", "minor", 10, "out of its range"),
        (MINOR, TWICE, "currency", 12, "the currency THB stands twice"),
        ("weight-g = [100, 20000]", "weight-g = [20000, 100]", "weight-g = [", 12, "before it begins"),
        (
            "second-mm = 800",
            "second-mm = 1001",
            "second-mm",
            13,
            "more than the longest side may be, 1000 mm",
        ),
        (
            "1000\nsecond-mm = 800",
            "147\nsecond-mm = 110",
            "longest-mm",
            14,
            "no parcel has both `longest-mm` 147",
        ),
        ("second-mm = 800", "second-mm = 104", "second-mm", 13, "no parcel has both `second-mm` 104"),
        ("sum-mm = 2000", "sum-mm = 200", "sum-mm", 10, "no parcel has both `sum-mm` 200"),
        ("girth-mm = 3000", "girth-mm = 300", "girth-mm", 12, "no parcel has both `girth-mm` 300"),
        ("weight-g = 25000", "weight-g = 25", "weight-g = 25", 12, "less than the lightest parcel, 100 g"),
        ("\"sscc\"", "\"s10\"", "receptacle", 14, "`receptacle` is \"s10\""),
        ("goods = false", "goods = \"no\"", "dangerous-goods", 19, "`dangerous-goods` is a text"),
        ("'ONE[0-9]{8}'", "'ONE(?<n>[0-9]{8})'", "regex", 9, "a group `n`"),
    ];
    for (from, to, at, column, says) in cases {
        let copy = changed(from, to);
        let text = copy.text("carriers.toml");
        let line = text[..text.rfind(&format!("\n{at}")).unwrap()].matches('\n').count() + 2;
        let errors = copy.errors();
        assert_eq!(errors.len(), 1, "{from:?} → {to:?}: {errors:#?}");
        let error = &errors[0];
        assert!(error.message.contains(says), "{to:?}: {error:#?}");
        let place = (file_name(error), error.line as usize, error.column);
        assert_eq!(place, ("carriers.toml", line, *column), "{to:?}: {error:#?}");
        assert!(!error.remedy.is_empty() && !error.expected.is_empty(), "{error:#?}");
    }
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let mut cases: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    cases.insert("said to be published", ("published = false", "published = true"));
    cases.insert("fit none", ("weight-g = 25000", "weight-g = 19999"));
    cases.insert("no currency that is collected", ("[\"STD\", \"EXP\"]", "[\"STD\", \"COD\"]"));
    let cod = "[[carrier.cod]]\ncurrency = \"THB\"\nminor = [100, 5000000]\n";
    for (says, (from, to)) in cases {
        let copy = changed(from, to);
        if says.contains("currency") {
            let text = copy.text("carriers.toml");
            let (head, one) = text.split_at(text.rfind("[[carrier]]\ncode = \"ONE\"").unwrap());
            copy.write("carriers.toml", format!("{head}{}", one.replacen(cod, "", 1)));
        }
        let warnings = copy.warnings();
        assert!(warnings.len() == 1 && warnings[0].message.contains(says), "{says}: {warnings:#?}");
    }
    // Waves for one service leave the other without a cut-off.
    let copy = changed("cut-off = \"17:30\"", "cut-off = \"17:30\"\nservices = [\"STD\"]");
    assert_eq!(copy.warnings(), [], "the night takes every service");
    let text = copy
        .text("carriers.toml")
        .replace("cut-off = \"02:00\"\n", "cut-off = \"02:00\"\nservices = [\"STD\"]\n");
    copy.write("carriers.toml", text);
    let warnings = copy.warnings();
    assert!(warnings.len() == 1 && warnings[0].message.contains("service EXP"), "{warnings:#?}");
}
