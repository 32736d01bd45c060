//! The documents the API speaks. One definition serves the server, the command line and the demo.
//!
//! Every top-level document carries a `schema` tag; within a major version only additions are made.

mod nodes;
mod partitions;
mod sync;
mod tasks;

pub use nodes::*;
pub use partitions::*;
pub use sync::*;
pub use tasks::*;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether blocks become final now.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Finality {
    /// Nothing has been finalized yet and nothing speaks against it.
    #[default]
    Starting,
    /// Blocks become final.
    Live,
    /// Blocks become final, and one more failure would stop that.
    Degraded,
    /// Nothing becomes final until a quorum is back. No fork is possible.
    Halted,
}

/// What state the network is in, as one validator sees it. The gravest that holds is told.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NetworkState {
    /// Nothing of the below.
    #[default]
    Normal,
    /// Somebody catches up, observes or is on trial, or a cut has just healed.
    Recovering,
    /// Not all that are there hear each other, or several fell silent together.
    Partitioned,
    /// Somebody was proved to have lied within the last ten minutes.
    UnderAttack,
}

/// What this validator does about votes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Duty {
    /// Signs votes.
    Voting,
    /// Follows and serves, but signs nothing: its vote guard is lost or damaged.
    #[default]
    Observing,
}

/// `GET /api/v1/status`: one validator in one screen.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Status {
    /// `unsplit.status/1`.
    pub schema: String,
    /// The validator's name.
    pub name: String,
    /// The validator's public key, hex.
    pub key: String,
    /// The chain this validator serves.
    pub chain_id: String,
    /// Program version.
    pub version: String,
    /// Whether blocks become final now.
    pub finality: Finality,
    /// What state the network is in.
    #[serde(default)]
    pub state: NetworkState,
    /// Whether this validator signs votes.
    pub duty: Duty,
    /// Height of the newest finalized and applied block.
    pub height: u64,
    /// Height of the newest finalized block known, applied or not.
    pub tip: u64,
    /// The epoch of the next block: the set of validators changes between two epochs only.
    #[serde(default)]
    pub epoch: u64,
    /// The last height of that epoch.
    #[serde(default)]
    pub epoch_last_height: u64,
    /// Newest view of that epoch with a vote or certificate seen.
    pub view: u64,
    /// State root after `height`, hex.
    pub state_root: String,
    /// Timestamp of the newest applied block, milliseconds since the Unix epoch.
    pub block_time_ms: u64,
    /// How old the state is: milliseconds since then.
    #[serde(default)]
    pub age_ms: u64,
    /// Whether the state is not to be taken for the present one: finality is halted, or this validator is behind.
    #[serde(default)]
    pub stale: bool,
    /// Number of validators.
    pub validators: usize,
    /// Validators needed for finality: n - f.
    pub quorum: usize,
    /// Byzantine validators tolerated: (n - 1) / 3.
    pub faults_tolerated: usize,
    /// Voting validators this one hears, itself included.
    pub reachable: usize,
    /// How many more of those that vote and all hear each other may fail before finality halts; negative when they are too
    /// few already.
    pub slack: i64,
    /// At so little slack the alarm goes off.
    #[serde(default)]
    pub slack_floor: i64,
    /// Transactions waiting in the mempool.
    pub mempool_transactions: usize,
    /// Bytes of transactions waiting in the mempool.
    pub mempool_bytes: usize,
    /// Milliseconds since start.
    pub uptime_ms: u64,
    /// Milliseconds since this validator last signed a vote; absent when it has not since it started.
    #[serde(default)]
    pub last_signed_ms_ago: Option<u64>,
    /// Blocks that a finished task is remembered for, and that the submission of a task may be signed ahead.
    #[serde(default)]
    pub task_keep_blocks: u64,
    /// Tasks on the chain after `height`.
    #[serde(default)]
    pub tasks: TaskCounts,
    /// What this validator keeps on its disk.
    #[serde(default)]
    pub store: StoreStatus,
    /// How it follows the chain.
    #[serde(default)]
    pub sync: SyncView,
    /// One sentence: why the state is what it is.
    pub why: String,
}

