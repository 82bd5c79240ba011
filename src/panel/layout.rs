//! The line's drawing: what the page needs to draw it to scale, out of the configuration.

use serde::{Deserialize, Serialize};

use crate::site::{ReaderKind, Site};

/// Geometry of the line for the page. Positions count from the induction eye in the direction of travel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// From the induction eye to the end of the line.
    pub length_mm: u32,
    /// Nominal speed.
    pub speed_mm_s: u32,
    /// Way from the end back to the induction eye, where the line recirculates.
    pub recirculation_mm: Option<u32>,
    /// The part of a chute's capacity, in percent, from which it shows near full.
    pub near_full_percent: u8,
    /// Readers in file order.
    pub readers: Vec<ReaderPlace>,
    /// Chutes by number, the exception chute among them.
    pub chutes: Vec<ChutePlace>,
}

/// A reader's field on the belt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReaderPlace {
    /// Name in `devices.toml`.
    pub name: String,
    /// A gate for tags; otherwise a barcode scanner.
    pub tag: bool,
    /// Field.
    pub start_mm: u32,
    /// Field.
    pub end_mm: u32,
}

/// A chute's place on the belt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChutePlace {
    /// Number at the PLC.
    pub number: u16,
    /// Name people use.
    pub name: String,
    /// Where it discharges.
    pub position_mm: u32,
    /// Takes exceptions.
    pub exception: bool,
    /// Destinations the sort plan sends there, in the plan's order of names.
    pub destinations: Vec<String>,
}

impl Layout {
    /// The drawing of a configured line.
    pub fn of(site: &Site) -> Layout {
        let readers = site
            .readers
            .iter()
            .map(|reader| ReaderPlace {
                name: reader.name.clone(),
                tag: reader.kind == ReaderKind::Tag,
                start_mm: reader.field_start_mm,
                end_mm: reader.field_end_mm,
            })
            .collect();
        let mut chutes: Vec<ChutePlace> = site
            .chutes
            .iter()
            .map(|chute| ChutePlace {
                number: chute.number.0,
                name: chute.name.clone(),
                position_mm: chute.position_mm,
                exception: chute.number == site.exception_chute,
                destinations: site
                    .plan
                    .routes
                    .iter()
                    .filter(|(_, route)| route.contains(&chute.number))
                    .map(|(destination, _)| destination.clone())
                    .collect(),
            })
            .collect();
        chutes.sort_by_key(|chute| chute.number);
        Layout {
            length_mm: site.belt.length_mm,
            speed_mm_s: site.belt.speed_mm_s,
            recirculation_mm: site.belt.recirculation_mm,
            near_full_percent: site.belt.near_full_percent,
            readers,
            chutes,
        }
    }
}
