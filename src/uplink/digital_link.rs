//! GS1 keys → one canonical spelling: the constrained canonical GS1 Digital Link URI.
//!
//! The same parcel may be named by an EPC URI (`urn:epc:id:sscc:…`) or by a Digital Link URI under anyone's
//! domain. The event hash (CBV 2.0 section 8.9) must not depend on the choice, so both are brought to
//! `https://id.gs1.org/…` with the finest level of identification and nothing else. What is no GS1 key stays
//! as it is. Sources: GS1 EPC Tag Data Standard 2.0 section 6 (EPC URIs), GS1 Digital Link URI Syntax 1.2
//! section 4.11, GS1 General Specifications section 7.9.1 (check digit).

/// Where canonical Digital Link URIs live.
const CANONICAL: &str = "https://id.gs1.org/";

/// How the digits behind the company prefix are arranged in the key.
enum Shape {
    /// Indicator or extension digit first, then the prefix, then the reference, then a check digit.
    DigitFirst,
    /// Prefix, reference, check digit.
    Plain,
    /// Prefix and reference as they are, no check digit.
    Bare,
}

/// One EPC scheme.
struct Scheme {
    /// Name in the URI.
    name: &'static str,
    /// Application identifier of its Digital Link.
    ai: &'static str,
    /// Digits of company prefix and reference together; `None` where the reference is free text.
    digits: Option<usize>,
    shape: Shape,
    /// Put before the key's digits.
    lead: &'static str,
    /// Follows the key: nothing, a serial in the same segment, or one behind another identifier.
    tail: Tail,
}

