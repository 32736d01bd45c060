//! What is true after the blocks so far?
//!
//! The state is a tree of entries and the tip it belongs to. The root of the tree commits to the chain id, the hash of
//! the genesis, the Byzantine budget, every account, every validator and when it votes, every task, what validators say of
//! each other, what may run, and lease time. Height, digest and timestamp of the last block are *not* in the root: the digest names a block
//! that holds the other two, so whoever restores a state compares them with that block. The root itself is in the block
//! that follows, as its `parent_state_root`.
//!
//! **A transaction that fails makes its block invalid.** The alternative, to include it with its rejection, was
//! refused: there are no fees, so a leader or sender could fill blocks with junk for nothing; and "it is in a block"
//! would no longer mean "it happened". This way every transaction on the chain took effect, exactly once, and its id
//! maps to one place. It costs an honest leader nothing, since it selects with the same code ([`State::check`],
//! [`State::apply_transaction`]) that everybody judges with.
//!
//! **Nothing is created or lost.** The genesis sums up to at most `u64::MAX`, and a transfer takes from one account
//! exactly what it gives to another.

use crate::{
    block::{self, Block},
    codec::{self, Decode, DecodeError, Encode, Reader},
    genesis::{self, Certified, EpochLimits, Genesis, GenesisValidator, TaskLimits},
    releases::{self, Certification},
    reputation::Outcome,
    roster::{Mark, Request, Roster, Turnover},
    tasks::{
        self, Lease, Now, Task, TaskCounts, Tasks,
        balance::Worker,
        order::{Claim, Output, Submission},
    },
    transaction::{self, Kind, Transaction, read_version},
    tree::Tree,
    types::{
        AccountId, Amount, ChainId, Epoch, Hash, Height, NodeId, Nonce, Place, PublicKey, Sequence, TaskId, TaskNumber,
        Timestamp, TxId, VerdictNumber,
    },
    verdicts::{Evidence, Phase, Reason, Verdicts},
};

mod epochs;
mod pieces;
mod rebuild;
mod standing;
mod statistics;

pub use pieces::{ProofError, proven_voters};
pub use rebuild::Rebuild;
pub use statistics::{BalanceStatistics, Share};

use std::collections::BTreeSet;

/// The version of the entries' format, kept in the parameters entry.
pub const VERSION: u16 = 2;

/// The first byte of a key says what is stored under it.
const PARAMETERS: u8 = 0;
const ACCOUNT: u8 = 1;
const VALIDATOR: u8 = 2;

/// What is true after a block. Cloning is O(1), and clones share what they have in common.
#[derive(Clone, Debug)]
pub struct State {
    tree: Tree,
    /// The tree's parameters entry, decoded once: it is compared with every transaction and never changes.
    parameters: Parameters,
    /// What follows from the entries of tasks.
    tasks: Tasks,
    /// What validators say of each other, in the entries as well.
    verdicts: Verdicts,
    /// Who votes when, in the entries as well.
    roster: Roster,
    height: Height,
    digest: Hash,
    timestamp: Timestamp,
}

/// What the chain knows of an account. One that nobody ever gave anything to is all zero and not stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// What it owns.
    pub balance: Amount,
    /// The nonce its next transaction must have: how many took effect.
    pub nonce: Nonce,
}

/// What the chain knows of a validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validator {
    /// What it signs with.
    pub key: PublicKey,
    /// What people call it.
    pub name: String,
    /// Where others reach it, `host:port`.
    pub address: String,
    /// Where it stands.
    pub region: String,
    /// How much work it takes, relative to others.
    pub capacity: u32,
    /// The number of its seat: what [`State::members`] has it at.
    pub place: u32,
}

/// What holds for the chain as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parameters {
    chain: ChainId,
    genesis: Hash,
    byzantine_budget: u32,
    tasks: TaskLimits,
    epochs: EpochLimits,
}

