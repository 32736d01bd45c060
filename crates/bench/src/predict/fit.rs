//! Which weights fit the years before best?
//!
//! The number of failures that a sum of weighted signals lets expect, L, means a failure with probability 1 - exp(-L).
//! Weights that cannot be negative and make what happened most likely are found by expectation maximisation (Dempster,
//! Laird, Rubin, 1977), as for a Poisson sum of which only "none" or "some" is seen: each weight is multiplied by what it
//! explains over what it promises.

use super::replay::Sample;
use sentinel::risk::{SIGNALS, UNIT};

/// After so many rounds no weight moves by a hundredth of the sum any more.
const ROUNDS: usize = 400;

/// Weights in failures for each unit of signal.
pub(super) fn weights(samples: &[Sample]) -> [f64; SIGNALS] {
    let rows: Vec<([f64; SIGNALS], bool)> = samples.iter().map(|sample| (units(sample), sample.failed)).collect();
    let promised = total(&rows);
    let mut weights = [0.01; SIGNALS];
    for _ in 0..ROUNDS {
        let explained = explained(&rows, &weights);
        for i in 0..SIGNALS {
            weights[i] = if promised[i] > 0.0 { weights[i] * explained[i] / promised[i] } else { 0.0 };
        }
    }
    weights
}

/// Failures that these weights let expect.
pub(super) fn expected(sample: &Sample, weights: &[f64; SIGNALS]) -> f64 {
    sum(&units(sample), weights)
}

/// Signals as numbers.
pub(super) fn units(sample: &Sample) -> [f64; SIGNALS] {
    sample.signals.map(|signal| signal as f64 / UNIT as f64)
}

fn total(rows: &[([f64; SIGNALS], bool)]) -> [f64; SIGNALS] {
    let mut sums = [0.0; SIGNALS];
    rows.iter().for_each(|(row, _)| sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x));
    sums
}

fn sum(row: &[f64; SIGNALS], weights: &[f64; SIGNALS]) -> f64 {
    row.iter().zip(weights).map(|(x, weight)| x * weight).sum::<f64>().max(1e-12)
}

fn explained(rows: &[([f64; SIGNALS], bool)], weights: &[f64; SIGNALS]) -> [f64; SIGNALS] {
    let mut sums = [0.0; SIGNALS];
    for (row, _) in rows.iter().filter(|(_, failed)| *failed) {
        let some = -(-sum(row, weights)).exp_m1();
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x / some);
    }
    sums
}
