//! What came of it?

use std::time::Duration;

use api::TaskState;
use serde::Serialize;

use super::delivery::{Delivery, Outcome};
use crate::{
    failure::Exit,
    output::{counted, harmless},
};

/// More misfortunes than anybody reads at once; the document has all.
const UNDONE_SHOWN_MAX: usize = 20;

/// What `tasks submit` ends with.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    schema: &'static str,
    account: String,
    /// In the file.
    tasks: usize,
    /// Of those, the ones that were put on the chain now.
    submitted: usize,
    /// Of those, the ones that were on the chain before.
    skipped: usize,
    done: usize,
    failed: usize,
    cancelled: usize,
    /// On the chain, and not finished when the command ended.
    open: usize,
    /// From handing in to seeing it finished, of those that were submitted and seen finished.
    p50_ms: Option<u64>,
    p99_ms: Option<u64>,
    took_ms: u64,
    /// Those that are finished and not done, in the order of the file.
    undone: Vec<Undone>,
    /// Whether all were to be finished.
    #[serde(skip)]
    wait: bool,
}

#[derive(Debug, Serialize)]
struct Undone {
    line: usize,
    id: String,
    state: TaskState,
    reason: Option<String>,
}

impl Summary {
    pub(crate) fn of(delivery: &Delivery<'_>, account: &str, wait: bool) -> Self {
        let mut summary = Self {
            schema: "unsplit.tasks.submitted/1",
            account: account.to_owned(),
            took_ms: millis(delivery.took()),
            wait,
            ..Self::default()
        };
        let mut took: Vec<Duration> = Vec::new();
        for outcome in delivery.outcomes() {
            summary.count(&outcome);
            took.extend(outcome.took.filter(|_| !outcome.is_old));
        }
        took.sort_unstable();
        (summary.p50_ms, summary.p99_ms) = (quantile(&took, 50), quantile(&took, 99));
        summary
    }

    fn count(&mut self, outcome: &Outcome<'_>) {
        self.tasks += 1;
        let Some(state) = outcome.state else { return };
        *if outcome.is_old { &mut self.skipped } else { &mut self.submitted } += 1;
        match state {
            TaskState::Pending | TaskState::Leased => self.open += 1,
            TaskState::Done => self.done += 1,
            TaskState::Failed => self.failed += 1,
            TaskState::Cancelled => self.cancelled += 1,
        }
        if matches!(state, TaskState::Failed | TaskState::Cancelled) {
            let (line, id) = (outcome.order.line, outcome.order.id.to_string());
            self.undone.push(Undone { line, id, state, reason: outcome.reason.map(str::to_owned) });
        }
    }

    /// Whoever waited wants to know whether all are done.
    pub(crate) fn verdict(&self) -> Exit {
        if self.wait && self.done < self.tasks { Exit::Missed } else { Exit::Ok }
    }

    pub(crate) fn human(&self) -> String {
        let there = match self.skipped {
            0 => String::new(),
            1 => ", 1 was there already".to_owned(),
            skipped => format!(", {skipped} were there already"),
        };
        let tasks = counted(self.tasks, "task");
        if !self.wait {
            return format!("{tasks} on the chain: {} submitted{there}\nfollow: unsplit tasks list", self.submitted);
        }
        let mut lines = vec![format!("{tasks}: {}", self.ends())];
        lines.push(format!("{} submitted{there} · {}", self.submitted, self.times()));
        lines.extend(self.undone.iter().take(UNDONE_SHOWN_MAX).map(Undone::line));
        if self.undone.len() > UNDONE_SHOWN_MAX {
            lines.push(format!(
                "  and {} more: unsplit tasks list --state failed",
                self.undone.len() - UNDONE_SHOWN_MAX
            ));
        }
        lines.join("\n")
    }

    fn ends(&self) -> String {
        let ends = [(self.failed, "failed"), (self.cancelled, "cancelled"), (self.open, "not finished")];
        let ends = ends.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!(", {count} {word}"));
        format!("{} done{}", self.done, ends.collect::<String>())
    }

    fn times(&self) -> String {
        match (self.p50_ms, self.p99_ms) {
            (Some(p50), Some(p99)) => {
                format!("from submission to end p50 {}, p99 {} · {} in all", time(p50), time(p99), time(self.took_ms))
            }
            _ => format!("{} in all", time(self.took_ms)),
        }
    }
}

impl Undone {
    fn line(&self) -> String {
        let word = match self.state {
            TaskState::Failed => "failed",
            TaskState::Pending | TaskState::Leased | TaskState::Done | TaskState::Cancelled => "cancelled",
        };
        let reason = self.reason.as_deref().map(|reason| format!(": {}", harmless(reason))).unwrap_or_default();
        format!("  {} {word}{reason}", self.id)
    }
}

/// The smallest that so many of a hundred do not exceed.
fn quantile(sorted: &[Duration], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().map(millis)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// `850 ms`, `2.4 s`, `75 s`.
fn time(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..10_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => format!("{} s", ms / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_that_was_measured() {
        let sorted: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!((quantile(&sorted, 50), quantile(&sorted, 99)), (Some(100), Some(198)));
        assert_eq!((quantile(&sorted[..1], 50), quantile(&sorted[..1], 99)), (Some(1), Some(1)));
        assert_eq!(quantile(&[], 50), None);
    }

    #[test]
    fn all_done_is_success_and_anything_else_is_told() {
        let good = Summary { tasks: 2, submitted: 1, skipped: 1, done: 2, wait: true, ..Summary::default() };
        assert_eq!(good.verdict(), Exit::Ok);
        assert_eq!(good.human(), "2 tasks: 2 done\n1 submitted, 1 was there already · 0 ms in all");
        let reason = Some("program \"x\" ended with exit code 7".to_owned());
        let undone = vec![Undone { line: 3, id: "a".into(), state: TaskState::Failed, reason }];
        let bad = Summary { done: 1, failed: 1, undone, p50_ms: Some(900), p99_ms: Some(2_450), ..good };
        assert_eq!(bad.verdict(), Exit::Missed);
        let human = bad.human();
        assert!(human.starts_with("2 tasks: 1 done, 1 failed\n"), "{human}");
        assert!(human.contains("p50 900 ms, p99 2.4 s"), "{human}");
        assert!(human.ends_with("  a failed: program \"x\" ended with exit code 7"), "{human}");
        let unwaited = Summary { tasks: 1, submitted: 1, open: 1, ..Summary::default() };
        assert_eq!((unwaited.verdict(), unwaited.human().lines().count()), (Exit::Ok, 2));
    }
}
