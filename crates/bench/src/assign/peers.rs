//! How do others spread tasks?
//!
//! Short implementations of what the papers describe. The number of a task is hashed with SplitMix64's finalizer.

use super::Balancer;
use crate::random::Random;
use ledger::{
    tasks::{
        balance::{self, Choice, UNITS_MAX, Worker},
        board::WINDOW_MAX,
    },
    types::{Height, NodeId, PublicKey},
};
use std::collections::BTreeMap;

/// Bounded loads: how far a worker may be above its share. What load balancers in use choose by default.
pub(super) const BOUND: f64 = 1.25;

/// Bounded loads: points on the ring for each unit of weight.
pub(super) const POINTS: u32 = 8;

fn hash(number: u64) -> u64 {
    Random::new(number).next()
}

/// Whether one more task weighs less on `one` than on `other`; each is tasks and weight.
const fn is_lighter(one: (u64, u32), other: (u64, u32)) -> bool {
    (one.0 + 1) as u128 * (other.1 as u128) < (other.0 + 1) as u128 * one.1 as u128
}

/// `ledger::tasks::balance::choose`, which looks at every worker: what ours must agree with.
pub(super) struct Everybody(BTreeMap<NodeId, Worker>);

impl Everybody {
    pub(super) fn new(weights: &[u32]) -> Self {
        // Windows as wide as those of the board.
        let worker = |weight: &u32| Worker { capacity: weight * (WINDOW_MAX / UNITS_MAX), ..Worker::default() };
        Self((0..).zip(weights).map(|(index, weight)| (Self::id(index), worker(weight))).collect())
    }

    /// Sorts as the index does.
    fn id(index: u32) -> NodeId {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&index.to_be_bytes());
        PublicKey(bytes)
    }
}

impl Balancer for Everybody {
    fn assign(&mut self, _: u64) -> u32 {
        let Choice::Now(id) = balance::choose(&self.0, 1, &[], &|_| true, Height(0)) else {
            panic!("windows are wide enough")
        };
        let worker = self.0.get_mut(&id).expect("it was chosen");
        (worker.units, worker.leases) = (worker.units + 1, worker.leases + 1);
        u32::from_be_bytes(id.0[..4].try_into().expect("four bytes"))
    }

    fn complete(&mut self, worker: u32) {
        let worker = self.0.get_mut(&Self::id(worker)).expect("it was chosen");
        (worker.units, worker.leases) = (worker.units - 1, worker.leases - 1);
    }
}

/// Scores computed, or workers looked at, while filling: some seconds.
pub(super) const LOOKS_MAX: usize = 50_000_000;

/// The less loaded of two random workers (Mitzenmacher, "The power of two choices in randomized load balancing", 2001),
/// drawn in proportion to their weight (Wieder, "Balanced allocations with heterogenous bins", 2007).
pub(super) struct TwoChoices {
    /// Tasks and weight.
    workers: Vec<(u64, u32)>,
    /// Each worker as often as its weight says.
    urn: Vec<u32>,
    random: Random,
}

impl TwoChoices {
    pub(super) fn new(weights: &[u32], random: Random) -> Self {
        let balls = |(index, weight): (u32, &u32)| std::iter::repeat_n(index, *weight as usize);
        let urn = (0..).zip(weights).flat_map(balls).collect();
        Self { workers: weights.iter().map(|weight| (0, *weight)).collect(), urn, random }
    }

    fn draw(&mut self) -> u32 {
        self.urn[self.random.below(self.urn.len() as u64) as usize]
    }
}

impl Balancer for TwoChoices {
    fn assign(&mut self, _: u64) -> u32 {
        let (one, other) = (self.draw(), self.draw());
        let is_one = is_lighter(self.workers[one as usize], self.workers[other as usize]);
        let worker = if is_one { one } else { other };
        self.workers[worker as usize].0 += 1;
        worker
    }

    fn complete(&mut self, worker: u32) {
        self.workers[worker as usize].0 -= 1;
    }
}

/// The next worker on a ring that is not full (Mirrokni, Thorup, Zadimoghaddam, "Consistent hashing with bounded loads",
/// 2018, section 1), with several points for each worker.
pub(super) struct BoundedLoads {
    /// Tasks, and how many of all it may have.
    workers: Vec<(u64, f64)>,
    /// Points and who is there, in order.
    ring: Vec<(u64, u32)>,
    tasks: u64,
}

