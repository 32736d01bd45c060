//! How long may a peer pause before that is called a crash?
//!
//! Nobody outside can tell a pause from a crash while it lasts, so the wait is learned from each peer's own pauses:
//! silences that ended with the same process alive. It is the same stochastic approximation as in `margin`, at the budget
//! of mistakes itself: a false suspicion doubles the wait at least, and it takes as long as the budget allows between two
//! mistakes to halve it again. So in the long run mistakes keep to the budget, however the pauses come, up to the largest
//! wait. Pauses within the wait raise it too when they come close to it; that only makes it more careful.
//!
//! The wait is kept in eighths of an octave in one byte.

/// Steps in an octave.
const EIGHTH: u32 = 8;

/// 2^(n/8), in units of 2^-16.
const PARTS: [u64; 8] = [65_536, 71_468, 77_936, 84_990, 92_682, 101_070, 110_218, 120_194];

/// A wait, as the number of its step.
pub(super) type Step = u8;

/// The bounds of all waits, and how fast they fall.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stalls {
    min: Step,
    max: Step,
    /// One step less each `2^every` heartbeats.
    every: u32,
}

impl Stalls {
    /// Between `min` and `max` microseconds, halved in `beats` heartbeats.
    pub(super) fn new(min: u64, max: u64, beats: u64) -> Self {
        let every = (beats / u64::from(EIGHTH)).max(1).ilog2().min(31);
        Self { min: step(min), max: step(max), every }
    }

    /// What to begin with.
    pub(super) const fn initial(&self) -> Step {
        self.min
    }

    /// A silence ended after so many microseconds beyond the expected arrival. `accused`: we had called it a crash.
    pub(super) fn ended(&self, wait: Step, overdue_us: u64, accused: bool) -> Step {
        // A quarter more than what was seen. Longer than the largest wait: an outage, which is no pause.
        let seen = step(overdue_us.saturating_add(overdue_us / 4));
        match (overdue_us <= us(self.max), accused) {
            (true, true) => seen.max(wait.saturating_add(8)).min(self.max),
            (true, false) => seen.max(wait).min(self.max),
            (false, _) => wait,
        }
    }

    /// The sequence moved on.
    #[inline]
    pub(super) fn beat(&self, wait: Step, from: u32, to: u32) -> Step {
        let falls = to >> self.every != from >> self.every && wait > self.min;
        wait - u8::from(falls)
    }
}

/// Microseconds of a step.
pub(super) fn us(step: Step) -> u64 {
    let step = u32::from(step);
    (PARTS[(step % EIGHTH) as usize] << (step / EIGHTH)) >> 16
}

/// The first step of at least so many microseconds.
pub(super) fn step(us_wanted: u64) -> Step {
    let guess = us_wanted.max(1).ilog2().min(30) * EIGHTH;
    let first = (guess..=255).find(|step| us(u8::try_from(*step).unwrap_or(u8::MAX)) >= us_wanted);
    u8::try_from(first.unwrap_or(255)).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_cover_every_time_within_an_eighth_of_an_octave() {
        for wanted in [0, 1, 1_000, 200_000, 999_999, 5_000_000, 60_000_000] {
            let found = us(step(wanted));
            assert!(found >= wanted && found <= wanted + wanted / 10 + 1, "{wanted}: {found}");
        }
        assert_eq!(step(u64::MAX), 255);
    }

    #[test]
    fn a_pause_seen_is_waited_for_and_a_false_suspicion_doubles_the_wait_at_least() {
        let stalls = Stalls::new(200_000, 5_000_000, 1 << 20);
        let check = |before: u64, overdue: u64, accused: bool, after: u64| {
            let waits = us(stalls.ended(step(before), overdue, accused));
            assert!(waits >= after && waits <= after + after / 8, "{before}, {overdue}: {waits}, not {after}");
        };
        check(200_000, 100_000, false, 200_000);
        check(200_000, 1_000_000, false, 1_250_000);
        check(200_000, 1_000_000, true, 1_250_000);
        check(1_000_000, 1_000_000, true, 2_000_000);
        check(1_000_000, 4_900_000, true, 5_000_000);
        // An outage.
        check(1_000_000, 6_000_000, true, 1_000_000);
    }

    #[test]
    fn a_wait_is_halved_in_the_time_of_one_mistake_and_never_falls_below_the_least() {
        let stalls = Stalls::new(200_000, 5_000_000, 1 << 10);
        let mut wait = step(1_600_000);
        let before = us(wait);
        (0..1 << 10).for_each(|n| wait = stalls.beat(wait, n, n + 1));
        assert_eq!(us(wait), before / 2);
        (0..1 << 15).for_each(|n| wait = stalls.beat(wait, n, n + 1));
        assert_eq!(wait, stalls.initial());
    }
}
