//! What a validator hands to its API, and what it is asked in return.

use crate::{
    AccountView, Affliction, BalanceView, BlockView, CertifiedView, Cut, CutRequest, EventLog, MatrixView, NodeView,
    PartitionsView, RecoveryView, Releases, Snapshot, TaskState, TaskView, Tasks, TransactionStatus, ValidatorsView,
    WantedChange,
};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// What a validator hands to its API.
pub struct Backend {
    /// The present state, replaced as a whole.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// The validator's mailbox. While it stays full, callers are told to come back later.
    pub requests: mpsc::Sender<Request>,
    /// What happens, as it happens.
    pub events: EventLog,
    /// The metrics of engine and validator, as OpenMetrics text that ends with `# EOF`.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

/// What a validator is asked. An asker that no longer waits has dropped its end of `reply`.
#[derive(Debug)]
pub enum Request {
    /// Take this encoded transaction. Taking the same one again is no error.
    Submit {
        /// As received, not yet decoded.
        bytes: Vec<u8>,
        /// Where the transaction stands now, or why it was not taken.
        reply: oneshot::Sender<Result<TransactionStatus, Refusal>>,
    },
    /// Show a finalized block.
    Block {
        /// Which one.
        at: BlockAt,
        /// Nothing if it is not finalized here or no longer held.
        reply: oneshot::Sender<Option<BlockView>>,
    },
    /// Say where a transaction stands.
    Transaction {
        /// Its id.
        id: [u8; 32],
        /// Nothing if it neither waits here nor is in a finalized block.
        reply: oneshot::Sender<Option<TransactionStatus>>,
    },
    /// Take these encoded transactions, which submit a task each. Taking the same one again is no error.
    SubmitTasks {
        /// As received, not yet decoded.
        transactions: Vec<Vec<u8>>,
        /// For each in order, the task as it stands now, or why it was not taken.
        reply: oneshot::Sender<Vec<Result<TaskView, Refusal>>>,
    },
    /// Show a task.
    Task {
        /// What its submitter calls it.
        id: String,
        /// The submitter, where one id may belong to several.
        account: Option<[u8; 32]>,
        /// Refused if there is none, and in conflict if there are several.
        reply: oneshot::Sender<Result<TaskView, Refusal>>,
    },
    /// List tasks.
    Tasks {
        /// Which ones.
        query: TaskQuery,
        /// In the order of their numbers, without payloads and contents of results.
        reply: oneshot::Sender<Tasks>,
    },
    /// Show an account.
    Account {
        /// Its public key.
        id: [u8; 32],
        /// An account never used has balance 0 and nonce 0.
        reply: oneshot::Sender<AccountView>,
    },
    /// Show a validator, and why it stands as it does.
    Node {
        /// Its name.
        name: String,
        /// Refused if there is none of that name.
        reply: oneshot::Sender<Result<NodeView, Refusal>>,
    },
    /// Say who validates, and who would if these were to go.
    Validators {
        /// What is wanted.
        wanted: WantedChange,
        /// Refused if there is none of such a name.
        reply: oneshot::Sender<Result<ValidatorsView, Refusal>>,
    },
    /// Approve of somebody who asks for a seat.
    Approve {
        /// Its name or key.
        node: String,
        /// The transaction that says so, or why there is none.
        reply: oneshot::Sender<Result<TransactionStatus, Refusal>>,
    },
    /// Leave the set of validators when an epoch ends, or stay after all.
    Leave {
        /// Which of the two.
        leaving: bool,
        /// The transaction that says so, or why there is none.
        reply: oneshot::Sender<Result<TransactionStatus, Refusal>>,
    },
    /// Finish what is leased here and take no more, or take tasks again.
    Drain {
        /// Which of the two.
        drained: bool,
        /// The transaction that says so, or why there is none.
        reply: oneshot::Sender<Result<TransactionStatus, Refusal>>,
    },
    /// Say which programs and models may run.
    Certified {
        /// As of the newest finalized block.
        reply: oneshot::Sender<CertifiedView>,
    },
    /// Propose which programs and models may run.
    Certify {
        /// The whole list.
        proposed: Releases,
        /// The transaction that says so, or why there is none.
        reply: oneshot::Sender<Result<TransactionStatus, Refusal>>,
    },
    /// Want a validator restarted by its supervisor.
    Recover {
        /// Its name.
        name: String,
        /// What follows, or why nothing does.
        reply: oneshot::Sender<Result<RecoveryView, Refusal>>,
    },
    /// Say what is left of the network.
    Partitions {
        /// As of now.
        reply: oneshot::Sender<PartitionsView>,
    },
    /// Say who hears whom.
    Matrix {
        /// As of now.
        reply: oneshot::Sender<MatrixView>,
    },
    /// Say how the work is spread.
    Balance {
        /// As of the newest finalized block.
        reply: oneshot::Sender<BalanceView>,
    },
    /// Be ill for a while.
    Afflict {
        /// How and how long.
        affliction: Affliction,
        /// The same when it is in force, or why it is not.
        reply: oneshot::Sender<Result<Affliction, Refusal>>,
    },
    /// Drop messages of some peers for a while.
    Cut {
        /// Whose and how long.
        request: CutRequest,
        /// The cut in force, or why there is none.
        reply: oneshot::Sender<Result<Cut, Refusal>>,
    },
    /// Name the cuts in force.
    Cuts {
        /// Oldest first.
        reply: oneshot::Sender<Vec<Cut>>,
    },
    /// Be well again.
    Cure {
        /// How many ailments were ended.
        reply: oneshot::Sender<usize>,
    },
    /// End a cut.
    Heal {
        /// Which one; all if absent.
        id: Option<u64>,
        /// How many were ended.
        reply: oneshot::Sender<usize>,
    },
}

/// Which block?
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BlockAt {
    /// The newest finalized and applied one.
    Latest,
    /// The one at this height.
    Height(u64),
}

/// Which tasks? Those that all of these fit.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TaskQuery {
    /// Standing here.
    pub state: Option<TaskState>,
    /// Leased to this validator, or done by it.
    pub holder: Option<String>,
    /// Submitted by this account.
    pub account: Option<[u8; 32]>,
    /// With a higher number than this.
    pub after: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

/// Why a validator did not do what it was asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Stable code, for example `nonce_too_low`.
    pub code: &'static str,
    /// What is wrong this time, naming both sides.
    pub detail: String,
    /// How to mend it.
    pub help: String,
    /// What kind of answer it deserves.
    pub class: RefusalClass,
}

/// The kinds of [`Refusal`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RefusalClass {
    /// It can never be done: 422.
    Invalid,
    /// It does not fit the present state: 409.
    Conflict,
    /// There is no room for it now: 503 with `Retry-After`.
    Busy,
    /// What it names does not exist: 404.
    NotFound,
    /// It must not be done here: 403.
    Forbidden,
}
