//! The documents about validators.

use super::Duty;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a validator stands, by the votes of the others on the chain.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It takes tasks.
    #[default]
    Active,
    /// At least f + 1 validators say that it does not do its work: it has no tasks until it is back.
    Unresponsive,
    /// It is back, and takes one task at a time until it has proved itself.
    Trial,
}

/// `GET /api/v1/validators`: who votes now, and who will.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct ValidatorsView {
    /// `unsplit.validators/1`.
    pub schema: String,
    /// As of which block.
    pub height: u64,
    /// The epoch of the next block.
    pub epoch: u64,
    /// The last height of that epoch.
    pub last_height: u64,
    /// Who votes in it.
    pub validators: Vec<String>,
    /// How many of them it takes: n - f.
    pub quorum: u64,
    /// How many liars every set of validators has to survive: none has fewer than three times as many and one.
    pub byzantine_budget: u64,
    /// How many validators beyond a quorum must answer after one has left.
    pub slack_min: u64,
    /// Who votes in the next epoch, once that is decided.
    pub next: Option<Vec<String>>,
    /// The first epoch that is not decided yet.
    pub foreseen_epoch: u64,
    /// The height of the block that decides it.
    pub decided_at: u64,
    /// Who would vote in it if it were decided now.
    pub foreseen: Vec<String>,
    /// How many of them it would take.
    pub foreseen_quorum: u64,
    /// How many of them answer, as far as the chain knows.
    pub foreseen_answering: u64,
    /// Who would go.
    pub going: Vec<Departing>,
    /// Who would get a vote.
    #[serde(default)]
    pub coming: Vec<String>,
    /// What is to change and would not.
    pub postponed: Vec<Departing>,
    /// Who asks for a seat, or is a learner.
    #[serde(default)]
    pub candidates: Vec<CandidateView>,
}

/// Somebody who asks for a seat, or is a learner.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct CandidateView {
    /// What it is to be called.
    pub name: String,
    /// Public key, hex.
    pub key: String,
    /// Peer-to-peer address.
    pub address: String,
    /// Where it stands.
    pub region: String,
    /// The validator whose place it is to take.
    pub replaces: Option<String>,
    /// The block that took its request.
    pub since: u64,
    /// Which validators approve of it.
    pub approvals: Vec<String>,
    /// How many have to.
    pub approvals_needed: u64,
    /// The block since which it is a learner.
    pub learner_since: Option<u64>,
    /// The newest block at which it was level with the chain.
    pub level_at: Option<u64>,
    /// What it waits for, in words.
    pub waits_for: String,
}

/// A change of the set of validators to look at, by names. Whoever is to come may also be named by its key.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct WantedChange {
    /// Who would get a vote.
    pub join: Vec<String>,
    /// Who would go for whom to come.
    pub rotate: Vec<(String, String)>,
    /// Who would go by its own wish.
    pub leave: Vec<String>,
    /// Who would go because it does not answer.
    pub remove: Vec<String>,
}

/// Of whom a validator approves: the body of `POST /api/v1/approve`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The name that it asks for, or its key.
    pub node: String,
}

/// A validator that is to go, or whatever else does not change yet.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct Departing {
    /// Its name.
    pub node: String,
    /// On what grounds.
    pub why: String,
    /// What is in the way; absent when nothing is.
    pub postponed: Option<String>,
}

/// What one validator makes of its link to another.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LinkView {
    /// It is there.
    #[default]
    Alive,
    /// A sign of life is overdue; others are asked.
    Doubted,
    /// It is not there, as far as can be told from here.
    Suspect,
}

/// Something that ails a validator that is heard.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct AilmentView {
    /// `consensus`, `executor`, `disk` or `clock`.
    pub what: String,
    /// What was measured, in words.
    pub measured: String,
}

