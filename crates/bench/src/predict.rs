//! Can failures be foreseen from slow signals?
//!
//! Whatever is fitted sees the years up to 2002 only, and is judged on the years after, over all nodes, also those that
//! never failed. Compared are the sentinel's risk, a simple earlier ranking, and the base rate; with the feature `learn`
//! also models that were learned from the same signals.

mod fit;
mod generated;
mod measure;
#[cfg(feature = "learn")]
mod model;
mod replay;
mod trace;

use crate::random::Random;
use crate::{Cell, Failure, Report};
use measure::{Quality, Ranking, interval, median};
use replay::{Replay, Sample};
use sentinel::risk::{DRAIN_FROM, PROBE_FROM, SIGNALS, Signal, UNIT, WEIGHTS_PPM};
use std::path::PathBuf;
use trace::{DAY, Trace};

/// The first year that is foreseen; those before are for fitting.
const SPLIT_YEAR: i16 = 2003;

/// Samples for the figures are a week apart, for lead times a day.
const WEEK: u64 = 7;

/// How often nodes are drawn anew for an interval.
const DRAWS: usize = 200;

/// What to evaluate.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The folder with lanl.csv.xz or lanl.csv; without it a history is generated.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Foresee failures within so many days.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..=90))]
    days: u64,
    /// Draws the bootstrap, the learned trees and the generated history.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// A sample after the split, with what each ranking gives it.
struct Scored {
    node: u32,
    day: u64,
    failed: bool,
    scores: Vec<f32>,
}

/// Evaluates.
///
/// # Errors
/// [`Failure`] for a file that is missing or not as published, and for a history too short to split.
pub fn run(options: &Options) -> Result<Report, Failure> {
    let trace = match &options.data {
        Some(folder) => trace::read(folder)?,
        None => generated::generate(options.seed),
    };
    let before = training(&trace, options.days);
    let judges = Judges::fit(&before, options.seed)?;
    let after = testing(&trace, options.days, &judges);
    require(&before, &after)?;
    Ok(report(options, &trace, &judges, &before, &after))
}

fn require(before: &[Sample], after: &[Scored]) -> Result<(), Failure> {
    if before.iter().any(|sample| sample.failed) && after.iter().any(|scored| scored.failed && scored.day % WEEK == 0) {
        return Ok(());
    }
    Err(Failure {
        message: format!("the history has no failures to learn from before {SPLIT_YEAR}, or none to foresee after"),
        help: "take the whole file, or fewer days, or leave --data out for generated data".into(),
    })
}

/// A sample a week of each node, all before the split, outcome included.
fn training(trace: &Trace, days: u64) -> Vec<Sample> {
    let mut replay = Replay::new(trace, days);
    let split = trace::year(SPLIT_YEAR);
    let first = trace.failures.first().map_or(split, |down| down.start) / DAY;
    (first..split / DAY).filter(|day| day % WEEK == 0).flat_map(|day| replay.look(day, split)).collect()
}

/// A sample a day of each node from the split on.
fn testing(trace: &Trace, days: u64, judges: &Judges) -> Vec<Scored> {
    let mut replay = Replay::new(trace, days);
    let last = trace.failures.last().map_or(0, |down| down.start) / DAY;
    (trace::year(SPLIT_YEAR) / DAY..=last).flat_map(|day| judges.score(&replay.look(day, u64::MAX))).collect()
}

/// Those who rank.
struct Judges {
    weights: [f64; SIGNALS],
    #[cfg(feature = "learn")]
    models: model::Models,
}

impl Judges {
    /// Which place the sentinel's own has among the names.
    const OURS: usize = 2;

    #[cfg(feature = "learn")]
    const NAMES: &[&str] =
        &["base rate", "earlier baseline", "sentinel::risk", "refitted sum", "logistic regression", "boosted trees"];
    #[cfg(not(feature = "learn"))]
    const NAMES: &[&str] = &["base rate", "earlier baseline", "sentinel::risk", "refitted sum"];

    #[cfg_attr(not(feature = "learn"), expect(clippy::unnecessary_wraps, reason = "learning can fail"))]
    fn fit(before: &[Sample], seed: u64) -> Result<Self, Failure> {
        #[cfg(not(feature = "learn"))]
        let _ = seed;
        #[cfg(feature = "learn")]
        let models = model::Models::fit(before, seed).map_err(|message| Failure {
            message: format!("nothing could be learned: {message}"),
            help: "take the whole file, or leave --data out for generated data".into(),
        })?;
        Ok(Self {
            weights: fit::weights(before),
            #[cfg(feature = "learn")]
            models,
        })
    }

