//! Which task is leased to whom, under which token?
//!
//! `Pending → Leased{holder, token, until} → Done`, or back to pending when the lease runs out or the holder declines.
//! Nothing is dropped: a task that cannot be done is pending, or failed with a reason, for everybody to see. Exactly one
//! completion takes effect: the one under the present lease. A finished task stays for a while, so that its id is not
//! taken for a new one by a submission that was signed before.
//!
//! Every block ends with [`Tasks::settle`]: leases that ran out or whose holders were found unresponsive end, and pending
//! tasks are leased, to others, in that very block. Each such end uses up a retry: a task that takes down whoever tries
//! it must not travel for ever. A task's [`Policy`] says whether it moves like that. All of this comes after the block's
//! transactions, so a completion in the block in which its lease would run out still counts.
//!
//! **Leases are measured in lease time**, a clock that the chain keeps: it starts at the genesis timestamp, and each block
//! moves it on by the milliseconds since the block before, but by [`TICK_MS_MAX`] at most. So a halt of whatever length,
//! whenever it begins, takes a second from a lease and no more: nobody can complete or renew while no block is final. A
//! leader that is dead leaves a gap that is longer than others, and of that too a second counts: with dead leaders leases
//! last longer by the clock on the wall, never shorter. Deadlines are the submitter's and stay in block time.
//!
//! - `order`: what submitters and holders order
//! - `balance`: who gets a task
//! - `board`: the same answer at once, among many
//! - `scaling`: how much capacity would serve what is asked for
//! - `record`: a task as it is stored

pub mod balance;
pub mod board;
pub mod order;
mod record;
pub mod scaling;

pub use record::{Done, Lease, Task, TaskState};

use crate::{
    codec::{Decode as _, DecodeError, Encode, Reader},
    digest,
    genesis::TaskLimits,
    reputation::{Outcome, Reputation},
    state::{StateError, TransactionError},
    tree::Tree,
    types::{AccountId, Height, NodeId, Place, PublicKey, Region, TaskId, TaskNumber, Timestamp, Token},
    verdicts::Phase,
};
use balance::{Choice, Worker};
use imbl::{OrdMap, OrdSet};
use order::{Claim, LEASE_MS_MAX, LEASE_MS_MIN, Output, Policy, RETRIES_MAX, Submission};
use scaling::Demand;
use std::{collections::BTreeMap, sync::Arc};

/// The first byte of a key, beside those of `state`.
pub(crate) const TASK: u8 = 3;
pub(crate) const PAYLOAD: u8 = 4;
pub(crate) const COUNTERS: u8 = 5;
pub(crate) const WORKER: u8 = 6;

/// Leases that end, deadlines that pass and records that go, each, in one block; the rest waits for the next.
const ENDED_PER_BLOCK_MAX: usize = 4_096;

/// Tasks that are leased in one block.
const LEASED_PER_BLOCK_MAX: usize = 4_096;

/// How many pending tasks that nobody can take yet are passed over to find one that somebody can.
const PASSED_OVER_MAX: usize = 64;

/// What a block adds to lease time, at most: longer than blocks take with everybody there, even around the world, and
/// short beside a lease.
pub const TICK_MS_MAX: u64 = 1_000;

/// A lease runs out when its time *and* its height have passed, at one block for each so many milliseconds: what lease
/// time needs at least.
const LEASE_MS_PER_BLOCK: u32 = 1_000;

/// The fewest blocks of a lease, which matters for short ones: a completion that was sent in time may miss a block or two.
const LEASE_BLOCKS_MIN: u64 = 4;

/// A block as what it changes sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// Its height.
    pub(crate) height: Height,
    /// Its timestamp: what deadlines are held against.
    pub(crate) timestamp: Timestamp,
    /// Lease time after it.
    pub(crate) lease_time: Timestamp,
}

/// How many tasks are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskCounts {
    /// Nobody has them yet.
    pub pending: u64,
    /// Somebody is at them.
    pub leased: u64,
    /// Done, and not yet forgotten.
    pub done: u64,
    /// Failed, and not yet forgotten.
    pub failed: u64,
    /// Cancelled, and not yet forgotten.
    pub cancelled: u64,
}

