//! The room as a whole: each family through [`identify`], what is scanned against what is ordered, and the
//! verdict.

use proptest::prelude::*;

use super::carrier::tests::carrier;
use super::*;

/// SSCC used throughout, its EPC on a tag and every other way it is written.
const SSCC_FORMS: [&str; 10] = [
    "106141412345678908",
    "1 0614141 234567890 8",
    "(00)106141412345678908",
    "(00) 1 0614141 234567890 8",
    "00106141412345678908",
    "00 1 0614141 234567890 8",
    "]C100106141412345678908\u{1D}42012345",
    "3174257BF4499602D2000000",
    "urn:epc:id:sscc:0614141.1234567890",
    "urn:epc:tag:sscc-96:3.0614141.1234567890",
];

const SGTIN_FORMS: [&str; 9] = [
    "(01)80614141123458(21)6789",
    "(01) 80614141123458 (10) LOT (21) 6789",
    "]d2018061414112345810LOT<GS>216789",
    "01806141411234581725010121\u{36}789",
    "<FNC1>0180614141123458216789",
    "3074257BF7194E4000001A85",
    "3074257bf7194e4000001a85",
    "urn:epc:id:sgtin:0614141.812345.6789",
    "https://id.gs1.org/01/80614141123458/21/6789",
];

fn rules() -> CarrierRules {
    CarrierRules {
        carriers: vec![
            carrier("KERRY-TH", &[("KEX[0-9]{10}", CheckRule::None), ("[0-9]{12}", CheckRule::None)]),
            carrier("FEDEX", &[("[0-9]{12}", CheckRule::Fedex12)]),
            carrier(
                "USPS",
                &[
                    ("(?:420[0-9]{5}(?:[0-9]{4})?)?(?<number>9[1-5][0-9]{20})", CheckRule::Mod10),
                    ("[A-Z]{2}[0-9]{9}US", CheckRule::S10),
                ],
            ),
            carrier("UPS", &[("1Z[0-9A-Z]{15}[0-9]", CheckRule::Ups)]),
        ],
    }
}

fn typed(code: &str) -> Identification {
    identify(&rules(), &Reading::from_text(code))
}

fn barcode(aim: &str, text: &str) -> Identification {
    let aim = aim.as_bytes();
    let reading = Reading::Barcode { aim: Some(Aim(aim[0], aim[1])), text: text.to_owned() };
    identify(&rules(), &reading)
}

fn key(found: &Identification) -> Option<&str> {
    found.key.as_ref().map(|key| key.0.as_str())
}

fn ordered(code: &str) -> String {
    key_of_order_code(&rules(), code).unwrap().0
}

#[test]
fn every_form_of_one_number_has_one_key_scanned_or_ordered() {
    for (forms, expected) in
        [(&SSCC_FORMS[..], "sscc:106141412345678908"), (&SGTIN_FORMS[..], "sgtin:80614141123458.6789")]
    {
        for form in forms {
            let found = typed(form);
            assert_eq!((key(&found), found.valid), (Some(expected), true), "{form}: {:?}", found.reason);
            assert!(found.stands_alone && found.uri.is_some() && found.reason.is_none(), "{form}");
            assert_eq!(ordered(form), expected, "{form}");
        }
    }
    let tag = Reading::Tag { epc: epc::bytes_of_hex("3174257BF4499602D2000000").unwrap().to_vec() };
    let found = identify(&rules(), &tag);
    assert_eq!((found.kind, key(&found)), (Kind::Epc, Some("sscc:106141412345678908")));
    assert_eq!(found.input, "3174257BF4499602D2000000");
    assert_eq!(found.uri.as_deref(), Some("urn:epc:id:sscc:0614141.1234567890"));
}

