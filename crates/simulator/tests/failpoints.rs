//! A validator fails at each of its operations in turn: each change of its storage and each message that it sends, before
//! it takes effect and after, and nobody in the process hears of it.

use simulator::{Scenario, run};
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// More than five blocks, so that each validator of four proposes one.
const FIVE_BLOCKS: u64 = 144;

/// What `n1` fails at, in which run.
#[derive(Clone, Copy)]
struct Failpoints {
    seed: u64,
    /// In seconds.
    duration: u64,
    /// The fault, up to whom it befalls.
    fault: &'static str,
    /// Operations, counted from the fault.
    numbers: u64,
    /// Of so many one is played.
    stride: u64,
    /// Whether the process has to end by itself, whichever operation it was.
    always_ends: bool,
}

/// In the middle of things.
const RUNNING: Failpoints = Failpoints {
    seed: 1,
    duration: 4,
    fault: "[[fault]]\nat = \"2s\"\nkind = \"crash_at\"\n",
    numbers: FIVE_BLOCKS,
    stride: 1,
    always_ends: false,
};

impl Failpoints {
    /// Plays all of them and gives how often each operation was the one.
    fn walk(self) -> BTreeMap<String, u64> {
        let numbers = (1..=self.numbers).step_by(usize::try_from(self.stride).expect("a small number"));
        let points: Vec<(u64, bool)> = numbers.flat_map(|number| [(number, false), (number, true)]).collect();
        let (next, seen) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(|| {
                    while let Some((number, after)) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let at = self.play(*number, *after);
                        *seen.lock().unwrap_or_else(PoisonError::into_inner).entry(at).or_insert(0) += 1;
                    }
                });
            }
        });
        let seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        println!("{} failpoints at {} operations:", points.len(), seen.len());
        seen.iter().for_each(|(at, count)| println!("{count:5} {at}"));
        seen
    }

    /// Plays one and says what it was at.
    fn play(self, number: u64, after: bool) -> String {
        let Self { seed, duration, fault, .. } = self;
        let text = format!(
            "name = \"failpoint\"\nabout = \"n1 fails at operation {number}\"\nnodes = 4\nduration = \"{duration}s\"\n\
             expect = [\"agreement\", \"certificates\", \"durability\", \"conservation\", \"no_conflicting_votes\",\n\
             \"no_bans\", \"progress_after_heal\", \"votes_again\", \"tasks\", \"tasks_finish\", \"verdicts\"]\n\
             [load]\ntransfers_per_second = 5\ntasks_per_second = 2\naccounts = 2\n\
             {fault}nodes = [\"n1\"]\noperation = {number}\nafter = {after}\nfor = \"1s\"\n"
        );
        let report = run(&Scenario::parse(&text).expect("a scenario"), seed);
        let point = format!("seed {seed}, operation {number}, after {after}");
        assert!(report.ok, "{point}: {:#?}\n{:#?}", report.violations, report.steps);
        assert!(report.finalized > 10 && report.tasks.done > 0, "{point} did next to nothing: {report:#?}");
        let fails = report.steps.iter().filter_map(|step| step.split_once(" fails "));
        let at: Vec<&str> = fails
            .filter_map(|(_, how)| how.split_once(" after ").or(how.split_once(" before ")))
            .map(|it| it.1)
            .collect();
        assert_eq!(at.len(), 1, "{point}: {:#?}", report.steps);
        let has_ended = report.steps.iter().any(|step| step.contains("has ended by itself"));
        assert!(has_ended || !self.always_ends, "{point} at {}: it goes on: {:#?}", at[0], report.steps);
        at[0].to_owned()
    }
}

/// Walks the failpoints; these operations must be among them.
fn check(failpoints: Failpoints, needed: &[&str]) {
    let seen = failpoints.walk();
    for operation in needed {
        assert!(seen.contains_key(*operation), "{operation} is not in {seen:#?}");
    }
}

