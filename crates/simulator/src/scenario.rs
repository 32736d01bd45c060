//! What is played, read from TOML.
//!
//! Files are in `scenarios/` at the top of the repository. A wrong file is refused with the line, or with the entry and
//! what it should be.

use crate::{
    Checker,
    machine::{Fate, Fuse, Point, Skew},
    rot::{Part, Rot},
};
use serde::{Deserialize, Deserializer, de};
use std::time::Duration;

/// The scenarios that come with this program.
const FILES: &[&str] = &[
    include_str!("../../../scenarios/four-nodes.toml"),
    include_str!("../../../scenarios/crash-f.toml"),
    include_str!("../../../scenarios/crash-beyond-f.toml"),
    include_str!("../../../scenarios/split-with-quorum.toml"),
    include_str!("../../../scenarios/split-without-quorum.toml"),
    include_str!("../../../scenarios/one-way.toml"),
    include_str!("../../../scenarios/bridge.toml"),
    include_str!("../../../scenarios/ring.toml"),
    include_str!("../../../scenarios/overlapping-majorities.toml"),
    include_str!("../../../scenarios/split-four-three.toml"),
    include_str!("../../../scenarios/one-way-forever.toml"),
    include_str!("../../../scenarios/loss.toml"),
    include_str!("../../../scenarios/latency.toml"),
    include_str!("../../../scenarios/twice.toml"),
    include_str!("../../../scenarios/narrow.toml"),
    include_str!("../../../scenarios/gray.toml"),
    include_str!("../../../scenarios/leaders-cut-off.toml"),
    include_str!("../../../scenarios/flapping-link.toml"),
    include_str!("../../../scenarios/links-one-by-one.toml"),
    include_str!("../../../scenarios/blackout.toml"),
    include_str!("../../../scenarios/lose-guard.toml"),
    include_str!("../../../scenarios/lose-guards-beyond-f.toml"),
    include_str!("../../../scenarios/lose-journals.toml"),
    include_str!("../../../scenarios/power-loss.toml"),
    include_str!("../../../scenarios/tasks-move.toml"),
    include_str!("../../../scenarios/late-completion.toml"),
    include_str!("../../../scenarios/halted-leases.toml"),
    include_str!("../../../scenarios/forgotten-tasks.toml"),
    include_str!("../../../scenarios/crash-verdict.toml"),
    include_str!("../../../scenarios/false-accuser.toml"),
    include_str!("../../../scenarios/wedged-executor.toml"),
    include_str!("../../../scenarios/slow-disk.toml"),
    include_str!("../../../scenarios/flapping.toml"),
    include_str!("../../../scenarios/rolling-restart.toml"),
    include_str!("../../../scenarios/watchers.toml"),
    include_str!("../../../scenarios/stall.toml"),
    include_str!("../../../scenarios/stall-short.toml"),
    include_str!("../../../scenarios/stall-long.toml"),
    include_str!("../../../scenarios/stall-leader.toml"),
    include_str!("../../../scenarios/stall-beyond-f.toml"),
    include_str!("../../../scenarios/wrong-clocks.toml"),
    include_str!("../../../scenarios/leave.toml"),
    include_str!("../../../scenarios/gradual-loss.toml"),
    include_str!("../../../scenarios/join.toml"),
    include_str!("../../../scenarios/join-split.toml"),
    include_str!("../../../scenarios/replace.toml"),
    include_str!("../../../scenarios/rot-blocks.toml"),
    include_str!("../../../scenarios/rot-certificates.toml"),
    include_str!("../../../scenarios/rot-engine.toml"),
    include_str!("../../../scenarios/rot-everywhere.toml"),
    include_str!("../../../scenarios/rot-together.toml"),
    include_str!("../../../scenarios/store-lost.toml"),
    include_str!("../../../scenarios/rot-beyond-repair.toml"),
    include_str!("../../../scenarios/catch-up.toml"),
    include_str!("../../../scenarios/clog.toml"),
    include_str!("../../../scenarios/lying-disk.toml"),
    include_str!("../../../scenarios/overload.toml"),
    include_str!("../../../scenarios/slow-reads.toml"),
    include_str!("../../../scenarios/snapshot-join.toml"),
    include_str!("../../../scenarios/snapshot-liar.toml"),
    include_str!("../../../scenarios/swarm.toml"),
    include_str!("../../../scenarios/swarm-seven.toml"),
    include_str!("../../../scenarios/swarm-sets.toml"),
    include_str!("../../../scenarios/canary.toml"),
];

