//! Who validates, how they are, and how the work is spread over them.

use super::{Window, document};
use crate::{
    Approval, BalanceView, CertifiedView, MatrixView, NodeView, Nodes, PartitionsView, Problem, RecoveryView, Releases,
    Request, TransactionStatus, ValidatorsView, WantedChange,
    guard::Writer,
    openapi::{Asked, Commanded, Found, Shown, Written},
};
use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;

/// Four hashes, with room for spaces.
const BODY_BYTES_MAX: usize = 4 * 1024;

/// A change of the set of validators to look at.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Change {
    /// Names or keys of those that would get a vote, with commas between.
    join: Option<String>,
    /// Validators whose place another key would take, each with that: `old:new`, with commas between.
    rotate: Option<String>,
    /// Names of validators that would leave, with commas between.
    leave: Option<String>,
    /// Names of validators that would be removed, with commas between.
    remove: Option<String>,
}

/// Every validator, as this one sees it.
#[utoipa::path(get, path = "/api/v1/nodes", tag = "state", operation_id = "nodes", responses(
    (status = 200, description = "As of the last change.", body = Nodes), Shown
))]
pub(super) async fn list(State(window): State<Arc<Window>>) -> Json<Nodes> {
    Json(Nodes { schema: "unsplit.nodes/1".to_string(), nodes: window.snapshot().nodes.clone() })
}

/// One validator: why it stands as it does, who says so, and what came before.
#[utoipa::path(get, path = "/api/v1/nodes/{name}", tag = "state", operation_id = "node",
    params(("name" = String, Path, description = "Its name in the genesis file.")),
    responses((status = 200, description = "The validator.", body = NodeView), Found)
)]
pub(super) async fn show(State(window): State<Arc<Window>>, Path(name): Path<String>) -> Result<Response, Problem> {
    let node = window.ask(|reply| Request::Node { name, reply }).await??;
    Ok(Json(node).into_response())
}

/// Has this validator finish what it has and take no more tasks.
///
/// Its own word on the chain: the answer comes when that waits to become final.
#[utoipa::path(post, path = "/api/v1/drain", tag = "operation",
    security(("token" = [])),
    responses((status = 202, description = "It waits to become final.", body = TransactionStatus), Commanded)
)]
pub(super) async fn drain(_: Writer, State(window): State<Arc<Window>>) -> Result<Response, Problem> {
    set_drained(&window, true).await
}

/// Has this validator take tasks again.
#[utoipa::path(post, path = "/api/v1/undrain", tag = "operation",
    security(("token" = [])),
    responses((status = 202, description = "It waits to become final.", body = TransactionStatus), Commanded)
)]
pub(super) async fn undrain(_: Writer, State(window): State<Arc<Window>>) -> Result<Response, Problem> {
    set_drained(&window, false).await
}

async fn set_drained(window: &Window, drained: bool) -> Result<Response, Problem> {
    let status = window.ask(|reply| Request::Drain { drained, reply }).await??;
    Ok((StatusCode::ACCEPTED, Json(status)).into_response())
}

/// Who votes now, who will, and what would be decided if these were to go as well.
#[utoipa::path(get, path = "/api/v1/validators", tag = "state", operation_id = "validators",
    params(Change),
    responses((status = 200, description = "As of the newest finalized block.", body = ValidatorsView), Found)
)]
pub(super) async fn validators(
    State(window): State<Arc<Window>>,
    query: Result<Query<Change>, QueryRejection>,
) -> Result<Json<ValidatorsView>, Problem> {
    let Change { join, rotate, leave, remove } = query?.0;
    let names = |list: Option<String>| -> Vec<String> {
        list.iter().flat_map(|list| list.split(',')).filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    let pair = |text: String| match text.split_once(':') {
        Some((old, new)) => Ok((old.to_owned(), new.to_owned())),
        None => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "bad_query",
            format!("rotate={text} does not say who comes"),
            "write it as rotate=OLD:NEW, a name and a name or key",
        )),
    };
    let rotate = names(rotate).into_iter().map(pair).collect::<Result<_, _>>()?;
    let wanted = WantedChange { join: names(join), rotate, leave: names(leave), remove: names(remove) };
    Ok(Json(window.ask(|reply| Request::Validators { wanted, reply }).await??))
}

/// Has this validator approve of somebody who asks for a seat; or give its own away, if that is what is asked for.
///
/// Its own word on the chain: the answer comes when that waits to become final.
#[utoipa::path(post, path = "/api/v1/approve", tag = "operation",
    security(("token" = [])),
    request_body = Approval,
    responses((status = 202, description = "It waits to become final.", body = TransactionStatus), Written, Found)
)]
pub(super) async fn approve(
    _: Writer,
    State(window): State<Arc<Window>>,
    request: axum::extract::Request,
) -> Result<Response, Problem> {
    let Approval { node } = document(&window, request, BODY_BYTES_MAX).await?;
    let status = window.ask(|reply| Request::Approve { node, reply }).await??;
    Ok((StatusCode::ACCEPTED, Json(status)).into_response())
}

