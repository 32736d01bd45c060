//! Which transactions wait to be put into a block?
//!
//! Bounded in count and in bytes, and per account, so that one sender cannot push the others out. What is here is
//! volatile and pending, never promised: clients keep the bytes and submit them again. Only transactions with a valid
//! signature get in, so a block's transactions that are here need no second check.
//!
//! There are two kinds. What an account's nonce orders waits for its turn; of two with one nonce the first stays, unless
//! the second expires a good deal later, which is the same choice on every validator in whatever order they come. What
//! speaks of a lease waits for nobody and goes first, in up to half of a block: each such order is paid for with a lease
//! that its signer holds, so there are never more than leases, and it makes room for other work. So does what validators say
//! of each other, of which only the last word about each is kept: it finds room even where there is none for others.

use ledger::{
    Account, Claim, Height, Kind, Nonce, Place, PublicKey, Slot, State, TaskId, TaskState, Transaction,
    TransactionError, TxId, block,
};
use std::collections::{BTreeMap, BTreeSet};

/// A transaction replaces the one that waits with its nonce if it expires at least so much later.
pub const REPLACE_AHEAD: u64 = 100;

/// But not if it expires later than so many blocks from now: who replaces again and again comes to an end.
pub const REPLACE_UNTIL: u64 = 100_000;

/// Orders about leases of one validator. It holds fewer leases than this at once.
const ORDERS_PER_VALIDATOR_MAX: usize = 4_096;

/// Requests for a seat that wait. Anybody may make one, and the chain takes about half as many at a time.
const REQUESTS_MAX: usize = 64;

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
    #[error(
        "another transaction of this account waits with nonce {0}; one that expires at least {REPLACE_AHEAD} blocks \
         later replaces it"
    )]
    NonceTaken(Nonce),
    /// A completion that came too late.
    #[error("{}", .0.reason)]
    Stale(Stale),
    /// The validator has said something else about this lease already.
    #[error("the validator has said so about this lease already")]
    OrderTaken,
    /// The account has too many waiting.
    #[error("the account has {0} transactions waiting, the most it may have")]
    AccountFull(usize),
    /// There is no room.
    #[error("the mempool is full with {0} transactions of {1} bytes")]
    Full(usize, usize),
}

/// A completion that came too late: its lease was over.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stale {
    /// Who said that it was done.
    pub node: PublicKey,
    /// Under which lease.
    pub claim: Claim,
    /// Why it has no effect.
    pub reason: String,
}

impl Stale {
    /// The completion in `transaction`, if the state refuses it for being too late. One that is in the chain is not.
    fn of(transaction: &Transaction, problem: &TransactionError, state: &State) -> Option<Self> {
        let Kind::CompleteTask { claim, .. } = &transaction.kind else { return None };
        let TransactionError::LeaseStale { .. } = problem else { return None };
        let done = state.task(claim.task).map(|task| task.state);
        if matches!(done, Some(TaskState::Done(done)) if done.token == claim.token) {
            return None;
        }
        Some(Self { node: transaction.account, claim: *claim, reason: problem.to_string() })
    }
}

#[derive(Debug)]
struct Entry {
    transaction: Transaction,
    id: TxId,
    size: usize,
}

/// What an order of a validator is about: one waits for each. What validators say of each other goes first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Topic {
    Slot(Slot),
    Lease(Claim, &'static str),
}

/// The transactions that wait.
#[derive(Debug)]
pub struct Mempool {
    limits: Limits,
    accounts: BTreeMap<PublicKey, BTreeMap<Nonce, Entry>>,
    /// What validators say about each other and about their leases.
    orders: BTreeMap<PublicKey, BTreeMap<Topic, Entry>>,
    ids: BTreeSet<TxId>,
    bytes: usize,
    /// The account after which the next selection begins, so that each comes first in turn.
    cursor: Option<PublicKey>,
}

