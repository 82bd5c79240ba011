//! Real time: the world on the machine's monotonic clock, behind ptys and Modbus TCP.
//!
//! Whoever touches the world first lets it come up to now: a PLC client's request sees the state of that
//! moment. Between requests a task looks often enough that a scanner speaks when it should.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sortd::line::Tick;
use sortd::line::event::Order;
use sortd::site::{ChuteNo, Site};
use sortd::watch::clock::Clock;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::port::{Port, PortCounts};
use super::station::{Registers, Station, StationCounts};
use super::tben::Gate;
use crate::world::{Happening, Sensed, Truth, World};

/// The world is looked at this often, so that nothing it says is later than that.
const LOOK: Duration = Duration::from_millis(1);

/// Orders that may wait for the one who pushes them upstream; more are dropped and counted.
const ORDERS_WAITING: usize = 20_000;

/// Why the hardware could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum DevicesError {
    /// A TCP port.
    #[error("{name}: cannot listen on {address}: {source}")]
    Listen {
        /// Device.
        name: String,
        /// Configured address.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A pty or its link.
    #[error("{name}: cannot make a port at {port}: {source}")]
    Port {
        /// Device.
        name: String,
        /// Configured path.
        port: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// No device of that name.
    #[error("{name}: expected one of {known}")]
    Unknown {
        /// Asked for.
        name: String,
        /// Names there are.
        known: String,
    },
}

/// What the devices have done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct DeviceCounts {
    /// Telegrams sent by scanners to someone.
    pub telegrams: u64,
    /// Telegrams that nobody could hear.
    pub telegrams_unheard: u64,
    /// Telegrams kept back because this machine was so late with them that no reader would be: a read that
    /// comes later than its reader's `delay-ms` allows belongs to nobody knows which parcel.
    pub telegrams_late: u64,
    /// Ptys made.
    pub ports_made: u64,
    /// Tags fetched from gates.
    pub tags: u64,
    /// Tags lost in gates.
    pub tags_lost: u64,
    /// Connections the PLC accepted.
    pub plc_connections: u64,
    /// Requests the PLC answered.
    pub plc_requests: u64,
    /// Orders handed on.
    pub orders: u64,
    /// Orders that nobody took in time.
    pub orders_dropped: u64,
}

struct Floor {
    world: Mutex<World>,
    clock: Clock,
    begun_us: u64,
    ports: Vec<(sortd::site::ReaderId, Port)>,
    gates: Vec<(sortd::site::ReaderId, Arc<Gate>)>,
    orders: mpsc::Sender<Order>,
    ordered: AtomicU64,
    dropped: AtomicU64,
}

impl Floor {
    /// The world at this moment.
    fn with<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let now_us = self.clock.now().0.saturating_sub(self.begun_us);
        world.advance_to(now_us);
        let result = work(&mut world);
        // Under the lock, so that what happened first is said first.
        for happening in world.take_happenings() {
            self.say(happening);
        }
        result
    }

    fn say(&self, happening: Happening) {
        match happening.what {
            Sensed::Order(order) => {
                let count = if self.orders.try_send(order).is_ok() { &self.ordered } else { &self.dropped };
                count.fetch_add(1, Ordering::Relaxed);
            }
            Sensed::Read { reader, readings, by_us, .. } => {
                if let Some((_, port)) = self.ports.iter().find(|(of, _)| *of == reader) {
                    port.say(readings, Tick(self.begun_us + by_us));
                } else if let Some((_, gate)) = self.gates.iter().find(|(of, _)| *of == reader) {
                    for reading in readings {
                        if let sortd::identify::Reading::Tag { epc } = reading {
                            gate.tag(epc);
                        }
                    }
                }
            }
        }
    }
}

struct PlcFront(Arc<Floor>);

impl Registers for PlcFront {
    fn read(&self, address: u16, count: u16) -> Option<Vec<u16>> {
        self.0.with(|world| world.read_registers(address, count))
    }
    fn write(&self, address: u16, words: &[u16]) -> bool {
        self.0.with(|world| world.write_registers(address, words))
    }
}

/// The hardware of a line, running. Dropping it takes it away.
pub struct Devices {
    site: Arc<Site>,
    floor: Arc<Floor>,
    plc: Station,
    gates: Vec<(String, Station)>,
    looking: JoinHandle<()>,
    orders: Option<mpsc::Receiver<Order>>,
}

