//! The nodes, from power on to power off.

use crate::{
    Checker, Fall, Fault, TaskReport,
    ballots::{Ballots, Round},
    book::Book,
    chain::{self, Chain, History, Marshal},
    cuts::{self, Cuts},
    electorate::{Electorate, quorum},
    joiners::Joiners,
    links::{Link, Topology},
    load::{self, Directory, Load},
    machine::{Blown, Fate, Fuse, Hosted, Machine, Skew},
    plan::{Action, Loss, Step},
    rot::{self, Rot},
    scenario::DOWN_MIN,
    tally::tally,
    tap::{Liars, Lie, Look, Tap},
    tasks::Counted,
    work::{self, Pace, Workshop},
    world::{World, draw},
};
use api::{Affliction, Duty, EventKind, EventLog, Finality, Heard, Illness, Request, Snapshot, TaskState};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{
    Manager as _,
    simulated::{self, Control, Manager, Oracle, Receiver, Sender},
};
use commonware_runtime::{
    Blob as _, Clock as _, Handle, ReadOptions, Spawner as _, Storage as _, Supervisor as _, WriteOptions,
    deterministic::Context,
};
use commonware_utils::{NZUsize, Probability, ordered::Set, sync::Mutex};
use futures::{
    FutureExt as _,
    future::{Either, pending, select},
};
use ledger::{Encode as _, Kind, Nonce, Transaction};
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    num::NonZeroUsize,
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::sync::oneshot;
use validator::{
    CHANNELS, Identity, Network, Node,
    chain::{Ledger, digest, ledger_key},
};

/// How often it is looked after the nodes.
const TICK: Duration = Duration::from_millis(100);

thread_local! {
    static LOOKED_AT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// How far the run on this thread is, to a tenth of a second: for the times of what its nodes log.
pub fn simulated() -> Duration {
    LOOKED_AT.get()
}

/// Without a quorum for so long, every node must say so: the time to miss a peer, and some.
const SAID_WITHIN: Duration = Duration::from_secs(8);

/// A node that is up for less may still be starting.
const STARTED_BEFORE: Duration = Duration::from_secs(12);

/// The first block after the healing comes within so much. Views that were given up one after another end with the next
/// retry, and up to f dead leaders may follow.
const RESUMED_WITHIN: Duration = Duration::from_secs(10);

/// Everyone has met at one state within so much, with nothing left waiting.
const CONVERGED_WITHIN: Duration = Duration::from_secs(60);

/// All tasks are finished within so much: that is as many leases as some of them may have, and time for a queue.
const FINISHED_WITHIN: Duration = Duration::from_secs(180);

/// With a quorum there all the time, blocks are never further apart: a dead leader and a lost vote or two.
const GAP_MAX: Duration = Duration::from_secs(6);

/// Blocks are over so soon after the start that the first gap means nothing.
const BLOCKS_MIN: u64 = 3;

/// How a session ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    PowerLoss,
    Done,
}

/// What outlives a power loss: the outside observer's notes, and what is still to come.
pub(crate) struct Run {
    pub(crate) world: Arc<World>,
    pub(crate) book: Arc<Mutex<Book>>,
    pub(crate) load: Arc<Mutex<Load>>,
    pub(crate) ballots: Arc<Mutex<Ballots>>,
    electorate: Arc<Mutex<Electorate>>,
    pub(crate) done: Vec<String>,
    pub(crate) now: Duration,
    pub(crate) resumed: Option<Duration>,
    pub(crate) converged: Option<Duration>,
    pub(crate) finished: Option<Duration>,
    pub(crate) tasks: TaskReport,
    pub(crate) falls: Vec<Fall>,
    pub(crate) cuts: Cuts,
    joiners: Joiners,
    pub(crate) audit: String,
    steps: VecDeque<Step>,
    topology: Topology,
    workshop: Arc<Mutex<Workshop>>,
    liars: Liars,
    /// Blocks that nodes need not keep, as the first of them had them.
    history: Option<History>,
    slots: Vec<Slot>,
    halted: Option<Duration>,
    /// Until when some disk is slow.
    ill_until: Duration,
}

/// An instance, up or down.
#[derive(Clone, Debug)]
struct Slot {
    up: bool,
    starts: u64,
    changed: Duration,
    guard: Guard,
    /// How far its wall clock is off when it is up the next time.
    skew: Skew,
    /// What it is to fail at when it starts the next time.
    fuse: Option<Fuse>,
    /// What rotted on its disk, and must be told of.
    rotten: Vec<String>,
}

/// What became of a vote guard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Guard {
    Whole,
    /// It was taken, and its node has not been seen to observe yet.
    Lost,
    /// Its node observes.
    Observed,
    /// Its node votes again.
    Regained,
}

impl Run {
    pub(crate) fn new(world: World) -> Self {
        let namespace = validator::validator::namespace(&world.genesis);
        let electorate = Arc::new(Mutex::new(Electorate::new(world.participants())));
        let slot = Slot {
            up: true,
            starts: 0,
            changed: Duration::ZERO,
            guard: Guard::Whole,
            skew: Skew::None,
            fuse: None,
            rotten: Vec::new(),
        };
        Self {
            book: Arc::default(),
            load: Arc::new(Mutex::new(Load::new(world.accounts.len()))),
            ballots: Arc::new(Mutex::new(Ballots::new(namespace, electorate.clone()))),
            electorate,
            done: Vec::new(),
            now: Duration::ZERO,
            resumed: None,
            converged: None,
            finished: None,
            tasks: TaskReport::default(),
            falls: Vec::new(),
            cuts: Cuts::default(),
            joiners: Joiners::default(),
            audit: String::new(),
            steps: world.plan.steps.clone(),
            topology: Topology::new(world.scenario.everybody(), world.scenario.links.clone()),
            workshop: Arc::default(),
            liars: Liars::default(),
            history: (world.scenario.store.blocks_kept > 0).then(History::default),
            // Newcomers are off until they are asked to join.
            slots: world
                .instances
                .iter()
                .map(|it| Slot { up: it.node < world.scenario.nodes, ..slot.clone() })
                .collect(),
            halted: None,
            ill_until: Duration::ZERO,
            world: Arc::new(world),
        }
    }

    /// Starts of nodes after their first.
    pub(crate) fn restarts(&self) -> u64 {
        self.slots.iter().map(|slot| slot.starts.saturating_sub(1)).sum()
    }

    fn schedule(&mut self, step: Step) {
        let place = self.steps.partition_point(|other| other.at <= step.at);
        self.steps.insert(place, step);
    }

