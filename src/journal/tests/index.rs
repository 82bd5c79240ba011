use rand::{Rng, SeedableRng};

use super::*;

/// Few hashes, so that some have more records than a page holds, and the largest there is.
fn mentions(count: u32) -> Vec<Mention> {
    let mut random = rand::rngs::StdRng::seed_from_u64(7);
    let hash = |random: &mut rand::rngs::StdRng| match random.random_range(0..4) {
        0 => 7,
        1 => u32::MAX,
        2 => random.random_range(0..50),
        _ => random.random(),
    };
    (0..count).map(|offset| (hash(&mut random), offset)).collect()
}

fn expected(mentions: &[Mention], hash: u32, max: usize) -> Vec<u32> {
    mentions.iter().rev().filter(|mention| mention.0 == hash).map(|mention| mention.1).take(max).collect()
}

#[test]
fn what_is_mentioned_is_found_in_memory_and_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index");
    for count in [0, 1, 510, 511, 512, 40_000] {
        let mentions = mentions(count);
        let mut index = Index::default();
        mentions.iter().for_each(|mention| index.add(*mention));
        let loaded = Index::of(mentions.clone());
        write(&path, 100, 100_000, &mentions).unwrap();
        let known = mentions.iter().map(|mention| mention.0).take(300);
        for hash in known.chain([0, 7, 49, 12_345, u32::MAX - 1, u32::MAX]) {
            for max in [1, 100, usize::MAX] {
                let expected = expected(&mentions, hash, max);
                assert_eq!(index.find(hash, max), expected, "{count} {hash}");
                assert_eq!(loaded.find(hash, max), expected, "{count} {hash}");
                assert_eq!(find(&path, 100, 100_000, hash, max).unwrap(), expected, "{count} {hash}");
            }
        }
        assert!(matches!(find(&path, 101, 100_000, 7, 1), Err(IndexError::Damaged(_))));
        assert!(matches!(find(&path, 100, 100_001, 7, 1), Err(IndexError::Damaged(_))));
    }
}

/// Worked out with another program from the layout; never to be changed.
#[test]
fn frozen_bytes_of_an_index_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index");
    write(&path, 258, 70_000, &[(0x0a0b_0c0d, 5), (1, 7)]).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len(), 2 * PAGE);
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    assert_eq!(
        hex(&bytes[..HEAD]),
        "534f5254494e445801000000000000010200000000000111700000000000000002cd6246d9"
    );
    assert!(bytes[HEAD..PAGE].iter().all(|byte| *byte == 0));
    assert_eq!(hex(&bytes[PAGE..PAGE + 24]), "dad3ee820000000100000001000000070a0b0c0d00000005");
    assert!(bytes[PAGE + 24..].iter().all(|byte| *byte == 0xff));
}

#[test]
fn every_flipped_byte_that_is_read_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index");
    let mentions = mentions(2_000);
    write(&path, 1, 2_000, &mentions).unwrap();
    let good = std::fs::read(&path).unwrap();
    for at in (0..good.len()).step_by(3) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&path, &bad).unwrap();
        // A page that is not read is not noticed, and gives nothing wrong.
        if let Ok(found) = find(&path, 1, 2_000, 7, usize::MAX) {
            assert_eq!(found, expected(&mentions, 7, usize::MAX), "byte {at}");
        }
    }
}
