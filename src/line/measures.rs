//! Distributions since this start: latency, reaction, slack. Not stored; the journal has every value.

use hdrhistogram::Histogram;

/// Largest value kept apart, in microseconds or milliseconds: one hour in ms, an hour and more in µs.
const LARGEST: u64 = 3_600_000_000;

/// Distributions of one run.
#[derive(Debug)]
pub struct Measures {
    /// Induction → first decision, µs.
    decision: Histogram<u64>,
    /// Stamp of the input that completed the facts → decision, µs.
    reaction: Histogram<u64>,
    /// Slack, ms; a command taken after the point of no return counts as 0 here.
    slack: Histogram<u64>,
    /// Least slack, which may be negative.
    least_slack_ms: Option<i64>,
}

impl Default for Measures {
    fn default() -> Self {
        let histogram = || {
            Histogram::new_with_bounds(1, LARGEST, 3).expect(
                "the bounds are constants that the histogram accepts: 1 ≤ low, 2·low ≤ high, 3 digits",
            )
        };
        Measures { decision: histogram(), reaction: histogram(), slack: histogram(), least_slack_ms: None }
    }
}

impl Measures {
    /// A decision; `since_induction_us` is given for the first of a pass only.
    pub fn decided(&mut self, since_induction_us: Option<u64>, reaction_us: u64) {
        if let Some(since_induction_us) = since_induction_us {
            self.decision.saturating_record(since_induction_us);
        }
        self.reaction.saturating_record(reaction_us);
    }

    /// A command was taken with this slack.
    pub fn slack(&mut self, slack_ms: i32) {
        self.slack.saturating_record(u64::try_from(slack_ms).unwrap_or(0));
        let slack_ms = i64::from(slack_ms);
        self.least_slack_ms = Some(self.least_slack_ms.map_or(slack_ms, |least| least.min(slack_ms)));
    }

    /// Induction → first decision in ms: p50, p99, max.
    pub fn decision_ms(&self) -> [f64; 3] {
        high(&self.decision)
    }

    /// Reaction in ms: p50, p99, max.
    pub fn reaction_ms(&self) -> [f64; 3] {
        high(&self.reaction)
    }

    /// Slack in ms: min, p1, p50; zero where nothing was commanded yet.
    pub fn slack_ms(&self) -> [i64; 3] {
        let Some(least) = self.least_slack_ms else { return [0; 3] };
        let at = |quantile: f64| i64::try_from(self.slack.value_at_quantile(quantile)).unwrap_or(i64::MAX);
        [least, at(0.01), at(0.5)]
    }
}

#[allow(clippy::cast_precision_loss, reason = "shown to people; microseconds stay far below 2^52")]
fn high(histogram: &Histogram<u64>) -> [f64; 3] {
    if histogram.is_empty() {
        return [0.0; 3];
    }
    let ms = |value: u64| value as f64 / 1000.0;
    [ms(histogram.value_at_quantile(0.5)), ms(histogram.value_at_quantile(0.99)), ms(histogram.max())]
}
