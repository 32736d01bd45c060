//! What became of the demo's tasks, as validators tell it and as their chains show it.
//!
//! While the storm lasts, events say who has which task; every validator tells the same, so it matters little who is
//! heard. At the end, the tasks are read from every validator: what counts is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use api::{EventKind, TaskState, TaskView};
use ledger::{Height, Policy, Submission, TaskId, Timestamp};

use crate::tasks::workload::{Order, example};

/// Short, so that the tasks of validators that die move on while somebody watches.
const LEASE_MS: u32 = 3_000;

/// Nothing that the storm does may use them up.
const RETRIES: u8 = 15;

/// Longer than any demo.
const DEADLINE_MS: u64 = 3_600_000;

/// Blocks that a submission may wait; a chain takes none that waits longer than it remembers tasks.
const EXPIRES_AFTER: u64 = 5_000;

/// The tasks of the repository's example, made over and over.
#[derive(Debug)]
pub(crate) struct Workload {
    orders: Vec<Order>,
    made: usize,
}

impl Workload {
    pub(crate) fn new() -> Self {
        Self { orders: example(), made: 0 }
    }

    /// The next task, and which line of the example it is.
    pub(crate) fn next(&mut self, id: &str, now_ms: u64) -> (usize, Submission) {
        let line = self.made % self.orders.len();
        self.made += 1;
        let id: TaskId = id.parse().expect("the demo's ids are short and plain");
        let deadline = Timestamp(now_ms).after(DEADLINE_MS);
        let submission = self.orders[line].submission(deadline);
        (line, Submission { id, lease_ms: LEASE_MS, retries: RETRIES, ..submission })
    }

    /// A task that takes a second, whatever the machine: one that is still under way when something happens to its
    /// validator. It counts as a line of its own.
    pub(crate) fn nap(&self, id: &str, now_ms: u64) -> (usize, Submission) {
        let submission = Submission {
            id: id.parse().expect("the demo's ids are short and plain"),
            executor: "command".parse().expect("an executor"),
            payload: br#"{"program":"nap"}"#.to_vec(),
            units: 1,
            lease_ms: LEASE_MS,
            retries: RETRIES,
            deadline: Timestamp(now_ms).after(DEADLINE_MS),
            policy: Policy::Replace,
            region: None,
        };
        (self.orders.len(), submission)
    }

    /// Until when a submission that is made at `height` may wait.
    pub(crate) const fn expires(height: u64) -> Height {
        Height(height + EXPIRES_AFTER)
    }
}

/// What is known of the tasks.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// By id: which line of the example, and when it was made.
    made: BTreeMap<String, (usize, Instant)>,
    /// By number.
    known: BTreeMap<u64, Known>,
    /// Tasks of validators that died: number, token, when.
    orphans: Vec<(u64, u64, Instant)>,
    /// Completions that were dropped for being too late: number and token.
    stale: BTreeSet<(u64, u64)>,
}

#[derive(Debug, Default)]
struct Known {
    id: String,
    /// Token, holder, and when it was heard of.
    leases: Vec<(u64, String, Instant)>,
    finished: Option<Instant>,
}

/// What came out in the end.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Balance {
    pub(crate) submitted: usize,
    pub(crate) done: usize,
    /// Failed, with a reason.
    pub(crate) failed: usize,
    /// Submitted for good, and neither done nor failed on some validator.
    pub(crate) lost: usize,
    /// Completed more than once on some chain.
    pub(crate) doubled: usize,
    /// Of which the result is not that of all tasks of the same line, or not the true one where it is known.
    pub(crate) wrong: usize,
}

impl Balance {
    pub(crate) fn is_good(&self) -> bool {
        let harm = self.failed + self.lost + self.doubled + self.wrong;
        harm == 0 && self.done == self.submitted && self.submitted > 0
    }
}

impl Work {
    pub(crate) fn made(&mut self, id: &str, line: usize, now: Instant) {
        self.made.insert(id.to_owned(), (line, now));
    }

    /// A validator tells that something happened.
    pub(crate) fn heard(&mut self, event: &EventKind, now: Instant) {
        match event {
            EventKind::TaskChanged { number, id, state, holder, token, .. } => {
                let known = self.known.entry(*number).or_insert_with(|| Known { id: id.clone(), ..Known::default() });
                if let (TaskState::Leased, Some(holder), Some(token)) = (state, holder, token)
                    && known.leases.iter().all(|(other, ..)| other != token)
                {
                    known.leases.push((*token, holder.clone(), now));
                }
                if *state == TaskState::Done {
                    known.finished.get_or_insert(now);
                }
            }
            EventKind::CommitRejected { number, token, .. } => drop(self.stale.insert((*number, *token))),
            EventKind::Finalized { .. }
            | EventKind::FinalityChanged { .. }
            | EventKind::StateChanged { .. }
            | EventKind::SlackChanged { .. }
            | EventKind::NodeHeard { .. }
            | EventKind::NodeSilent { .. }
            | EventKind::NodeAiling { .. }
            | EventKind::RecoveryWanted { .. }
            | EventKind::PartitionChanged { .. }
            | EventKind::StoreDamaged { .. }
            | EventKind::StoreRepaired { .. }
            | EventKind::StoreOutOfReach { .. }
            | EventKind::SyncChanged { .. }
            | EventKind::SnapshotTaken { .. }
            | EventKind::StandingChanged { .. }
            | EventKind::SetDecided { .. }
            | EventKind::EpochBegan { .. }
            | EventKind::JoinRequested { .. }
            | EventKind::Learner { .. }
            | EventKind::CaughtUp { .. }
            | EventKind::JoinEnded { .. }
            | EventKind::ScalingChanged { .. }
            | EventKind::DutyChanged { .. }
            | EventKind::PeerBlocked { .. }
            | EventKind::FaultInjected { .. }
            | EventKind::FaultEnded { .. } => {}
        }
    }

