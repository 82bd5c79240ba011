//! Every key of every TOML file of the configuration.

use super::rules::{
    ADDRESS, BROKER, CARRIER_CODE, COUNTRY, CURRENCY, DAY, DOMAIN, FRAME, LABEL, LOOPBACK, NAME, PATH,
    PHOTO_NAME, SERVER_NAME, SERVICE, SHAPE, SOCKET_PATH, SOURCE, TELEGRAM, TIME, ZONE,
};
use super::shape::{
    Key, Preset, TableShape, boolean, choice, integer, one_or_more, pair, table, tables, text, texts,
};

/// Longest line or loop, 1 km: more is a slip of the unit.
pub(super) const LENGTH_MAX_MM: i64 = 1_000_000;

/// `sortd.toml`.
pub(super) static SORTD: TableShape = TableShape {
    doc: "The program itself: who it is, where it keeps its records, whom it tells.",
    keys: &[
        table("site", &SITE),
        table("store", &STORE).or(Preset::Table),
        table("uplink", &UPLINK),
        table("panel", &PANEL).or(Preset::Table),
    ],
};

static SITE: TableShape = TableShape {
    doc: "Which line this is.",
    keys: &[
        text("name", &NAME, "\"dongguan\"", "Site; a level of every MQTT topic and a part of every URI."),
        text("line", &NAME, "\"line-1\"", "Line; a level of every MQTT topic and a part of every URI."),
        text(
            "domain",
            &DOMAIN,
            "\"sort.example.com\"",
            "Domain under which event URIs are made; yours, for good.",
        ),
        text("time-zone", &ZONE, "\"Asia/Shanghai\"", "IANA time zone of the site."),
    ],
};

/// Less than one busy day is no store; more than 16 TiB is no single disk.
const SIZE_MIB: (i64, i64, &str) = (64, 16_777_216, "MiB");

static STORE: TableShape = TableShape {
    doc: "The record of everything, on local disk.",
    keys: &[
        text("directory", &PATH, "\"/var/lib/sortd\"", "State directory.").or(Preset::Text("/var/lib/sortd")),
        integer("cache-mib", (4, 256, "MiB"), "8", "Memory for the cache of one day's store, in MiB.")
            .or(Preset::Integer(8)),
        integer("keep-days", (1, 3650, "days"), "180", "Days kept; older ones are deleted whole.")
            .or(Preset::Integer(180)),
        integer("max-size-mib", SIZE_MIB, "200000", "Size of the store, in MiB, over which its oldest days go that upstream has acknowledged; without it, only age counts.")
            .optional(),
        integer("hard-size-mib", SIZE_MIB, "250000", "Size of the store, in MiB, over which its oldest days go even if upstream lacks them, with an alarm; without it, none does.")
            .optional(),
        integer("keep-free-mib", (0, 1_048_576, "MiB"), "512", "Free space, in MiB, under which snapshots and copies are left out.")
            .or(Preset::Integer(512)),
        integer("reserve-mib", (0, 4_096, "MiB"), "64", "Free space, in MiB, under which no more parcels are asked for; as much is kept aside for those on the belt.")
            .or(Preset::Integer(64)),
        text("signing-key-file", &PATH, "\"/etc/sortd/credentials/signing-key.pem\"", "Ed25519 private key (PKCS#8, PEM or DER) that signs anchors; without it the systemd credential `sortd-signing-key`, else a key made at the first start.")
            .optional(),
    ],
};