/// A simulation of more nodes is slower than anyone waits for.
const NODES_MAX: usize = 100;

/// A crashed task gives its files back only when the runtime gets to it; nothing real restarts faster either.
pub(crate) const DOWN_MIN: Duration = Duration::from_millis(300);

/// No clock is further behind: there is no time before the epoch.
const BEHIND_MAX: Duration = Duration::from_secs(365 * 86_400);

/// What is played.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// What it shows, in a sentence.
    pub about: String,
    /// How many validators: `n0`, `n1` and so on.
    pub nodes: usize,
    /// How many nodes more there are, that are no validators and may ask to be: they are numbered after those.
    #[serde(default)]
    pub newcomers: usize,
    /// How long it lasts. What an expectation needs beyond that (healing, convergence) comes on top.
    #[serde(deserialize_with = "duration")]
    pub duration: Duration,
    /// Least time between two blocks. Wide by default: a run is worth its faults, and a block costs more than a second of
    /// waiting.
    #[serde(default = "block_time", deserialize_with = "duration")]
    pub block_time: Duration,
    /// The network without faults.
    #[serde(default)]
    pub links: Links,
    /// What clients do.
    #[serde(default)]
    pub load: Load,
    /// What nodes keep.
    #[serde(default)]
    pub store: Keeping,
    /// Faults at fixed times.
    #[serde(default, rename = "fault")]
    entries: Vec<Entry>,
    /// Faults drawn from the seed.
    pub swarm: Option<Swarm>,
    /// Nodes that run twice, with one key and a vote guard each, in two networks that do not know of each other. All other
    /// nodes are dealt to the two networks in turn. No protocol survives more than f of these.
    #[serde(default)]
    twins: Vec<String>,
    /// Blocks of an epoch: few, so that a run of a minute sees some.
    #[serde(default = "epoch_length")]
    pub epoch_length: u64,
    /// For how long a quorum must have held a node unresponsive before it is removed.
    #[serde(default = "remove_after", deserialize_with = "duration")]
    pub remove_after: Duration,
    /// How many liars every set of validators must survive; as many as the first one does if it is left out.
    pub byzantine_budget: Option<usize>,
    /// Nodes that stay down when everything else is healed.
    #[serde(default)]
    left_down: Vec<String>,
    /// What must hold.
    pub expect: Vec<Checker>,
    /// Checkers that must find a violation: the scenario is there to show that they can.
    #[serde(default)]
    pub must_fail: Vec<Checker>,
    #[serde(skip)]
    faults: Vec<(Duration, Fault)>,
    #[serde(skip)]
    twin_nodes: Vec<usize>,
    #[serde(skip)]
    lost_nodes: Vec<usize>,
}

/// `[links]`: the network without faults.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Links {
    /// Mean time from one node to another.
    #[serde(deserialize_with = "duration")]
    pub latency: Duration,
    /// Its standard deviation.
    #[serde(deserialize_with = "duration")]
    pub jitter: Duration,
    /// The share of messages that are lost, from 0 to 1.
    #[serde(deserialize_with = "share")]
    pub loss: f64,
}

impl Default for Links {
    fn default() -> Self {
        Self { latency: Duration::from_millis(20), jitter: Duration::from_millis(5), loss: 0.0 }
    }
}

/// `[store]`: what nodes keep, where it is not what they keep by default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keeping {
    /// Blocks from one checkpoint, and from one snapshot for others, to the next.
    pub checkpoint_interval: Option<u64>,
    /// Finalized blocks kept; 0 keeps all.
    pub blocks_kept: u64,
    /// So many blocks behind, the state is fetched instead; 0: only if nobody has the blocks.
    pub snapshot_after: u64,
}

/// `[load]`: what clients do.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Load {
    /// Transfers signed per second, over all accounts.
    pub transfers_per_second: u32,
    /// Tasks ordered per second, over all accounts; some of these orders are cancellations.
    pub tasks_per_second: u32,
    /// Accounts, each with a client of its own.
    pub accounts: usize,
    /// For how many blocks the chain remembers a finished task.
    pub keep_blocks: u64,
}

