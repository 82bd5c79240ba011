//! Sort plans with other conditions than a destination: what the check says of them.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::site::finding::Notes;
use crate::site::plan::tests::{parcels, plainly, plans};
use crate::site::plan_rows;

const HEADER: &str = "destination,country,postcode,carrier,service,customer,goods,chute,priority\n";

/// All chutes of the demo are fed by its own destinations, which stay.
fn with_rows(rows: &str) -> Copy {
    let copy = Copy::new();
    let demo = copy.text("sort-plan.csv");
    let by_destination = demo.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).skip(1);
    let mut table = format!("{HEADER}{rows}");
    for line in by_destination {
        let (destination, rest) = line.split_once(',').unwrap();
        let _ = writeln!(table, "{destination},,,,,,,{rest}");
    }
    copy.write("sort-plan.csv", table);
    copy
}

fn told(findings: &[Finding]) -> Vec<(u32, u32, &str)> {
    findings.iter().map(|finding| (finding.line, finding.column, &*finding.message)).collect()
}

/// Frozen before there were other columns: what these plans decided stands in records under these versions.
#[test]
fn the_shipped_plans_keep_their_versions() {
    let version = |name| load(&shipped(name)).unwrap().0.plan.version;
    assert_eq!((&*version("demo"), &*version("line")), ("d9b27d83e0b825a4", "94af49001d26058f"));
}

#[test]
fn the_examples_of_the_documents_are_plans_without_a_fault() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let block = readme.split("```csv\n").nth(1).unwrap().split("```").next().unwrap().to_owned();
    let line = std::fs::read_to_string(shipped("line").join("sort-plan.csv")).unwrap();
    let comment: String =
        line.lines().filter_map(|line| line.strip_prefix("#   ")).flat_map(|row| [row, "\n"]).collect();
    for (table, routes) in [(block, 5), (comment, 4)] {
        assert!(table.starts_with(HEADER), "{table}");
        let mut notes = Notes::new(Path::new("."));
        notes.keep_text(crate::site::finding::File::Plan, table.clone());
        let rows = plan_rows::plan(&mut notes, &table).unwrap();
        assert_eq!(notes.sorted(), (Vec::new(), Vec::new()));
        assert_eq!(plan_rows::routes(&rows).len(), routes);
    }
}

#[test]
fn other_columns_left_empty_change_no_version() {
    let (demo, _) = load(&shipped("demo")).unwrap();
    let (wide, _) = with_rows("").load().unwrap();
    assert_eq!(wide.plan, demo.plan);
}

#[test]
fn rows_of_both_kinds_become_routes() {
    let copy = with_rows(",TH,10 1,KERRY,STD,,,3,2\n,TH,101,KERRY,STD,,,4,1\n,US,,,,\"A, B\",,5,1\n");
    let (site, _) = copy.load().unwrap();
    assert_eq!(site.plan.routes["TH/101*/KERRY/STD"], [ChuteNo(4), ChuteNo(3)]);
    assert_eq!(site.plan.routes["US/*/*/*/A, B"], [ChuteNo(5)]);
    assert_eq!((site.plan.routes.len(), site.plan.destinations().count()), (92, 90));
    assert_eq!(destinations(copy.0.path()).unwrap(), destinations(&shipped("demo")).unwrap());
    assert_eq!(plan_of(&copy.0.path().join("sort-plan.csv")).unwrap(), site.plan);
}

