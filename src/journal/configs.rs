//! The configurations the line has run with, kept with the records that were made under them.
//!
//! Each is a directory `configs/<hash>/` with the configuration's files as they were checked, and nothing
//! else: secrets are file names in them and are never copied. The record [`Configured`] names the hash, so
//! that a replay, a claim bundle and an engineer next year read the plan, the chutes and the carriers of
//! that time, and [`crate::site::load`] takes the directory as it stands.
//!
//! - *Whole or not at all*: written beside, synced, renamed. One that no longer gives its hash is not read,
//!   and written anew when it is used again.
//! - *Kept as long as a day may refer to it*: the directory's modification time is when it was last known to
//!   be in force; it goes once that lies before the oldest day kept. Beyond [`CONFIGS_MOST`] or
//!   [`CONFIGS_BYTES_MOST`] the one longest out of force goes first, never the one in force.
//!
//! [`Configured`]: crate::line::event::Event::Configured

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::retention;
use super::slip::sync_directory;
use crate::watch::clock::Clock;

/// Configurations kept: another sort plan every hour of the 180 days that are kept by default.
pub const CONFIGS_MOST: usize = 4_320;

/// Bytes of all of them: a plan of 100,000 rows has 3 MB, and few lines have one.
pub const CONFIGS_BYTES_MOST: u64 = 256 << 20;

/// Files of one configuration that are read back at most.
const FILES_MOST: usize = 64;

/// Bytes of one file that are read back at most; the check takes no larger one.
const FILE_BYTES_MOST: u64 = 8 << 20;

/// Digits of a hash: SHA-256 in hexadecimal.
const HASH_DIGITS: usize = 64;

/// A file of a configuration: its name in the directory, and its content.
pub type ConfigFile = (String, Vec<u8>);

/// Why a configuration could not be stored or read back.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file system said no.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// A name that is no file name in one directory.
    #[error("expected the name of a file in the configuration's directory, got {0:?}")]
    Name(String),
    /// What names a configuration is no hash.
    #[error("expected a hash of {HASH_DIGITS} hexadecimal digits, got {0:?}")]
    Hash(String),
    /// The store holds no such configuration.
    #[error("the store holds no configuration {0}")]
    Unknown(String),
    /// The files are not what was stored.
    #[error("{path}: expected the configuration {expected}, its files give {came}", path = path.display())]
    Damaged {
        /// Its directory.
        path: PathBuf,
        /// The hash it is stored under.
        expected: String,
        /// The hash of what is there.
        came: String,
    },
    /// More than a configuration has.
    #[error("{path}: expected at most {FILES_MOST} files of {FILE_BYTES_MOST} bytes each", path = path.display())]
    TooLarge {
        /// Its directory.
        path: PathBuf,
    },
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> ConfigError {
    move |source| ConfigError::Io { path: path.to_owned(), source }
}

