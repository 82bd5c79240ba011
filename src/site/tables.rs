//! `chutes.csv`: rows → chutes, row by row; and what tables have in common. `sort-plan.csv` has a file of its own.

use std::collections::BTreeMap;

use super::finding::{File, Notes, Spot};
use super::rules::LABEL;
use super::spreadsheet::{Cell, Row, rows};
use super::walk::shown;
use super::{Chute, ChuteNo, keys};

/// Most parcels a bag or cage holds.
const CAPACITY_MAX: i64 = 10_000;

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

/// Reads `chutes.csv`.
pub(super) fn chutes(notes: &mut Notes, text: &str) -> Option<Vec<ChuteRow>> {
    let columns = ["number", "name", "position_mm", "decision_mm", "capacity"];
    let rows = rows(notes, File::Chutes, &columns, &[], text)?;
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

/// Reports a value that was there before, at its second place.
pub(super) fn once<K: Ord>(
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

pub(super) fn number<T: TryFrom<i64>>(
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

pub(super) fn text_cell(
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
