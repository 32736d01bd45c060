//! How long does a task take in this world, and what comes out of it?
//!
//! An execution sleeps on the simulated clock and then gives the true result. How long it sleeps follows from the seed and
//! the lease: a task that moves may take longer or shorter the next time. What is true follows from the payload alone.

use crate::{machine::Hosted, world::draw};
use commonware_runtime::Clock as _;
use commonware_utils::sync::Mutex;
use futures::FutureExt as _;
use ledger::Claim;
use rand::{RngExt as _, rngs::StdRng};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use validator::worker::{Execute, Job, NO_LEASE};

/// How often an execution looks at what pace its node is.
const LOOK: Duration = Duration::from_millis(100);

/// So much longer everything takes on a slow node.
const SLOWDOWN: u32 = 20;

/// How a node is getting on with its tasks, from the best to the worst.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Pace {
    Usual,
    /// So much longer as [`SLOWDOWN`] says.
    Slow,
    /// Nothing is finished.
    Stuck,
}

/// Which nodes work badly.
#[derive(Debug, Default)]
pub(crate) struct Workshop {
    faults: BTreeMap<usize, (Vec<usize>, Pace)>,
}

impl Workshop {
    /// Puts fault number `id` in force.
    pub(crate) fn begin(&mut self, id: usize, nodes: Vec<usize>, pace: Pace) {
        self.faults.insert(id, (nodes, pace));
    }

    /// Ends fault number `id`, if it still is in force.
    pub(crate) fn end(&mut self, id: usize) {
        self.faults.remove(&id);
    }

    /// Ends all faults.
    pub(crate) fn heal(&mut self) {
        self.faults.clear();
    }

    fn pace(&self, node: usize) -> Pace {
        let of_node = self.faults.values().filter(|(nodes, _)| nodes.contains(&node)).map(|(_, pace)| *pace);
        of_node.max().unwrap_or(Pace::Usual)
    }
}

/// What does the tasks of `node`.
pub(crate) fn executor(seed: u64, node: usize, workshop: Arc<Mutex<Workshop>>) -> Execute<Hosted> {
    Arc::new(move |context, job| {
        let workshop = workshop.clone();
        async move {
            let mut left = length(seed, job.claim);
            while !left.is_zero() {
                let pace = workshop.lock().pace(node);
                let (slept, done) = match pace {
                    Pace::Usual => (left.min(LOOK), left.min(LOOK)),
                    Pace::Slow => (LOOK, LOOK / SLOWDOWN),
                    Pace::Stuck => (LOOK, Duration::ZERO),
                };
                context.sleep(slept).await;
                left = left.saturating_sub(done);
            }
            outcome(seed, &job)
        }
        .boxed()
    })
}

/// Canaries are short. Tasks are mostly short, sometimes seconds, and now and then longer than any lease that clients ask for.
fn length(seed: u64, claim: Claim) -> Duration {
    let mut rng = draw(seed, "length", &[claim.task.0, claim.token.0]);
    Duration::from_millis(match rng.random_range(0..100) {
        _ if claim == NO_LEASE => 5,
        0..90 => rng.random_range(5..300),
        90..98 => rng.random_range(500..4_000),
        _ => rng.random_range(6_500..10_000),
    })
}

fn outcome(seed: u64, job: &Job) -> Result<Vec<u8>, String> {
    let is_in_the_mood = || draw(seed, "mood", &[job.claim.task.0, job.claim.token.0]).random_bool(0.5);
    let task = Task::read(&job.executor, &job.payload).ok_or("this is no task of the simulation")?;
    match task.temper() {
        Temper::Willing => Ok(task.result()),
        Temper::Moody if is_in_the_mood() => Ok(task.result()),
        Temper::Moody | Temper::Unwilling => Err("not in the mood for this one".into()),
    }
}

/// The only right result.
pub(crate) fn truth(executor: &str, payload: &[u8]) -> Option<Vec<u8>> {
    Task::read(executor, payload).filter(|task| task.temper() != Temper::Unwilling).map(|task| task.result())
}

/// Whether a validator that declines may be right.
pub(crate) fn may_decline(executor: &str, payload: &[u8]) -> bool {
    Task::read(executor, payload).is_none_or(|task| task.temper() != Temper::Willing)
}

