//! Whose deadline has come?
//!
//! A timing wheel (Varghese and Lauck, "Hashed and hierarchical timing wheels", SOSP 1987, scheme 4) of one-millisecond
//! slots. Each node is in it once at most. A heartbeat does not move its entry: when the entry fires, whoever asked looks
//! at the true deadline and arms it again. So a heartbeat costs nothing here, and a deadline beyond the horizon is merely
//! looked at once more.

use crate::time::Moment;

/// Microseconds in a slot, as a power of two.
const SLOT: u32 = 10;

/// Slots, so that the horizon is 4 s: several heartbeats.
const SLOTS: u64 = 4_096;

/// See the module.
#[derive(Debug)]
pub(super) struct Wheel {
    slots: Vec<Vec<u32>>,
    /// One bit for each slot that is not empty.
    occupied: Vec<u64>,
    /// The next slot to fire, counted from the origin of time.
    next: u64,
    entries: usize,
}

impl Wheel {
    pub(super) fn new(now: Moment) -> Self {
        let slots = usize::try_from(SLOTS).expect("a few thousand");
        Self { slots: vec![Vec::new(); slots], occupied: vec![0; slots / 64], next: now.0 >> SLOT, entries: 0 }
    }

    /// Fires at the end of the slot that `at` is in: never early, at most about a millisecond late.
    pub(super) fn arm(&mut self, node: u32, at: Moment) {
        let slot = Self::place((at.0 >> SLOT).clamp(self.next, self.next + SLOTS - 1));
        self.slots[slot].push(node);
        self.occupied[slot / 64] |= 1 << (slot % 64);
        self.entries += 1;
    }

    /// When the first entry fires.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.first().map(Self::end)
    }

    /// The entries of the first slot that is over, if one is. The slot's memory goes with them: a slot that was once full
    /// keeps nothing.
    pub(super) fn fire(&mut self, now: Moment) -> Option<Vec<u32>> {
        let over = now.0 >> SLOT;
        match self.first().filter(|slot| *slot < over) {
            Some(slot) => {
                self.next = slot + 1;
                Some(self.empty(Self::place(slot)))
            }
            None => {
                self.next = self.next.max(over);
                None
            }
        }
    }

    /// Bytes held, spare room included.
    pub(super) fn bytes(&self) -> usize {
        let entries: usize = self.slots.iter().map(|slot| slot.capacity() * size_of::<u32>()).sum();
        entries + self.slots.capacity() * size_of::<Vec<u32>>() + self.occupied.capacity() * size_of::<u64>()
    }

    fn empty(&mut self, slot: usize) -> Vec<u32> {
        let fired = std::mem::take(&mut self.slots[slot]);
        self.occupied[slot / 64] &= !(1 << (slot % 64));
        self.entries -= fired.len();
        fired
    }

    /// The first slot that is not empty: a look at one bit a slot, in words.
    fn first(&self) -> Option<u64> {
        if self.entries == 0 {
            return None;
        }
        let start = Self::place(self.next);
        let words = self.occupied.len();
        let masked = self.occupied[start / 64] & (u64::MAX << (start % 64));
        let later = (1..=words).map(|n| (start / 64 + n) % words).map(|word| (word, self.occupied[word]));
        let (word, bits) = std::iter::once((start / 64, masked)).chain(later).find(|(_, bits)| *bits != 0)?;
        let slot = word as u64 * 64 + u64::from(bits.trailing_zeros());
        Some(self.next + (slot + SLOTS - start as u64) % SLOTS)
    }

    fn place(slot: u64) -> usize {
        usize::try_from(slot % SLOTS).expect("a few thousand")
    }

    const fn end(slot: u64) -> Moment {
        Moment((slot + 1) << SLOT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(wheel: &mut Wheel, now: u64) -> Vec<u32> {
        std::iter::from_fn(|| wheel.fire(Moment(now))).flatten().collect()
    }

    #[test]
    fn an_entry_fires_when_its_slot_is_over_and_not_before() {
        let mut wheel = Wheel::new(Moment(10_000_000));
        assert_eq!(wheel.deadline(), None);
        wheel.arm(7, Moment(10_100_000));
        wheel.arm(8, Moment(10_050_000));
        let deadline = wheel.deadline().expect("armed");
        assert!((10_050_001..=10_051_024).contains(&deadline.0), "{deadline:?}");
        assert_eq!(fired(&mut wheel, deadline.0 - 1), []);
        assert_eq!(fired(&mut wheel, deadline.0), [8]);
        assert_eq!(fired(&mut wheel, 10_101_024), [7]);
        assert_eq!(wheel.deadline(), None);
    }

    #[test]
    fn what_is_over_fires_next_and_what_is_beyond_the_horizon_fires_there() {
        let mut wheel = Wheel::new(Moment(10_000_000));
        wheel.arm(1, Moment(0));
        wheel.arm(2, Moment(u64::MAX));
        assert_eq!(fired(&mut wheel, 10_002_000), [1]);
        let horizon = wheel.deadline().expect("armed");
        assert!((14_190_000..14_200_000).contains(&horizon.0), "{horizon:?}");
        assert_eq!(fired(&mut wheel, horizon.0), [2]);
    }

    #[test]
    fn a_long_sleep_loses_nothing_and_keeps_the_order() {
        let mut wheel = Wheel::new(Moment(0));
        (0..100u32).rev().for_each(|node| wheel.arm(node, Moment(u64::from(node) * 40_000)));
        assert_eq!(fired(&mut wheel, 3_600_000_000), (0..100).collect::<Vec<_>>());
        wheel.arm(1, Moment(3_600_500_000));
        assert_eq!(fired(&mut wheel, 3_600_499_000), []);
        assert_eq!(fired(&mut wheel, 3_600_501_100), [1]);
    }
}
