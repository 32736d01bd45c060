//! One node without a state, and peers on a simulated network that give it, lie about it, or say nothing.

use super::{
    join::{Joined, Joiner, Order, Place},
    shelf::{Shelf, change_due},
    trust::{Certified, Change, Finding, Offer, Trust},
    want::Want,
    *,
};
use crate::{
    archive::Archives,
    asking::{Asking, Peers},
    chain::{Block, Digest, ledger_key},
    epochs::Schemes,
    guard::Guard,
    integrity::{self, open_archives},
    progress::Progress,
    scheme::Scheme,
    store::Checkpoints,
    testing,
    validator::page_cache,
};
use bytes::Bytes;
use commonware_codec::Encode as _;
use commonware_consensus::{
    simplex::types::{Finalization, Finalize, Proposal},
    types::{Epoch, Round, View},
};
use commonware_cryptography::{
    Digestible as _, Signer as _,
    ed25519::{PrivateKey, PublicKey},
};
use commonware_parallel::Sequential;
use commonware_resolver::p2p;
use commonware_runtime::{
    Blob as _, Clock, Metrics, Quota, ReadOptions, Runner as _, Spawner, Storage, Supervisor as _, WriteOptions,
    deterministic,
};
use commonware_utils::{
    NZU32,
    channel::{mpsc, oneshot},
    iter::NonEmpty,
    non_empty,
    ordered::Set,
    sync::Mutex,
};
use ledger::{
    Amount, ChainId, EpochLimits, Genesis, GenesisBalance, GenesisValidator, Height, Kind, Nonce, Path, SecretKey,
    Sequence, State, TaskLimits, Transaction,
};
use rand_core::CryptoRng;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

type Context = deterministic::Context;

mod measure;

pub(super) const NAMESPACE: &[u8] = b"test";
/// More than one piece.
const ACCOUNTS: u32 = 50_000;
/// Validators 0 to 4; 0 leaves.
const VOTERS: u64 = 5;

pub(super) fn private(seed: u64) -> PrivateKey {
    PrivateKey::from_seed(seed)
}

fn secret(seed: u64) -> SecretKey {
    SecretKey::from_bytes(private(seed).encode().as_ref().try_into().expect("thirty-two bytes"))
}

fn chain() -> ChainId {
    "devnet-sync".parse().expect("a chain id")
}

fn genesis(chain: &ChainId) -> State {
    let validator = |seed: u64| GenesisValidator {
        name: format!("n{seed}"),
        key: ledger_key(&private(seed).public_key()),
        address: format!("127.0.0.1:{}", seed + 1),
        region: "local".into(),
        capacity: 1,
        supervisor: None,
    };
    let account = |number: u32| {
        let mut key = [7; 32];
        // Spread evenly, so that pieces are.
        key[..4].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
        GenesisBalance { account: ledger::PublicKey(key), amount: Amount(u64::from(number) + 1) }
    };
    State::genesis(&Genesis {
        version: ledger::genesis::VERSION,
        chain_id: chain.clone(),
        byzantine_budget: 1,
        timestamp_ms: 1,
        validators: (0..VOTERS).map(validator).collect(),
        balances: (0..ACCOUNTS).map(account).collect(),
        tasks: TaskLimits::default(),
        epochs: EpochLimits { length: 16, ..EpochLimits::default() },
        certified: ledger::Certified::default(),
    })
}

/// A chain on which validator 0 wants to leave from the first block on: each block, and the state after it.
fn blocks(chain: &ChainId, count: u64) -> Vec<(Block, State)> {
    let mut state = genesis(chain);
    let next = |number: u64| {
        let leave = Kind::Leave { sequence: Sequence(0) };
        let leave = Transaction::sign(&secret(0), chain.clone(), Nonce(0), Height(9), leave);
        let transactions = if number == 0 { vec![leave] } else { Vec::new() };
        let block = ledger::Block::on(&state, secret(1).public(), state.timestamp().after(1), transactions);
        state.apply(&block).expect("a valid block");
        (Block::new(block), state.clone())
    };
    (0..count).map(next).collect()
}

