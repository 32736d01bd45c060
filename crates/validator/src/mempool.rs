//! Which transactions wait to be put into a block?
//!
//! Bounded in count and in bytes, and per account, so that one sender cannot push the others out. What is here is
//! volatile and pending, never promised: clients keep the bytes and submit them again. Only transactions with a valid
//! signature get in, so a block's transactions that are here need no second check.

use ledger::{Account, Height, Nonce, PublicKey, State, Transaction, TransactionError, TxId, block};
use std::collections::{BTreeMap, BTreeSet};

/// Bounds of the mempool.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Transactions in all.
    pub transactions_max: usize,
    /// Their encoded bytes in all.
    pub bytes_max: usize,
    /// Transactions of one account; also how far ahead of the account's nonce they may be.
    pub per_account_max: usize,
}

/// What became of an offered transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Taken {
    /// It waits now.
    New,
    /// It waited already.
    Known,
}

/// Why an offered transaction was not taken.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// It can not, or not any more, become part of a block.
    #[error(transparent)]
    Invalid(#[from] TransactionError),
    /// Another transaction of the account waits with the same nonce.
    #[error("another transaction of this account waits with nonce {0}")]
    NonceTaken(Nonce),
    /// The account has too many waiting.
    #[error("the account has {0} transactions waiting, the most it may have")]
    AccountFull(usize),
    /// There is no room.
    #[error("the mempool is full with {0} transactions of {1} bytes")]
    Full(usize, usize),
}

#[derive(Debug)]
struct Entry {
    transaction: Transaction,
    id: TxId,
    size: usize,
}

/// The transactions that wait.
#[derive(Debug)]
pub struct Mempool {
    limits: Limits,
    accounts: BTreeMap<PublicKey, BTreeMap<Nonce, Entry>>,
    ids: BTreeSet<TxId>,
    bytes: usize,
    /// The account after which the next selection begins, so that each comes first in turn.
    cursor: Option<PublicKey>,
}

impl Mempool {
    /// Nothing waits yet.
    pub const fn new(limits: Limits) -> Self {
        Self { limits, accounts: BTreeMap::new(), ids: BTreeSet::new(), bytes: 0, cursor: None }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether none wait.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Their bytes.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether this one waits.
    pub fn contains(&self, id: &TxId) -> bool {
        self.ids.contains(id)
    }

    /// Takes `transaction` if it could become part of a block after `state`.
    ///
    /// # Errors
    /// See [`Refused`]; nothing changes then.
    pub fn offer(&mut self, transaction: Transaction, state: &State) -> Result<Taken, Refused> {
        let id = transaction.id();
        if self.contains(&id) {
            return Ok(Taken::Known);
        }
        let next = state.height().next().unwrap_or(state.height());
        self.admissible(&transaction, state.account(&transaction.account), state, next)?;
        let size = transaction.size();
        let waiting = self.accounts.get(&transaction.account);
        let of_account = waiting.map_or(0, BTreeMap::len);
        if waiting.is_some_and(|waiting| waiting.contains_key(&transaction.nonce)) {
            return Err(Refused::NonceTaken(transaction.nonce));
        }
        if of_account >= self.limits.per_account_max {
            return Err(Refused::AccountFull(of_account));
        }
        if self.len() >= self.limits.transactions_max || self.bytes + size > self.limits.bytes_max {
            return Err(Refused::Full(self.len(), self.bytes));
        }
        self.ids.insert(id);
        self.bytes += size;
        let entry = Entry { id, size, transaction };
        self.accounts.entry(entry.transaction.account).or_default().insert(entry.transaction.nonce, entry);
        Ok(Taken::New)
    }

    /// A nonce ahead of the account's is fine (the ones between may be on their way), but not without bound; a balance
    /// that is too low may be made up by what waits before it.
    fn admissible(&self, tx: &Transaction, account: Account, state: &State, next: Height) -> Result<(), Refused> {
        match state.check(tx, next) {
            Ok(()) => return Ok(()),
            Err(TransactionError::BalanceTooLow { .. }) => {}
            Err(TransactionError::NonceTooHigh { .. })
                if tx.nonce.0 - account.nonce.0 < self.limits.per_account_max as u64 => {}
            Err(problem) => return Err(problem.into()),
        }
        // What the state complained about may mend with time; the signature, which it looks at last, will not.
        if tx.verify_signature() { Ok(()) } else { Err(TransactionError::Signature { account: tx.account }.into()) }
    }

    /// Transactions for a block after `state`, each checked against the state that those before it lead to. Accounts
    /// take turns, one transaction a turn.
    pub fn select(&mut self, state: &State) -> Vec<Transaction> {
        let mut state = state.clone();
        let next = state.height().next().unwrap_or(state.height());
        let mut room = Room::default();
        let mut turns: Vec<PublicKey> = self.accounts.keys().copied().collect();
        if let Some(cursor) = self.cursor {
            let split = turns.partition_point(|account| *account <= cursor);
            turns.rotate_left(split);
        }
        self.cursor = turns.first().copied();
        let mut chosen = Vec::new();
        while !turns.is_empty() {
            turns.retain(|account| {
                let nonce = state.account(account).nonce;
                let Some(entry) = self.accounts.get(account).and_then(|waiting| waiting.get(&nonce)) else {
                    return false;
                };
                if !room.fits(entry) || state.apply_transaction_verified(&entry.transaction, next).is_err() {
                    return false;
                }
                room.take(entry);
                chosen.push(entry.transaction.clone());
                true
            });
        }
        chosen
    }

    /// Drops what `state` has made part of the chain, or impossible.
    pub fn settle(&mut self, state: &State) {
        let next = state.height().next().unwrap_or(state.height());
        let (ids, bytes) = (&mut self.ids, &mut self.bytes);
        self.accounts.retain(|account, waiting| {
            let nonce = state.account(account).nonce;
            waiting.retain(|_, entry| {
                let keep = entry.transaction.nonce >= nonce && entry.transaction.expires >= next;
                if !keep {
                    ids.remove(&entry.id);
                    *bytes -= entry.size;
                }
                keep
            });
            !waiting.is_empty()
        });
    }

    /// Some of what waits, for a peer that may have missed it; not more than `bytes_max` of it.
    pub fn sample(&self, bytes_max: usize) -> Vec<Transaction> {
        let mut bytes = 0;
        self.accounts
            .values()
            .flat_map(BTreeMap::values)
            .take_while(|entry| {
                bytes += entry.size;
                bytes <= bytes_max
            })
            .map(|entry| entry.transaction.clone())
            .collect()
    }
}

/// What a block under construction holds.
#[derive(Default)]
struct Room {
    bytes: usize,
    count: usize,
    units: u64,
}

impl Room {
    fn fits(&self, entry: &Entry) -> bool {
        self.count < block::TRANSACTIONS_MAX
            && block::HEADER_BYTES_MAX + self.bytes + entry.size <= block::BYTES_MAX
            && self.units + entry.transaction.kind.units() <= block::UNITS_MAX
    }

    fn take(&mut self, entry: &Entry) {
        self.count += 1;
        self.bytes += entry.size;
        self.units += entry.transaction.kind.units();
    }
}