impl Default for Load {
    fn default() -> Self {
        Self { transfers_per_second: 20, tasks_per_second: 5, accounts: 8, keep_blocks: 6_000 }
    }
}

/// `[swarm]`: faults drawn from the seed, while the scenario lasts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swarm {
    /// How many faults at most.
    pub faults_max: usize,
    /// How long a fault lasts at most.
    #[serde(deserialize_with = "duration")]
    pub lasts_max: Duration,
    /// What is drawn from.
    pub kinds: Vec<Kind>,
    /// Whether up to f nodes may be left down, or without their vote guard, when everything else is healed.
    #[serde(default)]
    pub permanent: bool,
}

/// The kinds of faults, as a scenario names them.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// See [`Fault::Crash`].
    Crash,
    /// See [`Fault::FailAt`]: a crash.
    CrashAt,
    /// See [`Fault::Restart`].
    Restart,
    /// See [`Fault::Stall`].
    Stall,
    /// See [`Fault::FailAt`]: a stall.
    StallAt,
    /// See [`Fault::FailAt`]: a disk that fails.
    FailDiskAt,
    /// See [`Fault::WrongClock`].
    WrongClock,
    /// See [`Fault::Partition`].
    Partition,
    /// See [`Fault::OneWay`].
    OneWay,
    /// See [`Fault::Loss`].
    Loss,
    /// See [`Fault::Delay`].
    Delay,
    /// See [`Fault::Narrow`].
    Narrow,
    /// See [`Fault::Twice`].
    Twice,
    /// See [`Fault::Spike`].
    Spike,
    /// See [`Fault::SlowReads`].
    SlowReads,
    /// See [`Fault::LyingDisk`].
    LyingDisk,
    /// See [`Fault::Heal`].
    Heal,
    /// See [`Fault::WipeJournal`].
    WipeJournal,
    /// See [`Fault::LoseGuard`].
    LoseGuard,
    /// See [`Fault::DamageGuard`].
    DamageGuard,
    /// See [`Fault::RotGuard`].
    RotGuard,
    /// See [`Fault::RotStore`].
    RotStore,
    /// See [`Fault::SlowWorker`].
    SlowWorker,
    /// See [`Fault::StuckWorker`].
    StuckWorker,
    /// See [`Fault::SlowDisk`].
    SlowDisk,
    /// See [`Fault::FalseAccuser`].
    FalseAccuser,
    /// See [`Fault::Leave`].
    Leave,
    /// See [`Fault::Wipe`].
    Wipe,
    /// See [`Fault::BadAnswers`].
    BadAnswers,
    /// See [`Fault::NoAnswers`].
    NoAnswers,
    /// See [`Fault::Join`].
    Join,
    /// See [`Fault::PowerLoss`].
    PowerLoss,
}

/// `[[fault]]` as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(deserialize_with = "duration")]
    at: Duration,
    kind: Kind,
    #[serde(default)]
    nodes: Vec<String>,
    #[serde(default)]
    groups: Vec<Vec<String>>,
    #[serde(default)]
    from: Vec<String>,
    #[serde(default)]
    to: Vec<String>,
    #[serde(default, rename = "for", deserialize_with = "maybe_duration")]
    lasts: Option<Duration>,
    #[serde(default, deserialize_with = "maybe_share")]
    loss: Option<f64>,
    #[serde(default, deserialize_with = "maybe_duration")]
    delay: Option<Duration>,
    bandwidth: Option<usize>,
    times: Option<u32>,
    operation: Option<u64>,
    block: Option<u64>,
    #[serde(default)]
    after: bool,
    #[serde(default)]
    once: bool,
    #[serde(default, deserialize_with = "maybe_duration")]
    ahead: Option<Duration>,
    #[serde(default, deserialize_with = "maybe_duration")]
    behind: Option<Duration>,
    #[serde(default)]
    part: Part,
    bytes_at: Option<u8>,
    zeros_at: Option<u8>,
    cut_at: Option<u8>,
    #[serde(default)]
    misdirected: bool,
    #[serde(default)]
    gone: bool,
}

