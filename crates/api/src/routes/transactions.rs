//! Taking transactions, and waiting until they are final.

use super::{Window, bad_hex, bad_json, content_of, id32, not_found, too_large, wrong_content};
use crate::{
    Event, EventKind, Heard, Problem, Request, Submission, Subscription, TransactionState, TransactionStatus,
    guard::Writer,
    hex,
    openapi::{Found, Written},
};
use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;
use utoipa::IntoParams;

/// The most bytes of an encoded transaction. The largest submits a task with 64 KiB of payload and some hundred bytes
/// around it; still far below a block, so that one transaction cannot crowd out the others.
pub const TRANSACTION_BYTES_MAX: usize = 70 * 1024;

/// A transaction written as hex, with room for the JSON around it.
const BODY_BYTES_MAX: usize = 2 * TRANSACTION_BYTES_MAX + 1024;

/// Finality comes within seconds or not soon; who wants to wait longer asks again.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// As the command line's own default.
const WAIT_DEFAULT: Duration = Duration::from_secs(5);

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Waiting {
    /// `finalized` to be answered once the transaction is final, or the time is up.
    wait: Option<String>,
    /// How long to wait, for example `500ms`, `5s` or `1m`, which is the most; `5s` if absent.
    timeout: Option<String>,
}

/// Where a transaction stands.
#[utoipa::path(get, path = "/api/v1/tx/{id}", tag = "chain", operation_id = "transaction",
    params(("id" = String, Path, description = "Its id, 64 hex digits.")),
    responses((status = 200, description = "Where it stands.", body = TransactionStatus), Found)
)]
pub(super) async fn show(State(window): State<Arc<Window>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let key = id32("transaction", &id)?;
    let found = window.ask(|reply| Request::Transaction { id: key, reply }).await?;
    let status = found.ok_or_else(|| {
        not_found("transaction_not_found", format!("transaction {id} neither waits nor is final here"))
    })?;
    Ok(Json(status).into_response())
}

/// Takes a transaction.
///
/// Sending the same bytes again is no error and takes effect once.
#[utoipa::path(post, path = "/api/v1/tx", tag = "chain", operation_id = "submit_transaction",
    security(("token" = [])),
    params(Waiting),
    request_body(
        description = "The encoded transaction, at most 70 KiB: as it is, or as hex in JSON.",
        content((Submission = "application/json"), ("application/octet-stream"))
    ),
    responses(
        (status = 200, description = "It is final.", body = TransactionStatus, headers(
            ("Location" = String, description = "Where to ask for it."))),
        (status = 202, description = "It waits in the mempool.", body = TransactionStatus, headers(
            ("Location" = String, description = "Where to ask for it."))),
        Written
    )
)]
pub(super) async fn submit(
    _: Writer,
    State(window): State<Arc<Window>>,
    query: Result<Query<Waiting>, QueryRejection>,
    request: axum::extract::Request,
) -> Result<Response, Problem> {
    let limit = query?.limit()?;
    let bytes = transaction(&window, request).await?;
    // Listening begins before submitting, so that finality cannot come unheard in between.
    let events = window.backend.events.subscribe();
    let taken = window.ask(|reply| Request::Submit { bytes, reply }).await??;
    let status = match (taken.state, limit) {
        (TransactionState::Pending, Some(limit)) => window.finalized(taken, events, limit).await?,
        (TransactionState::Pending, None) | (TransactionState::Finalized, _) => taken,
    };
    let code = match status.state {
        TransactionState::Pending => StatusCode::ACCEPTED,
        TransactionState::Finalized => StatusCode::OK,
    };
    Ok((code, [(LOCATION, format!("/api/v1/tx/{}", status.id))], Json(status)).into_response())
}

/// The encoded transaction, in whichever form it was sent.
async fn transaction(window: &Window, request: axum::extract::Request) -> Result<Vec<u8>, Problem> {
    let content = content_of(request.headers());
    let bytes = match content.as_str() {
        "application/octet-stream" => window.body(request, BODY_BYTES_MAX).await?.to_vec(),
        "application/json" => {
            let body = window.body(request, BODY_BYTES_MAX).await?;
            let submission: Submission = serde_json::from_slice(&body).map_err(|error| bad_json(&error))?;
            hex::read(&submission.transaction).ok_or_else(|| bad_hex("`transaction`"))?
        }
        other => return Err(wrong_content(other, "application/octet-stream or application/json")),
    };
    if bytes.len() > TRANSACTION_BYTES_MAX {
        return Err(too_large(format!("the transaction has {} bytes, not {TRANSACTION_BYTES_MAX}", bytes.len())));
    }
    Ok(bytes)
}

