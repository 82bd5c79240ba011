//! `sortd plan diff`, `sortd plan try`: what another sort plan would change.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::Serialize;

use super::recorded::{Which, fallback};
use super::replay::{complain_all, could_not, local, walked};
use super::{Exit, Format, check, client, complain, print, print_json};
use crate::replay::{Changed, Kpis, Trial, trial, zone};
use crate::site::{Conditions, Finding, SortPlan, plan_of};

/// Parcels listed in a JSON document; all are counted.
const LISTED_MOST: usize = 100_000;

/// What is asked about plans.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// What would change from one plan to another, route by route: a destination, or rows with the same conditions.
    Diff {
        /// The plan in force: a sort-plan file, or a configuration's directory.
        a: PathBuf,
        /// The plan to come.
        b: PathBuf,
        /// How to print.
        #[command(flatten)]
        format: Format,
    },
    /// A recorded shift under another plan: parcel by parcel, and the measures side by side.
    ///
    /// Each recorded decision is made again with what was known at that moment: identity, order, place on the
    /// belt, and each chute as it was recorded, but for the parcels that the trial has sent elsewhere. Confirmations
    /// are not fed, since they belong to the old plan. So:
    ///
    /// - Bags are changed when they were. What the new plan puts into a chute beyond its capacity until then is
    ///   counted as beyond_capacity and closes no chute: its bag would have been changed sooner.
    ///
    /// - A full sensor, a lock, a jam stand as they were recorded.
    ///
    /// - What ended a pass otherwise than decided (lost, not confirmed, purged, a restart) happens all the same;
    ///   what is decided without a plan (no read, holds, gaps, unknown parcels) stays as it was.
    ///
    /// - A parcel that would go round where it was sorted has no recorded second lap: it counts as round.
    ///
    /// - Chutes, carriers and belt are those of the recorded time; only the plan is another.
    ///
    /// First-pass ratio: parcels sorted on their first pass without recirculation ÷ those whose first pass was the
    /// plan's to decide (sorted, no_route, chutes_full, recirculation_limit, late_decision, round). Manual ratio:
    /// distinct parcels touched ÷ parcels.
    #[command(verbatim_doc_comment)]
    Try {
        /// The plan to try: a sort-plan file, or a configuration's directory.
        new: PathBuf,
        /// Which records.
        #[command(flatten)]
        which: Which,
        /// How to print.
        #[command(flatten)]
        format: Format,
    },
}

/// Does it.
pub fn command(config: &Path, action: &Action) -> Exit {
    match action {
        Action::Diff { a, b, format } => {
            let (a, b) = match (plan_of(a), plan_of(b)) {
                (Ok(a), Ok(b)) => (a, b),
                (a, b) => {
                    for findings in [a.err(), b.err()].into_iter().flatten() {
                        refused(&findings);
                    }
                    return Exit::Finding;
                }
            };
            let difference = Difference::of(&a, &b);
            if format.json { print_json(&difference) } else { print(&difference.text()) }
        }
        Action::Try { new, which, format } => match plan_of(new) {
            Ok(plan) => try_plan(config, &plan, which, *format),
            Err(findings) => {
                refused(&findings);
                Exit::Finding
            }
        },
    }
}

fn refused(findings: &[Finding]) {
    let mut text = Vec::new();
    // Writing to memory does not fail.
    let _ = check::print(findings, check::Form::Plain, &mut text);
    complain(&String::from_utf8_lossy(&text));
}

/// What changes from one plan to another.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Difference {
    /// Versions.
    from: String,
    to: String,
    /// Routes that only the first plan has, by name, with their chutes.
    removed: BTreeMap<String, Vec<u16>>,
    /// Routes that only the second has.
    added: BTreeMap<String, Vec<u16>>,
    /// Routes with other chutes, or another order of them.
    changed: BTreeMap<String, Rerouted>,
    /// Routes that stay as they are.
    unchanged: usize,
    /// Chutes that no route of the first plan has.
    chutes_gained: Vec<u16>,
    /// Chutes that no route of the second has any more.
    chutes_lost: Vec<u16>,
    /// Of those removed, the route that all of its parcels take from now on, unless a more specific one does.
    go_by: BTreeMap<String, String>,
    /// Of those added, the route that took its parcels until now, unless a more specific one did.
    went_by: BTreeMap<String, String>,
    /// The second plan has rows with other conditions than a destination.
    #[serde(skip)]
    by_conditions: bool,
}

