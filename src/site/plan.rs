//! The sort plan: which chutes take which parcels.
//!
//! Words: a *row* of `sort-plan.csv` has *conditions* and leads to a chute with a priority; rows with the same
//! conditions form one *route*, whose chutes stand in order of priority. A condition left empty fits any parcel,
//! one that is given fits a parcel whose order says the same: what an order does not say fits no condition.
//!
//! The *most specific* route that fits a parcel takes it ([`Specificity`]). Two that are equally specific and fit the
//! same parcel lead to the same chutes: anything else is refused by the check ([`super::plan_rows`]).
//!
//! A route is known by its name wherever a destination is shown, stored or compared: the destination where that is
//! its only condition, else the conditions, as in `TH/10*/KERRY/STD`. Different conditions have different names, so
//! that a name in a record, and a plan's version, which is a hash over names and chutes, mean one thing.
//!
//! The search takes one hash of each thing that the order says and one for each *shape*, a choice of columns that some
//! row has; so it does not grow with the number of rows.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest, Sha256};

use super::ChuteNo;

/// What comes before the table in the hash of a plan's version, so that another canonical form has other versions.
const PLAN_FORM: &[u8] = b"sortd plan 1\n";
/// Hex digits of a plan's version.
const VERSION_DIGITS: usize = 16;
/// Columns with conditions.
pub(super) const COLUMNS: usize = 7;
/// Their names, in the order of [`Conditions::columns`].
pub(super) const COLUMN_NAMES: [&str; COLUMNS] =
    ["destination", "country", "postcode", "carrier", "service", "customer", "goods"];
const POSTCODE: usize = 2;
/// The mask of conditions that are a destination and nothing else.
const DESTINATION_ALONE: u8 = 1;
/// Longest postcode prefix; the longest postcodes have ten letters and digits.
pub(super) const PREFIX_MAX: usize = 10;

/// What a parcel must have for a route to take it; `None` fits any.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conditions {
    /// Destination as the order names it.
    pub destination: Option<String>,
    /// Country, ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// Beginning of the postcode, as `plain_postcode` writes it.
    pub postcode: Option<String>,
    /// Carrier's code.
    pub carrier: Option<String>,
    /// Service of the carrier.
    pub service: Option<String>,
    /// Exporter.
    pub customer: Option<String>,
    /// Class of the goods.
    pub goods: Option<String>,
}

/// What an order says of its parcel, as far as a sort plan may ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traits<'a> {
    /// Destination.
    pub destination: &'a str,
    /// Country, ISO 3166-1 alpha-2.
    pub country: Option<&'a str>,
    /// Postcode as the country writes it.
    pub postcode: Option<&'a str>,
    /// Carrier's code.
    pub carrier: Option<&'a str>,
    /// Service of the carrier.
    pub service: Option<&'a str>,
    /// Exporter.
    pub customer: Option<&'a str>,
    /// Class of the goods.
    pub goods: Option<&'a str>,
}

/// How specific conditions are: a destination before all, then the longer postcode prefix, then more of the other
/// columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity {
    destination: bool,
    prefix: usize,
    others: usize,
}

/// A route as it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its chutes, in order of priority.
    pub chutes: &'a [ChuteNo],
}

/// Which chutes take which parcels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortPlan {
    /// First 16 hex digits of the SHA-256 over the resolved table.
    pub version: String,
    /// Chutes of each route in order of priority, by its name. A route taken out of here is found no more.
    pub routes: BTreeMap<String, Vec<ChuteNo>>,
    /// Conditions of the routes that are not a destination alone.
    conditions: BTreeMap<String, Conditions>,
    index: Index,
}

/// A postcode as prefixes are compared: capitals, without blanks and hyphens.
pub fn plain_postcode(postcode: &str) -> String {
    let kept = postcode.chars().filter(|c| !c.is_whitespace() && *c != '-');
    kept.map(|c| c.to_ascii_uppercase()).collect()
}

impl Conditions {
    /// A destination and nothing else.
    pub fn of_destination(name: &str) -> Conditions {
        Conditions { destination: Some(name.to_owned()), ..Conditions::default() }
    }

    /// Out of columns in the order of [`COLUMN_NAMES`].
    pub(super) fn of_columns(columns: [Option<String>; COLUMNS]) -> Conditions {
        let [destination, country, postcode, carrier, service, customer, goods] = columns;
        Conditions { destination, country, postcode, carrier, service, customer, goods }
    }

    pub(super) fn columns(&self) -> [Option<&str>; COLUMNS] {
        let Conditions { destination, country, postcode, carrier, service, customer, goods } = self;
        [destination, country, postcode, carrier, service, customer, goods].map(Option::as_deref)
    }

