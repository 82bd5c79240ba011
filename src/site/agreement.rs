//! What must hold between keys, rows and files, once each is good by itself.
//!
//! A check is left out where one of its sides is faulty, since that has been reported: one mistake is one error.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::finding::{Notes, Spot};
use super::resolve::Files;
use super::rules::SOCKET_PATH_MAX;
use super::shape::quoted;
use super::walk::Table;
use super::{ReaderKind, carriers_file, registers, uplink};

/// Readers one line has at most: their numbers fit a byte of a record with room to spare.
const READERS_MAX: usize = 64;
/// Cameras one line has at most; each is a directory that is looked into all the time.
const CAMERAS_MAX: usize = 64;
/// Chutes of one word of the PLC's bitmaps.
const CHUTES_A_WORD: i64 = 16;

impl Files {
    /// The numbers of the chutes, or `None` where none is known: then no reference is doubted.
    ///
    /// A row whose number is faulty or stands twice has been reported; lest every reference to the number it
    /// should have had be reported too, the numbers that would continue its neighbours count as present.
    fn numbers(&self) -> Option<BTreeSet<u16>> {
        let rows: Vec<Option<u16>> =
            self.chutes.as_ref()?.iter().map(|row| row.number.as_ref().map(|(_, number)| *number)).collect();
        let good: BTreeSet<u16> = rows.iter().flatten().copied().collect();
        if good.is_empty() && !rows.is_empty() {
            return None;
        }
        let (mut seen, mut meant) = (BTreeSet::new(), BTreeSet::new());
        let mut before = 0_u16;
        for (at, number) in rows.iter().enumerate() {
            match number {
                Some(number) if seen.insert(*number) => before = *number,
                _ => {
                    before = before.saturating_add(1);
                    meant.insert(before);
                    let after = rows.get(at + 1).copied().flatten();
                    meant.extend(after.map(|after| after.saturating_sub(1)));
                }
            }
        }
        Some(good.union(&meant).copied().collect())
    }

    /// Reports whatever does not fit together.
    pub(super) fn check(&self, notes: &mut Notes, directory: &Path) {
        if let Some(sortd) = &self.sortd {
            uplink::check(notes, directory, sortd);
            check_store(notes, sortd);
            check_socket(notes, directory, sortd);
            if let Some(store) = sortd.table("store") {
                check_signing_key(notes, directory, store);
            }
        }
        if let Some(plc) = self.plc() {
            check_plc(notes, plc);
        }
        self.check_readers(notes);
        self.check_scanners(notes);
        self.check_cameras(notes);
        if let Some(carriers) = &self.carriers {
            check_carriers(notes, carriers);
        }
        self.check_chutes(notes);
        self.check_decision_time(notes);
        self.check_plan(notes);
        self.check_conditions(notes);
    }

    fn check_readers(&self, notes: &mut Notes) {
        let length = self.belt().and_then(|belt| belt.known_number("length-mm"));
        let mut names: BTreeMap<&str, &Spot> = BTreeMap::new();
        if let Some((plc, name)) = self.plc().and_then(|plc| Some((plc, plc.known_text("name")?))) {
            names.insert(name, plc.spot_of("name"));
        }
        let mut ports: BTreeMap<&str, &Spot> = BTreeMap::new();
        for (_, reader) in self.readers() {
            if let Some(name) = reader.known_text("name") {
                let spot = reader.spot_of("name");
                if let Some(first) = names.get(name) {
                    let line = notes.line_of(first);
                    notes.error(
                        spot,
                        format!("the device name \"{name}\" stands twice, first on line {line}"),
                        "each device has a name of its own",
                        format!("write e.g. `name = \"{name}-2\"`"),
                    );
                } else {
                    names.insert(name, spot);
                }
            }
            if let (Some((_, end)), Some(length)) = (reader.known_pair("field-mm"), length)
                && i64::from(end) > length
            {
                notes.error(
                    reader.spot_of("field-mm"),
                    format!("the field ends at {end} mm, behind the end of the belt"),
                    format!("a field within the belt, 0 to {length} mm (`length-mm` in line.toml)"),
                    "measure from the induction eye in mm, or correct `length-mm`",
                );
            }
        }
        let scanners = self.readers().filter(|(kind, _)| *kind == ReaderKind::Barcode);
        for (_, scanner) in scanners {
            let Some(port) = scanner.known_text("port") else { continue };
            let spot = scanner.spot_of("port");
            if let Some(first) = ports.insert(port, spot) {
                let line = notes.line_of(first);
                notes.error(
                    spot,
                    format!("the port {port} stands twice, first on line {line}"),
                    "a serial port for each scanner",
                    "name the other adapter; `ls -l /dev/serial/by-id` lists them",
                );
            }
        }
        let count = self.readers().count();
        if let Some(devices) = &self.devices {
            if count == 0 {
                notes.error(
                    &devices.spot,
                    "there is no reader, so every parcel would be a no-read",
                    "at least one `[[scanner]]` or `[[gate]]`",
                    "add one",
                );
            } else if count > READERS_MAX {
                let message = format!("there are {count} readers");
                notes.error(&devices.spot, message, format!("at most {READERS_MAX}"), "remove some");
            }
        }
    }

