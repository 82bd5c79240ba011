//! What the panel shows and whom it asks.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError};
use tokio::sync::watch;

use crate::evidence::answer::{Answer, AnswerError};
use crate::evidence::source::Store;
use crate::evidence::{EvidenceError, Setting};
use crate::journal::verify::Live;
use crate::journal::{
    JournalHandle, JournalState, JournalStatus, ReadError, Reader, Recording, RecordingError,
};
use crate::line::ChuteNo;
use crate::line::event::{Ask, Asked, Event};
use crate::line::status::LineStatus;
use crate::panel::recorded::{RECORDS_MOST, RecordedQuestion};
use crate::panel::{About, AskReceipt, AskRefused, Layout, Story, StoryError, Views};
use crate::site::Site;
use crate::uplink::status::{DownstreamStatus, UplinkStatus};
use crate::watch::Board;

/// Period at which the journal's and the uplink's states are handed to the panel.
const PERIOD: Duration = Duration::from_millis(250);

/// A start waits so often, and each time so long, for a PLC that is just being attached: together two seconds.
const ATTACH_LOOKS: u32 = 20;
const ATTACH_LOOK: Duration = Duration::from_millis(100);

/// What the views are made of.
pub struct Shown {
    /// Configuration.
    pub site: Arc<Site>,
    /// Devices and alarms of the shell.
    pub board: Board,
    /// Number of this start.
    pub boot: u64,
    /// Journal.
    pub handle: JournalHandle,
    /// Into the core.
    pub events: Sender<Event>,
    /// The line.
    pub line: watch::Receiver<Arc<LineStatus>>,
    /// The uplink.
    pub uplink: (watch::Receiver<UplinkStatus>, watch::Receiver<DownstreamStatus>),
}

impl Shown {
    /// The panel's views; `started_us` is the wall clock of this start.
    pub fn views(self, started_us: i64) -> Views {
        let (journal, journal_seen) = watch::channel(serde_json::Value::Null);
        let (uplink, uplink_seen) = watch::channel(serde_json::Value::Null);
        let handle = self.handle.clone();
        let (published, taken) = self.uplink;
        tokio::spawn(async move {
            let mut turn = tokio::time::interval(PERIOD);
            while !journal.is_closed() {
                turn.tick().await;
                let room = handle.room();
                journal.send_replace(journal_view(&handle.status(), room));
                let view = uplink_view(&published.borrow(), &taken.borrow());
                uplink.send_replace(view);
            }
        });
        let reader = self.handle.reader();
        let recording = self.handle.reader();
        let (evidence_reader, evidence_site) = (reader.clone(), Arc::clone(&self.site));
        let (site, events, line) = (Arc::clone(&self.site), self.events, self.line.clone());
        Views {
            line: self.line,
            board: self.board,
            journal: journal_seen,
            uplink: uplink_seen,
            story: Arc::new(move |code| story(&reader, code)),
            evidence: Arc::new(move |code| evidence(&evidence_reader, &evidence_site, code)),
            ask: Arc::new(move |ask| {
                await_plc(&line, &ask);
                let status = Arc::clone(&line.borrow());
                hand_on(&site, &status, &events, ask)
            }),
            records: Some(Live::new(&self.handle)),
            recorded: Arc::new(move |question| {
                recorded(&recording, &question).map_err(|error| error.to_string())
            }),
            about: About {
                site: self.site.name.clone(),
                line: self.site.line_name.clone(),
                boot: self.boot,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                started_us,
                time_zone: self.site.time_zone.clone(),
            },
            layout: watch::channel(Arc::new(Layout::of(&self.site))).1,
        }
    }
}

