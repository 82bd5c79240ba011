//! `evidence.json`, and its schema.

use serde::{Deserialize, Serialize};

use super::complete::Complete;
use super::parcel::Parcel;

/// Name of the format; a change of shape is another one.
pub const FORMAT: &str = "sortd-evidence-2";

/// Format of the version before, which could not prove that nothing was left out.
pub const FORMAT_BEFORE: &str = "sortd-evidence-1";

/// What of the document is what the machine said when it made it, and follows from no record.
pub const STATED: [&str; 5] = [
    "program",
    "upstream[].acknowledged",
    "photos[].state other than present",
    "photos[].found_sha256",
    "missing[] with stated",
];

/// JSON Schema of the document.
pub const SCHEMA: &str = include_str!("evidence.schema.json");

/// What is known about a parcel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// [`FORMAT`].
    pub format: String,
    /// Version of the program that made it.
    pub program: String,
    /// Code it was asked for by.
    pub code: String,
    /// What the records say; proven by `proof/`.
    pub parcel: Parcel,
    /// Photos, as they were found.
    pub photos: Vec<PhotoFile>,
    /// What upstream had acknowledged.
    pub upstream: Vec<Acknowledged>,
    /// How far `proof/` reaches.
    pub proof: ProofSummary,
    /// What is not here, or not sure, and why.
    pub missing: Vec<Missing>,
    /// What of this is stated and not proven: [`STATED`].
    pub stated: Vec<String>,
}

/// A photo in the bundle, or why it is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhotoFile {
    /// Record that names it.
    pub record: u64,
    /// Camera.
    pub camera: String,
    /// Name at the camera.
    pub name: String,
    /// Name in the bundle.
    pub file: Option<String>,
    /// `present`, `missing`, `changed` or `left_out`.
    pub state: PhotoState,
    /// SHA-256 of the file that was found instead, where it was no longer than what was recorded; stated.
    pub found_sha256: Option<String>,
}

/// What became of a photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhotoState {
    /// It is in the bundle, with the digest that was recorded.
    Present,
    /// No file of its name is in the spool directory any more.
    Missing,
    /// A file of its name is there, with other contents; it is not in the bundle.
    Changed,
    /// The bundle had no room for it.
    LeftOut,
}

/// An event and whether upstream had acknowledged it when the bundle was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledged {
    /// Record of the event.
    pub record: u64,
    /// Acknowledged; `None` where the cursor was not to be read.
    pub acknowledged: Option<bool>,
}

/// How far the proof reaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofSummary {
    /// Records in `proof/records/`.
    pub records: u64,
    /// Of them: covered by a signed anchor.
    pub anchored: u64,
    /// Anchors.
    pub anchors: u64,
    /// Keys that signed them.
    pub keys: Vec<String>,
    /// Passes of which every record is here.
    pub complete: Vec<Complete>,
}

/// Something that is not here, or not sure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Missing {
    /// What, as one word.
    pub what: String,
    /// The machine says so: it follows from no record that is here.
    pub stated: bool,
    /// One sentence.
    pub en: String,
    /// The same in Chinese.
    pub zh: String,
}

impl Evidence {
    /// As it stands in the bundle: for people, too.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a document of texts, numbers and lists");
        bytes.push(b'\n');
        bytes
    }
}
