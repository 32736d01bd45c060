//! Faults on purpose. The guard lets nobody here unless the chain is a devnet and the caller has the token.

use super::{Window, document, not_found, number};
use crate::{
    Affliction, Cut, CutRequest, Cuts, Healed, Problem, Request,
    openapi::{Commanded, Written},
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// A fault that somebody forgot must not outlive the coffee break.
const TTL_MS_MAX: u64 = 60 * 60 * 1_000;

/// Both directions of several hundred peers.
const BODY_BYTES_MAX: usize = 129 * 1024;

/// A cut that was just made.
#[derive(Serialize, ToSchema)]
struct NewCut {
    /// `unsplit.cut/1`.
    schema: &'static str,
    #[serde(flatten)]
    cut: Cut,
}

/// Drops messages between this validator and some peers for a while.
#[utoipa::path(post, path = "/api/v1/devnet/cuts", tag = "devnet",
    security(("token" = [])),
    request_body = CutRequest,
    responses((status = 201, description = "The cut is in force.", body = NewCut), Written)
)]
pub(super) async fn cut(
    State(window): State<Arc<Window>>,
    request: axum::extract::Request,
) -> Result<Response, Problem> {
    let request = cut_request(&window, request).await?;
    let cut = window.ask(|reply| Request::Cut { request, reply }).await??;
    Ok((StatusCode::CREATED, Json(NewCut { schema: "unsplit.cut/1", cut })).into_response())
}

/// Makes this validator ill for a while: its executor hangs, its disk is slow, or it accuses another falsely.
#[utoipa::path(post, path = "/api/v1/devnet/ailments", tag = "devnet",
    security(("token" = [])),
    request_body = Affliction,
    responses((status = 201, description = "It is ill now.", body = Affliction), Written)
)]
pub(super) async fn afflict(
    State(window): State<Arc<Window>>,
    request: axum::extract::Request,
) -> Result<Response, Problem> {
    let affliction: Affliction = document(&window, request, BODY_BYTES_MAX).await?;
    check_ttl(affliction.ttl_ms)?;
    let affliction = window.ask(|reply| Request::Afflict { affliction, reply }).await??;
    Ok((StatusCode::CREATED, Json(affliction)).into_response())
}

/// Makes this validator well again.
#[utoipa::path(delete, path = "/api/v1/devnet/ailments", tag = "devnet",
    security(("token" = [])),
    responses((status = 200, description = "Nothing ails it by injection.", body = Healed), Commanded)
)]
pub(super) async fn cure(State(window): State<Arc<Window>>) -> Result<Json<Healed>, Problem> {
    Ok(Json(answer(window.ask(|reply| Request::Cure { reply }).await?)))
}

/// The cuts that are in force.
#[utoipa::path(get, path = "/api/v1/devnet/cuts", tag = "devnet",
    security(("token" = [])),
    responses((status = 200, description = "All of them.", body = Cuts), Commanded)
)]
pub(super) async fn cuts(State(window): State<Arc<Window>>) -> Result<Json<Cuts>, Problem> {
    let cuts = window.ask(|reply| Request::Cuts { reply }).await?;
    Ok(Json(Cuts { schema: "unsplit.cuts/1".to_string(), cuts }))
}

/// Ends every cut.
#[utoipa::path(delete, path = "/api/v1/devnet/cuts", tag = "devnet",
    security(("token" = [])),
    responses((status = 200, description = "None is in force.", body = Healed), Commanded)
)]
pub(super) async fn heal_all(State(window): State<Arc<Window>>) -> Result<Json<Healed>, Problem> {
    let healed = window.ask(|reply| Request::Heal { id: None, reply }).await?;
    Ok(Json(answer(healed)))
}

/// Ends one cut.
#[utoipa::path(delete, path = "/api/v1/devnet/cuts/{id}", tag = "devnet",
    security(("token" = [])),
    params(("id" = u64, Path, description = "Its id.")),
    responses((status = 200, description = "It has ended.", body = Healed), Commanded)
)]
pub(super) async fn heal(State(window): State<Arc<Window>>, Path(id): Path<String>) -> Result<Json<Healed>, Problem> {
    let id = number("cut", &id)?;
    match window.ask(|reply| Request::Heal { id: Some(id), reply }).await? {
        0 => Err(not_found("cut_not_found", format!("cut {id} is not in force"))),
        healed => Ok(Json(answer(healed))),
    }
}

fn answer(healed: usize) -> Healed {
    Healed { schema: "unsplit.healed/1".to_string(), healed }
}

fn check_ttl(ttl_ms: u64) -> Result<(), Problem> {
    if (1..=TTL_MS_MAX).contains(&ttl_ms) {
        return Ok(());
    }
    Err(invalid("bad_ttl", format!("`ttl_ms` is {ttl_ms}, not 1 to {TTL_MS_MAX}")))
}

async fn cut_request(window: &Window, request: axum::extract::Request) -> Result<CutRequest, Problem> {
    let request: CutRequest = document(window, request, BODY_BYTES_MAX).await?;
    check_ttl(request.ttl_ms)?;
    if request.inbound.is_empty() && request.outbound.is_empty() {
        return Err(invalid("empty_cut", "the cut names no peer".to_string()));
    }
    Ok(request)
}

fn invalid(code: &str, detail: String) -> Problem {
    let help = r#"send for example {"inbound":["n1"],"outbound":["n1"],"ttl_ms":60000}"#;
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail, help)
}
