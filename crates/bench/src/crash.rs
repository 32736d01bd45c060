//! How soon does everybody know of a crash, at what price, and how often is it not true?
//!
//! Networks in virtual time, all with the same delays and losses, under ours and (with the feature `peers`) under foca and
//! chitchat. Each crash counts at every observer that is alive; whoever never learns of it counts as later than all.
//!
//! - `beliefs`: who thought whom dead, and was it true?
//! - `our_nodes`: ours
//! - `foca_nodes`, `chitchat_nodes`: the peers

pub mod beliefs;
#[cfg(feature = "peers")]
pub mod chitchat_nodes;
#[cfg(feature = "peers")]
pub mod foca_nodes;
pub mod our_nodes;

use crate::network::{Loss, Network};
use crate::random::Random;
use crate::{Cell, Failure, Report};
use beliefs::{Act, Outcome, bound_95, play, quantile_s};
use our_nodes::OurNodes;
use sentinel::health::Config;

/// Before the first crash, for those that learn nothing, seconds.
const WARM_S: u64 = 30;
/// Between two crashes, seconds.
const APART_S: u64 = 13;
/// After the last, so that all can come to know of it, seconds.
const AFTER_S: u64 = 40;
/// A network without crashes, longer than which no one is simulated, seconds. There are several, with other seeds.
const QUIET_S: u64 = 4 * 3_600;
/// Hours in a year.
const YEAR_H: f64 = 8_766.0;
/// chitchat has to forget its prior of 5 seconds a heartbeat first, seconds.
#[cfg(feature = "peers")]
const CHITCHAT_WARM_S: u64 = 150;
/// Its messages grow with the network, and with them the time this takes.
#[cfg(feature = "peers")]
const CHITCHAT_NODES_MAX: u32 = 100;

const COLUMNS: [&str; 17] = [
    "nodes",
    "loss_%",
    "system",
    "crashes",
    "first_p50_s",
    "first_p99_s",
    "all_p50_s",
    "all_p99_s",
    "unaware",
    "suspicions",
    "deaths",
    "wrong_beliefs",
    "node_hours",
    "suspicions_max_/node-year",
    "deaths_max_/node-year",
    "msg_/node_s",
    "B_/node_s",
];

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Sizes of networks
    #[arg(long, value_delimiter = ',', default_value = "100,1000")]
    pub nodes: Vec<u32>,
    /// Shares of messages that are lost
    #[arg(long, value_delimiter = ',', default_value = "0,0.05,0.1,0.2")]
    pub loss: Vec<f64>,
    /// Mean length of a burst of losses, per link and direction; 0: each message on its own
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub burst: u64,
    /// Crashes under ours, at least, for each size and loss
    #[arg(long, default_value_t = 200)]
    pub crashes: u64,
    /// Crashes under each peer, at least, for each size and loss
    #[arg(long, default_value_t = 20)]
    pub peer_crashes: u64,
    /// Virtual seconds of each network with crashes
    #[arg(long, default_value_t = 200)]
    pub seconds: u64,
    /// Virtual seconds before that under ours, to learn what is usual: 3 minutes make 128 rows for each watcher
    #[arg(long, default_value_t = 600)]
    pub warm: u64,
    /// Node-hours under ours, at least, for each size and loss: what the crashes leave to do runs without any
    #[arg(long, default_value_t = 1_000)]
    pub node_hours: u64,
    /// Decides everything, except what chitchat draws
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// A size and a loss.
#[derive(Clone, Copy)]
struct Scene {
    nodes: u32,
    loss: Loss,
    seed: u64,
    seconds: u64,
}

/// Measures.
///
/// # Errors
/// If an option makes no sense, or a peer cannot start.
pub fn run(options: &Options) -> Result<Report, Failure> {
    check(options)?;
    let mut report = Report::new(command(options), COLUMNS.to_vec());
    report.notes = notes();
    for nodes in &options.nodes {
        for share in &options.loss {
            let loss = Loss { share: *share, burst_us: options.burst * 1_000 };
            let scene = Scene { nodes: *nodes, loss, seed: options.seed, seconds: options.seconds };
            report.rows.push(ours(&scene, options));
            peers(&scene, options, &mut report)?;
        }
    }
    Ok(report)
}

fn command(options: &Options) -> String {
    let listed = |numbers: Vec<String>| numbers.join(",");
    format!(
        "bench crash --nodes {} --loss {} --burst {} --crashes {} --peer-crashes {} --seconds {} --warm {} --node-hours {} --seed {}",
        listed(options.nodes.iter().map(u32::to_string).collect()),
        listed(options.loss.iter().map(f64::to_string).collect()),
        options.burst,
        options.crashes,
        options.peer_crashes,
        options.seconds,
        options.warm,
        options.node_hours,
        options.seed,
    )
}

