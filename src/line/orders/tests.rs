use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::identify::key_of_order_code;
use crate::line::event::{Cod, Details, Hold};

fn rules() -> CarrierRules {
    CarrierRules::default()
}

fn order(number: &str, revision: u32, codes: &[&str]) -> Order {
    Order {
        order: number.to_owned(),
        revision,
        codes: codes.iter().map(|code| (*code).to_owned()).collect(),
        destination: "TH-BKK".to_owned(),
        carrier: None,
        cancelled: false,
        hold: None,
        details: None,
    }
}

fn key(code: &str) -> Key {
    key_of_order_code(&rules(), code).unwrap()
}

fn take(table: &mut OrderTable, order: &Order) -> Result<Upserted, OrderRefusal> {
    table.upsert(order, &rules(), Tick(0))
}

fn details(number: u32) -> Details {
    let text = |of: &str| number.is_multiple_of(2).then(|| format!("{of}-{number}"));
    Details {
        country: Some("TH".to_owned()),
        postcode: text("10110"),
        service: text("STD"),
        customer: text("acme"),
        goods: None,
        weight_g: Some(number * 300),
        size_mm: (number == 1).then_some([300, 200, 100]),
        pack: text("FOAM"),
        cod: (number == 3).then(|| Cod { minor: 129_900, currency: "THB".to_owned() }),
        fragile: Some(number == 4),
        dangerous_goods: None,
        return_of: text("SO"),
    }
}

fn arbitrary() -> impl Strategy<Value = Order> {
    // A code of each form: as it is, in another case, an SSCC, the same parcel's EPC.
    const CODES: [&str; 6] =
        ["KEX1", "kex2 ", "(00)106141412345678908", "106141412345678908", "RB123456785GB", "X"];
    let codes = prop::sample::subsequence(CODES.to_vec(), 0..=3);
    let hold = prop::option::of(prop::sample::select(vec![Hold::CodHold, Hold::Overweight, Hold::Repack]));
    (0..5u32, 0..5u32, codes, any::<bool>(), hold).prop_map(|(number, revision, codes, cancelled, hold)| {
        Order {
            destination: format!("D{revision}"),
            carrier: (revision % 2 == 1).then(|| "KERRY-TH".to_owned()),
            cancelled,
            hold,
            details: (revision > 2).then(|| Box::new(details(number))),
            ..order(&format!("SO-{number}"), revision, &codes)
        }
    })
}

