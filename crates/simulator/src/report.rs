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
    /// No node cuts off another.
    NoBans,
    /// Blocks become final all the time, without long gaps.
    ProgressThroughout,
    /// Once the network is healed and enough nodes are up, blocks become final soon, all nodes meet at one state, and
    /// whatever waits becomes final.
    ProgressAfterHeal,
    /// While no group of connected voters is a quorum, nothing new becomes final.
    Halts,
    /// Nodes say that finality is halted while it is, and what would mend it.
    SaysWhy,
    /// A node whose vote guard was lost observes, and votes again in the end.
    VotesAgain,
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
    /// Transfers that clients signed and submitted.
    pub submitted: u64,
    /// Submissions of the same bytes again.
    pub resubmitted: u64,
    /// Transfers that a node reported final.
    pub finalized: u64,
    /// Starts of nodes after their first.
    pub restarts: u64,
    /// Seconds without a new block between the healing and the first block after it.
    pub resumed_s: Option<f64>,
    /// Seconds between the healing and everyone having met at one state with nothing left waiting.
    pub converged_s: Option<f64>,
    /// The longest time between two new blocks.
    pub gap_s: f64,
    /// Votes seen on the wire, alone and in certificates.
    pub votes: u64,
    /// What was done, in order.
    pub steps: Vec<String>,
}
