//! When is it worth bringing a node back, and how far is it?
//!
//! A node that is down is brought back in steps, each with a deadline: its files are verified, it is started, it catches up,
//! it does its duty again, and it passes a trial. That is one *attempt*. There are few attempts in a sliding window, with a
//! cooldown between them, and then the node counts as failed until the window has moved on. Nothing else forgives: a node
//! that comes back for a second and falls over again has used an attempt each time.
//!
//! When many nodes fail at once, what felled them is most likely still there, and starting them together would be the next
//! blow. So at most `max(1, f)` are brought back at a time, which is as many as the network can do without anyway; the
//! others wait in the order in which they failed.
//!
//! - `attempts`: how often was a node brought back lately, and may it be tried again?
//! - `config`: how often and how long may be tried?
//! - `crashes`: is it worth starting a process again that ended by itself?
//!
//! The caller says what happens ([`Recovery::down`], [`Recovery::back`], [`Recovery::done`], …), in milliseconds of a clock
//! that never goes back, then calls [`Recovery::tick`] and does what it says, and calls it again at
//! [`Recovery::deadline`] at the latest.

mod attempts;
mod config;
pub mod crashes;
mod jitter;

pub use attempts::{Attempt, Attempts, By, Refusal, Stage};
pub use config::{Config, ConfigError};

use ledger::faults;

/// Reasons are shown and stored, so they have a limit in bytes.
const REASON_BYTES_MAX: usize = 256;

/// What is done to bring a node back, in this order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Step {
    /// Program, models and store are what they should be.
    VerifyIntegrity,
    /// The process is started, until it answers.
    Restart,
    /// It fetches what it missed.
    CatchUp,
    /// It does its duty again.
    VerifyResponsive,
    /// It answers for a number of validations.
    Trial,
}

impl Step {
    /// In order.
    pub const ALL: [Self; 5] =
        [Self::VerifyIntegrity, Self::Restart, Self::CatchUp, Self::VerifyResponsive, Self::Trial];

    const fn next(self) -> Option<Self> {
        match self {
            Self::VerifyIntegrity => Some(Self::Restart),
            Self::Restart => Some(Self::CatchUp),
            Self::CatchUp => Some(Self::VerifyResponsive),
            Self::VerifyResponsive => Some(Self::Trial),
            Self::Trial => None,
        }
    }

    /// The word for it on every surface.
    pub const fn name(self) -> &'static str {
        match self {
            Self::VerifyIntegrity => "verify_integrity",
            Self::Restart => "restart",
            Self::CatchUp => "catch_up",
            Self::VerifyResponsive => "verify_responsive",
            Self::Trial => "trial",
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The node is active.
    Active,
    /// A step failed, for this reason.
    Failed {
        /// Which.
        step: Step,
        /// Why.
        reason: String,
    },
    /// A step was not over in time, or stood still for too long.
    TimedOut {
        /// Which.
        step: Step,
    },
    /// Whoever recovered it ended meanwhile.
    Interrupted,
}

impl Outcome {
    /// Why the node is still down, in words; `None` when it is active.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Active => None,
            Self::Failed { step, reason } => Some(format!("{} failed: {reason}", step.name())),
            Self::TimedOut { step } => Some(format!("{} was not over in time", step.name())),
            Self::Interrupted => Some("whoever recovered it ended meanwhile".into()),
        }
    }
}

/// How a node is, as far as recovery is concerned.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum State {
    /// Nothing has to be done.
    Active,
    /// It is down, and it is its turn when others are done.
    Queued,
    /// It is down, and the last attempt ended too recently.
    Cooling {
        /// When it may be tried again.
        until_ms: u64,
    },
    /// An attempt is under way.
    Recovering {
        /// How far it is.
        step: Step,
        /// When this step fails unless it comes nearer or ends.
        deadline_ms: u64,
    },
    /// It is down, and all attempts are used.
    Failed {
        /// When it may be tried again.
        until_ms: u64,
        /// Why it is down, or why the last attempt failed.
        reason: String,
    },
}

