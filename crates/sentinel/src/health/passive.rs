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

/// So many first misses set the margin to what would have avoided them: too few for a rate, and the start is far off.
const FIRST_MISSES: u8 = 8;

/// One link.
#[derive(Clone, Copy, Debug)]
pub struct Passive {
    arrivals: Arrivals,
    margin: Margin,
    pace: Pace,
    misses: u8,
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
            misses: 0,
            met: false,
        }
    }

    /// A heartbeat came.
    pub fn row(&mut self, sequence: u64, now: Moment) {
        let (due, deadline) = (self.arrivals.due, self.deadline_in_grains());
        let now = grains(now);
        #[expect(clippy::cast_possible_truncation, reason = "only differences count, and they are small")]
        let sequence = sequence as u32;
        let margin = in_grains(u64::from(self.margin.us()));
        if let Beat::Next { from, .. } = self.arrivals.row(sequence, now, margin) {
            self.margin.beat(&self.pace, from, sequence);
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

    fn missed(&mut self, late_us: u64) {
        if self.misses < FIRST_MISSES {
            self.misses += 1;
            self.margin.missed_by(late_us);
        } else {
            self.margin.missed();
        }
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
    fn a_first_miss_sets_the_margin_to_what_would_have_avoided_it() {
        let mut passive = Passive::new(1_024_000, 100, Moment(0));
        passive.row(1, Moment(1_024_000));
        passive.row(2, Moment(2_048_000 + 512_000));
        // A thirty-second of the lateness is taken for a later schedule.
        assert_eq!(passive.deadline(Moment(2_560_000)), Moment(3_072_000 + 16_000 + 512_000));
    }
}
