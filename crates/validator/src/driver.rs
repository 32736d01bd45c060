//! Event in, decision, act.
//!
//! One task owns what a validator knows: it takes finalized blocks, requests and gossip one at a time, applies or answers
//! them, looks at what the lookout sees, and publishes a snapshot. It never waits for a peer.

mod answers;
mod epochs;
mod joining;
mod nodes;
mod orders;
mod partitions;
mod releases;
mod start;
mod sync;
mod tasks;
mod verdicts;
mod why;

use crate::{
    blocker::PolicyBlocker,
    boundary::Boundary,
    chain::{AHEAD_MAX, Block, Delivery, Ledger},
    clock::{milliseconds, since},
    epochs::Epochs,
    guard::Guard,
    index::Index,
    lookout::{Own, Sight, Sights},
    mempool::Refused,
    orders::Desk,
    progress::Rounds,
    repair::Health,
    roster::{Member, Roster},
    scheme::Scheme,
    store::Checkpoints,
    sync::{Goal, Joined, Order, Reporting, Shelf},
    validator::Track,
    wire::{GOSSIP_BYTES_MAX, Gossip},
    worker::{Finished, Worker},
};
use api::{Duty, EventKind, EventLog, Finality, Request, Snapshot};
use commonware_consensus::marshal::{core::Mailbox, standard::Standard};
use commonware_cryptography::{Digested, ed25519::PublicKey};
use commonware_p2p::{Blocker, Message, Receiver, Recipients, Sender};
use commonware_runtime::{
    Clock, Handle, IoBuf, Metrics, Spawner, Storage,
    telemetry::metrics::{Counter, Gauge, MetricsExt as _},
};
use commonware_utils::{
    acknowledgement::{Acknowledgement as _, Exact},
    channel::{mpsc, watch},
    sync::Mutex,
};
use ledger::{ChainId, Decode as _, Encode as _, Height, SecretKey, State, Transaction};
use nodes::{risk_of, show_ailment};
use orders::Wants;
use partitions::Episodes;
use sentinel::risk::Risk;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use sync::Following;
use tracing::{debug, error, warn};
use verdicts::Word;
use why::{Outlook, States};

/// How often tasks are followed and a snapshot is published while nothing happens.
const TICK: Duration = Duration::from_millis(500);

/// New transactions wait at most so long to be gossiped together.
const GOSSIP_EVERY: Duration = Duration::from_millis(10);

/// A validator counts as ready while it signed within so many views' worth of time.
const SIGNED_WITHIN: Duration = Duration::from_secs(5);

/// How far the clock of an honest validator may be ahead of this one: peers further ahead cannot connect.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5);

/// A block whose parent is later than our start by this much was voted for after our start, see [`Guard::release`].
pub const SIT_OUT: Duration =
    Duration::from_millis(AHEAD_MAX.as_millis() as u64 + CLOCK_SKEW_MAX.as_millis() as u64 + 500);

/// Requests that are answered between two deliveries, if so many wait.
const ANSWERS_BETWEEN: usize = 16;

/// Snapshots during catch-up are published at most this often.
const PUBLISH_EVERY: Duration = Duration::from_millis(50);

/// What the driver needs that is fixed.
pub struct Settings {
    /// This validator's key.
    pub me: PublicKey,
    /// The same, to sign transactions with.
    pub secret: SecretKey,
    /// The chain's name.
    pub chain: ChainId,
    /// The block that everything follows from.
    pub genesis: Block,
    /// All validators.
    pub roster: Roster,
    /// Prefix of all storage partitions.
    pub partition: String,
    /// Where checkpoints are kept.
    pub checkpoints: Checkpoints,
    /// Blocks between checkpoints.
    pub checkpoint_interval: u64,
    /// Checkpoints kept.
    pub checkpoints_kept: usize,
    /// Finalized blocks kept; 0 keeps all.
    pub blocks_kept: u64,
    /// So many blocks behind, the state is fetched instead.
    pub snapshot_after: u64,
    /// Newest transactions found by id.
    pub indexed_transactions: usize,
    /// A validator that is ill for so long is to be restarted by its supervisor.
    pub order_recovery_after: Duration,
    /// From so little slack on it is an alarm.
    pub slack_floor: i64,
}

