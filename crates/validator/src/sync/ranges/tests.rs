//! One node that is behind, and peers on a simulated network that give it blocks, lie about them, or say nothing.

use super::{
    answer::{Wanted, give},
    read::check,
    *,
};
use crate::{
    archive::Archives,
    asking::{Asking, Peers},
    chain::{Block, Digest, ledger_key},
    epochs::Schemes,
    integrity::open_archives,
    progress::Progress,
    sync::tests::{NAMESPACE, certify, guard, private, set},
    testing,
};
use bytes::Bytes;
use commonware_codec::{DecodeExt as _, Encode as _};
use commonware_consensus::{Heightable as _, types::FixedEpocher};
use commonware_cryptography::{Signer as _, ed25519::PublicKey};
use commonware_resolver::{Outcome, Resolution, p2p};
use commonware_runtime::{Clock as _, Quota, Runner as _, Spawner as _, Supervisor as _, deterministic};
use commonware_utils::{
    NZU32, NZU64,
    channel::{oneshot, watch},
    sync::Mutex,
};
use ledger::{EpochLimits, Genesis, GenesisValidator, SecretKey, State, TaskLimits};
use sentinel::catchup::Range;
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

type Context = deterministic::Context;

const VOTERS: u64 = 4;
/// All of them are in the first epoch.
const BLOCKS: u64 = 600;
const EPOCH: u64 = 1_024;

fn blocks() -> Vec<Block> {
    let validator = |seed: u64| GenesisValidator {
        name: format!("n{seed}"),
        key: ledger_key(&private(seed).public_key()),
        address: format!("127.0.0.1:{}", seed + 1),
        region: "local".into(),
        capacity: 1,
        supervisor: None,
    };
    let mut state = State::genesis(&Genesis {
        version: ledger::genesis::VERSION,
        chain_id: "devnet-ranges".parse().expect("a chain id"),
        byzantine_budget: 1,
        timestamp_ms: 1,
        validators: (0..VOTERS).map(validator).collect(),
        balances: Vec::new(),
        tasks: TaskLimits::default(),
        epochs: EpochLimits { length: EPOCH, ..EpochLimits::default() },
        certified: ledger::Certified::default(),
    });
    let secret = SecretKey::from_bytes(private(1).encode().as_ref().try_into().expect("thirty-two bytes"));
    let next = |_| {
        let block = ledger::Block::on(&state, secret.public(), state.timestamp().after(1), Vec::new());
        state.apply(&block).expect("a valid block");
        Block::new(block)
    };
    (0..BLOCKS).map(next).collect()
}

fn epocher() -> FixedEpocher {
    FixedEpocher::new(NZU64!(EPOCH))
}

async fn schemes(context: &Context) -> Schemes {
    Schemes::new(NAMESPACE.to_vec(), private(99), guard(context, "schemes-").await, set(0..VOTERS))
}

async fn empty(context: &Context, name: &str) -> Archives<Context> {
    let archives = open_archives(context, name, [1; 32], 0, &Progress::default()).await.expect("a simulated disk");
    let ((blocks, _), (certificates, _)) = archives;
    Archives { blocks, certificates }
}

/// Archives with these blocks, and with certificates, of these signers, at these heights.
async fn filled(
    context: &Context,
    name: &str,
    held: &[Block],
    signers: std::ops::Range<u64>,
    certified: &[u64],
) -> Archives<Context> {
    let archives = empty(context, name).await;
    for block in held {
        let (height, digest) = (block.height().get(), commonware_cryptography::Digestible::digest(block));
        archives.blocks.insert(height, digest.0, block).await.expect("a simulated disk");
        if certified.contains(&height) {
            // Each with guards of its own, which never voted.
            let certificate = certify(context, &format!("{name}{height}"), signers.clone(), block).await;
            archives.certificates.insert(height, digest.0, &certificate).await.expect("a simulated disk");
        }
    }
    archives
}

fn top_of(given: Option<&Bytes>, range: Range) -> Option<u64> {
    answer::Batch::read(given?.clone(), range).map(|batch| batch.top)
}

