//! At the end: is everything that a client was told is final, on every validator, exactly once?

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use api::TaskView;
use tokio::{task::JoinSet, time::sleep};

use super::book::Seen;
use crate::client::{Client, Trouble};

/// One validator's whole chain, as it serves it.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    /// By height, the first at 1.
    digests: Vec<String>,
    /// How often each transaction is in it.
    transactions: HashMap<String, usize>,
    /// How often it completes each task, by number.
    pub(crate) completions: BTreeMap<u64, usize>,
}

/// What came out.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Findings {
    /// Transfers that a client was told are final, and that are missing somewhere.
    pub(crate) lost: usize,
    /// Transactions that are somewhere more than once.
    pub(crate) duplicated: usize,
    /// Heights at which two validators, or a validator and what a client was told, disagree.
    pub(crate) forks: usize,
}

/// Reads blocks 1 to `height` from one validator.
pub(crate) async fn walk(client: &Client, height: u64) -> Result<Chain, Trouble> {
    let mut chain = Chain::default();
    for height in 1..=height {
        let block = client.block(&height.to_string()).await?;
        chain.digests.push(block.digest);
        for transaction in block.transactions {
            if let (Some(number), Some(_)) = (transaction.number, &transaction.result_sha256) {
                *chain.completions.entry(number).or_default() += 1;
            }
            *chain.transactions.entry(transaction.id).or_default() += 1;
        }
    }
    Ok(chain)
}

/// Walks every validator at once.
pub(crate) async fn walk_all(clients: &[Client], height: u64) -> Result<Vec<Chain>, Trouble> {
    let mut walking = JoinSet::new();
    for client in clients {
        let client = client.clone();
        walking.spawn(async move { walk(&client, height).await });
    }
    walking.join_all().await.into_iter().collect()
}

/// Compares the chains with each other and with what the clients were told.
pub(crate) fn compare(chains: &[Chain], told: &BTreeMap<String, u64>, seen: &[Seen]) -> Findings {
    let lost = told.keys().filter(|id| chains.iter().any(|chain| !chain.transactions.contains_key(*id))).count();
    let twice = |chain: &Chain| chain.transactions.values().filter(|count| **count > 1).count();
    let heights = chains.iter().map(|chain| chain.digests.len()).max().unwrap_or(0);
    let differs = |index: &usize| {
        let mut digests = chains
            .iter()
            .filter_map(|chain| chain.digests.get(*index))
            .chain(seen.get(*index).map(|seen| &seen.digest));
        let first = digests.next();
        digests.any(|digest| Some(digest) != first)
    };
    Findings {
        lost,
        duplicated: chains.iter().map(twice).max().unwrap_or(0),
        forks: (0..heights).filter(differs).count(),
    }
}

/// Whether all validators name the same state root at one same height; nothing if no height is seen on all of them in
/// time. Blocks go on while this asks, so each answer is kept by its height until all have met.
pub(crate) async fn same_root(clients: &[Client], deadline: Instant) -> Option<bool> {
    let mut roots: BTreeMap<u64, HashMap<usize, String>> = BTreeMap::new();
    while Instant::now() < deadline {
        let mut asking = JoinSet::new();
        for (node, client) in clients.iter().cloned().enumerate() {
            asking.spawn(async move { (node, client.status().await) });
        }
        for (node, answer) in asking.join_all().await {
            let Ok(status) = answer else { continue };
            roots.entry(status.height).or_default().insert(node, status.state_root);
        }
        if let Some(met) = roots.values().find(|roots| roots.len() == clients.len()) {
            let mut roots = met.values();
            let first = roots.next();
            return Some(roots.all(|root| Some(root) == first));
        }
        sleep(Duration::from_millis(15)).await;
    }
    None
}

/// All tasks that each validator knows.
pub(crate) async fn tasks(clients: &[Client]) -> Result<Vec<Vec<TaskView>>, Trouble> {
    let mut tables = Vec::new();
    for client in clients {
        let (mut table, mut after) = (Vec::new(), Some(0));
        while let Some(from) = after {
            let page = client.tasks(&[("after", from.to_string()), ("limit", "1000".into())]).await?;
            table.extend(page.tasks);
            after = page.next;
        }
        tables.push(table);
    }
    Ok(tables)
}

/// What all accounts own together, as each validator has it.
pub(crate) async fn sums(clients: &[Client], accounts: &[String]) -> Result<Vec<u64>, Trouble> {
    let mut sums = Vec::new();
    for client in clients {
        let mut sum = 0_u64;
        for account in accounts {
            sum = sum.saturating_add(client.account(account).await?.balance);
        }
        sums.push(sum);
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(blocks: &[(&str, &[&str])]) -> Chain {
        let mut chain = Chain::default();
        for (digest, transactions) in blocks {
            chain.digests.push((*digest).into());
            for id in *transactions {
                *chain.transactions.entry((*id).into()).or_default() += 1;
            }
        }
        chain
    }

    fn check(chains: &[Chain], told: &[&str], seen: &[&str], expected: (usize, usize, usize)) {
        let told = told.iter().map(|id| ((*id).to_owned(), 1)).collect();
        let seen: Vec<Seen> = seen.iter().map(|digest| Seen { digest: (*digest).into(), at: Instant::now() }).collect();
        let (lost, duplicated, forks) = expected;
        assert_eq!(compare(chains, &told, &seen), Findings { lost, duplicated, forks });
    }

    #[test]
    fn equal_chains_have_nothing_to_complain_about() {
        let good = || chain(&[("a", &["t1"]), ("b", &["t2", "t3"])]);
        check(&[good(), good()], &["t1", "t2"], &["a", "b"], (0, 0, 0));
    }

    #[test]
    fn what_is_missing_on_one_validator_is_lost() {
        let (good, bad) = (chain(&[("a", &["t1"])]), chain(&[("a", &[])]));
        check(&[good, bad], &["t1"], &["a"], (1, 0, 0));
    }

    #[test]
    fn what_is_there_twice_is_counted_once() {
        check(&[chain(&[("a", &["t1"]), ("b", &["t1"])])], &["t1"], &["a", "b"], (0, 1, 0));
    }

    #[test]
    fn a_height_with_two_digests_is_a_fork() {
        check(&[chain(&[("a", &[]), ("b", &[])]), chain(&[("a", &[]), ("x", &[])])], &[], &["a", "b"], (0, 0, 1));
        check(&[chain(&[("x", &[])]), chain(&[("x", &[])])], &[], &["a"], (0, 0, 1));
    }
}
