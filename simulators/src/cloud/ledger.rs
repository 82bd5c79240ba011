//! What the cloud knows of the events it received, and what it finds wrong with them. Pure: no network, no clock.
//!
//! Invariants
//!
//! * An event is named by (store epoch, seq). Its first document counts; the same document again is a duplicate, another
//!   document under the same name is conflicting.
//! * Order is the event's `seq`, never its arrival: a backlog and live events may come interleaved.
//! * Memory is bounded: digests of the newest `DIGESTS_KEPT` events of an epoch, the newest `PASSES_KEPT` complete
//!   passes, the first `FAULTS_KEPT` faults in words. Counters go on for ever.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Digests kept of an epoch: 64 MiB, more than a day of events at 9,000 parcels/h. A duplicate of an older event is
/// counted, but can no longer be compared.
const DIGESTS_KEPT: usize = 2_000_000;

/// A seq this far above everything known is a fault, not a gap that is still to be filled.
const FURTHEST_AHEAD: u64 = 1_000_000;

/// Complete passes kept, to notice a second end.
const PASSES_KEPT: usize = 200_000;

/// Passes followed at one time, complete ones included. Open ones are those on the belt, so there are never many; ends
/// without an induction stay open in the books, and beyond this they are only counted.
const MOST_PASSES: usize = 2 * PASSES_KEPT;

/// Faults kept in words.
const FAULTS_KEPT: usize = 50;

/// Store epochs told apart: each is a store that was quarantined or made anew.
const MOST_EPOCHS: usize = 64;

/// The standard's JSON-LD context, which every document names.
const EPCIS_CONTEXT: &str = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld";

/// Computes the `eventID`s of a document's events, in their order: `sortd::uplink::hash::event_ids`, its error as text.
pub type HashOf = fn(&Value) -> Result<Vec<String>, String>;

/// What the cloud has found so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct EventReport {
    /// Messages on `events`.
    pub received: u64,
    /// Events: distinct (epoch, seq).
    pub distinct: u64,
    /// Byte-identical repetitions.
    pub duplicates: u64,
    /// Events whose seq lies below the highest of its epoch and that never came.
    pub missing: u64,
    /// Other documents under a name that was taken.
    pub conflicting: u64,
    /// Events whose `eventID` is not their hash.
    pub bad_hash: u64,
    /// Messages that are not EPCIS 2.0 as promised.
    pub malformed: u64,
    /// Events by kind: `inducted`, `gate_read`, `received`, `recirculated`, `sorted`, `exception`, `lost`, `damaged`,
    /// `removed`, `found`, `other`.
    pub by_kind: BTreeMap<&'static str, u64>,
    /// Exceptions by reason.
    pub exceptions: BTreeMap<String, u64>,
    /// Highest seq by store epoch.
    pub epochs: BTreeMap<u64, u64>,
    /// Passes with an end but no induction.
    pub never_inducted: u64,
    /// Passes inducted and not ended yet.
    pub open: u64,
    /// Second ends and second inductions of a pass.
    pub ended_twice: u64,
    /// Ends whose seq is below the induction's.
    pub ended_before_induction: u64,
    /// Inductions and ends that were not followed, because too many passes stand open in the books.
    pub not_followed: u64,
    /// The first faults in words.
    pub faults: Vec<String>,
}

impl EventReport {
    /// Nothing is wrong with what came. Passes still on the belt are not wrong.
    pub fn is_sound(&self) -> bool {
        [
            self.missing,
            self.conflicting,
            self.bad_hash,
            self.malformed,
            self.never_inducted,
            self.ended_twice,
            self.ended_before_induction,
            self.not_followed,
        ]
        .iter()
        .all(|count| *count == 0)
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// A new event, also where something is wrong with its hash or its pass.
    New,
    /// Known already, byte for byte.
    Duplicate,
    /// Another document under a known name.
    Conflicting,
    /// Not an event.
    Malformed,
}

/// The books.
#[derive(Debug)]
pub struct Ledger {
    hash_of: HashOf,
    from_the_first: bool,
    epochs: BTreeMap<u64, Epoch>,
    passes: HashMap<(u64, String), Pass>,
    complete: VecDeque<(u64, String)>,
    report: EventReport,
}

/// The events of one store epoch, dense from `base`.
#[derive(Debug, Default)]
struct Epoch {
    base: u64,
    digests: VecDeque<Option<u128>>,
    first: u64,
    highest: u64,
    distinct: u64,
}

#[derive(Debug, Default)]
struct Pass {
    inducted: Option<u64>,
    ended: Option<u64>,
}

/// What the books need of an event.
struct Facts {
    epoch: u64,
    seq: u64,
    kind: &'static str,
    parcel: Option<String>,
    reason: Option<String>,
}

impl Ledger {
    /// Empty books. `from_the_first` demands that each epoch begins at seq 1; otherwise at the lowest seen.
    pub fn new(hash_of: HashOf, from_the_first: bool) -> Ledger {
        Ledger {
            hash_of,
            from_the_first,
            epochs: BTreeMap::new(),
            passes: HashMap::new(),
            complete: VecDeque::new(),
            report: EventReport::default(),
        }
    }