/// What the caller is to do, or to tell.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Begin this step for this node, and say when it is done.
    Begin {
        /// The node.
        node: u32,
        /// What to do.
        step: Step,
    },
    /// An attempt is over. Whatever its step has begun is to be given up.
    Ended {
        /// The node.
        node: u32,
        /// How.
        outcome: Outcome,
    },
    /// The node is down and all attempts are used: tell people.
    GaveUp {
        /// The node.
        node: u32,
        /// When it may be tried again.
        until_ms: u64,
        /// Why it is down, or why the last attempt failed.
        reason: String,
    },
}

/// Brings the nodes of one network back. Its memory is bounded by the number of nodes and of attempts in a window.
#[derive(Clone, Debug)]
pub struct Recovery {
    config: Config,
    seed: u64,
    /// The number of the next failure, which is its place in the queue.
    failures: u64,
    nodes: Vec<Node>,
}

#[derive(Clone, Debug)]
struct Node {
    attempts: Attempts,
    down: Option<Down>,
    course: Option<Course>,
    /// How an attempt ended of which the caller has not been told yet: at most one, as the next begins in a tick.
    ended: Option<Outcome>,
}

/// A node that has to be brought back.
#[derive(Clone, Debug)]
struct Down {
    /// Its place in the queue.
    order: u64,
    by: By,
    reason: String,
    /// Whether people were told that all attempts are used.
    told: bool,
}

/// An attempt that is under way.
#[derive(Clone, Copy, Debug)]
struct Course {
    step: Step,
    /// Whether the caller was told to begin the step.
    told: bool,
    /// When it began or last came nearer.
    moved_ms: u64,
    validated: u64,
}

impl Course {
    const fn at(step: Step, now_ms: u64) -> Self {
        Self { step, told: false, moved_ms: now_ms, validated: 0 }
    }
}

impl Recovery {
    /// For `nodes` nodes, all of them active. `seed` decides the jitter: whoever recovers nodes on different machines must
    /// give each its own.
    ///
    /// # Errors
    /// When the configuration does not fit.
    pub fn new(config: Config, nodes: u32, seed: u64) -> Result<Self, ConfigError> {
        config.check()?;
        let node = |node| Node { attempts: Attempts::new(node), down: None, course: None, ended: None };
        Ok(Self { config, seed, failures: 0, nodes: (0..nodes).map(node).collect() })
    }

    /// Takes up the attempts that were made before this process began; see [`Attempts`]. The node counts as active.
    pub fn restore(&mut self, node: u32, attempts: Vec<Attempt>, now_ms: u64) {
        let config = self.config;
        let Some(node) = self.node_mut(node) else { return };
        (node.down, node.course) = (None, None);
        node.attempts.restore(attempts, &config, now_ms);
    }

    /// A node is down. During an attempt this means nothing new: the attempt's own steps tell how it goes.
    pub fn down(&mut self, node: u32, reason: &str) {
        let order = self.failures;
        let Some(node) = self.node_mut(node) else { return };
        if node.down.is_none() && node.course.is_none() {
            node.down = Some(Down { order, by: By::Itself, reason: short(reason), told: false });
            self.failures += 1;
        }
    }

    /// A node that waited for an attempt came back by itself. During an attempt this means nothing: it has to pass it.
    pub fn back(&mut self, node: u32) {
        if let Some(node) = self.node_mut(node)
            && node.course.is_none()
        {
            node.down = None;
        }
    }

    /// A person or a recovery order wants a node back now, whatever its cooldown. It still waits until fewer are brought
    /// back than may be, and it counts.
    ///
    /// # Errors
    /// When the node is not down, an attempt is under way, or all attempts are used.
    pub fn recover(&mut self, node: u32, now_ms: u64) -> Result<(), Refusal> {
        let (config, seed) = (self.config, self.seed);
        let node = self.node_mut(node).ok_or(Refusal::NotDown)?;
        if node.course.is_some() {
            return Err(Refusal::UnderWay);
        }
        let down = node.down.as_mut().ok_or(Refusal::NotDown)?;
        match node.attempts.refusal(By::Order, &config, seed, now_ms) {
            Some(refusal) => Err(refusal),
            None => {
                down.by = By::Order;
                Ok(())
            }
        }
    }

    /// The present step of a node succeeded. What is said of another step than the present one is late news and ignored.
    pub fn done(&mut self, node: u32, step: Step, now_ms: u64) {
        let Some(course) = self.course(node).filter(|course| course.step == step && course.told) else { return };
        self.close_stage(node, now_ms);
        match course.step.next() {
            Some(next) => self.nodes[node as usize].course = Some(Course::at(next, now_ms)),
            None => self.end(node, Outcome::Active, now_ms),
        }
    }

