//! The commands' side of the socket.
//!
//! Blocking for its caller: a command has nothing else to do. Each fault says what a person can do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::routes::Refusal;
use super::{AskReceipt, StatusDocument, Story};
use crate::line::event::Ask;

/// Longest wait for an answer: a story may be looked up in half a year of records.
const PATIENCE: Duration = Duration::from_secs(20);

/// Largest answer: 500 passes and 1,000 chutes are far below it.
const LARGEST_ANSWER: usize = 32 * 1024 * 1024;

/// Largest claim bundle; the evidence room makes none that is larger.
const LARGEST_BUNDLE: usize = 192 * 1024 * 1024;

/// Why the daemon did not answer as asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No socket.
    #[error(
        "sortd is not running: there is no socket at {}\n  \
         start it: systemctl start sortd  (or: sortd --config DIR run)\n  \
         if it runs with another [panel] socket, give its directory with --config",
        .0.display()
    )]
    NoSocket(PathBuf),
    /// A socket without a listener.
    #[error(
        "sortd is not running: nobody answers at {}\n  \
         start it: systemctl start sortd; why it ended: journalctl -u sortd -e",
        .0.display()
    )]
    NobodyAnswers(PathBuf),
    /// Not in the group.
    #[error(
        "no permission to use {}\n  \
         join the group (usermod -aG sortd NAME, then log in again), or use sudo",
        .0.display()
    )]
    Permission(PathBuf),
    /// It took too long.
    #[error("sortd did not answer within {} s; see journalctl -u sortd -e", PATIENCE.as_secs())]
    Slow,
    /// The daemon refused, in its own words.
    #[error("{error}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// One sentence.
        error: String,
    },
    /// The other end does not speak as it should.
    #[error("the answer from {} could not be read: {fault}", path.display())]
    Answer {
        /// Socket.
        path: PathBuf,
        /// What was wrong.
        fault: String,
    },
    /// The system refused.
    #[error("cannot reach {}: {source}", path.display())]
    System {
        /// Socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A command's end of the socket.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// For this socket; nothing is opened yet.
    pub fn new(socket: &Path) -> Client {
        Client { socket: socket.to_owned() }
    }

    /// Status.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn status(&self) -> Result<StatusDocument, ClientError> {
        self.call(Method::GET, "/status", None)
    }

    /// Story of a parcel.
    ///
    /// # Errors
    /// [`ClientError`]; status 404 where the journal does not know the code.
    pub fn explain(&self, code: &str) -> Result<Story, ClientError> {
        self.call(Method::GET, &format!("/explain?code={}", query_value(code)), None)
    }

    /// Claim bundle of a parcel, a ZIP file.
    ///
    /// # Errors
    /// [`ClientError`]; status 404 where the journal does not know the code.
    pub fn evidence(&self, code: &str) -> Result<Vec<u8>, ClientError> {
        let path = format!("/v1/evidence?code={}", query_value(code));
        self.fetch(Method::GET, &path, None, LARGEST_BUNDLE).map(|bytes| bytes.to_vec())
    }

    /// An operator's question.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn ask(&self, ask: &Ask) -> Result<AskReceipt, ClientError> {
        let body = serde_json::to_vec(ask).expect("a question is strings and numbers");
        self.call(Method::POST, "/ask", Some(body))
    }

    /// A JSON answer.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, None)
    }

    /// An answer as it comes.
    pub(super) fn bytes(&self, path: &str) -> Result<Bytes, ClientError> {
        self.fetch(Method::GET, path, None, LARGEST_ANSWER)
    }

    fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<T, ClientError> {
        let answer = self.fetch(method, path, body, LARGEST_ANSWER)?;
        serde_json::from_slice(&answer).map_err(|error| self.unreadable(error))
    }

    /// The body of an answer that is none of refusal.
    fn fetch(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        largest: usize,
    ) -> Result<Bytes, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| ClientError::System { path: self.socket.clone(), source })?;
        let (status, answer) = runtime
            .block_on(async {
                tokio::time::timeout(PATIENCE, self.exchange(method, path, body, largest)).await
            })
            .map_err(|_| ClientError::Slow)??;
        if status != StatusCode::OK {
            let error = match serde_json::from_slice::<Refusal>(&answer) {
                Ok(refusal) => refusal.error,
                Err(_) => format!("sortd answered {status} to {path}"),
            };
            return Err(ClientError::Refused { status: status.as_u16(), error });
        }
        Ok(answer)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        largest: usize,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.not_reached(error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.unreadable(error))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "sortd")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|error| self.unreadable(error))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| self.unreadable(error))?;
            let status = response.status();
            let answer = Limited::new(response.into_body(), largest)
                .collect()
                .await
                .map_err(|error| self.unreadable(error))?
                .to_bytes();
            Ok((status, answer))
        };
        tokio::pin!(exchange);
        tokio::pin!(connection);
        // The connection must be driven for the exchange to go on; it may end first, once all is read.
        let mut driving = true;
        loop {
            tokio::select! {
                done = &mut exchange => return done,
                _ = &mut connection, if driving => driving = false,
            }
        }
    }

    fn not_reached(&self, source: io::Error) -> ClientError {
        let path = self.socket.clone();
        match source.kind() {
            io::ErrorKind::NotFound => ClientError::NoSocket(path),
            io::ErrorKind::ConnectionRefused => ClientError::NobodyAnswers(path),
            io::ErrorKind::PermissionDenied => ClientError::Permission(path),
            _ => ClientError::System { path, source },
        }
    }

    fn unreadable(&self, fault: impl ToString) -> ClientError {
        ClientError::Answer { path: self.socket.clone(), fault: fault.to_string() }
    }
}

/// A value for a query, percent-encoded but for the unreserved characters of RFC 3986.
fn query_value(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_survives_the_query() {
        assert_eq!(query_value("a b&c=%\u{1d}é"), "a%20b%26c%3D%25%1D%C3%A9");
    }

    #[test]
    fn each_way_of_not_running_has_its_remedy() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sortd.sock");
        assert!(matches!(Client::new(&path).status(), Err(ClientError::NoSocket(_))));
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let error = Client::new(&path).status().unwrap_err();
        assert!(matches!(error, ClientError::NobodyAnswers(_)));
        assert!(error.to_string().contains("systemctl start sortd"));
    }
}
