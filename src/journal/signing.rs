//! The key that signs anchors.
//!
//! Ed25519. The private half comes from, in this order:
//!
//! 1. the file that `[store] signing-key-file` names,
//! 2. the systemd credential `sortd-signing-key` (`$CREDENTIALS_DIRECTORY/sortd-signing-key`),
//! 3. `signing-key.pem` in the store, made at the first start and readable by its owner only.
//!
//! Invariants:
//!
//! - A key that is named or present and cannot be read or understood is an error with its path; it is never
//!   replaced, and no other key is taken in its place.
//! - A key of which the public half is still there and the private half is gone is missing, and not replaced either:
//!   a person puts it back, or puts the public half aside and so asks for a new one.
//! - What was made is synced before it signs anything, so that no anchor outlives its key.
//! - The public half stands in `signing-key.pub` of the store, as `openssl pkey -pubin` reads it. That of a key before
//!   it is kept as `signing-key-<id>.pub`.
//!
//! A private key is PKCS#8, PEM or DER (`openssl genpkey -algorithm ed25519`), or a seed of 32 bytes. Its
//! *id* is the first 16 hexadecimal digits of SHA-256 over the 32 bytes of the public key.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use sha2::{Digest, Sha256};

use super::slip;

/// Name of the systemd credential.
pub const CREDENTIAL: &str = "sortd-signing-key";
/// The store's own key.
const OWN: &str = "signing-key.pem";
/// The public half of the key in force.
pub const PUBLIC: &str = "signing-key.pub";

/// An Ed25519 private key as PKCS#8 is these bytes (RFC 8410 section 7) and the seed.
const PRIVATE_PREFIX: [u8; 16] = *b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
/// An Ed25519 public key as `SubjectPublicKeyInfo` is these bytes (RFC 8410 section 4) and the key.
const PUBLIC_PREFIX: [u8; 12] = *b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
/// No key file is larger.
const KEY_FILE_LIMIT: u64 = 16_384;

/// Short name of a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for KeyId {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<KeyId, NotAKey> {
        unhex(text).map(KeyId).ok_or(NotAKey("a key id has 16 hexadecimal digits"))
    }
}

/// Hexadecimal text as exactly `N` bytes.
pub(super) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    for (place, byte) in bytes.iter_mut().enumerate() {
        let digits = &text[2 * place..2 * place + 2];
        // A sign would be read as part of a number.
        let digits = digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(digits)?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(bytes)
}

/// What came instead of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAKey(&'static str);

/// A public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Its short name.
    pub fn id(&self) -> KeyId {
        let digest: [u8; 32] = Sha256::digest(self.0).into();
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        KeyId(id)
    }

    /// Whether `signature` is over `bytes` by the private half.
    pub fn verifies(&self, bytes: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(bytes, signature).is_ok()
    }

    /// As a PEM file.
    pub fn pem(&self) -> String {
        pem("PUBLIC KEY", &[&PUBLIC_PREFIX[..], &self.0].concat())
    }

    /// Base64 of its 32 bytes.
    pub fn base64(&self) -> String {
        BASE64.encode(self.0)
    }

    /// From a file's content: PEM, DER, 32 bytes, or one line of base64 or hexadecimal digits.
    pub fn parse(content: &[u8]) -> Result<PublicKey, NotAKey> {
        let der = unpem(content, "PUBLIC KEY");
        let bytes = der.as_deref().unwrap_or(content);
        if let Some(key) = bytes.strip_prefix(&PUBLIC_PREFIX) {
            let key = key.try_into().map_err(|_| NotAKey("an Ed25519 public key has 32 bytes"))?;
            return Ok(PublicKey(key));
        }
        if let Ok(key) = bytes.try_into() {
            return Ok(PublicKey(key));
        }
        let line = std::str::from_utf8(bytes).map_or("", str::trim);
        let key = unhex(line).or_else(|| BASE64.decode(line).ok()?.try_into().ok());
        key.map(PublicKey).ok_or(NotAKey("no Ed25519 public key (PEM, DER, base64 or 64 hexadecimal digits)"))
    }
}

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The file cannot be read.
    #[error("the signing key {path} cannot be read: {source}")]
    Unreadable {
        /// File.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("{path} is no Ed25519 private key: {what}; it is left as it is")]
    NotAKey {
        /// File.
        path: PathBuf,
        /// What was expected and what came.
        what: String,
    },
    /// The private half is gone.
    #[error("the signing key {path} is gone, and {public} is still there: a key is never replaced by itself")]
    Gone {
        /// Where it stood.
        path: PathBuf,
        /// Its public half.
        public: PathBuf,
    },
    /// The store's own key cannot be made.
    #[error("no signing key can be made at {path}: {source}")]
    NotMade {
        /// File.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system has no randomness to make a key of.
    #[error("the system gives no random numbers to make a signing key of")]
    NoRandomness,
    /// The public half cannot be written.
    #[error("the public key cannot be written: {0}")]
    Public(#[from] super::SlipError),
}

/// The private key.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public.id())
    }
}