/// The name of a configuration: SHA-256 over the names and contents of its files in the order of their
/// names, each led by its length, so that no two configurations run together.
pub fn config_hash(files: &[ConfigFile]) -> String {
    let mut ordered: Vec<&ConfigFile> = files.iter().collect();
    ordered.sort();
    let mut hash = Sha256::new();
    for (name, content) in ordered {
        for part in [name.as_bytes(), content] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Keeps a configuration that comes into force now and lets those go that no day refers to any more. Gives
/// its hash. Called by the one daemon that writes to this store.
///
/// # Errors
///
/// The configuration could not be stored. What could not be deleted is said in the log only.
pub fn archive_config(store: &Path, files: &[ConfigFile]) -> Result<String, ConfigError> {
    if let Some((name, _)) = files.iter().find(|(name, _)| !is_plain_name(name)) {
        return Err(ConfigError::Name(name.clone()));
    }
    let hash = config_hash(files);
    let configs = store.join("configs");
    fs::create_dir_all(&configs).map_err(at(&configs))?;
    let now = UNIX_EPOCH + Duration::from_micros(u64::try_from(Clock::default().wall_us()).unwrap_or(0));
    // The one in force until now was so at least until now.
    if let Some(before) = kept(&configs)?.into_iter().max_by_key(|kept| kept.in_force) {
        touch(&before.path, now)?;
    }
    let path = configs.join(&hash);
    match read_directory(&path) {
        Ok(found) if config_hash(&found) == hash => {}
        Ok(_) | Err(_) => write(&configs, &path, files)?,
    }
    // One more than the other, so that they can be told apart.
    touch(&path, now + Duration::from_micros(1))?;
    if let Err(error) = prune(store, &configs, &hash) {
        tracing::warn!(%error, "a configuration that no day refers to stays in the store");
    }
    Ok(hash)
}

/// The directory of a configuration that this store holds whole, for [`crate::site::load`]; of a store with a long path,
/// [`read_config`] and [`crate::site::load_from_sources`] serve better.
///
/// # Errors
///
/// It is not there, or not what was stored.
pub fn config_directory(store: &Path, hash: &str) -> Result<PathBuf, ConfigError> {
    read_config(store, hash)?;
    Ok(store.join("configs").join(hash))
}

/// The files of a configuration that this store holds, by name.
///
/// # Errors
///
/// It is not there, or not what was stored.
pub fn read_config(store: &Path, hash: &str) -> Result<Vec<ConfigFile>, ConfigError> {
    if !is_hash(hash) {
        return Err(ConfigError::Hash(hash.to_owned()));
    }
    let path = store.join("configs").join(hash);
    if !path.is_dir() {
        return Err(ConfigError::Unknown(hash.to_owned()));
    }
    let files = read_directory(&path)?;
    let came = config_hash(&files);
    if came == hash { Ok(files) } else { Err(ConfigError::Damaged { path, expected: hash.to_owned(), came }) }
}

/// Hashes of the configurations a store holds, whether whole or not, the last in force first.
pub(super) fn stored(store: &Path) -> Result<Vec<String>, ConfigError> {
    let configs = store.join("configs");
    if !configs.is_dir() {
        return Ok(Vec::new());
    }
    let mut kept = kept(&configs)?;
    kept.sort_by_key(|kept| std::cmp::Reverse(kept.in_force));
    let name = |kept: &Kept| kept.path.file_name()?.to_str().map(str::to_owned);
    Ok(kept.iter().filter_map(name).collect())
}

fn is_hash(text: &str) -> bool {
    text.len() == HASH_DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(std::path::Component::Normal(part)), None) if part == name)
}

fn write(configs: &Path, path: &Path, files: &[ConfigFile]) -> Result<(), ConfigError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    for left in [&beside, path] {
        if left.exists() {
            // Cut off half-way, or damaged since: the files are at hand.
            fs::remove_dir_all(left).map_err(at(left))?;
        }
    }
    fs::create_dir(&beside).map_err(at(&beside))?;
    for (name, content) in files {
        let file = beside.join(name);
        let put = || {
            let mut open = File::create(&file)?;
            open.write_all(content)?;
            open.sync_all()
        };
        put().map_err(at(&file))?;
    }
    let synced = |path: &Path| sync_directory(path).map_err(|error| at(path)(std::io::Error::other(error)));
    synced(&beside)?;
    fs::rename(&beside, path).map_err(at(path))?;
    synced(configs)
}

fn read_directory(path: &Path) -> Result<Vec<ConfigFile>, ConfigError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(at(path))? {
        let entry = entry.map_err(at(path))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let mut content = Vec::new();
        let file = entry.path();
        let open = File::open(&file).map_err(at(&file))?;
        open.take(FILE_BYTES_MOST + 1).read_to_end(&mut content).map_err(at(&file))?;
        if files.len() == FILES_MOST || content.len() as u64 > FILE_BYTES_MOST {
            return Err(ConfigError::TooLarge { path: path.to_owned() });
        }
        files.push((name, content));
    }
    files.sort();
    Ok(files)
}

/// A configuration in the store.
struct Kept {
    path: PathBuf,
    /// When it was last known to be in force.
    in_force: SystemTime,
    bytes: u64,
}

