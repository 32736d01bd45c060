//! The act about a link that works one way only, and what validators say of cuts.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    storm::{Outcome, Storm},
    verdict::{millis_or_null, span_or_never},
};
use crate::failure::Failure;

/// Ends by itself even if this process hangs; the act is shorter.
const TTL: Duration = Duration::from_secs(60);

/// The silence limit, a heartbeat, and a second for the rest.
const NAMED_MAX: Duration = Duration::from_secs(3);

impl Storm {
    /// Prints what `node` says of the state of things, if it answers.
    pub(super) async fn say_why(&self, node: usize) {
        if let Ok(why) = self.clients[node].why().await {
            self.say(&format!("n{node}: {}", why.sentence));
        }
    }

    /// One validator does not hear another that hears it. Everybody names it, and nobody is held up.
    pub(super) async fn one_way(&mut self) -> Result<(), Failure> {
        let (unheard, deaf) = (1, 2);
        let since = Instant::now();
        self.holder.lock().await.partition(&[vec![unheard], vec![deaf]], true, TTL).await?;
        let cut = Instant::now();
        let words = format!("n{deaf} does not hear n{unheard}");
        let named = self.until(async || self.all_say(&words).await).await.then(|| cut.elapsed());
        let blocks = self.load.book().window(since, Instant::now()).blocks;
        let measured = json!({"named_by_all_ms": millis_or_null(named), "blocks": blocks});
        let ok = blocks > 0 && named.is_some_and(|took| took <= NAMED_MAX);
        let words = format!("{}, {blocks} blocks", span_or_never(named));
        let outcome = Outcome { measured, words, ok };
        self.act(&format!("one-way cut n{unheard} > n{deaf}"), "named by all ≤ 3 s, goes on", since, outcome);
        self.say_why(0).await;
        self.holder.lock().await.heal(None).await?;
        Ok(())
    }

    async fn all_say(&self, words: &str) -> bool {
        for client in &self.clients {
            if !client.why().await.is_ok_and(|why| why.sentence.contains(words)) {
                return false;
            }
        }
        true
    }
}