impl Window {
    /// Where the transaction stands once it is final, the time is up or the server stops, whichever is first.
    async fn finalized(
        &self,
        taken: TransactionStatus,
        mut events: Subscription,
        limit: Duration,
    ) -> Result<TransactionStatus, Problem> {
        let id = id32("transaction", &taken.id).expect("our own validator names transactions by 64 hex digits");
        let mut latest = Some(taken);
        let watching = async {
            loop {
                block_with_transactions(&mut events).await;
                // A validator too busy to answer now is asked again at the next block.
                let Ok(found) = self.ask(|reply| Request::Transaction { id, reply }).await else { continue };
                latest = found;
                if latest.as_ref().is_some_and(|status| status.state == TransactionState::Finalized) {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = watching => {}
            () = sleep(limit) => {}
            () = self.closed() => {}
        }
        latest.ok_or_else(|| {
            let detail = "the transaction was taken and then dropped before it was final";
            let help = "look at the account's nonce; the same bytes may be sent again";
            Problem::new(StatusCode::CONFLICT, "transaction_dropped", detail, help)
        })
    }
}

/// Returns when a transaction may have become final. One return may stand for several blocks.
async fn block_with_transactions(events: &mut Subscription) {
    loop {
        let mut found = may_hold_transactions(&events.next().await);
        while let Some(heard) = events.try_next() {
            found |= may_hold_transactions(&heard);
        }
        if found {
            return;
        }
    }
}

fn may_hold_transactions(heard: &Heard) -> bool {
    match heard {
        Heard::Missed(_) => true,
        Heard::Event(Event { kind: EventKind::Finalized { transactions, .. }, .. }) => *transactions > 0,
        Heard::Event(_) => false,
    }
}

impl Waiting {
    /// How long to wait for finality; nothing if the caller does not want to.
    fn limit(&self) -> Result<Option<Duration>, Problem> {
        match (self.wait.as_deref(), self.timeout.as_deref()) {
            (None, None) => Ok(None),
            (Some("finalized"), None) => Ok(Some(WAIT_DEFAULT)),
            (Some("finalized"), Some(text)) => duration(text).map(Some).ok_or_else(|| {
                let detail = format!("`timeout` must be a duration of at most {WAIT_MAX:?}");
                bad_wait(detail, "write for example 500ms, 5s or 1m")
            }),
            (Some(_), _) => Err(bad_wait("the only thing to wait for is `finalized`", "write wait=finalized")),
            (None, Some(_)) => Err(bad_wait("`timeout` says nothing without `wait`", "add wait=finalized")),
        }
    }
}

fn bad_wait(detail: impl Into<String>, help: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_query", detail, help)
}

/// `500ms`, `5s`, `1m`; at most `WAIT_MAX`.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.trim_start_matches(|character: char| character.is_ascii_digit());
    let count: u64 = text[..text.len() - unit.len()].parse().ok()?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return None,
    };
    let duration = Duration::from_millis(count.checked_mul(milliseconds)?);
    (duration <= WAIT_MAX).then_some(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_digits_and_a_unit_within_a_minute() {
        for (text, milliseconds) in [("0ms", 0), ("500ms", 500), ("5s", 5_000), ("60s", 60_000), ("1m", 60_000)] {
            assert_eq!(duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "-5s",
            "1.5s",
            "5 s",
            "5h",
            "60001ms",
            "2m",
            "18446744073709551615m",
            "99999999999999999999s",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn waiting_needs_something_to_wait_for() {
        let limit = |wait: Option<&str>, timeout: Option<&str>| {
            let waiting = Waiting { wait: wait.map(str::to_string), timeout: timeout.map(str::to_string) };
            waiting.limit().map_err(|problem| problem.code)
        };
        let bad = Err("bad_query".to_string());
        assert_eq!(limit(None, None), Ok(None));
        assert_eq!(limit(Some("finalized"), None), Ok(Some(WAIT_DEFAULT)));
        assert_eq!(limit(Some("finalized"), Some("1s")), Ok(Some(Duration::from_secs(1))));
        assert_eq!(limit(Some("finalized"), Some("61s")), bad);
        assert_eq!(limit(Some("certain"), None), bad);
        assert_eq!(limit(None, Some("1s")), bad);
    }
}
