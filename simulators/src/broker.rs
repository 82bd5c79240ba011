//! MQTT brokers for the demo and the tests: one embedded, one real.
//!
//! Both listen on a free loopback port that stays theirs while they are down, so that an outage is `stop` and
//! `start_again` on the same address. [`Broker::start`] needs nothing installed; [`Broker::mosquitto`] starts the
//! program that many sites run.
//!
//! What the embedded broker (rumqttd 0.20) does and does not, read in its source and seen in the tests below:
//!
//! * Persistent sessions, retained messages and last wills work. A session outlives a connection, and outlives
//!   [`Broker::stop`] when started again with [`Memory::Kept`].
//! * It ends the connection of whoever publishes to a topic that nobody has subscribed to, unless `dynamic_filters` is
//!   set; it is set here. A late subscriber of such a topic still sees only what comes after it.
//! * A client that takes over its own half-open connection may lose its last will to the old connection's end, or
//!   publish it at once. Tests of wills therefore end connections, not processes that hang.
//! * Each subscribed filter has a log of its own in memory, `LOG_SEGMENT` × `LOG_SEGMENTS` bytes at most; the oldest
//!   segment goes when it is full, without a word. A subscriber that falls further behind loses messages.
//! * It logs each disconnection as an error. Programs that embed it put `rumqttd=off` into their log filter.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use rumqttd::protocol::v4::V4;
use rumqttd::{ConnectionSettings, LinkType, Router, RouterConfig, Server, ServerSettings};
use rustix::net::{AddressFamily, SocketType, sockopt};
use tokio::sync::oneshot;

/// Largest packet taken: twice the largest a line may send (512 KiB of orders), and then some.
const PACKET_LIMIT: usize = 4 * 1024 * 1024;

/// One segment of a filter's log.
const LOG_SEGMENT: usize = 8 * 1024 * 1024;

/// Segments of a filter's log: 64 MiB are an hour of events at 9,000 parcels/h for a subscriber that stands still.
const LOG_SEGMENTS: usize = 8;

/// Longest wait for a broker to answer on its port.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks whether it answers.
const LOOK_PERIOD: Duration = Duration::from_millis(5);

/// Where Debian puts the program, besides the search path.
const MOSQUITTO_PLACES: [&str; 2] = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"];

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// No port.
    #[error("no loopback port could be had for the broker: {0}")]
    Port(#[from] rustix::io::Errno),
    /// The system refused something else.
    #[error("the broker could not {what}: {source}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It ended instead of answering.
    #[error("the broker ended before it answered on port {port}: {said}")]
    Ended {
        /// Its port.
        port: u16,
        /// What it said.
        said: String,
    },
    /// It did not answer.
    #[error("the broker did not answer on port {0} in time")]
    Silent(u16),
    /// No program.
    #[error("mosquitto is not installed (Debian: apt-get install mosquitto)")]
    NoMosquitto,
}

/// What a broker still knows when it is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Sessions, retained and queued messages: a broker with persistence.
    Kept,
    /// Nothing: a broker without.
    Lost,
}

/// A broker on a loopback port.
pub struct Broker {
    /// Its port on 127.0.0.1; the same after an outage.
    pub port: u16,
    kind: Kind,
    /// Bound but never listening: nobody else is given the port while the broker is down.
    _reserved: OwnedFd,
}

enum Kind {
    Embedded { routes: Routes, running: Option<Running> },
    Mosquitto { program: PathBuf, place: tempfile::TempDir, child: Option<Child> },
}

/// Makes a listener for one and the same router: its sessions live as long as this.
type Routes = Box<dyn Fn(ServerSettings) -> Server<V4> + Send>;

struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<(), String>>,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("port", &self.port).finish_non_exhaustive()
    }
}