/// Why a transaction cannot take effect here and now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// Of another format.
    #[error("the transaction has version {got}, this chain takes version {expected}")]
    Version {
        /// What this chain takes.
        expected: u16,
        /// What the transaction has.
        got: u16,
    },
    /// For another chain.
    #[error("the transaction is for chain {got}, this is chain {expected}")]
    Chain {
        /// This chain.
        expected: ChainId,
        /// The transaction's.
        got: ChainId,
    },
    /// Too late: it will never take effect.
    #[error("the transaction expired after height {expires}, the next block is {next}")]
    Expired {
        /// The last height at which it could be included.
        expires: Height,
        /// The height at which it would be.
        next: Height,
    },
    /// Another transaction with this nonce took effect: this one never will.
    #[error("the nonce is {got}, but the account's next is already {expected}")]
    NonceTooLow {
        /// The account's next nonce.
        expected: Nonce,
        /// The transaction's.
        got: Nonce,
    },
    /// Others must take effect before it.
    #[error("the nonce is {got}, but the account's next is only {expected}")]
    NonceTooHigh {
        /// The account's next nonce.
        expected: Nonce,
        /// The transaction's.
        got: Nonce,
    },
    /// The account's nonces are used up.
    #[error("the account has used up its nonces at {nonce}")]
    NonceUsedUp {
        /// The last nonce that can be counted.
        nonce: Nonce,
    },
    /// A transfer of nothing. Refused, so that an account that owns nothing cannot write to the chain at all.
    #[error("the amount is 0, a transfer gives at least 1")]
    AmountZero,
    /// More than there is.
    #[error("the account has {has}, the transfer needs {needs}")]
    BalanceTooLow {
        /// What the account owns.
        has: Amount,
        /// What the transaction takes.
        needs: Amount,
    },
    /// More than can be counted. The sum of all balances forbids it; it is checked all the same.
    #[error("the recipient has {has}, and {gets} more cannot be counted")]
    BalanceOverflow {
        /// What the recipient owns.
        has: Amount,
        /// What it would get.
        gets: Amount,
    },
    /// A nonce where none is needed.
    #[error("what speaks of a lease or of a validator carries nonce 0, not {got}: its own number orders it")]
    NonceUnused {
        /// The transaction's.
        got: Nonce,
    },
    /// Who owns nothing cannot write to the chain.
    #[error("the account owns nothing; whoever submits a task owns at least 1")]
    AccountEmpty,
    /// A field of a submission is out of bounds.
    #[error("{field} must be from {min} to {max}, not {got}")]
    TaskField {
        /// Which one.
        field: &'static str,
        /// What it is.
        got: u64,
        /// What it is at least.
        min: u64,
        /// What it is at most.
        max: u64,
    },
    /// The id of a task is kept for a while after it is finished, and that somebody asked for a seat for a while after that
    /// is over; no submission and no request may outlast that.
    #[error("the transaction expires at height {expires}, it must at {max} or earlier")]
    ExpiresTooLate {
        /// When it expires.
        expires: Height,
        /// When it may, at the latest.
        max: Height,
    },
    /// It would fail at once.
    #[error("the deadline is {deadline} ms, and it is {now} ms already")]
    TaskDeadline {
        /// The task's.
        deadline: Timestamp,
        /// The time of the last block.
        now: Timestamp,
    },
    /// The account has a task of that name.
    #[error("the account has a task {id} already, number {number}")]
    TaskExists {
        /// The name.
        id: TaskId,
        /// The task that has it.
        number: TaskNumber,
    },
    /// The account has as many open tasks as it may.
    #[error("the account has {max} open tasks, the most it may have")]
    AccountTasksFull {
        /// How many that is.
        max: u32,
    },
    /// The chain has as much of something as it may.
    #[error("the chain keeps at most {max} {what}, and there is no room for more")]
    TasksFull {
        /// Of what.
        what: &'static str,
        /// How much that is.
        max: u64,
    },
    /// There is more to do than gets done. A caller shows this to whoever submits, who may try again later.
    #[error(
        "{pending} tasks wait for a validator, {max} may, and the oldest has waited for {waited} ms: try again later"
    )]
    PendingFull {
        /// How many wait.
        pending: u64,
        /// How many may.
        max: u64,
        /// For how long the oldest has waited, in milliseconds of lease time.
        waited: u64,
    },
    /// The account has no such task, or it was forgotten.
    #[error("the account has no task {id}")]
    TaskUnknown {
        /// What was named.
        id: TaskId,
    },
    /// Nothing can happen to it any more.
    #[error("task {id} is {state} already")]
    TaskFinished {
        /// Its name.
        id: TaskId,
        /// How it ended.
        state: &'static str,
    },
    /// The lease is over: somebody else may have the task by now, or it is finished.
    #[error("the claim to task {} with token {} has no effect: the task {now}", claim.task, claim.token)]
    LeaseStale {
        /// What was claimed.
        claim: Claim,
        /// How the task stands.
        now: String,
    },
    /// The lease is of a block that is not known here yet.
    #[error("the claim to task {} with token {} is ahead of this state", claim.task, claim.token)]
    LeaseAhead {
        /// What was claimed.
        claim: Claim,
    },
    /// The lease is another validator's.
    #[error("task {} is leased to {holder} with token {}, not to {got}", claim.task, claim.token)]
    NotTheHolder {
        /// What was claimed.
        claim: Claim,
        /// Whose it is.
        holder: NodeId,
        /// Who claimed it.
        got: NodeId,
    },
    /// Most of the lease is still to come.
    #[error("the lease of task {} still lasts {left} ms, it is renewed when a quarter of it is over", claim.task)]
    RenewalTooEarly {
        /// What was claimed.
        claim: Claim,
        /// What is left of it, in milliseconds.
        left: u64,
    },
    /// Only validators speak of validators.
    #[error("{account} is no validator, and only validators say this")]
    NotAValidator {
        /// Who said it.
        account: PublicKey,
    },
    /// A validator speaks of another one.
    #[error("a validator neither suspects nor clears itself")]
    AboutOneself,
    /// No validator has this key.
    #[error("{node} is no validator, so there is nothing to say of it")]
    NodeUnknown {
        /// Of whom something was said.
        node: NodeId,
    },
    /// A word with this number took effect: this one never will.
    #[error("the sequence is {got}, but the next one is already {expected}")]
    SequenceTooLow {
        /// The next one.
        expected: Sequence,
        /// The transaction's.
        got: Sequence,
    },
    /// Others must take effect before it.
    #[error("the sequence is {got}, but the next one is only {expected}")]
    SequenceTooHigh {
        /// The next one.
        expected: Sequence,
        /// The transaction's.
        got: Sequence,
    },
    /// Nothing of the sender stands against that validator: it lapsed, was answered, or was never said.
    #[error("no suspicion of the sender stands against {node}, so there is nothing to withdraw")]
    NothingToWithdraw {
        /// Of whom something was said.
        node: NodeId,
    },
    /// That verdict is over.
    #[error("verdict {got} does not stand any more: the validator is {now}, and its last verdict is {last}")]
    AliveStale {
        /// The verdict that was answered.
        got: VerdictNumber,
        /// The last one there was.
        last: VerdictNumber,
        /// How the validator stands.
        now: &'static str,
    },
    /// The verdict is of a block that is not known here yet.
    #[error("verdict {got} is ahead of this state")]
    AliveAhead {
        /// The verdict that was answered.
        got: VerdictNumber,
    },
    /// A verdict stands for a while, so that a validator that flaps moves no task every second.
    #[error("verdict {got} stands for another {left} ms before it can be answered")]
    AliveTooEarly {
        /// The verdict that was answered.
        got: VerdictNumber,
        /// What is left, in milliseconds of lease time.
        left: u64,
    },
    /// Being there refutes nothing that is said of the executor, the disk or the clock.
    #[error("the verdict is about the {reason}: it ends when no more than f validators say so")]
    AliveOfNoUse {
        /// What the verdict is about.
        reason: &'static str,
    },
    /// It is already as was asked.
    #[error("the validator is drained already, since block {since}")]
    DrainedAlready {
        /// Since when.
        since: Height,
    },
    /// It is already as was asked.
    #[error("the validator is not drained")]
    NotDrained,
    /// It is already as was asked.
    #[error("the validator proposes these releases already, or they are certified")]
    CertifiedAlready,
    /// It is already as was asked.
    #[error("the validator wants to leave already, since block {since}")]
    LeavesAlready {
        /// Since when.
        since: Height,
    },
    /// It is already as was asked.
    #[error("the validator does not want to leave")]
    LeavesNot,
    /// What is decided is not taken back.
    #[error("it is decided that the validator has no vote from epoch {epoch} on")]
    GoesAlready {
        /// From when on.
        epoch: Epoch,
    },
    /// What somebody says of itself who wants a seat.
    #[error("{field} must be {rule}, not {got:?}")]
    RequestField {
        /// Which field.
        field: &'static str,
        /// What it must be.
        rule: &'static str,
        /// What it is.
        got: String,
    },
    /// It belongs to somebody who has, had or wants a seat.
    #[error("the {field} {value} is taken, by {by}: a seat, and what belongs to it, is taken once")]
    Taken {
        /// Key, name or address.
        field: &'static str,
        /// Its value.
        value: String,
        /// Whose it is.
        by: NodeId,
    },
    /// Anybody may ask, so those who do are few.
    #[error("{max} want a seat already, the most at a time: try again later")]
    CandidatesFull {
        /// How many may.
        max: usize,
    },
    /// Seats are never given twice, and all are given.
    #[error("all {max} seats of this chain are given")]
    SeatsFull {
        /// How many there are.
        max: usize,
    },
    /// Nobody with this key wants a seat.
    #[error("{node} does not ask for a seat: it never did, it took it back, it lapsed, or it has one")]
    NoCandidate {
        /// Whose key.
        node: NodeId,
    },
    /// It asked again since.
    #[error("the request of block {got} is over, that of block {now} stands")]
    RequestStale {
        /// The one that was named.
        got: Height,
        /// The one that stands.
        now: Height,
    },
    /// Another validator's place is no business of the sender's.
    #[error("it wants the place of {replaced}, and only {replaced} can give that away")]
    NotTheReplaced {
        /// Whose place it is.
        replaced: NodeId,
    },
    /// It is already as was asked.
    #[error("the validator approves of that already")]
    ApprovedAlready,
    /// Nobody has approved of it yet.
    #[error("{node} is no learner: validators have to approve of it first")]
    NotALearner {
        /// Whose key.
        node: NodeId,
    },
    /// It named the root after a later block already.
    #[error("it named the root after block {last} already, which is not before block {got}")]
    LevelStale {
        /// The one that was named.
        got: Height,
        /// The newest that was named before.
        last: Height,
    },
    /// The block is not known here yet.
    #[error("block {height} is ahead of this state")]
    RootAhead {
        /// Which block.
        height: Height,
    },
    /// It is too long ago, or none that may be named.
    #[error("no root after block {height} is kept: it is of every eighth block, for 256 blocks")]
    RootUnknown {
        /// Which block.
        height: Height,
    },
    /// It is not where we are.
    #[error("the root after block {height} is another one")]
    RootWrong {
        /// Which block.
        height: Height,
    },
    /// Not signed by the account.
    #[error("the signature is not one of account {account} over this transaction")]
    Signature {
        /// The account that should have signed.
        account: PublicKey,
    },
}