static UPLINK: TableShape = TableShape {
    doc: "The MQTT broker upstream.",
    keys: &[
        one_or_more("broker", &BROKER, "\"mqtts://broker.example.com:8883\"", "Broker's address, `mqtts` with TLS; or the nodes of one cluster as a list, tried in turn."),
        text("ca-file", &PATH, "\"/etc/sortd/broker-ca.pem\"", "PEM file of the authorities that the broker's certificate is checked by; the system's unless given.")
            .optional(),
        text("client-cert-file", &PATH, "\"/run/credentials/sortd.service/mqtt-cert\"", "PEM file of this line's own certificate and its chain; needs `client-key-file`.")
            .optional(),
        text("client-key-file", &PATH, "\"/run/credentials/sortd.service/mqtt-key\"", "PEM file of the private key to it, without a passphrase.")
            .optional(),
        text("server-name", &SERVER_NAME, "\"broker.example.com\"", "Name that the broker's certificate must carry, where it is not the host in `broker`.")
            .optional(),
        text("client-id", &NAME, "\"sortd-dongguan-line-1\"", "MQTT client id, unique at the broker; `sortd-SITE-LINE` unless given. The receiving client has `-down` behind it.")
            .optional(),
        integer("window", (1, 1000, "messages"), "100", "Publishes on their way at once.").or(Preset::Integer(100)),
        integer("backlog-per-s", (1, 1_000_000, "events/s"), "5000", "Events of a backlog sent a second, at most, while live events go beside it.")
            .or(Preset::Integer(5_000)),
        text("user", &LABEL, "\"sortd\"", "User name at the broker; needs `password-file`.").optional(),
        text("password-file", &PATH, "\"/run/credentials/sortd.service/mqtt-password\"", "File whose first line is the password.")
            .optional(),
        integer("silence-ms", (1_000, 600_000, "ms"), "10000", "Silence of the broker, in ms, after which the connection is built anew.")
            .or(Preset::Integer(10_000)),
        // The least is the largest message a cloud may send (512 KiB of orders) and its topic.
        integer("packet-limit-kib", (520, 65_536, "KiB"), "1024", "Largest MQTT packet taken or sent, in KiB.")
            .or(Preset::Integer(1_024)),
        integer("health-ms", (1_000, 3_600_000, "ms"), "10000", "Period of the `health` message, in ms, when nothing changes.")
            .or(Preset::Integer(10_000)),
        boolean("echo-check", "true", "Believe acknowledgements only once an event has come back: brokers acknowledge also what their access rules make them throw away.")
            .or(Preset::Bool(true)),
        boolean("allow-plain-off-loopback", "false", "Permit MQTT without TLS to another machine. Only on a network of its own.")
            .or(Preset::Bool(false)),
    ],
};

static PANEL: TableShape = TableShape {
    doc: "How people on this machine see the line.",
    keys: &[
        text("socket", &SOCKET_PATH, "\"/run/sortd/sortd.sock\"", "Unix socket of the commands.")
            .or(Preset::Text("/run/sortd/sortd.sock")),
        text(
            "http",
            &LOOPBACK,
            "\"127.0.0.1:8080\"",
            "Loopback address of the read-only status page; without it there is none.",
        )
        .optional(),
    ],
};

/// `line.toml`.
pub(super) static LINE: TableShape = TableShape {
    doc: "The belt: geometry and rules. Positions count in mm from the induction eye in the direction of travel.",
    keys: &[
        table("belt", &BELT),
        table("recirculation", &RECIRCULATION).optional(),
        table("decision", &DECISION).or(Preset::Table),
        table("tracking", &TRACKING).or(Preset::Table),
        table("exception", &EXCEPTION),
    ],
};

static BELT: TableShape = TableShape {
    doc: "Geometry and encoder.",
    keys: &[
        integer("speed-mm-s", (100, 5_000, "mm/s"), "2500", "Nominal speed, in mm/s."),
        integer(
            "pulses-per-metre",
            (10, 100_000, "pulses a metre"),
            "1000",
            "Encoder pulses a metre of belt.",
        ),
        integer(
            "length-mm",
            (1_000, LENGTH_MAX_MM, "mm"),
            "34000",
            "From the induction eye to the end of the line, in mm.",
        ),
        integer(
            "longest-parcel-mm",
            (50, 3_000, "mm"),
            "800",
            "Longest parcel, in mm; what is longer is taken for two merged.",
        ),
        integer(
            "least-gap-mm",
            (0, 2_000, "mm"),
            "150",
            "Least gap to the parcel in front, in mm; under it neither diverts.",
        ),
    ],
};

static RECIRCULATION: TableShape = TableShape {
    doc: "The way back to the induction eye; leave the table out where nothing goes round.",
    keys: &[
        integer(
            "way-mm",
            (1_000, LENGTH_MAX_MM, "mm"),
            "36000",
            "From the end of the line back to the induction eye, in mm.",
        ),
        integer(
            "limit",
            (0, 20, "laps"),
            "3",
            "Laps beyond the first before a parcel goes to the exception chute.",
        )
        .or(Preset::Integer(3)),
    ],
};

