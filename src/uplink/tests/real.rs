//! The same promises over real brokers: the embedded one always, mosquitto where it is installed.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::PATIENCE;

/// A port nobody listens on.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until something listens.
pub async fn listening(port: u16) {
    let up = async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, up).await.expect("the broker listens");
}

/// The broker of `cargo demo`, in this process. It cannot be stopped; it ends with the test.
pub async fn embedded() -> u16 {
    let port = free_port();
    let server = rumqttd::ServerSettings {
        name: "test".to_owned(),
        listen: SocketAddr::from(([127, 0, 0, 1], port)),
        tls: None,
        next_connection_delay_ms: 1,
        connections: rumqttd::ConnectionSettings {
            connection_timeout_ms: 5_000,
            max_payload_size: 1 << 20,
            max_inflight_count: 100,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    };
    let config = rumqttd::Config {
        id: 0,
        router: rumqttd::RouterConfig {
            max_connections: 100,
            max_outgoing_packet_count: 200,
            max_segment_size: 100 << 20,
            max_segment_count: 10,
            ..rumqttd::RouterConfig::default()
        },
        v4: Some([("1".to_owned(), server)].into()),
        ..rumqttd::Config::default()
    };
    std::thread::spawn(move || rumqttd::Broker::new(config).start().map_err(Box::new));
    listening(port).await;
    port
}

/// A mosquitto of our own with a persistent store, ended by its process id.
pub struct Mosquitto {
    pub port: u16,
    directory: tempfile::TempDir,
    child: Option<Child>,
}

impl Mosquitto {
    /// `None` where it is not installed and need not be.
    pub async fn start() -> Option<Mosquitto> {
        Mosquitto::start_with(20).await
    }

    /// One that sends so many messages ahead of their release; 0: all of them.
    pub async fn start_with(window: u16) -> Option<Mosquitto> {
        let program = program();
        if program.is_none() {
            assert!(
                std::env::var_os("SORTD_TEST_ALL").is_none(),
                "SORTD_TEST_ALL is set, but there is no mosquitto"
            );
            println!("skipped: mosquitto is not installed");
        }
        program.as_ref()?;
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut broker = Mosquitto { port, directory, child: None };
        broker.configure(&format!("max_inflight_messages {window}\n"));
        broker.revive().await;
        Some(broker)
    }

    /// Started by root it would become another user, who may not write here; otherwise `user` means nothing. With no
    /// limit of queued messages (0) mosquitto 2.0.11 hangs up on a publish that its rules forbid.
    fn configure(&self, more: &str) {
        let configuration = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\n\
             max_queued_messages 100000\nuser root\n{more}",
            self.directory.path().display(),
            port = self.port,
        );
        std::fs::write(self.directory.path().join("mosquitto.conf"), configuration).unwrap();
    }

    /// Restarts it with these access rules.
    pub async fn rules(&mut self, rules: &str) {
        let file = self.directory.path().join("acl");
        std::fs::write(&file, rules).unwrap();
        self.end();
        self.configure(&format!("acl_file {}\n", file.display()));
        self.revive().await;
    }

    /// Restarts it without anything it kept.
    pub async fn forget(&mut self) {
        self.end();
        std::fs::remove_file(self.directory.path().join("mosquitto.db")).unwrap();
        self.revive().await;
    }

    pub async fn revive(&mut self) {
        let child = Command::new(program().unwrap())
            .arg("-c")
            .arg(self.directory.path().join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        listening(self.port).await;
    }

    /// SIGTERM, so that it saves what it acknowledged; a broker that loses that on kill -9 is not tested here.
    pub fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let id = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.end();
    }
}

fn program() -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian installs it where only root's path looks.
    std::env::split_paths(&path)
        .chain([std::path::PathBuf::from("/usr/sbin")])
        .map(|directory| directory.join("mosquitto"))
        .find(|file| file.is_file())
}

/// A cable between a client and the broker that can be pulled.
pub struct Cable {
    pub port: u16,
    broker: u16,
    task: Option<JoinHandle<()>>,
}

impl Cable {
    pub async fn to(broker: u16) -> Cable {
        let mut cable = Cable { port: 0, broker, task: None };
        cable.plug().await;
        cable
    }

    pub async fn plug(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.port = listener.local_addr().unwrap().port();
        let broker = self.broker;
        self.task = Some(tokio::spawn(async move {
            let mut wires = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                wires.spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(("127.0.0.1", broker)).await {
                        // Ends with either side; which one does not matter.
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        }));
    }

    pub async fn pull(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            assert!(task.await.is_err());
        }
    }
}

/// Publishes so many blanks under QoS 1, by hand: a client library gives up on what takes long.
pub async fn publish_blanks(port: u16, topic: &str, count: usize) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x00\x00\x04hand").await.unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, [0x20, 2, 0, 0], "it lets everybody in");
    let mut head = vec![0x32];
    let mut length = 2 + topic.len() + 2 + count;
    while length > 0x7f {
        head.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    head.push(u8::try_from(length).unwrap());
    head.extend(u16::try_from(topic.len()).unwrap().to_be_bytes());
    head.extend(topic.as_bytes());
    head.extend([0, 1]);
    stream.write_all(&head).await.unwrap();
    stream.write_all(&vec![b' '; count]).await.unwrap();
    let acked = tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await;
    acked.expect("it is acknowledged").unwrap();
    assert_eq!(answer, [0x40, 2, 0, 1]);
}

/// Upstream: a client with a session of its own that keeps what it hears.
pub struct Cloud {
    pub client: AsyncClient,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
    count: watch::Receiver<u64>,
    subscribed: mpsc::Receiver<()>,
    task: JoinHandle<()>,
}

impl Cloud {
    pub async fn listening(port: u16, id: &str, topic: String) -> Cloud {
        let mut options = MqttOptions::new(id, "127.0.0.1", port);
        options.set_clean_session(false).set_max_packet_size(1 << 20, 32 << 20).set_inflight(1_000);
        let (client, mut events) = AsyncClient::new(options, 1_000);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (counted, count) = watch::channel(0);
        let (ready, subscribed) = mpsc::channel(100);
        let (own, kept) = (client.clone(), Arc::clone(&heard));
        let task = tokio::spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        own.try_subscribe(&topic, QoS::AtLeastOnce).unwrap();
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => ready.try_send(()).unwrap(),
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        kept.lock().unwrap().push(publish.payload.to_vec());
                        counted.send_modify(|count| *count += 1);
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        });
        let mut cloud = Cloud { client, heard, count, subscribed, task };
        cloud.subscribed().await;
        cloud
    }

    pub async fn subscribed(&mut self) {
        let subscribed = tokio::time::timeout(PATIENCE, self.subscribed.recv()).await;
        assert!(matches!(subscribed, Ok(Some(()))), "the cloud subscribes");
    }

    /// Waits until what was heard satisfies.
    pub async fn until(&mut self, what: &str, mut wanted: impl FnMut(&[Vec<u8>]) -> bool) -> Vec<Vec<u8>> {
        let heard = Arc::clone(&self.heard);
        let reached = self.count.wait_for(|_| wanted(&heard.lock().unwrap()));
        let reached = tokio::time::timeout(PATIENCE, reached).await.is_ok();
        let heard = self.heard.lock().unwrap().clone();
        assert!(reached, "{what}: {} heard", heard.len());
        heard
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.task.abort();
    }
}
