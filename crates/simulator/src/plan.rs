//! Which fault happens when, for this seed?

use crate::{
    Fault, Scenario, Swarm,
    machine::{Fate, Fuse, Point, Skew},
    rot::{Part, Rot},
    scenario::{DOWN_MIN, Kind},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use std::{collections::VecDeque, time::Duration};

/// One thing that is done to the world.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// A node is gone.
    Stop(usize),
    /// A node comes back, if it is down.
    Start(usize),
    /// A node that is down loses something.
    Lose(usize, Loss),
    /// A node does not go on, if it is up.
    Stall(usize),
    /// It goes on.
    Resume(usize),
    /// A node fails at one of its operations from here on, or while it starts.
    Arm(usize, Fuse),
    /// The wall clock of a node that is down is so far off.
    Set(usize, Skew),
    /// Fault number so and so, of the network or of workers, begins.
    Begin(usize, Fault),
    /// It ends.
    End(usize),
    /// All links are as they were and all nodes come back.
    Heal,
    /// All nodes are gone, with what they had not synced.
    PowerLoss,
}

/// What a node loses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Loss {
    /// All but the key.
    Everything,
    Journal,
    Guard,
    /// It is still there, with a bit flipped in both copies.
    GuardBits,
    /// The same in one copy.
    GuardBit,
    /// Something else is what it was not.
    Store(Part, Rot),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) at: Duration,
    pub(crate) action: Action,
}

/// What is done, and what stays broken when all else is healed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) steps: VecDeque<Step>,
    /// Nodes that stay down.
    pub(crate) left_down: Vec<usize>,
    /// Faults of the network that stay.
    pub(crate) left_broken: Vec<usize>,
}

impl Plan {
    /// The same for the same scenario and seed.
    pub(crate) fn new(scenario: &Scenario, seed: u64) -> Self {
        let mut plan = Self { left_down: scenario.left_down().to_vec(), ..Self::default() };
        let mut steps = Vec::new();
        for (at, fault) in scenario.faults() {
            add(&mut steps, *at, fault.clone());
        }
        if let Some(swarm) = &scenario.swarm {
            // Apart from the runtime's own generator, so that a plan can be shown without running it.
            let mut rng = StdRng::seed_from_u64(seed ^ 0x5eed_0f5a_57a2_4a11);
            Storm { scenario, swarm, rng: &mut rng }.draw(&mut steps, &mut plan);
        }
        // A stable sort: of two things at one moment, the one that was asked for first is done first.
        steps.sort_by_key(|step| step.at);
        plan.steps = steps.into();
        plan
    }
}

