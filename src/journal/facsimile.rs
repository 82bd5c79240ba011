//! A *facsimile*: a private copy of one day, for whoever looks into a copy of a store.
//!
//! sled has no way to open a Db without writing: it ends the log's last segment, writes a shortcut, makes
//! directories, and zeroes what it takes for torn. What is examined must stay as it is, byte for byte: it may be
//! evidence, lie on a read-only medium, or belong to somebody else. So each day that has to be opened is copied to
//! a directory of its own under `$TMPDIR` (`/var/tmp` where there is none), opened there, and its files removed at
//! once: what is open lives on without a name, and is gone with the process however that ends. Where both lie on
//! one file system that shares blocks between files (XFS, btrfs), a facsimile costs nothing.
//!
//! At most two are open at a time, so that it costs the room of the two largest days. Days whose own small files say
//! everything (`span`, `index`) are not copied.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use super::day::{Day, DayError, Read, disk, read_span};
use super::{gleaning, shortcut};

/// Where facsimiles are made unless `TMPDIR` says otherwise: `/tmp` is often memory.
const USUAL: &str = "/var/tmp";
/// Room left beside a facsimile for what sled adds to it.
const SLACK_BYTES: u64 = 4 * 1024 * 1024;
/// Names tried for a directory that nobody else has.
const NAMES_TRIED: u32 = 1_000;

/// A day, opened as a private copy.
#[derive(Debug)]
pub(super) struct Facsimile {
    /// `None`: it never got a record.
    pub day: Option<Day>,
    /// Why the day's own Db would not do, where its records had to be gathered from what is left of it.
    pub gathered: Option<String>,
}

/// Opens a facsimile of a day, as far as it can be read. `known_to`: a record that is known to have been durable,
/// and that it holds if its end is not missing.
pub(super) fn open(days: &Path, name: &str, cache: u64, known_to: u64) -> Result<Facsimile, DayError> {
    if !days.join(name).join("db").exists() {
        // What that means is for the day to say; it opens nothing.
        let day = Day::open_as_is(days, name, cache, Read::Found)?;
        return Ok(Facsimile { day, gathered: None });
    }
    let opened = match attempt(days, name, cache, true) {
        // The log alone, untouched by the first try.
        Err(DayError::Damaged { day, what }) => match attempt(days, name, cache, false) {
            // Of two reasons, the one that names a record.
            Err(DayError::Damaged { .. }) if what.starts_with("record ") => {
                Err(DayError::Damaged { day, what })
            }
            // What there is a shortcut into has held something.
            Ok(None) => Err(DayError::Damaged { day, what }),
            second => second,
        },
        first => first,
    };
    let reaches = |day: &Option<Day>| day.as_ref().map_or(0, |day| day.span().last_seq);
    let why = match &opened {
        Ok(day) if reaches(day) < known_to => {
            format!("it opens up to record {}, but {known_to} was durable", reaches(day))
        }
        Err(DayError::Damaged { what, .. }) => what.clone(),
        Ok(_) | Err(DayError::Disk { .. }) => return opened.map(|day| Facsimile { day, gathered: None }),
    };
    match (gather(days, name, cache), opened) {
        (Ok(Some(day)), opened) if opened.as_ref().map_or(0, reaches) < day.span().last_seq => {
            Ok(Facsimile { day: Some(day), gathered: Some(why) })
        }
        (Err(error @ DayError::Disk { .. }), _) => Err(error),
        (_, opened) => opened.map(|day| Facsimile { day, gathered: None }),
    }
}

fn attempt(days: &Path, name: &str, cache: u64, snaps: bool) -> Result<Option<Day>, DayError> {
    let room = Room::make(name)?;
    copy(&days.join(name), &room.0.join(name), name, snaps)?;
    Day::open_as_is(&room.0, name, cache, Read::Found)
    // Here its files lose their names.
}

