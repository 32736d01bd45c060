//! How much later than expected may a heartbeat come?
//!
//! The margin is the quantile of lateness at a stated rate of misses, followed without any history: a miss raises it by
//! a thirty-second, every heartbeat lowers it by so little that the two cancel exactly when misses come at the stated rate.
//! That is stochastic approximation (Robbins and Monro, Annals of Mathematical Statistics 22, 1951) on the logarithm.
//! Over any sequence whatsoever, misses differ from the stated rate by at most the distance the logarithm can travel,
//! divided by the step and by the length (Gibbs and Candès, "Adaptive conformal inference under distribution shift",
//! NeurIPS 2021, proposition 4.1): bursts and changes of route are covered, independence is not assumed.

/// Fractions of a microsecond that a margin is kept in, as a power of two.
const FRACTION: u32 = 6;

/// A miss adds `1 / 2^STEP` of the margin. Smaller steps wander less about the quantile, and take longer to find it.
const STEP: u32 = 5;

/// ln(1 + 1/32), the step on the logarithm, in units of 2^-32.
const STEP_LN: u64 = 132_163_291;

/// Lowered in lumps of about 1/1024, so that small margins are not lost to rounding: every `beats / 31` heartbeats.
const LUMPS: u64 = 31;

/// The smallest margin: the grain of our own clock and loop, 1 ms.
const SMALLEST: u32 = 1_000 << FRACTION;

/// The largest margin: what 32 bits hold, about a minute.
const LARGEST: u32 = u32::MAX;

/// How often misses are meant to happen, worked out once for all margins that share it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Pace {
    /// A lump falls due each `2^every` heartbeats.
    every: u32,
    /// What share of the margin a lump takes, in units of 2^-32.
    lump: u64,
}

impl Pace {
    /// One miss in so many heartbeats.
    pub(super) fn one_in(beats: u64) -> Self {
        let every = (beats / LUMPS).max(1).ilog2();
        Self { every, lump: (STEP_LN << every) / beats.max(1) }
    }

    /// How many lumps fall due between two sequence numbers.
    #[inline]
    const fn lumps(self, from: u32, to: u32) -> u32 {
        (to >> self.every).wrapping_sub(from >> self.every)
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Margin(u32);

impl Margin {
    /// Begins with a guess, microseconds.
    pub(super) fn new(us: u64) -> Self {
        let scaled = us.saturating_mul(1 << FRACTION).min(u64::from(LARGEST));
        Self(u32::try_from(scaled).unwrap_or(LARGEST).max(SMALLEST))
    }

    /// Microseconds.
    #[inline]
    pub(super) const fn us(self) -> u32 {
        self.0 >> FRACTION
    }

    /// A heartbeat was missed.
    #[inline]
    pub(super) fn missed(&mut self) {
        self.0 = self.0.saturating_add(self.0 >> STEP);
    }

    /// At least so many microseconds: the quick way up.
    pub(super) fn at_least(&mut self, us: u64) {
        *self = Self(self.0.max(Self::new(us).0));
    }

    /// The sequence moved on: lowers the margin, so many times as fast as usual.
    #[inline]
    pub(super) fn beat(&mut self, pace: &Pace, from: u32, to: u32, speed: u32) {
        let lumps = pace.lumps(from, to);
        if lumps != 0 {
            self.lower(pace, lumps.saturating_mul(speed));
        }
    }

    /// Sequence numbers come from the peer: what it skips counts, but never for more than an eighth.
    #[inline]
    fn lower(&mut self, pace: &Pace, lumps: u32) {
        let share = pace.lump.saturating_mul(u64::from(lumps)).min(1 << 29);
        let part = (u64::from(self.0) * share) >> 32;
        self.0 = u32::try_from(u64::from(self.0) - part).unwrap_or(LARGEST).max(SMALLEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lateness is drawn from a sequence; how often, in so many heartbeats, was the margin too small?
    fn misses(one_in: u64, beats: u32, mut lateness: impl FnMut(u32) -> u64) -> u32 {
        let pace = Pace::one_in(one_in);
        let mut margin = Margin::new(10_000);
        let mut missed = 0;
        for sequence in 1..=beats {
            margin.beat(&pace, sequence - 1, sequence, 1);
            if lateness(sequence) > u64::from(margin.us()) {
                margin.missed();
                missed += 1;
            }
        }
        missed
    }

    fn scrambled(n: u32) -> u64 {
        let mut z = u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33
    }

    #[test]
    fn misses_come_at_the_stated_rate_whatever_the_lateness_is() {
        let check = |one_in: u64, lateness: &dyn Fn(u32) -> u64| {
            let missed = u64::from(misses(one_in, 1_000_000, lateness));
            let wanted = 1_000_000 / one_in;
            let apart = missed.abs_diff(wanted);
            // Ten octaves of travel are 225 steps.
            assert!(apart <= 225 + wanted / 20, "1 in {one_in}: {missed} for {wanted}");
        };
        check(10, &|n| scrambled(n) % 100_000);
        check(1_000, &|n| scrambled(n) % 100_000);
        // A route that gets ten times worse, and better again.
        check(1_000, &|n| scrambled(n) % if (n / 100_000) % 2 == 0 { 100_000 } else { 1_000_000 });
        // All misses at once: 50 heartbeats in 5,000.
        check(1_000, &|n| if n % 5_000 < 50 { scrambled(n) % 1_000_000 } else { 0 });
    }

    #[test]
    fn a_margin_stays_between_a_millisecond_and_a_minute() {
        let pace = Pace::one_in(1);
        let mut margin = Margin::new(0);
        assert_eq!(margin.us(), 1_000);
        margin.beat(&pace, 0, u32::MAX, 1);
        assert_eq!(margin.us(), 1_000);
        (0..1_000).for_each(|_| margin.missed());
        assert_eq!(margin.us(), u32::MAX >> FRACTION);
        margin.at_least(u64::MAX);
        assert_eq!(margin.us(), u32::MAX >> FRACTION);
    }

    #[test]
    fn a_leap_of_the_sequence_lowers_it_by_an_eighth_at_most() {
        let mut margin = Margin::new(80_000);
        margin.beat(&Pace::one_in(2), 0, u32::MAX, 16);
        assert_eq!(margin.us(), 70_000);
    }
}
