//! How long does it take to find the least loaded worker, and how even is what comes out?
//!
//! Ours beside a look at every worker, and beside three published ways to spread tasks, written here from their papers. Every balancer is filled with the
//! same number of tasks, then half of them are completed in random order, then as many are assigned again one by one as
//! others are completed. Every task has one unit.

mod peers;

use crate::{Cell, Failure, Report, random::Random};
use ledger::tasks::board::{Board, WINDOW_MAX, WORKERS_MAX};
use peers::{BoundedLoads, Everybody, Rendezvous, TwoChoices};
use std::time::Instant;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Numbers of workers.
    #[arg(long, value_delimiter = ',', default_value = "1e3,1e4,1e5", value_parser = count)]
    nodes: Vec<u32>,
    /// Tasks per worker, on average.
    #[arg(long, default_value_t = 100)]
    tasks_per_node: u32,
    /// Where all random numbers come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// A whole number, which may be written as `1e5`.
pub(crate) fn count(text: &str) -> Result<u32, String> {
    let number: f64 = text.parse().map_err(|_| format!("\"{text}\" is not a number"))?;
    match number.fract() == 0.0 && (1.0..=f64::from(u32::MAX)).contains(&number) {
        true => Ok(number as u32),
        false => Err(format!("must be a whole number from 1 to {}, not {text}", u32::MAX)),
    }
}

/// How the weights of workers differ.
#[derive(Clone, Copy, Debug)]
enum Mix {
    /// All are 1.
    Equal,
    /// One half is 1, the other 10.
    OneOrTen,
    /// As many of each from 1 to 10.
    OneToTen,
}

impl Mix {
    const ALL: [Self; 3] = [Self::Equal, Self::OneOrTen, Self::OneToTen];

    const fn name(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::OneOrTen => "1 or 10",
            Self::OneToTen => "1 to 10",
        }
    }

    fn weights(self, nodes: u32) -> Vec<u32> {
        let weight = |index: u32| match self {
            Self::Equal => 1,
            Self::OneOrTen => 1 + index % 2 * 9,
            Self::OneToTen => 1 + index % 10,
        };
        (0..nodes).map(weight).collect()
    }
}

/// One way to spread tasks.
trait Balancer {
    /// Who gets the task of this number.
    fn assign(&mut self, task: u64) -> u32;
    /// A task of this worker is done.
    fn complete(&mut self, worker: u32);
}

impl Balancer for Board {
    fn assign(&mut self, _: u64) -> u32 {
        Self::assign(self, 1).expect("windows are wide enough")
    }

    fn complete(&mut self, worker: u32) {
        Self::complete(self, worker, 1);
    }
}

/// Times of short stretches, in nanoseconds per call.
struct Times(Vec<f64>);

/// Calls between two looks at the clock: long enough that the look is not what is measured.
const STRETCH: usize = 1_000;

impl Times {
    fn of<T>(items: &[T], mut call: impl FnMut(&T)) -> Self {
        let time = |stretch: &[T]| {
            let start = Instant::now();
            stretch.iter().for_each(&mut call);
            start.elapsed().as_nanos() as f64 / stretch.len() as f64
        };
        let mut times: Vec<f64> = items.chunks(STRETCH).map(time).collect();
        times.sort_by(f64::total_cmp);
        Self(times)
    }

    fn quantile(&self, part: f64) -> Option<f64> {
        self.0.get((self.0.len() as f64 * part) as usize).copied()
    }
}

/// How even the tasks are spread.
#[derive(Clone, Copy)]
struct Spread {
    /// Most minus fewest tasks of a worker.
    difference: u64,
    /// The greatest load for its weight over the mean.
    max_over_mean: f64,
}

impl Spread {
    fn of(owners: &[u32], weights: &[u32]) -> Self {
        let mut held = vec![0u64; weights.len()];
        owners.iter().for_each(|owner| held[*owner as usize] += 1);
        let difference = held.iter().max().expect("some") - held.iter().min().expect("some");
        let loads = held.iter().zip(weights).map(|(held, weight)| *held as f64 / f64::from(*weight));
        let total: f64 = weights.iter().copied().map(f64::from).sum();
        Self { difference, max_over_mean: loads.fold(0.0, f64::max) / (owners.len() as f64 / total) }
    }
}

/// What was measured of one balancer.
struct Outcome {
    assign: Times,
    complete: Times,
    filled: Spread,
    churned: Spread,
}

fn measure(mut balancer: impl Balancer, weights: &[u32], tasks: usize, mut random: Random) -> Outcome {
    let numbers: Vec<u64> = (0..tasks as u64).collect();
    let mut owners = Vec::with_capacity(tasks);
    let assign = Times::of(&numbers, |task| owners.push(balancer.assign(*task)));
    let filled = Spread::of(&owners, weights);
    shuffle(&mut owners, &mut random);
    let done = owners.split_off(tasks - tasks / 2);
    let complete = Times::of(&done, |worker| balancer.complete(*worker));
    for task in tasks as u64..(tasks + done.len()) as u64 {
        owners.push(balancer.assign(task));
    }
    // Now full again, and from here each completion makes room for one.
    for task in 0..done.len() as u64 {
        let worker = owners.swap_remove(random.below(owners.len() as u64) as usize);
        balancer.complete(worker);
        owners.push(balancer.assign(2 * tasks as u64 + task));
    }
    Outcome { assign, complete, filled, churned: Spread::of(&owners, weights) }
}

/// Durstenfeld, "Algorithm 235: random permutation", 1964.
fn shuffle(items: &mut [u32], random: &mut Random) {
    (1..items.len()).rev().for_each(|last| items.swap(last, random.below(last as u64 + 1) as usize));
}

