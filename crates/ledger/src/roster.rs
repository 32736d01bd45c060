//! Who validates, in which epoch?
//!
//! Heights are divided into epochs of equal length, and the set of validators changes between two of them only. The block
//! in the middle of an epoch decides the set of the next one, so that everybody knows it for half an epoch before it votes.
//!
//! A validator goes because it says that it wants to, because a quorum has held it unresponsive for long enough, or because
//! it has another key take its place. One comes that a quorum approves of and that is level with the chain. At most f change
//! between two epochs, and one may where f is 0; a replacement is one change. None goes or comes where
//! - fewer would be left than 3b + 1, with b the number of liars that the genesis wants every set to survive;
//! - it would cost the network more slack than there is: those that answer, beyond a quorum. Who does not answer costs
//!   none by going. It can only be gained: that is how a network outlives the loss of more than f, one after the other. Who
//!   comes may make a quorum larger, and is not counted on before it has voted, unless nobody may fail anyway.
//!
//! Who is gone stays known, with the epochs in which it voted: certificates of those are checked with it for ever. A seat
//! is taken once. Who comes back does so under a new key. Seats are numbered in the order in which they were taken, those
//! of the genesis in the order of keys, and a number never changes its holder.
//!
//! - `candidates`: who wants to validate

use crate::{
    codec::{Decode, DecodeError, Encode, Reader, read_option, write_option},
    genesis::{EpochLimits, VALIDATORS_MAX},
    state::{StateError, TransactionError, id_of, key},
    tasks::Now,
    tree::Tree,
    types::{Epoch, Height, NodeId, Sequence, Timestamp, faults, quorum},
    verdicts::{Verdicts, check_sequence},
};
use imbl::OrdMap;
use std::sync::Arc;

mod candidates;

pub(crate) use candidates::Candidates;
pub use candidates::{
    CANDIDATE_MS, CANDIDATES_MAX, Candidate, LEARNER_MS, LEVEL_BLOCKS, MARK_BLOCKS, Mark, REQUEST_BLOCKS_MAX, Request,
    Step,
};

/// The first byte of a key, beside those of `state`, `tasks`, `verdicts` and `releases`.
pub(crate) const SEAT: u8 = 11;

/// When a validator has a vote, and what may end that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The first epoch in which it votes; none of a learner, and of who was one and never got a vote.
    pub from: Option<Epoch>,
    /// The first in which it does not any more, once that is decided.
    pub until: Option<Epoch>,
    /// The block since which it wants to leave.
    pub leaving: Option<Height>,
    /// The lease time since which a quorum has held it unresponsive.
    pub condemned: Option<Timestamp>,
    /// The number of its next word about leaving.
    pub next: Sequence,
}

/// That of the genesis.
impl Default for Seat {
    fn default() -> Self {
        Self { from: Some(Epoch(0)), until: None, leaving: None, condemned: None, next: Sequence(0) }
    }
}

impl Seat {
    /// A learner's.
    const LEARNER: Self = Self { from: None, until: None, leaving: None, condemned: None, next: Sequence(0) };

    /// Whether it votes in an epoch.
    pub fn votes_in(&self, epoch: Epoch) -> bool {
        self.from.is_some_and(|from| from <= epoch) && self.until.is_none_or(|until| epoch < until)
    }
}

/// Why a validator goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It says so itself.
    Left,
    /// A quorum has held it unresponsive for long enough.
    Removed,
    /// Another key takes its place.
    Replaced,
}

/// A change of the set that somebody wants, or that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// A validator goes.
    Goes(NodeId, Departure),
    /// A learner gets a vote.
    Comes(NodeId),
    /// A learner gets a vote, and a validator goes for it.
    Replaces {
        /// Who comes.
        new: NodeId,
        /// Who goes.
        old: NodeId,
    },
}

impl Transition {
    const fn goes(&self) -> Option<NodeId> {
        match self {
            Self::Goes(node, _) | Self::Replaces { old: node, .. } => Some(*node),
            Self::Comes(_) => None,
        }
    }

