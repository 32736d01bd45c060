//! Does the executor still do anything, and does it do it right?
//!
//! A worker gives itself small work with a known answer, a *canary*, one at a time and by the same way as all work. One that
//! takes far longer than canaries took before, or longer than the operator allows, means that the executor is wedged; a wrong
//! answer means more. What is found is told to the others, who count it as an ailment.

use super::{Declined, Execute, Job};
use crate::{clock::since, wire::Canary};
use commonware_runtime::{Clock, Spawner, utils::AbortOnDrop};
use commonware_utils::sync::Mutex;
use ledger::{Claim, PublicKey, TaskNumber, Token};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

/// A canary is sent so long after the last one came back.
const PAUSE: Duration = Duration::from_secs(1);

/// The size of a canary's matrices: done in well under a millisecond.
const N: usize = 16;

/// One that takes so many times what the slowest one took that came back is overdue.
const TIMES_SLOWEST: u32 = 20;

/// But not sooner than this: a busy machine is not a wedged executor.
const OVERDUE_MIN: Duration = Duration::from_secs(1);

/// The claim of a canary. Numbers and tokens of leases begin at 1.
pub const NO_LEASE: Claim = Claim { task: TaskNumber(0), token: Token(0) };

/// When an executor counts as wedged, at the latest.
#[derive(Clone, Copy, Debug)]
pub struct CanaryLimits {
    /// One that is not back after so long is overdue, whatever was learned.
    pub time_max: Duration,
    /// So many refusals in a row.
    pub failures_max: u32,
}

/// See the module.
pub(super) struct Aviary<E> {
    context: E,
    execute: Execute<E>,
    limits: CanaryLimits,
    /// The one that is out, and since when.
    out: Option<(Flight, SystemTime)>,
    /// When the last one came back.
    back: Option<SystemTime>,
    sent: u64,
    slowest: Duration,
    refusals: u32,
    found: Canary,
}

/// What came back, and when.
type Landing = (Result<Vec<u8>, Declined>, SystemTime);

/// A canary on its way. Dropping it stops the work.
struct Flight {
    seed: u64,
    outcome: Arc<Mutex<Option<Landing>>>,
    _job: AbortOnDrop<()>,
}

impl<E: Spawner + Clock> Aviary<E> {
    pub(super) const fn new(context: E, execute: Execute<E>, limits: CanaryLimits) -> Self {
        Self {
            context,
            execute,
            limits,
            out: None,
            back: None,
            sent: 0,
            slowest: Duration::ZERO,
            refusals: 0,
            found: Canary::Untested,
        }
    }

    /// What is known by now; sends the next one if it is time.
    pub(super) fn look(&mut self, now: SystemTime) -> Canary {
        if let Some((flight, since_when)) = self.out.take() {
            let outcome = flight.outcome.lock().take();
            match outcome {
                Some((outcome, at)) => self.land(flight.seed, &outcome, since(at, since_when), now),
                None if since(now, since_when) < self.overdue_after() => self.out = Some((flight, since_when)),
                None => {
                    // It stays out: the next would only wait behind it, and it may still come back.
                    self.found = Canary::Wedged;
                    self.out = Some((flight, since_when));
                }
            }
        }
        if self.out.is_none() && self.back.is_none_or(|back| since(now, back) >= PAUSE) {
            self.out = Some((self.send(), now));
        }
        self.found
    }

    fn overdue_after(&self) -> Duration {
        (self.slowest * TIMES_SLOWEST).max(OVERDUE_MIN).min(self.limits.time_max)
    }

    fn land(&mut self, seed: u64, outcome: &Result<Vec<u8>, String>, took: Duration, now: SystemTime) {
        self.back = Some(now);
        self.refusals = if outcome.is_ok() { 0 } else { self.refusals.saturating_add(1) };
        self.found = match outcome {
            Ok(result) if *result == executor::matmul::result(seed, N) => Canary::Well,
            Ok(_) => Canary::Wrong,
            Err(_) if self.refusals < self.limits.failures_max => return,
            Err(_) => Canary::Wedged,
        };
        if self.found == Canary::Well {
            // A quarter is forgotten each time, so that one slow moment does not make all later ones look fast.
            self.slowest = took.max(self.slowest * 3 / 4);
        }
    }

