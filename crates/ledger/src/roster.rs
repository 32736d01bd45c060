//! Who validates, in which epoch?
//!
//! Heights are divided into epochs of equal length, and the set of validators changes between two of them only. The block
//! in the middle of an epoch decides the set of the next one, so that everybody knows it for half an epoch before it votes.
//!
//! A validator goes because it says that it wants to, or because a quorum has held it unresponsive for long enough. At
//! most f go between two epochs, and one may go where f is 0. None goes where
//! - fewer would be left than 3b + 1, with b the number of liars that the genesis wants every set to survive;
//! - it would cost the network more slack than there is: those that answer, beyond a quorum. Who does not answer costs
//!   none by going. It can only be gained: that is how a network outlives the loss of more than f, one after the other.
//!
//! Who is gone stays known, with the epochs in which it voted: certificates of those are checked with it for ever. A seat
//! is taken once. Who comes back does so under a new key.

use crate::{
    codec::{Decode, DecodeError, Encode, Reader, read_option, write_option},
    genesis::EpochLimits,
    state::{StateError, TransactionError, id_of, key},
    tasks::Now,
    tree::Tree,
    types::{Epoch, Height, NodeId, Sequence, Timestamp, faults, quorum},
    verdicts::{Verdicts, check_sequence},
};
use imbl::OrdMap;
use std::sync::Arc;

/// The first byte of a key, beside those of `state`, `tasks`, `verdicts` and `releases`.
pub(crate) const SEAT: u8 = 11;

/// When a validator has a vote, and what may end that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seat {
    /// The first epoch in which it votes.
    pub from: Epoch,
    /// The first in which it does not any more, once that is decided.
    pub until: Option<Epoch>,
    /// The block since which it wants to leave.
    pub leaving: Option<Height>,
    /// The lease time since which a quorum has held it unresponsive.
    pub condemned: Option<Timestamp>,
    /// The number of its next word about leaving.
    pub next: Sequence,
}

impl Seat {
    /// Whether it votes in an epoch.
    pub fn votes_in(&self, epoch: Epoch) -> bool {
        self.from <= epoch && self.until.is_none_or(|until| epoch < until)
    }
}

/// A change of the set that somebody wants, or that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It says so itself.
    Left,
    /// A quorum has held it unresponsive for long enough.
    Removed,
}

/// Why a validator that is to go does not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Postponed {
    /// The set would not survive the liars that the genesis wants it to.
    #[error("{left} validators would be left, and {needed} are needed to survive {budget} that lie")]
    Budget {
        /// Validators that would be left.
        left: usize,
        /// How many there must be.
        needed: usize,
        /// How many may lie.
        budget: usize,
    },
    /// Too few would answer.
    #[error("{answering} of {left} would answer, a quorum is {quorum}, and {slack_min} more must be there")]
    Slack {
        /// Validators that answer and would be left.
        answering: usize,
        /// Validators that would be left.
        left: usize,
        /// What a quorum of them would be.
        quorum: usize,
        /// How many must be there beyond it.
        slack_min: usize,
    },
    /// Enough go already.
    #[error("{max} go already, the most between two epochs")]
    Pace {
        /// How many may go at once.
        max: usize,
    },
}

/// Who votes in the next epoch, and what that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The epoch that is decided about.
    pub epoch: Epoch,
    /// Who votes in it, in the order of keys.
    pub voters: Vec<NodeId>,
    /// Who voted and will not any more.
    pub going: Vec<(NodeId, Departure)>,
    /// Who was to go and stays, for now.
    pub postponed: Vec<(NodeId, Departure, Postponed)>,
}

/// Who votes when. All but `decision` is in the entries, or follows from them and the height. Cloning is O(1).
#[derive(Clone, Debug)]
pub(crate) struct Roster {
    limits: EpochLimits,
    budget: usize,
    seats: OrdMap<NodeId, Seat>,
    /// Who votes on the next block, in the order of keys.
    voters: Arc<Vec<NodeId>>,
    /// What the last block decided. Not part of the state's root.
    decision: Option<Arc<Decision>>,
}

impl EpochLimits {
    /// The epoch that a height belongs to.
    pub const fn epoch_of(&self, height: Height) -> Epoch {
        Epoch(height.0 / self.length)
    }

    /// The last height of an epoch.
    pub const fn last_of(&self, epoch: Epoch) -> Height {
        Height(epoch.0.saturating_mul(self.length).saturating_add(self.length - 1))
    }

    /// The height of the block that decides who votes in the next epoch.
    pub const fn decides_in(&self, epoch: Epoch) -> Height {
        Height(epoch.0.saturating_mul(self.length).saturating_add(self.length / 2))
    }
}

impl Roster {
    /// These validate from the start.
    pub(crate) fn new(limits: EpochLimits, budget: usize, nodes: impl Iterator<Item = NodeId>) -> Self {
        let mut roster = Self { limits, budget, seats: OrdMap::new(), voters: Arc::default(), decision: None };
        nodes.for_each(|node| roster.admit(node));
        roster.seat(Epoch(0));
        roster
    }