    pub(crate) fn accuse(&self, checker: Checker, what: String) {
        self.book.lock().accuse(checker, milliseconds(self.now), what);
    }

    /// Plays until the power fails or everything is done and checked.
    pub(crate) async fn play(&mut self, context: Context) -> End {
        let mut session = Session::power_on(context, self).await;
        let end = session.act().await;
        if end == End::Done {
            session.close().await;
            session.check().await;
        }
        session.look();
        self.audit = session.context.auditor().state();
        end
    }
}

struct Running {
    node: Node,
    machine: Machine,
    /// Everything that the node does is below this task.
    process: Handle<()>,
    watcher: Handle<()>,
}

/// One side of the world: a network that knows of no other.
struct Side {
    oracle: Oracle<PublicKey, Context>,
    /// Who is on the network, and under which number that was said last.
    tracked: Arc<Mutex<(u64, BTreeSet<PublicKey>)>>,
    links: BTreeMap<(usize, usize), Link>,
    /// By node, of those whose bandwidth is bound.
    bandwidths: BTreeMap<usize, usize>,
}

struct Session<'a> {
    context: Context,
    run: &'a mut Run,
    sides: Vec<Side>,
    nodes: Vec<Option<Running>>,
    directory: Directory,
}

type Ends = Network<
    Tap<Sender<PublicKey, Context>>,
    Receiver<PublicKey>,
    Control<PublicKey, Context>,
    Manager<PublicKey, Context>,
>;

impl<'a> Session<'a> {
    async fn power_on(context: Context, run: &'a mut Run) -> Self {
        let world = run.world.clone();
        let count = world.instances.len();
        let mut sides = Vec::new();
        for side in 0..=world.instances.iter().map(|instance| instance.side).max().unwrap_or(0) {
            let config = simulated::Config {
                max_size: validator::validator::message_bytes_max(),
                max_peers_per_set: NonZeroUsize::new(world.keys.len()).expect("there are nodes"),
                disconnect_on_block: true,
                tracked_peer_sets: NZUsize!(1),
            };
            let label = context.child("network").with_attribute("side", side);
            let (network, oracle) = simulated::Network::new_with_peers(label, config, world.participants()).await;
            network.start();
            let tracked = Arc::new(Mutex::new((0, world.participants().into_iter().collect())));
            sides.push(Side { oracle, tracked, links: BTreeMap::new(), bandwidths: BTreeMap::new() });
        }
        let directory: Directory = Arc::new(Mutex::new(vec![None; count]));
        let nodes = (0..count).map(|_| None).collect();
        let mut session = Self { context, run, sides, nodes, directory };
        session.link().await;
        for index in 0..count {
            if session.run.slots[index].up {
                session.start(index).await;
            }
        }
        for account in 0..world.accounts.len() {
            let (load, directory) = (session.run.load.clone(), session.directory.clone());
            let client = session.context.child("client").with_attribute("account", account);
            let world = world.clone();
            client.spawn(move |context| load::client(context, world, account, load, directory));
        }
        session
    }

    /// Takes the steps that are due until the scenario is over or the power fails.
    async fn act(&mut self) -> End {
        loop {
            self.clock();
            while self.run.steps.front().is_some_and(|step| step.at <= self.run.now) {
                let Some(step) = self.run.steps.pop_front() else { break };
                if self.take(step).await == End::PowerLoss {
                    return End::PowerLoss;
                }
            }
            self.look();
            let left = self.run.world.scenario.duration.saturating_sub(self.run.now);
            if left.is_zero() {
                return End::Done;
            }
            let next = self.run.steps.front().map_or(TICK, |step| step.at.saturating_sub(self.run.now));
            self.context.sleep(left.min(TICK).min(next)).await;
        }
    }

    async fn take(&mut self, step: Step) -> End {
        if let Some(later) = self.too_early(&step.action) {
            self.run.schedule(Step { at: later, ..step });
            return End::Done;
        }
        self.ask_why();
        self.run.done.push(step.to_string());
        match step.action {
            Action::Stop(node) => self.stop(node),
            Action::Start(node) => self.start_node(node).await,
            Action::Lose(node, loss) => self.lose(node, loss).await,
            Action::Stall(node) => self.machines(node).for_each(Machine::stop),
            Action::Resume(node) => self.resume(node),
            Action::Arm(node, fuse) => self.arm(node, fuse),
            Action::Set(node, skew) => {
                for index in self.of(node) {
                    self.run.slots[index].skew = skew;
                }
            }
            Action::Begin(id, Fault::SlowWorker { nodes, .. }) => {
                self.run.workshop.lock().begin(id, nodes, Pace::Slow);
            }
            Action::Begin(id, Fault::StuckWorker { nodes, .. }) => {
                self.run.workshop.lock().begin(id, nodes, Pace::Stuck);
            }
            Action::Begin(id, Fault::Spike { times, .. }) => drop(self.run.load.lock().spikes.insert(id, times)),
            Action::Begin(id, Fault::BadAnswers { nodes, .. }) => self.run.liars.begin(id, Lie::Wrong, nodes),
            Action::Begin(id, Fault::NoAnswers { nodes, .. }) => self.run.liars.begin(id, Lie::Silence, nodes),
            Action::Begin(_, Fault::SlowDisk { nodes, delay, lasts }) => {
                let affliction = afflict(Illness::SlowDisk, lasts);
                self.run.ill_until = self.run.ill_until.max(self.run.now + lasts);
                let affliction = Affliction { delay_ms: milliseconds(delay), ..affliction };
                self.afflict(&nodes, &affliction);
            }
            Action::Begin(_, Fault::Join { nodes, replaces }) => {
                for node in nodes {
                    self.run.joiners.ask(node, replaces);
                    self.start_node(node).await;
                }
            }
            Action::Begin(_, Fault::Leave { nodes }) => {
                for index in nodes.iter().flat_map(|node| self.of(*node)) {
                    let Some(Running { node, .. }) = &self.nodes[index] else { continue };
                    let (reply, _answer) = oneshot::channel();
                    let _ = node.requests.try_send(Request::Leave { leaving: true, reply });
                }
            }
            Action::Begin(_, Fault::FalseAccuser { nodes, about, lasts }) => {
                let affliction = afflict(Illness::FalseAccuser, lasts);
                self.afflict(&nodes, &Affliction { node: Some(format!("n{about}")), ..affliction });
            }
            Action::Begin(id, fault) => {
                self.run.topology.begin(id, fault);
                self.link().await;
            }
            Action::End(id) => {
                self.run.workshop.lock().end(id);
                self.run.liars.end(id);
                self.run.load.lock().spikes.remove(&id);
                self.run.topology.end(id);
                self.link().await;
            }
            Action::Heal => self.heal(&[], &[]).await,
            Action::PowerLoss => {
                self.run.book.lock().quorum(true);
                return End::PowerLoss;
            }
        }
        self.count_voters();
        End::Done
    }

