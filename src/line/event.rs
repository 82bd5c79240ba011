//! What enters the core and what it asks the shell to do.

use serde::{Deserialize, Serialize};

pub use super::order::{Cod, Details, Hold, Order};
use super::{ChuteNo, ReaderId, Tick};
use crate::identify::Reading;
use crate::site::Site;
use crate::wire::plc::{CommandSlot, PlcEvent, PlcFlags};

/// Everything that can reach the core. `now` comes beside it and never goes back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// Time has passed; run what is due.
    Tick,
    /// The process has (re)started: opens a run. Always the first event of a run.
    Started(Started),
    /// The PLC's connection stands and its state was read.
    PlcAttached(PlcAttached),
    /// The PLC's connection is gone.
    PlcDetached,
    /// One record of the PLC's event ring.
    Plc(PlcEvent),
    /// Ring records were overwritten before they were read: how many.
    PlcEventsMissed(u32),
    /// State bits of the PLC changed.
    PlcFlags(PlcFlags),
    /// Highest command sequence the PLC has taken, register 102, when it changed.
    CommandsTaken(u16),
    /// Chute bitmaps changed; bit n of word n/16 is chute number n.
    ChuteBits {
        /// Full sensors.
        full: Vec<u16>,
        /// Disabled at the PLC.
        disabled: Vec<u16>,
    },
    /// One poll of the encoder.
    Encoder(EncoderPoll),
    /// A reader's frame, stamped at its first byte (serial) or at the midpoint of the poll (Modbus). Never
    /// recorded as such: [`Input::Read`](super::record::Input) has its place on the belt instead.
    Heard(Heard),
    /// The shell cannot take more parcels for now (the journal is behind, the process is leaving), or can
    /// again.
    InductionHold {
        /// Held or released.
        held: bool,
        /// Which of the shell's reasons.
        why: String,
    },
    /// A device came or went.
    DeviceState {
        /// Its name in `devices.toml`.
        device: String,
        /// Works.
        up: bool,
    },
    /// A part of an order message from upstream.
    Orders(OrderBatch),
    /// The register of active orders has been read back after a start: how many it held.
    OrdersLoaded(u64),
    /// What an operator asked through the socket.
    Ask(Ask),
    /// The configuration this run works with, behind its [`Event::Started`]: the core only records it, so
    /// that a replay finds the plan and the chutes of that time in the store's archive.
    Configured {
        /// Name of it: SHA-256 over the names and contents of its files, in hexadecimal.
        hash: String,
    },
    /// A camera's file is whole. It may come long after its parcel.
    Photo(Photo),
    /// A part of a message of holds and releases from upstream.
    Holds(HoldBatch),
    /// Finished orders that nobody has named for long leave the table.
    OrdersRetired(Vec<RetiredOrder>),
    /// A plan from upstream was checked and lies in the store: the core only records it.
    PlanStaged(StagedPlan),
    /// Retention lets a day of records go: the core only records it, and the day goes once that is durable, so that
    /// the chain itself says who took it.
    DayDeleted(DayDeleted),
    /// A plan that the shell has made ready comes into force for everything that is not decided yet.
    PlanInForce(PlanInForce),
}

/// A day of records that retention deletes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayDeleted {
    /// Name of its directory.
    pub day: String,
    /// Store epoch.
    pub epoch: u64,
    /// First and last record.
    pub records: (u64, u64),
    /// First and last milestone of the epoch; the last is one less than the first where there is none.
    pub events: (u64, u64),
    /// Why it goes.
    pub why: DeletedFor,
    /// Milestones in it that upstream has not acknowledged.
    pub unacknowledged: u64,
}

/// Why a day of records goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeletedFor {
    /// Older than the days that are kept.
    Age,
    /// The store took more than `max-size-mib`.
    Size,
    /// It took more than `hard-size-mib`, and upstream had not acknowledged all of the day.
    Force,
}

/// A sort plan that comes into force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanInForce {
    /// Its version.
    pub version: String,
    /// The configuration with this plan in it, in the store's archive: SHA-256 in hexadecimal.
    pub configuration: String,
    /// Who brought it: `upstream`, `reload`.
    pub by: String,
    /// What upstream calls it.
    pub name: Option<String>,
    /// `id` of the message, for its `acks`.
    pub message: Option<String>,
}

/// A plan that was staged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedPlan {
    /// `id` of the message, for its `acks`.
    pub message: String,
    /// Version of the plan, and name of its directory under `plans/`.
    pub version: String,
    /// What upstream calls it.
    pub name: Option<String>,
}

/// A photo that a camera has put into its spool directory. The file stays where it is; its digest is what counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Photo {
    /// Camera, as in `devices.toml`.
    pub camera: String,
    /// Reader whose field it sees.
    pub reader: ReaderId,
    /// Name of the file, without its directory.
    pub name: String,
    /// Size.
    pub bytes: u64,
    /// SHA-256 over the file.
    pub sha256: [u8; 32],
    /// When it was taken, as the file says: wall clock, Unix microseconds.
    pub taken_us: i64,
    /// The same in the core's time, with the camera's uncertainty: earliest and latest moment.
    pub between: (Tick, Tick),
}