static DECISION: TableShape = TableShape {
    doc: "When a parcel's chute must be known, and when a chute is left out.",
    keys: &[
        integer("reserve-ms", (0, 5_000, "ms"), "100", "Travel time kept before the point of no return, in ms: poll + round trip + PLC scan + wait of a command.")
            .or(Preset::Integer(100)),
        integer("confirm-failures", (1, 20, "diverts"), "3", "Diverts in a row without confirmation that make a chute faulted.")
            .or(Preset::Integer(3)),
        integer("near-full-percent", (1, 100, "percent"), "85", "Part of its capacity from which a chute shows near full, in percent.")
            .or(Preset::Integer(85)),
    ],
};

static TRACKING: TableShape = TableShape {
    doc: "How far a parcel may be from where it should be.",
    keys: &[
        integer("window-mm", (10, 1_000, "mm"), "50", "The window is at least this, in mm, both ways.")
            .or(Preset::Integer(50)),
        integer(
            "window-permille",
            (0, 200, "thousandths"),
            "15",
            "Or this part of the way since the last sensor, in thousandths, if that is more.",
        )
        .or(Preset::Integer(15)),
    ],
};

static EXCEPTION: TableShape = TableShape {
    doc: "Where exceptions go.",
    keys: &[integer("chute", (1, 65_535, ""), "25", "Number of the exception chute in `chutes.csv`.")],
};

/// `devices.toml`.
pub(super) static DEVICES: TableShape = TableShape {
    doc: "The devices: sorter PLC, barcode scanners, RFID gates, cameras.",
    keys: &[
        table("plc", &PLC),
        tables("scanner", &SCANNER).optional(),
        tables("gate", &GATE).optional(),
        tables("camera", &CAMERA).optional(),
    ],
};

static PLC: TableShape = TableShape {
    doc: "The sorter PLC, Modbus TCP.",
    keys: &[
        text("name", &NAME, "\"plc\"", "Name in alarms and status.").or(Preset::Text("plc")),
        text("address", &ADDRESS, "\"192.168.10.20:502\"", "Host and port."),
        integer("unit", (0, 255, ""), "1", "Modbus unit.").or(Preset::Integer(1)),
        integer("poll-ms", (1, 1_000, "ms"), "10", "Poll period, in ms.").or(Preset::Integer(10)),
        integer("timeout-ms", (10, 10_000, "ms"), "300", "Time-out of one request, in ms.")
            .or(Preset::Integer(300)),
        integer(
            "heartbeat-ms",
            (20, 10_000, "ms"),
            "250",
            "Our heartbeat counts up once in this time, in ms; the PLC's must within twice this.",
        )
        .or(Preset::Integer(250)),
        table("map", &MAP).or(Preset::Table),
    ],
};

/// A register's address.
const fn register(name: &'static str, example: &'static str, doc: &'static str) -> Key {
    integer(name, (0, 65_535, ""), example, doc).or_register_default()
}

/// The register map; its keys are the names of [`crate::wire::plc::RegisterMap`].
pub(super) static MAP: TableShape = TableShape {
    doc: "Holding registers of the PLC, counted from 0; only what differs from the standard map.",
    keys: &[
        register("pc-heartbeat", "0", "PC to PLC: heartbeat."),
        register("request", "1", "PC to PLC: request word."),
        register("acknowledged", "2", "PC to PLC: last durable event."),
        register("resync", "3", "PC to PLC: resync counter."),
        register("clear-jam", "9", "PC to PLC: clear-jam mask."),
        register("commands", "300", "PC to PLC: first register of the command table, six a slot."),
        // One FC16 writes at most 123 registers, and the table is written in one: 20 slots of six.
        integer("command-slots", (1, 20, "slots"), "16", "Slots of the command table.").or_register_default(),
        register("plc-heartbeat", "100", "PLC to PC: heartbeat."),
        register("flags", "101", "PLC to PC: state bits."),
        register("taken", "102", "PLC to PC: highest command taken."),
        register("resync-echo", "103", "PLC to PC: resync echo."),
        register("head", "104", "PLC to PC: head of the event ring."),
        register("events-lost", "105", "PLC to PC: events lost, ever."),
        register("encoder", "106", "PLC to PC: encoder pulses, two registers."),
        register("speed", "108", "PLC to PC: speed in mm/s."),
        register("epoch", "109", "PLC to PC: epoch, new with each start of the PLC."),
        register("inducted", "110", "PLC to PC: parcels inducted in this epoch, two registers."),
        register("chute-full", "200", "PLC to PC: first word of the chute-full bitmap."),
        register("chute-disabled", "216", "PLC to PC: first word of the chute-disabled bitmap."),
        // One read takes at most 125 registers.
        integer("bitmap-words", (1, 125, "words"), "16", "Words of each bitmap, 16 chutes a word.")
            .or_register_default(),
        register("ring", "1000", "PLC to PC: first register of the event ring, ten a slot."),
        integer("ring-slots", (16, 6_000, "slots"), "1024", "Slots of the event ring.").or_register_default(),
        choice(
            "word-order",
            &["high-first", "low-first"],
            "\"high-first\"",
            "Order of the two registers of a 32-bit value.",
        )
        .or_register_default(),
        integer("encoder-scale", (1, 1_000, "pulses"), "1", "Encoder register times this is pulses.")
            .or_register_default(),
    ],
};

