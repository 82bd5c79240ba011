//! What a run is like: rates, faults, people. Every number is a knob, readable from TOML.
//!
//! The defaults are the realistic workload of the design's `sortation.md`: 9,000 parcels an hour with
//! peaks of 1.6 times, destinations by Zipf's law, runs of one seller, and the fault mix of a real floor.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Knobs of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scenario {
    /// Mean arrivals an hour.
    pub parcels_per_hour: f64,
    /// Arrivals in a peak ÷ mean arrivals.
    pub peak_factor: f64,
    /// Part of the time that is peak; between peaks arrivals are fewer, so that the mean holds.
    pub peak_share: f64,
    /// One peak in this time.
    pub peak_period_s: f64,
    /// Exponent of Zipf's law over the destinations of the sort plan.
    pub zipf_exponent: f64,
    /// Destinations used, at most as many as the plan has.
    pub destinations: usize,
    /// Destinations from the busiest on; those of the plan that are not named follow by name.
    pub ranking: Vec<String>,
    /// Mean length of a run of one seller's parcels, all to one destination (geometric).
    pub run_mean: f64,
    /// Shortest and longest parcel.
    pub length_mm: (u16, u16),
    /// What induction keeps free beyond the site's least gap.
    pub gap_margin_mm: u32,
    /// Parcels waiting for induction before the feeding conveyor itself stands still.
    pub waiting_limit: usize,
    /// How long before its parcel an order is pushed.
    pub order_lead_s: f64,
    /// Part of the parcels that carry a UHF tag.
    pub tag_share: f64,
    /// Part of the parcels labelled with an SSCC instead of a waybill.
    pub sscc_share: f64,
    /// A scanner that sees the label's side reads it with this probability (one always does, unless the
    /// parcel carries the no-read fault).
    pub scanner_read: f64,
    /// Parts of the parcels that carry each fault.
    pub faults: FaultRates,
    /// People who change bags.
    pub changers: usize,
    /// Time of one bag change.
    pub bag_change_s: f64,
    /// A changer is called when a chute holds this part of its capacity.
    pub change_at_percent: u32,
    /// From leaving the belt to the confirm sensor, least and most.
    pub slide_ms: (u32, u32),
    /// The belt's speed wanders by this part of its nominal speed, once a second.
    pub speed_variation_permille: u32,
    /// The PLC finds the PC's heartbeat stale after this.
    pub pc_stale_ms: u32,
    /// Cycle of the PLC program.
    pub plc_scan_ms: u32,
}

/// Parts of the parcels, 0 to 1, that carry each fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct FaultRates {
    /// Label (and tag) unreadable.
    pub no_read: f64,
    /// Two labels of two orders on one parcel.
    pub multi_read: f64,
    /// Upstream never told of it.
    pub unknown: f64,
    /// Its code fits two carriers and no order binds it.
    pub ambiguous: f64,
    /// Order cancelled.
    pub cancelled: f64,
    /// Held for its money.
    pub cod_hold: f64,
    /// Held by customs.
    pub customs_hold: f64,
    /// Label and order disagree about money (upstream's finding).
    pub cod_mismatch: f64,
    /// Dangerous goods not declared (upstream's finding).
    pub dangerous_goods: f64,
    /// The scale disagrees (told as a hold until a scale stands on the line).
    pub weight_mismatch: f64,
    /// Too large (told as a hold until a DWS stands on the line).
    pub oversize: f64,
    /// Fed too close behind the parcel in front.
    pub gap: f64,
    /// Of those, the part that touches it, so that the eye sees one long body. Where both together are no
    /// longer than the longest parcel and one of them shows no code of an order, nothing on the line can tell
    /// that there are two: such a pair is the one mis-sort that the default mix can make, about one in 50,000
    /// parcels.
    pub merged_share: f64,
    /// Slips on the belt beyond the tracking window.
    pub tracking_loss: f64,
    /// Taken off the belt by hand, nobody told.
    pub removed: f64,
    /// The divert does not move.
    pub divert_failure: f64,
    /// The confirm sensor misses it.
    pub unconfirmed: f64,
}

impl Default for Scenario {
    fn default() -> Self {
        Scenario {
            parcels_per_hour: 9_000.0,
            peak_factor: 1.6,
            peak_share: 0.2,
            peak_period_s: 600.0,
            zipf_exponent: 1.0,
            destinations: 90,
            ranking: Vec::new(),
            run_mean: 3.0,
            length_mm: (150, 600),
            gap_margin_mm: 30,
            waiting_limit: 500,
            order_lead_s: 10.0,
            tag_share: 0.3,
            sscc_share: 0.1,
            scanner_read: 0.98,
            faults: FaultRates::default(),
            changers: 16,
            bag_change_s: 75.0,
            change_at_percent: 85,
            slide_ms: (300, 500),
            speed_variation_permille: 2,
            pc_stale_ms: 1_000,
            plc_scan_ms: 4,
        }
    }
}

impl Default for FaultRates {
    fn default() -> Self {
        FaultRates {
            no_read: 0.015,
            multi_read: 0.003,
            unknown: 0.003,
            ambiguous: 0.000_5,
            cancelled: 0.001,
            cod_hold: 0.001,
            customs_hold: 0.001,
            cod_mismatch: 0.002,
            dangerous_goods: 0.003,
            weight_mismatch: 0.006,
            oversize: 0.002,
            gap: 0.003,
            merged_share: 0.3,
            tracking_loss: 0.000_2,
            removed: 0.000_1,
            divert_failure: 0.000_5,
            unconfirmed: 0.000_1,
        }
    }
}