#[test]
fn a_range_is_given_up_to_a_block_that_has_a_certificate() {
    deterministic::Runner::seeded(1).start(|context| async move {
        let blocks = blocks();
        let archives = filled(&context, "p-", &blocks[..40], 0..VOTERS, &[8, 16, 39]).await;
        for (from, to, top) in [
            (1, 16, Some(16)),
            (1, 20, Some(16)),
            (1, 8, Some(8)),
            (8, 8, Some(8)),
            (9, 127, Some(39)),
            (1, 7, None),
            (17, 38, None),
            (40, 50, None),
            (90, 99, None),
        ] {
            let range = Range { from, to };
            let given = give(&archives, range).await.expect("a simulated disk");
            assert_eq!(top_of(given.as_ref(), range), top, "{from} to {to}");
        }
        // Up to a hole, and not beyond.
        archives.blocks.reject(20);
        archives.blocks.dress_wounds(&crate::integrity::Quarantine::new("p-")).await.expect("a simulated disk");
        let range = Range { from: 9, to: 39 };
        assert_eq!(top_of(give(&archives, range).await.expect("a simulated disk").as_ref(), range), Some(16));
        let range = Range { from: 17, to: 39 };
        assert_eq!(give(&archives, range).await.expect("a simulated disk"), None);
    });
}

#[test]
fn an_answer_is_right_with_every_byte_or_wrong() {
    deterministic::Runner::seeded(2).start(|mut context| async move {
        let blocks = blocks();
        let schemes = schemes(&context).await;
        let range = Range { from: 3, to: 7 };
        let right = filled(&context, "p-", &blocks[..9], 0..VOTERS, &[7]).await;
        let given = give(&right, range).await.expect("a simulated disk").expect("it is there");
        let mut outcome = |bytes: Bytes, range: Range| {
            check(&mut context, (&schemes, &epocher()), range, bytes).map(|found| found.map(|batch| batch.top))
        };
        assert_eq!(outcome(given.clone(), range), Some(Ok(7)));
        for at in 0..given.len() {
            let mut bytes = given.to_vec();
            bytes[at] ^= 1;
            assert!(matches!(outcome(bytes.into(), range), Some(Err(_))), "byte {at} of {}", given.len());
        }
        for length in 0..given.len() {
            assert!(matches!(outcome(given.slice(..length), range), Some(Err(_))), "{length} bytes");
        }
        // The same blocks are no answer to another question.
        for (from, to) in [(2, 7), (4, 7), (3, 6), (8, 9)] {
            assert!(matches!(outcome(given.clone(), Range { from, to }), Some(Err(_))), "{from} to {to}");
        }
        assert!(matches!(outcome(Bytes::new(), range), Some(Err(_))));
        assert!(matches!(outcome(vec![0; 1 << 20].into(), range), Some(Err(_))));
    });
}

#[test]
fn a_certificate_of_others_or_of_too_few_stands_for_nothing() {
    deterministic::Runner::seeded(3).start(|mut context| async move {
        let blocks = blocks();
        let schemes = schemes(&context).await;
        let range = Range { from: 1, to: 4 };
        for (name, signers) in [("others", 10..14), ("few", 0..2)] {
            let archives = filled(&context, &format!("{name}-"), &blocks[..4], signers, &[4]).await;
            let given = give(&archives, range).await.expect("a simulated disk").expect("it is there");
            assert!(matches!(check(&mut context, (&schemes, &epocher()), range, given), Some(Err(_))), "{name}");
        }
    });
}

#[test]
fn a_question_is_what_it_was_written_as_and_no_other_is_one() {
    for (from, to) in [(1, 1), (1, 128), (u64::MAX, u64::MAX)] {
        let wanted = Wanted(Range { from, to });
        assert_eq!(Wanted::decode(wanted.encode()).ok(), Some(wanted));
        assert!(Wanted::decode(wanted.encode().slice(..15)).is_err());
    }
    for (from, to) in [(0, 1), (2, 1), (1, 129), (1, u64::MAX)] {
        assert!(Wanted::decode(Wanted(Range { from, to }).encode()).is_err(), "{from} to {to}");
    }
}

/// What a peer does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Does {
    /// Gives what it has.
    Right,
    /// The same, after a second.
    Slow,
    /// Changes a byte.
    OneByte,
    /// Answers with nothing at all.
    Empty,
    /// Gives another range than it was asked for.
    Another,
    /// Takes questions and never answers.
    Silent,
    /// Says that it has nothing.
    Nothing,
}

