//! The acts about validators that are gone, frozen or ill, and about one that lies.

use std::time::{Duration, Instant};

use api::{Affliction, Illness, Standing};
use ledger::quorum;
use serde_json::json;
use tokio::time::sleep;

use super::{
    storm::{Outcome, Storm},
    verdict::{millis_or_null, span_or_never},
};
use crate::{devnet::ill, failure::Failure};

/// How long a validator is frozen: longer than the others need to agree that it is gone.
const FROZEN: Duration = Duration::from_secs(5);

/// How long a false accuser lies.
const LIES: Duration = Duration::from_secs(4);

/// An injected illness that was forgotten ends by itself; the acts are shorter.
const TTL: Duration = Duration::from_secs(60);

/// How much longer each write of a slow disk takes.
const DELAY_MS: u64 = 1_500;

/// What is expected. A figure beyond these is a miss.
const NOTICED_MAX: Duration = Duration::from_secs(3);
const AGREED_MAX: Duration = Duration::from_secs(4);
const ILL_AGREED_MAX: Duration = Duration::from_secs(10);
const BACK_MAX: Duration = Duration::from_secs(10);
const WELL_MAX: Duration = Duration::from_secs(15);

const BACK: [Standing; 2] = [Standing::Trial, Standing::Active];

impl Storm {
    /// How soon the others noticed that these were gone, and agreed on it.
    pub(super) async fn found_out(&mut self, names: &[String], since: Instant) {
        let observers: Vec<usize> =
            self.everyone().into_iter().filter(|node| !names.contains(&format!("n{node}"))).collect();
        self.until(|| async { self.fell(names, since).is_some() }).await;
        let noticed = self.load.book().health.noticed(&observers, names, since);
        let agreed = self.fell(names, since);
        let measured = json!({"noticed_by_all_ms": millis_or_null(noticed), "agreed_ms": millis_or_null(agreed)});
        let words = format!("{} / {}", span_or_never(noticed), span_or_never(agreed));
        let ok = noticed.is_some_and(|took| took <= NOTICED_MAX) && agreed.is_some_and(|took| took <= AGREED_MAX);
        self.act("  gone: noticed by all / verdict final", "≤ 3 s / ≤ 4 s", since, Outcome { measured, words, ok });
    }

    /// One frozen, one whose executor hangs, one with a slow disk, one that lies.
    pub(super) async fn illness(&mut self) -> Result<(), Failure> {
        self.freeze(1).await?;
        let wedge = ill(Illness::WedgedExecutor, TTL);
        self.sicken(2, "wedge n2's executor", &wedge).await?;
        let slow = Affliction { delay_ms: DELAY_MS, ..ill(Illness::SlowDisk, TTL) };
        self.sicken(3, "slow n3's disk by 1.5 s a write", &slow).await?;
        self.lie(self.clients.len() - 1, 0).await
    }

    fn fell(&self, names: &[String], since: Instant) -> Option<Duration> {
        self.load.book().health.became(names, &[Standing::Unresponsive], since)
    }

    fn came_back(&self, names: &[String], since: Instant) -> Option<Duration> {
        self.load.book().health.became(names, &BACK, since)
    }

    async fn freeze(&mut self, node: usize) -> Result<(), Failure> {
        let names = self.busy(&[node]).await;
        let since = Instant::now();
        self.holder.lock().await.pause(&[node], FROZEN)?;
        self.until(|| async { self.fell(&names, since).is_some() }).await;
        let agreed = self.fell(&names, since);
        sleep(FROZEN.saturating_sub(since.elapsed())).await;
        let thawed = Instant::now();
        self.until(|| async { self.came_back(&names, thawed).is_some() }).await;
        let back = self.came_back(&names, thawed);
        let measured = json!({"agreed_ms": millis_or_null(agreed), "back_ms": millis_or_null(back)});
        let words = format!("{} / {}", span_or_never(agreed), span_or_never(back));
        let ok = agreed.is_some_and(|took| took <= AGREED_MAX) && back.is_some_and(|took| took <= BACK_MAX);
        let name = format!("freeze n{node} (SIGSTOP) for {} s", FROZEN.as_secs());
        self.act(&name, "verdict ≤ 4 s / back ≤ 10 s", since, Outcome { measured, words, ok });
        Ok(())
    }

    /// Makes a validator ill until the others agree on it, and well again until it is back.
    async fn sicken(&mut self, node: usize, name: &str, affliction: &Affliction) -> Result<(), Failure> {
        let names = self.busy(&[node]).await;
        let since = Instant::now();
        self.holder.lock().await.afflict(&[node], affliction).await?;
        self.until(|| async { self.fell(&names, since).is_some() }).await;
        let agreed = self.fell(&names, since);
        self.holder.lock().await.heal(None).await?;
        let cured = Instant::now();
        self.until(|| async { self.came_back(&names, cured).is_some() }).await;
        let back = self.came_back(&names, cured);
        let measured = json!({"agreed_ms": millis_or_null(agreed), "back_ms": millis_or_null(back)});
        let words = format!("{} / {}", span_or_never(agreed), span_or_never(back));
        let ok = agreed.is_some_and(|took| took <= ILL_AGREED_MAX) && back.is_some_and(|took| took <= WELL_MAX);
        self.act(name, "verdict ≤ 10 s / back ≤ 15 s", since, Outcome { measured, words, ok });
        Ok(())
    }

    /// A validator says on the chain that an honest one is not there: nothing comes of it.
    async fn lie(&mut self, liar: usize, about: usize) -> Result<(), Failure> {
        let since = Instant::now();
        let affliction = Affliction { node: Some(format!("n{about}")), ..ill(Illness::FalseAccuser, TTL) };
        self.holder.lock().await.afflict(&[liar], &affliction).await?;
        let told = || async {
            let node = self.clients[about].node(&format!("n{about}")).await;
            node.is_ok_and(|node| !node.suspicions.is_empty())
        };
        let is_on_chain = self.until(told).await;
        sleep(LIES.saturating_sub(since.elapsed())).await;
        let verdicts = self.load.book().health.verdicts(since);
        self.holder.lock().await.heal(None).await?;
        let measured = json!({"suspicion_on_chain": is_on_chain, "verdicts": verdicts});
        let words = match is_on_chain {
            true => format!("1 suspicion on the chain, {verdicts} verdicts"),
            false => "the suspicion never became final".into(),
        };
        let ok = is_on_chain && verdicts == 0;
        let name = format!("n{liar} accuses n{about} falsely");
        let expected = format!("no verdict: it takes {}", self.clients.len() - quorum(self.clients.len()) + 1);
        self.act(&name, &expected, since, Outcome { measured, words, ok });
        Ok(())
    }
}
