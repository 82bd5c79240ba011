//! The record of everything: append-only, in sled, durable before anything is acknowledged.
//!
//! # The way a record takes
//!
//! 1. The line thread numbers each entry of the core ([`Numbered`]) and hands it to
//!    [`JournalHandle::append`]: a bounded channel, never a wait.
//! 2. The journal thread writes it to the *in-flight log* (a plain file, no sync): it outlives the
//!    process, because the page cache does, but not the machine. A restarted daemon reads the core's last
//!    snapshot and this log in milliseconds ([`inflight_resume`]) and goes on before the store is open.
//! 3. Up to [`BATCH_LIMIT`] records become one sled batch, with their index keys. `flush()` hands it to
//!    the kernel, `sync_data()` on the Db's file brings it to the disk: sled's own flush does not.
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
//! - *cursor*: how far upstream has acknowledged milestones.
//!
//! # Files of the store
//!
//! ```text
//! lock                    held by the one daemon that writes here
//! checkpoint cursor boots small files, written whole or not at all
//! days/2026-11-22/        one sled Db; beside its files `span`: epoch, first and last numbers and links
//! orders/                 the register of active orders, a sled Db
//! inflight/<seq>.snapshot the core's state after record <seq>
//! inflight/<seq>.tail     the records after it
//! quarantine/<day>-<unix>/ what was damaged, with `why`
//! ```

mod archive;
mod block;
pub mod chain;
mod cursor;
mod day;
mod frame;
mod guard;
mod handle;
mod index;
mod inflight;
mod keys;
mod layout1;
mod layout2;
mod opening;
mod orders;
mod quarantine;
mod reader;
mod record;
mod retention;
mod settle;
mod shelf;
mod slip;
mod status;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use archive::{Archive, ArchiveError};
pub use cursor::{Cursor, CursorStore};
pub use frame::{DaySpan, Frame};
pub use handle::{AppendError, Journal, JournalHandle, StartError};
pub use inflight::{Resume, read as inflight_resume};
pub use opening::{Opened, Opening, OpeningError, StoreRecovery};
pub use orders::ORDER_LIMIT;
pub use quarantine::Quarantined;
pub use reader::{Milestones, ReadError, Reader};
pub use record::{DecodeError, EncodeError, RECORD_LIMIT, VALUE_LIMIT};
pub use slip::SlipError;
pub use status::{JournalState, JournalStatus};

use crate::line::Tick;
use crate::line::record::{Body, Entry};
use crate::site::StoreSettings;
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
    /// Where faults and alarms are reported.
    pub board: Board,
}

impl JournalSettings {
    /// The configured store, reporting to `board`.
    pub fn new(store: &StoreSettings, board: Board) -> JournalSettings {
        JournalSettings {
            directory: store.directory.clone(),
            cache_mib: store.cache_mib,
            keep_days: store.keep_days,
            batch_limit: BATCH_LIMIT,
            board,
        }
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
        Err(SlipError::Damaged { .. }) => {
            u64::try_from(crate::watch::clock::Clock::default().wall_us() / 1_000_000).unwrap_or(0)
        }
        Err(error) => return Err(error),
    };
    slip::write(&path, &boot)?;
    Ok(boot)
}
