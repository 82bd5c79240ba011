//! `sortd`'s own device tasks and its core against the simulated hardware, in one process: what the PLC
//! program, the ptys and the gate say is what the other side understands.

use std::sync::Arc;
use std::time::Duration;

use simulators::couple::real_time::Devices;
use simulators::testsite::testsite_in;
use simulators::world::scenario::FaultRates;
use simulators::world::{Scenario, World};
use sortd::device::sink::EventSink;
use sortd::device::{gate, scanner, sorter};
use sortd::line::event::{Ask, Asked, Command, Event, OrderBatch, Started};
use sortd::line::status::LineStatus;
use sortd::line::{ChuteNo, Line};
use sortd::site::Site;
use sortd::watch::Board;
use sortd::watch::clock::Clock;
use tokio::sync::{mpsc, watch};

/// Longest a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(90);

/// The core and the device tasks.
struct Pc {
    events: crossbeam_channel::Sender<Event>,
    status: watch::Receiver<LineStatus>,
    stop: watch::Sender<bool>,
    core: std::thread::JoinHandle<()>,
}

impl Pc {
    fn start(site: &Arc<Site>, mut orders: mpsc::Receiver<sortd::line::event::Order>) -> Pc {
        let (events, received) = crossbeam_channel::bounded::<Event>(4_096);
        let (commands, commanded) = mpsc::channel::<Command>(1_024);
        let (acks, acked) = watch::channel(None);
        let (stop, stopped) = watch::channel(false);
        let (board, clock) = (Board::default(), Clock::default());
        let sink = || EventSink::new(events.clone());
        tokio::spawn(sorter::run(
            site.plc.clone(),
            sink(),
            commanded,
            acked,
            board.clone(),
            clock,
            stopped.clone(),
        ));
        for device in &site.scanners {
            tokio::spawn(scanner::run(device.clone(), sink(), board.clone(), clock, stopped.clone()));
        }
        for device in &site.gates {
            tokio::spawn(gate::run(device.clone(), sink(), board.clone(), clock, stopped.clone()));
        }
        let upstream = events.clone();
        tokio::spawn(async move {
            let mut number = 0;
            while let Some(order) = orders.recv().await {
                number += 1;
                let batch = OrderBatch { message: format!("m{number}"), last: true, orders: vec![order] };
                if upstream.send(Event::Orders(batch)).is_err() {
                    return;
                }
            }
        });
        let (show, status) = watch::channel(LineStatus::default());
        let site = Arc::clone(site);
        let ended = stopped;
        let core = std::thread::spawn(move || {
            let mut line = Line::new(Arc::clone(&site));
            let first = [Event::Started(Started::of(&site, 1, 0)), Event::OrdersLoaded(0)];
            let mut waiting: Vec<Event> = first.into();
            while !*ended.borrow() {
                if waiting.is_empty() {
                    let event = received.recv_timeout(Duration::from_millis(5)).unwrap_or(Event::Tick);
                    waiting.push(event);
                }
                for event in waiting.drain(..) {
                    let told = matches!(event, Event::Plc(_));
                    let actions = line.step(clock.now(), event);
                    for command in actions.commands {
                        let _ = commands.try_send(command);
                    }
                    if told && let Some((epoch, seq)) = line.plc_position() {
                        acks.send_replace(Some(sorter::PlcAck { epoch, seq }));
                    }
                }
                show.send_replace(line.status(clock.now()));
            }
        });
        Pc { events, status, stop, core }
    }

    fn status(&self) -> LineStatus {
        self.status.borrow().clone()
    }

    fn ask(&self, what: Asked) {
        let ask = Event::Ask(Ask { by: "test".to_owned(), what });
        assert!(self.events.send(ask).is_ok(), "the core has ended");
    }
}

async fn until(what: &str, pc: &Pc, devices: &Devices, happened: impl Fn() -> bool) {
    let waiting = async {
        while !happened() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
        let status = pc.status();
        panic!(
            "{what} never happened: {} {:?} {:?} {:?} {:?} {:?}",
            status.state,
            status.sums,
            status.counters,
            devices.truth(),
            devices.counts(),
            devices.with_world(|world| world.flags()),
        );
    }
}

