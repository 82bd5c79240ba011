//! The table of carriers: what each takes, until when, and in which bags.
//!
//! What a number looks like is [`crate::identify::CarrierRules`]; here stands everything else that
//! `carriers.toml` says of a carrier, resolved, with pure questions to it. Limits that a carrier does not state
//! do not limit; a *permission* that it does not state is never given.
//!
//! [`Carrier::permits`] judges one parcel by what is known of it. A fact that the carrier asks for and nobody
//! told is a refusal of its own, [`Refused::Unknown`], said only where nothing that is known speaks against the
//! parcel: whoever asks may wait for the fact, or let the parcel go where the fact can be had.

use std::collections::BTreeMap;

use super::money;
use super::waves::{CutOff, Waves};

/// The carriers of a site, by code.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Carriers(BTreeMap<String, Carrier>);

impl Carriers {
    /// A carrier by its code.
    pub fn get(&self, code: &str) -> Option<&Carrier> {
        self.0.get(code)
    }

    /// All of them, in order of their codes.
    pub fn iter(&self) -> impl Iterator<Item = &Carrier> {
        self.0.values()
    }
}

impl FromIterator<Carrier> for Carriers {
    fn from_iter<T: IntoIterator<Item = Carrier>>(carriers: T) -> Carriers {
        Carriers(carriers.into_iter().map(|carrier| (carrier.code.clone(), carrier)).collect())
    }
}

/// One carrier.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Carrier {
    /// Short code, as in orders and destinations.
    pub code: String,
    /// Name for people.
    pub name: String,
    /// Countries it delivers to, ISO 3166-1 alpha-2; never empty out of a configuration.
    pub countries: Vec<String>,
    /// Services it offers; empty: none is told apart, any is taken.
    pub services: Vec<String>,
    /// Weight and size.
    pub limits: Limits,
    /// Cash on delivery by currency; empty: it collects none.
    pub cod: Vec<CodRange>,
    /// Whether it takes dangerous goods; `None`: it does not say, which is no permission.
    pub dangerous_goods: Option<bool>,
    /// What its bags hold; `None`: its parcels are not bagged by rule.
    pub bag: Option<Bag>,
    /// When it collects; `None`: it has no cut-off.
    pub waves: Option<Waves>,
}

/// Weight and size limits, both ends included. Sizes count the three sides from the longest to the shortest, as
/// carriers' manuals do, however the parcel lay when it was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Least and most weight, g.
    pub weight_g: Option<(u32, u32)>,
    /// Longest side, mm.
    pub longest_mm: Option<u32>,
    /// Second longest side, mm.
    pub second_mm: Option<u32>,
    /// Sum of the three sides, mm.
    pub sum_mm: Option<u32>,
    /// Length and girth: the longest side and twice the two others, mm.
    pub girth_mm: Option<u32>,
    /// Least second longest and least longest side, mm: the label must fit on it.
    pub least_mm: Option<(u32, u32)>,
}

/// Amounts it collects in one currency, both ends included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodRange {
    /// ISO 4217.
    pub currency: String,
    /// Least amount, in the currency's smallest unit.
    pub least_minor: u64,
    /// Largest amount, in the currency's smallest unit.
    pub most_minor: u64,
}

/// A bag of a carrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bag {
    /// Most parcels.
    pub parcels: Option<u32>,
    /// Most weight of its parcels together, g.
    pub weight_g: Option<u32>,
    /// What names it.
    pub receptacle: Receptacle,
}

/// What names a bag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receptacle {
    /// GS1 serial shipping container code, 18 digits.
    Sscc,
    /// UPU S9 receptacle identifier, 29 characters: between posts.
    UpuS9,
}

