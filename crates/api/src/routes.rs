//! Which question goes where?

mod devnet;
mod nodes;
mod stream;
mod tasks;
mod transactions;

pub use tasks::{SUBMISSIONS_BYTES_MAX, SUBMISSIONS_MAX};
pub use transactions::TRANSACTION_BYTES_MAX;

use crate::{
    AccountView, Backend, BlockAt, BlockView, Problem, Request, Settings, Snapshot, Status, SyncView, Why, guard, hex,
    openapi::{Asked, Found, Shown, openapi},
    problem,
};
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
};
use serde::de::DeserializeOwned;
use std::{
    future::Future,
    sync::{Arc, LazyLock},
};
use tokio::{
    sync::{Semaphore, oneshot, watch},
    time::timeout,
};
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

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
    async fn body(&self, mut request: axum::extract::Request, bytes_max: usize) -> Result<Bytes, Problem> {
        DefaultBodyLimit::max(bytes_max).apply(&mut request);
        match timeout(self.settings.limits.body_timeout, Bytes::from_request(request, &())).await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(too_large(format!("the body exceeds {bytes_max} bytes")))
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
    let devnet = devnet().route_layer(from_fn_with_state(window.clone(), guard::devnet));
    Router::from(everywhere().merge(devnet))
        .layer(from_fn(guard::this_host))
        .layer(from_fn(problem::dress))
        .layer(map_response(volatile))
        .with_state(window)
}

/// What the descriptions of every address say.
pub(crate) fn addresses() -> OpenApi {
    everywhere().merge(devnet()).into_openapi()
}

fn everywhere() -> OpenApiRouter<Arc<Window>> {
    OpenApiRouter::default()
        .routes(routes!(status))
        .routes(routes!(snapshot))
        .routes(routes!(why))
        .routes(routes!(sync))
        .routes(routes!(nodes::list))
        .routes(routes!(nodes::show))
        .routes(routes!(nodes::validators))
        .routes(routes!(nodes::approve))
        .routes(routes!(nodes::leave))
        .routes(routes!(nodes::stay))
        .routes(routes!(nodes::drain))
        .routes(routes!(nodes::undrain))
        .routes(routes!(nodes::recover))
        .routes(routes!(nodes::partitions))
        .routes(routes!(nodes::matrix))
        .routes(routes!(nodes::certified, nodes::certify))
        .routes(routes!(nodes::balance))
        .routes(routes!(block))
        .routes(routes!(account))
        .routes(routes!(transactions::submit))
        .routes(routes!(transactions::show))
        .routes(routes!(tasks::submit, tasks::list))
        .routes(routes!(tasks::show))
        .routes(routes!(stream::events))
        .routes(routes!(description))
        .routes(routes!(metrics))
        .routes(routes!(live))
        .routes(routes!(healthy))
        .routes(routes!(ready))
}

fn devnet() -> OpenApiRouter<Arc<Window>> {
    OpenApiRouter::default()
        .routes(routes!(devnet::cuts, devnet::cut, devnet::heal_all))
        .routes(routes!(devnet::heal))
        .routes(routes!(devnet::afflict, devnet::cure))
}

/// This validator in one screen.
#[utoipa::path(get, path = "/api/v1/status", tag = "state", responses(
    (status = 200, description = "As of the last change.", body = Status), Shown
))]
async fn status(State(window): State<Arc<Window>>) -> Response {
    Json(&window.snapshot().status).into_response()
}

/// Status, validators and explanation at one moment.
///
/// What a reader of events starts from, and returns to when it has missed some.
#[utoipa::path(get, path = "/api/v1/snapshot", tag = "state", responses(
    (status = 200, description = "As of the last change.", body = Snapshot), Shown
))]
async fn snapshot(State(window): State<Arc<Window>>) -> Response {
    Json(&*window.snapshot()).into_response()
}

/// How far behind it is, and how fast it catches up.
#[utoipa::path(get, path = "/api/v1/sync", tag = "state", responses(
    (status = 200, description = "As of the last change.", body = SyncView), Shown
))]
async fn sync(State(window): State<Arc<Window>>) -> Response {
    Json(&window.snapshot().status.sync).into_response()
}

