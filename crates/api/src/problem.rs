//! What to say when a question cannot be answered?
//!
//! Always an RFC 9457 document, whoever noticed: our handlers, the validator, or the libraries below us.

use crate::{Problem, Refusal, RefusalClass, TasksProblem};
use axum::{
    extract::{Request, rejection::QueryRejection},
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Serialize;

const CONTENT: &str = "application/problem+json";

/// A path longer than this is not repeated in full to whoever sent it.
const PATH_SHOWN_MAX: usize = 200;

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        code: impl Into<String>,
        detail: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            kind: "about:blank".to_string(),
            title: status.canonical_reason().unwrap_or("Error").to_string(),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.into(),
            help: help.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        answer(self.status, &self)
    }
}

impl IntoResponse for TasksProblem {
    fn into_response(self) -> Response {
        answer(self.problem.status, &self)
    }
}

fn answer(status: u16, problem: &impl Serialize) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(problem).expect("a problem is strings and numbers");
    let mut response = (status, [(CONTENT_TYPE, CONTENT)], body).into_response();
    match status {
        StatusCode::SERVICE_UNAVAILABLE => {
            // A second is longer than any burst of ours, and short enough for a script that waits.
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        StatusCode::UNAUTHORIZED => {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        _ => {}
    }
    response
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.class {
            RefusalClass::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            RefusalClass::Conflict => StatusCode::CONFLICT,
            RefusalClass::Busy => StatusCode::SERVICE_UNAVAILABLE,
            RefusalClass::NotFound => StatusCode::NOT_FOUND,
            RefusalClass::Forbidden => StatusCode::FORBIDDEN,
        };
        Self::new(status, refusal.code, refusal.detail, refusal.help)
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), "bad_query", rejection.body_text(), "mend the part of the address after `?`")
    }
}

/// Turns errors that are not ours, as of the router, into problems; other headers, as `Allow`, stay.
pub(crate) async fn dress(request: Request, next: Next) -> Response {
    let asked = format!("{} {}", request.method(), shortened(request.uri().path()));
    let response = next.run(request).await;
    let status = response.status();
    let ours = response.headers().get(CONTENT_TYPE).is_some_and(|value| value == CONTENT);
    if ours || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let mut dressed = stranger(status, &asked).into_response();
    for (name, value) in response.headers().iter().filter(|(name, _)| name.as_str() == "allow") {
        dressed.headers_mut().insert(name, value.clone());
    }
    dressed
}

fn stranger(status: StatusCode, asked: &str) -> Problem {
    match status {
        StatusCode::NOT_FOUND => Problem::new(
            status,
            "no_such_route",
            format!("there is nothing at `{asked}`"),
            "addresses begin with /api/v1/, for example /api/v1/status",
        ),
        StatusCode::METHOD_NOT_ALLOWED => Problem::new(
            status,
            "wrong_method",
            format!("`{asked}` is not offered"),
            "the header Allow names the methods that are",
        ),
        _ => Problem::new(status, "bad_request", format!("`{asked}` is not understood"), "mend the address"),
    }
}

fn shortened(path: &str) -> String {
    match path.char_indices().nth(PATH_SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &path[..end]),
        None => path.to_string(),
    }
}