    /// Enters a message.
    pub fn take(&mut self, payload: &[u8]) -> Taken {
        self.report.received += 1;
        let checked = serde_json::from_slice::<Value>(payload)
            .map_err(|error| format!("not JSON: {error}"))
            .and_then(|document| facts(&document).map(|facts| (document, facts)));
        let (document, facts) = match checked {
            Ok(checked) => checked,
            Err(fault) => return self.malformed(fault),
        };
        let digest = Sha256::digest(payload);
        let digest = u128::from_be_bytes(digest[..16].try_into().expect("a SHA-256 has 32 bytes"));
        match self.enter(&facts, digest) {
            Ok(Taken::New) => {}
            Ok(Taken::Duplicate) => {
                self.report.duplicates += 1;
                return Taken::Duplicate;
            }
            Ok(Taken::Conflicting | Taken::Malformed) => {
                self.report.conflicting += 1;
                self.fault(format!("epoch {} seq {}: another document than before", facts.epoch, facts.seq));
                return Taken::Conflicting;
            }
            Err(fault) => return self.malformed(fault),
        }
        self.report.distinct += 1;
        *self.report.by_kind.entry(facts.kind).or_default() += 1;
        if let Some(reason) = &facts.reason {
            *self.report.exceptions.entry(reason.clone()).or_default() += 1;
        }
        self.check_hash(&document, &facts);
        self.follow(&facts);
        Taken::New
    }

    /// The report of this moment.
    pub fn report(&self) -> EventReport {
        let mut report = self.report.clone();
        for (number, epoch) in &self.epochs {
            report.epochs.insert(*number, epoch.highest);
            let first = if self.from_the_first { 1 } else { epoch.first };
            report.missing += (epoch.highest + 1).saturating_sub(first).saturating_sub(epoch.distinct);
        }
        report
    }

    fn enter(&mut self, facts: &Facts, digest: u128) -> Result<Taken, String> {
        let count = self.epochs.len();
        let epoch = match self.epochs.entry(facts.epoch) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(_) if count >= MOST_EPOCHS => {
                return Err(format!("epoch {}: more than {MOST_EPOCHS} store epochs", facts.epoch));
            }
            std::collections::btree_map::Entry::Vacant(new) => {
                let base = if self.from_the_first {
                    1
                } else {
                    facts.seq.saturating_sub(FURTHEST_AHEAD / 100).max(1)
                };
                new.insert(Epoch { base, first: facts.seq, ..Epoch::default() })
            }
        };
        epoch
            .enter(facts.seq, digest)
            .map_err(|fault| format!("epoch {} seq {}: {fault}", facts.epoch, facts.seq))
    }

    fn check_hash(&mut self, document: &Value, facts: &Facts) {
        let said = document["epcisBody"]["eventList"][0]["eventID"].as_str().unwrap_or_default();
        let computed = (self.hash_of)(document);
        if !matches!(&computed, Ok(ids) if ids.len() == 1 && ids[0] == said) {
            self.report.bad_hash += 1;
            self.fault(format!(
                "epoch {} seq {}: eventID {said}, computed {computed:?}",
                facts.epoch, facts.seq
            ));
        }
    }

