//! How long does a large state take, over real sockets and onto a real disk?

use super::*;
use crate::{
    boundary::Boundary,
    config,
    production::{network, steady::Steady},
    roster::Roster,
    validator::CHANNELS,
};
use commonware_runtime::tokio;
use ledger::{Policy, Submission, Timestamp};
use std::time::Instant;

/// Those who give, and one who takes.
const PEERS: u64 = 3;
/// The first port; each has the next.
const PORT: u16 = 29_400;
/// As large as tasks may be: sixteen fit into a block.
const PAYLOAD: usize = 60 << 10;
const TASKS_PER_BLOCK: u64 = 16;
/// Whose tasks they are.
const SUBMITTER: u64 = 77;

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn large_genesis(accounts: u64) -> Genesis {
    let validator = |seed: u64| GenesisValidator {
        name: format!("n{seed}"),
        key: ledger_key(&private(seed).public_key()),
        address: format!("127.0.0.1:{}", PORT + u16::try_from(seed).expect("few")),
        region: "local".into(),
        capacity: 1,
        supervisor: None,
    };
    let account = |number: u64| {
        let key = sha2::Digest::finalize(sha2::Digest::chain_update(sha2::Sha256::default(), number.to_be_bytes()));
        GenesisBalance { account: ledger::PublicKey(key.into()), amount: Amount(1) }
    };
    let submitter = GenesisBalance { account: secret(SUBMITTER).public(), amount: Amount(1) };
    Genesis {
        version: ledger::genesis::VERSION,
        chain_id: chain(),
        byzantine_budget: 1,
        timestamp_ms: 1,
        validators: (0..VOTERS).map(validator).collect(),
        balances: (0..accounts).map(account).chain([submitter]).collect(),
        tasks: TaskLimits { open_per_account_max: 1_000_000, payload_bytes_max: 16 << 30, ..TaskLimits::default() },
        epochs: EpochLimits { length: 1 << 20, ..EpochLimits::default() },
        certified: ledger::Certified::default(),
    }
}

/// A state of so many megabytes of payloads, beside those accounts; the last block, and the one above.
fn large(genesis: &Genesis, megabytes: u64) -> (State, Block, Block) {
    let mut state = State::genesis(genesis);
    let mut nonce = 0;
    let mut next = |state: &State| {
        let is_full = nonce * PAYLOAD as u64 >= megabytes << 20;
        let transactions = (0..TASKS_PER_BLOCK).map(|_| {
            let mut payload = vec![0; PAYLOAD];
            payload[..8].copy_from_slice(&u64::to_be_bytes(nonce));
            let submission = Submission {
                id: format!("t{nonce}").parse().expect("a task id"),
                executor: "command".parse().expect("an executor"),
                payload,
                units: 1,
                lease_ms: 600_000,
                retries: 5,
                deadline: Timestamp(u64::MAX),
                policy: Policy::Replace,
                region: None,
            };
            let height = state.height().after(1_000);
            nonce += 1;
            Transaction::sign(&secret(SUBMITTER), chain(), Nonce(nonce - 1), height, Kind::SubmitTask(submission))
        });
        let transactions = if is_full { Vec::new() } else { transactions.collect() };
        ledger::Block::on(state, secret(1).public(), state.timestamp().after(1), transactions)
    };
    loop {
        let block = next(&state);
        state.apply_verified(&block, |_| true).expect("a valid block");
        if block.transactions.is_empty() {
            let above = next(&state);
            return (state, Block::new(block), Block::new(above));
        }
    }
}

/// `UNSPLIT_STATE_MB=1024 UNSPLIT_STATE_ACCOUNTS=200000 cargo nextest run --release -p validator --run-ignored only
/// a_state_of_a_gigabyte --no-capture`
#[test]
#[ignore = "a gigabyte; run it before a release"]
fn a_state_of_a_gigabyte_comes_from_three_peers_within_a_minute() {
    let (megabytes, accounts) =
        (from_environment("UNSPLIT_STATE_MB", 1_024), from_environment("UNSPLIT_STATE_ACCOUNTS", 200_000));
    let folder = std::env::temp_dir().join(format!("unsplit-snapshot-{}", std::process::id()));
    let began = Instant::now();
    let genesis = large_genesis(accounts);
    let (state, tip, above) = large(&genesis, megabytes);
    let (bytes, root) = (state.bytes(), state.root());
    println!("a state of {} MB made in {:.1} s", bytes >> 20, began.elapsed().as_secs_f64());
    let runtime = tokio::Config::new().with_worker_threads(2).with_storage_directory(folder.clone());
    let (took, joined) = tokio::Runner::new(runtime).start(|context| async move {
        let context = Steady::new(context);
        let roster = Roster::new(&genesis).expect("keys of ours");
        let certificate = certify(&context, "c", 0..VOTERS, &above).await;
        let mut asking = None;
        for index in 0..=PEERS {
            let child = context.child("peer").with_attribute("index", index);
            let listen = format!("127.0.0.1:{}", u64::from(PORT) + index).parse().expect("an address");
            let network_config = config::Network { allow_private_ips: true, ..config::Network::default() };
            let (mut network, oracle) =
                network::open(&child, private(index), listen, &genesis, &roster, &network_config).expect("free ports");
            let channel = CHANNELS[9];
            let ends = network.register(channel.id, channel.quota());
            network.start();
            let peers = roster.members().iter().map(|member| member.key.clone()).collect();
            let boundary = Boundary::new(guard(&child, &format!("g{index}-")).await, peers);
            let ends = boundary.wrap(child.child("snapshots"), ends);
            let shelf = Shelf::open(&child, &format!("p{index}-")).await;
            let (serving, requests) = Serving::new(shelf.clone());
            let peers = Peers { me: private(index).public_key(), blocker: oracle.clone(), provider: oracle };
            let asks = Asking::start(&child.child("asking"), peers, requests, PATIENCE, ends);
            child.child("serving").spawn(move |context| serving.run(context));
            if index < PEERS {
                shelf.put(state.clone(), &tip, &above, certificate.clone(), context.current());
                // Peers ask nothing, and go on for as long as their end is held.
                std::mem::forget(asks);
            } else {
                asking = Some(asks);
            }
        }
        drop(state);
        let (joiner, _) = Joiner::new(context.child("joiner"), place(&context).await, asking.expect("the last"));
        let (orders, ordered) = mpsc::channel(1);
        let (sender, mut joined) = mpsc::channel(1);
        context.child("joiner").dedicated().spawn(move |_| joiner.run(ordered, sender));
        // Connections come first: the first attempt may find nobody.
        let (began, joined) = loop {
            let began = Instant::now();
            orders.send(Order { above: 0 }).await.expect("it runs");
            match joined.recv().await.expect("an answer") {
                Ok(joined) => break (began, joined),
                Err(problem) => println!("{problem}"),
            }
        };
        (began.elapsed(), joined)
    });
    let _ = std::fs::remove_dir_all(&folder);
    assert_eq!(joined.state.root(), root);
    let seconds = took.as_secs_f64();
    println!(
        "{} MB in {} pieces from {PEERS} peers: {seconds:.1} s, {:.0} MB/s; a checkpoint is on the disk and the state in memory",
        joined.bytes >> 20,
        joined.pieces,
        joined.bytes as f64 / (1 << 20) as f64 / seconds,
    );
    assert!(took < Duration::from_secs(60), "{seconds:.1} s for {bytes} bytes");
}
