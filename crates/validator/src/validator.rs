//! One validator, wired.
//!
//! Generic over the runtime context and the network's ends only: the same function starts a node on real sockets and
//! disks and in the deterministic simulation.

use crate::{
    alone::Alone,
    archive::Archives,
    asking::{Asking, Peers},
    blocker::{PolicyBlocker, Witness},
    boundary::Boundary,
    chain::{Application, Block, Deliveries, Digest, Ledger, Observer, Pace},
    config::Config,
    driver::{Driver, Inputs, Parts, Settings},
    epochs::{self, Engines, Epochs, Ground, Launch, Schemes},
    guard::{Found, Guard, GuardError},
    integrity::{self, Damage, Finding},
    lookout::{self, Lookout, Own, Sights},
    mempool::{Limits, Mempool},
    orders::{self, Desk, Seal},
    progress::Rounds,
    repair::{self, Backfill, Repair},
    reunion::Reunion,
    roster::Roster,
    scheme::Scheme,
    store::Checkpoints,
    sync::{self, Answering, Joiner, Reader, Serving, Shelf},
    wire::{GOSSIP_BYTES_MAX, PROBE_BYTES_MAX, PROTOCOL_VERSION, row_bytes_max, said_bytes_max},
    worker::{CanaryLimits, Execute, HUNG_AFTER, Worker},
};
use api::{EventLog, Request, Snapshot, Status};
use commonware_broadcast::buffered;
use commonware_codec::Encode as _;
use commonware_consensus::{
    Reporters,
    marshal::{
        self,
        core::Actor,
        standard::{Deferred, Standard},
    },
    simplex::{self, ForwardPolicy, SkipBudget, SkipPolicy, elector::RoundRobin},
    types::{FixedEpocher, ViewDelta},
};
use commonware_cryptography::{
    Digested, Digestible as _, Signer as _, certificate,
    ed25519::{PrivateKey, PublicKey},
};
use commonware_p2p::{
    Blocker, Provider, Receiver, Sender,
    utils::mux::{self, MuxHandle, Muxer},
};
use commonware_parallel::Sequential;
use commonware_runtime::{Clock, Handle, Metrics, Quota, Spawner, Storage, buffer::paged::CacheRef};
use commonware_utils::{
    NZDuration, NZU16, NZU64, NZUsize,
    channel::{mpsc, watch},
    ordered::Set,
};
use ledger::{Genesis, SecretKey, State, genesis::VALIDATORS_MAX};
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};
use std::{
    num::{NonZeroU64, NonZeroUsize},
    sync::Arc,
    time::Duration,
};
use tracing::{info, warn};

/// The channels of the peer-to-peer network, in the order in which [`Network`] holds them.
pub const CHANNELS: [Channel; 11] = [
    Channel { id: 0, per_second: 256, burst: 64 },
    Channel { id: 1, per_second: 256, burst: 64 },
    Channel { id: 2, per_second: 128, burst: 32 },
    Channel { id: 3, per_second: 64, burst: 16 },
    Channel { id: 4, per_second: 4_096, burst: 128 },
    Channel { id: 5, per_second: 32, burst: 8 },
    Channel { id: 6, per_second: 256, burst: 64 },
    Channel { id: 7, per_second: 128, burst: 32 },
    Channel { id: ORDERS, per_second: 4, burst: 4 },
    Channel { id: SNAPSHOTS, per_second: 64, burst: 16 },
    Channel { id: RANGES, per_second: 256, burst: 64 },
];

/// The channel between supervisors and validators. Supervisors have no other.
pub const ORDERS: u64 = 8;

/// The channel on which states are asked for and given.
pub const SNAPSHOTS: u64 = 9;

/// The channel on which ranges of blocks are asked for and given.
pub const RANGES: u64 = 10;

/// A channel and how much each peer may say on it. The engine allocates for the burst, so it is small and explicit.
#[derive(Clone, Copy, Debug)]
pub struct Channel {
    /// Its number.
    pub id: u64,
    per_second: u32,
    burst: u32,
}

impl Channel {
    /// The quota per peer.
    ///
    /// # Panics
    /// Never: the rates above are not zero.
    pub fn quota(&self) -> Quota {
        let nonzero = |value| std::num::NonZeroU32::new(value).expect("rates are not zero");
        Quota::per_second(nonzero(self.per_second)).allow_burst(nonzero(self.burst))
    }
}

