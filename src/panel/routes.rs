//! Who may ask what at which door.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::sse::{self, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};

use super::doors::{PageDoor, Peer, SocketDoor};
use super::status::{Feed, Freshness, StatusDocument};
use super::{AskRefused, RecordedQuestion, StoryError, Views, metrics, records, stopped};
use crate::line::event::{Ask, Asked};

/// The page, one file. `{nonce}` is replaced at the start, see [`page_headers`].
const PAGE: &str = include_str!("page.html");

/// Readers of the live feed at one time: wall screens and a few phones.
const MOST_READERS: usize = 16;

/// Stories being looked up at one time: each may read a lot of the store.
const MOST_STORIES: usize = 2;

/// Claim bundles being made at one time: each is held in memory whole.
const MOST_BUNDLES: usize = 1;

/// Longest body of a question, bytes; the longest real one is a code and a name.
const LONGEST_BODY: usize = 4096;

/// Longest code anybody can ask for, bytes: more than the longest GS1 element string of a label.
const LONGEST_CODE: usize = 256;

/// Longest operator name, characters.
const LONGEST_NAME: usize = 64;

/// Connections still open after this long at the end are cut.
const FAREWELL: Duration = Duration::from_secs(2);

/// An answer that is not the thing asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// One sentence.
    pub error: String,
}

pub(super) fn refuse(status: StatusCode, error: impl ToString) -> Response {
    (status, axum::Json(Refusal { error: error.to_string() })).into_response()
}

#[derive(Clone)]
struct Local {
    views: Views,
    freshness: Freshness,
    stories: Arc<Semaphore>,
    bundles: Arc<Semaphore>,
}

/// Serves the socket until stopped.
///
/// # Errors
/// The listener's.
pub async fn serve_socket(
    door: SocketDoor,
    views: Views,
    stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let freshness = Freshness::watch(views.line.clone());
    let stories = Arc::new(Semaphore::new(MOST_STORIES));
    let local = Local { views, freshness, stories, bundles: Arc::new(Semaphore::new(MOST_BUNDLES)) };
    let routes = Router::new()
        .route("/status", get(status))
        .route("/explain", get(explain))
        .route("/v1/evidence", get(evidence))
        .route("/ask", post(ask))
        .route("/v1/journal/recorded", post(recorded))
        .route("/healthz", get(local_health))
        .merge(records::routes(local.views.records.clone()))
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .with_state(local)
        .into_make_service_with_connect_info::<Peer>();
    let serving = axum::serve(door, routes).with_graceful_shutdown(stopped(stop.clone()));
    until_farewell(serving.into_future(), stop).await
}

impl Connected<IncomingStream<'_, SocketDoor>> for Peer {
    fn connect_info(stream: IncomingStream<'_, SocketDoor>) -> Peer {
        *stream.remote_addr()
    }
}

async fn until_farewell(
    serving: impl Future<Output = std::io::Result<()>>,
    stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let farewell = async {
        stopped(stop).await;
        tokio::time::sleep(FAREWELL).await;
    };
    tokio::select! {
        served = serving => served,
        () = farewell => Ok(()),
    }
}

async fn status(State(local): State<Local>) -> Response {
    axum::Json(StatusDocument::of(&local.views, local.freshness.age())).into_response()
}

async fn local_health(State(local): State<Local>) -> Response {
    health(&local.freshness)
}

fn health(freshness: &Freshness) -> Response {
    let age = freshness.age();
    if age < Duration::from_millis(super::status::LINE_STALE_MS) {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        let text = format!("the core has not shown itself for {} s\n", age.as_secs());
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

#[derive(Deserialize)]
struct Explain {
    code: String,
}

async fn explain(State(local): State<Local>, Query(question): Query<Explain>) -> Response {
    let story_of = Arc::clone(&local.views.story);
    let told = look_up(&local.stories, question, move |code| story_of(code)).await;
    told.map_or_else(|refusal| refusal, |story| axum::Json(story).into_response())
}

async fn evidence(State(local): State<Local>, Query(question): Query<Explain>) -> Response {
    let evidence_of = Arc::clone(&local.views.evidence);
    let made = look_up(&local.bundles, question, move |code| evidence_of(code)).await;
    made.map_or_else(
        |refusal| refusal,
        |bundle| ([(header::CONTENT_TYPE, "application/zip")], bundle).into_response(),
    )
}

/// Looks something up by a code, on a thread for blocking work, while there is a permit for it.
async fn look_up<T: Send + 'static>(
    permits: &Arc<Semaphore>,
    question: Explain,
    look: impl FnOnce(&str) -> Result<T, StoryError> + Send + 'static,
) -> Result<T, Response> {
    let code = question.code.trim().to_owned();
    check_code(&code).map_err(|fault| refuse(StatusCode::BAD_REQUEST, fault))?;
    let Ok(permit) = Arc::clone(permits).try_acquire_owned() else {
        return Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "others are being looked up; ask again"));
    };
    let told = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        look(&code)
    })
    .await;
    match told {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error @ StoryError::NotFound { .. })) => Err(refuse(StatusCode::NOT_FOUND, error)),
        Ok(Err(error @ StoryError::NotOpen)) => Err(refuse(StatusCode::SERVICE_UNAVAILABLE, error)),
        Ok(Err(error @ StoryError::Store(_))) => Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, error)),
        Err(_) => Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, "the look-up failed; see the daemon's log")),
    }
}

