//! Plans and questions from upstream, worked on beside the line: each has its time, and is answered then.
//!
//! A plan is checked as the files are, with the configuration that runs in place of the other files; every
//! fault is told at once. A good one is staged in the store, recorded, and only then acknowledged. A question
//! for evidence is answered with a claim bundle in the store, and the document in it where that fits.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::plan_desk::{Came, PlanDesk, PlanError};
use crate::evidence::EvidenceError;
use crate::evidence::answer::{Answer, AnswerError};
use crate::journal::{PlanAbout, stage_plan};
use crate::line::event::{Event, StagedPlan};
use crate::site::Finding;
use crate::uplink::down::{Down, Errand, Notice};
use crate::uplink::downstream::ERRANDS;
use crate::uplink::orders::{Ack, PlanAck, REFUSALS_BYTES, Refusal};
use crate::uplink::questions::PlanMessage;
use crate::watch::clock::Clock;

/// An answer that takes longer is no answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Largest document sent with an answer: with the rest of its message it fits into a packet of 64 KiB.
const ANSWER_BYTES: usize = 48 * 1024;
/// Pause before a record is offered again to a full channel of the core.
const OFFER_AGAIN: Duration = Duration::from_millis(5);
/// How a staged plan comes into force.
const COMES_INTO_FORCE: &str = "not by itself: send it with `activate`, or bring it into the configuration as \
                                sort-plan.csv and reload";

/// Writes the claim bundle of a code into the store; may block.
pub type AnswerOf = Arc<dyn Fn(&str) -> Result<Answer, AnswerError> + Send + Sync>;

/// What the work is done with.
pub struct Errands {
    /// Knows and changes the plan in force.
    pub plans: Arc<PlanDesk>,
    /// The store.
    pub store: PathBuf,
    /// Writes a claim bundle; may block.
    pub evidence: AnswerOf,
    /// Into the core.
    pub events: Sender<Event>,
    /// To the client that answers.
    pub notices: mpsc::Sender<Notice>,
}

impl Errands {
    /// Works until nobody sends any more.
    pub async fn run(self, mut errands: mpsc::Receiver<Errand>) {
        let (shared, places) = (Arc::new(self), Arc::new(Semaphore::new(ERRANDS)));
        while let Some(errand) = errands.recv().await {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            tokio::spawn(Arc::clone(&shared).work(errand, place));
        }
    }

    /// The place is given back when the work is done, not when it is no longer waited for: a disk that stands would
    /// otherwise take one thread after the other, until the operator's commands found none.
    async fn work(self: Arc<Self>, errand: Errand, place: OwnedSemaphorePermit) {
        let (down, message) = match &errand {
            Errand::Plan(plan) => (Down::Plans, plan.id.clone()),
            Errand::Evidence { id, .. } => (Down::Ask, id.clone()),
        };
        let notices = self.notices.clone();
        let work = tokio::task::spawn_blocking(move || {
            let _place = place;
            match errand {
                Errand::Plan(plan) => self.plan(plan),
                Errand::Evidence { id, code } => Some(self.evidence(id, &code)),
            }
        });
        let ack = match tokio::time::timeout(ANSWER_WITHIN, work).await {
            Ok(Ok(Some(ack))) => ack,
            // It is answered once the record is durable.
            Ok(Ok(None)) => return,
            Ok(Err(_)) => failed(&message, "this could not be worked on; it is logged".to_owned()),
            Err(_) => failed(&message, format!("no answer within {} s; ask again", ANSWER_WITHIN.as_secs())),
        };
        // The client has ended; so has the daemon.
        let _ = notices.send(Notice::Done { down, message, ack }).await;
    }

    /// Checks and stages a plan. `None`: its record is on its way.
    fn plan(&self, plan: PlanMessage) -> Option<Ack> {
        let PlanMessage { id, table, name, activate } = plan;
        let version = match self.plans.check(&table) {
            Ok(plan) => plan.version,
            Err(findings) => return Some(not_a_plan(id, &findings)),
        };
        if version == self.plans.version() {
            return Some(Ack { plan: Some(in_force(&version)), ..Ack::taken(id, 1, Vec::new()) });
        }
        let staged_us = Clock::default().wall_us();
        let about = PlanAbout { version: version.clone(), name: name.clone(), staged_us };
        if let Err(error) = stage_plan(&self.store, &about, &table) {
            tracing::error!(%error, plan = %version, "a plan could not be staged");
            return Some(failed(&id, format!("the store does not take it: {error}")));
        }
        if activate {
            return match self.plans.activate(&table, name, &id) {
                // It is answered once the change is durable.
                Ok(Came::Next(_)) | Err(PlanError::Ended) => None,
                Ok(Came::Already(version)) => {
                    Some(Ack { plan: Some(in_force(&version)), ..Ack::taken(id, 1, Vec::new()) })
                }
                Err(PlanError::Refused(findings)) => Some(not_a_plan(id, &findings)),
                Err(error) => Some(failed(&id, error.to_string())),
            };
        }
        let mut event = Event::PlanStaged(StagedPlan { message: id, version, name });
        loop {
            match self.events.try_send(event) {
                Ok(()) => return None,
                Err(crossbeam_channel::TrySendError::Full(back)) => event = back,
                // The core has ended; the message is not answered and comes again.
                Err(crossbeam_channel::TrySendError::Disconnected(_)) => return None,
            }
            std::thread::sleep(OFFER_AGAIN);
        }
    }

    fn evidence(&self, id: String, code: &str) -> Ack {
        let mut answer = match (self.evidence)(code) {
            Ok(answer) => answer,
            Err(AnswerError::Evidence(EvidenceError::NotFound { from, .. })) => {
                let answer = json!({"code": code, "found": false, "kept_from": from});
                return Ack { answer: Some(answer), ..Ack::taken(id, 0, Vec::new()) };
            }
            Err(error) => return failed(&id, error.to_string()),
        };
        if answer.evidence.as_ref().is_some_and(|document| document.to_string().len() > ANSWER_BYTES) {
            answer.evidence = None;
        }
        let answer = json!({
            "code": answer.code, "found": true, "bundle": answer.bundle, "sha256": answer.sha256,
            "bytes": answer.bytes, "evidence": answer.evidence,
        });
        Ack { answer: Some(answer), ..Ack::taken(id, 0, Vec::new()) }
    }
}

/// What is said of the plan that the line sorts by.
pub fn in_force(version: &str) -> PlanAck {
    PlanAck {
        version: version.to_owned(),
        state: "in_force".to_owned(),
        comes_into_force: "the line sorts by it; what was decided before stays as it was decided".to_owned(),
    }
}

/// What is said of a plan that lies in the store.
pub fn staged(version: &str) -> PlanAck {
    PlanAck {
        version: version.to_owned(),
        state: "staged".to_owned(),
        comes_into_force: COMES_INTO_FORCE.to_owned(),
    }
}

fn failed(id: &str, why: String) -> Ack {
    Ack { id: Some(id.to_owned()), error: Some(why), ..Ack::default() }
}

/// Every fault with its place, as `sortd check` says it.
fn not_a_plan(id: String, findings: &[Finding]) -> Ack {
    let refused = findings.iter().map(|finding| Refusal {
        order: None,
        code: None,
        reason: format!(
            "{}:{}:{}: {}; expected {}",
            finding.file.display(),
            finding.line,
            finding.column,
            finding.message,
            finding.expected
        ),
    });
    let error = Some("this is no plan for this line; nothing of it was taken".to_owned());
    Ack { error, ..Ack::told(id, 0, refused.collect(), REFUSALS_BYTES) }
}