/// What the driver acts through.
pub struct Parts<B: Blocker<PublicKey = PublicKey> + Sync> {
    /// States and mempool.
    pub ledger: Arc<Ledger>,
    /// The vote guard.
    pub guard: Guard,
    /// The p2p boundary.
    pub boundary: Boundary,
    /// Who is cut off.
    pub blocker: PolicyBlocker<B>,
    /// Finalized blocks.
    pub marshal: Mailbox<Scheme, Standard<Block>>,
    /// The newest round seen.
    pub rounds: Rounds,
    /// What the lookout sees of the others.
    pub(crate) sights: Sights,
    /// Which engine runs.
    pub epochs: Epochs,
    /// Whom supervisors are told to restart.
    pub desk: Desk,
    /// What happens.
    pub events: EventLog,
    /// What is missing from the store.
    pub(crate) store: Health,
    /// What others may fetch.
    pub(crate) shelf: Shelf,
    /// Has a state fetched.
    pub(crate) orders: mpsc::Sender<Order>,
    /// Has blocks read in ranges.
    pub(crate) goal: watch::Sender<Option<Goal>>,
    /// How far that is.
    pub(crate) reporting: Reporting,
    /// What is shown.
    pub snapshot: watch::Sender<Arc<Snapshot>>,
    /// Who may connect.
    pub track: Track,
}

/// What comes in.
pub struct Inputs<RG> {
    /// Finalized blocks.
    pub deliveries: mpsc::UnboundedReceiver<Delivery>,
    /// From the API.
    pub requests: mpsc::Receiver<Request>,
    /// Transactions of peers.
    pub gossip: RG,
    /// What came out of tasks.
    pub finished: mpsc::Receiver<Finished>,
    /// States that were fetched.
    pub(crate) joined: mpsc::Receiver<Result<Joined, String>>,
}

/// A validator as the driver saw it last; the place of this one means nothing.
#[derive(Clone, Debug)]
struct Peer {
    sight: Sight,
    is_heard: bool,
    missing_since: Option<SystemTime>,
}

impl Peer {
    const fn new(sight: Sight) -> Self {
        Self { sight, is_heard: false, missing_since: None }
    }
}

struct Gauges {
    height: Gauge,
    tip: Gauge,
    view: Gauge,
    slack: Gauge,
    slack_low: Gauge,
    states: States,
    live: Gauge,
    voting: Gauge,
    mempool: Gauge,
    refused: Gauge,
    pending: Gauge,
    leased: Gauge,
    done: Gauge,
    failed: Gauge,
    running: Gauge,
    stale: Counter,
    unresponsive: Gauge,
    verdicts: Counter,
    capacity: Gauge,
    desired_capacity: Gauge,
    oldest_pending: Gauge,
}

impl Gauges {
    fn new<E: Metrics>(context: &E) -> Self {
        Self {
            height: context.gauge("finalized_height", "newest finalized and applied height"),
            tip: context.gauge("tip_height", "newest finalized height known of"),
            view: context.gauge("view", "newest view with a certificate"),
            slack: context.gauge("quorum_slack", "voting validators that all hear each other beyond the quorum"),
            slack_low: context.gauge("quorum_slack_low", "1 while slack is at its floor or below"),
            states: States::new(context),
            live: context.gauge("finality_live", "1 while blocks become final"),
            voting: context.gauge("voting", "1 while this validator signs votes"),
            mempool: context.gauge("mempool_transactions", "transactions that wait"),
            refused: context.gauge("guard_refused", "signatures that the vote guard refused"),
            pending: context.gauge("tasks_pending", "tasks that nobody has"),
            leased: context.gauge("tasks_leased", "tasks that somebody has"),
            done: context.gauge("tasks_done", "tasks that are done and not yet forgotten"),
            failed: context.gauge("tasks_failed", "tasks that failed and are not yet forgotten"),
            running: context.gauge("tasks_running", "tasks that run on this validator"),
            unresponsive: context.gauge("validators_unresponsive", "validators that a verdict keeps from tasks"),
            verdicts: context.counter("verdicts", "verdicts that a validator is unresponsive"),
            capacity: context.gauge("capacity", "capacity of all validators that take tasks"),
            desired_capacity: context.gauge("desired_capacity", "capacity that would serve what is asked for"),
            oldest_pending: context.gauge("oldest_pending_ms", "how long the oldest pending task has waited"),
            stale: context.counter("stale_commits_rejected", "completions dropped because their lease was over"),
        }
    }
}

