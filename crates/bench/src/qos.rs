//! How quick can a listener be at a given rate of mistakes, and how close does ours come?
//!
//! Every detector sees the same heartbeats. After each arrival it says until when it would trust the peer if nothing more
//! came; from that follow, exactly, its mistakes (the deadline passed and the peer was alive) and its mean detection time
//! for a crash at a time uniform over the trace. Peers and bounds are *tuned on the very trace they are scored on* to the
//! target; ours is told the target and nothing else, and learns from the past only.
//!
//! - `traces`: what is replayed
//! - `peers`: detectors of others, as formulas

mod peers;
mod traces;

use crate::{Cell, Failure, Report, random::Random};
use peers::Schedule;
use sentinel::{health::Passive, time::Moment};
use std::path::PathBuf;
use traces::Trace;

/// What to replay.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// A trace from a file instead of generated ones: the output of `ping -D`, or lines of `seconds,delay_ms` and
    /// `seconds,lost` with the time of sending.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Acceptable mistakes per heartbeat.
    #[arg(long, default_value_t = 1e-4)]
    pub target: f64,
    /// Heartbeats of each generated trace.
    #[arg(long, default_value_t = 1_000_000)]
    pub beats: usize,
    /// Where generated traces come from.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// What a detector achieved.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Score {
    /// Mean time from the crash to the last suspicion, seconds.
    detection: f64,
    mistakes: usize,
}

/// Replays.
///
/// # Errors
/// Options that make no sense, and files that cannot be read.
pub fn run(options: &Options) -> Result<Report, Failure> {
    let one_in = one_in(options)?;
    let traces = match &options.trace {
        Some(path) => vec![traces::read(path)?],
        None => traces::generated(options.beats, &Random::new(options.seed)),
    };
    let columns = vec!["trace", "detector", "detection_mean_s", "over_optimum", "mistakes", "over_target"];
    let mut report = Report::new(command(options), columns);
    for trace in &traces {
        report.rows.extend(rows(trace, one_in));
    }
    report.notes = notes();
    Ok(report)
}

fn one_in(options: &Options) -> Result<u64, Failure> {
    let target = options.target;
    if !(1e-9..=0.1).contains(&target) || options.beats < 100 {
        return Err(Failure {
            message: format!("--target {target} --beats {}: out of range", options.beats),
            help: "take a target from 1e-9 to 0.1 mistakes per heartbeat, and at least 100 heartbeats".into(),
        });
    }
    Ok((1.0 / target).round() as u64)
}

fn command(options: &Options) -> String {
    let Options { trace, target, beats, seed } = options;
    match trace {
        Some(path) => format!("bench qos --trace {} --target {target}", path.display()),
        None => format!("bench qos --target {target} --beats {beats} --seed {seed}"),
    }
}

fn notes() -> Vec<String> {
    [
        "Peers are formulas written from their papers and sources, not their code. `tuned`: the parameter is the best one \
         for this very trace at the target; `default`: as shipped.",
        "The optimum is NFD-S (Chen, Toueg, Aguilera 2002), which knows when each heartbeat was sent. It is optimal for the \
         largest detection time; a detector that mixes can have a smaller mean at the same rate, hence ratios below 1.",
        "At 1 % loss and a target of 1e-4 two losses in a row are exactly the target: the optimum jumps by a whole interval \
         with the seed, and no online detector can know which side it is on.",
        "Ours is scored from its first heartbeat on. With few mistakes expected (heartbeats x target) over_target is noise.",
    ]
    .map(String::from)
    .into()
}

fn rows(trace: &Trace, one_in: u64) -> Vec<Vec<Cell>> {
    let allowed = trace.beats.len() as u64 / one_in;
    let optimum = peers::nfd_s(trace).tuned(trace, allowed as usize);
    let best = score(trace, &optimum);
    let all = [
        ("ours, online", ours(trace, one_in)),
        ("nfd-s, optimum", optimum),
        ("nfd-e, tuned", peers::nfd_e(trace).tuned(trace, allowed as usize)),
        ("fixed, tuned", peers::fixed(trace).tuned(trace, allowed as usize)),
        ("phi normal, tuned", peers::phi(trace).tuned(trace, allowed as usize)),
        ("chitchat, tuned", peers::chitchat(trace).tuned(trace, allowed as usize)),
        ("chitchat, default", peers::chitchat_default(trace)),
        ("phi of akka, default", peers::akka_default(trace)),
    ];
    let expected = trace.beats.len() as f64 / one_in as f64;
    all.iter()
        .map(|(name, deadlines)| {
            let Score { detection, mistakes } = score(trace, deadlines);
            vec![
                trace.name.clone().into(),
                (*name).into(),
                detection.into(),
                (detection / best.detection).into(),
                (mistakes as u64).into(),
                (mistakes as f64 / expected).into(),
            ]
        })
        .collect()
}