/// What is known of tasks beside their entries: all of it follows from the entries. Cloning is O(1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tasks {
    limits: TaskLimits,
    counters: Counters,
    workers: OrdMap<NodeId, Worker>,
    regions: OrdMap<Region, OrdSet<NodeId>>,
    by_id: OrdMap<(TaskId, AccountId), TaskNumber>,
    pending: OrdSet<TaskNumber>,
    /// Pending tasks by the lease time since which they wait.
    waiting: OrdSet<(Timestamp, TaskNumber)>,
    pending_units: u64,
    /// Leases that a verdict about their holders moves.
    movable: OrdSet<(NodeId, TaskNumber)>,
    /// Leases that can run out, by the lease time and the height after which they do.
    leases: OrdSet<(Timestamp, Height, TaskNumber)>,
    held: OrdSet<(NodeId, TaskNumber)>,
    deadlines: OrdSet<(Timestamp, TaskNumber)>,
    /// Finished tasks by the height at which they are forgotten.
    finished: OrdSet<(Height, TaskNumber)>,
    open_of: OrdMap<AccountId, u32>,
    payload_bytes: u64,
    counts: TaskCounts,
    /// What the last block changed, in order; a task may be in it more than once. Not part of the state's root.
    changes: Arc<Vec<TaskNumber>>,
}

/// The next number and token, and lease time after the last block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counters {
    number: TaskNumber,
    token: Token,
    lease_time: Timestamp,
}

/// The entry of a chain on which nothing was ordered yet.
pub(crate) fn first_counters(start: Timestamp) -> (u8, Vec<u8>) {
    (COUNTERS, Counters::new(start).encode())
}

impl Counters {
    const fn new(start: Timestamp) -> Self {
        Self { number: TaskNumber(1), token: Token(1), lease_time: start }
    }
}

impl Tasks {
    /// Nothing was ordered yet, and nobody is there to do it. Lease time begins at `start`.
    pub(crate) fn new(limits: TaskLimits, start: Timestamp) -> Self {
        Self {
            limits,
            counters: Counters::new(start),
            workers: OrdMap::new(),
            regions: OrdMap::new(),
            by_id: OrdMap::new(),
            pending: OrdSet::new(),
            waiting: OrdSet::new(),
            pending_units: 0,
            movable: OrdSet::new(),
            leases: OrdSet::new(),
            held: OrdSet::new(),
            deadlines: OrdSet::new(),
            finished: OrdSet::new(),
            open_of: OrdMap::new(),
            payload_bytes: 0,
            counts: TaskCounts::default(),
            changes: Arc::default(),
        }
    }

    /// Lease time after the last block that was settled.
    pub(crate) const fn lease_time(&self) -> Timestamp {
        self.counters.lease_time
    }

    /// The block at `place` as what it changes sees it, on a tip of that time: the same for who proposes a block and has
    /// not begun it, and for who follows.
    pub(crate) fn now(&self, tip: Timestamp, place: Place) -> Now {
        let tick = place.timestamp.0.saturating_sub(tip.0).min(TICK_MS_MAX);
        Now { height: place.height, timestamp: place.timestamp, lease_time: self.lease_time().after(tick) }
    }

    /// What is left of a lease after the last block, in milliseconds of lease time.
    pub(crate) const fn left_ms(&self, lease: &Lease) -> u64 {
        lease.until.timestamp.0.saturating_sub(self.counters.lease_time.0)
    }

    /// Adds a validator that does tasks.
    pub(crate) fn admit(&mut self, id: NodeId, capacity: u32, region: &str) {
        if self.workers.insert(id, Worker { capacity, ..Worker::default() }).is_some() {
            // It stood elsewhere before.
            self.regions = std::mem::take(&mut self.regions)
                .into_iter()
                .map(|(region, nodes)| (region, nodes.without(&id)))
                .filter(|(_, nodes)| !nodes.is_empty())
                .collect();
        }
        // One that no task could name is no preference of anybody.
        if let Ok(region) = region.parse() {
            self.regions.entry(region).or_default().insert(id);
        }
    }

    pub(crate) const fn workers(&self) -> &OrdMap<NodeId, Worker> {
        &self.workers
    }

    /// For how long the oldest pending task has waited, in milliseconds of lease time; 0 if none waits.
    pub(crate) fn oldest_pending_ms(&self) -> u64 {
        self.waiting.get_min().map_or(0, |(since, _)| self.lease_time().0.saturating_sub(since.0))
    }