    fn admit(&mut self, node: NodeId) {
        self.seats.insert(node, Seat::default());
    }

    /// The voters of `epoch` vote from here on.
    fn seat(&mut self, epoch: Epoch) {
        self.voters = Arc::new(self.voting_in(epoch));
    }

    fn voting_in(&self, epoch: Epoch) -> Vec<NodeId> {
        self.seats.iter().filter(|(_, seat)| seat.votes_in(epoch)).map(|(node, _)| *node).collect()
    }

    pub(crate) const fn limits(&self) -> EpochLimits {
        self.limits
    }

    pub(crate) fn voters(&self) -> &[NodeId] {
        &self.voters
    }

    /// Who votes in an epoch, once that is decided after the block at `height`.
    pub(crate) fn voters_of(&self, epoch: Epoch, height: Height) -> Option<Vec<NodeId>> {
        let present = self.limits.epoch_of(height);
        let is_decided = epoch <= present || epoch == present.after() && height >= self.limits.decides_in(present);
        is_decided.then(|| self.voting_in(epoch))
    }

    pub(crate) fn of(&self, node: &NodeId) -> Option<&Seat> {
        self.seats.get(node)
    }

    pub(crate) fn is_voter(&self, node: &NodeId) -> bool {
        self.voters.binary_search(node).is_ok()
    }

    pub(crate) fn decision(&self) -> Option<&Decision> {
        self.decision.as_deref()
    }

    /// Only who has a vote says anything about validators.
    pub(crate) fn check_voter(&self, account: NodeId) -> Result<&Seat, TransactionError> {
        match self.seats.get(&account) {
            Some(seat) if self.is_voter(&account) => Ok(seat),
            Some(_) | None => Err(TransactionError::NotAValidator { account }),
        }
    }

    /// Whether a validator may say that it wants to leave, or that it does not any more.
    pub(crate) fn check_leave(&self, node: NodeId, is_leaving: bool, got: Sequence) -> Result<(), TransactionError> {
        let seat = self.check_voter(node)?;
        check_sequence(seat.next, got)?;
        match (seat.until, is_leaving, seat.leaving) {
            (Some(epoch), _, _) => Err(TransactionError::GoesAlready { epoch }),
            (None, true, Some(since)) => Err(TransactionError::LeavesAlready { since }),
            (None, false, None) => Err(TransactionError::LeavesNot),
            (None, true, None) | (None, false, Some(_)) => Ok(()),
        }
    }

    pub(crate) fn leave(&mut self, tree: &mut Tree, node: NodeId, is_leaving: bool, now: Height) {
        self.amend(tree, node, |seat| {
            seat.leaving = is_leaving.then_some(now);
            seat.next = seat.next.after();
        });
    }

    /// A new block begins: what the last one decided is told.
    pub(crate) fn begin(&mut self) {
        self.decision = None;
    }

    /// Ends the block at hand. The answer is who voted on it and does not vote on the next.
    pub(crate) fn settle(&mut self, tree: &mut Tree, verdicts: &Verdicts, now: Now) -> Vec<NodeId> {
        self.condemn(tree, verdicts, now);
        let epoch = self.limits.epoch_of(now.height);
        if now.height == self.limits.decides_in(epoch) {
            let decision = self.decide(epoch.after(), verdicts, now.lease_time, &[]);
            for (node, _) in &decision.going {
                self.amend(tree, *node, |seat| seat.until = Some(decision.epoch));
            }
            self.decision = Some(Arc::new(decision));
        }
        if now.height < self.limits.last_of(epoch) {
            return Vec::new();
        }
        let before = self.voters.clone();
        self.seat(epoch.after());
        before.iter().filter(|node| !self.is_voter(node)).copied().collect()
    }

    /// Notes since when a quorum holds whom unresponsive.
    fn condemn(&mut self, tree: &mut Tree, verdicts: &Verdicts, now: Now) {
        let is_held = |node: &NodeId| verdicts.unresponsive().contains(node) && verdicts.is_candidate_for_removal(node);
        let changed = self.seats.iter().filter(|(node, seat)| seat.condemned.is_some() != is_held(node));
        let changed: Vec<NodeId> = changed.map(|(node, _)| *node).collect();
        for node in changed {
            self.amend(tree, node, |seat| seat.condemned = seat.condemned.is_none().then_some(now.lease_time));
        }
    }

