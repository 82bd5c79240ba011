//! What is wrong in a configuration, and where: findings, files, places.
//!
//! Invariants: a finding names a file that exists or should exist, a line and a column counted from 1 in
//! characters, what was expected there and what to do about it. Findings come out ordered by file, line and
//! column, so that the same configuration always prints the same text.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Findings kept for one file. Someone who pastes the wrong file gets a page to read, not a flood.
pub const FINDINGS_PER_FILE: usize = 100;

/// Does it keep the line from running?
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It runs, but probably not as meant.
    Warning,
}

impl Severity {
    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One thing wrong in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file, below the directory given to [`super::load`].
    pub file: PathBuf,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What was expected instead.
    pub expected: String,
    /// What to do about it.
    pub remedy: String,
    /// The bytes meant, counted after a byte-order mark if the file has one; for drawing the place.
    #[serde(skip)]
    pub span: Range<usize>,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Finding { file, line, column, severity, message, .. } = self;
        write!(f, "{}:{line}:{column}: {}: {message}", file.display(), severity.name())
    }
}

/// The files of a configuration, in the order an engineer writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum File {
    Sortd,
    Line,
    Devices,
    Carriers,
    Chutes,
    Plan,
}

impl File {
    pub(super) const ALL: [File; 6] =
        [File::Sortd, File::Line, File::Devices, File::Carriers, File::Chutes, File::Plan];

    pub(super) fn name(self) -> &'static str {
        match self {
            File::Sortd => "sortd.toml",
            File::Line => "line.toml",
            File::Devices => "devices.toml",
            File::Carriers => "carriers.toml",
            File::Chutes => "chutes.csv",
            File::Plan => "sort-plan.csv",
        }
    }
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) file: File,
    pub(super) span: Range<usize>,
}

impl Spot {
    pub(super) fn new(file: File, span: Range<usize>) -> Spot {
        Spot { file, span }
    }

    /// The beginning of a file, where nothing nearer can be named.
    pub(super) fn top(file: File) -> Spot {
        Spot { file, span: 0..0 }
    }
}

/// Line and column, both from 1, of a byte offset; an offset past the end means the end.
pub(super) fn place(text: &str, offset: usize) -> (u32, u32) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |tail| tail.chars().count()) + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

/// Collects the findings of all files.
#[derive(Debug)]
pub(super) struct Notes {
    directory: PathBuf,
    texts: [String; File::ALL.len()],
    /// The files a text was given of.
    read: Vec<File>,
    found: Vec<(Spot, Severity, String, String, String)>,
}

impl Notes {
    pub(super) fn new(directory: &Path) -> Notes {
        Notes {
            directory: directory.to_owned(),
            texts: Default::default(),
            read: Vec::new(),
            found: Vec::new(),
        }
    }

    pub(super) fn path(&self, file: File) -> PathBuf {
        self.directory.join(file.name())
    }

    /// Gives a file's text, from which places are counted.
    pub(super) fn keep_text(&mut self, file: File, text: String) {
        self.texts[file as usize] = text;
        self.read.push(file);
    }

    /// Names and texts of the files that were read.
    pub(super) fn sources(&self) -> Vec<(String, Vec<u8>)> {
        let text = |file: &File| (file.name().to_owned(), self.texts[*file as usize].clone().into_bytes());
        self.read.iter().map(text).collect()
    }

    /// The line of a spot, from 1.
    pub(super) fn line_of(&self, spot: &Spot) -> u32 {
        place(&self.texts[spot.file as usize], spot.span.start).0
    }

    pub(super) fn error(
        &mut self,
        spot: &Spot,
        message: impl Into<String>,
        expected: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.found.push((spot.clone(), Severity::Error, message.into(), expected.into(), remedy.into()));
    }

    pub(super) fn warning(
        &mut self,
        spot: &Spot,
        message: impl Into<String>,
        expected: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.found.push((spot.clone(), Severity::Warning, message.into(), expected.into(), remedy.into()));
    }

