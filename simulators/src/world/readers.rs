//! The scan tunnel and the gates: what each reader sees of a parcel, when, and how late it says so.
//!
//! Scanner 0 looks from above, scanner 1 from the left, scanner 2 from the right, and so on in turn; a
//! single scanner sees every side. A label is seen at the moment its middle is somewhere in the reader's
//! field; a scanner that saw nothing says so when the parcel's rear is in its field.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use sortd::identify::Reading;
use sortd::line::ReaderId;
use sortd::site::{Reader, ReaderKind, Site};

use super::agenda::Glance;
use super::belt::NM_PER_MM;
use super::parcel::{Fault, Parcel, Side};

/// Signal of a tag right under the antenna, and how far it may fall, dBm.
const RSSI_DBM: std::ops::RangeInclusive<i16> = -62..=-48;

/// How much of a parcel has passed when a scanner gives it up, in thousandths.
const NOTHING_READ_PERMILLE: u32 = 900;

/// What every reader will see of a parcel that passes now: (belt travel after its front was at the eye, nm).
pub fn glances(site: &Site, read_rate: f64, parcel: &Parcel, rng: &mut ChaCha8Rng) -> Vec<(i64, Glance)> {
    let mut all = Vec::new();
    let scanners: Vec<(usize, &Reader)> =
        site.readers.iter().enumerate().filter(|(_, reader)| reader.kind == ReaderKind::Barcode).collect();
    // Per label: which scanner reads it. One that sees it always does, so that the no-read rate is the knob.
    let mut seen: Vec<Vec<Reading>> = vec![Vec::new(); scanners.len()];
    for label in &parcel.labels {
        let able: Vec<usize> =
            (0..scanners.len()).filter(|nth| sees(*nth, scanners.len(), label.side)).collect();
        let sure = if able.is_empty() { 0 } else { rng.random_range(0..able.len()) };
        for (i, nth) in able.iter().enumerate() {
            let luck = rng.random::<f64>() < read_rate;
            if i == sure || luck {
                seen[*nth].push(label.reading.clone());
            }
        }
    }
    for (nth, (index, reader)) in scanners.iter().enumerate() {
        // The telegram goes out when the last label of the parcel has been read; one that says "nothing"
        // goes out near the parcel's end.
        let place = parcel
            .labels
            .iter()
            .filter(|label| seen[nth].contains(&label.reading))
            .map(|label| label.place_permille)
            .max()
            .unwrap_or(NOTHING_READ_PERMILLE);
        let at_mm = field_place(reader, rng) + i64::from(parcel.length_mm) * i64::from(place) / 1000;
        all.push((at_mm * NM_PER_MM, glance(*index, reader, std::mem::take(&mut seen[nth]), None, rng)));
    }
    if let Some(epc) = parcel.tag.as_ref().filter(|_| !parcel.has(Fault::NoRead)) {
        for (index, reader) in site.readers.iter().enumerate().filter(|(_, r)| r.kind == ReaderKind::Tag) {
            let at_mm = field_place(reader, rng) + i64::from(parcel.length_mm) / 2;
            let readings = vec![Reading::Tag { epc: epc.clone() }];
            let rssi = rng.random_range(RSSI_DBM);
            all.push((at_mm * NM_PER_MM, glance(index, reader, readings, Some(rssi), rng)));
        }
    }
    all
}

fn sees(nth: usize, scanners: usize, side: Side) -> bool {
    if scanners < 3 {
        // One or two scanners are mounted so that each sees the whole parcel over mirrors.
        return true;
    }
    match side {
        Side::Top => nth.is_multiple_of(3),
        Side::Left => nth % 3 == 1,
        Side::Right => nth % 3 == 2,
    }
}

fn field_place(reader: &Reader, rng: &mut ChaCha8Rng) -> i64 {
    i64::from(rng.random_range(reader.field_start_mm..=reader.field_end_mm.max(reader.field_start_mm)))
}

fn glance(
    index: usize,
    reader: &Reader,
    readings: Vec<Reading>,
    rssi_dbm: Option<i16>,
    rng: &mut ChaCha8Rng,
) -> Glance {
    let (least, most) = reader.delay_ms;
    let delay_us = rng.random_range(u64::from(least) * 1000..=u64::from(most.max(least)) * 1000);
    Glance {
        reader: ReaderId(u16::try_from(index).unwrap_or(u16::MAX)),
        readings,
        rssi_dbm,
        delay_us,
        by_us: 0,
    }
}
