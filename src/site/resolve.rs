//! Checked tables → [`Site`].

use std::path::{Path, PathBuf};

use super::plan_rows::{PlanRow, routes};
use super::rules::{host_port, number_shape};
use super::tables::ChuteRow;
use super::walk::Table;
use super::{
    Belt, BrokerAddress, CameraDevice, ChuteNo, GateDevice, PanelSettings, PlcDevice, Reader, ReaderId,
    ReaderKind, ScannerDevice, Site, SortPlan, StoreSettings, TlsSettings, UplinkSettings, carriers_file,
    keys,
};
use crate::identify::{Carrier, CarrierRules, CheckRule, Pattern};
use crate::wire::photo::PhotoName;
use crate::wire::scanner::Framing;

/// The files after their own checks; `None` where one could not be read at all.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) sortd: Option<Table>,
    pub(super) line: Option<Table>,
    pub(super) devices: Option<Table>,
    pub(super) carriers: Option<Table>,
    pub(super) chutes: Option<Vec<ChuteRow>>,
    pub(super) plan: Option<Vec<PlanRow>>,
}

impl Files {
    pub(super) fn belt(&self) -> Option<&Table> {
        self.line.as_ref()?.table("belt")
    }

    pub(super) fn plc(&self) -> Option<&Table> {
        self.devices.as_ref()?.table("plc")
    }

    /// Scanners, then gates: the order of [`ReaderId`].
    pub(super) fn readers(&self) -> impl Iterator<Item = (ReaderKind, &Table)> {
        let of = |key| self.devices.as_ref().map_or(&[][..], |devices| devices.tables(key));
        let scanners = of("scanner").iter().map(|table| (ReaderKind::Barcode, table));
        scanners.chain(of("gate").iter().map(|table| (ReaderKind::Tag, table)))
    }

    /// The site. To be called when nothing is wrong: a faulty value would come out as the least of its range.
    pub(super) fn site(&self, directory: &Path) -> Option<Site> {
        let Files { sortd, line, devices, carriers, chutes, plan } = self;
        let (sortd, line, devices) = (sortd.as_ref()?, line.as_ref()?, devices.as_ref()?);
        let identity = sortd.table("site")?;
        let (name, line_name) = (identity.text("name"), identity.text("line"));
        let plan = plan.as_ref()?;
        let readers: Vec<(ReaderId, ReaderKind, &Table)> = self
            .readers()
            .enumerate()
            .map(|(at, (kind, table))| (ReaderId(u16::try_from(at).unwrap_or(u16::MAX)), kind, table))
            .collect();
        let of = |wanted: ReaderKind| {
            readers.iter().filter(move |(_, kind, _)| *kind == wanted).map(|(id, _, table)| (*id, *table))
        };
        Some(Site {
            domain: identity.text("domain"),
            time_zone: identity.text("time-zone"),
            belt: belt(line)?,
            chutes: chutes.as_ref()?.iter().map(ChuteRow::chute).collect::<Option<_>>()?,
            exception_chute: ChuteNo(line.table("exception")?.number("chute")),
            readers: readers.iter().map(|(_, kind, table)| reader(*kind, table)).collect(),
            plc: plc(devices.table("plc")?)?,
            scanners: of(ReaderKind::Barcode).map(|(id, table)| scanner(directory, id, table)).collect(),
            gates: of(ReaderKind::Tag).map(|(id, table)| gate(id, table)).collect(),
            cameras: devices
                .tables("camera")
                .iter()
                .filter_map(|table| {
                    let sees = table.text("reader");
                    let (reader, ..) = readers.iter().find(|(_, _, reader)| reader.text("name") == sees)?;
                    camera(directory, *reader, table, &identity.text("time-zone"))
                })
                .collect(),
            carriers: CarrierRules {
                carriers: carriers.as_ref()?.tables("carrier").iter().map(carrier).collect(),
            },
            carrier_table: carriers
                .as_ref()?
                .tables("carrier")
                .iter()
                .map(carriers_file::carrier)
                .collect::<Option<_>>()?,
            plan: SortPlan::new(routes(plan)),
            uplink: uplink(directory, sortd.table("uplink")?, format!("sortd-{name}-{line_name}"))?,
            store: store(directory, sortd.table("store")?),
            panel: panel(directory, sortd.table("panel")?),
            name,
            line_name,
        })
    }
}

