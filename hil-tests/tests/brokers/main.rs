//! The uplink against brokers that fail: a cluster that loses its nodes.
//!
//! After each fault every event must be upstream exactly as it was numbered and recorded: none missing, repetitions
//! byte for byte the same. Faults are waited for by what the uplink says of them, in its status and its alarms.

mod cluster;
mod nasty;
mod real;
mod tls;

/// Tests that start several programs take turns: two of them on two cores would measure each other.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
