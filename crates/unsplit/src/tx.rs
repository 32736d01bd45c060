//! Transactions and accounts.

use std::path::Path;

use api::TransactionState;
use ledger::{Amount, Encode as _, Height, Kind, Nonce, PublicKey, Transaction};

use crate::{
    cli::{Global, Tx},
    client::Client,
    failure::{Exit, Failure},
    keys,
    output::Output,
};

/// How many blocks a transfer may take to become final before it can be forgotten: a quarter of an hour or more.
const EXPIRES_AFTER: u64 = 10_000;

pub(crate) async fn run(verb: &Tx, global: &Global, output: Output) -> Result<Exit, Failure> {
    match verb {
        Tx::Transfer { key, to, amount, wait } => transfer(key, to, *amount, *wait, global, output).await,
    }
}

async fn transfer(
    key: &Path,
    to: &str,
    amount: u64,
    wait: bool,
    global: &Global,
    output: Output,
) -> Result<Exit, Failure> {
    let to = parse_account(to)?;
    let key = keys::load(key)?;
    if global.token_file.is_none() {
        let help = "name the validator's api.token with --token-file FILE or UNSPLIT_TOKEN_FILE";
        return Err(Failure::refused("a transfer is a write and needs the validator's token", help));
    }
    let client = Client::of(global)?;
    let status = client.status().await?;
    let account = client.account(&key.public().to_string()).await?;
    let chain =
        status.chain_id.parse().map_err(|error: ledger::ChainIdError| Failure::unexpected(error.to_string()))?;
    let kind = Kind::Transfer { to, amount: Amount(amount) };
    let expires = Height(account.height.saturating_add(EXPIRES_AFTER));
    let transaction = Transaction::sign(&key, chain, Nonce(account.nonce), expires, kind);
    let answer = client.submit(transaction.encode(), wait.then_some(global.timeout)).await?;
    let human = match (answer.state, answer.height) {
        (TransactionState::Finalized, Some(height)) => format!("{} is final in block {height}", answer.id),
        (TransactionState::Finalized, None) => format!("{} is final", answer.id),
        (TransactionState::Pending, _) => format!("{} is pending", answer.id),
    };
    output.data(&human, &answer);
    if wait && answer.state == TransactionState::Pending {
        let help = "it may still become final; `unsplit why` says what holds it up";
        return Err(Failure::unreachable(format!("not final within {:?}", global.timeout), help));
    }
    Ok(Exit::Ok)
}

pub(crate) async fn account(id: &str, global: &Global, output: Output) -> Result<Exit, Failure> {
    let id = parse_account(id)?.to_string();
    let account = Client::of(global)?.account(&id).await?;
    let human = format!("balance {} · nonce {} · at height {}", account.balance, account.nonce, account.height);
    output.data(&human, &account);
    Ok(Exit::Ok)
}

fn parse_account(text: &str) -> Result<PublicKey, Failure> {
    text.parse().map_err(|error: ledger::HexError| Failure::usage(error.to_string(), "an account is its public key"))
}
