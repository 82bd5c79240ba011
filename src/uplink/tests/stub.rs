//! A broker of a few lines that can be killed, and told never to acknowledge. It keeps what it was sent
//! *before* it acknowledges, so what it acknowledged and does not have cannot exist. What a connection subscribes to
//! comes back to it, as long as it is subscribed; a stub that was not told to take
//! subscriptions drops whoever asks for one.

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
    echo: AtomicBool,
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

    /// Takes subscriptions.
    pub fn echo(&self) {
        self.shared.echo.store(true, Ordering::SeqCst);
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

async fn serve(mut stream: TcpStream, shared: Arc<Shared>, count: watch::Sender<u64>) {
    let mut buffer = Vec::new();
    let mut subscribed: Vec<String> = Vec::new();
    while let Some((kind, body)) = packet(&mut stream, &mut buffer).await {
        let answer: Vec<u8> = match kind >> 4 {
            1 => vec![0x20, 2, 0, 0],
            3 => {
                let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
                let topic = String::from_utf8(body[2..2 + length].to_vec()).unwrap();
                let id = [body[2 + length], body[3 + length]];
                let back = if subscribed.contains(&topic) {
                    echo(&body[..2 + length], &body[4 + length..])
                } else {
                    Vec::new()
                };
                shared.got.lock().unwrap().push((topic, body[4 + length..].to_vec()));
                count.send_modify(|count| *count += 1);
                let mute = shared.mute.load(Ordering::SeqCst);
                if mute { Vec::new() } else { [&[0x40, 2, id[0], id[1]], &back[..]].concat() }
            }
            8 if shared.echo.load(Ordering::SeqCst) => {
                let filters = filters(&body[2..], 1);
                let granted = vec![0; filters.len()];
                subscribed.extend(filters);
                let length = u8::try_from(2 + granted.len()).unwrap();
                [&[0x90, length, body[0], body[1]], &granted[..]].concat()
            }
            10 => {
                let filters = filters(&body[2..], 0);
                subscribed.retain(|topic| !filters.contains(topic));
                vec![0xB0, 2, body[0], body[1]]
            }
            12 => vec![0xD0, 0],
            _ => return,
        };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// A publish of QoS 0: its topic with the length before it, and its payload.
fn echo(topic: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut length = topic.len() + payload.len();
    let mut packet = vec![0x30];
    while length >= 128 {
        packet.push(u8::try_from(length % 128).unwrap() | 0x80);
        length /= 128;
    }
    packet.push(u8::try_from(length).unwrap());
    [&packet[..], topic, payload].concat()
}

/// Topics of a subscription, each with so many bytes behind it.
fn filters(mut body: &[u8], behind: usize) -> Vec<String> {
    let mut found = Vec::new();
    while let [high, low, rest @ ..] = body {
        let (topic, rest) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        found.push(String::from_utf8(topic.to_vec()).unwrap());
        body = &rest[behind..];
    }
    found
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
