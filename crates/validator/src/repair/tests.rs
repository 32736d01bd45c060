//! One archive that misses blocks, and peers on a simulated network that answer rightly, wrongly, or not at all.

use super::{fetch, *};
use crate::{asking::Peers, integrity::open_archives, progress::Progress, testing};
use commonware_cryptography::{
    Signer as _,
    certificate::ConstantProvider,
    ed25519::{PrivateKey, PublicKey},
};
use commonware_resolver::p2p;
use commonware_runtime::{Quota, Runner as _, Supervisor as _, deterministic};
use commonware_utils::{NZU32, channel::oneshot, ordered::Set};
use std::sync::atomic::{AtomicU64, Ordering};

/// How a peer answers.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Honest,
    /// With another block than the one that was asked for.
    Lies,
    Silent,
}
use Manner::{Honest, Lies, Silent};

/// What a peer does when it is asked.
#[derive(Clone)]
struct Peer {
    /// The blocks it gives; all others it does not have.
    blocks: Arc<BTreeMap<Digest, Block>>,
    manner: Manner,
    asked: Arc<AtomicU64>,
    /// Answers that never come.
    owed: Arc<Mutex<Vec<oneshot::Sender<bytes::Bytes>>>>,
}

impl p2p::Producer for Peer {
    type Key = Key<Digest>;

    fn produce(&mut self, key: Key<Digest>) -> oneshot::Receiver<bytes::Bytes> {
        use commonware_codec::Encode as _;
        self.asked.fetch_add(1, Ordering::Relaxed);
        let (answer, receiver) = oneshot::channel();
        if self.manner == Silent {
            self.owed.lock().push(answer);
            return receiver;
        }
        let lies = self.manner == Lies;
        let block = match key {
            Key::Block(digest) if lies => self.blocks.iter().find(|(other, _)| **other != digest),
            Key::Block(digest) => self.blocks.get_key_value(&digest),
            Key::Finalized { .. } | Key::Notarized { .. } => None,
        };
        if let Some((_, block)) = block {
            let _ = answer.send(block.encode());
        } else if lies {
            let _ = answer.send(bytes::Bytes::from_static(&[0xff; 200]));
        }
        receiver
    }
}

fn chain(count: u64) -> Vec<Block> {
    let mut state = testing::state();
    let leader = testing::key(testing::VALIDATOR).public();
    let next = |_| {
        let block = ledger::Block::on(&state, leader, state.timestamp().after(1), Vec::new());
        state.apply(&block).expect("a valid block");
        Block::new(block)
    };
    (0..count).map(next).collect()
}

fn quota() -> Quota {
    Quota::per_second(NZU32!(256)).allow_burst(NZU32!(64))
}

/// What became of an archive of twelve blocks without these, when its peers are of these kinds.
struct Outcome {
    missing: Vec<u64>,
    status: StoreStatus,
    /// Which of those that are missing nobody has.
    out_of_reach: Vec<u64>,
    asked: Vec<u64>,
    /// How many peers were cut off.
    blocked: usize,
    events: Vec<EventKind>,
}