/// A route whose chutes change.
#[derive(Debug, PartialEq, Serialize)]
struct Rerouted {
    from: Vec<u16>,
    to: Vec<u16>,
    gained: Vec<u16>,
    lost: Vec<u16>,
    /// Chutes it keeps stand in another order of priority.
    reordered: bool,
}

impl Difference {
    fn of(a: &SortPlan, b: &SortPlan) -> Difference {
        let chutes = |plan: &SortPlan, destination: &str| -> Option<Vec<u16>> {
            plan.routes.get(destination).map(|chutes| chutes.iter().map(|chute| chute.0).collect())
        };
        let mut difference =
            Difference { from: a.version.clone(), to: b.version.clone(), ..Difference::default() };
        let names: BTreeSet<&String> = a.routes.keys().chain(b.routes.keys()).collect();
        for name in names {
            match (chutes(a, name), chutes(b, name)) {
                (Some(from), Some(to)) if from == to => difference.unchanged += 1,
                (Some(from), Some(to)) => {
                    difference.changed.insert(name.clone(), Rerouted::of(from, to));
                }
                (Some(from), None) => {
                    difference.removed.insert(name.clone(), from);
                }
                (None, Some(to)) => {
                    difference.added.insert(name.clone(), to);
                }
                (None, None) => {}
            }
        }
        difference.go_by = instead(difference.removed.keys(), a, b);
        difference.went_by = instead(difference.added.keys(), b, a);
        difference.by_conditions = b.destinations().count() < b.routes.len();
        let used = |plan: &SortPlan| -> Vec<u16> {
            let chutes: BTreeSet<u16> = plan.routes.values().flatten().map(|chute| chute.0).collect();
            chutes.into_iter().collect()
        };
        let (before, after) = (used(a), used(b));
        difference.chutes_gained = without(&after, &before);
        difference.chutes_lost = without(&before, &after);
        difference
    }

    fn text(&self) -> String {
        let mut text = format!("plan {} → {}\n", self.from, self.to);
        for (name, chutes) in &self.removed {
            let fate = match self.go_by.get(name) {
                Some(route) => format!("parcels would go by {route}, or a row that fits better"),
                None if self.by_conditions => {
                    "parcels would end no_route, but for those that another row fits".to_owned()
                }
                None => "parcels would end no_route".to_owned(),
            };
            let _ = writeln!(text, "- {name}: {} ({fate})", listed(chutes));
        }
        for (name, chutes) in &self.added {
            let before = self.went_by.get(name).map(|route| format!(" (until now by {route})"));
            let _ = writeln!(text, "+ {name}: {}{}", listed(chutes), before.unwrap_or_default());
        }
        for (name, rerouted) in &self.changed {
            let Rerouted { from, to, gained, lost, reordered } = rerouted;
            let mut how = Vec::new();
            if !gained.is_empty() {
                how.push(format!("gains {}", listed(gained)));
            }
            if !lost.is_empty() {
                how.push(format!("loses {}", listed(lost)));
            }
            if *reordered {
                how.push("other priority".to_owned());
            }
            let _ = writeln!(text, "~ {name}: {} → {} ({})", listed(from), listed(to), how.join(", "));
        }
        if !self.chutes_gained.is_empty() {
            let _ = writeln!(text, "chutes that come into use: {}", listed(&self.chutes_gained));
        }
        if !self.chutes_lost.is_empty() {
            let _ = writeln!(text, "chutes no longer used: {}", listed(&self.chutes_lost));
        }
        let (removed, added, changed) = (self.removed.len(), self.added.len(), self.changed.len());
        let _ = writeln!(
            text,
            "{removed} routes removed, {added} added, {changed} changed, {} unchanged",
            self.unchanged
        );
        text
    }
}

impl Rerouted {
    fn of(from: Vec<u16>, to: Vec<u16>) -> Rerouted {
        let (gained, lost) = (without(&to, &from), without(&from, &to));
        let reordered = without(&from, &lost) != without(&to, &gained);
        Rerouted { from, to, gained, lost, reordered }
    }
}

