//! A history to foresee when there is no real one.
//!
//! Each node has its own pace (log-normal), each failure brings on more of the same node for some days, and now and then a
//! whole system goes down at once.

use super::trace::{DAY, Down, Node, Trace, year};
use crate::random::Random;

const SYSTEMS: u32 = 4;
const NODES: u32 = 48;

/// Failures of a steady node of middling pace, in days.
const PACE_DAYS: f64 = 300.0;

/// How many more failures each one brings on, on average, and within how many days.
const OFFSPRING: f64 = 0.45;
const OFFSPRING_DAYS: f64 = 8.0;

/// Days between outages of a system, on average.
const OUTAGE_DAYS: f64 = 200.0;

/// The history of this seed, 2000 to 2005.
pub(super) fn generate(seed: u64) -> Trace {
    let (from, until) = (year(2000), year(2006));
    let nodes: Vec<Node> =
        (0..SYSTEMS).flat_map(|system| (0..NODES).map(move |number| Node { system, number, from, until })).collect();
    let random = Random::new(seed);
    let mut failures: Vec<Down> =
        (0..nodes.len()).flat_map(|node| of_node(node, from, until, &mut random.part(node as u64))).collect();
    for system in 0..SYSTEMS {
        let random = &mut random.part(u64::from(u32::MAX) + u64::from(system));
        failures.extend(outages(system as usize * NODES as usize, from, until, random));
    }
    failures.sort_unstable();
    Trace { source: format!("generated with seed {seed}"), nodes, failures, nameless: 0 }
}

fn of_node(node: usize, from: u64, until: u64, random: &mut Random) -> Vec<Down> {
    let pace = PACE_DAYS * random.normal().exp();
    let mut starts = Vec::new();
    let mut at = after(from, random.exponential(pace));
    while at < until {
        cluster(at, until, random, &mut starts);
        at = after(at, random.exponential(pace));
    }
    starts.into_iter().map(|start| Down { start, fixed: after(start, random.exponential(0.2)), node }).collect()
}

/// A failure and all that follow from it. It ends: each brings on less than one.
fn cluster(at: u64, until: u64, random: &mut Random, starts: &mut Vec<u64>) {
    if at >= until {
        return;
    }
    starts.push(at);
    let mut sum = random.exponential(1.0);
    while sum < OFFSPRING {
        cluster(after(at, random.exponential(OFFSPRING_DAYS)), until, random, starts);
        sum += random.exponential(1.0);
    }
}

fn outages(first: usize, from: u64, until: u64, random: &mut Random) -> Vec<Down> {
    let mut downs = Vec::new();
    let mut at = after(from, random.exponential(OUTAGE_DAYS));
    while at < until {
        let hit: Vec<usize> = (first..first + NODES as usize).filter(|_| random.chance(0.3)).collect();
        downs.extend(hit.into_iter().map(|node| Down { start: at, fixed: at + 120, node }));
        at = after(at, random.exponential(OUTAGE_DAYS));
    }
    downs
}

/// At least a minute later.
fn after(minute: u64, days: f64) -> u64 {
    minute + 1 + (days * DAY as f64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_history_and_another_seed_another() {
        assert_eq!(generate(1), generate(1));
        assert_ne!(generate(1).failures, generate(2).failures);
    }

    #[test]
    fn failures_are_in_order_and_come_in_bursts() {
        let trace = generate(1);
        assert!(trace.failures.is_sorted());
        let of_first = |days: u64| {
            let pairs = trace.failures.iter().filter(|down| {
                let later = |other: &&Down| other.node == down.node && other.start > down.start;
                trace.failures.iter().find(later).is_some_and(|next| next.start < down.start + days * DAY)
            });
            pairs.count() as f64 / trace.failures.len() as f64
        };
        // A steady process of this pace would see one in forty within a week.
        assert!(of_first(7) > 0.25, "{}", of_first(7));
    }
}
