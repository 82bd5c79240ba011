//! Which sort plan is in force, and how another comes into force while the line runs.
//!
//! A plan comes from the file `sort-plan.csv` (at the start, or on SIGHUP) or from upstream (`plans`, with
//! `activate`). Either way it is checked with the configuration that runs in place of the other files, the
//! whole is archived, the choice is noted in the store, and the line takes it between two events.
//!
//! The plan from upstream stays in force across restarts, until upstream brings another or somebody changes
//! the file: the newer word wins.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Sender;

use super::line_thread::Control;
use crate::journal::{
    ConfigError, ConfigFile, InForce, SlipError, archive_config, put_in_force, read_config,
};
use crate::line::event::PlanInForce;
use crate::line::record::{Alarm, Severity};
use crate::site::{Finding, Loaded, Site, SortPlan, load_from_sources};
use crate::watch::Board;

/// The file a plan takes the place of.
pub const TABLE: &str = "sort-plan.csv";

/// Why a plan did not come into force.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// It is none for this line.
    #[error("this is no plan for this line; nothing of it was taken")]
    Refused(Vec<Finding>),
    /// The store does not take it.
    #[error("the store does not take it: {0}")]
    Archive(#[from] ConfigError),
    /// The store does not take it.
    #[error("the store does not take it: {0}")]
    Store(#[from] SlipError),
    /// The line's thread has ended, and so has the daemon.
    #[error("the line has ended")]
    Ended,
}

/// What became of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    /// It is what the line sorts by already.
    Already(String),
    /// The line takes it next.
    Next(String),
}

/// Knows what is in force, and changes it.
#[derive(Debug)]
pub struct PlanDesk {
    store: PathBuf,
    control: Sender<Control>,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    /// The configuration that runs, with the plan in force.
    sources: Vec<ConfigFile>,
    version: String,
    /// Version of the file's plan when it was last read.
    of_file: String,
}

/// The configuration as it runs from the start.
#[derive(Debug)]
pub struct Begun {
    /// The site, with the plan in force.
    pub site: Site,
    /// Its files.
    pub sources: Vec<ConfigFile>,
    /// Version of the file's plan.
    pub of_file: String,
}

/// Takes up the plan that was in force before the start, unless somebody has changed the file since.
pub fn begin(loaded: Loaded, board: &Board) -> Begun {
    let Loaded { mut site, mut sources, .. } = loaded;
    let of_file = site.plan.version.clone();
    let store = &site.store.directory;
    if let Some(in_force) = crate::journal::plan_in_force(store) {
        if in_force.over == of_file {
            match table_of(store, &in_force).and_then(|table| {
                let files = with_table(&sources, table);
                let plan = load_from_sources(&files).map_err(PlanError::Refused)?.site.plan;
                Ok((files, plan))
            }) {
                Ok((files, plan)) => {
                    tracing::info!(plan = %plan.version, "the line goes on with the plan that upstream brought");
                    (sources, site.plan) = (files, plan);
                }
                Err(error) => board.raise(lost(&in_force.version, &error)),
            }
        } else {
            tracing::warn!(
                plan = %of_file, upstreams = %in_force.version,
                "sort-plan.csv was changed since upstream brought its plan: the file is in force"
            );
            let _ = put_in_force(store, None).inspect_err(|error| tracing::error!(%error, "plans"));
        }
    }
    Begun { site, sources, of_file }
}

fn lost(version: &str, error: &PlanError) -> Alarm {
    let why = match error {
        PlanError::Refused(findings) => findings.first().map_or_else(String::new, ToString::to_string),
        other => other.to_string(),
    };
    Alarm {
        id: "plan-in-force-lost".to_owned(),
        severity: Severity::Critical,
        text: format!(
            "Plan {version} from upstream was in force and cannot be taken up again ({why}): the line \
                       sorts by sort-plan.csv."
        ),
        remedy: "Have upstream send its plan again, or make sort-plan.csv what is wanted and reload."
            .to_owned(),
    }
}