/// The routes of `there` that take whatever has just the conditions of these routes of `here`.
fn instead<'a>(
    names: impl Iterator<Item = &'a String>,
    here: &SortPlan,
    there: &SortPlan,
) -> BTreeMap<String, String> {
    let other = |name: &String| {
        let alone = Conditions::of_destination(name);
        let conditions = here.conditions_of(name).unwrap_or(&alone);
        let route = there.route_of(&conditions.traits())?;
        Some((name.clone(), route.name.to_owned()))
    };
    names.filter_map(other).collect()
}

/// The first list without what is in the second, in its order.
fn without(list: &[u16], other: &[u16]) -> Vec<u16> {
    list.iter().copied().filter(|number| !other.contains(number)).collect()
}

fn listed(chutes: &[u16]) -> String {
    chutes.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
}

/// What `plan try --json` prints.
#[derive(Debug, Serialize)]
struct Document {
    #[serde(flatten)]
    trial: Trial,
    /// The first parcels that would have ended otherwise.
    parcels: Vec<Changed>,
}

fn try_plan(config: &Path, plan: &SortPlan, which: &Which, format: Format) -> Exit {
    let open = match which.open(client(config)) {
        Ok(open) => open,
        Err(error) => return could_not(&error, format),
    };
    let damaged = open.complain_of_damage();
    let zone = match zone(open.recording()) {
        Ok(zone) => zone,
        Err(error) => return could_not(&error, format),
    };
    let mut parcels = Vec::new();
    let mut out = io::stdout().lock();
    let mut tell = |changed: Changed| {
        if format.json {
            if parcels.len() < LISTED_MOST {
                parcels.push(changed);
            }
        } else {
            let _ = out.write_all(shown(&changed, &zone).as_bytes());
        }
    };
    let tried = trial(open.recording(), which.period(), plan, fallback(config), &mut tell);
    drop(out);
    let trial = match tried {
        Ok(trial) => trial,
        Err(error) => return could_not(&error, format),
    };
    let printed = if format.json {
        print_json(&Document { trial, parcels })
    } else {
        complain_all(&trial.walked);
        print(&summary(&trial, &zone))
    };
    match printed {
        Exit::Done if damaged => Exit::Failed,
        other => other,
    }
}

fn shown(changed: &Changed, zone: &str) -> String {
    let Changed { time, pass, code, destination, recorded, tried, .. } = changed;
    let code = code.as_deref().unwrap_or("-");
    let destination = destination.as_deref().unwrap_or("-");
    let time = local(time, zone);
    format!("{time}  {pass:>10}  {code}  {destination}: {recorded} → {tried}\n")
}

