use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::line::Tick;
use crate::line::event::{Hold, HoldBatch, OrderBatch};

const CACHE: u64 = 8 * 1024 * 1024;

fn order(name: &str, revision: u32) -> Order {
    Order {
        order: name.to_owned(),
        revision,
        codes: vec![format!("PX{name}")],
        destination: "TH-BKK".to_owned(),
        carrier: None,
        cancelled: false,
        hold: None,
        details: None,
    }
}

fn hold(order: &str, revision: Option<u32>, hold: Option<Hold>) -> HoldOrder {
    HoldOrder { on: HoldOn::Order(order.to_owned()), revision, hold, reason: None, by: None }
}

fn record(seq: u64, body: Body) -> Record {
    Record { seq, at: Tick(seq * 1_000_000), wall_us: 0, event_seq: None, body }
}

fn event(seq: u64, event: Event) -> Record {
    record(seq, Body::Input(Input::Event(event)))
}

fn part(seq: u64, message: &str, orders: Vec<Order>) -> Record {
    event(seq, Event::Orders(OrderBatch { message: message.to_owned(), last: true, orders }))
}

fn applied(seq: u64, message: &str) -> Record {
    let message = message.to_owned();
    record(seq, Body::Fact(Fact::OrdersApplied { message, last: true, accepted: 1, refused: 0 }))
}

fn refused(seq: u64, message: &str, order: &str) -> Record {
    let (message, order) = (message.to_owned(), order.to_owned());
    record(seq, Body::Fact(Fact::OrderRefused { message, order, why: "bound to another".to_owned() }))
}

fn held(seq: u64, message: &str, holds: Vec<HoldOrder>) -> [Record; 2] {
    let batch = HoldBatch { message: message.to_owned(), last: true, holds };
    let message = message.to_owned();
    let applied = Fact::HoldsApplied { message, last: true, accepted: 1, refused: 0 };
    [event(seq, Event::Holds(batch)), record(seq + 1, Body::Fact(applied))]
}

fn open_at(directory: &Path) -> Orders {
    Orders::open(directory, CACHE, 0).unwrap()
}

fn loaded(directory: &Path) -> Vec<Order> {
    open_at(directory).take_loaded().standing()
}

#[test]
fn an_order_is_kept_once_its_part_is_applied_and_not_if_it_was_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut orders = open_at(directory.path());
    orders.apply(&[part(1, "m", vec![order("A", 1), order("B", 1)])]).unwrap();
    assert_eq!((orders.count(), orders.resume_after(1)), (0, 0), "the part is not applied yet");
    orders.apply(&[refused(2, "m", "B"), applied(3, "m")]).unwrap();
    assert_eq!((orders.count(), orders.applied(), orders.resume_after(3)), (1, 3, 3));
    // The same records again change nothing, an older revision neither.
    orders.apply(&[refused(2, "m", "B"), applied(3, "m")]).unwrap();
    orders.apply(&[part(4, "n", vec![order("A", 5)]), applied(5, "n")]).unwrap();
    orders.apply(&[part(6, "o", vec![order("A", 4), order("C", 1)]), applied(7, "o")]).unwrap();
    assert_eq!(orders.take_loaded().standing(), [order("A", 5), order("C", 1)]);
    drop(orders);
    assert_eq!(loaded(directory.path()), [order("A", 5), order("C", 1)]);
}

#[test]
fn holds_come_back_and_a_release_too() {
    let directory = tempfile::tempdir().unwrap();
    let mut orders = open_at(directory.path());
    let cod = Some(Hold::CodHold);
    orders.apply(&held(1, "a", vec![hold("A", Some(2), cod), hold("B", None, cod)])).unwrap();
    // An older one, a release without a revision, and one that the core refused.
    orders.apply(&held(3, "b", vec![hold("A", Some(1), None), hold("B", None, None)])).unwrap();
    let [batch, done] = held(5, "c", vec![hold("C", None, cod)]);
    let (message, on) = ("c".to_owned(), HoldOn::Order("C".to_owned()));
    let no =
        Record { seq: 6, ..record(6, Body::Fact(Fact::HoldRefused { message, on, why: "full".to_owned() })) };
    orders.apply(&[batch, no, Record { seq: 7, ..done }]).unwrap();
    assert_eq!(orders.count(), 0, "holds are no orders");
    drop(orders);
    let register = open_at(directory.path()).take_loaded();
    let holds: Vec<HoldOrder> = register.holds().iter().map(|entry| entry.hold.clone()).collect();
    assert_eq!(holds, [hold("A", Some(2), cod), hold("B", None, None)]);
    assert_eq!(register.holds()[0].at_s, 2, "when it was applied");
}