    /// Makes those of the nodes ill that are up.
    fn afflict(&self, nodes: &[usize], affliction: &Affliction) {
        for index in nodes.iter().flat_map(|node| self.of(*node)) {
            let Some(Running { node, .. }) = &self.nodes[index] else { continue };
            let (reply, _answer) = oneshot::channel();
            // One that cannot take it now, or ends, is not ill.
            let _ = node.requests.try_send(Request::Afflict { affliction: affliction.clone(), reply });
        }
    }

    /// The machines of a node that is up.
    fn machines(&self, node: usize) -> impl Iterator<Item = &Machine> {
        self.of(node).into_iter().filter_map(|index| self.nodes[index].as_ref()).map(|running| &running.machine)
    }

    fn resume(&mut self, node: usize) {
        for index in self.of(node) {
            let Some(running) = self.nodes[index].as_ref().filter(|running| running.machine.is_halted()) else {
                continue;
            };
            running.machine.resume();
            self.run.slots[index].changed = self.run.now;
        }
    }

    fn arm(&mut self, node: usize, fuse: Fuse) {
        for index in self.of(node) {
            match &self.nodes[index] {
                Some(running) => running.machine.arm(Some(fuse)),
                // One that stalled while it starts would never be resumed: its session waits for it.
                None => self.run.slots[index].fuse = Some(fuse).filter(|fuse| fuse.fate != Fate::Stall),
            }
        }
    }

    /// What follows from a fuse that blew.
    fn fail(&mut self, index: usize, Blown { fuse, at }: &Blown) {
        let instance = &self.run.world.instances[index];
        let (when, node) = (self.run.now, instance.node);
        if let Fate::Fail { .. } = fuse.fate {
            let what = format!("{:.1} s: {} has ended by itself: {at} failed", when.as_secs_f64(), instance.name);
            self.run.done.push(what);
        } else {
            self.tell(index, fuse, at);
        }
        let action = match fuse.fate {
            Fate::Crash | Fate::Fail { .. } => {
                self.end(index);
                Action::Start(node)
            }
            Fate::Stall => Action::Resume(node),
        };
        self.run.schedule(Step { at: when + fuse.lasts, action });
    }

    /// Notes at which operation a node failed, or its disk did.
    fn tell(&mut self, index: usize, fuse: &Fuse, at: &str) {
        let (when, name) = (self.run.now.as_secs_f64(), &self.run.world.instances[index].name);
        let side = if fuse.after { "after" } else { "before" };
        self.run.done.push(format!("{when:.1} s: {name} fails ({:?}) {side} {at}", fuse.fate));
    }

    /// When a node that was stopped a moment ago can be touched again.
    fn too_early(&self, action: &Action) -> Option<Duration> {
        let (Action::Start(node) | Action::Lose(node, _)) = action else { return None };
        let stopped = self.slots_of(*node).filter(|slot| !slot.up && slot.starts > 0).map(|slot| slot.changed);
        stopped.max().map(|stopped| stopped + DOWN_MIN).filter(|later| *later > self.run.now)
    }

    fn slots_of(&self, node: usize) -> impl Iterator<Item = &Slot> {
        self.of(node).into_iter().map(|index| &self.run.slots[index])
    }

    /// The instances of a node.
    fn of(&self, node: usize) -> Vec<usize> {
        let instances = &self.run.world.instances;
        (0..instances.len()).filter(|index| instances[*index].node == node).collect()
    }

    async fn heal(&mut self, down: &[usize], broken: &[usize]) {
        self.run.workshop.lock().heal();
        self.run.liars.heal();
        self.run.load.lock().spikes.clear();
        for Running { node, .. } in self.nodes.iter().flatten() {
            let (reply, _answer) = oneshot::channel();
            let _ = node.requests.try_send(Request::Cure { reply });
        }
        self.run.topology.heal(broken);
        self.link().await;
        let nodes = self.run.topology.nodes();
        for node in 0..nodes {
            self.machines(node).for_each(|machine| machine.arm(None));
            self.resume(node);
            for index in self.of(node) {
                let slot = &mut self.run.slots[index];
                slot.fuse = None;
                if std::mem::take(&mut slot.skew) != Skew::None && slot.up {
                    self.end(index);
                }
            }
        }
        // Whose fuse blew a moment ago is down, and starts with the others. Those that are up may be a quorum again while they are
        // waited for.
        self.look();
        if (0..nodes).any(|node| self.too_early(&Action::Start(node)).is_some()) {
            self.context.sleep(DOWN_MIN).await;
        }
        for node in (0..nodes).filter(|node| !down.contains(node)) {
            self.start_node(node).await;
        }
    }

    /// Whether a node has anything to do with the network: newcomers have once they asked.
    fn takes_part(&self, node: usize) -> bool {
        node < self.run.world.scenario.nodes || self.run.joiners.has_asked(node)
    }

    /// Whether the others talk to a node. One that asked may never get a seat, as when it is to replace one that is gone.
    fn is_seated(&self, node: usize) -> bool {
        let key = ledger_key(&self.run.world.public(node));
        let knows = |running: &Running| running.node.ledger.finalized().is_peer(&key);
        node < self.run.world.scenario.nodes || self.nodes.iter().flatten().any(knows)
    }

