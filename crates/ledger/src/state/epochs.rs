//! Who validates when, as far as the state tells?

use super::State;
use crate::{
    genesis::EpochLimits,
    roster::{Decision, Departure, Seat},
    types::{Epoch, NodeId},
};

impl State {
    /// How heights are divided into epochs, and when the set of validators may change.
    pub const fn epoch_limits(&self) -> EpochLimits {
        self.roster.limits()
    }

    /// The epoch of the next block.
    pub const fn epoch(&self) -> Epoch {
        self.epoch_limits().epoch_of(self.height().after(1))
    }

    /// Who votes on the next block, in the order of keys.
    pub fn voters(&self) -> &[NodeId] {
        self.roster.voters()
    }

    /// Who votes in an epoch, in the order of keys; `None` while that is not decided.
    pub fn voters_of(&self, epoch: Epoch) -> Option<Vec<NodeId>> {
        self.roster.voters_of(epoch, self.height())
    }

    /// Whether a validator votes on the next block.
    pub fn is_voter(&self, node: &NodeId) -> bool {
        self.roster.is_voter(node)
    }

    /// When a validator has a vote; nothing of who never was one.
    pub fn seat(&self, node: &NodeId) -> Option<&Seat> {
        self.roster.of(node)
    }

    /// What the last block decided about the next epoch, if it did.
    pub fn decision(&self) -> Option<&Decision> {
        self.roster.decision()
    }

    /// What would be decided now about the first epoch that is not decided yet, if these were to go besides those that are to go anyway.
    pub fn foresee(&self, wanted: &[(NodeId, Departure)]) -> Decision {
        let next = self.epoch().after();
        let epoch = if self.voters_of(next).is_some() { next.after() } else { next };
        self.roster.decide(epoch, &self.verdicts, self.lease_time(), wanted)
    }
}