/// The deadline after each arrival, in their order.
fn ours(trace: &Trace, one_in: u64) -> Vec<f64> {
    let moment = |seconds: f64| Moment((seconds * 1e6) as u64);
    let mut passive = Passive::new((trace.interval * 1e6) as u64, one_in, Moment(0));
    let deadline = |(sequence, at): &(usize, f64)| {
        passive.row(*sequence as u64 + 1, moment(*at));
        passive.deadline(moment(*at)).0 as f64 / 1e6
    };
    trace.arrivals.iter().map(deadline).collect()
}

fn score(trace: &Trace, deadlines: &[f64]) -> Score {
    Score { detection: detection(trace, deadlines), mistakes: mistakes(trace, deadlines) }
}

/// How often was the peer trusted until the deadline, and the next arrival came after it?
fn mistakes(trace: &Trace, deadlines: &[f64]) -> usize {
    let pairs = trace.arrivals.windows(2).zip(deadlines);
    pairs.filter(|(pair, deadline)| pair[1].1 > **deadline && **deadline > pair[0].1).count()
}

/// A crash between two sendings: what was sent before still arrives, and the deadline after the last arrival is when the
/// suspicion that stays begins.
fn detection(trace: &Trace, deadlines: &[f64]) -> f64 {
    let mut after: Vec<Option<(f64, f64)>> = vec![None; trace.beats.len()];
    for ((sequence, at), deadline) in trace.arrivals.iter().zip(deadlines) {
        after[*sequence] = Some((*at, *deadline));
    }
    let (mut last, mut sum, mut time) = (None::<(f64, f64)>, 0.0, 0.0);
    for (index, pair) in trace.beats.windows(2).enumerate() {
        last = match (last, after[index]) {
            (Some(old), Some(new)) if old.0 > new.0 => Some(old),
            (old, new) => new.or(old),
        };
        if let Some((_, deadline)) = last {
            sum += waited(pair[0].sent, pair[1].sent, deadline);
            time += pair[1].sent - pair[0].sent;
        }
    }
    sum / time
}

/// The integral of the time until `deadline`, where it is not over, for crashes from one time to another.
fn waited(from: f64, to: f64, deadline: f64) -> f64 {
    let to = to.min(deadline);
    if to <= from { 0.0 } else { (to - from) * (deadline - f64::midpoint(from, to)) }
}

impl Schedule {
    /// The deadlines of the smallest parameter with at most so many mistakes: each arrival has a parameter below which it
    /// would be a mistake.
    fn tuned(&self, trace: &Trace, allowed: usize) -> Vec<f64> {
        let next = trace.arrivals.iter().skip(1).map(|(_, at)| at);
        let mut needed: Vec<f64> = next.zip(&self.0).map(|(at, (base, scale))| (at - base) / scale).collect();
        let rank = allowed.min(needed.len() - 1);
        let (_, parameter, _) = needed.select_nth_unstable_by(rank, |a, b| b.total_cmp(a));
        self.at(*parameter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(target: f64, beats: usize) -> Options {
        Options { trace: None, target, beats, seed: 1 }
    }

    #[test]
    fn a_crash_is_detected_at_the_deadline_and_not_before_it_happened() {
        assert_eq!(waited(0.0, 1.0, 2.0), 1.5);
        assert_eq!(waited(0.0, 1.0, 0.5), 0.125);
        assert_eq!(waited(1.0, 2.0, 0.5), 0.0);
    }

    #[test]
    fn tuned_detectors_keep_to_the_mistakes_that_are_allowed() {
        for trace in traces::generated(20_000, &Random::new(1)) {
            for schedule in [peers::nfd_s(&trace), peers::nfd_e(&trace), peers::fixed(&trace), peers::phi(&trace)] {
                let found = mistakes(&trace, &schedule.tuned(&trace, 20));
                assert!(found <= 20, "{}: {found}", trace.name);
            }
        }
    }

    #[test]
    fn ours_keeps_near_the_target_and_the_optimum_without_being_tuned() {
        for trace in traces::generated(100_000, &Random::new(2)) {
            let optimum = score(&trace, &peers::nfd_s(&trace).tuned(&trace, 100));
            let ours = score(&trace, &ours(&trace, 1_000));
            let (slower, more) = (ours.detection / optimum.detection, ours.mistakes as f64 / 100.0);
            assert!(slower <= 1.15 && (0.5..=2.0).contains(&more), "{}: {slower}, {more}", trace.name);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_report() {
        let report = || run(&options(1e-3, 2_000)).expect("runs").rows;
        assert_eq!(report(), report());
    }

    #[test]
    fn options_that_make_no_sense_are_refused() {
        for (target, beats) in [(0.0, 1_000), (0.2, 1_000), (f64::NAN, 1_000), (1e-3, 99)] {
            let failure = run(&options(target, beats)).expect_err("out of range");
            assert!(failure.message.contains("--target"), "{failure}");
        }
    }
}