    /// Has those ask again that have no seat yet, and operators approve of them.
    fn follow_joiners(&mut self) {
        let world = self.run.world.clone();
        let running = || self.nodes.iter().enumerate().filter_map(|(index, it)| Some((index, it.as_ref()?)));
        let newest = running().map(|(_, it)| it.node.ledger.finalized()).max_by_key(|state| state.height());
        let Some(state) = newest else { return };
        for (node, replaces) in self.run.joiners.due(self.run.now) {
            let key = ledger_key(&world.public(node));
            if state.seat(&key).is_some() {
                continue;
            }
            let send = |index: usize, request| {
                // One that cannot take it now is asked again later.
                let _ = self.nodes[index].as_ref().map(|running| running.node.requests.try_send(request));
            };
            let name = |index: usize| ledger_key(&world.public(world.instances[index].node));
            let Some(candidate) = state.candidate(&key) else {
                let (kind, expires) = (Kind::Join(world.request(node, replaces)), state.height().after(500));
                let asked = Transaction::sign(&world.secret(node), world.chain(), Nonce(0), expires, kind);
                for (index, _) in running().filter(|(index, _)| state.is_voter(&name(*index))) {
                    let (reply, _answer) = oneshot::channel();
                    send(index, Request::Submit { bytes: asked.encode(), reply });
                }
                continue;
            };
            let is_due = |index: usize| {
                let approver = world.instances[index].node;
                !candidate.approvals.contains(&name(index)) && replaces.is_none_or(|old| old == approver)
            };
            for (index, _) in running().filter(|(index, _)| state.is_voter(&name(*index)) && is_due(*index)) {
                let (reply, _answer) = oneshot::channel();
                send(index, Request::Approve { node: key.to_string(), reply });
            }
        }
    }

    async fn start_node(&mut self, node: usize) {
        if !self.takes_part(node) {
            return;
        }
        for index in self.of(node) {
            if !self.run.slots[index].up {
                self.start(index).await;
            }
        }
    }

    async fn start(&mut self, index: usize) {
        self.clock();
        let world = self.run.world.clone();
        let instance = &world.instances[index];
        let slot = &mut self.run.slots[index];
        slot.starts += 1;
        (slot.up, slot.changed) = (true, self.run.now);
        let identity = Identity {
            genesis: world.genesis.clone(),
            key: world.keys[instance.node].clone(),
            name: format!("n{}", instance.node),
            fresh: slot.starts == 1,
            set_aside: Vec::new(),
            partition: instance.partition.clone(),
        };
        let label = self.context.child("node").with_attribute("name", &instance.name);
        let label = label.with_attribute("incarnation", slot.starts);
        let machine = Machine::new(slot.skew);
        machine.arm(slot.fuse.take());
        let network = self.register(index, &machine).await;
        let execute = work::executor(world.seed, instance.node, self.run.workshop.clone());
        let (ready, started) = oneshot::channel();
        let config = world.config.clone();
        let process = Hosted::new(label, machine.clone()).spawn(|context| async move {
            let _ = ready.send(validator::start(context, identity, &config, network, execute).await);
            pending().await
        });
        let started = match select(started, pin!(machine.fails())).await {
            Either::Left((started, _)) => Some(started),
            Either::Right(_) => None,
        };
        if let Some(Blown { fuse, at }) = machine.take_ill() {
            self.tell(index, &fuse, &at);
        }
        let is_up = matches!(started, Some(Ok(Ok(_))));
        if let Some(blown) = if is_up { None } else { machine.take_blown().or_else(|| machine.died()) } {
            process.abort();
            self.fail(index, &blown);
            return;
        }
        match started {
            Some(Ok(Ok(node))) => {
                let watch = self.context.child("watch").with_attribute("name", &instance.name);
                let (name, book) = (instance.name.clone(), self.run.book.clone());
                let (events, ledger) = (node.events.clone(), node.ledger.clone());
                let history = self.run.history.clone().map(|history| (history, node.marshal.clone()));
                let watcher = watch.spawn(move |context| watch_blocks(context, name, events, ledger, book, history));
                self.directory.lock()[index] = Some(node.requests.clone());
                machine.send_twice(self.run.topology.is_twice(instance.node));
                machine.set_disk(self.run.topology.disk(instance.node));
                self.nodes[index] = Some(Running { node, machine, process, watcher });
            }
            Some(Ok(Err(problem))) => {
                self.run.accuse(Checker::StaysUp, format!("{} does not start: {problem}", instance.name));
            }
            Some(Err(_)) => {
                self.run.accuse(Checker::StaysUp, format!("{} ended while it started", instance.name));
            }
            None => process.abort(),
        }
    }

    async fn register(&self, index: usize, machine: &Machine) -> Ends {
        let instance = &self.run.world.instances[index];
        let (key, oracle) = (self.run.world.public(instance.node), &self.sides[instance.side].oracle);
        let control = oracle.control(key);
        let mut channels = Vec::new();
        for channel in CHANNELS {
            let (inner, receiver) = control
                .register(channel.id, channel.quota())
                .await
                .expect("the simulated network lives as long as this");
            let look = match channel.id {
                0 => Look::Votes,
                1 => Look::Certificates,
                3 => Look::Blocks,
                _ => Look::Nothing,
            };
            let (ballots, machine, liars) = (self.run.ballots.clone(), machine.clone(), self.run.liars.clone());
            let (channel, node, copy) = (channel.id, instance.node, inner.clone());
            channels.push((Tap { inner, copy, channel, node, look, ballots, machine, liars }, receiver));
        }
        let channels = channels.try_into().map_err(|_| ()).expect("one pair for each channel");
        let (side, manager) = (&self.sides[instance.side], oracle.manager());
        let (tracked, manager) = (side.tracked.clone(), Mutex::new(manager));
        // All nodes of a side share one network, which lets everybody in whom any of them does: each keeps strangers out itself.
        let track = Arc::new(move |peers: Vec<(PublicKey, String)>| {
            let mut tracked = tracked.lock();
            let before = tracked.1.len();
            tracked.1.extend(peers.into_iter().map(|(key, _)| key));
            if tracked.1.len() > before {
                tracked.0 += 1;
                manager.lock().track(tracked.0, Set::from_iter_dedup(tracked.1.iter().cloned()));
            }
        });
        Network { channels, blocker: control, provider: oracle.manager(), track }
    }

    fn stop(&mut self, node: usize) {
        self.of(node).into_iter().for_each(|index| self.end(index));
    }

    fn end(&mut self, index: usize) {
        if let Some(running) = self.nodes[index].take() {
            running.process.abort();
            // What it said before it was gone is heard first: the watcher has no further await in between.
            running.watcher.abort();
            self.hear_out(index, &running.node);
        }
        self.directory.lock()[index] = None;
        let slot = &mut self.run.slots[index];
        if slot.up {
            (slot.up, slot.changed) = (false, self.run.now);
        }
    }

    /// What a node has said and nobody has heard yet.
    fn hear_out(&self, index: usize, node: &Node) {
        let name = &self.run.world.instances[index].name;
        let mut book = self.run.book.lock();
        for event in node.events.since(0) {
            hear(name, &event, milliseconds(self.run.now), &mut book);
        }
    }

