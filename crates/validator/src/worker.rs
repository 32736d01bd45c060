//! What is leased to this validator, and how far is it?
//!
//! The state says which tasks this validator holds, under which tokens; the worker runs as many of them at once as it has
//! slots, renews leases it needs for longer, and says what came out. It decides nothing: it follows the newest final
//! state, and whatever that state no longer leases to it is stopped. A crash loses only work. After a restart the lease is
//! still there, the task runs again, and the first completion under its token is the only one.

mod aviary;

pub use aviary::{CanaryLimits, NO_LEASE};

use crate::{clock::since, wire::Canary};
use aviary::Aviary;
use commonware_runtime::{Clock, Spawner, utils::AbortOnDrop};
use commonware_utils::{channel::mpsc, sync::Mutex};
use futures::future::{BoxFuture, Either, select};
use ledger::{Claim, Kind, Nonce, Output, PublicKey, SecretKey, State, Task, TaskNumber, TaskState, Transaction};
use std::{
    collections::{BTreeMap, VecDeque},
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// What was said about a lease and is not in the chain is said again after so long.
const REPEAT_AFTER: Duration = Duration::from_secs(2);

/// How much longer than a program may run a job may take before it counts as hung: an executor that works ends a program
/// at its limit, and notices within 20 s when what should end it is stuck.
pub(crate) const HUNG_AFTER: Duration = Duration::from_secs(30);

/// How often work that an injected fault holds up looks whether that is over.
const WEDGE_LOOK: Duration = Duration::from_millis(50);

/// What is said about a lease may be included for so many blocks. It has no effect after the lease in any case.
const EXPIRES_AFTER: u64 = 100_000;

/// Why a task was not done, in words for its submitter.
pub type Declined = String;

/// Does a task, in real life with processes and threads, in simulation on simulated time: the one thing about a
/// validator that differs. Dropping the future stops the work.
pub type Execute<E> = Arc<dyn Fn(E, Job) -> BoxFuture<'static, Result<Vec<u8>, Declined>> + Send + Sync>;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The lease; [`NO_LEASE`] of a canary.
    pub claim: Claim,
    /// Whose task it is.
    pub account: PublicKey,
    /// What its submitter calls it.
    pub id: String,
    /// By which kind of program.
    pub executor: String,
    /// With which input.
    pub payload: Vec<u8>,
}

/// What came out of a job.
#[derive(Debug)]
pub struct Finished {
    claim: Claim,
    outcome: Result<Vec<u8>, Declined>,
}

/// A lease of ours.
struct Work {
    claim: Claim,
    phase: Phase,
    /// The renewal that was asked for, and when.
    renewal: Option<(u32, SystemTime)>,
}

enum Phase {
    /// For a slot.
    Waiting,
    /// Until it is dropped.
    Running(#[expect(dead_code, reason = "held, so that dropping it stops the job")] AbortOnDrop<()>),
    /// It ended like this, which is still to be said.
    Ended(Kind),
    /// What is said about it, and when it was said last.
    Said(Transaction, SystemTime),
}

/// See the module.
pub struct Worker<E> {
    context: E,
    key: SecretKey,
    me: PublicKey,
    slots: usize,
    time_max: Duration,
    execute: Execute<E>,
    works: BTreeMap<TaskNumber, Work>,
    /// Those that wait for a slot, in the order in which they were leased.
    waiting: VecDeque<Claim>,
    finished: mpsc::Sender<Finished>,
    aviary: Aviary<E>,
    wedge: Wedge,
}

/// An injected fault: until then, work that begins waits.
type Wedge = Arc<Mutex<Option<SystemTime>>>;

impl<E: Spawner + Clock> Worker<E> {
    /// For the validator that signs with `key` and does `slots` jobs at once, each for at most `time_max`; and the channel
    /// on which its jobs report, to be given back to [`Self::finish`]. `canaries` says when the executor counts as wedged.
    pub fn new(
        context: E,
        key: SecretKey,
        slots: usize,
        time_max: Duration,
        canaries: CanaryLimits,
        execute: Execute<E>,
    ) -> (Self, mpsc::Receiver<Finished>) {
        let (finished, reports) = mpsc::channel(slots);
        let (me, works, waiting) = (key.public(), BTreeMap::new(), VecDeque::new());
        let wedge = Wedge::default();
        let execute = wedged(execute, wedge.clone());
        let aviary = Aviary::new(context.child("canary"), execute.clone(), canaries);
        (Self { context, key, me, slots, time_max, execute, works, waiting, finished, aviary, wedge }, reports)
    }