pub(super) fn set(seeds: impl IntoIterator<Item = u64>) -> Set<PublicKey> {
    Set::from_iter_dedup(seeds.into_iter().map(|seed| private(seed).public_key()))
}

/// A simulated machine, or a real one.
pub(super) trait Machine: CryptoRng + Spawner + Clock + Metrics + Storage {}

impl<E: CryptoRng + Spawner + Clock + Metrics + Storage> Machine for E {}

pub(super) async fn guard<E: Machine>(context: &E, name: &str) -> Guard {
    Guard::open(context.child("guard"), name, [3; 32], true).await.expect("a simulated disk").0
}

/// The certificate of these signers for a block.
pub(super) async fn certify<E: Machine>(
    context: &E,
    name: &str,
    signers: std::ops::Range<u64>,
    block: &Block,
) -> Finalization<Scheme, Digest> {
    let inner = block.ledger();
    let round = Round::new(Epoch::new(inner.epoch.0), View::new(inner.height.0));
    let proposal = Proposal::new(round, View::new(inner.height.0 - 1), block.digest());
    let voters = set(signers.clone());
    let mut votes = Vec::new();
    for seed in signers {
        let guard = guard(context, &format!("{name}-{seed}-")).await;
        let scheme = Scheme::signer(NAMESPACE, voters.clone(), private(seed), guard).expect("one of them");
        votes.push((Finalize::sign(&scheme, proposal.clone()).expect("a fresh guard"), scheme));
    }
    let finalizes: Vec<_> = votes.iter().map(|(vote, _)| vote.clone()).collect();
    let scheme = &votes[0].1;
    let votes: NonEmpty<std::slice::Iter<'_, _>> = non_empty![@finalizes.iter()];
    Finalization::from_finalizes(scheme, votes, &Sequential).expect("a quorum")
}

/// What a peer does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Does {
    /// Gives what it has.
    Right,
    /// Changes a byte of each piece, apart from the first.
    OneByte,
    /// Answers with nothing at all.
    Empty,
    /// Answers with as much as there may be, of zeros.
    Huge,
    /// Takes questions and never answers.
    Silent,
    /// Says that it has nothing.
    Nothing,
    /// Gives each piece in the place of another.
    Swapped,
}

#[derive(Clone)]
struct Peer {
    context: Arc<Context>,
    shelf: Shelf,
    does: Does,
    asked: Arc<AtomicU64>,
    unanswered: Arc<Mutex<Vec<oneshot::Sender<Bytes>>>>,
}

impl p2p::Producer for Peer {
    type Key = Want;

    fn produce(&mut self, want: Want) -> oneshot::Receiver<Bytes> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let (reply, receiver) = oneshot::channel();
        let peer = self.clone();
        let is_inner = matches!(&want, Want::Piece { path, .. } if *path != Path::root());
        self.context.child("answer").spawn(move |context| async move {
            let right = peer.shelf.answer(&context, &want).await;
            let given = match peer.does {
                Does::Right => right,
                Does::OneByte => right.map(|bytes| {
                    let mut bytes = bytes.to_vec();
                    let at = bytes.len() / 2;
                    bytes[at] ^= u8::from(is_inner);
                    bytes.into()
                }),
                Does::Empty => Some(Bytes::new()),
                Does::Huge => Some(vec![0; 1 << 20].into()),
                Does::Silent => return peer.unanswered.lock().push(reply),
                Does::Nothing => None,
                Does::Swapped => match &want {
                    Want::Piece { height, .. } if is_inner => {
                        peer.shelf.answer(&context, &Want::Piece { height: *height, path: Path::root() }).await
                    }
                    _ => right,
                },
            };
            if let Some(bytes) = given {
                let _ = reply.send(bytes);
            }
        });
        receiver
    }
}

