//! Bytes ↔ frames and registers ↔ values, one file a device family. No I/O, no clock.

pub mod photo;
pub mod plc;
pub mod scanner;
pub mod tben;
