//! Real things for the tests of this room: a Modbus TCP unit with knobs.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::{Server, accept_tcp_connection};
use tokio_modbus::{ExceptionCode, Request, Response};

/// Longest a test waits for something that must happen.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Runs after each request on the registers, with where and how much was written.
pub(super) type Program = Box<dyn FnMut(&mut Vec<u16>, Option<(u16, usize)>) + Send>;

/// What a unit is made to do wrong, and what it has been asked.
#[derive(Default)]
pub(super) struct Unit {
    pub registers: Vec<u16>,
    /// Answers to the next requests wait so long.
    pub delays: Vec<Duration>,
    /// The next read is answered with so many registers fewer.
    pub short_by: usize,
    /// The next write echoes another address.
    pub wrong_echo: bool,
    /// Every request is answered with an exception.
    pub refuses: bool,
    /// Requests seen.
    pub requests: u64,
    /// Connections accepted.
    pub connections: u64,
    /// The unit's own doing.
    pub program: Option<Program>,
}

/// A unit behind a TCP port of its own.
#[derive(Clone)]
pub(super) struct Station {
    unit: Arc<Mutex<Unit>>,
    pub address: String,
    server: Arc<Mutex<tokio::task::JoinHandle<()>>>,
}

#[derive(Clone)]
struct Front(Arc<Mutex<Unit>>);

impl Service for Front {
    type Request = Request<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = Pin<Box<dyn Future<Output = Result<Response, ExceptionCode>> + Send>>;

    fn call(&self, request: Request<'static>) -> Self::Future {
        let unit = Arc::clone(&self.0);
        Box::pin(async move {
            let (answer, delay) = {
                let mut unit = lock(&unit);
                let delay = unit.delays.pop();
                (unit.answer(&request), delay)
            };
            if let Some(delay) = delay {
                tokio::time::sleep(delay).await;
            }
            answer
        })
    }
}

impl Unit {
    fn answer(&mut self, request: &Request<'static>) -> Result<Response, ExceptionCode> {
        self.requests += 1;
        match request {
            _ if self.refuses => Err(ExceptionCode::IllegalDataAddress),
            Request::ReadHoldingRegisters(address, count) => {
                self.run(None);
                let from = usize::from(*address);
                let count = usize::from(*count) - std::mem::take(&mut self.short_by);
                Ok(Response::ReadHoldingRegisters(self.registers[from..from + count].to_vec()))
            }
            Request::WriteMultipleRegisters(address, words) => {
                let from = usize::from(*address);
                self.registers[from..from + words.len()].copy_from_slice(words);
                self.run(Some((*address, words.len())));
                let echo = *address + u16::from(std::mem::take(&mut self.wrong_echo));
                Ok(Response::WriteMultipleRegisters(echo, u16::try_from(words.len()).unwrap()))
            }
            _ => Err(ExceptionCode::IllegalFunction),
        }
    }

    fn run(&mut self, written: Option<(u16, usize)>) {
        if let Some(mut program) = self.program.take() {
            program(&mut self.registers, written);
            self.program = Some(program);
        }
    }
}

impl Station {
    pub(super) async fn start() -> Station {
        let unit = Arc::new(Mutex::new(Unit { registers: vec![0; 65_536], ..Unit::default() }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = Arc::new(Mutex::new(serve(Arc::clone(&unit), listener)));
        Station { unit, address, server }
    }

    pub(super) fn unit(&self) -> MutexGuard<'_, Unit> {
        lock(&self.unit)
    }

    /// Closes the port and every connection.
    pub(super) async fn cut(&self) {
        let server =
            std::mem::replace(&mut *self.server.lock().unwrap(), tokio::spawn(std::future::pending()));
        server.abort();
        let _ = server.await;
    }

    /// Opens the same port again.
    pub(super) async fn mend(&self) {
        let listener = loop {
            match TcpListener::bind(&self.address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        let server = serve(Arc::clone(&self.unit), listener);
        std::mem::replace(&mut *self.server.lock().unwrap(), server).abort();
    }
}

fn serve(unit: Arc<Mutex<Unit>>, listener: TcpListener) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let server = Server::new(listener);
        let on_connected = |stream, address| {
            let unit = Arc::clone(&unit);
            async move {
                lock(&unit).connections += 1;
                accept_tcp_connection(stream, address, |_| Ok(Some(Front(Arc::clone(&unit)))))
            }
        };
        let _ = server.serve(&on_connected, |_| {}).await;
    })
}

fn lock(unit: &Arc<Mutex<Unit>>) -> MutexGuard<'_, Unit> {
    unit.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Waits until something holds, and fails when it does not in time.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let patience = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(patience.await.is_ok(), "did not happen: {what}");
}
