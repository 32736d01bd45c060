//! How evenly is the work spread, and is there enough of everybody?

use super::State;
use crate::{
    reputation::Reputation,
    tasks::{TaskCounts, scaling::Demand},
    types::NodeId,
    verdicts::Phase,
};

/// How work is spread after a block. Computed when asked for: it looks at every validator, and at no task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalanceStatistics {
    /// What each validator has, in the order of keys.
    pub shares: Vec<Share>,
    /// The largest load of a validator that takes tasks, in thousandths of what it may hold.
    pub load_max: u64,
    /// The mean load of those, each counted by its capacity, in thousandths. Evenly spread work has `load_max` near it.
    pub load_mean: u64,
    /// For how long the oldest pending task has waited, in milliseconds of lease time; 0 if none waits.
    pub oldest_pending_ms: u64,
    /// How many tasks are in which state.
    pub counts: TaskCounts,
    /// What is asked for, and what there is.
    pub demand: Demand,
    /// The capacity that would serve it, see [`scaling`](crate::tasks::scaling).
    pub desired_capacity: u64,
}

/// What one validator has of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which one.
    pub node: NodeId,
    /// Units leased to it.
    pub units: u64,
    /// Units that it may hold.
    pub units_max: u64,
    /// Tasks leased to it.
    pub leases: u64,
    /// How much work it takes, relative to others.
    pub capacity: u32,
    /// How far it is trusted.
    pub reputation: Reputation,
    /// What its load is measured by when a task is given away: capacity times reputation, in thousandths.
    pub weight: u64,
    /// How it stands.
    pub phase: Phase,
    /// Whether it wants no new tasks.
    pub is_drained: bool,
    /// Whether it gets tasks: it leads blocks, is not unresponsive and not drained.
    pub is_at_work: bool,
}

impl Share {
    /// Its load, in thousandths of what it may hold.
    pub fn load(&self) -> u64 {
        per_mille(self.units, self.units_max)
    }
}

impl State {
    /// How work is spread after the last block.
    pub fn balance_statistics(&self) -> BalanceStatistics {
        let shares = self.shares();
        let at_work = || shares.iter().filter(|share| share.is_at_work);
        let sum = |of: fn(&Share) -> u64| at_work().map(of).sum();
        let demand = self.tasks.demand(self.height);
        BalanceStatistics {
            load_max: at_work().map(Share::load).max().unwrap_or(0),
            load_mean: per_mille(sum(|share| share.units), sum(|share| share.units_max)),
            oldest_pending_ms: demand.oldest_pending_ms,
            counts: self.task_counts(),
            demand,
            desired_capacity: demand.desired_capacity(),
            shares,
        }
    }

    fn shares(&self) -> Vec<Share> {
        let workers = self.tasks.workers();
        let share = |(node, worker): (&NodeId, &super::Worker)| Share {
            node: *node,
            units: worker.units,
            units_max: worker.window(),
            leases: worker.leases,
            capacity: worker.capacity,
            reputation: worker.reputation,
            weight: worker.weight(),
            phase: worker.phase,
            is_drained: worker.is_drained,
            is_at_work: worker.is_at_work(self.height, workers.len()),
        };
        workers.iter().map(share).collect()
    }
}

/// None of nothing is nothing.
fn per_mille(part: u64, whole: u64) -> u64 {
    part.saturating_mul(1_000).checked_div(whole).unwrap_or(0)
}
