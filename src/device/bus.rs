//! One Modbus TCP connection that is never believed more than it deserves.
//!
//! # Invariants
//!
//! 1. One task owns it; a call is never cancelled but by its own time-out.
//! 2. After a time-out or any error the connection is dropped: a late answer can never be taken for the answer to
//!    the next question, because there is no next question on that connection.
//! 3. The number of registers is compared, since the client library gives a short or a long answer back as good.
//! 4. The echo of a write is compared, since the library does not.

use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_modbus::client::{Client, Context, tcp};
use tokio_modbus::{Request, Response, Slave};

use crate::wire::plc::{Image, Span};

/// A Modbus unit at a TCP address.
pub struct Bus {
    address: String,
    unit: u8,
    timeout: Duration,
    context: Option<Context>,
}

/// Why a request brought nothing usable.
#[derive(Debug, Error)]
pub enum BusError {
    /// No connection.
    #[error("{address}: cannot connect: {source}")]
    Connect {
        /// Address.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// No answer in time.
    #[error("{what}: no answer within {ms} ms")]
    TimedOut {
        /// Request.
        what: String,
        /// Time-out.
        ms: u128,
    },
    /// The connection broke or its answer belonged to something else.
    #[error("{what}: {source}")]
    Broken {
        /// Request.
        what: String,
        /// What the library said.
        source: tokio_modbus::Error,
    },
    /// The device refused.
    #[error("{what}: the device answers exception {exception}")]
    Refused {
        /// Request.
        what: String,
        /// Modbus exception.
        exception: String,
    },
    /// Not the registers that were asked for.
    #[error("{what}: expected {expected} registers, came {came}")]
    Length {
        /// Request.
        what: String,
        /// Asked.
        expected: u16,
        /// Came.
        came: usize,
    },
    /// Not an echo of what was written.
    #[error("{what}: the echo is {echo}")]
    Echo {
        /// Request.
        what: String,
        /// Answer.
        echo: String,
    },
}

impl BusError {
    /// Name under which it is counted.
    pub fn kind(&self) -> &'static str {
        match self {
            BusError::Connect { .. } => "connect",
            BusError::TimedOut { .. } => "timeout",
            BusError::Broken { .. } => "connection_lost",
            BusError::Refused { .. } => "modbus_exception",
            BusError::Length { .. } => "wrong_length",
            BusError::Echo { .. } => "wrong_echo",
        }
    }
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus")
            .field("address", &self.address)
            .field("unit", &self.unit)
            .field("connected", &self.context.is_some())
            .finish_non_exhaustive()
    }
}

impl Bus {
    /// A unit that is not connected yet.
    pub fn new(address: String, unit: u8, timeout_ms: u32) -> Bus {
        Bus { address, unit, timeout: Duration::from_millis(timeout_ms.into()), context: None }
    }

    /// Connects, unless it is connected.
    pub async fn connect(&mut self) -> Result<(), BusError> {
        if self.context.is_some() {
            return Ok(());
        }
        let what = || format!("connect {}", self.address);
        let stream = timeout(self.timeout, TcpStream::connect(&self.address))
            .await
            .map_err(|_| BusError::TimedOut { what: what(), ms: self.timeout.as_millis() })?
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
            .map_err(|source| BusError::Connect { address: self.address.clone(), source })?;
        self.context = Some(tcp::attach_slave(stream, Slave(self.unit)));
        Ok(())
    }

    /// Drops the connection; the next request needs a new one.
    pub fn close(&mut self) {
        self.context = None;
    }

    /// Reads holding registers (FC03).
    pub async fn read(&mut self, span: Span) -> Result<Vec<u16>, BusError> {
        let what = || format!("read {} registers from {}", span.count, span.address);
        let answer = self.call(Request::ReadHoldingRegisters(span.address, span.count), what).await?;
        let result = match answer {
            Response::ReadHoldingRegisters(words) if words.len() == usize::from(span.count) => Ok(words),
            Response::ReadHoldingRegisters(words) => {
                Err(BusError::Length { what: what(), expected: span.count, came: words.len() })
            }
            other => Err(BusError::Echo { what: what(), echo: format!("{other:?}") }),
        };
        self.closing_on_error(result)
    }