    /// How many tasks these validators hold.
    pub(crate) fn held_by(&self, names: &[String]) -> usize {
        self.held(names).count()
    }

    fn held<'a>(&'a self, names: &'a [String]) -> impl Iterator<Item = (u64, u64)> + 'a {
        let open = self.known.iter().filter(|(_, known)| known.finished.is_none());
        open.filter_map(|(number, known)| {
            let (token, holder, _) = known.leases.iter().max_by_key(|(token, ..)| *token)?;
            names.contains(holder).then_some((*number, *token))
        })
    }

    /// These validators died with what they held.
    pub(crate) fn died(&mut self, names: &[String], now: Instant) {
        let orphans: Vec<_> = self.held(names).map(|(number, token)| (number, token, now)).collect();
        self.orphans.extend(orphans);
    }

    /// How long each task of the dead took to be leased to another; none while one still waits for that. What had been
    /// completed when its holder died needs nobody.
    pub(crate) fn hand_offs(&self) -> Option<Vec<Duration>> {
        let mut took = Vec::new();
        for (number, token, died) in &self.orphans {
            let known = self.known.get(number)?;
            match known.leases.iter().filter(|(later, ..)| later > token).map(|(.., at)| *at).min() {
                Some(at) => took.push(at.saturating_duration_since(*died)),
                None if known.finished.is_some() => {}
                None => return None,
            }
        }
        took.sort_unstable();
        Some(took)
    }

    /// How many tasks had more than one holder.
    pub(crate) fn moved(&self) -> usize {
        let holders = |known: &&Known| known.leases.iter().map(|(_, holder, _)| holder).collect::<BTreeSet<_>>().len();
        self.known.values().filter(|known| holders(known) > 1).count()
    }

    /// Completions that were dropped because their lease was over.
    pub(crate) fn stale(&self) -> usize {
        self.stale.len()
    }

    /// How long the tasks took that were made between two moments, shortest first; none while one is not done.
    pub(crate) fn took(&self, start: Instant, end: Instant) -> Option<Vec<Duration>> {
        let finished: BTreeMap<&str, Instant> =
            self.known.values().filter_map(|known| Some((known.id.as_str(), known.finished?))).collect();
        let within = self.made.iter().filter(|(_, (_, made))| *made >= start && *made < end);
        let mut took = within
            .map(|(id, (_, made))| Some(finished.get(id.as_str())?.saturating_duration_since(*made)))
            .collect::<Option<Vec<_>>>()?;
        took.sort_unstable();
        Some(took)
    }

    /// Compares what was asked for with what every validator has, and with how often its chain completes each number.
    pub(crate) fn balance(&self, tasks: &[Vec<TaskView>], completions: &[BTreeMap<u64, usize>]) -> Balance {
        let mut balance = Balance { submitted: self.made.len(), ..Balance::default() };
        let mut results: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        let tables: Vec<BTreeMap<&str, &TaskView>> =
            tasks.iter().map(|tasks| tasks.iter().map(|task| (task.id.as_str(), task)).collect()).collect();
        for (id, (line, _)) in &self.made {
            let views: Vec<Option<&&TaskView>> = tables.iter().map(|table| table.get(id.as_str())).collect();
            let all = |state| views.iter().all(|view| view.is_some_and(|view| view.state == state));
            match () {
                () if all(TaskState::Done) => balance.done += 1,
                () if all(TaskState::Failed) => balance.failed += 1,
                () => balance.lost += 1,
            }
            let sha256 = |view: &&TaskView| view.result.as_ref().map(|result| result.sha256.clone());
            results.entry(*line).or_default().extend(views.into_iter().flatten().filter_map(sha256));
        }
        let truth = truth();
        let is_wrong = |(line, results): &(&usize, &BTreeSet<String>)| {
            results.len() > 1 || truth.get(line).is_some_and(|truth| results.iter().any(|result| result != truth))
        };
        balance.wrong = results.iter().filter(is_wrong).count();
        let twice = |chain: &BTreeMap<u64, usize>| chain.values().filter(|count| **count > 1).count();
        balance.doubled = completions.iter().map(twice).max().unwrap_or(0);
        balance
    }
}