/// What goes wrong. Nodes are counted from 0; without a `lasts` it stays so until it is mended.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Nodes are gone from one moment to the next, and come back.
    Crash {
        /// Which.
        nodes: Vec<usize>,
        /// For how long.
        lasts: Option<Duration>,
    },
    /// Nodes crash or stall, each at one of its operations, or their disks fail there; those that are down fail while they
    /// start.
    FailAt {
        /// Which.
        nodes: Vec<usize>,
        /// At which operation, and how.
        fuse: Fuse,
    },
    /// Nodes stop as after SIGSTOP: nothing in them goes on, and nobody is told.
    Stall {
        /// Which.
        nodes: Vec<usize>,
        /// For how long.
        lasts: Option<Duration>,
    },
    /// Nodes crash and come back with a wall clock that is off, until another fault of this kind or the healing.
    WrongClock {
        /// Which.
        nodes: Vec<usize>,
        /// How far off; [`Skew::None`] makes it right again.
        skew: Skew,
        /// How long they are down.
        lasts: Duration,
    },
    /// Nodes that are down come back.
    Restart {
        /// Which.
        nodes: Vec<usize>,
    },
    /// Nodes reach only their own group. Those in no group are one of their own.
    Partition {
        /// The groups.
        groups: Vec<Vec<usize>>,
        /// For how long.
        lasts: Option<Duration>,
    },
    /// Some nodes are not heard by some others.
    OneWay {
        /// Who is not heard.
        from: Vec<usize>,
        /// By whom.
        to: Vec<usize>,
        /// For how long.
        lasts: Option<Duration>,
    },
    /// Messages from and to some nodes are lost.
    Loss {
        /// Whose.
        nodes: Vec<usize>,
        /// What share of them.
        loss: f64,
        /// For how long.
        lasts: Option<Duration>,
    },
    /// Messages from and to some nodes take longer.
    Delay {
        /// Whose.
        nodes: Vec<usize>,
        /// How much longer.
        delay: Duration,
        /// For how long.
        lasts: Option<Duration>,
    },
    /// So much goes out of some nodes and comes into them, and no more.
    Narrow {
        /// Which.
        nodes: Vec<usize>,
        /// In bytes per second, each way.
        bandwidth: usize,
        /// For how long.
        lasts: Option<Duration>,
    },
    /// Every other message of some nodes comes twice.
    Twice {
        /// Whose.
        nodes: Vec<usize>,
        /// For how long.
        lasts: Option<Duration>,
    },
    /// Clients want so many times as much.
    Spike {
        /// How many.
        times: u32,
        /// For how long.
        lasts: Option<Duration>,
    },
    /// Every read of some nodes' disks takes long.
    SlowReads {
        /// Whose.
        nodes: Vec<usize>,
        /// How long.
        delay: Duration,
        /// For how long.
        lasts: Option<Duration>,
    },
    /// The disks of some nodes say that they have synced, and have not: a crash takes what was written since.
    LyingDisk {
        /// Whose.
        nodes: Vec<usize>,
        /// For how long.
        lasts: Option<Duration>,
    },
    /// All links are as they were, and all nodes come back.
    Heal,
    /// Nodes say that they want to be validators no more.
    Leave {
        /// Which.
        nodes: Vec<usize>,
    },
    /// Newcomers start, if they do not run, and ask for a seat until they have one; operators approve.
    Join {
        /// Which.
        nodes: Vec<usize>,
        /// Whose place they take.
        replaces: Option<usize>,
    },
    /// Nodes crash and lose the engine's record of their votes.
    WipeJournal {
        /// Which.
        nodes: Vec<usize>,
        /// How long they are down.
        lasts: Duration,
    },
    /// Nodes crash and lose their vote guard, both copies.
    LoseGuard {
        /// Which.
        nodes: Vec<usize>,
        /// How long they are down.
        lasts: Duration,
    },
    /// Nodes crash and a bit rots in both copies of their vote guard.
    DamageGuard {
        /// Which.
        nodes: Vec<usize>,
        /// How long they are down.
        lasts: Duration,
    },
    /// Nodes crash and a bit rots in one copy of their vote guard, which the other copy makes good.
    RotGuard {
        /// Which.
        nodes: Vec<usize>,
        /// How long they are down.
        lasts: Duration,
    },
    /// Nodes crash, and something on their disks is not what it was when they come back.
    RotStore {
        /// Which.
        nodes: Vec<usize>,
        /// What of.
        part: Part,
        /// What becomes of it.
        rot: Rot,
        /// How long they are down.
        lasts: Duration,
    },
    /// What nodes are at takes twenty times as long.
    SlowWorker {
        /// Which.
        nodes: Vec<usize>,
        /// For how long.
        lasts: Option<Duration>,
    },
    /// What nodes are at does not end before this does.
    StuckWorker {
        /// Which.
        nodes: Vec<usize>,
        /// For how long.
        lasts: Option<Duration>,
    },
    /// Whatever nodes have to remember of their votes takes so much longer to write.
    SlowDisk {
        /// Which.
        nodes: Vec<usize>,
        /// How much longer.
        delay: Duration,
        /// For how long.
        lasts: Duration,
    },
    /// Nodes say on the chain that another one is not there.
    FalseAccuser {
        /// Who says so.
        nodes: Vec<usize>,
        /// Of whom.
        about: usize,
        /// For how long.
        lasts: Duration,
    },
    /// Nodes crash and come back with nothing but their key.
    Wipe {
        /// Which.
        nodes: Vec<usize>,
        /// How long they are down.
        lasts: Duration,
    },
    /// Nodes change a byte of each range of blocks and each piece of a state that they give to others.
    BadAnswers {
        /// Which.
        nodes: Vec<usize>,
        /// For how long.
        lasts: Option<Duration>,
    },
    /// Nodes give others neither ranges of blocks nor pieces of a state, and do not say so.
    NoAnswers {
        /// Which.
        nodes: Vec<usize>,
        /// For how long.
        lasts: Option<Duration>,
    },
    /// All nodes lose power at once: what was not synced is lost or torn. They start again at once.
    PowerLoss,
}