    /// One induction and one end a pass, in this order.
    fn follow(&mut self, facts: &Facts) {
        let Some(parcel) = &facts.parcel else { return };
        let ends = matches!(facts.kind, "sorted" | "exception" | "lost");
        if !ends && facts.kind != "inducted" {
            return;
        }
        let name = (facts.epoch, parcel.clone());
        if self.passes.len() >= MOST_PASSES && !self.passes.contains_key(&name) {
            self.report.not_followed += 1;
            return;
        }
        let pass = self.passes.entry(name.clone()).or_default();
        let place = if ends { &mut pass.ended } else { &mut pass.inducted };
        if let Some(before) = place.replace(facts.seq) {
            self.report.ended_twice += 1;
            self.fault(format!("pass {parcel}: {} at seq {} and at {before}", facts.kind, facts.seq));
            return;
        }
        match (pass.inducted, pass.ended) {
            (Some(_), None) => self.report.open += 1,
            (None, Some(_)) => self.report.never_inducted += 1,
            (Some(_), Some(_)) if ends => self.report.open -= 1,
            (Some(_), Some(_)) => self.report.never_inducted -= 1,
            (None, None) => {}
        }
        if let (Some(inducted), Some(ended)) = (pass.inducted, pass.ended) {
            if ended < inducted {
                self.report.ended_before_induction += 1;
                self.fault(format!("pass {parcel}: ended at seq {ended}, inducted at {inducted}"));
            }
            self.complete.push_back(name);
            if self.complete.len() > PASSES_KEPT
                && let Some(oldest) = self.complete.pop_front()
            {
                self.passes.remove(&oldest);
            }
        }
    }

    fn malformed(&mut self, fault: String) -> Taken {
        self.report.malformed += 1;
        self.fault(fault);
        Taken::Malformed
    }

    fn fault(&mut self, words: String) {
        if self.report.faults.len() < FAULTS_KEPT {
            self.report.faults.push(words);
        }
    }
}

impl Epoch {
    fn enter(&mut self, seq: u64, digest: u128) -> Result<Taken, String> {
        if seq == 0 {
            return Err("seq begins at 1".to_owned());
        }
        if seq > self.highest.max(self.base) + FURTHEST_AHEAD {
            return Err(format!("far above the highest known, {}", self.highest));
        }
        if seq < self.base {
            // Too old to be compared: the digest was let go, or the epoch was joined later.
            return Ok(Taken::Duplicate);
        }
        let place = usize::try_from(seq - self.base).expect("limited by FURTHEST_AHEAD and DIGESTS_KEPT");
        if place >= self.digests.len() {
            self.digests.resize(place + 1, None);
        }
        match self.digests[place] {
            Some(known) if known == digest => return Ok(Taken::Duplicate),
            Some(_) => return Ok(Taken::Conflicting),
            None => self.digests[place] = Some(digest),
        }
        self.distinct += 1;
        self.highest = self.highest.max(seq);
        self.first = self.first.min(seq);
        while self.digests.len() > DIGESTS_KEPT {
            self.digests.pop_front();
            self.base += 1;
        }
        Ok(Taken::New)
    }
}

/// Checks the shape of a document and takes out what the books need.
fn facts(document: &Value) -> Result<Facts, String> {
    let context = document["@context"].as_array().ok_or("no @context list")?;
    if !context.iter().any(|entry| entry == EPCIS_CONTEXT) {
        return Err("the @context does not name EPCIS 2.0".to_owned());
    }
    let namespace =
        context.iter().find_map(|entry| entry["sortd"].as_str()).ok_or("no sortd prefix in @context")?;
    if !(namespace.starts_with("https://") && namespace.ends_with("/ns/sortd/v1/")) {
        return Err(format!("the namespace is {namespace}"));
    }
    for (name, wanted) in [("type", "EPCISDocument"), ("schemaVersion", "2.0")] {
        if document[name] != wanted {
            return Err(format!("{name} is {} and not {wanted}", document[name]));
        }
    }
    time(document, "creationDate")?;
    let list = document["epcisBody"]["eventList"].as_array().ok_or("no eventList")?;
    let [event] = list.as_slice() else { return Err(format!("{} events in a message", list.len())) };
    time(event, "eventTime")?;
    text(event, "eventTimeZoneOffset")?;
    if !text(event, "eventID")?.starts_with("ni:///sha-256;") {
        return Err("eventID is no hash".to_owned());
    }
    let kind_of_event = text(event, "type")?;
    match kind_of_event {
        "ObjectEvent" | "AggregationEvent" | "AssociationEvent" => match text(event, "action")? {
            "OBSERVE" | "ADD" | "DELETE" => {}
            other => return Err(format!("action {other}")),
        },
        "TransformationEvent" => {}
        other => return Err(format!("event type {other}")),
    }
    if kind_of_event == "ObjectEvent" {
        let objects = event["epcList"].as_array().ok_or("no epcList")?;
        let uris = objects.iter().all(|object| object.as_str().is_some_and(|uri| uri.contains(':')));
        if objects.is_empty() || !uris {
            return Err("epcList is empty or holds something that is no URI".to_owned());
        }
    }
    own_fields(event)?;
    let step = text(event, "bizStep")?;
    let kind = kind(step, event["disposition"].as_str().unwrap_or_default());
    let reason = event["sortd:reason"].as_str().map(str::to_owned);
    if (kind == "exception") != reason.is_some() {
        return Err(format!("{kind} with reason {reason:?}"));
    }
    Ok(Facts {
        epoch: whole(event, "sortd:epoch")?,
        seq: whole(event, "sortd:seq")?,
        kind,
        parcel: event["sortd:parcel"].as_str().map(str::to_owned),
        reason,
    })
}