    /// What is asked for after the block at that height, and what there is.
    pub(crate) fn demand(&self, height: Height) -> Demand {
        let n = self.workers.len();
        let at_work = self.workers.values().filter(|worker| worker.is_at_work(height, n));
        Demand {
            capacity: at_work.map(|worker| u64::from(worker.capacity)).sum(),
            units_leased: self.workers.values().map(|worker| worker.units).sum(),
            units_pending: self.pending_units,
            oldest_pending_ms: self.oldest_pending_ms(),
        }
    }

    pub(crate) const fn counts(&self) -> TaskCounts {
        self.counts
    }

    pub(crate) fn changes(&self) -> &[TaskNumber] {
        &self.changes
    }

    pub(crate) fn worker(&self, id: &NodeId) -> Option<Worker> {
        self.workers.get(id).copied()
    }

    pub(crate) fn number(&self, account: &AccountId, id: &TaskId) -> Option<TaskNumber> {
        self.by_id.get(&(id.clone(), *account)).copied()
    }

    /// The tasks of that name, one for each account that chose it.
    pub(crate) fn named<'a>(&'a self, id: &'a TaskId) -> impl Iterator<Item = TaskNumber> + 'a {
        let first = (id.clone(), AccountId::ZERO);
        self.by_id.range(first..).take_while(move |((name, _), _)| name == id).map(|(_, number)| *number)
    }