    /// Reads several spans into one image.
    pub async fn read_all(&mut self, spans: &[Span]) -> Result<Image, BusError> {
        let mut image = Image::default();
        for span in spans {
            image.put(span.address, self.read(*span).await?);
        }
        Ok(image)
    }

    /// Writes holding registers in one FC16.
    pub async fn write(&mut self, address: u16, words: &[u16]) -> Result<(), BusError> {
        let what = || format!("write {} registers from {address}", words.len());
        let answer = self.call(Request::WriteMultipleRegisters(address, words.into()), what).await?;
        let result = match answer {
            Response::WriteMultipleRegisters(echo, count)
                if echo == address && usize::from(count) == words.len() =>
            {
                Ok(())
            }
            other => Err(BusError::Echo { what: what(), echo: format!("{other:?}") }),
        };
        self.closing_on_error(result)
    }

    async fn call(&mut self, request: Request<'_>, what: impl Fn() -> String) -> Result<Response, BusError> {
        let Some(context) = self.context.as_mut() else {
            let source = std::io::Error::from(std::io::ErrorKind::NotConnected);
            return Err(BusError::Connect { address: self.address.clone(), source });
        };
        let result = match timeout(self.timeout, context.call(request)).await {
            Err(_) => Err(BusError::TimedOut { what: what(), ms: self.timeout.as_millis() }),
            Ok(Err(source)) => Err(BusError::Broken { what: what(), source }),
            Ok(Ok(Err(exception))) => {
                Err(BusError::Refused { what: what(), exception: exception.to_string() })
            }
            Ok(Ok(Ok(response))) => Ok(response),
        };
        self.closing_on_error(result)
    }

    fn closing_on_error<T>(&mut self, result: Result<T, BusError>) -> Result<T, BusError> {
        if result.is_err() {
            self.close();
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::testing::Station;

    async fn connected(station: &Station) -> Bus {
        let mut bus = Bus::new(station.address.clone(), 1, 100);
        bus.connect().await.unwrap();
        bus
    }

    fn at(address: u16) -> Span {
        Span { address, count: 2 }
    }

    #[tokio::test]
    async fn after_a_time_out_there_is_no_next_question_on_that_connection() {
        let station = Station::start().await;
        station.unit().registers[10..14].copy_from_slice(&[1, 2, 3, 4]);
        let mut bus = connected(&station).await;
        station.unit().delays = vec![Duration::from_millis(300)];
        let late = bus.read(at(10)).await.unwrap_err();
        assert_eq!(late.to_string(), "read 2 registers from 10: no answer within 100 ms");
        // The answer 1, 2 is still to come; it must not be taken for this.
        assert!(matches!(bus.read(at(12)).await, Err(BusError::Connect { .. })));
        bus.connect().await.unwrap();
        assert_eq!(bus.read(at(12)).await.unwrap(), [3, 4]);
        assert_eq!(station.unit().connections, 2);
    }

    #[tokio::test]
    async fn a_short_answer_is_no_answer() {
        let station = Station::start().await;
        let mut bus = connected(&station).await;
        station.unit().short_by = 1;
        let error = bus.read(at(10)).await.unwrap_err();
        assert_eq!(error.to_string(), "read 2 registers from 10: expected 2 registers, came 1");
        assert!(matches!(bus.read(at(10)).await, Err(BusError::Connect { .. })));
    }

    #[tokio::test]
    async fn a_write_that_is_echoed_wrongly_is_not_believed() {
        let station = Station::start().await;
        let mut bus = connected(&station).await;
        bus.write(20, &[7, 8]).await.unwrap();
        assert_eq!(station.unit().registers[20..22], [7, 8]);
        station.unit().wrong_echo = true;
        assert!(matches!(bus.write(20, &[7, 8]).await, Err(BusError::Echo { .. })));
        assert!(matches!(bus.write(20, &[7, 8]).await, Err(BusError::Connect { .. })));
    }

    #[tokio::test]
    async fn a_device_that_refuses_is_named() {
        let station = Station::start().await;
        station.unit().refuses = true;
        let mut bus = connected(&station).await;
        let error = bus.read(at(10)).await.unwrap_err();
        assert_eq!(error.kind(), "modbus_exception");
        assert!(error.to_string().starts_with("read 2 registers from 10: the device answers exception"));
    }
}
