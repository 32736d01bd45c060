//! Ten times more than the mempool takes: does it stay within its bounds, and how long does a block take to fill?
//!
//! `cargo bench -p validator --bench mempool`

use ledger::{
    Amount, Certified, ChainId, Genesis, GenesisBalance, GenesisValidator, Height, Kind, Nonce, Place, SecretKey,
    State, TaskLimits, Timestamp, Transaction,
};
use std::time::{Duration, Instant};
use validator::{
    config,
    mempool::{Limits, Mempool},
};

const ACCOUNTS: u64 = 1_000;

/// Of each account: all together ten times what the mempool takes.
const OFFERED_EACH: u64 = 200;

fn key(index: u64) -> SecretKey {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&index.to_be_bytes());
    SecretKey::from_bytes(bytes)
}

fn chain() -> ChainId {
    "devnet-bench".parse().expect("a chain id")
}

fn state() -> State {
    let validator = GenesisValidator {
        name: "n0".into(),
        key: key(u64::MAX).public(),
        address: "127.0.0.1:1".into(),
        region: "local".into(),
        capacity: 1,
        supervisor: None,
    };
    let balances = (0..ACCOUNTS).map(|index| GenesisBalance { account: key(index).public(), amount: Amount(1 << 40) });
    State::genesis(&Genesis {
        version: ledger::genesis::VERSION,
        chain_id: chain(),
        byzantine_budget: 0,
        timestamp_ms: 1,
        validators: vec![validator],
        balances: balances.collect(),
        tasks: TaskLimits::default(),
        epochs: ledger::EpochLimits::default(),
        certified: Certified::default(),
    })
}

fn transfer(account: u64, nonce: u64) -> Transaction {
    let kind = Kind::Transfer { to: key((account + 1) % ACCOUNTS).public(), amount: Amount(1) };
    Transaction::sign(&key(account), chain(), Nonce(nonce), Height(1_000), kind)
}

/// Resident memory, bytes.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4_096
}

fn show(what: &str, took: Duration, of: u64) {
    println!(
        "{what:<60} {:>9.3} ms in all, {:>8.3} us each",
        took.as_secs_f64() * 1e3,
        took.as_secs_f64() * 1e6 / of as f64
    );
}

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return; // Somebody only wants to know whether it runs.
    }
    let defaults = config::Mempool::default();
    let limits = Limits {
        transactions_max: defaults.transactions_max,
        bytes_max: defaults.bytes_max,
        per_account_max: defaults.per_account_max,
    };
    let (state, mut mempool) = (state(), Mempool::new(limits));
    let offered: Vec<Transaction> =
        (0..OFFERED_EACH).flat_map(|nonce| (0..ACCOUNTS).map(move |account| transfer(account, nonce))).collect();
    let (count, before) = (offered.len() as u64, memory());

    let start = Instant::now();
    let taken = offered.iter().filter(|transaction| mempool.offer((*transaction).clone(), &state).is_ok()).count();
    show(&format!("offer/offered={count}, taken={taken}"), start.elapsed(), count);
    assert!(mempool.len() <= limits.transactions_max && mempool.bytes() <= limits.bytes_max, "within its bounds");
    let grown = memory().saturating_sub(before);
    println!("waiting: {} transactions, {} bytes; memory grew by {grown} bytes", mempool.len(), mempool.bytes());

    let place = Place { height: Height(1), timestamp: Timestamp(2) };
    let start = Instant::now();
    let chosen = mempool.select(&state, place);
    show(&format!("select/waiting={}, chosen={}", mempool.len(), chosen.len()), start.elapsed(), chosen.len() as u64);
    let distinct: std::collections::BTreeSet<_> = chosen.iter().map(|transaction| transaction.account).collect();
    println!("accounts in the block: {} of {ACCOUNTS}", distinct.len());

    let start = Instant::now();
    mempool.settle(&state);
    show(&format!("settle/waiting={}", mempool.len()), start.elapsed(), mempool.len() as u64);
}
