//! How do validators stand, as far as the state tells?

use super::State;
use crate::{
    types::{NodeId, Sequence},
    verdicts::{Accusers, Change, Standing},
};

impl State {
    /// How a validator stands, what others say of it and what became of it; nothing of who is no validator.
    pub fn standing(&self, node: &NodeId) -> Option<Standing> {
        self.verdicts.standing(node)
    }

    /// What the last block changed about validators, in this order.
    pub fn verdict_changes(&self) -> &[(NodeId, Change)] {
        self.verdicts.changes()
    }

    /// The validators that were found unresponsive and are not back, in the order of their keys.
    pub fn validators_unresponsive(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.verdicts.unresponsive().iter().copied()
    }

    /// Whether more than f are unresponsive at once, which is the network's fault and not theirs.
    pub fn is_network_event(&self) -> bool {
        self.verdicts.is_network_event()
    }

    /// Whether a validator takes no new tasks because it said so.
    pub fn is_drained(&self, node: &NodeId) -> bool {
        self.verdicts.is_drained(node)
    }

    /// Whether a quorum says that something is wrong with a validator: it is to go when the set of validators changes.
    pub fn is_candidate_for_removal(&self, node: &NodeId) -> bool {
        self.verdicts.is_candidate_for_removal(node)
    }

    /// The number that the next word of `accuser` about `accused` carries.
    pub fn next_suspicion_sequence(&self, accuser: &NodeId, accused: &NodeId) -> Sequence {
        self.verdicts.next_sequence(accuser, accused)
    }

    /// The validators in a set of accusers, in the order of their keys.
    pub fn accusers<'a>(&'a self, accusers: &'a Accusers) -> impl Iterator<Item = NodeId> + 'a {
        self.verdicts.members(accusers)
    }
}
