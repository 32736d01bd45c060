//! What do enough of us say about a node?
//!
//! A validator says of another what is wrong with it, and takes it back when it is not so any more: one standing
//! statement for each pair. Once more than f different ones stand against a validator, at least one honest validator is
//! among them, and in that very block it is *unresponsive*: its leases move, and it gets no new ones. So f liars never
//! bring down anybody, whatever they say and however often; and f that stay silent cannot keep a verdict from coming,
//! since n - 2f > f honest ones are left to say it.
//!
//! The effect is reversible, and no vote of anybody depends on it. Who was said to be gone (link, process, consensus)
//! comes back by its own [`Alive`](crate::Kind::Alive), which nobody else can sign. Who was said to be sick (executor,
//! disk, clock) comes back when no more than f say so any more. Either way not before a *dwell*, which doubles with each
//! verdict of the last ten minutes, so that a node that flaps moves tasks once a minute and not every second. What comes
//! back is on *trial*: it holds one lease at a time until it led and completed enough.
//!
//! **When more than f are unresponsive at once** it is the network that failed. What is leased moves all the same, since
//! that is harmless where it is wrong, but nobody is on trial for it, and beyond the first f nobody's reputation suffers.
//! Who was unresponsive at any time during such an event needs no trial, however it began for them.
//!
//! **Every suspicion counts one.** Those whose suspicions keep ending without others agreeing are shown for what they
//! are ([`Standing::diverged`]), and that weighs nothing here: a weight would be one more thing to be gamed.
//!
//! Statements are numbered for each pair like the transactions of an account, so none takes effect twice, and `Alive`
//! names the verdict that it answers. A statement that is not repeated lapses, so that a crashed accuser's does not
//! stand for ever. All times are lease time: a halt neither ends a dwell nor a statement.
//!
//! - `statement`: what one says about another
//! - `record`: how a validator stands and what became of it

mod record;
mod statement;

pub use record::{Accusers, CHANGES_MAX, Change, Phase, Standing, Status, TRIAL, Turn, Verdict};
pub use statement::{Accusation, Evidence, Reason, STANDS_MS, Suspicion};

use crate::{
    codec::{Decode as _, Encode as _},
    genesis::VALIDATORS_MAX,
    state::{StateError, TransactionError},
    tasks::Now,
    tree::Tree,
    types::{NodeId, PublicKey, Sequence, Timestamp, VerdictNumber, faults, quorum},
};
use imbl::{OrdMap, OrdSet};
use record::Record;
use statement::{Statement, most_frequent};
use std::{collections::BTreeSet, sync::Arc};

/// The first byte of a key, beside those of `state` and `tasks`.
pub(crate) const RECORD: u8 = 7;
pub(crate) const STATEMENT: u8 = 8;

/// How long a verdict stands at least, if it is the first in a while: long enough for the leases to be at work elsewhere.
pub const DWELL_MS_MIN: u32 = 2_000;

/// How long a verdict stands at least, at most.
pub const DWELL_MS_MAX: u32 = 60_000;

/// Verdicts of so many milliseconds of lease time double the dwell.
const DWELL_MEMORY_MS: u64 = 600_000;

/// Statements that lapse in one block; the rest waits for the next. All validators about all others are a million.
const LAPSED_PER_BLOCK_MAX: usize = 4_096;

/// A pair that a statement is about: the accused, then the accuser.
type Pair = (NodeId, NodeId);

/// What validators say of each other, and what follows from it. All but `changes` is in the entries. Cloning is O(1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdicts {
    /// All that have or had a seat, by its number.
    nodes: Arc<Vec<NodeId>>,
    /// How many of them have a vote.
    voters: usize,
    records: OrdMap<NodeId, Arc<Record>>,
    statements: OrdMap<Pair, Statement>,
    /// How many suspicions stand against whom; nobody against whom none does.
    against: OrdMap<NodeId, usize>,
    /// Standing suspicions by the time at which they lapse.
    lapses: OrdSet<(Timestamp, Pair)>,
    unresponsive: OrdSet<NodeId>,
    /// What the last block changed, in order. Not part of the state's root.
    changes: Arc<Vec<(NodeId, Change)>>,
}