/// Requests that may wait for the driver; the API answers 503 beyond.
const REQUESTS_MAX: usize = 512;

/// Events kept for late subscribers.
const EVENTS_MAX: usize = 10_000;

/// A node's ends of the network: one pair per [`CHANNELS`] entry, who is blocked, who is there.
pub struct Network<S, R, B, P> {
    /// In the order of [`CHANNELS`].
    pub channels: [(S, R); CHANNELS.len()],
    /// The network's blocker.
    pub blocker: B,
    /// The network's peer sets.
    pub provider: P,
    /// Who may connect, from now on.
    pub track: Track,
}

/// Tells the network who may connect, and where they are: all others that have a seat, those that vote or learn first. It
/// does not wait for anything.
pub type Track = Arc<dyn Fn(Vec<(PublicKey, String)>) + Send + Sync>;

/// Who this node is and how it behaves.
#[derive(Clone)]
pub struct Identity {
    /// The chain.
    pub genesis: Genesis,
    /// This validator's key.
    pub key: PrivateKey,
    /// What to call it while the chain gives it no seat.
    pub name: String,
    /// Whether the key is known never to have signed: its guard may be made anew.
    pub fresh: bool,
    /// Files of the storage that were set aside before the start because they were damaged, in words.
    pub set_aside: Vec<String>,
    /// Prefix of all storage partitions; empty where the node has a storage of its own.
    pub partition: String,
}

/// A running validator.
pub struct Node {
    /// Its mailbox, for the API.
    pub requests: mpsc::Sender<Request>,
    /// What it shows.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// What happens to it.
    pub events: EventLog,
    /// States and mempool, for checkers.
    pub ledger: Arc<Ledger>,
    /// Finalized blocks, for checkers.
    pub marshal: marshal::core::Mailbox<Scheme, Standard<Block>>,
    /// What opening the vote guard found.
    pub found: Found,
    /// Ends when any part of the node ends; aborting it ends all of them.
    pub handle: Handle<Result<(), String>>,
}

/// Why a node cannot start on what it was given.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Rejected {
    /// The genesis file holds a key that is none.
    #[error("the genesis file holds a key that is no Ed25519 public key")]
    BadKey,
    /// The vote guard belongs to someone else.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The disk fails.
    #[error("the storage fails: {0}; mend the disk and start again")]
    Storage(#[from] commonware_runtime::Error),
}

/// The namespace that votes are signed under and peers shake hands in: chain and protocol version.
pub fn namespace(genesis: &Genesis) -> Vec<u8> {
    namespace_of(&genesis.chain_id.to_string(), &genesis.hash().to_string())
}

pub(crate) fn namespace_of(chain_id: &str, genesis_hash: &str) -> Vec<u8> {
    format!("unsplit/{chain_id}/{genesis_hash}/{PROTOCOL_VERSION}").into_bytes()
}

/// What binds a vote guard to a key and a chain.
pub(crate) fn guard_identity(namespace: &[u8], key: &PublicKey) -> [u8; 32] {
    Sha256::new().chain_update(namespace).chain_update(key.as_ref()).finalize().into()
}

/// What binds the archives to a chain.
pub(crate) fn chain_identity(namespace: &[u8]) -> [u8; 32] {
    Sha256::digest(namespace).into()
}

/// Four MiB of pages, shared by everything that a node keeps on disk.
pub(crate) fn page_cache() -> CacheRef {
    CacheRef::new(NZU16!(4_084), NZUsize!(1_024))
}

/// The validators as the engine wants them.
pub fn participants(roster: &Roster) -> Set<PublicKey> {
    Set::from_iter_dedup(roster.members().iter().map(|member| member.key.clone()))
}

/// The largest message on any channel, however many validators there come to be; every peer must use the same.
pub fn message_bytes_max() -> u32 {
    let validators = VALIDATORS_MAX;
    let n = u32::try_from(validators).expect("validator counts are small");
    commonware_p2p::max_message_size(&[
        mux::prefixed(simplex::max_payload_size::<Scheme, Digest>(n)),
        marshal::max_payload_size::<Standard<Block>, Scheme>(n, &()),
        said_bytes_max(row_bytes_max(validators)),
        PROBE_BYTES_MAX,
        orders::MESSAGE_BYTES_MAX,
        sync::message_bytes_max(validators),
        // A count before the transactions.
        GOSSIP_BYTES_MAX + 4,
    ])
}

