//! Which validators are connected, and which hold others together?

use super::Reach;

/// Usable links between nodes, the neighbours of each in one piece: room for a hundred thousand nodes and a million links.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Links {
    /// Where the neighbours of each begin, and behind the last where they end.
    starts: Vec<u32>,
    ends: Vec<u32>,
}

impl Links {
    /// Between so many nodes; each link by its two ends, once.
    ///
    /// # Panics
    /// If a link ends at a node that there is not, or there are 2^31 links.
    pub fn new(nodes: usize, links: &[(u32, u32)]) -> Self {
        let mut starts = vec![0_u32; nodes + 1];
        for (a, b) in links {
            starts[*a as usize + 1] += 1;
            starts[*b as usize + 1] += 1;
        }
        (0..nodes).for_each(|node| starts[node + 1] += starts[node]);
        let (mut next, mut ends) = (starts.clone(), vec![0; 2 * links.len()]);
        for (a, b) in links.iter().flat_map(|(a, b)| [(*a, *b), (*b, *a)]) {
            ends[next[a as usize] as usize] = b;
            next[a as usize] += 1;
        }
        Self { starts, ends }
    }

    /// The usable ones of `reach` between `nodes`, which are numbered by their places in that list.
    pub(super) fn among(reach: &Reach, nodes: &[usize]) -> Self {
        let number = |place: usize| u32::try_from(place).expect("validator counts are small");
        let pairs = nodes
            .iter()
            .enumerate()
            .flat_map(|(i, a)| nodes.iter().enumerate().skip(i + 1).map(move |(j, b)| (i, a, j, b)));
        let usable = pairs.filter(|(_, a, _, b)| reach.is_usable(**a, **b));
        Self::new(nodes.len(), &usable.map(|(i, _, j, _)| (number(i), number(j))).collect::<Vec<_>>())
    }

    /// How many nodes there are.
    pub const fn nodes(&self) -> usize {
        self.starts.len() - 1
    }

    fn of(&self, node: u32) -> &[u32] {
        &self.ends[self.starts[node as usize] as usize..self.starts[node as usize + 1] as usize]
    }

    /// The connected components: of each node the number of its side. Sides are counted by their first nodes.
    ///
    /// Most nodes are on one side after a look at two links of each; only the links of the others have to be looked at then
    /// (Sutton, Ben-Nun and Barak, "Optimizing parallel graph connectivity computation via subgraph sampling", IPDPS 2018).
    pub fn sides(&self) -> Vec<u32> {
        const SAMPLED: usize = 2;
        let all = 0..self.starts.len() as u32 - 1;
        let mut sets = Sets((0..self.starts.len() as u32 - 1).collect());
        for node in all.clone() {
            self.of(node).iter().take(SAMPLED).for_each(|other| sets.join(node, *other));
        }
        let large = sets.likely_largest();
        for node in all.clone() {
            if Some(sets.root(node)) != large {
                self.of(node).iter().skip(SAMPLED).for_each(|other| sets.join(node, *other));
            }
        }
        let (mut sides, mut count) = (vec![0; self.nodes()], 0);
        for node in all {
            let root = sets.root(node);
            if root == node {
                sides[node as usize] = count;
                count += 1;
            } else {
                // A root is the first of its set.
                sides[node as usize] = sides[root as usize];
            }
        }
        sides
    }

    /// Those whose loss would split their side: the articulation points (Hopcroft and Tarjan, "Algorithm 447", CACM 16, 1973),
    /// without recursion, as a side may be a chain of a hundred thousand. In ascending order.
    pub fn bridges(&self) -> Vec<u32> {
        let n = self.nodes();
        let mut search = Search { links: self, order: vec![0; n], low: vec![0; n], count: 0, cuts: vec![false; n] };
        for root in 0..n {
            if search.order[root] == 0 {
                search.from(root as u32);
            }
        }
        (0..n as u32).filter(|node| search.cuts[*node as usize]).collect()
    }
}

/// Disjoint sets: of each node one that is nearer to the first of its set, which leads to itself.
struct Sets(Vec<u32>);

impl Sets {
    fn root(&mut self, mut node: u32) -> u32 {
        while self.0[node as usize] != node {
            let next = self.0[self.0[node as usize] as usize];
            self.0[node as usize] = next;
            node = next;
        }
        node
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b) as usize] = a.min(b);
    }

    /// The set that most of some nodes are in. A wrong guess costs time and nothing else.
    fn likely_largest(&mut self) -> Option<u32> {
        const SAMPLED: usize = 1_000;
        let step = (self.0.len() / SAMPLED).max(1);
        let mut roots: Vec<u32> = (0..self.0.len()).step_by(step).map(|node| self.root(node as u32)).collect();
        roots.sort_unstable();
        roots.chunk_by(|a, b| a == b).max_by_key(|set| set.len()).map(|set| set[0])
    }
}

/// The connected components of the usable links among `nodes`, each in ascending order if `nodes` are.
pub(super) fn sides(reach: &Reach, nodes: &[usize]) -> Vec<Vec<usize>> {
    let mut sides: Vec<Vec<usize>> = Vec::new();
    for (node, side) in nodes.iter().zip(Links::among(reach, nodes).sides()) {
        if side as usize == sides.len() {
            sides.push(Vec::new());
        }
        sides[side as usize].push(*node);
    }
    sides
}

/// Those of `nodes` whose loss would split their side.
pub(super) fn bridges(reach: &Reach, nodes: &[usize]) -> Vec<usize> {
    Links::among(reach, nodes).bridges().into_iter().map(|place| nodes[place as usize]).collect()
}

struct Search<'a> {
    links: &'a Links,
    /// When each was met first, from 1.
    order: Vec<u32>,
    /// The earliest that each can get back to without the way it came.
    low: Vec<u32>,
    count: u32,
    cuts: Vec<bool>,
}

impl Search<'_> {
    fn meet(&mut self, node: u32) {
        self.count += 1;
        (self.order[node as usize], self.low[node as usize]) = (self.count, self.count);
    }

    fn from(&mut self, root: u32) {
        self.meet(root);
        let mut children = 0;
        // A node, from where it came, and which neighbour is looked at next.
        let mut path = vec![(root, root, 0)];
        while let Some((node, parent, at)) = path.last_mut() {
            let (node, parent) = (*node, *parent);
            let Some(other) = self.links.of(node).get(*at).copied() else {
                path.pop();
                self.leave(node, parent, root);
                continue;
            };
            *at += 1;
            if other == parent {
                continue;
            }
            if self.order[other as usize] == 0 {
                self.meet(other);
                children += u32::from(node == root);
                path.push((other, node, 0));
            } else {
                self.low[node as usize] = self.low[node as usize].min(self.order[other as usize]);
            }
        }
        self.cuts[root as usize] = children > 1;
    }

    fn leave(&mut self, node: u32, parent: u32, root: u32) {
        self.low[parent as usize] = self.low[parent as usize].min(self.low[node as usize]);
        if node != root && parent != root && self.low[node as usize] >= self.order[parent as usize] {
            self.cuts[parent as usize] = true;
        }
    }
}
