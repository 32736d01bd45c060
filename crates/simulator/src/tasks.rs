//! Was every task done once, or is it still open?
//!
//! A naive account of tasks, kept from the blocks of one node alone, and compared with what the node's state says, with what
//! nodes and clients were told, and with the true results. It knows nothing of who should get which task: only that an
//! order names a lease that nothing speaks against.

use crate::{
    Checker,
    book::Book,
    load::{Load, is_finished},
    work::{may_decline, truth},
    world::World,
};
use api::{TaskState as Shown, TaskView};
use ledger::{
    Block, Claim, Hash, Kind, Output, PublicKey, State, Submission, Task, TaskNumber, TaskState, Transaction,
};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use validator::chain::ledger_key;

/// How much work of capacity 1 is leased to a validator at once, as users are told.
const UNITS_PER_CAPACITY: u64 = 64;

/// What the state of a node says about tasks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    tasks: BTreeMap<u64, Task>,
    /// The payloads of open tasks.
    payloads: BTreeMap<u64, Vec<u8>>,
    workers: BTreeMap<PublicKey, Leased>,
}

/// What is leased to a validator.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Leased {
    units: u64,
    leases: u64,
    tasks: BTreeSet<u64>,
}

impl Held {
    pub(crate) fn of(state: &State) -> Self {
        let tasks: BTreeMap<u64, Task> = state.tasks_from(TaskNumber(0)).map(|task| (task.number.0, task)).collect();
        let payload = |number: &u64| Some((*number, state.payload(TaskNumber(*number))?.to_vec()));
        let worker = |key: PublicKey| {
            let worker = state.worker(&key)?;
            let tasks = state.leased_to(key).map(|number| number.0).collect();
            Some((key, Leased { units: worker.units, leases: worker.leases, tasks }))
        };
        Self {
            payloads: tasks.keys().filter_map(payload).collect(),
            workers: state.validators().into_iter().filter_map(|validator| worker(validator.key)).collect(),
            tasks,
        }
    }
}

#[cfg(test)]
impl Held {
    /// Nothing was ordered yet.
    pub(crate) fn none(world: &World) -> Self {
        Self::of(&State::genesis(&world.genesis))
    }
}

/// A task as the blocks tell of it.
struct Record {
    account: PublicKey,
    submission: Submission,
    submitted: u64,
    /// The newest lease that somebody spoke of.
    lease: Option<Spoken>,
    /// How many leases were spoken of.
    leases: u64,
    declined_by: Vec<PublicKey>,
    completed: Option<Completed>,
    cancelled: Option<u64>,
}

/// A lease as its holder speaks of it.
struct Spoken {
    token: u64,
    holder: PublicKey,
    renewals: u32,
    declined: bool,
}

struct Completed {
    at: u64,
    by: PublicKey,
    token: u64,
    sha256: Hash,
}

impl Record {
    /// The block in which the blocks say that it was finished.
    fn finished(&self) -> Option<u64> {
        self.completed.as_ref().map(|completed| completed.at).or(self.cancelled)
    }

    /// Whether a state after the block at `tip` may know nothing of it any more. When a task failed is not in the blocks.
    fn may_be_forgotten(&self, tip: u64, keep: u64) -> bool {
        self.finished().unwrap_or(self.submitted) + keep < tip
    }
}

/// What went wrong with tasks in the blocks of one node.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Counted {
    /// Not in the state, and too young to be forgotten.
    pub(crate) lost: u64,
    /// Completions beyond the first.
    pub(crate) doubled: u64,
}

/// Checks the blocks of one node, and what its state holds after them, against each other and against what others say.
pub(crate) fn check(
    world: &World,
    blocks: &[&Block],
    held: &Held,
    load: &Load,
    book: &Book,
    accuse: &mut impl FnMut(Checker, String),
) -> Counted {
    let mut accuse = |what: String| accuse(Checker::Tasks, what);
    let mut account = Account::new(world, &mut accuse);
    for block in blocks {
        account.block(block);
    }
    account.compare(held);
    account.hear(load, book);
    account.counted
}