async fn recorded(State(local): State<Local>, body: Bytes) -> Response {
    let question: RecordedQuestion = match serde_json::from_slice(&body) {
        Ok(question) => question,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, format!("not a question: {error}")),
    };
    let Ok(permit) = Arc::clone(&local.stories).try_acquire_owned() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the store is being looked through; ask again");
    };
    let answer_of = Arc::clone(&local.views.recorded);
    let answered = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        answer_of(question)
    })
    .await;
    match answered {
        Ok(Ok(answer)) => axum::Json(answer).into_response(),
        Ok(Err(error)) => refuse(StatusCode::NOT_FOUND, error),
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "the look-up failed; see the daemon's log"),
    }
}

async fn ask(State(local): State<Local>, ConnectInfo(peer): ConnectInfo<Peer>, body: Bytes) -> Response {
    let ask: Ask = match serde_json::from_slice(&body) {
        Ok(ask) => ask,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, format!("not a question: {error}")),
    };
    if let Err(error) = check_ask(&ask) {
        return refuse(StatusCode::BAD_REQUEST, error);
    }
    let (by, what) = (ask.by.clone(), super::words::asked(&ask.what));
    let asking = Arc::clone(&local.views.ask);
    let answer = tokio::task::spawn_blocking(move || asking(ask)).await;
    match answer {
        Ok(Ok(receipt)) => {
            tracing::info!(%by, what, uid = peer.uid, "operator");
            axum::Json(receipt).into_response()
        }
        Ok(Err(error)) => {
            tracing::info!(%by, what, uid = peer.uid, why = %error, "operator, refused");
            let status = match error {
                AskRefused::NotPossible(_) => StatusCode::CONFLICT,
                AskRefused::Busy | AskRefused::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            };
            refuse(status, error)
        }
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "asking failed; see the daemon's log"),
    }
}

/// What is wrong with a question.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskFault {
    /// Nobody asks.
    #[error("no operator is named; give --by NAME")]
    Nobody,
    /// No name looks like that.
    #[error("an operator's name has at most {LONGEST_NAME} characters and no control characters")]
    Name,
    /// No code looks like that.
    #[error("a code has 1 to {LONGEST_CODE} bytes and no control characters")]
    Code,
}

/// No code of a parcel has this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a code has 1 to {LONGEST_CODE} bytes, not {0}")]
pub struct CodeLength(usize);

/// Whether a code can be looked for; also asked by the commands before they ask for it.
///
/// # Errors
/// [`CodeLength`].
pub fn check_code(code: &str) -> Result<(), CodeLength> {
    let bytes = code.trim().len();
    if (1..=LONGEST_CODE).contains(&bytes) { Ok(()) } else { Err(CodeLength(bytes)) }
}

/// Whether a question is well-formed; also asked by the commands before they send it.
///
/// # Errors
/// [`AskFault`].
pub fn check_ask(ask: &Ask) -> Result<(), AskFault> {
    if ask.by.trim().is_empty() {
        return Err(AskFault::Nobody);
    }
    if ask.by.chars().count() > LONGEST_NAME || ask.by.chars().any(char::is_control) {
        return Err(AskFault::Name);
    }
    match &ask.what {
        Asked::ParcelFound(code) | Asked::ParcelRemoved(code) | Asked::ParcelDamaged(code) => {
            let odd = code.trim().is_empty()
                || code.len() > LONGEST_CODE
                || code.chars().any(|c| c.is_control() && c != '\u{1d}');
            if odd { Err(AskFault::Code) } else { Ok(()) }
        }
        Asked::LineStart
        | Asked::LineStop
        | Asked::LinePurge
        | Asked::ChuteLock(_)
        | Asked::ChuteUnlock(_)
        | Asked::ChuteClose(_)
        | Asked::ChuteChanged(_) => Ok(()),
    }
}

#[derive(Clone)]
struct Page {
    views: Views,
    feed: Feed,
    readers: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
    html: Arc<str>,
    policy: HeaderValue,
}

