//! The proof: recorded inputs through the same core, every fact compared.

use std::sync::Arc;

use serde::Serialize;

use super::period::Period;
use super::walk::{Walked, Witness, walk};
use super::{ReplayError, Stamp, utc};
use crate::journal::Recording;
use crate::line::record::{Body, Fact};
use crate::line::{Difference, Line, Watch};
use crate::site::Site;

/// Something that is not as it was recorded.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Finding {
    /// A fact.
    Fact(Box<Different>),
    /// The state at a stored snapshot; the replay goes on with the stored one.
    State {
        /// The record the snapshot stands after.
        record: u64,
        /// Its wall time.
        time: String,
        /// The parts of the state that are not the same.
        parts: Vec<&'static str>,
    },
}

/// A fact that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Different {
    /// Record.
    pub record: u64,
    /// Its wall time.
    pub time: String,
    /// The pass it is about, as `status` and `explain` name one.
    pub pass: Option<String>,
    /// As recorded; `None`: nothing was.
    pub recorded: Option<Fact>,
    /// As concluded now; `None`: nothing was.
    pub concluded: Option<Fact>,
}

/// What the replay showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// What was walked through.
    #[serde(flatten)]
    pub walked: Walked,
    /// Facts that differ.
    pub differences: u64,
    /// Snapshots that the state does not agree with.
    pub state_differences: u64,
}

impl Proof {
    /// Everything came out as it was recorded.
    pub fn holds(&self) -> bool {
        self.differences == 0 && self.state_differences == 0
    }
}

/// Feeds what was recorded in a time to the core again and tells every difference. `fallback` is the
/// configuration for runs whose own is not archived.
///
/// # Errors
///
/// The recording cannot be read, or nothing in it can be fed.
pub fn prove(
    recording: &dyn Recording,
    period: Period,
    fallback: Option<Arc<Site>>,
    tell: &mut dyn FnMut(Finding),
) -> Result<Proof, ReplayError> {
    let mut prover = Prover { tell, differences: 0, state_differences: 0 };
    let walked = walk(recording, period, fallback, &mut prover)?;
    Ok(Proof { walked, differences: prover.differences, state_differences: prover.state_differences })
}

struct Prover<'a> {
    tell: &'a mut dyn FnMut(Finding),
    differences: u64,
    state_differences: u64,
}

impl Watch<Stamp> for Prover<'_> {
    fn differs(&mut self, difference: Difference<Stamp>) {
        self.differences += 1;
        let Difference { number, at: _, recorded, concluded } = difference;
        let about = |fact: &Option<Fact>| fact.clone().and_then(|fact| Body::Fact(fact).pass());
        let pass = about(&recorded).or_else(|| about(&concluded));
        (self.tell)(Finding::Fact(Box::new(Different {
            record: number.seq,
            time: utc(number.wall_us),
            pass: pass.map(|pass| format!("{}-{}", pass.epoch, pass.track)),
            recorded,
            concluded,
        })));
    }

    fn taken(&mut self, _: &Line, _: &[crate::line::record::Entry], _: &[Stamp]) {}
}

impl Witness for Prover<'_> {
    fn state_differs(&mut self, after: Stamp, parts: Vec<&'static str>) {
        self.state_differences += 1;
        (self.tell)(Finding::State { record: after.seq, time: utc(after.wall_us), parts });
    }
}
