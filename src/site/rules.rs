//! What the texts of a configuration must look like: names, addresses, zones, frames, number shapes.

use std::net::SocketAddr;

use regex::{Regex, RegexBuilder};

use super::finding::nearest;
use super::money;
use super::shape::{TextRule, Verdict};
use super::waves::DAYS;
use crate::identify::carrier;
use crate::wire::photo::PhotoName;

/// Longest name of a site, line or device: they become topic levels, file names and metric labels.
const NAME_MAX: usize = 64;
/// Longest text for people.
const LABEL_MAX: usize = 100;
/// Longest name of a source.
const SOURCE_MAX: usize = 200;
/// Longest header or terminator: what SICK CLV and Keyence SR let one configure.
const FRAME_MAX: usize = 10;
/// Longest no-read or heartbeat text.
const TELEGRAM_MAX: usize = 64;
/// A path of a Unix socket must fit `sun_path` with its closing zero (Linux: 108 bytes).
pub(super) const SOCKET_PATH_MAX: usize = 107;
/// Compiled size of one number shape; real ones need a few kilobytes.
const REGEX_SIZE_MAX: usize = 1 << 20;

pub(super) static NAME: TextRule = TextRule {
    expected: "a name of letters, digits, `.`, `_` and `-`, at most 64, beginning with a letter or digit",
    pattern: Some("^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"),
    judge: |text| {
        if text.is_empty() {
            return Err(Verdict::new("is empty"));
        }
        let letter = |c: char| c.is_ascii_alphanumeric();
        match text.chars().find(|&c| !letter(c) && !matches!(c, '.' | '_' | '-')) {
            Some(c) => Err(Verdict::with(
                format!("holds {c:?}, which a topic or a file name cannot carry"),
                format!("leave {c:?} out or write `-` in its place"),
            )),
            None if !text.starts_with(letter) => Err(Verdict::new("does not begin with a letter or digit")),
            None if text.len() > NAME_MAX => Err(Verdict::with(
                format!("has {} characters", text.len()),
                format!("shorten it to {NAME_MAX}"),
            )),
            None => Ok(()),
        }
    },
};

pub(super) static LABEL: TextRule = TextRule {
    expected: "a text for people, 1 to 100 characters on one line",
    pattern: None,
    judge: |text| match text.chars().count() {
        0 => Err(Verdict::new("is empty")),
        count if count > LABEL_MAX => Err(Verdict::new(format!("has {count} characters"))),
        _ if text.chars().any(char::is_control) => Err(Verdict::new("holds a control character")),
        _ => Ok(()),
    },
};

pub(super) static DOMAIN: TextRule = TextRule {
    expected: "a domain name such as `sort.example.com`, without `https://` and without a path",
    pattern: Some("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z][a-z0-9-]*[a-z0-9]$"),
    judge: |text| {
        if let Some((_, rest)) = text.split_once("://") {
            let bare = rest.split('/').next().unwrap_or(rest);
            return Err(Verdict::with("is a URL", format!("write `domain = \"{bare}\"`")));
        }
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let labels: Vec<&str> = text.split('.').collect();
        let ends_well = labels
            .last()
            .is_some_and(|last| last.len() >= 2 && last.starts_with(|c: char| c.is_ascii_lowercase()));
        if labels.len() >= 2 && ends_well && labels.iter().all(|part| label(part)) && text.len() <= 253 {
            Ok(())
        } else if text.bytes().any(|b| b.is_ascii_uppercase()) {
            Err(Verdict::with(
                "has capital letters",
                format!("write `domain = \"{}\"`", text.to_ascii_lowercase()),
            ))
        } else {
            Err(Verdict::new("is no domain name"))
        }
    },
};

