//! Whether the records are those that were written: what `sortd verify` is made of.
//!
//! Days and frames are read in order. Each frame must have a right CRC and the number that follows; its link
//! must follow from the link before it and from the record itself; where an anchor speaks of it, the link
//! must be the one that was signed. Days must hang together, and the records must reach as far as anything
//! else says they did.
//!
//! # The five cases
//!
//! - **Intact**: all of this holds from the first record that is kept to the last. Days before the first one
//!   are gone by retention, and its list says so; the chain of the first kept day is then believed from the
//!   link it begins with, and proven by the first anchor behind it.
//! - **Altered at N**: record N is not right, and the store goes on behind it (or an anchor speaks of it or of
//!   a later one): its CRC, its number, its milestone number or its link is wrong, or it is not there. A
//!   record whose link does not follow may itself be right and stand behind one that was exchanged together
//!   with its link; the two cannot be told apart, and N is the later one.
//! - **Truncated**: everything that is there is right, but the checkpoint, the cursor of the uplink, the day
//!   itself or an anchor knows of records behind the last one.
//! - **Unchained tail**: from record N to the end no record's link follows from the one before it, or none
//!   carries one, and no anchor speaks of them: something else than the journal wrote them.
//! - **Anchor mismatch**: the chain agrees with itself, but the link at a record is not the one that was
//!   signed, or a signature does not fit its anchor. Someone made everything anew from some record on, CRCs
//!   and links included. The first record that is not right follows the last one that an earlier anchor
//!   proves.
//!
//! The first fault in the order of records is the verdict; all others are findings. Findings alone make no
//! other case, but the store is not clean then: anchors that are missing, damaged or signed by a key that is
//! not the one given, small files that are damaged.
//!
//! Records written before there was a chain (frame version 1) at the store's beginning are its *unchained
//! head*: examined by CRC and number, reported, and no fault.
//!
//! # Records that are gone
//!
//! Records between the days that are kept, or before the first of them, are gone: by retention, which deletes from the
//! front only and keeps a list (a note); put aside as damaged, or found missing by the daemon, which keeps a book (the
//! store is altered at the first of them, and the book says why and where they are, until retention has deleted a day
//! behind them); or by something that left no line in either (altered, too). [`Books`] are what the store says of
//! itself.
//!
//! # Anchors of another store
//!
//! Record numbers go on from epoch to epoch. An anchor of an epoch of which nothing is there, for a record that is
//! there in another epoch, is of another store, or this store was put in the place of the one it was made for: an
//! anchor mismatch that says so.

mod books;
mod examine;
pub mod frame;
mod live;
pub mod proof;
mod report;
mod source;

pub use books::{Books, Deleted};
pub use examine::{Examiner, Witness};
pub use live::Live;
pub use proof::{AnchorFault, ChainFault, Place, Step, chain_of, check_anchor, check_signature};
pub use report::{Bad, Report, Verdict};
pub use source::{Source, SourceError, examine};