#[test]
fn a_bare_number_has_the_same_key_under_every_free_symbology() {
    let texts = [
        "106141412345678908",
        "00106141412345678908",
        "RB123456785GB",
        "986578788855",
        "6901234567892",
        "hello world",
        "3074257BF7194E4000001A85",
        "3500E86F8000A9E000000586",
        "420902459261290336128704042634",
    ];
    for text in texts {
        let expected = ordered(text);
        for aim in ["C0", "A0", "I1", "Q1", "d1", "L2"] {
            assert_eq!(key(&barcode(aim, text)), Some(expected.as_str()), "]{aim}{text}");
        }
    }
}

#[test]
fn an_s10_item_names_its_country() {
    let found = typed("rb 123 456 785 gb");
    assert_eq!((found.kind, key(&found)), (Kind::S10, Some("s10:RB123456785GB")));
    assert_eq!((found.check, found.country.as_deref()), (Some(true), Some("GB")));
    assert!(found.carriers.is_empty() && found.uri.is_none());
    let found = typed("LZ473124829US");
    assert_eq!((found.kind, found.carriers), (Kind::S10, vec!["USPS".to_owned()]));

    let wrong = typed("RB123456786GB");
    assert_eq!((wrong.kind, wrong.valid, wrong.check), (Kind::S10, false, Some(false)));
    let nowhere = typed("RB123456785ZZ");
    assert_eq!((nowhere.valid, nowhere.check, nowhere.country), (false, Some(true), None));
}

#[test]
fn a_carrier_that_uses_the_shape_of_s10_without_its_check_digit_is_a_carrier() {
    let rules = CarrierRules { carriers: vec![carrier("POST", &[("RB[0-9]{9}GB", CheckRule::None)])] };
    let found = identify(&rules, &Reading::from_text("RB123456786GB"));
    assert_eq!((found.kind, key(&found), found.valid), (Kind::Carrier, Some("wb:RB123456786GB"), true));
}

#[test]
fn carriers_are_named_and_doubt_is_said() {
    let kerry = typed("KEX0123456789");
    assert_eq!((kerry.kind, kerry.check, key(&kerry)), (Kind::Carrier, None, Some("wb:KEX0123456789")));
    assert_eq!(kerry.carriers, ["KERRY-TH"]);
    let both = typed("986578788855");
    assert_eq!(both.carriers, ["KERRY-TH", "FEDEX"]);
    assert!(both.valid && both.reason.unwrap().contains("KERRY-TH and FEDEX"));
    let ups = typed("1Z 5R8939 03 5756 712 7");
    assert_eq!((ups.check, key(&ups)), (Some(true), Some("wb:1Z5R89390357567127")));
    let wrong = typed("1Z5R89390357567128");
    assert_eq!((wrong.kind, wrong.valid, wrong.check), (Kind::Carrier, false, Some(false)));
    assert!(wrong.reason.unwrap().contains("UPS") && !wrong.stands_alone);
}

#[test]
fn usps_numbers_meet_with_and_without_routing_and_in_gs1_128() {
    let expected = Some("wb:9261290336128704042634");
    for form in [
        "9261290336128704042634",
        "420902459261290336128704042634",
        "420 90245 9261 2903 3612 8704 0426 34",
        "]C142090245<GS>9261290336128704042634",
        "(420)90245(92)61290336128704042634",
    ] {
        let found = typed(form);
        assert_eq!((key(&found), found.kind), (expected, Kind::Carrier), "{form}");
        assert_eq!((found.carriers, found.check), (vec!["USPS".to_owned()], Some(true)), "{form}");
    }
    // Without the carrier configured, an order for that number still finds it.
    let none = CarrierRules::default();
    let found = identify(&none, &Reading::from_text("]C142090245<GS>9261290336128704042634"));
    assert_eq!((key(&found), found.valid, found.stands_alone), (expected, true, false));
    assert_eq!(key_of_order_code(&none, "9261290336128704042634").ok(), found.key);
}

