//! Which question goes where?

mod devnet;
mod stream;
mod transactions;

pub use transactions::TRANSACTION_BYTES_MAX;

use crate::{Backend, BlockAt, Nodes, Problem, Request, Settings, Snapshot, guard, problem};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest as _, Path, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
    },
    middleware::{from_fn, from_fn_with_state, map_response},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use std::{future::Future, sync::Arc};
use tokio::{
    sync::{Semaphore, oneshot, watch},
    time::timeout,
};

/// What every handler looks through.
pub(crate) struct Window {
    pub(crate) backend: Backend,
    pub(crate) settings: Settings,
    /// One permit per event stream that may still be opened.
    streams: Arc<Semaphore>,
    /// Turns true when the server stops: whoever waits then answers with what it has.
    closing: watch::Receiver<bool>,
}

impl Window {
    pub(crate) fn new(backend: Backend, settings: Settings, closing: watch::Receiver<bool>) -> Self {
        let streams = Arc::new(Semaphore::new(settings.limits.streams_max));
        Self { backend, settings, streams, closing }
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.backend.snapshot.borrow().clone()
    }

    /// Puts a request into the validator's mailbox and waits for the answer, neither for long.
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Problem> {
        let limits = &self.settings.limits;
        let (reply, answer) = oneshot::channel();
        match timeout(limits.mailbox_timeout, self.backend.requests.send(request(reply))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(stopped()),
            Err(_) => return Err(unavailable("busy", "the validator's mailbox is full", "try again in a second")),
        }
        match timeout(limits.answer_timeout, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(stopped()),
            Err(_) => Err(unavailable(
                "no_answer",
                "the validator did not answer in time",
                "look at /readyz; a transaction may be sent again as it is, it takes effect once",
            )),
        }
    }

    /// The body, if it is small enough and comes soon enough.
    async fn body(&self, request: axum::extract::Request) -> Result<Bytes, Problem> {
        match timeout(self.settings.limits.body_timeout, Bytes::from_request(request, &())).await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(too_large(format!("the body exceeds {} bytes", transactions::BODY_BYTES_MAX)))
            }
            Ok(Err(rejection)) => {
                Err(Problem::new(rejection.status(), "bad_body", rejection.body_text(), "send the body again"))
            }
            Err(_) => Err(Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "slow_body",
                format!("the body was not complete after {:?}", self.settings.limits.body_timeout),
                "send it again, faster",
            )),
        }
    }

    fn closed(&self) -> impl Future<Output = ()> + use<> {
        let mut closing = self.closing.clone();
        async move {
            // An error means that the server is gone altogether.
            let _ = closing.wait_for(|closing| *closing).await;
        }
    }
}

/// Every address there is.
pub(crate) fn router(window: Arc<Window>) -> Router {
    let devnet = Router::new()
        .route("/api/v1/devnet/cuts", get(devnet::cuts).post(devnet::cut).delete(devnet::heal_all))
        .route("/api/v1/devnet/cuts/{id}", delete(devnet::heal))
        .route_layer(from_fn_with_state(window.clone(), guard::devnet));
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/snapshot", get(snapshot))
        .route("/api/v1/why", get(why))
        .route("/api/v1/nodes", get(nodes))
        .route("/api/v1/blocks/{at}", get(block))
        .route("/api/v1/accounts/{id}", get(account))
        .route("/api/v1/tx", post(transactions::submit))
        .route("/api/v1/tx/{id}", get(transactions::show))
        .route("/api/v1/events", get(stream::events))
        .route("/metrics", get(metrics))
        .route("/livez", get(live))
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
        .merge(devnet)
        .layer(DefaultBodyLimit::max(transactions::BODY_BYTES_MAX))
        .layer(from_fn(guard::this_host))
        .layer(from_fn(problem::dress))
        .layer(map_response(volatile))
        .with_state(window)
}

async fn status(State(window): State<Arc<Window>>) -> Response {
    Json(&window.snapshot().status).into_response()
}

async fn snapshot(State(window): State<Arc<Window>>) -> Response {
    Json(&*window.snapshot()).into_response()
}

async fn why(State(window): State<Arc<Window>>) -> Response {
    Json(&window.snapshot().why).into_response()
}

