//! `sort-plan.csv`: rows → routes, row by row.
//!
//! `destination,chute,priority` is all a plan by destinations has. With any of the other conditions as a further
//! column, an empty cell fits any parcel, the destination's too.

use std::collections::BTreeMap;

use super::finding::{File, Notes, Spot};
use super::plan::{COLUMN_NAMES, COLUMNS, Conditions, PREFIX_MAX, plain_postcode};
use super::rules::{COUNTRY, LABEL, NAME};
use super::spreadsheet::{Cell, Row, rows};
use super::tables::{number, once, text_cell};
use super::walk::shown;
use super::{ChuteNo, plan_overlap};

/// Highest priority number; a route with more chutes than this has a wrong table.
const PRIORITY_MAX: i64 = 99;
/// Columns that every plan has.
const REQUIRED: [&str; 3] = ["destination", "chute", "priority"];

/// A row of `sort-plan.csv`, as far as it is good.
#[derive(Debug)]
pub(super) struct PlanRow {
    pub(super) spot: Spot,
    /// Where each condition stands that is given.
    pub(super) places: [Option<Spot>; COLUMNS],
    /// `None` where one of them is faulty.
    pub(super) conditions: Option<Conditions>,
    pub(super) chute: Option<(Spot, u16)>,
    pub(super) priority: Option<(Spot, u16)>,
}

impl PlanRow {
    /// The first condition, or the row where it has none.
    pub(super) fn place(&self) -> &Spot {
        self.places.iter().flatten().next().unwrap_or(&self.spot)
    }
}

/// Reads `sort-plan.csv` and reports what its rows do to each other; references to chutes, carriers and countries are
/// checked by [`super::agreement`] and [`super::plan_agreement`].
pub(super) fn plan(notes: &mut Notes, text: &str) -> Option<Vec<PlanRow>> {
    let rows = rows(notes, File::Plan, &REQUIRED, &COLUMN_NAMES[1..], text)?;
    if rows.is_empty() {
        notes.error(
            &Spot::top(File::Plan),
            "there is no destination",
            "a row for each destination and chute",
            "add one, e.g. `TH-KERRY-STD,1,1`",
        );
    }
    let mut chutes = BTreeMap::new();
    let mut priorities = BTreeMap::new();
    let mut plan = Vec::with_capacity(rows.len());
    for row in &rows {
        let (places, conditions) = conditions(notes, row);
        let name = conditions.as_ref().map(Conditions::name);
        let chute = match (&name, row.cell(1)) {
            (Some(name), Some(cell)) if cell.text.is_empty() => {
                let what = match &conditions {
                    Some(Conditions { destination: Some(_), .. }) => "destination",
                    Some(_) | None => "route",
                };
                notes.error(
                    &cell.spot,
                    format!("the {what} {name} has no chute"),
                    "the number of a chute in `chutes.csv`",
                    "write one, or remove the row: parcels without a route go to the exception chute",
                );
                None
            }
            _ => number(notes, row, 1, "chute", (1, 65_535, "")),
        };
        let priority = number(notes, row, 2, "priority", (1, PRIORITY_MAX, ""));
        if let (Some(name), Some((spot, chute))) = (&name, &chute) {
            let what = format!("the chute {chute} of {name}");
            once(notes, &mut chutes, (name.clone(), *chute), spot, &what, "remove one of the two rows");
        }
        if let (Some(name), Some((spot, priority))) = (&name, &priority) {
            let what = format!("the priority {priority} of {name}");
            once(
                notes,
                &mut priorities,
                (name.clone(), *priority),
                spot,
                &what,
                "number its chutes 1, 2, 3 …",
            );
        }
        plan.push(PlanRow { spot: row.spot.clone(), places, conditions, chute, priority });
    }
    plan_overlap::check(notes, &plan);
    Some(plan)
}

/// The cell of a condition: the optional columns stand behind the required ones.
fn cell(row: &Row, column: usize) -> (usize, Option<&Cell>) {
    let at = if column == 0 { 0 } else { column + REQUIRED.len() - 1 };
    (at, row.cell(at))
}

/// The conditions of a row and where they stand.
fn conditions(notes: &mut Notes, row: &Row) -> ([Option<Spot>; COLUMNS], Option<Conditions>) {
    let by_destination_alone = (1..COLUMNS).all(|column| cell(row, column).1.is_none());
    let mut places: [Option<Spot>; COLUMNS] = Default::default();
    let mut columns: [Option<String>; COLUMNS] = Default::default();
    let mut good = true;
    for (column, name) in COLUMN_NAMES.into_iter().enumerate() {
        let (at, Some(cell)) = cell(row, column) else {
            // A missing destination has been reported.
            good &= column != 0;
            continue;
        };
        if cell.text.is_empty() && !(by_destination_alone && column == 0) {
            continue;
        }
        let read = match name {
            "destination" => text_cell(notes, row, at, name, &NAME),
            "country" => text_cell(notes, row, at, name, &COUNTRY),
            "postcode" => prefix(notes, row, cell),
            _ => text_cell(notes, row, at, name, &LABEL),
        };
        good &= read.is_some();
        if let Some((spot, text)) = read {
            (places[column], columns[column]) = (Some(spot), Some(text));
        }
    }
    let conditions = Conditions::of_columns(columns);
    if good && conditions == Conditions::default() {
        notes.warning(
            &row.spot,
            "a row without a condition takes every parcel that no other row takes",
            "a condition; without such a row those parcels go to the exception chute as no_route",
            "fill a cell in, or leave it as it is if this is a chute for all the rest",
        );
    }
    (places, good.then_some(conditions))
}

/// The beginning of a postcode, which means something in one country only.
fn prefix(notes: &mut Notes, row: &Row, written: &Cell) -> Option<(Spot, String)> {
    let expected =
        format!("the beginning of a postcode, 1 to {PREFIX_MAX} letters and digits, beside its `country`");
    let plain = plain_postcode(&written.text);
    let good = plain.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !good || plain.is_empty() || plain.len() > PREFIX_MAX {
        let remedy = match plain.strip_suffix('*') {
            Some(rest) => format!("leave `*` out: {}", shown(rest)),
            None => "write the letters and digits with which the postcodes begin".to_owned(),
        };
        let message = format!("`postcode` \"{}\" is no prefix of a postcode", shown(&written.text));
        notes.error(&written.spot, message, expected, remedy);
        return None;
    }
    let (_, country) = cell(row, 1);
    if country.is_none_or(|country| country.text.is_empty()) {
        let message = format!("the postcode {plain} has no country");
        notes.error(&written.spot, message, expected, "fill in the `country` of the row");
        return None;
    }
    Some((written.spot.clone(), plain))
}

/// Routes with their chutes in order of priority, out of rows that are good.
pub(super) fn routes(plan: &[PlanRow]) -> Vec<(Conditions, Vec<ChuteNo>)> {
    let mut ranked: BTreeMap<&Conditions, Vec<(u16, ChuteNo)>> = BTreeMap::new();
    for row in plan {
        if let (Some(conditions), Some((_, chute)), Some((_, priority))) =
            (&row.conditions, &row.chute, &row.priority)
        {
            ranked.entry(conditions).or_default().push((*priority, ChuteNo(*chute)));
        }
    }
    ranked
        .into_iter()
        .map(|(conditions, mut chutes)| {
            chutes.sort_unstable();
            (conditions.clone(), chutes.into_iter().map(|(_, chute)| chute).collect())
        })
        .collect()
}
