//! Which parcels come and when: a Poisson stream with peaks, in runs of one seller, with the fault mix.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sortd::identify::{Aim, Reading};
use sortd::site::Site;

use super::numbers::Numbers;
use super::orders::{self, Paper};
use super::parcel::{Fault, Label, Parcel, ParcelId, Place, Side};
use super::scenario::Scenario;

/// Most microseconds between two arrivals, whatever the dice say.
const LONGEST_PAUSE_US: f64 = 600e6;

/// A parcel fed too close that does not touch has at least this gap: more than the eye's debounce length.
const LEAST_VISIBLE_GAP_MM: u32 = 30;

/// Gap of touching parcels.
const TOUCHING_GAP_MM: u32 = 3;

/// Separate random streams of one seed, so that changing one thing does not move every other.
pub fn stream(seed: u64, number: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(number);
    rng
}

/// A parcel that is about to be announced.
#[derive(Debug)]
pub struct Coming {
    /// The parcel.
    pub parcel: Parcel,
    /// Its orders.
    pub paper: Paper,
    /// From this announcement to the next.
    pub pause_us: u64,
}

/// The stream of parcels.
#[derive(Debug)]
pub struct Workload {
    arrivals: ChaCha8Rng,
    mix: ChaCha8Rng,
    numbers: Numbers,
    destinations: Vec<Destination>,
    cumulative: Vec<f64>,
    run: Option<usize>,
    next_id: u64,
    serial_in_orders: u64,
}

#[derive(Debug)]
struct Destination {
    name: String,
    carrier: Option<usize>,
    carrier_code: Option<String>,
}

impl Workload {
    /// Parcels for the destinations of the site's sort plan.
    pub fn new(site: &Site, scenario: &Scenario, seed: u64) -> Workload {
        let named = scenario.ranking.iter().filter(|name| site.plan.routes.contains_key(*name));
        let others = site.plan.destinations().filter(|name| !scenario.ranking.contains(name));
        let destinations: Vec<Destination> = named
            .chain(others)
            .take(scenario.destinations)
            .enumerate()
            .map(|(rank, name)| {
                let carrier = carrier_of(site, name, rank);
                let carrier_code = carrier.map(|index| site.carriers.carriers[index].code.clone());
                Destination { name: name.clone(), carrier, carrier_code }
            })
            .collect();
        let mut cumulative = Vec::with_capacity(destinations.len());
        let mut sum = 0.0;
        for rank in 0..destinations.len() {
            sum += 1.0 / f64::from(u32::try_from(rank + 1).unwrap_or(u32::MAX)).powf(scenario.zipf_exponent);
            cumulative.push(sum);
        }
        Workload {
            arrivals: stream(seed, 1),
            mix: stream(seed, 2),
            numbers: Numbers::new(&site.carriers, stream(seed, 3)),
            destinations,
            cumulative,
            run: None,
            next_id: 0,
            serial_in_orders: 0,
        }
    }

    /// The next parcel; `None` where the sort plan has no destination at all.
    pub fn next(&mut self, now_us: u64, scenario: &Scenario, least_gap_mm: u16) -> Option<Coming> {
        let index = self.destination(scenario)?;
        let f = &scenario.faults;
        let mut faults = Vec::new();
        let unknown = self.roll(f.unknown);
        let ambiguous = !unknown && self.roll(f.ambiguous);
        let multi = !unknown && !ambiguous && self.roll(f.multi_read);
        let cancelled = self.roll(f.cancelled);
        let held_roll = self.mix.random::<f64>();
        let hold = if cancelled { None } else { orders::hold(f, held_roll) };
        for (fault, hit) in [
            (Fault::Unknown, unknown),
            (Fault::MultiRead, multi),
            (Fault::NoRead, self.roll(f.no_read)),
            (Fault::TrackingLoss, self.roll(f.tracking_loss)),
            (Fault::Removed, self.roll(f.removed)),
            (Fault::DivertFailure, self.roll(f.divert_failure)),
            (Fault::Unconfirmed, self.roll(f.unconfirmed)),
        ] {
            if hit {
                faults.push(fault);
            }
        }
        let forced_gap_mm = self.forced_gap(f.gap, f.merged_share, least_gap_mm);
        if forced_gap_mm.is_some() {
            faults.push(Fault::Gap);
        }

        let Destination { name, carrier, carrier_code } = &self.destinations[index];
        let (carrier, carrier_code, destination) = (*carrier, carrier_code.clone(), name.clone());
        let ambiguous_code = if ambiguous { self.numbers.ambiguous() } else { None };
        if ambiguous_code.is_some() {
            faults.push(Fault::Ambiguous);
        }
        let bound = !unknown && ambiguous_code.is_none();
        let by_sscc = bound && self.roll(scenario.sscc_share);
        let tagged = bound && !faults.contains(&Fault::NoRead) && self.roll(scenario.tag_share);

        let mut codes = Vec::new();
        let mut tag = None;
        let reading;
        if by_sscc {
            let sscc = self.numbers.sscc();
            reading = Reading::Barcode { aim: Some(Aim(b'C', b'1')), text: format!("00{sscc}") };
            if tagged {
                tag = Numbers::sscc96(&sscc).map(|(epc, _)| epc);
            }
            codes.push(sscc);
        } else {
            let waybill = ambiguous_code.unwrap_or_else(|| self.numbers.waybill(carrier));
            reading = Reading::Barcode { aim: Some(Aim(b'C', b'0')), text: waybill.clone() };
            codes.push(waybill);
            if tagged {
                let (epc, uri) = self.numbers.sgtin96();
                tag = Some(epc);
                codes.push(uri);
            }
        }
        let mut labels = Vec::new();
        if !faults.contains(&Fault::NoRead) {
            labels.push(self.label(reading));
        }

        let mut paper = Paper::default();
        if bound {
            let withheld = match (cancelled, hold) {
                (true, _) => Some((Fault::Cancelled, None)),
                (false, Some(hold)) => Some((Fault::Held, Some(hold))),
                (false, None) => None,
            };
            if let Some((fault, _)) = withheld {
                faults.push(fault);
            }
            let late = self.mix.random_bool(0.5);
            self.serial_in_orders += 1;
            paper = orders::paper(
                self.serial_in_orders,
                codes,
                &destination,
                carrier_code.clone(),
                withheld,
                late,
            );
            if multi {
                // The second label belongs to an order whose own parcel never comes.
                let other = self.numbers.waybill(carrier);
                self.serial_in_orders += 1;
                let phantom = orders::paper(
                    self.serial_in_orders,
                    vec![other.clone()],
                    &destination,
                    carrier_code,
                    None,
                    false,
                );
                paper.first.extend(phantom.first);
                if !labels.is_empty() {
                    let second = Reading::Barcode { aim: Some(Aim(b'C', b'0')), text: other };
                    labels.push(self.label(second));
                }
            }
        }

        let sortable = bound && !faults.iter().any(|f| matches!(f, Fault::Cancelled | Fault::Held));
        let (short, long) = scenario.length_mm;
        let id = ParcelId(self.next_id);
        self.next_id += 1;
        let parcel = Parcel {
            id,
            length_mm: self.mix.random_range(short..=long),
            labels,
            tag,
            destination,
            sortable,
            faults,
            hurt: false,
            forced_gap_mm,
            place: Place::Waiting,
            front_nm: 0,
            state: 0,
            lap: 0,
            track: None,
        };
        Some(Coming { parcel, paper, pause_us: self.pause_us(now_us, scenario) })
    }