/// Has this validator leave the set of validators when an epoch ends, if enough others are left.
///
/// Its own word on the chain: the answer comes when that waits to become final.
#[utoipa::path(post, path = "/api/v1/leave", tag = "operation",
    security(("token" = [])),
    responses((status = 202, description = "It waits to become final.", body = TransactionStatus), Commanded)
)]
pub(super) async fn leave(_: Writer, State(window): State<Arc<Window>>) -> Result<Response, Problem> {
    set_leaving(&window, true).await
}

/// Has this validator stay, if its leaving is not decided yet.
#[utoipa::path(post, path = "/api/v1/stay", tag = "operation",
    security(("token" = [])),
    responses((status = 202, description = "It waits to become final.", body = TransactionStatus), Commanded)
)]
pub(super) async fn stay(_: Writer, State(window): State<Arc<Window>>) -> Result<Response, Problem> {
    set_leaving(&window, false).await
}

async fn set_leaving(window: &Window, leaving: bool) -> Result<Response, Problem> {
    let status = window.ask(|reply| Request::Leave { leaving, reply }).await??;
    Ok((StatusCode::ACCEPTED, Json(status)).into_response())
}

/// Has this validator want another restarted by its supervisor, which obeys when more than f validators do.
#[utoipa::path(post, path = "/api/v1/nodes/{name}/recovery", tag = "operation",
    security(("token" = [])),
    params(("name" = String, Path, description = "Its name in the genesis file.")),
    responses((status = 202, description = "This validator says so from now on.", body = RecoveryView), Commanded, Found)
)]
pub(super) async fn recover(
    _: Writer,
    State(window): State<Arc<Window>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let recovery = window.ask(|reply| Request::Recover { name, reply }).await??;
    Ok((StatusCode::ACCEPTED, Json(recovery)).into_response())
}

/// Who can talk to whom, and what that leaves of the network.
#[utoipa::path(get, path = "/api/v1/partitions", tag = "state", operation_id = "partitions", responses(
    (status = 200, description = "As far as this validator is told.", body = PartitionsView), Asked
))]
pub(super) async fn partitions(State(window): State<Arc<Window>>) -> Result<Json<PartitionsView>, Problem> {
    Ok(Json(window.ask(|reply| Request::Partitions { reply }).await?))
}

/// Who says that it hears whom.
#[utoipa::path(get, path = "/api/v1/matrix", tag = "state", operation_id = "matrix", responses(
    (status = 200, description = "As far as this validator is told.", body = MatrixView), Asked
))]
pub(super) async fn matrix(State(window): State<Arc<Window>>) -> Result<Json<MatrixView>, Problem> {
    Ok(Json(window.ask(|reply| Request::Matrix { reply }).await?))
}

/// Which programs and models supervisors may start.
#[utoipa::path(get, path = "/api/v1/certified", tag = "state", operation_id = "certified", responses(
    (status = 200, description = "As of the newest finalized block.", body = CertifiedView), Asked
))]
pub(super) async fn certified(State(window): State<Arc<Window>>) -> Result<Json<CertifiedView>, Problem> {
    Ok(Json(window.ask(|reply| Request::Certified { reply }).await?))
}

/// Has this validator propose which programs and models supervisors may start; a quorum decides.
#[utoipa::path(post, path = "/api/v1/certified", tag = "operation",
    security(("token" = [])),
    request_body = Releases,
    responses((status = 202, description = "It waits to become final.", body = TransactionStatus), Written)
)]
pub(super) async fn certify(
    _: Writer,
    State(window): State<Arc<Window>>,
    request: axum::extract::Request,
) -> Result<Response, Problem> {
    let proposed = document(&window, request, BODY_BYTES_MAX).await?;
    let status = window.ask(|reply| Request::Certify { proposed, reply }).await??;
    Ok((StatusCode::ACCEPTED, Json(status)).into_response())
}

/// How the work is spread, and how much capacity it asks for.
#[utoipa::path(get, path = "/api/v1/balance", tag = "state", operation_id = "balance", responses(
    (status = 200, description = "As of the newest finalized block.", body = BalanceView), Asked
))]
pub(super) async fn balance(State(window): State<Arc<Window>>) -> Result<Json<BalanceView>, Problem> {
    Ok(Json(window.ask(|reply| Request::Balance { reply }).await?))
}