pub(super) static ZONE: TextRule = TextRule {
    expected: "an IANA time zone name such as `Asia/Shanghai`",
    pattern: Some("^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$"),
    judge: |text| {
        // `available` lists the machine's zones or, without tzdata, the bundled ones.
        let known: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        if known.iter().any(|name| name == text) && jiff::tz::TimeZone::get(text).is_ok() {
            return Ok(());
        }
        // Zones are spelt with capitals, `_` and `/`; compare whole names first, then the city alone.
        let same = known.iter().find(|name| name.eq_ignore_ascii_case(text)).map(String::as_str);
        let near = same.or_else(|| nearest_zone(text, &known));
        Err(match near {
            Some(name) => Verdict::with("is no known time zone", format!("did you mean `{name}`?")),
            None => Verdict::new("is no known time zone"),
        })
    },
};

/// Cities of the line's own country that people write, and that have no zone of their name.
const SHANGHAI_TIME: [&str; 6] = ["beijing", "dongguan", "guangzhou", "shenzhen", "hangzhou", "yiwu"];

fn nearest_zone<'a>(text: &str, known: &'a [String]) -> Option<&'a str> {
    let city = |name: &str| name.rsplit('/').next().unwrap_or(name).to_lowercase().replace(' ', "_");
    let typed = city(text);
    let named = |wanted: &str| known.iter().find(|name| city(name) == wanted).map(String::as_str);
    named(&typed).or_else(|| nearest(&typed, SHANGHAI_TIME).and_then(|_| named("shanghai"))).or_else(|| {
        // Zones share their regions, so that distant cities look alike: two slips at most.
        let near = nearest(text, known.iter().map(String::as_str))?;
        (strsim::damerau_levenshtein(&text.to_lowercase(), &near.to_lowercase()) <= 2).then_some(near)
    })
}

pub(super) static PATH: TextRule = TextRule {
    expected: "a path; a relative one counts from the configuration's directory",
    pattern: None,
    judge: |text| match text {
        "" => Err(Verdict::new("is empty")),
        _ if text.contains('\0') => Err(Verdict::new("holds a zero byte")),
        _ if text.starts_with("~/") => Err(Verdict::with(
            "begins with `~`, which only a shell replaces",
            "write the whole path, e.g. `/home/…`",
        )),
        _ => Ok(()),
    },
};

pub(super) static PHOTO_NAME: TextRule = TextRule {
    expected: "a file name with `{year}` or `{yy}`, `{month}`, `{day}`, `{hour}`, `{minute}`, `{second}`, \
               `{millisecond}`, or `{unix-ms}`, and `*`",
    pattern: None,
    judge: |text| PhotoName::new(text).map(|_| ()).map_err(|error| Verdict::new(error.to_string())),
};

pub(super) static SOCKET_PATH: TextRule = TextRule {
    expected: "a path of at most 107 bytes, the limit of a Unix socket",
    pattern: None,
    judge: |text| match text.len() {
        0 => Err(Verdict::new("is empty")),
        length if length > SOCKET_PATH_MAX => Err(Verdict::new(format!("has {length} bytes"))),
        _ => (PATH.judge)(text),
    },
};

/// The ports that brokers listen on unless told otherwise.
const PLAIN_PORT: u16 = 1883;
const TLS_PORT: u16 = 8883;

