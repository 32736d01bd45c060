//! How good is a ranking?
//!
//! Floats compare by `total_cmp`; equal scores count as one step, so that no order among ties flatters a ranking.

use crate::random::Random;

/// Scored samples, the highest score first.
#[derive(Clone, Debug)]
pub(super) struct Ranking {
    order: Vec<Ranked>,
    nodes: usize,
}

/// A sample: a node at a moment.
#[derive(Clone, Copy, Debug)]
struct Ranked {
    score: f64,
    node: u32,
    failed: bool,
}

/// What there is to say about a ranking. Shares, not per cent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Quality {
    /// The chance that a sample before a failure is ranked above one that is not; ties count half.
    pub(super) auc: f64,
    /// The largest share of failures foreseen while a quarter of the alarms are true.
    pub(super) recall_at_quarter: f64,
    /// The same while half of them are.
    pub(super) recall_at_half: f64,
    /// True alarms and foreseen failures in the top hundredth.
    pub(super) top_1: (f64, f64),
    /// The same in the top twentieth.
    pub(super) top_5: (f64, f64),
}

/// Alarms raised so far, true ones, and the score of the last.
#[derive(Clone, Copy, Debug)]
struct Cut {
    alarms: f64,
    hits: f64,
    score: f64,
}

impl Ranking {
    /// Ranks samples, each a score, its node and whether the node then failed.
    pub(super) fn new(samples: impl Iterator<Item = (f64, u32, bool)>) -> Self {
        let mut order: Vec<Ranked> = samples.map(|(score, node, failed)| Ranked { score, node, failed }).collect();
        order.sort_by(|a, b| b.score.total_cmp(&a.score));
        let nodes = order.iter().map(|ranked| ranked.node as usize + 1).max().unwrap_or(0);
        Self { order, nodes }
    }

    /// All of it, each sample once.
    pub(super) fn quality(&self) -> Quality {
        self.weighted(&vec![1; self.nodes])
    }

    /// The lowest score at which this precision is held; `None` if it never is.
    pub(super) fn threshold(&self, precision: f64) -> Option<f64> {
        let cuts = self.cuts(&vec![1; self.nodes]);
        cuts.iter().rev().find(|cut| cut.hits >= precision * cut.alarms).map(|cut| cut.score)
    }

    /// Precision and recall of alarms from this score on.
    pub(super) fn at(&self, threshold: f64) -> (f64, f64) {
        let alarms = self.order.partition_point(|ranked| ranked.score >= threshold);
        let hits = |ranked: &[Ranked]| ranked.iter().filter(|ranked| ranked.failed).count() as f64;
        let (true_alarms, failures) = (hits(&self.order[..alarms]), hits(&self.order));
        (ratio(true_alarms, alarms as f64), ratio(true_alarms, failures))
    }

    /// Qualities of `draws` samples of the nodes with replacement (Efron, "Bootstrap methods: another look at the
    /// jackknife", 1979). Whole nodes are drawn, as what one node does in a week depends on its weeks before.
    pub(super) fn bootstrap(&self, draws: usize, random: &Random) -> Vec<Quality> {
        (0..draws as u64).map(|draw| self.weighted(&drawn(self.nodes, &mut random.part(draw)))).collect()
    }

    fn cuts(&self, weights: &[u32]) -> Vec<Cut> {
        let mut cuts = Vec::new();
        let (mut alarms, mut hits) = (0.0, 0.0);
        for (i, ranked) in self.order.iter().enumerate() {
            let weight = f64::from(weights[ranked.node as usize]);
            alarms += weight;
            hits += if ranked.failed { weight } else { 0.0 };
            if self.order.get(i + 1).is_none_or(|next| next.score < ranked.score) {
                cuts.push(Cut { alarms, hits, score: ranked.score });
            }
        }
        cuts
    }

    fn weighted(&self, weights: &[u32]) -> Quality {
        let cuts = self.cuts(weights);
        let last = cuts.last().copied().unwrap_or(Cut { alarms: 0.0, hits: 0.0, score: 0.0 });
        Quality {
            auc: area(&cuts, last),
            recall_at_quarter: recall(&cuts, last, 0.25),
            recall_at_half: recall(&cuts, last, 0.5),
            top_1: top(&cuts, last, 0.01),
            top_5: top(&cuts, last, 0.05),
        }
    }
}

