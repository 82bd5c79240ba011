//! Small files that are written whole or not at all: checkpoint, cursor, span of a day.
//!
//! ```text
//!  0        8     9       13      17
//!  +--------+-----+-------+-------+-----------------+
//!  | magic  | ver | len   | crc32 | body (bincode)  |
//!  +--------+-----+-------+-------+-----------------+
//! ```
//! Written beside the old one, synced, renamed over it, and the directory synced: after a loss of power
//! either the old or the new content is there.
//!
//! A content whose shape changed has the next version, and its reader knows both.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

const MAGIC: &[u8; 8] = b"SORTSLIP";
/// Version of a content whose shape never changed.
const VERSION: u8 = 1;
const HEADER: usize = 17;
/// A slip holds a few numbers and names; more than this is not one.
const SLIP_LIMIT: usize = 4_096;

/// Why a small file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SlipError {
    /// The file system said no.
    #[error("{path}: {source}")]
    Io {
        /// File or directory.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// The content is not what was written.
    #[error("{path}: {what}")]
    Damaged {
        /// File.
        path: PathBuf,
        /// What was expected and what came.
        what: String,
    },
}

impl SlipError {
    /// The disk, or what this user may take of it, is full.
    pub fn is_full(&self) -> bool {
        match self {
            SlipError::Io { source, .. } => {
                matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
            }
            SlipError::Damaged { .. } => false,
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            SlipError::Io { source, .. } => match source.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    "the disk is full: make room on the disk of [store] directory"
                }
                ErrorKind::ReadOnlyFilesystem => {
                    "the file system is mounted read-only, perhaps after an error: check the disk and mount it again"
                }
                ErrorKind::PermissionDenied => {
                    "the user that runs sortd must be able to write in [store] directory"
                }
                _ => "check [store] directory and its disk",
            },
            SlipError::Damaged { .. } => "put the file aside, and keep a copy of it",
        }
    }

    pub(super) fn at(path: &Path, source: std::io::Error) -> SlipError {
        SlipError::Io { path: path.to_owned(), source }
    }
}

/// Makes the entries of a directory durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), SlipError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(|source| SlipError::at(path, source))
}

pub(super) fn write<T: Serialize>(path: &Path, content: &T) -> Result<(), SlipError> {
    write_version(path, VERSION, content)
}

pub(super) fn write_version<T: Serialize>(path: &Path, version: u8, content: &T) -> Result<(), SlipError> {
    write_plain(path, &encode(path, version, content)?)
}

fn encode<T: Serialize>(path: &Path, version: u8, content: &T) -> Result<Vec<u8>, SlipError> {
    let damaged = |what: String| SlipError::Damaged { path: path.to_owned(), what };
    let body = bincode::serde::encode_to_vec(content, bincode::config::standard())
        .map_err(|error| damaged(error.to_string()))?;
    let len = u32::try_from(body.len()).ok().filter(|_| body.len() <= SLIP_LIMIT);
    let len = len.ok_or_else(|| damaged(format!("{} bytes are too many for a slip", body.len())))?;
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend_from_slice(MAGIC);
    bytes.push(version);
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes.extend_from_slice(&checksum(&bytes[..13], &body).to_be_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// Writes a file whole or not at all, as a slip is, without a slip's header.
pub(super) fn write_plain(path: &Path, bytes: &[u8]) -> Result<(), SlipError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let put = || {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(&beside, path)
    };
    put().map_err(|source| SlipError::at(path, source))?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// Writes over a slip that is there already: where the disk is full there is no room for one beside it, but its own
/// is still its own. Should power be lost meanwhile it may be damaged, which its CRC shows.
pub(super) fn write_in_place<T: Serialize>(path: &Path, content: &T) -> Result<(), SlipError> {
    let bytes = encode(path, VERSION, content)?;
    let put = || {
        let mut file = File::options().write(true).open(path)?;
        file.write_all(&bytes)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_data()
    };
    put().map_err(|source| SlipError::at(path, source))
}

/// `None` where there is no such file.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, SlipError> {
    match load(path)? {
        Some((VERSION, body)) => body.decode().map(Some),
        Some((version, body)) => Err(body.unknown(version)),
        None => Ok(None),
    }
}

/// The body of a slip whose CRC32 has agreed.
#[derive(Debug)]
pub(super) struct SlipBody {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl SlipBody {
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, SlipError> {
        let config = bincode::config::standard().with_limit::<SLIP_LIMIT>();
        match bincode::serde::decode_from_slice(&self.bytes, config) {
            Ok((content, consumed)) if consumed == self.bytes.len() => Ok(content),
            Ok((_, consumed)) => Err(self.damaged(format!("{consumed} of {} bytes used", self.bytes.len()))),
            Err(error) => Err(self.damaged(error.to_string())),
        }
    }

    /// The content has a version its reader does not know.
    pub fn unknown(&self, version: u8) -> SlipError {
        self.damaged(format!("version {version} is not known here"))
    }

    fn damaged(&self, what: String) -> SlipError {
        SlipError::Damaged { path: self.path.clone(), what }
    }
}

/// Version and body of a slip; `None` where there is no such file.
pub(super) fn load(path: &Path) -> Result<Option<(u8, SlipBody)>, SlipError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(SlipError::at(path, source)),
    };
    let damaged = |what: String| SlipError::Damaged { path: path.to_owned(), what };
    if bytes.len() < HEADER || &bytes[..8] != MAGIC {
        return Err(damaged(format!("{} bytes that are no slip", bytes.len())));
    }
    let (header, body) = bytes.split_at(HEADER);
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if number(9) as usize != body.len() {
        return Err(damaged(format!("{} bytes of body expected, {} came", number(9), body.len())));
    }
    if number(13) != checksum(&header[..13], body) {
        return Err(damaged("CRC32 does not agree".to_owned()));
    }
    Ok(Some((header[8], SlipBody { path: path.to_owned(), bytes: body.to_vec() })))
}

fn checksum(header: &[u8], body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(header);
    crc.update(body);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_comes_back_and_every_flipped_bit_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("slip");
        assert!(read::<(u64, String)>(&path).unwrap().is_none());
        write(&path, &(7_u64, "seven".to_owned())).unwrap();
        assert_eq!(read::<(u64, String)>(&path).unwrap(), Some((7, "seven".to_owned())));
        let good = fs::read(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bad).unwrap();
            assert!(matches!(read::<(u64, String)>(&path), Err(SlipError::Damaged { .. })), "bit {bit}");
        }
        for len in 0..good.len() {
            fs::write(&path, &good[..len]).unwrap();
            assert!(matches!(read::<(u64, String)>(&path), Err(SlipError::Damaged { .. })), "cut to {len}");
        }
    }
}
