//! CSV tables as engineers keep them in a spreadsheet: rows and cells, each with its place.
//!
//! RFC 4180 but for line breaks inside quotes, which no table here needs: so an unclosed quote costs one row and
//! is named where it opens, instead of swallowing the rest of the file. Rows beginning with `#` and empty rows
//! (a spreadsheet writes them as bare commas) are left out; the first row that remains is the header.

use std::ops::Range;

use super::finding::{File, Notes, Spot, nearest};
use super::walk::shown;

/// Rows taken from one table; the largest real plans have some thousands.
const ROWS_MAX: usize = 100_000;

/// A row below the header. Cells stand in the order of the columns asked for.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) spot: Spot,
    /// `None` where the header lacks the column or the row the cell, both reported.
    cells: Vec<Option<Cell>>,
}

/// A cell, without quotes and the blanks around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) spot: Spot,
    pub(super) text: String,
}

impl Row {
    pub(super) fn cell(&self, column: usize) -> Option<&Cell> {
        self.cells.get(column)?.as_ref()
    }
}

/// Reads a table with these columns, in whatever order the file has them; cells of the `optional` ones come behind the
/// others. `None` if there is no header.
pub(super) fn rows(
    notes: &mut Notes,
    file: File,
    required: &[&'static str],
    optional: &[&'static str],
    text: &str,
) -> Option<Vec<Row>> {
    let all = required.join(",");
    let columns: Vec<&'static str> = required.iter().chain(optional).copied().collect();
    let mut places = None;
    let mut rows = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let offset = start;
        start += line.len();
        let line = line.trim_end_matches(['\n', '\r']);
        let span = offset..offset + line.len();
        if line.trim_start().starts_with('#') {
            continue;
        }
        let (cells, open_quote) = split(line, offset);
        if let Some(at) = open_quote {
            notes.error(
                &Spot::new(file, at..span.end),
                "a quote is opened and not closed on its line",
                "a cell without quotes, or between two of them, on one line",
                "close the quote; a quote inside a quoted cell is written twice",
            );
        }
        let comment = cells.first().is_some_and(|(_, first)| first.starts_with('#'));
        if comment || (open_quote.is_none() && cells.iter().all(|(_, cell)| cell.is_empty())) {
            continue;
        }
        let Some((header, width)) = &places else {
            let spot = Spot::new(file, span);
            if open_quote.is_some() {
                return None;
            }
            let header = header(notes, &spot, &columns, required.len(), &all, &cells, line)?;
            // A missing column has been reported; its cells are then too many in every row.
            let width = header.iter().take(required.len()).all(Option::is_some).then_some(cells.len());
            places = Some((header, width));
            continue;
        };
        if rows.len() == ROWS_MAX {
            notes.error(
                &Spot::new(file, span),
                format!("more than {ROWS_MAX} rows"),
                format!("at most {ROWS_MAX} rows"),
                "split the line or merge destinations",
            );
            break;
        }
        let spot = Spot::new(file, span);
        if let (Some(width), None) = (width, open_quote) {
            check_width(notes, &spot, *width, &all, &cells);
        }
        rows.push(row(spot, header, &cells));
    }
    if places.is_none() {
        notes.error(
            &Spot::top(file),
            "the table is empty",
            format!("a header row `{all}` and a row each below it"),
            format!("begin the file with `{all}`"),
        );
        return None;
    }
    Some(rows)
}

type Cut = (Range<usize>, String);

fn check_width(notes: &mut Notes, spot: &Spot, width: usize, all: &str, cells: &[Cut]) {
    // Trailing empty cells are what spreadsheets add; anything else that is too much shifts the meaning.
    let used = cells.iter().rposition(|(_, cell)| !cell.is_empty()).map_or(0, |last| last + 1);
    if used > width || cells.len() < width {
        let count = if used > width { used } else { cells.len() };
        notes.error(
            spot,
            format!("the row has {count} cells, the header has {width}"),
            format!("one cell for each column of the header (`{all}`)"),
            "add or remove cells; a number has no comma between its digits",
        );
    }
}

fn row(spot: Spot, header: &[Option<usize>], cells: &[Cut]) -> Row {
    let cells = header
        .iter()
        .map(|place| {
            let (span, text) = cells.get((*place)?)?;
            Some(Cell { spot: Spot::new(spot.file, span.clone()), text: text.clone() })
        })
        .collect();
    Row { spot, cells }
}

/// Where each asked column stands in the header, the first `required` of which must be there.
fn header(
    notes: &mut Notes,
    spot: &Spot,
    columns: &[&'static str],
    required: usize,
    all: &str,
    cells: &[Cut],
    line: &str,
) -> Option<Vec<Option<usize>>> {
    if cells.len() == 1 && line.contains([';', '\t']) {
        notes.error(
            spot,
            "the cells are not separated by commas",
            format!("the header row `{all}`"),
            "save the table as \"CSV UTF-8 (comma delimited)\"",
        );
        return None;
    }
    if !cells.iter().any(|(_, name)| nearest(name, columns.iter().copied()).is_some()) {
        notes.error(
            spot,
            format!("the first row is no header: \"{}\"", shown(line)),
            format!("the header row `{all}`"),
            format!("write `{all}` above the first row"),
        );
        return None;
    }
    let mut places = vec![None; columns.len()];
    let mut meant = Vec::new();
    for (place, (span, name)) in cells.iter().enumerate() {
        let spot = Spot::new(spot.file, span.clone());
        match columns.iter().position(|column| column == name) {
            Some(column) if places[column].is_none() => places[column] = Some(place),
            Some(_) => {
                let message = format!("the column `{name}` stands twice");
                notes.error(&spot, message, "each column once", "remove one of the two");
            }
            None if name.is_empty() => {}
            None => {
                let free: Vec<&str> = columns
                    .iter()
                    .copied()
                    .filter(|column| !cells.iter().any(|(_, cell)| cell == column))
                    .collect();
                // With as many cells as columns, a single column left can only be this one.
                let lacking: Vec<&str> =
                    free.iter().copied().filter(|column| columns[..required].contains(column)).collect();
                let last =
                    if lacking.len() == 1 && cells.len() == required { Some(lacking[0]) } else { None };
                let near = nearest(name, free).or(last);
                meant.extend(near);
                let remedy = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "remove it, or write notes on rows that begin with `#`".to_owned(),
                };
                let message = format!("unknown column `{}`", shown(name));
                let more = match &columns[required..] {
                    [] => String::new(),
                    optional => format!(", and any of `{}`", optional.join(",")),
                };
                notes.error(&spot, message, format!("the columns `{all}`{more}"), remedy);
            }
        }
    }
    for (column, place) in columns.iter().zip(&places).take(required) {
        if place.is_none() && !meant.contains(column) {
            let message = format!("the column `{column}` is missing");
            notes.error(
                spot,
                message,
                format!("the columns `{all}`"),
                format!("add `{column}` to the header"),
            );
        }
    }
    Some(places)
}

/// Cuts a line into cells, up to a quote that is opened and never closed, whose place comes with them.
fn split(line: &str, offset: usize) -> (Vec<Cut>, Option<usize>) {
    let mut cells = Vec::new();
    let mut rest = 0;
    loop {
        let tail = &line[rest..];
        let begin = rest + (tail.len() - tail.trim_start_matches([' ', '\t']).len());
        let (end, text) = if line[begin..].starts_with('"') {
            let Some(close) = closing_quote(&line[begin + 1..]).map(|close| begin + 1 + close) else {
                return (cells, Some(offset + begin));
            };
            let end = line[close..].find(',').map_or(line.len(), |comma| close + comma);
            // What stands between a closing quote and the comma is kept, so that nothing vanishes unseen.
            let behind = line[close + 1..end].trim_end();
            (end, line[begin + 1..close].replace("\"\"", "\"") + behind)
        } else {
            let end = line[begin..].find(',').map_or(line.len(), |comma| begin + comma);
            (end, line[begin..end].trim_end().to_owned())
        };
        let shown_end = begin + line[begin..end].trim_end().len();
        cells.push((offset + begin..offset + shown_end, text.trim().to_owned()));
        if end == line.len() {
            return (cells, None);
        }
        rest = end + 1;
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut quotes = text.match_indices('"').map(|(at, _)| at).peekable();
    while let Some(at) = quotes.next() {
        if quotes.peek() == Some(&(at + 1)) {
            quotes.next();
        } else {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn texts(line: &str) -> Vec<String> {
        split(line, 0).0.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn cells_are_cut_at_commas_outside_quotes() {
        assert_eq!(texts("1, Left 1 ,8000"), ["1", "Left 1", "8000"]);
        assert_eq!(texts("1,\"a, \"\"b\"\"\",3"), ["1", "a, \"b\"", "3"]);
        assert_eq!(texts(",,"), ["", "", ""]);
        assert_eq!(texts("\"\""), [""]);
        assert_eq!(split("1, \"open,3", 10), (vec![(10..11, "1".to_owned())], Some(13)));
        assert_eq!(split("1, 泰国 ,x", 0).0[1], (3..9, "泰国".to_owned()));
    }

    #[test]
    fn rows_know_their_columns_and_places() {
        let mut notes = Notes::new(Path::new("."));
        let text = "# a note, \"with a quote\n\nb,a,,\n,,,\n2, 1,,\n";
        notes.keep_text(File::Plan, text.to_owned());
        let rows = rows(&mut notes, File::Plan, &["a", "b"], &[], text).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].cell(0).unwrap().text, "1");
        assert_eq!(rows[0].cell(1).unwrap().text, "2");
        assert_eq!(&text[rows[0].cell(0).unwrap().spot.span.clone()], "1");
        assert_eq!(notes.sorted().0, []);
    }
}
