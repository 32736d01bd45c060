//! What came of it, for one seed and for many?

use crate::{
    Checker, Report, Scenario, TaskReport, Violation, chain,
    session::{End, Run},
    world::World,
};
use commonware_runtime::deterministic::{self, FaultConfig, PartialWriteMode, Runner, WriteConfig};
use commonware_utils::probability;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// What came of playing a scenario with many seeds.
#[derive(Clone, Debug, Serialize)]
pub struct SweepReport {
    /// `unsplit.sim-sweep/1`.
    pub schema: &'static str,
    /// The scenario's name.
    pub scenario: String,
    /// How many seeds.
    pub seeds: usize,
    /// Violations in all of them.
    pub violations: usize,
    /// Finalized blocks.
    pub blocks: u64,
    /// Simulated seconds.
    pub simulated_s: f64,
    /// Seconds that it took.
    pub wall_s: f64,
    /// Orders of clients that were reported final.
    pub finalized: u64,
    /// What became of the tasks.
    pub tasks: TaskReport,
    /// Starts of nodes after their first.
    pub restarts: u64,
    /// The longest that any seed needed for everyone to meet after the healing, in seconds.
    pub converged_s_max: f64,
    /// The longest that any seed needed for all tasks to be finished after the healing, in seconds.
    pub tasks_finished_s_max: f64,
    /// Seeds that did not go as the scenario says, in order.
    pub failures: Vec<Failure>,
}

/// A seed that did not go as the scenario says.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What must not happen, and did. Empty if the scenario must fail and did not.
    pub violations: Vec<Violation>,
    /// The command that plays it again.
    pub replay: String,
}

/// Plays `scenario` with `seed`.
pub fn run(scenario: &Scenario, seed: u64) -> Report {
    let began = now();
    let mut run = Run::new(World::new(scenario, seed));
    // Faults apply when the power fails: half of the bytes that were not synced survive, wherever they are.
    let faults = FaultConfig::default().write(WriteConfig {
        failure_rate: probability!(0.0),
        retention_rate: probability!(0.5),
        mode: PartialWriteMode::Subset,
    });
    let config = deterministic::Config::default()
        .with_seed(seed)
        .with_start_time(World::start_time())
        .with_storage_fault_config(faults);
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| play(config, &mut run))) {
        run.accuse(Checker::NoPanic, describe(panic.as_ref()));
    }
    report(&run, began.elapsed())
}

fn play(config: deterministic::Config, run: &mut Run) {
    let mut runner = Runner::new(config);
    loop {
        let (end, checkpoint) = runner.start_and_recover(|context| run.play(context));
        match end {
            End::Done => return,
            End::PowerLoss => runner = Runner::from(checkpoint),
        }
    }
}

fn report(run: &Run, wall: Duration) -> Report {
    let (book, load, scenario) = (run.book.lock(), run.load.lock(), &run.world.scenario);
    // The last two are never asked for and always hold.
    let asked = |violation: &&Violation| {
        scenario.expects(violation.checker)
            || scenario.must_fail.contains(&violation.checker)
            || matches!(violation.checker, Checker::StaysUp | Checker::NoPanic)
    };
    let violations: Vec<Violation> = book.violations().iter().filter(asked).cloned().collect();
    let caught = |checker: &Checker| violations.iter().any(|violation| violation.checker == *checker);
    let ok = match scenario.must_fail.as_slice() {
        [] => violations.is_empty(),
        must_fail => must_fail.iter().all(caught),
    };
    let digest = Sha256::new().chain_update(&run.audit).chain_update(chain::digest(&book)).finalize();
    Report {
        schema: "unsplit.sim-run/1",
        scenario: scenario.name.clone(),
        seed: run.world.seed,
        digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        violations,
        ok,
        blocks: book.height(),
        simulated_s: run.now.as_secs_f64(),
        wall_s: wall.as_secs_f64(),
        submitted: load.submitted,
        resubmitted: load.resubmitted,
        replaced: load.replaced,
        finalized: load.finalized.len() as u64,
        tasks: run.tasks,
        falls: run.falls.clone(),
        restarts: run.restarts(),
        resumed_s: run.resumed.map(|resumed| resumed.as_secs_f64()),
        converged_s: run.converged.map(|converged| converged.as_secs_f64()),
        tasks_finished_s: run.finished.map(|finished| finished.as_secs_f64()),
        named_s: run.cuts.longest.map(|took| took.as_secs_f64()),
        named: run.cuts.count,
        gap_s: Duration::from_millis(book.gap_ms()).as_secs_f64(),
        votes: run.ballots.lock().votes(),
        damage_found: book.damage().0,
        repaired: book.damage().1,
        steps: run.done.clone(),
    }
}

/// Plays `scenario` with each of `seeds`, on `jobs` threads. Each run stays on one thread, so the result does not depend on
/// how many there are.
pub fn sweep(scenario: &Scenario, seeds: impl IntoIterator<Item = u64>, jobs: usize) -> SweepReport {
    let began = now();
    let seeds: Vec<u64> = seeds.into_iter().collect();
    let (next, reports) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, seeds.len().max(1)) {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let report = run(scenario, *seed);
                    reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
                }
            });
        }
    });
    let mut reports = reports.into_inner().unwrap_or_else(PoisonError::into_inner);
    reports.sort_by_key(|report| report.seed);
    let mut tasks = TaskReport::default();
    reports.iter().for_each(|report| tasks += report.tasks);
    SweepReport {
        schema: "unsplit.sim-sweep/1",
        scenario: scenario.name.clone(),
        seeds: reports.len(),
        violations: reports.iter().filter(|report| !report.ok).map(|report| report.violations.len().max(1)).sum(),
        blocks: reports.iter().map(|report| report.blocks).sum(),
        simulated_s: reports.iter().map(|report| report.simulated_s).sum(),
        wall_s: began.elapsed().as_secs_f64(),
        finalized: reports.iter().map(|report| report.finalized).sum(),
        tasks,
        restarts: reports.iter().map(|report| report.restarts).sum(),
        converged_s_max: reports.iter().filter_map(|report| report.converged_s).fold(0.0, f64::max),
        tasks_finished_s_max: reports.iter().filter_map(|report| report.tasks_finished_s).fold(0.0, f64::max),
        failures: reports.into_iter().filter(|report| !report.ok).map(failure).collect(),
    }
}

fn failure(report: Report) -> Failure {
    let replay = format!("unsplit sim replay {} --seed {:#x}", report.scenario, report.seed);
    Failure { seed: report.seed, violations: report.violations, replay }
}

fn describe(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".into())
}

#[allow(clippy::disallowed_methods, reason = "how long a run takes in the real world is what is asked here")]
fn now() -> Instant {
    Instant::now()
}