fn quota() -> Quota {
    // Few enough that one peer is not asked for everything.
    Quota::per_second(NZU32!(8)).allow_burst(NZU32!(2))
}

/// What peers have to give.
#[derive(Clone, Copy, Debug)]
struct Stock {
    /// The height of the state.
    height: u64,
    /// Who certifies the block above.
    signers: (u64, u64),
    /// Whether it is of another chain.
    foreign: bool,
}

const STOCK: Stock = Stock { height: 6, signers: (0, VOTERS), foreign: false };

async fn shelf(context: &Context, name: &str, stock: Stock) -> Shelf {
    let chain = if stock.foreign { "devnet-other".parse().expect("a chain id") } else { chain() };
    let blocks = blocks(&chain, stock.height + 1);
    let shelf = Shelf::open(context, &format!("{name}-")).await;
    let ((tip, state), (above, _)) = (&blocks[stock.height as usize - 1], &blocks[stock.height as usize]);
    let certificate = certify(context, name, stock.signers.0..stock.signers.1, above).await;
    shelf.put(state.clone(), tip, above, certificate, context.current());
    shelf
}

struct Outcome {
    result: Result<Joined, String>,
    asked: Vec<u64>,
    blocked: usize,
    took: Duration,
}

/// The parts of a node without a state.
async fn place<E: Machine>(context: &E) -> Place<E> {
    let changes = Progress::default();
    let archives = open_archives(context, "me-", [1; 32], 0, &changes).await.expect("a simulated disk");
    let ((blocks, _), (certificates, _)) = archives;
    let guard = guard(context, "me-").await;
    Place {
        partition: "me-".into(),
        namespace: NAMESPACE.to_vec(),
        chain: chain(),
        schemes: Schemes::new(NAMESPACE.to_vec(), private(99), guard, set(0..VOTERS)),
        archives: Archives { blocks, certificates },
    }
}

/// Lets peers of these kinds answer, and gives what became of the order.
async fn join(context: &Context, peers: Vec<(Shelf, Does)>) -> Outcome {
    let keys: Vec<PublicKey> = (0..=peers.len() as u64).map(|seed| private(50 + seed).public_key()).collect();
    let oracle = testing::network(context, &keys, u32::try_from(message_bytes_max(8)).expect("small") + 64).await;
    let (mut counts, mut mailboxes) = (Vec::new(), Vec::new());
    for (index, (shelf, does)) in peers.into_iter().enumerate() {
        let asked = Arc::new(AtomicU64::new(0));
        counts.push(asked.clone());
        let peer = Peer { context: Arc::new(context.child("peer")), shelf, does, asked, unanswered: Arc::default() };
        let engine = context.child("engine").with_attribute("index", index);
        let mailbox = testing::answer(&engine, &oracle, &keys[index + 1], (9, quota()), peer).await;
        mailboxes.push(mailbox);
    }
    let control = oracle.control(keys[0].clone());
    let channel = control.register(9, quota()).await.expect("a free channel");
    let (_serving, questions) = Serving::new(Shelf::open(context, "me-").await);
    let peers = Peers { me: keys[0].clone(), blocker: control, provider: oracle.manager() };
    let asking = Asking::start(&context.child("asking"), peers, questions, PATIENCE, channel);
    let (joiner, reporting) = Joiner::new(context.child("joiner"), place(context).await, asking);
    let (orders, ordered) = mpsc::channel(1);
    let (sender, mut joined) = mpsc::channel(1);
    let running = context.child("joiner").spawn(move |_| joiner.run(ordered, sender));
    let began = context.current();
    orders.send(Order { above: 3 }).await.expect("it runs");
    let result = joined.recv().await.expect("an answer");
    assert!(reporting.get().is_none(), "nothing is under way any more");
    let took = context.current().duration_since(began).expect("forward");
    running.abort();
    let _ = running.await;
    let asked = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    Outcome { result, asked, blocked: oracle.blocked().await.expect("the network runs").len(), took }
}

