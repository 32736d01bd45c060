//! What would others have done?
//!
//! Each of these detectors trusts until `base + parameter x scale`, where both follow from what has arrived so far. So one
//! pass gives them for every parameter at once.

use super::traces::Trace;
use std::collections::VecDeque;

/// Heartbeats that are remembered: the window of Akka, Cassandra and chitchat.
const WINDOW: usize = 1_000;

/// Base and scale after each arrival.
pub(super) struct Schedule(pub(super) Vec<(f64, f64)>);

impl Schedule {
    /// The deadlines with this parameter.
    pub(super) fn at(&self, parameter: f64) -> Vec<f64> {
        self.0.iter().map(|(base, scale)| base + parameter * scale).collect()
    }
}

/// Chen, Toueg, Aguilera (IEEE Transactions on Computers 51, 2002), NFD-S: knows when the next heartbeat is sent.
pub(super) fn nfd_s(trace: &Trace) -> Schedule {
    let mut newest = 0;
    let next =
        |index: usize| trace.beats.get(index + 1).map_or(trace.beats[index].sent + trace.interval, |beat| beat.sent);
    let each = |(sequence, _): &(usize, f64)| {
        newest = newest.max(*sequence);
        (next(newest), 1.0)
    };
    Schedule(trace.arrivals.iter().map(each).collect())
}

/// The same paper, NFD-E: expects the next arrival from the mean offset of the last ones.
pub(super) fn nfd_e(trace: &Trace) -> Schedule {
    let (mut newest, mut offsets) = (0, Window::new());
    let each = |(sequence, at): &(usize, f64)| {
        newest = newest.max(*sequence);
        offsets.push(at - *sequence as f64 * trace.interval);
        (offsets.mean() + (newest + 1) as f64 * trace.interval, 1.0)
    };
    Schedule(trace.arrivals.iter().map(each).collect())
}

/// A timeout after each arrival.
pub(super) fn fixed(trace: &Trace) -> Schedule {
    Schedule(trace.arrivals.iter().map(|(_, at)| (*at, 1.0)).collect())
}

/// Phi accrual (Hayashibara et al., SRDS 2004): normal intervals. A threshold of phi is so many standard deviations.
pub(super) fn phi(trace: &Trace) -> Schedule {
    let mut intervals = Window::new();
    // Before there are two intervals, the deviation is a quarter of the interval.
    intervals.push(trace.interval * 0.75);
    intervals.push(trace.interval * 1.25);
    let each = |(at, gap): (f64, Option<f64>)| {
        gap.into_iter().for_each(|gap| intervals.push(gap));
        (at + intervals.mean(), intervals.deviation().max(1e-6))
    };
    Schedule(gaps(trace).map(each).collect())
}

/// Akka's version as shipped: threshold 8, at least 100 ms of deviation, a pause of 3 s, first estimate 1 s, and the
/// logistic approximation of the normal distribution.
pub(super) fn akka_default(trace: &Trace) -> Vec<f64> {
    let mut intervals = Window::new();
    intervals.push(0.75);
    intervals.push(1.25);
    let deviations = deviations_at_phi(8.0);
    let each = |(at, gap): (f64, Option<f64>)| {
        gap.into_iter().for_each(|gap| intervals.push(gap));
        at + intervals.mean() + 3.0 + deviations * intervals.deviation().max(0.1)
    };
    gaps(trace).map(each).collect()
}

/// Where the tail e / (1 + e) with e = exp(-y (1.5976 + 0.070566 y^2)) is 10^-phi, by halving.
fn deviations_at_phi(phi: f64) -> f64 {
    let reached = |y: f64| {
        let e = (-y * (1.5976 + 0.070_566 * y * y)).exp();
        -(e / (1.0 + e)).log10() >= phi
    };
    let (mut low, mut high) = (0.0, 100.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if reached(middle) { high = middle } else { low = middle }
    }
    high
}

/// Chitchat: time since the last heartbeat over the mean interval, with a prior of five intervals of 5 s; intervals above
/// 10 s are left out.
pub(super) fn chitchat(trace: &Trace) -> Schedule {
    let mut intervals = Window::new();
    let each = |(at, gap): (f64, Option<f64>)| {
        gap.filter(|gap| *gap <= 10.0).into_iter().for_each(|gap| intervals.push(gap));
        (at, (intervals.sum() + 25.0) / (intervals.len() as f64 + 5.0))
    };
    Schedule(gaps(trace).map(each).collect())
}

/// As shipped: threshold 8.
pub(super) fn chitchat_default(trace: &Trace) -> Vec<f64> {
    chitchat(trace).at(8.0)
}

/// Each arrival with the time since the one before.
fn gaps(trace: &Trace) -> impl Iterator<Item = (f64, Option<f64>)> {
    let mut before = None;
    trace.arrivals.iter().map(move |(_, at)| (*at, before.replace(*at).map(|before| at - before)))
}

/// The last thousand values. Sums are of distances from the first value, so that they do not lose their small digits.
struct Window {
    values: VecDeque<f64>,
    origin: f64,
    sum: f64,
    squares: f64,
}

impl Window {
    const fn new() -> Self {
        Self { values: VecDeque::new(), origin: 0.0, sum: 0.0, squares: 0.0 }
    }

    fn push(&mut self, value: f64) {
        if self.values.is_empty() {
            self.origin = value;
        }
        if self.values.len() == WINDOW {
            self.count(-1.0, self.values[0]);
            self.values.pop_front();
        }
        self.count(1.0, value);
        self.values.push_back(value);
    }

    fn count(&mut self, times: f64, value: f64) {
        let apart = value - self.origin;
        self.sum += times * apart;
        self.squares += times * apart * apart;
    }

    fn len(&self) -> usize {
        self.values.len()
    }

    fn sum(&self) -> f64 {
        self.sum + self.origin * self.len() as f64
    }

    fn mean(&self) -> f64 {
        self.origin + self.sum / self.len() as f64
    }

    fn deviation(&self) -> f64 {
        let n = self.len() as f64;
        (self.squares / n - (self.sum / n).powi(2)).max(0.0).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_forgets_what_is_older() {
        let mut window = Window::new();
        (0..3_000).for_each(|n| window.push(f64::from(n)));
        assert!((window.mean() - 2_499.5).abs() < 1e-6, "{}", window.mean());
        assert!((window.sum() - 2_499_500.0).abs() < 1e-3);
        assert!((window.deviation() - 288.674_99).abs() < 1e-3, "{}", window.deviation());
    }

    #[test]
    fn a_phi_of_8_is_a_tail_of_one_in_a_hundred_million() {
        let y: f64 = deviations_at_phi(8.0);
        let e = (-y * (1.5976 + 0.070_566 * y.powi(2))).exp();
        assert!((e / (1.0 + e) / 1e-8 - 1.0).abs() < 1e-6);
    }
}
