//! The register's first layout, read once and brought into the present one.
//!
//! ```text
//! m          -> version(1) applied(8) count(8) crc32(4)    up to which record, and how many orders
//! o number   -> version(1) crc32(4) order (bincode)
//! ```
//! A sled Db with one key an order. A million of them took a second and a half to open and 75 MB to keep
//! open, which is why there is another layout.

use std::path::Path;

use super::super::day::{DayError, damaged, guarded, open_sled};
use super::super::record::VALUE_LIMIT;
use super::{NAME, number};
use crate::line::event::Order;

const META: &[u8] = b"m";
const VERSION: u8 = 1;
const HEADER: usize = 5;

/// Reads all of it, oldest number first, in parts: up to which record it is applied.
pub(super) fn read(
    path: &Path,
    cache: u64,
    mut take: impl FnMut(Order) -> Result<(), DayError>,
) -> Result<u64, DayError> {
    let db = open_sled(path, cache, NAME)?;
    let meta = guarded(NAME, || db.get(META))?;
    let (applied, count) = match meta {
        Some(bytes) => decode_meta(&bytes).ok_or_else(|| unreadable("its head"))?,
        None if guarded(NAME, || db.first())?.is_none() => (0, 0),
        None => return Err(unreadable("its head, which is missing,")),
    };
    let mut came = 0;
    let mut pairs = db.scan_prefix(b"o");
    while let Some((key, value)) = guarded(NAME, || pairs.next().transpose())? {
        let order = decode(&value).filter(|order| order.order.as_bytes() == &key[1..]);
        take(order.ok_or_else(|| unreadable("an order"))?)?;
        came += 1;
    }
    if came != count {
        return Err(damaged(NAME, format!("{count} orders expected, {came} came")));
    }
    Ok(applied)
}

fn unreadable(what: &str) -> DayError {
    damaged(NAME, format!("{what} is not what was written"))
}

fn encode_meta(applied: u64, count: u64) -> [u8; 21] {
    let mut bytes = [VERSION; 21];
    bytes[1..9].copy_from_slice(&applied.to_be_bytes());
    bytes[9..17].copy_from_slice(&count.to_be_bytes());
    let crc = crc32fast::hash(&bytes[..17]);
    bytes[17..].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn decode_meta(bytes: &[u8]) -> Option<(u64, u64)> {
    let (applied, count) = (number(bytes.get(1..9)?), number(bytes.get(9..17)?));
    (encode_meta(applied, count) == bytes).then_some((applied, count))
}

fn decode(bytes: &[u8]) -> Option<Order> {
    let body = bytes.get(HEADER..)?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..1]);
    crc.update(body);
    if bytes[0] != VERSION || bytes[1..HEADER] != crc.finalize().to_be_bytes() {
        return None;
    }
    let config = bincode::config::standard().with_limit::<VALUE_LIMIT>();
    let (order, consumed) = bincode::serde::decode_from_slice(body, config).ok()?;
    (consumed == body.len()).then_some(order)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// As the first layout wrote an order.
    pub fn encode(order: &Order) -> Vec<u8> {
        let body = bincode::serde::encode_to_vec(order, bincode::config::standard()).unwrap();
        let mut crc = crc32fast::Hasher::new();
        crc.update(&[VERSION]);
        crc.update(&body);
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&crc.finalize().to_be_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    /// As the first layout left a register behind.
    pub fn write(path: &Path, applied: u64, orders: &[Order]) {
        let db = open_sled(path, 8 << 20, NAME).unwrap();
        for order in orders {
            db.insert([b"o", order.order.as_bytes()].concat(), encode(order)).unwrap();
        }
        db.insert(META, &encode_meta(applied, orders.len() as u64)).unwrap();
        db.flush().unwrap();
    }

    /// Worked out by hand from the layout; never to be changed.
    #[test]
    fn frozen_bytes_of_an_order() {
        let order = Order {
            order: "A".to_owned(),
            revision: 300,
            codes: vec!["PXA".to_owned()],
            destination: "TH-BKK".to_owned(),
            carrier: None,
            cancelled: false,
            hold: None,
            details: None,
        };
        let bytes = encode(&order);
        let body =
            [1, b'A', 251, 44, 1, 1, 3, b'P', b'X', b'A', 6, b'T', b'H', b'-', b'B', b'K', b'K', 0, 0, 0];
        assert_eq!((bytes[0], &bytes[HEADER..]), (1, &body[..]));
        assert_eq!(decode(&bytes), Some(order));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bad), None, "bit {bit}");
        }
    }
}
