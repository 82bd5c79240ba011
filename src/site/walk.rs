//! A TOML file as typed → checked tables: every wrong key, type, range and text of it, each with its place.
//!
//! The walk never stops at the first mistake. A value that is missing or wrong is reported here once; whoever
//! reads it afterwards gets [`None`] from the `known_…` accessors, and from the plain ones a value in range
//! that leads nowhere, since a configuration with an error never becomes a [`super::Site`].

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeArray, DeInteger, DeTable, DeValue};

use super::finding::{File, Notes, Spot, nearest};
use super::shape::{Key, Kind, Need, Preset, TableShape, TextRule, quoted};
use crate::wire::plc::RegisterMap;

/// A checked table.
#[derive(Debug)]
pub(super) struct Table {
    shape: &'static TableShape,
    /// Its header, or its key where it is written inline.
    pub(super) spot: Spot,
    entries: BTreeMap<&'static str, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// Where it is written; `None` for a default.
    spot: Option<Spot>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    /// Written, but wrong, and reported.
    Faulty,
    Integer(i64),
    Pair(i64, i64),
    Bool(bool),
    Text(String),
    Texts(Vec<(Spot, String)>),
    Table(Table),
    Tables(Vec<Table>),
}

/// Reads a TOML file. `None` if it is no TOML at all: then what it means is not guessed.
pub(super) fn read(notes: &mut Notes, file: File, shape: &'static TableShape, text: &str) -> Option<Table> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Some(Walk { notes, file }.table(shape, tree.get_ref(), Spot::top(file)));
    }
    let mut last_line = 0;
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let line = super::finding::place(text, span.start).0;
        // One slip often breaks the rest of its line: say the first of a line only.
        if line != std::mem::replace(&mut last_line, line) {
            let typed = text.get(span.clone()).unwrap_or_default();
            let (message, expected, remedy) = syntax_advice(error.message(), typed);
            notes.error(&Spot::new(file, span), format!("not TOML: {message}"), expected, remedy);
        }
    }
    None
}

/// The parser's words for its commonest errors, said for someone who does not know TOML.
fn syntax_advice(message: &str, typed: &str) -> (String, &'static str, &'static str) {
    const VALUE: &str = "a number, true, false, [a list], or a text in quotes";
    if message.starts_with("string values must be quoted") {
        if typed.trim().is_empty() {
            return (
                "the value is missing".to_owned(),
                VALUE,
                "write a value behind the `=`, or remove the line",
            );
        }
        let message = format!("`{}` is neither a number nor a text in quotes", shown(typed));
        return (message, VALUE, "look for a letter among the digits, or put the text between quotes");
    }
    if message.starts_with("duplicate key") {
        let message = format!("`{}` stands here a second time", shown(typed));
        return (
            message,
            "each key and each table once",
            "remove one of the two, or write `[[…]]` for several",
        );
    }
    let (expected, remedy) = if message.starts_with("unclosed table") {
        ("`[table]` or `[[table]]` on a line of its own", "close the bracket")
    } else if message.contains("string") {
        (VALUE, "close the quotes; single quotes keep backslashes as they are")
    } else {
        (
            "`key = value`, one a line, below a `[table]`",
            "mend this line; the rest of the file is checked then",
        )
    };
    (message.to_owned(), expected, remedy)
}

struct Walk<'a> {
    notes: &'a mut Notes,
    file: File,
}

