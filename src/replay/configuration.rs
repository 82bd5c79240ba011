//! Which configuration a run had, out of the store's archive.

use std::sync::Arc;

use super::ReplayError;
use crate::journal::{Record, Recording, RecordingError};
use crate::line::event::{Event, Started};
use crate::line::record::{Body, Input};
use crate::site::{Site, SortPlan};

/// The record that names the configuration stands this close behind the start: what a start concludes about
/// frames that have found no parcel stands between them.
const NAMED_WITHIN: usize = 256;

/// Finds the configuration of each run, and remembers the last.
pub(super) struct Configurations<'a> {
    recording: &'a dyn Recording,
    /// For stores without an archive.
    fallback: Option<Arc<Site>>,
    last: Option<(String, Arc<Site>)>,
    /// What the reader must know about it.
    pub warnings: Vec<String>,
}

impl<'a> Configurations<'a> {
    pub fn new(recording: &'a dyn Recording, fallback: Option<Arc<Site>>) -> Configurations<'a> {
        Configurations { recording, fallback, last: None, warnings: Vec::new() }
    }

    /// The configuration of the run that record `seq` belongs to.
    pub fn before(&mut self, seq: u64) -> Result<Arc<Site>, ReplayError> {
        match self.recording.run_before(seq)? {
            Some(run) => {
                let carried = self.recording.configured_before(seq)?;
                self.of(&run, carried.filter(|(start, _)| *start == run.seq).map(|(_, hash)| hash))
            }
            None => self.given(0, None, "the start of this run is not in the store"),
        }
    }

    /// The configuration of the run that this record starts.
    pub fn of_run(&mut self, run: &Record) -> Result<Arc<Site>, ReplayError> {
        self.of(run, None)
    }

    fn of(&mut self, run: &Record, carried: Option<String>) -> Result<Arc<Site>, ReplayError> {
        let Body::Input(Input::Event(Event::Started(started))) = &run.body else {
            return self.given(run.seq, None, "its record is no start");
        };
        match self.named(run.seq)?.or(carried) {
            Some(hash) => match self.load(&hash) {
                Err(ReplayError::Recording(error @ (RecordingError::Config(_) | RecordingError::Ask(_)))) => {
                    self.given(run.seq, Some(started), &error.to_string())
                }
                loaded => loaded,
            },
            // An older program named none, or did not carry the name into this day with the start.
            None => self.alike(run.seq, started),
        }
    }

    /// The plan of a configuration in the archive; none where it is not there, which is said.
    pub fn plan(&mut self, hash: &str) -> Option<Arc<SortPlan>> {
        match self.load(hash) {
            Ok(site) => Some(Arc::new(site.plan.clone())),
            Err(error) => {
                self.warn(format!("a plan that came into force is not in the store's archive: {error}"));
                None
            }
        }
    }

    /// The time zone of the newest run, for times as people write them.
    pub fn zone(&self, seq: u64) -> Result<String, ReplayError> {
        let run = self.recording.run_before(seq)?;
        Ok(match run.map(|run| run.body) {
            Some(Body::Input(Input::Event(Event::Started(started)))) => started.time_zone,
            Some(_) | None => "UTC".to_owned(),
        })
    }

    fn named(&self, run: u64) -> Result<Option<String>, ReplayError> {
        let behind = self.recording.records(run + 1, NAMED_WITHIN)?;
        // Where the records behind the start are gone, later ones come: they belong to another place.
        if behind.first().is_none_or(|record| record.seq != run + 1) {
            return Ok(None);
        }
        for record in behind {
            match record.body {
                Body::Input(Input::Event(Event::Configured { hash })) => return Ok(Some(hash)),
                Body::Input(_) => return Ok(None),
                Body::Fact(_) => {}
            }
        }
        Ok(None)
    }

    fn load(&mut self, hash: &str) -> Result<Arc<Site>, ReplayError> {
        if let Some((known, site)) = &self.last
            && known == hash
        {
            return Ok(Arc::clone(site));
        }
        let files = self.recording.config(hash)?;
        let loaded = crate::site::load_from_sources(&files).map_err(|findings| ReplayError::Refused {
            hash: hash.to_owned(),
            why: findings.first().map_or_else(String::new, ToString::to_string),
        })?;
        let site = Arc::new(loaded.site);
        self.last = Some((hash.to_owned(), Arc::clone(&site)));
        Ok(site)
    }

    /// The newest archived configuration that gives the names this start has recorded.
    fn alike(&mut self, run: u64, started: &Started) -> Result<Arc<Site>, ReplayError> {
        let mut found: Vec<(String, Arc<Site>)> = Vec::new();
        for hash in self.recording.configs()? {
            let Ok(site) = self.load(&hash) else { continue };
            if fits(&site, started) {
                found.push((hash, site));
            }
        }
        if let [(hash, site), others @ ..] = &found[..] {
            let doubt = match others.len() {
                0 => "it is the only one that does".to_owned(),
                more => format!(
                    "{more} older ones do, too, and one of them may have been in force: expect differences"
                ),
            };
            self.warn(format!(
                "which configuration the run that record {run} began had is not in the store; {hash} of its archive has \
                 the recorded plan, chutes and readers, and {doubt}"
            ));
            return Ok(Arc::clone(site));
        }
        self.given(
            run,
            Some(started),
            "no configuration is named, and none that is kept has its plan and chutes",
        )
    }

    fn given(&mut self, run: u64, started: Option<&Started>, why: &str) -> Result<Arc<Site>, ReplayError> {
        let Some(site) = self.fallback.clone() else {
            return Err(ReplayError::NoConfiguration { run, why: why.to_owned() });
        };
        let doubt = match started {
            Some(started) if fits(&site, started) => "it has the recorded plan, chutes and readers",
            Some(_) => "IT DOES NOT HAVE the recorded plan, chutes or readers: expect differences",
            None => "whether it is that of the time is not known",
        };
        self.warn(format!("the configuration given with --config is taken for run {run} ({why}); {doubt}"));
        Ok(site)
    }

    fn warn(&mut self, text: String) {
        if !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
    }
}

/// Whether a configuration gives the names that a start recorded.
fn fits(site: &Site, started: &Started) -> bool {
    let mut own = Started::of(site, started.boot, started.wall_us);
    own.version.clone_from(&started.version);
    own == *started
}
