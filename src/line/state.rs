//! Everything the core remembers, as one value that can be stored and taken up again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::event::Request;
use super::outcome::{Outcome, Reason};
use super::record::{Alarm, Target, Untied};
use super::status::EndedStatus;
use super::{ChuteNo, PassKey, ReaderId, Tick};
use crate::identify::{Identification, Key, Reading};
use crate::wire::plc::{CommandSlot, PlcFlags};

/// Layout of the stored snapshot; a snapshot of another one is not taken up.
pub const SNAPSHOT_VERSION: u8 = 5;

/// First layout that has the table of holds behind state and orders.
pub const SNAPSHOT_HOLDS: u8 = 4;

/// First layout that has what is remembered of plans behind the holds.
pub const SNAPSHOT_PLANS: u8 = 5;
/// First layout that has the releases behind the holds, instead of among them.
pub const SNAPSHOT_RELEASES: u8 = 5;

/// Oldest layout that is still taken up: without holds.
pub const SNAPSHOT_OLDEST: u8 = 3;

/// Ended passes remembered to tell a late event of a known parcel from an unknown one.
pub const ENDED_KEPT: usize = 4096;

/// Outcomes shown in `status`.
pub const LAST_SHOWN: usize = 20;

/// Frames without a pass kept for a late induction event.
pub const LOOSE_MOST: usize = 64;

/// How long such a frame is kept: longer than the longest parcel takes over the induction eye plus a poll.
pub const LOOSE_KEPT_MS: u64 = 2_000;

/// Passes in flight at most: ten times what a belt of a hundred metres can hold. With more, the PLC inducts
/// and the belt does not move; the oldest is given up as lost.
pub const PASSES_MOST: usize = 4_096;

/// How long a request to run stands: some polls and PLC scans. One that stood for ever could not rise again.
pub const RUN_STANDS_MS: u64 = 1_000;

/// Readings one pass keeps; more are counted and dropped.
pub const READINGS_MOST: usize = 32;

/// What the core remembers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    /// Time of the last input.
    pub now: Tick,
    /// Number of this start.
    pub boot: u64,
    /// Version of the sort plan.
    pub plan: String,
    /// Link to the PLC.
    pub plc: PlcLink,
    /// Furthest extended pulses heard.
    pub belt: i64,
    /// Belt speed last heard.
    pub speed_mm_s: u16,
    /// Passes in flight.
    pub passes: BTreeMap<PassKey, Pass>,
    /// Belt positions at which a pass must be looked at again.
    pub due: BTreeSet<(i64, PassKey)>,
    /// Pass inducted last, for the gap to the next one.
    pub last_inducted: Option<PassKey>,
    /// Chutes, in the order of the configuration.
    pub chutes: Vec<ChuteState>,
    /// Commands.
    pub commands: Commands,
    /// What is asked of the PLC.
    pub request: Request,
    /// Until when a request to run stands: the PLC acts on its rise and grants it under its own conditions.
    pub run_until: Option<Tick>,
    /// Why no parcels are asked for.
    pub holds: BTreeSet<String>,
    /// The operator has stopped or purged the line, or it stopped after an emergency stop.
    pub mode: Mode,
    /// Frames without a pass.
    pub loose: VecDeque<Loose>,
    /// Sums.
    pub tally: Tally,
    /// Last outcomes, newest first.
    pub last: VecDeque<EndedStatus>,
    /// Passes that have ended, oldest first.
    pub ended: VecDeque<PassKey>,
    /// The same, to look up.
    pub ended_set: BTreeMap<PassKey, Outcome>,
    /// Alarms of the core.
    pub alarms: BTreeMap<String, Alarm>,
    /// What could not be used, by name.
    pub counters: BTreeMap<String, u64>,
    /// The register of active orders has been read back in this run.
    pub orders_loaded: bool,
}

impl State {
    /// The request to run has stood long enough.
    pub fn run_out(&mut self) {
        if self.run_until.take().is_some() {
            self.request.run = false;
        }
    }