impl SigningKey {
    /// The key of the store in `directory`, made where there is none; `configured` is the file that the
    /// configuration names. The public half is written beside the store's own.
    pub fn open(directory: &Path, configured: Option<&Path>) -> Result<SigningKey, SigningError> {
        let key = match configured.map(Path::to_owned).or_else(credential) {
            Some(path) => SigningKey::read(&path)?,
            None => {
                let own = directory.join(OWN);
                match SigningKey::read(&own) {
                    Err(SigningError::Unreadable { source, .. })
                        if source.kind() == std::io::ErrorKind::NotFound =>
                    {
                        let public = directory.join(PUBLIC);
                        if public.exists() {
                            return Err(SigningError::Gone { path: own, public });
                        }
                        make(&own)?;
                        SigningKey::read(&own)?
                    }
                    other => other?,
                }
            }
        };
        let path = directory.join(PUBLIC);
        let pem = key.public.pem();
        if fs::read_to_string(&path).ok().as_ref() != Some(&pem) {
            keep_before(directory, &path)?;
            slip::write_plain(&path, pem.as_bytes())?;
        }
        Ok(key)
    }

    /// From a file.
    pub fn read(path: &Path) -> Result<SigningKey, SigningError> {
        let unreadable = |source| SigningError::Unreadable { path: path.to_owned(), source };
        let not_a_key = |what: String| SigningError::NotAKey { path: path.to_owned(), what };
        let length = fs::metadata(path).map_err(unreadable)?.len();
        if length > KEY_FILE_LIMIT {
            return Err(not_a_key(format!("{length} bytes, at most {KEY_FILE_LIMIT} are read")));
        }
        SigningKey::parse(&fs::read(path).map_err(unreadable)?).map_err(not_a_key)
    }

    /// From a file's content.
    fn parse(content: &[u8]) -> Result<SigningKey, String> {
        let der = unpem(content, "PRIVATE KEY");
        let bytes = der.as_deref().unwrap_or(content);
        let pair = match bytes.len() {
            32 => Ed25519KeyPair::from_seed_unchecked(bytes),
            _ => Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes),
        };
        let pair = pair.map_err(|error| format!("PKCS#8 or a seed of 32 bytes expected ({error})"))?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| "a public key has 32 bytes")?;
        Ok(SigningKey { pair, public: PublicKey(public) })
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs.
    pub fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(bytes).as_ref());
        signature
    }
}

/// Keeps the public half of the key before under its own name: it proves what that key has signed.
fn keep_before(directory: &Path, path: &Path) -> Result<(), SigningError> {
    let Some(before) = fs::read(path).ok().and_then(|content| PublicKey::parse(&content).ok()) else {
        return Ok(());
    };
    let kept = directory.join(format!("signing-key-{}.pub", before.id()));
    Ok(slip::write_plain(&kept, before.pem().as_bytes())?)
}

/// The credential, where systemd gave one.
fn credential() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("CREDENTIALS_DIRECTORY")?).join(CREDENTIAL);
    path.exists().then_some(path)
}

/// Makes a key at `path`, whole and synced, or not at all; never over a file that is there.
fn make(path: &Path) -> Result<(), SigningError> {
    let mut seed = [0; 32];
    SystemRandom::new().fill(&mut seed).map_err(|_| SigningError::NoRandomness)?;
    let pem = pem("PRIVATE KEY", &[&PRIVATE_PREFIX[..], &seed].concat());
    let beside = path.with_extension("new");
    let put = || {
        // Left over from a start that was cut off; it never signed anything.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(pem.as_bytes())?;
        file.sync_all()?;
        // Unlike a rename this fails where a file stands already.
        fs::hard_link(&beside, path)?;
        fs::remove_file(&beside)
    };
    put().map_err(|source| SigningError::NotMade { path: path.to_owned(), source })?;
    path.parent().map_or(Ok(()), slip::sync_directory)?;
    tracing::info!(path = %path.display(), "a key to sign anchors with was made");
    Ok(())
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|byte| char::from(*byte)));
        pem.push('\n');
    }
    pem + &format!("-----END {label}-----\n")
}

