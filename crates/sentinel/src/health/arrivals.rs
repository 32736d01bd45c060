//! When should the next heartbeat come?
//!
//! As in NFD-E (Chen, Toueg, Aguilera, "On the quality of service of failure detectors", IEEE Transactions on Computers
//! 51, 2002, section 5.3) the next arrival is expected one interval after the present one, corrected for how much that
//! one was itself early or late. In place of a window of past arrivals there is a moving average, and early arrivals
//! weigh more than late ones: nothing arrives before it was sent, but anything may be held up on the way.
//!
//! Times are kept in grains of 64 microseconds, in 32 bits that wrap after three days. Whoever keeps a record for longer
//! than that without a heartbeat must call [`Arrivals::keep_within_reach`].

use crate::time::Moment;

/// Microseconds in a grain, as a power of two.
const GRAIN: u32 = 6;

/// How far back a difference of grains can be told: 19 hours, a quarter of the circle.
pub(super) const REACH: u32 = 1 << 30;

/// A sequence number so little lower than the last one was overtaken on the way. Lower still: the peer began anew.
const OVERTAKEN_MAX: i32 = 8;

/// The point in time, in grains.
#[inline]
pub(super) const fn grains(now: Moment) -> u32 {
    (now.0 >> GRAIN) as u32
}

/// Grains from `earlier` to `later`, negative if it is the other way round.
#[inline]
pub(super) const fn between(earlier: u32, later: u32) -> i32 {
    later.wrapping_sub(earlier).cast_signed()
}

/// Microseconds in so many grains; a negative number is nothing.
#[inline]
pub(super) fn us(grains: i32) -> u64 {
    u64::try_from(grains).unwrap_or(0) << GRAIN
}

/// Grains in so many microseconds, at most [`REACH`].
#[inline]
pub(super) fn in_grains(us: u64) -> u32 {
    u32::try_from(us >> GRAIN).unwrap_or(REACH).min(REACH)
}

/// As many grains as can be told apart from the future.
#[inline]
fn bounded(grains: i64) -> i32 {
    i32::try_from(grains).unwrap_or(if grains < 0 { -i32::MAX } else { i32::MAX })
}

/// What a row turned out to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Beat {
    /// The peer began anew, or this is no row that can be placed.
    Anew,
    /// Seen before or overtaken: a sign of life, and nothing else.
    Old,
    /// A newer one than the last.
    Next {
        /// Grains after its own expected arrival; negative: before.
        late: i32,
        /// The sequence number before.
        from: u32,
    },
}

/// The timing of one peer's heartbeats.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrivals {
    /// When the next row is expected.
    pub(super) due: u32,
    /// When anything was last heard.
    pub(super) heard: u32,
    /// The last row's sequence number, its lower half.
    pub(super) sequence: u32,
    /// Grains between rows; 0: none are expected.
    pub(super) interval: u32,
}

impl Arrivals {
    /// Rows are expected from now on; the first will tell their phase.
    pub(super) const fn new(interval: u32, now: u32) -> Self {
        Self { due: now.wrapping_add(interval), heard: now, sequence: 0, interval }
    }

    /// A row came. `margin` in grains is the lateness that is usual: only beyond it the schedule itself is doubted.
    #[inline]
    pub(super) fn row(&mut self, sequence: u32, now: u32, margin: u32) -> Beat {
        self.heard = now;
        let steps = between(self.sequence, sequence);
        if steps <= 0 {
            return self.not_newer(sequence, now);
        }
        let skipped = i64::from(steps - 1) * i64::from(self.interval);
        let late = i64::from(between(self.due, now)) - skipped;
        let next = i64::from(self.interval) - self.correction(late, i64::from(margin));
        let from = std::mem::replace(&mut self.sequence, sequence);
        self.due = now.wrapping_add_signed(bounded(next));
        Beat::Next { late: bounded(late), from }
    }

    /// How much of its lateness does a row hand on to the next? Nothing that it keeps for itself: a row far off the
    /// schedule begins a new one.
    #[inline]
    fn correction(&self, late: i64, margin: i64) -> i64 {
        let interval = i64::from(self.interval);
        if late > margin.max(interval / 2) || late < -(margin / 2).max(interval / 4) {
            return 0;
        }
        // What is left of the lateness after the average took its part: at least a grain of a late one, or a clock that
        // is a little slower than ours would be late for ever.
        if late < 0 { late - late / 8 } else { late - (late + 31) / 32 }
    }

    fn not_newer(&mut self, sequence: u32, now: u32) -> Beat {
        if between(sequence, self.sequence) <= OVERTAKEN_MAX {
            return Beat::Old;
        }
        self.sequence = sequence;
        self.due = now.wrapping_add(self.interval);
        Beat::Anew
    }

    /// When is it late: `margin` grains after the expected arrival and after the last sign of life.
    #[inline]
    pub(super) const fn deadline(&self, margin: u32) -> u32 {
        let latest = if between(self.due, self.heard) > 0 { self.heard } else { self.due };
        latest.wrapping_add(margin)
    }

