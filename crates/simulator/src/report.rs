//! What came of a run?

use serde::{Deserialize, Serialize};
use std::fmt;

/// What is checked. All but the last two are asked for by a scenario's `expect`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Checker {
    /// One block and one state root at each height, over all nodes and their restarts.
    Agreement,
    /// Every block is certified by a quorum of distinct, valid signatures, or is an ancestor of one that is.
    Certificates,
    /// What a node reported final is on every node that has come so far, exactly once, at the height reported.
    Durability,
    /// The sum of all balances never changes, and the balances are those that the blocks lead to.
    Conservation,
    /// No key signs two conflicting votes, whatever happens to its node.
    NoConflictingVotes,
    /// No node cuts off another, unless that gave wrong answers to whoever wanted to catch up.
    NoBans,
    /// Those are cut off who give wrong answers to whoever wants to catch up, and nobody else is.
    LiarsCutOff,
    /// Blocks become final all the time, without long gaps.
    ProgressThroughout,
    /// Once the network is healed and enough nodes are up, blocks become final soon, all nodes meet at one state, and
    /// whatever waits becomes final.
    ProgressAfterHeal,
    /// While no group of connected voters is a quorum, nothing new becomes final.
    Halts,
    /// Nodes say that finality is halted while it is, and what would mend it.
    SaysWhy,
    /// Every node names the cuts that there are, and none that there is not, a second after the rows can show it.
    CutNamed,
    /// A node whose vote guard was lost observes, and votes again in the end.
    VotesAgain,
    /// Every task on the chain is in the state or was finished long ago; it is completed at most once, with the true
    /// result, under the newest token; what is leased adds up; and what nodes and clients were told is so.
    Tasks,
    /// Once the network is healed, every task is finished within a while, one way or another.
    TasksFinish,
    /// A validator is found unresponsive in the block in which more than f others hold it so, and in no other; it has no
    /// tasks from then on, and comes back only by its own word or when no more than f others hold it so.
    Verdicts,
    /// Nobody is ever found unresponsive.
    NoVerdicts,
    /// In the end nobody is unresponsive who is not down for good.
    EveryoneIsBack,
    /// In the end everybody has a vote who asked for a seat.
    Joined,
    /// In the end no node misses a block or a certificate that it held, and each whose disk rotted has said so.
    Repaired,
    /// A node does not end by itself.
    StaysUp,
    /// Nothing panics.
    NoPanic,
}

/// Something that must not happen, and did.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Violation {
    /// Who noticed.
    pub checker: Checker,
    /// What happened.
    pub what: String,
    /// When, in simulated milliseconds since the start.
    pub at_ms: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checker = serde_json::to_string(&self.checker).unwrap_or_default();
        write!(f, "{}.{:03} s {}: {}", self.at_ms / 1_000, self.at_ms % 1_000, checker.trim_matches('"'), self.what)
    }
}

/// What came of playing a scenario with one seed.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `unsplit.sim-run/1`.
    pub schema: &'static str,
    /// Its name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// Stands for everything that happened: the same seed gives the same digest.
    pub digest: String,
    /// What must not happen, and did.
    pub violations: Vec<Violation>,
    /// Whether the run went as the scenario says. One that must fail is ok when the checkers it names caught it.
    pub ok: bool,
    /// Finalized blocks.
    pub blocks: u64,
    /// Simulated seconds.
    pub simulated_s: f64,
    /// Seconds that it took.
    pub wall_s: f64,
    /// Orders that clients signed and submitted, one for each nonce: transfers, tasks and cancellations.
    pub submitted: u64,
    /// Submissions of the same bytes again.
    pub resubmitted: u64,
    /// Orders that could not take effect any more, so that another was signed with their nonce.
    pub replaced: u64,
    /// Orders that a node reported final.
    pub finalized: u64,
    /// What became of the tasks.
    pub tasks: TaskReport,
    /// Who was found unresponsive, in order.
    pub falls: Vec<Fall>,
    /// Starts of nodes after their first.
    pub restarts: u64,
    /// Seconds without a new block between the healing and the first block after it.
    pub resumed_s: Option<f64>,
    /// Seconds between the healing and everyone having met at one state with nothing left waiting.
    pub converged_s: Option<f64>,
    /// Seconds between the healing and all tasks being finished.
    pub tasks_finished_s: Option<f64>,
    /// The longest that any node took to name a cut, in seconds from the cut on; only where that is expected.
    pub named_s: Option<f64>,
    /// How often a node named a cut.
    pub named: u64,
    /// The longest time between two new blocks.
    pub gap_s: f64,
    /// Votes seen on the wire, alone and in certificates.
    pub votes: u64,
    /// Damaged parts of stores that nodes told of.
    pub damage_found: u64,
    /// Blocks and certificates that nodes told to have back.
    pub repaired: u64,
    /// What was done, in order.
    pub steps: Vec<String>,
}

/// A validator was found unresponsive.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Fall {
    /// Its name.
    pub node: String,
    /// What for.
    pub reason: String,
    /// In which block.
    pub height: u64,
}

/// What became of the tasks on the chain.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct TaskReport {
    /// Submissions on the chain.
    pub submitted: u64,
    /// Done.
    pub done: u64,
    /// Failed for good: by their deadline, or after as many leases as they may have.
    pub failed: u64,
    /// Cancelled.
    pub cancelled: u64,
    /// Not finished at the end.
    pub open: u64,
    /// Finished so long ago that the state knows nothing of them any more.
    pub forgotten: u64,
    /// Times that a task went from one validator to another, under a greater token.
    pub moved: u64,
    /// Leases that ran out.
    pub lapsed: u64,
    /// Leases that ended because their holder was found unresponsive.
    pub evicted: u64,
    /// Times that a validator was found unresponsive.
    pub verdicts: u64,
    /// Leases that their holders declined.
    pub declined: u64,
    /// Completions that were rejected because their lease was over.
    pub stale: u64,
    /// Completions under leases that are older than a halt that lasted longer than they may.
    pub outlived: u64,
    /// Leases that ran out in the very first block after such a halt.
    pub halted: u64,
    /// Tasks that vanished.
    pub lost: u64,
    /// Completions of tasks that had one.
    pub doubled: u64,
}

impl std::ops::AddAssign for TaskReport {
    fn add_assign(&mut self, other: Self) {
        self.submitted += other.submitted;
        self.done += other.done;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.open += other.open;
        self.forgotten += other.forgotten;
        self.moved += other.moved;
        self.lapsed += other.lapsed;
        self.declined += other.declined;
        self.stale += other.stale;
        self.outlived += other.outlived;
        self.halted += other.halted;
        self.lost += other.lost;
        self.doubled += other.doubled;
    }
}

impl fmt::Display for TaskReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { submitted, done, failed, cancelled, open, moved, stale, lost, doubled, .. } = self;
        write!(f, "{done} of {submitted} tasks done, {failed} failed, {cancelled} cancelled, {open} open; ")?;
        write!(f, "{moved} moved, {stale} late completions rejected, {lost} lost, {doubled} doubled")
    }
}
