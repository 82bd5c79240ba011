//! A broker of a few lines that can be killed, told never to acknowledge, or not this or that topic, and to pass on
//! what it is told to. It keeps what it was sent
//! *before* it acknowledges, so what it acknowledged and does not have cannot exist.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

#[derive(Default)]
struct Shared {
    /// Topic and payload of every publish, in the order of arrival.
    got: Mutex<Vec<(String, Vec<u8>)>>,
    connections: AtomicU64,
    mute: AtomicBool,
    /// So many publishes of a topic are not acknowledged.
    withheld: Mutex<BTreeMap<String, u64>>,
    /// Topics that are passed on to who subscribes; without a list it knows no subscriptions and hangs up.
    passed_on: Mutex<Option<Vec<String>>>,
}

pub struct Stub {
    pub port: u16,
    shared: Arc<Shared>,
    count: watch::Sender<u64>,
    task: Option<JoinHandle<()>>,
}

impl Stub {
    pub async fn start() -> Stub {
        let mut stub = Stub { port: 0, shared: Arc::default(), count: watch::channel(0).0, task: None };
        stub.revive().await;
        stub
    }

    /// Listens (again), on the port it had.
    pub async fn revive(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.port = listener.local_addr().unwrap().port();
        let (shared, count) = (Arc::clone(&self.shared), self.count.clone());
        self.task = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                connections.spawn(serve(stream, Arc::clone(&shared), count.clone()));
            }
        }));
    }

    /// Gone at once: the listener and every connection.
    pub async fn kill(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            assert!(task.await.is_err_and(|why| why.is_cancelled()));
        }
    }

    /// Takes everything and acknowledges no publish.
    pub fn mute(&self, mute: bool) {
        self.shared.mute.store(mute, Ordering::SeqCst);
    }

    /// The next so many publishes of a topic are taken and not acknowledged.
    pub fn withhold(&self, topic: String, count: u64) {
        self.shared.withheld.lock().unwrap().insert(topic, count);
    }

    /// Grants every subscription, and passes on what comes on these topics.
    pub fn pass_on(&self, topics: Vec<String>) {
        *self.shared.passed_on.lock().unwrap() = Some(topics);
    }

    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits for so many publishes.
    pub async fn received(&self, count: u64) {
        let mut watched = self.count.subscribe();
        let reached = tokio::time::timeout(super::PATIENCE, watched.wait_for(|got| *got >= count)).await;
        assert!(reached.is_ok(), "{count} publishes expected, {} came", *self.count.borrow());
    }

    pub fn on_topic(&self, topic: &str) -> Vec<Vec<u8>> {
        let got = self.shared.got.lock().unwrap();
        got.iter().filter(|(on, _)| on == topic).map(|(_, payload)| payload.clone()).collect()
    }
}

impl Shared {
    fn is_withheld(&self, topic: &str) -> bool {
        let mut withheld = self.withheld.lock().unwrap();
        let Some(left) = withheld.get_mut(topic).filter(|left| **left > 0) else { return false };
        *left -= 1;
        true
    }

    fn is_passed_on(&self, topic: &str) -> bool {
        self.passed_on.lock().unwrap().as_ref().is_some_and(|topics| topics.iter().any(|on| on == topic))
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>, count: watch::Sender<u64>) {
    let mut buffer = Vec::new();
    let mut subscribed: Vec<String> = Vec::new();
    while let Some((kind, body)) = packet(&mut stream, &mut buffer).await {
        let answer: Vec<u8> = match kind >> 4 {
            1 => vec![0x20, 2, 0, 0],
            3 => {
                let (topic, rest) = text(&body);
                let (id, payload) = rest.split_at(2);
                shared.got.lock().unwrap().push((topic.clone(), payload.to_vec()));
                count.send_modify(|count| *count += 1);
                let mut answer = Vec::new();
                if subscribed.contains(&topic) && shared.is_passed_on(&topic) {
                    answer = echo(&topic, payload);
                }
                if !shared.mute.load(Ordering::SeqCst) && !shared.is_withheld(&topic) {
                    answer.extend([0x40, 2, id[0], id[1]]);
                }
                answer
            }
            8 if shared.passed_on.lock().unwrap().is_some() => {
                let (id, mut rest) = body.split_at(2);
                let mut granted = Vec::new();
                while !rest.is_empty() {
                    let (topic, more) = text(rest);
                    subscribed.push(topic);
                    granted.push(more[0]);
                    rest = &more[1..];
                }
                let length = u8::try_from(2 + granted.len()).unwrap();
                [vec![0x90, length, id[0], id[1]], granted].concat()
            }
            10 => {
                let (id, mut rest) = body.split_at(2);
                while !rest.is_empty() {
                    let (topic, more) = text(rest);
                    subscribed.retain(|on| *on != topic);
                    rest = more;
                }
                vec![0xB0, 2, id[0], id[1]]
            }
            12 => vec![0xD0, 0],
            _ => return,
        };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// A text with its length, and what follows it.
fn text(bytes: &[u8]) -> (String, &[u8]) {
    let (length, rest) = bytes.split_at(2);
    let (text, rest) = rest.split_at(usize::from(u16::from_be_bytes([length[0], length[1]])));
    (String::from_utf8(text.to_vec()).unwrap(), rest)
}

/// A publish under QoS 0.
fn echo(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut length = 2 + topic.len() + payload.len();
    let mut packet = vec![0x30];
    while length > 0x7f {
        packet.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    packet.push(u8::try_from(length).unwrap());
    packet.extend(u16::try_from(topic.len()).unwrap().to_be_bytes());
    [packet, topic.as_bytes().to_vec(), payload.to_vec()].concat()
}

/// One MQTT packet: first byte and what follows the length.
async fn packet(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    loop {
        let mut length = 0_usize;
        for at in 1..=4 {
            let Some(byte) = buffer.get(at) else { break };
            length |= usize::from(byte & 0x7f) << (7 * (at - 1));
            if byte & 0x80 == 0 {
                if buffer.len() > at + length {
                    let rest = buffer.split_off(at + 1 + length);
                    let packet = std::mem::replace(buffer, rest);
                    return Some((packet[0], packet[at + 1..].to_vec()));
                }
                break;
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
