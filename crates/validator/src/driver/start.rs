//! From a stopped node's disk to the state it stopped at.

use super::Driver;
use crate::chain::Block;
use commonware_cryptography::{Digested, ed25519::PublicKey};
use commonware_p2p::{Blocker, Sender};
use commonware_runtime::{Clock, Metrics, Spawner, Storage};
use ledger::{Height, State, Transaction};
use tracing::{info, warn};

impl<E, B, SG> Driver<E, B, SG>
where
    E: Spawner + Clock + Metrics + Storage,
    B: Blocker<PublicKey = PublicKey> + Sync,
    SG: Sender<PublicKey = PublicKey>,
{
    /// Loads the newest checkpoint that the chain confirms and replays the blocks from there to where marshal stands.
    ///
    /// # Errors
    /// When a block in between is not held.
    pub(super) async fn restore(&mut self) -> Result<(), String> {
        let processed =
            Height(self.parts.marshal.get_processed().await.map_or(0, |processed| processed.height().get()));
        self.tip = processed.0;
        let mut state = self.confirmed_checkpoint(processed).await.unwrap_or_else(|| self.parts.ledger.finalized());
        let from = state.height();
        while state.height() < processed {
            let height = state.height().next().ok_or("heights are used up")?;
            let block = self.block(height).await.ok_or_else(|| {
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
            self.settings.checkpoints.heights(&self.context).await.into_iter().filter(|height| *height < processed)
        {
            let state = match self.settings.checkpoints.read(&self.context, &self.settings.chain, height).await {
                Ok(state) => state,
                Err(problem) => {
                    warn!(%height, %problem, "checkpoint passed over");
                    continue;
                }
            };
            let confirmed = match height.next() {
                Some(next) => self.block(next).await.is_some_and(|block| {
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

    /// The finalized block at `height`, if it is held.
    pub(super) async fn block(&self, height: Height) -> Option<Digested<Block>> {
        self.parts.marshal.get_block(commonware_consensus::types::Height::new(height.0)).await
    }

    /// Fills the index with transactions from before the start, newest first, beside everything else.
    pub(super) fn index_older_blocks(&self) {
        let (index, marshal) = (self.index.clone(), self.parts.marshal.clone());
        let Some(mut height) = self.parts.ledger.finalized().height().0.checked_sub(1) else { return };
        self.context.child("index").spawn(move |_| async move {
            while height > 0 {
                let at = commonware_consensus::types::Height::new(height);
                let Some(block) = marshal.get_block(at).await else { return };
                let ids = block.inner().ledger().transactions.iter().map(Transaction::id).collect();
                if !index.lock().push_older(Height(height), ids) {
                    return;
                }
                height -= 1;
            }
        });
    }
}