    /// Whether a parcel has all of it.
    pub fn fit(&self, traits: &Traits<'_>) -> bool {
        let postcode = traits.postcode.map(plain_postcode);
        let said = traits.columns(postcode.as_deref());
        self.columns().into_iter().zip(said).enumerate().all(|(column, pair)| match pair {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(prefix), Some(said)) if column == POSTCODE => said.starts_with(prefix),
            (Some(wanted), Some(said)) => said == wanted,
        })
    }

    /// The destination, where that is all.
    pub(super) fn destination_alone(self) -> Option<String> {
        if self.mask() == DESTINATION_ALONE { self.destination } else { None }
    }

    /// How specific they are.
    pub fn specificity(&self) -> Specificity {
        let [destination, _, postcode, ..] = self.columns();
        let given = self.columns().into_iter().flatten().count();
        Specificity {
            destination: destination.is_some(),
            prefix: postcode.map_or(0, str::len),
            others: given - usize::from(destination.is_some()) - usize::from(postcode.is_some()),
        }
    }

    /// Which columns are given, one bit each.
    pub(super) fn mask(&self) -> u8 {
        mask_of(&self.columns())
    }

    /// The name of the route with these conditions: the destination where that is all, else country, postcode prefix,
    /// carrier, service, customer, goods between slashes up to the last one given, with `*` for any; a destination
    /// with further conditions stands before them with a colon.
    pub fn name(&self) -> String {
        let [destination, rest @ ..] = self.columns();
        let last = rest.iter().rposition(Option::is_some);
        let mut name = match (destination, last) {
            (Some(destination), None) => return destination.to_owned(),
            (Some(destination), Some(_)) => format!("{destination}:"),
            (None, _) => String::new(),
        };
        // Always two parts: a country alone would read as a destination of that name.
        for (at, part) in rest.iter().enumerate().take(last.unwrap_or(0).max(1) + 1) {
            if at > 0 {
                name.push('/');
            }
            match part {
                Some(text) => name.extend(text.chars().map(escaped)),
                None => name.push('*'),
            }
            if at + 1 == POSTCODE && part.is_some() {
                name.push('*');
            }
        }
        name
    }

    /// A parcel that has these conditions and nothing else.
    pub fn traits(&self) -> Traits<'_> {
        let [destination, country, postcode, carrier, service, customer, goods] = self.columns();
        let destination = destination.unwrap_or_default();
        Traits { destination, country, postcode, carrier, service, customer, goods }
    }
}

impl<'a> Traits<'a> {
    fn columns(&self, plain_postcode: Option<&'a str>) -> [Option<&'a str>; COLUMNS] {
        let Traits { destination, country, postcode: _, carrier, service, customer, goods } = *self;
        [Some(destination), country, plain_postcode, carrier, service, customer, goods]
    }
}

/// What separates the parts of a name does not stand in a part.
fn escaped(c: char) -> std::borrow::Cow<'static, str> {
    match c {
        '/' => "%2F".into(),
        '*' => "%2A".into(),
        '%' => "%25".into(),
        c => String::from(c).into(),
    }
}

fn mask_of(columns: &[Option<&str>; COLUMNS]) -> u8 {
    columns.iter().enumerate().fold(0, |mask, (column, given)| mask | u8::from(given.is_some()) << column)
}

impl SortPlan {
    /// A plan of these routes; its version follows from them.
    pub fn new(routes: impl IntoIterator<Item = (Conditions, Vec<ChuteNo>)>) -> SortPlan {
        let (mut chutes, mut conditions) = (BTreeMap::new(), BTreeMap::new());
        let mut index = Index::default();
        for (of, to) in routes {
            let name = of.name();
            index.add(&of, &name);
            if of.mask() != DESTINATION_ALONE {
                conditions.insert(name.clone(), of);
            }
            chutes.insert(name, to);
        }
        index.order();
        SortPlan { version: plan_version(&chutes), routes: chutes, conditions, index }
    }

    /// A plan by destinations alone, with a version given to it.
    pub fn by_destination(version: &str, routes: BTreeMap<String, Vec<ChuteNo>>) -> SortPlan {
        let routes = routes.into_iter().map(|(name, chutes)| (Conditions::of_destination(&name), chutes));
        SortPlan { version: version.to_owned(), ..SortPlan::new(routes) }
    }