proptest! {
    /// The table against the plainest one there is: a map of orders, and keys looked for in all of them.
    #[test]
    fn it_is_a_table_of_orders(steps in prop::collection::vec((0..8u8, arbitrary()), 0..60)) {
        let (mut table, mut model) = (OrderTable::default(), BTreeMap::<String, Order>::new());
        for (what, order) in steps {
            let known = model.get(&order.order).map(|known| known.revision);
            if what == 0 {
                let out = RetiredOrder { order: order.order.clone(), revision: order.revision };
                prop_assert_eq!(table.retire(&out), known.is_some_and(|known| known <= order.revision));
                if known.is_some_and(|known| known <= order.revision) {
                    model.remove(&order.order);
                }
            } else if known.is_some_and(|known| known >= order.revision) {
                prop_assert_eq!(take(&mut table, &order), Ok(Upserted::Known));
            } else {
                let keys: BTreeSet<Key> = order.codes.iter().map(|code| key(code)).collect();
                let taken = model.values().filter(|other| other.order != order.order).any(|other| {
                    other.codes.iter().any(|code| keys.contains(&key(code)))
                });
                match take(&mut table, &order) {
                    Err(OrderRefusal::CodeTaken { .. }) => prop_assert!(taken),
                    Ok(Upserted::Taken(touched)) => {
                        prop_assert!(!taken);
                        let before = model.insert(order.order.clone(), order.clone());
                        let before = before.iter().flat_map(|order| &order.codes).map(|code| key(code));
                        let expected: BTreeSet<Key> = keys.into_iter().chain(before).collect();
                        prop_assert_eq!(touched.into_iter().collect::<BTreeSet<_>>(), expected);
                    }
                    other => prop_assert!(false, "{:?}", other),
                }
            }
            prop_assert_eq!(table.len(), model.len());
            for code in ["KEX1", "KEX2", "106141412345678908", "RB123456785GB", "X", "Y"] {
                let bound = model.values().find(|order| order.codes.iter().any(|other| key(other) == key(code)));
                prop_assert_eq!(table.bound(&key(code)), bound.cloned());
                prop_assert_eq!(table.slot_of(&key(code)).is_some(), bound.is_some());
            }
        }
    }

    /// Messages repeated and out of order: whatever the way, the table is that of the newest revisions. Codes
    /// stay with their orders here; two orders that claim one code are a refusal, told upstream.
    #[test]
    fn repetition_and_order_of_messages_do_not_matter(
        orders in prop::collection::vec((0..6u32, 0..8u32, 0..3u32), 1..40),
        shuffled in prop::collection::vec(any::<prop::sample::Index>(), 0..80),
    ) {
        // One order and revision is one content, as upstream promises.
        let content = |&(number, revision, _): &(u32, u32, u32)| {
            let codes: Vec<String> = (0..=revision % 3).map(|n| format!("P{number}-{n}")).collect();
            let codes: Vec<&str> = codes.iter().map(String::as_str).collect();
            Order { destination: format!("D{revision}"), ..order(&format!("SO-{number}"), revision, &codes) }
        };
        let orders: Vec<Order> = orders.iter().map(content).collect();
        let mut sorted = orders.clone();
        sorted.sort_by_key(|order| order.revision);
        let mut expected = OrderTable::default();
        for order in &sorted {
            take(&mut expected, order).unwrap();
        }
        let mut table = OrderTable::default();
        for at in &shuffled {
            take(&mut table, at.get(&orders)).unwrap();
        }
        for order in orders.iter().rev() {
            take(&mut table, order).unwrap();
        }
        prop_assert_eq!(table.len(), expected.len());
        for (number, n) in (0..6).flat_map(|number| (0..3).map(move |n| (number, n))) {
            let key = key(&format!("P{number}-{n}"));
            prop_assert_eq!(table.bound(&key), expected.bound(&key));
        }
    }
}

#[test]
fn a_finished_order_is_retired_two_weeks_after_it_was_last_named() {
    let day = |days: u64| Tick(days * 24 * 3600 * 1_000_000);
    let mut table = OrderTable::default();
    let named = |order: Order, at: u64, table: &mut OrderTable| {
        table.upsert(&order, &rules(), day(at)).unwrap();
    };
    named(order("EXPECTED", 1, &["A"]), 1, &mut table);
    named(order("SORTED", 1, &["B"]), 1, &mut table);
    named(Order { cancelled: true, ..order("CANCELLED", 3, &["C"]) }, 1, &mut table);
    named(order("REVISED", 1, &["D"]), 1, &mut table);
    table.sorted(&key("B"), day(2));
    table.sorted(&key("D"), day(2));
    named(order("REVISED", 2, &["D"]), 10, &mut table);
    let names = |found: Vec<RetiredOrder>| {
        let mut names: Vec<(String, u32)> =
            found.into_iter().map(|order| (order.order, order.revision)).collect();
        names.sort();
        names
    };
    assert_eq!(names(table.finished(day(15))), []);
    assert_eq!(names(table.finished(day(16))), [("CANCELLED".to_owned(), 3)]);
    assert_eq!(names(table.finished(day(17))), [("CANCELLED".to_owned(), 3), ("SORTED".to_owned(), 1)]);
    let all = names(table.finished(day(400)));
    assert_eq!(
        all.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["CANCELLED", "REVISED", "SORTED"]
    );
    for (order, revision) in all {
        assert!(table.retire(&RetiredOrder { order, revision }));
    }
    assert_eq!(table.len(), 1);
    assert_eq!(table.bound(&key("B")), None, "its code is free again");
    named(order("NEXT", 1, &["B"]), 30, &mut table);
    assert_eq!(table.bound(&key("B")).unwrap().order, "NEXT");
    // A newer revision than the one that was to go is another story.
    assert!(!table.retire(&RetiredOrder { order: "NEXT".to_owned(), revision: 0 }));
}

