//! The configuration as a whole: one mistake, one error, at its place; and never a panic.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;

mod carriers;
mod damage;
mod plan;
mod uplink;

const FILES: [&str; 6] =
    ["sortd.toml", "line.toml", "devices.toml", "carriers.toml", "chutes.csv", "sort-plan.csv"];

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

/// A copy of the demo to break.
struct Copy(TempDir);

impl Copy {
    fn new() -> Copy {
        let directory = tempfile::tempdir().unwrap();
        for file in FILES {
            std::fs::copy(shipped("demo").join(file), directory.path().join(file)).unwrap();
        }
        Copy(directory)
    }

    fn text(&self, file: &str) -> String {
        std::fs::read_to_string(self.0.path().join(file)).unwrap()
    }

    /// Replaces the first occurrence, which must exist, and gives the line it stands on.
    fn change(&self, file: &str, from: &str, to: &str) -> u32 {
        let text = self.text(file);
        let at = text.find(from).unwrap_or_else(|| panic!("{file} has no {from:?}"));
        std::fs::write(self.0.path().join(file), text.replacen(from, to, 1)).unwrap();
        u32::try_from(text[..at].matches('\n').count() + 1).unwrap()
    }

    fn write(&self, file: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.0.path().join(file), bytes).unwrap();
    }

    fn load(&self) -> Result<(Site, Vec<Finding>), Vec<Finding>> {
        load(self.0.path())
    }

    fn errors(&self) -> Vec<Finding> {
        let findings = self.load().expect_err("the configuration was accepted");
        findings.into_iter().filter(|finding| finding.severity == Severity::Error).collect()
    }

    fn warnings(&self) -> Vec<Finding> {
        match self.load() {
            Ok((_, warnings)) => warnings,
            Err(findings) => panic!("{findings:#?}"),
        }
    }
}

fn file_name(finding: &Finding) -> &str {
    finding.file.file_name().unwrap().to_str().unwrap()
}

#[test]
fn the_shipped_configurations_pass_without_a_warning() {
    for name in ["demo", "line"] {
        match load(&shipped(name)) {
            Ok((_, warnings)) => assert_eq!(warnings, [], "{name}"),
            Err(findings) => panic!("{name}: {findings:#?}"),
        }
    }
}

#[test]
fn the_demo_resolves_to_what_it_says() {
    let (site, _) = load(&shipped("demo")).unwrap();
    assert_eq!((site.belt.speed_mm_s, site.belt.pulses_per_metre), (2500, 1000));
    assert_eq!(site.belt.recirculation_mm, Some(36_000));
    assert_eq!((site.chutes.len(), site.exception_chute), (25, ChuteNo(25)));
    assert_eq!(site.plan.routes.len(), 90);
    assert_eq!(site.plan.routes["TH-KERRY-COD"], [ChuteNo(1), ChuteNo(2), ChuteNo(3), ChuteNo(4)]);
    let names: Vec<_> = site.readers.iter().map(|reader| (reader.name.as_str(), reader.kind)).collect();
    assert_eq!(
        names,
        [("top", ReaderKind::Barcode), ("side", ReaderKind::Barcode), ("gate", ReaderKind::Tag)]
    );
    assert_eq!(site.scanners[0].framing.header, [2]);
    assert_eq!(site.scanners[1].framing.terminator, b"\r\n");
    assert_eq!(site.gates[0].reader, ReaderId(2));
    assert_eq!(site.plc.map, crate::wire::plc::RegisterMap::default());
    assert_eq!(
        site.store.directory,
        shipped("demo").join("store"),
        "relative paths count from the directory"
    );
    assert_eq!(site.uplink.client_id, "sortd-demo-line-1");
    assert_eq!(site.uplink.packet_limit, 1 << 20);
}