/// What follows the reference in an EPC URI.
enum Tail {
    /// Nothing.
    None,
    /// A serial that is written directly behind the key.
    Joined,
    /// A serial behind its own application identifier.
    Behind(&'static str),
    /// The extension of a GLN: `0` means none.
    Extension,
    /// Piece and total, then a serial behind 21.
    Pieces,
}

const SCHEMES: [Scheme; 16] = [
    scheme("sgtin", "01", Some(13), Shape::DigitFirst, Tail::Behind("21")),
    scheme("sscc", "00", Some(17), Shape::DigitFirst, Tail::None),
    scheme("sgln", "414", Some(12), Shape::Plain, Tail::Extension),
    Scheme { name: "grai", ai: "8003", digits: Some(12), shape: Shape::Plain, lead: "0", tail: Tail::Joined },
    scheme("giai", "8004", None, Shape::Bare, Tail::None),
    scheme("gsrn", "8018", Some(17), Shape::Plain, Tail::None),
    scheme("gsrnp", "8017", Some(17), Shape::Plain, Tail::None),
    scheme("gdti", "253", Some(12), Shape::Plain, Tail::Joined),
    scheme("cpi", "8010", None, Shape::Bare, Tail::Behind("8011")),
    scheme("sgcn", "255", Some(12), Shape::Plain, Tail::Joined),
    scheme("ginc", "401", None, Shape::Bare, Tail::None),
    scheme("gsin", "402", Some(16), Shape::Plain, Tail::None),
    scheme("itip", "8006", Some(13), Shape::DigitFirst, Tail::Pieces),
    scheme("upui", "01", Some(13), Shape::DigitFirst, Tail::Behind("235")),
    scheme("pgln", "417", Some(12), Shape::Plain, Tail::None),
    // A class, not an instance: `urn:epc:class:lgtin`.
    scheme("lgtin", "01", Some(13), Shape::DigitFirst, Tail::Behind("10")),
];

const fn scheme(
    name: &'static str,
    ai: &'static str,
    digits: Option<usize>,
    shape: Shape,
    tail: Tail,
) -> Scheme {
    Scheme { name, ai, digits, shape, lead: "", tail }
}

/// Short names that older Digital Link URIs use instead of application identifiers.
const SHORT_NAMES: [(&str, &str); 17] = [
    ("gtin", "01"),
    ("itip", "8006"),
    ("cpid", "8010"),
    ("gln", "414"),
    ("party", "417"),
    ("gsrnp", "8017"),
    ("gsrn", "8018"),
    ("gcn", "255"),
    ("sscc", "00"),
    ("gdti", "253"),
    ("ginc", "401"),
    ("gsin", "402"),
    ("grai", "8003"),
    ("giai", "8004"),
    ("cpv", "22"),
    ("lot", "10"),
    ("ser", "21"),
];

/// Primary keys, and the qualifiers of each that identify more finely, finest first.
const KEYS: [(&str, &[&str]); 14] = [
    ("00", &[]),
    ("01", &["21", "235", "10"]),
    ("253", &[]),
    ("255", &[]),
    ("401", &[]),
    ("402", &[]),
    ("414", &["254"]),
    ("417", &[]),
    ("8003", &[]),
    ("8004", &[]),
    ("8006", &["21", "10"]),
    ("8010", &["8011"]),
    ("8017", &[]),
    ("8018", &[]),
];

/// Schemes whose pattern (`urn:epc:idpat:…:*`) names a class that a Digital Link can name too.
const PATTERNS: [&str; 7] = ["sgtin", "grai", "gdti", "sgcn", "cpi", "itip", "upui"];

/// The canonical Digital Link URI of a GS1 key, or `None` where `uri` names none.
pub fn canonical(uri: &str) -> Option<String> {
    if let Some(rest) = uri.strip_prefix("urn:epc:") {
        let (family, rest) = rest.split_once(':')?;
        let (name, body) = rest.split_once(':')?;
        return match family {
            "id" if name != "lgtin" => epc(name, body, false),
            "class" if name == "lgtin" => epc(name, body, false),
            "idpat" if PATTERNS.contains(&name) => {
                epc(name, body.strip_suffix(".*").or_else(|| body.strip_suffix('*'))?, true)
            }
            _ => None,
        };
    }
    link(uri)
}

fn epc(name: &str, body: &str, pattern: bool) -> Option<String> {
    let scheme = SCHEMES.iter().find(|scheme| scheme.name == name)?;
    let (prefix, rest) = body.split_once('.')?;
    if !(6..=12).contains(&prefix.len()) || !is_digits(prefix) {
        return None;
    }
    let (reference, tail) = match (scheme.digits, &scheme.tail) {
        (Some(digits), _) => {
            let length = digits.checked_sub(prefix.len())?;
            (rest.get(..length)?, rest.get(length..)?)
        }
        // Component parts: the serial stands behind the last point, the reference is free text.
        (None, Tail::Behind(_)) if !pattern => {
            let at = rest.rfind('.')?;
            rest.split_at(at)
        }
        (None, _) => (rest, ""),
    };
    let key = match scheme.shape {
        Shape::Bare => {
            if reference.is_empty() {
                return None;
            }
            format!("{prefix}{}", percent(reference))
        }
        Shape::Plain | Shape::DigitFirst => {
            // A prefix of twelve digits may leave no room for a reference.
            if !reference.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let digits = match scheme.shape {
                Shape::DigitFirst => {
                    let (first, others) = reference.split_at_checked(1)?;
                    format!("{first}{prefix}{others}")
                }
                Shape::Plain | Shape::Bare => format!("{}{prefix}{reference}", scheme.lead),
            };
            format!("{digits}{}", check_digit(&digits))
        }
    };
    let base = format!("{CANONICAL}{}/{key}", scheme.ai);
    if pattern {
        // The class of all instances: the key alone; pieces stay, since they belong to the key.
        return match (&scheme.tail, tail) {
            (Tail::Pieces, tail) => {
                let (piece, total) = tail.strip_prefix('.')?.split_once('.')?;
                Some(format!("{base}{piece}{total}"))
            }
            (_, "") => Some(base),
            _ => None,
        };
    }
    let serial = match (&scheme.tail, tail) {
        (Tail::None, "") => return Some(base),
        (Tail::None, _) => return None,
        (_, tail) => tail.strip_prefix('.').filter(|serial| !serial.is_empty())?,
    };
    match scheme.tail {
        Tail::None => None,
        Tail::Joined => Some(format!("{base}{}", percent(serial))),
        Tail::Behind(ai) => Some(format!("{base}/{ai}/{}", percent(serial))),
        Tail::Extension if serial == "0" => Some(base),
        Tail::Extension => Some(format!("{base}/254/{}", percent(serial))),
        Tail::Pieces => {
            let mut parts = serial.splitn(3, '.');
            let (piece, total, serial) = (parts.next()?, parts.next()?, parts.next()?);
            Some(format!("{base}{piece}{total}/21/{}", percent(serial)))
        }
    }
}

/// A Digital Link URI under any domain → the constrained canonical one.
fn link(uri: &str) -> Option<String> {
    let rest = uri.strip_prefix("https://").or_else(|| uri.strip_prefix("http://"))?;
    let (domain, path) = rest.split_once('/')?;
    if domain.is_empty() {
        return None;
    }
    let path = path.split(['?', '#']).next()?;
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let ai_of = |segment: &str| -> Option<&'static str> {
        SHORT_NAMES
            .iter()
            .find(|(short, _)| *short == segment)
            .map(|(_, ai)| *ai)
            .or_else(|| KEYS.iter().map(|(ai, _)| *ai).find(|ai| *ai == segment))
    };
    // A key is an identifier with at least four digits at the start of its value, and something after them.
    let (at, ai, finer) = segments.iter().enumerate().find_map(|(at, segment)| {
        let ai = ai_of(segment)?;
        let (_, finer) = KEYS.iter().find(|(key, _)| *key == ai)?;
        let value = segments.get(at + 1)?;
        (value.len() > 4 && value.bytes().take(4).all(|byte| byte.is_ascii_digit()))
            .then_some((at, ai, *finer))
    })?;
    let value = segments.get(at + 1)?;
    let value = if ai == "01" && is_digits(value) && value.len() < 14 {
        format!("{value:0>14}")
    } else {
        (*value).to_owned()
    };
    let fits = match ai {
        "00" | "8017" | "8018" => value.len() == 18 && is_digits(&value),
        "01" => value.len() == 14 && is_digits(&value),
        "402" => value.len() == 17 && is_digits(&value),
        "414" | "417" => value.len() == 13 && is_digits(&value),
        "253" | "255" => value.get(..13).is_some_and(is_digits),
        "8003" => value.get(..14).is_some_and(is_digits),
        "8006" => value.len() == 18 && is_digits(&value),
        _ => true,
    };
    if !fits {
        return None;
    }
    let base = format!("{CANONICAL}{ai}/{value}");
    let qualifiers = &segments[at + 2..];
    for wanted in finer {
        let found = qualifiers.chunks_exact(2).find(|pair| {
            pair[0] == *wanted || SHORT_NAMES.iter().any(|(short, ai)| *short == pair[0] && ai == wanted)
        });
        if let Some(pair) = found {
            return Some(format!("{base}/{wanted}/{}", pair[1]));
        }
    }
    Some(base)
}

