use super::*;
use crate::journal::chain::Link;
use crate::journal::keys;
use crate::line::record::{Body, Fact};
use crate::line::{PassKey, Tick};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn add(block: &mut Block, seq: u64, event: Option<u64>) {
    let pass = PassKey { epoch: 1, track: u32::try_from(seq).unwrap() };
    let body = Body::Fact(Fact::Inducted { pass, length_mm: 300 });
    let encoded = record::encode_body(seq, 0, Tick(seq), &body).unwrap();
    let mut frame = Vec::new();
    record::frame_v2(&mut frame, seq, event, &encoded, Link::UNKNOWN);
    let mut mentions = Vec::new();
    keys::add_mentions(&mut mentions, &body);
    block.push(&frame, event.is_some(), &mentions);
}

fn block() -> Block {
    let mut block = Block::begin(10, 4);
    for seq in 10..20 {
        add(&mut block, seq, (seq % 2 == 0).then_some(4 + (seq - 10) / 2));
    }
    block
}

/// Worked out with another program from the layout; never to be changed.
#[test]
fn frozen_bytes_of_a_block() {
    let mut block = Block::begin(258, 7);
    block.push(b"", false, &[0x0102_0304]);
    assert_eq!(
        hex(&block.encode()),
        "0100000000000001020000000000000007000100010000000028647c07010203040000"
    );
}

#[test]
fn a_block_comes_back_and_is_cut_where_asked() {
    let mut block = block();
    assert_eq!((block.next_seq(), block.next_event()), (20, 9));
    assert_eq!(Block::decode(&block.encode()).unwrap(), block);
    assert_eq!(record::decode(block.frame(13).unwrap()).unwrap().seq, 13);
    assert!(block.frame(9).is_none() && block.frame(20).is_none());
    assert_eq!(block.mentions().map(|(_, seq)| seq).collect::<Vec<_>>(), (10..20).collect::<Vec<_>>());
    block.truncate(14);
    let mut shorter = Block::begin(10, 4);
    for seq in 10..14 {
        add(&mut shorter, seq, (seq % 2 == 0).then_some(4 + (seq - 10) / 2));
    }
    assert_eq!(block, shorter);
    block.truncate(10);
    assert_eq!(block, Block::begin(10, 4));
}

/// Whatever is flipped or cut: the block is refused, or the frame that was hit is.
#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let good = block().encode();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let noticed = match Block::decode(&bad) {
            Ok(block) => {
                let right =
                    |(seq, frame): (u64, &[u8])| record::check(frame).is_ok_and(|head| head.seq == seq);
                !block.frames().all(right)
            }
            Err(_) => true,
        };
        assert!(noticed, "bit {bit}");
    }
    for len in 0..good.len() {
        assert!(Block::decode(&good[..len]).is_err(), "cut to {len}");
    }
}