    const fn comes(&self) -> Option<NodeId> {
        match self {
            Self::Comes(node) | Self::Replaces { new: node, .. } => Some(*node),
            Self::Goes(..) => None,
        }
    }

    /// Whom it is about.
    pub const fn node(&self) -> NodeId {
        match self {
            Self::Goes(node, _) | Self::Comes(node) | Self::Replaces { new: node, .. } => *node,
        }
    }
}

/// Why a change that is wanted does not happen yet.
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
    /// Enough change already.
    #[error("{max} change already, the most between two epochs")]
    Pace {
        /// How many may change at once.
        max: usize,
    },
    /// It does not follow the chain closely enough.
    #[error("it has not shown in the last {LEVEL_BLOCKS} blocks that it is level with the chain")]
    Behind,
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
    /// Who gets a vote.
    pub coming: Vec<NodeId>,
    /// What was to change and does not, for now.
    pub postponed: Vec<(Transition, Postponed)>,
}

impl Decision {
    /// Whether it says nothing but who votes.
    pub const fn is_quiet(&self) -> bool {
        self.going.is_empty() && self.coming.is_empty() && self.postponed.is_empty()
    }
}

/// What a block's end changes about seats.
#[derive(Debug, Default)]
pub(crate) struct Turnover {
    /// Who has become a learner, with what it said of itself.
    pub(crate) learners: Vec<(NodeId, Request)>,
    /// Who voted on this block and does not vote on the next.
    pub(crate) gone: Vec<NodeId>,
    /// Who votes on the next for the first time.
    pub(crate) came: Vec<NodeId>,
}