    fn score(&self, samples: &[Sample]) -> Vec<Scored> {
        #[cfg(feature = "learn")]
        let trees = self.models.trees(samples);
        let scored = |(_i, sample): (usize, &Sample)| Scored {
            node: sample.node,
            day: sample.day,
            failed: sample.failed,
            scores: vec![
                0.0,
                baseline(sample) as f32,
                sample.expected_ppm as f32,
                fit::expected(sample, &self.weights) as f32,
                #[cfg(feature = "learn")]
                {
                    self.models.logistic(sample) as f32
                },
                #[cfg(feature = "learn")]
                {
                    trees[_i] as f32
                },
            ],
        };
        samples.iter().enumerate().map(scored).collect()
    }
}

/// Own failures of the last month or so, and those of the average neighbour.
fn baseline(sample: &Sample) -> f64 {
    let of = |signal: Signal| sample.signals[signal as usize] as f64 / UNIT as f64;
    of(Signal::FailuresMonth) + of(Signal::FarMonth)
}

const COLUMNS: [&str; 15] = [
    "ranking",
    "AUC",
    "AUC low",
    "AUC high",
    "recall at precision 0.25",
    "recall low",
    "recall high",
    "recall at 0.5",
    "top 1 % precision",
    "top 1 % recall",
    "top 5 % precision",
    "top 5 % recall",
    "lead days p50",
    "alarmed before",
    "alarms /node/year",
];

fn report(options: &Options, trace: &Trace, judges: &Judges, before: &[Sample], after: &[Scored]) -> Report {
    let from = options.data.as_ref().map_or_else(String::new, |folder| format!(" --data {}", folder.display()));
    let command = format!("bench predict{from} --days {} --seed {}", options.days, options.seed);
    let mut report = Report::new(command, COLUMNS.to_vec());
    #[cfg(feature = "learn")]
    report.versions.push(model::VERSION.into());
    let rankings: Vec<Ranking> = (0..Judges::NAMES.len()).map(|judge| weekly(after, judge)).collect();
    let draws: Vec<Vec<Quality>> = rankings.iter().map(|r| r.bootstrap(DRAWS, &Random::new(options.seed))).collect();
    for (judge, (ranking, draws)) in rankings.iter().zip(&draws).enumerate() {
        let lead = ranking.threshold(0.25).map(|threshold| lead(trace, options.days, after, judge, threshold));
        report.rows.push(row(Judges::NAMES[judge], &ranking.quality(), draws, lead.as_ref()));
    }
    report.notes = notes(options, trace, before, after);
    report.notes.extend(advice(&rankings[Judges::OURS]));
    report.notes.extend((3..rankings.len()).chain([1]).map(|other| difference(other, &draws)));
    report.notes.push(listed(&judges.weights));
    report
}

/// One sample a week of each node, ranked by one judge.
fn weekly(after: &[Scored], judge: usize) -> Ranking {
    let chosen = after.iter().filter(|scored| scored.day % WEEK == 0);
    Ranking::new(chosen.map(|scored| (f64::from(scored.scores[judge]), scored.node, scored.failed)))
}

fn row(name: &str, quality: &Quality, draws: &[Quality], lead: Option<&Lead>) -> Vec<Cell> {
    let (auc_low, auc_high) = interval(draws.iter().map(|quality| quality.auc));
    let (recall_low, recall_high) = interval(draws.iter().map(|quality| quality.recall_at_quarter));
    let figures = [quality.auc, auc_low, auc_high, quality.recall_at_quarter, recall_low, recall_high];
    let tops = [quality.recall_at_half, quality.top_1.0, quality.top_1.1, quality.top_5.0, quality.top_5.1];
    let mut cells = vec![name.into()];
    cells.extend(figures.into_iter().chain(tops).map(Cell::Figure));
    cells.push(lead.and_then(|lead| lead.days).into());
    cells.push(lead.map(|lead| lead.share).into());
    cells.push(lead.map(|lead| lead.alarms).into());
    cells
}

/// How early failures were announced.
struct Lead {
    /// Days from the first alarm to the failure, for the one in the middle of those that had one.
    days: Option<f64>,
    /// Of all failures before which a midnight could have raised an alarm, the share before which one did.
    share: f64,
    /// Days with an alarm, for each node and year.
    alarms: f64,
}

