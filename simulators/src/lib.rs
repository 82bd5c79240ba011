//! One world model of a sorting line, behind virtual time or behind real protocols.
//!
//! | room | what lives there |
//! |---|---|
//! | [`world`] | belt, parcels, readers, chutes, people, the PLC program; deterministic, no clock |
//! | [`couple`] | the two couplings: virtual time straight into `sortd`'s core, real time behind protocols |
//! | [`broker`] | an embedded broker, or a real mosquitto, with outages on one port |
//! | [`cloud`] | the upstream that pushes orders and checks every event |
//! | [`watcher`] | `sim cloud`: the cloud alone, for a line that runs already |
//! | [`upstream`] | the cloud in one piece with the world's orders |
//! | [`outbox`] | a real journal full of milestones, and the real publisher over it |
//! | [`mod@bench`] | `sim bench`: a thing and its floor in the same run |
//! | [`day`] | `sim day`: hours of the line in seconds |
//! | [`day_store`] | the store of such a day, written by the real journal |
//! | [`demo`] | `sim demo`: the whole line over real protocols, with the real `sortd` |
//! | [`figures`] | what a run comes to, as both print it |
//! | [`rig`], [`process`] | a line in one directory, and the daemon as a process of its own |
//! | [`devices`] | `sim devices`: the hardware only, for a `sortd` started by hand |
//! | [`testsite`] | a site built in code, for tests and for runs without configuration files |

pub mod bench;
pub mod broker;
pub mod cloud;
pub mod couple;
pub mod day;
pub mod day_store;
pub mod demo;
pub mod devices;
pub mod figures;
pub mod outbox;
pub mod process;
pub mod rig;
pub mod testsite;
pub mod upstream;
pub mod watcher;
pub mod world;
