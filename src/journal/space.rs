//! Room on the disk: watched, and what is given up for it, in this order.
//!
//! | free space | what happens |
//! |---|---|
//! | under `keep-free-mib` | *low*: an alarm; what no promise hangs on (*extras*: stored snapshots of the core, copies of photos, bundles) is left out and counted |
//! | under `reserve-mib` | *out*: induction is asked to stop; the *ballast* is given back to the file system, so that what is on the belt still ends and is recorded |
//! | none | the journal stalls: records wait in memory, then events in the PLC's ring; the belt goes on to be sorted |
//! | back | everything resumes by itself; the ballast is made anew |
//!
//! Records are never left out: their numbers have no gap, replay needs each input and upstream each milestone. So
//! what can be given up are the extras, then new parcels. No day is deleted because the disk is full: days go by
//! age and by the store's own size (`retention`), which somebody configured; a disk that others fill is an alarm.
//!
//! *Ballast*: a file of `reserve-mib` that holds nothing. It is there so that the last records have room on a disk
//! that others have filled.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::gone;
use super::retention::{self, Limits};
use super::writer::Writer;
use super::{DEVICE, JournalSettings};
use crate::line::Tick;
use crate::line::event::DayDeleted;
use crate::line::record::{Alarm, Severity};

/// The file system is asked this often: at 200 parcels/s the store grows by less than 2 MiB meanwhile.
const LOOK_EVERY_MS: u64 = 1_000;
/// The store is measured this often: it means a look at every file.
const MEASURE_EVERY_MS: u64 = 30_000;
/// *Out* ends when so many reserves are free; one of them is the ballast again, then.
const RESERVES_TO_RESUME: u64 = 3;
/// *Low* ends this part above its limit.
const LOW_ENDS_ABOVE: u64 = 8;
const MIB: u64 = 1024 * 1024;

/// How much room there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Space {
    /// Enough.
    #[default]
    Plenty,
    /// Extras are left out.
    Low,
    /// No more parcels.
    Out,
}

impl Space {
    pub(super) fn code(self) -> u8 {
        self as u8
    }

    pub(super) fn of(code: u8) -> Space {
        match code {
            0 => Space::Plenty,
            1 => Space::Low,
            _ => Space::Out,
        }
    }

    /// What follows, with so many bytes free. Each level ends a little above where it begins.
    fn next(self, free: u64, keep_free: u64, reserve: u64) -> Space {
        let out = match self {
            Space::Plenty | Space::Low => free < reserve,
            Space::Out => free < reserve * RESERVES_TO_RESUME,
        };
        let low = match self {
            Space::Plenty => free < keep_free,
            Space::Low | Space::Out => free < keep_free + keep_free / LOW_ENDS_ABOVE,
        };
        match (out, low) {
            (true, _) => Space::Out,
            (false, true) => Space::Low,
            (false, false) => Space::Plenty,
        }
    }
}

/// When the disk was last looked at.
#[derive(Debug, Default)]
pub(super) struct Watch {
    looked_at: Option<Tick>,
    measured_at: Option<Tick>,
    space: Space,
    /// This file system does not give room ahead of its use; said once.
    no_ballast: bool,
}

impl Watch {
    pub fn space(&self) -> Space {
        self.space
    }

    /// The store is measured, and retention looks at it, with the next look.
    pub fn measure_soon(&mut self) {
        self.measured_at = None;
    }
}

impl Writer {
    /// Looks at the disk when it is due, and does what follows.
    pub(super) fn watch_space(&mut self) {
        let now = self.clock.now();
        let due = |at: Option<Tick>, every| at.is_none_or(|at| now.ms_since(at) >= every);
        if !due(self.watch.looked_at, LOOK_EVERY_MS) {
            return;
        }
        self.watch.looked_at = Some(now);
        gone::enter_waiting(&self.settings.directory, &self.settings.board);
        let found = self.status.get().quarantined;
        self.lasting.look(&self.settings.directory, &self.settings.board, &found);
        if self.store.is_some() && due(self.watch.measured_at, MEASURE_EVERY_MS) {
            self.watch.measured_at = Some(now);
            self.retain();
        }
        let (settings, directory) = (self.settings.space, &self.settings.directory);
        let free = match rustix::fs::statvfs(directory) {
            Ok(about) => about.f_bavail.saturating_mul(about.f_frsize),
            Err(error) => return self.settings.board.fault(DEVICE, "statvfs", &error),
        };
        let (keep_free, reserve) =
            (u64::from(settings.keep_free_mib) * MIB, u64::from(settings.reserve_mib) * MIB);
        let (before, space) = (self.watch.space, self.watch.space.next(free, keep_free, reserve));
        self.watch.space = space;
        let ballast = directory.join("ballast");
        if space == Space::Out {
            release(&ballast);
        } else if reserve > 0 && free >= reserve * 2 && !self.watch.no_ballast && !holds(&ballast, reserve) {
            // Two reserves: making it must not be what brings the line to its stop.
            if let Err(error) = make(&ballast, reserve) {
                release(&ballast);
                self.watch.no_ballast = true;
                self.settings.board.fault(DEVICE, "ballast", &error);
            }
        }
        self.status.set_space(space);
        self.status.change(|status| (status.space, status.free_mib) = (space, free / MIB));
        if before != space {
            self.tell_space(space, free);
            if space == Space::Plenty
                && let Some(store) = &mut self.store
            {
                // The snapshot that was left out.
                store.snapshot_at = None;
            }
        }
    }

