//! The index finds what the plain definition finds; names and versions stay what they are.

use proptest::prelude::*;

use super::*;

/// `destination,country,postcode,carrier,service,customer,goods`.
pub(in crate::site) fn conditions(text: &str) -> Conditions {
    let columns: Vec<Option<String>> =
        text.split(',').map(|cell| (!cell.is_empty()).then(|| cell.to_owned())).collect();
    Conditions::of_columns(columns.try_into().expect("seven cells"))
}

fn plan(rows: &[(&str, u16)]) -> SortPlan {
    SortPlan::new(rows.iter().map(|(row, chute)| (conditions(row), vec![ChuteNo(*chute)])))
}

fn named(plan: &SortPlan, of: &str) -> Option<String> {
    plan.route_of(&conditions(of).traits()).map(|route| route.name.to_owned())
}

/// The definition: of all routes that fit, the most specific; among equals the one with the earlier columns.
pub(in crate::site) fn plainly<'a>(
    routes: impl Iterator<Item = &'a Conditions>,
    traits: &Traits<'_>,
) -> Option<&'a Conditions> {
    let fitting = routes.filter(|conditions| conditions.fit(traits));
    fitting.max_by_key(|conditions| (conditions.specificity(), conditions.mask().reverse_bits()))
}

#[test]
fn a_route_is_named_by_its_conditions() {
    for (row, name) in [
        ("TH-KERRY-STD,,,,,,", "TH-KERRY-STD"),
        (",TH,10,KERRY,STD,,", "TH/10*/KERRY/STD"),
        (",TH,,,,,", "TH/*"),
        ("TH,,,,,,", "TH"),
        (",TH,10,,,,", "TH/10*"),
        (",,,KERRY,,,", "*/*/KERRY"),
        (",,,,,acme,", "*/*/*/*/acme"),
        (",,,,acme,,", "*/*/*/acme"),
        (",,,,,,", "*/*"),
        ("TH,,,,K,,", "TH:*/*/*/K"),
        (",TH,,,K,,", "TH/*/*/K"),
        (",,,,,A/S *100%,", "*/*/*/*/A%2FS %2A100%25"),
    ] {
        assert_eq!(conditions(row).name(), name);
    }
}

#[test]
fn the_most_specific_route_takes_it() {
    let plan = plan(&[
        ("TH-KERRY-STD,,,,,,", 1),
        (",TH,,,,,", 2),
        (",TH,10,,,,", 3),
        (",TH,101,,,,", 4),
        (",TH,10,KERRY,STD,,", 5),
        (",,,KERRY,,,", 2),
        (",TH,,KERRY,,acme,", 6),
    ]);
    for (parcel, route) in [
        ("TH-KERRY-STD,TH,10110,KERRY,STD,acme,", Some("TH-KERRY-STD")),
        ("other,TH,10110,KERRY,STD,acme,", Some("TH/101*")),
        ("other,TH,10210,KERRY,STD,acme,", Some("TH/10*/KERRY/STD")),
        ("other,TH,10210,KERRY,EXP,acme,", Some("TH/10*")),
        ("other,TH,20000,KERRY,EXP,acme,", Some("TH/*/KERRY/*/acme")),
        ("other,TH,1,KERRY,,,", Some("TH/*")),
        ("other,MY,10110,KERRY,,,", Some("*/*/KERRY")),
        ("other,MY,10110,,,,", None),
        // An order that says nothing of a country has none that a row asks for.
        ("other,,10110,,,,", None),
        ("TH/*,,,,,,", None),
    ] {
        assert_eq!(named(&plan, parcel).as_deref(), route, "{parcel}");
    }
    let mut less = plan.clone();
    less.routes.remove("TH/101*");
    assert_eq!(named(&less, "other,TH,10110,KERRY,STD,,").as_deref(), Some("TH/10*/KERRY/STD"));
}

#[test]
fn postcodes_are_compared_without_blanks_hyphens_and_small_letters() {
    let plan = plan(&[(",GB,SW1A1,,,,", 1), (",JP,1000,,,,", 2)]);
    assert_eq!(named(&plan, "x,GB,sw1a 1aa,,,,").as_deref(), Some("GB/SW1A1*"));
    assert_eq!(named(&plan, "x,JP,100-0001,,,,").as_deref(), Some("JP/1000*"));
    assert_eq!(named(&plan, "x,JP,１００-0001,,,,"), None);
}

