//! What a million active orders cost: memory, and the time until a started line knows them again:
//! `cargo bench -p hil-tests --bench orders`. A process of its own for each figure, so that none inherits
//! another's memory. It measures; whether the register keeps its promises is tested beside it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sortd::daemon::known_orders;
use sortd::journal::{AppendError, Journal, JournalHandle, JournalSettings, Numbered, Record};
use sortd::line::event::{Cod, Details, Event, Order, OrderBatch};
use sortd::line::record::{Body, Entry, Fact, Input};
use sortd::line::{Line, Tick};
use sortd::site::Site;
use sortd::watch::Board;

/// As many as the table holds.
const ORDERS: u64 = sortd::line::ORDERS_MOST as u64;
/// Orders in one record.
const PART: u64 = 48;
/// Tells the child which figure it is to take.
const PHASE: &str = "SORTD_BENCH_ORDERS";
/// 2026-11-22 00:00 UTC.
const MIDNIGHT_US: i64 = 1_795_305_600_000_000;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let directory = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    match (std::env::var(PHASE), directory) {
        (Ok(phase), Some(directory)) if phase == "fill" => fill(Path::new(&directory)),
        (Ok(_), Some(directory)) => start(Path::new(&directory)),
        _ => {
            // Beside the build, which is on a disk; a temporary directory may be in memory.
            let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
            for phase in ["fill", "start", "start again", "start after a reboot"] {
                if phase == "start after a reboot" {
                    std::fs::remove_dir_all(directory.path().join("inflight"))?;
                }
                let mut child = Command::new(std::env::current_exe()?);
                let status = child.env(PHASE, phase).arg(directory.path()).status()?;
                if !status.success() {
                    return Err(format!("{phase}: {status}").into());
                }
            }
            Ok(())
        }
    }
}

