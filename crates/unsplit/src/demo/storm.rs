//! The acts, in order. Each says what it expects, does its harm, and measures.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use api::{Duty, Finality, TaskView};
use ledger::{faults, quorum};
use serde_json::{Map, Value, json};
use tokio::{sync::Mutex, task::JoinSet, time::sleep};

use super::{
    audit,
    load::Load,
    verdict::{Act, Tasks, Verdict, header, millis, millis_or_null, span, span_or_never},
    work::Balance,
};
use crate::{
    client::Client,
    devnet::holder::Holder,
    failure::{Failure, listed},
    output::{Output, counted},
    testnet::{FUNDS, now_ms},
};

/// How long each stretch lasts. Long enough to count blocks in, short enough for a minute in all.
const CALM: Duration = Duration::from_secs(4);
const CRASHED: Duration = Duration::from_secs(12);
/// Until the leaders that died are skipped without waiting for each.
const SKIPPING: Duration = Duration::from_secs(6);
const SPLIT: Duration = Duration::from_secs(5);
/// What was under way when the links were cut may still arrive.
const IN_FLIGHT: Duration = Duration::from_secs(2);

/// What is expected. A figure beyond these is a miss.
const FIRST_BLOCK_MAX: Duration = Duration::from_secs(3);
const FINALITY_MAX: Duration = Duration::from_secs(2);
const CRASHED_FINALITY_MAX: Duration = Duration::from_millis(1500);
const CATCH_UP_MAX: Duration = Duration::from_secs(5);
const TASK_MAX: Duration = Duration::from_secs(3);
const HAND_OFF_MAX: Duration = Duration::from_secs(4);
const HEALED_BLOCK_MAX: Duration = Duration::from_secs(2);
const RESTARTED_BLOCK_MAX: Duration = Duration::from_secs(10);

/// How long to wait for what should have come long before, so that the miss has a figure too.
const PATIENCE: Duration = Duration::from_secs(20);

/// Tasks that every account submits just before validators die or are cut off, so that these have some.
const BURST: u64 = 6;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// The validators that die in the first act, and the smaller side of the first split: as many as may fail.
pub(crate) fn victims(n: usize) -> Vec<usize> {
    (n - faults(n)..n).collect()
}

/// The split in which nobody has a quorum: one less than it takes, and the rest.
pub(crate) fn halting_split(n: usize) -> (Vec<usize>, Vec<usize>) {
    let side = quorum(n) - 1;
    ((0..side).collect(), (side..n).collect())
}

/// The storm under way.
pub(crate) struct Storm {
    pub(super) holder: Arc<Mutex<Holder>>,
    pub(super) load: Arc<Load>,
    pub(super) clients: Vec<Client>,
    output: Output,
    launched: Instant,
    acts: Vec<Act>,
}

/// What an act came to.
pub(super) struct Outcome {
    pub(super) measured: Value,
    pub(super) words: String,
    pub(super) ok: bool,
}

impl Storm {
    pub(crate) fn new(
        holder: Arc<Mutex<Holder>>,
        load: Arc<Load>,
        clients: Vec<Client>,
        output: Output,
        launched: Instant,
    ) -> Self {
        Self { holder, load, clients, output, launched, acts: Vec::new() }
    }

    /// Plays every act and gives the verdict.
    pub(crate) async fn play(mut self, first_block: Duration) -> Result<Verdict, Failure> {
        self.output.line(&header());
        self.first_block(first_block);
        self.load.book().is_open = true;
        self.calm().await;
        self.crash().await?;
        self.restart().await?;
        self.rot().await?;
        self.split_with_quorum().await?;
        self.heal_after_split().await?;
        self.split_without_quorum().await?;
        self.heal_after_halt().await?;
        self.one_way().await?;
        self.illness().await?;
        self.kill_everyone().await?;
        let newcomer = self.replace().await?;
        self.wipe(&newcomer).await?;
        let (findings, balance) = self.audit().await;
        Ok(self.verdict(&findings, &balance))
    }

