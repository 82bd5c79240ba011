//! What must hold between the conditions of the sort plan and `carriers.toml`.

use std::collections::BTreeSet;

use super::finding::{File, Notes, Spot, nearest};
use super::resolve::Files;
use super::shape::quoted;
use crate::identify::countries;

/// Columns of the sort plan.
const COUNTRY: usize = 1;
const CARRIER: usize = 3;

/// A carrier as the plan's rows name it.
struct Known<'a> {
    code: &'a str,
    countries: Vec<(&'a Spot, &'a str)>,
}

impl Files {
    /// Reports carriers and countries that nobody knows, rows that no parcel can fit, and countries without a row.
    pub(super) fn check_conditions(&self, notes: &mut Notes) {
        let Some(plan) = &self.plan else { return };
        let carriers: Option<Vec<Known<'_>>> = self.carriers.as_ref().map(|table| {
            let carriers = table.tables("carrier").iter();
            let known = carriers.filter_map(|carrier| {
                let countries = carrier.texts("countries").iter();
                let countries = countries.map(|(spot, country)| (spot, country.as_str())).collect();
                Some(Known { code: carrier.known_text("code")?, countries })
            });
            known.collect()
        });
        // Where a carrier's entry is faulty, none is known for certain to be missing.
        let certain = |carriers: &Vec<Known<'_>>| {
            let all = self.carriers.as_ref().map_or(0, |table| table.tables("carrier").len());
            carriers.len() == all && carriers.iter().all(|carrier| !carrier.countries.is_empty())
        };
        let carriers = carriers.filter(certain).unwrap_or_default();
        let served: BTreeSet<&str> = carriers
            .iter()
            .flat_map(|carrier| carrier.countries.iter().map(|(_, country)| *country))
            .collect();
        for row in plan {
            let Some(conditions) = &row.conditions else { continue };
            let country = conditions.country.as_deref().zip(row.places[COUNTRY].as_ref());
            let carrier = conditions.carrier.as_deref().zip(row.places[CARRIER].as_ref());
            if let Some((country, spot)) = country {
                check_country(notes, spot, country, &served);
            }
            let Some((code, spot)) = carrier.filter(|_| !carriers.is_empty()) else { continue };
            match carriers.iter().find(|known| known.code == code) {
                None => unknown_carrier(notes, spot, code, &carriers),
                Some(known) => {
                    if let Some((country, _)) = country
                        && served.contains(country)
                        && !known.countries.iter().any(|(_, served)| *served == country)
                    {
                        notes.warning(
                            spot,
                            format!("no parcel reaches this row: {code} does not deliver to {country}"),
                            format!(
                                "one of its countries in carriers.toml: {}",
                                quoted(known.countries.iter().map(|(_, country)| *country))
                            ),
                            format!("correct the carrier or the country, or add {country} to {code}"),
                        );
                    }
                }
            }
        }
        self.check_gaps(notes, &carriers);
    }

    /// Warns of countries that a carrier serves and no row takes, in a plan that has countries.
    fn check_gaps(&self, notes: &mut Notes, carriers: &[Known<'_>]) {
        let Some(plan) = &self.plan else { return };
        let rows: Option<Vec<_>> = plan.iter().map(|row| row.conditions.as_ref()).collect();
        // A row that is faulty may be the one that takes it.
        let Some(rows) = rows else { return };
        if rows.iter().all(|row| row.country.is_none()) {
            return;
        }
        let mut taken: BTreeSet<&str> = BTreeSet::new();
        for row in &rows {
            match (&row.country, &row.destination, &row.carrier) {
                (Some(country), _, _) => {
                    taken.insert(country);
                }
                // Destinations are COUNTRY-CARRIER-SERVICE.
                (None, Some(destination), _) => {
                    taken.extend(destination.split(['-', '_', '.']).next());
                }
                (None, None, Some(code)) => {
                    let known = carriers.iter().filter(|known| known.code == code);
                    taken.extend(known.flat_map(|known| known.countries.iter().map(|(_, country)| *country)));
                }
                (None, None, None) => return,
            }
        }
        for carrier in carriers {
            for (spot, country) in &carrier.countries {
                if taken.insert(country) {
                    notes.warning(
                        spot,
                        format!("{} delivers to {country}, and no row of the sort plan takes it", carrier.code),
                        format!("a row with the country {country} in {}", File::Plan.name()),
                        "leave it as it is if nothing goes there: such parcels go to the exception chute as no_route",
                    );
                }
            }
        }
    }
}

fn check_country(notes: &mut Notes, spot: &Spot, country: &str, served: &BTreeSet<&str>) {
    if !countries().any(|code| code == country) {
        let near = nearest(country, served.iter().copied()).or_else(|| nearest(country, countries()));
        notes.error(
            spot,
            format!("{country} is no country"),
            "a country of two capital letters (ISO 3166-1 alpha-2), e.g. \"TH\"",
            near.map_or("correct the country".to_owned(), |near| format!("did you mean {near}?")),
        );
    } else if !served.is_empty() && !served.contains(country) {
        notes.warning(
            spot,
            format!("no parcel reaches this row: no carrier delivers to {country}"),
            format!("a country of carriers.toml: {}", quoted(served.iter().copied())),
            format!("correct the country, or add {country} to the carriers that deliver there"),
        );
    }
}

fn unknown_carrier(notes: &mut Notes, spot: &Spot, code: &str, carriers: &[Known<'_>]) {
    let codes = || carriers.iter().map(|carrier| carrier.code);
    notes.error(
        spot,
        format!("the carrier {code} is not in carriers.toml"),
        format!("the code of a carrier: {}", quoted(codes())),
        match nearest(code, codes()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("add {code} to carriers.toml, or write the code of one that is there"),
        },
    );
}