fn check(options: &Options) -> Result<(), Failure> {
    let refuse = |message: String, help: &str| Err(Failure { message, help: help.into() });
    if let Some(nodes) = options.nodes.iter().find(|nodes| !(17..=10_000).contains(*nodes)) {
        return refuse(format!("--nodes {nodes}: from 17 to 10000"), "below 17 nodes rows go to everyone");
    }
    if let Some(loss) = options.loss.iter().find(|loss| !(0.0..=0.9).contains(*loss)) {
        return refuse(format!("--loss {loss}: from 0 to 0.9"), "give shares, not percent");
    }
    if options.seconds < WARM_S + APART_S + AFTER_S {
        let least = WARM_S + APART_S + AFTER_S;
        return refuse(
            format!("--seconds {}: at least {least}", options.seconds),
            "nodes must learn, and then be told",
        );
    }
    Ok(())
}

/// Crashes in a network, spread evenly with some chance.
fn crashes(scene: &Scene, warm_s: u64, random: &mut Random) -> Vec<(u64, Act)> {
    let count = ((scene.seconds - WARM_S - AFTER_S) / APART_S).min(u64::from(scene.nodes) / 10).max(1);
    let mut left: Vec<u32> = (0..scene.nodes).collect();
    let mut crash = |i: u64| {
        let node = left.swap_remove(random.below(left.len() as u64) as usize);
        ((warm_s + i * APART_S) * 1_000_000 + random.below(APART_S * 500_000), Act::Crash(node))
    };
    (0..count).map(&mut crash).collect()
}

/// Networks until there were enough crashes.
fn networks<E>(
    scene: &Scene,
    crashes_min: u64,
    warm_s: u64,
    mut network: impl FnMut(u64, &[(u64, Act)], u64) -> Result<Outcome, E>,
) -> Result<Outcome, E> {
    let mut total = Outcome::default();
    for i in 0.. {
        if total.crashes >= crashes_min {
            break;
        }
        let mut random = Random::new(scene.seed).part(i);
        let acts = crashes(scene, warm_s, &mut random);
        total.add(network(random.next(), &acts, (scene.seconds - WARM_S + warm_s) * 1_000_000)?);
    }
    Ok(total)
}

fn ours(scene: &Scene, options: &Options) -> Vec<Cell> {
    let one = |seed: u64, acts: &[(u64, Act)], end_us: u64| {
        let nodes = OurNodes::new(scene.nodes, &Config::default(), seed);
        play(nodes, Network::new(scene.nodes, scene.loss, seed), scene.nodes, acts, end_us).0
    };
    let Ok::<_, std::convert::Infallible>(outcome) =
        networks(scene, options.crashes, WARM_S + options.warm, |seed, acts, end_us| Ok(one(seed, acts, end_us)));
    let mut quiet = Outcome::default();
    let mut random = Random::new(scene.seed).part(u64::MAX);
    loop {
        let left_h = options.node_hours as f64 - outcome.node_hours() - quiet.node_hours();
        let left_s = (left_h * 3_600.0 / f64::from(scene.nodes)).ceil();
        if left_s < 1.0 {
            break;
        }
        quiet.add(one(random.next(), &[], (left_s as u64).min(QUIET_S) * 1_000_000));
    }
    row(scene, "ours", &outcome, &quiet, true)
}

/// Times and messages are those of the networks with crashes.
fn row(scene: &Scene, system: &str, outcome: &Outcome, quiet: &Outcome, suspects: bool) -> Vec<Cell> {
    let hours = outcome.node_hours() + quiet.node_hours();
    let deaths = (outcome.false_deaths.len() + quiet.false_deaths.len()) as u64;
    let suspicions = (outcome.false_suspicions.len() + quiet.false_suspicions.len()) as u64;
    let yearly = |events: u64| bound_95(events) / hours * YEAR_H;
    let first = |share: f64| seconds(quantile_s(&outcome.first_us, outcome.unnoticed, share));
    let all = |share: f64| seconds(quantile_s(&outcome.all_us, outcome.unaware, share));
    vec![
        u64::from(scene.nodes).into(),
        (scene.loss.share * 100.0).into(),
        system.into(),
        outcome.crashes.into(),
        first(0.5),
        first(0.99),
        all(0.5),
        all(0.99),
        outcome.unaware.into(),
        if suspects { suspicions.into() } else { Cell::Nothing },
        deaths.into(),
        (outcome.wrong_beliefs + quiet.wrong_beliefs).into(),
        hours.into(),
        suspects.then(|| yearly(suspicions)).into(),
        yearly(deaths).into(),
        outcome.per_node_second(outcome.messages).into(),
        outcome.per_node_second(outcome.bytes).into(),
    ]
}

fn seconds(quantile: Option<f64>) -> Cell {
    quantile.map_or_else(|| "never".into(), Cell::Figure)
}