/// Answers a question about what is recorded.
fn recorded(
    recording: &dyn Recording,
    question: &RecordedQuestion,
) -> Result<serde_json::Value, RecordingError> {
    let day = |name: &str| {
        let days = recording.days()?;
        let found = days.into_iter().find(|day| day.name == name);
        found.ok_or_else(|| RecordingError::Ask(format!("there is no day {name}")))
    };
    let answer = match question {
        RecordedQuestion::Days => serde_json::to_value(recording.days()?),
        RecordedQuestion::Records { from, max } => {
            serde_json::to_value(recording.records(*from, (*max).min(RECORDS_MOST))?)
        }
        RecordedQuestion::Snapshots { day: name } => serde_json::to_value(recording.snapshots(&day(name)?)?),
        RecordedQuestion::Snapshot { day: name, seq } => {
            serde_json::to_value(recording.snapshot(&day(name)?, *seq)?)
        }
        RecordedQuestion::Run { seq } => serde_json::to_value(recording.run_before(*seq)?),
        RecordedQuestion::Configured { seq } => serde_json::to_value(recording.configured_before(*seq)?),
        RecordedQuestion::Configs => serde_json::to_value(recording.configs()?),
        RecordedQuestion::Config { hash } => serde_json::to_value(recording.config(hash)?),
    };
    answer.map_err(|error| RecordingError::Ask(error.to_string()))
}

fn journal_view(status: &JournalStatus, room: usize) -> serde_json::Value {
    let (state, why) = match &status.state {
        JournalState::Opening => ("opening", None),
        JournalState::Running => ("running", None),
        JournalState::Stalled(why) => ("stalled", Some(why)),
        JournalState::Closed => ("closed", None),
    };
    serde_json::json!({
        "state": state,
        "why": why,
        "epoch": status.epoch,
        "day": status.day,
        "durable": status.durable,
        "space": status.space,
        "free_mib": status.free_mib,
        "store_mib": status.store_mib,
        "extras_left_out": status.extras_left_out,
        "unacknowledged_deleted": status.unacknowledged_deleted,
        "quarantine_deleted": status.quarantine_deleted,
        "last_event": status.last_event,
        "pending": status.pending,
        "room": room,
        "cycles": status.cycles,
        "retries": status.retries,
        "refused": status.refused,
        "orders": status.orders,
        "days_deleted": status.days_deleted,
        "anchor": status.anchor.as_ref().map(|anchor| serde_json::json!({
            "number": anchor.number,
            "seq": anchor.seq,
            "time": jiff::Timestamp::from_microsecond(anchor.wall_us).map(|time| time.to_string()).ok(),
            "key_id": anchor.key_id,
        })),
        "anchors_failed": status.anchors_failed,
        "quarantined": status.quarantined.len(),
    })
}

fn uplink_view(up: &UplinkStatus, down: &DownstreamStatus) -> serde_json::Value {
    serde_json::json!({
        "connected": up.connected,
        "broker": up.broker,
        "epoch": up.epoch,
        "cursor": up.cursor,
        "newest": up.newest,
        "live": up.live,
        "draining_per_s": up.draining_per_s,
        "backlog": up.backlog,
        "in_flight": up.in_flight,
        "published": up.published,
        "missing": up.missing,
        "reconnects": up.reconnects,
        "last_error": up.last_error,
        "orders_connected": down.connected,
        "order_messages": down.messages,
        "orders_answered": down.answered,
        "order_messages_refused": down.refused_messages,
        "orders_accepted": down.accepted,
        "orders_refused": down.refused,
        "plan_staged": down.plan_staged,
        "orders_last_error": down.last_error,
    })
}

/// Everything the journal holds about a code, pass by pass.
fn story(reader: &Reader, code: &str) -> Result<Story, StoryError> {
    let records = reader.story(code).map_err(|error| match error {
        ReadError::NotOpenYet => StoryError::NotOpen,
        other => StoryError::Store(other.to_string()),
    })?;
    // A start that cannot be read leaves its passes without names; the rest of the story stands.
    let names = |seq| reader.started_before(seq).ok().flatten();
    Story::of(code, records, names).ok_or_else(|| StoryError::NotFound { code: code.to_owned(), from: None })
}

