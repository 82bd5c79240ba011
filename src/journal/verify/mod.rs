//! Whether the records are those that were written.

pub mod frame;
pub mod proof;

pub use proof::{AnchorFault, ChainFault, Place, Step, chain_of, check_anchor, check_signature};