    fn roll(&mut self, rate: f64) -> bool {
        // Always draws, so that one knob does not shift the dice of the others.
        self.mix.random::<f64>() < rate
    }

    fn forced_gap(&mut self, rate: f64, merged_share: f64, least_gap_mm: u16) -> Option<u32> {
        let (hit, merged) = (self.roll(rate), self.roll(merged_share));
        let most = (u32::from(least_gap_mm) * 9 / 10).max(LEAST_VISIBLE_GAP_MM + 1);
        let visible = self.mix.random_range(LEAST_VISIBLE_GAP_MM..most);
        hit.then_some(if merged { TOUCHING_GAP_MM } else { visible })
    }

    fn label(&mut self, reading: Reading) -> Label {
        let side = match self.mix.random_range(0..10u32) {
            0..=6 => Side::Top,
            7 | 8 => Side::Left,
            _ => Side::Right,
        };
        Label { side, place_permille: self.mix.random_range(200..=800), reading }
    }

    /// A run of one seller goes to one destination; its length is geometric.
    fn destination(&mut self, scenario: &Scenario) -> Option<usize> {
        let total = *self.cumulative.last()?;
        let ends = self.roll(1.0 / scenario.run_mean);
        let spot = self.mix.random::<f64>() * total;
        if ends || self.run.is_none() {
            let index = self.cumulative.partition_point(|sum| *sum < spot);
            self.run = Some(index.min(self.cumulative.len() - 1));
        }
        self.run
    }

    fn pause_us(&mut self, now_us: u64, scenario: &Scenario) -> u64 {
        let period_us = scenario.peak_period_s * 1e6;
        let mean_per_us = scenario.parcels_per_hour / 3600e6;
        let off_peak = (1.0 - scenario.peak_share * scenario.peak_factor) / (1.0 - scenario.peak_share);
        #[expect(clippy::cast_precision_loss, reason = "a day in µs is far below 2^52")]
        let phase = (now_us as f64 % period_us) / period_us;
        // The peak stands in the middle of its period, so that a run does not begin with one.
        let in_peak = (phase - 0.5).abs() * 2.0 < scenario.peak_share;
        let rate = mean_per_us * if in_peak { scenario.peak_factor } else { off_peak };
        let uniform: f64 = self.arrivals.random::<f64>();
        let pause = (-(1.0 - uniform).ln() / rate).clamp(1.0, LONGEST_PAUSE_US);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped just above")]
        let pause = pause as u64;
        pause
    }
}

/// The carrier that serves a destination: the one its name contains, else one for the country its name
/// begins with, else any.
fn carrier_of(site: &Site, destination: &str, rank: usize) -> Option<usize> {
    let carriers = &site.carriers.carriers;
    if carriers.is_empty() {
        return None;
    }
    carriers
        .iter()
        .position(|carrier| destination.contains(&carrier.code))
        .or_else(|| {
            carriers.iter().position(|carrier| {
                carrier.countries.iter().any(|country| destination.starts_with(country.as_str()))
            })
        })
        .or(Some(rank % carriers.len()))
}
