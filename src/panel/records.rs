//! The record itself, for `sortd verify` and whoever else examines a running line: read-only routes of the socket,
//! and the command's end of them.
//!
//! | route | answer |
//! |---|---|
//! | `/v1/journal/days` | JSON: days with their links, what else knows how far the records went, and the books of what is gone |
//! | `/v1/journal/frames?from=N&max=M` | frames as they stand in the store, each behind its number (8 bytes) and its length (4 bytes), big-endian |
//! | `/v1/journal/anchors?after=N&max=M` | JSON: anchors as they are published |
//!
//! Every answer is bounded, in number and in bytes; whoever asks goes on behind what came. Damage that reading comes
//! upon is answered with 422, so that it can be told from a request that could not be served.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::client::{Client, ClientError};
use super::routes::refuse;
use crate::journal::anchor::{Anchor, Document};
use crate::journal::verify::{Books, Live, Source, SourceError, Witness};
use crate::journal::{DaySpan, Frame};

/// Frames of one answer at most …
const MOST_FRAMES: usize = 8_192;
/// … and bytes, but for the last frame.
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// Anchors of one answer at most; each is about 500 bytes of JSON.
const MOST_ANCHORS: usize = 4_096;
/// Answers that are being put together at one time: each reads the store.
const MOST_READERS: usize = 2;
/// Number and length before each frame.
const FRAME_HEADER: usize = 12;

#[derive(Clone)]
struct Records {
    live: Live,
    readers: Arc<Semaphore>,
}

/// The routes. Where there is no journal, none of them answers.
pub fn routes<S: Clone + Send + Sync + 'static>(live: Option<Live>) -> Router<S> {
    let Some(live) = live else { return Router::new() };
    Router::new()
        .route("/v1/journal/days", get(days))
        .route("/v1/journal/frames", get(frames))
        .route("/v1/journal/anchors", get(anchors))
        .with_state(Records { live, readers: Arc::new(Semaphore::new(MOST_READERS)) })
}

/// Answer of `/v1/journal/days`.
#[derive(Debug, Serialize, Deserialize)]
struct Standing {
    days: Vec<DaySpan>,
    witnesses: Vec<Witness>,
    findings: Vec<String>,
    notes: Vec<String>,
    /// A daemon of an earlier version does not say.
    #[serde(default)]
    books: Option<Books>,
}

/// Answer of `/v1/journal/anchors`.
#[derive(Debug, Serialize, Deserialize)]
struct Anchors {
    /// Number of the newest one.
    newest: u64,
    anchors: Vec<Document>,
}

#[derive(Deserialize)]
struct From {
    from: u64,
    max: usize,
}

#[derive(Deserialize)]
struct After {
    after: u64,
    max: usize,
}

async fn days(State(records): State<Records>) -> Response {
    reading(records, |live| {
        // Witnesses before days: the store goes on meanwhile, and they must not know more than is read.
        let witnesses = live.witnesses()?;
        let (findings, notes) = live.others()?;
        // Books behind the days: what is deleted meanwhile is missed by the examination, which then begins anew.
        let days = live.days()?;
        let standing = Standing { days, witnesses, findings, notes, books: live.books()? };
        Ok(axum::Json(standing).into_response())
    })
    .await
}

async fn frames(State(records): State<Records>, Query(asked): Query<From>) -> Response {
    reading(records, move |live| {
        let mut bytes = Vec::new();
        // In small helpings, so that long records do not fill the memory before they are counted.
        let mut left = asked.max.min(MOST_FRAMES);
        let mut from = asked.from;
        while left > 0 && bytes.len() < MOST_BYTES {
            let helping = live.frames(from, left.min(256));
            let helping = match helping {
                // What was read before the damage is given first; asked again, it comes at once.
                Err(SourceError::Damaged(_)) if !bytes.is_empty() => break,
                other => other?,
            };
            let Some(last) = helping.last() else { break };
            from = last.seq + 1;
            left = left.saturating_sub(helping.len());
            for frame in helping {
                let length = u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX);
                bytes.extend_from_slice(&frame.seq.to_be_bytes());
                bytes.extend_from_slice(&length.to_be_bytes());
                bytes.extend_from_slice(&frame.bytes);
            }
        }
        Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
    })
    .await
}