fn kept(configs: &Path) -> Result<Vec<Kept>, ConfigError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(configs).map_err(at(configs))? {
        let entry = entry.map_err(at(configs))?;
        let path = entry.path();
        if !entry.file_name().to_str().is_some_and(is_hash) {
            continue;
        }
        let in_force = entry.metadata().and_then(|found| found.modified()).map_err(at(&path))?;
        let files = fs::read_dir(&path).map_err(at(&path))?;
        let bytes: u64 = files.flatten().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum();
        found.push(Kept { path, in_force, bytes });
    }
    Ok(found)
}

fn touch(path: &Path, when: SystemTime) -> Result<(), ConfigError> {
    File::open(path).and_then(|directory| directory.set_modified(when)).map_err(at(path))
}

/// Deletes what no day refers to, and what is too much.
fn prune(store: &Path, configs: &Path, current: &str) -> Result<(), ConfigError> {
    let mut kept = kept(configs)?;
    kept.retain(|kept| !kept.path.ends_with(current));
    // The longest out of force stands last.
    kept.sort_by_key(|kept| std::cmp::Reverse(kept.in_force));
    let oldest_day = oldest_day(&store.join("days"));
    let in_force = read_directory(&configs.join(current))?;
    let mut bytes: u64 = in_force.iter().map(|(_, file)| file.len() as u64).sum();
    for (count, old) in kept.iter().enumerate() {
        bytes += old.bytes;
        let unneeded = oldest_day.is_some_and(|oldest| old.in_force < oldest);
        if unneeded || count + 2 > CONFIGS_MOST || bytes > CONFIGS_BYTES_MOST {
            fs::remove_dir_all(&old.path).map_err(at(&old.path))?;
            tracing::info!(configuration = %old.path.display(), unneeded, "configuration deleted");
        }
    }
    Ok(())
}

