//! When anchors are made, and with which key.
//!
//! The journal thread shows the notary where the store stands after each durable cycle. An anchor is made
//! a minute after the last one, or a thousand records after it, when a day is sealed and when the daemon
//! ends — and only if there is a record that none speaks of yet. Each costs a signature and two small files
//! synced (itself, and [`Signed`]), and there is at most one a second, however many records come.
//!
//! A key or a disk that fails is never in the way of records: there is an alarm, and it is tried again.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::anchor::{Anchor, AnchorError, Claim};
use super::anchor_log::AnchorLog;
use super::anchor_reader;
use super::chain::Link;
use super::lasting;
use super::quarantine::Quarantined;
use super::signed::Signed;
use super::signing::{SigningError, SigningKey};
use super::slip::SlipError;
use super::status::StatusCell;
use super::{AnchorSettings, DEVICE, JournalSettings};
use crate::line::Tick;
use crate::line::record::{Alarm, Severity};
use crate::watch::Board;

/// An anchor is due this long after the last one …
const EVERY_MS: u64 = 60_000;
/// … or this many records after it …
const EVERY_RECORDS: u64 = 1_000;
/// … but not sooner than this: a flood of records must not become a flood of syncs.
const LEAST_MS: u64 = 1_000;
/// A key or a disk that failed is tried again after this.
const RETRY_MS: u64 = 10_000;
/// Id of the alarm.
const ALARM: &str = "journal-anchors";
/// Id of the alarm for a new key that nobody named.
const KEY_ALARM: &str = "journal-anchors-key";

/// The last anchor, as the status shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorStatus {
    /// Its number.
    pub number: u64,
    /// Record it speaks of.
    pub seq: u64,
    /// Wall clock when it was made, Unix microseconds.
    pub wall_us: i64,
    /// Short name of the key that signed it.
    pub key_id: String,
}

/// Where the store stands: its last durable record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing<'a> {
    pub day: &'a str,
    pub epoch: u64,
    pub seq: u64,
    pub event_seq: u64,
    pub link: Link,
}

