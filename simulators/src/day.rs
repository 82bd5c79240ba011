//! `sim day`: hours of the line in seconds, in virtual time and in one process.
//!
//! Standard output and the JSON file hold nothing of the machine they were made on: the same site,
//! scenario, seed and hours give the same bytes. The one figure that cannot is the wall clock's; it is
//! measured and printed on standard error, and `wall_s` in the JSON is `null` unless `--wall` asks for it
//! and gives up the sameness with it.
//!
//! There is no broker in virtual time. `events_published` counts the milestones that the core hands to the
//! journal, `events_received` those that fit the story so far, `events_conflicting` those that contradict
//! it, and `events_missing` the inductions and ends that the world saw happen and no milestone tells of.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use sortd::site::Site;

use crate::couple::virtual_time::{Delays, Disagreement, Table, VirtualLine, WALL_AT_ZERO_US};
use crate::day_store::{DayStore, DayStoreError, PLAN_FILE};
use crate::figures::{Figures, table};
use crate::world::Scenario;
use crate::world::scenario::ScenarioError;

/// What `sim day` is asked.
#[derive(Debug, Clone, clap::Args)]
pub struct DayOptions {
    /// Scenario file, TOML; without it the realistic workload.
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
    /// Everything that is drawn by lot follows from this.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Length of the run.
    #[arg(long, default_value_t = 1.0)]
    pub hours: f64,
    /// Writes the result as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Configuration directory of the line.
    #[arg(long, value_name = "DIR", default_value = "config/demo")]
    pub config: PathBuf,
    /// Writes everything into a store in this directory, as the daemon would; it must not hold one.
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Another sort plan; with the line's own, they come into force in turn. May be given again.
    #[arg(long = "plan", value_name = "FILE", requires = "swaps")]
    pub plans: Vec<PathBuf>,
    /// Changes of the sort plan, evenly over the run.
    #[arg(long, value_name = "N", requires = "plans")]
    pub swaps: Option<u32>,
    /// Puts the measured time into the JSON, too; two runs then differ in that figure.
    #[arg(long)]
    pub wall: bool,
}

