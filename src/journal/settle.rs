//! The journal thread's less common ways: settling on an opened store, and opening it anew after a fault.

use std::sync::atomic::Ordering;

use super::day::{self, Day, DayError, Read};
use super::gone;
use super::inflight::{self, Log};
use super::opening::{self, Ground, Opened, epoch_after};
use super::orders;
use super::quarantine::{Quarantined, put_aside};
use super::reader::started;
use super::record;
use super::retention;
use super::status::JournalState;
use super::writer::{Store, Writer, Written};
use super::{BATCH_LIMIT, DEVICE, Numbered, Record};

impl Writer {
    /// The store is open: brings in what only the in-flight log has, then lets everyone know. After an error
    /// everything is as before, and the store is to be opened again.
    pub(super) fn settle(&mut self, ground: Ground) -> Result<(), DayError> {
        let (fresh, quarantined, orders_after) = (ground.fresh, ground.quarantined, ground.orders_after);
        let last_tick = ground.last_tick;
        let day = ground.current.as_ref().map(|day| Written {
            name: day.name().to_owned(),
            number: retention::parse_day(day.name()).unwrap_or(0),
            first_seq: day.span().begin.first_seq,
        });
        self.shelf.ready(ground.sealed, ground.current);
        self.store = Some(Store {
            epoch: ground.epoch,
            last_seq: ground.last_seq,
            last_event: ground.last_event,
            tip: ground.tip,
            orders: ground.orders,
            run: ground.run.map(|(record, bytes)| (record.seq, bytes)),
            day,
            checkpoint: opening::Checkpoint::default(),
            checkpoint_at: None,
            snapshot_at: None,
        });
        let settled = self
            .catch_up(orders_after, ground.last_seq)
            .and_then(|()| self.add_missing(ground.missing))
            .and_then(|()| self.ready_log(fresh));
        let recovery = match settled {
            Ok(recovery) => recovery,
            Err(error) => {
                self.unsettle(&error)?;
                return Err(error);
            }
        };
        let Some(store) = &mut self.store else { return Ok(()) };
        let mut opened = Opened {
            last_seq: store.last_seq,
            last_tick: self.shelf.current().map_or(last_tick, |day| day.last_tick().max(last_tick)),
            epoch: store.epoch,
            last_event: store.last_event,
            orders: store.orders.take_loaded(),
            last_started: store
                .run
                .as_ref()
                .and_then(|(_, bytes)| record::decode(bytes).ok())
                .and_then(|record| started(record.body)),
            quarantined,
            recovery,
        };
        self.durable.store(opened.last_seq, Ordering::Release);
        self.status.change(|status| {
            status.state = JournalState::Running;
            (status.durable, status.epoch, status.last_event) =
                (opened.last_seq, opened.epoch, opened.last_event);
            status.day = store.day.as_ref().map_or_else(String::new, |day| day.name.clone());
            status.orders = store.orders.count();
            status.quarantined.append(&mut opened.quarantined);
            // What an earlier try had put aside belongs to the answer.
            opened.quarantined.clone_from(&status.quarantined);
        });
        if let Some(send) = self.opened.take() {
            // Whoever does not want to know has dropped the other end.
            let _ = send.send(opened);
        }
        self.retain();
        Ok(())
    }

    /// Orders and listener were perhaps cut off behind the records: both are brought up to `last_seq`.
    fn catch_up(&mut self, orders_after: u64, last_seq: u64) -> Result<(), DayError> {
        let mut from = orders_after + 1;
        while from <= last_seq {
            let records = self.read_back(from)?;
            let Some(last) = records.last() else { break };
            from = last.seq + 1;
            if let Some(store) = &mut self.store {
                store.orders.apply(&records)?;
            }
        }
        let oldest = inflight::oldest(&self.settings.directory);
        let mut from = oldest.map_or(last_seq + 1, |base| base + 1);
        while from <= last_seq {
            let records = self.read_back(from)?;
            let Some(last) = records.last() else { break };
            from = last.seq + 1;
            self.listener.durable(&records);
        }
        Ok(())
    }

    fn read_back(&self, from: u64) -> Result<Vec<Record>, DayError> {
        let spans = self.shelf.spans();
        match spans.iter().find(|span| span.last_seq >= from) {
            Some(span) => self.shelf.day(&span.name)?.records(from, BATCH_LIMIT),
            None => Ok(Vec::new()),
        }
    }

    /// Makes durable what the in-flight log has and the store lacks.
    fn add_missing(&mut self, missing: Vec<Numbered>) -> Result<(), DayError> {
        let Some(target) = missing.last().map(|numbered| numbered.seq) else { return Ok(()) };
        for numbered in missing.into_iter().rev() {
            self.pending.push_front(numbered);
        }
        while self.store.as_ref().is_some_and(|store| store.last_seq < target) {
            self.cycle()?;
            if let Some(landed) = self.commits.wait() {
                self.land(landed)?;
            }
        }
        Ok(())
    }

    /// On the slow path: the line's state out of the store, and a new in-flight log behind it.
    fn ready_log(&mut self, fresh: bool) -> Result<Option<opening::StoreRecovery>, DayError> {
        let Some(store) = &self.store else { return Ok(None) };
        if self.log.is_some() {
            return Ok(None);
        }
        let recovery = (!fresh).then(|| opening::recover(&self.shelf, store.epoch)).transpose()?;
        let log = Log::afresh(&self.settings.directory, store.last_seq);
        self.log = Some(log.map_err(|error| day::disk("inflight", &error))?);
        Ok(recovery)
    }

