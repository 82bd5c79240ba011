//! The bundle as a ZIP file: files in order, not compressed, without times.
//!
//! Photos do not get smaller, and what is not compressed cannot be a bomb. The bytes of the container follow from the
//! files alone, so that whoever unpacks them and packs them again has the same bytes: what stands between the files
//! cannot be altered either.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};

use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use super::parcel::hex;

/// Largest bundle that is read: far above what the largest one can have.
pub const BUNDLE_MOST: u64 = 192 << 20;

/// Files of one bundle: every record of sixteen passes over all days, photos, and the rest.
const FILES_MOST: usize = 40_000;

/// Longest name in a bundle.
const NAME_MOST: usize = 100;

/// Name of the list of digests.
pub const MANIFEST: &str = "MANIFEST";

/// Files of a bundle by name, the manifest not among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files(pub BTreeMap<String, Vec<u8>>);

/// What is wrong with a bundle as a container.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleFault {
    /// Not a ZIP file, or none that is whole.
    #[error("the container cannot be read: {0}")]
    Container(String),
    /// More than any bundle has.
    #[error("{what}: {came}, at most {most}")]
    Large {
        /// What there is too much of.
        what: &'static str,
        /// How much came.
        came: u64,
        /// Limit.
        most: u64,
    },
    /// A name that no bundle has.
    #[error("{0:?} is no name of a file in a bundle")]
    Name(String),
    /// A file twice.
    #[error("{0} stands twice")]
    Twice(String),
    /// A file is not as a bundle stores it.
    #[error("{0} is compressed, encrypted or no plain file; a bundle has none such")]
    Kind(String),
    /// A file cannot be read.
    #[error("{name}: {what}")]
    File {
        /// File.
        name: String,
        /// Why.
        what: String,
    },
    /// A file that the manifest names is not here.
    #[error("{0} is not here, and the MANIFEST names it")]
    Missing(String),
    /// A file that the manifest does not name.
    #[error("{0} is here, and the MANIFEST does not name it")]
    Extra(String),
    /// A file has another digest.
    #[error("{0} is not what the MANIFEST says")]
    Altered(String),
    /// The manifest is none.
    #[error("MANIFEST, line {line}: a digest and a name are expected")]
    Manifest {
        /// Line, from 1.
        line: usize,
    },
    /// Bytes of the container, outside the files.
    #[error("byte {offset} of the container, near {near}, is not what it was")]
    Between {
        /// Where.
        offset: usize,
        /// File whose header or data is nearest.
        near: String,
    },
}

impl Files {
    /// The manifest: what `sha256sum -c MANIFEST` reads.
    pub fn manifest(&self) -> Vec<u8> {
        let mut text = String::new();
        for (name, bytes) in &self.0 {
            text.push_str(&format!("{}  {name}\n", hex(&Sha256::digest(bytes))));
        }
        text.into_bytes()
    }

    /// The whole bundle.
    pub fn pack(&self) -> Result<Vec<u8>, BundleFault> {
        self.pack_with(&self.manifest())
    }

    fn pack_with(&self, manifest: &[u8]) -> Result<Vec<u8>, BundleFault> {
        let container = |error: &dyn std::fmt::Display| BundleFault::Container(error.to_string());
        let size = self.0.values().map(Vec::len).sum::<usize>();
        let mut zip = ZipWriter::new(Cursor::new(Vec::with_capacity(size + 200 * (self.0.len() + 1))));
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(DateTime::default())
            .unix_permissions(0o644);
        let manifest = [(MANIFEST, manifest)];
        let files = self.0.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
        for (name, bytes) in manifest.into_iter().chain(files) {
            zip.start_file(name, options).map_err(|error| container(&error))?;
            zip.write_all(bytes).map_err(|error| container(&error))?;
        }
        Ok(zip.finish().map_err(|error| container(&error))?.into_inner())
    }