impl Walk<'_> {
    fn spot(&self, span: Range<usize>) -> Spot {
        Spot::new(self.file, span)
    }

    fn table(&mut self, shape: &'static TableShape, typed: &DeTable<'_>, spot: Spot) -> Table {
        let mut entries = BTreeMap::new();
        // A key taken for a misspelt one is one mistake, not also a missing key.
        let mut meant = Vec::new();
        for (name, value) in typed {
            if let Some(key) = shape.key(name.get_ref()) {
                let value_spot = self.spot(value.span());
                let value = self.value(key, value.get_ref(), &value_spot, &self.spot(name.span()));
                entries.insert(key.name, Entry { spot: Some(value_spot), value });
            } else {
                meant.extend(self.unknown(shape, typed, name.get_ref(), &self.spot(name.span())));
            }
        }
        for key in shape.keys {
            if !entries.contains_key(key.name) {
                let value = self.absent(key, &spot, meant.contains(&key.name));
                if let Some(value) = value {
                    entries.insert(key.name, Entry { spot: None, value });
                }
            }
        }
        Table { shape, spot, entries }
    }

    fn unknown(
        &mut self,
        shape: &'static TableShape,
        typed: &DeTable<'_>,
        name: &str,
        spot: &Spot,
    ) -> Option<&'static str> {
        let free = shape.keys.iter().map(|key| key.name).filter(|known| !typed.contains_key(*known));
        let near = nearest(name, free).or_else(|| nearest(name, shape.keys.iter().map(|key| key.name)));
        let remedy = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("remove `{name}`"),
        };
        let known = shape.keys.iter().map(|key| format!("`{}`", key.name)).collect::<Vec<_>>().join(", ");
        self.notes.error(spot, format!("unknown key `{name}`"), format!("one of {known}"), remedy);
        near
    }

    fn absent(&mut self, key: &'static Key, table: &Spot, reported: bool) -> Option<Value> {
        match &key.need {
            Need::Optional => None,
            Need::RegisterDefault => None,
            Need::Required if reported => Some(Value::Faulty),
            Need::Required => {
                let (message, remedy) = match key.kind {
                    Kind::Table(_) => (format!("the table `[{}]` is missing", key.name), "add it".to_owned()),
                    Kind::Tables(_) => (
                        format!("no `{}` is given", key.name),
                        format!("add one under a header of two brackets, `[[…{}]]`", key.name),
                    ),
                    _ => (
                        format!("the key `{}` is missing", key.name),
                        format!("add `{} = {}`, with your value", key.name, key.example),
                    ),
                };
                self.notes.error(table, message, format!("{}: {}", key.kind.expected(), key.doc), remedy);
                Some(Value::Faulty)
            }
            Need::Default(preset) => Some(match (preset, &key.kind) {
                (Preset::Integer(number), _) => Value::Integer(*number),
                (Preset::Bool(yes), _) => Value::Bool(*yes),
                (Preset::Text(text), _) => Value::Text((*text).to_owned()),
                (Preset::Table, Kind::Table(shape)) => {
                    Value::Table(self.table(shape, &DeTable::new(), table.clone()))
                }
                (Preset::Table, _) => Value::Faulty,
            }),
        }
    }

    fn value(&mut self, key: &'static Key, value: &DeValue<'_>, spot: &Spot, name: &Spot) -> Value {
        match (&key.kind, value) {
            (&Kind::Integer { least, most, .. }, DeValue::Integer(number)) => {
                match within(number, least, most) {
                    Some(number) => Value::Integer(number),
                    None => self.out_of_range(key, spot, &number.to_string()),
                }
            }
            (&Kind::Pair { least, most, .. }, DeValue::Array(array)) => {
                self.pair(key, (least, most), array, spot)
            }
            (Kind::Bool, DeValue::Boolean(yes)) => Value::Bool(*yes),
            (Kind::Choice(words), DeValue::String(word)) => {
                if words.contains(&word.as_ref()) {
                    return Value::Text(word.to_string());
                }
                let remedy = match nearest(word, words.iter().copied()) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => format!("write one of {}", quoted(words.iter().copied())),
                };
                let message = format!("`{}` is \"{}\"", key.name, shown(word));
                self.notes.error(spot, message, key.kind.expected(), remedy);
                Value::Faulty
            }
            (Kind::Text(rule), DeValue::String(text)) => match self.text(key, rule, text, spot) {
                Some(text) => Value::Text(text),
                None => Value::Faulty,
            },
            (Kind::Texts(rule) | Kind::OneOrMore(rule), DeValue::Array(array)) => {
                self.texts(key, rule, array, spot)
            }
            (Kind::OneOrMore(rule), DeValue::String(text)) => match self.text(key, rule, text, spot) {
                Some(text) => Value::Texts(vec![(spot.clone(), text)]),
                None => Value::Faulty,
            },
            (Kind::Table(shape), DeValue::Table(table)) => {
                Value::Table(self.table(shape, table, spot.clone()))
            }
            (Kind::Tables(shape), DeValue::Array(array)) => self.tables(key, shape, array, spot),
            (Kind::Tables(_), DeValue::Table(_)) => {
                self.notes.error(
                    spot,
                    format!("`{}` is one table", key.name),
                    format!("repeated tables under `[[…{}]]`", key.name),
                    "write the header with two brackets on each side",
                );
                Value::Faulty
            }
            (_, other) => {
                // A table written where a value belongs is best shown at its name.
                let spot = if other.is_table() { name } else { spot };
                self.wrong_type(key, other, spot);
                Value::Faulty
            }
        }
    }

    fn pair(
        &mut self,
        key: &'static Key,
        (least, most): (i64, i64),
        array: &DeArray<'_>,
        spot: &Spot,
    ) -> Value {
        let mut ends = Vec::with_capacity(2);
        for end in array {
            let end_spot = self.spot(end.span());
            let DeValue::Integer(number) = end.get_ref() else {
                self.wrong_type(key, end.get_ref(), &end_spot);
                return Value::Faulty;
            };
            match within(number, least, most) {
                Some(number) => ends.push(number),
                None => return self.out_of_range(key, &end_spot, &number.to_string()),
            }
        }
        match ends[..] {
            [from, to] if from <= to => Value::Pair(from, to),
            [from, to] => {
                self.notes.error(
                    spot,
                    format!("`{}` begins at {from} and ends at {to}, before it begins", key.name),
                    key.kind.expected(),
                    format!("write `{} = [{to}, {from}]`", key.name),
                );
                Value::Faulty
            }
            _ => {
                self.notes.error(
                    spot,
                    format!("`{}` has {} numbers", key.name, ends.len()),
                    key.kind.expected(),
                    format!("write two, e.g. `{} = {}`", key.name, key.example),
                );
                Value::Faulty
            }
        }
    }

    fn text(&mut self, key: &'static Key, rule: &TextRule, text: &str, spot: &Spot) -> Option<String> {
        match (rule.judge)(text) {
            Ok(()) => Some(text.to_owned()),
            Err(verdict) => {
                let remedy = verdict
                    .remedy
                    .unwrap_or_else(|| format!("write it as in `{} = {}`", key.name, key.example));
                let message = format!("`{}` \"{}\" {}", key.name, shown(text), verdict.wrong);
                self.notes.error(spot, message, rule.expected, remedy);
                None
            }
        }
    }

    fn texts(&mut self, key: &'static Key, rule: &TextRule, array: &DeArray<'_>, spot: &Spot) -> Value {
        if array.is_empty() {
            let remedy = format!("write it as in `{} = {}`", key.name, key.example);
            self.notes.error(spot, format!("`{}` is empty", key.name), key.kind.expected(), remedy);
            return Value::Faulty;
        }
        let mut texts = Vec::with_capacity(array.len());
        let mut good = true;
        for entry in array {
            let entry_spot = self.spot(entry.span());
            if let DeValue::String(text) = entry.get_ref() {
                match self.text(key, rule, text, &entry_spot) {
                    Some(text) => texts.push((entry_spot, text)),
                    None => good = false,
                }
            } else {
                self.wrong_type(key, entry.get_ref(), &entry_spot);
                good = false;
            }
        }
        if good { Value::Texts(texts) } else { Value::Faulty }
    }

    fn tables(
        &mut self,
        key: &'static Key,
        shape: &'static TableShape,
        array: &DeArray<'_>,
        spot: &Spot,
    ) -> Value {
        if array.is_empty() && matches!(key.need, Need::Required) {
            let remedy = format!("add one under a header of two brackets, `[[…{}]]`", key.name);
            self.notes.error(spot, format!("`{}` is empty", key.name), "at least one", remedy);
            return Value::Faulty;
        }
        let mut tables = Vec::with_capacity(array.len());
        for entry in array {
            let entry_spot = self.spot(entry.span());
            if let DeValue::Table(table) = entry.get_ref() {
                tables.push(self.table(shape, table, entry_spot));
            } else {
                self.wrong_type(key, entry.get_ref(), &entry_spot);
            }
        }
        Value::Tables(tables)
    }

    fn out_of_range(&mut self, key: &'static Key, spot: &Spot, typed: &str) -> Value {
        let message = format!("`{}` is {}, out of its range", key.name, shown(typed));
        let remedy = format!("write e.g. `{} = {}`. {}", key.name, key.example, key.doc);
        self.notes.error(spot, message, key.kind.expected(), remedy);
        Value::Faulty
    }

    fn wrong_type(&mut self, key: &'static Key, value: &DeValue<'_>, spot: &Spot) {
        let remedy = match (&key.kind, value) {
            (Kind::Integer { .. } | Kind::Pair { .. }, DeValue::String(text))
                if text.parse::<i64>().is_ok() =>
            {
                format!("write {text} without quotes")
            }
            (Kind::Integer { unit, .. } | Kind::Pair { unit, .. }, DeValue::Float(_)) => {
                format!(
                    "write a whole number{}",
                    if unit.is_empty() { String::new() } else { format!(" of {unit}") }
                )
            }
            (Kind::Bool, DeValue::String(_)) => "write true or false without quotes".to_owned(),
            (Kind::Table(_), _) => format!("write it as a table, `[…{}]`", key.name),
            _ => format!("write it as in `{} = {}`", key.name, key.example),
        };
        let is = match value {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a decimal number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.notes.error(spot, format!("`{}` is {is}", key.name), key.kind.expected(), remedy);
    }
}