/// Whether what a validator keeps on its disk is whole.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct StoreStatus {
    /// Blocks that are missing and being fetched.
    pub blocks_missing: usize,
    /// Certificates that are missing and being fetched.
    pub certificates_missing: usize,
    /// Damaged parts found since the start.
    pub damage_found: u64,
    /// Blocks and certificates that came back since the start.
    pub repaired: u64,
    /// The greatest height whose block no peer had; absent when there is none.
    #[serde(default)]
    pub out_of_reach: Option<u64>,
    /// How often everything was read through since the start.
    pub scrubs: u64,
    /// How far the present reading is.
    pub scrubbed_to: u64,
    /// When the last reading ended, milliseconds since the Unix epoch.
    #[serde(default)]
    pub scrubbed_ms: Option<u64>,
}

/// `GET /api/v1/why`: one explanation of the present state.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Why {
    /// `unsplit.why/1`.
    pub schema: String,
    /// Whether blocks become final now.
    pub finality: Finality,
    /// The sentence.
    pub sentence: String,
    /// What would mend it; absent when nothing is wrong.
    pub fix: Option<String>,
    /// Height of the newest finalized block.
    pub height: u64,
    /// Since when finality is halted, milliseconds since the Unix epoch.
    pub halted_since_ms: Option<u64>,
    /// Validators needed for finality.
    pub quorum: usize,
    /// Voting validators heard or known of, this one included.
    pub reachable: Vec<String>,
    /// The most of these that all hear each other.
    #[serde(default)]
    pub mutual: Vec<String>,
    /// Whether there are none more, or only none were found.
    #[serde(default)]
    pub mutual_is_largest: bool,
    /// Validators not heard, with since when.
    pub missing: Vec<Missing>,
    /// Validators heard that sign nothing.
    pub observers: Vec<String>,
    /// What is not as it should be, the gravest first.
    #[serde(default)]
    pub causes: Vec<CauseView>,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct CauseView {
    /// `unheard`, `split`, `bridge`, `cut`, `one_way`, `unknown`, `observing`, `consensus`, `executor`, `disk` or `clock`.
    pub kind: String,
    /// The validators it speaks of.
    pub nodes: Vec<String>,
    /// In words.
    pub text: String,
}

/// A validator that is not heard.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Missing {
    /// Its name.
    pub name: String,
    /// Since when, milliseconds since the Unix epoch; absent when never heard since this validator started.
    pub since_ms: Option<u64>,
    /// Milliseconds of silence, at least.
    pub silent_ms: u64,
}

/// `GET /api/v1/snapshot`: everything above at one moment.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Snapshot {
    /// `unsplit.snapshot/1`.
    pub schema: String,
    /// This validator.
    pub status: Status,
    /// All validators.
    pub nodes: Vec<NodeRow>,
    /// The explanation.
    pub why: Why,
    /// Who can talk to whom, without what was before.
    #[serde(default)]
    pub partitions: PartitionsView,
    /// Whether this validator does its duty now, so that it may be counted on: `/readyz`.
    #[serde(default)]
    pub ready: bool,
    /// Why it is not ready; absent when it is.
    #[serde(default)]
    pub not_ready: Option<String>,
}

/// A finalized block, `GET /api/v1/blocks/{height|latest}`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct BlockView {
    /// `unsplit.block/1`.
    pub schema: String,
    /// Its height.
    pub height: u64,
    /// Its digest, hex.
    pub digest: String,
    /// Its parent's digest, hex.
    pub parent: String,
    /// Consensus epoch.
    pub epoch: u64,
    /// Consensus view it was proposed in.
    pub view: u64,
    /// Name of the validator that proposed it.
    pub leader: String,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    /// State root after its parent, hex.
    pub parent_state_root: String,
    /// Its size in bytes.
    pub bytes: usize,
    /// Its transactions in order.
    pub transactions: Vec<TransactionView>,
    /// Whether what this validator knows is not to be taken for the present: finality is halted, or it is behind.
    #[serde(default)]
    pub stale: bool,
    /// How old the newest block is that this validator has applied, in milliseconds.
    #[serde(default)]
    pub age_ms: u64,
}

