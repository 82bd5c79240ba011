//! The status as one document: what `sortd status` prints, what `/status.json` answers and what the page draws.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{About, Views};
use crate::line::record::Alarm;
use crate::line::status::LineStatus;
use crate::watch::DeviceHealth;
use crate::watch::clock::Clock;

/// Least time between two documents for the page: five a second look smooth with interpolation between them.
const LEAST_PERIOD: Duration = Duration::from_millis(200);

/// A document goes out at least this often, so that a reader can tell a quiet line from a dead connection.
const LONGEST_PERIOD: Duration = Duration::from_secs(1);

/// A core that has shown nothing for this long is taken for stuck by `/healthz`; it shows itself several times a
/// second, and the longest wait that is allowed to it is far below.
pub const LINE_STALE_MS: u64 = 5_000;

/// Everything there is to see, at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusDocument {
    /// Wall clock, Unix microseconds.
    pub at_us: i64,
    /// Since the core last showed itself.
    pub line_age_ms: u64,
    /// What this installation is.
    pub about: About,
    /// The line.
    pub line: LineStatus,
    /// Alarms of the core and of the shell, the worst first.
    pub alarms: Vec<Alarm>,
    /// Health of each device by name, in NAMUR NE 107 terms.
    pub devices: BTreeMap<String, DeviceHealth>,
    /// Journal.
    pub journal: serde_json::Value,
    /// Uplink.
    pub uplink: serde_json::Value,
}

impl StatusDocument {
    /// The document of this moment; `line_age` is since the core last showed itself.
    pub fn of(views: &Views, line_age: Duration) -> StatusDocument {
        let line = LineStatus::clone(&views.line.borrow());
        let (devices, mut alarms) = views.board.snapshot();
        alarms.extend(line.alarms.iter().cloned());
        alarms.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.id.cmp(&b.id)));
        alarms.dedup_by(|a, b| a.id == b.id);
        StatusDocument {
            at_us: Clock::default().wall_us(),
            line_age_ms: u64::try_from(line_age.as_millis()).unwrap_or(u64::MAX),
            about: views.about.clone(),
            line,
            alarms,
            devices,
            journal: views.journal.borrow().clone(),
            uplink: views.uplink.borrow().clone(),
        }
    }

    /// The core shows itself.
    pub fn line_is_fresh(&self) -> bool {
        self.line_age_ms < LINE_STALE_MS
    }
}

/// Remembers when the core last showed itself.
#[derive(Debug, Clone)]
pub struct Freshness {
    seen: watch::Receiver<Instant>,
}

impl Freshness {
    /// Since the core last showed itself.
    pub fn age(&self) -> Duration {
        self.seen.borrow().elapsed()
    }

    /// Watches the core until `line`'s sender or every reader of the result is gone.
    pub fn watch(mut line: watch::Receiver<Arc<LineStatus>>) -> Freshness {
        let (show, seen) = watch::channel(Instant::now());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    changed = line.changed() => match changed {
                        Ok(()) => { show.send_replace(Instant::now()); }
                        Err(_) => break,
                    },
                    () = show.closed() => break,
                }
            }
        });
        Freshness { seen }
    }
}

/// Builds the document for all readers of the page at once.
pub struct Publisher {
    views: Views,
    freshness: Freshness,
    latest: watch::Sender<Arc<str>>,
}

/// Where readers of the page take the documents from. Each reader that is slow skips to the newest.
#[derive(Debug, Clone)]
pub struct Feed {
    latest: watch::Sender<Arc<str>>,
    /// Since when the core has shown itself.
    pub freshness: Freshness,
}

impl Feed {
    /// A new reader: it sees a fresh document within `LEAST_PERIOD`.
    pub fn subscribe(&self) -> watch::Receiver<Arc<str>> {
        self.latest.subscribe()
    }
}

impl Publisher {
    /// Nothing published yet.
    pub fn new(views: Views) -> Publisher {
        let freshness = Freshness::watch(views.line.clone());
        let (latest, _) = watch::channel(Arc::from(""));
        Publisher { views, freshness, latest }
    }

    /// For readers.
    pub fn feed(&self) -> Feed {
        Feed { latest: self.latest.clone(), freshness: self.freshness.clone() }
    }

    /// Publishes until stopped; nothing is built while nobody reads.
    pub async fn run(mut self, stop: watch::Receiver<bool>) {
        let mut period = tokio::time::interval(LEAST_PERIOD);
        period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let stop = super::stopped(stop);
        tokio::pin!(stop);
        let mut last: Option<Instant> = None;
        let mut readers = 0;
        loop {
            tokio::select! {
                _ = period.tick() => {}
                () = &mut stop => return,
            }
            let now_reading = self.latest.receiver_count();
            let newcomer = now_reading > readers;
            readers = now_reading;
            if readers == 0 {
                continue;
            }
            let changed = self.views.line.has_changed().unwrap_or(false);
            let due = last.is_none_or(|at| at.elapsed() >= LONGEST_PERIOD);
            if !(changed || due || newcomer) {
                continue;
            }
            self.views.line.mark_unchanged();
            let document = StatusDocument::of(&self.views, self.freshness.age());
            match serde_json::to_string(&document) {
                Ok(text) => {
                    self.latest.send_replace(Arc::from(text));
                    last = Some(Instant::now());
                }
                // Only a float that is not a number could fail, and those become `null`.
                Err(error) => tracing::warn!(%error, "status not serialised"),
            }
        }
    }
}