fn check(peers: &'static [(Does, Stock)]) -> Outcome {
    deterministic::Runner::seeded(5).start(move |context| async move {
        let mut shelves = Vec::new();
        for (index, (does, stock)) in peers.iter().enumerate() {
            shelves.push((shelf(&context, &format!("p{index}"), *stock).await, *does));
        }
        let outcome = join(&context, shelves).await;
        if let Ok(joined) = &outcome.result {
            is_right(&context, joined).await;
        }
        outcome
    })
}

/// It is the state that it should be, and on the disk so that a start finds it.
async fn is_right(context: &Context, joined: &Joined) {
    let height = joined.state.height();
    let expected = blocks(&chain(), height.0 + 1);
    let (tip, state) = &expected[height.0 as usize - 1];
    assert_eq!((joined.state.root(), joined.state.digest()), (state.root(), state.digest()));
    assert_eq!((joined.state.timestamp(), joined.state.total()), (state.timestamp(), state.total()));
    let read = Checkpoints::new("me-").read(context, &chain(), height).await.expect("a whole checkpoint");
    assert_eq!((read.root(), read.digest()), (state.root(), tip.ledger().digest()));
    context.sleep(Duration::from_secs(1)).await;
    // The engine was never told: a start finds out by itself where to begin.
    let (chain_id, page_cache) = (chain(), page_cache());
    let place = integrity::Place {
        prefix: "me-",
        chain: [1; 32],
        chain_id: &chain_id,
        genesis: tip,
        page_cache: &page_cache,
        journals: &[],
    };
    let store = integrity::open(&context.child("start"), &place).await.expect("a simulated disk");
    assert_eq!(store.findings, []);
    assert_eq!((store.blocks.floor(), store.certificates.floor()), (height.0, height.0 + 1));
    assert!(store.blocks.holds(height.0) && store.blocks.holds(height.0 + 1) && store.certificates.holds(height.0 + 1));
    // Nothing below is missed.
    assert_eq!((store.blocks.missing().len(), store.certificates.missing().len()), (0, 0));
}

fn error(outcome: &Outcome) -> &str {
    outcome.result.as_ref().err().map_or("it joined", String::as_str)
}

#[test]
fn a_state_comes_in_pieces_from_several_peers() {
    let outcome = check(&[(Does::Right, STOCK), (Does::Right, STOCK), (Does::Right, STOCK)]);
    let joined = outcome.result.as_ref().expect("three that give it");
    assert!(joined.pieces > 3 && joined.bytes > 1 << 20, "{} bytes in {} pieces", joined.bytes, joined.pieces);
    assert!(outcome.asked.iter().all(|asked| *asked > 0), "{:?}", outcome.asked);
    assert_eq!(outcome.blocked, 0);
    assert!(outcome.took < Duration::from_secs(5), "{:?}", outcome.took);
}

#[test]
fn one_bad_piece_among_good_ones_names_its_liar_and_is_asked_from_another() {
    for does in [Does::OneByte, Does::Swapped] {
        let outcome = match does {
            Does::OneByte => check(&[(Does::OneByte, STOCK), (Does::Right, STOCK), (Does::Right, STOCK)]),
            _ => check(&[(Does::Swapped, STOCK), (Does::Right, STOCK), (Does::Right, STOCK)]),
        };
        assert!(outcome.result.is_ok(), "{does:?}: {}", error(&outcome));
        assert!(outcome.asked[0] > 0);
        assert_eq!(outcome.blocked, 1, "{does:?}");
    }
}

#[test]
fn empty_huge_and_silent_peers_cost_time_and_nothing_else() {
    let outcome = check(&[
        (Does::Empty, STOCK),
        (Does::Huge, STOCK),
        (Does::Silent, STOCK),
        (Does::Nothing, STOCK),
        (Does::Right, STOCK),
    ]);
    assert!(outcome.result.is_ok(), "{}", error(&outcome));
    // Who is silent or has nothing has not lied.
    assert!(outcome.blocked <= 2, "{} are cut off", outcome.blocked);
    assert!(outcome.took < Duration::from_secs(60), "{:?}", outcome.took);
}