/// The account of all tasks.
struct Account<'a, A> {
    world: &'a World,
    accuse: &'a mut A,
    /// In the order of their numbers, the first of which is 1.
    tasks: Vec<Record>,
    names: BTreeMap<(PublicKey, String), usize>,
    /// Which task and validator a token belongs to.
    tokens: BTreeMap<u64, (u64, PublicKey)>,
    tip: u64,
    timestamp: u64,
    counted: Counted,
}

impl<'a, A: FnMut(String)> Account<'a, A> {
    fn new(world: &'a World, accuse: &'a mut A) -> Self {
        Self {
            world,
            accuse,
            tasks: Vec::new(),
            names: BTreeMap::new(),
            tokens: BTreeMap::new(),
            tip: 0,
            timestamp: world.genesis.timestamp_ms,
            counted: Counted::default(),
        }
    }

    fn accuse(&mut self, what: String) {
        (self.accuse)(what);
    }

    fn keep(&self) -> u64 {
        self.world.genesis.tasks.keep_blocks
    }

    fn block(&mut self, block: &Block) {
        for transaction in &block.transactions {
            match &transaction.kind {
                // What validators say of each other is for another checker.
                Kind::Transfer { .. }
                | Kind::Suspect { .. }
                | Kind::Withdraw { .. }
                | Kind::Alive { .. }
                | Kind::Drain { .. }
                | Kind::Undrain { .. }
                | Kind::Certify { .. }
                | Kind::Leave { .. }
                | Kind::Stay { .. }
                | Kind::Join(_)
                | Kind::Approve { .. }
                | Kind::CaughtUp(_)
                | Kind::Retract { .. } => {}
                Kind::SubmitTask(submission) => self.submit(block, transaction, submission),
                Kind::CancelTask { id } => self.cancel(block, transaction.account, id.as_str()),
                Kind::CompleteTask { claim, output } => {
                    self.order(block, transaction, *claim);
                    self.complete(block, transaction.account, *claim, output);
                }
                Kind::DeclineTask { claim, .. } => {
                    self.order(block, transaction, *claim);
                    self.decline(block, transaction.account, *claim);
                }
                Kind::RenewLease { claim, renewals } => {
                    self.order(block, transaction, *claim);
                    self.renew(block, *claim, *renewals);
                }
            }
        }
        (self.tip, self.timestamp) = (block.height.0, block.timestamp.0);
    }

    fn submit(&mut self, block: &Block, transaction: &Transaction, submission: &Submission) {
        let (height, keep, number) = (block.height.0, self.keep(), self.tasks.len() + 1);
        let name = (transaction.account, submission.id.to_string());
        if let Some(earlier) = self.names.insert(name, self.tasks.len())
            && !self.tasks[earlier].may_be_forgotten(height, keep)
        {
            self.accuse(format!(
                "block {height} submits task {} again, which is number {}",
                submission.id,
                earlier + 1
            ));
        }
        if transaction.expires.0 > height + keep {
            self.accuse(format!(
                "block {height} takes task {number}, whose submission outlasts the memory of its name"
            ));
        }
        if submission.deadline.0 <= self.timestamp {
            self.accuse(format!("block {height} takes task {number} after its deadline"));
        }
        self.tasks.push(Record {
            account: transaction.account,
            submission: submission.clone(),
            submitted: height,
            lease: None,
            leases: 0,
            declined_by: Vec::new(),
            completed: None,
            cancelled: None,
        });
    }

    fn cancel(&mut self, block: &Block, account: PublicKey, id: &str) {
        let height = block.height.0;
        let Some(index) = self.names.get(&(account, id.to_owned())).copied() else {
            self.accuse(format!("block {height} cancels task {id}, which was never submitted"));
            return;
        };
        if let Some(at) = self.tasks[index].finished() {
            self.accuse(format!("block {height} cancels task {}, which was finished in block {at}", index + 1));
        }
        self.tasks[index].cancelled = Some(height);
    }