async fn nodes(State(window): State<Arc<Window>>) -> Json<Nodes> {
    Json(Nodes { schema: "unsplit.nodes/1".to_string(), nodes: window.snapshot().nodes.clone() })
}

async fn block(State(window): State<Arc<Window>>, Path(at): Path<String>) -> Result<Response, Problem> {
    let at = match at.as_str() {
        "latest" => BlockAt::Latest,
        height => BlockAt::Height(number("height", height)?),
    };
    let Some(block) = window.ask(|reply| Request::Block { at, reply }).await? else {
        let detail = match at {
            BlockAt::Latest => "no block is finalized yet".to_string(),
            BlockAt::Height(wanted) => {
                format!("block {wanted} is not here, the newest is {}", window.snapshot().status.height)
            }
        };
        return Err(not_found("block_not_found", detail));
    };
    Ok(Json(block).into_response())
}

async fn account(State(window): State<Arc<Window>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = id32("account", &id)?;
    let account = window.ask(|reply| Request::Account { id, reply }).await?;
    Ok(Json(account).into_response())
}

async fn metrics(State(window): State<Arc<Window>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], (window.backend.metrics)()).into_response()
}

/// Alive means that somebody still empties the mailbox; whether that does any good is for `ready` to say.
async fn live(State(window): State<Arc<Window>>) -> Result<&'static str, Problem> {
    if window.backend.requests.is_closed() { Err(stopped()) } else { Ok("ok\n") }
}

async fn ready(State(window): State<Arc<Window>>) -> Result<&'static str, Problem> {
    if window.backend.requests.is_closed() {
        return Err(stopped());
    }
    let snapshot = window.snapshot();
    if snapshot.ready {
        return Ok("ok\n");
    }
    let reason = snapshot.not_ready.as_deref().unwrap_or("the validator has not said why");
    Err(unavailable("not_ready", reason, "look at /api/v1/why"))
}

/// No answer is good for longer than a moment, and none is to be taken for a web page.
async fn volatile(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn stopped() -> Problem {
    unavailable("stopped", "the validator behind this API has ended", "restart it")
}

fn unavailable(code: &str, detail: &str, help: &str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail, help)
}

fn not_found(code: &str, detail: String) -> Problem {
    let help = "ask a validator that is further ahead, or check what was asked for";
    Problem::new(StatusCode::NOT_FOUND, code, detail, help)
}

fn too_large(detail: String) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail, "split it into several transactions")
}

fn bad_json(error: &serde_json::Error) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_json", error.to_string(), "mend the JSON at that place")
}

fn wrong_content(found: &str, offered: &str) -> Problem {
    let detail = format!("content type `{found}` is not taken here");
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong_content", detail, format!("send {offered}"))
}

/// The content type without its parameters, in lower case; empty when absent.
fn content_of(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Plain digits only: no sign, no space.
fn number(what: &str, text: &str) -> Result<u64, Problem> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| {
        let detail = format!("the {what} must be a number from 0 to {}", u64::MAX);
        Problem::new(StatusCode::BAD_REQUEST, format!("bad_{what}"), detail, "write decimal digits only")
    })
}

fn id32(what: &str, text: &str) -> Result<[u8; 32], Problem> {
    unhex(text).and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
        let detail = format!("the {what} id must be 64 hex digits");
        Problem::new(StatusCode::BAD_REQUEST, format!("bad_{what}_id"), detail, "write all 64 digits, without 0x")
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some((digit(*high)? * 16 + digit(*low)?) as u8)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_pairs_of_digits_in_either_case() {
        assert_eq!(unhex("00fFa1"), Some(vec![0x00, 0xff, 0xa1]));
        assert_eq!(unhex(""), Some(vec![]));
        for text in ["0", "0g", "+1", "ä0", "0x00"] {
            assert_eq!(unhex(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_is_digits_that_fit() {
        assert_eq!(number("height", "18446744073709551615").ok(), Some(u64::MAX));
        for text in ["", "+1", "-1", " 1", "1e3", "18446744073709551616"] {
            assert!(number("height", text).is_err(), "{text}");
        }
    }
}
