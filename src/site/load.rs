//! Files → findings and the site.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use super::finding::{File, Finding, Notes, Severity, Spot};
use super::resolve::Files;
use super::{Site, SortPlan, keys, plan_rows, tables, walk};

/// Largest file taken, in bytes; a plan of 100,000 rows has 3 MB.
const FILE_MAX: u64 = 8 << 20;
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// A checked configuration with the files it was read from.
#[derive(Debug)]
pub struct Loaded {
    /// The site.
    pub site: Site,
    /// Warnings, in order of file and place.
    pub warnings: Vec<Finding>,
    /// Names and contents of the files, as they were checked; a byte-order mark is left out. What they name,
    /// a password's file for instance, is not among them.
    pub sources: Vec<(String, Vec<u8>)>,
}

/// Loads and checks the configuration in a directory.
///
/// # Errors
///
/// As [`load_with_sources`].
pub fn load(directory: &Path) -> Result<(Site, Vec<Finding>), Vec<Finding>> {
    load_with_sources(directory).map(|loaded| (loaded.site, loaded.warnings))
}

/// Loads and checks the configuration in a directory and keeps what was read.
///
/// All files are read and everything in them is checked, whatever is wrong elsewhere.
///
/// # Errors
///
/// All errors of all files, in order of file and place, warnings behind them. Without an error: the site, and
/// the warnings.
pub fn load_with_sources(directory: &Path) -> Result<Loaded, Vec<Finding>> {
    if !directory.is_dir() {
        return Err(vec![Finding {
            file: directory.to_owned(),
            line: 1,
            column: 1,
            severity: Severity::Error,
            message: "there is no such directory".to_owned(),
            expected: "a directory with sortd.toml, line.toml, devices.toml, carriers.toml, chutes.csv and \
                       sort-plan.csv"
                .to_owned(),
            remedy: "name it with `--config DIR`, or copy config/line of the sources there and edit it"
                .to_owned(),
            span: 0..0,
        }]);
    }
    check(directory, read)
}

/// Checks a configuration that is at hand, as a store's archive keeps it. Relative paths in it stay relative.
///
/// # Errors
///
/// As [`load_with_sources`].
pub fn load_from_sources(sources: &[(String, Vec<u8>)]) -> Result<Loaded, Vec<Finding>> {
    check(Path::new(""), |notes, file| match sources.iter().find(|(name, _)| name == file.name()) {
        Some((_, bytes)) => text_of(notes, file, bytes.clone()),
        None => unread(notes, file, &std::io::ErrorKind::NotFound.into()),
    })
}

fn check(
    directory: &Path,
    mut read: impl FnMut(&mut Notes, File) -> Option<String>,
) -> Result<Loaded, Vec<Finding>> {
    let mut notes = Notes::new(directory);
    let mut files = Files::default();
    for file in File::ALL {
        let Some(text) = read(&mut notes, file) else { continue };
        match file {
            File::Sortd => files.sortd = walk::read(&mut notes, file, &keys::SORTD, &text),
            File::Line => files.line = walk::read(&mut notes, file, &keys::LINE, &text),
            File::Devices => files.devices = walk::read(&mut notes, file, &keys::DEVICES, &text),
            File::Carriers => files.carriers = walk::read(&mut notes, file, &keys::CARRIERS, &text),
            File::Chutes => files.chutes = tables::chutes(&mut notes, &text),
            File::Plan => files.plan = plan_rows::plan(&mut notes, &text),
        }
    }
    files.check(&mut notes, directory);
    let sources = notes.sources();
    let (mut errors, warnings) = notes.sorted();
    if errors.is_empty() {
        if let Some(site) = files.site(directory) {
            return Ok(Loaded { site, warnings, sources });
        }
        // Every way to a missing value reports it; this stands for a defect of the checks themselves.
        let mut notes = Notes::new(directory);
        notes.error(
            &Spot::top(File::Sortd),
            "the configuration passed every check and still could not be resolved",
            "a site",
            "report this as a defect of sortd, with the configuration",
        );
        errors = notes.sorted().0;
    }
    errors.extend(warnings);
    Err(errors)
}

