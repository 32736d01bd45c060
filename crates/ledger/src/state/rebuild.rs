//! How does a state come back from its entries, one at a time?

use super::{PARAMETERS, Parameters, Restored, State, StateError, retire_worker, stored};
use crate::{
    genesis::{EpochLimits, TaskLimits},
    roster::Roster,
    tasks::Tasks,
    tree::Tree,
    types::{Amount, ChainId, Hash, Height, Timestamp},
    verdicts::Verdicts,
};

/// A state that is being put together from its entries. It takes them one by one, so that nobody need hold them all twice.
#[derive(Debug)]
pub struct Rebuild {
    restored: Restored,
    sum: Amount,
    last: Option<Vec<u8>>,
    entries: usize,
}

impl Default for Rebuild {
    fn default() -> Self {
        let tasks = Tasks::new(TaskLimits::default(), Timestamp(0));
        let (verdicts, roster) =
            (Verdicts::new(std::iter::empty()), Roster::new(EpochLimits::default(), 0, std::iter::empty()));
        let restored = Restored { tree: Tree::new(), tasks, verdicts, roster };
        Self { restored, sum: Amount(0), last: None, entries: 0 }
    }
}

impl Rebuild {
    /// Takes the next entry, in the order of keys, and checks all that later reads rely on.
    ///
    /// # Errors
    /// When it is none that we could have written there.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        let entry = self.entries;
        if self.last.as_ref().is_some_and(|last| last.as_slice() >= key) {
            return Err(StateError::Order { entry });
        }
        let balance = self.restored.take(entry, key, value)?;
        self.sum = self.sum.plus(balance).ok_or(StateError::Sum { entry })?;
        self.restored.tree.insert(key, value);
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
        self.entries += 1;
        Ok(())
    }

    /// The state with the entries so far and this tip, see [`State::from_entries`].
    ///
    /// # Errors
    /// When the entries are not those of a state of `chain`.
    pub fn finish(
        self,
        chain: &ChainId,
        height: Height,
        digest: Hash,
        timestamp: Timestamp,
    ) -> Result<State, StateError> {
        let Restored { tree, mut tasks, mut verdicts, mut roster } = self.restored;
        let parameters: Parameters = tree.get(&[PARAMETERS]).map(stored).ok_or(StateError::NoParameters)?;
        if parameters.chain != *chain {
            return Err(StateError::Chain { expected: chain.clone(), got: parameters.chain });
        }
        tasks.check(&tree)?;
        roster.finish(parameters.epochs, parameters.byzantine_budget as usize, height);
        verdicts.finish(roster.voters().len())?;
        for node in verdicts.nodes() {
            tasks.stand(&tree, *node, verdicts.phase(node), verdicts.is_drained(node));
        }
        roster.without_vote().for_each(|node| retire_worker(&mut tasks, &tree, node));
        Ok(State { tree, parameters, tasks, verdicts, roster, height, digest, timestamp })
    }
}
