//! What to propose, and what to vote for?
//!
//! `false` is only ever said of a block that can never become valid here. What may mend with time (a timestamp ahead of
//! this clock, a parent state that is still being caught up) keeps the question open until the engine withdraws it.

use super::{Block, Digest, Ledger, hash, ledger_key};
use crate::{
    clock::{milliseconds, since},
    scheme::Scheme,
};
use commonware_consensus::{CertifiableBlock as _, marshal::ancestry::Ancestry, simplex::types::Context};
use commonware_cryptography::{Digested, Digestible as _, ed25519::PublicKey};
use commonware_runtime::Clock;
use futures::{
    StreamExt as _,
    future::{Either, select},
};
use ledger::{Epoch, Place, State, Timestamp, View};
use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};
use tracing::{debug, warn};

/// How far ahead of this clock a block's timestamp may be before this node waits with its vote.
pub const AHEAD_MAX: Duration = Duration::from_millis(500);

/// A timestamp further ahead than this is not waited for; the view is over long before.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Blocks applied at once to reach a parent whose state is not held. A longer way is left to finalization.
const REPLAY_MAX: usize = 64;

/// How fast blocks are built.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Smallest gap between the timestamps of a block and its parent, while transactions wait.
    pub block_time: Duration,
    /// The gap while none wait. Must be well below the leader timeout.
    pub idle_block_time: Duration,
    /// How long a proposal may wait for the state it builds on; the view is skipped then.
    pub build_timeout: Duration,
}

/// The engine's application: proposes from the mempool, verifies against the ledger.
#[derive(Clone)]
pub struct Application {
    ledger: Arc<Ledger>,
    pace: Pace,
}

impl Application {
    /// For the chain whose state `ledger` holds.
    pub const fn new(ledger: Arc<Ledger>, pace: Pace) -> Self {
        Self { ledger, pace }
    }

    /// The state after `parent`, waiting for it as long as it takes. `None` when it can never be had: an ancestor is
    /// invalid, or finality has passed `parent` by.
    async fn state_after(&self, parent: &Digested<Block>, ancestry: impl Ancestry<Block>) -> Option<State> {
        loop {
            if let Some(state) = self.ledger.after(&hash(&parent.digest())) {
                return Some(state);
            }
            let applied = self.ledger.applied.get();
            let height = parent.inner().ledger().height.0;
            if height <= applied {
                return self.ledger.after(&hash(&parent.digest()));
            }
            if height - applied <= REPLAY_MAX as u64 {
                // Ancestors may have to come from peers; finality may get there first.
                let moved = pin!(self.ledger.applied.reach(applied + 1));
                match select(pin!(self.replay(parent, ancestry.clone())), moved).await {
                    Either::Left((Replayed::State(state), _)) => return Some(*state),
                    Either::Left((Replayed::Invalid, _)) => return None,
                    Either::Left((Replayed::OutOfReach, moved)) => moved.await,
                    Either::Right(_) => {}
                }
            } else {
                self.ledger.applied.reach(applied + 1).await;
            }
        }
    }

    /// Walks back from `parent` to a block whose state is held, and applies forward again.
    async fn replay(&self, parent: &Digested<Block>, mut ancestry: impl Ancestry<Block>) -> Replayed {
        let mut path = vec![parent.clone()];
        let mut state = loop {
            let oldest = path.last().expect("starts with the parent");
            if let Some(state) = self.ledger.after(&oldest.inner().ledger().parent) {
                break state;
            }
            if path.len() >= REPLAY_MAX {
                return Replayed::OutOfReach;
            }
            match ancestry.next().await {
                Some(block) => path.push(block),
                None => return Replayed::OutOfReach,
            }
        };
        for block in path.iter().rev() {
            state = match self.ledger.extend(state, block.inner().ledger()) {
                Ok(state) => state,
                Err(problem) => {
                    warn!(height = block.inner().ledger().height.0, %problem, "an ancestor is invalid");
                    return Replayed::Invalid;
                }
            };
        }
        Replayed::State(Box::new(state))
    }

