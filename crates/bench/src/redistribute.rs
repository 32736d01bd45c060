//! How long does it take to give the tasks of failed workers to others?
//!
//! Once in memory, among many workers, and once on a chain, where each lease that moves is also an entry of the state.
//! Every run is checked: each task of a failed worker is with one that is left, exactly once, and all others are where
//! they were.

mod chain;

use crate::{Cell, Failure, Report, assign, random::Random};
use ledger::tasks::{
    balance::UNITS_MAX,
    board::{Board, Leases, Moved, Relet, Slot, WORKERS_MAX},
};
use ledger::types::TaskNumber;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Tasks that have to move.
    #[arg(long, default_value = "100000", value_parser = assign::count)]
    tasks: u32,
    /// Workers.
    #[arg(long, default_value = "1e5", value_parser = assign::count)]
    nodes: u32,
    /// How often each figure is measured.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    runs: u32,
    /// Where all random numbers come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Leases that each worker holds when some fail. More of them means that fewer workers fail.
const HELD: [u32; 3] = [4, 10, 40];

const COLUMNS: [&str; 10] = [
    "where",
    "nodes",
    "failed",
    "held each",
    "moved",
    "waiting",
    "wall ms p50",
    "cpu ms p50",
    "cpu ms min",
    "max-min after",
];

/// Measures.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    let Options { tasks, nodes, runs, seed } = options;
    let command = format!("bench redistribute --tasks {tasks} --nodes {nodes} --runs {runs} --seed {seed}");
    let mut report = Report::new(command, COLUMNS.to_vec());
    for held in HELD {
        report.rows.push(memory(options, held)?);
    }
    report.rows.extend(chain::rows(*runs));
    report.notes = vec![
        "memory: ledger::tasks::board::Leases, one unit a task; the workers that fail are drawn at random, after as many \
         leases ended and began at random as there are workers"
            .into(),
        "cpu: what the thread used of a processor, which leaves out the time it waited for one; other work on the same \
         core and cache still counts"
            .into(),
        "every run was checked: no task lost or doubled, none with a failed worker, the oldest first".into(),
        "chain: the whole block of a verdict that moves the leases of one validator of four, and then with the state's root: \
         records decoded, changed, encoded and hashed. That comes on top of the choice in memory, for each lease moved"
            .into(),
    ];
    Ok(report)
}

/// Leases as they are after a while, and who is about to fail.
struct World {
    leases: Leases,
    failed: Vec<u32>,
    /// What the failed ones hold, in order.
    expected: Vec<TaskNumber>,
}

impl World {
    fn new(options: &Options, held: u32) -> Self {
        let Options { tasks, nodes, seed, .. } = *options;
        let mut random = Random::new(seed);
        let board = Board::new(UNITS_MAX, (0..nodes).map(|_| (1, 0)));
        let mut leases = Leases::new(board, nodes * held);
        let mut numbers = (0..).map(TaskNumber);
        let lease = |leases: &mut Leases, number| leases.lease(number, 1, &[]).expect("there is room");
        let mut slots: Vec<Slot> =
            numbers.by_ref().take(nodes as usize * held as usize).map(|number| lease(&mut leases, number)).collect();
        for number in numbers.take(nodes as usize) {
            let ended = slots.swap_remove(random.below(slots.len() as u64) as usize);
            leases.end(ended).expect("it was leased");
            slots.push(lease(&mut leases, number));
        }
        let (mut failed, mut expected) = (BTreeSet::new(), Vec::new());
        while expected.len() < tasks as usize {
            let worker = random.below(nodes.into()) as u32;
            if failed.insert(worker) {
                expected.extend(leases.held_by(worker).map(|slot| leases.get(slot).expect("it is listed").0));
            }
        }
        expected.sort_unstable();
        Self { leases, failed: failed.into_iter().collect(), expected }
    }

    /// The time it takes, and the world after it.
    fn fail(&self) -> (Took, Leases, Moved) {
        let mut leases = self.leases.clone();
        let start = Start::now();
        let moved = leases.redistribute(&self.failed);
        (start.took(), leases, moved)
    }