/// A transaction inside a finalized block.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct TransactionView {
    /// Its id, hex.
    pub id: String,
    /// The signing account, hex.
    pub account: String,
    /// The account's nonce.
    pub nonce: u64,
    /// The kind, for example `transfer`.
    pub kind: String,
    /// The recipient of a transfer, hex.
    pub to: Option<String>,
    /// The amount of a transfer.
    pub amount: Option<u64>,
    /// The task's id, of a submission or cancellation.
    pub task: Option<String>,
    /// The task's number, of a completion, decline or renewal.
    pub number: Option<u64>,
    /// The fencing token of the lease it speaks of, of a completion, decline or renewal.
    pub token: Option<u64>,
    /// SHA-256 of the result, hex, of a completion.
    pub result_sha256: Option<String>,
    /// The validator it speaks of, of a suspicion, its withdrawal, or what a validator says of itself.
    #[serde(default)]
    pub node: Option<String>,
    /// What is wrong with it, of a suspicion.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Where a transaction stands.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TransactionState {
    /// Waiting in this validator's mempool. Volatile: resubmit the same bytes if it does not become final.
    #[default]
    Pending,
    /// In a finalized block.
    Finalized,
}

/// `GET /api/v1/tx/{id}` and the answer to `POST /api/v1/tx`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct TransactionStatus {
    /// `unsplit.transaction/1`.
    pub schema: String,
    /// Its id, hex.
    pub id: String,
    /// Where it stands.
    pub state: TransactionState,
    /// The block that holds it, when finalized.
    pub height: Option<u64>,
    /// Why it stays pending for now: finality is halted. Absent while blocks become final, and once it is final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted: Option<String>,
}

/// `GET /api/v1/accounts/{id}`. An account never used has balance 0 and nonce 0.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct AccountView {
    /// `unsplit.account/1`.
    pub schema: String,
    /// Its public key, hex.
    pub id: String,
    /// Its balance.
    pub balance: u64,
    /// The nonce its next transaction must carry.
    pub nonce: u64,
    /// The height this was read at.
    pub height: u64,
    /// Whether it is not to be taken for the present state: finality is halted, or this validator is behind.
    #[serde(default)]
    pub stale: bool,
    /// How old the state is that this was read from, in milliseconds.
    #[serde(default)]
    pub age_ms: u64,
}

