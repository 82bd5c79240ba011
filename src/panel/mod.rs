//! The local API on a Unix socket, and the read-only status page on loopback.
//!
//! Two doors, one view:
//!
//! * **The socket** (`/run/sortd/sortd.sock`, mode 0660, group `sortd`) is what the commands use: `GET /status`,
//!   `GET /explain?code=…`, `GET /v1/evidence?code=…`, `POST /ask`, `GET /healthz`, and the record itself
//!   ([`records`]). It is the only door through which anything can be asked
//!   of the line, and every question names its operator.
//! * **The page** is optional, HTTP on a loopback address only, and has no route that writes: `/`, `/events`
//!   (server-sent events), `/status.json`, `/metrics`, `/healthz`. It checks the `Host` header, so that a web page
//!   from elsewhere cannot read it through a name that points at 127.0.0.1.
//!
//! Invariants
//!
//! 1. Nothing here can stop or slow the line: the room reads `watch` channels and calls two closures on threads
//!    made for blocking.
//! 2. Every connection, client and body is bounded; what does not fit is refused with a sentence that says so.
//! 3. The status is built and serialised once for all readers of the page, at most five times a second.
//! 4. Strings from outside (barcodes, order numbers, operators) are data everywhere: JSON in transit, `textContent`
//!    on the page, escaped labels in the metrics.

#[cfg(test)]
pub(crate) mod browser;
pub mod client;
pub mod doors;
pub mod layout;
pub mod metrics;
mod passes;
pub mod records;
pub mod routes;
pub mod status;
pub mod story;
pub mod words;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

use crate::journal::verify::Live;
use crate::line::event::Ask;
use crate::line::record::{Alarm, Severity};
use crate::line::status::LineStatus;
use crate::site::PanelSettings;
use crate::watch::Board;

pub use layout::Layout;
pub use status::StatusDocument;
pub use story::{PassStory, Story, StoryError};

/// Id of the alarm raised while the configured page cannot be served.
const PAGE_ALARM: &str = "page-offline";

/// Looks a parcel's story up by a code; may block, so it is called on a thread for blocking work.
pub type StoryOf = Arc<dyn Fn(&str) -> Result<Story, StoryError> + Send + Sync>;

/// Hands an operator's question to the line; may block until the journal has it.
pub type AskOf = Arc<dyn Fn(Ask) -> Result<AskReceipt, AskRefused> + Send + Sync>;

/// Makes the claim bundle of a parcel, a ZIP file; may block, like [`StoryOf`].
pub type EvidenceOf = Arc<dyn Fn(&str) -> Result<Vec<u8>, StoryError> + Send + Sync>;

/// What the room shows and whom it asks.
#[derive(Clone)]
pub struct Views {
    /// The line as the core shows it, sent several times a second.
    pub line: watch::Receiver<Arc<LineStatus>>,
    /// Devices and alarms of the shell.
    pub board: Board,
    /// State of the journal, a JSON object with objects in it at most; its numbers become metrics.
    pub journal: watch::Receiver<serde_json::Value>,
    /// State of the uplink, the same; `connected: false` in it is shown as a fault.
    pub uplink: watch::Receiver<serde_json::Value>,
    /// Stories.
    pub story: StoryOf,
    /// Claim bundles.
    pub evidence: EvidenceOf,
    /// Questions.
    pub ask: AskOf,
    /// The record itself, for whoever examines it.
    pub records: Option<Live>,
    /// What this installation is.
    pub about: About,
    /// The line's drawing; sent anew when a reload changes it.
    pub layout: watch::Receiver<Arc<Layout>>,
}

/// What this installation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Site name.
    pub site: String,
    /// Line name.
    pub line: String,
    /// Starts of this installation, this one included.
    pub boot: u64,
    /// Version of the program.
    pub version: String,
    /// When this run began: wall clock, Unix microseconds.
    pub started_us: i64,
    /// Time zone of the site, IANA name.
    pub time_zone: String,
}