/// Why finality is as it is, and what would mend it.
#[utoipa::path(get, path = "/api/v1/why", tag = "state", responses(
    (status = 200, description = "As of the last change.", body = Why), Shown
))]
async fn why(State(window): State<Arc<Window>>) -> Response {
    Json(&window.snapshot().why).into_response()
}

/// A finalized block.
#[utoipa::path(get, path = "/api/v1/blocks/{at}", tag = "chain",
    params(("at" = String, Path, description = "A height, or `latest`.", example = "latest")),
    responses((status = 200, description = "The block.", body = BlockView), Found)
)]
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

/// An account, as of the newest finalized block.
#[utoipa::path(get, path = "/api/v1/accounts/{id}", tag = "chain",
    params(("id" = String, Path, description = "Its public key, 64 hex digits.")),
    responses(
        (status = 200, description = "The account. One never used has balance 0 and nonce 0.", body = AccountView),
        Asked
    )
)]
async fn account(State(window): State<Arc<Window>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = id32("account", &id)?;
    let account = window.ask(|reply| Request::Account { id, reply }).await?;
    Ok(Json(account).into_response())
}

/// What this document says.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "operation", operation_id = "openapi", responses(
    (status = 200, description = "This OpenAPI document.", body = Object), Shown
))]
async fn description() -> Response {
    static DOCUMENT: LazyLock<String> = LazyLock::new(openapi);
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}

/// The metrics of engine and validator, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses(
    (status = 200, description = "OpenMetrics text.", body = String, content_type = OPEN_METRICS), Shown
))]
async fn metrics(State(window): State<Arc<Window>>) -> Response {
    ([(CONTENT_TYPE, OPEN_METRICS)], (window.backend.metrics)()).into_response()
}

/// Whether the validator runs.
///
/// It does as long as somebody empties the mailbox; whether that does any good is for `/readyz` to say.
#[utoipa::path(get, path = "/livez", tag = "operation", responses(
    (status = 200, description = "It runs.", body = String), Asked
))]
async fn live(State(window): State<Arc<Window>>) -> Result<&'static str, Problem> {
    if window.backend.requests.is_closed() { Err(stopped()) } else { Ok("ok\n") }
}

/// The same as `/livez`, under the name that some monitors expect.
#[utoipa::path(get, path = "/healthz", tag = "operation", responses(
    (status = 200, description = "It runs.", body = String), Asked
))]
async fn healthy(window: State<Arc<Window>>) -> Result<&'static str, Problem> {
    live(window).await
}

/// Whether the validator does its duty now, so that it may be counted on.
#[utoipa::path(get, path = "/readyz", tag = "operation", responses(
    (status = 200, description = "It does.", body = String), Asked
))]
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
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail, "send less at once")
}

/// The JSON document that is the body, of so many bytes at most.
async fn document<T: DeserializeOwned>(
    window: &Window,
    request: axum::extract::Request,
    bytes_max: usize,
) -> Result<T, Problem> {
    let content = content_of(request.headers());
    if content != "application/json" {
        return Err(wrong_content(&content, "application/json"));
    }
    let body = window.body(request, bytes_max).await?;
    serde_json::from_slice(&body).map_err(|error| bad_json(&error))
}

fn bad_json(error: &serde_json::Error) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_json", error.to_string(), "mend the JSON at that place")
}

fn bad_hex(what: &str) -> Problem {
    let help = "write two digits per byte, without 0x";
    Problem::new(StatusCode::BAD_REQUEST, "bad_hex", format!("{what} is not hex"), help)
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
    hex::read(text).and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
        let detail = format!("the {what} id must be 64 hex digits");
        Problem::new(StatusCode::BAD_REQUEST, format!("bad_{what}_id"), detail, "write all 64 digits, without 0x")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_digits_that_fit() {
        assert_eq!(number("height", "18446744073709551615").ok(), Some(u64::MAX));
        for text in ["", "+1", "-1", " 1", "1e3", "18446744073709551616"] {
            assert!(number("height", text).is_err(), "{text}");
        }
    }
}
