//! A site built in code: 90 destinations on 113 chutes of a looped belt at 2.5 m/s, a tunnel of two scanners
//! and one gate, four carriers, two of them with numbers that overlap. For tests, and for runs without
//! configuration files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use sortd::identify::{Carrier, CarrierRules, CheckRule, Pattern};
use sortd::site::{
    Belt, BrokerAddress, Carriers, Chute, ChuteNo, GateDevice, PanelSettings, PlcDevice, Reader, ReaderId,
    ReaderKind, ScannerDevice, Site, SortPlan, SpaceSettings, StoreSettings, UplinkSettings,
};
use sortd::wire::plc::RegisterMap;
use sortd::wire::scanner::Framing;

/// Destinations of the realistic workload.
pub const DESTINATIONS: u16 = 90;

/// First chute, behind tunnel and gate.
const FIRST_CHUTE_MM: u32 = 8_000;

/// Two chutes face each other every 600 mm.
const CHUTE_PITCH_MM: u32 = 600;

/// From a chute's decision point to its discharge.
const DIVERT_LEAD_MM: u32 = 250;

/// Chutes by rank of the destination: the busiest need bags at hand while others are changed.
fn chutes_of_rank(rank: u16) -> u16 {
    match rank {
        0 => 6,
        1..=4 => 3,
        5..=14 => 2,
        _ => 1,
    }
}

/// The site.
pub fn testsite() -> Arc<Site> {
    testsite_in(Path::new("testsite"))
}

/// The site with its ports, socket and store under a directory, and every address on a free loopback port.
pub fn testsite_in(directory: &Path) -> Arc<Site> {
    let mut routes = BTreeMap::new();
    let mut chutes = Vec::new();
    let mut number = 0u16;
    for rank in 0..DESTINATIONS {
        let mut own = Vec::new();
        for _ in 0..chutes_of_rank(rank) {
            number += 1;
            own.push(ChuteNo(number));
        }
        routes.insert(format!("D{rank:02}"), own);
    }
    // Chutes of one destination stand far apart, so that an alternate further down can still take over.
    let places = u32::from(number).div_ceil(2);
    for n in 0..number {
        let place = u32::from(n) * 7 % u32::from(number);
        let position_mm = FIRST_CHUTE_MM + place / 2 * CHUTE_PITCH_MM;
        chutes.push(chute(n + 1, position_mm, 40));
    }
    let end_mm = FIRST_CHUTE_MM + (places + 2) * CHUTE_PITCH_MM;
    number += 1;
    chutes.push(chute(number, end_mm, 1_000));
    let local = "127.0.0.1:0".to_owned();
    Arc::new(Site {
        name: "testsite".to_owned(),
        line_name: "line1".to_owned(),
        domain: "sort.example.com".to_owned(),
        time_zone: "Asia/Shanghai".to_owned(),
        belt: Belt {
            speed_mm_s: 2_500,
            pulses_per_metre: 1_000,
            length_mm: end_mm + 1_000,
            recirculation_mm: Some(end_mm + 1_000),
            recirculation_limit: 3,
            longest_parcel_mm: 800,
            least_gap_mm: 150,
            window_mm: 50,
            window_permille: 15,
            reserve_ms: 100,
            confirm_failures: 3,
            near_full_percent: 85,
        },
        chutes,
        exception_chute: ChuteNo(number),
        readers: vec![
            reader("top", ReaderKind::Barcode, 2_300, 2_400, (2, 30)),
            reader("side", ReaderKind::Barcode, 2_600, 2_700, (2, 30)),
            reader("gate", ReaderKind::Tag, 3_300, 3_500, (2, 60)),
        ],
        plc: PlcDevice {
            name: "plc".to_owned(),
            address: local.clone(),
            unit: 1,
            poll_ms: 20,
            timeout_ms: 300,
            heartbeat_ms: 250,
            map: RegisterMap::default(),
        },
        scanners: vec![scanner("top", 0, directory), scanner("side", 1, directory)],
        gates: vec![GateDevice {
            name: "gate".to_owned(),
            reader: ReaderId(2),
            address: local,
            unit: 1,
            channel: 1,
            poll_ms: 10,
            timeout_ms: 300,
            same_tag_ms: 1_000,
        }],
        cameras: Vec::new(),
        carriers: CarrierRules {
            carriers: vec![
                carrier("KERRY", "TH", "KEX[0-9]{11}", CheckRule::None),
                carrier("POST", "TH", "[A-Z]{2}[0-9]{9}TH", CheckRule::S10),
                carrier("TWELVE", "US", "[0-9]{12}", CheckRule::Fedex12),
                carrier("HOUSE", "US", "9[0-9]{11}", CheckRule::None),
            ],
        },
        carrier_table: Carriers::default(),
        plan: SortPlan::by_destination("0123456789abcdef", routes),
        uplink: UplinkSettings {
            brokers: vec![BrokerAddress { host: "127.0.0.1".to_owned(), port: 1883 }],
            tls: None,
            client_id: "testsite-line1".to_owned(),
            login: None,
            window: 100,
            backlog_per_s: 5_000,
            silence_ms: 10_000,
            packet_limit: 1 << 20,
            health_ms: 5_000,
            echo_check: true,
        },
        store: StoreSettings {
            directory: directory.join("store"),
            cache_mib: 8,
            keep_days: 180,
            space: SpaceSettings::default(),
            signing_key: None,
        },
        panel: PanelSettings { socket: directory.join("sortd.sock"), http: None },
    })
}

fn chute(number: u16, position_mm: u32, capacity: u16) -> Chute {
    Chute {
        number: ChuteNo(number),
        name: format!("C{number}"),
        position_mm,
        decision_mm: position_mm - DIVERT_LEAD_MM,
        capacity,
    }
}

fn reader(
    name: &str,
    kind: ReaderKind,
    field_start_mm: u32,
    field_end_mm: u32,
    delay_ms: (u32, u32),
) -> Reader {
    Reader { name: name.to_owned(), kind, field_start_mm, field_end_mm, delay_ms }
}

fn scanner(name: &str, reader: u16, directory: &Path) -> ScannerDevice {
    ScannerDevice {
        name: name.to_owned(),
        reader: ReaderId(reader),
        port: directory.join("ports").join(name),
        baud: 115_200,
        framing: Framing {
            header: vec![0x02],
            terminator: vec![0x03],
            separator: Some(b";".to_vec()),
            no_read: Some("NoRead".to_owned()),
            heartbeat: Some("HB".to_owned()),
            aim: true,
            longest: 256,
        },
        silence_ms: 5_000,
    }
}

fn carrier(code: &str, country: &str, shape: &str, check: CheckRule) -> Carrier {
    let regex =
        regex::Regex::new(&format!("^(?:{shape})$")).expect("the shapes above are regular expressions");
    Carrier {
        code: code.to_owned(),
        name: code.to_owned(),
        countries: vec![country.to_owned()],
        patterns: vec![Pattern { regex, check, published: false }],
    }
}
