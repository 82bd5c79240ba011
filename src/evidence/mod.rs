//! Claim evidence: what happened to a parcel, with photos and a proof, in one file that explains itself.
//!
//! # What a bundle holds
//!
//! ```text
//! README.txt          what this is and how to verify it, in English and Chinese
//! evidence.html       for people: the same in both languages, with the photos
//! evidence.json       for programs ([`document::Evidence`], `sortd schema evidence`)
//! photos/001.jpg …    photos, in the order of evidence.json
//! proof/records/N.frame   records of the parcel as they stand in the store, byte for byte
//! proof/chain.json    where each stands in the chain: outlines of the records between it and the next anchor
//! proof/anchors.json  those anchors, signed
//! proof/public-key.pem    the key that signed them
//! MANIFEST            SHA-256 of every other file, as `sha256sum -c` reads it
//! ```
//!
//! # What it proves
//!
//! The part `parcel` of evidence.json follows from the frames alone ([`parcel::parcel`]); the frames are in the chain,
//! because the chain from the first of them over the digests of the others arrives at the link of a signed anchor; the
//! photos have the digests that frames name; and of each pass every record is here, because the chain also holds of
//! which pass each other record is ([`complete`]). Who trusts the line's public key trusts all of it, and learns of
//! other parcels no more than the PLC's numbers of their passes.
//!
//! What does not follow from the records is *stated, not proven*: what upstream had acknowledged, what became of a
//! photo that is not here, what the store did not hold any more. `stated` in evidence.json lists it
//! ([`document::STATED`]), the page marks it, and the verdict repeats it with what no bundle proves
//! ([`verify::NOT_PROVEN`]): that no other pass had the code.
//!
//! # Invariants
//!
//! 1. The same store gives the same bytes: no time of making, a fixed order, nothing compressed.
//! 2. What is not there is said in `missing`, never left out silently.
//! 3. Text from outside (codes, names of files, operators) is data everywhere.
//! 4. Everything is bounded: passes by the journal, photos by [`PHOTOS_MOST`] and [`PHOTO_BYTES_MOST`], digests by
//!    [`proof::DIGESTS_MOST`], a bundle that is read by [`bundle::BUNDLE_MOST`].
//!
//! The room touches the journal's and the line's records, the words of `panel::story`, the pure event builder of
//! `uplink`, and how `device::camera` opens a file; nothing but `commands` and `daemon` touches it.

pub mod answer;
pub mod bundle;
mod chinese;
pub mod collect;
pub mod complete;
pub mod document;
#[cfg(test)]
mod forging;
mod html;
pub mod parcel;
mod photos;
pub mod proof;
mod readme;
pub mod source;
pub mod target;
#[cfg(test)]
mod tests;
pub mod verify;

pub use bundle::Files;
pub use collect::{EvidenceError, Setting, collect};
pub use document::Evidence;
pub use source::Source;

/// Photos of one bundle: each camera of a busy tunnel over sixteen passes.
pub const PHOTOS_MOST: usize = 64;

/// Bytes of photos in one bundle; the daemon holds it in memory while it is made.
pub const PHOTO_BYTES_MOST: u64 = 48 << 20;
