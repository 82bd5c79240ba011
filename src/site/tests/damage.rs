//! Files as a bad disk or a bad editor leaves them.

use proptest::prelude::*;

use super::*;

/// What a mutation does to a file.
#[derive(Debug, Clone)]
enum Damage {
    Cut(usize),
    Replace(usize, Vec<u8>),
    Insert(usize, Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    let bytes = || {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 1..4),
            // What TOML and CSV are sensitive to.
            prop::sample::select(vec![
                "[", "]", "[[", "\"", "'", "=", ",", "\n", "#", "\u{feff}", "é", "-", "1e9", "\"\"\"", "{"
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
        ]
    };
    prop_oneof![
        any::<usize>().prop_map(Damage::Cut),
        (any::<usize>(), bytes()).prop_map(|(at, bytes)| Damage::Replace(at, bytes)),
        (any::<usize>(), bytes()).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// A damaged file is accepted or refused with places inside the file, and never a panic.
    #[test]
    fn no_damage_panics(file in 0..FILES.len(), damage in damage()) {
        let copy = Copy::new();
        let mut bytes = copy.text(FILES[file]).into_bytes();
        match damage {
            Damage::Cut(at) => bytes.truncate(at % bytes.len()),
            Damage::Replace(at, with) => {
                let at = at % bytes.len();
                let end = (at + with.len()).min(bytes.len());
                bytes.splice(at..end, with);
            }
            Damage::Insert(at, with) => {
                let at = at % bytes.len();
                bytes.splice(at..at, with);
            }
        }
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
        copy.write(FILES[file], &bytes);
        if let Err(findings) = copy.load() {
            prop_assert!(findings.iter().any(|finding| finding.severity == Severity::Error));
            for finding in findings.iter().filter(|finding| file_name(finding) == FILES[file]) {
                prop_assert!(finding.line as usize <= lines && finding.column >= 1, "{finding:?}");
                prop_assert!(!finding.expected.is_empty() && !finding.remedy.is_empty(), "{finding:?}");
            }
        }
    }
}
