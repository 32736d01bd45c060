//! How a task is wanted no more.

use std::time::{Duration, Instant};

use api::{TaskState, TaskView, TransactionStatus};
use ledger::{ChainId, Encode as _, Height, Kind, Nonce, TaskId, Transaction};
use serde::Serialize;
use tokio::time::sleep;

use super::{
    checked_id,
    delivery::{is_finished, ready},
    signer::Account,
};
use crate::{
    cli::Waiting,
    client::Trouble,
    failure::{Exit, Failure},
    output::Output,
};

/// As for other orders of an account.
const EXPIRES_AFTER: u64 = 1_000;

/// Nonces that are tried in order: as many transactions of an account may wait.
const NONCES_TRIED_MAX: u64 = 256;

const LOOK_PAUSE: Duration = Duration::from_millis(100);

#[derive(Serialize)]
struct Cancelled {
    schema: &'static str,
    id: String,
    /// The transaction that orders it.
    transaction: String,
    /// The task as it is now.
    task: TaskView,
}

pub(crate) async fn cancel(id: &str, account: &Account, waiting: Waiting, output: Output) -> Result<Exit, Failure> {
    let id = checked_id(id)?;
    let status = ready(&account.client).await?;
    account.check_chain(&status.chain_id)?;
    let chain = status.chain_id.parse();
    let chain = chain.map_err(|error: ledger::TextError| Failure::unexpected(error.to_string()))?;
    let handed = hand_in(&id, account, chain).await?;
    let task = if waiting.wait { finished(&id, account, waiting.wait_max).await? } else { look(&id, account).await? };
    let (human, exit) = verdict(&task, waiting.wait);
    let schema = "unsplit.tasks.cancelled/1";
    output.data(&human, &Cancelled { schema, id: id.to_string(), transaction: handed.id, task });
    Ok(exit)
}

fn verdict(task: &TaskView, waited: bool) -> (String, Exit) {
    let id = &task.id;
    match task.state {
        TaskState::Cancelled => (format!("{id} is cancelled"), Exit::Ok),
        TaskState::Pending | TaskState::Leased => {
            assert!(!waited, "whoever waits sees it finished");
            (format!("{id} will be cancelled, unless it is finished before: unsplit tasks show {id}"), Exit::Ok)
        }
        TaskState::Done => (format!("{id} was done before it could be cancelled"), Exit::Refused),
        TaskState::Failed => (format!("{id} failed before it could be cancelled"), Exit::Refused),
    }
}

/// With the first nonce that no other transaction of the account waits with.
async fn hand_in(id: &TaskId, account: &Account, chain: ChainId) -> Result<TransactionStatus, Failure> {
    let view = account.client.account(&account.id).await?;
    let expires = Height(view.height.saturating_add(EXPIRES_AFTER));
    for nonce in view.nonce..view.nonce.saturating_add(NONCES_TRIED_MAX) {
        let kind = Kind::CancelTask { id: id.clone() };
        let transaction = Transaction::sign(&account.key, chain.clone(), Nonce(nonce), expires, kind);
        match account.client.submit(transaction.encode(), None).await {
            Err(Trouble::Refused(problem)) if matches!(problem.code.as_str(), "nonce_taken" | "nonce_too_low") => {}
            handed => return Ok(handed?),
        }
    }
    let help = "wait until some of them are final, and try again";
    Err(Failure::refused(format!("{NONCES_TRIED_MAX} transactions of the account wait already"), help))
}

async fn look(id: &TaskId, account: &Account) -> Result<TaskView, Failure> {
    Ok(account.client.task(id.as_str(), Some(&account.id)).await?)
}

async fn finished(id: &TaskId, account: &Account, wait_max: Duration) -> Result<TaskView, Failure> {
    let deadline = Instant::now() + wait_max;
    loop {
        let task = look(id, account).await?;
        if is_finished(task.state) {
            return Ok(task);
        }
        if Instant::now() > deadline {
            let message = format!("not cancelled within {wait_max:?}, but it may still be");
            return Err(Failure::unreachable(message, "is anything becoming final? unsplit why"));
        }
        sleep(LOOK_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_too_late_is_told() {
        let exit = |state, waited| verdict(&TaskView { state, ..TaskView::default() }, waited).1;
        assert_eq!(exit(TaskState::Cancelled, true), Exit::Ok);
        assert_eq!(exit(TaskState::Leased, false), Exit::Ok);
        assert_eq!(exit(TaskState::Done, true), Exit::Refused);
        assert_eq!(exit(TaskState::Failed, true), Exit::Refused);
    }
}