/// A short, fast line, so that a parcel is through in seconds.
fn fast_site(directory: &std::path::Path) -> Arc<Site> {
    let mut site = (*testsite_in(directory)).clone();
    site.belt.speed_mm_s = 4_000;
    site.belt.least_gap_mm = 400;
    site.plc.poll_ms = 10;
    Arc::new(site)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_device_tasks_and_the_core_run_the_simulated_line() {
    let directory = tempfile::tempdir().unwrap();
    let scenario =
        Scenario { order_lead_s: 0.5, gap_margin_mm: 100, faults: FaultRates::none(), ..Scenario::default() };
    let world = World::new(&fast_site(directory.path()), scenario, 5);
    let mut devices = Devices::start(world).await.unwrap();
    let orders = devices.take_orders().unwrap();
    let pc = Pc::start(devices.site(), orders);

    until("the PLC is attached", &pc, &devices, || pc.status().state == "stopped").await;
    pc.ask(Asked::LineStart);
    until("ten parcels are sorted", &pc, &devices, || pc.status().sums.sorted >= 10).await;
    assert_eq!(devices.truth().missorts, 0);
    assert!(devices.counts().tags > 0 && devices.counts().telegrams > 10);

    // The network to the PLC is gone for a while: its ring keeps what happened.
    let before = pc.status().sums;
    let connections = devices.counts().plc_connections;
    devices.cut_plc(Duration::from_millis(700));
    let back = || devices.counts().plc_connections > connections;
    until("the PLC is connected again", &pc, &devices, back).await;
    let sorted = || pc.status().sums.sorted >= before.sorted + 10;
    until("it sorts on", &pc, &devices, sorted).await;

    // An emergency stop: the line stands until it is reset and started on purpose.
    devices.press_e_stop();
    until("the core knows", &pc, &devices, || pc.status().state == "aborted").await;
    devices.reset_e_stop();
    until("the reset is seen", &pc, &devices, || pc.status().state != "aborted").await;
    assert_eq!(devices.with_world(|world| world.speed_mm_s()), 0, "a reset starts nothing");
    pc.ask(Asked::LineStart);
    until("the belt runs", &pc, &devices, || devices.with_world(|world| world.flags().running)).await;
    pc.ask(Asked::ChuteLock(ChuteNo(1)));

    // The PLC restarts: a new epoch; what was on the belt ends as exceptions. A belt that has come to stand
    // is started on purpose only, then it sorts on.
    devices.restart_plc();
    let seen = || {
        let status = pc.status();
        status.state == "stopped" && status.sums.exceptions.contains_key("restart")
    };
    until("the new epoch is seen", &pc, &devices, seen).await;
    pc.ask(Asked::LineStart);
    let sorted = pc.status().sums.sorted;
    let again = || pc.status().sums.sorted >= sorted + 10;
    until("it sorts in the new epoch", &pc, &devices, again).await;

    // Run empty: every pass has ended once, and the core's sums are the world's.
    devices.set_feeding(false);
    let empty = || {
        let truth = devices.truth();
        truth.on_line == 0 && truth.waiting == 0 && truth.announced == truth.arrived
    };
    until("the line runs empty", &pc, &devices, empty).await;
    let done = || pc.status().sums.in_flight == 0 && pc.status().sums.inducted == devices.truth().tracks;
    until("the core has seen it all", &pc, &devices, done).await;
    let (sums, truth) = (pc.status().sums, devices.truth());
    let exceptions: u64 = sums.exceptions.values().sum();
    assert_eq!(sums.inducted, sums.sorted + exceptions + sums.lost, "{sums:?}");
    assert_eq!((truth.missorts, sums.lost), (0, 0), "{truth:?} {sums:?}");
    assert!(truth.right >= sums.sorted, "{truth:?} {sums:?}");
    assert_eq!(devices.with_world(|world| world.plc().ring().lost()), 0);

    pc.stop.send_replace(true);
    pc.core.join().unwrap();
}