/// Reader's place and time, the same for scanners and gates.
const fn field_mm() -> Key {
    pair(
        "field-mm",
        (0, LENGTH_MAX_MM, "mm"),
        "[2300, 2500]",
        "Where on the belt it reads, start and end in mm from the induction eye.",
    )
}

const fn delay_ms() -> Key {
    pair(
        "delay-ms",
        (0, 5_000, "ms"),
        "[5, 60]",
        "Least and most time from the reading to its first byte here, in ms.",
    )
}

static SCANNER: TableShape = TableShape {
    doc: "A barcode scanner on a serial port.",
    keys: &[
        text("name", &NAME, "\"top\"", "Name in alarms, records and status."),
        text(
            "port",
            &PATH,
            "\"/dev/serial/by-id/usb-…\"",
            "Serial device; by-id or a udev link, so that it keeps its name.",
        ),
        integer("baud", (1_200, 921_600, "baud"), "115200", "Baud; 8 data bits, no parity, one stop bit.")
            .or(Preset::Integer(9_600)),
        choice(
            "framing",
            &["stx-etx", "cr-lf", "cr", "custom"],
            "\"cr-lf\"",
            "How a telegram begins and ends; `custom` takes `header` and `terminator`.",
        ),
        text("header", &FRAME, "\"\\u0002\"", "Bytes before a telegram; only with `framing = \"custom\"`.")
            .optional(),
        text(
            "terminator",
            &FRAME,
            "\"\\r\\n\"",
            "Bytes behind a telegram; only with `framing = \"custom\"`.",
        )
        .optional(),
        text("separator", &FRAME, "\";\"", "Bytes between several codes of one telegram.").optional(),
        text("no-read", &TELEGRAM, "\"NoRead\"", "Text that means: looked, and read nothing.").optional(),
        text("heartbeat", &TELEGRAM, "\"HB\"", "Text of the periodic heartbeat telegram.").optional(),
        boolean("aim", "true", "Each code is preceded by its AIM identifier, e.g. `]C1`.")
            .or(Preset::Bool(false)),
        integer("longest-bytes", (8, 4_096, "bytes"), "256", "Longest telegram in bytes; longer is noise.")
            .or(Preset::Integer(256)),
        integer(
            "silence-ms",
            (0, 3_600_000, "ms"),
            "5000",
            "A scanner with a heartbeat that sends nothing for so long, in ms, is dead; 0 switches this off.",
        )
        .or(Preset::Integer(0)),
        field_mm(),
        delay_ms(),
    ],
};

static GATE: TableShape = TableShape {
    doc: "An RFID gate, Turck TBEN-S2-2RFID over Modbus TCP.",
    keys: &[
        text("name", &NAME, "\"gate\"", "Name in alarms, records and status."),
        text("address", &ADDRESS, "\"192.168.10.30:502\"", "Host and port."),
        integer("unit", (0, 255, ""), "1", "Modbus unit.").or(Preset::Integer(1)),
        integer("channel", (1, 2, ""), "1", "Channel of the head.").or(Preset::Integer(1)),
        integer("poll-ms", (1, 1_000, "ms"), "10", "Poll period, in ms.").or(Preset::Integer(10)),
        integer("timeout-ms", (10, 10_000, "ms"), "300", "Time-out of one request, in ms.")
            .or(Preset::Integer(300)),
        integer("same-tag-ms", (0, 60_000, "ms"), "1000", "The same tag is one arrival for so long, in ms.")
            .or(Preset::Integer(1_000)),
        field_mm(),
        delay_ms(),
    ],
};

