//! TLS to the broker: how a connection is set up, and what it means when it does not come about.
//!
//! Certificates are checked by rustls with `ring`, against the authorities of `ca-file` or the system's. Nothing here
//! weakens that check; it only remembers what happened, so that a fault can be named:
//! - whether the broker asked for a certificate of ours. Under TLS 1.3 its refusal comes after our handshake is done,
//!   often as nothing but a closed connection, and then this is the only way to tell it from others.
//! - which name was expected, where `server-name` differs from the host.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use rumqttc::TlsConfiguration;
use rumqttc::tokio_rustls::rustls;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use crate::site::TlsSettings;
use crate::site::credentials::{self, CredentialError, Validity};

/// Why no encrypted connection came about.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsFault {
    #[error("{0}")]
    File(#[from] CredentialError),
    #[error("this machine has no certificate authorities of its own ({0}), and no ca-file is configured")]
    NoAuthorities(String),
    #[error("{0}")]
    Setup(rustls::Error),
    #[error("{broker}: its certificate is from an unknown authority: none of {authorities} has signed it")]
    UnknownAuthority { broker: String, authorities: String },
    #[error("{broker}: its certificate expired{when}")]
    Expired { broker: String, when: String },
    #[error("{broker}: its certificate is not yet valid{when}")]
    NotYetValid { broker: String, when: String },
    #[error("{broker}: wrong host name: its certificate is not for {expected}{presented}")]
    WrongName { broker: String, expected: String, presented: String },
    #[error("{broker}: its certificate cannot be accepted: {why}")]
    BadCertificate { broker: String, why: String },
    #[error("{broker}: it does not speak TLS on this port: {why}")]
    NotTls { broker: String, why: String },
    #[error("{broker}: it asks for a client certificate, and none is configured")]
    ClientCertificateMissing { broker: String },
    #[error("{broker}: it refused the client certificate in {}: {why}", file.display())]
    ClientCertificateRefused { broker: String, file: PathBuf, why: String },
    #[error("{broker}: TLS failed: {why}")]
    Other { broker: String, why: String },
}

impl TlsFault {
    /// A word for the counter of faults.
    pub fn kind(&self) -> &'static str {
        match self {
            TlsFault::File(_) => "credential_file",
            TlsFault::NoAuthorities(_) | TlsFault::Setup(_) => "tls_setup",
            TlsFault::UnknownAuthority { .. } => "unknown_authority",
            TlsFault::Expired { .. } => "certificate_expired",
            TlsFault::NotYetValid { .. } => "certificate_not_yet_valid",
            TlsFault::WrongName { .. } => "wrong_host_name",
            TlsFault::BadCertificate { .. } => "bad_certificate",
            TlsFault::NotTls { .. } => "not_tls",
            TlsFault::ClientCertificateMissing { .. } => "client_certificate_missing",
            TlsFault::ClientCertificateRefused { .. } => "client_certificate_refused",
            TlsFault::Other { .. } => "tls_failed",
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            TlsFault::File(why) => why.remedy(),
            TlsFault::NoAuthorities(_) => {
                "Name the broker's authority by `ca-file`, or install ca-certificates."
            }
            TlsFault::Setup(_) => "Look at the configured certificate files; `sortd check` says more.",
            TlsFault::UnknownAuthority { .. } => {
                "Put the authority that issued the broker's certificate into `ca-file`. If nobody changed it, somebody else may be answering."
            }
            TlsFault::Expired { .. } => {
                "Have the broker's certificate renewed; if it is in order, look at this machine's clock. Events are kept meanwhile."
            }
            TlsFault::NotYetValid { .. } => {
                "Look at this machine's clock; if it is right, at the broker's certificate. Events are kept meanwhile."
            }
            TlsFault::WrongName { .. } => {
                "Write the name that stands in the certificate into `broker`, or beside it as `server-name`."
            }
            TlsFault::BadCertificate { .. } => "Have a server certificate issued for the broker.",
            TlsFault::NotTls { .. } => "Write the broker's TLS port, usually 8883, or switch TLS on there.",
            TlsFault::ClientCertificateMissing { .. } => {
                "Configure `client-cert-file` and `client-key-file` with what was issued for this line."
            }
            TlsFault::ClientCertificateRefused { .. } => {
                "Have the certificate renewed, or its authority made known to the broker."
            }
            TlsFault::Other { .. } => "Compare what the broker's log says at this time.",
        }
    }
}

