//! What must hold between the keys of `[uplink]`, and what can be seen of the files they name.
//!
//! What a file holds is checked here as it will be used. A file that is not there now is a warning only: systemd puts
//! credentials there when the service starts. So is a certificate that is over: the line must start and sort without
//! its upstream, and an error would keep it from starting.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use jiff::Timestamp;

use super::credentials::{self, CredentialError, EXPIRY_WARNING_DAYS};
use super::finding::{Notes, Spot};
use super::resolve::broker;
use super::rules::is_loopback;
use super::walk::Table;

/// A password that is longer is none; MQTT takes 65,535 bytes.
const PASSWORD_MOST: u64 = 65_536;

/// Keys that only TLS gives a meaning to.
const TLS_KEYS: [&str; 4] = ["ca-file", "client-cert-file", "client-key-file", "server-name"];
/// Keys of which one needs the other.
const PAIRS: [(&str, &str); 4] = [
    ("user", "password-file"),
    ("password-file", "user"),
    ("client-cert-file", "client-key-file"),
    ("client-key-file", "client-cert-file"),
];

pub(super) fn check(notes: &mut Notes, directory: &Path, sortd: &Table) {
    let Some(uplink) = sortd.table("uplink") else { return };
    let encrypted = check_brokers(notes, uplink);
    for (one, other) in PAIRS {
        if uplink.is_written(one) && !uplink.is_written(other) {
            notes.error(
                uplink.spot_of(one),
                format!("`{one}` stands without `{other}`"),
                "both or neither",
                format!("add `{other}`, or remove `{one}`"),
            );
        }
    }
    if encrypted == Some(false) {
        for key in TLS_KEYS.into_iter().filter(|key| uplink.is_written(key)) {
            notes.error(
                uplink.spot_of(key),
                format!("`{key}` has no meaning without TLS"),
                "a broker `mqtts://HOST:PORT` beside it",
                format!("write `mqtts://` in `broker`, or remove `{key}`"),
            );
        }
    }
    if let Some(file) = uplink.known_text("password-file")
        && let path = directory.join(file)
        && let Err(message) = has_password(&path)
    {
        // Under systemd a credential exists only while the service runs: no error.
        notes.warning(
            uplink.spot_of("password-file"),
            message,
            "a file that the service can read when it starts, with the password in its first line",
            "correct the path or the file; a systemd credential appears only while the service runs",
        );
    }
    if encrypted == Some(true) {
        check_files(notes, directory, uplink);
    }
}

/// Whether a password can be read there now; otherwise what is wrong.
fn has_password(path: &Path) -> Result<(), String> {
    let file = path.display();
    let mut first = String::new();
    let opened = std::fs::File::open(path);
    let read = opened.and_then(|opened| BufReader::new(opened.take(PASSWORD_MOST)).read_line(&mut first));
    read.map_err(|error| format!("the password file {file} cannot be read now: {error}"))?;
    if first.trim().is_empty() {
        return Err(format!("the first line of the password file {file} is empty"));
    }
    Ok(())
}

/// Gives back whether TLS is spoken; `None` where that is not certain.
fn check_brokers(notes: &mut Notes, uplink: &Table) -> Option<bool> {
    let mut known: BTreeMap<String, &Spot> = BTreeMap::new();
    let mut encrypted = None;
    for (spot, url) in uplink.texts("broker") {
        let (address, tls) = broker(url)?;
        if let Some(first) = known.insert(format!("{}:{}", address.host, address.port), spot) {
            let line = notes.line_of(first);
            notes.error(
                spot,
                format!("the broker {}:{} stands twice, first on line {line}", address.host, address.port),
                "each node of the cluster once",
                "remove one of the two",
            );
        }
        if *encrypted.get_or_insert(tls) != tls {
            notes.error(
                spot,
                "some brokers of the list speak TLS and some do not",
                "one cluster, reached everywhere in the same way",
                "write `mqtts://` before each of them",
            );
            return None;
        }
        if !tls && !is_loopback(&address.host) && !uplink.flag("allow-plain-off-loopback") {
            notes.error(
                spot,
                format!("the broker {} is another machine, and this connection is not encrypted", address.host),
                "`mqtts://HOST:PORT`, or a broker on 127.0.0.1",
                "write `mqtts://` and the broker's TLS port, or `allow-plain-off-loopback = true` on a network of its own",
            );
        }
    }
    encrypted
}

fn check_files(notes: &mut Notes, directory: &Path, uplink: &Table) {
    let path = |key| uplink.known_text(key).map(|file| directory.join(file));
    if let Some(file) = path("ca-file")
        && let Err(error) = credentials::authorities(&file)
    {
        say(notes, uplink.spot_of("ca-file"), &error);
    }
    let (Some(certificate), Some(key)) = (path("client-cert-file"), path("client-key-file")) else { return };
    let validity = match credentials::own(&certificate, &key) {
        Ok(own) => own.validity,
        Err(error) => {
            let of_key = matches!(
                error,
                CredentialError::UnusableKey { .. }
                    | CredentialError::Mismatch { .. }
                    | CredentialError::Unreadable { what: "private key", .. }
                    | CredentialError::NotPem { what: "private key", .. }
                    | CredentialError::TooLarge { what: "private key", .. }
            );
            let spot = uplink.spot_of(if of_key { "client-key-file" } else { "client-cert-file" });
            return say(notes, spot, &error);
        }
    };
    let now = today();
    let left = validity.days_left(now);
    let message = if left < 0 {
        format!("the certificate in {} expired on {}", certificate.display(), validity.not_after)
    } else if now < validity.not_before {
        format!("the certificate in {} is not valid before {}", certificate.display(), validity.not_before)
    } else if left < EXPIRY_WARNING_DAYS {
        format!(
            "the certificate in {} expires on {}, in {left} days",
            certificate.display(),
            validity.not_after
        )
    } else {
        return;
    };
    notes.warning(
        uplink.spot_of("client-cert-file"),
        message,
        format!("a certificate that is valid for {EXPIRY_WARNING_DAYS} days more"),
        "have it renewed and put in this place; it is read anew at the next connection, without a restart",
    );
}

fn say(notes: &mut Notes, spot: &Spot, error: &CredentialError) {
    if error.is_passing() {
        notes.warning(
            spot,
            error.to_string(),
            "a file that the service can read when it starts",
            error.remedy(),
        );
    } else {
        notes.error(spot, error.to_string(), "a PEM file as it was issued", error.remedy());
    }
}

#[expect(clippy::disallowed_methods, reason = "whether a certificate is over is a question of today's date")]
fn today() -> Timestamp {
    Timestamp::now()
}
