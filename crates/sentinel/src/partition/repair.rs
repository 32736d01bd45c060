//! What is the least that would let a quorum hear each other again?
//!
//! Each link that is mended costs one, and each validator that is brought back, of which nothing is known, costs one: its
//! links are expected to work then. Among those whose word is known, the least damaged set of a given size is looked for
//! by branch and bound; that is hard in general (it is the densest-k-subgraph problem), so the search has a budget, and the
//! answer says whether it came to its end.

use super::Reach;

/// Steps of the search, for each size. Real cuts take a few hundred.
const STEPS_MAX: u32 = 4_000;

/// What has to be mended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Repair {
    /// Links that have to become usable, the smaller end first.
    pub links: Vec<(usize, usize)>,
    /// How many more validators have to be brought back, of those of whom nothing is known.
    pub returning: usize,
    /// Whether nothing less would do, or only nothing less was found.
    pub is_cheapest: bool,
}

impl Repair {
    /// How much has to be done.
    pub const fn cost(&self) -> usize {
        self.links.len() + self.returning
    }
}

/// For a quorum of `needed`.
pub(super) fn cheapest(reach: &Reach, known: &[usize], needed: usize) -> Repair {
    let absent = reach.validators() - known.len();
    let fewest = needed.saturating_sub(absent);
    let mut best: Option<Repair> = None;
    // Whoever is there costs least at first, so the largest sets of known ones are tried first.
    for size in (fewest..=needed.min(known.len())).rev() {
        let returning = needed - size;
        if best.as_ref().is_some_and(|best| returning >= best.cost()) {
            break;
        }
        let (set, is_cheapest) = least_damaged(reach, known, size);
        let found = Repair { links: damaged(reach, &set), returning, is_cheapest };
        let was_proved = best.as_ref().is_none_or(|best| best.is_cheapest) && found.is_cheapest;
        if best.as_ref().is_none_or(|best| found.cost() < best.cost()) {
            best = Some(found);
        }
        if let Some(best) = &mut best {
            best.is_cheapest = was_proved;
        }
    }
    best.expect("a quorum is at most all of them")
}

fn damaged(reach: &Reach, set: &[usize]) -> Vec<(usize, usize)> {
    let mut set = set.to_vec();
    set.sort_unstable();
    let pairs = set.iter().enumerate().flat_map(|(i, a)| set[i + 1..].iter().map(move |b| (*a, *b)));
    pairs.filter(|(a, b)| !reach.is_usable(*a, *b)).collect()
}

/// A set of `size` with as few damaged links inside as can be found, and whether there is none with fewer.
fn least_damaged(reach: &Reach, known: &[usize], size: usize) -> (Vec<usize>, bool) {
    let harm: Vec<Vec<bool>> =
        known.iter().map(|a| known.iter().map(|b| a != b && !reach.is_usable(*a, *b)).collect()).collect();
    let start = greedy(&harm, size);
    let cost = inside(&harm, &start);
    let mut search = Search { harm: &harm, size, best: start, cost, steps: 0 };
    let candidates: Vec<usize> = (0..known.len()).collect();
    search.grow(&mut Vec::new(), 0, &candidates, &vec![0; known.len()]);
    (search.best.iter().map(|i| known[*i]).collect(), search.steps < STEPS_MAX)
}

fn inside(harm: &[Vec<bool>], set: &[usize]) -> usize {
    set.iter().enumerate().map(|(i, a)| set[i + 1..].iter().filter(|b| harm[*a][**b]).count()).sum()
}

/// Takes out whoever has the most damaged links, one after another.
fn greedy(harm: &[Vec<bool>], size: usize) -> Vec<usize> {
    let mut set: Vec<usize> = (0..harm.len()).collect();
    while set.len() > size {
        let damage = |node: &usize| set.iter().filter(|other| harm[*node][**other]).count();
        // Of equal ones the last goes.
        let worst = (0..set.len()).max_by_key(|i| damage(&set[*i])).expect("it is not empty");
        set.remove(worst);
    }
    set
}

struct Search<'a> {
    harm: &'a [Vec<bool>],
    size: usize,
    best: Vec<usize>,
    cost: usize,
    steps: u32,
}

impl Search<'_> {
    /// `harms`: for each, how many damaged links it has into the set.
    fn grow(&mut self, set: &mut Vec<usize>, cost: usize, candidates: &[usize], harms: &[usize]) {
        if set.len() == self.size {
            if cost < self.cost {
                (self.best, self.cost) = (set.clone(), cost);
            }
            return;
        }
        self.steps += 1;
        let missing = self.size - set.len();
        if self.steps >= STEPS_MAX
            || candidates.len() < missing
            || cost + bound(candidates, harms, missing) >= self.cost
        {
            return;
        }
        for (i, node) in candidates.iter().enumerate() {
            if self.steps >= STEPS_MAX {
                return;
            }
            let mut after = harms.to_vec();
            (0..self.harm.len()).filter(|other| self.harm[*node][*other]).for_each(|other| after[other] += 1);
            set.push(*node);
            self.grow(set, cost + harms[*node], &candidates[i + 1..], &after);
            set.pop();
        }
    }
}

/// What the `missing` best candidates cost at least, each by itself.
fn bound(candidates: &[usize], harms: &[usize], missing: usize) -> usize {
    let mut harms: Vec<usize> = candidates.iter().map(|node| harms[*node]).collect();
    harms.sort_unstable();
    harms.iter().take(missing).sum()
}