#[test]
fn a_crash_at_any_operation_of_five_blocks_loses_nothing_and_contradicts_nothing() {
    check(
        RUNNING,
        &[
            "write of n1-0-guard-a",
            "write of n1-0-guard-b",
            "sync of n1-0-votes-0",
            "sync of n1-0-blocks",
            "sync of n1-0-certificates",
            "write of n1-0-marshal-application-metadata",
            "message on channel 0",
            "message on channel 1",
            "message on channel 3",
        ],
    );
}

#[test]
fn a_crash_at_any_operation_of_a_start_loses_nothing_and_contradicts_nothing() {
    let fault = "[[fault]]\nat = \"2s\"\nkind = \"crash\"\nnodes = [\"n1\"]\nfor = \"500ms\"\n\
        [[fault]]\nat = \"2200ms\"\nkind = \"crash_at\"\n";
    check(
        Failpoints { fault, numbers: 96, ..RUNNING },
        &[
            "open of n1-0-guard-a",
            "open of n1-0-journals",
            "open of n1-0-votes-0",
            "open of n1-0-blocks",
            "message on channel 7",
        ],
    );
}

/// One is written every other block.
#[test]
fn a_crash_at_any_operation_around_a_checkpoint_loses_nothing_and_contradicts_nothing() {
    let fault = "[store]\ncheckpoint_interval = 2\n[[fault]]\nat = \"2s\"\nkind = \"crash_at\"\n";
    check(
        Failpoints { fault, numbers: 80, ..RUNNING },
        &["open of n1-0-checkpoints", "write of n1-0-checkpoints", "sync of n1-0-checkpoints"],
    );
}

#[test]
fn a_stall_at_any_operation_contradicts_nothing_when_it_is_over() {
    let fault = "[[fault]]\nat = \"2s\"\nkind = \"stall_at\"\n";
    check(Failpoints { fault, stride: 5, duration: 5, ..RUNNING }, &["write of n1-0-guard-a", "message on channel 0"]);
}

/// About five minutes: `cargo test --release -p simulator --test failpoints -- --ignored --nocapture`.
#[test]
#[ignore = "takes minutes; run it before a release"]
fn a_crash_at_any_operation_of_many_seeds_loses_nothing_and_contradicts_nothing() {
    for seed in 2..8 {
        check(Failpoints { seed, ..RUNNING }, &["message on channel 3"]);
    }
}

#[test]
fn a_disk_that_fails_at_any_change_and_from_then_on_ends_the_validator_which_comes_back() {
    let fault = "[[fault]]\nat = \"2s\"\nkind = \"fail_disk_at\"\n";
    check(
        Failpoints { fault, numbers: 60, stride: 2, always_ends: true, ..RUNNING },
        &["write of n1-0-guard-a", "write of n1-0-guard-b", "sync of n1-0-votes-0", "write of n1-0-blocks"],
    );
}

#[test]
fn a_change_of_the_disk_that_fails_once_is_never_taken_for_done() {
    let fault = "[[fault]]\nat = \"2s\"\nkind = \"fail_disk_at\"\nonce = true\n";
    check(
        Failpoints { fault, numbers: 60, stride: 2, always_ends: true, ..RUNNING },
        &["write of n1-0-guard-a", "write of n1-0-guard-b", "sync of n1-0-votes-0", "sync of n1-0-blocks"],
    );
}

#[test]
fn a_disk_that_fails_while_a_validator_starts_ends_it_and_the_next_start_is_whole() {
    let fault = "[[fault]]\nat = \"2s\"\nkind = \"crash\"\nnodes = [\"n1\"]\nfor = \"500ms\"\n\
        [[fault]]\nat = \"2200ms\"\nkind = \"fail_disk_at\"\n";
    check(
        Failpoints { fault, numbers: 60, stride: 2, always_ends: true, ..RUNNING },
        &["open of n1-0-journals", "open of n1-0-votes-0"],
    );
}
