//! Taking tasks, many at once, and showing what became of them.

use super::{
    Window, bad_hex, bad_json, content_of, id32, number, too_large, transactions::TRANSACTION_BYTES_MAX, wrong_content,
};
use crate::{
    Problem, Refusal, Request, Snapshot, Submitted, SubmittedTask, TaskQuery, TaskState, TaskSubmissions, TaskView,
    Tasks, TasksProblem,
    guard::Writer,
    hex,
    openapi::{Asked, Found, WrittenAtOnce},
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

/// The most transactions in one `POST /api/v1/tasks`. The validator checks their signatures in one go and does nothing
/// else meanwhile, which takes it about ten milliseconds.
pub const SUBMISSIONS_MAX: usize = 256;

/// The most bytes in the body of one `POST /api/v1/tasks`: room for all of [`SUBMISSIONS_MAX`] while payloads stay below
/// 7 KiB, and for 29 of the largest.
pub const SUBMISSIONS_BYTES_MAX: usize = 4 << 20;

/// The most tasks on one page.
const PAGE_MAX: usize = 1_000;

/// A page that a person still looks through.
const PAGE_DEFAULT: usize = 100;

/// Takes tasks, up to 256 at once.
///
/// Each transaction is judged by itself, and sending the same one again is no error. If at least one task was taken, the
/// answer is 200 and says for each what became of it. If none was, the answer is the problem of one of them, and has the
/// same list as its member `tasks`: the first with status 503, because sending all of them again then helps, or else the
/// first. A request that cannot be read, or in which any transaction is no hex or too large, is refused as a whole.
#[utoipa::path(post, path = "/api/v1/tasks", tag = "tasks", operation_id = "submit_tasks",
    security(("token" = [])),
    request_body(
        content = TaskSubmissions,
        description = "At most 4 MiB, with 1 to 256 transactions of at most 70 KiB (140 KiB of hex) each."
    ),
    responses((status = 200, description = "At least one task was taken.", body = Submitted), WrittenAtOnce)
)]
pub(super) async fn submit(
    _: Writer,
    State(window): State<Arc<Window>>,
    request: axum::extract::Request,
) -> Result<Response, Problem> {
    let transactions = transactions(&window, request).await?;
    let sent = transactions.len();
    let answers = window.ask(|reply| Request::SubmitTasks { transactions, reply }).await?;
    assert_eq!(answers.len(), sent, "the validator answers each transaction");
    let tasks: Vec<SubmittedTask> = answers.into_iter().map(SubmittedTask::from).collect();
    Ok(match refused(&tasks) {
        Some(problem) => TasksProblem { problem, tasks }.into_response(),
        None => Json(Submitted { schema: "unsplit.submitted/1".to_string(), tasks }).into_response(),
    })
}

/// Lists tasks in the order of their numbers.
#[utoipa::path(get, path = "/api/v1/tasks", tag = "tasks", operation_id = "tasks",
    params(Listing),
    responses((status = 200, description = "One page.", body = Tasks), Asked)
)]
pub(super) async fn list(
    State(window): State<Arc<Window>>,
    query: Result<Query<Listing>, QueryRejection>,
) -> Result<Json<Tasks>, Problem> {
    let query = query?.0.read(&window.snapshot())?;
    Ok(Json(window.ask(|reply| Request::Tasks { query, reply }).await?))
}

/// Shows a task.
///
/// One that waits in this validator's mempool is shown as pending with `number` and `submitted_height` 0.
#[utoipa::path(get, path = "/api/v1/tasks/{id}", tag = "tasks", operation_id = "task",
    params(("id" = String, Path, description = "What its submitter calls it."), Owner),
    responses(
        (status = 200, description = "The task.", body = TaskView),
        (status = 409, description = "Several accounts have a task of this id: say whose is meant.", body = Problem,
            content_type = "application/problem+json"),
        Found
    )
)]
pub(super) async fn show(
    State(window): State<Arc<Window>>,
    Path(id): Path<String>,
    query: Result<Query<Owner>, QueryRejection>,
) -> Result<Json<TaskView>, Problem> {
    let account = query?.account.as_deref().map(|account| id32("account", account)).transpose()?;
    Ok(Json(window.ask(|reply| Request::Task { id, account, reply }).await??))
}

