//! One validator, over HTTP.

use std::{error::Error as _, path::Path, time::Duration};

use api::{
    AccountView, Affliction, Approval, BalanceView, BlockView, CertifiedView, Cut, CutRequest, Healed, MatrixView,
    NodeView, Nodes, PartitionsView, Problem, RecoveryView, Releases, Snapshot, Status, Submitted, SubmittedTask,
    TaskSubmissions, TaskView, Tasks, TasksProblem, TransactionStatus, ValidatorsView, WantedChange, Why,
};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header::RETRY_AFTER};
use serde::de::DeserializeOwned;

use crate::{cli::Global, failure::Failure, files};

/// Where a validator's API is unless somebody says otherwise.
pub(crate) const API_DEFAULT: &str = "http://127.0.0.1:7700";

/// Answers longer than this are not ours. A full block is a few MiB of JSON.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Speaks to one validator; keeps its connections open.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    base: String,
    http: reqwest::Client,
    token: Option<String>,
}

/// Why there is no answer, or not the one that was hoped for.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// Nobody answers, or not in time.
    #[error("{base} does not answer: {why}")]
    Unreachable {
        /// Who was asked.
        base: String,
        /// Why not.
        why: String,
    },
    /// The validator says no.
    #[error("{}", .0.detail)]
    Refused(Box<Problem>),
    /// Something answers that is no validator of ours.
    #[error("{base} answers something else: {why}")]
    Strange {
        /// Who was asked.
        base: String,
        /// What is strange.
        why: String,
    },
}

/// What became of several submissions.
#[derive(Debug)]
pub(crate) struct Handed {
    /// In the order in which they were sent; none if the validator had no time to look at them.
    pub(crate) tasks: Vec<SubmittedTask>,
    /// There was no room for any of them; ask again after this.
    pub(crate) pause: Option<Duration>,
}