/// Why a scenario cannot be played.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ScenarioError {
    /// Not TOML, or not of this shape; the text shows the line.
    #[error("{0}")]
    Toml(String),
    /// An entry makes no sense.
    #[error("{entry}: {problem}")]
    Entry {
        /// Which.
        entry: String,
        /// What is wrong, and how to mend it.
        problem: String,
    },
}

impl Scenario {
    /// Reads the text of a scenario file.
    ///
    /// # Errors
    /// See [`ScenarioError`].
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let mut scenario: Self =
            toml::from_str(text).map_err(|error| ScenarioError::Toml(error.to_string().trim_end().into()))?;
        scenario.check()?;
        let nodes = scenario.everybody();
        for (index, entry) in std::mem::take(&mut scenario.entries).into_iter().enumerate() {
            let name = format!("[[fault]] {} ({:?} at {:?})", index + 1, entry.kind, entry.at);
            let problem = |problem| ScenarioError::Entry { entry: name.clone(), problem };
            if entry.at >= scenario.duration {
                return Err(problem(format!("comes after the scenario has ended, {:?}", scenario.duration)));
            }
            let at = entry.at;
            scenario.faults.push((at, entry.read(nodes).map_err(problem)?));
        }
        scenario.faults.sort_by_key(|(at, _)| *at);
        scenario.twin_nodes = numbers(&scenario.twins, nodes)
            .map_err(|problem| ScenarioError::Entry { entry: "twins".into(), problem })?;
        scenario.lost_nodes = numbers(&scenario.left_down, nodes)
            .map_err(|problem| ScenarioError::Entry { entry: "left_down".into(), problem })?;
        Ok(scenario)
    }

    /// The scenario with this name, of those that come with this program.
    pub fn named(name: &str) -> Option<Self> {
        scenarios().into_iter().find(|scenario| scenario.name == name)
    }

    /// How many nodes there are, newcomers included.
    pub const fn everybody(&self) -> usize {
        self.nodes + self.newcomers
    }

    /// Faults at fixed times, in order.
    pub fn faults(&self) -> &[(Duration, Fault)] {
        &self.faults
    }

    /// Nodes that run twice.
    pub fn twins(&self) -> &[usize] {
        &self.twin_nodes
    }

    /// Nodes that stay down when everything else is healed.
    pub fn left_down(&self) -> &[usize] {
        &self.lost_nodes
    }

    /// Whether this is expected to hold.
    pub fn expects(&self, checker: Checker) -> bool {
        self.expect.contains(&checker)
    }

    fn check(&self) -> Result<(), ScenarioError> {
        let check = |holds: bool, entry: &str, problem: String| match holds {
            true => Ok(()),
            false => Err(ScenarioError::Entry { entry: entry.into(), problem }),
        };
        check((1..=NODES_MAX).contains(&self.nodes), "nodes", format!("must be 1 to {NODES_MAX}, not {}", self.nodes))?;
        let newcomers = format!("must leave at most {NODES_MAX} nodes in all, not {}", self.newcomers);
        check(self.newcomers <= NODES_MAX - self.nodes, "newcomers", newcomers)?;
        check(self.load.accounts >= 2, "[load] accounts", "must be at least 2: transfers need a recipient".into())?;
        check(self.load.keep_blocks >= 10, "[load] keep_blocks", "must be at least 10".into())?;
        check(self.epoch_length >= 16, "epoch_length", "must be at least 16".into())?;
        let remove_after = "must be at least 1s".into();
        check(self.remove_after >= Duration::from_secs(1), "remove_after", remove_after)?;
        check(!self.expect.is_empty(), "expect", "must name what has to hold".into())?;
        check(self.duration >= Duration::from_secs(1), "duration", "must be at least 1s".into())?;
        if let Some(swarm) = &self.swarm {
            check(!swarm.kinds.is_empty(), "[swarm] kinds", "must name what is drawn from".into())?;
            let lasts = format!("must be at least {DOWN_MIN:?}");
            check(swarm.lasts_max >= DOWN_MIN, "[swarm] lasts_max", lasts)?;
        }
        Ok(())
    }
}