const COLUMNS: [&str; 12] = [
    "weights",
    "nodes",
    "balancer",
    "tasks",
    "assign ns p50",
    "p10",
    "complete ns p50",
    "p10",
    "filled max-min",
    "max/mean",
    "churned max-min",
    "max/mean",
];

/// Measures all balancers on all sizes.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    let Options { nodes, tasks_per_node, seed } = options;
    check(options)?;
    let sizes = nodes.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let command = format!("bench assign --nodes {sizes} --tasks-per-node {tasks_per_node} --seed {seed}");
    let mut report = Report::new(command, COLUMNS.to_vec());
    for mix in Mix::ALL {
        nodes.iter().for_each(|nodes| report.rows.extend(rows(mix, *nodes, options)));
    }
    report.notes = notes();
    Ok(report)
}

fn check(options: &Options) -> Result<(), Failure> {
    let fail = |message: String, help: &str| Err(Failure { message, help: help.into() });
    if let Some(nodes) = options.nodes.iter().find(|nodes| **nodes < 2 || **nodes as usize > WORKERS_MAX) {
        return fail(format!("--nodes: {nodes} is not from 2 to {WORKERS_MAX}"), "choose a number in between");
    }
    if !(2..=WINDOW_MAX / 4).contains(&options.tasks_per_node) {
        let message = format!("--tasks-per-node: {} is not from 2 to {}", options.tasks_per_node, WINDOW_MAX / 4);
        return fail(message, "windows have room for no more");
    }
    Ok(())
}

fn rows(mix: Mix, nodes: u32, options: &Options) -> Vec<Vec<Cell>> {
    let weights = mix.weights(nodes);
    let random = Random::new(options.seed);
    // A third of the workers cannot have as few as the others.
    let all = nodes as usize * options.tasks_per_node as usize + nodes as usize / 3;
    let row = |name: &str, tasks: usize, outcome: &Outcome| -> Vec<Cell> {
        // Fewer tasks say nothing about the spread of all.
        let spread = |spread: Spread| -> [Cell; 2] {
            match tasks == all {
                true => [spread.difference.into(), spread.max_over_mean.into()],
                false => [Cell::Nothing, Cell::Nothing],
            }
        };
        let times = |times: &Times| -> [Cell; 2] { [times.quantile(0.5).into(), times.quantile(0.1).into()] };
        let mut row = vec![mix.name().into(), u64::from(nodes).into(), name.into(), (tasks as u64).into()];
        row.extend([times(&outcome.assign), times(&outcome.complete)].into_iter().flatten());
        row.extend([spread(outcome.filled), spread(outcome.churned)].into_iter().flatten());
        row
    };
    let board = Board::new(WINDOW_MAX, weights.iter().map(|weight| (*weight, 0)));
    // Who looks at every worker for every task is timed on fewer.
    let few = all.min((peers::LOOKS_MAX / nodes as usize).max(STRETCH));
    vec![
        row("ours", all, &measure(board, &weights, all, random.clone())),
        row("every worker", few, &measure(Everybody::new(&weights), &weights, few, random.clone())),
        row("two choices", all, &measure(TwoChoices::new(&weights, random.part(1)), &weights, all, random.clone())),
        row("bounded loads", all, &measure(BoundedLoads::new(&weights), &weights, all, random.clone())),
        row("rendezvous", few, &measure(Rendezvous::new(&weights), &weights, few, random)),
    ]
}

fn notes() -> Vec<String> {
    vec![
        "ours: ledger::tasks::board, the exact least load for its weight with the task added; ties by index".into(),
        "two choices, bounded loads and rendezvous are short implementations written for this benchmark from the papers \
         named in bench::assign::peers, not the libraries of others"
            .into(),
        format!(
            "bounded loads: no worker above {} times its share, {} points on the ring for each unit of weight",
            peers::BOUND,
            peers::POINTS
        ),
        "every worker: ledger::tasks::balance::choose, as the chain does it now".into(),
        "rendezvous and every worker look at all for each task: at many workers they are timed on fewer tasks, and their \
         spread is left out"
            .into(),
        "the three papers' ways hold no order of workers to keep, so completing is one subtraction for them; two of them keep a task \
         where it was when workers come and go, which ours does not try to"
            .into(),
        format!("p50 and p10 are over stretches of {STRETCH} calls; on a shared machine p10 is nearer to a quiet one"),
        "filled: after the last assignment. churned: after half were completed at random, assigned again, and as many \
         replaced one by one"
            .into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(nodes: u32, tasks_per_node: u32) -> Options {
        Options { nodes: vec![nodes], tasks_per_node, seed: 1 }
    }

    fn ours(mix: Mix) -> Outcome {
        let weights = mix.weights(100);
        let board = Board::new(WINDOW_MAX, weights.iter().map(|weight| (*weight, 0)));
        measure(board, &weights, 10_000, Random::new(1))
    }

    #[test]
    fn ours_is_even() {
        assert!(ours(Mix::Equal).filled.difference <= 1);
        assert!(ours(Mix::OneOrTen).filled.max_over_mean <= 1.02);
        assert!(ours(Mix::OneToTen).filled.max_over_mean <= 1.02);
    }

    #[test]
    fn every_balancer_has_a_row_for_every_mix() {
        let report = run(&options(50, 10)).expect("good options");
        assert_eq!(report.rows.len(), 3 * 5);
        assert!(report.rows.iter().all(|row| row.len() == COLUMNS.len()));
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        assert!(run(&options(1, 10)).is_err());
        assert!(run(&options(50, WINDOW_MAX)).is_err());
        assert_eq!(count("1e5"), Ok(100_000));
        assert!(["0", "1.5", "1e10", "many", "nan"].iter().all(|text| count(text).is_err()));
    }
}