    /// Whether the executor still does work with a known answer, and does it right.
    pub fn canary(&mut self, now: SystemTime) -> Canary {
        self.aviary.look(now)
    }

    /// Injects a fault: until then, work that begins waits.
    pub fn wedge(&self, until: SystemTime) {
        *self.wedge.lock() = Some(until);
    }

    /// Ends the injected fault, and says whether there was one.
    pub fn unwedge(&self) -> bool {
        self.wedge.lock().take().is_some()
    }

    /// How many tasks run.
    pub fn running(&self) -> usize {
        self.works.values().filter(|work| matches!(work.phase, Phase::Running(_))).count()
    }

    /// How many wait for a slot.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// A job of ours is over, one way or the other. Reports of leases that are not ours any more mean nothing.
    pub fn finish(&mut self, finished: Finished) {
        let Finished { claim, outcome } = finished;
        let Some(work) = self.works.get_mut(&claim.task).filter(|work| work.claim == claim) else { return };
        let said = match outcome {
            Ok(result) => Kind::CompleteTask { claim, output: Output::Inline(result) },
            Err(reason) => Kind::DeclineTask { claim, reason },
        };
        work.phase = Phase::Ended(said);
    }

    /// Follows the newest final state: stops what is not ours any more, starts what is, and gives what is to be said now.
    pub fn follow(&mut self, state: &State, now: SystemTime) -> Vec<Transaction> {
        let leases: BTreeMap<TaskNumber, Task> =
            state.leased_to(self.me).filter_map(|number| Some((number, state.task(number)?))).collect();
        let is_ours = |claim: Claim| leases.get(&claim.task).and_then(token).is_some_and(|token| token == claim.token);
        self.works.retain(|_, work| is_ours(work.claim));
        self.waiting.retain(|claim| is_ours(*claim));
        for (number, task) in &leases {
            let Some(token) = token(task).filter(|_| !self.works.contains_key(number)) else { continue };
            let claim = Claim { task: *number, token };
            self.works.insert(*number, Work { claim, phase: Phase::Waiting, renewal: None });
            self.waiting.push_back(claim);
        }
        self.fill_slots(state, &leases);
        leases.values().flat_map(|task| self.say(task, state, now)).collect()
    }

    fn fill_slots(&mut self, state: &State, leases: &BTreeMap<TaskNumber, Task>) {
        let mut free = self.slots.saturating_sub(self.running());
        while free > 0
            && let Some(claim) = self.waiting.pop_front()
        {
            let (Some(task), Some(payload)) = (leases.get(&claim.task), state.payload(claim.task)) else { continue };
            let job = Job {
                claim,
                account: task.account,
                id: task.id.to_string(),
                executor: task.executor.to_string(),
                payload: payload.to_vec(),
            };
            let handle = self.start(job);
            if let Some(work) = self.works.get_mut(&claim.task) {
                work.phase = Phase::Running(handle);
            }
            free -= 1;
        }
    }

    /// A job that does not come back is given up, and its task back: otherwise its lease would be renewed for ever.
    fn start(&self, job: Job) -> AbortOnDrop<()> {
        let (execute, finished, time_max) = (self.execute.clone(), self.finished.clone(), self.time_max);
        let handle = self.context.child("task").spawn(move |context| async move {
            let claim = job.claim;
            let limit = context.child("limit");
            let outcome = match select(execute(context, job), pin!(limit.sleep(time_max))).await {
                Either::Left((outcome, _)) => outcome,
                Either::Right(_) => Err(format!("no result after {} s: given up", time_max.as_secs())),
            };
            // An error means that the validator is ending.
            let _ = finished.send(Finished { claim, outcome }).await;
        });
        handle.abort_on_drop()
    }

