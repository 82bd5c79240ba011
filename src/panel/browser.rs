//! The page in a real browser: headless Chromium, driven over the WebDriver protocol (W3C WebDriver, sections 7 to 13).
//!
//! Needs Debian's `chromium` and `chromium-driver`; without them the test is skipped with a line that says so, and
//! fails instead where `SORTD_TEST_ALL` is set.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::tests::{HOSTILE, invented, stand};
use crate::line::status::PassStatus;

/// Longest wait for the browser; reached only where something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at the page.
const LOOK_PERIOD: Duration = Duration::from_millis(50);

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}

pub(crate) struct Browser {
    port: u16,
    session: String,
    _driver: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// `None` where no browser is installed.
    pub(crate) async fn start() -> Option<Browser> {
        let (Some(chromium), Some(driver)) = (find("chromium"), find("chromedriver")) else {
            let words = "no browser (Debian: apt-get install chromium chromium-driver)";
            assert!(std::env::var_os("SORTD_TEST_ALL").is_none(), "{words}");
            eprintln!("skipped: {words}");
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        let mut driver = Command::new(driver)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = loop {
            let line = tokio::time::timeout(PATIENCE, said.next_line()).await.unwrap().unwrap().unwrap();
            if let Some((_, port)) = line.split_once("successfully on port ") {
                break port.trim_end_matches('.').parse().unwrap();
            }
        };
        let mut arguments = vec![format!("--user-data-dir={}", profile.path().display())];
        arguments.extend(
            [
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--lang=en-US",
                "--window-size=1920,1080",
            ]
            .map(str::to_owned),
        );
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"binary": chromium, "args": arguments},
        }}});
        let answer = call(port, "POST", "/session", &wanted).await;
        let session =
            answer["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {answer}")).to_owned();
        Some(Browser { port, session, _driver: driver, _profile: profile })
    }

    pub(crate) async fn open(&self, url: &str) {
        call(self.port, "POST", &format!("/session/{}/url", self.session), &json!({"url": url})).await;
    }

    /// What the window shows, a PNG in base64.
    pub(crate) async fn picture(&self) -> String {
        let path = format!("/session/{}/screenshot", self.session);
        let picture = call(self.port, "GET", &path, &Value::Null).await;
        picture.as_str().unwrap_or_else(|| panic!("no picture: {picture}")).to_owned()
    }

    /// The value of a script's `return`.
    pub(crate) async fn script(&self, script: &str) -> Value {
        let path = format!("/session/{}/execute/sync", self.session);
        call(self.port, "POST", &path, &json!({"script": script, "args": []})).await
    }

    /// Looks until the script's value is as wanted.
    async fn until(&self, script: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut seen = Value::Null;
        let looking = async {
            loop {
                seen = self.script(script).await;
                if wanted(&seen) {
                    break;
                }
                tokio::time::sleep(LOOK_PERIOD).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, looking).await.is_ok();
        assert!(in_time, "{script} is {seen}");
        seen
    }

    /// Ends the browser; the driver ends when dropped.
    pub(crate) async fn close(self) {
        call(self.port, "DELETE", &format!("/session/{}", self.session), &Value::Null).await;
    }
}

async fn call(port: u16, method: &str, path: &str, body: &Value) -> Value {
    let asking = async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "127.0.0.1")
            .header("content-type", "application/json")
            .header("content-length", body.len())
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let answer =
            sender.send_request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
        let mut answer: Value = serde_json::from_slice(&answer).unwrap();
        answer["value"].take()
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_draws_the_line_and_says_when_it_is_not_live() {
    let Some(browser) = Browser::start().await else { return };
    let standing = stand().await;
    let mut line = invented();
    line.passes = vec![PassStatus {
        pass: "3-9".into(),
        position_mm: 4_000,
        length_mm: 400,
        key: Some(HOSTILE.into()),
        to: Some(HOSTILE.into()),
        reason: None,
    }];
    standing.line.send(Arc::new(line)).unwrap();
    browser.open(&format!("http://{}/", standing.page)).await;

    browser.until("return document.getElementById('live').className", |v| v == "pill ok").await;
    browser.until("return document.querySelectorAll('svg .chute.s-full').length", |v| v == 1).await;
    browser.until("return document.querySelectorAll('svg .parcel.bound').length", |v| v == 1).await;
    let state = browser.script("return document.getElementById('state').textContent").await;
    assert_eq!(state, "▶ Running");

    // A parcel moves between two messages, by the belt's speed.
    let place = "return document.querySelector('svg .parcel').getAttribute('transform')";
    let before = browser.script(place).await;
    browser.until(place, |now| *now != before).await;

    // What a label says is text: shown as it is, and nothing of it runs.
    let shown = browser.script("return document.querySelector('#last .what').textContent").await;
    assert_eq!(shown, HOSTILE);
    assert_eq!(browser.script("return document.images.length").await, 0);
    assert_eq!(browser.script("return document.scripts.length").await, 1);

    browser.script("document.getElementById('language').click()").await;
    let alarms = browser.script("return document.querySelector('[data-t=alarms]').textContent").await;
    assert_eq!(alarms, "报警");

    // The page says by itself that it has lost the line.
    standing.stop.send(true).unwrap();
    standing.served.await.unwrap().unwrap();
    browser.until("return document.body.classList.contains('stale')", |v| v == true).await;
    let banner = browser.script("return getComputedStyle(document.getElementById('banner')).display").await;
    assert_eq!(banner, "block");
    browser.close().await;
}
