//! The journal's records about a code → the passes of a story.
//!
//! Records of a pass go to that pass. A record that names the code but belongs to no pass (an order, a read that was
//! tied to nothing, an operator's word) goes to the pass during or before which it was written: the first one that was
//! not over yet. After the last pass it stays with the last one.

use crate::journal::Record;
use crate::line::PassKey;
use crate::line::event::Started;

use super::story::{PassStory, Story};

impl Story {
    /// Groups what the journal holds about a code; `None` where that is nothing. `started_before` tells which start
    /// opened the run that a record number belongs to; where the journal no longer knows, numbers stand for names.
    pub fn of(
        code: &str,
        records: Vec<Record>,
        mut started_before: impl FnMut(u64) -> Option<Started>,
    ) -> Option<Story> {
        let mut passes: Vec<(PassKey, Vec<Record>)> = Vec::new();
        let mut lone = Vec::new();
        for record in records {
            match record.body.pass() {
                None => lone.push(record),
                Some(key) => match passes.iter_mut().find(|(known, _)| *known == key) {
                    Some((_, group)) => group.push(record),
                    None => passes.push((key, vec![record])),
                },
            }
        }
        let mut groups: Vec<Vec<Record>> = passes.into_iter().map(|(_, group)| group).collect();
        for group in &mut groups {
            group.sort_by_key(|record| record.seq);
        }
        groups.sort_by_key(|group| group.first().map(|record| record.seq));
        let ends: Vec<u64> = groups.iter().map(|group| group.last().map_or(0, |record| record.seq)).collect();
        if groups.is_empty() && !lone.is_empty() {
            groups.push(Vec::new());
        }
        for record in lone {
            let place = ends.iter().position(|end| record.seq < *end).unwrap_or(groups.len() - 1);
            groups[place].push(record);
        }
        for group in &mut groups {
            group.sort_by_key(|record| record.seq);
        }
        let passes: Vec<PassStory> = groups
            .into_iter()
            .map(|records| {
                // The pass's own first record, not an order that was sent under an earlier run.
                let first = records.iter().find(|record| record.body.pass().is_some()).or(records.first());
                let names = first.and_then(|record| started_before(record.seq)).unwrap_or_else(nameless);
                PassStory { names, records }
            })
            .collect();
        (!passes.is_empty()).then(|| Story { code: code.to_owned(), passes })
    }
}

/// A run nobody knows the names of.
fn nameless() -> Started {
    Started {
        boot: 0,
        version: String::new(),
        site: String::new(),
        line: String::new(),
        domain: String::new(),
        time_zone: "UTC".to_owned(),
        plan: String::new(),
        readers: Vec::new(),
        chutes: Vec::new(),
        wall_us: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identify::Reading;
    use crate::line::event::{Event, Order, OrderBatch};
    use crate::line::outcome::Outcome;
    use crate::line::record::{Body, Fact, Input, Untied};
    use crate::line::{ChuteNo, ReaderId, Tick};

    fn record(seq: u64, body: Body) -> Record {
        Record { seq, at: Tick(seq * 1_000_000), wall_us: 0, event_seq: None, body }
    }

    fn inducted(seq: u64, track: u32) -> Record {
        record(seq, Body::Fact(Fact::Inducted { pass: PassKey { epoch: 3, track }, length_mm: 300 }))
    }

    fn ended(seq: u64, track: u32) -> Record {
        record(
            seq,
            Body::Fact(Fact::Ended {
                pass: PassKey { epoch: 3, track },
                key: None,
                uri: None,
                outcome: Outcome::Sorted { chute: ChuteNo(7) },
                plan: String::new(),
                slack_ms: None,
                destination: None,
            }),
        )
    }

    fn untied(seq: u64) -> Record {
        let reading = Reading::Barcode { aim: None, text: "A".into() };
        record(seq, Body::Fact(Fact::Untied { reader: ReaderId(0), reading, why: Untied::NoParcel }))
    }

    fn ordered(seq: u64) -> Record {
        let order = Order {
            order: "SO-1".into(),
            revision: 1,
            codes: vec!["A".into()],
            destination: "TH-BKK".into(),
            carrier: None,
            cancelled: false,
            hold: None,
            details: None,
        };
        let batch = OrderBatch { message: "m-1".into(), last: true, orders: vec![order] };
        record(seq, Body::Input(Input::Event(Event::Orders(batch))))
    }

    fn run(boot: u64) -> Started {
        Started { boot, ..nameless() }
    }

    #[test]
    fn passes_are_in_order_and_lone_records_stand_where_they_happened() {
        let records = vec![
            ordered(1),
            inducted(10, 1),
            ended(20, 1),
            untied(15),
            untied(25),
            inducted(30, 2),
            ended(40, 2),
            untied(50),
        ];
        let story = Story::of("A", records, |seq| Some(run(if seq < 25 { 1 } else { 2 }))).unwrap();
        let seqs: Vec<Vec<u64>> =
            story.passes.iter().map(|pass| pass.records.iter().map(|record| record.seq).collect()).collect();
        assert_eq!(seqs, [vec![1, 10, 15, 20], vec![25, 30, 40, 50]]);
        assert_eq!((story.passes[0].names.boot, story.passes[1].names.boot), (1, 2));
        let told = crate::commands::explain::text(&story.tell());
        assert!(told.contains("-9.000 s  order         upstream sent order SO-1 revision 1"), "{told}");
    }

    #[test]
    fn a_code_that_was_only_seen_is_told_as_such() {
        let story = Story::of("A", vec![ordered(1), untied(5)], |_| None).unwrap();
        let told = crate::commands::explain::text(&story.tell());
        assert!(told.contains("no parcel on the belt was ever tied to it"), "{told}");
        assert!(told.contains("reader 0 read A: no parcel was in the reader's field"), "{told}");
        assert_eq!(Story::of("A", Vec::new(), |_| None), None);
    }
}