#[test]
fn eight_mistakes_are_eight_errors_each_at_its_place() {
    let copy = Copy::new();
    let mut expected = Vec::new();
    let mut mistake = |file, from, to, column, says: [&'static str; 2]| {
        expected.push((file, copy.change(file, from, to), column, says));
    };
    // An unknown key, a wrong type, a value out of range.
    mistake(
        "sortd.toml",
        "cache-mib = 8",
        "cache-mb = 16",
        1,
        ["unknown key `cache-mb`", "did you mean `cache-mib`?"],
    );
    mistake(
        "sortd.toml",
        "window = 100",
        "window = \"100\"",
        10,
        ["`window` is a text", "100 without quotes"],
    );
    mistake("line.toml", "speed-mm-s = 2500", "speed-mm-s = 2.5", 14, ["decimal", "whole number of mm/s"]);
    // A missing key is shown at its table; the line of `address` is two below the header.
    let line = copy.change("devices.toml", "address = \"127.0.0.1:1502\"\n", "\n");
    let header =
        u32::try_from(copy.text("devices.toml").lines().position(|l| l == "[plc]").unwrap() + 1).unwrap();
    assert!(header < line);
    expected.push(("devices.toml", header, 1, ["the key `address` is missing", "add `address = "]));
    let mut mistake = |file, from, to, column, says: [&'static str; 2]| {
        expected.push((file, copy.change(file, from, to), column, says));
    };
    mistake(
        "carriers.toml",
        "'KEX[0-9]{11}'",
        "'KEX[0-9{11}'",
        9,
        ["no regular expression", "single quotes"],
    );
    mistake("chutes.csv", "3,L2,10000,9400,40", "3,L2,10000,10400,40", 12, ["`decision_mm` 10400", "9500"]);
    mistake("chutes.csv", "4,R2,", "3,R2,", 1, ["chute number 3 stands twice", "number of its own"]);
    mistake(
        "sort-plan.csv",
        "MY-JT-COD,7,1",
        "MY-JT-COD,77,1",
        11,
        ["chute 77 is not in chutes.csv", "e.g. 25"],
    );

    let errors = copy.errors();
    for (error, (file, line, column, [message, remedy])) in errors.iter().zip(&expected) {
        assert_eq!((file_name(error), error.line, error.column), (*file, *line, *column), "{error:#?}");
        assert!(error.message.contains(message), "{error:#?}");
        assert!(error.remedy.contains(remedy), "{error:#?}");
        assert!(!error.expected.is_empty(), "{error:#?}");
    }
    assert_eq!(errors.len(), 8, "{errors:#?}");
}

