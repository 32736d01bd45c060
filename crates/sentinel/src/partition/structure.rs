//! Which validators are connected, and which hold others together?

use super::Reach;

/// The connected components of the usable links, each in ascending order.
pub(super) fn sides(reach: &Reach, known: &[usize]) -> Vec<Vec<usize>> {
    let mut sides = Vec::new();
    let mut left: Vec<usize> = known.to_vec();
    while let Some(first) = left.first().copied() {
        let mut side = vec![first];
        left.retain(|node| *node != first);
        let mut next = 0;
        while let Some(node) = side.get(next).copied() {
            next += 1;
            let (joined, rest) = left.iter().partition(|other| reach.is_usable(node, **other));
            left = rest;
            side.extend::<Vec<usize>>(joined);
        }
        side.sort_unstable();
        sides.push(side);
    }
    sides
}

/// Those whose loss would split their side: the articulation points of the usable links (Hopcroft and Tarjan, "Algorithm
/// 447", CACM 16, 1973), without recursion, as a side may be a chain of a thousand.
pub(super) fn bridges(reach: &Reach, known: &[usize]) -> Vec<usize> {
    let n = reach.validators();
    let mut search = Search { reach, known, order: vec![0; n], low: vec![0; n], count: 0, cuts: vec![false; n] };
    for root in known {
        if search.order[*root] == 0 {
            search.from(*root);
        }
    }
    (0..n).filter(|node| search.cuts[*node]).collect()
}

struct Search<'a> {
    reach: &'a Reach,
    known: &'a [usize],
    /// When each was met first, from 1.
    order: Vec<usize>,
    /// The earliest that each can get back to without the way it came.
    low: Vec<usize>,
    count: usize,
    cuts: Vec<bool>,
}

impl Search<'_> {
    fn meet(&mut self, node: usize) {
        self.count += 1;
        (self.order[node], self.low[node]) = (self.count, self.count);
    }

    fn from(&mut self, root: usize) {
        self.meet(root);
        let mut children = 0;
        // A node, from where it came, and which neighbour is looked at next.
        let mut path = vec![(root, root, 0)];
        while let Some((node, parent, at)) = path.pop() {
            let Some(other) = self.known.get(at).copied() else {
                self.leave(node, parent, root);
                continue;
            };
            path.push((node, parent, at + 1));
            if other == node || other == parent || !self.reach.is_usable(node, other) {
                continue;
            }
            if self.order[other] == 0 {
                self.meet(other);
                children += usize::from(node == root);
                path.push((other, node, 0));
            } else {
                self.low[node] = self.low[node].min(self.order[other]);
            }
        }
        self.cuts[root] = children > 1;
    }

    fn leave(&mut self, node: usize, parent: usize, root: usize) {
        self.low[parent] = self.low[parent].min(self.low[node]);
        if node != root && parent != root && self.low[node] >= self.order[parent] {
            self.cuts[parent] = true;
        }
    }
}