#[derive(Debug, thiserror::Error)]
enum NotaryError {
    #[error(transparent)]
    Key(#[from] SigningError),
    #[error(transparent)]
    File(#[from] SlipError),
    #[error(transparent)]
    Anchor(#[from] AnchorError),
}

/// Makes anchors.
#[derive(Debug)]
pub(super) struct Notary {
    store: PathBuf,
    settings: Option<AnchorSettings>,
    board: Board,
    status: Arc<StatusCell>,
    heard: Arc<AtomicU64>,
    /// Key and file, once they were opened.
    desk: Option<(SigningKey, AnchorLog)>,
    /// Epoch and record of the last anchor.
    last: Option<(u64, u64)>,
    /// When one was last made or tried, or the first record was seen.
    at: Option<Tick>,
    failed: bool,
}

impl Notary {
    /// Opens nothing yet. `heard` is told the number of each anchor that is on the disk. Without settings
    /// no anchors are made.
    pub fn new(settings: &JournalSettings, status: Arc<StatusCell>, heard: Arc<AtomicU64>) -> Notary {
        Notary {
            store: settings.directory.clone(),
            settings: settings.anchors.clone(),
            board: settings.board.clone(),
            status,
            heard,
            desk: None,
            last: None,
            at: None,
            failed: false,
        }
    }

    /// Shows where the store stands; makes an anchor if one is due.
    pub fn look(&mut self, standing: Standing<'_>, now: Tick, wall_us: i64) {
        if self.settings.is_none() {
            return;
        }
        if self.desk.is_none() && !self.failed {
            // At the start, so that a key that is wrong is known before there is something to sign.
            let opened = self.open();
            self.conclude(opened);
        }
        let since = now.ms_since(*self.at.get_or_insert(now));
        let fresh = match self.last {
            Some((epoch, seq)) if epoch == standing.epoch => standing.seq.saturating_sub(seq),
            Some(_) | None => EVERY_RECORDS,
        };
        let due = if self.failed {
            since >= RETRY_MS
        } else {
            since >= EVERY_MS || (fresh >= EVERY_RECORDS && since >= LEAST_MS)
        };
        if fresh > 0 && due {
            self.attest(standing, now, wall_us);
        }
    }

    /// Makes an anchor now, unless the last one speaks of the same record.
    pub fn attest(&mut self, standing: Standing<'_>, now: Tick, wall_us: i64) {
        let same = self.last == Some((standing.epoch, standing.seq));
        if self.settings.is_none() || same || standing.seq == 0 {
            return;
        }
        self.at = Some(now);
        let made = self.sign(standing, wall_us);
        self.conclude(made);
    }

    /// Files that speak of days before the oldest kept one are not needed any more.
    pub fn prune(&self, oldest_kept: &str) {
        if let Some((_, log)) = &self.desk
            && let Err(error) = log.prune(oldest_kept)
        {
            self.board.fault(DEVICE, "anchors-retention", &error);
        }
    }

    fn open(&mut self) -> Result<(), NotaryError> {
        let Some(settings) = &self.settings else { return Ok(()) };
        let signed = match Signed::read(&self.store) {
            Ok(signed) => signed.map_or(0, |signed| signed.number),
            // A witness less.
            Err(SlipError::Damaged { .. }) => 0,
            Err(error @ SlipError::Io { .. }) => return Err(error.into()),
        };
        let acknowledged = anchor_reader::acknowledged(&self.store)?;
        let heard = self.heard.load(Ordering::Acquire).max(acknowledged).max(signed);
        let (log, damage) = AnchorLog::open(&self.store, heard)?;
        let mut found: Vec<Quarantined> = damage
            .into_iter()
            .map(|found| Quarantined {
                what: format!("anchors-{}", found.segment.name()),
                moved_to: Some(self.store.join("quarantine")),
                why: found.what,
                missing: None,
            })
            .collect();
        let last = log.last().cloned();
        if found.is_empty() && last.is_none() && heard > 0 {
            let why = format!("{heard} anchors were signed, and the directory `anchors` holds none");
            found.push(Quarantined { what: "anchors".to_owned(), moved_to: None, why, missing: None });
        }
        for found in found {
            found.report(&self.store, &self.board);
            self.status.change(|status| status.quarantined.push(found));
        }
        if let Some(last) = &last {
            self.last = Some((last.claim.epoch, last.claim.seq));
            self.show(last);
        }
        let key = SigningKey::open(&self.store, settings.signing_key.as_deref())?;
        if let Some(last) = last.filter(|last| last.claim.public_key != key.public()) {
            let (before, now, number) = (last.key_id(), key.public().id(), last.claim.number);
            tracing::warn!(%before, %now, "anchors are signed with another key");
            let alarm = Alarm {
                id: KEY_ALARM.to_owned(),
                severity: Severity::Critical,
                text: format!(
                    "Anchors behind number {number} are signed with another key, {now}; up to it the key was {before}."
                ),
                remedy:
                    "If nobody changed the key on purpose, find out who did. Give the new signing-key.pub to \
                         everybody who verifies, beside the one before."
                        .to_owned(),
            };
            lasting::raise(&self.store, &self.board, alarm);
        }
        self.desk = Some((key, log));
        Ok(())
    }

    fn sign(&mut self, standing: Standing<'_>, wall_us: i64) -> Result<(), NotaryError> {
        if self.desk.is_none() {
            self.open()?;
        }
        let (Some(settings), Some((key, log))) = (&self.settings, &mut self.desk) else { return Ok(()) };
        let before = log.last().map(|last| last.claim.public_key);
        let claim = Claim {
            number: log.next(),
            epoch: standing.epoch,
            seq: standing.seq,
            event_seq: standing.event_seq,
            link: standing.link,
            wall_us,
            public_key: key.public(),
            previous_key: before.filter(|before| *before != key.public()).map(|before| before.id()),
            site: settings.site.clone(),
            line: settings.line.clone(),
        };
        let anchor = claim.sign(key)?;
        if let Err(error) = log.append(standing.day, anchor.clone()) {
            // What stands in the file now is looked at anew before the next try.
            self.desk = None;
            return Err(error.into());
        }
        self.last = Some((standing.epoch, standing.seq));
        self.show(&anchor);
        if let Err(error) = Signed::of(&anchor).write(&self.store) {
            // The anchor is there; only that it would be missed is not sure yet.
            self.board.fault(DEVICE, "signed", &error);
        }
        Ok(())
    }

    fn show(&self, anchor: &Anchor) {
        let shown = AnchorStatus {
            number: anchor.claim.number,
            seq: anchor.claim.seq,
            wall_us: anchor.claim.wall_us,
            key_id: anchor.key_id().to_string(),
        };
        self.status.change(|status| status.anchor = Some(shown));
        self.heard.fetch_max(anchor.claim.number, Ordering::Release);
    }

    fn conclude(&mut self, result: Result<(), NotaryError>) {
        match result {
            Ok(()) if self.failed => {
                self.failed = false;
                self.board.clear(ALARM);
            }
            Ok(()) => {}
            Err(error) => {
                self.failed = true;
                self.status.change(|status| status.anchors_failed += 1);
                self.board.fault(DEVICE, "anchors", &error);
                if let NotaryError::Key(SigningError::Gone { path, public }) = &error {
                    return self.board.raise(Alarm {
                        id: ALARM.to_owned(),
                        severity: Severity::Critical,
                        text: format!("No anchors are made: {error}."),
                        remedy: format!(
                            "Put {} back from its copy; signing then goes on by itself. If there is no copy, move {} \
                             aside on purpose: a new key is made, and everybody who verifies must be given its \
                             public half.",
                            path.display(),
                            public.display()
                        ),
                    });
                }
                self.board.raise(Alarm {
                    id: ALARM.to_owned(),
                    severity: Severity::Warning,
                    text: format!("No anchors are made: {error}."),
                    remedy: "Correct the signing key ([store] signing-key-file, the systemd credential, or \
                             signing-key.pem in the store) or the disk; records are kept, but nothing signed \
                             speaks of them until then."
                        .to_owned(),
                });
            }
        }
    }
}

#[cfg(test)]
#[path = "tests/notary.rs"]
mod tests;
