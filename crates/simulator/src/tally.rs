//! What became of the tasks?
//!
//! The blocks are executed once more with the ledger's own rules, because who held which lease when is in no block. That is
//! for the report; the verdicts are those of `tasks`, which has rules of its own and looks at every state on the way.

use crate::{
    Checker, Fall, TaskReport,
    tasks::{Held, misleased},
    verdicts::Court,
    world::World,
};
use ledger::{Block, BlockError, Height, Kind, NodeId, Reason, State, Task, TaskNumber, TaskState, Token, Turn};
use std::collections::{BTreeMap, BTreeSet};

/// The shortest lease there is: no shorter gap between blocks outlasts one.
const GAP_MS_MIN: u64 = 1_000;

/// Counts what the blocks of one node say, and gives who fell and what is wrong with the leases after any of them.
pub(crate) fn tally<'a>(
    world: &World,
    blocks: impl Iterator<Item = &'a Block>,
) -> (TaskReport, Vec<Fall>, Vec<(Checker, String)>) {
    let mut tally = Tally {
        state: State::genesis(&world.genesis),
        leases: BTreeMap::new(),
        ended: BTreeMap::new(),
        gaps: Vec::new(),
        report: TaskReport::default(),
    };
    let mut wrong = Vec::new();
    let voters = world.genesis.validators.iter().map(|validator| validator.key).collect();
    let mut court = Court::new(voters, world.genesis.timestamp_ms);
    for block in blocks {
        if let Err(problem) = tally.block(block) {
            wrong.push((Checker::Tasks, format!("the blocks cannot be executed again: {problem}")));
            break;
        }
        let leases = misleased(world, &Held::of(&tally.state)).into_iter().map(|what| (Checker::Tasks, what));
        let verdicts = court.follow(block, &tally.state).into_iter().map(|what| (Checker::Verdicts, what));
        let after = |(checker, what)| (checker, format!("after block {}, {what}", block.height));
        wrong.extend(leases.chain(verdicts).map(after));
    }
    tally.report.verdicts = court.falls.len() as u64;
    let fall = |(height, node, reason): (Height, NodeId, Reason)| {
        let named = world.genesis.validators.iter().find(|validator| validator.key == node);
        let node = named.map_or_else(|| node.to_string(), |validator| validator.name.clone());
        Fall { node, reason: format!("{reason:?}").to_lowercase(), height: height.0 }
    };
    let falls = court.falls.into_iter().map(fall).collect();
    let (counts, report) = (tally.state.task_counts(), tally.report);
    let open = counts.pending + counts.leased;
    let known = open + counts.done + counts.failed + counts.cancelled;
    (TaskReport { open, forgotten: report.submitted - known, ..report }, falls, wrong)
}

struct Tally {
    state: State,
    /// The newest lease of each task: its token, whose it is, and when it began.
    leases: BTreeMap<TaskNumber, (Token, NodeId, u64)>,
    /// How many leases of each task ended without a result.
    ended: BTreeMap<TaskNumber, usize>,
    /// Long gaps between two blocks, from one timestamp to the other.
    gaps: Vec<(u64, u64)>,
    report: TaskReport,
}

impl Tally {
    fn block(&mut self, block: &Block) -> Result<(), BlockError> {
        let gap = (self.state.timestamp().0, block.timestamp.0);
        self.state.apply_verified(block, |_| true)?;
        if gap.1 - gap.0 > GAP_MS_MIN {
            self.gaps.push(gap);
        }
        let kinds = || block.transactions.iter().map(|transaction| &transaction.kind);
        self.report.submitted += kinds().filter(|kind| matches!(kind, Kind::SubmitTask(_))).count() as u64;
        let declined = kinds().filter(|kind| matches!(kind, Kind::DeclineTask { .. })).filter_map(Kind::claim);
        let declined: BTreeSet<TaskNumber> = declined.map(|claim| claim.task).collect();
        self.report.declined += declined.len() as u64;
        for number in self.state.task_changes().iter().copied().collect::<BTreeSet<_>>() {
            self.change(number, declined.contains(&number), gap);
        }
        Ok(())
    }

    /// Whether the last lease of a task ended in this block because its holder was found unresponsive.
    fn evicts(&self, task: &Task) -> bool {
        let found = self.state.verdict_changes().iter();
        let found = found.filter(|(_, change)| matches!(change.turn, Turn::Unresponsive(_)));
        found.map(|(node, _)| Some(node)).any(|node| node == task.lost_by.last())
    }

    fn change(&mut self, number: TaskNumber, declined: bool, gap: (u64, u64)) {
        let Some(task) = self.state.task(number) else { return };
        let lasts = u64::from(task.lease_ms);
        let ended = self.ended.insert(number, task.lost_by.len()).unwrap_or(0);
        if task.lost_by.len() > ended && !declined && self.evicts(&task) {
            self.report.evicted += 1;
        } else if task.lost_by.len() > ended && !declined {
            self.report.lapsed += 1;
            self.report.halted += u64::from(gap.1 - gap.0 > lasts);
        }
        match &task.state {
            TaskState::Leased(lease) => {
                let before = self.leases.get(&number).copied();
                if before.is_none_or(|(token, _, _)| token < lease.token) {
                    self.leases.insert(number, (lease.token, lease.holder, gap.1));
                    self.report.moved += u64::from(before.is_some_and(|(_, holder, _)| holder != lease.holder));
                }
            }
            TaskState::Done(_) => {
                self.report.done += 1;
                let since = self.leases.get(&number).map_or(u64::MAX, |(_, _, since)| *since);
                let outlasts = |(from, to): &(u64, u64)| *from >= since && to - from > lasts;
                self.report.outlived += u64::from(self.gaps.iter().any(outlasts));
            }
            TaskState::Failed { .. } => self.report.failed += 1,
            TaskState::Cancelled { .. } => self.report.cancelled += 1,
            TaskState::Pending => {}
        }
    }
}