pub(super) static BROKER: TextRule = TextRule {
    expected: "`mqtts://HOST:PORT`, or `mqtt://HOST:PORT` without TLS",
    pattern: Some("^mqtts?://[^\\s/@]+:[0-9]{1,5}$"),
    judge: |text| {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme @ ("mqtt" | "mqtts"), rest)) => (scheme, rest),
            Some(("ssl" | "tls", rest)) => {
                return Err(Verdict::with("has an unknown scheme", format!("write `\"mqtts://{rest}\"`")));
            }
            Some((_, rest)) => {
                return Err(Verdict::with("has an unknown scheme", format!("write `\"mqtt://{rest}\"`")));
            }
            None if text.trim().is_empty() => {
                let remedy = format!("write where the broker is, e.g. `\"mqtts://broker.local:{TLS_PORT}\"`");
                return Err(Verdict::with("is empty", remedy));
            }
            None => return Err(Verdict::with("has no scheme", format!("write `\"mqtt://{text}\"`"))),
        };
        if rest.contains('@') {
            return Err(Verdict::with(
                "carries a login",
                "name it by `user` and `password-file`; a password never stands in a configuration",
            ));
        }
        let bare = rest.trim_end_matches('/');
        if bare != rest {
            return Err(Verdict::with("has a path", format!("write `\"{scheme}://{bare}\"`")));
        }
        match host_port(rest) {
            Ok(_) => Ok(()),
            Err(verdict) if !rest.contains(':') => {
                let port = if scheme == "mqtts" { TLS_PORT } else { PLAIN_PORT };
                Err(Verdict { remedy: Some(format!("write `\"{scheme}://{rest}:{port}\"`")), ..verdict })
            }
            Err(verdict) => Err(verdict),
        }
    },
};

pub(super) static SERVER_NAME: TextRule = TextRule {
    expected: "a host name or an IP address, as it stands in the broker's certificate",
    pattern: None,
    judge: |text| match rustls::pki_types::ServerName::try_from(text) {
        Ok(_) => Ok(()),
        Err(_) => {
            Err(Verdict::with("is no host name", "write the name alone, without scheme, port and wildcard"))
        }
    },
};

pub(super) static ADDRESS: TextRule = TextRule {
    expected: "`HOST:PORT`, the host a name or an IP address, the port from 1 to 65535",
    pattern: Some("^[^\\s/]+:[0-9]{1,5}$"),
    judge: |text| match host_port(text) {
        Ok(_) => Ok(()),
        Err(verdict) if !text.contains(':') && !text.is_empty() => {
            Err(Verdict { remedy: Some(format!("write `\"{text}:502\"`, Modbus TCP's own port")), ..verdict })
        }
        Err(verdict) => Err(verdict),
    },
};

pub(super) static LOOPBACK: TextRule = TextRule {
    expected: "`127.0.0.1:PORT` or `[::1]:PORT`; port 0 takes a free one",
    pattern: Some("^(127\\.[0-9.]+|\\[::1\\]):[0-9]{1,5}$"),
    judge: |text| match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(()),
        Ok(address) => Err(Verdict::with(
            "is not on loopback, and the page has no login",
            format!("write `\"127.0.0.1:{}\"` and let a proxy with a login serve others", address.port()),
        )),
        Err(_) => Err(Verdict::new("is no IP address with a port")),
    },
};

pub(super) static FRAME: TextRule = TextRule {
    expected: "1 to 10 bytes, control characters as `\\u0002`, `\\r`, `\\n`",
    pattern: None,
    judge: |text| match text.len() {
        0 => Err(Verdict::new("is empty")),
        length if length > FRAME_MAX => Err(Verdict::new(format!("has {length} bytes"))),
        _ => Ok(()),
    },
};

pub(super) static TELEGRAM: TextRule = TextRule {
    expected: "1 to 64 visible characters, as the scanner sends them",
    pattern: Some("^[ -~]{1,64}$"),
    judge: |text| match text.len() {
        0 => Err(Verdict::new("is empty")),
        length if length > TELEGRAM_MAX => Err(Verdict::new(format!("has {length} bytes"))),
        _ if text.bytes().any(|b| !(b' '..=b'~').contains(&b)) => Err(Verdict::with(
            "holds a character outside ASCII or a control character",
            "leave the frame out",
        )),
        _ => Ok(()),
    },
};