/// What is known of a parcel that a carrier is asked to take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts<'a> {
    /// Country of destination, ISO 3166-1 alpha-2.
    pub country: Option<&'a str>,
    /// Service.
    pub service: Option<&'a str>,
    /// Weight with packaging, g.
    pub weight_g: Option<u32>,
    /// Its three sides with packaging in any order, mm.
    pub size_mm: Option<[u16; 3]>,
    /// Money to collect at the door, smallest unit and ISO 4217; `None`: there is none to collect.
    pub cod: Option<(u64, &'a str)>,
    /// Holds dangerous goods, batteries included; `None`: nobody declared either.
    pub dangerous_goods: Option<bool>,
}

/// A fact that a carrier asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// Whether it holds dangerous goods.
    DangerousGoods,
    /// Weight.
    Weight,
    /// Size.
    Size,
}

impl std::fmt::Display for Fact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Fact::DangerousGoods => "whether it holds dangerous goods",
            Fact::Weight => "its weight",
            Fact::Size => "its size",
        })
    }
}

/// Why a carrier does not take a parcel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It does not deliver there.
    #[error("{carrier} does not deliver to {country}")]
    Country {
        /// Carrier.
        carrier: String,
        /// Country asked for.
        country: String,
    },
    /// It does not offer the service.
    #[error("{carrier} has no service {service}, only {}", offered.join(", "))]
    Service {
        /// Carrier.
        carrier: String,
        /// Service asked for.
        service: String,
        /// What it offers.
        offered: Vec<String>,
    },
    /// Dangerous goods, which it refuses or of which it says nothing.
    #[error("{carrier} {} dangerous goods", if *.stated { "takes no" } else { "does not say that it takes" })]
    DangerousGoods {
        /// Carrier.
        carrier: String,
        /// It says no; otherwise it says nothing.
        stated: bool,
    },
    /// Money to collect, and it collects none.
    #[error("{carrier} collects no cash on delivery")]
    NoCod {
        /// Carrier.
        carrier: String,
    },
    /// Money to collect in a currency it does not collect.
    #[error("{carrier} collects no {currency}")]
    CodCurrency {
        /// Carrier.
        carrier: String,
        /// Currency asked for.
        currency: String,
    },
    /// Money to collect beyond its range.
    #[error(
        "{carrier} collects {} to {}, not {}",
        money::shown(*.least_minor, .currency), money::shown(*.most_minor, .currency),
        money::shown(*.minor, .currency)
    )]
    CodAmount {
        /// Carrier.
        carrier: String,
        /// Amount asked for, smallest unit.
        minor: u64,
        /// Least it collects.
        least_minor: u64,
        /// Most it collects.
        most_minor: u64,
        /// ISO 4217.
        currency: String,
    },
    /// Too light.
    #[error("{carrier} takes parcels from {least_g} g, not of {weight_g} g")]
    TooLight {
        /// Carrier.
        carrier: String,
        /// Weight.
        weight_g: u32,
        /// Least.
        least_g: u32,
    },
    /// Too heavy.
    #[error("{carrier} takes parcels up to {most_g} g, not of {weight_g} g")]
    TooHeavy {
        /// Carrier.
        carrier: String,
        /// Weight.
        weight_g: u32,
        /// Most.
        most_g: u32,
    },
    /// Too small.
    #[error("{carrier} wants the {measure} to be {least_mm} mm or more, not {mm} mm")]
    TooSmall {
        /// Carrier.
        carrier: String,
        /// Which measure.
        measure: &'static str,
        /// It.
        mm: u32,
        /// Least.
        least_mm: u32,
    },
    /// Too large.
    #[error("{carrier} wants the {measure} to be {most_mm} mm or less, not {mm} mm")]
    TooLarge {
        /// Carrier.
        carrier: String,
        /// Which measure.
        measure: &'static str,
        /// It.
        mm: u32,
        /// Most.
        most_mm: u32,
    },
    /// Nothing known speaks against it, but this is not known.
    #[error("{carrier} asks for {fact}, and nobody told it")]
    Unknown {
        /// Carrier.
        carrier: String,
        /// What is not known.
        fact: Fact,
    },
}