    /// Errors and warnings, each in order of file and place, at most [`FINDINGS_PER_FILE`] a file each.
    pub(super) fn sorted(mut self) -> (Vec<Finding>, Vec<Finding>) {
        self.found.sort_by(|a, b| {
            (a.0.file, a.0.span.start, a.1, &a.2).cmp(&(b.0.file, b.0.span.start, b.1, &b.2))
        });
        let (mut errors, mut warnings) = (Vec::new(), Vec::new());
        for file in File::ALL {
            for (severity, list) in [(Severity::Error, &mut errors), (Severity::Warning, &mut warnings)] {
                let mut all = self.found.iter().filter(|note| note.0.file == file && note.1 == severity);
                list.extend(all.by_ref().take(FINDINGS_PER_FILE).map(|note| self.finding(note)));
                if let Some(next) = all.next() {
                    let more = all.count() + 1;
                    let mut last = self.finding(next);
                    last.message =
                        format!("{more} more findings in this file are not shown, this is the first");
                    "the findings above to be mended first".clone_into(&mut last.expected);
                    "mend the findings above, then check again".clone_into(&mut last.remedy);
                    list.push(last);
                }
            }
        }
        (errors, warnings)
    }

    fn finding(
        &self,
        (spot, severity, message, expected, remedy): &(Spot, Severity, String, String, String),
    ) -> Finding {
        let (line, column) = place(&self.texts[spot.file as usize], spot.span.start);
        Finding {
            file: self.path(spot.file),
            line,
            column,
            severity: *severity,
            message: message.clone(),
            expected: expected.clone(),
            remedy: remedy.clone(),
            span: spot.span.clone(),
        }
    }
}

/// The candidate nearest in spelling to `typed`, if any is near enough to be what was meant.
pub(super) fn nearest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_lowercase().replace('_', "-");
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&typed, &candidate.to_lowercase()), candidate))
        // A third of the letters may be wrong; one always, so that short names have a neighbour too.
        // A name that only lacks its unit (`speed` for `speed-mm-s`) is near as well.
        .map(|(steps, candidate)| {
            let lacks_end = typed.len() >= 3 && candidate.starts_with(typed.as_str());
            (if lacks_end { steps.min(1) } else { steps }, candidate)
        })
        .filter(|(steps, candidate)| *steps <= (candidate.len().max(typed.len()) / 3).max(1))
        .min_by_key(|(steps, _)| *steps)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_lines_and_characters_from_one() {
        let text = "ab\n东莞=1\n";
        assert_eq!(place(text, 0), (1, 1));
        assert_eq!(place(text, 3), (2, 1));
        assert_eq!(place(text, 9), (2, 3));
        assert_eq!(place(text, 4), (2, 1), "the middle of a character is that character");
        assert_eq!(place(text, 999), (3, 1));
    }

    #[test]
    fn the_nearest_name_is_near_or_none() {
        let names = ["speed-mm-s", "length-mm", "pulses-per-metre"];
        assert_eq!(nearest("sped_mm_s", names), Some("speed-mm-s"));
        assert_eq!(nearest("speed", names), Some("speed-mm-s"));
        assert_eq!(nearest("lenght-mm", names), Some("length-mm"));
        assert_eq!(nearest("colour", names), None);
    }

    #[test]
    fn a_flood_is_cut_and_counted() {
        let mut notes = Notes::new(Path::new("c"));
        for _ in 0..FINDINGS_PER_FILE + 5 {
            notes.error(&Spot::top(File::Line), "m", "e", "r");
        }
        notes.error(&Spot::top(File::Plan), "other", "e", "r");
        let (errors, _) = notes.sorted();
        assert_eq!(errors.len(), FINDINGS_PER_FILE + 2);
        assert!(errors[FINDINGS_PER_FILE].message.starts_with("5 more"), "{:?}", errors[FINDINGS_PER_FILE]);
        assert_eq!(errors.last().unwrap().message, "other");
    }
}
