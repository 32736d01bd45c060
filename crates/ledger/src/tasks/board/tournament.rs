//! Which of many keys is the least?
//!
//! A complete tree with four children to a node, in one array: node 1 is the root, and the children of `n` are `4n` to
//! `4n + 3`, so that siblings differ in two bits and lie in half a cache line. Four was the fastest of 2, 4, 8 and 16 for
//! a hundred thousand keys.

/// No key: greater than all.
pub(super) const NONE: u64 = u64::MAX;

const CHILDREN: usize = 4;

/// Keys by place, and the least of them.
#[derive(Clone, Debug)]
pub(super) struct Tournament {
    nodes: Vec<u64>,
    /// The node of place 0: a power of four.
    first: usize,
    places: u32,
}

impl Default for Tournament {
    /// A single node is a leaf and the root.
    fn default() -> Self {
        Self { nodes: vec![NONE; 2], first: 1, places: 0 }
    }
}

impl Tournament {
    pub(super) fn least(&self) -> u64 {
        self.nodes[1]
    }

    /// One place more, without a key yet.
    pub(super) fn push(&mut self) -> u32 {
        let place = self.places;
        self.places += 1;
        if place as usize == self.first {
            self.deepen();
        }
        // Siblings are there together.
        let end = (self.first + place as usize + 1).next_multiple_of(if self.first == 1 { 1 } else { CHILDREN });
        self.nodes.resize(end.max(self.nodes.len()), NONE);
        place
    }

    /// The key of this place from now on.
    pub(super) fn put(&mut self, place: u32, mut least: u64) {
        let mut node = self.first + place as usize;
        self.nodes[node] = least;
        while node > 1 {
            let siblings = self.nodes[node ^ 1].min(self.nodes[node ^ 2]).min(self.nodes[node ^ 3]);
            least = least.min(siblings);
            node /= CHILDREN;
            if self.nodes[node] == least {
                return;
            }
            self.nodes[node] = least;
        }
    }

    /// One level more below the leaves, with the same keys at the same places.
    fn deepen(&mut self) {
        let keys = self.nodes.split_off(self.first);
        self.first *= CHILDREN;
        self.nodes = vec![NONE; self.first + keys.len().next_multiple_of(CHILDREN)];
        for (key, place) in keys.into_iter().zip(0..) {
            self.put(place, key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_least_is_the_least_after_every_change(
            changes in prop::collection::vec((0usize..150, prop::option::of(0u64..40)), 1..300),
        ) {
            let (mut tournament, mut keys) = (Tournament::default(), Vec::new());
            for (place, key) in changes {
                // Some changes make room at the end.
                if place >= keys.len() {
                    prop_assert_eq!(tournament.push() as usize, keys.len());
                    keys.push(NONE);
                }
                let place = place.min(keys.len() - 1);
                keys[place] = key.unwrap_or(NONE);
                tournament.put(place as u32, keys[place]);
                prop_assert_eq!(Some(&tournament.least()), keys.iter().min());
            }
        }
    }
}