    pub(crate) fn held_by(&self, node: NodeId) -> impl Iterator<Item = TaskNumber> + '_ {
        let first = (node, TaskNumber(0));
        self.held.range(first..).take_while(move |(holder, _)| *holder == node).map(|(_, number)| *number)
    }

    /// Whether a submission could be taken in the block at `next`, after the one at `tip`.
    pub(crate) fn check_submission(
        &self,
        account: AccountId,
        submission: &Submission,
        expires: Height,
        tip: Place,
        next: Height,
    ) -> Result<(), TransactionError> {
        check_fields(submission)?;
        let max = next.after(self.limits.keep_blocks);
        if expires > max {
            return Err(TransactionError::ExpiresTooLate { expires, max });
        }
        if submission.deadline <= tip.timestamp {
            return Err(TransactionError::TaskDeadline { deadline: submission.deadline, now: tip.timestamp });
        }
        if let Some(number) = self.number(&account, &submission.id) {
            return Err(TransactionError::TaskExists { id: submission.id.clone(), number });
        }
        self.check_room(account, submission)
    }

    fn check_room(&self, account: AccountId, submission: &Submission) -> Result<(), TransactionError> {
        let limits = &self.limits;
        let open = self.open_of.get(&account).copied().unwrap_or(0);
        if open >= limits.open_per_account_max {
            return Err(TransactionError::AccountTasksFull { max: limits.open_per_account_max });
        }
        if self.counts.pending >= limits.pending_max {
            let (pending, max, waited) = (self.counts.pending, limits.pending_max, self.oldest_pending_ms());
            return Err(TransactionError::PendingFull { pending, max, waited });
        }
        if self.by_id.len() as u64 >= limits.tasks_max {
            return Err(TransactionError::TasksFull { what: "tasks", max: limits.tasks_max });
        }
        if self.payload_bytes + submission.payload.len() as u64 > limits.payload_bytes_max {
            return Err(TransactionError::TasksFull { what: "bytes of payload", max: limits.payload_bytes_max });
        }
        Ok(())
    }

    /// Takes a submission that was checked.
    pub(crate) fn submit(&mut self, tree: &mut Tree, account: AccountId, submission: &Submission, now: Now) {
        let number = self.counters.number;
        self.counters.number = TaskNumber(number.0 + 1);
        let task = Task {
            number,
            account,
            id: submission.id.clone(),
            executor: submission.executor.clone(),
            units: submission.units,
            lease_ms: submission.lease_ms,
            retries: submission.retries,
            deadline: submission.deadline,
            policy: submission.policy,
            region: submission.region.clone(),
            waits_since: now.lease_time,
            submitted: now.height,
            payload_bytes: u32::try_from(submission.payload.len()).expect("a payload is short"),
            payload_sha256: digest::sha256(&submission.payload),
            lost_by: Vec::new(),
            reason: String::new(),
            state: TaskState::Pending,
        };
        tree.insert(&key(PAYLOAD, number), &submission.payload);
        self.by_id.insert((task.id.clone(), account), number);
        self.open(&task);
        self.enter(&task);
        self.store(tree, &task);
    }

    /// The task of that name that the account may cancel.
    pub(crate) fn check_cancel(&self, tree: &Tree, account: AccountId, id: &TaskId) -> Result<Task, TransactionError> {
        let number = self.number(&account, id).ok_or_else(|| TransactionError::TaskUnknown { id: id.clone() })?;
        let task = stored(tree, number);
        if task.state.is_finished() {
            return Err(TransactionError::TaskFinished { id: id.clone(), state: task.state.name() });
        }
        Ok(task)
    }

    pub(crate) fn cancel(&mut self, tree: &mut Tree, task: Task, next: Height) {
        self.finish(tree, task, TaskState::Cancelled { at: next });
    }

    /// The task whose present lease `claim` names, if `node` holds it.
    pub(crate) fn check_claim(&self, tree: &Tree, node: NodeId, claim: Claim) -> Result<Task, TransactionError> {
        if claim.token >= self.counters.token {
            return Err(TransactionError::LeaseAhead { claim });
        }
        let stale = |now: String| TransactionError::LeaseStale { claim, now };
        let task = task(tree, claim.task).ok_or_else(|| stale("is not known any more".into()))?;
        let TaskState::Leased(lease) = &task.state else { return Err(stale(format!("is {}", task.state.name()))) };
        if lease.token != claim.token {
            return Err(stale(format!("is leased with token {}", lease.token)));
        }
        if lease.holder != node {
            return Err(TransactionError::NotTheHolder { claim, holder: lease.holder, got: node });
        }
        Ok(task)
    }

    pub(crate) fn complete(&mut self, tree: &mut Tree, task: Task, output: &Output, next: Height) {
        let lease = lease_of(&task);
        let kept_at = match output {
            Output::Inline(_) => None,
            Output::Kept { at, .. } => Some(at.clone()),
        };
        let done = Done {
            by: lease.holder,
            token: lease.token,
            at: next,
            sha256: output.sha256(),
            bytes: output.bytes(),
            kept_at,
        };
        self.answered(tree, lease.holder);
        self.judge(tree, lease.holder, Outcome::Completed);
        self.finish(tree, task, TaskState::Done(done));
    }

    pub(crate) fn decline(&mut self, tree: &mut Tree, task: Task, reason: &str, now: Now) {
        self.answered(tree, lease_of(&task).holder);
        self.give_up(tree, task, reason, now);
    }

    /// Whether the lease may be renewed now: not before a quarter of it is over, and once for each count.
    pub(crate) fn check_renewal(&self, task: &Task, renewals: u32) -> Result<(), TransactionError> {
        let lease = lease_of(task);
        let claim = Claim { task: task.number, token: lease.token };
        match renewals.cmp(&lease.renewals) {
            std::cmp::Ordering::Less => {
                return Err(TransactionError::LeaseStale {
                    claim,
                    now: format!("was renewed {} times already", lease.renewals),
                });
            }
            std::cmp::Ordering::Greater => return Err(TransactionError::LeaseAhead { claim }),
            std::cmp::Ordering::Equal => {}
        }
        let left = self.left_ms(&lease);
        if left > u64::from(task.lease_ms) * 3 / 4 {
            return Err(TransactionError::RenewalTooEarly { claim, left });
        }
        Ok(())
    }

    pub(crate) fn renew(&mut self, tree: &mut Tree, mut task: Task, now: Now) {
        let lease = lease_of(&task);
        let renewed = Lease { until: lease_until(&task, now), renewals: lease.renewals + 1, ..lease };
        self.answered(tree, lease.holder);
        self.move_on(tree, &mut task, TaskState::Leased(renewed));
    }

    /// Ends the block at hand, which `leader` led.
    pub(crate) fn settle(&mut self, tree: &mut Tree, now: Now, leader: NodeId) {
        self.led(tree, leader, now.height);
        self.move_leases(tree, now);
        self.end_leases(tree, now);
        self.pass_deadlines(tree, now);
        self.forget(tree, now.height);
        self.assign(tree, now);
        self.counters.lease_time = now.lease_time;
        tree.insert(&[COUNTERS], &self.counters.encode());
    }

    /// A new block begins: what the last one changed is told.
    pub(crate) fn begin(&mut self) {
        self.changes = Arc::default();
    }

    fn led(&mut self, tree: &mut Tree, leader: NodeId, height: Height) {
        if let Some(worker) = self.workers.get_mut(&leader) {
            worker.led = height;
            store_worker(tree, &leader, worker);
        }
    }

    /// A validator spoke up for a lease of its own.
    fn answered(&mut self, tree: &mut Tree, node: NodeId) {
        if let Some(worker) = self.workers.get_mut(&node).filter(|worker| worker.missed > 0) {
            worker.missed = 0;
            store_worker(tree, &node, worker);
        }
    }

    /// A lease of this validator ended without a word of it.
    fn missed(&mut self, tree: &mut Tree, node: NodeId) {
        if let Some(worker) = self.workers.get_mut(&node) {
            worker.missed = worker.missed.saturating_add(1);
            store_worker(tree, &node, worker);
        }
    }

    /// Something happened that says how far a validator can be trusted.
    pub(crate) fn judge(&mut self, tree: &mut Tree, node: NodeId, outcome: Outcome) {
        let Some(worker) = self.workers.get_mut(&node) else { return };
        let reputation = worker.reputation.after(outcome);
        if reputation != worker.reputation {
            worker.reputation = reputation;
            store_worker(tree, &node, worker);
        }
    }

    /// How a validator stands from here on.
    pub(crate) fn stand(&mut self, tree: &Tree, node: NodeId, phase: Phase, is_drained: bool) {
        let Some(worker) = self.workers.get_mut(&node) else { return };
        let was_drained = std::mem::replace(&mut worker.is_drained, is_drained);
        worker.phase = phase;
        if was_drained != is_drained {
            let kept = self.held_by(node).map(|number| stored(tree, number)).filter(|task| task.policy == Policy::Keep);
            for task in kept.collect::<Vec<_>>() {
                self.watch(&task, &lease_of(&task));
            }
        }
    }

    /// Sees to it that a lease runs out if it can: a kept one does once its holder is drained.
    fn watch(&mut self, task: &Task, lease: &Lease) {
        let is_drained = self.workers.get(&lease.holder).is_some_and(|worker| worker.is_drained);
        let due = (lease.until.timestamp, lease.until.height, task.number);
        match task.policy {
            Policy::Keep if !is_drained => drop(self.leases.remove(&due)),
            Policy::Replace | Policy::Wait | Policy::Keep => drop(self.leases.insert(due)),
        }
    }

    /// Ends what is leased to validators that were found unresponsive, and may move.
    fn move_leases(&mut self, tree: &mut Tree, now: Now) {
        let unresponsive = self.workers.iter().filter(|(_, worker)| worker.phase == Phase::Unresponsive);
        let movable = unresponsive.flat_map(|(node, _)| {
            let of_this = self.movable.range((*node, TaskNumber(0))..);
            of_this.take_while(move |(holder, _)| holder == node).map(|(_, number)| *number)
        });
        for number in movable.take(ENDED_PER_BLOCK_MAX).collect::<Vec<_>>() {
            self.give_up(tree, stored(tree, number), "its holder was found unresponsive", now);
        }
    }

    fn end_leases(&mut self, tree: &mut Tree, now: Now) {
        let passed = self.leases.range(..(now.lease_time, Height(0), TaskNumber(0)));
        let due = passed.filter(|(_, height, _)| *height < now.height).map(|(_, _, number)| *number);
        for number in due.take(ENDED_PER_BLOCK_MAX).collect::<Vec<_>>() {
            let task = stored(tree, number);
            let holder = lease_of(&task).holder;
            self.missed(tree, holder);
            self.judge(tree, holder, Outcome::RanOut);
            self.give_up(tree, task, "the lease ran out", now);
        }
    }

    fn pass_deadlines(&mut self, tree: &mut Tree, now: Now) {
        let passed = self.deadlines.range(..(now.timestamp, TaskNumber(0)));
        let due: Vec<TaskNumber> = passed.map(|(_, number)| *number).take(ENDED_PER_BLOCK_MAX).collect();
        for number in due {
            let task = Task { reason: "the deadline passed".into(), ..stored(tree, number) };
            // Who lets a deadline pass is no better than who lets a lease run out.
            if let TaskState::Leased(lease) = &task.state {
                self.missed(tree, lease.holder);
            }
            self.finish(tree, task, TaskState::Failed { at: now.height });
        }
    }

    fn forget(&mut self, tree: &mut Tree, height: Height) {
        let passed = self.finished.range(..(height, TaskNumber(0)));
        let due: Vec<TaskNumber> = passed.map(|(_, number)| *number).take(ENDED_PER_BLOCK_MAX).collect();
        for number in due {
            let task = stored(tree, number);
            self.leave(&task);
            self.by_id.remove(&(task.id, task.account));
            tree.remove(&key(TASK, number));
        }
    }

    /// Leases what is pending, the oldest first.
    fn assign(&mut self, tree: &mut Tree, now: Now) {
        let (mut leased, mut passed_over) = (0, 0);
        // A copy, in which who keeps its room for an older task is full.
        let mut workers: BTreeMap<NodeId, Worker> = self.workers.iter().map(|(id, worker)| (*id, *worker)).collect();
        // A snapshot of the queue, which costs nothing: what is leased here leaves the queue itself.
        for number in &self.pending.clone() {
            let exhausted = leased == LEASED_PER_BLOCK_MAX || passed_over == PASSED_OVER_MAX;
            if exhausted || !balance::is_room(&workers, now.height) {
                return;
            }
            let task = stored(tree, *number);
            let near = task.region.as_ref().and_then(|region| self.regions.get(region));
            let is_near = |node: &NodeId| near.is_some_and(|near| near.contains(node));
            match balance::choose(&workers, task.units, &task.lost_by, &is_near, now.height) {
                Choice::Now(holder) => {
                    self.lease(tree, task, holder, now);
                    workers.insert(holder, self.workers[&holder]);
                    leased += 1;
                }
                Choice::Later(holder) => {
                    workers.entry(holder).and_modify(Worker::keep);
                    passed_over += 1;
                }
                Choice::Nobody => passed_over += 1,
            }
        }
    }

    fn lease(&mut self, tree: &mut Tree, mut task: Task, holder: NodeId, now: Now) {
        let token = self.counters.token;
        self.counters.token = Token(token.0 + 1);
        let state = TaskState::Leased(Lease { holder, token, until: lease_until(&task, now), renewals: 0 });
        self.move_on(tree, &mut task, state);
    }

    /// A lease ends without a result: others may try, or there were enough.
    fn give_up(&mut self, tree: &mut Tree, mut task: Task, reason: &str, now: Now) {
        let is_last = task.lost_by.len() >= usize::from(task.retries);
        task.lost_by.push(lease_of(&task).holder);
        task.reason = reason.to_owned();
        if is_last {
            self.finish(tree, task, TaskState::Failed { at: now.height });
        } else {
            // Not entered among those that wait yet, so nothing has it under another time.
            task.waits_since = now.lease_time;
            self.move_on(tree, &mut task, TaskState::Pending);
        }
    }

    fn finish(&mut self, tree: &mut Tree, mut task: Task, state: TaskState) {
        assert!(state.is_finished(), "{} is no end", state.name());
        self.close(&task);
        tree.remove(&key(PAYLOAD, task.number));
        self.move_on(tree, &mut task, state);
    }

    fn move_on(&mut self, tree: &mut Tree, task: &mut Task, state: TaskState) {
        self.leave(task);
        task.state = state;
        self.enter(task);
        self.store(tree, task);
    }

    fn store(&mut self, tree: &mut Tree, task: &Task) {
        tree.insert(&key(TASK, task.number), &task.encode());
        Arc::make_mut(&mut self.changes).push(task.number);
    }

    /// Counts a task among the open ones.
    fn open(&mut self, task: &Task) {
        self.deadlines.insert((task.deadline, task.number));
        self.payload_bytes += u64::from(task.payload_bytes);
        *self.open_of.entry(task.account).or_insert(0) += 1;
    }

    fn close(&mut self, task: &Task) {
        self.deadlines.remove(&(task.deadline, task.number));
        self.payload_bytes -= u64::from(task.payload_bytes);
        match self.open_of.get_mut(&task.account) {
            Some(open) if *open > 1 => *open -= 1,
            Some(_) | None => drop(self.open_of.remove(&task.account)),
        }
    }

    /// Enters a task where its present state wants it.
    fn enter(&mut self, task: &Task) {
        let number = task.number;
        *self.count_of(&task.state) += 1;
        match &task.state {
            TaskState::Pending => {
                self.pending.insert(number);
                self.waiting.insert((task.waits_since, number));
                self.pending_units += u64::from(task.units);
            }
            TaskState::Leased(lease) => {
                self.watch(task, lease);
                if task.policy == Policy::Replace {
                    self.movable.insert((lease.holder, number));
                }
                self.held.insert((lease.holder, number));
                if let Some(worker) = self.workers.get_mut(&lease.holder) {
                    worker.units += u64::from(task.units);
                    worker.leases += 1;
                }
            }
            TaskState::Done(Done { at, .. }) | TaskState::Failed { at } | TaskState::Cancelled { at } => {
                self.finished.insert((at.after(self.limits.keep_blocks), number));
            }
        }
    }

    /// Takes a task out of where its present state wanted it.
    fn leave(&mut self, task: &Task) {
        let number = task.number;
        *self.count_of(&task.state) -= 1;
        match &task.state {
            TaskState::Pending => {
                self.pending.remove(&number);
                self.waiting.remove(&(task.waits_since, number));
                self.pending_units -= u64::from(task.units);
            }
            TaskState::Leased(lease) => {
                self.leases.remove(&(lease.until.timestamp, lease.until.height, number));
                self.movable.remove(&(lease.holder, number));
                self.held.remove(&(lease.holder, number));
                if let Some(worker) = self.workers.get_mut(&lease.holder) {
                    worker.units -= u64::from(task.units);
                    worker.leases -= 1;
                }
            }
            TaskState::Done(Done { at, .. }) | TaskState::Failed { at } | TaskState::Cancelled { at } => {
                self.finished.remove(&(at.after(self.limits.keep_blocks), number));
            }
        }
    }

    const fn count_of(&mut self, state: &TaskState) -> &mut u64 {
        match state {
            TaskState::Pending => &mut self.counts.pending,
            TaskState::Leased(_) => &mut self.counts.leased,
            TaskState::Done(_) => &mut self.counts.done,
            TaskState::Failed { .. } => &mut self.counts.failed,
            TaskState::Cancelled { .. } => &mut self.counts.cancelled,
        }
    }
}

