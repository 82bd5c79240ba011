//! Reading a day of layout 1: each record, milestone and mention under a key of its own. Nothing is written
//! this way any more.

use super::Record;
use super::day::{Begin, DayError, Tally, broken, damaged};
use super::guard::{guarded, sled_error};
use super::index::Mention;
use super::keys;
use super::record::{self, number};
use crate::line::Tick;

/// Reads all of it: numbers without gap, each CRC, each milestone in its index.
pub(super) fn verify(db: &sled::Db, begin: Begin, name: &str) -> Result<Tally, DayError> {
    let failed = |error: sled::Error| sled_error(name, &error);
    let mut events = db.scan_prefix(b"e");
    let (mut seq, mut event) = (begin.first_seq, begin.first_event);
    let mut last = None;
    for item in db.scan_prefix(b"r") {
        let (key, first) = item.map_err(failed)?;
        if *key != keys::record(seq) {
            let what = format!("record {seq} expected, {} came", number(&key[1..]));
            return Err(damaged(name, what));
        }
        let bytes = whole(db, seq, &first, name)?;
        let head = record::check(&bytes).map_err(|error| broken(name, seq, &error))?;
        if head.seq != seq || record::link(&bytes).is_some() {
            return Err(damaged(name, format!("record {} under number {seq}", head.seq)));
        }
        if let Some(came) = head.event_seq {
            let indexed = events.next().transpose().map_err(failed)?;
            let right = came == event
                && indexed.is_some_and(|(key, at)| *key == keys::event(event) && *at == seq.to_be_bytes());
            if !right {
                let what = format!("record {seq}: milestone {event} expected, {came} or its index is wrong");
                return Err(damaged(name, what));
            }
            event += 1;
        }
        seq += 1;
        last = Some(bytes);
    }
    if let Some(extra) = events.next().transpose().map_err(failed)? {
        let what = format!("milestone {} belongs to no record", number(&extra.0[1..]));
        return Err(damaged(name, what));
    }
    let last_tick = match last {
        Some(bytes) => record::decode(&bytes).map_err(|error| broken(name, seq - 1, &error))?.at,
        None => Tick(0),
    };
    Ok(Tally { last_seq: seq - 1, last_event: event - 1, last_tick, last_link: None })
}

/// Where it ends, by its last keys.
pub(super) fn glance(db: &sled::Db, begin: Begin, name: &str) -> Result<Tally, DayError> {
    let failed = |error: sled::Error| sled_error(name, &error);
    let last = |prefix: &[u8]| db.scan_prefix(prefix).next_back().transpose().map_err(failed);
    let last_event = last(b"e")?.map_or(begin.first_event - 1, |(key, _)| number(&key[1..]));
    let Some((key, first)) = last(b"r")? else {
        return Ok(Tally { last_seq: begin.first_seq - 1, last_event, last_tick: Tick(0), last_link: None });
    };
    let seq = number(&key[1..]);
    let bytes = whole(db, seq, &first, name)?;
    let record = record::decode(&bytes).map_err(|error| broken(name, seq, &error))?;
    if record.seq != seq || seq < begin.first_seq {
        return Err(damaged(name, format!("record {} under number {seq}", record.seq)));
    }
    Ok(Tally { last_seq: seq, last_event, last_tick: record.at, last_link: None })
}

/// One frame that must be there, as it is found.
pub(super) fn frame(db: &sled::Db, seq: u64, name: &str) -> Result<Vec<u8>, DayError> {
    let missing = || damaged(name, format!("record {seq} is missing"));
    let first = guarded(name, || db.get(keys::record(seq)))?.ok_or_else(missing)?;
    whole(db, seq, &first, name)
}

/// Milestones from number `from` to `last`, at most `max`.
pub(super) fn milestones(
    db: &sled::Db,
    from: u64,
    last: u64,
    max: usize,
    name: &str,
) -> Result<Vec<Record>, DayError> {
    let milestone = |event: u64| {
        let seq = guarded(name, || db.get(keys::event(event)))?;
        let seq = number(&seq.ok_or_else(|| damaged(name, format!("milestone {event} is missing")))?);
        let record = record::decode(&frame(db, seq, name)?).map_err(|error| broken(name, seq, &error))?;
        if (record.seq, record.event_seq) == (seq, Some(event)) {
            Ok(record)
        } else {
            let came = (record.seq, record.event_seq);
            Err(damaged(name, format!("record {seq} as milestone {event} expected, {came:?} came")))
        }
    };
    (from..=last).take(max).map(milestone).collect()
}

/// Everything that is mentioned, out of the keys.
pub(super) fn mentions(db: &sled::Db, begin: Begin, name: &str) -> Result<Vec<Mention>, DayError> {
    let mut found = Vec::new();
    for prefix in [&b"p"[..], &b"c"[..]] {
        for item in db.scan_prefix(prefix) {
            let (key, _) = item.map_err(|error| sled_error(name, &error))?;
            let Some((what, seq)) = key.len().checked_sub(8).and_then(|at| key.split_at_checked(at)) else {
                return Err(damaged(name, format!("a key of {} bytes", key.len())));
            };
            let offset =
                number(seq).checked_sub(begin.first_seq).and_then(|offset| u32::try_from(offset).ok());
            let offset =
                offset.ok_or_else(|| damaged(name, format!("record {} is mentioned", number(seq))))?;
            // The code's length stands before it, its bound keeps it there; a pass has no length.
            let what = if prefix == b"p" { what.get(1..) } else { what.get(2..) };
            let what = what.unwrap_or_default();
            let hash = if prefix == b"p" { keys::hash_pass_bytes(what) } else { keys::hash_code(what) };
            found.push((hash, offset));
        }
    }
    Ok(found)
}

/// The first value and its continuations.
fn whole(db: &sled::Db, seq: u64, first: &sled::IVec, name: &str) -> Result<Vec<u8>, DayError> {
    let total = record::total_len(first).map_err(|error| broken(name, seq, &error))?;
    let mut bytes = first.to_vec();
    for part in 0_u8.. {
        if bytes.len() >= total {
            break;
        }
        let next = guarded(name, || db.get(keys::continuation(seq, part)))?;
        let next = next.ok_or_else(|| damaged(name, format!("part {part} of record {seq} is missing")))?;
        bytes.extend_from_slice(&next);
    }
    Ok(bytes)
}