fn unpem(content: &[u8], label: &str) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(content).ok()?;
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    BASE64.decode(body.split_whitespace().collect::<String>()).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// RFC 8032 section 7.1, test 2.
    const SEED: &str = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
    const KEY: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    const SIGNATURE: &str = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";

    #[test]
    fn the_vector_of_rfc_8032_signs_and_verifies() {
        let key = SigningKey::parse(&unhex::<32>(SEED).unwrap()).unwrap();
        assert_eq!(key.public(), PublicKey(unhex(KEY).unwrap()));
        assert_eq!(key.sign(&[0x72]), unhex::<64>(SIGNATURE).unwrap());
        assert!(key.public().verifies(&[0x72], &unhex(SIGNATURE).unwrap()));
        assert!(!key.public().verifies(&[0x73], &unhex(SIGNATURE).unwrap()));
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_only_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let made = SigningKey::open(directory.path(), None).unwrap().public();
        let mode = fs::metadata(directory.path().join(OWN)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(SigningKey::open(directory.path(), None).unwrap().public(), made);
        let public = fs::read(directory.path().join(PUBLIC)).unwrap();
        assert_eq!(PublicKey::parse(&public), Ok(made));
        let other = tempfile::tempdir().unwrap();
        assert_ne!(SigningKey::open(other.path(), None).unwrap().public(), made);
    }

    #[test]
    fn a_key_that_cannot_be_understood_is_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join(OWN);
        for bad in [&b""[..], b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", &[7; 40]] {
            fs::write(&own, bad).unwrap();
            let error = SigningKey::open(directory.path(), None).unwrap_err();
            assert!(matches!(error, SigningError::NotAKey { .. }), "{error}");
            assert!(error.to_string().contains("left as it is"));
            assert_eq!(fs::read(&own).unwrap(), bad);
        }
    }

    #[test]
    fn a_private_half_that_is_gone_is_missed_and_not_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join(OWN);
        let made = SigningKey::open(directory.path(), None).unwrap().public();
        let backup = fs::read(&own).unwrap();
        fs::remove_file(&own).unwrap();
        let error = SigningKey::open(directory.path(), None).unwrap_err();
        assert!(matches!(error, SigningError::Gone { .. }), "{error}");
        assert!(error.to_string().contains("never replaced by itself"), "{error}");
        assert!(!own.exists());
        let public = directory.path().join(PUBLIC);
        assert_eq!(PublicKey::parse(&fs::read(&public).unwrap()), Ok(made));
        // Put back, it is the same; put aside on purpose, there is a new one.
        fs::write(&own, backup).unwrap();
        assert_eq!(SigningKey::open(directory.path(), None).unwrap().public(), made);
        fs::remove_file(&own).unwrap();
        fs::rename(&public, directory.path().join("before.pub")).unwrap();
        assert_ne!(SigningKey::open(directory.path(), None).unwrap().public(), made);
    }

    #[test]
    fn the_public_half_of_the_key_before_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let before = SigningKey::open(directory.path(), None).unwrap().public();
        let named = directory.path().join("elsewhere.pem");
        make(&named).unwrap();
        SigningKey::open(directory.path(), Some(&named)).unwrap();
        let kept = fs::read(directory.path().join(format!("signing-key-{}.pub", before.id()))).unwrap();
        assert_eq!(PublicKey::parse(&kept), Ok(before));
    }

    #[test]
    fn a_configured_key_that_is_missing_is_not_replaced_by_another() {
        let directory = tempfile::tempdir().unwrap();
        let named = directory.path().join("elsewhere.pem");
        let error = SigningKey::open(directory.path(), Some(&named)).unwrap_err();
        assert!(matches!(error, SigningError::Unreadable { .. }), "{error}");
        assert!(!named.exists() && !directory.path().join(OWN).exists());
        make(&named).unwrap();
        let key = SigningKey::open(directory.path(), Some(&named)).unwrap();
        assert_eq!(SigningKey::read(&named).unwrap().public(), key.public());
        assert!(!directory.path().join(OWN).exists());
        assert!(make(&named).is_err(), "a key is never written over another");
    }

    #[test]
    fn a_public_key_is_read_in_every_form_people_have_it_in() {
        let key = PublicKey(unhex(KEY).unwrap());
        let der = [&PUBLIC_PREFIX[..], &key.0].concat();
        let forms =
            [key.pem().into_bytes(), der, key.0.to_vec(), format!("{}\n", key.base64()).into(), KEY.into()];
        for form in forms {
            assert_eq!(PublicKey::parse(&form), Ok(key));
        }
        for bad in [&b""[..], b"hello", &[1; 31], &KEY.as_bytes()[..62]] {
            assert!(PublicKey::parse(bad).is_err());
        }
        assert_eq!(key.id().to_string().parse(), Ok(key.id()));
        assert_eq!(unhex::<2>("+1ff"), None);
    }
}
