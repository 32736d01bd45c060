//! Who is held to be unresponsive, by whom, and is that what the chain makes of it?
//!
//! Written from the rules and not from the ledger: it reads what validators say off the blocks, counts, and compares with
//! what the state says after each block.

use ledger::{Block, Departure, Height, Kind, NodeId, Phase, Policy, Reason, State, TaskNumber, TaskState, Turn};
use std::collections::{BTreeMap, BTreeSet};

/// A statement stands for so long, in milliseconds of lease time.
const STANDS_MS: u64 = 600_000;

/// Of a gap between two blocks so much counts, in milliseconds.
const GAP_MS_MAX: u64 = 1_000;

/// For so many blocks it counts that somebody was level.
const LEVEL_BLOCKS: u64 = 256;

/// What was said and stands, and who was found unresponsive for what.
pub(crate) struct Court {
    /// Lease time and block time.
    now: (u64, u64),
    /// Of whom, by whom: until when it stands.
    said: BTreeMap<NodeId, BTreeMap<NodeId, u64>>,
    down: BTreeMap<NodeId, Reason>,
    /// Who has a vote.
    voters: BTreeSet<NodeId>,
    /// Who said that it wants to leave, and did not take it back.
    leaving: BTreeSet<NodeId>,
    /// Who asked for a seat and has no vote yet.
    asked: BTreeMap<NodeId, Asked>,
    /// All that fell: in which block, who, and for what.
    pub(crate) falls: Vec<(Height, NodeId, Reason)>,
}

/// What was said of somebody who asked for a seat.
#[derive(Default)]
struct Asked {
    replaces: Option<NodeId>,
    approvals: BTreeSet<NodeId>,
    /// Whether enough ever approved.
    is_learner: bool,
    /// The newest block at which it said that it is level.
    level: Option<Height>,
}

impl Court {
    pub(crate) fn new(voters: BTreeSet<NodeId>, start_ms: u64) -> Self {
        Self {
            now: (start_ms, start_ms),
            said: BTreeMap::new(),
            down: BTreeMap::new(),
            voters,
            leaving: BTreeSet::new(),
            asked: BTreeMap::new(),
            falls: Vec::new(),
        }
    }

    /// Follows one block, and says what is wrong with the state after it.
    pub(crate) fn follow(&mut self, block: &Block, state: &State) -> Vec<String> {
        let gap = (block.timestamp.0 - self.now.1).min(GAP_MS_MAX);
        self.now = (self.now.0 + gap, block.timestamp.0);
        let spoke = self.listen(block);
        self.said.values_mut().for_each(|accusers| accusers.retain(|_, until| *until >= self.now.0));
        let (fell, mut wrong) = self.judge_falls(state);
        self.falls.extend(fell.into_iter().map(|(node, reason)| (block.height, node, reason)));
        self.count_approvals();
        wrong.extend(self.judge_decision(state));
        self.forget_gone(state);
        wrong.extend(self.judge_returns(state, &spoke));
        wrong.extend(self.judge_leases(state));
        wrong
    }

    /// Takes in what is said, and gives who said of itself that it is there.
    fn listen(&mut self, block: &Block) -> BTreeSet<NodeId> {
        let mut spoke = BTreeSet::new();
        for transaction in &block.transactions {
            match &transaction.kind {
                Kind::Suspect { node, .. } => {
                    let until = self.now.0 + STANDS_MS;
                    self.said.entry(*node).or_default().insert(transaction.account, until);
                }
                Kind::Withdraw { node, .. } => {
                    self.said.entry(*node).or_default().remove(&transaction.account);
                }
                Kind::Alive { .. } => {
                    // It clears what was said until then.
                    self.said.remove(&transaction.account);
                    spoke.insert(transaction.account);
                }
                Kind::Leave { .. } => drop(self.leaving.insert(transaction.account)),
                Kind::Stay { .. } => drop(self.leaving.remove(&transaction.account)),
                Kind::Join(request) => {
                    let asked = Asked { replaces: request.replaces, ..Asked::default() };
                    self.asked.insert(transaction.account, asked);
                }
                Kind::Approve { node, .. } => {
                    self.asked.entry(*node).or_default().approvals.insert(transaction.account);
                }
                Kind::CaughtUp(mark) => {
                    self.asked.entry(transaction.account).or_default().level = Some(mark.height);
                }
                Kind::Retract { .. } => drop(self.asked.remove(&transaction.account)),
                Kind::Transfer { .. }
                | Kind::SubmitTask(_)
                | Kind::CancelTask { .. }
                | Kind::CompleteTask { .. }
                | Kind::DeclineTask { .. }
                | Kind::RenewLease { .. }
                | Kind::Drain { .. }
                | Kind::Undrain { .. }
                | Kind::Certify { .. } => {}
            }
        }
        spoke
    }

    fn faults(&self) -> usize {
        (self.voters.len() - 1) / 3
    }

    fn accusers(&self, node: &NodeId) -> usize {
        self.said.get(node).map_or(0, BTreeMap::len)
    }