/// The day made anew from the records that its log still holds; `None`: there are none, or it is not known where
/// the day begins.
fn gather(days: &Path, name: &str, cache: u64) -> Result<Option<Day>, DayError> {
    let path = days.join(name);
    let Ok(Some(span)) = read_span(&path) else { return Ok(None) };
    let log = plain_file(&path.join("db")).map_err(|error| disk(name, &error))?;
    let room = Room::make(name)?;
    if gleaning::gather(&log, &room.0, name, cache, &span)? {
        Day::open_as_is(&room.0, name, cache, Read::Found)
    } else {
        Ok(None)
    }
}

/// A directory that is removed again.
struct Room(PathBuf);

impl Room {
    fn make(name: &str) -> Result<Room, DayError> {
        let named = std::env::var_os("TMPDIR").filter(|path| !path.is_empty()).map(PathBuf::from);
        let usual = Some(PathBuf::from(USUAL)).filter(|path| path.is_dir());
        let parent = named.or(usual).unwrap_or_else(std::env::temp_dir);
        let mut failed = None;
        for n in 0..NAMES_TRIED {
            let path = parent.join(format!("sortd-{}-{n}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Room(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => failed = Some(error),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let why = failed.map_or_else(String::new, |error| format!(": {error}"));
        let place = parent.display();
        Err(disk(
            name,
            &format!(
                "it is opened as a private copy, and none can be made in {place}{why}; set TMPDIR to a directory \
                 with room that you may write to"
            ),
        ))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Copies what sled needs, and `span`.
fn copy(day: &Path, to: &Path, name: &str, snaps: bool) -> Result<(), DayError> {
    let failed = |path: &Path, error: std::io::Error| disk(name, &format!("{}: {error}", path.display()));
    fs::create_dir_all(to.join("blobs")).map_err(|error| failed(to, error))?;
    let mut files = vec![day.join("db")];
    files.extend(["conf", "span"].iter().map(|file| day.join(file)).filter(|file| file.exists()));
    if snaps {
        files.extend(shortcut::snaps(day).into_iter().filter(|snap| shortcut::is_whole(snap)));
    }
    let mut open = Vec::new();
    for path in files {
        let file = plain_file(&path).map_err(|error| failed(&path, error))?;
        open.push((path, file));
    }
    if let Some((path, db)) = open.first() {
        // sled holds it as long as it writes there, whatever became of the store's own lock.
        // A file system without locks has no running sortd on it.
        if rustix::fs::flock(db, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK) {
            let what = format!(
                "{} is being written by a running sortd: ask that through its socket (without --store), or copy the \
                 store",
                path.display()
            );
            return Err(disk(name, &what));
        }
    }
    let bytes = open.iter().filter_map(|(_, file)| Some(file.metadata().ok()?.len())).sum::<u64>();
    let about = rustix::fs::statvfs(to).map_err(|error| failed(to, error.into()))?;
    let free = about.f_bavail.saturating_mul(about.f_frsize);
    let mib = |bytes: u64| bytes.div_ceil(1024 * 1024);
    let no_room = |free: u64| {
        let place = to.parent().and_then(Path::parent).unwrap_or(to).display();
        let what = format!(
            "it is opened as a private copy of {} MiB, and {place} has {} MiB free; make room there, or set TMPDIR to \
             a directory with more",
            mib(bytes + SLACK_BYTES),
            mib(free)
        );
        disk(name, &what)
    };
    if free < bytes + SLACK_BYTES {
        return Err(no_room(free));
    }
    for (path, mut file) in open {
        let target = to.join(path.file_name().unwrap_or_default());
        let copied = File::create(&target).and_then(|mut target| std::io::copy(&mut file, &mut target));
        copied.map_err(|error| match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => no_room(0),
            _ => failed(&path, error),
        })?;
    }
    Ok(())
}

/// Opens a file of a copy for reading; never a link out of it, nor anything that would make the reader wait.
pub(super) fn plain_file(path: &Path) -> std::io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(std::io::Error::other("it is no plain file")) }
}