fn add(steps: &mut Vec<Step>, at: Duration, fault: Fault) {
    let id = steps.len();
    let mut push = |at, action| steps.push(Step { at, action });
    let mut down = |nodes: Vec<usize>, lasts: Option<Duration>, loss: Option<Loss>| {
        for node in nodes {
            push(at, Action::Stop(node));
            if let Some(loss) = loss {
                push(at + DOWN_MIN, Action::Lose(node, loss));
            }
            if let Some(lasts) = lasts {
                push(at + lasts, Action::Start(node));
            }
        }
    };
    match fault {
        Fault::Crash { nodes, lasts } => down(nodes, lasts, None),
        Fault::WipeJournal { nodes, lasts } => down(nodes, Some(lasts), Some(Loss::Journal)),
        Fault::LoseGuard { nodes, lasts } => down(nodes, Some(lasts), Some(Loss::Guard)),
        Fault::DamageGuard { nodes, lasts } => down(nodes, Some(lasts), Some(Loss::GuardBits)),
        Fault::RotGuard { nodes, lasts } => down(nodes, Some(lasts), Some(Loss::GuardBit)),
        Fault::Wipe { nodes, lasts } => down(nodes, Some(lasts), Some(Loss::Everything)),
        Fault::RotStore { nodes, part, rot, lasts } => down(nodes, Some(lasts), Some(Loss::Store(part, rot))),
        Fault::Restart { nodes } => nodes.into_iter().for_each(|node| push(at, Action::Start(node))),
        Fault::Stall { nodes, lasts } => {
            for node in nodes {
                push(at, Action::Stall(node));
                if let Some(lasts) = lasts {
                    push(at + lasts, Action::Resume(node));
                }
            }
        }
        Fault::FailAt { nodes, fuse } => nodes.into_iter().for_each(|node| push(at, Action::Arm(node, fuse))),
        Fault::WrongClock { nodes, skew, lasts } => {
            for node in nodes {
                push(at, Action::Stop(node));
                push(at, Action::Set(node, skew));
                push(at + lasts, Action::Start(node));
            }
        }
        Fault::Heal => push(at, Action::Heal),
        Fault::PowerLoss => push(at, Action::PowerLoss),
        // They end by themselves.
        Fault::SlowDisk { .. } | Fault::FalseAccuser { .. } | Fault::Leave { .. } | Fault::Join { .. } => {
            push(at, Action::Begin(id, fault));
        }
        Fault::Partition { lasts, .. }
        | Fault::OneWay { lasts, .. }
        | Fault::Loss { lasts, .. }
        | Fault::Delay { lasts, .. }
        | Fault::Narrow { lasts, .. }
        | Fault::Twice { lasts, .. }
        | Fault::SlowReads { lasts, .. }
        | Fault::LyingDisk { lasts, .. }
        | Fault::Spike { lasts, .. }
        | Fault::BadAnswers { lasts, .. }
        | Fault::NoAnswers { lasts, .. }
        | Fault::SlowWorker { lasts, .. }
        | Fault::StuckWorker { lasts, .. } => {
            push(at, Action::Begin(id, fault));
            if let Some(lasts) = lasts {
                push(at + lasts, Action::End(id));
            }
        }
    }
}

struct Storm<'a> {
    scenario: &'a Scenario,
    swarm: &'a Swarm,
    rng: &'a mut StdRng,
}