/// Frozen: a version stands in every record. The first is of the plan as it was before there were other columns.
#[test]
fn versions_are_frozen() {
    let by_destination = plan(&[("TH-KERRY-STD,,,,,,", 1), ("MY-JT-COD,,,,,,", 2)]);
    let table = [("MY-JT-COD", 2), ("TH-KERRY-STD", 1)];
    let routes = table.map(|(name, chute)| (name.to_owned(), vec![ChuteNo(chute)]));
    assert_eq!(by_destination.version, plan_version(&routes.into()));
    assert_eq!(by_destination.version, "034f28dd01fa5842");
    let wide = plan(&[("TH-KERRY-STD,,,,,,", 1), (",TH,10,KERRY,STD,,", 2)]);
    assert_eq!(wide.version, "971766729753c3b8");
}

#[test]
fn a_hundred_thousand_rows_are_a_handful_of_shapes() {
    let rows = (0..100_000_u32).map(|row| {
        let (country, carrier) = (format!("C{}", row % 50), format!("K{}", row % 7));
        let mut conditions =
            Conditions { country: Some(country), carrier: Some(carrier), ..Conditions::default() };
        match row % 3 {
            0 => conditions.postcode = Some(format!("{:05}", row / 3)),
            1 => conditions.postcode = Some(format!("{:04}", row / 3 % 10_000)),
            _ => conditions.customer = Some(format!("customer {row}")),
        }
        (conditions, vec![ChuteNo(1)])
    });
    let plan = SortPlan::new(rows);
    assert!(plan.routes.len() > 90_000);
    assert_eq!(plan.index.shapes.len(), 3);
}

/// Few values, so that rows and parcels meet; a postcode only beside a country, as the table demands.
fn rows() -> impl Strategy<Value = Conditions> {
    let cell = |values: &'static [&'static str]| prop_oneof![2 => Just(None), 1 => prop::sample::select(values).prop_map(|v| Some(v.to_owned()))];
    let country = cell(&["TH", "MY"]);
    let postcode = prop::option::of("[12]{1,3}");
    let rest = (cell(&["K", "J"]), cell(&["STD", "EXP"]), cell(&["a", "b"]), cell(&["x"]));
    let destination = prop_oneof![4 => Just(None), 1 => prop::sample::select(&["D", "E"][..]).prop_map(|v| Some(v.to_owned()))];
    (destination, country, postcode, rest).prop_map(
        |(destination, country, postcode, (carrier, service, customer, goods))| {
            let postcode = postcode.filter(|_| country.is_some());
            Conditions { destination, country, postcode, carrier, service, customer, goods }
        },
    )
}

/// A plan's rows, a chute each.
pub(in crate::site) fn plans() -> impl Strategy<Value = BTreeMap<Conditions, u16>> {
    prop::collection::btree_map(rows(), 1_u16..4, 0..12)
}

/// Parcels say some of it, with whole postcodes.
pub(in crate::site) fn parcels() -> impl Strategy<Value = Vec<Conditions>> {
    let parcel = (rows(), "[12]{3}").prop_map(|(row, postcode)| Conditions {
        postcode: row.country.as_ref().map(|_| postcode),
        destination: row.destination.or(Some("F".to_owned())),
        ..row
    });
    prop::collection::vec(parcel, 1..40)
}

proptest! {
    #[test]
    fn the_index_finds_what_the_definition_finds(plan in plans(), parcels in parcels()) {
        let indexed = SortPlan::new(plan.iter().map(|(row, chute)| (row.clone(), vec![ChuteNo(*chute)])));
        for parcel in &parcels {
            let traits = parcel.traits();
            let found = indexed.route_of(&traits);
            let defined = plainly(plan.keys(), &traits);
            prop_assert_eq!(found.map(|route| route.name.to_owned()), defined.map(Conditions::name));
            if let (Some(found), Some(defined)) = (found, defined) {
                prop_assert_eq!(found.chutes, &[ChuteNo(plan[defined])]);
            }
        }
    }

    #[test]
    fn different_conditions_have_different_names(a in rows(), b in rows()) {
        prop_assert_eq!(a == b, a.name() == b.name());
    }
}