/// One thing that happened, `GET /api/v1/events` (server-sent events; `id:` is `offset`).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Event {
    /// Grows by one per event of this process.
    pub offset: u64,
    /// Milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What may happen.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// A block was finalized and applied.
    Finalized {
        /// Its height.
        height: u64,
        /// Its digest, hex.
        digest: String,
        /// How many transactions it holds.
        transactions: usize,
    },
    /// Finality changed.
    FinalityChanged {
        /// The new state.
        finality: Finality,
        /// The sentence of `why`.
        why: String,
    },
    /// The network is in another state.
    StateChanged {
        /// The new one.
        state: NetworkState,
        /// The sentence of `why`.
        why: String,
    },
    /// How many more failures finality survives is another number, which is at or below the alarm, or was.
    SlackChanged {
        /// How many; negative when a quorum does not hear each other.
        slack: i64,
        /// From so little on it is an alarm.
        floor: i64,
        /// Whether it is one.
        alarm: bool,
        /// The sentence of `why`.
        why: String,
    },
    /// A validator is heard again.
    NodeHeard {
        /// Its name.
        node: String,
    },
    /// A validator fell silent.
    NodeSilent {
        /// Its name.
        node: String,
    },
    /// This validator began or stopped signing.
    DutyChanged {
        /// The new duty.
        duty: Duty,
        /// Why.
        reason: String,
    },
    /// A peer was cut off by the engine.
    PeerBlocked {
        /// Its name.
        node: String,
        /// The component that asked for it.
        component: String,
        /// `proof` or `unexplained`.
        grounds: String,
        /// For how long, milliseconds.
        ttl_ms: u64,
    },
    /// A fault was injected (devnet chains only).
    FaultInjected {
        /// What it does.
        fault: String,
    },
    /// A fault ended.
    FaultEnded {
        /// What it did.
        fault: String,
    },
    /// What ails a validator that is heard, as this one sees it, is another thing now.
    NodeAiling {
        /// Its name.
        node: String,
        /// What ails it now, the gravest first; nothing when it is well again.
        ailments: Vec<AilmentView>,
    },
    /// This validator wants another restarted by its supervisor, which obeys when more than f do.
    RecoveryWanted {
        /// Its name.
        node: String,
        /// Why.
        reason: String,
    },
    /// Who can talk to whom is another thing now.
    PartitionChanged {
        /// All of it in one sentence.
        sentence: String,
    },
    /// A part of what this validator keeps on its disk is damaged. It was taken out, and comes back from peers.
    StoreDamaged {
        /// What it is a part of: `blocks`, `certificates`, `checkpoints`, `votes`, `caches`, `progress` or `guard`.
        part: String,
        /// `torn` (by a crash), `hole` (not there) or `rot` (something else than was written).
        damage: String,
        /// The first height concerned, where that is known.
        from: Option<u64>,
        /// The last one.
        to: Option<u64>,
        /// Where the damaged bytes are kept.
        kept: Option<String>,
        /// Where it was, and what is wrong with it.
        what: String,
    },
    /// Blocks or certificates that were missing came back from peers.
    StoreRepaired {
        /// `blocks` or `certificates`.
        part: String,
        /// The first height.
        from: u64,
        /// The last one.
        to: u64,
        /// How many, of those from the first to the last.
        count: usize,
    },
    /// This validator follows the chain in another way now.
    SyncChanged {
        /// In which.
        course: Course,
        /// The newest block that took effect.
        height: u64,
        /// Where the chain is, as far as is known.
        target: u64,
        /// Why.
        why: String,
    },
    /// A state was fetched from peers, checked, and taken over: the blocks that lead to it are not needed any more.
    SnapshotTaken {
        /// The height that it is of.
        height: u64,
        /// What it took.
        bytes: u64,
        /// In how many pieces.
        pieces: u64,
        /// How long it took, milliseconds.
        took_ms: u64,
    },
    /// A block is missing here, and no peer that was asked holds it.
    StoreOutOfReach {
        /// Its height.
        height: u64,
    },
    /// Enough validators said of another that it does not do its work, or it is back.
    StandingChanged {
        /// Its name.
        node: String,
        /// How it stands now.
        standing: Standing,
        /// Of what class the suspicions are, when it does not do its work.
        reason: Option<String>,
        /// Who said so.
        accusers: Vec<String>,
        /// Whether so many were accused at once that it counts as an event of the network.
        network_event: bool,
        /// The block that changed it.
        height: u64,
    },
    /// The ledger decided who votes in the next epoch, and that changes something or was to.
    SetDecided {
        /// That epoch.
        epoch: u64,
        /// How many validators vote in it.
        validators: u64,
        /// Who does not any more.
        going: Vec<Departing>,
        /// Who does for the first time.
        coming: Vec<String>,
        /// What was to change and does not for now.
        postponed: Vec<Departing>,
    },
    /// An epoch began.
    EpochBegan {
        /// Which one.
        epoch: u64,
        /// How many validators vote in it.
        validators: u64,
        /// Who voted until now and does not any more.
        gone: Vec<String>,
        /// Who votes for the first time.
        came: Vec<String>,
    },
    /// Somebody asks for a seat.
    JoinRequested {
        /// What it is to be called.
        node: String,
        /// Its key.
        key: String,
    },
    /// Enough validators approve of it: it is a learner, with a seat and no vote.
    Learner {
        /// What it is called.
        node: String,
        /// Its key.
        key: String,
    },
    /// A learner is level with the chain for the first time.
    CaughtUp {
        /// What it is called.
        node: String,
        /// Its key.
        key: String,
    },
    /// A request for a seat is over, and nothing came of it.
    JoinEnded {
        /// What it was to be called.
        node: String,
        /// Its key.
        key: String,
        /// Why.
        reason: String,
    },
    /// The tasks ask for another capacity than before: what an autoscaler should aim at.
    ScalingChanged {
        /// The capacity of all validators that take tasks.
        capacity: u64,
        /// The capacity that would serve what is asked for.
        desired: u64,
    },
    /// A task was submitted, or stands elsewhere now.
    TaskChanged {
        /// The chain's running number of the task.
        number: u64,
        /// What its submitter calls it.
        id: String,
        /// The submitter's account, hex.
        account: String,
        /// Where it stands now.
        state: TaskState,
        /// The validator it is leased to, or that did it.
        holder: Option<String>,
        /// The fencing token of that lease.
        token: Option<u64>,
        /// Leases that ended without a result so far.
        attempts: u32,
        /// The block that changed it.
        height: u64,
        /// Why the last lease ended without a result, or why the task failed.
        reason: Option<String>,
    },
    /// A result was dropped: its lease was over, or the task was finished already.
    CommitRejected {
        /// The chain's running number of the task.
        number: u64,
        /// What its submitter calls it; absent when the task is no longer known.
        id: Option<String>,
        /// The validator that sent the result.
        node: String,
        /// The fencing token it sent.
        token: u64,
        /// What spoke against it.
        reason: String,
    },
}

