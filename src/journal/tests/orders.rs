use super::*;
use crate::line::Tick;
use crate::line::event::{Event, OrderBatch};
use crate::line::record::Input;

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
    }
}

fn record(seq: u64, body: Body) -> Record {
    Record { seq, at: Tick(seq), wall_us: 0, event_seq: None, body }
}

fn part(seq: u64, message: &str, orders: Vec<Order>) -> Record {
    let batch = OrderBatch { message: message.to_owned(), last: true, orders };
    record(seq, Body::Input(Input::Event(Event::Orders(batch))))
}

fn applied(seq: u64, message: &str) -> Record {
    let message = message.to_owned();
    record(seq, Body::Fact(Fact::OrdersApplied { message, last: true, accepted: 1, refused: 0 }))
}

fn refused(seq: u64, message: &str, order: &str) -> Record {
    let (message, order) = (message.to_owned(), order.to_owned());
    record(seq, Body::Fact(Fact::OrderRefused { message, order, why: "bound to another".to_owned() }))
}

fn loaded(directory: &Path) -> Vec<Order> {
    Orders::open(directory, CACHE, 0).unwrap().take_loaded()
}

#[test]
fn an_order_is_kept_once_its_part_is_applied_and_not_if_it_was_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut orders = Orders::open(directory.path(), CACHE, 0).unwrap();
    orders.apply(&[part(1, "m", vec![order("A", 1), order("B", 1)])]).unwrap();
    assert_eq!((orders.count(), orders.resume_after(1)), (0, 0), "the part is not applied yet");
    orders.apply(&[refused(2, "m", "B"), applied(3, "m")]).unwrap();
    assert_eq!((orders.count(), orders.applied(), orders.resume_after(3)), (1, 3, 3));
    // The same records again change nothing, an older revision neither.
    orders.apply(&[refused(2, "m", "B"), applied(3, "m")]).unwrap();
    orders.apply(&[part(4, "n", vec![order("A", 5)]), applied(5, "n")]).unwrap();
    orders.apply(&[part(6, "o", vec![order("A", 4), order("C", 1)]), applied(7, "o")]).unwrap();
    assert_eq!(orders.take_loaded(), [order("A", 5), order("C", 1)]);
    drop(orders);
    assert_eq!(loaded(directory.path()), [order("A", 5), order("C", 1)]);
}

#[test]
fn beyond_the_limit_orders_are_refused_and_counted_and_known_ones_still_change() {
    let directory = tempfile::tempdir().unwrap();
    let mut orders = Orders::open(directory.path(), CACHE, 0).unwrap();
    orders.set_limit(2);
    let many = vec![order("A", 1), order("B", 1), order("C", 1)];
    orders.apply(&[part(1, "m", many), applied(2, "m")]).unwrap();
    assert_eq!((orders.count(), orders.refused()), (2, 1));
    orders.apply(&[part(3, "n", vec![order("A", 2)]), applied(4, "n")]).unwrap();
    assert_eq!((orders.count(), orders.refused()), (2, 1));
    drop(orders);
    assert_eq!(loaded(directory.path()), [order("A", 2), order("B", 1)]);
}

#[test]
fn a_register_that_opens_short_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let mut orders = Orders::open(directory.path(), CACHE, 0).unwrap();
    orders.apply(&[part(1, "m", vec![order("A", 1), order("B", 1)]), applied(2, "m")]).unwrap();
    let (db, _) = orders.open.as_ref().unwrap();
    db.remove(b"oB").unwrap();
    drop(orders);
    assert!(matches!(Orders::open(directory.path(), CACHE, 0), Err(DayError::Damaged { .. })));
    std::fs::remove_dir_all(path(directory.path())).unwrap();
    assert!(matches!(Orders::open(directory.path(), CACHE, 2), Err(DayError::Damaged { .. })));
}

/// Worked out by hand from the layout; never to be changed.
#[test]
fn frozen_bytes_of_an_order() {
    let bytes = encode(&order("A", 300)).unwrap();
    let body = [1, b'A', 251, 44, 1, 1, 3, b'P', b'X', b'A', 6, b'T', b'H', b'-', b'B', b'K', b'K', 0, 0, 0];
    assert_eq!((bytes[0], &bytes[HEADER..]), (1, &body[..]));
    assert_eq!(decode(&bytes), Some(order("A", 300)));
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(decode(&bad), None, "bit {bit}");
    }
}