#[test]
fn a_sorted_parcel_is_written_in_time_and_read_from_the_journal_until_then() {
    let directory = tempfile::tempdir().unwrap();
    let mut orders = open_at(directory.path());
    orders.apply(&[part(1, "m", vec![order("A", 1)]), applied(2, "m")]).unwrap();
    let pass = PassKey { epoch: 1, track: 7 };
    let identified = Fact::Identified {
        pass,
        key: crate::identify::Key("wb:PXA".to_owned()),
        uri: None,
        order: Some("A".to_owned()),
        carrier: None,
    };
    let ended = Fact::Ended {
        pass,
        key: None,
        uri: None,
        outcome: Outcome::Sorted { chute: crate::line::ChuteNo(1) },
        plan: String::new(),
        slack_ms: None,
        destination: None,
    };
    orders.apply(&[record(3, Body::Fact(identified))]).unwrap();
    assert_eq!(orders.resume_after(3), 2, "its pass has not ended");
    orders.apply(&[record(4, Body::Fact(ended))]).unwrap();
    assert_eq!((orders.applied(), orders.resume_after(4)), (2, 3), "it waits for the next commit");
    orders.apply(&[part(5, "n", vec![order("B", 1)]), applied(6, "n")]).unwrap();
    assert_eq!((orders.applied(), orders.resume_after(6)), (6, 6));
    let entries: Vec<Entry> = orders.take_loaded().orders().flat_map(Result::unwrap).collect();
    assert!(entries.contains(&Entry::Sorted { order: "A".to_owned(), at_s: 4 }), "{entries:?}");

    // Retired, but for one whose parcel is on the belt again.
    let names = |name: &str| RetiredOrder { order: name.to_owned(), revision: 1 };
    let gone = Fact::OrdersGone { kept: vec!["B".to_owned()] };
    orders
        .apply(&[event(7, Event::OrdersRetired(vec![names("A"), names("B")])), record(8, Body::Fact(gone))])
        .unwrap();
    drop(orders);
    assert_eq!(loaded(directory.path()), [order("B", 1)]);
}

#[test]
fn a_register_that_opens_short_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let mut orders = open_at(directory.path());
    orders.apply(&[part(1, "m", vec![order("A", 1), order("B", 1)]), applied(2, "m")]).unwrap();
    drop(orders);
    let file = path(directory.path()).join("1.reg");
    let whole = std::fs::read(&file).unwrap();
    for cut in 0..whole.len() {
        std::fs::write(&file, &whole[..cut]).unwrap();
        let short = Orders::open(directory.path(), CACHE, 2);
        assert!(matches!(short, Err(DayError::Damaged { .. })), "cut to {cut}");
    }
    for bit in 0..whole.len() * 8 {
        let mut bad = whole.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&file, bad).unwrap();
        let bad = Orders::open(directory.path(), CACHE, 2);
        assert!(matches!(bad, Err(DayError::Damaged { .. })), "bit {bit}");
    }
    std::fs::remove_dir_all(path(directory.path())).unwrap();
    assert!(matches!(Orders::open(directory.path(), CACHE, 2), Err(DayError::Damaged { .. })));
}

#[test]
fn a_broken_frame_is_a_torn_tail_only_where_nothing_stands_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut orders = open_at(directory.path());
    orders.apply(&[part(1, "m", vec![order("A", 1)]), applied(2, "m")]).unwrap();
    let first = orders.open.as_ref().unwrap().len;
    orders.apply(&[part(3, "n", vec![order("B", 1)]), applied(4, "n")]).unwrap();
    drop(orders);
    let file = path(directory.path()).join("1.reg");
    let whole = std::fs::read(&file).unwrap();
    let mut bad = whole.clone();
    bad[20] ^= 1;
    std::fs::write(&file, &bad).unwrap();
    assert!(matches!(Orders::open(directory.path(), CACHE, 0), Err(DayError::Damaged { .. })));
    // Torn off: what was there before stays, and what is written next stands behind it.
    std::fs::write(&file, &whole[..whole.len() - 3]).unwrap();
    let mut orders = open_at(directory.path());
    assert_eq!((orders.applied(), orders.open.as_ref().unwrap().len), (2, first));
    orders.apply(&[part(3, "n", vec![order("B", 1)]), applied(4, "n")]).unwrap();
    drop(orders);
    assert_eq!(std::fs::read(&file).unwrap(), whole, "the same records, the same bytes");
}

