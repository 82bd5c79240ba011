//! UPU S10 item identifiers: two letters of service, eight digits, check digit, two letters of the country
//! whose post issued the number (UPU S10, ISO 3166-1 alpha-2).

use super::check;

/// Length of an identifier.
pub(super) const LENGTH: usize = 13;

/// Country codes an S10 identifier may end in: ISO 3166-1 alpha-2 as assigned, and `XK`, which the posts
/// use for Kosovo. A letter is not covered by the check digit, so this list is what finds a misread one.
const COUNTRIES: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN \
    BO BQ BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ \
    EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM \
    HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK \
    LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG \
    NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG \
    SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM \
    US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW";

/// Is it one of the countries?
pub(super) fn is_country(code: &str) -> bool {
    countries().any(|known| known == code)
}

/// The codes of all countries.
pub fn countries() -> impl Iterator<Item = &'static str> {
    COUNTRIES.split(' ')
}

/// A text of the shape of an S10 identifier, not yet judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Item<'a> {
    serial: &'a str,
    check: u8,
    /// Issuing country.
    pub country: &'a str,
}

/// The parts of a text that has the shape of S10 (upper case, no blanks); `None` for any other.
pub(super) fn parse(text: &str) -> Option<Item<'_>> {
    let bytes = text.as_bytes();
    let shaped = bytes.len() == LENGTH
        && bytes[..2].iter().chain(&bytes[11..]).all(u8::is_ascii_uppercase)
        && bytes[2..11].iter().all(u8::is_ascii_digit);
    shaped.then(|| Item { serial: &text[2..10], check: bytes[10] - b'0', country: &text[11..] })
}

impl Item<'_> {
    /// The digit the serial asks for.
    pub fn expected_check(&self) -> Option<u8> {
        check::s10(self.serial.as_bytes())
    }

    /// Is it the one that stands there?
    pub fn check_agrees(&self) -> bool {
        self.expected_check() == Some(self.check)
    }

    /// Is the country one that issues numbers?
    pub fn country_known(&self) -> bool {
        is_country(self.country)
    }

    /// Why it is not a valid identifier; `None` where it is.
    pub fn fault(&self) -> Option<String> {
        if !self.check_agrees() {
            let expected = self.expected_check().map_or_else(|| "none".to_owned(), |digit| digit.to_string());
            return Some(format!("S10 check digit should be {expected}, is {}", self.check));
        }
        if !self.country_known() {
            return Some(format!("S10 country `{}` is not in ISO 3166-1", self.country));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_check_and_country_are_told_apart() {
        let item = parse("RB123456785GB").unwrap();
        assert_eq!((item.country, item.fault()), ("GB", None));
        assert!(parse("RB123456786US").unwrap().fault().unwrap().contains("should be 5, is 6"));
        assert!(parse("RB123456785ZZ").unwrap().fault().unwrap().contains("`ZZ`"));
        for other in ["", "RB12345678GB", "RB1234567855GB", "rb123456785gb", "R1123456785GB", "RB12345678XGB"]
        {
            assert_eq!(parse(other), None, "{other}");
        }
        assert_eq!(parse("ÄB12345678GB"), None, "thirteen bytes, twelve characters");
    }

    #[test]
    fn the_country_list_is_sorted_and_complete() {
        let codes: Vec<&str> = COUNTRIES.split(' ').collect();
        assert_eq!(codes.len(), 249 + 1);
        assert!(codes.is_sorted() && codes.iter().all(|code| code.len() == 2));
        for needed in ["TH", "US", "CN", "HK", "MY", "SG", "ID", "PH", "VN", "GB", "DE", "FR"] {
            assert!(codes.contains(&needed), "{needed}");
        }
    }
}