impl Entry {
    fn read(self, count: usize) -> Result<Fault, String> {
        let (kind, lasts) = (self.kind, self.lasts);
        let fuse = self.fuse();
        let skew = self.skew();
        let rot = self.rot();
        let part = self.part;
        let named = |list: &[String], field: &str| match list.is_empty() {
            true => Err(format!("needs {field} = [\"n0\", ...]")),
            false => numbers(list, count),
        };
        let nodes = || named(&self.nodes, "nodes");
        let down = || match lasts {
            Some(lasts) if lasts >= DOWN_MIN => Ok(lasts),
            Some(lasts) => Err(format!("for ({lasts:?}) must be at least {DOWN_MIN:?}")),
            None => Err("needs for = \"5s\"".into()),
        };
        Ok(match kind {
            Kind::Crash if lasts.is_none() => Fault::Crash { nodes: nodes()?, lasts },
            Kind::Crash => Fault::Crash { nodes: nodes()?, lasts: Some(down()?) },
            Kind::Restart => Fault::Restart { nodes: nodes()? },
            Kind::CrashAt => {
                Fault::FailAt { nodes: nodes()?, fuse: Fuse { fate: Fate::Crash, lasts: down()?, ..fuse? } }
            }
            Kind::StallAt => {
                Fault::FailAt { nodes: nodes()?, fuse: Fuse { fate: Fate::Stall, lasts: down()?, ..fuse? } }
            }
            Kind::FailDiskAt => {
                let fate = Fate::Fail { once: self.once };
                Fault::FailAt { nodes: nodes()?, fuse: Fuse { fate, lasts: down()?, ..fuse? } }
            }
            Kind::Stall => Fault::Stall { nodes: nodes()?, lasts },
            Kind::WrongClock => Fault::WrongClock { nodes: nodes()?, skew: skew?, lasts: down()? },
            Kind::Partition => {
                if self.groups.is_empty() {
                    return Err("needs groups = [[\"n0\"], ...]".into());
                }
                let groups = self.groups.iter().map(|group| numbers(group, count)).collect::<Result<Vec<_>, _>>()?;
                let mut all: Vec<usize> = groups.concat();
                all.sort_unstable();
                if let Some(twice) = all.windows(2).find(|pair| pair[0] == pair[1]) {
                    return Err(format!("n{} is in two groups", twice[0]));
                }
                Fault::Partition { groups, lasts }
            }
            Kind::OneWay => Fault::OneWay { from: named(&self.from, "from")?, to: named(&self.to, "to")?, lasts },
            Kind::Loss => Fault::Loss { nodes: nodes()?, loss: self.loss.ok_or("needs loss = 0.1")?, lasts },
            Kind::Delay => Fault::Delay { nodes: nodes()?, delay: self.delay.ok_or("needs delay = \"100ms\"")?, lasts },
            Kind::Narrow => {
                let bandwidth = self.bandwidth.filter(|bandwidth| *bandwidth > 0);
                Fault::Narrow { nodes: nodes()?, bandwidth: bandwidth.ok_or("needs bandwidth = 8000")?, lasts }
            }
            Kind::Twice => Fault::Twice { nodes: nodes()?, lasts },
            Kind::Spike => {
                let times = self.times.filter(|times| (2..=1_000).contains(times));
                Fault::Spike { times: times.ok_or("needs times = 20, from 2 to 1000")?, lasts }
            }
            Kind::SlowReads => {
                Fault::SlowReads { nodes: nodes()?, delay: self.delay.ok_or("needs delay = \"100ms\"")?, lasts }
            }
            Kind::LyingDisk => Fault::LyingDisk { nodes: nodes()?, lasts },
            Kind::SlowWorker => Fault::SlowWorker { nodes: nodes()?, lasts },
            Kind::StuckWorker => Fault::StuckWorker { nodes: nodes()?, lasts },
            Kind::SlowDisk => Fault::SlowDisk {
                nodes: nodes()?,
                delay: self.delay.ok_or("needs delay = \"2s\"")?,
                lasts: lasts.ok_or("needs for = \"10s\"")?,
            },
            Kind::FalseAccuser => Fault::FalseAccuser {
                nodes: nodes()?,
                about: *named(&self.to, "to")?.first().ok_or("needs to = [\"n0\"]")?,
                lasts: lasts.ok_or("needs for = \"10s\"")?,
            },
            Kind::Heal => Fault::Heal,
            Kind::Leave => Fault::Leave { nodes: nodes()? },
            Kind::Wipe => Fault::Wipe { nodes: nodes()?, lasts: down()? },
            Kind::BadAnswers => Fault::BadAnswers { nodes: nodes()?, lasts },
            Kind::NoAnswers => Fault::NoAnswers { nodes: nodes()?, lasts },
            Kind::Join => Fault::Join { nodes: nodes()?, replaces: numbers(&self.to, count)?.first().copied() },
            Kind::WipeJournal => Fault::WipeJournal { nodes: nodes()?, lasts: down()? },
            Kind::LoseGuard => Fault::LoseGuard { nodes: nodes()?, lasts: down()? },
            Kind::DamageGuard => Fault::DamageGuard { nodes: nodes()?, lasts: down()? },
            Kind::RotGuard => Fault::RotGuard { nodes: nodes()?, lasts: down()? },
            Kind::RotStore => Fault::RotStore { nodes: nodes()?, part, rot: rot?, lasts: down()? },
            Kind::PowerLoss => Fault::PowerLoss,
        })
    }