    /// Names of the parts that are not stored alike in the two; counters are left out.
    pub fn differs_from(&self, other: &State) -> Result<Vec<&'static str>, bincode::error::EncodeError> {
        let State {
            now,
            boot,
            plan,
            plc,
            belt,
            speed_mm_s,
            passes,
            due,
            last_inducted,
            chutes,
            commands,
            request,
            run_until,
            holds,
            mode,
            loose,
            tally,
            last,
            ended,
            ended_set,
            alarms,
            counters: _,
            orders_loaded,
        } = self;
        let parts = [
            ("now", stored(now)?, stored(&other.now)?),
            ("boot", stored(boot)?, stored(&other.boot)?),
            ("plan", stored(plan)?, stored(&other.plan)?),
            ("plc", stored(plc)?, stored(&other.plc)?),
            ("belt", stored(belt)?, stored(&other.belt)?),
            ("speed", stored(speed_mm_s)?, stored(&other.speed_mm_s)?),
            ("passes", stored(passes)?, stored(&other.passes)?),
            ("due", stored(due)?, stored(&other.due)?),
            ("last inducted", stored(last_inducted)?, stored(&other.last_inducted)?),
            ("chutes", stored(chutes)?, stored(&other.chutes)?),
            ("commands", stored(commands)?, stored(&other.commands)?),
            ("request", stored(request)?, stored(&other.request)?),
            ("run until", stored(run_until)?, stored(&other.run_until)?),
            ("holds", stored(holds)?, stored(&other.holds)?),
            ("mode", stored(mode)?, stored(&other.mode)?),
            ("loose", stored(loose)?, stored(&other.loose)?),
            ("tally", stored(tally)?, stored(&other.tally)?),
            ("last", stored(last)?, stored(&other.last)?),
            ("ended", stored(ended)?, stored(&other.ended)?),
            ("outcomes", stored(ended_set)?, stored(&other.ended_set)?),
            ("alarms", stored(alarms)?, stored(&other.alarms)?),
            ("orders loaded", stored(orders_loaded)?, stored(&other.orders_loaded)?),
        ];
        Ok(parts.into_iter().filter(|(_, own, other)| own != other).map(|(name, ..)| name).collect())
    }
}

fn stored(part: &impl Serialize) -> Result<Vec<u8>, bincode::error::EncodeError> {
    bincode::serde::encode_to_vec(part, bincode::config::standard())
}

/// Link to the PLC.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PlcLink {
    /// Its connection stands.
    pub attached: bool,
    /// Its epoch, once one was seen.
    pub epoch: Option<u16>,
    /// Echo of the last resync: the numbering `last_seq` and the commands belong to.
    pub resync: u16,
    /// Ring sequence last used.
    pub last_seq: u16,
    /// Ring head at the last attach; until it is reached, nothing is declared lost.
    pub catching_up_to: Option<u16>,
    /// State bits.
    pub flags: PlcFlags,
    /// Records said to be missing whose place in the ring has not been come to.
    pub missing_told: u32,
}

/// Commands to the PLC.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Commands {
    /// Sequence of the next command, 1…65535.
    pub next: u16,
    /// Given and not yet taken, in order.
    pub outstanding: VecDeque<CommandSlot>,
    /// Stood in the PLC's table at the attach for parcels whose induction is still to be read.
    pub standing: Vec<CommandSlot>,
}

/// What the operator wants of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Mode {
    /// As the PLC runs it; parcels are asked for.
    #[default]
    Normal,
    /// Stopped on request, or after an emergency stop until someone starts it.
    Stopped,
    /// Everything goes to the exception chute, then it is stopped.
    Purging,
}

/// Conservation sums.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Passes begun.
    pub inducted: u64,
    /// Passes sorted.
    pub sorted: u64,
    /// Exceptions by reason.
    pub exceptions: BTreeMap<Reason, u64>,
    /// Passes lost.
    pub lost: u64,
    /// Laps beyond the first.
    pub recirculated: u64,
    /// Parcels in a destination chute that was not theirs, as far as the PLC's own report shows.
    pub misdirected: u64,
}

impl Tally {
    /// Passes that have ended.
    pub fn ended(&self) -> u64 {
        self.sorted + self.exceptions.values().sum::<u64>() + self.lost
    }
}

