//! The record of everything: append-only, in sled, durable before anything is acknowledged.
//!
//! # The way a record takes
//!
//! 1. The line thread numbers each entry of the core ([`Numbered`]) and hands it to
//!    [`JournalHandle::append`]: a bounded channel, never a wait.
//! 2. The journal thread writes it to the *in-flight log* (a plain file, no sync): it outlives the
//!    process, because the page cache does, but not the machine. A restarted daemon reads the core's last
//!    snapshot and this log in milliseconds ([`inflight_resume`]) and goes on before the store is open.
//! 3. Up to [`BATCH_LIMIT`] records become one sled batch, with their index keys. On the commit thread (`commit`)
//!    `flush()` hands it to the kernel and `sync_data()` on the Db's file brings it to the disk: sled's own flush
//!    does not. The journal thread prepares the next batch meanwhile (`flight`).
//! 4. Orders in the batch are brought into the *register of active orders*, durably too.
//! 5. Only now is the number published as *durable*, and the [`DurableListener`] told of each record, so
//!    that PLC events, orders and publishes are released.
//!
//! # Invariants
//!
//! - Record numbers have no gap within one store epoch, and none is ever given twice.
//! - Each record carries its link of the chain ([`chain`]), which goes on from day to day within an epoch.
//! - Milestones carry an *event sequence* without gap from 1 within one store epoch, in record order.
//! - A record that was told to the listener is found again after kill -9 and after loss of power.
//! - A record is given out only if its number, its length and its CRC32 agree; otherwise the answer is an
//!   error that names the record and the day.
//! - No value is larger than [`VALUE_LIMIT`], so that sled never writes a file under `blobs/`, which it
//!   would not sync.
//! - Readers share nothing with the journal thread that it could wait for.
//!
//! # Words
//!
//! - *day*: one sled Db in a directory of its own under `days/`, named by the UTC day of its first record's
//!   wall stamp; at most two are open. A day is *sealed* when the next one begins.
//! - *epoch*: one unbroken numbering of milestones. A new one begins with a fresh store, and when the last
//!   day had to be put into *quarantine* (renamed into `quarantine/`) because it is damaged: the line goes
//!   on, and an alarm says which records are missing.
//! - *in-flight log*: snapshot of the core and the records after it, in plain files under `inflight/`.
//! - *checkpoint*: a small, separately synced file that says how far the store was durable, at most a
//!   second ago. A store that opens shorter than that is damaged, however healthy it looks.
//! - *anchor*: a signed statement of what the chain was at a record; see [`anchor`], and [`verify`] for what is
//!   made of it.
//! - *cursor*: how far upstream has acknowledged milestones.
//!
//! # Files of the store
//!
//! ```text
//! lock                    held by the one daemon that writes here
//! checkpoint cursors boots small files, written whole or not at all (`cursor`: of the version before)
//! gone                    which records are known not to be in the store any more
//! deleted                 what retention deleted, a line of JSON each
//! holes                   what was put aside or found missing, a line of JSON each
//! alarms/<id>             alarms that stand until somebody removes their file
//! signed                  the last anchor, beside the anchors themselves: so that they are missed
//! ballast                 nothing: room for the last records on a disk that others have filled
//! days/2026-11-22/        one sled Db; beside its files `span`: epoch, first and last numbers and links
//! anchors/<first>-<day>   signed anchors in a plain file; `anchors/cursor`: how far they are published
//! signing-key.pem, .pub   the key that signs them, where the store has its own, and its public half
//! orders/                 the register of active orders and holds, append-only files
//! inflight/<seq>.snapshot the core's state after record <seq>
//! inflight/<seq>.tail     the records after it
//! plans/<version>/        plans from upstream, checked and not in force
//! configs/<hash>/         the configurations the records were made under
//! quarantine/<day>-<unix>/ what was damaged, with `why`
//! ```

pub mod about;
pub mod anchor;
mod anchor_log;
mod anchor_over;
mod anchor_reader;
mod archive;
mod batch;
mod block;
mod called;
pub mod chain;
mod commit;
mod configs;
mod cursor;
mod day;
mod facsimile;
mod farewell;
mod flight;
mod frame;
mod gleaning;
mod gone;
mod guard;
mod handle;
mod holes;
mod index;
mod inflight;
mod keys;
mod lasting;
mod layout1;
mod layout2;
mod ledger;
mod legible;
mod notary;
mod opening;
mod orders;
mod outliner;
mod plans;
mod quarantine;
mod reader;
mod record;
mod recording;
mod retention;
mod settle;
mod shelf;
mod shortcut;
mod signed;
pub mod signing;
mod slip;
mod space;
mod status;
#[cfg(test)]
mod tests;
pub mod verify;
mod writer;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use anchor_over::anchor_over;
pub use anchor_reader::AnchorReader;
pub use archive::{Archive, ArchiveError};
pub use called::Called;
pub use configs::{
    CONFIGS_BYTES_MOST, CONFIGS_MOST, ConfigError, ConfigFile, archive_config, config_directory, config_hash,
    read_config,
};
pub use cursor::{Cursor, CursorStore, Cursors, LiveRange};
pub use frame::{DaySpan, Frame};
pub use handle::{AppendError, Journal, JournalHandle, StartError};
pub use holes::Hole;
pub use inflight::{Resume, read as inflight_resume};
pub use notary::AnchorStatus;
pub use opening::{Opened, Opening, OpeningError, StoreRecovery};
pub use orders::{
    Entry as RegisterEntry, EntryRef as RegisterEntryRef, HoldEntry, Register, RegisterError, RegisterPart,
};
pub use plans::{InForce, PLANS_MOST, PlanAbout, plan_in_force, put_in_force, stage_plan, staged_plans};
pub use quarantine::Quarantined;
pub use reader::{Milestones, ReadError, Reader};
pub use record::{DecodeError, EncodeError, RECORD_LIMIT, VALUE_LIMIT};
pub use recording::{RecordedDay, Recording, RecordingError};
pub use slip::SlipError;
pub use space::Space;
pub use status::{JournalState, JournalStatus};