    fn verdict(self, findings: &audit::Findings, balance: &Balance) -> Verdict {
        let book = self.load.book();
        let tasks = Tasks {
            submitted: balance.submitted,
            done: balance.done,
            failed: balance.failed,
            lost: balance.lost,
            doubled: balance.doubled,
            wrong: balance.wrong,
            moved: book.work.moved(),
            stale_commits_rejected: book.work.stale(),
        };
        Verdict {
            schema: "unsplit.demo/1",
            nodes: self.clients.len(),
            ok: self.acts.iter().all(|act| act.ok),
            submitted: book.submitted,
            resubmitted: book.resubmitted,
            told_final: book.told_final().len(),
            lost: findings.lost,
            duplicated: findings.duplicated,
            forks: findings.forks,
            tasks,
            acts: self.acts.clone(),
        }
    }

    pub(super) fn act(&mut self, name: &str, expected: &str, since: Instant, outcome: Outcome) {
        let measured = match outcome.measured {
            Value::Object(figures) => figures,
            other => Map::from_iter([("value".to_owned(), other)]),
        };
        let act = Act {
            name: name.into(),
            expected: expected.into(),
            measured,
            ok: outcome.ok,
            at_s: (since - self.launched).as_secs_f64(),
            words: outcome.words,
        };
        self.output.line(&act.line());
        self.acts.push(act);
    }

    /// A line below an act.
    pub(super) fn say(&self, words: &str) {
        self.output.line(&format!("            {words}"));
    }

    fn names(&self, nodes: &[usize]) -> String {
        listed(nodes.iter().map(|node| format!("n{node}")))
    }

    pub(super) fn everyone(&self) -> Vec<usize> {
        (0..self.clients.len()).collect()
    }

    fn first_block(&mut self, took: Duration) {
        let since = self.launched + took;
        let outcome = Outcome {
            measured: json!({"first_block_ms": millis(took)}),
            words: span(took),
            ok: took <= FIRST_BLOCK_MAX,
        };
        self.act("first final block", "≤ 3 s after launch", since, outcome);
    }

    async fn calm(&mut self) {
        let since = Instant::now();
        sleep(CALM).await;
        let (start, end) = (since + Duration::from_secs(1), Instant::now());
        self.wait_for_older_than(end).await;
        let window = self.load.book().window(start, end);
        let (p50, p99) = (window.percentile(50), window.percentile(99));
        let measured = json!({
            "finality_p50_ms": millis_or_null(p50),
            "finality_p99_ms": millis_or_null(p99),
            "transactions_per_s": rounded(window.per_second()),
            "blocks": window.blocks,
        });
        let rate = window.per_second();
        let words = format!("p50 {}, p99 {}, {rate:.0}/s", span_or_never(p50), span_or_never(p99));
        let ok = p99.is_some_and(|p99| p99 <= FINALITY_MAX);
        self.act("transactions on a calm network", "finality p99 ≤ 2 s", since, Outcome { measured, words, ok });
        self.calm_tasks(start, end).await;
    }

    async fn calm_tasks(&mut self, start: Instant, end: Instant) {
        self.until(|| async { self.load.book().work.took(start, end).is_some() }).await;
        let took = self.load.book().work.took(start, end);
        let (p50, p99) = (percentile(took.as_deref(), 50), percentile(took.as_deref(), 99));
        let count = took.map_or(0, |took| took.len());
        let per_second = count as f64 / (end - start).as_secs_f64();
        let measured = json!({
            "done_p50_ms": millis_or_null(p50),
            "done_p99_ms": millis_or_null(p99),
            "tasks_per_s": rounded(per_second),
        });
        let words = format!("p50 {}, p99 {}, {per_second:.0}/s", span_or_never(p50), span_or_never(p99));
        let ok = p99.is_some_and(|p99| p99 <= TASK_MAX);
        self.act("  tasks, from submitted to done", "p99 ≤ 3 s", start, Outcome { measured, words, ok });
    }

    /// Waits until these validators hold tasks, so that what happens to them next concerns some. Gives their names.
    pub(super) async fn busy(&self, nodes: &[usize]) -> Vec<String> {
        let names: Vec<String> = nodes.iter().map(|node| format!("n{node}")).collect();
        self.load.book().burst(BURST);
        self.until(|| async { self.load.book().work.held_by(&names) > 0 }).await;
        names
    }

