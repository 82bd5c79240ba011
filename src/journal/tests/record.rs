use proptest::prelude::*;

use super::*;
use crate::identify::Reading;
use crate::line::event::{DayDeleted, DeletedFor, Event};
use crate::line::record::Input;
use crate::line::{PassKey, ReaderId};

fn inducted() -> Body {
    Body::Fact(Fact::Inducted { pass: PassKey { epoch: 1, track: 70_000 }, length_mm: 300 })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Worked out by hand from the layout and bincode's variable-length integers; never to be changed.
#[test]
fn frozen_bytes_of_record_v1() {
    let bytes = encode(258, Some(7), 1_795_305_600_000_000, Tick(1_000_000), &inducted()).unwrap();
    let frozen = "010000000000000102000000000000000700000019967f925dfc40420f00fd00401a51a4c10c00010001fc70110100fb2c01";
    assert_eq!(hex(&bytes), frozen);
    let record = decode(&bytes).unwrap();
    assert_eq!((record.seq, record.event_seq, record.at), (258, Some(7), Tick(1_000_000)));
    assert_eq!((record.wall_us, record.body), (1_795_305_600_000_000, inducted()));
}

/// Worked out with another program from the layout, the body being the one above; never to be changed.
#[test]
fn frozen_bytes_of_record_v2() {
    let body = encode_body(258, 1_795_305_600_000_000, Tick(1_000_000), &inducted()).unwrap();
    let mut bytes = Vec::new();
    let before = Link([0xaa; 32]);
    let link = frame_v2(&mut bytes, 258, Some(7), &body, before);
    let frozen = "0200000000000001020000000000000007000000196dd44829e5fa8457f8c2b3a18bbeeb0895d93cd47cfb5fa987462780604eea56a106a59ffc40420f00fd00401a51a4c10c00010001fc70110100fb2c01";
    assert_eq!(hex(&bytes), frozen);
    let frame = crate::journal::Frame { seq: 258, bytes };
    assert_eq!((frame.link(), frame.event_seq()), (Some(link), Some(7)));
    assert_eq!(before.next(&frame.digest().unwrap()), link);
    let record = frame.record().unwrap();
    assert_eq!((record.seq, record.event_seq, record.at), (258, Some(7), Tick(1_000_000)));
    assert_eq!((record.wall_us, record.body), (1_795_305_600_000_000, inducted()));
    let other = crate::journal::Frame { seq: 259, ..frame };
    assert_eq!(other.record(), Err(DecodeError::Number { expected: 259, came: 258 }));
}

/// Worked out with another program (Python's `hashlib` and `zlib`) from the layout, the body being the one above;
/// never to be changed.
#[test]
fn frozen_bytes_of_record_v3() {
    let body = encode_body(258, 1_795_305_600_000_000, Tick(1_000_000), &inducted()).unwrap();
    let mut bytes = Vec::new();
    let before = Link([0xaa; 32]);
    let about = About { pass: inducted().pass(), run: None };
    let link = frame_v3(&mut bytes, 258, Some(7), &about, &body, before);
    let frozen = "030000000000000102000000000000000700000019bccd6ed82d39d74702d24113665cd675620f4f6eb079c80df8e1cdf24398704552226a9d0770000100011170fc40420f00fd00401a51a4c10c00010001fc70110100fb2c01";
    assert_eq!(hex(&bytes), frozen);
    let frame = crate::journal::Frame { seq: 258, bytes };
    assert_eq!((frame.link(), frame.event_seq()), (Some(link), Some(7)));
    assert_eq!(before.next(&frame.digest().unwrap()), link);
    let record = frame.record().unwrap();
    assert_eq!((record.seq, record.event_seq, record.at), (258, Some(7), Tick(1_000_000)));
    assert_eq!((record.wall_us, record.body), (1_795_305_600_000_000, inducted()));
}

/// Whoever sees only what a record says in public must be able to rely on it.
#[test]
fn a_frame_that_says_it_is_of_another_pass_is_no_record() {
    let body = encode_body(1, 0, Tick(0), &inducted()).unwrap();
    for said in [None, Some(PassKey { epoch: 1, track: 70_001 })] {
        let mut bytes = Vec::new();
        frame_v3(&mut bytes, 1, None, &About { pass: said, run: None }, &body, Link::UNKNOWN);
        assert_eq!(decode(&bytes), Err(DecodeError::About { said, body: inducted().pass() }));
    }
}

/// The same header of two times, then which input, which event, and its fields in order; never to be changed.
#[test]
fn frozen_bytes_of_a_deleted_day() {
    let day = DayDeleted {
        day: "2026-11-22".to_owned(),
        epoch: 1,
        records: (1, 300),
        events: (1, 9),
        why: DeletedFor::Force,
        unacknowledged: 7,
    };
    let body = Body::Input(Input::Event(Event::DayDeleted(day)));
    let bytes = encode_body(258, 1_795_305_600_000_000, Tick(1_000_000), &body).unwrap();
    let times = "fc40420f00fd00401a51a4c10c00";
    let frozen = format!("{times}0000150a323032362d31312d32320101fb2c0101090207");
    assert_eq!(hex(&bytes), frozen);
}

#[test]
fn other_lengths_and_versions_are_refused() {
    let bytes = encode(1, None, 0, Tick(0), &inducted()).unwrap();
    for len in 0..bytes.len() {
        assert!(matches!(decode(&bytes[..len]), Err(DecodeError::Length { .. })), "{len}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(decode(&longer), Err(DecodeError::Length { .. })));
    let mut newer = bytes;
    newer[0] = 4;
    assert_eq!(decode(&newer), Err(DecodeError::Version(4)));
}

/// A body that decodes but has bytes left over is another shape: even with a right CRC it is refused.
#[test]
fn a_body_with_bytes_left_over_is_refused() {
    let mut bytes = encode(1, None, 0, Tick(0), &inducted()).unwrap();
    bytes.push(0);
    let len = u32::try_from(bytes.len() - COMMON_HEADER).unwrap();
    bytes[17..21].copy_from_slice(&len.to_be_bytes());
    let crc = checksum(&bytes);
    bytes[21..25].copy_from_slice(&crc.to_be_bytes());
    assert!(matches!(decode(&bytes), Err(DecodeError::Body(_))));
}

#[test]
fn a_body_beyond_the_limit_is_refused_by_name() {
    let text = "x".repeat(RECORD_LIMIT);
    let body = Body::Fact(Fact::AlarmCleared { id: text });
    assert!(matches!(encode(9, None, 0, Tick(0), &body), Err(EncodeError::TooLarge { seq: 9, .. })));
    let why = encode(9, None, 0, Tick(0), &body).unwrap_err();
    let entry = stand_in(9, Tick(5), &why);
    assert!(encode(9, None, 0, Tick(5), &entry.body).unwrap().len() < 1_000);
}

proptest! {
    #[test]
    fn what_is_written_is_read_and_every_flipped_bit_is_noticed(
        seq in 1_u64.., event in proptest::option::of(1_u64..), wall_us: i64, at: u64, text in ".{0,60}",
        track: u32, rssi: Option<i16>,
    ) {
        let body = Body::Fact(Fact::Tied {
            pass: PassKey { epoch: 3, track },
            reader: ReaderId(2),
            reading: Reading::Barcode { aim: None, text },
            rssi_dbm: rssi,
        });
        let chained = {
            let (encoded, mut bytes) = (encode_body(seq, wall_us, Tick(at), &body).unwrap(), Vec::new());
            frame_v2(&mut bytes, seq, event, &encoded, Link::UNKNOWN);
            bytes
        };
        let outlined = {
            let (encoded, mut bytes) = (encode_body(seq, wall_us, Tick(at), &body).unwrap(), Vec::new());
            frame_v3(&mut bytes, seq, event, &About { pass: body.pass(), run: None }, &encoded, Link::UNKNOWN);
            bytes
        };
        for bytes in [encode(seq, event, wall_us, Tick(at), &body).unwrap(), chained, outlined] {
        prop_assert_eq!(total_len(&bytes).unwrap(), bytes.len());
        let body = body.clone();
        let expected = Record { seq, at: Tick(at), wall_us, event_seq: event, body };
        prop_assert_eq!(decode(&bytes).unwrap(), expected);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(&bad).is_err(), "bit {}", bit);
        }
        }
    }
}