fn notes() -> Vec<String> {
    [
        "Delay 1 ms + Exp(2 ms), losses independent unless --burst; nothing is sent again but by the systems themselves.",
        "first: from the crash to the first live observer that thinks the node dead; all: to each live observer, over all \
         crashes. unaware: pairs of a crash and an observer that did not know of it in the end.",
        "ours: dead means that a watcher's suspicion was seconded by another that asked on its own, and announced. \
         suspicions: of live nodes by one watcher, seconded or not. It is what the budget of 1 per node-year is about.",
        "ours learns for --warm seconds first; --warm 0 shows a network in its first minutes.",
        "deaths: times that somebody thought a live node dead while nobody did so before; wrong_beliefs: observers.",
        "max: upper end of the 95 % interval for the rate per node-year at this exposure (3 / exposure when there was none).",
        "msg and B: sent, per live node, in the networks with crashes, confirmations and repetitions included; B without \
         what a transport adds.",
    ]
    .map(String::from)
    .to_vec()
}

#[cfg(not(feature = "peers"))]
fn peers(_: &Scene, _: &Options, report: &mut Report) -> Result<(), Failure> {
    let note = "Peers: build with `--features peers` to run foca and chitchat on the same networks.";
    if !report.notes.iter().any(|known| known == note) {
        report.notes.push(note.into());
    }
    Ok(())
}

#[cfg(feature = "peers")]
fn peers(scene: &Scene, options: &Options, report: &mut Report) -> Result<(), Failure> {
    if report.versions.len() == 1 {
        report.versions.extend([foca_nodes::VERSION.into(), chitchat_nodes::VERSION.into()]);
        report.notes.push(format!("chitchat: up to {CHITCHAT_NODES_MAX} nodes; its draws do not follow --seed."));
    }
    foca(scene, options, report)?;
    if scene.nodes > CHITCHAT_NODES_MAX {
        return Ok(());
    }
    let network =
        |seed: u64, acts: &[(u64, Act)], end_us: u64| chitchat_nodes::play(scene.nodes, scene.loss, seed, acts, end_us);
    let outcome = networks(scene, options.peer_crashes, CHITCHAT_WARM_S, network).map_err(|error| Failure {
        message: format!("chitchat did not start: {error:#}"),
        help: "it needs no network; please report this".into(),
    })?;
    report.rows.push(row(scene, "chitchat", &outcome, &Outcome::default(), false));
    Ok(())
}

#[cfg(feature = "peers")]
fn foca(scene: &Scene, options: &Options, report: &mut Report) -> Result<(), Failure> {
    let (mut rejoins, mut errors) = (0, 0);
    let network = |seed: u64, acts: &[(u64, Act)], end_us: u64| {
        let nodes = foca_nodes::FocaNodes::new(scene.nodes, seed);
        let (outcome, nodes) = play(nodes, Network::new(scene.nodes, scene.loss, seed), scene.nodes, acts, end_us);
        rejoins += nodes.rejoins;
        errors += nodes.errors;
        Ok::<_, Failure>(outcome)
    };
    let outcome = networks(scene, options.peer_crashes, WARM_S, network)?;
    report.rows.push(row(scene, "foca", &outcome, &Outcome::default(), false));
    let (nodes, percent) = (scene.nodes, scene.loss.share * 100.0);
    report.notes.push(format!(
        "foca, {nodes} nodes, {percent} % loss: running nodes took a new name {rejoins} times, having been told that they \
         are down; {errors} calls returned an error."
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(nodes: u32, loss: f64) -> Options {
        let (nodes, loss) = (vec![nodes], vec![loss]);
        Options { nodes, loss, burst: 0, crashes: 2, peer_crashes: 1, seconds: 96, warm: 100, node_hours: 4, seed: 1 }
    }

    #[test]
    fn options_that_make_no_sense_are_refused_with_a_way_out() {
        let refused = [options(16, 0.0), options(17, 0.91), Options { seconds: 82, ..options(17, 0.0) }];
        for options in refused {
            let failure = run(&options).expect_err("refused");
            assert!(failure.message.starts_with("--") && !failure.help.is_empty(), "{failure}");
        }
    }

    #[test]
    fn all_know_of_a_crash_within_seconds_and_one_seed_gives_one_table() {
        let report = run(&options(40, 0.1)).expect("runs");
        let again = run(&options(40, 0.1)).expect("runs");
        let ours = |report: &Report| report.rows[0].clone();
        assert_eq!(ours(&report), ours(&again));
        let column = |name: &str| COLUMNS.iter().position(|column| *column == name).expect("a column");
        assert_eq!(ours(&report)[column("unaware")], Cell::Count(0));
        assert!(matches!(ours(&report)[column("all_p99_s")], Cell::Figure(s) if s < 3.0), "{report}");
        assert!(matches!(ours(&report)[column("node_hours")], Cell::Figure(hours) if hours >= 4.0), "{report}");
    }
}