impl Storm<'_> {
    fn draw(&mut self, steps: &mut Vec<Step>, plan: &mut Plan) {
        let nodes = self.scenario.nodes;
        // At most f nodes are broken for good: down, cut off, or without memory of what they signed or received. Beyond
        // that the network may halt for good, by design; there are scenarios of their own for that.
        let mut doomed: Vec<usize> = (0..nodes).collect();
        doomed.shuffle(self.rng);
        doomed.truncate(if self.swarm.permanent { self.rng.random_range(0..=(nodes - 1) / 3) } else { 0 });
        let mut amnesiacs = Vec::new();
        for _ in 0..self.rng.random_range(1..=self.swarm.faults_max.max(1)) {
            let kind = self.swarm.kinds[self.rng.random_range(0..self.swarm.kinds.len())];
            let fault = self.fault(kind, &doomed, &mut amnesiacs);
            let at = self.time(Duration::from_millis(500), self.scenario.duration);
            if let Some(fault) = fault {
                add(steps, at, fault);
            }
        }
        for node in doomed.into_iter().filter(|node| !amnesiacs.contains(node)) {
            let at = self.time(Duration::from_millis(500), self.scenario.duration);
            if self.rng.random_bool(0.5) {
                steps.push(Step { at, action: Action::Stop(node) });
                plan.left_down.push(node);
            } else {
                let others: Vec<usize> = (0..nodes).filter(|other| *other != node).collect();
                let (me, id) = (vec![node], steps.len());
                let cut = match self.rng.random_range(0..3) {
                    0 => Fault::OneWay { from: me, to: others, lasts: None },
                    1 => Fault::OneWay { from: others, to: me, lasts: None },
                    _ => Fault::Partition { groups: vec![me], lasts: None },
                };
                steps.push(Step { at, action: Action::Begin(id, cut) });
                plan.left_broken.push(id);
                // It cannot be asked to converge, and is of no use to clients: from here on it counts as down.
                plan.left_down.push(node);
            }
        }
    }

    fn fault(&mut self, kind: Kind, doomed: &[usize], amnesiacs: &mut Vec<usize>) -> Option<Fault> {
        let lasts = self.time(DOWN_MIN * 2, self.swarm.lasts_max);
        Some(match kind {
            Kind::Crash => Fault::Crash { nodes: self.some(), lasts: Some(lasts) },
            Kind::Restart => Fault::Restart { nodes: self.some() },
            Kind::Partition => Fault::Partition { groups: self.groups(), lasts: Some(lasts) },
            Kind::OneWay => Fault::OneWay { from: self.some(), to: self.some(), lasts: Some(lasts) },
            Kind::Loss => {
                Fault::Loss { nodes: self.some(), loss: self.rng.random_range(0.02..0.4), lasts: Some(lasts) }
            }
            Kind::Delay => {
                let delay = self.time(Duration::from_millis(5), Duration::from_millis(400));
                Fault::Delay { nodes: self.some(), delay, lasts: Some(lasts) }
            }
            Kind::Narrow => {
                let bandwidth = self.rng.random_range(8_000..200_000);
                Fault::Narrow { nodes: self.some(), bandwidth, lasts: Some(lasts) }
            }
            Kind::Twice => Fault::Twice { nodes: self.some(), lasts: Some(lasts) },
            Kind::Spike => Fault::Spike { times: self.rng.random_range(2..20), lasts: Some(lasts) },
            Kind::SlowReads => {
                let delay = self.time(Duration::from_millis(10), Duration::from_millis(300));
                Fault::SlowReads { nodes: vec![self.one()], delay, lasts: Some(lasts) }
            }
            // What it says that it signed it may forget: one of those that may do anything.
            Kind::LyingDisk => Fault::LyingDisk { nodes: amnesiac(doomed, amnesiacs)?, lasts: Some(lasts) },
            Kind::RotGuard => Fault::RotGuard { nodes: vec![self.one()], lasts },
            Kind::RotStore => Fault::RotStore { nodes: vec![self.one()], part: Part::Any, rot: Rot::Anywhere, lasts },
            Kind::WipeJournal => Fault::WipeJournal { nodes: amnesiac(doomed, amnesiacs)?, lasts },
            Kind::LoseGuard => Fault::LoseGuard { nodes: amnesiac(doomed, amnesiacs)?, lasts },
            Kind::DamageGuard => Fault::DamageGuard { nodes: amnesiac(doomed, amnesiacs)?, lasts },
            Kind::SlowWorker => Fault::SlowWorker { nodes: self.some(), lasts: Some(lasts) },
            Kind::StuckWorker => Fault::StuckWorker { nodes: self.some(), lasts: Some(lasts) },
            Kind::SlowDisk => {
                let delay = self.time(Duration::from_millis(300), Duration::from_secs(3));
                Fault::SlowDisk { nodes: vec![self.one()], delay, lasts }
            }
            Kind::Leave => Fault::Leave { nodes: vec![self.one()] },
            Kind::Wipe => Fault::Wipe { nodes: amnesiac(doomed, amnesiacs)?, lasts },
            Kind::BadAnswers => Fault::BadAnswers { nodes: vec![self.one()], lasts: Some(lasts) },
            Kind::NoAnswers => Fault::NoAnswers { nodes: vec![self.one()], lasts: Some(lasts) },
            Kind::Join => {
                let newcomers = self.scenario.nodes..self.scenario.everybody();
                let node = newcomers.clone().nth(self.rng.random_range(0..newcomers.len().max(1)))?;
                // One of them in three takes the place of another.
                let replaces = self.rng.random_bool(0.3).then(|| self.one());
                Fault::Join { nodes: vec![node], replaces }
            }
            Kind::FalseAccuser => {
                let about = self.one();
                let mut nodes = self.some();
                nodes.truncate((self.scenario.nodes - 1) / 3);
                nodes.retain(|node| *node != about);
                Fault::FalseAccuser { nodes, about, lasts }
            }
            Kind::Stall => Fault::Stall { nodes: self.some(), lasts: Some(lasts) },
            Kind::CrashAt | Kind::StallAt | Kind::FailDiskAt => {
                let fate = match kind {
                    Kind::CrashAt => Fate::Crash,
                    Kind::FailDiskAt => Fate::Fail { once: self.rng.random_bool(0.5) },
                    _ => Fate::Stall,
                };
                let (number, after) = (self.rng.random_range(1..=64), self.rng.random_bool(0.5));
                let fuse = Fuse { point: Point::Operation, number, after, fate, lasts };
                Fault::FailAt { nodes: vec![self.one()], fuse }
            }
            Kind::WrongClock => {
                let by = self.time(Duration::from_millis(100), Duration::from_secs(3_600));
                let skew = if self.rng.random_bool(0.5) { Skew::Ahead(by) } else { Skew::Behind(by) };
                Fault::WrongClock { nodes: vec![*doomed.first()?], skew, lasts }
            }
            Kind::Heal => Fault::Heal,
            Kind::PowerLoss => Fault::PowerLoss,
        })
    }

    fn time(&mut self, min: Duration, max: Duration) -> Duration {
        let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let (min, max) = (milliseconds(min), milliseconds(max));
        Duration::from_millis(self.rng.random_range(min..max.max(min + 1)))
    }

    fn one(&mut self) -> usize {
        self.rng.random_range(0..self.scenario.nodes)
    }

    /// Mostly one, sometimes all.
    fn some(&mut self) -> Vec<usize> {
        let mut nodes: Vec<usize> = (0..self.scenario.nodes).collect();
        nodes.shuffle(self.rng);
        let mut count = 1;
        while count < nodes.len() && self.rng.random_bool(0.35) {
            count += 1;
        }
        nodes.truncate(count);
        nodes
    }

    fn groups(&mut self) -> Vec<Vec<usize>> {
        let mut groups = vec![Vec::new(); self.rng.random_range(2..=3)];
        for node in 0..self.scenario.nodes {
            let group = self.rng.random_range(0..groups.len());
            groups[group].push(node);
        }
        groups
    }
}