    /// # Panics
    /// If a task is lost or doubled, or is with a failed worker: then the figures mean nothing.
    fn check(&self, leases: &Leases, moved: &Moved) {
        assert_eq!(leases.count() + moved.waiting.len(), self.leases.count(), "as many as before");
        let mut found: Vec<TaskNumber> = moved.leased.iter().map(|relet| relet.task).collect();
        assert!(found.is_sorted(), "the oldest first");
        found.extend(moved.waiting.iter().map(|evicted| evicted.task));
        found.sort_unstable();
        assert_eq!(found, self.expected, "each of them once");
        for Relet { task, slot, holder: given } in &moved.leased {
            let (at, holder) = leases.get(*slot).expect("it is leased");
            assert!(
                at == *task && holder == *given && self.failed.binary_search(&holder).is_err(),
                "{task} is with {holder}"
            );
        }
        assert!(self.failed.iter().all(|worker| leases.held_by(*worker).next().is_none()), "they hold nothing");
    }

    fn difference(&self, leases: &Leases) -> u64 {
        let left = (0..leases.board().workers()).filter(|worker| self.failed.binary_search(worker).is_err());
        let units: Vec<u64> = left.map(|worker| leases.board().units(worker)).collect();
        units.iter().max().expect("some are left") - units.iter().min().expect("some are left")
    }
}

fn memory(options: &Options, held: u32) -> Result<Vec<Cell>, Failure> {
    let Options { tasks, nodes, runs, .. } = *options;
    if nodes as usize > WORKERS_MAX || u64::from(tasks) * 2 > u64::from(nodes) * u64::from(held) {
        return Err(Failure {
            message: format!(
                "--tasks {tasks} --nodes {nodes}: more than half of {nodes} workers would fail, or there are \
                              more than {WORKERS_MAX}"
            ),
            help: format!("choose at most {} tasks, or more workers", u64::from(nodes) * u64::from(HELD[0]) / 2),
        });
    }
    let world = World::new(options, held);
    let (_, after, moved) = world.fail();
    let mut times = Vec::new();
    for _ in 0..runs {
        let (time, leases, moved) = world.fail();
        world.check(&leases, &moved);
        times.push(time);
    }
    let mut row = vec![
        "memory".into(),
        u64::from(nodes).into(),
        (world.failed.len() as u64).into(),
        u64::from(held).into(),
        (moved.leased.len() as u64).into(),
        (moved.waiting.len() as u64).into(),
    ];
    row.extend(cells(&times));
    row.push(world.difference(&after).into());
    Ok(row)
}

/// When something began, by the clock on the wall and by what this thread has used.
struct Start {
    wall: Instant,
    cpu: Duration,
}

/// What something took.
#[derive(Clone, Copy)]
struct Took {
    wall: Duration,
    cpu: Duration,
}

impl Start {
    fn now() -> Self {
        Self { wall: Instant::now(), cpu: used() }
    }

    fn took(&self) -> Took {
        Took { wall: self.wall.elapsed(), cpu: used() - self.cpu }
    }
}

/// What this thread has used of a processor.
pub(crate) fn used() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The medians of both clocks, and the least use of a processor.
fn cells(times: &[Took]) -> [Cell; 3] {
    let sorted = |clock: fn(&Took) -> Duration| {
        let mut sorted: Vec<f64> = times.iter().map(|took| clock(took).as_secs_f64() * 1e3).collect();
        sorted.sort_by(f64::total_cmp);
        sorted
    };
    let (wall, cpu) = (sorted(|took| took.wall), sorted(|took| took.cpu));
    [wall[wall.len() / 2].into(), cpu[cpu.len() / 2].into(), cpu[0].into()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(tasks: u32, nodes: u32) -> Options {
        Options { tasks, nodes, runs: 1, seed: 1 }
    }

    #[test]
    fn every_task_of_a_failed_worker_moves() {
        let world = World::new(&options(100, 200), 4);
        let (_, leases, moved) = world.fail();
        world.check(&leases, &moved);
        assert!(moved.leased.len() >= 100 && moved.waiting.is_empty());
    }

    #[test]
    fn where_there_is_no_room_tasks_wait() {
        let world = World::new(&options(600, 20), UNITS_MAX);
        let (_, leases, moved) = world.fail();
        world.check(&leases, &moved);
        assert!(moved.leased.is_empty() && moved.waiting.len() >= 600);
    }

    #[test]
    fn more_tasks_than_half_of_the_workers_hold_are_refused() {
        assert!(memory(&options(400, 200), 4).is_ok());
        assert!(memory(&options(401, 200), 4).is_err());
    }
}
