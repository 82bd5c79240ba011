//! `sortd evidence CODE --out FILE.zip`: the claim bundle of a parcel, from the running line or from a store's copy.

use std::path::Path;

use serde::Serialize;

use super::{Exit, Format, client, complain, failed_as, print, print_json, refused};
use crate::evidence::collect::{bundle, digest};
use crate::evidence::document::PhotoState;
use crate::evidence::source::Store;
use crate::evidence::target::{WriteError, target, write_whole};
use crate::evidence::{Evidence, EvidenceError, Files, Setting};
use crate::journal::Archive;
use crate::panel::routes::check_code;

/// What was written.
#[derive(Debug, Serialize)]
struct Written<'a> {
    code: &'a str,
    bundle: &'a Path,
    sha256: String,
    bytes: u64,
    passes: u64,
    photos: u64,
    records: u64,
    anchored: u64,
    missing: &'a [crate::evidence::document::Missing],
}

/// Makes the bundle and writes it, whole or not at all.
pub fn command(config: &Path, code: &str, out: &Path, store: Option<&Path>, format: Format) -> Exit {
    if let Err(fault) = check_code(code) {
        return refused(&fault, Exit::Usage, format);
    }
    // Before anything is looked up for it.
    match target(out) {
        Ok(_) => {}
        Err(error @ WriteError::Dash) => return refused(&error, Exit::Usage, format),
        Err(error) => return refused(&error, Exit::Failed, format),
    }
    let made = match store {
        Some(directory) => from_copy(config, code, directory, format),
        None => from_line(config, code, format),
    };
    let (evidence, packed) = match made {
        Ok(made) => made,
        Err(exit) => return exit,
    };
    if let Err(error) = write_whole(out, &packed) {
        return refused(&error, Exit::Failed, format);
    }
    let present = evidence.photos.iter().filter(|photo| photo.state == PhotoState::Present).count();
    let written = Written {
        code,
        bundle: out,
        sha256: digest(&packed),
        bytes: packed.len() as u64,
        passes: evidence.parcel.passes.len() as u64,
        photos: present as u64,
        records: evidence.proof.records,
        anchored: evidence.proof.anchored,
        missing: &evidence.missing,
    };
    if format.json { print_json(&written) } else { print(&text(&written)) }
}

fn text(written: &Written<'_>) -> String {
    let mut text = format!(
        "{}: {} bytes, SHA-256 {}\n  {} passes, {} photos, {} of {} records covered by a signed anchor\n",
        written.bundle.display(),
        written.bytes,
        written.sha256,
        written.passes,
        written.photos,
        written.anchored,
        written.records,
    );
    for missing in written.missing {
        text.push_str(&format!("  {}\n", missing.en));
    }
    text
}

fn from_line(config: &Path, code: &str, format: Format) -> Result<(Evidence, Vec<u8>), Exit> {
    let packed = client(config).evidence(code).map_err(|error| failed_as(&error, format))?;
    let spoilt = |what: String| {
        refused(&format!("the bundle did not arrive as it was sent: {what}"), Exit::Failed, format)
    };
    let files = Files::unpack(&packed)
        .map_err(|faults| spoilt(faults.first().map(ToString::to_string).unwrap_or_default()))?;
    let document = files.0.get("evidence.json").map_or(&[][..], Vec::as_slice);
    let evidence = serde_json::from_slice(document).map_err(|error| spoilt(error.to_string()))?;
    Ok((evidence, packed))
}

/// A copy has no daemon that knows where the photos are; the configuration does, where there is one.
fn from_copy(
    config: &Path,
    code: &str,
    directory: &Path,
    format: Format,
) -> Result<(Evidence, Vec<u8>), Exit> {
    let archive = Archive::open(directory).map_err(|error| refused(&error, Exit::Failed, format))?;
    for (day, what) in archive.damaged() {
        complain(&format!("sortd: day {day} is left out, it is damaged: {what}\n"));
    }
    let setting =
        crate::site::load(config).map_or_else(|_| Setting::default(), |(site, _)| Setting::of(&site));
    let store = Store::new(archive.reader().clone(), archive.directory());
    bundle(&store, code, &setting).map_err(|error| {
        let exit = match error {
            EvidenceError::NotFound { .. } | EvidenceError::Broken(_) => Exit::Finding,
            EvidenceError::Store(_) | EvidenceError::Pack(_) => Exit::Failed,
        };
        refused(&error, exit, format)
    })
}