    /// What happened to the tasks that dead validators held.
    async fn hand_offs(&mut self, since: Instant) {
        self.until(|| async { self.load.book().work.hand_offs().is_some() }).await;
        let took = self.load.book().work.hand_offs();
        let (p50, max) = (percentile(took.as_deref(), 50), percentile(took.as_deref(), 100));
        let count = took.map_or(0, |took| took.len());
        let measured = json!({
            "tasks_moved": count,
            "hand_off_p50_ms": millis_or_null(p50),
            "hand_off_max_ms": millis_or_null(max),
        });
        let words = format!("{count} tasks, p50 {}, max {}", span_or_never(p50), span_or_never(max));
        let ok = max.is_some_and(|max| max <= HAND_OFF_MAX);
        self.act("  their tasks → leased to others", "all, ≤ 4 s", since, Outcome { measured, words, ok });
    }

    async fn crash(&mut self) -> Result<(), Failure> {
        let victims = victims(self.clients.len());
        let names = self.busy(&victims).await;
        let since = Instant::now();
        self.holder.lock().await.crash(&victims, None)?;
        {
            let mut book = self.load.book();
            book.died(&victims);
            book.work.died(&names, since);
        }
        sleep(CRASHED).await;
        let end = Instant::now();
        self.wait_for_older_than(end).await;
        let (whole, settled) = {
            let book = self.load.book();
            (book.window(since, end), book.window(since + SKIPPING, end))
        };
        let p99 = settled.percentile(99);
        let measured = json!({
            "blocks": whole.blocks,
            "longest_gap_ms": millis(whole.longest_gap),
            "finality_p99_ms": millis_or_null(whole.percentile(99)),
            "finality_p99_settled_ms": millis_or_null(p99),
        });
        let first = whole.percentile(99);
        let words = format!(
            "{} blocks, p99 {} (first {} s included: {})",
            whole.blocks,
            span_or_never(p99),
            SKIPPING.as_secs(),
            span_or_never(first)
        );
        let ok = settled.blocks > 0 && p99.is_some_and(|p99| p99 <= CRASHED_FINALITY_MAX);
        let name = format!("crash {} (= f)", self.names(&victims));
        self.act(&name, "finality goes on, p99 ≤ 1.5 s", since, Outcome { measured, words, ok });
        self.found_out(&names, since).await;
        self.hand_offs(since).await;
        Ok(())
    }

    async fn restart(&mut self) -> Result<(), Failure> {
        let victims = victims(self.clients.len());
        let since = Instant::now();
        self.holder.lock().await.restart(&victims).await?;
        let took = self.until_at_tip(&victims, since).await;
        self.load.book().returned(&victims);
        let measured = json!({"at_the_tip_ms": millis_or_null(took)});
        let outcome =
            Outcome { measured, words: span_or_never(took), ok: took.is_some_and(|took| took <= CATCH_UP_MAX) };
        self.act("  restart → at the tip, voting", "≤ 5 s", since, outcome);
        Ok(())
    }

    async fn split_with_quorum(&mut self) -> Result<(), Failure> {
        let small = victims(self.clients.len());
        let large: Vec<usize> = self.everyone().into_iter().filter(|node| !small.contains(node)).collect();
        self.busy(&small).await;
        let since = Instant::now();
        self.cut(&large, &small).await?;
        sleep(IN_FLIGHT).await;
        let (start, before) = (Instant::now(), self.highest(&small).await);
        sleep(SPLIT).await;
        let window = self.load.book().window(start, Instant::now());
        let after = self.highest(&small).await;
        let in_small = after.zip(before).map(|(after, before)| after - before);
        let measured = json!({
            "blocks_of_the_large_side": window.blocks,
            "blocks_of_the_small_side": in_small,
            "longest_gap_ms": millis(window.longest_gap),
        });
        let words =
            format!("{} blocks / {}", window.blocks, in_small.map_or("unknown".into(), |blocks| blocks.to_string()));
        let ok = window.blocks > 0 && in_small == Some(0);
        let name = format!("split {} | {}", sides(&large), sides(&small));
        self.act(&name, "first finalizes / second pauses", since, Outcome { measured, words, ok });
        self.say_why(large[0]).await;
        self.say_why(small[0]).await;
        Ok(())
    }