    async fn lose(&mut self, node: usize, loss: Loss) {
        for index in self.of(node) {
            if self.run.slots[index].up {
                continue;
            }
            let partition = self.run.world.instances[index].partition.clone();
            match loss {
                Loss::Everything => rot::wipe(&self.context, &partition).await,
                Loss::Journal => {
                    let newest = self.run.electorate.lock().newest();
                    for epoch in 0..=newest {
                        self.remove(&format!("{partition}votes-{epoch}")).await;
                    }
                }
                Loss::Guard => {
                    self.remove(&format!("{partition}guard-a")).await;
                    self.remove(&format!("{partition}guard-b")).await;
                }
                // What is lost already stays so: the same bit flipped again would mend it.
                Loss::GuardBits if matches!(self.run.slots[index].guard, Guard::Lost | Guard::Observed) => continue,
                Loss::GuardBits => {
                    self.flip(&format!("{partition}guard-a"), 2).await;
                    self.flip(&format!("{partition}guard-b"), 2).await;
                }
                Loss::GuardBit => self.flip(&format!("{partition}guard-a"), 1).await,
                Loss::Store(part, rot) => {
                    let at = milliseconds(self.run.now);
                    let mut rng = draw(self.run.world.seed, "rot", &[index as u64, at]);
                    let done = rot::rot(&self.context, &partition, part, rot, &mut rng).await;
                    let name = &self.run.world.instances[index].name;
                    self.run.done.extend(done.iter().map(|what| format!("{:.1} s: {name}: {what}", at as f64 / 1e3)));
                    // A byte anywhere may be one that means nothing any more.
                    if rot != Rot::Anywhere {
                        self.run.slots[index].rotten.extend(done);
                    }
                }
            }
            if matches!(loss, Loss::Guard | Loss::GuardBits | Loss::Everything) {
                self.run.slots[index].guard = Guard::Lost;
            }
        }
    }

    async fn remove(&self, partition: &str) {
        // Nothing there to lose is fine: the node may never have come so far.
        let _ = self.context.remove(partition, None).await;
    }

    /// Flips one bit in the header of every file, so that no file passes for one with a torn end.
    async fn flip(&self, partition: &str, bit: u8) {
        for name in self.context.scan(partition).await.unwrap_or_default() {
            let (blob, length) = self.context.open(partition, &name).await.expect("a file of a stopped node opens");
            let at = length.min(64) / 2;
            let bytes = blob.read_at(at, 1, ReadOptions::default()).await.expect("a file can be read").coalesce();
            let flipped = vec![bytes.as_ref()[0] ^ bit];
            blob.write_at(at, flipped, WriteOptions::SYNC).await.expect("a file can be written");
        }
    }

    /// Makes the links what the topology says.
    async fn link(&mut self) {
        let world = self.run.world.clone();
        for (number, side) in self.sides.iter_mut().enumerate() {
            let here = |node: usize| world.instances.iter().any(|it| it.node == node && it.side == number);
            for (from, to) in (0..world.keys.len()).flat_map(|from| (0..world.keys.len()).map(move |to| (from, to))) {
                if from == to || !here(from) || !here(to) {
                    continue;
                }
                let (wanted, present) = (self.run.topology.link(from, to), side.links.get(&(from, to)));
                if wanted.as_ref() == present {
                    continue;
                }
                let (sender, receiver) = (world.public(from), world.public(to));
                if present.is_some() {
                    side.oracle.remove_link(sender.clone(), receiver.clone()).await.expect("the link was added");
                    side.links.remove(&(from, to));
                }
                if let Some(link) = wanted {
                    side.oracle.add_link(sender, receiver, simulate(&link)).await.expect("the link was removed");
                    side.links.insert((from, to), link);
                }
            }
            for node in (0..world.keys.len()).filter(|node| here(*node)) {
                let (wanted, present) = (self.run.topology.bandwidth(node), side.bandwidths.get(&node).copied());
                if wanted == present {
                    continue;
                }
                side.oracle.limit_bandwidth(world.public(node), wanted, wanted).await.expect("the node was registered");
                match wanted {
                    Some(bandwidth) => side.bandwidths.insert(node, bandwidth),
                    None => side.bandwidths.remove(&node),
                };
            }
        }
        for (index, running) in self.nodes.iter().enumerate() {
            if let Some(running) = running {
                let node = world.instances[index].node;
                running.machine.send_twice(self.run.topology.is_twice(node));
                running.machine.set_disk(self.run.topology.disk(node));
            }
        }
    }

    fn clock(&mut self) {
        self.run.now = self.context.current().duration_since(World::start_time()).unwrap_or_default();
        LOOKED_AT.set(self.run.now);
    }

    /// Looks after the nodes: did one end, observe, or contradict itself?
    fn look(&mut self) {
        self.clock();
        for index in 0..self.nodes.len() {
            let Some(running) = &mut self.nodes[index] else { continue };
            let (ill, blown) = (running.machine.take_ill(), running.machine.take_blown());
            let ended = (&mut running.node.handle).now_or_never();
            let blown = blown.or_else(|| ended.as_ref().and_then(|_| running.machine.died()));
            if let Some(Blown { fuse, at }) = ill {
                self.tell(index, &fuse, &at);
            }
            if let Some(blown) = blown {
                self.fail(index, &blown);
                continue;
            }
            let Some(running) = &mut self.nodes[index] else { continue };
            let name = &self.run.world.instances[index].name;
            if let Some(ended) = ended {
                self.run.accuse(Checker::StaysUp, format!("{name} ended by itself: {ended:?}"));
                self.nodes[index] = None;
                self.directory.lock()[index] = None;
                continue;
            }
            if let Some(what) = self.run.electorate.lock().learn(&running.node.ledger.finalized()) {
                self.run.accuse(Checker::Agreement, format!("{name}: {what}"));
            }
            let duty = running.node.snapshot.borrow().status.duty;
            let slot = &mut self.run.slots[index];
            slot.guard = match (slot.guard, duty) {
                (Guard::Lost, Duty::Observing) => Guard::Observed,
                (Guard::Observed, Duty::Voting) => Guard::Regained,
                (guard, _) => guard,
            };
        }
        for contradiction in self.run.ballots.lock().take_contradictions() {
            self.run.accuse(Checker::NoConflictingVotes, contradiction);
        }
        self.follow_joiners();
        self.count_voters();
        if self.run.world.scenario.expects(Checker::CutNamed) {
            self.look_at_cuts();
        }
    }

