//! What the rows of a sort plan do to each other: routes that meet, and rows that nothing reaches.
//!
//! Two routes *overlap* where they are equally specific, one parcel can fit both, and their chutes are not the same:
//! then the plan does not say where it goes, and nobody guesses. A more specific route that takes every such parcel
//! settles it; a row with the conditions of both always does.
//!
//! Of conditions that fit every parcel another route fits, none is more specific than its own. So a single row never
//! shadows another; ten do, one for each digit that may follow a postcode prefix.
//!
//! Equally specific conditions have prefixes of the same length, so that two that meet have the same one.

use std::collections::{BTreeMap, HashMap};

use super::ChuteNo;
use super::finding::{FINDINGS_PER_FILE, Notes, Spot};
use super::plan::{COLUMNS, Conditions, PREFIX_MAX, Specificity};
use super::plan_rows::PlanRow;

/// Pairs of routes that are compared at most: half a second. A plan in which more of them meet is one whose rows
/// should have more conditions.
const PAIRS_MOST: usize = 2_000_000;
/// Column of the postcode.
const POSTCODE: usize = 2;

/// Chutes with their priorities.
type Ranked = Vec<(u16, ChuteNo)>;
type Columns<'a> = [Option<&'a str>; COLUMNS];

/// A route and the row that names it first.
struct Met<'a> {
    conditions: &'a Conditions,
    place: &'a Spot,
    /// In order of priority; `None` where a row is faulty, so that it is not known.
    chutes: Option<Vec<ChuteNo>>,
}

/// Reports overlaps and rows that nothing reaches.
pub(super) fn check(notes: &mut Notes, rows: &[PlanRow]) {
    check_within(notes, rows, PAIRS_MOST);
}

fn check_within(notes: &mut Notes, rows: &[PlanRow], pairs_most: usize) {
    // A row whose conditions are faulty might settle what seems to overlap.
    if rows.iter().any(|row| row.conditions.is_none()) {
        return;
    }
    let mut ranked: BTreeMap<&Conditions, (&Spot, Option<Ranked>)> = BTreeMap::new();
    for row in rows {
        let Some(conditions) = &row.conditions else { continue };
        let (_, chutes) = ranked.entry(conditions).or_insert_with(|| (row.place(), Some(Vec::new())));
        match (&row.chute, &row.priority) {
            (Some((_, chute)), Some((_, priority))) => {
                if let Some(chutes) = chutes {
                    chutes.push((*priority, ChuteNo(*chute)));
                }
            }
            _ => *chutes = None,
        }
    }
    let routes: Vec<Met<'_>> = ranked
        .into_iter()
        .map(|(conditions, (place, chutes))| {
            let chutes = chutes.map(|mut chutes| {
                chutes.sort_unstable();
                chutes.into_iter().map(|(_, chute)| chute).collect()
            });
            Met { conditions, place, chutes }
        })
        .collect();
    let known: HashMap<Columns<'_>, usize> =
        routes.iter().enumerate().map(|(at, route)| (route.conditions.columns(), at)).collect();
    check_overlaps(notes, &routes, &known, pairs_most);
    check_shadows(notes, &routes, &known);
}

