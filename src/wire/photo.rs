//! Names of a camera's files, and the time in them.
//!
//! Cameras of a scan tunnel send each picture by FTP or to a share, under a name that is built from what their
//! operator chose: date, time, a trigger counter, the code, good or bad. A [`PhotoName`] is that choice written down:
//!
//! ```text
//! Image_{year}{month}{day}_{hour}{minute}{second}_{millisecond}_*.jpg
//! Image_20261122_101530_042_000731_OK.jpg      →  2026-11-22 10:15:30.042, in the camera's zone
//! ```
//! `*` stands for anything, `{unix-ms}` for milliseconds since 1970. Where the name holds no time, the file's own
//! does. Small and capital letters are the same.

use jiff::civil::DateTime;
use regex::{Regex, RegexBuilder};

/// Longest pattern, bytes.
const PATTERN_MOST: usize = 200;

/// Compiled size; real patterns need a few kilobytes.
const REGEX_SIZE_MOST: usize = 1 << 20;

/// What may stand in braces, and its digits.
const FIELDS: [(&str, &str, usize); 9] = [
    ("year", "year", 4),
    ("yy", "yy", 2),
    ("month", "month", 2),
    ("day", "day", 2),
    ("hour", "hour", 2),
    ("minute", "minute", 2),
    ("second", "second", 2),
    ("millisecond", "millisecond", 3),
    ("unix-ms", "unix_ms", 13),
];

/// Why a pattern is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing, or far too much.
    #[error("has {0} bytes; 1 to {PATTERN_MOST} are expected")]
    Length(usize),
    /// A directory.
    #[error("holds a `/`; it names files of one directory")]
    Slash,
    /// A brace that does not fit.
    #[error("holds {0:?}, which is no field")]
    Field(String),
    /// A field twice.
    #[error("holds {{{0}}} twice")]
    Twice(&'static str),
    /// A time that is not whole.
    #[error(
        "holds a part of a time; a whole one has year, month, day, hour, minute and second, or `{{unix-ms}}`"
    )]
    Part,
    /// Too large to compile.
    #[error("is too complicated")]
    Complicated,
}

/// The time a name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedTime {
    /// The name says none: the file's own time counts.
    None,
    /// In the camera's zone.
    Civil(DateTime),
    /// Milliseconds since 1970, UTC.
    UnixMs(i64),
}

/// What the names of a camera's files look like.
#[derive(Debug, Clone)]
pub struct PhotoName {
    pattern: String,
    regex: Regex,
}

impl PhotoName {
    /// From the pattern as configured.
    pub fn new(pattern: &str) -> Result<PhotoName, PatternError> {
        if pattern.is_empty() || pattern.len() > PATTERN_MOST {
            return Err(PatternError::Length(pattern.len()));
        }
        if pattern.contains('/') {
            return Err(PatternError::Slash);
        }
        let mut text = String::from("^");
        let mut used: Vec<&'static str> = Vec::new();
        let mut rest = pattern;
        while let Some(first) = rest.chars().next() {
            let field = FIELDS.iter().find(|(name, ..)| {
                rest.strip_prefix('{')
                    .and_then(|rest| rest.strip_prefix(name))
                    .is_some_and(|rest| rest.starts_with('}'))
            });
            match (first, field) {
                ('{', Some((name, group, digits))) => {
                    if used.contains(name) {
                        return Err(PatternError::Twice(name));
                    }
                    used.push(name);
                    text.push_str(&format!("(?<{group}>[0-9]{{{digits}}})"));
                    rest = &rest[name.len() + 2..];
                }
                ('{' | '}', _) => {
                    let end = rest.find('}').map_or(rest.len(), |end| end + 1);
                    return Err(PatternError::Field(rest[..end].to_owned()));
                }
                ('*', _) => {
                    text.push_str("[^/\\x00-\\x1f\\x7f]*?");
                    rest = &rest[1..];
                }
                (letter, _) => {
                    text.push_str(&regex::escape(&letter.to_string()));
                    rest = &rest[letter.len_utf8()..];
                }
            }
        }
        text.push('$');
        let has = |name: &str| used.contains(&name);
        let whole = ["month", "day", "hour", "minute", "second"].iter().all(|name| has(name));
        let civil = whole && (has("year") != has("yy")) && !has("unix-ms");
        if !(used.is_empty() || civil || used == ["unix-ms"]) {
            return Err(PatternError::Part);
        }
        let regex = RegexBuilder::new(&text).case_insensitive(true).size_limit(REGEX_SIZE_MOST).build();
        Ok(PhotoName { pattern: pattern.to_owned(), regex: regex.map_err(|_| PatternError::Complicated)? })
    }