    /// The files of a bundle, once all of it is what its maker packed; all that is wrong otherwise.
    pub fn unpack(bytes: &[u8]) -> Result<Files, Vec<BundleFault>> {
        let mut files = read(bytes).map_err(|fault| vec![fault])?;
        let missing = || vec![BundleFault::Missing(MANIFEST.to_owned())];
        let manifest = files.0.remove(MANIFEST).ok_or_else(missing)?;
        let faults = files.check(&manifest);
        if !faults.is_empty() {
            return Err(faults);
        }
        let again = files.pack_with(&manifest).map_err(|fault| vec![fault])?;
        match first_difference(bytes, &again) {
            None => Ok(files),
            Some(offset) => Err(vec![BundleFault::Between { offset, near: files.near(&manifest, offset) }]),
        }
    }

    fn check(&self, manifest: &[u8]) -> Vec<BundleFault> {
        let mut faults = Vec::new();
        let mut named = BTreeMap::new();
        for (at, line) in String::from_utf8_lossy(manifest).lines().enumerate() {
            let Some((digest, name)) = line.split_once("  ").filter(|(digest, _)| digest.len() == 64) else {
                faults.push(BundleFault::Manifest { line: at + 1 });
                continue;
            };
            named.insert(name.to_owned(), digest.to_owned());
        }
        for (name, digest) in &named {
            match self.0.get(name) {
                None => faults.push(BundleFault::Missing(name.clone())),
                Some(bytes) if hex(&Sha256::digest(bytes)) != *digest => {
                    faults.push(BundleFault::Altered(name.clone()));
                }
                Some(_) => {}
            }
        }
        let extra = self.0.keys().filter(|name| !named.contains_key(*name));
        faults.extend(extra.cloned().map(BundleFault::Extra));
        if faults.is_empty() && manifest != self.manifest() {
            faults.push(BundleFault::Altered(MANIFEST.to_owned()));
        }
        faults
    }

    /// The file in whose part of the container an offset lies; headers of a file stand before its bytes.
    fn near(&self, manifest: &[u8], offset: usize) -> String {
        /// Fixed part of a local header.
        const HEADER: usize = 30;
        let mut end = 0;
        let files = self.0.iter().map(|(name, bytes)| (name.as_str(), bytes.len()));
        for (name, length) in [(MANIFEST, manifest.len())].into_iter().chain(files) {
            end += HEADER + name.len() + length;
            if offset < end {
                return name.to_owned();
            }
        }
        "the directory at the end".to_owned()
    }
}

/// The files as they stand in the container, each name once and none of them dangerous.
fn read(bytes: &[u8]) -> Result<Files, BundleFault> {
    if bytes.len() as u64 > BUNDLE_MOST {
        return Err(BundleFault::Large { what: "bytes", came: bytes.len() as u64, most: BUNDLE_MOST });
    }
    let container = |error: &dyn std::fmt::Display| BundleFault::Container(error.to_string());
    let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(|error| container(&error))?;
    if zip.len() > FILES_MOST {
        return Err(BundleFault::Large { what: "files", came: zip.len() as u64, most: FILES_MOST as u64 });
    }
    let mut files = Files::default();
    let mut room = bytes.len() as u64;
    for index in 0..zip.len() {
        let entry = zip.by_index_raw(index).map_err(|error| container(&error))?;
        let name = entry.name().map_err(|error| container(&error))?.into_owned();
        if !is_name(&name) {
            return Err(BundleFault::Name(name));
        }
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() || !entry.is_file() {
            return Err(BundleFault::Kind(name));
        }
        // Stored files that overlap could be more together than the container; then none is one of ours.
        let size = entry.size();
        let left = room.checked_sub(size);
        room = left.ok_or(BundleFault::Large { what: "bytes unpacked", came: size, most: room })?;
        drop(entry);
        let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        let fault = |what: String| BundleFault::File { name: name.clone(), what };
        let entry = zip.by_index(index).map_err(|error| fault(error.to_string()))?;
        entry.take(size + 1).read_to_end(&mut content).map_err(|error| fault(error.to_string()))?;
        if content.len() as u64 != size {
            return Err(fault(format!("{size} bytes expected, {} came", content.len())));
        }
        if files.0.insert(name.clone(), content).is_some() {
            return Err(BundleFault::Twice(name));
        }
    }
    Ok(files)
}

