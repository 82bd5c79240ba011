//! Files of one JSON document a line, that people read too: what was deleted, what was lost. Lines are only ever
//! added; beyond a size a file begins anew, and the one before it is kept.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A file begins anew beyond this: some ten thousand lines.
const LIMIT: u64 = 2 * 1024 * 1024;

fn before(path: &Path) -> PathBuf {
    path.with_extension("before")
}

/// Adds a line, durably.
pub(super) fn add<T: Serialize>(path: &Path, line: &T) -> std::io::Result<()> {
    if fs::metadata(path).is_ok_and(|about| about.len() > LIMIT) {
        fs::rename(path, before(path))?;
    }
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
    let mut text = Vec::new();
    let length = file.metadata()?.len();
    if length > 0 {
        let mut last = [0];
        file.seek(SeekFrom::Start(length - 1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            // A line that was cut off by a loss of power; this one shall not hang on it.
            text.push(b'\n');
        }
    }
    serde_json::to_writer(&mut text, line)?;
    text.push(b'\n');
    file.write_all(&text)?;
    file.sync_data()
}

/// The lines, oldest first, and what cannot be read, a sentence each. What is not there holds none.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> (Vec<T>, Vec<String>) {
    let (mut lines, mut damage) = (Vec::new(), Vec::new());
    for path in [before(path), path.to_owned()] {
        let content = match fs::metadata(&path) {
            Ok(about) if about.len() > 2 * LIMIT => {
                damage.push(format!("{}: {} bytes are too many for it", path.display(), about.len()));
                continue;
            }
            Ok(_) => fs::read(&path),
            Err(error) => Err(error),
        };
        let content = match content {
            Ok(content) => content,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                damage.push(format!("{}: {error}", path.display()));
                continue;
            }
        };
        for (number, line) in (1..).zip(content.split(|byte| *byte == b'\n')) {
            match serde_json::from_slice(line) {
                Ok(line) => lines.push(line),
                Err(_) if line.is_empty() => {}
                Err(error) => damage.push(format!("{}, line {number}: {error}", path.display())),
            }
        }
    }
    (lines, damage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_and_one_that_was_cut_off_costs_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deleted");
        assert_eq!(read::<u64>(&path), (Vec::new(), Vec::new()));
        add(&path, &1).unwrap();
        let file = OpenOptions::new().append(true).open(&path).unwrap();
        (&file).write_all(b"{\"cut").unwrap();
        add(&path, &2).unwrap();
        let (lines, damage) = read::<u64>(&path);
        assert_eq!(lines, [1, 2]);
        assert!(damage.len() == 1 && damage[0].contains("deleted, line 2"), "{damage:?}");
    }

    #[test]
    fn a_file_has_a_bound_and_the_one_before_is_read_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deleted");
        let long = "x".repeat(usize::try_from(LIMIT).unwrap());
        add(&path, &long).unwrap();
        add(&path, &"y").unwrap();
        assert_eq!(read::<String>(&path).0, [long.clone(), "y".to_owned()]);
        add(&path, &long).unwrap();
        add(&path, &"z").unwrap();
        assert_eq!(read::<String>(&path).0, ["y".to_owned(), long, "z".to_owned()]);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