    fn tell_space(&self, space: Space, free: u64) {
        let (board, settings) = (&self.settings.board, self.settings.space);
        let place = self.settings.directory.display();
        let free = free / MIB;
        tracing::warn!(?space, free_mib = free, "room for the store");
        let raise = |id: &str, severity, text: String| {
            board.raise(Alarm {
                id: id.to_owned(),
                severity,
                text,
                remedy: "Make room on the disk of the store; everything resumes by itself.".to_owned(),
            });
        };
        match space {
            Space::Plenty => {
                board.clear("store-space-low");
                board.clear("store-full");
            }
            Space::Low => {
                board.clear("store-full");
                let keep = settings.keep_free_mib;
                let text = format!(
                    "{free} MiB are free at {place}, less than {keep}: snapshots and copies are left out."
                );
                raise("store-space-low", Severity::Warning, text);
            }
            Space::Out => {
                let reserve = settings.reserve_mib;
                let text = format!(
                    "{free} MiB are free at {place}, less than {reserve}: no more parcels are asked for until there is room."
                );
                raise("store-full", Severity::Critical, text);
            }
        }
    }

    /// Deletes what retention lets go: by age, by size, and, where the hard limit forces it, what upstream has
    /// not acknowledged.
    pub(super) fn retain(&mut self) {
        let (settings, directory) = (&self.settings, &self.settings.directory);
        let limits = Limits { keep_days: settings.keep_days, space: settings.space };
        let size = size(directory).saturating_sub(size(&directory.join("ballast")));
        let (now, farewell) = (self.clock.now(), &mut self.farewell);
        let mut may_go = |day: &DayDeleted| farewell.may_go(day, now);
        match retention::run(directory, &self.shelf, limits, size, &settings.board, &mut may_go) {
            Ok(gone) => self.status.change(|status| {
                status.store_mib = size.saturating_sub(gone.bytes) / MIB;
                status.days_deleted += gone.days;
                status.unacknowledged_deleted += gone.unacknowledged;
                status.quarantine_deleted += gone.quarantined;
            }),
            Err(error) => settings.board.fault(DEVICE, "retention", &error),
        }
        let spans = self.shelf.spans();
        self.farewell.kept(&spans);
        if let Some(oldest) = spans.first() {
            self.notary.prune(&oldest.name);
        }
    }
}

/// Bytes that a file, or everything below a directory, takes on the disk. What vanishes meanwhile takes none.
pub(super) fn size(path: &Path) -> u64 {
    let Ok(about) = fs::symlink_metadata(path) else { return 0 };
    let own = about.blocks() * 512;
    if !about.is_dir() {
        return own;
    }
    let Ok(entries) = fs::read_dir(path) else { return own };
    own + entries.flatten().map(|entry| size(&entry.path())).sum::<u64>()
}

fn holds(ballast: &PathBuf, reserve: u64) -> bool {
    fs::metadata(ballast).is_ok_and(|about| about.len() == reserve)
}

fn make(ballast: &PathBuf, reserve: u64) -> std::io::Result<()> {
    let file: File = OpenOptions::new().create(true).truncate(true).write(true).open(ballast)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, reserve)?;
    Ok(())
}

/// Under this nothing more of any use can be written.
const FULL_BELOW: u64 = MIB;

/// Whether the file system of this path has no room left.
pub(super) fn is_full(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|about| about.f_bavail.saturating_mul(about.f_frsize) < FULL_BELOW)
}

/// Gives the ballast's room to what must be written now. It is made anew when there is room.
pub(super) fn release_ballast(directory: &Path) {
    release(&directory.join("ballast"));
}

/// Before anything is written at a start: a disk that others filled meanwhile must not keep the line from starting,
/// and the ballast is there for it. Whether there is room for parcels is looked at by the journal thread.
pub(super) fn make_way(settings: &JournalSettings) {
    let reserve = u64::from(settings.space.reserve_mib) * MIB;
    let about = rustix::fs::statvfs(&settings.directory);
    if about.is_ok_and(|about| about.f_bavail.saturating_mul(about.f_frsize) < reserve) {
        release_ballast(&settings.directory);
    }
}

fn release(ballast: &PathBuf) {
    // There may be none; and if it cannot be removed, the disk is in a worse state than full.
    let _ = fs::remove_file(ballast);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_goes_and_comes_back_without_flapping() {
        let (keep, reserve) = (512 * MIB, 64 * MIB);
        let mut space = Space::Plenty;
        let mut seen = Vec::new();
        for free in [600, 511, 520, 64, 63, 127, 191, 192, 570, 576, 700, 10, 700] {
            space = space.next(free * MIB, keep, reserve);
            seen.push(space);
        }
        use Space::{Low, Out, Plenty};
        assert_eq!(
            seen,
            [Plenty, Low, Low, Low, Out, Out, Out, Low, Low, Plenty, Plenty, Out, Plenty],
            "in the order of the free space above"
        );
        assert_eq!(Space::Plenty.next(0, 0, 0), Space::Plenty, "limits of nothing watch nothing");
        for space in [Plenty, Low, Out] {
            assert_eq!(Space::of(space.code()), space);
        }
    }

    #[test]
    fn the_ballast_takes_room_and_gives_it_back() {
        let directory = tempfile::tempdir().unwrap();
        let ballast = directory.path().join("ballast");
        make(&ballast, MIB).unwrap();
        assert!(holds(&ballast, MIB) && size(&ballast) >= MIB && size(directory.path()) >= MIB);
        release(&ballast);
        assert!(!holds(&ballast, MIB) && size(&ballast) == 0);
    }
}