/// One row of `GET /api/v1/nodes`: a validator as this one sees it. Unreachable validators are rows too.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct NodeRow {
    /// Name from the genesis file.
    pub name: String,
    /// Public key, hex.
    pub key: String,
    /// Peer-to-peer address.
    pub address: String,
    /// Region from the genesis file.
    pub region: String,
    /// Whether this row is the answering validator itself.
    pub me: bool,
    /// The first epoch in which it votes.
    #[serde(default)]
    pub votes_from: Option<u64>,
    /// The first epoch in which it does not any more, once that is decided.
    #[serde(default)]
    pub votes_until: Option<u64>,
    /// Whether it wants to leave.
    #[serde(default)]
    pub leaving: bool,
    /// Whether it has a seat and no vote yet.
    #[serde(default)]
    pub learner: bool,
    /// Whether it was a validator and is none any more.
    #[serde(default)]
    pub gone: bool,
    /// Whether it is there, as far as can be told from here.
    pub reachable: bool,
    /// Milliseconds since it was last heard; absent when never heard.
    pub silent_ms: Option<u64>,
    /// Since when it is missing, milliseconds since the Unix epoch.
    pub missing_since_ms: Option<u64>,
    /// What it says about its duty; absent when never heard.
    pub duty: Option<Duty>,
    /// The height it reported last.
    pub height: Option<u64>,
    /// The version it reported last.
    pub version: Option<String>,
    /// Why it cannot be used, when that is known (for example another protocol version).
    pub problem: Option<String>,
    /// Tasks leased to it.
    #[serde(default)]
    pub leases: u64,
    /// How it stands, by the votes of the others.
    #[serde(default)]
    pub standing: Standing,
    /// Of what class the suspicions are that made it unresponsive.
    #[serde(default)]
    pub reason: Option<String>,
    /// Whether it finishes what it has and takes nothing more, by its own word.
    #[serde(default)]
    pub drained: bool,
    /// What is left of its trial: blocks led and tasks done.
    #[serde(default)]
    pub trial_left: Option<u32>,
    /// How far it is trusted with tasks, in thousandths.
    #[serde(default)]
    pub reputation: u32,
    /// Who says now that it does not do its work.
    #[serde(default)]
    pub suspected_by: Vec<String>,
    /// What this validator makes of its link to it.
    #[serde(default)]
    pub link: LinkView,
    /// The round trip to it, in microseconds.
    #[serde(default)]
    pub rtt_us: Option<u64>,
    /// How far its clock is ahead of this validator's, in milliseconds.
    #[serde(default)]
    pub clock_ahead_ms: Option<i64>,
    /// How long its disk took to make votes durable, in milliseconds, by its own word.
    #[serde(default)]
    pub disk_ms: Option<u64>,
    /// How much too late its event loop woke, in milliseconds, by its own word.
    #[serde(default)]
    pub lag_ms: Option<u64>,
    /// Tasks that it runs, by its own word.
    #[serde(default)]
    pub running: Option<u64>,
    /// What ails it, the gravest first.
    #[serde(default)]
    pub ailments: Vec<AilmentView>,
}

/// `GET /api/v1/nodes`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Nodes {
    /// `unsplit.nodes/1`.
    pub schema: String,
    /// In genesis order.
    pub nodes: Vec<NodeRow>,
}

/// `GET /api/v1/nodes/{name}`: one validator, and why it stands as it does.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct NodeView {
    /// `unsplit.node/1`.
    pub schema: String,
    /// The height this was read at.
    pub height: u64,
    /// As in the list.
    pub node: NodeRow,
    /// One sentence: why it stands as it does.
    pub why: String,
    /// Suspicions that stand.
    pub suspicions: Vec<SuspicionView>,
    /// The last changes of how it stands, oldest first.
    pub changes: Vec<ChangeView>,
    /// Milliseconds of block time before it can be back at the earliest, while it is unresponsive.
    pub dwell_ms: Option<u64>,
    /// Suspicions of its own that never became anybody's verdict.
    pub diverged: u64,
    /// How long ago its supervisor asked this validator for orders, milliseconds; absent when it never did.
    #[serde(default)]
    pub supervisor_asked_ms: Option<u64>,
    /// Why this validator wants it restarted, if it does.
    #[serde(default)]
    pub recovery_wanted: Option<String>,
    /// How likely it is to fail soon, in thousandths, from slow signals. Advice only.
    #[serde(default)]
    pub risk: Option<u32>,
    /// What that suggests, if anything.
    #[serde(default)]
    pub advice: Option<String>,
}