    /// At which operation it fails, whichever way.
    fn fuse(&self) -> Result<Fuse, String> {
        let (point, number) = match (self.operation, self.block) {
            (Some(number), None) => (Point::Operation, number),
            (None, Some(number)) => (Point::Block, number),
            (Some(_), Some(_)) | (None, None) => return Err("needs operation = 1 or block = 1".into()),
        };
        if number == 0 {
            return Err("counts from 1".into());
        }
        Ok(Fuse { point, number, after: self.after, fate: Fate::Crash, lasts: DOWN_MIN })
    }

    fn rot(&self) -> Result<Rot, String> {
        let share = |share: Option<u8>, make: fn(u8) -> Rot| share.map(make);
        let mut said: Vec<Rot> = [
            share(self.bytes_at, Rot::At),
            share(self.zeros_at, Rot::Zeros),
            share(self.cut_at, Rot::Cut),
            self.block.map(Rot::Block),
            self.misdirected.then_some(Rot::Misdirected),
            self.gone.then_some(Rot::Gone),
        ]
        .into_iter()
        .flatten()
        .collect();
        match (said.pop(), said.pop()) {
            (Some(_), Some(_)) => Err("needs one of bytes_at, zeros_at, cut_at, block, misdirected and gone".into()),
            (Some(Rot::At(share) | Rot::Zeros(share) | Rot::Cut(share)), None) if share > 100 => {
                Err(format!("{share} is no share of a file in hundredths"))
            }
            (Some(rot), None) => Ok(rot),
            (None, _) => Ok(Rot::Anywhere),
        }
    }

    fn skew(&self) -> Result<Skew, String> {
        match (self.ahead, self.behind) {
            (None, None) => Ok(Skew::None),
            (Some(by), None) => Ok(Skew::Ahead(by)),
            (None, Some(by)) if by <= BEHIND_MAX => Ok(Skew::Behind(by)),
            (None, Some(by)) => Err(format!("behind ({by:?}) must be at most {BEHIND_MAX:?}")),
            (Some(_), Some(_)) => Err("needs ahead or behind, not both".into()),
        }
    }
}