impl Verdicts {
    /// Nobody has said anything yet.
    pub(crate) fn new(nodes: impl Iterator<Item = NodeId>) -> Self {
        let mut verdicts = Self {
            nodes: Arc::default(),
            voters: 0,
            records: OrdMap::new(),
            statements: OrdMap::new(),
            against: OrdMap::new(),
            lapses: OrdSet::new(),
            unresponsive: OrdSet::new(),
            changes: Arc::default(),
        };
        let mut nodes: Vec<NodeId> = nodes.collect();
        nodes.sort_unstable();
        for node in nodes {
            verdicts.admit(node);
        }
        verdicts.voters = verdicts.nodes.len();
        verdicts
    }

    /// Gives the next seat to somebody. Who had one before keeps that.
    pub(crate) fn admit(&mut self, node: NodeId) -> u32 {
        let place = self.nodes.iter().position(|other| *other == node).unwrap_or_else(|| {
            Arc::make_mut(&mut self.nodes).push(node);
            self.records.insert(node, Arc::default());
            self.nodes.len() - 1
        });
        u32::try_from(place).expect("at most VALIDATORS_MAX")
    }

    pub(crate) fn changes(&self) -> &[(NodeId, Change)] {
        &self.changes
    }

    pub(crate) fn status(&self, node: &NodeId) -> Option<&Status> {
        self.records.get(node).map(|record| &record.status)
    }

    pub(crate) fn phase(&self, node: &NodeId) -> Phase {
        self.status(node).map_or(Phase::Active, Status::phase)
    }

    pub(crate) fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    pub(crate) fn is_drained(&self, node: &NodeId) -> bool {
        self.records.get(node).is_some_and(|record| record.drained.is_some())
    }

    pub(crate) const fn unresponsive(&self) -> &OrdSet<NodeId> {
        &self.unresponsive
    }

    pub(crate) fn is_network_event(&self) -> bool {
        self.unresponsive.len() > self.faults()
    }

    pub(crate) fn standing(&self, node: &NodeId) -> Option<Standing> {
        let record = self.records.get(node)?;
        Some(Standing {
            node: *node,
            status: record.status.clone(),
            drained: record.drained,
            accusations: self.accusations(*node).collect(),
            diverged: record.diverged,
            verdicts: record.verdicts,
            next_drain_sequence: record.drains,
            history: record.history.clone(),
        })
    }

    pub(crate) fn is_candidate_for_removal(&self, node: &NodeId) -> bool {
        // A single validator cannot be accused by anybody, and its quorum is one.
        self.count_against(node) >= quorum(self.voters)
    }

    pub(crate) fn next_sequence(&self, accuser: &NodeId, accused: &NodeId) -> Sequence {
        self.statements.get(&(*accused, *accuser)).map_or(Sequence(0), |statement| statement.next)
    }

    pub(crate) fn members<'a>(&'a self, accusers: &'a Accusers) -> impl Iterator<Item = NodeId> + 'a {
        accusers.positions().filter_map(|position| self.nodes.get(position).copied())
    }

    fn faults(&self) -> usize {
        faults(self.voters)
    }

    fn count_against(&self, node: &NodeId) -> usize {
        self.against.get(node).copied().unwrap_or(0)
    }

    fn accusations(&self, accused: NodeId) -> impl Iterator<Item = Accusation> + '_ {
        let of_this =
            self.statements.range((accused, PublicKey::ZERO)..).take_while(move |((of, _), _)| *of == accused);
        of_this.filter_map(|((_, accuser), statement)| {
            statement.standing.map(|suspicion| Accusation { accuser: *accuser, suspicion })
        })
    }
}

/// What may be said.
impl Verdicts {
    /// Whether `accuser` may say something about `accused` under this number.
    pub(crate) fn check_statement(
        &self,
        accuser: NodeId,
        accused: NodeId,
        got: Sequence,
    ) -> Result<(), TransactionError> {
        self.check_validator(accuser)?;
        if accuser == accused {
            return Err(TransactionError::AboutOneself);
        }
        check_sequence(self.next_sequence(&accuser, &accused), got)
    }

    /// Whether there is anything to take back.
    pub(crate) fn check_withdrawal(&self, accuser: NodeId, accused: NodeId) -> Result<(), TransactionError> {
        match self.statements.get(&(accused, accuser)) {
            Some(Statement { standing: Some(_), .. }) => Ok(()),
            Some(_) | None => Err(TransactionError::NothingToWithdraw { node: accused }),
        }
    }

