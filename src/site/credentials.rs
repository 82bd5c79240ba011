//! The files of a TLS connection: authorities, own certificate, own private key.
//!
//! They are read anew for each connection, so that a certificate that was renewed is used without a restart, and
//! once by the check of a configuration. What is wrong with them is said here, once, for both.
//!
//! Words: an *authority* is a certificate that others are trusted by; a *chain* is the own certificate and behind
//! it those that lead from it to an authority; *PEM* is the text form of both, between lines of dashes.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// Largest file taken: the bundle of all public authorities has a quarter of this.
const FILE_MAX: u64 = 1 << 20;

/// Days before its end from which an own certificate is warned of: issuing one takes an office some weeks.
pub const EXPIRY_WARNING_DAYS: i64 = 30;

/// Why a file cannot be used. Each says which file and what was expected in it.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// Missing, forbidden, or a directory.
    #[error("the {what} file {} cannot be read: {why}", file.display())]
    Unreadable {
        /// Authority, certificate or private key.
        what: &'static str,
        /// Path.
        file: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// Something else got this name.
    #[error("the {what} file {} has more than {FILE_MAX} bytes", file.display())]
    TooLarge {
        /// Authority, certificate or private key.
        what: &'static str,
        /// Path.
        file: PathBuf,
    },
    /// Begins like PEM and is none, or holds nothing of the kind.
    #[error("the {what} file {} holds no PEM {what}: {why}", file.display())]
    NotPem {
        /// Authority, certificate or private key.
        what: &'static str,
        /// Path.
        file: PathBuf,
        /// What it holds instead.
        why: String,
    },
    /// PEM, but what is inside is no certificate of X.509.
    #[error("certificate {number} in the {what} file {} is damaged: {why}", file.display())]
    Damaged {
        /// Authority or certificate.
        what: &'static str,
        /// Path.
        file: PathBuf,
        /// Which of several, from 1.
        number: usize,
        /// What is wrong with it.
        why: String,
    },
    /// A kind of key that nothing here signs with.
    #[error("the private key in {} cannot be used: {why}", file.display())]
    UnusableKey {
        /// Path.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Both good, but not of one another.
    #[error("the private key in {} does not fit the certificate in {}", key.display(), certificate.display())]
    Mismatch {
        /// Path.
        certificate: PathBuf,
        /// Path.
        key: PathBuf,
    },
}

impl CredentialError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            CredentialError::Unreadable { .. } => {
                "Correct the path and the file's owner and mode; a systemd credential appears only while the service runs."
            }
            CredentialError::TooLarge { .. } => "Look whether another file got this name.",
            CredentialError::NotPem { .. } => {
                "Name the file that holds it as PEM; `openssl x509 -inform der -in F` or `openssl pkey -in F` makes PEM of other forms."
            }
            CredentialError::Damaged { .. } => "Copy the file again from where it was issued.",
            CredentialError::UnusableKey { .. } => {
                "Use an RSA (2048 bits or more), ECDSA P-256 or P-384, or Ed25519 key without a passphrase."
            }
            CredentialError::Mismatch { .. } => {
                "Name the certificate and the key that were issued together; `openssl pkey -pubout` and `openssl x509 -pubkey` show which are."
            }
        }
    }

    /// May it be otherwise in a moment, or for the service, without anybody correcting the configuration?
    pub fn is_passing(&self) -> bool {
        matches!(self, CredentialError::Unreadable { .. })
    }
}

/// From when to when a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// First moment.
    pub not_before: Timestamp,
    /// Last moment.
    pub not_after: Timestamp,
}

impl Validity {
    /// Whole days left at `now`; negative once it is over.
    pub fn days_left(&self, now: Timestamp) -> i64 {
        self.not_after.duration_since(now).as_secs().div_euclid(86_400)
    }
}

/// The own certificate with its key.
#[derive(Debug, Clone)]
pub struct Own {
    /// Chain and signing key.
    pub certified: Arc<CertifiedKey>,
    /// Of the first certificate of the chain.
    pub validity: Validity,
}

/// The authorities in a PEM file.
///
/// # Errors
///
/// [`CredentialError`].
pub fn authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
    let found = certificates("authority", file)?;
    // Whether each can be an authority is for the TLS library to say, which is asked here so that a check sees it.
    let mut roots = rustls::RootCertStore::empty();
    for (at, certificate) in found.iter().enumerate() {
        roots.add(certificate.clone()).map_err(|why| CredentialError::Damaged {
            what: "authority",
            file: file.to_owned(),
            number: at + 1,
            why: why.to_string(),
        })?;
    }
    Ok(found)
}

