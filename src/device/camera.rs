//! A camera's spool directory: each finished photo is hashed, and its digest goes into the record.
//!
//! The camera sends its files by FTP or to a share; what arrives is found by looking, since a share tells nobody of
//! what is new. The files stay where they are and are somebody else's to keep; the record only says that a file of
//! this name, size and SHA-256 was there, so that a claim can show later that the photo is the one of that moment.
//!
//! # Invariants
//!
//! 1. A file is taken once its size and time have been the same at two looks: it is whole.
//! 2. Only regular files of this directory, never through a link; names that are not the camera's are left alone.
//! 3. Bounded: at most `HASHED_A_LOOK` files are read a look, none larger than configured, and at most
//!    `NAMES_MOST` names are known; beyond that the camera is out of its limits and the board says so.
//! 4. What lay in the directory for longer than `CATCH_UP_US` before the start was recorded by an earlier run, or
//!    by none; it is not taken. What is younger may be recorded a second time; whoever reads it knows it by its name
//!    and digest.
//! 5. Nothing waits for the core: a photo that finds no room is offered again, and meanwhile no file is read.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::pause;
use super::sink::{EventSink, Refused};
use crate::line::Tick;
use crate::line::event::{Event, Photo};
use crate::site::CameraDevice;
use crate::watch::clock::Clock;
use crate::watch::{Board, Ne107};
use crate::wire::photo::NamedTime;

/// Files read a look: more than any tunnel takes in a second.
const HASHED_A_LOOK: usize = 32;

/// Names known at one time: hours of a busy tunnel. A directory with more has nobody who clears it.
const NAMES_MOST: usize = 50_000;

/// Longest file name taken, bytes; it stands in the record.
const NAME_MOST: usize = 200;

/// Younger files than this are taken at the start.
const CATCH_UP_US: i64 = 10 * 60 * 1_000_000;

/// Wait before a photo is offered again.
const RETRY: Duration = Duration::from_millis(20);

/// What is known of a file in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Seen with this size and time; taken when they are the same at the next look.
    Growing { bytes: u64, modified_us: i64 },
    /// Taken, or left out.
    Done,
}

/// Why a file is left out.
#[derive(Debug, thiserror::Error)]
enum FileFault {
    #[error("{name}: {bytes} bytes, at most {most} are taken")]
    Large { name: String, bytes: u64, most: u64 },
    #[error("{name}: it is not what it was at the look before")]
    Changed { name: String },
    #[error("{name}: {source}")]
    Read { name: String, source: io::Error },
}

impl FileFault {
    fn kind(&self) -> &'static str {
        match self {
            FileFault::Large { .. } => "large_photo",
            FileFault::Changed { .. } => "changed_photo",
            FileFault::Read { .. } => "unreadable_photo",
        }
    }
}

/// A finished file.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    name: String,
    bytes: u64,
    sha256: [u8; 32],
    taken_us: i64,
}

/// Looks into one camera's directory until told to stop, or until the core has ended.
pub async fn run(
    settings: CameraDevice,
    sink: EventSink,
    board: Board,
    clock: Clock,
    mut stop: watch::Receiver<bool>,
) {
    let period = Duration::from_millis(settings.poll_ms.into());
    let mut spool = Spool { settings: settings.clone(), known: BTreeMap::new(), looked: false };
    while !*stop.borrow() {
        let wall_us = clock.wall_us();
        let looking = tokio::task::spawn_blocking(move || {
            let seen = spool.look(wall_us);
            (spool, seen)
        });
        let Ok((back, seen)) = looking.await else {
            // Only a panic ends it so, and nothing in it may; the line does not need the camera.
            board.device(
                &settings.name,
                Ne107::Failure,
                "the look at its files has failed",
                "Restart sortd.",
            );
            return;
        };
        spool = back;
        for photo in report(&settings, &board, &clock, seen) {
            let mut event = Event::Photo(photo);
            loop {
                match sink.offer(event) {
                    Ok(()) => {
                        board.good(&settings.name);
                        break;
                    }
                    Err(Refused::Full(back)) => event = *back,
                    Err(Refused::Closed) => return,
                }
                if pause(&mut stop, RETRY).await {
                    return;
                }
            }
        }
        if pause(&mut stop, period).await {
            return;
        }
    }
}

/// Tells the board what a look has shown, and gives the photos in the core's time.
fn report(settings: &CameraDevice, board: &Board, clock: &Clock, seen: io::Result<Look>) -> Vec<Photo> {
    let look = match seen {
        Ok(look) => look,
        Err(error) => {
            let reason = format!("{} cannot be read: {error}", settings.directory.display());
            let remedy = "Look whether the directory exists, is mounted, and is readable for the user sortd.";
            board.device(&settings.name, Ne107::Failure, &reason, remedy);
            return Vec::new();
        }
    };
    for fault in &look.faults {
        board.fault(&settings.name, fault.kind(), fault);
    }
    if look.full {
        let reason = format!("more than {NAMES_MOST} files lie in {}", settings.directory.display());
        let remedy = "Clear old photos; new ones are not recorded until then.";
        board.device(&settings.name, Ne107::OutOfSpecification, &reason, remedy);
    } else {
        board.device(&settings.name, Ne107::Good, "looked into its directory", "");
    }
    let (now, wall_us) = (clock.now(), clock.wall_us());
    look.found.into_iter().map(|found| photo(settings, now, wall_us, found)).collect()
}

