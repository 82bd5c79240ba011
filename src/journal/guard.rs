//! Calling sled, which panics, fails, or opens silently short on a damaged file.

use std::cell::Cell;
use std::fs::File;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::path::Path;
use std::sync::Once;
use std::time::Duration;

use super::day::{DayError, damaged, disk};

/// sled's background flusher is also the only place that collects its garbage; our own flush after each
/// batch is what makes records durable.
const FLUSH_EVERY_MS: u64 = 500;

/// A Db that was just closed in this process gives its lock up when the last thread that held it lets go.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Opens a sled Db as this room opens each of them.
pub(super) fn open_sled(path: &Path, cache: u64, name: &str) -> Result<sled::Db, DayError> {
    let config = sled::Config::new().path(path).cache_capacity(cache).flush_every_ms(Some(FLUSH_EVERY_MS));
    let mut tries = 0;
    loop {
        match catch(name, || config.open())? {
            Ok(db) => return Ok(db),
            Err(error) if error.to_string().contains("could not acquire lock") && tries < LOCK_TRIES => {
                tries += 1;
                std::thread::sleep(LOCK_PAUSE);
            }
            Err(error) => return Err(sled_error(name, &error)),
        }
    }
}

/// The file sled keeps everything in, for syncing it.
pub(super) fn open_file(path: &Path, name: &str) -> Result<File, DayError> {
    File::open(path.join("db")).map_err(|error| disk(name, &error))
}

/// sled's own threads panic, too, over what they are asked to read; whoever waits for them panics in turn.
const SLED_THREADS: &str = "sled";

thread_local! {
    /// This thread is in [`catch`]: what panics here is an answer, and told as one.
    static CAUGHT: Cell<u32> = const { Cell::new(0) };
}

/// A panic that is caught and becomes an error is no crash: nobody shall read of one on the standard error.
fn keep_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic: &PanicHookInfo<'_>| {
            let caught = CAUGHT.try_with(Cell::get).is_ok_and(|depth| depth > 0);
            let of_sled = std::thread::current().name().is_some_and(|name| name.starts_with(SLED_THREADS));
            if !caught && !of_sled {
                usual(panic);
            }
        }));
    });
}

/// Counts a call of [`catch`], also when it unwinds.
struct Caught;

impl Caught {
    fn begin() -> Caught {
        keep_quiet();
        CAUGHT.set(CAUGHT.get() + 1);
        Caught
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        CAUGHT.set(CAUGHT.get() - 1);
    }
}

/// Runs something of sled's that may panic.
pub(super) fn catch<T>(name: &str, work: impl FnOnce() -> T) -> Result<T, DayError> {
    let _caught = Caught::begin();
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
        damaged(name, format!("sled panicked: {text}"))
    })
}

/// Runs something of sled's that may panic or fail.
pub(super) fn guarded<T>(name: &str, work: impl FnOnce() -> sled::Result<T>) -> Result<T, DayError> {
    catch(name, work)?.map_err(|error| sled_error(name, &error))
}

pub(super) fn sled_error(name: &str, error: &sled::Error) -> DayError {
    match error {
        // Only an error of the operating system speaks of the disk; sled reports what it cannot make
        // sense of as I/O errors, too.
        sled::Error::Io(io) if io.raw_os_error().is_some() || is_space(io) => disk(name, error),
        sled::Error::Io(_)
        | sled::Error::CollectionNotFound(_)
        | sled::Error::Unsupported(_)
        | sled::Error::ReportableBug(_) => damaged(name, error.to_string()),
        sled::Error::Corruption { at, .. } => {
            let at = format!("{at:?}");
            let digits: String = at.chars().filter(char::is_ascii_digit).collect();
            damaged(
                name,
                if digits.is_empty() {
                    "its file does not hold what was written".to_owned()
                } else {
                    format!("what stands at byte {digits} of its file is not what was written")
                },
            )
        }
    }
}

/// sled clones its errors by kind and text, which drops the operating system's number.
fn is_space(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull, WriteZero};
    matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem | PermissionDenied | WriteZero)
        || error.to_string().contains("Os { code")
}
