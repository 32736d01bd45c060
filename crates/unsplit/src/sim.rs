//! Whole networks on a simulated clock, repeatable from a seed.

use std::{
    fmt,
    io::{IsTerminal as _, Write as _},
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use serde::Serialize;
use simulator::{Report, Scenario, SweepReport, Violation, scenarios};
use tracing_subscriber::fmt::{format::Writer, time::FormatTime};

use crate::{
    cli::Sim,
    failure::{Exit, Failure, listed},
    files,
    output::{Output, counted, table},
};

pub(crate) fn run(verb: &Sim, verbose: u8, output: Output) -> Result<Exit, Failure> {
    if verbose > 0 {
        // What the simulated nodes log, in the order in which they do.
        let level = match verbose {
            1 => tracing::Level::INFO,
            2 => tracing::Level::DEBUG,
            _ => tracing::Level::TRACE,
        };
        let log = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_timer(Simulated);
        log.try_init().map_err(|error| Failure::unexpected(format!("no log: {error}")))?;
    }
    match verb {
        Sim::Run { scenario, seed } => play(scenario, *seed, output),
        Sim::Sweep { scenario, seeds, first, jobs } => sweep(scenario, *first, *seeds, *jobs, output),
        Sim::Replay { scenario, seed, digest } => replay(scenario, *seed, digest.as_deref(), output),
        Sim::List => Ok(list(output)),
    }
}

/// Stamps what simulated nodes log.
struct Simulated;

impl FormatTime for Simulated {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        write!(out, "{:6.1} s", simulator::simulated().as_secs_f64())
    }
}

/// A file if there is one of that name, otherwise one of ours.
fn load(word: &str) -> Result<Scenario, Failure> {
    let path = Path::new(word);
    if path.is_file() {
        let parsed = Scenario::parse(&files::read(path)?);
        return parsed.map_err(|error| {
            Failure::config(format!("{word}: {error}"), "the files of the built-in scenarios are examples: scenarios/")
        });
    }
    Scenario::named(word).ok_or_else(|| {
        let names = listed(scenarios().into_iter().map(|scenario| scenario.name));
        Failure::not_found(format!("{word:?} is neither a file nor a scenario"), format!("there are {names}"))
    })
}

fn play(word: &str, seed: u64, output: Output) -> Result<Exit, Failure> {
    let report = simulator::run(&load(word)?, seed);
    let mut human = summary(&report);
    if !report.ok {
        human += &format!("\nstep by step: {}", replay_command(word, seed));
    }
    output.data(&human, &report);
    Ok(verdict(report.ok))
}

fn replay(word: &str, seed: u64, digest: Option<&str>, output: Output) -> Result<Exit, Failure> {
    let report = simulator::run(&load(word)?, seed);
    let steps: Vec<String> = report.steps.iter().map(|step| format!("  {step}")).collect();
    output.data(&format!("{}\n{}", steps.join("\n"), summary(&report)), &report);
    match digest {
        Some(digest) if digest != report.digest => Err(Failure::new(
            Exit::Missed,
            format!("the digest is {}, not {digest}: this was another run", report.digest),
            "a digest holds for one build: replay with the program that gave it",
        )),
        Some(_) | None => Ok(verdict(report.ok)),
    }
}

fn verdict(ok: bool) -> Exit {
    if ok { Exit::Ok } else { Exit::Missed }
}

/// The path as it was given: a scenario of a file is not known by its name.
fn replay_command(word: &str, seed: u64) -> String {
    format!("unsplit sim replay {word} --seed {seed:#x}")
}

fn summary(report: &Report) -> String {
    let mut lines = vec![
        format!("{} · seed {:#x} · {}", report.scenario, report.seed, if report.ok { "ok" } else { "FAILED" }),
        format!(
            "  {} · {} of {} transfers final · {}",
            pace(report.blocks, report.simulated_s, report.wall_s),
            report.finalized,
            report.submitted,
            counted(usize::try_from(report.restarts).unwrap_or(usize::MAX), "restart"),
        ),
    ];
    lines.push(format!("  {}", report.tasks));
    if let (Some(resumed), Some(converged)) = (report.resumed_s, report.converged_s) {
        lines.push(format!("  healed: next block after {resumed:.1} s, all at one state after {converged:.1} s"));
    }
    lines.push(format!("  digest {}", report.digest));
    lines.extend(report.violations.iter().map(violation));
    lines.join("\n")
}

fn violation(violation: &Violation) -> String {
    format!("  violation: {violation}")
}

/// `412 blocks · 60 s simulated in 2.1 s`.
fn pace(blocks: u64, simulated_s: f64, wall_s: f64) -> String {
    format!("{blocks} blocks · {simulated_s:.0} s simulated in {wall_s:.1} s")
}

fn sweep(word: &str, first: u64, seeds: u64, jobs: Option<u16>, output: Output) -> Result<Exit, Failure> {
    let scenario = load(word)?;
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = jobs.map_or_else(cores, usize::from);
    let mut report = play_all(&scenario, first, seeds, jobs);
    for failure in &mut report.failures {
        failure.replay = replay_command(word, failure.seed);
    }
    output.data(&sweep_summary(&report), &report);
    Ok(verdict(report.failures.is_empty()))
}

