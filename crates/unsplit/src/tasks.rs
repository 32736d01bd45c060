//! Tasks: submitted, listed, shown, cancelled.
//!
//! - `workload`: what does a file ask for?
//! - `signer`: who orders, and through which validator?
//! - `delivery`: from a file to the chain, each task once
//! - `summary`: what came of it?
//! - `progress`: how far is it?
//! - `cancel`: how a task is wanted no more
//! - `show`: what the chain has

mod cancel;
mod delivery;
mod progress;
mod show;
mod signer;
mod summary;
pub(crate) mod workload;

use self::{delivery::Delivery, progress::Progress, signer::Account, summary::Summary};
use crate::{
    cli::{Global, Tasks, Waiting},
    failure::{Exit, Failure},
    output::Output,
    signals::Signals,
};

pub(crate) async fn run(verb: Tasks, global: &Global, output: Output) -> Result<Exit, Failure> {
    match verb {
        Tasks::Submit { file, signer, waiting } => {
            // The file first: who mends it should not have to start a network for that.
            let orders = workload::read(&file)?;
            submit(&orders, &Account::open(&signer, global)?, waiting, output).await
        }
        Tasks::List { state, holder, account, limit, all } => {
            let filter = show::Filter { state, holder, account, limit: if all { u64::MAX } else { limit } };
            show::list(&filter, global, output).await
        }
        Tasks::Show { id, account } => show::show(&id, account.as_deref(), global, output).await,
        Tasks::Cancel { id, signer, waiting } => {
            cancel::cancel(&id, &Account::open(&signer, global)?, waiting, output).await
        }
    }
}

async fn submit(
    orders: &[workload::Order],
    account: &Account,
    waiting: Waiting,
    output: Output,
) -> Result<Exit, Failure> {
    let mut signals = Signals::listen();
    let mut delivery = Delivery::begin(account, orders, waiting.wait).await?;
    let mut progress = Progress::new(orders.len(), output);
    let ended = tokio::select! {
        ended = delivery.run(waiting.wait_max, &mut progress) => ended,
        exit = signals.next() => {
            drop(progress);
            output.talk(&format!("interrupted: {}; the same command goes on", delivery.describe()));
            return Ok(exit);
        }
    };
    drop(progress);
    let summary = Summary::of(&delivery, &account.id, waiting.wait);
    if ended.is_ok() || output.is_json() {
        output.data(&summary.human(), &summary);
    }
    ended.map(|()| summary.verdict())
}

/// The one word of the command line that is a task's id.
fn checked_id(id: &str) -> Result<ledger::TaskId, Failure> {
    let help = "list them: unsplit tasks list";
    id.parse().map_err(|error: ledger::TextError| Failure::usage(error.to_string(), help))
}

/// A public key in hex, or that of a key file, as the API takes it.
fn account_word(word: Option<&str>) -> Result<Option<String>, Failure> {
    word.map(|word| crate::tx::account_id(word).map(|id| id.to_string())).transpose()
}
