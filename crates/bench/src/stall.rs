//! Does anybody take a pause for a crash?
//!
//! Some nodes stall now and then: they neither send nor take anything in for a while, and then go on with what waited.
//! Ours and (with the feature `peers`) foca see the same stalls on the same network. No observer can know that a silent
//! node will be back, so the first long stall of a node may be mistaken; what counts is that stalls shorter than what was
//! learned are not, and that a stalled observer does not accuse those whom it did not hear.

use crate::crash::beliefs::{Act, Outcome, play};
#[cfg(feature = "peers")]
use crate::crash::foca_nodes::{FocaNodes, VERSION};
use crate::crash::our_nodes::OurNodes;
use crate::network::{Loss, Network};
use crate::random::Random;
use crate::{Cell, Failure, Report};
use sentinel::health::Config;

/// Before the first stall, seconds.
const WARM_S: u64 = 600;
/// For so long after its end a stall is still blamed for what is thought of the node, microseconds: a verdict may be on
/// its way already.
const BLAMED_US: u64 = 1_000_000;
/// An observer that stalled is blamed for what it thinks of others for so long after, microseconds.
const OBSERVER_BLAMED_US: u64 = 2_000_000;

const COLUMNS: [&str; 9] = [
    "system",
    "half",
    "stalls",
    "within_learned",
    "deaths",
    "deaths_within_learned",
    "deaths_of_others",
    "by_stalled_observers",
    "node_hours",
];

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Size of the network
    #[arg(long, default_value_t = 100)]
    pub nodes: u32,
    /// Share of nodes that stall
    #[arg(long, default_value_t = 0.1)]
    pub fraction: f64,
    /// Shortest and longest stall, seconds; evenly distributed
    #[arg(long, default_value = "0.5..5", value_parser = range)]
    pub stall: (f64, f64),
    /// Mean time between two stalls of a node that stalls, seconds
    #[arg(long, default_value_t = 60.0)]
    pub every: f64,
    /// Share of messages that is lost
    #[arg(long, default_value_t = 0.05)]
    pub loss: f64,
    /// Virtual hours
    #[arg(long, default_value_t = 4)]
    pub hours: u64,
    /// Decides everything
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

fn range(text: &str) -> Result<(f64, f64), String> {
    let wrong = || format!("{text}: give two numbers of seconds, such as 0.5..5");
    let (low, high) = text.split_once("..").ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<f64>().map_err(|_| wrong());
    let (low, high) = (number(low)?, number(high)?);
    if 0.0 < low && low <= high && high <= 60.0 { Ok((low, high)) } else { Err(wrong()) }
}

/// A pause of a node, microseconds.
#[derive(Clone, Copy)]
struct Stall {
    node: u32,
    from_us: u64,
    to_us: u64,
}

/// Measures.
///
/// # Errors
/// If an option makes no sense.
pub fn run(options: &Options) -> Result<Report, Failure> {
    check(options)?;
    let mut report = Report::new(command(options), COLUMNS.to_vec());
    report.notes = notes();
    let stalls = stalls(options);
    let acts: Vec<(u64, Act)> =
        stalls.iter().map(|stall| (stall.from_us, Act::Stall(stall.node, stall.to_us))).collect();
    let end_us = options.hours * 3_600_000_000;
    let network = || Loss { share: options.loss, burst_us: 0 };
    let ours = OurNodes::new(options.nodes, &Config::default(), options.seed);
    let (outcome, _) = play(ours, Network::new(options.nodes, network(), options.seed), options.nodes, &acts, end_us);
    report.rows.extend(rows("ours", &stalls, &outcome, end_us));
    peers(options, &stalls, &acts, &mut report);
    Ok(report)
}

#[cfg(not(feature = "peers"))]
fn peers(_: &Options, _: &[Stall], _: &[(u64, Act)], report: &mut Report) {
    report.notes.push("Peers: build with `--features peers` to run foca on the same stalls.".into());
}

#[cfg(feature = "peers")]
fn peers(options: &Options, stalls: &[Stall], acts: &[(u64, Act)], report: &mut Report) {
    let loss = Loss { share: options.loss, burst_us: 0 };
    let (nodes, end_us) = (options.nodes, options.hours * 3_600_000_000);
    let foca = FocaNodes::new(nodes, options.seed);
    let (outcome, foca) = play(foca, Network::new(nodes, loss, options.seed), nodes, acts, end_us);
    report.versions.push(VERSION.into());
    report.rows.extend(rows("foca", stalls, &outcome, end_us));
    report.notes.push(format!("foca: running nodes took a new name {} times; {} errors.", foca.rejoins, foca.errors));
}

fn command(options: &Options) -> String {
    let Options { nodes, fraction, stall: (low, high), every, loss, hours, seed } = options;
    format!(
        "bench stall --nodes {nodes} --fraction {fraction} --stall {low}..{high} --every {every} --loss {loss} \
         --hours {hours} --seed {seed}"
    )
}

fn check(options: &Options) -> Result<(), Failure> {
    let refuse = |message: String, help: &str| Err(Failure { message, help: help.into() });
    if !(17..=10_000).contains(&options.nodes) {
        return refuse(format!("--nodes {}: from 17 to 10000", options.nodes), "below 17 nodes rows go to everyone");
    }
    if !(0.0..=1.0).contains(&options.fraction) || !(0.0..=0.9).contains(&options.loss) {
        return refuse("--fraction and --loss: from 0 to 1 and to 0.9".into(), "give shares, not percent");
    }
    if !(1.0..=86_400.0).contains(&options.every) || !(1..=1_000).contains(&options.hours) {
        return refuse("--every: from 1 to 86400 s; --hours: from 1 to 1000".into(), "leave them out for defaults");
    }
    Ok(())
}