/// One of the doomed forgets things rather than stay down.
fn amnesiac(doomed: &[usize], amnesiacs: &mut Vec<usize>) -> Option<Vec<usize>> {
    let node = *doomed.first()?;
    amnesiacs.push(node);
    Some(vec![node])
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} s: ", self.at.as_secs_f64())?;
        match &self.action {
            Action::Stop(node) => write!(f, "n{node} crashes"),
            Action::Start(node) => write!(f, "n{node} starts"),
            Action::Lose(node, Loss::Everything) => write!(f, "n{node} loses all it kept"),
            Action::Lose(node, Loss::Journal) => write!(f, "n{node} loses its vote journal"),
            Action::Lose(node, Loss::Guard) => write!(f, "n{node} loses its vote guard"),
            Action::Lose(node, Loss::GuardBits) => write!(f, "n{node}: a bit rots in both copies of its vote guard"),
            Action::Lose(node, Loss::GuardBit) => write!(f, "n{node}: a bit rots in one copy of its vote guard"),
            Action::Lose(node, Loss::Store(part, rot)) => write!(f, "n{node}: its disk rots: {part:?}, {rot:?}"),
            Action::Begin(id, fault) => write!(f, "fault {id} begins: {fault:?}"),
            Action::End(id) => write!(f, "fault {id} ends"),
            Action::Stall(node) => write!(f, "n{node} stops"),
            Action::Resume(node) => write!(f, "n{node} goes on"),
            Action::Arm(node, fuse) => write!(f, "n{node} is to fail: {fuse:?}"),
            Action::Set(node, skew) => write!(f, "n{node}: its clock is off by {skew:?}"),
            Action::Heal => write!(f, "everything is healed"),
            Action::PowerLoss => write!(f, "all nodes lose power"),
        }
    }
}
