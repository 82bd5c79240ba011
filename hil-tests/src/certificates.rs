//! Authorities and the certificates they issue: good ones, and each kind of bad one.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// An authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// From when to when a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// Now and for long.
    Good,
    /// Over since 2021.
    Expired,
    /// From 2090 on.
    Future,
}

/// A certificate and its key as files.
#[derive(Debug, Clone)]
pub struct Pair {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// Where no key can be made.
    pub fn new(name: &str) -> Authority {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2095, 1, 1);
        let certificate = params.self_signed(&key).expect("it signs itself").pem();
        Authority { issuer: Issuer::new(params, key), certificate }
    }

    /// Writes its certificate.
    ///
    /// # Panics
    /// Where it cannot be written.
    pub fn write(&self, directory: &Path, name: &str) -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, &self.certificate).expect("it can be written");
        path
    }

    /// Issues a certificate for a host name or an IP address, which may also be a client's name.
    ///
    /// # Panics
    /// Where it cannot be written.
    pub fn issue(&self, directory: &Path, file: &str, host: &str, validity: Validity) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, host);
        let (from, to) = match validity {
            Validity::Good => (2020, 2095),
            Validity::Expired => (2020, 2021),
            Validity::Future => (2090, 2095),
        };
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).expect("it is signed").pem();
        let pair = Pair {
            certificate: directory.join(format!("{file}.crt")),
            key: directory.join(format!("{file}.key")),
        };
        std::fs::write(&pair.certificate, certificate).expect("it can be written");
        std::fs::write(&pair.key, key.serialize_pem()).expect("it can be written");
        pair
    }
}
