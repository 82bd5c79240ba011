//! The way to the broker: plain or TLS, one or a cluster, and what is wrong with certificates and keys.

use super::*;

#[test]
fn plain_mqtt_to_another_machine_is_a_deliberate_act() {
    let copy = Copy::new();
    copy.change("sortd.toml", "mqtt://127.0.0.1:1883", "mqtt://10.0.0.9:1884");
    copy.change("sortd.toml", "allow-plain-off-loopback = false", "allow-plain-off-loopback = true");
    let (site, _) = copy.load().unwrap();
    let broker = BrokerAddress { host: "10.0.0.9".to_owned(), port: 1884 };
    assert_eq!((site.uplink.brokers, site.uplink.tls), (vec![broker], None));
}

/// A certificate and its key in the directory, good from `from` to `to` (year, month, day).
fn issue(copy: &Copy, name: &str, from: (i32, u8, u8), to: (i32, u8, u8)) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
    params.not_after = rcgen::date_time_ymd(to.0, to.1, to.2);
    copy.write(&format!("{name}.crt"), params.self_signed(&key).unwrap().pem());
    copy.write(&format!("{name}.key"), key.serialize_pem());
}

const PLAIN: &str = "broker = \"mqtt://127.0.0.1:1883\"\n";

fn encrypted(name: &str) -> String {
    format!(
        "broker = [\"mqtts://a.example.com:8883\", \"mqtts://b.example.com:8883\"]\nca-file = \"good.crt\"\n\
         client-cert-file = \"{name}.crt\"\nclient-key-file = \"{name}.key\"\nserver-name = \"cluster.example.com\"\n"
    )
}

#[test]
fn a_cluster_over_tls_arrives() {
    let copy = Copy::new();
    issue(&copy, "good", (2020, 1, 1), (2095, 1, 1));
    copy.change("sortd.toml", PLAIN, &encrypted("good"));
    let (site, warnings) = copy.load().unwrap();
    assert_eq!(warnings, []);
    let node = |host: &str| BrokerAddress { host: host.to_owned(), port: 8883 };
    assert_eq!(site.uplink.brokers, [node("a.example.com"), node("b.example.com")]);
    let file = |name: &str| copy.0.path().join(name);
    let tls = TlsSettings {
        ca_file: Some(file("good.crt")),
        client: Some((file("good.crt"), file("good.key"))),
        server_name: Some("cluster.example.com".to_owned()),
    };
    assert_eq!(site.uplink.tls, Some(tls));
}

#[test]
fn what_is_wrong_with_tls_stands_at_its_key() {
    let one = |change: &dyn Fn(&Copy) -> String, says: &str, at: &str| {
        let copy = Copy::new();
        issue(&copy, "good", (2020, 1, 1), (2095, 1, 1));
        issue(&copy, "other", (2020, 1, 1), (2095, 1, 1));
        let keys = change(&copy);
        copy.change("sortd.toml", PLAIN, &keys);
        let errors = copy.errors();
        assert_eq!(errors.len(), 1, "{says}: {errors:#?}");
        let text = copy.text("sortd.toml");
        let line = text.lines().nth(errors[0].line as usize - 1).unwrap();
        assert!(errors[0].message.contains(says) && line.contains(at), "{line}: {errors:#?}");
        assert!(!errors[0].remedy.is_empty() && !errors[0].expected.is_empty());
    };
    let good = || encrypted("good");
    one(
        &|_| good().replacen("-key-file = \"good.key", "-key-file = \"other.key", 1),
        "does not fit",
        "client-key-file",
    );
    one(
        &|_| good().replacen("ca-file = \"good.crt", "ca-file = \"good.key", 1),
        "it holds a \"PRIVATE KEY\"",
        "ca-file",
    );
    one(&|_| good().replacen("good.key", "good.crt", 1), "it holds a \"CERTIFICATE\"", "client-key-file");
    one(&|_| good().replacen("mqtts://b", "mqtt://b", 1), "some do not", "broker =");
    one(&|_| good().replacen("b.example", "a.example", 1), "stands twice", "broker =");
    one(&|_| good().replacen("client-key-file = \"good.key\"\n", "", 1), "without", "client-cert-file");
    one(&|_| PLAIN.to_owned() + "ca-file = \"good.crt\"\n", "no meaning without TLS", "ca-file");
    one(&|_| PLAIN.replace("127.0.0.1", "10.0.0.9"), "not encrypted", "broker =");
    one(&|_| "broker = []\n".to_owned(), "is empty", "broker =");
    one(&|_| "broker = [\"mqtt://127.0.0.1:1883\", 7]\n".to_owned(), "whole number", "broker =");
}

/// Neither keeps a line from starting: it sorts without its upstream.
#[test]
fn a_certificate_that_ends_and_a_credential_that_is_not_there_yet_are_warnings() {
    let warned = |name: &str, from, to| {
        let copy = Copy::new();
        issue(&copy, "good", (2020, 1, 1), (2095, 1, 1));
        issue(&copy, "line", from, to);
        copy.change("sortd.toml", PLAIN, &encrypted(name));
        copy.warnings().into_iter().map(|warning| warning.message).collect::<Vec<_>>().join("; ")
    };
    assert!(warned("line", (2020, 1, 1), (2021, 1, 1)).contains("expired on 2021-01-01"));
    assert!(warned("line", (2090, 1, 1), (2095, 1, 1)).contains("not valid before 2090-01-01"));
    assert!(warned("none", (2020, 1, 1), (2021, 1, 1)).contains("cannot be read"));
    let soon = rcgen::CertificateParams::new(vec!["line".to_owned()]).unwrap();
    let copy = Copy::new();
    issue(&copy, "good", (2020, 1, 1), (2095, 1, 1));
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = soon;
    #[expect(clippy::disallowed_methods, reason = "a certificate that ends soon ends soon from today")]
    let now = std::time::SystemTime::now();
    params.not_after = (now + std::time::Duration::from_secs(20 * 86_400 + 3_600)).into();
    copy.write("line.crt", params.self_signed(&key).unwrap().pem());
    copy.write("line.key", key.serialize_pem());
    copy.change("sortd.toml", PLAIN, &encrypted("line"));
    assert!(copy.warnings()[0].message.contains("in 20 days"), "{:#?}", copy.warnings());
}
