//! Anchors: signed checkpoints of the chain.
//!
//! An anchor says: *at this wall time record `seq` of this line's store was durable, and the chain up to and
//! with it had this link*. The signature is the line's; what is published cannot be taken back. Whoever has
//! an anchor can tell whether the records up to it are those that were there then.
//!
//! # What is signed: `sortd-anchor-v1`
//!
//! ```text
//! "sortd-anchor-v1\0"                                  16 bytes; keeps it from being taken for anything else
//! number u64 | epoch u64 | seq u64 | event seq u64 | link [32] | wall clock i64, Unix µs
//! public key [32] | key id of the previous key [8], zeroes where the key did not change
//! length of site u8 | site | length of line u8 | line  UTF-8
//! ```
//! Numbers are big-endian; event seq 0 means that the epoch has no milestone yet. The signature is Ed25519
//! (RFC 8032) over these bytes. Stored, they stand as they are with the 64 bytes of the signature behind.
//!
//! Anchors are numbered without gap, so that one that is missing is missed. The first anchor of a new key
//! names the key before it.
//!
//! A change of shape is a version 2 beside this one, never an edit. Nothing here reads a file or a clock.

use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::chain::Link;
use super::signing::{KeyId, PublicKey, SigningKey, unhex};

/// First bytes of what is signed.
const DOMAIN: &[u8; 16] = b"sortd-anchor-v1\0";
/// How the signed bytes are made, as a published anchor names it.
pub const CANONICAL: &str = "sortd-anchor-v1";
/// How they are signed, as a published anchor names it.
pub const ALGORITHM: &str = "Ed25519";
/// Bytes of an anchor before the names of site and line.
const FIXED: usize = 16 + 4 * 8 + 32 + 8 + 32 + 8;
const SIGNATURE: usize = 64;
/// Largest stored anchor: both names as long as they can be.
pub const ANCHOR_LIMIT: usize = FIXED + 2 * 256 + SIGNATURE;

/// A signed checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// What is signed.
    pub claim: Claim,
    /// Ed25519 over the canonical bytes of the claim.
    pub signature: [u8; SIGNATURE],
}

/// What an anchor says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Gap-free number of the anchor, from 1, over the whole store.
    pub number: u64,
    /// Store epoch.
    pub epoch: u64,
    /// Last durable record.
    pub seq: u64,
    /// Last milestone of the epoch among the records up to it; 0 before the first.
    pub event_seq: u64,
    /// The chain up to and with it.
    pub link: Link,
    /// Wall clock, Unix microseconds.
    pub wall_us: i64,
    /// The key that signs.
    pub public_key: PublicKey,
    /// The key before it, where this is the first anchor of a new key.
    pub previous_key: Option<KeyId>,
    /// Site.
    pub site: String,
    /// Line.
    pub line: String,
}

/// Why bytes or a document are no anchor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    /// Too short, too long, or of another version.
    #[error("{bytes} bytes that are no anchor of {CANONICAL}")]
    Shape {
        /// How many came.
        bytes: usize,
    },
    /// A field of a document.
    #[error("{field}: {expected} expected, {came:?} came")]
    Field {
        /// Its name.
        field: &'static str,
        /// What was expected.
        expected: &'static str,
        /// What came.
        came: String,
    },
    /// A name that does not fit.
    #[error("{field}: {bytes} bytes, at most 255 are signed")]
    Name {
        /// `site` or `line`.
        field: &'static str,
        /// Its length.
        bytes: usize,
    },
}

impl Claim {
    /// The bytes that are signed.
    pub fn canonical(&self) -> Result<Vec<u8>, AnchorError> {
        let mut bytes = Vec::with_capacity(FIXED + 64 + SIGNATURE);
        bytes.extend_from_slice(DOMAIN);
        for number in [self.number, self.epoch, self.seq, self.event_seq] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&self.link.0);
        bytes.extend_from_slice(&self.wall_us.to_be_bytes());
        bytes.extend_from_slice(&self.public_key.0);
        bytes.extend_from_slice(&self.previous_key.map_or([0; 8], |key| key.0));
        for (field, name) in [("site", &self.site), ("line", &self.line)] {
            let length = u8::try_from(name.len());
            bytes.push(length.map_err(|_| AnchorError::Name { field, bytes: name.len() })?);
            bytes.extend_from_slice(name.as_bytes());
        }
        Ok(bytes)
    }

    /// Signs it; the claim's public key must be the signing key's.
    pub fn sign(self, key: &SigningKey) -> Result<Anchor, AnchorError> {
        let signature = key.sign(&self.canonical()?);
        Ok(Anchor { claim: self, signature })
    }
}

impl Anchor {
    /// Short name of the key that signed.
    pub fn key_id(&self) -> KeyId {
        self.claim.public_key.id()
    }