/// Address in a broker's URL, and whether TLS is spoken there.
pub(super) fn broker(url: &str) -> Option<(BrokerAddress, bool)> {
    let (scheme, rest) = url.split_once("://")?;
    let (host, port) = host_port(rest).ok()?;
    Some((BrokerAddress { host, port }, scheme == "mqtts"))
}

fn belt(line: &Table) -> Option<Belt> {
    let belt = line.table("belt")?;
    let decision = line.table("decision")?;
    let tracking = line.table("tracking")?;
    let back = line.table("recirculation");
    Some(Belt {
        speed_mm_s: belt.number("speed-mm-s"),
        pulses_per_metre: belt.number("pulses-per-metre"),
        length_mm: belt.number("length-mm"),
        recirculation_mm: back.map(|back| back.number("way-mm")),
        recirculation_limit: back.map_or(0, |back| back.number("limit")),
        longest_parcel_mm: belt.number("longest-parcel-mm"),
        least_gap_mm: belt.number("least-gap-mm"),
        window_mm: tracking.number("window-mm"),
        window_permille: tracking.number("window-permille"),
        reserve_ms: decision.number("reserve-ms"),
        confirm_failures: decision.number("confirm-failures"),
        near_full_percent: decision.number("near-full-percent"),
    })
}

fn reader(kind: ReaderKind, table: &Table) -> Reader {
    let (field_start_mm, field_end_mm) = table.known_pair("field-mm").unwrap_or_default();
    let delay_ms = table.known_pair("delay-ms").unwrap_or_default();
    Reader { name: table.text("name"), kind, field_start_mm, field_end_mm, delay_ms }
}

fn plc(table: &Table) -> Option<PlcDevice> {
    Some(PlcDevice {
        name: table.text("name"),
        address: table.text("address"),
        unit: table.number("unit"),
        poll_ms: table.number("poll-ms"),
        timeout_ms: table.number("timeout-ms"),
        heartbeat_ms: table.number("heartbeat-ms"),
        map: table.table("map")?.register_map(),
    })
}

fn scanner(directory: &Path, reader: ReaderId, table: &Table) -> ScannerDevice {
    let bytes = |key| table.text(key).into_bytes();
    let (header, terminator) = match table.known_text("framing") {
        Some("stx-etx") => (vec![0x02], vec![0x03]),
        Some("cr-lf") => (Vec::new(), b"\r\n".to_vec()),
        Some("cr") => (Vec::new(), b"\r".to_vec()),
        _ => (bytes("header"), bytes("terminator")),
    };
    ScannerDevice {
        name: table.text("name"),
        reader,
        port: directory.join(table.text("port")),
        baud: table.number("baud"),
        framing: Framing {
            header,
            terminator,
            separator: table.known_text("separator").map(|text| text.as_bytes().to_vec()),
            no_read: table.known_text("no-read").map(str::to_owned),
            heartbeat: table.known_text("heartbeat").map(str::to_owned),
            aim: table.flag("aim"),
            longest: table.number::<u16>("longest-bytes").into(),
        },
        silence_ms: table.number("silence-ms"),
    }
}

fn gate(reader: ReaderId, table: &Table) -> GateDevice {
    GateDevice {
        name: table.text("name"),
        reader,
        address: table.text("address"),
        unit: table.number("unit"),
        channel: table.number("channel"),
        poll_ms: table.number("poll-ms"),
        timeout_ms: table.number("timeout-ms"),
        same_tag_ms: table.number("same-tag-ms"),
    }
}