    /// Holds what every node shows of the network against the links that there are.
    fn look_at_cuts(&mut self) {
        let (run, nodes) = (&mut *self.run, &self.nodes);
        // Twins are in two networks at once. A clock that is off makes what is passed on look old, and a disk that hangs what
        // is shown.
        let is_clear = run.world.scenario.twins().is_empty()
            && run.topology.is_clear()
            && run.now >= run.ill_until
            && run.slots.iter().all(|slot| slot.skew == Skew::None);
        let is_up = |node: usize| nodes[node].as_ref().is_some_and(|running| !running.machine.is_halted());
        let topology = &run.topology;
        let hears =
            is_clear.then(|| cuts::hears(topology.nodes(), is_up, |from, to| topology.link(from, to).is_some()));
        run.cuts.follow(hears, run.now);
        let mut wrong = Vec::new();
        for (node, running) in nodes.iter().enumerate() {
            let Some(running) = running else { continue };
            let snapshot = running.node.snapshot.borrow().clone();
            wrong.extend(run.cuts.judge(node, &snapshot, run.now));
        }
        wrong.into_iter().for_each(|what| run.accuse(Checker::CutNamed, what));
    }

    /// Tells the book whether a quorum of voters is connected.
    fn count_voters(&mut self) {
        let slots = &self.run.slots;
        let votes = |index: &usize| {
            let slot = &slots[*index];
            let stalled = self.nodes[*index].as_ref().is_some_and(|running| running.machine.is_halted());
            slot.up && !stalled && !matches!(slot.guard, Guard::Lost | Guard::Observed)
        };
        let present = self.run.electorate.lock().present().clone();
        let node = |index: usize| self.run.world.instances[index].node;
        let is_voter = |node: &usize| present.iter().any(|key| *key == self.run.world.public(*node));
        let voters: Vec<usize> = (0..slots.len()).filter(votes).map(node).filter(is_voter).collect();
        let twins = !self.run.world.scenario.twins().is_empty();
        let there = twins || !self.run.topology.without_quorum(&voters, quorum(present.len()));
        self.run.halted = if there { None } else { Some(self.run.halted.unwrap_or(self.run.now)) };
        self.run.book.lock().quorum(there);
    }

    /// After a while without a quorum, every node says that finality is halted, and what would mend it.
    fn ask_why(&self) {
        let run = &self.run;
        if !run.world.scenario.expects(Checker::SaysWhy)
            || run.halted.is_none_or(|halted| run.now.saturating_sub(halted) < SAID_WITHIN)
        {
            return;
        }
        let observers = run.slots.iter().filter(|slot| matches!(slot.guard, Guard::Lost | Guard::Observed)).count();
        let present = run.electorate.lock().present().len();
        let lost_beyond_f = observers > present - quorum(present);
        for (index, running) in self.nodes.iter().enumerate() {
            let Some(running) = running else { continue };
            if running.machine.is_halted() || run.now.saturating_sub(run.slots[index].changed) < STARTED_BEFORE {
                continue;
            }
            let snapshot = running.node.snapshot.borrow().clone();
            if let Some(what) = misses(&snapshot, lost_beyond_f) {
                run.accuse(Checker::SaysWhy, format!("{} {what}", run.world.instances[index].name));
            }
        }
    }

    /// Heals what can be healed and waits for everyone to meet.
    async fn close(&mut self) {
        self.ask_why();
        let world = self.run.world.clone();
        if world.scenario.expects(Checker::ProgressThroughout) {
            self.check_gaps();
        }
        if world.scenario.swarm.is_none() && world.scenario.expects(Checker::Halts) && self.run.book.lock().halts() == 0
        {
            self.run
                .accuse(Checker::Halts, "the quorum was never away: the scenario does not show what it says".into());
        }
        if ![Checker::ProgressAfterHeal, Checker::TasksFinish].into_iter().any(|it| world.scenario.expects(it)) {
            return;
        }
        self.run.steps.clear();
        self.heal(&world.plan.left_down, &world.plan.left_broken).await;
        self.run.load.lock().closing = true;
        self.clock();
        let (healed, tip) = (self.run.now, self.run.book.lock().height());
        let round = self.voted().max().flatten();
        self.run.done.push(format!("{:.1} s: healed at block {tip}", healed.as_secs_f64()));
        while self.is_waited_for(self.run.now - healed) {
            self.context.sleep(TICK).await;
            self.look();
            let since = self.run.now - healed;
            if self.run.resumed.is_none() && self.run.book.lock().height() > tip {
                self.run.resumed = Some(since);
            }
            if self.run.converged.is_none() && self.met(tip, round) {
                self.run.converged = Some(since);
            }
            if self.run.finished.is_none() && self.run.converged.is_some() && self.open_tasks() == 0 {
                self.run.finished = Some(since);
            }
        }
        self.judge_convergence(tip, round);
        self.judge_joiners();
        self.judge_repairs();
        self.judge_tasks();
    }

    /// Whether something is still to come so long after the healing.
    fn is_waited_for(&self, since: Duration) -> bool {
        let tasks = self.run.world.scenario.expects(Checker::TasksFinish);
        (self.run.converged.is_none() && since < CONVERGED_WITHIN)
            || (tasks && self.run.finished.is_none() && since < FINISHED_WITHIN)
    }

    /// Tasks that some node has open, or that some client does not know to be finished.
    fn open_tasks(&self) -> u64 {
        let open = |node: Option<&Node>| {
            let counts = node.map(|node| node.ledger.finalized().task_counts());
            counts.map_or(0, |counts| counts.pending + counts.leased)
        };
        let held = self.core().map(|(_, node)| open(node)).max().unwrap_or(0);
        held.max(self.run.load.lock().open() as u64)
    }

    fn judge_tasks(&self) {
        if self.run.finished.is_some() {
            return;
        }
        let (open, waits) = (self.open_tasks(), self.run.load.lock().open());
        let node = self.core().find_map(|(_, node)| node);
        let state = node.map(|node| node.ledger.finalized());
        let first =
            state.and_then(|state| state.tasks_from(ledger::TaskNumber(0)).find(|task| !task.state.is_finished()));
        let what = format!(
            "{FINISHED_WITHIN:?} after the healing {open} tasks are open, and clients wait for {waits}; the first is {first:?}"
        );
        self.run.accuse(Checker::TasksFinish, what);
    }

    fn check_gaps(&self) {
        let (gap, height) = {
            let book = self.run.book.lock();
            (book.gap_ms(), book.height())
        };
        if height < BLOCKS_MIN || u128::from(gap) > GAP_MAX.as_millis() {
            let what = format!("block {height} was reached, with a gap of {gap} ms; at most {GAP_MAX:?} are expected");
            self.run.accuse(Checker::ProgressThroughout, what);
        }
    }