/// Why a day could not be run.
#[derive(Debug, thiserror::Error)]
pub enum DayError {
    /// The configuration has errors.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Site(Vec<sortd::site::Finding>),
    /// The scenario has.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// Sums disagree.
    #[error(transparent)]
    Disagreement(#[from] Disagreement),
    /// The store.
    #[error(transparent)]
    Store(#[from] DayStoreError),
    /// The hours are none.
    #[error("--hours: expected more than 0 and at most 1000, got {0}")]
    Hours(f64),
    /// A sort plan cannot be read.
    #[error("{path}: cannot be read: {source}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The result cannot be written.
    #[error("{path}: cannot be written: {source}", path = path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The result, with the keys of `sim demo` and those of a day.
#[derive(Debug, Clone, Serialize)]
pub struct DayResult {
    /// The keys of `sim demo`.
    #[serde(flatten)]
    pub figures: Figures,
    /// Parcels sorted on their first pass ÷ parcels without an injected fault and not hurt by one.
    pub first_pass_ratio: f64,
    /// Calls of the core.
    pub steps: u64,
    /// Length of the run.
    pub virtual_s: f64,
    /// Time it took, where it was asked for.
    pub wall_s: Option<f64>,
}

impl DayResult {
    /// Every pass is somewhere, and only once; nothing was mis-sorted; every milestone fits.
    pub fn is_good(&self) -> bool {
        let figures = &self.figures;
        figures.adds_up()
            && figures.missorts == 0
            && figures.events_missing == 0
            && figures.events_conflicting == 0
    }

    /// The table for people.
    pub fn table(&self) -> String {
        let mut lines = self.figures.lines();
        lines.push(("first pass".to_owned(), format!("{:.3} %", self.first_pass_ratio * 100.0)));
        lines.push(("core steps".to_owned(), self.steps.to_string()));
        lines.push(("virtual time".to_owned(), format!("{:.0} s", self.virtual_s)));
        table(&lines)
    }
}

/// The configuration in `directory`, and its destinations from the busiest on. A relative directory that
/// is not there is looked for beside this crate, so that the default works from anywhere in the sources.
pub fn load_site(directory: &Path) -> Result<(Arc<Site>, Vec<String>), DayError> {
    let directory = &found(directory);
    let (site, _warnings) = sortd::site::load(directory).map_err(DayError::Site)?;
    let ranking = sortd::site::destinations(directory).map_err(DayError::Site)?;
    Ok((Arc::new(site), ranking))
}

fn found(directory: &Path) -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(directory);
    if !directory.exists() && beside.exists() { beside } else { directory.to_owned() }
}

/// Runs the day; `wall` is how long it took so far, read by the caller's clock.
pub fn run(options: &DayOptions, wall: impl Fn() -> Duration) -> Result<DayResult, DayError> {
    if !(options.hours > 0.0 && options.hours <= 1_000.0) {
        return Err(DayError::Hours(options.hours));
    }
    let (site, ranking) = load_site(&options.config)?;
    let mut scenario = match &options.scenario {
        Some(path) => Scenario::read(path)?,
        None => Scenario::default(),
    };
    if scenario.ranking.is_empty() {
        scenario.ranking = ranking;
    }
    let store = match &options.store {
        Some(directory) => {
            let loaded = sortd::site::load_with_sources(&found(&options.config)).map_err(DayError::Site)?;
            Some(DayStore::create(directory, &loaded.sources, WALL_AT_ZERO_US)?)
        }
        None => None,
    };
    let swaps = match options.swaps {
        Some(count) => Some(Swaps { tables: tables(options)?, count }),
        None => None,
    };
    let mut result = simulate_recorded(site, scenario, options.seed, options.hours, store, swaps)?;
    result.wall_s = options.wall.then(|| wall().as_secs_f64());
    if let Some(path) = &options.json {
        write_json(path, &result)?;
    }
    Ok(result)
}

/// The simulation alone.
pub fn simulate(site: Arc<Site>, scenario: Scenario, seed: u64, hours: f64) -> Result<DayResult, DayError> {
    simulate_recorded(site, scenario, seed, hours, None, None)
}

/// Changes of the sort plan in a run.
#[derive(Debug, Clone)]
pub struct Swaps {
    /// Plans that come into force in turn.
    pub tables: Vec<Table>,
    /// How often one does, evenly over the run.
    pub count: u32,
}

/// The given plans, and the line's own behind them.
fn tables(options: &DayOptions) -> Result<Vec<Table>, DayError> {
    let own = found(&options.config).join(PLAN_FILE);
    let mut tables = Vec::new();
    for path in options.plans.iter().chain([&own]) {
        let plan = Arc::new(sortd::site::plan_of(path).map_err(DayError::Site)?);
        let bytes = std::fs::read(path).map_err(|source| DayError::Read { path: path.clone(), source })?;
        tables.push(Table { plan, bytes });
    }
    Ok(tables)
}

/// The simulation, with everything recorded in a store.
pub fn simulate_recorded(
    site: Arc<Site>,
    scenario: Scenario,
    seed: u64,
    hours: f64,
    store: Option<DayStore>,
    swaps: Option<Swaps>,
) -> Result<DayResult, DayError> {
    let mut line = VirtualLine::recorded(site, scenario, seed, Delays::default(), store);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "hours were checked")]
    let until_us = (hours * 3_600e6) as u64;
    if let Some(Swaps { tables, count }) = swaps {
        line.swap_plans(tables, until_us / (u64::from(count) + 1), count);
    }
    line.run_to(until_us)?;
    line.close_store()?;
    let status = line.status();
    let (counted, truth) = (line.counted(), line.world().truth());
    let unfit = counted.milestones - counted.fitting;
    let untold = counted.told.saturating_sub(counted.begun);
    let figures = Figures {
        missorts: truth.missorts,
        events_published: counted.milestones,
        events_received: counted.fitting,
        events_missing: untold,
        events_conflicting: unfit,
        ..Figures::of(&status)
    };
    Ok(DayResult {
        figures,
        first_pass_ratio: truth.first_pass_ratio(),
        steps: counted.steps,
        virtual_s: hours * 3_600.0,
        wall_s: None,
    })
}

fn write_json(path: &Path, result: &DayResult) -> Result<(), DayError> {
    let failed = |source| DayError::Write { path: path.to_owned(), source };
    let mut text = serde_json::to_string_pretty(result).map_err(|error| failed(error.into()))?;
    text.push('\n');
    std::fs::write(path, text).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testsite::testsite;

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_the_sums_agree() {
        let bytes = |seed| {
            let result = simulate(testsite(), Scenario::default(), seed, 0.2).unwrap();
            assert!(result.is_good(), "{result:?}");
            assert!(result.figures.inducted > 1_000);
            (serde_json::to_string(&result).unwrap(), result.table())
        };
        let first = bytes(7);
        assert_eq!(first, bytes(7));
        assert_ne!(first, bytes(8));
    }

    #[test]
    fn the_demonstration_line_runs_an_hour_of_it() {
        let (site, ranking) = load_site(Path::new("config/demo")).unwrap();
        let scenario = Scenario { ranking, ..Scenario::default() };
        let result = simulate(site, scenario, 7, 0.25).unwrap();
        assert!(result.is_good(), "{result:?}");
        assert!(result.figures.sorted > result.figures.inducted * 8 / 10, "{result:?}");
    }
}
