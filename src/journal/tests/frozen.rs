//! Stored shapes, byte for byte, worked out by hand from their layouts; never to be changed, only joined by
//! those of a next version.

use super::super::chain::Link;
use super::super::day::{self, Begin, Sealed, SpanSlip};
use super::super::opening::Checkpoint;
use super::super::signed::Signed;
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
    let signed = Signed { number: 27, epoch: EPOCH, seq: 70_000 };
    assert_eq!(written(&signed), "534f5254534c4950010000000b4215b3691bfc8030026bfc70110100");
    assert_eq!(
        written(&Cursor { epoch: EPOCH, acked: 300 }),
        "534f5254534c4950010000000851f5b4f3fc8030026bfb2c01"
    );
}

fn span_written(slip: SpanSlip) -> String {
    let directory = tempfile::tempdir().unwrap();
    slip.write(directory.path()).unwrap();
    assert_eq!(day::read_span(directory.path()).unwrap(), Some(slip));
    hex(&std::fs::read(directory.path().join("span")).unwrap())
}

#[test]
fn frozen_bytes_of_a_days_span() {
    let begin = Begin { epoch: EPOCH, first_seq: 1, first_event: 1 };
    let end = |link| Some(Sealed { last_seq: 70_000, last_event: 300, link });
    let v1 = |sealed| span_written(SpanSlip { begin, before: None, sealed });
    assert_eq!(v1(end(None)), "534f5254534c49500100000010e6bf4660fc8030026b010101fc70110100fb2c01");
    assert_eq!(v1(None), "534f5254534c49500100000008be8b288cfc8030026b010100");
    let (a, b) = (Link([0xaa; 32]), Link([0xbb; 32]));
    let v2 = |sealed| span_written(SpanSlip { begin, before: Some(a), sealed });
    let body = |rest: &str| format!("fc8030026b0101{}{rest}", "aa".repeat(32));
    let sealed = body(&format!("01fc70110100fb2c01{}", "bb".repeat(32)));
    assert_eq!(v2(end(Some(b))), format!("534f5254534c495002000000{:02x}51d88b8a{sealed}", sealed.len() / 2));
    let open = body("00");
    assert_eq!(v2(None), format!("534f5254534c495002000000{:02x}c8d4cb7a{open}", open.len() / 2));
}

#[test]
fn frozen_bytes_of_a_days_head() {
    let begin = Begin { epoch: EPOCH, first_seq: 258, first_event: 7 };
    let head = day::encode_head(begin, None);
    assert_eq!(hex(&head), "01000000006b02308000000000000001020000000000000007b3bf0ace");
    let head = day::encode_head(begin, Some(Link([0xaa; 32])));
    let numbers = "02000000006b02308000000000000001020000000000000007";
    assert_eq!(hex(&head), format!("{numbers}{}e1ea9749", "aa".repeat(32)));
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