#[test]
fn a_register_of_the_first_layout_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let old: Vec<Order> = (0..3_000).map(|n| order(&format!("{n:06}"), n)).collect();
    first::tests::write(&path(directory.path()), 77, &old);
    let mut orders = Orders::open(directory.path(), CACHE, 77).unwrap();
    assert_eq!((orders.applied(), orders.count()), (77, 3_000));
    assert_eq!(orders.take_loaded().standing(), old);
    orders.apply(&[part(78, "m", vec![order("000001", 900)]), applied(79, "m")]).unwrap();
    drop(orders);
    assert!(!path(directory.path()).join("db").exists());
    assert_eq!(loaded(directory.path())[1].revision, 900);

    // Cut off before the list of files was there: it begins anew from the old one.
    let directory = tempfile::tempdir().unwrap();
    first::tests::write(&path(directory.path()), 77, &old);
    std::fs::write(path(directory.path()).join("1.reg"), b"SORTREG2 and half a frame").unwrap();
    assert_eq!(loaded(directory.path()), old);
}

/// Waits for the packing thread; the next commit takes what it made.
fn let_pack(orders: &mut Orders) {
    if let Some(packing) = orders.packing.take() {
        let done = packing.recv().unwrap();
        let (send, receive) = bounded(1);
        send.send(done).unwrap();
        orders.packing = Some(receive);
        orders.keep_packed();
    }
}