    /// As configured.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// The time in a name; `None` where the name is not one of this camera's, or its time is none.
    pub fn time(&self, name: &str) -> Option<NamedTime> {
        let found = self.regex.captures(name)?;
        let number = |group: &str| found.name(group).and_then(|digits| digits.as_str().parse::<i16>().ok());
        if let Some(ms) = found.name("unix_ms") {
            return ms.as_str().parse().ok().map(NamedTime::UnixMs);
        }
        let small = |group: &str| number(group).and_then(|number| i8::try_from(number).ok());
        let Some(year) = number("year").or_else(|| number("yy").map(|year| 2000 + year)) else {
            return Some(NamedTime::None);
        };
        let millis = i32::from(number("millisecond").unwrap_or(0));
        DateTime::new(
            year,
            small("month")?,
            small("day")?,
            small("hour")?,
            small("minute")?,
            small("second")?,
            millis * 1_000_000,
        )
        .ok()
        .map(NamedTime::Civil)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::datetime;

    #[test]
    fn a_time_is_read_out_of_the_names_that_cameras_give() {
        let cases = [
            (
                "Image_{year}{month}{day}_{hour}{minute}{second}_{millisecond}_*.jpg",
                "image_20261122_101530_042_000731_OK.JPG",
                NamedTime::Civil(datetime(2026, 11, 22, 10, 15, 30, 42_000_000)),
            ),
            (
                "{yy}{month}{day}-{hour}{minute}{second}*.jpg",
                "261122-235959.jpg",
                NamedTime::Civil(datetime(2026, 11, 22, 23, 59, 59, 0)),
            ),
            ("*_{unix-ms}.png", "KEX1_1795305600123.png", NamedTime::UnixMs(1_795_305_600_123)),
            ("*.jpg", "000731 KEX12345678901.jpg", NamedTime::None),
        ];
        for (pattern, name, time) in cases {
            assert_eq!(PhotoName::new(pattern).unwrap().time(name), Some(time), "{pattern}");
        }
    }

    #[test]
    fn a_name_that_does_not_fit_is_none() {
        let name = PhotoName::new("{year}{month}{day}_{hour}{minute}{second}_*.jpg").unwrap();
        for odd in
            ["20261122_101530_x.jpg.tmp", "20261322_101530_x.jpg", "x.jpg", "20261122_101530_\n.jpg", ""]
        {
            assert_eq!(name.time(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn a_pattern_with_a_mistake_is_refused_with_what_is_wrong() {
        let refused = |pattern: &str| PhotoName::new(pattern).unwrap_err();
        assert_eq!(refused(""), PatternError::Length(0));
        assert_eq!(refused("a/{year}"), PatternError::Slash);
        assert_eq!(refused("{yeer}.jpg"), PatternError::Field("{yeer}".to_owned()));
        assert_eq!(refused("{year}{month}.jpg"), PatternError::Part);
        assert_eq!(refused("{unix-ms}{unix-ms}"), PatternError::Twice("unix-ms"));
        assert_eq!(refused("{unix-ms"), PatternError::Field("{unix-ms".to_owned()));
    }
}
