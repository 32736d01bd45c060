//! Which state follows which block?
//!
//! The state after the newest finalized block, and the states after blocks that may still become final. States share
//! structure, so keeping one per pending block costs what the block changed.

use crate::{
    mempool::{Mempool, Stale},
    progress::Progress,
};
use commonware_utils::sync::Mutex;
use ledger::{BlockError, Hash, State, TxId};
use std::collections::BTreeMap;

/// Pending states kept at once. Blocks that are no longer held are applied again when they are asked for.
const PENDING_MAX: usize = 128;

/// The states this node can build on.
#[derive(Debug)]
pub struct States {
    finalized: State,
    pending: BTreeMap<Hash, State>,
}

impl States {
    /// Starts from a finalized state.
    pub const fn new(finalized: State) -> Self {
        Self { finalized, pending: BTreeMap::new() }
    }

    /// The state after the newest finalized and applied block.
    pub const fn finalized(&self) -> &State {
        &self.finalized
    }

    /// The state after the block with this digest, if it is held.
    pub fn after(&self, block: &Hash) -> Option<State> {
        if self.finalized.digest() == *block { Some(self.finalized.clone()) } else { self.pending.get(block).cloned() }
    }

    fn keep(&mut self, state: State) {
        if state.height() > self.finalized.height() && self.pending.len() < PENDING_MAX {
            self.pending.insert(state.digest(), state);
        }
    }

    /// Makes `block` the newest finalized one and forgets the states that it rules out.
    fn finalize(&mut self, block: &ledger::Block, verified: impl Fn(&TxId) -> bool) -> Result<(), BlockError> {
        match self.pending.remove(&block.digest()) {
            Some(state) => self.finalized = state,
            None => self.finalized.apply_verified(block, verified)?,
        }
        self.pending.retain(|_, state| state.height() > block.height);
        Ok(())
    }
}

/// What the application and the driver share: states and the transactions that wait.
#[derive(Debug)]
pub struct Ledger {
    states: Mutex<States>,
    mempool: Mutex<Mempool>,
    /// Height of the newest finalized and applied block.
    pub applied: Progress,
    /// Moves on when a transaction arrives in an empty mempool.
    pub arrivals: Progress,
}

impl Ledger {
    /// Starts from a finalized state.
    pub fn new(finalized: State, mempool: Mempool) -> Self {
        let applied = Progress::default();
        applied.raise(finalized.height().0);
        Self {
            states: Mutex::new(States::new(finalized)),
            mempool: Mutex::new(mempool),
            applied,
            arrivals: Progress::default(),
        }
    }

    /// Reads the newest finalized state.
    pub fn finalized(&self) -> State {
        self.states.lock().finalized().clone()
    }

    /// The state after the block with this digest, if it is held.
    pub fn after(&self, block: &Hash) -> Option<State> {
        self.states.lock().after(block)
    }

    /// Applies `block` to `parent` and keeps the result.
    ///
    /// # Errors
    /// The rule that `block` breaks. None of them is a matter of time.
    pub fn extend(&self, parent: State, block: &ledger::Block) -> Result<State, BlockError> {
        let mut state = parent;
        let verified = self.verified(block);
        state.apply_verified(block, |id| verified.contains(id))?;
        self.states.lock().keep(state.clone());
        Ok(state)
    }

    /// Makes `block` final: moves the state on and settles the mempool. Gives the new state, and the completions that
    /// waited and came too late.
    ///
    /// # Errors
    /// The rule that `block` breaks: a certificate then stands for a block that honest validators refuse.
    pub fn finalize(&self, block: &ledger::Block) -> Result<(State, Vec<Stale>), BlockError> {
        let verified = self.verified(block);
        let state = {
            let mut states = self.states.lock();
            states.finalize(block, |id| verified.contains(id))?;
            states.finalized().clone()
        };
        let stale = self.mempool.lock().settle(&state);
        self.applied.raise(state.height().0);
        Ok((state, stale))
    }

    /// Replaces the finalized state, when a checkpoint was replayed.
    pub fn restore(&self, state: State) {
        let height = state.height().0;
        *self.states.lock() = States::new(state);
        self.applied.raise(height);
    }

    /// The transactions that wait.
    pub fn mempool(&self) -> commonware_utils::sync::MutexGuard<'_, Mempool> {
        self.mempool.lock()
    }

    /// The ids in `block` whose signatures were verified on their way into the mempool.
    fn verified(&self, block: &ledger::Block) -> std::collections::BTreeSet<TxId> {
        let mempool = self.mempool.lock();
        block.transactions.iter().map(ledger::Transaction::id).filter(|id| mempool.contains(id)).collect()
    }
}