impl TransactionError {
    /// Whether the same transaction may take effect later: its sender, or the mempool, may keep it.
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::NonceTooHigh { .. }
            | Self::BalanceTooLow { .. }
            | Self::AccountEmpty
            | Self::AccountTasksFull { .. }
            | Self::TasksFull { .. }
            | Self::PendingFull { .. }
            | Self::LeaseAhead { .. }
            | Self::RenewalTooEarly { .. }
            | Self::SequenceTooHigh { .. }
            | Self::AliveAhead { .. }
            | Self::AliveTooEarly { .. }
            | Self::RootAhead { .. } => true,
            Self::Version { .. }
            | Self::Chain { .. }
            | Self::Expired { .. }
            | Self::NonceTooLow { .. }
            | Self::NonceUsedUp { .. }
            | Self::NonceUnused { .. }
            | Self::AmountZero
            | Self::BalanceOverflow { .. }
            | Self::TaskField { .. }
            | Self::ExpiresTooLate { .. }
            | Self::TaskDeadline { .. }
            | Self::TaskExists { .. }
            | Self::TaskUnknown { .. }
            | Self::TaskFinished { .. }
            | Self::LeaseStale { .. }
            | Self::NotTheHolder { .. }
            | Self::NotAValidator { .. }
            | Self::AboutOneself
            | Self::NodeUnknown { .. }
            | Self::SequenceTooLow { .. }
            | Self::NothingToWithdraw { .. }
            | Self::AliveStale { .. }
            | Self::AliveOfNoUse { .. }
            | Self::DrainedAlready { .. }
            | Self::NotDrained
            | Self::CertifiedAlready
            | Self::LeavesAlready { .. }
            | Self::LeavesNot
            | Self::GoesAlready { .. }
            | Self::RequestField { .. }
            | Self::Taken { .. }
            | Self::CandidatesFull { .. }
            | Self::SeatsFull { .. }
            | Self::NoCandidate { .. }
            | Self::RequestStale { .. }
            | Self::NotTheReplaced { .. }
            | Self::ApprovedAlready
            | Self::NotALearner { .. }
            | Self::LevelStale { .. }
            | Self::RootUnknown { .. }
            | Self::RootWrong { .. }
            | Self::Signature { .. } => false,
        }
    }
}

/// Why a block cannot follow the state's tip. None of these is a matter of time: the block will never be valid here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Of another format.
    #[error("the block has version {got}, this chain takes version {expected}")]
    Version {
        /// What this chain takes.
        expected: u16,
        /// What the block has.
        got: u16,
    },
    /// For another chain.
    #[error("the block is for chain {got}, this is chain {expected}")]
    Chain {
        /// This chain.
        expected: ChainId,
        /// The block's.
        got: ChainId,
    },
    /// Not the next one.
    #[error("block {got} does not follow block {tip}")]
    Height {
        /// The height of the tip.
        tip: Height,
        /// The block's.
        got: Height,
    },
    /// It follows another block than the tip.
    #[error("block {height} follows {got}, the tip is {expected}")]
    Parent {
        /// The block's height.
        height: Height,
        /// The digest of the tip.
        expected: Hash,
        /// The digest the block names.
        got: Hash,
    },
    /// Proposed in another epoch than its height belongs to.
    #[error("block {height} is of epoch {got}, its height is in epoch {expected}")]
    Epoch {
        /// The block's height.
        height: Height,
        /// The epoch of that height.
        expected: Epoch,
        /// The block's.
        got: Epoch,
    },
    /// It is not later than its parent. How much later is not a rule: a halt may last for days.
    #[error("block {height} is of {got} ms, its parent of {parent} ms: it must be later")]
    Timestamp {
        /// The block's height.
        height: Height,
        /// When the parent was proposed.
        parent: Timestamp,
        /// When the block claims to be.
        got: Timestamp,
    },
    /// It builds on a state that we did not reach: its proposer or we are wrong.
    #[error("block {height} builds on state {got}, ours is {expected}")]
    StateRoot {
        /// The block's height.
        height: Height,
        /// Our root.
        expected: Hash,
        /// The root the block names.
        got: Hash,
    },
    /// More of something than a block may hold.
    #[error("block {height} has {got} {what}, at most {max} are allowed")]
    TooMany {
        /// The block's height.
        height: Height,
        /// Bytes, transactions or execution units.
        what: &'static str,
        /// How many it has.
        got: u64,
        /// How many it may have.
        max: u64,
    },
    /// A transaction in it cannot take effect.
    #[error("transaction {index} of block {height}, {id}: {error}")]
    Transaction {
        /// The block's height.
        height: Height,
        /// Where in the block, from 0.
        index: usize,
        /// Its id.
        id: TxId,
        /// Why. Boxed, because it is larger than all other answers.
        error: Box<TransactionError>,
    },
}

