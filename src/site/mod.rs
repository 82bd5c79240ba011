//! The configuration, checked and resolved: what the rest of the program builds on.
//!
//! Two steps: *as typed* (the files, each key checked by itself) → [`Site`] (resolved, units in names, every
//! reference checked). No other room reads a configuration file.
//!
//! - [`load`] finds **all** errors of all files at once, each with file, line, column, what was expected and a
//!   way out. One bad file hides nothing in the others, one bad key nothing in its file; one mistake is one
//!   error.
//! - A [`Site`] exists only where there is no error.
//! - What is a key, of which type and range, stands once, in the tables of `keys`; the check, the accessors and
//!   the editors' [`schema`] are made from them.
//! - Relative paths count from the configuration's directory.

mod agreement;
mod carriers;
mod carriers_file;
pub mod credentials;
mod finding;
mod keys;
mod load;
pub mod money;
mod plan;
mod plan_agreement;
mod plan_overlap;
mod plan_rows;
mod registers;
mod resolve;
mod rules;
mod schema;
mod shape;
mod spreadsheet;
mod tables;
#[cfg(test)]
mod tests;
mod uplink;
mod walk;
mod waves;

pub use carriers::{Bag, Carrier, Carriers, CodRange, Fact, Facts, Limits, Receptacle, Refused};
pub use finding::{FINDINGS_PER_FILE, Finding, Severity};
pub use load::{Loaded, destinations, load, load_from_sources, load_with_sources, plan_of};
pub use plan::{Conditions, Route, SortPlan, Specificity, Traits, plan_version};
pub use schema::{SCHEMAS, schema};
pub use waves::{CutOff, Wave, Waves};

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::identify::CarrierRules;
use crate::wire::photo::PhotoName;
use crate::wire::plc::RegisterMap;
use crate::wire::scanner::Framing;

/// One line of one site.
#[derive(Debug, Clone)]
pub struct Site {
    /// Site name; part of topics and URIs.
    pub name: String,
    /// Line name; part of topics and URIs.
    pub line_name: String,
    /// Domain of event URIs, e.g. `sort.example.com`.
    pub domain: String,
    /// IANA name of the site's time zone.
    pub time_zone: String,
    /// Geometry and rules of the belt.
    pub belt: Belt,
    /// Every chute, by number.
    pub chutes: Vec<Chute>,
    /// The chute for exceptions.
    pub exception_chute: ChuteNo,
    /// Readers by [`ReaderId`]: scanners first, then gates, each in file order.
    pub readers: Vec<Reader>,
    /// Sorter PLC.
    pub plc: PlcDevice,
    /// Serial scanners.
    pub scanners: Vec<ScannerDevice>,
    /// RFID gates.
    pub gates: Vec<GateDevice>,
    /// Cameras.
    pub cameras: Vec<CameraDevice>,
    /// Carriers and the shapes of their numbers.
    pub carriers: CarrierRules,
    /// What carriers take, until when, and in which bags.
    pub carrier_table: Carriers,
    /// Sort plan.
    pub plan: SortPlan,
    /// Upstream broker.
    pub uplink: UplinkSettings,
    /// Local store.
    pub store: StoreSettings,
    /// Socket and page.
    pub panel: PanelSettings,
}

/// Geometry and rules of the belt. Positions count from the induction eye in the direction of travel.
#[derive(Debug, Clone, PartialEq)]
pub struct Belt {
    /// Nominal speed.
    pub speed_mm_s: u32,
    /// Encoder pulses a metre.
    pub pulses_per_metre: u32,
    /// From the induction eye to the end of the line (the exception chute's place, or beyond it).
    pub length_mm: u32,
    /// Way from the end of the line back to the induction eye; `None` where nothing recirculates.
    pub recirculation_mm: Option<u32>,
    /// Laps beyond the first before `recirculation_limit`.
    pub recirculation_limit: u8,
    /// Longest parcel; longer is `too_long` (two merged).
    pub longest_parcel_mm: u16,
    /// Least gap to the parcel in front; under it neither diverts (`gap`).
    pub least_gap_mm: u16,
    /// Tracking window: at least this.
    pub window_mm: u32,
    /// Tracking window: or this part of the way since the last sensor, in thousandths.
    pub window_permille: u32,
    /// Reserve before the point of no return besides the 10 % of the way, ms of travel:
    /// poll + round trip + PLC scan + command wait.
    pub reserve_ms: u32,
    /// Confirm failures in a row that make a chute `faulted`.
    pub confirm_failures: u8,
    /// Least part of capacity, in percent, from which a chute shows near full.
    pub near_full_percent: u8,
}

/// A chute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chute {
    /// Number at the PLC.
    pub number: ChuteNo,
    /// Name people use.
    pub name: String,
    /// Where it discharges.
    pub position_mm: u32,
    /// Last place where the PLC still takes a command for it (point of no return); ≤ position.
    pub decision_mm: u32,
    /// Parcels its bag or cage holds.
    pub capacity: u16,
}

/// A reader's place and timing on the belt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// Name in `devices.toml`.
    pub name: String,
    /// Barcode or tag.
    pub kind: ReaderKind,
    /// Field, from the induction eye.
    pub field_start_mm: u32,
    /// Field end.
    pub field_end_mm: u32,
    /// Least and most time from reading to the frame's first byte.
    pub delay_ms: (u32, u32),
}