    /// Whether a validator may answer that verdict in the block after `lease_time`.
    pub(crate) fn check_alive(
        &self,
        node: NodeId,
        got: VerdictNumber,
        lease_time: Timestamp,
    ) -> Result<(), TransactionError> {
        let record = self.check_validator(node)?;
        if got > record.verdicts {
            return Err(TransactionError::AliveAhead { got });
        }
        match &record.status {
            Status::Unresponsive(verdict) if verdict.number == got => check_answer(verdict, lease_time),
            Status::Unresponsive(_) | Status::Active | Status::Trial { .. } => {
                Err(TransactionError::AliveStale { got, last: record.verdicts, now: record.status.phase().name() })
            }
        }
    }

    /// Whether a validator may say that it is drained from now on, or is not any more.
    pub(crate) fn check_drain(&self, node: NodeId, is_drain: bool, got: Sequence) -> Result<(), TransactionError> {
        let record = self.check_validator(node)?;
        check_sequence(record.drains, got)?;
        match (is_drain, record.drained) {
            (true, Some(since)) => Err(TransactionError::DrainedAlready { since }),
            (false, None) => Err(TransactionError::NotDrained),
            (true, None) | (false, Some(_)) => Ok(()),
        }
    }

    pub(crate) fn check_validator(&self, account: NodeId) -> Result<&Record, TransactionError> {
        self.records.get(&account).map(|record| &**record).ok_or(TransactionError::NotAValidator { account })
    }
}

/// What is said, after it was checked.
impl Verdicts {
    pub(crate) fn suspect(&mut self, tree: &mut Tree, pair: Pair, (reason, evidence): (Reason, Evidence), now: Now) {
        let mut statement = self.statements.get(&pair).copied().unwrap_or_default();
        let before = self.lift(pair, &mut statement);
        let joins = matches!(self.status(&pair.0), Some(Status::Unresponsive(_)));
        let until = now.lease_time.after(STANDS_MS);
        statement.standing = Some(Suspicion {
            reason,
            evidence,
            since: before.map_or(now.height, |suspicion| suspicion.since),
            until,
            has_agreed: joins || before.is_some_and(|suspicion| suspicion.has_agreed),
        });
        statement.next = statement.next.after();
        *self.against.entry(pair.0).or_insert(0) += 1;
        self.lapses.insert((until, pair));
        self.store_statement(tree, pair, statement);
    }

    pub(crate) fn withdraw(&mut self, tree: &mut Tree, pair: Pair) {
        let statement = self.statements[&pair];
        let next = statement.next.after();
        self.clear(tree, pair, Statement { next, ..statement });
    }

    /// The accused speaks: it is back, and what was said of it is answered.
    pub(crate) fn alive(&mut self, tree: &mut Tree, node: NodeId, now: Now) {
        let answered: Vec<NodeId> = self.accusations(node).map(|accusation| accusation.accuser).collect();
        for accuser in answered {
            let pair = (node, accuser);
            self.clear(tree, pair, self.statements[&pair]);
        }
        self.bring_back(tree, node, now);
    }

    pub(crate) fn drain(&mut self, tree: &mut Tree, node: NodeId, is_drain: bool, now: Now) {
        let turn = if is_drain { Turn::Drained } else { Turn::Undrained };
        self.amend(tree, node, |record| {
            record.drained = is_drain.then_some(now.height);
            record.drains = record.drains.after();
        });
        self.tell(node, now, turn);
    }

    /// A validator led a block or completed a task, which is what a trial consists of.
    pub(crate) fn prove(&mut self, tree: &mut Tree, node: NodeId, now: Now) {
        match self.status(&node) {
            Some(Status::Trial { left: 1 }) => self.turn(tree, node, Status::Active, Turn::Active, now),
            Some(Status::Trial { left }) => {
                let left = left - 1;
                self.amend(tree, node, |record| record.status = Status::Trial { left });
            }
            Some(Status::Active | Status::Unresponsive(_)) | None => {}
        }
    }
}

/// What follows at the end of a block.
impl Verdicts {
    /// A new block begins: what the last one changed is told.
    pub(crate) fn begin(&mut self) {
        self.changes = Arc::default();
    }

