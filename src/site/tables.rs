//! `chutes.csv` and `sort-plan.csv`: rows → chutes and routes, row by row.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::finding::{File, Notes, Spot};
use super::rules::{LABEL, NAME};
use super::spreadsheet::{Cell, Row, rows};
use super::walk::shown;
use super::{Chute, ChuteNo, keys};

/// Most parcels a bag or cage holds.
const CAPACITY_MAX: i64 = 10_000;
/// Highest priority number; a destination with more chutes than this has a wrong table.
const PRIORITY_MAX: i64 = 99;
/// What comes before the table in the hash of a plan's version, so that another canonical form has other versions.
const PLAN_FORM: &[u8] = b"sortd plan 1\n";
/// Hex digits of a plan's version.
const VERSION_DIGITS: usize = 16;

/// A row of `chutes.csv`, as far as it is good.
#[derive(Debug)]
pub(super) struct ChuteRow {
    pub(super) spot: Spot,
    pub(super) number: Option<(Spot, u16)>,
    pub(super) name: Option<(Spot, String)>,
    pub(super) position: Option<(Spot, u32)>,
    pub(super) decision: Option<(Spot, u32)>,
    pub(super) capacity: Option<u16>,
}

impl ChuteRow {
    /// The chute, if every cell is good.
    pub(super) fn chute(&self) -> Option<Chute> {
        Some(Chute {
            number: ChuteNo(self.number.as_ref()?.1),
            name: self.name.as_ref()?.1.clone(),
            position_mm: self.position.as_ref()?.1,
            decision_mm: self.decision.as_ref()?.1,
            capacity: self.capacity?,
        })
    }
}

/// A row of `sort-plan.csv`, as far as it is good.
#[derive(Debug)]
pub(super) struct PlanRow {
    pub(super) destination: Option<(Spot, String)>,
    pub(super) chute: Option<(Spot, u16)>,
    pub(super) priority: Option<(Spot, u16)>,
}

/// Reads `chutes.csv`.
pub(super) fn chutes(notes: &mut Notes, text: &str) -> Option<Vec<ChuteRow>> {
    let columns = ["number", "name", "position_mm", "decision_mm", "capacity"];
    let rows = rows(notes, File::Chutes, &columns, text)?;
    let mut chutes: Vec<ChuteRow> = Vec::with_capacity(rows.len());
    let mut numbers = BTreeMap::new();
    let mut names = BTreeMap::new();
    for row in &rows {
        let number = number(notes, row, 0, "number", (1, 65_535, ""));
        if let Some((spot, number)) = &number {
            once(
                notes,
                &mut numbers,
                *number,
                spot,
                &format!("the chute number {number}"),
                "give it a number of its own",
            );
        }
        let name = text_cell(notes, row, 1, "name", &LABEL);
        if let Some((spot, name)) = &name {
            once(
                notes,
                &mut names,
                name.clone(),
                spot,
                &format!("the chute name \"{name}\""),
                "give it a name of its own",
            );
        }
        let position = number_cell(notes, row, 2, "position_mm");
        let decision = number_cell(notes, row, 3, "decision_mm");
        if let (Some((_, position)), Some((spot, decision))) = (&position, &decision)
            && decision > position
        {
            notes.error(
                spot,
                format!(
                    "`decision_mm` {decision} lies behind the chute's own place, `position_mm` {position}"
                ),
                format!("at most {position} mm: the last place where the PLC still takes a command for it"),
                format!("write a place before {position}, e.g. {}", position.saturating_sub(500)),
            );
        }
        let capacity =
            self::number(notes, row, 4, "capacity", (1, CAPACITY_MAX, "parcels")).map(|(_, count)| count);
        chutes.push(ChuteRow { spot: row.spot.clone(), number, name, position, decision, capacity });
    }
    if rows.is_empty() {
        notes.error(
            &Spot::top(File::Chutes),
            "there is no chute",
            "a row for each chute",
            "add one, e.g. `1,L1,8000,7500,40`",
        );
    }
    Some(chutes)
}

/// Reads `sort-plan.csv`; references to chutes are checked by [`super::agreement`].
pub(super) fn plan(notes: &mut Notes, text: &str) -> Option<Vec<PlanRow>> {
    let rows = rows(notes, File::Plan, &["destination", "chute", "priority"], text)?;
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
        let destination = text_cell(notes, row, 0, "destination", &NAME);
        let chute = match (&destination, row.cell(1)) {
            (Some((_, name)), Some(cell)) if cell.text.is_empty() => {
                notes.error(
                    &cell.spot,
                    format!("the destination {name} has no chute"),
                    "the number of a chute in `chutes.csv`",
                    "write one, or remove the row: parcels without a route go to the exception chute",
                );
                None
            }
            _ => number(notes, row, 1, "chute", (1, 65_535, "")),
        };
        let priority = number(notes, row, 2, "priority", (1, PRIORITY_MAX, ""));
        if let (Some((_, name)), Some((spot, chute))) = (&destination, &chute) {
            let what = format!("the chute {chute} of {name}");
            once(notes, &mut chutes, (name.clone(), *chute), spot, &what, "remove one of the two rows");
        }
        if let (Some((_, name)), Some((spot, priority))) = (&destination, &priority) {
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
        plan.push(PlanRow { destination, chute, priority });
    }
    Some(plan)
}

