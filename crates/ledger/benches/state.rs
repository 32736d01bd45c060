//! How long does a state of a million accounts take?
//!
//! `cargo bench -p ledger`. Plain timing: each case is long enough to need no statistics, and the median of a few runs
//! is told. Without `--bench`, as under `cargo test --all-targets`, it runs once and small, to show that it runs.

#![forbid(unsafe_code)]
// A benchmark is the one place here that has to read the clock.
#![allow(clippy::disallowed_methods)]

use ledger::{
    Amount, Block, Certified, Genesis, GenesisBalance, GenesisValidator, Height, Kind, Nonce, PublicKey, SecretKey,
    State, TaskLimits, Timestamp, Transaction, tree::Tree,
};
use measure::{is_full, measure};

mod measure;

struct Scale {
    accounts: u64,
    transfers: u64,
    runs: usize,
}

fn main() {
    let scale = match is_full() {
        true => Scale { accounts: 1_000_000, transfers: 1_000, runs: 5 },
        false => Scale { accounts: 1_000, transfers: 10, runs: 1 },
    };
    let state = genesis_state(&scale);
    tree(&scale);
    apply(&scale, &state);
    checkpoint(&scale, &state);
}

fn secret(index: u64) -> SecretKey {
    let mut bytes = [1; 32];
    bytes[..8].copy_from_slice(&index.to_be_bytes());
    SecretKey::from_bytes(bytes)
}

/// An id as evenly spread as that of a real account, without the cost of deriving a million keys.
fn spread(index: u64) -> PublicKey {
    let mix = |lane: u64| {
        let mut z = (index * 4 + lane).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_be_bytes()
    };
    let lanes = [mix(0), mix(1), mix(2), mix(3)].concat();
    PublicKey(lanes.try_into().expect("four lanes of eight bytes"))
}

fn genesis_state(scale: &Scale) -> State {
    let senders = (0..scale.transfers).map(|index| secret(index).public());
    let others = (scale.transfers..scale.accounts).map(spread);
    let balances = senders.chain(others).map(|account| GenesisBalance { account, amount: Amount(1_000) });
    let validator = GenesisValidator {
        name: "v0".to_owned(),
        key: secret(0).public(),
        address: "localhost:7000".to_owned(),
        region: "local".to_owned(),
        capacity: 1,
        supervisor: None,
    };
    State::genesis(&Genesis {
        version: 1,
        chain_id: "bench".parse().expect("a chain id"),
        byzantine_budget: 0,
        timestamp_ms: 0,
        validators: vec![validator],
        balances: balances.collect(),
        tasks: TaskLimits::default(),
        epochs: ledger::EpochLimits::default(),
        certified: Certified::default(),
    })
}

fn tree(scale: &Scale) {
    let Scale { accounts, runs, .. } = *scale;
    let build = |()| {
        let mut tree = Tree::new();
        (0..accounts).for_each(|index| tree.insert(&spread(index).0, &[0; 16]));
        tree
    };
    measure(&format!("tree::insert/entries={accounts}"), runs, || (), build);
    measure(&format!("tree::root/entries={accounts}, none known"), runs, || build(()), |tree| (tree.root(), tree));
}

/// One block in which every transfer has another sender and another recipient, the worst case for the tree.
fn block_of(scale: &Scale, state: &State) -> Block {
    let transfer = |index| {
        let kind = Kind::Transfer {
            to: spread(scale.transfers + index * 97 % (scale.accounts - scale.transfers)),
            amount: Amount(1),
        };
        Transaction::sign(&secret(index), state.chain().clone(), Nonce(0), Height(9), kind)
    };
    let transactions = (0..scale.transfers).map(transfer).collect();
    Block::on(state, PublicKey::ZERO, Timestamp(1), transactions)
}

fn apply(scale: &Scale, state: &State) {
    let block = block_of(scale, state);
    let Scale { accounts, transfers, runs } = *scale;
    let applied = |verified: bool| {
        let mut next = state.clone();
        next.apply_verified(&block, |_| verified).expect("a good block");
        next
    };
    let of = format!("transfers={transfers}, accounts={accounts}");
    measure(&format!("apply/{of}"), runs, || false, applied);
    measure(&format!("apply_verified/{of}"), runs, || true, applied);
    measure(&format!("root/{of}"), runs, || applied(true), |next| (next.root(), next));
    measure(&format!("decode/transfers={transfers}"), runs, || block_bytes(&block), |bytes| decode(&bytes));
}

fn block_bytes(block: &Block) -> Vec<u8> {
    ledger::Encode::encode(block)
}

fn decode(bytes: &[u8]) -> Block {
    ledger::Decode::decode(bytes).expect("our own encoding")
}

fn checkpoint(scale: &Scale, state: &State) {
    let Scale { accounts, runs, .. } = *scale;
    let entries = || state.entries().map(|(key, value)| (key.to_vec(), value.to_vec())).collect::<Vec<_>>();
    let restore = |entries| {
        State::from_entries(state.chain(), state.height(), state.digest(), state.timestamp(), entries)
            .expect("own entries")
    };
    measure(
        &format!("entries/accounts={accounts}"),
        runs,
        || (),
        |()| state.entries().map(|(key, _)| key.len()).sum::<usize>(),
    );
    measure(&format!("from_entries/accounts={accounts}"), runs, entries, restore);
    measure(&format!("from_entries and root/accounts={accounts}"), runs, entries, |entries| {
        let restored = restore(entries);
        assert_eq!(restored.root(), state.root());
        restored
    });
}
