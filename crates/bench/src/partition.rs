//! How long does it take to see who can talk to whom?
//!
//! Sides and bridges of random links, beside a general graph library where that was asked for (`--features graph`), which has to
//! find as many; and the largest set of those that all hear each other.

use crate::{Cell, Failure, Report, assign::count, random::Random, redistribute::used};
use sentinel::partition::{EXACT_MAX, Links, Picture, Reach, Word};

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Nodes of the large network.
    #[arg(long, default_value = "1e5", value_parser = count)]
    nodes: u32,
    /// Links of it.
    #[arg(long, default_value = "1e6", value_parser = count)]
    links: u32,
    /// Validators among which the largest mutual set is looked for.
    #[arg(long, value_delimiter = ',', default_value = "7,16,64,200", value_parser = count)]
    validators: Vec<u32>,
    /// How often everything is measured.
    #[arg(long, default_value_t = 21)]
    rounds: u32,
    /// Where all random numbers come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

const COLUMNS: [&str; 7] = ["what", "system", "nodes", "links", "found", "cpu ms p50", "cpu ms max"];

/// A larger picture is a matrix that no machine holds.
const VALIDATORS_MAX: u32 = 2_000;

/// Measures.
///
/// # Errors
/// If there is nothing to measure.
pub fn run(options: &Options) -> Result<Report, Failure> {
    let Options { nodes, links, validators, rounds, seed } = options;
    check(options)?;
    let sizes = validators.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let command =
        format!("bench partition --nodes {nodes} --links {links} --validators {sizes} --rounds {rounds} --seed {seed}");
    let mut report = Report::new(command, COLUMNS.to_vec());
    let pairs = random_links(*nodes, *links, &mut Random::new(*seed));
    report.rows.extend(large(*nodes, &pairs, *rounds));
    peer(*nodes, &pairs, *rounds, &mut report);
    for validators in validators {
        report.rows.extend(small(*validators as usize, *rounds, Random::new(*seed)));
    }
    report.notes = vec![
        "cpu: what the thread used, without the time it waited for a processor that others had".into(),
        "links: every pair as likely as any other. adjacency: from a list of pairs, which sides and bridges then share"
            .into(),
        format!(
            "mutual: one link in twenty is cut at random; found is the size of the set, which is the largest up to {EXACT_MAX}. \
             picture: everything, of two halves without a quorum, the cheapest repair included"
        ),
    ];
    Ok(report)
}

fn check(options: &Options) -> Result<(), Failure> {
    let fail = |message: &str| Err(Failure { message: message.into(), help: "choose others".into() });
    if options.nodes < 2 || options.rounds == 0 {
        return fail("--nodes must be at least 2 and --rounds at least 1");
    }
    match options.validators.iter().find(|it| !(2..=VALIDATORS_MAX).contains(*it)) {
        Some(it) => fail(&format!("--validators: {it} is not from 2 to {VALIDATORS_MAX}")),
        None => Ok(()),
    }
}

fn random_links(nodes: u32, links: u32, random: &mut Random) -> Vec<(u32, u32)> {
    let mut end = || random.below(nodes.into()) as u32;
    std::iter::repeat_with(|| (end(), end())).filter(|(a, b)| a != b).take(links as usize).collect()
}

/// What `call` finds, and what it uses of a processor, in milliseconds: the median round and the longest.
fn time(rounds: u32, mut call: impl FnMut() -> usize) -> [Cell; 3] {
    let mut found = 0;
    let mut round = || {
        let start = used();
        found = call();
        (used() - start).as_secs_f64() * 1_000.0
    };
    let mut took: Vec<f64> = (0..rounds).map(|_| round()).collect();
    took.sort_by(f64::total_cmp);
    [(found as u64).into(), took[took.len() / 2].into(), took[took.len() - 1].into()]
}

