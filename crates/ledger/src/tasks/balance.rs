//! Who does which task?
//!
//! The least loaded validator, measured by its capacity and its [`reputation`](crate::reputation); of several, the one
//! with the smallest key. Where a task names a region, those who stand there come first while one of them can take it.
//! Everybody computes the same from the same blocks: nobody's opinion of anybody enters. The oldest task comes first.
//! Where it does not fit yet, younger ones go ahead, but not to the one that it waits for: small ones would keep that
//! full for good.
//!
//! Facts on the chain keep tasks away from validators that would let them lie. Who has not led a block for a few
//! rounds is not there. On whom a lease ran out gets one lease at a time until it answers for one: it may be alive
//! as a voter while its worker hangs. None of that is a penalty, and it ends by itself. Who was found
//! [unresponsive](crate::verdicts) gets nothing until it is back, and then one lease at a time until its trial is over.
//! Who is drained gets nothing because it wants nothing.

use crate::{
    reputation::Reputation,
    types::{Height, NodeId},
    verdicts::Phase,
};
use std::collections::BTreeMap;

/// The most units of a task, and what a validator of capacity 1 is leased at once. Small enough that little waits behind
/// a validator that dies, large enough that four of them have 200 tasks a second under way for a second.
pub const UNITS_MAX: u32 = 64;

/// A validator that is there leads about one block in n. After this many rounds without one it counts as away.
const ROUNDS_AWAY: u64 = 4;

/// For small sets, where four rounds are over in an instant.
const BLOCKS_AWAY_MIN: u64 = 8;

/// A validator as one who does tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Worker {
    /// How much work it takes, relative to others.
    pub capacity: u32,
    /// Units leased to it.
    pub units: u64,
    /// Tasks leased to it.
    pub leases: u64,
    /// Leases that ran out on it since it last answered for one.
    pub missed: u32,
    /// The last height at which it led.
    pub led: Height,
    /// How far it is trusted.
    pub reputation: Reputation,
    /// How it stands.
    pub phase: Phase,
    /// Whether it wants no new tasks.
    pub is_drained: bool,
}

impl Worker {
    /// Counts as full from here on: what room it has, or will have, is kept for a task that waits for it.
    pub(crate) const fn keep(&mut self) {
        self.units = self.window();
    }

    /// What its load is measured by: its capacity in thousandths, as far as it is trusted.
    pub const fn weight(&self) -> u64 {
        self.capacity as u64 * self.reputation.per_mille() as u64
    }

    /// The units it may hold at once.
    pub const fn window(&self) -> u64 {
        self.capacity as u64 * UNITS_MAX as u64
    }

    /// Whether it leads blocks, `n` validators taking turns.
    const fn is_there(&self, height: Height, n: usize) -> bool {
        height.0.saturating_sub(self.led.0) <= ROUNDS_AWAY * n as u64 + BLOCKS_AWAY_MIN
    }

    /// Whether it counts as one of `n` validators that do tasks: it is there, and to get something.
    pub(crate) const fn is_at_work(&self, height: Height, n: usize) -> bool {
        self.takes_tasks() && self.is_there(height, n)
    }

    /// Whether it is to get anything at all, now or later.
    const fn takes_tasks(&self) -> bool {
        !self.is_drained && !matches!(self.phase, Phase::Unresponsive)
    }

    /// Whether it gets one lease at a time.
    const fn is_on_probation(&self) -> bool {
        self.missed > 0 || matches!(self.phase, Phase::Trial)
    }

    const fn has_room(&self, units: u64) -> bool {
        if self.is_on_probation() { self.leases == 0 } else { self.units + units <= self.window() }
    }

    /// Whether it is less loaded than `other`, once it has `units` more, by weight.
    fn is_lighter(&self, other: &Self, units: u64) -> bool {
        let load = |of: &Self, by: &Self| u128::from(of.units + units) * u128::from(by.weight());
        load(self, other) < load(other, self)
    }
}

/// What becomes of a task that waits for a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It goes to this one.
    Now(NodeId),
    /// It waits until this one has room.
    Later(NodeId),
    /// There is nobody to wait for.
    Nobody,
}