/// See the module.
pub struct Driver<E, B, SG>
where
    B: Blocker<PublicKey = PublicKey> + Sync,
{
    context: E,
    settings: Settings,
    parts: Parts<B>,
    gossip: SG,
    peers: Vec<Peer>,
    started: SystemTime,
    finalized_at: Option<SystemTime>,
    finality: Finality,
    duty: Duty,
    tip: u64,
    index: Arc<Mutex<Index>>,
    /// The state at a checkpoint height, until the next block confirms its root.
    checkpoint: Option<State>,
    writing: Option<Handle<()>>,
    worker: Worker<E>,
    /// Whom an injected fault makes this validator accuse, and until when.
    lie: Option<(usize, SystemTime)>,
    /// What was said last about each validator on the chain, and when.
    said: Vec<Option<(Word, SystemTime)>>,
    /// When this validator said last that it is level with the chain.
    said_level: Option<SystemTime>,
    wants: Wants,
    episodes: Episodes,
    outlook: Outlook,
    following: Following,
    /// Who is likely to fail soon, from what became of each before. Advice only.
    risk: Risk,
    /// The capacity that there was and that was asked for, as it was told last.
    scaling: (u64, u64),
    outbox: Vec<Transaction>,
    flush_at: Option<SystemTime>,
    published: SystemTime,
    gauges: Gauges,
}

