//! From a stopped node's disk to the state it stopped at.

use super::Driver;
use crate::chain::Block;
use commonware_cryptography::{Digested, ed25519::PublicKey};
use commonware_p2p::{Blocker, Sender};
use commonware_runtime::{Clock, Metrics, Spawner, Storage};
use ledger::{Height, State, Transaction};
use std::sync::Arc;
use tracing::{info, warn};

impl<E, B, SG> Driver<E, B, SG>
where
    E: Spawner + Clock + Metrics + Storage,
    B: Blocker<PublicKey = PublicKey> + Sync,
    SG: Sender<PublicKey = PublicKey>,
{
    /// Loads the newest checkpoint that the chain confirms and replays the blocks from there to where marshal stands. Waits
    /// for those that are missing and come back from peers.
    ///
    /// # Errors
    /// When a block in between is not held, and is not to come back.
    pub(super) async fn restore(&mut self) -> Result<(), String> {
        let processed =
            Height(self.parts.marshal.get_processed().await.map_or(0, |processed| processed.height().get()));
        self.tip = processed.0;
        let mut state = self.confirmed_checkpoint(processed).await.unwrap_or_else(|| self.parts.ledger.finalized());
        let from = state.height();
        while state.height() < processed {
            let height = state.height().next().ok_or("heights are used up")?;
            let block = self.block_or_repaired(height).await.ok_or_else(|| {
                format!(
                    "block {height} is missing from the store, which holds {processed} blocks; to mend it, stop the node, \
                     remove everything in its data directory's `storage` folder except `guard-a` and `guard-b`, and start \
                     again: it fetches the blocks from its peers and keeps its vote record"
                )
            })?;
            self.index.lock().push(height, block.inner().ledger().transactions.iter().map(Transaction::id));
            state
                .apply(block.inner().ledger())
                .map_err(|problem| format!("stored block {height} cannot be applied: {problem}"))?;
        }
        if processed.0 > 0 {
            info!(height = processed.0, from = from.0, root = %state.root(), "state restored");
        }
        self.parts.ledger.restore(state);
        Ok(())
    }

    async fn confirmed_checkpoint(&self, processed: Height) -> Option<State> {
        for height in
            self.settings.checkpoints.heights(&self.context).await.into_iter().filter(|height| *height <= processed)
        {
            let state = match self.settings.checkpoints.read(&self.context, &self.settings.chain, height).await {
                Ok(state) => state,
                Err(problem) => {
                    warn!(%height, %problem, "checkpoint passed over");
                    continue;
                }
            };
            // The block above the newest one may be lost with all that followed. It confirms the root when it comes again.
            let confirmed = match height.next() {
                Some(next) => self.block_or_repaired(next).await.map_or(height == processed, |block| {
                    block.inner().ledger().parent_state_root == state.root()
                        && block.inner().ledger().parent == state.digest()
                }),
                None => false,
            };
            if confirmed {
                return Some(state);
            }
            warn!(%height, "checkpoint passed over: no finalized block confirms its root");
        }
        None
    }

    /// The finalized block at `height`, if it is held or comes back.
    async fn block_or_repaired(&self, height: Height) -> Option<Digested<Block>> {
        loop {
            let seen = self.parts.store.seen();
            if let Some(block) = self.block(height).await {
                return Some(block);
            }
            if !self.parts.store.is_missing(height.0) {
                // It may have come back after it was looked for.
                if self.parts.store.seen() != seen {
                    continue;
                }
                return None;
            }
            self.parts.snapshot.send_modify(|snapshot| {
                let waiting = if self.parts.store.is_out_of_reach(height.0) {
                    format!(
                        "block {height} is damaged on this disk, and no peer that was asked holds it; without it the state \
                         cannot be restored. Asking goes on: start a validator that holds it"
                    )
                } else {
                    format!("block {height} is damaged on this disk and being fetched from peers")
                };
                Arc::make_mut(snapshot).not_ready = Some(waiting);
            });
            self.parts.store.changed(seen).await;
        }
    }

    /// The finalized block at `height`, if it is held.
    pub(super) async fn block(&self, height: Height) -> Option<Digested<Block>> {
        self.parts.marshal.get_block(commonware_consensus::types::Height::new(height.0)).await
    }

    /// Fills the index with transactions from before the start, newest first, beside everything else.
    pub(super) fn index_older_blocks(&self) {
        let (index, marshal, store) = (self.index.clone(), self.parts.marshal.clone(), self.parts.store.clone());
        let Some(mut height) = self.parts.ledger.finalized().height().0.checked_sub(1) else { return };
        self.context.child("index").spawn(move |_| async move {
            while height > 0 {
                let at = commonware_consensus::types::Height::new(height);
                let seen = store.seen();
                let Some(block) = marshal.get_block(at).await else {
                    if !store.is_missing(height) {
                        if store.seen() != seen {
                            continue;
                        }
                        return;
                    }
                    store.changed(seen).await;
                    continue;
                };
                let ids = block.inner().ledger().transactions.iter().map(Transaction::id).collect();
                if !index.lock().push_older(Height(height), ids) {
                    return;
                }
                height -= 1;
            }
        });
    }
}