/// Each rule: one change of the demo, one error, in that file, saying that.
#[test]
fn every_rule_has_its_error() {
    let cases: &[(&str, &str, &str, &str)] = &[
        // Types, ranges and texts are the walk's; one of each kind.
        ("line.toml", "limit = 3", "limit = 21", "out of its range"),
        ("line.toml", "limit = 3", "limit = 99999999999999999999999", "out of its range"),
        ("line.toml", "limit = 3", "limit = [3]", "a list"),
        ("line.toml", "[exception]", "[exeption]", "unknown key `exeption`"),
        ("line.toml", "[exception]\n", "[exception]\nfoo = 1\n", "unknown key `foo`"),
        ("line.toml", "length-mm = 34000\n", "", "`length-mm` is missing"),
        ("devices.toml", "framing = \"stx-etx\"", "framing = \"stx-ext\"", "\"stx-ext\""),
        ("devices.toml", "aim = true", "aim = \"yes\"", "`aim` is a text"),
        ("devices.toml", "field-mm = [2300, 2400]", "field-mm = [2400, 2300]", "before it begins"),
        ("devices.toml", "field-mm = [2300, 2400]", "field-mm = [2300]", "has 1 numbers"),
        ("devices.toml", "field-mm = [2300, 2400]", "field-mm = [2300, \"x\"]", "`field-mm` is a text"),
        ("devices.toml", "field-mm = [2300, 2400]", "field-mm = 2300", "`field-mm` is a whole number"),
        ("devices.toml", "delay-ms = [2, 30]", "delay-ms = [2, 30000]", "`delay-ms` is 30000"),
        ("devices.toml", "[[gate]]", "[gate]", "`gate` is one table"),
        ("devices.toml", "name = \"top\"", "name = \"\"", "empty"),
        ("carriers.toml", "countries = [\"TH\"]", "countries = []", "`countries` is empty"),
        ("carriers.toml", "countries = [\"TH\"]", "countries = [\"Thailand\"]", "no country code"),
        ("carriers.toml", "countries = [\"TH\"]", "countries = [\"TH\", \"TH\"]", "TH stands twice"),
        ("carriers.toml", "code = \"FLASH\"", "code = \"KERRY\"", "code KERRY stands twice"),
        ("carriers.toml", "check = \"s10\"", "check = \"s11\"", "\"s11\""),
        ("sortd.toml", "Asia/Shanghai", "Asia/Shangai", "no known time zone"),
        ("sortd.toml", "domain = \"demo.sortd.example\"", "domain = \"http://x.example\"", "is a URL"),
        // TOML that is none.
        ("sortd.toml", "window = 100", "window = ", "the value is missing"),
        ("sortd.toml", "window = 100", "window = 1O0", "`1O0` is neither"),
        ("sortd.toml", "[panel]", "[uplink]", "a second time"),
        ("sortd.toml", "[panel]", "[panel", "not TOML"),
        // Between keys.
        ("sortd.toml", "mqtt://127.0.0.1:1883", "mqtt://10.0.0.9:1883", "not encrypted"),
        ("sortd.toml", "# user = ", "user = ", "without `password-file`"),
        ("sortd.toml", "# password-file = ", "password-file = ", "without `user`"),
        ("sortd.toml", "http = \"127.0.0.1:0\"", "http = \"0.0.0.0:0\"", "not on loopback"),
        ("devices.toml", "poll-ms = 10", "poll-ms = 200", "shorter than two polls"),
        ("devices.toml", "name = \"side\"", "name = \"top\"", "name \"top\" stands twice"),
        ("devices.toml", "name = \"side\"", "name = \"plc\"", "name \"plc\" stands twice"),
        ("devices.toml", "port = \"ports/side\"", "port = \"ports/top\"", "port ports/top stands twice"),
        ("devices.toml", "[2300, 2400]", "[34000, 34001]", "behind the end of the belt"),
        (
            "devices.toml",
            "framing = \"cr-lf\"",
            "framing = \"cr-lf\"\nheader = \"x\"",
            "`header` has no meaning",
        ),
        ("devices.toml", "framing = \"cr-lf\"", "framing = \"custom\"", "no `terminator`"),
        ("devices.toml", "heartbeat = \"HB\"\n", "", "idle scanner dead"),
        ("devices.toml", "heartbeat = \"HB\"", "heartbeat = \"NoRead\"", "the same text"),
        ("devices.toml", "# commands = 300", "commands = 96", "`commands` (96 to 191) overlaps"),
        ("devices.toml", "# ring = 1000", "ring = 65000", "passes the last register"),
        ("devices.toml", "# ring = 1000", "ring = 390", "overlaps"),
        ("devices.toml", "# ring = 1000", "ring = 220", "`chute-disabled` (216 to 231)"),
        (
            "sortd.toml",
            "keep-free-mib = 512",
            "max-size-mib = 100\nhard-size-mib = 99",
            "less than `max-size-mib`, 100 MiB",
        ),
        // The tables.
        ("chutes.csv", "25,EXC,33000", "25,EXC,34001", "behind the end of the belt"),
        ("chutes.csv", "2,R1,9000,8400,40", "2,L1,9000,8400,40", "name \"L1\" stands twice"),
        ("chutes.csv", "2,R1,9000,8400,40", "2,R1,9 000,8400,40", "no whole number"),
        ("chutes.csv", "2,R1,9000,8400,40", "2,R1,,8400,40", "`position_mm` is empty"),
        ("chutes.csv", "2,R1,9000,8400,40", "2,R1,9000,8400,0", "`capacity` is 0"),
        ("chutes.csv", "2,R1,9000,8400,40", "2,R1,9000,8400", "has 4 cells"),
        ("chutes.csv", "2,R1,9000,8400,40", "2,R1,9000,8400,4,0", "has 6 cells"),
        ("chutes.csv", "2,R1,9000,8400,40", "2,\"R1,9000,8400,40", "quote"),
        ("chutes.csv", "2,R1,9000,8400,40", "two,R1,9000,8400,40", "`number` \"two\""),
        ("chutes.csv", "number,name,", "nr,name,", "unknown column `nr`"),
        ("chutes.csv", "number,name,", "number,nam,", "unknown column `nam`"),
        ("chutes.csv", ",capacity\n", "\n", "column `capacity` is missing"),
        (
            "chutes.csv",
            "25,EXC,33000,32400,200",
            "25,EXC,33000,33001,200",
            "lies behind the chute's own place",
        ),
        ("line.toml", "chute = 25", "chute = 26", "exception chute 26 is not in chutes.csv"),
        ("sort-plan.csv", "TH-FLASH-COD,5,1", "TH-FLASH-COD,,1", "TH-FLASH-COD has no chute"),
        ("sort-plan.csv", "TH-FLASH-COD,5,1", "TH-FLASH-COD,6,1", "chute 6 of TH-FLASH-COD stands twice"),
        ("sort-plan.csv", "TH-FLASH-COD,5,1", "TH-FLASH-COD,5,2", "priority 2 of TH-FLASH-COD stands twice"),
        ("sort-plan.csv", "TH-FLASH-COD,5,1", "TH FLASH,5,1", "' '"),
        ("sort-plan.csv", "TH-FLASH-COD,5,1", "TH-FLASH-COD,25,1", "is the exception chute"),
        (
            "sort-plan.csv",
            "destination,chute,priority",
            "destination;chute;priority",
            "not separated by commas",
        ),
        ("sort-plan.csv", "destination,chute,priority\n", "", "no header"),
    ];
    for (file, from, to, says) in cases {
        let copy = Copy::new();
        copy.change(file, from, to);
        let errors = copy.errors();
        assert_eq!(errors.len(), 1, "{file}: {from:?} → {to:?}: {errors:#?}");
        assert_eq!(file_name(&errors[0]), *file, "{to:?}");
        assert!(errors[0].message.contains(says), "{to:?}: {errors:#?}");
        assert!(!errors[0].remedy.is_empty() && !errors[0].expected.is_empty());
    }
}