#[derive(Clone)]
struct Peer {
    context: Arc<Context>,
    archives: Archives<Context>,
    does: Does,
    asked: Arc<Mutex<u64>>,
    unanswered: Arc<Mutex<Vec<oneshot::Sender<Bytes>>>>,
}

impl p2p::Producer for Peer {
    type Key = Wanted;

    fn produce(&mut self, Wanted(range): Wanted) -> oneshot::Receiver<Bytes> {
        *self.asked.lock() += 1;
        let (reply, receiver) = oneshot::channel();
        let peer = self.clone();
        self.context.child("answer").spawn(move |context| async move {
            let other = Range { from: range.from + 8, to: range.to + 8 };
            let asked = if peer.does == Does::Another { other } else { range };
            let right = give(&peer.archives, asked).await.expect("a simulated disk");
            let given = match peer.does {
                Does::Right | Does::Another => right,
                Does::Slow => {
                    context.sleep(Duration::from_secs(1)).await;
                    right
                }
                Does::OneByte => right.map(|bytes| {
                    let mut bytes = bytes.to_vec();
                    let at = bytes.len() / 2;
                    bytes[at] ^= 1;
                    bytes.into()
                }),
                Does::Empty => Some(Bytes::new()),
                Does::Silent => return peer.unanswered.lock().push(reply),
                Does::Nothing => None,
            };
            if let Some(bytes) = given {
                let _ = reply.send(bytes);
            }
        });
        receiver
    }
}

/// A store that takes what it is fed, and applies it.
#[derive(Clone)]
struct Larder {
    applied: Progress,
    fed: Arc<Mutex<Vec<(u64, Bytes)>>>,
    promised: Arc<Mutex<Option<Range>>>,
    ended: Arc<Mutex<Vec<u64>>>,
}

impl Larder {
    fn take(&self, height: u64, bytes: Bytes) -> oneshot::Receiver<Outcome> {
        self.fed.lock().push((height, bytes));
        self.applied.raise(height);
        let (verdict, receiver) = oneshot::channel();
        verdict.send(Outcome::Resolved(Resolution::Complete)).expect("held");
        receiver
    }
}

impl Feeding for Larder {
    fn promise(&self, heights: Range) {
        *self.promised.lock() = Some(heights);
    }

    fn end(&mut self, height: u64) {
        *self.promised.lock() = None;
        self.ended.lock().push(height);
    }

    fn block(&mut self, height: u64, _: Digest, block: Bytes) -> oneshot::Receiver<Outcome> {
        self.take(height, block)
    }

    fn certified(&mut self, height: u64, certified: Bytes) -> oneshot::Receiver<Outcome> {
        self.take(height, certified)
    }
}

struct Outcomes {
    fed: Vec<(u64, Bytes)>,
    ended: Vec<u64>,
    asked: Vec<u64>,
    blocked: BTreeSet<usize>,
    took: Duration,
}

