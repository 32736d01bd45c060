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

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::{Amount, ChainId, Genesis, GenesisBalance, GenesisValidator, Kind, SecretKey};

    const LIMITS: Limits = Limits { transactions_max: 8, bytes_max: 1 << 20, per_account_max: 4 };

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_bytes([seed; 32])
    }

    fn chain() -> ChainId {
        "devnet-mempool".parse().expect("a good chain id")
    }

    /// Accounts 1 to 9 own 100 each.
    fn state() -> State {
        let validator = GenesisValidator {
            name: "n0".into(),
            key: key(100).public(),
            address: "127.0.0.1:1".into(),
            region: "local".into(),
            capacity: 1,
        };
        let balances =
            (1..10).map(|seed| GenesisBalance { account: key(seed).public(), amount: Amount(100) }).collect();
        State::genesis(&Genesis {
            version: ledger::genesis::VERSION,
            chain_id: chain(),
            byzantine_budget: 0,
            timestamp_ms: 1,
            validators: vec![validator],
            balances,
        })
    }

    fn transfer(from: u8, nonce: u64, amount: u64) -> Transaction {
        let kind = Kind::Transfer { to: key(9).public(), amount: Amount(amount) };
        Transaction::sign(&key(from), chain(), Nonce(nonce), Height(1_000), kind)
    }

    fn offered(transactions: &[Transaction]) -> (Mempool, Vec<Result<Taken, Refused>>) {
        let (mut mempool, state) = (Mempool::new(LIMITS), state());
        let outcomes = transactions.iter().map(|transaction| mempool.offer(transaction.clone(), &state)).collect();
        (mempool, outcomes)
    }

    fn ids(transactions: &[Transaction]) -> Vec<TxId> {
        transactions.iter().map(Transaction::id).collect()
    }

    #[test]
    fn the_same_transaction_twice_waits_once() {
        let (mempool, outcomes) = offered(&[transfer(1, 0, 5), transfer(1, 0, 5)]);
        assert_eq!(outcomes, [Ok(Taken::New), Ok(Taken::Known)]);
        assert_eq!(mempool.len(), 1);
    }

    #[test]
    fn another_transaction_with_a_waiting_nonce_is_refused() {
        let (_, outcomes) = offered(&[transfer(1, 0, 5), transfer(1, 0, 6)]);
        assert_eq!(outcomes[1], Err(Refused::NonceTaken(Nonce(0))));
    }

    #[test]
    fn nonces_may_come_out_of_order_but_not_further_ahead_than_the_account_may_have_waiting() {
        let (mut mempool, outcomes) =
            offered(&[transfer(1, 1, 5), transfer(1, 0, 6), transfer(1, 3, 7), transfer(1, 4, 8)]);
        assert!(outcomes[..3].iter().all(Result::is_ok), "{outcomes:?}");
        assert!(matches!(outcomes[3], Err(Refused::Invalid(TransactionError::NonceTooHigh { .. }))));
        let chosen = mempool.select(&state());
        assert_eq!(
            ids(&chosen),
            ids(&[transfer(1, 0, 6), transfer(1, 1, 5)]),
            "the gap at nonce 2 holds the last one back"
        );
    }

    #[test]
    fn a_forged_signature_is_refused_also_behind_a_nonce_gap_or_an_empty_account() {
        for (nonce, amount) in [(0, 5), (2, 5), (0, 1_000)] {
            let mut forged = transfer(1, nonce, amount);
            forged.account = key(2).public();
            let (_, outcomes) = offered(&[forged]);
            assert!(matches!(outcomes[0], Err(Refused::Invalid(TransactionError::Signature { .. }))), "{outcomes:?}");
        }
    }

    #[test]
    fn one_account_cannot_fill_the_mempool_and_all_together_cannot_overfill_it() {
        let of_one: Vec<_> = (0..4).map(|nonce| transfer(1, nonce, 1)).collect();
        let (_, outcomes) = offered(&of_one);
        assert!(outcomes.iter().all(Result::is_ok));
        let many: Vec<_> = (1..=9).map(|from| transfer(from, 0, 1)).collect();
        let (mempool, outcomes) = offered(&many);
        assert_eq!(mempool.len(), 8);
        assert!(matches!(outcomes[8], Err(Refused::Full(8, _))));
    }

    #[test]
    fn accounts_take_turns_and_each_comes_first_in_turn() {
        let (mut mempool, _) = offered(&[transfer(1, 0, 1), transfer(1, 1, 1), transfer(2, 0, 1), transfer(2, 1, 1)]);
        let order = |chosen: &[Transaction]| chosen.iter().map(|tx| tx.account).collect::<Vec<_>>();
        let first = order(&mempool.select(&state()));
        let second = order(&mempool.select(&state()));
        assert_eq!(first[0], first[2], "one transaction a turn");
        assert_ne!(first[0], second[0], "the other account comes first next time");
    }

    #[test]
    fn what_the_balance_does_not_cover_waits_without_holding_up_others() {
        let (mut mempool, outcomes) = offered(&[transfer(1, 0, 101), transfer(2, 0, 100)]);
        assert!(outcomes.iter().all(Result::is_ok));
        assert_eq!(ids(&mempool.select(&state())), ids(&[transfer(2, 0, 100)]));
    }

    #[test]
    fn settling_drops_what_is_in_the_chain_and_what_expired() {
        let mut state = state();
        let mut mempool = Mempool::new(LIMITS);
        let kind = Kind::Transfer { to: key(9).public(), amount: Amount(1) };
        let expiring = Transaction::sign(&key(2), chain(), Nonce(0), Height(1), kind);
        for transaction in [transfer(1, 0, 1), transfer(1, 1, 1), expiring] {
            mempool.offer(transaction, &state).expect("fits");
        }
        let block = ledger::Block {
            version: ledger::block::VERSION,
            chain: chain(),
            height: Height(1),
            parent: state.digest(),
            epoch: ledger::Epoch(0),
            view: ledger::View(1),
            parent_view: ledger::View(0),
            leader: key(100).public(),
            timestamp: ledger::Timestamp(2),
            parent_state_root: state.root(),
            transactions: vec![transfer(1, 0, 1)],
        };
        state.apply(&block).expect("valid");
        mempool.settle(&state);
        assert_eq!(mempool.len(), 1);
        assert!(mempool.contains(&transfer(1, 1, 1).id()));
        assert_eq!(mempool.bytes(), transfer(1, 1, 1).size());
    }
}