    /// Who votes in `epoch`, as far as can be told now, if `wanted` were to go as well.
    pub(crate) fn decide(
        &self,
        epoch: Epoch,
        verdicts: &Verdicts,
        lease_time: Timestamp,
        wanted: &[(NodeId, Departure)],
    ) -> Decision {
        let answers = |node: &NodeId| !verdicts.unresponsive().contains(node);
        let mut voters = self.voting_in(epoch);
        let (mut going, mut postponed) = (Vec::new(), Vec::new());
        let max = faults(voters.len()).max(1);
        let mut answering = voters.iter().filter(|node| answers(node)).count();
        for (node, departure) in self.due(&voters, lease_time, wanted) {
            let (left, rest) = (voters.len() - 1, answering - usize::from(answers(&node)));
            let (needed, slack_min) = (3 * self.budget + 1, self.limits.slack_min);
            let obstacle = if left < needed {
                Some(Postponed::Budget { left, needed, budget: self.budget })
            } else if rest < answering && rest < quorum(left) + slack_min {
                Some(Postponed::Slack { answering: rest, left, quorum: quorum(left), slack_min })
            } else if going.len() == max {
                Some(Postponed::Pace { max })
            } else {
                None
            };
            match obstacle {
                Some(obstacle) => postponed.push((node, departure, obstacle)),
                None => {
                    voters.retain(|voter| *voter != node);
                    answering = rest;
                    going.push((node, departure));
                }
            }
        }
        Decision { epoch, voters, going, postponed }
    }

    /// Who is to go, in the order in which it may: first who has not answered for longest, then who asked first.
    fn due(
        &self,
        voters: &[NodeId],
        lease_time: Timestamp,
        wanted: &[(NodeId, Departure)],
    ) -> Vec<(NodeId, Departure)> {
        let is_due = |since: Timestamp| since.after(self.limits.remove_after_ms) <= lease_time;
        let seats = || voters.iter().map(|node| (*node, self.seats[node]));
        let mut removed: Vec<(Timestamp, NodeId)> = seats()
            .filter_map(|(node, seat)| seat.condemned.filter(|since| is_due(*since)).map(|since| (since, node)))
            .collect();
        removed.sort_unstable();
        let mut leaving: Vec<(Height, NodeId)> =
            seats().filter_map(|(node, seat)| seat.leaving.map(|since| (since, node))).collect();
        leaving.sort_unstable();
        let removed = removed.into_iter().map(|(_, node)| (node, Departure::Removed));
        let left = leaving.into_iter().map(|(_, node)| (node, Departure::Left));
        let mut due: Vec<(NodeId, Departure)> = Vec::new();
        for (node, departure) in removed.chain(left).chain(wanted.iter().copied()) {
            if voters.contains(&node) && due.iter().all(|(other, _)| *other != node) {
                due.push((node, departure));
            }
        }
        due
    }

    fn amend(&mut self, tree: &mut Tree, node: NodeId, change: impl FnOnce(&mut Seat)) {
        let seat = self.seats.get_mut(&node).expect("checked to be a validator");
        change(seat);
        put(tree, &node, seat);
    }

    /// Takes over one entry of a checkpoint, if it is of this module; `None` if it is not.
    pub(crate) fn restore(&mut self, entry: usize, key: &[u8], value: &[u8]) -> Option<Result<(), StateError>> {
        let (Some(&SEAT), 33) = (key.first(), key.len()) else { return None };
        let seat = match Seat::decode(value) {
            Ok(seat) => seat,
            Err(error) => return Some(Err(StateError::Value { entry, error })),
        };
        let node = id_of(key);
        if seat == Seat::default() || seat.until.is_some_and(|until| until <= seat.from) {
            return Some(Err(StateError::Standing { node, what: "has a seat that could not have become" }));
        }
        Some(self.seats.get_mut(&node).map(|kept| *kept = seat).ok_or(StateError::Key { entry }))
    }

    /// A validator's entry comes before that of its seat.
    pub(crate) fn restore_validator(&mut self, node: NodeId) {
        self.admit(node);
    }

    /// All entries are there: what the genesis says, and who votes on the block after `height`.
    pub(crate) fn finish(&mut self, limits: EpochLimits, budget: usize, height: Height) {
        (self.limits, self.budget) = (limits, budget);
        self.seat(limits.epoch_of(height.after(1)));
    }

    /// Validators that had a vote and have none on the next block.
    pub(crate) fn gone(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.seats.keys().filter(|node| !self.is_voter(node)).copied()
    }
}

/// A seat as it is from the start is not stored.
fn put(tree: &mut Tree, node: &NodeId, seat: &Seat) {
    let key = key(SEAT, node);
    if *seat == Seat::default() {
        tree.remove(&key);
        return;
    }
    tree.insert(&key, &seat.encode());
}

impl Encode for Seat {
    fn write(&self, out: &mut Vec<u8>) {
        self.from.write(out);
        write_option(self.until.as_ref(), out);
        write_option(self.leaving.as_ref(), out);
        write_option(self.condemned.as_ref(), out);
        self.next.write(out);
    }
}

impl Decode for Seat {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            from: Epoch::read(r)?,
            until: read_option(r, "whether a validator goes")?,
            leaving: read_option(r, "whether a validator leaves")?,
            condemned: read_option(r, "whether a quorum holds a validator unresponsive")?,
            next: Sequence::read(r)?,
        })
    }
}

#[cfg(test)]
mod tests;