/// Destination → chutes in order of priority, out of rows that are good.
pub(super) fn routes(plan: &[PlanRow]) -> BTreeMap<String, Vec<ChuteNo>> {
    let mut ranked: BTreeMap<String, Vec<(u16, ChuteNo)>> = BTreeMap::new();
    for row in plan {
        if let (Some((_, name)), Some((_, chute)), Some((_, priority))) =
            (&row.destination, &row.chute, &row.priority)
        {
            ranked.entry(name.clone()).or_default().push((*priority, ChuteNo(*chute)));
        }
    }
    ranked
        .into_iter()
        .map(|(name, mut chutes)| {
            chutes.sort_unstable();
            (name, chutes.into_iter().map(|(_, chute)| chute).collect())
        })
        .collect()
}

/// The version of a plan: the first 16 hex digits of the SHA-256 over its canonical form, one line a
/// destination in byte order, `NAME TAB chute,chute…` in order of priority.
pub fn plan_version(routes: &BTreeMap<String, Vec<ChuteNo>>) -> String {
    let mut hash = Sha256::new();
    hash.update(PLAN_FORM);
    for (name, chutes) in routes {
        let chutes: Vec<String> = chutes.iter().map(|chute| chute.0.to_string()).collect();
        hash.update(format!("{name}\t{}\n", chutes.join(",")));
    }
    let mut digits: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    digits.truncate(VERSION_DIGITS);
    digits
}

/// Reports a value that was there before, at its second place.
fn once<K: Ord>(
    notes: &mut Notes,
    seen: &mut BTreeMap<K, Spot>,
    key: K,
    spot: &Spot,
    what: &str,
    remedy: &str,
) {
    if let Some(first) = seen.get(&key) {
        let line = notes.line_of(first);
        notes.error(spot, format!("{what} stands twice, first on line {line}"), "each once", remedy);
    } else {
        seen.insert(key, spot.clone());
    }
}

fn number_cell(notes: &mut Notes, row: &Row, column: usize, name: &str) -> Option<(Spot, u32)> {
    number(notes, row, column, name, (0, keys::LENGTH_MAX_MM, "mm"))
}

fn number<T: TryFrom<i64>>(
    notes: &mut Notes,
    row: &Row,
    column: usize,
    name: &str,
    (least, most, unit): (i64, i64, &str),
) -> Option<(Spot, T)> {
    let cell = row.cell(column)?;
    let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
    let expected = format!("a whole number from {least} to {most}{unit}");
    match cell.text.parse::<i64>() {
        Ok(value) if (least..=most).contains(&value) => {
            T::try_from(value).ok().map(|value| (cell.spot.clone(), value))
        }
        Ok(value) => {
            let message = format!("`{name}` is {value}, out of its range");
            notes.error(&cell.spot, message, expected, format!("correct it to {least} … {most}{unit}"));
            None
        }
        Err(_) => {
            let (message, remedy) = not_a_number(cell, name);
            notes.error(&cell.spot, message, expected, remedy);
            None
        }
    }
}

fn not_a_number(cell: &Cell, name: &str) -> (String, String) {
    if cell.text.is_empty() {
        return (format!("`{name}` is empty"), "fill the cell in".to_owned());
    }
    let digits: String = cell.text.chars().filter(char::is_ascii_digit).collect();
    let remedy = if digits.is_empty() || cell.text.contains('.') {
        "write digits only".to_owned()
    } else {
        format!("write digits only: {digits}")
    };
    (format!("`{name}` \"{}\" is no whole number", shown(&cell.text)), remedy)
}

fn text_cell(
    notes: &mut Notes,
    row: &Row,
    column: usize,
    name: &str,
    rule: &super::shape::TextRule,
) -> Option<(Spot, String)> {
    let cell = row.cell(column)?;
    match (rule.judge)(&cell.text) {
        Ok(()) => Some((cell.spot.clone(), cell.text.clone())),
        Err(verdict) => {
            let remedy = verdict.remedy.unwrap_or_else(|| "correct the cell".to_owned());
            let message = format!("`{name}` \"{}\" {}", shown(&cell.text), verdict.wrong);
            notes.error(&cell.spot, message, rule.expected, remedy);
            None
        }
    }
}