impl Broker {
    /// The embedded broker.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub fn start() -> Result<Broker, BrokerError> {
        Broker::start_on(0)
    }

    /// The embedded broker on this port; 0 takes a free one.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub fn start_on(port: u16) -> Result<Broker, BrokerError> {
        let (reserved, port) = reserve(port)?;
        let kind = Kind::Embedded { routes: new_router(), running: None };
        let mut broker = Broker { port, kind, _reserved: reserved };
        broker.run()?;
        Ok(broker)
    }

    /// A real mosquitto with its own configuration and store in a fresh directory.
    ///
    /// # Errors
    /// [`BrokerError::NoMosquitto`] where it is not installed.
    pub fn mosquitto() -> Result<Broker, BrokerError> {
        let program = find_mosquitto().ok_or(BrokerError::NoMosquitto)?;
        let (reserved, port) = reserve(0)?;
        let place = tempfile::Builder::new()
            .prefix("mosquitto-")
            .tempdir()
            .map_err(|source| BrokerError::System { what: "make its directory", source })?;
        let mut broker =
            Broker { port, kind: Kind::Mosquitto { program, place, child: None }, _reserved: reserved };
        broker.run()?;
        Ok(broker)
    }

    /// Whether [`Broker::mosquitto`] can work here.
    pub fn has_mosquitto() -> bool {
        find_mosquitto().is_some()
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port))
    }

    /// Whether it is up.
    pub fn is_up(&self) -> bool {
        match &self.kind {
            Kind::Embedded { running, .. } => running.is_some(),
            Kind::Mosquitto { child, .. } => child.is_some(),
        }
    }

    /// An orderly end: every connection closes, the port refuses. Does nothing to a broker that is down.
    pub fn stop(&mut self) {
        match &mut self.kind {
            Kind::Embedded { running, .. } => {
                if let Some(running) = running.take() {
                    // A thread that has ended by itself no longer listens for it.
                    let _ = running.stop.send(());
                    let _ = running.thread.join();
                }
            }
            Kind::Mosquitto { child, .. } => {
                if let Some(mut child) = child.take() {
                    let id = rustix::process::Pid::from_child(&child);
                    // It stores its sessions on this signal; one that has ended already needs none.
                    let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
                    let _ = child.wait();
                }
            }
        }
    }

    /// A sudden end: mosquitto is killed with whatever it has not stored; the embedded broker just stops.
    pub fn kill(&mut self) {
        if let Kind::Mosquitto { child, .. } = &mut self.kind
            && let Some(mut child) = child.take()
        {
            // One that has ended already needs no signal.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.stop();
    }

    /// Starts again on the same port.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub fn start_again(&mut self, memory: Memory) -> Result<(), BrokerError> {
        self.stop();
        if memory == Memory::Lost {
            match &mut self.kind {
                Kind::Embedded { routes, .. } => *routes = new_router(),
                Kind::Mosquitto { place, .. } => {
                    let store = place.path().join("mosquitto.db");
                    match std::fs::remove_file(store) {
                        Err(source) if source.kind() != io::ErrorKind::NotFound => {
                            return Err(BrokerError::System { what: "forget its store", source });
                        }
                        Ok(()) | Err(_) => {}
                    }
                }
            }
        }
        self.run()
    }

    fn run(&mut self) -> Result<(), BrokerError> {
        let (port, address) = (self.port, self.address());
        match &mut self.kind {
            Kind::Embedded { routes, running } => {
                let server = routes(settings(address));
                let (stop, stopping) = oneshot::channel();
                let thread = std::thread::Builder::new()
                    .name("broker".to_owned())
                    .spawn(move || serve(server, stopping))
                    .map_err(|source| BrokerError::System { what: "start its thread", source })?;
                let started = Running { stop, thread };
                wait_for(address, || {
                    started.thread.is_finished().then(|| "see its log lines at ERROR".to_owned())
                })?;
                *running = Some(started);
            }
            Kind::Mosquitto { program, place, child } => {
                let started = start_mosquitto(program, place.path(), port)?;
                let log = place.path().join("mosquitto.log");
                let started = child.insert(started);
                wait_for(address, || match started.try_wait() {
                    Ok(Some(status)) => {
                        let log = std::fs::read_to_string(&log).unwrap_or_default();
                        Some(format!("{status}; {}", log.lines().last().unwrap_or("it logged nothing")))
                    }
                    Ok(None) | Err(_) => None,
                })?;
            }
        }
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A loopback port that stays reserved while the socket is held: bound with address reuse, but not listening.
fn reserve(port: u16) -> Result<(OwnedFd, u16), rustix::io::Errno> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    let bound = SocketAddrV4::try_from(rustix::net::getsockname(&socket)?)?;
    Ok((socket, bound.port()))
}