pub(super) static COUNTRY: TextRule = TextRule {
    expected: "a country of two capital letters (ISO 3166-1 alpha-2), e.g. \"TH\"",
    pattern: Some("^[A-Z]{2}$"),
    judge: |text| {
        let capital = text.to_ascii_uppercase();
        if capital == "UK" {
            Err(Verdict::with("is no ISO country code", "write \"GB\""))
        } else if text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase()) {
            if crate::identify::is_country(text) {
                Ok(())
            } else {
                Err(Verdict::with(
                    "is assigned to no country",
                    "look the country up in ISO 3166-1, e.g. \"VN\" for Vietnam",
                ))
            }
        } else if text.len() == 2 && text.bytes().all(|b| b.is_ascii_alphabetic()) {
            Err(Verdict::with("has small letters", format!("write \"{capital}\"")))
        } else {
            Err(Verdict::new("is no country code"))
        }
    },
};

pub(super) static CARRIER_CODE: TextRule = TextRule {
    expected: "1 to 16 capital letters and digits, e.g. `KERRY`",
    pattern: Some("^[A-Z0-9]{1,16}$"),
    judge: |text| match text.len() {
        1..=16 if text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) => Ok(()),
        _ if text.bytes().any(|b| b.is_ascii_lowercase()) => Err(Verdict::with(
            "has small letters",
            format!("write `code = \"{}\"`", text.to_ascii_uppercase()),
        )),
        _ => Err(Verdict::new("is no carrier code")),
    },
};

pub(super) static SERVICE: TextRule = TextRule {
    expected: "1 to 16 capital letters and digits, e.g. `STD`",
    pattern: Some("^[A-Z0-9]{1,16}$"),
    judge: |text| match text.len() {
        1..=16 if text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) => Ok(()),
        _ if text.bytes().any(|b| b.is_ascii_lowercase()) => {
            Err(Verdict::with("has small letters", format!("write \"{}\"", text.to_ascii_uppercase())))
        }
        _ => Err(Verdict::new("is no name of a service")),
    },
};

pub(super) static CURRENCY: TextRule = TextRule {
    expected: "a currency of three capital letters (ISO 4217), e.g. \"THB\"",
    pattern: Some("^[A-Z]{3}$"),
    judge: |text| {
        let capital = text.to_ascii_uppercase();
        match money::decimals(text) {
            Some(_) => Ok(()),
            None if money::decimals(&capital).is_some() => {
                Err(Verdict::with("has small letters", format!("write \"{capital}\"")))
            }
            None if capital == "RMB" => Err(Verdict::with("is no ISO 4217 code", "write \"CNY\"")),
            None => Err(match nearest(text, money::codes()) {
                Some(near) => Verdict::with("is no currency in use", format!("did you mean \"{near}\"?")),
                None => Verdict::new("is no currency in use"),
            }),
        }
    },
};

pub(super) static DAY: TextRule = TextRule {
    expected: "one of \"mon\", \"tue\", \"wed\", \"thu\", \"fri\", \"sat\", \"sun\"",
    pattern: Some("^(mon|tue|wed|thu|fri|sat|sun)$"),
    judge: |text| {
        if DAYS.contains(&text) {
            return Ok(());
        }
        let small = text.to_lowercase();
        match DAYS.into_iter().find(|day| small.starts_with(day)) {
            Some(day) => Err(Verdict::with("is no day", format!("write \"{day}\""))),
            None => Err(Verdict::new("is no day")),
        }
    },
};

pub(super) static TIME: TextRule = TextRule {
    expected: "a time of day `HH:MM`, from \"00:00\" to \"23:59\"",
    pattern: Some("^([01][0-9]|2[0-3]):[0-5][0-9]$"),
    judge: |text| match time_of_day(text) {
        Some(_) => Ok(()),
        None if text == "24:00" => Err(Verdict::with("is the next day's", "write \"00:00\" or \"23:59\"")),
        None if time_of_day(&format!("0{text}")).is_some() => {
            Err(Verdict::with("has one digit of the hour", format!("write \"0{text}\"")))
        }
        None => Err(Verdict::new("is no time of day")),
    },
};