/// Opens a run; carries the names that records of the run use numbers for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// 1 for the first start of this installation, then one more each.
    pub boot: u64,
    /// Version of the program.
    pub version: String,
    /// Site, line and domain for event URIs.
    pub site: String,
    /// Line name.
    pub line: String,
    /// Domain for event URIs.
    pub domain: String,
    /// Time zone of the site, IANA name.
    pub time_zone: String,
    /// Hash of the sort plan in force.
    pub plan: String,
    /// Reader names by [`ReaderId`].
    pub readers: Vec<String>,
    /// Chutes: number and name.
    pub chutes: Vec<(u16, String)>,
    /// Wall clock at this tick, Unix microseconds.
    pub wall_us: i64,
}

impl Started {
    /// The start number `boot` of this program with this configuration, at this wall clock.
    pub fn of(site: &Site, boot: u64, wall_us: i64) -> Started {
        Started {
            boot,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            site: site.name.clone(),
            line: site.line_name.clone(),
            domain: site.domain.clone(),
            time_zone: site.time_zone.clone(),
            plan: site.plan.version.clone(),
            readers: site.readers.iter().map(|reader| reader.name.clone()).collect(),
            chutes: site.chutes.iter().map(|chute| (chute.number.0, chute.name.clone())).collect(),
            wall_us,
        }
    }
}

/// What is read from the PLC when a connection stands, in one go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlcAttached {
    /// PLC epoch, register 109.
    pub epoch: u16,
    /// Register 103: echo of the last resync, the name of the numbering that sequences belong to.
    pub resync: u16,
    /// Parcels inducted in this epoch, registers 110–111.
    pub inducted: u32,
    /// Register 2 as the PLC holds it: events acknowledged.
    pub acknowledged: u16,
    /// Register 104: head of the ring (sequence of its newest record).
    pub head: u16,
    /// Register 102: commands taken.
    pub taken: u16,
    /// Command table as it stands in the PLC.
    pub table: Vec<CommandSlot>,
    /// State bits.
    pub flags: PlcFlags,
    /// Encoder at the read.
    pub encoder: EncoderPoll,
}

/// Encoder and speed at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncoderPoll {
    /// Monotonic midpoint of the request.
    pub at: Tick,
    /// Pulses, 32 bit, wrapping.
    pub pulses: u32,
    /// Belt speed.
    pub speed_mm_s: u16,
    /// Round trip of the request: the midpoint is uncertain by half of it.
    pub round_trip_us: u32,
}

/// A reader's frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Which reader.
    pub reader: ReaderId,
    /// When its first byte came, as far as that is known: not after this …
    pub at: Tick,
    /// … and not before this. They lie apart where nobody listened for a while.
    pub since: Tick,
    /// Readings in the frame; empty is the reader's own no-read telegram.
    pub readings: Vec<Reading>,
    /// Received signal strength in dBm for tags, where the gate says it.
    pub rssi_dbm: Option<i16>,
}

/// Part of an order message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderBatch {
    /// `id` of the message, for its `acks`.
    pub message: String,
    /// This is the message's last part: acknowledge once it is durable.
    pub last: bool,
    /// Orders.
    pub orders: Vec<Order>,
}

/// Part of a message of holds and releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldBatch {
    /// `id` of the message, for its `acks`.
    pub message: String,
    /// This is the message's last part: acknowledge once it is durable.
    pub last: bool,
    /// Holds and releases.
    pub holds: Vec<HoldOrder>,
}

/// A hold or a release as upstream tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldOrder {
    /// What is held.
    pub on: HoldOn,
    /// Older revisions are ignored, and so is the same one again; without one the order of arrival counts.
    pub revision: Option<u32>,
    /// Why it is held; `None` releases it.
    pub hold: Option<Hold>,
    /// What upstream says to people about it.
    pub reason: Option<String>,
    /// Who asked for it, as upstream names them.
    pub by: Option<String>,
}

/// What a hold is on. It need not be known yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldOn {
    /// Every parcel of the order with this number.
    Order(String),
    /// Every parcel that shows this code, in whatever form.
    Code(String),
}

/// An order that leaves the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetiredOrder {
    /// Its number.
    pub order: String,
    /// Its revision; a newer one stays.
    pub revision: u32,
}

/// What an operator may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Operator, as given with `--by`.
    pub by: String,
    /// What.
    pub what: Asked,
}

/// What an operator may ask: requests where the PLC decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// Start the line.
    LineStart,
    /// Stop the line.
    LineStop,
    /// Run everything on the belt to the exception chute.
    LinePurge,
    /// No more parcels to this chute; wins over everything.
    ChuteLock(ChuteNo),
    /// Undo a lock.
    ChuteUnlock(ChuteNo),
    /// Its bag or cage is being closed: no more parcels until it is changed.
    ChuteClose(ChuteNo),
    /// Its bag or cage was exchanged: empty again.
    ChuteChanged(ChuteNo),
    /// A parcel was found (a lost one turned up): code.
    ParcelFound(String),
    /// A parcel was taken off the belt by hand: code.
    ParcelRemoved(String),
    /// A parcel is damaged: code.
    ParcelDamaged(String),
}

/// What the PLC task is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Write this slot into the command table.
    Divert(CommandSlot),
    /// The request word, register 1.
    Request(Request),
    /// Ask for a resync, register 3.
    Resync,
}

/// Register 1: what is asked of the PLC. It grants under its own local conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Request {
    /// Bit 0.
    pub stop: bool,
    /// Bit 1.
    pub run: bool,
    /// Bit 2.
    pub purge: bool,
    /// Bit 8.
    pub induction_permitted: bool,
}