/// Alarms from this score on: of each failure the first within the days asked about, but after the failure before.
fn lead(trace: &Trace, days: u64, after: &[Scored], judge: usize, threshold: f64) -> Lead {
    let mut looks: Vec<Vec<(u64, bool)>> = vec![Vec::new(); trace.nodes.len()];
    for scored in after {
        looks[scored.node as usize].push((scored.day * DAY, f64::from(scored.scores[judge]) >= threshold));
    }
    let mut previous = vec![0; trace.nodes.len()];
    let (mut leads, mut chances) = (Vec::new(), 0);
    for down in &trace.failures {
        let from = down.start.saturating_sub(days * DAY).max(previous[down.node]);
        previous[down.node] = down.start;
        let looks = &looks[down.node];
        let seen =
            &looks[looks.partition_point(|look| look.0 < from)..looks.partition_point(|look| look.0 < down.start)];
        chances += u64::from(!seen.is_empty());
        let first = seen.iter().find(|look| look.1);
        leads.extend(first.map(|look| (down.start - look.0) as f64 / DAY as f64));
    }
    let alarms = looks.iter().flatten().filter(|look| look.1).count() as f64 * 365.25 / after.len() as f64;
    let share = leads.len() as f64 / chances.max(1) as f64;
    Lead { days: median(leads), share, alarms }
}

fn notes(options: &Options, trace: &Trace, before: &[Sample], after: &[Scored]) -> Vec<String> {
    let weekly: Vec<&Scored> = after.iter().filter(|scored| scored.day % WEEK == 0).collect();
    let share = |failed: usize, all: usize| failed as f64 / all.max(1) as f64;
    let rate_before = share(before.iter().filter(|sample| sample.failed).count(), before.len());
    let rate = share(weekly.iter().filter(|scored| scored.failed).count(), weekly.len());
    let tested: std::collections::BTreeSet<u32> = weekly.iter().map(|scored| scored.node).collect();
    let mut notes = vec![
        format!(
            "history: {}, {} failures of {} nodes, of which {} never failed",
            trace.source,
            trace.failures.len(),
            trace.nodes.len(),
            trace.unscathed()
        ),
        format!(
            "fitted on {} weekly samples before {SPLIT_YEAR} (base rate {rate_before:.4}), judged on {} of {} nodes after \
             (base rate {rate:.4}): does a node that is up fail within {} days?",
            before.len(),
            weekly.len(),
            tested.len(),
            options.days
        ),
        format!(
            "low and high: 95 % of {DRAWS} bootstrap draws of whole nodes. Lead time, daily looks: first alarm within the \
             {} days before a failure, after the failure before it, at the threshold with precision 0.25",
            options.days
        ),
        "earlier baseline: own failures with a half-life of 30 days plus those of the mean node of the system".into(),
    ];
    if options.data.is_none() {
        notes.push("generated data, not a real history: these figures show that it runs, not that it foresees".into());
    } else {
        notes.push(format!(
            "nodes: all that failed, and the lowest free numbers up to the size that the lines of a system give, in \
             service for the months that most of its lines give; {} lines that name no node were left out",
            trace.nameless
        ));
    }
    notes
}

/// What the advice would have been worth.
fn advice(ours: &Ranking) -> Vec<String> {
    let from = |name: &str, permille: u32| {
        let expected_ppm = -(1.0 - f64::from(permille) / 1_000.0).ln() * 1e6;
        let (precision, recall) = ours.at(expected_ppm);
        format!("advice to {name}, score from {permille} per mille: precision {precision:.3}, recall {recall:.3}")
    };
    vec![from("raise the probe rate", PROBE_FROM), from("drain", DRAIN_FROM)]
}

/// Ours less another, by nodes drawn the same for both.
fn difference(other: usize, draws: &[Vec<Quality>]) -> String {
    let pairs = || draws[Judges::OURS].iter().zip(&draws[other]);
    let (auc_low, auc_high) = interval(pairs().map(|(ours, theirs)| ours.auc - theirs.auc));
    let (low, high) = interval(pairs().map(|(ours, theirs)| ours.recall_at_quarter - theirs.recall_at_quarter));
    format!(
        "sentinel::risk less {}: AUC {auc_low:+.3} to {auc_high:+.3}, recall at precision 0.25 {low:+.3} to {high:+.3}",
        Judges::NAMES[other]
    )
}

fn listed(weights: &[f64; SIGNALS]) -> String {
    let ppm: Vec<String> = weights.iter().map(|weight| format!("{:.0}", weight * 1e6)).collect();
    format!("weights in ppm, refitted before {SPLIT_YEAR}: {}; shipped: {WEIGHTS_PPM:?}", ppm.join(" "))
}

#[cfg(test)]
mod tests;