    fn core(&self) -> impl Iterator<Item = (usize, Option<&Node>)> {
        let (instances, down) = (&self.run.world.instances, &self.run.world.plan.left_down);
        let nodes = self.nodes.iter().map(|running| running.as_ref().map(|running| &running.node));
        let counts = |node: usize| !down.contains(&node) && self.is_seated(node);
        nodes.enumerate().filter(move |(index, _)| counts(instances[*index].node))
    }

    /// Whether everyone has what was final at the healing and two blocks more, and nothing waits.
    fn met(&self, tip: u64, round: Option<Round>) -> bool {
        let votes = |index: usize| !matches!(self.run.slots[index].guard, Guard::Lost | Guard::Observed);
        let regained = !self.run.world.scenario.expects(Checker::VotesAgain)
            || (self.core().all(|(index, _)| votes(index) || !self.is_voter(index))
                && self.voted().all(|newest| newest > round));
        let there = |node: Option<&Node>| node.is_some_and(|node| node.ledger.finalized().height().0 >= tip + 2);
        let whole = |node: Option<&Node>| {
            node.is_some_and(|node| {
                let store = node.snapshot.borrow().status.store.clone();
                store.blocks_missing + store.certificates_missing == 0
            })
        };
        let repaired = !self.run.world.scenario.expects(Checker::Repaired) || self.core().all(|(_, node)| whole(node));
        let joined = !self.run.world.scenario.expects(Checker::Joined)
            || self.run.joiners.all().all(|node| {
                let key = self.run.world.public(node);
                self.run.electorate.lock().present().iter().any(|voter| *voter == key)
            });
        joined
            && repaired
            && regained
            && self.core().all(|(_, node)| there(node))
            && self.run.load.lock().pending() == 0
    }

    /// Whether the node of an instance is a validator still.
    fn is_voter(&self, index: usize) -> bool {
        let key = self.run.world.public(self.run.world.instances[index].node);
        self.run.electorate.lock().present().iter().any(|voter| *voter == key)
    }

    /// The keys of those of the core that are validators.
    fn voters(&self) -> impl Iterator<Item = PublicKey> {
        let world = &self.run.world;
        self.core()
            .map(|(index, _)| index)
            .filter(|index| self.is_voter(*index))
            .map(|index| world.public(world.instances[index].node))
    }

    /// The newest round in which each validator of the core voted to notarize or nullify.
    fn voted(&self) -> impl Iterator<Item = Option<Round>> {
        let ballots = &self.run.ballots;
        self.voters().map(|key| ballots.lock().newest(&key))
    }

    fn judge_joiners(&self) {
        let present = self.run.electorate.lock().present().clone();
        for node in self.run.joiners.all() {
            let key = self.run.world.public(node);
            if present.iter().all(|voter| *voter != key) {
                self.run.accuse(Checker::Joined, format!("n{node} asked for a seat and has no vote in the end"));
            }
        }
    }

    /// Whether each node whose disk rotted has said so, and nothing is missing.
    fn judge_repairs(&self) {
        if !self.run.world.scenario.expects(Checker::Repaired) {
            return;
        }
        for (index, node) in self.core() {
            let name = &self.run.world.instances[index].name;
            let rotten = &self.run.slots[index].rotten;
            if !rotten.is_empty() && self.run.book.lock().damage_of(name) == 0 {
                self.run.accuse(Checker::Repaired, format!("{name} told of no damage, but: {}", rotten.join("; ")));
            }
            let store = node.map(|node| node.snapshot.borrow().status.store.clone()).unwrap_or_default();
            if store.blocks_missing + store.certificates_missing > 0 {
                self.run.accuse(Checker::Repaired, format!("{name} still misses something: {store:?}"));
            }
        }
    }

    fn judge_convergence(&self, tip: u64, round: Option<Round>) {
        match self.run.resumed {
            Some(resumed) if resumed <= RESUMED_WITHIN => {}
            resumed => {
                let what =
                    format!("the first block after {tip} came {resumed:?} after the healing, not {RESUMED_WITHIN:?}");
                self.run.accuse(Checker::ProgressAfterHeal, what);
            }
        }
        if self.run.converged.is_none() {
            let heights: Vec<String> = self
                .core()
                .map(|(index, node)| {
                    let name = &self.run.world.instances[index].name;
                    node.map_or_else(|| format!("{name} down"), |node| describe(name, node))
                })
                .collect();
            let (pending, heights) = (self.run.load.lock().pending(), heights.join(", "));
            let what =
                format!("{CONVERGED_WITHIN:?} after the healing at block {tip}: {heights}; {pending} orders wait");
            self.run.accuse(Checker::ProgressAfterHeal, what);
        }
        if self.run.world.scenario.expects(Checker::VotesAgain) {
            for slot in self.run.slots.iter().filter(|slot| slot.guard != Guard::Whole && slot.guard != Guard::Regained)
            {
                self.run.accuse(Checker::VotesAgain, format!("a lost guard ends {:?}, not Regained", slot.guard));
            }
            // Once they have met, all had; who got its seat since then may have had no view to vote in.
            if self.run.converged.is_none() && self.voted().any(|newest| newest <= round) {
                let votes: Vec<_> = self.voted().collect();
                self.run.accuse(Checker::VotesAgain, format!("after the votes of {round:?} came no more: {votes:?}"));
            }
        }
    }