/// What one connection is set up with, and what is remembered of it.
pub(super) struct Wrapping {
    config: Arc<ClientConfig>,
    own: Arc<OwnCertificate>,
    /// Of the own certificate, where there is one.
    pub validity: Option<Validity>,
    settings: TlsSettings,
}

impl Wrapping {
    /// Reads the files and prepares a connection. Blocks on files.
    pub fn new(settings: &TlsSettings) -> Result<Wrapping, TlsFault> {
        let mut roots = RootCertStore::empty();
        if let Some(file) = &settings.ca_file {
            // Each was tried when the file was read.
            roots.add_parsable_certificates(credentials::authorities(file)?);
        } else {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                let why = found.errors.first().map_or_else(|| "none found".to_owned(), ToString::to_string);
                return Err(TlsFault::NoAuthorities(why));
            }
        }
        let own = match &settings.client {
            Some((certificate, key)) => Some(credentials::own(certificate, key)?),
            None => None,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let check = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|why| TlsFault::NoAuthorities(why.to_string()))?;
        let name = match &settings.server_name {
            Some(name) => Some(
                ServerName::try_from(name.clone())
                    .map_err(|why| TlsFault::Setup(rustls::Error::General(why.to_string())))?,
            ),
            None => None,
        };
        let resolver = Arc::new(OwnCertificate {
            certified: own.as_ref().map(|own| Arc::clone(&own.certified)),
            asked: AtomicBool::new(false),
        });
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsFault::Setup)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Named { check, name }))
            .with_client_cert_resolver(Arc::clone(&resolver) as Arc<dyn ResolvesClientCert>);
        Ok(Wrapping {
            config: Arc::new(config),
            own: resolver,
            validity: own.map(|own| own.validity),
            settings: settings.clone(),
        })
    }

    /// For the client library.
    pub fn transport(&self) -> TlsConfiguration {
        TlsConfiguration::Rustls(Arc::clone(&self.config))
    }

    /// The broker wanted to see a certificate.
    fn asked(&self) -> bool {
        self.own.asked.load(Ordering::Acquire)
    }

    /// What it means that TLS ended with this error before MQTT began. `None`: nothing that has to do with TLS.
    pub fn fault(&self, broker: &str, why: &std::io::Error) -> Option<TlsFault> {
        if let Some(inner) = why.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Some(self.named(broker, inner));
        }
        let hung_up = matches!(
            why.kind(),
            ErrorKind::UnexpectedEof
                | ErrorKind::ConnectionReset
                | ErrorKind::BrokenPipe
                | ErrorKind::ConnectionAborted
        );
        (hung_up && self.asked()).then(|| self.refused(broker, "it closed the connection"))
    }

    /// The connection was closed in the handshake, or after it and before the broker answered.
    pub fn hung_up(&self, broker: &str, in_handshake: bool) -> Option<TlsFault> {
        if self.asked() {
            return Some(self.refused(broker, "it closed the connection"));
        }
        in_handshake.then(|| TlsFault::NotTls {
            broker: broker.to_owned(),
            why: "it closed the connection at the first TLS message".to_owned(),
        })
    }

    fn refused(&self, broker: &str, why: &str) -> TlsFault {
        let broker = broker.to_owned();
        match &self.settings.client {
            None => TlsFault::ClientCertificateMissing { broker },
            Some((file, _)) => {
                TlsFault::ClientCertificateRefused { broker, file: file.clone(), why: why.to_owned() }
            }
        }
    }

    /// The fault behind an error of the TLS library.
    pub fn named(&self, broker: &str, why: &rustls::Error) -> TlsFault {
        let by = broker.to_owned();
        match why {
            rustls::Error::InvalidCertificate(why) => self.certificate(by, why),
            rustls::Error::AlertReceived(alert) if self.asked() && is_about_client(*alert) => {
                self.refused(broker, alert_in_words(*alert))
            }
            rustls::Error::AlertReceived(alert) => {
                TlsFault::Other { broker: by, why: format!("it answered with the alert {alert:?}") }
            }
            rustls::Error::InvalidMessage(why) => {
                TlsFault::NotTls { broker: by, why: format!("it answers with something else ({why:?})") }
            }
            other => TlsFault::Other { broker: by, why: other.to_string() },
        }
    }

    fn certificate(&self, broker: String, why: &CertificateError) -> TlsFault {
        let at = |time: &UnixTime| {
            let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
            Timestamp::from_second(seconds).map_or_else(|_| "?".to_owned(), |time| time.to_string())
        };
        match why {
            CertificateError::UnknownIssuer => {
                let authorities = match &self.settings.ca_file {
                    Some(file) => format!("those in {}", file.display()),
                    None => "this machine's authorities".to_owned(),
                };
                TlsFault::UnknownAuthority { broker, authorities }
            }
            CertificateError::ExpiredContext { time, not_after } => TlsFault::Expired {
                broker,
                when: format!(" on {} (this machine's clock: {})", at(not_after), at(time)),
            },
            CertificateError::Expired => TlsFault::Expired { broker, when: String::new() },
            CertificateError::NotValidYetContext { time, not_before } => TlsFault::NotYetValid {
                broker,
                when: format!(" before {} (this machine's clock: {})", at(not_before), at(time)),
            },
            CertificateError::NotValidYet => TlsFault::NotYetValid { broker, when: String::new() },
            CertificateError::NotValidForNameContext { expected, presented } => TlsFault::WrongName {
                broker,
                expected: expected.to_str().into_owned(),
                presented: match presented.as_slice() {
                    [] => ", and names nobody".to_owned(),
                    names => {
                        // They come as `DnsName("host")`.
                        let bare = names.iter().map(|name| name.split('"').nth(1).unwrap_or(name));
                        format!(", but for {}", bare.collect::<Vec<_>>().join(", "))
                    }
                },
            },
            CertificateError::NotValidForName => TlsFault::WrongName {
                expected: self.settings.server_name.clone().unwrap_or_else(|| broker.clone()),
                broker,
                presented: String::new(),
            },
            other => TlsFault::BadCertificate { broker, why: other.to_string() },
        }
    }
}

/// Alerts by which a server says that it does not like the client's certificate.
fn is_about_client(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::HandshakeFailure
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
            | AlertDescription::CertificateRequired
    )
}

fn alert_in_words(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CertificateExpired => "it is expired",
        AlertDescription::CertificateRevoked => "it is revoked",
        AlertDescription::UnknownCA => "the broker does not know its authority",
        AlertDescription::UnsupportedCertificate => "it is not of the wanted kind, e.g. not for clients",
        AlertDescription::AccessDenied => "access denied",
        _ => "the broker cannot accept it",
    }
}

/// The own certificate; remembers being asked for.
#[derive(Debug)]
struct OwnCertificate {
    certified: Option<Arc<CertifiedKey>>,
    asked: AtomicBool,
}

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Release);
        self.certified.clone()
    }

    fn has_certs(&self) -> bool {
        // Asked even where there is none, so that it is known to have been asked for.
        true
    }
}

/// The library's own check, for another name than the address's where one is configured.
#[derive(Debug)]
struct Named {
    check: Arc<WebPkiServerVerifier>,
    name: Option<ServerName<'static>>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let name = self.name.as_ref().unwrap_or(server_name);
        self.check.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.check.supported_verify_schemes()
    }
}
