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
        bed.everybody(|health, part, now| part.iter().for_each(|node| health.expect(*node, ROUND, now)));
        (0..WARM).for_each(|_| bed.rows());
        bed
    }

    /// A row of everybody, one by one.
    fn rows(&mut self) {
        let sequence = self.round + 1;
        self.everybody(|health, part, now| part.iter().for_each(|node| health.row(*node, sequence, now)));
    }

    /// A row of everybody, as they come together.
    fn rows_together(&mut self) {
        let sequence = self.round + 1;
        let mut rows = Vec::new();
        self.everybody(|health, part, now| {
            rows.clear();
            rows.extend(part.iter().map(|node| (*node, sequence)));
            health.rows(&rows, now);
        });
    }

    /// Another sign of life of everybody, within the time of a row that came.
    fn signs(&mut self) {
        let now = Moment(self.round * ROUND + ROUND);
        let Self { health, order, .. } = self;
        order.iter().for_each(|node| health.heard(*node, now));
    }

    /// One round, in parts that are as fine as the slots of the wheel.
    fn everybody(&mut self, mut act: impl FnMut(&mut Health, &[u32], Moment)) {
        self.round += 1;
        let Self { health, order, round, probes } = self;
        let (nodes, mut asked, mut done) = (order.len(), Vec::new(), 0);
        for part in order.chunks(nodes.div_ceil(1_000)) {
            let now = Moment(*round * ROUND + done * ROUND / nodes as u64);
            done += part.len() as u64;
            act(health, part, now);
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
    let columns = vec!["nodes", "call", "median_ns", "best_ns"];
    let mut report = Report::new(command, columns);
    report.rows = options.nodes.iter().flat_map(|nodes| rows(*nodes, options.seed)).collect();
    report.notes = [
        "The median and the best of many rounds; one thread. A row holds learning, deadlines and its share of tick.",
        "`rows`: those of half a millisecond are handed over together, a thousandth of all nodes at once.",
    ]
    .map(String::from)
    .into();
    Ok(report)
}

fn rows(nodes: u32, seed: u64) -> Vec<Vec<Cell>> {
    let mut bed = Bed::new(nodes, seed);
    let rounds = SIGNS_MIN.div_ceil(u64::from(nodes)).max(ROUNDS_MIN);
    let mut figures = Vec::new();
    let mut call = |name: &str, round: fn(&mut Bed)| {
        let (median, best) = per_call(nodes, rounds, || round(&mut bed));
        assert_eq!(bed.probes, 0, "punctual rows are not doubted");
        figures.push(vec![u64::from(nodes).into(), name.into(), median.into(), best.into()]);
    };
    call("row", Bed::rows);
    call("rows", Bed::rows_together);
    call("heard", Bed::signs);
    figures
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
