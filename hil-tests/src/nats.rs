//! Three `nats-server` in one JetStream cluster with MQTT listeners, each to be killed and brought back.
//!
//! What version 2.9 does, seen here and in its documentation: the streams of MQTT (`$MQTT_msgs` holds the messages)
//! are made at the first connection of a client, with as many replicas as there are nodes up to three; a stream has a
//! leader of its own, which need not be the leader of the cluster; topics with a `.` end the connection.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{PATIENCE, free_port, listening, program};

/// Nodes: the least that has a quorum when one is gone.
pub const NODES: usize = 3;
/// The stream of QoS 1 messages.
pub const MESSAGES: &str = "$MQTT_msgs";
/// How often the cluster is asked how it is.
const LOOK: Duration = Duration::from_millis(100);

struct Node {
    mqtt: u16,
    monitor: u16,
    child: Option<Child>,
}

/// The cluster; its nodes end when dropped.
pub struct Cluster {
    program: PathBuf,
    directory: tempfile::TempDir,
    nodes: Vec<Node>,
}

/// A stream as one node sees it.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Node that leads.
    pub leader: usize,
    /// Nodes that follow and are up to date.
    pub current: Vec<usize>,
}

impl Cluster {
    /// Starts three nodes and waits until they have a leader. `None` where `nats-server` is not installed.
    ///
    /// # Panics
    /// Where they do not settle.
    pub async fn start() -> Option<Cluster> {
        let program = program("nats-server")?;
        let directory = tempfile::Builder::new().prefix("nats-").tempdir().expect("a directory");
        let routes: Vec<u16> = (0..NODES).map(|_| free_port()).collect();
        let all = routes.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect::<Vec<_>>().join(", ");
        let mut nodes = Vec::new();
        for (at, route) in routes.iter().enumerate() {
            let (client, monitor, mqtt) = (free_port(), free_port(), free_port());
            let place = directory.path().display();
            let text = format!(
                "server_name: n{at}\nlisten: \"127.0.0.1:{client}\"\nhttp: \"127.0.0.1:{monitor}\"\n\
                 jetstream {{ store_dir: \"{place}/n{at}\" }}\n\
                 cluster {{ name: sortd, listen: \"127.0.0.1:{route}\", routes: [{all}] }}\n\
                 mqtt {{ listen: \"127.0.0.1:{mqtt}\" }}\nlog_file: \"{place}/n{at}.log\"\n"
            );
            std::fs::write(directory.path().join(format!("n{at}.conf")), text).expect("it can be written");
            nodes.push(Node { mqtt, monitor, child: None });
        }
        let mut cluster = Cluster { program, directory, nodes };
        for at in 0..NODES {
            cluster.revive(at);
        }
        for at in 0..NODES {
            cluster.ready(at).await;
        }
        Some(cluster)
    }

    /// MQTT port of a node.
    pub fn mqtt(&self, node: usize) -> u16 {
        self.nodes[node].mqtt
    }

    /// kill -9.
    pub fn kill(&mut self, node: usize) {
        if let Some(mut child) = self.nodes[node].child.take() {
            // One that has ended already needs no signal.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts a node (again); nothing is waited for.
    ///
    /// # Panics
    /// Where it cannot be started.
    pub fn revive(&mut self, node: usize) {
        let child = Command::new(&self.program)
            .arg("-c")
            .arg(self.directory.path().join(format!("n{node}.conf")))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server can be started");
        self.nodes[node].child = Some(child);
    }

    /// Waits until a node listens and knows the cluster's leader.
    ///
    /// # Panics
    /// After [`PATIENCE`].
    pub async fn ready(&self, node: usize) {
        listening(self.nodes[node].mqtt).await;
        let settled = async {
            loop {
                let seen = self.jsz(node).await.unwrap_or(Value::Null);
                let replicas = seen["meta_cluster"]["replicas"].as_array().map_or(0, Vec::len);
                let led = seen["meta_cluster"]["leader"].as_str().is_some_and(|leader| !leader.is_empty());
                let size = seen["meta_cluster"]["cluster_size"].as_u64() == Some(NODES as u64);
                // Only the leader knows of its followers.
                let leads = seen["meta_cluster"]["leader"] == format!("n{node}");
                if led && size && (!leads || replicas == NODES - 1) {
                    return;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, settled).await.is_ok(), "node {node} settles");
    }

    /// The stream of messages as its leader sees it, once it has one that lives.
    ///
    /// # Panics
    /// After [`PATIENCE`].
    pub async fn messages(&self, wanted: impl Fn(&Stream) -> bool) -> Stream {
        let found = async {
            loop {
                for node in (0..NODES).filter(|node| self.nodes[*node].child.is_some()) {
                    if let Some(stream) = self.stream(node).await
                        && stream.leader == node
                        && wanted(&stream)
                    {
                        return stream;
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("the stream of messages is as wanted")
    }

    async fn stream(&self, node: usize) -> Option<Stream> {
        let seen = self.jsz(node).await?;
        let streams = seen["account_details"].as_array()?.iter();
        let detail = streams
            .filter_map(|account| account["stream_detail"].as_array())
            .flatten()
            .find(|stream| stream["name"] == MESSAGES)?;
        let number = |name: &Value| name.as_str()?.strip_prefix('n')?.parse::<usize>().ok();
        let leader = number(&detail["cluster"]["leader"])?;
        let replicas = detail["cluster"]["replicas"].as_array()?.iter();
        let current = replicas
            .filter(|replica| replica["current"] == true)
            .filter_map(|replica| number(&replica["name"]))
            .filter(|replica| *replica != leader)
            .collect();
        Some(Stream { leader, current })
    }

    async fn jsz(&self, node: usize) -> Option<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.nodes[node].monitor)).await.ok()?;
        stream.write_all(b"GET /jsz?accounts=true&streams=true HTTP/1.0\r\n\r\n").await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        let text = String::from_utf8(answer).ok()?;
        serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()
    }

    /// Ends of the nodes' logs, for a test that fails.
    pub fn logs(&self) -> String {
        let tail = |at: usize| {
            let text =
                std::fs::read_to_string(self.directory.path().join(format!("n{at}.log"))).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("n{at}:\n{}\n", lines[lines.len().saturating_sub(15)..].join("\n"))
        };
        (0..NODES).map(tail).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in 0..NODES {
            self.kill(node);
        }
    }
}
