//! `sortd`: the controller of one parcel sorting line.
//!
//! # The way a parcel takes
//!
//! ```text
//!  scanner  ─serial──┐
//!  camera   ─files───┤
//!  RFID gate ─Modbus─┼─► device ──►  line (one thread, no I/O) ──► device ──► sorter PLC
//!  sorter PLC ─Modbus┘   + wire        identify, track, sort, divert
//!                                      │ every event and outcome
//!                                      ▼
//!                                   journal (sled) ──► uplink (EPCIS 2.0) ──► MQTT
//! ```
//!
//! One direction, no way back but through an event: a divert confirmation or a full chute re-enters
//! at the left like a scan does.
//!
//! # Rooms
//!
//! | room | what lives there | what it may touch |
//! |---|---|---|
//! | [`commands`] | one file a command | every room's public face |
//! | [`daemon`] | starts and joins threads and tasks | everything; nothing touches it |
//! | [`site`] | configuration as written → the checked [`site::Site`] | files |
//! | [`wire`] | bytes ↔ frames, registers ↔ values | nothing |
//! | [`device`] | one supervised task a bus | `wire`, tokio |
//! | [`evidence`] | a parcel's records, photos and proof → a claim bundle, and back | journal, line, words of `panel`, events of `uplink`, files |
//! | [`identify`] | codes and tags → one identity or a reason | nothing |
//! | [`mod@line`] | the real-time core: `step(now, Event) -> Actions` | `identify`, `site` |
//! | [`journal`] | the record of everything, in sled | sled, files |
//! | [`replay`] | a recorded shift through the same core: the proof, the trial of a plan | `line`, `site`, `journal`'s recording |
//! | [`uplink`] | a journal cursor → EPCIS 2.0 → MQTT; inbound orders, holds, plans, questions | MQTT |
//! | [`watch`] | device health, alarms, systemd notify and watchdog | clocks |
//! | [`panel`] | the local API on a Unix socket, and the read-only page | HTTP |
//!
//! # Rules that hold everywhere
//!
//! 1. A core never reads a clock, a file or a socket; it is given `now`.
//! 2. One writer: the core is one OS thread on bounded channels, the journal another; no lock is shared
//!    with the core.
//! 3. A command never waits for the disk; an acknowledgement always does.
//! 4. Publish only what is durable; release only on PUBACK.
//! 5. Everything is bounded, counted, and has a policy.
//! 6. Every pass ends once, with one reason; inducted = sorted + exception + lost + in flight.
//! 7. Never guess: an ambiguous identity or position is an exception, a late decision too.

pub mod commands;
pub mod daemon;
pub mod device;
pub mod evidence;
pub mod identify;
pub mod journal;
pub mod line;
pub mod panel;
pub mod replay;
pub mod site;
pub mod uplink;
pub mod watch;
pub mod wire;