use crate::line::Tick;
use crate::line::record::{Body, Entry};
use crate::site::{Site, SpaceSettings, StoreSettings};
use crate::watch::Board;

/// Records that may wait for the journal thread: a 5 s stall of the disk at 200 parcels/s and eight records
/// a parcel, doubled.
pub const QUEUE_CAPACITY: usize = 16_384;

/// Records of one durable cycle. sled ignores its cache limit with larger batches.
pub const BATCH_LIMIT: usize = 256;

/// Name of the journal on the board.
pub const DEVICE: &str = "journal";

/// A record as it stands in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Gap-free record number, from 1, over the whole store.
    pub seq: u64,
    /// Core time.
    pub at: Tick,
    /// Wall clock, Unix microseconds, stamped by the shell.
    pub wall_us: i64,
    /// Gap-free number among milestones of this store epoch; `None` for everything else.
    pub event_seq: Option<u64>,
    /// What.
    pub body: Body,
}

/// An entry of the core with the number and the wall stamp the line thread gave it.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbered {
    /// Record number: one more than the one before.
    pub seq: u64,
    /// Wall clock, Unix microseconds.
    pub wall_us: i64,
    /// What the core handed out.
    pub entry: Entry,
}

/// Where the store is and how it is kept.
#[derive(Debug, Clone)]
pub struct JournalSettings {
    /// State directory.
    pub directory: PathBuf,
    /// Cache of one day's Db.
    pub cache_mib: u32,
    /// Days kept.
    pub keep_days: u16,
    /// Records of one durable cycle at most, [`BATCH_LIMIT`] unless it is measured.
    pub batch_limit: usize,
    /// How much room the store takes and leaves.
    pub space: SpaceSettings,
    /// Where faults and alarms are reported.
    pub board: Board,
    /// Who signs anchors; `None`: none are made.
    pub anchors: Option<AnchorSettings>,
    /// Retention waits until a record says that a day goes ([`JournalHandle::deletions`]); without a line that makes
    /// such records it waits for ever.
    pub deletions_recorded: bool,
}

/// Whose records anchors speak of, and who signs them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchorSettings {
    /// Site.
    pub site: String,
    /// Line.
    pub line: String,
    /// File of the private key, where the configuration names one.
    pub signing_key: Option<PathBuf>,
}

impl JournalSettings {
    /// The configured store, reporting to `board`.
    pub fn new(store: &StoreSettings, board: Board) -> JournalSettings {
        JournalSettings {
            directory: store.directory.clone(),
            cache_mib: store.cache_mib,
            keep_days: store.keep_days,
            batch_limit: BATCH_LIMIT,
            space: store.space,
            board,
            anchors: None,
            deletions_recorded: false,
        }
    }

    /// A store in `directory` by itself, kept for half a year.
    pub fn in_directory(directory: &Path, board: Board) -> JournalSettings {
        JournalSettings {
            directory: directory.to_owned(),
            cache_mib: 8,
            keep_days: 180,
            batch_limit: BATCH_LIMIT,
            space: SpaceSettings::default(),
            board,
            anchors: None,
            deletions_recorded: false,
        }
    }

    /// With anchors, signed for this site and line.
    #[must_use]
    pub fn anchored(self, site: &Site) -> JournalSettings {
        let anchors = AnchorSettings {
            site: site.name.clone(),
            line: site.line_name.clone(),
            signing_key: site.store.signing_key.clone(),
        };
        JournalSettings { anchors: Some(anchors), ..self }
    }

    fn cache_bytes(&self) -> u64 {
        u64::from(self.cache_mib.max(1)) * 1024 * 1024
    }
}

/// Told of records once they are durable, on the journal thread, in record order. Records may be told a
/// second time after a restart, never left out: whoever listens must not mind. It must not block.
pub trait DurableListener: Send {
    /// These records are on the disk.
    fn durable(&mut self, records: &[Record]);
}

impl<F: FnMut(&[Record]) + Send> DurableListener for F {
    fn durable(&mut self, records: &[Record]) {
        self(records);
    }
}

/// Counts starts of this installation: 1 for the first, one more each time this is called. Synced before
/// it returns.
pub fn next_boot(directory: &Path) -> Result<u64, SlipError> {
    std::fs::create_dir_all(directory).map_err(|source| SlipError::at(directory, source))?;
    let path = directory.join("boots");
    let boot = match slip::read::<u64>(&path) {
        Ok(boots) => boots.unwrap_or(0) + 1,
        // A damaged counter is no reason to stop a line: the number only has to be new. Unix seconds are
        // beyond any count of starts.
        Err(SlipError::Damaged { .. }) => unix_s(),
        Err(error) => return Err(error),
    };
    match slip::write(&path, &boot) {
        Err(error) if error.is_full() => {
            // A full disk stops no line that can run without it: the counter has a place already, or, at the very
            // first start, nobody has a number yet that this one could be taken for.
            if let Err(error) = slip::write_in_place(&path, &boot) {
                tracing::error!(%error, remedy = error.remedy(), "this start is not counted");
                return Ok(boot.max(unix_s()));
            }
        }
        written => written?,
    }
    Ok(boot)
}

fn unix_s() -> u64 {
    u64::try_from(crate::watch::clock::Clock::default().wall_us() / 1_000_000).unwrap_or(0)
}