    /// Ends the block at hand, which `leader` led. The answer is who was found unresponsive and has nobody else to blame.
    pub(crate) fn settle(&mut self, tree: &mut Tree, now: Now, leader: NodeId) -> Vec<NodeId> {
        self.prove(tree, leader, now);
        self.lapse(tree, now);
        let blamed = self.pronounce(tree, now);
        self.release(tree, now);
        blamed
    }

    fn lapse(&mut self, tree: &mut Tree, now: Now) {
        let passed = self.lapses.range(..(now.lease_time, (PublicKey::ZERO, PublicKey::ZERO)));
        let due: Vec<Pair> = passed.map(|(_, pair)| *pair).take(LAPSED_PER_BLOCK_MAX).collect();
        for pair in due {
            self.clear(tree, pair, self.statements[&pair]);
        }
    }

    /// Finds those unresponsive of whom more than f say so. Where there are several, the smaller keys come first.
    fn pronounce(&mut self, tree: &mut Tree, now: Now) -> Vec<NodeId> {
        let mut blamed = Vec::new();
        let f = self.faults();
        let enough = self.against.iter().filter(|(_, count)| **count > f);
        let due: Vec<NodeId> = enough.map(|(node, _)| *node).filter(|node| !self.unresponsive.contains(node)).collect();
        for node in due {
            let verdict = self.verdict(node, now);
            let is_network_event = verdict.is_network_event;
            self.unresponsive.insert(node);
            self.amend(tree, node, |record| record.verdicts = verdict.number);
            self.turn(tree, node, Status::Unresponsive(verdict.clone()), Turn::Unresponsive(verdict), now);
            self.agree(tree, node);
            if is_network_event {
                self.waive_trials(tree);
            } else {
                blamed.push(node);
            }
        }
        blamed
    }

    fn verdict(&self, node: NodeId, now: Now) -> Verdict {
        let record = &self.records[&node];
        let accusations: Vec<Accusation> = self.accusations(node).collect();
        let reasons: Vec<Reason> = accusations.iter().map(|accusation| accusation.suspicion.reason).collect();
        let is_network_event = self.unresponsive.len() >= self.faults();
        let accusers: BTreeSet<NodeId> = accusations.iter().map(|accusation| accusation.accuser).collect();
        let places = self.nodes.iter().zip(0..).filter(|(node, _)| accusers.contains(node)).map(|(_, place)| place);
        Verdict {
            number: record.verdicts.after(),
            height: now.height,
            at: now.lease_time,
            dwell_ms: dwell_ms(&record.history, now.lease_time),
            reason: most_frequent(&reasons).expect("a verdict has accusers"),
            is_network_event,
            is_trial_waived: is_network_event,
            accusers: Accusers::of(self.nodes.len(), places),
        }
    }

    /// Notes with every suspicion against a validator that others share it.
    fn agree(&mut self, tree: &mut Tree, accused: NodeId) {
        let accusations: Vec<Accusation> = self.accusations(accused).collect();
        for Accusation { accuser, suspicion } in accusations.into_iter().filter(|it| !it.suspicion.has_agreed) {
            let (pair, standing) = ((accused, accuser), Some(Suspicion { has_agreed: true, ..suspicion }));
            self.store_statement(tree, pair, Statement { standing, ..self.statements[&pair] });
        }
    }

    /// In a network event nobody who is unresponsive is to blame for it any more.
    fn waive_trials(&mut self, tree: &mut Tree) {
        for node in self.unresponsive.clone() {
            let is_due = matches!(self.status(&node), Some(Status::Unresponsive(verdict)) if !verdict.is_trial_waived);
            if is_due {
                self.amend(tree, node, |record| {
                    if let Status::Unresponsive(verdict) = &mut record.status {
                        verdict.is_trial_waived = true;
                    }
                });
            }
        }
    }

    /// Lets those back who were said to be sick, and are not by enough any more.
    fn release(&mut self, tree: &mut Tree, now: Now) {
        let f = self.faults();
        let is_due = |node: &&NodeId| match self.status(node) {
            Some(Status::Unresponsive(verdict)) => {
                !verdict.reason.is_refuted_by_speaking()
                    && verdict.dwells_ms(now.lease_time) == 0
                    && self.count_against(node) <= f
            }
            Some(Status::Active | Status::Trial { .. }) | None => false,
        };
        let due: Vec<NodeId> = self.unresponsive.iter().filter(is_due).copied().collect();
        due.into_iter().for_each(|node| self.bring_back(tree, node, now));
    }