/// Why entries are not a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Entries come in the order of their keys, each once.
    #[error("entry {entry} does not come after the one before it")]
    Order {
        /// Which entry, from 0.
        entry: usize,
    },
    /// No entry has such a key.
    #[error("entry {entry} has a key of no known kind")]
    Key {
        /// Which entry, from 0.
        entry: usize,
    },
    /// The value does not fit its key.
    #[error("entry {entry} does not decode: {error}")]
    Value {
        /// Which entry, from 0.
        entry: usize,
        /// Why.
        error: DecodeError,
    },
    /// An account that is all zero is never stored.
    #[error("entry {entry} stores an empty account")]
    EmptyAccount {
        /// Which entry, from 0.
        entry: usize,
    },
    /// A task is not as it could have become.
    #[error("task {number} {what}")]
    Task {
        /// Which one.
        number: TaskNumber,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A validator does not stand as it could have come to.
    #[error("validator {node} {what}")]
    Standing {
        /// Which one.
        node: NodeId,
        /// What is wrong with it.
        what: &'static str,
    },
    /// More exists than can be counted.
    #[error("the balances up to entry {entry} exceed {}", u64::MAX)]
    Sum {
        /// The entry at which the sum overflows.
        entry: usize,
    },
    /// The entry that names the chain is missing.
    #[error("the entry with the chain's parameters is missing")]
    NoParameters,
    /// The entry with the chain's counters and clock is missing.
    #[error("the entry with the chain's counters is missing")]
    NoCounters,
    /// The entries are of another chain.
    #[error("the entries are of chain {got}, expected chain {expected}")]
    Chain {
        /// The chain that was asked for.
        expected: ChainId,
        /// The chain the entries name.
        got: ChainId,
    },
}

/// The root of the state that a genesis leads to.
pub(crate) fn genesis_root(genesis: &Genesis) -> Hash {
    genesis_tree(genesis, &Parameters::of(genesis)).root()
}

fn genesis_tree(genesis: &Genesis, parameters: &Parameters) -> Tree {
    let mut tree = Tree::new();
    tree.insert(&[PARAMETERS], &parameters.encode());
    let (counters, value) = tasks::first_counters(genesis.timestamp());
    tree.insert(&[counters], &value);
    let mut validators: Vec<&GenesisValidator> = genesis.validators.iter().collect();
    validators.sort_unstable_by_key(|validator| validator.key);
    for (validator, place) in validators.into_iter().zip(0..) {
        tree.insert(&key(VALIDATOR, &validator.key), &ValidatorEntry::of_genesis(validator, place).encode());
    }
    releases::begin(&mut tree, &genesis.certified);
    for entry in &genesis.balances {
        put(&mut tree, &entry.account, Account { balance: entry.amount, nonce: Nonce(0) });
    }
    tree
}

impl State {
    /// The state before the first block.
    ///
    /// # Panics
    /// If the genesis is not valid, as [`Genesis::validate`] has it.
    pub fn genesis(genesis: &Genesis) -> Self {
        let parameters = Parameters::of(genesis);
        let tree = genesis_tree(genesis, &parameters);
        let block = Block::first(genesis, tree.root());
        let mut tasks = Tasks::new(parameters.tasks, block.timestamp);
        for validator in &genesis.validators {
            tasks.admit(validator.key, validator.capacity, &validator.region);
        }
        let nodes = || genesis.validators.iter().map(|validator| validator.key);
        let verdicts = Verdicts::new(nodes());
        let roster = Roster::new(genesis.epochs, genesis.byzantine_budget, nodes());
        let (height, digest, timestamp) = (block.height, block.digest(), block.timestamp);
        Self { tree, parameters, tasks, verdicts, roster, height, digest, timestamp }
    }

    /// The chain this is a state of.
    pub const fn chain(&self) -> &ChainId {
        &self.parameters.chain
    }

    /// The hash of the genesis that the chain started from.
    pub const fn genesis_hash(&self) -> Hash {
        self.parameters.genesis
    }

    /// How many lying validators every validator set must survive.
    pub const fn byzantine_budget(&self) -> usize {
        self.parameters.byzantine_budget as usize
    }

    /// The height of the last block.
    pub const fn height(&self) -> Height {
        self.height
    }

    /// The timestamp of the last block.
    pub const fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// The digest of the last block.
    pub const fn digest(&self) -> Hash {
        self.digest
    }

    /// The hash that stands for all entries; the next block names it.
    pub fn root(&self) -> Hash {
        self.tree.root()
    }

    /// What the chain knows of an account.
    pub fn account(&self, id: &PublicKey) -> Account {
        self.tree.get(&key(ACCOUNT, id)).map_or_else(Account::default, stored)
    }