/// When the oldest day kept began. `None` where there is none, or none that has a date: then nothing is old.
fn oldest_day(days: &Path) -> Option<SystemTime> {
    const DAY_S: u64 = 86_400;
    let names = fs::read_dir(days).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let oldest = names.filter_map(|name| retention::parse_day(&name)).min()?;
    Some(UNIX_EPOCH + Duration::from_secs(u64::try_from(oldest).ok()?.checked_mul(DAY_S)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::event::Event;
    use crate::line::record::{Body, Input};

    fn files(mark: &str) -> Vec<ConfigFile> {
        vec![
            ("sortd.toml".to_owned(), format!("# {mark}\n").into_bytes()),
            ("chutes.csv".to_owned(), b"1,A\n".to_vec()),
        ]
    }

    fn hashes(store: &Path) -> Vec<String> {
        let entries = fs::read_dir(store.join("configs")).unwrap().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_hash_is_of_names_and_contents_and_not_of_their_order() {
        let (mut turned, one) = (files("a"), files("a"));
        turned.reverse();
        assert_eq!(config_hash(&one), config_hash(&turned));
        let pair = |name: &str, content: &str| vec![(name.to_owned(), content.as_bytes().to_vec())];
        assert_ne!(config_hash(&pair("ab", "c")), config_hash(&pair("a", "bc")));
        // SHA-256 over eight bytes of length 1, "a", eight bytes of length 0.
        assert_eq!(
            config_hash(&pair("a", "")),
            Sha256::digest([0, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 0, 0, 0, 0, 0, 0])
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        );
    }

    #[test]
    fn a_configuration_comes_back_and_one_changed_file_is_noticed_and_mended() {
        let store = tempfile::tempdir().unwrap();
        let hash = archive_config(store.path(), &files("a")).unwrap();
        let mut expected = files("a");
        expected.sort();
        assert_eq!(read_config(store.path(), &hash).unwrap(), expected);
        fs::write(store.path().join("configs").join(&hash).join("chutes.csv"), "2,A\n").unwrap();
        assert!(matches!(read_config(store.path(), &hash), Err(ConfigError::Damaged { .. })));
        assert_eq!(archive_config(store.path(), &files("a")).unwrap(), hash);
        assert_eq!(read_config(store.path(), &hash).unwrap(), expected);
        assert_eq!(hashes(store.path()), [hash]);
    }

    #[test]
    fn names_lead_nowhere_else() {
        let store = tempfile::tempdir().unwrap();
        for name in ["../x", "/etc/passwd", "a/b", "", "."] {
            let outside = vec![(name.to_owned(), Vec::new())];
            assert!(matches!(archive_config(store.path(), &outside), Err(ConfigError::Name(_))), "{name}");
        }
        for hash in ["..", "", "A".repeat(64).as_str()] {
            assert!(matches!(read_config(store.path(), hash), Err(ConfigError::Hash(_))), "{hash}");
        }
        let unknown = "0".repeat(64);
        assert!(matches!(read_config(store.path(), &unknown), Err(ConfigError::Unknown(_))));
    }

    #[test]
    fn one_that_a_day_may_refer_to_stays_and_an_older_one_goes() {
        let store = tempfile::tempdir().unwrap();
        let old = archive_config(store.path(), &files("old")).unwrap();
        let new = archive_config(store.path(), &files("new")).unwrap();
        let long_ago = UNIX_EPOCH + Duration::from_secs(86_400 * 365);
        let path = |hash: &str| store.path().join("configs").join(hash);
        touch(&path(&old), long_ago).unwrap();
        // No day says how old is too old.
        archive_config(store.path(), &files("new")).unwrap();
        assert_eq!(hashes(store.path()).len(), 2);
        fs::create_dir_all(store.path().join("days/1970-06-01")).unwrap();
        archive_config(store.path(), &files("new")).unwrap();
        assert_eq!(hashes(store.path()).len(), 2);
        fs::rename(store.path().join("days/1970-06-01"), store.path().join("days/1971-06-01")).unwrap();
        archive_config(store.path(), &files("new")).unwrap();
        assert_eq!(hashes(store.path()), std::slice::from_ref(&new));
        // A run that began long ago was in force until its successor came.
        touch(&path(&new), long_ago).unwrap();
        archive_config(store.path(), &files("third")).unwrap();
        assert_eq!(hashes(store.path()).len(), 2);
    }

    #[test]
    fn there_are_never_more_than_the_most() {
        let store = tempfile::tempdir().unwrap();
        let configs = store.path().join("configs");
        for number in 0..CONFIGS_MOST + 3 {
            let files = files(&number.to_string());
            let path = configs.join(config_hash(&files));
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("sortd.toml"), &files[0].1).unwrap();
            fs::write(path.join("chutes.csv"), &files[1].1).unwrap();
            touch(&path, UNIX_EPOCH + Duration::from_secs(number as u64)).unwrap();
        }
        let current = archive_config(store.path(), &files("current")).unwrap();
        let left = hashes(store.path());
        assert_eq!(left.len(), CONFIGS_MOST);
        assert!(left.contains(&current));
        assert!(!left.contains(&config_hash(&files("0"))), "the longest out of force went");
        assert!(left.contains(&config_hash(&files("258"))));
    }

    /// Worked out by hand: input, event, variant 16, a text of four letters; never to be changed.
    #[test]
    fn frozen_bytes_of_the_record_that_names_it() {
        let body = Body::Input(Input::Event(Event::Configured { hash: "ab12".to_owned() }));
        let bytes = bincode::serde::encode_to_vec(&body, bincode::config::standard()).unwrap();
        assert_eq!(bytes, [0, 0, 16, 4, b'a', b'b', b'1', b'2']);
    }

    /// What a replay does with it years later, on another machine.
    #[test]
    fn an_archived_configuration_loads_by_itself() {
        let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/demo");
        let loaded = crate::site::load_with_sources(&original).unwrap();
        let store = tempfile::tempdir().unwrap();
        let hash = archive_config(store.path(), &loaded.sources).unwrap();
        let directory = config_directory(store.path(), &hash).unwrap();
        let again = crate::site::load_with_sources(&directory).unwrap();
        assert_eq!(again.sources, loaded.sources);
        assert_eq!(again.site.plan, loaded.site.plan);
        assert_eq!(again.site.chutes, loaded.site.chutes);
        assert_eq!(again.warnings.len(), loaded.warnings.len());
        // However long the store's own path is: a socket's length does not count here.
        let files = read_config(store.path(), &hash).unwrap();
        let again = crate::site::load_from_sources(&files).unwrap();
        assert_eq!((again.sources, again.site.plan), (loaded.sources, loaded.site.plan));
    }
}