fn new_router() -> Routes {
    let config = RouterConfig {
        max_connections: 64,
        max_outgoing_packet_count: 200,
        max_segment_size: LOG_SEGMENT,
        max_segment_count: LOG_SEGMENTS,
        ..RouterConfig::default()
    };
    let events = Router::new(0, config).spawn();
    Box::new(move |settings| Server::new(settings, events.clone(), V4))
}

fn settings(listen: SocketAddr) -> ServerSettings {
    ServerSettings {
        name: "v4".to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections: ConnectionSettings {
            connection_timeout_ms: 5_000,
            max_payload_size: PACKET_LIMIT,
            max_inflight_count: 200,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    }
}

/// Listens until told to stop; the end of the runtime closes the listener and every connection.
fn serve(mut server: Server<V4>, stopping: oneshot::Receiver<()>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        tokio::select! {
            ended = server.start(LinkType::Remote) => ended.map_err(|error| error.to_string()),
            _ = stopping => Ok(()),
        }
    })
}

#[expect(clippy::disallowed_methods, reason = "waits for another program in real time")]
fn wait_for(address: SocketAddr, mut ended: impl FnMut() -> Option<String>) -> Result<(), BrokerError> {
    let begun = std::time::Instant::now();
    loop {
        if let Some(said) = ended() {
            return Err(BrokerError::Ended { port: address.port(), said });
        }
        if TcpStream::connect_timeout(&address, START_PATIENCE).is_ok() {
            return Ok(());
        }
        if begun.elapsed() > START_PATIENCE {
            return Err(BrokerError::Silent(address.port()));
        }
        std::thread::sleep(LOOK_PERIOD);
    }
}

fn find_mosquitto() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join("mosquitto"))
        .chain(MOSQUITTO_PLACES.into_iter().map(PathBuf::from))
        .find(|program| program.is_file())
}