impl Refused {
    /// The fact that was missing, where that is the only reason.
    pub fn missing(&self) -> Option<Fact> {
        match self {
            Refused::Unknown { fact, .. } => Some(*fact),
            Refused::Country { .. }
            | Refused::Service { .. }
            | Refused::DangerousGoods { .. }
            | Refused::NoCod { .. }
            | Refused::CodCurrency { .. }
            | Refused::CodAmount { .. }
            | Refused::TooLight { .. }
            | Refused::TooHeavy { .. }
            | Refused::TooSmall { .. }
            | Refused::TooLarge { .. } => None,
        }
    }
}

impl Carrier {
    /// Does it take this parcel? The gravest reason first: destination, dangerous goods, money, weight, size,
    /// and at last what is not known.
    ///
    /// A country or a service that was not told is not asked for: the destination says them, and the plan has
    /// chosen the carrier by it.
    ///
    /// # Errors
    ///
    /// The first reason why it does not.
    pub fn permits(&self, parcel: &Facts<'_>) -> Result<(), Refused> {
        self.permits_destination(parcel)?;
        if parcel.dangerous_goods == Some(true) && self.dangerous_goods != Some(true) {
            let stated = self.dangerous_goods.is_some();
            return Err(Refused::DangerousGoods { carrier: self.code.clone(), stated });
        }
        if let Some((minor, currency)) = parcel.cod {
            self.permits_cod(minor, currency)?;
        }
        if let Some(weight_g) = parcel.weight_g {
            self.permits_weight(weight_g)?;
        }
        if let Some(size_mm) = parcel.size_mm {
            self.permits_size(size_mm)?;
        }
        match self.asks_for(parcel) {
            Some(fact) => Err(Refused::Unknown { carrier: self.code.clone(), fact }),
            None => Ok(()),
        }
    }

