//! `sortd check`: the whole configuration, all errors at once.
//!
//! Each finding begins with `file:line:column: error: …`, which editors and CI logs can jump to; on a terminal
//! the place is drawn below it, elsewhere what was expected and the remedy follow as text. Errors first,
//! warnings apart, a count last.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use miette::{Diagnostic, GraphicalReportHandler, LabeledSpan, NamedSource, SourceCode};

use crate::site::{Finding, Severity, Site, load};

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people at a terminal: the place is drawn.
    Drawn,
    /// For pipes and logs: text only.
    Plain,
    /// For programs: a JSON list of findings.
    Json,
}

/// Checks the configuration in `directory` and prints to standard output. True where there are errors.
///
/// # Errors
///
/// Standard output cannot be written.
pub fn run(directory: &Path, json: bool) -> io::Result<bool> {
    let stdout = io::stdout();
    let form = match (json, stdout.is_terminal()) {
        (true, _) => Form::Json,
        (false, true) => Form::Drawn,
        (false, false) => Form::Plain,
    };
    check(directory, form, &mut stdout.lock())
}

/// Checks the configuration in `directory` and prints to `out`. True where there are errors.
///
/// # Errors
///
/// `out` cannot be written.
pub fn check(directory: &Path, form: Form, out: &mut dyn Write) -> io::Result<bool> {
    let (site, findings) = match load(directory) {
        Ok((site, warnings)) => (Some(site), warnings),
        Err(findings) => (None, findings),
    };
    if form == Form::Json {
        serde_json::to_writer_pretty(&mut *out, &findings)?;
        writeln!(out)?;
        return Ok(site.is_none());
    }
    print(&findings, form, out)?;
    match &site {
        Some(site) => writeln!(out, "{}", summary(site))?,
        None => writeln!(out, "{}: refused", directory.display())?,
    }
    writeln!(out, "{}", counts(&findings))?;
    Ok(site.is_none())
}

/// Prints findings, errors before warnings; for whoever refuses a configuration, such as a reload.
///
/// # Errors
///
/// `out` cannot be written.
pub fn print(findings: &[Finding], form: Form, out: &mut dyn Write) -> io::Result<()> {
    for severity in [Severity::Error, Severity::Warning] {
        for finding in findings.iter().filter(|finding| finding.severity == severity) {
            writeln!(out, "{finding}")?;
            match form {
                Form::Drawn => match Drawn::new(finding) {
                    Some(drawn) => writeln!(out, "{}", drawn.render())?,
                    None => advice(finding, out)?,
                },
                Form::Plain | Form::Json => advice(finding, out)?,
            }
        }
    }
    Ok(())
}

fn advice(finding: &Finding, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "    expected: {}", finding.expected)?;
    writeln!(out, "    remedy: {}", finding.remedy)
}

fn counts(findings: &[Finding]) -> String {
    let count = |severity, word: &str| {
        let count = findings.iter().filter(|finding| finding.severity == severity).count();
        format!("{count} {word}{}", if count == 1 { "" } else { "s" })
    };
    format!("{}, {}", count(Severity::Error, "error"), count(Severity::Warning, "warning"))
}

fn summary(site: &Site) -> String {
    let destinations = site.plan.destinations().count();
    let others = match site.plan.routes.len() - destinations {
        0 => String::new(),
        others => format!(", {others} routes by other conditions"),
    };
    format!(
        "{} / {}: {} chutes, {} readers, {} carriers, {destinations} destinations{others}, plan {}",
        site.name,
        site.line_name,
        site.chutes.len(),
        site.readers.len(),
        site.carriers.carriers.len(),
        site.plan.version,
    )
}

/// A finding with its file's text, for drawing.
#[derive(Debug)]
struct Drawn<'a> {
    finding: &'a Finding,
    source: NamedSource<String>,
}

impl<'a> Drawn<'a> {
    /// `None` where there is no text to draw in: the file is missing, or has changed since and lost the place.
    fn new(finding: &'a Finding) -> Option<Drawn<'a>> {
        let bytes = std::fs::read(&finding.file).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned();
        let within = finding.span.end <= text.len()
            && text.is_char_boundary(finding.span.start)
            && text.is_char_boundary(finding.span.end);
        let name = finding.file.display().to_string();
        (within && !text.is_empty()).then(|| Drawn { finding, source: NamedSource::new(name, text) })
    }

    fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a `String` does not fail, and a place that cannot be drawn leaves the line above it.
        let _ = GraphicalReportHandler::new().with_links(false).render_report(&mut text, self);
        text
    }
}

impl std::fmt::Display for Drawn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.finding.message)
    }
}

impl std::error::Error for Drawn<'_> {}

impl Diagnostic for Drawn<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.finding.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'b>(&'b self) -> Option<Box<dyn std::fmt::Display + 'b>> {
        Some(Box::new(&self.finding.remedy))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = format!("expected: {}", self.finding.expected);
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(Some(label), self.finding.span.clone()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/demo");
        for entry in std::fs::read_dir(demo).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), directory.path().join(entry.file_name())).unwrap();
        }
        let line = directory.path().join("line.toml");
        let text =
            std::fs::read_to_string(&line).unwrap().replace("speed-mm-s = 2500", "speed-mm-s = 2500000");
        std::fs::write(line, text).unwrap();
        directory
    }

    fn printed(directory: &Path, form: Form) -> (bool, String) {
        let mut out = Vec::new();
        let failed = check(directory, form, &mut out).unwrap();
        (failed, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_good_configuration_is_summed_up() {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/demo");
        let (failed, text) = printed(&demo, Form::Plain);
        assert!(!failed, "{text}");
        assert!(text.contains("25 chutes, 3 readers, 38 carriers, 90 destinations, plan "), "{text}");
        assert!(text.ends_with("0 errors, 0 warnings\n"), "{text}");
    }

    #[test]
    fn plain_lines_can_be_jumped_to() {
        let directory = broken();
        let (failed, text) = printed(directory.path(), Form::Plain);
        assert!(failed);
        let first = text.lines().next().unwrap();
        let place = format!("{}/line.toml:", directory.path().display());
        assert!(first.starts_with(&place) && first.contains(": error: `speed-mm-s` is 2500000"), "{first}");
        assert!(text.contains("100 to 5000 mm/s") && text.ends_with("1 error, 0 warnings\n"), "{text}");
    }

    #[test]
    fn a_terminal_sees_the_place() {
        let directory = broken();
        let (_, text) = printed(directory.path(), Form::Drawn);
        assert!(text.contains("speed-mm-s = 2500000"), "{text}");
        assert!(text.contains("expected: a whole number"), "{text}");
    }

    #[test]
    fn programs_get_a_list() {
        let directory = broken();
        let (_, text) = printed(directory.path(), Form::Json);
        let list: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(list.len(), 1);
        for key in ["file", "line", "column", "severity", "message", "expected", "remedy"] {
            assert!(!list[0][key].is_null(), "{key}");
        }
        assert_eq!(list[0]["severity"], "error");
    }

    #[test]
    fn a_missing_directory_is_one_finding() {
        let (failed, text) = printed(Path::new("/nonexistent/sortd"), Form::Drawn);
        assert!(failed && text.ends_with("1 error, 0 warnings\n"), "{text}");
        assert!(text.contains("--config"), "{text}");
    }
}