/// Own fields are texts or integers only, and the common ones are there.
fn own_fields(event: &Value) -> Result<(), String> {
    let members = event.as_object().ok_or("an event is an object")?;
    for (name, value) in members.iter().filter(|(name, _)| name.starts_with("sortd:")) {
        if !(value.is_string() || value.is_i64() || value.is_u64()) {
            return Err(format!("{name} is neither text nor integer"));
        }
    }
    whole(event, "sortd:boot")?;
    text(event, "sortd:plan")?;
    text(event, "sortd:clock")?;
    Ok(())
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, String> {
    value[name].as_str().ok_or_else(|| format!("no {name}"))
}

fn whole(value: &Value, name: &str) -> Result<u64, String> {
    value[name].as_u64().ok_or_else(|| format!("{name} is {}", value[name]))
}

fn time(value: &Value, name: &str) -> Result<(), String> {
    let said = text(value, name)?;
    said.parse::<jiff::Timestamp>().map(|_| ()).map_err(|error| format!("{name} {said}: {error}"))
}

/// The moment a business step stands for; its last part, whether standard or an own URI.
fn kind(step: &str, disposition: &str) -> &'static str {
    let last = |text: &'static str| step == text || step.ends_with(&format!("-{text}"));
    if disposition.ends_with("Disp-lost") {
        return "lost";
    }
    for (word, kind) in [
        ("inducting", "inducted"),
        ("entering_exiting", "gate_read"),
        ("receiving", "received"),
        ("recirculating", "recirculated"),
        ("sorting", "sorted"),
        ("holding", "exception"),
        ("inspecting", "damaged"),
        ("removing", "removed"),
        ("finding", "found"),
    ] {
        if last(word) {
            return kind;
        }
    }
    "other"
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A stand-in for the event hash: any function of the document that leaves `eventID` out will do here.
    pub fn invented_hash(document: &Value) -> Result<Vec<String>, String> {
        let mut event = document["epcisBody"]["eventList"][0].clone();
        event.as_object_mut().ok_or("no event")?.remove("eventID");
        Ok(vec![format!("ni:///sha-256;{:x}?ver=CBV2.0", Sha256::digest(event.to_string()))])
    }

    pub fn document(seq: u64, parcel: &str, step: &str, more: &[(&str, Value)]) -> Value {
        let mut event = json!({
            "type": "ObjectEvent", "action": "OBSERVE", "eventTime": "2026-11-22T02:03:04.000Z",
            "eventTimeZoneOffset": "+08:00", "epcList": ["https://sort.example.com/obj/x"], "bizStep": step,
            "disposition": "in_progress", "sortd:seq": seq, "sortd:epoch": 1, "sortd:boot": 1,
            "sortd:plan": "sha256:a1", "sortd:clock": "unknown", "sortd:parcel": parcel,
        });
        for (name, value) in more {
            event[*name] = value.clone();
        }
        let mut document = json!({
            "@context": [EPCIS_CONTEXT, {"sortd": "https://sort.example.com/ns/sortd/v1/"}],
            "type": "EPCISDocument", "schemaVersion": "2.0", "creationDate": "2026-11-22T02:03:04.000Z",
            "epcisBody": {"eventList": [event]},
        });
        let id = invented_hash(&document).unwrap().remove(0);
        document["epcisBody"]["eventList"][0]["eventID"] = json!(id);
        document
    }

    pub const INDUCTING: &str = "https://sort.example.com/ns/sortd/v1/BizStep-inducting";
    pub const SORTING: &str = "https://sort.example.com/ns/sortd/v1/BizStep-sorting";

    fn ledger() -> Ledger {
        Ledger::new(invented_hash, true)
    }

    fn take(ledger: &mut Ledger, document: &Value) -> Taken {
        ledger.take(document.to_string().as_bytes())
    }

    #[test]
    fn a_whole_pass_is_sound_in_any_order_of_arrival() {
        let mut ledger = ledger();
        let exception = [("sortd:reason", json!("no_read"))];
        for document in [
            document(3, "3-1", SORTING, &[]),
            document(1, "3-1", INDUCTING, &[]),
            document(4, "3-2", "holding", &exception),
            document(2, "3-2", INDUCTING, &[]),
        ] {
            assert_eq!(take(&mut ledger, &document), Taken::New);
        }
        let report = ledger.report();
        assert!(report.is_sound(), "{report:?}");
        assert_eq!((report.received, report.distinct, report.open), (4, 4, 0));
        assert_eq!(report.by_kind["inducted"], 2);
        assert_eq!(report.exceptions["no_read"], 1);
        assert_eq!(report.epochs[&1], 4);
    }

    #[test]
    fn gaps_duplicates_and_conflicts_are_told_apart() {
        let mut ledger = ledger();
        let second = document(2, "3-1", INDUCTING, &[]);
        take(&mut ledger, &second);
        assert_eq!(ledger.report().missing, 1, "seq 1 never came");
        assert_eq!(take(&mut ledger, &second), Taken::Duplicate);
        assert_eq!(take(&mut ledger, &document(2, "3-9", INDUCTING, &[])), Taken::Conflicting);
        let report = ledger.report();
        assert_eq!((report.duplicates, report.conflicting, report.distinct), (1, 1, 1));
        take(&mut ledger, &document(1, "3-0", INDUCTING, &[]));
        assert_eq!(ledger.report().missing, 0);
        assert_eq!(take(&mut ledger, &document(9_000_000, "3-0", INDUCTING, &[])), Taken::Malformed);
    }

    #[test]
    fn a_wrong_hash_is_noticed() {
        let mut ledger = ledger();
        let mut wrong = document(1, "3-1", INDUCTING, &[]);
        wrong["epcisBody"]["eventList"][0]["eventTime"] = json!("2026-11-22T02:03:05.000Z");
        take(&mut ledger, &wrong);
        assert_eq!(ledger.report().bad_hash, 1);
    }

    #[test]
    fn a_pass_ends_once_and_after_its_induction() {
        let mut ledger = ledger();
        take(&mut ledger, &document(1, "3-1", SORTING, &[]));
        assert_eq!(ledger.report().never_inducted, 1);
        take(&mut ledger, &document(2, "3-1", INDUCTING, &[]));
        assert_eq!(ledger.report().ended_before_induction, 1);
        take(&mut ledger, &document(3, "3-1", SORTING, &[]));
        assert_eq!(ledger.report().ended_twice, 1);
    }

    #[test]
    fn what_is_not_epcis_is_malformed() {
        let good = document(1, "3-1", INDUCTING, &[]);
        let mut faults = 0;
        let mut ledger = ledger();
        for (pointer, value) in [
            ("/type", json!("Document")),
            ("/schemaVersion", json!("1.2")),
            ("/creationDate", json!("yesterday")),
            ("/@context", json!([])),
            ("/epcisBody/eventList", json!([])),
            ("/epcisBody/eventList/0/action", json!("LOOK")),
            ("/epcisBody/eventList/0/epcList", json!([])),
            ("/epcisBody/eventList/0/sortd:seq", json!("1")),
            ("/epcisBody/eventList/0/sortd:seq", json!(0)),
            ("/epcisBody/eventList/0/sortd:plan", json!(1.5)),
            ("/epcisBody/eventList/0/eventID", json!("urn:uuid:1")),
            ("/epcisBody/eventList/0/bizStep", json!("holding")),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = value;
            assert_eq!(take(&mut ledger, &bad), Taken::Malformed, "{pointer}");
            faults += 1;
        }
        assert_eq!(ledger.take(b"\xff{"), Taken::Malformed);
        let report = ledger.report();
        assert_eq!((report.malformed, report.distinct), (faults + 1, 0));
        assert_eq!(report.faults.len() as u64, report.malformed);
    }

    #[test]
    fn books_opened_late_begin_where_they_begin() {
        let mut ledger = Ledger::new(invented_hash, false);
        for seq in [70_002, 70_001, 70_003] {
            take(&mut ledger, &document(seq, &format!("3-{seq}"), INDUCTING, &[]));
        }
        let report = ledger.report();
        assert_eq!((report.missing, report.distinct), (0, 3));
    }
}
