//! A simulated day in a real store, looked back at: it comes out of the core again as it was recorded, from
//! wherever one begins; and what was altered is told.

use std::cell::Cell;
use std::path::Path;
use std::sync::{Mutex, OnceLock};

use proptest::prelude::*;
use simulators::couple::virtual_time::WALL_AT_ZERO_US;
use simulators::day::{load_site, simulate_recorded};
use simulators::day_store::DayStore;
use simulators::world::Scenario;
use sortd::journal::{Archive, ConfigFile, Record, RecordedDay, Recording, RecordingError, read_config};
use sortd::line::record::{Body, Fact};
use sortd::replay::{Finding, Moment, Period, Proof, ReplayError, prove, trial};

const DAY_US: i64 = 86_400_000_000;

/// Long enough for four snapshots of the core.
const HOURS: f64 = 0.55;

/// The store of the day, made once; sled opens a Db once only, so the tests take turns.
fn store() -> &'static Mutex<tempfile::TempDir> {
    static STORE: OnceLock<Mutex<tempfile::TempDir>> = OnceLock::new();
    STORE.get_or_init(|| {
        let directory = tempfile::tempdir().expect("a directory");
        let config = Path::new("config/demo");
        let (site, ranking) = load_site(config).expect("the demonstration line");
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(config);
        let sources = sortd::site::load_with_sources(&beside).expect("it is good").sources;
        let store = DayStore::create(directory.path(), &sources, WALL_AT_ZERO_US).expect("a new store");
        let scenario = Scenario { ranking, ..Scenario::default() };
        let result = simulate_recorded(site, scenario, 11, HOURS, Some(store), None).expect("the day is run");
        assert!(result.is_good(), "{}", result.table());
        Mutex::new(directory)
    })
}

fn opened<T>(look: impl FnOnce(&Path, &dyn Recording) -> T) -> T {
    let directory = store().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let archive = Archive::open(directory.path()).expect("the store opens");
    assert_eq!(archive.damaged(), []);
    look(directory.path(), archive.reader())
}

fn proven(recording: &dyn Recording, period: Period) -> (Proof, Vec<Finding>) {
    let mut found = Vec::new();
    let proof = prove(recording, period, None, &mut |finding| found.push(finding)).expect("it is fed again");
    (proof, found)
}

fn at(wall_us: i64) -> Option<Moment> {
    sortd::replay::utc(wall_us).parse().ok()
}

fn wall_of(recording: &dyn Recording, seq: u64) -> i64 {
    recording.records(seq, 1).expect("it can be read")[0].wall_us
}

fn last_of(recording: &dyn Recording) -> u64 {
    recording.days().expect("days").last().expect("a day").last_seq
}

#[test]
fn the_whole_day_comes_out_again() {
    opened(|_, recording| {
        let (proof, found) = proven(recording, Period::default());
        println!("{proof:?}");
        assert_eq!(found, []);
        assert!(proof.holds());
        let walked = &proof.walked;
        assert_eq!((walked.first, walked.last), (1, last_of(recording)));
        assert_eq!((walked.records, walked.left_out), (walked.last, 0));
        assert_eq!(walked.facts + walked.inputs, walked.records);
        assert!(walked.snapshots >= 4, "the state was compared {} times", walked.snapshots);
        assert_eq!(walked.warnings, Vec::<String>::new());
    });
}

#[test]
fn a_day_that_was_copied_into_the_store_is_named_and_not_fed_twice() {
    let directory = store().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let days = directory.path().join("days");
    let day = std::fs::read_dir(&days).expect("days").next().expect("a day").expect("it can be read").path();
    let mut name = day.file_name().expect("it has a name").to_owned();
    name.push(".2");
    let copy = days.join(&name);
    std::fs::create_dir(&copy).expect("a place for the copy");
    for file in std::fs::read_dir(&day).expect("files") {
        let file = file.expect("it can be read").path();
        if file.is_file() {
            std::fs::copy(&file, copy.join(file.file_name().expect("it has a name"))).expect("it is copied");
        }
    }
    let proof = {
        let archive = Archive::open(directory.path()).expect("the store opens");
        let recording = archive.reader();
        assert_eq!(Recording::days(recording).expect("days").len(), 2);
        let (proof, found) = proven(recording, Period::default());
        assert_eq!(found, []);
        assert_eq!((proof.walked.records, proof.walked.stretches), (last_of(recording), 1));
        proof
    };
    std::fs::remove_dir_all(copy).expect("the copy goes");
    let warnings = &proof.walked.warnings;
    let named = |text: &String| text.contains(&*name.to_string_lossy());
    assert!(warnings.len() == 1 && warnings.iter().all(named), "{warnings:?}");
}

