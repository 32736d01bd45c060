//! A finalized block.

use api::BlockView;

use crate::{
    cli::Global,
    client::Client,
    failure::{Exit, Failure},
    output::{Output, table},
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
        "block {} · view {} of epoch {} · by {} · {} ms · {} transactions · {} bytes\n\
         digest {}\nparent {}\nstate before it {}",
        block.height,
        block.view,
        block.epoch,
        block.leader,
        block.timestamp_ms,
        block.transactions.len(),
        block.bytes,
        block.digest,
        block.parent,
        block.parent_state_root
    );
    if block.transactions.is_empty() {
        return head;
    }
    let rows = block.transactions.iter().map(|tx| {
        let to = tx.to.clone().unwrap_or_default();
        let amount = tx.amount.map(|amount| amount.to_string()).unwrap_or_default();
        vec![tx.id.clone(), tx.kind.clone(), tx.account.clone(), tx.nonce.to_string(), to, amount]
    });
    format!("{head}\n\n{}", table(&["transaction", "kind", "account", "nonce", "to", "amount"], rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_block_has_no_table() {
        let block = BlockView { height: 7, leader: "n3".into(), ..BlockView::default() };
        assert_eq!(human(&block).lines().count(), 4);
        let full = BlockView { transactions: vec![api::TransactionView::default()], ..block };
        assert!(human(&full).contains("transaction"));
        assert_eq!(human(&full).lines().count(), 7);
    }
}