    /// What holds for every order about a lease.
    fn order(&mut self, block: &Block, transaction: &Transaction, claim: Claim) {
        let (height, signer) = (block.height.0, transaction.account);
        let (number, token) = (claim.task.0, claim.token.0);
        let order = format!("the {} of task {number} under token {token} in block {height}", transaction.kind.name());
        if !(0..self.world.keys.len()).any(|node| ledger_key(&self.world.public(node)) == signer) {
            self.accuse(format!("{order} is not of a validator"));
        }
        let timestamp = self.timestamp;
        let Some(task) = index(number).and_then(|index| self.tasks.get_mut(index)) else {
            self.accuse(format!("{order} is of a task that was never submitted"));
            return;
        };
        let mut wrong = Vec::new();
        if task.submitted >= height {
            wrong.push("comes before anybody could lease it".to_owned());
        }
        if let Some(at) = task.finished() {
            wrong.push(format!("comes after it was finished in block {at}"));
        }
        if task.submission.deadline.0 < timestamp {
            wrong.push("comes after the deadline".to_owned());
        }
        match &task.lease {
            Some(lease) if lease.token > token => wrong.push(format!("comes after token {}", lease.token)),
            Some(lease) if lease.token == token && lease.declined => {
                wrong.push("comes after it was declined".to_owned());
            }
            Some(lease) if lease.token == token => {}
            Some(_) | None => {
                task.leases += 1;
                task.lease = Some(Spoken { token, holder: signer, renewals: 0, declined: false });
            }
        }
        if task.leases > u64::from(task.submission.retries) + 1 {
            wrong.push(format!("is of lease number {}", task.leases));
        }
        let (of, holder) = *self.tokens.entry(token).or_insert((number, signer));
        if (of, holder) != (number, signer) {
            wrong.push(format!("has the token of {holder} for task {of}"));
        }
        for what in wrong {
            self.accuse(format!("{order} {what}"));
        }
    }

    fn complete(&mut self, block: &Block, by: PublicKey, claim: Claim, output: &Output) {
        let Some(task) = self.claimed(claim) else { return };
        let expected = truth(task.submission.executor.as_str(), &task.submission.payload);
        let is_true = matches!(output, Output::Inline(result) if Some(result) == expected.as_ref());
        if task.completed.is_some() {
            self.counted.doubled += 1;
        } else {
            let sha256 = match output {
                Output::Inline(result) => sha256(result),
                Output::Kept { sha256, .. } => *sha256,
            };
            task.completed = Some(Completed { at: block.height.0, by, token: claim.token.0, sha256 });
        }
        if !is_true {
            self.accuse(format!("block {} completes task {} with a wrong result", block.height, claim.task));
        }
    }

    fn decline(&mut self, block: &Block, by: PublicKey, claim: Claim) {
        let Some(task) = self.claimed(claim) else { return };
        task.declined_by.push(by);
        if let Some(lease) = &mut task.lease {
            lease.declined = true;
        }
        if !may_decline(task.submission.executor.as_str(), &task.submission.payload) {
            self.accuse(format!("block {} declines task {}, which can be done", block.height, claim.task));
        }
    }

    fn claimed(&mut self, claim: Claim) -> Option<&mut Record> {
        self.tasks.get_mut(index(claim.task.0)?)
    }

    fn renew(&mut self, block: &Block, claim: Claim, renewals: u32) {
        let lease = self.claimed(claim).and_then(|task| task.lease.as_mut());
        let Some(lease) = lease else { return };
        let expected = lease.renewals;
        lease.renewals += 1;
        if renewals != expected {
            let what = format!(
                "block {} renews the lease of task {} as if it had been renewed {renewals} times, not {expected}",
                block.height, claim.task
            );
            self.accuse(what);
        }
    }