#[test]
fn goods_are_no_parcel() {
    for (aim, text) in [("E0", "6901234567892"), ("E4", "96385074"), ("C1", "018061414112345810LOT")] {
        let found = barcode(aim, text);
        assert_eq!((found.kind, found.valid, found.check), (Kind::Gs1, true, Some(true)), "{text}");
        assert_eq!((found.stands_alone, found.key), (false, None), "{text}");
        assert!(found.reason.unwrap().contains("goods"));
    }
    assert!(!barcode("E0", "6901234567893").valid);
    assert!(!barcode("E0", "KEX0123456789").valid, "an EAN symbol holds a GTIN and nothing else");
    assert!(key_of_order_code(&rules(), "(01)80614141123458").unwrap_err().reason.contains("goods"));
    // Without symbology it may be a waybill: an order binds it, nothing else does.
    let found = typed("6901234567892");
    assert_eq!((found.kind, found.valid, found.stands_alone), (Kind::Gs1, true, false));
    assert_eq!(key(&found), Some("wb:6901234567892"));
    assert_eq!(barcode("C0", "6901234567892").kind, Kind::Unknown, "no GTIN in Code 128");
}

#[test]
fn a_gs1_symbol_holds_gs1_and_nothing_else() {
    let found = barcode("C1", "KEX0123456789");
    assert_eq!((found.kind, found.valid, found.stands_alone), (Kind::Gs1, false, false));
    assert_eq!(found.key, typed("KEX0123456789").key, "an order that holds this text still meets it");
    let found = barcode("d2", "00106141412345678909");
    assert_eq!((found.valid, found.check), (false, Some(false)));
    assert!(found.reason.unwrap().contains("should be 8, is 9"));
    let found = barcode("Q3", "10LOT\u{1D}3701");
    assert_eq!((found.valid, found.key), (true, None));
    let link = typed("https://id.gs1.org/00/106141412345678908");
    assert_eq!(link.key, typed("106141412345678908").key);
}

#[test]
fn eighteen_digits_of_a_carrier_claim_no_gs1_uri_but_meet_the_sscc() {
    let rules = CarrierRules { carriers: vec![carrier("X", &[("[0-9]{18}", CheckRule::None)])] };
    let found = identify(&rules, &Reading::from_text("106141412345678908"));
    assert_eq!((found.kind, found.uri.clone()), (Kind::Carrier, None));
    assert_eq!(key(&found), Some("sscc:106141412345678908"));
    let wrong = typed("106141412345678909");
    assert_eq!((wrong.kind, wrong.valid, wrong.check), (Kind::Gs1, false, Some(false)));
    assert_eq!(key(&wrong), Some("wb:106141412345678909"));
}

#[test]
fn what_is_unknown_says_so() {
    let found = typed(" some text ");
    assert_eq!((found.kind, found.valid, found.stands_alone), (Kind::Unknown, false, false));
    assert_eq!(key(&found), Some("wb:SOMETEXT"));
    for (text, part) in [
        ("", "empty"),
        ("   ", "empty"),
        ("运单号", "printable ASCII"),
        (&"A".repeat(text::WAYBILL_MOST + 1), "64"),
        (&"A".repeat(text::TEXT_MOST + 1), "longer than"),
        ("urn:epc:id:giai:0614141.1", "scheme"),
    ] {
        let found = typed(text);
        assert_eq!((found.valid, found.key), (false, None), "{text}");
        assert!(found.reason.as_ref().unwrap().contains(part), "{text}: {:?}", found.reason);
        assert!(found.input.len() <= text::TEXT_MOST);
    }
}

#[test]
fn a_tag_of_another_scheme_waits_for_an_order() {
    let hex = "3500E86F8000A9E000000586";
    let tag = Reading::Tag { epc: epc::bytes_of_hex(hex).unwrap().to_vec() };
    let found = identify(&rules(), &tag);
    assert_eq!((found.kind, found.valid, found.stands_alone), (Kind::Epc, false, false));
    assert!(found.reason.as_ref().unwrap().contains("GID-96"));
    assert_eq!(key(&found).unwrap(), ordered(&hex.to_lowercase()));
    assert_eq!(typed(hex).kind, Kind::Epc);
    let blank = identify(&rules(), &Reading::Tag { epc: vec![0; 12] });
    assert_eq!(blank.key, None);
}