fn row(what: &str, system: &str, nodes: usize, links: usize, times: [Cell; 3]) -> Vec<Cell> {
    let named = [what.into(), system.into(), (nodes as u64).into(), (links as u64).into()];
    named.into_iter().chain(times).collect()
}

fn large(nodes: u32, pairs: &[(u32, u32)], rounds: u32) -> Vec<Vec<Cell>> {
    let n = nodes as usize;
    let links = Links::new(n, pairs);
    let sides = || links.sides().into_iter().max().map_or(0, |last| last as usize + 1);
    vec![
        row("adjacency", "ours", n, pairs.len(), time(rounds, || Links::new(n, pairs).nodes())),
        row("sides", "ours", n, pairs.len(), time(rounds, sides)),
        row("bridges", "ours", n, pairs.len(), time(rounds, || links.bridges().len())),
    ]
}

#[cfg(not(feature = "graph"))]
const fn peer(_: u32, _: &[(u32, u32)], _: u32, _: &mut Report) {}

#[cfg(feature = "graph")]
fn peer(nodes: u32, pairs: &[(u32, u32)], rounds: u32, report: &mut Report) {
    use petgraph::{algo, graph::UnGraph};
    let n = nodes as usize;
    let build = || {
        let mut graph = UnGraph::<(), ()>::with_capacity(n, pairs.len());
        for _ in 0..n {
            graph.add_node(());
        }
        for (a, b) in pairs {
            graph.add_edge((*a).into(), (*b).into(), ());
        }
        graph
    };
    let graph = build();
    report.versions.push("petgraph 0.8".into());
    report.rows.extend([
        row("adjacency", "petgraph", n, pairs.len(), time(rounds, || build().node_count())),
        row("sides", "petgraph", n, pairs.len(), time(rounds, || algo::connected_components(&graph))),
        row(
            "bridges",
            "petgraph",
            n,
            pairs.len(),
            time(rounds, || algo::articulation_points::articulation_points(&graph).len()),
        ),
    ]);
}

fn small(n: usize, rounds: u32, mut random: Random) -> Vec<Vec<Cell>> {
    let (mut partial, mut halves, mut links) = (Reach::new(n), Reach::new(n), 0);
    for (a, b) in (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b))) {
        let word = |is_usable: bool| if is_usable { Word::Hears } else { Word::Deaf };
        let (is_usable, is_near) = (random.below(20) > 0, (2 * a < n) == (2 * b < n));
        links += usize::from(is_usable);
        for (who, about) in [(a, b), (b, a)] {
            partial.say(who, about, word(is_usable));
            halves.say(who, about, word(is_near));
        }
    }
    let all: Vec<usize> = (0..n).collect();
    let mutual = time(rounds, || partial.mutual(&all).members.len());
    let picture = time(rounds, || Picture::of(&halves).mutual.members.len());
    vec![row("mutual", "ours", n, links, mutual), row("picture", "ours", n, n * (n - 1) / 2, picture)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(nodes: u32, validators: u32) -> Options {
        Options { nodes, links: 500, validators: vec![validators], rounds: 2, seed: 1 }
    }

    #[test]
    fn everything_is_measured_and_says_what_it_found() {
        let report = run(&options(100, 9)).expect("good options");
        assert!(report.rows.len() >= 5 && report.rows.iter().all(|row| row.len() == COLUMNS.len()));
        // Five hundred links among a hundred leave nearly all on one side; a peer finds as many.
        let found = |what: &str| {
            let rows = report.rows.iter().filter(|row| row[0] == what.into());
            rows.map(|row| row[4].clone()).collect::<Vec<_>>()
        };
        for what in ["sides", "bridges"] {
            assert!(found(what).windows(2).all(|pair| pair[0] == pair[1]), "{what}");
        }
        assert!(matches!(found("sides")[0], Cell::Count(1..=3)));
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        assert!(run(&options(1, 9)).is_err() && run(&options(100, 1)).is_err() && run(&options(100, 2_001)).is_err());
    }
}
