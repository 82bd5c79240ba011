//! Currencies: ISO 4217 codes in use, and how many decimals their amounts have.
//!
//! Amounts are whole numbers of the smallest unit everywhere in this program: 1,500 baht are 150000 THB, 300,000
//! dong are 300000 VND. The decimals serve to check such numbers and to show them.

/// Codes with two decimals, the usual number.
const TWO: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF \
    CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF \
    IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK \
    MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE \
    SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD YER ZAR ZMW ZWG";
/// Codes without decimals.
const NONE: &str = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF";
/// Codes with three decimals.
const THREE: &str = "BHD IQD JOD KWD LYD OMR TND";

/// Decimals of a currency's amounts; `None` for a code that is not in use.
pub fn decimals(code: &str) -> Option<u32> {
    let among = |codes: &str| codes.split(' ').any(|known| known == code);
    [(TWO, 2), (NONE, 0), (THREE, 3)].into_iter().find_map(|(codes, digits)| among(codes).then_some(digits))
}

/// Every code in use.
pub(super) fn codes() -> impl Iterator<Item = &'static str> {
    [TWO, NONE, THREE].into_iter().flat_map(|codes| codes.split(' '))
}

/// An amount as people write it, e.g. `1500.00 THB`; of an unknown currency, in its smallest unit.
pub fn shown(minor: u64, code: &str) -> String {
    match decimals(code) {
        Some(digits @ 1..) => {
            let unit = 10_u64.pow(digits);
            format!("{}.{:0width$} {code}", minor / unit, minor % unit, width = digits as usize)
        }
        Some(0) => format!("{minor} {code}"),
        None => format!("{minor} of the smallest unit of {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_stand_once_and_are_codes() {
        let mut all: Vec<&str> = codes().collect();
        assert!(all.len() > 150, "{}", all.len());
        assert!(all.iter().all(|code| code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase())));
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn amounts_are_shown_with_their_decimals() {
        assert_eq!(shown(150_000, "THB"), "1500.00 THB");
        assert_eq!(shown(5, "EUR"), "0.05 EUR");
        assert_eq!(shown(300_000, "VND"), "300000 VND");
        assert_eq!(shown(1_234, "KWD"), "1.234 KWD");
        assert_eq!(decimals("THX"), None);
        assert!(shown(7, "THX").contains("smallest unit of THX"));
    }
}