#[test]
fn keys_have_one_digital_link() {
    assert_eq!(
        Key::sscc("106141412345678908").digital_link().unwrap(),
        "https://id.gs1.org/00/106141412345678908"
    );
    assert_eq!(
        Key::sgtin("80614141123458", "a/b.c").digital_link().unwrap(),
        "https://id.gs1.org/01/80614141123458/21/a%2Fb.c"
    );
    assert_eq!(Key::s10("RB123456785GB").digital_link(), None);
}

// ---- verdicts

/// Orders of the tests: which key is bound to which.
fn none(_: &Key) -> Option<u64> {
    None
}

fn readings(codes: &[&str]) -> Vec<Identification> {
    codes.iter().map(|code| typed(code)).collect()
}

fn identity_of(verdict: &Verdict) -> Option<&str> {
    match verdict {
        Verdict::Identity { key, .. } => Some(&key.0),
        Verdict::NoRead | Verdict::MultiRead(_) | Verdict::Ambiguous(..) => None,
    }
}

/// Orders as (code, order number) pairs.
fn orders(bound: &[(&str, u64)]) -> impl Fn(&Key) -> Option<u64> + use<> {
    let bound: Vec<(String, u64)> = bound.iter().map(|(code, order)| (ordered(code), *order)).collect();
    move |key| bound.iter().find(|(bound, _)| *bound == key.0).map(|(_, order)| *order)
}

#[test]
fn nothing_usable_is_a_no_read() {
    assert_eq!(verdict(&[], none), Verdict::NoRead);
    let useless = ["hello", "RB123456786GB", "6901234567892", "]E06901234567892", "3500E86F8000A9E000000586"];
    assert_eq!(verdict(&readings(&useless), none), Verdict::NoRead);
}

#[test]
fn one_parcel_read_many_times_is_one() {
    let all = readings(&SSCC_FORMS);
    let expected = Verdict::Identity {
        key: Key::sscc("106141412345678908"),
        uri: Some("urn:epc:id:sscc:0614141.1234567890".to_owned()),
        carrier: None,
    };
    assert_eq!(verdict(&all, none), expected);
    let with_noise = readings(&["]E06901234567892", "106141412345678908", "hello", "RB123456786GB"]);
    assert_eq!(identity_of(&verdict(&with_noise, none)), Some("sscc:106141412345678908"));
}

#[test]
fn two_parcels_are_a_multi_read_until_one_order_binds_both() {
    let codes = ["106141412345678908", "RB123456785GB"];
    let two = readings(&codes);
    let keys = vec![Key::s10("RB123456785GB"), Key::sscc("106141412345678908")];
    assert_eq!(verdict(&two, none), Verdict::MultiRead(keys.clone()));
    for code in codes {
        // The other may be a second parcel's, whose order is not known.
        assert_eq!(verdict(&two, orders(&[(code, 1)])), Verdict::MultiRead(keys.clone()));
    }
    let one_order = orders(&[(codes[0], 1), (codes[1], 1)]);
    assert_eq!(identity_of(&verdict(&two, one_order)), Some("s10:RB123456785GB"), "what the label says");
    let two_orders = orders(&[(codes[0], 1), (codes[1], 2)]);
    assert_eq!(verdict(&two, two_orders), Verdict::MultiRead(keys));
}

#[test]
fn a_number_of_two_carriers_is_ambiguous_until_an_order_binds_it() {
    let read = readings(&["986578788855"]);
    let key = Key("wb:986578788855".to_owned());
    let carriers = vec!["FEDEX".to_owned(), "KERRY-TH".to_owned()];
    assert_eq!(verdict(&read, none), Verdict::Ambiguous(key.clone(), carriers));
    let bound = verdict(&read, orders(&[("986578788855", 7)]));
    assert_eq!(bound, Verdict::Identity { key, uri: None, carrier: None });
}