    /// Is every task in the state as the blocks say, and nothing else?
    fn compare(&mut self, held: &Held) {
        let (tip, keep) = (self.tip, self.keep());
        if let Some((number, _)) = held.tasks.last_key_value().filter(|(number, _)| **number > self.tasks.len() as u64)
        {
            self.accuse(format!("task {number} is in the state and was never submitted"));
        }
        let mut wrong = Vec::new();
        for (task, number) in self.tasks.iter().zip(1..) {
            let here = format!("task {number}, submitted in block {}, after block {tip}", task.submitted);
            match held.tasks.get(&number) {
                Some(kept) => {
                    let what = strange(task, kept).into_iter().chain(contradiction(task, kept, self.timestamp));
                    wrong.extend(what.map(|what| format!("{here}: {what}")));
                    let payload = held.payloads.get(&number);
                    if payload != (!kept.state.is_finished()).then_some(&task.submission.payload) {
                        wrong.push(format!("{here}: the payload is not kept just as long as it is needed"));
                    }
                }
                None if task.may_be_forgotten(tip, keep) => {}
                None => {
                    self.counted.lost += 1;
                    wrong.push(format!("{here}: it is lost"));
                }
            }
        }
        wrong.into_iter().for_each(|what| self.accuse(what));
        misleased(self.world, held).into_iter().for_each(|what| self.accuse(format!("after block {tip}, {what}")));
        self.compare_tokens(held);
    }

    fn compare_tokens(&mut self, held: &Held) {
        for (number, task) in &held.tasks {
            let TaskState::Leased(lease) = &task.state else { continue };
            let (of, holder) = *self.tokens.entry(lease.token.0).or_insert((*number, lease.holder));
            if (of, holder) != (*number, lease.holder) {
                let what =
                    format!("task {number} is leased to {} with the token of {holder} for task {of}", lease.holder);
                self.accuse(what);
            }
        }
    }

    /// Is what nodes told clients and the world in the blocks?
    fn hear(&mut self, load: &Load, book: &Book) {
        let mut wrong = Vec::new();
        for ((client, id), (view, who)) in &load.finished {
            if view.finished_height.is_none_or(|height| height > self.tip) {
                continue;
            }
            let name = (self.world.accounts[*client].public(), id.clone());
            let task = self.names.get(&name).map(|index| &self.tasks[*index]);
            if !task.is_some_and(|task| is_as_told(task, view)) {
                wrong.push(format!("{who} told that task {id} is {:?}, which is not in the blocks", view.state));
            }
        }
        for (number, token, height, who) in book.completions().filter(|(_, _, height, _)| *height <= self.tip) {
            let completed = self.completion(number);
            if completed.is_none_or(|completed| (completed.token, completed.at) != (token, height)) {
                wrong.push(format!(
                    "{who} saw task {number} done in block {height} under token {token}, and it was not"
                ));
            }
        }
        for (number, token, who) in book.rejections() {
            if self.completion(number).is_some_and(|completed| completed.token == token) {
                wrong.push(format!(
                    "the completion of task {number} by {who} counts, though it was rejected as too late"
                ));
            }
        }
        wrong.into_iter().for_each(|what| self.accuse(what));
    }

    fn completion(&self, number: u64) -> Option<&Completed> {
        self.tasks.get(index(number)?)?.completed.as_ref()
    }
}

/// What is leased to validators and does not add up, or is more than they may have.
pub(crate) fn misleased(world: &World, held: &Held) -> Vec<String> {
    let validators = &world.genesis.validators;
    // Who joined has a seat as well, and may hold nothing.
    let joined = (world.scenario.nodes..world.keys.len()).map(|node| ledger_key(&world.public(node)));
    let joined = joined.filter(|key| held.workers.contains_key(key));
    let mut leased: BTreeMap<PublicKey, Leased> =
        validators.iter().map(|validator| validator.key).chain(joined).map(|key| (key, Leased::default())).collect();
    for (number, task) in &held.tasks {
        let TaskState::Leased(lease) = &task.state else { continue };
        let worker = leased.entry(lease.holder).or_default();
        worker.units += u64::from(task.units);
        worker.leases += 1;
        worker.tasks.insert(*number);
    }
    let mut wrong = Vec::new();
    if leased != held.workers {
        wrong.push("what is leased to validators does not add up".to_owned());
    }
    // All have the capacity 1 here.
    for (key, worker) in leased.iter().filter(|(_, worker)| worker.units > UNITS_PER_CAPACITY) {
        wrong.push(format!("{key} is leased {} units", worker.units));
    }
    wrong
}