async fn anchors(State(records): State<Records>, Query(asked): Query<After>) -> Response {
    reading(records, move |live| {
        let newest = live.newest_anchor();
        let found = live.anchors_after(asked.after, asked.max.min(MOST_ANCHORS));
        let found = found.map_err(|error| SourceError::Failed(error.to_string()))?;
        let anchors = found.iter().map(Anchor::document).collect();
        Ok(axum::Json(Anchors { newest, anchors }).into_response())
    })
    .await
}

/// Reads where blocking is allowed, a few at a time.
async fn reading(
    records: Records,
    read: impl FnOnce(&Live) -> Result<Response, SourceError> + Send + 'static,
) -> Response {
    let Ok(permit) = Arc::clone(&records.readers).acquire_owned().await else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the panel is closing");
    };
    let answer = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        read(&records.live)
    });
    match answer.await {
        Ok(Ok(response)) => response,
        Ok(Err(SourceError::Damaged(what))) => refuse(StatusCode::UNPROCESSABLE_ENTITY, what),
        Ok(Err(SourceError::Failed(what))) => refuse(StatusCode::SERVICE_UNAVAILABLE, what),
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "reading failed; see the daemon's log"),
    }
}

impl std::convert::From<ClientError> for SourceError {
    fn from(error: ClientError) -> SourceError {
        match error {
            ClientError::Refused { status: 422, error } => SourceError::Damaged(error),
            other => SourceError::Failed(other.to_string()),
        }
    }
}

impl Source for Client {
    fn days(&self) -> Result<Vec<DaySpan>, SourceError> {
        Ok(self.get::<Standing>("/v1/journal/days")?.days)
    }

    fn damaged_days(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn frames(&self, from: u64, max: usize) -> Result<Vec<Frame>, SourceError> {
        let bytes = self.bytes(&format!("/v1/journal/frames?from={from}&max={max}"))?;
        let cut = || SourceError::Failed("the answer ends in the middle of a frame".to_owned());
        let mut frames = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (head, behind) = rest.split_at_checked(FRAME_HEADER).ok_or_else(cut)?;
            let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |n, byte| (n << 8) | u64::from(*byte));
            let length = usize::try_from(number(&head[8..])).unwrap_or(usize::MAX);
            let (frame, behind) = behind.split_at_checked(length).ok_or_else(cut)?;
            frames.push(Frame { seq: number(&head[..8]), bytes: frame.to_vec() });
            rest = behind;
        }
        Ok(frames)
    }

    fn anchors(&self) -> Result<(Vec<Anchor>, Vec<String>), SourceError> {
        let (mut anchors, mut damage) = (Vec::new(), Vec::new());
        let mut after = 0;
        loop {
            let path = format!("/v1/journal/anchors?after={after}&max={MOST_ANCHORS}");
            let answer: Anchors = self.get(&path)?;
            let Some(last) = answer.anchors.last() else {
                if after < answer.newest {
                    damage.push(format!("anchors {} to {} cannot be read", after + 1, answer.newest));
                }
                return Ok((anchors, damage));
            };
            after = last.number;
            for document in &answer.anchors {
                match Anchor::try_from(document) {
                    Ok(anchor) => anchors.push(anchor),
                    Err(error) => damage.push(format!("anchor {}: {error}", document.number)),
                }
            }
        }
    }

    fn witnesses(&self) -> Result<Vec<Witness>, SourceError> {
        Ok(self.get::<Standing>("/v1/journal/days")?.witnesses)
    }

    fn others(&self) -> Result<(Vec<String>, Vec<String>), SourceError> {
        let standing: Standing = self.get("/v1/journal/days")?;
        Ok((standing.findings, standing.notes))
    }

    fn books(&self) -> Result<Option<Books>, SourceError> {
        Ok(self.get::<Standing>("/v1/journal/days")?.books)
    }
}
