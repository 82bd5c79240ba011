//! Application identifiers as the GS1 Barcode Syntax Dictionary lists them (`syntax-dictionary.txt`
//! beside this file, GS1 AISBL, Apache-2.0, licence beside it), parsed once.
//!
//! Used of each entry: the identifier, whether it needs an FNC1 behind it, and of each component its
//! character set, its length and whether it carries a check digit. Dates, countries and the pairings of
//! identifiers are not judged: they say nothing about which parcel it is.

use std::sync::LazyLock;

/// The file as GS1 publishes it.
const FILE: &str = include_str!("syntax-dictionary.txt");

/// Longest application identifier.
const AI_LONGEST: usize = 4;

/// One entry: an identifier, or a range of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// First identifier, e.g. `3100`.
    from: &'static str,
    /// Last identifier, e.g. `3105`; the same for a single one.
    to: &'static str,
    /// Of pre-defined length: no FNC1 is needed behind it.
    pub predefined: bool,
    /// What the value is made of, in order.
    pub components: Vec<Component>,
}

/// A part of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Component {
    pub set: Set,
    pub least: usize,
    pub most: usize,
    /// May be left out at the end.
    pub optional: bool,
    /// Ends in a GS1 mod 10 check digit.
    pub check: bool,
}

/// Characters of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Set {
    /// Digits.
    Numeric,
    /// GS1 AI encodable character set 82.
    Set82,
    /// Set 39: digits, capitals, `#-/`.
    Set39,
    /// File-safe base64.
    Base64,
}

impl Set {
    pub(super) fn holds(self, byte: u8) -> bool {
        match self {
            Set::Numeric => byte.is_ascii_digit(),
            Set::Set82 => matches!(byte,
                b'!' | b'"' | b'%'..=b'?' | b'A'..=b'Z' | b'_' | b'a'..=b'z'),
            Set::Set39 => matches!(byte, b'#' | b'-' | b'/' | b'0'..=b'9' | b'A'..=b'Z'),
            Set::Base64 => matches!(byte, b'-' | b'_' | b'=' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z'),
        }
    }
}

impl Entry {
    /// Length of a value of pre-defined length.
    pub(super) fn length(&self) -> usize {
        self.components.iter().map(|component| component.most).sum()
    }
}

/// The entries, sorted, and how long the identifiers are that begin with two given digits.
struct Table {
    entries: Vec<Entry>,
    /// By the first two digits as a number; 0 where nothing begins so.
    lengths: [u8; 100],
}

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::parse(FILE));

/// The identifier at the start of `text`, and its entry.
pub(super) fn find(text: &str) -> Option<(&str, &'static Entry)> {
    let [first @ b'0'..=b'9', second @ b'0'..=b'9', ..] = text.as_bytes() else { return None };
    let length = TABLE.lengths[usize::from(first - b'0') * 10 + usize::from(second - b'0')];
    let ai = text.get(..usize::from(length)).filter(|ai| !ai.is_empty())?;
    let at = TABLE.entries.partition_point(|entry| entry.to < ai);
    let entry = TABLE.entries.get(at)?;
    // Identifiers that begin alike are equally long, so that comparing texts compares numbers.
    (ai.len() == entry.from.len() && entry.from <= ai && ai <= entry.to).then_some((ai, entry))
}

impl Table {
    fn parse(file: &'static str) -> Table {
        let mut entries: Vec<Entry> = file.lines().filter_map(Entry::parse).collect();
        entries.sort_by_key(|entry| entry.to);
        let mut lengths = [0; 100];
        let prefix = |ai: &str| ai.get(..2).and_then(|digits| digits.parse::<usize>().ok());
        for entry in &entries {
            // The last of a range such as 91-99 begins otherwise than the first.
            if let (Some(first), Some(last)) = (prefix(entry.from), prefix(entry.to)) {
                lengths[first..=last].fill(u8::try_from(entry.from.len()).unwrap_or(0));
            }
        }
        Table { entries, lengths }
    }
}