/// The encoded transactions. One that cannot be read is the sender's mistake, so that none is taken then.
async fn transactions(window: &Window, request: axum::extract::Request) -> Result<Vec<Vec<u8>>, Problem> {
    let content = content_of(request.headers());
    if content != "application/json" {
        return Err(wrong_content(&content, "application/json"));
    }
    let body = window.body(request, SUBMISSIONS_BYTES_MAX).await?;
    let submissions: TaskSubmissions = serde_json::from_slice(&body).map_err(|error| bad_json(&error))?;
    let count = submissions.transactions.len();
    if !(1..=SUBMISSIONS_MAX).contains(&count) {
        let detail = format!("`transactions` has {count} entries, not 1 to {SUBMISSIONS_MAX}");
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad_count",
            detail,
            "put at least one in, and the rest into other requests",
        ));
    }
    submissions.transactions.iter().enumerate().map(|(index, text)| transaction(index, text)).collect()
}

fn transaction(index: usize, text: &str) -> Result<Vec<u8>, Problem> {
    if text.len() > 2 * TRANSACTION_BYTES_MAX {
        let detail = format!("transaction {index} has {} digits, not {}", text.len(), 2 * TRANSACTION_BYTES_MAX);
        return Err(too_large(detail));
    }
    hex::read(text).ok_or_else(|| bad_hex(&format!("transaction {index}")))
}

/// The problem that stands for all, if nothing was taken.
fn refused(tasks: &[SubmittedTask]) -> Option<Problem> {
    if tasks.iter().any(|entry| entry.task.is_some()) {
        return None;
    }
    let problems = || tasks.iter().enumerate().filter_map(|(index, entry)| Some((index, entry.problem.as_ref()?)));
    let busy = problems().find(|(_, problem)| problem.status == StatusCode::SERVICE_UNAVAILABLE.as_u16());
    let (index, problem) = busy.or_else(|| problems().next())?;
    Some(Problem { detail: format!("transaction {index}: {}", problem.detail), ..problem.clone() })
}

impl From<Result<TaskView, Refusal>> for SubmittedTask {
    fn from(answer: Result<TaskView, Refusal>) -> Self {
        match answer {
            Ok(task) => Self { task: Some(task), problem: None },
            Err(refusal) => Self { task: None, problem: Some(refusal.into()) },
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Owner {
    /// The submitter's account, 64 hex digits. Needed where several accounts have a task of this id.
    account: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Listing {
    /// Only tasks that stand here.
    state: Option<TaskState>,
    /// Only tasks leased to this validator, or done by it.
    holder: Option<String>,
    /// Only tasks submitted by this account, 64 hex digits.
    account: Option<String>,
    /// Only tasks with a higher number: `next` of the page before.
    #[param(value_type = Option<u64>)]
    after: Option<String>,
    /// At most so many, up to 1000; 100 if absent.
    #[param(value_type = Option<u64>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
}

impl Listing {
    fn read(self, snapshot: &Snapshot) -> Result<TaskQuery, Problem> {
        let holder = self.holder.map(|name| holder(name, snapshot)).transpose()?;
        let account = self.account.map(|account| id32("account", &account)).transpose()?;
        let after = self.after.map(|after| number("after", &after)).transpose()?;
        let limit = self.limit.map_or(Ok(PAGE_DEFAULT), |limit| page(&limit))?;
        Ok(TaskQuery { state: self.state, holder, account, after, limit })
    }
}

/// A name misspelt would otherwise read as a validator without tasks.
fn holder(name: String, snapshot: &Snapshot) -> Result<String, Problem> {
    let names: Vec<&str> = snapshot.nodes.iter().map(|node| node.name.as_str()).collect();
    if names.contains(&name.as_str()) {
        return Ok(name);
    }
    let help = format!("the validators are {}", names.join(", "));
    Err(Problem::new(StatusCode::BAD_REQUEST, "bad_holder", format!("no validator is called `{name}`"), help))
}

fn page(limit: &str) -> Result<usize, Problem> {
    let limit = number("limit", limit)?;
    usize::try_from(limit).ok().filter(|limit| (1..=PAGE_MAX).contains(limit)).ok_or_else(|| {
        let detail = format!("`limit` is {limit}, not 1 to {PAGE_MAX}");
        Problem::new(StatusCode::BAD_REQUEST, "bad_limit", detail, "go on with `after` where a page ends")
    })
}
