//! What can be said about one link by listening alone?
//!
//! A detector for whoever cannot ask: a heartbeat that comes later than the margin, or not at all, is a mistake, and the
//! margin is learned so that mistakes come at the stated rate. It cannot be quicker than the bound for listeners (Chen,
//! Toueg, Aguilera, 2002, NFD-S), and comes close to it without being told anything about delays and losses.

use super::{
    arrivals::{Arrivals, Beat, between, grains, in_grains, us},
    margin::{Margin, Pace},
};
use crate::time::Moment;

/// The first misses move the margin by so many steps, the second by half as many, the third by a third: what Robbins and
/// Monro ask for, until steps are single ones.
const SPEED: u32 = 32;

/// One link.
#[derive(Clone, Copy, Debug)]
pub struct Passive {
    arrivals: Arrivals,
    margin: Margin,
    pace: Pace,
    /// One mistake in so many heartbeats, and what there was of both.
    one_in: u64,
    beats: u64,
    misses: u64,
    /// Whether a heartbeat ever came. The first one tells the phase, and cannot be late.
    met: bool,
}

impl Passive {
    /// Heartbeats are due every so many microseconds, and one mistake in so many heartbeats is acceptable.
    pub fn new(interval_us: u64, one_in: u64, now: Moment) -> Self {
        Self {
            arrivals: Arrivals::new(in_grains(interval_us).max(1), grains(now)),
            margin: Margin::new(interval_us / 16),
            pace: Pace::one_in(one_in),
            one_in,
            beats: 0,
            misses: 0,
            met: false,
        }
    }

    /// A heartbeat came.
    pub fn row(&mut self, sequence: u64, now: Moment) {
        let (due, deadline) = (self.arrivals.due, self.deadline_in_grains());
        let now = grains(now);
        // Truncated: only differences count, and they are small.
        let sequence = sequence as u32;
        let margin = in_grains(u64::from(self.margin.us()));
        if let Beat::Next { from, .. } = self.arrivals.row(sequence, now, margin) {
            let speed = self.speed();
            self.beats += 1;
            self.margin.beat(&self.pace, from, sequence, speed);
            if std::mem::replace(&mut self.met, true) && between(deadline, now) > 0 {
                self.missed(us(between(due, now)));
            }
        }
    }

    /// Until when it is trusted if nothing comes.
    pub fn deadline(&self, now: Moment) -> Moment {
        let left = between(grains(now), self.deadline_in_grains());
        Moment(now.0.saturating_add_signed(i64::from(left) << 6))
    }

    const fn deadline_in_grains(&self) -> u32 {
        self.arrivals.deadline(self.margin.us() >> 6)
    }

    fn speed(&self) -> u32 {
        u32::try_from(u64::from(SPEED) / (self.misses + 1)).unwrap_or(1).max(1)
    }

    /// Steps are for rates; with twice the misses that there should be, the margin is far off and leaps to what would have
    /// avoided this one.
    fn missed(&mut self, late_us: u64) {
        (0..self.speed()).for_each(|_| self.margin.missed());
        if self.misses > 1 + 2 * self.beats / self.one_in {
            self.margin.at_least(late_us);
        }
        self.misses += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_is_trusted_for_an_interval_and_the_margin() {
        let mut passive = Passive::new(1_024_000, 100, Moment(0));
        passive.row(1, Moment(1_024_000));
        assert_eq!(passive.deadline(Moment(1_024_000)), Moment(2_048_000 + 64_000));
    }

    #[test]
    fn the_first_heartbeat_tells_the_phase_whenever_it_comes() {
        let mut passive = Passive::new(1_024_000, 100, Moment(0));
        passive.row(1, Moment(40_960_000));
        assert_eq!(passive.deadline(Moment(40_960_000)), Moment(40_960_000 + 1_024_000 + 64_000));
    }

    #[test]
    fn a_third_miss_in_no_time_sets_the_margin_to_what_would_have_avoided_it() {
        let mut passive = Passive::new(1_024_000, 1_000, Moment(0));
        let mut margins = Vec::new();
        for sequence in 1..=4 {
            let late = if sequence > 1 { 480_000 * (sequence - 1) } else { 0 };
            passive.row(sequence, Moment(1_024_000 * sequence + late));
            margins.push(passive.margin.us());
        }
        assert!(margins.is_sorted() && margins[3] >= 480_000, "{margins:?}");
    }
}