#[test]
fn texts_and_names_have_their_bounds() {
    let mut table = OrderTable::default();
    let long = "x".repeat(TEXT_LONGEST + 1);
    assert_eq!(take(&mut table, &order(&long, 1, &["A"])), Err(OrderRefusal::TooLong(TEXT_LONGEST + 1)));
    assert_eq!(take(&mut table, &order("", 1, &["A"])), Err(OrderRefusal::NoNumber));
    assert_eq!(take(&mut table, &order("A", 1, &["A"; 17])), Err(OrderRefusal::TooManyCodes(17)));
    let mut refused = 0;
    for n in 0..NAMES_MOST + 2 {
        let order = Order { destination: format!("D{n}"), ..order(&format!("O{n}"), 1, &[&format!("C{n}")]) };
        refused += usize::from(take(&mut table, &order) == Err(OrderRefusal::TooManyNames));
    }
    assert_eq!((refused, table.len()), (2, NAMES_MOST));
    assert_eq!(table.bound(&key("C777")).unwrap().destination, "D777");
}

/// An order as an exporter's ERP sends it, with a waybill and an SSCC.
fn typical(n: u32) -> Order {
    let order = order(&format!("SO-2026-{n:08}"), 1, &[&format!("KEX{n:010}"), &format!("10614141{n:09}7")]);
    Order { destination: format!("TH-BKK-{:02}", n % 90), carrier: Some(format!("KERRY-{}", n % 7)), ..order }
}

/// An order with everything that an exporter may tell of it.
fn detailed(n: u32) -> Order {
    let details = Details {
        country: Some("TH".to_owned()),
        postcode: Some(format!("{:05}", 10_000 + n % 86_000)),
        service: Some("STD".to_owned()),
        customer: Some(format!("exporter-{}", n % 300)),
        goods: Some(format!("class-{}", n % 12)),
        weight_g: Some(200 + n % 4_000),
        size_mm: Some([200, 150, 90]),
        pack: None,
        cod: Some(Cod { minor: 10_000 + u64::from(n % 200_000), currency: "THB".to_owned() }),
        fragile: Some(n.is_multiple_of(5)),
        dangerous_goods: Some(false),
        return_of: None,
    };
    Order { details: Some(Box::new(details)), ..typical(n) }
}

/// A million orders are to take at most 250 MB with everything around them; here is what the table itself takes.
#[test]
fn an_order_takes_some_hundred_and_fifty_bytes() {
    const ORDERS: u32 = 20_000;
    /// What the allocator adds to an order's bytes: its header, and rounding up to sixteen.
    const ALLOCATOR: usize = 8 + 15;
    for (order, most) in [(typical as fn(u32) -> Order, 170), (detailed, 200)] {
        let mut table = OrderTable::default();
        for n in 0..ORDERS {
            assert!(matches!(take(&mut table, &order(n)), Ok(Upserted::Taken(_))));
        }
        let packed: usize = table.slots.iter().flatten().map(|packed| packed.len() + ALLOCATOR).sum();
        let slots = table.slots.capacity() * size_of::<Option<Packed>>();
        let bytes = (packed + slots + table.by_number.bytes() + table.by_key.bytes()) / ORDERS as usize;
        assert!(bytes <= most, "{bytes} bytes an order");
    }
}