    fn check_cameras(&self, notes: &mut Notes) {
        let Some(devices) = &self.devices else { return };
        let readers: Vec<&str> = self.readers().filter_map(|(_, reader)| reader.known_text("name")).collect();
        let mut names: BTreeSet<&str> = readers.iter().copied().collect();
        names.extend(self.plc().and_then(|plc| plc.known_text("name")));
        let cameras = devices.tables("camera");
        if cameras.len() > CAMERAS_MAX {
            let message = format!("there are {} cameras", cameras.len());
            notes.error(&devices.spot, message, format!("at most {CAMERAS_MAX}"), "remove some");
        }
        let mut places: BTreeSet<&str> = BTreeSet::new();
        for camera in cameras {
            if let Some(name) = camera.known_text("name")
                && !names.insert(name)
            {
                notes.error(
                    camera.spot_of("name"),
                    format!("the device name \"{name}\" stands twice"),
                    "each device has a name of its own",
                    format!("write e.g. `name = \"{name}-2\"`"),
                );
            }
            if let Some(sees) = camera.known_text("reader")
                && !readers.contains(&sees)
            {
                notes.error(
                    camera.spot_of("reader"),
                    format!("there is no reader \"{sees}\""),
                    format!("the name of a scanner or gate: {}", quoted(readers.iter().copied())),
                    "write the name of the reader that stands where the camera looks",
                );
            }
            if let Some(place) = camera.known_text("directory")
                && !places.insert(place)
            {
                notes.error(
                    camera.spot_of("directory"),
                    format!("the directory {place} stands twice"),
                    "a spool directory for each camera",
                    "let each camera write into a directory of its own",
                );
            }
        }
    }

    fn check_scanners(&self, notes: &mut Notes) {
        for (_, scanner) in self.readers().filter(|(kind, _)| *kind == ReaderKind::Barcode) {
            let custom = scanner.known_text("framing") == Some("custom");
            for key in ["header", "terminator"] {
                if scanner.is_written(key) && !custom && scanner.known_text("framing").is_some() {
                    notes.error(
                        scanner.spot_of(key),
                        format!("`{key}` has no meaning with `framing = \"{}\"`", scanner.text("framing")),
                        "`header` and `terminator` only with `framing = \"custom\"`",
                        format!("remove `{key}`, or write `framing = \"custom\"`"),
                    );
                }
            }
            if custom && !scanner.is_written("terminator") {
                notes.error(
                    scanner.spot_of("framing"),
                    "`framing = \"custom\"` has no `terminator`",
                    "`terminator`, the bytes behind each telegram",
                    "add e.g. `terminator = \"\\r\\n\"`",
                );
            }
            let silence = scanner.known_number("silence-ms").unwrap_or(0);
            if silence > 0 && !scanner.is_written("heartbeat") {
                notes.error(
                    scanner.spot_of("silence-ms"),
                    "`silence-ms` without a heartbeat would call an idle scanner dead",
                    "`heartbeat`, the text the scanner sends from time to time, beside `silence-ms`",
                    "switch the heartbeat on in the scanner and name its text, or remove `silence-ms`",
                );
            }
            if let (Some(no_read), Some(heartbeat)) =
                (scanner.known_text("no-read"), scanner.known_text("heartbeat"))
                && no_read == heartbeat
            {
                notes.error(
                    scanner.spot_of("heartbeat"),
                    "`heartbeat` and `no-read` are the same text",
                    "two texts that can be told apart",
                    "change one of them in the scanner and here",
                );
            }
        }
    }