/// From entries to what follows from them.
impl Tasks {
    /// Takes over one entry of a checkpoint, if it is of this module; `None` if it is not.
    pub(crate) fn restore(&mut self, entry: usize, key: &[u8], value: &[u8]) -> Option<Result<(), StateError>> {
        let wrong = |error| StateError::Value { entry, error };
        let restored = match (key.first(), key.len()) {
            (Some(&TASK), 9) => Task::decode(number_of(key), value).map(|task| self.restore_task(&task)).map_err(wrong),
            // Held against its task once all entries are there.
            (Some(&PAYLOAD), 9) => Ok(()),
            (Some(&COUNTERS), 1) => self.restore_counters(value).map_err(wrong),
            (Some(&WORKER), 33) => match self.workers.get_mut(&PublicKey(key[1..].try_into().expect("32 bytes"))) {
                Some(worker) => restore_worker(worker, value).map_err(wrong),
                None => Err(StateError::Key { entry }),
            },
            _ => return None,
        };
        Some(restored)
    }

    fn restore_task(&mut self, task: &Task) {
        self.by_id.insert((task.id.clone(), task.account), task.number);
        if !task.state.is_finished() {
            self.open(task);
        }
        self.enter(task);
    }

    fn restore_counters(&mut self, value: &[u8]) -> Result<(), DecodeError> {
        let mut r = Reader::new(value);
        self.counters = Counters {
            number: TaskNumber::read(&mut r)?,
            token: Token::read(&mut r)?,
            lease_time: Timestamp::read(&mut r)?,
        };
        r.finish()
    }