fn camera(directory: &Path, reader: ReaderId, table: &Table, site_zone: &str) -> Option<CameraDevice> {
    Some(CameraDevice {
        name: table.text("name"),
        reader,
        directory: directory.join(table.text("directory")),
        pattern: PhotoName::new(&table.text("pattern")).ok()?,
        time_zone: table.known_text("time-zone").unwrap_or(site_zone).to_owned(),
        delay_ms: table.known_pair("delay-ms").unwrap_or_default(),
        window_ms: table.number("window-ms"),
        largest_bytes: table.number::<u64>("largest-kib") * 1024,
        poll_ms: table.number("poll-ms"),
    })
}

fn carrier(table: &Table) -> Carrier {
    Carrier {
        code: table.text("code"),
        name: table.text("name"),
        countries: table.texts("countries").iter().map(|(_, country)| country.clone()).collect(),
        patterns: table.tables("pattern").iter().filter_map(pattern).collect(),
    }
}

fn pattern(table: &Table) -> Option<Pattern> {
    const RULES: [CheckRule; 8] = [
        CheckRule::None,
        CheckRule::S10,
        CheckRule::Mod10,
        CheckRule::Ups,
        CheckRule::Fedex12,
        CheckRule::Mod7,
        CheckRule::Identcode,
        CheckRule::Mod37x36,
    ];
    let word = table.known_text("check")?;
    Some(Pattern {
        regex: number_shape(table.known_text("regex")?).ok()?,
        check: *RULES.get(keys::CHECKS.iter().position(|check| *check == word)?)?,
        published: table.flag("published"),
    })
}

fn uplink(directory: &Path, table: &Table, default_id: String) -> Option<UplinkSettings> {
    let brokers: Vec<(BrokerAddress, bool)> =
        table.texts("broker").iter().map(|(_, url)| broker(url)).collect::<Option<_>>()?;
    // The check has seen to it that all are of one scheme.
    let (_, encrypted) = brokers.first()?;
    let file = |key| table.known_text(key).map(|file| directory.join(file));
    let tls = encrypted.then(|| TlsSettings {
        ca_file: file("ca-file"),
        client: file("client-cert-file").zip(file("client-key-file")),
        server_name: table.known_text("server-name").map(str::to_owned),
    });
    let password = table.known_text("password-file").map(|file| directory.join(file));
    Some(UplinkSettings {
        brokers: brokers.into_iter().map(|(address, _)| address).collect(),
        tls,
        client_id: table.known_text("client-id").map_or(default_id, str::to_owned),
        login: table.known_text("user").map(str::to_owned).zip(password),
        window: table.number("window"),
        backlog_per_s: table.number("backlog-per-s"),
        silence_ms: table.number("silence-ms"),
        packet_limit: table.number::<u32>("packet-limit-kib") as usize * 1024,
        health_ms: table.number("health-ms"),
        echo_check: table.flag("echo-check"),
    })
}

fn store(directory: &Path, table: &Table) -> StoreSettings {
    StoreSettings {
        directory: directory.join(table.text("directory")),
        cache_mib: table.number("cache-mib"),
        keep_days: table.number("keep-days"),
        space: super::SpaceSettings {
            max_size_mib: table.known_number("max-size-mib").and_then(|mib| u32::try_from(mib).ok()),
            hard_size_mib: table.known_number("hard-size-mib").and_then(|mib| u32::try_from(mib).ok()),
            keep_free_mib: table.number("keep-free-mib"),
            reserve_mib: table.number("reserve-mib"),
        },
        signing_key: table.known_text("signing-key-file").map(|file| directory.join(file)),
    }
}

fn panel(directory: &Path, table: &Table) -> PanelSettings {
    let socket: PathBuf = directory.join(table.text("socket"));
    PanelSettings { socket, http: table.known_text("http").and_then(|text| text.parse().ok()) }
}
