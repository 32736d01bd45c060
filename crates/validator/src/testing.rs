//! A small ledger to test on: one validator, nine funded accounts. And a simulated network for what peers ask each other.

use crate::asking::{self, Peers};
use bytes::Bytes;
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::simulated::{self, Oracle};
use commonware_resolver::{
    Consumer, Delivery,
    p2p::{self, Producer},
};
use commonware_runtime::{Quota, Supervisor as _, deterministic::Context};
use commonware_utils::{NZUsize, Probability, Span, channel::oneshot};
use ledger::{
    Amount, Block, Certified, ChainId, Claim, Genesis, GenesisBalance, GenesisValidator, Height, Kind, Nonce, Policy,
    SecretKey, State, Submission, TaskLimits, TaskNumber, TaskState, Timestamp, Transaction,
};
use std::{marker::PhantomData, time::Duration};

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

/// A peer asks nothing.
struct Mute<K>(PhantomData<K>);

impl<K> Clone for Mute<K> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<K: Span> Consumer for Mute<K> {
    type Key = K;
    type Value = Bytes;
    type Subscriber = ();
    type Outcome = bool;

    fn deliver(&mut self, _: Delivery<K, ()>, _: Bytes) -> oneshot::Receiver<bool> {
        oneshot::channel().1
    }
}

/// Lets the peer with this key answer on a channel, for as long as what it gives is held.
pub(crate) async fn answer<K: Span>(
    context: &Context,
    oracle: &Oracle<PublicKey, Context>,
    key: &PublicKey,
    (channel, quota): (u64, Quota),
    producer: impl Producer<Key = K>,
) -> p2p::Mailbox<K, PublicKey, ()> {
    let control = oracle.control(key.clone());
    let channel = control.register(channel, quota).await.expect("a free channel");
    let peers = Peers { me: key.clone(), blocker: control, provider: oracle.manager() };
    asking::start(context, peers, (Mute(PhantomData), producer), Duration::from_secs(1), channel)
}

/// A network of these peers, each of which is linked to all others and cut off when it is blocked.
pub(crate) async fn network(context: &Context, keys: &[PublicKey], max_size: u32) -> Oracle<PublicKey, Context> {
    let config = simulated::Config {
        max_size,
        max_peers_per_set: NZUsize!(16),
        disconnect_on_block: true,
        tracked_peer_sets: NZUsize!(1),
    };
    let (network, oracle) =
        simulated::Network::new_with_peers(context.child("network"), config, keys.iter().cloned()).await;
    network.start();
    let link = || simulated::Link {
        latency: Duration::from_millis(5),
        jitter: Duration::ZERO,
        success_rate: Probability::new(1, 1).expect("certain"),
    };
    for (from, to) in keys.iter().flat_map(|from| keys.iter().map(move |to| (from, to))).filter(|(a, b)| a != b) {
        oracle.add_link(from.clone(), to.clone(), link()).await.expect("two peers");
    }
    oracle
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