impl BoundedLoads {
    pub(super) fn new(weights: &[u32]) -> Self {
        let total: f64 = weights.iter().copied().map(f64::from).sum();
        let share = |weight: &u32| (0, BOUND * f64::from(*weight) / total);
        let points = |(index, weight): (u32, &u32)| {
            (0..weight * POINTS).map(move |point| (hash(u64::from(index) << 32 | u64::from(point)), index))
        };
        let mut ring: Vec<(u64, u32)> = (0..).zip(weights).flat_map(points).collect();
        ring.sort_unstable();
        Self { workers: weights.iter().map(share).collect(), ring, tasks: 0 }
    }
}

impl Balancer for BoundedLoads {
    fn assign(&mut self, task: u64) -> u32 {
        self.tasks += 1;
        let hash = hash(!task);
        let first = self.ring.partition_point(|(point, _)| *point < hash);
        let (before, after) = self.ring.split_at(first);
        let has_room = |(tasks, share): (u64, f64)| tasks < (share * self.tasks as f64).ceil() as u64;
        let next = after.iter().chain(before).find(|(_, worker)| has_room(self.workers[*worker as usize]));
        let (_, worker) = *next.expect("not all are above the mean");
        self.workers[worker as usize].0 += 1;
        worker
    }

    fn complete(&mut self, worker: u32) {
        self.tasks -= 1;
        self.workers[worker as usize].0 -= 1;
    }
}

/// The worker with the highest score for the task (Thaler, Ravishankar, "Using name-based mappings to increase hit
/// rates", 1998), scored by weight as `-weight / ln(hash)` (Schindelhauer, Schomaker, "Weighted distributed hash tables",
/// 2005, the logarithmic method).
pub(super) struct Rendezvous {
    /// Weight, and the hash of the index.
    workers: Vec<(f64, u64)>,
}

impl Rendezvous {
    pub(super) fn new(weights: &[u32]) -> Self {
        let worker = |(index, weight): (u64, &u32)| (f64::from(*weight), hash(!index));
        Self { workers: (0..).zip(weights).map(worker).collect() }
    }
}

impl Balancer for Rendezvous {
    fn assign(&mut self, task: u64) -> u32 {
        let task = hash(task);
        let score = |(weight, worker): &(f64, u64)| -weight / Random::new(task ^ worker).unit().ln();
        let scores = self.workers.iter().map(score).zip(0..);
        let best = scores.max_by(|one, other| one.0.total_cmp(&other.0)).expect("there are workers");
        best.1
    }

    /// It knows nothing of what anybody holds.
    fn complete(&mut self, _: u32) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of 20,000 tasks go to each of ten workers of weight 1 and ten of weight 3.
    fn held(mut balancer: impl Balancer) -> Vec<u64> {
        let mut held = vec![0; 20];
        (0..20_000).for_each(|task| held[balancer.assign(task) as usize] += 1);
        held
    }

    fn weights() -> Vec<u32> {
        (0..20).map(|index| if index < 10 { 1 } else { 3 }).collect()
    }

    fn check(held: &[u64], within: u64) {
        assert!(
            held.iter()
                .zip(weights())
                .all(|(held, weight)| held.abs_diff(500 * u64::from(weight)) <= within * u64::from(weight)),
            "{held:?}"
        );
    }

    #[test]
    fn two_choices_are_close_to_the_share() {
        check(&held(TwoChoices::new(&weights(), Random::new(1))), 10);
    }

    #[test]
    fn rendezvous_is_random_around_the_share() {
        check(&held(Rendezvous::new(&weights())), 100);
    }

    #[test]
    fn nobody_is_above_the_bound_and_a_completed_task_makes_room() {
        let mut ring = BoundedLoads::new(&weights());
        let worker = ring.assign(0);
        ring.complete(worker);
        let held = held(ring);
        assert!(held.iter().zip(weights()).all(|(held, weight)| *held <= 625 * u64::from(weight) + 1), "{held:?}");
    }

    #[test]
    fn a_task_keeps_its_worker() {
        let (mut one, mut other) = (Rendezvous::new(&weights()), Rendezvous::new(&weights()));
        assert!((0..100).all(|task| one.assign(task) == other.assign(task)));
    }
}