/// The own certificate chain and the key to it.
///
/// # Errors
///
/// [`CredentialError`].
pub fn own(certificate: &Path, key: &Path) -> Result<Own, CredentialError> {
    let chain = certificates("certificate", certificate)?;
    let damaged = |why: String| CredentialError::Damaged {
        what: "certificate",
        file: certificate.to_owned(),
        number: 1,
        why,
    };
    let validity = chain
        .first()
        .and_then(|first| validity(first))
        .ok_or_else(|| damaged("its validity is not to be found".to_owned()))?;
    let signing = any_supported_type(&private_key(key)?)
        .map_err(|why| CredentialError::UnusableKey { file: key.to_owned(), why: why.to_string() })?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Ok(()) => Ok(Own { certified: Arc::new(certified), validity }),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(CredentialError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned() })
        }
        Err(why) => Err(damaged(why.to_string())),
    }
}

fn read(what: &'static str, file: &Path) -> Result<Vec<u8>, CredentialError> {
    let unreadable = |why| CredentialError::Unreadable { what, file: file.to_owned(), why };
    // A pipe or a device in its place would hold the reader up for ever.
    let open = match std::fs::metadata(file).map_err(unreadable)?.is_file() {
        true => std::fs::File::open(file).map_err(unreadable)?,
        false => return Err(unreadable(std::io::Error::other("it is no regular file"))),
    };
    let mut bytes = Vec::new();
    open.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(CredentialError::TooLarge { what, file: file.to_owned() });
    }
    Ok(bytes)
}

fn certificates(what: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
    let bytes = read(what, file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(not_pem(what, file, &bytes, None)),
        Err(why) => Err(not_pem(what, file, &bytes, Some(&why))),
    }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, CredentialError> {
    let bytes = read("private key", file)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|why| not_pem("private key", file, &bytes, Some(&why)))
}

/// Says what a file holds in place of what it should.
fn not_pem(what: &'static str, file: &Path, bytes: &[u8], why: Option<&pem::Error>) -> CredentialError {
    let text = String::from_utf8_lossy(bytes);
    let label = text.split("-----BEGIN ").nth(1).and_then(|rest| rest.split("-----").next());
    let why = match (label, why) {
        _ if bytes.is_empty() => "it is empty".to_owned(),
        (Some(label), _) if label.contains("ENCRYPTED") => {
            "it holds a key under a passphrase, which nobody is there to type".to_owned()
        }
        (Some(label), None | Some(pem::Error::NoItemsFound)) => {
            let label: String = label.chars().filter(|c| !c.is_control()).take(40).collect();
            format!("it holds a \"{label}\"")
        }
        (None, None | Some(pem::Error::NoItemsFound)) => "it has no line `-----BEGIN …-----`".to_owned(),
        (_, Some(why)) => format!("{why:?}"),
    };
    CredentialError::NotPem { what, file: file.to_owned(), why }
}

/// From when to when a certificate in DER is good. Before it stand, in this order (RFC 5280, section 4.1): version,
/// which may be left out, serial number, algorithm, issuer.
pub fn validity(der: &[u8]) -> Option<Validity> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    let (_, certificate, _) = element(der).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (_, mut rest, _) = element(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    if let Some((VERSION, _, after)) = element(rest) {
        rest = after;
    }
    for _serial_algorithm_issuer in 0..3 {
        rest = element(rest)?.2;
    }
    let (_, times, _) = element(rest).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (tag, before, times) = element(times)?;
    let not_before = time(tag, before)?;
    let (tag, after, _) = element(times)?;
    Some(Validity { not_before, not_after: time(tag, after)? })
}

/// First element of DER: tag, content, what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        // Certificates have lengths of at most three bytes.
        let count = usize::from(first & 0x7f);
        if !(1..=3).contains(&count) || rest.len() < count {
            return None;
        }
        let (bytes, rest) = rest.split_at(count);
        (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    (rest.len() >= length).then(|| (tag, &rest[..length], &rest[length..]))
}

/// `YYMMDDHHMMSSZ` (UTCTime: years 1950 to 2049) or `YYYYMMDDHHMMSSZ` (GeneralizedTime).
fn time(tag: u8, content: &[u8]) -> Option<Timestamp> {
    let digits = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest): (i16, &str) = match (tag, digits.len()) {
        (0x17, 12) => {
            let year: i16 = digits[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &digits[2..])
        }
        (0x18, 14) => (digits[..4].parse().ok()?, &digits[4..]),
        _ => return None,
    };
    let two = |at: usize| rest[at..at + 2].parse::<i8>().ok();
    let civil = DateTime::new(year, two(0)?, two(2)?, two(4)?, two(6)?, two(8)?, 0).ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests;
