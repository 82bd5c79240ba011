//! A broker at the level of bytes that misbehaves as it is told, over real TCP.
//!
//! It keeps what it was sent *before* it acknowledges, so that what it acknowledged and does not have cannot exist.
//! Its manner may change at any time; connections that stand follow it at their next packet.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::outbox::Ledger;

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    Good,
    /// Takes connections and says nothing.
    Silent,
    /// Refuses CONNECT with this return code.
    Refuse(u8),
    /// Closes the connection at CONNECT.
    HangUp,
    /// Answers CONNECT with what a web server says, and closes the connection.
    WebServer,
    /// Answers CONNECT with a PINGRESP.
    WrongAnswer,
    /// Takes every publish and acknowledges none.
    Mute,
    /// Acknowledges each so many publishes together, the last first.
    Backwards(usize),
    /// Closes the connection after so many publishes and half of the next one.
    CutPublish(usize),
    /// Closes the connection after so many publishes and half of the acknowledgement of the next.
    CutAck(usize),
    /// After so many publishes, bytes that are no MQTT.
    Garbage(usize),
    /// Stops reading, and keeps the connection.
    Deaf,
    /// Acknowledges an id that is not in flight after so many publishes.
    Stray(usize),
    /// Acknowledges everything twice.
    Twice,
    /// Takes this long for each publish.
    Slow(Duration),
    /// Refuses every subscription.
    NoSubscriptions,
}

#[derive(Default)]
struct Seen {
    ledger: Ledger,
    health: u64,
    connections: u64,
    stray_of_ids: u16,
}

struct Shared {
    manner: Mutex<Manner>,
    seen: Mutex<Seen>,
    events: String,
}

/// The broker; ends when dropped.
pub struct Nasty {
    /// Its port.
    pub port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Nasty {
    /// Listens; `events` is the topic whose messages go into the ledger.
    ///
    /// # Panics
    /// Where no port is to be had.
    pub async fn start(events: String, manner: Manner) -> Nasty {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared { manner: Mutex::new(manner), seen: Mutex::default(), events });
        let own = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                lock(&own.seen).connections += 1;
                // The acknowledgements are as small as packets are.
                let _ = stream.set_nodelay(true);
                connections.spawn(serve(stream, Arc::clone(&own)));
            }
        });
        Nasty { port, shared, task }
    }

    /// Behaves like this from now on.
    pub fn behave(&self, manner: Manner) {
        *lock(&self.shared.manner) = manner;
    }

    /// What has been sent.
    pub fn ledger(&self) -> Ledger {
        lock(&self.shared.seen).ledger.clone()
    }

    /// Connections taken.
    pub fn connections(&self) -> u64 {
        lock(&self.shared.seen).connections
    }

    /// Messages on other topics than that of the events.
    pub fn others(&self) -> u64 {
        lock(&self.shared.seen).health
    }
}

impl Drop for Nasty {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection, to its end, whatever ends it.
async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut buffer = Vec::new();
    let mut publishes = 0;
    let mut held: Vec<[u8; 2]> = Vec::new();
    loop {
        let manner = *lock(&shared.manner);
        match manner {
            Manner::Deaf => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            Manner::CutPublish(after) if publishes >= after => {
                // Half of what comes next, and away.
                let _ = stream.read(&mut [0; 40]).await;
                return;
            }
            _ => {}
        }
        let next = tokio::select! {
            next = packet(&mut stream, &mut buffer) => next,
            () = changed(&shared, manner) => continue,
        };
        let Some((kind, body)) = next else { return };
        let answer = match kind >> 4 {
            1 if manner == Manner::WebServer => {
                // A client that is gone already is cut off all the same.
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
                return;
            }
            1 => match connect(manner) {
                Some(answer) => answer,
                None => return,
            },
            3 => {
                let id = publish(&shared, &body);
                publishes += 1;
                match acknowledge(&shared, manner, id, publishes, &mut held).await {
                    Acknowledge::With(bytes) => bytes,
                    Acknowledge::AndCut(bytes) => {
                        // A client that is gone already is cut off all the same.
                        let _ = stream.write_all(&bytes).await;
                        return;
                    }
                }
            }
            8 => {
                let granted = if manner == Manner::NoSubscriptions { 0x80 } else { 1 };
                vec![0x90, 3, body[0], body[1], granted]
            }
            12 => vec![0xd0, 0],
            14 => return,
            _ => Vec::new(),
        };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// Waits until it is told to behave otherwise.
async fn changed(shared: &Shared, manner: Manner) {
    while *lock(&shared.manner) == manner {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The answer to CONNECT; `None` closes the connection.
fn connect(manner: Manner) -> Option<Vec<u8>> {
    Some(match manner {
        Manner::Silent => Vec::new(),
        Manner::Refuse(code) => vec![0x20, 2, 0, code],
        Manner::HangUp => return None,
        Manner::WrongAnswer => vec![0xd0, 0],
        _ => vec![0x20, 2, 0, 0],
    })
}

/// Keeps what was sent, and gives the packet's id.
fn publish(shared: &Shared, body: &[u8]) -> [u8; 2] {
    let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
    let (topic, rest) = body[2..].split_at(length);
    let mut seen = lock(&shared.seen);
    if topic == shared.events.as_bytes() {
        seen.ledger.take(&rest[2..]);
    } else {
        seen.health += 1;
    }
    [rest[0], rest[1]]
}

enum Acknowledge {
    With(Vec<u8>),
    AndCut(Vec<u8>),
}

async fn acknowledge(
    shared: &Shared,
    manner: Manner,
    id: [u8; 2],
    publishes: usize,
    held: &mut Vec<[u8; 2]>,
) -> Acknowledge {
    let puback = |id: [u8; 2]| vec![0x40, 2, id[0], id[1]];
    Acknowledge::With(match manner {
        Manner::Mute => Vec::new(),
        Manner::Backwards(count) => {
            held.push(id);
            if held.len() < count {
                return Acknowledge::With(Vec::new());
            }
            held.drain(..).rev().flat_map(puback).collect()
        }
        Manner::CutAck(after) if publishes > after => return Acknowledge::AndCut(puback(id)[..3].to_vec()),
        Manner::Garbage(after) if publishes > after => {
            return Acknowledge::AndCut([puback(id), vec![0xff; 64]].concat());
        }
        Manner::Stray(after) if publishes > after => {
            let mut seen = lock(&shared.seen);
            // A different one each time; the highest ids are the last that any client uses.
            seen.stray_of_ids = seen.stray_of_ids.wrapping_add(1);
            let stray = (u16::MAX - seen.stray_of_ids % 100).to_be_bytes();
            [puback(stray), puback(id)].concat()
        }
        Manner::Twice => [puback(id), puback(id)].concat(),
        Manner::Slow(pause) => {
            tokio::time::sleep(pause).await;
            puback(id)
        }
        _ => puback(id),
    })
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
