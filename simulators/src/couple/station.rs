//! A Modbus TCP unit: answers one unit id, can be cut off for a while, answers slowly where told.
//!
//! Cut off means: every connection is dropped and the port refuses new ones, as with a pulled cable on the
//! PLC's side; mending listens on the same port again.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::{Server, accept_tcp_connection};
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};

/// Another try to get the port back after a cut, and how long it is tried.
const BIND_AGAIN: Duration = Duration::from_millis(20);

/// What a unit does with registers.
pub trait Registers: Send + Sync + 'static {
    /// Holding registers; `None` is an illegal address.
    fn read(&self, address: u16, count: u16) -> Option<Vec<u16>>;
    /// Writes holding registers; false is an illegal address.
    fn write(&self, address: u16, words: &[u16]) -> bool;
}

/// What a station has seen, for tests that wait on counts.
#[derive(Debug, Default)]
pub struct StationCounts {
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Requests to the own unit.
    pub requests: AtomicU64,
    /// Requests to other units, not answered.
    pub strangers: AtomicU64,
    /// Requests answered with an exception.
    pub refused: AtomicU64,
    /// Times it was cut off.
    pub cuts: AtomicU64,
}

/// A unit behind a port.
pub struct Station {
    address: SocketAddr,
    front: Front,
    serving: Arc<Mutex<JoinHandle<()>>>,
}

#[derive(Clone)]
struct Front {
    unit: u8,
    registers: Arc<dyn Registers>,
    counts: Arc<StationCounts>,
    slow_ms: Arc<AtomicU64>,
}

impl Service for Front {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    type Future = Pin<Box<dyn Future<Output = Result<Option<Response>, ExceptionCode>> + Send>>;

    fn call(&self, asked: SlaveRequest<'static>) -> Self::Future {
        let front = self.clone();
        Box::pin(async move {
            if asked.slave != front.unit {
                front.counts.strangers.fetch_add(1, Ordering::Relaxed);
                return Ok(None);
            }
            let slow = front.slow_ms.load(Ordering::Relaxed);
            if slow > 0 {
                tokio::time::sleep(Duration::from_millis(slow)).await;
            }
            front.counts.requests.fetch_add(1, Ordering::Relaxed);
            let answer = front.answer(&asked.request);
            if answer.is_err() {
                front.counts.refused.fetch_add(1, Ordering::Relaxed);
            }
            answer.map(Some)
        })
    }
}

impl Front {
    fn answer(&self, request: &Request<'static>) -> Result<Response, ExceptionCode> {
        match request {
            Request::ReadHoldingRegisters(address, count) => self
                .registers
                .read(*address, *count)
                .map(Response::ReadHoldingRegisters)
                .ok_or(ExceptionCode::IllegalDataAddress),
            Request::ReadInputRegisters(address, count) => self
                .registers
                .read(*address, *count)
                .map(Response::ReadInputRegisters)
                .ok_or(ExceptionCode::IllegalDataAddress),
            Request::WriteMultipleRegisters(address, words) => {
                if !self.registers.write(*address, words) {
                    return Err(ExceptionCode::IllegalDataAddress);
                }
                let count = u16::try_from(words.len()).map_err(|_| ExceptionCode::IllegalDataValue)?;
                Ok(Response::WriteMultipleRegisters(*address, count))
            }
            Request::WriteSingleRegister(address, word) => {
                if !self.registers.write(*address, &[*word]) {
                    return Err(ExceptionCode::IllegalDataAddress);
                }
                Ok(Response::WriteSingleRegister(*address, *word))
            }
            _ => Err(ExceptionCode::IllegalFunction),
        }
    }
}

impl Station {
    /// Listens on `address`; port 0 picks a free one.
    pub async fn start(address: &str, unit: u8, registers: Arc<dyn Registers>) -> std::io::Result<Station> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let front = Front { unit, registers, counts: Arc::default(), slow_ms: Arc::default() };
        let serving = Arc::new(Mutex::new(serve(front.clone(), listener)));
        Ok(Station { address, front, serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has seen.
    pub fn counts(&self) -> &StationCounts {
        &self.front.counts
    }

    /// Each answer waits so long; zero switches it off.
    pub fn slow(&self, by: Duration) {
        self.front.slow_ms.store(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Drops every connection, refuses new ones for a while, and listens again. Returns at once.
    pub fn cut(&self, pause: Duration) {
        self.front.counts.cuts.fetch_add(1, Ordering::Relaxed);
        let (front, address, serving) = (self.front.clone(), self.address, Arc::clone(&self.serving));
        let again = tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let listener = loop {
                match TcpListener::bind(address).await {
                    Ok(listener) => break listener,
                    Err(_) => tokio::time::sleep(BIND_AGAIN).await,
                }
            };
            serve_on(front, listener).await;
        });
        let before = std::mem::replace(&mut *serving.lock().unwrap_or_else(PoisonError::into_inner), again);
        before.abort();
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner).abort();
    }
}

fn serve(front: Front, listener: TcpListener) -> JoinHandle<()> {
    tokio::spawn(serve_on(front, listener))
}

async fn serve_on(front: Front, listener: TcpListener) {
    let server = Server::new(listener);
    let on_connected = |stream: tokio::net::TcpStream, address| {
        let front = front.clone();
        async move {
            // An answer is smaller than a segment; waiting for more would only make it late.
            stream.set_nodelay(true)?;
            front.counts.connections.fetch_add(1, Ordering::Relaxed);
            accept_tcp_connection(stream, address, move |_| Ok(Some(front.clone())))
        }
    };
    let on_error = |error: std::io::Error| tracing::debug!(%error, "a Modbus client left");
    if let Err(error) = server.serve(&on_connected, on_error).await {
        tracing::warn!(%error, "a Modbus unit stops listening");
    }
}
