//! What is going to happen: by time, and by belt position.
//!
//! Parcels ride rigidly, so everything a parcel will do is known as a belt position long before it is
//! known as a time: a stop of the belt moves no entry. Entries of one moment keep the order in which they
//! were made, which makes a run repeatable.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use sortd::identify::Reading;
use sortd::line::ReaderId;
use sortd::line::event::Order;

use super::parcel::ParcelId;

/// Something that happens when the belt has travelled to a position.
#[derive(Debug)]
pub enum Crossing {
    /// A parcel's front reaches the induction eye.
    EyeFront(ParcelId),
    /// A parcel's rear leaves the induction eye.
    EyeRear(ParcelId),
    /// The eye has been clear for the debounce length since its `n`-th clearing.
    EyeSettled(u64),
    /// A parcel may be released onto the belt.
    InductionFree,
    /// A reader looks at a parcel (physical state number `state`).
    Glance(ParcelId, u32, Box<Glance>),
    /// A parcel slips backwards on the belt.
    Slip(ParcelId, u32, u32),
    /// A parcel is taken off by hand.
    Removal(ParcelId, u32),
    /// The PLC must hold a usable command now (track, command number).
    Decision(u32, u32),
    /// The PLC's last moment to send a track to the exception chute (track, lap).
    LastDecision(u32, u8),
    /// The PLC fires the divert (track, command number).
    Fire(u32, u32),
    /// The end of the line for a track: another lap if it has to (track, lap).
    LapTurn(u32, u8),
    /// The end of the line for a parcel that nobody diverted.
    End(ParcelId, u32),
}

/// What a reader sees of a parcel, and how long it takes to say so.
#[derive(Debug)]
pub struct Glance {
    /// Which reader.
    pub reader: ReaderId,
    /// What it saw; empty for "looked and read nothing".
    pub readings: Vec<Reading>,
    /// Tags only.
    pub rssi_dbm: Option<i16>,
    /// From seeing to the first byte, or to the gate's buffer.
    pub delay_us: u64,
    /// When the reader must have said so, once it has seen: its longest delay later.
    pub by_us: u64,
}

/// Something that happens at a time.
#[derive(Debug)]
pub enum Timer {
    /// The next parcel is announced upstream.
    Announce,
    /// A parcel arrives at induction.
    Arrive(ParcelId),
    /// Upstream changes an order.
    Revise(Box<Order>),
    /// The belt's speed wanders.
    SpeedVaries,
    /// The PLC program looks at what was written to it.
    PlcScan,
    /// The PLC looks at the PC's heartbeat.
    HeartbeatWatch,
    /// A reader speaks.
    Speak(Box<Glance>),
    /// Parcels of a discharged track reach the confirm sensor.
    Land(Box<Landing>),
    /// A bag change is done.
    BagChanged(u16),
}

/// Parcels on their slide into a chute.
#[derive(Debug)]
pub struct Landing {
    /// Track they belong to; `None` where the PLC knew nothing of them.
    pub track: Option<u32>,
    /// PLC epoch at discharge.
    pub epoch: u16,
    /// Chute.
    pub chute: u16,
    /// Parcels.
    pub parcels: Vec<ParcelId>,
    /// What the PLC will say.
    pub how: sortd::wire::plc::Discharge,
}

#[derive(Debug)]
struct Entry<K, T> {
    at: K,
    serial: u64,
    what: T,
}

impl<K: Ord, T> PartialEq for Entry<K, T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl<K: Ord, T> Eq for Entry<K, T> {}
impl<K: Ord, T> PartialOrd for Entry<K, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K: Ord, T> Ord for Entry<K, T> {
    /// Reversed, because the heap gives its greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (&other.at, other.serial).cmp(&(&self.at, self.serial))
    }
}

/// Both heaps.
#[derive(Debug, Default)]
pub struct Agenda {
    crossings: BinaryHeap<Entry<i64, Crossing>>,
    timers: BinaryHeap<Entry<u64, Timer>>,
    serial: u64,
}

impl Agenda {
    /// At a belt position.
    pub fn cross(&mut self, position_nm: i64, what: Crossing) {
        self.serial += 1;
        self.crossings.push(Entry { at: position_nm, serial: self.serial, what });
    }

    /// At a time.
    pub fn at(&mut self, t_us: u64, what: Timer) {
        self.serial += 1;
        self.timers.push(Entry { at: t_us, serial: self.serial, what });
    }

    /// Position of the next crossing.
    pub fn next_crossing(&self) -> Option<i64> {
        self.crossings.peek().map(|entry| entry.at)
    }

    /// Time of the next timer.
    pub fn next_timer(&self) -> Option<u64> {
        self.timers.peek().map(|entry| entry.at)
    }

    /// Takes the next crossing.
    pub fn pop_crossing(&mut self) -> Option<(i64, Crossing)> {
        self.crossings.pop().map(|entry| (entry.at, entry.what))
    }

    /// Takes the next timer.
    pub fn pop_timer(&mut self) -> Option<Timer> {
        self.timers.pop().map(|entry| entry.what)
    }
}
