//! Taking up a connection: what is read first, where the ring is read on, and the resync handshake.

use super::ring::Ring;
use super::{ECHO_MOST_MS, End, Known, QUIET_MOST_MS, RESYNC_GAP_MS, Resync, Sorter, Told};
use crate::line::event::{EncoderPoll, Event, PlcAttached};
use crate::watch::Ne107;
use crate::wire::plc::{HALF_CIRCLE, PcBlock, PlcStatus, decode_commands, seq_distance};

impl Sorter {
    /// Reads the PLC's state and tells the core, or begins a handshake where the numberings do not agree.
    pub(super) async fn attach(&mut self) -> Result<(), End> {
        let (status, encoder) = self.read_status().await?;
        if self.stale_at == Some(status.heartbeat) {
            return Err(End::Stale { ms: u64::from(self.settings.heartbeat_ms) * 2 });
        }
        self.stale_at = None;
        let map = self.settings.map.clone();
        let block = PcBlock::decode(&self.bus.read_all(&map.pc_reads()).await?, &map)?;
        self.block.heartbeat = block.heartbeat;
        self.block.resync = block.resync;
        if self.request.is_none() {
            // A line that was running goes on running over our restart, until the core says otherwise.
            self.block.request = block.request;
        }
        if self.known.is_none_or(|known| known.epoch != status.epoch) {
            // Nothing of an old epoch comes again, and whoever wanted a resync meant the old epoch.
            self.ledger.begin(block.acknowledged);
            self.again_until = None;
            self.resync_asked = false;
        }
        if block.resync != status.resync_echo || !self.find_place(&status, block.acknowledged) {
            self.note_numbering(&status);
            return self.ask_resync(&status).await;
        }
        self.finish_attach(&status, encoder, block.acknowledged).await
    }

    /// Decides where the ring is read on; `false` where the numbers make no sense together.
    fn find_place(&mut self, status: &PlcStatus, acknowledged: u16) -> bool {
        let known = self.known;
        let same_epoch = known.is_some_and(|known| known.epoch == status.epoch);
        let same_numbering = same_epoch && known.is_some_and(|known| known.echo == status.resync_echo);
        let unread = seq_distance(acknowledged, status.head);
        if acknowledged != 0 && unread >= HALF_CIRCLE {
            self.fault(
                "numbering_disagrees",
                &format!("acknowledged {acknowledged} lies beyond the head {}", status.head),
            );
            return false;
        }
        if same_numbering {
            if seq_distance(acknowledged, self.ring.last()) <= unread {
                self.ring = Ring::at(self.ring.last());
                return true;
            }
            let detail = format!("read up to {}, but the head is {}", self.ring.last(), status.head);
            self.fault("numbering_disagrees", &detail);
            return false;
        }
        if same_epoch {
            // A resync was finished while we were away.
            self.ledger.renumbered();
            self.again_until = Some(status.head);
        }
        self.ring = Ring::at(acknowledged);
        // Only looked at: as an acknowledgement it is taken before the first record is read.
        let hint = *self.acks.borrow();
        if let Some(ack) = hint.filter(|ack| ack.epoch == status.epoch && !same_epoch) {
            let ahead = seq_distance(acknowledged, ack.seq);
            if acknowledged != 0 && ahead <= unread {
                self.ring = Ring::at(ack.seq);
                self.ledger.begin(ack.seq);
            }
        }
        true
    }

    fn note_numbering(&mut self, status: &PlcStatus) -> bool {
        let now = Known { epoch: status.epoch, echo: status.resync_echo };
        let new = self.known.is_some() && self.known != Some(now);
        if self.known.is_none_or(|known| known.epoch != now.epoch) {
            self.events_lost = None;
        }
        self.known = Some(now);
        new
    }

    /// Reads the table and tells the core.
    async fn finish_attach(
        &mut self,
        status: &PlcStatus,
        encoder: EncoderPoll,
        acknowledged: u16,
    ) -> Result<(), End> {
        let map = self.settings.map.clone();
        let words = self.bus.read(map.command_span()).await?;
        let table = match decode_commands(&words, &map) {
            Ok(table) => table,
            Err(error) => {
                // Nobody but us writes the table. What stands there cannot be told from a command, so it is
                // cleared together with the numbering it belongs to.
                self.fault("bad_command_table", &error);
                self.note_numbering(status);
                return self.ask_resync(status).await;
            }
        };
        let new_numbering = self.note_numbering(status);
        // What was sent before the core could know of this attachment is void.
        self.take_commands();
        self.commands.adopt(table.clone(), status.taken, new_numbering);
        self.resync = Resync::None;
        self.heartbeat = Some((status.heartbeat, self.clock.now()));
        self.told = Told { flags: status.flags, taken: status.taken, bits: None };
        self.attached = true;
        self.attached_once = true;
        self.tell(Event::PlcAttached(PlcAttached {
            epoch: status.epoch,
            resync: status.resync_echo,
            inducted: status.inducted,
            acknowledged,
            head: status.head,
            taken: status.taken,
            table,
            flags: status.flags,
            encoder,
        }));
        self.flush()?;
        self.board.device(&self.name, Ne107::Good, "attached", "");
        Ok(())
    }

    /// Begins a resync if the PLC or the core wants one, and moves it on.
    pub(super) async fn drive_resync(&mut self, status: &PlcStatus, encoder: EncoderPoll) -> Result<(), End> {
        let now = self.clock.now();
        match self.resync {
            Resync::None => {
                let early = self.resync_last.is_some_and(|last| now.ms_since(last) < RESYNC_GAP_MS);
                if (status.flags.resync_wanted || self.resync_asked) && !early {
                    self.resync_asked = false;
                    self.resync = Resync::Quiet { until: now.plus_ms(QUIET_MOST_MS) };
                }
            }
            Resync::Quiet { until } => {
                let written = self.block_written.map(|(_, block)| block.acknowledged);
                let all_said = self.ledger.len() == 0 && written == Some(self.ledger.acknowledged());
                if self.held.is_empty() && (all_said || now >= until) {
                    if !all_said {
                        let detail = format!("{} records are not durable yet", self.ledger.len());
                        self.fault("resync_not_quiet", &detail);
                    }
                    self.ask_resync(status).await?;
                }
            }
            Resync::Asked { counter, .. } if status.resync_echo == counter => {
                if status.head > self.settings.map.ring_slots.saturating_add(1) {
                    let most = self.settings.map.ring_slots;
                    return Err(End::BadResync { head: status.head, most });
                }
                self.ledger.renumbered();
                self.ring = Ring::at(0);
                self.again_until = Some(status.head);
                self.resync_last = Some(now);
                self.finish_attach(status, encoder, 0).await?;
            }
            Resync::Asked { until, .. } if now >= until => {
                return Err(End::NoEcho { ms: ECHO_MOST_MS });
            }
            Resync::Asked { .. } => {}
        }
        Ok(())
    }

    /// Register 2 = 0 and a new counter, in one write where they lie together.
    async fn ask_resync(&mut self, status: &PlcStatus) -> Result<(), End> {
        self.unattach();
        // New both to the PLC and to what may still stand in register 3 from before.
        let next = status.resync_echo.wrapping_add(1);
        let counter = if next == self.block.resync { next.wrapping_add(1) } else { next };
        let until = self.clock.now().plus_ms(ECHO_MOST_MS);
        self.resync = Resync::Asked { counter, until };
        self.fault("resync", &format!("a new numbering is asked for, counter {counter}"));
        self.write_block(true).await
    }
}