    /// Reads and checks what every node holds.
    async fn check(&mut self) {
        self.clock();
        let world = self.run.world.clone();
        let mut chains = Vec::new();
        for (index, running) in self.nodes.iter().enumerate() {
            let Some(Running { node, .. }) = running else { continue };
            // A state once read does not change: the chain is read up to there while the node goes on.
            let state = node.ledger.finalized();
            let name = world.instances[index].name.clone();
            self.run.book.lock().state(&name, state.height().0, &state.root().to_string(), milliseconds(self.run.now));
            chains.push(Chain::read(name, &node.marshal, &state, self.run.history.as_ref()).await);
        }
        self.clock();
        let at_ms = milliseconds(self.run.now);
        let Counted { lost, doubled } = chain::check(
            (&world, &self.run.electorate.lock()),
            &chains,
            &self.run.load.lock(),
            &mut self.run.book.lock(),
            at_ms,
        );
        if let Some(furthest) = chains.iter().max_by_key(|chain| chain.tip()) {
            let stale = self.run.book.lock().rejections().count() as u64;
            let (report, falls, wrong) = tally(&world, furthest.blocks());
            self.run.falls = falls;
            self.run.tasks = TaskReport { stale, lost, doubled, ..report };
            wrong.into_iter().for_each(|(checker, what)| self.run.accuse(checker, what));
            if self.run.tasks.verdicts > 0 {
                let what = format!("{} verdicts were made", self.run.tasks.verdicts);
                self.run.accuse(Checker::NoVerdicts, what);
            }
            let state = self
                .core()
                .filter_map(|(_, node)| node)
                .map(|node| node.ledger.finalized())
                .max_by_key(|state| state.height());
            let down = state.map_or(0, |state| state.validators_unresponsive().count());
            if down > world.plan.left_down.len() {
                let what =
                    format!("{down} nodes are unresponsive in the end, and {} are down", world.plan.left_down.len());
                self.run.accuse(Checker::EveryoneIsBack, what);
            }
        }
        let told = self.run.liars.told();
        for side in &self.sides {
            for (from, to) in side.oracle.blocked().await.unwrap_or_default() {
                let node = |key: &PublicKey| (0..world.keys.len()).find(|node| world.public(*node) == *key);
                let name = |key: &PublicKey| node(key).map_or_else(|| key.to_string(), |node| format!("n{node}"));
                if node(&to).is_none_or(|node| !told.contains(&node)) {
                    self.run.accuse(Checker::NoBans, format!("{} cut off {}", name(&from), name(&to)));
                }
            }
        }
        self.check_liars();
    }

    /// Whether those were cut off who gave wrong answers, and nobody else.
    fn check_liars(&self) {
        let liars: BTreeSet<String> = self.run.liars.told().into_iter().map(|node| format!("n{node}")).collect();
        let cuts = self.run.book.lock().cuts().clone();
        let what = "nobody gave a wrong answer: the scenario does not show what it says";
        let idle = liars.is_empty().then(|| what.to_owned());
        let free = liars.iter().filter(|liar| !cuts.iter().any(|(_, to)| to == *liar));
        let free = free.map(|liar| format!("{liar} gave a wrong answer and nobody cut it off"));
        let wrong = cuts.iter().filter(|(_, to)| !liars.contains(to)).map(|(from, to)| format!("{from} cut off {to}"));
        idle.into_iter().chain(free).chain(wrong).for_each(|what| self.run.accuse(Checker::LiarsCutOff, what));
    }
}

async fn watch_blocks(
    context: Context,
    name: String,
    events: EventLog,
    ledger: Arc<Ledger>,
    book: Arc<Mutex<Book>>,
    history: Option<(History, Marshal)>,
) {
    let mut subscription = events.subscribe_after(0);
    loop {
        // What was dropped before it was heard is found in the blocks at the end.
        let Heard::Event(event) = subscription.next().await else { continue };
        if let (Some((history, marshal)), EventKind::Finalized { height, .. }) = (&history, &event.kind) {
            history.note(marshal, *height).await;
        }
        // The clock of the node may be wrong.
        let at_ms = milliseconds(context.current().duration_since(World::start_time()).unwrap_or_default());
        let mut book = book.lock();
        hear(&name, &event, at_ms, &mut book);
        let state = ledger.finalized();
        if book.digest(state.height().0) == Some(&digest(state.digest()).to_string()) {
            book.state(&name, state.height().0, &state.root().to_string(), at_ms);
        }
    }
}

fn hear(name: &str, event: &api::Event, at_ms: u64, book: &mut Book) {
    match &event.kind {
        EventKind::Finalized { height, digest, .. } => book.finalized(name, *height, digest, at_ms),
        EventKind::TaskChanged { number, token: Some(token), state: TaskState::Done, height, .. } => {
            book.completed(name, (*number, *token), *height, at_ms);
        }
        EventKind::PeerBlocked { node, .. } => book.cut_off(name, node),
        EventKind::StoreDamaged { .. } => book.damaged(name, event),
        EventKind::StoreRepaired { count, .. } => book.repaired(name, event, *count as u64),
        EventKind::CommitRejected { number, token, node, .. } => book.rejected(*number, *token, node),
        EventKind::TaskChanged { .. }
        | EventKind::FinalityChanged { .. }
        | EventKind::StateChanged { .. }
        | EventKind::SlackChanged { .. }
        | EventKind::NodeHeard { .. }
        | EventKind::NodeSilent { .. }
        | EventKind::NodeAiling { .. }
        | EventKind::RecoveryWanted { .. }
        | EventKind::PartitionChanged { .. }
        | EventKind::StoreOutOfReach { .. }
        | EventKind::SyncChanged { .. }
        | EventKind::SnapshotTaken { .. }
        | EventKind::StandingChanged { .. }
        | EventKind::SetDecided { .. }
        | EventKind::EpochBegan { .. }
        | EventKind::JoinRequested { .. }
        | EventKind::Learner { .. }
        | EventKind::CaughtUp { .. }
        | EventKind::JoinEnded { .. }
        | EventKind::ScalingChanged { .. }
        | EventKind::DutyChanged { .. }
        | EventKind::FaultInjected { .. }
        | EventKind::FaultEnded { .. } => {}
    }
}

/// What a halted node does not say and should.
fn misses(snapshot: &Snapshot, lost_beyond_f: bool) -> Option<String> {
    let why = &snapshot.why;
    if snapshot.status.finality != Finality::Halted || !why.sentence.contains("HALTED") {
        return Some(format!("does not say that finality is halted, but: {}", why.sentence));
    }
    match &why.fix {
        None => Some("does not say what would mend it".into()),
        Some(fix) if lost_beyond_f && !fix.contains("reinstate") => {
            Some(format!("does not name the procedure for lost vote guards, but: {fix}"))
        }
        Some(_) => None,
    }
}

fn afflict(illness: Illness, lasts: Duration) -> Affliction {
    Affliction { illness, ttl_ms: milliseconds(lasts), ..Affliction::default() }
}

fn describe(name: &str, node: &Node) -> String {
    let snapshot = node.snapshot.borrow().clone();
    let status = &snapshot.status;
    format!(
        "{name} at {} (view {}, {:?}, mempool {})",
        status.height, status.view, status.duty, status.mempool_transactions
    )
}

fn simulate(link: &Link) -> simulated::Link {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a million, checked when it was read"
    )]
    let kept = ((1.0 - link.loss) * 1e6).round() as u64;
    let success_rate = Probability::new(kept.min(1_000_000), 1_000_000).expect("a share of a million");
    simulated::Link { latency: link.latency, jitter: link.jitter, success_rate }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
