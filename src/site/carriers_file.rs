//! A carrier of `carriers.toml`: what must hold between its keys, and the [`Carrier`] that comes of it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;

use super::carriers::{Bag, Carrier, CodRange, Limits, Receptacle};
use super::finding::{Notes, Spot, nearest};
use super::keys;
use super::rules::time_of_day;
use super::shape::quoted;
use super::walk::Table;
use super::waves::{DAYS, Wave, Waves};

/// The service whose parcels carry money, by the convention of the plan's destinations.
const COD_SERVICE: &str = "COD";

/// Reports whatever does not fit together in one carrier.
pub(super) fn check(notes: &mut Notes, carrier: &Table) {
    for pattern in carrier.tables("pattern") {
        check_source(notes, pattern, "shape");
    }
    each_once(notes, carrier, "services", "service");
    if let Some(limits) = carrier.table("limits") {
        check_source(notes, limits, "limits");
        check_limits(notes, limits);
    }
    check_cod(notes, carrier);
    check_bag(notes, carrier);
    check_waves(notes, carrier);
}

/// A published statement names where, so that the next engineer can look it up.
fn check_source(notes: &mut Notes, table: &Table, what: &str) {
    if table.flag("published") && !table.is_written("source") {
        notes.warning(
            table.spot_of("published"),
            format!("the {what} is said to be published, but not where"),
            "`source` beside it: standard and clause, manual or page",
            "add `source = \"…\"`, or write `published = false`",
        );
    }
}

fn each_once(notes: &mut Notes, table: &Table, key: &str, what: &str) {
    let mut seen = BTreeSet::new();
    for (spot, text) in table.texts(key) {
        if !seen.insert(text) {
            let message = format!("the {what} {text} stands twice");
            notes.error(spot, message, format!("each {what} once"), "remove one of the two");
        }
    }
}

/// Limits between which there is no parcel.
fn check_limits(notes: &mut Notes, table: &Table) {
    let limits = limits(table);
    if let (Some(longest), Some(second)) = (limits.longest_mm, limits.second_mm)
        && second > longest
    {
        notes.error(
            table.spot_of("second-mm"),
            format!("`second-mm` {second} is more than the longest side may be, {longest} mm"),
            format!("at most {longest} mm, `longest-mm`"),
            "exchange the two, or leave `second-mm` out",
        );
        return;
    }
    let Some((second, longest)) = limits.least_mm else { return };
    // The flattest parcel that the least sides permit.
    let smallest = [
        ("longest-mm", limits.longest_mm, longest),
        ("second-mm", limits.second_mm, second),
        ("sum-mm", limits.sum_mm, longest + second),
        ("girth-mm", limits.girth_mm, longest + 2 * second),
    ];
    for (key, most, least) in smallest {
        if let Some(most) = most.filter(|most| least > *most) {
            notes.error(
                table.spot_of(key),
                format!("no parcel has both `{key}` {most} and the least sides of {second} × {longest} mm"),
                format!("{least} mm or more, or smaller least sides"),
                "look whether both are millimetres, and which of the two the contract says",
            );
            return;
        }
    }
}

fn check_cod(notes: &mut Notes, carrier: &Table) {
    let mut seen: BTreeMap<&str, &Spot> = BTreeMap::new();
    for cod in carrier.tables("cod") {
        let Some(currency) = cod.known_text("currency") else { continue };
        let spot = cod.spot_of("currency");
        if let Some(first) = seen.get(currency) {
            let line = notes.line_of(first);
            notes.error(
                spot,
                format!("the currency {currency} stands twice, first on line {line}"),
                "each currency once, with one range",
                "remove one of the two",
            );
        } else {
            seen.insert(currency, spot);
        }
    }
    if let Some((spot, _)) = carrier.texts("services").iter().find(|(_, service)| service == COD_SERVICE)
        && !carrier.is_written("cod")
    {
        notes.warning(
            spot,
            format!("the service {COD_SERVICE} is offered, but no currency that is collected"),
            "a `[[carrier.cod]]` with currency and range; parcels with money to collect are refused without",
            "add it, or leave the service out",
        );
    }
}

fn check_bag(notes: &mut Notes, carrier: &Table) {
    let Some(bag) = carrier.table("bag") else { return };
    let Some(holds) = bag.known_number("weight-g") else { return };
    let Some((least, most)) = carrier.table("limits").and_then(|limits| limits.known_pair("weight-g")) else {
        return;
    };
    let spot = bag.spot_of("weight-g");
    if i64::from(least) > holds {
        notes.error(
            spot,
            format!("a bag holds {holds} g, less than the lightest parcel, {least} g"),
            format!("{least} g or more; {most} g so that every parcel fits one"),
            "look whether both are grams",
        );
    } else if i64::from(most) > holds {
        notes.warning(
            spot,
            format!("a bag holds {holds} g, so parcels over that, up to {most} g, fit none"),
            format!("{most} g or more, the most of `weight-g` in its limits"),
            "raise it, or lower the limit; such parcels are handed over loose otherwise",
        );
    }
}