    fn check_chutes(&self, notes: &mut Notes) {
        let Some(chutes) = &self.chutes else { return };
        let length = self.belt().and_then(|belt| belt.known_number("length-mm"));
        let bits = self.plc().and_then(|plc| plc.table("map")?.known_number("bitmap-words"));
        let words = bits.unwrap_or_else(|| i64::from(crate::wire::plc::RegisterMap::default().bitmap_words));
        for row in chutes {
            if let (Some((spot, position)), Some(length)) = (&row.position, length)
                && i64::from(*position) > length
            {
                notes.error(
                    spot,
                    format!("`position_mm` {position} lies behind the end of the belt"),
                    format!("0 to {length} mm (`length-mm` in line.toml)"),
                    "measure from the induction eye in mm, or correct `length-mm`",
                );
            }
            if let Some((spot, number)) = &row.number
                && i64::from(*number) >= words * CHUTES_A_WORD
            {
                notes.error(
                    spot,
                    format!("the PLC's bitmaps have no bit for chute {number}"),
                    format!(
                        "1 to {} with `bitmap-words = {words}` in devices.toml",
                        words * CHUTES_A_WORD - 1
                    ),
                    "number it lower, or raise `bitmap-words` in `[plc.map]` and in the PLC",
                );
            }
        }
        let exception = self.line.as_ref().and_then(|line| line.table("exception"));
        if let (Some(exception), Some(numbers)) = (exception, self.numbers())
            && let Some(chute) = exception.known_number("chute")
            && !numbers.is_empty()
            && !numbers.iter().any(|number| i64::from(*number) == chute)
        {
            notes.error(
                exception.spot_of("chute"),
                format!("the exception chute {chute} is not in chutes.csv"),
                format!("one of {}", ranges(&numbers)),
                format!("add chute {chute} to chutes.csv, or name the one at the end of the line"),
            );
        }
    }

    fn exception(&self) -> Option<i64> {
        self.line.as_ref()?.table("exception")?.known_number("chute")
    }

    /// Warns where a parcel cannot have been read in time for a chute.
    fn check_decision_time(&self, notes: &mut Notes) {
        let (Some(belt), Some(line), Some(chutes)) = (self.belt(), &self.line, &self.chutes) else { return };
        let Some(speed) = belt.known_number("speed-mm-s") else { return };
        let reserve =
            line.table("decision").and_then(|decision| decision.known_number("reserve-ms")).unwrap_or(0);
        let latest = self
            .readers()
            .filter_map(|(_, reader)| {
                let (_, end) = reader.known_pair("field-mm")?;
                let (_, delay) = reader.known_pair("delay-ms")?;
                Some((i64::from(end), i64::from(end) + speed * i64::from(delay) / 1000))
            })
            .max_by_key(|(_, heard)| *heard);
        let Some((end, heard)) = latest else { return };
        for row in chutes {
            let (Some((_, number)), Some((spot, decision))) = (&row.number, &row.decision) else { continue };
            if self.exception() == Some(i64::from(*number)) {
                continue;
            }
            let decision = i64::from(*decision);
            // The same rule as the line's deadline: 10 % of the way or the reserve's travel, if that is more.
            let deadline = decision - ((decision - end) / 10).max(speed * reserve / 1000);
            if deadline <= heard {
                notes.warning(
                    spot,
                    format!(
                        "chute {number} must be decided by {deadline} mm, but the last reader may be heard only at {heard} mm"
                    ),
                    format!("`decision_mm` at least {} mm further on", heard - deadline + 1),
                    "move the readers upstream, lower their `delay-ms` or `reserve-ms`, or feed later chutes",
                );
            }
        }
    }

    fn check_plan(&self, notes: &mut Notes) {
        let Some(plan) = &self.plan else { return };
        let numbers = self.numbers();
        let exception = self.exception();
        let mut fed = BTreeSet::new();
        for row in plan {
            let Some((spot, chute)) = &row.chute else { continue };
            fed.insert(*chute);
            if let Some(numbers) =
                numbers.as_ref().filter(|numbers| !numbers.is_empty() && !numbers.contains(chute))
            {
                let near = numbers.iter().min_by_key(|number| number.abs_diff(*chute));
                let remedy =
                    near.map(|near| format!(", or use one that is, e.g. {near}")).unwrap_or_default();
                notes.error(
                    spot,
                    format!("the chute {chute} is not in chutes.csv"),
                    format!("one of {}", ranges(numbers)),
                    format!("add chute {chute} to chutes.csv{remedy}"),
                );
            } else if exception == Some(i64::from(*chute)) {
                notes.error(
                    spot,
                    format!("the chute {chute} is the exception chute"),
                    "a chute for sorted parcels; sorted and exception parcels must not meet in one bag",
                    "name another chute, or remove the row: parcels without a route are exceptions anyway",
                );
            }
        }
        let certain = plan.iter().all(|row| row.chute.is_some());
        for row in self.chutes.iter().flatten().filter(|_| certain) {
            if let Some((_, number)) = row.number
                && !fed.contains(&number)
                && exception != Some(i64::from(number))
            {
                notes.warning(
                    &row.spot,
                    format!("no destination feeds chute {number}"),
                    "a row with this chute in sort-plan.csv",
                    "leave it as it is if it is a spare",
                );
            }
        }
    }
}