    /// What limits the restored chain has.
    pub(crate) const fn restore_limits(&mut self, limits: TaskLimits) {
        self.limits = limits;
    }

    /// Whether payloads and tasks belong together, and nothing is ahead of the counters.
    pub(crate) fn check(&self, tree: &Tree) -> Result<(), StateError> {
        if tree.get(&[COUNTERS]).is_none() {
            return Err(StateError::NoCounters);
        }
        let mut payloads = tree.prefix(&[PAYLOAD]);
        for (key, value) in tree.prefix(&[TASK]) {
            let task = Task::decode(number_of(key), value).expect("decoded a moment ago");
            let wrong = |what| StateError::Task { number: task.number, what };
            if task.number >= self.counters.number {
                return Err(wrong("has a number that was not given yet"));
            }
            if matches!(&task.state, TaskState::Leased(lease) if lease.token >= self.counters.token) {
                return Err(wrong("has a token that was not given yet"));
            }
            if matches!(&task.state, TaskState::Leased(lease) if !self.workers.contains_key(&lease.holder)) {
                return Err(wrong("is leased to no validator"));
            }
            if self.number(&task.account, &task.id) != Some(task.number) {
                return Err(wrong("has the name of another"));
            }
            if !task.state.is_finished() && !payloads.next().is_some_and(|payload| is_payload_of(&task, payload)) {
                return Err(wrong("has no payload or another"));
            }
        }
        match payloads.next() {
            None => Ok(()),
            Some((key, _)) => Err(StateError::Task { number: number_of(key), what: "has a payload and no record" }),
        }
    }
}