fn photo(settings: &CameraDevice, now: Tick, wall_us: i64, found: Found) -> Photo {
    let taken = i128::from(now.0) - (i128::from(wall_us) - i128::from(found.taken_us));
    let (least, most) = settings.delay_ms;
    let window = i128::from(settings.window_ms) * 1000;
    let tick = |us: i128| Tick(u64::try_from(us.max(0)).unwrap_or(u64::MAX));
    Photo {
        camera: settings.name.clone(),
        reader: settings.reader,
        name: found.name,
        bytes: found.bytes,
        sha256: found.sha256,
        taken_us: found.taken_us,
        between: (
            tick(taken - i128::from(most) * 1000 - window),
            tick(taken - i128::from(least) * 1000 + window),
        ),
    }
}

/// The directory and what is known of it.
struct Spool {
    settings: CameraDevice,
    known: BTreeMap<String, Known>,
    looked: bool,
}

/// What a look has shown.
#[derive(Debug, Default)]
struct Look {
    found: Vec<Found>,
    faults: Vec<FileFault>,
    full: bool,
}

impl Spool {
    /// Looks at every name once; reads what has become whole.
    fn look(&mut self, wall_us: i64) -> io::Result<Look> {
        let mut look = Look::default();
        let mut before = std::mem::take(&mut self.known);
        let mut whole = Vec::new();
        for entry in fs::read_dir(&self.settings.directory)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.len() > NAME_MOST || self.settings.pattern.time(&name).is_none() {
                continue;
            }
            if self.known.len() == NAMES_MOST {
                look.full = true;
                break;
            }
            let was = before.remove(&name);
            if was == Some(Known::Done) {
                self.known.insert(name, Known::Done);
                continue;
            }
            // A file that has just been removed is none.
            let Ok(now) = entry.metadata() else { continue };
            let modified_us = modified_us(&now);
            let seen = Known::Growing { bytes: now.len(), modified_us };
            let old = !self.looked && wall_us.saturating_sub(modified_us) > CATCH_UP_US;
            if !now.is_file() || old {
                self.known.insert(name, Known::Done);
            } else {
                if was == Some(seen) && now.len() > 0 {
                    whole.push((modified_us, name.clone()));
                }
                self.known.insert(name, seen);
            }
        }
        if look.full {
            // What was not looked at is still what it was.
            self.known.append(&mut before);
        }
        self.looked = true;
        // The oldest first: parcels passed in this order.
        whole.sort();
        for (modified_us, name) in whole.into_iter().take(HASHED_A_LOOK) {
            match self.take(&name, modified_us) {
                Ok(found) => look.found.push(found),
                Err(fault) => look.faults.push(fault),
            }
            self.known.insert(name, Known::Done);
        }
        Ok(look)
    }

    fn take(&self, name: &str, modified_us: i64) -> Result<Found, FileFault> {
        let most = self.settings.largest_bytes;
        let read = |source| FileFault::Read { name: name.to_owned(), source };
        let mut file = open(&self.settings.directory.join(name)).map_err(read)?;
        let size = file.metadata().map_err(read)?.len();
        if size > most {
            return Err(FileFault::Large { name: name.to_owned(), bytes: size, most });
        }
        let (bytes, sha256) = digest(&mut file, most).map_err(read)?;
        if bytes != size {
            return Err(FileFault::Changed { name: name.to_owned() });
        }
        let taken_us = match self.settings.pattern.time(name) {
            Some(NamedTime::UnixMs(ms)) => ms.saturating_mul(1000),
            Some(NamedTime::Civil(civil)) => {
                let zone = TimeZone::get(&self.settings.time_zone).unwrap_or(TimeZone::UTC);
                let times = zone.to_ambiguous_zoned(civil);
                // An hour that comes twice: the one nearer to when the file was written.
                [times.clone().earlier(), times.later()]
                    .into_iter()
                    .filter_map(|time| Some(time.ok()?.timestamp().as_microsecond()))
                    .min_by_key(|us| us.abs_diff(modified_us))
                    .unwrap_or(modified_us)
            }
            Some(NamedTime::None) | None => modified_us,
        };
        Ok(Found { name: name.to_owned(), bytes, sha256, taken_us })
    }
}

/// Opens a regular file for reading, never through a link and never waiting for whoever is at a pipe's other end.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"))
    }
}

/// Size and SHA-256, of at most `most` bytes and one more.
fn digest(file: &mut File, most: u64) -> io::Result<(u64, [u8; 32])> {
    let mut hash = Sha256::new();
    let bytes = io::copy(&mut file.take(most + 1), &mut hash)?;
    Ok((bytes, hash.finalize().into()))
}