fn start_mosquitto(program: &Path, place: &Path, port: u16) -> Result<Child, BrokerError> {
    // As root it would become the user `mosquitto`, who may not write here.
    let user = if rustix::process::geteuid().is_root() { "user root\n" } else { "" };
    let config = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\n{user}persistence true\npersistence_location {0}/\n\
         autosave_interval 1\nmax_queued_messages 1000000\nmax_inflight_messages 0\nmax_packet_size {PACKET_LIMIT}\nset_tcp_nodelay true\n\
         log_dest file {0}/mosquitto.log\n",
        place.display()
    );
    let file = place.join("mosquitto.conf");
    std::fs::write(&file, config)
        .map_err(|source| BrokerError::System { what: "write its configuration", source })?;
    Command::new(program)
        .arg("-c")
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|source| BrokerError::System { what: "be started", source })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rumqttc::{AsyncClient, Event, EventLoop, LastWill, MqttOptions, Packet, QoS};

    use super::*;

    /// Longest wait for anything; reached only where something is wrong.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn options(id: &str, broker: &Broker, clean: bool) -> MqttOptions {
        let mut options = MqttOptions::new(id, "127.0.0.1", broker.port);
        options.set_clean_session(clean).set_keep_alive(Duration::from_secs(5));
        options.set_max_packet_size(PACKET_LIMIT, PACKET_LIMIT);
        options
    }

    fn connect(options: MqttOptions) -> (AsyncClient, EventLoop) {
        AsyncClient::new(options, 64)
    }

    /// Polls until a packet is the wanted one; errors end the test unless they are waited for.
    async fn until<T>(events: &mut EventLoop, mut wanted: impl FnMut(&Packet) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Event::Incoming(packet) = events.poll().await.unwrap()
                    && let Some(found) = wanted(&packet)
                {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap()
    }

    async fn connected(events: &mut EventLoop) -> bool {
        until(
            events,
            |packet| if let Packet::ConnAck(ack) = packet { Some(ack.session_present) } else { None },
        )
        .await
    }

    async fn received(events: &mut EventLoop) -> (String, Vec<u8>, bool) {
        until(events, |packet| match packet {
            Packet::Publish(p) => Some((p.topic.clone(), p.payload.to_vec(), p.retain)),
            _ => None,
        })
        .await
    }

    async fn acked(events: &mut EventLoop) {
        until(events, |packet| matches!(packet, Packet::PubAck(_)).then_some(())).await;
    }

    async fn publish(broker: &Broker, topic: &str, payload: &[u8], retain: bool) {
        let (client, mut events) = connect(options("once", broker, true));
        connected(&mut events).await;
        client.publish(topic, QoS::AtLeastOnce, retain, payload).await.unwrap();
        acked(&mut events).await;
        client.disconnect().await.unwrap();
        while events.poll().await.is_ok() {}
    }

    async fn keeps_what_a_line_needs(broker: &mut Broker) {
        // A topic nobody has heard of, and a large message.
        publish(broker, "nobody/listens", b"x", false).await;
        publish(broker, "state", b"well", true).await;

        let (client, mut events) = connect(options("down", broker, false));
        connected(&mut events).await;
        client.subscribe("orders", QoS::AtLeastOnce).await.unwrap();
        client.subscribe("state", QoS::AtLeastOnce).await.unwrap();
        assert_eq!(received(&mut events).await, ("state".into(), b"well".to_vec(), true));
        let large = vec![b'o'; 1024 * 1024];
        publish(broker, "orders", &large, false).await;
        assert_eq!(received(&mut events).await.1, large);
        client.disconnect().await.unwrap();
        while events.poll().await.is_ok() {}

        // The session holds what comes while its owner is away, over an outage too.
        publish(broker, "orders", b"while away", false).await;
        broker.stop();
        assert!(TcpStream::connect(broker.address()).is_err(), "a broker that is down refuses");
        broker.start_again(Memory::Kept).unwrap();
        let (_client, mut events) = connect(options("down", broker, false));
        assert!(connected(&mut events).await, "the session is still there");
        loop {
            // The broker may repeat what it cannot know to have been acknowledged.
            if received(&mut events).await.1 == b"while away" {
                break;
            }
        }
        drop(events);

        // A broker without memory has no session.
        broker.start_again(Memory::Lost).unwrap();
        let (_client, mut events) = connect(options("down", broker, false));
        assert!(!connected(&mut events).await);
    }

    async fn tells_the_last_will(broker: &Broker) {
        let (watcher, mut seen) = connect(options("watcher", broker, true));
        connected(&mut seen).await;
        watcher.subscribe("health", QoS::AtLeastOnce).await.unwrap();
        until(&mut seen, |packet| matches!(packet, Packet::SubAck(_)).then_some(())).await;
        let mut with_will = options("mortal", broker, true);
        with_will.set_last_will(LastWill::new("health", "gone", QoS::AtLeastOnce, true));
        let (_mortal, mut living) = connect(with_will);
        connected(&mut living).await;
        drop(living);
        let (topic, payload, _) = received(&mut seen).await;
        assert_eq!((topic.as_str(), payload.as_slice()), ("health", b"gone".as_slice()));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_embedded_broker_keeps_what_a_line_needs() {
        let mut broker = Broker::start().unwrap();
        let port = broker.port;
        keeps_what_a_line_needs(&mut broker).await;
        assert_eq!(broker.port, port);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_embedded_broker_tells_the_last_will() {
        tells_the_last_will(&Broker::start().unwrap()).await;
    }

    /// Skips with a line that says so, and fails instead where everything must be there.
    fn mosquitto() -> Option<Broker> {
        if !Broker::has_mosquitto() {
            assert!(std::env::var_os("SORTD_TEST_ALL").is_none(), "{}", BrokerError::NoMosquitto);
            eprintln!("skipped: {}", BrokerError::NoMosquitto);
            return None;
        }
        Some(Broker::mosquitto().unwrap())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn mosquitto_keeps_what_a_line_needs() {
        let Some(mut broker) = mosquitto() else { return };
        keeps_what_a_line_needs(&mut broker).await;
        broker.kill();
        assert!(!broker.is_up());
        broker.start_again(Memory::Kept).unwrap();
        tells_the_last_will(&broker).await;
    }
}