#[test]
fn from_any_snapshot_to_the_end_nothing_differs() {
    opened(|_, recording| {
        let day = &recording.days().expect("days")[0];
        let snapshots = recording.snapshots(day).expect("snapshots");
        assert!(snapshots.len() >= 4, "{snapshots:?}");
        for seq in snapshots.into_iter().filter(|seq| *seq < day.last_seq) {
            let from = at(wall_of(recording, seq) + 1);
            let (proof, found) = proven(recording, Period { from, to: None });
            assert_eq!(found, [], "from {seq}");
            assert_eq!((proof.walked.first, proof.walked.last), (seq + 1, day.last_seq));
        }
    });
}

#[test]
fn a_store_without_its_archive_needs_a_configuration_and_says_so() {
    struct Bare<'a>(&'a dyn Recording);
    impl Recording for Bare<'_> {
        fn days(&self) -> Result<Vec<RecordedDay>, RecordingError> {
            self.0.days()
        }
        fn records(&self, from: u64, max: usize) -> Result<Vec<Record>, RecordingError> {
            self.0.records(from, max)
        }
        fn snapshots(&self, day: &RecordedDay) -> Result<Vec<u64>, RecordingError> {
            self.0.snapshots(day)
        }
        fn snapshot(&self, day: &RecordedDay, seq: u64) -> Result<Option<Vec<u8>>, RecordingError> {
            self.0.snapshot(day, seq)
        }
        fn run_before(&self, seq: u64) -> Result<Option<Record>, RecordingError> {
            self.0.run_before(seq)
        }
        fn configs(&self) -> Result<Vec<String>, RecordingError> {
            Ok(Vec::new())
        }
        fn config(&self, hash: &str) -> Result<Vec<ConfigFile>, RecordingError> {
            Ok(read_config(Path::new("nowhere"), hash)?)
        }
    }
    opened(|_, recording| {
        let bare = Bare(recording);
        let period = Period { from: None, to: at(wall_of(recording, 5_000)) };
        let missing = prove(&bare, period, None, &mut |_| {});
        assert!(matches!(missing, Err(ReplayError::NoConfiguration { .. })), "{missing:?}");
        let (site, _) = load_site(Path::new("config/demo")).expect("the demonstration line");
        let proof = prove(&bare, period, Some(site), &mut |_| {}).expect("it is fed again");
        assert!(proof.holds());
        assert_eq!(proof.walked.warnings.len(), 1, "{:?}", proof.walked.warnings);
    });
}

#[test]
fn where_the_days_before_are_gone_it_begins_at_the_first_snapshot_and_counts_what_it_left_out() {
    /// The first records of the day are gone, as if they had been a day of their own.
    struct Later<'a>(&'a dyn Recording, u64);
    impl Recording for Later<'_> {
        fn days(&self) -> Result<Vec<RecordedDay>, RecordingError> {
            let later = |day: RecordedDay| RecordedDay { first_seq: self.1, ..day };
            Ok(self.0.days()?.into_iter().map(later).collect())
        }
        fn records(&self, from: u64, max: usize) -> Result<Vec<Record>, RecordingError> {
            self.0.records(from.max(self.1), max)
        }
        fn snapshots(&self, day: &RecordedDay) -> Result<Vec<u64>, RecordingError> {
            Ok(self.0.snapshots(day)?.into_iter().filter(|seq| *seq + 1 >= self.1).collect())
        }
        fn snapshot(&self, day: &RecordedDay, seq: u64) -> Result<Option<Vec<u8>>, RecordingError> {
            self.0.snapshot(day, seq)
        }
        fn run_before(&self, seq: u64) -> Result<Option<Record>, RecordingError> {
            self.0.run_before(seq)
        }
        fn configs(&self) -> Result<Vec<String>, RecordingError> {
            self.0.configs()
        }
        fn config(&self, hash: &str) -> Result<Vec<ConfigFile>, RecordingError> {
            self.0.config(hash)
        }
    }
    opened(|_, recording| {
        let first = 1_000;
        let later = Later(recording, first);
        let snapshot = later.snapshots(&later.days().expect("days")[0]).expect("snapshots")[0];
        let (proof, found) = proven(&later, Period::default());
        assert_eq!(found, []);
        assert_eq!(proof.walked.first, snapshot + 1);
        assert_eq!(proof.walked.left_out, snapshot + 1 - first);
        // The record that named the configuration is gone with them; the archive is searched.
        assert_eq!(proof.walked.warnings.len(), 2, "{:?}", proof.walked.warnings);
    });
}