    fn bring_back(&mut self, tree: &mut Tree, node: NodeId, now: Now) {
        let is_waived = matches!(self.status(&node), Some(Status::Unresponsive(verdict)) if verdict.is_trial_waived);
        self.unresponsive.remove(&node);
        let (status, turn) =
            if is_waived { (Status::Active, Turn::Active) } else { (Status::Trial { left: TRIAL }, Turn::Trial) };
        self.turn(tree, node, status, turn, now);
    }
}

/// What follows from a change of the set of validators.
impl Verdicts {
    /// So many have a vote from here on.
    pub(crate) const fn set_voters(&mut self, voters: usize) {
        self.voters = voters;
    }

    /// A validator votes from here on for the first time: it has yet to show that it is there.
    pub(crate) fn begin_trial(&mut self, tree: &mut Tree, node: NodeId, now: Now) {
        self.turn(tree, node, Status::Trial { left: TRIAL }, Turn::Trial, now);
    }

    /// A validator's vote is gone: nothing that it says stands, and nothing that is said of it.
    pub(crate) fn retire(&mut self, tree: &mut Tree, node: NodeId) {
        let about = |(accused, accuser): &&Pair| *accused == node || *accuser == node;
        let pairs: Vec<Pair> = self.statements.keys().filter(about).copied().collect();
        for pair in pairs {
            let mut statement = self.statements[&pair];
            if self.lift(pair, &mut statement).is_some() {
                self.store_statement(tree, pair, statement);
            }
        }
        if self.unresponsive.remove(&node).is_some() {
            self.amend(tree, node, |record| record.status = Status::Active);
        }
    }
}

/// How it is kept.
impl Verdicts {
    /// A change of status, which the history remembers.
    fn turn(&mut self, tree: &mut Tree, node: NodeId, status: Status, turn: Turn, now: Now) {
        let change = Change { height: now.height, at: now.lease_time, turn: turn.clone() };
        self.amend(tree, node, |record| {
            record.status = status;
            record.remember(change);
        });
        self.tell(node, now, turn);
    }

    fn tell(&mut self, node: NodeId, now: Now, turn: Turn) {
        Arc::make_mut(&mut self.changes).push((node, Change { height: now.height, at: now.lease_time, turn }));
    }

    fn amend(&mut self, tree: &mut Tree, node: NodeId, change: impl FnOnce(&mut Record)) {
        let record = Arc::make_mut(self.records.get_mut(&node).expect("checked to be a validator"));
        change(record);
        tree.insert(&record_key(&node), &record.encode());
    }

    /// Ends what stands between a pair, and counts it where nobody ever agreed.
    fn clear(&mut self, tree: &mut Tree, pair: Pair, mut statement: Statement) {
        let ended = self.lift(pair, &mut statement);
        self.store_statement(tree, pair, statement);
        if ended.is_some_and(|suspicion| !suspicion.has_agreed) {
            self.amend(tree, pair.1, |record| record.diverged = record.diverged.saturating_add(1));
        }
    }

    /// Takes what stands between a pair out of all that counts it.
    fn lift(&mut self, pair: Pair, statement: &mut Statement) -> Option<Suspicion> {
        let lifted = statement.standing.take()?;
        self.lapses.remove(&(lifted.until, pair));
        match self.against.get_mut(&pair.0) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => drop(self.against.remove(&pair.0)),
        }
        Some(lifted)
    }

    fn store_statement(&mut self, tree: &mut Tree, pair: Pair, statement: Statement) {
        self.statements.insert(pair, statement);
        tree.insert(&statement_key(&pair), &statement.encode());
    }
}

/// From entries to what follows from them.
impl Verdicts {
    /// Takes over one entry of a checkpoint, if it is of this module; `None` if it is not.
    pub(crate) fn restore(&mut self, entry: usize, key: &[u8], value: &[u8]) -> Option<Result<(), StateError>> {
        match (key.first(), key.len()) {
            (Some(&RECORD), 33) => Some(self.restore_record(entry, node_of(&key[1..]), value)),
            (Some(&STATEMENT), 65) => {
                Some(self.restore_statement(entry, (node_of(&key[1..33]), node_of(&key[33..])), value))
            }
            _ => None,
        }
    }