impl Devices {
    /// Sets the hardware of the world's site up and lets its time begin. Must run inside a tokio runtime.
    pub async fn start(mut world: World) -> Result<Devices, DevicesError> {
        world.leave_time_to_speak();
        let mut site = (**world.site()).clone();
        let mut ports = Vec::new();
        for scanner in &site.scanners {
            let port = Port::start(scanner).map_err(|source| DevicesError::Port {
                name: scanner.name.clone(),
                port: scanner.port.display().to_string(),
                source,
            })?;
            ports.push((scanner.reader, port));
        }
        let mut gates = Vec::new();
        let mut heads = Vec::new();
        for device in &mut site.gates {
            let head = Arc::new(Gate::new(device.channel));
            heads.push((device.reader, Arc::clone(&head)));
            let station = listen(&device.name, &mut device.address, device.unit, head).await?;
            gates.push((device.name.clone(), station));
        }
        let (sender, orders) = mpsc::channel(ORDERS_WAITING);
        let clock = Clock::default();
        let floor = Arc::new(Floor {
            begun_us: clock.now().0.saturating_sub(world.now_us()),
            world: Mutex::new(world),
            clock,
            ports,
            gates: heads,
            orders: sender,
            ordered: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        });
        let front = Arc::new(PlcFront(Arc::clone(&floor)));
        let plc = listen(&site.plc.name, &mut site.plc.address, site.plc.unit, front).await?;
        let looked = Arc::clone(&floor);
        let looking = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(LOOK);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            loop {
                ticks.tick().await;
                looked.with(|_| ());
            }
        });
        Ok(Devices { site: Arc::new(site), floor, plc, gates, looking, orders: Some(orders) })
    }

    /// The site with the addresses that are really listened on.
    pub fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// What upstream has to push, each order once, in order of time. Taken by one; who does not take it has
    /// parcels that nobody knows.
    pub fn take_orders(&mut self) -> Option<mpsc::Receiver<Order>> {
        self.orders.take()
    }

    /// What really happened so far.
    pub fn truth(&self) -> Truth {
        self.floor.with(|world| world.truth().clone())
    }

    /// Looks at or breaks the world at this moment.
    pub fn with_world<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        self.floor.with(work)
    }

    /// Starts or stops the stream of parcels.
    pub fn set_feeding(&self, feeding: bool) {
        self.floor.with(|world| world.set_feeding(feeding));
    }

    /// What the devices have done so far.
    pub fn counts(&self) -> DeviceCounts {
        let of_ports = |count: fn(&PortCounts) -> &AtomicU64| {
            self.floor.ports.iter().map(|(_, port)| count(port.counts()).load(Ordering::Relaxed)).sum()
        };
        let tags: Vec<(u64, u64)> = self.floor.gates.iter().map(|(_, gate)| gate.counts()).collect();
        let plc: &StationCounts = self.plc.counts();
        DeviceCounts {
            telegrams: of_ports(|counts| &counts.sent),
            telegrams_unheard: of_ports(|counts| &counts.unheard),
            telegrams_late: of_ports(|counts| &counts.late),
            ports_made: of_ports(|counts| &counts.made),
            tags: tags.iter().map(|(handed, _)| handed).sum(),
            tags_lost: tags.iter().map(|(_, dropped)| dropped).sum(),
            plc_connections: plc.connections.load(Ordering::Relaxed),
            plc_requests: plc.requests.load(Ordering::Relaxed),
            orders: self.floor.ordered.load(Ordering::Relaxed),
            orders_dropped: self.floor.dropped.load(Ordering::Relaxed),
        }
    }

    /// Cuts the PLC's network for a while.
    pub fn cut_plc(&self, pause: Duration) {
        self.plc.cut(pause);
    }

    /// Cuts a gate's network for a while.
    pub fn cut_gate(&self, name: &str, pause: Duration) -> Result<(), DevicesError> {
        let found = self.gates.iter().find(|(of, _)| of == name);
        let (_, station) =
            found.ok_or_else(|| unknown(name, self.gates.iter().map(|(of, _)| of.as_str())))?;
        station.cut(pause);
        Ok(())
    }

    /// Every answer of the PLC waits so long; zero switches it off.
    pub fn slow_plc(&self, by: Duration) {
        self.plc.slow(by);
    }

    /// A scanner's port is gone for a while.
    pub fn close_scanner(&self, name: &str, pause: Duration) -> Result<(), DevicesError> {
        self.port(name)?.close(pause);
        Ok(())
    }

    /// Bytes that no scanner would send come down a scanner's line.
    pub fn noise(&self, name: &str, bytes: Vec<u8>) -> Result<(), DevicesError> {
        self.port(name)?.noise(bytes);
        Ok(())
    }

    fn port(&self, name: &str) -> Result<&Port, DevicesError> {
        let names = || self.floor.ports.iter().map(|(_, port)| port.name());
        let found = self.floor.ports.iter().map(|(_, port)| port).find(|port| port.name() == name);
        found.ok_or_else(|| unknown(name, names()))
    }

    /// Presses the emergency stop.
    pub fn press_e_stop(&self) {
        self.floor.with(World::press_e_stop);
    }

    /// Resets it at the cabinet; the belt waits for a `run`.
    pub fn reset_e_stop(&self) {
        self.floor.with(World::reset_e_stop);
    }

    /// Stops the belt at the cabinet.
    pub fn stop_belt(&self) {
        self.floor.with(World::stop_belt);
    }

    /// Starts the belt at the cabinet.
    pub fn start_belt(&self) {
        self.floor.with(World::start_belt);
    }

    /// The PLC restarts.
    pub fn restart_plc(&self) {
        self.floor.with(World::restart_plc);
    }

    /// Jams the belt, or takes out what jams it.
    pub fn set_jam(&self, present: bool) {
        self.floor.with(|world| world.set_jam(present));
    }

    /// Acknowledges a jam at the cabinet.
    pub fn acknowledge_jam(&self) {
        self.floor.with(World::acknowledge_jam);
    }

    /// Someone presses a chute's bag-change button.
    pub fn change_bag(&self, chute: ChuteNo) {
        self.floor.with(|world| world.change_bag(chute));
    }
}