fn table_of(store: &std::path::Path, in_force: &InForce) -> Result<Vec<u8>, PlanError> {
    let files = read_config(store, &in_force.configuration)?;
    let table = files.into_iter().find(|(name, _)| name == TABLE).map(|(_, table)| table);
    table.ok_or_else(|| ConfigError::Unknown(in_force.configuration.clone()).into())
}

fn with_table(sources: &[ConfigFile], table: Vec<u8>) -> Vec<ConfigFile> {
    let mut files: Vec<ConfigFile> = sources.iter().filter(|(name, _)| name != TABLE).cloned().collect();
    files.push((TABLE.to_owned(), table));
    files
}

impl PlanDesk {
    /// Over what runs from the start.
    pub fn new(begun: &Begun, control: Sender<Control>) -> PlanDesk {
        let now = Now {
            sources: begun.sources.clone(),
            version: begun.site.plan.version.clone(),
            of_file: begun.of_file.clone(),
        };
        PlanDesk { store: begun.site.store.directory.clone(), control, now: Mutex::new(now) }
    }

    /// Checks a table against the configuration that runs.
    pub fn check(&self, table: &str) -> Result<SortPlan, Vec<Finding>> {
        let files = with_table(&self.now().sources, table.as_bytes().to_vec());
        load_from_sources(&files).map(|loaded| loaded.site.plan)
    }

    /// Version of the plan in force.
    pub fn version(&self) -> String {
        self.now().version.clone()
    }

    /// Brings a table from upstream into force; may block.
    pub fn activate(&self, table: &str, name: Option<String>, message: &str) -> Result<Came, PlanError> {
        let mut now = self.now();
        let change = |version, configuration| PlanInForce {
            version,
            configuration,
            by: "upstream".to_owned(),
            name,
            message: Some(message.to_owned()),
        };
        self.bring(&mut now, table.as_bytes().to_vec(), change)
    }

    /// Brings the file's table into force if it was changed since it was last read; may block. The other files
    /// that differ from what runs: those take effect at the next start.
    pub fn reload(&self, loaded: &Loaded) -> Result<(Option<Came>, Vec<String>), PlanError> {
        let mut now = self.now();
        let differ = |(name, bytes): &&ConfigFile| {
            name != TABLE && !now.sources.iter().any(|(other, known)| other == name && known == bytes)
        };
        let others = loaded.sources.iter().filter(differ).map(|(name, _)| name.clone()).collect();
        let table = loaded.sources.iter().find(|(name, _)| name == TABLE).map(|(_, table)| table.clone());
        let Some(table) = table.filter(|_| loaded.site.plan.version != now.of_file) else {
            return Ok((None, others));
        };
        let change = |version, configuration| PlanInForce {
            version,
            configuration,
            by: "reload".to_owned(),
            name: None,
            message: None,
        };
        let came = self.bring(&mut now, table, change)?;
        now.of_file.clone_from(&loaded.site.plan.version);
        put_in_force(&self.store, None)?;
        Ok((Some(came), others))
    }

    fn bring(
        &self,
        now: &mut Now,
        table: Vec<u8>,
        change: impl FnOnce(String, String) -> PlanInForce,
    ) -> Result<Came, PlanError> {
        let files = with_table(&now.sources, table);
        let plan = load_from_sources(&files).map_err(PlanError::Refused)?.site.plan;
        let version = plan.version.clone();
        if version == now.version {
            return Ok(Came::Already(version));
        }
        let configuration = archive_config(&self.store, &files)?;
        let change = change(version.clone(), configuration.clone());
        // Noted first: a kill in between leaves a plan in force that nobody was told of, and the message comes again.
        let over = now.of_file.clone();
        put_in_force(&self.store, Some(&InForce { version: version.clone(), configuration, over }))?;
        self.control.send(Control::Plan(Arc::new(plan), change)).map_err(|_| PlanError::Ended)?;
        tracing::info!(plan = %version, before = %now.version, "another sort plan comes into force");
        (now.sources, now.version) = (files, version.clone());
        Ok(Came::Next(version))
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
