//! How long does a state of a million tasks take?
//!
//! `cargo bench -p ledger --bench tasks`. Signatures are taken on trust everywhere: they cost the same as those of
//! transfers, and a validator has verified them before.

#![forbid(unsafe_code)]
// A benchmark is the one place here that has to read the clock.
#![allow(clippy::disallowed_methods)]

use ledger::{
    Amount, Block, Certified, Claim, Genesis, GenesisBalance, GenesisValidator, Height, Kind, Nonce, Output, Policy,
    PublicKey, SecretKey, Signature, State, Submission, TaskLimits, TaskNumber, TaskState, Timestamp, Transaction,
    transaction,
};
use measure::{is_full, measure};

mod measure;

const VALIDATORS: u64 = 4;
const ACCOUNTS: u64 = 8;
const PAYLOAD_BYTES: usize = 60;
/// What a validator of capacity 1 is leased at once.
const WINDOW: u64 = 64;
/// As many submissions as a block's execution units allow.
const SUBMISSIONS_MAX: u64 = 2_400;
const SECOND: u32 = 1_000;
const MINUTE: u32 = 60 * SECOND;
const HOUR: u32 = 60 * MINUTE;

struct Scale {
    tasks: u64,
    open: u64,
    transactions: u64,
    leases: u64,
    run_out: u64,
    runs: usize,
}

fn main() {
    let scale = match is_full() {
        true => {
            Scale { tasks: 1_000_000, open: 100_000, transactions: 1_000, leases: 1_024, run_out: 25_000, runs: 25 }
        }
        false => Scale { tasks: 1_000, open: 500, transactions: 40, leases: 256, run_out: 500, runs: 1 },
    };
    million(&scale);
    apply(&scale);
    run_out(&scale);
    halt(&scale);
}

/// Validators are 0 to 3, accounts come after them.
fn public(seed: u64) -> PublicKey {
    SecretKey::from_bytes([seed as u8 + 1; 32]).public()
}

/// A chain whose validators may hold so many tasks of one unit.
struct Chain {
    state: State,
    keys: Vec<PublicKey>,
    nonces: Vec<u64>,
    submitted: u64,
    lease_ms: u32,
}

impl Chain {
    fn new(leases: u64, lease_ms: u32) -> Self {
        let keys: Vec<PublicKey> = (0..VALIDATORS + ACCOUNTS).map(public).collect();
        let (validators, accounts) = keys.split_at(VALIDATORS as usize);
        let validator = |(index, key): (usize, &PublicKey)| GenesisValidator {
            name: format!("v{index}"),
            key: *key,
            address: format!("localhost:{}", 7000 + index),
            region: "local".to_owned(),
            capacity: leases.div_ceil(VALIDATORS * WINDOW) as u32,
            supervisor: None,
        };
        let state = State::genesis(&Genesis {
            version: 1,
            chain_id: "bench".parse().expect("a chain id"),
            byzantine_budget: 1,
            timestamp_ms: 0,
            validators: validators.iter().enumerate().map(validator).collect(),
            balances: accounts.iter().map(|account| GenesisBalance { account: *account, amount: Amount(1) }).collect(),
            tasks: TaskLimits {
                open_per_account_max: 1_000_000,
                tasks_max: 2_000_000,
                pending_max: 2_000_000,
                ..TaskLimits::default()
            },
            epochs: ledger::EpochLimits::default(),
            certified: Certified::default(),
        });
        Self { state, keys, nonces: vec![0; ACCOUNTS as usize], submitted: 0, lease_ms }
    }