    /// The wave that a parcel of this service belongs to now, see [`Waves::next_cut_off`]. `None` where the
    /// carrier has no cut-off for it.
    pub fn next_cut_off(&self, now_utc_us: i64, service: Option<&str>) -> Option<CutOff<'_>> {
        self.waves.as_ref()?.next_cut_off(now_utc_us, service)
    }

    fn permits_destination(&self, parcel: &Facts<'_>) -> Result<(), Refused> {
        if let Some(country) = parcel.country
            && !self.countries.iter().any(|known| known == country)
        {
            return Err(Refused::Country { carrier: self.code.clone(), country: country.to_owned() });
        }
        if let Some(service) = parcel.service
            && !self.services.is_empty()
            && !self.services.iter().any(|known| known == service)
        {
            return Err(Refused::Service {
                carrier: self.code.clone(),
                service: service.to_owned(),
                offered: self.services.clone(),
            });
        }
        Ok(())
    }

    fn permits_cod(&self, minor: u64, currency: &str) -> Result<(), Refused> {
        let carrier = self.code.clone();
        if self.cod.is_empty() {
            return Err(Refused::NoCod { carrier });
        }
        let currency = currency.to_owned();
        match self.cod.iter().find(|range| range.currency == currency) {
            None => Err(Refused::CodCurrency { carrier, currency }),
            Some(range) if (range.least_minor..=range.most_minor).contains(&minor) => Ok(()),
            Some(&CodRange { least_minor, most_minor, .. }) => {
                Err(Refused::CodAmount { carrier, minor, least_minor, most_minor, currency })
            }
        }
    }

    fn permits_weight(&self, weight_g: u32) -> Result<(), Refused> {
        let carrier = || self.code.clone();
        match self.limits.weight_g {
            Some((least_g, _)) if weight_g < least_g => {
                Err(Refused::TooLight { carrier: carrier(), weight_g, least_g })
            }
            Some((_, most_g)) if weight_g > most_g => {
                Err(Refused::TooHeavy { carrier: carrier(), weight_g, most_g })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn permits_size(&self, size_mm: [u16; 3]) -> Result<(), Refused> {
        let mut sides = size_mm.map(u32::from);
        sides.sort_unstable_by(|a, b| b.cmp(a));
        let [longest, second, third] = sides;
        let Limits { longest_mm, second_mm, sum_mm, girth_mm, least_mm, .. } = self.limits;
        let most = [
            ("longest side", longest, longest_mm),
            ("second longest side", second, second_mm),
            ("sum of the sides", longest + second + third, sum_mm),
            ("length and girth", longest + 2 * (second + third), girth_mm),
        ];
        for (measure, mm, limit) in most {
            if let Some(most_mm) = limit.filter(|most| mm > *most) {
                return Err(Refused::TooLarge { carrier: self.code.clone(), measure, mm, most_mm });
            }
        }
        let least = [
            ("second longest side", second, least_mm.map(|(second, _)| second)),
            ("longest side", longest, least_mm.map(|(_, longest)| longest)),
        ];
        for (measure, mm, limit) in least {
            if let Some(least_mm) = limit.filter(|least| mm < *least) {
                return Err(Refused::TooSmall { carrier: self.code.clone(), measure, mm, least_mm });
            }
        }
        Ok(())
    }

    /// A fact that it asks for and that is not known.
    fn asks_for(&self, parcel: &Facts<'_>) -> Option<Fact> {
        let Limits { weight_g, longest_mm, second_mm, sum_mm, girth_mm, least_mm } = self.limits;
        let size = longest_mm.or(second_mm).or(sum_mm).or(girth_mm).or(least_mm.map(|(side, _)| side));
        if self.dangerous_goods != Some(true) && parcel.dangerous_goods.is_none() {
            Some(Fact::DangerousGoods)
        } else if weight_g.is_some() && parcel.weight_g.is_none() {
            Some(Fact::Weight)
        } else if size.is_some() && parcel.size_mm.is_none() {
            Some(Fact::Size)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carrier() -> Carrier {
        Carrier {
            code: "KERRY".to_owned(),
            countries: vec!["TH".to_owned()],
            services: vec!["STD".to_owned(), "COD".to_owned()],
            limits: Limits {
                weight_g: Some((10, 20_000)),
                longest_mm: Some(1_000),
                second_mm: Some(800),
                sum_mm: Some(2_000),
                girth_mm: Some(3_000),
                least_mm: Some((105, 148)),
            },
            cod: vec![CodRange { currency: "THB".to_owned(), least_minor: 100, most_minor: 5_000_000 }],
            dangerous_goods: Some(false),
            ..Carrier::default()
        }
    }

    fn parcel() -> Facts<'static> {
        Facts {
            country: Some("TH"),
            service: Some("COD"),
            weight_g: Some(500),
            size_mm: Some([60, 300, 200]),
            cod: Some((99_000, "THB")),
            dangerous_goods: Some(false),
        }
    }

    fn says(carrier: &Carrier, parcel: &Facts<'_>) -> String {
        carrier.permits(parcel).expect_err("it was permitted").to_string()
    }

    #[test]
    fn a_parcel_within_everything_is_taken_and_at_every_end_too() {
        assert_eq!(carrier().permits(&parcel()), Ok(()));
        for weight_g in [10, 20_000] {
            assert_eq!(carrier().permits(&Facts { weight_g: Some(weight_g), ..parcel() }), Ok(()));
        }
        for size in [[1_000, 500, 500], [105, 148, 1], [1_000, 800, 200], [700, 650, 500]] {
            assert_eq!(carrier().permits(&Facts { size_mm: Some(size), ..parcel() }), Ok(()), "{size:?}");
        }
        for minor in [100, 5_000_000] {
            assert_eq!(carrier().permits(&Facts { cod: Some((minor, "THB")), ..parcel() }), Ok(()));
        }
    }

    #[test]
    fn each_reason_is_said_with_what_was_expected() {
        let cases: &[(Facts<'_>, &str)] = &[
            (Facts { country: Some("VN"), ..parcel() }, "does not deliver to VN"),
            (Facts { service: Some("EXP"), ..parcel() }, "no service EXP, only STD, COD"),
            (Facts { dangerous_goods: Some(true), ..parcel() }, "takes no dangerous goods"),
            (Facts { cod: Some((99, "THB")), ..parcel() }, "1.00 THB to 50000.00 THB, not 0.99 THB"),
            (Facts { cod: Some((5_000_001, "THB")), ..parcel() }, "not 50000.01 THB"),
            (Facts { cod: Some((500, "VND")), ..parcel() }, "collects no VND"),
            (Facts { weight_g: Some(9), ..parcel() }, "from 10 g, not of 9 g"),
            (Facts { weight_g: Some(20_001), ..parcel() }, "up to 20000 g, not of 20001 g"),
            (Facts { size_mm: Some([10, 10, 1_001]), ..parcel() }, "longest side to be 1000 mm or less"),
            (Facts { size_mm: Some([801, 900, 10]), ..parcel() }, "second longest side to be 800 mm or less"),
            (Facts { size_mm: Some([700, 700, 601]), ..parcel() }, "sum of the sides to be 2000 mm or less"),
            (Facts { size_mm: Some([750, 650, 600]), ..parcel() }, "length and girth to be 3000 mm or less"),
            (Facts { size_mm: Some([300, 104, 50]), ..parcel() }, "second longest side to be 105 mm or more"),
            (Facts { size_mm: Some([147, 120, 50]), ..parcel() }, "longest side to be 148 mm or more"),
        ];
        for (parcel, expected) in cases {
            let said = says(&carrier(), parcel);
            assert!(said.starts_with("KERRY ") && said.contains(expected), "{expected}: {said}");
        }
    }

    #[test]
    fn a_missing_permission_is_none() {
        let silent = Carrier { dangerous_goods: None, cod: Vec::new(), ..carrier() };
        let dangerous = Facts { dangerous_goods: Some(true), cod: None, ..parcel() };
        assert!(says(&silent, &dangerous).contains("does not say that it takes dangerous goods"));
        assert!(says(&silent, &parcel()).contains("no cash on delivery"));
        assert_eq!(silent.permits(&Facts { cod: None, ..parcel() }), Ok(()));
        let permitting = Carrier { dangerous_goods: Some(true), ..carrier() };
        assert_eq!(permitting.permits(&Facts { cod: None, ..dangerous }), Ok(()));
        assert_eq!(permitting.permits(&Facts { dangerous_goods: None, ..parcel() }), Ok(()));
    }

    #[test]
    fn what_is_not_known_is_said_last_and_never_taken_for_no() {
        let missing = |parcel: Facts<'_>| carrier().permits(&parcel).unwrap_err().missing();
        let nothing = Facts::default();
        assert_eq!(missing(nothing), Some(Fact::DangerousGoods));
        assert_eq!(missing(Facts { dangerous_goods: Some(false), ..nothing }), Some(Fact::Weight));
        assert_eq!(missing(Facts { size_mm: None, ..parcel() }), Some(Fact::Size));
        assert_eq!(
            missing(Facts { weight_g: Some(20_001), ..nothing }),
            None,
            "too heavy is the graver reason"
        );
        let unlimited = Carrier { limits: Limits::default(), dangerous_goods: Some(true), ..carrier() };
        assert_eq!(unlimited.permits(&nothing), Ok(()));
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let huge = Facts { weight_g: Some(u32::MAX), size_mm: Some([u16::MAX; 3]), ..parcel() };
        assert!(carrier().permits(&huge).is_err());
        assert!(carrier().permits(&Facts { weight_g: None, ..huge }).is_err());
        assert!(carrier().permits(&Facts { cod: Some((u64::MAX, "THB")), ..parcel() }).is_err());
    }
}