    /// Who fell in this block, and what is wrong with that.
    fn judge_falls(&mut self, state: &State) -> (BTreeMap<NodeId, Reason>, Vec<String>) {
        let mut wrong = Vec::new();
        let fell = state.verdict_changes().iter().filter_map(|(node, change)| match &change.turn {
            Turn::Unresponsive(verdict) => Some((*node, verdict.reason)),
            Turn::Trial | Turn::Active | Turn::Drained | Turn::Undrained => None,
        });
        let fell: BTreeMap<NodeId, Reason> = fell.collect();
        for node in fell.keys().filter(|node| self.accusers(node) <= self.faults()) {
            wrong.push(format!("{node} fell on the word of {}, f is {}", self.accusers(node), self.faults()));
        }
        for (node, accusers) in &self.said {
            if accusers.len() > self.faults() && !self.down.contains_key(node) && !fell.contains_key(node) {
                wrong.push(format!("{} validators accuse {node}, and it stands", accusers.len()));
            }
        }
        self.down.extend(&fell);
        (fell, wrong)
    }

    fn count_approvals(&mut self) {
        let quorum = self.voters.len() - self.faults();
        for asked in self.asked.values_mut() {
            asked.is_learner |= match asked.replaces {
                Some(old) => asked.approvals.contains(&old),
                None => asked.approvals.iter().filter(|node| self.voters.contains(node)).count() >= quorum,
            };
        }
    }

    /// Whoever is to go asked for it, or a quorum holds it unresponsive; whoever is to come asked for it, and enough approve
    /// and saw it level; not too many change at once, and enough are left.
    fn judge_decision(&mut self, state: &State) -> Vec<String> {
        let Some(decision) = state.decision() else { return Vec::new() };
        let mut wrong = Vec::new();
        let quorum = self.voters.len() - self.faults();
        for (node, departure) in &decision.going {
            let is_due = match departure {
                Departure::Left => self.leaving.contains(node),
                Departure::Removed => self.down.contains_key(node) && self.accusers(node) >= quorum,
                Departure::Replaced => decision
                    .coming
                    .iter()
                    .any(|new| self.asked.get(new).is_some_and(|asked| asked.replaces == Some(*node))),
            };
            if !is_due {
                wrong.push(format!("{node} is to go ({departure:?}), on the word of {}", self.accusers(node)));
            }
        }
        for node in &decision.coming {
            let asked = self.asked.remove(node).unwrap_or_default();
            let is_level = asked.level.is_some_and(|level| state.height().0 <= level.0 + LEVEL_BLOCKS);
            if !asked.is_learner || !is_level {
                let (approvals, level) = (asked.approvals.len(), asked.level);
                wrong.push(format!("{node} is to come, on the word of {approvals}, level at {level:?}"));
            }
        }
        let (left, coming, going) = (decision.voters.len(), decision.coming.len(), decision.going.len());
        if left + going != self.voters.len() + coming || left < 3 * state.byzantine_budget() + 1 {
            wrong.push(format!("{left} validators are left of {}, and {coming} come", self.voters.len()));
        }
        if going.max(coming) > self.faults().max(1) {
            wrong.push(format!("{going} go and {coming} come at once, f is {}", self.faults()));
        }
        wrong
    }

    /// Who has no vote any more says nothing, and nothing is said of it.
    fn forget_gone(&mut self, state: &State) {
        let voters: BTreeSet<NodeId> = state.voters().iter().copied().collect();
        if voters != self.voters {
            self.said.retain(|node, _| voters.contains(node));
            self.said.values_mut().for_each(|accusers| accusers.retain(|accuser, _| voters.contains(accuser)));
            self.down.retain(|node, _| voters.contains(node));
            self.voters = voters;
        }
    }

    fn judge_returns(&mut self, state: &State, spoke: &BTreeSet<NodeId>) -> Vec<String> {
        let mut wrong = Vec::new();
        let down = |node: &NodeId| state.standing(node).is_some_and(|it| it.status.phase() == Phase::Unresponsive);
        let (still, back): (Vec<_>, Vec<_>) =
            self.down.iter().map(|(node, reason)| (*node, *reason)).partition(|(node, _)| down(node));
        for (node, reason) in &back {
            let by_word = matches!(reason, Reason::Link | Reason::Process | Reason::Consensus);
            if by_word && !spoke.contains(node) {
                wrong.push(format!("{node} is back and did not say so"));
            }
            if !by_word && self.accusers(node) > self.faults() {
                wrong.push(format!("{node} is back, and {} hold that it is not", self.accusers(node)));
            }
        }
        self.down = still.into_iter().collect();
        if !state.validators_unresponsive().eq(self.down.keys().copied()) {
            wrong.push("the state names others as unresponsive".into());
        }
        wrong
    }

    fn judge_leases(&self, state: &State) -> Option<String> {
        let held = |task: &ledger::Task| match &task.state {
            TaskState::Leased(lease) => self.down.contains_key(&lease.holder) && task.policy == Policy::Replace,
            TaskState::Pending | TaskState::Done(_) | TaskState::Failed { .. } | TaskState::Cancelled { .. } => false,
        };
        let wrong = state.tasks_from(TaskNumber(0)).find(held)?;
        Some(format!("task {} is leased to a validator that is unresponsive", wrong.number))
    }
}
