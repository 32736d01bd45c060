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

/// No chunk.
const NONE: u32 = u32::MAX;

/// Nodes in a chunk: with the link it fills a cache line.
const FULL: usize = 15;

/// A piece of a slot's list. Chunks make memory follow the number of nodes, and not the fullest that each slot ever was;
/// and what one of them names can be fetched side by side.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    nodes: [u32; FULL],
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Its first chunk, the only one that may have room.
    head: u32,
    /// Nodes in that one.
    filled: u32,
}

const EMPTY: Slot = Slot { head: NONE, filled: 0 };

/// See the module.
#[derive(Debug)]
pub(super) struct Wheel {
    slots: Vec<Slot>,
    /// One bit for each slot that is not empty.
    occupied: Vec<u64>,
    chunks: Vec<Chunk>,
    /// The first chunk that is not in use.
    free: u32,
    /// The next slot to fire, counted from the origin of time.
    next: u64,
    /// The first slot that is not empty, counted likewise; the end of time: none is.
    first: u64,
}

/// Nodes whose entries fired.
pub(super) struct Fired {
    nodes: [u32; FULL],
    count: u32,
}

impl Fired {
    #[inline]
    pub(super) fn nodes(&self) -> &[u32] {
        &self.nodes[..self.count as usize]
    }
}

impl Wheel {
    pub(super) fn new(now: Moment) -> Self {
        let slots = usize::try_from(SLOTS).expect("a few thousand");
        Self {
            slots: vec![EMPTY; slots],
            occupied: vec![0; slots / 64],
            chunks: Vec::new(),
            free: NONE,
            next: now.0 >> SLOT,
            first: u64::MAX,
        }
    }

    /// Fires at the end of the slot that `at` is in: never early, at most about a millisecond late.
    #[inline]
    pub(super) fn arm(&mut self, node: u32, at: Moment) {
        let number = (at.0 >> SLOT).clamp(self.next, self.next + SLOTS - 1);
        self.first = self.first.min(number);
        let place = Self::place(number);
        let mut slot = self.slots[place];
        if slot.head == NONE || slot.filled as usize == FULL {
            slot = Slot { head: self.chunk(slot.head), filled: 0 };
            self.occupied[place / 64] |= 1 << (place % 64);
        }
        self.chunks[slot.head as usize].nodes[slot.filled as usize] = node;
        self.slots[place] = Slot { filled: slot.filled + 1, ..slot };
    }

    /// When the first entry fires.
    #[inline]
    pub(super) const fn deadline(&self) -> Option<Moment> {
        if self.first == u64::MAX { None } else { Some(Moment((self.first + 1) << SLOT)) }
    }

    /// Some of the entries of the first slot that is over, if one is.
    #[inline]
    pub(super) fn fire(&mut self, now: Moment) -> Option<Fired> {
        let over = now.0 >> SLOT;
        if self.first >= over {
            self.next = self.next.max(over);
            return None;
        }
        // What is armed meanwhile must not come into the slot that is being emptied.
        self.next = self.first + 1;
        Some(self.take(Self::place(self.first)))
    }

    /// Bytes held, spare room included.
    pub(super) const fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
            + self.occupied.capacity() * size_of::<u64>()
            + self.chunks.capacity() * size_of::<Chunk>()
    }

    /// Takes a slot's first chunk.
    #[inline]
    fn take(&mut self, place: usize) -> Fired {
        let Slot { head, filled } = self.slots[place];
        let Chunk { nodes, next } = self.chunks[head as usize];
        self.chunks[head as usize].next = std::mem::replace(&mut self.free, head);
        self.slots[place] = Slot { head: next, filled: FULL as u32 };
        if next == NONE {
            self.slots[place] = EMPTY;
            self.occupied[place / 64] &= !(1 << (place % 64));
            self.first = self.search().unwrap_or(u64::MAX);
        }
        Fired { nodes, count: filled }
    }

    /// An empty chunk before `next`.
    fn chunk(&mut self, next: u32) -> u32 {
        let found = self.free;
        if found != NONE {
            self.free = std::mem::replace(&mut self.chunks[found as usize].next, next);
            return found;
        }
        if self.chunks.len() == self.chunks.capacity() {
            // Doubling would leave half of it unused.
            self.chunks.reserve_exact(self.chunks.len() / 16 + 16);
        }
        self.chunks.push(Chunk { nodes: [0; FULL], next });
        u32::try_from(self.chunks.len() - 1).expect("fewer chunks than nodes and slots")
    }

    /// The first slot from the next one on that is not empty: a look at one bit a slot, in words.
    fn search(&self) -> Option<u64> {
        let start = Self::place(self.next);
        let words = self.occupied.len();
        let masked = self.occupied[start / 64] & (u64::MAX << (start % 64));
        let later = (1..=words).map(|n| (start / 64 + n) % words).map(|word| (word, self.occupied[word]));
        let (word, bits) = std::iter::once((start / 64, masked)).chain(later).find(|(_, bits)| *bits != 0)?;
        let slot = word as u64 * 64 + u64::from(bits.trailing_zeros());
        Some(self.next + (slot + SLOTS - start as u64) % SLOTS)
    }

    #[inline]
    const fn place(slot: u64) -> usize {
        (slot % SLOTS) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(wheel: &mut Wheel, now: u64) -> Vec<u32> {
        let mut nodes = Vec::new();
        while let Some(fired) = wheel.fire(Moment(now)) {
            nodes.extend(fired.nodes());
        }
        nodes
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
    fn a_crowded_slot_fires_everybody_once_and_its_memory_is_used_again() {
        let mut wheel = Wheel::new(Moment(0));
        for round in 1..200 {
            (0..1_000).for_each(|node| wheel.arm(node, Moment(round * 10_000)));
            let mut nodes = fired(&mut wheel, round * 10_000 + 2_000);
            nodes.sort_unstable();
            assert_eq!(nodes, (0..1_000).collect::<Vec<_>>());
        }
        assert!(wheel.chunks.len() <= 1_000 / FULL + 1, "{}", wheel.chunks.len());
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