    fn send(&mut self) -> Flight {
        self.sent += 1;
        let seed = self.sent;
        let job = Job {
            claim: NO_LEASE,
            account: PublicKey::ZERO,
            id: "canary".into(),
            executor: "matmul".into(),
            payload: format!("{{\"seed\":{seed},\"n\":{N}}}").into_bytes(),
        };
        let outcome: Arc<Mutex<Option<_>>> = Arc::default();
        let (execute, cage) = (self.execute.clone(), outcome.clone());
        let job = self.context.child("flight").spawn(move |context| async move {
            let clock = context.child("clock");
            let result = execute(context, job).await;
            *cage.lock() = Some((result, clock.current()));
        });
        Flight { seed, outcome, _job: job.abort_on_drop() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_runtime::{Runner as _, Supervisor as _, deterministic};

    /// How an executor behaves.
    #[derive(Clone, Copy)]
    enum Executor {
        Takes(u64),
        Lies,
        Refuses,
    }

    /// Looked at each 100 ms for so many seconds each: what is found at the end of each stretch?
    fn check(story: &[(Executor, u64, Canary)]) {
        let story = story.to_vec();
        deterministic::Runner::default().start(|context| async move {
            let how = Arc::new(Mutex::new(story[0].0));
            let shared = how.clone();
            let execute: Execute<deterministic::Context> = Arc::new(move |context, job: Job| {
                let how = *shared.lock();
                Box::pin(async move {
                    let seed: u64 =
                        String::from_utf8_lossy(&job.payload)[8..].split(',').next().unwrap().parse().unwrap();
                    match how {
                        Executor::Takes(ms) => context.sleep(Duration::from_millis(ms)).await,
                        Executor::Lies => return Ok(b"{}".to_vec()),
                        Executor::Refuses => return Err("no".into()),
                    }
                    Ok(executor::matmul::result(seed, N))
                })
            });
            let limits = CanaryLimits { time_max: Duration::from_secs(5), failures_max: 3 };
            let mut aviary = Aviary::new(context.child("aviary"), execute, limits);
            for (step, (executor, seconds, expected)) in story.into_iter().enumerate() {
                *how.lock() = executor;
                let mut found = Canary::Untested;
                for _ in 0..seconds * 10 {
                    found = aviary.look(context.current());
                    context.sleep(Duration::from_millis(100)).await;
                }
                assert_eq!(found, expected, "step {step}");
            }
        });
    }

    #[test]
    fn an_executor_that_works_is_well_and_one_that_hangs_is_wedged_until_it_answers() {
        let takes = Executor::Takes;
        check(&[(takes(3), 2, Canary::Well), (takes(9_000), 4, Canary::Wedged), (takes(3), 10, Canary::Well)]);
    }

    #[test]
    fn a_slow_executor_is_measured_by_itself() {
        check(&[(Executor::Takes(200), 4, Canary::Well), (Executor::Takes(2_000), 7, Canary::Well)]);
    }

    #[test]
    fn nothing_is_waited_for_longer_than_the_limit() {
        check(&[(Executor::Takes(900), 6, Canary::Well), (Executor::Takes(60_000), 8, Canary::Wedged)]);
    }

    #[test]
    fn one_wrong_answer_is_enough_and_one_refusal_is_not() {
        check(&[(Executor::Takes(3), 2, Canary::Well), (Executor::Lies, 2, Canary::Wrong)]);
        check(&[(Executor::Takes(3), 2, Canary::Well), (Executor::Refuses, 2, Canary::Well)]);
        check(&[(Executor::Takes(3), 2, Canary::Well), (Executor::Refuses, 6, Canary::Wedged)]);
    }
}