impl Encode for Counters {
    fn write(&self, out: &mut Vec<u8>) {
        self.number.write(out);
        self.token.write(out);
        self.lease_time.write(out);
    }
}

fn check_fields(submission: &Submission) -> Result<(), TransactionError> {
    let check = |field, value: u64, min: u64, max: u64| {
        if (min..=max).contains(&value) {
            Ok(())
        } else {
            Err(TransactionError::TaskField { field, got: value, min, max })
        }
    };
    check("units", submission.units.into(), 1, balance::UNITS_MAX.into())?;
    check("lease_ms", submission.lease_ms.into(), LEASE_MS_MIN.into(), LEASE_MS_MAX.into())?;
    check("retries", submission.retries.into(), 0, RETRIES_MAX.into())?;
    check("bytes of payload", submission.payload.len() as u64, 0, order::PAYLOAD_BYTES_MAX as u64)
}

/// When a lease that begins in the block at hand may run out: a height, and lease time.
fn lease_until(task: &Task, now: Now) -> Place {
    let blocks = u64::from(task.lease_ms.div_ceil(LEASE_MS_PER_BLOCK)).max(LEASE_BLOCKS_MIN);
    Place { height: now.height.after(blocks), timestamp: now.lease_time.after(task.lease_ms.into()) }
}