#[test]
fn one_bad_file_hides_nothing_in_the_others() {
    let copy = Copy::new();
    copy.write("line.toml", "[belt\nspeed-mm-s = \"fast\"\n");
    std::fs::remove_file(copy.0.path().join("devices.toml")).unwrap();
    copy.change("sortd.toml", "keep-days = 7", "keep-days = 0");
    copy.write("chutes.csv", b"number,name,position_mm,decision_mm,capacity\n1,\xb9\xe3,8000,7400,40\n");
    copy.change("sort-plan.csv", "TH-FLASH-COD,5,1", "TH-FLASH-COD,five,1");
    let errors = copy.errors();
    let told: Vec<_> = errors.iter().map(|e| (file_name(e), e.line, e.message.as_str())).collect();
    assert_eq!(errors.len(), 5, "{errors:#?}");
    assert_eq!((told[0].0, told[1].0, told[1].1), ("sortd.toml", "line.toml", 1));
    assert!(told[2].0 == "devices.toml" && told[2].2.contains("cannot be read"), "{told:?}");
    assert!(told[3].0 == "chutes.csv" && told[3].1 == 2 && told[3].2.contains("not UTF-8"), "{told:?}");
    assert_eq!(errors[3].column, 3);
    assert!(errors[3].remedy.contains("GBK"));
    assert!(told[4].2.contains("\"five\""), "{told:?}");
}

