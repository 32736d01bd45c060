//! Who validates when, as far as the state tells?

use super::State;
use crate::{
    genesis::EpochLimits,
    roster::{Candidate, Decision, Mark, Seat, Step, Transition},
    tasks::Now,
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

    /// What would be decided now about the first epoch that is not decided yet, if this were to happen besides what is to
    /// happen anyway. Who comes need not have asked, and is taken to be level by then.
    pub fn foresee(&self, wanted: &[Transition]) -> Decision {
        let next = self.epoch().after();
        let epoch = if self.voters_of(next).is_some() { next.after() } else { next };
        let now = Now { height: self.height(), timestamp: self.timestamp(), lease_time: self.lease_time() };
        self.roster.decide(epoch, &self.verdicts, now, wanted)
    }

    /// What stands of the request of somebody who wants a seat.
    pub fn candidate(&self, node: &NodeId) -> Option<&Candidate> {
        self.roster.candidates().of(node)
    }

    /// Who wants a seat, or is a learner, in the order of keys.
    pub fn candidates(&self) -> impl Iterator<Item = (&NodeId, &Candidate)> {
        self.roster.candidates().iter()
    }

    /// What the last block changed about those, in this order.
    pub fn steps(&self) -> &[(NodeId, Step)] {
        self.roster.candidates().steps()
    }

    /// The newest root that a learner may name to show that it is level; none while there are no learners.
    pub fn newest_mark(&self) -> Option<Mark> {
        self.roster.candidates().newest_mark()
    }

    /// Whether others are to talk to it: it has a vote, has had one, or is a learner.
    pub fn is_peer(&self, node: &NodeId) -> bool {
        self.seat(node).is_some() && !self.roster.is_lapsed(node)
    }
}
