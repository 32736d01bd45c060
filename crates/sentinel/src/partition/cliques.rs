//! Which is the largest set whose members all hear each other?

use super::{EXACT_MAX, Mutual, Reach};

/// Steps of the search. Cuts take a few dozen, random links a few thousand; what links a liar may claim must not hold
/// anybody up.
const STEPS_MAX: u32 = 50_000;

/// Exact up to [`EXACT_MAX`] validators whose word is known, the best of a few greedy ones beyond.
pub(super) fn largest(reach: &Reach, known: &[usize]) -> Mutual {
    let (mut members, is_largest) =
        if known.len() <= EXACT_MAX { exact(reach, known) } else { (greedy(reach, known), false) };
    members.sort_unstable();
    Mutual { members, is_largest }
}

/// A set, and whether the search came to its end.
fn exact(reach: &Reach, known: &[usize]) -> (Vec<usize>, bool) {
    // Bit i stands for known[i].
    let neighbours: Vec<u64> = known
        .iter()
        .map(|a| (0..known.len()).filter(|i| reach.is_usable(*a, known[*i])).fold(0, |bits, i| bits | 1 << i))
        .collect();
    let all = if known.is_empty() { 0 } else { u64::MAX >> (EXACT_MAX - known.len()) };
    let mut search = Search { neighbours: &neighbours, best: 0, steps: 0 };
    search.grow(0, all);
    (ones(search.best).map(|i| known[i]).collect(), search.steps < STEPS_MAX)
}

struct Search<'a> {
    neighbours: &'a [u64],
    best: u64,
    steps: u32,
}

impl Search<'_> {
    /// Adds what it can of `candidates`, all of which are neighbours of all in `clique`.
    fn grow(&mut self, clique: u64, candidates: u64) {
        if candidates == 0 {
            if clique.count_ones() > self.best.count_ones() {
                self.best = clique;
            }
            return;
        }
        self.steps += 1;
        let mut left = candidates;
        // Of vertices with one colour no two are neighbours, so a clique has at most one of each. Those with the highest
        // colour come first; once the colours are too few for a larger clique, so are all that follow.
        for (vertex, colours) in self.coloured(candidates).into_iter().rev() {
            if self.steps >= STEPS_MAX || clique.count_ones() + colours <= self.best.count_ones() {
                return;
            }
            self.grow(clique | 1 << vertex, left & self.neighbours[vertex]);
            left &= !(1 << vertex);
        }
    }

    /// The vertices by ascending colour, each with how many colours there are up to its own.
    fn coloured(&self, candidates: u64) -> Vec<(usize, u32)> {
        let mut coloured = Vec::with_capacity(candidates.count_ones() as usize);
        let (mut left, mut colour) = (candidates, 0);
        while left != 0 {
            colour += 1;
            let mut free = left;
            while free != 0 {
                let vertex = free.trailing_zeros() as usize;
                free &= !(1 << vertex) & !self.neighbours[vertex];
                left &= !(1 << vertex);
                coloured.push((vertex, colour));
            }
        }
        coloured
    }
}

fn ones(bits: u64) -> impl Iterator<Item = usize> {
    (0..EXACT_MAX).filter(move |i| bits >> i & 1 == 1)
}

/// From each of those with the most usable links, adds whoever has most of them among those that still fit.
fn greedy(reach: &Reach, known: &[usize]) -> Vec<usize> {
    const STARTS: usize = 16;
    let usable: Vec<Vec<bool>> =
        known.iter().map(|a| known.iter().map(|b| reach.is_usable(*a, *b)).collect()).collect();
    let degree = |i: &usize| usable[*i].iter().filter(|is_usable| **is_usable).count();
    let mut by_degree: Vec<usize> = (0..known.len()).collect();
    by_degree.sort_by_cached_key(|i| (std::cmp::Reverse(degree(i)), *i));
    let from = |start: &usize| {
        let mut clique = vec![*start];
        for node in &by_degree {
            if clique.iter().all(|member| usable[*member][*node]) {
                clique.push(*node);
            }
        }
        clique
    };
    // Of equal ones the first is kept.
    let best = by_degree.iter().take(STARTS).map(from).rev().max_by_key(Vec::len).unwrap_or_default();
    best.into_iter().map(|i| known[i]).collect()
}
