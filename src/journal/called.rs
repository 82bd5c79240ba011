//! What a parcel may be asked for by: whatever its label, its order, its tag or the cloud calls it.
//!
//! Records are looked up by the texts they hold. A code that is another spelling of a key (an EPC URI, a GS1 Digital
//! Link, an element string) is brought to the key first, by `identify`; the objects of published events
//! (`https://DOMAIN/obj/…`) name a waybill, or a pass. No configuration is needed: what only a carrier's rules tell
//! is not told here.

use super::keys;
use crate::identify::{CarrierRules, key_of_order_code};
use crate::line::PassKey;
use crate::line::record::Body;

/// Codes and passes that a text may stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Called {
    /// Folded, each once; never empty.
    codes: Vec<Vec<u8>>,
    pass: Option<PassKey>,
}

impl Called {
    /// What this text may stand for.
    pub fn of(text: &str) -> Called {
        let text = text.trim();
        let mut called = Called { codes: Vec::new(), pass: parse_pass(text) };
        called.add(text);
        called.add_key(text);
        if let Some(path) = path_of(text) {
            called.add_link(&path);
        }
        called
    }

    fn add(&mut self, text: &str) {
        let code = keys::fold(text);
        if !self.codes.contains(&code) {
            self.codes.push(code);
        }
    }

    /// The key of a GS1, EPC or postal code. A waybill's stands in the records as it was read.
    fn add_key(&mut self, text: &str) {
        let key = key_of_order_code(&CarrierRules::default(), text).ok();
        if let Some(key) = key.filter(|key| !key.0.starts_with("wb:")) {
            self.add(&key.0);
            // As a label without any identifier says it.
            if let Some((_, bare)) = key.0.split_once(':') {
                self.add(bare);
            }
        }
    }

    fn add_link(&mut self, path: &[String]) {
        for (at, part) in path.iter().enumerate() {
            let behind = |n: usize| path.get(at + n).map(String::as_str);
            match (part.as_str(), behind(1), behind(2), behind(3)) {
                ("00", Some(sscc), ..) => self.add_key(&format!("(00){sscc}")),
                ("01", Some(gtin), Some("21"), Some(serial)) => {
                    // As an EPC or a label has it: 14 digits.
                    self.add_key(&format!("(01){gtin:0>14}(21){serial}"));
                }
                ("obj", Some(name), None, _) => {
                    self.add(name);
                    self.pass = self.pass.or_else(|| anonymous(name));
                }
                _ => {}
            }
        }
    }

    /// Each code, folded.
    pub(super) fn codes(&self) -> &[Vec<u8>] {
        &self.codes
    }

    /// The pass that is named by its numbers.
    pub fn pass(&self) -> Option<PassKey> {
        self.pass
    }

    /// Whether a record names it: holds one of the codes, or is of the pass.
    pub fn is_named_by(&self, body: &Body) -> bool {
        (self.pass.is_some() && body.pass() == self.pass) || self.is_code_of(body)
    }

    /// Whether a record holds one of the codes.
    pub(super) fn is_code_of(&self, body: &Body) -> bool {
        keys::codes(body).iter().any(|code| self.codes.contains(code))
    }
}

/// `epoch-track`, as the status names a pass.
fn parse_pass(text: &str) -> Option<PassKey> {
    let (epoch, track) = text.split_once('-')?;
    Some(PassKey { epoch: epoch.parse().ok()?, track: track.parse().ok()? })
}

/// `site-line-epoch-track`, as events name an object before its identity is known.
fn anonymous(name: &str) -> Option<PassKey> {
    let (rest, track) = name.rsplit_once('-')?;
    let (_, epoch) = rest.rsplit_once('-')?;
    Some(PassKey { epoch: epoch.parse().ok()?, track: track.parse().ok()? })
}

/// The path of a web address in its parts, decoded; without query and fragment.
fn path_of(text: &str) -> Option<Vec<String>> {
    let (scheme, rest) = text.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
        return None;
    }
    let (_, path) = rest.split_once('/')?;
    let path = path.split(['?', '#']).next().unwrap_or_default();
    path.split('/').map(decoded).collect()
}

/// With `%2F` and the like as what they stand for; `None`: that is no text.
fn decoded(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let pair = behind.get(..2).filter(|_| *first == b'%');
        let code = pair.and_then(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identify::Key;
    use crate::line::record::Fact;

    const PASS: PassKey = PassKey { epoch: 3, track: 42 };

    fn identified(key: &str) -> Body {
        let key = Key(key.to_owned());
        Body::Fact(Fact::Identified { pass: PASS, key, uri: None, order: None, carrier: None })
    }

    #[test]
    fn whatever_the_cloud_calls_it_is_the_key_of_its_records() {
        let sscc = "340123450000000017";
        let body = identified(&format!("sscc:{sscc}"));
        for text in [
            sscc.to_owned(),
            format!("sscc:{sscc}"),
            format!("(00){sscc}"),
            format!("]C100{sscc}"),
            "urn:epc:id:sscc:4012345.3000000001".to_owned(),
            "urn:epc:tag:sscc-96:0.4012345.3000000001".to_owned(),
            format!("https://id.gs1.org/00/{sscc}"),
            format!("https://shop.example.com/some/where/00/{sscc}?linkType=all#x"),
        ] {
            assert!(Called::of(&text).is_named_by(&body), "{text}: {:?}", Called::of(&text));
        }
        let goods = identified("sgtin:04012345123456.A/1");
        for text in [
            "(01)04012345123456(21)A/1",
            "urn:epc:id:sgtin:4012345.012345.A%2F1",
            "https://id.gs1.org/01/04012345123456/21/A%2F1",
        ] {
            assert!(Called::of(text).is_named_by(&goods), "{text}: {:?}", Called::of(text));
            assert!(!Called::of(text).is_named_by(&body), "{text}");
        }
    }

    #[test]
    fn objects_of_events_name_a_waybill_or_a_pass() {
        let body = identified("wb:KERRY/1 A");
        assert!(Called::of("https://sort.example.com/obj/KERRY%2F1%20A").is_named_by(&body));
        assert!(Called::of("https://sort.example.com/obj/dg-l1-3-42").is_named_by(&body));
        assert!(Called::of("3-42").is_named_by(&body));
        for text in
            ["https://sort.example.com/obj/dg-l1-3-43", "KERRY%2F1%20A", "3-43", "", "https://", "%", "urn:"]
        {
            assert!(!Called::of(text).is_named_by(&body), "{text}");
        }
    }
}
