//! What an examination finds.

use serde::{Deserialize, Serialize};

/// The five cases. Only [`Verdict::Intact`] without findings is a clean store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Every record is the one that was written, as far as the chain and the anchors say.
    Intact,
    /// Record `seq` is not the one that was written, or is not there though later ones are.
    AlteredAt {
        /// First record that is not right.
        seq: u64,
        /// What was expected and what came.
        what: String,
    },
    /// The records end before their end.
    Truncated {
        /// Last record that is there.
        last: u64,
        /// Record that is known to have been durable.
        expected: u64,
        /// Who knows it.
        witness: String,
    },
    /// The records from `from` to the end do not hang on the chain, and no anchor speaks of them.
    UnchainedTail {
        /// First of them.
        from: u64,
    },
    /// The chain agrees with itself, but not with what was signed: everything was made anew from some record
    /// on, or the anchor was.
    AnchorMismatch {
        /// Number of the anchor.
        number: u64,
        /// Record it speaks of.
        seq: u64,
        /// Last record that an earlier anchor proves; the first one that is not right follows it.
        after: u64,
        /// What was expected and what came.
        what: String,
    },
}

/// Where the first record that is not right is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bad {
    /// Record number.
    pub seq: u64,
    /// Day it stands, or should stand, in.
    pub day: Option<String>,
    /// Wall clock of the record, or of the last one before it that is right, Unix microseconds.
    pub wall_us: Option<i64>,
}

/// What an examination found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The case.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The first record that is not right.
    pub bad: Option<Bad>,
    /// What else is not as it should be, one sentence each.
    pub findings: Vec<String>,
    /// What is worth knowing and no fault, one sentence each.
    pub notes: Vec<String>,
    /// Records examined.
    pub records: u64,
    /// First record that is kept.
    pub first_seq: Option<u64>,
    /// Last record.
    pub last_seq: Option<u64>,
    /// First record that is chained; those before it were written before there was a chain.
    pub chained_from: Option<u64>,
    /// Days examined.
    pub days: u64,
    /// Anchors in the store.
    pub anchors: u64,
    /// Anchors whose records are kept and that say the same as the chain.
    pub anchors_agree: u64,
    /// Last record that such an anchor proves.
    pub proven_to: Option<u64>,
    /// Short names of the keys that signed them, in order of appearance.
    pub keys: Vec<String>,
}

impl Report {
    /// Intact, and nothing else is wrong.
    pub fn is_clean(&self) -> bool {
        self.verdict == Verdict::Intact && self.findings.is_empty()
    }
}
