//! One poll: status, what changed in it, and the ring.

use super::ring::{Next, Slot, slots};
use super::{End, Resync, Sorter, UNACKNOWLEDGED_MOST};
use crate::line::Tick;
use crate::line::event::{EncoderPoll, Event};
use crate::wire::plc::{ChuteBits, HALF_CIRCLE, Image, PlcEvent, PlcStatus, Span};

/// Ring reads a poll, so that a command never waits for a long catching up.
const RING_READS_A_POLL: usize = 4;
/// The chute bitmaps are read every so many polls: a chute fills over seconds.
const BITMAPS_EVERY: u64 = 5;
/// Pause before a slot is looked at again: a PLC scan.
const SLOT_PAUSE: std::time::Duration = std::time::Duration::from_millis(2);

impl Sorter {
    /// Reads the status block. The encoder is stamped at the midpoint of the request that brought it.
    pub(super) async fn read_status(&mut self) -> Result<(PlcStatus, EncoderPoll), End> {
        let mut image = Image::default();
        let mut stamp = (Tick(0), 0);
        for span in self.settings.map.status_reads() {
            let asked = self.clock.now();
            let words = self.bus.read(span).await?;
            let answered = self.clock.now();
            let encoder = u32::from(self.settings.map.encoder);
            let end = u32::from(span.address) + u32::from(span.count);
            if (u32::from(span.address)..end).contains(&encoder) {
                let round_trip = answered.0.saturating_sub(asked.0);
                stamp = (Tick(asked.0 + round_trip / 2), u32::try_from(round_trip).unwrap_or(u32::MAX));
            }
            image.put(span.address, words);
        }
        let status = PlcStatus::decode(&image, &self.settings.map)?;
        let (at, round_trip_us) = stamp;
        let poll = EncoderPoll { at, pulses: status.encoder, speed_mm_s: status.speed_mm_s, round_trip_us };
        Ok((status, poll))
    }

    /// One round; `true` where the ring holds more than one poll may read.
    pub(super) async fn poll(&mut self) -> Result<bool, End> {
        let (status, encoder) = self.read_status().await?;
        self.polls += 1;
        self.board.good(&self.name);
        if self.known.is_some_and(|known| known.epoch != status.epoch) {
            self.fault("new_epoch", &format!("the PLC has restarted, epoch {}", status.epoch));
            return Err(End::NewEpoch);
        }
        self.watch_heartbeat(&status)?;
        self.take_acks();
        self.drive_resync(&status, encoder).await?;
        if !self.attached {
            return Ok(false);
        }
        self.tell_encoder(encoder)?;
        self.tell_changes(&status)?;
        self.commands.taken(status.taken, &self.settings.map);
        self.take_commands();
        self.write_commands().await?;
        if self.polls.is_multiple_of(BITMAPS_EVERY) || self.told.bits.is_none() {
            self.read_bitmaps().await?;
            self.take_commands();
            self.write_commands().await?;
        }
        self.read_ring(status.head).await
    }

    fn watch_heartbeat(&mut self, status: &PlcStatus) -> Result<(), End> {
        let now = self.clock.now();
        match self.heartbeat {
            Some((value, since)) if value == status.heartbeat => {
                let most = u64::from(self.settings.heartbeat_ms) * 2;
                let ms = now.ms_since(since);
                if ms > most {
                    self.stale_at = Some(value);
                    return Err(End::Stale { ms });
                }
            }
            _ => self.heartbeat = Some((status.heartbeat, now)),
        }
        Ok(())
    }

    /// Passes on what the journal has made durable.
    pub(super) fn take_acks(&mut self) {
        if !self.acks.has_changed().unwrap_or(false) {
            return;
        }
        let ack = *self.acks.borrow_and_update();
        if let (Some(ack), Some(known)) = (ack, self.known)
            && ack.epoch == known.epoch
        {
            self.ledger.durable(ack.seq);
        }
    }