/// Starts a validator on `network` and the context's storage, which does its tasks with `execute`.
///
/// # Errors
/// See [`Rejected`].
pub async fn start<E, S, R, B, P>(
    context: E,
    identity: Identity,
    config: &Config,
    network: Network<S, R, B, P>,
    execute: Execute<E>,
) -> Result<Node, Rejected>
where
    E: CryptoRng + Spawner + Clock + Metrics + Storage,
    S: Sender<PublicKey = PublicKey>,
    R: Receiver<PublicKey = PublicKey>,
    B: Blocker<PublicKey = PublicKey> + Sync,
    P: Provider<PublicKey = PublicKey> + Sync,
{
    let Identity { genesis, key, name, fresh, set_aside, partition } = identity;
    let me = key.public_key();
    let secret = SecretKey::from_bytes(key.encode().as_ref().try_into().expect("an Ed25519 key has 32 bytes"));
    let roster = Roster::new(&genesis).ok_or(Rejected::BadKey)?;
    let participants = participants(&roster);
    let namespace = namespace(&genesis);
    // A key that is not of the genesis has a vote only once the chain says so. Its guard starts empty like any other that
    // never signed, and that is safe: a key without a vote has cast none that a later one could contradict, and the chain
    // gives no seat to a key that ever had one. If its guard is lost afterwards it sits out like anybody else.
    let roster = roster.seen_by(&me, &name);

    let (guard, found) =
        Guard::open(context.child("guard"), &partition, guard_identity(&namespace, &me), fresh).await?;
    report_guard(&found);
    let schemes = Schemes::new(namespace.clone(), key.clone(), guard.clone(), participants);
    let epochs = Epochs::open(&context, &partition, schemes.clone()).await;

    let events = EventLog::new(EVENTS_MAX);
    let clock = Arc::new(context.child("policy"));
    let mut names = roster.names();
    names.remove(&me);
    let blocker = PolicyBlocker::new(network.blocker, ledger::faults(roster.len()), names, events.clone(), move || {
        clock.current()
    });
    let peers = roster.members().iter().map(|member| member.key.clone()).filter(|key| *key != me).collect();
    let boundary = Boundary::new(guard.clone(), peers);
    let [votes, certificates, resolver, blocks, fetches, rows, gossip, probes, asked, snapshots, ranges] =
        network.channels;
    let votes = boundary.wrap(context.child("votes"), votes);
    let certificates = boundary.wrap(context.child("certificates"), certificates);
    let resolver = boundary.wrap(context.child("resolver"), resolver);
    let blocks = boundary.wrap(context.child("blocks"), blocks);
    let fetches = boundary.wrap(context.child("fetches"), fetches);
    let rows = boundary.pass(context.child("rows"), rows);
    let gossip = boundary.wrap(context.child("gossip"), gossip);
    let snapshots = boundary.wrap(context.child("snapshots"), snapshots);
    let ranges = boundary.wrap(context.child("ranges"), ranges);
    let probes = boundary.pass(context.child("probes"), probes);

    // Everything below belongs to one task, so that aborting it is a crash of this validator alone.
    let page_cache = page_cache();
    let consensus = config.consensus.clone();
    let limits = Limits {
        transactions_max: config.mempool.transactions_max,
        bytes_max: config.mempool.bytes_max,
        per_account_max: config.mempool.per_account_max,
    };
    let genesis_state = State::genesis(&genesis);
    let genesis_block = Block::new(ledger::Block::first(&genesis, genesis_state.root()));
    let ledger = Arc::new(Ledger::new(genesis_state, Mempool::new(limits)));
    let genesis_digest = genesis_block.digest();

    let journals = epochs::journals(&context, &partition).await;
    let place = integrity::Place {
        prefix: &partition,
        chain: chain_identity(&namespace),
        chain_id: &genesis.chain_id,
        genesis: &genesis_block,
        page_cache: &page_cache,
        journals: &journals,
    };
    let mut store = integrity::open(&context.child("integrity"), &place).await?;
    store.findings.extend(guard_damage(&found));
    store.findings.extend(set_aside.into_iter().map(|what| {
        let kept = Some("quarantine".into());
        Finding { part: "files".into(), damage: Damage::Rot, heights: None, kept, what }
    }));
    let peers =
        |component| Peers { me: me.clone(), blocker: blocker.component(component), provider: network.provider.clone() };
    let Backfill { engine: backfill, fetcher, answers, feed } =
        repair::start_backfill(&context.child("backfill"), peers("backfill"), fetches);
    let shelf = Shelf::open(&context, &partition).await;
    let (serving, questions) = Serving::new(shelf.clone());
    let asking = Asking::start(&context.child("snapshots"), peers("snapshots"), questions, sync::PATIENCE, snapshots);
    let archives = Archives { blocks: store.blocks.clone(), certificates: store.certificates.clone() };
    let (answering, questions) = Answering::new(archives.clone());
    let asking_ranges =
        Asking::start(&context.child("ranges"), peers("ranges"), questions, sync::RANGES_PATIENCE, ranges);
    let place = sync::Place {
        partition: partition.clone(),
        namespace: namespace.clone(),
        chain: genesis.chain_id.clone(),
        schemes: schemes.clone(),
        archives: archives.clone(),
    };
    let (joiner, reporting) = Joiner::new(context.child("joiner"), place, asking);
    let (finalized, finalizations) = (store.blocks.clone(), store.certificates.clone());
    let (repair, health) = Repair::new(
        context.child("repair"),
        repair::Settings {
            genesis: genesis_block.clone(),
            checkpoints: Checkpoints::new(&partition),
            scrub_rate: config.store.scrub_bytes_per_second,
        },
        store,
        (fetcher, answers),
        schemes.clone(),
        events.clone(),
    );
    let (broadcast, buffer) = buffered::Engine::new(
        context.child("broadcast"),
        buffered::Config {
            public_key: me.clone(),
            mailbox_size: NZUsize!(1_024),
            deque_size: 16,
            priority: true,
            codec_config: (),
            peer_provider: network.provider,
            strategy: Sequential,
        },
    );
    let broadcast = broadcast.start(blocks);

    let length = NonZeroU64::new(genesis.epochs.length).expect("a valid genesis has epochs of some length");
    let epocher = FixedEpocher::new(length);
    let place = sync::RangesPlace {
        archives,
        schemes: schemes.clone(),
        epocher: epocher.clone(),
        applied: ledger.applied.clone(),
    };
    let reader = Reader::new(context.child("ranges"), place, asking_ranges, feed);
    let (actor, mailbox, _floor) = Actor::<_, Standard<Block>, _, _, _, _, _>::init(
        context.child("marshal"),
        finalizations,
        finalized,
        marshal::Config {
            provider: schemes,
            epocher: epocher.clone(),
            start: marshal::Start::Genesis(Digested::precomputed(genesis_block.clone(), genesis_digest)),
            partition_prefix: format!("{partition}marshal"),
            mailbox_size: NZUsize!(1_024),
            view_retention: ViewDelta::new(64),
            // What is cached goes by so many views: others can fetch it until then, whatever the archives keep.
            prunable_items_per_section: NZU64!(128),
            page_cache: page_cache.clone(),
            replay_buffer: BUFFER,
            key_write_buffer: BUFFER,
            value_write_buffer: BUFFER,
            block_codec_config: (),
            max_repair: NZUsize!(256),
            max_pending_acks: NZUsize!(64),
            strategy: Sequential,
        },
    )
    .await;

    let pace = Pace {
        block_time: consensus.block_time,
        idle_block_time: consensus.block_time.max(consensus.leader_timeout / 4),
        build_timeout: consensus.build_timeout,
    };
    let application = Application::new(ledger.clone(), pace);
    let deferred = Deferred::new(context.child("application"), application, mailbox.clone(), epocher.clone());
    let (deliveries, delivered) = mpsc::unbounded_channel();
    let marshal = actor.start(Deliveries(deliveries), buffer, backfill);

    let rounds = Rounds::default();
    let sights = Sights::new(roster.len());
    // Until the driver has read what there is, rows say at least this much.
    sights.tell(Own { voting: guard.observing().is_none(), ..Own::default() }, None);
    let lookout = Lookout::new(
        context.child("lookout"),
        lookout::Settings {
            key: key.clone(),
            roster: roster.clone(),
            namespace: namespace.clone(),
            health: config.health.detector(),
            heartbeat: config.health.heartbeat_interval,
        },
        boundary.clone(),
        rounds.clone(),
        sights.clone(),
        (rows.0, probes.0),
    );
    let muxes = [
        muxed(context.child("mux_votes"), votes),
        muxed(context.child("mux_certificates"), certificates),
        muxed(context.child("mux_resolver"), resolver),
    ];
    let ground =
        Ground { marshal: mailbox.clone(), genesis: genesis_digest, epocher, partition: partition.clone(), muxes };
    let launch = {
        let (guard, rounds, sights, roster) = (guard.clone(), rounds.clone(), sights.clone(), roster.clone());
        let (blocker, context, me) = (blocker.clone(), context.child("consensus"), me.clone());
        let consensus = consensus.clone();
        // Everybody who is there repeats itself within `retry`.
        let reunion = Reunion::new(consensus.skip_timeout, 2 * consensus.retry);
        move |Launch { epoch, scheme, floor, partition, channels: [votes, certificates, resolver] }| {
            let context = context.child("engine").with_attribute("epoch", epoch);
            let participants = certificate::Scheme::participants(&scheme);
            let place = |key| roster.index(key).expect("who votes has a seat, and the driver learned of that first");
            let voters = participants.iter().map(place).collect();
            reunion.convene(participants, &me);
            let votes = (votes.0, reunion.of(context.child("votes"), votes.1));
            let certificates = (certificates.0, reunion.of(context.child("certificates"), certificates.1));
            let witness = Witness::new(blocker.component("evidence"), participants.iter().cloned().collect());
            let observer = Observer::new(
                context.child("evidence"),
                scheme.clone(),
                guard.clone(),
                rounds.clone(),
                (sights.clone(), voters),
                witness,
            );
            let engine = simplex::Engine::new(
                context,
                simplex::Config {
                    scheme,
                    elector: RoundRobin::<commonware_cryptography::Sha256>::default(),
                    blocker: blocker.component("consensus"),
                    automaton: deferred.clone(),
                    relay: deferred.clone(),
                    reporter: Reporters::from((deferred.clone(), observer)),
                    track_historical_votes: true,
                    strategy: Sequential,
                    partition,
                    mailbox_size: NZUsize!(1_024),
                    epoch,
                    floor,
                    replay_buffer: BUFFER,
                    write_buffer: BUFFER,
                    page_cache: page_cache.clone(),
                    leader_timeout: consensus.leader_timeout,
                    certification_timeout: consensus.certification_timeout,
                    timeout_retry: consensus.retry,
                    view_retention: ViewDelta::new(64),
                    skip: SkipPolicy::Enabled { timeout: consensus.skip_timeout, budget: SkipBudget::Participants },
                    fetch_timeout: NZDuration!(Duration::from_secs(1)),
                    fetch_retry_delay: Duration::from_millis(100),
                    forward: ForwardPolicy::SilentVoters,
                },
            );
            engine.start(votes, certificates, resolver)
        }
    };
    let engines = Engines::new(context.child("epochs"), ground, &epochs, launch);
    let alone = Alone { boundary: boundary.clone(), sights: sights.clone() };
    let engines = context.child("engines").spawn(move |clock| engines.run(|voters| alone.wait(clock, voters)));

    let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
    // The API asks for the chain's name before the first real snapshot.
    let status = Status { name: roster.name(&me), chain_id: genesis.chain_id.to_string(), ..Status::default() };
    let (snapshot_tx, snapshot) = watch::channel(Arc::new(Snapshot {
        status,
        not_ready: Some("restoring the state from disk".into()),
        ..Snapshot::default()
    }));
    let time_max = config.worker.time_max + HUNG_AFTER;
    let canaries = CanaryLimits {
        time_max: config.health.challenge_timeout,
        failures_max: config.health.max_consecutive_failures,
    };
    let desk = Desk::default();
    let seal = Seal { key, chain: genesis.chain_id.clone(), roster: roster.clone() };
    let (worker, finished) =
        Worker::new(context.child("worker"), secret.clone(), config.worker.slots, time_max, canaries, execute);
    // One at a time: whoever wants a state waits for what comes of it.
    let (orders, ordered) = mpsc::channel(1);
    let (joined_tx, joined) = mpsc::channel(1);
    let (goal, goals) = watch::channel(None);
    let driver = Driver::new(
        context.child("unsplit"),
        Settings {
            me,
            secret,
            chain: genesis.chain_id,
            genesis: genesis_block,
            roster,
            partition: partition.clone(),
            checkpoints: Checkpoints::new(&partition),
            checkpoint_interval: config.store.checkpoint_interval,
            checkpoints_kept: config.store.checkpoints_kept,
            blocks_kept: config.store.blocks_kept,
            snapshot_after: config.store.snapshot_after,
            indexed_transactions: config.store.indexed_transactions,
            order_recovery_after: config.health.order_recovery_after,
            slack_floor: i64::from(config.health.slack_floor),
        },
        Parts {
            ledger: ledger.clone(),
            guard,
            boundary,
            blocker,
            marshal: mailbox.clone(),
            rounds,
            sights,
            epochs,
            desk: desk.clone(),
            events: events.clone(),
            store: health,
            shelf,
            orders,
            goal,
            reporting,
            snapshot: snapshot_tx,
            track: network.track,
        },
        worker,
        gossip.0,
    );
    let inputs = Inputs { deliveries: delivered, requests: inbox, gossip: gossip.1, finished, joined };
    let lookout = context.child("lookout").spawn(move |_| lookout.run(rows.1, probes.1));
    let desk = context.child("orders").spawn(move |clock| desk.run(clock, seal, asked));
    let serving = context.child("serving").spawn(move |context| serving.run(context));
    let answering = context.child("answering").spawn(move |_| answering.run());
    let reader = context.child("reader").spawn(move |_| reader.run(goals));
    // It computes for as long as a large state takes: nothing else is to wait for it.
    let joiner = context.child("joiner").dedicated().spawn(move |_| joiner.run(ordered, joined_tx));
    let repair = context.child("repair").spawn(move |_| repair.run());
    let handle = context.spawn(move |_| async move {
        let ended = |part: &str| Err(format!("the {part} ended"));
        tokio::select! {
            biased;
            result = driver.run(inputs) => result,
            problem = repair => Err(problem.unwrap_or_else(|problem| format!("the repair of the store ended: {problem}"))),
            _ = lookout => ended("lookout"),
            _ = desk => ended("orders' desk"),
            _ = serving => ended("serving of snapshots"),
            _ = joiner => ended("fetching of snapshots"),
            _ = answering => ended("serving of blocks"),
            _ = reader => ended("fetching of blocks"),
            result = engines => result.unwrap_or_else(|problem| Err(problem.to_string())),
            _ = marshal => ended("block store"),
            _ = broadcast => ended("block broadcast"),
        }
    });
    Ok(Node { requests, snapshot, events, ledger, marshal: mailbox, found, handle })
}