#[test]
fn an_order_binds_texts_that_mean_nothing_by_themselves() {
    for code in ["hello", "6901234567892", "RB123456786GB", "3500E86F8000A9E000000586"] {
        // Beside it a text of no family, an article's number and the tag of goods in the parcel.
        let read = readings(&[code, "SHELF 12", "4006381333931", "3074257BF7194E4000001A85"]);
        let found = verdict(&read, orders(&[(code, 3)]));
        assert_eq!(identity_of(&found), Some(ordered(code).as_str()), "{code}");
        let read = readings(&[code, "KEX0123456789"]);
        assert!(matches!(verdict(&read, orders(&[(code, 3)])), Verdict::MultiRead(_)), "{code}");
    }
}

#[test]
fn the_carrier_is_told_where_exactly_one_fits() {
    let read = readings(&["KEX0123456789"]);
    let key = Key("wb:KEX0123456789".to_owned());
    assert_eq!(
        verdict(&read, none),
        Verdict::Identity { key, uri: None, carrier: Some("KERRY-TH".to_owned()) }
    );
}

/// Codes that a tunnel may see together; several of them are one parcel.
const POOL: [&str; 14] = [
    "106141412345678908",
    "]C100106141412345678908",
    "3174257BF4499602D2000000",
    "3074257BF7194E4000001A85",
    "(01)80614141123458(21)6789",
    "RB123456785GB",
    "RB123456786GB",
    "986578788855",
    "996578788855",
    "KEX0123456789",
    "]E06901234567892",
    "6901234567892",
    "hello",
    "1Z5R89390357567128",
];