/// `HH:MM`.
pub(super) fn time_of_day(text: &str) -> Option<jiff::civil::Time> {
    let (hour, minute) = text.split_once(':')?;
    let two = |part: &str| {
        let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        if digits { part.parse::<i8>().ok() } else { None }
    };
    jiff::civil::Time::new(two(hour)?, two(minute)?, 0, 0).ok()
}

pub(super) static SOURCE: TextRule = TextRule {
    expected: "a document and its clause or page, 1 to 200 characters on one line",
    pattern: None,
    judge: |text| match text.chars().count() {
        0 => Err(Verdict::new("is empty")),
        count if count > SOURCE_MAX => Err(Verdict::new(format!("has {count} characters"))),
        _ if text.chars().any(char::is_control) => Err(Verdict::new("holds a control character")),
        _ => Ok(()),
    },
};

pub(super) static SHAPE: TextRule = TextRule {
    expected: "a regular expression that fits the whole number; look-around and back-references do not exist",
    pattern: None,
    judge: |text| match number_shape(text) {
        Err(error) => {
            let said = error.to_string();
            let reason = said.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Err(Verdict::with(
                format!("is no regular expression: {reason}"),
                "write it as in `'TH[0-9]{12}'`; single quotes keep backslashes as they are",
            ))
        }
        Ok(regex) if regex.is_match("") => Err(Verdict::with(
            "fits an empty text, so it would fit anything",
            "say how many characters there are",
        )),
        Ok(regex) => {
            let groups = [carrier::NUMBER_GROUP, carrier::CHECKED_GROUP];
            match regex.capture_names().flatten().find(|name| !groups.contains(name)) {
                Some(name) => Err(Verdict::with(
                    format!("has a group `{name}`, which means nothing"),
                    "name it `number` (the waybill) or `checked` (what the check digit covers), or write `(?:…)`",
                )),
                None => Ok(()),
            }
        }
    },
};

/// A number shape, anchored at both ends.
pub(super) fn number_shape(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(&format!("^(?:{text})$")).size_limit(REGEX_SIZE_MAX).build()
}

/// Splits `host:port`; an IPv6 address stands in brackets.
pub(super) fn host_port(text: &str) -> Result<(String, u16), Verdict> {
    let (host, port) = text.rsplit_once(':').ok_or_else(|| Verdict::new("has no port"))?;
    let port = match port.parse::<u16>() {
        Ok(port) if port > 0 => port,
        _ => return Err(Verdict::new(format!("has the port `{port}`"))),
    };
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bare {
        Some(six) if six.parse::<std::net::Ipv6Addr>().is_ok() => Ok((six.to_owned(), port)),
        None if !host.is_empty()
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) =>
        {
            Ok((host.to_owned(), port))
        }
        None if host.parse::<std::net::Ipv6Addr>().is_ok() => {
            Err(Verdict::with("has an IPv6 address without brackets", format!("write `[{host}]:{port}`")))
        }
        _ => Err(Verdict::new(format!("has the host `{host}`"))),
    }
}

