//! `sortd verify`: whether the record of everything is what was written.
//!
//! A running line is asked through its socket; `--store` examines a copy. The answer first, for somebody who has to
//! decide what to do about it; then what it rests on.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::explain::local_time;
use super::{Exit, Format, print, print_json, refused, verify_bundle};
use crate::journal::Archive;
use crate::journal::signing::PublicKey;
use crate::journal::verify::{Bad, Report, Source, Verdict, examine};
use crate::panel::client::Client;

/// What to examine, and what to believe.
#[derive(Debug, Args)]
pub struct Options {
    /// A claim bundle, as `sortd evidence` wrote it: needs neither line nor store.
    #[arg(long, value_name = "FILE.zip", conflicts_with = "store")]
    pub bundle: Option<PathBuf>,
    /// A copy of a store; the running line's own, through its socket, unless given.
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Public key that anchors must be signed with (`signing-key.pub`, kept elsewhere); may be given again for
    /// the keys before it. Without it any key is believed that the anchors themselves name in order.
    #[arg(long, value_name = "FILE")]
    pub key: Vec<PathBuf>,
}

/// Examines and prints.
pub fn command(client: &Client, options: &Options, format: Format) -> Exit {
    let mut trusted = Vec::new();
    for path in &options.key {
        match public_key(path) {
            Ok(key) => trusted.push(key),
            Err(why) => return refused(&why, Exit::Failed, format),
        }
    }
    if let Some(bundle) = &options.bundle {
        return verify_bundle::command(bundle, &trusted, format);
    }
    let named = !trusted.is_empty();
    let report = match &options.store {
        None => run(client, trusted),
        Some(directory) => match Archive::open(directory) {
            Ok(archive) => run(&archive, trusted),
            Err(error) => return could_not(&error, format),
        },
    };
    let report = match report {
        Ok(report) => report,
        Err(why) => return could_not(&why, format),
    };
    let printed = if format.json { print_json(&report) } else { print(&text(&report, named)) };
    match printed {
        Exit::Done if report.is_clean() => Exit::Done,
        Exit::Done => Exit::Finding,
        other => other,
    }
}

fn run(source: &dyn Source, trusted: Vec<PublicKey>) -> Result<Report, String> {
    examine(source, trusted).map_err(|error| error.to_string())
}

fn public_key(path: &Path) -> Result<PublicKey, String> {
    let content = std::fs::read(path)
        .map_err(|error| format!("the key {} of --key cannot be read: {error}", path.display()))?;
    PublicKey::parse(&content).map_err(|error| {
        format!(
            "the key {} of --key: {error}; it is the file signing-key.pub of the line's store",
            path.display()
        )
    })
}

fn could_not(why: &dyn std::fmt::Display, format: Format) -> Exit {
    refused(&format!("the store could not be examined: {why}"), Exit::Failed, format)
}

/// The report as text; `named`: whether a key was given.
pub fn text(report: &Report, named: bool) -> String {
    let mut out = String::new();
    let (head, meaning, remedy) = told(report, named);
    let _ = writeln!(out, "{head}");
    if let Some(bad) = &report.bad {
        let _ = writeln!(out, "  First bad record: {}", place(bad));
    }
    let _ = writeln!(out, "  What it means: {meaning}");
    if let Some(remedy) = remedy {
        let _ = writeln!(out, "  What to do: {remedy}");
    }
    if !report.findings.is_empty() {
        out.push_str("\nAlso found\n");
        report.findings.iter().for_each(|finding| {
            let _ = writeln!(out, "  - {finding}");
        });
    }
    out.push_str("\nExamined\n");
    let _ = match (report.first_seq, report.last_seq) {
        (Some(first), Some(last)) => {
            writeln!(out, "  {} records, {first} to {last}, in {} days", report.records, report.days)
        }
        _ => writeln!(out, "  no records"),
    };
    let proven = report.proven_to.map_or_else(String::new, |seq| format!("; records up to {seq} are proven"));
    let _ = writeln!(
        out,
        "  {} anchors, {} of records that are kept and right{proven}",
        report.anchors, report.anchors_agree
    );
    if !report.keys.is_empty() {
        let _ = writeln!(out, "  signed by {}", report.keys.join(", "));
    }
    report.notes.iter().for_each(|note| {
        let _ = writeln!(out, "  - {note}");
    });
    out
}

fn place(bad: &Bad) -> String {
    let mut text = bad.seq.to_string();
    if let Some(day) = bad.day.as_ref().filter(|day| !day.is_empty()) {
        let _ = write!(text, ", day {day}");
    }
    if let Some(wall_us) = bad.wall_us {
        let _ = write!(text, ", about {}", local_time(wall_us, "UTC"));
    }
    text
}