    /// Whether the signature is over this claim by the key it names. Whether that key is the line's is
    /// another question: pin it.
    pub fn is_genuine(&self) -> bool {
        let canonical = self.claim.canonical();
        canonical.is_ok_and(|bytes| self.claim.public_key.verifies(&bytes, &self.signature))
    }

    /// The stored form: canonical bytes and signature.
    pub fn encode(&self) -> Result<Vec<u8>, AnchorError> {
        let mut bytes = self.claim.canonical()?;
        bytes.extend_from_slice(&self.signature);
        Ok(bytes)
    }

    /// From the stored form. The signature is not checked here.
    pub fn decode(bytes: &[u8]) -> Result<Anchor, AnchorError> {
        parse(bytes).ok_or(AnchorError::Shape { bytes: bytes.len() })
    }

    /// As it is published.
    pub fn document(&self) -> Document {
        let claim = &self.claim;
        Document {
            canonical: CANONICAL.to_owned(),
            algorithm: ALGORITHM.to_owned(),
            number: claim.number,
            site: claim.site.clone(),
            line: claim.line.clone(),
            epoch: claim.epoch,
            seq: claim.seq,
            event_seq: claim.event_seq,
            link: claim.link.to_string(),
            time: rfc3339(claim.wall_us),
            key_id: self.key_id().to_string(),
            previous_key: claim.previous_key.map(|key| key.to_string()),
            public_key: claim.public_key.base64(),
            signature: BASE64.encode(self.signature),
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Anchor> {
    struct Rest<'a>(&'a [u8]);
    impl<'a> Rest<'a> {
        fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
            let (taken, rest) = self.0.split_at_checked(length)?;
            self.0 = rest;
            Some(taken)
        }
        fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
            self.slice(N)?.try_into().ok()
        }
        fn number(&mut self) -> Option<u64> {
            self.array().map(u64::from_be_bytes)
        }
        fn name(&mut self) -> Option<String> {
            let length = usize::from(self.array::<1>()?[0]);
            String::from_utf8(self.slice(length)?.to_vec()).ok()
        }
    }
    let mut rest = Rest(bytes.strip_prefix(DOMAIN)?);
    let claim = Claim {
        number: rest.number()?,
        epoch: rest.number()?,
        seq: rest.number()?,
        event_seq: rest.number()?,
        link: Link(rest.array()?),
        wall_us: rest.array().map(i64::from_be_bytes)?,
        public_key: PublicKey(rest.array()?),
        previous_key: rest.array().map(|id| (id != [0; 8]).then_some(KeyId(id)))?,
        site: rest.name()?,
        line: rest.name()?,
    };
    let signature = rest.array()?;
    rest.0.is_empty().then_some(Anchor { claim, signature })
}

/// An anchor as JSON: on the topic `anchors`, in answers of the daemon, and in claim bundles. The schema is
/// printed by `sortd schema anchors`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// How the signed bytes are made: [`CANONICAL`].
    pub canonical: String,
    /// How they are signed: [`ALGORITHM`].
    pub algorithm: String,
    /// Gap-free number of the anchor.
    pub number: u64,
    /// Site.
    pub site: String,
    /// Line.
    pub line: String,
    /// Store epoch.
    pub epoch: u64,
    /// Last durable record.
    pub seq: u64,
    /// Last milestone of the epoch up to it; 0 before the first.
    pub event_seq: u64,
    /// The chain up to and with the record, hexadecimal.
    pub link: String,
    /// Wall clock, RFC 3339 in UTC, to the microsecond.
    pub time: String,
    /// Short name of the key.
    pub key_id: String,
    /// Short name of the key before it, on the first anchor of a new key.
    pub previous_key: Option<String>,
    /// The key, base64.
    pub public_key: String,
    /// The signature, base64.
    pub signature: String,
}

impl TryFrom<&Document> for Anchor {
    type Error = AnchorError;

    fn try_from(document: &Document) -> Result<Anchor, AnchorError> {
        let field =
            |field, expected, came: &str| AnchorError::Field { field, expected, came: came.to_owned() };
        if document.canonical != CANONICAL {
            return Err(field("canonical", CANONICAL, &document.canonical));
        }
        if document.algorithm != ALGORITHM {
            return Err(field("algorithm", ALGORITHM, &document.algorithm));
        }
        let link =
            unhex(&document.link).ok_or_else(|| field("link", "64 hexadecimal digits", &document.link));
        let key = BASE64.decode(&document.public_key).ok().and_then(|key| key.try_into().ok());
        let key = key.ok_or_else(|| field("public_key", "base64 of 32 bytes", &document.public_key))?;
        let signature = BASE64.decode(&document.signature).ok().and_then(|bytes| bytes.try_into().ok());
        let time = jiff::Timestamp::from_str(&document.time);
        let time = time.map_err(|_| field("time", "RFC 3339", &document.time))?;
        let previous = document
            .previous_key
            .as_deref()
            .map(|text| text.parse().map_err(|_| field("previous_key", "16 hexadecimal digits", text)));
        let claim = Claim {
            number: document.number,
            epoch: document.epoch,
            seq: document.seq,
            event_seq: document.event_seq,
            link: Link(link?),
            wall_us: time.as_microsecond(),
            public_key: PublicKey(key),
            previous_key: previous.transpose()?,
            site: document.site.clone(),
            line: document.line.clone(),
        };
        let signature =
            signature.ok_or_else(|| field("signature", "base64 of 64 bytes", &document.signature))?;
        let anchor = Anchor { claim, signature };
        // The fields that only repeat others must not say something else to whoever reads only them.
        if anchor.document() != *document {
            return Err(field("key_id, time or link", "the same as in the signed claim", &document.key_id));
        }
        Ok(anchor)
    }
}

