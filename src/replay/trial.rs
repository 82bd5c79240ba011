//! A recorded shift under another sort plan.
//!
//! Under another plan the recorded confirmations no longer fit, so they are not fed to it. The shift is
//! replayed under its own plan; at each decision it recorded, the parcel's next place is looked for again
//! under the other plan, with what was known at that moment: identity, order, place on the belt, and every
//! chute *as it was recorded*, but for the parcels that the trial itself has sent elsewhere ([`Moved`]).
//!
//! What follows from that, and stands in the command's help:
//!
//! - Bags are changed when they were. What the new plan puts into a chute beyond its capacity until then closes
//!   no chute (its bag would have been changed sooner); it is counted (`beyond_capacity`).
//! - A full sensor, a lock, a jam stand as they were recorded.
//! - What ended a pass other than as it had been decided (lost, not confirmed, purged, a restart) is taken to
//!   have happened all the same.
//! - What is decided without a plan (no read, holds, gaps, unknown parcels) stays as it was.
//! - A parcel that would go round where it was sorted has no recorded second lap: it counts as `round`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::kpi::{Counting, Fate, Kpis, is_of_the_plan};
use super::period::Period;
use super::walk::{Walked, Witness, walk};
use super::{ReplayError, Stamp, utc};
use crate::journal::Recording;
use crate::line::outcome::Outcome;
use crate::line::record::{Body, Decided, Entry, Fact, Target};
use crate::line::{Difference, Line, PassKey, Watch};
use crate::site::{Site, SortPlan};

/// Why a plan could not be tried.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The recording.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The plan names a chute that this line had not.
    #[error("the plan sends {destination} to chute {chute}, but the line had no such chute at {time}")]
    NoSuchChute {
        /// Destination.
        destination: String,
        /// Chute.
        chute: u16,
        /// When it was looked for.
        time: String,
    },
    /// More parcels than are told apart.
    #[error(
        "expected at most {} parcels, there are more; narrow it with --from and --to",
        super::PARCELS_MOST
    )]
    TooManyParcels,
}

/// A pass that would have ended otherwise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Changed {
    /// Record of its end.
    pub record: u64,
    /// Wall time of that.
    pub time: String,
    /// Pass, as `explain` takes it.
    pub pass: String,
    /// Identity.
    pub code: Option<String>,
    /// Destination of its order.
    pub destination: Option<String>,
    /// As recorded.
    pub recorded: Fate,
    /// Under the other plan.
    pub tried: Fate,
}

/// What the trial showed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trial {
    /// What was walked through.
    #[serde(flatten)]
    pub walked: Walked,
    /// Version of the plan tried.
    pub plan: String,
    /// Passes that began before this time or have not ended in it: in none of the sums.
    pub partly: u64,
    /// Passes that would have ended otherwise.
    pub changed: u64,
    /// Facts of the replay under its own plan that differ from the recorded ones; then nothing here is certain.
    pub differences: u64,
    /// As recorded.
    pub recorded: Kpis,
    /// Under the other plan.
    pub tried: Kpis,
}

/// Tries `plan` on what was recorded in a time and tells of each pass that would have ended otherwise.
///
/// # Errors
///
/// The recording cannot be read or fed, or the plan is not for this line.
pub fn trial(
    recording: &dyn Recording,
    period: Period,
    plan: &SortPlan,
    fallback: Option<Arc<Site>>,
    tell: &mut dyn FnMut(Changed),
) -> Result<Trial, TrialError> {
    let mut trying = Trying {
        plan,
        tell,
        fits: None,
        open: BTreeMap::new(),
        moved: Moved::default(),
        partly: 0,
        changed: 0,
        differences: 0,
        recorded: Counting::default(),
        tried: Counting::default(),
        failed: None,
    };
    let walked = walk(recording, period, fallback, &mut trying)?;
    if let Some(failed) = trying.failed {
        return Err(failed);
    }
    Ok(Trial {
        walked,
        plan: plan.version.clone(),
        partly: trying.partly + trying.open.len() as u64,
        changed: trying.changed,
        differences: trying.differences,
        recorded: trying.recorded.kpis(),
        tried: trying.tried.kpis(),
    })
}

/// A pass on its way, twice.
#[derive(Debug, Default)]
struct Open {
    /// Last recorded decision.
    recorded: Option<Target>,
    /// The same under the other plan.
    tried: Option<Target>,
    /// It would be off the belt already while it was recorded going round.
    settled: bool,
    destination: Option<String>,
    laps: u64,
    tried_laps: u64,
    /// An operator had to do with it.
    reported: bool,
    /// Chutes of the destination it is on its way to: recorded and tried.
    bound: (Option<u16>, Option<u16>),
}

