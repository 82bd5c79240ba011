//! The answer to a question for evidence that comes from upstream: the bundle is written into the store, and the
//! answer says where, with its digest and, where it is small, the document itself.

use std::fs;
use std::io::{self, ErrorKind::NotFound};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde_json::Value;

use super::collect::{EvidenceError, Setting, bundle, digest};
use super::source::Source;
use super::target::{WriteError, write_whole};

/// Directory in the store.
pub const DIRECTORY: &str = "evidence";

/// Bundles kept there; the oldest go first. Whoever asks fetches it soon, or asks again.
pub const BUNDLES_MOST: usize = 200;

/// Bytes kept there.
pub const BYTES_MOST: u64 = 2 << 30;

/// Largest document that is sent with the answer; beyond, it is in the bundle only. Half of the least packet limit.
pub const INLINE_MOST: usize = 256 * 1024;

/// The result, as it stands in the answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// Code asked for.
    pub code: String,
    /// Where the bundle was written, on the line's machine.
    pub bundle: PathBuf,
    /// SHA-256 of the bundle, hexadecimal.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// `evidence.json`; `None` where it is larger than [`INLINE_MOST`].
    pub evidence: Option<Value>,
}

/// One bundle is written at a time: making room for one must not meet the other, and the disk is the line's.
static WRITER: Mutex<()> = Mutex::new(());

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// No evidence.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// The bundle could not be written.
    #[error(transparent)]
    Bundle(#[from] WriteError),
    /// There is no room to be made for it.
    #[error("{}: {source}", path.display())]
    Write {
        /// File or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Collects the evidence for a code, writes the bundle durably into `store`, and says so. Blocks on the disk.
pub fn answer(
    source: &impl Source,
    code: &str,
    setting: &Setting,
    store: &Path,
) -> Result<Answer, AnswerError> {
    let (evidence, packed) = bundle(source, code, setting)?;
    let sha256 = digest(&packed);
    let directory = store.join(DIRECTORY);
    let write = |path: &Path| {
        let path = path.to_owned();
        move |source| AnswerError::Write { path, source }
    };
    let _alone = WRITER.lock().unwrap_or_else(PoisonError::into_inner);
    fs::create_dir_all(&directory).map_err(write(&directory))?;
    make_room(&directory, packed.len() as u64).map_err(write(&directory))?;
    // The digest is the name: the same evidence is one file, however often it is asked for, and no code of a label
    // becomes a path.
    let path = directory.join(format!("{sha256}.zip"));
    write_whole(&path, &packed)?;
    let document = evidence.bytes();
    let inline = (document.len() <= INLINE_MOST).then(|| serde_json::to_value(&evidence).ok()).flatten();
    Ok(Answer { code: code.to_owned(), bundle: path, sha256, bytes: packed.len() as u64, evidence: inline })
}

/// Deletes the oldest bundles until one more of this size fits.
fn make_room(directory: &Path, bytes: u64) -> io::Result<()> {
    let mut kept = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let about = entry.metadata()?;
        if about.is_file() {
            kept.push((about.modified()?, entry.path(), about.len()));
        }
    }
    kept.sort();
    let (mut count, mut sum) = (kept.len(), kept.iter().map(|(.., length)| length).sum::<u64>());
    for (_, path, length) in kept {
        if count < BUNDLES_MOST && sum.saturating_add(bytes) <= BYTES_MOST {
            break;
        }
        // Whoever has fetched one may delete it, too.
        fs::remove_file(path).or_else(|why| if why.kind() == NotFound { Ok(()) } else { Err(why) })?;
        count -= 1;
        sum -= length;
    }
    Ok(())
}