    /// When is anything expected next? At the first due time that is not before the last sign of life: a row that did not
    /// come while its sender was heard was lost, and the next one is waited for.
    #[inline]
    pub(super) fn expected(&self) -> u32 {
        match u32::try_from(between(self.due, self.heard)) {
            Ok(later) => self.due.wrapping_add(later.div_ceil(self.interval.max(1)).saturating_mul(self.interval)),
            Err(_) => self.due,
        }
    }

    /// Moves what is too long ago to be told apart from the future to where it still can be told.
    pub(super) fn keep_within_reach(&mut self, now: u32) {
        let limit = REACH.cast_signed();
        for time in [&mut self.due, &mut self.heard] {
            if between(*time, now) > limit {
                *time = now.wrapping_sub(REACH);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: u32 = 8_000;

    /// Rows (sequence, at) with the margin 100; what is the last one, and when is the next due?
    fn check(rows: &[(u32, u32)], beat: Beat, due: u32) {
        let mut arrivals = Arrivals::new(INTERVAL, 0);
        let mut last = None;
        for (sequence, at) in rows {
            last = Some(arrivals.row(*sequence, *at, 100));
        }
        assert_eq!((last, arrivals.due), (Some(beat), due), "{rows:?}");
    }

    #[test]
    fn the_next_is_due_an_interval_after_a_punctual_one() {
        check(&[(1, 8_000)], Beat::Next { late: 0, from: 0 }, 16_000);
    }

    #[test]
    fn early_ones_move_the_schedule_more_than_late_ones() {
        check(&[(1, 8_000), (2, 15_920)], Beat::Next { late: -80, from: 1 }, 23_990);
        check(&[(1, 8_000), (2, 16_320)], Beat::Next { late: 320, from: 1 }, 24_010);
    }

    #[test]
    fn a_slightly_slower_clock_is_followed() {
        let mut arrivals = Arrivals::new(INTERVAL, 0);
        for n in 1..1_000 {
            let beat = arrivals.row(n, n * (INTERVAL + 1), 100);
            assert_eq!(beat, Beat::Next { late: 1, from: n - 1 });
        }
    }

    #[test]
    fn lost_ones_do_not_move_the_schedule() {
        check(&[(1, 8_000), (4, 32_000)], Beat::Next { late: 0, from: 1 }, 40_000);
    }

    #[test]
    fn far_off_the_schedule_begins_a_new_one() {
        check(&[(1, 8_000), (2, 20_000)], Beat::Next { late: 4_000, from: 1 }, 24_125);
        check(&[(1, 8_000), (2, 20_001)], Beat::Next { late: 4_001, from: 1 }, 28_001);
        check(&[(1, 8_000), (2, 14_000)], Beat::Next { late: -2_000, from: 1 }, 23_750);
        check(&[(1, 8_000), (2, 13_999)], Beat::Next { late: -2_001, from: 1 }, 21_999);
    }

    #[test]
    fn a_leap_of_the_sequence_buys_no_time() {
        check(&[(1, 8_000), (2_000_000_000, 16_000)], Beat::Next { late: -i32::MAX, from: 1 }, 24_000);
    }

    #[test]
    fn a_lower_sequence_is_a_new_beginning_unless_it_was_overtaken() {
        check(&[(10, 8_000), (2, 9_000)], Beat::Old, 16_000);
        check(&[(10, 8_000), (10, 9_000)], Beat::Old, 16_000);
        check(&[(10, 8_000), (1, 9_000)], Beat::Anew, 17_000);
    }

    #[test]
    fn the_clock_may_wrap_between_two_rows() {
        let mut arrivals = Arrivals::new(INTERVAL, u32::MAX - 4_000);
        assert_eq!(arrivals.row(1, 3_999, 100), Beat::Next { late: 0, from: 0 });
        assert_eq!(arrivals.due, 11_999);
        assert_eq!(arrivals.deadline(100), 12_099);
    }

    #[test]
    fn the_deadline_follows_the_last_sign_of_life() {
        let mut arrivals = Arrivals::new(INTERVAL, 0);
        assert_eq!(arrivals.deadline(100), 8_100);
        arrivals.heard = 8_001;
        assert_eq!(arrivals.deadline(100), 8_101);
    }

    #[test]
    fn a_row_that_did_not_come_while_its_sender_was_heard_is_lost() {
        let check = |heard: u32, expected: u32| {
            let arrivals = Arrivals { heard, ..Arrivals::new(INTERVAL, 0) };
            assert_eq!(arrivals.expected(), expected);
        };
        check(7_999, 8_000);
        check(8_000, 8_000);
        check(8_001, 16_000);
        check(16_001, 24_000);
    }

    #[test]
    fn what_is_long_ago_stays_long_ago() {
        let mut arrivals = Arrivals::new(INTERVAL, 0);
        arrivals.keep_within_reach(REACH);
        assert_eq!((arrivals.heard, arrivals.due), (0, INTERVAL));
        arrivals.keep_within_reach(REACH + 1);
        assert_eq!((arrivals.heard, arrivals.due), (1, INTERVAL));
    }
}
