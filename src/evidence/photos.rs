//! The photos of a parcel, out of the cameras' spool directories.

use std::io::{self, Read};
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::bundle::Files;
use super::collect::Setting;
use super::document::{PhotoFile, PhotoState};
use super::parcel::{Parcel, PhotoRecord, hex};
use super::{PHOTO_BYTES_MOST, PHOTOS_MOST};

/// Endings that a page shows; others are linked.
const ENDINGS: [&str; 5] = ["jpg", "jpeg", "png", "webp", "bmp"];

/// Puts every photo of the parcel that is still what was recorded into the bundle, and says of each what became of it.
pub fn photos(parcel: &Parcel, setting: &Setting, files: &mut Files) -> Vec<PhotoFile> {
    let mut told = Vec::new();
    let mut room = PHOTO_BYTES_MOST;
    for record in parcel.passes.iter().flat_map(|pass| &pass.photos) {
        let mut photo = PhotoFile {
            record: record.record,
            camera: record.camera.clone(),
            name: record.name.clone(),
            file: None,
            state: PhotoState::LeftOut,
            found_sha256: None,
        };
        if finds_room(told.len(), record, room) {
            match read(setting, record) {
                Ok(bytes) if hex(&Sha256::digest(&bytes)) == record.sha256 => {
                    let file = format!("photos/{:03}.{}", told.len() + 1, ending(&record.name));
                    room -= record.bytes;
                    files.0.insert(file.clone(), bytes);
                    photo.file = Some(file);
                    photo.state = PhotoState::Present;
                }
                Ok(bytes) => {
                    // Of a longer file only the beginning was read, and its digest would be nobody's.
                    let whole = bytes.len() as u64 <= record.bytes;
                    photo.found_sha256 = whole.then(|| hex(&Sha256::digest(&bytes)));
                    photo.state = PhotoState::Changed;
                }
                // Whatever the reason, it is not at hand.
                Err(_) => photo.state = PhotoState::Missing,
            }
        }
        told.push(photo);
    }
    told
}

/// Whether a bundle that holds so many photos, and has so much room left for more, takes this one.
pub fn finds_room(told: usize, record: &PhotoRecord, room: u64) -> bool {
    told < PHOTOS_MOST && record.bytes <= room
}

fn read(setting: &Setting, record: &PhotoRecord) -> io::Result<Vec<u8>> {
    let directory: &PathBuf = setting.cameras.get(&record.camera).ok_or(io::ErrorKind::NotFound)?;
    // A name as recorded is one part; one that was written out for people is none of a file, and not found.
    if record.name.contains('/') || record.name.starts_with('.') {
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut bytes = Vec::new();
    // A byte more than was recorded is enough to know that it has changed.
    let file = crate::device::camera::open(&directory.join(&record.name))?;
    file.take(record.bytes + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether a page may show the file.
pub fn is_shown(file: &str) -> bool {
    file.rsplit_once('.').is_some_and(|(_, ending)| ENDINGS.contains(&ending))
}

fn ending(name: &str) -> String {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default();
    if ENDINGS.contains(&ending.as_str()) { ending } else { "bin".to_owned() }
}