/// A task that some client may want.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Task {
    Matmul(Matmul),
    Command(Command),
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Matmul {
    seed: u64,
    n: usize,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Command {
    program: String,
    input: String,
}

/// Whether validators do a task when they are asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Temper {
    Willing,
    /// Under some leases.
    Moody,
    Unwilling,
}

impl Task {
    /// One of those there are.
    pub(crate) fn any(rng: &mut StdRng) -> Self {
        let program = match rng.random_range(0..20) {
            0..14 => return Self::Matmul(Matmul { seed: rng.random(), n: rng.random_range(1..=4) }),
            14..17 => "sort",
            17..19 => "moody",
            _ => "unwilling",
        };
        let lines = rng.random_range(0..8);
        let input = (0..lines).map(|_| format!("{}\n", rng.random_range(0..1_000))).collect();
        Self::Command(Command { program: program.into(), input })
    }

    fn read(executor: &str, payload: &[u8]) -> Option<Self> {
        match executor {
            "matmul" => serde_json::from_slice(payload).ok().map(Self::Matmul),
            "command" => serde_json::from_slice(payload).ok().map(Self::Command),
            _ => None,
        }
    }

    pub(crate) const fn executor(&self) -> &'static str {
        match self {
            Self::Matmul(_) => "matmul",
            Self::Command(_) => "command",
        }
    }

    pub(crate) fn payload(&self) -> Vec<u8> {
        let written = match self {
            Self::Matmul(task) => serde_json::to_vec(task),
            Self::Command(task) => serde_json::to_vec(task),
        };
        written.expect("numbers and strings can be written as JSON")
    }

    pub(crate) fn temper(&self) -> Temper {
        match self {
            Self::Command(task) if task.program == "moody" => Temper::Moody,
            Self::Command(task) if task.program == "unwilling" => Temper::Unwilling,
            Self::Command(_) | Self::Matmul(_) => Temper::Willing,
        }
    }

    /// The only right result; every command sorts.
    fn result(&self) -> Vec<u8> {
        match self {
            Self::Matmul(Matmul { seed, n }) => executor::matmul::result(*seed, *n),
            Self::Command(Command { input, .. }) => {
                let mut lines: Vec<&str> = input.split_inclusive('\n').collect();
                lines.sort_unstable();
                lines.concat().into_bytes()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::{TaskNumber, Token};

    #[test]
    fn the_worst_fault_in_force_says_how_a_node_is_getting_on() {
        let mut workshop = Workshop::default();
        workshop.begin(1, vec![0, 1], Pace::Stuck);
        workshop.begin(2, vec![1, 2], Pace::Slow);
        let paces = |workshop: &Workshop| [0, 1, 2, 3].map(|node| workshop.pace(node));
        assert_eq!(paces(&workshop), [Pace::Stuck, Pace::Stuck, Pace::Slow, Pace::Usual]);
        workshop.end(1);
        assert_eq!(paces(&workshop), [Pace::Usual, Pace::Slow, Pace::Slow, Pace::Usual]);
    }

    #[test]
    fn a_task_takes_as_long_as_seed_and_lease_say() {
        let claim = |token| Claim { task: TaskNumber(1), token: Token(token) };
        let lengths: Vec<Duration> = (0..1_000).map(|token| length(7, claim(token))).collect();
        assert_eq!(lengths, (0..1_000).map(|token| length(7, claim(token))).collect::<Vec<_>>());
        let longer_than = |ms| lengths.iter().filter(|length| length.as_millis() > ms).count();
        assert!((50..150).contains(&longer_than(300)) && (5..50).contains(&longer_than(6_000)));
    }

    #[test]
    fn what_clients_want_can_be_read_by_validators() {
        let mut rng = draw(1, "test", &[]);
        for _ in 0..100 {
            let task = Task::any(&mut rng);
            assert_eq!(Task::read(task.executor(), &task.payload()).as_ref(), Some(&task));
            assert_eq!(executor::check(task.executor(), &task.payload()), Ok(()));
            assert_eq!(truth(task.executor(), &task.payload()).is_none(), task.temper() == Temper::Unwilling);
        }
    }
}