fn check(missing: &'static [u64], manners: &'static [Manner], holds: bool, wait: Duration) -> Outcome {
    deterministic::Runner::seeded(3).start(move |context| async move {
        let keys: Vec<PublicKey> =
            (0..=manners.len() as u64).map(|seed| PrivateKey::from_seed(seed).public_key()).collect();
        let oracle = testing::network(&context, &keys, 1 << 20).await;
        let blocks = chain(12);
        let held: BTreeMap<Digest, Block> = blocks.iter().map(|block| (block.digest(), block.clone())).collect();
        // A peer answers for as long as its mailbox is held.
        let (mut peers, mut mailboxes) = (Vec::new(), Vec::new());
        for (index, manner) in manners.iter().enumerate() {
            let blocks = if holds { held.clone() } else { BTreeMap::new() };
            let peer = Peer { blocks: Arc::new(blocks), manner: *manner, asked: Arc::default(), owed: Arc::default() };
            let engine = context.child("engine").with_attribute("index", index);
            let mailbox = testing::answer(&engine, &oracle, &keys[index + 1], (4, quota()), peer.clone()).await;
            mailboxes.push(mailbox);
            peers.push(peer);
        }

        let changes = Progress::default();
        let archives = open_archives(&context, "a-", [1; 32], 0, &changes).await.expect("a simulated disk");
        let ((archive, found), (certificates, _)) = archives;
        for block in blocks.iter().filter(|block| !missing.contains(&block.height().get())) {
            archive.insert(block.height().get(), block.digest().0, block).await.expect("a simulated disk");
        }
        archive.expect(&found, 12, true);
        let store = Store {
            blocks: archive.clone(),
            certificates,
            quarantine: crate::integrity::Quarantine::new("a-"),
            changes,
            findings: Vec::new(),
        };
        let control = oracle.control(keys[0].clone());
        let channel = control.register(4, quota()).await.expect("a free channel");
        let asker = Peers { me: keys[0].clone(), blocker: control, provider: oracle.manager() };
        let fetch::Backfill { engine: _engine, fetcher, answers, .. } =
            fetch::start(&context.child("backfill"), asker, channel);
        let scheme = Scheme::verifier(b"test", Set::from_iter_dedup(keys.iter().cloned()));
        let events = EventLog::new(64);
        let settings = Settings { genesis: blocks[0].clone(), checkpoints: Checkpoints::new("a-"), scrub_rate: 0 };
        let (repair, health) = Repair::new(
            context.child("repair"),
            settings,
            store,
            (fetcher, answers),
            ConstantProvider::<Scheme, Epoch>::new(scheme),
            events.clone(),
        );
        context.child("task").spawn(move |_| repair.run());
        context.sleep(wait).await;
        let blocked = oracle.blocked().await.expect("the network runs").len();
        for block in &blocks {
            if let Some((digest, found)) = archive.read(block.height().get()).await.expect("a simulated disk") {
                assert_eq!((digest, &found), (block.digest().0, block), "only what is right is taken");
            }
        }
        let asked = peers.iter().map(|peer| peer.asked.load(Ordering::Relaxed)).collect();
        Outcome {
            missing: archive.missing().downward(),
            status: health.status(),
            out_of_reach: (1..=12).filter(|height| health.is_out_of_reach(*height)).collect(),
            asked,
            blocked,
            events: events.since(0).into_iter().map(|event| event.kind).collect(),
        }
    })
}

#[test]
fn missing_blocks_come_back_from_a_peer_that_holds_them_the_one_above_telling_which() {
    let outcome = check(&[3, 5, 6, 7], &[Honest, Honest], true, Duration::from_secs(10));
    assert_eq!((outcome.missing.len(), outcome.blocked), (0, 0));
    assert_eq!(outcome.status.repaired, 4);
    assert!(outcome.asked.iter().sum::<u64>() >= 4);
    assert!(outcome.events.iter().any(|event| matches!(event, EventKind::StoreRepaired { to: 7, .. })));
}

#[test]
fn a_peer_that_answers_wrongly_is_cut_off_and_others_are_asked() {
    let outcome = check(&[2, 4, 6, 8, 9, 10], &[Lies, Lies, Honest], true, Duration::from_secs(20));
    assert_eq!(outcome.missing.len(), 0);
    let (lied, told) = (outcome.asked[..2].iter().filter(|asked| **asked > 0).count(), outcome.blocked);
    assert!(lied > 0 && told >= lied, "{lied} liars were asked, {told} peers are cut off");
}

#[test]
fn peers_that_say_nothing_are_not_waited_for_longer_than_they_may_take() {
    let outcome = check(&[2, 4, 6, 8, 10], &[Silent, Silent, Honest], true, Duration::from_secs(7));
    assert!(outcome.asked[..2].iter().sum::<u64>() > 0, "{:?}", outcome.asked);
    assert_eq!(outcome.missing, [0; 0]);
}

#[test]
fn what_nobody_holds_stays_missing_and_is_told() {
    let outcome = check(&[5], &[Honest, Honest], false, Duration::from_secs(60));
    assert_eq!(outcome.missing, [5]);
    assert_eq!(outcome.status.out_of_reach, Some(5));
    assert_eq!(outcome.out_of_reach, [5]);
    assert!(outcome.events.contains(&EventKind::StoreOutOfReach { height: 5 }));
    // With pauses that grow it is not asked for all the time.
    assert!(outcome.asked.iter().sum::<u64>() < 300, "{:?}", outcome.asked);
}

#[test]
fn the_topmost_block_needs_a_certificate_and_a_forged_one_is_not_taken() {
    let outcome = check(&[12], &[Lies], true, Duration::from_secs(10));
    assert_eq!(outcome.missing, [12]);
    assert_eq!(outcome.blocked, 1);
}