#[test]
fn a_byte_order_mark_and_crlf_change_nothing() {
    let plain = Copy::new().load().unwrap().0;
    let copy = Copy::new();
    for file in FILES {
        let text = copy.text(file).replace('\n', "\r\n");
        copy.write(file, format!("\u{feff}{text}"));
    }
    let (site, warnings) = copy.load().unwrap();
    assert_eq!((site.plan, site.chutes, site.readers), (plain.plan, plain.chutes, plain.readers));
    assert_eq!(warnings, []);
    copy.change("line.toml", "speed-mm-s = 2500", "sped-mm-s = 2500");
    let line = copy.text("line.toml").lines().position(|l| l.starts_with("sped")).unwrap() + 1;
    assert_eq!((copy.errors()[0].line as usize, copy.errors()[0].column), (line, 1));
}

#[test]
fn an_exception_chute_that_vanished_is_missed_where_it_is_named() {
    let copy = Copy::new();
    copy.change("chutes.csv", "25,EXC,", "26,EXC,");
    let errors = copy.errors();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert_eq!(file_name(&errors[0]), "line.toml");
    assert_eq!(errors[0].expected, "one of 1 to 24, 26");
}

#[test]
fn what_is_no_file_is_not_read() {
    let copy = Copy::new();
    let path = copy.0.path().join("carriers.toml");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(path).unwrap();
    let errors = copy.errors();
    assert!(errors.len() == 1 && errors[0].message.contains("no regular file"), "{errors:#?}");
}

#[test]
fn a_socket_must_fit_with_its_directory() {
    let copy = Copy::new();
    let name = "s".repeat(100);
    copy.change("sortd.toml", "socket = \"sortd.sock\"", &format!("socket = \"{name}\""));
    let errors = copy.errors();
    assert!(errors.len() == 1 && errors[0].message.contains("below this directory"), "{errors:#?}");
}

#[test]
fn a_chute_beyond_the_bitmaps_is_named() {
    let copy = Copy::new();
    copy.change("chutes.csv", "25,EXC,", "256,EXC,");
    copy.change("line.toml", "chute = 25", "chute = 256");
    let errors = copy.errors();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(errors[0].message.contains("no bit for chute 256") && errors[0].expected.contains("1 to 255"));
}

#[test]
fn empty_files_are_named() {
    for file in FILES {
        let copy = Copy::new();
        copy.write(file, "");
        let errors = copy.errors();
        assert!(errors.iter().all(|error| file_name(error) == file), "{file}: {errors:#?}");
        assert!(!errors.is_empty() && errors.iter().all(|error| (error.line, error.column) == (1, 1)));
    }
    let copy = Copy::new();
    copy.write("chutes.csv", "number,name,position_mm,decision_mm,capacity\n");
    assert_eq!(copy.errors().len(), 1, "{:#?}", copy.errors());
}

#[test]
fn warnings_do_not_refuse() {
    let spare = Copy::new();
    spare.write("chutes.csv", spare.text("chutes.csv") + "26,S1,33500,32900,40\n");
    let warnings = spare.warnings();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].message.contains("no destination feeds chute 26"), "{warnings:#?}");

    let late = Copy::new();
    late.change("devices.toml", "field-mm = [3300, 3600]", "field-mm = [6800, 7000]");
    let warnings = late.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    // 7400 − 250 (100 ms at 2.5 m/s, more than a tenth of 400 mm) = 7150; 7000 + 60 ms = 7150.
    assert!(warnings[0].message.contains("by 7150 mm") && warnings[0].message.contains("at 7150 mm"));

    let login = Copy::new();
    login.change("sortd.toml", "# user = ", "user = ");
    login.change(
        "sortd.toml",
        "# password-file = \"/run/credentials/sortd.service/mqtt-password\"",
        "password-file = \"none\"",
    );
    let warnings = login.warnings();
    assert!(warnings.len() == 1 && warnings[0].message.contains("cannot be read now"), "{warnings:#?}");
    login.write("none", "\n");
    let warnings = login.warnings();
    assert!(warnings.len() == 1 && warnings[0].message.contains("is empty"), "{warnings:#?}");
    login.write("none", "secret");
    let (site, warnings) = login.load().unwrap();
    assert_eq!(warnings, []);
    assert_eq!(site.uplink.login, Some(("sortd".to_owned(), login.0.path().join("none"))));
}

