//! The serial port itself: opening it, and what it held before.

use thiserror::Error;
use tokio_serial::{SerialPort, SerialPortBuilderExt, SerialStream};

use crate::site::ScannerDevice;

/// Bytes thrown away at opening at most; a port that brings more is talking, not stale.
const STALE_MOST: usize = 64 * 1_024;

/// Why a port cannot be used.
#[derive(Debug, Error)]
pub(super) enum PortError {
    #[error("{port}: cannot open: {source}")]
    Open { port: String, source: tokio_serial::Error },
    #[error("the port is gone")]
    Gone,
    #[error("reading: {0}")]
    Read(std::io::Error),
    #[error("no byte for {ms} ms, a heartbeat was due")]
    Silent { ms: u64 },
}

impl PortError {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            PortError::Open { .. } => "open",
            PortError::Gone | PortError::Read(_) => "disconnected",
            PortError::Silent { .. } => "silent",
        }
    }
}

/// Opens the port, for this process alone, 8 data bits, no parity, 1 stop bit, no flow control.
pub(super) fn open(settings: &ScannerDevice) -> Result<SerialStream, PortError> {
    let port = settings.port.to_string_lossy().into_owned();
    tokio_serial::new(port.clone(), settings.baud)
        .exclusive(true)
        .open_native_async()
        .map_err(|source| PortError::Open { port, source })
}

/// Bytes that have come and were not read yet.
pub(super) fn waiting(port: &SerialStream) -> Result<u32, PortError> {
    port.bytes_to_read().map_err(|error| PortError::Read(std::io::Error::other(error.to_string())))
}

/// What waits in a port that has just been opened.
pub(super) fn stale_bytes(port: &mut SerialStream) -> Result<Vec<u8>, PortError> {
    let mut stale = Vec::new();
    let mut buffer = [0_u8; 1_024];
    while stale.len() < STALE_MOST {
        if waiting(port)? == 0 {
            break;
        }
        match port.try_read(&mut buffer) {
            Ok(0) => return Err(PortError::Gone),
            Ok(count) => stale.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(PortError::Read(error)),
        }
    }
    Ok(stale)
}