    async fn heal_after_split(&mut self) -> Result<(), Failure> {
        let small = victims(self.clients.len());
        let behind_from = self.highest(&small).await.unwrap_or(0);
        let since = Instant::now();
        self.holder.lock().await.heal(None).await?;
        let took = self.until_at_tip(&small, since).await;
        self.load.book().spread();
        let blocks = self.load.book().height().saturating_sub(behind_from);
        let measured = json!({"caught_up_ms": millis_or_null(took), "blocks": blocks});
        let words = format!("{}, {blocks} blocks", span_or_never(took));
        let ok = took.is_some_and(|took| took <= CATCH_UP_MAX);
        self.act("  heal → caught up", "≤ 5 s", since, Outcome { measured, words, ok });
        Ok(())
    }

    async fn split_without_quorum(&mut self) -> Result<(), Failure> {
        let (a, b) = halting_split(self.clients.len());
        let everyone = self.everyone();
        let since = Instant::now();
        self.cut(&a, &b).await?;
        sleep(IN_FLIGHT).await;
        let before = self.highest(&everyone).await;
        sleep(SPLIT).await;
        let (halted, sentence) = self.halted().await;
        let after = self.highest(&everyone).await;
        let blocks = after.zip(before).map(|(after, before)| after - before);
        let measured = json!({"blocks": blocks, "halted_on": halted, "why": sentence});
        let words = match blocks {
            Some(0) => format!("halted on {halted}/{}, 0 blocks", everyone.len()),
            Some(blocks) => format!("{blocks} blocks, halted on {halted}"),
            None => "no answer".into(),
        };
        let ok = blocks == Some(0) && halted == everyone.len() && sentence.is_some();
        let name = format!("split {} | {}", sides(&a), sides(&b));
        let expected = format!("nobody has {}: HALT, safe", quorum(everyone.len()));
        self.act(&name, &expected, since, Outcome { measured, words, ok });
        if let Some(sentence) = sentence {
            self.say(&format!("why: {sentence}"));
        }
        Ok(())
    }

    async fn heal_after_halt(&mut self) -> Result<(), Failure> {
        let everyone = self.everyone();
        let before = self.highest(&everyone).await.unwrap_or(u64::MAX);
        let since = Instant::now();
        self.holder.lock().await.heal(None).await?;
        let took = self.until_height(before.saturating_add(1), since).await;
        let measured = json!({"first_block_ms": millis_or_null(took)});
        let ok = took.is_some_and(|took| took <= HEALED_BLOCK_MAX);
        self.act("  heal → first block", "≤ 2 s", since, Outcome { measured, words: span_or_never(took), ok });
        self.until_at_tip(&everyone, since).await;
        self.load.book().spread();
        Ok(())
    }

    async fn kill_everyone(&mut self) -> Result<(), Failure> {
        let everyone = self.everyone();
        let since = Instant::now();
        let (told, killed_ms) = {
            let mut holder = self.holder.lock().await;
            holder.crash(&everyone, None)?;
            let killed_ms = now_ms();
            let mut book = self.load.book();
            book.died(&everyone);
            (book.height(), killed_ms)
        };
        self.holder.lock().await.restart(&everyone).await?;
        self.load.book().returned(&everyone);
        let took = self.until_block_after(killed_ms, since).await;
        let kept = self.kept(told).await;
        let measured = json!({"first_block_ms": millis_or_null(took), "final_before": told, "final_kept": kept});
        let verdict = if kept { "kept" } else { "LOST" };
        let words = format!("{}, {told} final blocks {verdict}", span_or_never(took));
        let ok = kept && took.is_some_and(|took| took <= RESTARTED_BLOCK_MAX);
        self.act(
            "kill -9 of all, restart → new block",
            "≤ 10 s, nothing final lost",
            since,
            Outcome { measured, words, ok },
        );
        Ok(())
    }