/// The destinations of a plan in the order of the file, each once: engineers write the busiest first. Rows with other
/// conditions are none.
///
/// # Errors
///
/// As [`load`], of this file only.
pub fn destinations(directory: &Path) -> Result<Vec<String>, Vec<Finding>> {
    let mut notes = Notes::new(directory);
    let rows =
        read(&mut notes, File::Plan).and_then(|text| plan_rows::plan(&mut notes, &text)).unwrap_or_default();
    let (errors, _) = notes.sorted();
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut names: Vec<String> = Vec::new();
    let mut seen = BTreeSet::new();
    let alone = rows.into_iter().filter_map(|row| row.conditions?.destination_alone());
    for name in alone {
        if seen.insert(name.clone()) {
            names.push(name);
        }
    }
    Ok(names)
}

/// A sort plan out of a file of its own, or out of a whole configuration.
///
/// # Errors
///
/// As [`load`]; of a single file, only what is wrong within it. Whether its chutes exist is for whoever knows
/// the line.
pub fn plan_of(path: &Path) -> Result<SortPlan, Vec<Finding>> {
    if path.is_dir() {
        return load(path).map(|(site, _)| site.plan);
    }
    let mut notes = Notes::new(path.parent().unwrap_or(Path::new("")));
    let rows = read_at(&mut notes, File::Plan, path).and_then(|text| plan_rows::plan(&mut notes, &text));
    let (mut errors, _) = notes.sorted();
    for error in &mut errors {
        path.clone_into(&mut error.file);
    }
    match rows {
        Some(rows) if errors.is_empty() => Ok(SortPlan::new(plan_rows::routes(&rows))),
        Some(_) | None => Err(errors),
    }
}

/// The text of a file without its byte-order mark.
fn read(notes: &mut Notes, file: File) -> Option<String> {
    let path = notes.path(file);
    read_at(notes, file, &path)
}

fn read_at(notes: &mut Notes, file: File, path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    // A pipe or a device in a file's place would hold the check up for ever.
    let regular = std::fs::metadata(path).and_then(|found| match found.is_file() {
        true => std::fs::File::open(path),
        false => Err(std::io::Error::other("it is no regular file")),
    });
    let read = regular.and_then(|open| open.take(FILE_MAX + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) => text_of(notes, file, bytes),
        Err(error) => unread(notes, file, &error),
    }
}

fn unread(notes: &mut Notes, file: File, error: &std::io::Error) -> Option<String> {
    let remedy = if error.kind() == std::io::ErrorKind::NotFound {
        format!("copy config/line/{} of the sources there and edit it", file.name())
    } else {
        "correct its owner and mode, e.g. `chmod 644`".to_owned()
    };
    notes.error(&Spot::top(file), format!("the file cannot be read: {error}"), "a readable file", remedy);
    None
}

fn text_of(notes: &mut Notes, file: File, bytes: Vec<u8>) -> Option<String> {
    if bytes.len() as u64 > FILE_MAX {
        notes.error(
            &Spot::top(file),
            "the file is larger than 8 MiB",
            "a configuration file",
            "look whether another file got this name",
        );
        return None;
    }
    match String::from_utf8(bytes) {
        Ok(text) => {
            let text = match text.strip_prefix(BYTE_ORDER_MARK) {
                Some(rest) => rest.to_owned(),
                None => text,
            };
            notes.keep_text(file, text.clone());
            Some(text)
        }
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let bom = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
            notes.keep_text(file, text[bom..].to_owned());
            let spot = Spot::new(file, good - bom.min(good)..good - bom.min(good) + 1);
            notes.error(
                &spot,
                "the file is not UTF-8 from here on",
                "text in UTF-8",
                "save it as UTF-8 (in a spreadsheet \"CSV UTF-8\"; a Chinese Excel writes GBK otherwise)",
            );
            None
        }
    }
}