/// The lease of a task that was found leased.
fn lease_of(task: &Task) -> Lease {
    match &task.state {
        TaskState::Leased(lease) => *lease,
        other => panic!("task {} is {}, not leased", task.number, other.name()),
    }
}

fn is_payload_of(task: &Task, (key, bytes): (&[u8], &[u8])) -> bool {
    number_of(key) == task.number
        && bytes.len() == task.payload_bytes as usize
        && digest::sha256(bytes) == task.payload_sha256
}

pub(crate) fn task(tree: &Tree, number: TaskNumber) -> Option<Task> {
    let value = tree.get(&key(TASK, number))?;
    Some(Task::decode(number, value).expect("an entry was encoded by us or checked when it was restored"))
}

fn stored(tree: &Tree, number: TaskNumber) -> Task {
    task(tree, number).expect("whatever is indexed is stored")
}

fn restore_worker(worker: &mut Worker, value: &[u8]) -> Result<(), DecodeError> {
    let mut r = Reader::new(value);
    (worker.missed, worker.led) = (u32::read(&mut r)?, Height::read(&mut r)?);
    worker.reputation = Reputation::read(&mut r)?;
    r.finish()
}

fn store_worker(tree: &mut Tree, id: &NodeId, worker: &Worker) {
    let mut value = Vec::with_capacity(14);
    worker.missed.write(&mut value);
    worker.led.write(&mut value);
    worker.reputation.write(&mut value);
    tree.insert(&[&[WORKER], id.as_ref()].concat(), &value);
}

pub(crate) fn key(kind: u8, number: TaskNumber) -> [u8; 9] {
    let mut key = [kind; 9];
    key[1..].copy_from_slice(&number.0.to_be_bytes());
    key
}

pub(crate) fn number_of(key: &[u8]) -> TaskNumber {
    TaskNumber(u64::from_be_bytes(key[1..].try_into().expect("the key of a task is a kind and eight bytes")))
}

#[cfg(test)]
mod tests;