/// Is a host this machine's own?
pub(super) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(rule: &TextRule, text: &str) -> String {
        let verdict = (rule.judge)(text).expect_err(text);
        format!("{} → {}", verdict.wrong, verdict.remedy.unwrap_or_default())
    }

    #[test]
    fn good_texts_are_taken() {
        for (rule, text) in [
            (&NAME, "dongguan-1"),
            (&LABEL, "泰国 Kerry"),
            (&DOMAIN, "sort.example.com"),
            (&ZONE, "Asia/Shanghai"),
            (&ZONE, "UTC"),
            (&PATH, "state"),
            (&BROKER, "mqtt://127.0.0.1:1883"),
            (&BROKER, "mqtt://[::1]:1883"),
            (&BROKER, "mqtts://broker.example.com:8883"),
            (&SERVER_NAME, "broker.example.com"),
            (&SERVER_NAME, "10.0.0.9"),
            (&ADDRESS, "plc.local:502"),
            (&LOOPBACK, "127.0.0.1:0"),
            (&FRAME, "\u{2}"),
            (&TELEGRAM, "NoRead"),
            (&COUNTRY, "TH"),
            (&COUNTRY, "XK"),
            (&CARRIER_CODE, "4PX"),
            (&SERVICE, "COD"),
            (&CURRENCY, "THB"),
            (&DAY, "sun"),
            (&TIME, "00:00"),
            (&TIME, "23:59"),
            (&SHAPE, "[0-9]{5}(?<checked>(?<number>[0-9]{12})[0-9])"),
            (&SHAPE, "TH[0-9]{12}"),
        ] {
            assert_eq!((rule.judge)(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn bad_texts_come_back_with_a_way_out() {
        for (rule, text, says) in [
            (&NAME, "line 1", "' '"),
            (&NAME, "", "empty"),
            (&NAME, "-x", "begin"),
            (&DOMAIN, "https://sort.example.com/x", "`domain = \"sort.example.com\"`"),
            (&DOMAIN, "Sort.Example.com", "`domain = \"sort.example.com\"`"),
            (&DOMAIN, "localhost", "no domain"),
            (&ZONE, "Asia/Shangai", "`Asia/Shanghai`"),
            (&ZONE, "asia/shanghai", "`Asia/Shanghai`"),
            (&ZONE, "Asia/Bejing", "`Asia/Shanghai`"),
            (&ZONE, "Bangkok", "`Asia/Bangkok`"),
            (&PATH, "~/store", "shell"),
            (&SOCKET_PATH, &"x".repeat(108), "108"),
            (&BROKER, "ssl://b:8883", "mqtts://b:8883"),
            (&BROKER, "http://b:1883", "mqtt://b:1883"),
            (&BROKER, "mqtts://b", ":8883"),
            (&SERVER_NAME, "*.example.com", "wildcard"),
            (&SERVER_NAME, "broker:8883", "port"),
            (&BROKER, "broker.local", "mqtt://broker.local"),
            (&BROKER, "", "mqtts://broker.local:8883"),
            (&BROKER, "mqtt://broker.local", ":1883"),
            (&BROKER, "mqtt://u:p@broker.local:1883", "password-file"),
            (&BROKER, "mqtt://broker.local:1883/", "path"),
            (&ADDRESS, "10.0.0.5", ":502"),
            (&ADDRESS, "10.0.0.5:0", "port"),
            (&ADDRESS, "10.0.0.5:70000", "port"),
            (&ADDRESS, "::1:502", "`[::1]:502`"),
            (&LOOPBACK, "0.0.0.0:8080", "127.0.0.1:8080"),
            (&FRAME, "12345678901", "11 bytes"),
            (&TELEGRAM, "\u{2}x", "control"),
            (&COUNTRY, "th", "\"TH\""),
            (&COUNTRY, "UK", "\"GB\""),
            (&COUNTRY, "ZZ", "no country"),
            (&CARRIER_CODE, "Kerry", "KERRY"),
            (&SERVICE, "cod", "\"COD\""),
            (&CURRENCY, "thb", "\"THB\""),
            (&CURRENCY, "RMB", "\"CNY\""),
            (&CURRENCY, "THX", "\"THB\""),
            (&DAY, "Friday", "\"fri\""),
            (&DAY, "daily", "no day"),
            (&TIME, "24:00", "\"23:59\""),
            (&TIME, "9:30", "\"09:30\""),
            (&TIME, "17:60", "no time"),
            (&TIME, "+7:30", "no time"),
            (&SHAPE, "(?<numbr>[0-9]{12})", "group `numbr`"),
            (&SHAPE, "TH[0-9", "unclosed"),
            (&SHAPE, "[0-9]*", "empty"),
        ] {
            let said = refused(rule, text);
            assert!(said.contains(says), "{text}: {said}");
        }
    }
}