impl Mempool {
    /// Nothing waits yet.
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            accounts: BTreeMap::new(),
            orders: BTreeMap::new(),
            ids: BTreeSet::new(),
            bytes: 0,
            cursor: None,
        }
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
        match (transaction.kind.slot(transaction.account), transaction.kind.claim()) {
            (Some(slot), _) => Ok(self.offer_word(transaction, id, slot)?),
            (None, Some(claim)) => self.offer_order(transaction, id, claim, state),
            (None, None) => self.offer_sequenced(transaction, id, next),
        }
    }

    /// Of two words about one thing the one that expires later stays, so that every validator keeps the same. There are
    /// never more than about n of a validator: the state takes them from no one else, and about no one else. Only a request for
    /// a seat may be anybody's, so those are counted.
    fn offer_word(&mut self, transaction: Transaction, id: TxId, slot: Slot) -> Result<Taken, Refused> {
        let (account, topic) = (transaction.account, Topic::Slot(slot));
        let waiting = self.orders.get(&account).and_then(|waiting| waiting.get(&topic));
        if matches!(transaction.kind, Kind::Join(_)) && waiting.is_none() {
            let requests = self.orders.values().flat_map(BTreeMap::values);
            if requests.filter(|entry| matches!(entry.transaction.kind, Kind::Join(_))).count() >= REQUESTS_MAX {
                return Err(Refused::Full(self.len(), self.bytes));
            }
        }
        if waiting.is_some_and(|waiting| (transaction.expires, id) <= (waiting.transaction.expires, waiting.id)) {
            return Err(Refused::OrderTaken);
        }
        let entry = self.enter(transaction, id);
        if let Some(replaced) = self.orders.entry(account).or_default().insert(topic, entry) {
            self.ids.remove(&replaced.id);
            self.bytes -= replaced.size;
        }
        Ok(Taken::New)
    }

    fn offer_sequenced(&mut self, transaction: Transaction, id: TxId, next: Height) -> Result<Taken, Refused> {
        let waiting = self.accounts.get(&transaction.account);
        let of_account = waiting.map_or(0, BTreeMap::len);
        let replaced = waiting.and_then(|waiting| waiting.get(&transaction.nonce));
        if let Some(entry) = replaced {
            let latest = next.after(REPLACE_UNTIL);
            let expires = transaction.expires;
            if expires < entry.transaction.expires.after(REPLACE_AHEAD) || expires > latest {
                return Err(Refused::NonceTaken(transaction.nonce));
            }
        } else if of_account >= self.limits.per_account_max {
            return Err(Refused::AccountFull(of_account));
        }
        self.check_room(transaction.size(), replaced.map_or(0, |entry| entry.size))?;
        let entry = self.enter(transaction, id);
        let of_account = self.accounts.entry(entry.transaction.account).or_default();
        if let Some(replaced) = of_account.insert(entry.transaction.nonce, entry) {
            self.ids.remove(&replaced.id);
            self.bytes -= replaced.size;
        }
        Ok(Taken::New)
    }

    fn offer_order(
        &mut self,
        transaction: Transaction,
        id: TxId,
        claim: Claim,
        state: &State,
    ) -> Result<Taken, Refused> {
        let account = transaction.account;
        if state.validator(&account).is_none() {
            // Only the holder's word counts, and only validators hold leases.
            let problem = TransactionError::NotTheHolder { claim, holder: PublicKey::ZERO, got: account };
            return Err(problem.into());
        }
        let key = Topic::Lease(claim, transaction.kind.name());
        let waiting = self.orders.get(&account);
        if waiting.is_some_and(|waiting| waiting.contains_key(&key)) {
            return Err(Refused::OrderTaken);
        }
        let of_account = waiting.map_or(0, BTreeMap::len);
        if of_account >= ORDERS_PER_VALIDATOR_MAX {
            return Err(Refused::AccountFull(of_account));
        }
        self.check_room(transaction.size(), 0)?;
        let entry = self.enter(transaction, id);
        self.orders.entry(account).or_default().insert(key, entry);
        Ok(Taken::New)
    }

    fn check_room(&self, size: usize, freed: usize) -> Result<(), Refused> {
        let count = self.len() - usize::from(freed > 0);
        if count >= self.limits.transactions_max || self.bytes - freed + size > self.limits.bytes_max {
            return Err(Refused::Full(self.len(), self.bytes));
        }
        Ok(())
    }

    fn enter(&mut self, transaction: Transaction, id: TxId) -> Entry {
        let size = transaction.size();
        self.ids.insert(id);
        self.bytes += size;
        Entry { transaction, id, size }
    }

    /// A nonce ahead of the account's is fine (the ones between may be on their way), but not without bound. Whatever else
    /// may pass is fine too: what waits before it may make up for it.
    fn admissible(&self, tx: &Transaction, account: Account, state: &State, next: Height) -> Result<(), Refused> {
        match state.check(tx, next) {
            Ok(()) => return Ok(()),
            Err(TransactionError::NonceTooHigh { expected, got })
                if tx.nonce.0 - account.nonce.0 >= self.limits.per_account_max as u64 =>
            {
                return Err(TransactionError::NonceTooHigh { expected, got }.into());
            }
            Err(problem) if problem.may_pass() => {}
            Err(problem) => {
                let stale = Stale::of(tx, &problem, state).map(Refused::Stale);
                return Err(stale.unwrap_or(Refused::Invalid(problem)));
            }
        }
        // What the state complained about may mend with time; the signature, which it looks at last, will not.
        if tx.verify_signature() { Ok(()) } else { Err(TransactionError::Signature { account: tx.account }.into()) }
    }

    /// The submission of a task of that name that waits; of several the first, which will have the name.
    pub fn submission(&self, account: &PublicKey, id: &TaskId) -> Option<&Transaction> {
        let mut waiting = self.accounts.get(account)?.values().map(|entry| &entry.transaction);
        waiting.find(|tx| matches!(&tx.kind, Kind::SubmitTask(submission) if submission.id == *id))
    }

    /// Transactions for a block at `place` after `state`, each checked against the state that those before it lead to.
    /// Senders take turns, one transaction a turn.
    pub fn select(&mut self, state: &State, place: Place) -> Vec<Transaction> {
        let mut draft = Draft { state: state.clone(), place, room: Room::default(), chosen: Vec::new() };
        let mut turns: Vec<_> = self.orders.values().map(BTreeMap::values).collect();
        let ahead = if turns.is_empty() { 0 } else { place.height.0 as usize % turns.len() };
        turns.rotate_left(ahead);
        while !turns.is_empty() && !draft.room.is_half_full() {
            turns.retain_mut(|waiting| waiting.next().map(|entry| draft.take(entry)).is_some());
        }

        let mut turns: Vec<PublicKey> = self.accounts.keys().copied().collect();
        if let Some(cursor) = self.cursor {
            let split = turns.partition_point(|account| *account <= cursor);
            turns.rotate_left(split);
        }
        self.cursor = turns.first().copied();
        while !turns.is_empty() {
            turns.retain(|account| {
                let nonce = draft.state.account(account).nonce;
                let entry = self.accounts.get(account).and_then(|waiting| waiting.get(&nonce));
                entry.is_some_and(|entry| draft.take(entry))
            });
        }
        draft.chosen
    }

    /// Drops what `state` has made part of the chain, or impossible. Gives the completions that came too late.
    pub fn settle(&mut self, state: &State) -> Vec<Stale> {
        let next = state.height().next().unwrap_or(state.height());
        let (ids, bytes) = (&mut self.ids, &mut self.bytes);
        let mut drop_unless = |keep: bool, entry: &Entry| {
            if !keep {
                ids.remove(&entry.id);
                *bytes -= entry.size;
            }
            keep
        };
        self.accounts.retain(|account, waiting| {
            let nonce = state.account(account).nonce;
            waiting.retain(|at, entry| {
                let is_possible = *at != nonce
                    || state
                        .check_unsigned(&entry.transaction, next)
                        .map_or_else(|problem| problem.may_pass(), |()| true);
                drop_unless(*at >= nonce && entry.transaction.expires >= next && is_possible, entry)
            });
            !waiting.is_empty()
        });
        let mut stale = Vec::new();
        self.orders.retain(|_, waiting| {
            waiting.retain(|_, entry| match state.check_unsigned(&entry.transaction, next) {
                Ok(()) => true,
                Err(problem) => {
                    stale.extend(Stale::of(&entry.transaction, &problem, state));
                    drop_unless(problem.may_pass(), entry)
                }
            });
            !waiting.is_empty()
        });
        stale
    }

    /// Some of what waits, for a peer that may have missed it; not more than `bytes_max` of it.
    pub fn sample(&self, bytes_max: usize) -> Vec<Transaction> {
        let mut bytes = 0;
        let orders = self.orders.values().flat_map(BTreeMap::values);
        orders
            .chain(self.accounts.values().flat_map(BTreeMap::values))
            .take_while(|entry| {
                bytes += entry.size;
                bytes <= bytes_max
            })
            .map(|entry| entry.transaction.clone())
            .collect()
    }
}

/// A block under construction.
struct Draft {
    state: State,
    place: Place,
    room: Room,
    chosen: Vec<Transaction>,
}

impl Draft {
    /// Whether the transaction fits and takes effect.
    fn take(&mut self, entry: &Entry) -> bool {
        let fits =
            self.room.fits(entry) && self.state.apply_transaction_verified(&entry.transaction, self.place).is_ok();
        if fits {
            self.room.take(entry);
            self.chosen.push(entry.transaction.clone());
        }
        fits
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

    const fn is_half_full(&self) -> bool {
        self.count >= block::TRANSACTIONS_MAX / 2
            || self.bytes >= block::BYTES_MAX / 2
            || self.units >= block::UNITS_MAX / 2
    }

    fn take(&mut self, entry: &Entry) {
        self.count += 1;
        self.bytes += entry.size;
        self.units += entry.transaction.kind.units();
    }
}

#[cfg(test)]
mod tests;
