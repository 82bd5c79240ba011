//! Stored shapes, byte for byte, worked out by hand from their layouts; never to be changed, only joined by
//! those of a next version.

use super::super::day::{self, Begin, SpanSlip};
use super::super::opening::Checkpoint;
use super::super::slip;
use super::*;

const EPOCH: u64 = 1_795_305_600;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn written<T: Serialize>(content: &T) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("slip");
    slip::write(&path, content).unwrap();
    hex(&std::fs::read(&path).unwrap())
}

#[test]
fn frozen_bytes_of_the_small_files() {
    let checkpoint = Checkpoint {
        epoch: EPOCH,
        last_seq: 70_000,
        last_event: 300,
        orders_applied: 69_999,
        orders_after: 69_998,
    };
    assert_eq!(
        written(&checkpoint),
        "534f5254534c495001000000170e7ce699fc8030026bfc70110100fb2c01fc6f110100fc6e110100"
    );
    assert_eq!(
        written(&Cursor { epoch: EPOCH, acked: 300 }),
        "534f5254534c4950010000000851f5b4f3fc8030026bfb2c01"
    );
    let begin = Begin { epoch: EPOCH, first_seq: 1, first_event: 1 };
    let sealed = SpanSlip { begin, sealed: Some((70_000, 300)) };
    assert_eq!(written(&sealed), "534f5254534c49500100000010e6bf4660fc8030026b010101fc70110100fb2c01");
    let open = SpanSlip { begin, sealed: None };
    assert_eq!(written(&open), "534f5254534c49500100000008be8b288cfc8030026b010100");
}

#[test]
fn frozen_bytes_of_a_days_head() {
    let head = day::encode_head(Begin { epoch: EPOCH, first_seq: 258, first_event: 7 });
    assert_eq!(hex(&head), "01000000006b02308000000000000001020000000000000007b3bf0ace");
}

#[test]
fn starts_are_counted_and_a_damaged_count_still_gives_a_new_number() {
    let directory = tempfile::tempdir().unwrap();
    for boot in 1..=3 {
        assert_eq!(next_boot(directory.path()).unwrap(), boot);
    }
    std::fs::write(directory.path().join("boots"), b"nonsense").unwrap();
    let boot = next_boot(directory.path()).unwrap();
    assert!(boot > 1_000_000_000);
    assert_eq!(next_boot(directory.path()).unwrap(), boot + 1);
}