/// Plays every seed, and shows to whoever watches how far it is.
fn play_all(scenario: &Scenario, first: u64, seeds: u64, jobs: usize) -> SweepReport {
    let (began, progress) = (Instant::now(), Progress::new(seeds));
    let next = AtomicU64::new(0);
    let total = Mutex::new(simulator::sweep(scenario, [], 1));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds) {
                    let one = simulator::sweep(scenario, [first.wrapping_add(seed)], 1);
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    add(&mut total, one);
                    progress.show(&total);
                }
            });
        }
    });
    progress.clear();
    let mut total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    total.failures.sort_by_key(|failure| failure.seed);
    total.wall_s = began.elapsed().as_secs_f64();
    total
}

fn add(total: &mut SweepReport, one: SweepReport) {
    total.seeds += one.seeds;
    total.violations += one.violations;
    total.blocks += one.blocks;
    total.simulated_s += one.simulated_s;
    total.finalized += one.finalized;
    total.restarts += one.restarts;
    total.tasks += one.tasks;
    total.tasks_finished_s_max = total.tasks_finished_s_max.max(one.tasks_finished_s_max);
    total.converged_s_max = total.converged_s_max.max(one.converged_s_max);
    total.failures.extend(one.failures);
}

/// One line that is written over and over, if somebody sees it.
struct Progress {
    seeds: u64,
    seen: bool,
}

impl Progress {
    fn new(seeds: u64) -> Self {
        Self { seeds, seen: std::io::stderr().is_terminal() }
    }

    fn show(&self, total: &SweepReport) {
        if self.seen {
            let failed = total.failures.len();
            self.write(&format!("{} of {} seeds · {} blocks · {failed} failed", total.seeds, self.seeds, total.blocks));
        }
    }

    fn clear(&self) {
        if self.seen {
            self.write("");
        }
    }

    fn write(&self, line: &str) {
        // A closed standard error is no reason to stop.
        let mut err = std::io::stderr().lock();
        let _ = write!(err, "\r\x1b[2K{line}").and_then(|()| err.flush());
    }
}

fn sweep_summary(report: &SweepReport) -> String {
    let mut lines = vec![format!(
        "sim: {} · {} · {} · {} · {} transfers final",
        report.scenario,
        counted(report.seeds, "seed"),
        counted(report.violations, "violation"),
        pace(report.blocks, report.simulated_s, report.wall_s),
        report.finalized,
    )];
    lines.push(format!("  {}", report.tasks));
    for failure in &report.failures {
        lines.push(format!("seed {:#x} FAILED", failure.seed));
        if failure.violations.is_empty() {
            lines.push("  nothing was found, and this scenario is there to show that something is".into());
        }
        lines.extend(failure.violations.iter().map(violation));
        lines.push(format!("  replay: {}", failure.replay));
    }
    lines.join("\n")
}

#[derive(Serialize)]
struct ScenariosDocument {
    schema: &'static str,
    scenarios: Vec<ScenarioRow>,
}

#[derive(Serialize)]
struct ScenarioRow {
    name: String,
    about: String,
    nodes: usize,
    duration_s: f64,
}

fn list(output: Output) -> Exit {
    let rows: Vec<ScenarioRow> = scenarios()
        .into_iter()
        .map(|scenario| ScenarioRow {
            name: scenario.name,
            about: scenario.about,
            nodes: scenario.nodes,
            duration_s: scenario.duration.as_secs_f64(),
        })
        .collect();
    let lines = rows.iter().map(|row| {
        vec![row.name.clone(), row.nodes.to_string(), format!("{:.0} s", row.duration_s), row.about.clone()]
    });
    let human = table(&["scenario", "nodes", "lasts", "what it shows"], lines);
    output.data(&human, &ScenariosDocument { schema: "unsplit.sim-list/1", scenarios: rows });
    Exit::Ok
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_a_file_or_one_of_ours() {
        assert_eq!(load("swarm").expect("ours").name, "swarm");
        let failure = load("swarn").expect_err("neither");
        assert!(failure.exit == Exit::NotFound && failure.help.contains("swarm"), "{failure:?}");
        let path = std::env::temp_dir().join(format!("unsplit-sim-{}.toml", std::process::id()));
        std::fs::write(&path, "nmae = \"x\"\n").expect("a temporary file");
        let failure = load(path.to_str().expect("plain")).expect_err("a typo");
        assert!(failure.exit == Exit::Config && failure.message.contains("line 1"), "{failure:?}");
        std::fs::remove_file(path).expect("our own file");
    }

    #[test]
    fn sweeps_add_up() {
        let scenario = load("four-nodes").expect("ours");
        let mut total = simulator::sweep(&scenario, [], 1);
        let mut one = total.clone();
        (one.seeds, one.violations, one.blocks, one.converged_s_max) = (1, 2, 30, 4.0);
        (one.tasks.done, one.tasks_finished_s_max) = (5, 6.0);
        add(&mut total, one.clone());
        add(&mut total, one);
        assert_eq!((total.seeds, total.violations, total.blocks), (2, 4, 60));
        assert_eq!(total.tasks.done, 10);
        assert!((total.converged_s_max - 4.0).abs() < f64::EPSILON);
        assert!((total.tasks_finished_s_max - 6.0).abs() < f64::EPSILON);
    }
}