/// A run that outlives its first day, which is then deleted: the next one carries the start and the name of its
/// configuration, so that nothing has to be guessed.
#[test]
fn a_day_behind_a_deleted_one_is_fed_under_the_configuration_it_had() {
    let midnight = (WALL_AT_ZERO_US / DAY_US + 1) * DAY_US;
    let directory = tempfile::tempdir().expect("a directory");
    let config = Path::new("config/demo");
    let (site, ranking) = load_site(config).expect("the demonstration line");
    let plan = site.plan.clone();
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(config);
    let sources = sortd::site::load_with_sources(&beside).expect("it is good").sources;
    let store = DayStore::create(directory.path(), &sources, midnight - 60_000_000).expect("a new store");
    let scenario = Scenario { ranking, ..Scenario::default() };
    simulate_recorded(site, scenario, 11, 0.2, Some(store), None).expect("the day is run");
    let days = directory.path().join("days");
    let mut names: Vec<_> =
        std::fs::read_dir(&days).expect("days").map(|day| day.expect("a day").path()).collect();
    names.sort();
    assert_eq!(names.len(), 2, "{names:?}");
    std::fs::remove_dir_all(&names[0]).expect("it is there");

    let archive = Archive::open(directory.path()).expect("the store opens");
    let recording: &dyn Recording = archive.reader();
    let (proof, found) = proven(recording, Period::default());
    assert_eq!(found, []);
    assert!(proof.walked.first > 1 && proof.walked.records > 1_000, "{proof:?}");
    let guessed = |warnings: &[String]| warnings.iter().any(|warning| warning.contains("configuration"));
    assert!(!guessed(&proof.walked.warnings), "{:?}", proof.walked.warnings);
    let same = trial(recording, Period::default(), &plan, None, &mut |_| {}).expect("tried");
    assert_eq!((same.changed, same.differences), (0, 0));
    // A store of the version before carried the start alone: the archive has one that is alike, and it is said.
    let bare = Uncarried(recording);
    let (proof, found) = proven(&bare, Period::default());
    assert_eq!(found, []);
    assert!(
        guessed(&proof.walked.warnings) && proof.walked.warnings.iter().any(|one| one.contains("only one"))
    );
}

/// A recording whose days carry no name of a configuration.
struct Uncarried<'a>(&'a dyn Recording);

impl Recording for Uncarried<'_> {
    fn days(&self) -> Result<Vec<RecordedDay>, RecordingError> {
        self.0.days()
    }
    fn records(&self, from: u64, max: usize) -> Result<Vec<Record>, RecordingError> {
        self.0.records(from, max)
    }
    fn snapshots(&self, day: &RecordedDay) -> Result<Vec<u64>, RecordingError> {
        self.0.snapshots(day)
    }
    fn snapshot(&self, day: &RecordedDay, seq: u64) -> Result<Option<Vec<u8>>, RecordingError> {
        self.0.snapshot(day, seq)
    }
    fn run_before(&self, seq: u64) -> Result<Option<Record>, RecordingError> {
        self.0.run_before(seq)
    }
    fn configs(&self) -> Result<Vec<String>, RecordingError> {
        self.0.configs()
    }
    fn config(&self, hash: &str) -> Result<Vec<ConfigFile>, RecordingError> {
        self.0.config(hash)
    }
}