    async fn audit(&mut self) -> (audit::Findings, Balance) {
        let since = Instant::now();
        self.load.book().is_open = false;
        self.wait_for_older_than(since).await;
        let open = self.load.book().on_the_way();
        let submitted = self.load.book().submitted;
        let measured = json!({"submitted": submitted, "still_open": open});
        let words = format!("{} of {submitted}", submitted - open as u64);
        self.act("load ends → transactions final", "all", since, Outcome { measured, words, ok: open == 0 });

        let since = Instant::now();
        let tasks = self.tasks_when_finished().await;
        let (told, seen) = {
            let book = self.load.book();
            (book.told_final().clone(), book.blocks().to_vec())
        };
        let height = seen.len() as u64;
        let everyone = self.everyone();
        let reached =
            self.until(|| async { self.lowest(&everyone).await.is_some_and(|lowest| lowest >= height) }).await;
        let chains = audit::walk_all(&self.clients, height).await.ok().filter(|_| reached);
        let findings = chains.as_ref().map(|chains| audit::compare(chains, &told, &seen));
        let completions: Vec<_> = chains.into_iter().flatten().map(|chain| chain.completions).collect();
        let same_root = audit::same_root(&self.clients, Instant::now() + PATIENCE).await;
        let conserved = self.conserved().await;
        let ok = findings == Some(audit::Findings::default()) && same_root == Some(true) && conserved;
        // What could not be checked on every validator is not known to be there.
        let unknown = audit::Findings { lost: told.len(), duplicated: 0, forks: 0 };
        let findings = findings.unwrap_or(unknown);
        let measured = json!({
            "final": told.len(),
            "blocks": height,
            "lost": findings.lost,
            "duplicated": findings.duplicated,
            "forks": findings.forks,
            "same_root": same_root,
            "sum_kept": conserved,
        });
        let root = match same_root {
            Some(true) => "same root",
            Some(false) => "ROOTS DIFFER",
            None => "roots not compared",
        };
        let words = format!(
            "{} final: {} lost, {} twice, {} forks, {root}",
            told.len(),
            findings.lost,
            findings.duplicated,
            findings.forks
        );
        let name = format!("every block read on all {}", everyone.len());
        self.act(&name, "each exactly once, same root", since, Outcome { measured, words, ok });
        let balance = self.load.book().work.balance(&tasks, &completions);
        self.judge_tasks(&balance, since, completions.len() == self.clients.len());
        (findings, balance)
    }

    /// The tasks of every validator, once none is open any more; what there is if that takes too long.
    async fn tasks_when_finished(&self) -> Vec<Vec<TaskView>> {
        let is_over = || async {
            let mut open = 0;
            for client in &self.clients {
                let Ok(status) = client.status().await else { return false };
                open += status.tasks.pending + status.tasks.leased;
            }
            open == 0
        };
        self.until(is_over).await;
        audit::tasks(&self.clients).await.unwrap_or_default()
    }

    fn judge_tasks(&mut self, balance: &Balance, since: Instant, is_read: bool) {
        let (moved, stale) = {
            let book = self.load.book();
            (book.work.moved(), book.work.stale())
        };
        let measured = json!({
            "submitted": balance.submitted,
            "done": balance.done,
            "failed": balance.failed,
            "lost": balance.lost,
            "doubled": balance.doubled,
            "wrong": balance.wrong,
            "moved": moved,
            "stale_commits_rejected": stale,
        });
        let words = format!(
            "{} of {} done: {} failed, {} lost, {} twice, {} wrong; {moved} moved, {} rejected",
            balance.done,
            balance.submitted,
            balance.failed,
            balance.lost,
            balance.doubled,
            balance.wrong,
            counted(stale, "stale commit")
        );
        let ok = is_read && balance.is_good();
        self.act("tasks read on all of them", "each done exactly once", since, Outcome { measured, words, ok });
    }

    /// Whether all accounts together own on every validator what they owned at the start.
    async fn conserved(&self) -> bool {
        let accounts: Vec<String> = {
            let book = self.load.book();
            (0..book.accounts()).map(|account| book.account_id(account)).collect()
        };
        let expected = FUNDS * accounts.len() as u64;
        let sums = audit::sums(&self.clients, &accounts).await;
        sums.is_ok_and(|sums| sums.iter().all(|sum| *sum == expected))
    }

    async fn cut(&self, a: &[usize], b: &[usize]) -> Result<(), Failure> {
        /// Ends by itself even if this process hangs; the acts are shorter.
        const TTL: Duration = Duration::from_secs(60);
        self.holder.lock().await.partition(&[a.to_vec(), b.to_vec()], false, TTL).await?;
        Ok(())
    }

    /// Heights of these validators, of those that answer.
    async fn heights(&self, nodes: &[usize]) -> Vec<u64> {
        let mut asking = JoinSet::new();
        for &node in nodes {
            let client = self.clients[node].clone();
            asking.spawn(async move { client.status().await.ok().map(|status| status.height) });
        }
        asking.join_all().await.into_iter().flatten().collect()
    }