/// A pass in flight.
///
/// ```text
///             reads closed, order known                      confirmed
///  Reading ────────────────────────────────► Bound ────────────────────────► ended: sorted / exception
///     │                                       ▲ │ ▲                                   ▲
///     │ reads closed, no order yet            │ │ └── lap (eye 0), decided again      │
///     └───────► AwaitingOrder ────────────────┘ │                                     │
///                order came, or the deadline    │ divert failed, refused too late     │
///                                               └────────────► OffCourse ─────────────┘
///  from every phase: purged, PLC restarted → exception; not arrived by 1.5 × its way → lost
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pass {
    /// When the induction event was used.
    pub inducted_at: Tick,
    /// Extended pulses with its front at the induction eye, on this lap.
    pub origin: i64,
    /// Length.
    pub length_mm: u16,
    /// Laps beyond the first.
    pub lap: u8,
    /// What the induction already showed to be wrong.
    pub blemish: Option<Reason>,
    /// Readings tied to it.
    pub readings: Vec<TiedReading>,
    /// Readers that have answered, bit by [`ReaderId`].
    pub answered: u64,
    /// Identity.
    pub identity: Option<Identity>,
    /// Where it is in its life.
    pub phase: Phase,
    /// Belt position of its entry in `due`.
    pub due: i64,
}

impl Pass {
    /// It is not on its way to the exception chute.
    pub fn may_be_sorted(&self) -> bool {
        match self.phase {
            Phase::Reading | Phase::AwaitingOrder => true,
            Phase::Bound(bound) => matches!(bound.to, Target::Chute(_) | Target::Recirculate(_)),
            Phase::OffCourse { .. } => false,
        }
    }

    /// The chute of its destination that a command in force may bring it to.
    pub fn chute_in_force(&self) -> Option<ChuteNo> {
        match self.phase {
            Phase::Bound(Bound { to: Target::Chute(chute), slack_ms: Some(_), .. }) => Some(chute),
            Phase::Bound(bound) => bound.earlier.or(match bound.to {
                Target::Chute(chute) => Some(chute),
                Target::Exception(..) | Target::Recirculate(_) => None,
            }),
            Phase::Reading | Phase::AwaitingOrder | Phase::OffCourse { .. } => None,
        }
    }

    /// What its readings name, as far as they name anything.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.readings.iter().filter_map(|tied| tied.taken_for.as_ref()?.key.as_ref())
    }
}

/// A reading tied to a pass.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TiedReading {
    /// Reader.
    pub reader: ReaderId,
    /// What it saw.
    pub reading: Reading,
    /// What that is taken for; computed again when a snapshot is taken up.
    #[serde(skip)]
    pub taken_for: Option<Identification>,
}

/// Identity of a pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Key.
    pub key: Key,
    /// URI, where the family has one.
    pub uri: Option<String>,
    /// Carrier named by the code.
    pub carrier: Option<String>,
}

/// Phase of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Reads may still come.
    Reading,
    /// Identified, but no order is known; waits for one until the deadline.
    AwaitingOrder,
    /// A command was given.
    Bound(Bound),
    /// It goes to the PLC's exception chute by itself.
    OffCourse {
        /// Why.
        reason: Reason,
        /// Chute of its destination that an earlier command may still bring it to.
        earlier: Option<ChuteNo>,
    },
}

/// A command given for a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Target.
    pub to: Target,
    /// Alternate, reserved too.
    pub alternate: Option<ChuteNo>,
    /// Chute of an earlier command that may still be the one in force: the newer one was not taken yet, or
    /// came too late.
    pub earlier: Option<ChuteNo>,
    /// Command sequence.
    pub command: u16,
    /// Slack, once the PLC took it.
    pub slack_ms: Option<i32>,
}

/// A chute as the core knows it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ChuteState {
    /// Number at the PLC.
    pub number: u16,
    /// Parcels in it since it was last emptied.
    pub filled: u16,
    /// Parcels on their way to it.
    pub reserved: u16,
    /// Full sensor.
    pub full_sensor: bool,
    /// Disabled at the PLC.
    pub disabled: bool,
    /// The PLC has refused it as full or disabled; its bitmaps say the same before this is over, or it was
    /// for a moment only.
    pub refused_until: Tick,
    /// Locked by an operator.
    pub locked_by: Option<String>,
    /// Being closed or changed; by whom.
    pub closing_by: Option<String>,
    /// Confirm failures in a row.
    pub failures: u8,
}

/// A frame without a pass.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Loose {
    /// When it is given up.
    pub until: Tick,
    /// Reader.
    pub reader: ReaderId,
    /// Readings.
    pub readings: Vec<Reading>,
    /// Signal strength.
    pub rssi_dbm: Option<i16>,
    /// Belt at the reading.
    pub belt: (i64, i64),
    /// Why it had no pass.
    pub why: Untied,
}
