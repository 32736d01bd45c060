//! What does a sign of life cost?
//!
//! All nodes send a row in each round, in one random order that stays the same, as phases do. Time runs through the rounds
//! as it would for a heartbeat of half a second, and `tick` is called whenever it is due, so learning and deadlines are
//! both in the figure.

use crate::{Cell, Failure, Report, random::Random};
use sentinel::{
    health::{Config, Health},
    time::Moment,
};
use std::time::Instant;

/// Microseconds in a round.
const ROUND: u64 = 500_000;

/// Rounds before measuring: every deadline is armed from a row by then.
const WARM: u64 = 4;

/// Signs of life that are measured, at least.
const SIGNS_MIN: u64 = 10_000_000;

/// Rounds that are measured, at least.
const ROUNDS_MIN: u64 = 20;

/// For how many nodes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Numbers of nodes, such as 1000 or 1e6.
    #[arg(long, value_delimiter = ',', default_values = ["1e3", "1e4", "1e5", "1e6"], value_parser = count)]
    pub nodes: Vec<u32>,
    /// Where the order comes from.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// A number of nodes, also as 1e6.
pub(crate) fn count(text: &str) -> Result<u32, String> {
    match text.parse::<f64>() {
        Ok(count) if (2.0..=1e7).contains(&count) && count.fract() == 0.0 => Ok(count as u32),
        Ok(_) | Err(_) => Err("a whole number from 2 to 1e7".into()),
    }
}

/// A monitor and the nodes it watches.
pub(crate) struct Bed {
    pub(crate) health: Health,
    order: Vec<u32>,
    round: u64,
    probes: usize,
}

impl Bed {
    pub(crate) fn new(nodes: u32, seed: u64) -> Self {
        let health = Health::new(&Config::default(), 0, nodes, seed, Moment(0));
        let mut bed = Self { health, order: shuffled(nodes, seed), round: 0, probes: 0 };
        // From its phase on, so that the first row is punctual.
        bed.everybody(|health, node, now| health.expect(node, ROUND, now));
        (0..WARM).for_each(|_| bed.rows());
        bed
    }

    /// A row of everybody.
    fn rows(&mut self) {
        self.round += 1;
        let round = self.round;
        self.everybody(|health, node, now| health.row(node, round, now));
    }

    /// Another sign of life of everybody, within the time of a row that came.
    fn signs(&mut self) {
        let now = Moment(self.round * ROUND + ROUND);
        let Self { health, order, .. } = self;
        order.iter().for_each(|node| health.heard(*node, now));
    }

    fn everybody(&mut self, act: impl Fn(&mut Health, u32, Moment)) {
        let Self { health, order, round, probes } = self;
        let nodes = order.len() as u64;
        // At least as fine as the slots of the wheel.
        let parts = nodes.div_ceil(1_000).max(1);
        let mut asked = Vec::new();
        let mut done = 0;
        for part in order.chunks(usize::try_from(parts).expect("a few thousand")) {
            let now = Moment(*round * ROUND + done * ROUND / nodes);
            done += part.len() as u64;
            part.iter().for_each(|node| act(health, *node, now));
            if health.deadline().is_some_and(|deadline| deadline <= now) {
                health.tick(now, &mut asked);
                *probes += asked.len();
                asked.clear();
            }
        }
    }
}

fn shuffled(nodes: u32, seed: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (1..nodes).collect();
    let mut random = Random::new(seed);
    for last in (1..order.len()).rev() {
        let other = usize::try_from(random.below(last as u64 + 1)).expect("an index");
        order.swap(last, other);
    }
    order
}

/// Measures.
///
/// # Errors
/// None; the signature is that of every benchmark.
pub fn run(options: &Options) -> Result<Report, Failure> {
    let nodes: Vec<String> = options.nodes.iter().map(u32::to_string).collect();
    let command = format!("bench update --nodes {} --seed {}", nodes.join(","), options.seed);
    let mut report =
        Report::new(command, vec!["nodes", "row_ns", "row_best_ns", "heard_ns", "heard_best_ns", "probes"]);
    report.rows = options.nodes.iter().map(|nodes| row(*nodes, options.seed)).collect();
    report.notes.push(
        "The median and the best of many rounds; one thread. row: learning, deadlines and their share of tick.".into(),
    );
    report.notes.push("probes: asked for while measuring; every row is punctual, so there should be none.".into());
    Ok(report)
}

fn row(nodes: u32, seed: u64) -> Vec<Cell> {
    let mut bed = Bed::new(nodes, seed);
    let rounds = SIGNS_MIN.div_ceil(u64::from(nodes)).max(ROUNDS_MIN);
    let (row, row_best) = per_call(nodes, rounds, || bed.rows());
    let (heard, heard_best) = per_call(nodes, rounds, || bed.signs());
    let figures = [row, row_best, heard, heard_best].map(Cell::from);
    [u64::from(nodes).into()].into_iter().chain(figures).chain([(bed.probes as u64).into()]).collect()
}

/// Nanoseconds a call, the median and the best of all rounds. Most rounds are shorter than the time slice of a busy
/// machine, so the median leaves out what other processes took.
fn per_call(nodes: u32, rounds: u64, mut round: impl FnMut()) -> (f64, f64) {
    let mut once = || {
        let begun = Instant::now();
        round();
        begun.elapsed().as_nanos() as f64 / f64::from(nodes - 1)
    };
    let mut figures: Vec<f64> = (0..rounds).map(|_| once()).collect();
    figures.sort_by(f64::total_cmp);
    (figures[figures.len() / 2], figures[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn punctual_rows_ask_for_nothing_and_the_wheel_is_served() {
        let mut bed = Bed::new(2_000, 1);
        (0..20).for_each(|_| bed.rows());
        assert_eq!(bed.probes, 0);
        let deadline = bed.health.deadline().expect("watches");
        assert!(deadline.0 + 10_000 > bed.round * ROUND, "{deadline:?}");
    }

    #[test]
    fn counts_may_be_written_with_an_exponent() {
        assert_eq!(count("1e3"), Ok(1_000));
        assert_eq!(count("2"), Ok(2));
        for wrong in ["1", "1e8", "2.5", "x", "NaN"] {
            assert!(count(wrong).is_err(), "{wrong}");
        }
    }
}