fn modified_us(file: &fs::Metadata) -> i64 {
    let since =
        file.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::ReaderId;
    use crate::wire::photo::PhotoName;

    fn spool(directory: &Path) -> Spool {
        let settings = CameraDevice {
            name: "cam".to_owned(),
            reader: ReaderId(0),
            directory: directory.to_owned(),
            pattern: PhotoName::new("*_{unix-ms}.jpg").unwrap(),
            time_zone: "UTC".to_owned(),
            delay_ms: (10, 30),
            window_ms: 50,
            largest_bytes: 100,
            poll_ms: 100,
        };
        Spool { settings, known: BTreeMap::new(), looked: true }
    }

    fn names(look: &Look) -> Vec<&str> {
        look.found.iter().map(|found| found.name.as_str()).collect()
    }

    #[test]
    fn a_file_is_taken_once_and_only_when_it_has_come_to_rest() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a_1795305600123.jpg");
        let mut spool = spool(directory.path());
        fs::write(&path, "ha").unwrap();
        assert!(spool.look(0).unwrap().found.is_empty(), "it may still grow");
        fs::write(&path, "half").unwrap();
        assert!(spool.look(0).unwrap().found.is_empty(), "it has grown");
        let look = spool.look(0).unwrap();
        let sha256: [u8; 32] = Sha256::digest("half").into();
        let found = Found {
            name: "a_1795305600123.jpg".to_owned(),
            bytes: 4,
            sha256,
            taken_us: 1_795_305_600_123_000,
        };
        assert_eq!(look.found, [found]);
        assert!(spool.look(0).unwrap().found.is_empty(), "once");
    }

    #[test]
    fn what_is_no_photo_is_left_alone_and_what_is_too_large_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("note.txt"), "x").unwrap();
        fs::write(at("target"), "x").unwrap();
        fs::create_dir(at("d_1795305600123.jpg")).unwrap();
        std::os::unix::fs::symlink(at("target"), at("l_1795305600123.jpg")).unwrap();
        fs::write(at("e_1795305600123.jpg"), "").unwrap();
        fs::write(at("big_1795305600123.jpg"), [7; 101]).unwrap();
        let mut spool = spool(directory.path());
        assert!(spool.look(0).unwrap().faults.is_empty());
        let look = spool.look(0).unwrap();
        assert_eq!(names(&look), Vec::<&str>::new());
        assert!(matches!(&look.faults[..], [FileFault::Large { bytes: 101, .. }]), "{:?}", look.faults);
    }

    #[test]
    fn what_lay_there_long_before_the_start_is_not_taken() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a_1795305600123.jpg"), "x").unwrap();
        let mut spool = spool(directory.path());
        spool.looked = false;
        spool.look(i64::MAX).unwrap();
        assert!(names(&spool.look(i64::MAX).unwrap()).is_empty());
        fs::write(directory.path().join("b_1795305600124.jpg"), "x").unwrap();
        spool.look(i64::MAX).unwrap();
        assert_eq!(names(&spool.look(i64::MAX).unwrap()), ["b_1795305600124.jpg"]);
    }

    #[test]
    fn at_most_so_many_are_read_a_look() {
        let directory = tempfile::tempdir().unwrap();
        for n in 0..40 {
            fs::write(directory.path().join(format!("a{n}_1795305600123.jpg")), "x").unwrap();
        }
        let mut spool = spool(directory.path());
        spool.look(0).unwrap();
        assert_eq!(spool.look(0).unwrap().found.len(), HASHED_A_LOOK);
        assert_eq!(spool.look(0).unwrap().found.len(), 40 - HASHED_A_LOOK);
    }

    #[test]
    fn a_wall_time_becomes_the_line_s_with_its_uncertainty() {
        let directory = tempfile::tempdir().unwrap();
        let settings = spool(directory.path()).settings;
        let found = Found { name: "a".to_owned(), bytes: 1, sha256: [0; 32], taken_us: 5_000_000 };
        let photo = photo(&settings, Tick(9_000_000), 7_000_000, found);
        assert_eq!(photo.between, (Tick(7_000_000 - 80_000), Tick(7_000_000 + 40_000)));
    }

    #[tokio::test]
    async fn a_finished_file_reaches_the_core() {
        let directory = tempfile::tempdir().unwrap();
        let settings = CameraDevice { poll_ms: 10, ..spool(directory.path()).settings };
        let (events, core) = crossbeam_channel::bounded(8);
        let (stop, stopped) = watch::channel(false);
        let board = Board::default();
        let task =
            tokio::spawn(run(settings, EventSink::new(events), board.clone(), Clock::default(), stopped));
        fs::write(directory.path().join("a_1795305600123.jpg"), "photo").unwrap();
        let taken = tokio::task::spawn_blocking(move || core.recv_timeout(Duration::from_secs(30)));
        let event = taken.await.unwrap().unwrap();
        assert!(matches!(&event, Event::Photo(photo) if photo.bytes == 5), "{event:?}");
        stop.send(true).unwrap();
        task.await.unwrap();
        assert_eq!(board.snapshot().0["cam"].state, Ne107::Good);
    }
}