    /// A validator's entry comes before those of this module. Whether each seat was given once is checked by
    /// [`Self::finish`].
    pub(crate) fn restore_validator(&mut self, node: NodeId, place: u32) {
        let (nodes, place) = (Arc::make_mut(&mut self.nodes), place as usize);
        if nodes.len() <= place {
            nodes.resize(place.min(VALIDATORS_MAX) + 1, PublicKey::ZERO);
        }
        if let Some(seat) = nodes.get_mut(place) {
            *seat = node;
        }
        self.records.insert(node, Arc::default());
    }

    /// All entries are there.
    pub(crate) fn finish(&mut self, voters: usize) -> Result<(), StateError> {
        self.voters = voters;
        let is_whole = self.nodes.len() == self.records.len() && !self.nodes.contains(&PublicKey::ZERO);
        let last = self.nodes.last().copied().unwrap_or(PublicKey::ZERO);
        if is_whole { Ok(()) } else { Err(StateError::Standing { node: last, what: "has a seat that is not its own" }) }
    }

    fn restore_record(&mut self, entry: usize, node: NodeId, value: &[u8]) -> Result<(), StateError> {
        let record = Record::decode(value).map_err(|error| StateError::Value { entry, error })?;
        if let Some(what) = record.fault(self.nodes.len()) {
            return Err(StateError::Standing { node, what });
        }
        if matches!(record.status, Status::Unresponsive(_)) {
            self.unresponsive.insert(node);
        }
        *self.records.get_mut(&node).ok_or(StateError::Key { entry })? = Arc::new(record);
        Ok(())
    }

    fn restore_statement(&mut self, entry: usize, pair: Pair, value: &[u8]) -> Result<(), StateError> {
        let statement = Statement::decode(value).map_err(|error| StateError::Value { entry, error })?;
        let (accused, accuser) = pair;
        let are_validators = self.records.contains_key(&accused) && self.records.contains_key(&accuser);
        if !are_validators || accused == accuser {
            return Err(StateError::Key { entry });
        }
        if let Some(suspicion) = statement.standing {
            *self.against.entry(accused).or_insert(0) += 1;
            self.lapses.insert((suspicion.until, pair));
        }
        self.statements.insert(pair, statement);
        Ok(())
    }
}

pub(crate) fn check_sequence(expected: Sequence, got: Sequence) -> Result<(), TransactionError> {
    match got.cmp(&expected) {
        std::cmp::Ordering::Less => Err(TransactionError::SequenceTooLow { expected, got }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(TransactionError::SequenceTooHigh { expected, got }),
    }
}

fn check_answer(verdict: &Verdict, lease_time: Timestamp) -> Result<(), TransactionError> {
    if !verdict.reason.is_refuted_by_speaking() {
        return Err(TransactionError::AliveOfNoUse { reason: verdict.reason.name() });
    }
    match verdict.dwells_ms(lease_time) {
        0 => Ok(()),
        left => Err(TransactionError::AliveTooEarly { got: verdict.number, left }),
    }
}

/// How long the next verdict stands at least, after these changes.
fn dwell_ms(history: &[Change], now: Timestamp) -> u32 {
    let is_recent = |change: &&Change| change.at.after(DWELL_MEMORY_MS) >= now;
    let recent = history.iter().filter(is_recent).filter(|change| matches!(change.turn, Turn::Unresponsive(_))).count();
    (0..recent).fold(DWELL_MS_MIN, |dwell, _| dwell.saturating_mul(2)).min(DWELL_MS_MAX)
}

fn record_key(node: &NodeId) -> Vec<u8> {
    [&[RECORD], node.as_ref()].concat()
}

fn statement_key((accused, accuser): &Pair) -> Vec<u8> {
    [&[STATEMENT], accused.as_ref(), accuser.as_ref()].concat()
}

fn node_of(bytes: &[u8]) -> NodeId {
    PublicKey(bytes.try_into().expect("32 bytes, as its caller counted"))
}

#[cfg(test)]
mod tests;