/// What becomes of a task of so many units in the block at `height`.
///
/// `lost_by` had it before, the last one last. None of them gets it while another can take it, even if that means to wait
/// until the other has room; when all had it, the last one still comes last. Those who are `near` come before others that
/// can take it as well; nobody waits for them.
pub fn choose(
    workers: &BTreeMap<NodeId, Worker>,
    units: u32,
    lost_by: &[NodeId],
    near: &dyn Fn(&NodeId) -> bool,
    height: Height,
) -> Choice {
    let (n, units) = (workers.len(), u64::from(units));
    let is_candidate = |worker: &Worker| worker.is_at_work(height, n) && units <= worker.window();
    let there = workers.iter().filter(|(_, worker)| is_candidate(worker));
    let last = lost_by.last();
    let circles: [&dyn Fn(&NodeId) -> bool; 3] = [&|id| !lost_by.contains(id), &|id| Some(id) != last, &|_| true];
    for circle in circles {
        let inside = there.clone().filter(|(id, _)| circle(id));
        let lightest = |is_candidate: &dyn Fn(&NodeId, &Worker) -> bool| {
            let candidates = inside.clone().filter(|(id, worker)| is_candidate(id, worker));
            let lightest = candidates.reduce(|best, next| if next.1.is_lighter(best.1, units) { next } else { best });
            lightest.map(|(id, _)| *id)
        };
        let has_room = |_: &NodeId, worker: &Worker| worker.has_room(units);
        if let Some(id) = lightest(&|id, worker| near(id) && has_room(id, worker)).or_else(|| lightest(&has_room)) {
            return Choice::Now(id);
        }
        if let Some(id) = lightest(&|_, worker| !worker.is_on_probation()) {
            return Choice::Later(id);
        }
    }
    Choice::Nobody
}

