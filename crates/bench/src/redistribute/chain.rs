//! What does it cost on a chain when a validator that holds many leases falls silent?
//!
//! Four validators hold as many tasks each. Three complete theirs, and one says nothing: two of the others say so, and in
//! that block its leases go to them. Signatures are taken on trust, as nothing of this depends on them.

use super::{Start, Took, cells};
use crate::Cell;
use ledger::{
    Amount, Block, Certified, Claim, Evidence, Genesis, GenesisBalance, GenesisValidator, Kind, Nonce, Output, Policy,
    PublicKey, Reason, SecretKey, Sequence, Signature, State, Submission, TaskLimits, TaskNumber, TaskState, Timestamp,
    Transaction, tasks::balance::UNITS_MAX, transaction,
};

const VALIDATORS: u8 = 4;

/// Leases of the one that falls silent: as many as may move in one block.
const HELD: u32 = 4_096;

/// Transactions in one block while the chain is built: few enough for its execution units.
const TRANSACTIONS: usize = 2_000;

const LEASE_MS: u32 = 10_000;

const SILENT: u8 = 0;

fn public(seed: u8) -> PublicKey {
    SecretKey::from_bytes([seed + 1; 32]).public()
}

/// The seed of the one who orders the tasks.
const SUBMITTER: u8 = VALIDATORS;

fn genesis() -> Genesis {
    let validator = |seed: u8| GenesisValidator {
        name: format!("v{seed}"),
        key: public(seed),
        address: format!("localhost:{}", 7000 + u16::from(seed)),
        region: "local".to_owned(),
        // Room for twice as many as it holds.
        capacity: 2 * HELD / UNITS_MAX,
        supervisor: None,
    };
    Genesis {
        version: 1,
        chain_id: "bench".parse().expect("a chain id"),
        byzantine_budget: 1,
        timestamp_ms: 0,
        validators: (0..VALIDATORS).map(validator).collect(),
        balances: vec![GenesisBalance { account: public(SUBMITTER), amount: Amount(1) }],
        tasks: TaskLimits { open_per_account_max: 1_000_000, tasks_max: 1_000_000, ..TaskLimits::default() },
        epochs: ledger::EpochLimits::default(),
        certified: Certified::default(),
    }
}

struct Chain {
    state: State,
}

impl Chain {
    /// A chain on which the silent one holds [`HELD`] leases, and others hold nothing.
    fn new() -> Self {
        let mut chain = Self { state: State::genesis(&genesis()) };
        let tasks = HELD * u32::from(VALIDATORS);
        (0..tasks).collect::<Vec<_>>().chunks(TRANSACTIONS).for_each(|part| chain.submit(part));
        for seed in (0..VALIDATORS).filter(|seed| *seed != SILENT) {
            let held: Vec<TaskNumber> = chain.state.leased_to(public(seed)).collect();
            held.chunks(TRANSACTIONS).for_each(|part| chain.complete(seed, part));
        }
        chain
    }

    fn transaction(&self, seed: u8, nonce: u64, kind: Kind) -> Transaction {
        Transaction {
            version: transaction::VERSION,
            chain: self.state.chain().clone(),
            account: public(seed),
            nonce: Nonce(nonce),
            expires: self.state.height().after(10),
            kind,
            signature: Signature::ZERO,
        }
    }

    fn submit(&mut self, part: &[u32]) {
        let submission = |number: &u32| {
            let submission = Submission {
                id: format!("job-{number:08}").parse().expect("a task id"),
                executor: "http-callback".parse().expect("an executor"),
                payload: vec![b'x'; 60],
                units: 1,
                lease_ms: LEASE_MS,
                retries: 3,
                deadline: Timestamp(u64::MAX),
                policy: Policy::Replace,
                region: None,
            };
            self.transaction(SUBMITTER, (*number).into(), Kind::SubmitTask(submission))
        };
        let transactions = part.iter().map(submission).collect();
        self.pass(1, transactions);
    }

    fn complete(&mut self, seed: u8, part: &[TaskNumber]) {
        let completion = |number: &TaskNumber| {
            let task = self.state.task(*number).expect("it is leased");
            let TaskState::Leased(lease) = task.state else { panic!("{} is {}", number, task.state.name()) };
            let claim = Claim { task: *number, token: lease.token };
            self.transaction(seed, 0, Kind::CompleteTask { claim, output: Output::Inline(b"done".to_vec()) })
        };
        let transactions = part.iter().map(completion).collect();
        self.pass(1, transactions);
    }

    fn block(&self, ms: u64, transactions: Vec<Transaction>) -> Block {
        let leader = public((self.state.height().0 % u64::from(VALIDATORS)) as u8);
        Block::on(&self.state, leader, self.state.timestamp().after(ms), transactions)
    }

    fn pass(&mut self, ms: u64, transactions: Vec<Transaction>) {
        let block = self.block(ms, transactions);
        self.state.apply_verified(&block, |_| true).expect("a good block");
    }

    fn held_by(&self, seed: u8) -> usize {
        self.state.leased_to(public(seed)).count()
    }
}

/// The block in which the leases move, without and with the root of the state after it.
pub(super) fn rows(runs: u32) -> [Vec<Cell>; 2] {
    let chain = Chain::new();
    assert_eq!((chain.held_by(SILENT), chain.state.task_counts().leased), (HELD as usize, u64::from(HELD)));
    // As many as a verdict takes: one more than may lie.
    let suspicion = Kind::Suspect {
        node: public(SILENT),
        reason: Reason::Link,
        evidence: Evidence::of(1_000, 0),
        sequence: Sequence(0),
    };
    let accusers = SILENT + 1..=SILENT + 2;
    let suspicions = accusers.map(|seed| chain.transaction(seed, 0, suspicion.clone())).collect();
    let block = chain.block(1, suspicions);
    let (mut applied, mut rooted) = (Vec::new(), Vec::new());
    let mut after = Chain { state: chain.state.clone() };
    for _ in 0..runs {
        let mut state = chain.state.clone();
        let start = Start::now();
        state.apply_verified(&block, |_| true).expect("a good block");
        applied.push(start.took());
        state.root();
        rooted.push(start.took());
        after = Chain { state };
    }
    assert_eq!(after.held_by(SILENT), 0);
    assert_eq!(after.state.task_counts().leased, u64::from(HELD));
    let held = (0..VALIDATORS).filter(|seed| *seed != SILENT).map(|seed| after.held_by(seed) as u64);
    let (least, most) = held.fold((u64::MAX, 0), |(least, most), held| (least.min(held), most.max(held)));
    let row = |name: &str, times: &[Took]| {
        let mut row: Vec<Cell> = vec![name.into(), u64::from(VALIDATORS).into(), 1u64.into(), u64::from(HELD).into()];
        row.extend([u64::from(HELD).into(), 0u64.into()]);
        row.extend(cells(times));
        row.push((most - least).into());
        row
    };
    [row("chain: block", &applied), row("chain: block, root", &rooted)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_leases_of_the_silent_one_move_in_one_block() {
        assert!(rows(1).iter().all(|row| row.len() == super::super::COLUMNS.len()));
    }
}