fn check_waves(notes: &mut Notes, carrier: &Table) {
    let waves = carrier.tables("wave");
    match waves.first() {
        Some(first) if !carrier.is_written("time-zone") => notes.error(
            &first.spot,
            "the wave has a cut-off, but the carrier no time zone",
            "`time-zone` of the carrier, an IANA name",
            "add `time-zone = \"Asia/Shanghai\"` above its first `[[carrier.…]]`: the zone of whoever collects, \
             mostly that of the site",
        ),
        None if carrier.is_written("time-zone") => notes.warning(
            carrier.spot_of("time-zone"),
            "the time zone has no meaning without a wave",
            "a `[[carrier.wave]]` with its cut-off",
            "add one, or remove `time-zone`",
        ),
        Some(_) | None => {}
    }
    let services: Vec<&str> = carrier.texts("services").iter().map(|(_, service)| service.as_str()).collect();
    let mut names: BTreeMap<&str, &Spot> = BTreeMap::new();
    for wave in waves {
        each_once(notes, wave, "days", "day");
        each_once(notes, wave, "services", "service");
        for (spot, service) in wave.texts("services") {
            if !services.is_empty() && !services.contains(&service.as_str()) {
                let remedy = match nearest(service, services.iter().copied()) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => "add it to the carrier's `services`, or remove it here".to_owned(),
                };
                notes.error(
                    spot,
                    format!("the carrier has no service {service}"),
                    format!("one of {}", quoted(services.iter().copied())),
                    remedy,
                );
            }
        }
        let Some(name) = wave.known_text("name") else { continue };
        if let Some(first) = names.insert(name, wave.spot_of("name")) {
            let line = notes.line_of(first);
            notes.error(
                wave.spot_of("name"),
                format!("the wave \"{name}\" stands twice, first on line {line}"),
                "each wave of a carrier has a name of its own",
                format!("write e.g. `name = \"{name}-2\"`"),
            );
        }
    }
    check_overlaps(notes, waves);
    check_waveless(notes, carrier, waves);
}

/// Of two waves that are open at once nobody knows which one a parcel belongs to.
fn check_overlaps(notes: &mut Notes, tables: &[Table]) {
    let known: Vec<(&Table, Wave)> = tables.iter().filter_map(|table| Some((table, wave(table)?))).collect();
    for (at, (table, later)) in known.iter().enumerate() {
        let met = known[..at].iter().find_map(|(_, first)| Some((first, later.overlap(first)?)));
        if let Some((first, (day, time))) = met {
            notes.error(
                table.spot_of("opens"),
                format!(
                    "the wave \"{}\" overlaps \"{}\": both are open on {day} at {time:.0}",
                    later.name, first.name
                ),
                "one open wave at a time for each service",
                format!(
                    "let it open at the cut-off of \"{}\", {:.0}, or give the two different `services`",
                    first.name, first.cut_off
                ),
            );
        }
    }
}

/// A service that no wave takes, beside others that have one.
fn check_waveless(notes: &mut Notes, carrier: &Table, tables: &[Table]) {
    let waves: Vec<Wave> = tables.iter().filter_map(wave).collect();
    if waves.is_empty() || waves.len() < tables.len() {
        return;
    }
    for (spot, service) in carrier.texts("services") {
        if !waves.iter().any(|wave| wave.takes(Some(service))) {
            notes.warning(
                spot,
                format!("no wave takes the service {service}, so it has no cut-off"),
                "a wave with this service among its `services`, or without `services`",
                "add it to a wave",
            );
        }
    }
}

/// The carrier out of a table in which nothing is wrong.
pub(super) fn carrier(table: &Table) -> Option<Carrier> {
    let texts = |key| table.texts(key).iter().map(|(_, text)| text.clone()).collect();
    let waves = match table.tables("wave") {
        [] => None,
        tables => {
            let zone = TimeZone::get(table.known_text("time-zone")?).ok()?;
            Some(Waves::new(zone, tables.iter().map(wave).collect::<Option<_>>()?)?)
        }
    };
    Some(Carrier {
        code: table.text("code"),
        name: table.text("name"),
        countries: texts("countries"),
        services: texts("services"),
        limits: table.table("limits").map(limits).unwrap_or_default(),
        cod: table.tables("cod").iter().map(cod).collect::<Option<_>>()?,
        dangerous_goods: table.is_written("dangerous-goods").then(|| table.flag("dangerous-goods")),
        bag: match table.table("bag") {
            Some(table) => Some(bag(table)?),
            None => None,
        },
        waves,
    })
}

fn limits(table: &Table) -> Limits {
    let number = |key| table.known_number(key).and_then(|number| u32::try_from(number).ok());
    Limits {
        weight_g: table.known_pair("weight-g"),
        longest_mm: number("longest-mm"),
        second_mm: number("second-mm"),
        sum_mm: number("sum-mm"),
        girth_mm: number("girth-mm"),
        least_mm: table.known_pair("least-mm"),
    }
}

fn cod(table: &Table) -> Option<CodRange> {
    let (least, most) = table.known_pair("minor")?;
    Some(CodRange {
        currency: table.known_text("currency")?.to_owned(),
        least_minor: least.into(),
        most_minor: most.into(),
    })
}

fn bag(table: &Table) -> Option<Bag> {
    const KINDS: [Receptacle; 2] = [Receptacle::Sscc, Receptacle::UpuS9];
    let number = |key| table.known_number(key).and_then(|number| u32::try_from(number).ok());
    let word = table.known_text("receptacle")?;
    Some(Bag {
        parcels: number("parcels"),
        weight_g: number("weight-g"),
        receptacle: *KINDS.get(keys::RECEPTACLES.iter().position(|kind| *kind == word)?)?,
    })
}

fn wave(table: &Table) -> Option<Wave> {
    let days = table.texts("days");
    if days.is_empty() {
        return None;
    }
    Some(Wave {
        name: table.known_text("name")?.to_owned(),
        days: DAYS.map(|day| days.iter().any(|(_, word)| word == day)),
        opens: time_of_day(table.known_text("opens")?)?,
        cut_off: time_of_day(table.known_text("cut-off")?)?,
        services: table.texts("services").iter().map(|(_, service)| service.clone()).collect(),
    })
}