    fn tell_changes(&mut self, status: &PlcStatus) -> Result<(), End> {
        if status.unknown_flags != self.unknown_flags {
            self.unknown_flags = status.unknown_flags;
            if status.unknown_flags != 0 {
                let detail = format!("flags register: unknown bits {:#06x}", status.unknown_flags);
                self.fault("unknown_flags", &detail);
            }
        }
        let before = self.events_lost.replace(status.events_lost);
        let lost = before.map_or(0, |before| status.events_lost.wrapping_sub(before));
        if lost > 0 {
            self.fault("plc_lost_events", &format!("register events-lost has gone up by {lost}"));
            if lost < HALF_CIRCLE {
                self.missing.by_register += u64::from(lost);
            }
        }
        // While events are held the change is told later, as it then stands.
        if self.held.is_empty() {
            if status.flags != self.told.flags {
                self.told.flags = status.flags;
                self.tell(Event::PlcFlags(status.flags));
            }
            if status.taken != self.told.taken {
                self.told.taken = status.taken;
                self.tell(Event::CommandsTaken(status.taken));
            }
            self.tell_missing();
            self.flush()?;
        }
        Ok(())
    }

    /// Tells the core of records that will never come.
    fn tell_missing(&mut self) {
        let untold = self.missing.untold();
        if untold > 0 {
            self.tell(Event::PlcEventsMissed(untold));
        }
    }

    async fn read_bitmaps(&mut self) -> Result<(), End> {
        let reads = self.settings.map.bitmap_reads();
        let bits = ChuteBits::decode(&self.bus.read_all(&reads).await?, &self.settings.map)?;
        if self.held.is_empty() && self.told.bits.as_ref() != Some(&bits) {
            self.tell(Event::ChuteBits { full: bits.full.clone(), disabled: bits.disabled.clone() });
            self.told.bits = Some(bits);
            self.flush()?;
        }
        Ok(())
    }

    /// Reads the ring up to the head; `true` where there is more.
    async fn read_ring(&mut self, mut head: u16) -> Result<bool, End> {
        for _ in 0..RING_READS_A_POLL {
            if !self.held.is_empty() || self.resync != Resync::None {
                return Ok(false);
            }
            if self.ledger.len() >= UNACKNOWLEDGED_MOST {
                let detail = format!("{} records wait for the journal", self.ledger.len());
                self.fault("unacknowledged_full", &detail);
                return Ok(false);
            }
            match self.ring.next(head, &self.settings.map) {
                Next::Nothing => return Ok(false),
                Next::Read(span) => {
                    let words = self.bus.read(span).await?;
                    self.look_at(&words)?;
                    self.take_commands();
                    self.write_commands().await?;
                    if self.ring.retrying() {
                        tokio::time::sleep(SLOT_PAUSE).await;
                        head = self.read_head().await?;
                    }
                }
                Next::Missed { count, last } => {
                    let detail =
                        format!("{count} records up to {last} were overwritten before they were read");
                    self.fault("events_missed", &detail);
                    self.ledger.of_no_use(last);
                    self.missing.by_ring += u64::from(count);
                    self.tell_missing();
                    self.flush()?;
                    self.end_of_again();
                }
                Next::Disagree => {
                    let detail = format!("read up to {}, but the head is {head}", self.ring.last());
                    self.fault("numbering_disagrees", &detail);
                    self.resync_asked = true;
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    async fn read_head(&mut self) -> Result<u16, End> {
        let words = self.bus.read(Span { address: self.settings.map.head, count: 1 }).await?;
        Ok(words.first().copied().unwrap_or(0))
    }

    /// Hands on the records of an answer, as far as they are the ones due.
    fn look_at(&mut self, words: &[u16]) -> Result<(), End> {
        for words in slots(words) {
            match self.ring.slot(words) {
                Slot::Due => self.record(words),
                Slot::Wrong { due, came } => {
                    let detail = format!("ring slot of record {due}: it holds {came}");
                    self.fault("wrong_slot", &detail);
                    break;
                }
            }
        }
        self.flush()?;
        Ok(())
    }

    fn record(&mut self, words: &[u16]) {
        match PlcEvent::decode(words, &self.settings.map) {
            Ok(event) if self.again_until.is_some() && self.ledger.had(&event) => {}
            Ok(event) => {
                self.ledger.handed_on(event);
                self.tell(Event::Plc(event));
            }
            Err(error) => {
                self.fault("bad_event", &error);
                self.ledger.of_no_use(self.ring.last());
            }
        }
        self.end_of_again();
    }

    /// Past the head with which a resync ended nothing comes again.
    fn end_of_again(&mut self) {
        if self.again_until.is_some_and(|until| crate::wire::plc::seq_reached(until, self.ring.last())) {
            self.again_until = None;
            self.ledger.offered_again();
        }
    }
}