fn check_overlaps(
    notes: &mut Notes,
    routes: &[Met<'_>],
    known: &HashMap<Columns<'_>, usize>,
    pairs_most: usize,
) {
    let mut shapes: BTreeMap<(Specificity, u8), Vec<usize>> = BTreeMap::new();
    for (at, route) in routes.iter().enumerate() {
        shapes.entry((route.conditions.specificity(), route.conditions.mask())).or_default().push(at);
    }
    let (mut compared, mut found) = (0, 0);
    for ((specificity, mask), some) in &shapes {
        let behind = (std::ops::Bound::Excluded((*specificity, *mask)), std::ops::Bound::Unbounded);
        let equal = shapes.range(behind).take_while(|((other, _), _)| other == specificity);
        for ((_, other), others) in equal {
            let common = mask & other;
            let mut by_common: HashMap<Columns<'_>, Vec<usize>> = HashMap::new();
            for at in others {
                by_common.entry(only(routes[*at].conditions.columns(), common)).or_default().push(*at);
            }
            for a in some {
                let meets = by_common.get(&only(routes[*a].conditions.columns(), common));
                for b in meets.into_iter().flatten() {
                    compared += 1;
                    if compared > pairs_most {
                        too_many(notes, routes[*a].place, pairs_most);
                        return;
                    }
                    found += usize::from(check_pair(notes, &routes[*a], &routes[*b], known));
                    if found > FINDINGS_PER_FILE {
                        return;
                    }
                }
            }
        }
    }
}

/// Whether two routes that meet overlap, which is reported at the later one.
fn check_pair(notes: &mut Notes, a: &Met<'_>, b: &Met<'_>, known: &HashMap<Columns<'_>, usize>) -> bool {
    let (Some(to_a), Some(to_b)) = (&a.chutes, &b.chutes) else { return false };
    if to_a == to_b {
        return false;
    }
    let mut both = a.conditions.columns();
    for (column, other) in both.iter_mut().zip(b.conditions.columns()) {
        *column = column.or(other);
    }
    let at_least = a.conditions.specificity();
    let settles = |columns| known.contains_key(&columns) && of(columns).specificity() > at_least;
    if parts_of(both).any(settles) {
        return false;
    }
    let (earlier, later) = if a.place.span.start < b.place.span.start { (a, b) } else { (b, a) };
    let line = notes.line_of(earlier.place);
    let (first, second) = (earlier.conditions.name(), later.conditions.name());
    let meet = of(both).name();
    notes.error(
        later.place,
        format!("{second} overlaps with {first} on line {line}: a parcel {meet} fits both, neither is more specific, and their chutes differ"),
        "one row that fits a parcel best, or the same chutes and priorities for both",
        format!("add rows for {meet}, with the conditions of both"),
    );
    true
}

fn too_many(notes: &mut Notes, place: &Spot, pairs_most: usize) {
    notes.error(
        place,
        format!("more than {pairs_most} pairs of rows fit the same parcels and are equally specific"),
        "rows of which one fits a parcel best",
        "give the rows that have few conditions more of them, e.g. the country",
    );
}

/// Warns of a prefix all of whose longer ones have rows of their own.
fn check_shadows(notes: &mut Notes, routes: &[Met<'_>], known: &HashMap<Columns<'_>, usize>) {
    for route in routes {
        let columns = route.conditions.columns();
        let Some(prefix) = columns[POSTCODE].filter(|prefix| prefix.len() < PREFIX_MAX) else { continue };
        let mut first = None;
        let all = ('0'..='9').all(|digit| {
            let longer = format!("{prefix}{digit}");
            let mut with_longer = columns;
            with_longer[POSTCODE] = Some(&longer);
            let is_there = |part: Columns<'_>| {
                let asks = part[POSTCODE].is_some() && part[0] == columns[0];
                known.get(&part).filter(|_| asks).copied()
            };
            let found = parts_of(with_longer).find_map(is_there);
            first = first.or(found);
            found.is_some()
        });
        if let Some(first) = first.filter(|_| all) {
            let other = &routes[first];
            let line = notes.line_of(other.place);
            notes.warning(
                route.place,
                format!(
                    "no parcel reaches {}: each digit that may follow its postcode has a row of its own, the first is {} on line {line}",
                    route.conditions.name(),
                    other.conditions.name()
                ),
                "a prefix that some parcel has and no longer one",
                "remove the row, or one of the longer ones",
            );
        }
    }
}

/// The columns of a mask.
fn only(columns: Columns<'_>, mask: u8) -> Columns<'_> {
    let mut kept = columns;
    for (column, text) in kept.iter_mut().enumerate() {
        *text = text.filter(|_| mask & 1 << column != 0);
    }
    kept
}

/// All choices of the columns that are given: conditions that fit whatever these fit, but for a shorter prefix.
fn parts_of(columns: Columns<'_>) -> impl Iterator<Item = Columns<'_>> {
    let mask = of(columns).mask();
    (0..=u8::MAX >> 1).filter(move |part| part & !mask == 0).map(move |part| only(columns, part))
}

fn of(columns: Columns<'_>) -> Conditions {
    Conditions::of_columns(columns.map(|text| text.map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::finding::File;
    use super::super::plan_rows;
    use super::*;

    #[test]
    fn a_plan_with_too_many_pairs_to_compare_is_refused() {
        let table = "destination,country,carrier,service,chute,priority\n\
                     ,TH,A,,1,1\n,TH,B,,1,1\n,TH,,X,1,1\n,TH,,Y,1,1\n";
        for (most, errors) in [(4, 0), (3, 1)] {
            let mut notes = Notes::new(Path::new("."));
            notes.keep_text(File::Plan, table.to_owned());
            let rows = plan_rows::plan(&mut notes, table).expect("a table");
            check_within(&mut notes, &rows, most);
            let (found, _) = notes.sorted();
            assert_eq!(found.len(), errors, "{found:?}");
            assert!(found.iter().all(|error| error.message.starts_with("more than 3 pairs")), "{found:?}");
        }
    }
}