fn summary(trial: &Trial, zone: &str) -> String {
    let mut text = walked(&trial.walked, zone);
    let Trial { recorded, tried, partly, changed, differences, plan, .. } = trial;
    let _ = writeln!(text, "{partly} passes only partly in this time, in none of the sums");
    if *differences > 0 {
        let _ = writeln!(
            text,
            "{differences} recorded facts do not follow from their inputs (see `sortd replay`): nothing here is certain"
        );
    }
    let _ = writeln!(text, "{changed} passes would have ended otherwise under plan {plan}\n");
    let mut row = |name: &str, recorded: String, tried: String| {
        let _ = writeln!(text, "{name:<28}{recorded:>12}{tried:>12}");
    };
    row("", "recorded".to_owned(), "tried".to_owned());
    for (name, of) in [
        ("passes", (|kpis: &Kpis| kpis.passes) as fn(&Kpis) -> u64),
        ("parcels", |kpis| kpis.parcels),
        ("sorted", |kpis| kpis.sorted),
        ("lost", |kpis| kpis.lost),
        ("once more round", |kpis| kpis.round),
        ("recirculated laps", |kpis| kpis.recirculated),
    ] {
        row(name, of(recorded).to_string(), of(tried).to_string());
    }
    let percent =
        |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{:.3} %", ratio * 100.0));
    row("first pass", percent(recorded.first_pass_ratio), percent(tried.first_pass_ratio));
    row("manual", percent(recorded.manual_ratio), percent(tried.manual_ratio));
    let reasons: BTreeSet<&str> =
        recorded.exceptions.keys().chain(tried.exceptions.keys()).copied().collect();
    for reason in reasons {
        let count = |kpis: &Kpis| kpis.exceptions.get(reason).copied().unwrap_or(0).to_string();
        row(&format!("exception {reason}"), count(recorded), count(tried));
    }
    let chutes: BTreeSet<u16> = recorded.chutes.keys().chain(tried.chutes.keys()).copied().collect();
    for chute in chutes {
        let count = |kpis: &Kpis| {
            let parcels = kpis.chutes.get(&chute).copied().unwrap_or(0);
            match kpis.beyond_capacity.get(&chute) {
                Some(beyond) => format!("{parcels} (+{beyond})"),
                None => parcels.to_string(),
            }
        };
        row(&format!("chute {chute}"), count(recorded), count(tried));
    }
    if !tried.beyond_capacity.is_empty() || !recorded.beyond_capacity.is_empty() {
        text.push_str("(+N): of these, N beyond what its bag holds, had it been changed when it was\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::ChuteNo;

    fn plan(version: &str, routes: &[(&str, &[u16])]) -> SortPlan {
        let routes = routes
            .iter()
            .map(|(name, chutes)| ((*name).to_owned(), chutes.iter().map(|chute| ChuteNo(*chute)).collect()));
        SortPlan::by_destination(version, routes.collect())
    }

    #[test]
    fn every_kind_of_change_is_told() {
        let a = plan("a", &[("SAME", &[1]), ("GONE", &[2]), ("MOVED", &[3, 4]), ("TURNED", &[5, 6])]);
        let b = plan("b", &[("SAME", &[1]), ("NEW", &[7]), ("MOVED", &[4, 8]), ("TURNED", &[6, 5])]);
        let difference = Difference::of(&a, &b);
        assert_eq!(difference.removed, BTreeMap::from([("GONE".to_owned(), vec![2])]));
        assert_eq!(difference.added, BTreeMap::from([("NEW".to_owned(), vec![7])]));
        assert_eq!(difference.unchanged, 1);
        assert_eq!((&difference.chutes_gained, &difference.chutes_lost), (&vec![7, 8], &vec![2, 3]));
        let moved = &difference.changed["MOVED"];
        assert_eq!((&moved.gained, &moved.lost, moved.reordered), (&vec![8], &vec![3], false));
        let turned = &difference.changed["TURNED"];
        assert_eq!((turned.gained.len(), turned.lost.len(), turned.reordered), (0, 0, true));
        let text = difference.text();
        for line in ["- GONE: 2 (parcels would end no_route)", "~ MOVED: 3,4 → 4,8 (gains 8, loses 3)"] {
            assert!(text.contains(line), "{text}");
        }
        let same = Difference::of(&a, &a);
        assert_eq!((same.unchanged, same.changed.len()), (4, 0));
    }

    #[test]
    fn rows_with_conditions_say_who_takes_their_parcels() {
        let thai = Conditions { country: Some("TH".to_owned()), ..Conditions::default() };
        let bangkok = Conditions { postcode: Some("10".to_owned()), ..thai.clone() };
        let kerry = Conditions { carrier: Some("KERRY".to_owned()), ..Conditions::default() };
        let to = |conditions: &Conditions, chute| (conditions.clone(), vec![ChuteNo(chute)]);
        let gone = Conditions::of_destination("GONE");
        let a = SortPlan::new([to(&thai, 1), to(&kerry, 3), to(&gone, 4)]);
        let b = SortPlan::new([to(&thai, 5), to(&bangkok, 2)]);
        let text = Difference::of(&a, &b).text();
        for line in [
            "+ TH/10*: 2 (until now by TH/*)",
            "~ TH/*: 1 → 5 (gains 5, loses 1)",
            "- */*/KERRY: 3 (parcels would end no_route, but for those that another row fits)",
            "- GONE: 4 (parcels would end no_route, but for those that another row fits)",
            "2 routes removed, 1 added, 1 changed, 0 unchanged",
        ] {
            assert!(text.contains(line), "{text}");
        }
        let back = Difference::of(&b, &a).text();
        assert!(back.contains("- TH/10*: 2 (parcels would go by TH/*, or a row that fits better)"), "{back}");
    }
}
