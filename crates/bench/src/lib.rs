//! Measure the deciders against their bounds and their peers, in one run.
//!
//! Every figure is measured when the command runs; ratios are against a peer or a bound of the same run. Whatever is
//! simulated repeats from its seed.
//!
//! - `predict`: can failures be foreseen from slow signals?
//! - `assign`: tasks to the least loaded worker
//! - `redistribute`: tasks of failed workers to others
//! - `partition`: who can talk to whom, among very many
//! - `report`: what a benchmark says, for people and for programs
//! - `crash`: how soon everybody knows of a crash, and how often it is not true
//! - `stall`: whether a pause is taken for a crash
//! - `network`: messages, losses, crashes and stalls in virtual time
//! - `random`: numbers from one seed
//! - `qos`: how quick can a listener be at a given rate of mistakes, and how close does ours come?
//! - `update`: what does a sign of life cost?
//! - `mem`: what does it take to remember a node?

#![forbid(unsafe_code)]

pub mod assign;
pub mod crash;
pub mod mem;
pub mod network;
pub mod partition;
pub mod predict;
pub mod qos;
pub mod random;
pub mod redistribute;
pub mod report;
pub mod stall;
pub mod update;

pub use report::{Cell, Report};

/// What can be measured.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Verb {
    /// How soon all know of a crash, at what price, and how often it is not true.
    Crash(crash::Options),
    /// Whether pauses are taken for crashes, by ours and by foca.
    Stall(stall::Options),
    /// Replay delays and losses through detectors that only listen: detection time at equal rates of mistakes.
    Qos(qos::Options),
    /// Nanoseconds for a row and for another sign of life.
    Update(update::Options),
    /// Bytes for each node.
    Mem(mem::Options),
    /// Foresee failures from slow signals: the sentinel's risk against a baseline and the base rate.
    Predict(predict::Options),
    /// Time and evenness of giving tasks to the least loaded worker, beside other ways.
    Assign(assign::Options),
    /// Time to give the tasks of failed workers to others.
    Redistribute(redistribute::Options),
    /// Time to see who can talk to whom: sides, bridges and the largest mutual set.
    Partition(partition::Options),
}

/// Why a benchmark could not run: bad options or files, with what, where and how to mend it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What is wrong, and where.
    pub message: String,
    /// How to mend it.
    pub help: String,
}

/// Measures.
///
/// # Errors
/// See [`Failure`].
pub fn run(verb: &Verb) -> Result<Report, Failure> {
    match verb {
        Verb::Crash(options) => crash::run(options),
        Verb::Stall(options) => stall::run(options),
        Verb::Qos(options) => qos::run(options),
        Verb::Update(options) => update::run(options),
        Verb::Mem(options) => mem::run(options),
        Verb::Predict(options) => predict::run(options),
        Verb::Assign(options) => assign::run(options),
        Verb::Redistribute(options) => redistribute::run(options),
        Verb::Partition(options) => partition::run(options),
    }
}
