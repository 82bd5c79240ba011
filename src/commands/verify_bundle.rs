//! `sortd verify --bundle FILE.zip`: whether a claim bundle proves what it says, on any machine.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::{Exit, Format, print, print_json, refused};
use crate::evidence::bundle::BUNDLE_MOST;
use crate::evidence::verify::{Verdict, verify};
use crate::journal::signing::PublicKey;
use crate::panel::words;

/// Verifies the bundle and says what comes out; without trusted keys, any that its anchors name is believed.
pub fn command(bundle: &Path, trusted: &[PublicKey], format: Format) -> Exit {
    // One byte more than is taken tells that it is too large.
    let bytes = match read(bundle, BUNDLE_MOST + 1) {
        Ok(bytes) => bytes,
        Err(error) => {
            return refused(
                &format!("cannot read the bundle {}: {error}", bundle.display()),
                Exit::Failed,
                format,
            );
        }
    };
    let verdict = verify(&bytes, trusted);
    let printed = if format.json { print_json(&verdict) } else { print(&text(bundle, &verdict)) };
    match printed {
        Exit::Done if !verdict.is_proven() => Exit::Finding,
        other => other,
    }
}

fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text(bundle: &Path, verdict: &Verdict) -> String {
    let word = match verdict.verdict {
        "proven" => "PROVEN",
        "altered" => "ALTERED",
        _ => "NOT PROVEN",
    };
    let code = verdict.code.as_deref().map(words::plain).unwrap_or_default();
    let mut text = format!("{}: {word} {code}\n", bundle.display());
    for finding in &verdict.findings {
        text.push_str(&format!("  {}: {}\n", words::plain(&finding.file), words::plain(&finding.what)));
    }
    if verdict.records > 0 {
        text.push_str(&format!(
            "  {} records, {} covered by a signed anchor, {} photos; key {}\n",
            verdict.records,
            verdict.anchored,
            verdict.photos,
            if verdict.keys.is_empty() { "none".to_owned() } else { verdict.keys.join(", ") }
        ));
    }
    for pass in &verdict.complete {
        text.push_str(&format!(
            "  pass {}: every record from {} to {} is here or of another pass, signed {}\n",
            words::plain(&pass.pass),
            pass.from,
            pass.to,
            words::plain(&pass.signed.local)
        ));
    }
    for stated in &verdict.stated {
        text.push_str(&format!("  stated, not proven: {}\n", words::plain(stated)));
    }
    if verdict.records > 0 {
        for limit in &verdict.not_proven {
            text.push_str(&format!("  no bundle proves: {limit}\n"));
        }
    }
    for note in &verdict.notes {
        text.push_str(&format!("  note: {}\n", words::plain(note)));
    }
    text
}