/// The hashes of the results that can be computed here: those of the matrix products.
fn truth() -> BTreeMap<usize, String> {
    let result = |order: &Order| {
        let submission = order.submission(Timestamp(0));
        if submission.executor.as_str() != "matmul" {
            return None;
        }
        let payload: serde_json::Value = serde_json::from_slice(&submission.payload).ok()?;
        let n = usize::try_from(payload["n"].as_u64()?).ok()?;
        Some(ledger::Hash::of(&executor::matmul::result(payload["seed"].as_u64()?, n)).to_string())
    };
    example().iter().enumerate().filter_map(|(line, order)| Some((line, result(order)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::TaskResult;

    fn changed(number: u64, state: TaskState, lease: Option<(&str, u64)>) -> EventKind {
        EventKind::TaskChanged {
            number,
            id: format!("t{number}"),
            account: String::new(),
            state,
            holder: lease.map(|(holder, _)| holder.to_owned()),
            token: lease.map(|(_, token)| token),
            attempts: 0,
            height: 1,
            reason: None,
        }
    }

    fn view(id: &str, state: TaskState, sha256: &str) -> TaskView {
        let result = (state == TaskState::Done).then(|| TaskResult { sha256: sha256.into(), ..TaskResult::default() });
        TaskView { id: id.into(), state, result, ..TaskView::default() }
    }

    #[test]
    fn a_hand_off_is_from_the_death_to_the_next_lease() {
        let (mut work, start) = (Work::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        for number in 1..=3 {
            work.heard(&changed(number, TaskState::Leased, Some(("n6", number))), at(0));
        }
        work.heard(&changed(3, TaskState::Done, Some(("n6", 3))), at(1));
        assert_eq!(work.held_by(&["n6".into()]), 2);
        work.died(&["n6".into()], at(100));
        work.heard(&changed(1, TaskState::Leased, Some(("n0", 9))), at(3_100));
        assert_eq!(work.hand_offs(), None, "the second still waits");
        work.heard(&changed(2, TaskState::Leased, Some(("n1", 10))), at(3_200));
        // Another validator tells the same a little later.
        work.heard(&changed(1, TaskState::Leased, Some(("n0", 9))), at(3_150));
        assert_eq!(work.hand_offs(), Some(vec![Duration::from_millis(3_000), Duration::from_millis(3_100)]));
        assert_eq!(work.moved(), 2);
    }

    #[test]
    fn a_task_took_from_when_it_was_made_until_it_was_first_said_to_be_done() {
        let (mut work, start) = (Work::default(), Instant::now());
        work.made("t1", 0, start);
        let end = start + Duration::from_secs(1);
        assert_eq!(work.took(start, end), None);
        for ms in [500, 600] {
            let at = start + Duration::from_millis(ms);
            work.heard(&changed(1, TaskState::Done, Some(("n0", 1))), at);
        }
        assert_eq!(work.took(start, end), Some(vec![Duration::from_millis(500)]));
    }

    #[test]
    fn a_balance_names_what_is_lost_doubled_and_wrong() {
        let mut work = Work::default();
        let truth = truth();
        let (line, sha256) = truth.first_key_value().expect("the example has a matrix product");
        for id in ["a", "b"] {
            work.made(id, *line, Instant::now());
        }
        let good = vec![view("a", TaskState::Done, sha256), view("b", TaskState::Done, sha256)];
        let once = BTreeMap::from([(1, 1), (2, 1)]);
        let balance = work.balance(&[good.clone(), good.clone()], &[once.clone(), once.clone()]);
        assert!(balance.is_good(), "{balance:?}");

        let missing = vec![view("a", TaskState::Done, sha256)];
        assert_eq!(work.balance(&[good.clone(), missing], std::slice::from_ref(&once)).lost, 1);
        let twice = BTreeMap::from([(1, 2), (2, 1)]);
        assert_eq!(work.balance(std::slice::from_ref(&good), &[once.clone(), twice]).doubled, 1);
        let wrong = vec![view("a", TaskState::Done, sha256), view("b", TaskState::Done, "00")];
        assert_eq!(work.balance(&[wrong], std::slice::from_ref(&once)).wrong, 1);
        let failed = vec![view("a", TaskState::Done, sha256), view("b", TaskState::Failed, "")];
        let balance = work.balance(&[failed], &[once]);
        assert_eq!((balance.done, balance.failed, balance.is_good()), (1, 1, false));
    }

    #[test]
    fn the_example_is_made_over_and_over_under_new_ids() {
        let mut workload = Workload::new();
        let lines = workload.orders.len();
        let (first, submission) = workload.next("demo-0-1", 5);
        assert_eq!((first, submission.id.as_str(), submission.lease_ms), (0, "demo-0-1", LEASE_MS));
        assert_eq!((1..lines).map(|i| workload.next(&format!("x{i}"), 5).0).last(), Some(lines - 1));
        assert_eq!(workload.next("again", 5).0, 0);
    }
}