#[test]
fn where_nobody_has_a_state_that_is_said_within_the_time_there_is() {
    let outcome = check(&[(Does::Nothing, STOCK), (Does::Silent, STOCK)]);
    assert!(error(&outcome).contains("no peer offers a state above height 3"), "{}", error(&outcome));
    assert_eq!(outcome.blocked, 0);
    assert!(outcome.took < Duration::from_secs(30), "{:?}", outcome.took);
    // One that is not above what is here already is none.
    let old = check(&[(Does::Right, Stock { height: 3, ..STOCK })]);
    assert!(error(&old).contains("no peer offers"), "{}", error(&old));
}

#[test]
fn a_state_that_those_who_vote_do_not_vouch_for_is_refused_and_its_peer_cut_off() {
    const FORGED: Stock = Stock { signers: (20, 25), ..STOCK };
    const FOREIGN: Stock = Stock { foreign: true, ..STOCK };
    for outcome in [check(&[(Does::Right, FORGED)]), check(&[(Does::Right, FOREIGN)])] {
        assert!(error(&outcome).contains("no peer offers"), "{}", error(&outcome));
        assert_eq!(outcome.blocked, 1);
    }
    let outcome = check(&[(Does::Right, FORGED), (Does::Right, FOREIGN), (Does::Right, STOCK)]);
    assert!(outcome.result.is_ok(), "{}", error(&outcome));
}

/// The change that the chain decides in block 8, certified by block `above`, by these.
async fn change(context: &Context, name: &str, above: u64, signers: std::ops::Range<u64>) -> Change {
    let blocks = blocks(&chain(), above);
    let (block, state) = (&blocks[above as usize - 1].0, &blocks[above as usize - 2].1);
    let certificate = certify(context, name, signers, block).await;
    Change { by: Certified { certificate, block: block.clone() }, proof: state.prove_voters() }
}

#[test]
fn a_state_of_a_later_epoch_is_trusted_after_each_change_of_the_voters_was_proven() {
    deterministic::Runner::seeded(6).start(|context| async move {
        // In epoch 1 the first validator has left.
        let stock = Stock { height: 20, signers: (1, VOTERS), foreign: false };
        let without = shelf(&context, "p0", stock).await;
        let outcome = join(&context, vec![(without.clone(), Does::Right)]).await;
        assert!(error(&outcome).contains("no peer offers"), "{}", error(&outcome));
        assert_eq!(outcome.blocked, 0, "it may be right, and cannot be told to be");
        without.keep_change(&context, &change(&context, "c", 10, 0..VOTERS).await).await.expect("a simulated disk");
    });
    deterministic::Runner::seeded(7).start(|context| async move {
        let stock = Stock { height: 20, signers: (1, VOTERS), foreign: false };
        let shelf = shelf(&context, "p0", stock).await;
        shelf.keep_change(&context, &change(&context, "c", 10, 0..VOTERS).await).await.expect("a simulated disk");
        let outcome = join(&context, vec![(shelf, Does::Right)]).await;
        is_right(&context, outcome.result.as_ref().unwrap_or_else(|_| panic!("{}", error(&outcome)))).await;
    });
}