/// The claim bundle of a parcel.
fn evidence(reader: &Reader, site: &Site, code: &str) -> Result<Vec<u8>, StoryError> {
    let store = Store::new(reader.clone(), &site.store.directory);
    match crate::evidence::collect::bundle(&store, code, &Setting::of(site)) {
        Ok((_, bundle)) => Ok(bundle),
        Err(EvidenceError::NotFound { code, from }) => Err(StoryError::NotFound { code, from }),
        Err(EvidenceError::Store(ReadError::NotOpenYet)) => Err(StoryError::NotOpen),
        Err(other) => Err(StoryError::Store(other.to_string())),
    }
}

/// The claim bundle of a parcel, left in the store for upstream to fetch.
pub(super) fn answer(reader: &Reader, site: &Site, code: &str) -> Result<Answer, AnswerError> {
    let store = Store::new(reader.clone(), &site.store.directory);
    crate::evidence::answer::answer(&store, code, &Setting::of(site), &site.store.directory)
}

/// A start that comes in the moment in which the PLC is being attached waits for it. Blocks; the panel asks
/// on a thread made for that.
fn await_plc(line: &watch::Receiver<Arc<LineStatus>>, ask: &Ask) {
    for _ in 0..ATTACH_LOOKS {
        if ask.what != Asked::LineStart || is_connected(&line.borrow()) {
            return;
        }
        std::thread::sleep(ATTACH_LOOK);
    }
}

fn is_connected(line: &LineStatus) -> bool {
    !matches!(line.state.as_str(), "offline" | "starting")
}

/// Hands an operator's question to the core, if it is one this line can be asked.
fn hand_on(
    site: &Site,
    line: &LineStatus,
    events: &Sender<Event>,
    ask: Ask,
) -> Result<AskReceipt, AskRefused> {
    let known = |chute: ChuteNo| {
        site.chutes.iter().find(|known| known.number == chute).map(|chute| chute.name.clone()).ok_or_else(
            || {
                let numbers: Vec<String> =
                    site.chutes.iter().map(|known| known.number.0.to_string()).collect();
                AskRefused::NotPossible(format!(
                    "there is no chute {}; this line has {}",
                    chute.0,
                    numbers.join(", ")
                ))
            },
        )
    };
    let said = match &ask.what {
        Asked::LineStart if !is_connected(line) => {
            return Err(AskRefused::NotPossible(
                "the PLC is not connected, so it cannot be asked to run; ask again when it is".to_owned(),
            ));
        }
        Asked::LineStart if line.state == "aborted" => {
            return Err(AskRefused::NotPossible(
                "the emergency stop is active; make the place safe and reset it at the line first".to_owned(),
            ));
        }
        Asked::LineStart => "the PLC is asked to run; it starts under its own conditions".to_owned(),
        Asked::LineStop => "no more parcels are asked for and the PLC is asked to stop".to_owned(),
        Asked::LinePurge => {
            "everything on the belt is asked into the exception chute, then the line stops".to_owned()
        }
        Asked::ChuteLock(chute) => format!("{} is locked; it gets no more parcels", known(*chute)?),
        Asked::ChuteUnlock(chute) => format!("{} is unlocked", known(*chute)?),
        Asked::ChuteClose(chute) => {
            format!("{} gets no more parcels until its bag or cage is changed", known(*chute)?)
        }
        Asked::ChuteChanged(chute) => format!("{} counts from empty again", known(*chute)?),
        Asked::ParcelFound(code) => format!("it is recorded that {code} was found"),
        Asked::ParcelRemoved(code) => format!(
            "it is recorded that {code} was taken off the belt; `sortd explain {code}` shows what came of it"
        ),
        Asked::ParcelDamaged(code) => {
            format!(
                "it is recorded that {code} is damaged; if it is on the belt it goes to the exception chute while it can"
            )
        }
    };
    match events.try_send(Event::Ask(ask)) {
        Ok(()) => Ok(AskReceipt { said }),
        Err(TrySendError::Full(_)) => Err(AskRefused::Busy),
        Err(TrySendError::Disconnected(_)) => Err(AskRefused::Stopping),
    }
}