static CAMERA: TableShape = TableShape {
    doc: "A camera that puts its photos into a spool directory, by FTP or as a share. The files stay there.",
    keys: &[
        text("name", &NAME, "\"cam-top\"", "Name in alarms, records and status."),
        text("reader", &NAME, "\"top\"", "Name of the scanner or gate whose field it sees."),
        text("directory", &PATH, "\"/var/spool/sortd/cam-top\"", "Where its files come."),
        text(
            "pattern",
            &PHOTO_NAME,
            "\"{year}{month}{day}_{hour}{minute}{second}_{millisecond}_*.jpg\"",
            "Names of its files: `{year}` or `{yy}`, `{month}`, `{day}`, `{hour}`, `{minute}`, `{second}`, `{millisecond}`, \
             or `{unix-ms}`, and `*` for anything; without a time in it the file's own time counts.",
        )
        .or(Preset::Text("*.jpg")),
        text("time-zone", &ZONE, "\"UTC\"", "Zone of the times in its file names; the site's unless given.").optional(),
        pair(
            "delay-ms",
            (0, 60_000, "ms"),
            "[0, 0]",
            "Least and most time from the exposure to the time that the file says, in ms.",
        )
        .optional(),
        integer("window-ms", (0, 10_000, "ms"), "50", "How far its clock may be from this machine's, in ms, both ways.")
            .or(Preset::Integer(50)),
        integer("largest-kib", (1, 65_536, "KiB"), "8192", "Largest photo, in KiB; larger files are left out and counted.")
            .or(Preset::Integer(8_192)),
        integer("poll-ms", (100, 60_000, "ms"), "1000", "Period of the look into the directory, in ms.")
            .or(Preset::Integer(1_000)),
    ],
};

/// `carriers.toml`.
pub(super) static CARRIERS: TableShape = TableShape {
    doc: "Carriers: their numbers, limits, bags and cut-offs.",
    keys: &[tables("carrier", &CARRIER)],
};

static CARRIER: TableShape = TableShape {
    doc: "A carrier.",
    keys: &[
        text("code", &CARRIER_CODE, "\"KERRY\"", "Short code, as in the destinations of `sort-plan.csv`."),
        text("name", &LABEL, "\"Kerry Express\"", "Name for people."),
        texts("countries", &COUNTRY, "[\"TH\"]", "Countries it delivers to, ISO 3166-1 alpha-2."),
        tables("pattern", &PATTERN),
        texts("services", &SERVICE, "[\"STD\", \"COD\"]", "Services it offers, as in the destinations of `sort-plan.csv`; without it, any is taken.")
            .optional(),
        table("limits", &LIMITS).optional(),
        tables("cod", &COD).optional(),
        boolean("dangerous-goods", "false", "It takes dangerous goods, batteries included; without it that is not known, and they are refused.")
            .optional(),
        table("bag", &BAG).optional(),
        text("time-zone", &ZONE, "\"Asia/Shanghai\"", "IANA time zone of its waves: where it collects, which is mostly the site's.")
            .optional(),
        tables("wave", &WAVE).optional(),
    ],
};

/// More than a tonne is a slip of the unit, for a parcel and for a bag.
const PARCEL_G: (i64, i64, &str) = (1, 1_000_000, "g");
/// A side, and a sum of sides.
const SIDE_MM: (i64, i64, &str) = (1, 10_000, "mm");
/// Amounts in the smallest unit: 40,000,000.00, or 4,000,000,000 of a currency without decimals.
const COD_MINOR: (i64, i64, &str) = (1, 4_000_000_000, "of the currency's smallest unit");