/// A relative path of letters, digits, `.`, `-` and `_`, no part of which is a directory's own name or the one above.
fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    name.len() <= NAME_MOST && name.split('/').all(part)
}

fn first_difference(a: &[u8], b: &[u8]) -> Option<usize> {
    let common = a.iter().zip(b).position(|(a, b)| a != b);
    common.or_else(|| (a.len() != b.len()).then(|| a.len().min(b.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        let files = [("README.txt", "read me"), ("proof/chain.json", "{}"), ("photos/001.jpg", "\u{1}\u{2}")];
        Files(files.into_iter().map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).collect())
    }

    /// A container that others could make.
    fn zip(files: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(method);
        for (name, bytes) in files {
            zip.start_file(*name, options).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    #[test]
    fn a_bundle_comes_back_and_has_the_same_bytes_each_time() {
        let packed = files().pack().unwrap();
        assert_eq!(packed, files().pack().unwrap());
        assert_eq!(Files::unpack(&packed).unwrap(), files());
    }

    #[test]
    fn each_altered_byte_is_noticed() {
        let packed = files().pack().unwrap();
        for at in 0..packed.len() {
            for flip in [1, 0x80] {
                let mut altered = packed.clone();
                altered[at] ^= flip;
                assert!(Files::unpack(&altered).is_err(), "byte {at} of {}", packed.len());
            }
        }
        for length in 0..packed.len() {
            assert!(Files::unpack(&packed[..length]).is_err(), "cut at {length}");
        }
        assert!(Files::unpack(&[&packed[..], b"x"].concat()).is_err());
        assert!(Files::unpack(&[b"x", &packed[..]].concat()).is_err());
    }

    #[test]
    fn an_altered_file_is_named() {
        let mut altered = files();
        altered.0.get_mut("photos/001.jpg").unwrap()[0] = 9;
        let packed = altered.pack_with(&files().manifest()).unwrap();
        assert_eq!(Files::unpack(&packed), Err(vec![BundleFault::Altered("photos/001.jpg".to_owned())]));
        let mut extra = files();
        extra.0.insert("x".to_owned(), Vec::new());
        let packed = extra.pack_with(&files().manifest()).unwrap();
        assert_eq!(Files::unpack(&packed), Err(vec![BundleFault::Extra("x".to_owned())]));
        let packed = files().pack_with(&extra.manifest()).unwrap();
        assert_eq!(Files::unpack(&packed), Err(vec![BundleFault::Missing("x".to_owned())]));
    }

    #[test]
    fn a_malicious_container_is_refused() {
        for name in ["../x", "/x", "a/../b", "a//b", ".x", "a\\b", "x\u{202e}y", "", "a/"] {
            let packed = zip(&[(name, b"x")], CompressionMethod::Stored);
            assert!(
                matches!(Files::unpack(&packed), Err(faults) if matches!(faults[0], BundleFault::Name(_) | BundleFault::Container(_) | BundleFault::Kind(_))),
                "{name:?}"
            );
        }
        let bomb = zip(&[("bomb", &vec![0; 8 << 20])], CompressionMethod::Deflated);
        assert_eq!(Files::unpack(&bomb), Err(vec![BundleFault::Kind("bomb".to_owned())]));
        let mut twice = zip(&[("aaaa", b"1"), ("bbbb", b"2")], CompressionMethod::Stored);
        while let Some(at) = twice.windows(4).position(|window| window == b"bbbb") {
            twice[at..at + 4].copy_from_slice(b"aaaa");
        }
        assert!(Files::unpack(&twice).is_err());
        for junk in [&b""[..], b"PK", b"not a zip at all", &[0; 4096]] {
            assert!(Files::unpack(junk).is_err());
        }
    }
}
