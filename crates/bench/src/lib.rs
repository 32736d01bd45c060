//! Measure the deciders against their bounds and their peers, in one run.
//!
//! Every figure is measured when the command runs; ratios are against a peer or a bound of the same run. Whatever is
//! simulated repeats from its seed.
//!
//! - `assign`: tasks to the least loaded worker
//! - `redistribute`: tasks of failed workers to others
//! - `report`: what a benchmark says, for people and for programs
//! - `random`: numbers from one seed

#![forbid(unsafe_code)]

pub mod assign;
pub mod random;
pub mod redistribute;
pub mod report;

pub use report::{Cell, Report};

/// What can be measured.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Verb {
    /// Time and evenness of giving tasks to the least loaded worker, beside other ways.
    Assign(assign::Options),
    /// Time to give the tasks of failed workers to others.
    Redistribute(redistribute::Options),
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
        Verb::Assign(options) => assign::run(options),
        Verb::Redistribute(options) => redistribute::run(options),
    }
}