#[test]
fn a_signing_key_that_cannot_be_read_is_a_warning() {
    let copy = Copy::new();
    assert_eq!(copy.load().unwrap().0.store.signing_key, None);
    let shipped = "# signing-key-file = \"/etc/sortd/credentials/signing-key.pem\"";
    copy.change("sortd.toml", shipped, "signing-key-file = \"key.pem\"");
    let warnings = copy.warnings();
    assert!(warnings.len() == 1 && warnings[0].message.contains("signing key"), "{warnings:#?}");
    copy.write("key.pem", "anything");
    let (site, warnings) = copy.load().unwrap();
    assert_eq!(warnings, []);
    assert_eq!(site.store.signing_key, Some(copy.0.path().join("key.pem")));
}

#[test]
fn custom_frames_and_moved_registers_arrive() {
    let copy = Copy::new();
    copy.change("devices.toml", "\"cr-lf\"", "\"custom\"\nheader = \"\\u0001\"\nterminator = \"\\u0004\"");
    copy.change("devices.toml", "# ring = 1000 ", "ring = 2000 ");
    copy.change("devices.toml", "# word-order = \"high-first\"", "word-order = \"low-first\"");
    let (site, _) = copy.load().unwrap();
    assert_eq!(
        (&site.scanners[1].framing.header[..], &site.scanners[1].framing.terminator[..]),
        (&[1][..], &[4][..])
    );
    assert_eq!((site.plc.map.ring, site.plc.map.commands), (2000, 300));
    assert_eq!(site.plc.map.word_order, crate::wire::plc::WordOrder::LowFirst);
}

/// Frozen: a version stands in every record, so the canonical form must not drift.
#[test]
fn a_plan_s_version_is_frozen_and_knows_order() {
    let plan = |chutes: &[u16]| {
        let chutes = chutes.iter().map(|number| ChuteNo(*number)).collect();
        plan_version(&[("TH-KERRY-STD".to_owned(), chutes)].into())
    };
    assert_eq!(plan(&[1, 2]), "ad1efa55287528f2");
    assert_ne!(plan(&[1, 2]), plan(&[2, 1]));
    assert_ne!(plan(&[1, 2]), plan(&[12]));
}

#[test]
fn the_plan_depends_on_priorities_not_on_rows() {
    let copy = Copy::new();
    let before = copy.load().unwrap().0.plan;
    let text = copy.text("sort-plan.csv");
    let (head, rows): (Vec<&str>, Vec<&str>) =
        text.lines().partition(|line| line.starts_with('#') || line.starts_with("destination"));
    let turned: Vec<&str> = head.into_iter().chain(rows.into_iter().rev()).collect();
    copy.write("sort-plan.csv", turned.join("\n"));
    assert_eq!(copy.load().unwrap().0.plan, before);
    assert_eq!(destinations(&shipped("demo")).unwrap()[..2], ["TH-KERRY-COD", "TH-FLASH-COD"]);
}

#[test]
fn map_keys_are_the_register_map_s() {
    let defaults = walk::register_defaults();
    let mut of_code: Vec<&str> = defaults.keys().map(String::as_str).collect();
    let mut of_keys: Vec<&str> = keys::MAP.keys.iter().map(|key| key.name).collect();
    of_code.sort_unstable();
    of_keys.sort_unstable();
    assert_eq!(of_keys, of_code);
}