#[test]
fn under_its_own_plan_a_shift_ends_as_it_did_and_without_a_destination_its_parcels_have_no_route() {
    opened(|_, recording| {
        let (site, ranking) = load_site(Path::new("config/demo")).expect("the demonstration line");
        let mut told = 0;
        let same = trial(recording, Period::default(), &site.plan, None, &mut |_| told += 1).expect("tried");
        assert_eq!((told, same.changed, same.differences), (0, 0, 0));
        assert_eq!(same.recorded, same.tried);
        assert!(same.recorded.sorted > 4_000, "{:?}", same.recorded);

        let mut plan = site.plan.clone();
        plan.routes.remove(&ranking[0]);
        let mut others = 0;
        let tried = trial(recording, Period::default(), &plan, None, &mut |changed| {
            others += u64::from(changed.destination.as_deref() != Some(ranking[0].as_str()));
        });
        let tried = tried.expect("tried");
        let no_route = tried.tried.exceptions.get("no_route").copied().unwrap_or(0);
        assert!(no_route > 500, "the busiest destination: {no_route}");
        assert_eq!(tried.tried.passes, tried.recorded.passes);
        let gone = tried.recorded.sorted - tried.tried.sorted;
        assert!(gone <= no_route && gone + 100 >= no_route, "{gone} of {no_route}");
        assert!(tried.tried.manual_ratio > tried.recorded.manual_ratio);
        println!("{others} other passes changed, {no_route} without a route");
    });
}

/// A recording with one fact that is another.
struct Tampered<'a> {
    recording: &'a dyn Recording,
    seq: u64,
    met: Cell<bool>,
}

impl Recording for Tampered<'_> {
    fn days(&self) -> Result<Vec<RecordedDay>, RecordingError> {
        self.recording.days()
    }
    fn records(&self, from: u64, max: usize) -> Result<Vec<Record>, RecordingError> {
        let mut records = self.recording.records(from, max)?;
        for record in records.iter_mut().filter(|record| record.seq == self.seq) {
            record.body = Body::Fact(Fact::AlarmCleared { id: "never".to_owned() });
            self.met.set(true);
        }
        Ok(records)
    }
    fn snapshots(&self, day: &RecordedDay) -> Result<Vec<u64>, RecordingError> {
        self.recording.snapshots(day)
    }
    fn snapshot(&self, day: &RecordedDay, seq: u64) -> Result<Option<Vec<u8>>, RecordingError> {
        self.recording.snapshot(day, seq)
    }
    fn run_before(&self, seq: u64) -> Result<Option<Record>, RecordingError> {
        self.recording.run_before(seq)
    }
    fn configs(&self) -> Result<Vec<String>, RecordingError> {
        self.recording.configs()
    }
    fn config(&self, hash: &str) -> Result<Vec<ConfigFile>, RecordingError> {
        self.recording.config(hash)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn from_any_moment_to_any_later_one_nothing_differs(begin in 0.0..1.0_f64, length in 0.05..0.6_f64) {
        opened(|_, recording| {
            let last = last_of(recording);
            let (first, end) = (wall_of(recording, 1), wall_of(recording, last));
            #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "an hour of µs")]
            let moment = |part: f64| first + ((end - first) as f64 * part) as i64;
            let period = Period { from: at(moment(begin)), to: at(moment(begin + length) + 1) };
            let (proof, found) = proven(recording, period);
            prop_assert_eq!(found, []);
            prop_assert!(proof.walked.records > 0);
            Ok(())
        })?;
    }

    #[test]
    fn an_altered_fact_is_told_and_nothing_before_it(place in 0.0..1.0_f64) {
        opened(|_, recording| {
            #[expect(
                clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss,
                reason = "a place among some 100,000 records"
            )]
            let from = (last_of(recording) as f64 * place) as u64;
            let records = recording.records(from.max(1), 1_000).expect("records");
            let fact = records.iter().find(|record| matches!(record.body, Body::Fact(_)));
            let Some(fact) = fact else { return Ok(()) };
            let tampered = Tampered { recording, seq: fact.seq, met: Cell::new(false) };
            let period = Period { from: at(fact.wall_us), to: at(fact.wall_us + 1_000_000) };
            let (proof, found) = proven(&tampered, period);
            prop_assert!(tampered.met.get());
            prop_assert!(!proof.holds());
            let told: Vec<u64> = found.iter().map(|finding| match finding {
                Finding::Fact(different) => different.record,
                Finding::State { record, .. } => *record,
            }).collect();
            // A fact may say with which orders it was decided, so more may follow from it; but nothing before it.
            prop_assert_eq!(told[0], fact.seq, "{:?}", told);
            Ok(())
        })?;
    }
}