/// The scenarios that come with this program.
///
/// # Panics
/// Never: a test reads them all.
pub fn scenarios() -> Vec<Scenario> {
    FILES.iter().map(|text| Scenario::parse(text).expect("the scenarios of this program are in order")).collect()
}

fn numbers(names: &[String], count: usize) -> Result<Vec<usize>, String> {
    let number = |name: &String| {
        let number = name.strip_prefix('n').and_then(|digits| digits.parse().ok()).filter(|number| *number < count);
        number.ok_or_else(|| format!("there is no node {name:?}, there are n0 to n{}", count - 1))
    };
    names.iter().map(number).collect()
}

const fn epoch_length() -> u64 {
    64
}

const fn remove_after() -> Duration {
    Duration::from_secs(600)
}

const fn block_time() -> Duration {
    Duration::from_millis(200)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: Option<u32> = number.parse().ok();
    match (number, unit) {
        (Some(number), "ms") => Ok(Duration::from_millis(number.into())),
        (Some(number), "s") => Ok(Duration::from_secs(number.into())),
        (Some(number), "m") => Ok(Duration::from_secs(60 * u64::from(number))),
        (_, _) => Err(de::Error::custom(format!("{text:?} is no duration; write \"250ms\", \"10s\" or \"2m\""))),
    }
}

fn maybe_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let share = f64::deserialize(deserializer)?;
    if (0.0..=1.0).contains(&share) {
        return Ok(share);
    }
    Err(de::Error::custom(format!("{share} is no share; it must be from 0 to 1")))
}

fn maybe_share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    share(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "name = \"x\"\nabout = \"y\"\nnodes = 4\nduration = \"10s\"\nexpect = [\"agreement\"]\n";

    /// What does reading a scenario with these lines added say?
    fn check(lines: &str, says: &str) {
        let error = Scenario::parse(&format!("{HEAD}{lines}")).expect_err("refused").to_string();
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn all_scenarios_can_be_read_and_have_names_of_their_own() {
        let mut names: Vec<String> = scenarios().into_iter().map(|scenario| scenario.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), FILES.len());
    }

    #[test]
    fn a_typo_is_shown_with_line_and_caret() {
        check("[links]\nlatencies = \"5ms\"\n", "line 7");
        check("[links]\nlatencies = \"5ms\"\n", "^^^^^^^^^");
        check("[[fault]]\nat = \"1s\"\nkind = \"crush\"\n", "unknown variant `crush`");
        check("[links]\nlatency = \"5 minutes\"\n", "\"5 minutes\" is no duration");
        check("[links]\nloss = 1.5\n", "1.5 is no share");
    }

    #[test]
    fn a_fault_that_makes_no_sense_is_named_with_what_it_should_be() {
        check("[[fault]]\nat = \"1s\"\nkind = \"crash\"\n", "[[fault]] 1 (Crash at 1s): needs nodes");
        check(
            "[[fault]]\nat = \"1s\"\nkind = \"crash\"\nnodes = [\"n4\"]\n",
            "there is no node \"n4\", there are n0 to n3",
        );
        check("[[fault]]\nat = \"10s\"\nkind = \"heal\"\n", "comes after the scenario has ended");
        check("[[fault]]\nat = \"1s\"\nkind = \"lose_guard\"\nnodes = [\"n1\"]\nfor = \"1ms\"\n", "must be at least");
        check("[[fault]]\nat = \"1s\"\nkind = \"stall_at\"\nnodes = [\"n1\"]\nfor = \"1s\"\n", "needs operation");
        check(
            "[[fault]]\nat = \"1s\"\nkind = \"crash_at\"\nnodes = [\"n1\"]\nblock = 0\nfor = \"1s\"\n",
            "counts from 1",
        );
        check(
            "[[fault]]\nat = \"1s\"\nkind = \"wrong_clock\"\nnodes = [\"n1\"]\nahead = \"1s\"\nbehind = \"1s\"\nfor = \"1s\"\n",
            "not both",
        );
        check("[[fault]]\nat = \"1s\"\nkind = \"partition\"\ngroups = [[\"n1\"], [\"n1\"]]\n", "n1 is in two groups");
    }
}
