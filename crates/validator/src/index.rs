//! In which block is a transaction?
//!
//! Remembers the newest finalized transactions, up to a bound; older ones are found by their block.

use ledger::{Height, TxId};
use std::collections::{BTreeMap, VecDeque};

/// Ids of finalized transactions with their heights.
#[derive(Debug)]
pub(crate) struct Index {
    capacity: usize,
    heights: BTreeMap<TxId, Height>,
    /// Oldest first.
    order: VecDeque<TxId>,
}

impl Index {
    /// Remembers up to `capacity` transactions.
    pub(crate) const fn new(capacity: usize) -> Self {
        Self { capacity, heights: BTreeMap::new(), order: VecDeque::new() }
    }

    /// Where `id` is.
    pub(crate) fn height(&self, id: &TxId) -> Option<Height> {
        self.heights.get(id).copied()
    }

    /// Adds the transactions of the newest block; the oldest are forgotten beyond the bound.
    pub(crate) fn push(&mut self, height: Height, ids: impl IntoIterator<Item = TxId>) {
        for id in ids {
            if self.heights.insert(id, height).is_none() {
                self.order.push_back(id);
            }
        }
        while self.order.len() > self.capacity {
            if let Some(oldest) = self.order.pop_front() {
                self.heights.remove(&oldest);
            }
        }
    }

    /// Adds the transactions of a block older than all others; `false` when there is no room left for it.
    pub(crate) fn push_older(&mut self, height: Height, ids: Vec<TxId>) -> bool {
        if self.order.len() + ids.len() > self.capacity {
            return false;
        }
        for id in ids.into_iter().rev() {
            if self.heights.insert(id, height).is_none() {
                self.order.push_front(id);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::Hash;

    fn id(n: u8) -> TxId {
        TxId(Hash([n; 32]))
    }

    #[test]
    fn the_oldest_is_forgotten_at_the_bound() {
        let mut index = Index::new(2);
        index.push(Height(1), [id(1), id(2)]);
        assert_eq!(index.height(&id(1)), Some(Height(1)));
        index.push(Height(2), [id(3)]);
        assert_eq!((index.height(&id(1)), index.height(&id(3))), (None, Some(Height(2))));
    }

    #[test]
    fn older_blocks_fill_only_the_room_that_is_left() {
        let mut index = Index::new(3);
        index.push(Height(9), [id(9), id(8)]);
        assert!(index.push_older(Height(8), vec![id(7)]));
        assert!(!index.push_older(Height(7), vec![id(6)]));
        index.push(Height(10), [id(10)]);
        assert_eq!((index.height(&id(7)), index.height(&id(9))), (None, Some(Height(9))));
    }
}