/// How many parcels more each chute would hold, or have on their way to it, than was recorded.
#[derive(Debug, Default)]
struct Moved {
    flying: BTreeMap<u16, i32>,
    /// Since the last recorded change of its bag.
    landed: BTreeMap<u16, i32>,
}

impl Moved {
    fn of(&self, chute: u16) -> i32 {
        let of = |map: &BTreeMap<u16, i32>| map.get(&chute).copied().unwrap_or(0);
        of(&self.flying) + of(&self.landed)
    }

    /// A parcel is no longer on its way to these chutes.
    fn arrive(&mut self, (recorded, tried): (Option<u16>, Option<u16>)) {
        count(&mut self.flying, recorded, 1);
        count(&mut self.flying, tried, -1);
    }

    fn depart(&mut self, (recorded, tried): (Option<u16>, Option<u16>)) {
        count(&mut self.flying, recorded, -1);
        count(&mut self.flying, tried, 1);
    }

    fn land(&mut self, (recorded, tried): (Option<u16>, Option<u16>)) {
        count(&mut self.landed, recorded, -1);
        count(&mut self.landed, tried, 1);
    }
}

fn count(map: &mut BTreeMap<u16, i32>, chute: Option<u16>, by: i32) {
    if let Some(chute) = chute {
        *map.entry(chute).or_default() += by;
    }
}

fn chute_of(target: Target) -> Option<u16> {
    match target {
        Target::Chute(chute) => Some(chute.0),
        Target::Exception(..) | Target::Recirculate(_) => None,
    }
}

struct Trying<'a> {
    plan: &'a SortPlan,
    tell: &'a mut dyn FnMut(Changed),
    /// The configuration that the plan was last found to fit.
    fits: Option<Arc<Site>>,
    open: BTreeMap<PassKey, Open>,
    moved: Moved,
    partly: u64,
    changed: u64,
    differences: u64,
    recorded: Counting,
    tried: Counting,
    failed: Option<TrialError>,
}

impl Watch<Stamp> for Trying<'_> {
    fn differs(&mut self, _: Difference<Stamp>) {
        self.differences += 1;
    }

    fn taken(&mut self, line: &Line, moment: &[Entry], numbers: &[Stamp]) {
        if self.failed.is_some() {
            return;
        }
        for (entry, stamp) in moment.iter().zip(numbers) {
            if let Body::Fact(fact) = &entry.body
                && let Err(failed) = self.fact(line, fact, *stamp)
            {
                self.failed = Some(failed);
                return;
            }
        }
    }
}

impl Witness for Trying<'_> {
    fn state_differs(&mut self, _: Stamp, _: Vec<&'static str>) {
        self.differences += 1;
    }
}