/// `SORTD_BLESS=1 cargo test -p sortd --lib site::` writes the files anew.
#[test]
fn the_schemas_in_config_are_the_code_s() {
    for name in SCHEMAS {
        let path = shipped("schema").join(format!("{name}.json"));
        let text = serde_json::to_string_pretty(&schema(name).unwrap()).unwrap() + "\n";
        if std::env::var_os("SORTD_BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{name}: SORTD_BLESS=1 writes it anew");
    }
    assert_eq!(schema("nothing"), None);
    let line = schema("line").unwrap();
    let speed = &line["properties"]["belt"]["properties"]["speed-mm-s"];
    assert_eq!((&speed["minimum"], &speed["maximum"]), (&100.into(), &5000.into()));
    assert_eq!(line["required"], serde_json::json!(["belt", "exception"]));
}

#[test]
fn check_rules_arrive_and_shapes_fit_the_whole_number() {
    let (site, _) = load(&shipped("demo")).unwrap();
    let usps = site.carriers.carriers.iter().find(|carrier| carrier.code == "USPS").unwrap();
    assert_eq!(
        (usps.patterns[0].check, usps.patterns[0].published),
        (crate::identify::CheckRule::Mod10, true)
    );
    assert!(!usps.patterns[0].regex.is_match("x9400111206206406260787x"), "shapes fit the whole number");
}

/// How the simulator points the demo at its own ports: through the `toml` crate, comments lost, meaning kept.
#[test]
fn a_configuration_rewritten_by_a_program_means_the_same() {
    let copy = Copy::new();
    let before = copy.load().unwrap().0;
    for file in FILES.iter().filter(|file| file.ends_with(".toml")) {
        let mut table: toml::Table = copy.text(file).parse().unwrap();
        if *file == "devices.toml" {
            table["plc"]["address"] = "127.0.0.1:40502".into();
            table["gate"][0]["address"] = "127.0.0.1:40503".into();
        }
        copy.write(file, toml::to_string(&table).unwrap());
    }
    let (after, warnings) = copy.load().unwrap();
    assert_eq!(warnings, []);
    assert_eq!(
        (after.plc.address.as_str(), after.gates[0].address.as_str()),
        ("127.0.0.1:40502", "127.0.0.1:40503")
    );
    assert_eq!((after.readers, after.plan, after.chutes), (before.readers, before.plan, before.chutes));
    assert_eq!(after.scanners[0].framing, before.scanners[0].framing);
}

#[test]
fn a_camera_is_tied_to_a_reader_and_its_mistakes_are_found() {
    let camera = "\n[[camera]]\nname = \"cam\"\nreader = \"top\"\ndirectory = \"photos\"\n\
                  pattern = \"{year}{month}{day}_{hour}{minute}{second}*.jpg\"\ndelay-ms = [5, 40]\n";
    let good = Copy::new();
    good.write("devices.toml", good.text("devices.toml") + camera);
    let (site, _) = good.load().unwrap();
    let known = &site.cameras[0];
    assert_eq!((known.reader, known.delay_ms, known.window_ms), (ReaderId(0), (5, 40), 50));
    assert_eq!((known.time_zone.as_str(), known.largest_bytes), (site.time_zone.as_str(), 8_192 * 1024));
    assert_eq!(known.directory, good.0.path().join("photos"));

    let bad = Copy::new();
    let broken = camera.replace("\"top\"", "\"topp\"").replace("{second}", "{seconds}");
    bad.write("devices.toml", bad.text("devices.toml") + &broken);
    let errors = bad.errors();
    assert_eq!(errors.len(), 2, "{errors:#?}");
    assert!(errors.iter().any(|error| error.to_string().contains("topp")), "{errors:#?}");
    assert!(errors.iter().any(|error| error.to_string().contains("{seconds}")), "{errors:#?}");
}