/// What a reader reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReaderKind {
    /// Barcodes.
    Barcode,
    /// UHF tags.
    Tag,
}

/// The sorter PLC.
#[derive(Debug, Clone)]
pub struct PlcDevice {
    /// Name.
    pub name: String,
    /// `host:port`.
    pub address: String,
    /// Modbus unit.
    pub unit: u8,
    /// Poll period.
    pub poll_ms: u32,
    /// Time-out of one request.
    pub timeout_ms: u32,
    /// Our heartbeat counts up once in this time; the PLC's must within twice this.
    pub heartbeat_ms: u32,
    /// Addresses.
    pub map: RegisterMap,
}

/// A barcode scanner on a serial port.
#[derive(Debug, Clone)]
pub struct ScannerDevice {
    /// Name.
    pub name: String,
    /// Reader it is.
    pub reader: ReaderId,
    /// Serial device, by `/dev/serial/by-id` or a udev link.
    pub port: PathBuf,
    /// Baud.
    pub baud: u32,
    /// Framing and texts.
    pub framing: Framing,
    /// No byte for this long is a dead scanner (with a heartbeat telegram configured); 0 switches it off.
    pub silence_ms: u32,
}

/// An RFID gate over Modbus TCP.
#[derive(Debug, Clone)]
pub struct GateDevice {
    /// Name.
    pub name: String,
    /// Reader it is.
    pub reader: ReaderId,
    /// `host:port`.
    pub address: String,
    /// Modbus unit.
    pub unit: u8,
    /// Channel of the head, 1 or 2 (Turck TBEN-S2-2RFID).
    pub channel: u8,
    /// Poll period.
    pub poll_ms: u32,
    /// Time-out of one request.
    pub timeout_ms: u32,
    /// The same tag is one arrival for this long.
    pub same_tag_ms: u32,
}

/// A camera that puts its photos into a spool directory.
#[derive(Debug, Clone)]
pub struct CameraDevice {
    /// Name.
    pub name: String,
    /// Reader whose field it sees.
    pub reader: ReaderId,
    /// Where its files come.
    pub directory: PathBuf,
    /// What their names look like, and the time in them.
    pub pattern: PhotoName,
    /// Zone of the times in file names, IANA name.
    pub time_zone: String,
    /// Least and most time from the exposure to the time that the file says.
    pub delay_ms: (u32, u32),
    /// How far its clock may be from this machine's, both ways.
    pub window_ms: u32,
    /// Largest file.
    pub largest_bytes: u64,
    /// Period of the look into the directory.
    pub poll_ms: u32,
}

/// A broker, or a node of a cluster of brokers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerAddress {
    /// Host name or IP address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// How a broker is known to be the right one, and by what this line shows itself to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsSettings {
    /// Authorities, PEM; the system's where there is none.
    pub ca_file: Option<PathBuf>,
    /// Own certificate chain and the private key to it, both PEM.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Name expected in the broker's certificate instead of its host.
    pub server_name: Option<String>,
}

/// Upstream broker.
#[derive(Debug, Clone)]
pub struct UplinkSettings {
    /// One broker, or the nodes of one cluster, tried in turn; never empty.
    pub brokers: Vec<BrokerAddress>,
    /// TLS; `None` is plain MQTT.
    pub tls: Option<TlsSettings>,
    /// Client id of the publisher; the subscriber's has `-down` behind it.
    pub client_id: String,
    /// User name and the file that holds the password.
    pub login: Option<(String, PathBuf)>,
    /// Publishes in flight.
    pub window: u16,
    /// Events of a backlog sent a second, at most, while live events go beside it.
    pub backlog_per_s: u32,
    /// Silence after which the connection is rebuilt.
    pub silence_ms: u32,
    /// Largest MQTT packet.
    pub packet_limit: usize,
    /// Period of `health` when nothing changes.
    pub health_ms: u32,
    /// Believe the broker's acknowledgements only once an event has come back.
    pub echo_check: bool,
}

/// Local store.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// State directory.
    pub directory: PathBuf,
    /// Cache of one day's Db.
    pub cache_mib: u32,
    /// Days kept.
    pub keep_days: u16,
    /// File of the key that signs anchors, where the configuration names one.
    pub signing_key: Option<PathBuf>,
    /// How much room it takes and leaves.
    pub space: SpaceSettings,
}

/// Room for the store. By default nothing is limited and nothing watched; the configuration's own presets are
/// stricter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpaceSettings {
    /// Size over which the oldest days go that upstream has acknowledged.
    pub max_size_mib: Option<u32>,
    /// Size over which the oldest days go, acknowledged or not.
    pub hard_size_mib: Option<u32>,
    /// Free space under which snapshots and copies are left out.
    pub keep_free_mib: u32,
    /// Free space under which no more parcels are asked for, and size of the ballast.
    pub reserve_mib: u32,
}

/// Socket and page.
#[derive(Debug, Clone)]
pub struct PanelSettings {
    /// Unix socket.
    pub socket: PathBuf,
    /// Loopback address of the read-only page; `None` switches it off. Port 0 picks a free one.
    pub http: Option<std::net::SocketAddr>,
}

/// A chute by its number at the PLC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChuteNo(pub u16);

/// A reader by its place in `devices.toml` (scanners first, then gates), 0-based.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReaderId(pub u16);
