//! Who watches whom?
//!
//! In a large network not everybody can hear everybody all the time. Each node has a few watchers, and its rows go to
//! them in turn: to one at a time, so that the node is heard of every heartbeat and costs one message each, and each
//! watcher knows when its own next row is due. Whose turn it is follows from the epoch and the number of the row alone.
//!
//! Watchers are drawn by rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to increase hit rates",
//! 1998): everybody ranks all others for a node by a hash of the epoch, the node and the other. When one is absent,
//! the next in rank takes its place and nothing else moves. The epoch's number should be one that no node can choose,
//! or nodes would choose their watchers with it.

/// How many in rank after the watchers stand by for absent ones. With a third of all nodes absent, more than 8 of the
/// first 11 are in fewer than 2 of 1,000 cases.
const RESERVE: usize = 8;

/// The order of watchers of all nodes in one epoch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Watchers {
    count: usize,
    ranked: Vec<Vec<u32>>,
    candidate_for: Vec<Vec<u32>>,
}

impl Watchers {
    /// Draws `count` watchers, and some in reserve, for each of so many nodes.
    ///
    /// Costs a hash for each pair of nodes, so it is done once an epoch.
    pub fn new(epoch: u64, nodes: u32, count: usize) -> Self {
        let ranked: Vec<Vec<u32>> = (0..nodes).map(|node| ranked(epoch, node, nodes, count + RESERVE)).collect();
        let mut candidate_for = vec![Vec::new(); nodes as usize];
        for (node, candidates) in (0..nodes).zip(&ranked) {
            candidates.iter().for_each(|candidate| candidate_for[*candidate as usize].push(node));
        }
        Self { count, ranked, candidate_for }
    }

    /// How many watch each node, if enough are present.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Those who watch a node, the first in rank first; reserves replace absent ones.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn of(&self, node: u32, is_present: impl Fn(u32) -> bool) -> impl Iterator<Item = u32> {
        self.candidates(node).filter(move |candidate| is_present(*candidate)).take(self.count)
    }

    /// All who may come to watch a node, the first in rank first.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn candidates(&self, node: u32) -> impl Iterator<Item = u32> {
        self.ranked[node as usize].iter().copied()
    }

    /// The nodes which this one may come to watch, in order.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn candidate_for(&self, node: u32) -> impl Iterator<Item = u32> {
        self.candidate_for[node as usize].iter().copied()
    }

    /// Who gets the row of this number; `None` if nobody watches.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn turn(&self, node: u32, row: u64, is_present: impl Fn(u32) -> bool) -> Option<u32> {
        let watchers: Vec<u32> = self.of(node, is_present).collect();
        let turn = row.checked_rem(watchers.len() as u64)?;
        watchers.get(usize::try_from(turn).ok()?).copied()
    }
}

/// The first of all others in the order for this node. Equal hashes, should there be any, stand in order of index.
fn ranked(epoch: u64, node: u32, nodes: u32, count: usize) -> Vec<u32> {
    let others = (0..nodes).filter(|other| *other != node);
    let mut hashed: Vec<(u64, u32)> = others.map(|other| (rank(epoch, node, other), other)).collect();
    hashed.sort_unstable();
    hashed.into_iter().take(count).map(|(_, other)| other).collect()
}

fn rank(epoch: u64, node: u32, other: u32) -> u64 {
    mixed(mixed(epoch) ^ (u64::from(node) << 32 | u64::from(other)))
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014,
/// figure 16): every bit in changes half of the bits out.
const fn mixed(bits: u64) -> u64 {
    let z = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYBODY: fn(u32) -> bool = |_| true;

    fn of(watchers: &Watchers, node: u32, absent: &[u32]) -> Vec<u32> {
        watchers.of(node, |candidate| !absent.contains(&candidate)).collect()
    }

    #[test]
    fn nobody_watches_itself_and_nobody_watches_twice() {
        let watchers = Watchers::new(1, 100, 3);
        for node in 0..100 {
            let mut all: Vec<u32> = watchers.candidates(node).collect();
            assert_eq!(all.len(), 3 + RESERVE);
            all.push(node);
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), 4 + RESERVE, "node {node}");
        }
    }

    #[test]
    fn an_absent_watcher_is_replaced_and_the_others_stay() {
        let watchers = Watchers::new(7, 50, 3);
        for node in 0..50 {
            let all = of(&watchers, node, &[]);
            let without = of(&watchers, node, &all[..1]);
            assert_eq!((without.len(), &without[..2]), (3, &all[1..]), "node {node}");
        }
    }

    #[test]
    fn small_networks_have_fewer_watchers() {
        for (nodes, count) in [(0, None), (1, Some(0)), (2, Some(1)), (4, Some(3)), (5, Some(3))] {
            let watchers = Watchers::new(1, nodes, 3);
            let counted = (nodes > 0).then(|| of(&watchers, 0, &[]).len());
            assert_eq!(counted, count, "{nodes} nodes");
        }
    }

    #[test]
    fn rows_go_to_each_watcher_in_turn() {
        let watchers = Watchers::new(1, 20, 3);
        let all = of(&watchers, 5, &[]);
        let turns: Vec<u32> = (0..6).filter_map(|row| watchers.turn(5, row, EVERYBODY)).collect();
        assert_eq!(turns, [all.clone(), all].concat());
        assert_eq!(watchers.turn(5, 0, |_| false), None);
    }

    #[test]
    fn the_epoch_changes_who_watches() {
        let (first, second) = (Watchers::new(1, 1_000, 3), Watchers::new(2, 1_000, 3));
        let same = (0..1_000).filter(|node| of(&first, *node, &[]) == of(&second, *node, &[])).count();
        assert_eq!(same, 0);
        assert_eq!(first, Watchers::new(1, 1_000, 3));
    }

    #[test]
    fn candidates_know_for_whom_they_are_candidates() {
        let watchers = Watchers::new(3, 60, 2);
        for node in 0..60 {
            for candidate in watchers.candidates(node) {
                assert!(watchers.candidate_for(candidate).any(|watched| watched == node));
            }
        }
        let total: usize = (0..60).map(|node| watchers.candidate_for(node).count()).sum();
        assert_eq!(total, 60 * (2 + RESERVE));
    }

    #[test]
    fn the_work_is_spread_as_evenly_as_by_dice() {
        let watchers = Watchers::new(1, 1_000, 3);
        let mut load = vec![0u32; 1_000];
        (0..1_000).flat_map(|node| of(&watchers, node, &[])).for_each(|watcher| load[watcher as usize] += 1);
        // Poisson with mean 3: above 14 in less than 1 of 100,000 draws.
        assert_eq!(load.iter().sum::<u32>(), 3_000);
        assert!(load.iter().all(|load| *load <= 14), "{load:?}");
    }
}
