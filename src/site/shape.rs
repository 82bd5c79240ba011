//! The shape of a TOML file: which keys a table has, of which type, in which range, and what each is for.
//!
//! One description serves three readers: the walk that checks a file ([`super::walk`]), the JSON Schema that an
//! editor completes from ([`super::schema`]), and the accessors that read a checked table. A key cannot be
//! known to one and unknown to another.

/// A table: its keys, closed.
#[derive(Debug)]
pub(super) struct TableShape {
    /// What the table is for.
    pub(super) doc: &'static str,
    /// Its keys.
    pub(super) keys: &'static [Key],
}

impl TableShape {
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// One key of a table.
#[derive(Debug)]
pub(super) struct Key {
    /// Name, in kebab-case.
    pub(super) name: &'static str,
    /// What stands behind it.
    pub(super) kind: Kind,
    /// Whether it may be left out.
    pub(super) need: Need,
    /// A value as one would write it, for remedies.
    pub(super) example: &'static str,
    /// What it means, with its unit; a full sentence.
    pub(super) doc: &'static str,
}

/// Type and range of a value.
#[derive(Debug)]
pub(super) enum Kind {
    /// A whole number from `least` to `most`.
    Integer { least: i64, most: i64, unit: &'static str },
    /// Two whole numbers `[from, to]`, from ≤ to, both in the range.
    Pair { least: i64, most: i64, unit: &'static str },
    /// True or false.
    Bool,
    /// One of a closed set of words.
    Choice(&'static [&'static str]),
    /// A text with a rule.
    Text(&'static TextRule),
    /// A list of texts with a rule, at least one.
    Texts(&'static TextRule),
    /// A text with a rule, or a list of such texts, at least one.
    OneOrMore(&'static TextRule),
    /// A table.
    Table(&'static TableShape),
    /// Repeated tables `[[name]]`, at least one where the key is required.
    Tables(&'static TableShape),
}

/// May a key be left out, and what holds then?
#[derive(Debug)]
pub(super) enum Need {
    /// It may not.
    Required,
    /// It may, and then nothing is set.
    Optional,
    /// It may, and then this holds.
    Default(Preset),
    /// It may, and then the register map's own default of that name holds.
    RegisterDefault,
}

/// A default.
#[derive(Debug)]
pub(super) enum Preset {
    Integer(i64),
    Bool(bool),
    Text(&'static str),
    /// A table in which every key has a default.
    Table,
}

/// What a text must look like.
pub(super) struct TextRule {
    /// In words, for `expected`.
    pub(super) expected: &'static str,
    /// As a regular expression for editors, where one says it.
    pub(super) pattern: Option<&'static str>,
    /// Judges a text; the error says what is wrong with it and, if it can, a way out.
    pub(super) judge: fn(&str) -> Result<(), Verdict>,
}

impl std::fmt::Debug for TextRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.expected)
    }
}

/// Why a text is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// What is wrong with it.
    pub(super) wrong: String,
    /// The way out, where one is better than the example.
    pub(super) remedy: Option<String>,
}

impl Verdict {
    pub(super) fn new(wrong: impl Into<String>) -> Verdict {
        Verdict { wrong: wrong.into(), remedy: None }
    }

    pub(super) fn with(wrong: impl Into<String>, remedy: impl Into<String>) -> Verdict {
        Verdict { wrong: wrong.into(), remedy: Some(remedy.into()) }
    }
}

impl Kind {
    /// What is expected, in words.
    pub(super) fn expected(&self) -> String {
        match self {
            Kind::Integer { least, most, unit } => {
                format!("a whole number from {least} to {most}{}", of(unit))
            }
            Kind::Pair { least, most, unit } => {
                format!("[least, most], two whole numbers from {least} to {most}{}, least first", of(unit))
            }
            Kind::Bool => "true or false".to_owned(),
            Kind::Choice(words) => format!("one of {}", quoted(words.iter().copied())),
            Kind::Text(rule) => rule.expected.to_owned(),
            Kind::Texts(rule) => format!("a list, each entry {}", rule.expected),
            Kind::OneOrMore(rule) => format!("{}, or a list of such", rule.expected),
            Kind::Table(_) => "a table".to_owned(),
            Kind::Tables(_) => "repeated tables".to_owned(),
        }
    }
}

fn of(unit: &str) -> String {
    if unit.is_empty() { String::new() } else { format!(" {unit}") }
}

/// `"a", "b", "c"`.
pub(super) fn quoted<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

// Builders, so that the key tables read like a page.

const fn key(name: &'static str, kind: Kind, example: &'static str, doc: &'static str) -> Key {
    Key { name, kind, need: Need::Required, example, doc }
}

pub(super) const fn integer(
    name: &'static str,
    (least, most, unit): (i64, i64, &'static str),
    example: &'static str,
    doc: &'static str,
) -> Key {
    key(name, Kind::Integer { least, most, unit }, example, doc)
}

pub(super) const fn pair(
    name: &'static str,
    (least, most, unit): (i64, i64, &'static str),
    example: &'static str,
    doc: &'static str,
) -> Key {
    key(name, Kind::Pair { least, most, unit }, example, doc)
}

pub(super) const fn boolean(name: &'static str, example: &'static str, doc: &'static str) -> Key {
    key(name, Kind::Bool, example, doc)
}

pub(super) const fn choice(
    name: &'static str,
    words: &'static [&'static str],
    example: &'static str,
    doc: &'static str,
) -> Key {
    key(name, Kind::Choice(words), example, doc)
}

pub(super) const fn text(
    name: &'static str,
    rule: &'static TextRule,
    example: &'static str,
    doc: &'static str,
) -> Key {
    key(name, Kind::Text(rule), example, doc)
}

pub(super) const fn texts(
    name: &'static str,
    rule: &'static TextRule,
    example: &'static str,
    doc: &'static str,
) -> Key {
    key(name, Kind::Texts(rule), example, doc)
}

pub(super) const fn one_or_more(
    name: &'static str,
    rule: &'static TextRule,
    example: &'static str,
    doc: &'static str,
) -> Key {
    key(name, Kind::OneOrMore(rule), example, doc)
}

pub(super) const fn table(name: &'static str, shape: &'static TableShape) -> Key {
    key(name, Kind::Table(shape), "", shape.doc)
}

pub(super) const fn tables(name: &'static str, shape: &'static TableShape) -> Key {
    key(name, Kind::Tables(shape), "", shape.doc)
}

impl Key {
    pub(super) const fn optional(mut self) -> Key {
        self.need = Need::Optional;
        self
    }

    pub(super) const fn or(mut self, preset: Preset) -> Key {
        self.need = Need::Default(preset);
        self
    }

    pub(super) const fn or_register_default(mut self) -> Key {
        self.need = Need::RegisterDefault;
        self
    }
}
