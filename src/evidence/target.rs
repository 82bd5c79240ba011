//! Writing a bundle where somebody wants it: a regular file, whole or not at all, and never in the place of anything
//! else. A bundle takes its place by a rename, which would take a device or a pipe away as readily as an older bundle.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// `-`, which elsewhere means standard output.
    #[error("`-` is no file: name one, like claim.zip (one that is really called so: ./-)")]
    Dash,
    /// Something else than a file has that name.
    #[error(
        "{} is {kind}: a bundle is a regular file and is not put in the place of anything else; name another file",
        path.display()
    )]
    NoFile {
        /// Path.
        path: PathBuf,
        /// What is there.
        kind: &'static str,
    },
    /// No directory to write into.
    #[error(
        "cannot write {}: there is no directory {}; make it (mkdir -p) or name another file",
        path.display(),
        directory.display()
    )]
    NoDirectory {
        /// Path.
        path: PathBuf,
        /// Directory.
        directory: PathBuf,
    },
    /// Not allowed.
    #[error(
        "cannot write {}: {source}; write into a directory of your own, or ask whoever {} belongs to",
        path.display(),
        directory.display()
    )]
    Denied {
        /// Path.
        path: PathBuf,
        /// Directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The disk said no.
    #[error("cannot write {}: {source}; see that there is room, or name a file on another disk", path.display())]
    Disk {
        /// Path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Where a bundle would really be written: the file itself, where the path is a link to one.
///
/// # Errors
///
/// It cannot be written there; nothing was touched.
pub fn target(path: &Path) -> Result<PathBuf, WriteError> {
    if path == Path::new("-") {
        return Err(WriteError::Dash);
    }
    let no_file = |kind| Err(WriteError::NoFile { path: path.to_owned(), kind });
    let link = fs::symlink_metadata(path).is_ok_and(|about| about.is_symlink());
    match fs::metadata(path) {
        Ok(about) if about.is_file() && link => fs::canonicalize(path).map_err(|error| failed(path, error)),
        Ok(about) if about.is_file() => Ok(path.to_owned()),
        Ok(about) => no_file(kind_of(about.file_type())),
        Err(error) if error.kind() == io::ErrorKind::NotFound && link => no_file("a link to nothing"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let named = path.file_name().is_some() && !path.as_os_str().to_string_lossy().ends_with('/');
            match named {
                true if directory_of(path).is_dir() => Ok(path.to_owned()),
                true => Err(failed(path, error)),
                false => no_file("a directory"),
            }
        }
        Err(error) => Err(failed(path, error)),
    }
}

/// Files written so far: two that are written at once have different names until they stand.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// Writes a file whole or not at all, durably.
///
/// # Errors
///
/// As [`target`]; or the disk failed, and what was there is as it was.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let path = &target(path)?;
    let directory = directory_of(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let nth = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let beside = directory.join(format!(".{name}.part{}-{nth}", std::process::id()));
    let written = fs::File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let moved = written.and_then(|()| fs::rename(&beside, path));
    if moved.is_err() {
        // It may never have come to be.
        let _ = fs::remove_file(&beside);
    }
    let synced = moved.and_then(|()| fs::File::open(directory)?.sync_all());
    synced.map_err(|error| failed(path, error))
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn failed(path: &Path, source: io::Error) -> WriteError {
    let (path, directory) = (path.to_owned(), directory_of(path).to_owned());
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => WriteError::NoDirectory { path, directory },
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            WriteError::Denied { path, directory, source }
        }
        _ => WriteError::Disk { path, source },
    }
}

fn kind_of(kind: fs::FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn what_is_no_file_stays_what_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
            .unwrap();
        let _listener = UnixListener::bind(at("socket")).unwrap();
        fs::create_dir(at("directory")).unwrap();
        symlink(at("pipe"), at("link")).unwrap();
        symlink(at("nowhere"), at("loose")).unwrap();
        for (name, expected) in [
            ("pipe", "a pipe"),
            ("socket", "a socket"),
            ("directory", "a directory"),
            ("new/", "a directory"),
            ("link", "a pipe"),
            ("loose", "a link to nothing"),
        ] {
            let error = write_whole(&at(name), b"bundle").unwrap_err();
            assert!(matches!(error, WriteError::NoFile { kind, .. } if kind == expected), "{name}: {error}");
            assert!(error.to_string().contains("name another file"), "{error}");
        }
        assert!(fs::symlink_metadata(at("pipe")).unwrap().file_type().is_fifo());
        assert!(fs::symlink_metadata(at("socket")).unwrap().file_type().is_socket());
        assert!(!at("nowhere").exists() && !at("new").exists());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 5, "nothing is left beside them");
    }

    #[test]
    fn a_file_is_replaced_whole_and_a_link_to_one_stays_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        write_whole(&at("claim.zip"), b"first").unwrap();
        symlink(at("claim.zip"), at("link")).unwrap();
        write_whole(&at("link"), b"second").unwrap();
        assert_eq!(fs::read(at("claim.zip")).unwrap(), b"second");
        assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn each_failure_has_its_remedy() {
        let directory = tempfile::tempdir().unwrap();
        let error = write_whole(&directory.path().join("none/claim.zip"), b"x").unwrap_err();
        assert!(
            matches!(error, WriteError::NoDirectory { .. }) && error.to_string().contains("mkdir -p"),
            "{error}"
        );
        fs::write(directory.path().join("file"), "x").unwrap();
        let error = write_whole(&directory.path().join("file/claim.zip"), b"x").unwrap_err();
        assert!(matches!(error, WriteError::NoDirectory { .. }), "{error}");
        assert!(matches!(write_whole(Path::new("-"), b"x"), Err(WriteError::Dash)));
        assert!(!Path::new("-").exists());
    }
}