    /// All accounts that own or ever did anything, in the order of their ids.
    pub fn accounts(&self) -> impl Iterator<Item = (PublicKey, Account)> + '_ {
        self.tree.prefix(&[ACCOUNT]).map(|(key, value)| (id_of(key), stored(value)))
    }

    /// What the chain knows of a validator, if it is one.
    pub fn validator(&self, id: &PublicKey) -> Option<Validator> {
        let entry: ValidatorEntry = stored(self.tree.get(&key(VALIDATOR, id))?);
        Some(entry.of(*id))
    }

    /// All that are or were validators, in the order of their keys.
    pub fn validators(&self) -> Vec<Validator> {
        let entries = self.tree.prefix(&[VALIDATOR]);
        entries.map(|(key, value)| stored::<ValidatorEntry>(value).of(id_of(key))).collect()
    }

    /// The same by the numbers of their seats: new ones come at the end, and nobody ever moves.
    pub fn members(&self) -> Vec<Validator> {
        let members = self.verdicts.nodes().iter();
        members.map(|node| self.validator(node).expect("who has a seat has an entry")).collect()
    }

    /// Which programs and models may run.
    pub fn certification(&self) -> Certification {
        releases::certification(&self.tree)
    }

    /// What else validators propose to certify, in the order of their keys.
    pub fn certified_proposals(&self) -> Vec<(NodeId, Certified)> {
        releases::proposals(&self.tree).collect()
    }

    /// The number that the next such proposal of a validator carries.
    pub fn next_certified_sequence(&self, node: &NodeId) -> Sequence {
        releases::next_sequence(&self.tree, node)
    }

    /// What the chain knows of a task; nothing if there is none, or it was forgotten.
    pub fn task(&self, number: TaskNumber) -> Option<Task> {
        tasks::task(&self.tree, number)
    }

    /// What an open task's executor is given.
    pub fn payload(&self, number: TaskNumber) -> Option<&[u8]> {
        self.tree.get(&tasks::key(tasks::PAYLOAD, number))
    }

    /// The number of the account's task of that name.
    pub fn task_number(&self, account: &AccountId, id: &TaskId) -> Option<TaskNumber> {
        self.tasks.number(account, id)
    }

    /// The numbers of the tasks of that name: one for each account that chose it.
    pub fn tasks_named<'a>(&'a self, id: &'a TaskId) -> impl Iterator<Item = TaskNumber> + 'a {
        self.tasks.named(id)
    }

    /// The tasks from this number on, in the order of their numbers.
    pub fn tasks_from(&self, first: TaskNumber) -> impl Iterator<Item = Task> + '_ {
        let entries = self.tree.from(&tasks::key(tasks::TASK, first));
        entries.map_while(|(key, value)| {
            (key.first() == Some(&tasks::TASK))
                .then(|| Task::decode(tasks::number_of(key), value).expect("checked when it was written or restored"))
        })
    }

    /// The numbers of the tasks that are leased to a validator, in their order.
    pub fn leased_to(&self, node: NodeId) -> impl Iterator<Item = TaskNumber> + '_ {
        self.tasks.held_by(node)
    }

    /// How many tasks are in which state.
    pub const fn task_counts(&self) -> TaskCounts {
        self.tasks.counts()
    }

    /// The tasks that the last block changed, in this order; some perhaps more than once.
    pub fn task_changes(&self) -> &[TaskNumber] {
        self.tasks.changes()
    }

    /// A validator as one who does tasks.
    pub fn worker(&self, node: &NodeId) -> Option<Worker> {
        self.tasks.worker(node)
    }

    /// For how many blocks a finished task is kept, and a submission may be signed ahead.
    pub const fn task_limits(&self) -> TaskLimits {
        self.parameters.tasks
    }

    /// Lease time after the last block: a clock that stands still in a halt, see [`tasks`].
    pub const fn lease_time(&self) -> Timestamp {
        self.tasks.lease_time()
    }

    /// What is left of a lease after the last block, in milliseconds of lease time; zero when only its height is left.
    /// While blocks come at least once a second that is time as everybody knows it, and longer otherwise.
    pub const fn lease_left_ms(&self, lease: &Lease) -> u64 {
        self.tasks.left_ms(lease)
    }

    /// The sum of all balances, which never changes. Looks at every account: for tests and checkers.
    pub fn total(&self) -> u128 {
        self.accounts().map(|(_, account)| u128::from(account.balance.0)).sum()
    }

    /// Lets a block take effect, or says which rule it breaks and changes nothing.
    pub fn apply(&mut self, block: &Block) -> Result<(), BlockError> {
        self.apply_verified(block, |_| false)
    }

    /// As [`Self::apply`], but believes the caller where it says that it has verified the signature of an id.
    pub fn apply_verified(&mut self, block: &Block, verified: impl Fn(&TxId) -> bool) -> Result<(), BlockError> {
        self.check_place(block)?;
        check_limits(block)?;
        self.check_root(block)?;
        let mut next = self.clone();
        next.tasks.begin();
        next.verdicts.begin();
        next.roster.begin();
        let place = Place { height: block.height, timestamp: block.timestamp };
        for (index, transaction) in block.transactions.iter().enumerate() {
            let (height, id) = (block.height, transaction.id());
            next.apply_one(transaction, place, || verified(&id)).map_err(|error| BlockError::Transaction {
                height,
                index,
                id,
                error: Box::new(error),
            })?;
        }
        next.settle(place, block.leader, block.parent_state_root);
        *self = Self { height: block.height, digest: block.digest(), timestamp: block.timestamp, ..next };
        Ok(())
    }

    /// Whether a transaction could take effect in the block at height `next`, its signature included.
    ///
    /// Some errors mend with time, see [`TransactionError::may_pass`]. Rules are checked from the cheapest to the dearest:
    /// any other error says nothing yet about the signature, so whoever keeps a transaction for later verifies it first.
    pub fn check(&self, tx: &Transaction, next: Height) -> Result<(), TransactionError> {
        self.effect(tx, next)?;
        check_signature(tx)
    }

    /// Lets one transaction take effect, or says why not and changes nothing. For a proposer that selects transactions
    /// for the block at `place`: the tip stays where it is.
    pub fn apply_transaction(&mut self, tx: &Transaction, place: Place) -> Result<(), TransactionError> {
        self.apply_one(tx, place, || false)
    }

    /// As [`Self::apply_transaction`], for a transaction whose signature the caller has verified.
    pub fn apply_transaction_verified(&mut self, tx: &Transaction, place: Place) -> Result<(), TransactionError> {
        self.apply_one(tx, place, || true)
    }

    /// Whether a transaction could take effect in the block at height `next`, its signature aside.
    pub fn check_unsigned(&self, tx: &Transaction, next: Height) -> Result<(), TransactionError> {
        self.effect(tx, next).map(drop)
    }

    /// All entries in the order of their keys, for a checkpoint.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> + '_ {
        self.tree.iter()
    }

    /// The state with these entries and this tip. Bytes from a damaged disk are refused, not trusted; but only
    /// comparing the root with a final block shows that they are the *right* entries, and only comparing height and
    /// timestamp with the block of that digest that the tip is.
    pub fn from_entries<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        chain: &ChainId,
        height: Height,
        digest: Hash,
        timestamp: Timestamp,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, StateError> {
        let mut rebuild = Rebuild::default();
        for (key, value) in entries {
            rebuild.push(key.as_ref(), value.as_ref())?;
        }
        rebuild.finish(chain, height, digest, timestamp)
    }

    fn apply_one(
        &mut self,
        tx: &Transaction,
        place: Place,
        verified: impl FnOnce() -> bool,
    ) -> Result<(), TransactionError> {
        let effect = self.effect(tx, place.height)?;
        if !verified() {
            check_signature(tx)?;
        }
        let now = self.tasks.now(self.timestamp, place);
        self.perform(effect, tx, now);
        Ok(())
    }

    /// Ends the block at `place`, which `leader` led, after its transactions. `before` is the root before them.
    pub(crate) fn settle(&mut self, place: Place, leader: NodeId, before: Hash) {
        let now = self.tasks.now(self.timestamp, place);
        let before = Mark { height: self.height, root: before };
        for node in self.verdicts.settle(&mut self.tree, now, leader) {
            self.tasks.judge(&mut self.tree, node, Outcome::Unresponsive);
        }
        let changed = self.verdicts.changes().iter().map(|(node, _)| *node);
        for node in changed.collect::<BTreeSet<_>>() {
            self.tasks.stand(&self.tree, node, self.verdicts.phase(&node), self.verdicts.is_drained(&node));
        }
        let turnover = self.roster.settle(&mut self.tree, &self.verdicts, before, now);
        self.turn_over(turnover, now);
        self.tasks.settle(&mut self.tree, now, leader);
    }

    /// Who gets a seat has an entry and takes part in nothing; who gets a vote is on trial; whose vote is gone says nothing.
    fn turn_over(&mut self, Turnover { learners, gone, came }: Turnover, now: Now) {
        for (node, request) in learners {
            let entry = ValidatorEntry::of_request(request, self.verdicts.admit(node));
            self.tree.insert(&key(VALIDATOR, &node), &entry.encode());
            self.tasks.admit(node, entry.capacity, &entry.region);
            retire_worker(&mut self.tasks, &self.tree, node);
        }
        for node in gone {
            self.verdicts.retire(&mut self.tree, node);
            releases::take_back(&mut self.tree, &node);
            retire_worker(&mut self.tasks, &self.tree, node);
        }
        for node in came {
            self.verdicts.begin_trial(&mut self.tree, node, now);
            self.tasks.stand(&self.tree, node, self.verdicts.phase(&node), false);
        }
        self.verdicts.set_voters(self.roster.voters().len());
    }

    /// What a transaction changes. Every rule but the signature is checked here, before anything is written; the signature
    /// comes last because it costs the most.
    fn effect<'a>(&self, tx: &'a Transaction, next: Height) -> Result<Effect<'a>, TransactionError> {
        self.check_scope(tx, next)?;
        let tip = Place { height: self.height, timestamp: self.timestamp };
        let claimed = |claim| {
            check_no_nonce(tx.nonce)?;
            self.tasks.check_claim(&self.tree, tx.account, claim)
        };
        match &tx.kind {
            Kind::Transfer { to, amount } => self.transfer(tx.account, self.sender(tx)?, *to, *amount),
            Kind::SubmitTask(submission) => {
                let sender = self.sender(tx)?;
                if sender.balance == Amount(0) {
                    return Err(TransactionError::AccountEmpty);
                }
                self.tasks.check_submission(tx.account, submission, tx.expires, tip, next)?;
                Ok(Effect::Submit(sender, submission))
            }
            Kind::CancelTask { id } => {
                let sender = self.sender(tx)?;
                Ok(Effect::Cancel(sender, self.tasks.check_cancel(&self.tree, tx.account, id)?))
            }
            Kind::CompleteTask { claim, output } => Ok(Effect::Complete(claimed(*claim)?, output)),
            Kind::DeclineTask { claim, reason } => Ok(Effect::Decline(claimed(*claim)?, reason)),
            Kind::RenewLease { claim, renewals } => {
                let task = claimed(*claim)?;
                self.tasks.check_renewal(&task, *renewals)?;
                Ok(Effect::Renew(task))
            }
            Kind::Suspect { .. }
            | Kind::Withdraw { .. }
            | Kind::Alive { .. }
            | Kind::Drain { .. }
            | Kind::Undrain { .. }
            | Kind::Certify { .. }
            | Kind::Leave { .. }
            | Kind::Stay { .. }
            | Kind::Approve { .. } => self.word(tx),
            Kind::Join(_) | Kind::CaughtUp(_) | Kind::Retract { .. } => self.application(tx, next),
        }
    }

    /// What somebody says who wants a vote and has none.
    fn application<'a>(&self, tx: &'a Transaction, next: Height) -> Result<Effect<'a>, TransactionError> {
        check_no_nonce(tx.nonce)?;
        let (sender, candidates) = (tx.account, self.roster.candidates());
        match &tx.kind {
            Kind::Join(request) => {
                let members: Vec<Validator> = self.validators();
                let members = members.iter().map(|it| (it.key, it.name.as_str(), it.address.as_str()));
                self.roster.check_join(sender, request, (tx.expires, next), members)?;
                Ok(Effect::Join(request))
            }
            Kind::CaughtUp(mark) => candidates.check_level(sender, *mark).map(|()| Effect::CaughtUp(*mark)),
            Kind::Retract { since } => candidates.check_withdrawal(sender, *since).map(|()| Effect::Retract),
            Kind::Transfer { .. }
            | Kind::SubmitTask(_)
            | Kind::CancelTask { .. }
            | Kind::CompleteTask { .. }
            | Kind::DeclineTask { .. }
            | Kind::RenewLease { .. }
            | Kind::Suspect { .. }
            | Kind::Withdraw { .. }
            | Kind::Alive { .. }
            | Kind::Drain { .. }
            | Kind::Undrain { .. }
            | Kind::Certify { .. }
            | Kind::Leave { .. }
            | Kind::Stay { .. }
            | Kind::Approve { .. } => panic!("{} asks for no seat", tx.kind.name()),
        }
    }

    /// What a validator says of another, or of itself.
    fn word<'a>(&self, tx: &'a Transaction) -> Result<Effect<'a>, TransactionError> {
        check_no_nonce(tx.nonce)?;
        let (sender, verdicts) = (tx.account, &self.verdicts);
        self.roster.check_voter(sender)?;
        match &tx.kind {
            Kind::Suspect { node, .. } | Kind::Withdraw { node, .. } if !self.roster.is_voter(node) => {
                Err(TransactionError::NodeUnknown { node: *node })
            }
            Kind::Suspect { node, reason, evidence, sequence } => {
                verdicts.check_statement(sender, *node, *sequence)?;
                Ok(Effect::Suspect(*node, *reason, *evidence))
            }
            Kind::Withdraw { node, sequence } => {
                verdicts.check_statement(sender, *node, *sequence)?;
                verdicts.check_withdrawal(sender, *node)?;
                Ok(Effect::Withdraw(*node))
            }
            Kind::Alive { verdict } => {
                verdicts.check_alive(sender, *verdict, self.lease_time())?;
                Ok(Effect::Alive)
            }
            Kind::Drain { sequence } => {
                verdicts.check_drain(sender, true, *sequence)?;
                Ok(Effect::Drain(true))
            }
            Kind::Undrain { sequence } => {
                verdicts.check_drain(sender, false, *sequence)?;
                Ok(Effect::Drain(false))
            }
            Kind::Certify { certified, sequence } => {
                releases::check(&self.tree, &sender, certified, *sequence)?;
                Ok(Effect::Certify(certified))
            }
            Kind::Leave { sequence } => {
                self.roster.check_leave(sender, true, *sequence)?;
                Ok(Effect::Leave(true))
            }
            Kind::Stay { sequence } => {
                self.roster.check_leave(sender, false, *sequence)?;
                Ok(Effect::Leave(false))
            }
            Kind::Approve { node, since } => {
                self.roster.check_approval(sender, *node, *since)?;
                Ok(Effect::Approve(*node))
            }
            Kind::Transfer { .. }
            | Kind::SubmitTask(_)
            | Kind::CancelTask { .. }
            | Kind::CompleteTask { .. }
            | Kind::DeclineTask { .. }
            | Kind::RenewLease { .. }
            | Kind::Join(_)
            | Kind::CaughtUp(_)
            | Kind::Retract { .. } => panic!("{} says nothing of a validator", tx.kind.name()),
        }
    }

    /// The sender's account as it is after a transaction that its nonce orders.
    fn sender(&self, tx: &Transaction) -> Result<Account, TransactionError> {
        let sender = self.account(&tx.account);
        Ok(Account { nonce: next_nonce(sender.nonce, tx.nonce)?, ..sender })
    }

    fn perform(&mut self, effect: Effect<'_>, tx: &Transaction, now: Now) {
        let sender = tx.account;
        let candidates = self.roster.candidates_mut();
        let (tasks, verdicts, tree, next) = (&mut self.tasks, &mut self.verdicts, &mut self.tree, now.height);
        match effect {
            Effect::Accounts(accounts) => accounts.into_iter().for_each(|(id, account)| put(tree, &id, account)),
            Effect::Submit(account, submission) => {
                put(tree, &sender, account);
                tasks.submit(tree, sender, submission, now);
            }
            Effect::Cancel(account, task) => {
                put(tree, &sender, account);
                tasks.cancel(tree, task, next);
            }
            Effect::Complete(task, output) => {
                tasks.complete(tree, task, output, next);
                verdicts.prove(tree, sender, now);
            }
            Effect::Decline(task, reason) => tasks.decline(tree, task, reason, now),
            Effect::Renew(task) => tasks.renew(tree, task, now),
            Effect::Suspect(node, reason, evidence) => {
                verdicts.suspect(tree, (node, sender), (reason, evidence), now);
            }
            Effect::Withdraw(node) => verdicts.withdraw(tree, (node, sender)),
            Effect::Alive => verdicts.alive(tree, sender, now),
            Effect::Drain(is_drain) => verdicts.drain(tree, sender, is_drain, now),
            Effect::Join(request) => candidates.ask(tree, sender, request.clone(), tx.expires, now),
            Effect::Approve(node) => candidates.approve(tree, sender, node),
            Effect::CaughtUp(mark) => candidates.level(tree, sender, mark, now),
            Effect::Retract => candidates.withdraw(tree, sender),
            Effect::Certify(certified) => {
                releases::propose(tree, sender, certified, self.roster.voters().len(), next);
            }
            Effect::Leave(is_leaving) => self.roster.leave(tree, sender, is_leaving, next),
        }
    }

    fn check_scope(&self, tx: &Transaction, next: Height) -> Result<(), TransactionError> {
        if tx.version != transaction::VERSION {
            return Err(TransactionError::Version { expected: transaction::VERSION, got: tx.version });
        }
        if tx.chain != *self.chain() {
            return Err(TransactionError::Chain { expected: self.chain().clone(), got: tx.chain.clone() });
        }
        if next > tx.expires {
            return Err(TransactionError::Expired { expires: tx.expires, next });
        }
        Ok(())
    }

    fn transfer(
        &self,
        from: PublicKey,
        mut sender: Account,
        to: PublicKey,
        amount: Amount,
    ) -> Result<Effect<'static>, TransactionError> {
        if amount == Amount(0) {
            return Err(TransactionError::AmountZero);
        }
        let too_low = TransactionError::BalanceTooLow { has: sender.balance, needs: amount };
        sender.balance = sender.balance.minus(amount).ok_or(too_low)?;
        // To oneself is allowed and neutral: the recipient is then the sender as it is after giving.
        let mut recipient = if to == from { sender } else { self.account(&to) };
        let overflow = TransactionError::BalanceOverflow { has: recipient.balance, gets: amount };
        recipient.balance = recipient.balance.plus(amount).ok_or(overflow)?;
        Ok(Effect::Accounts([(from, sender), (to, recipient)]))
    }

    /// Whether the block comes next, and on our tip.
    fn check_place(&self, block: &Block) -> Result<(), BlockError> {
        let height = block.height;
        if block.version != block::VERSION {
            return Err(BlockError::Version { expected: block::VERSION, got: block.version });
        }
        if block.chain != *self.chain() {
            return Err(BlockError::Chain { expected: self.chain().clone(), got: block.chain.clone() });
        }
        if Some(height) != self.height.next() {
            return Err(BlockError::Height { tip: self.height, got: height });
        }
        if block.parent != self.digest {
            return Err(BlockError::Parent { height, expected: self.digest, got: block.parent });
        }
        if block.epoch != self.epoch() {
            return Err(BlockError::Epoch { height, expected: self.epoch(), got: block.epoch });
        }
        if block.timestamp <= self.timestamp {
            return Err(BlockError::Timestamp { height, parent: self.timestamp, got: block.timestamp });
        }
        Ok(())
    }

    fn check_root(&self, block: &Block) -> Result<(), BlockError> {
        let (expected, got) = (self.root(), block.parent_state_root);
        if expected != got {
            return Err(BlockError::StateRoot { height: block.height, expected, got });
        }
        Ok(())
    }
}