    /// Waits until it is time for a block after `parent`.
    async fn pace<E: Clock>(&self, runtime: &E, parent: Timestamp) {
        let parent = UNIX_EPOCH + Duration::from_millis(parent.0);
        runtime.sleep_until(parent + self.pace.block_time).await;
        let arrivals = self.ledger.arrivals.get();
        if self.ledger.mempool().is_empty() {
            let idle = pin!(runtime.sleep_until(parent + self.pace.idle_block_time));
            select(pin!(self.ledger.arrivals.reach(arrivals + 1)), idle).await;
        }
    }

    fn build<E: Clock>(&self, runtime: &E, context: &Context<Digest, PublicKey>, state: &State) -> Option<Block> {
        // Strictly after the parent, also when this clock is behind the parent's proposer's.
        let timestamp = Timestamp(milliseconds(runtime.current()).max(state.timestamp().0.checked_add(1)?));
        let place = Place { height: state.height().next()?, timestamp };
        let transactions = self.ledger.mempool().select(state, place);
        Some(Block::new(ledger::Block {
            epoch: Epoch(context.round.epoch().get()),
            view: View(context.round.view().get()),
            parent_view: View(context.parent.0.get()),
            ..ledger::Block::on(state, ledger_key(&context.leader), timestamp, transactions)
        }))
    }
}

enum Replayed {
    State(Box<State>),
    Invalid,
    OutOfReach,
}

impl<E: Clock> commonware_consensus::Application<E> for Application {
    type SigningScheme = Scheme;
    type Context = Context<Digest, PublicKey>;
    type Block = Block;
    type Input = ();

    async fn propose(
        &mut self,
        (runtime, context): (E, Self::Context),
        mut ancestry: impl Ancestry<Block>,
        (): (),
    ) -> Option<Digested<Block>> {
        let parent = ancestry.next().await?;
        let state =
            match select(pin!(self.state_after(&parent, ancestry)), pin!(runtime.sleep(self.pace.build_timeout))).await
            {
                Either::Left((state, _)) => state?,
                Either::Right(_) => return None,
            };
        self.pace(&runtime, state.timestamp()).await;
        let block = self.build(&runtime, &context, &state)?;
        if let Err(problem) = self.ledger.extend(state, block.ledger()) {
            // Selection and verification use the same code; a difference is a bug, and costs this view, not the chain.
            warn!(%problem, "own proposal is invalid; skipping the view");
            return None;
        }
        debug!(height = block.ledger().height.0, transactions = block.ledger().transactions.len(), "proposed");
        let digest = block.digest();
        Some(Digested::precomputed(block, digest))
    }

    async fn verify(&mut self, (runtime, context): (E, Self::Context), mut ancestry: impl Ancestry<Block>) -> bool {
        let (Some(block), Some(parent)) = (ancestry.next().await, ancestry.next().await) else {
            return std::future::pending().await;
        };
        // The ledger knows no engine; that a block was proposed where it says is checked here.
        if block.inner().context() != context {
            warn!(leader = %context.leader, "proposal names another round, leader or parent");
            return false;
        }
        if self.ledger.after(&hash(&block.digest())).is_none() {
            let Some(state) = self.state_after(&parent, ancestry).await else {
                // Finality has passed the parent by or an ancestor is invalid: no vote of ours is due.
                return std::future::pending().await;
            };
            if let Err(problem) = self.ledger.extend(state, block.inner().ledger()) {
                warn!(leader = %context.leader, %problem, "proposal is invalid");
                return false;
            }
        }
        let timestamp = UNIX_EPOCH + Duration::from_millis(block.inner().ledger().timestamp.0);
        match since(timestamp, runtime.current()) {
            ahead if ahead <= AHEAD_MAX => {}
            ahead if ahead <= WAIT_MAX => runtime.sleep(ahead - AHEAD_MAX).await,
            _ => return std::future::pending().await,
        }
        true
    }
}