impl Drop for Devices {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> DevicesError {
    DevicesError::Unknown { name: name.to_owned(), known: known.collect::<Vec<_>>().join(", ") }
}

/// Listens where the configuration says, and puts the real port where it says 0.
async fn listen(
    name: &str,
    address: &mut String,
    unit: u8,
    registers: Arc<dyn Registers>,
) -> Result<Station, DevicesError> {
    let station = Station::start(address, unit, registers).await.map_err(|source| DevicesError::Listen {
        name: name.to_owned(),
        address: address.clone(),
        source,
    })?;
    *address = station.address().to_string();
    Ok(station)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testsite::testsite_in;
    use crate::world::Scenario;
    use crate::world::scenario::FaultRates;
    use sortd::identify::Reading;
    use sortd::wire::plc::{Image, PlcEvent, PlcEventKind, PlcStatus, RequestBits};
    use sortd::wire::scanner::{Decoder, Telegram};
    use sortd::wire::tben::{
        CONTINUOUS, GROUP_EPCS, INPUT_WORDS, Input, Output, input_address, output_address,
    };
    use tokio_modbus::Slave;
    use tokio_modbus::client::{Context, Reader as _, Writer as _, tcp};

    /// Longest a test waits for something that must happen.
    const PATIENCE: Duration = Duration::from_secs(30);

    async fn until(what: &str, mut happened: impl FnMut() -> bool) {
        let waiting = async {
            while !happened() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what} never happened"));
    }

    async fn connect(address: &str, unit: u8) -> Context {
        let address = address.parse().unwrap();
        let trying = async {
            loop {
                match tcp::connect_slave(address, Slave(unit)).await {
                    Ok(context) => break context,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, trying).await.expect("the port opens")
    }

    fn busy_line(directory: &std::path::Path) -> World {
        let scenario = Scenario {
            order_lead_s: 0.1,
            parcels_per_hour: 20_000.0,
            tag_share: 1.0,
            faults: FaultRates::none(),
            ..Scenario::default()
        };
        World::new(&testsite_in(directory), scenario, 1)
    }

    /// Beats, asks for a run and reads the status once.
    async fn beat(plc: &mut Context, devices: &Devices, beat: u16) -> PlcStatus {
        let map = &devices.site().plc.map;
        let request = RequestBits { run: true, induction_permitted: true, ..RequestBits::default() };
        plc.write_multiple_registers(map.pc_heartbeat, &[beat, request.encode()]).await.unwrap().unwrap();
        let mut image = Image::default();
        for span in map.status_reads() {
            let words = plc.read_holding_registers(span.address, span.count).await.unwrap().unwrap();
            image.put(span.address, words);
        }
        PlcStatus::decode(&image, map).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_line_can_be_driven_over_its_protocols() {
        let directory = tempfile::tempdir().unwrap();
        let mut devices = Devices::start(busy_line(directory.path())).await.unwrap();
        let site = Arc::clone(devices.site());
        let mut gate = connect(&site.gates[0].address, 1).await;
        let reading = Output { command: CONTINUOUS, start: GROUP_EPCS, ..Output::default() };
        gate.write_multiple_registers(output_address(1), &reading.encode()).await.unwrap().unwrap();
        let mut port = tokio::fs::File::open(&site.scanners[0].port).await.unwrap();

        let mut plc = connect(&site.plc.address, site.plc.unit).await;
        let mut status = beat(&mut plc, &devices, 1).await;
        let mut beats = 1;
        while status.inducted < 3 {
            beats += 1;
            status = beat(&mut plc, &devices, beats).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(beats < 2_000, "no parcel is inducted");
        }
        let map = &site.plc.map;
        let words = plc.read_holding_registers(map.ring_address(1), 10).await.unwrap().unwrap();
        let event = PlcEvent::decode(&words, map).unwrap();
        assert_eq!((event.kind, event.seq, event.track), (PlcEventKind::Inducted, 1, 1));
        let refused = plc.write_single_register(map.head, 7).await.unwrap();
        assert_eq!(refused, Err(tokio_modbus::ExceptionCode::IllegalDataAddress));

        // The scanner says over its port what stands on an order's parcel.
        let mut decoder = Decoder::new(site.scanners[0].framing.clone());
        let mut codes = Vec::new();
        let mut bytes = [0u8; 256];
        while codes.is_empty() {
            let reading = tokio::io::AsyncReadExt::read(&mut port, &mut bytes);
            let count = tokio::time::timeout(PATIENCE, reading).await.unwrap().unwrap();
            for frame in decoder.push(&bytes[..count], ()) {
                if let Ok(Telegram::Codes(readings)) = frame.what {
                    codes.extend(readings);
                }
            }
        }
        let mut orders = devices.take_orders().unwrap();
        let Reading::Barcode { text, .. } = &codes[0] else { panic!("a scanner reads barcodes") };
        let waybill = text.strip_prefix("00").unwrap_or(text);
        let known = std::iter::from_fn(|| orders.try_recv().ok())
            .any(|order| order.codes.iter().any(|code| code == waybill || code == text));
        assert!(known, "{text} is in no order");
        let tags = async {
            loop {
                let words =
                    gate.read_holding_registers(input_address(1), INPUT_WORDS).await.unwrap().unwrap();
                if Input::decode(&words).unwrap().bytes_waiting > 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, tags).await.expect("a tag waits in the gate");

        // Cut off: the connection is gone, and the world goes on without it.
        devices.cut_plc(Duration::from_millis(300));
        let lost = async { while plc.read_holding_registers(map.head, 1).await.is_ok() {} };
        tokio::time::timeout(PATIENCE, lost).await.expect("a cut connection ends");
        let mut plc = connect(&site.plc.address, site.plc.unit).await;
        let again = beat(&mut plc, &devices, beats + 1).await;
        assert!(again.inducted >= status.inducted && again.epoch == status.epoch);
        assert_eq!(devices.counts().plc_connections, 2);

        // The port hangs up and comes back under the same name.
        devices.close_scanner("top", Duration::from_millis(50)).unwrap();
        until("the port is made again", || devices.counts().ports_made >= 3).await;
        let gone = tokio::time::timeout(PATIENCE, async {
            loop {
                match tokio::io::AsyncReadExt::read(&mut port, &mut bytes).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
        });
        gone.await.expect("the old port hangs up");
        drop(port);
        let _port = tokio::fs::File::open(&site.scanners[0].port).await.unwrap();
        assert!(devices.close_scanner("nobody", Duration::ZERO).is_err());
        assert!(devices.truth().adds_up());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn another_unit_is_not_answered_and_slow_answers_are_slow() {
        let directory = tempfile::tempdir().unwrap();
        let devices = Devices::start(busy_line(directory.path())).await.unwrap();
        let address = devices.site().plc.address.clone();
        let mut stranger = connect(&address, 9).await;
        let silent = tokio::time::timeout(Duration::from_millis(100), stranger.read_holding_registers(0, 1));
        assert!(silent.await.is_err(), "unit 9 answered");
        devices.slow_plc(Duration::from_secs(3_600));
        let mut plc = connect(&address, 1).await;
        let slow = tokio::time::timeout(Duration::from_millis(100), plc.read_holding_registers(100, 1));
        assert!(slow.await.is_err(), "the answer was not slow");
        devices.slow_plc(Duration::ZERO);
        let mut plc = connect(&address, 1).await;
        assert_eq!(plc.read_holding_registers(100, 1).await.unwrap().unwrap().len(), 1);
    }
}
