//! `sortd line start|stop|purge`: requests about the whole line.

use clap::ValueEnum;

use crate::line::event::Asked;

/// What can be asked of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// Let it run; after an emergency stop this is the deliberate start.
    Start,
    /// Stop it; what is on the belt stays there.
    Stop,
    /// Run everything on the belt to the exception chute.
    Purge,
}

impl Action {
    /// The question.
    pub fn asked(self) -> Asked {
        match self {
            Action::Start => Asked::LineStart,
            Action::Stop => Asked::LineStop,
            Action::Purge => Asked::LinePurge,
        }
    }
}