#[test]
fn equally_specific_rows_with_other_chutes_overlap_unless_a_row_settles_it() {
    let two = ",TH,,KERRY,,,,1,1\n,TH,,,,acme,,2,1\n";
    let errors = with_rows(two).errors();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    let Finding { line, column, message, remedy, .. } = &errors[0];
    assert_eq!((*line, *column, file_name(&errors[0])), (3, 2, "sort-plan.csv"));
    for part in ["TH/*/*/*/acme overlaps with TH/*/KERRY on line 2", "a parcel TH/*/KERRY/*/acme fits both"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(remedy.contains("add rows for TH/*/KERRY/*/acme"), "{remedy}");
    assert!(with_rows(&format!("{two},TH,,KERRY,,acme,,3,1\n")).load().is_ok());
    assert!(with_rows(&two.replace("2,1", "1,1")).load().is_ok(), "the same chutes");
    assert!(with_rows(",TH,1,KERRY,,,,1,1\n,TH,2,,,acme,,2,1\n").load().is_ok(), "no parcel fits both");
    let alone = plan_of(&with_rows(two).0.path().join("sort-plan.csv")).unwrap_err();
    assert_eq!(told(&alone), told(&errors), "a plan by itself is refused too");
}

#[test]
fn codes_that_nobody_knows_are_errors_with_the_nearest() {
    let errors = with_rows(",TH,,KERY,,,,1,1\n,XT,,,,,,1,1\n,th,,,,,,1,1\n").errors();
    let remedies: Vec<(u32, u32, &str)> =
        errors.iter().map(|error| (error.line, error.column, &*error.remedy)).collect();
    assert_eq!(remedies[0], (2, 6, "did you mean KERRY?"));
    assert_eq!((remedies[1].0, remedies[1].1), (3, 2));
    assert!(remedies[1].2.starts_with("look the country up in ISO 3166-1"), "{remedies:?}");
    assert_eq!(remedies[2], (4, 2, "write \"TH\""));
    assert_eq!(errors.len(), 3, "{errors:#?}");
}

#[test]
fn faulty_prefixes_are_errors() {
    let errors = with_rows(",TH,10*,,,,,1,1\n,,10,,,,,1,1\n,TH,12345678901,,,,,1,1\n").errors();
    assert_eq!(
        told(&errors),
        [
            (2, 5, "`postcode` \"10*\" is no prefix of a postcode"),
            (3, 3, "the postcode 10 has no country"),
            (4, 5, "`postcode` \"12345678901\" is no prefix of a postcode"),
        ]
    );
    assert_eq!(errors[0].remedy, "leave `*` out: 10");
}

#[test]
fn rows_that_nothing_reaches_and_countries_that_nothing_takes_are_warnings() {
    // No row has a country: nothing is said of countries.
    assert_eq!(with_rows(",,,KERRY,,,,1,1\n").warnings(), []);
    let warnings = with_rows(",MY,,KERRY,,,,1,1\n,AQ,,,,,,1,1\n").warnings();
    let in_plan: Vec<Finding> =
        warnings.iter().filter(|found| file_name(found) == "sort-plan.csv").cloned().collect();
    assert_eq!(
        told(&in_plan),
        [
            (2, 6, "no parcel reaches this row: KERRY does not deliver to MY"),
            (3, 2, "no parcel reaches this row: no carrier delivers to AQ"),
        ]
    );
    let copy = with_rows(",TH,,,,,,1,1\n");
    let line = copy.change("carriers.toml", "countries = [\"TH\"]", "countries = [\"TH\", \"LA\"]");
    let warnings = copy.warnings();
    let gap: Vec<&Finding> = warnings.iter().filter(|found| found.message.contains("LA,")).collect();
    assert_eq!((gap.len(), gap[0].line, file_name(gap[0])), (1, line, "carriers.toml"));
    let every = with_rows(",TH,,,,,,1,1\n,,,,,,,2,1\n").warnings();
    assert_eq!(every.len(), 1, "{every:#?}");
    assert!(every[0].message.contains("takes every parcel"), "{every:#?}");
}

#[test]
fn a_prefix_whose_every_next_digit_has_a_row_is_never_reached() {
    let ten: String = (0..10).map(|digit| format!(",TH,1{digit},,,,,1,1\n")).collect();
    let of_this = |copy: Copy| -> Vec<Finding> {
        let warnings = copy.warnings();
        warnings.into_iter().filter(|found| found.message.contains("each digit")).collect()
    };
    let found = of_this(with_rows(&format!(",TH,1,KERRY,,,,1,1\n{ten}")));
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].line, found[0].column), (2, 2));
    assert!(found[0].message.contains("TH/1*/KERRY"), "{found:?}");
    assert!(found[0].message.contains("the first is TH/10* on line 3"), "{found:?}");
    let nine = ten.replace(",TH,17,,,,,1,1\n", "");
    assert_eq!(of_this(with_rows(&format!(",TH,1,KERRY,,,,1,1\n{nine}"))), []);
    // Rows of one customer leave the others.
    let of_one = ten.replace(",,,,1,1", ",,acme,,1,1");
    assert_eq!(of_this(with_rows(&format!(",TH,1,KERRY,,,,1,1\n{of_one}"))), []);
}

#[test]
fn rows_without_a_chute_or_twice_name_their_route() {
    let errors = with_rows(",TH,10,,,,,,1\n,TH,20,,,,,1,1\n,TH,20,,,,,1,2\n").errors();
    assert_eq!(
        told(&errors),
        [
            (2, 12, "the route TH/10* has no chute"),
            (4, 12, "the chute 1 of TH/20* stands twice, first on line 3")
        ]
    );
}

proptest! {
    /// The check finds an overlap exactly where some parcel has two routes to choose from.
    #[test]
    fn an_accepted_plan_never_leaves_a_choice(plan in plans(), parcels in parcels()) {
        let mut table = HEADER.to_owned();
        for (row, chute) in &plan {
            let cells = row.columns().map(|cell| cell.unwrap_or_default().to_owned());
            // A row of commas alone would be none; its chute is there.
            let _ = writeln!(table, "{},{chute},1", cells.join(","));
        }
        let mut notes = Notes::new(Path::new("."));
        notes.keep_text(crate::site::finding::File::Plan, table.clone());
        plan_rows::plan(&mut notes, &table);
        let (errors, _) = notes.sorted();
        let overlaps: Vec<&Finding> = errors.iter().filter(|e| e.message.contains("overlaps")).collect();
        prop_assert_eq!(overlaps.len() + usize::from(plan.is_empty()), errors.len());
        let choice = |parcel: &Conditions| {
            let traits = parcel.traits();
            let Some(best) = plainly(plan.keys(), &traits) else { return false };
            let mut equal = plan.iter().filter(|(row, _)| {
                row.fit(&traits) && row.specificity() == best.specificity()
            });
            equal.any(|(_, chute)| *chute != plan[best])
        };
        // What fits two rows at least is where a choice would show.
        let mut suspects = parcels.clone();
        for a in plan.keys() {
            for b in plan.keys() {
                let mut both = a.columns().map(|cell| cell.map(str::to_owned));
                for (cell, other) in both.iter_mut().zip(b.columns()) {
                    *cell = cell.take().or(other.map(str::to_owned));
                }
                suspects.push(Conditions::of_columns(both));
            }
        }
        prop_assert_eq!(suspects.iter().any(choice), !overlaps.is_empty(), "{}", table);
    }
}