#[test]
fn what_no_longer_stands_is_packed_away() {
    let directory = tempfile::tempdir().unwrap();
    let mut orders = open_at(directory.path());
    orders.take_loaded();
    let mut packed = 0;
    for round in 0..100_u32 {
        let seq = u64::from(round) * 10 + 1;
        let many = (0..40).map(|n| order(&format!("{n:06}"), round + 1)).collect();
        orders.apply(&[part(seq, "m", many), applied(seq + 1, "m")]).unwrap();
        orders.apply(&held(seq + 2, "h", vec![hold("X", Some(round), Some(Hold::Repack))])).unwrap();
        packed += u32::from(orders.packing.is_some());
        // Sometimes more is written while it runs.
        if round % 3 == 0 {
            let_pack(&mut orders);
        }
    }
    let_pack(&mut orders);
    assert!(packed > 5, "{packed}");
    let files = std::fs::read_dir(path(directory.path())).unwrap().count();
    assert!(files <= 4, "{files} files are left");
    let applied = orders.applied();
    drop(orders);
    let mut orders = open_at(directory.path());
    assert_eq!(orders.applied(), applied);
    assert!(orders.count() < 40 * 20, "{} entries", orders.count());
    let register = orders.take_loaded();
    let expected: Vec<Order> = (0..40).map(|n| order(&format!("{n:06}"), 100)).collect();
    assert_eq!(register.standing(), expected);
    assert_eq!(register.holds().len(), 1);
    assert_eq!(register.holds()[0].hold.revision, Some(99));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Messages in any order and any number of times, the process killed between any two records, the file
    /// torn off behind the last commit: the register has what the journal says, no more and no less.
    #[test]
    fn killed_anywhere_it_is_what_the_journal_says(
        messages in prop::collection::vec((0..5u32, 0..6u32, 0..3u8), 1..25),
        kills in prop::collection::vec((0..60usize, 0..40usize), 0..6),
        batch in 1..5usize,
    ) {
        let mut records = Vec::new();
        let mut expected = BTreeMap::<String, Order>::new();
        for (at, (number, revision, what)) in messages.iter().enumerate() {
            let (name, message) = (format!("SO-{number}"), format!("m-{at}"));
            let seq = records.len() as u64 + 1;
            match what {
                0 => {
                    let out = RetiredOrder { order: name.clone(), revision: *revision };
                    records.push(event(seq, Event::OrdersRetired(vec![out])));
                    records.push(record(seq + 1, Body::Fact(Fact::OrdersGone { kept: Vec::new() })));
                    if expected.get(&name).is_some_and(|known| known.revision <= *revision) {
                        expected.remove(&name);
                    }
                }
                1 => {
                    // The core refused it.
                    records.push(part(seq, &message, vec![order(&name, *revision)]));
                    records.push(refused(seq + 1, &message, &name));
                    records.push(applied(seq + 2, &message));
                }
                _ => {
                    records.push(part(seq, &message, vec![order(&name, *revision)]));
                    records.push(applied(seq + 1, &message));
                    let known = expected.get(&name).map(|known| known.revision);
                    if known.is_none_or(|known| known < *revision) {
                        expected.insert(name.clone(), order(&name, *revision));
                    }
                }
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let (mut orders, mut checkpoint, mut at) = (open_at(directory.path()), (0, 0), 0);
        orders.take_loaded();
        let mut kills = kills.into_iter();
        let mut next = kills.next();
        while at < records.len() {
            let end = (at + batch).min(records.len());
            orders.apply(&records[at..end]).unwrap();
            at = end;
            if at % 3 == 0 {
                checkpoint = (orders.applied(), orders.resume_after(at as u64));
            }
            if let Some((when, torn)) = next && when <= at {
                next = kills.next();
                let_pack(&mut orders);
                let durable = orders.open.as_ref().unwrap().len;
                let number = *orders.open.as_ref().unwrap().list.files.last().unwrap();
                drop(orders);
                // Bytes of a commit that was not finished.
                let file = File::options().append(true).open(path(directory.path()).join(name_of(number))).unwrap();
                (&file).write_all(&vec![0x5a; torn]).unwrap();
                orders = Orders::open(directory.path(), CACHE, checkpoint.0).unwrap();
                prop_assert_eq!(orders.open.as_ref().unwrap().len, durable);
                orders.take_loaded();
                // The journal is read again from where the checkpoint says.
                let from = usize::try_from(checkpoint.1).unwrap();
                orders.apply(&records[from..at]).unwrap();
            }
        }
        let_pack(&mut orders);
        drop(orders);
        let standing = loaded(directory.path());
        prop_assert_eq!(standing, expected.into_values().collect::<Vec<_>>());
    }
}

/// Worked out by hand from the layout; never to be changed.
#[test]
fn frozen_bytes_of_the_register() {
    let directory = tempfile::tempdir().unwrap();
    let mut orders = open_at(directory.path());
    let mut records = vec![part(257, "m", vec![order("A", 300)]), applied(258, "m")];
    records.extend(held(259, "h", vec![hold("B", Some(7), Some(Hold::CodMismatch))]));
    let gone = RetiredOrder { order: "C".to_owned(), revision: 2 };
    records.push(event(261, Event::OrdersRetired(vec![gone])));
    records.push(record(262, Body::Fact(Fact::OrdersGone { kept: Vec::new() })));
    orders.marks.push((1, Entry::Sorted { order: "D".to_owned(), at_s: 9 }));
    orders.apply(&records).unwrap();
    drop(orders);
    let bytes = std::fs::read(path(directory.path()).join("1.reg")).unwrap();
    let hold =
        [&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &[0, 1, b'B', 1, 7, 1, 1, 0, 0, 251, 4, 1]].concat();
    let entries = [
        &[0, 0, 0, 0, 0, 0, 0, 1, 6, 0, 0, 0, 1][..],
        &[0, 1, b'A', 251, 44, 1, 1, 3, b'P', b'X', b'A', 6, b'T', b'H', b'-', b'B', b'K', b'K', 0, 0, 0],
        &[251, 2, 1, 0],
        &[2, 1, b'C', 2],
        &[1, 1, b'D', 9],
    ]
    .concat();
    let mut expected = b"SORTREG2".to_vec();
    for frame in [hold, entries] {
        let len = u32::try_from(frame.len()).unwrap().to_be_bytes();
        let crc = crc32fast::hash(&[&len[..], &frame].concat()).to_be_bytes();
        expected.extend([&len[..], &crc, &frame].concat());
    }
    assert_eq!(bytes, expected);
}