impl Trying<'_> {
    fn fact(&mut self, line: &Line, fact: &Fact, stamp: Stamp) -> Result<(), TrialError> {
        match fact {
            Fact::Inducted { pass, .. } => {
                self.open.insert(*pass, Open::default());
            }
            Fact::Decided(decided) => {
                self.check_chutes(line, stamp)?;
                self.decided(line, decided);
            }
            Fact::Recirculated { pass, .. } => {
                if let Some(open) = self.open.get_mut(pass) {
                    open.laps += 1;
                    match open.tried {
                        Some(Target::Recirculate(_)) | None => {
                            open.tried_laps += u64::from(!open.settled);
                        }
                        Some(Target::Chute(_) | Target::Exception(..)) => open.settled = true,
                    }
                }
            }
            Fact::Ended { pass, key, outcome, .. } => {
                let code = key.as_ref().map(|key| key.0.clone());
                return self.ended(line, *pass, code, *outcome, stamp);
            }
            Fact::ChuteEmptied { chute, .. } => {
                self.moved.landed.remove(&chute.0);
                self.recorded.emptied(chute.0);
                self.tried.emptied(chute.0);
            }
            Fact::Reported { pass, .. } => {
                // A report that fits no pass on the belt changes no sum: whose it is is not known.
                if let Some(open) = pass.and_then(|pass| self.open.get_mut(&pass)) {
                    open.reported = true;
                }
            }
            Fact::Tied { .. }
            | Fact::Blank { .. }
            | Fact::Untied { .. }
            | Fact::Identified { .. }
            | Fact::Acknowledged { .. }
            | Fact::Refused { .. }
            | Fact::OrderRefused { .. }
            | Fact::OrdersApplied { .. }
            | Fact::Held { .. }
            | Fact::HoldRefused { .. }
            | Fact::HoldsApplied { .. }
            | Fact::OrdersGone { .. }
            | Fact::AlarmRaised(_)
            | Fact::AlarmCleared { .. } => {}
        }
        Ok(())
    }

    /// Every chute of the plan must have been there.
    fn check_chutes(&mut self, line: &Line, stamp: Stamp) -> Result<(), TrialError> {
        if self.fits.as_ref().is_some_and(|fits| Arc::ptr_eq(fits, line.site())) {
            return Ok(());
        }
        let site = line.site();
        for (destination, chutes) in &self.plan.routes {
            for chute in chutes {
                if !site.chutes.iter().any(|known| known.number == *chute) {
                    let (destination, time) = (destination.clone(), utc(stamp.wall_us));
                    return Err(TrialError::NoSuchChute { destination, chute: chute.0, time });
                }
            }
        }
        self.fits = Some(Arc::clone(site));
        Ok(())
    }

    fn decided(&mut self, line: &Line, decided: &Decided) {
        let Some(open) = self.open.get_mut(&decided.pass) else { return };
        open.recorded = Some(decided.to);
        open.destination.clone_from(&decided.destination);
        // A pass that is decided again does not stand in its own way.
        self.moved.arrive(open.bound);
        open.bound.0 = chute_of(decided.to);
        if open.settled {
            self.moved.depart(open.bound);
            return;
        }
        let asks_the_plan = match decided.to {
            // Without candidates it was taken over from the PLC after a restart, as it stood there.
            Target::Chute(_) | Target::Recirculate(_) => !decided.candidates.is_empty(),
            Target::Exception(_, reason) => is_of_the_plan(reason),
        };
        let moved = |chute: crate::line::ChuteNo| self.moved.of(chute.0);
        let tried = asks_the_plan.then(|| line.would_decide(decided.pass, self.plan, &moved)).flatten();
        let tried = tried.unwrap_or(decided.to);
        open.tried = Some(tried);
        open.bound.1 = chute_of(tried);
        self.moved.depart(open.bound);
    }

    fn ended(
        &mut self,
        line: &Line,
        pass: PassKey,
        code: Option<String>,
        outcome: Outcome,
        stamp: Stamp,
    ) -> Result<(), TrialError> {
        let Some(open) = self.open.remove(&pass) else {
            self.partly += 1;
            return Ok(());
        };
        let recorded = match outcome {
            Outcome::Sorted { chute } => Fate::Sorted { chute: chute.0 },
            Outcome::Exception { reason, .. } => Fate::Exception { reason },
            Outcome::Lost => Fate::Lost,
        };
        let as_decided = match (open.recorded, outcome) {
            (Some(Target::Chute(_)), Outcome::Sorted { .. }) => true,
            (Some(Target::Exception(_, decided)), Outcome::Exception { reason, .. }) => decided == reason,
            (Some(_) | None, _) => false,
        };
        let other = open.settled || (as_decided && open.tried != open.recorded);
        let tried = match open.tried.filter(|_| other) {
            Some(Target::Chute(chute)) => Fate::Sorted { chute: chute.0 },
            Some(Target::Exception(_, reason)) => Fate::Exception { reason },
            Some(Target::Recirculate(_)) => Fate::Round,
            None => recorded,
        };
        self.moved.arrive(open.bound);
        let landed = |fate: Fate| match fate {
            Fate::Sorted { chute } => Some(chute),
            Fate::Exception { .. } | Fate::Lost | Fate::Round => None,
        };
        self.moved.land((landed(recorded), landed(tried)));
        let capacity = |fate: Fate| match fate {
            Fate::Sorted { chute } => {
                let chutes = &line.site().chutes;
                chutes.iter().find(|known| known.number.0 == chute).map(|known| known.capacity)
            }
            Fate::Exception { .. } | Fate::Lost | Fate::Round => None,
        };
        let counted = self.recorded.ended(code.as_deref(), recorded, open.laps, capacity(recorded))
            && self.tried.ended(code.as_deref(), tried, open.tried_laps, capacity(tried));
        if !counted {
            return Err(TrialError::TooManyParcels);
        }
        if let Some(code) = code.as_deref().filter(|_| open.reported) {
            self.recorded.touched(code);
            self.tried.touched(code);
        }
        if recorded != tried || open.laps != open.tried_laps {
            self.changed += 1;
            (self.tell)(Changed {
                record: stamp.seq,
                time: utc(stamp.wall_us),
                pass: format!("{}-{}", pass.epoch, pass.track),
                code,
                destination: open.destination,
                recorded,
                tried,
            });
        }
        Ok(())
    }
}
