//! What was known about each node on each day, and what came of it?
//!
//! Plays a history to the sentinel's risk, failure by failure, and looks at midnight. What is asked afterwards never
//! reaches what was known before.

use super::trace::{DAY, Down, Trace};
use sentinel::risk::{Moment, Risk, SIGNALS};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Nodes with neighbouring numbers, as many as fill a rack or two, are taken for near ones: the trace has no map.
const NEAR: u32 = 32;

/// A node that served and was up at midnight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Its index.
    pub(super) node: u32,
    /// The midnight, in days since the epoch.
    pub(super) day: u64,
    /// What was known.
    pub(super) signals: [u64; SIGNALS],
    /// What the sentinel makes of it.
    pub(super) expected_ppm: u64,
    /// Whether it failed within the days asked about.
    pub(super) failed: bool,
}

/// A history being played.
pub(super) struct Replay<'a> {
    trace: &'a Trace,
    horizon: u64,
    risk: Risk,
    starts: Vec<Vec<u64>>,
    next: usize,
    down: BinaryHeap<Reverse<(u64, usize)>>,
}

impl<'a> Replay<'a> {
    /// Nothing played yet; samples will ask about `days` to come.
    pub(super) fn new(trace: &'a Trace, days: u64) -> Self {
        let near = groups(trace.nodes.iter().map(|node| (node.system, node.number / NEAR)));
        let far = groups(trace.nodes.iter().map(|node| (node.system, 0)));
        let risk = Risk::new(&near, &far).expect("groups are numbered densely");
        let mut starts = vec![Vec::new(); trace.nodes.len()];
        trace.failures.iter().for_each(|down| starts[down.node].push(down.start));
        Self { trace, horizon: days * DAY, risk, starts, next: 0, down: BinaryHeap::new() }
    }

    /// All nodes at this midnight, of which it is known in time what came of them: before `known`, in minutes.
    pub(super) fn look(&mut self, day: u64, known: u64) -> Vec<Sample> {
        self.play(day * DAY);
        let end = known.min(self.trace.failures.last().map_or(0, |down| down.start));
        if day * DAY + self.horizon > end {
            return Vec::new();
        }
        (0..self.trace.nodes.len()).filter_map(|node| self.sample(node, day)).collect()
    }

    fn sample(&self, index: usize, day: u64) -> Option<Sample> {
        let (now, node) = (day * DAY, self.trace.nodes[index]);
        if now < node.from || now + self.horizon > node.until || self.risk.is_down(index) {
            return None;
        }
        let after = self.starts[index].partition_point(|start| *start <= now);
        let failed = self.starts[index].get(after).is_some_and(|start| *start <= now + self.horizon);
        let signals = self.risk.signals(index, moment(now));
        let expected_ppm = self.risk.expected_ppm(index, moment(now));
        Some(Sample { node: index as u32, day, signals, expected_ppm, failed })
    }

    /// Failures and recoveries up to a minute, in their order.
    fn play(&mut self, until: u64) {
        while let Some(&Down { start, fixed, node }) = self.trace.failures.get(self.next).filter(|d| d.start <= until) {
            self.mend(start);
            self.risk.failed(node, moment(start));
            self.down.push(Reverse((fixed, node)));
            self.next += 1;
        }
        self.mend(until);
    }

    fn mend(&mut self, until: u64) {
        while self.down.peek().is_some_and(|Reverse((fixed, _))| *fixed <= until) {
            let Some(Reverse((fixed, node))) = self.down.pop() else { return };
            self.risk.recovered(node, moment(fixed));
        }
    }
}

fn moment(minute: u64) -> Moment {
    Moment(minute * 60_000)
}

/// A dense number for each distinct name.
fn groups(names: impl Iterator<Item = (u32, u32)>) -> Vec<u32> {
    let mut numbers = BTreeMap::new();
    names
        .map(|name| {
            let fresh = numbers.len() as u32;
            *numbers.entry(name).or_insert(fresh)
        })
        .collect()
}
