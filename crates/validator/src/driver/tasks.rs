//! What the chain says about tasks, told and followed.

use super::{
    Driver, GOSSIP_EVERY,
    answers::{check_work, decode, task_state},
};
use crate::{clock::milliseconds, mempool::Stale};
use api::{Content, EventKind, Refusal, RefusalClass, TaskQuery, TaskResult, TaskView, Tasks};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Blocker, Sender};
use commonware_runtime::{Clock, Metrics, Spawner, Storage};
use ledger::{
    AccountId, Hash, Height, Kind, Output, State, Submission, Task, TaskId, TaskNumber, TaskState, Transaction,
};
use std::{collections::BTreeSet, time::SystemTime};

/// Tasks that one request looks at, so that a rare filter does not hold up the validator.
const LOOKED_AT_MAX: usize = 10_000;

/// So far behind the newest known block, leases are history: others may have the tasks by now.
const BEHIND_MAX: u64 = 2;

impl<E, B, SG> Driver<E, B, SG>
where
    E: Spawner + Clock + Metrics + Storage,
    B: Blocker<PublicKey = PublicKey> + Sync,
    SG: Sender<PublicKey = PublicKey>,
{
    /// Tells what the newest block changed.
    pub(super) fn tell_tasks(&self, state: &State, stale: Vec<Stale>, now: SystemTime) {
        let mut told = BTreeSet::new();
        for number in state.task_changes().iter().filter(|number| told.insert(**number)) {
            let Some(task) = state.task(*number) else { continue };
            self.parts.events.push(milliseconds(now), self.change(&task, state.height().0));
        }
        stale.into_iter().for_each(|stale| self.tell_stale(&stale, state, now));
    }

    fn change(&self, task: &Task, height: u64) -> EventKind {
        let (holder, token) = match &task.state {
            TaskState::Leased(lease) => (Some(lease.holder), Some(lease.token.0)),
            TaskState::Done(done) => (Some(done.by), Some(done.token.0)),
            TaskState::Pending | TaskState::Failed { .. } | TaskState::Cancelled { .. } => (None, None),
        };
        EventKind::TaskChanged {
            number: task.number.0,
            id: task.id.to_string(),
            account: task.account.to_string(),
            state: task_state(&task.state),
            holder: holder.map(|holder| self.settings.roster.name_of(&holder)),
            token,
            attempts: u32::try_from(task.lost_by.len()).unwrap_or(u32::MAX),
            height,
            reason: Some(task.reason.clone()).filter(|reason| !reason.is_empty()),
        }
    }

    /// A completion was dropped because its lease is over.
    pub(super) fn tell_stale(&self, stale: &Stale, state: &State, now: SystemTime) {
        self.gauges.stale.inc();
        let kind = EventKind::CommitRejected {
            number: stale.claim.task.0,
            id: state.task(stale.claim.task).map(|task| task.id.to_string()),
            node: self.settings.roster.name_of(&stale.node),
            token: stale.claim.token.0,
            reason: stale.reason.clone(),
        };
        self.parts.events.push(milliseconds(now), kind);
    }

    /// Lets the worker do what the newest state leases to this validator, and passes on what it says.
    pub(super) fn follow_tasks(&mut self, state: &State, now: SystemTime) {
        if self.tip > state.height().0 + BEHIND_MAX {
            return;
        }
        let said = self.worker.follow(state, now);
        if said.is_empty() {
            return;
        }
        for transaction in said {
            // It may wait here already, from before a restart or from the last time it was said; peers may have missed it.
            let _ = self.parts.ledger.mempool().offer(transaction.clone(), state);
            self.outbox.push(transaction);
        }
        self.parts.ledger.arrivals.step();
        self.flush_at.get_or_insert(now + GOSSIP_EVERY);
    }

    /// Takes the submission of a task. The same task again is no error, also when it was signed anew.
    pub(super) fn submit_task(&mut self, bytes: &[u8]) -> Result<TaskView, Refusal> {
        let transaction = decode(bytes)?;
        let Kind::SubmitTask(submission) = transaction.kind.clone() else {
            return Err(Refusal {
                code: "not_a_submission",
                detail: format!("the transaction is a {}, not the submission of a task", transaction.kind.name()),
                help: "send other transactions to /api/v1/tx".into(),
                class: RefusalClass::Invalid,
            });
        };
        check_work(&submission)?;
        let (account, state) = (transaction.account, self.parts.ledger.finalized());
        if let Some(task) = state.task_number(&account, &submission.id).and_then(|number| state.task(number)) {
            return if is_same(&task, &submission) { Ok(self.view(&task)) } else { Err(another(&submission)) };
        }
        let waiting = self.parts.ledger.mempool().submission(&account, &submission.id).cloned();
        if let Some(Transaction { kind: Kind::SubmitTask(waiting), .. }) = waiting {
            return if waiting == submission { Ok(view_waiting(account, &waiting)) } else { Err(another(&submission)) };
        }
        self.take(transaction)?;
        Ok(view_waiting(account, &submission))
    }

    /// Shows one task with its payload and result.
    pub(super) async fn show_task(&self, id: &str, account: Option<[u8; 32]>) -> Result<TaskView, Refusal> {
        let name: TaskId = id.parse().map_err(|_| unknown(id))?;
        let account = account.map(ledger::PublicKey);
        let state = self.parts.ledger.finalized();
        let mut found = state.tasks_named(&name).filter_map(|number| state.task(number));
        let mut found = found.by_ref().filter(|task| account.is_none_or(|account| task.account == account));
        let Some(task) = found.next() else {
            let waiting = account.and_then(|account| {
                let mempool = self.parts.ledger.mempool();
                mempool.submission(&account, &name).cloned()
            });
            return match waiting {
                Some(Transaction { account, kind: Kind::SubmitTask(submission), .. }) => {
                    let payload = Some(Content::of(&submission.payload));
                    Ok(TaskView { payload, ..view_waiting(account, &submission) })
                }
                Some(_) | None => Err(unknown(id)),
            };
        };
        if found.next().is_some() {
            return Err(Refusal {
                code: "task_ambiguous",
                detail: format!("several accounts have a task {id}"),
                help: "name the account: ?account=HEX".into(),
                class: RefusalClass::Conflict,
            });
        }
        drop(found);
        let mut view = self.view(&task);
        view.payload = match state.payload(task.number) {
            Some(payload) => Some(Content::of(payload)),
            None => self.payload_in_block(&task).await,
        };
        if let Some(result) = &mut view.result {
            result.content = self.result_in_block(&task).await;
        }
        Ok(view)
    }

    async fn payload_in_block(&self, task: &Task) -> Option<Content> {
        let block = self.block(task.submitted).await?;
        block.inner().ledger().transactions.iter().find_map(|tx| match &tx.kind {
            Kind::SubmitTask(submission) if tx.account == task.account && submission.id == task.id => {
                Some(Content::of(&submission.payload))
            }
            _ => None,
        })
    }

    async fn result_in_block(&self, task: &Task) -> Option<Content> {
        let TaskState::Done(done) = &task.state else { return None };
        let block = self.block(done.at).await?;
        block.inner().ledger().transactions.iter().find_map(|tx| match &tx.kind {
            Kind::CompleteTask { claim, output: Output::Inline(result) } if claim.token == done.token => {
                Some(Content::of(result))
            }
            _ => None,
        })
    }

    /// A page of tasks.
    pub(super) fn list_tasks(&self, query: &TaskQuery) -> Tasks {
        let state = self.parts.ledger.finalized();
        let first = TaskNumber(query.after.map_or(0, |after| after.saturating_add(1)));
        let mut page = Tasks { schema: "unsplit.tasks/1".into(), height: state.height().0, ..Tasks::default() };
        let (mut last, mut is_whole) = (0, true);
        for (looked_at, task) in state.tasks_from(first).enumerate() {
            if page.tasks.len() == query.limit || looked_at == LOOKED_AT_MAX {
                is_whole = false;
                break;
            }
            last = task.number.0;
            if query.account.is_some_and(|account| task.account.0 != account)
                || query.state.is_some_and(|wanted| task_state(&task.state) != wanted)
            {
                continue;
            }
            let view = self.view(&task);
            if query.holder.is_none() || view.holder == query.holder {
                page.tasks.push(view);
            }
        }
        page.next = (!is_whole).then_some(last);
        page
    }

    /// A task without payload and content of its result.
    fn view(&self, task: &Task) -> TaskView {
        let mut view = TaskView {
            schema: "unsplit.task/1".into(),
            number: task.number.0,
            id: task.id.to_string(),
            account: task.account.to_string(),
            executor: task.executor.to_string(),
            units: task.units,
            state: task_state(&task.state),
            attempts: u32::try_from(task.lost_by.len()).unwrap_or(u32::MAX),
            retries: task.retries.into(),
            lease_ms: task.lease_ms.into(),
            deadline_ms: task.deadline.0,
            submitted_height: task.submitted.0,
            finished_height: task.state.finished().map(|Height(height)| height),
            reason: Some(task.reason.clone()).filter(|reason| !reason.is_empty()),
            payload_bytes: task.payload_bytes.into(),
            payload_sha256: task.payload_sha256.to_string(),
            policy: task.policy.name().into(),
            region: task.region.as_ref().map(ToString::to_string),
            ..TaskView::default()
        };
        match &task.state {
            TaskState::Leased(lease) => {
                view.holder = Some(self.settings.roster.name_of(&lease.holder));
                view.token = Some(lease.token.0);
                view.until_height = Some(lease.until.height.0);
                view.left_ms = Some(self.parts.ledger.finalized().lease_left_ms(lease));
            }
            TaskState::Done(done) => {
                view.holder = Some(self.settings.roster.name_of(&done.by));
                view.token = Some(done.token.0);
                view.result = Some(TaskResult {
                    sha256: done.sha256.to_string(),
                    bytes: done.bytes,
                    content: None,
                    kept_at: done.kept_at.clone(),
                });
            }
            TaskState::Pending | TaskState::Failed { .. } | TaskState::Cancelled { .. } => {}
        }
        view
    }
}

