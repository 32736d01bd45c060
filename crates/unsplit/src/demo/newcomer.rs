//! The acts about a new validator: it takes the place of another while everything goes on, and loses its disk.

use std::{
    fs,
    time::{Duration, Instant},
};

use api::{Duty, WantedChange};
use serde_json::json;

use super::{
    storm::{Outcome, Storm},
    verdict::{millis_or_null, span_or_never},
};
use crate::{client::Client, failure::Failure};

/// What is expected. More is a miss. An epoch and a half, and the time to ask.
const REPLACED_MAX: Duration = Duration::from_secs(20);
const REJOINED_MAX: Duration = Duration::from_secs(10);

/// Whoever is so far behind fetches the state, if the blocks do not come sooner.
const SNAPSHOT_AFTER: &str = "store.snapshot_after=100";

impl Storm {
    /// Gives the place of the last validator to a new one, and says where that is.
    pub(super) async fn replace(&mut self) -> Result<Client, Failure> {
        let old = self.clients.len() - 1;
        let since = Instant::now();
        let sets = [SNAPSHOT_AFTER.to_owned()];
        self.holder.lock().await.add(Some(old), &sets).await?;
        let newcomer = self.holder.lock().await.newest();
        let (gone, new) = (format!("n{old}"), format!("n{}", old + 1));
        let votes = || async {
            let Ok(set) = self.clients[0].validators(&WantedChange::default()).await else { return false };
            let Ok(status) = newcomer.status().await else { return false };
            let is_there = set.validators.contains(&new) && !set.validators.contains(&gone);
            is_there && status.duty == Duty::Voting && status.last_signed_ms_ago.is_some()
        };
        let took = self.until(votes).await.then(|| since.elapsed());
        let blocks = self.load.book().window(since, Instant::now()).blocks;
        let ok = blocks > 0 && took.is_some_and(|took| took <= REPLACED_MAX);
        let measured = json!({"voting_ms": millis_or_null(took), "blocks": blocks});
        let words = format!("{new} votes after {}, {blocks} blocks", span_or_never(took));
        let name = format!("{new} takes the place of {gone}");
        self.act(&name, "between two epochs, ≤ 20 s", since, Outcome { measured, words, ok });
        Ok(newcomer)
    }

    /// Takes the new one's disk away. It comes back by what its peers have, and votes once it has sat out.
    pub(super) async fn wipe(&mut self, newcomer: &Client) -> Result<(), Failure> {
        let node = self.clients.len();
        let storage = {
            let mut holder = self.holder.lock().await;
            holder.crash(&[node], None)?;
            holder.record().nodes[node].data_dir.join("storage")
        };
        fs::remove_dir_all(&storage).map_err(Failure::file("remove", &storage))?;
        let since = Instant::now();
        self.holder.lock().await.restart(&[node]).await?;
        let is_level = || async {
            let tip = self.load.book().height();
            newcomer.status().await.is_ok_and(|status| status.height + 1 >= tip)
        };
        let level = self.until(is_level).await.then(|| since.elapsed());
        let from = newcomer.sync().await.map_or(0, |sync| sync.blocks_from);
        let votes = || async { newcomer.status().await.is_ok_and(|status| status.duty == Duty::Voting) };
        let voting = self.until(votes).await.then(|| since.elapsed());
        let measured = json!({
            "level_ms": millis_or_null(level),
            "first_block": from,
            "voting_ms": millis_or_null(voting),
        });
        // Of so short a chain the blocks may all be there before the state is asked for.
        let way = if from > 1 { format!("by the state below block {from}") } else { "block by block".into() };
        let words = format!("{way} after {}, votes after {}", span_or_never(level), span_or_never(voting));
        let ok = voting.is_some() && level.is_some_and(|level| level <= REJOINED_MAX);
        let name = format!("wipe n{node}'s disk, restart");
        self.act(&name, "level ≤ 10 s, votes again", since, Outcome { measured, words, ok });
        Ok(())
    }
}
