//! `sortd parcel CODE found|removed|damaged`: what an operator may say about one parcel.

use clap::ValueEnum;

use crate::line::event::Asked;

/// What can be said about a parcel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// A lost one turned up.
    Found,
    /// It was taken off the belt by hand.
    Removed,
    /// It is damaged.
    Damaged,
}

impl Action {
    /// The question.
    pub fn asked(self, code: String) -> Asked {
        match self {
            Action::Found => Asked::ParcelFound(code),
            Action::Removed => Asked::ParcelRemoved(code),
            Action::Damaged => Asked::ParcelDamaged(code),
        }
    }
}