impl Client {
    pub(crate) fn new(base: &str, token: Option<String>, timeout: Duration) -> Result<Self, Failure> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(timeout.min(Duration::from_secs(2)))
            .timeout(timeout)
            .build();
        let http = http.map_err(|error| Failure::unexpected(format!("no HTTP client: {error}")))?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), http, token })
    }

    /// The same with the right to write.
    pub(crate) fn with_token(self, token: String) -> Self {
        Self { token: Some(token), ..self }
    }

    /// The validator named by `--api`, `--token-file` and `--timeout`.
    pub(crate) fn of(global: &Global) -> Result<Self, Failure> {
        Self::at(global.api.as_deref().unwrap_or(API_DEFAULT), global)
    }

    /// The same, wherever it is.
    pub(crate) fn at(base: &str, global: &Global) -> Result<Self, Failure> {
        if !base.starts_with("http://") {
            return Err(Failure::usage(format!("--api {base:?} is no address"), "for example http://127.0.0.1:7700"));
        }
        let token = global.token_file.as_deref().map(read_token).transpose()?;
        // The server gets to answer that the time is up before we hang up.
        Self::new(base, token, global.timeout + Duration::from_secs(1))
    }

    pub(crate) async fn status(&self) -> Result<Status, Trouble> {
        self.get("status").await
    }

    pub(crate) async fn snapshot(&self) -> Result<Snapshot, Trouble> {
        self.get("snapshot").await
    }

    pub(crate) async fn why(&self) -> Result<Why, Trouble> {
        self.get("why").await
    }

    pub(crate) async fn nodes(&self) -> Result<Nodes, Trouble> {
        self.get("nodes").await
    }

    pub(crate) async fn node(&self, name: &str) -> Result<NodeView, Trouble> {
        self.get(&format!("nodes/{name}")).await
    }

    pub(crate) async fn balance(&self) -> Result<BalanceView, Trouble> {
        self.get("balance").await
    }

    /// Has the validator take no more tasks, or take them again.
    pub(crate) async fn drain(&self, drained: bool) -> Result<TransactionStatus, Trouble> {
        self.send(self.request(Method::POST, if drained { "drain" } else { "undrain" })).await
    }

    /// Has the validator leave the set of validators, or stay.
    pub(crate) async fn leave(&self, leaving: bool) -> Result<TransactionStatus, Trouble> {
        self.send(self.request(Method::POST, if leaving { "leave" } else { "stay" })).await
    }

    /// Who validates, and what would be decided if this were to happen.
    pub(crate) async fn validators(&self, wanted: &WantedChange) -> Result<ValidatorsView, Trouble> {
        let WantedChange { join, rotate, leave, remove } = wanted;
        let rotate: Vec<String> = rotate.iter().map(|(old, new)| format!("{old}:{new}")).collect();
        let lists = [("join", join), ("rotate", &rotate), ("leave", leave), ("remove", remove)];
        let query: Vec<String> = lists.iter().map(|(what, names)| format!("{what}={}", names.join(","))).collect();
        self.get(&format!("validators?{}", query.join("&"))).await
    }

    /// Has the validator approve of a node that asks for a seat.
    pub(crate) async fn approve(&self, node: &str) -> Result<TransactionStatus, Trouble> {
        self.send(self.request(Method::POST, "approve").json(&Approval { node: node.to_owned() })).await
    }

    /// Has the validator want another restarted by its supervisor.
    pub(crate) async fn recover(&self, node: &str) -> Result<RecoveryView, Trouble> {
        self.send(self.request(Method::POST, &format!("nodes/{node}/recovery"))).await
    }

    pub(crate) async fn partitions(&self) -> Result<PartitionsView, Trouble> {
        self.get("partitions").await
    }

    pub(crate) async fn matrix(&self) -> Result<MatrixView, Trouble> {
        self.get("matrix").await
    }

    /// Which programs and models supervisors may start.
    pub(crate) async fn certified(&self) -> Result<CertifiedView, Trouble> {
        self.get("certified").await
    }

    /// Has the validator propose another list.
    pub(crate) async fn certify(&self, proposed: &Releases) -> Result<TransactionStatus, Trouble> {
        self.send(self.request(Method::POST, "certified").json(proposed)).await
    }

    pub(crate) async fn block(&self, at: &str) -> Result<BlockView, Trouble> {
        self.get(&format!("blocks/{at}")).await
    }

    pub(crate) async fn account(&self, id: &str) -> Result<AccountView, Trouble> {
        self.get(&format!("accounts/{id}")).await
    }

    pub(crate) async fn transaction(&self, id: &str) -> Result<TransactionStatus, Trouble> {
        self.get(&format!("tx/{id}")).await
    }

    /// Hands in an encoded transaction; with `wait`, answers when it is final or the time is up.
    pub(crate) async fn submit(&self, bytes: Vec<u8>, wait: Option<Duration>) -> Result<TransactionStatus, Trouble> {
        let query = wait.map(|wait| format!("?wait=finalized&timeout={}ms", wait.as_millis())).unwrap_or_default();
        let request = self.request(Method::POST, &format!("tx{query}"));
        self.send(request.header("content-type", "application/octet-stream").body(bytes)).await
    }

    /// Hands in encoded submissions of tasks, in hex. What became of each, or why the request was refused as a whole.
    pub(crate) async fn submit_tasks(&self, transactions: Vec<String>) -> Result<Handed, Trouble> {
        let request = self.request(Method::POST, "tasks").json(&TaskSubmissions { transactions });
        let response = request.send().await.map_err(|error| self.trouble(&error))?;
        let is_taken = response.status().is_success();
        let pause = pause(&response);
        let body = self.body(response).await?;
        let strange = |error: serde_json::Error| self.strange(error.to_string());
        if is_taken {
            let Submitted { tasks, .. } = serde_json::from_slice(&body).map_err(strange)?;
            return Ok(Handed { tasks, pause });
        }
        let TasksProblem { problem, tasks } = serde_json::from_slice(&body).map_err(strange)?;
        match (tasks.is_empty(), pause) {
            (true, None) => Err(Trouble::Refused(Box::new(problem))),
            (false, _) | (true, Some(_)) => Ok(Handed { tasks, pause }),
        }
    }

    /// One task with its payload and result.
    pub(crate) async fn task(&self, id: &str, account: Option<&str>) -> Result<TaskView, Trouble> {
        let account = account.map(|account| format!("?account={account}")).unwrap_or_default();
        self.get(&format!("tasks/{id}{account}")).await
    }

    /// A page of tasks. The values of the query are not escaped: they are words, numbers and hex digits.
    pub(crate) async fn tasks(&self, query: &[(&str, String)]) -> Result<Tasks, Trouble> {
        let query: Vec<String> = query.iter().map(|(key, value)| format!("{key}={value}")).collect();
        self.get(&format!("tasks?{}", query.join("&"))).await
    }

    pub(crate) async fn cut(&self, cut: &CutRequest) -> Result<Cut, Trouble> {
        self.send(self.request(Method::POST, "devnet/cuts").json(cut)).await
    }

    pub(crate) async fn afflict(&self, affliction: &Affliction) -> Result<Affliction, Trouble> {
        self.send(self.request(Method::POST, "devnet/ailments").json(affliction)).await
    }

    pub(crate) async fn cure(&self) -> Result<Healed, Trouble> {
        self.send(self.request(Method::DELETE, "devnet/ailments")).await
    }

    pub(crate) async fn heal(&self, id: u64) -> Result<Healed, Trouble> {
        self.send(self.request(Method::DELETE, &format!("devnet/cuts/{id}"))).await
    }

    /// The stream of events, without a limit in time.
    pub(crate) async fn events(&self) -> Result<Response, Trouble> {
        self.events_after(None, &[]).await
    }

    /// The same after an offset, or from now on; of all kinds if none are named.
    pub(crate) async fn events_after(&self, offset: Option<u64>, kinds: &[String]) -> Result<Response, Trouble> {
        let kinds = if kinds.is_empty() { String::new() } else { format!("?kinds={}", kinds.join(",")) };
        let mut request = self.request(Method::GET, &format!("events{kinds}")).timeout(Duration::from_secs(24 * 3600));
        if let Some(offset) = offset {
            request = request.header("last-event-id", offset);
        }
        let response = request.send().await.map_err(|error| self.trouble(&error))?;
        if response.status().is_success() { Ok(response) } else { Err(self.refusal(response).await) }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Trouble> {
        self.send(self.request(Method::GET, path)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}/api/v1/{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Trouble> {
        let response = request.send().await.map_err(|error| self.trouble(&error))?;
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        let body = self.body(response).await?;
        serde_json::from_slice(&body).map_err(|error| self.strange(error.to_string()))
    }

    async fn refusal(&self, response: Response) -> Trouble {
        let status = response.status();
        let body = self.body(response).await.unwrap_or_default();
        match serde_json::from_slice(&body) {
            Ok(problem) => Trouble::Refused(Box::new(problem)),
            Err(_) => self.strange(format!("HTTP {status}")),
        }
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Trouble> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.trouble(&error))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(self.strange(format!("more than {ANSWER_BYTES_MAX} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    pub(crate) fn strange(&self, why: String) -> Trouble {
        Trouble::Strange { base: self.base.clone(), why }
    }

    pub(crate) fn unreachable(&self, why: &str) -> Trouble {
        Trouble::Unreachable { base: self.base.clone(), why: why.to_owned() }
    }

    /// The innermost cause says the most: "connection refused" rather than "error sending request".
    fn trouble(&self, error: &reqwest::Error) -> Trouble {
        let mut why = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            why = inner.to_string();
            cause = inner.source();
        }
        let why = if error.is_timeout() { "no answer in time".into() } else { why };
        Trouble::Unreachable { base: self.base.clone(), why }
    }
}

/// When a validator that has no room now wants to be asked again.
fn pause(response: &Response) -> Option<Duration> {
    const PAUSE_DEFAULT: Duration = Duration::from_secs(1);
    const PAUSE_MAX: Duration = Duration::from_secs(30);
    (response.status() == StatusCode::SERVICE_UNAVAILABLE).then(|| {
        let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        seconds.map_or(PAUSE_DEFAULT, Duration::from_secs).min(PAUSE_MAX)
    })
}

impl Trouble {
    /// Whether asking again may help: nobody answers, or the validator has no time or room now.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(problem) => problem.status == 503,
            Self::Strange { .. } => false,
        }
    }

    /// Whether the validator has been asked at all, as far as we know.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        let message = trouble.to_string();
        match trouble {
            Trouble::Unreachable { .. } => {
                Self::unreachable(message, "is it running? name another with --api URL, or wait longer with --timeout")
            }
            Trouble::Strange { .. } => Self::unreachable(message, "name a validator's API with --api URL"),
            Trouble::Refused(problem) => match problem.status {
                404 => Self::not_found(message, problem.help),
                401 if problem.code == "unauthorized" => {
                    Self::refused(message, format!("{}; name that file with --token-file FILE", problem.help))
                }
                408 | 503 | 504 => Self::unreachable(message, problem.help),
                _ => Self::refused(message, problem.help),
            },
        }
    }
}

/// Reads a token file.
pub(crate) fn read_token(path: &Path) -> Result<String, Failure> {
    let token = files::read_secret(path)?.trim().to_owned();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let help = "name the file api.token in the validator's data folder";
        return Err(Failure::config(format!("{} holds no token", path.display()), help));
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    #[test]
    fn each_refusal_has_its_exit_code() {
        let exit = |status: u16, code: &str| {
            let problem = Problem { status, code: code.into(), ..Problem::default() };
            Failure::from(Trouble::Refused(Box::new(problem))).exit
        };
        assert_eq!(exit(404, "block_not_found"), Exit::NotFound);
        assert_eq!(exit(401, "unauthorized"), Exit::Refused);
        assert_eq!(exit(409, "nonce_too_low"), Exit::Refused);
        assert_eq!(exit(503, "busy"), Exit::Unreachable);
        let gone = Trouble::Unreachable { base: "http://127.0.0.1:1".into(), why: "connection refused".into() };
        assert_eq!(Failure::from(gone).exit, Exit::Unreachable);
    }
}