/// The number, if it is within the range.
fn within(number: &DeInteger<'_>, least: i64, most: i64) -> Option<i64> {
    let number = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
    (least..=most).contains(&number).then_some(number)
}

/// A text for a message: control characters escaped, long ones cut.
pub(super) fn shown(text: &str) -> String {
    const SHOWN_MAX: usize = 60;
    let mut shown: String = text.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    shown
}

impl Table {
    fn entry(&self, key: &str) -> Option<&Entry> {
        debug_assert!(self.shape.key(key).is_some(), "no table of this shape has the key {key}");
        self.entries.get(key)
    }

    /// Where a key's value is written; its table where it is not.
    pub(super) fn spot_of(&self, key: &str) -> &Spot {
        self.entry(key).and_then(|entry| entry.spot.as_ref()).unwrap_or(&self.spot)
    }

    /// Is the key written in the file, right or wrong?
    pub(super) fn is_written(&self, key: &str) -> bool {
        self.entry(key).is_some_and(|entry| entry.spot.is_some())
    }

    /// A good number, given or by default.
    pub(super) fn known_number(&self, key: &str) -> Option<i64> {
        match self.entry(key)?.value {
            Value::Integer(number) => Some(number),
            _ => None,
        }
    }

    /// A number in the key's range. Where it is faulty: the range's least, see the module's head.
    pub(super) fn number<T: TryFrom<i64> + Default>(&self, key: &str) -> T {
        let least = match self.shape.key(key).map(|key| &key.kind) {
            Some(Kind::Integer { least, .. }) => *least,
            _ => 0,
        };
        T::try_from(self.known_number(key).unwrap_or(least)).unwrap_or_default()
    }

