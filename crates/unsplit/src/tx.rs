//! Transactions and accounts.

use std::path::{Path, PathBuf};

use api::{AccountView, Finality, TransactionState, TransactionStatus};
use ledger::{Amount, ChainId, Encode as _, Height, Kind, Nonce, PublicKey, SecretKey, Transaction};

use crate::{
    cli::{Global, Tx},
    client::{Client, Trouble},
    failure::{Exit, Failure},
    keys,
    output::Output,
};

/// How many blocks a transfer may take to become final before it can be forgotten: a quarter of an hour or more.
const EXPIRES_AFTER: u64 = 10_000;

/// What is to be moved, and whether to see it through.
struct Order {
    key: PathBuf,
    to: String,
    amount: u64,
    nonce: Option<u64>,
    wait: bool,
}

pub(crate) async fn run(verb: Tx, global: &Global, output: Output) -> Result<Exit, Failure> {
    match verb {
        Tx::Transfer { key, to, amount, nonce, wait } => {
            transfer(&Order { key, to, amount, nonce, wait }, global, output).await
        }
        Tx::Show { id } => show(&id, global, output).await,
    }
}

async fn transfer(order: &Order, global: &Global, output: Output) -> Result<Exit, Failure> {
    let to = account_id(&order.to)?;
    let key = keys::load(&order.key)?;
    if global.token_file.is_none() {
        let help = "name the validator's api.token with --token-file FILE or UNSPLIT_TOKEN_FILE";
        return Err(Failure::refused("a transfer is a write and needs the validator's token", help));
    }
    let client = Client::of(global)?;
    let chain = client.status().await?.chain_id;
    let chain = chain.parse().map_err(|error: ledger::TextError| Failure::unexpected(error.to_string()))?;
    let account = client.account(&key.public().to_string()).await?;
    check_balance(&account, order.amount)?;
    let transaction = signed(&key, chain, &account, to, order);
    check_is_new(&client, &transaction).await?;
    let answer = client.submit(transaction.encode(), order.wait.then_some(global.timeout)).await?;
    output.data(&sentence(&answer), &answer);
    if order.wait && answer.state == TransactionState::Pending {
        let help = holdup(&client, &account.id).await;
        return Err(Failure::unreachable(format!("not final within {:?}, but it may still be", global.timeout), help));
    }
    Ok(Exit::Ok)
}

async fn show(id: &str, global: &Global, output: Output) -> Result<Exit, Failure> {
    let status = Client::of(global)?.transaction(id).await?;
    output.data(&sentence(&status), &status);
    Ok(Exit::Ok)
}

fn signed(key: &SecretKey, chain: ChainId, account: &AccountView, to: PublicKey, order: &Order) -> Transaction {
    let kind = Kind::Transfer { to, amount: Amount(order.amount) };
    let expires = Height(account.height.saturating_add(EXPIRES_AFTER));
    Transaction::sign(key, chain, Nonce(order.nonce.unwrap_or(account.nonce)), expires, kind)
}

/// The validator would take it and let it wait for money until it expires.
fn check_balance(account: &AccountView, amount: u64) -> Result<(), Failure> {
    if account.balance >= amount {
        return Ok(());
    }
    let message = format!("the account owns {}, not {amount}", account.balance);
    Err(Failure::refused(message, format!("look at it: unsplit account {}", account.id)))
}

/// Two transfers that look alike are one to the validator, and their sender would believe that both were made.
async fn check_is_new(client: &Client, transaction: &Transaction) -> Result<(), Failure> {
    match client.transaction(&transaction.id().to_string()).await {
        Ok(_) => Err(Failure::refused(
            format!("this very transfer waits already, with nonce {}", transaction.nonce.0),
            format!("wait until it is final, or make another of it: --nonce {}", transaction.nonce.0 + 1),
        )),
        Err(Trouble::Refused(problem)) if problem.status == 404 => Ok(()),
        Err(trouble) => Err(trouble.into()),
    }
}

fn sentence(answer: &TransactionStatus) -> String {
    match (answer.state, answer.height) {
        (TransactionState::Finalized, Some(height)) => format!("{} is final in block {height}", answer.id),
        (TransactionState::Finalized, None) => format!("{} is final", answer.id),
        (TransactionState::Pending, _) => format!("{} is pending", answer.id),
    }
}

/// What a transfer may be waiting for.
async fn holdup(client: &Client, account: &str) -> String {
    match client.why().await {
        Ok(why) => match why.finality {
            Finality::Halted | Finality::Starting => why.sentence,
            Finality::Live | Finality::Degraded => {
                format!("blocks become final without it; is a nonce before it missing? unsplit account {account}")
            }
        },
        Err(trouble) => trouble.to_string(),
    }
}

pub(crate) async fn account(id: &str, global: &Global, output: Output) -> Result<Exit, Failure> {
    let id = account_id(id)?.to_string();
    let account = Client::of(global)?.account(&id).await?;
    let human = format!(
        "account {}\nbalance {} · next nonce {} · at height {}",
        account.id, account.balance, account.nonce, account.height
    );
    output.data(&human, &account);
    Ok(Exit::Ok)
}

/// A public key as it is written, or that of a key file.
pub(crate) fn account_id(text: &str) -> Result<PublicKey, Failure> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    if Path::new(text).exists() {
        return Ok(keys::load(Path::new(text))?.public());
    }
    let help = "an account is its public key in hex, or the file that holds its key";
    Err(Failure::usage(format!("{text:?} is neither 64 hex digits nor a key file"), help))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_named_by_hex_or_by_its_key_file() {
        let path = std::env::temp_dir().join(format!("unsplit-tx-{}", std::process::id()));
        let key = keys::generate_into(&path).expect("a new file");
        assert_eq!(account_id(&key.to_string()).expect("hex"), key);
        assert_eq!(account_id(path.to_str().expect("plain")).expect("a file"), key);
        std::fs::remove_file(&path).expect("our own file");
        assert_eq!(account_id("nobody").expect_err("neither").exit, Exit::Usage);
    }

    #[test]
    fn what_is_not_owned_is_not_moved() {
        let account = AccountView { balance: 10, ..AccountView::default() };
        assert!(check_balance(&account, 10).is_ok());
        assert_eq!(check_balance(&account, 11).expect_err("one more").exit, Exit::Refused);
    }
}