/// Brings a million orders through journal and core, as a cloud that fills a new line does.
fn fill(directory: &Path) -> Result<(), Failure> {
    let begun = now();
    let (journal, handle, opening) = Journal::start(settings(directory), None, Box::new(|_: &[Record]| ()))?;
    opening.wait()?;
    let mut seq = 0;
    for first in (0..ORDERS).step_by(usize::try_from(PART)?) {
        let orders: Vec<Order> = (first..(first + PART).min(ORDERS)).map(order).collect();
        let accepted = u32::try_from(orders.len())?;
        let message = format!("m-{first}");
        let batch = OrderBatch { message: message.clone(), last: true, orders };
        let applied = Fact::OrdersApplied { message, last: true, accepted, refused: 0 };
        for body in [Body::Input(Input::Event(Event::Orders(batch))), Body::Fact(applied)] {
            seq += 1;
            append(&handle, Numbered { seq, wall_us: MIDNIGHT_US, entry: Entry { at: Tick(seq), body } })?;
        }
    }
    while handle.durable() < seq {
        std::thread::sleep(Duration::from_millis(1));
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{ORDERS} orders durable in {seconds:.1} s ({:.0} orders/s)", ORDERS as f64 / seconds);
    // The line's thread gives one every five seconds; of the records before the last but one, the in-flight
    // log then holds none.
    for message in ["later", "later still"] {
        seq += 1;
        let applied =
            Fact::OrdersApplied { message: message.to_owned(), last: true, accepted: 0, refused: 0 };
        let entry = Entry { at: Tick(seq), body: Body::Fact(applied) };
        append(&handle, Numbered { seq, wall_us: MIDNIGHT_US, entry })?;
        while !handle.snapshot(seq, Line::new(site()?).snapshot()?) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    journal.finish();
    let register: u64 = files(directory.join("orders"))?;
    println!(
        "register {:.0} MB, {:.0} bytes an order",
        register as f64 / 1e6,
        register as f64 / ORDERS as f64
    );
    Ok(())
}

fn site() -> Result<Arc<Site>, Failure> {
    let configuration = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../config/demo");
    let (site, _) = sortd::site::load(&configuration).map_err(|findings| format!("{findings:?}"))?;
    Ok(Arc::new(site))
}

/// Starts on that store as the daemon does: the orders go from the register to the core by a bounded channel.
fn start(directory: &Path) -> Result<(), Failure> {
    let site = site()?;
    let mut line = Line::new(Arc::clone(&site));
    let before = rss_mb()?;
    let begun = now();
    let resume = sortd::journal::inflight_resume(directory);
    let (journal, handle, opening) =
        Journal::start(settings(directory), resume.as_ref(), Box::new(|_: &[Record]| ()))?;
    let way = if resume.is_some() { "with its in-flight log" } else { "out of the store" };
    drop(resume);
    let opened = opening.wait()?;
    let opened_s = begun.elapsed().as_secs_f64();
    let with_store = rss_mb()?;
    let (send, receive) = bounded(4);
    let register = opened.orders.clone();
    drop(opened);
    let rules = site.carriers.clone();
    line.expect_orders(register.count());
    let reader = std::thread::spawn(move || {
        let given = known_orders::read(&register, &rules, Tick(0), |portion| send.send(portion).is_ok());
        assert!(given.error.is_none(), "the register was whole when it was opened: {given:?}");
    });
    let mut longest = Duration::ZERO;
    for portion in receive {
        let taking = now();
        line.load_known(portion);
        longest = longest.max(taking.elapsed());
    }
    reader.join().map_err(|_| "the reader panicked")?;
    let back_s = begun.elapsed().as_secs_f64();
    let orders = line.status(Tick(0)).orders;
    let after = rss_mb()?;
    println!(
        "{orders} orders back {back_s:.2} s after the start {way} (store open after {opened_s:.2} s), \
         {:.2} s of processor time; the core's longest turn {:.1} ms; RSS {before:.0} MB before, \
         {with_store:.0} MB with the store, {after:.0} MB with all of them (+{:.0} MB for the orders; peak {:.0} MB)",
        processor_s()?,
        longest.as_secs_f64() * 1e3,
        after - with_store,
        status_mb("VmHWM")?,
    );
    drop(handle);
    journal.finish();
    if orders == ORDERS { Ok(()) } else { Err(format!("{ORDERS} orders expected, {orders} came").into()) }
}

/// An order as an exporter's ERP sends it: a number, a waybill, an SSCC, one of ninety destinations.
fn order(n: u64) -> Order {
    Order {
        order: format!("SO-2026-{n:08}"),
        revision: 1,
        codes: vec![format!("KEX{n:010}"), sscc(n)],
        destination: format!("TH-BKK-{:02}", n % 90),
        carrier: Some(format!("KERRY-TH-{}", n % 7)),
        cancelled: false,
        hold: None,
        details: Some(Box::new(Details {
            country: Some("TH".to_owned()),
            postcode: Some(format!("{:05}", 10_000 + n % 86_000)),
            service: Some("STD".to_owned()),
            customer: Some(format!("exporter-{}", n % 300)),
            goods: Some(format!("class-{}", n % 12)),
            weight_g: Some(200 + u32::try_from(n % 4_000).unwrap_or(0)),
            size_mm: Some([200, 150, 90]),
            cod: Some(Cod { minor: 10_000 + n % 200_000, currency: "THB".to_owned() }),
            fragile: Some(n.is_multiple_of(5)),
            dangerous_goods: Some(false),
            ..Details::default()
        })),
    }
}

/// An SSCC with its check digit (GS1 General Specifications, 7.9).
fn sscc(n: u64) -> String {
    let digits = format!("10614141{n:09}");
    let weighted = digits.bytes().rev().zip([3_u32, 1].into_iter().cycle());
    let sum: u32 = weighted.map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}

fn settings(directory: &Path) -> JournalSettings {
    JournalSettings::in_directory(directory, Board::default())
}

fn append(handle: &JournalHandle, mut numbered: Numbered) -> Result<(), Failure> {
    loop {
        match handle.append(numbered) {
            Ok(()) => return Ok(()),
            Err(AppendError::Full(back)) => numbered = *back,
            Err(AppendError::Closed(_)) => return Err("the journal closed".into()),
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn bounded<T>(places: usize) -> (std::sync::mpsc::SyncSender<T>, std::sync::mpsc::Receiver<T>) {
    std::sync::mpsc::sync_channel(places)
}

fn rss_mb() -> Result<f64, Failure> {
    status_mb("VmRSS")
}

/// A line of this process's status, in megabytes.
fn status_mb(name: &str) -> Result<f64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(name)).ok_or("no such line")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("no number")?.parse()?;
    Ok(kib * 1024.0 / 1e6)
}

/// Processor time of all threads until now, user's and system's.
fn processor_s() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // Behind the name, which may hold blanks: fields 14 and 15 in hundredths of a second.
    let (_, rest) = stat.rsplit_once(')').ok_or("no name")?;
    let ticks: Vec<f64> =
        rest.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

/// Bytes of all files below a directory.
fn files(directory: PathBuf) -> Result<u64, Failure> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

#[expect(clippy::disallowed_methods, reason = "a bench measures")]
fn now() -> Instant {
    Instant::now()
}