    /// The present step of a node came nearer to its end, or nobody could have come nearer (the network is halted): its
    /// deadline counts from now on.
    pub fn moved(&mut self, node: u32, now_ms: u64) {
        if let Some(course) = self.node_mut(node).and_then(|node| node.course.as_mut()) {
            course.moved_ms = course.moved_ms.max(now_ms);
        }
    }

    /// A node on trial answered for so many more validations.
    pub fn validated(&mut self, node: u32, count: u64, now_ms: u64) {
        let enough = self.config.trial_validations;
        let course = self.node_mut(node).and_then(|node| node.course.as_mut());
        let Some(course) = course.filter(|course| course.step == Step::Trial && course.told && count > 0) else {
            return;
        };
        course.validated = course.validated.saturating_add(count);
        course.moved_ms = course.moved_ms.max(now_ms);
        if course.validated >= enough {
            self.done(node, Step::Trial, now_ms);
        }
    }

    /// The node's process ended again during an attempt, and it is worth starting it once more: the attempt goes on with its
    /// first step. Unless it has done so too often, or the node was on trial: falling over after a moment of duty is what a
    /// trial is to find out, and costs the attempt.
    pub fn again(&mut self, node: u32, reason: &str, now_ms: u64) {
        let passes_max = self.config.passes_max;
        let Some(course) = self.course(node) else { return };
        let passes = self.nodes[node as usize].attempts.last().map_or(0, |attempt| attempt.passes);
        if course.step == Step::Trial || passes >= passes_max {
            return self.end(node, Outcome::Failed { step: course.step, reason: short(reason) }, now_ms);
        }
        let node = &mut self.nodes[node as usize];
        if let Some(attempt) = node.attempts.last_mut() {
            attempt.passes += 1;
            attempt.stages.clear();
        }
        node.course = Some(Course::at(Step::VerifyIntegrity, now_ms));
    }

    /// The attempt of a node failed.
    pub fn failed(&mut self, node: u32, reason: &str, now_ms: u64) {
        let Some(course) = self.course(node) else { return };
        self.end(node, Outcome::Failed { step: course.step, reason: short(reason) }, now_ms);
    }

    /// Ends what is overdue, begins what may begin, and says what to do.
    pub fn tick(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        self.expire(now_ms);
        self.admit(now_ms);
        for node in 0..self.nodes.len() as u32 {
            self.tell(node, now_ms, actions);
        }
    }

    /// When [`Self::tick`] has something to do if nothing happens before; `None` when all nodes are active.
    pub fn deadline(&self, now_ms: u64) -> Option<u64> {
        let deadlines = (0..self.nodes.len() as u32).filter_map(|node| match self.state(node, now_ms) {
            State::Active => None,
            // Its turn comes when another's step ends, and that has a deadline of its own.
            State::Queued => None,
            State::Cooling { until_ms } | State::Failed { until_ms, .. } => Some(until_ms),
            State::Recovering { deadline_ms, .. } => Some(deadline_ms),
        });
        deadlines.min()
    }

    /// How a node is.
    pub fn state(&self, node: u32, now_ms: u64) -> State {
        let Some(Node { attempts, down, course, ended: _ }) = self.nodes.get(node as usize) else {
            return State::Active;
        };
        if let Some(course) = course {
            return State::Recovering { step: course.step, deadline_ms: self.deadline_of(course) };
        }
        let Some(down) = down else { return State::Active };
        match attempts.refusal(down.by, &self.config, self.seed, now_ms) {
            Some(Refusal::Exhausted { until_ms }) => State::Failed { until_ms, reason: down.reason.clone() },
            Some(Refusal::Cooldown { until_ms }) => State::Cooling { until_ms },
            Some(Refusal::NotDown | Refusal::UnderWay) | None => State::Queued,
        }
    }

    /// The attempts of a node; none for a node that there is not.
    pub fn attempts(&self, node: u32) -> Option<&Attempts> {
        self.nodes.get(node as usize).map(|node| &node.attempts)
    }

    /// How many attempts a node has left now.
    pub fn attempts_left(&self, node: u32, now_ms: u64) -> usize {
        self.attempts(node).map_or(0, |attempts| attempts.left(&self.config, now_ms))
    }