/// Serves the page until stopped. None of its routes writes.
///
/// # Errors
/// The listener's.
pub async fn serve_page(
    door: PageDoor,
    views: Views,
    feed: Feed,
    stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    // Only this file's own script may run, whatever text it is shown.
    let nonce = format!("{:032x}", rand::random::<u128>());
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let page = Page {
        feed,
        readers: Arc::new(Semaphore::new(MOST_READERS)),
        stop: stop.clone(),
        html: Arc::from(PAGE.replace("{nonce}", &nonce)),
        policy: HeaderValue::from_str(&policy).expect("hex digits and fixed ASCII make a header"),
        views,
    };
    let routes = Router::new()
        .route("/", get(show_page))
        .route("/events", get(events))
        .route("/status.json", get(page_status))
        .route("/metrics", get(page_metrics))
        .route("/healthz", get(page_health))
        .layer(middleware::from_fn_with_state(page.clone(), page_headers))
        .layer(DefaultBodyLimit::max(0))
        .with_state(page);
    let serving = axum::serve(door, routes).with_graceful_shutdown(stopped(stop.clone()));
    until_farewell(serving.into_future(), stop).await
}

/// Refuses names that are not this machine's own loopback (DNS rebinding), and tells the browser to trust nothing.
async fn page_headers(State(page): State<Page>, request: Request, next: Next) -> Response {
    if !host_is_loopback(request.headers()) {
        return refuse(
            StatusCode::MISDIRECTED_REQUEST,
            "ask for this page as 127.0.0.1, [::1] or localhost; other names are refused",
        );
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, page.policy);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whether exactly one `Host` header names a loopback address.
fn host_is_loopback(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(host) = host.to_str() else { return false };
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    if let Some(bracketed) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return bracketed.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        Some(_) => return false,
        None => host,
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

async fn show_page(State(page): State<Page>) -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page.html.to_string()).into_response()
}

async fn page_status(State(page): State<Page>) -> Response {
    axum::Json(StatusDocument::of(&page.views, page.feed.freshness.age())).into_response()
}

async fn page_health(State(page): State<Page>) -> Response {
    health(&page.feed.freshness)
}

async fn page_metrics(State(page): State<Page>) -> Response {
    let document = StatusDocument::of(&page.views, page.feed.freshness.age());
    let text = metrics::text(&document);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// The layout at once and when it changes, and each status document; a slow reader skips to the newest.
async fn events(State(page): State<Page>) -> Response {
    let Ok(permit) = Arc::clone(&page.readers).try_acquire_owned() else {
        let mut response = refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{MOST_READERS} screens are watching already; close one"),
        );
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        return response;
    };
    let latest = page.feed.subscribe();
    let mut layout = page.views.layout.clone();
    layout.mark_changed();
    let state = (layout, latest, page.stop, permit);
    let stream = stream::unfold(state, |(mut layout, mut latest, stop, permit)| async move {
        let event = tokio::select! {
            biased;
            () = stopped(stop.clone()) => return None,
            // Nobody is left to change it: the branch is off, the status goes on.
            Ok(()) = layout.changed() => {
                let drawing = Arc::clone(&layout.borrow_and_update());
                sse::Event::default().event("layout").data(serde_json::to_string(&*drawing).ok()?)
            }
            changed = latest.changed() => {
                changed.ok()?;
                let document = Arc::clone(&latest.borrow_and_update());
                sse::Event::default().event("status").data(&*document)
            }
        };
        Some((Ok::<_, Infallible>(event), (layout, latest, stop, permit)))
    });
    Sse::new(stream).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::ChuteNo;

    fn host(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn only_loopback_names_are_hosts() {
        for good in
            ["127.0.0.1:8080", "127.0.0.1", "localhost:1", "LOCALHOST", "[::1]:80", "[::1]", "127.1.2.3:9"]
        {
            assert!(host_is_loopback(&host(good)), "{good}");
        }
        for bad in
            ["evil.example", "evil.example:8080", "10.0.0.1:80", "localhost.evil:80", "127.0.0.1:99999", ""]
        {
            assert!(!host_is_loopback(&host(bad)), "{bad}");
        }
        assert!(!host_is_loopback(&HeaderMap::new()));
        let mut two = host("localhost");
        two.append(header::HOST, HeaderValue::from_static("evil.example"));
        assert!(!host_is_loopback(&two));
    }

    #[test]
    fn a_question_needs_a_name_and_a_code() {
        let ask = |by: &str, what| Ask { by: by.to_owned(), what };
        assert_eq!(check_ask(&ask(" ", Asked::LineStart)), Err(AskFault::Nobody));
        assert_eq!(check_ask(&ask("a\nb", Asked::LineStart)), Err(AskFault::Name));
        assert_eq!(check_ask(&ask(&"x".repeat(65), Asked::LineStop)), Err(AskFault::Name));
        assert_eq!(check_ask(&ask("li", Asked::ParcelFound(String::new()))), Err(AskFault::Code));
        assert_eq!(check_ask(&ask("li", Asked::ParcelFound("\u{1b}[2J".into()))), Err(AskFault::Code));
        assert_eq!(check_ask(&ask("李伟", Asked::ChuteLock(ChuteNo(3)))), Ok(()));
        assert_eq!(check_ask(&ask("li", Asked::ParcelFound("01095\u{1d}21".into()))), Ok(()));
    }
}
