//! A line's outbox without a line: a real journal that is filled with parcels' milestones, and the real publisher
//! over it. For benches and for long runs against brokers that die.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sortd::daemon::upstream::Upstream;
use sortd::identify::{Key, Reading};
use sortd::journal::{
    AppendError, Journal, JournalHandle, JournalSettings, Numbered, OpeningError, Record, SlipError,
    StartError,
};
use sortd::line::event::{Event, Started};
use sortd::line::outcome::Outcome;
use sortd::line::record::{Body, Entry, Fact, Input};
use sortd::line::{ChuteNo, PassKey, ReaderId};
use sortd::site::{BrokerAddress, Site, UplinkSettings};
use sortd::uplink::Topics;
use sortd::uplink::health::LineBrief;
use sortd::uplink::publisher::Publisher;
use sortd::uplink::status::UplinkStatus;
use sortd::watch::Board;
use sortd::watch::clock::Clock;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::testsite::testsite_in;

/// Milestones of one parcel: inducted, read by the gate, identified, sorted.
pub const EVENTS_A_PARCEL: u64 = 4;

/// Between two looks whether the journal has room, or has made everything durable.
const LOOK_PERIOD: Duration = Duration::from_micros(500);

/// Why there is no outbox.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The journal does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The store does not open.
    #[error(transparent)]
    Opening(#[from] OpeningError),
    /// A small file of the store.
    #[error(transparent)]
    Slip(#[from] SlipError),
    /// The journal has ended.
    #[error("the journal takes no more records: {0}")]
    Closed(AppendError),
}

/// A journal and what stands in it.
#[derive(Debug)]
pub struct Outbox {
    /// The site whose names the events carry.
    pub site: Arc<Site>,
    /// Alarms of journal and uplink.
    pub board: Board,
    directory: PathBuf,
    journal: Journal,
    handle: JournalHandle,
    durable: watch::Receiver<u64>,
    clock: Clock,
    next: u64,
    events: u64,
}

/// A publisher at work.
#[derive(Debug)]
pub struct Publishing {
    /// How far it is.
    pub status: watch::Receiver<UplinkStatus>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Outbox {
    /// Opens a fresh store in `directory` and begins a run.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub fn open(directory: &Path) -> Result<Outbox, OutboxError> {
        let site = testsite_in(directory);
        let board = Board::default();
        let (tell, durable) = watch::channel(0);
        let listener = Box::new(move |records: &[Record]| {
            if let Some(newest) = records.iter().rev().find_map(|record| record.event_seq) {
                tell.send_replace(newest);
            }
        });
        let settings = JournalSettings::new(&site.store, board.clone());
        let (journal, handle, opening) = Journal::start(settings, None, listener)?;
        let opened = opening.wait()?;
        let events = handle.status().last_event;
        let directory = site.store.directory.clone();
        let clock = Clock::default();
        let mut outbox = Outbox {
            board,
            directory,
            journal,
            handle,
            durable,
            clock,
            next: opened.last_seq + 1,
            events,
            site,
        };
        let started = Started::of(&outbox.site, 1, outbox.clock.wall_us());
        outbox.append(Body::Input(Input::Event(Event::Started(started))))?;
        Ok(outbox)
    }

    /// Milestones handed to the journal so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The next milestone of an endless row of parcels; gives back its event sequence.
    ///
    /// # Errors
    /// [`OutboxError::Closed`].
    pub fn tell(&mut self) -> Result<u64, OutboxError> {
        let parcel = self.events / EVENTS_A_PARCEL;
        let track = u32::try_from(parcel % u64::from(u32::MAX)).unwrap_or(0);
        let pass = PassKey { epoch: 1, track };
        let key = || Key(format!("wb:PX{parcel:012}"));
        let fact = match self.events % EVENTS_A_PARCEL {
            0 => Fact::Inducted { pass, length_mm: 400 },
            1 => Fact::Tied {
                pass,
                reader: ReaderId(0),
                reading: Reading::Tag { epc: vec![0x30; 12] },
                rssi_dbm: Some(-58),
            },
            2 => Fact::Identified {
                pass,
                key: key(),
                uri: None,
                order: Some(format!("SO-{parcel}")),
                carrier: Some("kerry".to_owned()),
            },
            _ => Fact::Ended {
                pass,
                key: Some(key()),
                uri: None,
                outcome: Outcome::Sorted { chute: ChuteNo(3) },
                plan: self.site.plan.version.clone(),
                slack_ms: Some(900),
                destination: Some("D03".to_owned()),
            },
        };
        self.append(Body::Fact(fact))?;
        self.events += 1;
        Ok(self.events)
    }

    /// So many milestones, durable before this returns.
    ///
    /// # Errors
    /// [`OutboxError::Closed`].
    pub fn fill(&mut self, events: u64) -> Result<(), OutboxError> {
        for _ in 0..events {
            self.tell()?;
        }
        while self.handle.status().last_event < self.events {
            std::thread::sleep(LOOK_PERIOD);
        }
        Ok(())
    }

    fn append(&mut self, body: Body) -> Result<(), OutboxError> {
        let entry = Entry { at: self.clock.now(), body };
        let mut numbered = Numbered { seq: self.next, wall_us: self.clock.wall_us(), entry };
        loop {
            match self.handle.append(numbered) {
                Ok(()) => break,
                Err(AppendError::Full(back)) => {
                    numbered = *back;
                    std::thread::sleep(LOOK_PERIOD);
                }
                Err(closed @ AppendError::Closed(_)) => return Err(OutboxError::Closed(closed)),
            }
        }
        self.next += 1;
        Ok(())
    }

    /// The journal as the uplink sees it, with the cursors as they are stored.
    ///
    /// # Errors
    /// [`OutboxError::Slip`].
    pub fn upstream(&self) -> Result<Arc<Upstream>, OutboxError> {
        Ok(Upstream::new(&self.handle, &self.directory, self.durable.clone())?)
    }

    /// Forgets what was acknowledged: everything is backlog again. No publisher may be at work.
    ///
    /// # Errors
    /// What the file system says.
    pub fn forget_cursors(&self) -> std::io::Result<()> {
        match std::fs::remove_file(self.directory.join("cursors")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Settings of the uplink against a broker on this loopback port.
    pub fn settings(&self, port: u16) -> UplinkSettings {
        let brokers = vec![BrokerAddress { host: "127.0.0.1".to_owned(), port }];
        UplinkSettings { brokers, ..self.site.uplink.clone() }
    }

    /// `sortd/v1/{site}/{line}/…`.
    pub fn topics(&self) -> Topics {
        Topics::of(&self.site)
    }

    /// Starts a publisher on the current runtime.
    ///
    /// # Errors
    /// [`OutboxError::Slip`].
    pub fn publish(&self, settings: UplinkSettings) -> Result<Publishing, OutboxError> {
        let (stop, stopped) = watch::channel(false);
        let line = || LineBrief { state: "running".to_owned(), ..LineBrief::default() };
        let (publisher, status) = Publisher::new(
            settings,
            self.topics(),
            self.upstream()?,
            self.board.clone(),
            Box::new(line),
            stopped,
        );
        Ok(Publishing { status, stop, task: tokio::spawn(publisher.run()) })
    }

    /// Ends the journal in order.
    pub fn close(self) {
        self.journal.finish();
    }
}

impl Publishing {
    /// Waits until the status is as wanted; `false` where time ran out.
    pub async fn until(&mut self, patience: Duration, wanted: impl FnMut(&UplinkStatus) -> bool) -> bool {
        matches!(tokio::time::timeout(patience, self.status.wait_for(wanted)).await, Ok(Ok(_)))
    }

    /// Stops it in order: the cursors are stored.
    pub async fn end(self) {
        // A publisher that has ended already needs no word.
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}