    /// The route that takes a parcel: the most specific one that fits it.
    pub fn route_of(&self, traits: &Traits<'_>) -> Option<Route<'_>> {
        self.index.find(traits, |name| {
            let (name, chutes) = self.routes.get_key_value(name)?;
            Some(Route { name, chutes })
        })
    }

    /// The conditions of a route; `None` where it is a destination alone.
    pub fn conditions_of(&self, name: &str) -> Option<&Conditions> {
        self.conditions.get(name)
    }

    /// Names of the routes that are a destination alone.
    pub fn destinations(&self) -> impl Iterator<Item = &String> {
        self.routes.keys().filter(|name| !self.conditions.contains_key(*name))
    }
}

/// The version of a plan: the first 16 hex digits of the SHA-256 over its canonical form, one line a
/// route in byte order of the names, `NAME TAB chute,chute…` in order of priority.
pub fn plan_version(routes: &BTreeMap<String, Vec<ChuteNo>>) -> String {
    let mut hash = Sha256::new();
    hash.update(PLAN_FORM);
    for (name, chutes) in routes {
        let chutes: Vec<String> = chutes.iter().map(|chute| chute.0.to_string()).collect();
        hash.update(format!("{name}\t{}\n", chutes.join(",")));
    }
    let mut digits: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    digits.truncate(VERSION_DIGITS);
    digits
}

/// A value of a column by its number; 0 stands for a column that a shape has not.
type Values = [u32; COLUMNS];

/// Routes by what they ask for. Nothing is read in the order of a hash table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Index {
    /// Numbers of the values that stand in each column, from 1.
    values: [HashMap<String, u32>; COLUMNS],
    /// From the most specific on.
    shapes: Vec<Shape>,
}

/// Routes that give the same columns, and a prefix of the same length.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shape {
    specificity: Specificity,
    mask: u8,
    names: HashMap<Values, String>,
}

impl Index {
    fn add(&mut self, conditions: &Conditions, name: &str) {
        let mut key = Values::default();
        for (column, text) in conditions.columns().into_iter().enumerate() {
            let Some(text) = text else { continue };
            let values = &mut self.values[column];
            // A table has at most 100,000 rows.
            let next = u32::try_from(values.len() + 1).unwrap_or(u32::MAX);
            key[column] = *values.entry(text.to_owned()).or_insert(next);
        }
        let (specificity, mask) = (conditions.specificity(), conditions.mask());
        let at = self.shapes.iter().position(|shape| shape.specificity == specificity && shape.mask == mask);
        let at = at.unwrap_or_else(|| {
            self.shapes.push(Shape { specificity, mask, names: HashMap::new() });
            self.shapes.len() - 1
        });
        self.shapes[at].names.insert(key, name.to_owned());
    }

    /// Among the equally specific, which lead to the same chutes, the earlier columns give the name.
    fn order(&mut self) {
        let earlier_first = |mask: u8| mask.reverse_bits();
        self.shapes.sort_by_key(|shape| std::cmp::Reverse((shape.specificity, earlier_first(shape.mask))));
    }

    fn find<'a, T>(&'a self, traits: &Traits<'_>, found: impl Fn(&'a str) -> Option<T>) -> Option<T> {
        let postcode = traits.postcode.map(plain_postcode);
        let said = traits.columns(postcode.as_deref());
        let number = |column: usize, text: &str| self.values[column].get(text).copied();
        let mut known = Values::default();
        for (column, text) in said.into_iter().enumerate().filter(|(column, _)| *column != POSTCODE) {
            known[column] = text.and_then(|text| number(column, text)).unwrap_or_default();
        }
        // By length; `Some(0)` where no row has this prefix.
        let mut prefixes: [Option<u32>; PREFIX_MAX + 1] = [None; PREFIX_MAX + 1];
        for shape in &self.shapes {
            let mut key = known;
            key[POSTCODE] = match shape.specificity.prefix {
                0 => 0,
                length => {
                    let prefix = || postcode.as_ref()?.get(..length);
                    let look = || prefix().and_then(|prefix| number(POSTCODE, prefix)).unwrap_or_default();
                    match prefixes.get_mut(length) {
                        Some(prefix) => *prefix.get_or_insert_with(look),
                        None => look(),
                    }
                }
            };
            let has = |column: usize| shape.mask & 1 << column != 0;
            if (0..COLUMNS).any(|column| has(column) && key[column] == 0) {
                continue;
            }
            for column in (0..COLUMNS).filter(|column| !has(*column)) {
                key[column] = 0;
            }
            if let Some(found) = shape.names.get(&key).and_then(|name| found(name)) {
                return Some(found);
            }
        }
        None
    }
}

#[cfg(test)]
pub(in crate::site) mod tests;