    /// What is to be said about a lease of ours now.
    fn say(&mut self, task: &Task, state: &State, now: SystemTime) -> Option<Transaction> {
        let work = self.works.get_mut(&task.number)?;
        let sign = |kind| {
            let expires = state.height().after(EXPIRES_AFTER);
            Transaction::sign(&self.key, state.chain().clone(), Nonce(0), expires, kind)
        };
        let transaction = match &work.phase {
            Phase::Waiting | Phase::Running(_) => return work.renewal(task, state, now).map(sign),
            Phase::Said(_, at) if since(now, *at) < REPEAT_AFTER => return None,
            Phase::Said(transaction, _) => transaction.clone(),
            Phase::Ended(kind) => sign(kind.clone()),
        };
        work.phase = Phase::Said(transaction.clone(), now);
        Some(transaction)
    }
}

/// Does what `execute` does, once nothing is wedged any more.
fn wedged<E: Clock>(execute: Execute<E>, wedge: Wedge) -> Execute<E> {
    Arc::new(move |context, job| {
        let (execute, wedge) = (execute.clone(), wedge.clone());
        Box::pin(async move {
            loop {
                let until = *wedge.lock();
                match until.filter(|until| *until > context.current()) {
                    // Looked at again and again: the fault may be healed before its time.
                    Some(_) => context.sleep(WEDGE_LOOK).await,
                    None => break,
                }
            }
            execute(context, job).await
        })
    })
}

impl Work {
    /// Asks for more time when half of it is over, and again if that is not in the chain a while later.
    fn renewal(&mut self, task: &Task, state: &State, now: SystemTime) -> Option<Kind> {
        let TaskState::Leased(lease) = &task.state else { return None };
        let left = state.lease_left_ms(lease);
        let asked = |(count, at): (u32, SystemTime)| count == lease.renewals && since(now, at) < REPEAT_AFTER;
        if left > u64::from(task.lease_ms) / 2 || self.renewal.is_some_and(asked) {
            return None;
        }
        self.renewal = Some((lease.renewals, now));
        Some(Kind::RenewLease { claim: self.claim, renewals: lease.renewals })
    }
}

fn token(task: &Task) -> Option<ledger::Token> {
    match &task.state {
        TaskState::Leased(lease) => Some(lease.token),
        TaskState::Pending | TaskState::Done(_) | TaskState::Failed { .. } | TaskState::Cancelled { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{VALIDATOR, apply, claim, key, leased};
    use commonware_runtime::{Runner as _, Supervisor as _, deterministic};

    const TIME_MAX: Duration = Duration::from_secs(20);
    const CANARIES: CanaryLimits = CanaryLimits { time_max: Duration::from_secs(5), failures_max: 3 };

    /// A worker of two slots whose jobs take as long as their payload's length in seconds, and what was started.
    struct Bench {
        context: deterministic::Context,
        worker: Worker<deterministic::Context>,
        reports: mpsc::Receiver<Finished>,
        log: Arc<Mutex<Vec<String>>>,
    }

    impl Bench {
        fn new(context: deterministic::Context) -> Self {
            let log: Arc<Mutex<Vec<String>>> = Arc::default();
            let shared = log.clone();
            let execute: Execute<deterministic::Context> = Arc::new(move |context, job: Job| {
                let log = shared.clone();
                Box::pin(async move {
                    log.lock().push(format!("start {}", job.id));
                    context.sleep(Duration::from_secs(job.payload.len() as u64)).await;
                    log.lock().push(format!("end {}", job.id));
                    if job.id.starts_with("bad") { Err("cannot".into()) } else { Ok(job.payload) }
                })
            });
            let (worker, reports) =
                Worker::new(context.child("worker"), key(VALIDATOR), 2, TIME_MAX, CANARIES, execute);
            Self { context, worker, reports, log }
        }

        fn follow(&mut self, state: &State) -> Vec<Kind> {
            let said = self.worker.follow(state, self.context.current());
            assert!(said.iter().all(Transaction::verify_signature));
            said.into_iter().map(|transaction| transaction.kind).collect()
        }

        async fn next_report(&mut self) {
            let finished = self.reports.recv().await.expect("jobs report");
            self.worker.finish(finished);
        }

        fn log(&self) -> Vec<String> {
            self.log.lock().clone()
        }
    }

    fn run<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Bench) -> F + Send + 'static) {
        deterministic::Runner::default().start(|context| test(Bench::new(context)));
    }

    #[test]
    fn as_many_run_as_there_are_slots_and_the_oldest_first() {
        run(|mut bench| async move {
            let (state, _) = leased(&["a", "b", "c"]);
            assert_eq!(bench.follow(&state), []);
            assert_eq!((bench.worker.running(), bench.worker.waiting()), (2, 1));
            bench.next_report().await;
            assert!(!bench.log().contains(&"start c".to_owned()));
            bench.follow(&state);
            bench.next_report().await;
            bench.next_report().await;
            assert_eq!(bench.log().last().map(String::as_str), Some("end c"));
        });
    }

    #[test]
    fn what_comes_out_is_said_and_said_again_until_it_is_in_the_chain() {
        run(|mut bench| async move {
            let (mut state, claims) = leased(&["a", "bad"]);
            bench.follow(&state);
            bench.next_report().await;
            bench.next_report().await;
            let complete = Kind::CompleteTask { claim: claims[0], output: Output::Inline(b"a".to_vec()) };
            let decline = Kind::DeclineTask { claim: claims[1], reason: "cannot".into() };
            assert_eq!(bench.follow(&state), [complete.clone(), decline.clone()]);
            assert_eq!(bench.follow(&state), [], "not at once");
            bench.context.sleep(REPEAT_AFTER).await;
            let again = bench.worker.follow(&state, bench.context.current());
            assert_eq!(again.iter().map(|said| said.kind.clone()).collect::<Vec<_>>(), [complete, decline]);
            apply(&mut state, again, 1);
            bench.context.sleep(REPEAT_AFTER).await;
            // The declined task came back: there is nobody else.
            assert_eq!(bench.follow(&state), []);
            assert_eq!((bench.worker.running(), bench.log().last().map(String::as_str)), (1, Some("end bad")));
        });
    }

    #[test]
    fn a_lease_is_renewed_when_half_of_it_is_over_while_there_is_work_left() {
        run(|mut bench| async move {
            let (mut state, claims) = leased(&["a-long-one", "b", "cc"]);
            assert_eq!(bench.follow(&state), []);
            bench.next_report().await;
            let said = bench.worker.follow(&state, bench.context.current());
            apply(&mut state, said, 1_000);
            (0..4).for_each(|_| apply(&mut state, vec![], 1_000));
            let renewal = |claim| Kind::RenewLease { claim, renewals: 0 };
            let renewals = bench.worker.follow(&state, bench.context.current());
            let kinds: Vec<_> = renewals.iter().map(|said| said.kind.clone()).collect();
            assert_eq!(kinds, [renewal(claims[0]), renewal(claims[2])]);
            assert_eq!(bench.follow(&state), [], "asked once");
            apply(&mut state, renewals, 1);
            assert_eq!(bench.follow(&state), [], "granted");
        });
    }

    #[test]
    fn what_is_not_leased_here_any_more_is_stopped_and_what_is_leased_anew_starts_anew() {
        run(|mut bench| async move {
            let (mut state, claims) = leased(&["long-enough"]);
            bench.follow(&state);
            bench.context.sleep(Duration::from_millis(10)).await;
            // Nothing is said for longer than the lease, of which a block takes a second at most.
            (0..12).for_each(|_| apply(&mut state, vec![], 1_000));
            let anew = claim(&state, 1).expect("leased again, there is nobody else");
            assert!(anew.token > claims[0].token);
            bench.follow(&state);
            bench.context.sleep(Duration::from_secs(12)).await;
            assert_eq!(bench.log(), ["start long-enough", "start long-enough", "end long-enough"]);
            bench.next_report().await;
            let expected = Kind::CompleteTask { claim: anew, output: Output::Inline(b"long-enough".to_vec()) };
            assert!(bench.follow(&state).contains(&expected));
        });
    }

    #[test]
    fn a_job_that_does_not_come_back_is_given_up_and_its_task_given_back() {
        run(|mut bench| async move {
            let ids = ["takes-nineteen-secs", "this-one-takes-longer"];
            let (state, claims) = leased(&ids);
            bench.follow(&state);
            bench.next_report().await;
            bench.next_report().await;
            let complete = Kind::CompleteTask { claim: claims[0], output: Output::Inline(ids[0].into()) };
            let decline = Kind::DeclineTask { claim: claims[1], reason: "no result after 20 s: given up".into() };
            let said = bench.follow(&state);
            assert!(said.contains(&complete) && said.contains(&decline), "{said:?}");
            assert!(!bench.log().contains(&format!("end {}", ids[1])), "it was stopped");
        });
    }

    #[test]
    fn a_report_about_another_lease_means_nothing() {
        run(|mut bench| async move {
            let (state, claims) = leased(&["a"]);
            bench.follow(&state);
            let other = Claim { token: ledger::Token(77), ..claims[0] };
            bench.worker.finish(Finished { claim: other, outcome: Ok(Vec::new()) });
            assert_eq!((bench.follow(&state), bench.worker.running()), (Vec::new(), 1));
        });
    }
}