/// Mod 10 check digit, weights 3 and 1 from the right.
fn check_digit(digits: &str) -> u32 {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, byte)| u32::from(byte - b'0') * if place % 2 == 0 { 3 } else { 1 })
        .sum();
    (10 - sum % 10) % 10
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Characters that an EPC URI may hold plain and a Digital Link URI may not.
fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '!' => out.push_str("%21"),
            '(' => out.push_str("%28"),
            ')' => out.push_str("%29"),
            '*' => out.push_str("%2A"),
            '+' => out.push_str("%2B"),
            ',' => out.push_str("%2C"),
            ':' => out.push_str("%3A"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::canonical;

    /// Left: as written; right: as the reference generator 1.9.3 writes it.
    #[test]
    fn every_scheme_has_its_canonical_link() {
        for (written, link) in [
            ("urn:epc:id:sgtin:4012345.011111.9876", "01/04012345111118/21/9876"),
            ("urn:epc:id:sscc:4012345.1111111111", "00/140123451111111117"),
            ("urn:epc:id:sgln:4012345.00005.0", "414/4012345000054"),
            ("urn:epc:id:sgln:4012345.11111.400", "414/4012345111118/254/400"),
            ("urn:epc:id:giai:4000001.111", "8004/4000001111"),
            ("urn:epc:id:grai:4012345.77777.789", "8003/04012345777772789"),
            ("urn:epc:id:gdti:4012345.55555.987", "253/4012345555554987"),
            ("urn:epc:class:lgtin:4012345.012345.998877", "01/04012345123456/10/998877"),
            ("urn:epc:idpat:sgtin:4012345.011111.*", "01/04012345111118"),
            ("https://id.gs1.de/01/04012345999990/21/XYZ-1234?x=1", "01/04012345999990/21/XYZ-1234"),
            ("https://example.com/a/gtin/4012345999990/lot/A/ser/B", "01/04012345999990/21/B"),
        ] {
            assert_eq!(canonical(written), Some(format!("https://id.gs1.org/{link}")), "{written}");
        }
    }

    #[test]
    fn what_is_no_gs1_key_stays() {
        for uri in [
            "https://sort.example.com/obj/dg-l1-3-42",
            "https://sort.example.com/loc/l1-chute-12",
            "urn:epc:id:sscc:12.3",
            "urn:epc:id:sscc:4012345.111111111",
            "urn:epc:id:unknown:4012345.1",
            "",
            "1.5",
        ] {
            assert_eq!(canonical(uri), None, "{uri}");
        }
    }
}