#[test]
fn a_change_of_the_voters_needs_a_quorum_of_those_before_and_a_proof_of_those_after() {
    deterministic::Runner::seeded(8).start(|mut context| async move {
        let trust = || Trust::new(NAMESPACE.to_vec(), chain(), 0, set(0..VOTERS));
        let right = change(&context, "a", 10, 0..VOTERS).await;
        let mut stepped = trust();
        assert_eq!(stepped.step(&right, &mut context), Finding::Right);
        assert_eq!((stepped.through(), stepped.voters()), (1, &set(1..VOTERS)));
        // Again it tells nothing new.
        assert_eq!(stepped.step(&right, &mut context), Finding::Wrong);

        let by_others = change(&context, "b", 10, 1..VOTERS).await;
        assert_eq!(trust().step(&by_others, &mut context), Finding::Wrong);
        let early = change(&context, "c", 8, 0..VOTERS).await;
        assert_eq!(trust().step(&early, &mut context), Finding::Wrong, "not decided yet");
        let later = Change { proof: early.proof, ..right.clone() };
        assert_eq!(trust().step(&later, &mut context), Finding::Wrong, "of another state");
        for at in (0..right.proof.len()).step_by(7) {
            let mut bad = right.clone();
            bad.proof[at] ^= 1;
            assert_eq!(trust().step(&bad, &mut context), Finding::Wrong, "byte {at}");
        }
        let sent = Change::decode(right.encode(), &chain()).expect("as it was written");
        assert_eq!(trust().step(&sent, &mut context), Finding::Right);
        assert!(Change::decode(right.encode().slice(..40), &chain()).is_none());
        assert!(Change::decode(right.encode(), &"devnet-other".parse().expect("a chain id")).is_none());
    });
}

#[test]
fn a_change_is_kept_once_and_given_to_who_asks_until_its_file_is_damaged() {
    deterministic::Runner::seeded(9).start(|context| async move {
        let shelf = Shelf::open(&context, "s-").await;
        let blocks = blocks(&chain(), 16);
        let due: Vec<u64> = (1..16).filter(|height| change_due(&shelf, &blocks[*height as usize - 1].1)).collect();
        // Decided by block 8; after block 15 the next epoch is at hand, in which nothing is decided.
        assert_eq!(due, (8..15).collect::<Vec<_>>());
        let right = change(&context, "a", 10, 0..VOTERS).await;
        shelf.keep_change(&context, &right).await.expect("a simulated disk");
        assert!(!change_due(&shelf, &blocks[9].1));
        let again = Shelf::open(&context, "s-").await;
        assert_eq!(again.answer(&context, &Want::Change { from: 0 }).await, Some(right.encode()));
        assert_eq!(again.answer(&context, &Want::Change { from: 1 }).await, None);
        let (blob, length) = context.open("s-changes", &0_u64.to_be_bytes()).await.expect("kept");
        let byte = blob.read_at(length / 2, 1, ReadOptions::default()).await.expect("a byte").coalesce().as_ref()[0];
        blob.write_at(length / 2, vec![byte ^ 1], WriteOptions::SYNC).await.expect("a write");
        drop(blob);
        assert_eq!(again.answer(&context, &Want::Change { from: 0 }).await, None);
    });
}

#[test]
fn two_snapshots_are_kept_and_a_third_while_somebody_fetches_it() {
    deterministic::Runner::seeded(10).start(|context| async move {
        let blocks = blocks(&chain(), 12);
        let shelf = Shelf::open(&context, "s-").await;
        let put = async |height: u64| {
            let above = &blocks[height as usize].0;
            let certificate = certify(&context, &format!("h{height}"), 0..VOTERS, above).await;
            let (tip, state) = &blocks[height as usize - 1];
            shelf.put(state.clone(), tip, above, certificate, context.current());
        };
        for height in [2, 4, 6] {
            put(height).await;
        }
        let held = || (shelf.oldest().map(|height| height.0), shelf.newest().map(|height| height.0));
        assert_eq!(held(), (Some(4), Some(6)));
        let root = |height| Want::Piece { height, path: Path::root() };
        assert!(shelf.answer(&context, &root(4)).await.is_some());
        assert!(shelf.answer(&context, &root(2)).await.is_none());
        put(8).await;
        assert_eq!(held(), (Some(4), Some(8)));
        // Not for ever, though.
        put(10).await;
        assert_eq!(held(), (Some(8), Some(10)));
        assert!(shelf.answer(&context, &Want::Offer { above: 10 }).await.is_none());
        let offer = shelf.answer(&context, &Want::Offer { above: 9 }).await.expect("one above");
        assert_eq!(Offer::decode(offer, &chain()).expect("an offer").above.below(), Height(10));
    });
}