/// Who votes when. All but `decision` is in the entries, or follows from them and the height. Cloning is O(1).
#[derive(Clone, Debug)]
pub(crate) struct Roster {
    limits: EpochLimits,
    budget: usize,
    seats: OrdMap<NodeId, Seat>,
    candidates: Candidates,
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
        let mut roster = Self {
            limits,
            budget,
            seats: OrdMap::new(),
            candidates: Candidates::default(),
            voters: Arc::default(),
            decision: None,
        };
        nodes.for_each(|node| roster.admit(node, Seat::default()));
        roster.seat(Epoch(0));
        roster
    }

    fn admit(&mut self, node: NodeId, seat: Seat) {
        self.seats.insert(node, seat);
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

    pub(crate) const fn candidates(&self) -> &Candidates {
        &self.candidates
    }

    /// Whether it was a learner once, and is none any more without ever having had a vote: nothing of it is taken.
    pub(crate) fn is_lapsed(&self, node: &NodeId) -> bool {
        let is_learner = || self.candidates.of(node).is_some_and(|candidate| candidate.learner.is_some());
        self.seats.get(node).is_some_and(|seat| seat.from.is_none()) && !is_learner()
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

    /// Whether somebody may ask for a seat; `members` are all that have or had one, with their names and addresses.
    pub(crate) fn check_join<'a>(
        &self,
        node: NodeId,
        request: &Request,
        heights: (Height, Height),
        members: impl Iterator<Item = (NodeId, &'a str, &'a str)>,
    ) -> Result<(), TransactionError> {
        self.candidates.check_request(node, request, heights)?;
        for (member, name, address) in members {
            if !self.is_lapsed(&member) {
                check_fresh(node, request, member, (name, address))?;
            }
        }
        if let Some(node) = request.replaces.filter(|old| !self.may_be_replaced(old)) {
            return Err(TransactionError::NodeUnknown { node });
        }
        if self.seats.len() + self.candidates.len() >= VALIDATORS_MAX {
            return Err(TransactionError::SeatsFull { max: VALIDATORS_MAX });
        }
        Ok(())
    }

    fn may_be_replaced(&self, node: &NodeId) -> bool {
        self.is_voter(node) && self.seats[node].until.is_none()
    }

    /// Whether a validator may approve of a request.
    pub(crate) fn check_approval(&self, voter: NodeId, node: NodeId, since: Height) -> Result<(), TransactionError> {
        self.check_voter(voter)?;
        self.candidates.check_approval(voter, node, since)
    }

    pub(crate) const fn candidates_mut(&mut self) -> &mut Candidates {
        &mut self.candidates
    }

    /// A new block begins: what the last one decided is told.
    pub(crate) fn begin(&mut self) {
        self.decision = None;
        self.candidates.begin();
    }

    /// Ends the block at hand, which follows the one that led to the state with the root of `mark`.
    pub(crate) fn settle(&mut self, tree: &mut Tree, verdicts: &Verdicts, mark: Mark, now: Now) -> Turnover {
        self.condemn(tree, verdicts, now);
        self.candidates.mark(tree, mark);
        let learners = self.promote(tree, now);
        let epoch = self.limits.epoch_of(now.height);
        if now.height == self.limits.decides_in(epoch) {
            let decision = self.decide(epoch.after(), verdicts, now, &[]);
            for (node, _) in &decision.going {
                self.amend(tree, *node, |seat| seat.until = Some(decision.epoch));
            }
            for node in &decision.coming {
                self.candidates.seat(tree, *node);
                self.amend(tree, *node, |seat| seat.from = Some(decision.epoch));
            }
            self.decision = Some(Arc::new(decision));
        }
        let (mut gone, mut came) = (Vec::new(), Vec::new());
        if now.height == self.limits.last_of(epoch) {
            let before = self.voters.clone();
            self.seat(epoch.after());
            gone.extend(before.iter().filter(|node| !self.is_voter(node)));
            came.extend(self.voters.iter().filter(|node| before.binary_search(node).is_err()));
        }
        self.lapse(tree, now);
        Turnover { learners, gone, came }
    }

    /// Makes those learners of whom enough approve: a quorum, or the one that is to be replaced.
    fn promote(&mut self, tree: &mut Tree, now: Now) -> Vec<(NodeId, Request)> {
        let is_enough = |candidate: &Candidate| match candidate.request.replaces {
            Some(old) => candidate.approvals.contains(&old),
            None => {
                let approving = candidate.approvals.iter().filter(|node| self.is_voter(node)).count();
                approving >= quorum(self.voters.len())
            }
        };
        let waiting = |candidate: &Candidate| candidate.learner.is_none() && !candidate.is_withdrawn;
        let due = self.candidates.iter().filter(|(_, candidate)| waiting(candidate) && is_enough(candidate));
        let mut due: Vec<(Height, NodeId, Request)> =
            due.map(|(node, candidate)| (candidate.since, *node, candidate.request.clone())).collect();
        due.sort_unstable_by_key(|(since, node, _)| (*since, *node));
        due.into_iter()
            .map(|(_, node, request)| {
                self.candidates.promote(tree, node, now);
                self.admit(node, Seat::LEARNER);
                self.amend(tree, node, |_| ());
                (node, request)
            })
            .collect()
    }

    fn lapse(&mut self, tree: &mut Tree, now: Now) {
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.lapse(tree, now, |request| request.replaces.is_none_or(|old| self.may_be_replaced(&old)));
        self.candidates = candidates;
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

    /// Who votes in `epoch`, as far as can be told now, if `wanted` were to happen as well.
    pub(crate) fn decide(&self, epoch: Epoch, verdicts: &Verdicts, now: Now, wanted: &[Transition]) -> Decision {
        let mut draft = Draft::new(self, verdicts, self.voting_in(epoch));
        let mut decision =
            Decision { epoch, voters: Vec::new(), going: Vec::new(), coming: Vec::new(), postponed: Vec::new() };
        for transition in self.due(&draft.voters, now, wanted) {
            // Nobody goes twice: who leaves may be replaced before, and who is removed gives its place to nobody any more.
            if draft.is_past(&transition) {
                continue;
            }
            // What is only wanted is foreseen as if its learner were level by then.
            let is_wanted = wanted.contains(&transition);
            let is_level = |node| self.candidates.of(&node).is_some_and(|candidate| candidate.is_level(now.height));
            let is_behind = transition.comes().is_some_and(|node| !is_wanted && !is_level(node));
            let obstacle = if is_behind { Some(Postponed::Behind) } else { draft.obstacle(&transition) };
            if let Some(obstacle) = obstacle {
                decision.postponed.push((transition, obstacle));
                continue;
            }
            draft.make(&transition);
            match transition {
                Transition::Goes(node, departure) => decision.going.push((node, departure)),
                Transition::Comes(node) => decision.coming.push(node),
                Transition::Replaces { new, old } => {
                    decision.going.push((old, Departure::Replaced));
                    decision.coming.push(new);
                }
            }
        }
        Decision { voters: draft.voters, ..decision }
    }

    /// What is to change, in the order in which it may: first who has not answered for longest, then who was approved
    /// first, then who asked first to leave. Those who come stand before those who leave, as it takes some to come before
    /// others can go where the set is as small as it may be.
    fn due(&self, voters: &[NodeId], now: Now, wanted: &[Transition]) -> Vec<Transition> {
        let is_due = |since: Timestamp| since.after(self.limits.remove_after_ms) <= now.lease_time;
        let seats = || voters.iter().map(|node| (*node, self.seats[node]));
        let mut removed: Vec<(Timestamp, NodeId)> = seats()
            .filter_map(|(node, seat)| seat.condemned.filter(|since| is_due(*since)).map(|since| (since, node)))
            .collect();
        removed.sort_unstable();
        let mut leaving: Vec<(Height, NodeId)> =
            seats().filter_map(|(node, seat)| seat.leaving.map(|since| (since, node))).collect();
        leaving.sort_unstable();
        let removed = removed.into_iter().map(|(_, node)| Transition::Goes(node, Departure::Removed));
        let came = self.candidates.learners().into_iter().map(|(new, learner)| match learner.request.replaces {
            Some(old) => Transition::Replaces { new, old },
            None => Transition::Comes(new),
        });
        let left = leaving.into_iter().map(|(_, node)| Transition::Goes(node, Departure::Left));
        let mut due: Vec<Transition> = Vec::new();
        for transition in removed.chain(came).chain(left).chain(wanted.iter().copied()) {
            if due.iter().all(|other| other.node() != transition.node()) {
                due.push(transition);
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
        let (Some(&SEAT), 33) = (key.first(), key.len()) else {
            return self.candidates.restore(entry, (key, value), &self.seats);
        };
        let seat = match Seat::decode(value) {
            Ok(seat) => seat,
            Err(error) => return Some(Err(StateError::Value { entry, error })),
        };
        let node = id_of(key);
        let is_fault = match (seat.from, seat.until) {
            (Some(from), Some(until)) => until <= from,
            (None, Some(_)) => true,
            (_, None) => seat == Seat::default(),
        };
        if is_fault {
            return Some(Err(StateError::Standing { node, what: "has a seat that could not have become" }));
        }
        Some(self.seats.get_mut(&node).map(|kept| *kept = seat).ok_or(StateError::Key { entry }))
    }

    /// A validator's entry comes before that of its seat.
    pub(crate) fn restore_validator(&mut self, node: NodeId) {
        self.admit(node, Seat::default());
    }

    /// All entries are there: what the genesis says, and who votes on the block after `height`.
    pub(crate) fn finish(&mut self, limits: EpochLimits, budget: usize, height: Height) {
        (self.limits, self.budget) = (limits, budget);
        self.seat(limits.epoch_of(height.after(1)));
    }

    /// Who has a seat and no vote on the next block: that of a learner, or one that was given up.
    pub(crate) fn without_vote(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.seats.keys().filter(|node| !self.is_voter(node)).copied()
    }
}

/// A set of voters in the making.
struct Draft<'a> {
    roster: &'a Roster,
    verdicts: &'a Verdicts,
    /// In the order of keys.
    voters: Vec<NodeId>,
    answering: usize,
    changes: usize,
    changes_max: usize,
}

impl<'a> Draft<'a> {
    fn new(roster: &'a Roster, verdicts: &'a Verdicts, voters: Vec<NodeId>) -> Self {
        let changes_max = faults(voters.len()).max(1);
        let mut draft = Self { roster, verdicts, voters, answering: 0, changes: 0, changes_max };
        draft.answering = draft.voters.iter().filter(|node| draft.answers(node)).count();
        draft
    }

    fn answers(&self, node: &NodeId) -> bool {
        !self.verdicts.unresponsive().contains(node)
    }

    /// Whether who is to go has no vote any more, or who is to come has one.
    fn is_past(&self, transition: &Transition) -> bool {
        let votes = |node: &NodeId| self.voters.binary_search(node).is_ok();
        transition.goes().is_some_and(|node| !votes(&node)) || transition.comes().is_some_and(|node| votes(&node))
    }

    /// How many there would be after that, and how many of them that can be counted on.
    fn after(&self, transition: &Transition) -> (usize, usize) {
        let (goes, comes) = (transition.goes(), transition.comes());
        let left = self.voters.len() + usize::from(comes.is_some()) - usize::from(goes.is_some());
        let is_missed = goes.is_some_and(|node| self.answers(&node));
        let is_counted_on = comes.is_some() && faults(left) == 0;
        (left, self.answering + usize::from(is_counted_on) - usize::from(is_missed))
    }

    fn obstacle(&self, transition: &Transition) -> Option<Postponed> {
        let (n, (left, answering)) = (self.voters.len(), self.after(transition));
        let (needed, slack_min) = (3 * self.roster.budget + 1, self.roster.limits.slack_min);
        let costs_slack = answering < self.answering || quorum(left) > quorum(n);
        if left < n && left < needed {
            Some(Postponed::Budget { left, needed, budget: self.roster.budget })
        } else if costs_slack && answering < quorum(left) + slack_min {
            Some(Postponed::Slack { answering, left, quorum: quorum(left), slack_min })
        } else if self.changes == self.changes_max {
            Some(Postponed::Pace { max: self.changes_max })
        } else {
            None
        }
    }

    fn make(&mut self, transition: &Transition) {
        (_, self.answering) = self.after(transition);
        self.changes += 1;
        self.voters.retain(|voter| Some(*voter) != transition.goes());
        if let Some(node) = transition.comes() {
            let place = self.voters.partition_point(|voter| *voter < node);
            self.voters.insert(place, node);
        }
    }
}

/// Whether what `node` wants to be called and reached at is nobody else's. The address of whom it replaces may be.
fn check_fresh(
    node: NodeId,
    request: &Request,
    other: NodeId,
    (name, address): (&str, &str),
) -> Result<(), TransactionError> {
    let taken = |field, value: &str| Err(TransactionError::Taken { field, value: value.to_owned(), by: other });
    if node == other {
        return taken("key", &node.to_string());
    }
    if request.name == name {
        return taken("name", name);
    }
    if request.address == address && request.replaces != Some(other) {
        return taken("address", address);
    }
    Ok(())
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
        write_option(self.from.as_ref(), out);
        write_option(self.until.as_ref(), out);
        write_option(self.leaving.as_ref(), out);
        write_option(self.condemned.as_ref(), out);
        self.next.write(out);
    }
}

impl Decode for Seat {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            from: read_option(r, "whether a validator ever has a vote")?,
            until: read_option(r, "whether a validator goes")?,
            leaving: read_option(r, "whether a validator leaves")?,
            condemned: read_option(r, "whether a quorum holds a validator unresponsive")?,
            next: Sequence::read(r)?,
        })
    }
}

#[cfg(test)]
mod tests;