static LIMITS: TableShape = TableShape {
    doc: "Weight and size it takes, both ends included; what is not written does not limit. Sides count from the longest, however the parcel lies.",
    keys: &[
        pair("weight-g", PARCEL_G, "[1, 30000]", "Least and most weight, in g.").optional(),
        integer("longest-mm", SIDE_MM, "1200", "Longest side at most, in mm.").optional(),
        integer("second-mm", SIDE_MM, "600", "Second longest side at most, in mm.").optional(),
        integer("sum-mm", SIDE_MM, "1500", "Sum of the three sides at most, in mm.").optional(),
        integer("girth-mm", SIDE_MM, "3000", "Length and girth at most, in mm: the longest side and twice the two others.")
            .optional(),
        pair("least-mm", SIDE_MM, "[105, 148]", "Least second longest and least longest side, in mm: the label must fit.")
            .optional(),
        boolean("published", "false", "True where the carrier publishes these limits, false where they are assumed or of your contract.")
            .or(Preset::Bool(false)),
        text("source", &SOURCE, "\"DMM 201.7.3\"", "Where they are published: document and clause or page.").optional(),
    ],
};

static COD: TableShape = TableShape {
    doc: "Cash on delivery that it collects, one table a currency; without any, it collects none.",
    keys: &[
        text("currency", &CURRENCY, "\"THB\"", "Currency, ISO 4217."),
        pair(
            "minor",
            COD_MINOR,
            "[100, 5000000]",
            "Least and most amount, in the currency's smallest unit: 1.00 to 50,000.00 THB are [100, 5000000].",
        ),
    ],
};

static BAG: TableShape = TableShape {
    doc: "What its bags hold and what names them.",
    keys: &[
        integer("parcels", (1, 10_000, "parcels"), "40", "Parcels at most.").optional(),
        integer("weight-g", PARCEL_G, "25000", "Weight of its parcels together at most, in g.").optional(),
        choice(
            "receptacle",
            &RECEPTACLES,
            "\"sscc\"",
            "What names the bag: GS1 SSCC, or UPU S9 between posts.",
        )
        .or(Preset::Text("sscc")),
    ],
};

/// Words of the kinds of receptacle, in the order of [`super::Receptacle`].
pub(super) static RECEPTACLES: [&str; 2] = ["sscc", "s9"];

static WAVE: TableShape = TableShape {
    doc: "A collection: opens, takes parcels, closes its bags at the cut-off; every week the same.",
    keys: &[
        text("name", &NAME, "\"day\"", "Name in manifests and status."),
        texts("days", &DAY, "[\"mon\", \"tue\"]", "Days of the week on which it opens."),
        text("opens", &TIME, "\"06:00\"", "Local time from which parcels belong to it."),
        text(
            "cut-off",
            &TIME,
            "\"17:30\"",
            "Local time at which its bags close; not later than `opens` means on the next day.",
        ),
        texts("services", &SERVICE, "[\"EXP\"]", "Services it takes; all of the carrier's unless given.")
            .optional(),
    ],
};

/// Words of the check rules, in the order of [`crate::identify::CheckRule`].
pub(super) static CHECKS: [&str; 8] =
    ["none", "s10", "mod10", "ups", "fedex12", "mod7", "identcode", "mod37-36"];

static PATTERN: TableShape = TableShape {
    doc: "A shape of its numbers.",
    keys: &[
        text(
            "regex",
            &SHAPE,
            "'TH[0-9]{12}[A-Z]'",
            "Regular expression that fits the whole number, upper case, no blanks. A group `(?<number>…)` is the number where routing stands around it; a group `(?<checked>…)` is what the check digit covers where that is another part.",
        ),
        choice(
            "check",
            &CHECKS,
            "\"none\"",
            "Rule of its check digit: `s10` (UPU S10), `mod10` (GS1, USPS, FedEx Ground, Colissimo), `ups` (1Z), `fedex12` (FedEx Express), `mod7` (DHL Express; Japan Post, Yamato), `identcode` (Deutsche Post, weights 4 and 9), `mod37-36` (ISO/IEC 7064, DPD).",
        )
        .or(Preset::Text("none")),
        boolean(
            "published",
            "false",
            "True where the carrier publishes this shape, false where it is assumed from samples.",
        ),
        text("source", &SOURCE, "\"UPU S10-12, clause 5\"", "Where it is published: standard and clause, manual or page.").optional(),
    ],
};