#[cfg(test)]
impl State {
    /// For the tests of tasks: what follows from the entries, and the entries.
    pub(crate) const fn parts(&mut self) -> (&mut Tasks, &mut Tree) {
        (&mut self.tasks, &mut self.tree)
    }

    /// For the tests of verdicts: what follows from the entries.
    pub(crate) const fn verdicts(&self) -> &Verdicts {
        &self.verdicts
    }
}

/// What a transaction that was found good changes.
enum Effect<'a> {
    Accounts([(PublicKey, Account); 2]),
    Submit(Account, &'a Submission),
    Cancel(Account, Task),
    Complete(Task, &'a Output),
    Decline(Task, &'a str),
    Renew(Task),
    Suspect(NodeId, Reason, Evidence),
    Withdraw(NodeId),
    Alive,
    Drain(bool),
    Certify(&'a Certified),
    Leave(bool),
    Join(&'a Request),
    Approve(NodeId),
    CaughtUp(Mark),
    Retract,
}

/// Who has no vote does no tasks either.
fn retire_worker(tasks: &mut Tasks, tree: &Tree, node: NodeId) {
    tasks.stand(tree, node, Phase::Unresponsive, true);
}

/// A decoded block keeps to bytes and count already; one that was just built may not.
fn check_limits(block: &Block) -> Result<(), BlockError> {
    let limits = [
        ("transactions", block.transactions.len() as u64, block::TRANSACTIONS_MAX as u64),
        ("bytes", block.size() as u64, block::BYTES_MAX as u64),
        ("execution units", block.units(), block::UNITS_MAX),
    ];
    for (what, got, max) in limits {
        if got > max {
            return Err(BlockError::TooMany { height: block.height, what, got, max });
        }
    }
    Ok(())
}

fn check_signature(tx: &Transaction) -> Result<(), TransactionError> {
    if !tx.verify_signature() {
        return Err(TransactionError::Signature { account: tx.account });
    }
    Ok(())
}

fn check_no_nonce(got: Nonce) -> Result<(), TransactionError> {
    if got != Nonce(0) {
        return Err(TransactionError::NonceUnused { got });
    }
    Ok(())
}

/// The account's nonce after a transaction with nonce `got`.
fn next_nonce(expected: Nonce, got: Nonce) -> Result<Nonce, TransactionError> {
    if got < expected {
        return Err(TransactionError::NonceTooLow { expected, got });
    }
    if got > expected {
        return Err(TransactionError::NonceTooHigh { expected, got });
    }
    got.next().ok_or(TransactionError::NonceUsedUp { nonce: got })
}

/// What the entries of a checkpoint lead to.
#[derive(Debug)]
struct Restored {
    tree: Tree,
    tasks: Tasks,
    verdicts: Verdicts,
    roster: Roster,
}

impl Restored {
    /// What an entry adds to the sum of balances, if it is one that we could have written.
    fn take(&mut self, entry: usize, key: &[u8], value: &[u8]) -> Result<Amount, StateError> {
        let wrong = |error| StateError::Value { entry, error };
        match (key.first(), key.len()) {
            (Some(&PARAMETERS), 1) => {
                let parameters = Parameters::decode(value).map_err(wrong)?;
                self.tasks.restore_limits(parameters.tasks);
            }
            (Some(&VALIDATOR), 33) => {
                let validator = ValidatorEntry::decode(value).map_err(wrong)?;
                self.tasks.admit(id_of(key), validator.capacity, &validator.region);
                self.verdicts.restore_validator(id_of(key), validator.place);
                self.roster.restore_validator(id_of(key));
            }
            (Some(&ACCOUNT), 33) => {
                return match Account::decode(value).map_err(wrong)? {
                    account if account == Account::default() => Err(StateError::EmptyAccount { entry }),
                    account => Ok(account.balance),
                };
            }
            _ => {
                let of_tasks = self.tasks.restore(entry, key, value);
                let taken = of_tasks.or_else(|| self.verdicts.restore(entry, key, value));
                let taken = taken.or_else(|| releases::restore(entry, key, value));
                let taken = taken.or_else(|| self.roster.restore(entry, key, value));
                taken.unwrap_or(Err(StateError::Key { entry }))?;
            }
        }
        Ok(Amount(0))
    }
}

/// Stores an account. One that is all zero is taken out, so that equal states have equal roots.
fn put(tree: &mut Tree, id: &PublicKey, account: Account) {
    let key = key(ACCOUNT, id);
    if account == Account::default() {
        tree.remove(&key);
        return;
    }
    tree.insert(&key, &account.encode());
}

/// The key of what is stored under an id.
pub(crate) fn key(kind: u8, id: &PublicKey) -> [u8; 33] {
    let mut key = [kind; 33];
    key[1..].copy_from_slice(&id.0);
    key
}

pub(crate) fn id_of(key: &[u8]) -> PublicKey {
    PublicKey(key[1..].try_into().expect("the key of what has an id is a kind and 32 bytes"))
}

pub(crate) fn stored<T: Decode>(value: &[u8]) -> T {
    T::decode(value).expect("an entry was encoded by us or checked when it was restored")
}

/// A validator as it is stored: its key is the entry's.
struct ValidatorEntry {
    name: String,
    address: String,
    region: String,
    capacity: u32,
    place: u32,
}

impl ValidatorEntry {
    fn of(self, key: PublicKey) -> Validator {
        let Self { name, address, region, capacity, place } = self;
        Validator { key, name, address, region, capacity, place }
    }

    fn of_genesis(validator: &GenesisValidator, place: u32) -> Self {
        let GenesisValidator { name, address, region, capacity, .. } = validator.clone();
        Self { name, address, region, capacity, place }
    }

    fn of_request(request: Request, place: u32) -> Self {
        let Request { name, address, region, capacity, .. } = request;
        Self { name, address, region, capacity, place }
    }
}

impl Encode for ValidatorEntry {
    fn write(&self, out: &mut Vec<u8>) {
        codec::write_bytes(self.name.as_bytes(), out);
        codec::write_bytes(self.address.as_bytes(), out);
        codec::write_bytes(self.region.as_bytes(), out);
        self.capacity.write(out);
        self.place.write(out);
    }
}

impl Decode for ValidatorEntry {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            name: r.text("name", genesis::NAME_BYTES_MAX)?.to_owned(),
            address: r.text("address", genesis::ADDRESS_BYTES_MAX)?.to_owned(),
            region: r.text("region", genesis::NAME_BYTES_MAX)?.to_owned(),
            capacity: u32::read(r)?,
            place: u32::read(r)?,
        })
    }
}

impl Encode for Account {
    fn write(&self, out: &mut Vec<u8>) {
        self.balance.write(out);
        self.nonce.write(out);
    }
}

impl Decode for Account {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { balance: Amount::read(r)?, nonce: Nonce::read(r)? })
    }
}

impl Parameters {
    fn of(genesis: &Genesis) -> Self {
        // Not `expect`: the caller promised a valid genesis, and the message should say how it is not.
        genesis.validate().unwrap_or_else(|error| panic!("a chain starts only from a valid genesis: {error}"));
        let byzantine_budget = u32::try_from(genesis.byzantine_budget).expect("at most a third of VALIDATORS_MAX");
        Self {
            chain: genesis.chain_id.clone(),
            genesis: genesis.hash(),
            byzantine_budget,
            tasks: genesis.tasks,
            epochs: genesis.epochs,
        }
    }
}

impl Encode for Parameters {
    fn write(&self, out: &mut Vec<u8>) {
        VERSION.write(out);
        self.chain.write(out);
        self.genesis.write(out);
        self.byzantine_budget.write(out);
        self.tasks.write(out);
        self.epochs.write(out);
    }
}

impl Decode for Parameters {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        read_version(r, "state", VERSION)?;
        Ok(Self {
            chain: ChainId::read(r)?,
            genesis: Hash::read(r)?,
            byzantine_budget: u32::read(r)?,
            tasks: TaskLimits::read(r)?,
            epochs: EpochLimits::read(r)?,
        })
    }
}

#[cfg(test)]
mod tests;