/// Programs and models by their SHA-256, hex, of at most two releases. What the list is empty of may be any.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Releases {
    /// Builds of this program.
    pub programs: Vec<String>,
    /// Models.
    pub models: Vec<String>,
}

/// `GET /api/v1/certified`: what supervisors may start, by agreement of a quorum.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct CertifiedView {
    /// `unsplit.certified/1`.
    pub schema: String,
    /// The height this was read at.
    pub height: u64,
    /// What may run.
    pub certified: Releases,
    /// The block that decided it; 0 for the genesis.
    pub since_height: u64,
    /// What validators propose instead.
    pub proposals: Vec<ProposalView>,
    /// How many validators have to propose the same.
    pub needed: u64,
}

/// What one validator proposes to certify.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct ProposalView {
    /// Its name.
    pub node: String,
    /// The whole list.
    pub proposed: Releases,
}

/// Answer of `POST /api/v1/nodes/{name}/recovery`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct RecoveryView {
    /// `unsplit.recovery/1`.
    pub schema: String,
    /// Who is to be brought back.
    pub node: String,
    /// The validator that now wants it.
    pub wanted_by: String,
    /// How many validators have to want it before its supervisor obeys: f + 1.
    pub needed: u64,
    /// How long its word stands, milliseconds.
    pub stands_ms: u64,
    /// How long ago the supervisor asked this validator for orders, milliseconds; absent when it never did.
    pub supervisor_asked_ms: Option<u64>,
}

/// One suspicion that stands on the chain.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct SuspicionView {
    /// Who says so.
    pub accuser: String,
    /// `link`, `process`, `consensus`, `executor`, `disk` or `clock`.
    pub reason: String,
    /// How long it was silent then, in milliseconds, rounded.
    pub silent_ms: u64,
    /// The block that holds it.
    pub height: u64,
}

/// One change of how a validator stands.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct ChangeView {
    /// The block that made it.
    pub height: u64,
    /// The chain's lease time of that block, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// How it stood from then on.
    pub standing: Standing,
    /// Of what class the suspicions were.
    pub reason: Option<String>,
    /// Who said so.
    pub accusers: Vec<String>,
    /// Whether so many were accused at once that it counts as an event of the network.
    pub network_event: bool,
}

/// `GET /api/v1/balance`: how the work is spread over the validators.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct BalanceView {
    /// `unsplit.balance/1`.
    pub schema: String,
    /// The height this was read at.
    pub height: u64,
    /// Each validator's part, in genesis order.
    pub loads: Vec<LoadView>,
    /// The greatest load over the mean one, in thousandths; 1,000 is even, 0 is no load at all.
    pub max_over_mean: u64,
    /// Tasks that wait for a validator.
    pub pending: u64,
    /// How long the oldest of them has waited, milliseconds of block time.
    pub oldest_pending_ms: Option<u64>,
    /// How much of the capacity that is there is taken, in thousandths.
    pub utilisation: u64,
    /// The capacity of all validators that take tasks.
    pub capacity: u64,
    /// The capacity that the queue and the utilisation ask for: what an autoscaler should aim at.
    pub desired_capacity: u64,
}

/// One validator's part of the work.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct LoadView {
    /// Its name.
    pub node: String,
    /// Tasks leased to it.
    pub leases: u64,
    /// Units leased to it.
    pub units: u64,
    /// Its capacity in the genesis file.
    pub capacity: u32,
    /// How far it is trusted with tasks, in thousandths.
    pub reputation: u32,
    /// Whether it takes tasks now.
    pub open: bool,
}

/// How a validator is to be ill, on a devnet.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Illness {
    /// Work that begins does not end.
    #[default]
    WedgedExecutor,
    /// Each write of the vote guard takes `delay_ms` longer.
    SlowDisk,
    /// It says of `node` on the chain that it is not there.
    FalseAccuser,
}

/// Body of `POST /api/v1/devnet/ailments`, and its answer.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Affliction {
    /// How.
    pub illness: Illness,
    /// How much slower a slow disk is, milliseconds.
    #[serde(default)]
    pub delay_ms: u64,
    /// Whom a false accuser accuses.
    #[serde(default)]
    pub node: Option<String>,
    /// How long, milliseconds; at most one hour.
    pub ttl_ms: u64,
}