impl Entry {
    /// An entry out of a line; `None` for comments, empty lines, and lines that are none.
    fn parse(line: &'static str) -> Option<Entry> {
        let mut words = line.split('#').next()?.split_whitespace().peekable();
        let ais = words.next()?;
        let (from, to) = ais.split_once('-').unwrap_or((ais, ais));
        let sound = |ai: &str| (2..=AI_LONGEST).contains(&ai.len()) && ai.bytes().all(|b| b.is_ascii_digit());
        if !sound(from) || from.len() != to.len() || !sound(to) || from > to {
            return None;
        }
        let flags =
            words.next_if(|word| !word.starts_with(|first: char| first.is_alphanumeric() || first == '['));
        let components: Vec<Component> = words.map_while(Component::parse).collect();
        if components.is_empty() {
            return None;
        }
        Some(Entry { from, to, predefined: flags.is_some_and(|flags| flags.contains('*')), components })
    }
}

impl Component {
    /// `N6,yymmdd`, `X..20`, `[N..12]`; `None` for what is no component (an attribute).
    fn parse(word: &str) -> Option<Component> {
        let mut parts = word.split(',');
        let kind = parts.next()?;
        let inner = kind.strip_prefix('[').map(|kind| kind.strip_suffix(']'));
        let (kind, optional) = match inner {
            Some(inner) => (inner?, true),
            None => (kind, false),
        };
        let set = match kind.as_bytes().first()? {
            b'N' => Set::Numeric,
            b'X' => Set::Set82,
            b'Y' => Set::Set39,
            b'Z' => Set::Base64,
            _ => return None,
        };
        let (least, most) = match kind[1..].strip_prefix("..") {
            Some(most) => (1, most.parse().ok()?),
            None => {
                let exactly = kind[1..].parse().ok()?;
                (exactly, exactly)
            }
        };
        Some(Component { set, least, most, optional, check: parts.any(|linter| linter == "csum") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_file_is_an_entry() {
        let lines = FILE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        assert_eq!(TABLE.entries.len(), lines.count());
        assert!(TABLE.entries.len() > 200);
        for entry in &TABLE.entries {
            let variable = entry.components.iter().position(|c| c.least != c.most);
            assert!(variable.is_none_or(|at| at + 1 == entry.components.len()), "{entry:?}");
            assert!(!entry.predefined || variable.is_none(), "{entry:?}");
        }
    }

    #[test]
    fn identifiers_that_begin_alike_are_equally_long() {
        for entry in &TABLE.entries {
            for ai in [entry.from, entry.to] {
                let prefix: usize = ai[..2].parse().unwrap();
                assert_eq!(usize::from(TABLE.lengths[prefix]), ai.len(), "{ai}");
                assert_eq!(find(ai).map(|(found, entry)| (found, entry.from)), Some((ai, entry.from)));
            }
        }
    }

    #[test]
    fn entries_say_what_the_file_says() {
        let (_, sscc) = find("00106141412345678908").unwrap();
        assert!(sscc.predefined && sscc.length() == 18 && sscc.components[0].check);
        let (ai, weight) = find("3103001250").unwrap();
        assert_eq!((ai, weight.length(), weight.predefined), ("3103", 6, true));
        let (ai, serial) = find("21ABC").unwrap();
        assert_eq!((ai, serial.predefined, serial.components[0].most), ("21", false, 20));
        assert_eq!(serial.components[0].set, Set::Set82);
        let (ai, own) = find("9261290").unwrap();
        assert_eq!((ai, own.components[0].most), ("92", 90));
        let (_, grai) = find("8003").unwrap();
        assert_eq!(grai.components.len(), 3);
        assert!(grai.components[1].check && grai.components[2].optional);
        for none in ["", "0", "3106", "04", "05123", "AB", "31", "8"] {
            assert!(find(none).is_none(), "{none}");
        }
    }

    #[test]
    fn set_82_has_82_characters_and_set_39_its_39() {
        let count = |set: Set| (0..=255).filter(|byte| set.holds(*byte)).count();
        assert_eq!(count(Set::Set82), 82);
        assert_eq!(count(Set::Set39), 39);
        assert_eq!(count(Set::Numeric), 10);
    }
}
