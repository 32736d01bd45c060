//! The documents about tasks.

use super::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a task stands.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// Waits for a validator.
    #[default]
    Pending,
    /// A validator has promised to do it.
    Leased,
    /// There is a result.
    Done,
    /// There will be no result: the leases or the time are used up.
    Failed,
    /// Its submitter wants no result any more.
    Cancelled,
}

/// `GET /api/v1/tasks/{id}`: one task as the chain has it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct TaskView {
    /// `unsplit.task/1`.
    pub schema: String,
    /// The chain's running number of the task, from 1; 0 while the submission is not final.
    pub number: u64,
    /// What its submitter calls it; unique within the account.
    pub id: String,
    /// The submitter's account, hex.
    pub account: String,
    /// The kind of program that does it.
    pub executor: String,
    /// How much of a validator's capacity it takes.
    pub units: u32,
    /// Where it stands.
    pub state: TaskState,
    /// Name of the validator it is leased to, or that did it.
    pub holder: Option<String>,
    /// Fencing token of the present lease, or of the one that brought the result.
    pub token: Option<u64>,
    /// Leases that ended without a result.
    pub attempts: u32,
    /// How many more leases there may be after the first one ends without a result.
    pub retries: u32,
    /// How long a lease lasts, milliseconds.
    pub lease_ms: u64,
    /// The lease runs out when this height has passed and `left_ms` are over, both.
    pub until_height: Option<u64>,
    /// What is left of the lease, milliseconds of lease time: of each gap between two blocks a second counts at most, so
    /// that a halt takes nothing from it.
    pub left_ms: Option<u64>,
    /// The block time after which the task has failed, milliseconds since the Unix epoch.
    pub deadline_ms: u64,
    /// The block that holds the submission; 0 means that it is not final yet, but waits in this validator's mempool.
    pub submitted_height: u64,
    /// The block that finished the task, one way or another.
    pub finished_height: Option<u64>,
    /// Why the last lease ended without a result, or why the task failed.
    pub reason: Option<String>,
    /// What the executor is given; absent in lists, and when this validator no longer holds the block it is in.
    pub payload: Option<Content>,
    /// Length of the payload.
    pub payload_bytes: u64,
    /// SHA-256 of the payload, hex.
    pub payload_sha256: String,
    /// What becomes of its lease while its holder is cut off: `replace`, `wait` or `keep`.
    #[serde(default)]
    pub policy: String,
    /// Validators of this region do it rather than others, while they can.
    #[serde(default)]
    pub region: Option<String>,
    /// What came out of it, when done.
    pub result: Option<TaskResult>,
}

/// What came out of a task.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct TaskResult {
    /// SHA-256 of the result, hex.
    pub sha256: String,
    /// Length of the result.
    pub bytes: u64,
    /// The result itself; absent in lists, when it is kept elsewhere, and when this validator no longer holds the
    /// block it is in.
    pub content: Option<Content>,
    /// Where the result is, when it is not on the chain.
    pub kept_at: Option<String>,
}

/// Bytes as JSON: what is UTF-8 can be read, everything else is exact.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// Bytes that are UTF-8, as the text they are.
    Text(String),
    /// Other bytes, two digits each.
    #[serde(with = "crate::hex")]
    #[schema(value_type = String)]
    Hex(Vec<u8>),
}

impl Content {
    /// These bytes.
    pub fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_string()),
            Err(_) => Self::Hex(bytes.to_vec()),
        }
    }

    /// The bytes again.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Hex(bytes) => bytes,
        }
    }
}

/// `GET /api/v1/tasks`: a page of tasks.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Tasks {
    /// `unsplit.tasks/1`.
    pub schema: String,
    /// In the order of their numbers, without payloads and contents of results.
    pub tasks: Vec<TaskView>,
    /// Pass this as `after` to go on; absent after the last task. A page may be short and still have a next one,
    /// because only so many tasks are looked at per request.
    pub next: Option<u64>,
    /// The height this was read at.
    pub height: u64,
}

/// How many tasks stand where.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct TaskCounts {
    /// Waiting for a validator.
    pub pending: u64,
    /// Leased to one.
    pub leased: u64,
    /// Done.
    pub done: u64,
    /// Failed.
    pub failed: u64,
    /// Cancelled.
    pub cancelled: u64,
}

/// Body of `POST /api/v1/tasks`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskSubmissions {
    /// Encoded transactions that submit a task each, hex; 1 to 256 of them.
    pub transactions: Vec<String>,
}

/// The answer to `POST /api/v1/tasks` when at least one task was taken.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Submitted {
    /// `unsplit.submitted/1`.
    pub schema: String,
    /// What became of each transaction, in the order they were sent.
    pub tasks: Vec<SubmittedTask>,
}

/// What became of one of several submissions: either the task or the problem is there.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct SubmittedTask {
    /// The task, if it was taken now or earlier.
    pub task: Option<TaskView>,
    /// Why it was not taken. With status 503 it may be taken a second later, with any other it will not be.
    pub problem: Option<Problem>,
}

/// The answer to `POST /api/v1/tasks` when no task was taken: the problem of one of them, and the list of all.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct TasksProblem {
    /// The first that may be mended by sending the same again, so that who does is not kept from it; else the first.
    #[serde(flatten)]
    pub problem: Problem,
    /// What is the matter with each transaction, in the order they were sent. Absent if the request was refused as a
    /// whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<SubmittedTask>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn content_is_text_where_it_can_be_and_exact_where_it_cannot() {
        for (bytes, shown) in [
            (&b""[..], json!({"text": ""})),
            ("gr\u{fc}n \"\0\"".as_bytes(), json!({"text": "gr\u{fc}n \"\0\""})),
            (b"\x00\xff", json!({"hex": "00ff"})),
        ] {
            let content = Content::of(bytes);
            assert_eq!(content.bytes(), bytes);
            assert_eq!(serde_json::to_value(&content).expect("content is JSON"), shown);
            assert_eq!(serde_json::from_value::<Content>(shown).expect("what was written"), content);
        }
    }

    #[test]
    fn content_that_is_neither_text_nor_hex_is_refused() {
        for shown in [json!({"hex": "0"}), json!({"hex": "0x"}), json!({"base64": ""}), json!({}), json!("text")] {
            assert!(serde_json::from_value::<Content>(shown.clone()).is_err(), "{shown}");
        }
    }
}