/// What is not as it was ordered.
fn strange(task: &Record, kept: &Task) -> Option<String> {
    let ordered = &task.submission;
    let is_same = (kept.account, &kept.id, &kept.executor) == (task.account, &ordered.id, &ordered.executor)
        && (kept.units, kept.lease_ms, kept.retries) == (ordered.units, ordered.lease_ms, ordered.retries)
        && (kept.deadline, kept.submitted.0) == (ordered.deadline, task.submitted)
        && kept.payload_bytes as usize == ordered.payload.len()
        && kept.payload_sha256 == sha256(&ordered.payload);
    (!is_same).then(|| format!("it was not ordered like this: {kept:?}"))
}

/// In what the state of a task contradicts the blocks up to one with this timestamp.
fn contradiction(task: &Record, kept: &Task, timestamp: u64) -> Option<String> {
    let attempts = kept.lost_by.len();
    let attempts_max = usize::from(task.submission.retries) + 1;
    let mut lost_by = kept.lost_by.iter();
    if !task.declined_by.iter().all(|node| lost_by.any(|other| other == node)) {
        return Some("it was declined by others than the state knows".into());
    }
    match &kept.state {
        TaskState::Done(done) => {
            let Some(completed) = &task.completed else { return Some("it is done, and nobody completed it".into()) };
            let is_same = (done.by, done.token.0) == (completed.by, completed.token)
                && (done.at.0, done.sha256) == (completed.at, completed.sha256);
            (!is_same).then(|| format!("it was not completed like this: {done:?}"))
        }
        TaskState::Cancelled { at } => {
            (task.cancelled != Some(at.0)).then(|| format!("it is cancelled since block {at}, and nobody did so there"))
        }
        _ if task.finished().is_some() => {
            Some(format!("it is {}, though the blocks finished it in block {:?}", kept.state.name(), task.finished()))
        }
        TaskState::Failed { .. } => {
            let is_late = task.submission.deadline.0 < timestamp;
            let is_explained = attempts == attempts_max || (is_late && kept.reason.contains("deadline"));
            (!is_explained || kept.reason.is_empty())
                .then(|| format!("it failed after {attempts} of {attempts_max} leases: {:?}", kept.reason))
        }
        TaskState::Leased(_) | TaskState::Pending if task.submission.deadline.0 < timestamp => {
            Some("it is open after its deadline".into())
        }
        TaskState::Leased(_) | TaskState::Pending if attempts >= attempts_max => {
            Some(format!("it is open after {attempts} leases, the most it may have"))
        }
        TaskState::Leased(lease) => {
            let is_stale = |spoken: &Spoken| {
                let (token, same) = (lease.token.0, spoken.holder == lease.holder);
                token < spoken.token || (token == spoken.token && (spoken.declined || !same))
            };
            task.lease.as_ref().is_some_and(is_stale).then(|| format!("its lease {lease:?} is over"))
        }
        TaskState::Pending => None,
    }
}

/// Whether a task ended as somebody was told.
fn is_as_told(task: &Record, view: &TaskView) -> bool {
    let at = view.finished_height;
    match view.state {
        Shown::Done => {
            let (Some(completed), Some(result)) = (&task.completed, &view.result) else { return false };
            let content = result.content.as_ref().is_none_or(|content| sha256(content.bytes()) == completed.sha256);
            (at, view.token) == (Some(completed.at), Some(completed.token))
                && result.sha256 == completed.sha256.to_string()
                && content
        }
        Shown::Cancelled => task.cancelled.is_some() && at == task.cancelled,
        // In which block it failed is not in the blocks, but that nothing else finished it is.
        Shown::Failed => task.finished().is_none() && view.reason.is_some(),
        Shown::Pending | Shown::Leased => !is_finished(view.state),
    }
}

/// Tasks are numbered from 1.
fn index(number: u64) -> Option<usize> {
    usize::try_from(number).ok()?.checked_sub(1)
}

fn sha256(bytes: &[u8]) -> Hash {
    Hash(Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests;
