//! `sortd chute N lock|unlock|close|changed`: what an operator may say about one chute.

use clap::ValueEnum;

use crate::line::ChuteNo;
use crate::line::event::Asked;

/// What can be said about a chute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// No more parcels to it; wins over everything.
    Lock,
    /// Undo a lock.
    Unlock,
    /// Its bag or cage is being closed: no more parcels until it is changed.
    Close,
    /// Its bag or cage was exchanged: it is empty again.
    Changed,
}

impl Action {
    /// The question.
    pub fn asked(self, number: u16) -> Asked {
        let chute = ChuteNo(number);
        match self {
            Action::Lock => Asked::ChuteLock(chute),
            Action::Unlock => Asked::ChuteUnlock(chute),
            Action::Close => Asked::ChuteClose(chute),
            Action::Changed => Asked::ChuteChanged(chute),
        }
    }
}