const KEEP: &str = "Keep this store and a copy of it as they are; take the records from the anchors and events that \
                    upstream holds, and find out who could write to the disk.";

/// Headline, meaning, and what to do.
fn told(report: &Report, named: bool) -> (String, String, Option<String>) {
    let some = |text: &str| Some(text.to_owned());
    match &report.verdict {
        Verdict::Intact if report.is_clean() => {
            let meaning = if report.proven_to.is_none() {
                "every record follows from the one before it; no anchor has signed them yet."
            } else if named {
                "every record is the one that was written, and the key given has signed for it."
            } else {
                "every record is the one that was written; the key that signed is believed. Give --key to be sure \
                 that it is yours."
            };
            ("INTACT".to_owned(), meaning.to_owned(), None)
        }
        Verdict::Intact => (
            "INTACT, BUT".to_owned(),
            "every record follows from the one before it, but something beside the records is not right.".to_owned(),
            some("Read what was found below; compare the anchors with those upstream has."),
        ),
        Verdict::AlteredAt { seq, what } => (
            format!("ALTERED AT RECORD {seq}: {what}"),
            "this record is not the one that was written, or is gone, and the store goes on behind it.".to_owned(),
            some(KEEP),
        ),
        Verdict::Truncated { last, expected, witness } => (
            format!("TRUNCATED BEHIND RECORD {last}: {witness} at record {expected} or behind it"),
            "what is there is right, but records behind it were durable and are gone.".to_owned(),
            some(KEEP),
        ),
        Verdict::UnchainedTail { from } => (
            format!("UNCHAINED TAIL FROM RECORD {from}"),
            "these records hang on nothing before them and nobody signed for them: something else than sortd, or a \
             sortd of before the chain, wrote them."
                .to_owned(),
            some("Do not rely on the records from there on; find out which program wrote to this store."),
        ),
        Verdict::AnchorMismatch { number, seq, after, what } => (
            format!("ANCHOR MISMATCH: {what}"),
            format!(
                "records from {} on, up to {seq} at the latest, were made anew after anchor {number} was signed, \
                 checksums and links included, or the anchor was made anew, or it is of another store{}.",
                after + 1,
                report
                    .proven_to
                    .map_or_else(String::new, |proven| format!("; up to {proven} they are what was signed"))
            ),
            some(KEEP),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdict: Verdict) -> Report {
        let bad = Bad { seq: 17, day: Some("2026-11-22".to_owned()), wall_us: Some(1_795_312_984_000_000) };
        Report {
            bad: (verdict != Verdict::Intact).then_some(bad),
            verdict,
            findings: Vec::new(),
            notes: Vec::new(),
            records: 20,
            first_seq: Some(1),
            last_seq: Some(20),
            chained_from: Some(1),
            days: 1,
            anchors: 2,
            anchors_agree: 2,
            proven_to: Some(20),
            keys: vec!["0123456789abcdef".to_owned()],
        }
    }

    #[test]
    fn the_answer_comes_first_with_place_meaning_and_remedy() {
        let what = "its CRC32 is 1, but its bytes make 2".to_owned();
        let out = text(&report(Verdict::AlteredAt { seq: 17, what }), false);
        assert!(out.starts_with("ALTERED AT RECORD 17: its CRC32"), "{out}");
        for part in ["First bad record: 17, day 2026-11-22, about 2026-11-22 02:03:04", "What to do: Keep"] {
            assert!(out.contains(part), "{out}");
        }
        let clean = text(&report(Verdict::Intact), false);
        assert!(clean.starts_with("INTACT\n") && clean.contains("--key") && !clean.contains("What to do"));
        assert!(!text(&report(Verdict::Intact), true).contains("--key"));
        let mut odd = report(Verdict::Intact);
        odd.findings.push("Something.".to_owned());
        assert!(text(&odd, true).starts_with("INTACT, BUT\n"));
    }

    #[test]
    fn a_key_that_is_none_is_a_fault_of_the_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bad");
        let fault = public_key(&path).unwrap_err();
        assert!(fault.contains("of --key cannot be read") && fault.contains("bad"), "{fault}");
        std::fs::write(&path, "nothing of a key").unwrap();
        let fault = public_key(&path).unwrap_err();
        assert!(fault.contains("--key") && fault.contains("signing-key.pub"), "{fault}");
    }

    #[test]
    fn the_json_names_the_case_and_the_record() {
        let verdict = Verdict::Truncated { last: 16, expected: 20, witness: "w".to_owned() };
        let value = serde_json::to_value(report(verdict)).unwrap();
        assert_eq!((&value["verdict"], &value["expected"]), (&"truncated".into(), &20.into()));
        assert_eq!(value["bad"]["seq"], 17);
        let intact = serde_json::to_value(report(Verdict::Intact)).unwrap();
        assert_eq!(intact["verdict"], "intact");
    }
}