impl<E, B, SG> Driver<E, B, SG>
where
    E: Spawner + Clock + Metrics + Storage,
    B: Blocker<PublicKey = PublicKey> + Sync,
    SG: Sender<PublicKey = PublicKey>,
{
    /// `gossip` is the sending end of its channel.
    pub fn new(context: E, settings: Settings, parts: Parts<B>, worker: Worker<E>, gossip: SG) -> Self {
        let started = context.current();
        let said = vec![None; settings.roster.len()];
        let risk = risk_of(&settings.roster);
        let following = Following::new(settings.snapshot_after);
        let peers = parts.sights.all().into_iter().map(Peer::new).collect();
        let duty = if parts.guard.observing().is_some() { Duty::Observing } else { Duty::Voting };
        let gauges = Gauges::new(&context);
        let index = Arc::new(Mutex::new(Index::new(settings.indexed_transactions)));
        Self {
            context,
            settings,
            parts,
            gossip,
            peers,
            started,
            finalized_at: None,
            finality: Finality::Starting,
            duty,
            tip: 0,
            index,
            checkpoint: None,
            writing: None,
            worker,
            lie: None,
            said,
            said_level: None,
            wants: Wants::default(),
            episodes: Episodes::default(),
            outlook: Outlook::default(),
            following,
            risk,
            scaling: (0, 0),
            outbox: Vec::new(),
            flush_at: None,
            published: SystemTime::UNIX_EPOCH,
            gauges,
        }
    }

    /// Runs until the context is stopped or the engine is gone.
    ///
    /// # Errors
    /// When the store has a hole that no start can bridge: what, where, and how to mend it.
    pub async fn run<RG>(mut self, mut inputs: Inputs<RG>) -> Result<(), String>
    where
        RG: Receiver<PublicKey = PublicKey>,
    {
        self.restore().await?;
        self.begin_epochs().await;
        self.recall();
        self.index_older_blocks();
        let mut next_tick = self.context.current();
        let mut stopped = self.context.stopped();
        let changes = self.parts.sights.changes.clone();
        let mut seen = changes.get();
        loop {
            let wake = self.flush_at.map_or(next_tick, |at| at.min(next_tick));
            tokio::select! {
                biased;
                _ = &mut stopped => return Ok(()),
                delivery = inputs.deliveries.recv() => match delivery {
                    Some(delivery) => {
                        self.deliver(delivery).await;
                        // Each delivery may wait for the disk: on a slow one nothing else would ever get its turn.
                        self.answer_some(&mut inputs.requests).await;
                    }
                    None => return Ok(()),
                },
                Some(finished) = inputs.finished.recv() => {
                    self.worker.finish(finished);
                    self.follow_tasks(&self.parts.ledger.finalized(), self.context.current());
                }
                Some(joined) = inputs.joined.recv() => self.take_snapshot(joined).await,
                Some(request) = inputs.requests.recv() => self.answer(request).await,
                () = changes.reach(seen + 1) => {
                    seen = changes.get();
                    self.look(self.context.current());
                }
                Ok(message) = inputs.gossip.recv() => self.take_gossip(message),
                () = self.context.sleep_until(wake) => {
                    let now = self.context.current();
                    if self.flush_at.is_some_and(|at| at <= now) {
                        self.flush_gossip();
                    }
                    if next_tick <= now {
                        self.tick(now);
                        next_tick = now + TICK;
                    }
                }
            }
        }
    }

    async fn answer_some(&mut self, requests: &mut mpsc::Receiver<Request>) {
        for _ in 0..ANSWERS_BETWEEN {
            let Ok(request) = requests.try_recv() else { return };
            self.answer(request).await;
        }
    }

    async fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Tip(height) => self.tip = self.tip.max(height),
            Delivery::Block(block, acknowledgement) => self.finalize(block, acknowledgement).await,
        }
    }

    async fn finalize(&mut self, block: Digested<Block>, acknowledgement: Exact) {
        let dressed = block.inner();
        let block = dressed.ledger();
        let before = self.parts.ledger.finalized();
        if block.height <= before.height() {
            // Marshal delivers again what was not acknowledged durably before a restart.
            acknowledgement.acknowledge();
            return;
        }
        // Our own vote may be in the certificate: nothing is called final that a power cut could make us forget.
        self.parts.guard.durable(self.parts.guard.recorded()).await;
        let (state, stale) = match self.parts.ledger.finalize(block) {
            Ok(finalized) => finalized,
            Err(problem) => {
                error!(height = block.height.0, digest = %block.digest(), %problem, "a finalized block is invalid here");
                panic!("finalized block {} cannot be applied: {problem}", block.height);
            }
        };
        self.index.lock().push(block.height, block.transactions.iter().map(Transaction::id));
        if !state.steps().is_empty() {
            self.grow(&state);
        }
        if state.decision().is_some() || state.epoch() != before.epoch() {
            self.learn_epochs(&state).await;
            self.follow_epochs(&state);
        }
        acknowledgement.acknowledge();
        self.settle_snapshot(block.height).await;
        self.serve_chain(&before, dressed).await;
        let now = self.context.current();
        self.finalized_at = Some(now);
        self.tip = self.tip.max(block.height.0);
        self.tell_epochs(&before, &state, now);
        self.tell_steps(&state, now);
        let kind = EventKind::Finalized {
            height: block.height.0,
            digest: block.digest().to_string(),
            transactions: block.transactions.len(),
        };
        self.parts.events.push(milliseconds(now), kind);
        self.tell_tasks(&state, stale, now);
        self.tell_verdicts(&state, now);
        self.follow_tasks(&state, now);
        self.speak(&state, now);
        self.keep_checkpoint(block, state).await;
        self.leave_sit_out(block, &before, now).await;
        if since(now, self.published) >= PUBLISH_EVERY {
            self.publish(now);
        }
    }

    /// Writes the checkpoint that `block` confirms, beside everything else, and remembers the next one.
    async fn keep_checkpoint(&mut self, block: &ledger::Block, state: State) {
        if let Some(checkpoint) = self.checkpoint.take() {
            assert_eq!(checkpoint.root(), block.parent_state_root, "applied blocks name the root before them");
            self.write_checkpoint(checkpoint).await;
        }
        if state.height().0.is_multiple_of(self.settings.checkpoint_interval) {
            self.checkpoint = Some(state);
        }
    }

    async fn write_checkpoint(&mut self, state: State) {
        if let Some(writing) = self.writing.take() {
            // Still under way after a whole interval: wait rather than pile up.
            let _ = writing.await;
        }
        let (kept, blocks_kept) = (self.settings.checkpoints_kept, self.settings.blocks_kept);
        let (marshal, checkpoints) = (self.parts.marshal.clone(), self.settings.checkpoints.clone());
        let offered = self.parts.shelf.oldest();
        self.writing = Some(self.context.child("checkpoint").spawn(move |context| async move {
            if let Err(problem) = checkpoints.write(&context, &state).await {
                warn!(height = state.height().0, %problem, "checkpoint not written; a restart will replay more");
                return;
            }
            checkpoints.prune(&context, kept).await;
            debug!(height = state.height().0, "checkpoint written");
            if blocks_kept > 0 {
                let oldest = checkpoints.heights(&context).await.last().copied().unwrap_or(Height(0));
                // Whoever fetches the state at a height needs the blocks above it afterwards.
                let oldest = offered.unwrap_or(oldest).min(oldest);
                let floor = state.height().0.saturating_sub(blocks_kept).min(oldest.0);
                marshal.prune(commonware_consensus::types::Height::new(floor));
            }
        }));
    }

    /// Ends observing once a block proves that every forgotten vote lies behind.
    async fn leave_sit_out(&mut self, block: &ledger::Block, parent: &State, now: SystemTime) {
        let proof = milliseconds(self.started + SIT_OUT);
        if self.parts.guard.observing().is_none() || parent.timestamp().0 < proof {
            return;
        }
        self.parts.guard.release((block.epoch.0, block.view.0 + 1)).await;
        if self.observing(&self.parts.ledger.finalized()).is_some() {
            return;
        }
        self.duty = Duty::Voting;
        let reason = format!("sat out: block {} was voted for after this validator started", block.height);
        self.parts.events.push(milliseconds(now), EventKind::DutyChanged { duty: Duty::Voting, reason });
    }

    fn take_gossip(&mut self, (from, message): Message<PublicKey>) {
        let gossip = match Gossip::decode(message.as_ref()) {
            Ok(gossip) => gossip,
            Err(problem) => {
                debug!(node = self.settings.roster.name(&from), %problem, "gossip not understood");
                return;
            }
        };
        let state = self.parts.ledger.finalized();
        for transaction in gossip.0 {
            // Refusals are the normal case: late, known, or out of order. The lock is taken anew for each, because
            // checking signatures takes a while and a proposal may be under construction.
            let offered = self.parts.ledger.mempool().offer(transaction, &state);
            if let Err(Refused::Stale(stale)) = offered {
                self.tell_stale(&stale, &state, self.context.current());
            }
        }
        self.parts.ledger.arrivals.step();
    }

    fn flush_gossip(&mut self) {
        self.flush_at = None;
        for message in Gossip::pack(std::mem::take(&mut self.outbox)) {
            self.gossip.send(Recipients::All, IoBuf::from(message.encode()), false);
        }
    }

    fn tick(&mut self, now: SystemTime) {
        self.parts.blocker.renew();
        for (_, cut) in self.parts.boundary.expire(now) {
            let fault = answers::describe(&self.settings.roster, &cut);
            self.parts.events.push(milliseconds(now), EventKind::FaultEnded { fault });
        }
        self.look(now);
        self.want(now);
        self.follow_partitions(now);
        self.follow_chain(now);
        self.follow_tasks(&self.parts.ledger.finalized(), now);
        self.publish(now);
    }

    /// Looks at what the lookout sees, and tells it how this validator is.
    fn look(&mut self, now: SystemTime) {
        let state = self.parts.ledger.finalized();
        let own = Own {
            height: state.height(),
            voting: self.duty == Duty::Voting,
            running: self.worker.running(),
            waiting: self.worker.waiting(),
            canary: self.worker.canary(now),
            accused: self.accused(),
            gone: (0..self.peers.len()).filter(|index| !self.is_voter(*index, &state)).collect(),
        };
        self.parts.sights.tell(own, self.finalized_at);
        for (index, sight) in self.parts.sights.all().into_iter().enumerate().take(self.peers.len()) {
            if self.settings.roster.members()[index].key == self.settings.me {
                self.peers[index].sight = sight;
            } else {
                self.see(index, sight, now);
            }
        }
        self.follow_epochs(&state);
        self.speak(&state, now);
    }

    fn see(&mut self, index: usize, sight: Sight, now: SystemTime) {
        let Member { entry, key } = self.settings.roster.members()[index].clone();
        let node = entry.name;
        let (was_heard, is_heard) = (self.peers[index].is_heard, sight.is_heard(now));
        let missing_since = if is_heard { None } else { sight.heard };
        if self.peers[index].sight.ailments != sight.ailments {
            let ailments = sight.ailments.iter().map(|(ailment, measure)| show_ailment(*ailment, *measure)).collect();
            self.parts.events.push(milliseconds(now), EventKind::NodeAiling { node: node.clone(), ailments });
        }
        self.peers[index] = Peer { sight, is_heard, missing_since };
        if was_heard == is_heard {
            return;
        }
        let kind = if is_heard {
            self.greet(&key);
            EventKind::NodeHeard { node }
        } else {
            EventKind::NodeSilent { node }
        };
        self.parts.events.push(milliseconds(now), kind);
    }

    /// What waits here may have passed a peer by while it was away.
    fn greet(&mut self, peer: &PublicKey) {
        let waiting = self.parts.ledger.mempool().sample(4 * GOSSIP_BYTES_MAX);
        for message in Gossip::pack(waiting) {
            self.gossip.send(Recipients::One(peer.clone()), IoBuf::from(message.encode()), false);
        }
    }

    fn publish(&mut self, now: SystemTime) {
        self.published = now;
        let snapshot = self.snapshot(now);
        self.tell_outlook(&snapshot, now);
        self.gauges.height.set(snapshot.status.height.cast_signed());
        self.gauges.tip.set(snapshot.status.tip.cast_signed());
        self.gauges.view.set(snapshot.status.view.cast_signed());
        self.gauges.voting.set(i64::from(self.duty == Duty::Voting));
        self.gauges.mempool.set(i64::try_from(snapshot.status.mempool_transactions).unwrap_or(i64::MAX));
        self.gauges.pending.set(snapshot.status.tasks.pending.cast_signed());
        self.gauges.leased.set(snapshot.status.tasks.leased.cast_signed());
        self.gauges.done.set(snapshot.status.tasks.done.cast_signed());
        self.gauges.failed.set(snapshot.status.tasks.failed.cast_signed());
        self.gauges.running.set(i64::try_from(self.worker.running()).unwrap_or(i64::MAX));
        self.tell_scaling(now);
        let unresponsive = self.parts.ledger.finalized().validators_unresponsive().count();
        self.gauges.unresponsive.set(i64::try_from(unresponsive).unwrap_or(i64::MAX));
        self.gauges.refused.set(self.parts.guard.refused().cast_signed());
        self.parts.snapshot.send_replace(Arc::new(snapshot));
    }
}
