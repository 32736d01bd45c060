//! A small ledger to test on: one validator, nine funded accounts.

use ledger::{
    Amount, Block, Certified, ChainId, Claim, Genesis, GenesisBalance, GenesisValidator, Height, Kind, Nonce, Policy,
    SecretKey, State, Submission, TaskLimits, TaskNumber, TaskState, Timestamp, Transaction,
};

/// The seed of the validator's key.
pub(crate) const VALIDATOR: u8 = 100;

pub(crate) fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes([seed; 32])
}

pub(crate) fn chain() -> ChainId {
    "devnet-testing".parse().expect("a good chain id")
}

/// Accounts 1 to 9 own 100 each and may have eight open tasks.
pub(crate) fn state() -> State {
    State::genesis(&genesis())
}

/// What it starts from.
pub(crate) fn genesis() -> Genesis {
    let validator = GenesisValidator {
        name: "n0".into(),
        key: key(VALIDATOR).public(),
        address: "127.0.0.1:1".into(),
        region: "local".into(),
        capacity: 1,
        supervisor: None,
    };
    let balances = (1..10).map(|seed| GenesisBalance { account: key(seed).public(), amount: Amount(100) }).collect();
    Genesis {
        version: ledger::genesis::VERSION,
        chain_id: chain(),
        byzantine_budget: 0,
        timestamp_ms: 1,
        validators: vec![validator],
        balances,
        tasks: TaskLimits { open_per_account_max: 8, ..TaskLimits::default() },
        epochs: ledger::EpochLimits::default(),
        certified: Certified::default(),
    }
}

/// Moves on by a block with these transactions, so many milliseconds later.
pub(crate) fn apply(state: &mut State, transactions: Vec<Transaction>, later: u64) {
    let block = Block::on(state, key(VALIDATOR).public(), state.timestamp().after(later), transactions);
    state.apply(&block).expect("a valid block");
}

/// A task with leases of ten seconds.
pub(crate) fn submission(id: &str) -> Submission {
    Submission {
        id: id.parse().expect("a task id"),
        executor: "matmul".parse().expect("an executor"),
        payload: id.as_bytes().to_vec(),
        units: 1,
        lease_ms: 10_000,
        retries: 5,
        deadline: Timestamp(u64::MAX),
        policy: Policy::Replace,
        region: None,
    }
}

/// A state in which account 1 has ordered these tasks and the validator holds all of them, and its claims.
pub(crate) fn leased(ids: &[&str]) -> (State, Vec<Claim>) {
    let mut state = state();
    let submit = |(nonce, id): (u64, &&str)| {
        Transaction::sign(&key(1), chain(), Nonce(nonce), Height(500), Kind::SubmitTask(submission(id)))
    };
    let transactions = (0..).zip(ids).map(submit).collect();
    apply(&mut state, transactions, 1);
    let claims = (1..=ids.len() as u64).filter_map(|number| claim(&state, number)).collect();
    (state, claims)
}

/// The claim of whoever holds the task.
pub(crate) fn claim(state: &State, number: u64) -> Option<Claim> {
    let task = state.task(TaskNumber(number))?;
    match task.state {
        TaskState::Leased(lease) => Some(Claim { task: task.number, token: lease.token }),
        TaskState::Pending | TaskState::Done(_) | TaskState::Failed { .. } | TaskState::Cancelled { .. } => None,
    }
}