/// How often each node is drawn.
fn drawn(nodes: usize, random: &mut Random) -> Vec<u32> {
    let mut weights = vec![0; nodes];
    for _ in 0..nodes {
        weights[usize::try_from(random.below(nodes as u64)).expect("below a length")] += 1;
    }
    weights
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// By trapezes over each step of equal scores (Hanley and McNeil, Radiology 143, 1982).
fn area(cuts: &[Cut], last: Cut) -> f64 {
    let (mut sum, mut false_before, mut hits_before) = (0.0, 0.0, 0.0);
    for cut in cuts {
        let false_alarms = cut.alarms - cut.hits;
        sum += (false_alarms - false_before) * (cut.hits + hits_before) / 2.0;
        (false_before, hits_before) = (false_alarms, cut.hits);
    }
    ratio(sum, last.hits * (last.alarms - last.hits))
}

fn recall(cuts: &[Cut], last: Cut, precision: f64) -> f64 {
    let held = cuts.iter().rev().find(|cut| cut.alarms > 0.0 && cut.hits >= precision * cut.alarms);
    held.map_or(0.0, |cut| ratio(cut.hits, last.hits))
}

/// Precision and recall of the top share; where it ends among ties, they count in proportion.
fn top(cuts: &[Cut], last: Cut, share: f64) -> (f64, f64) {
    let alarms = last.alarms * share;
    let end = cuts.partition_point(|cut| cut.alarms < alarms);
    let before = end.checked_sub(1).map_or(Cut { alarms: 0.0, hits: 0.0, score: 0.0 }, |i| cuts[i]);
    let Some(after) = cuts.get(end) else { return (0.0, 0.0) };
    let hits = before.hits + (after.hits - before.hits) * ratio(alarms - before.alarms, after.alarms - before.alarms);
    (ratio(hits, alarms), ratio(hits, last.hits))
}

/// The middle 95 of a hundred of some values.
pub(super) fn interval(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values.get(((values.len() as f64 - 1.0) * share).round() as usize).copied().unwrap_or(0.0);
    (at(0.025), at(0.975))
}

/// The value in the middle; `None` of none.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores with whether each came before a failure.
    fn ranking(samples: &[(f64, bool)]) -> Ranking {
        Ranking::new(samples.iter().enumerate().map(|(node, (score, failed))| (*score, node as u32, *failed)))
    }

    #[track_caller]
    fn check(samples: &[(f64, bool)], auc: f64, at_quarter: f64, at_half: f64) {
        let quality = ranking(samples).quality();
        let found = [quality.auc, quality.recall_at_quarter, quality.recall_at_half];
        let close = found.iter().zip([auc, at_quarter, at_half]).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(close, "{found:?}");
    }

    #[test]
    fn a_perfect_ranking_has_all_and_a_reversed_one_nothing() {
        check(&[(4.0, true), (3.0, true), (2.0, false), (1.0, false)], 1.0, 1.0, 1.0);
        check(&[(1.0, true), (2.0, false), (3.0, false), (4.0, false), (5.0, false)], 0.0, 0.0, 0.0);
    }

    #[test]
    fn one_pair_in_the_wrong_order_costs_its_share() {
        // Pairs in order: (4 > 3), (4 > 1), (2 > 1); not (2 > 3).
        check(&[(4.0, true), (3.0, false), (2.0, true), (1.0, false)], 0.75, 1.0, 1.0);
    }

    #[test]
    fn ties_count_half_whatever_their_order() {
        check(&[(1.0, true), (1.0, false)], 0.5, 1.0, 1.0);
        check(&[(1.0, false), (1.0, true)], 0.5, 1.0, 1.0);
        // The tied four have one hit in them, so a half is held at the first alarm only.
        check(&[(2.0, true), (1.0, true), (1.0, false), (1.0, false), (1.0, false)], 4.5 / 6.0, 1.0, 0.5);
    }

    #[test]
    fn recall_is_that_of_the_last_cut_that_holds_the_precision() {
        // Hits at ranks 1 and 4: precision 1, 1/2, 1/3, 1/2, then 2/5.
        let samples = [(9.0, true), (8.0, false), (7.0, false), (6.0, true), (5.0, false)];
        check(&samples, 4.0 / 6.0, 1.0, 1.0);
        assert_eq!(ranking(&samples).threshold(0.5), Some(6.0));
        assert_eq!(ranking(&samples).threshold(0.51), Some(9.0));
        assert_eq!(ranking(&samples[1..3]).threshold(0.5), None);
        assert_eq!(ranking(&samples).at(7.0), (1.0 / 3.0, 0.5));
        assert_eq!(ranking(&samples).at(7.1), (0.5, 0.5));
    }

    #[test]
    fn the_top_share_is_counted_exactly_and_ties_in_proportion() {
        let distinct: Vec<_> = (0..100).map(|i| (f64::from(i), i == 99 || i == 96 || i == 94)).collect();
        assert_eq!(ranking(&distinct).quality().top_1, (1.0, 1.0 / 3.0));
        assert_eq!(ranking(&distinct).quality().top_5, (0.4, 2.0 / 3.0));
        let tied: Vec<_> = (0..100).map(|i| (0.0, i < 20)).collect();
        let (precision, recall) = ranking(&tied).quality().top_5;
        assert!((precision - 0.2).abs() < 1e-12 && (recall - 0.05).abs() < 1e-12);
    }

    #[test]
    fn nothing_ranked_is_nothing_found() {
        assert_eq!(ranking(&[]).quality(), Quality::default());
        assert_eq!(ranking(&[(1.0, false)]).quality(), Quality::default());
    }

    #[test]
    fn the_bootstrap_surrounds_the_value_and_repeats_from_its_seed() {
        let mut random = Random::new(3);
        let samples: Vec<_> = (0..2_000).map(|i| (random.normal() + f64::from(i % 2), i % 2 == 1)).collect();
        let ranking = ranking(&samples);
        let draws = |seed| interval(ranking.bootstrap(100, &Random::new(seed)).iter().map(|quality| quality.auc));
        let (low, high) = draws(1);
        // Two normals one apart: the area is Phi(1/sqrt 2) = 0.760.
        assert!(low < 0.76 && 0.76 < high && high - low < 0.06, "{low} {high}");
        assert_eq!(draws(1), (low, high));
        assert_ne!(draws(2), (low, high));
    }

    #[test]
    fn middles_and_intervals_are_taken_by_rank() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![]), None);
        assert_eq!(interval((0..=1000).map(f64::from)), (25.0, 975.0));
    }
}
