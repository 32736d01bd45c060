//! A finalized block.

use api::{BlockView, TransactionView};
use jiff::Timestamp;

use crate::{
    cli::Global,
    client::Client,
    failure::{Exit, Failure},
    output::{Output, counted, table},
};

pub(crate) async fn show(at: &str, global: &Global, output: Output) -> Result<Exit, Failure> {
    if at != "latest" && at.parse::<u64>().is_err() {
        return Err(Failure::usage(
            format!("{at:?} is neither a height nor `latest`"),
            "for example: unsplit blocks 17",
        ));
    }
    let block = Client::of(global)?.block(at).await?;
    output.data(&human(&block), &block);
    Ok(Exit::Ok)
}

fn human(block: &BlockView) -> String {
    let head = format!(
        "block {} · by {} in view {} of epoch {} · {} · {} · {}\n\
         digest {}\nparent {}\nstate before it {}",
        block.height,
        block.leader,
        block.view,
        block.epoch,
        moment(block.timestamp_ms),
        counted(block.transactions.len(), "transaction"),
        counted(block.bytes, "byte"),
        block.digest,
        block.parent,
        block.parent_state_root
    );
    if block.transactions.is_empty() {
        return head;
    }
    let rows = block.transactions.iter().map(|tx| {
        // What speaks of a lease has no nonce of its own.
        let nonce = if tx.number.is_some() { String::new() } else { tx.nonce.to_string() };
        vec![tx.id.clone(), tx.kind.clone(), short(&tx.account), nonce, matter(tx)]
    });
    format!("{head}\n\n{}", table(&["transaction", "kind", "account", "nonce", ""], rows))
}

/// `5 to 0123456789ab…`, `task sort-1`, `task number 12, token 7, result 0123456789ab…`.
fn matter(tx: &TransactionView) -> String {
    let parts = [
        tx.amount.map(|amount| amount.to_string()),
        tx.to.as_deref().map(|to| format!("to {}", short(to))),
        tx.task.as_deref().map(|task| format!("task {task}")),
        tx.number.map(|number| format!("task number {number}")),
        tx.token.map(|token| format!(", token {token}")),
        tx.result_sha256.as_deref().map(|result| format!(", result {}", short(result))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    parts.join(" ").replace(" ,", ",")
}

/// Three keys of 64 digits fit in no terminal; `-o json` has them in full.
fn short(key: &str) -> String {
    match key.char_indices().nth(12) {
        Some((end, _)) => format!("{}…", &key[..end]),
        None => key.to_owned(),
    }
}

/// `2026-11-22 16:20:07.250 UTC`.
fn moment(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or(format!("{ms} ms"), |time| time.strftime("%Y-%m-%d %H:%M:%S%.3f UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_date_and_a_time_of_day() {
        assert_eq!(moment(1_795_375_590_880), "2026-11-22 19:26:30.880 UTC");
        assert_eq!(moment(u64::MAX), "18446744073709551615 ms");
    }

    #[test]
    fn a_transaction_says_what_it_is_about() {
        let key = "ab".repeat(32);
        let transfer = TransactionView { to: Some(key.clone()), amount: Some(5), ..TransactionView::default() };
        assert_eq!(matter(&transfer), "5 to abababababab…");
        let submission = TransactionView { task: Some("sort-1".into()), ..TransactionView::default() };
        assert_eq!(matter(&submission), "task sort-1");
        let (number, token) = (Some(12), Some(7));
        let decline = TransactionView { number, token, ..TransactionView::default() };
        assert_eq!(matter(&decline), "task number 12, token 7");
        let completion = TransactionView { result_sha256: Some(key), ..decline };
        assert_eq!(matter(&completion), "task number 12, token 7, result abababababab…");
    }

    #[test]
    fn an_empty_block_has_no_table() {
        let block = BlockView { height: 7, leader: "n3".into(), ..BlockView::default() };
        assert_eq!(human(&block).lines().count(), 4);
        let account = "ab".repeat(32);
        let transfer = TransactionView { account, ..TransactionView::default() };
        let full = BlockView { transactions: vec![transfer], ..block };
        assert!(human(&full).contains(" abababababab… "), "{}", human(&full));
        assert_eq!(human(&full).lines().count(), 7);
    }
}