/// Body of `POST /api/v1/devnet/cuts`: drop messages from and to these peers. Only on chains whose id contains `devnet`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CutRequest {
    /// Names of peers whose messages to this validator are dropped.
    #[serde(default)]
    pub inbound: Vec<String>,
    /// Names of peers to whom this validator's messages are dropped.
    #[serde(default)]
    pub outbound: Vec<String>,
    /// How long, milliseconds; at most one hour.
    pub ttl_ms: u64,
}

/// One cut that is in force. The answer to `POST /api/v1/devnet/cuts` is this with `schema`: `unsplit.cut/1`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Cut {
    /// Id, for `DELETE /api/v1/devnet/cuts/{id}`.
    pub id: u64,
    /// Peers whose messages to this validator are dropped.
    pub inbound: Vec<String>,
    /// Peers to whom this validator's messages are dropped.
    pub outbound: Vec<String>,
    /// Milliseconds until it ends by itself.
    pub remaining_ms: u64,
}

/// `GET /api/v1/devnet/cuts`: all cuts that are in force.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Cuts {
    /// `unsplit.cuts/1`.
    pub schema: String,
    /// Oldest first.
    pub cuts: Vec<Cut>,
}

/// The answer to `DELETE /api/v1/devnet/cuts[/{id}]`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Healed {
    /// `unsplit.healed/1`.
    pub schema: String,
    /// How many cuts were ended.
    pub healed: usize,
}

/// JSON body of `POST /api/v1/tx`; the same bytes may be sent plainly as `application/octet-stream`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// The encoded transaction, hex.
    pub transaction: String,
}

/// The frame `missed` of `GET /api/v1/events`: events were dropped before this reader took them. It should read
/// `/api/v1/snapshot` once; the frames that follow are complete again.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Missed {
    /// How many; 0 when the offset asked for is one this process has not reached, because it was restarted.
    pub missed: u64,
}

/// RFC 9457 problem document, `application/problem+json`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Problem {
    /// `about:blank` or a URI reference that names the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// Short summary of the kind.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What went wrong this time.
    pub detail: String,
    /// Stable code, for example `nonce_too_low`.
    pub code: String,
    /// How to mend it.
    pub help: String,
}