    async fn highest(&self, nodes: &[usize]) -> Option<u64> {
        self.heights(nodes).await.into_iter().max()
    }

    /// Nothing unless all of them answer.
    async fn lowest(&self, nodes: &[usize]) -> Option<u64> {
        let heights = self.heights(nodes).await;
        if heights.len() == nodes.len() { heights.into_iter().min() } else { None }
    }

    /// On how many validators finality is halted, and the sentence of the first.
    async fn halted(&self) -> (usize, Option<String>) {
        let (mut halted, mut sentence) = (0, None);
        for client in &self.clients {
            let Ok(why) = client.why().await else { continue };
            if why.finality == Finality::Halted {
                halted += 1;
                sentence.get_or_insert(why.sentence);
            }
        }
        (halted, sentence)
    }

    /// How long until these vote and are no further behind the best known block than one block takes to travel.
    pub(super) async fn until_at_tip(&self, nodes: &[usize], since: Instant) -> Option<Duration> {
        const TRAVEL: u64 = 1;
        let at_tip = || async {
            let tip = self.load.book().height();
            for &node in nodes {
                match self.clients[node].status().await {
                    Ok(status) if status.height + TRAVEL >= tip && status.duty == Duty::Voting => {}
                    Ok(_) | Err(_) => return false,
                }
            }
            true
        };
        self.until(at_tip).await.then(|| since.elapsed())
    }

    async fn until_height(&self, height: u64, since: Instant) -> Option<Duration> {
        let reached = || async { self.load.book().height() >= height };
        self.until(reached).await.then(|| since.elapsed())
    }

    /// How long until a block is final that was made after a moment: nothing that was under way before counts.
    async fn until_block_after(&self, moment_ms: u64, since: Instant) -> Option<Duration> {
        let made = || async {
            for client in &self.clients {
                if client.block("latest").await.is_ok_and(|block| block.timestamp_ms > moment_ms) {
                    return true;
                }
            }
            false
        };
        self.until(made).await.then(|| since.elapsed())
    }

    /// Whether the newest of `told` final blocks is there and the same on every validator, as soon as all have it.
    async fn kept(&self, told: u64) -> bool {
        let Some(index) = told.checked_sub(1).and_then(|index| usize::try_from(index).ok()) else { return true };
        let digest = self.load.book().blocks()[index].digest.clone();
        let same = || async {
            for client in &self.clients {
                let Ok(block) = client.block(&told.to_string()).await else { return false };
                if block.digest != digest {
                    return false;
                }
            }
            true
        };
        self.until(same).await
    }

    /// Waits until everything that was made before `end` is final, or patience ends.
    async fn wait_for_older_than(&self, end: Instant) {
        self.until(|| async { !self.load.book().is_waiting_for_older_than(end) }).await;
    }

    /// Looks at a condition until it holds; whether it did in time.
    pub(super) async fn until(&self, holds: impl AsyncFn() -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while !holds().await {
            if Instant::now() > deadline {
                return false;
            }
            sleep(LOOK).await;
        }
        true
    }
}

/// So many of a hundred took no longer; `took` is sorted. Nothing when there are none.
fn percentile(took: Option<&[Duration]>, percent: usize) -> Option<Duration> {
    let took = took?;
    took.get((took.len() * percent).div_ceil(100).checked_sub(1)?).copied()
}

/// `{0 1 2 3}`.
fn sides(nodes: &[usize]) -> String {
    format!("{{{}}}", nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
}

fn rounded(figure: f64) -> f64 {
    (figure * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_fit_the_size() {
        for (n, victim_count, large, small) in [(4, 1, 2, 2), (6, 1, 4, 2), (7, 2, 4, 3), (10, 3, 6, 4), (25, 8, 16, 9)]
        {
            let (a, b) = halting_split(n);
            assert_eq!((victims(n).len(), a.len(), b.len()), (victim_count, large, small), "{n}");
            assert!(n - victims(n).len() >= quorum(n), "the survivors decide");
            assert!(a.len() < quorum(n) && b.len() < quorum(n), "nobody decides");
            assert_eq!(a.iter().chain(&b).copied().collect::<Vec<_>>(), (0..n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_side_is_written_in_braces() {
        assert_eq!(sides(&[4, 5, 6]), "{4 5 6}");
    }
}