fn check_store(notes: &mut Notes, sortd: &Table) {
    let Some(store) = sortd.table("store") else { return };
    if let (Some(max), Some(hard)) = (store.known_number("max-size-mib"), store.known_number("hard-size-mib"))
        && hard < max
    {
        notes.error(
            store.spot_of("hard-size-mib"),
            format!("the hard limit of {hard} MiB is less than `max-size-mib`, {max} MiB"),
            format!("at least {max}"),
            "days that upstream lacks must be the last to go: raise `hard-size-mib`, or lower `max-size-mib`",
        );
    }
}

/// A key that is named and cannot be read leaves the store without anchors.
fn check_signing_key(notes: &mut Notes, directory: &Path, store: &Table) {
    if let Some(file) = store.known_text("signing-key-file")
        && let path = directory.join(file)
        && let Err(error) = std::fs::File::open(&path)
    {
        // Under systemd a credential exists only while the service runs: no error.
        notes.warning(
            store.spot_of("signing-key-file"),
            format!("the signing key {} cannot be read now: {error}", path.display()),
            "a file that the service can read when it starts",
            "correct the path (openssl genpkey -algorithm ed25519 makes a key); a systemd credential appears \
             only while the service runs",
        );
    }
}

/// A relative socket must be short enough together with its directory.
fn check_socket(notes: &mut Notes, directory: &Path, sortd: &Table) {
    let Some((panel, socket)) =
        sortd.table("panel").and_then(|panel| Some((panel, panel.known_text("socket")?)))
    else {
        return;
    };
    let length = directory.join(socket).as_os_str().len();
    if length > SOCKET_PATH_MAX {
        notes.error(
            panel.spot_of("socket"),
            format!("`socket` below this directory has {length} bytes"),
            format!("at most {SOCKET_PATH_MAX} bytes, the limit of a Unix socket"),
            "write a shorter whole path, e.g. `socket = \"/run/sortd/sortd.sock\"`",
        );
    }
}

fn check_plc(notes: &mut Notes, plc: &Table) {
    if let (Some(heartbeat), Some(poll)) = (plc.known_number("heartbeat-ms"), plc.known_number("poll-ms"))
        && heartbeat < 2 * poll
    {
        notes.error(
            plc.spot_of("heartbeat-ms"),
            format!("`heartbeat-ms` {heartbeat} is shorter than two polls of {poll} ms"),
            format!("at least {} ms, twice `poll-ms`", 2 * poll),
            format!("write `heartbeat-ms = {}`, or poll more often", 10 * poll),
        );
    }
    if let Some(map) = plc.table("map") {
        registers::check(notes, map);
    }
}

fn check_carriers(notes: &mut Notes, carriers: &Table) {
    let mut codes: BTreeMap<&str, &Spot> = BTreeMap::new();
    for carrier in carriers.tables("carrier") {
        carriers_file::check(notes, carrier);
        let Some(code) = carrier.known_text("code") else { continue };
        let spot = carrier.spot_of("code");
        if let Some(first) = codes.get(code) {
            let line = notes.line_of(first);
            notes.error(
                spot,
                format!("the carrier code {code} stands twice, first on line {line}"),
                "each carrier once, with all its patterns below it",
                "put the patterns under one `[[carrier]]`, or change the code",
            );
        } else {
            codes.insert(code, spot);
        }
        let mut countries = BTreeSet::new();
        for (spot, country) in carrier.texts("countries") {
            if !countries.insert(country) {
                let message = format!("the country {country} stands twice");
                notes.error(spot, message, "each country once", "remove one of the two");
            }
        }
    }
}

/// `1 to 24, 30`.
fn ranges(numbers: &BTreeSet<u16>) -> String {
    let mut shown: Vec<(u16, u16)> = Vec::new();
    for &number in numbers {
        match shown.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => shown.push((number, number)),
        }
    }
    let shown = shown
        .into_iter()
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first} to {last}") });
    shown.collect::<Vec<_>>().join(", ")
}