proptest! {
    /// What comes out of the register in portions, packed elsewhere and under other numbers of names, is what
    /// upstream's own messages would have made of the table.
    #[test]
    fn portions_of_the_register_make_the_same_table_as_messages(
        before in prop::collection::vec(arbitrary(), 0..8),
        steps in prop::collection::vec((0..8u8, arbitrary()), 0..60),
        portions in 1..7usize,
        room in prop::option::of(0..200u64),
    ) {
        let (mut told, mut loaded) = (OrderTable::default(), OrderTable::default());
        for order in &before {
            prop_assert_eq!(take(&mut told, order), take(&mut loaded, order));
        }
        if let Some(room) = room {
            loaded.reserve(room);
        }
        let (mut refused, mut refused_of_portions) = (0, 0);
        for steps in steps.chunks(portions) {
            let mut portion = KnownOrders::default();
            for (what, order) in steps {
                match what {
                    0 => {
                        let out = RetiredOrder { order: order.order.clone(), revision: order.revision };
                        told.retire(&out);
                        portion.add_retired(out);
                    }
                    1 => {
                        told.sorted_order(&order.order, Tick(7_000_000));
                        portion.add_sorted(&order.order, Tick(7_000_000));
                    }
                    _ => {
                        refused += u64::from(take(&mut told, order).is_err());
                        portion.add(&OrderRef::from(order), Tick(0), false, &OrderKeys::of(&rules())).unwrap();
                    }
                }
            }
            refused_of_portions += loaded.load(portion);
        }
        prop_assert_eq!((told.len(), refused), (loaded.len(), refused_of_portions));
        for code in ["KEX1", "KEX2", "106141412345678908", "RB123456785GB", "X"] {
            let key = key(code);
            prop_assert_eq!(told.bound(&key), loaded.bound(&key));
            let state = |table: &OrderTable| {
                table.slot_with(&key).and_then(|slot| table.at(slot)).map(|it| (it.touched(), it.is_finished()))
            };
            prop_assert_eq!(state(&told), state(&loaded));
        }
    }

    /// Texts around the length that needs a second byte, and every detail there or not.
    #[test]
    fn any_order_comes_back_as_it_was(
        text in "[A-Z]{0,3}", times in 0..60usize, minor in any::<u64>(), weight in any::<u32>(), told in any::<u16>(),
    ) {
        let has = |bit: u32| told >> bit & 1 == 1;
        let long = |of: &str| format!("{of}{}", text.repeat(times));
        let details = Details {
            country: has(0).then(|| long("C")),
            postcode: has(1).then(|| long("P")),
            service: has(2).then(|| long("S")),
            customer: has(3).then(|| long("K")),
            goods: has(4).then(|| long("G")),
            weight_g: has(5).then_some(weight),
            size_mm: has(6).then_some([u16::MAX, 0, 258]),
            pack: has(7).then(|| long("B")),
            cod: has(8).then(|| Cod { minor, currency: "THB".to_owned() }),
            fragile: has(9).then_some(has(10)),
            dangerous_goods: has(11).then_some(has(12)),
            return_of: has(13).then(|| long("R")),
        };
        let details = has(14).then(|| Box::new(details));
        let order = Order { details, ..order(&long("SO-"), 7, &["W1", &long("KEX-"), "urn:epc:id:sscc:0614141.1234567890"]) };
        let mut table = OrderTable::default();
        if let Ok(Upserted::Taken(keys)) = take(&mut table, &order) {
            prop_assert_eq!(keys.len(), 3);
            for key in keys {
                prop_assert_eq!(table.bound(&key), Some(order.clone()));
            }
        } else {
            prop_assert!(long("KEX-").len() > 64, "only a waybill that is too long is refused");
        }
    }
}

#[test]
fn a_full_table_refuses_one_more_and_still_takes_a_revision() {
    let mut table = OrderTable { most: 2, ..OrderTable::default() };
    assert!(matches!(take(&mut table, &order("A", 1, &["A1"])), Ok(Upserted::Taken(_))));
    assert!(matches!(take(&mut table, &order("B", 1, &["B1"])), Ok(Upserted::Taken(_))));
    assert_eq!(take(&mut table, &order("C", 1, &["C1"])), Err(OrderRefusal::Full));
    assert!(matches!(take(&mut table, &order("B", 2, &["B2"])), Ok(Upserted::Taken(_))));
    assert_eq!(table.len(), 2);
}