impl FaultRates {
    /// A floor on which nothing goes wrong.
    pub fn none() -> FaultRates {
        FaultRates {
            no_read: 0.0,
            multi_read: 0.0,
            unknown: 0.0,
            ambiguous: 0.0,
            cancelled: 0.0,
            cod_hold: 0.0,
            customs_hold: 0.0,
            cod_mismatch: 0.0,
            dangerous_goods: 0.0,
            weight_mismatch: 0.0,
            oversize: 0.0,
            gap: 0.0,
            merged_share: 0.0,
            tracking_loss: 0.0,
            removed: 0.0,
            divert_failure: 0.0,
            unconfirmed: 0.0,
        }
    }
}

/// Why a scenario file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file could not be read.
    #[error("{path}: cannot be read: {source}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not TOML, or holds an unknown key.
    #[error("{path}: {source}", path = path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
    /// A value no run can have.
    #[error("scenario: {what}")]
    Value {
        /// Which and why.
        what: String,
    },
}

impl Scenario {
    /// Reads a scenario from a TOML file; keys that are left out keep their default.
    pub fn read(path: &Path) -> Result<Scenario, ScenarioError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ScenarioError::Read { path: path.to_owned(), source })?;
        let scenario: Scenario = toml::from_str(&text)
            .map_err(|source| ScenarioError::Parse { path: path.to_owned(), source: Box::new(source) })?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Refuses values no run can have.
    pub fn check(&self) -> Result<(), ScenarioError> {
        let wrong = |what: String| Err(ScenarioError::Value { what });
        if !(self.parcels_per_hour > 0.0 && self.parcels_per_hour <= 100_000.0) {
            return wrong(format!(
                "parcels-per-hour: expected more than 0 and at most 100000, got {}",
                self.parcels_per_hour
            ));
        }
        if !(0.0..=0.9).contains(&self.peak_share) || self.peak_share * self.peak_factor >= 1.0 {
            return wrong(format!(
                "peak-share × peak-factor: expected less than 1, got {} × {}",
                self.peak_share, self.peak_factor
            ));
        }
        if !(self.peak_factor >= 1.0 && self.peak_period_s >= 1.0) {
            return wrong("peak-factor and peak-period-s: expected at least 1".to_owned());
        }
        if !(self.run_mean >= 1.0 && self.zipf_exponent >= 0.0 && self.destinations > 0) {
            return wrong(
                "run-mean at least 1, zipf-exponent at least 0, destinations at least 1 expected".to_owned(),
            );
        }
        let (short, long) = self.length_mm;
        if short < 50 || long < short {
            return wrong(format!(
                "length-mm: expected [shortest ≥ 50, longest ≥ shortest], got [{short}, {long}]"
            ));
        }
        if self.slide_ms.0 > self.slide_ms.1 {
            return wrong("slide-ms: expected [least, most]".to_owned());
        }
        if self.changers == 0 || self.bag_change_s < 0.0 || self.plc_scan_ms == 0 {
            return wrong("changers and plc-scan-ms at least 1, bag-change-s at least 0 expected".to_owned());
        }
        if !(self.order_lead_s >= 0.0 && self.order_lead_s <= 86_400.0) {
            return wrong(format!("order-lead-s: expected 0 to 86400, got {}", self.order_lead_s));
        }
        let f = &self.faults;
        let rates = [
            f.no_read,
            f.multi_read,
            f.unknown,
            f.ambiguous,
            f.cancelled,
            f.cod_hold,
            f.customs_hold,
            f.cod_mismatch,
            f.dangerous_goods,
            f.weight_mismatch,
            f.oversize,
            f.gap,
            f.merged_share,
            f.tracking_loss,
            f.removed,
            f.divert_failure,
            f.unconfirmed,
            self.tag_share,
            self.sscc_share,
            self.scanner_read,
        ];
        if rates.iter().any(|rate| !(0.0..=1.0).contains(rate)) {
            return wrong("rates and shares: expected 0 to 1 each".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Scenario, ScenarioError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("scenario.toml");
        std::fs::write(&path, text).unwrap();
        Scenario::read(&path)
    }

    #[test]
    fn what_a_file_leaves_out_keeps_its_default() {
        let scenario = read("parcels-per-hour = 500\n[faults]\nno-read = 0.5\n").unwrap();
        assert!((scenario.parcels_per_hour - 500.0).abs() < f64::EPSILON);
        assert!((scenario.faults.no_read - 0.5).abs() < f64::EPSILON);
        assert_eq!(scenario.changers, Scenario::default().changers);
        assert!(Scenario::default().check().is_ok());
    }

    #[test]
    fn a_mistake_is_named_with_what_was_expected() {
        for (text, expected) in [
            ("parcels-per-huor = 1", "unknown field `parcels-per-huor`"),
            ("parcels-per-hour = 0", "parcels-per-hour: expected more than 0"),
            ("peak-factor = 6.0", "expected less than 1"),
            ("length-mm = [600, 150]", "length-mm: expected"),
            ("[faults]\ngap = 2.0", "expected 0 to 1"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(matches!(Scenario::read(Path::new("/nowhere/at/all")), Err(ScenarioError::Read { .. })));
    }
}