/// The stalls of the first nodes, in order of time; those of one node do not overlap.
fn stalls(options: &Options) -> Vec<Stall> {
    let end_us = options.hours * 3_600_000_000 - 10_000_000;
    let count = (f64::from(options.nodes) * options.fraction).round() as u32;
    let mut all = Vec::new();
    for node in 0..count {
        let mut random = Random::new(options.seed).part(u64::from(node));
        let us = |seconds: f64| (seconds * 1e6) as u64;
        let mut now_us = WARM_S * 1_000_000;
        loop {
            let from_us = now_us + us(1.0 + random.exponential(options.every));
            let (low, high) = options.stall;
            let to_us = from_us + us(low + (high - low) * random.unit());
            if to_us > end_us {
                break;
            }
            all.push(Stall { node, from_us, to_us });
            now_us = to_us;
        }
    }
    all.sort_by_key(|stall| (stall.from_us, stall.node));
    all
}

/// One line for each half of the time: while nodes learn, and when they have.
fn rows(system: &str, stalls: &[Stall], outcome: &Outcome, end_us: u64) -> Vec<Vec<Cell>> {
    [("first", 0..end_us / 2), ("second", end_us / 2..end_us)]
        .into_iter()
        .map(|(half, span)| {
            let indexes: Vec<usize> = (0..stalls.len()).filter(|i| span.contains(&stalls[*i].from_us)).collect();
            let learned =
                |i: &usize| outcome.patience_us[*i].is_some_and(|us| stalls[*i].to_us - stalls[*i].from_us <= us);
            let died =
                |i: &usize| outcome.false_deaths.iter().any(|(at, node)| stalls[*i].is_blamed(*node, *at, BLAMED_US));
            let others = outcome.false_deaths.iter().filter(|(at, node)| {
                span.contains(at) && !stalls.iter().any(|stall| stall.is_blamed(*node, *at, BLAMED_US))
            });
            let count = |test: &dyn Fn(&usize) -> bool| indexes.iter().filter(|i| test(i)).count() as u64;
            let knows = indexes.iter().any(|i| outcome.patience_us[*i].is_some());
            vec![
                system.into(),
                half.into(),
                (indexes.len() as u64).into(),
                if knows { count(&learned).into() } else { Cell::Nothing },
                count(&died).into(),
                if knows { count(&|i| learned(i) && died(i)).into() } else { Cell::Nothing },
                (others.count() as u64).into(),
                if knows { by_stalled(stalls, outcome, &span).into() } else { Cell::Nothing },
                (outcome.node_hours() / 2.0).into(),
            ]
        })
        .collect()
}

/// Suspicions of nodes that were running by observers that had stalled themselves.
fn by_stalled(stalls: &[Stall], outcome: &Outcome, span: &std::ops::Range<u64>) -> u64 {
    let suspicions = outcome.false_suspicions.iter().filter(|(at, observer, other)| {
        let blamed = |node: u32, us: u64| stalls.iter().any(|stall| stall.is_blamed(node, *at, us));
        span.contains(at) && blamed(*observer, OBSERVER_BLAMED_US) && !blamed(*other, BLAMED_US)
    });
    suspicions.count() as u64
}

impl Stall {
    fn is_blamed(&self, node: u32, at_us: u64, after_us: u64) -> bool {
        self.node == node && (self.from_us..self.to_us + after_us).contains(&at_us)
    }
}

fn notes() -> Vec<String> {
    [
        "Stalls begin after 600 s. Which half a stall belongs to is when it began.",
        "within_learned: stalls no longer than all watchers of the node had learned to wait for when it began.",
        "deaths: stalls during which, or within 1 s after, somebody thought the node dead. deaths_of_others: running nodes \
         that somebody thought dead.",
        "by_stalled_observers: suspicions of running nodes by watchers that were stalled or had been in the 2 s before.",
    ]
    .map(String::from)
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options { nodes: 20, fraction: 0.2, stall: (0.5, 5.0), every: 60.0, loss: 0.0, hours: 1, seed: 1 }
    }

    #[test]
    fn a_range_of_seconds_is_two_numbers_in_order() {
        assert_eq!(range("0.5..5"), Ok((0.5, 5.0)));
        assert_eq!(range("5..5"), Ok((5.0, 5.0)));
        for wrong in ["", "5", "5..4", "0..1", "1..61", "a..b", "-1..2"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn stalls_are_of_the_wanted_nodes_and_lengths_and_do_not_overlap() {
        let stalls = stalls(&options());
        assert!(stalls.len() > 100, "{}", stalls.len());
        let lengths = |stall: &Stall| (500_000..=5_000_000).contains(&(stall.to_us - stall.from_us));
        assert!(stalls.iter().all(|stall| stall.node < 4 && lengths(stall)));
        for node in 0..4 {
            let own: Vec<&Stall> = stalls.iter().filter(|stall| stall.node == node).collect();
            assert!(own.windows(2).all(|pair| pair[0].to_us < pair[1].from_us));
        }
    }

    #[test]
    fn who_was_running_is_accused_by_nobody() {
        let report = run(&options()).expect("runs");
        let column = |name: &str| COLUMNS.iter().position(|column| *column == name).expect("a column");
        for row in &report.rows[..2] {
            let none = ["deaths_of_others", "by_stalled_observers"].map(|name| row[column(name)].clone());
            assert_eq!(none, [Cell::Count(0), Cell::Count(0)], "{report}");
        }
    }
}