    /// A chain on which so many were submitted, and leased as far as there is room.
    fn with(tasks: u64, leases: u64, lease_ms: u32) -> Self {
        let mut chain = Self::new(leases, lease_ms);
        while chain.submitted < tasks {
            let count = SUBMISSIONS_MAX.min(tasks - chain.submitted);
            let block = chain.submissions(count);
            chain.pass(1, block);
        }
        chain
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

    fn submissions(&mut self, count: u64) -> Vec<Transaction> {
        (0..count)
            .map(|_| {
                let (number, account) = (self.submitted, (self.submitted % ACCOUNTS) as usize);
                let kind = Kind::SubmitTask(Submission {
                    id: format!("job-2026-10-{number:08}").parse().expect("a task id"),
                    executor: "http-callback".parse().expect("an executor"),
                    payload: vec![b'x'; PAYLOAD_BYTES],
                    units: 1,
                    lease_ms: self.lease_ms,
                    retries: 3,
                    deadline: Timestamp(u64::MAX / 2 + number % 10_000),
                    policy: Policy::Replace,
                    region: None,
                });
                let tx = self.transaction(self.keys[VALIDATORS as usize + account], self.nonces[account], kind);
                self.submitted += 1;
                self.nonces[account] += 1;
                tx
            })
            .collect()
    }

    /// So many completions, of each validator as many.
    fn completions(&self, count: u64) -> Vec<Transaction> {
        let completion = |node: PublicKey, number: TaskNumber| {
            let task = self.state.task(number).expect("it is leased");
            let TaskState::Leased(lease) = task.state else { panic!("it is leased") };
            let claim = Claim { task: number, token: lease.token };
            self.transaction(node, 0, Kind::CompleteTask { claim, output: Output::Inline(vec![b'y'; 40]) })
        };
        let each = (count / VALIDATORS) as usize;
        let of =
            |node: &PublicKey| self.state.leased_to(*node).take(each).map(|number| completion(*node, number)).collect();
        self.keys[..VALIDATORS as usize].iter().flat_map(|node| -> Vec<Transaction> { of(node) }).collect()
    }

    fn block(&self, ms: u64, transactions: Vec<Transaction>) -> Block {
        let leader = self.keys[(self.state.height().0 % VALIDATORS) as usize];
        Block::on(&self.state, leader, self.state.timestamp().after(ms), transactions)
    }

    fn pass(&mut self, ms: u64, transactions: Vec<Transaction>) {
        self.state = after(&self.state, &self.block(ms, transactions));
    }
}

fn after(state: &State, block: &Block) -> State {
    let mut next = state.clone();
    next.apply_verified(block, |_| true).expect("a good block");
    next
}

/// Bytes of memory that this process has in use.
fn resident() -> u64 {
    /// As on every machine that we measure on.
    const PAGE_BYTES: u64 = 4_096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE_BYTES
}

fn million(scale: &Scale) {
    let tasks = scale.tasks;
    let before = resident();
    let mut built = None;
    measure(
        &format!("submit and root/tasks={tasks}"),
        1,
        || (),
        |()| built = Some(Chain::with(tasks, scale.leases, HOUR)),
    );
    let state = built.expect("built a moment ago").state;
    state.root();
    let report = |what: &str, bytes: u64| println!("ledger::memory of {what}, bytes a task {:>31}", bytes / tasks);
    report("a grown state", resident() - before);

    let at = (state.height(), state.digest(), state.timestamp());
    let before = resident();
    let restored = State::from_entries(state.chain(), at.0, at.1, at.2, state.entries()).expect("own entries");
    restored.root();
    report("a restored state", resident().saturating_sub(before));
    drop(restored);
    let entries = || state.entries().map(|(key, value)| (key.to_vec(), value.to_vec())).collect::<Vec<_>>();
    let restore = |entries| State::from_entries(state.chain(), at.0, at.1, at.2, entries).expect("own entries");
    measure(&format!("from_entries/tasks={tasks}"), 1, entries, restore);
    measure(&format!("from_entries and root/tasks={tasks}"), 1, entries, |entries| {
        let restored = restore(entries);
        assert_eq!(restored.root(), state.root());
        restored
    });
}

/// One block, half submissions and half completions, so that as many leases begin as end.
fn apply(scale: &Scale) {
    let Scale { open, transactions, leases, runs, .. } = *scale;
    let mut chain = Chain::with(open, leases, MINUTE);
    let mut mixed = chain.submissions(transactions / 2);
    mixed.extend(chain.completions(transactions / 2));
    let block = chain.block(1, mixed);
    let of = format!("transactions={transactions}, open={open}");
    let applied = |()| after(&chain.state, &block);
    let (before, counts) = (chain.state.task_counts(), applied(()).task_counts());
    assert_eq!(
        (counts.done, counts.leased),
        (transactions / 2, before.leased),
        "each completion makes room for another"
    );
    measure(&format!("apply/{of}"), runs, || (), applied);
    measure(
        &format!("apply and root/{of}"),
        runs,
        || (),
        |()| {
            let next = applied(());
            (next.root(), next)
        },
    );
    measure(
        &format!("apply_transaction/{of}"),
        runs,
        || chain.state.clone(),
        |mut draft| {
            let place = ledger::Place { height: block.height, timestamp: block.timestamp };
            block.transactions.iter().for_each(|tx| draft.apply_transaction_verified(tx, place).expect("a good one"));
            draft
        },
    );
    let empty = chain.block(1, Vec::new());
    measure(&format!("apply/transactions=0, open={open}"), runs, || (), |()| after(&chain.state, &empty));
}

/// Blocks in which many leases run out at once: each ends as many as it may.
fn run_out(scale: &Scale) {
    let leases = scale.run_out;
    let mut chain = Chain::with(leases, leases, MINUTE);
    assert_eq!(chain.state.task_counts().leased, leases);
    (1..MINUTE / SECOND).for_each(|_| chain.pass(SECOND.into(), Vec::new()));
    // The last lease began with the last block; what is measured ends it as well.
    chain.pass(1, Vec::new());
    let first = chain.block(SECOND.into(), Vec::new());
    measure(
        &format!("apply/leases that run out={leases}, first block"),
        scale.runs,
        || (),
        |()| after(&chain.state, &first),
    );
    let mut blocks = 0;
    let until_all_ended = |mut chain: Chain| {
        chain.pass(SECOND.into(), Vec::new());
        blocks = 1;
        while chain.state.task_counts().leased > VALIDATORS {
            chain.pass(1, Vec::new());
            blocks += 1;
        }
        chain
    };
    let copy = || Chain { state: chain.state.clone(), keys: chain.keys.clone(), nonces: Vec::new(), ..chain };
    measure(&format!("apply and root/leases that run out={leases}, all blocks"), 1, copy, until_all_ended);
    println!("ledger::blocks until all have run out {blocks:>43}");
}

/// A halt that was longer than every lease ends none of them: what does a block after it cost?
fn halt(scale: &Scale) {
    let leases = scale.open;
    let mut chain = Chain::with(leases, leases, HOUR);
    assert_eq!(chain.state.task_counts().leased, leases);
    chain.pass(u64::from(HOUR) + 1, Vec::new());
    assert_eq!(chain.state.task_counts().leased, leases);
    let block = chain.block(1, Vec::new());
    measure(&format!("apply/leases after a halt={leases}"), scale.runs, || (), |()| after(&chain.state, &block));
    assert!(chain.state.height() > Height(0));
}
