//! Each fault of a file is named, and the right files are taken.

use rcgen::{CertificateParams, KeyPair};

use super::*;

fn issue(name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 2, 29);
    params.not_after = rcgen::date_time_ymd(2051, 1, 2);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().unwrap())
    }
    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

#[test]
fn a_certificate_with_its_key_is_taken_and_its_validity_known() {
    let files = Files::new();
    let (certificate, key) = issue("line-1");
    let found = own(&files.write("c.pem", &certificate), &files.write("k.pem", key)).unwrap();
    // The first is written as UTCTime, the second, behind 2049, as GeneralizedTime.
    assert_eq!(found.validity.not_before.to_string(), "2020-02-29T00:00:00Z");
    assert_eq!(found.validity.not_after.to_string(), "2051-01-02T00:00:00Z");
    let near = "2050-12-31T12:00:00Z".parse().unwrap();
    assert_eq!(found.validity.days_left(near), 1);
    assert_eq!(found.validity.days_left("2051-01-02T00:00:01Z".parse().unwrap()), -1);
    let twice = files.write("two.pem", certificate.clone() + &certificate);
    assert_eq!(authorities(&twice).unwrap().len(), 2);
}

#[test]
fn whatever_is_wrong_with_a_file_is_named() {
    let files = Files::new();
    let (certificate, key) = issue("line-1");
    let (_, other_key) = issue("line-2");
    let good = files.write("c.pem", &certificate);
    let good_key = files.write("k.pem", &key);
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let cases = [
        (files.write("der", [0x30, 0x82, 1, 2, 3]), good_key.clone(), "no line `-----BEGIN"),
        (files.write("empty", ""), good_key.clone(), "it is empty"),
        (good_key.clone(), good_key.clone(), "it holds a \"PRIVATE KEY\""),
        (good.clone(), good.clone(), "it holds a \"CERTIFICATE\""),
        (good.clone(), files.write("enc", encrypted), "passphrase"),
        (good.clone(), files.write("other", other_key), "does not fit"),
        (good.clone(), files.0.path().join("none"), "cannot be read"),
        (files.0.path().to_owned(), good_key.clone(), "no regular file"),
        (
            files.write("cut", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
            good_key.clone(),
            "damaged",
        ),
        (files.write("open", &certificate[..certificate.len() / 2]), good_key.clone(), "holds no PEM"),
        (files.write("big", vec![b'x'; 1 << 21]), good_key, "more than"),
    ];
    for (certificate, key, says) in cases {
        let said = own(&certificate, &key).expect_err(says);
        assert!(said.to_string().contains(says), "{says}: {said}");
        assert!(!said.remedy().is_empty());
    }
    let cut = files.0.path().join("cut");
    assert!(authorities(&cut).unwrap_err().to_string().contains("certificate 1 in the authority file"));
}

#[test]
fn a_damaged_certificate_never_panics() {
    let (certificate, _) = issue("line-1");
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    for end in 0..der.len() {
        // Any answer is good as long as there is one.
        let _ = validity(&der[..end]);
    }
    for at in 0..der.len() {
        let mut flipped = der.to_vec();
        flipped[at] ^= 0x5a;
        let _ = validity(&flipped);
    }
}
