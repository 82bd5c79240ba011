//! The world's two couplings: virtual time straight into `sortd`'s core, real time behind real protocols.
//!
//! | file | what |
//! |---|---|
//! | `virtual_time` | world and core in one thread, with the field's delays |
//! | `real_time` | the world on the machine's monotonic clock, and its hardware around it |
//! | `station` | a Modbus TCP unit that can be cut, slowed and mended |
//! | `tben` | an RFID gate's process image in front of the world's tags |
//! | `port` | a scanner's serial port as a pty behind a link |

pub mod port;
pub mod real_time;
pub mod station;
pub mod tben;
pub mod virtual_time;
