//! What is true after the blocks so far?
//!
//! The state is a tree of entries and the tip it belongs to. The root of the tree commits to the chain id, the hash of
//! the genesis, the Byzantine budget, every account and every validator. Height, digest and timestamp of the last block
//! are *not* in the root: the digest names a block that holds the other two, so whoever restores a state compares them
//! with that block. The root itself is in the block that follows, as its `parent_state_root`.
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
    genesis::{self, Genesis, GenesisValidator},
    transaction::{self, Kind, Transaction, read_version},
    tree::Tree,
    types::{Amount, ChainId, Hash, Height, Nonce, PublicKey, Timestamp, TxId},
};

/// The version of the entries' format, kept in the parameters entry.
pub const VERSION: u16 = 1;

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
}

/// What holds for the chain as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parameters {
    chain: ChainId,
    genesis: Hash,
    byzantine_budget: u32,
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
    /// Not signed by the account.
    #[error("the signature is not one of account {account} over this transaction")]
    Signature {
        /// The account that should have signed.
        account: PublicKey,
    },
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
        /// Why.
        error: TransactionError,
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
    /// More exists than can be counted.
    #[error("the balances up to entry {entry} exceed {}", u64::MAX)]
    Sum {
        /// The entry at which the sum overflows.
        entry: usize,
    },
    /// The entry that names the chain is missing.
    #[error("the entry with the chain's parameters is missing")]
    NoParameters,
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
    for validator in &genesis.validators {
        tree.insert(&key(VALIDATOR, &validator.key), &ValidatorEntry::from(validator).encode());
    }
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
        Self { tree, parameters, height: block.height, digest: block.digest(), timestamp: block.timestamp }
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

    /// All validators, in the order of their keys.
    pub fn validators(&self) -> Vec<Validator> {
        let entries = self.tree.prefix(&[VALIDATOR]);
        entries.map(|(key, value)| stored::<ValidatorEntry>(value).of(id_of(key))).collect()
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
        for (index, transaction) in block.transactions.iter().enumerate() {
            let (height, id) = (block.height, transaction.id());
            next.apply_one(transaction, height, || verified(&id)).map_err(|error| BlockError::Transaction {
                height,
                index,
                id,
                error,
            })?;
        }
        *self = Self { height: block.height, digest: block.digest(), timestamp: block.timestamp, ..next };
        Ok(())
    }

    /// Whether a transaction could take effect in the block at height `next`, its signature included.
    ///
    /// A nonce that is too high and a balance that is too low may mend with time; nothing else does. Rules are checked
    /// from the cheapest to the dearest: any other error says nothing yet about the signature, so whoever keeps a
    /// transaction for later verifies it first.
    pub fn check(&self, tx: &Transaction, next: Height) -> Result<(), TransactionError> {
        self.effect(tx, next)?;
        check_signature(tx)
    }

    /// Lets one transaction take effect, or says why not and changes nothing. For a proposer that selects transactions
    /// for the block at height `next`: the tip stays where it is.
    pub fn apply_transaction(&mut self, tx: &Transaction, next: Height) -> Result<(), TransactionError> {
        self.apply_one(tx, next, || false)
    }

    /// As [`Self::apply_transaction`], for a transaction whose signature the caller has verified.
    pub fn apply_transaction_verified(&mut self, tx: &Transaction, next: Height) -> Result<(), TransactionError> {
        self.apply_one(tx, next, || true)
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
        let tree = tree_of(entries)?;
        let parameters: Parameters = tree.get(&[PARAMETERS]).map(stored).ok_or(StateError::NoParameters)?;
        if parameters.chain != *chain {
            return Err(StateError::Chain { expected: chain.clone(), got: parameters.chain });
        }
        Ok(Self { tree, parameters, height, digest, timestamp })
    }

    fn apply_one(
        &mut self,
        tx: &Transaction,
        next: Height,
        verified: impl FnOnce() -> bool,
    ) -> Result<(), TransactionError> {
        let effect = self.effect(tx, next)?;
        if !verified() {
            check_signature(tx)?;
        }
        effect.into_iter().for_each(|(id, account)| put(&mut self.tree, &id, account));
        Ok(())
    }

    /// The accounts that a transaction changes, as they are after it. Every rule but the signature is checked here,
    /// before anything is written; the signature comes last because it costs the most.
    fn effect(&self, tx: &Transaction, next: Height) -> Result<[(PublicKey, Account); 2], TransactionError> {
        self.check_scope(tx, next)?;
        let sender = self.account(&tx.account);
        let nonce = next_nonce(sender.nonce, tx.nonce)?;
        match tx.kind {
            Kind::Transfer { to, amount } => self.transfer(tx.account, Account { nonce, ..sender }, to, amount),
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
    ) -> Result<[(PublicKey, Account); 2], TransactionError> {
        if amount == Amount(0) {
            return Err(TransactionError::AmountZero);
        }
        let too_low = TransactionError::BalanceTooLow { has: sender.balance, needs: amount };
        sender.balance = sender.balance.minus(amount).ok_or(too_low)?;
        // To oneself is allowed and neutral: the recipient is then the sender as it is after giving.
        let mut recipient = if to == from { sender } else { self.account(&to) };
        let overflow = TransactionError::BalanceOverflow { has: recipient.balance, gets: amount };
        recipient.balance = recipient.balance.plus(amount).ok_or(overflow)?;
        Ok([(from, sender), (to, recipient)])
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

/// Builds the tree of a checkpoint, and checks all that later reads rely on.
fn tree_of<K: AsRef<[u8]>, V: AsRef<[u8]>>(entries: impl IntoIterator<Item = (K, V)>) -> Result<Tree, StateError> {
    let mut tree = Tree::new();
    let mut sum = Amount(0);
    let mut last: Option<K> = None;
    for (entry, (key, value)) in entries.into_iter().enumerate() {
        if last.as_ref().is_some_and(|last| last.as_ref() >= key.as_ref()) {
            return Err(StateError::Order { entry });
        }
        let balance = balance_of_entry(entry, key.as_ref(), value.as_ref())?;
        sum = sum.plus(balance).ok_or(StateError::Sum { entry })?;
        tree.insert(key.as_ref(), value.as_ref());
        last = Some(key);
    }
    Ok(tree)
}

/// What an entry adds to the sum, if it is one that we could have written.
fn balance_of_entry(entry: usize, key: &[u8], value: &[u8]) -> Result<Amount, StateError> {
    let wrong = |error| StateError::Value { entry, error };
    match (key.first(), key.len()) {
        (Some(&PARAMETERS), 1) => Parameters::decode(value).map(|_| Amount(0)).map_err(wrong),
        (Some(&VALIDATOR), 33) => ValidatorEntry::decode(value).map(|_| Amount(0)).map_err(wrong),
        (Some(&ACCOUNT), 33) => match Account::decode(value).map_err(wrong)? {
            account if account == Account::default() => Err(StateError::EmptyAccount { entry }),
            account => Ok(account.balance),
        },
        _ => Err(StateError::Key { entry }),
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

fn key(kind: u8, id: &PublicKey) -> [u8; 33] {
    let mut key = [kind; 33];
    key[1..].copy_from_slice(&id.0);
    key
}

fn id_of(key: &[u8]) -> PublicKey {
    PublicKey(key[1..].try_into().expect("the key of an account or validator is a kind and 32 bytes"))
}

fn stored<T: Decode>(value: &[u8]) -> T {
    T::decode(value).expect("an entry was encoded by us or checked when it was restored")
}

/// A validator as it is stored: its key is the entry's.
struct ValidatorEntry {
    name: String,
    address: String,
    region: String,
    capacity: u32,
}

impl ValidatorEntry {
    fn of(self, key: PublicKey) -> Validator {
        let Self { name, address, region, capacity } = self;
        Validator { key, name, address, region, capacity }
    }
}

impl From<&GenesisValidator> for ValidatorEntry {
    fn from(validator: &GenesisValidator) -> Self {
        Self {
            name: validator.name.clone(),
            address: validator.address.clone(),
            region: validator.region.clone(),
            capacity: validator.capacity,
        }
    }
}

impl Encode for ValidatorEntry {
    fn write(&self, out: &mut Vec<u8>) {
        codec::write_bytes(self.name.as_bytes(), out);
        codec::write_bytes(self.address.as_bytes(), out);
        codec::write_bytes(self.region.as_bytes(), out);
        self.capacity.write(out);
    }
}

impl Decode for ValidatorEntry {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            name: r.text("name", genesis::NAME_BYTES_MAX)?.to_owned(),
            address: r.text("address", genesis::ADDRESS_BYTES_MAX)?.to_owned(),
            region: r.text("region", genesis::NAME_BYTES_MAX)?.to_owned(),
            capacity: u32::read(r)?,
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
        Self { chain: genesis.chain_id.clone(), genesis: genesis.hash(), byzantine_budget }
    }
}

impl Encode for Parameters {
    fn write(&self, out: &mut Vec<u8>) {
        VERSION.write(out);
        self.chain.write(out);
        self.genesis.write(out);
        self.byzantine_budget.write(out);
    }
}

impl Decode for Parameters {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        read_version(r, "state", VERSION)?;
        Ok(Self { chain: ChainId::read(r)?, genesis: Hash::read(r)?, byzantine_budget: u32::read(r)? })
    }
}

#[cfg(test)]
mod tests;