/// Whether anybody could take even the smallest task.
pub(crate) fn is_room(workers: &BTreeMap<NodeId, Worker>, height: Height) -> bool {
    let is_open = |worker: &Worker| worker.is_at_work(height, workers.len()) && worker.has_room(1);
    workers.values().any(is_open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reputation::Outcome;

    const NOW: Height = Height(1_000);

    fn id(seed: u8) -> NodeId {
        crate::types::PublicKey([seed; 32])
    }

    fn worker(capacity: u32, units: u64) -> Worker {
        Worker { capacity, units, leases: units, led: NOW, ..Worker::default() }
    }

    fn now(seed: u8) -> Choice {
        Choice::Now(id(seed))
    }

    fn later(seed: u8) -> Choice {
        Choice::Later(id(seed))
    }

    /// Of workers 1, 2 and so on, who gets a task of one unit that these had before?
    fn check(workers: &[Worker], lost_by: &[u8], expected: Choice) {
        let workers: BTreeMap<NodeId, Worker> =
            workers.iter().zip(1..).map(|(worker, seed)| (id(seed), *worker)).collect();
        let lost_by: Vec<NodeId> = lost_by.iter().map(|seed| id(*seed)).collect();
        assert_eq!(choose(&workers, 1, &lost_by, &|_| true, NOW), expected, "{workers:?}");
    }

    #[test]
    fn the_least_loaded_by_capacity_gets_it_and_of_equals_the_smallest_key() {
        check(&[worker(1, 5), worker(1, 3), worker(1, 3)], &[], now(2));
        check(&[worker(1, 5), worker(2, 9), worker(1, 6)], &[], now(2));
        check(&[worker(1, 4), worker(2, 10), worker(4, 40)], &[], now(1));
        check(&[worker(1, 0), worker(10, 5)], &[], now(2));
    }

    #[test]
    fn the_less_trusted_gets_less() {
        let trusted = |outcomes: usize, units| {
            let lowered = (0..outcomes).fold(Reputation::MAX, |trust, _| trust.after(Outcome::Unresponsive));
            Worker { reputation: lowered, ..worker(2, units) }
        };
        // Half as much trust, half as many tasks.
        check(&[trusted(5, 4), trusted(0, 10)], &[], now(1));
        check(&[trusted(5, 5), trusted(0, 10)], &[], now(2));
        // What it may hold at once stays the same.
        check(&[trusted(5, 127), trusted(0, 128)], &[], now(1));
    }

    #[test]
    fn who_is_near_comes_first_while_one_of_them_can_take_it() {
        let check = |workers: &[Worker], near: &[u8], lost_by: &[u8], expected: Choice| {
            let workers: BTreeMap<NodeId, Worker> =
                workers.iter().zip(1..).map(|(worker, seed)| (id(seed), *worker)).collect();
            let near = |node: &NodeId| near.iter().any(|seed| id(*seed) == *node);
            let lost_by: Vec<NodeId> = lost_by.iter().map(|seed| id(*seed)).collect();
            assert_eq!(choose(&workers, 1, &lost_by, &near, NOW), expected, "{workers:?}");
        };
        check(&[worker(1, 0), worker(1, 9), worker(1, 8)], &[2, 3], &[], now(3));
        check(&[worker(1, 0), worker(1, 63), worker(1, 64)], &[2, 3], &[], now(2));
        check(&[worker(1, 1), worker(1, 64), worker(1, 64)], &[2, 3], &[], now(1));
        // Nobody waits for them, and who had it before is not near enough.
        check(&[worker(1, 64), worker(1, 64)], &[2], &[], later(1));
        check(&[worker(1, 5), worker(1, 9)], &[2], &[2], now(1));
        check(&[worker(1, 5)], &[], &[], now(1));
    }

    #[test]
    fn a_full_window_takes_no_more() {
        check(&[worker(1, 63), worker(2, 128)], &[], now(1));
        check(&[worker(1, 64), worker(1, 64)], &[], later(1));
        check(&[worker(1, 64), worker(2, 128)], &[], later(2));
    }

    #[test]
    fn who_leads_no_blocks_is_away() {
        // Four rounds of three, and eight.
        let led = |height| Worker { led: Height(height), ..worker(1, 0) };
        check(&[led(980), worker(1, 9), worker(1, 9)], &[], now(1));
        check(&[led(979), worker(1, 9), worker(1, 9)], &[], now(2));
    }

    #[test]
    fn after_a_lease_ran_out_there_is_one_at_a_time() {
        let missed = |leases| Worker { missed: 1, leases, units: leases, ..worker(1, 0) };
        check(&[missed(0), worker(1, 9)], &[], now(1));
        check(&[missed(1), worker(1, 9)], &[], now(2));
        // Nobody waits for it.
        check(&[missed(1), worker(1, 64)], &[], later(2));
        check(&[missed(1)], &[], Choice::Nobody);
    }

    #[test]
    fn who_is_unresponsive_or_drained_is_passed_over_and_nobody_waits_for_it() {
        let unresponsive = Worker { phase: Phase::Unresponsive, ..worker(1, 0) };
        let drained = Worker { is_drained: true, ..worker(1, 0) };
        for passed_over in [unresponsive, drained] {
            check(&[passed_over, worker(1, 9)], &[], now(2));
            check(&[passed_over, worker(1, 64)], &[], later(2));
            check(&[passed_over], &[], Choice::Nobody);
            // Not even where all others had it before.
            check(&[passed_over, worker(1, 9)], &[2], now(2));
        }
    }

    #[test]
    fn on_trial_there_is_one_at_a_time() {
        let on_trial = |leases| Worker { phase: Phase::Trial, ..worker(1, leases) };
        check(&[on_trial(0), worker(1, 9)], &[], now(1));
        check(&[on_trial(1), worker(1, 9)], &[], now(2));
        check(&[on_trial(1), worker(1, 64)], &[], later(2));
        check(&[on_trial(1)], &[], Choice::Nobody);
    }

    #[test]
    fn who_lost_it_does_not_get_it_while_another_can_take_it() {
        check(&[worker(1, 0), worker(1, 9)], &[1], now(2));
        // The other is full for now: it is waited for.
        check(&[worker(1, 0), worker(1, 64)], &[1], later(2));
        // The other is away.
        check(&[worker(1, 0), Worker { led: Height(0), ..worker(1, 0) }], &[1], now(1));
        // All had it: the last one comes last.
        check(&[worker(1, 0), worker(1, 9), worker(1, 8)], &[3, 2, 1], now(3));
        check(&[worker(1, 0)], &[1, 1], now(1));
    }
}