    /// Takes everything back that settling had begun. What it found damaged is put aside, so that the next
    /// try does not meet it again: a sealed day that had to be read, or a record that has the right CRC and
    /// still cannot be understood.
    fn unsettle(&mut self, error: &DayError) -> Result<(), DayError> {
        self.recall(None);
        self.store = None;
        // What only the in-flight log had will be read from it again.
        let resumed = self.resume_last;
        self.pending.retain(|numbered| resumed.is_some_and(|resumed| numbered.seq > resumed));

        let spans = self.shelf.spans();
        self.shelf.close();
        if let DayError::Damaged { day, what } = error {
            let directory = &self.settings.directory;
            let span = spans.iter().find(|span| span.name == *day);
            let path = span.map_or_else(|| orders::path(directory), |_| directory.join("days").join(day));
            let moved_to = put_aside(directory, &path, day, what).map_err(|error| day::disk(day, &error))?;
            let missing = span.map(|span| (span.begin.first_seq, span.last_seq));
            let found = Quarantined { what: day.clone(), moved_to, why: what.clone(), missing };
            found.report(directory, &self.settings.board);
            if let Some(missing) = missing {
                gone::enter(directory, &self.settings.board, missing);
            }
            self.status.change(|status| status.quarantined.push(found));
        }
        Ok(())
    }

    /// Opens both Dbs anew after one of them failed: after an error sled refuses everything.
    pub(super) fn reopen_store(&mut self) -> Result<(), DayError> {
        let cache = self.settings.cache_bytes();
        let directory = self.settings.directory.clone();
        let Some(store) = &mut self.store else { return Ok(()) };
        match store.orders.reopen(&directory, cache) {
            Ok(()) => {}
            Err(DayError::Damaged { day, what }) => {
                let moved_to = put_aside(&directory, &orders::path(&directory), &day, &what);
                let moved_to = moved_to.map_err(|error| day::disk(&day, &error))?;
                let why = format!("{what}; upstream must send the active orders again");
                let found = Quarantined { what: day, moved_to, why, missing: None };
                found.report(&directory, &self.settings.board);
                self.status.change(|status| status.quarantined.push(found));
                store.orders.reopen(&directory, cache)?;
            }
            Err(error @ DayError::Disk { .. }) => return Err(error),
        }
        let Some(written) = store.day.clone() else { return Ok(()) };
        let (durable, empty) = (store.last_seq, store.last_seq < written.first_seq);
        drop(self.shelf.take_current());
        let days = directory.join("days");
        match Day::open(&days, &written.name, cache, Read::All) {
            Ok(Some(day)) if day.span().last_seq >= durable => {
                day.sync()?;
                // What the failed batch brought there is written once more.
                day.rewind(durable)?;
                self.shelf.put_current(day);
                Ok(())
            }
            Ok(nothing) if empty => {
                drop(nothing);
                store.day = None;
                let removed = std::fs::remove_dir_all(days.join(&written.name));
                removed.map_err(|error| day::disk(&written.name, &error))
            }
            Ok(day) => {
                let last = day.as_ref().map_or(0, |day| day.span().last_seq);
                drop(day);
                let why = format!("it ends at record {last}, but {durable} was durable");
                self.abandon(&written, &why)
            }
            Err(DayError::Damaged { what, .. }) => self.abandon(&written, &what),
            Err(error @ DayError::Disk { .. }) => Err(error),
        }
    }

    /// Puts the day that is written into quarantine; a new epoch begins.
    fn abandon(&mut self, written: &Written, why: &str) -> Result<(), DayError> {
        let directory = self.settings.directory.clone();
        let path = directory.join("days").join(&written.name);
        let moved_to = put_aside(&directory, &path, &written.name, why);
        let moved_to = moved_to.map_err(|error| day::disk(&written.name, &error))?;
        let Some(store) = &mut self.store else { return Ok(()) };
        let missing = (written.first_seq <= store.last_seq).then_some((written.first_seq, store.last_seq));
        let found = Quarantined { what: written.name.clone(), moved_to, why: why.to_owned(), missing };
        found.report(&directory, &self.settings.board);
        if let Some(missing) = missing {
            gone::enter(&self.settings.directory, &self.settings.board, missing);
        }
        (store.epoch, store.last_event, store.day) = (epoch_after(store.epoch), 0, None);
        store.tip = store.tip.severed();
        let epoch = store.epoch;
        self.status.change(|status| {
            (status.epoch, status.last_event) = (epoch, 0);
            status.quarantined.push(found);
        });
        Ok(())
    }

    /// The line skipped record numbers: it says so, and a new epoch begins, since an epoch has no gap.
    pub(super) fn begin_after_gap(&mut self, expected: u64, came: u64) -> Result<(), DayError> {
        let what = format!("record {expected} expected, {came} came");
        self.settings.board.fault(DEVICE, "number-skipped", &what);
        gone::enter(&self.settings.directory, &self.settings.board, (expected, came - 1));
        let left_out = Quarantined {
            what: format!("records-{expected}-{}", came - 1),
            moved_to: None,
            why: "the line left these numbers out: nothing came to be stored under them".to_owned(),
            missing: Some((expected, came - 1)),
        };
        left_out.report(&self.settings.directory, &self.settings.board);
        self.status.change(|status| status.quarantined.push(left_out));
        self.attest();
        if let Some(day) = self.shelf.current() {
            day.seal()?;
        }
        self.shelf.retire_current();
        let Some(store) = &mut self.store else { return Ok(()) };
        (store.epoch, store.last_event, store.day) = (epoch_after(store.epoch), 0, None);
        store.tip = store.tip.severed();
        store.last_seq = came - 1;
        Ok(())
    }
}
