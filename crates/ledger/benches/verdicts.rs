//! What do suspicions and verdicts cost a block?
//!
//! `cargo bench -p ledger --bench verdicts`. Signatures are taken on trust: what one costs is known from the benchmark of
//! transfers, and a validator has verified them before.

#![forbid(unsafe_code)]
// A benchmark is the one place here that has to read the clock.
#![allow(clippy::disallowed_methods)]

use ledger::{
    Amount, Block, Certified, Evidence, Genesis, GenesisBalance, GenesisValidator, Kind, Nonce, Policy, PublicKey,
    Reason, SecretKey, Signature, State, Submission, TaskLimits, Timestamp, Transaction, VerdictNumber, transaction,
};
use measure::{is_full, measure};

mod measure;

struct Chain {
    state: State,
    /// Validators, and last an account that orders tasks.
    keys: Vec<PublicKey>,
}

impl Chain {
    fn new(n: usize) -> Self {
        let key = |seed: usize| {
            let mut bytes = [7; 32];
            bytes[..8].copy_from_slice(&(seed as u64).to_be_bytes());
            SecretKey::from_bytes(bytes).public()
        };
        let keys: Vec<PublicKey> = (0..=n).map(key).collect();
        let validator = |(index, key): (usize, &PublicKey)| GenesisValidator {
            name: format!("v{index}"),
            key: *key,
            address: format!("localhost:{}", 7_000 + index),
            region: "local".to_owned(),
            capacity: 16,
            supervisor: None,
        };
        let state = State::genesis(&Genesis {
            version: 1,
            chain_id: "bench".parse().expect("a chain id"),
            byzantine_budget: 0,
            timestamp_ms: 0,
            validators: keys[..n].iter().enumerate().map(validator).collect(),
            balances: vec![GenesisBalance { account: keys[n], amount: Amount(1) }],
            tasks: TaskLimits::default(),
            epochs: ledger::EpochLimits::default(),
            certified: Certified::default(),
        });
        Self { state, keys }
    }

    fn transaction(&self, account: PublicKey, nonce: u64, kind: Kind) -> Transaction {
        Transaction {
            version: transaction::VERSION,
            chain: self.state.chain().clone(),
            account,
            nonce: Nonce(nonce),
            expires: self.state.height().after(1_000),
            kind,
            signature: Signature::ZERO,
        }
    }

    fn suspicion(&self, accuser: usize, accused: usize) -> Transaction {
        let (accuser, node) = (self.keys[accuser], self.keys[accused]);
        let sequence = self.state.next_suspicion_sequence(&accuser, &node);
        let kind = Kind::Suspect { node, reason: Reason::Link, evidence: Evidence::of(900, 0), sequence };
        self.transaction(accuser, 0, kind)
    }

    fn submissions(&self, count: u64) -> Vec<Transaction> {
        let account = *self.keys.last().expect("the account comes last");
        let next = self.state.account(&account).nonce.0;
        let submission = |nonce: u64| Submission {
            id: format!("job-{nonce}").parse().expect("a task id"),
            executor: "echo".parse().expect("an executor"),
            payload: vec![b'x'; 60],
            units: 1,
            lease_ms: 3_600_000,
            retries: 3,
            deadline: Timestamp(u64::MAX),
            policy: Policy::Replace,
            region: None,
        };
        (next..next + count)
            .map(|nonce| self.transaction(account, nonce, Kind::SubmitTask(submission(nonce))))
            .collect()
    }

    fn block(&self, ms: u64, transactions: Vec<Transaction>) -> Block {
        let turn = self.state.height().0 as usize % (self.keys.len() - 1);
        Block::on(&self.state, self.keys[turn], self.state.timestamp().after(ms), transactions)
    }

    fn after(&self, block: &Block) -> State {
        let mut next = self.state.clone();
        next.apply_verified(block, |_| true).expect("a good block");
        next
    }

    fn pass(&mut self, ms: u64, transactions: Vec<Transaction>) {
        self.state = self.after(&self.block(ms, transactions));
    }
}

fn main() {
    let (n, tasks, runs) = if is_full() { (100, 2_000, 25) } else { (7, 100, 1) };
    suspicions(n, runs);
    verdict(n, runs);
    leases(tasks, runs);
}

/// As many suspicions as f accusers can have at once, none of which makes a verdict.
fn suspicions(n: usize, runs: usize) {
    let chain = Chain::new(n);
    let f = ledger::faults(n);
    let pairs = (0..f).flat_map(|accuser| (f..n).map(move |accused| (accuser, accused))).take(2_000);
    let transactions: Vec<Transaction> = pairs.map(|(accuser, accused)| chain.suspicion(accuser, accused)).collect();
    let name = format!("apply and root/suspicions={}, validators={n}", transactions.len());
    let block = chain.block(1, transactions);
    measure(&name, runs, || (), |()| chain.after(&block).root());
}

/// The suspicion that makes a verdict, and the word that ends it.
fn verdict(n: usize, runs: usize) {
    let mut chain = Chain::new(n);
    let f = ledger::faults(n);
    chain.pass(1, (1..=f).map(|accuser| chain.suspicion(accuser, 0)).collect());
    let block = chain.block(1, vec![chain.suspicion(f + 1, 0)]);
    measure(&format!("apply and root/verdict, validators={n}"), runs, || (), |()| chain.after(&block).root());
    chain.state = chain.after(&block);
    assert_eq!(chain.state.validators_unresponsive().count(), 1);
    (0..3).for_each(|_| chain.pass(1_000, Vec::new()));
    let alive = chain.transaction(chain.keys[0], 0, Kind::Alive { verdict: VerdictNumber(1) });
    let block = chain.block(1, vec![alive]);
    measure(&format!("apply and root/alive, validators={n}"), runs, || (), |()| chain.after(&block).root());
    assert_eq!(chain.after(&block).validators_unresponsive().count(), 0);
}

/// A verdict about the holder of a quarter of all tasks: all of them are leased to others in that block.
fn leases(tasks: u64, runs: usize) {
    let mut chain = Chain::new(4);
    chain.pass(1, chain.submissions(tasks));
    let held = chain.state.leased_to(chain.keys[0]).count();
    assert_eq!(held as u64, tasks / 4);
    let block = chain.block(1, vec![chain.suspicion(1, 0), chain.suspicion(2, 0)]);
    let after = chain.after(&block);
    assert_eq!((after.leased_to(chain.keys[0]).count(), after.task_counts().leased), (0, tasks));
    measure(&format!("apply and root/verdict that moves leases={held}"), runs, || (), |()| chain.after(&block).root());
}
