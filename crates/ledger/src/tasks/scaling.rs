//! How much capacity would serve what is asked for?
//!
//! Advice for whoever adds and removes validators: nothing in the chain acts on it. A validator of capacity 1 holds
//! [`UNITS_MAX`] units at once. With
//!
//! ```text
//! urgency = min(age of the oldest pending task / 5 s, 4)          whole numbers: a queue younger than 5 s is no queue
//! needed  = units leased + urgency * units pending
//! target  = max(1, ceil(needed / (64 * 0.7)))
//! use     = needed / (64 * capacity)
//! ```
//!
//! the answer is
//!
//! - `min(target, 2 * capacity)` where use is above 0.85: at most twice as much at a time;
//! - `max(target, capacity / 2)` where use is below 0.4: at most half as much at a time;
//! - `capacity` in between. That gap is the hysteresis.
//!
//! **It comes to rest while what is asked for stays the same.** At `target` use is 0.7 at most, so it does not grow. And it
//! never goes from one side of `target` to the other: it grows to `target` at most and shrinks to `target` at least. So it
//! moves one way, and ends at `target` or where use lies in the gap.

use super::balance::UNITS_MAX;

/// A queue that is younger than this is about to be leased.
pub const QUEUE_AGE_MS: u64 = 5_000;

/// How much a pending unit counts at most, beside a leased one.
const URGENCY_MAX: u64 = 4;

/// Which use is aimed at, in thousandths.
const USE_TARGET: u128 = 700;
/// Above which use more is wanted.
const USE_HIGH: u128 = 850;
/// Below which use less is wanted.
const USE_LOW: u128 = 400;

/// What is asked for, and what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// The capacity of all validators that take tasks.
    pub capacity: u64,
    /// Units that are leased.
    pub units_leased: u64,
    /// Units that wait for a holder.
    pub units_pending: u64,
    /// For how long the oldest pending task has waited, in milliseconds of lease time; 0 if none waits.
    pub oldest_pending_ms: u64,
}

impl Demand {
    /// The capacity that would serve it, at least 1.
    pub fn desired_capacity(&self) -> u64 {
        let (capacity, needed) = (u128::from(self.capacity), self.needed());
        let units = u128::from(UNITS_MAX);
        let target = (needed * 1_000).div_ceil(units * USE_TARGET).max(1);
        let used = needed * 1_000;
        let desired = if used > capacity * units * USE_HIGH || capacity == 0 {
            target.min((2 * capacity).max(1))
        } else if used < capacity * units * USE_LOW {
            target.max(capacity.div_ceil(2))
        } else {
            capacity
        };
        u64::try_from(desired).unwrap_or(u64::MAX)
    }

    fn needed(&self) -> u128 {
        let urgency = (self.oldest_pending_ms / QUEUE_AGE_MS).min(URGENCY_MAX);
        u128::from(self.units_leased) + u128::from(urgency) * u128::from(self.units_pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(capacity: u64, units_leased: u64, (units_pending, oldest_pending_ms): (u64, u64), expected: u64) {
        let demand = Demand { capacity, units_leased, units_pending, oldest_pending_ms };
        assert_eq!(demand.desired_capacity(), expected, "{demand:?}");
    }

    #[test]
    fn in_between_what_is_there_is_right() {
        // Of 640 units: 40 % and 85 %.
        check(10, 256, (0, 0), 10);
        check(10, 544, (0, 0), 10);
        check(10, 255, (0, 0), 6);
        check(10, 545, (0, 0), 13);
    }

    #[test]
    fn an_idle_network_shrinks_by_half_at_a_time_and_never_to_nothing() {
        check(10, 0, (0, 0), 5);
        check(5, 0, (0, 0), 3);
        check(1, 0, (0, 0), 1);
        check(0, 0, (0, 0), 1);
    }

    #[test]
    fn a_queue_counts_when_it_is_old_and_more_the_older_it_is() {
        check(10, 448, (448, 4_999), 10);
        check(10, 448, (448, 5_000), 20);
        check(100, 4_480, (4_480, 10_000), 200);
        check(100, 4_480, (448, 10_000), 100);
        check(100, 4_480, (448, 15_000), 130);
        check(100, 4_480, (448, 20_000), 140);
        check(100, 4_480, (448, u64::MAX), 140);
    }

    #[test]
    fn a_saturated_network_grows_and_doubles_at_most() {
        check(4, 256, (0, 0), 6);
        check(4, 256, (10_000, 60_000), 8);
        check(0, 0, (10_000, 60_000), 1);
        check(u64::MAX, u64::MAX, (u64::MAX, u64::MAX), 1 << 63);
    }

    proptest! {
        #[test]
        fn it_moves_one_way_and_comes_to_rest(
            capacity in prop_oneof![0..200_u64, any::<u32>().prop_map(u64::from)],
            units_leased in prop_oneof![0..20_000_u64, any::<u32>().prop_map(u64::from)],
            units_pending in 0..100_000_u64,
            oldest_pending_ms in 0..60_000_u64,
        ) {
            let mut demand = Demand { capacity, units_leased, units_pending, oldest_pending_ms };
            let mut moves = Vec::new();
            // From nothing to everything it takes 64 doublings.
            for _ in 0..70 {
                let desired = demand.desired_capacity();
                moves.push(desired.cmp(&demand.capacity));
                demand.capacity = desired;
            }
            let first = moves[0];
            prop_assert!(moves.iter().all(|step| *step == first || step.is_eq()), "{:?}", moves);
            prop_assert!(moves.is_sorted_by_key(|step| step.is_eq()), "it rests once it stopped");
            prop_assert!(moves[69].is_eq());
        }
    }
}
