//! What becomes durable is acknowledged: PLC events to the PLC, order messages to upstream. Alarms of the
//! core are logged here too, on the journal's thread, so that the line's thread never makes a log call.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, watch};

use crate::device::sorter::PlcAck;
use crate::journal::{DurableListener, Record};
use crate::line::event::{Event, HoldOn};
use crate::line::outcome::Outcome;
use crate::line::record::{Body, Fact, Input, Severity};
use crate::uplink::down::{Down, Durable, Notice};
use crate::uplink::orders::Refusal;
use crate::wire::plc::{PlcEventKind, seq_distance};

/// A sequence farther ahead than this is one from before, come again.
const HALF_CIRCLE: u16 = 32_768;

/// Refusals kept of messages whose last part has not come; beyond, the oldest message is forgotten and its
/// sender repeats it.
const MESSAGES_MOST: usize = 1_024;

/// Told of every durable record, in order.
#[derive(Debug)]
pub struct Acknowledge {
    plc: watch::Sender<Option<PlcAck>>,
    /// Epoch and last sequence; the sequence only moves on within an epoch.
    at: Option<PlcAck>,
    events: watch::Sender<u64>,
    notices: mpsc::Sender<Notice>,
    messages: BTreeMap<(Down, String), Durable>,
    /// Whether the PLC last said that the line runs, so that only a change is logged.
    runs: Option<bool>,
}

impl Acknowledge {
    /// Nothing is durable yet.
    pub fn new(
        plc: watch::Sender<Option<PlcAck>>,
        events: watch::Sender<u64>,
        notices: mpsc::Sender<Notice>,
    ) -> Acknowledge {
        Acknowledge { plc, at: None, events, notices, messages: BTreeMap::new(), runs: None }
    }

    fn input(&mut self, event: &Event) {
        match event {
            Event::PlcAttached(attached) => {
                // What was durable before the connection stood anew is still true, and heard by the task.
                self.publish();
                // What the PLC offers again from here on is recorded again, and so acknowledged again.
                self.at = Some(PlcAck { epoch: attached.epoch, seq: attached.acknowledged });
                self.runs(attached.flags.running);
            }
            Event::PlcFlags(flags) => self.runs(flags.running),
            Event::Plc(event) => {
                if let Some(at) = &mut self.at {
                    let ahead = seq_distance(at.seq, event.seq);
                    let again = matches!(event.kind, PlcEventKind::Resynced);
                    // In a numbering that begins everything lies ahead.
                    if again || at.seq == 0 || (ahead != 0 && ahead < HALF_CIRCLE) {
                        at.seq = event.seq;
                    }
                }
            }
            Event::PlanStaged(staged) => self.answer(Durable {
                down: Down::Plans,
                message: staged.message.clone(),
                accepted: 1,
                refused: Vec::new(),
                plan: Some(super::errands::staged(&staged.version)),
            }),
            Event::PlanInForce(change) => {
                if let Some(message) = &change.message {
                    self.answer(Durable {
                        down: Down::Plans,
                        message: message.clone(),
                        accepted: 1,
                        refused: Vec::new(),
                        plan: Some(super::errands::in_force(&change.version)),
                    });
                }
            }
            _ => {}
        }
    }

    fn runs(&mut self, runs: bool) {
        if self.runs.replace(runs) != Some(runs) {
            tracing::info!("{}", if runs { "the line runs" } else { "the line stands" });
        }
    }

    fn fact(&mut self, record: u64, fact: &Fact) {
        match fact {
            Fact::OrderRefused { message, order, why } => {
                let refusal = Refusal { order: Some(order.clone()), code: None, reason: why.clone() };
                self.message(Down::Orders, message).refused.push(refusal);
            }
            Fact::HoldRefused { message, on, why } => {
                let (order, code) = match on {
                    HoldOn::Order(order) => (Some(order.clone()), None),
                    HoldOn::Code(code) => (None, Some(code.clone())),
                };
                let refusal = Refusal { order, code, reason: why.clone() };
                self.message(Down::Holds, message).refused.push(refusal);
            }
            Fact::OrdersApplied { message, last, accepted, .. } => {
                self.applied(Down::Orders, message, *last, *accepted);
            }
            Fact::HoldsApplied { message, last, accepted, .. } => {
                self.applied(Down::Holds, message, *last, *accepted);
            }
            Fact::AlarmRaised(alarm) => match alarm.severity {
                Severity::Critical => {
                    tracing::error!(alarm = %alarm.id, remedy = %alarm.remedy, record, "{}", alarm.text);
                }
                Severity::Warning => {
                    tracing::warn!(alarm = %alarm.id, remedy = %alarm.remedy, record, "{}", alarm.text);
                }
            },
            Fact::AlarmCleared { id } => tracing::info!(alarm = %id, record, "alarm cleared"),
            Fact::ChuteEmptied { chute, parcels } => {
                tracing::debug!(chute = chute.0, parcels, record, "chute emptied");
            }
            Fact::Ended { pass, key, outcome, .. } => {
                let key = key.as_ref().map(|key| key.0.as_str());
                let (outcome, reason) = match outcome {
                    Outcome::Sorted { .. } => ("sorted", None),
                    Outcome::Exception { reason, .. } => ("exception", Some(reason.name())),
                    Outcome::Lost => ("lost", None),
                };
                tracing::debug!(
                    epoch = pass.epoch,
                    track = pass.track,
                    key,
                    outcome,
                    reason,
                    record,
                    "ended"
                );
            }
            _ => {}
        }
    }

    fn publish(&self) {
        if self.at.is_some() {
            self.plc.send_if_modified(|ack| std::mem::replace(ack, self.at) != self.at);
        }
    }

    /// A part of a message is applied; with the last one it may be answered.
    fn applied(&mut self, down: Down, message: &str, last: bool, accepted: u32) {
        self.message(down, message).accepted += u64::from(accepted);
        if last && let Some(durable) = self.messages.remove(&(down, message.to_owned())) {
            self.answer(durable);
        }
    }

    /// A full queue is a sender that gets no answer and repeats the message.
    fn answer(&self, durable: Durable) {
        if let Err(error) = self.notices.try_send(Notice::Durable(durable)) {
            tracing::debug!(%error, "the answer to a message found no room");
        }
    }

    fn message(&mut self, down: Down, id: &str) -> &mut Durable {
        let key = (down, id.to_owned());
        if self.messages.len() >= MESSAGES_MOST && !self.messages.contains_key(&key) {
            self.messages.pop_first();
        }
        self.messages.entry(key).or_insert_with(|| Durable {
            down,
            message: id.to_owned(),
            accepted: 0,
            refused: Vec::new(),
            plan: None,
        })
    }
}

impl DurableListener for Acknowledge {
    fn durable(&mut self, records: &[Record]) {
        let mut newest = None;
        for record in records {
            newest = record.event_seq.or(newest);
            match &record.body {
                Body::Input(Input::Event(event)) => self.input(event),
                Body::Input(_) => {}
                Body::Fact(fact) => self.fact(record.seq, fact),
            }
        }
        if let Some(newest) = newest {
            self.events.send_replace(newest);
        }
        self.publish();
    }
}