/// What is there of a fetch that a crash cut short, after something befell its file: how many pieces are left, of how many,
/// and whether the fetch then comes to its end.
fn resumed(befall: impl Fn(&mut Vec<u8>) + Send + 'static) -> (usize, usize) {
    deterministic::Runner::seeded(11).start(|context| async move {
        let shelf = shelf(&context, "p0", STOCK).await;
        let offer = shelf.answer(&context, &Want::Offer { above: 0 }).await.expect("an offer");
        let offer = Offer::decode(offer, &chain()).expect("an offer");
        let mut intake = intake::Intake::begin(&context, "me-", offer).await.expect("a simulated disk");
        while let Some(path) = intake.next() {
            let piece = shelf.answer(&context, &Want::Piece { height: 6, path: path.clone() }).await.expect("a piece");
            let mut bad = piece.to_vec();
            bad[3] ^= 1;
            assert!(!intake.put(&path, &bad).await.expect("a simulated disk"));
            assert!(intake.put(&path, &piece).await.expect("a simulated disk"));
        }
        assert!(intake.is_whole());
        let pieces = intake.pieces().0;
        let tip = shelf.answer(&context, &Want::Tip { height: 6 }).await.expect("the block");
        let tip = commonware_codec::Decode::decode_cfg(tip, &()).expect("a block");
        intake.finish(&context, &Checkpoints::new("x-"), &chain(), &tip).await.expect("all pieces are there");
        drop(intake);
        {
            let (blob, length) = context.open("me-snapshot", &0_u64.to_be_bytes()).await.expect("written");
            let mut bytes = blob
                .read_at(0, length as usize, ReadOptions::default())
                .await
                .expect("read")
                .coalesce()
                .as_ref()
                .to_vec();
            befall(&mut bytes);
            blob.resize(bytes.len() as u64).await.expect("a cut");
            blob.write_at(0, bytes, WriteOptions::default()).await.expect("a write");
            blob.sync().await.expect("a sync");
        }
        let left = intake::Intake::resume(&context, "me-", &chain()).await.expect("a simulated disk");
        let left = left.map_or(0, |intake| intake.pieces().0);
        let outcome = join(&context, vec![(shelf, Does::Right)]).await;
        is_right(&context, outcome.result.as_ref().unwrap_or_else(|_| panic!("{}", error(&outcome)))).await;
        (left, pieces)
    })
}

#[test]
fn a_fetch_that_a_crash_cut_short_goes_on_with_what_is_whole_on_the_disk() {
    let (left, pieces) = resumed(|_| {});
    assert_eq!(left, pieces);
    let (left, pieces) = resumed(|bytes| bytes.truncate(bytes.len() / 2));
    assert!(left > 0 && left < pieces, "{left} of {pieces}");
    let (left, pieces) = resumed(|bytes| {
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
    });
    assert!(left > 0 && left < pieces, "{left} of {pieces}");
    assert_eq!(resumed(|bytes| bytes[0] ^= 1).0, 0);
    assert_eq!(resumed(Vec::clear).0, 0);
}

#[test]
fn a_state_that_nobody_has_any_more_is_given_up_for_a_newer_one() {
    deterministic::Runner::seeded(12).start(|context| async move {
        let old = shelf(&context, "p0", STOCK).await;
        let offer = old.answer(&context, &Want::Offer { above: 0 }).await.expect("an offer");
        let offer = Offer::decode(offer, &chain()).expect("an offer");
        drop(intake::Intake::begin(&context, "me-", offer).await.expect("a simulated disk"));
        let newer = shelf(&context, "p1", Stock { height: 9, ..STOCK }).await;
        let outcome = join(&context, vec![(newer, Does::Right)]).await;
        let joined = outcome.result.as_ref().unwrap_or_else(|_| panic!("{}", error(&outcome)));
        assert_eq!(joined.state.height(), Height(9));
        is_right(&context, joined).await;
    });
}