fn rfc3339(wall_us: i64) -> String {
    // A clock outside of years −9999 to 9999 is broken; the claim is signed with it all the same.
    jiff::Timestamp::from_microsecond(wall_us).map_or_else(|_| wall_us.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn key() -> SigningKey {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seed");
        std::fs::write(&path, [7; 32]).unwrap();
        SigningKey::read(&path).unwrap()
    }

    fn claim(key: &SigningKey) -> Claim {
        Claim {
            number: 3,
            epoch: 1_795_305_600,
            seq: 4_711,
            event_seq: 99,
            link: Link([0xab; 32]),
            wall_us: 1_795_312_984_000_001,
            public_key: key.public(),
            previous_key: Some(KeyId([1, 2, 3, 4, 5, 6, 7, 8])),
            site: "dongguan".to_owned(),
            line: "line-1".to_owned(),
        }
    }

    #[test]
    fn an_anchor_survives_both_forms_and_every_changed_byte_shows() {
        let key = key();
        for previous_key in [None, Some(KeyId([9; 8]))] {
            let anchor = Claim { previous_key, ..claim(&key) }.sign(&key).unwrap();
            assert!(anchor.is_genuine());
            let stored = anchor.encode().unwrap();
            assert!(stored.len() <= ANCHOR_LIMIT);
            assert_eq!(Anchor::decode(&stored).as_ref(), Ok(&anchor));
            for place in 0..stored.len() {
                let mut other = stored.clone();
                other[place] ^= 1;
                let genuine = Anchor::decode(&other).is_ok_and(|anchor| anchor.is_genuine());
                assert!(!genuine, "byte {place}");
                assert!(Anchor::decode(&stored[..place]).is_err(), "cut to {place}");
            }
            let json = serde_json::to_string(&anchor.document()).unwrap();
            let document: Document = serde_json::from_str(&json).unwrap();
            assert_eq!(Anchor::try_from(&document).as_ref(), Ok(&anchor));
        }
    }

    #[test]
    fn a_document_cannot_say_two_things() {
        let key = key();
        let good = claim(&key).sign(&key).unwrap().document();
        let bad = [
            Document { key_id: "0000000000000000".to_owned(), ..good.clone() },
            Document { canonical: "sortd-anchor-v2".to_owned(), ..good.clone() },
            Document { algorithm: "none".to_owned(), ..good.clone() },
            Document { link: "ab".to_owned(), ..good.clone() },
            Document { link: good.link.to_uppercase(), ..good.clone() },
            Document { time: "yesterday".to_owned(), ..good.clone() },
            Document { time: good.time.replace('Z', "+00:00"), ..good.clone() },
            Document { public_key: "AAAA".to_owned(), ..good.clone() },
            Document { signature: String::new(), ..good.clone() },
            Document { previous_key: Some("x".to_owned()), ..good.clone() },
        ];
        for document in bad {
            assert!(Anchor::try_from(&document).is_err(), "{document:?}");
        }
        let later = Document { seq: good.seq + 1, ..good };
        assert!(!Anchor::try_from(&later).unwrap().is_genuine());
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused_not_cut() {
        let key = key();
        let long = Claim { site: "x".repeat(256), ..claim(&key) };
        assert_eq!(long.sign(&key), Err(AnchorError::Name { field: "site", bytes: 256 }));
    }

    /// The layout in the module's text, and a signature that Python's `cryptography` gave; never to be changed.
    #[test]
    fn frozen_bytes() {
        let key = key();
        let anchor = claim(&key).sign(&key).unwrap();
        assert_eq!(hex(&anchor.claim.canonical().unwrap()), FROZEN);
        assert_eq!(hex(&anchor.signature), FROZEN_SIGNATURE);
    }

    const FROZEN: &str = "736f7274642d616e63686f722d7631000000000000000003000000006b02308000000000000012670000000000\
        000063abababababababababababababababababababababababababababababababab000660d3e0ac0601ea4a\
        6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c010203040506070808646f6e676775\
        616e066c696e652d31";
    const FROZEN_SIGNATURE: &str = "e7d305f381e7e33709163de257b2051983d933610562b747c9994c1cc24944c226932570abcb607abe2e9a4a86\
        79487d893d366115714aabd233010401a6ac07";
}