/// Whether a submission asks for a task that is there already. When it must be done by may differ: who asks again
/// reckons from then.
fn is_same(task: &Task, submission: &Submission) -> bool {
    task.executor == submission.executor
        && task.payload_sha256 == Hash::of(&submission.payload)
        && (task.units, task.lease_ms, task.retries) == (submission.units, submission.lease_ms, submission.retries)
        && (task.policy, &task.region) == (submission.policy, &submission.region)
}

fn another(submission: &Submission) -> Refusal {
    Refusal {
        code: "task_exists",
        detail: format!("the account has another task {} already", submission.id),
        help: "choose another id; `unsplit tasks show` shows the one that is there".into(),
        class: RefusalClass::Conflict,
    }
}

fn unknown(id: &str) -> Refusal {
    Refusal {
        code: "task_not_found",
        detail: format!("no task {id} is known here; finished ones are forgotten after a while, blocks keep them"),
        help: "check the id, and the account if several use it; one that is not final yet is found by id and account"
            .into(),
        class: RefusalClass::NotFound,
    }
}

/// A submission that is not final yet, without its payload.
fn view_waiting(account: AccountId, submission: &Submission) -> TaskView {
    TaskView {
        schema: "unsplit.task/1".into(),
        id: submission.id.to_string(),
        account: account.to_string(),
        executor: submission.executor.to_string(),
        units: submission.units,
        retries: submission.retries.into(),
        lease_ms: submission.lease_ms.into(),
        deadline_ms: submission.deadline.0,
        payload_bytes: submission.payload.len() as u64,
        payload_sha256: Hash::of(&submission.payload).to_string(),
        policy: submission.policy.name().into(),
        region: submission.region.as_ref().map(ToString::to_string),
        ..TaskView::default()
    }
}