/// The line has taken a question. What comes of it is the PLC's to grant and stands in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskReceipt {
    /// What happens now, one sentence for the operator.
    pub said: String,
}

/// The line has not taken a question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskRefused {
    /// Not possible as asked, e.g. a chute number that is not configured.
    #[error("{0}")]
    NotPossible(String),
    /// The core's queue is full.
    #[error("the line's queue is full; ask again in a second")]
    Busy,
    /// The daemon is ending.
    #[error("the daemon is stopping; ask again when it is back")]
    Stopping,
}

/// The room cannot open.
#[derive(Debug, thiserror::Error)]
pub enum PanelError {
    /// The socket could not be opened.
    #[error(transparent)]
    Socket(#[from] doors::SocketError),
    /// A door that was open has failed.
    #[error("the {door} stopped serving: {source}")]
    Serving {
        /// Which door.
        door: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

/// Opens both doors and serves until `stop` becomes true (or its sender is gone). `ready` is told the page's real
/// address once both doors stand, `None` where there is no page.
///
/// A page that cannot be opened is an alarm, not an error: the line does not need it. A socket that cannot be opened
/// is an error, because the line could not be operated, or because another daemon has it.
///
/// # Errors
/// [`PanelError`] where the socket cannot be opened or a door fails later.
pub async fn serve(
    views: Views,
    settings: PanelSettings,
    stop: watch::Receiver<bool>,
    ready: oneshot::Sender<Option<SocketAddr>>,
) -> Result<(), PanelError> {
    let socket = doors::SocketDoor::open(&settings.socket).await?;
    let page = match settings.http {
        None => None,
        Some(address) => match doors::open_page(address).await {
            Ok(listener) => Some(listener),
            Err(error) => {
                views.board.raise(Alarm {
                    id: PAGE_ALARM.to_owned(),
                    severity: Severity::Warning,
                    text: format!("the status page is not served: {error}"),
                    remedy: "Correct [panel] http in sortd.toml, or end the program that holds the port; \
                             then restart sortd. The line does not need the page."
                        .to_owned(),
                });
                None
            }
        },
    };
    let address = page.as_ref().and_then(|door| door.address().ok());
    let shown = address.map_or_else(|| "none".to_owned(), |address| format!("http://{address}/"));
    tracing::info!(socket = %settings.socket.display(), page = shown, "panel open");
    // A daemon that no longer waits for the answer is stopping already; `stop` says so below.
    let _ = ready.send(address);

    let publisher = status::Publisher::new(views.clone());
    let feed = publisher.feed();
    let publishing = publisher.run(stop.clone());
    let local = routes::serve_socket(socket, views.clone(), stop.clone());
    let web = async {
        match page {
            Some(door) => routes::serve_page(door, views, feed, stop).await,
            None => Ok(()),
        }
    };
    let (local, web, ()) = tokio::join!(local, web, publishing);
    local.map_err(|source| PanelError::Serving { door: "socket", source })?;
    web.map_err(|source| PanelError::Serving { door: "page", source })
}

/// Resolves when `stop` becomes true or nobody can set it any more.
pub(crate) async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the sender is gone: the daemon is ending.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Where the socket is when nothing else is configured (`contracts.md`, Local).
pub fn default_socket() -> PathBuf {
    PathBuf::from("/run/sortd/sortd.sock")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use http_body_util::{BodyExt, Empty};
    use hyper::StatusCode;
    use hyper_util::rt::TokioIo;

    use super::*;
    use crate::line::ChuteNo;
    use crate::line::event::Asked;
    use crate::line::status::{ChuteStatus, EndedStatus, Sums};
    use crate::watch::Ne107;
    use client::{Client, ClientError};

    pub(super) struct Standing {
        socket: PathBuf,
        pub page: SocketAddr,
        pub line: watch::Sender<Arc<LineStatus>>,
        drawn: watch::Sender<Arc<Layout>>,
        asked: Arc<Mutex<Vec<Ask>>>,
        pub stop: watch::Sender<bool>,
        pub served: tokio::task::JoinHandle<Result<(), PanelError>>,
        _directory: tempfile::TempDir,
    }

    pub(super) const HOSTILE: &str = "</script><img src=x onerror=alert(1)>\"\\\n";

    pub(super) fn invented() -> LineStatus {
        LineStatus {
            state: "running".into(),
            plan: "a1b2".into(),
            speed_mm_s: 2000,
            sums: Sums {
                inducted: 10,
                sorted: 7,
                exceptions: BTreeMap::from([("no_read".to_owned(), 2)]),
                lost: 0,
                in_flight: 1,
                recirculated: 0,
                manual_ratio: 0.2,
            },
            chutes: vec![ChuteStatus {
                number: 7,
                name: HOSTILE.into(),
                position_mm: 9_000,
                state: "full".into(),
                set_by: None,
                filled: 40,
                reserved: 0,
                capacity: 40,
                exception: false,
            }],
            last: vec![EndedStatus {
                pass: "3-1".into(),
                key: Some(HOSTILE.into()),
                outcome: "exception".into(),
                reason: Some("no_read".into()),
                chute: None,
            }],
            ..LineStatus::default()
        }
    }

    fn drawing(reader: &str) -> Layout {
        let reader = layout::ReaderPlace { name: reader.into(), tag: false, start_mm: 500, end_mm: 900 };
        let chute = layout::ChutePlace {
            number: 7,
            name: HOSTILE.into(),
            position_mm: 9_000,
            exception: false,
            destinations: vec![HOSTILE.into()],
        };
        Layout {
            length_mm: 24_000,
            speed_mm_s: 2000,
            readers: vec![reader],
            chutes: vec![chute],
            ..Layout::default()
        }
    }

    pub(super) async fn stand() -> Standing {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("sortd.sock");
        let (line, line_seen) = watch::channel(Arc::new(invented()));
        let (_, journal) = watch::channel(serde_json::json!({"durable": 12, "store": "open"}));
        let (_, uplink) = watch::channel(
            serde_json::json!({"connected": true, "backlog": 3, "downstream": {"accepted": 9}}),
        );
        let (drawn, layout) = watch::channel(Arc::new(drawing("induction")));
        let board = Board::default();
        board.device("scan-top", Ne107::Failure, "hung up", "Check the cable.");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let asked_here = Arc::clone(&asked);
        let views = Views {
            line: line_seen,
            board,
            journal,
            uplink,
            story: Arc::new(|code| Err(StoryError::NotFound { code: code.to_owned(), from: None })),
            evidence: Arc::new(|code| match code {
                "KNOWN" => Ok(b"PK bundle".to_vec()),
                code => Err(StoryError::NotFound { code: code.to_owned(), from: None }),
            }),
            records: None,
            ask: Arc::new(move |ask| {
                if ask.what == Asked::ChuteLock(ChuteNo(404)) {
                    return Err(AskRefused::NotPossible("no chute has the number 404".into()));
                }
                asked_here.lock().unwrap().push(ask);
                Ok(AskReceipt { said: "asked".into() })
            }),
            about: About {
                site: "dongguan".into(),
                line: "l1".into(),
                boot: 4,
                version: "0.1.0".into(),
                started_us: 0,
                time_zone: "UTC".into(),
            },
            layout,
        };
        let settings = PanelSettings { socket: socket.clone(), http: Some("127.0.0.1:0".parse().unwrap()) };
        let (stop, stopping) = watch::channel(false);
        let (ready, is_ready) = oneshot::channel();
        let served = tokio::spawn(serve(views, settings, stopping, ready));
        let page = is_ready.await.unwrap().unwrap();
        Standing { socket, page, line, drawn, asked, stop, served, _directory: directory }
    }

    async fn request(
        page: SocketAddr,
        method: &str,
        path: &str,
        host: &str,
    ) -> hyper::Response<hyper::body::Incoming> {
        let stream = tokio::net::TcpStream::connect(page).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("host", host)
            .body(Empty::<hyper::body::Bytes>::new())
            .unwrap();
        sender.send_request(request).await.unwrap()
    }

    async fn get(page: SocketAddr, path: &str) -> (StatusCode, String) {
        let response = request(page, "GET", path, "127.0.0.1").await;
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Commands block, so they run on a thread of their own.
    async fn on_socket<T: Send + 'static>(
        socket: &std::path::Path,
        call: impl FnOnce(Client) -> T + Send + 'static,
    ) -> T {
        let client = Client::new(socket);
        tokio::task::spawn_blocking(move || call(client)).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_commands_ask_and_are_answered() {
        let standing = stand().await;
        let document = on_socket(&standing.socket, |client| client.status()).await.unwrap();
        assert_eq!(document.line, invented());
        assert_eq!(document.alarms[0].id, "scan-top-offline");
        let told = crate::commands::status::text(&document);
        assert!(told.contains("10 inducted = 7 sorted + 2 exceptions + 0 lost + 1 on the belt"), "{told}");

        let refused = on_socket(&standing.socket, |client| client.explain("A b&c")).await.unwrap_err();
        assert!(matches!(&refused, ClientError::Refused { status: 404, error } if error.contains("A b&c")));

        let bundle = on_socket(&standing.socket, |client| client.evidence("KNOWN")).await.unwrap();
        assert_eq!(bundle, b"PK bundle");
        let refused = on_socket(&standing.socket, |client| client.evidence("A")).await.unwrap_err();
        assert!(matches!(refused, ClientError::Refused { status: 404, .. }));

        let lock = |chute| Ask { by: "李伟".into(), what: Asked::ChuteLock(ChuteNo(chute)) };
        on_socket(&standing.socket, move |client| client.ask(&lock(7))).await.unwrap();
        assert_eq!(*standing.asked.lock().unwrap(), [lock(7)]);
        let refused = on_socket(&standing.socket, move |client| client.ask(&lock(404))).await.unwrap_err();
        assert!(matches!(refused, ClientError::Refused { status: 409, .. }));
        let nobody = Ask { by: String::new(), what: Asked::LineStart };
        let refused = on_socket(&standing.socket, move |client| client.ask(&nobody)).await.unwrap_err();
        assert!(matches!(refused, ClientError::Refused { status: 400, .. }));
        assert_eq!(standing.asked.lock().unwrap().len(), 1, "what is refused does not reach the line");

        standing.stop.send(true).unwrap();
        standing.served.await.unwrap().unwrap();
        assert!(!standing.socket.exists());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_page_reads_only_and_only_from_here() {
        let standing = stand().await;
        let page = standing.page;
        let (status, html) = get(page, "/").await;
        assert_eq!(status, StatusCode::OK);
        assert!(!html.contains("{nonce}"), "the nonce is filled in");
        for outside in ["http://", "https://", "@import", "url(h"] {
            let allowed = html.replace("http://www.w3.org/2000/svg", "");
            assert!(!allowed.contains(outside), "the page is one file, without {outside}");
        }
        assert!(
            !html.contains("innerHTML")
                && !html.contains("insertAdjacentHTML")
                && !html.contains("document.write")
        );
        let (_, json) = get(page, "/status.json").await;
        let document: StatusDocument = serde_json::from_str(&json).unwrap();
        assert_eq!(document.line, invented());
        assert_eq!(get(page, "/healthz").await, (StatusCode::OK, "ok\n".to_owned()));

        for path in ["/ask", "/explain", "/status"] {
            assert_eq!(get(page, path).await.0, StatusCode::NOT_FOUND, "{path} is the socket's");
        }
        for path in ["/", "/status.json", "/events", "/metrics", "/healthz"] {
            let response = request(page, "POST", path, "127.0.0.1").await;
            assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        }
        for path in ["/", "/events", "/nowhere"] {
            let response = request(page, "GET", path, "sortd.attacker.example").await;
            assert_eq!(response.status(), StatusCode::MISDIRECTED_REQUEST, "{path}");
        }
        let response = request(page, "GET", "/", "localhost:80").await;
        let policy = response.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn metrics_escape_what_came_from_outside() {
        let standing = stand().await;
        let (_, text) = get(standing.page, "/metrics").await;
        for expected in [
            "sortd_inducted_total 10",
            "sortd_exceptions_total{reason=\"no_read\"} 2",
            "sortd_chutes{state=\"full\"} 1",
            "sortd_device_state{device=\"scan-top\",state=\"failure\"} 1",
            "sortd_alarms{severity=\"critical\"} 1",
            "sortd_uplink_backlog 3",
            "sortd_uplink_connected 1",
            "sortd_uplink_downstream_accepted 9",
            "name=\"</script><img src=x onerror=alert(1)>\\\"\\\\\\n\"",
        ] {
            assert!(text.contains(expected), "{expected} in\n{text}");
        }
        for line in text.lines() {
            assert!(
                line.starts_with('#') || line.rsplit_once(' ').is_some_and(|(_, v)| v.parse::<f64>().is_ok()),
                "{line}"
            );
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_feed_sends_the_layout_and_then_what_changes() {
        let standing = stand().await;
        let mut body = request(standing.page, "GET", "/events", "127.0.0.1").await.into_body();
        let mut heard = String::new();
        let mut until = async |wanted: &str| {
            while !heard.contains(wanted) {
                let frame = body.frame().await.expect("the feed goes on").unwrap();
                heard.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
            }
        };
        until("event: layout").await;
        until("\"inducted\":10").await;
        let mut next = invented();
        next.sums.inducted = 11;
        standing.line.send(Arc::new(next)).unwrap();
        until("\"inducted\":11").await;
        standing.drawn.send(Arc::new(drawing("moved"))).unwrap();
        until("\"moved\"").await;
        // A feed that is open does not keep the daemon from ending.
        standing.stop.send(true).unwrap();
        standing.served.await.unwrap().unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn screens_are_bounded() {
        let standing = stand().await;
        let mut open = Vec::new();
        loop {
            let response = request(standing.page, "GET", "/events", "127.0.0.1").await;
            if response.status() == StatusCode::SERVICE_UNAVAILABLE {
                break;
            }
            assert_eq!(response.status(), StatusCode::OK);
            open.push(response);
            assert!(open.len() <= 16, "there is a limit");
        }
        assert_eq!(open.len(), 16);
        assert_eq!(get(standing.page, "/healthz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn the_age_of_the_core_starts_anew_when_it_shows_itself() {
        let (line, seen) = watch::channel(Arc::new(LineStatus::default()));
        let freshness = status::Freshness::watch(seen);
        while freshness.age().as_millis() < 20 {
            tokio::task::yield_now().await;
        }
        let silent = freshness.age();
        line.send(Arc::new(LineStatus::default())).unwrap();
        while freshness.age() >= silent {
            tokio::task::yield_now().await;
        }
        let views = StatusDocument { line_age_ms: status::LINE_STALE_MS, ..document() };
        assert!(!views.line_is_fresh());
    }

    fn document() -> StatusDocument {
        serde_json::from_value(serde_json::json!({
            "at_us": 0, "line_age_ms": 0, "line": LineStatus::default(), "alarms": [], "devices": {},
            "journal": {}, "uplink": {},
            "about": {"site": "s", "line": "l", "boot": 1, "version": "0", "started_us": 0, "time_zone": "UTC"},
        }))
        .unwrap()
    }
}