    /// When a node that went down now would be tried again; `None` when at once.
    pub fn next_ms(&self, node: u32, now_ms: u64) -> Option<u64> {
        match self.attempts(node)?.refusal(By::Itself, &self.config, self.seed, now_ms)? {
            Refusal::Exhausted { until_ms } | Refusal::Cooldown { until_ms } => Some(until_ms),
            Refusal::NotDown | Refusal::UnderWay => None,
        }
    }

    /// The bounds it keeps to.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Most nodes that are brought back at a time.
    pub fn concurrent_max(&self) -> usize {
        faults(self.nodes.len()).max(1)
    }

    fn expire(&mut self, now_ms: u64) {
        for node in 0..self.nodes.len() as u32 {
            if let Some(course) = self.course(node).filter(|course| now_ms >= self.deadline_of(course)) {
                self.end(node, Outcome::TimedOut { step: course.step }, now_ms);
            }
        }
    }

    /// Those who failed first come first. One that may not be tried yet holds nobody up.
    fn admit(&mut self, now_ms: u64) {
        let under_way = self.nodes.iter().filter(|node| node.course.is_some()).count();
        let mut queue: Vec<(u64, u32)> = (0..self.nodes.len() as u32)
            .filter(|&node| self.state(node, now_ms) == State::Queued)
            .filter_map(|node| Some((self.nodes[node as usize].down.as_ref()?.order, node)))
            .collect();
        queue.sort_unstable();
        for (_, node) in queue.into_iter().take(self.concurrent_max().saturating_sub(under_way)) {
            let Node { attempts, down, course, ended: _ } = &mut self.nodes[node as usize];
            let by = down.take().map_or(By::Itself, |down| down.by);
            attempts.begin(by, &self.config, now_ms);
            *course = Some(Course::at(Step::VerifyIntegrity, now_ms));
        }
    }

    fn tell(&mut self, index: u32, now_ms: u64, actions: &mut Vec<Action>) {
        let state = self.state(index, now_ms);
        let node = &mut self.nodes[index as usize];
        actions.extend(node.ended.take().map(|outcome| Action::Ended { node: index, outcome }));
        if let Some(course) = node.course.as_mut().filter(|course| !course.told) {
            course.told = true;
            actions.push(Action::Begin { node: index, step: course.step });
            if let Some(attempt) = node.attempts.last_mut() {
                attempt.stages.push(Stage { step: course.step, began_ms: now_ms, took_ms: None });
            }
        }
        if let (State::Failed { until_ms, reason }, Some(down)) = (state, node.down.as_mut().filter(|down| !down.told))
        {
            down.told = true;
            actions.push(Action::GaveUp { node: index, until_ms, reason });
        }
    }

    /// Ends the attempt of a node. One that failed goes to the end of the queue.
    fn end(&mut self, index: u32, outcome: Outcome, now_ms: u64) {
        self.close_stage(index, now_ms);
        let order = self.failures;
        let node = &mut self.nodes[index as usize];
        node.course = None;
        node.down = outcome.reason().map(|reason| Down { order, by: By::Itself, reason, told: false });
        node.ended = Some(outcome.clone());
        if let Some(attempt) = node.attempts.last_mut() {
            attempt.ended = Some((now_ms, outcome));
        }
        self.failures += 1;
    }

    fn close_stage(&mut self, node: u32, now_ms: u64) {
        let stages = self.nodes[node as usize].attempts.last_mut().map(|attempt| &mut attempt.stages);
        if let Some(stage) = stages.and_then(|stages| stages.last_mut()).filter(|stage| stage.took_ms.is_none()) {
            stage.took_ms = Some(now_ms.saturating_sub(stage.began_ms));
        }
    }

    fn course(&self, node: u32) -> Option<Course> {
        self.nodes.get(node as usize)?.course
    }

    fn node_mut(&mut self, node: u32) -> Option<&mut Node> {
        self.nodes.get_mut(node as usize)
    }

    const fn deadline_of(&self, course: &Course) -> u64 {
        course.moved_ms.saturating_add(self.config.step_max_ms(course.step))
    }
}

/// As much of a reason as is kept.
fn short(reason: &str) -> String {
    reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests;