proptest! {
    #[test]
    fn the_verdict_does_not_depend_on_the_order_or_number_of_readings(
        codes in proptest::collection::vec(proptest::sample::select(&POOL[..]), 0..7)
            .prop_flat_map(|codes| (Just(codes.clone()), Just(codes).prop_shuffle())),
        bound in proptest::collection::vec((proptest::sample::select(&POOL[..]), 0..3u64), 0..4),
    ) {
        let (codes, shuffled) = codes;
        let bound: Vec<(&str, u64)> =
            bound.into_iter().filter(|(code, _)| key_of_order_code(&rules(), code).is_ok()).collect();
        let expected = verdict(&readings(&codes), orders(&bound));
        prop_assert_eq!(&verdict(&readings(&shuffled), orders(&bound)), &expected);
        let twice: Vec<&str> = shuffled.iter().chain(&codes).copied().collect();
        prop_assert_eq!(&verdict(&readings(&twice), orders(&bound)), &expected);
    }

    #[test]
    fn the_verdict_keeps_its_rules(
        codes in proptest::collection::vec(proptest::sample::select(&POOL[..]), 0..7),
        bound in proptest::collection::vec((proptest::sample::select(&POOL[..]), 0..3u64), 0..4),
    ) {
        let bound: Vec<(&str, u64)> =
            bound.into_iter().filter(|(code, _)| key_of_order_code(&rules(), code).is_ok()).collect();
        let order_of = orders(&bound);
        let read = readings(&codes);
        let keys: std::collections::BTreeSet<&Key> = read.iter().filter_map(|r| r.key.as_ref()).collect();
        let found: std::collections::BTreeSet<u64> = keys.iter().filter_map(|key| order_of(key)).collect();
        let alone: std::collections::BTreeSet<&Key> =
            read.iter().filter(|r| r.stands_alone).filter_map(|r| r.key.as_ref()).collect();
        let strangers =
            alone.iter().filter(|key| order_of(key).is_none() && !key.0.starts_with("sgtin:")).count();
        match verdict(&read, &order_of) {
            Verdict::Identity { key, .. } if found.len() == 1 => {
                prop_assert!(order_of(&key).is_some() && strangers == 0);
            }
            Verdict::Identity { key, .. } => {
                prop_assert!(found.is_empty());
                prop_assert!(alone.len() == 1 && alone.contains(&key));
            }
            Verdict::NoRead => prop_assert!(found.is_empty() && alone.is_empty()),
            Verdict::MultiRead(keys) => {
                prop_assert!(keys.len() > 1);
                let right = match found.len() {
                    0 => keys.len() == alone.len(),
                    1 => strangers > 0,
                    _ => true,
                };
                prop_assert!(right);
            }
            Verdict::Ambiguous(key, carriers) => {
                prop_assert!(found.is_empty() && carriers.len() > 1 && alone.contains(&key));
            }
        }
    }

    #[test]
    fn nothing_that_is_read_panics_and_what_stands_alone_is_sound(
        aim in proptest::option::of(any::<(u8, u8)>()),
        text in prop_oneof!["\\PC{0,80}", "[0-9()\u{1D}A-Z ]{0,60}", "(00|01|420|9[0-9])[0-9]{14,40}"],
    ) {
        let reading = Reading::Barcode { aim: aim.map(|(code, modifier)| Aim(code, modifier)), text };
        let found = identify(&rules(), &reading);
        prop_assert!(!found.stands_alone || (found.valid && found.key.is_some()));
        prop_assert!(found.valid || found.reason.is_some());
        prop_assert!(found.stands_alone || found.reason.is_some());
        prop_assert!(found.check != Some(false) || !found.valid);
    }

    #[test]
    fn no_tag_panics(epc in proptest::collection::vec(any::<u8>(), 0..70)) {
        let found = identify(&rules(), &Reading::Tag { epc });
        prop_assert_eq!(found.valid, found.stands_alone);
    }

    #[test]
    fn a_free_text_meets_the_order_that_holds_it(
        text in prop_oneof!["[ -~]{1,40}", "[0-9]{8,30}", "[0-9A-F]{24}", "[A-Z]{2}[0-9]{9}[A-Z]{2}"],
        modifier in proptest::sample::select(&["C0", "A0", "Q1", "d1"][..]),
    ) {
        // What a person types may begin with an AIM identifier or spell FNC1; a symbol holds neither.
        prop_assume!(!text.trim().starts_with(']') && !text.contains(['<', '{', '\\']));
        if let Ok(key) = key_of_order_code(&rules(), &text) {
            prop_assert_eq!(barcode(modifier, &text).key, Some(key));
        }
    }

    /// The short way to a key is only a shorter one.
    #[test]
    fn a_plain_text_has_the_key_that_identifying_it_finds(
        text in prop_oneof![
            "[ -~]{0,40}",
            "[0-9A-Za-z-]{0,70}",
            "[0-9]{8,30}",
            "[0-9]{12}",
            "[0-9A-Fa-f]{23,25}",
            "[A-Za-z]{2}[0-9]{9}[A-Z]{2}",
            "420[0-9]{5}9[1-5][0-9]{20}",
            "9[1-5][0-9]{20}",
            proptest::sample::select(
                &["106141412345678908", "RB123456785GB", "rb123456785gb", "9261290336128704042634",
                  "420902459261290336128704042634", "420902459261290336128704042635", "KEX1234567890"][..]
            ).prop_map(str::to_owned),
        ],
    ) {
        let shape = "(?:420[0-9]{5}(?:[0-9]{4})?)?(?<number>9[1-5][0-9]{20})";
        let mut parting = rules();
        parting.carriers.push(carrier("PARTING", &[(shape, CheckRule::Mod10)]));
        for rules in [rules(), parting, CarrierRules::default()] {
            let found = identify(&rules, &Reading::from_text(&text));
            prop_assert_eq!(key_of_order_code(&rules, &text).ok(), found.key);
        }
    }

    #[test]
    fn a_tag_meets_the_order_that_holds_its_hex(epc in proptest::array::uniform12(any::<u8>())) {
        let hex: String = epc.iter().map(|byte| format!("{byte:02x}")).collect();
        let found = identify(&CarrierRules::default(), &Reading::Tag { epc: epc.to_vec() });
        prop_assert_eq!(found.key, key_of_order_code(&CarrierRules::default(), &hex).ok());
    }
}