    /// A good pair.
    pub(super) fn known_pair(&self, key: &str) -> Option<(u32, u32)> {
        match self.entry(key)?.value {
            Value::Pair(from, to) => Some((u32::try_from(from).ok()?, u32::try_from(to).ok()?)),
            _ => None,
        }
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        matches!(self.entry(key).map(|entry| &entry.value), Some(Value::Bool(true)))
    }

    /// A good text, given or by default.
    pub(super) fn known_text(&self, key: &str) -> Option<&str> {
        match &self.entry(key)?.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A text; empty where it is faulty or not given.
    pub(super) fn text(&self, key: &str) -> String {
        self.known_text(key).unwrap_or_default().to_owned()
    }

    pub(super) fn texts(&self, key: &str) -> &[(Spot, String)] {
        match self.entry(key).map(|entry| &entry.value) {
            Some(Value::Texts(texts)) => texts,
            _ => &[],
        }
    }

    pub(super) fn table(&self, key: &str) -> Option<&Table> {
        match &self.entry(key)?.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(super) fn tables(&self, key: &str) -> &[Table] {
        match self.entry(key).map(|entry| &entry.value) {
            Some(Value::Tables(tables)) => tables,
            _ => &[],
        }
    }

    /// The register map with what this table sets in it.
    pub(super) fn register_map(&self) -> RegisterMap {
        let mut map = register_defaults();
        for (name, entry) in &self.entries {
            let value = match &entry.value {
                Value::Integer(number) => (*number).into(),
                Value::Text(word) => word.as_str().into(),
                _ => continue,
            };
            map.insert((*name).to_owned(), value);
        }
        // The keys are the map's own, in its own ranges (a test holds both); a default stands for a fault.
        serde_json::from_value(map.into()).unwrap_or_default()
    }
}

/// The register map's defaults by key.
pub(super) fn register_defaults() -> serde_json::Map<String, serde_json::Value> {
    match serde_json::to_value(RegisterMap::default()) {
        Ok(serde_json::Value::Object(map)) => map,
        _ => serde_json::Map::new(),
    }
}