const BUFFER: NonZeroUsize = NZUsize!(64 << 10);

/// One subchannel for each epoch: a message of another epoch is dropped before an engine that would block its sender.
fn muxed<E, S, R>(context: E, (sender, receiver): (S, R)) -> MuxHandle<S>
where
    E: Spawner + Clock + Metrics,
    S: Sender<PublicKey = PublicKey>,
    R: Receiver<PublicKey = PublicKey>,
{
    let (muxer, handle) = Muxer::new(context, sender, receiver);
    muxer.start();
    handle
}

fn report_guard(found: &Found) {
    match found {
        Found::Fresh => info!("vote guard created for a key that never signed"),
        Found::Intact => {}
        Found::Repaired(reason) => warn!(reason, "vote guard repaired from its other copy"),
        Found::Lost(reason) => warn!(reason, "vote guard lost: observing without a vote until it has sat out"),
    }
}

/// A damaged copy of the vote guard, which was written anew or makes the node observe.
fn guard_damage(found: &Found) -> Option<Finding> {
    let what = match found {
        Found::Fresh | Found::Intact => return None,
        Found::Repaired(reason) => format!("{reason}; written anew from the other copy"),
        Found::Lost(reason) => format!("{reason}; observing without a vote until it is safe"),
    };
    Some(Finding { part: "guard".into(), damage: Damage::Rot, heights: None, kept: None, what })
}