/// Lets peers of these kinds answer until the node has all blocks, or for so long.
fn read(peers: &'static [Does], patience: Duration) -> Outcomes {
    deterministic::Runner::seeded(7).start(move |context| async move {
        let blocks = blocks();
        let quota = Quota::per_second(NZU32!(256)).allow_burst(NZU32!(64));
        let keys: Vec<PublicKey> = (0..=peers.len() as u64).map(|seed| private(50 + seed).public_key()).collect();
        let oracle = testing::network(&context, &keys, 4 << 20).await;
        let certified: Vec<u64> = (1..=BLOCKS).filter(|height| height % 8 == 7 || *height == BLOCKS).collect();
        let archives = filled(&context, "p-", &blocks, 0..VOTERS, &certified).await;
        let (mut counts, mut mailboxes) = (Vec::new(), Vec::new());
        for (index, does) in peers.iter().enumerate() {
            let asked = Arc::new(Mutex::new(0));
            counts.push(asked.clone());
            let (archives, unanswered) = (archives.clone(), Arc::default());
            let peer = Peer { context: Arc::new(context.child("peer")), archives, does: *does, asked, unanswered };
            let engine = context.child("engine").with_attribute("index", index);
            let mailbox = testing::answer(&engine, &oracle, &keys[index + 1], (10, quota), peer).await;
            mailboxes.push(mailbox);
        }
        let control = oracle.control(keys[0].clone());
        let channel = control.register(10, quota).await.expect("a free channel");
        let mine = empty(&context, "me-").await;
        let (_answering, questions) = Answering::new(mine.clone());
        let asker = Peers { me: keys[0].clone(), blocker: control, provider: oracle.manager() };
        let asking = Asking::start(&context.child("asking"), asker, questions, PATIENCE, channel);
        let applied = Progress::default();
        let larder =
            Larder { applied: applied.clone(), fed: Arc::default(), promised: Arc::default(), ended: Arc::default() };
        let place =
            Place { archives: mine, schemes: schemes(&context).await, epocher: epocher(), applied: applied.clone() };
        let (goal, goals) = watch::channel(None);
        let reader = Reader::new(context.child("reader"), place, asking, larder.clone());
        let running = context.child("reader").spawn(move |_| reader.run(goals));
        let began: SystemTime = context.current();
        goal.send_replace(Some(Goal { until: BLOCKS }));
        tokio::select! {
            () = applied.reach(BLOCKS) => {}
            () = context.sleep(patience) => {}
        }
        let took = context.current().duration_since(began).expect("forward");
        assert!(larder.promised.lock().is_none_or(|promised| promised.to == BLOCKS));
        goal.send_replace(None);
        context.sleep(Duration::from_millis(10)).await;
        assert_eq!(*larder.promised.lock(), None, "the store may ask again");
        running.abort();
        let place_of = |key: &PublicKey| keys.iter().position(|other| other == key).expect("one of them") - 1;
        let blocked = oracle.blocked().await.expect("the network runs");
        let (fed, ended) = (larder.fed.lock().clone(), larder.ended.lock().clone());
        Outcomes {
            fed,
            ended,
            asked: counts.iter().map(|count| *count.lock()).collect(),
            blocked: blocked.iter().map(|(_, to)| place_of(to)).collect(),
            took,
        }
    })
}

#[track_caller]
fn all_came(outcome: &Outcomes) {
    let heights: Vec<u64> = outcome.fed.iter().map(|(height, _)| *height).collect();
    assert_eq!(heights, (1..=BLOCKS).collect::<Vec<_>>(), "each once, and in order");
    let blocks = blocks();
    for ((_, bytes), block) in outcome.fed.iter().zip(&blocks) {
        assert!(bytes.ends_with(&block.encode()), "block {}", block.height());
    }
}

#[test]
fn blocks_come_in_ranges_from_several_peers() {
    let outcome = read(&[Does::Right, Does::Right, Does::Right], Duration::from_secs(30));
    all_came(&outcome);
    assert!(outcome.asked.iter().all(|asked| *asked > 0), "{:?}", outcome.asked);
    assert!(outcome.asked.iter().sum::<u64>() < BLOCKS / 4, "{:?}", outcome.asked);
    assert_eq!((outcome.blocked.len(), outcome.ended.len()), (0, 1));
    assert!(outcome.took < Duration::from_secs(2), "{:?}", outcome.took);
}

#[test]
fn peers_that_lie_are_cut_off_and_cost_next_to_nothing() {
    let outcome = read(&[Does::OneByte, Does::Right, Does::Empty, Does::Another], Duration::from_secs(30));
    all_came(&outcome);
    assert!(outcome.blocked.iter().all(|peer| *peer != 1) && outcome.blocked.contains(&0), "{:?}", outcome.blocked);
    assert!(outcome.took < Duration::from_secs(4), "{:?}", outcome.took);
}

#[test]
fn slow_and_silent_peers_are_asked_less_and_not_cut_off() {
    let outcome = read(&[Does::Slow, Does::Right, Does::Silent, Does::Nothing], Duration::from_secs(60));
    all_came(&outcome);
    assert_eq!(outcome.blocked, BTreeSet::new());
    assert!(outcome.asked[1] > outcome.asked[0] && outcome.asked[1] > outcome.asked[2], "{:?}", outcome.asked);
    assert!(outcome.took < Duration::from_secs(15), "{:?}", outcome.took);
}

#[test]
fn where_nobody_gives_ranges_the_store_is_left_to_ask_by_itself() {
    let outcome = read(&[Does::Silent, Does::Nothing], Duration::from_secs(40));
    assert_eq!((outcome.fed.len(), outcome.blocked.len()), (0, 0));
    assert!(outcome.ended.len() > 1, "it is told before the goal is gone: {:?}", outcome.ended);
    assert_eq!(outcome.ended[0], 1);
}
